//! What captures do not allow.

mod common;
use common::*;
use gpubuf_engine::{CaptureMode, CaptureStatus, Event, EventState, FailWhen, Fault, MemoryKind, Op, OpKind, Stream};

const NOTHING: Op = Op::Delay { ns: 0 };

/// Two streams in one capture, the second by an event of the first.
fn forked(device: &gpubuf_engine::Device) -> (Stream, Stream, Event) {
    let (main, side) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let fork = device.create_event();
    begin(&main);
    main.record(&fork, 0).unwrap();
    side.wait_event(&fork).unwrap();
    (main, side, fork)
}

#[test]
fn looks_at_a_capturing_stream_invalidate_its_capture() {
    let device = device();
    let stream = device.create_stream().unwrap();
    for look in [
        |stream: &Stream| stream.query().map(drop),
        |stream: &Stream| stream.synchronize(now()),
        |stream: &Stream| stream.device().synchronize(now()),
    ] {
        begin(&stream);
        assert_eq!(look(&stream), Err(Fault::CaptureUnsupported));
        end_invalid(&stream);
        assert_eq!(look(&stream), Ok(()));
    }
    // A look from a joined stream, too.
    let (main, side, _) = forked(&device);
    assert_eq!(side.query(), Err(Fault::CaptureUnsupported));
    end_invalid(&main);
    // Other devices are not concerned.
    begin(&stream);
    common::device().synchronize(now()).unwrap();
    assert!(stream.is_idle() && is_active(&stream));
}

#[test]
fn an_invalid_capture_refuses_every_use_until_it_is_ended() {
    let device = device();
    let (main, side, fork) = forked(&device);
    let (outside, other) = (device.create_event(), device.create_stream().unwrap());
    submit(&main, NOTHING);
    main.query().unwrap_err();
    for stream in [&main, &side] {
        assert_eq!(try_submit(stream, NOTHING, 0), Err(Fault::CaptureInvalidated));
        assert_eq!(stream.record(&outside, 0), Err(Fault::CaptureInvalidated));
        assert_eq!(stream.wait_event(&outside), Err(Fault::CaptureInvalidated));
        assert_eq!(stream.query(), Err(Fault::CaptureInvalidated));
        assert_eq!(stream.synchronize(now()), Err(Fault::CaptureInvalidated));
        assert_eq!(stream.begin_capture(CaptureMode::ThreadLocal), Err(Fault::CaptureInvalidated));
    }
    assert_eq!(other.wait_event(&fork), Err(Fault::CaptureInvalidated));
    assert!(device.is_capturing());
    assert_eq!(device.synchronize(now()), Err(Fault::CaptureUnsupported));
    end_invalid(&main);
    assert_eq!(side.capture_status(), CaptureStatus::None);
    assert!(!outside.is_captured());
    device.synchronize(patience()).unwrap();
    assert_eq!(device.counters().submitted.total(), 0);
}

#[test]
fn looks_at_a_captured_event_invalidate_its_capture() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let event = device.create_event();
    begin(&stream);
    stream.record(&event, 0).unwrap();
    assert!(event.is_captured() && is_active(&stream));
    assert_eq!(event.query(), EventState::Captured);
    end_invalid(&stream);
    begin(&stream);
    stream.record(&event, 0).unwrap();
    assert_eq!(event.wait(None), Err(Fault::CapturedEvent));
    end_invalid(&stream);
    // It stays captured when the capture has ended, and is of no use to other streams.
    assert_eq!(event.query(), EventState::Captured);
    assert_eq!(event.wait(None), Err(Fault::CapturedEvent));
    assert_eq!(stream.wait_event(&event), Err(Fault::CapturedEvent));
    assert_eq!(stream.capture_status(), CaptureStatus::None);
    // Another capture does not suffer from that.
    begin(&stream);
    event.query();
    assert!(is_active(&stream));
}

#[test]
fn a_capture_does_not_wait_for_work_outside() {
    let device = device();
    let (stream, other) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let [never, outside, ended] = [(); 3].map(|()| device.create_event());
    other.record(&outside, 0).unwrap();
    assert_eq!(wait(&outside), EventState::Complete);
    begin(&other);
    other.record(&ended, 0).unwrap();
    other.end_capture().unwrap();
    for event in [&outside, &ended] {
        begin(&stream);
        // That there is nothing to wait for is no crossing of the capture's border.
        stream.wait_event(&never).unwrap();
        assert!(is_active(&stream));
        assert_eq!(stream.wait_event(event), Err(Fault::CaptureIsolation));
        end_invalid(&stream);
    }
}

#[test]
fn captures_do_not_merge() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    begin(&first);
    begin(&second);
    first.record(&event, 0).unwrap();
    assert_eq!(second.wait_event(&event), Err(Fault::CaptureMerge));
    end_invalid(&first);
    end_invalid(&second);
}

#[test]
fn only_the_stream_that_began_ends() {
    let device = device();
    let (main, side, _) = forked(&device);
    assert_eq!(side.end_capture().err(), Some(Fault::CaptureUnmatched));
    assert!(is_active(&main) && is_active(&side));
    main.end_capture().unwrap();
    assert_eq!(main.end_capture().err(), Some(Fault::InvalidValue));
    assert_eq!(side.end_capture().err(), Some(Fault::InvalidValue));
}

#[test]
fn work_of_joined_streams_must_be_joined_back() {
    let device = device();
    let (main, side, _) = forked(&device);
    let join = device.create_event();
    submit(&side, NOTHING);
    side.record(&join, 0).unwrap();
    main.wait_event(&join).unwrap();
    // After the join.
    submit(&side, NOTHING);
    assert_eq!(main.end_capture().err(), Some(Fault::CaptureUnjoined));
    for stream in [&main, &side] {
        assert_eq!(stream.capture_status(), CaptureStatus::None);
        submit(stream, NOTHING);
        stream.synchronize(patience()).unwrap();
    }
}

#[test]
fn only_the_thread_that_began_ends_unless_relaxed() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let end_elsewhere = || {
        let stream = stream.clone();
        std::thread::spawn(move || stream.end_capture().err()).join().unwrap()
    };
    begin(&stream);
    assert_eq!(end_elsewhere(), Some(Fault::CaptureWrongThread));
    assert!(is_active(&stream));
    submit(&stream, NOTHING);
    assert_eq!(stream.end_capture().unwrap().nodes(), [OpKind::Delay]);
    stream.begin_capture(CaptureMode::Relaxed).unwrap();
    assert_eq!(end_elsewhere(), None);
}

#[test]
fn a_stream_captures_once_at_a_time() {
    let device = device();
    let (main, side, _) = forked(&device);
    for stream in [&main, &side] {
        assert_eq!(stream.begin_capture(CaptureMode::ThreadLocal), Err(Fault::InvalidValue));
    }
    main.end_capture().unwrap();
    begin(&side);
    side.end_capture().unwrap();
}

#[test]
fn refused_calls_leave_a_capture_whole() {
    let device = device();
    let (main, side) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    let target = device.allocate(MemoryKind::Device, 8).unwrap();
    begin(&main);
    submit(&main, NOTHING);
    device.fail_operation(Some(OpKind::Copy), 1, FailWhen::Submission);
    device.fail_operation(Some(OpKind::Record), 1, FailWhen::Submission);
    device.fail_operation(Some(OpKind::Wait), 1, FailWhen::Submission);
    assert_eq!(try_submit(&main, copy(target.device, target.device, 8), 0), Err(Fault::OperationFailed));
    assert_eq!(main.record(&event, 0), Err(Fault::OperationFailed));
    assert!(!event.is_captured());
    main.record(&event, 0).unwrap();
    assert_eq!(side.wait_event(&event), Err(Fault::OperationFailed));
    assert_eq!(side.capture_status(), CaptureStatus::None);
    let stray = copy(target.device + 8, target.device, 8);
    assert_eq!(try_submit(&main, stray, 0), Err(Fault::InvalidAddress));
    assert!(is_active(&main));
    assert_eq!(main.end_capture().unwrap().nodes(), [OpKind::Delay]);
    let refused = device.counters().refused;
    assert_eq!((refused.copy, refused.record, refused.wait), (1, 1, 1));
}

#[test]
fn the_end_of_a_stream_ends_its_capture() {
    let device = device();
    // The one that began.
    let (main, side, fork) = forked(&device);
    let last = main.clone();
    drop(main);
    assert!(is_active(&side));
    drop(last);
    assert_eq!(side.capture_status(), CaptureStatus::None);
    assert!(!device.is_capturing());
    assert_eq!(side.wait_event(&fork), Err(Fault::CapturedEvent));
    submit(&side, NOTHING);
    side.synchronize(patience()).unwrap();
    // One that joined.
    let (main, side, fork) = forked(&device);
    drop((side, fork));
    end_invalid(&main);
    assert_eq!(device.close(patience()), 0);
}

#[test]
fn loss_and_close_end_captures() {
    for lose in [true, false] {
        let (device, other) = (device(), device());
        let fault = if lose { Fault::DeviceLost } else { Fault::Closed };
        let (main, side, fork) = forked(&device);
        // A capture of another device, which this device's streams joined.
        let (foreign, joined) = (other.create_stream().unwrap(), device.create_stream().unwrap());
        let event = other.create_event();
        begin(&foreign);
        foreign.record(&event, 0).unwrap();
        joined.wait_event(&event).unwrap();
        if lose {
            device.lose();
        } else {
            assert_eq!(device.close(patience()), 0);
        }
        for stream in [&main, &side, &joined] {
            assert_eq!(stream.capture_status(), CaptureStatus::None);
            assert_eq!(stream.end_capture().err(), Some(fault));
            assert_eq!(stream.begin_capture(CaptureMode::ThreadLocal), Err(fault));
            assert_eq!(try_submit(stream, NOTHING, 0), Err(fault));
        }
        assert!(!device.is_capturing() && fork.is_captured());
        end_invalid(&foreign);
    }
}

#[test]
fn a_replay_on_a_lost_device_is_refused_or_dropped() {
    let device = device();
    let stream = device.create_stream().unwrap();
    begin(&stream);
    submit(&stream, NOTHING);
    submit(&stream, NOTHING);
    let exec = stream.end_capture().unwrap().instantiate();
    stream.hold();
    stream.launch(&exec, 0).unwrap();
    device.lose();
    assert_eq!(device.counters().dropped.delay, 2);
    assert_eq!(stream.launch(&exec, 0), Err(Fault::DeviceLost));
    assert_eq!(stream.query(), Err(Fault::DeviceLost));
    assert_eq!(device.close(None), 0);
}

#[test]
fn a_crowd_neither_hangs_nor_leaves_captures_behind() {
    let device = device();
    let streams: Vec<_> = (0..3).map(|_| device.create_blocking_stream().unwrap()).collect();
    let legacy = device.legacy_stream().unwrap();
    let event = device.create_event();
    let ignore = |_: Result<(), Fault>| {};
    std::thread::scope(|scope| {
        for own in 0..3 {
            let (streams, legacy, event, device) = (&streams, &legacy, &event, &device);
            scope.spawn(move || {
                for round in 0..500 {
                    let (stream, next) = (&streams[own], &streams[(own + round) % 3]);
                    // Each of these succeeds or is refused, depending on what the others are at.
                    ignore(stream.begin_capture(CaptureMode::Relaxed));
                    ignore(try_submit(stream, NOTHING, 0));
                    ignore(stream.record(event, 0));
                    ignore(next.wait_event(event));
                    ignore(try_submit(legacy, NOTHING, 0));
                    event.query();
                    ignore(stream.query().map(drop));
                    drop(device.create_blocking_stream().unwrap());
                    if let Ok(graph) = stream.end_capture() {
                        ignore(next.launch(&graph.instantiate(), 0));
                    }
                }
            });
        }
    });
    for stream in &streams {
        let _ = stream.end_capture();
    }
    assert!(!device.is_capturing());
    device.synchronize(patience()).unwrap();
    let counters = device.counters();
    assert_eq!(counters.submitted, counters.executed);
}
