//! Events.

use super::boundary::call;
use super::entries::Entry;
use super::types::*;
use crate::config::Timeout;
use crate::fence::Event;

/// A new event, never recorded.
///
/// Ownership: the caller's, until gpubuf_event_destroy.
/// Errors: GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_event_create(
    device: *mut gpubuf_device,
    out_event: *mut *mut gpubuf_event,
) -> gpubuf_status {
    call(Entry::gpubuf_event_create, (device, out_event), |c| {
        let device = c.get(device, "device")?;
        let out = c.out(out_event, "out_event")?;
        c.give(out, Event::create(device, false, "")?)
    })
}

/// As gpubuf_event_create, for an event that notes when its mark is reached. Only such events cost a time stamp.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_event_create_timed(
    device: *mut gpubuf_device,
    out_event: *mut *mut gpubuf_event,
) -> gpubuf_status {
    call(Entry::gpubuf_event_create_timed, (device, out_event), |c| {
        let device = c.get(device, "device")?;
        let out = c.out(out_event, "out_event")?;
        c.give(out, Event::create(device, true, "")?)
    })
}

/// Nanoseconds of device time from the latest record of `earlier` to that of `later`, two timed events of one device.
///
/// Never waits. The driver's resolution is about half a microsecond.
/// Errors: GPUBUF_BUSY (a mark is not reached yet), GPUBUF_NOT_BEGUN (never recorded), GPUBUF_UNSUPPORTED (not timed),
/// GPUBUF_WRONG_DEVICE, GPUBUF_DEVICE_LOST, GPUBUF_COPY_FAILED (a record that failed when it ran, which only an emulation has).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_event_elapsed_ns(
    earlier: *const gpubuf_event,
    later: *const gpubuf_event,
    out_ns: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_event_elapsed_ns, (earlier, later, out_ns), |c| {
        let earlier = c.get(earlier, "earlier")?;
        let later = c.get(later, "later")?;
        c.out(out_ns, "out_ns")?.set(later.elapsed_since(earlier)?);
        Ok(())
    })
}

/// Marks the work queued on the stream so far. Recording again moves the mark; who waits for the earlier one goes on with it.
///
/// Errors: GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_event_record(event: *mut gpubuf_event, stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_event_record, (event, stream), |c| {
        let event = c.get(event, "event")?;
        event.record(c.get(stream, "stream")?)
    })
}

/// GPUBUF_OK if the latest record was reached, or there is none; GPUBUF_BUSY if not. Never waits.
///
/// That a copy before it failed is told by the copy's object, not by events.
/// Errors: GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_event_query(event: *mut gpubuf_event) -> gpubuf_status {
    call(Entry::gpubuf_event_query, (event,), |c| c.get(event, "event")?.wait(Timeout::Try))
}

/// Waits for the latest record.
///
/// Threads: any; not in a function that runs on a stream.
/// Errors: GPUBUF_TIMEOUT, GPUBUF_BUSY (try form), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_event_wait(event: *mut gpubuf_event, timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_event_wait, (event, timeout_ns), |c| {
        let event = c.get(event, "event")?;
        event.wait(event.device().timeout(timeout_ns))
    })
}

/// Ends the handle. Waits queued for its records stay.
///
/// NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_event_destroy(event: *mut gpubuf_event) -> gpubuf_status {
    call(Entry::gpubuf_event_destroy, (event,), |c| c.end(event, "event").map(drop))
}
