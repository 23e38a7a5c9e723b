//! The one kernel of the library: it writes the pieces of a packed entry to their places in a table.
//!
//! An entry is [`HEADER_BYTES`] bytes that begin with its ticket, then a descriptor for each piece, then the pieces, in any
//! order. Pieces do not overlap in the table. A piece lies in the entry as its place does in the table, modulo
//! [`PIECE_ALIGNMENT`]: so the kernel moves words. An entry with another ticket than the launch's does nothing: its copy
//! failed, and what lies there are the pieces of an earlier launch.

/// The ticket, and 8 bytes that are 0.
pub const HEADER_BYTES: usize = 16;
/// Of one piece.
pub const DESCRIPTOR_BYTES: usize = 16;
/// What a piece's places in the entry and in the table agree in.
pub const PIECE_ALIGNMENT: usize = 16;

/// One launch. Addresses are those that kernels use.
#[derive(Clone, Copy, Debug)]
pub struct Scatter {
    /// The packed entry, aligned to [`PIECE_ALIGNMENT`].
    pub entry: u64,
    /// Its bytes.
    pub entry_bytes: usize,
    /// Where the table's places are counted from.
    pub table: u64,
    /// Bytes from there on.
    pub table_bytes: usize,
    /// Pieces; at least 1.
    pub pieces: u32,
    /// Bytes of the longest.
    pub longest: u32,
    /// What the entry must begin with.
    pub ticket: u64,
}

/// The first bytes of an entry.
pub fn header(ticket: u64) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&ticket.to_ne_bytes());
    out
}

/// Of a piece: its place in the table, its place in the entry, its bytes.
pub fn descriptor(target: u64, source: u32, bytes: u32) -> [u8; DESCRIPTOR_BYTES] {
    let mut out = [0; DESCRIPTOR_BYTES];
    out[..8].copy_from_slice(&target.to_ne_bytes());
    out[8..12].copy_from_slice(&source.to_ne_bytes());
    out[12..].copy_from_slice(&bytes.to_ne_bytes());
    out
}
