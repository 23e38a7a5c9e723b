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

/// What a probe says of a capability.
enum class answer : std::uint32_t {
  not_tested = GPUBUF_ANSWER_NOT_TESTED,  ///< It could not be tried.
  no = GPUBUF_ANSWER_NO,                  ///< It was tried, and does not work; or the device says so of itself.
  yes = GPUBUF_ANSWER_YES,                ///< It was tried, and works; or the device says so of itself.
};

/// What a device may be able to do.
enum class capability : std::uint32_t {
  sees_host_writes = GPUBUF_CAPABILITY_SEES_HOST_WRITES,    ///< In UVA memory that it has read before.
  pinned_memory = GPUBUF_CAPABILITY_PINNED_MEMORY,
  registered_memory = GPUBUF_CAPABILITY_REGISTERED_MEMORY,  ///< The caller's memory, page-locked.
  memory_pools = GPUBUF_CAPABILITY_MEMORY_POOLS,            ///< Device memory in the order of a stream.
  host_pools = GPUBUF_CAPABILITY_HOST_POOLS,                ///< The same of host memory.
  managed_memory = GPUBUF_CAPABILITY_MANAGED_MEMORY,
  integrated = GPUBUF_CAPABILITY_INTEGRATED,                ///< It shares its memory with the CPU.
  huge_pages = GPUBUF_CAPABILITY_HUGE_PAGES,                ///< The system has them.
};

/// As an ordinal: the device of the backend with the most free memory.
inline constexpr std::uint32_t most_free_memory = GPUBUF_ORDINAL_AUTO;

/// What one probe found: the figures by their names in C, and each answer by its capability.
struct capabilities : gpubuf_capabilities {
  answer operator[](capability of) const noexcept {
    switch (of) {
      case capability::sees_host_writes: return static_cast<answer>(sees_host_writes);
      case capability::pinned_memory: return static_cast<answer>(pinned_memory);
      case capability::registered_memory: return static_cast<answer>(registered_memory);
      case capability::memory_pools: return static_cast<answer>(memory_pools);
      case capability::host_pools: return static_cast<answer>(host_pools);
      case capability::managed_memory: return static_cast<answer>(managed_memory);
      case capability::integrated: return static_cast<answer>(integrated);
      case capability::huge_pages: return static_cast<answer>(huge_pages);
    }
    return answer::not_tested;
  }
};

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
  /// By name: "auto", "cuda:1", "cuda:auto", "host", a UUID ("GPU-8932f937..."), or a place on the bus ("0000:3b:00.0").
  template <class Form = throwing>
  static outcome<Form, device> open(const char* name) noexcept(quiet<Form>) {
    device_options options;
    options.name = name != nullptr ? name : "";
    return open<Form>(options);
  }
  /// What is known of a device without opening it. With count() this lists all there are.
  template <class Form = throwing>
  static outcome<Form, gpubuf_device_summary> summary(gpubuf::backend of, std::uint32_t ordinal) noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_device_summary>(gpubuf_device_summary_get, detail::number(of), ordinal);
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
  /// Tries what the device can do, with a few pages and copies, and waits for those. Where it does not see the host's later
  /// writes to UVA memory, a copy stands in for it from then on: publish() is right in both cases.
  template <class Form = throwing>
  outcome<Form, capabilities> probe(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    capabilities found{};
    found.struct_size = static_cast<std::uint32_t>(sizeof(gpubuf_capabilities));
    const gpubuf_status code = gpubuf_device_probe(capi(), wait.capi(), &found);
    return detail::give<Form>(code, found);
  }
  /// What the latest probe saw about one capability: why not, and what to use instead.
  std::string why(capability of) const {
    return detail::text([&](char* buffer, std::size_t capacity) {
      std::size_t length = 0;
      detail::done<throwing>(gpubuf_device_capability_reason(capi(), detail::number(of), buffer, capacity, &length));
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
