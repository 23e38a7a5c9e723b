//! Staged rows: writes of parts of rows of a table, applied together.

use super::arguments::{growing, init, label, memory, options, reserved};
use super::boundary::{call, plain};
use super::buffer::access;
use super::entries::Entry;
use super::recorded::List;
use super::types::*;
use crate::config::Placement;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::fail;
use crate::fence::ReleaseCallback;
use crate::staged::{Over, StagedRows, StagedRowsOptions};
use std::ffi::{c_char, c_void};

/// What staged rows are to be. Set up by gpubuf_staged_rows_options_init. With no buffer, dtype, rows and row_elements have no
/// default; with one, they are the buffer's, and must be 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_staged_rows_options {
    /// sizeof(gpubuf_staged_rows_options)
    pub struct_size: u32,
    /// GPUBUF_DTYPE_ of the table's elements.
    pub dtype: u32,
    /// Rows of the table.
    pub rows: u64,
    /// Elements of each.
    pub row_elements: u64,
    /// Rows that there is memory for, so that growing leaves the address as it is. 0, or less than rows: as many as those.
    /// Borrowed memory must have as many.
    pub capacity_rows: u64,
    /// Where the table lives: device (the default) or uva.
    pub placement: u32,
    /// Staging entries, 1 to 16. Default: 2, so that the host may be ahead of the device by two applies.
    pub depth: u32,
    /// Writes that can be staged at a time, up to 1,048,576. Default: 1024. One that goes on where the last one ended counts as a
    /// part of that.
    pub max_writes: u32,
    /// 0
    pub reserved: u32,
    /// Bytes that can be staged at a time, up to 1 GiB. Default: 256 KiB.
    pub staging_bytes: u64,
    /// A buffer that is the table: its device side, or its uva or managed host side. Its rows are those of the outermost
    /// dimension; a window has gaps between them. NULL: the table's memory is as below.
    pub buffer: *mut gpubuf_buffer,
    /// The caller's device memory for the table, aligned to 256 bytes; 0: the library's own, zeroed.
    pub device_memory: u64,
    /// Called once when nothing uses the caller's memory any more; not if creating fails. NULL: nobody is told.
    pub release: gpubuf_release_fn,
    /// Handed to release.
    pub release_user_data: *mut c_void,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// What staged rows are, and what is staged.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_staged_rows_info {
    /// sizeof(gpubuf_staged_rows_info), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_DTYPE_
    pub dtype: u32,
    /// Rows that the table has now.
    pub rows: u64,
    /// Elements of each.
    pub row_elements: u64,
    /// Writes that are staged.
    pub staged_writes: u64,
    /// Their bytes.
    pub staged_bytes: u64,
    /// Of the options.
    pub max_writes: u64,
    /// Of the options.
    pub max_staged_bytes: u64,
    /// Staging entries.
    pub depth: u32,
    /// 1: one kernel puts the writes in their places. 0: the kernel cannot be had, and each piece is a copy of its own;
    /// gpubuf_describe says why.
    pub by_kernel: u32,
}

/// The figures of staged rows, since they were created.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_staged_rows_stats {
    /// sizeof(gpubuf_staged_rows_stats), set by the caller.
    pub struct_size: u32,
    /// Staging entries that can be packed at once.
    pub free_entries: u32,
    /// Staging entries lost for good.
    pub quarantined_entries: u32,
    /// 0
    pub reserved: u32,
    /// Writes that were staged.
    pub writes: u64,
    /// Their bytes.
    pub staged_bytes: u64,
    /// Applies that had something to apply, and were queued.
    pub applies: u64,
    /// Pieces that they wrote: what was overwritten before it was applied is none, or is cut out.
    pub pieces: u64,
    /// Their bytes.
    pub applied_bytes: u64,
    /// Copies of applies: one each, or, without the kernel, one for each piece.
    pub copies: u64,
    /// Bytes of those copies, with what tells the kernel where the pieces go.
    pub copied_bytes: u64,
    /// Kernels launched.
    pub scatters: u64,
    /// Waits queued on streams, those of consumers included.
    pub device_waits: u64,
    /// Waits of host threads for a staging entry.
    pub host_waits: u64,
    /// Time spent in them.
    pub host_wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
    /// Calls refused.
    pub refusals: u64,
    /// Applies of which only a part was queued.
    pub torn_applies: u64,
    /// Times that the table got more rows.
    pub grows: u64,
    /// Times that its address changed with that.
    pub moves: u64,
}

growing!(
    gpubuf_staged_rows_options { buffer: handle, release: pointer, release_user_data: pointer, label: text },
    gpubuf_staged_rows_info,
    gpubuf_staged_rows_stats
);

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_options_init(options: *mut gpubuf_staged_rows_options, struct_size: u32) {
    plain(Entry::gpubuf_staged_rows_options_init, (), || {
        init(options, struct_size, |options| {
            let defaults = StagedRowsOptions::default();
            options.placement = GPUBUF_PLACEMENT_DEVICE;
            options.depth = defaults.depth;
            options.max_writes = defaults.max_writes;
            options.staging_bytes = defaults.staging_bytes;
        });
    });
}

fn release(options: &gpubuf_staged_rows_options) -> Option<ReleaseCallback> {
    let release = options.release?;
    let user_data = options.release_user_data as usize;
    // SAFETY: the caller's promise for a release callback.
    Some(Box::new(move || unsafe { release(user_data as *mut c_void) }))
}

/// A table of its own, as the options say.
fn own(options: &gpubuf_staged_rows_options) -> Result<Over> {
    Ok(Over::Own {
        dtype: Dtype::from_code(options.dtype)?,
        rows: options.rows,
        row_elements: options.row_elements,
        capacity_rows: options.capacity_rows,
        placement: Placement::from_code(options.placement, "placement")?,
        device_memory: options.device_memory,
        release: release(options),
    })
}

fn expect_no_memory(options: &gpubuf_staged_rows_options) -> Result<()> {
    let set = [options.dtype.into(), options.rows, options.row_elements, options.capacity_rows, options.device_memory];
    let names = ["dtype", "rows", "row_elements", "capacity_rows", "device_memory"];
    match names.iter().zip(set).find(|(_, value)| *value != 0) {
        Some((name, value)) => {
            fail!(InvalidArgument, "options.{name} is {value}, and there is a buffer, which has its own: leave it 0")
        }
        None => Ok(()),
    }
}

/// A table, and room to stage writes of its rows. Everything is allocated here: staging and applying allocate nothing.
///
/// On a CUDA device its kernel is compiled by the driver, which may take a while the first time. Where that fails, each piece
/// is applied by a copy of its own; the log and gpubuf_describe say so.
/// Ownership: the caller's, until gpubuf_staged_rows_destroy. A buffer is kept as long as the rows are; borrowed device memory
/// stays the caller's, who does not free it until release was called.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_UNSUPPORTED (the buffer has no side that kernels address),
/// GPUBUF_WRONG_DEVICE (the buffer's), GPUBUF_EXISTS (the memory is borrowed already), GPUBUF_OUT_OF_HOST_MEMORY,
/// GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_staged_rows_options,
    out_rows: *mut *mut gpubuf_staged_rows,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_create, (device, options, out_rows), |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_rows, "out_rows")?;
        reserved(options.reserved, "options.reserved")?;
        let over = match c.get_if_any(options.buffer.cast_const(), "options.buffer")? {
            Some(buffer) => {
                expect_no_memory(&options)?;
                Over::Buffer(buffer.with(buffer.shared()))
            }
            None => own(&options)?,
        };
        let room = StagedRowsOptions {
            depth: options.depth,
            max_writes: options.max_writes,
            staging_bytes: options.staging_bytes,
        };
        c.give(out, StagedRows::create(device, room, over, label(options.label, "options.label")?)?)
    })
}

/// Ends the handle. What is staged is dropped; what was applied still runs, and its memory, the table's included, is freed when its
/// last use is proven. In a graph hold the table stays until that ends.
///
/// NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_destroy(rows: *mut gpubuf_staged_rows) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_destroy, (rows,), |c| c.end(rows, "rows").map(drop))
}

/// What they are, and what is staged. Set struct_size first; no more than that is written, and struct_size then says how much.
///
/// Errors: GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_info_get(
    rows: *const gpubuf_staged_rows,
    inout_info: *mut gpubuf_staged_rows_info,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_info_get, (rows, inout_info), |c| {
        let rows = c.get(rows, "rows")?;
        let out = c.figures(inout_info, "inout_info")?;
        let (staged_writes, staged_bytes) = rows.staged()?;
        let (max_writes, max_staged_bytes) = rows.room();
        out.set(gpubuf_staged_rows_info {
            struct_size: 0,
            dtype: rows.dtype() as u32,
            rows: rows.rows(),
            row_elements: rows.row_elements(),
            staged_writes,
            staged_bytes,
            max_writes: max_writes.into(),
            max_staged_bytes,
            depth: rows.depth(),
            by_kernel: rows.by_kernel() as u32,
        });
        Ok(())
    })
}

/// Stages `count` elements for row `row`, from element `first` of it on. `values` are copied at once; nothing reaches the table
/// before gpubuf_staged_rows_apply. Where staged writes overlap, the last one wins.
///
/// Threads: any, one at a time. Never waits, calls no driver, allocates nothing.
/// Errors: GPUBUF_INVALID_ARGUMENT (not inside the row, or no such row), GPUBUF_OVERFLOW (no room: apply or clear first),
/// GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_stage(
    rows: *mut gpubuf_staged_rows,
    row: u64,
    first: u64,
    values: *const c_void,
    count: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_stage, (rows, row, first, values, count), |c| {
        let rows = c.get(rows, "rows")?;
        let values = memory(values, count == 0, "values")?;
        // SAFETY: the caller's promise: `count` elements can be read.
        unsafe { rows.stage(row, first, values, count) }
    })
}

/// Applies what is staged: one copy to the device and one kernel that puts every write in its place, with one fence. Nothing at
/// all where nothing is staged.
///
/// Stream order: behind everything queued on the stream; on the device, behind what other streams do to the table as far as the
/// library knows it, earlier applies included. Each consumer, up to 8, waits for it on the device. Kernels that read the table
/// are declared as those that read a buffer: their streams are named with gpubuf_staged_rows_device_address, or with
/// gpubuf_staged_rows_used_on after the launch.
/// Threads: any, one at a time. Waits only for a staging entry, up to the deadline, and allocates nothing.
/// Errors: GPUBUF_BUSY (the try form would have to wait; another thread is inside; a guard is open on a uva table),
/// GPUBUF_TIMEOUT, GPUBUF_UNFENCED (the table's address is with work that nobody declared), GPUBUF_INVALID_ARGUMENT (the buffer
/// lost a row that is staged), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_WOULD_DEADLOCK, GPUBUF_EXHAUSTED (every
/// staging entry is lost), GPUBUF_COPY_FAILED (an earlier apply failed when it ran, and wrote nothing; told once),
/// GPUBUF_DEVICE_LOST; GPUBUF_QUARANTINED if it could not be fenced. After any of them everything is still staged, and applying it
/// again is harmless.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_apply(
    rows: *mut gpubuf_staged_rows,
    stream: *mut gpubuf_stream,
    consumers: *const *mut gpubuf_stream,
    consumer_count: usize,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_apply, (rows, stream, List(consumers, consumer_count), timeout_ns), |c| {
        let rows = c.get(rows, "rows")?;
        let stream = c.get(stream, "stream")?;
        let consumers = c.streams(consumers, consumer_count, ["consumers", "consumer_count"])?;
        rows.apply(stream, &consumers, rows.device().timeout(timeout_ns))
    })
}

/// Drops what is staged.
///
/// Errors: GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_clear(rows: *mut gpubuf_staged_rows) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_clear, (rows,), |c| c.get(rows, "rows")?.clear())
}

/// Gives the table more rows, which are zero. Within capacity_rows the address stays, also in a graph; beyond, the table moves:
/// its contents are copied in the order of the stream, and the old memory is freed when its last use is proven.
///
/// `out_moved` gets 1 where the address is another now, else 0; NULL: not told. What is staged stays staged. Waits only for
/// work that still writes a uva table, up to the deadline.
/// Errors: GPUBUF_INVALID_ARGUMENT (fewer rows than there are), GPUBUF_UNSUPPORTED (the table is a buffer, which is to be resized
/// itself, or borrowed memory), GPUBUF_GRAPH_HELD (a graph holds a table that would move), GPUBUF_UNFENCED, GPUBUF_BUSY,
/// GPUBUF_TIMEOUT, GPUBUF_OVERFLOW, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED (an earlier apply, told once),
/// GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_grow(
    rows: *mut gpubuf_staged_rows,
    row_count: u64,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
    out_moved: *mut u32,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_grow, (rows, row_count, stream, timeout_ns, out_moved), |c| {
        let rows = c.get(rows, "rows")?;
        let stream = c.get(stream, "stream")?;
        let moved = rows.grow(row_count, stream, rows.device().timeout(timeout_ns))?;
        c.set_if_any(out_moved, moved as u32);
        Ok(())
    })
}

/// The table's address for kernels, the same until gpubuf_staged_rows_grow says that it moved. As
/// gpubuf_buffer_device_address: the streams named may use it at any time, and with none named the table is sealed.
///
/// Errors: as gpubuf_buffer_device_address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_device_address(
    rows: *mut gpubuf_staged_rows,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
    out_address: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_device_address, (rows, List(streams, stream_count), out_address), |c| {
        let rows = c.get(rows, "rows")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let out = c.out(out_address, "out_address")?;
        out.set(rows.device_address(&streams)?);
        Ok(())
    })
}

/// Says that work queued on the stream so far used the table: GPUBUF_ACCESS_READ or GPUBUF_ACCESS_WRITE. As
/// gpubuf_buffer_used_on.
///
/// Errors: as gpubuf_buffer_used_on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_used_on(
    rows: *mut gpubuf_staged_rows,
    stream: *mut gpubuf_stream,
    access: u32,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_used_on, (rows, stream, access), |c| {
        let rows = c.get(rows, "rows")?;
        let stream = c.get(stream, "stream")?;
        rows.used_on(stream, self::access(access)?)
    })
}

/// The figures. Set struct_size first; no more than that is written, and struct_size then says how much.
///
/// Errors: GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_staged_rows_stats_get(
    rows: *const gpubuf_staged_rows,
    inout_stats: *mut gpubuf_staged_rows_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_staged_rows_stats_get, (rows, inout_stats), |c| {
        let rows = c.get(rows, "rows")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let s = rows.stats()?;
        out.set(gpubuf_staged_rows_stats {
            struct_size: 0,
            free_entries: s.free_entries,
            quarantined_entries: s.quarantined_entries,
            reserved: 0,
            writes: s.writes,
            staged_bytes: s.staged_bytes,
            applies: s.applies,
            pieces: s.pieces,
            applied_bytes: s.applied_bytes,
            copies: s.copies,
            copied_bytes: s.copied_bytes,
            scatters: s.scatters,
            device_waits: s.device_waits,
            host_waits: s.host_waits,
            host_wait_ns: s.host_wait_ns,
            timeouts: s.timeouts,
            refusals: s.refusals,
            torn_applies: s.torn_applies,
            grows: s.grows,
            moves: s.moves,
        });
        Ok(())
    })
}
