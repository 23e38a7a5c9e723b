//! Packing: the parts of staged writes into one entry, as `backend::scatter` describes it.

use super::pending::Pending;
use super::plan::{Part, most_parts};
use crate::backend::scatter::{DESCRIPTOR_BYTES, HEADER_BYTES, PIECE_ALIGNMENT, descriptor, header};
use crate::buffer::Layout;
use crate::error::{Result, try_vec};
use crate::fence::{Area, Entry, Piece, Range};

/// Packs entries of so many writes at most. Allocates when it is made only.
pub(super) struct Packer {
    pieces: Vec<Piece>,
    bytes: usize,
    ticket: u64,
    whole: Area,
}

impl Packer {
    pub fn new(writes: u32) -> Result<Packer> {
        let none = Piece { source: 0, target: 0, bytes: 0 };
        let pieces = try_vec(most_parts(writes), none, "the pieces of staged writes")?;
        Ok(Packer { pieces, bytes: 0, ticket: 0, whole: Range { start: 0, end: 0 }.into() })
    }

    /// What was packed last.
    pub fn entry(&self) -> Entry<'_> {
        Entry { bytes: self.bytes, pieces: &self.pieces, ticket: self.ticket, whole: self.whole }
    }

    /// Packs the parts into `entry`, for a table with this layout whose places are counted from address `base`. Each time
    /// under another ticket.
    pub fn pack(&mut self, entry: &mut [u8], pending: &Pending, parts: &[Part], layout: &Layout, base: u64) {
        self.ticket += 1;
        self.pieces.clear();
        let pitch = layout.strides()[0] as usize * layout.dtype().size();
        entry[..HEADER_BYTES].copy_from_slice(&header(self.ticket));
        let mut list = HEADER_BYTES;
        let mut end = HEADER_BYTES + parts.len() * DESCRIPTOR_BYTES;
        for part in parts {
            let write = pending.writes()[part.write as usize];
            let target = layout.start() + write.row as usize * pitch + write.start + part.skip;
            // On to where it lies in its word of the table.
            let place = (base + target as u64) as usize;
            let source = end + place.wrapping_sub(end) % PIECE_ALIGNMENT;
            end = source + part.bytes;
            let values = write.values + part.skip;
            entry[source..end].copy_from_slice(&pending.values()[values..values + part.bytes]);
            entry[list..list + DESCRIPTOR_BYTES].copy_from_slice(&descriptor(
                target as u64,
                source as u32,
                part.bytes as u32,
            ));
            list += DESCRIPTOR_BYTES;
            self.pieces.push(Piece { source, target, bytes: part.bytes });
        }
        self.bytes = end;
        self.whole = layout.all();
    }
}
