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

    fn place_for(&self, timeline: &Arc<Timeline>, write: bool, range: Range) -> Option<usize> {
        let same = |u: &Use| Arc::ptr_eq(u.fence.timeline(), timeline) && u.write == write;
        let matching = |test: &dyn Fn(&Use) -> bool| self.entries.iter().position(|e| e.as_ref().is_some_and(test));
        matching(&|u| same(u) && u.range == range)
            .or_else(|| self.entries.iter().position(Option::is_none))
            .or_else(|| matching(&|u| same(u)))
            // A later write covers an earlier read: who waits for a write waits for all.
            .or_else(|| matching(&|u| write && Arc::ptr_eq(u.fence.timeline(), timeline)))
    }

    /// Whether [`Uses::add`] has a place for it.
    pub fn has_room(&self, timeline: &Arc<Timeline>, write: bool, range: Range) -> bool {
        self.place_for(timeline, write, range).is_some()
    }

    /// Adds a use for which there is room.
    pub fn add(&mut self, new: Use) {
        let Some(place) = self.place_for(new.fence.timeline(), new.write, new.range) else {
            // Cannot be: `has_room` was asked before the work was queued.
            return;
        };
        self.entries[place] = Some(match self.entries[place].take() {
            None => new,
            Some(old) => Use {
                range: old.range.hull(new.range),
                write: old.write || new.write,
                role: new.role,
                // Of one timeline: the later fence stands for both.
                fence: if new.fence.covers(&old.fence) { new.fence } else { old.fence },
            },
        });
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
