//! A block goes out, and comes back.

use super::lists::{Free, Lists, Waiting};
use super::{GiveBackRequest, Pool, Strategy};
use crate::config::checks::{Check, on};
use crate::config::{STREAMS_PER_CALL, Timeout};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{Block, HostWait, Side, Timeline};
use crate::lease::{Cell, Lease};
use crate::sync::{Arc, MutexGuard};
use std::time::Instant;

impl Pool {
    /// A block whose every earlier use is over. Among proven blocks the one that the strategy says; where none is proven, the
    /// one with the oldest fence, which is waited for. Where none is to be had, waits for a release: by priority, then arrival.
    pub fn acquire(self: &Arc<Pool>, priority: i32, timeout: Timeout) -> Result<Lease> {
        let wait = HostWait::new(timeout, &self.counters.fence_waits);
        loop {
            if let Err(error) = self.device.expect_usable() {
                // This thread may have been sent to make a block again, in the place of others.
                self.send_to_remake(&mut self.lists.lock());
                return Err(error);
            }
            let (cell, clean) = match self.take_free(priority)? {
                Some(taken) => taken,
                None => match self.wait_for_block(priority, &wait)? {
                    Some(cell) => (cell, false),
                    None => continue,
                },
            };
            if clean {
                return Ok(cell.lease(self.clone()));
            }
            // Taken out of the lists, the block is this thread's: the lock is free but for a describe passing by.
            let proven = cell.own().recycle(&wait, Check::AcquireWaits);
            match proven {
                Ok(()) => return Ok(cell.lease(self.clone())),
                Err(error) => match error.status() {
                    Status::DeviceLost | Status::Quarantined => self.quarantined(&cell, true),
                    _ => {
                        if !on(Check::TimeoutKeepsUses) {
                            cell.own().sides_mut().for_each(Side::forget_uses);
                        }
                        self.put_back(&cell, true, false);
                        return Err(error.context(format_args!("acquiring from {}", self.name)));
                    }
                },
            }
        }
    }

    /// Takes a block that is to be had, preferring a proven one; and whether it is clean.
    fn take_free(&self, priority: i32) -> Result<Option<(Arc<Cell>, bool)>> {
        let mut asked = !on(Check::AcquirePrefersProven);
        loop {
            let mut lists = self.expect_usable(self.lists.lock())?;
            if !self.may_have(&lists, priority) {
                return Ok(None);
            }
            if lists.free.is_empty() {
                return self.make_again(lists, priority).map(Some);
            }
            let place = self.proven_place(&lists);
            if place.is_none() && !std::mem::replace(&mut asked, true) {
                // Ask the streams outside the lock, then look again.
                let streams = self.streams_in_use(&lists);
                drop(lists);
                streams.into_iter().flatten().for_each(|timeline| timeline.poll());
                continue;
            }
            // The first of the list was released first: its fence is the oldest.
            lists.look.unproven |= place.is_none();
            return Ok(self.take(&mut lists, place.unwrap_or(0), priority));
        }
    }

    /// Whether a free block, or one that is made again, is for whoever comes with this priority.
    fn may_have(&self, lists: &Lists, priority: i32) -> bool {
        lists.to_be_had() > if priority > 0 { 0 } else { self.reserved_blocks }
    }

    fn take(&self, lists: &mut Lists, place: usize, priority: i32) -> Option<(Arc<Cell>, bool)> {
        let taken = lists.take(place, priority)?;
        self.counters.acquires.add_locked(1);
        Some(taken)
    }

    /// A block that was cleared away is made again: the one acquire that allocates.
    #[cold]
    fn make_again(&self, mut lists: MutexGuard<'_, Lists>, priority: i32) -> Result<(Arc<Cell>, bool)> {
        lists.cleared -= 1;
        let number = lists.take_number();
        drop(lists);
        let made = self.make(number);
        let mut lists = self.lists.lock();
        match made {
            Ok(cell) if !lists.shut_down => {
                lists.coming -= 1;
                lists.enter(cell);
                let taken = lists.hold(number, priority);
                self.counters.acquires.add_locked(1);
                taken.map(|cell| (cell, true)).ok_or_else(|| self.refusal(Status::Exhausted))
            }
            Ok(_) => Err(self.refusal(Status::ShutDown)),
            Err(error) => {
                lists.give_number_back(number);
                lists.cleared += 1;
                // Somebody may wait who would have made it.
                self.send_to_remake(&mut lists);
                Err(error.context(format_args!("acquiring from {}", self.name)))
            }
        }
    }

    fn proven_place(&self, lists: &Lists) -> Option<usize> {
        if !on(Check::AcquirePrefersProven) {
            return None;
        }
        let known = |number: u32| lists.entry(number)?.cell.look(Block::is_known_idle);
        let mut proven = (0..lists.free.len()).filter(|place| {
            let free = lists.free[*place];
            free.clean || known(free.number).unwrap_or(false)
        });
        if self.strategy != Strategy::RoundRobin {
            return proven.next();
        }
        // The next number behind the last one, and from the start again.
        let number = |place: &usize| lists.free[*place].number;
        proven.min_by_key(|place| (number(place) <= lists.last, number(place)))
    }

    /// Some of the streams that free blocks still wait for.
    fn streams_in_use(&self, lists: &Lists) -> [Option<Arc<Timeline>>; STREAMS_PER_CALL] {
        let mut streams = [const { None }; STREAMS_PER_CALL];
        let mut count = 0;
        for entry in lists.free.iter().filter_map(|free| lists.entry(free.number)) {
            entry.cell.look(|block| {
                for fence in block.sides().flat_map(Side::fences).filter(|fence| !fence.is_known()) {
                    let seen = streams.iter().flatten().any(|known| Arc::ptr_eq(known, fence.timeline()));
                    if !seen && count < streams.len() {
                        streams[count] = Some(fence.timeline().clone());
                        count += 1;
                    }
                }
            });
        }
        streams
    }

    fn expect_usable<'a>(&self, lists: MutexGuard<'a, Lists>) -> Result<MutexGuard<'a, Lists>> {
        if lists.shut_down {
            return fail!(ShutDown, "{} was destroyed", self.name);
        }
        match self.exhausted(&lists) {
            Some(status) => Err(self.refusal(status)),
            None => Ok(lists),
        }
    }

    #[cold]
    fn refusal(&self, status: Status) -> Error {
        Error::new(
            status,
            match status {
                Status::ShutDown => format!("{} was destroyed while this thread waited for a block", self.name),
                Status::DeviceLost => format!("the device of {} is lost: every block is quarantined", self.name),
                _ => format!(
                    "every block of {} is quarantined: make a new pool, or have maintain replace them",
                    self.name
                ),
            },
        )
    }

    /// Has as many of those who wait try again as blocks are to be made again.
    pub(super) fn send_to_remake(&self, lists: &mut Lists) {
        for _ in 0..lists.cleared {
            let above = (lists.to_be_had() <= self.reserved_blocks).then_some(0);
            let Some(place) = lists.next_waiter(self.patience, above) else { break };
            lists.tell(place, Waiting::Again).notify_one();
        }
    }

    /// A block that was given back; `None` where one is to be made again meanwhile, by whoever is first.
    fn wait_for_block(&self, priority: i32, wait: &HostWait<'_>) -> Result<Option<Arc<Cell>>> {
        self.counters.contended.add(1);
        if wait.timeout() == Timeout::Try {
            self.counters.waits.timeouts.add(1);
            return fail!(Busy, "no block of {} is free: {}", self.name, self.who_holds());
        }
        self.device.refuse_deadlock_in_callback()?;
        let start = Instant::now();
        let mut lists = self.expect_usable(self.lists.lock())?;
        if self.may_have(&lists, priority) {
            return match self.take(&mut lists, 0, priority) {
                Some((cell, _)) => Ok(Some(cell)),
                None => self.make_again(lists, priority).map(|(cell, _)| Some(cell)),
            };
        }
        let place = lists.enqueue(priority);
        let wake = lists.wake_of(place);
        if let Some(give_back) = &self.give_back
            && let Some((block, holder_priority)) = lists.holder_to_ask(priority)
        {
            // In the queue already: what is given back in there comes here.
            drop(lists);
            self.counters.requests.add(1);
            give_back(GiveBackRequest { block, holder_priority, waiter_priority: priority });
            lists = self.lists.lock();
        }
        loop {
            match lists.state(place).clone() {
                Waiting::Given(cell) => {
                    lists.retire(place);
                    drop(lists);
                    self.counters.waits.waited(start.elapsed());
                    return Ok(Some(cell));
                }
                Waiting::Again => {
                    lists.retire(place);
                    drop(lists);
                    self.counters.waits.waited(start.elapsed());
                    return Ok(None);
                }
                Waiting::Refused(status) => {
                    lists.retire(place);
                    drop(lists);
                    self.counters.waits.waited(start.elapsed());
                    return Err(self.refusal(status));
                }
                Waiting::Waits | Waiting::Idle => {}
            }
            let late = match wait.deadline() {
                Some(deadline) => wake.wait_until(&mut lists, deadline).timed_out(),
                None => {
                    wake.wait(&mut lists);
                    false
                }
            };
            // Given in the last moment is given: who lost the race yields.
            if late && matches!(lists.state(place), Waiting::Waits) {
                lists.leave(place);
                drop(lists);
                self.counters.waits.waited(start.elapsed());
                self.counters.waits.timeouts.add(1);
                return fail!(
                    Timeout,
                    "no block of {} came free {}: {}",
                    self.name,
                    wait.timeout().passed(start.elapsed()),
                    self.who_holds()
                );
            }
        }
    }

    /// A block, with its uses, goes to the waiter who is next, or to the free list: to the `front` where it came from there.
    pub(super) fn put_back(&self, cell: &Arc<Cell>, front: bool, clean: bool) {
        let number = cell.number() as u32;
        let mut lists = self.lists.lock();
        lists.unhold(number, !front);
        self.count_return(front);
        if lists.shut_down {
            lists.remove(number);
            drop(lists);
            cell.retire();
            return;
        }
        self.offer(lists, cell, front, clean);
    }

    /// A block that nobody has goes to a waiter, or to the free list.
    pub(super) fn offer(&self, mut lists: MutexGuard<'_, Lists>, cell: &Arc<Cell>, front: bool, clean: bool) {
        let number = cell.number() as u32;
        // While the reserve is not full, only those it is for.
        let above = (lists.to_be_had() < self.reserved_blocks).then_some(0);
        let Some(place) = lists.next_waiter(self.patience, above) else {
            let free = Free { number, clean };
            if front {
                lists.free.push_front(free);
            } else {
                lists.free.push_back(free);
            }
            return;
        };
        let priority = lists.priority(place);
        let _ = lists.hold(number, priority);
        self.counters.acquires.add_locked(1);
        if !on(Check::HandOver) {
            // What a hand-over without its uses would be.
            cell.own().sides_mut().for_each(Side::forget_uses);
        }
        let wake = lists.tell(place, Waiting::Given(cell.clone()));
        drop(lists);
        self.counters.hand_overs.add(1);
        wake.notify_one();
    }

    /// A block is out of use for good. With the last one every waiter is told.
    pub(super) fn quarantined(&self, cell: &Arc<Cell>, unproven: bool) {
        cell.own().quarantine(Status::Quarantined);
        let number = cell.number() as u32;
        let mut lists = self.lists.lock();
        lists.unhold(number, !unproven);
        self.count_return(unproven);
        lists.remove(number);
        lists.quarantined += 1;
        lists.lost |= self.device.backend().is_lost();
        self.refuse_if_exhausted(lists);
    }

    /// Why nobody will ever have a block: there is none, and none is made again.
    fn exhausted(&self, lists: &Lists) -> Option<Status> {
        let none = lists.blocks() + lists.cleared + lists.coming == 0 && on(Check::Exhausted);
        none.then_some(if lists.lost { Status::DeviceLost } else { Status::Exhausted })
    }

    /// Whoever waits hears what whoever comes hears.
    pub(super) fn refuse_if_exhausted(&self, lists: MutexGuard<'_, Lists>) {
        if let Some(status) = self.exhausted(&lists) {
            self.refuse_waiters(lists, status);
        }
    }

    /// A block is with users that nobody declares: it is no part of the pool any more, and whoever wants one makes another.
    pub(super) fn gave_up(&self, cell: &Cell) {
        let number = cell.number() as u32;
        let mut lists = self.lists.lock();
        lists.unhold(number, true);
        self.count_return(false);
        lists.remove(number);
        if !lists.shut_down {
            lists.cleared += 1;
            self.send_to_remake(&mut lists);
        }
        drop(lists);
        cell.retire();
    }

    /// Under the lists' lock: a block came back from its holder, or from an acquire that did not get it proven.
    fn count_return(&self, unproven: bool) {
        if unproven {
            self.counters.acquires.sub_locked(1);
        } else {
            self.counters.releases.add_locked(1);
        }
    }

    pub(super) fn refuse_waiters(&self, mut lists: MutexGuard<'_, Lists>, status: Status) {
        while let Some(place) = lists.pop_waiter() {
            lists.tell(place, Waiting::Refused(status)).notify_one();
        }
    }
}
