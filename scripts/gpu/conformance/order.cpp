// Which streams wait for which: the legacy default stream, the per-thread one, blocking and non-blocking ones.
#include "kit.hpp"

void order() {
  const cu::stream null = nullptr;
  {
    Stream blocking(0), other(0), non_blocking;
    Hold hold(blocking);
    answer("held_blocking.other_blocking_runs", runs(other, true));
    answer("held_blocking.non_blocking_runs", runs(non_blocking, true));
    answer("held_blocking.per_thread_runs", runs(cu::per_thread, true));
    Event on_null;
    answer_code("held_blocking.record_on_null", cu::cuEventRecord(on_null, null));
    answer("held_blocking.null_runs", completes(on_null, false));
    answer_code("held_blocking.query_null", cu::cuStreamQuery(null));
    // The default stream has work that waits: those that it is ordered with wait for that.
    answer("pending_null.other_blocking_runs", runs(other, false));
    answer("pending_null.per_thread_runs", runs(cu::per_thread, false));
    answer("pending_null.non_blocking_runs", runs(non_blocking, true));
    hold.release();
    answer("pending_null.runs_after_release", completes(on_null, true));
  }
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  {
    Stream non_blocking;
    Hold hold(non_blocking);
    answer("held_non_blocking.null_runs", runs(null, true));
    answer_code("held_non_blocking.query_null", cu::cuStreamQuery(null));
    answer("held_non_blocking.waits_at_sync_of_null", hold.blocks([&] { cu::cuStreamSynchronize(null); }));
  }
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  {
    Stream blocking(0);
    Hold hold(blocking);
    // Nothing was queued on the default stream itself.
    answer_code("held_blocking.query_empty_null", cu::cuStreamQuery(null));
    answer("held_blocking.waits_at_sync_of_null", hold.blocks([&] { cu::cuStreamSynchronize(null); }));
  }
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  {
    Hold hold(cu::per_thread);
    answer("held_per_thread.null_runs", runs(null, false));
    hold.release();
  }
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  {
    Stream blocking(0);
    Hold hold(cu::per_thread);
    on_other_thread([&] { answer("held_per_thread.that_of_another_thread_runs", runs(cu::per_thread, true)); });
    answer("held_per_thread.blocking_runs", runs(blocking, true));
    hold.release();
  }
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  {
    // Bytes in order: a fill on a blocking stream, a copy on the default one, a fill on another blocking stream.
    Stream first(0), second(0);
    DeviceMemory memory(1 << 20);
    PinnedMemory host(1 << 20);
    Hold hold(first);
    cu::must(cu::cuMemsetD8Async(memory.address, 1, memory.bytes, first), "cuMemsetD8Async");
    cu::must(cu::cuMemcpyDtoHAsync_v2(host.data, memory.address, memory.bytes, null), "cuMemcpyDtoHAsync");
    cu::must(cu::cuMemsetD8Async(memory.address, 2, memory.bytes, second), "cuMemsetD8Async");
    hold.release();
    cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
    answer("null_between_two_blocking.copied", which(host.data, host.bytes, 1, 2));
  }
}

void legacy_held() {
  Stream blocking(0), non_blocking;
  Hold hold(cu::legacy);
  answer_code("held_legacy.query_null", cu::cuStreamQuery(nullptr));
  answer("held_legacy.non_blocking_runs", runs(non_blocking, true));
  answer("held_legacy.blocking_runs", runs(blocking, false));
  answer("held_legacy.per_thread_runs", runs(cu::per_thread, false));
  hold.release();
  answer("held_legacy.runs_after_release", runs(nullptr, true));
}
