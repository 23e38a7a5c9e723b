//! The host backend: an emulated device, truly asynchronous, one face of the emulation engine.

mod kit;

use super::kit::{DeviceKit, StreamKit};
use super::{
    BackendKind, Backing, CpuAccess, DeviceBackend, DeviceFacts, DeviceSummary, EventBackend, EventState, RawMemory,
    RowCopy, Scatter, StreamBackend, allocate_pageable, free_pageable,
};
use crate::config::Placement;
use crate::config::debug::{self, Debug};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::stats::AllocatorCounters;
use crate::sync::Arc;
use gpubuf_engine as engine;
use std::any::Any;
use std::str::FromStr;
use std::time::Instant;

/// The longest that an operation, or whoever queues it, is made to wait where schedules are perturbed.
const PERTURBED_NS: u64 = 2_000_000;

/// Emulated devices there are: `GPUBUF_HOST_DEVICES`, 1 if unset.
pub fn device_count() -> Result<u32> {
    Ok(from_environment("GPUBUF_HOST_DEVICES")?.unwrap_or(1))
}

/// A device's name and memory.
fn config_of(ordinal: u32) -> Result<engine::Config> {
    let count = device_count()?;
    if ordinal >= count {
        return fail!(
            NotFound,
            "host device {ordinal} does not exist: there are {count} (0 to {}); GPUBUF_HOST_DEVICES sets how many",
            count.saturating_sub(1)
        );
    }
    let mut config = engine::Config { name: format!("emulated device {ordinal}"), ..Default::default() };
    if let Some(bytes) = from_environment("GPUBUF_HOST_DEVICE_MEMORY")? {
        config.device_memory_bytes = bytes;
    }
    Ok(config)
}

/// What is known of emulated device `ordinal` without opening it.
pub fn summary(ordinal: u32) -> Result<DeviceSummary> {
    let config = config_of(ordinal)?;
    Ok(DeviceSummary {
        kind: BackendKind::Host,
        ordinal,
        name: config.name,
        driver_version: 0,
        simulation: true,
        integrated: false,
        numa_node: None,
        memory: Some(config.device_memory_bytes),
        uuid: None,
        bus: None,
    })
}

/// An emulated device. Each open makes one of its own: nothing is shared with other opens of the same ordinal.
pub struct HostDevice {
    device: engine::Device,
    allocator: AllocatorCounters,
    graphs: Arc<kit::Graphs>,
    /// Pageable memory has pages of its own as well.
    debug: bool,
    /// Referred to by each event there is.
    event_count: Arc<()>,
}

/// A stream of an emulated device.
pub struct HostStream {
    stream: engine::Stream,
    graphs: Arc<kit::Graphs>,
}

struct HostEvent {
    event: engine::Event,
    _counted: Arc<()>,
}

impl HostDevice {
    /// Opens emulated device `ordinal`, with the settings of the `GPUBUF_HOST_` variables.
    pub fn open(ordinal: u32, debug: Debug) -> Result<HostDevice> {
        let mut config = config_of(ordinal)?;
        config.margins = debug.is_on();
        if let Some(bytes) = from_environment("GPUBUF_HOST_PINNED_MEMORY")? {
            config.pinned_memory_bytes = bytes;
        }
        if let Some(ns) = from_environment("GPUBUF_HOST_LATENCY_NS")? {
            config.link_latency_ns = ns;
        }
        if let Some(rate) = from_environment("GPUBUF_HOST_BANDWIDTH")? {
            config.link_bandwidth = rate;
        }
        if let Some(ns) = from_environment("GPUBUF_HOST_DELAY_NS")? {
            config.delay = engine::Delay::Fixed { ns };
        }
        if let Some(max_ns) = from_environment("GPUBUF_HOST_DELAY_MAX_NS")? {
            let seed = from_environment("GPUBUF_HOST_DELAY_SEED")?.unwrap_or(0);
            config.delay = engine::Delay::Seeded { seed, max_ns };
        }
        if let Some(seed) = debug::seed()? {
            config.delay = engine::Delay::Perturbed { seed, max_ns: PERTURBED_NS };
        }
        match std::env::var("GPUBUF_HOST_PAGEABLE").as_deref() {
            Err(_) | Ok("") | Ok("staged") => {}
            Ok("late") => config.pageable = engine::Pageable::Late,
            Ok(other) => return fail!(InvalidArgument, "GPUBUF_HOST_PAGEABLE={other} is not staged or late"),
        }
        match std::env::var("GPUBUF_HOST_UVA").as_deref() {
            Err(_) | Ok("") | Ok("live") => {}
            Ok("stale") => config.in_place = engine::InPlace::Snapshot,
            Ok(other) => return fail!(InvalidArgument, "GPUBUF_HOST_UVA={other} is not live or stale"),
        }
        let device = engine::Device::new(config).map_err(|fault| from_fault(fault, "opening an emulated device"))?;
        if let Ok(text) = std::env::var("GPUBUF_HOST_FAIL_OPERATION")
            && !text.is_empty()
        {
            let (kind, nth, when) = parse_failure(&text)?;
            device.fail_operation(kind, nth, when);
        }
        let debug = debug.is_on();
        Ok(HostDevice {
            device,
            allocator: AllocatorCounters::default(),
            graphs: Arc::default(),
            debug,
            event_count: Arc::default(),
        })
    }
}

impl HostDevice {
    /// Bytes in use of either kind.
    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> u64 {
        [engine::MemoryKind::Device, engine::MemoryKind::Pinned].map(|kind| self.device.memory_used(kind)).iter().sum()
    }
}

impl DeviceBackend for HostDevice {
    fn kind(&self) -> BackendKind {
        BackendKind::Host
    }

    fn name(&self) -> String {
        self.device.name().to_string()
    }

    fn facts(&self) -> DeviceFacts {
        DeviceFacts { simulation: true, ..DeviceFacts::default() }
    }

    fn allocator(&self) -> &AllocatorCounters {
        &self.allocator
    }

    fn memory_info(&self) -> Option<(u64, u64)> {
        let kind = engine::MemoryKind::Device;
        let limit = self.device.memory_limit(kind);
        Some((limit.saturating_sub(self.device.memory_used(kind)), limit))
    }

    fn allocate(&self, placement: Placement, bytes: usize) -> Result<RawMemory> {
        let kind = match placement {
            Placement::Pageable if self.debug => {
                let got = self
                    .device
                    .allocate_pageable(bytes)
                    .map_err(|fault| from_fault(fault, format_args!("allocating {bytes} bytes of pageable memory")))?;
                return Ok(RawMemory {
                    placement,
                    host: got.host,
                    device: 0,
                    bytes,
                    backing: Backing::Driver,
                    node: None,
                });
            }
            Placement::Pageable => return allocate_pageable(bytes),
            Placement::Pinned | Placement::Uva => engine::MemoryKind::Pinned,
            Placement::Device => engine::MemoryKind::Device,
            Placement::None | Placement::Managed => {
                return fail!(Unsupported, "the host backend has no {} memory", placement.name());
            }
        };
        let got = self.allocator.allocate(|| self.device.allocate(kind, bytes)).map_err(|fault| {
            from_fault(fault, format_args!("allocating {bytes} bytes of {} memory", placement.name()))
        })?;
        Ok(RawMemory { placement, host: got.host, device: got.device, bytes, backing: Backing::Driver, node: None })
    }

    unsafe fn adopt(&self, placement: Placement, host: *mut u8, bytes: usize) -> Result<RawMemory> {
        // SAFETY: the caller's promise, which is longer than the engine needs.
        match self.allocator.allocate(|| unsafe { self.device.register(host, bytes) }) {
            Ok(got) => {
                Ok(RawMemory { placement, host, device: got.device, bytes, backing: Backing::Registered, node: None })
            }
            Err(engine::Fault::AlreadyRegistered) => {
                Ok(RawMemory { placement, host, device: 0, bytes, backing: Backing::Foreign, node: None })
            }
            Err(fault) => Err(from_fault(fault, format_args!("page-locking {bytes} bytes of the caller's"))),
        }
    }

    unsafe fn free(&self, memory: RawMemory) {
        match memory.placement {
            Placement::Pageable if memory.backing == Backing::Driver => {
                let freed = self.device.free(memory.host as u64);
                debug_assert!(freed.is_ok(), "{memory:?} freed twice: {freed:?}");
            }
            // SAFETY: the caller's promise.
            Placement::Pageable => unsafe { free_pageable(memory) },
            _ if memory.backing == Backing::Registered => {
                let undone = self.allocator.free(|| self.device.unregister(memory.host));
                debug_assert!(undone.is_ok(), "{memory:?} unregistered twice: {undone:?}");
            }
            _ => {
                let freed = self.allocator.free(|| self.device.free(memory.device));
                debug_assert!(freed.is_ok(), "{memory:?} freed twice: {freed:?}");
            }
        }
    }

    fn protect(&self, memory: &RawMemory, offset: usize, bytes: usize, access: CpuAccess) -> bool {
        let access = match access {
            CpuAccess::None => engine::HostAccess::None,
            CpuAccess::Read => engine::HostAccess::Read,
            CpuAccess::ReadWrite => engine::HostAccess::ReadWrite,
        };
        if memory.backing != Backing::Driver {
            return false;
        }
        let set = |bytes| self.device.set_host_access(memory.host.wrapping_add(offset), bytes, access).is_ok();
        // The last page may reach beyond the bytes that were asked for; a part's may not, nor end with its bytes.
        let own = memory.bytes.saturating_sub(offset);
        set(bytes) || own < bytes && (own == 0 || set(own))
    }

    fn look(&self, memory: &RawMemory, offset: usize, bytes: usize, look: &mut dyn FnMut(*const u8)) {
        let at = memory.host.wrapping_add(offset);
        if self.device.look_at(at as u64, bytes, &mut *look).is_err() {
            look(at);
        }
    }

    fn set_bytes(&self, memory: &RawMemory, value: u8) -> bool {
        self.device.set_bytes(own_address(memory), memory.bytes, value).is_ok()
    }

    fn find_other_byte(&self, memory: &RawMemory, value: u8) -> Option<usize> {
        self.device.find_other_byte(own_address(memory), memory.bytes, value).ok().flatten()
    }

    fn prepare_scatter(&self) -> Result<()> {
        // The emulation has the kernel built in.
        Ok(())
    }

    fn create_stream(&self) -> Result<Box<dyn StreamBackend>> {
        let stream = self.device.create_stream().map_err(|fault| from_fault(fault, "creating a stream"))?;
        Ok(Box::new(HostStream { stream, graphs: self.graphs.clone() }))
    }

    fn create_event(&self) -> Result<Arc<dyn EventBackend>> {
        self.device.expect_event().map_err(|fault| from_fault(fault, "creating an event"))?;
        Ok(Arc::new(HostEvent { event: self.device.create_event(), _counted: self.event_count.clone() }))
    }

    fn create_timed_event(&self) -> Result<Arc<dyn EventBackend>> {
        // The emulation notes times always.
        self.create_event()
    }

    fn is_lost(&self) -> bool {
        self.device.is_lost()
    }

    fn synchronize(&self, deadline: Option<Instant>) -> Result<()> {
        self.device.synchronize(deadline).map_err(|fault| from_fault(fault, "synchronizing the device"))
    }

    fn close(&self, deadline: Option<Instant>) -> usize {
        self.device.close(deadline)
    }

    fn on_worker_thread(&self) -> bool {
        engine::on_worker_thread()
    }

    fn kit(&self) -> Option<&dyn DeviceKit> {
        Some(self)
    }
}

impl StreamBackend for HostStream {
    fn id(&self) -> u64 {
        self.stream.id()
    }

    unsafe fn copy(&self, dst: u64, src: u64, bytes: usize, tag: u64, queued: &mut bool) -> Result<()> {
        // SAFETY: the caller keeps both ranges allocated until the copy has run.
        unsafe { self.stream.submit(engine::Op::Copy { dst, src, bytes }, tag) }
            .map_err(|fault| from_fault(fault, format_args!("queueing a copy of {bytes} bytes")))?;
        *queued = true;
        Ok(())
    }

    unsafe fn copy_rows(&self, copy: &RowCopy, tag: u64, queued: &mut bool) -> Result<()> {
        let RowCopy { target, source, pitch: [dst_pitch, src_pitch], width, rows } = *copy;
        let op = engine::Op::CopyRows { dst: target, dst_pitch, src: source, src_pitch, width, rows };
        // SAFETY: the caller keeps every row allocated until the copy has run.
        unsafe { self.stream.submit(op, tag) }
            .map_err(|fault| from_fault(fault, format_args!("queueing a copy of {rows} rows of {width} bytes")))?;
        *queued = true;
        Ok(())
    }

    unsafe fn fill(&self, dst: u64, width: usize, value: u64, count: usize, tag: u64, queued: &mut bool) -> Result<()> {
        // SAFETY: the caller keeps the range allocated until the fill has run.
        unsafe { self.stream.submit(engine::Op::Fill { dst, width: width as u8, value, count }, tag) }
            .map_err(|fault| from_fault(fault, format_args!("queueing a fill of {count} elements")))?;
        *queued = true;
        Ok(())
    }

    unsafe fn scatter(&self, scatter: &Scatter, tag: u64, queued: &mut bool) -> Result<()> {
        let Scatter { entry, entry_bytes, table, table_bytes, pieces, ticket, .. } = *scatter;
        let pieces = pieces as usize;
        let op = engine::Op::Scatter { entry, entry_bytes, table, table_bytes, pieces, ticket };
        // SAFETY: the caller keeps both allocated until the kernel has run.
        unsafe { self.stream.submit(op, tag) }
            .map_err(|fault| from_fault(fault, format_args!("queueing a scatter of {pieces} pieces")))?;
        *queued = true;
        Ok(())
    }

    fn record(&self, event: &dyn EventBackend, tag: u64) -> Result<()> {
        self.stream.record(own(event)?, tag).map_err(|fault| from_fault(fault, "recording an event"))
    }

    fn wait(&self, event: &dyn EventBackend) -> Result<()> {
        self.stream.wait_event(own(event)?).map_err(|fault| from_fault(fault, "queueing a wait for an event"))
    }

    fn is_idle(&self) -> Result<bool> {
        Ok(self.stream.is_idle())
    }

    fn synchronize(&self, deadline: Option<Instant>) -> Result<()> {
        self.stream.synchronize(deadline).map_err(|fault| from_fault(fault, "synchronizing a stream"))
    }

    fn is_capturing(&self) -> Result<bool> {
        // One that was made invalid has to be ended, too.
        Ok(self.stream.capture_status() != engine::CaptureStatus::None)
    }

    unsafe fn launch_graph(&self, graph: u64, tag: u64) -> Result<()> {
        let graph = self.graphs.get(graph)?;
        self.stream.launch(&graph, tag).map_err(|fault| from_fault(fault, "launching a graph"))
    }

    fn held_by_this_thread(&self) -> bool {
        self.stream.held_by_this_thread()
    }

    fn kit(&self) -> Option<&dyn StreamKit> {
        Some(self)
    }
}

impl EventBackend for HostEvent {
    fn query(&self) -> EventState {
        from_state(self.event.query())
    }

    fn failed(&self) -> Option<bool> {
        match self.event.query() {
            engine::EventState::Pending => None,
            state => Some(state == engine::EventState::Failed),
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> EventState {
        self.event.wait(deadline).map_or(EventState::Pending, from_state)
    }

    fn elapsed_since(&self, earlier: &dyn EventBackend) -> Result<u64> {
        if [self.failed(), earlier.failed()].contains(&Some(true)) {
            return fail!(CopyFailed, "the record of an event failed when it ran: it has no time; record it again");
        }
        let elapsed = self.event.elapsed_since(own(earlier)?);
        elapsed.map(|time| time.as_nanos() as u64).map_err(|fault| from_fault(fault, "taking the time between events"))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where the engine knows the memory: device memory has one address, other memory the host's.
fn own_address(memory: &RawMemory) -> u64 {
    if memory.placement == Placement::Device { memory.device } else { memory.host as u64 }
}

fn own(event: &dyn EventBackend) -> Result<&engine::Event> {
    match event.as_any().downcast_ref::<HostEvent>() {
        Some(event) => Ok(&event.event),
        None => fail!(Internal, "an event of another backend reached the host backend"),
    }
}

fn from_state(state: engine::EventState) -> EventState {
    match state {
        engine::EventState::Complete => EventState::Complete,
        engine::EventState::Pending => EventState::Pending,
        engine::EventState::Failed => EventState::Failed,
        engine::EventState::Lost => EventState::Lost,
        // No event of the library's is recorded in a capture; one that is never ends.
        engine::EventState::Captured => EventState::Pending,
    }
}

/// Nanoseconds that this thread has spent so far inside the emulation.
pub fn time_inside_ns() -> u64 {
    engine::time_inside_ns()
}

#[cold]
fn from_fault(fault: engine::Fault, doing: impl std::fmt::Display) -> Error {
    let status = match fault {
        engine::Fault::InvalidValue | engine::Fault::InvalidAddress => Status::InvalidArgument,
        engine::Fault::OutOfDeviceMemory => Status::OutOfDeviceMemory,
        engine::Fault::OutOfHostMemory | engine::Fault::NoResources => Status::OutOfHostMemory,
        engine::Fault::OperationFailed => Status::DriverError,
        engine::Fault::DeviceLost => Status::DeviceLost,
        engine::Fault::Timeout => Status::Timeout,
        engine::Fault::Closed => Status::ShutDown,
        engine::Fault::AlreadyRegistered | engine::Fault::NotRegistered => Status::InvalidArgument,
        engine::Fault::CaptureUnsupported
        | engine::Fault::CaptureInvalidated
        | engine::Fault::CaptureMerge
        | engine::Fault::CaptureUnmatched
        | engine::Fault::CaptureUnjoined
        | engine::Fault::CaptureIsolation
        | engine::Fault::CaptureImplicit
        | engine::Fault::CapturedEvent
        | engine::Fault::CaptureWrongThread => Status::Capturing,
    };
    Error::new(status, format!("{doing}: {fault} (emulated device)"))
}

/// A `GPUBUF_HOST_` number; unset or empty is `None`.
fn from_environment<T: FromStr>(name: &str) -> Result<Option<T>> {
    match std::env::var(name) {
        Err(_) => Ok(None),
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => fail!(InvalidArgument, "{name}={text} is not a number it can take"),
        },
    }
}

fn parse_failure(text: &str) -> Result<(Option<engine::OpKind>, u64, engine::FailWhen)> {
    let parts: Vec<&str> = text.split(':').collect();
    let wrong = || {
        Error::new(
            Status::InvalidArgument,
            format!(
                "GPUBUF_HOST_FAIL_OPERATION={text} is not kind:nth:when, as in copy:3:execution (kinds any, copy, fill, delay, call, record, wait, kernel, allocation, registration, stream, event; when submission, execution or loss)"
            ),
        )
    };
    let [kind, nth, when] = parts[..] else { return Err(wrong()) };
    let kind = match kind {
        "any" => None,
        "copy" => Some(engine::OpKind::Copy),
        "fill" => Some(engine::OpKind::Fill),
        "delay" => Some(engine::OpKind::Delay),
        "call" => Some(engine::OpKind::Call),
        "record" => Some(engine::OpKind::Record),
        "wait" => Some(engine::OpKind::Wait),
        "kernel" => Some(engine::OpKind::Scatter),
        "allocation" => Some(engine::OpKind::Allocation),
        "registration" => Some(engine::OpKind::Registration),
        "stream" => Some(engine::OpKind::Stream),
        "event" => Some(engine::OpKind::Event),
        _ => return Err(wrong()),
    };
    let when = match when {
        "submission" => engine::FailWhen::Submission,
        "execution" => engine::FailWhen::Execution,
        "loss" => engine::FailWhen::Loss,
        _ => return Err(wrong()),
    };
    Ok((kind, nth.parse().map_err(|_| wrong())?, when))
}
