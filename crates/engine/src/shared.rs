//! What stands behind the handles of a device.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::captures;
use crate::config::{Config, MemoryKind, Settings};
use crate::counters::Tallies;
use crate::faults::{Armory, FailWhen};
use crate::memory::{self, Usage};
use crate::operation::OpKind;
use crate::order::Order;
use crate::policy::{self, Fault};
use crate::queue::Queue;

/// What a device's handles, streams and workers share.
pub(crate) struct Core {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) settings: RwLock<Settings>,
    device_memory: Arc<Usage>,
    pinned_memory: Arc<Usage>,
    /// See [`Config::margins`].
    pub(crate) margins: bool,
    pub(crate) armory: Armory,
    pub(crate) tallies: Tallies,
    pub(crate) order: Order,
    pub(crate) lost: AtomicBool,
    pub(crate) streams: Mutex<Streams>,
    /// Told when a worker has ended.
    pub(crate) ended: Condvar,
}

pub(crate) struct Streams {
    pub(crate) workers: Vec<Worker>,
    pub(crate) made: u64,
    pub(crate) closed: bool,
}

pub(crate) struct Worker {
    /// Weak, as the queue refers to the device.
    pub(crate) queue: Weak<Queue>,
    pub(crate) stream: u64,
    pub(crate) ended: Arc<AtomicBool>,
    pub(crate) thread: JoinHandle<()>,
}

impl Core {
    pub(crate) fn new(config: Config) -> Core {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Core {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            settings: RwLock::new(Settings::of(&config)),
            device_memory: Usage::new(config.device_memory_bytes),
            pinned_memory: Usage::new(config.pinned_memory_bytes),
            margins: config.margins,
            name: config.name,
            armory: Armory::default(),
            tallies: Tallies::default(),
            order: Order::default(),
            lost: AtomicBool::new(false),
            streams: Mutex::new(Streams { workers: Vec::new(), made: 0, closed: false }),
            ended: Condvar::new(),
        }
    }

    /// Whether the device gives memory and streams.
    pub(crate) fn admit(&self) -> Result<(), Fault> {
        policy::admit(self.is_lost(), self.streams.lock().closed)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn settings(&self) -> Settings {
        *self.settings.read()
    }

    /// Called by a worker as its last act.
    pub(crate) fn worker_ended(&self) {
        // With the lock, so that a closer between its check and its sleep does not miss it.
        drop(self.streams.lock());
        self.ended.notify_all();
    }

    /// Counts an operation against the armed faults: whether it will fail when it runs, or an error if it fails now. With
    /// `DeviceLost` the device is to be lost, once no lock is held.
    pub(crate) fn dooms(&self, kind: OpKind) -> Result<bool, Fault> {
        match self.armory.strike(kind) {
            Some(FailWhen::Submission) => {
                self.tallies.refused.add(kind);
                Err(Fault::OperationFailed)
            }
            Some(FailWhen::Loss) => Err(Fault::DeviceLost),
            struck => Ok(struck.is_some()),
        }
    }

    /// Counts the making of something: `fault` if it fails. Called under no lock.
    pub(crate) fn makes(&self, kind: OpKind, fault: Fault) -> Result<(), Fault> {
        match self.armory.strike(kind) {
            None => {
                self.tallies.submitted.add(kind);
                self.tallies.executed.add(kind);
                Ok(())
            }
            Some(FailWhen::Loss) => {
                self.lose();
                Err(Fault::DeviceLost)
            }
            Some(_) => {
                self.tallies.refused.add(kind);
                Err(fault)
            }
        }
    }

    /// See [`Device::lose`](crate::Device::lose). Called under no lock.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        captures::device_gone(self.id);
        for queue in self.queues() {
            queue.abandon();
        }
    }

    /// The same for an operation that goes into a capture.
    pub(crate) fn refusal(&self, kind: OpKind) -> Result<(), Fault> {
        if self.armory.refuses(kind) {
            self.tallies.refused.add(kind);
            return Err(Fault::OperationFailed);
        }
        Ok(())
    }

    pub(crate) fn usage(&self, kind: MemoryKind) -> &Arc<Usage> {
        match kind {
            MemoryKind::Device => &self.device_memory,
            MemoryKind::Pinned => &self.pinned_memory,
        }
    }

    pub(crate) fn queues(&self) -> Vec<Arc<Queue>> {
        let streams = self.streams.lock();
        streams.workers.iter().filter_map(|worker| worker.queue.upgrade()).collect()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        memory::free_all(self.id);
    }
}

/// What handles of the device and of its streams keep, and workers do not.
pub(crate) struct Root {
    pub(crate) core: Arc<Core>,
    pub(crate) legacy: Mutex<Option<Arc<Queue>>>,
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Some(queue) = self.legacy.get_mut() {
            // As when the last handle of any other stream goes.
            queue.stop(true);
        }
    }
}
