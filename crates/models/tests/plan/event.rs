//! Events of callers.

use gpubuf_models::config::Timeout;
use gpubuf_models::device::Opening;
use gpubuf_models::error::Status;
use gpubuf_models::fence::Event;
use gpubuf_models::plan::check;
use shuttle::thread;

/// The time between two events is asked for while one of them is recorded again: it is had, or it is to come.
fn a_time_while_an_event_is_recorded_again() {
    let opening = Opening::new();
    let stream = opening.stream();
    let [first, second] = [0, 1].map(|_| Event::create(&opening.device, true, "").expect("an event"));
    for event in [&first, &second] {
        event.record(&stream).expect("recorded");
        event.wait(Timeout::Infinite).expect("reached");
    }
    let other = thread::spawn({
        let (second, stream) = (second.clone(), stream.clone());
        move || second.record(&stream).expect("recorded again")
    });
    if let Err(error) = second.elapsed_since(&first) {
        assert_eq!(error.status(), Status::Busy);
    }
    other.join().unwrap();
    second.wait(Timeout::Infinite).expect("reached");
    second.elapsed_since(&first).expect("both are reached");
    second.elapsed_since(&second).expect("no time at all");
    drop((first, second, stream));
    opening.end();
}

#[test]
fn every_plan() {
    check("a time against a record", 1, 500, a_time_while_an_event_is_recorded_again);
}
