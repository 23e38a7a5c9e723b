// Pools and their blocks. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_POOL_HPP
#define GPUBUF_HPP_POOL_HPP

#include <gpubuf/hpp/device.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace gpubuf {

namespace detail {

inline gpubuf_status end_block(gpubuf_block* block) {
  const gpubuf_status code = gpubuf_block_release(block);
  return code == GPUBUF_UNFENCED ? gpubuf_block_abandon(block) : code;
}

/// Whether a release that says this has ended the handle: a block that is quarantined is given back all the same.
inline bool has_ended(gpubuf_status code) noexcept {
  return code == GPUBUF_OK || code == GPUBUF_QUARANTINED || code == GPUBUF_DEVICE_LOST;
}

}  // namespace detail

/// One block, held: a pool's, or one of its own. Ranges are values of T (bytes for std::byte).
///
/// Order: handing out device_address() seals the block: nothing may rewrite or release it until the work that uses the
/// address is declared, by fence() (the block is kept) or release_after() (it goes back to the pool).
/// The destructor gives the block back. Where nobody declared who uses it, it does not guess: it gives the block up, as
/// abandon() does, and the library logs a warning. Where a guard is open (busy) or a graph holds the block, nobody gets it
/// any more. give_back() and release_after() tell a refusal while there still is somebody to tell.
/// Threads: one at a time; blocks of one pool are independent.
class block : public detail::owner<block, gpubuf_block, detail::end_block> {
 public:
  /// A block of its own: gone when it is given back.
  template <class Form = throwing>
  static outcome<Form, block> create(const device& on, const gpubuf_block_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, block>(gpubuf_block_create, on.capi(), &options);
  }
  /// Pinned memory with a device side, or memory that kernels use in place.
  template <class Form = throwing>
  static outcome<Form, block> create(const device& on, std::uint64_t bytes,
                                     placement where = placement::pinned) noexcept(quiet<Form>) {
    block_options options;
    options.placement = detail::number(where);
    options.bytes = bytes;
    options.device_side = detail::number(where == placement::pinned ? twin::at_once : twin::never);
    return create<Form>(on, options);
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_block_info> info() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_block_info>(gpubuf_block_info_get, capi());
  }
  /// Back to the pool, with the uses that the library saw. Refused: the block is still held.
  template <class Form = throwing>
  outcome<Form> give_back() noexcept(quiet<Form>) { return gone<Form>(gpubuf_block_release(capi())); }
  /// Gives up a block whose users nobody will declare: its memory is free again when a device::drain() that begins later has
  /// ended, and the pool makes another for the acquire() that wants one.
  template <class Form = throwing>
  outcome<Form> abandon() noexcept(quiet<Form>) { return gone<Form>(gpubuf_block_abandon(capi())); }
  /// Back to the pool; it is handed out again when the work queued on these streams so far is done.
  template <class Form = throwing>
  outcome<Form> release_after(const stream_list& streams) noexcept(quiet<Form>) {
    return gone<Form>(gpubuf_block_release_after(capi(), streams.capi(), streams.size()));
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
  template <class Form = throwing>
  outcome<Form> to_device_blocking(const stream& on, std::uint64_t offset = 0, std::uint64_t bytes = all,
                                   timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_to_device_blocking(capi(), offset, bytes, on.capi(), wait.capi()));
  }
  template <class Form = throwing>
  outcome<Form> to_host_blocking(const stream& on, std::uint64_t offset = 0, std::uint64_t bytes = all,
                                 timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_to_host_blocking(capi(), offset, bytes, on.capi(), wait.capi()));
  }
  /// Copies what is newer on one side to the other, in ranges, with one fence. Newer on both: the policy, or conflict.
  template <class Form = throwing>
  outcome<Form> sync(const stream& on, sync_policy policy = sync_policy::refuse) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_sync(capi(), detail::number(policy), on.capi()));
  }
  template <class Form = throwing>
  outcome<Form> sync_blocking(const stream& on, timeout wait = timeout_default,
                              sync_policy policy = sync_policy::refuse) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_sync_blocking(capi(), detail::number(policy), on.capi(), wait.capi()));
  }
  /// Work queued on the stream from now on sees what the host wrote, at the address returned: a copy of what is newer to the
  /// twin, or nothing where kernels use the block in place. Seals the block.
  template <class Form = throwing>
  outcome<Form, address> publish(const stream& on) noexcept(quiet<Form>) {
    return detail::get<Form, address>(gpubuf_block_publish, capi(), on.capi());
  }
  /// As new: zeroes, nothing dirty, and the figures begin anew.
  template <class Form = throwing>
  outcome<Form> reset_contents(const stream& on, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_reset(capi(), on.capi(), wait.capi()));
  }
  /// What moved between its sides, in all the times that it was acquired.
  template <class Form = throwing>
  outcome<Form, gpubuf_block_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_block_stats>(gpubuf_block_stats_get, capi());
  }
  /// Copies a block that kernels use in place to device memory, whose address is device_address() until demote() or the
  /// release (unfenced: somebody has the old address).
  template <class Form = throwing>
  outcome<Form> promote(const stream& on) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_promote(capi(), on.capi()));
  }
  /// Copies it back, and kernels use it in place again.
  template <class Form = throwing>
  outcome<Form> demote(const stream& on) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_block_demote(capi(), on.capi()));
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
    if (detail::has_ended(code)) handle_ = nullptr;
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

/// What a waiter asks of the holder of a block: to give it back, if it can do without.
struct give_back_request {
  std::uint32_t block;  // block::info().index
  std::int32_t holder_priority;
  std::int32_t waiter_priority;
};

/// Blocks of one size. Threads: any; a thread that waits for a block is served by priority, then in order.
///
/// It keeps its size, or grows and shrinks between block_count and max_blocks (pool_options), in maintain() only.
class pool : public detail::owner<pool, gpubuf_pool, gpubuf_pool_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, pool> create(const device& on, const gpubuf_pool_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, pool>(gpubuf_pool_create, on.capi(), &options);
  }
  /// Pinned blocks with a device side each, or blocks that kernels use in place.
  template <class Form = throwing>
  static outcome<Form, pool> create(const device& on, std::uint64_t block_bytes, std::uint32_t block_count,
                                    placement where = placement::pinned) noexcept(quiet<Form>) {
    pool_options options;
    options.placement = detail::number(where);
    options.block_bytes = block_bytes;
    options.block_count = block_count;
    options.device_side = detail::number(where == placement::pinned ? twin::at_once : twin::never);
    return create<Form>(on, options);
  }
  /// As create, with a function `f(give_back_request)` that a waiter of higher priority calls, on its own thread, inside
  /// acquire(): it may give blocks back, and must outlive the last acquire(). Exceptions are dropped and counted.
  template <class Form = throwing, class F>
  static outcome<Form, pool> create(const device& on, gpubuf_pool_options options, F& give_back) noexcept(quiet<Form>) {
    options.give_back = [](std::uint32_t index, std::int32_t holder, std::int32_t waiter, void* data) noexcept {
      detail::run_quietly(*static_cast<F*>(data), give_back_request{index, holder, waiter});
    };
    options.give_back_user_data = const_cast<void*>(static_cast<const void*>(std::addressof(give_back)));
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
  /// What is known of one of its blocks, held or free (not_found).
  template <class Form = throwing>
  outcome<Form, gpubuf_pool_block> block_info(std::uint32_t index) const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_pool_block>();
    const gpubuf_status code = gpubuf_pool_block_get(capi(), index, &about);
    return detail::give<Form>(code, std::move(about));
  }
  struct change {
    std::uint32_t made = 0, gone = 0;
  };
  /// Grows or shrinks it, as its options say and its use since the last call demands. Nobody waits for it.
  template <class Form = throwing>
  outcome<Form, change> maintain() const noexcept(quiet<Form>) {
    change out;
    const gpubuf_status code = gpubuf_pool_maintain(capi(), &out.made, &out.gone);
    return detail::give<Form>(code, change(out));
  }
  /// Lets free blocks go until `keep` are left, or none is free. Returns how many went.
  template <class Form = throwing>
  outcome<Form, std::uint32_t> trim(std::uint32_t keep) const noexcept(quiet<Form>) {
    std::uint32_t gone = 0;
    const gpubuf_status code = gpubuf_pool_trim(capi(), keep, &gone);
    return detail::give<Form>(code, std::uint32_t(gone));
  }
  /// Lets all blocks go (busy while one is held); acquire() makes them again.
  template <class Form = throwing>
  outcome<Form> clear() const noexcept(quiet<Form>) { return detail::done<Form>(gpubuf_pool_clear(capi())); }
};

/// release_after for up to 64 blocks of a step, with one record per stream. All are given back, or none.
template <class Form = throwing>
outcome<Form> release_after(span<block> blocks, const stream_list& streams) noexcept(quiet<Form>) {
  std::array<gpubuf_block*, 64> handles{};
  if (blocks.size() > handles.size()) {
    return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, "more than 64 blocks in one release_after: give them in several calls");
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) handles[i] = blocks[i].capi();
  const gpubuf_status code = gpubuf_block_release_after_many(handles.data(), blocks.size(), streams.capi(), streams.size());
  if (detail::has_ended(code)) {
    for (block& b : blocks) static_cast<void>(b.release());
  }
  return detail::done<Form>(code);
}

}  // namespace gpubuf

#endif  // GPUBUF_HPP_POOL_HPP
