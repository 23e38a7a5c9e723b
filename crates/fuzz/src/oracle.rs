//! Whether the bytes that work on a stream sees are those that were sent to it.

use gpubuf_calls::{Answer, call, constant, function};
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a function on a stream is to find.
struct Expected {
    address: u64,
    bytes: Vec<u8>,
    /// Set where the device was made to fail: then nothing is expected.
    void: &'static AtomicBool,
}

/// What it found instead.
static FOUND: Mutex<Option<String>> = Mutex::new(None);

/// Calls a function by its name.
///
/// # Safety
/// As [`call`].
pub unsafe fn by_name(name: &str, arguments: &[u64]) -> i32 {
    let function = function(name).unwrap_or_else(|| panic!("no {name}"));
    // SAFETY: the caller's promise.
    match unsafe { call(function.index, arguments) } {
        Answer::Status(status) => status,
        _ => 0,
    }
}

unsafe extern "C" fn look(view: *mut c_void, expected: *mut c_void) {
    // SAFETY: made by `send_and_look`, for this one call.
    let expected = unsafe { Box::from_raw(expected.cast::<Expected>()) };
    let mut seen = vec![0u8; expected.bytes.len()];
    let arguments = [view as u64, expected.address, seen.as_mut_ptr() as u64, seen.len() as u64];
    // SAFETY: this function's view, and memory of that size.
    let status = unsafe { by_name("gpubuf_host_view_read", &arguments) };
    if !expected.void.load(Ordering::SeqCst) && (status != 0 || seen != expected.bytes) {
        let at = seen.iter().zip(&expected.bytes).position(|(seen, expected)| seen != expected);
        *FOUND.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) =
            Some(format!("status {status}, {} bytes, the first that differs: {at:?}", seen.len()));
    }
}

/// Writes a pattern to a buffer, sends it to the device, and has the stream look at what it got. Where a call refuses, that is all.
pub fn send_and_look(buffer: u64, stream: u64, seed: u8, void: &'static AtomicBool) {
    let all = constant("GPUBUF_ALL").unwrap_or(0);
    let Some(of) = gpubuf_calls::structure("gpubuf_buffer_info") else { return };
    let mut info = vec![0u64; of.size.div_ceil(8)];
    info[0] = of.size as u64;
    // SAFETY: a handle, and memory of the struct's size.
    if unsafe { by_name("gpubuf_buffer_info_get", &[buffer, info.as_mut_ptr() as u64]) } != 0 {
        return;
    }
    let figure = |name: &str| of.field(name).map_or(0, |field| crate::options::get(&info, field));
    let bytes = figure("host_bytes").min(figure("device_bytes"));
    // Of a window the bytes are not beside each other on the device.
    if bytes == 0 || bytes > 1 << 16 || figure("contiguous") == 0 {
        return;
    }
    let pattern: Vec<u8> = (0..bytes).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    let copied = |name: &str, memory: u64| {
        // SAFETY: memory of the buffer's size.
        unsafe { by_name(name, &[buffer, 0, all, memory, 1_000_000]) == 0 }
    };
    if !copied("gpubuf_buffer_copy_in", pattern.as_ptr() as u64) {
        return;
    }
    let mut back = vec![0u8; pattern.len()];
    if copied("gpubuf_buffer_copy_out", back.as_mut_ptr() as u64) {
        assert!(back == pattern, "the host side is not what was written to it");
    }
    let mut address = 0u64;
    let streams = [stream];
    // SAFETY: handles and results that live.
    unsafe {
        if by_name("gpubuf_buffer_to_device", &[buffer, 0, all, stream]) != 0
            || by_name("gpubuf_buffer_device_address", &[buffer, streams.as_ptr() as u64, 1, &raw mut address as u64])
                != 0
        {
            return;
        }
    }
    let expected = Box::into_raw(Box::new(Expected { address, bytes: pattern, void }));
    // SAFETY: a handle, a function of that type, and what it takes.
    let queued = unsafe { by_name("gpubuf_host_stream_call", &[stream, look as *const () as u64, expected as u64]) };
    if queued != 0 {
        // SAFETY: not queued, so nobody else has it.
        drop(unsafe { Box::from_raw(expected) });
    }
}

/// Tells what a function on a stream found wrong.
pub fn check() {
    let found = FOUND.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    if let Some(found) = found {
        panic!("a stream saw other bytes than were sent to it: {found}");
    }
}
