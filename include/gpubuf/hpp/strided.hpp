// Elements with a shape and strides. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_STRIDED_HPP
#define GPUBUF_HPP_STRIDED_HPP

#include <gpubuf/hpp/elements.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace gpubuf {

/// Where elements lie: extents per dimension, outermost first, and the elements from one to the next along each.
struct strided_shape {
  std::uint32_t rank = 0;
  std::array<std::uint64_t, GPUBUF_MAX_RANK> extents{};
  std::array<std::uint64_t, GPUBUF_MAX_RANK> strides{};

  std::uint64_t extent(std::size_t axis) const noexcept { return extents[axis]; }
  std::uint64_t stride(std::size_t axis) const noexcept { return strides[axis]; }
  /// Elements before the one with these indices, one for each dimension; nobody checks them.
  template <class... Index>
  std::uint64_t offset(Index... index) const noexcept {
    std::uint64_t sum = 0;
    std::size_t axis = 0;
    ((sum += static_cast<std::uint64_t>(index) * strides[axis++]), ...);
    return sum;
  }
};

/// Elements that the CPU sees, with their shape: what mdspan is, in C++17. Copies refer to the same elements.
template <class T>
class strided : public strided_shape {
 public:
  strided() noexcept = default;
  strided(T* data, const strided_shape& shape) noexcept : strided_shape(shape), data_(data) {}
  T* data() const noexcept { return data_; }
  template <class... Index>
  T& operator()(Index... index) const noexcept { return data_[offset(index...)]; }

 private:
  T* data_ = nullptr;
};

/// Elements that kernels see: the address of the first one, with their shape.
struct device_view : strided_shape {
  address data = 0;
};

/// An open CPU access to all elements of a buffer or view, until end() or the destructor. As guard<T> otherwise.
template <class T>
class [[nodiscard]] strided_guard {
 public:
  strided_guard() noexcept = default;
  strided_guard(guard<T> access, const strided_shape& shape) noexcept : elements_(access.data(), shape), access_(std::move(access)) {}

  /// Only of a guard with a name.
  const strided<T>& view() const & noexcept { return elements_; }
  const strided<T>& view() const && = delete;
  template <class... Index>
  T& operator()(Index... index) const noexcept { return elements_(index...); }
  std::uint64_t extent(std::size_t axis) const noexcept { return elements_.extent(axis); }
  std::uint64_t stride(std::size_t axis) const noexcept { return elements_.stride(axis); }
  explicit operator bool() const noexcept { return static_cast<bool>(access_); }
  template <class Form = throwing>
  outcome<Form> end() noexcept(quiet<Form>) {
    elements_ = {};
    return access_.template end<Form>();
  }

 private:
  strided<T> elements_;
  guard<T> access_;
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_STRIDED_HPP
