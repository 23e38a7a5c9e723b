//! Steps of a set of slots.

use super::arguments::{list, memory, reserved, text};
use super::boundary::call;
use super::entries::Entry;
use super::recorded::List;
use super::types::*;
use crate::config::ALL;
use crate::slots::{SLOTS_PER_CALL, SlotRows};
use arrayvec::ArrayVec;
use std::ffi::{c_char, c_void};

/// Rows of one slot, of many that are staged in one call. It never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_slot_rows {
    /// The slot's number.
    pub slot: u32,
    /// 0
    pub reserved: u32,
    /// The first row.
    pub first_row: u64,
    /// How many; GPUBUF_ALL: everything from `first_row` on.
    pub row_count: u64,
    /// Their bytes; NULL where there are none.
    pub rows: *const c_void,
}

/// Copies rows into a slot. `row_count` may be GPUBUF_ALL: everything from `first_row` on.
///
/// In a required slot `first_row` is at most the length written so far. Writing no rows counts as writing; `rows` may be NULL
/// then.
/// Threads: one at a time uses a step, here and below.
/// Errors: GPUBUF_NOT_BEGUN (committed), GPUBUF_BUSY (a span is open on the rows, or another thread is inside),
/// GPUBUF_INVALID_ARGUMENT (also where `rows` overlaps the rows that are written), GPUBUF_NOT_FOUND (no such slot).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_write(
    step: *mut gpubuf_step,
    slot: u32,
    first_row: u64,
    row_count: u64,
    rows: *const c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_step_write, (step, slot, first_row, row_count, rows), |c| {
        let step = c.get(step, "step")?;
        let rows = memory(rows, row_count == 0, "rows")?;
        // SAFETY: the caller's promise: so many rows can be read.
        unsafe { step.write(slot, first_row, row_count, rows) }
    })
}

/// As gpubuf_step_write, of the slot of that name.
///
/// Errors: also GPUBUF_NOT_FOUND (no slot of that name).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_write_named(
    step: *mut gpubuf_step,
    name: *const c_char,
    first_row: u64,
    row_count: u64,
    rows: *const c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_step_write_named, (step, name, first_row, row_count, rows), |c| {
        let step = c.get(step, "step")?;
        let name = text(name, "name")?;
        let rows = memory(rows, row_count == 0, "rows")?;
        // SAFETY: the caller's promise: so many rows can be read.
        unsafe { step.write_named(name, first_row, row_count, rows) }
    })
}

/// Copies rows into up to 64 slots, as gpubuf_step_write does one after the other. All is checked before anything is written.
///
/// With a `token_count` other than GPUBUF_ALL the slots that follow the tokens have so many rows in this step: a row_count of
/// GPUBUF_ALL means up to there, and the call is refused if one of them, written by it or before, would be of another length.
/// No entry is a valid list.
/// Errors: as gpubuf_step_write; GPUBUF_INVALID_ARGUMENT also for a length that is not `token_count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_write_many(
    step: *mut gpubuf_step,
    entries: *const gpubuf_slot_rows,
    entry_count: usize,
    token_count: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_step_write_many, (step, List(entries, entry_count), token_count), |c| {
        let step = c.get(step, "step")?;
        let mut rows: ArrayVec<SlotRows, SLOTS_PER_CALL> = ArrayVec::new();
        for entry in list(entries, entry_count, SLOTS_PER_CALL, ["entries", "entry_count"])? {
            reserved(entry.reserved, "reserved of an entry")?;
            let gpubuf_slot_rows { slot, first_row: first, row_count: count, rows: data, .. } = *entry;
            rows.push(SlotRows { slot, first, count, data: data.cast() });
        }
        // SAFETY: the caller's promise: each entry's rows can be read.
        unsafe { step.write_many(&rows, (token_count != ALL).then_some(token_count)) }
    })
}

/// Gives out rows of a slot to be filled in place until gpubuf_step_end_span with the token. They count as written.
///
/// Errors: as gpubuf_step_write; GPUBUF_BUSY also with 32 spans open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_begin_span(
    step: *mut gpubuf_step,
    slot: u32,
    first_row: u64,
    row_count: u64,
    out_data: *mut *mut c_void,
    out_token: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_step_begin_span, (step, slot, first_row, row_count, out_data, out_token), |c| {
        let step = c.get(step, "step")?;
        let (data, token) = (c.out(out_data, "out_data")?, c.out(out_token, "out_token")?);
        let got = step.begin_span(slot, first_row, row_count)?;
        data.set(got.0.cast());
        token.set(got.1);
        Ok(())
    })
}

/// Ends a span: its pointer must not be used any more.
///
/// Errors: GPUBUF_NOT_BEGUN (no such span is open, or the step was committed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_end_span(step: *mut gpubuf_step, token: u64) -> gpubuf_status {
    call(Entry::gpubuf_step_end_span, (step, token), |c| c.get(step, "step")?.end_span(token))
}

/// Fills the rows from the written length up to `row_count` with the slot's pad value.
///
/// Of a kept slot the written length is one past the last row written in this step. Errors: as gpubuf_step_write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_pad(step: *mut gpubuf_step, slot: u32, row_count: u64) -> gpubuf_status {
    call(Entry::gpubuf_step_pad, (step, slot, row_count), |c| c.get(step, "step")?.pad(slot, row_count))
}

/// Fills every slot that follows the tokens with its pad value, from its written length up to the padded size of the longest
/// of them (gpubuf_slots_padded_size), which `out_padded` gets. All is checked before anything is written.
///
/// Errors: as gpubuf_step_write; GPUBUF_INVALID_ARGUMENT (a slot has fewer rows than the padded size), GPUBUF_UNSUPPORTED (no
/// slot follows the tokens).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_pad_tokens(step: *mut gpubuf_step, out_padded: *mut u64) -> gpubuf_status {
    call(Entry::gpubuf_step_pad_tokens, (step, out_padded), |c| {
        let step = c.get(step, "step")?;
        let out = c.out(out_padded, "out_padded")?;
        out.set(step.pad_tokens()?);
        Ok(())
    })
}

/// Binds a dynamic slot, for this step, to `bytes` of the caller's device memory at `address`: whole rows, as many as the slot has
/// at most. Nothing is copied. Binding a slot again replaces what it was bound to.
///
/// Stream order: work queued so far on the streams named (up to 8 in all of the step's bindings) makes the memory ready; the
/// step and its consumers come behind it on the device. One fence is recorded on each.
/// Ownership: the memory is the caller's, who keeps it until the step's consumers are done.
/// Errors: GPUBUF_UNSUPPORTED (not a dynamic slot, or a step of gpubuf_slots_begin_replay), GPUBUF_INVALID_ARGUMENT,
/// GPUBUF_NOT_FOUND, GPUBUF_NOT_BEGUN (committed), GPUBUF_BUSY, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_bind(
    step: *mut gpubuf_step,
    slot: u32,
    address: u64,
    bytes: u64,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_step_bind, (step, slot, address, bytes, List(streams, stream_count)), |c| {
        let step = c.get(step, "step")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        step.bind(slot, address, bytes, &streams)
    })
}

/// Binds a dynamic slot, for this step, to bytes of a block that kernels can use: a uva block, or one with a device twin. Whole
/// rows; `bytes` may be GPUBUF_ALL. Nothing is copied.
///
/// The block stays the caller's, who may write it up to the commit. From then on the side that kernels read is sealed
/// (GPUBUF_UNFENCED for CPU writes in place and for copies to the twin) until the step is retired, which declares the consumers
/// as readers of it. It is not released (GPUBUF_GRAPH_HELD) before
/// the step is retired or given up.
/// Stream order: the commit comes, on the device, behind work that still writes the block; the retire records a fence on the
/// commit stream, too.
/// Errors: as gpubuf_step_bind; GPUBUF_UNSUPPORTED also for a block without an address for kernels, or whose twin is not there
/// yet; GPUBUF_NOT_HELD (released).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_bind_block(
    step: *mut gpubuf_step,
    slot: u32,
    block: *mut gpubuf_block,
    offset: u64,
    bytes: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_step_bind_block, (step, slot, block, offset, bytes), |c| {
        let step = c.get(step, "step")?;
        step.bind_block(slot, c.get(block, "block")?, offset, bytes)
    })
}

/// A slot's address for this step's kernels: of a static slot between commit and retire, in the step's copy of the device
/// memory; of a dynamic one from its binding to retire.
///
/// Errors: GPUBUF_NOT_BEGUN (not committed, or retired), GPUBUF_SLOT_UNWRITTEN (a dynamic slot that is not bound),
/// GPUBUF_NOT_FOUND, GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_address(
    step: *const gpubuf_step,
    slot: u32,
    out_address: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_step_address, (step, slot, out_address), |c| {
        let step = c.get(step, "step")?;
        let out = c.out(out_address, "out_address")?;
        out.set(step.address(slot)?);
        Ok(())
    })
}

/// Brings what the step wrote to the device. `out_ticket` gets the number for gpubuf_slots_retire and the read-backs.
///
/// Stream order: the copy is queued on `stream`, on the device behind whoever still uses the step before on the same copy of
/// the device memory: with a device_depth of K, the K-th last step; each of `consumers`
/// (up to 8 streams that will read the slots, `stream` need not be among them) waits for it on the device. Name every stream that will read the slots, here
/// or in the retire: others are not fenced. Never waits on the host.
/// Errors, with nothing changed: GPUBUF_SLOT_UNWRITTEN (also a dynamic slot that is not bound), GPUBUF_BUSY (a span, or
/// a write guard of a bound block, is open), GPUBUF_UNFENCED (a bound block is with work that nobody declared), GPUBUF_NOT_RETIRED (the
/// step that has the copy),
/// GPUBUF_NOT_BEGUN (committed or aborted), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING; GPUBUF_COPY_FAILED (an earlier step's
/// copy, told once, or the device refused this one: commit again). Where only a part could be queued, the step is over: destroy it, and launch nothing on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_commit(
    step: *mut gpubuf_step,
    stream: *mut gpubuf_stream,
    consumers: *const *mut gpubuf_stream,
    consumer_count: usize,
    out_ticket: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_step_commit, (step, stream, List(consumers, consumer_count), out_ticket), |c| {
        let step = c.get(step, "step")?;
        let stream = c.get(stream, "stream")?;
        let consumers = c.streams(consumers, consumer_count, ["consumers", "consumer_count"])?;
        let out = c.out(out_ticket, "out_ticket")?;
        out.set(step.commit(stream, &consumers)?);
        Ok(())
    })
}

/// Gives the step up: nothing is sent. The handle ends with it.
///
/// Errors: GPUBUF_NOT_BEGUN (committed), GPUBUF_BUSY (another thread is inside): the handle stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_abort(step: *mut gpubuf_step) -> gpubuf_status {
    call(Entry::gpubuf_step_abort, (step,), |c| {
        c.get(step, "step")?.abort()?;
        c.forget(step, true);
        Ok(())
    })
}

/// Ends the committed step: as gpubuf_slots_retire with its ticket. The handle ends with it.
///
/// Stream order: the streams named (up to 8, the declared consumers and the commit stream included) are those that read it.
/// Errors: GPUBUF_NOT_BEGUN (not committed yet, or retired), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_BUSY,
/// GPUBUF_INVALID_ARGUMENT (too many streams), GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_retire(
    step: *mut gpubuf_step,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
) -> gpubuf_status {
    call(Entry::gpubuf_step_retire, (step, List(streams, stream_count)), |c| {
        let own = c.get(step, "step")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        own.retire(&streams)?;
        c.forget(step, true);
        Ok(())
    })
}

/// Ends the handle and the step, whatever its state: aborts it while it is filled; retires it on its declared consumers and
/// the commit stream, and on no other, when it is committed and not retired.
///
/// NULL is GPUBUF_OK, and so is a step that was retired or aborted before, by its ticket on another thread for one. Never
/// waits.
/// Errors: GPUBUF_STALE_HANDLE (never a step of this library), GPUBUF_BUSY (another thread is inside): the handle stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_destroy(step: *mut gpubuf_step) -> gpubuf_status {
    call(Entry::gpubuf_step_destroy, (step,), |c| c.end_after(step, "step", |step| step.close()))
}
