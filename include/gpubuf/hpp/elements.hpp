// Element types, spans, extents, guards. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_ELEMENTS_HPP
#define GPUBUF_HPP_ELEMENTS_HPP

#include <gpubuf/hpp/core.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <thread>
#include <type_traits>
#include <utility>

namespace gpubuf {

/// The dtype of a C++ element type. Specialise it for types of your own, such as a half: a static member `value`.
template <class T, class = void>
struct dtype_of {};
template <>
struct dtype_of<bool> { static constexpr dtype value = dtype::boolean; };
template <>
struct dtype_of<float> { static constexpr dtype value = dtype::f32; };
template <>
struct dtype_of<double> { static constexpr dtype value = dtype::f64; };
template <class T>
struct dtype_of<T, std::enable_if_t<std::is_integral_v<T> && sizeof(T) <= 8>> {
  static constexpr dtype pick(dtype one, dtype two, dtype four, dtype eight) noexcept {
    return sizeof(T) == 1 ? one : sizeof(T) == 2 ? two : sizeof(T) == 4 ? four : eight;
  }
  static constexpr dtype value = std::is_signed_v<T> ? pick(dtype::i8, dtype::i16, dtype::i32, dtype::i64)
                                                     : pick(dtype::u8, dtype::u16, dtype::u32, dtype::u64);
};

/// Bytes of one element; 0 for an unknown dtype.
inline std::size_t dtype_size(dtype d) noexcept { return gpubuf_dtype_size(static_cast<std::uint32_t>(d)); }

/// A view of elements in a row, made from a pointer and a count or from anything with data() and size().
template <class T>
class span {
 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  constexpr span() noexcept = default;
  constexpr span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <class C, class E = std::remove_pointer_t<decltype(std::data(std::declval<C&>()))>,
            class = std::enable_if_t<std::is_convertible_v<E (*)[], T (*)[]>>>
  constexpr span(C&& elements) noexcept : data_(std::data(elements)), size_(std::size(elements)) {}
  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }
  constexpr T& operator[](std::size_t i) const noexcept { return data_[i]; }
  /// Clipped to what there is.
  constexpr span subspan(std::size_t first, std::size_t count = static_cast<std::size_t>(-1)) const noexcept {
    first = first < size_ ? first : size_;
    return span(data_ + first, count < size_ - first ? count : size_ - first);
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A shape: up to GPUBUF_MAX_RANK extents. One with more is refused where it is used.
class extents {
 public:
  extents(std::initializer_list<std::uint64_t> shape) noexcept : extents(span<const std::uint64_t>(shape.begin(), shape.size())) {}
  extents(span<const std::uint64_t> shape) noexcept : rank_(static_cast<std::uint32_t>(shape.size())) {
    for (std::size_t i = 0; i < shape.size() && i < extents_.size(); ++i) extents_[i] = shape[i];
  }
  std::uint32_t rank() const noexcept { return rank_; }
  std::uint64_t operator[](std::size_t i) const noexcept { return extents_[i]; }
  const std::uint64_t* data() const noexcept { return extents_.data(); }
  /// Whether an array of this shape has so many elements. What has more dimensions than there are is left to the library.
  bool holds(std::uint64_t count) const noexcept {
    std::uint64_t product = 1;
    bool more = false;
    for (std::size_t i = 0; i < rank_ && i < extents_.size(); ++i) {
      if (extents_[i] == 0) return count == 0;
      if (product > count / extents_[i]) more = true;  // Unless a 0 follows.
      else product *= extents_[i];
    }
    return !more && product == count;
  }
  template <class Options>
  void put(Options& options) const noexcept {
    options.rank = rank_;
    for (std::size_t i = 0; i < extents_.size(); ++i) options.shape[i] = extents_[i];
  }

 private:
  std::array<std::uint64_t, GPUBUF_MAX_RANK> extents_{};
  std::uint32_t rank_;
};

namespace detail {

/// A negative duration is none.
inline std::uint64_t no_less_than_none(std::chrono::nanoseconds span) noexcept {
  return span.count() < 0 ? 0 : static_cast<std::uint64_t>(span.count());
}

inline constexpr const char* overflow_text = "a count of elements does not fit 64 bits of bytes";

template <class T>
inline constexpr bool is_bytes = std::is_same_v<std::remove_cv_t<T>, std::byte>;

/// Whether elements of dtype `code` may be seen as T: std::byte sees them all.
template <class T>
bool matches(std::uint32_t code) noexcept {
  if constexpr (is_bytes<T>) {
    return true;
  } else {
    return static_cast<std::uint32_t>(dtype_of<std::remove_cv_t<T>>::value) == code && gpubuf_dtype_size(code) == sizeof(T);
  }
}

/// Why they may not.
template <class T>
reason mismatch(std::uint32_t code) noexcept {
  if constexpr (is_bytes<T>) {
    return {};
  } else {
    constexpr auto asked = static_cast<std::uint32_t>(dtype_of<std::remove_cv_t<T>>::value);
    return asked == code ? reason(reason::size, sizeof(T), code) : reason(reason::dtypes, asked, code);
  }
}

/// From values of T to elements of `code`; a reason where they are not whole.
template <class T>
reason to_elements(std::uint32_t code, std::size_t values, std::uint64_t& elements) noexcept {
  if (!matches<T>(code)) return mismatch<T>(code);
  const std::size_t each = is_bytes<T> ? gpubuf_dtype_size(code) : 1;
  if (each == 0 || values % each != 0) return reason(reason::elements, values, code);
  elements = values / each;
  return {};
}

inline bool multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& product) noexcept {
  product = a * b;
  return b == 0 || a <= UINT64_MAX / b;
}

template <class C>
using element_of = std::remove_pointer_t<decltype(std::data(std::declval<C&>()))>;

/// Ends what nobody can end any more afterwards. Busy is no answer to that: another thread is inside the object, and leaves it.
template <class End>
void end_at_last(End&& end) noexcept {
  if (end() != GPUBUF_BUSY) return;
  const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  do {
    std::this_thread::yield();
  } while (end() == GPUBUF_BUSY && std::chrono::steady_clock::now() < late);
}

}  // namespace detail

/// An open CPU access to a range: its elements until end() or the destructor. Move-only; for one thread at a time.
/// While a write guard is open no other guard and no copy may touch the range; while a read guard is open, no writer.
/// It refers to its buffer, block or step without keeping that alive: destroying the owner makes the guard void (end() is
/// stale_handle). The memory of one that was open then stays until a drain, but is nobody's to use.
template <class T>
class [[nodiscard]] guard {
 public:
  using end_function = gpubuf_status (*)(void* of, std::uint64_t token);
  guard() noexcept = default;
  guard(gpubuf::span<T> elements, void* of, std::uint64_t token, end_function closer) noexcept
      : elements_(elements), of_(of), token_(token), closer_(closer) {}
  guard(guard&& other) noexcept { *this = std::move(other); }
  guard& operator=(guard&& other) noexcept {
    if (this != &other) {
      detail::end_at_last([this] { return close(); });
      elements_ = std::exchange(other.elements_, {});
      of_ = other.of_, token_ = other.token_;
      closer_ = std::exchange(other.closer_, nullptr);
    }
    return *this;
  }
  ~guard() {
    detail::end_at_last([this] { return close(); });
  }

  /// Only of a guard with a name: one that is a temporary ends with its expression, and the access with it.
  gpubuf::span<T> span() const & noexcept { return elements_; }
  gpubuf::span<T> span() const && = delete;
  T* data() const & noexcept { return elements_.data(); }
  T* data() const && = delete;
  std::size_t size() const noexcept { return elements_.size(); }
  T& operator[](std::size_t i) const noexcept { return elements_[i]; }
  explicit operator bool() const noexcept { return closer_ != nullptr; }
  /// Ends the access, once; the destructor does it without telling a refusal. Busy: another thread is inside the object, and the
  /// access is open still. The destructor waits for that thread, for ten seconds at most.
  template <class Form = throwing>
  outcome<Form> end() noexcept(quiet<Form>) {
    if (closer_ == nullptr) return detail::done<Form>(GPUBUF_NOT_BEGUN, "end of a guard that is not open, or was ended before");
    return detail::done<Form>(close());
  }

 private:
  gpubuf_status close() noexcept {
    if (closer_ == nullptr) return GPUBUF_NOT_BEGUN;
    const gpubuf_status code = closer_(of_, token_);
    if (code == GPUBUF_BUSY) return code;
    elements_ = {};
    closer_ = nullptr;
    return code;
  }
  gpubuf::span<T> elements_;
  void* of_ = nullptr;
  std::uint64_t token_ = 0;
  end_function closer_ = nullptr;
};

template <class T>
using write_guard = guard<T>;
template <class T>
using read_guard = guard<const T>;

}  // namespace gpubuf

#endif  // GPUBUF_HPP_ELEMENTS_HPP
