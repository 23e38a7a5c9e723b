//! The end of the library in a process: a test program of its own, since nothing works afterwards.

mod common;

use gpubuf::config::{Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::shut_down_all;
use gpubuf::pool::{Pool, PoolOptions};
use std::time::Duration;

#[test]
fn a_thread_that_waits_for_a_block_is_sent_away() {
    let device = common::device();
    let options = PoolOptions::new(Placement::Uva, 64, 1);
    let pool = Pool::create(&device, options).expect("a pool");
    let held = pool.acquire(0, Timeout::Try).expect("a block");
    let waiting = std::thread::spawn({
        let pool = pool.clone();
        move || pool.acquire(0, Timeout::Infinite).map(drop).map_err(|error| error.status())
    });
    while pool.levels().waiters == 0 {
        std::thread::yield_now();
    }
    shut_down_all(Timeout::Within(Duration::from_secs(10))).expect("a shutdown");
    assert_eq!(waiting.join().expect("the waiter"), Err(Status::ShutDown));
    assert_eq!(pool.acquire(0, Timeout::Try).map(drop).map_err(|error| error.status()), Err(Status::ShutDown));
    shut_down_all(Timeout::Try).expect("a second shutdown changes nothing");
    held.release().expect("what is held may still be given back");
}
