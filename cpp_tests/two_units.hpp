#pragma once

#include <gpubuf/gpubuf.hpp>

namespace two_units {

struct objects {
  gpubuf::stream stream;
  gpubuf::buffer buffer;
};

objects make(const gpubuf::device& device);
int first_element(objects& of);
void fail();
void run_out();
std::uint64_t dropped();
const void* log_sink();

}  // namespace two_units
