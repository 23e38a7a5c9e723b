// One buffer, refilled while the device may still be reading it.
// [readme]
#include <gpubuf/gpubuf.hpp>

#include <cstdio>
#include <numeric>

int main() try {
  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  auto stream = gpubuf::stream::create(device);
  auto buffer = gpubuf::buffer::create<float>(device, {4});  // pinned host memory and device memory

  for (float step : {1.0f, 2.0f, 3.0f}) {
    auto values = buffer.begin_write<float>();  // waits while a copy still reads this memory
    std::iota(values.span().begin(), values.span().end(), step);
    values.end();

    if (device.backend() == gpubuf::backend::host) gpubuf::host::delay(stream, std::chrono::milliseconds(20));
    buffer.to_device(stream);  // returns at once

    auto early = buffer.begin_write<float, gpubuf::no_throw>(gpubuf::no_wait);  // would rather not wait
    std::printf("refill while the copy is queued: %s\n", gpubuf::status_name(early.status()));
  }

  buffer.zero_host();      // waits as well: the last copy reads the memory
  buffer.to_host(stream);  // in stream order
  auto result = buffer.begin_read<float>();  // waits for the bytes to land
  for (float x : result.span()) std::printf("%g ", static_cast<double>(x));  // 3 4 5 6
  std::printf("after %u waits\n", static_cast<unsigned>(device.stats().host_waits));
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
// [/readme]
