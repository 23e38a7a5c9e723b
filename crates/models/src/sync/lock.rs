//! Locks that switch threads before they are taken; where they are tried, afterwards too, so that others find them held.

use super::{Parker, switch};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    held: Cell<bool>,
    waiters: RefCell<Vec<Parker>>,
    value: UnsafeCell<T>,
}

unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    not_send: PhantomData<*const ()>,
}

/// A part of what a lock guards; the lock is let go by the function.
pub struct MappedMutexGuard<'a, T: ?Sized> {
    value: *mut T,
    unlock: Box<dyn Fn() + 'a>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { held: Cell::new(false), waiters: RefCell::new(Vec::new()), value: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        switch();
        self.take();
        self.guard()
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        switch();
        let guard = (!self.held.replace(true)).then(|| self.guard());
        switch();
        guard
    }

    /// No model limits the wait for a lock.
    pub fn try_lock_for(&self, _: std::time::Duration) -> Option<MutexGuard<'_, T>> {
        Some(self.lock())
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    pub(super) fn take(&self) {
        while self.held.replace(true) {
            assert!(!std::thread::panicking(), "a lock is not had while a panic unwinds");
            let parker = Parker::default();
            self.waiters.borrow_mut().push(parker.clone());
            parker.park();
        }
    }

    pub(super) fn let_go(&self) {
        self.held.set(false);
        if std::thread::panicking() {
            return;
        }
        let waiters = self.waiters.take();
        waiters.iter().for_each(|waiter| waiter.unpark());
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, not_send: PhantomData }
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    pub(super) fn lock_of(guard: &MutexGuard<'a, T>) -> &'a Mutex<T> {
        guard.lock
    }

    pub fn map<U: ?Sized>(guard: MutexGuard<'a, T>, part: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let lock = guard.lock;
        std::mem::forget(guard);
        // SAFETY: the lock is held, until the new guard lets it go.
        let value: *mut U = part(unsafe { &mut *lock.value.get() });
        MappedMutexGuard { value, unlock: Box::new(move || lock.let_go()) }
    }

    pub fn unlocked<R>(guard: &mut MutexGuard<'a, T>, f: impl FnOnce() -> R) -> R {
        guard.lock.let_go();
        let result = f();
        switch();
        guard.lock.take();
        result
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized + std::fmt::Display> std::fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.let_go();
    }
}

impl<T: ?Sized> Deref for MappedMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        unsafe { &*self.value }
    }
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        unsafe { &mut *self.value }
    }
}

impl<T: ?Sized> Drop for MappedMutexGuard<'_, T> {
    fn drop(&mut self) {
        (self.unlock)();
    }
}

/// Readers exclude each other here: the models do not use it.
#[derive(Default)]
pub struct RwLock<T>(Mutex<T>);

pub type RwLockReadGuard<'a, T> = MutexGuard<'a, T>;

impl<T> RwLock<T> {
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(Mutex::new(value))
    }
    pub fn read(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
    pub fn read_recursive(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
    pub fn write(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}
