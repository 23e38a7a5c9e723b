//! Streams.

use super::boundary::call;
use super::entries::Entry;
use super::types::*;
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
    call(Entry::gpubuf_stream_create, (device, out_stream), |c| {
        let device = c.get(device, "device")?;
        let out = c.out(out_stream, "out_stream")?;
        c.give(out, Timeline::create(device, "")?)
    })
}

/// A stream object over a stream of the driver's (a CUstream, or a cudaStream_t) that the caller goes on owning.
///
/// NULL and CU_STREAM_LEGACY are the legacy default stream of the device's context; CU_STREAM_PER_THREAD is that of the calling
/// thread, and only that thread may queue through this object. Wrap a stream once: two objects over one stream are two
/// timelines, ordered by waits that are not needed. Ownership: destroy the object *before* the stream; it then records a last
/// fence, which goes on covering what was queued until then. Nothing waits.
/// Errors: GPUBUF_WRONG_DEVICE (a stream of another context), GPUBUF_UNSUPPORTED on the host backend, which has no native
/// streams, GPUBUF_DRIVER_ERROR (not a stream).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_wrap_native(
    device: *mut gpubuf_device,
    native_stream: *mut c_void,
    out_stream: *mut *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_wrap_native, (device, native_stream, out_stream), |c| {
        let device = c.get(device, "device")?;
        let out = c.out(out_stream, "out_stream")?;
        // SAFETY: the caller keeps the stream until the object is destroyed.
        c.give(out, unsafe { Timeline::wrap(device, native_stream as usize, "") }?)
    })
}

/// The driver's handle of the stream (a CUstream), for kernels and graphs of the caller's; NULL on the host backend.
///
/// A stream of the library's own ends with its object, and with the last object that still refers to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_native(
    stream: *const gpubuf_stream,
    out_native_stream: *mut *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_native, (stream, out_native_stream), |c| {
        let stream = c.get(stream, "stream")?;
        c.out(out_native_stream, "out_native_stream")?.set(stream.stream().native() as *mut c_void);
        Ok(())
    })
}

/// GPUBUF_OK if all work on the stream is done, GPUBUF_BUSY if not. Never waits.
///
/// Errors: GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_query(stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_stream_query, (stream,), |c| c.get(stream, "stream")?.expect_idle())
}

/// Waits for the work queued so far.
///
/// Threads: any; not in a function that runs on a stream.
/// Errors: GPUBUF_COPY_FAILED (copies that failed on it since the last call), GPUBUF_TIMEOUT, GPUBUF_BUSY (try form),
/// GPUBUF_CAPTURING, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_synchronize(stream: *mut gpubuf_stream, timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_stream_synchronize, (stream, timeout_ns), |c| {
        let stream = c.get(stream, "stream")?;
        stream.synchronize(stream.device().timeout(timeout_ns))
    })
}

/// Makes work queued on the stream from now on wait, on the device, for the event's latest record.
///
/// An event that was never recorded is done. A later record does not move the wait. The host does not wait.
/// Errors: GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_wait_event(
    stream: *mut gpubuf_stream,
    event: *mut gpubuf_event,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_wait_event, (stream, event), |c| {
        let stream = c.get(stream, "stream")?;
        c.get(event, "event")?.order(stream)
    })
}

/// As gpubuf_stream_wait_event, for an event of the driver's (a CUevent, or a cudaEvent_t) that the caller recorded.
///
/// With gpubuf_buffer_used_on and the like on this stream afterwards, work of streams that the library does not know is
/// declared: record an event behind it, have a stream wait for the event, declare the use on that stream.
/// Errors: GPUBUF_UNSUPPORTED on the host backend, GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST, GPUBUF_DRIVER_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_wait_native_event(
    stream: *mut gpubuf_stream,
    native_event: *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_wait_native_event, (stream, native_event), |c| {
        let stream = c.get(stream, "stream")?;
        stream.wait_native(native_event as usize)
    })
}

/// Records an event of the driver's after the work queued on the stream so far, so that the caller's own streams can wait for it.
///
/// Errors: as gpubuf_stream_wait_native_event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_record_native_event(
    stream: *mut gpubuf_stream,
    native_event: *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_stream_record_native_event, (stream, native_event), |c| {
        let stream = c.get(stream, "stream")?;
        stream.record_native(native_event as usize)
    })
}

/// Ends the handle. Work queued on the stream still runs.
///
/// NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_stream_destroy(stream: *mut gpubuf_stream) -> gpubuf_status {
    call(Entry::gpubuf_stream_destroy, (stream,), |c| {
        if let Some(stream) = c.end(stream, "stream")? {
            stream.let_go();
            stream.device().tidy_if_orphaned();
        }
        Ok(())
    })
}
