//! After freeze a step asks the system for no memory, whichever of its calls are made.

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use allocations::allocations;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::fence::{Device, Timeline};
use gpubuf::lease::{AloneOptions, Lease, Twin};
use gpubuf::predictor::PredictorOptions;
use gpubuf::slots::{
    DecodeMemory, DecodeOptions, SlotKind, SlotOptions, SlotRows, Slots, SlotsOptions, decode_defaults,
};
use gpubuf::sync::Arc;
use gpubuf::workspace::{Workspace, WorkspaceOptions};
use std::slice::from_ref;

/// One step with every call that a step has; commits and read-backs on streams that change.
fn step(slots: &Arc<Slots>, streams: &[Arc<Timeline>; 3], number: usize, data: &[u8], lease: &Lease) {
    let step = slots.begin(Timeout::Infinite).unwrap();
    step.set_attachment(number as u64).unwrap();
    for slot in [2, 3] {
        // SAFETY: the data is longer than 100 rows of 8 bytes.
        unsafe { step.write(slot, 0, 100, data.as_ptr()) }.unwrap();
    }
    let follow = [0, 1, 4].map(|slot| SlotRows { slot, first: 0, count: ALL, data: data.as_ptr() });
    // SAFETY: as above.
    unsafe { step.write_many(&follow, Some(100)) }.unwrap();
    assert_eq!(step.pad_tokens().unwrap(), 104);
    // SAFETY: as above.
    unsafe { step.write_named("temperature", 3, 1, data.as_ptr()) }.unwrap();
    let (_, token) = step.begin_span(5, number as u64 % 50, 10).unwrap();
    step.end_span(token).unwrap();
    step.pad(4, 128).unwrap();
    if number.is_multiple_of(2) {
        step.bind_block(10, lease, 0, ALL).unwrap();
    } else {
        step.bind(10, 0x1000, 64, from_ref(&streams[2])).unwrap();
    }
    for row in [0, 3, 100 + number as u64 % 100, 255] {
        // SAFETY: the data is longer than a row.
        unsafe { step.write(9, row, 1, data.as_ptr()) }.unwrap();
    }
    if number.is_multiple_of(7) {
        step.abort().unwrap();
        return;
    }
    let (copies, kernels) = (&streams[number % 2], &streams[2]);
    let ticket = step.commit(copies, from_ref(kernels)).unwrap();
    step.address(10).unwrap();
    let read_back = slots.read_back(ticket, 0, 0, 100, &streams[number % 3]).unwrap();
    assert_eq!(slots.retire(ticket, from_ref(kernels)).unwrap(), number as u64);
    slots.begin_read(read_back, Timeout::Infinite).unwrap();
    slots.end_read(read_back).unwrap();
    slots.stats();
}

#[test]
fn steps_allocate_nothing() {
    let device = common::device();
    // Slow enough that steps have to wait for one another.
    common::kit_of(&device).set_link(20_000, 0).unwrap();
    let streams = [(); 3].map(|()| Timeline::create(&device, "").unwrap());
    for (device_depth, predicts) in [(1, false), (3, false), (2, true)] {
        steps(&device, &streams, device_depth, predicts);
    }
}

fn steps(device: &Arc<Device>, streams: &[Arc<Timeline>; 3], device_depth: u32, predicts: bool) {
    let slots = SlotsOptions { device_depth, ..SlotsOptions::default() };
    let (mut memory, mut predictive) = (DecodeMemory::Own, None);
    if predicts {
        let workspace = Workspace::create(device, WorkspaceOptions::default()).unwrap();
        (memory, predictive) = (DecodeMemory::Workspace(workspace), Some(PredictorOptions::default()));
    }
    let slots = decode_defaults(device, DecodeOptions { slots, memory, predictive, ..DecodeOptions::default() }, "");
    let slots = slots.unwrap();
    let shape = Shape::new(&[64]).unwrap();
    let (name, kind) = ("state", SlotKind::Dynamic);
    slots
        .add(&SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy: false, follows_tokens: false, pad: None })
        .unwrap();
    slots.freeze().unwrap();
    let options =
        AloneOptions { placement: Placement::Uva, bytes: 64, twin: Twin::Never, timed: false, label: String::new() };
    let lease = Lease::create(device, options).unwrap();
    let data = vec![1u8; 8192];
    let events = device.counters.events_created.get();
    // The emulated device may grow its own lists at first.
    for number in 0..20 {
        step(&slots, streams, number, &data, &lease);
    }
    let before = allocations();
    for number in 0..1000 {
        step(&slots, streams, number, &data, &lease);
    }
    assert_eq!(allocations(), before);
    assert_eq!(device.counters.events_created.get(), events, "and makes no events");
    if let Some(predictor) = &slots.parts().predictor {
        assert_eq!(predictor.stats().records, slots.stats().steps_committed, "each was recorded");
    }
    let stats = slots.stats();
    assert!(stats.island_copies > 0 && stats.device_waits > 0 && stats.host_waits > 0, "{stats:?}");
}
