//! The thread that keeps a device up, where its owner asked for one.

use super::device::Device;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// No thread, or one that is awake now and then.
#[derive(Default)]
pub(super) struct Upkeep {
    thread: Mutex<Option<JoinHandle<()>>>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Bell {
    ended: Mutex<bool>,
    rung: Condvar,
}

impl Upkeep {
    /// Starts the thread; there is one at most.
    pub fn start(&self, device: &Arc<Device>, interval: Duration) -> Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return fail!(Exists, "{} is kept up by a thread already", device.name());
        }
        let (device, bell) = (Arc::downgrade(device), self.bell.clone());
        let run = move || {
            while bell.sleeps(interval) {
                // Held for one round only, so that it does not keep the device.
                let Some(device) = device.upgrade() else { return };
                device.keep_up();
            }
        };
        let spawned = std::thread::Builder::new().name("gpubuf-upkeep".into()).spawn(run);
        *thread =
            Some(spawned.map_err(|e| Error::new(Status::OutOfHostMemory, format!("no thread for the upkeep: {e}")))?);
        Ok(())
    }

    /// Ends the thread and waits for the end of its round, unless this is the thread.
    pub fn stop(&self) {
        *self.bell.ended.lock() = true;
        self.bell.rung.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != this_thread()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Bell {
    /// Sleeps; false once it is over.
    fn sleeps(&self, interval: Duration) -> bool {
        let deadline = Instant::now() + interval;
        let mut ended = self.ended.lock();
        while !*ended {
            if self.rung.wait_until(&mut ended, deadline).timed_out() {
                return !*ended;
            }
        }
        false
    }
}

fn this_thread() -> ThreadId {
    std::thread::current().id()
}
