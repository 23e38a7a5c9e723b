//! The test kit of the emulated device.

use super::{HostDevice, HostStream, from_fault};
use crate::backend::kit::{Call, Census, Delay, DeviceKit, FailWhen, Operation, StreamKit, View};
use crate::config::Placement;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::plain::AtomicU64;
use crate::sync::{Arc, Mutex, Ordering};
use gpubuf_engine as engine;
use std::collections::BTreeMap;

/// A device's executable graphs, by number: a number is checked, never trusted.
#[derive(Default)]
pub(super) struct Graphs(Mutex<BTreeMap<u64, engine::GraphExec>>);

impl Graphs {
    fn add(&self, graph: engine::GraphExec) -> u64 {
        // Of the whole process: a graph of another device is not known here.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.0.lock().insert(number, graph);
        number
    }

    pub(super) fn get(&self, number: u64) -> Result<engine::GraphExec> {
        match self.0.lock().get(&number) {
            Some(graph) => Ok(graph.clone()),
            None => Err(unknown(number)),
        }
    }

    fn remove(&self, number: u64) -> Result<()> {
        // Out of the lock first.
        let removed = self.0.lock().remove(&number);
        removed.map(drop).ok_or_else(|| unknown(number))
    }
}

#[cold]
fn unknown(number: u64) -> Error {
    Error::new(
        Status::NotFound,
        format!("graph {number} is none of this device's: it was destroyed, or never was one (emulated device)"),
    )
}

fn of_engine(operation: Operation) -> engine::OpKind {
    match operation {
        Operation::Copy => engine::OpKind::Copy,
        Operation::Fill => engine::OpKind::Fill,
        Operation::Delay => engine::OpKind::Delay,
        Operation::Call => engine::OpKind::Call,
        Operation::Record => engine::OpKind::Record,
        Operation::Wait => engine::OpKind::Wait,
        Operation::Kernel => engine::OpKind::Scatter,
        Operation::Allocation => engine::OpKind::Allocation,
        Operation::Registration => engine::OpKind::Registration,
        Operation::Stream => engine::OpKind::Stream,
        Operation::Event => engine::OpKind::Event,
    }
}

impl DeviceKit for HostDevice {
    fn fail_operation(&self, kind: Option<Operation>, nth: u64, when: FailWhen) -> Result<()> {
        let when = match when {
            FailWhen::Submission => engine::FailWhen::Submission,
            FailWhen::Execution => engine::FailWhen::Execution,
            FailWhen::Loss => engine::FailWhen::Loss,
        };
        self.device.fail_operation(kind.map(of_engine), nth, when);
        Ok(())
    }

    fn count_operations(&self, kind: Option<Operation>) -> Result<u64> {
        let engine::Counters { submitted, refused, .. } = self.device.counters();
        Ok(match kind.map(of_engine) {
            None => submitted.total() + refused.total(),
            Some(kind) => submitted.of(kind) + refused.of(kind),
        })
    }

    fn census(&self) -> Result<Census> {
        Ok(Census {
            pinned_bytes: self.device.memory_used(engine::MemoryKind::Pinned),
            device_bytes: self.device.memory_used(engine::MemoryKind::Device),
            registrations: self.device.registrations() as u64,
            streams: self.device.live_streams() as u64,
            // One reference is the device's own.
            events: Arc::strong_count(&self.event_count) as u64 - 1,
        })
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

    fn set_uva_stale(&self, stale: bool) -> Result<()> {
        self.device.set_in_place(if stale { engine::InPlace::Snapshot } else { engine::InPlace::Live });
        Ok(())
    }

    unsafe fn destroy_graph(&self, graph: u64) -> Result<()> {
        self.graphs.remove(graph)
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
        if self.stream.capture_status() != engine::CaptureStatus::None {
            // Its words are freed by its one run.
            return fail!(Capturing, "a function that runs once cannot be captured: use the form for captures");
        }
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

    fn capture_call(&self, function: Call, arguments: [usize; 2]) -> Result<()> {
        // Each replay reads it, and a replay may outlive the graph: it is left behind.
        let call = Box::into_raw(Box::new((function, arguments)));
        let operation = engine::Op::Call { function: run_captured_call, arguments: [call as usize, 0] };
        // SAFETY: `run_captured_call` only reads the box; what the function does with its arguments is its caller's promise.
        unsafe { self.stream.submit(operation, 0) }.map_err(|fault| {
            // SAFETY: refused, so the box is still this function's.
            drop(unsafe { Box::from_raw(call) });
            from_fault(fault, "capturing a function")
        })
    }

    fn begin_capture(&self) -> Result<()> {
        if self.stream.capture_status() != engine::CaptureStatus::None {
            return fail!(Capturing, "the stream is being captured already: end that capture first");
        }
        self.stream
            .begin_capture(engine::CaptureMode::ThreadLocal)
            .map_err(|fault| from_fault(fault, "beginning a capture"))
    }

    fn end_capture(&self) -> Result<u64> {
        if self.stream.capture_status() == engine::CaptureStatus::None {
            return fail!(NotBegun, "the stream is not being captured: there is nothing to end");
        }
        let graph = self.stream.end_capture().map_err(|fault| from_fault(fault, "ending a capture"))?;
        Ok(self.graphs.add(graph.instantiate()))
    }
}

fn run_call(view: &engine::View<'_>, [call, _]: [usize; 2]) {
    // SAFETY: `HostStream::call` made the box for this one run.
    let call = unsafe { Box::from_raw(call as *mut (Call, [usize; 2])) };
    let (function, arguments) = *call;
    function(&HostView(view), arguments);
}

fn run_captured_call(view: &engine::View<'_>, [call, _]: [usize; 2]) {
    // SAFETY: `HostStream::capture_call` made the box, which is never freed nor written.
    let (function, arguments) = unsafe { *(call as *const (Call, [usize; 2])) };
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
