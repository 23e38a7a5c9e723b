//! Armed faults, tags and panics.

mod common;
use common::*;
use gpubuf_engine::{EventState, FailWhen, Fault, MemoryKind, Op, OpKind, View};

#[test]
fn a_fault_at_submission_queues_nothing() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let event = device.create_event();
    device.fail_operation(Some(OpKind::Delay), 2, FailWhen::Submission);
    submit(&stream, Op::Delay { ns: 0 });
    assert_eq!(try_submit(&stream, Op::Delay { ns: 0 }, 0), Err(Fault::OperationFailed));
    submit(&stream, Op::Delay { ns: 0 });
    device.fail_operation(Some(OpKind::Record), 1, FailWhen::Submission);
    assert_eq!(stream.record(&event, 0), Err(Fault::OperationFailed));
    assert_eq!(event.query(), EventState::Complete);
    device.fail_operation(Some(OpKind::Wait), 1, FailWhen::Submission);
    assert_eq!(stream.wait_event(&event), Err(Fault::OperationFailed));
    stream.synchronize(patience()).unwrap();
    let counters = device.counters();
    assert_eq!((counters.submitted.delay, counters.executed.delay, counters.refused.delay), (2, 2, 1));
    assert_eq!((counters.submitted.total(), counters.refused.total(), counters.failed.total()), (2, 3, 0));
}

#[test]
fn what_makes_something_fails_and_is_counted() {
    let device = device();
    device.fail_operation(Some(OpKind::Allocation), 2, FailWhen::Submission);
    let allocate = |kind| device.allocate(kind, 64).map(drop);
    assert_eq!(allocate(MemoryKind::Pinned), Ok(()));
    assert_eq!(allocate(MemoryKind::Device), Err(Fault::OutOfDeviceMemory));
    assert_eq!(allocate(MemoryKind::Device), Ok(()));
    device.fail_operation(Some(OpKind::Stream), 1, FailWhen::Submission);
    assert_eq!(device.create_stream().map(drop), Err(Fault::NoResources));
    device.fail_operation(Some(OpKind::Event), 1, FailWhen::Submission);
    assert_eq!(device.expect_event(), Err(Fault::NoResources));
    let mut page = [0u8; 64];
    device.fail_operation(Some(OpKind::Registration), 1, FailWhen::Submission);
    // SAFETY: a local that outlives its registration.
    assert_eq!(unsafe { device.register(page.as_mut_ptr(), 64) }.map(drop), Err(Fault::OutOfHostMemory));
    // SAFETY: as above.
    unsafe { device.register(page.as_mut_ptr(), 64) }.unwrap();
    assert_eq!((device.registrations(), device.live_streams()), (1, 0));
    device.unregister(page.as_mut_ptr()).unwrap();
    let counters = device.counters();
    assert_eq!((counters.submitted.allocation, counters.refused.allocation, counters.refused.stream), (2, 1, 1));
    assert_eq!(counters.submitted.total(), 0, "none was given to a stream");
}

#[test]
fn a_device_is_lost_at_an_operation() {
    for kind in [OpKind::Delay, OpKind::Record, OpKind::Allocation, OpKind::Stream, OpKind::Event] {
        let device = device();
        let stream = device.create_stream().unwrap();
        let event = device.create_event();
        device.fail_operation(Some(kind), 1, FailWhen::Loss);
        let refused = match kind {
            OpKind::Delay => try_submit(&stream, Op::Delay { ns: 0 }, 0),
            OpKind::Record => stream.record(&event, 0),
            OpKind::Allocation => device.allocate(MemoryKind::Device, 64).map(drop),
            OpKind::Stream => device.create_stream().map(drop),
            _ => device.expect_event(),
        };
        assert_eq!((refused, device.is_lost()), (Err(Fault::DeviceLost), true), "{kind:?}");
        assert_eq!(stream.synchronize(patience()), Err(Fault::DeviceLost));
    }
}

#[test]
fn a_fault_at_execution_leaves_the_target_and_shows_in_the_record_with_its_tag() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 64, 1);
    let target = device.allocate(MemoryKind::Device, 64).unwrap();
    let [other, own, again] = [(); 3].map(|()| device.create_event());
    device.fail_operation(Some(OpKind::Copy), 1, FailWhen::Execution);
    try_submit(&stream, copy(target.device, source.device, 64), 7).unwrap();
    stream.record(&other, 8).unwrap();
    stream.record(&own, 7).unwrap();
    stream.record(&again, 7).unwrap();
    assert_eq!(wait(&own), EventState::Failed);
    assert_eq!(wait(&other), EventState::Complete);
    assert_eq!(wait(&again), EventState::Complete);
    assert_eq!(fetch(&device, target.device, 64), [0; 64]);
    submit(&stream, copy(target.device, source.device, 64));
    assert_eq!(fetch(&device, target.device, 64), [1; 64]);
    assert_eq!(device.counters().failed.copy, 1);
}

#[test]
fn tag_zero_is_nobodys() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let event = device.create_event();
    device.fail_operation(None, 1, FailWhen::Execution);
    submit(&stream, Op::Delay { ns: 0 });
    stream.record(&event, 0).unwrap();
    assert_eq!(wait(&event), EventState::Complete);
    assert_eq!(device.counters().failed.delay, 1);
}

#[test]
fn tags_belong_to_a_stream() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let (here, there) = (device.create_event(), device.create_event());
    device.fail_operation(Some(OpKind::Delay), 1, FailWhen::Execution);
    try_submit(&first, Op::Delay { ns: 0 }, 5).unwrap();
    first.synchronize(patience()).unwrap();
    second.record(&there, 5).unwrap();
    first.record(&here, 5).unwrap();
    assert_eq!(wait(&there), EventState::Complete);
    assert_eq!(wait(&here), EventState::Failed);
}

#[test]
fn a_record_that_fails_completes_as_failed_and_lets_waiters_pass() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    first.hold();
    device.fail_operation(Some(OpKind::Record), 1, FailWhen::Execution);
    first.record(&event, 0).unwrap();
    second.wait_event(&event).unwrap();
    first.release();
    assert_eq!(wait(&event), EventState::Failed);
    second.synchronize(patience()).unwrap();
    first.record(&event, 0).unwrap();
    assert_eq!(wait(&event), EventState::Complete);
}

#[test]
fn a_wait_that_fails_does_not_wait() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    first.hold();
    first.record(&event, 0).unwrap();
    device.fail_operation(Some(OpKind::Wait), 1, FailWhen::Execution);
    second.wait_event(&event).unwrap();
    second.synchronize(patience()).unwrap();
    assert_eq!(event.query(), EventState::Pending);
    first.release();
    assert_eq!(device.counters().failed.wait, 1);
}

#[test]
fn filters_are_separate() {
    let device = device();
    let stream = device.create_stream().unwrap();
    device.fail_operation(Some(OpKind::Call), 1, FailWhen::Submission);
    device.fail_operation(None, 2, FailWhen::Submission);
    submit(&stream, Op::Delay { ns: 0 });
    let call = Op::Call { function: nothing, arguments: [0; 2] };
    assert_eq!(try_submit(&stream, call.clone(), 0), Err(Fault::OperationFailed));
    // Both struck at once.
    submit(&stream, call);
    submit(&stream, Op::Delay { ns: 0 });
}

fn nothing(_: &View<'_>, _: [usize; 2]) {}

fn panics(_: &View<'_>, _: [usize; 2]) {
    // Without the hook's message, which would look like a failed test.
    std::panic::resume_unwind(Box::new("on purpose"));
}

#[test]
fn a_call_that_panics_fails_and_the_stream_goes_on() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let (event, after) = (device.create_event(), device.create_event());
    try_submit(&stream, Op::Call { function: panics, arguments: [0; 2] }, 3).unwrap();
    stream.record(&event, 3).unwrap();
    submit(&stream, Op::Call { function: nothing, arguments: [0; 2] });
    stream.record(&after, 3).unwrap();
    assert_eq!(wait(&event), EventState::Failed);
    assert_eq!(wait(&after), EventState::Complete);
    let counters = device.counters();
    assert_eq!((counters.failed.call, counters.executed.call), (1, 1));
}

#[test]
fn codes_are_stable() {
    let all = [
        Fault::InvalidValue,
        Fault::InvalidAddress,
        Fault::OutOfDeviceMemory,
        Fault::OutOfHostMemory,
        Fault::OperationFailed,
        Fault::DeviceLost,
        Fault::Timeout,
        Fault::Closed,
        Fault::NoResources,
    ];
    assert!(all.iter().map(|fault| fault.code()).eq(1..=9));
    assert!(all.iter().all(|fault| !fault.to_string().is_empty()));
}
