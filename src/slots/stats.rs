//! What a set of slots counts.

use crate::stats::{Counter, Record, WaitCounters};

/// The counters behind [`SlotsStats`].
#[derive(Default)]
pub(super) struct Counters {
    pub steps_begun: Counter,
    pub steps_committed: Counter,
    pub steps_aborted: Counter,
    pub steps_retired: Counter,
    pub copies: Counter,
    pub used_bytes: Counter,
    pub caught_up_bytes: Counter,
    pub copied_bytes: Counter,
    pub island_copies: Counter,
    pub fences_recorded: Counter,
    pub device_waits: Counter,
    pub host: WaitCounters,
    pub refusals: Counter,
    pub torn_commits: Counter,
    pub read_backs: Counter,
    pub padded_rows: Counter,
    pub bound: Counter,
}

/// Numbers about a set of slots so far. Bytes of copies and steps are sums over all commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotsStats {
    /// Ring entries.
    pub depth: u32,
    /// Bytes of one staging entry.
    pub arena_bytes: u64,
    /// Bytes on the device, of all copies.
    pub device_bytes: u64,
    /// Successful begins.
    pub steps_begun: u64,
    /// Successful commits.
    pub steps_committed: u64,
    /// Steps that were given up.
    pub steps_aborted: u64,
    /// Steps whose consumers were declared.
    pub steps_retired: u64,
    /// Copies of commits.
    pub copies: u64,
    /// Bytes of the rows that steps wrote or padded.
    pub used_bytes: u64,
    /// Bytes of those copies.
    pub copied_bytes: u64,
    /// Copies made because the changed rows of a table lay too far apart for one.
    pub island_copies: u64,
    /// Events recorded, for read-backs and retires too.
    pub fences_recorded: u64,
    /// Waits queued on streams, of consumers too.
    pub device_waits: u64,
    /// Host waits, of `begin`, `begin_read`, and of a commit after a retire that could not be recorded.
    pub host_waits: u64,
    /// Time spent in them, in nanoseconds.
    pub host_wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
    /// Calls refused.
    pub refusals: u64,
    /// Commits that failed after work was queued, or whose copy failed when it ran.
    pub torn_commits: u64,
    /// Read-backs queued.
    pub read_backs: u64,
    /// Entries that a step can begin in at once.
    pub free_entries: u32,
    /// Entries lost for good.
    pub quarantined_entries: u32,
    /// Copies of the device block.
    pub device_depth: u32,
    /// Steps committed and not retired.
    pub unretired_steps: u32,
    /// Bytes of kept rows that a copy of the device block had missed because they were committed to others.
    pub caught_up_bytes: u64,
    /// Rows that padding added, of all slots.
    pub padded_rows: u64,
    /// Dynamic slots bound.
    pub bindings: u64,
}

impl Counters {
    pub fn fill(&self, stats: &mut SlotsStats) {
        stats.steps_begun = self.steps_begun.get();
        stats.steps_committed = self.steps_committed.get();
        stats.steps_aborted = self.steps_aborted.get();
        stats.steps_retired = self.steps_retired.get();
        stats.copies = self.copies.get();
        stats.used_bytes = self.used_bytes.get();
        stats.caught_up_bytes = self.caught_up_bytes.get();
        stats.copied_bytes = self.copied_bytes.get();
        stats.island_copies = self.island_copies.get();
        stats.fences_recorded = self.fences_recorded.get();
        stats.device_waits = self.device_waits.get();
        stats.host_waits = self.host.waits.get();
        stats.host_wait_ns = self.host.wait_ns.get();
        stats.timeouts = self.host.timeouts.get();
        stats.refusals = self.refusals.get();
        stats.torn_commits = self.torn_commits.get();
        stats.bindings = self.bound.get();
        stats.padded_rows = self.padded_rows.get();
        stats.read_backs = self.read_backs.get();
    }
}

impl SlotsStats {
    /// Adds the numbers to a record.
    pub(super) fn record(&self, record: Record) -> Record {
        record
            .with("depth", self.depth)
            .with("arena_bytes", self.arena_bytes)
            .with("device_bytes", self.device_bytes)
            .with("steps_begun", self.steps_begun)
            .with("steps_committed", self.steps_committed)
            .with("steps_aborted", self.steps_aborted)
            .with("steps_retired", self.steps_retired)
            .with("copies", self.copies)
            .with("used_bytes", self.used_bytes)
            .with("copied_bytes", self.copied_bytes)
            .with("island_copies", self.island_copies)
            .with("fences_recorded", self.fences_recorded)
            .with("device_waits", self.device_waits)
            .with("host_waits", self.host_waits)
            .with("host_wait_ns", self.host_wait_ns)
            .with("timeouts", self.timeouts)
            .with("refusals", self.refusals)
            .with("torn_commits", self.torn_commits)
            .with("read_backs", self.read_backs)
            .with("free_entries", self.free_entries)
            .with("quarantined_entries", self.quarantined_entries)
            .with("device_depth", self.device_depth)
            .with("unretired_steps", self.unretired_steps)
            .with("caught_up_bytes", self.caught_up_bytes)
            .with("padded_rows", self.padded_rows)
            .with("bindings", self.bindings)
    }
}
