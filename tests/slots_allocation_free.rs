//! After freeze a step asks the system for no memory, whichever of its calls are made.

mod common;

use gpubuf::config::Timeout;
use gpubuf::fence::Timeline;
use gpubuf::slots::{DecodeOptions, Slots, decode_defaults};
use gpubuf::sync::Arc;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::slice::from_ref;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all work is the system allocator's; the counter is a plain thread-local that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One step with every call that a step has; commits and read-backs on streams that change.
fn step(slots: &Arc<Slots>, streams: &[Arc<Timeline>; 3], number: usize, data: &[u8]) {
    let step = slots.begin(Timeout::Infinite).unwrap();
    step.set_attachment(number as u64).unwrap();
    for slot in 0..5 {
        // SAFETY: the data is longer than 100 rows of 8 bytes.
        unsafe { step.write(slot, 0, 100, data.as_ptr()) }.unwrap();
    }
    let (_, token) = step.begin_span(5, number as u64 % 50, 10).unwrap();
    step.end_span(token).unwrap();
    step.pad(4, 128).unwrap();
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
    let slots = decode_defaults(&device, &DecodeOptions::default(), "").unwrap();
    slots.freeze().unwrap();
    let data = vec![1u8; 8192];
    let events = device.counters.events_created.get();
    // The emulated device may grow its own lists at first.
    for number in 0..20 {
        step(&slots, &streams, number, &data);
    }
    let before = ALLOCATIONS.with(Cell::get);
    for number in 0..1000 {
        step(&slots, &streams, number, &data);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
    assert_eq!(device.counters.events_created.get(), events, "and makes no events");
    let stats = slots.stats();
    assert!(stats.island_copies > 0 && stats.device_waits > 0 && stats.host_waits > 0, "{stats:?}");
}
