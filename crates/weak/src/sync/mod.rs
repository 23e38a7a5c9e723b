//! In the place of the library's `sync`, over loom's atomics. One place in the sources may be made weaker than it is written: a
//! model must notice.

mod ended;
mod one_thread;

pub use ended::Ended;
pub use loom::sync::atomic::Ordering;
pub use loom::thread::yield_now;
pub use one_thread::OneThread;
use std::cell::{OnceCell, UnsafeCell};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Mutex as Plain;

/// A place in the sources that orders memory: file, line, column.
pub type Site = (&'static str, u32, u32);

static SITES: Plain<BTreeSet<Site>> = Plain::new(BTreeSet::new());
static WEAKENED: Plain<Option<Site>> = Plain::new(None);

/// Every site met so far, and from now on none.
pub fn take_sites() -> BTreeSet<Site> {
    std::mem::take(&mut *SITES.lock().unwrap_or_else(|e| e.into_inner()))
}

/// Makes one site relaxed.
pub fn weaken(site: Option<Site>) {
    *WEAKENED.lock().unwrap_or_else(|e| e.into_inner()) = site;
}

fn is_weakened(at: &'static Location<'static>) -> bool {
    let site = (at.file(), at.line(), at.column());
    SITES.lock().unwrap_or_else(|e| e.into_inner()).insert(site);
    *WEAKENED.lock().unwrap_or_else(|e| e.into_inner()) == Some(site)
}

fn order(at: &'static Location<'static>, order: Ordering) -> Ordering {
    match order {
        Ordering::Relaxed => order,
        _ if is_weakened(at) => Ordering::Relaxed,
        _ => order,
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty $(, $more:ident)*) => {
        #[derive(Debug, Default)]
        pub struct $name(loom::sync::atomic::$name);

        #[allow(dead_code)]
        impl $name {
            pub fn new(value: $value) -> $name {
                $name(loom::sync::atomic::$name::new(value))
            }
            #[track_caller]
            pub fn load(&self, o: Ordering) -> $value {
                self.0.load(order(Location::caller(), o))
            }
            #[track_caller]
            pub fn store(&self, value: $value, o: Ordering) {
                self.0.store(value, order(Location::caller(), o))
            }
            #[track_caller]
            pub fn swap(&self, value: $value, o: Ordering) -> $value {
                self.0.swap(value, order(Location::caller(), o))
            }
            #[track_caller]
            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                o: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                let o = order(Location::caller(), o);
                self.0.compare_exchange(old, new, o, failed)
            }
            #[track_caller]
            pub fn fetch_update(
                &self,
                o: Ordering,
                failed: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let o = order(Location::caller(), o);
                self.0.fetch_update(o, failed, update)
            }
            $(#[track_caller]
            pub fn $more(&self, value: $value, o: Ordering) -> $value {
                self.0.$more(value, order(Location::caller(), o))
            })*
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU64, u64, fetch_add, fetch_sub, fetch_max, fetch_or);

/// Made in a constant: loom knows it from its first use on, which a model makes before there are other threads.
pub struct AtomicPtr<T> {
    first: *mut T,
    cell: OnceCell<loom::sync::atomic::AtomicPtr<T>>,
}

// SAFETY: all threads of a model run on one thread of the system.
unsafe impl<T> Send for AtomicPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for AtomicPtr<T> {}

impl<T> AtomicPtr<T> {
    pub const fn new(first: *mut T) -> AtomicPtr<T> {
        AtomicPtr { first, cell: OnceCell::new() }
    }

    fn cell(&self) -> &loom::sync::atomic::AtomicPtr<T> {
        self.cell.get_or_init(|| loom::sync::atomic::AtomicPtr::new(self.first))
    }

    #[track_caller]
    pub fn load(&self, o: Ordering) -> *mut T {
        let o = order(Location::caller(), o);
        self.cell().load(o)
    }

    #[track_caller]
    pub fn store(&self, value: *mut T, o: Ordering) {
        let o = order(Location::caller(), o);
        self.cell().store(value, o)
    }
}

#[track_caller]
pub fn fence(order: Ordering) {
    if !is_weakened(Location::caller()) {
        loom::sync::atomic::fence(order);
    }
}

/// A value that others guard: loom looks whether they do.
pub struct Guarded<T>(loom::cell::UnsafeCell<T>);

impl<T> Guarded<T> {
    pub fn new(value: T) -> Guarded<T> {
        Guarded(loom::cell::UnsafeCell::new(value))
    }

    #[track_caller]
    pub fn read(&self) -> *const T {
        self.0.with(|value| value)
    }

    #[track_caller]
    pub fn write(&self) -> *mut T {
        self.0.with_mut(|value| value)
    }
}

/// A lock of one atomic, which orders no more than the library's does: acquire where it is taken, release where it is let go,
/// nothing where it is found held.
pub struct Mutex<T> {
    held: OnceCell<loom::sync::atomic::AtomicBool>,
    value: UnsafeCell<T>,
}

// SAFETY: all threads of a model run on one thread of the system.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

pub struct MutexGuard<'a, T>(&'a Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { held: OnceCell::new(), value: UnsafeCell::new(value) }
    }

    fn held(&self) -> &loom::sync::atomic::AtomicBool {
        self.held.get_or_init(|| loom::sync::atomic::AtomicBool::new(false))
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let taken = self.held().compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| MutexGuard(self))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        loop {
            match self.try_lock() {
                Some(guard) => return guard,
                None => yield_now(),
            }
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.0.held().store(false, Ordering::Release);
    }
}
