//! Which captures forbid whom the calls that are potentially unsafe meanwhile. Apart from the other tests, as captures in
//! `Global` mode concern each thread of the process; and one at a time.

mod common;
use common::*;
use gpubuf_engine::CaptureMode::{Global, Relaxed, ThreadLocal};
use gpubuf_engine::{CaptureMode, Device, Fault, exchange_capture_mode};
use parking_lot::Mutex;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What a thread of mode `heeds` is told while there is a capture of mode `mode`, and whether the capture survives.
fn ask(mode: CaptureMode, own: bool, heeds: CaptureMode) -> Result<(), Fault> {
    let device = device();
    let stream = device.create_stream().unwrap();
    stream.begin_capture(mode).unwrap();
    let ask = move |device: Device| {
        assert_eq!(exchange_capture_mode(heeds), Global);
        let told = device.expect_no_unsafe_capture();
        assert_eq!(exchange_capture_mode(Global), heeds);
        told
    };
    // Of another device: what forbids is the capture, wherever it is.
    let asked = common::device();
    let told = if own { ask(asked) } else { std::thread::spawn(move || ask(asked)).join().unwrap() };
    assert_eq!(is_active(&stream), told.is_ok());
    assert_eq!(stream.end_capture().is_ok(), told.is_ok());
    device.expect_no_unsafe_capture().unwrap();
    told
}

#[test]
fn unsafe_calls_are_forbidden_by_the_modes_of_capture_and_thread() {
    let _one = ONE_AT_A_TIME.lock();
    let forbidden = Err(Fault::CaptureUnsupported);
    for (mode, own, heeds, expected) in [
        (Global, true, Global, forbidden),
        (Global, true, ThreadLocal, forbidden),
        (Global, true, Relaxed, Ok(())),
        (Global, false, Global, forbidden),
        (Global, false, ThreadLocal, Ok(())),
        (Global, false, Relaxed, Ok(())),
        (ThreadLocal, true, Global, forbidden),
        (ThreadLocal, true, ThreadLocal, forbidden),
        (ThreadLocal, true, Relaxed, Ok(())),
        (ThreadLocal, false, Global, Ok(())),
        (ThreadLocal, false, ThreadLocal, Ok(())),
        (ThreadLocal, false, Relaxed, Ok(())),
        (Relaxed, true, Global, Ok(())),
        (Relaxed, true, ThreadLocal, Ok(())),
        (Relaxed, false, Global, Ok(())),
    ] {
        assert_eq!(ask(mode, own, heeds), expected, "{mode:?}, own {own}, asked by {heeds:?}");
    }
}

#[test]
fn a_thread_begins_in_global_mode() {
    assert_eq!(exchange_capture_mode(ThreadLocal), Global);
    assert_eq!(exchange_capture_mode(Relaxed), ThreadLocal);
    std::thread::spawn(|| assert_eq!(exchange_capture_mode(Global), Global)).join().unwrap();
    assert_eq!(exchange_capture_mode(Global), Relaxed);
}

#[test]
fn an_invalid_capture_forbids_until_it_is_ended() {
    let _one = ONE_AT_A_TIME.lock();
    let device = device();
    let stream = device.create_stream().unwrap();
    stream.begin_capture(Global).unwrap();
    stream.query().unwrap_err();
    assert_eq!(device.expect_no_unsafe_capture(), Err(Fault::CaptureUnsupported));
    end_invalid(&stream);
    device.expect_no_unsafe_capture().unwrap();
}
