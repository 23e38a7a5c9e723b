//! What the process as a whole is doing: shut down, a child after fork, or on its way out.

use super::boundary::unheard;
use super::library::{VERSION, tell_what_lives};
use super::report;
use crate::config::debug::{Leaks, leaks};
use crate::config::log;
use crate::record::{self, Begun};
use crate::report::write_at_exit;
use crate::sync::{AtomicU32, OnceLock, Ordering};

/// The library's handlers are not registered yet.
pub(super) const UNPREPARED: u32 = 1;
/// `gpubuf_shutdown` was called.
pub(super) const SHUT_DOWN: u32 = 2;
/// This is a child after fork: its parent's objects are void.
pub(super) const FORKED: u32 = 4;
/// The process exits: what this library refers to may be gone.
pub(super) const EXITING: u32 = 8;

/// A recording was begun.
pub(super) const RECORDED: u32 = 16;

static STATE: AtomicU32 = AtomicU32::new(UNPREPARED);

/// The state: 0 is the usual one.
pub fn state() -> u32 {
    let state = STATE.load(Ordering::Acquire);
    if state & UNPREPARED != 0 { prepare() } else { state }
}

/// Adds to the state, for good. Returns the state before.
pub fn enter(state: u32) -> u32 {
    STATE.fetch_or(state, Ordering::AcqRel)
}

/// A call begins; `None` where it is not recorded. A child after fork has no recording: the file is its parent's.
pub fn begin_recorded(state: u32) -> Option<Begun> {
    if state & (RECORDED | FORKED) == RECORDED { record::begin() } else { None }
}

#[cold]
fn prepare() -> u32 {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // SAFETY: the handlers only set bits and numbers. They are registered by the library's first use, so before any object: exit
        // handlers run in reverse order, hence after the destructors of whatever owns one of its objects by then.
        unsafe {
            libc::pthread_atfork(None, None, Some(forked));
            libc::atexit(exiting);
        }
        if record::start(VERSION) {
            enter(RECORDED);
        }
        STATE.fetch_and(!UNPREPARED, Ordering::AcqRel);
    });
    STATE.load(Ordering::Acquire)
}

unsafe extern "C" fn forked() {
    enter(FORKED);
    log::forked();
}

unsafe extern "C" {
    /// The C library's.
    static stdout: *mut libc::FILE;
}

extern "C" fn exiting() {
    let before = enter(EXITING);
    if before & FORKED != 0 {
        return;
    }
    // What static objects own was destroyed before: exit handlers run in reverse order.
    let mut live = 0;
    if before & SHUT_DOWN == 0 && leaks() != Leaks::Silent {
        unheard(|| live = tell_what_lives("exit"));
    }
    unheard(|| write_at_exit(report::now));
    if before & RECORDED != 0 {
        record::close();
    }
    if live > 0 && leaks() == Leaks::Error {
        // SAFETY: writes out what the program printed, which nobody does any more, and ends the process, whose exit handlers
        // that were registered later have run. Other streams may be locked for good, by a thread that reads from one.
        unsafe {
            libc::fflush(stdout);
            libc::_exit(1);
        }
    }
}
