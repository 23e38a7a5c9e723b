//! Host waits with a deadline. The driver's own waits have none, so what may end early polls, ever more rarely.

use super::context::Context;
use crate::backend::exit;
use crate::error::{Error, Result};
use crate::fail;
use crate::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const SPIN: Duration = Duration::from_micros(50);
/// Between two questions, which take a lock of the driver's.
const PAUSE: u32 = 64;
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);
/// A wait for a whole context that is idle takes far less than this, on the busiest of machines.
const GRACE: Duration = Duration::from_millis(200);

/// Asks until `done` answers, or the deadline: then `None`. At first it asks again and again, since a small copy takes less
/// time than a wake-up; then it sleeps for a sixteenth of the time that it has waited, so a wake-up is late by a few percent,
/// and a long wait costs next to nothing.
pub fn poll<T>(deadline: Option<Instant>, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = done() {
            return Some(answer);
        }
        let now = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        if left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        if now.duration_since(start) < SPIN {
            (0..PAUSE).for_each(|_| std::hint::spin_loop());
            continue;
        }
        let nap = (now.duration_since(start) / 16).clamp(SHORTEST, LONGEST);
        std::thread::sleep(left.map_or(nap, |left| nap.min(left)));
    }
}

/// Waits for everything in a context, from a thread of its own: the driver's wait cannot be left, so nobody who has a
/// deadline may call it himself.
pub struct ContextWait {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    asked: u64,
    /// Every wait up to this number was begun after it was asked for, and is over.
    answered: u64,
    /// What the last one came to.
    failure: Option<Error>,
    running: bool,
}

impl ContextWait {
    /// Nothing is waited for yet.
    pub fn new() -> Arc<ContextWait> {
        let state = State { asked: 0, answered: 0, failure: None, running: false };
        Arc::new(ContextWait { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Waits for all work of the context; `None` is the deadline. A deadline that is over still leaves an idle context the time
    /// to say so.
    pub fn wait(self: &Arc<ContextWait>, context: &Arc<Context>, deadline: Option<Instant>) -> Option<Result<()>> {
        let Some(deadline) = deadline else { return Some(synchronize(context)) };
        let now = Instant::now();
        let deadline = if deadline > now { deadline } else { now + GRACE };
        let mut state = self.state.lock();
        state.asked += 1;
        let number = state.asked;
        if !state.running {
            let (waiting, context) = (self.clone(), context.clone());
            let thread = std::thread::Builder::new().name("gpubuf-wait".into());
            if let Err(error) = thread.spawn(move || waiting.run(&context)) {
                return Some(fail!(OutOfHostMemory, "no thread to wait for the device: {error}"));
            }
            state.running = true;
        }
        while state.answered < number {
            if self.changed.wait_until(&mut state, deadline).timed_out() && state.answered < number {
                return None;
            }
        }
        // Each who waited is told.
        Some(state.failure.as_ref().map_or(Ok(()), |error| Err(Error::new(error.status(), error.message()))))
    }

    /// Whether the thread is still in the driver.
    pub fn is_running(&self) -> bool {
        self.state.lock().running
    }

    fn run(&self, context: &Context) {
        let mut state = self.state.lock();
        while state.answered < state.asked {
            let number = state.asked;
            drop(state);
            let waited = match exit::Call::begin() {
                Some(_call) => synchronize(context),
                None => fail!(ShutDown, "the process is exiting, and so is the driver"),
            };
            state = self.state.lock();
            state.answered = number;
            state.failure = waited.err();
            self.changed.notify_all();
        }
        state.running = false;
    }
}

fn synchronize(context: &Context) -> Result<()> {
    let doing = "waiting for the device";
    let _entered = context.enter_relaxed().map_err(|error| error.context(doing))?;
    // SAFETY: the context is current.
    context.check(unsafe { (context.driver().cuCtxSynchronize)() }, doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_ends_with_its_answer_or_its_deadline() {
        let mut left = 5;
        let answer = poll(None, || {
            left -= 1;
            (left == 0).then_some("done")
        });
        assert_eq!(answer, Some("done"));
        assert_eq!(poll(Some(Instant::now()), || None::<()>), None);
    }
}
