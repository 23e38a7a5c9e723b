// When a copy reads its source and writes its target, for every kind of host memory.
#include "kit.hpp"

namespace {

constexpr unsigned char A = 0xa1, B = 0xb2;

// A copy behind a held stream; its source is overwritten before the stream runs.
void read_late(const std::string& name, unsigned char* source, std::size_t bytes, cu::address source_address) {
  Stream stream;
  DeviceMemory target(bytes);
  std::memset(source, A, bytes);
  Hold hold(stream);
  int result = -1;
  const bool blocked = hold.blocks([&] { result = cu::cuMemcpyAsync(target.address, source_address, bytes, stream); });
  std::memset(source, B, bytes);
  hold.release();
  stream.sync();
  answer_code(name + ".code", result);
  answer(name + ".waits_for_the_stream", blocked);
  const std::string seen = which(target.get().data(), bytes, A, B);
  answer(name + ".source_is_read", seen == "A" ? "at the call" : seen == "B" ? "when it runs" : "partly at the call");
}

// A copy to the host behind a held stream: what the target holds before and after.
void written_late(const std::string& name, unsigned char* target, std::size_t bytes) {
  Stream stream;
  DeviceMemory source(bytes);
  source.set(B);
  std::memset(target, A, bytes);
  Hold hold(stream);
  int result = -1;
  const bool blocked = hold.blocks([&] { result = cu::cuMemcpyDtoHAsync_v2(target, source.address, bytes, stream); });
  const std::string before = which(target, bytes, A, B);
  hold.release();
  stream.sync();
  answer_code(name + ".code", result);
  answer(name + ".waits_for_the_stream", blocked);
  answer(name + ".at_return", before);
  answer(name + ".after", which(target, bytes, A, B));
}

// A blocking copy while a stream is held: whether it waits for it, and what arrives.
void blocking_copy(const std::string& name, unsigned flags, bool to_device, unsigned char* host, std::size_t bytes) {
  Stream stream(flags);
  DeviceMemory device(bytes);
  std::memset(host, A, bytes);
  if (!to_device) device.set(B);
  Hold hold(stream);
  int result = -1;
  const bool blocked = hold.blocks([&] {
    result = to_device ? cu::cuMemcpyHtoD_v2(device.address, host, bytes) : cu::cuMemcpyDtoH_v2(host, device.address, bytes);
  });
  hold.release();
  answer_code(name + ".code", result);
  answer(name + ".waits_for_the_stream", blocked);
  // The host's memory as it is at return; the device's after all work.
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  answer(name + ".result", to_device ? which(device.get().data(), bytes, A, B) : which(host, bytes, A, B));
}

}  // namespace

void copies() {
  for (std::size_t bytes : {std::size_t{4}, std::size_t{1} << 10, std::size_t{1} << 16, std::size_t{1} << 20, std::size_t{8} << 20}) {
    PinnedMemory pinned(bytes);
    read_late("pinned_to_device." + size_name(bytes), pinned.data, bytes, cu::at(pinned.data));
    written_late("device_to_pinned." + size_name(bytes), pinned.data, bytes);
  }
  for (std::size_t bytes : {std::size_t{1} << 10, std::size_t{63} << 10, std::size_t{64} << 10, std::size_t{1} << 20, std::size_t{8} << 20}) {
    PageableMemory pageable(bytes);
    read_late("pageable_to_device." + size_name(bytes), pageable.data, bytes, cu::at(pageable.data));
    written_late("device_to_pageable." + size_name(bytes), pageable.data, bytes);
  }
  constexpr std::size_t bytes = 1 << 16;
  {
    PageableMemory memory(bytes);
    cu::must(cu::cuMemHostRegister_v2(memory.data, bytes, cu::portable_mapped), "cuMemHostRegister");
    read_late("registered_to_device." + size_name(bytes), memory.data, bytes, cu::at(memory.data));
    written_late("device_to_registered." + size_name(bytes), memory.data, bytes);
    cu::cuMemHostUnregister(memory.data);
  }
  {
    PinnedMemory pinned(bytes);
    cu::address address = 0;
    cu::must(cu::cuMemHostGetDevicePointer_v2(&address, pinned.data, 0), "cuMemHostGetDevicePointer");
    read_late("pinned_by_device_address." + size_name(bytes), pinned.data, bytes, address);
  }
  {
    // Host to host: page-locked on both ends.
    PinnedMemory source(bytes), target(bytes);
    std::memset(source.data, A, bytes);
    Stream stream;
    Hold hold(stream);
    int result = -1;
    const bool blocked = hold.blocks([&] { result = cu::cuMemcpyAsync(cu::at(target.data), cu::at(source.data), bytes, stream); });
    std::memset(source.data, B, bytes);
    hold.release();
    stream.sync();
    answer_code("pinned_to_pinned.code", result);
    answer("pinned_to_pinned.waits_for_the_stream", blocked);
    answer("pinned_to_pinned.result", which(target.data, bytes, A, B));
  }
  for (bool to_device : {true, false}) {
    const std::string direction = to_device ? "to_device" : "to_host";
    PinnedMemory pinned(bytes);
    PageableMemory pageable(bytes);
    blocking_copy("blocking.pinned_" + direction + ".beside_blocking_stream", 0, to_device, pinned.data, bytes);
    blocking_copy("blocking.pinned_" + direction + ".beside_non_blocking_stream", 1, to_device, pinned.data, bytes);
    blocking_copy("blocking.pageable_" + direction + ".beside_blocking_stream", 0, to_device, pageable.data, bytes);
    blocking_copy("blocking.pageable_" + direction + ".beside_non_blocking_stream", 1, to_device, pageable.data, bytes);
  }
  {
    Stream stream;
    DeviceMemory device(64);
    PinnedMemory pinned(64);
    answer_code("of_no_bytes", cu::cuMemcpyAsync(device.address, cu::at(pinned.data), 0, stream));
    answer_code("of_no_bytes_from_null", cu::cuMemcpyAsync(device.address, 0, 0, stream));
    answer_code("from_null", cu::cuMemcpyAsync(device.address, 0, 8, stream));
    stream.sync();
  }
}
