//! Pools.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device};
use gpubuf::lease::{Lease, Twin};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::Arc;
use std::thread;
use std::time::Duration;

fn pool(device: &Arc<Device>, block_count: u32, placement: Placement) -> Arc<Pool> {
    let twin = if placement == Placement::Pinned { Twin::Eager } else { Twin::Never };
    Pool::create(device, PoolOptions { twin, ..PoolOptions::new(placement, BYTES, block_count) }).expect("a pool")
}

/// Acquires on another thread, which is waiting when this returns.
fn waiter(pool: &Arc<Pool>, timeout: Timeout) -> thread::JoinHandle<gpubuf::error::Result<Lease>> {
    let shared = pool.clone();
    let thread = thread::spawn(move || shared.acquire(0, timeout));
    while pool.levels().waiters == 0 && !thread.is_finished() {
        thread::yield_now();
    }
    thread
}

fn quarantine(device: &Arc<Device>, lease: &Lease) -> Status {
    kit_of(device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).expect("a fault");
    status(lease.release_after(&[stream(device)]))
}

pub const CASES: &[Case] = &[
    case!(AcquireWaits, "a block that a queued copy reads is not handed out", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Pinned);
        let mut held = Held::new(&device);
        let lease = pool.acquire(0, Timeout::Try).works()?;
        lease.copy(true, 0, ALL, &held.timeline, None).works()?;
        lease.release().works()?;
        ensure!(status(pool.acquire(0, Timeout::Try)) == Status::Busy, it);
        held.open();
        ensure!(status(pool.acquire(0, Timeout::Try)) == Status::Ok, "it is free when the copy is done");
    }),
    case!(AcquirePrefersProven, "a block that needs no wait is taken first", |it| {
        let device = device();
        let pool = pool(&device, 2, Placement::Uva);
        let held = Held::new(&device);
        let used = pool.acquire(0, Timeout::Try).works()?;
        let unused = pool.acquire(0, Timeout::Try).works()?;
        used.release_after(std::slice::from_ref(&held.timeline)).works()?;
        unused.release().works()?;
        let taken = pool.acquire(0, Timeout::Try);
        ensure!(taken.is_ok_and(|lease| lease.number() == unused.number()), it);
    }),
    case!(TimeoutKeepsUses, "a wait that ends early changes nothing", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Uva);
        let held = Held::new(&device);
        pool.acquire(0, Timeout::Try).works()?.release_after(std::slice::from_ref(&held.timeline)).works()?;
        ensure!(status(pool.acquire(0, SHORT)) == Status::Timeout, "the block is in flight");
        ensure!(status(pool.acquire(0, Timeout::Try)) == Status::Busy, it);
    }),
    case!(AddressGuard, "no address is given while the block is being written", |it| {
        let device = device();
        let lease = pool(&device, 1, Placement::Uva).acquire(0, Timeout::Try).works()?;
        let (_, token) = lease.begin(Access::Write, 0, 1, Timeout::Try).works()?;
        ensure!(status(lease.device_address()) == Status::Busy, it);
        lease.end(Access::Write, token).works()?;
        ensure!(status(lease.device_address()) == Status::Ok, "ended guards are gone");
    }),
    case!(ReleaseSealed, "a block with an unseen reader is not released", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Uva);
        let lease = pool.acquire(0, Timeout::Try).works()?;
        lease.device_address().works()?;
        ensure!(status(lease.release()) == Status::Unfenced, it);
        ensure!(pool.levels().held == 1, "it is still held");
        lease.fence(&[stream(&device)]).works()?;
        ensure!(status(lease.release()) == Status::Ok, "a declared fence unseals");
    }),
    case!(ReleaseGuard, "a block being written is not released", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Uva);
        let lease = pool.acquire(0, Timeout::Try).works()?;
        let (_, token) = lease.begin(Access::Write, 0, 1, Timeout::Try).works()?;
        ensure!(status(lease.release()) == Status::Busy, it);
        ensure!(status(lease.release_after(&[stream(&device)])) == Status::Busy, it);
        lease.end(Access::Write, token).works()?;
        ensure!(status(lease.release()) == Status::Ok, "ended guards are gone");
    }),
    case!(HandOver, "a block handed to a waiter keeps its uses", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Uva);
        let mut held = Held::new(&device);
        let lease = pool.acquire(0, Timeout::Try).works()?;
        let waiting = waiter(&pool, Timeout::Within(Duration::from_millis(500)));
        lease.release_after(std::slice::from_ref(&held.timeline)).works()?;
        let answer = status(waiting.join().expect("the waiter"));
        ensure!(answer == Status::Timeout, it);
        ensure!(pool.counters().hand_overs.get() == 1, "it was handed over");
        held.open();
        ensure!(status(pool.acquire(0, Timeout::Try)) == Status::Ok, "no block is lost");
    }),
    case!(RecordQuarantines, "a block whose readers could not be fenced is not used again", |it| {
        let device = device();
        let pool = pool(&device, 2, Placement::Uva);
        let lease = pool.acquire(0, Timeout::Try).works()?;
        lease.device_address().works()?;
        ensure!(quarantine(&device, &lease) != Status::Ok, "the failure is told");
        ensure!(pool.levels().quarantined == 1, it);
        ensure!(device.counters.quarantined_bytes.get() == BYTES, "the bytes stay counted");
        let other = pool.acquire(0, Timeout::Try).works()?;
        ensure!(other.number() != lease.number(), "the other block is fine");
    }),
    case!(Exhausted, "with no usable block left everybody is told at once", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Uva);
        let lease = pool.acquire(0, Timeout::Try).works()?;
        let waiting = waiter(&pool, Timeout::Within(Duration::from_millis(500)));
        quarantine(&device, &lease);
        ensure!(status(waiting.join().expect("the waiter")) == Status::Exhausted, it);
        ensure!(status(pool.acquire(0, Timeout::Try)) == Status::Exhausted, it);
    }),
    case!(DestroyWakes, "a destroyed pool wakes its waiters", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Uva);
        let lease = pool.acquire(0, Timeout::Try).works()?;
        let waiting = waiter(&pool, Timeout::Within(Duration::from_millis(500)));
        pool.destroy();
        ensure!(status(waiting.join().expect("the waiter")) == Status::ShutDown, it);
        ensure!(status(lease.begin(Access::Write, 0, 1, Timeout::Try)) == Status::Ok, "held blocks stay held");
        ensure!(device.maintain() == 0, "and are not freed");
        lease.release().ok();
    }),
    case!(CopySealed, "a sealed block is no target of a copy", |it| {
        let device = device();
        let lease = pool(&device, 1, Placement::Pinned).acquire(0, Timeout::Try).works()?;
        lease.device_address().works()?;
        ensure!(status(lease.copy(true, 0, ALL, &stream(&device), None)) == Status::Unfenced, it);
        lease.fence(&[stream(&device)]).works()?;
        ensure!(status(lease.copy(true, 0, ALL, &stream(&device), None)) == Status::Ok, "a declared fence unseals");
    }),
    case!(NotHeld, "a released block is not touched by its old holder", |it| {
        let device = device();
        let pool = pool(&device, 1, Placement::Uva);
        let old = pool.acquire(0, Timeout::Try).works()?;
        old.release().works()?;
        let new = pool.acquire(0, Timeout::Try).works()?;
        ensure!(status(old.begin(Access::Write, 0, 1, Timeout::Try)) == Status::NotHeld, it);
        ensure!(status(old.release()) == Status::NotHeld, it);
        ensure!(status(new.release()) == Status::Ok, "the new holder is not disturbed");
    }),
];
