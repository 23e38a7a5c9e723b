//! The uses of one side: who reads or writes which bytes, up to which fence.

use super::timeline::{Fence, Proof, Timeline};
use crate::config::USES_PER_SIDE;
use crate::sync::Arc;
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
}

/// One use.
#[derive(Clone)]
pub struct Use {
    /// Complete when the use is over.
    pub fence: Fence,
    /// Whether it writes.
    pub write: bool,
    /// Which bytes.
    pub range: Range,
    /// Whose.
    pub role: Role,
}

/// Up to [`USES_PER_SIDE`] uses, in place. Neighbours merge when it gets tight: a merged use waits for more, never for less.
#[derive(Default)]
pub struct Uses {
    entries: [Option<Use>; USES_PER_SIDE],
}

impl Uses {
    /// Every use.
    pub fn iter(&self) -> impl Iterator<Item = &Use> {
        self.entries.iter().flatten()
    }

    /// Drops what is known to be done. Returns the fence of a write that failed.
    pub fn drop_known(&mut self) -> Option<Fence> {
        let mut failed = None;
        for entry in &mut self.entries {
            let Some(u) = entry else { continue };
            match u.fence.look_up() {
                Some(Proof::Failed) => {
                    // The source of a failed copy is merely free again.
                    if u.write {
                        failed = Some(u.fence.clone());
                    }
                    *entry = None;
                }
                Some(Proof::Complete) => *entry = None,
                _ => {}
            }
        }
        failed
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
        let repeats = |u: &Use| {
            Arc::ptr_eq(u.fence.timeline(), new.fence.timeline()) && u.write == new.write && u.range == new.range
        };
        let place = match self.entries.iter().position(|entry| entry.as_ref().is_some_and(repeats)) {
            Some(place) => Some(place),
            None => self
                .free_place()
                .or_else(|| self.entries.iter().position(|e| e.as_ref().is_some_and(|u| new.is_of_stream_of(u)))),
        };
        // Without a place there was no room, which was asked before the work was queued.
        let Some(place) = place else { return };
        self.entries[place] = Some(match self.entries[place].take() {
            None => new,
            Some(old) => old.merged(new),
        });
    }

    fn free_place(&mut self) -> Option<usize> {
        if let Some(place) = self.entries.iter().position(Option::is_none) {
            return Some(place);
        }
        let (kept, freed) = self.pair_to_merge()?;
        let old = self.entries[freed].take()?;
        let merged = self.entries[kept].take()?.merged(old);
        self.entries[kept] = Some(merged);
        Some(freed)
    }

    /// Two uses of one stream: of one kind if there are such, so that readers need not wait for readers.
    fn pair_to_merge(&self) -> Option<(usize, usize)> {
        let mut mixed = None;
        for (first, a) in self.entries.iter().enumerate() {
            for (second, b) in self.entries.iter().enumerate().skip(first + 1) {
                let (Some(a), Some(b)) = (a, b) else { continue };
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

    /// One use that stands for two of one stream: it waits for more, never for less. A read never replaces a write.
    fn merged(self, other: Use) -> Use {
        let (later, range, write) =
            (other.fence.covers(&self.fence), self.range.hull(other.range), self.write || other.write);
        let Use { fence, role, .. } = if later { other } else { self };
        Use { fence, write, range, role }
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for u in self.iter() {
            let verb = if u.write { "write" } else { "read" };
            let comma = if first { "" } else { ", " };
            let done = if u.fence.is_known() { " (done)" } else { "" };
            write!(f, "{comma}{verb} {}..{} up to {}{done}", u.range.start, u.range.end, u.fence)?;
            first = false;
        }
        if first { write!(f, "none") } else { Ok(()) }
    }
}
