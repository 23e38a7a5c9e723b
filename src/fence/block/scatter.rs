//! Pieces of a packed entry go to their places in a table: one copy and one kernel, behind what conflicts, and fenced.

use super::Block;
use crate::backend::Scatter;
use crate::error::Result;
use crate::fail;
use crate::fence::area::Area;
use crate::fence::side::Which;
use crate::fence::timeline::Timeline;
use crate::fence::transfer::{Outcome, Piece, conclude, copy_address};
use crate::fence::uses::{Range, Role};
use crate::sync::Arc;

/// A packed entry, at the start of its block.
pub struct Entry<'a> {
    /// Bytes that are packed.
    pub bytes: usize,
    /// Where each piece lies in it, and where it goes.
    pub pieces: &'a [Piece],
    /// What it begins with.
    pub ticket: u64,
    /// What all of the table's places lie in. Whoever sees this scatter sees all before it: it comes behind the uses of all
    /// of this, and not only of its places.
    pub whole: Area,
}

impl Entry<'_> {
    /// The smallest range of the table around all places.
    fn places(&self) -> Area {
        let ranges = self.pieces.iter().map(|piece| Range { start: piece.target, end: piece.target + piece.bytes });
        ranges.reduce(Range::hull).unwrap_or(Range { start: 0, end: 0 }).into()
    }
}

impl Block {
    /// The address that places of a table are counted from, for kernels.
    pub fn scatter_base(&mut self) -> Result<u64> {
        Ok(self.addressed_mut()?.storage()?.memory().device)
    }
}

/// Copies the entry from the host side of `staging` to its device side, and has a kernel write its pieces to `table`; or, not
/// `by_kernel`, copies each piece from the host side. Nobody uses `staging`. What did not get to the kernel leaves the table as
/// it was. Never waits on the host.
pub fn scatter(
    staging: &mut Block,
    table: &mut Block,
    entry: &Entry<'_>,
    by_kernel: bool,
    timeline: &Arc<Timeline>,
) -> Outcome {
    let places = entry.places();
    let packed = Area::from(Range { start: 0, end: entry.bytes });
    // Whether work that writes the table is queued.
    let mut touched = false;
    let mut submission = timeline.submission();
    let mut queue = || {
        table.settle()?;
        let side = table.addressed_mut()?;
        let (Some(host), Some(device)) = (&staging.host, &staging.device) else {
            return fail!(Internal, "{} is no staging entry", staging.name);
        };
        let (from, to) = (host.storage()?.memory(), device.storage()?.memory());
        side.expect_copy(timeline, true, places)?;
        side.order_before(&mut submission, true, entry.whole, Role::Copy)?;
        let memory = side.storage()?.memory();
        if !by_kernel {
            let (from, to) = (copy_address(from), copy_address(memory));
            for piece in entry.pieces {
                // SAFETY: the pieces lie inside the entry and the table, whose memory is freed only after the fence, or never
                // without one.
                unsafe { submission.copy(to + piece.target as u64, from + piece.source as u64, piece.bytes) }?;
                touched = true;
            }
            return Ok(());
        }
        // SAFETY: the entry lies inside both sides, whose memory is freed only after the fence, or never without one.
        unsafe { submission.copy(copy_address(to), copy_address(from), entry.bytes) }?;
        let scatter = Scatter {
            entry: to.device,
            entry_bytes: entry.bytes,
            table: memory.device,
            table_bytes: memory.bytes,
            pieces: entry.pieces.len() as u32,
            longest: entry.pieces.iter().map(|piece| piece.bytes).max().unwrap_or(0) as u32,
            ticket: entry.ticket,
        };
        // SAFETY: the backend is prepared; the pieces lie inside the entry and the table, whose memory stays as above.
        unsafe { submission.scatter(&scatter) }?;
        touched = true;
        Ok(())
    };
    let queued = queue();
    let torn = match touched {
        true => "only a part was queued, the table is torn",
        false => "only the copy of the packed entry was queued: nothing reaches the table",
    };
    let outcome = conclude(submission, queued, torn, |fence| {
        if let Some(host) = &mut staging.host {
            host.add_use(fence.clone(), false, packed, Role::Copy);
        }
        if let Some(device) = staging.device.as_mut().filter(|_| by_kernel) {
            // The kernel reads what the copy wrote: one fence covers both.
            device.add_use(fence.clone(), true, packed, Role::Copy);
        }
        if touched && let Ok(side) = table.addressed_mut() {
            side.add_use(fence.clone(), true, places, Role::Copy);
        }
    });
    if touched {
        for piece in entry.pieces {
            let place = Range { start: piece.target, end: piece.target + piece.bytes };
            table.written(Which::Device, place.into());
        }
    }
    let Outcome::Unfenced(error) = outcome else { return outcome };
    let error = staging.sides_mut().fold(error, |error, side| side.record_failed(error));
    Outcome::Unfenced(match table.addressed_mut() {
        Ok(side) if touched => side.record_failed(error),
        _ => error,
    })
}
