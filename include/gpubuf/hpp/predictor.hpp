// Predictors of the next step's size. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_PREDICTOR_HPP
#define GPUBUF_HPP_PREDICTOR_HPP

#include <gpubuf/hpp/library.hpp>
#include <gpubuf/hpp/pool.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

namespace gpubuf {

/// How a predictor predicts.
enum class method : std::uint32_t {
  most_common = GPUBUF_METHOD_MOST_COMMON, markov = GPUBUF_METHOD_MARKOV, markov2 = GPUBUF_METHOD_MARKOV2, blend = GPUBUF_METHOD_BLEND,
};

/// Predicted sizes, in bytes, the likeliest first.
class predicted_sizes {
 public:
  const std::uint64_t* data() const noexcept { return sizes_.data(); }
  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  const std::uint64_t* begin() const noexcept { return sizes_.data(); }
  const std::uint64_t* end() const noexcept { return sizes_.data() + count_; }
  std::uint64_t operator[](std::size_t at) const noexcept { return sizes_[at]; }

 private:
  friend class predictor;
  std::array<std::uint64_t, GPUBUF_MAX_PREDICTED> sizes_{};
  std::size_t count_ = 0;
};

/// Records the size of each step and predicts that of the next one. record() and predict() allocate nothing. Threads: any.
class predictor : public detail::owner<predictor, gpubuf_predictor, gpubuf_predictor_destroy> {
 public:
  /// One that is in the reports of this device.
  template <class Form = throwing>
  static outcome<Form, predictor> create(const device& on,
                                         const gpubuf_predictor_options& options = predictor_options()) noexcept(quiet<Form>) {
    return detail::make<Form, predictor>(gpubuf_predictor_create, on.capi(), &options);
  }
  /// One on its own.
  template <class Form = throwing>
  static outcome<Form, predictor> create(const gpubuf_predictor_options& options = predictor_options()) noexcept(quiet<Form>) {
    return detail::make<Form, predictor>(gpubuf_predictor_create, static_cast<gpubuf_device*>(nullptr), &options);
  }
  /// The next step has come, with so many bytes. Gives whether that was predicted.
  template <class Form = throwing>
  outcome<Form, bool> record(std::uint64_t size) const noexcept(quiet<Form>) {
    std::uint32_t hit = 0;
    const gpubuf_status code = gpubuf_predictor_record(capi(), size, &hit);
    return detail::give<Form>(code, hit != 0);
  }
  /// The sizes that the next step may have: as many as the options' count, or as are known.
  template <class Form = throwing>
  outcome<Form, predicted_sizes> predict() const noexcept(quiet<Form>) {
    predicted_sizes out;
    const gpubuf_status code = gpubuf_predictor_predict(capi(), out.sizes_.data(), out.sizes_.size(), &out.count_);
    return detail::give<Form>(code, predicted_sizes(out));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_predictor_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_predictor_stats>(gpubuf_predictor_stats_get, capi());
  }
  /// Calls `f(size)` for each predicted size: it has memory for that size ready, and free, and returns the bytes that it made
  /// for that. Gives their sum. Exceptions are dropped and counted, and made nothing.
  template <class Form = throwing, class F, std::enable_if_t<!std::is_same_v<std::decay_t<F>, pool>, int> = 0>
  outcome<Form, std::uint64_t> prewarm(F&& f) const noexcept(quiet<Form>) {
    using function = std::remove_reference_t<F>;
    const gpubuf_warm_fn warm = [](std::uint64_t size, void* data) noexcept {
      std::uint64_t made = 0;
      const auto run = [&] { made = (*static_cast<function*>(data))(size); };
      detail::run_quietly(run);
      return made;
    };
    std::uint64_t bytes = 0;
    const gpubuf_status code =
        gpubuf_predictor_prewarm(capi(), warm, const_cast<void*>(static_cast<const void*>(std::addressof(f))), &bytes);
    return detail::give<Form>(code, std::uint64_t(bytes));
  }
  struct warmed {
    std::uint32_t made = 0;     ///< blocks that were made, and are free
    std::uint32_t missing = 0;  ///< free blocks that lack still
  };
  /// Sees to it that the pool has `blocks_each` free blocks for each predicted size above `above_bytes` that fits a block.
  template <class Form = throwing>
  outcome<Form, warmed> prewarm(const pool& target, std::uint64_t above_bytes = 0, std::uint32_t blocks_each = 1) const
      noexcept(quiet<Form>) {
    warmed out;
    const gpubuf_status code =
        gpubuf_predictor_prewarm_pool(capi(), target.capi(), above_bytes, blocks_each, &out.made, &out.missing);
    return detail::give<Form>(code, warmed(out));
  }
  /// Pools for what was recorded, as lines of C++ to paste.
  std::string suggest() const {
    return detail::text([&](char* buffer, std::size_t capacity) {
      std::size_t length = 0;
      detail::done<throwing>(gpubuf_predictor_suggest(capi(), buffer, capacity, &length));
      return length;
    });
  }
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_PREDICTOR_HPP
