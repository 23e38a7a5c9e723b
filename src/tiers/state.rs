//! Who is where, and who was used when: what is decided without a look at a block.

use super::block::TieredBlock;
use super::policy::{Policy, order::Order};
use super::{TIERS, Tier};
use crate::error::Result;
use crate::fail;
use crate::sync::{Arc, Weak};

/// What the lists know of a block.
pub struct Entry {
    pub block: Weak<TieredBlock>,
    pub bytes: u64,
    pub tier: Tier,
    /// Holds that are open.
    pub holds: u32,
    /// Where its memory of before its last move is, until that is proven.
    pub leaves: Option<Tier>,
}

pub struct State {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// The blocks of each tier, the least recently used first.
    recency: [Order; TIERS],
    /// Blocks on their way, the first to leave first.
    pub leaving: Order,
    /// For each tier but the last: what is worth memory of that tier or a higher one.
    pub policies: [Option<Policy>; TIERS],
    /// Uses so far: the only clock.
    pub clock: u64,
}

impl State {
    pub fn new(policies: [Option<Policy>; TIERS]) -> State {
        State {
            entries: Vec::new(),
            free: Vec::new(),
            recency: [const { Order::new() }; TIERS],
            leaving: Order::new(),
            policies,
            clock: 0,
        }
    }

    /// A number for a new block.
    pub fn take_number(&mut self) -> Result<u32> {
        if let Some(id) = self.free.pop() {
            return Ok(id);
        }
        let count = self.entries.len() + 1;
        let grown = self.entries.try_reserve(1).is_ok()
            && self.free.try_reserve(count).is_ok()
            && self.recency.iter_mut().all(|order| order.grow(count))
            && self.leaving.grow(count)
            && self.policies.iter_mut().flatten().all(|policy| policy.grow(count));
        if !grown || count > u32::MAX as usize {
            return fail!(OutOfHostMemory, "no host memory for the lists of {count} tiered blocks");
        }
        self.entries.push(None);
        Ok(count as u32 - 1)
    }

    pub fn give_number_back(&mut self, id: u32) {
        self.free.push(id);
    }

    pub fn add(&mut self, id: u32, entry: Entry) {
        self.recency[entry.tier as usize].push(id);
        self.entries[id as usize] = Some(entry);
    }

    pub fn remove(&mut self, id: u32) {
        if let Some(entry) = self.entries[id as usize].take() {
            self.recency[entry.tier as usize].remove(id);
            self.leaving.remove(id);
            self.policies.iter_mut().flatten().for_each(|policy| policy.forget(id));
            self.give_number_back(id);
        }
    }

    pub fn entry(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    pub fn block(&self, id: u32) -> Option<Arc<TieredBlock>> {
        self.entries.get(id as usize)?.as_ref()?.block.upgrade()
    }

    fn look(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    /// A block is used.
    pub fn access(&mut self, id: u32) {
        let Some((bytes, tier)) = self.look(id).map(|entry| (entry.bytes, entry.tier)) else { return };
        self.clock += 1;
        self.policies.iter_mut().flatten().for_each(|policy| policy.access(id, bytes));
        self.recency[tier as usize].push(id);
    }

    /// The block is there now; what it was in before is with `leaves`.
    pub fn moved(&mut self, id: u32, tier: Tier, leaves: Option<Tier>) {
        let Some(entry) = self.entry(id) else { return };
        let before = std::mem::replace(&mut entry.tier, tier);
        entry.leaves = leaves;
        if before != tier {
            self.recency[before as usize].remove(id);
            self.recency[tier as usize].push(id);
        }
        if leaves.is_some() {
            self.leaving.push(id);
        } else {
            self.leaving.remove(id);
        }
    }

    /// Bytes of the tier that will be free when the moves under way are proven.
    pub fn leaving_bytes(&self, tier: Tier) -> u64 {
        self.leaving.iter().filter_map(|id| self.look(id)).filter(|e| e.leaves == Some(tier)).map(|e| e.bytes).sum()
    }

    /// Blocks that leave this tier, or a lower one, the first to leave first.
    pub fn leaving_from(&self, tier: Tier) -> impl Iterator<Item = u32> {
        let leaves = move |id: &u32| self.look(*id).and_then(|entry| entry.leaves).is_some_and(|from| from >= tier);
        self.leaving.iter().filter(leaves)
    }

    /// Who makes room in a tier: the least recently used of those that are not worth it; else, unless `unwanted_only`, of all.
    /// Blocks that are held, or on their way, stay.
    pub fn victim(&self, tier: Tier, unwanted_only: bool) -> Option<u32> {
        let policy = self.policies[tier as usize].as_ref();
        let can_go = |id: &u32| self.look(*id).is_some_and(|entry| entry.holds == 0 && entry.leaves.is_none());
        let unwanted = |id: &u32| policy.is_some_and(|policy| !policy.wants(*id));
        let order = &self.recency[tier as usize];
        let first = order.iter().find(|id| unwanted(id) && can_go(id));
        if unwanted_only { first } else { first.or_else(|| order.iter().find(can_go)) }
    }

    /// Blocks that are worth a tier and are in a lower one, the most recently used first, up to `most`.
    pub fn wanted(&self, tier: Tier, most: usize, out: &mut Vec<u32>) {
        out.clear();
        let Some(policy) = &self.policies[tier as usize] else { return };
        for lower in &self.recency[tier as usize + 1..] {
            let can_come = |id: &u32| self.look(*id).is_some_and(|entry| entry.holds == 0 && entry.leaves.is_none());
            out.extend(lower.iter_back().filter(|id| policy.wants(*id) && can_come(id)).take(most - out.len()));
        }
    }

    pub fn bytes_of(&self, id: u32) -> u64 {
        self.look(id).map_or(0, |entry| entry.bytes)
    }

    /// Blocks in a tier.
    pub fn count(&self, tier: Tier) -> u64 {
        self.recency[tier as usize].iter().count() as u64
    }
}
