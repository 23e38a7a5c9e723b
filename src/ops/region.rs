//! Memory of a caller: how large it is, and whether two runs of it overlap.

use crate::error::Result;
use crate::fail;

/// Memory of the caller's must not be the library's that it is copied to or from.
pub fn expect_apart(
    own: *const u8,
    own_bytes: usize,
    name: &'static str,
    of_caller: *const u8,
    bytes: usize,
) -> Result<()> {
    let region = |name, start: *const u8, bytes| Region { name, start: start.addr(), bytes };
    region(name, of_caller, bytes).apart_from(region("the memory that it is copied to or from", own, own_bytes))
}

/// The bytes of `count` elements, which some memory can have.
pub(super) fn bytes(count: usize, each: usize, what: &str) -> Result<usize> {
    match count.checked_mul(each) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(bytes),
        _ => fail!(Overflow, "{what}: {count} times {each} bytes are more than memory can have"),
    }
}

/// A run of bytes, and what the caller knows it by.
#[derive(Clone, Copy)]
pub(super) struct Region {
    name: &'static str,
    start: usize,
    bytes: usize,
}

impl Region {
    /// `count` elements of `each` bytes from `start` on.
    pub fn new<T>(name: &'static str, start: *const T, count: usize, each: usize) -> Result<Region> {
        let bytes = bytes(count, each, name)?;
        let start = start.addr();
        if start.checked_add(bytes).is_none() {
            return fail!(Overflow, "{name}: {bytes} bytes from {start:#x} on leave the address space");
        }
        Ok(Region { name, start, bytes })
    }

    /// What is written must not be what is read.
    pub fn apart_from(self, other: Region) -> Result<()> {
        let overlap = self.bytes > 0
            && other.bytes > 0
            && self.start < other.start.saturating_add(other.bytes)
            && other.start < self.start.saturating_add(self.bytes);
        if overlap {
            return fail!(
                InvalidArgument,
                "{} ({} bytes at {:#x}) and {} ({} bytes at {:#x}) overlap",
                self.name,
                self.bytes,
                self.start,
                other.name,
                other.bytes,
                other.start
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Region;
    use crate::error::Status;
    use std::ptr::without_provenance;

    fn region(start: usize, bytes: usize) -> Region {
        Region::new("r", without_provenance::<u8>(start), bytes, 1).unwrap()
    }

    #[test]
    fn neighbours_and_empty_runs_do_not_overlap() {
        for (a, b, apart) in [
            ((100, 10), (110, 10), true),
            ((100, 10), (109, 10), false),
            ((100, 10), (100, 10), false),
            ((100, 10), (103, 2), false),
            ((100, 10), (103, 0), true),
        ] {
            assert_eq!(region(a.0, a.1).apart_from(region(b.0, b.1)).is_ok(), apart, "{a:?} {b:?}");
            assert_eq!(region(b.0, b.1).apart_from(region(a.0, a.1)).is_ok(), apart, "{b:?} {a:?}");
        }
    }

    #[test]
    fn sizes_that_no_memory_has_are_refused() {
        let start = without_provenance::<u8>(4096);
        for (start, count, each) in
            [(start, usize::MAX, 2), (start, usize::MAX / 2 + 1, 1), (without_provenance(usize::MAX - 3), 4, 1)]
        {
            let error = Region::new("r", start, count, each).map(drop).unwrap_err();
            assert_eq!(error.status(), Status::Overflow, "{count} times {each}");
        }
    }
}
