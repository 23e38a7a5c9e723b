//! The library as a whole: its version, errors, log and end; and what all objects have in common.

use super::arguments::{label, write_text};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::recorded::Any;
use super::types::*;
use super::{last_error, objects, process, report};
use crate::backend::trap;
use crate::config::debug::{Leaks, leaks};
use crate::config::log::{self, Level};
use crate::config::{DEFAULT_TIMEOUT_NS, Timeout};
use crate::dtype::Dtype;
use crate::error::Status;
use crate::fail;
use crate::fence::shut_down_all;
use crate::record;
use crate::report::write_at_end;
use crate::sync::Arc;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;

const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("cargo checks the version"),
    }
}

const VERSION_NUMBER: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
    + number(env!("CARGO_PKG_VERSION_PATCH"));

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

const VERSION_STRING: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("a version has no NUL"),
};

/// The version of the loaded library: major * 1000000 + minor * 1000 + patch, to compare with GPUBUF_VERSION_NUMBER.
///
/// Works at any time, as do gpubuf_version_string, gpubuf_status_name, gpubuf_last_error_message and gpubuf_dtype_size.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_version_number() -> u32 {
    plain(Entry::gpubuf_version_number, 0, || VERSION_NUMBER)
}

/// The version of the loaded library as text, "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_version_string() -> *const c_char {
    plain(Entry::gpubuf_version_string, c"".as_ptr(), || VERSION_STRING.as_ptr())
}

/// A status's name, "GPUBUF_BUSY"; "GPUBUF_UNKNOWN_STATUS" for other numbers. Static.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_status_name(status: i32) -> *const c_char {
    plain(Entry::gpubuf_status_name, c"".as_ptr(), || {
        Status::from_code(status).map_or(c"GPUBUF_UNKNOWN_STATUS", Status::name).as_ptr()
    })
}

/// The message of this thread's last call that did not answer GPUBUF_OK: which object, which use, which stream, what to do.
///
/// `buffer` gets as much as fits and a NUL, if `capacity` is not 0; it may be NULL if it is. Returns the full length,
/// without the NUL: 0 if no call failed yet. At most 1024 bytes; for people, not for programs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_last_error_message(buffer: *mut c_char, capacity: usize) -> usize {
    plain(Entry::gpubuf_last_error_message, 0, || last_error::with(|text| write_text(text, buffer, capacity)))
}

/// Sends the library's messages to `callback` with `user_data`; NULL is silence, the default.
///
/// Ownership: `user_data` must stay valid until the callback was replaced and its calls have returned; a call that began
/// before may still run when this returns.
/// Threads: any; also from inside the callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_log_set_callback(callback: gpubuf_log_fn, user_data: *mut c_void) -> gpubuf_status {
    call(Entry::gpubuf_log_set_callback, (callback, user_data), |_| {
        let user_data = user_data as usize;
        log::set_sink(callback.map(|callback| -> log::Sink {
            Arc::new(move |level: Level, message: &CStr| {
                // SAFETY: the caller's promise for a log callback.
                unsafe { callback(level as i32, message.as_ptr(), user_data as *mut c_void) }
            })
        }));
        record::tell();
        Ok(())
    })
}

/// Ends the library's work in this process: waits for all work on all devices, up to `timeout_ns` each, and closes them.
///
/// Every later call answers GPUBUF_SHUT_DOWN, except `*_destroy`, which answer GPUBUF_OK, and this one, which may be
/// repeated, and gpubuf_report. What is still in use at the deadline is left to the process exit. Not needed before the process
/// exits. Objects that were not destroyed are named in the log (GPUBUF_LOG_WARN), with where they were made if GPUBUF_TRACK=1 is
/// in the environment; with GPUBUF_LEAKS=report there, on the standard error as well.
///
/// Threads: any. Threads that wait for a pool's block get GPUBUF_SHUT_DOWN; waits for the device end with it or
/// at their own deadline.
/// Errors: GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST: the first device that could not be drained;
/// GPUBUF_BUSY: objects were not destroyed, and GPUBUF_LEAKS=error is in the environment. The library is shut down all the same.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_shutdown(timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_shutdown, (timeout_ns,), |_| {
        let first = process::enter(process::SHUT_DOWN) & process::SHUT_DOWN == 0;
        let live = if first { tell_what_lives("shutdown") } else { 0 };
        if first {
            write_at_end(report::now);
        }
        let ended = shut_down_all(Timeout::from_ns(timeout_ns, DEFAULT_TIMEOUT_NS)).inspect_err(|error| {
            log::write(Level::Warn, format_args!("shutdown: {}", error.message()));
        });
        record::flush();
        match (ended, live) {
            (Ok(()), 1..) if leaks() == Leaks::Error => {
                fail!(Busy, "{live} objects were not destroyed (GPUBUF_LEAKS=error)")
            }
            (ended, _) => ended,
        }
    })
}

/// The most objects that a shutdown names one by one.
const NAMED: usize = 32;

/// Objects that nobody destroyed: to the log, and as GPUBUF_LEAKS says. How many there are.
pub(super) fn tell_what_lives(at: &str) -> usize {
    let leaks = leaks();
    if !log::is_listened_to() && leaks == Leaks::Silent {
        return 0;
    }
    let tell = |line: fmt::Arguments<'_>| {
        log::write(Level::Warn, line);
        if leaks != Leaks::Silent {
            trap::tell(&format!("==gpubuf== {line}\n"));
        }
    };
    let mut live = objects::live();
    // A device is often meant to live as long as the library.
    live.retain(|object| object.kind != "device");
    for object in live.iter().take(NAMED) {
        tell(format_args!("{at}: not destroyed: {object}"));
    }
    if live.len() > NAMED {
        let (more, bytes) = (live.len() - NAMED, live[NAMED..].iter().map(|object| object.bytes).sum::<u64>());
        tell(format_args!("{at}: {more} more objects were not destroyed, of {bytes} bytes"));
    }
    live.len()
}

/// The state of any object in words, for logs and debuggers: its uses, guards, waits and figures.
///
/// `buffer` gets as much as fits and a NUL, if `capacity` is not 0; it may be NULL if it is. `out_length`, which may be NULL,
/// gets the full length without the NUL. The text may change with every version.
///
/// Threads: any; what another thread is working on at this moment is told so.
/// Errors: GPUBUF_STALE_HANDLE. Works on broken objects.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_describe(
    handle: *const c_void,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_describe, (Any(handle), buffer, capacity, out_length), |c| {
        let object = c.get_any(handle, "handle")?;
        c.text(&object.describe(), buffer, capacity, out_length)
    })
}

/// Gives any object a label for messages, or, with NULL or "", takes it away. A block's is its pool's. The text is copied.
///
/// Threads: any.
/// Errors: GPUBUF_INVALID_ARGUMENT (not UTF-8), GPUBUF_STALE_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_set_label(handle: *const c_void, label: *const c_char) -> gpubuf_status {
    call(Entry::gpubuf_set_label, (Any(handle), label), |c| {
        c.get_any(handle, "handle")?.name().set_label(self::label(label, "label")?);
        Ok(())
    })
}

/// Bytes of one element; 0 for a number that is no GPUBUF_DTYPE_.
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_dtype_size(dtype: u32) -> usize {
    plain(Entry::gpubuf_dtype_size, 0, || Dtype::from_code(dtype).map_or(0, Dtype::size))
}
