// Fills: tall ones in columns of 4 bytes, as a fill of 8-byte elements needs, and those that are refused.
#include "kit.hpp"

namespace {

// Every other word of `rows` rows of 8 bytes, in two fills.
void tall(std::size_t rows) {
  const std::string name = "two_columns_of_8." + std::to_string(rows) + "_rows";
  DeviceMemory memory(8 * rows);
  Stream stream;
  answer_code(name + ".low", cu::cuMemsetD2D32Async(memory.address, 8, 0x04030201, 1, rows, stream));
  answer_code(name + ".high", cu::cuMemsetD2D32Async(memory.address + 4, 8, 0x08070605, 1, rows, stream));
  const int result = cu::cuStreamSynchronize(stream);
  answer_code(name + ".synchronize", result);
  if (result != 0) return;
  std::size_t wrong = 0;
  const auto bytes = memory.get();
  for (std::size_t i = 0; i < bytes.size(); ++i) wrong += bytes[i] != i % 8 + 1;
  answer(name + ".wrong_bytes", std::to_string(wrong));
}

}  // namespace

void fills() {
  for (std::size_t rows : {1u, 2u, 65535u, 65536u, 65537u, 1u << 20}) tall(rows);
  Stream stream;
  DeviceMemory memory(1 << 16);
  answer_code("of_16_bits_at_an_odd_address", cu::cuMemsetD16Async(memory.address + 1, 1, 4, stream));
  answer_code("of_32_bits_at_an_even_address", cu::cuMemsetD32Async(memory.address + 2, 1, 4, stream));
  answer_code("of_no_elements", cu::cuMemsetD32Async(memory.address, 1, 0, stream));
  answer_code("of_no_rows", cu::cuMemsetD2D32Async(memory.address, 8, 1, 1, 0, stream));
  answer_code("of_a_pitch_below_the_width", cu::cuMemsetD2D32Async(memory.address, 4, 1, 2, 2, stream));
  {
    PinnedMemory pinned(1 << 16);
    cu::address address = 0;
    cu::must(cu::cuMemHostGetDevicePointer_v2(&address, pinned.data, 0), "cuMemHostGetDevicePointer");
    answer_code("of_pinned_memory", cu::cuMemsetD8Async(address, 9, pinned.bytes, stream));
    answer_code("of_pinned_memory.synchronize", cu::cuStreamSynchronize(stream));
    answer("of_pinned_memory.result", which(pinned.data, pinned.bytes, 9, 0));
    answer_code("of_pinned_memory_by_host_address", cu::cuMemsetD8Async(cu::at(pinned.data), 5, pinned.bytes, stream));
    answer_code("of_pinned_memory_by_host_address.synchronize", cu::cuStreamSynchronize(stream));
    answer("of_pinned_memory_by_host_address.result", which(pinned.data, pinned.bytes, 5, 9));
  }
  answer_code("odd_sizes.8_bits", cu::cuMemsetD8Async(memory.address + 3, 1, 1001, stream));
  answer_code("odd_sizes.16_bits", cu::cuMemsetD16Async(memory.address + 2, 1, 333, stream));
  answer_code("odd_sizes.32_bits", cu::cuMemsetD32Async(memory.address + 4, 1, 77, stream));
  answer_code("odd_sizes.synchronize", cu::cuStreamSynchronize(stream));
}
