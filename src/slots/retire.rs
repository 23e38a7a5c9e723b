//! Retire: every consumer of a committed step is queued, so a step may be committed to its copy behind them.

use super::binding;
use super::commit::same_stream;
use super::copies::DeviceCopy;
use super::ring::Unretired;
use super::{Frozen, MAX_DYNAMIC, Slots};
use crate::config::STREAMS_PER_CALL;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fence::{BlockGuard, Fences, Holdable, Range, Role, Timeline};
use crate::sync::Arc;
use arrayvec::ArrayVec;

/// Streams without an allocation: the first `count` places count, and all others have the commit stream.
struct Streams {
    places: [Arc<Timeline>; STREAMS_PER_CALL],
    count: usize,
}

impl Streams {
    fn all(&self) -> &[Arc<Timeline>] {
        &self.places[..self.count]
    }

    /// The next place has the commit stream, which is not one of the others.
    fn and_commit_stream(&self) -> &[Arc<Timeline>] {
        &self.places[..self.count + 1]
    }
}

impl Slots {
    /// Ends a committed step: its last consumer is queued. `streams` and the consumers declared with the commit are those
    /// streams; on each but the commit stream one fence is recorded, so that the next commit to its copy of the device
    /// block, and the release of the memory, come behind the work that is queued there now. Returns the step's attachment.
    /// Never waits.
    ///
    /// `not begun` for any other ticket, or twice. Several committed steps may be retired in any order. After a refusal the step is still to be retired. A record that fails
    /// does not keep the step from being retired: the next commit records it again.
    pub fn retire(&self, ticket: u64, streams: &[Arc<Timeline>]) -> Result<u64> {
        let frozen = self.frozen()?;
        let result = self.retire_step(frozen, ticket, streams);
        self.bury_if_ended(frozen);
        result
    }

    fn retire_step(&self, frozen: &Frozen, ticket: u64, streams: &[Arc<Timeline>]) -> Result<u64> {
        let (step, mut device) = {
            let book = frozen.book.lock();
            self.expect_alive()?;
            let step = match book.unretired().find(|step| step.ticket == ticket || !on(Check::RetireOnce)) {
                Some(step) => step.clone(),
                None if !on(Check::RetireOnce) => return Ok(0),
                None => {
                    let why = match ticket {
                        0 => "0 is no ticket",
                        ticket if ticket > book.committed => "no step was committed with it",
                        _ => "that step is retired",
                    };
                    return Err(self.refuse(
                        Status::NotBegun,
                        format!(
                            "retiring step {ticket} of {}: {why}; retire takes the ticket of a commit, once",
                            self.name
                        ),
                    ));
                }
            };
            let Some(device) = frozen.copies[step.copy].device.try_lock() else {
                return Err(self.refuse(
                    Status::Busy,
                    format!(
                        "retiring step {ticket} of {}: another thread reads it back or retires it at this moment; try again",
                        self.name
                    ),
                ));
            };
            (step, device)
        };
        let DeviceCopy { block, bound } = &mut *device;
        let Some(side) = &mut block.device else { return Err(self.destroyed()) };
        let users = self.users(&step, streams)?;
        let mut blocks: ArrayVec<BlockGuard<'_>, MAX_DYNAMIC> = ArrayVec::new();
        let recorded = side.expect_declaration(users.all()).and_then(|()| {
            binding::blocks(bound).try_for_each(|own| {
                let mut block = own.lease.enter()?;
                block.expect_bound_retire(users.and_commit_stream())?;
                blocks.push(block);
                Ok(())
            })
        });
        if self.device.backend().is_lost() {
            // Nothing can be fenced any more. Whoever frees the memory finds that out again with one stream, and keeps it.
            side.mark(&step.timeline, false);
            drop(blocks);
            bound.iter_mut().for_each(|bound| *bound = None);
            frozen.book.lock().copies[step.copy].unretired = None;
            self.device.expect_usable().map_err(|e| self.refused(e))?;
            return Ok(step.attachment);
        }
        recorded.map_err(|e| self.refused(e))?;
        let mut fences = Fences::new();
        let mut failed = None;
        let all = Range { start: 0, end: side.bytes() };
        for timeline in users.all() {
            match timeline.record() {
                Ok(fence) => {
                    self.counters.fences_recorded.add(1);
                    side.add_use(fence.clone(), true, all, Role::Retire);
                    fences.push(fence);
                }
                // The next commit, or whoever frees the memory, tries again: a later fence covers this work, too.
                Err(error) => {
                    side.mark(timeline, false);
                    failed = Some(error);
                }
            }
        }
        // Whatever is queued on the commit stream is covered too, named or not: it costs nothing while steps are committed
        // there, and one fence when the next one is committed elsewhere.
        side.mark(&step.timeline, false);
        if !blocks.is_empty() {
            // Its next user may be anybody: a mark is not enough.
            match step.timeline.record() {
                Ok(fence) => {
                    self.counters.fences_recorded.add(1);
                    fences.push(fence);
                }
                Err(error) => failed = Some(error),
            }
        }
        for block in &mut blocks {
            match failed.take() {
                None => block.retire_bound(&fences),
                Some(error) => failed = Some(block.record_failed(error)),
            }
        }
        drop(blocks);
        bound.iter_mut().for_each(|bound| *bound = None);
        let mut book = frozen.book.lock();
        book.copies[step.copy].unretired = None;
        drop(device);
        drop(book);
        self.counters.steps_retired.add(1);
        Ok(step.attachment)
    }

    /// The streams to fence now: the commit stream is not one of them.
    fn users(&self, step: &Unretired, streams: &[Arc<Timeline>]) -> Result<Streams> {
        let mut users = Streams { places: std::array::from_fn(|_| step.timeline.clone()), count: 0 };
        let declared = || step.consumers.iter().flatten();
        let on_declared = on(Check::RetireAllConsumers) || streams.is_empty();
        for timeline in streams.iter().chain(declared().filter(|_| on_declared)) {
            timeline.expect_device(&self.device).map_err(|e| self.refused(e))?;
            if same_stream(timeline, &step.timeline) {
                continue;
            }
            if !users.all().iter().any(|known| same_stream(known, timeline)) {
                // One place is the commit stream's.
                if users.count == STREAMS_PER_CALL - 1 {
                    return Err(self.refuse(
                        Status::InvalidArgument,
                        format!(
                            "retiring step {} of {}: more than {STREAMS_PER_CALL} streams in all, the commit stream and the declared consumers among them",
                            step.ticket, self.name
                        ),
                    ));
                }
                users.places[users.count] = timeline.clone();
                users.count += 1;
            }
        }
        Ok(users)
    }
}
