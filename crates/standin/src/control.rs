//! How a test controls the simulation: C functions that the shared library exports besides the driver's. They return
//! 0, or a code of the driver that says why not; they count as no call, and none of the driver's rules hold them up.

use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gpubuf_engine::{Delay, InPlace, MemoryKind, OpKind, Pageable};

use crate::code;
use crate::context;
use crate::context_calls;
use crate::driver::{Ordinal, driver};
use crate::entry::{self, In, Strike};
use crate::event;
use crate::fault::When;
use crate::graph;
use crate::proc_address;
use crate::stream::{self, Stream};

/// The version of these functions.
const VERSION: i32 = 1;

fn answer(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(0)
}

fn on(ordinal: i32, work: impl FnOnce(&'static Ordinal) -> Result<(), i32>) -> i32 {
    answer(driver().ordinal(ordinal).and_then(work))
}

/// Not 0: this is the simulation. Drivers have no such function.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_version() -> i32 {
    VERSION
}

/// Counts calls from zero again, disarms all faults, and lets lost devices have healthy contexts again. Contexts that
/// failed stay as they are until they are destroyed.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_reset() {
    entry::reset();
    driver().ordinals.iter().for_each(|ordinal| ordinal.faults.disarm());
    context_calls::revive_all();
}

/// How often a function, by its exported name, was called since the last reset; all of them for null.
///
/// # Safety
/// `function` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_standin_calls(function: *const c_char) -> u64 {
    if function.is_null() {
        return entry::of_all().calls();
    }
    // SAFETY: this function's contract.
    let function = unsafe { In::argument(function) };
    let name = function.text().ok().and_then(proc_address::exported);
    name.map_or(0, |name| entry::counter(name).calls())
}

/// Has the `nth` call from now of a function return `code`, whatever number, and do nothing else; 1 is the next. Null is any
/// function: that fault is beside those of the single functions. A new fault replaces the one before; `nth` 0 disarms it.
/// `INVALID_VALUE` if there is no such function.
///
/// # Safety
/// `function` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_standin_fail_call(function: *const c_char, nth: u64, code: i32) -> i32 {
    // SAFETY: this function's contract.
    answer(unsafe { counter(function) }.map(|counter| counter.arm(nth, Strike::Refuse(code))))
}

/// As [`gpubuf_standin_fail_call`], but the device is lost with `code` (not 0) before that call does anything, so that it
/// answers as it does on a lost device.
///
/// # Safety
/// `function` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_standin_lose_at_call(
    function: *const c_char,
    nth: u64,
    ordinal: i32,
    code: i32,
) -> i32 {
    on(ordinal, |ordinal| {
        if code == 0 {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: this function's contract.
        unsafe { counter(function) }?.arm(nth, Strike::Lose(ordinal, code));
        Ok(())
    })
}

/// # Safety
/// `function` is null or a C string.
unsafe fn counter(function: *const c_char) -> Result<&'static entry::Counter, i32> {
    if function.is_null() {
        return Ok(entry::of_all());
    }
    // SAFETY: this function's contract.
    let function = unsafe { In::argument(function) };
    let name = function.text().ok().and_then(proc_address::exported).ok_or(code::INVALID_VALUE)?;
    Ok(entry::counter(name))
}

/// How many faults of calls have struck since the last reset.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_struck() -> u64 {
    entry::struck()
}

/// Whether calls of this thread count from now on, and can be made to fail (1, as at first) or not (0): for what a test does
/// itself, between the calls that it is about.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_count_thread(counts: i32) -> i32 {
    entry::count_this_thread(counts != 0);
    0
}

/// What the contexts of a device have at this moment: kind 0 bytes of page-locked memory, 1 bytes of device memory (both in
/// whole pages), 2 registered ranges of host memory, 3 streams, but for default ones, 4 events, 5 graphs and executable graphs.
/// The largest number where there is no such device or kind.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_live(ordinal: i32, kind: u32) -> u64 {
    let Ok(ordinal) = driver().ordinal(ordinal) else { return u64::MAX };
    let contexts = ordinal.contexts();
    let sum = |count: &dyn Fn(&context::Context) -> u64| contexts.iter().map(|context| count(context)).sum();
    match kind {
        0 => sum(&|context| context.engine.memory_used(MemoryKind::Pinned)),
        1 => sum(&|context| context.engine.memory_used(MemoryKind::Device)),
        2 => sum(&|context| context.engine.registrations() as u64),
        3 => sum(&|context| stream::all_of(context).iter().filter(|stream| !stream.engine.is_legacy()).count() as u64),
        4 => sum(&event::count_of),
        5 => sum(&graph::count_of),
        _ => u64::MAX,
    }
}

/// Has the `nth` operation from now of a kind fail with `code` on a device. Kinds: 0 any, 1 copy, 2 fill, 3 delay,
/// 4 call (a host function), 5 record, 6 wait for an event, 7 wait for a value, 8 write of a value, 9 a kernel. `when` 0: the call
/// that submits it returns the code and queues nothing. `when` 1: it is queued, and ends its context with the code
/// when it would run. `when` 2: the call that submits it loses the device, with the code. Captured operations count for the
/// latter two when a launch replays them. Each kind has one fault; `nth` 0 disarms it.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_fail_operation(ordinal: i32, kind: u32, nth: u64, when: u32, code: i32) -> i32 {
    on(ordinal, |ordinal| {
        let kind = match kind {
            0 => None,
            1 => Some(OpKind::Copy),
            2 => Some(OpKind::Fill),
            3 => Some(OpKind::Delay),
            4 => Some(OpKind::Call),
            5 => Some(OpKind::Record),
            6 => Some(OpKind::Wait),
            7 => Some(OpKind::WaitValue),
            8 => Some(OpKind::WriteValue),
            9 => Some(OpKind::Scatter),
            _ => return Err(code::INVALID_VALUE),
        };
        let when = match when {
            0 => When::Submission,
            // A context cannot end with success.
            _ if code == 0 => return Err(code::INVALID_VALUE),
            1 => When::Execution,
            2 => When::Loss,
            _ => return Err(code::INVALID_VALUE),
        };
        ordinal.faults.arm(kind, nth, when, code);
        Ok(())
    })
}

/// Loses a device: its contexts end with `code`, and no new ones are made until a reset. Not 0.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_lose_device(ordinal: i32, code: i32) -> i32 {
    on(ordinal, |ordinal| {
        if code == 0 {
            return Err(code::INVALID_VALUE);
        }
        ordinal.lose(code);
        Ok(())
    })
}

/// Sets how many bytes of memory may be allocated on a device at a time; kind 0 is page-locked, 1 the device's.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_limit_memory(ordinal: i32, kind: u32, bytes: u64) -> i32 {
    on(ordinal, |ordinal| {
        let kind = match kind {
            0 => MemoryKind::Pinned,
            1 => MemoryKind::Device,
            _ => return Err(code::INVALID_VALUE),
        };
        ordinal.configure(|config| match kind {
            MemoryKind::Pinned => config.pinned_memory_bytes = bytes,
            MemoryKind::Device => config.device_memory_bytes = bytes,
        });
        Ok(())
    })
}

/// Sets a link's latency and bandwidth (0: bytes take no time), for copies that start from now on.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_set_link(ordinal: i32, latency_ns: u64, bytes_per_second: u64) -> i32 {
    on(ordinal, |ordinal| {
        ordinal.configure(|config| {
            config.link_latency_ns = latency_ns;
            config.link_bandwidth = bytes_per_second;
        });
        Ok(())
    })
}

/// Sets the wait before each operation: `fixed_ns`, or, if that is 0, up to `max_ns` as the seed has it, which is the
/// same in each run. All 0: none.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_set_delay(ordinal: i32, fixed_ns: u64, seed: u64, max_ns: u64) -> i32 {
    on(ordinal, |ordinal| {
        let delay = match (fixed_ns, max_ns) {
            (0, 0) => Delay::None,
            (0, _) => Delay::Seeded { seed, max_ns },
            (ns, _) => Delay::Fixed { ns },
        };
        ordinal.configure(|config| config.delay = delay);
        Ok(())
    })
}

/// Whether asynchronous copies read pageable memory when they run, as some drivers do, instead of staging it.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_set_pageable_late(ordinal: i32, late: i32) -> i32 {
    on(ordinal, |ordinal| {
        let pageable = if late == 0 { Pageable::Staged } else { Pageable::Late };
        ordinal.configure(|config| config.pageable = pageable);
        Ok(())
    })
}

/// Whether the device sees, of page-locked memory that is made from now on, a copy from that moment by its device address,
/// as where the memory of a protected machine is mapped once and for all.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_set_uva_stale(ordinal: i32, stale: i32) -> i32 {
    on(ordinal, |ordinal| {
        let in_place = if stale == 0 { InPlace::Live } else { InPlace::Snapshot };
        ordinal.configure(|config| config.in_place = in_place);
        Ok(())
    })
}

/// Sets what `cuDeviceGetAttribute` says. What a device says that it cannot do is then refused with `NOT_SUPPORTED`.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_set_attribute(ordinal: i32, attribute: i32, value: i32) -> i32 {
    on(ordinal, |ordinal| {
        ordinal.attribute(attribute)?;
        ordinal.attributes.write().insert(attribute, value);
        Ok(())
    })
}

/// Sets what `cuDriverGetVersion` says, and which functions `cuGetProcAddress` knows.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_set_driver_version(version: i32) -> i32 {
    driver().version.store(version, Ordering::Relaxed);
    0
}

/// A stream by its handle, whatever context is current and however it is; the special ones are those of the calling
/// thread's current context.
fn find(handle: u64) -> Result<Arc<Stream>, i32> {
    stream::made(handle).or_else(|code| {
        let current = context::current().ok_or(code)?;
        stream::find(handle, &current)
    })
}

/// Has a stream start nothing more until each hold is released.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_stream_hold(stream: u64) -> i32 {
    answer(find(stream).map(|stream| stream.engine.hold()))
}

/// Takes one hold back.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_stream_release(stream: u64) -> i32 {
    answer(find(stream).map(|stream| stream.engine.release()))
}

/// 1 if a stream is held, 0 if not or if there is no such stream.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_stream_is_held(stream: u64) -> i32 {
    find(stream).map_or(0, |stream| i32::from(stream.engine.is_held()))
}

/// Nanoseconds that the calling thread has spent inside the driver's functions so far, waits included, so that a
/// benchmark can subtract the simulation.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_standin_time_inside_ns() -> u64 {
    entry::time_inside_ns()
}
