// Contexts: the stack, what needs one, and what may be used from another.
#include "kit.hpp"

namespace {

void stack(cu::context own) {
  cu::context current = nullptr, popped = nullptr;
  answer_code("push", cu::cuCtxPushCurrent_v2(own));
  answer_code("pop", cu::cuCtxPopCurrent_v2(&popped));
  answer("pop.gives_what_was_pushed", popped == own);
  answer_code("get_current", cu::cuCtxGetCurrent(&current));
  answer("get_current.is_what_was_set", current == own);
  cu::context again = nullptr;
  cu::must(cu::cuDevicePrimaryCtxRetain(&again, 0), "cuDevicePrimaryCtxRetain");
  answer("primary.retained_again_is_the_same", again == own);
  cu::cuDevicePrimaryCtxRelease_v2(0);
  cu::device device = -1;
  answer_code("no_such_device", cu::cuDeviceGet(&device, 999));
}

void without_context(const Stream& stream, const Event& event) {
  cu::context popped = nullptr, current = nullptr;
  answer_code("none.pop_of_empty", cu::cuCtxPopCurrent_v2(&popped));
  answer_code("none.get_current", cu::cuCtxGetCurrent(&current));
  answer("none.get_current_is_null", current == nullptr);
  cu::address address = 0;
  answer_code("none.alloc", cu::cuMemAlloc_v2(&address, 64));
  answer_code("none.event_query", cu::cuEventQuery(event));
  answer_code("none.event_record", cu::cuEventRecord(event, stream));
  answer_code("none.stream_query", cu::cuStreamQuery(stream));
  answer_code("none.stream_synchronize", cu::cuStreamSynchronize(stream));
  answer_code("none.stream_get_ctx", cu::cuStreamGetCtx(stream, &current));
  answer_code("none.stream_get_ctx_of_null", cu::cuStreamGetCtx(nullptr, &current));
  cu::device device = -1;
  answer_code("none.get_device", cu::cuCtxGetDevice(&device));
}

void streams(cu::context own) {
  Stream blocking(0), non_blocking;
  struct Named {
    const char* name;
    cu::stream stream;
  };
  std::vector<unsigned long long> ids;
  for (const Named& named : {Named{"null", nullptr}, Named{"legacy", cu::legacy}, Named{"per_thread", cu::per_thread},
                             Named{"blocking", blocking}, Named{"non_blocking", non_blocking}}) {
    cu::context context = nullptr;
    unsigned long long id = 0;
    answer_code(std::string("get_ctx.") + named.name, cu::cuStreamGetCtx(named.stream, &context));
    answer(std::string("get_ctx.") + named.name + ".is_own", context == own);
    answer_code(std::string("get_id.") + named.name, cu::cuStreamGetId(named.stream, &id));
    ids.push_back(id);
  }
  answer("get_id.null_is_legacy", ids[0] == ids[1]);
  answer("get_id.per_thread_is_legacy", ids[2] == ids[1]);
  answer("get_id.created_differ", ids[3] != ids[4] && ids[3] != ids[0] && ids[4] != ids[0] && ids[3] != ids[2] && ids[4] != ids[2]);
  on_other_thread([&] {
    unsigned long long id = 0, legacy = 0;
    cu::cuStreamGetId(cu::per_thread, &id);
    cu::cuStreamGetId(nullptr, &legacy);
    answer("get_id.per_thread_differs_between_threads", id != ids[2]);
    answer("get_id.null_differs_between_threads", legacy != ids[0]);
  });
  // Ids of streams that came and went are not given again.
  bool again = false;
  unsigned long long last = ids[4];
  for (int i = 0; i < 50; ++i) {
    Stream stream;
    unsigned long long id = 0;
    cu::cuStreamGetId(stream, &id);
    again |= id == last;
    last = id;
  }
  answer("get_id.is_used_again", again);
}

void another_context(cu::context own, const Stream& stream, const Event& event) {
  cu::context second = nullptr;
  answer_code("second.create", cu::cuCtxCreate_v2(&second, 0, 0));
  if (second == nullptr) return;
  {
    // The second context is current; stream and event are the first one's.
    answer_code("second.query_event_of_first", cu::cuEventQuery(event));
    answer_code("second.query_stream_of_first", cu::cuStreamQuery(stream));
    answer_code("second.record_event_of_first_on_its_stream", cu::cuEventRecord(event, stream));
    Stream own_stream;
    Event own_event;
    answer_code("second.record_event_of_first_on_own_stream", cu::cuEventRecord(event, own_stream));
    answer_code("second.record_own_event_on_stream_of_first", cu::cuEventRecord(own_event, stream));
    answer_code("second.wait_on_own_stream_for_event_of_first", cu::cuStreamWaitEvent(own_stream, event, 0));
    cu::context of_stream = nullptr;
    cu::must(cu::cuStreamGetCtx(stream, &of_stream), "cuStreamGetCtx");
    answer("second.get_ctx_of_stream_of_first_is_first", of_stream == own);
    unsigned long long first_null = 0, second_null = 0;
    cu::cuStreamGetId(nullptr, &second_null);
    cu::cuCtxPushCurrent_v2(own);
    cu::cuStreamGetId(nullptr, &first_null);
    PinnedMemory portable(4096), plain(4096, 0);
    DeviceMemory device_of_first(4096);
    cu::context popped = nullptr;
    cu::cuCtxPopCurrent_v2(&popped);
    answer("second.null_stream_has_another_id", first_null != second_null);
    DeviceMemory device_of_second(4096);
    answer_code("second.copy_on_stream_of_first", cu::cuMemcpyAsync(device_of_first.address, cu::at(portable.data), 64, stream));
    answer_code("second.copy_from_portable_of_first", cu::cuMemcpyAsync(device_of_second.address, cu::at(portable.data), 64, own_stream));
    answer_code("second.copy_from_pinned_of_first", cu::cuMemcpyAsync(device_of_second.address, cu::at(plain.data), 64, own_stream));
    answer("second.device_address_of_pinned_of_first", [&] {
      cu::address address = 0;
      const int result = cu::cuMemHostGetDevicePointer_v2(&address, portable.data, 0);
      return code(result);
    }());
    own_stream.sync();
    cu::must(cu::cuStreamSynchronize(stream), "cuStreamSynchronize");
  }
  answer_code("second.destroy", cu::cuCtxDestroy_v2(second));
  cu::context current = nullptr;
  cu::cuCtxGetCurrent(&current);
  answer("second.destroyed.current_is_first", current == own);
}

}  // namespace

void contexts() {
  cu::context own = nullptr;
  cu::must(cu::cuCtxGetCurrent(&own), "cuCtxGetCurrent");
  stack(own);
  Stream stream;
  Event event;
  std::thread([&] { without_context(stream, event); }).join();
  streams(own);
  another_context(own, stream, event);
}
