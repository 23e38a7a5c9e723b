// Graph holds. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_GRAPH_HPP
#define GPUBUF_HPP_GRAPH_HPP

#include <gpubuf/hpp/slots.hpp>
#include <gpubuf/hpp/staged.hpp>

#include <cstdint>

namespace gpubuf {

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
  /// The device memory of frozen slots, every copy. Never waits: launches are ordered behind the commits.
  template <class Form = throwing>
  outcome<Form> add(const slots& held) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_add_slots(capi(), held.capi()));
  }
  /// One copy of it: a graph for each copy has a hold of its own.
  template <class Form = throwing>
  outcome<Form> add(const slots& held, std::uint32_t copy) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_add_slots_copy(capi(), held.capi(), copy));
  }
  /// The table of staged rows. Waits until each of its uses is over; it does not move until the hold ends.
  template <class Form = throwing, class T>
  outcome<Form> add(const staged_rows<T>& held, timeout wait = timeout_default) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_graph_hold_add_staged_rows(capi(), held.capi(), wait.capi()));
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

}  // namespace gpubuf

#endif  // GPUBUF_HPP_GRAPH_HPP
