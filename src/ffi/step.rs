//! Steps of a set of slots.

use super::arguments::memory;
use super::boundary::call;
use super::entries::Entry;
use super::types::*;
use std::ffi::c_void;

/// Copies rows into a slot. `row_count` may be GPUBUF_ALL: everything from `first_row` on.
///
/// In a required slot `first_row` is at most the length written so far. Writing no rows counts as writing; `rows` may be NULL
/// then.
/// Threads: one at a time uses a step, here and below.
/// Errors: GPUBUF_NOT_BEGUN (committed), GPUBUF_BUSY (a span is open on the rows, or another thread is inside),
/// GPUBUF_INVALID_ARGUMENT, GPUBUF_NOT_FOUND (no such slot).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_write(
    step: *mut gpubuf_step,
    slot: u32,
    first_row: u64,
    row_count: u64,
    rows: *const c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_step_write, |c| {
        let step = c.get(step, "step")?;
        let rows = memory(rows, row_count == 0, "rows")?;
        // SAFETY: the caller's promise: so many rows can be read.
        unsafe { step.write(slot, first_row, row_count, rows) }
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
    call(Entry::gpubuf_step_begin_span, |c| {
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
    call(Entry::gpubuf_step_end_span, |c| c.get(step, "step")?.end_span(token))
}

/// Fills the rows from the written length up to `row_count` with the slot's pad value.
///
/// Of a kept slot the written length is one past the last row written in this step. Errors: as gpubuf_step_write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_step_pad(step: *mut gpubuf_step, slot: u32, row_count: u64) -> gpubuf_status {
    call(Entry::gpubuf_step_pad, |c| c.get(step, "step")?.pad(slot, row_count))
}

/// Brings what the step wrote to the device. `out_ticket` gets the number for gpubuf_slots_retire and the read-backs.
///
/// Stream order: the copy is queued on `stream`, on the device behind whoever still uses the last step; each of `consumers`
/// (up to 8 streams that will read the slots, `stream` need not be among them) waits for it on the device. Name every stream that will read the slots, here
/// or in the retire: others are not fenced. Never waits on the host.
/// Errors, with nothing changed: GPUBUF_SLOT_UNWRITTEN, GPUBUF_BUSY (a span is open), GPUBUF_NOT_RETIRED (the previous step),
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
    call(Entry::gpubuf_step_commit, |c| {
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
    call(Entry::gpubuf_step_abort, |c| {
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
    call(Entry::gpubuf_step_retire, |c| {
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
    call(Entry::gpubuf_step_destroy, |c| c.end_after(step, "step", |step| step.close()))
}
