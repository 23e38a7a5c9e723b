//! The end of the process: drivers crash, rather than answer, when they are called after they were torn down, and what
//! callbacks refer to goes as well.

use crate::sync::{AtomicBool, AtomicU32, Condvar, Mutex, Ordering};
use std::time::{Duration, Instant};

static NEAR: AtomicBool = AtomicBool::new(false);
/// The process that watches: a child after fork has no calls to wait for.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static CALLS: Mutex<u32> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The longest that an exit waits for a call of a thread of ours.
const PATIENCE: Duration = Duration::from_secs(1);

/// From now on an exit is noticed. Called again once a driver is initialised, so that this comes before its own teardown.
pub fn watch() {
    PROCESS.store(std::process::id(), Ordering::Release);
    // SAFETY: the function takes and returns nothing, and lives as long as the library, which is not unloaded.
    unsafe { libc::atexit(at_exit) };
}

/// Whether the driver must not be called any more.
pub fn is_near() -> bool {
    NEAR.load(Ordering::Acquire)
}

/// Work on a thread of ours that an exit waits for: a driver call, or what may call back.
pub struct Call(());

impl Call {
    /// `None` once the process exits.
    pub fn begin() -> Option<Call> {
        let mut calls = CALLS.lock();
        if is_near() {
            return None;
        }
        *calls += 1;
        Some(Call(()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *CALLS.lock() -= 1;
        ENDED.notify_all();
    }
}

extern "C" fn at_exit() {
    if PROCESS.load(Ordering::Acquire) != std::process::id() {
        NEAR.store(true, Ordering::Release);
        return;
    }
    let mut calls = CALLS.lock();
    NEAR.store(true, Ordering::Release);
    let deadline = Instant::now() + PATIENCE;
    while *calls > 0 && !ENDED.wait_until(&mut calls, deadline).timed_out() {}
}
