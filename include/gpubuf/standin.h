/**
 * @file standin.h
 * What a test asks of the stand-in CUDA driver: functions that it exports besides the driver's own. docs/standin.md tells how a
 * program comes to run on it. Nothing is linked for them; a test finds them where gpubuf found its driver:
 *
 *     void *driver = dlopen(getenv("GPUBUF_CUDA_DRIVER"), RTLD_NOW);
 *     uint64_t (*calls)(const char *) = (uint64_t (*)(const char *))dlsym(driver, "gpubuf_standin_calls");
 *
 * `ordinal` is the number of a device, `stream` a CUstream as a number, `code` a CUresult. The functions return 0, or the code of
 * the driver that says why not, unless they say otherwise. They are for tests: they may change with any version.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
/* Generated from crates/standin, do not edit. To refresh: GPUBUF_BLESS=1 cargo test -p gpubuf-header */

#ifndef GPUBUF_STANDIN_H
#define GPUBUF_STANDIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/** Not 0: this is the simulation. Drivers have no such function. */
int32_t gpubuf_standin_version(void);

/**
 * Counts calls from zero again, disarms all faults, and lets lost devices have healthy contexts again. Contexts that
 * failed stay as they are until they are destroyed.
 */
void gpubuf_standin_reset(void);

/**
 * How often a function, by its exported name, was called since the last reset; all of them for null.
 *
 * @par Safety
 * `function` is null or a C string.
 */
uint64_t gpubuf_standin_calls(const char *function);

/**
 * Has the `nth` call from now of a function return `code`, whatever number, and do nothing else; 1 is the next. Null is any
 * function: that fault is beside those of the single functions. A new fault replaces the one before; `nth` 0 disarms it.
 * `INVALID_VALUE` if there is no such function.
 *
 * @par Safety
 * `function` is null or a C string.
 */
int32_t gpubuf_standin_fail_call(const char *function,
                                 uint64_t nth,
                                 int32_t code);

/**
 * As `gpubuf_standin_fail_call`, but the device is lost with `code` (not 0) before that call does anything, so that it
 * answers as it does on a lost device.
 *
 * @par Safety
 * `function` is null or a C string.
 */
int32_t gpubuf_standin_lose_at_call(const char *function,
                                    uint64_t nth,
                                    int32_t ordinal,
                                    int32_t code);

/** How many faults of calls have struck since the last reset. */
uint64_t gpubuf_standin_struck(void);

/**
 * Whether calls of this thread count from now on, and can be made to fail (1, as at first) or not (0): for what a test does
 * itself, between the calls that it is about.
 */
int32_t gpubuf_standin_count_thread(int32_t counts);

/**
 * What the contexts of a device have at this moment: kind 0 bytes of page-locked memory, 1 bytes of device memory (both in
 * whole pages), 2 registered ranges of host memory, 3 streams, but for default ones, 4 events, 5 graphs and executable graphs.
 * The largest number where there is no such device or kind.
 */
uint64_t gpubuf_standin_live(int32_t ordinal,
                             uint32_t kind);

/**
 * Has the `nth` operation from now of a kind fail with `code` on a device. Kinds: 0 any, 1 copy, 2 fill, 3 delay,
 * 4 call (a host function), 5 record, 6 wait for an event, 7 wait for a value, 8 write of a value, 9 a kernel. `when` 0: the call
 * that submits it returns the code and queues nothing. `when` 1: it is queued, and ends its context with the code
 * when it would run. `when` 2: the call that submits it loses the device, with the code. Captured operations count for the
 * latter two when a launch replays them. Each kind has one fault; `nth` 0 disarms it.
 */
int32_t gpubuf_standin_fail_operation(int32_t ordinal,
                                      uint32_t kind,
                                      uint64_t nth,
                                      uint32_t when,
                                      int32_t code);

/** Loses a device: its contexts end with `code`, and no new ones are made until a reset. Not 0. */
int32_t gpubuf_standin_lose_device(int32_t ordinal, int32_t code);

/** Sets how many bytes of memory may be allocated on a device at a time; kind 0 is page-locked, 1 the device's. */
int32_t gpubuf_standin_limit_memory(int32_t ordinal,
                                    uint32_t kind,
                                    uint64_t bytes);

/** Sets a link's latency and bandwidth (0: bytes take no time), for copies that start from now on. */
int32_t gpubuf_standin_set_link(int32_t ordinal, uint64_t latency_ns, uint64_t bytes_per_second);

/**
 * Sets the wait before each operation: `fixed_ns`, or, if that is 0, up to `max_ns` as the seed has it, which is the
 * same in each run. All 0: none.
 */
int32_t gpubuf_standin_set_delay(int32_t ordinal,
                                 uint64_t fixed_ns,
                                 uint64_t seed,
                                 uint64_t max_ns);

/** Whether asynchronous copies read pageable memory when they run, as some drivers do, instead of staging it. */
int32_t gpubuf_standin_set_pageable_late(int32_t ordinal,
                                         int32_t late);

/**
 * Whether the device sees, of page-locked memory that is made from now on, a copy from that moment by its device address,
 * as where the memory of a protected machine is mapped once and for all.
 */
int32_t gpubuf_standin_set_uva_stale(int32_t ordinal,
                                     int32_t stale);

/** Sets what `cuDeviceGetAttribute` says. What a device says that it cannot do is then refused with `NOT_SUPPORTED`. */
int32_t gpubuf_standin_set_attribute(int32_t ordinal,
                                     int32_t attribute,
                                     int32_t value);

/** Sets what `cuDriverGetVersion` says, and which functions `cuGetProcAddress` knows. */
int32_t gpubuf_standin_set_driver_version(int32_t version);

/** Has a stream start nothing more until each hold is released. */
int32_t gpubuf_standin_stream_hold(uint64_t stream);

/** Takes one hold back. */
int32_t gpubuf_standin_stream_release(uint64_t stream);

/** 1 if a stream is held, 0 if not or if there is no such stream. */
int32_t gpubuf_standin_stream_is_held(uint64_t stream);

/**
 * Nanoseconds that the calling thread has spent inside the driver's functions so far, waits included, so that a
 * benchmark can subtract the simulation.
 */
uint64_t gpubuf_standin_time_inside_ns(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GPUBUF_STANDIN_H */
