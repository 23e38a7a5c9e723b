//! The thread that keeps a device up, where its owner asked for one.

use super::device::Device;
use crate::backend::exit;
use crate::config::log;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::record;
use crate::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// The shortest interval: below, the thread would do little else than wake.
const SHORTEST: Duration = Duration::from_millis(1);
/// More than a hundred years.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// No thread, or one that is awake now and then.
#[derive(Default)]
pub(super) struct Upkeep {
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The thread, until it ends.
    thread: Option<ThreadId>,
    /// It is to end.
    stopped: bool,
}

impl Upkeep {
    /// Refuses an interval that is too short.
    pub fn expect(interval: Duration) -> Result<()> {
        if interval < SHORTEST {
            return fail!(
                InvalidArgument,
                "an upkeep every {interval:?} (upkeep_interval_ns): {SHORTEST:?} is the shortest interval, and 0 is none"
            );
        }
        Ok(())
    }

    /// Starts the thread; there is one at most.
    pub fn start(&self, device: &Arc<Device>, interval: Duration) -> Result<()> {
        Upkeep::expect(interval)?;
        let mut state = self.bell.state.lock();
        if state.thread.is_some() || state.stopped {
            return fail!(Exists, "{} is kept up by a thread already, or was", device.name());
        }
        exit::watch();
        let (device, bell) = (Arc::downgrade(device), self.bell.clone());
        let run = move || {
            let _ended = Ended(bell.clone());
            record::mark_thread();
            while bell.sleeps(interval) {
                // Once the process exits, what callbacks refer to may be gone.
                let Some(_call) = exit::Call::begin() else { break };
                // Held for one round only, so that it does not keep the device.
                let Some(device) = device.upgrade() else { break };
                device.keep_up();
                drop(device);
                log::deliver();
            }
        };
        let spawned = std::thread::Builder::new().name("gpubuf-upkeep".into()).spawn(run);
        let thread =
            spawned.map_err(|e| Error::new(Status::OutOfHostMemory, format!("no thread for the upkeep: {e}")))?;
        state.thread = Some(thread.thread().id());
        Ok(())
    }

    /// Has the thread end after its round. Does not wait for it.
    pub fn stop(&self) {
        self.bell.state.lock().stopped = true;
        self.bell.changed.notify_all();
    }

    /// As [`Upkeep::stop`], and waits for the end of the round, unless this is the thread. False if the deadline came first.
    pub fn join(&self, deadline: Option<Instant>) -> bool {
        self.stop();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + FOREVER);
        let mut state = self.bell.state.lock();
        while state.thread.is_some_and(|thread| thread != std::thread::current().id()) {
            if self.bell.changed.wait_until(&mut state, deadline).timed_out() {
                return state.thread.is_none();
            }
        }
        true
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Says that the thread is over, however it ends.
struct Ended(Arc<Bell>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.state.lock().thread = None;
        self.0.changed.notify_all();
    }
}

impl Bell {
    /// Sleeps; false once it is over.
    fn sleeps(&self, interval: Duration) -> bool {
        let deadline = Instant::now() + interval;
        let mut state = self.state.lock();
        while !state.stopped {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return !state.stopped;
            }
        }
        false
    }
}
