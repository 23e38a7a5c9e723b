//! Which side of a buffer is newer, making both the same, and what moved.

use super::arguments::growing;
use super::boundary::call;
use super::entries::Entry;
use super::recorded::Memory;
use super::types::*;
use crate::buffer::BufferStats;
use crate::error::Result;
use crate::fail;
use crate::fence::{Flow, Policy, Which};

/// Elements that are newer on one side: `count` from `first` on, `rows` times, `stride` elements apart. An entry of lists, which
/// never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_dirty_range {
    /// The first element.
    pub first: u64,
    /// Elements of a row.
    pub count: u64,
    /// Rows; 1 where it is a range.
    pub rows: u64,
    /// Elements from one row to the next; 0 where there is one.
    pub stride: u64,
}

/// The figures of a buffer and all its views, since it was made or reset.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_buffer_stats {
    /// sizeof(gpubuf_buffer_stats), set by the caller.
    pub struct_size: u32,
    /// Views that are alive.
    pub views: u32,
    /// Copies of the driver's to the device side.
    pub to_device_copies: u64,
    /// Their bytes.
    pub to_device_bytes: u64,
    /// Calls whose copies to the device side were timed, and have ended; GPUBUF_ABSENT without the option `timed`.
    pub to_device_timed: u64,
    /// Device time of those; GPUBUF_ABSENT without the option `timed`.
    pub to_device_ns: u64,
    /// Copies of the driver's to the host side.
    pub to_host_copies: u64,
    /// Their bytes.
    pub to_host_bytes: u64,
    /// As to_device_timed.
    pub to_host_timed: u64,
    /// As to_device_ns.
    pub to_host_ns: u64,
    /// Fills of the device side.
    pub device_fills: u64,
    /// Calls of sync that moved something.
    pub syncs: u64,
    /// Calls of sync that answered GPUBUF_CONFLICT.
    pub conflicts: u64,
    /// Copies and fills that failed when they ran, as far as they were told.
    pub failures: u64,
    /// Other shapes it got.
    pub resizes: u64,
    /// Bytes that are newer on the host side, as far as that is known without asking the device.
    pub host_dirty_bytes: u64,
    /// The same of the device side.
    pub device_dirty_bytes: u64,
    /// Waits on the host for its uses.
    pub host_waits: u64,
    /// Time spent in them.
    pub host_wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
}

growing!(gpubuf_buffer_stats);

/// `None` is the buffer's own.
pub(super) fn policy(policy: u32, name: &str) -> Result<Option<Policy>> {
    Ok(match policy {
        GPUBUF_SYNC_DEFAULT => None,
        GPUBUF_SYNC_REFUSE => Some(Policy::Refuse),
        GPUBUF_SYNC_HOST_WINS => Some(Policy::Host),
        GPUBUF_SYNC_DEVICE_WINS => Some(Policy::Device),
        GPUBUF_SYNC_NEWEST_WINS => Some(Policy::Newest),
        _ => return fail!(InvalidArgument, "{name} is {policy}: use a GPUBUF_SYNC_ number (0 to 4)"),
    })
}

/// What has no policy of its own refuses.
pub(super) fn policy_or(policy: Option<Policy>) -> Policy {
    policy.unwrap_or(Policy::Refuse)
}

fn side(side: u32) -> Result<Which> {
    match side {
        GPUBUF_SIDE_HOST => Ok(Which::Host),
        GPUBUF_SIDE_DEVICE => Ok(Which::Device),
        _ => fail!(InvalidArgument, "side is {side}: GPUBUF_SIDE_HOST or GPUBUF_SIDE_DEVICE"),
    }
}

/// Queues what makes both sides the same: what is newer on one side, in ranges, is copied to the other, all of it with one fence.
/// Where nothing is newer, or there is one side only, nothing is done.
///
/// A side is newer where it was written by something else than a copy from the other side: a write access, copy_in, a fill of one
/// side, work that used_on declared as a write, a launch or a replay (the whole device side), or gpubuf_buffer_mark_dirty. A
/// side remembers up to 8 ranges or windows; above, neighbours are taken together with what lies between them, which copies more,
/// never less. A copy that failed when it ran is sent again.
/// `policy` (GPUBUF_SYNC_) says who wins where both sides are newer. Bytes that were merely taken together with others are
/// nobody's to win, and neither are, for GPUBUF_SYNC_NEWEST_WINS, bytes that were written in turns.
/// Stream order: as gpubuf_buffer_to_device and gpubuf_buffer_to_host. Of a view: its elements alone.
/// Errors: GPUBUF_CONFLICT (both sides are newer, and the policy does not decide), GPUBUF_BUSY (a write guard is open on its
/// elements, or a read guard on what would be overwritten), and those of gpubuf_buffer_to_device. Nothing is done then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_sync(
    buffer: *mut gpubuf_buffer,
    policy: u32,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_sync, (buffer, policy, stream), |c| {
        let buffer = c.get(buffer, "buffer")?;
        buffer.sync(self::policy(policy, "policy")?, c.get(stream, "stream")?, None)
    })
}

/// As gpubuf_buffer_sync, and returns when the bytes have landed.
///
/// Errors: also GPUBUF_TIMEOUT and GPUBUF_BUSY (the copies stay queued, with their uses), GPUBUF_WOULD_DEADLOCK,
/// GPUBUF_COPY_FAILED (of these copies: their sources are newer again).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_sync_blocking(
    buffer: *mut gpubuf_buffer,
    policy: u32,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_sync_blocking, (buffer, policy, stream, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let timeout = buffer.device().timeout(timeout_ns);
        buffer.sync(self::policy(policy, "policy")?, c.get(stream, "stream")?, Some(timeout))
    })
}

/// Says that elements of a side (GPUBUF_SIDE_HOST or GPUBUF_SIDE_DEVICE) were written in a way that the library does not see.
/// `count` may be GPUBUF_ALL. Nothing is remembered where there is no other side.
///
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED (no such side), GPUBUF_BUSY (another thread is inside),
/// GPUBUF_COPY_FAILED (an earlier copy, told once; nothing is marked).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_mark_dirty(
    buffer: *mut gpubuf_buffer,
    side: u32,
    first: u64,
    count: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_mark_dirty, (buffer, side, first, count), |c| {
        let buffer = c.get(buffer, "buffer")?;
        buffer.mark_newer(self::side(side)?, first, count)
    })
}

/// Says that elements of a side have nothing that the other side lacks: the caller made them the same, or does not need them.
///
/// Errors: as gpubuf_buffer_mark_dirty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_mark_clean(
    buffer: *mut gpubuf_buffer,
    side: u32,
    first: u64,
    count: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_mark_clean, (buffer, side, first, count), |c| {
        let buffer = c.get(buffer, "buffer")?;
        buffer.mark_clean(self::side(side)?, first, count)
    })
}

/// The elements that are newer on a side (GPUBUF_SIDE_HOST or GPUBUF_SIDE_DEVICE), in no order. Up to `capacity` are written, and
/// `out_count` gets how many there are. Asks the device, without waiting, whether copies under way have failed.
///
/// `out_ranges` may be NULL where capacity is 0.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED (no such side), GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_dirty_ranges(
    buffer: *const gpubuf_buffer,
    side: u32,
    out_ranges: *mut gpubuf_dirty_range,
    capacity: usize,
    out_count: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_dirty_ranges, (buffer, side, Memory(out_ranges), capacity, out_count), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let side = self::side(side)?;
        if out_ranges.is_null() && capacity > 0 {
            return fail!(InvalidArgument, "out_ranges is NULL and capacity is {capacity}");
        }
        let out = c.out(out_count, "out_count")?;
        let mut count = 0;
        c.fault_point();
        buffer.newer(side, |newer| {
            if count < capacity {
                let range = gpubuf_dirty_range {
                    first: newer.first,
                    count: newer.count,
                    rows: newer.rows,
                    stride: newer.stride,
                };
                // SAFETY: the caller's promise: room for `capacity` entries.
                unsafe { out_ranges.add(count).write_unaligned(range) };
            }
            count += 1;
        })?;
        out.set(count);
        Ok(())
    })
}

/// The figures of a buffer and all its views. Set struct_size first; no more than that is written, and struct_size then says how
/// much. Waits for nothing.
///
/// Errors: GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_stats_get(
    buffer: *const gpubuf_buffer,
    inout_stats: *mut gpubuf_buffer_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_stats_get, (buffer, inout_stats), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let BufferStats { flows, newer, resizes, views, waits } = buffer.stats()?;
        let timed = |flow: Flow| flow.ns.map_or(GPUBUF_ABSENT, |_| flow.timed);
        out.set(gpubuf_buffer_stats {
            struct_size: 0,
            views: views as u32,
            to_device_copies: flows.up.copies,
            to_device_bytes: flows.up.bytes,
            to_device_timed: timed(flows.up),
            to_device_ns: flows.up.ns.unwrap_or(GPUBUF_ABSENT),
            to_host_copies: flows.down.copies,
            to_host_bytes: flows.down.bytes,
            to_host_timed: timed(flows.down),
            to_host_ns: flows.down.ns.unwrap_or(GPUBUF_ABSENT),
            device_fills: flows.fills,
            syncs: flows.syncs,
            conflicts: flows.conflicts,
            failures: flows.failures,
            resizes,
            host_dirty_bytes: newer[0],
            device_dirty_bytes: newer[1],
            host_waits: waits[0],
            host_wait_ns: waits[1],
            timeouts: waits[2],
        });
        Ok(())
    })
}
