//! Threads that want more than there is.

use crate::common::*;
use crate::kit::*;
use gpubuf::config::{Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::pinned::{Over, Pinned, PinnedOptions, Request, Told};
use gpubuf::sync::{Arc, AtomicU64, Mutex, Ordering};
use std::thread;
use std::time::Duration;

fn waiting(bytes: u64, priority: i32) -> Request {
    Request { over: Over::Wait, priority, timeout: Timeout::Infinite, ..Request::new(bytes) }
}

/// Returns when so many threads wait.
fn until_waiting(pinned: &Pinned, waiters: u64) {
    while pinned.figures().waiters < waiters {
        thread::yield_now();
    }
}

#[test]
fn who_waits_is_served_by_priority_then_in_order_and_never_overtaken() {
    let device = device();
    let pinned = manager(&device, 100);
    let all = give(&pinned, 100);
    let served: Mutex<Vec<&str>> = Mutex::default();
    thread::scope(|scope| {
        for (number, (name, bytes, priority)) in
            [("first", 60, 0), ("second", 40, 0), ("urgent", 100, 5)].into_iter().enumerate()
        {
            let (pinned, served) = (&pinned, &served);
            scope.spawn(move || {
                let block = pinned.allocate(&waiting(bytes, priority)).unwrap();
                served.lock().push(name);
                pinned.free(&block).unwrap();
            });
            until_waiting(pinned, number as u64 + 1);
        }
        pinned.free(&all).unwrap();
    });
    assert_eq!(served.lock()[0], "urgent");
    let figures = checked(&pinned);
    assert_eq!((figures.waits, figures.timeouts, figures.requested_bytes), (3, 0, 0));
}

#[test]
fn a_small_request_does_not_pass_a_large_one_that_waits() {
    let device = device();
    let pinned = manager(&device, 100);
    let (most, some) = (give(&pinned, 50), give(&pinned, 10));
    thread::scope(|scope| {
        let large = scope.spawn(|| pinned.allocate(&waiting(80, 0)).unwrap());
        until_waiting(&pinned, 1);
        let refused = pinned.allocate(&Request::new(5)).map(drop).unwrap_err();
        assert_eq!(refused.status(), Status::Budget);
        assert!(refused.message().contains("1 requests that wait come first"), "{refused}");
        drop(pinned.allocate(&Request { priority: 1, ..Request::new(5) }).unwrap());
        // Of what a higher priority took, nobody tells: the drop has to be noticed.
        device.maintain();
        pinned.free(&most).unwrap();
        let large = large.join().unwrap();
        [large, some].iter().for_each(|block| pinned.free(block).unwrap());
    });
}

#[test]
fn who_was_passed_over_too_often_is_passed_over_no_more() {
    let device = device();
    let pinned = manager(&device, 100);
    let most = give(&pinned, 90);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pinned.allocate(&waiting(50, 0)).unwrap());
        until_waiting(&pinned, 1);
        let urgent = Request { priority: 1, ..Request::new(5) };
        for _ in 0..64 {
            pinned.allocate(&urgent).unwrap().release().unwrap();
        }
        assert_eq!(status(pinned.allocate(&urgent)), Status::Budget);
        pinned.free(&most).unwrap();
        let block = waiter.join().unwrap();
        pinned.free(&block).unwrap();
    });
}

#[test]
fn what_can_never_be_had_is_not_waited_for() {
    let device = device();
    let (told, options) = listening(100);
    let pinned = Pinned::create(&device, options).unwrap();
    assert_eq!(status(pinned.allocate(&waiting(101, 0))), Status::Budget);
    let _all = give(&pinned, 100);
    assert_eq!(status(pinned.allocate(&Request { timeout: Timeout::Try, ..waiting(1, 0) })), Status::Busy);
    let timeout = Timeout::Within(Duration::from_micros(1));
    assert_eq!(status(pinned.allocate(&Request { timeout, ..waiting(1, 0) })), Status::Timeout);
    let figures = checked(&pinned);
    assert_eq!((figures.timeouts, figures.waiters), (2, 0));
    let told: Vec<Told> = told.lock().iter().map(|told| told.0).collect();
    assert_eq!(told, [Told::Refused, Told::Refused, Told::Waits, Told::Refused], "a try is refused, too");
}

#[test]
fn a_destroyed_manager_sends_away_who_waits() {
    let device = device();
    let pinned = manager(&device, 100);
    let all = give(&pinned, 100);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| status(pinned.allocate(&waiting(1, 0))));
        until_waiting(&pinned, 1);
        pinned.destroy();
        assert_eq!(waiter.join().unwrap(), Status::ShutDown);
    });
    pinned.free(&all).unwrap();
}

#[test]
fn who_waits_notices_that_a_last_use_is_over() {
    // Nobody calls maintain: the waiter looks itself.
    let device = device();
    let stream = stream(&device);
    let pinned = manager(&device, 100);
    let all = give(&pinned, 100);
    hold(&stream);
    busy(&stream);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pinned.allocate(&waiting(100, 0)).unwrap());
        until_waiting(&pinned, 1);
        all.release_after(std::slice::from_ref(&stream)).unwrap();
        assert_eq!(checked(&pinned).waiters, 1);
        release(&stream);
        let block = waiter.join().unwrap();
        pinned.free(&block).unwrap();
    });
}

#[test]
fn who_waits_for_a_last_use_that_no_lost_device_proves_is_told() {
    let device = device();
    let stream = stream(&device);
    let pinned = manager(&device, 100);
    let (used, held) = (give(&pinned, 50), give(&pinned, 50));
    hold(&stream);
    busy(&stream);
    // Told at once, or late.
    let patient = Request { timeout: Timeout::Within(Duration::from_secs(20)), ..waiting(50, 0) };
    thread::scope(|scope| {
        let waiter = scope.spawn(|| status(pinned.allocate(&patient)));
        until_waiting(&pinned, 1);
        used.release_after(std::slice::from_ref(&stream)).unwrap();
        lose(&device);
        assert_eq!(waiter.join().unwrap(), Status::DeviceLost, "what the other block has would be enough");
    });
    assert_eq!(checked(&pinned).quarantined_bytes, 50);
    pinned.free(&held).unwrap();
}

#[test]
fn who_is_served_on_a_lost_device_gets_no_block() {
    let device = device();
    let pinned = manager(&device, 100);
    let all = give(&pinned, 100);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| status(pinned.allocate(&waiting(50, 0))));
        until_waiting(&pinned, 1);
        lose(&device);
        pinned.free(&all).unwrap();
        assert_eq!(waiter.join().unwrap(), Status::DeviceLost);
    });
    assert_eq!(checked(&pinned).blocks, 0);
}

#[test]
fn a_reservation_waits_its_turn_and_its_end_serves_the_next() {
    let device = device();
    let pinned = manager(&device, 100);
    let reservation = pinned.reserve(&Request::new(100)).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pinned.reserve(&waiting(70, 0)).unwrap());
        until_waiting(&pinned, 1);
        reservation.roll_back();
        let second = waiter.join().unwrap();
        assert_eq!((second.left(), checked(&pinned).reserved_bytes), (70, 70));
    });
    assert_eq!(checked(&pinned).available_bytes, 100);
}

#[test]
fn threads_that_want_more_than_there_is_all_get_it_and_nothing_is_lost() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 300;
    let device = device();
    let options = PinnedOptions { slab_bytes: 1 << 16, ..PinnedOptions::new(Placement::Pinned, 100_000) };
    let pinned = Pinned::create(&device, options).unwrap();
    let streams = [stream(&device), stream(&device)];
    let in_use = Arc::new(AtomicU64::new(0));
    let late = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (pinned, streams, in_use, late) = (&pinned, &streams, &in_use, &late);
            scope.spawn(move || {
                let mut random = number * 7919 + 1;
                let mut next = move |end: u64| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (random >> 33) % end
                };
                for _ in 0..ROUNDS {
                    let bytes = 1 + next(60_000);
                    // Deadlines of all lengths: some pass at the very moment of a hand-over.
                    let timeout = match next(3) {
                        0 => Timeout::Within(Duration::from_nanos(1 + next(300_000))),
                        // Far beyond what it takes: memory that was lost shows below, not as a test that hangs.
                        _ => Timeout::Within(Duration::from_secs(20)),
                    };
                    let request = Request { timeout, ..waiting(bytes, next(3) as i32) };
                    let reserved = next(4) == 0;
                    let got = match reserved {
                        true => pinned.reserve(&request).and_then(|r| r.commit(&Request::new(bytes))),
                        false => pinned.allocate(&request),
                    };
                    let block = match got {
                        Ok(block) => block,
                        Err(error) => {
                            assert_eq!(error.status(), Status::Timeout, "{error}");
                            late.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                    };
                    let now = in_use.fetch_add(bytes, Ordering::SeqCst) + bytes;
                    assert!(now <= 100_000, "the budget was passed");
                    write(&block, next(256) as u8);
                    in_use.fetch_sub(bytes, Ordering::SeqCst);
                    if next(2) == 0 {
                        let stream = &streams[next(2) as usize];
                        busy(stream);
                        block.release_after(std::slice::from_ref(stream)).unwrap();
                    } else {
                        pinned.free(&block).unwrap();
                    }
                }
            });
        }
    });
    streams.iter().for_each(|stream| ran(stream));
    device.maintain();
    let figures = checked(&pinned);
    assert_eq!((figures.requested_bytes, figures.reserved_bytes, figures.waiters, figures.blocks), (0, 0, 0, 0));
    assert_eq!(figures.timeouts, late.load(Ordering::Relaxed));
    assert_eq!(figures.allocations, figures.frees);
    pinned.trim(0);
    assert_eq!(checked(&pinned).locked_bytes, 0);
}
