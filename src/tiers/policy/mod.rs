//! Which blocks are worth memory of so many bytes. Pure: it sees uses and ends of blocks, and knows no clock but their count.
//!
//! Two directories live through the same uses, the least recently used and [LIRS](lirs), and the one that would have missed less of
//! late leads: Adaptive Caches (Subramanian, Smaragdakis and Loh, MICRO 2006). So a cycle that does not fit, where the least
//! recently used misses always, keeps a part in memory, and no mix costs much more than with the better of the two. What is really
//! in memory may be another set, as blocks are held, moved by hand or on their way: the policy tells which ones it wants there.

mod lirs;
mod lru;
pub(super) mod order;
#[cfg(test)]
mod properties;

use lirs::Lirs;
use lru::Lru;

/// By so many misses a directory may be behind and have it counted.
const MEMORY: i32 = 1024;

/// A policy. Blocks are numbers from 0 on, which may be used again after [`Policy::forget`].
pub struct Policy {
    lru: Lru,
    lirs: Lirs,
    /// Misses of the first that the second did not have, less those the other way.
    lead: i32,
}

impl Policy {
    /// For memory of so many bytes.
    pub fn new(capacity: u64) -> Policy {
        Policy { lru: Lru::new(capacity), lirs: Lirs::new(capacity), lead: 0 }
    }

    /// Makes room for blocks below `count`, so that nothing else allocates. False where there is no memory.
    pub fn grow(&mut self, count: usize) -> bool {
        self.lru.grow(count) && self.lirs.grow(count)
    }

    /// The block is used: there was room made for its number.
    pub fn access(&mut self, id: u32, bytes: u64) {
        let change = match (self.lru.access(id, bytes), self.lirs.access(id, bytes)) {
            (false, true) => 1,
            (true, false) => -1,
            _ => 0,
        };
        self.lead = (self.lead + change).clamp(-MEMORY, MEMORY);
    }

    /// Whether the block is worth its memory.
    pub fn wants(&self, id: u32) -> bool {
        if self.lead > 0 { self.lirs.contains(id) } else { self.lru.contains(id) }
    }

    /// The block is no more.
    pub fn forget(&mut self, id: u32) {
        self.lru.forget(id);
        self.lirs.forget(id);
    }

    /// There are so many bytes from now on.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.lru.set_capacity(capacity);
        self.lirs.set_capacity(capacity);
    }
}
