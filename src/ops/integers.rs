//! Lists of integers as callers have them: indices, lengths and offsets, 32 or 64 bits wide, at any address.

use super::region::Region;
use crate::error::Result;

/// How wide the integers of a list are. All are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

impl Width {
    /// Bytes of one integer.
    pub const fn bytes(self) -> usize {
        match self {
            Width::I32 => 4,
            Width::I64 => 8,
        }
    }

    /// The largest value.
    pub const fn max(self) -> i64 {
        match self {
            Width::I32 => i32::MAX as i64,
            Width::I64 => i64::MAX,
        }
    }

    /// The type's short name.
    pub const fn name(self) -> &'static str {
        match self {
            Width::I32 => "i32",
            Width::I64 => "i64",
        }
    }
}

/// A list to read.
#[derive(Clone, Copy, Debug)]
pub struct Integers {
    pub(super) data: *const u8,
    pub(super) count: usize,
    pub(super) width: Width,
}

impl Integers {
    /// # Safety
    /// `data` is valid for reads of `count` integers, at no particular alignment, for as long as the list is used.
    pub unsafe fn new(data: *const u8, count: usize, width: Width) -> Integers {
        Integers { data, count, width }
    }

    pub(super) fn region(self, name: &'static str) -> Result<Region> {
        Region::new(name, self.data, self.count, self.width.bytes())
    }

    /// # Safety
    /// `at` is below the count.
    #[inline]
    pub(super) unsafe fn get(self, at: usize) -> i64 {
        // SAFETY: inside the list, by the promises of `new` and of the caller.
        unsafe {
            match self.width {
                Width::I32 => self.data.cast::<i32>().add(at).read_unaligned().into(),
                Width::I64 => self.data.cast::<i64>().add(at).read_unaligned(),
            }
        }
    }
}

/// A list to write.
#[derive(Clone, Copy, Debug)]
pub struct IntegersMut {
    pub(super) data: *mut u8,
    pub(super) width: Width,
}

impl IntegersMut {
    /// # Safety
    /// `data` is valid for writes of as many integers as the operation that gets it writes, at no particular alignment.
    pub unsafe fn new(data: *mut u8, width: Width) -> IntegersMut {
        IntegersMut { data, width }
    }

    pub(super) fn region(self, name: &'static str, count: usize) -> Result<Region> {
        Region::new(name, self.data, count, self.width.bytes())
    }

    /// # Safety
    /// `at` is inside the list, and `value` fits its width.
    #[inline]
    pub(super) unsafe fn set(self, at: usize, value: i64) {
        // SAFETY: inside the list, by the promises of `new` and of the caller.
        unsafe {
            match self.width {
                Width::I32 => self.data.cast::<i32>().add(at).write_unaligned(value as i32),
                Width::I64 => self.data.cast::<i64>().add(at).write_unaligned(value),
            }
        }
    }
}
