//! A stream's queue, shared by its handles, its worker and its device.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::event::{EventState, Mark};
use crate::graph::Node;
use crate::operation::{OpKind, Task};
use crate::policy::{self, Fault};
use crate::shared::Core;
use crate::worker;

/// Operations that a stream holds without asking the system for memory.
const ROOM: usize = 1024;

/// How a stream is ordered with others of its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// With none.
    Free,
    /// With the legacy stream.
    Blocking,
    /// With all blocking streams.
    Legacy,
}

/// A queued operation.
pub(crate) struct Item {
    pub(crate) task: Task,
    pub(crate) tag: u64,
    /// Its place in the order between the legacy stream and blocking ones.
    pub(crate) ticket: u64,
    /// Struck by an armed fault: has no effect.
    pub(crate) doomed: bool,
}

/// What the queue's lock protects.
pub(crate) struct State {
    pub(crate) items: VecDeque<Item>,
    pub(crate) submitted: u64,
    pub(crate) finished: u64,
    pub(crate) busy: bool,
    /// The record that is running, so that a loss can end it at once.
    pub(crate) recording: Option<(Arc<Mark>, u64)>,
    /// The threads that hold the stream, one entry for each hold.
    pub(crate) holders: Vec<u64>,
    /// No more work is taken; the worker ends when it has run what is queued.
    pub(crate) closing: bool,
    /// The worker is parked for want of work and must be woken.
    pub(crate) asleep: bool,
    waiters: usize,
}

impl State {
    /// Whether an operation with this ticket must wait for one of these. One that runs always comes first: it would not
    /// have started before an operation with a lower ticket.
    pub(crate) fn precedes(&self, ticket: u64) -> bool {
        self.busy || self.items.front().is_some_and(|item| item.ticket < ticket)
    }

    fn make_room(&mut self, count: usize) -> Result<(), Fault> {
        if self.items.capacity() - self.items.len() < count {
            self.items.try_reserve(count.max(ROOM)).map_err(|_| Fault::OutOfHostMemory)?;
        }
        Ok(())
    }
}

pub(crate) struct Queue {
    pub(crate) id: u64,
    pub(crate) role: Role,
    /// The capture that the stream is in, 0 for none. Changes under the captures' lock.
    pub(crate) capture: AtomicU64,
    /// Number among the device's streams, in the order they were made.
    pub(crate) ordinal: u64,
    pub(crate) device: Arc<Core>,
    pub(crate) state: Mutex<State>,
    /// Changes whenever the worker may have something to do, so that it can spin without the lock.
    pub(crate) pokes: AtomicU64,
    pub(crate) worker: OnceLock<Thread>,
    pub(crate) ended: Arc<AtomicBool>,
    progress: Condvar,
}

impl Queue {
    pub(crate) fn new(id: u64, role: Role, ordinal: u64, device: Arc<Core>) -> Queue {
        Queue {
            id,
            role,
            capture: AtomicU64::new(0),
            ordinal,
            device,
            state: Mutex::new(State {
                items: VecDeque::with_capacity(ROOM),
                submitted: 0,
                finished: 0,
                busy: false,
                recording: None,
                holders: Vec::with_capacity(4),
                closing: false,
                asleep: false,
                waiters: 0,
            }),
            pokes: AtomicU64::new(0),
            worker: OnceLock::new(),
            ended: Arc::new(AtomicBool::new(false)),
            progress: Condvar::new(),
        }
    }

    /// Queues what `make` gives, unless the stream takes no work or an armed fault strikes; only then is `make` called.
    pub(crate) fn push(&self, kind: OpKind, tag: u64, make: impl FnOnce() -> Task) -> Result<(), Fault> {
        let mut state = self.state.lock();
        policy::admit(self.device.is_lost(), state.closing)?;
        state.make_room(1)?;
        let doomed = match self.device.dooms(kind) {
            Ok(doomed) => doomed,
            Err(fault) => return Err(self.refuse(state, fault)),
        };
        let order = &self.device.order;
        let before = order.draw(self.role);
        let task = make();
        // Why a wait draws late: see the order's module.
        let ticket = if kind == OpKind::Wait { order.draw(self.role) } else { before };
        state.items.push_back(Item { task, tag, ticket, doomed });
        let position = state.submitted;
        state.submitted += 1;
        self.device.tallies.submitted.add(kind);
        self.poke(state);
        self.pause_behind(position);
        Ok(())
    }

    /// Has the submitter of operation number `position` pause, where the device perturbs its users' schedule.
    fn pause_behind(&self, position: u64) {
        let ns = self.device.settings().delay.behind_submission(self.ordinal, position);
        if ns > 0 && !worker::on_worker_thread() {
            thread::sleep(Duration::from_nanos(ns));
        }
    }

    /// Queues all nodes of a graph, or none.
    pub(crate) fn push_replay(&self, nodes: &Arc<Vec<Node>>, tag: u64) -> Result<(), Fault> {
        let mut state = self.state.lock();
        policy::admit(self.device.is_lost(), state.closing)?;
        state.make_room(nodes.len())?;
        let before = state.items.len();
        let ticket = self.device.order.draw(self.role);
        for (index, node) in nodes.iter().enumerate() {
            match self.device.dooms(node.kind()) {
                Ok(doomed) => {
                    let task = Task::Replay { nodes: nodes.clone(), index };
                    state.items.push_back(Item { task, tag, ticket, doomed });
                }
                Err(fault) => {
                    state.items.truncate(before);
                    return Err(self.refuse(state, fault));
                }
            }
        }
        state.submitted += nodes.len() as u64;
        nodes.iter().for_each(|node| self.device.tallies.submitted.add(node.kind()));
        self.poke(state);
        Ok(())
    }

    /// Lets the lock go, and then loses the device where that is what an armed fault does.
    fn refuse(&self, state: MutexGuard<'_, State>, fault: Fault) -> Fault {
        drop(state);
        if fault == Fault::DeviceLost {
            self.device.lose();
        }
        fault
    }

    /// Whether the stream takes more work.
    pub(crate) fn admit(&self) -> Result<(), Fault> {
        policy::admit(self.device.is_lost(), self.state.lock().closing)
    }

    /// Whether the stream is in a capture.
    pub(crate) fn is_capturing(&self) -> bool {
        self.capture.load(Ordering::Acquire) != 0
    }

    /// Whether nothing is queued or running.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.items.is_empty() && !state.busy
    }

    /// Whether nothing is left to be done: a record that has been told to those who wait for it counts as done, though its
    /// worker may not have put it away yet.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state.lock();
        let told = |(mark, generation): &(Arc<Mark>, u64)| mark.state_of(*generation) != EventState::Pending;
        state.items.is_empty() && (!state.busy || state.recording.as_ref().is_some_and(told))
    }

    /// Tells the worker to look at the queue again, and lets the lock go.
    pub(crate) fn poke(&self, mut state: MutexGuard<'_, State>) {
        self.pokes.fetch_add(1, Ordering::Release);
        let asleep = std::mem::replace(&mut state.asleep, false);
        drop(state);
        if asleep {
            self.wake();
        }
    }

    /// Interrupts whatever the worker sleeps for.
    pub(crate) fn wake(&self) {
        // Not set yet means that the worker is still starting, and will look before it sleeps.
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Called by the worker when its operation and all it refers to are gone.
    pub(crate) fn finish(&self, state: &mut State) {
        state.finished += 1;
        state.busy = false;
        state.recording = None;
        if state.waiters > 0 {
            self.progress.notify_all();
        }
    }

    /// Drops what is queued and ends its records as lost; the device is marked as lost already.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        if let Some((mark, generation)) = state.recording.take() {
            mark.end(generation, EventState::Lost);
        }
        for item in &state.items {
            self.device.tallies.dropped.add(item.task.kind());
            if let Task::Record { mark, generation } = &item.task {
                mark.end(*generation, EventState::Lost);
            }
        }
        let items = std::mem::take(&mut state.items);
        self.progress.notify_all();
        self.poke(state);
        // The worker may be parked in an operation, for which it does not count as asleep.
        self.wake();
        drop(items);
    }

    /// Takes no more work; `release` also lets go of all holds.
    pub(crate) fn stop(&self, release: bool) {
        let mut state = self.state.lock();
        state.closing = true;
        if release {
            state.holders.clear();
        }
        self.poke(state);
    }

    /// Operations submitted so far.
    pub(crate) fn submitted(&self) -> u64 {
        self.state.lock().submitted
    }

    /// Waits until that many operations have run.
    pub(crate) fn wait_for(&self, count: u64, deadline: Option<Instant>) -> Result<(), Fault> {
        let mut state = self.state.lock();
        state.waiters += 1;
        let mut late = false;
        let result = loop {
            if self.device.is_lost() {
                break Err(Fault::DeviceLost);
            }
            if state.finished >= count {
                break Ok(());
            }
            if late {
                break Err(Fault::Timeout);
            }
            match deadline {
                Some(deadline) => {
                    late = self.progress.wait_until(&mut state, deadline).timed_out();
                }
                None => self.progress.wait(&mut state),
            }
        };
        state.waiters -= 1;
        result
    }
}
