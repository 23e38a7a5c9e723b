// What belongs to the library as a whole: version, log, shutdown, descriptions, options. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_LIBRARY_HPP
#define GPUBUF_HPP_LIBRARY_HPP

#include <gpubuf/hpp/elements.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

namespace gpubuf {

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
using block_options = detail::with_defaults<gpubuf_block_options, gpubuf_block_options_init>;
using slots_options = detail::with_defaults<gpubuf_slots_options, gpubuf_slots_options_init>;
using slot_options = detail::with_defaults<gpubuf_slot_options, gpubuf_slot_options_init>;
using decode_options = detail::with_defaults<gpubuf_decode_options, gpubuf_decode_options_init>;
using tensor_options = detail::with_defaults<gpubuf_tensor_options, gpubuf_tensor_options_init>;
using workspace_options = detail::with_defaults<gpubuf_workspace_options, gpubuf_workspace_options_init>;
using staged_rows_options = detail::with_defaults<gpubuf_staged_rows_options, gpubuf_staged_rows_options_init>;
using tiers_options = detail::with_defaults<gpubuf_tiers_options, gpubuf_tiers_options_init>;
using pressure_options = detail::with_defaults<gpubuf_pressure_options, gpubuf_pressure_options_init>;
using predictor_options = detail::with_defaults<gpubuf_predictor_options, gpubuf_predictor_options_init>;

}  // namespace gpubuf

#endif  // GPUBUF_HPP_LIBRARY_HPP
