// The pinned-memory manager and its reservations. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_PINNED_HPP
#define GPUBUF_HPP_PINNED_HPP

#include <gpubuf/hpp/pool.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

namespace gpubuf {

/// What is done with a request for which the budget, or the driver, has no memory.
enum class over_budget : std::uint32_t {
  fail = GPUBUF_OVER_BUDGET_FAIL, wait = GPUBUF_OVER_BUDGET_WAIT, pageable = GPUBUF_OVER_BUDGET_PAGEABLE,
};

/// What became of such a request.
enum class notice_kind : std::uint32_t {
  refused = GPUBUF_PINNED_NOTICE_REFUSED, waits = GPUBUF_PINNED_NOTICE_WAITS, pageable = GPUBUF_PINNED_NOTICE_PAGEABLE,
};

/// What is short.
enum class shortage_kind : std::uint32_t { budget = GPUBUF_SHORTAGE_BUDGET, memory = GPUBUF_SHORTAGE_MEMORY };

/// The budget: half of what the machine, or the control group, has.
inline constexpr std::uint64_t budget_auto = GPUBUF_BUDGET_AUTO;

using pinned_options = detail::with_defaults<gpubuf_pinned_options, gpubuf_pinned_options_init>;

/// One request: a size, and what else matters, as in pinned_request(4096).aligned_to(512).owned_by("model-a").or_wait().
class pinned_request : public detail::with_defaults<gpubuf_pinned_request, gpubuf_pinned_request_init> {
 public:
  explicit pinned_request(std::uint64_t byte_count) noexcept { bytes = byte_count; }
  /// A shape of 1 to 8 dimensions; more are refused where the request is used.
  pinned_request(gpubuf::dtype of, std::initializer_list<std::uint64_t> dims) noexcept {
    dtype = detail::number(of);
    rank = static_cast<std::uint32_t>(dims.size());
    std::size_t axis = 0;
    for (const std::uint64_t dim : dims) {
      if (axis < GPUBUF_MAX_RANK) shape[axis++] = dim;
    }
  }
  /// The host address is a multiple of this: a power of two up to 2 MiB.
  pinned_request& aligned_to(std::uint64_t byte_count) noexcept {
    alignment = byte_count;
    return *this;
  }
  /// Whose block it is: up to 31 bytes, kept by the caller until the request was made.
  pinned_request& owned_by(const char* name) noexcept {
    owner = name;
    return *this;
  }
  pinned_request& with_twin(twin when = twin::at_once) noexcept {
    device_side = detail::number(when);
    return *this;
  }
  /// Where there is no memory: waits until some was given back. A higher priority is served first.
  pinned_request& or_wait(timeout wait = timeout_default, std::int32_t with_priority = 0) noexcept {
    over_budget = GPUBUF_OVER_BUDGET_WAIT;
    timeout_ns = wait.capi();
    priority = with_priority;
    return *this;
  }
  /// Where there is no memory: gives pageable memory, outside the budget. block::info().placement tells.
  pinned_request& or_pageable() noexcept {
    over_budget = GPUBUF_OVER_BUDGET_PAGEABLE;
    return *this;
  }
};

/// Bytes of a manager's budget, held for blocks to come. Rolled back, as far as it was not committed, with its end. Any thread.
class reservation : public detail::owner<reservation, gpubuf_reservation, gpubuf_reservation_destroy> {
 public:
  /// A block of what is left (invalid_argument: that is less). If there is no memory, the bytes stay reserved.
  template <class Form = throwing>
  outcome<Form, block> commit(const gpubuf_pinned_request& request) const noexcept(quiet<Form>) {
    return detail::make<Form, block>(gpubuf_reservation_commit, capi(), &request);
  }
  template <class Form = throwing>
  outcome<Form, block> commit(std::uint64_t bytes) const noexcept(quiet<Form>) {
    return commit<Form>(pinned_request(bytes));
  }
  template <class Form = throwing>
  outcome<Form, std::uint64_t> left() const noexcept(quiet<Form>) {
    return detail::get<Form, std::uint64_t>(gpubuf_reservation_left, capi());
  }
  /// Gives back what is left.
  void roll_back() noexcept { reset(); }
};

/// A request that found no memory.
struct notice {
  notice_kind kind;
  std::uint64_t bytes;
  const char* owner;  ///< Never null; valid during the call.
};

/// Memory that could not be had, and how often this was asked for the request, from 1.
struct shortage {
  shortage_kind kind;
  std::uint64_t bytes;
  std::uint32_t attempt;
};

/// Page-locked memory for blocks of any size under one budget. Any thread.
///
/// The budget is over requested bytes: those of blocks, of what is cached, quarantined and reserved. What is page-locked for them
/// is in the figures beside it.
class pinned : public detail::owner<pinned, gpubuf_pinned, gpubuf_pinned_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, pinned> create(const device& on, const gpubuf_pinned_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, pinned>(gpubuf_pinned_create, on.capi(), &options);
  }
  template <class Form = throwing>
  static outcome<Form, pinned> create(const device& on, std::uint64_t budget_bytes = budget_auto,
                                      placement where = placement::pinned) noexcept(quiet<Form>) {
    pinned_options options;
    options.budget_bytes = budget_bytes;
    options.placement = detail::number(where);
    return create<Form>(on, options);
  }
  /// As create, with `tell(notice)`, told of requests that found no memory, and `cure(shortage)`, which may give memory back and
  /// returns whether to try again. Both are called on the thread that asks for memory, and must outlive the manager's last
  /// block. Exceptions are dropped and counted; a cure that throws has found none.
  template <class Form = throwing, class Tell, class Cure>
  static outcome<Form, pinned> create(const device& on, gpubuf_pinned_options options, Tell& tell, Cure& cure) noexcept(quiet<Form>) {
    options.notify = [](std::uint32_t kind, std::uint64_t bytes, const char* owner, void* data) noexcept {
      detail::run_quietly(*static_cast<Tell*>(data), notice{static_cast<notice_kind>(kind), bytes, owner});
    };
    options.notify_user_data = const_cast<void*>(static_cast<const void*>(std::addressof(tell)));
    options.out_of_memory = [](std::uint32_t kind, std::uint64_t bytes, std::uint32_t attempt, void* data) noexcept {
      bool again = false;
      auto ask = [&](const shortage& of) { again = (*static_cast<Cure*>(data))(of); };
      detail::run_quietly(ask, shortage{static_cast<shortage_kind>(kind), bytes, attempt});
      return again ? 1u : 0u;
    };
    options.out_of_memory_user_data = const_cast<void*>(static_cast<const void*>(std::addressof(cure)));
    return create<Form>(on, options);
  }
  /// A block, used like one of a pool. Its bytes are those of its last use, or zeroes (budget, out_of_host_memory, timeout, busy).
  template <class Form = throwing>
  outcome<Form, block> allocate(const gpubuf_pinned_request& request) const noexcept(quiet<Form>) {
    return detail::make<Form, block>(gpubuf_pinned_allocate, capi(), &request);
  }
  template <class Form = throwing>
  outcome<Form, block> allocate(std::uint64_t bytes) const noexcept(quiet<Form>) {
    return allocate<Form>(pinned_request(bytes));
  }
  /// Gives a block of this manager back (invalid_argument: it is not; unfenced, busy, graph_held: it is still held). Work on it
  /// that the library does not see is declared with block::release_after instead.
  template <class Form = throwing>
  outcome<Form> free(block& what) const noexcept(quiet<Form>) {
    const gpubuf_status code = gpubuf_pinned_free(capi(), what.capi());
    if (code == GPUBUF_OK) static_cast<void>(what.release());
    return detail::done<Form>(code);
  }
  /// Holds budget for blocks to come.
  template <class Form = throwing>
  outcome<Form, reservation> reserve(const gpubuf_pinned_request& request) const noexcept(quiet<Form>) {
    return detail::make<Form, reservation>(gpubuf_pinned_reserve, capi(), &request);
  }
  template <class Form = throwing>
  outcome<Form, reservation> reserve(std::uint64_t bytes) const noexcept(quiet<Form>) {
    return reserve<Form>(pinned_request(bytes));
  }
  /// Gives idle slabs back until at most so many page-locked bytes of them are left. The bytes given back.
  template <class Form = throwing>
  outcome<Form, std::uint64_t> trim(std::uint64_t keep_bytes = 0) const noexcept(quiet<Form>) {
    return detail::get<Form, std::uint64_t>(gpubuf_pinned_trim, capi(), keep_bytes);
  }
  /// Gives all memory back (busy: there are blocks, or reservations).
  template <class Form = throwing>
  outcome<Form> clear() const noexcept(quiet<Form>) { return detail::done<Form>(gpubuf_pinned_clear(capi())); }
  /// Those who wait are served from what is added (budget: more is in use).
  template <class Form = throwing>
  outcome<Form> set_budget(std::uint64_t bytes) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_pinned_set_budget(capi(), bytes));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_pinned_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_pinned_stats>(gpubuf_pinned_stats_get, capi());
  }
  /// Who has how much, by name.
  template <class Form = throwing>
  outcome<Form, std::vector<gpubuf_pinned_share>> shares() const noexcept(quiet<Form>) {
    std::vector<gpubuf_pinned_share> out;
    std::size_t count = 0;
    gpubuf_status code = gpubuf_pinned_shares_get(capi(), nullptr, 0, &count);
    // There may be more of them meanwhile.
    while (code == GPUBUF_OK && count > out.size()) {
      try {
        out.resize(count);
      } catch (...) {
        return detail::give<Form>(GPUBUF_OUT_OF_HOST_MEMORY, std::vector<gpubuf_pinned_share>(), "no memory for the list of owners");
      }
      code = gpubuf_pinned_shares_get(capi(), out.data(), out.size(), &count);
    }
    if (count < out.size()) out.resize(count);
    return detail::give<Form>(code, std::move(out));
  }
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_PINNED_HPP
