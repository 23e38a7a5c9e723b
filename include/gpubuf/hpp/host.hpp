// The test kit. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_HOST_HPP
#define GPUBUF_HPP_HOST_HPP

#include <gpubuf/hpp/device.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace gpubuf {

/// For tests: time, faults, and functions in the place of kernels. Holds, delays and functions also work with CUDA; faults,
/// links and limits are made by a simulated device only (unsupported).
namespace host {

/// Keeps a stream shut: work is queued and does not run, until release() or the destructor. A wait for it by the
/// thread that holds it is would_deadlock.
class [[nodiscard]] held {
 public:
  held() noexcept = default;
  explicit held(gpubuf_stream* stream) noexcept : stream_(stream) {}
  held(held&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  held& operator=(held&& other) noexcept {
    if (this != &other) {
      release();
      stream_ = std::exchange(other.stream_, nullptr);
    }
    return *this;
  }
  ~held() { release(); }
  void release() noexcept {
    if (stream_ != nullptr) detail::ignore(gpubuf_host_stream_release(std::exchange(stream_, nullptr)));
  }

 private:
  gpubuf_stream* stream_ = nullptr;
};

template <class Form = throwing>
outcome<Form, held> hold(const stream& of) noexcept(quiet<Form>) {
  const gpubuf_status code = gpubuf_host_stream_hold(of.capi());
  return detail::give<Form>(code, held(code == GPUBUF_OK ? of.capi() : nullptr));
}

/// Queues work that takes this long.
template <class Form = throwing>
outcome<Form> delay(const stream& on, std::chrono::nanoseconds span) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_stream_delay(on.capi(), detail::no_less_than_none(span)));
}

/// Device memory as a stream function sees it. Only inside the function.
class view {
 public:
  explicit view(gpubuf_host_view* handle) noexcept : handle_(handle) {}
  template <class Form = throwing>
  outcome<Form> read(address from, void* target, std::uint64_t bytes) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_host_view_read(handle_, from, target, bytes));
  }
  template <class Form = throwing>
  outcome<Form> write(address to, const void* source, std::uint64_t bytes) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_host_view_write(handle_, to, source, bytes));
  }

 private:
  gpubuf_host_view* handle_;
};

/// Queues a function `f(host::view&)` in stream order: a kernel of the emulated device. It runs on a thread of the
/// engine and must not wait for the device. Exceptions are dropped and counted. Where the device is lost first it may
/// never run; its memory then is not freed. Refused on a stream that captures: see capture_call.
template <class Form = throwing, class F>
outcome<Form> call(const stream& on, F&& f) noexcept(quiet<Form>) {
  using function = std::decay_t<F>;
  std::unique_ptr<function> kept = detail::boxed(std::forward<F>(f));
  if (kept == nullptr) return detail::done<Form>(GPUBUF_OUT_OF_HOST_MEMORY, "no memory for the stream function");
  const gpubuf_status code = gpubuf_host_stream_call(on.capi(), [](gpubuf_host_view* raw, void* data) noexcept {
    const std::unique_ptr<function> own(static_cast<function*>(data));
    view memory(raw);
    detail::run_quietly(*own, memory);
  }, kept.get());
  if (code == GPUBUF_OK) static_cast<void>(kept.release());
  return detail::done<Form>(code);
}

/// An executable graph of a capture, destroyed with this object. Launches that are queued still run.
class [[nodiscard]] graph {
 public:
  graph() noexcept = default;
  graph(gpubuf_device* device, std::uint64_t number) noexcept : device_(device), number_(number) {}
  graph(graph&& other) noexcept : device_(std::exchange(other.device_, nullptr)), number_(other.number_) {}
  graph& operator=(graph&& other) noexcept {
    if (this != &other) {
      reset();
      device_ = std::exchange(other.device_, nullptr);
      number_ = other.number_;
    }
    return *this;
  }
  ~graph() { reset(); }
  void reset() noexcept {
    if (device_ != nullptr) detail::ignore(gpubuf_host_graph_destroy(std::exchange(device_, nullptr), number_));
  }
  std::uint64_t capi() const noexcept { return number_; }
  /// As graph_hold::set_graph takes it.
  void* executable() const noexcept { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(number_)); }

 private:
  gpubuf_device* device_ = nullptr;
  std::uint64_t number_ = 0;
};

/// From here on what is queued on the stream becomes a graph instead of running.
template <class Form = throwing>
outcome<Form> begin_capture(const stream& on) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_capture_begin(on.capi()));
}
/// Ends the capture, on the thread that began it.
template <class Form = throwing>
outcome<Form, graph> end_capture(const device& of, const stream& on) noexcept(quiet<Form>) {
  std::uint64_t number = 0;
  const gpubuf_status code = gpubuf_host_capture_end(on.capi(), &number);
  return detail::give<Form>(code, code == GPUBUF_OK ? graph(of.capi(), number) : graph());
}
/// A function `f(host::view&)` that runs with each launch of the graph: it must outlive the graph and its last launch.
template <class Form = throwing, class F>
outcome<Form> capture_call(const stream& on, F& f) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_capture_call(on.capi(), [](gpubuf_host_view* raw, void* data) noexcept {
    view memory(raw);
    detail::run_quietly(*static_cast<F*>(data), memory);
  }, const_cast<void*>(static_cast<const void*>(std::addressof(f)))));
}
/// Launches a graph as code would that the library does not see: no fence, no order. graph_hold::replayed declares it.
template <class Form = throwing>
outcome<Form> launch(const stream& on, const graph& which) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_graph_launch(on.capi(), which.capi()));
}

enum class operation : std::uint32_t {
  any = GPUBUF_HOST_ANY, copy = GPUBUF_HOST_COPY, fill = GPUBUF_HOST_FILL, delay = GPUBUF_HOST_DELAY,
  call = GPUBUF_HOST_CALL, record = GPUBUF_HOST_RECORD, wait = GPUBUF_HOST_WAIT,
  kernel = GPUBUF_HOST_KERNEL, allocation = GPUBUF_HOST_ALLOCATION, registration = GPUBUF_HOST_REGISTRATION,
  stream = GPUBUF_HOST_STREAM, event = GPUBUF_HOST_EVENT,
};
enum class when : std::uint32_t {
  at_submission = GPUBUF_HOST_AT_SUBMISSION, at_execution = GPUBUF_HOST_AT_EXECUTION, at_loss = GPUBUF_HOST_AT_LOSS,
};

/// Every operation takes `fixed` longer, and up to `random_max` more, drawn from the seed.
template <class Form = throwing>
outcome<Form> set_delay(const device& of, std::chrono::nanoseconds fixed, std::uint64_t seed = 0,
                        std::chrono::nanoseconds random_max = {}) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_set_delay(of.capi(), detail::no_less_than_none(fixed), seed,
                                                  detail::no_less_than_none(random_max)));
}
/// How fast copies are; 0 bytes a second: at once.
template <class Form = throwing>
outcome<Form> set_link(const device& of, std::chrono::nanoseconds latency,
                       std::uint64_t bytes_per_second) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_set_link(of.capi(), detail::no_less_than_none(latency), bytes_per_second));
}
/// Whether copies from pageable memory read it when they run (late) or at the call.
template <class Form = throwing>
outcome<Form> set_pageable_late(const device& of, bool late) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_set_pageable_late(of.capi(), late ? 1 : 0));
}
/// Whether the device sees, of page-locked memory made from now on, a copy from that moment (stale) or the memory itself.
template <class Form = throwing>
outcome<Form> set_uva_stale(const device& of, bool stale) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_set_uva_stale(of.capi(), stale ? 1 : 0));
}
/// The nth operation of this kind from now on fails.
template <class Form = throwing>
outcome<Form> fail_operation(const device& of, operation kind, std::uint64_t nth, when at) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_fail_operation(of.capi(), detail::number(kind), nth, detail::number(at)));
}
/// How many operations of this kind the device was asked for so far.
template <class Form = throwing>
outcome<Form, std::uint64_t> count_operations(const device& of, operation kind) noexcept(quiet<Form>) {
  std::uint64_t count = 0;
  const gpubuf_status code = gpubuf_host_count_operations(of.capi(), detail::number(kind), &count);
  return detail::give<Form>(code, count);
}
template <class Form = throwing>
outcome<Form> limit_memory(const device& of, placement kind, std::uint64_t bytes) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_limit_memory(of.capi(), detail::number(kind), bytes));
}
/// As if the device fell off the bus. For good.
template <class Form = throwing>
outcome<Form> lose_device(const device& of) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_lose_device(of.capi()));
}
/// How long this thread has been inside calls of the emulated device.
inline std::chrono::nanoseconds time_inside() noexcept {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(gpubuf_host_time_inside_ns()));
}

}  // namespace host

}  // namespace gpubuf

#endif  // GPUBUF_HPP_HOST_HPP
