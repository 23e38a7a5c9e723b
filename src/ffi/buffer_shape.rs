//! Views of buffers, and other shapes.

use super::arguments::list;
use super::boundary::call;
use super::buffer::sides_or_none;
use super::entries::Entry;
use super::recorded::List;
use super::types::*;
use crate::dtype::{MAX_RANK, Shape};

/// Rows `first` to `first + count` of the outermost dimension, as a buffer over the same memory: a view. `count` may be
/// GPUBUF_ALL.
///
/// A view is used like any buffer, and its fences, guards and dirty ranges are those of its buffer: what touches other elements does
/// not disturb it. What its buffer can do as a whole it cannot: resize, reset, detach.
/// Ownership: the caller's, until gpubuf_buffer_destroy; before or after its buffer's. The memory stays as long as either does.
/// Threads: a buffer and all its views are one object: one thread at a time.
/// Errors: GPUBUF_INVALID_ARGUMENT (no row, or rows outside), GPUBUF_BUSY (another thread is inside), GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_slice(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    out_view: *mut *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_slice, (buffer, first, count, out_view), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let out = c.out(out_view, "out_view")?;
        c.give(out, buffer.with(buffer.slice(first, count)?))
    })
}

/// A window of the buffer, seen as a matrix in which a row is one of the outermost dimension: a view of two dimensions,
/// row_count x column_count elements. Counts may be GPUBUF_ALL.
///
/// A copy of a window is one two-dimensional copy. Between its rows are gaps, unless it has all columns, or one row: then
/// ranges of elements must be whole rows. Windows of one buffer that have no element in common do not wait for each other.
/// Otherwise as gpubuf_buffer_slice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_window(
    buffer: *mut gpubuf_buffer,
    first_row: u64,
    row_count: u64,
    first_column: u64,
    column_count: u64,
    out_view: *mut *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_window, (buffer, first_row, row_count, first_column, column_count, out_view), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let out = c.out(out_view, "out_view")?;
        c.give(out, buffer.with(buffer.window((first_row, row_count), (first_column, column_count))?))
    })
}

/// Gives the buffer another shape of `rank` dimensions.
///
/// Up to its capacity addresses and contents stay, also while a graph holds it, and the last two parameters are not used. Beyond,
/// it gets other memory, zeroed, of just that size: addresses have to be asked for again. `keep` (GPUBUF_SIDE_, or 0) names
/// the sides whose leading bytes are kept: the device's by a copy in the order of `stream`, the host's after work that still
/// writes them. The old memory is freed when its last use is over. What is refused or fails has changed nothing.
/// What lies beyond the old elements is not promised to be zero where the memory stays.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_BUSY (a guard is open; views are alive, unless just rows are added
/// within the capacity; or the try form would have to wait), GPUBUF_TIMEOUT, GPUBUF_UNSUPPORTED (a view); and, beyond the
/// capacity, GPUBUF_UNSUPPORTED (borrowed memory), GPUBUF_GRAPH_HELD, GPUBUF_UNFENCED (a side is kept whose address is with
/// undeclared work), GPUBUF_CAPTURING, GPUBUF_WRONG_DEVICE, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
/// GPUBUF_COPY_FAILED (an earlier copy, told once).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_resize(
    buffer: *mut gpubuf_buffer,
    rank: u32,
    shape: *const u64,
    keep: u32,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_resize, (buffer, rank, List(shape, rank as usize), keep, stream, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let dims = list(shape, rank as usize, MAX_RANK, ["shape", "rank"])?;
        let keep = sides_or_none(keep, "keep")?;
        let stream = c.get_if_any(stream, "stream")?;
        buffer.resizable()?.resize(Shape::new(dims)?, keep, stream, buffer.device().timeout(timeout_ns))
    })
}

/// As if the buffer was new: zeroes on each side that it has, no side newer, and its figures begin anew. Memory, shape,
/// addresses and views stay.
///
/// `stream` is needed where there is a device side, which is zeroed in its order; the host side is a write access. What is
/// refused has changed nothing.
/// Errors: as gpubuf_buffer_fill; GPUBUF_UNSUPPORTED also of a view.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_reset(
    buffer: *mut gpubuf_buffer,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_reset, (buffer, stream, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let stream = c.get_if_any(stream, "stream")?;
        buffer.reset(stream, buffer.device().timeout(timeout_ns))
    })
}
