//! Entries that nobody holds any more: free for others, or gone.

use super::entries::{Entries, Limits};
use super::{Workspace, reuse};
use crate::error::Result;
use crate::fail;
use crate::sync::MutexGuard;

impl Workspace {
    /// The name is free for another entry at once. The buffer goes on without one: where nobody holds it, it is free for
    /// whoever needs one of its spec.
    pub fn release_name(&self, name: &str) -> Result<()> {
        let mut entries = self.entries.lock();
        self.expect_open(&entries)?;
        let Some(entry) = entries.named(name) else {
            return fail!(NotFound, "{} has no entry \"{name}\" to release", self.name);
        };
        let (number, free) = (entry.number, entry.holders == 0);
        entries.take_name(number);
        if free {
            self.give_up(entries, number);
        }
        Ok(())
    }

    /// An entry has no holders: it is free, or it goes where it cannot be used again. A name keeps it in any case.
    pub(super) fn give_up<'a>(&'a self, mut entries: MutexGuard<'a, Entries>, number: u64) {
        let Some(buffer) = entries.claim(number) else { return };
        let made = entries.get(number).map(|entry| (entry.spec, entry.bytes));
        drop(entries);
        let usable = made.is_some_and(|(spec, bytes)| reuse::end_of_holder(&buffer, &spec, bytes));
        entries = self.entries.lock();
        let named = entries.get(number).is_some_and(|entry| entry.name.is_some());
        let gone = if entries.closed || !(usable || named) {
            self.counters.retired.add_locked(!usable as u64);
            entries.remove(number)
        } else {
            entries.set_free(number);
            None
        };
        drop(entries);
        drop((gone, buffer));
        self.changed.notify_all();
    }

    /// Takes out free entries, the longest free first, until there are no more than these, or none is free. What work
    /// still uses stays, outside the workspace, until it is done. Returns how many went.
    pub fn evict(&self, max_entries: u64, max_bytes: u64) -> Result<u64> {
        let mut entries = self.entries.lock();
        self.expect_open(&entries)?;
        let gone = entries.evict(Limits { entries: Some(max_entries), bytes: Some(max_bytes) })?;
        self.counters.evicted.add_locked(gone.len() as u64);
        drop(entries);
        self.changed.notify_all();
        Ok(gone.len() as u64)
    }

    /// Takes out every free entry, and leaves those that are held. Returns how many went and how many are left.
    pub fn clear(&self) -> Result<(u64, u64)> {
        let gone = self.evict(0, 0)?;
        Ok((gone, self.entries.lock().count()))
    }

    /// Ends the workspace: what is free goes now, what is held when its last holder ends. Who waits in it is sent away.
    /// Never waits.
    pub fn destroy(&self) {
        let mut entries = self.entries.lock();
        entries.closed = true;
        let gone = entries.evict(Limits { entries: Some(0), bytes: Some(0) });
        drop(entries);
        self.changed.notify_all();
        drop(gone);
    }
}
