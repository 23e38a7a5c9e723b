// Which calls wait for work of a stream that has nothing to do with them: what must not stand on the path of a step.
#include "kit.hpp"

void blocking() {
  struct Call {
    const char* name;
    std::function<int()> make;
  };
  cu::address device = 0, spare = 0, ordered = 0;
  void *pinned = nullptr, *spare_pinned = nullptr;
  PageableMemory pageable(1 << 20);
  Stream idle, spare_stream;
  Event event, spare_event;
  cu::must(cu::cuMemAlloc_v2(&spare, 1 << 20), "cuMemAlloc");
  cu::must(cu::cuMemHostAlloc(&spare_pinned, 1 << 20, cu::portable_mapped), "cuMemHostAlloc");
  cu::stream made = nullptr;
  cu::event made_event = nullptr;
  // In this order: each undoes what one before it made.
  const std::vector<Call> calls = {
      {"stream_create", [&] { return cu::cuStreamCreate(&made, cu::non_blocking); }},
      {"stream_destroy", [&] { return cu::cuStreamDestroy_v2(made); }},
      {"event_create", [&] { return cu::cuEventCreate(&made_event, cu::disable_timing); }},
      {"event_destroy", [&] { return cu::cuEventDestroy_v2(made_event); }},
      {"event_record", [&] { return cu::cuEventRecord(event, idle); }},
      {"event_query", [&] { return cu::cuEventQuery(event) == cu::not_ready ? 0 : cu::cuEventQuery(event); }},
      {"stream_synchronize", [&] { return cu::cuStreamSynchronize(idle); }},
      {"mem_alloc", [&] { return cu::cuMemAlloc_v2(&device, 1 << 20); }},
      {"mem_free", [&] { return cu::cuMemFree_v2(spare); }},
      {"mem_alloc_async", [&] { return cu::cuMemAllocAsync(&ordered, 1 << 20, idle); }},
      {"mem_free_async", [&] { return cu::cuMemFreeAsync(ordered, idle); }},
      {"mem_host_alloc", [&] { return cu::cuMemHostAlloc(&pinned, 1 << 20, cu::portable_mapped); }},
      {"mem_host_alloc_large", [&] {
         void* large = nullptr;
         const int result = cu::cuMemHostAlloc(&large, 64 << 20, cu::portable_mapped);
         return result;  // Left to the process exit: a free would be another call.
       }},
      {"mem_free_host", [&] { return cu::cuMemFreeHost(spare_pinned); }},
      {"mem_host_register", [&] { return cu::cuMemHostRegister_v2(pageable.data, pageable.bytes, cu::portable_mapped); }},
      {"mem_host_unregister", [&] { return cu::cuMemHostUnregister(pageable.data); }},
      {"memset_async", [&] { return cu::cuMemsetD32Async(device, 1, 1 << 10, idle); }},
      {"memset_2d_async", [&] { return cu::cuMemsetD2D32Async(device, 8, 1, 1, 1 << 10, idle); }},
      {"ctx_synchronize", [&] { return cu::cuCtxSynchronize(); }},
  };
  for (const Call& call : calls) {
    Stream held;
    Hold hold(held);
    int result = -1;
    const bool blocked = hold.blocks([&] { result = call.make(); });
    hold.release();
    held.sync();
    answer_code(std::string(call.name) + ".code", result);
    answer(std::string(call.name) + ".waits_for_another_stream", blocked);
  }
  cu::cuMemFree_v2(device);
  cu::cuMemFreeHost(pinned);
}
