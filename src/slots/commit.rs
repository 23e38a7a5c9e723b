//! Commit: the written rows go to a copy of the device block, in stream order and behind everybody who still uses it.

use super::binding::unseal;
use super::copies::{Committer, DeviceCopy};
use super::definition::SlotKind;
use super::ring::{Body, Copied, State, Unretired};
use super::{Frozen, Slots, Step};
use crate::config::STREAMS_PER_CALL;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Fence, Outcome, Role, Timeline, transfer};
use crate::sync::{Arc, MutexGuard, Ordering};

impl Step {
    /// Copies what the step wrote to the device on `timeline`, behind everybody who still uses that copy of the device
    /// block, and has each consumer wait for it there. Returns the ticket, which is the step's number, from 1: it goes to
    /// copy (ticket - 1) modulo the device depth. Never waits on the host.
    ///
    /// `consumers` are the streams that will read the slots; none is the commit stream itself. Refused, with nothing
    /// changed: `slot unwritten`, `busy` with a span open, `not retired` while the step that last used the copy is not.
    /// Where only a part could be queued the step is over too, its launches must not be made, kept slots count as before,
    /// and the next commit, which goes to the same copy, sends every slot anew. A transfer that failed when it ran is
    /// reported once, as `copy failed`, by the next commit to its copy or read-back from it; the same step may then be
    /// committed again and sends every slot.
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
        let (copy, mut committer, mut guard) = self.take_device(frozen)?;
        let (committer, device) = (&mut *committer, &mut *guard);
        slots.settle_device(frozen, copy, device)?;
        self.seal_bound(body, timeline)?;
        let sent = self.send(frozen, body, timeline, consumers, (copy, committer, device));
        drop(guard);
        if sent.is_ok() {
            slots.note_tokens(frozen, body);
        } else {
            unseal(&mut body.bound);
            if frozen.entries[self.entry()].filling.load(Ordering::Acquire) != self.serial() {
                // The step is over.
                body.unbind();
            }
        }
        sent
    }

    /// Queues the copies of a step that may be committed, and closes it in the book.
    fn send(
        &self,
        frozen: &Frozen,
        body: &mut Body,
        timeline: &Arc<Timeline>,
        consumers: &[Arc<Timeline>],
        (copy, committer, device): (usize, &mut Committer, &mut DeviceCopy),
    ) -> Result<u64> {
        let slots = &**self.slots();
        let (Some(entry_side), Some(device_side)) = (&mut body.side, &mut device.block.device) else {
            return Err(slots.destroyed());
        };

        let everything = {
            let book = frozen.book.lock();
            let state = &book.copies[copy];
            !state.complete || (state.torn && on(Check::TornResends))
        };
        let base = entry_side.storage()?.memory().host;
        let caught_up = committer.plan(frozen, copy, &body.written, everything, slots.options.gap_bytes as usize, base);

        let before = device_side.order_count();
        let outcome = transfer(entry_side, device_side, &committer.pieces, timeline, Role::Copy);
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
            let plan = &committer.plan;
            slots.counters.copies.add(committer.pieces.len() as u64);
            slots.counters.used_bytes.add((plan.used_bytes() - caught_up) as u64);
            slots.counters.caught_up_bytes.add(caught_up as u64);
            slots.counters.copied_bytes.add(plan.copied_bytes() as u64);
            slots.counters.island_copies.add(plan.island_copies() as u64);
            failure = slots.order_consumers(&fence, consumers).err();
        }
        if let Some(error) = failure {
            slots.counters.torn_commits.add(1);
            let mut book = frozen.book.lock();
            book.copies[copy].torn = true;
            let step = book.committed;
            self.leave_in_flight(frozen, &mut book.seats[self.entry()], Copied { fence, copy, step, told: true });
            return Err(error.context(format_args!("{self} is over, its slots are not to be used; begin another")));
        }

        committer.keep(frozen, copy, &body.written, base);
        std::mem::swap(&mut body.bound, &mut device.bound);
        body.after.clear();
        let mut book = frozen.book.lock();
        book.committed += 1;
        let ticket = book.committed;
        let seat = &mut book.seats[self.entry()];
        let attachment = seat.attachment;
        self.leave_in_flight(frozen, seat, Copied { fence, copy, step: ticket, told: false });
        let mut declared = [const { None }; STREAMS_PER_CALL];
        for (place, consumer) in declared.iter_mut().zip(consumers) {
            *place = Some(consumer.clone());
        }
        let state = &mut book.copies[copy];
        (state.complete, state.torn) = (true, false);
        state.unretired = Some(Unretired {
            ticket,
            copy,
            serial: self.serial(),
            attachment,
            timeline: timeline.clone(),
            consumers: declared,
        });
        // A destroy that came meanwhile leaves the block to a drain: no launch may follow.
        slots.expect_alive()?;
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
        let unwritten = |(slot, rows): &(&super::Slot, &crate::arena::Rows)| match slot.dynamic {
            Some(number) => body.bound[number].is_none() && !body.for_replay,
            None => slot.kind == SlotKind::Required && !rows.is_written(),
        };
        let missing = frozen.slots.iter().zip(&body.written).find(unwritten);
        if let Some((slot, _)) = missing.filter(|_| on(Check::CommitUnwritten)) {
            let what = if slot.dynamic.is_some() { "bound" } else { "written" };
            return Err(slots.refuse(
                Status::SlotUnwritten,
                format!("committing {self}: {} slot \"{}\" was not {what} in this step", slot.kind.name(), slot.name),
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

    /// The copy of the device block whose turn it is, for this commit alone.
    #[allow(clippy::type_complexity)]
    fn take_device<'a>(
        &self,
        frozen: &'a Frozen,
    ) -> Result<(usize, MutexGuard<'a, Committer>, MutexGuard<'a, DeviceCopy>)> {
        let slots = &**self.slots();
        let book = frozen.book.lock();
        slots.expect_sound(book.broken)?;
        let copy = book.next_copy();
        if let Some(step) = book.copies[copy].unretired.as_ref().filter(|_| on(Check::CommitUnretired)) {
            return Err(slots.refuse(
                Status::NotRetired,
                format!(
                    "committing {self}: step {} (committed on {}) is not retired, and has the copy of the device block that this one goes to; call retire with its ticket when its last consumer is launched, then commit again",
                    step.ticket,
                    step.timeline.name()
                ),
            ));
        }
        match (frozen.committer.try_lock(), frozen.copies[copy].device.try_lock()) {
            (Some(committer), Some(device)) => Ok((copy, committer, device)),
            _ => Err(slots.refuse(
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

    /// Reports a transfer that failed when it ran, once: its copy of the device block is torn from then on.
    pub(super) fn settle_device(&self, frozen: &Frozen, copy: usize, device: &mut DeviceCopy) -> Result<()> {
        let Some(side) = &mut device.block.device else { return Err(self.destroyed()) };
        let failed = frozen.book.lock().take_failed(copy);
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
                frozen.book.lock().copies[copy].torn = true;
                self.counters.torn_commits.add(1);
            }
            self.refused(error)
        })
    }

    pub(super) fn count_abort(&self) {
        self.counters.steps_aborted.add(1);
    }
}

/// Whether two timelines stand for one stream.
pub(super) fn same_stream(one: &Arc<Timeline>, other: &Arc<Timeline>) -> bool {
    one.stream().id() == other.stream().id()
}
