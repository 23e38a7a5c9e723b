//! Read-backs of a step's results.

use super::boundary::call;
use super::entries::Entry;
use super::types::*;
use std::ffi::c_void;

/// Queues a copy of a slot's rows, as they are on the stream now, to a read-back entry, between commit and retire of `ticket`.
///
/// `out_read_back` gets the number for gpubuf_slots_begin_read and gpubuf_slots_end_read. Never waits.
/// Stream order: behind everything queued on the stream and, on the device, behind the step's copy.
/// Errors: GPUBUF_NOT_BEGUN (retired, or another ticket), GPUBUF_BUSY (every read-back entry is in use),
/// GPUBUF_INVALID_ARGUMENT (no such rows, or more than read_back_bytes), GPUBUF_NOT_FOUND, GPUBUF_UNSUPPORTED
/// (read_back_depth 0), GPUBUF_COPY_FAILED (the step's copy, told once), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING,
/// GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_read_back(
    slots: *mut gpubuf_slots,
    ticket: u64,
    slot: u32,
    first_row: u64,
    row_count: u64,
    stream: *mut gpubuf_stream,
    out_read_back: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_read_back, (slots, ticket, slot, first_row, row_count, stream, out_read_back), |c| {
        let slots = c.get(slots, "slots")?;
        let stream = c.get(stream, "stream")?;
        let out = c.out(out_read_back, "out_read_back")?;
        out.set(slots.read_back(ticket, slot, first_row, row_count, stream)?);
        Ok(())
    })
}

/// As gpubuf_slots_read_back, of elements of a buffer's device side (or of its uva host side): a step's results.
///
/// Stream order: also behind the library's copies and declared work that write the buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_read_back_buffer(
    slots: *mut gpubuf_slots,
    ticket: u64,
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
    out_read_back: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_read_back_buffer, (slots, ticket, buffer, first, count, stream, out_read_back), |c| {
        let slots = c.get(slots, "slots")?;
        let buffer = c.get(buffer, "buffer")?;
        let stream = c.get(stream, "stream")?;
        let out = c.out(out_read_back, "out_read_back")?;
        let range = buffer.elements(first, count)?;
        out.set(slots.read_back_block(ticket, &mut *buffer.lock()?, range, stream)?);
        Ok(())
    })
}

/// The bytes of a read-back, once they have landed: valid until gpubuf_slots_end_read.
///
/// Errors: GPUBUF_BUSY (try form), GPUBUF_TIMEOUT: call it again; GPUBUF_COPY_FAILED: end it; GPUBUF_NOT_BEGUN (ended, or
/// never begun), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_begin_read(
    slots: *mut gpubuf_slots,
    read_back: u64,
    timeout_ns: u64,
    out_data: *mut *const c_void,
    out_bytes: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_begin_read, (slots, read_back, timeout_ns, out_data, out_bytes), |c| {
        let slots = c.get(slots, "slots")?;
        let (data, bytes) = (c.out(out_data, "out_data")?, c.out(out_bytes, "out_bytes")?);
        let got = slots.begin_read(read_back, slots.device().timeout(timeout_ns))?;
        data.set(got.0.cast());
        bytes.set(got.1);
        Ok(())
    })
}

/// Ends a read-back, read or not: its entry is free again.
///
/// Errors: GPUBUF_NOT_BEGUN (ended, or never begun), GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_end_read(slots: *mut gpubuf_slots, read_back: u64) -> gpubuf_status {
    call(Entry::gpubuf_slots_end_read, (slots, read_back), |c| c.get(slots, "slots")?.end_read(read_back))
}
