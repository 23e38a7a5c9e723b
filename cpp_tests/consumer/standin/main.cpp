// An application with a stream of its own, on the stand-in driver: the same program as on a GPU, and what only a test may do.
#include <gpubuf/gpubuf.hpp>
#include <gpubuf/standin.h>

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

void* driver = nullptr;

/// A function of the driver, or of the stand-in's controls.
template <class Function>
Function* find(const char* name) {
  void* found = dlsym(driver, name);
  if (found == nullptr) {
    std::fprintf(stderr, "no %s\n", name);
    std::exit(1);
  }
  return reinterpret_cast<Function*>(found);
}

}  // namespace

int main() try {
  auto device = gpubuf::device::open();
  if (device.backend() != gpubuf::backend::cuda || device.info().simulation != 1) {
    std::fprintf(stderr, "not the stand-in driver: %s\n", device.why_backend().c_str());
    return 1;
  }
  driver = dlopen(std::getenv("GPUBUF_CUDA_DRIVER"), RTLD_NOW);

  // The application's context and stream; the stream is lent to gpubuf.
  auto set_current = find<int(void*)>("cuCtxSetCurrent");
  auto create = find<int(void**, unsigned)>("cuStreamCreate");
  auto destroy = find<int(void*)>("cuStreamDestroy_v2");
  void* native = nullptr;
  if (set_current(device.info().native_context) != 0 || create(&native, 1) != 0) return 1;
  {
    auto stream = gpubuf::stream::wrap_native(device, native);
    auto buffer = gpubuf::buffer::create<int>(device, {4});
    buffer.copy_in(std::vector<int>{3, 1, 4, 1});

    // Held shut, the stream shows that a refill would be too early; on a GPU only luck would.
    const auto number = reinterpret_cast<std::uint64_t>(native);
    if (find<decltype(gpubuf_standin_stream_hold)>("gpubuf_standin_stream_hold")(number) != 0) return 1;
    buffer.to_device(stream);
    const bool early = buffer.begin_write<int, gpubuf::no_throw>(gpubuf::no_wait).status() == gpubuf::status::busy;
    if (find<decltype(gpubuf_standin_stream_release)>("gpubuf_standin_stream_release")(number) != 0) return 1;

    buffer.zero_host();
    buffer.to_host_blocking(stream);
    std::vector<int> got(4);
    buffer.copy_out(got);
    if (!early || got != std::vector<int>{3, 1, 4, 1}) {
      std::fprintf(stderr, "early %d, first value %d\n", early, got[0]);
      return 1;
    }
  }
  if (destroy(native) != 0) return 1;
  if (find<decltype(gpubuf_standin_calls)>("gpubuf_standin_calls")("cuMemcpyAsync") == 0) {
    std::fprintf(stderr, "no copy came to the driver\n");
    return 1;
  }
  std::puts("the stand-in driver: the data came back");
  return 0;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
