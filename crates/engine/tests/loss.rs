//! A device that goes away.

mod common;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use gpubuf_engine::{EventState, Fault, MemoryKind, Op, View};

const AGES: u64 = 3_600_000_000_000;

#[test]
fn loss_drops_queued_work_and_keeps_what_is_complete() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 64, 1);
    let target = pinned(&device, 64, 0);
    let [done, queued, never] = [(); 3].map(|()| device.create_event());
    stream.record(&done, 0).unwrap();
    assert_eq!(wait(&done), EventState::Complete);
    stream.hold();
    submit(&stream, copy(target.device, source.device, 64));
    stream.record(&queued, 0).unwrap();
    let waiter = std::thread::spawn({
        let queued = queued.clone();
        move || queued.wait(None)
    });
    let synchronizer = std::thread::spawn({
        let stream = stream.clone();
        move || stream.synchronize(None)
    });
    device.lose();
    assert!(device.is_lost());
    assert_eq!(queued.query(), EventState::Lost);
    assert_eq!(done.query(), EventState::Complete);
    assert_eq!(never.query(), EventState::Complete);
    assert_eq!(waiter.join().unwrap(), Ok(EventState::Lost));
    assert_eq!(synchronizer.join().unwrap(), Err(Fault::DeviceLost));
    assert_eq!(try_submit(&stream, Op::Delay { ns: 0 }, 0), Err(Fault::DeviceLost));
    assert_eq!(stream.record(&done, 0), Err(Fault::DeviceLost));
    assert_eq!(stream.wait_event(&done), Err(Fault::DeviceLost));
    assert_eq!(device.allocate(MemoryKind::Device, 1), Err(Fault::DeviceLost));
    assert_eq!(device.create_stream().err(), Some(Fault::DeviceLost));
    assert_eq!(device.synchronize(None), Err(Fault::DeviceLost));
    assert_eq!(seen(&target), [0; 64]);
    // The worker may be at the end of the record.
    until(|| stream.is_idle());
    assert_eq!(device.close(None), 0);
    device.free(source.device).unwrap();
    device.free(target.device).unwrap();
    assert_eq!(device.memory_used(MemoryKind::Pinned), 0);
    let counters = device.counters();
    assert_eq!((counters.dropped.copy, counters.dropped.record, counters.frees_in_use), (1, 1, 0));
    device.lose();
}

static STARTED: AtomicBool = AtomicBool::new(false);

fn start(_: &View<'_>, _: [usize; 2]) {
    STARTED.store(true, Ordering::Release);
}

#[test]
fn loss_stops_running_operations() {
    let lost = device();
    let source = pinned(&lost, 64, 1);
    let target = lost.allocate(MemoryKind::Device, 64).unwrap();
    lost.set_link(AGES, 1);
    let streams: Vec<_> = (0..3).map(|_| lost.create_stream().unwrap()).collect();
    let other = device();
    let elsewhere = other.create_stream().unwrap();
    let foreign = other.create_event();
    elsewhere.hold();
    elsewhere.record(&foreign, 0).unwrap();
    let events: Vec<_> = streams.iter().map(|_| lost.create_event()).collect();
    submit(&streams[0], copy(target.device, source.device, 64));
    submit(&streams[1], Op::Call { function: start, arguments: [0; 2] });
    submit(&streams[1], Op::Delay { ns: AGES });
    // A wait for an event of a device that is not lost.
    streams[2].wait_event(&foreign).unwrap();
    for (stream, event) in streams.iter().zip(&events) {
        stream.record(event, 0).unwrap();
    }
    until(|| STARTED.load(Ordering::Acquire) && lost.counters().executed.call == 1);
    // Long enough for the workers to be asleep in their operations; the result is the same if they are not.
    std::thread::sleep(std::time::Duration::from_millis(5));
    lost.lose();
    assert!(events.iter().all(|event| event.query() == EventState::Lost));
    assert_eq!(lost.close(None), 0);
    assert_eq!(lost.counters().bytes_to_device, 0);
    assert_eq!(lost.counters().dropped.total(), 6);
    elsewhere.release();
    assert_eq!(wait(&foreign), EventState::Complete);
}

#[test]
fn a_wait_for_a_lost_device_passes_as_failed() {
    let (lost, other) = (device(), device());
    let (here, there) = (lost.create_stream().unwrap(), other.create_stream().unwrap());
    let event = lost.create_event();
    here.hold();
    here.record(&event, 0).unwrap();
    there.wait_event(&event).unwrap();
    lost.lose();
    there.synchronize(patience()).unwrap();
    assert_eq!(other.counters().failed.wait, 1);
}

#[test]
fn loss_during_each_moment_of_a_record_ends_it_once() {
    for round in 0..200 {
        let device = device();
        let stream = device.create_stream().unwrap();
        let event = device.create_event();
        for _ in 0..round % 20 {
            submit(&stream, Op::Delay { ns: 1000 });
        }
        stream.record(&event, 0).unwrap();
        device.lose();
        let state = event.query();
        assert!(matches!(state, EventState::Lost | EventState::Complete));
        assert_eq!(device.close(None), 0);
        assert_eq!(event.query(), state);
    }
}
