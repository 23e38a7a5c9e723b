//! What a workspace tells of itself.

use super::{Spec, Workspace, reuse};
use crate::buffer::Buffer;
use crate::error::Result;
use crate::fail;
use crate::fence::{Block, Member, Side, Which};
use crate::stats::Record;
use crate::sync::Arc;

/// What is the case with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EntryState {
    /// Nobody holds it. Work may still use it.
    Free = 0,
    /// Held, nothing uses it, and its device side has all there is.
    Allocated = 1,
    /// Held, nothing uses it, and its host side is newer than its device side.
    Staged = 2,
    /// Queued or undeclared work, a guard or a graph uses it, or a thread makes it or gives it back.
    InUse = 3,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct EntryInfo {
    /// Its name; empty: it has none.
    pub name: String,
    /// What it is.
    pub spec: Spec,
    /// Bytes of its memory, which are more than the spec's where a copy stands in.
    pub bytes: u64,
    /// What is the case with it.
    pub state: EntryState,
    /// Who hold it.
    pub holders: u32,
    /// How often it was given out.
    pub uses: u64,
    /// When it was given out last: the higher, the later.
    pub last_use: u64,
}

/// A workspace's figures: what is the case at this moment, then what only grows.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceStats {
    pub entries: u64,
    pub held_entries: u64,
    pub free_entries: u64,
    pub named_entries: u64,
    pub bytes: u64,
    pub held_bytes: u64,
    pub max_entries: u64,
    pub max_bytes: u64,
    pub peak_bytes: u64,
    pub found: u64,
    pub reused: u64,
    pub made: u64,
    pub evicted: u64,
    pub retired: u64,
    pub refused: u64,
    pub waits: u64,
    pub wait_ns: u64,
    pub timeouts: u64,
}

/// What is the case with a buffer that is held.
fn state_of(block: &Block) -> EntryState {
    let declared = block.sides().any(Side::is_sealed) || block.has_guard() || block.holds() > 0;
    match (block.is_known_idle() && !declared, block.newer_bytes(Which::Host)) {
        (false, _) => EntryState::InUse,
        (true, 0) => EntryState::Allocated,
        (true, _) => EntryState::Staged,
    }
}

impl Workspace {
    /// Every entry, in the order in which they were made.
    pub fn list(&self) -> Result<Vec<EntryInfo>> {
        let entries = self.entries.lock();
        let mut list: Vec<(EntryInfo, Option<Arc<Buffer>>)> = Vec::new();
        if list.try_reserve_exact(entries.count() as usize).is_err() {
            return fail!(OutOfHostMemory, "no host memory for a list of {} entries", entries.count());
        }
        for entry in entries.iter() {
            let free = entry.holders == 0 && !entry.claimed;
            let info = EntryInfo {
                name: entry.name.as_deref().unwrap_or_default().to_string(),
                spec: entry.spec,
                bytes: entry.bytes,
                state: if free { EntryState::Free } else { EntryState::InUse },
                holders: entry.holders,
                uses: entry.uses,
                last_use: entry.last_use,
            };
            list.push((info, entry.buffer.clone().filter(|_| entry.holders > 0)));
        }
        drop(entries);
        let state = |(mut info, held): (EntryInfo, Option<Arc<Buffer>>)| {
            if let Some(buffer) = held {
                reuse::poll(&buffer);
                info.state = buffer.look(state_of).unwrap_or(EntryState::InUse);
            }
            info
        };
        Ok(list.into_iter().map(state).collect())
    }

    /// Its figures.
    pub fn stats(&self) -> WorkspaceStats {
        let entries = self.entries.lock();
        let count = |test: &dyn Fn(&&super::entries::Entry) -> bool| entries.iter().filter(test).count() as u64;
        let counters = &self.counters;
        WorkspaceStats {
            entries: entries.count(),
            held_entries: count(&|entry| entry.holders > 0),
            free_entries: count(&|entry| entry.holders == 0 && !entry.claimed),
            named_entries: count(&|entry| entry.name.is_some()),
            bytes: entries.bytes(),
            held_bytes: entries.iter().filter(|entry| entry.holders > 0).map(|entry| entry.bytes).sum(),
            max_entries: self.limits.entries.unwrap_or(0),
            max_bytes: self.limits.bytes.unwrap_or(0),
            peak_bytes: entries.peak_bytes(),
            found: counters.found.get(),
            reused: counters.reused.get(),
            made: counters.made.get(),
            evicted: counters.evicted.get(),
            retired: counters.retired.get(),
            refused: counters.refused.get(),
            waits: counters.waits.waits.get(),
            wait_ns: counters.waits.wait_ns.get(),
            timeouts: counters.waits.timeouts.get(),
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let stats = self.stats();
        format!(
            "{}: {} entries of {} bytes, {} held, {} free, {} with a name",
            self.name, stats.entries, stats.bytes, stats.held_entries, stats.free_entries, stats.named_entries
        )
    }
}

impl Member for Workspace {
    fn record(&self) -> Record {
        let stats = self.stats();
        Record::new("workspace", &self.name)
            .with("entries", stats.entries)
            .with("held_entries", stats.held_entries)
            .with("free_entries", stats.free_entries)
            .with("named_entries", stats.named_entries)
            .with("max_entries", stats.max_entries)
            .with("bytes", stats.bytes)
            .with("held_bytes", stats.held_bytes)
            .with("max_bytes", stats.max_bytes)
            .with("peak_bytes", stats.peak_bytes)
            .with("found", stats.found)
            .with("reused", stats.reused)
            .with("made", stats.made)
            .with("evicted", stats.evicted)
            .with("retired", stats.retired)
            .with("refused", stats.refused)
            .with("waits", stats.waits)
            .with("wait_ns", stats.wait_ns)
            .with("timeouts", stats.timeouts)
    }

    fn send_away(&self) {
        self.destroy();
    }
}
