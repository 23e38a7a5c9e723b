//! Counters: nothing waits, falls back or refuses silently.

mod record;

pub use record::{Record, Value};

use crate::sync::Ordering;
use crate::sync::plain::AtomicU64;
use std::time::{Duration, Instant};

/// Nanoseconds of a clock that never goes back, some milliseconds behind at most, at a fraction of the cost of asking for the
/// exact time.
pub fn coarse_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A count that only grows, or a level that moves both ways.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds `n`; returns what it was before.
    pub fn fetch_add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed)
    }

    /// Adds `n`, where a lock keeps all others from changing it: cheaper than [`Counter::add`].
    pub fn add_locked(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// Takes `n` back, where a lock keeps all others from changing it.
    pub fn sub_locked(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) - n, Ordering::Relaxed);
    }

    /// Takes `n` away from a level.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Raises a high-water mark to `n`.
    pub fn raise(&self, n: u64) {
        self.0.fetch_max(n, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The present value, which is then 0.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Bytes that come and go: what there is, the most there was, and all there ever was.
#[derive(Debug, Default)]
pub struct ByteLevel {
    now: Counter,
    peak: Counter,
    total: Counter,
}

impl ByteLevel {
    /// `n` more.
    pub fn add(&self, n: u64) {
        self.total.add(n);
        self.peak.raise(self.now.0.fetch_add(n, Ordering::Relaxed) + n);
    }

    /// `n` less.
    pub fn sub(&self, n: u64) {
        self.now.sub(n);
    }

    /// What there is.
    pub fn get(&self) -> u64 {
        self.now.get()
    }

    /// The most there was.
    pub fn peak(&self) -> u64 {
        self.peak.get()
    }

    /// All that was ever added.
    pub fn total(&self) -> u64 {
        self.total.get()
    }
}

/// What a backend did with its driver's allocator: allocations and registrations, and their ends. Memory of the language's own
/// is not counted.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct AllocatorCounters {
    pub allocations: Counter,
    pub allocation_failures: Counter,
    pub allocation_ns: Counter,
    pub frees: Counter,
    pub free_ns: Counter,
    pub free_failures: Counter,
}

impl AllocatorCounters {
    /// Counts what gets memory, and its time.
    pub fn allocate<T, E>(&self, allocate: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let got = allocate();
        self.allocation_ns.add(start.elapsed().as_nanos() as u64);
        if got.is_ok() { &self.allocations } else { &self.allocation_failures }.add(1);
        got
    }

    /// Counts what gives memory back, and its time.
    pub fn free<T, E>(&self, free: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let done = free();
        self.free_ns.add(start.elapsed().as_nanos() as u64);
        if done.is_ok() { &self.frees } else { &self.free_failures }.add(1);
        done
    }
}

/// Host waits of one object, or of one device.
#[derive(Debug, Default)]
pub struct WaitCounters {
    /// Waits that did not find their fence complete.
    pub waits: Counter,
    /// Time spent in them, in nanoseconds.
    pub wait_ns: Counter,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: Counter,
}

impl WaitCounters {
    /// Counts one wait.
    pub fn waited(&self, time: Duration) {
        self.waits.add(1);
        self.wait_ns.add(time.as_nanos() as u64);
    }
}

/// What a device counts. Bytes are levels of memory that the library owns; the rest only grows.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct DeviceCounters {
    pub host_bytes: ByteLevel,
    pub pinned_bytes: ByteLevel,
    pub device_bytes: ByteLevel,
    pub managed_bytes: ByteLevel,
    pub deferred_bytes: Counter,
    pub deferred_objects: Counter,
    pub quarantined_bytes: Counter,
    pub leaked_bytes: Counter,
    pub copies: Counter,
    pub copied_bytes: Counter,
    pub fences_recorded: Counter,
    pub device_waits: Counter,
    pub host: WaitCounters,
    pub events_created: Counter,
    pub events_on_demand: Counter,
    pub refusals: Counter,
    pub copy_failures: Counter,
    /// Damage that the debug mode found by looking, where the process goes on.
    pub damage_found: Counter,
    pub sealed_at_destroy: Counter,
    pub unfenced_pointers: Counter,
    /// Blocks and buffers with a copy that stands in for memory that kernels would not see.
    pub stand_ins: Counter,
    pub declared_unread: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_knows_its_peak_and_its_total() {
        let level = ByteLevel::default();
        level.add(5);
        level.sub(3);
        level.add(2);
        assert_eq!((level.get(), level.peak(), level.total()), (4, 5, 7));
        level.add(9);
        assert_eq!((level.get(), level.peak(), level.total()), (13, 13, 16));
    }

    #[test]
    fn allocations_that_fail_are_no_allocations() {
        let counters = AllocatorCounters::default();
        assert_eq!(counters.allocate(|| Ok::<_, ()>(1)), Ok(1));
        assert_eq!(counters.allocate(|| Err::<(), _>(2)), Err(2));
        assert_eq!(counters.free(|| Ok::<_, ()>(3)), Ok(3));
        assert_eq!(counters.free(|| Err::<(), _>(4)), Err(4));
        let seen = [&counters.allocations, &counters.allocation_failures, &counters.frees, &counters.free_failures];
        assert_eq!(seen.map(Counter::get), [1, 1, 1, 1]);
    }
}
