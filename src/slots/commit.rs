//! Commit: the written rows go to the device block, in stream order and behind everybody who still uses it.

use super::definition::SlotKind;
use super::ring::{Body, Copied, State, Unretired};
use super::{Frozen, Slots, Step};
use crate::arena::Plan;
use crate::config::STREAMS_PER_CALL;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Block, Fence, Outcome, Piece, Role, Timeline, transfer};
use crate::ops;
use crate::sync::{Arc, MutexGuard, Ordering};

/// The device's memory behind all slots, and what is known of its content.
pub(super) struct DeviceBlock {
    /// Its device side is gone once the set was destroyed.
    pub block: Block,
    /// The last committed content of the kept slots.
    mirror: Vec<u8>,
    plan: Plan,
    pieces: Vec<Piece>,
    /// A commit has succeeded: what it did not send is there from before.
    complete: bool,
    /// A copy failed since the last successful commit.
    torn: bool,
}

impl DeviceBlock {
    pub fn new(block: Block, mirror: Vec<u8>, plan: Plan, pieces: usize) -> DeviceBlock {
        DeviceBlock { block, mirror, plan, pieces: Vec::with_capacity(pieces), complete: false, torn: false }
    }

    /// The memory goes to the deferred list, behind the consumers of a step that nobody will retire any more.
    pub fn give_up(&mut self, unretired: Option<Unretired>) {
        let Some(mut side) = self.block.device.take() else { return };
        if let Some(step) = unretired {
            for timeline in step.consumers.iter().flatten().chain([&step.timeline]) {
                side.mark(timeline, false);
            }
            // Retire could have named more.
            side.note_unknown_users();
        }
        drop(side);
    }

    pub fn describe(&self) -> String {
        let torn = if self.torn { ", torn: the next commit sends every slot" } else { "" };
        match &self.block.device {
            Some(_) => format!("{}{torn}", self.block.describe()),
            None => "device: given up".into(),
        }
    }
}

impl Step {
    /// Copies what the step wrote to the device on `timeline`, behind everybody who still uses the device block, and has
    /// each consumer wait for it there. Returns the ticket, which is the step's number. Never waits on the host.
    ///
    /// `consumers` are the streams that will read the slots; none is the commit stream itself. Refused, with nothing
    /// changed: `slot unwritten`, `busy` with a span open, `not retired` while the previous committed step is not. Where
    /// only a part could be queued the step is over too, its launches must not be made, kept slots count as before, and
    /// the next commit sends every slot anew. A copy that failed when it ran is reported once, as `copy failed`, by the
    /// next commit or read-back; the same step may then be committed again and sends every slot.
    pub fn commit(&self, timeline: &Arc<Timeline>, consumers: &[Arc<Timeline>]) -> Result<u64> {
        self.fill(|frozen, body| self.commit_filled(frozen, body, timeline, consumers))
    }

    fn commit_filled(
        &self,
        frozen: &Frozen,
        body: &mut Body,
        timeline: &Arc<Timeline>,
        consumers: &[Arc<Timeline>],
    ) -> Result<u64> {
        let slots = &**self.slots();
        self.expect_committable(frozen, body, timeline, consumers)?;
        let mut guard = self.take_device(frozen)?;
        let device = &mut *guard;
        slots.settle_device(frozen, device)?;
        let (Some(entry_side), Some(device_side)) = (&mut body.side, &mut device.block.device) else {
            return Err(slots.destroyed());
        };

        let everything = !device.complete || (device.torn && on(Check::TornResends));
        let base = entry_side.storage()?.memory().host;
        let (mirror, mirrored) = (&device.mirror, frozen.layout.mirrored());
        device.plan.make(&frozen.layout, &body.written, everything, slots.options.gap_bytes as usize, |range| {
            if everything || on(Check::LiveGaps) {
                let committed = &mirror[range.start - mirrored.start..range.end - mirrored.start];
                // SAFETY: the range lies inside the mirrored stretch, so inside the entry, whose memory no copy reads
                // since begin and whose lock this thread holds; no span is open.
                unsafe { ops::copy(base.wrapping_add(range.start), committed.as_ptr(), committed.len()) };
            }
        });
        device.pieces.clear();
        device.pieces.extend(device.plan.copies().iter().map(|copy| Piece {
            source: copy.start,
            target: copy.start,
            bytes: copy.len(),
        }));

        let before = device_side.order_count();
        let outcome = transfer(entry_side, device_side, &device.pieces, timeline, Role::Copy);
        slots.count_order(before, device_side.order_count());
        let (fence, mut failure) = match outcome {
            Outcome::Queued(fence) => (fence, None),
            Outcome::Torn(error, fence) => (fence, Some(error)),
            Outcome::Refused(error) => {
                return Err(slots.refused(error.context(format_args!("{self} stays as it is"))));
            }
            Outcome::Unfenced(error) => {
                slots.counters.torn_commits.add(1);
                frozen.entries[self.entry()].filling.store(0, Ordering::Release);
                let mut book = frozen.book.lock();
                book.seats[self.entry()].state = State::Quarantined;
                book.broken = Some(Status::Quarantined);
                return Err(error.context(self));
            }
        };
        slots.counters.fences_recorded.add(1);
        if failure.is_none() {
            slots.counters.copies.add(device.pieces.len() as u64);
            slots.counters.used_bytes.add(device.plan.used_bytes() as u64);
            slots.counters.copied_bytes.add(device.plan.copied_bytes() as u64);
            slots.counters.island_copies.add(device.plan.island_copies() as u64);
            failure = slots.order_consumers(&fence, consumers).err();
        }
        if let Some(error) = failure {
            device.torn = true;
            slots.counters.torn_commits.add(1);
            let mut book = frozen.book.lock();
            let step = book.committed;
            self.leave_in_flight(frozen, &mut book.seats[self.entry()], Copied { fence, step, told: true });
            return Err(error.context(format_args!("{self} is over, its slots are not to be used; begin another")));
        }

        keep_written(frozen, body, base, &mut device.mirror);
        device.complete = true;
        device.torn = false;
        let mut book = frozen.book.lock();
        book.committed += 1;
        let ticket = book.committed;
        let seat = &mut book.seats[self.entry()];
        let attachment = seat.attachment;
        self.leave_in_flight(frozen, seat, Copied { fence, step: ticket, told: false });
        let mut declared = [const { None }; STREAMS_PER_CALL];
        for (place, consumer) in declared.iter_mut().zip(consumers) {
            *place = Some(consumer.clone());
        }
        book.unretired = Some(Unretired {
            ticket,
            serial: self.serial(),
            attachment,
            timeline: timeline.clone(),
            consumers: declared,
        });
        // A destroy that came meanwhile has the consumers fenced by whoever lets the block go: no launch may follow.
        slots.expect_alive()?;
        drop(guard);
        slots.counters.steps_committed.add(1);
        Ok(ticket)
    }

    fn leave_in_flight(&self, frozen: &Frozen, seat: &mut super::ring::Seat, copied: Copied) {
        frozen.entries[self.entry()].filling.store(0, Ordering::Release);
        seat.copied = Some(copied);
        seat.state = State::Idle;
    }

    /// What can be refused before anything is touched.
    fn expect_committable(
        &self,
        frozen: &Frozen,
        body: &Body,
        timeline: &Arc<Timeline>,
        consumers: &[Arc<Timeline>],
    ) -> Result<()> {
        let slots = &**self.slots();
        if let Some(span) = body.spans.first().filter(|_| on(Check::CommitSpan)) {
            let name = &frozen.slots[span.slot() as usize].name;
            return Err(slots.refuse(
                Status::Busy,
                format!("committing {self}: a span of slot \"{name}\" (token {}) is open; end it first", span.token()),
            ));
        }
        let unwritten = |(slot, rows): &(&super::Slot, &crate::arena::Rows)| {
            slot.kind == SlotKind::Required && !rows.is_written() && on(Check::CommitUnwritten)
        };
        if let Some((slot, _)) = frozen.slots.iter().zip(&body.written).find(unwritten) {
            return Err(slots.refuse(
                Status::SlotUnwritten,
                format!("committing {self}: required slot \"{}\" was not written in this step", slot.name),
            ));
        }
        slots.device.expect_usable().map_err(|e| slots.refused(e))?;
        for stream in consumers.iter().chain([timeline]) {
            stream.expect_device(&slots.device).map_err(|e| slots.refused(e))?;
            stream.expect_not_capturing(Check::CaptureCopies).map_err(|e| slots.refused(e))?;
        }
        let streams = 1 + consumers.iter().filter(|consumer| !same_stream(consumer, timeline)).count();
        if streams > STREAMS_PER_CALL || consumers.len() > STREAMS_PER_CALL {
            return fail!(
                InvalidArgument,
                "committing {self}: {} consumers are over the limit of {STREAMS_PER_CALL} streams a step, the commit stream among them",
                consumers.len()
            );
        }
        Ok(())
    }

    /// The device block, for this commit alone.
    fn take_device<'a>(&self, frozen: &'a Frozen) -> Result<MutexGuard<'a, DeviceBlock>> {
        let slots = &**self.slots();
        let book = frozen.book.lock();
        slots.expect_sound(book.broken)?;
        if let Some(step) = book.unretired.as_ref().filter(|_| on(Check::CommitUnretired)) {
            return Err(slots.refuse(
                Status::NotRetired,
                format!(
                    "committing {self}: step {} (committed on {}) is not retired; call retire with its ticket when its last consumer is launched, then commit again",
                    step.ticket,
                    step.timeline.name()
                ),
            ));
        }
        match frozen.device.try_lock() {
            Some(device) => Ok(device),
            None => Err(slots.refuse(
                Status::Busy,
                format!("committing {self}: another thread commits or retires a step of these slots; try again"),
            )),
        }
    }
}

impl Slots {
    /// Each consumer's stream waits for the copy.
    fn order_consumers(&self, fence: &Fence, consumers: &[Arc<Timeline>]) -> Result<()> {
        for consumer in consumers {
            if on(Check::ConsumerWaits) && consumer.wait_for(fence)? {
                self.counters.device_waits.add(1);
            }
        }
        Ok(())
    }

    /// Reports a copy that failed when it ran, once: the device block is torn from then on.
    pub(super) fn settle_device(&self, frozen: &Frozen, device: &mut DeviceBlock) -> Result<()> {
        let Some(side) = &mut device.block.device else { return Err(self.destroyed()) };
        let failed = frozen.book.lock().take_failed();
        let settled = match failed.filter(|_| on(Check::CopyFailed)) {
            Some(copied) => {
                side.failure_told(&copied.fence);
                self.device.counters.refusals.add(1);
                fail!(
                    CopyFailed,
                    "the copy of step {} failed when it ran ({}): its consumers saw bytes that were not sent; commit again, which sends every slot",
                    copied.step,
                    copied.fence
                )
            }
            None => side.settle(),
        };
        settled.map_err(|error| {
            if error.status() == Status::CopyFailed {
                device.torn = true;
                self.counters.torn_commits.add(1);
            }
            self.refused(error)
        })
    }

    pub(super) fn count_abort(&self) {
        self.counters.steps_aborted.add(1);
    }
}

/// The kept rows that the step wrote are the committed content now.
fn keep_written(frozen: &Frozen, body: &Body, base: *mut u8, mirror: &mut [u8]) {
    let start = frozen.layout.mirrored().start;
    for (place, rows) in frozen.layout.places().iter().zip(&body.written).filter(|(place, _)| place.kept) {
        for run in rows.runs() {
            let bytes = place.span(run);
            let target = &mut mirror[bytes.start - start..bytes.end - start];
            // SAFETY: the source lies inside the entry, which the copy only reads and whose lock this thread holds.
            unsafe { ops::copy(target.as_mut_ptr(), base.wrapping_add(bytes.start), target.len()) };
        }
    }
}

/// Whether two timelines stand for one stream.
pub(super) fn same_stream(one: &Arc<Timeline>, other: &Arc<Timeline>) -> bool {
    one.stream().id() == other.stream().id()
}
