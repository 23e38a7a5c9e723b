// Tiers of memory, and blocks that move between them. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_TIERS_HPP
#define GPUBUF_HPP_TIERS_HPP

#include <gpubuf/hpp/workspace.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace gpubuf {

class tiered_block;

/// An open access of kernels to a tiered block: its address stays the same until release(), or the end of this, which has the
/// library fence the streams that were named. One that is refused at the end (capturing) stays open until the block ends.
class tiered_access {
 public:
  tiered_access() noexcept = default;
  tiered_access(tiered_access&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)), token_(other.token_), address_(other.address_) {}
  tiered_access& operator=(tiered_access&& other) noexcept {
    if (this != &other) {
      detail::end_at_last([this] { return end(); });
      block_ = std::exchange(other.block_, nullptr);
      token_ = other.token_;
      address_ = other.address_;
    }
    return *this;
  }
  /// Busy, since another thread is inside the block, is waited out, for ten seconds at most.
  ~tiered_access() {
    detail::end_at_last([this] { return end(); });
  }

  address device_address() const noexcept { return address_; }
  explicit operator bool() const noexcept { return block_ != nullptr; }
  /// What is queued on the streams up to now may use the address. Refused (busy, capturing): it is open still.
  template <class Form = throwing>
  outcome<Form> release() noexcept(quiet<Form>) { return detail::done<Form>(end()); }

 private:
  friend class tiered_block;
  gpubuf_status end() noexcept {
    if (block_ == nullptr) return GPUBUF_OK;
    const gpubuf_status code = gpubuf_tiered_block_release(block_, token_);
    if (code != GPUBUF_CAPTURING && code != GPUBUF_BUSY) block_ = nullptr;
    return code;
  }
  gpubuf_tiered_block* block_ = nullptr;
  std::uint64_t token_ = 0;
  address address_ = 0;
};

/// A block whose bytes are in one tier at a time, behind one handle. Threads: any, one call at a time (a second one is busy).
class tiered_block : public detail::owner<tiered_block, gpubuf_tiered_block, gpubuf_tiered_block_destroy> {
 public:
  template <class Form = throwing>
  outcome<Form, gpubuf_tiered_block_info> info() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_tiered_block_info>(gpubuf_tiered_block_info_get, capi());
  }
  /// Where it is.
  template <class Form = throwing>
  outcome<Form, placement> tier() const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_tiered_block_info>();
    const gpubuf_status code = gpubuf_tiered_block_info_get(capi(), &about);
    return detail::give<Form>(code, static_cast<placement>(about.tier));
  }
  /// All of it, for the CPU to write, held in a tier until the guard ends; placement::none: where it is, if the CPU can use that.
  template <class T = std::byte, class Form = throwing>
  outcome<Form, write_guard<T>> begin_write(placement in = placement::none, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return begin<T, Form>(GPUBUF_ACCESS_WRITE, in, wait);
  }
  /// The same to read.
  template <class T = std::byte, class Form = throwing>
  outcome<Form, read_guard<T>> begin_read(placement in = placement::none, timeout wait = timeout_default) const
      noexcept(quiet<Form>) {
    return begin<const T, Form>(GPUBUF_ACCESS_READ, in, wait);
  }
  /// Its address for work that is queued on these streams before the access is released, held in a tier until then;
  /// placement::none: where it is, if kernels can use that. The streams wait on the device for what used the block before.
  template <class Form = throwing>
  outcome<Form, tiered_access> acquire(const stream_list& users, access how = access::read, placement in = placement::device,
                                       timeout wait = timeout_default) const noexcept(quiet<Form>) {
    tiered_access out;
    const gpubuf_status code =
        gpubuf_tiered_block_acquire(capi(), detail::number(in), detail::number(how), users.capi(), users.size(), wait.capi(),
                                    &out.address_, &out.token_);
    if (code == GPUBUF_OK) out.block_ = capi();
    return detail::give<Form>(code, std::move(out));
  }
  /// Moves it to a tier: queues the copy. One that fails leaves the block where it was.
  template <class Form = throwing>
  outcome<Form> move_to(placement where, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_tiered_block_move(capi(), detail::number(where), wait.capi()));
  }

 private:
  template <class T, class Form>
  outcome<Form, guard<T>> begin(std::uint32_t how, placement in, timeout wait) const noexcept(quiet<Form>) {
    static_assert(std::is_trivially_copyable_v<T>, "elements are copied as bytes");
    auto about = detail::sized<gpubuf_tiered_block_info>();
    gpubuf_status code = gpubuf_tiered_block_info_get(capi(), &about);
    void* data = nullptr;
    std::uint64_t token = 0;
    if (code == GPUBUF_OK) code = gpubuf_tiered_block_begin(capi(), detail::number(in), how, wait.capi(), &data, &token);
    if (code != GPUBUF_OK) return detail::give<Form>(code, guard<T>());
    const auto end = [](void* of, std::uint64_t open) {
      return gpubuf_tiered_block_release(static_cast<gpubuf_tiered_block*>(of), open);
    };
    const std::size_t count = static_cast<std::size_t>(about.bytes / sizeof(T));
    return detail::give<Form>(code, guard<T>({static_cast<T*>(data), count}, capi(), token, end));
  }
};

/// Device, managed, page-locked and pageable memory, each with a budget, and blocks that move between them by their use. A tier
/// is named by its placement. Threads: any.
///
///     gpubuf::tiers_options options;
///     options.device_bytes = std::uint64_t{8} << 30;
///     options.pinned_bytes = std::uint64_t{16} << 30;
///     auto tiers = gpubuf::tiers::create(device, options);
///     auto block = tiers.create_block(2 << 20);
///     block.begin_write<float>()[0] = 1;
///     {
///       auto use = block.acquire(stream);            // brings it to device memory, and holds it there
///       launch(use.device_address(), stream);
///     }
class tiers : public detail::owner<tiers, gpubuf_tiers, gpubuf_tiers_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, tiers> create(const device& on, const gpubuf_tiers_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, tiers>(gpubuf_tiers_create, on.capi(), &options);
  }
  /// A block in a tier; placement::none: in the lowest that has room.
  template <class Form = throwing>
  outcome<Form, tiered_block> create_block(std::uint64_t bytes, placement in = placement::none) const noexcept(quiet<Form>) {
    return detail::make<Form, tiered_block>(gpubuf_tiered_block_create, capi(), bytes, detail::number(in));
  }
  /// A buffer that stays where it is, under the same budgets: blocks make room for it.
  template <class Form = throwing>
  outcome<Form, buffer> allocate(const spec& of, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_tiers_allocate, capi(), &of.capi(), wait.capi());
  }
  struct moved {
    std::uint64_t promoted = 0, demoted = 0;
  };
  /// Decides by the accesses so far who moves, and queues the copies.
  template <class Form = throwing>
  outcome<Form, moved> step() const noexcept(quiet<Form>) {
    moved out;
    const gpubuf_status code = gpubuf_tiers_step(capi(), &out.promoted, &out.demoted);
    return detail::give<Form>(code, moved(out));
  }
  /// Sends blocks down until so many bytes go, those that are worth their tier least first. Gives the bytes that go.
  template <class Form = throwing>
  outcome<Form, std::uint64_t> demote(placement from, std::uint64_t bytes) const noexcept(quiet<Form>) {
    return detail::get<Form, std::uint64_t>(gpubuf_tiers_demote, capi(), detail::number(from), bytes);
  }
  template <class Form = throwing>
  outcome<Form> set_budget(placement of, std::uint64_t bytes) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_tiers_set_budget(capi(), detail::number(of), bytes));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_tiers_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_tiers_stats>(gpubuf_tiers_stats_get, capi());
  }
  /// One tier.
  template <class Form = throwing>
  outcome<Form, gpubuf_tier_stats> tier(placement which) const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_tier_stats>(gpubuf_tiers_tier_get, capi(), detail::number(which));
  }
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_TIERS_HPP
