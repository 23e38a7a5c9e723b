// Events: never recorded, recorded again, and destroyed while somebody waits; streams destroyed with work.
#include "kit.hpp"

void events() {
  {
    Event never, timed(0);
    Stream stream;
    answer_code("never_recorded.query", cu::cuEventQuery(never));
    answer_code("never_recorded.synchronize", cu::cuEventSynchronize(never));
    answer_code("never_recorded.wait", cu::cuStreamWaitEvent(stream, never, 0));
    answer("never_recorded.waiter_runs", runs(stream, true));
    float time = 0;
    answer_code("never_recorded.elapsed", cu::cuEventElapsedTime(&time, timed, timed));
    cu::must(cu::cuEventRecord(never, stream), "cuEventRecord");
    stream.sync();
    answer_code("recorded.query", cu::cuEventQuery(never));
    answer_code("without_timing.elapsed", cu::cuEventElapsedTime(&time, never, never));
    cu::event handle = nullptr;
    answer_code("unknown_flags.create", cu::cuEventCreate(&handle, 1u << 20));
  }
  {
    Event timed(0), later(0);
    Stream stream;
    cu::must(cu::cuEventRecord(timed, stream), "cuEventRecord");
    Hold hold(stream);
    cu::must(cu::cuEventRecord(later, stream), "cuEventRecord");
    float time = 0;
    answer_code("pending.elapsed", cu::cuEventElapsedTime(&time, timed, later));
    answer_code("pending.query", cu::cuEventQuery(later));
    hold.release();
    stream.sync();
    answer_code("done.elapsed", cu::cuEventElapsedTime(&time, timed, later));
  }
  {
    Event event;
    Stream held, idle, waiter;
    Hold hold(held);
    cu::must(cu::cuEventRecord(event, held), "cuEventRecord");
    cu::must(cu::cuStreamWaitEvent(waiter, event, 0), "cuStreamWaitEvent");
    answer_code("recorded_again.record", cu::cuEventRecord(event, idle));
    answer("recorded_again.completes_by_the_second_record", completes(event, true));
    answer("recorded_again.waiter_goes_on_early", runs(waiter, false));
    hold.release();
    answer("recorded_again.waiter_goes_on_after", runs(waiter, true));
  }
  {
    // Recorded first where it is idle, then where it is held.
    Event event;
    Stream held, idle;
    cu::must(cu::cuEventRecord(event, idle), "cuEventRecord");
    idle.sync();
    Hold hold(held);
    cu::must(cu::cuEventRecord(event, held), "cuEventRecord");
    answer_code("recorded_again_on_held.query", cu::cuEventQuery(event));
    answer("recorded_again_on_held.waits_at_synchronize", hold.blocks([&] { cu::cuEventSynchronize(event); }));
  }
  {
    Event event, after;
    Stream held, waiter;
    Hold hold(held);
    cu::must(cu::cuEventRecord(event, held), "cuEventRecord");
    cu::must(cu::cuStreamWaitEvent(waiter, event, 0), "cuStreamWaitEvent");
    int result = -1;
    const bool blocked = hold.blocks([&] { result = cu::cuEventDestroy_v2(event.handle); });
    event.handle = nullptr;
    answer_code("destroyed_pending.destroy", result);
    answer("destroyed_pending.destroy_waits", blocked);
    if (!blocked) answer("destroyed_pending.waiter_goes_on_early", runs(waiter, false));
    hold.release();
    answer("destroyed_pending.waiter_goes_on_after", runs(waiter, true));
  }
  {
    Event event;
    Stream stream;
    DeviceMemory device(1 << 16);
    PinnedMemory host(1 << 16);
    device.set(7);
    Hold hold(stream);
    cu::must(cu::cuMemcpyDtoHAsync_v2(host.data, device.address, host.bytes, stream), "cuMemcpyDtoHAsync");
    cu::must(cu::cuEventRecord(event, stream), "cuEventRecord");
    int result = -1;
    const bool blocked = hold.blocks([&] { result = cu::cuStreamDestroy_v2(stream.handle); });
    stream.handle = nullptr;
    answer_code("stream_destroyed_pending.destroy", result);
    answer("stream_destroyed_pending.destroy_waits", blocked);
    if (!blocked) answer_code("stream_destroyed_pending.query_before", cu::cuEventQuery(event));
    hold.release();
    answer("stream_destroyed_pending.event_completes", completes(event, true));
    answer("stream_destroyed_pending.bytes", which(host.data, host.bytes, 7, 0));
  }
}
