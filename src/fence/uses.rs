//! The uses of one side: who reads or writes which bytes, up to which fence.

use super::area::Area;
use super::timeline::{Fence, Timeline};
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
    /// The library's own writes among what it stands for, which may fail when they run.
    copies: Copies,
    /// Whether it writes.
    pub write: bool,
    /// Which bytes.
    pub area: Area,
    /// Whose.
    pub role: Role,
}

/// Numbers on the stream of a use: from the first to the last of the copies that it stands for. One alone, unless there was no
/// room to keep them apart; a failure that lies between is then taken for one of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copies {
    first: u64,
    last: u64,
}

impl Copies {
    const NONE: Copies = Copies { first: u64::MAX, last: 0 };

    fn is_empty(self) -> bool {
        self.first > self.last
    }

    fn join(&mut self, other: Copies) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
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
        self.entries.retain(|u| {
            // In this order: what is noted to be done was noted to have failed before.
            let known = u.fence.is_known();
            let mut failure = u.failure();
            if failed.is_none()
                && let Some(fence) = failure
            {
                u.told(&fence);
                failed = Some(fence);
                failure = u.failure();
            }
            failure.is_some() || !known
        });
        failed
    }

    /// Drops what is known to be done and to have run well.
    pub fn drop_complete(&mut self) {
        self.entries.retain(|u| !u.fence.is_known() || u.failure().is_some());
    }

    /// The failure of this very fence was told.
    pub fn forget(&mut self, fence: &Fence) {
        self.entries.retain(|u| {
            if Arc::ptr_eq(u.fence.timeline(), fence.timeline()) {
                u.told(fence);
            }
            u.failure().is_some() || !u.fence.is_same(fence)
        });
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
        // Of two copies each has its own failure to tell.
        let both_copy = |u: &Use| !u.copies.is_empty() && !new.copies.is_empty();
        let repeats = |u: &Use| u.is_of_stream_of(&new) && u.write == new.write && u.area == new.area && !both_copy(u);
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

    /// Two uses of one stream: of one kind if there are such, so that readers need not wait for readers. Between their copies lie
    /// none of another use, if they have the oldest, and, if it can be, no failure that was told or is another object's.
    fn pair_to_merge(&self) -> Option<(usize, usize)> {
        let pairs = (1..self.entries.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        let of_one_stream =
            pairs.filter(|(first, second)| self.entries[*first].is_of_stream_of(&self.entries[*second]));
        of_one_stream.min_by_key(|(first, second)| {
            let (a, b) = (&self.entries[*first], &self.entries[*second]);
            (a.write != b.write, a.has_failure_up_to(b), a.copies.last.max(b.copies.last))
        })
    }
}

impl Use {
    /// A use up to this fence.
    pub fn new(fence: Fence, write: bool, area: Area, role: Role) -> Use {
        // What the caller declares is behind the work, and no part of it.
        let copies = if write && matches!(role, Role::Copy | Role::ReadBack | Role::Replay) {
            Copies { first: fence.sequence(), last: fence.sequence() }
        } else {
            Copies::NONE
        };
        Use { fence, copies, write, area, role }
    }

    /// The same, of other bytes.
    pub fn of(&self, area: Area) -> Use {
        Use { area, ..self.clone() }
    }

    /// The first of its copies that failed and was not told.
    fn failure(&self) -> Option<Fence> {
        if self.copies.is_empty() { None } else { self.fence.failed_in(self.copies.first, self.copies.last) }
    }

    /// This failure on its stream has been told. One before it that was not stays to be told, if need be with this one again.
    fn told(&mut self, fence: &Fence) {
        let (number, Copies { first, last }) = (fence.sequence(), self.copies);
        if !(first..=last).contains(&number) {
            return;
        }
        let untold_before = number > first && self.fence.failed_in(first, number - 1).is_some();
        self.copies = match (untold_before, number == last) {
            (false, true) => Copies::NONE,
            (false, false) => Copies { first: number + 1, last },
            (true, true) => Copies { first, last: number - 1 },
            (true, false) => self.copies,
        };
    }

    /// Whether a copy between its own and those of the other is known to have failed.
    fn has_failure_up_to(&self, other: &Use) -> bool {
        let (a, b) = (self.copies, other.copies);
        let (last, next) = (a.last.min(b.last), a.first.max(b.first));
        !a.is_empty() && !b.is_empty() && last + 1 < next && self.fence.failed_in(last + 1, next - 1).is_some()
    }

    /// Its copies, unless all are known to have run well: the number of the first, and the fence of the last.
    pub fn copies(&self) -> Option<(u64, Fence)> {
        let over = self.copies.is_empty() || self.fence.is_known() && self.failure().is_none();
        (!over).then(|| (self.copies.first, self.fence.at(self.copies.last)))
    }

    fn is_of_stream_of(&self, other: &Use) -> bool {
        Arc::ptr_eq(self.fence.timeline(), other.fence.timeline())
    }

    /// Stands for another use of the same stream as well: it waits for more, never for less. A read never replaces a write.
    fn merge(&mut self, other: Use) {
        if self.area != other.area {
            self.area = self.area.hull().hull(other.area.hull()).into();
        }
        self.write |= other.write;
        self.copies.join(other.copies);
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
