//! What the engine's tests share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::time::{Duration, Instant};

use gpubuf_engine::{
    Allocation, CaptureMode, CaptureStatus, Config, Device, Event, EventState, Fault, MemoryKind, Op, Stream,
};

/// Long enough that only a hang reaches it.
pub fn patience() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

/// A deadline that has passed: whoever waits with it only looks.
pub fn now() -> Option<Instant> {
    Some(Instant::now())
}

pub fn device() -> Device {
    Device::new(Config::default()).unwrap()
}

/// Pinned memory with each byte set.
pub fn pinned(device: &Device, bytes: usize, value: u8) -> Allocation {
    let memory = device.allocate(MemoryKind::Pinned, bytes).unwrap();
    set(&memory, value);
    memory
}

/// Writes pinned memory by its host pointer.
pub fn set(memory: &Allocation, value: u8) {
    // SAFETY: the host view is live, writable and as long; nobody else has a reference to it.
    unsafe { std::ptr::write_bytes(memory.host, value, memory.bytes) };
}

/// What the CPU sees of pinned memory.
pub fn seen(memory: &Allocation) -> Vec<u8> {
    // SAFETY: the host view is live and as long; the tests read it when no operation writes it.
    unsafe { std::slice::from_raw_parts(memory.host, memory.bytes) }.to_vec()
}

/// Submits an operation that names only the engine's memory, or pageable memory that outlives it.
pub fn submit(stream: &Stream, op: Op) {
    try_submit(stream, op, 0).unwrap();
}

pub fn try_submit(stream: &Stream, op: Op, tag: u64) -> Result<(), Fault> {
    // SAFETY: each test keeps what its operations name until they are done.
    unsafe { stream.submit(op, tag) }
}

pub fn copy(dst: u64, src: u64, bytes: usize) -> Op {
    Op::Copy { dst, src, bytes }
}

/// Reads device memory back over a stream of its own, after all work that `device` has.
pub fn fetch(device: &Device, address: u64, bytes: usize) -> Vec<u8> {
    device.synchronize(patience()).unwrap();
    let stream = device.create_stream().unwrap();
    let mut out = vec![0; bytes];
    submit(&stream, copy(out.as_mut_ptr() as u64, address, bytes));
    stream.synchronize(patience()).unwrap();
    out
}

pub fn wait(event: &Event) -> EventState {
    event.wait(patience()).unwrap()
}

/// Waits for a condition that is bound to come.
pub fn until(mut condition: impl FnMut() -> bool) {
    let deadline = patience().unwrap();
    while !condition() {
        assert!(Instant::now() < deadline, "the condition never came");
        std::thread::yield_now();
    }
}

/// Begins a capture that other tests' threads do not see.
pub fn begin(stream: &Stream) {
    stream.begin_capture(CaptureMode::ThreadLocal).unwrap();
}

pub fn is_active(stream: &Stream) -> bool {
    matches!(stream.capture_status(), CaptureStatus::Active { .. })
}

/// Checks that a stream's capture was made invalid, and ends it.
pub fn end_invalid(stream: &Stream) {
    assert!(matches!(stream.capture_status(), CaptureStatus::Invalidated { .. }));
    assert_eq!(stream.end_capture().err(), Some(Fault::CaptureInvalidated));
    assert_eq!(stream.capture_status(), CaptureStatus::None);
}
