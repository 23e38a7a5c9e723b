//! The copies of the device block, and what each of them lacks.
//!
//! A set has one device block, or up to four copies of it with addresses of their own: the n-th committed step goes to copy
//! n modulo their number, and waits on the device for the consumers of the step that had this copy before, not for those of
//! the last step. A kept row must reach every copy: what a step writes, the other copies lack until their next commit, which
//! takes it from the mirror.

use super::Frozen;
use super::binding::Binding;
use crate::arena::{Layout, Plan, Rows};
use crate::config::checks::{Check, on};
use crate::error::Result;
use crate::fence::{Block, Piece};
use crate::ops;
use crate::sync::Mutex;

/// One copy of the device block.
pub(super) struct CopyOfBlock {
    pub address: u64,
    /// Whoever commits to it, reads it back or retires its step has it.
    pub device: Mutex<DeviceCopy>,
}

/// The device's memory behind all slots.
pub(super) struct DeviceCopy {
    /// Its device side is gone once the set was destroyed.
    pub block: Block,
    /// What the dynamic slots of the committed step are bound to.
    pub bound: Vec<Option<Binding>>,
}

impl DeviceCopy {
    /// The memory goes to the deferred list.
    pub fn give_up(&mut self, unretired: bool) {
        self.bound.iter_mut().for_each(|bound| *bound = None);
        let Some(mut side) = self.block.device.take() else { return };
        if unretired {
            // The step's consumers, and those that its retire would have named.
            side.note_unknown_users();
        }
        drop(side);
    }

    pub fn describe(&self) -> String {
        match &self.block.device {
            Some(_) => self.block.describe(),
            None => "device: given up".into(),
        }
    }
}

/// What a commit needs besides a copy: one commit at a time has it.
pub(super) struct Committer {
    /// The last committed content of the kept slots.
    mirror: Vec<u8>,
    pub plan: Plan,
    pub pieces: Vec<Piece>,
    /// By copy, then slot: rows committed to others since this copy's last commit. Empty where there is one copy only.
    lacks: Vec<Vec<Rows>>,
    /// By slot: what is sent, where that is more than what was written.
    sent: Vec<Rows>,
}

impl Committer {
    pub fn new(layout: &Layout, mirror: Vec<u8>, copies: usize) -> Result<Committer> {
        let rows = || layout.places().iter().map(Rows::new).collect::<Result<Vec<_>>>();
        let of_several = copies > 1;
        Ok(Committer {
            mirror,
            plan: Plan::new(layout),
            pieces: Vec::with_capacity(layout.most_copies() + 1),
            lacks: (0..copies).filter(|_| of_several).map(|_| rows()).collect::<Result<_>>()?,
            sent: if of_several { rows()? } else { Vec::new() },
        })
    }

    /// Plans the pieces that bring `written` to a copy, and what it lacks; `everything` sends kept slots whole. What is sent
    /// and was not written is refilled in the entry at `base` from the mirror. Returns how many bytes the copy lacked.
    pub fn plan(
        &mut self,
        frozen: &Frozen,
        copy: usize,
        written: &[Rows],
        everything: bool,
        gap: usize,
        base: *mut u8,
    ) -> usize {
        let (layout, mirror) = (&frozen.layout, &self.mirror);
        let mirrored = layout.mirrored();
        let refill = |range: std::ops::Range<usize>| {
            let committed = &mirror[range.start - mirrored.start..range.end - mirrored.start];
            // SAFETY: the range lies inside the mirrored stretch, so inside the entry, whose memory no copy reads since begin
            // and whose lock this thread holds; no span is open.
            unsafe { ops::copy(base.wrapping_add(range.start), committed.as_ptr(), committed.len()) };
        };
        let mut caught_up = 0;
        let mut sent = written;
        if !everything && !self.lacks.is_empty() {
            for (slot, place) in layout.places().iter().enumerate() {
                let lacks = &self.lacks[copy][slot];
                self.sent[slot].assign(&written[slot]);
                if !place.kept || !on(Check::CopyCatchesUp) {
                    continue;
                }
                for run in lacks.runs_not_in(&written[slot]) {
                    let bytes = place.span(run);
                    caught_up += bytes.len();
                    refill(bytes);
                }
                self.sent[slot].merge(lacks);
            }
            sent = &self.sent;
        }
        self.plan.make(layout, sent, everything, gap, |range| {
            if everything || on(Check::LiveGaps) {
                refill(range);
            }
        });
        self.pieces.clear();
        self.pieces.extend(self.plan.copies().iter().map(|piece| Piece {
            source: piece.start,
            target: piece.start,
            bytes: piece.len(),
        }));
        caught_up
    }

    /// The kept rows that the step wrote to `copy` are the committed content now, and the other copies lack them.
    pub fn keep(&mut self, frozen: &Frozen, copy: usize, written: &[Rows], base: *mut u8) {
        let start = frozen.layout.mirrored().start;
        for (slot, (place, rows)) in frozen.layout.places().iter().zip(written).enumerate().filter(|(_, (p, _))| p.kept)
        {
            for run in rows.runs() {
                let bytes = place.span(run);
                let target = &mut self.mirror[bytes.start - start..bytes.end - start];
                // SAFETY: the source lies inside the entry, which the copy only reads and whose lock this thread holds.
                unsafe { ops::copy(target.as_mut_ptr(), base.wrapping_add(bytes.start), target.len()) };
            }
            for (other, lacks) in self.lacks.iter_mut().enumerate() {
                if other == copy {
                    lacks[slot].clear();
                } else {
                    lacks[slot].merge(rows);
                }
            }
        }
    }
}
