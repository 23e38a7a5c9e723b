// What everything else stands on: numbers, errors, results, owners. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_CORE_HPP
#define GPUBUF_HPP_CORE_HPP

#if !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#error "gpubuf.hpp needs C++ exceptions to be enabled; gpubuf.h, the C API, does not"
#endif

#include <gpubuf/gpubuf.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace gpubuf {

// ---- Numbers -----------------------------------------------------------------------------------------------------

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

/// When a block gets a twin in device memory.
enum class twin : std::uint32_t {
  never = GPUBUF_TWIN_NEVER, at_once = GPUBUF_TWIN_AT_ONCE, on_need = GPUBUF_TWIN_ON_NEED,
};

/// Which of its free blocks a pool hands out, among those whose last use is over.
enum class strategy : std::uint32_t {
  least_recent = GPUBUF_STRATEGY_LEAST_RECENT, round_robin = GPUBUF_STRATEGY_ROUND_ROBIN, priority = GPUBUF_STRATEGY_PRIORITY,
};

/// What a pool's block is doing.
enum class block_state : std::uint32_t {
  free = GPUBUF_BLOCK_FREE, acquired = GPUBUF_BLOCK_ACQUIRED, copying = GPUBUF_BLOCK_COPYING, held = GPUBUF_BLOCK_HELD,
};

/// A figure that was not measured.
inline constexpr std::uint64_t absent = GPUBUF_ABSENT;

enum class dtype : std::uint32_t {
  boolean = GPUBUF_DTYPE_BOOL,
  i8 = GPUBUF_DTYPE_I8, i16 = GPUBUF_DTYPE_I16, i32 = GPUBUF_DTYPE_I32, i64 = GPUBUF_DTYPE_I64,
  u8 = GPUBUF_DTYPE_U8, u16 = GPUBUF_DTYPE_U16, u32 = GPUBUF_DTYPE_U32, u64 = GPUBUF_DTYPE_U64,
  f16 = GPUBUF_DTYPE_F16, bf16 = GPUBUF_DTYPE_BF16, f32 = GPUBUF_DTYPE_F32, f64 = GPUBUF_DTYPE_F64,
  f8_e4m3 = GPUBUF_DTYPE_F8_E4M3, f8_e5m2 = GPUBUF_DTYPE_F8_E5M2,
};

enum class side : std::uint32_t { host = GPUBUF_SIDE_HOST, device = GPUBUF_SIDE_DEVICE, both = GPUBUF_SIDE_BOTH };
/// Who wins where a sync finds both sides of a buffer newer: nobody, the host, the device, or whichever was marked last.
enum class sync_policy : std::uint32_t {
  of_buffer = GPUBUF_SYNC_DEFAULT, refuse = GPUBUF_SYNC_REFUSE, host_wins = GPUBUF_SYNC_HOST_WINS,
  device_wins = GPUBUF_SYNC_DEVICE_WINS, newest_wins = GPUBUF_SYNC_NEWEST_WINS,
};
enum class access : std::uint32_t { read = GPUBUF_ACCESS_READ, write = GPUBUF_ACCESS_WRITE };

/// Required slots are written in every step; kept slots keep the rows of earlier steps; dynamic slots are bound in every step
/// to memory that is on the device already.
enum class slot_kind : std::uint32_t { required = GPUBUF_SLOT_REQUIRED, kept = GPUBUF_SLOT_KEPT, dynamic = GPUBUF_SLOT_DYNAMIC };

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

// ---- Errors ------------------------------------------------------------------------------------------------------

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

struct passed_on;

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
  friend struct detail::passed_on;
  T value_;
  detail::reason why_;
  gpubuf::status status_;
};

namespace detail {

/// For an operation that is refused since another was.
struct passed_on {
  template <class T>
  static const reason& why(const result<T>& other) noexcept { return other.why_; }
};

}  // namespace detail

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

}  // namespace gpubuf

#endif  // GPUBUF_HPP_CORE_HPP
