//! Blocks that move between tiers of memory.

use super::arguments::{growing, init, label, options};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::recorded::List;
use super::spec::{gpubuf_spec, spec};
use super::types::*;
use crate::config::Placement;
use crate::error::Result;
use crate::fail;
use crate::fence::Access;
use crate::tiers::{MOVES_PER_STEP, Tier, Tiers, TiersOptions};
use crate::workspace::Source;
use std::ffi::{c_char, c_void};

/// What tiers are to be. Set up by gpubuf_tiers_options_init; at least one budget has to be set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_tiers_options {
    /// sizeof(gpubuf_tiers_options)
    pub struct_size: u32,
    /// Blocks that one step moves up, at most. Default: 16.
    pub moves_per_step: u32,
    /// Bytes of device memory; 0: there is no such tier.
    pub device_bytes: u64,
    /// Bytes of managed memory; 0: there is no such tier.
    pub managed_bytes: u64,
    /// Bytes of page-locked memory, which kernels use in place where the device sees it; 0: there is no such tier.
    pub pinned_bytes: u64,
    /// Bytes of ordinary host memory; 0: there is no such tier.
    pub pageable_bytes: u64,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// The figures of tiers: what is the case at this moment, then what only grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_tiers_stats {
    /// sizeof(gpubuf_tiers_stats), set by the caller.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// Blocks whose last move is not proven yet.
    pub moving_blocks: u64,
    /// Accesses of blocks.
    pub accesses: u64,
    /// Those of them that found the block in the tier.
    pub hits: u64,
    /// Moves to a higher tier.
    pub promotions: u64,
    /// Moves to a lower tier.
    pub demotions: u64,
    /// Bytes of all moves.
    pub moved_bytes: u64,
    /// Moves whose copy failed when it ran.
    pub failed_moves: u64,
    /// Moves whose copy could not be queued.
    pub refused_moves: u64,
    /// Waits for moves, and for work that used a block.
    pub waits: u64,
    /// Time spent in that.
    pub wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
}

/// One tier at this moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_tier_stats {
    /// sizeof(gpubuf_tier_stats), set by the caller.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// Bytes at most; 0: there is no such tier.
    pub budget_bytes: u64,
    /// Bytes that are used: by blocks, by moves that are not proven, and by work on blocks that have left or ended.
    pub used_bytes: u64,
    /// Bytes that nobody uses, kept for the next block.
    pub kept_bytes: u64,
    /// Blocks that live there.
    pub blocks: u64,
}

/// Where a tiered block is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_tiered_block_info {
    /// sizeof(gpubuf_tiered_block_info), set by the caller.
    pub struct_size: u32,
    /// Its tier, as GPUBUF_PLACEMENT_.
    pub tier: u32,
    /// 1: its last move is not proven yet.
    pub moving: u32,
    /// Accesses that are open.
    pub holds: u32,
    /// Its size.
    pub bytes: u64,
}

growing!(gpubuf_tiers_options { label: text }, gpubuf_tiers_stats, gpubuf_tier_stats, gpubuf_tiered_block_info);

/// A tier by its memory; GPUBUF_PLACEMENT_NONE: any.
fn any_tier(code: u32) -> Result<Option<Tier>> {
    Placement::from_code(code, "tier").map(Tier::of)
}

fn tier(code: u32) -> Result<Tier> {
    match any_tier(code)? {
        Some(tier) => Ok(tier),
        None => fail!(InvalidArgument, "tier is GPUBUF_PLACEMENT_NONE: name the memory of a tier"),
    }
}

fn access(code: u32) -> Result<Access> {
    match code {
        GPUBUF_ACCESS_READ => Ok(Access::Read),
        GPUBUF_ACCESS_WRITE => Ok(Access::Write),
        _ => fail!(InvalidArgument, "access is {code}: GPUBUF_ACCESS_READ or GPUBUF_ACCESS_WRITE"),
    }
}

/// Options of tiers, as the layers below take them.
pub(super) fn tiers_options(options: &gpubuf_tiers_options, name: &str) -> Result<TiersOptions> {
    Ok(TiersOptions {
        budgets: [options.device_bytes, options.managed_bytes, options.pinned_bytes, options.pageable_bytes],
        moves_per_step: options.moves_per_step,
        label: label(options.label, name)?.to_owned(),
    })
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_options_init(options: *mut gpubuf_tiers_options, struct_size: u32) {
    plain(Entry::gpubuf_tiers_options_init, (), || {
        init(options, struct_size, |options| options.moves_per_step = MOVES_PER_STEP);
    });
}

/// Tiers without blocks or memory yet. A tier is named by its memory: GPUBUF_PLACEMENT_DEVICE, _MANAGED, _PINNED or _PAGEABLE, the
/// highest first.
///
/// Ownership: the caller's, until gpubuf_tiers_destroy.
/// Errors: GPUBUF_INVALID_ARGUMENT (no budget), GPUBUF_UNSUPPORTED (managed memory that the device does not have),
/// GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_tiers_options,
    out_tiers: *mut *mut gpubuf_tiers,
) -> gpubuf_status {
    call(Entry::gpubuf_tiers_create, (device, options, out_tiers), |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_tiers, "out_tiers")?;
        c.give(out, Tiers::create(device, tiers_options(&options, "options.label")?)?)
    })
}

/// Ends the handle. Blocks go on working, and the tiers end with the last of them. NULL is GPUBUF_OK. Never waits.
///
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_destroy(tiers: *mut gpubuf_tiers) -> gpubuf_status {
    call(Entry::gpubuf_tiers_destroy, (tiers,), |c| c.end(tiers, "tiers").map(drop))
}

/// Decides by the accesses so far which blocks move, and queues the copies: what is worth a higher tier goes up, what is not makes
/// room for it, and what is over a budget goes down. gpubuf_device_maintain and the upkeep thread do the same.
///
/// The same accesses and steps, each with the copies of the last one done, move the same blocks: no clock is asked. Both outputs,
/// how many blocks went up and down, may be NULL. Waits for nobody. Threads: any; while one steps a second one does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_step(
    tiers: *mut gpubuf_tiers,
    out_promoted: *mut u64,
    out_demoted: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_tiers_step, (tiers, out_promoted, out_demoted), |c| {
        let (up, down) = c.get(tiers, "tiers")?.step();
        c.set_if_any(out_promoted, up);
        c.set_if_any(out_demoted, down);
        Ok(())
    })
}

/// Sends blocks of a tier down, those that are worth it least first, until `bytes` go, and gives its idle memory back to the driver.
/// Blocks that an access holds stay. `out_bytes`, how many go, may be NULL. Waits for nobody: the bytes are free when the copies
/// are done.
///
/// Errors: GPUBUF_INVALID_ARGUMENT (no tier).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_demote(
    tiers: *mut gpubuf_tiers,
    tier: u32,
    bytes: u64,
    out_bytes: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_tiers_demote, (tiers, tier, bytes, out_bytes), |c| {
        let tiers = c.get(tiers, "tiers")?;
        let going = tiers.demote(self::tier(tier)?, bytes);
        c.set_if_any(out_bytes, going);
        Ok(())
    })
}

/// Changes the budget of a tier that there is. What is over it goes down in the next steps.
///
/// Errors: GPUBUF_INVALID_ARGUMENT (no such tier, or 0).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_set_budget(
    tiers: *mut gpubuf_tiers,
    tier: u32,
    budget_bytes: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_tiers_set_budget, (tiers, tier, budget_bytes), |c| {
        c.get(tiers, "tiers")?.set_budget(self::tier(tier)?, budget_bytes)
    })
}

/// The figures of tiers. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_stats_get(
    tiers: *const gpubuf_tiers,
    inout_stats: *mut gpubuf_tiers_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_tiers_stats_get, (tiers, inout_stats), |c| {
        let tiers = c.get(tiers, "tiers")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let stats = tiers.stats();
        out.set(gpubuf_tiers_stats {
            struct_size: 0,
            reserved: 0,
            moving_blocks: stats.moving_blocks,
            accesses: stats.accesses,
            hits: stats.hits,
            promotions: stats.promotions,
            demotions: stats.demotions,
            moved_bytes: stats.moved_bytes,
            failed_moves: stats.failed_moves,
            refused_moves: stats.refused_moves,
            waits: stats.waits,
            wait_ns: stats.wait_ns,
            timeouts: stats.timeouts,
        });
        Ok(())
    })
}

/// The figures of one tier. Set struct_size first; no more than that is written, and struct_size then says how much.
///
/// Errors: GPUBUF_INVALID_ARGUMENT (no tier).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_tier_get(
    tiers: *const gpubuf_tiers,
    tier: u32,
    inout_stats: *mut gpubuf_tier_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_tiers_tier_get, (tiers, tier, inout_stats), |c| {
        let tiers = c.get(tiers, "tiers")?;
        let tier = self::tier(tier)?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let stats = tiers.stats().tiers[tier as usize];
        out.set(gpubuf_tier_stats {
            struct_size: 0,
            reserved: 0,
            budget_bytes: stats.budget_bytes,
            used_bytes: stats.used_bytes,
            kept_bytes: stats.kept_bytes,
            blocks: stats.blocks,
        });
        Ok(())
    })
}

/// A buffer of this spec, for the caller alone, that stays where it is: its host side counts in the budget of the tier of its
/// placement, its device side in that of device memory, and blocks make room for them. Zeroed. Waits for room.
///
/// Ownership: a handle of the caller's own, to be ended by gpubuf_buffer_destroy; the budgets have its bytes back when its memory
/// goes, which is when the last handle or view of it has ended and its last use is over.
/// Errors: GPUBUF_BUDGET, GPUBUF_BUSY (try form), GPUBUF_TIMEOUT, GPUBUF_INVALID_ARGUMENT (no such tier), those of
/// gpubuf_spec_bytes and of gpubuf_buffer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiers_allocate(
    tiers: *mut gpubuf_tiers,
    spec: *const gpubuf_spec,
    timeout_ns: u64,
    out_buffer: *mut *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_tiers_allocate, (tiers, spec, timeout_ns, out_buffer), |c| {
        let tiers = c.get(tiers, "tiers")?;
        let spec = self::spec(spec, "spec")?;
        let out = c.out(out_buffer, "out_buffer")?;
        c.give(out, tiers.clone().take(&spec, tiers.device().timeout(timeout_ns))?)
    })
}

/// A new block in a tier; with GPUBUF_PLACEMENT_NONE, in the lowest that has room. Its bytes are those of a last use, or zeroes.
/// Never waits: nobody makes room for it.
///
/// Ownership: the caller's, until gpubuf_tiered_block_destroy. The tiers may be destroyed before.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_BUDGET (no room), GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
/// GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiered_block_create(
    tiers: *mut gpubuf_tiers,
    bytes: u64,
    tier: u32,
    out_block: *mut *mut gpubuf_tiered_block,
) -> gpubuf_status {
    call(Entry::gpubuf_tiered_block_create, (tiers, bytes, tier, out_block), |c| {
        let tiers = c.get(tiers, "tiers")?;
        let out = c.out(out_block, "out_block")?;
        c.give(out, tiers.create_block(bytes, any_tier(tier)?, "")?)
    })
}

/// Ends the handle and the block. Accesses of kernels end with a fence on their streams; memory goes when its last use is over. NULL
/// is GPUBUF_OK. Never waits.
///
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiered_block_destroy(block: *mut gpubuf_tiered_block) -> gpubuf_status {
    call(Entry::gpubuf_tiered_block_destroy, (block,), |c| c.end(block, "block").map(drop))
}

/// Gives the CPU the whole block, and holds it in the tier until gpubuf_tiered_block_release.
///
/// `tier` is any but GPUBUF_PLACEMENT_DEVICE; GPUBUF_PLACEMENT_NONE: where it is, if the CPU can use that, else the best that it
/// can. A block that is elsewhere is moved, and others make room. `access`: readers share, a writer is alone. Waits for work that
/// forbids the access, for the move, and for room.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_BUSY (another access, another thread; try form), GPUBUF_TIMEOUT, GPUBUF_BUDGET (who is
/// in the tier is held, or the block is larger than it), GPUBUF_COPY_FAILED (told once: the copy of a move failed, and the block is
/// where it was before that), GPUBUF_WOULD_DEADLOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiered_block_begin(
    block: *mut gpubuf_tiered_block,
    tier: u32,
    access: u32,
    timeout_ns: u64,
    out_data: *mut *mut c_void,
    out_token: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_tiered_block_begin, (block, tier, access, timeout_ns, out_data, out_token), |c| {
        let block = c.get(block, "block")?;
        let (data_out, token_out) = (c.out(out_data, "out_data")?, c.out(out_token, "out_token")?);
        let (tier, access) = (any_tier(tier)?, self::access(access)?);
        let (data, token) = block.begin(tier, access, block.device().timeout(timeout_ns))?;
        data_out.set(data.cast());
        token_out.set(token);
        Ok(())
    })
}

/// Gives the block's address to work that is queued on these streams, 1 to 8, until gpubuf_tiered_block_release, and holds it in the
/// tier for so long. The streams wait on the device for what used the block before, its move included; the host waits for room
/// alone.
///
/// `tier` is any but GPUBUF_PLACEMENT_PAGEABLE; GPUBUF_PLACEMENT_NONE: where it is, if kernels can use that, else the best that they
/// can. `access`: GPUBUF_ACCESS_READ, beside which others may read, or GPUBUF_ACCESS_WRITE, which is alone.
/// Errors: as gpubuf_tiered_block_begin, and GPUBUF_CAPTURING.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiered_block_acquire(
    block: *mut gpubuf_tiered_block,
    tier: u32,
    access: u32,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
    timeout_ns: u64,
    out_address: *mut u64,
    out_token: *mut u64,
) -> gpubuf_status {
    call(
        Entry::gpubuf_tiered_block_acquire,
        (block, tier, access, List(streams, stream_count), timeout_ns, out_address, out_token),
        |c| {
            let block = c.get(block, "block")?;
            let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
            let (address_out, token_out) = (c.out(out_address, "out_address")?, c.out(out_token, "out_token")?);
            let (tier, access) = (any_tier(tier)?, self::access(access)?);
            let (address, token) = block.acquire(tier, access, &streams, block.device().timeout(timeout_ns))?;
            address_out.set(address);
            token_out.set(token);
            Ok(())
        },
    )
}

/// Ends an access. That of kernels ends with a fence on each stream that was named: what is queued there up to now may use the
/// address.
///
/// Errors: GPUBUF_NOT_BEGUN (no such access), GPUBUF_CAPTURING (a stream captures: the access stays), GPUBUF_QUARANTINED (the fence
/// could not be recorded: the access is over, and so is the block), GPUBUF_BUSY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiered_block_release(block: *mut gpubuf_tiered_block, token: u64) -> gpubuf_status {
    call(Entry::gpubuf_tiered_block_release, (block, token), |c| c.get(block, "block")?.release(token))
}

/// Moves the block to a tier: the copy is queued behind what used the block. Waits for room there, and for a move of before.
///
/// A copy that fails leaves the block where it was.
/// Errors: as gpubuf_tiered_block_begin; GPUBUF_BUSY also where an access holds the block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiered_block_move(
    block: *mut gpubuf_tiered_block,
    tier: u32,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_tiered_block_move, (block, tier, timeout_ns), |c| {
        let block = c.get(block, "block")?;
        block.move_to(self::tier(tier)?, block.device().timeout(timeout_ns))
    })
}

/// Where the block is. Set struct_size first; no more than that is written, and struct_size then says how much.
///
/// Errors: GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tiered_block_info_get(
    block: *const gpubuf_tiered_block,
    inout_info: *mut gpubuf_tiered_block_info,
) -> gpubuf_status {
    call(Entry::gpubuf_tiered_block_info_get, (block, inout_info), |c| {
        let block = c.get(block, "block")?;
        let out = c.figures(inout_info, "inout_info")?;
        let info = block.info()?;
        out.set(gpubuf_tiered_block_info {
            struct_size: 0,
            tier: info.tier.placement() as u32,
            moving: info.is_moving as u32,
            holds: info.holds,
            bytes: info.bytes,
        });
        Ok(())
    })
}
