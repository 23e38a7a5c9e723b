// What may be called while a stream is captured: in each mode, from the capturing thread and from another, and whether the
// capture survives it.
#include "kit.hpp"

namespace {

constexpr const char* modes[] = {"global", "thread_local", "relaxed"};
constexpr int relaxed = 2;

// What calls are made with; made before the capture, given back after it.
struct Things {
  Things() : device(4096), spare_device(4096), pinned(4096), pageable(4096), registered(4096) {
    cu::must(cu::cuMemHostRegister_v2(registered.data, registered.bytes, cu::portable_mapped), "cuMemHostRegister");
    cu::must(cu::cuEventRecord(recorded, other), "cuEventRecord");
    other.sync();
  }
  ~Things() {
    cu::cuMemHostUnregister(registered.data);
    if (made_device != 0) cu::cuMemFree_v2(made_device);
    if (made_pinned != nullptr) cu::cuMemFreeHost(made_pinned);
    if (made_stream != nullptr) cu::cuStreamDestroy_v2(made_stream);
    if (made_event != nullptr) cu::cuEventDestroy_v2(made_event);
    cu::cuMemHostUnregister(pageable.data);
  }
  cu::stream captured = nullptr;
  Stream other, spare_stream;
  Event recorded, in_capture, spare_event;
  DeviceMemory device, spare_device;
  PinnedMemory pinned;
  PageableMemory pageable, registered;
  cu::address made_device = 0;
  void* made_pinned = nullptr;
  cu::stream made_stream = nullptr;
  cu::event made_event = nullptr;
};

struct Call {
  const char* name;
  int (*make)(Things&);
};

// A call made with the thread's mode set aside, as the library makes its own.
template <int (*Make)(Things&)>
int set_aside(Things& things) {
  int mode = relaxed;
  cu::must(cu::cuThreadExchangeStreamCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode");
  const int result = Make(things);
  cu::must(cu::cuThreadExchangeStreamCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode");
  return result;
}

int alloc(Things& t) { return cu::cuMemAlloc_v2(&t.made_device, 4096); }
int host_alloc(Things& t) { return cu::cuMemHostAlloc(&t.made_pinned, 4096, cu::portable_mapped); }
int host_register(Things& t) { return cu::cuMemHostRegister_v2(t.pageable.data, t.pageable.bytes, cu::portable_mapped); }
int query_recorded(Things& t) { return cu::cuEventQuery(t.recorded); }
int sync_recorded(Things& t) { return cu::cuEventSynchronize(t.recorded); }
int query_other(Things& t) { return cu::cuStreamQuery(t.other); }
int sync_other(Things& t) { return cu::cuStreamSynchronize(t.other); }
int event_create(Things& t) { return cu::cuEventCreate(&t.made_event, cu::disable_timing); }
int stream_create(Things& t) { return cu::cuStreamCreate(&t.made_stream, cu::non_blocking); }
int event_destroy(Things& t) {
  const int result = cu::cuEventDestroy_v2(t.spare_event.handle);
  if (result == 0) t.spare_event.handle = nullptr;
  return result;
}
int stream_destroy(Things& t) {
  const int result = cu::cuStreamDestroy_v2(t.spare_stream.handle);
  if (result == 0) t.spare_stream.handle = nullptr;
  return result;
}
int ctx_synchronize(Things&) { return cu::cuCtxSynchronize(); }

const Call calls[] = {
    {"query_captured_stream", [](Things& t) { return cu::cuStreamQuery(t.captured); }},
    {"synchronize_captured_stream", [](Things& t) { return cu::cuStreamSynchronize(t.captured); }},
    {"is_capturing", [](Things& t) { int status = 0; return cu::cuStreamIsCapturing(t.captured, &status); }},
    {"is_capturing_of_null", [](Things&) { int status = 0; return cu::cuStreamIsCapturing(nullptr, &status); }},
    {"query_other_stream", query_other},
    {"synchronize_other_stream", sync_other},
    {"query_event", query_recorded},
    {"synchronize_event", sync_recorded},
    {"query_event_of_capture", [](Things& t) { return cu::cuEventQuery(t.in_capture); }},
    {"synchronize_event_of_capture", [](Things& t) { return cu::cuEventSynchronize(t.in_capture); }},
    {"record_on_other_stream", [](Things& t) { return cu::cuEventRecord(t.recorded, t.other); }},
    {"record_on_null", [](Things& t) { return cu::cuEventRecord(t.recorded, nullptr); }},
    {"record_on_per_thread", [](Things& t) { return cu::cuEventRecord(t.recorded, cu::per_thread); }},
    {"query_null", [](Things&) { return cu::cuStreamQuery(nullptr); }},
    {"synchronize_null", [](Things&) { return cu::cuStreamSynchronize(nullptr); }},
    {"ctx_synchronize", ctx_synchronize},
    {"alloc", alloc},
    {"free", [](Things& t) {
       const int result = cu::cuMemFree_v2(t.spare_device.address);
       if (result == 0) t.spare_device.address = 0;
       return result;
     }},
    {"alloc_async_on_other_stream", [](Things& t) {
       cu::address made = 0;
       const int result = cu::cuMemAllocAsync(&made, 4096, t.other);
       if (result == 0) cu::cuMemFreeAsync(made, t.other);
       return result;
     }},
    {"host_alloc", host_alloc},
    {"host_free", [](Things& t) {
       const int result = cu::cuMemFreeHost(t.pinned.data);
       if (result == 0) t.pinned.data = nullptr;
       return result;
     }},
    {"host_register", host_register},
    {"host_unregister", [](Things& t) { return cu::cuMemHostUnregister(t.registered.data); }},
    {"get_flags", [](Things& t) { unsigned flags = 0; return cu::cuMemHostGetFlags(&flags, t.pinned.data); }},
    {"get_device_pointer", [](Things& t) { cu::address at = 0; return cu::cuMemHostGetDevicePointer_v2(&at, t.pinned.data, 0); }},
    {"memcpy", [](Things& t) { return cu::cuMemcpyHtoD_v2(t.device.address, t.pinned.data, 64); }},
    {"memcpy_async_on_other_stream", [](Things& t) { return cu::cuMemcpyHtoDAsync_v2(t.device.address, t.pinned.data, 64, t.other); }},
    {"memcpy_async_on_null", [](Things& t) { return cu::cuMemcpyHtoDAsync_v2(t.device.address, t.pinned.data, 64, nullptr); }},
    {"memset", [](Things& t) { return cu::cuMemsetD8_v2(t.device.address, 1, 64); }},
    {"event_create", event_create},
    {"event_destroy", event_destroy},
    {"stream_create", stream_create},
    {"stream_destroy", stream_destroy},
    {"get_ctx_of_captured", [](Things& t) { cu::context found = nullptr; return cu::cuStreamGetCtx(t.captured, &found); }},
    {"get_id_of_captured", [](Things& t) { unsigned long long id = 0; return cu::cuStreamGetId(t.captured, &id); }},
    {"set_aside.alloc", set_aside<alloc>},
    {"set_aside.host_alloc", set_aside<host_alloc>},
    {"set_aside.host_register", set_aside<host_register>},
    {"set_aside.query_event", set_aside<query_recorded>},
    {"set_aside.synchronize_event", set_aside<sync_recorded>},
    {"set_aside.query_other_stream", set_aside<query_other>},
    {"set_aside.synchronize_other_stream", set_aside<sync_other>},
    {"set_aside.event_create", set_aside<event_create>},
    {"set_aside.event_destroy", set_aside<event_destroy>},
    {"set_aside.stream_destroy", set_aside<stream_destroy>},
    {"set_aside.ctx_synchronize", set_aside<ctx_synchronize>},
};

std::string ended(cu::stream stream) {
  cu::graph graph = nullptr;
  const int result = cu::cuStreamEndCapture(stream, &graph);
  if (graph != nullptr) cu::cuGraphDestroy(graph);
  return code(result);
}

// One call while a stream captures; three answers on one line: its code, the capture's state after it, and how it ended.
void while_capturing(const std::string& name, unsigned stream_flags, int mode, bool from_other_thread, const Call& call) {
  Stream stream(stream_flags);
  Things things;
  cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
  things.captured = stream;
  cu::must(cu::cuStreamBeginCapture_v2(stream, mode), "cuStreamBeginCapture");
  cu::must(cu::cuMemsetD8Async(things.device.address, 1, 16, stream), "cuMemsetD8Async");
  cu::must(cu::cuEventRecord(things.in_capture, stream), "cuEventRecord");
  int result = -1;
  if (from_other_thread) {
    on_other_thread([&] { result = call.make(things); });
  } else {
    result = call.make(things);
  }
  int status = -1;
  const int asked = cu::cuStreamIsCapturing(stream, &status);
  const char* const states[] = {"none", "active", "invalidated"};
  const std::string state = asked == 0 && status >= 0 && status < 3 ? states[status] : code(asked);
  answer(name, code(result) + ", then " + state + ", ends " + ended(stream));
}

}  // namespace

void capture_modes() {
  for (int mode = 0; mode < 3; ++mode) {
    for (bool other : {false, true}) {
      for (const Call& call : calls) {
        while_capturing(std::string(modes[mode]) + (other ? ".other_thread." : ".own_thread.") + call.name, cu::non_blocking, mode, other, call);
      }
    }
  }
  // The default stream beside a blocking stream that captures, for which it would have to wait.
  for (int mode = 0; mode < 3; ++mode) {
    for (const Call& call : calls) {
      const std::string name = call.name;
      if (name.find("null") == std::string::npos && name != "memcpy" && name != "memset") continue;
      while_capturing(std::string(modes[mode]) + ".blocking_stream." + name, 0, mode, false, call);
    }
  }
}
