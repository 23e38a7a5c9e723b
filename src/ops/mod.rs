//! Host operations on bytes: copies and fills; rows moved by indices, padding, and sequences of different lengths.
//!
//! They work on raw parts, allocate nothing, and check everything before they write anything.

mod copy;
mod integers;
mod pad;
#[cfg(test)]
mod properties;
mod ragged;
mod region;
mod rows;

pub use copy::copy;
pub use integers::{Integers, IntegersMut, Width};
pub use pad::Padding;
pub use ragged::{Piece, flatten, offsets, split};
pub use region::expect_apart;
pub use rows::{gather, scatter};

/// Repeats `element` over `bytes`; whole elements only.
pub fn fill(bytes: &mut [u8], element: &[u8]) {
    if element.iter().all(|b| *b == element[0]) {
        bytes.fill(element[0]);
        return;
    }
    for chunk in bytes.chunks_exact_mut(element.len()) {
        chunk.copy_from_slice(element);
    }
}

/// An element of up to 8 bytes as the low bits of a number.
pub fn element_bits(element: &[u8]) -> u64 {
    let mut bits = [0; 8];
    let length = element.len().min(8);
    bits[..length].copy_from_slice(&element[..length]);
    u64::from_le_bytes(bits)
}
