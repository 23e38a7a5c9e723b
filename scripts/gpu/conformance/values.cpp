// Words that streams wait for and write: how the library's test kit holds a stream.
#include "kit.hpp"

void values() {
  PinnedMemory pinned(4096);
  cu::address address = 0;
  cu::must(cu::cuMemHostGetDevicePointer_v2(&address, pinned.data, 0), "cuMemHostGetDevicePointer");
  auto* words = reinterpret_cast<std::atomic<std::uint32_t>*>(pinned.data);
  Stream stream;
  PageableMemory pageable(4096);
  answer_code("wait.by_device_address", cu::cuStreamWaitValue32_v2(stream, address, 0, cu::at_least));
  answer_code("wait.by_host_address", cu::cuStreamWaitValue32_v2(stream, cu::at(pinned.data), 0, cu::at_least));
  answer_code("wait.at_an_odd_address", cu::cuStreamWaitValue32_v2(stream, address + 2, 0, cu::at_least));
  answer_code("wait.in_pageable_memory", cu::cuStreamWaitValue32_v2(stream, cu::at(pageable.data), 0, cu::at_least));
  answer_code("wait.unknown_flags", cu::cuStreamWaitValue32_v2(stream, address, 0, 0x100));
  stream.sync();

  const auto passes = [&](const char* name, std::uint32_t word, std::uint32_t wanted, unsigned flags, bool expected) {
    Stream own;
    words[8].store(word);
    const int result = cu::cuStreamWaitValue32_v2(own, address + 32, wanted, flags);
    answer_code(std::string("wait.") + name, result);
    if (result != 0) return;
    answer(std::string("wait.") + name + ".passes", runs(own, expected));
    // Opens every comparison.
    words[8].store(flags == 3 ? 0 : wanted);
    own.sync();
  };
  passes("at_least.equal", 7, 7, 0, true);
  passes("at_least.above", 8, 7, 0, true);
  passes("at_least.below", 6, 7, 0, false);
  // The comparison is of a difference, so a counter may go round.
  passes("at_least.round_the_end", 3, 0xfffffff0u, 0, true);
  passes("at_least.before_the_end", 0xfffffff0u, 3, 0, false);
  passes("equal.above", 8, 7, 1, false);
  passes("any_bit.one", 4, 6, 2, true);
  passes("any_bit.none", 8, 6, 2, false);

  answer_code("write.to_pinned", cu::cuStreamWriteValue32_v2(stream, address + 64, 77, 0));
  stream.sync();
  answer("write.to_pinned.value", std::to_string(words[16].load()));
  {
    DeviceMemory device(64);
    Stream waiter, writer;
    answer_code("wait.in_device_memory", cu::cuStreamWaitValue32_v2(waiter, device.address, 5, cu::at_least));
    answer("wait.in_device_memory.passes_early", runs(waiter, false));
    answer_code("write.to_device_memory", cu::cuStreamWriteValue32_v2(writer, device.address, 5, 0));
    answer("wait.in_device_memory.passes_after", runs(waiter, true));
  }
  {
    // A write of the device's while the stream is held comes when it is not.
    Stream own;
    Hold hold(own);
    cu::must(cu::cuStreamWriteValue32_v2(own, address + 128, 9, 0), "cuStreamWriteValue32");
    Event behind;
    cu::must(cu::cuEventRecord(behind, own), "cuEventRecord");
    answer("write.behind_a_hold.is_there", completes(behind, false));
    answer("write.behind_a_hold.value", std::to_string(words[32].load()));
    hold.release();
    answer("write.after_the_hold.is_there", completes(behind, true));
    answer("write.after_the_hold.value", std::to_string(words[32].load()));
  }
  static std::atomic<int> called{0};
  static const auto count = [](void*) { called.fetch_add(1); };
  {
    Stream own;
    Hold hold(own);
    answer_code("host_function.launch", cu::cuLaunchHostFunc(own, count, nullptr));
    answer("host_function.runs_early", runs(own, false));
    answer("host_function.called_early", std::to_string(called.load()));
    hold.release();
    own.sync();
    answer("host_function.called", std::to_string(called.load()));
  }
}

void host_function() {
  static std::atomic<int> answered{-1};
  {
    Stream own;
    cu::must(cu::cuLaunchHostFunc(own, [](void*) {
      cu::address made = 0;
      answered.store(cu::cuMemAlloc_v2(&made, 64));
    }, nullptr), "cuLaunchHostFunc");
    own.sync();
    answer_code("host_function.calls_the_driver", answered.load());
  }
}
