//! The uses of one side: who reads or writes which bytes, up to which fence.

use super::area::Area;
use super::timeline::{Fence, Proof, Timeline};
use crate::config::USES_PER_SIDE;
use crate::sync::Arc;
use arrayvec::ArrayVec;
use std::fmt;

/// A range of bytes inside a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl Range {
    /// Whether a byte is in both.
    pub fn overlaps(self, other: Range) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The smallest range around both.
    pub fn hull(self, other: Range) -> Range {
        Range { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Whose use it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A copy or fill of the library's.
    Copy,
    /// Work of the caller's that was declared.
    Kernel,
    /// The consumers of a committed step.
    Retire,
    /// A read-back of a step's results.
    ReadBack,
    /// A replay of a graph that holds the block.
    Replay,
    /// The consumers of a step that the block is bound to.
    Bound,
}

/// One use.
#[derive(Clone)]
pub struct Use {
    /// Complete when the use is over.
    pub fence: Fence,
    /// Whether it writes.
    pub write: bool,
    /// Which bytes.
    pub area: Area,
    /// Whose.
    pub role: Role,
}

/// Up to [`USES_PER_SIDE`] uses, in place. Neighbours merge when it gets tight: a merged use waits for more, never for less.
#[derive(Default)]
pub struct Uses {
    entries: ArrayVec<Use, USES_PER_SIDE>,
}

impl Uses {
    /// Every use.
    pub fn iter(&self) -> impl Iterator<Item = &Use> {
        self.entries.iter()
    }

    /// Drops what is known to be done. Returns the fence of a write that failed; further ones stay to be told.
    pub fn drop_known(&mut self) -> Option<Fence> {
        let mut failed = None;
        self.entries.retain(|u| match u.fence.look_up() {
            Some(Proof::Failed) => {
                // The source of a failed copy is merely free again.
                if u.write && failed.is_some() {
                    return true;
                }
                if u.write {
                    failed = Some(u.fence.clone());
                }
                false
            }
            Some(Proof::Complete) => false,
            _ => true,
        });
        failed
    }

    /// Forgets the uses up to this very fence.
    pub fn forget(&mut self, fence: &Fence) {
        self.entries.retain(|u| !u.fence.is_same(fence));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Asks the driver about every use.
    pub fn query_all(&self) {
        for u in self.iter() {
            u.fence.query();
        }
    }

    /// Whether [`Uses::add`] can keep a use of each of these streams apart from those of others.
    pub fn has_room(&self, streams: &[Arc<Timeline>]) -> bool {
        let first_of_stream =
            |(place, u): (usize, &Use)| !self.iter().take(place).any(|other| other.is_of_stream_of(u));
        let present = self.iter().enumerate().filter(|pair| first_of_stream(*pair)).count();
        let is_new = |(place, stream): &(usize, &Arc<Timeline>)| {
            !self.iter().any(|u| Arc::ptr_eq(u.fence.timeline(), stream))
                && !streams[..*place].iter().any(|other| Arc::ptr_eq(other, stream))
        };
        present + streams.iter().enumerate().filter(is_new).count() <= USES_PER_SIDE
    }

    /// Adds a use for which there is room.
    pub fn add(&mut self, new: Use) {
        let repeats = |u: &Use| u.is_of_stream_of(&new) && u.write == new.write && u.area == new.area;
        if let Some(same) = self.entries.iter_mut().find(|u| repeats(u)) {
            same.merge(new);
            return;
        }
        if self.entries.is_full()
            && let Some((kept, freed)) = self.pair_to_merge()
        {
            let old = self.entries.swap_remove(freed);
            self.entries[kept].merge(old);
        }
        if let Err(full) = self.entries.try_push(new) {
            // Of eight streams one each: this one's is among them, or there was no room, which was asked before.
            let new = full.element();
            if let Some(other) = self.entries.iter_mut().find(|u| u.is_of_stream_of(&new)) {
                other.merge(new);
            }
        }
    }

    /// Two uses of one stream: of one kind if there are such, so that readers need not wait for readers.
    fn pair_to_merge(&self) -> Option<(usize, usize)> {
        let mut mixed = None;
        for (second, b) in self.entries.iter().enumerate() {
            for (first, a) in self.entries[..second].iter().enumerate() {
                if a.is_of_stream_of(b) {
                    if a.write == b.write {
                        return Some((first, second));
                    }
                    mixed = Some((first, second));
                }
            }
        }
        mixed
    }
}

impl Use {
    fn is_of_stream_of(&self, other: &Use) -> bool {
        Arc::ptr_eq(self.fence.timeline(), other.fence.timeline())
    }

    /// Stands for another use of the same stream as well: it waits for more, never for less. A read never replaces a write.
    fn merge(&mut self, other: Use) {
        if self.area != other.area {
            self.area = self.area.hull().hull(other.area.hull()).into();
        }
        self.write |= other.write;
        if other.fence.covers(&self.fence) {
            self.fence = other.fence;
            self.role = other.role;
        }
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for u in self.iter() {
            let verb = if u.write { "write" } else { "read" };
            let comma = if first { "" } else { ", " };
            let done = if u.fence.is_known() { " (done)" } else { "" };
            let range = u.area.hull();
            write!(f, "{comma}{verb} {}..{} up to {}{done}", range.start, range.end, u.fence)?;
            first = false;
        }
        if first { write!(f, "none") } else { Ok(()) }
    }
}
