//! Submitting must not ask the system for memory: the library measures its own cost around it.

#[path = "../../../tests/common/allocations.rs"]
mod allocations;
mod common;

use allocations::allocations;
use common::*;
use gpubuf_engine::{Compare, MemoryKind, Op};

#[test]
fn steady_submission_allocates_nothing() {
    let device = device();
    let (stream, other) = (device.create_stream().unwrap(), device.create_stream().unwrap());
    let source = pinned(&device, 64, 1);
    let target = device.allocate(MemoryKind::Device, 64).unwrap();
    let event = device.create_event();
    let (legacy, blocking) = (device.legacy_stream().unwrap(), device.create_blocking_stream().unwrap());
    let round = || {
        submit(&stream, copy(target.device, source.device, 64));
        submit(&stream, Op::Fill { dst: target.device, width: 4, value: 1, count: 4 });
        submit(&stream, Op::Delay { ns: 0 });
        stream.record(&event, 1).unwrap();
        other.wait_event(&event).unwrap();
        wait(&event);
        event.query();
        other.synchronize(patience()).unwrap();
        submit(&blocking, Op::WriteValue { address: source.device, value: 1 });
        submit(&legacy, Op::WaitValue { address: source.device, value: 1, compare: Compare::Equal });
        legacy.record(&event, 1).unwrap();
        blocking.wait_event(&event).unwrap();
        blocking.synchronize(patience()).unwrap();
    };
    round();
    let before = allocations();
    for _ in 0..100 {
        round();
    }
    assert_eq!(allocations(), before);

    // Nor does a queue that fills up.
    let full = device.create_stream().unwrap();
    full.hold();
    let before = allocations();
    for _ in 0..1000 {
        submit(&full, copy(target.device, source.device, 64));
    }
    assert_eq!(allocations(), before);
}
