//! Copies that fail when they run, and records that fail: told to whom they concern, as often as they happened.

mod common;

use common::{Gate, copies_fail_alone, device, kit_of, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device};
use gpubuf::lease::Twin;
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::{Arc, AtomicBool, Ordering};

const BYTES: u64 = 64;

fn fail_next(device: &Device, kind: Operation, when: FailWhen) {
    kit_of(device).fail_operation(Some(kind), 1, when).expect("a fault");
}

fn pair(device: &Arc<Device>) -> Arc<Buffer> {
    common::buffer(device, common::pair_of(BYTES))
}

#[test]
fn each_failed_range_is_told() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    for first in [0, 32] {
        fail_next(&device, Operation::Copy, FailWhen::Execution);
        buffer.copy(false, first, 16, &stream, None).expect("a copy");
    }
    stream.synchronize(Timeout::Infinite).expect_err("two failures");
    let read = || status(buffer.begin(Access::Read, 0, 1, Timeout::Try));
    assert_eq!([read(), read(), read()], [Status::CopyFailed, Status::CopyFailed, Status::Ok]);
}

#[test]
fn a_blocking_copy_that_fails_tells_its_own_failure_only() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    buffer.copy(true, 0, 8, &stream, None).expect("a copy");
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    let blocking = buffer.copy(true, 8, 8, &stream, Some(Timeout::Infinite));
    assert_eq!(status(blocking), Status::CopyFailed);
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)), Status::CopyFailed, "the first one's");
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)), Status::Ok);
}

#[test]
fn a_failure_does_not_keep_work_from_being_declared() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let buffer = pair(&device);
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    buffer.copy(true, 0, ALL, &copies, None).expect("a copy");
    copies.synchronize(Timeout::Infinite).expect_err("a failure");
    assert_eq!(status(buffer.used_on(&kernels, Access::Write)), Status::Ok);
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)), Status::CopyFailed);
}

/// Numbers below a failed one may still be on their way to their record: the failure is told all the same.
#[test]
fn a_failed_download_is_never_read_while_others_record_on_its_stream() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    stream.record().expect("a fence");
                }
            });
        }
        for _ in 0..100 {
            fail_next(&device, Operation::Copy, FailWhen::Execution);
            buffer.copy(false, 0, ALL, &stream, None).expect("a copy");
            let read = buffer.begin(Access::Read, 0, 1, Timeout::Infinite);
            let answer = read.as_ref().err().map_or(Status::Ok, |error| error.status());
            if answer != Status::CopyFailed {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(answer, Status::CopyFailed);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_block_whose_fence_failed_can_be_given_back() {
    let device = device();
    let stream = stream(&device);
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 1) };
    let pool = Pool::create(&device, options).expect("a pool");
    let lease = pool.acquire(0, Timeout::Try).expect("a block");
    lease.device_address().expect("an address");
    fail_next(&device, Operation::Record, FailWhen::Submission);
    assert_eq!(status(lease.fence(std::slice::from_ref(&stream))), Status::Quarantined);
    assert_eq!(status(lease.release()), Status::Ok);
    assert_eq!(pool.levels().quarantined, 1);
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Exhausted);
}

#[test]
fn a_wait_for_the_device_counts_and_answers_by_its_form() {
    let device = device();
    assert_eq!(status(device.synchronize(Timeout::Infinite)), Status::Ok);
    assert_eq!(device.counters.host.waits.get(), 0, "an idle device is not waited for");
    let stream = stream(&device);
    let gate = Gate::default();
    gate.shut(&stream);
    drop(stream);
    assert_eq!(status(device.drain(Timeout::Try)), Status::Busy, "a stream without a handle counts, too");
    gate.open();
    assert_eq!(status(device.drain(Timeout::Infinite)), Status::Ok);
}
