//! A device for the models: streams that are threads of the model, copies in two halves, memory that is never reused. Each
//! call of it is one step: there may be a switch before it, none inside.

use crate::backend::{
    BackendKind, Backing, DeviceBackend, EventBackend, EventState, Opened, RawMemory, RowCopy, Scatter, StreamBackend,
};
use crate::config::Placement;
use crate::error::Result;
use crate::fail;
use crate::fence::{Care, Device, Timeline};
use crate::stats::AllocatorCounters;
use crate::sync::{Arc, Sleepers, switch};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Memory of the model. Addresses are those of the heap; what was freed stays mapped until the end, so that a use of it is
/// seen and not fatal.
#[derive(Default)]
struct Memory {
    /// By address: the bytes, and whether they were freed.
    pieces: HashMap<u64, (Box<[u8]>, bool)>,
}

impl Memory {
    /// The bytes must be of one piece that is not freed.
    fn expect(&self, address: u64, bytes: usize, what: &str) {
        let found = self
            .pieces
            .iter()
            .find(|(at, (piece, _))| **at <= address && address + bytes as u64 <= **at + piece.len() as u64);
        match found {
            None => panic!("{what} of memory that is nobody's"),
            Some((_, (_, true))) => panic!("{what} of freed memory"),
            Some(_) => {}
        }
    }
}

/// What a stream has to do.
enum Work {
    Copy { target: u64, source: u64, bytes: usize, tag: u64 },
    Fill { target: u64, byte: u8, bytes: usize },
    Record { event: Arc<Inner>, number: u64, tag: u64 },
    Wait { event: Arc<Inner>, number: u64 },
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    busy: bool,
    closed: bool,
    /// Submissions of which a copy failed.
    failed: Vec<u64>,
}

#[derive(Default)]
struct StreamState {
    queue: RefCell<Queue>,
    changed: Sleepers,
}

/// What the model may provoke: each strikes once.
#[derive(Default)]
pub struct Faults {
    /// The copy with this number from now, counted from 1, fails when it runs.
    pub copy: Cell<u64>,
    /// The record with this number from now is refused.
    pub record: Cell<u64>,
    lost: Cell<bool>,
}

unsafe impl Send for Faults {}
unsafe impl Sync for Faults {}

fn strikes(fault: &Cell<u64>) -> bool {
    let left = fault.get();
    fault.set(left.saturating_sub(1));
    left == 1
}

/// What all parts of one device share.
#[derive(Default)]
pub struct Shared {
    memory: RefCell<Memory>,
    streams: RefCell<Vec<Arc<StreamState>>>,
    workers: RefCell<Vec<shuttle::thread::JoinHandle<()>>>,
    pub faults: Faults,
    next: Cell<u64>,
}

unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// Bytes that were allocated and not freed.
    pub fn alive(&self) -> usize {
        self.memory.borrow_mut().pieces.values().filter(|(_, freed)| !freed).map(|(piece, _)| piece.len()).sum()
    }

    /// The byte at a device address, which must be alive.
    pub fn byte_at(&self, address: u64) -> u8 {
        self.memory.borrow_mut().expect(address, 1, "a look");
        // SAFETY: checked just now; pieces go with the device.
        unsafe { (address as *const u8).read_volatile() }
    }

    /// The device is lost: what is pending now is never proven.
    pub fn lose(&self) {
        self.faults.lost.set(true);
        self.streams.borrow().iter().for_each(|stream| stream.changed.wake());
    }

    fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }
}

pub struct ModelDevice {
    shared: Arc<Shared>,
    allocator: AllocatorCounters,
}

/// Opens a device of the model, and ends it: its streams are threads that have to end with the execution.
pub struct Opening {
    pub device: Arc<Device>,
    pub shared: Arc<Shared>,
}

impl Opening {
    pub fn new() -> Opening {
        let shared = Arc::new(Shared::default());
        let backend = Arc::new(ModelDevice { shared: shared.clone(), allocator: AllocatorCounters::default() });
        let opened = Opened { backend, reason: String::new() };
        Opening { device: Device::over(opened, Care::default(), "").expect("a device"), shared }
    }

    pub fn stream(&self) -> Arc<Timeline> {
        Timeline::create(&self.device, "").expect("a stream")
    }

    /// Every object is gone: all work ends, all memory must have been freed.
    pub fn end(self) {
        self.drain();
        assert_eq!(self.shared.alive(), 0, "bytes were never freed");
        self.stop();
    }

    /// Everything queued is done, everything deferred is freed.
    pub fn drain(&self) {
        let _ = self.device.drain(crate::config::Timeout::Infinite);
    }

    /// The streams end.
    pub fn stop(self) {
        for stream in self.shared.streams.borrow().iter() {
            stream.queue.borrow_mut().closed = true;
            stream.changed.wake();
        }
        for worker in self.shared.workers.take() {
            worker.join().expect("a stream that ended");
        }
    }
}

/// One stream's thread.
fn work(shared: &Shared, stream: &StreamState) {
    loop {
        stream.queue.borrow_mut().busy = false;
        stream.changed.wake();
        stream.changed.until(false, || !stream.queue.borrow().work.is_empty() || stream.queue.borrow().closed);
        let mut queue = stream.queue.borrow_mut();
        let Some(next) = queue.work.pop_front() else { return };
        queue.busy = true;
        drop(queue);
        if shared.faults.lost.get() {
            if let Work::Record { event, .. } = &next {
                event.state.borrow_mut().lost = true;
                event.changed.wake();
            }
            continue;
        }
        match next {
            Work::Copy { tag, .. } if strikes(&shared.faults.copy) => stream.queue.borrow_mut().failed.push(tag),
            Work::Copy { target, source, bytes, .. } => {
                let half = bytes / 2;
                for (from, count) in [(0, half), (half, bytes - half)] {
                    switch();
                    let memory = shared.memory.borrow();
                    memory.expect(source, bytes, "a copy");
                    memory.expect(target, bytes, "a copy");
                    // SAFETY: checked just now; two ranges of live pieces.
                    unsafe { std::ptr::copy((source as *const u8).add(from), (target as *mut u8).add(from), count) };
                }
            }
            Work::Fill { target, byte, bytes } => {
                switch();
                shared.memory.borrow().expect(target, bytes, "a fill");
                // SAFETY: checked just now.
                unsafe { (target as *mut u8).write_bytes(byte, bytes) };
            }
            Work::Record { event, number, tag } => {
                switch();
                let failed = tag != 0 && stream.queue.borrow().failed.contains(&tag);
                let mut state = event.state.borrow_mut();
                if state.recorded == number {
                    (state.reached, state.failed) = (number, failed);
                }
                drop(state);
                event.changed.wake();
            }
            Work::Wait { event, number } => {
                // A record that another has replaced was reached: an event is recorded again only after that.
                event.changed.until(false, || {
                    let state = event.state.borrow();
                    state.recorded != number || state.reached == number || state.lost
                });
            }
        }
    }
}

impl DeviceBackend for ModelDevice {
    fn kind(&self) -> BackendKind {
        BackendKind::Host
    }
    fn name(&self) -> String {
        "the models' device".into()
    }
    fn allocator(&self) -> &AllocatorCounters {
        &self.allocator
    }
    fn allocate(&self, placement: Placement, bytes: usize) -> Result<RawMemory> {
        let mut piece = vec![0u8; bytes].into_boxed_slice();
        let at = piece.as_mut_ptr();
        self.shared.memory.borrow_mut().pieces.insert(at as u64, (piece, false));
        let host = if placement == Placement::Device { std::ptr::null_mut() } else { at };
        Ok(RawMemory { placement, host, device: at as u64, bytes, backing: Backing::Driver, node: None })
    }
    unsafe fn adopt(&self, _: Placement, _: *mut u8, _: usize) -> Result<RawMemory> {
        fail!(Unsupported, "the models borrow no memory")
    }
    unsafe fn free(&self, memory: RawMemory) {
        let mut pieces = self.shared.memory.borrow_mut();
        let piece = pieces.pieces.get_mut(&memory.device).expect("memory of this device");
        assert!(!std::mem::replace(&mut piece.1, true), "freed twice");
    }
    fn prepare_scatter(&self) -> Result<()> {
        Ok(())
    }
    fn create_stream(&self) -> Result<Box<dyn StreamBackend>> {
        let state = Arc::new(StreamState::default());
        self.shared.streams.borrow_mut().push(state.clone());
        let worker = shuttle::thread::spawn({
            let (shared, state) = (self.shared.clone(), state.clone());
            move || work(&shared, &state)
        });
        self.shared.workers.borrow_mut().push(worker);
        Ok(Box::new(ModelStream { id: self.shared.number(), state, shared: self.shared.clone() }))
    }
    fn create_event(&self) -> Result<Arc<dyn EventBackend>> {
        Ok(Arc::new(ModelEvent(Arc::new(Inner::default()))))
    }
    fn create_timed_event(&self) -> Result<Arc<dyn EventBackend>> {
        self.create_event()
    }
    fn is_lost(&self) -> bool {
        self.shared.faults.lost.get()
    }
    fn synchronize(&self, _: Option<Instant>) -> Result<()> {
        if self.is_lost() {
            return fail!(DeviceLost, "the device is lost");
        }
        switch();
        let streams = self.shared.streams.borrow().clone();
        streams.iter().for_each(|stream| stream.wait_idle());
        Ok(())
    }
    fn close(&self, _: Option<Instant>) -> usize {
        0
    }
    fn on_worker_thread(&self) -> bool {
        false
    }
}

impl StreamState {
    fn wait_idle(&self) {
        self.changed.until(false, || !self.queue.borrow().busy && self.queue.borrow().work.is_empty());
    }
}

pub struct ModelStream {
    id: u64,
    state: Arc<StreamState>,
    shared: Arc<Shared>,
}

impl ModelStream {
    fn put(&self, work: Work) {
        switch();
        self.state.queue.borrow_mut().work.push_back(work);
        self.state.changed.wake();
    }
}

impl StreamBackend for ModelStream {
    fn id(&self) -> u64 {
        self.id
    }
    unsafe fn copy(&self, target: u64, source: u64, bytes: usize, tag: u64, queued: &mut bool) -> Result<()> {
        self.put(Work::Copy { target, source, bytes, tag });
        *queued = true;
        Ok(())
    }
    unsafe fn copy_rows(&self, _: &RowCopy, _: u64, _: &mut bool) -> Result<()> {
        fail!(Unsupported, "the models copy no rows")
    }
    unsafe fn fill(
        &self,
        target: u64,
        width: usize,
        value: u64,
        count: usize,
        _: u64,
        queued: &mut bool,
    ) -> Result<()> {
        self.put(Work::Fill { target, byte: value as u8, bytes: width * count });
        *queued = true;
        Ok(())
    }
    unsafe fn scatter(&self, _: &Scatter, _: u64, _: &mut bool) -> Result<()> {
        fail!(Unsupported, "the models scatter nothing")
    }
    fn record(&self, event: &dyn EventBackend, tag: u64) -> Result<()> {
        if self.shared.faults.lost.get() {
            return fail!(DeviceLost, "the device is lost");
        }
        if strikes(&self.shared.faults.record) {
            return fail!(Internal, "the record is refused");
        }
        let event = inner(event);
        let number = self.shared.number();
        switch();
        {
            let mut state = event.state.borrow_mut();
            assert_eq!(state.recorded, state.reached, "an event whose record is pending is recorded again");
            (state.recorded, state.failed) = (number, false);
        }
        self.put(Work::Record { event: event.clone(), number, tag });
        Ok(())
    }
    fn wait(&self, event: &dyn EventBackend) -> Result<()> {
        let event = inner(event);
        let number = event.state.borrow_mut().recorded;
        self.put(Work::Wait { event: event.clone(), number });
        Ok(())
    }
    fn is_idle(&self) -> Result<bool> {
        switch();
        let queue = self.state.queue.borrow();
        Ok(!queue.busy && queue.work.is_empty())
    }
    fn synchronize(&self, _: Option<Instant>) -> Result<()> {
        self.state.wait_idle();
        Ok(())
    }
    fn is_capturing(&self) -> Result<bool> {
        Ok(false)
    }
    unsafe fn launch_graph(&self, _: u64, _: u64) -> Result<()> {
        fail!(Unsupported, "the models have no graphs")
    }
    fn held_by_this_thread(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct EventNumbers {
    recorded: u64,
    reached: u64,
    failed: bool,
    lost: bool,
}

impl EventNumbers {
    /// The time of its record: the number that it has.
    fn reached_number(&self) -> Option<u64> {
        (self.reached == self.recorded).then_some(self.reached)
    }
}

#[derive(Default)]
struct Inner {
    state: RefCell<EventNumbers>,
    changed: Sleepers,
}

struct ModelEvent(Arc<Inner>);

// All threads of a model run on one thread of the system.
unsafe impl Send for Inner {}
unsafe impl Sync for Inner {}
unsafe impl Send for StreamState {}
unsafe impl Sync for StreamState {}

fn inner(event: &dyn EventBackend) -> &Arc<Inner> {
    &event.as_any().downcast_ref::<ModelEvent>().expect("an event of this device").0
}

fn read(state: &EventNumbers) -> EventState {
    match () {
        () if state.reached == state.recorded && state.failed => EventState::Failed,
        () if state.reached == state.recorded => EventState::Complete,
        () if state.lost => EventState::Lost,
        () => EventState::Pending,
    }
}

impl EventBackend for ModelEvent {
    fn query(&self) -> EventState {
        switch();
        read(&self.0.state.borrow())
    }
    fn failed(&self) -> Option<bool> {
        let state = read(&self.0.state.borrow());
        (state != EventState::Pending).then_some(state == EventState::Failed)
    }
    fn wait(&self, deadline: Option<Instant>) -> EventState {
        switch();
        self.0.changed.until(deadline.is_some(), || read(&self.0.state.borrow()) != EventState::Pending);
        read(&self.0.state.borrow())
    }
    fn elapsed_since(&self, earlier: &dyn EventBackend) -> Result<u64> {
        switch();
        let times = [inner(earlier), &self.0].map(|event| event.state.borrow().reached_number());
        match times {
            [Some(earlier), Some(later)] => Ok(later - earlier),
            _ => fail!(InvalidArgument, "an event is pending"),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
