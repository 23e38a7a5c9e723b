// Something slow on a stream: a kernel that looks at the GPU's clock until its time is over; where no kernel can be launched
// (the stand-in driver), the delay of the library's test kit.
#pragma once

#include "driver.hpp"

#include <gpubuf/gpubuf.hpp>

#include <chrono>

namespace slow {

// Every driver since CUDA 12.0 compiles this for its GPU. The clock counts nanoseconds, some GPUs in steps of a microsecond.
inline const char* const spin_source = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry spin(.param .u64 nanoseconds)
{
  .reg .pred %again;
  .reg .u64 %start, %now, %passed, %wanted;
  ld.param.u64 %wanted, [nanoseconds];
  mov.u64 %start, %globaltimer;
LOOK:
  mov.u64 %now, %globaltimer;
  sub.u64 %passed, %now, %start;
  setp.lt.u64 %again, %passed, %wanted;
  @%again bra LOOK;
  ret;
}
)";

/// Makes streams slow, in one way or the other.
class Slow {
 public:
  /// The device's context is current.
  Slow() {
    cu::module module = nullptr;
    loaded_ = cu::cuModuleLoadData(&module, spin_source);
    if (loaded_ == 0) cu::must(cu::cuModuleGetFunction(&spin_, module, "spin"), "cuModuleGetFunction");
  }
  const char* kind() const { return spin_ != nullptr ? "kernel" : "test kit delay"; }
  /// What loading the kernel answered.
  int loaded() const { return loaded_; }

  void operator()(const gpubuf::stream& on, std::uint64_t nanoseconds) const {
    if (spin_ == nullptr) {
      gpubuf::host::delay(on, std::chrono::nanoseconds(nanoseconds));
      return;
    }
    void* parameters[] = {&nanoseconds};
    cu::must(cu::cuLaunchKernel(spin_, 1, 1, 1, 1, 1, 1, 0, on.native(), parameters, nullptr), "cuLaunchKernel");
  }

 private:
  cu::function spin_ = nullptr;
  int loaded_ = 0;
};

}  // namespace slow
