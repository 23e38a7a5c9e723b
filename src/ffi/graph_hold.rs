//! Graph holds.

use super::boundary::call;
use super::entries::Entry;
use super::recorded::Value;
use super::types::*;
use crate::graph::GraphHold;
use crate::sync::Arc;
use std::ffi::c_void;

/// A hold of no blocks yet: one for each executable graph that copies from blocks, or reads or writes them where they are.
///
/// The order: add every block, begin the capture, capture copies and kernels, end the capture, make the graph executable,
/// gpubuf_graph_hold_set_graph; then, again and again: write the blocks, gpubuf_graph_hold_launch. A write waits for the
/// replays that still read the block.
/// Ownership: the caller's, until gpubuf_graph_hold_destroy.
/// Errors: GPUBUF_DEVICE_LOST, GPUBUF_SHUT_DOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_create(
    device: *mut gpubuf_device,
    out_hold: *mut *mut gpubuf_graph_hold,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_create, (device, out_hold), |c| {
        let device = c.get(device, "device")?;
        let out = c.out(out_hold, "out_hold")?;
        c.give(out, GraphHold::create(device, "")?)
    })
}

/// Ends the hold: its blocks may be released, detached and freed again, behind the replays that are queued.
///
/// The caller has destroyed the executable graph before, or will not launch it any more. NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_destroy(hold: *mut gpubuf_graph_hold) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_destroy, (hold,), |c| c.end(hold, "hold").map(drop))
}

/// Adds a buffer, before its addresses are captured. Waits until each of its uses is over.
///
/// From now on the buffer is not detached, and destroying it ends the handle alone: its memory stays until the hold ends,
/// and so does a write guard that is open in it, which keeps the graph from being launched.
/// Take the device address for the graph's kernels afterwards. A buffer may be in several holds, once in each.
/// Errors: GPUBUF_BUSY (a guard is open, or the try form would wait), GPUBUF_TIMEOUT, GPUBUF_UNFENCED (its address is with
/// work that nobody declared), GPUBUF_EXISTS (it is in this hold), GPUBUF_EXHAUSTED (128 blocks are in it),
/// GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING (a stream that was named with its address captures), GPUBUF_WOULD_DEADLOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_add_buffer(
    hold: *mut gpubuf_graph_hold,
    buffer: *mut gpubuf_buffer,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_add_buffer, (hold, buffer, timeout_ns), |c| {
        let hold = c.get(hold, "hold")?;
        let buffer = c.get(buffer, "buffer")?;
        hold.add(buffer.shared(), Some(hold.device().timeout(timeout_ns)))
    })
}

/// Adds a pool's block, before its addresses are captured. Waits until each of its uses is over.
///
/// From now on the block is not released (GPUBUF_GRAPH_HELD) until the hold ends, even if its pool is destroyed.
/// Errors: as gpubuf_graph_hold_add_buffer; GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_add_block(
    hold: *mut gpubuf_graph_hold,
    block: *mut gpubuf_block,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_add_block, (hold, block, timeout_ns), |c| {
        let hold = c.get(hold, "hold")?;
        let block = c.get(block, "block")?;
        hold.add(Arc::new(block.clone()), Some(hold.device().timeout(timeout_ns)))
    })
}

/// Adds the device memory of frozen slots, every copy of it, for graphs whose kernels read it. Never waits: a commit is no part of the graph,
/// and launches are ordered behind it.
///
/// Destroying the slots ends the handle alone: their device memory stays until the hold ends.
/// Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_EXISTS, GPUBUF_EXHAUSTED, GPUBUF_WRONG_DEVICE, GPUBUF_BUSY (another thread
/// commits or retires at this moment).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_add_slots(
    hold: *mut gpubuf_graph_hold,
    slots: *mut gpubuf_slots,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_add_slots, (hold, slots), |c| {
        let hold = c.get(hold, "hold")?;
        let slots = c.get(slots, "slots")?;
        hold.add_all(slots.held_copies(), None)
    })
}

/// As gpubuf_graph_hold_add_slots, of one copy of the device memory only: where each copy has a graph of its own, each has a
/// hold of its own, too, so that a launch is not ordered behind work on the other copies.
///
/// Errors: as gpubuf_graph_hold_add_slots; GPUBUF_NOT_FOUND (no such copy).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_add_slots_copy(
    hold: *mut gpubuf_graph_hold,
    slots: *mut gpubuf_slots,
    copy: u32,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_add_slots_copy, (hold, slots, copy), |c| {
        let hold = c.get(hold, "hold")?;
        let slots = c.get(slots, "slots")?;
        hold.add(slots.held_copy(copy)?, None)
    })
}

/// Adds the table to a graph hold, for graphs whose kernels read it. Waits until each of its uses is over.
///
/// An apply is no part of the graph, and launches are ordered behind it. The table does not move until the hold ends, and
/// destroying the rows ends the handle alone.
/// Errors: as gpubuf_graph_hold_add_buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_add_staged_rows(
    hold: *mut gpubuf_graph_hold,
    rows: *mut gpubuf_staged_rows,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_add_staged_rows, (hold, rows, timeout_ns), |c| {
        let hold = c.get(hold, "hold")?;
        let rows = c.get(rows, "rows")?;
        hold.add(rows.table().shared(), Some(hold.device().timeout(timeout_ns)))
    })
}

/// Appends a copy of a range to the graph that the stream captures, from the host side to the device side. Each replay reads
/// the host side anew; `count` may be GPUBUF_ALL.
///
/// Nothing is queued or recorded. Both sides are sealed (GPUBUF_UNFENCED for CPU access and copies) until
/// gpubuf_graph_hold_set_graph, or gpubuf_graph_hold_replayed, says who launches the graph.
/// Errors: GPUBUF_NOT_BEGUN (the stream does not capture), GPUBUF_NOT_HELD (the buffer is not in the hold), GPUBUF_BUSY (a
/// write guard is open on the range), GPUBUF_UNSUPPORTED (a pageable host side, or one side only), GPUBUF_WRONG_DEVICE,
/// GPUBUF_CAPTURING (the driver refuses it in a capture).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_capture_to_device(
    buffer: *mut gpubuf_buffer,
    hold: *mut gpubuf_graph_hold,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_capture_to_device, (buffer, hold, first, count, stream), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let hold = c.get(hold, "hold")?;
        hold.capture(&*buffer.shared(), true, first, count, c.get(stream, "stream")?)
    })
}

/// As gpubuf_buffer_capture_to_device, from the device side to the host side: each replay writes the host side.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_capture_to_host(
    buffer: *mut gpubuf_buffer,
    hold: *mut gpubuf_graph_hold,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_capture_to_host, (buffer, hold, first, count, stream), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let hold = c.get(hold, "hold")?;
        hold.capture(&*buffer.shared(), false, first, count, c.get(stream, "stream")?)
    })
}

/// As gpubuf_buffer_capture_to_device, of bytes of a block with a twin in device memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_capture_to_device(
    block: *mut gpubuf_block,
    hold: *mut gpubuf_graph_hold,
    offset: u64,
    bytes: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_block_capture_to_device, (block, hold, offset, bytes, stream), |c| {
        let block = c.get(block, "block")?;
        let hold = c.get(hold, "hold")?;
        hold.capture(block, true, offset, bytes, c.get(stream, "stream")?)
    })
}

/// As gpubuf_buffer_capture_to_host, of bytes of a block with a twin in device memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_capture_to_host(
    block: *mut gpubuf_block,
    hold: *mut gpubuf_graph_hold,
    offset: u64,
    bytes: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_block_capture_to_host, (block, hold, offset, bytes, stream), |c| {
        let block = c.get(block, "block")?;
        let hold = c.get(hold, "hold")?;
        hold.capture(block, false, offset, bytes, c.get(stream, "stream")?)
    })
}

/// Ties the hold to its executable graph (a CUgraphExec): from now on it is launched by gpubuf_graph_hold_launch only, so the
/// seals of the hold's blocks are lifted.
///
/// A block that another hold captured copies of stays sealed until the launches of that graph are known, too.
/// Ownership: the graph stays the caller's; it must be alive at each launch. Setting another one replaces it.
/// Errors: GPUBUF_INVALID_ARGUMENT (NULL), GPUBUF_BUSY (another thread is inside a block).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_set_graph(
    hold: *mut gpubuf_graph_hold,
    executable_graph: *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_set_graph, (hold, Value(executable_graph)), |c| {
        let hold = c.get(hold, "hold")?;
        hold.set_graph(executable_graph.expose_provenance() as u64)
    })
}

/// Launches the graph on the stream. Never waits on the host.
///
/// Stream order: the launch comes behind work on other streams that the hold's blocks are in use by, and one fence is recorded
/// behind it. It counts as a read of the bytes that captured copies read, and as a write of those they write, of every device
/// side, and of host sides that kernels use in place.
/// A uva block whose copy stands in (gpubuf_buffer_info, stands_in) answers GPUBUF_CONFLICT while the device side lacks bytes that
/// the graph does not send itself: publish it first.
/// Errors: GPUBUF_NOT_BEGUN (no graph was set), GPUBUF_BUSY (a write guard is open on a block, a read guard on bytes that the
/// graph writes, or another thread is inside), GPUBUF_CAPTURING, GPUBUF_WRONG_DEVICE, GPUBUF_COPY_FAILED (an earlier copy, told
/// once), GPUBUF_DEVICE_LOST: nothing was launched. GPUBUF_QUARANTINED if the launch could not be fenced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_launch(
    hold: *mut gpubuf_graph_hold,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_launch, (hold, stream), |c| {
        let hold = c.get(hold, "hold")?;
        hold.launch(c.get(stream, "stream")?)
    })
}

/// Says that the caller launched the graph itself, and that its launches are queued on the stream by now: they count as
/// launches of gpubuf_graph_hold_launch do. Lifts the seals.
///
/// Every launch that is not the library's has to be declared, before a block is written again. It was for the caller to see
/// that no guard was open, and that the launch came behind other streams.
/// Stream order: one fence is recorded.
/// Errors: GPUBUF_CAPTURING, GPUBUF_WRONG_DEVICE, GPUBUF_BUSY (another thread is inside, or a block is in use by too many
/// streams), GPUBUF_DEVICE_LOST; GPUBUF_QUARANTINED if no fence could be recorded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_graph_hold_replayed(
    hold: *mut gpubuf_graph_hold,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_graph_hold_replayed, (hold, stream), |c| {
        let hold = c.get(hold, "hold")?;
        hold.replayed(c.get(stream, "stream")?)
    })
}
