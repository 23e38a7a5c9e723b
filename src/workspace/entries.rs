//! The list of a workspace's buffers: who holds what, what is free, and how much there is. Only used under its lock, and it
//! calls nobody: that looks at a buffer are quick is all it asks of them.

use super::{Spec, reuse};
use crate::buffer::Buffer;
use crate::error::Result;
use crate::fail;
use crate::sync::Arc;
use arrayvec::ArrayVec;
use std::collections::HashMap;

/// One buffer, or the place of one.
pub(super) struct Entry {
    /// Never used again.
    pub number: u64,
    pub spec: Spec,
    /// Of the memory it has, which is more than the spec's where a copy stands in.
    pub bytes: u64,
    pub name: Option<Arc<str>>,
    /// `None` while it is made.
    pub buffer: Option<Arc<Buffer>>,
    pub holders: u32,
    /// Those of them that are about to end, and leave it to the others to say in what state.
    pub leaving: u32,
    /// A thread works on it outside the lock: nobody else takes it, nor takes it away.
    pub claimed: bool,
    /// How often it was given out.
    pub uses: u64,
    /// When it was given out last, counted in changes of the list.
    pub last_use: u64,
    /// And when its last holder ended.
    pub free_since: u64,
}

impl Entry {
    fn is_free(&self) -> bool {
        self.holders == 0 && !self.claimed && self.buffer.is_some()
    }

    /// Whether it is free, and a wait for its uses would make it idle if it is not.
    fn may_go(&self) -> bool {
        self.is_free() && self.buffer.as_ref().is_some_and(reuse::can_be_reused)
    }

    /// Whether it is free and nothing uses its memory, as far as is known without asking the driver.
    fn is_idle(&self) -> bool {
        self.is_free() && self.buffer.as_ref().is_some_and(reuse::is_idle)
    }
}

/// The most there may be; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub entries: Option<u64>,
    pub bytes: Option<u64>,
}

impl Limits {
    fn fit(self, entries: u64, bytes: u64) -> bool {
        self.entries.is_none_or(|most| entries <= most) && self.bytes.is_none_or(|most| bytes <= most)
    }
}

/// An entry that may go.
struct Old {
    free_since: u64,
    number: u64,
    bytes: u64,
}

/// Where a new entry can go.
pub(super) enum Room {
    /// Its place is reserved; these are not the workspace's any more.
    Reserved(u64, Vec<Arc<Buffer>>),
    /// There would be room without this free entry, whose uses are to be waited for.
    After(u64),
    /// There would be room without what another thread works on.
    Later,
    /// Too much is held.
    Full,
}

#[derive(Default)]
pub(super) struct Entries {
    /// In the order of their numbers.
    list: Vec<Entry>,
    names: HashMap<Arc<str>, u64>,
    bytes: u64,
    peak_bytes: u64,
    next: u64,
    clock: u64,
    pub closed: bool,
}

impl Entries {
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.list.iter_mut()
    }

    pub fn count(&self) -> u64 {
        self.list.len() as u64
    }

    /// Of both sides of all entries, those that are being made included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    pub fn get(&mut self, number: u64) -> Option<&mut Entry> {
        let place = self.place(number)?;
        self.list.get_mut(place)
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.list.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    pub fn named(&mut self, name: &str) -> Option<&mut Entry> {
        let number = *self.names.get(name)?;
        self.get(number)
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Gives an entry out once more.
    pub fn hold(&mut self, number: u64) {
        let now = self.tick();
        if let Some(entry) = self.get(number) {
            entry.claimed = false;
            entry.holders += 1;
            entry.uses += 1;
            entry.last_use = now;
        }
    }

    /// Takes an entry to work on it outside the lock: until it is held, free, or unclaimed.
    pub fn claim(&mut self, number: u64) -> Option<Arc<Buffer>> {
        let entry = self.get(number).filter(|entry| !entry.claimed)?;
        let buffer = entry.buffer.clone()?;
        entry.claimed = true;
        Some(buffer)
    }

    /// A claimed entry is as free as before: it goes if the workspace has ended meanwhile.
    pub fn unclaim(&mut self, number: u64) -> Option<Entry> {
        if self.closed {
            return self.remove(number);
        }
        self.get(number)?.claimed = false;
        None
    }

    /// An entry without holders is free from now on.
    pub fn set_free(&mut self, number: u64) {
        let now = self.tick();
        if let Some(entry) = self.get(number) {
            entry.claimed = false;
            entry.free_since = now;
        }
    }

    /// The entry's name is free.
    pub fn take_name(&mut self, number: u64) {
        if let Some(name) = self.get(number).and_then(|entry| entry.name.take()) {
            self.names.remove(&name);
        }
    }

    pub fn remove(&mut self, number: u64) -> Option<Entry> {
        self.take_name(number);
        let entry = self.list.remove(self.place(number)?);
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// A reserved entry has its buffer.
    pub fn made(&mut self, number: u64, buffer: &Arc<Buffer>) {
        let bytes = buffer.owned_bytes();
        let Some(entry) = self.get(number) else { return };
        entry.buffer = Some(buffer.clone());
        // Another, where a probe has ended since it was reserved.
        let reserved = std::mem::replace(&mut entry.bytes, bytes);
        self.bytes = self.bytes - reserved + bytes;
        self.peak_bytes = self.peak_bytes.max(self.bytes);
    }

    /// Entries without a name of this spec, made of as many bytes as a new one would be.
    fn of_spec(&self, spec: Spec, bytes: u64) -> impl Iterator<Item = &Entry> {
        self.list.iter().filter(move |entry| entry.name.is_none() && entry.spec == spec && entry.bytes == bytes)
    }

    /// A free entry without a name of this spec, the longest free one: one that is idle, or one that is `in_flight`.
    pub fn free_of(&self, spec: &Spec, bytes: u64, in_flight: bool) -> Option<u64> {
        self.of_spec(*spec, bytes)
            .filter(|entry| if in_flight { entry.may_go() } else { entry.is_idle() })
            .min_by_key(|entry| entry.free_since)
            .map(|entry| entry.number)
    }

    /// Some of the free buffers of this spec that are not known to be idle, from this number on.
    pub fn doubtful(&self, spec: &Spec, bytes: u64, from: u64) -> ArrayVec<(u64, Arc<Buffer>), 8> {
        let doubtful = self.of_spec(*spec, bytes).filter(|entry| entry.number >= from && entry.is_free());
        let doubtful = doubtful.filter(|entry| !entry.is_idle());
        doubtful.filter_map(|entry| Some((entry.number, entry.buffer.clone()?))).take(8).collect()
    }

    /// Reserves the place of a new entry. What has to go for it is decided here, all at once: idle entries, those that are
    /// free longest first. Where they are not enough, none goes.
    pub fn reserve(&mut self, spec: Spec, bytes: u64, name: Option<&str>, limits: Limits) -> Result<Room> {
        let (entries, sum) = (self.count() + 1, self.bytes.saturating_add(bytes));
        let victims = self.oldest_until(|gone, freed| limits.fit(entries - gone, sum - freed), Entry::is_idle)?;
        let Some(victims) = victims else { return self.room_later(limits, entries, sum) };
        let mut gone = Vec::new();
        if gone.try_reserve_exact(victims.len()).is_err()
            || self.list.try_reserve(1).is_err()
            || self.names.try_reserve(1).is_err()
        {
            return fail!(OutOfHostMemory, "no host memory for the list of entries");
        }
        self.remove_all(victims, &mut gone);
        let number = self.next;
        self.next += 1;
        let name: Option<Arc<str>> = name.map(Arc::from);
        if let Some(name) = &name {
            self.names.insert(name.clone(), number);
        }
        let entry = Entry {
            number,
            spec,
            bytes,
            name,
            buffer: None,
            holders: 0,
            leaving: 0,
            claimed: true,
            uses: 0,
            last_use: 0,
            free_since: 0,
        };
        self.list.push(entry);
        self.bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.bytes);
        Ok(Room::Reserved(number, gone))
    }

    fn room_later(&self, limits: Limits, entries: u64, bytes: u64) -> Result<Room> {
        let fits = |gone, freed| limits.fit(entries - gone, bytes - freed);
        if self.oldest_until(fits, Entry::may_go)?.is_some() {
            // Where all are idle by now, another thread has asked the driver: then that wait is none.
            let free = self.list.iter().filter(|entry| entry.may_go());
            if let Some(entry) = free.min_by_key(|entry| (entry.is_idle(), entry.free_since)) {
                return Ok(Room::After(entry.number));
            }
        }
        let later = |entry: &Entry| entry.may_go() || entry.claimed;
        Ok(if self.oldest_until(fits, later)?.is_some() { Room::Later } else { Room::Full })
    }

    /// The entries that have to go until `enough(how many, their bytes)`, the longest free first; `None` where all of them
    /// are not enough.
    fn oldest_until(
        &self,
        enough: impl Fn(u64, u64) -> bool,
        may_go: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Vec<Old>>> {
        if enough(0, 0) {
            return Ok(Some(Vec::new()));
        }
        let mut oldest = self.oldest(may_go)?;
        let mut freed = 0;
        for place in 0..oldest.len() {
            freed += oldest[place].bytes;
            if enough(place as u64 + 1, freed) {
                oldest.truncate(place + 1);
                return Ok(Some(oldest));
            }
        }
        Ok(None)
    }

    /// All entries that may go, the longest free first.
    fn oldest(&self, may_go: impl Fn(&Entry) -> bool) -> Result<Vec<Old>> {
        let mut oldest = Vec::new();
        if oldest.try_reserve_exact(self.list.len()).is_err() {
            return fail!(OutOfHostMemory, "no host memory for the list of what has to go");
        }
        let may_go = self.list.iter().filter(|entry| may_go(entry));
        oldest.extend(may_go.map(|&Entry { number, bytes, free_since, .. }| Old { free_since, number, bytes }));
        oldest.sort_unstable_by_key(|old| (old.free_since, old.number));
        Ok(oldest)
    }

    /// Takes these entries out, all at once; there is room in `gone` for their buffers.
    fn remove_all(&mut self, mut old: Vec<Old>, gone: &mut Vec<Arc<Buffer>>) {
        if old.is_empty() {
            return;
        }
        old.sort_unstable_by_key(|old| old.number);
        self.list.retain_mut(|entry| {
            if old.binary_search_by_key(&entry.number, |old| old.number).is_err() {
                return true;
            }
            if let Some(name) = entry.name.take() {
                self.names.remove(&name);
            }
            self.bytes -= entry.bytes;
            gone.extend(entry.buffer.take());
            false
        });
    }

    /// Takes free entries out, the longest free first, until the limits hold or none is left.
    pub fn evict(&mut self, limits: Limits) -> Result<Vec<Arc<Buffer>>> {
        let fits = |gone, freed| limits.fit(self.count() - gone, self.bytes - freed);
        let old = match self.oldest_until(fits, Entry::is_free)? {
            Some(old) => old,
            None => self.oldest(Entry::is_free)?,
        };
        let mut gone = Vec::new();
        if gone.try_reserve_exact(old.len()).is_err() {
            return fail!(OutOfHostMemory, "no host memory for the list of what has to go");
        }
        self.remove_all(old, &mut gone);
        Ok(gone)
    }
}
