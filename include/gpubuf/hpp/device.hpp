// Devices, streams, events. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_DEVICE_HPP
#define GPUBUF_HPP_DEVICE_HPP

#include <gpubuf/hpp/library.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

namespace gpubuf {

/// One opened device. Every operation may be called from any thread. Objects made from it go on working after it is
/// destroyed; the device itself is closed with the last of them.
class device : public detail::owner<device, gpubuf_device, gpubuf_device_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, std::uint32_t> count(gpubuf::backend of = gpubuf::backend::automatic) noexcept(quiet<Form>) {
    return detail::get<Form, std::uint32_t>(gpubuf_device_count, detail::number(of));
  }
  template <class Form = throwing>
  static outcome<Form, device> open(const gpubuf_device_options& options) noexcept(quiet<Form>) {
    if (detail::check_version() != GPUBUF_OK) return detail::give<Form>(GPUBUF_VERSION_MISMATCH, device(), detail::version_text);
    return detail::make<Form, device>(gpubuf_device_open, &options);
  }
  /// `automatic` takes the first backend that works; why_backend() then tells how it was chosen.
  template <class Form = throwing>
  static outcome<Form, device> open(gpubuf::backend on = gpubuf::backend::automatic,
                                    std::uint32_t ordinal = 0) noexcept(quiet<Form>) {
    device_options options;
    options.backend = detail::number(on);
    options.ordinal = ordinal;
    return open<Form>(options);
  }
  template <class Form = throwing>
  outcome<Form, gpubuf::backend> backend() const noexcept(quiet<Form>) {
    std::uint32_t code = 0;
    const gpubuf_status answer = gpubuf_device_backend(capi(), &code);
    return detail::give<Form>(answer, static_cast<gpubuf::backend>(code));
  }
  std::string why_backend() const {
    return detail::text([&](char* buffer, std::size_t capacity) {
      std::size_t length = 0;
      detail::done<throwing>(gpubuf_device_backend_reason(capi(), buffer, capacity, &length));
      return length;
    });
  }
  /// What is known of the device: driver, memory node, what it can do.
  template <class Form = throwing>
  outcome<Form, gpubuf_device_info> info() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_device_info>(gpubuf_device_info_get, capi());
  }
  /// Its name, for people.
  std::string name() const {
    return detail::text([&](char* buffer, std::size_t capacity) {
      std::size_t length = 0;
      detail::done<throwing>(gpubuf_device_name(capi(), buffer, capacity, &length));
      return length;
    });
  }
  /// Frees what destroyed objects left behind and the device no longer uses. Never waits. The bytes freed.
  template <class Form = throwing>
  outcome<Form, std::uint64_t> maintain() const noexcept(quiet<Form>) {
    return detail::get<Form, std::uint64_t>(gpubuf_device_maintain, capi());
  }
  /// Waits until everything that destroyed objects left behind is freed.
  template <class Form = throwing>
  outcome<Form> drain(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_device_drain(capi(), wait.capi()));
  }
  /// Waits for all work of the device.
  template <class Form = throwing>
  outcome<Form> synchronize(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_device_synchronize(capi(), wait.capi()));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_device_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_device_stats>(gpubuf_device_stats_get, capi());
  }
};

class event;
class graph_hold;

/// A queue of device work. Work on one stream runs in order; streams are ordered with each other where the library
/// sees a conflict, by events, and by nothing else. Any thread may queue work; the order is that of the calls.
class stream : public detail::owner<stream, gpubuf_stream, gpubuf_stream_destroy> {
 public:
  stream() noexcept = default;
  stream(int) = delete;             ///< There is no default stream: make one, or wrap a native one.
  stream(std::nullptr_t) = delete;  ///< As above.

  template <class Form = throwing>
  static outcome<Form, stream> create(const device& on) noexcept(quiet<Form>) {
    return detail::make<Form, stream>(gpubuf_stream_create, on.capi());
  }
  /// A CUstream or cudaStream_t, not owned: it must outlive this object. nullptr is the legacy default stream. The host
  /// backend has none (unsupported).
  template <class Form = throwing>
  static outcome<Form, stream> wrap_native(const device& on, void* native) noexcept(quiet<Form>) {
    return detail::make<Form, stream>(gpubuf_stream_wrap_native, on.capi(), native);
  }
  template <class Form = throwing>
  outcome<Form, bool> is_idle() const noexcept(quiet<Form>) {
    const gpubuf_status code = gpubuf_stream_query(capi());
    return detail::give<Form>(code == GPUBUF_BUSY ? GPUBUF_OK : code, code == GPUBUF_OK);
  }
  template <class Form = throwing>
  outcome<Form> synchronize(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_stream_synchronize(capi(), wait.capi()));
  }
  /// The driver's handle, for kernels and graphs of your own; nullptr on the host backend.
  template <class Form = throwing>
  outcome<Form, void*> native() const noexcept(quiet<Form>) {
    return detail::get<Form, void*>(gpubuf_stream_native, capi());
  }
  /// Later work on this stream waits, on the device, for the event's newest record.
  template <class Form = throwing>
  outcome<Form> wait_event(const event& until) const noexcept(quiet<Form>);
  /// The same for a CUevent or cudaEvent_t of yours.
  template <class Form = throwing>
  outcome<Form> wait_native_event(void* until) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_stream_wait_native_event(capi(), until));
  }
  /// Records a CUevent or cudaEvent_t of yours behind the work queued so far.
  template <class Form = throwing>
  outcome<Form> record_native_event(void* event) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_stream_record_native_event(capi(), event));
  }
};

/// A mark in a stream. Only needed for work that the library does not see: it orders its own operations itself.
class event : public detail::owner<event, gpubuf_event, gpubuf_event_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, event> create(const device& on) noexcept(quiet<Form>) {
    return detail::make<Form, event>(gpubuf_event_create, on.capi());
  }
  /// An event that notes when it is reached, for elapsed_since(). Only such events cost a time stamp.
  template <class Form = throwing>
  static outcome<Form, event> create_timed(const device& on) noexcept(quiet<Form>) {
    return detail::make<Form, event>(gpubuf_event_create_timed, on.capi());
  }
  /// Device time from the newest record of `earlier` to this one's; both timed, and reached (busy).
  template <class Form = throwing>
  outcome<Form, std::chrono::nanoseconds> elapsed_since(const event& earlier) const noexcept(quiet<Form>) {
    std::uint64_t ns = 0;
    const gpubuf_status code = gpubuf_event_elapsed_ns(earlier.capi(), capi(), &ns);
    return detail::give<Form>(code, std::chrono::nanoseconds(static_cast<std::int64_t>(ns)));
  }
  template <class Form = throwing>
  outcome<Form> record(const stream& on) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_event_record(capi(), on.capi()));
  }
  /// True for an event that was never recorded, too.
  template <class Form = throwing>
  outcome<Form, bool> is_complete() const noexcept(quiet<Form>) {
    const gpubuf_status code = gpubuf_event_query(capi());
    return detail::give<Form>(code == GPUBUF_BUSY ? GPUBUF_OK : code, code == GPUBUF_OK);
  }
  template <class Form = throwing>
  outcome<Form> wait(timeout limit = timeout_default) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_event_wait(capi(), limit.capi()));
  }
};

template <class Form>
outcome<Form> stream::wait_event(const event& until) const noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_stream_wait_event(capi(), until.capi()));
}

/// The streams that a call names: `{}`, `{a, b}`, one stream, or a row of them. Up to eight need no memory.
class stream_list {
 public:
  stream_list() noexcept = default;
  stream_list(const stream& one) : stream_list({std::cref(one)}) {}
  stream_list(std::initializer_list<std::reference_wrapper<const stream>> streams) {
    for (const stream& s : streams) push(s);
  }
  stream_list(span<const stream> streams) {
    for (const stream& s : streams) push(s);
  }
  template <class C, class = std::enable_if_t<std::is_same_v<std::remove_const_t<detail::element_of<C>>, stream>>>
  stream_list(const C& streams) : stream_list(span<const stream>(streams)) {}
  gpubuf_stream* const* capi() const noexcept { return many_.empty() ? few_.data() : many_.data(); }
  std::size_t size() const noexcept { return size_; }

 private:
  void push(const stream& s) {
    if (size_ == few_.size()) many_.assign(few_.begin(), few_.end());
    if (size_ >= few_.size()) {
      many_.push_back(s.capi());
    } else {
      few_[size_] = s.capi();
    }
    ++size_;
  }
  std::array<gpubuf_stream*, 8> few_{};
  std::vector<gpubuf_stream*> many_;
  std::size_t size_ = 0;
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_DEVICE_HPP
