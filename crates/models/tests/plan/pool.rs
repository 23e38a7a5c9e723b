//! A pool: whoever has a block has it alone, and nothing on the device uses it any more, in every order of things.

use crate::common::{self, DEADLINE, block, pool};
use gpubuf_models::config::checks::Check;
use gpubuf_models::config::{Placement, Timeout};
use gpubuf_models::device::Opening;
use gpubuf_models::error::Status;
use gpubuf_models::fence::{Access, Timeline, Which};
use gpubuf_models::lease::{Lease, Twin};
use gpubuf_models::plan::{check, finds};
use gpubuf_models::pool::{Growth, Pool, PoolOptions};
use gpubuf_models::sync::{Arc, time_passes};
use shuttle::thread;
use std::slice::from_ref;

/// Fills a block, has it copied to its twin, and gives it back while the copy is pending.
fn use_block(lease: &Lease, stream: &Arc<Timeline>, value: u8, shared: &gpubuf_models::device::Shared) {
    let (at, token) = lease.begin(Access::Write, 0, 4, Timeout::Infinite).expect("a guard");
    for place in 0..4 {
        // SAFETY: inside the guard.
        unsafe { at.add(place).write_volatile(value) };
        gpubuf_models::sync::switch();
    }
    lease.end(Access::Write, token).expect("the guard ends");
    lease.copy(true, 0, 4, stream, None).expect("a copy");
    stream
        .record()
        .expect("a fence")
        .wait(&gpubuf_models::fence::HostWait::of_device(Timeout::Infinite))
        .expect("done");
    let target = lease.memory(Which::Device).expect("a twin").device;
    for place in 0..4 {
        assert_eq!(shared.byte_at(target + place), value, "what the device got is not what was written for it");
    }
}

/// As [`use_block`], and nobody waits: the block goes back while its copy is pending. The next holder must not write before.
fn send_off(lease: &Lease, stream: &Arc<Timeline>, value: u8) {
    let (at, token) = lease.begin(Access::Write, 0, 4, Timeout::Try).expect("proven at acquire");
    // SAFETY: inside the guard.
    unsafe { at.write_bytes(value, 4) };
    lease.end(Access::Write, token).expect("the guard ends");
    lease.copy(true, 0, 4, stream, None).expect("a copy");
}

fn two_threads_share_one_block() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let stream = opening.stream();
    let other = thread::spawn({
        let (pool, stream) = (pool.clone(), stream.clone());
        move || {
            let lease = pool.acquire(0, Timeout::Infinite).expect("a block");
            send_off(&lease, &stream, 1);
            lease.release().expect("released with its copy pending");
        }
    });
    let lease = pool.acquire(0, Timeout::Infinite).expect("a block");
    use_block(&lease, &stream, 2, &opening.shared);
    lease.release().expect("released");
    other.join().unwrap();
    let levels = pool.levels();
    assert_eq!((levels.free, levels.held, levels.waiters), (1, 0, 0));
    common::end(pool, opening);
}

/// The next holder writes with no guard, as a program does that has the block's address: acquire alone keeps the pending copy's
/// source as it is, whether the block was free by then or is handed over.
fn the_next_holder_writes_with_no_guard() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let stream = opening.stream();
    let held = block(&pool);
    send_off(&held, &stream, 1);
    let target = held.memory(Which::Device).expect("a twin").device;
    let next = thread::spawn({
        let pool = pool.clone();
        move || {
            let lease = pool.acquire(0, Timeout::Infinite).expect("a block");
            let at = lease.memory(Which::Host).expect("host memory").host;
            // SAFETY: the block is this thread's, and nothing uses it any more.
            unsafe { at.write_bytes(2, 4) };
            lease.release().expect("released");
        }
    });
    held.release().expect("released with its copy pending");
    next.join().unwrap();
    opening.drain();
    for place in 0..4 {
        assert_eq!(opening.shared.byte_at(target + place), 1, "the next holder wrote what was still being copied");
    }
    drop(held);
    common::end(pool, opening);
}

fn a_deadline_passes_while_a_block_comes_back() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let held = block(&pool);
    let waiter = thread::spawn({
        let pool = pool.clone();
        move || match pool.acquire(0, DEADLINE) {
            Ok(lease) => {
                lease.release().expect("released");
                true
            }
            Err(error) => {
                assert_eq!(error.status(), Status::Timeout);
                false
            }
        }
    });
    let clock = thread::spawn(time_passes);
    held.release().expect("released");
    waiter.join().unwrap();
    clock.join().unwrap();
    let levels = pool.levels();
    assert_eq!((levels.free, levels.held, levels.waiters), (1, 0, 0), "the block is neither lost nor doubled");
    block(&pool).release().unwrap();
    common::end(pool, opening);
}

/// The copy of the first holder is pending when the deadline of the second passes: the third must still wait for it.
fn a_deadline_keeps_the_uses() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let stream = opening.stream();
    let lease = block(&pool);
    send_off(&lease, &stream, 1);
    let target = lease.memory(Which::Device).expect("a twin").device;
    lease.release().expect("released with its copy pending");
    let clock = thread::spawn(time_passes);
    let lease = match pool.acquire(0, DEADLINE) {
        Ok(lease) => lease,
        Err(error) => {
            assert_eq!(error.status(), Status::Timeout);
            pool.acquire(0, Timeout::Infinite).expect("in the end")
        }
    };
    assert_eq!(opening.shared.byte_at(target + 3), 1, "the copy was not over when its source was given to the next");
    lease.release().unwrap();
    clock.join().unwrap();
    common::end(pool, opening);
}

fn a_destroyed_pool_sends_its_waiters_away() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let held = block(&pool);
    let waiter = thread::spawn({
        let pool = pool.clone();
        move || match pool.acquire(0, Timeout::Infinite) {
            Ok(lease) => lease.release().expect("released"),
            Err(error) => assert_eq!(error.status(), Status::ShutDown),
        }
    });
    let destroyer = thread::spawn({
        let pool = pool.clone();
        move || pool.destroy()
    });
    held.release().expect("released");
    waiter.join().unwrap();
    destroyer.join().unwrap();
    drop(held);
    common::end(pool, opening);
}

/// The fence of a release cannot be recorded: the block goes out of use, and whoever waits for it is told.
fn a_failed_record_quarantines() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let stream = opening.stream();
    let held = block(&pool);
    let waiter = thread::spawn({
        let pool = pool.clone();
        move || pool.acquire(0, Timeout::Infinite).err().map(|error| error.status())
    });
    opening.shared.faults.record.set(1);
    held.device_address().expect("an address");
    let released = held.release_after(from_ref(&stream));
    assert!(released.is_err(), "the record failed");
    assert_eq!(waiter.join().unwrap(), Some(Status::Exhausted));
    let levels = pool.levels();
    assert_eq!((levels.free, levels.held, levels.quarantined, levels.waiters), (0, 0, 1, 0));
    drop(held);
    opening.stop();
}

/// Has a block for a moment; why not, where it has none.
fn pass_through(pool: &Arc<Pool>) -> Option<Status> {
    match pool.acquire(0, Timeout::Infinite) {
        Ok(lease) => lease.release().err().map(|error| error.status()),
        Err(error) => Some(error.status()),
    }
}

/// What a lost device used is never freed; nothing of it may be left for the next execution to find.
fn end_lost(pool: Arc<Pool>, opening: Opening) {
    pool.destroy();
    drop(pool);
    opening.drain();
    opening.stop();
}

/// The last block goes out of use while another is made, which fails: whoever waits is told, as whoever comes next is.
fn the_last_block_goes_while_another_is_made() {
    let opening = Opening::new();
    let growth = Growth { max_blocks: 2, ..Growth::default() };
    let options = PoolOptions { growth, twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, 4, 1) };
    let pool = Pool::create(&opening.device, options).expect("a pool");
    let stream = opening.stream();
    let held = block(&pool);
    let waiter = thread::spawn({
        let pool = pool.clone();
        move || pass_through(&pool)
    });
    let maker = thread::spawn({
        let pool = pool.clone();
        move || pool.adapt().made
    });
    opening.shared.lose();
    held.device_address().expect("an address");
    assert!(held.release_after(from_ref(&stream)).is_err(), "a lost device records nothing");
    let made = maker.join().unwrap();
    let told = waiter.join().unwrap();
    assert!(told == Some(Status::DeviceLost) || made == 1 && told.is_none());
    assert_eq!(pool.levels().waiters, 0);
    drop(held);
    end_lost(pool, opening);
}

/// The device is lost while a block is made again, and others wait for it: each is told.
fn a_block_is_not_made_again() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    assert_eq!(pool.trim(0), 1);
    let users = [(); 3].map(|()| {
        let pool = pool.clone();
        thread::spawn(move || pass_through(&pool))
    });
    opening.shared.lose();
    for user in users {
        let told = user.join().unwrap();
        assert!(told.is_none_or(|status| status == Status::DeviceLost));
    }
    assert_eq!(pool.levels().waiters, 0);
    end_lost(pool, opening);
}

/// The device is lost while a block is made for whoever comes, and somebody waits for that one: he makes it himself, in vain.
fn a_block_is_not_warmed() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    assert_eq!(pool.trim(0), 1);
    let maker = thread::spawn({
        let pool = pool.clone();
        move || drop(pool.warm(1))
    });
    let user = thread::spawn({
        let pool = pool.clone();
        move || pass_through(&pool)
    });
    opening.shared.lose();
    maker.join().unwrap();
    let told = user.join().unwrap();
    assert!(told.is_none_or(|status| status == Status::DeviceLost));
    assert_eq!(pool.levels().waiters, 0);
    end_lost(pool, opening);
}

/// What a clear says is so: either a block is held, or every one went.
fn a_clear_against_an_acquire() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let user = thread::spawn({
        let pool = pool.clone();
        move || pool.acquire(0, Timeout::Infinite).expect("a block")
    });
    match pool.clear() {
        Ok(gone) => assert_eq!(gone, 1, "cleared, and its only block is held"),
        Err(error) => assert_eq!(error.status(), Status::Busy),
    }
    let lease = user.join().unwrap();
    lease.release().expect("released");
    drop(lease);
    common::end(pool, opening);
}

/// Two wait in line, of two priorities; both are served, the second after the first gave back.
fn two_waiters_are_served() {
    let opening = Opening::new();
    let pool = pool(&opening, 1);
    let held = block(&pool);
    let waiters = [0, 1].map(|priority| {
        let pool: Arc<Pool> = pool.clone();
        thread::spawn(move || pool.acquire(priority, Timeout::Infinite).expect("a block").release().expect("released"))
    });
    held.release().expect("released");
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(pool.levels().free, 1);
    drop(held);
    common::end(pool, opening);
}

#[test]
fn every_plan() {
    check("two threads, one block", 1, 500, two_threads_share_one_block);
    check("a holder who writes with no guard", 2, 500, the_next_holder_writes_with_no_guard);
    check("a deadline against a hand-over", 2, 500, a_deadline_passes_while_a_block_comes_back);
    check("a deadline against a fence", 1, 500, a_deadline_keeps_the_uses);
    check("destroy against wait and release", 2, 500, a_destroyed_pool_sends_its_waiters_away);
    check("a failed record against a waiter", 2, 500, a_failed_record_quarantines);
    check("a failed growth against a waiter", 2, 500, the_last_block_goes_while_another_is_made);
    check("a lost device against those who wait for one more block", 1, 500, a_block_is_not_made_again);
    check("a lost device against a warming and who waits for it", 2, 500, a_block_is_not_warmed);
    check("clear against acquire", 2, 500, a_clear_against_an_acquire);
    check("two waiters", 2, 500, two_waiters_are_served);
}

#[test]
fn without_a_check_some_plan_does_damage() {
    println!("{}", finds(Check::AcquireWaits, 1, the_next_holder_writes_with_no_guard));
    println!("{}", finds(Check::HandOver, 1, the_next_holder_writes_with_no_guard));
    println!("{}", finds(Check::TimeoutKeepsUses, 1, a_deadline_keeps_the_uses));
    println!("{}", finds(Check::DestroyWakes, 1, a_destroyed_pool_sends_its_waiters_away));
    println!("{}", finds(Check::Exhausted, 1, a_failed_record_quarantines));
}
