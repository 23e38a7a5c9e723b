//! The order between a device's legacy stream and its blocking streams.
//!
//! Each operation on one of them draws a ticket when it is submitted. One on the legacy stream starts when no blocking
//! stream has an unfinished operation with a lower ticket, one on a blocking stream when the legacy stream has none. A
//! record draws before its event becomes pending, and a wait after it has looked at its event, so a wait's ticket is
//! above that of the record it waits for: nothing waits for a higher ticket, hence nothing waits in a circle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::queue::{Queue, Role};

#[derive(Default)]
pub(crate) struct Order {
    /// The next ticket; 0 is none. It is 0 until there is a legacy stream, and so is the ticket of all that is submitted before: it waits
    /// for nothing, and legacy work waits for it.
    next: AtomicU64,
    legacy: OnceLock<Weak<Queue>>,
    blocking: Mutex<Vec<Weak<Queue>>>,
}

impl Order {
    /// Called once, before anybody has the stream.
    pub(crate) fn set_legacy(&self, queue: &Arc<Queue>) {
        if self.legacy.set(Arc::downgrade(queue)).is_ok() {
            self.next.store(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn add_blocking(&self, queue: &Arc<Queue>) {
        let mut blocking = self.blocking.lock();
        blocking.retain(|queue| queue.strong_count() > 0);
        blocking.push(Arc::downgrade(queue));
    }

    pub(crate) fn blocking(&self) -> Vec<Arc<Queue>> {
        self.blocking.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether there is a legacy stream. Asked with a queue locked, it cannot miss one that has looked at that queue.
    pub(crate) fn is_in_use(&self) -> bool {
        self.next.load(Ordering::Acquire) != 0
    }

    /// The ticket for an operation on a stream of this role. Called with the queue locked, so that tickets rise within it.
    pub(crate) fn draw(&self, role: Role) -> u64 {
        if role != Role::Free && self.is_in_use() { self.next.fetch_add(1, Ordering::AcqRel) } else { 0 }
    }

    /// Whether all that an operation with this ticket waits for has run; one with none waits for nothing. No queue may be locked.
    pub(crate) fn is_clear(&self, role: Role, ticket: u64) -> bool {
        // Locking the other queue settles what is being submitted to it at this moment: it is either in the queue, or
        // draws a higher ticket.
        let clear = |queue: Arc<Queue>| !queue.state.lock().precedes(ticket);
        match role {
            Role::Free => true,
            Role::Blocking => self.legacy().is_none_or(clear),
            Role::Legacy => self.blocking.lock().iter().filter_map(Weak::upgrade).all(clear),
        }
    }

    /// Has those look again whose operations may wait for one that a stream of this role finished. No queue may be
    /// locked.
    pub(crate) fn progressed(&self, role: Role) {
        let nudge = |queue: Arc<Queue>| {
            let state = queue.state.lock();
            if !state.items.is_empty() {
                queue.poke(state);
            }
        };
        match role {
            Role::Free => {}
            Role::Blocking => self.legacy().into_iter().for_each(nudge),
            Role::Legacy => self.blocking.lock().iter().filter_map(Weak::upgrade).for_each(nudge),
        }
    }

    fn legacy(&self) -> Option<Arc<Queue>> {
        self.legacy.get()?.upgrade()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::operation::{Op, OpKind, Task};
    use crate::{Config, Device};

    /// Here and not with the other tests, because only here others can come in the middle of a submission.
    #[test]
    fn a_wait_comes_after_a_record_that_was_submitted_meanwhile() {
        let device = Device::new(Config::default()).unwrap();
        let legacy = device.legacy_stream().unwrap();
        let [recorder, waiter] = [(); 2].map(|()| device.create_blocking_stream().unwrap());
        let event = device.create_event();
        let make = || {
            // SAFETY: a delay names no memory.
            unsafe { legacy.submit(Op::Delay { ns: 0 }, 0).unwrap() };
            recorder.record(&event, 0).unwrap();
            Task::Wait { mark: event.mark.clone(), generation: event.mark.generation() }
        };
        waiter.queue().push(OpKind::Wait, 0, make).unwrap();
        // The record waits for the legacy stream; that must not wait for the wait.
        device.synchronize(Some(Instant::now() + Duration::from_secs(60))).unwrap();
    }
}
