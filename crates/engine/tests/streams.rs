//! Holds, the life of streams, calls and closing.

mod common;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use gpubuf_engine::{Delay, EventState, Fault, MemoryKind, Op, View, on_worker_thread, time_inside_ns};

#[test]
fn holds_are_counted_and_remember_their_threads() {
    let device = device();
    let stream = device.create_stream().unwrap();
    assert!(!stream.is_held() && !stream.held_by_this_thread());
    stream.hold();
    stream.hold();
    let other = stream.clone();
    std::thread::spawn(move || {
        assert!(other.is_held() && !other.held_by_this_thread());
        other.hold();
        assert!(other.held_by_this_thread());
        other.release();
        assert!(!other.held_by_this_thread());
        // Another thread's hold can be released too.
        other.release();
    })
    .join()
    .unwrap();
    assert!(stream.held_by_this_thread());
    submit(&stream, Op::Delay { ns: 0 });
    assert!(!stream.is_idle());
    assert_eq!(stream.synchronize(now()), Err(Fault::Timeout));
    stream.release();
    assert!(!stream.is_held());
    stream.synchronize(patience()).unwrap();
    assert!(stream.is_idle());
    // One too many is ignored.
    stream.release();
    stream.hold();
    assert!(stream.is_held());
}

#[test]
fn operations_run_in_order() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 8, 0);
    device.set_delay(Delay::Seeded { seed: 1, max_ns: 1000 });
    // More than the queue has room for from the start.
    let count = 3000;
    stream.hold();
    for _ in 0..count {
        submit(&stream, Op::Call { function: triple_plus_one, arguments: [memory.device as usize, 0] });
    }
    stream.release();
    stream.synchronize(patience()).unwrap();
    let expected = (0..count).fold(0u64, |value, _| value.wrapping_mul(3).wrapping_add(1));
    assert_eq!(seen(&memory), expected.to_ne_bytes());
}

fn triple_plus_one(view: &View<'_>, [address, _]: [usize; 2]) {
    let mut bytes = [0; 8];
    view.read(address as u64, &mut bytes).unwrap();
    let value = u64::from_ne_bytes(bytes).wrapping_mul(3).wrapping_add(1);
    view.write(address as u64, &value.to_ne_bytes()).unwrap();
}

static CALLER: AtomicU64 = AtomicU64::new(0);

fn look_around(view: &View<'_>, [address, foreign]: [usize; 2]) {
    assert!(on_worker_thread());
    assert_eq!(std::thread::current().name(), Some(format!("gpubuf-stream-{}", view.stream_id()).as_str()));
    let address = address as u64;
    // SAFETY: the pointer is good for four bytes during the closure.
    let byte = view.with_bytes(address, 4, |bytes| unsafe { bytes.add(3).read() });
    assert_eq!(byte, Ok(6));
    assert_eq!(view.read(address, &mut [0; 5]), Err(Fault::InvalidAddress));
    assert_eq!(view.write(foreign as u64, &[0]), Err(Fault::InvalidAddress));
    CALLER.store(view.stream_id(), Ordering::Release);
}

#[test]
fn a_call_sees_memory_as_it_is_when_it_runs() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 4, 5);
    let foreign = 0u8;
    let event = device.create_event();
    stream.hold();
    let arguments = [memory.host as usize, &raw const foreign as usize];
    try_submit(&stream, Op::Call { function: look_around, arguments }, 1).unwrap();
    stream.record(&event, 1).unwrap();
    set(&memory, 6);
    stream.release();
    assert_eq!(wait(&event), EventState::Complete);
    assert_eq!(CALLER.load(Ordering::Acquire), stream.id());
    assert!(!on_worker_thread());
}

#[test]
fn a_dropped_stream_finishes_its_work_even_if_it_was_held() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 64, 4);
    let target = pinned(&device, 64, 0);
    let event = device.create_event();
    stream.hold();
    submit(&stream, copy(target.device, source.device, 64));
    stream.record(&event, 0).unwrap();
    let last = stream.clone();
    drop(stream);
    assert_eq!(event.query(), EventState::Pending);
    drop(last);
    assert_eq!(wait(&event), EventState::Complete);
    assert_eq!(seen(&target), [4; 64]);
    assert_eq!(device.close(patience()), 0);
}

#[test]
fn a_device_outlives_its_handle_while_a_stream_works() {
    let event;
    {
        let device = device();
        let stream = device.create_stream().unwrap();
        let memory = device.allocate(MemoryKind::Device, 1 << 20).unwrap();
        event = device.create_event();
        submit(&stream, Op::Delay { ns: 5_000_000 });
        submit(&stream, Op::Fill { dst: memory.device, width: 8, value: 1, count: 1 << 17 });
        stream.record(&event, 0).unwrap();
    }
    assert_eq!(wait(&event), EventState::Complete);
}

#[test]
fn close_drains_and_takes_no_more() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let event = device.create_event();
    let memory = device.allocate(MemoryKind::Device, 64).unwrap();
    submit(&stream, Op::Delay { ns: 2_000_000 });
    stream.record(&event, 0).unwrap();
    assert_eq!(device.close(None), 0);
    assert_eq!(event.query(), EventState::Complete);
    assert_eq!(try_submit(&stream, Op::Delay { ns: 0 }, 0), Err(Fault::Closed));
    assert_eq!(stream.record(&event, 0), Err(Fault::Closed));
    assert_eq!(stream.wait_event(&event), Err(Fault::Closed));
    assert_eq!(device.allocate(MemoryKind::Device, 1), Err(Fault::Closed));
    assert_eq!(device.create_stream().err(), Some(Fault::Closed));
    stream.synchronize(now()).unwrap();
    device.free(memory.device).unwrap();
    assert_eq!(device.close(None), 0);
}

#[test]
fn close_tells_how_many_workers_are_late() {
    let device = device();
    let (held, free) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    held.hold();
    submit(&held, Op::Delay { ns: 0 });
    submit(&free, Op::Delay { ns: 0 });
    device.synchronize(now()).unwrap_err();
    free.synchronize(patience()).unwrap();
    assert_eq!(device.close(Some(Instant::now() + Duration::from_millis(200))), 1);
    assert_eq!(device.close(now()), 1);
    held.release();
    assert_eq!(device.close(patience()), 0);
}

#[test]
fn delays_and_links_take_their_time() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 1000, 1);
    let target = device.allocate(MemoryKind::Device, 1000).unwrap();
    device.set_delay(Delay::Fixed { ns: 1_000_000 });
    device.set_link(2_000_000, 1_000_000);
    let start = Instant::now();
    submit(&stream, copy(target.device, source.device, 1000));
    submit(&stream, Op::Delay { ns: 3_000_000 });
    stream.synchronize(patience()).unwrap();
    // Two waits of 1 ms, 2 ms of latency, 1 ms for the bytes and 3 ms.
    assert!(start.elapsed() >= Duration::from_millis(8));
}

#[test]
fn time_inside_is_counted_for_the_calling_thread() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let before = time_inside_ns();
    submit(&stream, Op::Delay { ns: 5_000_000 });
    stream.synchronize(patience()).unwrap();
    let inside = time_inside_ns() - before;
    assert!(inside >= 4_000_000, "{inside}");
    std::thread::spawn(|| assert_eq!(time_inside_ns(), 0)).join().unwrap();
}

#[test]
fn stream_numbers_are_never_used_twice() {
    let device = device();
    let mut last = 0;
    for _ in 0..20 {
        let stream = device.create_stream().unwrap();
        assert!(stream.id() > last);
        last = stream.id();
    }
}

#[test]
fn a_call_cannot_wait_for_its_own_stream() {
    static STREAM: std::sync::OnceLock<gpubuf_engine::Stream> = std::sync::OnceLock::new();
    fn wait_for_self(_: &View<'_>, _: [usize; 2]) {
        let stream = STREAM.get().unwrap();
        assert_eq!(stream.synchronize(None), Err(Fault::InvalidValue));
        assert_eq!(stream.device().synchronize(None), Err(Fault::InvalidValue));
        assert_eq!(stream.device().close(None), 1);
    }
    let device = device();
    let stream = STREAM.get_or_init(|| device.create_stream().unwrap());
    let event = device.create_event();
    stream.hold();
    try_submit(stream, Op::Call { function: wait_for_self, arguments: [0; 2] }, 1).unwrap();
    stream.record(&event, 1).unwrap();
    stream.release();
    assert_eq!(wait(&event), EventState::Complete);
}

#[test]
fn whoever_saw_the_last_record_finds_the_stream_done() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let event = device.create_event();
    for _ in 0..2000 {
        stream.record(&event, 0).unwrap();
        event.wait(None).unwrap();
        assert_eq!(stream.query(), Ok(true));
    }
}
