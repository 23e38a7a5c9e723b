//! The state of the whole process.

use super::boundary::{STALE, call};
use super::entries::Entry;
use super::library::VERSION;
use super::types::*;
use super::{objects, process};
use crate::report::{Format, Process, report};
use std::ffi::c_char;

/// The state of the whole process: the library, what the system lets it have, each device with its reason, its figures, what a
/// probe found, its streams and its objects, and every object that a handle is still out for.
///
/// `format` is GPUBUF_REPORT_TEXT or GPUBUF_REPORT_JSON. `buffer`, `capacity` and `out_length` as in gpubuf_describe; since the
/// text may grow between two calls, one that asks for the length first gives itself some more. Objects go on changing meanwhile:
/// each is consistent in itself. Works after gpubuf_shutdown as well.
/// Where GPUBUF_TRACK=1 is in the environment, objects know the frames of the caller's that made them.
/// Threads: any. Not for the path of a step.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_report(
    format: u32,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_report, (format, buffer, capacity, out_length), |c| {
        let format = Format::from_code(format)?;
        c.text(&report(format, &now()), buffer, capacity, out_length)
    })
}

/// What only this layer knows of the process.
pub(super) fn now() -> Process {
    Process {
        version: VERSION,
        shut_down: process::state() & process::SHUT_DOWN != 0,
        stale_handles: STALE.get(),
        live_objects: objects::live(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_layer_below() {
        assert_eq!([Format::Text as u32, Format::Json as u32], [GPUBUF_REPORT_TEXT, GPUBUF_REPORT_JSON]);
    }
}
