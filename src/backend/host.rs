//! The host backend: an emulated device, truly asynchronous, one face of the emulation engine.

use super::kit::{Call, Delay, DeviceKit, FailWhen, Operation, StreamKit, View};
use super::{
    BackendKind, Backing, DeviceBackend, EventBackend, EventState, RawMemory, StreamBackend, allocate_pageable,
    free_pageable,
};
use crate::config::Placement;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::Arc;
use gpubuf_engine as engine;
use std::any::Any;
use std::str::FromStr;
use std::time::Instant;

/// Emulated devices there are: `GPUBUF_HOST_DEVICES`, 1 if unset.
pub fn device_count() -> Result<u32> {
    Ok(from_environment("GPUBUF_HOST_DEVICES")?.unwrap_or(1))
}

/// An emulated device. Each open makes one of its own: nothing is shared with other opens of the same ordinal.
pub struct HostDevice {
    device: engine::Device,
}

/// A stream of an emulated device.
pub struct HostStream {
    stream: engine::Stream,
}

struct HostEvent {
    event: engine::Event,
}

impl HostDevice {
    /// Opens emulated device `ordinal`, with the settings of the `GPUBUF_HOST_` variables.
    pub fn open(ordinal: u32) -> Result<HostDevice> {
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
        match std::env::var("GPUBUF_HOST_PAGEABLE").as_deref() {
            Err(_) | Ok("") | Ok("staged") => {}
            Ok("late") => config.pageable = engine::Pageable::Late,
            Ok(other) => return fail!(InvalidArgument, "GPUBUF_HOST_PAGEABLE={other} is not staged or late"),
        }
        let device = engine::Device::new(config).map_err(|fault| from_fault(fault, "opening an emulated device"))?;
        if let Ok(text) = std::env::var("GPUBUF_HOST_FAIL_OPERATION")
            && !text.is_empty()
        {
            let (kind, nth, when) = parse_failure(&text)?;
            device.fail_operation(kind, nth, when);
        }
        Ok(HostDevice { device })
    }
}

impl DeviceBackend for HostDevice {
    fn kind(&self) -> BackendKind {
        BackendKind::Host
    }

    fn name(&self) -> String {
        self.device.name().to_string()
    }

    fn allocate(&self, placement: Placement, bytes: usize) -> Result<RawMemory> {
        let kind = match placement {
            Placement::Pageable => return allocate_pageable(bytes),
            Placement::Pinned | Placement::Uva => engine::MemoryKind::Pinned,
            Placement::Device => engine::MemoryKind::Device,
            Placement::None | Placement::Managed => {
                return fail!(Unsupported, "the host backend has no {} memory", placement.name());
            }
        };
        let got = self.device.allocate(kind, bytes).map_err(|fault| {
            from_fault(fault, format_args!("allocating {bytes} bytes of {} memory", placement.name()))
        })?;
        Ok(RawMemory { placement, host: got.host, device: got.device, bytes, backing: Backing::Driver, node: None })
    }

    unsafe fn adopt(&self, placement: Placement, host: *mut u8, bytes: usize) -> Result<RawMemory> {
        Ok(RawMemory { placement, host, device: 0, bytes, backing: Backing::Foreign, node: None })
    }

    unsafe fn free(&self, memory: RawMemory) {
        match memory.placement {
            // SAFETY: the caller's promise.
            Placement::Pageable => unsafe { free_pageable(memory) },
            _ => {
                let freed = self.device.free(memory.device);
                debug_assert!(freed.is_ok(), "{memory:?} freed twice: {freed:?}");
            }
        }
    }

    fn create_stream(&self) -> Result<Box<dyn StreamBackend>> {
        let stream = self.device.create_stream().map_err(|fault| from_fault(fault, "creating a stream"))?;
        Ok(Box::new(HostStream { stream }))
    }

    fn create_event(&self) -> Result<Arc<dyn EventBackend>> {
        Ok(Arc::new(HostEvent { event: self.device.create_event() }))
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

    unsafe fn copy(&self, dst: u64, src: u64, bytes: usize, tag: u64) -> Result<()> {
        // SAFETY: the caller keeps both ranges allocated until the copy has run.
        unsafe { self.stream.submit(engine::Op::Copy { dst, src, bytes }, tag) }
            .map_err(|fault| from_fault(fault, format_args!("queueing a copy of {bytes} bytes")))
    }

    unsafe fn fill(&self, dst: u64, width: usize, value: u64, count: usize, tag: u64) -> Result<()> {
        // SAFETY: the caller keeps the range allocated until the fill has run.
        unsafe { self.stream.submit(engine::Op::Fill { dst, width: width as u8, value, count }, tag) }
            .map_err(|fault| from_fault(fault, format_args!("queueing a fill of {count} elements")))
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
        Ok(false)
    }

    unsafe fn launch_graph(&self, _graph: u64, _tag: u64) -> Result<()> {
        fail!(Unsupported, "the host backend has no graphs")
    }

    fn held_by_this_thread(&self) -> bool {
        self.stream.held_by_this_thread()
    }

    fn kit(&self) -> Option<&dyn StreamKit> {
        Some(self)
    }
}

impl DeviceKit for HostDevice {
    fn fail_operation(&self, kind: Option<Operation>, nth: u64, when: FailWhen) -> Result<()> {
        let kind = kind.map(|kind| match kind {
            Operation::Copy => engine::OpKind::Copy,
            Operation::Fill => engine::OpKind::Fill,
            Operation::Delay => engine::OpKind::Delay,
            Operation::Call => engine::OpKind::Call,
            Operation::Record => engine::OpKind::Record,
            Operation::Wait => engine::OpKind::Wait,
        });
        let when = match when {
            FailWhen::Submission => engine::FailWhen::Submission,
            FailWhen::Execution => engine::FailWhen::Execution,
        };
        self.device.fail_operation(kind, nth, when);
        Ok(())
    }

    fn limit_memory(&self, placement: Placement, bytes: u64) -> Result<()> {
        let kind = match placement {
            Placement::Device => engine::MemoryKind::Device,
            _ => engine::MemoryKind::Pinned,
        };
        self.device.set_memory_limit(kind, bytes);
        Ok(())
    }

    fn lose(&self) -> Result<()> {
        self.device.lose();
        Ok(())
    }

    fn set_link(&self, latency_ns: u64, bandwidth: u64) -> Result<()> {
        self.device.set_link(latency_ns, bandwidth);
        Ok(())
    }

    fn set_delay(&self, delay: Delay) -> Result<()> {
        self.device.set_delay(match delay {
            Delay::None => engine::Delay::None,
            Delay::Fixed { ns } => engine::Delay::Fixed { ns },
            Delay::Seeded { seed, max_ns } => engine::Delay::Seeded { seed, max_ns },
        });
        Ok(())
    }

    fn set_pageable_late(&self, late: bool) -> Result<()> {
        self.device.set_pageable(if late { engine::Pageable::Late } else { engine::Pageable::Staged });
        Ok(())
    }

    unsafe fn destroy_graph(&self, _graph: u64) -> Result<()> {
        fail!(Unsupported, "the host backend has no graphs")
    }
}

impl StreamKit for HostStream {
    fn hold(&self) -> Result<()> {
        self.stream.hold();
        Ok(())
    }

    fn release(&self) -> Result<()> {
        self.stream.release();
        Ok(())
    }

    fn delay(&self, ns: u64) -> Result<()> {
        // SAFETY: a delay touches no memory.
        unsafe { self.stream.submit(engine::Op::Delay { ns }, 0) }.map_err(|f| from_fault(f, "queueing a delay"))
    }

    fn call(&self, function: Call, arguments: [usize; 2]) -> Result<()> {
        // The engine hands on two words, a call has three. Where the loss of the device drops it, they are left behind.
        let call = Box::into_raw(Box::new((function, arguments)));
        // SAFETY: `run_call` takes the box once; what the function does with its arguments is its caller's promise.
        unsafe { self.stream.submit(engine::Op::Call { function: run_call, arguments: [call as usize, 0] }, 0) }
            .map_err(|fault| {
                // SAFETY: refused, so the box is still this function's.
                drop(unsafe { Box::from_raw(call) });
                from_fault(fault, "queueing a function")
            })
    }

    fn begin_capture(&self) -> Result<()> {
        fail!(Unsupported, "the host backend has no graphs")
    }

    fn end_capture(&self) -> Result<u64> {
        fail!(Unsupported, "the host backend has no graphs")
    }
}

fn run_call(view: &engine::View<'_>, [call, _]: [usize; 2]) {
    // SAFETY: `HostStream::call` made the box for this one run.
    let call = unsafe { Box::from_raw(call as *mut (Call, [usize; 2])) };
    let (function, arguments) = *call;
    function(&HostView(view), arguments);
}

struct HostView<'a>(&'a engine::View<'a>);

impl View for HostView<'_> {
    unsafe fn read(&self, address: u64, target: *mut u8, bytes: usize) -> Result<()> {
        // SAFETY: the view gives `bytes` bytes that stay mapped, the caller as many to write. They may be changed by others
        // meanwhile, as on a device.
        let copy = |source: *const u8| unsafe { std::ptr::copy(source, target, bytes) };
        self.0.with_bytes(address, bytes, copy).map_err(|fault| not_there(address, bytes, fault))
    }

    unsafe fn write(&self, address: u64, source: *const u8, bytes: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        let source = unsafe { std::slice::from_raw_parts(source, bytes) };
        self.0.write(address, source).map_err(|fault| not_there(address, bytes, fault))
    }
}

#[cold]
fn not_there(address: u64, bytes: usize, fault: engine::Fault) -> Error {
    Error::new(Status::InvalidArgument, format!("{bytes} bytes at {address:#x}: {fault} (emulated device)"))
}

impl EventBackend for HostEvent {
    fn query(&self) -> EventState {
        from_state(self.event.query())
    }

    fn failed(&self) -> bool {
        self.event.query() == engine::EventState::Failed
    }

    fn wait(&self, deadline: Option<Instant>) -> EventState {
        self.event.wait(deadline).map_or(EventState::Pending, from_state)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
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
        // The host backend begins no captures.
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
        engine::Fault::OperationFailed => Status::CopyFailed,
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
                "GPUBUF_HOST_FAIL_OPERATION={text} is not kind:nth:when, as in copy:3:execution (kinds any, copy, fill, delay, call, record, wait; when submission or execution)"
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
        _ => return Err(wrong()),
    };
    let when = match when {
        "submission" => engine::FailWhen::Submission,
        "execution" => engine::FailWhen::Execution,
        _ => return Err(wrong()),
    };
    Ok((kind, nth.parse().map_err(|_| wrong())?, when))
}
