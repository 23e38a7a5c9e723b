//! What is known of a timeline without a lock: how far it got, and whether anything failed.

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// Whoever sees a number here sees what the work up to it wrote, and that some of it failed.
#[derive(Default)]
pub struct Known {
    passed: AtomicU64,
    failed: AtomicBool,
}

impl Known {
    /// The highest number known complete; every smaller one is, too.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }

    /// Whether this number is known complete.
    pub fn has_passed(&self, sequence: u64) -> bool {
        self.passed() >= sequence
    }

    /// Everything up to this number is done, as its event said to this thread.
    pub fn pass(&self, sequence: u64) {
        self.passed.fetch_max(sequence, Ordering::Release);
    }

    /// Whether anything failed: then the list of failures, under its lock, has to be looked at.
    pub fn any_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Something failed. To be noted before its number is passed.
    pub fn note_failure(&self) {
        self.failed.store(true, Ordering::Release);
    }
}
