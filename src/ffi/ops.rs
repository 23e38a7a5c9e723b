//! Index operations on host memory: gather, scatter, pad, offsets, flatten, split.

use super::arguments::memory;
use super::boundary::call;
use super::entries::Entry;
use super::recorded::List;
use super::types::*;
use crate::dtype::MAX_RANK;
use crate::error::Result;
use crate::fail;
use crate::ops::{self, Integers, IntegersMut, Padding, Piece, Width};
use std::ffi::c_void;

/// Some elements in a row. One entry of a list: it has no struct_size and never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_piece {
    /// The first element; may be NULL where count is 0.
    pub data: *const c_void,
    /// How many elements.
    pub count: usize,
}

const _: () = assert!(size_of::<gpubuf_piece>() == size_of::<Piece>());
const _: () = assert!(std::mem::offset_of!(gpubuf_piece, count) == std::mem::offset_of!(Piece, count));

fn width(dtype: u32, name: &str) -> Result<Width> {
    match dtype {
        GPUBUF_DTYPE_I32 => Ok(Width::I32),
        GPUBUF_DTYPE_I64 => Ok(Width::I64),
        _ => fail!(InvalidArgument, "{name} is {dtype}: GPUBUF_DTYPE_I32 or GPUBUF_DTYPE_I64"),
    }
}

fn integers(data: *const c_void, count: usize, dtype: u32, names: [&str; 2]) -> Result<Integers> {
    let width = width(dtype, names[1])?;
    let data = memory(data, count == 0, names[0])?;
    // SAFETY: the caller's promise: `count` integers, unchanged during the call, which is as long as the list is used.
    Ok(unsafe { Integers::new(data, count, width) })
}

fn integers_out(data: *mut c_void, dtype: u32, names: [&str; 2]) -> Result<IntegersMut> {
    let width = width(dtype, names[1])?;
    let data = memory(data, false, names[0])?;
    // SAFETY: the caller's promise: room for as many integers as the header says.
    Ok(unsafe { IntegersMut::new(data, width) })
}

/// Copies rows by their numbers: row i of the target becomes row `indices[i]` of the source.
///
/// The target has room for index_count rows. All indices are checked before the first write. Memory is host memory at any
/// alignment; a pointer may be NULL where there is nothing to read or write behind it, in all gpubuf_ops_ functions. They
/// work at any time, also after a shutdown or a fork, and order nothing: on a buffer's memory use them between begin and end.
/// Errors: GPUBUF_INVALID_ARGUMENT (an index that is no row of the source: the message names position, value and limit; the
/// target overlaps source or indices; index_dtype is neither GPUBUF_DTYPE_I32 nor GPUBUF_DTYPE_I64), GPUBUF_OVERFLOW.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_ops_gather(
    source: *const c_void,
    source_count: usize,
    row_bytes: usize,
    indices: *const c_void,
    index_dtype: u32,
    index_count: usize,
    out_target: *mut c_void,
) -> gpubuf_status {
    call(
        Entry::gpubuf_ops_gather,
        (source, source_count, row_bytes, indices, index_dtype, index_count, out_target),
        |_| {
            let source = memory(source, source_count == 0 || row_bytes == 0, "source")?;
            let indices = integers(indices, index_count, index_dtype, ["indices", "index_dtype"])?;
            let target = memory(out_target, index_count == 0 || row_bytes == 0, "out_target")?;
            // SAFETY: the caller's promise: memory of these sizes.
            unsafe { ops::gather(source, source_count, row_bytes, indices, target) }
        },
    )
}

/// Copies rows to where their numbers say: row `indices[i]` of the target becomes row i of the source.
///
/// The source has index_count rows, the target target_count; rows of the target that no index names stay as they are. Where an
/// index comes twice, the last one wins. All indices are checked before the first write.
/// Errors: GPUBUF_INVALID_ARGUMENT (an index that is no row of the target: the message names position, value and limit; the
/// target overlaps source or indices; an unknown index_dtype), GPUBUF_OVERFLOW.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_ops_scatter(
    source: *const c_void,
    row_bytes: usize,
    indices: *const c_void,
    index_dtype: u32,
    index_count: usize,
    out_target: *mut c_void,
    target_count: usize,
) -> gpubuf_status {
    call(
        Entry::gpubuf_ops_scatter,
        (source, row_bytes, indices, index_dtype, index_count, out_target, target_count),
        |_| {
            let source = memory(source, index_count == 0 || row_bytes == 0, "source")?;
            let indices = integers(indices, index_count, index_dtype, ["indices", "index_dtype"])?;
            let target = memory(out_target, target_count == 0 || row_bytes == 0, "out_target")?;
            // SAFETY: the caller's promise: memory of these sizes.
            unsafe { ops::scatter(source, row_bytes, indices, target, target_count) }
        },
    )
}

/// The padding, and whether there are no elements at all.
fn padding(shape: *const u64, rank: u32, element_bytes: usize, axis: u32, multiple: u64) -> Result<(Padding, bool)> {
    if shape.is_null() {
        return fail!(InvalidArgument, "shape is NULL");
    }
    let rank = rank as usize;
    if rank > MAX_RANK {
        return fail!(InvalidArgument, "rank is {rank}: 1 to {MAX_RANK}");
    }
    let mut dims = [0; MAX_RANK];
    for (at, dim) in dims.iter_mut().enumerate().take(rank) {
        // SAFETY: the caller's promise: `rank` numbers.
        *dim = unsafe { shape.add(at).read_unaligned() };
    }
    let padding = Padding::new(&dims[..rank], element_bytes, axis as usize, multiple)?;
    Ok((padding, padding.count() == 0))
}

/// Copies a row-major array and pads one axis of the copy to a multiple, with elements of this value.
///
/// `shape` has 1 to GPUBUF_MAX_RANK extents, outermost first; an extent may be 0, which is a multiple. `capacity` is the
/// target's room in elements. `out_extent` gets the axis's extent once padded.
/// Errors: GPUBUF_INVALID_ARGUMENT (rank, axis, element_bytes or multiple out of range; the target overlaps source or value),
/// GPUBUF_OVERFLOW (the padded array has more elements than capacity, or than memory can have).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_ops_pad(
    source: *const c_void,
    shape: *const u64,
    rank: u32,
    element_bytes: usize,
    axis: u32,
    multiple: u64,
    value: *const c_void,
    out_target: *mut c_void,
    capacity: usize,
    out_extent: *mut u64,
) -> gpubuf_status {
    call(
        Entry::gpubuf_ops_pad,
        (
            source,
            List(shape, rank as usize),
            rank,
            element_bytes,
            axis,
            multiple,
            value,
            out_target,
            capacity,
            out_extent,
        ),
        |c| {
            let (padding, empty) = padding(shape, rank, element_bytes, axis, multiple)?;
            let source = memory(source, empty, "source")?;
            let value = memory(value, empty, "value")?;
            let target = memory(out_target, empty, "out_target")?;
            let out = c.out(out_extent, "out_extent")?;
            // SAFETY: the caller's promise: memory of these sizes.
            unsafe { padding.copy(source, value, target, capacity)? };
            out.set(padding.extent());
            Ok(())
        },
    )
}

/// As gpubuf_ops_pad, where the array is: at the start of `inout_data`, which has room for `capacity` elements.
///
/// Errors: as gpubuf_ops_pad.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_ops_pad_in_place(
    inout_data: *mut c_void,
    capacity: usize,
    shape: *const u64,
    rank: u32,
    element_bytes: usize,
    axis: u32,
    multiple: u64,
    value: *const c_void,
    out_extent: *mut u64,
) -> gpubuf_status {
    call(
        Entry::gpubuf_ops_pad_in_place,
        (inout_data, capacity, List(shape, rank as usize), rank, element_bytes, axis, multiple, value, out_extent),
        |c| {
            let (padding, empty) = padding(shape, rank, element_bytes, axis, multiple)?;
            let data = memory(inout_data, empty, "inout_data")?;
            let value = memory(value, empty, "value")?;
            let out = c.out(out_extent, "out_extent")?;
            // SAFETY: the caller's promise: memory of these sizes.
            unsafe { padding.in_place(data, capacity, value)? };
            out.set(padding.extent());
            Ok(())
        },
    )
}

/// The count + 1 offsets of count lengths: a 0, then the sum up to and with each length; the last one is the total.
///
/// Nothing is written before every length and every sum is checked.
/// Errors: GPUBUF_INVALID_ARGUMENT (a negative length; offsets and lengths overlap; an unknown dtype), GPUBUF_OVERFLOW (a sum
/// does not fit offset_dtype).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_ops_offsets(
    lengths: *const c_void,
    length_dtype: u32,
    count: usize,
    offset_dtype: u32,
    out_offsets: *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_ops_offsets, (lengths, length_dtype, count, offset_dtype, out_offsets), |_| {
        let lengths = integers(lengths, count, length_dtype, ["lengths", "length_dtype"])?;
        let offsets = integers_out(out_offsets, offset_dtype, ["out_offsets", "offset_dtype"])?;
        // SAFETY: the caller's promise: room for one integer more than there are lengths.
        unsafe { ops::offsets(lengths, offsets) }
    })
}

/// Copies pieces of different lengths one behind the other, and tells where each begins.
///
/// `capacity` is the target's room in elements. `out_offsets` gets piece_count + 1 integers: piece i lies from the i-th to
/// the next, and the last one is the total. Nothing is written before everything is checked.
/// Errors: GPUBUF_INVALID_ARGUMENT (a piece without data; outputs overlap each other or what is read; an unknown
/// offset_dtype), GPUBUF_OVERFLOW (the total is more than capacity, than memory can have, or than fits offset_dtype).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_ops_flatten(
    pieces: *const gpubuf_piece,
    piece_count: usize,
    element_bytes: usize,
    offset_dtype: u32,
    out_target: *mut c_void,
    capacity: usize,
    out_offsets: *mut c_void,
) -> gpubuf_status {
    call(
        Entry::gpubuf_ops_flatten,
        (pieces, piece_count, element_bytes, offset_dtype, out_target, capacity, out_offsets),
        |_| {
            let list = memory(pieces, piece_count == 0, "pieces")?;
            let target = memory(out_target, capacity == 0 || piece_count == 0 || element_bytes == 0, "out_target")?;
            let offsets = integers_out(out_offsets, offset_dtype, ["out_offsets", "offset_dtype"])?;
            // SAFETY: the caller's promise: `piece_count` pieces, which are valid; room for the capacity and for the offsets.
            // A gpubuf_piece has the layout of a Piece.
            unsafe { ops::flatten(list.cast(), piece_count, element_bytes, target, capacity, offsets) }.map(drop)
        },
    )
}

/// The pieces of an array as views, between neighbouring offsets: no element is copied.
///
/// `source` has count elements, `offsets` piece_count + 1 integers; it may be NULL where piece_count is 0. The first offset is
/// 0, none is less than the one before it, and the last is at most count. A piece is valid as long as the source's memory.
/// Errors: GPUBUF_INVALID_ARGUMENT (offsets that are none: the message names the first wrong one; out_pieces overlaps offsets;
/// an unknown offset_dtype), GPUBUF_OVERFLOW.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_ops_split(
    source: *const c_void,
    count: usize,
    element_bytes: usize,
    offsets: *const c_void,
    offset_dtype: u32,
    piece_count: usize,
    out_pieces: *mut gpubuf_piece,
) -> gpubuf_status {
    call(
        Entry::gpubuf_ops_split,
        (source, count, element_bytes, offsets, offset_dtype, piece_count, out_pieces),
        |_| {
            memory(source, count == 0 || element_bytes == 0, "source")?;
            let Some(entries) = piece_count.checked_add(1) else {
                return fail!(Overflow, "piece_count is {piece_count}");
            };
            let entries = if piece_count == 0 && offsets.is_null() { 0 } else { entries };
            let offsets = integers(offsets, entries, offset_dtype, ["offsets", "offset_dtype"])?;
            let out = memory(out_pieces, piece_count == 0, "out_pieces")?;
            // SAFETY: the caller's promise: these offsets, and room for `piece_count` pieces.
            // A gpubuf_piece has the layout of a Piece.
            unsafe { ops::split(source.cast(), count, element_bytes, offsets, out.cast()) }
        },
    )
}
