//! Leased blocks, whoever they come from: their device side, and how a lease ends.

mod common;

use common::{busy, hold, pair_of, ran, release, status, stream};
use gpubuf::backend::BackendKind;
use gpubuf::buffer::BufferOptions;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Policy};
use gpubuf::lease::{AloneOptions, Lease, Twin};
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::{Arc, Mutex, MutexGuard};

/// A device, for one test at a time: opening one tidies up behind all others whose owners are gone.
fn device() -> (MutexGuard<'static, ()>, Arc<Device>) {
    static ONE: Mutex<()> = Mutex::new(());
    (ONE.lock(), common::device())
}

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
    let (_one, device) = device();
    let other = common::device();
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
    let (_one, device) = device();
    let timeline = stream(&device);
    let lease = acquire(&pool(&device, Placement::Pinned, Twin::Lazy));
    put(&lease, 1);
    assert_eq!(status(lease.copy(false, 0, ALL, &timeline, Some(Timeout::Infinite))), Status::Unsupported);
    assert_eq!((byte(&lease), lease.has_device_side().expect("a block")), (1, false));
    let other = common::device();
    let nothing = |up| status(lease.copy(up, 0, 0, &stream(&other), None));
    assert_eq!([nothing(true), nothing(false)], [Status::WrongDevice; 2]);
}

/// Runs `step` while memory of somebody else's waits for a work that is over, on a device whose owner is gone: whatever is
/// destroyed next tidies up behind it, and calls its release callback. Returns what that was told.
fn told_in_a_callback(device: &Arc<Device>, ask: impl Fn() -> Status + Send + 'static, step: impl FnOnce()) -> Status {
    let gate = stream(device);
    let told = Arc::new(Mutex::new(None));
    let mut memory = vec![0u8; BYTES as usize];
    let release_callback = {
        let told = told.clone();
        move || *told.lock() = Some(ask())
    };
    let borrowed = common::buffer(
        device,
        BufferOptions {
            host: Placement::Pageable,
            host_memory: memory.as_mut_ptr(),
            release: Some(Box::new(release_callback)),
            ..pair_of(BYTES)
        },
    );
    hold(&gate);
    borrowed.copy(false, 0, ALL, &gate, None).expect("a copy");
    drop(borrowed);
    device.orphan();
    release(&gate);
    assert!(told.lock().is_none(), "nobody has noticed yet");
    step();
    device.drain(Timeout::Infinite).expect("the end");
    told.lock().take().expect("a callback")
}

#[test]
fn release_callbacks_are_called_inside_no_block() {
    let (_one, device) = device();
    let timeline = stream(&device);
    let lease = acquire(&pool(&device, Placement::Uva, Twin::Never));
    lease.promote(&timeline).expect("a promotion");
    let asked = lease.clone();
    let ask = move || status(asked.host_ptr());
    assert_eq!(told_in_a_callback(&device, ask, || lease.demote(&timeline).expect("a demotion")), Status::Ok);
}

#[test]
fn release_callbacks_are_called_inside_no_block_that_goes_back_to_its_manager() {
    let (_one, device) = device();
    let shut = stream(&device);
    let pinned = Pinned::create(&device, PinnedOptions::new(Placement::Pinned, 1 << 20)).expect("a manager");
    let block = pinned.allocate(&Request { twin: Twin::Eager, ..Request::new(BYTES) }).expect("a block");
    hold(&shut);
    block.copy(true, 0, ALL, &shut, None).expect("a copy");
    let asked = block.clone();
    let ask = move || status(asked.has_device_side());
    let told = told_in_a_callback(&device, ask, || {
        pinned.free(&block).expect("given back, with a use");
        release(&shut);
    });
    assert_eq!(told, Status::NotHeld, "given back, and nobody is inside");
}

#[test]
fn a_fresh_lease_has_nothing_newer() {
    let (_one, device) = device();
    let timeline = stream(&device);
    let pool = pool(&device, Placement::Pinned, Twin::Eager);
    let lease = acquire(&pool);
    lease.device_address().expect("an address");
    lease.fence(std::slice::from_ref(&timeline)).expect("a fence");
    ran(&timeline);
    // The read notices that the device is done: the block goes back without uses.
    byte(&lease);
    lease.release().expect("a release");
    let lease = acquire(&pool);
    assert_eq!(lease.flows().expect("figures").1, [0, 0], "newer bytes of the last holder");
    put(&lease, 1);
    lease.sync(Policy::Refuse, &timeline, None).expect("only the host has written");
}

/// Whose memory waits for a drain, and how many there were of them.
fn deferred(device: &Device) -> (u64, u64) {
    (device.deferred().0, device.counters.sealed_at_destroy.get())
}

#[test]
fn a_block_that_is_given_up_comes_back_with_a_drain() {
    let (_one, device) = device();
    let timeline = stream(&device);
    let pool = pool(&device, Placement::Uva, Twin::Never);
    let lease = acquire(&pool);
    lease.device_address().expect("an address");
    assert_eq!(status(lease.release()), Status::Unfenced);
    busy(&timeline);
    lease.abandon().expect("given up");
    assert_eq!(status(lease.host_ptr()), Status::NotHeld);
    let levels = pool.levels();
    assert_eq!((levels.blocks, levels.held, levels.quarantined), (0, 0, 0));
    device.maintain();
    assert_eq!(deferred(&device), (1, 1), "somebody may use it, and only a drain knows");
    acquire(&pool).release().expect("another was made");
    device.drain(Timeout::Infinite).expect("a drain");
    device.backend().await_frees(None);
    assert_eq!((deferred(&device), device.counters.pinned_bytes.get()), ((0, 1), BYTES));
}

#[test]
fn giving_up_a_block_that_nobody_uses_unseen_is_a_release() {
    let (_one, device) = device();
    let pool = pool(&device, Placement::Uva, Twin::Never);
    let lease = acquire(&pool);
    let (_, token) = lease.begin(Access::Read, 0, ALL, Timeout::Try).expect("a read");
    assert_eq!(status(lease.abandon()), Status::Busy, "a guard is open");
    lease.end(Access::Read, token).expect("its end");
    lease.abandon().expect("a release");
    assert_eq!((pool.levels().free, deferred(&device)), (1, (0, 0)));
}

#[test]
fn memory_of_a_block_of_a_manager_or_its_own_that_is_given_up_comes_back_with_a_drain() {
    let (_one, device) = device();
    let pinned = Pinned::create(&device, PinnedOptions::new(Placement::Uva, BYTES)).expect("a manager");
    let alone =
        AloneOptions { placement: Placement::Uva, bytes: BYTES, twin: Twin::Never, timed: false, label: String::new() };
    let alone = Lease::create(&device, alone).expect("a block");
    let managed = pinned.allocate(&Request::new(BYTES)).expect("a block");
    for lease in [&alone, &managed] {
        lease.device_address().expect("an address");
        lease.abandon().expect("given up");
    }
    assert_eq!(status(pinned.allocate(&Request::new(BYTES))), Status::Budget, "its bytes are pending");
    assert_eq!(deferred(&device), (2, 2));
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(deferred(&device), (0, 2));
    pinned.allocate(&Request::new(BYTES)).expect("the budget is there again");
}

#[test]
fn a_release_of_many_asks_each_stream_once() {
    if common::backend() != BackendKind::Cuda {
        return;
    }
    let (_one, device) = device();
    let streams: Vec<_> = (0..8).map(|_| stream(&device)).collect();
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 64) };
    let pool = Pool::create(&device, options).expect("a pool");
    let leases: Vec<_> = (0..64).map(|_| acquire(&pool)).collect();
    let driver = common::standin::Cuda::open();
    let asked = || (driver.calls("cuStreamIsCapturing"), driver.calls("cuEventRecord"));
    let before = asked();
    Lease::release_after_many(&leases, &streams).expect("a release");
    let (capturing, records) = asked();
    assert_eq!((capturing - before.0, records - before.1), (8, 8));
}
