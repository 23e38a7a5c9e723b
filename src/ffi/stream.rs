//! Streams.

use super::boundary::call;
use super::entries::Entry;
use super::types::*;
use crate::fail;
use crate::fence::Timeline;
use std::ffi::c_void;

/// A new stream, in no order with any other.
///
/// Ownership: the caller's, until gpubuf_stream_destroy.
/// Errors: GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_create(
    device: *mut gpubuf_device,
    out_stream: *mut *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_create, |c| {
        let device = c.get(device, "device")?;
        let out = c.out(out_stream, "out_stream")?;
        c.give(out, Timeline::create(device, "")?)
    })
}

/// A stream object over a stream of the driver's that the caller goes on owning.
///
/// Errors: GPUBUF_UNSUPPORTED on the host backend, which has no native streams.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_wrap_native(
    device: *mut gpubuf_device,
    native_stream: *mut c_void,
    out_stream: *mut *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_wrap_native, |c| {
        let device = c.get(device, "device")?;
        c.out(out_stream, "out_stream")?;
        fail!(
            Unsupported,
            "{} ({}) has no native streams to wrap: {native_stream:p} cannot be one of its own; use gpubuf_stream_create",
            device.name(),
            device.backend().kind().name()
        )
    })
}

/// GPUBUF_OK if all work on the stream is done, GPUBUF_BUSY if not. Never waits.
///
/// Errors: GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_query(stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_stream_query, |c| c.get(stream, "stream")?.expect_idle())
}

/// Waits for the work queued so far.
///
/// Threads: any; not in a function that runs on a stream.
/// Errors: GPUBUF_COPY_FAILED (copies that failed on it since the last call), GPUBUF_TIMEOUT, GPUBUF_BUSY (try form),
/// GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_synchronize(stream: *mut gpubuf_stream, timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_stream_synchronize, |c| {
        let stream = c.get(stream, "stream")?;
        stream.synchronize(stream.device().timeout(timeout_ns))
    })
}

/// Makes work queued on the stream from now on wait, on the device, for the event's latest record.
///
/// An event that was never recorded is done. A later record does not move the wait. The host does not wait.
/// Errors: GPUBUF_WRONG_DEVICE, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_wait_event(
    stream: *mut gpubuf_stream,
    event: *mut gpubuf_event,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_wait_event, |c| {
        let stream = c.get(stream, "stream")?;
        c.get(event, "event")?.order(stream)
    })
}

/// Ends the handle. Work queued on the stream still runs.
///
/// NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_destroy(stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_stream_destroy, |c| {
        if let Some(stream) = c.end(stream, "stream")? {
            stream.device().tidy_if_orphaned();
        }
        Ok(())
    })
}
