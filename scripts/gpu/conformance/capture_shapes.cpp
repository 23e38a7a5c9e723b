// Captures that begin, spread, meet and end: which of it is refused, and what becomes of them.
#include "kit.hpp"

namespace {

int begin(cu::stream stream, int mode = 1) { return cu::cuStreamBeginCapture_v2(stream, mode); }

std::string end(cu::stream stream) {
  cu::graph graph = nullptr;
  const int result = cu::cuStreamEndCapture(stream, &graph);
  const std::string made = graph != nullptr ? ", a graph" : ", no graph";
  if (graph != nullptr) cu::cuGraphDestroy(graph);
  return code(result) + made;
}

std::string state(cu::stream stream) {
  int status = -1;
  const int result = cu::cuStreamIsCapturing(stream, &status);
  if (result != 0) return code(result);
  return status == 0 ? "none" : status == 1 ? "active" : "invalidated";
}

void ends() {
  Stream stream, other;
  cu::graph graph = nullptr;
  answer_code("end.without_begin", cu::cuStreamEndCapture(stream, &graph));
  answer_code("begin", begin(stream));
  answer_code("begin.twice", begin(stream));
  answer("begin.twice.state", state(stream));
  answer("begin.twice.end", end(stream));
  answer_code("begin.unknown_mode", begin(stream, 7));
  answer_code("begin.on_null", begin(nullptr));
  answer_code("begin.on_legacy", begin(cu::legacy));
  answer_code("begin.on_per_thread", begin(cu::per_thread));
  if (state(cu::per_thread) == "active") answer("begin.on_per_thread.end", end(cu::per_thread));
  for (int mode = 0; mode < 3; ++mode) {
    const std::string name = "end.in_another_thread." + std::string(mode == 0 ? "global" : mode == 1 ? "thread_local" : "relaxed");
    cu::must(begin(stream, mode), "cuStreamBeginCapture");
    on_other_thread([&] { answer(name, end(stream)); });
    answer(name + ".state_after", state(stream));
    if (state(stream) != "none") answer(name + ".end_in_own_thread", end(stream));
  }
}

void spread() {
  {
    Stream origin, fork;
    Event at_fork, at_join;
    DeviceMemory memory(64);
    cu::must(begin(origin), "cuStreamBeginCapture");
    cu::must(cu::cuMemsetD8Async(memory.address, 1, 64, origin), "cuMemsetD8Async");
    cu::must(cu::cuEventRecord(at_fork, origin), "cuEventRecord");
    answer_code("fork.wait", cu::cuStreamWaitEvent(fork, at_fork, 0));
    answer("fork.state", state(fork));
    answer_code("fork.queue", cu::cuMemsetD8Async(memory.address, 2, 64, fork));
    answer_code("fork.record", cu::cuEventRecord(at_join, fork));
    answer_code("join.wait", cu::cuStreamWaitEvent(origin, at_join, 0));
    answer("join.end", end(origin));
    answer("join.fork_state_after", state(fork));
    answer_code("after_capture.query_its_event", cu::cuEventQuery(at_fork));
    answer_code("after_capture.wait_for_its_event", cu::cuStreamWaitEvent(fork, at_fork, 0));
    answer_code("after_capture.record_its_event_again", cu::cuEventRecord(at_fork, fork));
    fork.sync();
    answer_code("after_capture.query_recorded_again", cu::cuEventQuery(at_fork));
  }
  {
    Stream origin, fork;
    Event event;
    DeviceMemory memory(64);
    cu::must(begin(origin), "cuStreamBeginCapture");
    cu::must(cu::cuEventRecord(event, origin), "cuEventRecord");
    cu::must(cu::cuStreamWaitEvent(fork, event, 0), "cuStreamWaitEvent");
    cu::must(cu::cuMemsetD8Async(memory.address, 1, 64, fork), "cuMemsetD8Async");
    answer("unjoined.end", end(origin));
    answer("unjoined.fork_state_after", state(fork));
    answer("unjoined.origin_state_after", state(origin));
  }
  {
    Stream origin, fork;
    Event event;
    DeviceMemory memory(64);
    cu::must(begin(origin), "cuStreamBeginCapture");
    cu::must(cu::cuEventRecord(event, origin), "cuEventRecord");
    cu::must(cu::cuStreamWaitEvent(fork, event, 0), "cuStreamWaitEvent");
    answer("unjoined_without_work.end", end(origin));
  }
  {
    Stream origin, fork;
    Event event;
    cu::must(begin(origin), "cuStreamBeginCapture");
    cu::must(cu::cuEventRecord(event, origin), "cuEventRecord");
    cu::must(cu::cuStreamWaitEvent(fork, event, 0), "cuStreamWaitEvent");
    answer("end_on_the_fork", end(fork));
    answer("end_on_the_fork.origin_state", state(origin));
    if (state(origin) != "none") answer("end_on_the_fork.origin_end", end(origin));
  }
  {
    Stream first, second;
    Event event;
    DeviceMemory memory(64);
    cu::must(begin(first), "cuStreamBeginCapture");
    cu::must(begin(second), "cuStreamBeginCapture");
    cu::must(cu::cuMemsetD8Async(memory.address, 1, 64, first), "cuMemsetD8Async");
    cu::must(cu::cuEventRecord(event, first), "cuEventRecord");
    answer_code("merge.wait", cu::cuStreamWaitEvent(second, event, 0));
    answer("merge.first_end", end(first));
    answer("merge.second_end", end(second));
  }
  {
    Stream outside, origin;
    Event event, never;
    DeviceMemory memory(64);
    cu::must(cu::cuMemsetD8Async(memory.address, 1, 64, outside), "cuMemsetD8Async");
    cu::must(cu::cuEventRecord(event, outside), "cuEventRecord");
    cu::must(begin(origin), "cuStreamBeginCapture");
    answer_code("isolation.wait_for_outside", cu::cuStreamWaitEvent(origin, event, 0));
    answer("isolation.state", state(origin));
    answer("isolation.end", end(origin));
    cu::must(begin(origin), "cuStreamBeginCapture");
    answer_code("isolation.wait_for_never_recorded", cu::cuStreamWaitEvent(origin, never, 0));
    answer("isolation.never_recorded.end", end(origin));
  }
  {
    // Work of another stream goes on while one captures.
    Stream origin, outside;
    DeviceMemory memory(64);
    cu::must(begin(origin), "cuStreamBeginCapture");
    cu::must(cu::cuMemsetD8Async(memory.address, 1, 64, origin), "cuMemsetD8Async");
    cu::must(cu::cuMemsetD8Async(memory.address, 2, 64, outside), "cuMemsetD8Async");
    answer("beside.end", end(origin));
    outside.sync();
    answer("beside.only_the_other_ran", which(memory.get().data(), 64, 1, 2));
  }
}

void graphs() {
  Stream stream, held;
  cu::graph graph = nullptr;
  cu::executable executable = nullptr;
  cu::must(begin(stream), "cuStreamBeginCapture");
  answer_code("empty.end", cu::cuStreamEndCapture(stream, &graph));
  answer_code("empty.instantiate", cu::cuGraphInstantiateWithFlags(&executable, graph, 0));
  cu::cuGraphDestroy(graph);
  answer_code("empty.launch", cu::cuGraphLaunch(executable, stream));
  answer_code("empty.launch_on_null", cu::cuGraphLaunch(executable, nullptr));
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  cu::cuGraphExecDestroy(executable);

  PinnedMemory words(4096);
  cu::address address = 0;
  cu::must(cu::cuMemHostGetDevicePointer_v2(&address, words.data, 0), "cuMemHostGetDevicePointer");
  cu::must(begin(stream), "cuStreamBeginCapture");
  answer_code("captured.wait_value", cu::cuStreamWaitValue32_v2(stream, address, 0, cu::at_least));
  answer("captured.wait_value.end", end(stream));
  cu::must(begin(stream), "cuStreamBeginCapture");
  answer_code("captured.host_function", cu::cuLaunchHostFunc(stream, [](void*) {}, nullptr));
  answer("captured.host_function.end", end(stream));
  cu::must(begin(stream), "cuStreamBeginCapture");
  cu::address made = 0;
  answer_code("captured.alloc_async", cu::cuMemAllocAsync(&made, 64, stream));
  if (made != 0) cu::cuMemFreeAsync(made, stream);
  answer("captured.alloc_async.end", end(stream));
}

}  // namespace

void capture_shapes() {
  ends();
  spread();
  graphs();
}
