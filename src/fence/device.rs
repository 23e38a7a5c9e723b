//! A device as the fences see it: its timelines, the memory that waits for its last use, and what is counted.

use super::deferred::DeferredList;
use super::devices;
use super::name::{self, Name};
use super::probed::Probed;
use super::storage::Storage;
use super::timeline::{Fence, HostWait, Proof, Timeline, late_by, report_failures};
use super::upkeep::Upkeep;
use super::watch::{self, JUDGE};
use crate::backend::trap::{self, Trap};
use crate::backend::{BackendKind, DeviceBackend, DeviceOptions, Opened};
use crate::config::checks::{Check, on};
use crate::config::debug::Debug;
use crate::config::log::{self, Level};
use crate::config::{DEFAULT_TIMEOUT_NS, TIMEOUT_DEFAULT, Timeout};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::stats::{Counter, DeviceCounters, Record};
use crate::sync::plain::AtomicU64;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Weak};
use std::time::{Duration, Instant};

/// An open device.
pub struct Device {
    name: Name,
    backend: Arc<dyn DeviceBackend>,
    reason: String,
    default_timeout_ns: u64,
    debug: Debug,
    /// The handler of faults, while the debug mode is on.
    trap: Mutex<Option<Trap>>,
    /// What it counts.
    pub counters: DeviceCounters,
    timelines: Mutex<Vec<Weak<Timeline>>>,
    members: Mutex<Members>,
    pub(super) upkeep: Upkeep,
    pub(super) probed: Probed,
    pub(super) deferred: DeferredList,
    tags: AtomicU64,
    failures_unreported: Counter,
    pub(super) closed: AtomicBool,
    /// Its owner is gone: whatever else is destroyed cleans up at once, since nobody will call maintain.
    orphaned: AtomicBool,
}

/// An object of a device, as its device sees it. Called under no lock of the device.
pub trait Member: Send + Sync {
    /// What it has to tell in a report.
    fn record(&self) -> Record;
    /// Does what is due, such as growing and shrinking. Waits for nobody.
    fn maintain(&self) {}
    /// Sends every thread away that waits in it: the device is shut down.
    fn send_away(&self) {}
}

/// The objects that live, and some that do not any more.
#[derive(Default)]
struct Members {
    list: Vec<Weak<dyn Member>>,
    /// The length at which the dead are sorted out next.
    tidy_at: usize,
}

/// How a device is looked after.
#[derive(Clone, Copy, Debug, Default)]
pub struct Care {
    /// What the default timeout is; 0: 10 s.
    pub default_timeout_ns: u64,
    /// How often a thread keeps it up; 0: there is none.
    pub upkeep_interval_ns: u64,
    /// Probe it at once.
    pub probe: bool,
}

impl Device {
    /// Opens a device.
    pub fn open(options: &DeviceOptions, default_timeout_ns: u64, label: &str) -> Result<Arc<Device>> {
        Device::open_with(options, Care { default_timeout_ns, ..Care::default() }, label)
    }

    /// Opens a device that is looked after.
    pub fn open_with(options: &DeviceOptions, care: Care, label: &str) -> Result<Arc<Device>> {
        if care.upkeep_interval_ns != 0 {
            Upkeep::expect(Duration::from_nanos(care.upkeep_interval_ns))?;
        }
        let trap = if options.debug.is_on() {
            name::track();
            Some(Trap::set(&JUDGE)?)
        } else {
            None
        };
        Device::build(crate::backend::open(options)?, options.debug, trap, care, label)
    }

    /// Over a backend's device that is open already.
    pub fn over(opened: Opened, care: Care, label: &str) -> Result<Arc<Device>> {
        Device::build(opened, Debug::Off, None, care, label)
    }

    fn build(opened: Opened, debug: Debug, trap: Option<Trap>, care: Care, label: &str) -> Result<Arc<Device>> {
        let Opened { backend, reason } = opened;
        let interval = Duration::from_nanos(care.upkeep_interval_ns);
        let default_timeout_ns = match care.default_timeout_ns {
            0 => DEFAULT_TIMEOUT_NS,
            ns => ns,
        };
        let device = Arc::new(Device {
            name: Name::new("device", label),
            backend,
            reason,
            default_timeout_ns,
            debug,
            trap: Mutex::new(trap),
            counters: DeviceCounters::default(),
            timelines: Mutex::new(Vec::new()),
            members: Mutex::default(),
            upkeep: Upkeep::default(),
            probed: Probed::default(),
            deferred: DeferredList::default(),
            tags: AtomicU64::new(1),
            failures_unreported: Counter::default(),
            closed: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
        });
        if care.probe {
            device.probe(device.timeout(TIMEOUT_DEFAULT))?;
        }
        if !interval.is_zero() {
            device.keep_up_every(interval)?;
        }
        let others = devices::add(&device);
        // Work that was pending when an owner left may be done by now.
        others.iter().for_each(|other| other.tidy_if_orphaned());
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

    /// Whether its memory is watched.
    #[inline]
    pub fn debug(&self) -> Debug {
        self.debug
    }

    /// Damage was found by looking: told, and the end of the process unless that is to go on.
    #[cold]
    pub(super) fn damage_found(&self, text: &str) {
        self.counters.damage_found.add(1);
        trap::tell(text);
        log::write(Level::Error, format_args!("{text}"));
        if self.debug == Debug::On {
            // On a thread of its own: the sink may call the library, and this thread has locks.
            let told = std::thread::Builder::new().spawn(log::deliver);
            let late = Instant::now() + Duration::from_secs(5);
            while told.as_ref().is_ok_and(|told| !told.is_finished()) && Instant::now() < late {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::process::abort();
        }
    }

    /// The debug mode ends: nothing is watched any more.
    pub(super) fn end_debug(&self) {
        if self.debug.is_on() {
            watch::open_all(self);
            *self.trap.lock() = None;
        }
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

    /// Has the device know an object, for as long as that lives.
    pub fn enroll(&self, member: Weak<dyn Member>) {
        let mut members = self.members.lock();
        if members.list.len() >= members.tidy_at {
            members.list.retain(|known| known.strong_count() > 0);
            members.tidy_at = 2 * members.list.len() + 16;
        }
        members.list.push(member);
    }

    /// Its objects that live, in the order of their creation.
    pub fn members(&self) -> Vec<Arc<dyn Member>> {
        self.members.lock().list.iter().filter_map(Weak::upgrade).collect()
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
            let cure = match self.backend.kind() {
                BackendKind::Host => "destroy its objects and open it again",
                BackendKind::Cuda => "the driver gives this process no other; start it again",
            };
            return fail!(DeviceLost, "{} is lost: {cure}", self.name);
        }
        Ok(())
    }

    /// Keeps storage until its uses are proven. Never waits.
    pub(super) fn defer(&self, storage: Storage, uses: Vec<Fence>, sealed: bool) {
        if sealed {
            self.counters.sealed_at_destroy.add(1);
        }
        let bytes = storage.bytes() as u64;
        // Counted first: once it is in the list, a sweep may count it out.
        self.counters.deferred_objects.add(1);
        self.counters.deferred_bytes.add(bytes);
        match self.deferred.add(storage, uses, sealed) {
            Ok(()) => self.tidy_if_orphaned(),
            Err(storage) => {
                self.counters.deferred_objects.sub(1);
                self.counters.deferred_bytes.sub(bytes);
                storage.leak();
            }
        }
    }

    /// Frees what is proven to be out of use and calls its release callbacks. Returns the bytes freed. Never waits.
    pub fn maintain(&self) -> u64 {
        if self.is_closed() {
            return 0;
        }
        for timeline in self.live_timelines() {
            timeline.poll();
        }
        if self.debug.is_on() {
            watch::sweep(self);
        }
        let (mut freed, mut wholes) = (0, false);
        loop {
            let mut parts = false;
            self.deferred.sweep(self.backend.is_lost(), |storage, proof| {
                self.counters.deferred_objects.sub(1);
                self.counters.deferred_bytes.sub(storage.bytes() as u64);
                parts |= storage.is_part();
                if proof == Proof::Lost {
                    storage.quarantine();
                } else {
                    // Memory that a part was of was counted with it.
                    freed += if wholes { 0 } else { storage.bytes() as u64 };
                    drop(storage);
                }
            });
            // What the parts were of may have come to the list with the last of them.
            if !parts {
                return freed;
            }
            wholes = true;
        }
    }

    /// As [`Device::maintain`], and has every object do what is due, which may allocate. Returns the bytes freed first.
    pub fn keep_up(&self) -> u64 {
        let freed = self.maintain();
        if !self.is_closed() {
            self.members().iter().for_each(|member| member.maintain());
        }
        freed
    }

    /// Has a thread of the library's do that, every so often, until the device is shut down or its owner leaves. It calls what
    /// is to be called, and delivers the log.
    pub fn keep_up_every(self: &Arc<Device>, interval: Duration) -> Result<()> {
        self.upkeep.start(self, interval)
    }

    /// The owner's handle is gone. What the device still keeps goes with the last object that is destroyed, with the next
    /// device that is opened, or at the shutdown.
    pub fn orphan(&self) {
        self.upkeep.stop();
        self.orphaned.store(true, Ordering::Release);
        self.maintain();
    }

    /// Cleans up behind an object that was destroyed, where nobody else will.
    pub fn tidy_if_orphaned(&self) {
        if self.orphaned.load(Ordering::Acquire) {
            self.maintain();
        }
    }

    /// Waits for all work of all streams, then frees everything that destroyed objects left, sealed memory included.
    /// Copies that failed since the last drain are reported. On `timeout` nothing is lost: call it again.
    pub fn drain(&self, timeout: Timeout) -> Result<()> {
        let deadline = timeout.deadline();
        let drain = self.deferred.drain_begins();
        let waited = self.wait_idle(&HostWait::of_device(timeout));
        let lost = matches!(&waited, Err(error) if error.status() == Status::DeviceLost);
        if waited.is_ok() {
            self.deferred.drain_ended(drain);
        }
        if waited.is_ok() || lost {
            self.maintain();
        }
        waited?;
        if !self.backend.await_frees(deadline) {
            return fail!(Timeout, "{}: memory is still on its way back to the driver; drain again", self.name);
        }
        report_failures(&self.name, self.failures_unreported.take())
    }

    /// Waits for the work queued so far on every stream. Failed copies are reported, once per stream.
    pub fn synchronize(&self, timeout: Timeout) -> Result<()> {
        self.wait_idle(&HostWait::of_device(timeout))?;
        report_failures(&self.name, self.live_timelines().iter().map(|timeline| timeline.take_failures()).sum())
    }

    /// Waits for all work of all streams, seen or not, and reports nothing.
    pub fn wait_idle(&self, wait: &HostWait<'_>) -> Result<()> {
        let tries = wait.timeout() == Timeout::Try;
        let mut idle = true;
        // What others have left, the backend waits for.
        let timelines: Vec<_> = self.live_timelines().into_iter().filter(|timeline| timeline.is_here()).collect();
        // Before any is waited for: a device that waits breaks every capture on it.
        timelines.iter().try_for_each(|timeline| timeline.expect_not_capturing(Check::CaptureWaits))?;
        for timeline in timelines {
            if timeline.stream().is_idle()? {
                continue;
            }
            if tries {
                wait.count_try(&self.counters.host);
                return fail!(Busy, "{} has work that is not done", timeline.name());
            }
            timeline.refuse_deadlock()?;
            idle = false;
        }
        // Streams whose handles are gone may have work, too: only the backend knows.
        if !tries {
            self.refuse_deadlock_in_callback()?;
        }
        let start = Instant::now();
        let deadline = if tries { Some(start) } else { wait.deadline() };
        let waited = self.backend.synchronize(deadline);
        let late = matches!(&waited, Err(error) if error.status() == Status::Timeout);
        let time = start.elapsed();
        if tries && late {
            wait.count_try(&self.counters.host);
        } else if !idle || late {
            wait.count(&self.counters.host, time, late);
        }
        waited.map_err(|error| match error.status() {
            Status::Timeout if tries => Error::new(Status::Busy, format!("{} has work that is not done", self.name)),
            Status::Timeout => late_by(&self.name, wait.timeout(), time),
            _ => self.unless_shut_down(error).context(&self.name),
        })
    }

    /// What the end of the library took away is not the device's fault, whatever the driver says.
    pub(super) fn unless_shut_down(&self, error: Error) -> Error {
        if error.status() == Status::DeviceLost && self.is_closed() {
            let why = error.message();
            return Error::new(Status::ShutDown, format!("the library was shut down while this thread waited: {why}"));
        }
        error
    }

    pub(super) fn live_timelines(&self) -> Vec<Arc<Timeline>> {
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
}
