/**
 * @file gpubuf.hpp
 * The C++17 face of gpubuf: move-only owners, guards and exceptions over gpubuf.h. Header-only.
 *
 * Two forms, one name. Every fallible operation is a template whose `Form` says how failure is told, but for those that return
 * a text (describe(), report(), name(), why(), why_backend(), suggest()), which throw:
 *
 *     buffer.to_device(stream);                              // throws gpubuf::error
 *     gpubuf::status s = buffer.to_device<no_throw>(stream); // noexcept, returns gpubuf::status
 *     auto block = pool.acquire<no_throw>(no_wait);          // noexcept, returns gpubuf::result<block>
 *
 * An operation whose element type is chosen by the caller takes that first: begin_write<float, no_throw>().
 *
 * Owners (device, stream, event, buffer, pool, block, slots, step, graph_hold, pinned, reservation, tensor, workspace, staged_rows,
 * predictor, tiers, tiered_block, pressure) are empty
 * or own one handle of the C API; capi() shows it, release() gives it up, adopt() takes one over. They are as large as a pointer
 * (step and borrowed_buffer have a word more). Destructors neither throw nor wait: what the device still uses is freed later, by
 * the library. Parents
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

#include <gpubuf/hpp/buffer.hpp>
#include <gpubuf/hpp/core.hpp>
#include <gpubuf/hpp/device.hpp>
#include <gpubuf/hpp/elements.hpp>
#include <gpubuf/hpp/graph.hpp>
#include <gpubuf/hpp/host.hpp>
#include <gpubuf/hpp/library.hpp>
#include <gpubuf/hpp/ops.hpp>
#include <gpubuf/hpp/pinned.hpp>
#include <gpubuf/hpp/pool.hpp>
#include <gpubuf/hpp/predictor.hpp>
#include <gpubuf/hpp/pressure.hpp>
#include <gpubuf/hpp/report.hpp>
#include <gpubuf/hpp/slots.hpp>
#include <gpubuf/hpp/staged.hpp>
#include <gpubuf/hpp/strided.hpp>
#include <gpubuf/hpp/tensor.hpp>
#include <gpubuf/hpp/tiers.hpp>
#include <gpubuf/hpp/workspace.hpp>

#endif  // GPUBUF_GPUBUF_HPP
