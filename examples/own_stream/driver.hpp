// The dozen driver calls that an application makes itself. A program built with the CUDA toolkit includes <cuda.h> and links
// libcuda instead; this one loads the driver, so that it builds without a toolkit and runs on the stand-in driver as well.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

using CUcontext = void*;
using CUstream = void*;
using CUevent = void*;
using CUgraph = void*;
using CUgraphExec = void*;
using CUdeviceptr = std::uint64_t;

class cuda_driver {
 public:
  cuda_driver() {
    const char* path = std::getenv("GPUBUF_CUDA_DRIVER");
    library_ = dlopen(path != nullptr && *path != '\0' ? path : "libcuda.so.1", RTLD_NOW);
    if (library_ == nullptr) throw std::runtime_error(dlerror());
  }

  /// Calls a function of the driver by its name; anything but success is an exception.
  template <class... Arguments>
  void operator()(const char* name, Arguments... arguments) const {
    void* symbol = dlsym(library_, name);
    if (symbol == nullptr) throw std::runtime_error(std::string("the driver lacks ") + name);
    const int code = reinterpret_cast<int (*)(Arguments...)>(symbol)(arguments...);
    if (code != 0) throw std::runtime_error(std::string(name) + " failed with " + std::to_string(code));
  }

 private:
  void* library_;
};
