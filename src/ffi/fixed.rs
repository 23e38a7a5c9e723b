//! A list with its room in place.

use std::mem::MaybeUninit;
use std::ops::Deref;

/// Up to `N` values, without an allocation.
pub struct Fixed<T, const N: usize> {
    values: [MaybeUninit<T>; N],
    length: usize,
}

impl<T, const N: usize> Fixed<T, N> {
    /// An empty list.
    pub const fn new() -> Fixed<T, N> {
        Fixed { values: [const { MaybeUninit::uninit() }; N], length: 0 }
    }

    /// Adds a value; a full list gives it back.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        match self.values.get_mut(self.length) {
            Some(place) => {
                place.write(value);
                self.length += 1;
                Ok(())
            }
            None => Err(value),
        }
    }

    /// Takes the last value.
    pub fn pop(&mut self) -> Option<T> {
        self.length = self.length.checked_sub(1)?;
        // SAFETY: written by push, and now past the end.
        Some(unsafe { self.values[self.length].assume_init_read() })
    }
}

impl<T, const N: usize> Deref for Fixed<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `length` values were written by push.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr().cast(), self.length) }
    }
}

impl<T, const N: usize> Drop for Fixed<T, N> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;

    #[test]
    fn values_are_dropped_once() {
        let value = Arc::new(());
        let mut list: Fixed<Arc<()>, 3> = Fixed::new();
        for _ in 0..3 {
            assert!(list.push(value.clone()).is_ok());
        }
        assert!(list.push(value.clone()).is_err());
        assert_eq!(list.len(), 3);
        drop(list.pop());
        assert_eq!(Arc::strong_count(&value), 3);
        drop(list);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
