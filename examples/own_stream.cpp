// An application that owns its context, streams, events and graph, and lets gpubuf stage its inputs.
//
// What is the application's own goes through the driver (cu*); what is gpubuf's is ordered with it by three things: the wrapped
// stream, the application's events, and a graph hold. No call of gpubuf changes the current context.
#include <gpubuf/gpubuf.hpp>

#include <cstdio>
#include <cstdint>
#include <vector>

#include "own_stream/driver.hpp"

namespace {

constexpr std::size_t rows = 256;
constexpr std::size_t bytes = rows * sizeof(std::int32_t);

/// The application's side: a context, two streams, an event, and device memory for its results.
struct application {
  cuda_driver cu;
  CUcontext context = nullptr;
  CUstream compute = nullptr, results = nullptr;
  CUevent done = nullptr;
  CUdeviceptr output = 0;

  application() {
    cu("cuInit", 0u);
    cu("cuCtxCreate_v2", &context, 0u, 0);
    cu("cuStreamCreate", &compute, 1u);
    cu("cuStreamCreate", &results, 1u);
    cu("cuEventCreate", &done, 2u);
    cu("cuMemAlloc_v2", &output, bytes);
  }
  ~application() {
    cu("cuMemFree_v2", output);
    cu("cuEventDestroy_v2", done);
    cu("cuStreamDestroy_v2", results);
    cu("cuStreamDestroy_v2", compute);
    cu("cuCtxDestroy_v2", context);
  }
  /// Stands for the application's kernels: they read what was staged, and write the output.
  void kernels(CUdeviceptr input) const { cu("cuMemcpyDtoDAsync_v2", output, input, bytes, compute); }

  std::vector<std::int32_t> fetch() const {
    std::vector<std::int32_t> host(rows);
    cu("cuStreamSynchronize", results);
    cu("cuMemcpyDtoH_v2", static_cast<void*>(host.data()), output, bytes);
    return host;
  }
};

bool all_are(const std::vector<std::int32_t>& values, std::int32_t wanted) {
  for (const std::int32_t value : values) {
    if (value != wanted) return false;
  }
  return true;
}

/// Steps: gpubuf packs and copies, the application launches on its own stream.
bool steps(const application& app, const gpubuf::device& device, const gpubuf::stream& compute) {
  auto slots = gpubuf::slots::create(device);
  const auto tokens = slots.add<std::int32_t>("tokens", {rows});
  slots.freeze();
  const CUdeviceptr input = slots.info(tokens).device_address;  // fixed from here on
  bool right = true;
  for (std::int32_t n = 1; n <= 5; ++n) {
    const std::vector<std::int32_t> values(rows, n);
    auto step = slots.begin();  // waits only if the device still reads this part of the ring
    step.write(tokens, values);
    step.commit(compute);  // one copy, on the application's stream
    app.kernels(input);
    app.cu("cuEventRecord", app.done, app.compute);
    step.retire();  // everything that reads the inputs is queued
    app.cu("cuStreamWaitEvent", app.results, app.done, 0u);
    right = all_are(app.fetch(), n) && right;
  }
  return right;
}

/// Work on a stream that gpubuf does not know: declared by an event of the application's.
bool events(const application& app, const gpubuf::device& device, const gpubuf::stream& compute) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {rows});
  buffer.fill_host(std::int32_t{7});
  buffer.to_device(compute);
  compute.record_native_event(app.done);  // out: the other stream waits for the copy
  app.cu("cuStreamWaitEvent", app.results, app.done, 0u);
  const CUdeviceptr input = buffer.device_address({compute});
  app.cu("cuMemcpyDtoDAsync_v2", app.output, input, bytes, app.results);
  app.cu("cuEventRecord", app.done, app.results);
  compute.wait_native_event(app.done);  // in: what is queued there is ordered before what comes here
  buffer.used_on(compute, gpubuf::access::read);
  return all_are(app.fetch(), 7);
}

/// A graph of the application's that copies a held buffer at each replay.
bool graph(const application& app, const gpubuf::device& device, const gpubuf::stream& compute) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {rows});
  const CUdeviceptr input = buffer.device_address({compute});
  auto hold = gpubuf::graph_hold::create(device);
  hold.add(buffer);  // before the capture: from now on it stays where it is
  CUgraph captured = nullptr;
  CUgraphExec executable = nullptr;
  app.cu("cuStreamBeginCapture_v2", app.compute, 0);
  buffer.capture_to_device(hold, compute);
  app.kernels(input);
  app.cu("cuStreamEndCapture", app.compute, &captured);
  app.cu("cuGraphInstantiateWithFlags", &executable, captured, 0ull);
  app.cu("cuGraphDestroy", captured);
  hold.set_graph(executable);  // from now on it is launched through the hold

  bool right = true;
  for (std::int32_t n = 1; n <= 5; ++n) {
    buffer.fill_host(n);  // waits for the replay that still reads it
    hold.launch(compute);
    compute.synchronize();
    right = all_are(app.fetch(), n) && right;
  }
  app.cu("cuGraphExecDestroy", executable);
  return right;
}

}  // namespace

int main() try {
  const application app;
  gpubuf::device_options options;
  options.backend = GPUBUF_BACKEND_CUDA;
  options.native_context = app.context;
  bool right = true;
  {
    const auto device = gpubuf::device::open(options);
    std::printf("%s\n", device.name().c_str());
    const auto compute = gpubuf::stream::wrap_native(device, app.compute);
    const auto say = [&](const char* what, bool good) {
      std::printf("%s: %s\n", what, good ? "right" : "WRONG");
      right = good && right;
    };
    say("steps", steps(app, device, compute));
    say("events", events(app, device, compute));
    say("graph", graph(app, device, compute));
    device.drain();
  }  // gpubuf's objects go before the application's stream and context
  return right ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
