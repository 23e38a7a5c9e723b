//! The test kit over the driver, real or simulated: a stream is held by a value it waits for, a function in the place of a
//! kernel runs on a thread while the stream waits for it. Faults need the simulation.

use super::CudaDevice;
use super::codes;
use super::context::Context;
use super::driver::Simulation;
use super::event::CudaEvent;
use super::stream::CudaStream;
use super::wait::poll;
use crate::backend::kit::{Call, Census, Delay, DeviceKit, FailWhen, Operation, StreamKit, View};
use crate::backend::{EventBackend, EventState, StreamBackend};
use crate::config::Placement;
use crate::error::Result;
use crate::fail;
use crate::sync::{Arc, AtomicU32, Mutex, OnceLock, Ordering};
use cudarc::driver::sys::{CUdeviceptr, CUstream, CUstreamCaptureMode};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::thread::ThreadId;
use std::time::Duration;

/// A stream waits until the word has reached its value.
const AT_LEAST: c_uint = 0;
/// Words that streams wait for, of one device: as many holds and functions may be open at a time.
const WORDS: usize = 4096;

thread_local! {
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
}

/// True in a function that runs in the place of a kernel.
pub fn on_call_thread() -> bool {
    IN_CALL.get()
}

/// Page-locked words that streams wait for.
pub struct Words {
    context: Arc<Context>,
    memory: OnceLock<(usize, CUdeviceptr)>,
    making: Mutex<()>,
    free: Mutex<Vec<usize>>,
}

/// One word, and the value that opens it.
struct Gate {
    words: Arc<Words>,
    index: usize,
    value: u32,
}

impl Words {
    /// None yet; `None` where the driver cannot have a stream wait for one.
    pub fn new(context: &Arc<Context>) -> Option<Arc<Words>> {
        context.driver().cuStreamWaitValue32_v2?;
        let words = Words {
            context: context.clone(),
            memory: OnceLock::new(),
            making: Mutex::new(()),
            free: Mutex::new((0..WORDS).collect()),
        };
        Some(Arc::new(words))
    }

    /// The words, made when they are first needed; what could not be made is tried again.
    fn memory(&self) -> Result<(usize, CUdeviceptr)> {
        let _one_at_a_time = self.making.lock();
        if let Some(memory) = self.memory.get() {
            return Ok(*memory);
        }
        let driver = self.context.driver();
        let _entered = self.context.enter_relaxed()?;
        // Never freed, and the language's own: a hold may outlive its context.
        let Ok(layout) = Layout::from_size_align(4 * WORDS, 4096) else {
            return fail!(Internal, "no layout for {WORDS} words");
        };
        // SAFETY: the layout has a size.
        let host = unsafe { alloc_zeroed(layout) };
        if host.is_null() {
            return fail!(OutOfHostMemory, "no memory for the test kit");
        }
        // SAFETY: as many bytes, which stay for the life of the process once they are registered. 3 is PORTABLE | DEVICEMAP.
        let code = unsafe { (driver.cuMemHostRegister_v2)(host.cast(), 4 * WORDS, 3) };
        if let Err(error) = self.context.check(code, "registering memory for the test kit") {
            // SAFETY: allocated above with this layout, and nobody else knows it.
            unsafe { dealloc(host, layout) };
            return Err(error);
        }
        let mut address = 0;
        // SAFETY: as above; the other pointer is that of a local.
        let code = unsafe { (driver.cuMemHostGetDevicePointer_v2)(&mut address, host.cast(), 0) };
        self.context.check(code, "asking for an address for the test kit")?;
        Ok(*self.memory.get_or_init(|| (host as usize, address)))
    }

    fn word(&self, index: usize) -> Option<&AtomicU32> {
        let (host, _) = self.memory.get()?;
        // SAFETY: inside that memory, which stays for the life of the process; aligned, and only used as an atomic.
        Some(unsafe { &*((host + 4 * index) as *const AtomicU32) })
    }

    /// Has a stream wait for a word of its own.
    fn shut(self: &Arc<Words>, stream: &CudaStream) -> Result<Gate> {
        let (_, address) = self.memory()?;
        let Some(index) = self.free.lock().pop() else {
            return fail!(Busy, "{WORDS} holds and functions are open, which is the limit");
        };
        let value = self.word(index).map_or(1, |word| word.load(Ordering::Relaxed).wrapping_add(1));
        let gate = Gate { words: self.clone(), index, value };
        let at = address + 4 * index as u64;
        match self.context.driver().cuStreamWaitValue32_v2 {
            Some(wait) => {
                let _entered = self.context.enter()?;
                // SAFETY: the stream is alive; the word stays for the life of the process.
                let code = unsafe { wait(stream.handle, at, value, AT_LEAST) };
                self.context.check(code, "having a stream wait for a value")?;
                Ok(gate)
            }
            None => fail!(Unsupported, "the driver cannot have a stream wait for a value"),
        }
    }
}

impl Drop for Gate {
    /// Lets the stream go on. The word is used again from a higher value on, which a stream still looking has reached as well.
    fn drop(&mut self) {
        if let Some(word) = self.words.word(self.index) {
            word.store(self.value, Ordering::Release);
        }
        self.words.free.lock().push(self.index);
    }
}

/// The holds on one stream.
pub struct StreamHolds {
    words: Arc<Words>,
    held: Mutex<Vec<(ThreadId, Gate)>>,
}

impl StreamHolds {
    pub fn new(words: &Arc<Words>) -> StreamHolds {
        StreamHolds { words: words.clone(), held: Mutex::new(Vec::new()) }
    }

    pub fn held_by_this_thread(&self) -> bool {
        let own = std::thread::current().id();
        self.held.lock().iter().any(|(thread, _)| *thread == own)
    }

    /// Nobody is left who could release it.
    pub fn release_all(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        drop(held);
    }
}

impl CudaStream {
    fn holds(&self) -> Result<&StreamHolds> {
        match &self.holds {
            Some(holds) => Ok(holds),
            None => fail!(Unsupported, "the driver cannot have a stream wait for a value"),
        }
    }
}

impl StreamKit for CudaStream {
    fn hold(&self) -> Result<()> {
        let holds = self.holds()?;
        let gate = holds.words.shut(self)?;
        holds.held.lock().push((std::thread::current().id(), gate));
        Ok(())
    }

    fn release(&self) -> Result<()> {
        let own = std::thread::current().id();
        let mut held = self.holds()?.held.lock();
        let latest = held.iter().rposition(|(thread, _)| *thread == own);
        let gate = latest.or(held.len().checked_sub(1)).map(|index| held.remove(index));
        drop(held);
        drop(gate);
        Ok(())
    }

    fn delay(&self, ns: u64) -> Result<()> {
        unsafe extern "C" fn sleep(ns: *mut c_void) {
            std::thread::sleep(Duration::from_nanos(ns as u64));
        }
        let Some(launch) = self.context.driver().cuLaunchHostFunc else {
            return fail!(Unsupported, "the driver cannot run a function on a stream");
        };
        let _entered = self.context.enter()?;
        // SAFETY: the function takes a number for a pointer, and calls no driver.
        let code = unsafe { launch(self.handle, Some(sleep), ns as *mut c_void) };
        self.context.check(code, "queueing a delay")
    }

    fn call(&self, function: Call, arguments: [usize; 2]) -> Result<()> {
        let holds = self.holds()?;
        if self.is_capturing()? {
            return fail!(Capturing, "a function that runs once cannot be captured: use the form for captures");
        }
        let event = CudaEvent::create(&self.context)?;
        self.record(&event, 0)?;
        let gate = holds.words.shut(self)?;
        let context = self.context.clone();
        let run = move || {
            // The stream reaches the event, or the device is lost and nothing runs any more.
            let done = || Some(event.query()).filter(|state| *state != EventState::Pending);
            if poll(None, done) == Some(EventState::Complete) {
                IN_CALL.set(true);
                if let Ok(view) = CudaView::new(&context) {
                    function(&view, arguments);
                }
                IN_CALL.set(false);
            }
            drop(gate);
        };
        match std::thread::Builder::new().name("gpubuf-call".into()).spawn(run) {
            Ok(_) => Ok(()),
            Err(error) => fail!(OutOfHostMemory, "no thread for a function on a stream: {error}"),
        }
    }

    fn capture_call(&self, function: Call, arguments: [usize; 2]) -> Result<()> {
        let Some(launch) = self.context.driver().cuLaunchHostFunc else {
            return fail!(Unsupported, "the driver cannot run a function on a stream");
        };
        let captured = Box::into_raw(Box::new(Captured { context: self.context.clone(), function, arguments }));
        let _entered = self.context.enter()?;
        // SAFETY: the box is left behind for the graph, which may be launched as long as the process lives.
        let code = unsafe { launch(self.handle, Some(run_captured), captured.cast()) };
        if code != 0 {
            // SAFETY: refused, so the box is still this function's.
            drop(unsafe { Box::from_raw(captured) });
        }
        self.context.check(code, "capturing a function")
    }

    fn begin_capture(&self) -> Result<()> {
        let Some(begin) = self.context.driver().cuStreamBeginCapture_v2 else {
            return fail!(Unsupported, "the driver cannot capture");
        };
        if self.is_capturing()? {
            return fail!(Capturing, "the stream captures already: end that capture first");
        }
        let _entered = self.context.enter()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL as c_int;
        // SAFETY: the stream is alive.
        let code = unsafe { begin(self.handle, mode) };
        self.context.check(code, "beginning a capture")
    }

    fn end_capture(&self) -> Result<u64> {
        let driver = self.context.driver();
        let (Some(end), Some(instantiate), Some(destroy)) =
            (driver.cuStreamEndCapture, driver.cuGraphInstantiateWithFlags, driver.cuGraphDestroy)
        else {
            return fail!(Unsupported, "the driver cannot capture");
        };
        if !self.is_capturing()? {
            return fail!(NotBegun, "the stream does not capture: begin a capture first");
        }
        let _entered = self.context.enter()?;
        let (mut graph, mut executable) = (null_mut(), null_mut());
        // SAFETY: the stream is alive; the pointer is that of a local.
        let code = unsafe { end(self.handle, &mut graph) };
        self.context.check(code, "ending a capture")?;
        // SAFETY: the graph was just made.
        let code = unsafe { instantiate(&mut executable, graph, 0) };
        // SAFETY: as above; the executable graph does not need it.
        unsafe { destroy(graph) };
        self.context.check(code, "instantiating a graph")?;
        Ok(executable as u64)
    }
}

/// A function that a graph runs at each replay.
struct Captured {
    context: Arc<Context>,
    function: Call,
    arguments: [usize; 2],
}

/// Runs a captured function on a thread that may call the driver, which this one may not; meanwhile the stream waits.
unsafe extern "C" fn run_captured(captured: *mut c_void) {
    // SAFETY: made by `capture_call`, and never freed.
    let captured = unsafe { &*captured.cast::<Captured>() };
    std::thread::scope(|scope| {
        let run = || {
            IN_CALL.set(true);
            if let Ok(view) = CudaView::new(&captured.context) {
                (captured.function)(&view, captured.arguments);
            }
        };
        // Without a thread nothing runs: a test sees that its function did not.
        let _ = std::thread::Builder::new().name("gpubuf-call".into()).spawn_scoped(scope, run);
    });
}

/// Memory seen through copies on a stream of its own.
struct CudaView<'a> {
    context: &'a Context,
    stream: CUstream,
}

impl<'a> CudaView<'a> {
    fn new(context: &'a Context) -> Result<CudaView<'a>> {
        Ok(CudaView { context, stream: context.create_stream()? })
    }

    /// Queues a copy whose device end the driver checks, and waits for it.
    fn copy(&self, address: u64, bytes: usize, submit: impl FnOnce() -> Option<codes::Code>) -> Result<()> {
        let driver = self.context.driver();
        let _entered = self.context.enter_relaxed()?;
        let mut code = submit().unwrap_or(codes::NOT_SUPPORTED);
        if code == 0 {
            // SAFETY: our own stream.
            code = unsafe { (driver.cuStreamSynchronize)(self.stream) };
        }
        match code {
            0 => Ok(()),
            code if codes::is_sticky(code) => Err(self.context.error(code, "looking at memory")),
            code => fail!(InvalidArgument, "{bytes} bytes at {address:#x}: {}", driver.explain(code)),
        }
    }
}

impl View for CudaView<'_> {
    unsafe fn read(&self, address: u64, target: *mut u8, bytes: usize) -> Result<()> {
        let copy = self.context.driver().cuMemcpyDtoHAsync_v2;
        // SAFETY: the caller's promise for the target.
        self.copy(address, bytes, || copy.map(|copy| unsafe { copy(target.cast(), address, bytes, self.stream) }))
    }

    unsafe fn write(&self, address: u64, source: *const u8, bytes: usize) -> Result<()> {
        let copy = self.context.driver().cuMemcpyHtoDAsync_v2;
        // SAFETY: the caller's promise for the source.
        self.copy(address, bytes, || copy.map(|copy| unsafe { copy(address, source.cast(), bytes, self.stream) }))
    }
}

impl Drop for CudaView<'_> {
    fn drop(&mut self) {
        if let Ok(_entered) = self.context.enter_relaxed() {
            // SAFETY: created by this value.
            unsafe { (self.context.driver().cuStreamDestroy_v2)(self.stream) };
        }
    }
}

impl CudaDevice {
    fn simulation(&self) -> Result<&'static Simulation> {
        match &self.context.driver().simulation {
            Some(simulation) => Ok(simulation),
            None => fail!(Unsupported, "faults and times are made by a simulated device only: this one is real"),
        }
    }
}

fn told(answer: c_int) -> Result<()> {
    match answer {
        0 => Ok(()),
        code => fail!(InvalidArgument, "the simulation refuses that ({code})"),
    }
}

impl DeviceKit for CudaDevice {
    fn fail_operation(&self, kind: Option<Operation>, nth: u64, when: FailWhen) -> Result<()> {
        let kind = match kind {
            None => 0,
            Some(Operation::Copy) => 1,
            Some(Operation::Fill) => 2,
            Some(Operation::Delay) => 3,
            Some(Operation::Call) => 4,
            Some(Operation::Record) => 5,
            Some(Operation::Wait) => 6,
            Some(Operation::Kernel) => 9,
            Some(_) => {
                return fail!(
                    Unsupported,
                    "memory, streams and events are made by many functions of the driver's: have one of them fail with gpubuf_standin_fail_call"
                );
            }
        };
        // A refusal says nothing of the device; work that fails when it runs takes the device with it.
        let (when, code) = match when {
            FailWhen::Submission => (0, codes::UNKNOWN),
            FailWhen::Execution => (1, codes::LAUNCH_FAILED),
            FailWhen::Loss => (2, codes::LAUNCH_FAILED),
        };
        // SAFETY: plain numbers.
        told(unsafe { (self.simulation()?.gpubuf_standin_fail_operation)(self.ordinal, kind, nth, when, code) })
    }

    fn count_operations(&self, _kind: Option<Operation>) -> Result<u64> {
        fail!(Unsupported, "here the functions of the driver's are counted: ask gpubuf_standin_calls")
    }

    fn census(&self) -> Result<Census> {
        // SAFETY: plain numbers, here and below.
        let live = |kind| match unsafe { (self.simulation()?.gpubuf_standin_live)(self.ordinal, kind) } {
            u64::MAX => fail!(InvalidArgument, "the simulation does not count that ({kind})"),
            count => Ok(count),
        };
        Ok(Census {
            pinned_bytes: live(0)?,
            device_bytes: live(1)?,
            registrations: live(2)?,
            streams: live(3)?,
            events: live(4)?,
        })
    }

    fn limit_memory(&self, placement: Placement, bytes: u64) -> Result<()> {
        let kind = u32::from(placement == Placement::Device);
        // SAFETY: plain numbers.
        told(unsafe { (self.simulation()?.gpubuf_standin_limit_memory)(self.ordinal, kind, bytes) })
    }

    fn lose(&self) -> Result<()> {
        // SAFETY: plain numbers.
        told(unsafe { (self.simulation()?.gpubuf_standin_lose_device)(self.ordinal, codes::LAUNCH_FAILED) })
    }

    fn set_link(&self, latency_ns: u64, bandwidth: u64) -> Result<()> {
        // SAFETY: plain numbers.
        told(unsafe { (self.simulation()?.gpubuf_standin_set_link)(self.ordinal, latency_ns, bandwidth) })
    }

    fn set_delay(&self, delay: Delay) -> Result<()> {
        let (fixed, seed, most) = match delay {
            Delay::None => (0, 0, 0),
            Delay::Fixed { ns } => (ns, 0, 0),
            Delay::Seeded { seed, max_ns } => (0, seed, max_ns),
        };
        // SAFETY: plain numbers.
        told(unsafe { (self.simulation()?.gpubuf_standin_set_delay)(self.ordinal, fixed, seed, most) })
    }

    fn set_pageable_late(&self, late: bool) -> Result<()> {
        // SAFETY: plain numbers.
        told(unsafe { (self.simulation()?.gpubuf_standin_set_pageable_late)(self.ordinal, c_int::from(late)) })
    }

    fn set_uva_stale(&self, stale: bool) -> Result<()> {
        // SAFETY: plain numbers.
        told(unsafe { (self.simulation()?.gpubuf_standin_set_uva_stale)(self.ordinal, c_int::from(stale)) })
    }

    unsafe fn destroy_graph(&self, graph: u64) -> Result<()> {
        let Some(destroy) = self.context.driver().cuGraphExecDestroy else {
            return fail!(Unsupported, "the driver cannot capture");
        };
        let _entered = self.context.enter_relaxed()?;
        // SAFETY: the caller's promise.
        let code = unsafe { destroy(graph as usize as *mut _) };
        self.context.check(code, "destroying a graph")
    }
}
