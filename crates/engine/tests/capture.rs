//! Captures that go well, and what a replay does.

mod common;
use common::*;
use gpubuf_engine::{CaptureStatus, Delay, EventState, FailWhen, Fault, Op, OpKind, Pageable, View};

#[test]
fn a_capture_runs_nothing_and_a_replay_does() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 64, 1);
    let target = pinned(&device, 64, 0);
    assert_eq!(stream.capture_status(), CaptureStatus::None);
    begin(&stream);
    assert!(is_active(&stream) && device.is_capturing());
    submit(&stream, copy(target.device, source.device, 64));
    submit(&stream, Op::Fill { dst: target.device, width: 1, value: 9, count: 1 });
    assert!(stream.is_idle());
    let graph = stream.end_capture().unwrap();
    assert_eq!(stream.capture_status(), CaptureStatus::None);
    assert!(!device.is_capturing());
    assert_eq!(graph.nodes(), [OpKind::Copy, OpKind::Fill]);
    assert_eq!(device.counters().submitted.total(), 0);
    assert_eq!(seen(&target), [0; 64]);

    let exec = graph.instantiate();
    drop(graph);
    for value in [2, 3] {
        stream.hold();
        stream.launch(&exec, 0).unwrap();
        // The bytes are those of the moment when the replay runs.
        set(&source, value);
        stream.release();
        stream.synchronize(patience()).unwrap();
        let mut expected = [value; 64];
        expected[0] = 9;
        assert_eq!(seen(&target), expected);
    }
    let counters = device.counters();
    assert_eq!((counters.executed.copy, counters.executed.fill, counters.executed.total()), (2, 2, 4));
    assert_eq!(counters.submitted, counters.executed);
}

#[test]
fn captures_have_numbers_of_their_own() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let number = || {
        begin(&stream);
        let CaptureStatus::Active { id } = stream.capture_status() else { panic!("no capture") };
        stream.end_capture().unwrap();
        id
    };
    let first = number();
    assert!(first > 0 && number() > first);
}

#[test]
fn a_replay_reads_pageable_memory_when_it_runs() {
    let device = device();
    device.set_pageable(Pageable::Staged);
    let stream = device.create_stream().unwrap();
    let target = pinned(&device, 8, 0);
    let mut source = [1u8; 8];
    begin(&stream);
    submit(&stream, copy(target.device, source.as_ptr() as u64, 8));
    let exec = stream.end_capture().unwrap().instantiate();
    stream.hold();
    stream.launch(&exec, 0).unwrap();
    source.fill(5);
    stream.release();
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [5; 8]);
}

#[test]
fn work_queued_before_a_capture_runs_during_it() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let target = pinned(&device, 4, 0);
    let event = device.create_event();
    stream.hold();
    submit(&stream, Op::Fill { dst: target.device, width: 4, value: 7, count: 1 });
    stream.record(&event, 0).unwrap();
    begin(&stream);
    // Holds, releases and delays concern execution and do not disturb a capture.
    device.set_delay(Delay::Fixed { ns: 1 });
    stream.release();
    assert_eq!(wait(&event), EventState::Complete);
    assert_eq!(seen(&target), 7u32.to_ne_bytes());
    assert!(is_active(&stream));
    assert!(stream.end_capture().unwrap().nodes().is_empty());
}

#[test]
fn an_empty_graph_launches_nothing() {
    let device = device();
    let stream = device.create_stream().unwrap();
    begin(&stream);
    let exec = stream.end_capture().unwrap().instantiate();
    stream.launch(&exec, 0).unwrap();
    stream.synchronize(patience()).unwrap();
    assert_eq!(device.counters().submitted.total(), 0);
}

fn append_digit(view: &View<'_>, [address, digit]: [usize; 2]) {
    let mut bytes = [0; 8];
    view.read(address as u64, &mut bytes).unwrap();
    let value = u64::from_ne_bytes(bytes) * 10 + digit as u64;
    view.write(address as u64, &value.to_ne_bytes()).unwrap();
}

#[test]
fn streams_fork_into_a_capture_and_join_back() {
    let device = device();
    let (main, side) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let memory = pinned(&device, 8, 0);
    let digit = |stream, digit| {
        submit(stream, Op::Call { function: append_digit, arguments: [memory.device as usize, digit] });
    };
    let (fork, join) = (device.create_event(), device.create_event());
    begin(&main);
    digit(&main, 1);
    main.record(&fork, 0).unwrap();
    assert!(fork.is_captured());
    side.wait_event(&fork).unwrap();
    assert_eq!(side.capture_status(), main.capture_status());
    assert!(side.is_idle());
    digit(&side, 2);
    side.record(&join, 0).unwrap();
    main.wait_event(&join).unwrap();
    // Twice is once.
    main.wait_event(&join).unwrap();
    digit(&main, 3);
    let graph = main.end_capture().unwrap();
    assert_eq!(side.capture_status(), CaptureStatus::None);
    assert_eq!(graph.nodes(), [OpKind::Call; 3]);
    // The events still stand for moments of the capture, until they are recorded elsewhere.
    assert!(fork.is_captured() && join.is_captured());

    main.launch(&graph.instantiate(), 0).unwrap();
    main.synchronize(patience()).unwrap();
    assert_eq!(seen(&memory), 123u64.to_ne_bytes());
}

#[test]
fn a_stream_goes_on_from_where_the_event_was_recorded() {
    let device = device();
    let [main, first, second] = [(); 3].map(|()| device.create_stream().unwrap());
    let [fork, middle, join] = [(); 3].map(|()| device.create_event());
    begin(&main);
    main.record(&fork, 0).unwrap();
    first.wait_event(&fork).unwrap();
    submit(&first, Op::Delay { ns: 0 });
    first.record(&middle, 0).unwrap();
    second.wait_event(&middle).unwrap();
    submit(&second, Op::Delay { ns: 0 });
    second.record(&join, 0).unwrap();
    // What the first stream did is joined by way of the second.
    main.wait_event(&join).unwrap();
    assert_eq!(main.end_capture().unwrap().nodes(), [OpKind::Delay; 2]);
}

#[test]
fn a_stream_that_joined_and_did_nothing_need_not_join_back() {
    let device = device();
    let (main, side) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let fork = device.create_event();
    begin(&main);
    submit(&main, Op::Delay { ns: 0 });
    main.record(&fork, 0).unwrap();
    side.wait_event(&fork).unwrap();
    assert_eq!(main.end_capture().unwrap().nodes(), [OpKind::Delay]);
    assert_eq!(side.capture_status(), CaptureStatus::None);
    submit(&side, Op::Delay { ns: 0 });
    side.synchronize(patience()).unwrap();
}

#[test]
fn a_launch_in_a_capture_copies_the_graph_in() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 8, 0);
    let digit = |digit| {
        submit(&stream, Op::Call { function: append_digit, arguments: [memory.device as usize, digit] });
    };
    begin(&stream);
    digit(2);
    digit(3);
    let child = stream.end_capture().unwrap().instantiate();
    begin(&stream);
    digit(1);
    stream.launch(&child, 0).unwrap();
    stream.launch(&child, 0).unwrap();
    digit(4);
    let graph = stream.end_capture().unwrap();
    drop(child);
    assert_eq!(graph.nodes(), [OpKind::Call; 6]);
    stream.launch(&graph.instantiate(), 0).unwrap();
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&memory), 123234u64.to_ne_bytes());
}

#[test]
fn a_child_in_a_side_stream_must_be_joined_as_any_work() {
    let device = device();
    let (main, side) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let (fork, join) = (device.create_event(), device.create_event());
    begin(&main);
    submit(&main, Op::Delay { ns: 0 });
    submit(&main, Op::Delay { ns: 0 });
    let child = main.end_capture().unwrap().instantiate();
    for joins in [true, false] {
        begin(&main);
        main.record(&fork, 0).unwrap();
        side.wait_event(&fork).unwrap();
        side.launch(&child, 0).unwrap();
        side.record(&join, 0).unwrap();
        if joins {
            main.wait_event(&join).unwrap();
        }
        let expected = if joins { None } else { Some(Fault::CaptureUnjoined) };
        assert_eq!(main.end_capture().err(), expected);
    }
}

#[test]
fn a_record_outside_takes_an_event_out_of_its_capture() {
    let device = device();
    let (main, other) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    begin(&main);
    submit(&main, Op::Delay { ns: 0 });
    main.record(&event, 0).unwrap();
    other.record(&event, 0).unwrap();
    assert!(!event.is_captured());
    assert_eq!(wait(&event), EventState::Complete);
    assert_eq!(event.query(), EventState::Complete);
    other.wait_event(&event).unwrap();
    assert_eq!(other.capture_status(), CaptureStatus::None);
    assert!(is_active(&main));
    // For the capture it is one from outside now.
    assert_eq!(main.wait_event(&event), Err(Fault::CaptureIsolation));
    end_invalid(&main);
}

#[test]
fn a_wait_begun_before_a_capture_is_for_the_record_it_began_with() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    first.hold();
    first.record(&event, 0).unwrap();
    second.wait_event(&event).unwrap();
    begin(&second);
    second.record(&event, 0).unwrap();
    assert!(!second.is_idle());
    first.release();
    until(|| second.is_idle());
    assert!(event.is_captured() && is_active(&second));
    second.end_capture().unwrap();
}

#[test]
fn a_replay_that_names_freed_memory_fails_and_the_stream_goes_on() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 8, 1);
    let target = pinned(&device, 8, 0);
    let event = device.create_event();
    begin(&stream);
    submit(&stream, copy(target.device, source.device, 8));
    submit(&stream, Op::Fill { dst: target.device, width: 1, value: 4, count: 1 });
    let exec = stream.end_capture().unwrap().instantiate();
    // A graph keeps no memory alive, and so is no use of it.
    device.free(source.device).unwrap();
    assert_eq!(device.counters().frees_in_use, 0);
    stream.launch(&exec, 5).unwrap();
    stream.record(&event, 5).unwrap();
    assert_eq!(wait(&event), EventState::Failed);
    let counters = device.counters();
    assert_eq!((counters.failed.copy, counters.executed.fill), (1, 1));
    assert_eq!(seen(&target), [4, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn faults_for_execution_strike_replays_and_not_captures() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let event = device.create_event();
    device.fail_operation(Some(OpKind::Delay), 1, FailWhen::Execution);
    begin(&stream);
    submit(&stream, Op::Delay { ns: 0 });
    let exec = stream.end_capture().unwrap().instantiate();
    stream.launch(&exec, 1).unwrap();
    stream.record(&event, 1).unwrap();
    assert_eq!(wait(&event), EventState::Failed);
    stream.launch(&exec, 1).unwrap();
    stream.record(&event, 1).unwrap();
    assert_eq!(wait(&event), EventState::Complete);
}

#[test]
fn a_launch_is_queued_whole_or_not_at_all() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let target = pinned(&device, 8, 0);
    begin(&stream);
    submit(&stream, Op::Fill { dst: target.device, width: 8, value: 1, count: 1 });
    submit(&stream, Op::Delay { ns: 0 });
    let exec = stream.end_capture().unwrap().instantiate();
    device.fail_operation(Some(OpKind::Delay), 1, FailWhen::Submission);
    assert_eq!(stream.launch(&exec, 0), Err(Fault::OperationFailed));
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [0; 8]);
    assert_eq!((device.counters().submitted.total(), device.counters().refused.delay), (0, 1));
    stream.launch(&exec, 0).unwrap();
    stream.synchronize(patience()).unwrap();
    assert_eq!(device.counters().executed.total(), 2);
}

#[test]
fn a_graph_outlives_its_stream_and_runs_on_any_other() {
    let device = device();
    let target = pinned(&device, 8, 0);
    let exec = {
        let stream = device.create_stream().unwrap();
        begin(&stream);
        submit(&stream, Op::Fill { dst: target.device, width: 1, value: 6, count: 8 });
        stream.end_capture().unwrap().instantiate()
    };
    let stream = device.create_stream().unwrap();
    stream.launch(&exec, 0).unwrap();
    drop(exec);
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [6; 8]);
}
