//! Gather and scatter: rows of any size, moved by a list of indices that is checked as a whole before the first write.

use super::copy;
use super::integers::{Integers, Width};
use super::region::Region;
use crate::error::Result;
use crate::fail;

/// `target[i] = source[indices[i]]`, for rows of `row_bytes` bytes.
///
/// # Safety
/// `source` is valid for reads of `source_rows` rows, `target` for writes of as many rows as there are indices, and nobody
/// else writes them or the indices meanwhile.
pub unsafe fn gather(
    source: *const u8,
    source_rows: usize,
    row_bytes: usize,
    indices: Integers,
    target: *mut u8,
) -> Result<()> {
    let written = Region::new("target", target, indices.count, row_bytes)?;
    written.apart_from(Region::new("source", source, source_rows, row_bytes)?)?;
    written.apart_from(indices.region("indices")?)?;
    check(indices, source_rows, "source")?;
    // SAFETY: the caller's promise; every index is below `source_rows`.
    unsafe { move_all::<false>(source, row_bytes, indices, target) };
    Ok(())
}

/// `target[indices[i]] = source[i]`, for rows of `row_bytes` bytes, in the order of the indices.
///
/// # Safety
/// `source` is valid for reads of as many rows as there are indices, `target` for writes of `target_rows` rows, and nobody
/// else writes them or the indices meanwhile.
pub unsafe fn scatter(
    source: *const u8,
    row_bytes: usize,
    indices: Integers,
    target: *mut u8,
    target_rows: usize,
) -> Result<()> {
    let written = Region::new("target", target, target_rows, row_bytes)?;
    written.apart_from(Region::new("source", source, indices.count, row_bytes)?)?;
    written.apart_from(indices.region("indices")?)?;
    check(indices, target_rows, "target")?;
    // SAFETY: the caller's promise; every index is below `target_rows`.
    unsafe { move_all::<true>(source, row_bytes, indices, target) };
    Ok(())
}

/// Every index is the number of a row.
fn check(indices: Integers, rows: usize, what: &str) -> Result<()> {
    let wrong = match indices.width {
        Width::I32 => any_outside::<i32>(indices, rows),
        Width::I64 => any_outside::<i64>(indices, rows),
    };
    if wrong { refuse(indices, rows, what) } else { Ok(()) }
}

/// Whether one of the indices, which are of type `I`, is no row. As unsigned numbers negative ones are above every limit: one
/// comparison each, and no branch.
fn any_outside<I: Index>(indices: Integers, rows: usize) -> bool {
    (0..indices.count).fold(false, |wrong, at| {
        // SAFETY: `at` is below the count.
        let index = unsafe { indices.data.cast::<I>().add(at).read_unaligned() };
        wrong | (index.row() >= rows)
    })
}

#[cold]
fn refuse(indices: Integers, rows: usize, what: &str) -> Result<()> {
    for at in 0..indices.count {
        // SAFETY: `at` is below the count.
        let index = unsafe { indices.get(at) };
        if index as u64 >= rows as u64 {
            return fail!(InvalidArgument, "indices[{at}] is {index}: {what} has {rows} rows, counted from 0");
        }
    }
    fail!(InvalidArgument, "the indices changed while they were checked")
}

/// # Safety
/// Both sides are valid for their rows, do not overlap, and every index is one of theirs.
unsafe fn move_all<const SCATTER: bool>(source: *const u8, row_bytes: usize, indices: Integers, target: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match indices.width {
            Width::I32 => move_by::<SCATTER, i32>(source, row_bytes, indices, target),
            Width::I64 => move_by::<SCATTER, i64>(source, row_bytes, indices, target),
        }
    }
}

/// The types of indices.
trait Index: Copy {
    /// As the number of a row; a negative one becomes a number that no row has.
    fn row(self) -> usize;
}

impl Index for i32 {
    #[inline]
    fn row(self) -> usize {
        self as usize
    }
}

impl Index for i64 {
    #[inline]
    fn row(self) -> usize {
        self as usize
    }
}

/// # Safety
/// As [`move_all`], and the indices are of type `I`.
unsafe fn move_by<const SCATTER: bool, I: Index>(
    source: *const u8,
    row_bytes: usize,
    indices: Integers,
    target: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match row_bytes {
            0 => {}
            1 => move_fixed::<SCATTER, I, u8>(source, indices, target),
            2 => move_fixed::<SCATTER, I, u16>(source, indices, target),
            4 => move_fixed::<SCATTER, I, u32>(source, indices, target),
            8 => move_fixed::<SCATTER, I, u64>(source, indices, target),
            16 => move_fixed::<SCATTER, I, u128>(source, indices, target),
            _ => {
                for at in 0..indices.count {
                    let row = indices.data.cast::<I>().add(at).read_unaligned().row();
                    let (from, to) = if SCATTER { (at, row) } else { (row, at) };
                    copy(target.add(to * row_bytes), source.add(from * row_bytes), row_bytes);
                }
            }
        }
    }
}

/// # Safety
/// As [`move_by`], for rows of the size of `R`.
unsafe fn move_fixed<const SCATTER: bool, I: Index, R: Copy>(source: *const u8, indices: Integers, target: *mut u8) {
    let (source, target) = (source.cast::<R>(), target.cast::<R>());
    for at in 0..indices.count {
        // SAFETY: the caller's promise; nothing is asked of the alignment.
        unsafe {
            let row = indices.data.cast::<I>().add(at).read_unaligned().row();
            let (from, to) = if SCATTER { (at, row) } else { (row, at) };
            target.add(to).write_unaligned(source.add(from).read_unaligned());
        }
    }
}
