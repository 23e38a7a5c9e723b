//! Once staged rows are created, staging and applying ask the system for no memory and make no events.

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use allocations::allocations;
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::Dtype;
use gpubuf::fence::Timeline;
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use std::slice::from_ref;

#[test]
fn staging_and_applying_allocate_nothing() {
    let device = common::device();
    let [copies, kernels] = [(); 2].map(|()| Timeline::create(&device, "").unwrap());
    let options = StagedRowsOptions { depth: 2, max_writes: 64, staging_bytes: 4096 };
    let (dtype, placement, release) = (Dtype::I32, Placement::Device, None);
    let table =
        Over::Own { dtype, rows: 64, row_elements: 100, capacity_rows: 0, placement, device_memory: 0, release };
    let rows = StagedRows::create(&device, options, table, "").unwrap();
    let values = [1i32; 100];
    let mut step = |number: u64| {
        for write in 0..64 {
            let (row, first) = ((number * 7 + write * 5) % 40, write % 50);
            // SAFETY: there are as many values.
            unsafe { rows.stage(row, first, values.as_ptr().cast(), 1 + write % 15) }.unwrap();
        }
        rows.apply(&copies, from_ref(&kernels), Timeout::Infinite).unwrap();
        rows.stats().unwrap();
    };
    let events = device.counters.events_created.get();
    // The emulated device grows its lists at first, to what is queued at a time: as much as is queued below, and more.
    common::hold(&kernels);
    (0..20).for_each(&mut step);
    common::release(&kernels);
    common::ran(&copies);
    common::hold(&copies);
    (20..22).for_each(&mut step);
    common::release(&copies);
    let before = allocations();
    for number in 22..500 {
        step(number);
        if number % 8 == 0 {
            common::ran(&kernels);
        }
    }
    assert_eq!(allocations(), before);
    assert_eq!(device.counters.events_created.get(), events, "and makes no events");
    let stats = rows.stats().unwrap();
    assert!(stats.applies == 500 && stats.device_waits > 0 && stats.applied_bytes < stats.staged_bytes, "{stats:?}");
}
