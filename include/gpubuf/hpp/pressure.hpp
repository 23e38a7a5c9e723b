// Memory pressure. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_PRESSURE_HPP
#define GPUBUF_HPP_PRESSURE_HPP

#include <gpubuf/hpp/pinned.hpp>
#include <gpubuf/hpp/pool.hpp>
#include <gpubuf/hpp/tiers.hpp>
#include <gpubuf/hpp/workspace.hpp>

#include <cstdint>
#include <memory>

namespace gpubuf {

/// What memory is watched.
enum class pressure_kind : std::uint32_t {
  device = GPUBUF_PRESSURE_DEVICE,  ///< The device's, of all processes.
  host = GPUBUF_PRESSURE_HOST,      ///< The host's, by the control group or the machine.
  pinned = GPUBUF_PRESSURE_PINNED,  ///< The budget of a manager of page-locked memory.
  tier = GPUBUF_PRESSURE_TIER,      ///< The budget of a tier.
};

/// Memory that is high, or low again.
struct pressure_change {
  pressure_kind kind;
  bool high;
  std::uint64_t used_bytes;
  std::uint64_t limit_bytes;
  const char* of;  ///< Whose memory it is. Never null; valid during the call.
};

/// A reading of the device's memory or the host's, which may be changed. A limit of 0 is not known and never high.
struct pressure_reading {
  pressure_kind kind;
  std::uint64_t used_bytes;
  std::uint64_t limit_bytes;
};

/// Watches how full the memory of the device, of the host, and of budgets is. From the high mark down to the low one those who
/// were added give memory back, each time it is stepped: by step(), device::maintain() or the upkeep thread. Who was added may end
/// first. Threads: any.
///
///     auto watch = gpubuf::pressure::create(device);      // 90 and 80 percent
///     watch.add(pool);
///     watch.add(tiers);
class pressure : public detail::owner<pressure, gpubuf_pressure, gpubuf_pressure_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, pressure> create(const device& on,
                                        const gpubuf_pressure_options& options = pressure_options()) noexcept(quiet<Form>) {
    return detail::make<Form, pressure>(gpubuf_pressure_create, on.capi(), &options);
  }
  /// As create, with `tell(pressure_change)`, told of changes. It is called on a thread that steps, and must outlive the last step:
  /// one may be under way on another thread where the watch ends. Exceptions are dropped and counted.
  template <class Form = throwing, class Tell>
  static outcome<Form, pressure> create(const device& on, gpubuf_pressure_options options, Tell& tell) noexcept(quiet<Form>) {
    options.notify = [](std::uint32_t what, std::uint32_t high, std::uint64_t used, std::uint64_t limit, const char* of,
                        void* data) noexcept {
      detail::run_quietly(*static_cast<Tell*>(data),
                          pressure_change{static_cast<pressure_kind>(what), high != 0, used, limit, of});
    };
    options.notify_user_data = const_cast<void*>(static_cast<const void*>(std::addressof(tell)));
    return create<Form>(on, options);
  }
  /// The same, with `read(pressure_reading&)`, which may put figures in the place of the library's; of one that throws these stay.
  template <class Form = throwing, class Tell, class Read>
  static outcome<Form, pressure> create(const device& on, gpubuf_pressure_options options, Tell& tell, Read& read) noexcept(quiet<Form>) {
    options.read = [](std::uint32_t what, std::uint64_t* used, std::uint64_t* limit, void* data) noexcept {
      auto look = [&] {
        pressure_reading now{static_cast<pressure_kind>(what), *used, *limit};
        (*static_cast<Read*>(data))(now);
        *used = now.used_bytes;
        *limit = now.limit_bytes;
      };
      detail::run_quietly(look);
    };
    options.read_user_data = const_cast<void*>(static_cast<const void*>(std::addressof(read)));
    return create<Form>(on, options, tell);
  }
  /// Its free blocks go.
  template <class Form = throwing>
  outcome<Form> add(const pool& who) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_pressure_add_pool(capi(), who.capi()));
  }
  /// Its free entries go.
  template <class Form = throwing>
  outcome<Form> add(const workspace& who) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_pressure_add_workspace(capi(), who.capi()));
  }
  /// Its budget is watched, and its idle slabs go.
  template <class Form = throwing>
  outcome<Form> add(const pinned& who) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_pressure_add_pinned(capi(), who.capi()));
  }
  /// Its budgets are watched, and its blocks go down. Its steps bring up no further than the low mark.
  template <class Form = throwing>
  outcome<Form> add(const tiers& who) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_pressure_add_tiers(capi(), who.capi()));
  }
  /// Looks, and has them answer. Gives how many levels changed.
  template <class Form = throwing>
  outcome<Form, std::uint32_t> step() const noexcept(quiet<Form>) {
    return detail::get<Form, std::uint32_t>(gpubuf_pressure_step, capi());
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_pressure_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_pressure_stats>(gpubuf_pressure_stats_get, capi());
  }
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_PRESSURE_HPP
