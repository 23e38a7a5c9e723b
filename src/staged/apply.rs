//! Apply: what is staged goes to the table, in the order of a stream and behind everybody who still uses the table.

use super::{Inside, StagedRows};
use crate::buffer::Layout;
use crate::config::checks::{Check, on};
use crate::config::{STREAMS_PER_CALL, Timeout};
use crate::error::{Error, Result};
use crate::fail;
use crate::fence::{Block, Fence, Outcome, Side, Timeline, scatter};
use crate::sync::Arc;

impl StagedRows {
    /// Applies what is staged: one copy and one kernel on `timeline`, with one fence; nothing at all where nothing is staged.
    /// It comes behind every earlier apply, on whatever stream, and work queued later on `timeline` and on the `consumers`
    /// comes behind it. Waits on the host for a staging entry only, up to the timeout.
    ///
    /// After an error everything is still staged, and applying it again is harmless, whatever of it was queued. Where the
    /// copy or the kernel fails when it runs, the table is as it was before, and the next operation on it is told
    /// (`copy failed`), once.
    pub fn apply(&self, timeline: &Arc<Timeline>, consumers: &[Arc<Timeline>], timeout: Timeout) -> Result<()> {
        self.counted(self.enter().and_then(|mut inside| {
            if inside.pending.writes().is_empty() {
                return Ok(());
            }
            let applied = self.apply_staged(&mut inside, timeline, consumers, timeout);
            if self.device.backend().is_lost() {
                inside.ring.quarantine_lost();
            }
            applied.map_err(|e| e.context(format_args!("applying {}, where all is still staged", self.name)))
        }))
    }

    fn apply_staged(
        &self,
        inside: &mut Inside,
        timeline: &Arc<Timeline>,
        consumers: &[Arc<Timeline>],
        timeout: Timeout,
    ) -> Result<()> {
        self.expect_applicable(inside, timeline, consumers)?;
        let at = inside.ring.claim(&self.wait(timeout))?;
        let mut table = self.table.lock()?;
        // Nobody gives it another shape while the block is locked.
        let layout = self.expect_rows(inside)?;
        let Inside { pending, plan, packer, ring } = inside;
        plan.make(pending.writes(), self.row_bytes);
        let base = table.scatter_base()?;
        let staging = ring.entry(at);
        packer.pack(staging_memory(staging)?, pending, plan.parts(), &layout, base);

        let waits = |table: &Block| table.sides().map(|side| side.order_count().device_waits).sum::<u64>();
        let before = waits(&table);
        let outcome = scatter(staging, &mut table, &packer.entry(), self.by_kernel(), timeline);
        self.counters.device_waits.add(waits(&table) - before);
        let fence = match outcome {
            Outcome::Queued(fence) => fence,
            Outcome::Refused(error) => return Err(error),
            Outcome::Torn(error, _) => {
                ring.used(at);
                self.counters.torn_applies.add(1);
                return Err(error);
            }
            Outcome::Unfenced(error) => {
                self.counters.torn_applies.add(1);
                return Err(error);
            }
        };
        ring.used(at);
        drop(table);
        self.order_consumers(&fence, consumers)?;
        let pieces = packer.entry().pieces;
        let applied = pieces.iter().map(|piece| piece.bytes as u64).sum::<u64>();
        self.counters.applies.add(1);
        self.counters.pieces.add(pieces.len() as u64);
        self.counters.applied_bytes.add(applied);
        let (copies, copied) = match self.by_kernel() {
            true => (1, packer.entry().bytes as u64),
            false => (pieces.len() as u64, applied),
        };
        self.counters.copies.add(copies);
        self.counters.copied_bytes.add(copied);
        self.counters.scatters.add(self.by_kernel() as u64);
        pending.clear();
        Ok(())
    }

    /// What can be refused before anything is touched.
    fn expect_applicable(&self, inside: &Inside, timeline: &Arc<Timeline>, consumers: &[Arc<Timeline>]) -> Result<()> {
        self.device.expect_usable()?;
        if consumers.len() > STREAMS_PER_CALL {
            return fail!(
                InvalidArgument,
                "{} consumers are over the limit of {STREAMS_PER_CALL} streams a call",
                consumers.len()
            );
        }
        for stream in consumers.iter().chain([timeline]) {
            stream.expect_device(&self.device)?;
            stream.expect_not_capturing(Check::CaptureCopies)?;
        }
        self.expect_rows(inside).map(drop)
    }

    /// The table still has every row that something is staged for.
    fn expect_rows(&self, inside: &Inside) -> Result<Layout> {
        let layout = self.layout()?;
        let last = inside.pending.writes().iter().map(|write| write.row).max().unwrap_or(0);
        if last >= layout.rows() {
            return fail!(
                InvalidArgument,
                "row {last} is staged, and {} has {} rows now: clear what is staged, or give it more rows again",
                self.table.name(),
                layout.rows()
            );
        }
        Ok(layout)
    }

    /// Each consumer's stream waits for it.
    fn order_consumers(&self, fence: &Fence, consumers: &[Arc<Timeline>]) -> Result<()> {
        for consumer in consumers.iter().filter(|_| on(Check::ConsumerWaits)) {
            let waits = consumer.wait_for(fence).map_err(|error| not_awaited(error, consumer))?;
            self.counters.device_waits.add(waits as u64);
        }
        Ok(())
    }
}

#[cold]
fn not_awaited(error: Error, consumer: &Timeline) -> Error {
    error.context(format_args!("it is queued, but {} does not wait for it", consumer.name()))
}

/// The memory that a claimed entry is packed into.
fn staging_memory(entry: &mut Block) -> Result<&mut [u8]> {
    let Some(memory) = entry.host.as_ref().map(Side::storage).transpose()?.map(|storage| storage.memory()) else {
        return fail!(Internal, "{} has no staging memory", entry.name());
    };
    // SAFETY: as many bytes of memory that was zeroed when it was made. The entry was claimed: nothing that is queued uses it,
    // and whoever else is in the process does not know it. It lives as long as the block.
    Ok(unsafe { std::slice::from_raw_parts_mut(memory.host, memory.bytes) })
}
