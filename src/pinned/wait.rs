//! Waiting for memory.

use super::Pinned;
use super::budget::Told;
use super::queue::Turn;
use super::request::{Need, Owner, Request};
use super::state::{Start, State};
use crate::config::Timeout;
use crate::error::{Error, Result, Status};
use crate::fence::HostWait;
use crate::sync::MutexGuard;
use std::time::{Duration, Instant};

/// How often who waits for memory tries again: nobody tells what others gave back to the driver.
const AGAIN: Duration = Duration::from_millis(10);

/// How often the first who waits looks whether a last use is over, while blocks that were given back wait for theirs: no
/// other thread may.
const LOOK: Duration = Duration::from_millis(1);

impl Pinned {
    /// Waits until it is the request's turn and there is room for it. Whoever gives memory back serves those who wait.
    pub(super) fn wait_for_turn(
        &self,
        need: &Need,
        request: &Request,
        reserves: bool,
        wait: &HostWait<'_>,
    ) -> Result<Start> {
        let Request { owner, priority, .. } = *request;
        if wait.timeout() == Timeout::Try {
            self.counters.waits.timeouts.add(1);
            let error = self.over_budget(&self.state.lock(), need);
            return Err(self.refused(need, owner, Error::new(Status::Busy, error.message())));
        }
        self.device.refuse_deadlock_in_callback()?;
        let endless = self.endless(&self.state.lock(), need);
        endless.map_err(|error| self.refused(need, owner, error))?;
        self.tell(Told::Waits, need, owner);
        let begun = Instant::now();
        let mut state = self.state.lock();
        self.expect_open(&state)?;
        if state.admits(need.bytes, priority) {
            return state.start(need, owner, reserves);
        }
        // The budget may have shrunk since: whoever shrinks it from now on tells those in the queue.
        if let Err(error) = self.endless(&state, need) {
            drop(state);
            return Err(self.refused(need, owner, error));
        }
        let (place, wake) = state.queue.join(*need, owner, reserves, priority)?;
        let outcome = loop {
            // Served in the last moment is served: who lost the race yields.
            match state.queue.take_turn(place) {
                Turn::Served(start) => break Ok(start),
                Turn::Refused(status) => break Err(self.turned_away(status, need, &state)),
                Turn::Waits => {}
            }
            let now = Instant::now();
            let left = if wait.deadline().is_some_and(|deadline| now >= deadline) {
                self.counters.waits.timeouts.add(1);
                Some(self.late(&state, need, begun.elapsed()))
            } else if state.queue.is_head(place) && state.ledger.pending > 0 {
                // Nobody else may look at these fences.
                let usable = MutexGuard::unlocked(&mut state, || {
                    self.device.maintain();
                    self.device.expect_usable()
                });
                if !state.queue.waits(place) {
                    continue;
                }
                let slice = now + LOOK;
                wake.wait_until(&mut state, wait.deadline().map_or(slice, |deadline| deadline.min(slice)));
                usable.err()
            } else {
                match wait.deadline() {
                    Some(deadline) => drop(wake.wait_until(&mut state, deadline)),
                    None => wake.wait(&mut state),
                }
                None
            };
            if let Some(error) = left
                && state.queue.waits(place)
            {
                state.queue.leave(place);
                state.serve();
                break Err(error);
            }
        };
        drop(state);
        self.counters.waits.waited(begun.elapsed());
        outcome.map_err(|error| match error.status() {
            Status::ShutDown | Status::DeviceLost => error,
            _ => self.refused(need, owner, error),
        })
    }

    /// Waits until there may be memory that the driver can lock: more has come back than there were `returns`, or some time has
    /// passed. `shortage` is since when. After an error the bytes are reserved still.
    pub(super) fn wait_for_memory(
        &self,
        need: &Need,
        owner: Owner,
        returns: u64,
        shortage: &mut Option<Instant>,
        wait: &HostWait<'_>,
        error: Error,
    ) -> Result<()> {
        if wait.timeout() == Timeout::Try {
            self.counters.waits.timeouts.add(1);
            return Err(Error::new(Status::Busy, error.message()));
        }
        self.device.refuse_deadlock_in_callback()?;
        if shortage.is_none() {
            *shortage = Some(Instant::now());
            self.state.lock().short += 1;
            self.tell(Told::Waits, need, owner);
        }
        let now = Instant::now();
        if wait.deadline().is_some_and(|deadline| now >= deadline) {
            self.counters.waits.timeouts.add(1);
            let late = format!("{}; waited for memory {}", error.message(), wait.timeout().passed(since(*shortage)));
            return Err(Error::new(Status::Timeout, late));
        }
        let mut state = self.state.lock();
        let slice = now + if state.ledger.pending > 0 { LOOK } else { AGAIN };
        let until = wait.deadline().map_or(slice, |deadline| deadline.min(slice));
        while state.returns == returns && !state.shut_down {
            if self.returned.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        self.expect_open(&state)
    }

    /// A request does not wait for memory any more.
    pub(super) fn shortage_ends(&self, shortage: Option<Instant>) {
        if shortage.is_some() {
            self.state.lock().short -= 1;
            self.counters.waits.waited(since(shortage));
        }
    }

    /// Refuses what there can never be room for.
    fn endless(&self, state: &State, need: &Need) -> Result<()> {
        if need.bytes > state.ledger.budget - state.ledger.quarantined {
            return Err(self.over_budget(state, need).context("no wait can end well"));
        }
        Ok(())
    }

    #[cold]
    fn turned_away(&self, status: Status, need: &Need, state: &State) -> Error {
        match status {
            Status::ShutDown => {
                Error::new(Status::ShutDown, format!("{} was destroyed while this thread waited for memory", self.name))
            }
            _ => self.over_budget(state, need),
        }
    }
}

fn since(begun: Option<Instant>) -> Duration {
    begun.map_or(Duration::ZERO, |begun| begun.elapsed())
}
