//! Atomics in one order: a switch before each operation is all there is to try.

use super::switch;
pub use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $value:ty $(, $more:ident)*) => {
        #[derive(Debug, Default)]
        pub struct $name(std::sync::atomic::$name);

        impl $name {
            pub const fn new(value: $value) -> $name {
                $name(std::sync::atomic::$name::new(value))
            }
            pub fn load(&self, _: Ordering) -> $value {
                switch();
                self.0.load(Ordering::SeqCst)
            }
            pub fn store(&self, value: $value, _: Ordering) {
                switch();
                self.0.store(value, Ordering::SeqCst)
            }
            pub fn swap(&self, value: $value, _: Ordering) -> $value {
                switch();
                self.0.swap(value, Ordering::SeqCst)
            }
            pub fn compare_exchange(&self, old: $value, new: $value, _: Ordering, _: Ordering) -> Result<$value, $value> {
                switch();
                self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            }
            pub fn fetch_update(
                &self,
                _: Ordering,
                _: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                switch();
                self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update)
            }
            $(pub fn $more(&self, value: $value, _: Ordering) -> $value {
                switch();
                self.0.$more(value, Ordering::SeqCst)
            })*
        }
    };
}

atomic!(AtomicBool, bool, fetch_or, fetch_and);
atomic!(AtomicI64, i64, fetch_add, fetch_sub, fetch_max);
atomic!(AtomicU32, u32, fetch_add, fetch_sub, fetch_max, fetch_or, fetch_and);
atomic!(AtomicU64, u64, fetch_add, fetch_sub, fetch_max, fetch_or, fetch_and);
atomic!(AtomicUsize, usize, fetch_add, fetch_sub, fetch_max, fetch_or, fetch_and);

#[derive(Debug)]
pub struct AtomicPtr<T>(std::sync::atomic::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    pub const fn new(value: *mut T) -> AtomicPtr<T> {
        AtomicPtr(std::sync::atomic::AtomicPtr::new(value))
    }
    pub fn load(&self, _: Ordering) -> *mut T {
        switch();
        self.0.load(Ordering::SeqCst)
    }
    pub fn swap(&self, value: *mut T, _: Ordering) -> *mut T {
        switch();
        self.0.swap(value, Ordering::SeqCst)
    }
    pub fn store(&self, value: *mut T, _: Ordering) {
        switch();
        self.0.store(value, Ordering::SeqCst)
    }
}

pub fn fence(_: Ordering) {}
