//! The test kit: time, faults, and functions in the place of kernels.

use super::arguments::{flag, memory};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::handles::Number;
use super::types::*;
use crate::backend;
use crate::backend::kit::{Delay, DeviceKit, FailWhen, Operation, StreamKit, View};
use crate::config::Placement;
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, Timeline};
use crate::record;
use crate::stats::Counter;
use std::cell::Cell;
use std::ffi::c_void;

/// What a function that runs on a stream sees of memory. Valid in that function, on its thread, only.
pub struct gpubuf_host_view {
    _private: [u8; 0],
}

/// A function in the place of a kernel: called once, in stream order, on the stream's thread. It must not throw, nor wait for
/// the device: such waits answer GPUBUF_WOULD_DEADLOCK.
pub type gpubuf_host_fn = Option<unsafe extern "C" fn(view: *mut gpubuf_host_view, user_data: *mut c_void)>;

/// Any operation.
pub const GPUBUF_HOST_ANY: u32 = 0;
/// Copies.
pub const GPUBUF_HOST_COPY: u32 = 1;
/// Fills.
pub const GPUBUF_HOST_FILL: u32 = 2;
/// Delays.
pub const GPUBUF_HOST_DELAY: u32 = 3;
/// Functions.
pub const GPUBUF_HOST_CALL: u32 = 4;
/// Records of events.
pub const GPUBUF_HOST_RECORD: u32 = 5;
/// Waits for events.
pub const GPUBUF_HOST_WAIT: u32 = 6;
/// A kernel of the library's: the scatter of staged rows.
pub const GPUBUF_HOST_KERNEL: u32 = 7;

/// Allocations of page-locked and device memory. These and the kinds below are no part of GPUBUF_HOST_ANY, and fail at
/// submission only; over the stand-in driver they are GPUBUF_UNSUPPORTED: there each function of the driver's can be made to fail.
pub const GPUBUF_HOST_ALLOCATION: u32 = 8;
/// Page-locking of the caller's memory.
pub const GPUBUF_HOST_REGISTRATION: u32 = 9;
/// Creations of streams.
pub const GPUBUF_HOST_STREAM: u32 = 10;
/// Creations of events.
pub const GPUBUF_HOST_EVENT: u32 = 11;

/// The operation is refused, nothing is queued.
pub const GPUBUF_HOST_AT_SUBMISSION: u32 = 0;
/// The operation is queued, and has no effect when it runs.
pub const GPUBUF_HOST_AT_EXECUTION: u32 = 1;
/// The operation is refused, since the device is lost in that moment.
pub const GPUBUF_HOST_AT_LOSS: u32 = 2;

fn operation(number: u32) -> Result<Option<Operation>> {
    Ok(match number {
        GPUBUF_HOST_ANY => None,
        GPUBUF_HOST_COPY => Some(Operation::Copy),
        GPUBUF_HOST_FILL => Some(Operation::Fill),
        GPUBUF_HOST_DELAY => Some(Operation::Delay),
        GPUBUF_HOST_CALL => Some(Operation::Call),
        GPUBUF_HOST_RECORD => Some(Operation::Record),
        GPUBUF_HOST_WAIT => Some(Operation::Wait),
        GPUBUF_HOST_KERNEL => Some(Operation::Kernel),
        GPUBUF_HOST_ALLOCATION => Some(Operation::Allocation),
        GPUBUF_HOST_REGISTRATION => Some(Operation::Registration),
        GPUBUF_HOST_STREAM => Some(Operation::Stream),
        GPUBUF_HOST_EVENT => Some(Operation::Event),
        _ => {
            return fail!(InvalidArgument, "operation is {number}: GPUBUF_HOST_ANY to GPUBUF_HOST_EVENT (0 to 11)");
        }
    })
}

fn kit(device: &Device) -> Result<&dyn DeviceKit> {
    match device.backend().kit() {
        Some(kit) => Ok(kit),
        None => fail!(Unsupported, "{} has no test kit: its driver lacks what that needs", device.name()),
    }
}

fn stream_kit(stream: &Timeline) -> Result<&dyn StreamKit> {
    match stream.stream().kit() {
        Some(kit) => Ok(kit),
        None => fail!(Unsupported, "{} has no test kit: its driver lacks what that needs", stream.name()),
    }
}

/// Has the stream start nothing more until it is released as often; what runs goes on. Destroying it releases it. With CUDA
/// what is queued already still runs: hold first.
///
/// The test kit works on the host backend and, over the driver's own means, with CUDA; faults, delays, links and limits are made
/// by a simulation only (the host backend, and the stand-in driver).
/// Errors: GPUBUF_UNSUPPORTED (not on this device), here and in every function of the test kit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_stream_hold(stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_host_stream_hold, (stream,), |c| stream_kit(c.get(stream, "stream")?)?.hold())
}

/// Takes one hold back: this thread's latest, or the latest of all. Does nothing where there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_stream_release(stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_host_stream_release, (stream,), |c| stream_kit(c.get(stream, "stream")?)?.release())
}

/// Queues a delay, as a kernel would take.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_stream_delay(stream: *mut gpubuf_stream, ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_host_stream_delay, (stream, ns), |c| stream_kit(c.get(stream, "stream")?)?.delay(ns))
}

/// Queues a function, in stream order.
///
/// Ownership: `user_data` must stay valid until the function has run, or the device was lost or shut down.
/// Errors: GPUBUF_CAPTURING (what is captured runs more than once: gpubuf_host_capture_call).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_stream_call(
    stream: *mut gpubuf_stream,
    function: gpubuf_host_fn,
    user_data: *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_host_stream_call, (stream, function, user_data), |c| {
        let kit = stream_kit(c.get(stream, "stream")?)?;
        let Some(function) = function else { return fail!(InvalidArgument, "function is NULL") };
        kit.call(run, [function as usize, user_data as usize])
    })
}

/// Begins a capture: what is queued on the stream from now on becomes the nodes of a graph and runs with each launch of it.
///
/// Errors: GPUBUF_CAPTURING (it captures already, or the device refuses).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_capture_begin(stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_host_capture_begin, (stream,), |c| stream_kit(c.get(stream, "stream")?)?.begin_capture())
}

/// Ends the capture, on the thread that began it, and makes its graph executable.
///
/// Cast to a pointer the number is what gpubuf_graph_hold_set_graph takes. On the host backend it is checked, never trusted; with
/// CUDA it is the driver's CUgraphExec, which only its owner can vouch for.
/// Ownership: the caller's, until gpubuf_host_graph_destroy, or until the device is gone.
/// Errors: GPUBUF_NOT_BEGUN (it does not capture), GPUBUF_CAPTURING (the capture was broken, and is over now; or another thread
/// began it, and it goes on).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_capture_end(stream: *mut gpubuf_stream, out_graph: *mut u64) -> gpubuf_status {
    call(Entry::gpubuf_host_capture_end, (stream, out_graph), |c| {
        let stream = stream_kit(c.get(stream, "stream")?)?;
        let out = c.out(out_graph, "out_graph")?;
        out.set(stream.end_capture()?);
        Ok(())
    })
}

/// As gpubuf_host_stream_call on a stream that captures: the function runs with each launch of the graph.
///
/// Ownership: `user_data` must stay valid until the graph was destroyed and its last launch has run.
/// Errors: GPUBUF_NOT_BEGUN (the stream does not capture).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_capture_call(
    stream: *mut gpubuf_stream,
    function: gpubuf_host_fn,
    user_data: *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_host_capture_call, (stream, function, user_data), |c| {
        let stream = c.get(stream, "stream")?;
        let kit = stream_kit(stream)?;
        let Some(function) = function else { return fail!(InvalidArgument, "function is NULL") };
        stream.expect_capturing()?;
        kit.capture_call(run, [function as usize, user_data as usize])
    })
}

/// Launches a graph of gpubuf_host_capture_end, as code would that the library does not see: no fence is recorded, no block
/// looked at. gpubuf_graph_hold_replayed declares it.
///
/// Errors: GPUBUF_NOT_FOUND (not such a graph of this device; on the host backend).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_graph_launch(stream: *mut gpubuf_stream, graph: u64) -> gpubuf_status {
    call(Entry::gpubuf_host_graph_launch, (stream, graph), |c| {
        let stream = c.get(stream, "stream")?;
        stream_kit(stream)?;
        // SAFETY: the emulated device checks the number; on another the caller has promised that the graph is alive.
        unsafe { stream.stream().launch_graph(graph, 0) }
    })
}

/// Destroys a graph of gpubuf_host_capture_end. Launches that are queued still run.
///
/// A NULL device is GPUBUF_OK.
/// Errors: GPUBUF_NOT_FOUND (destroyed before, or not of this device; on the host backend).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_graph_destroy(device: *mut gpubuf_device, graph: u64) -> gpubuf_status {
    call(Entry::gpubuf_host_graph_destroy, (device, graph), |c| {
        let Some(device) = c.get_if_any(device, "device")? else { return Ok(()) };
        // SAFETY: the emulated device checks the number; on another the caller has promised that it is such a graph.
        unsafe { kit(device)?.destroy_graph(graph) }
    })
}

/// Kinds of handles end below this one, so a view is never taken for an object.
const VIEW_KIND: u8 = 0x7f;

thread_local! {
    /// The view of the function that runs on this thread, and the number that stands for it.
    static VIEW: Cell<(usize, Option<*const dyn View>)> = const { Cell::new((0, None)) };
}

/// Runs a caller's function on a stream's thread.
fn run(view: &dyn View, [function, user_data]: [usize; 2]) {
    static NEXT: Counter = Counter::new();
    NEXT.add(1);
    let number = Number { kind: VIEW_KIND, generation: NEXT.get() as u32, index: 0 }.to_bits() as usize;
    // SAFETY: gpubuf_host_stream_call made the number from such a function.
    let function: unsafe extern "C" fn(*mut gpubuf_host_view, *mut c_void) = unsafe { std::mem::transmute(function) };
    // SAFETY: only the lifetime is forgotten; the cell is emptied before this function returns.
    let view = unsafe { std::mem::transmute::<*const (dyn View + '_), *const (dyn View + 'static)>(view) };
    VIEW.set((number, Some(view)));
    record::elsewhere(|| {
        // SAFETY: the caller's promise for a function on a stream.
        unsafe { function(std::ptr::without_provenance_mut(number), user_data as *mut c_void) }
    });
    VIEW.set((0, None));
}

fn with_view<R>(view: *mut gpubuf_host_view, body: impl FnOnce(&dyn View) -> R) -> Result<R> {
    let (number, current) = VIEW.get();
    if view.is_null() {
        return fail!(InvalidArgument, "view is NULL");
    }
    match current {
        // SAFETY: set by `run` of this thread, which has not returned yet.
        Some(current) if view.addr() == number => Ok(body(unsafe { &*current })),
        _ => fail!(StaleHandle, "view {view:p} is not that of a function running on this thread"),
    }
}

/// Reads device or page-locked memory by its device address, as it is at this moment.
///
/// Threads: only inside the function that was given the view.
/// Errors: GPUBUF_STALE_HANDLE (not such a view), GPUBUF_INVALID_ARGUMENT (not inside one allocation).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_view_read(
    view: *mut gpubuf_host_view,
    address: u64,
    destination: *mut c_void,
    bytes: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_host_view_read, (view, address, destination, bytes), |_| {
        let destination = memory(destination.cast_const(), bytes == 0, "destination");
        with_view(view, |view| {
            let destination = destination?;
            if bytes == 0 {
                return Ok(());
            }
            // SAFETY: the caller's promise: room for `bytes` bytes.
            unsafe { view.read(address, destination, bytes as usize) }
        })?
    })
}

/// Writes device or page-locked memory by its device address.
///
/// Threads, errors: as gpubuf_host_view_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_view_write(
    view: *mut gpubuf_host_view,
    address: u64,
    source: *const c_void,
    bytes: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_host_view_write, (view, address, source, bytes), |_| {
        let source = memory(source, bytes == 0, "source");
        with_view(view, |view| {
            let source = source?;
            if bytes == 0 {
                return Ok(());
            }
            if bytes > isize::MAX as u64 {
                return fail!(InvalidArgument, "bytes is {bytes}: more than the address space");
            }
            // SAFETY: the caller's promise: `bytes` bytes.
            unsafe { view.write(address, source, bytes as usize) }
        })?
    })
}

/// Has each operation of the device begin late: by `fixed_ns`; or, where `max_ns` is not 0, by 0 to `max_ns`, repeatably by
/// `seed`. All 0: at once. It holds for operations that start from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_set_delay(
    device: *mut gpubuf_device,
    fixed_ns: u64,
    seed: u64,
    max_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_host_set_delay, (device, fixed_ns, seed, max_ns), |c| {
        kit(c.get(device, "device")?)?.set_delay(match (fixed_ns, max_ns) {
            (0, 0) => Delay::None,
            (ns, 0) => Delay::Fixed { ns },
            (_, max_ns) => Delay::Seeded { seed, max_ns },
        })
    })
}

/// Sets the time copies between host and device take: `latency_ns`, and `bytes_per_second` (0: unlimited).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_set_link(
    device: *mut gpubuf_device,
    latency_ns: u64,
    bytes_per_second: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_host_set_link, (device, latency_ns, bytes_per_second), |c| {
        kit(c.get(device, "device")?)?.set_link(latency_ns, bytes_per_second)
    })
}

/// When copies read pageable memory: 1: when they run, as they read page-locked memory; 0: when they are queued.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_set_pageable_late(device: *mut gpubuf_device, late: u32) -> gpubuf_status {
    call(Entry::gpubuf_host_set_pageable_late, (device, late), |c| {
        let kit = kit(c.get(device, "device")?)?;
        let late = flag(late, "late")?;
        kit.set_pageable_late(late)
    })
}

/// Whether the device sees, of the page-locked memory that is made from now on, a copy from that moment by its device address,
/// as on a machine that maps memory for the device once and for all. 1: a copy; 0: the memory itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_set_uva_stale(device: *mut gpubuf_device, stale: u32) -> gpubuf_status {
    call(Entry::gpubuf_host_set_uva_stale, (device, stale), |c| {
        let kit = kit(c.get(device, "device")?)?;
        let stale = flag(stale, "stale")?;
        kit.set_uva_stale(stale)
    })
}

/// Has the `nth` operation of a kind (GPUBUF_HOST_ANY, GPUBUF_HOST_COPY, ...) from now fail, once; 1 is the next one.
///
/// `when` is GPUBUF_HOST_AT_SUBMISSION, GPUBUF_HOST_AT_EXECUTION or GPUBUF_HOST_AT_LOSS. What goes into a capture counts for the
/// first only; for the others it counts when a launch replays it. Each kind has at most one such fault; `nth` 0 removes it.
/// Over the stand-in driver the kinds from GPUBUF_HOST_ALLOCATION on are GPUBUF_UNSUPPORTED: there gpubuf_standin_fail_call does it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_fail_operation(
    device: *mut gpubuf_device,
    operation: u32,
    nth: u64,
    when: u32,
) -> gpubuf_status {
    call(Entry::gpubuf_host_fail_operation, (device, operation, nth, when), |c| {
        let kit = kit(c.get(device, "device")?)?;
        let kind = self::operation(operation)?;
        let when = match when {
            GPUBUF_HOST_AT_SUBMISSION => FailWhen::Submission,
            GPUBUF_HOST_AT_EXECUTION if kind.is_some_and(Operation::makes) => {
                return fail!(
                    InvalidArgument,
                    "when is GPUBUF_HOST_AT_EXECUTION (1), and operation {operation} is done at the call: GPUBUF_HOST_AT_SUBMISSION (0)"
                );
            }
            GPUBUF_HOST_AT_EXECUTION => FailWhen::Execution,
            GPUBUF_HOST_AT_LOSS => FailWhen::Loss,
            _ => {
                return fail!(
                    InvalidArgument,
                    "when is {when}: GPUBUF_HOST_AT_SUBMISSION, GPUBUF_HOST_AT_EXECUTION or GPUBUF_HOST_AT_LOSS (0 to 2)"
                );
            }
        };
        kit.fail_operation(kind, nth, when)
    })
}

/// How many operations of a kind the device was asked for so far, those that a fault refused included: a run without faults
/// counts, and the runs after it have each of them fail in turn (docs/faults.md).
///
/// Not over the stand-in driver (GPUBUF_UNSUPPORTED), where gpubuf_standin_calls counts the driver's functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_count_operations(
    device: *mut gpubuf_device,
    operation: u32,
    out_count: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_host_count_operations, (device, operation, out_count), |c| {
        let kit = kit(c.get(device, "device")?)?;
        let kind = self::operation(operation)?;
        let out = c.out(out_count, "out_count")?;
        out.set(kit.count_operations(kind)?);
        Ok(())
    })
}

/// Limits the memory of GPUBUF_PLACEMENT_PINNED or GPUBUF_PLACEMENT_DEVICE to so many bytes, in whole pages, from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_limit_memory(
    device: *mut gpubuf_device,
    placement: u32,
    bytes: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_host_limit_memory, (device, placement, bytes), |c| {
        let kit = kit(c.get(device, "device")?)?;
        let placement = match placement {
            GPUBUF_PLACEMENT_PINNED => Placement::Pinned,
            GPUBUF_PLACEMENT_DEVICE => Placement::Device,
            _ => {
                return fail!(
                    InvalidArgument,
                    "placement is {placement}: GPUBUF_PLACEMENT_PINNED or GPUBUF_PLACEMENT_DEVICE"
                );
            }
        };
        kit.limit_memory(placement, bytes)
    })
}

/// Loses the device, for good: what is queued is dropped, and nothing runs on it again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_host_lose_device(device: *mut gpubuf_device) -> gpubuf_status {
    call(Entry::gpubuf_host_lose_device, (device,), |c| kit(c.get(device, "device")?)?.lose())
}

/// Nanoseconds that this thread has spent so far inside the emulated device, for benchmarks to subtract.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_host_time_inside_ns() -> u64 {
    plain(Entry::gpubuf_host_time_inside_ns, 0, backend::emulation_ns)
}
