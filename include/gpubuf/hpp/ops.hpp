// Index operations on host memory. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_OPS_HPP
#define GPUBUF_HPP_OPS_HPP

#include <gpubuf/hpp/elements.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace gpubuf {

/// Gather, scatter, pad, and sequences of different lengths, on host memory: containers, spans, guards' elements. Indices,
/// lengths and offsets are signed integers of 32 or 64 bits. Everything is checked before anything is written. Nothing is
/// ordered with the device: use them on what an open guard shows.
namespace ops {

/// Some elements in a row, as the C API has them in lists.
template <class T>
class piece {
 public:
  constexpr piece() noexcept : capi_{nullptr, 0} {}
  constexpr piece(span<T> elements) noexcept : capi_{elements.data(), elements.size()} {}
  T* data() const noexcept { return static_cast<T*>(const_cast<void*>(capi_.data)); }
  std::size_t size() const noexcept { return capi_.count; }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept { return data() + size(); }
  T& operator[](std::size_t i) const noexcept { return data()[i]; }

 private:
  gpubuf_piece capi_;
};

}  // namespace ops

namespace detail {

template <class C>
using value_of = std::remove_cv_t<element_of<C>>;

/// The dtype of a list of integers.
template <class C>
constexpr std::uint32_t integers() noexcept {
  using T = value_of<C>;
  static_assert(std::is_integral_v<T> && std::is_signed_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "indices, lengths and offsets are signed integers of 32 or 64 bits");
  return sizeof(T) == 4 ? GPUBUF_DTYPE_I32 : GPUBUF_DTYPE_I64;
}

template <class Source, class Target>
constexpr void check_elements() noexcept {
  static_assert(std::is_same_v<value_of<Source>, value_of<Target>>, "source and target are of one element type");
  static_assert(std::is_trivially_copyable_v<value_of<Source>>, "elements are copied as bytes");
  static_assert(!std::is_const_v<element_of<Target>>, "the target is written");
}

/// Whether these values are so many rows of `width`, or more.
inline status not_rows(std::size_t values, std::size_t rows, std::size_t width, reason& why) noexcept {
  std::uint64_t wanted = 0;
  if (!multiply(rows, width, wanted) || values < wanted) {
    why = "there are fewer rows than indices";
    return status::overflow;
  }
  return status::ok;
}

template <class T>
struct is_piece : std::false_type {};
template <class T>
struct is_piece<ops::piece<T>> : std::true_type {};

}  // namespace detail

namespace ops {

/// Row i of the target becomes row indices[i] of the source. A row is `width` elements; the target may be longer.
template <class Form = throwing, class Source, class Indices, class Target>
outcome<Form> gather(const Source& source, const Indices& indices, Target&& target, std::size_t width = 1) noexcept(quiet<Form>) {
  detail::check_elements<const Source, Target>();
  using T = detail::value_of<const Source>;
  const std::size_t rows = width == 0 ? 0 : std::size(source) / width;
  if (rows * width != std::size(source))
    return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, {detail::reason::rows, std::size(source), width});
  detail::reason why;
  if (const status s = detail::not_rows(std::size(target), std::size(indices), width, why); s != status::ok)
    return detail::done<Form>(detail::number(s), why);
  return detail::done<Form>(gpubuf_ops_gather(std::data(source), rows, width * sizeof(T), std::data(indices),
                                              detail::integers<const Indices>(), std::size(indices), std::data(target)));
}

/// Row indices[i] of the target becomes row i of the source, in the order of the indices: the last one of equal ones wins. The
/// source may be longer.
template <class Form = throwing, class Source, class Indices, class Target>
outcome<Form> scatter(const Source& source, const Indices& indices, Target&& target, std::size_t width = 1) noexcept(quiet<Form>) {
  detail::check_elements<const Source, Target>();
  using T = detail::value_of<const Source>;
  const std::size_t rows = width == 0 ? 0 : std::size(target) / width;
  if (rows * width != std::size(target))
    return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, {detail::reason::rows, std::size(target), width});
  detail::reason why;
  if (const status s = detail::not_rows(std::size(source), std::size(indices), width, why); s != status::ok)
    return detail::done<Form>(detail::number(s), why);
  return detail::done<Form>(gpubuf_ops_scatter(std::data(source), width * sizeof(T), std::data(indices),
                                               detail::integers<const Indices>(), std::size(indices), std::data(target), rows));
}

/// Copies a row-major array and pads one axis to a multiple with elements of this value. Gives the axis's new extent.
template <class Form = throwing, class Source, class Target>
outcome<Form, std::uint64_t> pad(const Source& source, const extents& shape, std::uint32_t axis, std::uint64_t multiple,
                                 const detail::value_of<Target>& value, Target&& target) noexcept(quiet<Form>) {
  detail::check_elements<const Source, Target>();
  if (!shape.holds(std::size(source)))
    return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, std::uint64_t{0}, "the source is not of the shape's size");
  std::uint64_t extent = 0;
  const gpubuf_status code = gpubuf_ops_pad(std::data(source), shape.data(), shape.rank(), sizeof value, axis, multiple, &value,
                                            std::data(target), std::size(target), &extent);
  return detail::give<Form>(code, extent);
}

/// The same where the array is: at the start of `data`, which is as long as the padded one or longer.
template <class Form = throwing, class Data>
outcome<Form, std::uint64_t> pad_in_place(Data&& data, const extents& shape, std::uint32_t axis, std::uint64_t multiple,
                                          const detail::value_of<Data>& value) noexcept(quiet<Form>) {
  detail::check_elements<Data, Data>();
  std::uint64_t extent = 0;
  const gpubuf_status code = gpubuf_ops_pad_in_place(std::data(data), std::size(data), shape.data(), shape.rank(), sizeof value,
                                                     axis, multiple, &value, &extent);
  return detail::give<Form>(code, extent);
}

/// The offsets of these lengths: a 0, then the sum up to and with each. The target has one entry more than there are lengths.
template <class Form = throwing, class Lengths, class Offsets>
outcome<Form> offsets(const Lengths& lengths, Offsets&& target) noexcept(quiet<Form>) {
  if (std::size(target) != std::size(lengths) + 1)
    return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, "there is one offset more than lengths");
  return detail::done<Form>(gpubuf_ops_offsets(std::data(lengths), detail::integers<const Lengths>(), std::size(lengths),
                                               detail::integers<Offsets>(), std::data(target)));
}

/// Copies pieces one behind the other and tells where each begins. Gives how many elements there are; the target may be
/// longer. Pieces are a list of piece<T>, or of containers, which are listed first: that takes memory.
template <class Form = throwing, class Pieces, class Target, class Offsets>
outcome<Form, std::size_t> flatten(const Pieces& pieces, Target&& target, Offsets&& offsets) noexcept(quiet<Form>) {
  using P = detail::value_of<const Pieces>;
  detail::check_elements<const P, Target>();
  if (std::size(offsets) != std::size(pieces) + 1)
    return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, std::size_t{0}, "there is one offset more than pieces");
  if constexpr (detail::is_piece<P>::value) {
    static_assert(sizeof(P) == sizeof(gpubuf_piece) && std::is_standard_layout_v<P>);
    const gpubuf_status code = gpubuf_ops_flatten(
        reinterpret_cast<const gpubuf_piece*>(std::data(pieces)), std::size(pieces), sizeof(detail::value_of<const P>),
        detail::integers<Offsets>(), std::data(target), std::size(target), std::data(offsets));
    return detail::give<Form>(code, code == GPUBUF_OK ? static_cast<std::size_t>(std::data(offsets)[std::size(pieces)]) : 0);
  } else {
    std::vector<piece<detail::element_of<const P>>> list;
    try {
      list.reserve(std::size(pieces));
      for (const P& each : pieces) list.emplace_back(each);
    } catch (...) {
      return detail::give<Form>(GPUBUF_OUT_OF_HOST_MEMORY, std::size_t{0}, "no memory for the list of pieces");
    }
    return flatten<Form>(list, std::forward<Target>(target), std::forward<Offsets>(offsets));
  }
}

/// The pieces of the source between neighbouring offsets, as views: nothing is copied. There is one piece less than offsets.
template <class Form = throwing, class Source, class Offsets, class Pieces>
outcome<Form> split(Source&& source, const Offsets& offsets, Pieces&& target) noexcept(quiet<Form>) {
  using P = detail::element_of<Pieces>;
  static_assert(std::is_same_v<P, piece<detail::element_of<Source>>>, "the target is a list of piece<T>, T the source's element");
  static_assert(sizeof(P) == sizeof(gpubuf_piece) && std::is_standard_layout_v<P>);
  if (std::size(target) + 1 != std::size(offsets) && !(std::size(target) == 0 && std::size(offsets) == 0))
    return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, "there is one piece less than offsets");
  const void* first = std::size(offsets) == 0 ? nullptr : std::data(offsets);
  return detail::done<Form>(gpubuf_ops_split(std::data(source), std::size(source), sizeof(detail::element_of<Source>), first,
                                             detail::integers<const Offsets>(), std::size(target),
                                             reinterpret_cast<gpubuf_piece*>(std::data(target))));
}

}  // namespace ops

}  // namespace gpubuf

#endif  // GPUBUF_HPP_OPS_HPP
