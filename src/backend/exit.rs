//! The end of the process: drivers crash, rather than answer, when they are called after they were torn down, and what
//! callbacks refer to goes as well.

use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex, Ordering};
use std::time::{Duration, Instant};

static NEAR: AtomicBool = AtomicBool::new(false);
/// The process that watches: a child after fork has no calls to wait for.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static CALLS: Mutex<u32> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// Threads of any kind that are inside the driver, or about to go there.
static INSIDE: AtomicU64 = AtomicU64::new(0);

/// The longest that an exit waits for calls that are under way.
const PATIENCE: Duration = Duration::from_secs(1);

/// From now on an exit is noticed. Called again once a driver is initialised, so that this comes before its own teardown.
pub fn watch() {
    PROCESS.store(std::process::id(), Ordering::Release);
    // SAFETY: the function takes and returns nothing, and lives as long as the library, which is not unloaded.
    unsafe { libc::atexit(at_exit) };
}

/// Whether the driver must not be called any more.
pub fn is_near() -> bool {
    NEAR.load(Ordering::SeqCst)
}

/// A thread inside the driver: an exit that begins meanwhile waits for it, for a while.
pub struct Inside(());

impl Inside {
    /// `None` once the process exits.
    pub fn begin() -> Option<Inside> {
        // Either the exit sees this, or this sees the exit.
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(());
        (!is_near()).then_some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
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
        NEAR.store(true, Ordering::SeqCst);
        return;
    }
    let mut calls = CALLS.lock();
    NEAR.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + PATIENCE;
    while *calls > 0 && !ENDED.wait_until(&mut calls, deadline).timed_out() {}
    drop(calls);
    while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(50));
    }
}
