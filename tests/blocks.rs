//! Leased blocks, whoever they come from: their device side, and how a lease ends.

mod common;

use common::{device, status, stream};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device};
use gpubuf::lease::{Lease, Twin};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::Arc;

const BYTES: u64 = 64;

fn pool(device: &Arc<Device>, placement: Placement, twin: Twin) -> Arc<Pool> {
    Pool::create(device, PoolOptions { twin, ..PoolOptions::new(placement, BYTES, 1) }).expect("a pool")
}

fn acquire(pool: &Arc<Pool>) -> Lease {
    pool.acquire(0, Timeout::Try).expect("a block")
}

fn put(lease: &Lease, value: u8) {
    // SAFETY: the array has as many bytes.
    unsafe { lease.copy_in(0, BYTES, [value; BYTES as usize].as_ptr(), Timeout::Try) }.expect("a write");
}

fn byte(lease: &Lease) -> u8 {
    let mut byte = 0;
    // SAFETY: one byte is written.
    unsafe { lease.copy_out(0, 1, &raw mut byte, Timeout::Infinite) }.expect("a read");
    byte
}

#[test]
fn what_is_refused_makes_no_twin() {
    let (device, other) = (device(), device());
    let (timeline, foreign) = (stream(&device), stream(&other));
    let pool = pool(&device, Placement::Pinned, Twin::Lazy);
    let lease = acquire(&pool);
    let has_twin = || lease.has_device_side().expect("a block");
    assert_eq!(status(lease.copy(true, 0, ALL, &foreign, None)), Status::WrongDevice);
    assert_eq!(status(lease.publish(&foreign)), Status::WrongDevice);
    let (_, token) = lease.begin(Access::Write, 0, ALL, Timeout::Try).expect("a write");
    assert_eq!(status(lease.copy(true, 0, ALL, &timeline, None)), Status::Busy);
    assert_eq!(status(lease.publish(&timeline)), Status::Busy);
    lease.end(Access::Write, token).expect("its end");
    common::kit(&timeline).begin_capture().expect("a capture");
    assert_eq!(status(lease.copy(true, 0, ALL, &timeline, None)), Status::Capturing);
    common::kit(&timeline).end_capture().expect("a graph");
    assert_eq!(status(lease.copy(true, BYTES, 0, &timeline, None)), Status::Ok, "nothing is to be copied");
    assert!(!has_twin());
    lease.copy(true, 0, ALL, &timeline, None).expect("a copy");
    assert!(has_twin());
}

#[test]
fn a_twin_that_was_never_there_has_nothing_to_bring_back() {
    let device = device();
    let timeline = stream(&device);
    let lease = acquire(&pool(&device, Placement::Pinned, Twin::Lazy));
    put(&lease, 1);
    assert_eq!(status(lease.copy(false, 0, ALL, &timeline, Some(Timeout::Infinite))), Status::Unsupported);
    assert_eq!((byte(&lease), lease.has_device_side().expect("a block")), (1, false));
}
