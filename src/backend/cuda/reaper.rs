//! Frees on a thread of their own: the driver's may wait for the whole device (CUDA programming guide, "implicit
//! synchronization"), and whoever gives memory back must not.

use super::memory::Memory;
use crate::backend::RawMemory;
use crate::backend::exit;
use crate::sync::{Arc, Condvar, Mutex};
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Instant;

/// What is done once memory was given back.
pub type Then = Box<dyn FnOnce() + Send>;

thread_local! {
    /// In what is done once memory was given back: the rest waits for it.
    static AFTERWARDS: Cell<bool> = const { Cell::new(false) };
}

/// Memory on its way back to the driver, in order.
pub struct Reaper {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<(RawMemory, Option<Then>)>,
    /// A thread is at it, and may be in the middle of a free that is not in the list any more.
    running: bool,
}

impl Reaper {
    /// Nothing to do yet.
    pub fn new() -> Arc<Reaper> {
        Arc::new(Reaper { state: Mutex::new(State { jobs: VecDeque::new(), running: false }), changed: Condvar::new() })
    }

    /// Gives memory back soon, and calls `then`. Never waits for the device.
    ///
    /// # Safety
    /// As for [`Memory::free`].
    pub unsafe fn free(self: &Arc<Reaper>, from: &Arc<Memory>, memory: RawMemory, then: Option<Then>) {
        let mut state = self.state.lock();
        state.jobs.push_back((memory, then));
        if state.running {
            return;
        }
        state.running = true;
        drop(state);
        let (reaper, from) = (self.clone(), from.clone());
        let here = (self.clone(), from.clone());
        let thread = std::thread::Builder::new().name("gpubuf-free".into());
        if thread.spawn(move || reaper.run(&from)).is_err() {
            // No thread to be had: then it has to be this one.
            here.0.run(&here.1);
        }
    }

    /// Waits until everything was given back; false if the deadline came first. In what is done afterwards it does not wait.
    pub fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while state.running && !AFTERWARDS.get() {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        return !state.running;
                    }
                }
            }
        }
        true
    }

    fn run(&self, from: &Memory) {
        while let Some((memory, then)) = self.next() {
            // At the exit of the process memory goes with it, and nobody is told.
            let Some(call) = exit::Call::begin() else {
                std::mem::forget(then);
                self.state.lock().running = false;
                self.changed.notify_all();
                return;
            };
            // SAFETY: the promise of whoever gave it here, once.
            unsafe { from.free(memory) };
            drop(call);
            if let Some(then) = then {
                let _afterwards = Afterwards::begin(self);
                then();
            }
        }
    }

    /// The next one; with the last, whoever waits is told, and the thread may end.
    fn next(&self) -> Option<(RawMemory, Option<Then>)> {
        let mut state = self.state.lock();
        let next = state.jobs.pop_front();
        if next.is_none() {
            state.running = false;
            self.changed.notify_all();
        }
        next
    }
}

/// In what is done once memory was given back.
struct Afterwards<'a>(&'a Reaper);

impl Afterwards<'_> {
    fn begin(reaper: &Reaper) -> Afterwards<'_> {
        AFTERWARDS.set(true);
        Afterwards(reaper)
    }
}

impl Drop for Afterwards<'_> {
    fn drop(&mut self) {
        AFTERWARDS.set(false);
        if std::thread::panicking() {
            // The thread ends here: the next free starts another.
            self.0.state.lock().running = false;
            self.0.changed.notify_all();
        }
    }
}
