//! Managers of page-locked memory.

use super::arguments::{flag, growing, init, label, options};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::pool::twin;
use super::recorded::Memory;
use super::types::*;
use crate::config::{Placement, Timeout};
use crate::dtype::MAX_RANK;
use crate::error::Result;
use crate::fail;
use crate::fence::Device;
use crate::pinned::{self, Hook, Notify, Over, Owner, Pinned, PinnedOptions, RETRIES, Request};
use std::ffi::{CString, c_char, c_void};

/// What a manager is to be. Set up by gpubuf_pinned_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pinned_options {
    /// sizeof(gpubuf_pinned_options)
    pub struct_size: u32,
    /// Where the blocks live: pinned (the default) or uva.
    pub placement: u32,
    /// Requested bytes that blocks, caches and reservations may have together; 0 is none. The default, GPUBUF_BUDGET_AUTO: half of
    /// the smaller of the host's memory and the control group's limit.
    pub budget_bytes: u64,
    /// What is page-locked at once for small blocks, rounded up to pages; less where the budget leaves less. 0: 4 MiB.
    pub slab_bytes: u64,
    /// A block of so many bytes or more gets a slab for itself. 0: a quarter of slab_bytes.
    pub large_bytes: u64,
    /// What gpubuf_device_maintain, or the device's upkeep thread, leaves of idle slabs, page-locked bytes. The default,
    /// GPUBUF_ALL: all.
    pub keep_bytes: u64,
    /// 1: slabs are mapped and advised to be on huge pages before they are registered, on devices that can register;
    /// huge_bytes of the figures says how far the system followed.
    pub huge_pages: u32,
    /// How often out_of_memory may have one request tried again. Default: 4.
    pub retries: u32,
    /// Told of requests that found no memory. NULL: nobody is told.
    pub notify: gpubuf_pinned_notify_fn,
    /// Handed to notify.
    pub notify_user_data: *mut c_void,
    /// Asked for a cure before the policy of the request is followed; not for requests that it makes itself of this manager, on
    /// the thread that it is called on. NULL: nobody is asked.
    pub out_of_memory: gpubuf_out_of_memory_fn,
    /// Handed to out_of_memory.
    pub out_of_memory_user_data: *mut c_void,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// One request. Set up by gpubuf_pinned_request_init; bytes, or rank, shape and dtype, have no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pinned_request {
    /// sizeof(gpubuf_pinned_request)
    pub struct_size: u32,
    /// GPUBUF_OVER_BUDGET_: what if there is no memory. Default: fail.
    pub over_budget: u32,
    /// How many bytes; 0 where a shape says it.
    pub bytes: u64,
    /// The host address is a multiple of this: a power of two up to 2 MiB. 0, the default: 256.
    pub alignment: u64,
    /// The dimensions, of which rank count.
    pub shape: [u64; 8],
    /// 0 where bytes says how much.
    pub rank: u32,
    /// GPUBUF_DTYPE_; 0 where bytes says how much.
    pub dtype: u32,
    /// Whose block it is, up to 31 bytes; NULL: nobody's. Copied.
    pub owner: *const c_char,
    /// GPUBUF_OVER_BUDGET_WAIT: for how long. Default: the device's.
    pub timeout_ns: u64,
    /// GPUBUF_OVER_BUDGET_WAIT: the higher goes first.
    pub priority: i32,
    /// GPUBUF_TWIN_: whether the block has a twin in device memory.
    pub device_side: u32,
}

/// A manager's figures: bytes and counts at this moment, then what only grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pinned_stats {
    /// sizeof(gpubuf_pinned_stats), set by the caller.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// The budget: always the sum of the next five.
    pub budget_bytes: u64,
    /// Requested bytes of blocks that are held, or wait for their last use.
    pub requested_bytes: u64,
    /// Requested bytes of blocks that were given back, which slabs keep to be given out again.
    pub cached_bytes: u64,
    /// Requested bytes of blocks whose completion could not be proven.
    pub quarantined_bytes: u64,
    /// Bytes of reservations, and of requests under way.
    pub reserved_bytes: u64,
    /// What is left.
    pub available_bytes: u64,
    /// Of requested_bytes: given back, and waiting for the last use.
    pub pending_bytes: u64,
    /// What the blocks take up, padding included, pageable ones too.
    pub actual_bytes: u64,
    /// Page-locked: whole slabs.
    pub locked_bytes: u64,
    /// Of these: slabs in which nothing lives.
    pub idle_bytes: u64,
    /// Of these: on huge pages, where that was asked for.
    pub huge_bytes: u64,
    /// The largest block that the slabs have room for.
    pub largest_free_bytes: u64,
    /// Requested bytes of pageable blocks, outside the budget.
    pub pageable_bytes: u64,
    /// The most requested_bytes there were.
    pub peak_requested_bytes: u64,
    /// The most locked_bytes there were.
    pub peak_locked_bytes: u64,
    /// Blocks that are held, or wait for their last use.
    pub blocks: u64,
    /// Of these: waiting for their last use.
    pub pending_blocks: u64,
    /// Of these: pageable.
    pub pageable_blocks: u64,
    /// Slabs there are.
    pub slabs: u64,
    /// Threads that wait for memory.
    pub waiters: u64,
    /// Blocks given out.
    pub allocations: u64,
    /// Blocks given back.
    pub frees: u64,
    /// Requests that got pageable memory instead.
    pub fallbacks: u64,
    /// Requests refused for want of memory.
    pub refusals: u64,
    /// Times that out_of_memory had something tried again.
    pub retries: u64,
    /// Requests that waited for memory.
    pub waits: u64,
    /// Time spent in that.
    pub wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
    /// Slabs made.
    pub slabs_made: u64,
    /// Slabs given back.
    pub slabs_freed: u64,
}

/// What an owner has. An entry of lists: it never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pinned_share {
    /// Who, ended by a 0; empty: blocks without an owner.
    pub owner: [c_char; 32],
    /// Requested bytes of the owner's blocks, those included that wait for their last use, and pageable ones.
    pub bytes: u64,
    /// How many there are.
    pub blocks: u64,
}

growing!(
    gpubuf_pinned_options {
        notify: pointer,
        notify_user_data: pointer,
        out_of_memory: pointer,
        out_of_memory_user_data: pointer,
        label: text
    },
    gpubuf_pinned_request { owner: text },
    gpubuf_pinned_stats
);

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_options_init(options: *mut gpubuf_pinned_options, struct_size: u32) {
    plain(Entry::gpubuf_pinned_options_init, (), || {
        init(options, struct_size, |options| {
            options.placement = GPUBUF_PLACEMENT_PINNED;
            options.budget_bytes = GPUBUF_BUDGET_AUTO;
            options.keep_bytes = GPUBUF_ALL;
            options.retries = RETRIES;
        });
    });
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_request_init(request: *mut gpubuf_pinned_request, struct_size: u32) {
    plain(Entry::gpubuf_pinned_request_init, (), || {
        init(request, struct_size, |request| request.timeout_ns = GPUBUF_TIMEOUT_DEFAULT);
    });
}

fn notify(options: &gpubuf_pinned_options) -> Option<Notify> {
    let tell = options.notify?;
    let user_data = options.notify_user_data as usize;
    Some(Box::new(move |what, bytes, owner: Owner| {
        // An owner came in as a C string: no 0 is inside.
        let name = CString::new(owner.name()).unwrap_or_default();
        // SAFETY: the caller's promise for the callback of a manager; the name is there during the call.
        unsafe { tell(what as u32, bytes, name.as_ptr(), user_data as *mut c_void) }
    }))
}

fn hook(options: &gpubuf_pinned_options) -> Option<Hook> {
    let ask = options.out_of_memory?;
    let user_data = options.out_of_memory_user_data as usize;
    Some(Box::new(move |shortage, bytes, attempt| {
        // SAFETY: the caller's promise for the callback of a manager.
        unsafe { ask(shortage as u32, bytes, attempt, user_data as *mut c_void) != 0 }
    }))
}

/// A request of this or another version of the header.
pub(super) fn request(request: *const gpubuf_pinned_request, device: &Device) -> Result<Request> {
    let request = options(request, "request")?;
    let rank = request.rank as usize;
    if rank > MAX_RANK {
        return fail!(InvalidArgument, "request.rank is {rank}: at most {MAX_RANK}");
    }
    let timeout: Timeout = device.timeout(request.timeout_ns);
    Ok(Request {
        bytes: pinned::size(request.bytes, &request.shape[..rank], request.dtype)?,
        alignment: request.alignment,
        owner: Owner::new(label(request.owner, "request.owner")?)?,
        over: Over::from_code(request.over_budget)?,
        priority: request.priority,
        timeout,
        twin: twin(request.device_side, "request.device_side")?,
    })
}

/// A manager of page-locked memory: it gives out blocks of any size under one budget, and locks nothing before the first.
///
/// Ownership: the caller's, until gpubuf_pinned_destroy. The callbacks and their user data stay valid until the last block and
/// reservation of the manager are gone, too.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_pinned_options,
    out_pinned: *mut *mut gpubuf_pinned,
) -> gpubuf_status {
    call(Entry::gpubuf_pinned_create, (device, options, out_pinned), |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_pinned, "out_pinned")?;
        let pinned = PinnedOptions {
            placement: Placement::from_code(options.placement, "placement")?,
            budget: options.budget_bytes,
            slab_bytes: options.slab_bytes,
            large_bytes: options.large_bytes,
            keep_bytes: options.keep_bytes,
            huge_pages: flag(options.huge_pages, "options.huge_pages")?,
            retries: options.retries,
            notify: notify(&options),
            hook: hook(&options),
            label: label(options.label, "options.label")?.to_owned(),
        };
        c.give(out, Pinned::create(device, pinned)?)
    })
}

/// Ends the handle. Idle slabs are freed, the others with their last block; blocks are used and given back as before. Threads
/// that wait for memory get GPUBUF_SHUT_DOWN.
///
/// NULL is GPUBUF_OK. Never waits. Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_destroy(pinned: *mut gpubuf_pinned) -> gpubuf_status {
    call(Entry::gpubuf_pinned_destroy, (pinned,), |c| {
        if let Some(pinned) = c.end(pinned, "pinned")? {
            pinned.destroy();
        }
        Ok(())
    })
}

/// A block of this size, used like any other. Its bytes are those of its last use, or zeroes.
///
/// Whether the budget has room is a matter of requested bytes alone: what is cached makes way. A request that comes while others
/// of its priority or a higher one wait does not overtake them. Small blocks come from slabs without a call of the driver, as
/// long as these have room; page-locking a new slab takes milliseconds, and nobody else waits for it.
/// Ownership: the block is the caller's until gpubuf_pinned_free or a gpubuf_block_release succeeds.
/// Threads: any; GPUBUF_OVER_BUDGET_WAIT not in a function that runs on a stream.
/// Errors: GPUBUF_BUDGET (the message says who has it), GPUBUF_OUT_OF_HOST_MEMORY or GPUBUF_DRIVER_ERROR (the driver locks no
/// more), GPUBUF_TIMEOUT, GPUBUF_BUSY (a wait with GPUBUF_TIMEOUT_TRY), GPUBUF_WOULD_DEADLOCK, GPUBUF_SHUT_DOWN (the manager was
/// destroyed meanwhile), GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_OUT_OF_DEVICE_MEMORY (the twin), GPUBUF_UNSUPPORTED (uva
/// memory, and a probe has seen that the device does not see later host writes), GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_allocate(
    pinned: *mut gpubuf_pinned,
    request: *const gpubuf_pinned_request,
    out_block: *mut *mut gpubuf_block,
) -> gpubuf_status {
    call(Entry::gpubuf_pinned_allocate, (pinned, request, out_block), |c| {
        let pinned = c.get(pinned, "pinned")?;
        let out = c.out(out_block, "out_block")?;
        let block = pinned.allocate(&self::request(request, pinned.device())?)?;
        c.give(out, block.clone()).inspect_err(|_| drop(block.release()))
    })
}

/// Gives a block of this manager back with the uses that the library knows of; it is given out again when they are over.
///
/// As gpubuf_block_release, for callers that want to be sure where a block goes; work that the library does not see is declared
/// with gpubuf_block_release_after instead. The block's handle ends with it. Never waits.
/// Errors: GPUBUF_INVALID_ARGUMENT (another manager's block, or a pool's), GPUBUF_UNFENCED, GPUBUF_GRAPH_HELD, GPUBUF_BUSY (a guard
/// is open): nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_free(pinned: *mut gpubuf_pinned, block: *mut gpubuf_block) -> gpubuf_status {
    call(Entry::gpubuf_pinned_free, (pinned, block), |c| {
        let pinned = c.get(pinned, "pinned")?;
        let lease = c.get(block, "block")?;
        let freed = pinned.free(lease);
        c.forget(block, !lease.is_held());
        freed
    })
}

/// Holds bytes of the budget for blocks to come, by gpubuf_reservation_commit. Nothing is page-locked for it.
///
/// As gpubuf_pinned_allocate otherwise; the owner is that of blocks that name none.
/// Ownership: the caller's, until gpubuf_reservation_destroy gives back what is left.
/// Errors: GPUBUF_BUDGET, GPUBUF_TIMEOUT, GPUBUF_BUSY, GPUBUF_WOULD_DEADLOCK, GPUBUF_SHUT_DOWN, GPUBUF_INVALID_ARGUMENT
/// (GPUBUF_OVER_BUDGET_PAGEABLE, too: such memory is outside the budget; and device_side, which is for the commit),
/// GPUBUF_UNSUPPORTED (as gpubuf_pinned_allocate), GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_reserve(
    pinned: *mut gpubuf_pinned,
    request: *const gpubuf_pinned_request,
    out_reservation: *mut *mut gpubuf_reservation,
) -> gpubuf_status {
    call(Entry::gpubuf_pinned_reserve, (pinned, request, out_reservation), |c| {
        let pinned = c.get(pinned, "pinned")?;
        let out = c.out(out_reservation, "out_reservation")?;
        c.give(out, pinned.reserve(&self::request(request, pinned.device())?)?)
    })
}

/// Gives idle slabs back to the driver until at most `keep_bytes` page-locked bytes of them are left. `out_freed_bytes` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_trim(
    pinned: *mut gpubuf_pinned,
    keep_bytes: u64,
    out_freed_bytes: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_pinned_trim, (pinned, keep_bytes, out_freed_bytes), |c| {
        let freed = c.get(pinned, "pinned")?.trim(keep_bytes);
        c.set_if_any(out_freed_bytes, freed);
        Ok(())
    })
}

/// Gives all memory back to the driver. Refused while there are blocks or reservations: the message says how many.
///
/// Errors: GPUBUF_BUSY, GPUBUF_SHUT_DOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_clear(pinned: *mut gpubuf_pinned) -> gpubuf_status {
    call(Entry::gpubuf_pinned_clear, (pinned,), |c| c.get(pinned, "pinned")?.clear().map(drop))
}

/// Changes the budget, or has it chosen anew (GPUBUF_BUDGET_AUTO). Those who wait are served from what is added; what is cached
/// makes way for a smaller one.
///
/// Errors: GPUBUF_BUDGET (more is live, quarantined and reserved), GPUBUF_INVALID_ARGUMENT, GPUBUF_SHUT_DOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_set_budget(pinned: *mut gpubuf_pinned, budget_bytes: u64) -> gpubuf_status {
    call(Entry::gpubuf_pinned_set_budget, (pinned, budget_bytes), |c| c.get(pinned, "pinned")?.set_budget(budget_bytes))
}

/// The manager's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_stats_get(
    pinned: *const gpubuf_pinned,
    inout_stats: *mut gpubuf_pinned_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_pinned_stats_get, (pinned, inout_stats), |c| {
        let pinned = c.get(pinned, "pinned")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let f = pinned.figures();
        out.set(gpubuf_pinned_stats {
            struct_size: 0,
            reserved: 0,
            budget_bytes: f.budget_bytes,
            requested_bytes: f.requested_bytes,
            cached_bytes: f.cached_bytes,
            quarantined_bytes: f.quarantined_bytes,
            reserved_bytes: f.reserved_bytes,
            available_bytes: f.available_bytes,
            pending_bytes: f.pending_bytes,
            actual_bytes: f.actual_bytes,
            locked_bytes: f.locked_bytes,
            idle_bytes: f.idle_bytes,
            huge_bytes: f.huge_bytes,
            largest_free_bytes: f.largest_free_bytes,
            pageable_bytes: f.pageable_bytes,
            peak_requested_bytes: f.peak_requested_bytes,
            peak_locked_bytes: f.peak_locked_bytes,
            blocks: f.blocks,
            pending_blocks: f.pending_blocks,
            pageable_blocks: f.pageable_blocks,
            slabs: f.slabs,
            waiters: f.waiters,
            allocations: f.allocations,
            frees: f.frees,
            fallbacks: f.fallbacks,
            refusals: f.refusals,
            retries: f.retries,
            waits: f.waits,
            wait_ns: f.wait_ns,
            timeouts: f.timeouts,
            slabs_made: f.slabs_made,
            slabs_freed: f.slabs_freed,
        });
        Ok(())
    })
}

/// Who has how much, by name: as many as fit into `capacity` entries, and how many there are. `shares` may be NULL where
/// capacity is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pinned_shares_get(
    pinned: *const gpubuf_pinned,
    shares: *mut gpubuf_pinned_share,
    capacity: usize,
    out_count: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_pinned_shares_get, (pinned, Memory(shares), capacity, out_count), |c| {
        let pinned = c.get(pinned, "pinned")?;
        let out = c.out(out_count, "out_count")?;
        if shares.is_null() && capacity > 0 {
            return fail!(InvalidArgument, "shares is NULL and capacity is {capacity}");
        }
        let known = pinned.shares();
        c.fault_point();
        for (place, share) in known.iter().enumerate().take(capacity) {
            let mut entry = gpubuf_pinned_share { owner: [0; 32], bytes: share.bytes, blocks: share.blocks };
            let name = share.owner.name().bytes();
            entry.owner.iter_mut().zip(name).for_each(|(to, from)| *to = from as c_char);
            // SAFETY: the caller's promise: `capacity` entries.
            unsafe { shares.add(place).write_unaligned(entry) };
        }
        out.set(known.len());
        Ok(())
    })
}
