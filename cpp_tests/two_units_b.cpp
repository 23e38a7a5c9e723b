#include "two_units.hpp"

namespace two_units {

objects make(const gpubuf::device& device) {
  objects made{gpubuf::stream::create(device), gpubuf::buffer::create<int>(device, {4})};
  made.buffer.fill_host(7);
  return made;
}

int first_element(objects& of) {
  of.buffer.zero_host();
  of.buffer.to_host(of.stream);
  return of.buffer.begin_read<int>()[0];
}

void fail() { gpubuf::raise(gpubuf::status::busy, "on purpose"); }
void run_out() { gpubuf::raise(gpubuf::status::budget, "on purpose"); }
std::uint64_t dropped() { return gpubuf::dropped_exceptions(); }
const void* log_sink() { return &gpubuf::detail::log_sink::instance(); }

}  // namespace two_units
