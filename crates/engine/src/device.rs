//! The device: what memory, streams and events are made from, and the switches for faults and timing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

use crate::captured;
use crate::captures;
use crate::clock::Inside;
use crate::config::{Config, Delay, InPlace, MemoryKind, Pageable};
use crate::counters::Counters;
use crate::event::Event;
use crate::faults::FailWhen;
use crate::mapping::HostAccess;
use crate::memory::{self, Allocation};
use crate::operation::OpKind;
use crate::policy::{self, Fault};
use crate::queue::{Queue, Role};
use crate::shared::{Core, Root, Worker};
use crate::stream::Stream;
use crate::worker;

/// An emulated accelerator. Cloning gives another handle to the same device; memory that was not freed goes when the
/// last handle and the last of its streams' workers are gone.
#[derive(Clone)]
pub struct Device {
    root: Arc<Root>,
}

impl Device {
    /// Makes a device.
    ///
    /// # Errors
    /// None so far; a device that needs resources of its own may run out of them.
    pub fn new(config: Config) -> Result<Device, Fault> {
        let core = Arc::new(Core::new(config));
        Ok(Device { root: Arc::new(Root { core, legacy: Mutex::new(None) }) })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.root.core
    }

    /// The name from the configuration.
    pub fn name(&self) -> &str {
        &self.core().name
    }

    /// Allocates `bytes` bytes, page-aligned and zeroed. Whole pages count against the limit.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] for zero bytes, [`Fault::OutOfDeviceMemory`] or [`Fault::OutOfHostMemory`],
    /// [`Fault::DeviceLost`], [`Fault::Closed`].
    pub fn allocate(&self, kind: MemoryKind, bytes: usize) -> Result<Allocation, Fault> {
        self.core().admit()?;
        self.core().makes(OpKind::Allocation, policy::out_of_memory(kind))?;
        let core = self.core();
        let in_place = core.settings.read().in_place;
        memory::allocate(core.id, kind, bytes, core.usage(kind), in_place, core.margins)
    }

    /// Allocates host memory, page-aligned and zeroed, that operations take for ordinary memory of the caller's (it has no
    /// device address), but whose host pointer [`set_host_access`](Device::set_host_access) can protect. It counts against
    /// no limit, and [`free`](Device::free) takes its host pointer.
    ///
    /// # Errors
    /// As for [`allocate`](Device::allocate).
    pub fn allocate_pageable(&self, bytes: usize) -> Result<Allocation, Fault> {
        self.core().admit()?;
        memory::allocate_pageable(self.core().id, bytes, self.core().margins)
    }

    /// Frees an allocation of this device by its base address (the device address, or the host pointer as a number).
    /// It does not wait: the addresses are refused, and fault, from now on, while the memory stays until the operations
    /// queued on it are done, and counts as used until then. Works on lost and closed devices too.
    ///
    /// # Errors
    /// [`Fault::InvalidAddress`] if no allocation of this device begins there.
    pub fn free(&self, device_address: u64) -> Result<(), Fault> {
        if memory::free(self.core().id, device_address)? {
            self.core().tallies.frees_in_use.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lets or forbids the CPU to write pinned memory through its host pointer: [`set_host_access`](Device::set_host_access)
    /// with read and write access, or with read access alone.
    ///
    /// # Errors
    /// As there.
    pub fn set_host_writable(&self, host: *const u8, bytes: usize, writable: bool) -> Result<(), Fault> {
        self.set_host_access(host, bytes, if writable { HostAccess::ReadWrite } else { HostAccess::Read })
    }

    /// Says what the CPU may do with pinned memory through its host pointer, for the whole pages that cover the range.
    /// Operations are not affected; they use a mapping of their own.
    ///
    /// # Errors
    /// [`Fault::InvalidAddress`] if the range is not inside one pinned allocation's host view;
    /// [`Fault::OutOfHostMemory`] if the system has no room to note the change.
    pub fn set_host_access(&self, host: *const u8, bytes: usize, access: HostAccess) -> Result<(), Fault> {
        memory::set_host_access(self.core().id, host as u64, bytes, access)
    }

    /// Sets every byte of a range of this device's memory, of either kind, now and out of any order: for memory that no
    /// operation uses.
    ///
    /// # Errors
    /// [`Fault::InvalidAddress`] if the range is not inside one allocation of this device.
    pub fn set_bytes(&self, address: u64, bytes: usize, value: u8) -> Result<(), Fault> {
        // SAFETY: as many bytes of a region that the lookup keeps mapped, written through the engine's own mapping.
        memory::with_bytes(self.core().id, address, bytes, |at| unsafe { at.write_bytes(value, bytes) })
    }

    /// Hands `look` the engine's own pointer to a range of this device's memory: protected memory can be looked at, too. It
    /// is valid meanwhile, and an operation may write there.
    ///
    /// # Errors
    /// As for [`set_bytes`](Device::set_bytes).
    pub fn look_at<R>(&self, address: u64, bytes: usize, look: impl FnOnce(*const u8) -> R) -> Result<R, Fault> {
        memory::with_bytes(self.core().id, address, bytes, |at| look(at))
    }

    /// The offset of the first byte of a range of this device's memory that is not `value`, if there is one. Looks at once
    /// and out of any order, through the engine's own mapping: protected memory can be looked at, too.
    ///
    /// # Errors
    /// As for [`set_bytes`](Device::set_bytes).
    pub fn find_other_byte(&self, address: u64, bytes: usize, value: u8) -> Result<Option<usize>, Fault> {
        memory::with_bytes(self.core().id, address, bytes, |at| {
            // SAFETY: inside the range that was looked up. An operation that writes meanwhile gives old or new bytes.
            (0..bytes).find(|offset| unsafe { at.add(*offset).read_volatile() } != value)
        })
    }

    /// The kind of the allocation of this device that holds the whole range, by device address or host pointer; `None`
    /// if none does.
    pub fn kind_of(&self, address: u64, bytes: usize) -> Option<MemoryKind> {
        memory::kind_of(self.core().id, address, bytes)
    }

    /// Makes a stream and its worker thread.
    ///
    /// # Errors
    /// [`Fault::NoResources`] if the system gives no thread, [`Fault::DeviceLost`], [`Fault::Closed`].
    pub fn create_stream(&self) -> Result<Stream, Fault> {
        Ok(Stream::new(self.make_queue(Role::Free)?, self.clone()))
    }

    /// Makes a stream that is ordered with the [legacy stream](Device::legacy_stream).
    ///
    /// # Errors
    /// As for [`create_stream`](Device::create_stream).
    pub fn create_blocking_stream(&self) -> Result<Stream, Fault> {
        Ok(Stream::new(self.make_queue(Role::Blocking)?, self.clone()))
    }

    /// The device's legacy default stream: one per device, made on first use, which stops when the last handle of the
    /// device and of its streams is dropped. Its work waits for the work that was submitted before on blocking streams,
    /// and theirs for its work.
    ///
    /// # Errors
    /// On first use as for [`create_stream`](Device::create_stream).
    pub fn legacy_stream(&self) -> Result<Stream, Fault> {
        let mut legacy = self.root.legacy.lock();
        let queue = match &*legacy {
            Some(queue) => queue.clone(),
            None => legacy.insert(self.make_queue(Role::Legacy)?).clone(),
        };
        Ok(Stream::new(queue, self.clone()))
    }

    fn make_queue(&self, role: Role) -> Result<Arc<Queue>, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.core().admit()?;
        self.core().makes(OpKind::Stream, Fault::NoResources)?;
        // Locked to the end, so that a loss or a close either refuses the stream or finds it in the list.
        let mut streams = self.core().streams.lock();
        policy::admit(self.is_lost(), streams.closed)?;
        streams.workers.retain(|worker| !worker.ended.load(Ordering::Acquire));
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue::new(id, role, streams.made, self.core().clone()));
        let theirs = queue.clone();
        let thread = thread::Builder::new()
            .name(format!("gpubuf-stream-{id}"))
            .spawn(move || worker::run(theirs))
            .map_err(|_| Fault::NoResources)?;
        streams.made += 1;
        streams.workers.push(Worker { queue: Arc::downgrade(&queue), stream: id, ended: queue.ended.clone(), thread });
        match role {
            Role::Free => {}
            Role::Blocking => self.core().order.add_blocking(&queue),
            Role::Legacy => self.core().order.set_legacy(&queue),
        }
        Ok(queue)
    }

    /// Counts an event that is to be made against the faults armed for it.
    ///
    /// # Errors
    /// [`Fault::NoResources`] for an armed fault, or [`Fault::DeviceLost`] if it lost the device.
    pub fn expect_event(&self) -> Result<(), Fault> {
        self.core().makes(OpKind::Event, Fault::NoResources)
    }

    /// Makes an event; it may be recorded on and waited for by streams of any device.
    pub fn create_event(&self) -> Event {
        self.core().tallies.events_created.fetch_add(1, Ordering::Relaxed);
        Event::new()
    }

    /// Loses the device for good: running operations stop as soon as they can, queued ones are dropped, and events that
    /// are not complete report `Lost`. Their waiters wake. All but a running call is settled on return.
    pub fn lose(&self) {
        self.core().lose();
    }

    /// Whether [`lose`](Device::lose) was called.
    pub fn is_lost(&self) -> bool {
        self.core().is_lost()
    }

    /// Arms a fault: the `nth` operation from now that passes `kind` (all that streams are given if `None`) on this device
    /// fails, once; 1 is the next one. Only operations whose arguments are good count. Each filter has at most one fault, which a
    /// new one replaces; `nth` 0 disarms it.
    pub fn fail_operation(&self, kind: Option<OpKind>, nth: u64, when: FailWhen) {
        self.core().armory.arm(kind, nth, when);
    }

    /// Sets how many bytes of a kind may be allocated at a time; allocations above a lowered limit stay.
    pub fn set_memory_limit(&self, kind: MemoryKind, bytes: u64) {
        self.core().usage(kind).limit.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes of a kind may be allocated at a time.
    pub fn memory_limit(&self, kind: MemoryKind) -> u64 {
        self.core().usage(kind).limit.load(Ordering::Relaxed)
    }

    /// Bytes of a kind in use, in whole pages, with freed memory that queued operations still use.
    pub fn memory_used(&self, kind: MemoryKind) -> u64 {
        self.core().usage(kind).used.load(Ordering::Relaxed)
    }

    /// Ranges of the caller's memory that are registered now.
    pub fn registrations(&self) -> usize {
        memory::registrations(self.core().id)
    }

    /// Streams that are not over: those that somebody has a handle to, and those that still have work.
    pub fn live_streams(&self) -> usize {
        let streams = self.core().streams.lock();
        streams.workers.iter().filter(|worker| !worker.ended.load(Ordering::Acquire)).count()
    }

    /// Sets the link's latency in nanoseconds and its bandwidth in bytes per second (0: no limit), for copies that
    /// start from now on.
    pub fn set_link(&self, latency_ns: u64, bandwidth: u64) {
        let mut settings = self.core().settings.write();
        settings.latency_ns = latency_ns;
        settings.bandwidth = bandwidth;
    }

    /// Sets the wait before each operation that starts from now on.
    pub fn set_delay(&self, delay: Delay) {
        self.core().settings.write().delay = delay;
    }

    /// Sets when copies that are submitted from now on read a pageable source.
    pub fn set_pageable(&self, pageable: Pageable) {
        self.core().settings.write().pageable = pageable;
    }

    /// Sets what the device sees of page-locked memory that is made from now on.
    pub fn set_in_place(&self, in_place: InPlace) {
        self.core().settings.write().in_place = in_place;
    }

    /// Waits until all that was submitted before this call, on any stream, has run.
    ///
    /// # Errors
    /// [`Fault::Timeout`]; [`Fault::DeviceLost`] once the device is lost; [`Fault::InvalidValue`] inside a call on one
    /// of the device's streams, which would wait for itself; [`Fault::CaptureUnsupported`] while any of its streams is in
    /// a capture, which is invalid then.
    pub fn synchronize(&self, deadline: Option<Instant>) -> Result<(), Fault> {
        let _inside = Inside::enter();
        if self.is_lost() {
            return Err(Fault::DeviceLost);
        }
        captured::refuse_device_wait(self.core().id)?;
        let queues = self.core().queues();
        if queues.iter().any(|queue| queue.id == worker::current_stream()) {
            return Err(Fault::InvalidValue);
        }
        let targets: Vec<u64> = queues.iter().map(|queue| queue.submitted()).collect();
        for (queue, target) in queues.iter().zip(targets) {
            queue.wait_for(target, deadline)?;
        }
        Ok(())
    }

    /// What the device has done so far.
    pub fn counters(&self) -> Counters {
        self.core().tallies.read()
    }

    /// Takes no more work, waits for what is queued and joins the workers that finish by the deadline; returns how many
    /// did not. Held streams stay held, so without a deadline somebody must release them. Those that were late end on
    /// their own when they can. May be called again. Inside a call, the caller's own stream counts as late.
    pub fn close(&self, deadline: Option<Instant>) -> usize {
        let mut streams = self.core().streams.lock();
        streams.closed = true;
        for queue in streams.workers.iter().filter_map(|worker| worker.queue.upgrade()) {
            queue.stop(false);
        }
        captures::device_gone(self.core().id);
        let own = worker::current_stream();
        let running = |worker: &Worker| !worker.ended.load(Ordering::Acquire);
        let mut late = false;
        while !late && streams.workers.iter().any(|worker| worker.stream != own && running(worker)) {
            match deadline {
                Some(deadline) => {
                    late = self.core().ended.wait_until(&mut streams, deadline).timed_out();
                }
                None => self.core().ended.wait(&mut streams),
            }
        }
        let (left, ended): (Vec<_>, Vec<_>) = streams.workers.drain(..).partition(running);
        streams.workers = left;
        let count = streams.workers.len();
        // Not under the lock, which an ending worker takes.
        drop(streams);
        for worker in ended {
            // A worker catches its calls' panics and has nothing to tell.
            let _ = worker.thread.join();
        }
        count
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.core().name).field("id", &self.core().id).finish()
    }
}
