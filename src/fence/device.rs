//! A device as the fences see it: its timelines, the memory that waits for its last use, and what is counted.

use super::name::Name;
use super::storage::Storage;
use super::timeline::{Fence, Proof, Timeline};
use crate::backend::{BackendKind, DeviceBackend, Opened};
use crate::config::checks::{Check, on};
use crate::config::log::{self, Level};
use crate::config::{DEFAULT_TIMEOUT_NS, Timeout};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::stats::{Counter, DeviceCounters};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Weak};
use std::time::Instant;

/// Every device of the process, for the shutdown.
static DEVICES: Mutex<Vec<Weak<Device>>> = Mutex::new(Vec::new());

/// An open device.
pub struct Device {
    name: Name,
    backend: Arc<dyn DeviceBackend>,
    reason: String,
    default_timeout_ns: u64,
    /// What it counts.
    pub counters: DeviceCounters,
    timelines: Mutex<Vec<Weak<Timeline>>>,
    /// Objects in which threads may wait for something else than a fence.
    waited_in: Mutex<Vec<Weak<dyn WaitedIn>>>,
    deferred: Mutex<Vec<Deferred>>,
    /// Foreign ranges in use: (first address, bytes).
    foreign: Mutex<Vec<(u64, u64)>>,
    tags: AtomicU64,
    drains: AtomicU64,
    failures_unreported: Counter,
    closed: AtomicBool,
}

/// An object in which threads wait for one another.
pub trait WaitedIn: Send + Sync {
    /// Sends every waiting thread away: the device is shut down.
    fn send_away(&self);
}

/// Memory of a destroyed object, with the uses it still has.
struct Deferred {
    storage: Storage,
    uses: Vec<Fence>,
    /// Somebody the library cannot see may still use it: only a drain of the whole device that begins later proves that
    /// it is over. The number of drains begun so far.
    sealed: Option<u64>,
}

impl Device {
    /// Opens a device of a backend; `None` chooses.
    pub fn open(kind: Option<BackendKind>, ordinal: u32, default_timeout_ns: u64, label: &str) -> Result<Arc<Device>> {
        let Opened { backend, reason } = crate::backend::open(kind, ordinal)?;
        let default_timeout_ns = if default_timeout_ns == 0 { DEFAULT_TIMEOUT_NS } else { default_timeout_ns };
        let device = Arc::new(Device {
            name: Name::new("device", label),
            backend,
            reason,
            default_timeout_ns,
            counters: DeviceCounters::default(),
            timelines: Mutex::new(Vec::new()),
            waited_in: Mutex::new(Vec::new()),
            deferred: Mutex::new(Vec::new()),
            foreign: Mutex::new(Vec::new()),
            tags: AtomicU64::new(1),
            drains: AtomicU64::new(0),
            failures_unreported: Counter::default(),
            closed: AtomicBool::new(false),
        });
        let mut devices = DEVICES.lock();
        devices.retain(|known| known.strong_count() > 0);
        devices.push(Arc::downgrade(&device));
        log::write(Level::Info, format_args!("{}: {}; {}", device.name, device.backend.name(), device.reason));
        Ok(device)
    }

    /// The device's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The backend's side of it.
    pub fn backend(&self) -> &dyn DeviceBackend {
        &*self.backend
    }

    /// Why this backend.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Reads a `timeout_ns` argument.
    pub fn timeout(&self, timeout_ns: u64) -> Timeout {
        Timeout::from_ns(timeout_ns, self.default_timeout_ns)
    }

    /// A number that marks one submission.
    pub(super) fn next_tag(&self) -> u64 {
        self.tags.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn adopt(&self, timeline: &Arc<Timeline>) {
        let mut timelines = self.timelines.lock();
        timelines.retain(|known| known.strong_count() > 0);
        timelines.push(Arc::downgrade(timeline));
    }

    /// Has an object send its waiting threads away when the device is shut down.
    pub fn send_away_with(&self, object: Weak<dyn WaitedIn>) {
        let mut objects = self.waited_in.lock();
        objects.retain(|known| known.strong_count() > 0);
        objects.push(object);
    }

    pub(super) fn copy_failed(&self) {
        self.counters.copy_failures.add(1);
        log::write(Level::Warn, format_args!("a copy failed when it ran on {}", self.name));
        self.failures_unreported.add(1);
    }

    /// Refuses a wait in a function that runs on a stream: it would wait for itself.
    pub fn refuse_deadlock_in_callback(&self) -> Result<()> {
        if on(Check::DeadlockCallback) && self.backend.on_worker_thread() {
            self.counters.refusals.add(1);
            return fail!(
                WouldDeadlock,
                "a wait on {} from a function that runs on a stream: hand the wait to another thread",
                self.name
            );
        }
        Ok(())
    }

    /// Refuses new objects and work once the device is lost or closed.
    pub fn expect_usable(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return fail!(ShutDown, "{} was shut down", self.name);
        }
        if self.backend.is_lost() {
            return fail!(DeviceLost, "{} is lost: destroy its objects and open it again", self.name);
        }
        Ok(())
    }

    /// Takes a range of foreign memory, unless a part of it is taken.
    pub(super) fn take_foreign(&self, address: u64, bytes: u64) -> Result<()> {
        let mut foreign = self.foreign.lock();
        let end = address.saturating_add(bytes);
        if on(Check::BorrowOverlap)
            && let Some((at, size)) = foreign.iter().find(|(at, size)| *at < end && address < *at + *size)
        {
            return fail!(
                Exists,
                "{bytes} bytes at {address:#x} overlap {size} bytes at {at:#x} that another buffer borrows: one wrapper for each piece of memory, or their fences cannot know of each other"
            );
        }
        foreign.push((address, bytes));
        Ok(())
    }

    pub(super) fn give_back_foreign(&self, address: u64, bytes: u64) {
        let mut foreign = self.foreign.lock();
        if let Some(place) = foreign.iter().position(|range| *range == (address, bytes)) {
            foreign.swap_remove(place);
        }
    }

    /// Keeps storage until its uses are proven. Never waits.
    pub(super) fn defer(&self, storage: Storage, uses: Vec<Fence>, sealed: bool) {
        if sealed {
            self.counters.sealed_at_destroy.add(1);
        }
        self.counters.deferred_objects.add(1);
        self.counters.deferred_bytes.add(storage.bytes() as u64);
        let sealed = sealed.then(|| self.drains.load(Ordering::Acquire));
        self.deferred.lock().push(Deferred { storage, uses, sealed });
    }

    /// Frees what is proven to be out of use and calls its release callbacks. Returns the bytes freed. Never waits.
    pub fn maintain(&self) -> u64 {
        if self.closed.load(Ordering::Acquire) {
            return 0;
        }
        for timeline in self.live_timelines() {
            timeline.poll();
        }
        // Taken out whole: driver calls and callbacks run under no lock.
        let list = std::mem::take(&mut *self.deferred.lock());
        let mut kept = Vec::new();
        let mut freed = 0;
        for item in list {
            match item.proof() {
                Proof::Pending => kept.push(item),
                Proof::Lost => self.drop_deferred(item, |storage| storage.quarantine()),
                Proof::Complete | Proof::Failed => {
                    freed += item.storage.bytes() as u64;
                    self.drop_deferred(item, drop);
                }
            }
        }
        if !kept.is_empty() {
            self.deferred.lock().append(&mut kept);
        }
        freed
    }

    fn drop_deferred(&self, item: Deferred, how: impl FnOnce(Storage)) {
        self.counters.deferred_objects.sub(1);
        self.counters.deferred_bytes.sub(item.storage.bytes() as u64);
        how(item.storage);
    }

    /// Waits for all work of all streams, then frees everything that destroyed objects left, sealed memory included.
    /// Copies that failed since the last drain are reported. On `timeout` nothing is lost: call it again.
    pub fn drain(&self, timeout: Timeout) -> Result<()> {
        let drain = self.drains.fetch_add(1, Ordering::AcqRel);
        let waited = self.wait_idle(timeout);
        let lost = matches!(&waited, Err(error) if error.status() == Status::DeviceLost);
        if waited.is_ok() {
            for item in self.deferred.lock().iter_mut() {
                // Not what was given up during the wait.
                item.sealed = item.sealed.filter(|begun| *begun > drain);
            }
        }
        if waited.is_ok() || lost {
            self.maintain();
        }
        waited?;
        match self.failures_unreported.take() {
            0 => Ok(()),
            n => fail!(
                CopyFailed,
                "{n} copies failed when they ran on {}: their targets hold no promised bytes",
                self.name
            ),
        }
    }

    /// Waits for the work queued so far on every stream. Failed copies are reported, once per stream.
    pub fn synchronize(&self, timeout: Timeout) -> Result<()> {
        self.wait_idle(timeout)?;
        let mut result = Ok(());
        for timeline in self.live_timelines() {
            result = result.and(timeline.synchronize(Timeout::Try));
        }
        result
    }

    /// Waits for all work of all streams, seen or not, and reports nothing.
    pub fn wait_idle(&self, timeout: Timeout) -> Result<()> {
        for timeline in self.live_timelines() {
            if !timeline.stream().is_idle()? {
                if timeout == Timeout::Try {
                    return fail!(Busy, "{} has work that is not done", timeline.name());
                }
                timeline.refuse_deadlock()?;
            }
        }
        let start = Instant::now();
        let waited = self.backend.synchronize(timeout.deadline());
        self.counters.host.waited(start.elapsed());
        waited.map_err(|error| {
            if error.status() == Status::Timeout {
                self.counters.host.timeouts.add(1);
            }
            error.context(&self.name)
        })
    }

    fn live_timelines(&self) -> Vec<Arc<Timeline>> {
        self.timelines.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Objects and bytes that wait for their last use.
    pub fn deferred(&self) -> (u64, u64) {
        (self.counters.deferred_objects.get(), self.counters.deferred_bytes.get())
    }

    /// Whether the device was shut down: its memory is then left to the process exit.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn shut_down(&self, timeout: Timeout) -> Result<()> {
        let objects: Vec<_> = self.waited_in.lock().iter().filter_map(Weak::upgrade).collect();
        objects.iter().for_each(|object| object.send_away());
        let drained = match self.drain(timeout) {
            // Failed copies were counted and logged long before; they do not keep the device from closing.
            Err(error) if error.status() == Status::CopyFailed => Ok(()),
            other => other,
        };
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let left = std::mem::take(&mut *self.deferred.lock());
        let mut leaked = 0;
        for item in left {
            leaked += item.storage.bytes() as u64;
            self.drop_deferred(item, |storage| storage.leak());
        }
        let workers = self.backend.close(timeout.deadline());
        if leaked > 0 || workers > 0 {
            return Err(Error::new(
                drained.err().map_or(Status::Timeout, |error| error.status()),
                format!(
                    "{}: {leaked} bytes still in use were left to the process exit, {workers} streams had not ended",
                    self.name
                ),
            ));
        }
        drained
    }
}

impl Deferred {
    fn proof(&self) -> Proof {
        if on(Check::FreeWaits) {
            let mut pending = false;
            for fence in &self.uses {
                match fence.query() {
                    Proof::Lost => return Proof::Lost,
                    Proof::Pending => pending = true,
                    Proof::Complete | Proof::Failed => {}
                }
            }
            if pending {
                return Proof::Pending;
            }
        }
        if on(Check::FreeSealed) && self.sealed.is_some() { Proof::Pending } else { Proof::Complete }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // No stream or object is left, but their work may be: what is not done now was given up by everybody.
        self.maintain();
        for item in std::mem::take(&mut *self.deferred.lock()) {
            item.storage.leak();
        }
    }
}

/// Drains and closes every device of the process. Reports the first that could not be drained within the timeout.
pub fn shut_down_all(timeout: Timeout) -> Result<()> {
    let devices: Vec<_> = DEVICES.lock().iter().filter_map(Weak::upgrade).collect();
    let mut result = Ok(());
    for device in devices {
        result = result.and(device.shut_down(timeout));
    }
    result
}
