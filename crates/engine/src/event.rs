//! Events: marks in streams that the CPU and other streams wait for.
//!
//! Each record is a generation. Generations of one event may be recorded in different streams and so end in any
//! order, hence the list of pending ones; the newest one's state is also kept in an atomic, for queries without lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::captured;
use crate::captures::Point;
use crate::clock::Inside;
use crate::policy::Fault;

/// How far an event's record has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventState {
    /// All work before the record has run.
    Complete,
    /// The stream has not reached the record.
    Pending,
    /// The stream has reached it, and the record or work with its tag failed.
    Failed,
    /// The device was lost first.
    Lost,
    /// The newest record is part of a capture and never ends.
    Captured,
}

impl EventState {
    fn from_bits(bits: u64) -> EventState {
        match bits & 7 {
            0 => EventState::Complete,
            1 => EventState::Pending,
            2 => EventState::Failed,
            3 => EventState::Lost,
            _ => EventState::Captured,
        }
    }
}

/// Room for a state below the generation.
const STATE_BITS: u32 = 3;

/// Ends other than `Complete` that are remembered for waiters that have yet to wake; older ones read as `Complete`.
const FAILURES_KEPT: usize = 64;

pub(crate) struct Mark {
    /// Newest generation << STATE_BITS | its state. Generation 0 is "never recorded" and complete.
    newest: AtomicU64,
    records: Mutex<Records>,
    ended: Condvar,
}

struct Records {
    pending: Vec<u64>,
    /// When the newest record that has ended did so, and which it is.
    end: Option<(u64, Instant)>,
    /// What the newest record stands for, if it is part of a capture.
    captured: Option<Point>,
    failures: VecDeque<(u64, EventState)>,
    /// Workers that wait for a generation.
    workers: Vec<(u64, Thread)>,
    /// CPU threads in `ended`.
    waiters: usize,
}

impl Mark {
    fn newest(&self) -> (u64, EventState) {
        let bits = self.newest.load(Ordering::Acquire);
        (bits >> STATE_BITS, EventState::from_bits(bits))
    }

    /// The generation of the latest record submitted so far; 0 if there is none.
    pub(crate) fn generation(&self) -> u64 {
        self.newest().0
    }

    /// Begins a record and returns its generation.
    pub(crate) fn begin(&self) -> u64 {
        let mut records = self.records.lock();
        let generation = self.newest().0 + 1;
        records.captured = None;
        records.pending.push(generation);
        self.newest.store(generation << STATE_BITS | EventState::Pending as u64, Ordering::Release);
        generation
    }

    /// A record that is part of a capture: it begins nothing, and never ends.
    pub(crate) fn capture(&self, point: Point) {
        let mut records = self.records.lock();
        let generation = self.newest().0 + 1;
        records.captured = Some(point);
        self.newest.store(generation << STATE_BITS | EventState::Captured as u64, Ordering::Release);
    }

    pub(crate) fn is_captured(&self) -> bool {
        self.newest().1 == EventState::Captured
    }

    /// What the newest record stands for, if it is part of a capture.
    pub(crate) fn point(&self) -> Option<Point> {
        self.records.lock().captured.clone()
    }

    /// Ends a record. The first end counts: a device's loss and the worker may both come with one.
    pub(crate) fn end(&self, generation: u64, state: EventState) {
        let now = Instant::now();
        let mut records = self.records.lock();
        let Some(index) = records.pending.iter().position(|pending| *pending == generation) else {
            return;
        };
        records.pending.swap_remove(index);
        if state != EventState::Complete {
            if records.failures.len() == FAILURES_KEPT {
                records.failures.pop_front();
            }
            records.failures.push_back((generation, state));
        }
        if self.newest().0 == generation {
            records.end = Some((generation, now));
            // The release makes what the operations before the record wrote visible to whoever reads this.
            self.newest.store(generation << STATE_BITS | state as u64, Ordering::Release);
        }
        records.workers.retain(|(wanted, worker)| {
            if *wanted == generation {
                worker.unpark();
            }
            *wanted != generation
        });
        if records.waiters > 0 {
            self.ended.notify_all();
        }
    }

    /// When the newest record completed, if it did.
    fn completed(&self) -> Option<Instant> {
        let records = self.records.lock();
        let (generation, state) = self.newest();
        let ended = |(ended, _): &(u64, Instant)| *ended == generation && state == EventState::Complete;
        records.end.filter(ended).map(|(_, time)| time)
    }

    /// The state of one generation, which need not be the newest.
    pub(crate) fn state_of(&self, generation: u64) -> EventState {
        let (newest, state) = self.newest();
        if generation == newest { state } else { self.records.lock().state_of(generation) }
    }

    /// Has the calling worker unparked when the generation ends; false if it has ended.
    pub(crate) fn enlist(&self, generation: u64) -> bool {
        let mut records = self.records.lock();
        let pending = records.pending.contains(&generation);
        if pending {
            records.workers.push((generation, thread::current()));
        }
        pending
    }

    /// Takes the calling worker back out.
    pub(crate) fn withdraw(&self, generation: u64) {
        let own = thread::current().id();
        let mut records = self.records.lock();
        records.workers.retain(|(wanted, worker)| *wanted != generation || worker.id() != own);
    }
}

impl Records {
    fn state_of(&self, generation: u64) -> EventState {
        if self.pending.contains(&generation) {
            return EventState::Pending;
        }
        let failure = self.failures.iter().find(|(failed, _)| *failed == generation);
        failure.map_or(EventState::Complete, |(_, state)| *state)
    }
}

/// A mark that streams record and wait for. Cloning gives another handle to the same event; it may be dropped while
/// recorded or waited for.
#[derive(Clone)]
pub struct Event {
    pub(crate) mark: Arc<Mark>,
}

impl Event {
    pub(crate) fn new() -> Event {
        let records = Records {
            pending: Vec::with_capacity(16),
            end: None,
            captured: None,
            failures: VecDeque::new(),
            workers: Vec::with_capacity(4),
            waiters: 0,
        };
        Event {
            mark: Arc::new(Mark { newest: AtomicU64::new(0), records: Mutex::new(records), ended: Condvar::new() }),
        }
    }

    /// The state of the newest record; an event that was never recorded is complete. Takes no lock, unless the record is
    /// part of a capture, which is invalid then.
    pub fn query(&self) -> EventState {
        let _inside = Inside::enter();
        let state = self.mark.newest().1;
        if state == EventState::Captured {
            captured::looked_at(&self.mark);
        }
        state
    }

    /// Whether the newest record is part of a capture, though that may have ended. Disturbs nothing.
    pub fn is_captured(&self) -> bool {
        self.mark.is_captured()
    }

    /// Waits for the record that is the newest now, whatever is recorded later, and tells how it ended. Without a
    /// deadline it waits as long as it takes. In a [`Op::Call`](crate::Op::Call) it must not be used on a record that
    /// comes later in the same stream: that would wait for itself.
    ///
    /// # Errors
    /// [`Fault::Timeout`], when the deadline passes first; [`Fault::CapturedEvent`], when the record is part of a capture,
    /// which is invalid then.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<EventState, Fault> {
        let _inside = Inside::enter();
        let (generation, state) = self.mark.newest();
        if state == EventState::Captured {
            captured::looked_at(&self.mark);
            return Err(Fault::CapturedEvent);
        }
        if state != EventState::Pending {
            return Ok(state);
        }
        let mut records = self.mark.records.lock();
        records.waiters += 1;
        let mut late = false;
        let result = loop {
            let state = records.state_of(generation);
            if state != EventState::Pending {
                break Ok(state);
            }
            if late {
                break Err(Fault::Timeout);
            }
            match deadline {
                Some(deadline) => {
                    late = self.mark.ended.wait_until(&mut records, deadline).timed_out();
                }
                None => self.mark.ended.wait(&mut records),
            }
        };
        records.waiters -= 1;
        result
    }

    /// The time between the ends of the newest records of two events.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] unless both were recorded and are complete, this one not before `earlier`.
    pub fn elapsed_since(&self, earlier: &Event) -> Result<Duration, Fault> {
        let ended = |event: &Event| event.mark.completed().ok_or(Fault::InvalidValue);
        ended(self)?.checked_duration_since(ended(earlier)?).ok_or(Fault::InvalidValue)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (generation, state) = self.mark.newest();
        f.debug_struct("Event").field("records", &generation).field("state", &state).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Here and not with the other tests, because only here it shows that a thread has begun to wait.
    #[test]
    fn a_cpu_wait_is_for_the_record_it_began_with() {
        let event = Event::new();
        let first = event.mark.begin();
        let waiter = thread::spawn({
            let event = event.clone();
            move || event.wait(None)
        });
        while event.mark.records.lock().waiters == 0 {
            thread::yield_now();
        }
        let second = event.mark.begin();
        event.mark.end(first, EventState::Failed);
        assert_eq!(waiter.join().unwrap(), Ok(EventState::Failed));
        assert_eq!(event.query(), EventState::Pending);
        event.mark.end(second, EventState::Complete);
        assert_eq!(event.query(), EventState::Complete);
        // An end that comes late changes nothing.
        event.mark.end(second, EventState::Lost);
        assert_eq!(event.query(), EventState::Complete);
    }
}
