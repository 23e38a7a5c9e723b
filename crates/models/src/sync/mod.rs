//! In the place of the library's `sync`: each lock, wait and atomic operation may switch threads.
//!
//! All threads of a model run on one thread of the system, one at a time, so that plain cells hold the state.

mod atomics;
mod condvar;
mod lock;

mod ended;
mod one_thread;

pub use atomics::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use condvar::begin_time;
pub use condvar::{Condvar, Sleepers, Waited, time_passes};
pub use ended::Ended;
pub use lock::{MappedMutexGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard};
pub use one_thread::OneThread;
pub use std::sync::{Arc, OnceLock, Weak};

pub mod plain {
    pub use std::sync::atomic::{AtomicU32, AtomicU64};
}

/// Small, so that a model gets beyond them.
pub mod sizes {
    pub const EVENTS_PER_STREAM: usize = 1;
    pub const HANDLES_PER_CHUNK: usize = 2;
    pub const HANDLE_CHUNKS: usize = 2;
    pub const SPIN_NS: u64 = 0;
}

/// Another thread may come first from here on.
pub fn switch() {
    if !std::thread::panicking() {
        shuttle::thread::sleep(std::time::Duration::ZERO);
    }
}

/// Where one thread sleeps until it is woken, and never wakes by itself.
#[derive(Clone)]
pub struct Parker(Arc<shuttle::future::batch_semaphore::BatchSemaphore>);

impl Default for Parker {
    fn default() -> Parker {
        use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
        Parker(Arc::new(BatchSemaphore::const_new(0, Fairness::StrictlyFair)))
    }
}

impl Parker {
    fn park(&self) {
        let _ = self.0.acquire_blocking(1);
    }

    fn unpark(&self) {
        self.0.release(1);
    }
}

/// Nothing comes of going on at once.
pub fn yield_now() {
    shuttle::thread::yield_now();
}
