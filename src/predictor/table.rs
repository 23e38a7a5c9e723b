//! A table of bounded size: whoever was used least recently makes room.

use crate::error::{Result, try_vec};

/// What a table is asked by.
pub(super) trait Key: Copy + Eq + Default {
    /// Any number that is the same for equal keys.
    fn spread(&self) -> u64;
}

/// SplitMix64's mixer: every bit moves every bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Key for u64 {
    fn spread(&self) -> u64 {
        mix(*self)
    }
}

impl Key for [u64; 2] {
    fn spread(&self) -> u64 {
        mix(mix(self[0]) ^ self[1])
    }
}

/// No place.
const NONE: u32 = u32::MAX;

/// Keys by place: a place is a number below the capacity, and stays a key's until that is the least recently used one and
/// another needs it. Allocates nothing once it is made.
pub(super) struct Table<K> {
    entries: Vec<Entry<K>>,
    /// The first entry of each chain.
    chains: Vec<u32>,
    capacity: usize,
    newest: u32,
    oldest: u32,
    evictions: u64,
}

#[derive(Clone, Copy)]
struct Entry<K> {
    key: K,
    /// The next of its chain.
    next: u32,
    newer: u32,
    older: u32,
}

/// A key's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub at: usize,
    /// Whatever is kept for this place is another key's, or nobody's.
    pub is_new: bool,
}

impl<K: Key> Table<K> {
    /// A table of so many keys.
    pub fn new(capacity: usize) -> Result<Table<K>> {
        let mut entries =
            try_vec(capacity, Entry { key: K::default(), next: NONE, newer: NONE, older: NONE }, "a table")?;
        entries.clear();
        let chains = try_vec(capacity.next_power_of_two(), NONE, "a table")?;
        Ok(Table { entries, chains, capacity, newest: NONE, oldest: NONE, evictions: 0 })
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Keys that made room for others.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The key of a place.
    pub fn key(&self, at: usize) -> K {
        self.entries[at].key
    }

    fn chain(&self, key: &K) -> usize {
        key.spread() as usize & (self.chains.len() - 1)
    }

    /// Where the key is, if it is.
    pub fn find(&self, key: &K) -> Option<usize> {
        let mut at = self.chains[self.chain(key)];
        while at != NONE {
            let entry = &self.entries[at as usize];
            if entry.key == *key {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    /// Where the key is from now on; it is the most recently used one.
    pub fn touch(&mut self, key: K) -> Place {
        if let Some(at) = self.find(&key) {
            self.unlink(at as u32);
            self.link(at as u32);
            return Place { at, is_new: false };
        }
        let at = if self.entries.len() < self.capacity {
            self.entries.push(Entry { key, next: NONE, newer: NONE, older: NONE });
            self.entries.len() as u32 - 1
        } else {
            let at = self.oldest;
            self.unlink(at);
            self.unchain(at);
            self.evictions += 1;
            at
        };
        let chain = self.chain(&key);
        let entry = &mut self.entries[at as usize];
        entry.key = key;
        entry.next = std::mem::replace(&mut self.chains[chain], at);
        self.link(at);
        Place { at: at as usize, is_new: true }
    }

    fn unchain(&mut self, at: u32) {
        let Entry { key, next, .. } = self.entries[at as usize];
        let chain = self.chain(&key);
        let mut before = self.chains[chain];
        if before == at {
            self.chains[chain] = next;
            return;
        }
        while self.entries[before as usize].next != at {
            before = self.entries[before as usize].next;
        }
        self.entries[before as usize].next = next;
    }

    fn link(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.newest, at);
        let entry = &mut self.entries[at as usize];
        entry.newer = NONE;
        entry.older = older;
        match older {
            NONE => self.oldest = at,
            older => self.entries[older as usize].newer = at,
        }
    }

    fn unlink(&mut self, at: u32) {
        let Entry { newer, older, .. } = self.entries[at as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_the_keys_that_were_used_last() {
        let capacity = 7;
        let mut table = Table::new(capacity).expect("memory");
        let mut model: Vec<u64> = Vec::new();
        let mut seed = 1;
        for step in 0..5000 {
            seed = mix(seed);
            let key = seed % 11;
            let known = table.find(&key);
            assert_eq!(known.is_some(), model.contains(&key), "step {step}");
            let place = table.touch(key);
            assert_eq!((known, place.is_new), ((!place.is_new).then_some(place.at), !model.contains(&key)));
            model.retain(|other| *other != key);
            model.push(key);
            if model.len() > capacity {
                let gone = model.remove(0);
                assert_eq!(table.find(&gone), None, "step {step}");
            }
            assert_eq!(table.len(), model.len());
            for other in &model {
                assert_eq!(table.find(other).map(|at| table.key(at)), Some(*other), "step {step}");
            }
        }
        assert!(table.evictions() > 0);
    }
}
