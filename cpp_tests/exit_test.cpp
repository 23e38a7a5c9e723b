// Objects that live longer than main, some of them with work in flight: the process exits with 0 all the same.
#include <gpubuf/gpubuf.hpp>

#include <chrono>

namespace {

// Destroyed after the library noticed the exit: it was first used later than these were made.
gpubuf::buffer early;
gpubuf::slots early_slots;
gpubuf::step early_step;

// Destroyed after main, too, each in its turn.
struct everything {
  gpubuf::device device = gpubuf::device::open();
  gpubuf::stream stream = gpubuf::stream::create(device);
  gpubuf::event event = gpubuf::event::create(device);
  gpubuf::buffer buffer = gpubuf::buffer::create<float>(device, {1024});
  gpubuf::pool pool = gpubuf::pool::create(device, 256, 2);
  gpubuf::block block = pool.acquire();
  gpubuf::write_guard<float> guard;
};

everything& statics() {
  static everything all;
  return all;
}

thread_local gpubuf::event of_the_thread;

}  // namespace

int main() {
  gpubuf::set_log([](gpubuf::log_level, const char*) {});
  everything& all = statics();
  of_the_thread = gpubuf::event::create(all.device);
  early = gpubuf::buffer::create<float>(all.device, {1024});
  early_slots = gpubuf::slots::create(all.device);
  const auto slot = early_slots.add<float>("x", {4});
  early_slots.freeze();

  gpubuf::host::delay(all.stream, std::chrono::milliseconds(20));
  all.buffer.to_device(all.stream);
  early.to_device(all.stream);
  all.event.record(all.stream);
  early_step = early_slots.begin();
  early_step.write(slot, {1});
  early_step.commit(all.stream);
  all.guard = all.buffer.begin_write<float>();
  all.buffer.reset();  // Before its guard.
  return 0;
}
