//! The one door to locks and atomics, so that a checker can take their place: `crates/models` compiles the modules above
//! this one with locks and atomics of its own.

mod ended;
mod one_thread;

pub use ended::Ended;
pub use one_thread::OneThread;
pub use parking_lot::{Condvar, MappedMutexGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard};
pub use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub use std::sync::{Arc, OnceLock, Weak};
pub use std::thread::yield_now;

/// Numbers that order nothing, as counters and serial numbers are: a checker leaves them as they are.
pub mod plain {
    pub use std::sync::atomic::{AtomicU32, AtomicU64};
}

/// Sizes that a checker makes small, to see what lies beyond them.
pub mod sizes {
    /// Events that a stream makes ahead, so that a step never makes one.
    pub const EVENTS_PER_STREAM: usize = 256;
    /// Handles that the table makes room for at once.
    pub const HANDLES_PER_CHUNK: usize = 4096;
    /// How often, at most.
    pub const HANDLE_CHUNKS: usize = 4096;
    /// A host wait looks this many nanoseconds before it sleeps: a wake-up costs more.
    pub const SPIN_NS: u64 = 10_000;
}

/// A value that others guard: a checker looks whether they do.
pub struct Guarded<T>(std::cell::UnsafeCell<T>);

impl<T> Guarded<T> {
    /// Around a value.
    pub const fn new(value: T) -> Guarded<T> {
        Guarded(std::cell::UnsafeCell::new(value))
    }

    /// Its address, to read it now.
    pub fn read(&self) -> *const T {
        self.0.get()
    }

    /// Its address, to change it now.
    pub fn write(&self) -> *mut T {
        self.0.get()
    }
}
