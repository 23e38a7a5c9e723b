// Memory pressure. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_PRESSURE_HPP
#define GPUBUF_HPP_PRESSURE_HPP

#include <gpubuf/hpp/pinned.hpp>
#include <gpubuf/hpp/pool.hpp>
#include <gpubuf/hpp/tiers.hpp>
#include <gpubuf/hpp/workspace.hpp>

#include <cstdint>

namespace gpubuf {

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
