// Tensors that are the host's. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_TENSOR_HPP
#define GPUBUF_HPP_TENSOR_HPP

#include <gpubuf/hpp/pool.hpp>

#include <cstdint>
#include <type_traits>

namespace gpubuf {

/// Host memory that is always writable, the truth, and copies of it for the device in blocks of a pool. What a kernel sees
/// is what was published for it, however the truth is rewritten meanwhile.
///
///     auto blocks = gpubuf::pool::create(device, bytes, 4, gpubuf::placement::uva);
///     auto temperature = gpubuf::tensor::create<float>(blocks, {256});
///     for (;;) {
///       temperature.write(changed, first);                  // never waits
///       launch(temperature.publish(stream));                // copies what is new, into a block that nothing uses
///     }
///
/// Elements: T is checked against the tensor's dtype (invalid_argument). Threads: any, one call at a time (a second one is
/// busy); what is written through data() is yours to keep apart from publish().
class tensor : public detail::owner<tensor, gpubuf_tensor, gpubuf_tensor_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, tensor> create(const pool& from, const gpubuf_tensor_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, tensor>(gpubuf_tensor_create, from.capi(), &options);
  }
  /// Zeroes, in at most so many blocks at a time.
  template <class T, class Form = throwing>
  static outcome<Form, tensor> create(const pool& from, const extents& shape, std::uint32_t max_blocks = 2) noexcept(quiet<Form>) {
    tensor_options options;
    options.dtype = detail::number(dtype_of<T>::value);
    options.max_blocks = max_blocks;
    shape.put(options);
    return create<Form>(from, options);
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_tensor_info> info() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_tensor_info>(gpubuf_tensor_info_get, capi());
  }

  /// The truth, to be read and written at any time; the same memory for the tensor's life. Tell what you wrote with mark().
  template <class T, class Form = throwing>
  outcome<Form, span<T>> data() const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_tensor_info>();
    gpubuf_status code = gpubuf_tensor_info_get(capi(), &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, span<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, span<T>(), detail::mismatch<T>(about.dtype));
    }
    void* first = nullptr;
    code = gpubuf_tensor_data(capi(), &first);
    const std::uint64_t count = detail::is_bytes<T> ? about.bytes : about.count;
    return detail::give<Form>(code, span<T>(static_cast<T*>(first), static_cast<std::size_t>(count)));
  }
  /// These elements of the truth were written.
  template <class Form = throwing>
  outcome<Form> mark(std::uint64_t first = 0, std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_tensor_mark(capi(), first, count));
  }
  /// Writes elements of the truth, from `first` on, and marks them. Never waits.
  template <class Form = throwing, class C>
  outcome<Form> write(const C& source, std::uint64_t first = 0) noexcept(quiet<Form>) {
    std::uint64_t count = 0;
    detail::reason why;
    const gpubuf_status code = elements<detail::element_of<const C>>(std::size(source), count, why);
    if (code != GPUBUF_OK) return detail::done<Form>(code, why);
    return detail::done<Form>(gpubuf_tensor_write(capi(), first, count, std::data(source)));
  }
  /// Every element of the truth becomes `value`. Never waits.
  template <class Form = throwing, class T>
  outcome<Form> fill(const T& value) noexcept(quiet<Form>) {
    static_assert(!detail::is_bytes<T>, "fill takes a whole element");
    std::uint64_t one = 0;
    detail::reason why;
    const gpubuf_status code = elements<T>(1, one, why);
    if (code != GPUBUF_OK) return detail::done<Form>(code, why);
    return detail::done<Form>(gpubuf_tensor_fill(capi(), &value));
  }

  /// The address of a block with what the truth holds now, for work that is queued on these streams before the next publish
  /// (busy, timeout: every block is in use). With access::write, what the work writes is lost unless to_host() takes it over.
  template <class Form = throwing>
  outcome<Form, address> publish(const stream_list& users, timeout wait = timeout_default,
                                 access how = access::read) noexcept(quiet<Form>) {
    return detail::get<Form, address>(gpubuf_tensor_publish, capi(), users.capi(), users.size(), detail::number(how), wait.capi());
  }
  /// Takes over what work has written to the published block, once that is done. The stream is for blocks with a device side.
  template <class Form = throwing>
  outcome<Form> to_host(const stream& on, timeout wait = timeout_default, std::uint64_t first = 0,
                        std::uint64_t count = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_tensor_to_host(capi(), first, count, on.capi(), wait.capi()));
  }
  /// Waits until nothing uses its blocks.
  template <class Form = throwing>
  outcome<Form> synchronize(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_tensor_synchronize(capi(), wait.capi()));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_tensor_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_tensor_stats>(gpubuf_tensor_stats_get, capi());
  }

 private:
  template <class T>
  gpubuf_status elements(std::size_t values, std::uint64_t& count, detail::reason& why) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>, "elements are copied as bytes");
    auto about = detail::sized<gpubuf_tensor_info>();
    const gpubuf_status code = gpubuf_tensor_info_get(capi(), &about);
    if (code != GPUBUF_OK) return code;
    why = detail::to_elements<T>(about.dtype, values, count);
    return why.what == detail::reason::none ? GPUBUF_OK : GPUBUF_INVALID_ARGUMENT;
  }
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_TENSOR_HPP
