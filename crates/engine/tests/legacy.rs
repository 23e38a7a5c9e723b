//! The order between the legacy stream and blocking ones.

mod common;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use gpubuf_engine::{CaptureMode, CaptureStatus, Device, EventState, Fault, Op, OpKind, Stream, View};

const NOTHING: Op = Op::Delay { ns: 0 };

fn append_digit(view: &View<'_>, [address, digit]: [usize; 2]) {
    let mut bytes = [0; 8];
    view.read(address as u64, &mut bytes).unwrap();
    let value = u64::from_ne_bytes(bytes) * 10 + digit as u64;
    view.write(address as u64, &value.to_ne_bytes()).unwrap();
}

/// Checks whether what the second stream is given waits for another, which does not get to its end until `release`.
fn check_order(device: &Device, second: &Stream, waits: bool, release: impl FnOnce()) {
    let event = device.create_event();
    second.record(&event, 0).unwrap();
    if waits {
        // Time to go wrong in: however much it is, there is nothing that the second stream could do.
        let probe = device.create_stream().unwrap();
        for _ in 0..20 {
            submit(&probe, NOTHING);
            probe.synchronize(patience()).unwrap();
        }
        assert_eq!(event.query(), EventState::Pending);
    } else {
        assert_eq!(wait(&event), EventState::Complete);
    }
    release();
    assert_eq!(wait(&event), EventState::Complete);
    device.synchronize(patience()).unwrap();
}

fn check_order_with_held(device: &Device, first: &Stream, second: &Stream, waits: bool) {
    first.hold();
    submit(first, NOTHING);
    check_order(device, second, waits, || first.release());
}

#[test]
fn streams_know_what_they_are() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let (blocking, free) = (device.create_blocking_stream().unwrap(), device.create_stream().unwrap());
    let are = |stream: &Stream| (stream.is_legacy(), stream.is_blocking());
    assert_eq!([&legacy, &blocking, &free].map(are), [(true, false), (false, true), (false, false)]);
    assert_eq!(device.clone().legacy_stream().unwrap().id(), legacy.id());
    assert_eq!(blocking.device().legacy_stream().unwrap().id(), legacy.id());
    assert_ne!(common::device().legacy_stream().unwrap().id(), legacy.id());
}

#[test]
fn legacy_and_blocking_streams_wait_for_each_other_and_no_others_do() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let [first, second] = [(); 2].map(|()| device.create_blocking_stream().unwrap());
    let free = device.create_stream().unwrap();
    check_order_with_held(&device, &legacy, &first, true);
    check_order_with_held(&device, &first, &legacy, true);
    check_order_with_held(&device, &second, &legacy, true);
    check_order_with_held(&device, &first, &second, false);
    check_order_with_held(&device, &legacy, &free, false);
    check_order_with_held(&device, &free, &legacy, false);
    // Nor do those of another device.
    let other = common::device();
    check_order_with_held(&device, &legacy, &other.create_blocking_stream().unwrap(), false);
}

static STARTED: AtomicBool = AtomicBool::new(false);
static MAY_END: AtomicBool = AtomicBool::new(false);

fn take_long(_: &View<'_>, _: [usize; 2]) {
    STARTED.store(true, Ordering::Release);
    until(|| MAY_END.load(Ordering::Acquire));
}

#[test]
fn work_that_runs_is_waited_for() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let blocking = device.create_blocking_stream().unwrap();
    for (first, second) in [(&legacy, &blocking), (&blocking, &legacy)] {
        STARTED.store(false, Ordering::Release);
        MAY_END.store(false, Ordering::Release);
        submit(first, Op::Call { function: take_long, arguments: [0; 2] });
        until(|| STARTED.load(Ordering::Acquire));
        check_order(&device, second, true, || MAY_END.store(true, Ordering::Release));
    }
}

#[test]
fn work_submitted_later_is_not_waited_for() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let blocking = device.create_blocking_stream().unwrap();
    for (first, second) in [(&legacy, &blocking), (&blocking, &legacy)] {
        let event = device.create_event();
        first.record(&event, 0).unwrap();
        second.hold();
        submit(second, NOTHING);
        assert_eq!(wait(&event), EventState::Complete);
        second.release();
        second.synchronize(patience()).unwrap();
    }
}

#[test]
fn work_from_before_the_legacy_stream_is_waited_for() {
    let device = device();
    let blocking = device.create_blocking_stream().unwrap();
    blocking.hold();
    submit(&blocking, NOTHING);
    let legacy = device.legacy_stream().unwrap();
    submit(&legacy, NOTHING);
    assert_eq!(legacy.synchronize(now()), Err(Fault::Timeout));
    blocking.release();
    legacy.synchronize(patience()).unwrap();
    assert!(blocking.is_idle());
}

#[test]
fn what_is_submitted_in_turn_runs_in_turn() {
    let device = device();
    let streams = [
        device.create_blocking_stream().unwrap(),
        device.legacy_stream().unwrap(),
        device.create_blocking_stream().unwrap(),
        device.legacy_stream().unwrap(),
    ];
    let memory = pinned(&device, 8, 0);
    for round in 0..50 {
        set(&memory, 0);
        // The first to be submitted to is held, so that all of them queue.
        streams[0].hold();
        for digit in 1..=8 {
            let arguments = [memory.device as usize, digit];
            submit(&streams[(digit - 1) % 4], Op::Call { function: append_digit, arguments });
        }
        assert_eq!(seen(&memory), [0; 8]);
        streams[0].release();
        streams[3].synchronize(patience()).unwrap();
        assert_eq!(seen(&memory), 12345678u64.to_ne_bytes(), "round {round}");
    }
}

#[test]
fn a_wait_for_a_record_on_another_of_them_is_no_circle() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let streams = [device.create_blocking_stream().unwrap(), device.create_blocking_stream().unwrap()];
            let (legacy, event) = (legacy.clone(), device.create_event());
            std::thread::spawn(move || {
                for round in 0..300 {
                    streams[round % 2].record(&event, 0).unwrap();
                    legacy.wait_event(&event).unwrap();
                    streams[(round + 1) % 2].wait_event(&event).unwrap();
                    legacy.record(&event, 0).unwrap();
                }
                streams.iter().for_each(|stream| stream.synchronize(patience()).unwrap());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    legacy.synchronize(patience()).unwrap();
}

#[test]
fn the_legacy_stream_ends_with_the_last_handle() {
    let mut memory = [0u8; 64];
    let (start, bytes) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: no operation names the memory.
    let register = |device: &Device| unsafe { device.register(start, bytes) };
    let first = device();
    register(&first).unwrap();
    let stream = first.create_stream().unwrap();
    let legacy = first.legacy_stream().unwrap();
    legacy.hold();
    submit(&legacy, NOTHING);
    drop((first, legacy));
    assert_eq!(register(&device()), Err(Fault::AlreadyRegistered));
    drop(stream);
    // The device's memory goes with its last worker.
    until(|| register(&device()).is_ok());
}

#[test]
fn a_look_at_the_legacy_stream_is_one_at_blocking_streams() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let (blocking, free) = (device.create_blocking_stream().unwrap(), device.create_stream().unwrap());
    free.hold();
    submit(&free, NOTHING);
    assert_eq!(legacy.query(), Ok(true));
    legacy.synchronize(patience()).unwrap();
    blocking.hold();
    submit(&blocking, NOTHING);
    assert_eq!(legacy.query(), Ok(false));
    assert_eq!(legacy.synchronize(now()), Err(Fault::Timeout));
    assert!(legacy.is_idle());
    blocking.release();
    legacy.synchronize(patience()).unwrap();
    assert_eq!(legacy.query(), Ok(true));
    assert_eq!(blocking.query(), Ok(true));
}

#[test]
fn a_dropped_stream_is_still_waited_for() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let blocking = device.create_blocking_stream().unwrap();
    let target = pinned(&device, 1, 0);
    let fill = |value| Op::Fill { dst: target.device, width: 1, value, count: 1 };
    blocking.hold();
    submit(&blocking, Op::Delay { ns: 1_000_000 });
    submit(&blocking, fill(1));
    submit(&legacy, fill(2));
    drop(blocking);
    legacy.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [2]);
    // Handles of the legacy stream come and go.
    drop(legacy);
    let legacy = device.legacy_stream().unwrap();
    submit(&legacy, NOTHING);
    legacy.synchronize(patience()).unwrap();
    drop((legacy, device));
}

#[test]
fn loss_and_close_find_streams_that_wait_for_each_other() {
    let lost = device();
    let (legacy, blocking) = (lost.legacy_stream().unwrap(), lost.create_blocking_stream().unwrap());
    let event = lost.create_event();
    blocking.hold();
    submit(&blocking, NOTHING);
    legacy.record(&event, 0).unwrap();
    lost.lose();
    assert_eq!(event.query(), EventState::Lost);
    assert_eq!(lost.close(None), 0);

    let closed = device();
    let (legacy, blocking) = (closed.legacy_stream().unwrap(), closed.create_blocking_stream().unwrap());
    legacy.hold();
    submit(&legacy, NOTHING);
    submit(&blocking, NOTHING);
    assert_eq!(closed.close(now()), 2);
    assert_eq!(try_submit(&legacy, NOTHING, 0), Err(Fault::Closed));
    legacy.release();
    assert_eq!(closed.close(patience()), 0);
    assert_eq!(common::device().legacy_stream().unwrap().device().close(patience()), 0);
}

#[test]
fn a_replay_keeps_the_order() {
    let device = device();
    let (legacy, blocking) = (device.legacy_stream().unwrap(), device.create_blocking_stream().unwrap());
    let target = pinned(&device, 1, 0);
    begin(&blocking);
    submit(&blocking, Op::Fill { dst: target.device, width: 1, value: 5, count: 1 });
    let exec = blocking.end_capture().unwrap().instantiate();
    legacy.hold();
    submit(&legacy, Op::Fill { dst: target.device, width: 1, value: 4, count: 1 });
    blocking.launch(&exec, 0).unwrap();
    assert_eq!(blocking.synchronize(now()), Err(Fault::Timeout));
    legacy.release();
    blocking.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [5]);
}

#[test]
fn the_legacy_stream_does_not_capture() {
    let device = device();
    let (legacy, free) = (device.legacy_stream().unwrap(), device.create_stream().unwrap());
    for mode in [CaptureMode::ThreadLocal, CaptureMode::Relaxed] {
        assert_eq!(legacy.begin_capture(mode), Err(Fault::CaptureUnsupported));
    }
    assert_eq!(legacy.end_capture().err(), Some(Fault::InvalidValue));
    let event = device.create_event();
    begin(&free);
    free.record(&event, 0).unwrap();
    assert_eq!(legacy.wait_event(&event), Err(Fault::CaptureUnsupported));
    assert_eq!(legacy.capture_status(), CaptureStatus::None);
    end_invalid(&free);
}

#[test]
fn a_capture_of_a_blocking_stream_forbids_the_legacy_stream() {
    let device = device();
    let legacy = device.legacy_stream().unwrap();
    let (blocking, free) = (device.create_blocking_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    begin(&free);
    let empty = free.end_capture().unwrap().instantiate();
    let uses: [&dyn Fn() -> Result<(), Fault>; 6] = [
        &|| try_submit(&legacy, NOTHING, 0),
        &|| legacy.record(&event, 0),
        &|| legacy.wait_event(&event),
        &|| legacy.launch(&empty, 0),
        &|| legacy.query().map(drop),
        &|| legacy.synchronize(patience()),
    ];
    for (number, forbidden) in uses.iter().enumerate() {
        begin(&blocking);
        assert_eq!(forbidden(), Err(Fault::CaptureImplicit), "use {number}");
        end_invalid(&blocking);
        // A stream that has no order with the legacy one does not mind, nor does a relaxed capture.
        begin(&free);
        forbidden().unwrap();
        free.end_capture().unwrap();
        blocking.begin_capture(CaptureMode::Relaxed).unwrap();
        forbidden().unwrap();
        blocking.end_capture().unwrap();
    }
    // A blocking stream that joined counts as well; streams of another device do not.
    begin(&free);
    free.record(&event, 0).unwrap();
    blocking.wait_event(&event).unwrap();
    let other = common::device();
    submit(&other.legacy_stream().unwrap(), NOTHING);
    other.legacy_stream().unwrap().synchronize(patience()).unwrap();
    assert!(is_active(&blocking));
    assert_eq!(try_submit(&legacy, NOTHING, 0), Err(Fault::CaptureImplicit));
    end_invalid(&free);
    assert_eq!(device.counters().submitted.of(OpKind::Delay), 2);
}
