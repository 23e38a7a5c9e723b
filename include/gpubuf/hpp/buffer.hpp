// Paired buffers. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_BUFFER_HPP
#define GPUBUF_HPP_BUFFER_HPP

#include <gpubuf/hpp/device.hpp>
#include <gpubuf/hpp/strided.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace gpubuf {

/// Elements that are newer on one side: `count` from `first` on, `rows` times, `stride` elements apart.
using dirty_range = gpubuf_dirty_range;

/// Host and device memory of one shape, or a part of another buffer's: a view. Ranges are elements, row-major; `first` and `count` default to everything.
///
/// Order: the library sees its own copies and fills and lets nothing race with them: a CPU access waits for them up to
/// its timeout, work on another stream waits on the device. It does not see your kernels: name their streams with
/// device_address({streams}), or declare them with used_on() after the launch.
/// Threads: any, one call at a time in a buffer and all its views (a second one is busy); open guards exclude each other as guard<T> says.
/// Elements: T is checked against the buffer's dtype (invalid_argument); std::byte fits every dtype and counts bytes
/// in the guard and in what is copied, while `first` and `count` stay elements.
class buffer : public detail::owner<buffer, gpubuf_buffer, gpubuf_buffer_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, buffer> create(const device& on, const gpubuf_buffer_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_buffer_create, on.capi(), &options);
  }
  template <class T, class Form = throwing>
  static outcome<Form, buffer> create(const device& on, const extents& shape, placement host = placement::pinned,
                                      placement device = placement::device) noexcept(quiet<Form>) {
    buffer_options options;
    options.dtype = detail::number(dtype_of<T>::value);
    options.host_placement = detail::number(host);
    options.device_placement = detail::number(device);
    shape.put(options);
    return create<Form>(on, options);
  }

  template <class Form = throwing>
  outcome<Form, gpubuf_buffer_info> info() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_buffer_info>(gpubuf_buffer_info_get, capi());
  }
  /// Where the host side lies. No access: read through it only while a guard covers the range.
  template <class Form = throwing>
  outcome<Form, const void*> host_ptr() const noexcept(quiet<Form>) {
    return detail::get<Form, const void*>(gpubuf_buffer_host_ptr, capi());
  }
  /// The same, writable, for code that brings its own fences. Counted, and from here on the buffer's accesses through
  /// it are unchecked.
  template <class Form = throwing>
  outcome<Form, void*> host_ptr_unfenced() noexcept(quiet<Form>) {
    return detail::get<Form, void*>(gpubuf_buffer_host_ptr_unfenced, capi());
  }
  /// The device side's address, or that of a UVA host side, and the streams whose unseen work will use it: the library
  /// fences them where that is needed. A list without a stream is invalid_argument: that is said with `unnamed`.
  template <class Form = throwing>
  outcome<Form, address> device_address(const stream_list& users) noexcept(quiet<Form>) {
    if (users.size() == 0) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, address{}, "no stream in the list: where none can be named, say gpubuf::unnamed");
    }
    return detail::get<Form, address>(gpubuf_buffer_device_address, capi(), users.capi(), users.size());
  }
  /// Nobody says which streams will use it: the side is sealed. What would touch it (copies, and CPU access to a UVA host
  /// side) is unfenced until used_on() declares the use, and the memory is freed by a drain only.
  template <class Form = throwing>
  outcome<Form, address> device_address(unnamed_t) noexcept(quiet<Form>) {
    return detail::get<Form, address>(gpubuf_buffer_device_address, capi(), stream_list().capi(), std::size_t{0});
  }
  /// Declares unseen work that was queued on the stream so far.
  template <class Form = throwing>
  outcome<Form> used_on(const stream& on, access how) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_used_on(capi(), on.capi(), detail::number(how)));
  }

  /// Rows of the outermost dimension, as a buffer over the same memory. Views and their buffer may be destroyed in any order.
  template <class Form = throwing>
  outcome<Form, buffer> slice(std::uint64_t first, std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_buffer_slice, capi(), first, count);
  }
  /// A window of the buffer seen as a matrix, whose rows are those of the outermost dimension. Between the window's rows are
  /// gaps: guards of it are begin_write_strided and begin_read_strided; copies of it are one copy each.
  template <class Form = throwing>
  outcome<Form, buffer> window(std::uint64_t first_row, std::uint64_t rows, std::uint64_t first_column,
                               std::uint64_t columns) noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_buffer_window, capi(), first_row, rows, first_column, columns);
  }
  /// Another shape. Up to the capacity addresses stay; beyond, the memory is another one, and nothing is kept in this form.
  template <class Form = throwing>
  outcome<Form> resize(const extents& shape) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_resize(capi(), shape.rank(), shape.data(), 0, nullptr, GPUBUF_TIMEOUT_TRY));
  }
  /// The same, and the leading elements of these sides are kept: the device's by a copy on the stream, the host's after work
  /// that still writes them.
  template <class Form = throwing>
  outcome<Form> resize(const extents& shape, const stream& on, side keep = side::both,
                       timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_resize(capi(), shape.rank(), shape.data(), detail::number(keep), on.capi(), wait.capi()));
  }
  /// As new: zeroes, nothing dirty, and the figures begin anew.
  template <class Form = throwing>
  outcome<Form> reset_contents(const stream& on, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_reset(capi(), on.capi(), wait.capi()));
  }

  /// Copies what is newer on one side to the other, in ranges, with one fence. Newer on both: the policy, or conflict.
  template <class Form = throwing>
  outcome<Form> sync(const stream& on, sync_policy policy = sync_policy::of_buffer) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_sync(capi(), detail::number(policy), on.capi()));
  }
  template <class Form = throwing>
  outcome<Form> sync_blocking(const stream& on, timeout wait = timeout_default,
                              sync_policy policy = sync_policy::of_buffer) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_sync_blocking(capi(), detail::number(policy), on.capi(), wait.capi()));
  }
  /// Work queued on the stream from now on sees what the host wrote, at the address returned: a copy of what is newer, or nothing
  /// where kernels use the host side in place. The stream is fenced as if it were named with device_address(), and waits
  /// on the device for what other streams still send. Where a copy stands in, declare the use (used_on) before the host reads.
  template <class Form = throwing>
  outcome<Form, address> publish(const stream& on) noexcept(quiet<Form>) {
    return detail::get<Form, address>(gpubuf_buffer_publish, capi(), on.capi());
  }
  /// Elements of one side were written in a way that the library does not see.
  template <class Form = throwing>
  outcome<Form> mark_dirty(side which, std::uint64_t first = 0, std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_mark_dirty(capi(), detail::number(which), first, count));
  }
  /// They have nothing that the other side lacks.
  template <class Form = throwing>
  outcome<Form> mark_clean(side which, std::uint64_t first = 0, std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_mark_clean(capi(), detail::number(which), first, count));
  }
  /// What is newer on one side, in no order.
  template <class Form = throwing>
  outcome<Form, std::vector<dirty_range>> dirty_ranges(side which) const noexcept(quiet<Form>) {
    std::array<dirty_range, 64> found;  // More than there can be.
    std::size_t count = 0;
    gpubuf_status code = gpubuf_buffer_dirty_ranges(capi(), detail::number(which), found.data(), found.size(), &count);
    std::vector<dirty_range> out;
    try {
      if (code == GPUBUF_OK) out.assign(found.data(), found.data() + (count < found.size() ? count : found.size()));
    } catch (...) {
      code = GPUBUF_OUT_OF_HOST_MEMORY;
    }
    return detail::give<Form>(code, std::move(out));
  }
  /// The figures of the buffer and all its views.
  template <class Form = throwing>
  outcome<Form, gpubuf_buffer_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_buffer_stats>(gpubuf_buffer_stats_get, capi());
  }

  /// All elements with their shape and strides, for the CPU to write; the one way into a view with gaps.
  template <class T, class Form = throwing>
  outcome<Form, strided_guard<T>> begin_write_strided(timeout wait = timeout_default) noexcept(quiet<Form>) {
    return begin_strided<T, Form>([&](void** data, std::uint64_t* token) {
      return gpubuf_buffer_begin_write(capi(), 0, all, wait.capi(), data, token);
    }, [](void* of, std::uint64_t token) { return gpubuf_buffer_end_write(static_cast<gpubuf_buffer*>(of), token); });
  }
  template <class T, class Form = throwing>
  outcome<Form, strided_guard<const T>> begin_read_strided(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return begin_strided<const T, Form>([&](const void** data, std::uint64_t* token) {
      return gpubuf_buffer_begin_read(capi(), 0, all, wait.capi(), data, token);
    }, [](void* of, std::uint64_t token) { return gpubuf_buffer_end_read(static_cast<gpubuf_buffer*>(of), token); });
  }
  /// device_address() with the shape and strides that belong to it.
  template <class Form = throwing, class Users>
  outcome<Form, gpubuf::device_view> device_view(Users&& users) noexcept(quiet<Form>) {
    gpubuf::device_view out;
    const auto where = device_address<no_throw>(std::forward<Users>(users));
    if (!where.ok()) return detail::give<Form>(static_cast<gpubuf_status>(where.status()), out, detail::passed_on::why(where));
    auto about = detail::sized<gpubuf_buffer_info>();
    const gpubuf_status code = gpubuf_buffer_info_get(capi(), &about);
    static_cast<strided_shape&>(out) = shape_of(about);
    out.data = *where;
    return detail::give<Form>(code, out);
  }

  /// The one way to a writable range. Waits for queued work that reads or writes the range (busy, timeout).
  template <class T, class Form = throwing>
  outcome<Form, write_guard<T>> begin_write(std::uint64_t first, std::uint64_t count,
                                            timeout wait = timeout_default) noexcept(quiet<Form>) {
    return begin<T, Form>(first, count, [&](void** data, std::uint64_t* token) {
      return gpubuf_buffer_begin_write(capi(), first, count, wait.capi(), data, token);
    }, [](void* of, std::uint64_t token) { return gpubuf_buffer_end_write(static_cast<gpubuf_buffer*>(of), token); });
  }
  template <class T, class Form = throwing>
  outcome<Form, write_guard<T>> begin_write(timeout wait = timeout_default) noexcept(quiet<Form>) {
    return begin_write<T, Form>(0, all, wait);
  }
  /// Waits for queued work that writes the range.
  template <class T, class Form = throwing>
  outcome<Form, read_guard<T>> begin_read(std::uint64_t first, std::uint64_t count,
                                          timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return begin<const T, Form>(first, count, [&](const void** data, std::uint64_t* token) {
      return gpubuf_buffer_begin_read(capi(), first, count, wait.capi(), data, token);
    }, [](void* of, std::uint64_t token) { return gpubuf_buffer_end_read(static_cast<gpubuf_buffer*>(of), token); });
  }
  template <class T, class Form = throwing>
  outcome<Form, read_guard<T>> begin_read(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return begin_read<T, Form>(0, all, wait);
  }
  /// begin_write, copy, end_write in one.
  template <class Form = throwing, class C>
  outcome<Form> copy_in(const C& source, std::uint64_t first = 0, timeout wait = timeout_default) noexcept(quiet<Form>) {
    std::uint64_t count = 0;
    detail::reason why;
    const gpubuf_status code = elements<detail::element_of<const C>>(std::size(source), count, why);
    if (code != GPUBUF_OK) return detail::done<Form>(code, why);
    return detail::done<Form>(gpubuf_buffer_copy_in(capi(), first, count, std::data(source), wait.capi()));
  }
  template <class Form = throwing, class C>
  outcome<Form> copy_out(C&& target, std::uint64_t first = 0, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    std::uint64_t count = 0;
    detail::reason why;
    const gpubuf_status code = elements<detail::element_of<C>>(std::size(target), count, why);
    if (code != GPUBUF_OK) return detail::done<Form>(code, why);
    return detail::done<Form>(gpubuf_buffer_copy_out(capi(), first, count, std::data(target), wait.capi()));
  }

  /// Queues a copy of the range; never waits on the host.
  template <class Form = throwing>
  outcome<Form> to_device(const stream& on, std::uint64_t first = 0, std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_to_device(capi(), first, count, on.capi()));
  }
  template <class Form = throwing>
  outcome<Form> to_host(const stream& on, std::uint64_t first = 0, std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_to_host(capi(), first, count, on.capi()));
  }
  /// Queues the copy and waits for it. After timeout it is still queued.
  template <class Form = throwing>
  outcome<Form> to_device_blocking(const stream& on, timeout wait = timeout_default, std::uint64_t first = 0,
                                   std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_to_device_blocking(capi(), first, count, on.capi(), wait.capi()));
  }
  template <class Form = throwing>
  outcome<Form> to_host_blocking(const stream& on, timeout wait = timeout_default, std::uint64_t first = 0,
                                 std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_to_host_blocking(capi(), first, count, on.capi(), wait.capi()));
  }
  /// Appends a copy of the range to the graph that the stream captures: each replay reads the host side anew. Nothing is
  /// queued; both sides are sealed until graph_hold::set_graph or replayed.
  template <class Form = throwing>
  outcome<Form> capture_to_device(const graph_hold& into, const stream& on, std::uint64_t first = 0,
                                  std::uint64_t count = all) noexcept(quiet<Form>);
  /// The same back: each replay writes the host side.
  template <class Form = throwing>
  outcome<Form> capture_to_host(const graph_hold& into, const stream& on, std::uint64_t first = 0,
                                std::uint64_t count = all) noexcept(quiet<Form>);
  /// Every element becomes `value`: on the host side now, on the device side in stream order.
  template <class Form = throwing, class T>
  outcome<Form> fill(const T& value, const stream& on, side sides = side::both,
                     timeout wait = timeout_default) noexcept(quiet<Form>) {
    return fill_raw<Form, T>(&value, sides, on.capi(), wait);
  }
  template <class Form = throwing, class T>
  outcome<Form> fill_host(const T& value, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return fill_raw<Form, T>(&value, side::host, nullptr, wait);
  }
  template <class Form = throwing>
  outcome<Form> zero(const stream& on, side sides = side::both, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_zero(capi(), detail::number(sides), on.capi(), wait.capi()));
  }
  template <class Form = throwing>
  outcome<Form> zero_host(timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_buffer_zero(capi(), GPUBUF_SIDE_HOST, nullptr, wait.capi()));
  }

 private:
  static strided_shape shape_of(const gpubuf_buffer_info& about) noexcept {
    strided_shape out;
    out.rank = about.rank;
    for (std::size_t axis = 0; axis < out.extents.size(); ++axis) {
      out.extents[axis] = about.shape[axis];
      out.strides[axis] = about.strides[axis];
    }
    return out;
  }
  template <class T, class Form, class Begin>
  outcome<Form, strided_guard<T>> begin_strided(Begin&& call, typename guard<T>::end_function end) const noexcept(quiet<Form>) {
    static_assert(!detail::is_bytes<T>, "strides are elements: name the element type");
    auto about = detail::sized<gpubuf_buffer_info>();
    gpubuf_status code = gpubuf_buffer_info_get(capi(), &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, strided_guard<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, strided_guard<T>(), detail::mismatch<T>(about.dtype));
    }
    std::conditional_t<std::is_const_v<T>, const void*, void*> data = nullptr;
    std::uint64_t token = 0;
    code = call(&data, &token);
    if (code != GPUBUF_OK) return detail::give<Form>(code, strided_guard<T>());
    guard<T> access({static_cast<T*>(data), static_cast<std::size_t>(about.count)}, capi(), token, end);
    return detail::give<Form>(GPUBUF_OK, strided_guard<T>(std::move(access), shape_of(about)));
  }
  template <class T, class Form, class Begin>
  outcome<Form, guard<T>> begin(std::uint64_t first, std::uint64_t count, Begin&& call,
                                typename guard<T>::end_function end) const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_buffer_info>();
    gpubuf_status code = gpubuf_buffer_info_get(capi(), &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, guard<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, guard<T>(), detail::mismatch<T>(about.dtype));
    }
    const std::uint64_t asked = count == all && first <= about.count ? about.count - first : count;
    if (about.contiguous == 0 && asked > about.count / about.shape[0]) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, guard<T>(),
                                "a span of rows with gaps between them: use begin_write_strided or begin_read_strided");
    }
    std::conditional_t<std::is_const_v<T>, const void*, void*> data = nullptr;
    std::uint64_t token = 0;
    code = call(&data, &token);
    if (code != GPUBUF_OK) return detail::give<Form>(code, guard<T>());
    if (count == all) count = about.count - first;
    if (detail::is_bytes<T>) count *= gpubuf_dtype_size(about.dtype);
    return detail::give<Form>(GPUBUF_OK, guard<T>({static_cast<T*>(data), static_cast<std::size_t>(count)}, capi(), token, end));
  }
  template <class T>
  gpubuf_status elements(std::size_t values, std::uint64_t& count, detail::reason& why) const noexcept {
    auto about = detail::sized<gpubuf_buffer_info>();
    const gpubuf_status code = gpubuf_buffer_info_get(capi(), &about);
    if (code != GPUBUF_OK) return code;
    why = detail::to_elements<T>(about.dtype, values, count);
    return why.what == detail::reason::none ? GPUBUF_OK : GPUBUF_INVALID_ARGUMENT;
  }
  template <class Form, class T>
  outcome<Form> fill_raw(const T* value, side sides, gpubuf_stream* on, timeout wait) noexcept(quiet<Form>) {
    static_assert(!detail::is_bytes<T>, "fill takes a whole element");
    std::uint64_t one = 0;
    detail::reason why;
    const gpubuf_status code = elements<T>(1, one, why);
    if (code != GPUBUF_OK) return detail::done<Form>(code, why);
    return detail::done<Form>(gpubuf_buffer_fill(capi(), detail::number(sides), value, on, wait.capi()));
  }
};

/// A buffer over memory of yours. The release function is called once, on any thread, when the library has proven the
/// last use after this object's end (in maintain, drain, create or shutdown); after a lost device perhaps never. It is
/// kept until then. Exceptions in it are dropped and counted. detach() takes the memory back instead.
class borrowed_buffer : public buffer {
 public:
  borrowed_buffer() noexcept = default;

  /// `options` names the memory (host_memory, device_memory), dtype and shape; its release fields are not used.
  template <class Form = throwing>
  static outcome<Form, borrowed_buffer> create(const device& on, gpubuf_buffer_options options,
                                               std::function<void()> release = {}) noexcept(quiet<Form>) {
    borrowed_buffer made;
    std::unique_ptr<std::function<void()>> kept;
    options.release = nullptr;
    options.release_user_data = nullptr;
    if (release) {
      kept = detail::boxed(std::move(release));
      if (kept == nullptr) return detail::give<Form>(GPUBUF_OUT_OF_HOST_MEMORY, std::move(made), "no memory for the release function");
      options.release = [](void* data) noexcept {
        const std::unique_ptr<std::function<void()>> function(static_cast<std::function<void()>*>(data));
        detail::run_quietly(*function);
      };
      options.release_user_data = kept.get();
    }
    const gpubuf_status code = gpubuf_buffer_create(on.capi(), &options, &made.handle_);
    if (code == GPUBUF_OK) made.kept_ = kept.release();
    return detail::give<Form>(code, std::move(made));
  }
  /// Over the elements of host memory, with or without a device side of the library's. The memory must outlive the uses:
  /// a container that is a temporary is refused by the compiler. It stays pageable unless you ask for placement::pinned,
  /// which has it page-locked meanwhile.
  template <class T, class Form = throwing>
  static outcome<Form, borrowed_buffer> over(const device& on, gpubuf::span<T> memory, std::function<void()> release = {},
                                             placement host = placement::pageable, placement device = placement::device) noexcept(quiet<Form>) {
    buffer_options options;
    options.dtype = detail::number(dtype_of<T>::value);
    options.host_placement = detail::number(host);
    options.device_placement = detail::number(device);
    options.host_memory = memory.data();
    extents{static_cast<std::uint64_t>(memory.size())}.put(options);
    return create<Form>(on, options, std::move(release));
  }
  template <class T, class Form = throwing, class C,
            std::enable_if_t<!std::is_lvalue_reference_v<C> && !std::is_same_v<std::remove_cv_t<C>, gpubuf::span<T>>, int> = 0>
  static outcome<Form, borrowed_buffer> over(const device& on, C&& memory, std::function<void()> release = {},
                                             placement host = placement::pageable, placement device = placement::device) = delete;
  /// Waits for the uses of the memory and gives it back; the release function is dropped without a call. The buffer
  /// then refuses use (not_held).
  template <class Form = throwing>
  outcome<Form> detach(timeout wait = timeout_default) noexcept(quiet<Form>) {
    const gpubuf_status code = gpubuf_buffer_detach(capi(), wait.capi());
    if (code == GPUBUF_OK) delete std::exchange(kept_, nullptr);
    return detail::done<Form>(code);
  }

  borrowed_buffer(borrowed_buffer&& other) noexcept : buffer(std::move(other)), kept_(std::exchange(other.kept_, nullptr)) {}
  borrowed_buffer& operator=(borrowed_buffer&& other) noexcept {
    if (this != &other) {
      buffer::operator=(std::move(other));
      kept_ = std::exchange(other.kept_, nullptr);
    }
    return *this;
  }

 private:
  std::function<void()>* kept_ = nullptr;  // The library's, until detach.
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_BUFFER_HPP
