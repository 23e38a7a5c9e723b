//! What a set of slots counts.

use crate::stats::{Counter, WaitCounters};

/// The counters behind [`SlotsStats`].
#[derive(Default)]
pub(super) struct Counters {
    pub steps_begun: Counter,
    pub steps_committed: Counter,
    pub steps_aborted: Counter,
    pub steps_retired: Counter,
    pub copies: Counter,
    pub used_bytes: Counter,
    pub copied_bytes: Counter,
    pub island_copies: Counter,
    pub fences_recorded: Counter,
    pub device_waits: Counter,
    pub host: WaitCounters,
    pub refusals: Counter,
    pub torn_commits: Counter,
    pub read_backs: Counter,
}

/// Numbers about a set of slots so far. Bytes of copies and steps are sums over all commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotsStats {
    /// Ring entries.
    pub depth: u32,
    /// Bytes of one staging entry.
    pub arena_bytes: u64,
    /// Bytes on the device.
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
}

impl Counters {
    pub fn fill(&self, stats: &mut SlotsStats) {
        stats.steps_begun = self.steps_begun.get();
        stats.steps_committed = self.steps_committed.get();
        stats.steps_aborted = self.steps_aborted.get();
        stats.steps_retired = self.steps_retired.get();
        stats.copies = self.copies.get();
        stats.used_bytes = self.used_bytes.get();
        stats.copied_bytes = self.copied_bytes.get();
        stats.island_copies = self.island_copies.get();
        stats.fences_recorded = self.fences_recorded.get();
        stats.device_waits = self.device_waits.get();
        stats.host_waits = self.host.waits.get();
        stats.host_wait_ns = self.host.wait_ns.get();
        stats.timeouts = self.host.timeouts.get();
        stats.refusals = self.refusals.get();
        stats.torn_commits = self.torn_commits.get();
        stats.read_backs = self.read_backs.get();
    }
}
