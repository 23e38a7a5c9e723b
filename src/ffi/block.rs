//! Blocks: a pool's, a manager's, or on their own. Ranges are in bytes.

use super::arguments::{flag, growing, init, label, memory, options};
use super::boundary::{call, plain};
use super::buffer_sync::{policy, policy_or};
use super::entries::Entry;
use super::pool::twin;
use super::recorded::List;
use super::types::*;
use crate::config::Placement;
use crate::fence::{Access, Flow};
use crate::lease::{AloneOptions, Lease};
use std::ffi::{c_char, c_void};

/// What a block is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_block_info {
    /// sizeof(gpubuf_block_info), set by the caller.
    pub struct_size: u32,
    /// Its number in its pool, from 0.
    pub index: u32,
    /// Its size.
    pub bytes: u64,
    /// GPUBUF_PLACEMENT_: pinned, uva or managed; pageable where a manager had no other.
    pub placement: u32,
    /// 1 if it has a twin in device memory.
    pub device_side: u32,
    /// 1 if that is a promotion's.
    pub promoted: u32,
    /// 1: the device does not see later host writes to uva memory, so the block is a pinned one with a twin: gpubuf_block_publish copies.
    pub stands_in: u32,
}

/// What moved between a block's sides, in all the times that it was acquired.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_block_stats {
    /// sizeof(gpubuf_block_stats), set by the caller.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// Copies to the device that were queued.
    pub to_device_copies: u64,
    /// Their bytes.
    pub to_device_bytes: u64,
    /// Those of them whose time is known; GPUBUF_ABSENT where times are not taken.
    pub to_device_timed: u64,
    /// The time they took on the device; GPUBUF_ABSENT where times are not taken.
    pub to_device_ns: u64,
    /// Copies to the host that were queued.
    pub to_host_copies: u64,
    /// Their bytes.
    pub to_host_bytes: u64,
    /// As to_device_timed.
    pub to_host_timed: u64,
    /// The time they took; GPUBUF_ABSENT where times are not taken.
    pub to_host_ns: u64,
    /// Calls that synced something.
    pub syncs: u64,
    /// Those refused because both sides were newer.
    pub conflicts: u64,
    /// Copies that failed.
    pub failures: u64,
    /// Bytes that are newer on the host side.
    pub host_dirty_bytes: u64,
    /// Bytes that are newer on the device side.
    pub device_dirty_bytes: u64,
}

growing!(gpubuf_block_info, gpubuf_block_options { label: text }, gpubuf_block_stats);

/// What a block of its own is to be. Set up by gpubuf_block_options_init; bytes has no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_block_options {
    /// sizeof(gpubuf_block_options)
    pub struct_size: u32,
    /// Where it lives: pinned (the default), uva or managed.
    pub placement: u32,
    /// Its size.
    pub bytes: u64,
    /// GPUBUF_TWIN_
    pub device_side: u32,
    /// 1: copies between its sides are timed.
    pub timed: u32,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_options_init(options: *mut gpubuf_block_options, struct_size: u32) {
    plain(Entry::gpubuf_block_options_init, (), || {
        init(options, struct_size, |options| options.placement = GPUBUF_PLACEMENT_PINNED);
    });
}

/// A block that belongs to no pool, zeroed: used like any other, and gone when it is released.
///
/// Ownership: the caller's, until a release succeeds. Its memory is freed when its last use is over.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
/// GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_block_options,
    out_block: *mut *mut gpubuf_block,
) -> gpubuf_status {
    call(Entry::gpubuf_block_create, (device, options, out_block), |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_block, "out_block")?;
        let alone = AloneOptions {
            placement: Placement::from_code(options.placement, "placement")?,
            bytes: options.bytes,
            twin: twin(options.device_side, "options.device_side")?,
            timed: flag(options.timed, "options.timed")?,
            label: label(options.label, "options.label")?.to_owned(),
        };
        let lease = Lease::create(device, alone)?;
        c.give(out, lease.clone()).inspect_err(|_| drop(lease.release()))
    })
}

/// Says that work queued on the streams so far, 1 to 8, used the block, which the caller keeps. Lifts the seal.
///
/// Stream order: one fence is recorded on each.
/// Errors: GPUBUF_INVALID_ARGUMENT (no stream), GPUBUF_BUSY (a guard is open), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING,
/// GPUBUF_NOT_HELD; GPUBUF_QUARANTINED if a fence could not be recorded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_fence(
    block: *mut gpubuf_block,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_block_fence, (block, List(streams, stream_count)), |c| {
        let block = c.get(block, "block")?;
        block.fence(&c.streams(streams, stream_count, ["streams", "stream_count"])?)
    })
}

/// The caller vouches that nothing uses the block by its device address. Lifts the seal; counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_declare_unread(block: *mut gpubuf_block) -> gpubuf_status {
    call(Entry::gpubuf_block_declare_unread, (block,), |c| c.get(block, "block")?.declare_unread())
}

/// What the block is. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_info_get(
    block: *const gpubuf_block,
    inout_info: *mut gpubuf_block_info,
) -> gpubuf_status {
    call(Entry::gpubuf_block_info_get, (block, inout_info), |c| {
        let block = c.get(block, "block")?;
        let out = c.figures(inout_info, "inout_info")?;
        out.set(gpubuf_block_info {
            struct_size: 0,
            index: block.number() as u32,
            bytes: block.bytes(),
            placement: block.placement() as u32,
            device_side: block.has_device_side()? as u32,
            promoted: block.is_promoted_now()? as u32,
            stands_in: block.is_standing_in() as u32,
        });
        Ok(())
    })
}

/// The block's host address, the same for the pool's life. It gives no access: read and write between begin and end only.
///
/// Errors: GPUBUF_NOT_HELD, GPUBUF_BUSY (another thread is inside), GPUBUF_QUARANTINED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_host_ptr(
    block: *const gpubuf_block,
    out_pointer: *mut *const c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_block_host_ptr, (block, out_pointer), |c| {
        let block = c.get(block, "block")?;
        let out = c.out(out_pointer, "out_pointer")?;
        out.set(block.host_ptr()?.cast());
        Ok(())
    })
}

/// The address for kernels: the twin's, or that of a uva block itself. It stays the same for as long as the pool has the block, but
/// for a promotion: that, and its end (gpubuf_block_demote, or any release), change it. Seals the block.
///
/// Until a fence is declared (gpubuf_block_release_after, gpubuf_block_fence) or gpubuf_block_declare_unread vouches for it, a
/// sealed block is not released plainly, promoted or demoted; its device side is neither copied to nor from; and where kernels use
/// it in place, the CPU neither reads nor writes it. The host side of a block with a twin stays the CPU's: gpubuf_block_copy_in,
/// gpubuf_block_copy_out and guards go on.
/// Errors: GPUBUF_UNSUPPORTED (a pinned block without a twin), GPUBUF_BUSY (a write guard is open), GPUBUF_NOT_HELD;
/// GPUBUF_OUT_OF_DEVICE_MEMORY (a twin on first need); GPUBUF_CONFLICT (a block that stands in, whose twin lacks something:
/// gpubuf_block_publish).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_device_address(block: *mut gpubuf_block, out_address: *mut u64) -> gpubuf_status {
    call(Entry::gpubuf_block_device_address, (block, out_address), |c| {
        let block = c.get(block, "block")?;
        let out = c.out(out_address, "out_address")?;
        out.set(block.device_address()?);
        Ok(())
    })
}

/// Opens bytes of the block for the CPU to write; `bytes` may be GPUBUF_ALL. Otherwise as gpubuf_buffer_begin_write.
///
/// Errors: also GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_begin_write(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    timeout_ns: u64,
    out_data: *mut *mut c_void,
    out_token: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_begin_write, (block, offset, bytes, timeout_ns, out_data, out_token), |c| {
        let block = c.get(block, "block")?;
        let (data, token) = (c.out(out_data, "out_data")?, c.out(out_token, "out_token")?);
        let got = block.begin(Access::Write, offset, bytes, block.home().device().timeout(timeout_ns))?;
        data.set(got.0.cast());
        token.set(got.1);
        Ok(())
    })
}

/// Ends a write access.
///
/// Errors: GPUBUF_NOT_BEGUN (not the token of an open write access).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_end_write(block: *mut gpubuf_block, token: u64) -> gpubuf_status {
    call(Entry::gpubuf_block_end_write, (block, token), |c| c.get(block, "block")?.end(Access::Write, token))
}

/// Opens bytes of the block for the CPU to read; `bytes` may be GPUBUF_ALL. Otherwise as gpubuf_buffer_begin_read.
///
/// Errors: also GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_begin_read(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    timeout_ns: u64,
    out_data: *mut *const c_void,
    out_token: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_begin_read, (block, offset, bytes, timeout_ns, out_data, out_token), |c| {
        let block = c.get(block, "block")?;
        let (data, token) = (c.out(out_data, "out_data")?, c.out(out_token, "out_token")?);
        let got = block.begin(Access::Read, offset, bytes, block.home().device().timeout(timeout_ns))?;
        data.set(got.0.cast_const().cast());
        token.set(got.1);
        Ok(())
    })
}

/// Ends a read access.
///
/// Errors: GPUBUF_NOT_BEGUN (not the token of an open read access).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_end_read(block: *mut gpubuf_block, token: u64) -> gpubuf_status {
    call(Entry::gpubuf_block_end_read, (block, token), |c| c.get(block, "block")?.end(Access::Read, token))
}

/// Copies bytes from `source` to the block, as one write access.
///
/// Errors: as gpubuf_block_begin_write; GPUBUF_INVALID_ARGUMENT also where `source` overlaps those bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_copy_in(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    source: *const c_void,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_copy_in, (block, offset, bytes, source, timeout_ns), |c| {
        let block = c.get(block, "block")?;
        let source = memory(source, bytes == 0, "source")?;
        // SAFETY: the caller's promise: `bytes` bytes can be read.
        unsafe { block.copy_in(offset, bytes, source, block.home().device().timeout(timeout_ns)) }
    })
}

/// Copies bytes of the block to `destination`, as one read access.
///
/// Errors: as gpubuf_block_begin_read; GPUBUF_INVALID_ARGUMENT also where `destination` overlaps those bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_copy_out(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    destination: *mut c_void,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_copy_out, (block, offset, bytes, destination, timeout_ns), |c| {
        let block = c.get(block, "block")?;
        let destination = memory(destination.cast_const(), bytes == 0, "destination")?;
        c.fault_point();
        // SAFETY: the caller's promise: `bytes` bytes can be written.
        unsafe { block.copy_out(offset, bytes, destination, block.home().device().timeout(timeout_ns)) }
    })
}

/// Queues a copy of bytes to the block's twin. Otherwise as gpubuf_buffer_to_device.
///
/// Errors: also GPUBUF_NOT_HELD, GPUBUF_UNSUPPORTED (no twin).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_to_device(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_block_to_device, (block, offset, bytes, stream), |c| {
        let block = c.get(block, "block")?;
        block.copy(true, offset, bytes, c.get(stream, "stream")?, None)
    })
}

/// Queues a copy of bytes from the block's twin. Otherwise as gpubuf_buffer_to_host.
///
/// Errors: also GPUBUF_NOT_HELD, GPUBUF_UNSUPPORTED (no twin, or one on first need that is not there yet: nothing is to be brought
/// back).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_to_host(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_block_to_host, (block, offset, bytes, stream), |c| {
        let block = c.get(block, "block")?;
        block.copy(false, offset, bytes, c.get(stream, "stream")?, None)
    })
}

/// As gpubuf_block_to_device, and returns when the bytes have landed.
///
/// Errors: as gpubuf_buffer_to_device_blocking; also GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_to_device_blocking(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_to_device_blocking, (block, offset, bytes, stream, timeout_ns), |c| {
        let block = c.get(block, "block")?;
        let timeout = block.home().device().timeout(timeout_ns);
        block.copy(true, offset, bytes, c.get(stream, "stream")?, Some(timeout))
    })
}

/// As gpubuf_block_to_host, and returns when the bytes have landed.
///
/// Errors: as gpubuf_buffer_to_host_blocking; also GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_to_host_blocking(
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_to_host_blocking, (block, offset, bytes, stream, timeout_ns), |c| {
        let block = c.get(block, "block")?;
        let timeout = block.home().device().timeout(timeout_ns);
        block.copy(false, offset, bytes, c.get(stream, "stream")?, Some(timeout))
    })
}

/// Makes both sides the same: as gpubuf_buffer_sync, of the whole block, whose own policy is GPUBUF_SYNC_REFUSE. Nothing is done
/// where there is one side only.
///
/// Errors: also GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_sync(
    block: *mut gpubuf_block,
    policy: u32,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_block_sync, (block, policy, stream), |c| {
        let block = c.get(block, "block")?;
        block.sync(policy_or(self::policy(policy, "policy")?), c.get(stream, "stream")?, None)
    })
}

/// As gpubuf_block_sync, and returns when the bytes have landed.
///
/// Errors: as gpubuf_buffer_sync_blocking; also GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_sync_blocking(
    block: *mut gpubuf_block,
    policy: u32,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_sync_blocking, (block, policy, stream, timeout_ns), |c| {
        let block = c.get(block, "block")?;
        let timeout = block.home().device().timeout(timeout_ns);
        block.sync(policy_or(self::policy(policy, "policy")?), c.get(stream, "stream")?, Some(timeout))
    })
}

/// Has work that is queued on the stream from now on see what the host wrote, and gives the address for it. Seals the block, as
/// gpubuf_block_device_address does.
///
/// Where kernels use the block in place, nothing is copied; where it has a twin, what is newer on the host side is. So the same
/// program is right in both cases, also on a device that does not see later host writes to uva memory (gpubuf_block_info,
/// stands_in): there gpubuf_block_device_address is refused while the twin lacks something, and reading until
/// gpubuf_block_sync has brought back what kernels wrote.
/// Stream order: as gpubuf_block_to_device; and the stream waits, on the device, for writes of the block that are in flight.
/// Errors: as gpubuf_block_to_device and gpubuf_block_device_address; GPUBUF_CONFLICT (bytes that are newer on both sides, and the
/// device's are not known to be the older ones: nothing is copied).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_publish(
    block: *mut gpubuf_block,
    stream: *mut gpubuf_stream,
    out_address: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_publish, (block, stream, out_address), |c| {
        let block = c.get(block, "block")?;
        let stream = c.get(stream, "stream")?;
        let out = c.out(out_address, "out_address")?;
        out.set(block.publish(stream)?);
        Ok(())
    })
}

/// Zeroes both sides, has nothing newer on either, and begins the figures anew: the host side as a write access, the device side in
/// the stream's order. `stream` may be NULL where there is no twin.
///
/// Errors: as gpubuf_buffer_fill; also GPUBUF_NOT_HELD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_reset(
    block: *mut gpubuf_block,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_block_reset, (block, stream, timeout_ns), |c| {
        let block = c.get(block, "block")?;
        let stream = c.get_if_any(stream, "stream")?;
        block.reset(stream, block.home().device().timeout(timeout_ns))
    })
}

/// What moved between the block's sides. Set struct_size first; no more than that is written, and struct_size then says how much.
///
/// Means: to_device_ns / to_device_timed is the time of a copy. Asks for the times of copies that have ended; waits for none.
/// Errors: GPUBUF_NOT_HELD, GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_stats_get(
    block: *const gpubuf_block,
    inout_stats: *mut gpubuf_block_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_block_stats_get, (block, inout_stats), |c| {
        let block = c.get(block, "block")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let (flows, newer) = block.flows()?;
        let timed = |flow: Flow| flow.ns.map_or(GPUBUF_ABSENT, |_| flow.timed);
        out.set(gpubuf_block_stats {
            struct_size: 0,
            reserved: 0,
            to_device_copies: flows.up.copies,
            to_device_bytes: flows.up.bytes,
            to_device_timed: timed(flows.up),
            to_device_ns: flows.up.ns.unwrap_or(GPUBUF_ABSENT),
            to_host_copies: flows.down.copies,
            to_host_bytes: flows.down.bytes,
            to_host_timed: timed(flows.down),
            to_host_ns: flows.down.ns.unwrap_or(GPUBUF_ABSENT),
            syncs: flows.syncs,
            conflicts: flows.conflicts,
            failures: flows.failures,
            host_dirty_bytes: newer[0],
            device_dirty_bytes: newer[1],
        });
        Ok(())
    })
}

/// Moves a block that kernels use in place to device memory, for this lease: a copy of its bytes is queued on the stream, and its
/// device address is another one from now on, until it is demoted or released. Allocates.
///
/// Stream order: as gpubuf_block_to_device. The CPU goes on using the block's host memory, which copies and
/// gpubuf_block_demote bring in step with the device's.
/// Errors: GPUBUF_UNSUPPORTED (it has device memory already, or is not used in place), GPUBUF_UNFENCED (its address is with work
/// that was not declared), GPUBUF_GRAPH_HELD, GPUBUF_BUSY (a guard is open), GPUBUF_NOT_HELD, GPUBUF_OUT_OF_DEVICE_MEMORY: the
/// block is as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_promote(block: *mut gpubuf_block, stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_block_promote, (block, stream), |c| c.get(block, "block")?.promote(c.get(stream, "stream")?))
}

/// Takes a promotion back: a copy of the device's bytes to the block is queued on the stream, kernels use it in place again, and
/// the device memory is freed when its last use is over.
///
/// Errors: GPUBUF_UNSUPPORTED (it is not promoted); otherwise as gpubuf_block_promote.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_demote(block: *mut gpubuf_block, stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_block_demote, (block, stream), |c| c.get(block, "block")?.demote(c.get(stream, "stream")?))
}

/// Gives a block back with the uses that the library knows of: its own copies, and what was declared.
///
/// The block's handle ends with it. Never waits: the next holder does.
/// Errors: GPUBUF_UNFENCED (its device address was given out and no fence declared since: gpubuf_block_release_after, or gpubuf_block_abandon where nobody will),
/// GPUBUF_GRAPH_HELD (a graph hold has it: destroy that first), GPUBUF_BUSY (a guard is open); the block stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_release(block: *mut gpubuf_block) -> gpubuf_status {
    call(Entry::gpubuf_block_release, (block,), |c| {
        let lease = c.get(block, "block")?;
        let released = lease.release();
        c.forget(block, !lease.is_held());
        released
    })
}

/// Gives up a block whose users nobody will declare, where gpubuf_block_release is refused with GPUBUF_UNFENCED: its handle ends.
///
/// Its memory is kept until a gpubuf_device_drain that begins later has ended, and counts as deferred until then (a manager's
/// budget has it back then), and in sealed_at_destroy. A pool makes another block for the acquire that wants one. A block without
/// such users is released, as gpubuf_block_release does.
/// Errors: GPUBUF_GRAPH_HELD, GPUBUF_BUSY (a guard is open), GPUBUF_NOT_HELD; the block stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_abandon(block: *mut gpubuf_block) -> gpubuf_status {
    call(Entry::gpubuf_block_abandon, (block,), |c| {
        let lease = c.get(block, "block")?;
        let abandoned = lease.abandon();
        c.forget(block, !lease.is_held());
        abandoned
    })
}

/// Gives a block back; work queued so far on these streams, 1 to 8, used it.
///
/// Stream order: one fence is recorded on each. The next holder waits for them. The block's handle ends with it.
/// Errors: GPUBUF_INVALID_ARGUMENT (no stream), GPUBUF_BUSY (a guard is open), GPUBUF_GRAPH_HELD, GPUBUF_WRONG_DEVICE,
/// GPUBUF_CAPTURING: the block stays the caller's. If a fence cannot be recorded, the block is quarantined and its handle ends all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_release_after(
    block: *mut gpubuf_block,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_block_release_after, (block, List(streams, stream_count)), |c| {
        let lease = c.get(block, "block")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let released = lease.release_after(&streams);
        c.forget(block, !lease.is_held());
        released
    })
}

/// As gpubuf_block_release_after for up to 64 blocks of one device, with one fence per stream for all of them.
///
/// Refusals release none. No block is a valid list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_block_release_after_many(
    blocks: *const *mut gpubuf_block,
    block_count: usize,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_block_release_after_many, (List(blocks, block_count), List(streams, stream_count)), |c| {
        let blocks = c.blocks(blocks, block_count, ["blocks", "block_count"])?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let released = Lease::release_after_many(&blocks.leases, &streams);
        c.forget_released(&blocks);
        released
    })
}
