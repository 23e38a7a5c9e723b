/**
 * @file gpubuf.hpp
 * The C++17 face of gpubuf: move-only owners, guards and exceptions over gpubuf.h. Header-only.
 *
 * Two forms, one name. Every fallible operation but describe() and why_backend(), which throw, is a template whose `Form`
 * says how failure is told:
 *
 *     buffer.to_device(stream);                              // throws gpubuf::error
 *     gpubuf::status s = buffer.to_device<no_throw>(stream); // noexcept, returns gpubuf::status
 *     auto block = pool.acquire<no_throw>(no_wait);          // noexcept, returns gpubuf::result<block>
 *
 * An operation whose element type is chosen by the caller takes that first: begin_write<float, no_throw>().
 *
 * Owners (device, stream, event, buffer, pool, block, slots, step, graph_hold) are empty or own one handle of the C API; capi()
 * shows it, release() gives it up, adopt() takes one over. They are as large as a pointer (step and borrowed_buffer have
 * a word more). Destructors neither throw nor wait: what the device still uses is freed later, by the library. Parents
 * may be destroyed before children: what was made from a device goes on, so do blocks of a destroyed pool; steps of
 * destroyed slots answer shut_down. An operation on an empty owner is refused like one on NULL, and a moved-from owner is
 * empty. The header needs exceptions to be enabled, also where only the no-throw forms are used.
 *
 * Threads: one owner may be used by several threads at a time as far as the class says; moving or destroying it is for
 * one thread alone. Timeouts cover waits for the device: a guard that somebody holds open is `busy` at once.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef GPUBUF_GPUBUF_HPP
#define GPUBUF_GPUBUF_HPP

#if !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#error "gpubuf.hpp needs C++ exceptions to be enabled; gpubuf.h, the C API, does not"
#endif

#include <gpubuf/gpubuf.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace gpubuf {

// ---- Numbers ----------------------------------------------------------------------------------------------------

/// What a call answers. Values that this header does not name are possible with a newer library.
enum class [[nodiscard]] status : std::int32_t {
  ok = GPUBUF_OK,
  // The call is wrong as such.
  invalid_argument = GPUBUF_INVALID_ARGUMENT, overflow = GPUBUF_OVERFLOW, stale_handle = GPUBUF_STALE_HANDLE,
  wrong_kind = GPUBUF_WRONG_KIND, wrong_device = GPUBUF_WRONG_DEVICE, version_mismatch = GPUBUF_VERSION_MISMATCH,
  not_found = GPUBUF_NOT_FOUND, exists = GPUBUF_EXISTS, frozen = GPUBUF_FROZEN,
  // It comes out of order.
  unfenced = GPUBUF_UNFENCED, not_retired = GPUBUF_NOT_RETIRED, not_begun = GPUBUF_NOT_BEGUN, not_held = GPUBUF_NOT_HELD,
  slot_unwritten = GPUBUF_SLOT_UNWRITTEN, graph_held = GPUBUF_GRAPH_HELD, exhausted = GPUBUF_EXHAUSTED,
  // It would have to wait, or waited too long.
  busy = GPUBUF_BUSY, timeout = GPUBUF_TIMEOUT, would_deadlock = GPUBUF_WOULD_DEADLOCK, conflict = GPUBUF_CONFLICT,
  // Something is used up.
  budget = GPUBUF_BUDGET, out_of_host_memory = GPUBUF_OUT_OF_HOST_MEMORY, out_of_device_memory = GPUBUF_OUT_OF_DEVICE_MEMORY,
  // The device, the driver.
  unsupported = GPUBUF_UNSUPPORTED, capturing = GPUBUF_CAPTURING, driver_missing = GPUBUF_DRIVER_MISSING,
  device_lost = GPUBUF_DEVICE_LOST, copy_failed = GPUBUF_COPY_FAILED, quarantined = GPUBUF_QUARANTINED, driver_error = GPUBUF_DRIVER_ERROR,
  // The process, the library.
  shut_down = GPUBUF_SHUT_DOWN, forked = GPUBUF_FORKED, broken = GPUBUF_BROKEN, internal = GPUBUF_INTERNAL,
};

enum class backend : std::uint32_t { automatic = GPUBUF_BACKEND_AUTO, cuda = GPUBUF_BACKEND_CUDA, host = GPUBUF_BACKEND_HOST };

/// Where a side of a buffer, or the blocks of a pool, live.
enum class placement : std::uint32_t {
  none = GPUBUF_PLACEMENT_NONE, pageable = GPUBUF_PLACEMENT_PAGEABLE, pinned = GPUBUF_PLACEMENT_PINNED,
  uva = GPUBUF_PLACEMENT_UVA, device = GPUBUF_PLACEMENT_DEVICE, managed = GPUBUF_PLACEMENT_MANAGED,
};

enum class dtype : std::uint32_t {
  boolean = GPUBUF_DTYPE_BOOL,
  i8 = GPUBUF_DTYPE_I8, i16 = GPUBUF_DTYPE_I16, i32 = GPUBUF_DTYPE_I32, i64 = GPUBUF_DTYPE_I64,
  u8 = GPUBUF_DTYPE_U8, u16 = GPUBUF_DTYPE_U16, u32 = GPUBUF_DTYPE_U32, u64 = GPUBUF_DTYPE_U64,
  f16 = GPUBUF_DTYPE_F16, bf16 = GPUBUF_DTYPE_BF16, f32 = GPUBUF_DTYPE_F32, f64 = GPUBUF_DTYPE_F64,
  f8_e4m3 = GPUBUF_DTYPE_F8_E4M3, f8_e5m2 = GPUBUF_DTYPE_F8_E5M2,
};

enum class side : std::uint32_t { host = GPUBUF_SIDE_HOST, device = GPUBUF_SIDE_DEVICE, both = GPUBUF_SIDE_BOTH };
enum class access : std::uint32_t { read = GPUBUF_ACCESS_READ, write = GPUBUF_ACCESS_WRITE };

/// Required slots are written in every step; kept slots keep the rows of earlier steps.
enum class slot_kind : std::uint32_t { required = GPUBUF_SLOT_REQUIRED, kept = GPUBUF_SLOT_KEPT };

enum class ticket : std::uint64_t {};        ///< One committed step.
enum class read_ticket : std::uint64_t {};   ///< One read-back.

/// A count: everything from the first element on.
inline constexpr std::uint64_t all = GPUBUF_ALL;

/// A device address, as kernels and graphs take it.
using address = std::uint64_t;

/// How long a call may wait for the device. Made from any std::chrono duration, rounded down to nanoseconds: zero and
/// less is no_wait, what does not fit is timeout_infinite.
class timeout {
 public:
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> span) noexcept
      : ns_(span <= span.zero() ? std::uint64_t{GPUBUF_TIMEOUT_TRY}
            : std::chrono::duration<double>(span).count() >= 9.2e9
                ? std::uint64_t{GPUBUF_TIMEOUT_INFINITE}
                : static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(span).count())) {}
  static constexpr timeout from_capi(std::uint64_t ns) noexcept { return timeout(ns); }
  constexpr std::uint64_t capi() const noexcept { return ns_; }

 private:
  explicit constexpr timeout(std::uint64_t ns) noexcept : ns_(ns) {}
  std::uint64_t ns_;
};

inline constexpr timeout no_wait = timeout::from_capi(GPUBUF_TIMEOUT_TRY);               ///< busy instead of a wait
inline constexpr timeout timeout_default = timeout::from_capi(GPUBUF_TIMEOUT_DEFAULT);   ///< the device's default
inline constexpr timeout timeout_infinite = timeout::from_capi(GPUBUF_TIMEOUT_INFINITE);

// ---- Errors -----------------------------------------------------------------------------------------------------

/// The constant's name, such as "GPUBUF_BUSY". Static.
inline const char* status_name(status s) noexcept { return gpubuf_status_name(static_cast<std::int32_t>(s)); }

namespace detail {

/// A text from a function that writes it to memory of ours and tells its whole length.
template <class Write>
std::string text(Write&& write) {
  std::string out(255, '\0');
  std::size_t length = write(&out[0], out.size() + 1);
  if (length > out.size()) {
    out.resize(length);
    length = write(&out[0], out.size() + 1);
  }
  out.resize(length < out.size() ? length : out.size());
  return out;
}

}  // namespace detail

/// The message of the last call of this thread that the library itself refused. What this header refuses before the
/// library is asked (elements of another type, a row that is not whole, a guard ended twice, ...) leaves it as it was: in
/// the no-throw form the status alone tells, or result::value(), which throws the header's own text.
inline std::string last_error_message() { return detail::text(gpubuf_last_error_message); }

/// What the throwing form throws. what() is "STATUS: message".
class error : public std::runtime_error {
 public:
  error(gpubuf::status s, const std::string& message)
      : std::runtime_error(message.empty() ? std::string(status_name(s)) : status_name(s) + (": " + message)), status_(s) {}
  gpubuf::status status() const noexcept { return status_; }

 private:
  gpubuf::status status_;
};

/// No host memory, no device memory, or over the budget.
class out_of_memory : public error {
  using error::error;
};

/// Throws the error for a status that is not ok; the message is this thread's last one where none is given.
[[noreturn]] inline void raise(status s, const char* message = nullptr) {
  const std::string text = message != nullptr ? std::string(message) : last_error_message();
  switch (s) {
    case status::budget:
    case status::out_of_host_memory:
    case status::out_of_device_memory: throw out_of_memory(s, text);
    default: throw error(s, text);
  }
}

/// The name of a dtype, such as "f32". Static.
inline const char* dtype_name(dtype d) noexcept {
  switch (d) {
    case dtype::boolean: return "bool";
    case dtype::i8: return "i8";
    case dtype::i16: return "i16";
    case dtype::i32: return "i32";
    case dtype::i64: return "i64";
    case dtype::u8: return "u8";
    case dtype::u16: return "u16";
    case dtype::u32: return "u32";
    case dtype::u64: return "u64";
    case dtype::f16: return "f16";
    case dtype::bf16: return "bf16";
    case dtype::f32: return "f32";
    case dtype::f64: return "f64";
    case dtype::f8_e4m3: return "f8_e4m3";
    case dtype::f8_e5m2: return "f8_e5m2";
  }
  return "an unknown dtype";
}

namespace detail {

/// Why this header refused a call. None: the library did, and its message says why.
struct reason {
  enum kind : std::uint32_t { none, plain, dtypes, size, elements, rows };
  kind what = none;
  const char* fixed = nullptr;
  std::uint64_t one = 0, two = 0;

  constexpr reason() noexcept = default;
  constexpr reason(const char* text) noexcept : what(plain), fixed(text) {}
  constexpr reason(kind k, std::uint64_t a, std::uint64_t b) noexcept : what(k), one(a), two(b) {}
  std::string text() const {
    const auto name = [](std::uint64_t code) { return dtype_name(static_cast<dtype>(static_cast<std::uint32_t>(code))); };
    switch (what) {
      case dtypes: return std::string("the elements are ") + name(two) + ", asked for as " + name(one);
      case size: return std::string("one element of ") + name(two) + " is not of the C++ type's " + std::to_string(one) + " bytes";
      case elements: return std::to_string(one) + " bytes are no whole number of elements of " + name(two);
      case rows: return std::to_string(one) + " values are no whole number of rows of " + std::to_string(two);
      case none:
      case plain: break;
    }
    return fixed != nullptr ? fixed : "";
  }
};

[[noreturn]] inline void raise(status s, const reason& why) {
  if (why.what == reason::none) gpubuf::raise(s);
  gpubuf::raise(s, why.text().c_str());
}

}  // namespace detail

/// What the no-throw form of an operation with a value returns. T is empty where the status is not ok.
template <class T>
class [[nodiscard]] result {
 public:
  result(gpubuf::status s, T value, const detail::reason& why = {}) noexcept(std::is_nothrow_move_constructible_v<T>)
      : value_(std::move(value)), why_(why), status_(s) {}
  gpubuf::status status() const noexcept { return status_; }
  bool ok() const noexcept { return status_ == gpubuf::status::ok; }
  /// Not for a result of bool, which would be taken for its value.
  template <class U = T, std::enable_if_t<!std::is_same_v<U, bool>, int> = 0>
  explicit operator bool() const noexcept { return ok(); }
  T& operator*() & noexcept { return value_; }
  const T& operator*() const & noexcept { return value_; }
  T&& operator*() && noexcept { return std::move(value_); }
  T* operator->() & noexcept { return &value_; }
  const T* operator->() const & noexcept { return &value_; }
  const T* operator->() const && = delete;  ///< Give the result a name, and look at its status first.
  /// The value, or the exception: ask on the thread that made the call, before its next call.
  T value() && {
    if (!ok()) detail::raise(status_, why_);
    return std::move(value_);
  }

 private:
  T value_;
  detail::reason why_;
  gpubuf::status status_;
};

/// For buffer::device_address() where nobody says which streams will use the address: it seals.
struct unnamed_t {};
inline constexpr unnamed_t unnamed{};

/// The forms of an operation.
struct throwing {};
struct no_throw {};

template <class Form>
inline constexpr bool quiet = std::is_same_v<Form, no_throw>;

namespace detail {

template <class Form, class T>
struct outcome {};
template <class T>
struct outcome<throwing, T> { using type = T; };
template <class T>
struct outcome<no_throw, T> { using type = result<T>; };
template <>
struct outcome<no_throw, void> { using type = status; };

}  // namespace detail

/// What an operation returns in this form; T is its value, if it has one.
template <class Form, class T = void>
using outcome = typename detail::outcome<Form, T>::type;

namespace detail {

template <class T>
struct identity { using type = T; };
template <class T>
using identity_t = typename identity<T>::type;

/// The C API's number for an enumerator.
template <class Enum>
constexpr std::underlying_type_t<Enum> number(Enum e) noexcept {
  return static_cast<std::underlying_type_t<Enum>>(e);
}

/// For destructors: a refusal has nobody to be told to.
inline void ignore(gpubuf_status) noexcept {}

template <class Form>
gpubuf::outcome<Form> done(gpubuf_status code, [[maybe_unused]] const reason& why = {}) noexcept(quiet<Form>) {
  if constexpr (quiet<Form>) {
    return static_cast<status>(code);
  } else if (code != GPUBUF_OK) {
    raise(static_cast<status>(code), why);
  }
}

template <class Form, class T>
gpubuf::outcome<Form, T> give(gpubuf_status code, T value, const reason& why = {}) noexcept(quiet<Form>) {
  if constexpr (quiet<Form>) {
    return result<T>(static_cast<status>(code), std::move(value), why);
  } else {
    done<Form>(code, why);
    return value;
  }
}

/// Calls a function of the C API that has one output, the last parameter, and gives that.
template <class Form, class T, class F, class... Args>
gpubuf::outcome<Form, T> get(F* function, Args... args) noexcept(quiet<Form>) {
  T out{};
  const gpubuf_status code = function(args..., &out);
  return give<Form>(code, std::move(out));
}

/// The same where the output is a struct whose struct_size the caller sets.
template <class Struct>
Struct sized() noexcept {
  Struct out{};
  out.struct_size = static_cast<std::uint32_t>(sizeof(Struct));
  return out;
}
template <class Form, class Struct, class F, class... Args>
gpubuf::outcome<Form, Struct> about(F* function, Args... args) noexcept(quiet<Form>) {
  Struct out = sized<Struct>();
  const gpubuf_status code = function(args..., &out);
  return give<Form>(code, std::move(out));
}

/// The same where the output is a new handle.
template <class Form, class Owner, class F, class... Args>
gpubuf::outcome<Form, Owner> make(F* function, Args... args) noexcept(quiet<Form>) {
  typename Owner::handle_type* handle = nullptr;
  const gpubuf_status code = function(args..., &handle);
  return give<Form>(code, Owner::adopt(handle));
}

/// While the major version is 0, header and library must agree on the minor one; later on the major one alone.
inline bool version_agrees(std::uint32_t header, std::uint32_t library) noexcept {
  const std::uint32_t keep = header < 1000000 ? 1000 : 1000000;
  return header / keep == library / keep;
}

inline constexpr const char* version_text = "the library is not of the version that gpubuf.hpp was compiled for";

inline gpubuf_status check_version() noexcept {
  static const bool agrees = version_agrees(GPUBUF_VERSION_NUMBER, gpubuf_version_number());
  return agrees ? GPUBUF_OK : GPUBUF_VERSION_MISMATCH;
}

/// A copy of a callable on the heap; null where memory ran out or its constructor threw.
template <class F>
std::unique_ptr<std::decay_t<F>> boxed(F&& f) noexcept {
  try {
    return std::make_unique<std::decay_t<F>>(std::forward<F>(f));
  } catch (...) {
    return nullptr;
  }
}

inline std::atomic<std::uint64_t>& dropped() noexcept {
  static std::atomic<std::uint64_t> count{0};
  return count;
}

/// Runs a callback for the library, which no exception may enter.
template <class F, class... Args>
void run_quietly(F& f, Args&&... args) noexcept {
  try {
    f(std::forward<Args>(args)...);
  } catch (...) {
    dropped().fetch_add(1, std::memory_order_relaxed);
  }
}

/// Owns one handle of the C API.
template <class Self, class Handle, gpubuf_status (*Destroy)(Handle*)>
class owner {
 public:
  using handle_type = Handle;
  owner() noexcept = default;
  owner(owner&& other) noexcept : handle_(other.release()) {}
  owner& operator=(owner&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = other.release();
    }
    return *this;
  }
  owner(const owner&) = delete;
  owner& operator=(const owner&) = delete;
  ~owner() { reset(); }

  /// Takes over a handle of the C API.
  static Self adopt(Handle* handle) noexcept {
    Self self;
    self.handle_ = handle;
    return self;
  }
  /// The handle, still owned. An owner is a handle, not the object: const does not reach through.
  Handle* capi() const noexcept { return handle_; }
  /// The handle, no longer owned.
  [[nodiscard]] Handle* release() noexcept { return std::exchange(handle_, nullptr); }
  /// Gives the object back now; empty from here on.
  void reset() noexcept {
    if (handle_ != nullptr) ignore(Destroy(std::exchange(handle_, nullptr)));
  }
  explicit operator bool() const noexcept { return handle_ != nullptr; }

 protected:
  Handle* handle_ = nullptr;
};

}  // namespace detail

/// Exceptions that left a callback (log, release, stream function) and were dropped, in this process.
inline std::uint64_t dropped_exceptions() noexcept { return detail::dropped().load(std::memory_order_relaxed); }

// ---- Elements and ranges ----------------------------------------------------------------------------------------

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
      detail::ignore(close());
      elements_ = std::exchange(other.elements_, {});
      of_ = other.of_, token_ = other.token_;
      closer_ = std::exchange(other.closer_, nullptr);
    }
    return *this;
  }
  ~guard() { detail::ignore(close()); }

  /// Only of a guard with a name: one that is a temporary ends with its expression, and the access with it.
  gpubuf::span<T> span() const & noexcept { return elements_; }
  gpubuf::span<T> span() const && = delete;
  T* data() const & noexcept { return elements_.data(); }
  T* data() const && = delete;
  std::size_t size() const noexcept { return elements_.size(); }
  T& operator[](std::size_t i) const noexcept { return elements_[i]; }
  explicit operator bool() const noexcept { return closer_ != nullptr; }
  /// Ends the access, once; the destructor does it without telling a refusal.
  template <class Form = throwing>
  outcome<Form> end() noexcept(quiet<Form>) {
    if (closer_ == nullptr) return detail::done<Form>(GPUBUF_NOT_BEGUN, "end of a guard that is not open, or was ended before");
    return detail::done<Form>(close());
  }

 private:
  gpubuf_status close() noexcept {
    elements_ = {};
    const end_function closer = std::exchange(closer_, nullptr);
    return closer == nullptr ? GPUBUF_NOT_BEGUN : closer(of_, token_);
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

// ---- The library ------------------------------------------------------------------------------------------------

inline const char* version_string() noexcept { return gpubuf_version_string(); }

/// Ends the library for the whole process: waits for the device up to the deadline, then frees what is proven unused.
/// Idempotent. Later calls answer shut_down; destructors stay harmless.
template <class Form = throwing>
outcome<Form> shutdown(timeout wait = timeout_default) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_shutdown(wait.capi()));
}

enum class log_level : std::int32_t {
  debug = GPUBUF_LOG_DEBUG, info = GPUBUF_LOG_INFO, warn = GPUBUF_LOG_WARN, error = GPUBUF_LOG_ERROR,
};
using log_function = std::function<void(log_level, const char* message)>;

namespace detail {

struct log_sink {
  std::mutex lock;
  std::shared_ptr<log_function> function;
  static log_sink& instance() {
    static log_sink* sink = new log_sink;  // Never destroyed: the library may log while statics are.
    return *sink;
  }
};

inline void log_trampoline(std::int32_t level, const char* message, void*) noexcept {
  std::shared_ptr<log_function> function;
  {
    std::lock_guard<std::mutex> locked(log_sink::instance().lock);
    function = log_sink::instance().function;
  }
  if (function != nullptr) run_quietly(*function, static_cast<log_level>(level), message);
}

}  // namespace detail

/// Where the library's log goes; an empty function: nowhere. Process-wide. Called from any thread, also the library's
/// own; a call that already runs ends with the function it began with. Exceptions are dropped and counted.
template <class Form = throwing>
outcome<Form> set_log(log_function function) noexcept(quiet<Form>) {
  if (detail::check_version() != GPUBUF_OK) return detail::done<Form>(GPUBUF_VERSION_MISMATCH, detail::version_text);
  const bool silent = !function;
  std::shared_ptr<log_function> next;
  if (!silent) {
    next = std::shared_ptr<log_function>(detail::boxed(std::move(function)));
    if (next == nullptr) return detail::done<Form>(GPUBUF_OUT_OF_HOST_MEMORY, "no memory for the log function");
  }
  {
    std::lock_guard<std::mutex> locked(detail::log_sink::instance().lock);
    detail::log_sink::instance().function.swap(next);
  }
  return detail::done<Form>(gpubuf_log_set_callback(silent ? nullptr : &detail::log_trampoline, nullptr));
}

/// One line on any owner: kind, label, sizes, state.
template <class Owner>
std::string describe(const Owner& object) {
  return detail::text([&](char* buffer, std::size_t capacity) {
    std::size_t length = 0;
    detail::done<throwing>(gpubuf_describe(object.capi(), buffer, capacity, &length));
    return length;
  });
}

/// Names any owner in messages and descriptions. The text is copied.
template <class Form = throwing, class Owner>
outcome<Form> set_label(const Owner& object, const char* label) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_set_label(object.capi(), label));
}

namespace detail {

template <class Options, void (*Init)(Options*, std::uint32_t)>
struct with_defaults : Options {
  with_defaults() noexcept { Init(this, sizeof(Options)); }
};

}  // namespace detail

// The options of the C API, with the library's defaults.
using device_options = detail::with_defaults<gpubuf_device_options, gpubuf_device_options_init>;
using buffer_options = detail::with_defaults<gpubuf_buffer_options, gpubuf_buffer_options_init>;
using pool_options = detail::with_defaults<gpubuf_pool_options, gpubuf_pool_options_init>;
using slots_options = detail::with_defaults<gpubuf_slots_options, gpubuf_slots_options_init>;
using slot_options = detail::with_defaults<gpubuf_slot_options, gpubuf_slot_options_init>;
using decode_options = detail::with_defaults<gpubuf_decode_options, gpubuf_decode_options_init>;

// ---- Device, stream, event --------------------------------------------------------------------------------------

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

// ---- Paired buffer ----------------------------------------------------------------------------------------------

/// Host and device memory of one shape. Ranges are elements, row-major; `first` and `count` default to everything.
///
/// Order: the library sees its own copies and fills and lets nothing race with them: a CPU access waits for them up to
/// its timeout, work on another stream waits on the device. It does not see your kernels: name their streams with
/// device_address({streams}), or declare them with used_on() after the launch.
/// Threads: any, one call at a time (a second one is busy); open guards exclude each other as guard<T> says.
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
  template <class T, class Form, class Begin>
  outcome<Form, guard<T>> begin(std::uint64_t first, std::uint64_t count, Begin&& call,
                                typename guard<T>::end_function end) const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_buffer_info>();
    gpubuf_status code = gpubuf_buffer_info_get(capi(), &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, guard<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, guard<T>(), detail::mismatch<T>(about.dtype));
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

// ---- Pool -------------------------------------------------------------------------------------------------------

/// One block of a pool, held. Ranges are values of T (bytes for std::byte).
///
/// Order: handing out device_address() seals the block: nothing may rewrite or release it until the work that uses the
/// address is declared, by fence() (the block is kept) or release_after() (it goes back to the pool).
/// The destructor gives the block back. Where that is refused (unfenced: nobody declared the reader; busy: a guard is
/// open) it does not guess: nobody gets the block any more, the library logs a warning, and the pool's description counts
/// the sealed blocks. give_back() and release_after() tell a refusal while there still is somebody to tell.
/// Threads: one at a time; blocks of one pool are independent.
class block : public detail::owner<block, gpubuf_block, gpubuf_pool_release> {
 public:
  template <class Form = throwing>
  outcome<Form, gpubuf_block_info> info() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_block_info>(gpubuf_block_info_get, capi());
  }
  /// Back to the pool, with the uses that the library saw. Refused: the block is still held.
  template <class Form = throwing>
  outcome<Form> give_back() noexcept(quiet<Form>) { return gone<Form>(gpubuf_pool_release(capi())); }
  /// Back to the pool; it is handed out again when the work queued on these streams so far is done.
  template <class Form = throwing>
  outcome<Form> release_after(const stream_list& streams) noexcept(quiet<Form>) {
    return gone<Form>(gpubuf_pool_release_after(capi(), streams.capi(), streams.size()));
  }
  /// Declares the work queued on these streams so far; the block is kept and may be rewritten after it.
  template <class Form = throwing>
  outcome<Form> fence(const stream_list& streams) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_fence(capi(), streams.capi(), streams.size()));
  }
  /// Your word that nothing uses the address that was handed out.
  template <class Form = throwing>
  outcome<Form> declare_unread() noexcept(quiet<Form>) { return detail::done<Form>(gpubuf_block_declare_unread(capi())); }
  /// Where the host side lies. No access: read through it only while a guard covers the range.
  template <class Form = throwing>
  outcome<Form, const void*> host_ptr() const noexcept(quiet<Form>) {
    return detail::get<Form, const void*>(gpubuf_block_host_ptr, capi());
  }
  /// The address for kernels. Seals the block.
  template <class Form = throwing>
  outcome<Form, address> device_address() noexcept(quiet<Form>) { return detail::get<Form,
                                        address>(gpubuf_block_device_address, capi()); }

  template <class T = std::byte, class Form = throwing>
  outcome<Form, write_guard<T>> begin_write(std::uint64_t first, std::uint64_t count,
                                            timeout wait = timeout_default) noexcept(quiet<Form>) {
    return begin<T, Form>(first, count, [&](std::uint64_t offset, std::uint64_t bytes, void** data, std::uint64_t* token) {
      return gpubuf_block_begin_write(capi(), offset, bytes, wait.capi(), data, token);
    }, [](void* of, std::uint64_t token) { return gpubuf_block_end_write(static_cast<gpubuf_block*>(of), token); });
  }
  template <class T = std::byte, class Form = throwing>
  outcome<Form, write_guard<T>> begin_write(timeout wait = timeout_default) noexcept(quiet<Form>) {
    return begin_write<T, Form>(0, all, wait);
  }
  template <class T = std::byte, class Form = throwing>
  outcome<Form, read_guard<T>> begin_read(std::uint64_t first, std::uint64_t count,
                                          timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return begin<const T, Form>(first, count, [&](std::uint64_t offset, std::uint64_t bytes, const void** data, std::uint64_t* token) {
      return gpubuf_block_begin_read(capi(), offset, bytes, wait.capi(), data, token);
    }, [](void* of, std::uint64_t token) { return gpubuf_block_end_read(static_cast<gpubuf_block*>(of), token); });
  }
  template <class T = std::byte, class Form = throwing>
  outcome<Form, read_guard<T>> begin_read(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return begin_read<T, Form>(0, all, wait);
  }
  /// `offset` is bytes.
  template <class Form = throwing, class C>
  outcome<Form> copy_in(const C& source, std::uint64_t offset = 0, timeout wait = timeout_default) noexcept(quiet<Form>) {
    static_assert(std::is_trivially_copyable_v<detail::element_of<const C>>, "elements are copied as bytes");
    const std::uint64_t bytes = std::size(source) * sizeof(detail::element_of<const C>);
    return detail::done<Form>(gpubuf_block_copy_in(capi(), offset, bytes, std::data(source), wait.capi()));
  }
  template <class Form = throwing, class C>
  outcome<Form> copy_out(C&& target, std::uint64_t offset = 0, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    static_assert(std::is_trivially_copyable_v<detail::element_of<C>>, "elements are copied as bytes");
    const std::uint64_t bytes = std::size(target) * sizeof(detail::element_of<C>);
    return detail::done<Form>(gpubuf_block_copy_out(capi(), offset, bytes, std::data(target), wait.capi()));
  }
  /// Queues a copy to the device side, of a pool that has one. Offset and count are bytes.
  template <class Form = throwing>
  outcome<Form> to_device(const stream& on, std::uint64_t offset = 0, std::uint64_t bytes = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_to_device(capi(), offset, bytes, on.capi()));
  }
  template <class Form = throwing>
  outcome<Form> to_host(const stream& on, std::uint64_t offset = 0, std::uint64_t bytes = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_to_host(capi(), offset, bytes, on.capi()));
  }
  /// As buffer::capture_to_device, of bytes.
  template <class Form = throwing>
  outcome<Form> capture_to_device(const graph_hold& into, const stream& on, std::uint64_t offset = 0,
                                  std::uint64_t bytes = all) noexcept(quiet<Form>);
  template <class Form = throwing>
  outcome<Form> capture_to_host(const graph_hold& into, const stream& on, std::uint64_t offset = 0,
                                std::uint64_t bytes = all) noexcept(quiet<Form>);

 private:
  template <class Form>
  outcome<Form> gone(gpubuf_status code) noexcept(quiet<Form>) {
    if (code == GPUBUF_OK) handle_ = nullptr;
    return detail::done<Form>(code);
  }
  template <class T, class Form, class Begin>
  outcome<Form, guard<T>> begin(std::uint64_t first, std::uint64_t count, Begin&& call,
                                typename guard<T>::end_function end) const noexcept(quiet<Form>) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count == all) {
      auto about = detail::sized<gpubuf_block_info>();
      const gpubuf_status code = gpubuf_block_info_get(capi(), &about);
      if (code != GPUBUF_OK) return detail::give<Form>(code, guard<T>());
      const std::uint64_t whole = about.bytes / sizeof(T);
      count = first < whole ? whole - first : 0;
    }
    std::uint64_t offset = 0, bytes = 0;
    if (!detail::multiply(first, sizeof(T), offset) || !detail::multiply(count, sizeof(T), bytes)) {
      return detail::give<Form>(GPUBUF_OVERFLOW, guard<T>(), detail::overflow_text);
    }
    std::conditional_t<std::is_const_v<T>, const void*, void*> data = nullptr;
    std::uint64_t token = 0;
    const gpubuf_status code = call(offset, bytes, &data, &token);
    if (code != GPUBUF_OK) return detail::give<Form>(code, guard<T>());
    return detail::give<Form>(GPUBUF_OK, guard<T>({static_cast<T*>(data), static_cast<std::size_t>(count)}, capi(), token, end));
  }
};

/// Blocks of one size, made once. Threads: any; a thread that waits for a block is served by priority, then in order.
class pool : public detail::owner<pool, gpubuf_pool, gpubuf_pool_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, pool> create(const device& on, const gpubuf_pool_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, pool>(gpubuf_pool_create, on.capi(), &options);
  }
  /// Pinned blocks with a device side each, or UVA blocks that kernels read in place.
  template <class Form = throwing>
  static outcome<Form, pool> create(const device& on, std::uint64_t block_bytes, std::uint32_t block_count,
                                    placement where = placement::pinned) noexcept(quiet<Form>) {
    pool_options options;
    options.placement = detail::number(where);
    options.block_bytes = block_bytes;
    options.block_count = block_count;
    options.device_side = where == placement::uva ? 0 : 1;
    return create<Form>(on, options);
  }
  /// Waits for a block and for the work that still uses it; a higher priority is served first (busy, timeout).
  template <class Form = throwing>
  outcome<Form, block> acquire(timeout wait = timeout_default, std::int32_t priority = 0) const noexcept(quiet<Form>) {
    return detail::make<Form, block>(gpubuf_pool_acquire, capi(), priority, wait.capi());
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_pool_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_pool_stats>(gpubuf_pool_stats_get, capi());
  }
};

/// release_after for up to 64 blocks of a step, with one record per stream. All are given back, or none.
template <class Form = throwing>
outcome<Form> release_after(span<block> blocks, const stream_list& streams) noexcept(quiet<Form>) {
  std::array<gpubuf_block*, 64> handles{};
  if (blocks.size() > handles.size()) {
    return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, "more than 64 blocks in one release_after: give them in several calls");
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) handles[i] = blocks[i].capi();
  const gpubuf_status code = gpubuf_pool_release_after_many(handles.data(), blocks.size(), streams.capi(), streams.size());
  if (code == GPUBUF_OK) {
    for (block& b : blocks) static_cast<void>(b.release());
  }
  return detail::done<Form>(code);
}

// ---- Input slots ------------------------------------------------------------------------------------------------

/// A slot by number, with what its rows look like. Plain data. std::byte sees a slot of any dtype as bytes.
template <class T>
struct slot {
  std::uint32_t index = 0;
  std::uint64_t rows = 0;          ///< The most that one step may write.
  std::uint64_t row_elements = 0;  ///< Values of T in one row.
};

/// A copy of device bytes on its way to the host. Take it with wait(); end() or the destructor frees its entry, waited
/// for or not. Move-only; for one thread at a time.
template <class T>
class [[nodiscard]] readback {
 public:
  readback() noexcept = default;
  readback(gpubuf_slots* of, read_ticket id) noexcept : of_(of), id_(id) {}
  readback(readback&& other) noexcept { *this = std::move(other); }
  readback& operator=(readback&& other) noexcept {
    if (this != &other) {
      reset();
      of_ = std::exchange(other.of_, nullptr);
      id_ = other.id_;
    }
    return *this;
  }
  ~readback() { reset(); }

  /// Waits for the copy; the elements are there until end(). May be called again. Only of a read-back with a name: one
  /// that is a temporary ends with its expression, and the elements with it.
  template <class Form = throwing>
  outcome<Form, span<const T>> wait(timeout limit = timeout_default) & noexcept(quiet<Form>) {
    if (of_ == nullptr) {
      return detail::give<Form>(GPUBUF_NOT_BEGUN, span<const T>(), "wait for a read-back that was never queued, or was ended before");
    }
    const void* data = nullptr;
    std::uint64_t bytes = 0;
    const gpubuf_status code = gpubuf_slots_begin_read(of_, detail::number(id_), limit.capi(), &data, &bytes);
    return detail::give<Form>(code, span<const T>(static_cast<const T*>(data), static_cast<std::size_t>(bytes / sizeof(T))));
  }
  template <class Form = throwing>
  outcome<Form, span<const T>> wait(timeout limit = timeout_default) && = delete;
  /// Frees the entry, once.
  template <class Form = throwing>
  outcome<Form> end() noexcept(quiet<Form>) {
    if (of_ == nullptr) return detail::done<Form>(GPUBUF_NOT_BEGUN, "end of a read-back that was never queued, or was ended before");
    return detail::done<Form>(close());
  }
  read_ticket capi() const noexcept { return id_; }
  explicit operator bool() const noexcept { return of_ != nullptr; }

 private:
  void reset() noexcept {
    if (of_ != nullptr) detail::ignore(close());
  }
  gpubuf_status close() noexcept {
    return gpubuf_slots_end_read(std::exchange(of_, nullptr), detail::number(id_));
  }
  gpubuf_slots* of_ = nullptr;
  read_ticket id_{};
};

/// One step: filled, committed, and retired when the work that reads it is queued.
///
/// Move it to whoever launches: its end is the step's end. Every stream that reads the slots must be among the
/// `consumers` of commit() or be named in retire({...}): the library sees no launches. The destructor aborts a step that is
/// being filled, and retires a committed one, which fences the declared consumers and the commit stream and no other. It
/// neither throws nor waits, so an exception half way leaves nothing behind; a step that was retired elsewhere, by its
/// ticket, is let go silently. Threads: one at a time, any.
class [[nodiscard]] step : public detail::owner<step, gpubuf_step, gpubuf_step_destroy> {
 public:
  /// Copies whole rows, as many as `rows` holds, from `first_row` on.
  template <class Form = throwing, class T>
  outcome<Form> write(slot<T> to, gpubuf::span<const detail::identity_t<T>> rows,
                      std::uint64_t first_row = 0) noexcept(quiet<Form>) {
    const bool whole = to.row_elements != 0 && rows.size() % to.row_elements == 0;
    if (!whole) {
      return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, detail::reason(detail::reason::rows, rows.size(), to.row_elements));
    }
    return detail::done<Form>(gpubuf_step_write(capi(), to.index, first_row, rows.size() / to.row_elements, rows.data()));
  }
  template <class Form = throwing, class T>
  outcome<Form> write(slot<T> to, std::initializer_list<detail::identity_t<T>> rows,
                      std::uint64_t first_row = 0) noexcept(quiet<Form>) {
    return write<Form>(to, gpubuf::span<const T>(rows.begin(), rows.size()), first_row);
  }
  /// Rows to be filled in place; the guard must end before commit.
  template <class Form = throwing, class T>
  outcome<Form, write_guard<T>> span(slot<T> of, std::uint64_t first_row = 0, std::uint64_t rows = all) noexcept(quiet<Form>) {
    if (rows == all) rows = first_row < of.rows ? of.rows - first_row : 0;
    void* data = nullptr;
    std::uint64_t token = 0;
    const gpubuf_status code = gpubuf_step_begin_span(capi(), of.index, first_row, rows, &data, &token);
    if (code != GPUBUF_OK) return detail::give<Form>(code, write_guard<T>());
    const gpubuf::span<T> elements(static_cast<T*>(data), static_cast<std::size_t>(rows * of.row_elements));
    const auto end = [](void* self, std::uint64_t t) { return gpubuf_step_end_span(static_cast<gpubuf_step*>(self), t); };
    return detail::give<Form>(GPUBUF_OK, write_guard<T>(elements, capi(), token, end));
  }
  /// Rows from the written ones up to `row_count` get the slot's pad value.
  template <class Form = throwing, class T>
  outcome<Form> pad(slot<T> to, std::uint64_t row_count) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_step_pad(capi(), to.index, row_count));
  }
  /// Queues the step's copy on a stream. Later work of that stream and of the consumers reads this step's rows, and
  /// waits for it. Name every stream that will read them, here or in retire(): the end of the scope fences these alone.
  /// not_retired: the previous step was committed and is not retired yet.
  template <class Form = throwing>
  outcome<Form, ticket> commit(const stream& on, const stream_list& consumers = {}) noexcept(quiet<Form>) {
    std::uint64_t number = 0;
    const gpubuf_status code = gpubuf_step_commit(capi(), on.capi(), consumers.capi(), consumers.size(), &number);
    if (code == GPUBUF_OK) ticket_ = ticket{number};
    return detail::give<Form>(code, ticket{number});
  }
  /// The work that reads this step is queued: on the consumers declared at commit, and on these streams. Ends the step.
  template <class Form = throwing>
  outcome<Form> retire(const stream_list& streams = {}) noexcept(quiet<Form>) {
    return gone<Form>(gpubuf_step_retire(capi(), streams.capi(), streams.size()));
  }
  /// As if begun never. Ends the step.
  template <class Form = throwing>
  outcome<Form> abort() noexcept(quiet<Form>) { return gone<Form>(gpubuf_step_abort(capi())); }
  /// The ticket, once this object has committed the step; 0 before, after a move, and for a handle that was adopted.
  ticket id() const noexcept { return ticket_; }

  step() noexcept = default;
  step(step&& other) noexcept : owner(std::move(other)), ticket_(std::exchange(other.ticket_, {})) {}
  step& operator=(step&& other) noexcept {
    if (this != &other) {
      owner::operator=(std::move(other));
      ticket_ = std::exchange(other.ticket_, {});
    }
    return *this;
  }

 private:
  friend class slots;
  template <class Form>
  outcome<Form> gone(gpubuf_status code) noexcept(quiet<Form>) {
    if (code == GPUBUF_OK) handle_ = nullptr;
    return detail::done<Form>(code);
  }
  ticket ticket_{};
};

/// The inputs of a step: named slots, packed in one device block whose addresses never change after freeze(), so that
/// graphs may bake them in, and a ring of pinned entries so that step n+1 is filled while the device works on step n.
///
///     auto ids = slots.add<std::int32_t>("input_ids", {8192});
///     slots.freeze();
///     auto step = slots.begin();
///     step.write(ids, tokens);
///     step.commit(copies, {compute});  // one copy; every stream that reads the slots is named here ...
///     launch(compute);                 // your kernels or graph
///                                      // ... or in step.retire({...}): the end of the scope fences what commit named
///
/// Threads: any; a step is for one thread at a time, and several may be filled at once.
class slots : public detail::owner<slots, gpubuf_slots, gpubuf_slots_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, slots> create(const device& on,
                                     const gpubuf_slots_options& options = slots_options()) noexcept(quiet<Form>) {
    return detail::make<Form, slots>(gpubuf_slots_create, on.capi(), &options);
  }
  /// With the slots of a decoder: input_ids, positions, query_start_loc, seq_lens, slot_mapping, temperature, top_k,
  /// top_p, seeds, block_table. More may be added before freeze().
  template <class Form = throwing>
  static outcome<Form, slots> create_decode(const device& on,
                                            const gpubuf_decode_options& options = decode_options()) noexcept(quiet<Form>) {
    return detail::make<Form, slots>(gpubuf_slots_create_decode, on.capi(), &options);
  }

  /// A slot of at most `shape`, whose first extent is the rows.
  template <class T, class Form = throwing>
  outcome<Form, slot<T>> add(const char* name, const extents& shape, slot_kind kind = slot_kind::required,
                             detail::identity_t<T> pad = T{},
                             bool own_copy = false) noexcept(quiet<Form>) {
    slot_options options;
    options.dtype = detail::number(dtype_of<T>::value);
    options.kind = detail::number(kind);
    options.own_copy = own_copy ? 1 : 0;
    options.pad_value = &pad;
    options.name = name;
    shape.put(options);
    return add_raw<T, Form>(options);
  }
  /// From the options of the C API, for dtypes without a C++ type.
  template <class T = std::byte, class Form = throwing>
  outcome<Form, slot<T>> add_raw(const gpubuf_slot_options& options) noexcept(quiet<Form>) {
    if (!detail::matches<T>(options.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, slot<T>(), detail::mismatch<T>(options.dtype));
    }
    slot<T> made{0, options.shape[0], gpubuf_dtype_size(options.dtype) / sizeof(T)};
    for (std::uint32_t i = 1; i < options.rank && i < GPUBUF_MAX_RANK; ++i) made.row_elements *= options.shape[i];
    const gpubuf_status code = gpubuf_slots_add(capi(), &options, &made.index);
    return detail::give<Form>(code, std::move(made));
  }
  /// No more slots from here on; addresses are final, and steps may begin.
  template <class Form = throwing>
  outcome<Form> freeze() noexcept(quiet<Form>) { return detail::done<Form>(gpubuf_slots_freeze(capi())); }
  /// After freeze(). T must be the slot's element type (invalid_argument), or std::byte.
  template <class T = std::byte, class Form = throwing>
  outcome<Form, slot<T>> find(const char* name) const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_slot_info>();
    std::uint32_t index = 0;
    gpubuf_status code = gpubuf_slots_find(capi(), name, &index);
    if (code == GPUBUF_OK) code = gpubuf_slots_slot_info(capi(), index, &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, slot<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, slot<T>(), detail::mismatch<T>(about.dtype));
    }
    return detail::give<Form>(GPUBUF_OK, slot<T>{index, about.rows, about.row_bytes / sizeof(T)});
  }
  template <class Form = throwing, class T>
  outcome<Form, gpubuf_slot_info> info(slot<T> of) const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_slot_info>(gpubuf_slots_slot_info, capi(), of.index);
  }
  /// Constant after freeze().
  template <class Form = throwing, class T>
  outcome<Form, address> device_address(slot<T> of) const noexcept(quiet<Form>) {
    auto out = detail::sized<gpubuf_slot_info>();
    const gpubuf_status code = gpubuf_slots_slot_info(capi(), of.index, &out);
    return detail::give<Form>(code, address{out.device_address});
  }

  /// An entry to fill. Waits for the copy that still reads it (busy, timeout).
  template <class Form = throwing>
  outcome<Form, step> begin(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    step made;
    const gpubuf_status code = gpubuf_slots_begin(capi(), wait.capi(), &made.handle_);
    return detail::give<Form>(code, std::move(made));
  }
  /// step::retire for who has the ticket alone.
  template <class Form = throwing>
  outcome<Form> retire(ticket committed, const stream_list& streams = {}) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_slots_retire(capi(), detail::number(committed), streams.capi(), streams.size()));
  }
  /// Queues a copy of a slot's rows back to the host; between commit and retire.
  template <class Form = throwing, class T>
  outcome<Form, readback<T>> read_back(ticket committed, slot<T> from, const stream& on, std::uint64_t first_row = 0,
                                       std::uint64_t rows = all) const noexcept(quiet<Form>) {
    std::uint64_t id = 0;
    const gpubuf_status code = gpubuf_slots_read_back(capi(), detail::number(committed), from.index, first_row, rows, on.capi(), &id);
    return detail::give<Form>(code, readback<T>(code == GPUBUF_OK ? capi() : nullptr, read_ticket{id}));
  }
  /// The same from a buffer's device side, such as the sampled tokens. T as in buffer::begin_read.
  template <class T, class Form = throwing>
  outcome<Form, readback<T>> read_back(ticket committed, const buffer& from, const stream& on, std::uint64_t first = 0,
                                       std::uint64_t count = all) const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_buffer_info>();
    gpubuf_status code = gpubuf_buffer_info_get(from.capi(), &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, readback<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, readback<T>(), detail::mismatch<T>(about.dtype));
    }
    std::uint64_t id = 0;
    code = gpubuf_slots_read_back_buffer(capi(), detail::number(committed), from.capi(), first, count, on.capi(), &id);
    return detail::give<Form>(code, readback<T>(code == GPUBUF_OK ? capi() : nullptr, read_ticket{id}));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_slots_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_slots_stats>(gpubuf_slots_stats_get, capi());
  }
};

// ---- Graphs -----------------------------------------------------------------------------------------------------

/// Every block whose addresses one executable graph has baked in: they stay where they are until the hold ends, and
/// each launch is a use of all of them, so that a CPU write waits for the replays that still read.
///
///     auto hold = gpubuf::graph_hold::create(device);
///     hold.add(inputs);                          // before the capture
///     // begin the capture on `stream`
///     inputs.capture_to_device(hold, stream);    // and your kernels
///     // end it, and make the graph executable
///     hold.set_graph(executable);
///     for (;;) {
///       inputs.copy_in(tokens);                  // waits for the replay before
///       hold.launch(stream);
///     }
///
/// Destroy the executable graph first, then the hold. Threads: any, one call at a time (a second one is busy).
class graph_hold : public detail::owner<graph_hold, gpubuf_graph_hold, gpubuf_graph_hold_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, graph_hold> create(const device& on) noexcept(quiet<Form>) {
    return detail::make<Form, graph_hold>(gpubuf_graph_hold_create, on.capi());
  }
  /// Waits until each use of the block is over. What takes its address for the graph's kernels comes afterwards.
  template <class Form = throwing>
  outcome<Form> add(const buffer& held, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_add_buffer(capi(), held.capi(), wait.capi()));
  }
  template <class Form = throwing>
  outcome<Form> add(const block& held, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_add_block(capi(), held.capi(), wait.capi()));
  }
  /// The device memory of frozen slots. Never waits: launches are ordered behind the commits.
  template <class Form = throwing>
  outcome<Form> add(const slots& held) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_add_slots(capi(), held.capi()));
  }
  /// The graph (a cudaGraphExec_t or CUgraphExec) is launched through the hold only from here on: the seals are lifted.
  template <class Form = throwing>
  outcome<Form> set_graph(void* executable) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_set_graph(capi(), executable));
  }
  /// Launches the graph, behind what other streams do with its blocks, and fences it. Never waits.
  template <class Form = throwing>
  outcome<Form> launch(const stream& on) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_launch(capi(), on.capi()));
  }
  /// Declares launches of your own that are queued on the stream by now.
  template <class Form = throwing>
  outcome<Form> replayed(const stream& on) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_replayed(capi(), on.capi()));
  }
};

template <class Form>
outcome<Form> buffer::capture_to_device(const graph_hold& into, const stream& on, std::uint64_t first,
                                        std::uint64_t count) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_buffer_capture_to_device(capi(), into.capi(), first, count, on.capi()));
}
template <class Form>
outcome<Form> buffer::capture_to_host(const graph_hold& into, const stream& on, std::uint64_t first,
                                      std::uint64_t count) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_buffer_capture_to_host(capi(), into.capi(), first, count, on.capi()));
}
template <class Form>
outcome<Form> block::capture_to_device(const graph_hold& into, const stream& on, std::uint64_t offset,
                                       std::uint64_t bytes) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_block_capture_to_device(capi(), into.capi(), offset, bytes, on.capi()));
}
template <class Form>
outcome<Form> block::capture_to_host(const graph_hold& into, const stream& on, std::uint64_t offset,
                                     std::uint64_t bytes) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_block_capture_to_host(capi(), into.capi(), offset, bytes, on.capi()));
}

static_assert(sizeof(graph_hold) == sizeof(void*));
static_assert(sizeof(device) == sizeof(void*) && sizeof(stream) == sizeof(void*) && sizeof(event) == sizeof(void*));
static_assert(sizeof(buffer) == sizeof(void*) && sizeof(pool) == sizeof(void*) && sizeof(block) == sizeof(void*));
static_assert(sizeof(slots) == sizeof(void*) && sizeof(borrowed_buffer) == 2 * sizeof(void*));

// ---- Index operations -------------------------------------------------------------------------------------------

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

// ---- Test kit of the host backend -------------------------------------------------------------------------------

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
};
enum class when : std::uint32_t { at_submission = GPUBUF_HOST_AT_SUBMISSION, at_execution = GPUBUF_HOST_AT_EXECUTION };

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
/// The nth operation of this kind from now on fails.
template <class Form = throwing>
outcome<Form> fail_operation(const device& of, operation kind, std::uint64_t nth, when at) noexcept(quiet<Form>) {
  return detail::done<Form>(gpubuf_host_fail_operation(of.capi(), detail::number(kind), nth, detail::number(at)));
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

#endif  // GPUBUF_GPUBUF_HPP
