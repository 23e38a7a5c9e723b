//! The kernel that writes the pieces of a packed entry to their places in a table: see [`Op::Scatter`](crate::Op::Scatter).

use crate::operation::{Place, copy_racing};
use crate::policy::Fault;

/// The ticket, and 8 bytes that are not looked at.
const HEADER_BYTES: usize = 16;
const DESCRIPTOR_BYTES: usize = 16;

/// One scatter, with the memory that it uses.
pub(crate) struct Scatter {
    entry: Place,
    table: Place,
    /// Of the entry and of the table.
    bytes: [usize; 2],
    pieces: usize,
    ticket: u64,
}

/// How it ended.
pub(crate) enum Ran {
    Done,
    /// A piece was not inside the entry, or not inside the table.
    Astray,
    /// The device was lost.
    Lost,
}

impl Scatter {
    /// Finds the memory of device `user`: (address, bytes) of the entry and of the table.
    pub(crate) fn prepare(
        user: u64,
        [(entry, entry_bytes), (table, table_bytes)]: [(u64, usize); 2],
        pieces: usize,
        ticket: u64,
    ) -> Result<Scatter, Fault> {
        let list = pieces.checked_mul(DESCRIPTOR_BYTES).and_then(|bytes| bytes.checked_add(HEADER_BYTES));
        if list.is_none_or(|list| list > entry_bytes) || !entry.is_multiple_of(8) {
            return Err(Fault::InvalidValue);
        }
        let [entry, table] =
            [(entry, entry_bytes), (table, table_bytes)].map(|(address, bytes)| {
                match Place::resolve(user, address, bytes)? {
                    place if place.callers().is_some() => Err(Fault::InvalidAddress),
                    place => Ok(place),
                }
            });
        Ok(Scatter { entry: entry?, table: table?, bytes: [entry_bytes, table_bytes], pieces, ticket })
    }

    /// Bytes of the entry, as they are now.
    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        // SAFETY: `prepare` saw that header and descriptors are inside the entry, whose memory the place keeps.
        unsafe { copy_racing(out.as_mut_ptr(), self.entry.source(at), N) };
        out
    }

    pub(crate) fn run(&self, is_lost: impl Fn() -> bool) -> Ran {
        if self.pieces == 0 || u64::from_ne_bytes(self.read(0)) != self.ticket {
            return Ran::Done;
        }
        for piece in 0..self.pieces {
            if is_lost() {
                return Ran::Lost;
            }
            let at = HEADER_BYTES + piece * DESCRIPTOR_BYTES;
            let target = u64::from_ne_bytes(self.read(at));
            let source = u64::from(u32::from_ne_bytes(self.read(at + 8)));
            let bytes = u64::from(u32::from_ne_bytes(self.read(at + 12)));
            let fits = |start: u64, room: usize| start.checked_add(bytes).is_some_and(|end| end <= room as u64);
            if !fits(source, self.bytes[0]) || !fits(target, self.bytes[1]) {
                return Ran::Astray;
            }
            let (to, from) = (self.table.target(target as usize), self.entry.source(source as usize));
            // SAFETY: both ranges were found inside the places, which keep their memory.
            unsafe { copy_racing(to, from, bytes as usize) };
        }
        Ran::Done
    }
}
