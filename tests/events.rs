//! Events: what they order, what they wait for, and whose they are.

mod common;

use common::{busy, device, hold, release, status, stream};
use gpubuf::config::Timeout;
use gpubuf::error::Status;
use gpubuf::fence::Event;
use std::time::Duration;

#[test]
fn a_stream_and_the_host_wait_for_the_latest_record() {
    let device = device();
    let (first, second) = (stream(&device), stream(&device));
    let event = Event::create(&device, false, "").expect("an event");
    event.order(&second).expect("never recorded: nothing to wait for");
    hold(&first);
    event.record(&first).expect("a record");
    event.order(&second).expect("an order");
    busy(&second);
    let early = second.synchronize(Timeout::Within(Duration::from_millis(100)));
    assert_eq!(status(early), Status::Timeout, "the stream waits");
    assert_eq!(status(event.wait(Timeout::Try)), Status::Busy);
    release(&first);
    second.synchronize(Timeout::Infinite).expect("it goes on afterwards");
    event.wait(Timeout::Try).expect("it is reached");
}

#[test]
fn an_event_is_of_one_device() {
    let (device, other) = (device(), device());
    let (own, stranger) = (stream(&device), stream(&other));
    let event = Event::create(&device, false, "").expect("an event");
    assert_eq!(status(event.record(&stranger)), Status::WrongDevice);
    assert_eq!(status(event.order(&stranger)), Status::WrongDevice, "also where it was never recorded");
    event.record(&own).expect("a record");
    assert_eq!(status(event.order(&stranger)), Status::WrongDevice);
}

#[test]
fn no_time_is_told_before_both_records_are_reached() {
    let device = device();
    let stream = stream(&device);
    let [first, second] = [(); 2].map(|()| Event::create(&device, true, "").expect("an event"));
    first.record(&stream).expect("a record");
    hold(&stream);
    second.record(&stream).expect("a record");
    assert_eq!(status(second.elapsed_since(&first)), Status::Busy);
    release(&stream);
    assert_eq!(status(second.elapsed_since(&first)), Status::Ok);
}
