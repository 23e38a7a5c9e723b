//! What staged rows tell of themselves.

use super::StagedRows;
use crate::error::Result;
use crate::fence::Member;
use crate::stats::{Counter, Record, WaitCounters};

/// What is counted.
#[derive(Default)]
pub(super) struct Counters {
    pub writes: Counter,
    pub staged_bytes: Counter,
    pub applies: Counter,
    pub pieces: Counter,
    pub applied_bytes: Counter,
    pub copies: Counter,
    pub copied_bytes: Counter,
    pub scatters: Counter,
    pub device_waits: Counter,
    pub host: WaitCounters,
    pub refusals: Counter,
    pub torn_applies: Counter,
    pub grows: Counter,
    pub moves: Counter,
}

/// Numbers about staged rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StagedRowsStats {
    /// Writes that were staged.
    pub writes: u64,
    /// Their bytes.
    pub staged_bytes: u64,
    /// Applies that had something to apply, and were queued.
    pub applies: u64,
    /// Pieces that they wrote: what overlaps is cut, what was overwritten before is left out.
    pub pieces: u64,
    /// Their bytes.
    pub applied_bytes: u64,
    /// Copies that applies made: one each, or with no kernel one for each piece.
    pub copies: u64,
    /// Bytes of those copies.
    pub copied_bytes: u64,
    /// Kernels that applies launched.
    pub scatters: u64,
    /// Waits queued on streams, of consumers too.
    pub device_waits: u64,
    /// Waits of host threads for a staging entry.
    pub host_waits: u64,
    /// Time spent in them, in nanoseconds.
    pub host_wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
    /// Calls refused.
    pub refusals: u64,
    /// Applies of which only a part was queued.
    pub torn_applies: u64,
    /// Times that the table got more rows.
    pub grows: u64,
    /// Times that its address changed with that.
    pub moves: u64,
    /// Staging entries that can be packed at once.
    pub free_entries: u32,
    /// Staging entries lost for good.
    pub quarantined_entries: u32,
}

impl StagedRows {
    /// Its figures.
    pub fn stats(&self) -> Result<StagedRowsStats> {
        let levels = self.enter()?.ring.levels();
        Ok(self.figures(levels))
    }

    fn figures(&self, (free_entries, quarantined_entries): (u32, u32)) -> StagedRowsStats {
        let c = &self.counters;
        StagedRowsStats {
            writes: c.writes.get(),
            staged_bytes: c.staged_bytes.get(),
            applies: c.applies.get(),
            pieces: c.pieces.get(),
            applied_bytes: c.applied_bytes.get(),
            copies: c.copies.get(),
            copied_bytes: c.copied_bytes.get(),
            scatters: c.scatters.get(),
            device_waits: c.device_waits.get(),
            host_waits: c.host.waits.get(),
            host_wait_ns: c.host.wait_ns.get(),
            timeouts: c.host.timeouts.get(),
            refusals: c.refusals.get(),
            torn_applies: c.torn_applies.get(),
            grows: c.grows.get(),
            moves: c.moves.get(),
            free_entries,
            quarantined_entries,
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let how = match &self.no_kernel {
            None => "by one kernel".to_owned(),
            Some(why) => format!("by a copy for each piece ({why})"),
        };
        let inside = self.inside.look(|inside| {
            let ((free, lost), pending) = (inside.ring.levels(), &inside.pending);
            let (writes, bytes) = (pending.writes().len(), pending.bytes());
            format!("{writes} writes with {bytes} bytes are staged; {free} of {} entries free, {lost} lost", self.depth)
        });
        format!(
            "{}: {} rows of {} {} in {}, applied {how}; {}",
            self.name,
            self.rows(),
            self.row_elements(),
            self.dtype.name(),
            self.table.name(),
            inside.unwrap_or_else(|| "in use by another thread".into())
        )
    }
}

impl Member for StagedRows {
    fn record(&self) -> Record {
        let levels = self.inside.look(|inside| inside.ring.levels());
        let s = self.figures(levels.unwrap_or_default());
        let record = Record::new("staged rows", &*self.name)
            .with("table", self.table.name().to_string())
            .with("by_kernel", self.by_kernel())
            .with("no_kernel_reason", self.no_kernel.clone())
            .with("depth", self.depth)
            .with("rows", self.rows())
            .with("row_elements", self.row_elements())
            .with("writes", s.writes)
            .with("staged_bytes", s.staged_bytes)
            .with("applies", s.applies)
            .with("pieces", s.pieces)
            .with("applied_bytes", s.applied_bytes)
            .with("copies", s.copies)
            .with("copied_bytes", s.copied_bytes)
            .with("scatters", s.scatters)
            .with("device_waits", s.device_waits)
            .with("host_waits", s.host_waits)
            .with("host_wait_ns", s.host_wait_ns)
            .with("timeouts", s.timeouts)
            .with("refusals", s.refusals)
            .with("torn_applies", s.torn_applies)
            .with("grows", s.grows)
            .with("moves", s.moves)
            .with("in_use", levels.is_none());
        match levels {
            Some(_) => record.with("free_entries", s.free_entries).with("quarantined_entries", s.quarantined_entries),
            // In use by a thread: these are for another time.
            None => record,
        }
    }
}
