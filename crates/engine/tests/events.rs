//! Order by events, generations and waiting.

mod common;
use common::*;
use gpubuf_engine::{EventState, Fault, MemoryKind, Op};

#[test]
fn a_never_recorded_event_is_complete() {
    let device = device();
    let event = device.create_event();
    assert_eq!(event.query(), EventState::Complete);
    assert_eq!(event.wait(now()), Ok(EventState::Complete));
    let stream = device.create_stream().unwrap();
    stream.wait_event(&event).unwrap();
    stream.synchronize(patience()).unwrap();
    assert_eq!(device.counters().events_created, 1);
}

#[test]
fn a_record_is_pending_until_the_stream_reaches_it() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let event = device.create_event();
    stream.hold();
    stream.record(&event, 0).unwrap();
    assert_eq!(event.query(), EventState::Pending);
    assert_eq!(event.wait(now()), Err(Fault::Timeout));
    stream.release();
    assert_eq!(wait(&event), EventState::Complete);
    assert_eq!(event.query(), EventState::Complete);
}

#[test]
fn a_stream_waits_for_another() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let source = pinned(&device, 64, 1);
    let target = pinned(&device, 64, 0);
    let middle = device.allocate(MemoryKind::Device, 64).unwrap();
    let (copied, back) = (device.create_event(), device.create_event());
    first.hold();
    submit(&first, copy(middle.device, source.device, 64));
    first.record(&copied, 0).unwrap();
    second.wait_event(&copied).unwrap();
    submit(&second, copy(target.device, middle.device, 64));
    second.record(&back, 0).unwrap();
    // The worker of the second is at its wait or on its way there; it cannot get past.
    assert_eq!(second.synchronize(now()), Err(Fault::Timeout));
    assert_eq!(seen(&target), [0; 64]);
    first.release();
    assert_eq!(wait(&back), EventState::Complete);
    assert_eq!(seen(&target), [1; 64]);
}

#[test]
fn a_stream_waits_for_an_event_that_comes_much_later() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    for _ in 0..50 {
        // Longer than a worker looks before it sleeps.
        submit(&first, Op::Delay { ns: 200_000 });
        first.record(&event, 0).unwrap();
        second.wait_event(&event).unwrap();
        second.synchronize(patience()).unwrap();
        assert_eq!(event.query(), EventState::Complete);
    }
}

#[test]
fn a_wait_keeps_to_the_record_it_was_made_for() {
    let device = device();
    let [first, second, third] = [(); 3].map(|()| device.create_stream().unwrap());
    let event = device.create_event();
    first.hold();
    second.hold();
    first.record(&event, 0).unwrap();
    third.wait_event(&event).unwrap();
    let before = std::thread::spawn({
        let event = event.clone();
        move || event.wait(patience())
    });
    // The thread may begin to wait before or after the second record; both end, as both records do.
    second.record(&event, 0).unwrap();
    // The second record ends first: a wait for the first one must not pass.
    second.release();
    second.synchronize(patience()).unwrap();
    assert_eq!(event.query(), EventState::Complete);
    assert_eq!(third.synchronize(now()), Err(Fault::Timeout));
    first.release();
    third.synchronize(patience()).unwrap();
    assert_eq!(before.join().unwrap(), Ok(EventState::Complete));
    assert_eq!(event.query(), EventState::Complete);
}

#[test]
fn a_later_record_does_not_hold_an_earlier_wait_back() {
    let device = device();
    let [first, second, third] = [(); 3].map(|()| device.create_stream().unwrap());
    let event = device.create_event();
    first.hold();
    second.hold();
    first.record(&event, 0).unwrap();
    third.wait_event(&event).unwrap();
    second.record(&event, 0).unwrap();
    first.release();
    third.synchronize(patience()).unwrap();
    assert_eq!(event.query(), EventState::Pending);
    second.release();
    assert_eq!(wait(&event), EventState::Complete);
}

#[test]
fn events_may_be_dropped_in_use() {
    let device = device();
    let (first, second) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let event = device.create_event();
    first.hold();
    first.record(&event, 0).unwrap();
    second.wait_event(&event).unwrap();
    drop(event);
    first.release();
    device.synchronize(patience()).unwrap();
}
