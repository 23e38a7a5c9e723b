//! Sequences of different lengths in one array: offsets from lengths, flatten, and split into views.

use super::copy;
use super::integers::{Integers, IntegersMut, Width};
use super::region::{Region, bytes};
use crate::error::Result;
use crate::fail;

/// Some elements, wherever they are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first one; anything where there is none.
    pub data: *const u8,
    /// How many.
    pub count: usize,
}

/// Adds a length to an offset, as long as the sum fits.
fn advance(total: i64, length: i64, width: Width, name: impl Fn() -> String) -> Result<i64> {
    match total.checked_add(length) {
        Some(sum) if sum <= width.max() => Ok(sum),
        _ => fail!(Overflow, "with {} of {length} after {total} the offsets no longer fit {}", name(), width.name()),
    }
}

/// The `n + 1` offsets of `n` lengths: a 0, then the sum up to and with each.
///
/// # Safety
/// `offsets` has room for one integer more than there are lengths, and nobody else writes either meanwhile.
pub unsafe fn offsets(lengths: Integers, offsets: IntegersMut) -> Result<()> {
    let Some(entries) = lengths.count.checked_add(1) else {
        return fail!(Overflow, "there are {} lengths", lengths.count);
    };
    offsets.region("offsets", entries)?.apart_from(lengths.region("lengths")?)?;
    let mut total = 0;
    for at in 0..lengths.count {
        // SAFETY: `at` is below the count.
        let length = unsafe { lengths.get(at) };
        if length < 0 {
            return fail!(InvalidArgument, "lengths[{at}] is {length}: at least 0");
        }
        total = advance(total, length, offsets.width, || format!("lengths[{at}]"))?;
    }
    let mut total = 0;
    // SAFETY: one entry more than lengths, by the caller's promise; no sum is larger than the last, which fits.
    unsafe {
        offsets.set(0, total);
        for at in 0..lengths.count {
            total += lengths.get(at);
            offsets.set(at + 1, total);
        }
    }
    Ok(())
}

/// Puts the pieces one behind the other into `target`, which has room for `capacity` elements, and writes the
/// `piece_count + 1` offsets. Returns how many elements there are.
///
/// # Safety
/// `pieces` is a list of `piece_count`, each valid for reads of its elements; `target` is valid for writes of `capacity`
/// elements, `offsets` of `piece_count + 1` integers; and nobody else writes any of it meanwhile.
pub unsafe fn flatten(
    pieces: *const Piece,
    piece_count: usize,
    element_bytes: usize,
    target: *mut u8,
    capacity: usize,
    offsets: IntegersMut,
) -> Result<usize> {
    let Some(entries) = piece_count.checked_add(1) else {
        return fail!(Overflow, "there are {piece_count} pieces");
    };
    // SAFETY: the caller's promise; nothing is asked of the alignment.
    let piece = |at| unsafe { pieces.add(at).read_unaligned() };
    let mut total = 0;
    for at in 0..piece_count {
        let piece = piece(at);
        if piece.data.is_null() && piece.count > 0 && element_bytes > 0 {
            return fail!(InvalidArgument, "pieces[{at}].data is NULL and its count is {}", piece.count);
        }
        let length = i64::try_from(piece.count).unwrap_or(i64::MAX);
        total = advance(total, length, offsets.width, || format!("pieces[{at}]"))?;
    }
    let total = total as usize;
    if total > capacity {
        return fail!(Overflow, "the pieces have {total} elements, and target has room for {capacity}");
    }
    let written = Region::new("target", target, total, element_bytes)?;
    let marked = offsets.region("offsets", entries)?;
    let list = Region::new("pieces", pieces, piece_count, size_of::<Piece>())?;
    written.apart_from(marked)?;
    written.apart_from(list)?;
    marked.apart_from(list)?;
    for at in 0..piece_count {
        let piece = piece(at);
        let read = Region::new("a piece", piece.data, piece.count, element_bytes)?;
        written
            .apart_from(read)
            .and_then(|()| marked.apart_from(read))
            .map_err(|e| e.context(format!("pieces[{at}]")))?;
    }
    let mut at_element = 0;
    // SAFETY: the pieces fit the target, which none overlaps, and every sum fits an offset, by the checks above.
    unsafe {
        offsets.set(0, 0);
        for at in 0..piece_count {
            let piece = piece(at);
            let bytes = piece.count * element_bytes;
            if bytes > 0 {
                copy(target.add(at_element * element_bytes), piece.data, bytes);
            }
            at_element += piece.count;
            offsets.set(at + 1, at_element as i64);
        }
    }
    Ok(total)
}

/// Writes the pieces of an array of `count` elements between neighbouring offsets, as views. No offsets: no pieces.
///
/// # Safety
/// `pieces` is valid for writes of one piece less than there are offsets, and nobody else writes either meanwhile. The source
/// is not read.
pub unsafe fn split(
    source: *const u8,
    count: usize,
    element_bytes: usize,
    offsets: Integers,
    pieces: *mut Piece,
) -> Result<()> {
    bytes(count, element_bytes, "source")?;
    let list = Region::new("pieces", pieces, offsets.count.saturating_sub(1), size_of::<Piece>())?;
    list.apart_from(offsets.region("offsets")?)?;
    let mut before = 0;
    for at in 0..offsets.count {
        // SAFETY: `at` is below the count.
        let offset = unsafe { offsets.get(at) };
        if at == 0 && offset != 0 {
            return fail!(InvalidArgument, "offsets[0] is {offset}: the first one is 0");
        }
        if offset < before {
            return fail!(InvalidArgument, "offsets[{at}] is {offset}, less than the one before it, {before}");
        }
        if offset as u64 > count as u64 {
            return fail!(InvalidArgument, "offsets[{at}] is {offset}: source has {count} elements");
        }
        before = offset;
    }
    for at in 1..offsets.count {
        // SAFETY: both are below the count, and there is room for a piece between each two.
        unsafe {
            let (first, end) = (offsets.get(at - 1) as usize, offsets.get(at) as usize);
            let piece = Piece { data: source.wrapping_add(first * element_bytes), count: end - first };
            pieces.add(at - 1).write_unaligned(piece);
        }
    }
    Ok(())
}
