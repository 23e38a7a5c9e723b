//! Pools of blocks.

use super::arguments::{figures, flag, growing, init, label, options};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::types::*;
use crate::config::Placement;
use crate::pool::{Lease, Pool, PoolOptions};
use std::ffi::c_char;

/// What a pool is to be. Set up by gpubuf_pool_options_init; block_bytes and block_count have no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pool_options {
    /// sizeof(gpubuf_pool_options)
    pub struct_size: u32,
    /// Where the blocks live: pinned (the default) or uva.
    pub placement: u32,
    /// Size of each block.
    pub block_bytes: u64,
    /// How many.
    pub block_count: u32,
    /// 1: each block has a twin of the same size in device memory.
    pub device_side: u32,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// A pool's figures: what is the case at this moment, then what only grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pool_stats {
    /// sizeof(gpubuf_pool_stats), set by the caller.
    pub struct_size: u32,
    /// Blocks in all.
    pub block_count: u32,
    /// Blocks to be had; their last uses may not be over.
    pub free_blocks: u32,
    /// Blocks acquired and not released.
    pub held_blocks: u32,
    /// Blocks out of use for good.
    pub quarantined_blocks: u32,
    /// Threads that wait for a block.
    pub waiters: u32,
    /// Size of each block.
    pub block_bytes: u64,
    /// Blocks acquired.
    pub acquires: u64,
    /// Blocks released.
    pub releases: u64,
    /// Acquires that waited for a release.
    pub waits: u64,
    /// Time spent in that.
    pub wait_ns: u64,
    /// Acquires that got no block in time, and tries that found none.
    pub timeouts: u64,
    /// Releases that went straight to a waiter.
    pub hand_overs: u64,
    /// Waits for a block's last use.
    pub fence_waits: u64,
    /// Time spent in that.
    pub fence_wait_ns: u64,
}

growing!(gpubuf_pool_options, gpubuf_pool_stats);

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_options_init(options: *mut gpubuf_pool_options, struct_size: u32) {
    plain(Entry::gpubuf_pool_options_init, (), || {
        init(options, struct_size, |options| options.placement = GPUBUF_PLACEMENT_PINNED);
    });
}

/// A new pool, with all its blocks allocated.
///
/// Ownership: the caller's, until gpubuf_pool_destroy.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
/// GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_pool_options,
    out_pool: *mut *mut gpubuf_pool,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_create, |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_pool, "out_pool")?;
        let pool = PoolOptions {
            placement: Placement::from_code(options.placement)?,
            block_bytes: options.block_bytes,
            block_count: options.block_count,
            device_side: flag(options.device_side, "options.device_side")?,
            label: label(options.label, "options.label")?.to_owned(),
        };
        c.give(out, Pool::create(device, pool)?)
    })
}

/// Ends the handle. Threads that wait for a block get GPUBUF_SHUT_DOWN. Blocks still held are used and released as before.
///
/// Each block's memory is freed when it is released and its last use is proven. NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_destroy(pool: *mut gpubuf_pool) -> gpubuf_status {
    call(Entry::gpubuf_pool_destroy, |c| {
        if let Some(pool) = c.end(pool, "pool")? {
            pool.destroy();
        }
        Ok(())
    })
}

/// Takes a block whose every earlier use is over; waits for a release, or for a use, up to the deadline.
///
/// Waiters are served by `priority`, the higher first, then by arrival; a released block goes straight to the first of them.
/// Ownership: the block is the caller's until a release succeeds. Its bytes are those of its last use.
/// Threads: any; not in a function that runs on a stream. Allocates nothing once the pool is in use.
/// Errors: GPUBUF_BUSY (try form), GPUBUF_TIMEOUT, GPUBUF_EXHAUSTED (every block is quarantined), GPUBUF_SHUT_DOWN (the pool
/// was destroyed meanwhile), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_acquire(
    pool: *mut gpubuf_pool,
    priority: i32,
    timeout_ns: u64,
    out_block: *mut *mut gpubuf_block,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_acquire, |c| {
        let pool = c.get(pool, "pool")?;
        let out = c.out(out_block, "out_block")?;
        let lease = pool.acquire(priority, pool.device().timeout(timeout_ns))?;
        c.give(out, lease.clone()).inspect_err(|_| drop(lease.release()))
    })
}

/// The pool's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_stats_get(
    pool: *const gpubuf_pool,
    inout_stats: *mut gpubuf_pool_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_stats_get, |c| {
        let pool = c.get(pool, "pool")?;
        let out = figures(inout_stats, "inout_stats")?;
        let (levels, counters) = (pool.levels(), pool.counters());
        out.set(gpubuf_pool_stats {
            struct_size: 0,
            block_count: pool.block_count(),
            free_blocks: levels.free,
            held_blocks: levels.held,
            quarantined_blocks: levels.quarantined,
            waiters: levels.waiters,
            block_bytes: pool.block_bytes(),
            acquires: counters.acquires.get(),
            releases: counters.releases.get(),
            waits: counters.waits.waits.get(),
            wait_ns: counters.waits.wait_ns.get(),
            timeouts: counters.waits.timeouts.get(),
            hand_overs: counters.hand_overs.get(),
            fence_waits: counters.fence_waits.waits.get(),
            fence_wait_ns: counters.fence_waits.wait_ns.get(),
        });
        Ok(())
    })
}

/// Gives a block back with the uses that the library knows of: its own copies, and what was declared.
///
/// The block's handle ends with it. Never waits: the next holder does.
/// Errors: GPUBUF_UNFENCED (its device address was given out and no fence declared since: gpubuf_pool_release_after),
/// GPUBUF_GRAPH_HELD (a graph hold has it: destroy that first), GPUBUF_BUSY (a guard is open); the block stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_release(block: *mut gpubuf_block) -> gpubuf_status {
    call(Entry::gpubuf_pool_release, |c| {
        let lease = c.get(block, "block")?;
        let released = lease.release();
        c.forget(block, !lease.is_held());
        released
    })
}

/// Gives a block back; work queued so far on these streams, 1 to 8, used it.
///
/// Stream order: one fence is recorded on each. The next holder waits for them. The block's handle ends with it.
/// Errors: GPUBUF_INVALID_ARGUMENT (no stream), GPUBUF_BUSY (a guard is open), GPUBUF_GRAPH_HELD, GPUBUF_WRONG_DEVICE,
/// GPUBUF_CAPTURING: the block stays the caller's. If a fence cannot be recorded, the block is quarantined and its handle ends all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_release_after(
    block: *mut gpubuf_block,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_release_after, |c| {
        let lease = c.get(block, "block")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let released = lease.release_after(&streams);
        c.forget(block, !lease.is_held());
        released
    })
}

/// As gpubuf_pool_release_after for up to 64 blocks of one device, with one fence per stream for all of them.
///
/// Refusals release none. No block is a valid list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_release_after_many(
    blocks: *const *mut gpubuf_block,
    block_count: usize,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_release_after_many, |c| {
        let blocks = c.blocks(blocks, block_count, ["blocks", "block_count"])?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let released = Lease::release_after_many(&blocks.leases, &streams);
        c.forget_released(&blocks);
        released
    })
}
