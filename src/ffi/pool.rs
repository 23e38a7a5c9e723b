//! Pools of blocks.

use super::arguments::{flag, growing, init, label, options, reserved};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::types::*;
use crate::config::Placement;
use crate::error::Result;
use crate::fail;
use crate::lease::Twin;
use crate::pool::{GiveBack, GiveBackRequest, Growth, PATIENCE, Pool, PoolOptions, Strategy};
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// What a pool is to be. Set up by gpubuf_pool_options_init; block_bytes and block_count have no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pool_options {
    /// sizeof(gpubuf_pool_options)
    pub struct_size: u32,
    /// Where the blocks live: pinned (the default), uva or managed.
    pub placement: u32,
    /// Size of each block.
    pub block_bytes: u64,
    /// How many there are at first, and at least.
    pub block_count: u32,
    /// GPUBUF_TWIN_: whether each block has a twin of the same size in device memory.
    pub device_side: u32,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
    /// GPUBUF_STRATEGY_: which of the free blocks is taken, among those whose last use is over.
    pub strategy: u32,
    /// GPUBUF_STRATEGY_PRIORITY: free blocks that only an acquire with a priority above 0 takes; less than block_count.
    pub reserved_blocks: u32,
    /// A waiter that was passed over by so many who came later, with a higher priority, comes first. Default: 64; 0: never.
    pub patience: u32,
    /// The most blocks that gpubuf_pool_maintain grows the pool to. 0, the default: it stays as it is.
    pub max_blocks: u32,
    /// To how many percent of its size the pool grows, where an acquire found no block since the last look, or none but those
    /// that queued work still used. Default: 150.
    pub growth_percent: u32,
    /// It shrinks, by the same factor, where at most so many percent of its blocks were held at a time since the last look, and
    /// no acquire found none. Default: 25; 0: only where none was held.
    pub shrink_below_percent: u32,
    /// For how long after a change it does not shrink. Default: 10 s.
    pub cool_down_ns: u64,
    /// Told where somebody with a higher priority than a block's holder has to wait for a block. NULL: nobody is asked.
    pub give_back: gpubuf_give_back_fn,
    /// Handed to give_back.
    pub give_back_user_data: *mut c_void,
    /// 1: copies between the sides of the blocks are timed. That takes events of the driver's, made with the blocks.
    pub timed: u32,
    /// 0
    pub reserved: u32,
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
    /// Acquires that found no block to be had: tries that were refused, and those that waited.
    pub contended_acquires: u64,
    /// Holders that were asked to give a block back.
    pub give_back_requests: u64,
    /// Times it grew.
    pub growths: u64,
    /// Times it shrank.
    pub shrinks: u64,
    /// Blocks that could not be made when it was to grow.
    pub growth_failures: u64,
    /// The most blocks there were.
    pub peak_blocks: u32,
    /// The most that were held at a time.
    pub peak_held: u32,
    /// The most threads that waited at a time.
    pub peak_waiters: u32,
    /// 0
    pub reserved: u32,
}

/// What a pool knows of one of its blocks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pool_block {
    /// sizeof(gpubuf_pool_block), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_BLOCK_
    pub state: u32,
    /// 1: somebody has it.
    pub held: u32,
    /// The priority that it was acquired with last.
    pub priority: i32,
    /// Times it was acquired.
    pub uses: u64,
    /// Nanoseconds since it was acquired last, to some milliseconds; GPUBUF_ABSENT if it never was.
    pub last_use_ns: u64,
}

growing!(
    gpubuf_pool_options { label: text, give_back: pointer, give_back_user_data: pointer },
    gpubuf_pool_stats,
    gpubuf_pool_block
);

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_options_init(options: *mut gpubuf_pool_options, struct_size: u32) {
    plain(Entry::gpubuf_pool_options_init, (), || {
        init(options, struct_size, |options| {
            let (growth, Growth { percent, shrink_below_percent, cool_down, .. }) = (options, Growth::default());
            growth.placement = GPUBUF_PLACEMENT_PINNED;
            growth.patience = PATIENCE;
            growth.growth_percent = percent;
            growth.shrink_below_percent = shrink_below_percent;
            growth.cool_down_ns = cool_down.as_nanos() as u64;
        });
    });
}

pub(super) fn twin(code: u32, name: &str) -> Result<Twin> {
    match code {
        GPUBUF_TWIN_NEVER => Ok(Twin::Never),
        GPUBUF_TWIN_AT_ONCE => Ok(Twin::Eager),
        GPUBUF_TWIN_ON_NEED => Ok(Twin::Lazy),
        _ => fail!(InvalidArgument, "{name} is {code}: use one of GPUBUF_TWIN_"),
    }
}

fn strategy(code: u32) -> Result<Strategy> {
    match code {
        GPUBUF_STRATEGY_LEAST_RECENT => Ok(Strategy::LeastRecent),
        GPUBUF_STRATEGY_ROUND_ROBIN => Ok(Strategy::RoundRobin),
        GPUBUF_STRATEGY_PRIORITY => Ok(Strategy::Priority),
        _ => fail!(InvalidArgument, "options.strategy is {code}: use one of GPUBUF_STRATEGY_"),
    }
}

fn growth(options: &gpubuf_pool_options) -> Growth {
    Growth {
        max_blocks: options.max_blocks,
        percent: options.growth_percent,
        shrink_below_percent: options.shrink_below_percent,
        cool_down: Duration::from_nanos(options.cool_down_ns),
    }
}

fn give_back(options: &gpubuf_pool_options) -> Option<GiveBack> {
    let ask = options.give_back?;
    let user_data = options.give_back_user_data as usize;
    Some(Box::new(move |request: GiveBackRequest| {
        let GiveBackRequest { block, holder_priority, waiter_priority } = request;
        // SAFETY: the caller's promise for the callback of a pool.
        unsafe { ask(block, holder_priority, waiter_priority, user_data as *mut c_void) }
    }))
}

/// A new pool, with its first blocks allocated.
///
/// It never grows or shrinks by itself: gpubuf_pool_maintain does, or gpubuf_device_maintain, or the device's upkeep thread.
/// Ownership: the caller's, until gpubuf_pool_destroy.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
/// GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_pool_options,
    out_pool: *mut *mut gpubuf_pool,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_create, (device, options, out_pool), |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_pool, "out_pool")?;
        reserved(options.reserved, "options.reserved")?;
        let pool = PoolOptions {
            placement: Placement::from_code(options.placement, "placement")?,
            block_bytes: options.block_bytes,
            block_count: options.block_count,
            twin: twin(options.device_side, "options.device_side")?,
            timed: flag(options.timed, "options.timed")?,
            strategy: strategy(options.strategy)?,
            reserved_blocks: options.reserved_blocks,
            patience: options.patience,
            growth: growth(&options),
            give_back: give_back(&options),
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
    call(Entry::gpubuf_pool_destroy, (pool,), |c| {
        if let Some(pool) = c.end(pool, "pool")? {
            pool.destroy();
        }
        Ok(())
    })
}

/// Takes a block whose every earlier use is over; waits for a release, or for a use, up to the deadline.
///
/// Waiters are served by `priority`, the higher first, then by arrival; a released block goes straight to the first of them.
/// Who was passed over too often comes before all others (`patience`).
/// Ownership: the block is the caller's until a release succeeds. Its bytes are those of its last use.
/// Threads: any; not in a function that runs on a stream. Allocates nothing once the pool is in use, but for a block that
/// gpubuf_pool_trim or gpubuf_pool_clear has let go.
/// Errors: GPUBUF_BUSY (try form), GPUBUF_TIMEOUT, GPUBUF_EXHAUSTED (every block is quarantined), GPUBUF_SHUT_DOWN (the pool
/// was destroyed meanwhile), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_acquire(
    pool: *mut gpubuf_pool,
    priority: i32,
    timeout_ns: u64,
    out_block: *mut *mut gpubuf_block,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_acquire, (pool, priority, timeout_ns, out_block), |c| {
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
    call(Entry::gpubuf_pool_stats_get, (pool, inout_stats), |c| {
        let pool = c.get(pool, "pool")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let (levels, counters) = (pool.levels(), pool.counters());
        out.set(gpubuf_pool_stats {
            struct_size: 0,
            block_count: levels.blocks + levels.quarantined,
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
            contended_acquires: counters.contended.get(),
            give_back_requests: counters.requests.get(),
            growths: counters.growths.get(),
            shrinks: counters.shrinks.get(),
            growth_failures: counters.growth_failures.get(),
            peak_blocks: levels.peak_blocks,
            peak_held: levels.peak_held,
            peak_waiters: levels.peak_waiters,
            reserved: 0,
        });
        Ok(())
    })
}

/// What the pool knows of its block `index` (gpubuf_block_info has the index), held or free. Set struct_size first; no more than
/// that is written, and struct_size then says how much.
///
/// Indices run from 0; those of blocks that are gone are used again.
/// Errors: GPUBUF_NOT_FOUND (no such block, or it is quarantined).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_block_get(
    pool: *const gpubuf_pool,
    index: u32,
    inout_block: *mut gpubuf_pool_block,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_block_get, (pool, index, inout_block), |c| {
        let pool = c.get(pool, "pool")?;
        let out = c.figures(inout_block, "inout_block")?;
        let Some(facts) = pool.block_facts(index) else {
            return fail!(NotFound, "{} has no block {index}, or it is quarantined", pool.name());
        };
        out.set(gpubuf_pool_block {
            struct_size: 0,
            state: facts.state as u32,
            held: facts.is_held as u32,
            priority: facts.priority,
            uses: facts.uses,
            last_use_ns: facts.last_use_ns.unwrap_or(GPUBUF_ABSENT),
        });
        Ok(())
    })
}

/// Looks at what happened since the last look, and grows or shrinks the pool as its options say: the way to change its size
/// that nobody waits for. Blocks that quarantine has taken are replaced up to the first size, too.
///
/// The pool grows where an acquire found no block that was free and done with, up to max_blocks; it shrinks where few blocks
/// were held, never below its first size. Both outputs may be NULL. Growing allocates and may call the driver; what cannot be
/// had is counted and logged. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_maintain(
    pool: *mut gpubuf_pool,
    out_made: *mut u32,
    out_gone: *mut u32,
) -> gpubuf_status {
    call(Entry::gpubuf_pool_maintain, (pool, out_made, out_gone), |c| {
        let adapted = c.get(pool, "pool")?.adapt();
        c.set_if_any(out_made, adapted.made);
        c.set_if_any(out_gone, adapted.gone);
        Ok(())
    })
}

/// Lets free blocks go, those that were free for longest first, until `keep` blocks are left in all, or none is free.
///
/// Their memory is freed when its last use is over. What goes below the pool's first size is made again by the acquires that
/// want it. `out_gone`, how many went, may be NULL. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_trim(pool: *mut gpubuf_pool, keep: u32, out_gone: *mut u32) -> gpubuf_status {
    call(Entry::gpubuf_pool_trim, (pool, keep, out_gone), |c| {
        let gone = c.get(pool, "pool")?.trim(keep);
        c.set_if_any(out_gone, gone);
        Ok(())
    })
}

/// Lets every block go, as gpubuf_pool_trim does; refused while one is held.
///
/// Errors: GPUBUF_BUSY (blocks are held: the message says how many; none has gone. Release them first, or trim the pool).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pool_clear(pool: *mut gpubuf_pool) -> gpubuf_status {
    call(Entry::gpubuf_pool_clear, (pool,), |c| c.get(pool, "pool")?.clear().map(drop))
}
