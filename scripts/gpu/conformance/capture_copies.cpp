// What a captured copy keeps of its source: the address, not the bytes; and which copies may be captured.
#include "kit.hpp"

namespace {

constexpr unsigned char A = 0xa1, B = 0xb2;

// Captures `queue` on a stream. Null where that was refused.
cu::executable captured(const std::string& name, cu::stream stream, const std::function<int()>& queue) {
  cu::must(cu::cuStreamBeginCapture_v2(stream, 1), "cuStreamBeginCapture");
  answer_code(name + ".captured", queue());
  cu::graph graph = nullptr;
  const int result = cu::cuStreamEndCapture(stream, &graph);
  answer_code(name + ".end", result);
  if (result != 0 || graph == nullptr) return nullptr;
  cu::executable executable = nullptr;
  answer_code(name + ".instantiate", cu::cuGraphInstantiateWithFlags(&executable, graph, 0));
  cu::cuGraphDestroy(graph);
  return executable;
}

// Launches behind a held stream, with the source rewritten before the launch, and again before it runs.
void replay(const std::string& name, unsigned char* source, std::size_t bytes) {
  Stream stream;
  DeviceMemory target(bytes);
  std::memset(source, A, bytes);
  const cu::executable executable = captured(name, stream, [&] { return cu::cuMemcpyHtoDAsync_v2(target.address, source, bytes, stream); });
  if (executable == nullptr) return;
  answer(name + ".runs_at_capture", which(target.get().data(), bytes, 0, A) != "A");
  std::memset(source, B, bytes);
  answer_code(name + ".launch", cu::cuGraphLaunch(executable, stream));
  stream.sync();
  const std::string seen = which(target.get().data(), bytes, A, B);
  answer(name + ".bytes", seen == "B" ? "of the launch" : seen == "A" ? "of the capture" : "mixed");
  {
    std::memset(source, A, bytes);
    Hold hold(stream);
    int result = -1;
    const bool blocked = hold.blocks([&] { result = cu::cuGraphLaunch(executable, stream); });
    std::memset(source, B, bytes);
    hold.release();
    stream.sync();
    answer_code(name + ".held.launch", result);
    answer(name + ".held.waits_for_the_stream", blocked);
  }
  const std::string held = which(target.get().data(), bytes, A, B);
  answer(name + ".held.source_is_read", held == "B" ? "when it runs" : held == "A" ? "at the launch" : "mixed");
  cu::cuGraphExecDestroy(executable);
}

void replay_to_host(const std::string& name, unsigned char* target, std::size_t bytes) {
  Stream stream;
  DeviceMemory source(bytes);
  source.set(A);
  std::memset(target, 0, bytes);
  const cu::executable executable = captured(name, stream, [&] { return cu::cuMemcpyDtoHAsync_v2(target, source.address, bytes, stream); });
  if (executable == nullptr) return;
  source.set(B);
  answer_code(name + ".launch", cu::cuGraphLaunch(executable, stream));
  stream.sync();
  answer(name + ".bytes", which(target, bytes, B, A) == "A" ? "of the launch" : "other");
  cu::cuGraphExecDestroy(executable);
}

}  // namespace

void capture_copies() {
  for (std::size_t bytes : {std::size_t{4}, std::size_t{1} << 16, std::size_t{1} << 20}) {
    PinnedMemory pinned(bytes);
    replay("pinned_to_device." + size_name(bytes), pinned.data, bytes);
    replay_to_host("device_to_pinned." + size_name(bytes), pinned.data, bytes);
    PageableMemory pageable(bytes);
    replay("pageable_to_device." + size_name(bytes), pageable.data, bytes);
    replay_to_host("device_to_pageable." + size_name(bytes), pageable.data, bytes);
  }
  {
    constexpr std::size_t bytes = 1 << 16;
    PageableMemory memory(bytes);
    cu::must(cu::cuMemHostRegister_v2(memory.data, bytes, cu::portable_mapped), "cuMemHostRegister");
    replay("registered_to_device." + size_name(bytes), memory.data, bytes);
    cu::cuMemHostUnregister(memory.data);
  }
  {
    // One graph, replayed five times with other bytes each time, and the copies out of order with nothing.
    Stream stream;
    constexpr std::size_t bytes = 4096;
    PinnedMemory source(bytes);
    DeviceMemory target(bytes), log(5 * bytes);
    const cu::executable executable =
        captured("five_replays", stream, [&] { return cu::cuMemcpyHtoDAsync_v2(target.address, source.data, bytes, stream); });
    if (executable == nullptr) return;
    for (int i = 0; i < 5; ++i) {
      std::memset(source.data, i + 1, bytes);
      cu::must(cu::cuGraphLaunch(executable, stream), "cuGraphLaunch");
      cu::must(cu::cuMemcpyDtoDAsync_v2(log.address + static_cast<cu::address>(i) * bytes, target.address, bytes, stream), "cuMemcpyDtoDAsync");
      stream.sync();
    }
    const auto seen = log.get();
    bool each = true;
    for (std::size_t i = 0; i < seen.size(); ++i) each &= seen[i] == i / bytes + 1;
    answer("five_replays.each_reads_anew", each);
    cu::cuGraphExecDestroy(executable);
  }
}
