// The CUDA driver by dlopen: types, numbers and entry points of its API, so that nothing here needs a toolkit.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace cu {

using device = int;
using context = void*;
using stream = void*;
using event = void*;
using address = std::uint64_t;
using graph = void*;
using executable = void*;
using module = void*;
using function = void*;

inline const stream legacy = reinterpret_cast<stream>(1);
inline const stream per_thread = reinterpret_cast<stream>(2);

constexpr int not_ready = 600;
constexpr unsigned non_blocking = 1;       // CU_STREAM_NON_BLOCKING
constexpr unsigned disable_timing = 2;     // CU_EVENT_DISABLE_TIMING
constexpr unsigned portable_mapped = 3;    // CU_MEMHOSTALLOC_ or CU_MEMHOSTREGISTER_PORTABLE | _DEVICEMAP
constexpr unsigned at_least = 0;           // CU_STREAM_WAIT_VALUE_GEQ

// Every entry: name, then the parameters. A driver that lacks one leaves it null.
#define GPUBUF_DRIVER_ENTRIES(X)                                                                     \
  X(cuInit, (unsigned))                                                                              \
  X(cuDriverGetVersion, (int*))                                                                      \
  X(cuGetErrorName, (int, const char**))                                                             \
  X(cuDeviceGetCount, (int*))                                                                        \
  X(cuDeviceGet, (device*, int))                                                                     \
  X(cuDeviceGetName, (char*, int, device))                                                           \
  X(cuDeviceGetAttribute, (int*, int, device))                                                       \
  X(cuDeviceGetPCIBusId, (char*, int, device))                                                       \
  X(cuDeviceTotalMem_v2, (std::size_t*, device))                                                     \
  X(cuDevicePrimaryCtxRetain, (context*, device))                                                    \
  X(cuDevicePrimaryCtxRelease_v2, (device))                                                          \
  X(cuCtxCreate_v2, (context*, unsigned, device))                                                    \
  X(cuCtxDestroy_v2, (context))                                                                      \
  X(cuCtxGetCurrent, (context*))                                                                     \
  X(cuCtxSetCurrent, (context))                                                                      \
  X(cuCtxPushCurrent_v2, (context))                                                                  \
  X(cuCtxPopCurrent_v2, (context*))                                                                  \
  X(cuCtxGetDevice, (device*))                                                                       \
  X(cuCtxSynchronize, (void))                                                                        \
  X(cuMemGetInfo_v2, (std::size_t*, std::size_t*))                                                   \
  X(cuMemAlloc_v2, (address*, std::size_t))                                                          \
  X(cuMemFree_v2, (address))                                                                         \
  X(cuMemAllocAsync, (address*, std::size_t, stream))                                                \
  X(cuMemFreeAsync, (address, stream))                                                               \
  X(cuMemAllocManaged, (address*, std::size_t, unsigned))                                            \
  X(cuMemHostAlloc, (void**, std::size_t, unsigned))                                                 \
  X(cuMemFreeHost, (void*))                                                                          \
  X(cuMemHostRegister_v2, (void*, std::size_t, unsigned))                                            \
  X(cuMemHostUnregister, (void*))                                                                    \
  X(cuMemHostGetDevicePointer_v2, (address*, void*, unsigned))                                       \
  X(cuMemHostGetFlags, (unsigned*, void*))                                                           \
  X(cuPointerGetAttribute, (void*, int, address))                                                    \
  X(cuMemcpy, (address, address, std::size_t))                                                       \
  X(cuMemcpyAsync, (address, address, std::size_t, stream))                                          \
  X(cuMemcpyHtoD_v2, (address, const void*, std::size_t))                                            \
  X(cuMemcpyDtoH_v2, (void*, address, std::size_t))                                                  \
  X(cuMemcpyHtoDAsync_v2, (address, const void*, std::size_t, stream))                               \
  X(cuMemcpyDtoHAsync_v2, (void*, address, std::size_t, stream))                                     \
  X(cuMemcpyDtoDAsync_v2, (address, address, std::size_t, stream))                                   \
  X(cuMemsetD8_v2, (address, unsigned char, std::size_t))                                            \
  X(cuMemsetD8Async, (address, unsigned char, std::size_t, stream))                                  \
  X(cuMemsetD16Async, (address, unsigned short, std::size_t, stream))                                \
  X(cuMemsetD32Async, (address, unsigned, std::size_t, stream))                                      \
  X(cuMemsetD2D32Async, (address, std::size_t, unsigned, std::size_t, std::size_t, stream))          \
  X(cuStreamCreate, (stream*, unsigned))                                                             \
  X(cuStreamDestroy_v2, (stream))                                                                    \
  X(cuStreamQuery, (stream))                                                                         \
  X(cuStreamSynchronize, (stream))                                                                   \
  X(cuStreamWaitEvent, (stream, event, unsigned))                                                    \
  X(cuStreamGetCtx, (stream, context*))                                                              \
  X(cuStreamGetId, (stream, unsigned long long*))                                                    \
  X(cuStreamIsCapturing, (stream, int*))                                                             \
  X(cuStreamBeginCapture_v2, (stream, int))                                                          \
  X(cuStreamEndCapture, (stream, graph*))                                                            \
  X(cuThreadExchangeStreamCaptureMode, (int*))                                                       \
  X(cuStreamWaitValue32_v2, (stream, address, std::uint32_t, unsigned))                              \
  X(cuStreamWriteValue32_v2, (stream, address, std::uint32_t, unsigned))                             \
  X(cuLaunchHostFunc, (stream, void (*)(void*), void*))                                              \
  X(cuEventCreate, (event*, unsigned))                                                               \
  X(cuEventDestroy_v2, (event))                                                                      \
  X(cuEventRecord, (event, stream))                                                                  \
  X(cuEventQuery, (event))                                                                           \
  X(cuEventSynchronize, (event))                                                                     \
  X(cuEventElapsedTime, (float*, event, event))                                                      \
  X(cuGraphInstantiateWithFlags, (executable*, graph, unsigned long long))                           \
  X(cuGraphLaunch, (executable, stream))                                                             \
  X(cuGraphExecDestroy, (executable))                                                                \
  X(cuGraphDestroy, (graph))                                                                         \
  X(cuModuleLoadData, (module*, const void*))                                                        \
  X(cuModuleGetFunction, (function*, module, const char*))                                           \
  X(cuLaunchKernel, (function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
                     stream, void**, void**))

#define GPUBUF_DECLARE(name, parameters) inline int(*name) parameters = nullptr;
GPUBUF_DRIVER_ENTRIES(GPUBUF_DECLARE)
#undef GPUBUF_DECLARE

/// The stand-in, which simulates: it says so.
inline bool is_simulation = false;

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(3);
}

inline void must(int code, const char* what) {
  if (code != 0) fail(std::string(what) + ": CUDA error " + std::to_string(code));
}

/// Loads the driver at `path`; empty: the system's.
inline void load(const std::string& path) {
  void* library = nullptr;
  if (!path.empty()) {
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  } else {
    library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) fail(dlerror());
#define GPUBUF_FIND(name, parameters) name = reinterpret_cast<int(*) parameters>(dlsym(library, #name));
  GPUBUF_DRIVER_ENTRIES(GPUBUF_FIND)
#undef GPUBUF_FIND
  is_simulation = dlsym(library, "gpubuf_standin_version") != nullptr;
  if (cuInit == nullptr) fail(path + " is no CUDA driver: it has no cuInit");
}

/// The driver that the library would take: GPUBUF_CUDA_DRIVER, else the system's.
inline std::string path_of_library() {
  const char* path = std::getenv("GPUBUF_CUDA_DRIVER");
  return path == nullptr ? "" : path;
}

inline address at(const void* host) { return reinterpret_cast<address>(host); }

}  // namespace cu
