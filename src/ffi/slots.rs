//! Input slots.

use super::arguments::{flag, growing, init, label, list, options, options_or, text};
use super::boundary::{Call, Out, call, plain};
use super::buffer::shape;
use super::entries::Entry;
use super::recorded::List;
use super::types::*;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::slots::{MOST_SIZES, SlotKind, SlotOptions, Slots, SlotsOptions, Step};
use std::ffi::{c_char, c_void};

/// Written in each step, from row 0 without holes.
pub const GPUBUF_SLOT_REQUIRED: u32 = 0;
/// Rows that a step does not write keep their last committed content.
pub const GPUBUF_SLOT_KEPT: u32 = 1;
/// Bound in each step to memory that is on the device already: nothing is staged, and its address is the step's own. At most 16.
pub const GPUBUF_SLOT_DYNAMIC: u32 = 2;

/// How a set of slots is made. Set up by gpubuf_slots_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_slots_options {
    /// sizeof(gpubuf_slots_options)
    pub struct_size: u32,
    /// Staging entries, 1 to 16. Default: 2, so that one is filled while the other is copied.
    pub depth: u32,
    /// Read-back entries, 0 to 64. Default: 2.
    pub read_back_depth: u32,
    /// Copies of the device memory, 1 to 4, taken in turn by the committed steps. Default: 1.
    pub device_depth: u32,
    /// Bytes of each read-back entry. Default: 64 KiB.
    pub read_back_bytes: u64,
    /// Written rows at most this many bytes apart are brought over in one copy. Default: 64 KiB.
    pub gap_bytes: u64,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
    /// Sizes that steps are padded to, rising; NULL: 1, 2, 4, multiples of 8 below 256 and of 16 up to 512. Copied.
    pub padded_sizes: *const u64,
    /// How many, at most 4096.
    pub padded_size_count: u64,
}

/// A slot to add. Set up by gpubuf_slot_options_init; dtype, rank, shape and name have no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_slot_options {
    /// sizeof(gpubuf_slot_options)
    pub struct_size: u32,
    /// GPUBUF_DTYPE_
    pub dtype: u32,
    /// Dimensions: 1 to GPUBUF_MAX_RANK.
    pub rank: u32,
    /// GPUBUF_SLOT_REQUIRED (the default), GPUBUF_SLOT_KEPT or GPUBUF_SLOT_DYNAMIC.
    pub kind: u32,
    /// 1: a table so large, or changed so seldom, that it is copied on its own.
    pub own_copy: u32,
    /// 1: it has a row for each token of a step, see gpubuf_step_write_many and gpubuf_step_pad_tokens.
    pub follows_tokens: u32,
    /// The most elements per dimension, outermost first; the first dimension counts the rows.
    pub shape: [u64; 8],
    /// One element that gpubuf_step_pad repeats, and that kept rows hold until they are written; NULL: zero. Copied.
    pub pad_value: *const c_void,
    /// Unique in its set. Copied.
    pub name: *const c_char,
}

/// What a slot is, and where it lies.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_slot_info {
    /// sizeof(gpubuf_slot_info), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_DTYPE_
    pub dtype: u32,
    /// GPUBUF_SLOT_REQUIRED, GPUBUF_SLOT_KEPT or GPUBUF_SLOT_DYNAMIC.
    pub kind: u32,
    /// 1 if it is copied on its own.
    pub own_copy: u32,
    /// The most rows.
    pub rows: u64,
    /// Bytes of one.
    pub row_bytes: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// From the start of the device memory.
    pub offset: u64,
    /// The address for kernels in copy 0 of the device memory: the same for the life of the set; 0 for a dynamic slot.
    pub device_address: u64,
    /// 1 if it has a row for each token of a step.
    pub follows_tokens: u32,
    /// Dimensions.
    pub rank: u32,
    /// The most elements per dimension; 1 past the rank.
    pub shape: [u64; 8],
}

/// The figures of a set of slots. Bytes of copies and steps are sums over all commits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_slots_stats {
    /// sizeof(gpubuf_slots_stats), set by the caller.
    pub struct_size: u32,
    /// Staging entries.
    pub depth: u32,
    /// Bytes of one of them; 0 before freeze.
    pub arena_bytes: u64,
    /// Bytes on the device, of all copies; 0 before freeze.
    pub device_bytes: u64,
    /// Steps begun.
    pub steps_begun: u64,
    /// Steps committed.
    pub steps_committed: u64,
    /// Steps given up.
    pub steps_aborted: u64,
    /// Steps retired.
    pub steps_retired: u64,
    /// Copies of commits.
    pub copies: u64,
    /// Bytes of the rows that steps wrote or padded.
    pub used_bytes: u64,
    /// Bytes of those copies.
    pub copied_bytes: u64,
    /// Copies made because the changed rows of a table lay too far apart for one.
    pub island_copies: u64,
    /// Fences recorded.
    pub fences_recorded: u64,
    /// Waits queued on streams.
    pub device_waits: u64,
    /// Waits of host threads.
    pub host_waits: u64,
    /// Time spent in them.
    pub host_wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
    /// Calls refused.
    pub refusals: u64,
    /// Commits that failed after work was queued, or whose copy failed when it ran.
    pub torn_commits: u64,
    /// Read-backs queued.
    pub read_backs: u64,
    /// Entries that a step can begin in at once.
    pub free_entries: u32,
    /// Entries lost for good.
    pub quarantined_entries: u32,
    /// Copies of the device memory.
    pub device_depth: u32,
    /// Steps committed and not retired.
    pub unretired_steps: u32,
    /// Bytes of kept rows sent to a copy of the device memory because they had been committed to others.
    pub caught_up_bytes: u64,
    /// Rows that padding added, of all slots.
    pub padded_rows: u64,
    /// Dynamic slots bound.
    pub bindings: u64,
}

growing!(gpubuf_slots_options { label: text, padded_sizes: words padded_size_count }, gpubuf_slot_options { pad_value: pointer, name: text }, gpubuf_slot_info, gpubuf_slots_stats);

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_options_init(options: *mut gpubuf_slots_options, struct_size: u32) {
    plain(Entry::gpubuf_slots_options_init, (), || {
        init(options, struct_size, defaults);
    });
}

fn defaults(options: &mut gpubuf_slots_options) {
    let defaults = SlotsOptions::default();
    options.depth = defaults.depth;
    options.read_back_depth = defaults.read_back_depth;
    options.read_back_bytes = defaults.read_back_bytes;
    options.gap_bytes = defaults.gap_bytes;
    options.device_depth = defaults.device_depth;
}

/// The sizes of a table.
pub(super) fn sizes<'c>(sizes: *const u64, count: u64) -> Result<&'c [u64]> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    list(sizes, count, MOST_SIZES, ["options.padded_sizes", "options.padded_size_count"])
}

/// A new set without slots: add them, then freeze it. NULL options are the defaults.
///
/// Ownership: the caller's, until gpubuf_slots_destroy.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_slots_options,
    out_slots: *mut *mut gpubuf_slots,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_create, (device, options, out_slots), |c| {
        let device = c.get(device, "device")?;
        let options = options_or(options, "options", defaults)?;
        let out = c.out(out_slots, "out_slots")?;
        let ring = SlotsOptions {
            depth: options.depth,
            read_back_depth: options.read_back_depth,
            read_back_bytes: options.read_back_bytes,
            gap_bytes: options.gap_bytes,
            device_depth: options.device_depth,
            padded_sizes: sizes(options.padded_sizes, options.padded_size_count)?,
        };
        c.give(out, Slots::create(device, ring, label(options.label, "options.label")?)?)
    })
}

/// Ends the handle, and with it the set's steps, tickets and read-backs, which answer GPUBUF_SHUT_DOWN from then on.
///
/// The consumers declared with a step that was not retired are fenced. The memory is freed when its last use is proven; by
/// gpubuf_device_drain only where a span or a read-back was open or a step not retired. Device memory in a graph hold stays until that
/// ends. NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_destroy(slots: *mut gpubuf_slots) -> gpubuf_status {
    call(Entry::gpubuf_slots_destroy, (slots,), |c| {
        if let Some(slots) = c.end(slots, "slots")? {
            slots.destroy();
        }
        Ok(())
    })
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slot_options_init(options: *mut gpubuf_slot_options, struct_size: u32) {
    plain(Entry::gpubuf_slot_options_init, (), || init(options, struct_size, |_| ()));
}

/// Adds a slot; `out_slot` gets its number, from 0 in the order of adding.
///
/// Errors: GPUBUF_FROZEN (after freeze), GPUBUF_EXISTS (the name), GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW,
/// GPUBUF_VERSION_MISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_add(
    slots: *mut gpubuf_slots,
    options: *const gpubuf_slot_options,
    out_slot: *mut u32,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_add, (slots, options, out_slot), |c| {
        let slots = c.get(slots, "slots")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_slot, "out_slot")?;
        let dtype = Dtype::from_code(options.dtype)?;
        let pad = options.pad_value.cast::<u8>();
        // SAFETY: the caller's promise: one element.
        let pad = (!pad.is_null()).then(|| unsafe { std::slice::from_raw_parts(pad, dtype.size()) });
        out.set(slots.add(&SlotOptions {
            name: text(options.name, "options.name")?,
            dtype,
            shape: shape(options.rank, &options.shape)?,
            kind: SlotKind::from_code(options.kind)?,
            own_copy: flag(options.own_copy, "options.own_copy")?,
            follows_tokens: flag(options.follows_tokens, "options.follows_tokens")?,
            pad,
        })?);
        Ok(())
    })
}

/// Fixes the layout and allocates everything: addresses never change from here on, and steps allocate nothing.
///
/// Where it fails nothing is frozen, and it may be called again.
/// Errors: GPUBUF_FROZEN (frozen already), GPUBUF_INVALID_ARGUMENT (no slots), GPUBUF_OVERFLOW, GPUBUF_OUT_OF_HOST_MEMORY,
/// GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_BUDGET (of tiers that count the slots), GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_freeze(slots: *mut gpubuf_slots) -> gpubuf_status {
    call(Entry::gpubuf_slots_freeze, (slots,), |c| c.get(slots, "slots")?.freeze())
}

/// The number of the slot of that name.
///
/// Errors: GPUBUF_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_find(
    slots: *const gpubuf_slots,
    name: *const c_char,
    out_slot: *mut u32,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_find, (slots, name, out_slot), |c| {
        let slots = c.get(slots, "slots")?;
        let name = text(name, "name")?;
        let out = c.out(out_slot, "out_slot")?;
        out.set(slots.find(name)?);
        Ok(())
    })
}

/// What a slot is, and where it lies. Set struct_size first; no more than that is written, and struct_size then says how much.
///
/// Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_slot_info(
    slots: *const gpubuf_slots,
    slot: u32,
    inout_info: *mut gpubuf_slot_info,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_slot_info, (slots, slot, inout_info), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.figures(inout_info, "inout_info")?;
        let info = slots.slot_info(slot)?;
        out.set(gpubuf_slot_info {
            struct_size: 0,
            dtype: info.dtype as u32,
            kind: info.kind as u32,
            own_copy: info.own_copy as u32,
            rows: info.rows,
            row_bytes: info.row_bytes,
            bytes: info.bytes,
            offset: info.offset,
            device_address: info.device_address,
            follows_tokens: info.follows_tokens as u32,
            rank: info.shape.dims().len() as u32,
            shape: std::array::from_fn(|place| info.shape.dims().get(place).copied().unwrap_or(1)),
        });
        Ok(())
    })
}

/// How many slots there are: their numbers are those below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_slot_count(slots: *const gpubuf_slots, out_count: *mut u32) -> gpubuf_status {
    call(Entry::gpubuf_slots_slot_count, (slots, out_count), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.out(out_count, "out_count")?;
        out.set(slots.slot_count()?);
        Ok(())
    })
}

/// Writes a slot's name to `buffer`, cut to `capacity` and always ended; `out_length`, which may be NULL, gets its full
/// length.
///
/// Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_slot_name(
    slots: *const gpubuf_slots,
    slot: u32,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_slot_name, (slots, slot, buffer, capacity, out_length), |c| {
        c.text(c.get(slots, "slots")?.slot_name(slot)?, buffer, capacity, out_length)
    })
}

/// A slot's address for kernels in one copy of the device memory, 0 to device_depth - 1: the same for the life of the set, so
/// that a graph may bake it in. A step has copy (ticket - 1) modulo device_depth.
///
/// Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_NOT_FOUND (no such slot, or copy), GPUBUF_UNSUPPORTED (a dynamic slot:
/// gpubuf_step_address).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_device_address(
    slots: *const gpubuf_slots,
    slot: u32,
    copy: u32,
    out_address: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_device_address, (slots, slot, copy, out_address), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.out(out_address, "out_address")?;
        out.set(slots.device_address(slot, copy)?);
        Ok(())
    })
}

/// The number of tokens that a step of `token_count` is padded to: the next size of the set's table, or `token_count` itself
/// above the largest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_padded_size(
    slots: *const gpubuf_slots,
    token_count: u64,
    out_padded: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_padded_size, (slots, token_count, out_padded), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.out(out_padded, "out_padded")?;
        out.set(slots.padded_size(token_count));
        Ok(())
    })
}

/// Gives up every step that is being filled, as gpubuf_step_abort does: their handles end. What is committed stays to be
/// retired. `out_aborted`, which may be NULL, gets their number.
///
/// Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_BUSY (another thread is inside a step: none was given up).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_abort_all(slots: *mut gpubuf_slots, out_aborted: *mut u32) -> gpubuf_status {
    call(Entry::gpubuf_slots_abort_all, (slots, out_aborted), |c| {
        let aborted = c.get(slots, "slots")?.abort_all(|step| c.forget_bits(step))?;
        c.set_if_any(out_aborted, aborted);
        Ok(())
    })
}

/// Begins a step in an entry that no copy reads any more; waits for the oldest copy up to the deadline.
///
/// Ownership: the step's handle is the caller's until the step is aborted, retired or destroyed.
/// Threads: any; one at a time uses a step. Allocates nothing.
/// Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_BUSY (every entry is being filled, or the try form would have to wait),
/// GPUBUF_TIMEOUT, GPUBUF_EXHAUSTED, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST, GPUBUF_NOT_BEGUN (another thread gave up every step
/// at this moment: gpubuf_slots_abort_all).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_begin(
    slots: *mut gpubuf_slots,
    timeout_ns: u64,
    out_step: *mut *mut gpubuf_step,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_begin, (slots, timeout_ns, out_step), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.out(out_step, "out_step")?;
        give_step(c, out, slots.begin(slots.device().timeout(timeout_ns))?)
    })
}

/// As gpubuf_slots_begin, for a step that a graph reads: a graph has its addresses baked in, so that no dynamic slot can be
/// bound in the step, and none needs to be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_begin_replay(
    slots: *mut gpubuf_slots,
    timeout_ns: u64,
    out_step: *mut *mut gpubuf_step,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_begin_replay, (slots, timeout_ns, out_step), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.out(out_step, "out_step")?;
        give_step(c, out, slots.begin_replay(slots.device().timeout(timeout_ns))?)
    })
}

fn give_step(c: &Call, out: Out<'_, *mut gpubuf_step>, step: Step) -> Result<()> {
    let handle = c.insert::<gpubuf_step>(step.clone()).inspect_err(|_| drop(step.abort()))?;
    // What the retire gives back, so that the handle ends with the step. It has ended already where another thread gave it up.
    let bits = handle.addr() as u64;
    step.set_attachment(bits).inspect_err(|_| c.forget_bits(bits))?;
    out.set(handle);
    Ok(())
}

/// Ends a committed step: all work that reads it is queued. Only then may a step be committed to its copy of the device
/// memory. Steps may be retired in any order.
///
/// Stream order: the streams named (up to 8, the declared consumers and the commit stream included) are those that read it.
/// One fence is recorded on each but the commit stream; the next commit to the copy is ordered behind them on the device. The
/// step's handle ends with it.
/// Errors: GPUBUF_NOT_BEGUN (another ticket, or twice), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_BUSY,
/// GPUBUF_INVALID_ARGUMENT (too many streams), GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_retire(
    slots: *mut gpubuf_slots,
    ticket: u64,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_retire, (slots, ticket, List(streams, stream_count)), |c| {
        let slots = c.get(slots, "slots")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let step = slots.retire(ticket, &streams)?;
        c.forget_bits(step);
        Ok(())
    })
}

/// The set's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_stats_get(
    slots: *const gpubuf_slots,
    inout_stats: *mut gpubuf_slots_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_stats_get, (slots, inout_stats), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let stats = slots.stats();
        out.set(gpubuf_slots_stats {
            struct_size: 0,
            depth: stats.depth,
            arena_bytes: stats.arena_bytes,
            device_bytes: stats.device_bytes,
            steps_begun: stats.steps_begun,
            steps_committed: stats.steps_committed,
            steps_aborted: stats.steps_aborted,
            steps_retired: stats.steps_retired,
            copies: stats.copies,
            used_bytes: stats.used_bytes,
            copied_bytes: stats.copied_bytes,
            island_copies: stats.island_copies,
            fences_recorded: stats.fences_recorded,
            device_waits: stats.device_waits,
            host_waits: stats.host_waits,
            host_wait_ns: stats.host_wait_ns,
            timeouts: stats.timeouts,
            refusals: stats.refusals,
            torn_commits: stats.torn_commits,
            read_backs: stats.read_backs,
            free_entries: stats.free_entries,
            quarantined_entries: stats.quarantined_entries,
            device_depth: stats.device_depth,
            unretired_steps: stats.unretired_steps,
            caught_up_bytes: stats.caught_up_bytes,
            padded_rows: stats.padded_rows,
            bindings: stats.bindings,
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::objects;
    use super::*;
    use crate::backend::{BackendKind, DeviceOptions};
    use crate::config::Timeout;
    use crate::dtype::{Dtype, Shape};
    use crate::fence::Device;
    use crate::slots::{SlotKind, SlotOptions, Slots, SlotsOptions};

    #[test]
    fn a_step_that_is_given_up_before_its_begin_returns_leaves_no_handle() {
        let options = DeviceOptions { kind: Some(BackendKind::Host), ..DeviceOptions::default() };
        let device = Device::open(&options, 0, "").expect("a device");
        let slots = Slots::create(&device, SlotsOptions::default(), "given up").expect("slots");
        let shape = Shape::new(&[1]).expect("a shape");
        let (dtype, kind) = (Dtype::U8, SlotKind::Kept);
        slots
            .add(&SlotOptions { name: "x", dtype, shape, kind, own_copy: false, follows_tokens: false, pad: None })
            .expect("a slot");
        slots.freeze().expect("frozen");
        let mut step = std::ptr::null_mut();
        let status = call(Entry::gpubuf_slots_begin, (), |c| {
            let out = c.out(&raw mut step, "out_step")?;
            let begun = slots.begin(Timeout::Try)?;
            // As another thread might, at this moment.
            slots.abort_all(|_| ())?;
            give_step(c, out, begun)
        });
        assert_eq!((status, step.is_null()), (GPUBUF_NOT_BEGUN, true));
        assert!(!objects::live().iter().any(|left| left.name.contains("given up")));
    }
}
