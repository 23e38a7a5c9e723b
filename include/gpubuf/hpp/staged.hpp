// Staged rows. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_STAGED_HPP
#define GPUBUF_HPP_STAGED_HPP

#include <gpubuf/hpp/buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace gpubuf {

/// A table of rows on the device that changes in a few places a step, and the writes for it: staged on the host, then applied
/// together, with one copy and one kernel. Where staged writes overlap, the last one wins.
///
///     auto blocks = gpubuf::staged_rows<std::int32_t>::create(device, max_requests, max_blocks);
///     blocks.stage(request, used, new_blocks);   // as often as needed; nothing is sent
///     blocks.apply(stream);                      // later work on `stream` sees all of it
///     launch(stream, blocks.device_address({stream}));
///
/// T is the table's element type; std::byte fits every dtype, and `first` counts elements then, too. Threads: any, one call at a
/// time (a second one is busy).
template <class T>
class staged_rows : public detail::owner<staged_rows<T>, gpubuf_staged_rows, gpubuf_staged_rows_destroy> {
 public:
  /// A table of zeroes. There is memory for `capacity_rows`, if that is more: up to there grow() leaves the address.
  template <class Form = throwing>
  static outcome<Form, staged_rows> create(const device& on, std::uint64_t rows, std::uint64_t row_elements,
                                           std::uint64_t capacity_rows = 0) noexcept(quiet<Form>) {
    staged_rows_options options;
    options.dtype = detail::number(dtype_of<T>::value);
    options.rows = rows;
    options.row_elements = row_elements;
    options.capacity_rows = capacity_rows;
    return create<Form>(on, options);
  }
  /// The table is the device side of a buffer, or its uva host side: its rows are those of the outermost dimension. The buffer is
  /// kept as long as this is; it grows by its own resize.
  template <class Form = throwing>
  static outcome<Form, staged_rows> over(const device& on, const buffer& table) noexcept(quiet<Form>) {
    staged_rows_options options;
    options.buffer = table.capi();
    return create<Form>(on, options);
  }
  /// From the options of the C API, for all there is to choose.
  template <class Form = throwing>
  static outcome<Form, staged_rows> create(const device& on, const gpubuf_staged_rows_options& options) noexcept(quiet<Form>) {
    std::uint32_t dtype = options.dtype;
    if (options.buffer != nullptr) {
      auto about = detail::sized<gpubuf_buffer_info>();
      const gpubuf_status code = gpubuf_buffer_info_get(options.buffer, &about);
      if (code != GPUBUF_OK) return detail::give<Form>(code, staged_rows());
      dtype = about.dtype;
    }
    if (!detail::matches<T>(dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, staged_rows(), detail::mismatch<T>(dtype));
    }
    return detail::make<Form, staged_rows>(gpubuf_staged_rows_create, on.capi(), &options);
  }

  /// Stages values for a row, from element `first` of it on. They are copied at once. overflow: no room; apply or clear first.
  template <class Form = throwing>
  outcome<Form> stage(std::uint64_t row, std::uint64_t first, span<const T> values) noexcept(quiet<Form>) {
    std::uint64_t count = values.size();
    if constexpr (detail::is_bytes<T>) {
      auto about = detail::sized<gpubuf_staged_rows_info>();
      const gpubuf_status code = gpubuf_staged_rows_info_get(this->capi(), &about);
      if (code != GPUBUF_OK) return detail::done<Form>(code);
      const detail::reason why = detail::to_elements<T>(about.dtype, values.size(), count);
      if (why.what != detail::reason::none) return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, why);
    }
    return detail::done<Form>(gpubuf_staged_rows_stage(this->capi(), row, first, values.data(), count));
  }
  template <class Form = throwing>
  outcome<Form> stage(std::uint64_t row, std::uint64_t first, std::initializer_list<T> values) noexcept(quiet<Form>) {
    return stage<Form>(row, first, span<const T>(values.begin(), values.size()));
  }
  /// One element.
  template <class Form = throwing>
  outcome<Form> stage(std::uint64_t row, std::uint64_t first, const T& value) noexcept(quiet<Form>) {
    return stage<Form>(row, first, span<const T>(&value, 1));
  }
  /// One copy and one kernel on the stream, behind what other streams do to the table; each consumer waits for it. Nothing at
  /// all where nothing is staged. Waits for a staging entry alone. After an error everything is still staged.
  template <class Form = throwing>
  outcome<Form> apply(const stream& on, const stream_list& consumers = {}, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(
        gpubuf_staged_rows_apply(this->capi(), on.capi(), consumers.capi(), consumers.size(), wait.capi()));
  }
  /// Drops what is staged.
  template <class Form = throwing>
  outcome<Form> clear() noexcept(quiet<Form>) { return detail::done<Form>(gpubuf_staged_rows_clear(this->capi())); }
  /// More rows, which are zero. True where the table moved: then its address is another one.
  template <class Form = throwing>
  outcome<Form, bool> grow(std::uint64_t rows, const stream& on, timeout wait = timeout_default) noexcept(quiet<Form>) {
    std::uint32_t moved = 0;
    const gpubuf_status code = gpubuf_staged_rows_grow(this->capi(), rows, on.capi(), wait.capi(), &moved);
    return detail::give<Form>(code, moved != 0);
  }

  /// The table's address, and the streams whose unseen work will use it: as buffer::device_address.
  template <class Form = throwing>
  outcome<Form, address> device_address(const stream_list& users) noexcept(quiet<Form>) {
    if (users.size() == 0) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, address{}, "no stream in the list: where none can be named, say gpubuf::unnamed");
    }
    return detail::get<Form, address>(gpubuf_staged_rows_device_address, this->capi(), users.capi(), users.size());
  }
  /// Nobody says which streams will use it: apply is unfenced until used_on() declares the use.
  template <class Form = throwing>
  outcome<Form, address> device_address(unnamed_t) noexcept(quiet<Form>) {
    return detail::get<Form, address>(gpubuf_staged_rows_device_address, this->capi(), stream_list().capi(), std::size_t{0});
  }
  /// Declares unseen work that was queued on the stream so far.
  template <class Form = throwing>
  outcome<Form> used_on(const stream& on, access how) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_staged_rows_used_on(this->capi(), on.capi(), detail::number(how)));
  }

  template <class Form = throwing>
  outcome<Form, gpubuf_staged_rows_info> info() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_staged_rows_info>(gpubuf_staged_rows_info_get, this->capi());
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_staged_rows_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_staged_rows_stats>(gpubuf_staged_rows_stats_get, this->capi());
  }
};

static_assert(sizeof(staged_rows<int>) == sizeof(void*));

}  // namespace gpubuf

#endif  // GPUBUF_HPP_STAGED_HPP
