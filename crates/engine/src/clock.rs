//! Time: precise waits for workers, and the account of time that callers spend inside the engine.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// The end of a wait that is spun through, because a sleeping thread wakes tens of microseconds late.
const SPIN: Duration = Duration::from_micros(50);

/// Waits until `end`; false if `stop` became true first. Called by workers only: they alone have the fine timer slack,
/// and whoever makes `stop` true must unpark them.
pub(crate) fn pause_until(end: Instant, stop: impl Fn() -> bool) -> bool {
    loop {
        if stop() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if left > SPIN {
            thread::park_timeout(left - SPIN);
        } else {
            thread::yield_now();
        }
    }
}

/// Asks for timers within a microsecond instead of the usual fifty for the calling thread.
pub(crate) fn sharpen_timers() {
    let slack_ns: libc::c_ulong = 1000;
    // SAFETY: this option takes a plain number and touches nothing but the calling thread's timer slack. A refusal
    // only leaves timers coarser.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}

thread_local! {
    static INSIDE_NS: Cell<u64> = const { Cell::new(0) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Nanoseconds that the calling thread has spent so far inside `submit`, `record`, `wait_event`, `query`, `wait` and
/// `synchronize`, so that a benchmark can subtract the emulation from what it measures.
pub fn time_inside_ns() -> u64 {
    INSIDE_NS.with(Cell::get)
}

/// Counts the time until it is dropped; nested ones count once.
pub(crate) struct Inside {
    since: Option<Instant>,
}

impl Inside {
    pub(crate) fn enter() -> Inside {
        let depth = DEPTH.with(|depth| depth.replace(depth.get() + 1));
        Inside { since: (depth == 0).then(Instant::now) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        if let Some(since) = self.since {
            let ns = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            INSIDE_NS.with(|total| total.set(total.get().saturating_add(ns)));
        }
    }
}
