//! Values that streams wait for and write, and the time between events.

mod common;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::*;
use gpubuf_engine::{Allocation, Compare, EventState, FailWhen, Fault, MemoryKind, Op, OpKind};

fn word(memory: &Allocation) -> &AtomicU32 {
    // SAFETY: pinned memory of at least four bytes, page-aligned, that the tests do not free while they use it.
    unsafe { AtomicU32::from_ptr(memory.host.cast()) }
}

fn wait_value(address: u64, value: u32, compare: Compare) -> Op {
    Op::WaitValue { address, value, compare }
}

#[test]
fn a_stream_waits_for_a_value_of_the_cpu() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 4, 0);
    let (event, passed) = (device.create_event(), device.create_event());
    for (round, address) in [memory.device, memory.host as u64].into_iter().enumerate() {
        let value = round as u32 + 1;
        submit(&stream, wait_value(address, 0, Compare::AtLeast));
        stream.record(&passed, 0).unwrap();
        submit(&stream, wait_value(address, value, Compare::AtLeast));
        stream.record(&event, 0).unwrap();
        assert_eq!(wait(&passed), EventState::Complete);
        assert_eq!(event.query(), EventState::Pending);
        word(&memory).store(value, Ordering::Release);
        assert_eq!(wait(&event), EventState::Complete);
    }
    assert_eq!(device.counters().executed.of(OpKind::WaitValue), 4);
}

#[test]
fn a_stream_waits_for_a_value_of_another() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let flag = device.allocate(MemoryKind::Device, 8).unwrap();
    let (source, target) = (pinned(&device, 64, 1), pinned(&device, 64, 0));
    first.hold();
    submit(&first, copy(target.device, source.device, 64));
    submit(&first, Op::WriteValue { address: flag.device + 4, value: 7 });
    submit(&second, wait_value(flag.device + 4, 7, Compare::Equal));
    submit(&second, copy(source.device, target.device, 64));
    assert_eq!(second.synchronize(now()), Err(Fault::Timeout));
    set(&source, 5);
    first.release();
    second.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [5; 64]);
    assert_eq!(device.counters().executed.write_value, 1);
    assert_eq!(fetch(&device, flag.device, 8), [0u32.to_ne_bytes(), 7u32.to_ne_bytes()].concat());
}

#[test]
fn comparisons_are_those_of_the_driver() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 4, 0);
    for (compare, seen, value, passes) in [
        (Compare::AtLeast, 5, 5, true),
        (Compare::AtLeast, 6, 5, true),
        (Compare::AtLeast, 4, 5, false),
        // Cyclic: just after the numbers begin again is later than just before.
        (Compare::AtLeast, 1, u32::MAX, true),
        (Compare::AtLeast, u32::MAX, 1, false),
        (Compare::Equal, 5, 5, true),
        (Compare::Equal, 6, 5, false),
        (Compare::AnyBit, 0b110, 0b010, true),
        (Compare::AnyBit, 0b110, 0b001, false),
        (Compare::NoBit, 0b110, 0b001, true),
        (Compare::NoBit, 0xffff_0000, 0x0000_ffff, false),
    ] {
        let event = device.create_event();
        let passed = device.create_event();
        word(&memory).store(seen, Ordering::Release);
        submit(&stream, wait_value(memory.device, value, compare));
        stream.record(&event, 0).unwrap();
        if !passes {
            // The same value without effect on the stream, then one that lets it pass.
            stream.record(&passed, 0).unwrap();
            assert_eq!(event.wait(Some(std::time::Instant::now() + Duration::from_millis(2))), Err(Fault::Timeout));
            let good = if compare == Compare::NoBit { 0 } else { value };
            word(&memory).store(good, Ordering::Release);
        }
        assert_eq!(wait(&event), EventState::Complete, "{compare:?} of {seen} and {value}");
    }
}

#[test]
fn words_are_aligned_and_of_the_engines_memory() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = device.allocate(MemoryKind::Device, 64).unwrap();
    let mut own = 0u32;
    let foreign = &raw mut own as u64;
    for (address, fault) in [
        (0, Fault::InvalidValue),
        (memory.device + 2, Fault::InvalidValue),
        (memory.device + 64, Fault::InvalidAddress),
        (foreign, Fault::InvalidAddress),
    ] {
        assert_eq!(try_submit(&stream, wait_value(address, 0, Compare::Equal), 0), Err(fault));
        assert_eq!(try_submit(&stream, Op::WriteValue { address, value: 1 }, 0), Err(fault));
    }
    // Registered memory will do.
    // SAFETY: `own` outlives the work, and is looked at when that is done.
    let registered = unsafe { device.register((&raw mut own).cast(), 4) }.unwrap();
    submit(&stream, Op::WriteValue { address: registered.device, value: 9 });
    submit(&stream, wait_value(foreign, 9, Compare::Equal));
    stream.synchronize(patience()).unwrap();
    device.unregister(registered.host).unwrap();
    assert_eq!(own, 9);
}

#[test]
fn armed_faults_strike_waits_for_values() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 4, 0);
    let event = device.create_event();
    device.fail_operation(Some(OpKind::WaitValue), 1, FailWhen::Execution);
    device.fail_operation(Some(OpKind::WriteValue), 1, FailWhen::Submission);
    try_submit(&stream, wait_value(memory.device, 1, Compare::Equal), 1).unwrap();
    stream.record(&event, 1).unwrap();
    assert_eq!(wait(&event), EventState::Failed);
    let write = Op::WriteValue { address: memory.device, value: 1 };
    assert_eq!(try_submit(&stream, write, 0), Err(Fault::OperationFailed));
    let counters = device.counters();
    assert_eq!((counters.failed.wait_value, counters.refused.write_value), (1, 1));
}

#[test]
fn a_wait_that_does_not_end_is_late_at_close_and_ends_with_the_device() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 4, 0);
    let event = device.create_event();
    submit(&stream, wait_value(memory.device, 1, Compare::Equal));
    stream.record(&event, 0).unwrap();
    assert_eq!(device.close(Some(std::time::Instant::now() + Duration::from_millis(5))), 1);
    assert_eq!(event.query(), EventState::Pending);
    device.lose();
    assert_eq!(event.query(), EventState::Lost);
    assert_eq!(device.close(None), 0);
    assert_eq!(device.counters().dropped.total(), 2);
}

#[test]
fn a_replay_waits_for_values_and_writes_them() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 8, 0);
    begin(&stream);
    submit(&stream, wait_value(memory.device, 1, Compare::Equal));
    submit(&stream, Op::WriteValue { address: memory.device, value: 2 });
    let graph = stream.end_capture().unwrap();
    assert_eq!(graph.nodes(), [OpKind::WaitValue, OpKind::WriteValue]);
    let exec = graph.instantiate();
    for _ in 0..2 {
        stream.launch(&exec, 0).unwrap();
        assert_eq!(stream.synchronize(now()), Err(Fault::Timeout));
        word(&memory).store(1, Ordering::Release);
        stream.synchronize(patience()).unwrap();
        assert_eq!(word(&memory).load(Ordering::Acquire), 2);
    }
}

#[test]
fn the_time_between_events_is_that_between_their_ends() {
    let device = device();
    let (stream, other) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let [first, second, never] = [(); 3].map(|()| device.create_event());
    // Recorded in one order and ended in the other.
    stream.hold();
    stream.record(&second, 0).unwrap();
    other.record(&first, 0).unwrap();
    assert_eq!(wait(&first), EventState::Complete);
    assert_eq!(second.elapsed_since(&first), Err(Fault::InvalidValue));
    assert_eq!(first.elapsed_since(&second), Err(Fault::InvalidValue));
    let start = std::time::Instant::now();
    stream.release();
    assert_eq!(wait(&second), EventState::Complete);
    second.elapsed_since(&first).unwrap();
    assert_eq!(first.elapsed_since(&first), Ok(Duration::ZERO));
    // Backwards.
    assert_eq!(first.elapsed_since(&second), Err(Fault::InvalidValue));
    assert_eq!(first.elapsed_since(&never), Err(Fault::InvalidValue));
    assert_eq!(never.elapsed_since(&first), Err(Fault::InvalidValue));
    // The newest record counts, and the work between is in it.
    stream.record(&first, 0).unwrap();
    submit(&stream, Op::Delay { ns: 2_000_000 });
    stream.record(&second, 0).unwrap();
    assert_eq!(wait(&second), EventState::Complete);
    let elapsed = second.elapsed_since(&first).unwrap();
    assert!(elapsed >= Duration::from_millis(2) && elapsed <= start.elapsed(), "{elapsed:?}");
}

#[test]
fn events_that_did_not_complete_have_no_time() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let [good, bad] = [(); 2].map(|()| device.create_event());
    stream.record(&good, 0).unwrap();
    stream.record(&bad, 0).unwrap();
    assert_eq!(wait(&bad), EventState::Complete);
    bad.elapsed_since(&good).unwrap();
    device.fail_operation(Some(OpKind::Record), 1, FailWhen::Execution);
    stream.record(&bad, 0).unwrap();
    assert_eq!(wait(&bad), EventState::Failed);
    assert_eq!(bad.elapsed_since(&good), Err(Fault::InvalidValue));
    begin(&stream);
    stream.record(&bad, 0).unwrap();
    assert_eq!(bad.elapsed_since(&good), Err(Fault::InvalidValue));
    // A question about times disturbs no capture.
    assert!(is_active(&stream));
    stream.hold();
    stream.end_capture().unwrap();
    stream.record(&bad, 0).unwrap();
    assert_eq!(bad.elapsed_since(&good), Err(Fault::InvalidValue));
    device.lose();
    assert_eq!(bad.elapsed_since(&good), Err(Fault::InvalidValue));
}
