//! Pools: who gets which block when, how many there are, and what becomes of them.

mod common;

use common::{busy, device, hold, kit_of, lose, ran, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Member, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::lease::{AloneOptions, Lease, Twin};
use gpubuf::pool::{Adapted, BlockState, GiveBackRequest, Growth, Pool, PoolOptions, Strategy};
use gpubuf::stats::Value;
use gpubuf::sync::{Arc, AtomicU64, Mutex, Ordering};
use std::thread;
use std::time::Duration;

const BYTES: u64 = 512;

fn options(blocks: u32) -> PoolOptions {
    PoolOptions::new(Placement::Uva, BYTES, blocks)
}

fn pool(device: &Arc<Device>, options: PoolOptions) -> Arc<Pool> {
    Pool::create(device, options).expect("a pool")
}

fn acquire(pool: &Arc<Pool>) -> Lease {
    pool.acquire(0, Timeout::Try).expect("a block")
}

/// Fills a block, as one that may not wait.
fn fill(lease: &Lease, value: u8) {
    let (data, token) = lease.begin(Access::Write, 0, ALL, Timeout::Try).expect("an access");
    // SAFETY: the guard covers the block.
    unsafe { data.write_bytes(value, BYTES as usize) };
    lease.end(Access::Write, token).expect("its end");
}

fn byte(lease: &Lease) -> u8 {
    let mut byte = 0;
    // SAFETY: one byte is written.
    unsafe { lease.copy_out(7, 1, &raw mut byte, Timeout::Infinite) }.expect("a byte");
    byte
}

/// Whether a block's device memory has this value, once the stream has run.
fn device_is(timeline: &Arc<Timeline>, address: u64, value: u8) -> bool {
    ran(timeline);
    read_device(timeline.device(), address, BYTES).iter().all(|byte| *byte == value)
}

/// Threads that wait for a block one after the other, and note who came when. Each holds its block until it is let go.
struct Queue {
    pool: Arc<Pool>,
    served: Arc<Mutex<Vec<&'static str>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Queue {
    fn new(pool: &Arc<Pool>) -> Queue {
        Queue { pool: pool.clone(), served: Arc::default(), threads: Vec::new() }
    }

    fn join(&mut self, who: &'static str, priority: i32) {
        let before = self.pool.levels().waiters;
        let (pool, served) = (self.pool.clone(), self.served.clone());
        self.threads.push(thread::spawn(move || {
            let lease = pool.acquire(priority, Timeout::Infinite).expect("a block");
            served.lock().push(who);
            lease.release().expect("a release");
        }));
        while self.pool.levels().waiters == before {
            thread::yield_now();
        }
    }

    fn served(self) -> Vec<&'static str> {
        self.threads.into_iter().for_each(|thread| thread.join().expect("a waiter"));
        self.served.lock().clone()
    }
}

#[test]
fn waiters_are_served_by_priority_then_by_arrival() {
    let device = device();
    let pool = pool(&device, options(1));
    let held = acquire(&pool);
    let mut queue = Queue::new(&pool);
    for (who, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)] {
        queue.join(who, priority);
    }
    held.release().unwrap();
    assert_eq!(queue.served(), ["b", "d", "a", "c", "e"]);
    let counters = pool.counters();
    assert_eq!((counters.hand_overs.get(), counters.contended.get(), pool.levels().peak_waiters), (5, 5, 5));
}

#[test]
fn nobody_starves() {
    let device = device();
    let pool = pool(&device, PoolOptions { patience: 2, ..options(1) });
    let held = acquire(&pool);
    let mut queue = Queue::new(&pool);
    queue.join("patient", -3);
    for who in ["h1", "h2", "h3", "h4"] {
        queue.join(who, 9);
    }
    held.release().unwrap();
    assert_eq!(queue.served(), ["h1", "h2", "patient", "h3", "h4"], "passed over twice, then first");
}

#[test]
fn a_time_out_at_the_moment_of_a_hand_over_loses_nothing() {
    let device = device();
    let pool = pool(&device, options(1));
    let outcomes = [const { AtomicU64::new(0) }; 2];
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..400 {
                    // From none at all to about as long as a hand-over takes.
                    let timeout = Timeout::Within(Duration::from_micros(round % 40));
                    match pool.acquire(round as i32 % 3, timeout) {
                        Ok(lease) => {
                            outcomes[0].fetch_add(1, Ordering::Relaxed);
                            lease.release().expect("a release");
                        }
                        Err(error) => {
                            assert_eq!(error.status(), Status::Timeout);
                            outcomes[1].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let levels = pool.levels();
    assert_eq!((levels.free, levels.held, levels.waiters), (1, 0, 0), "the block is there, and nobody waits");
    let counters = pool.counters();
    assert_eq!(counters.acquires.get(), outcomes[0].load(Ordering::Relaxed));
    assert_eq!(counters.releases.get(), outcomes[0].load(Ordering::Relaxed));
    assert_eq!(counters.waits.timeouts.get(), outcomes[1].load(Ordering::Relaxed));
}

#[test]
fn a_time_out_says_how_long_the_call_was_to_wait() {
    let device = device();
    let timeline = stream(&device);
    let pool = pool(&device, options(1));
    let _held = acquire(&pool);
    hold(&timeline);
    busy(&timeline);
    let short = Timeout::Within(Duration::from_millis(3));
    for late in [pool.acquire(0, short).map(drop), timeline.synchronize(short), device.synchronize(short)] {
        let error = late.expect_err("nothing comes free, and the stream is shut");
        assert_eq!(error.status(), Status::Timeout);
        assert!(error.message().contains("the limit of this call is 3ms"), "{}", error.message());
    }
    release(&timeline);
}

#[test]
fn strategies_choose_among_what_is_proven() {
    let device = device();
    let take_and_return = |pool: &Arc<Pool>| {
        let lease = acquire(pool);
        lease.release().unwrap();
        lease.number()
    };
    let least_recent = pool(&device, options(3));
    let one = acquire(&least_recent);
    let two = acquire(&least_recent);
    two.release().unwrap();
    one.release().unwrap();
    let order: Vec<u64> = (0..4).map(|_| take_and_return(&least_recent)).collect();
    assert_eq!(order, [2, 1, 0, 2], "the longest free one");

    let round_robin = pool(&device, PoolOptions { strategy: Strategy::RoundRobin, ..options(3) });
    let one = acquire(&round_robin);
    let two = acquire(&round_robin);
    two.release().unwrap();
    one.release().unwrap();
    let order: Vec<u64> = (0..4).map(|_| take_and_return(&round_robin)).collect();
    assert_eq!(order, [2, 0, 1, 2], "by number, whoever came back first");

    // A block that the device still uses is passed over.
    let timeline = stream(&device);
    hold(&timeline);
    let used = acquire(&round_robin);
    assert_eq!(used.number(), 0);
    used.release_after(std::slice::from_ref(&timeline)).unwrap();
    let order: Vec<u64> = (0..4).map(|_| take_and_return(&round_robin)).collect();
    assert_eq!(order, [1, 2, 1, 2]);
    release(&timeline);
}

#[test]
fn the_reserve_is_for_higher_priorities() {
    let device = device();
    let create = |strategy, reserved_blocks| {
        Pool::create(&device, PoolOptions { strategy, reserved_blocks, ..options(2) }).map(drop)
    };
    assert_eq!(status(create(Strategy::Priority, 2)), Status::InvalidArgument, "all of them reserved");
    assert_eq!(status(create(Strategy::LeastRecent, 1)), Status::InvalidArgument, "a reserve without the strategy");
    let pool = pool(&device, PoolOptions { strategy: Strategy::Priority, reserved_blocks: 1, ..options(2) });
    let first = acquire(&pool);
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy, "one is free, and kept back");
    let urgent = pool.acquire(1, Timeout::Try).expect("the reserve is for this");
    // The next release fills the reserve, although somebody waits; the one behind it goes to him.
    let mut queue = Queue::new(&pool);
    queue.join("ordinary", 0);
    first.release().unwrap();
    assert_eq!((pool.levels().waiters, pool.levels().free), (1, 1));
    urgent.release().unwrap();
    assert_eq!(queue.served(), ["ordinary"]);
    assert_eq!(pool.levels().free, 2);
}

#[test]
fn the_reserve_is_kept_where_blocks_are_made_again() {
    let device = device();
    let pool = pool(&device, PoolOptions { strategy: Strategy::Priority, reserved_blocks: 1, ..options(2) });
    for free in [2, 1] {
        assert_eq!(pool.trim(2 - free), free);
        let first = acquire(&pool);
        assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy, "the last is for those of a higher priority");
        let mut queue = Queue::new(&pool);
        queue.join("ordinary", 0);
        let urgent = pool.acquire(1, Timeout::Try).expect("the reserve is for this");
        first.release().unwrap();
        assert_eq!((pool.levels().waiters, pool.levels().free), (1, 1), "the reserve is filled first");
        urgent.release().unwrap();
        assert_eq!(queue.served(), ["ordinary"]);
    }
}

#[test]
fn who_waits_makes_a_block_again_that_another_could_not_make() {
    let device = device();
    let pool = pool(&device, options(1));
    let told = |memory: u64| {
        let lease = acquire(&pool);
        lease.device_address().expect("an address");
        thread::scope(|scope| {
            let join = || scope.spawn(|| pool.acquire(0, Timeout::Infinite).map(|lease| lease.release()));
            let waiters = [join(), join()];
            while pool.levels().waiters < 2 {
                thread::yield_now();
            }
            kit_of(&device).limit_memory(Placement::Uva, memory).expect("a limit");
            lease.abandon().expect("given up: whoever wants a block makes one");
            waiters.map(|waiter| status(waiter.join().expect("a waiter")))
        })
    };
    assert_eq!(told(0), [Status::OutOfHostMemory; 2], "the second tries when the first has failed");
    kit_of(&device).limit_memory(Placement::Uva, u64::MAX).expect("no limit");
    assert_eq!(told(u64::MAX), [Status::Ok; 2], "the second has it from the first");
}

#[test]
fn a_holder_of_lower_priority_is_asked_to_give_back() {
    let device = device();
    let asked: Arc<Mutex<Vec<GiveBackRequest>>> = Arc::default();
    let leases: Arc<Mutex<Vec<Lease>>> = Arc::default();
    let give_back = {
        let (asked, leases) = (asked.clone(), leases.clone());
        Box::new(move |request: GiveBackRequest| {
            asked.lock().push(request);
            let mut leases = leases.lock();
            if let Some(place) = leases.iter().position(|lease| lease.number() == request.block as u64) {
                leases.swap_remove(place).release().expect("a release");
            }
        })
    };
    let pool = pool(&device, PoolOptions { give_back: Some(give_back), ..options(2) });
    for priority in [3, 1] {
        let lease = pool.acquire(priority, Timeout::Try).unwrap();
        leases.lock().push(lease);
    }
    assert_eq!(status(pool.acquire(9, Timeout::Try)), Status::Busy, "a try asks nobody");
    assert!(asked.lock().is_empty());
    let _urgent = pool.acquire(9, Timeout::Infinite).expect("what the lowest gave back");
    let request = GiveBackRequest { block: 1, holder_priority: 1, waiter_priority: 9 };
    assert_eq!(*asked.lock(), [request]);
    // Nobody below: nobody is asked. Asked once, not again.
    assert_eq!(status(pool.acquire(3, Timeout::Within(Duration::from_millis(1)))), Status::Timeout);
    assert_eq!(asked.lock().len(), 1);
    leases.lock().clear();
    assert_eq!(
        status(pool.acquire(4, Timeout::Within(Duration::from_millis(1)))),
        Status::Timeout,
        "the lease is lost"
    );
    assert_eq!(status(pool.acquire(4, Timeout::Within(Duration::from_millis(1)))), Status::Timeout);
    assert_eq!(asked.lock().len(), 2, "the holder with priority 3 was asked once");
    assert_eq!(pool.counters().requests.get(), 2);
}

fn growing(max_blocks: u32, cool_down: Duration) -> Growth {
    Growth { max_blocks, cool_down, ..Growth::default() }
}

#[test]
fn a_pool_grows_when_it_is_wanted_and_shrinks_when_it_is_not() {
    let device = device();
    let growth = Growth { percent: 200, ..growing(7, Duration::ZERO) };
    let pool = pool(&device, PoolOptions { growth, ..options(2) });
    assert_eq!(pool.adapt(), Adapted::default(), "nobody has asked for more");
    let mut held: Vec<Lease> = (0..2).map(|_| acquire(&pool)).collect();
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    assert_eq!(pool.levels().blocks, 2, "not on the path of whoever acquires");
    assert_eq!(pool.adapt(), Adapted { made: 2, gone: 0 });
    assert_eq!(pool.adapt(), Adapted::default(), "once for each time that there was none");
    held.extend((0..2).map(|_| acquire(&pool)));
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    assert_eq!(pool.adapt(), Adapted { made: 3, gone: 0 }, "up to the maximum");
    held.extend((0..3).map(|_| acquire(&pool)));
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    assert_eq!(pool.adapt(), Adapted::default());
    let numbers: std::collections::BTreeSet<u64> = held.iter().map(Lease::number).collect();
    assert_eq!(numbers.len(), 7, "no block is held twice");

    held.drain(1..).for_each(|lease| lease.release().unwrap());
    assert_eq!(pool.adapt(), Adapted::default(), "all were held since the last look");
    assert_eq!(pool.adapt(), Adapted { made: 0, gone: 3 }, "by the factor");
    assert_eq!(pool.adapt(), Adapted { made: 0, gone: 2 });
    held.clear();
    for _ in 0..5 {
        pool.adapt();
    }
    let levels = pool.levels();
    assert_eq!(
        (levels.blocks, levels.held, levels.peak_blocks, levels.peak_held),
        (2, 1, 7, 7),
        "never below the first size"
    );
    assert_eq!((pool.counters().growths.get(), pool.counters().shrinks.get()), (2, 2));
}

#[test]
fn a_pool_grows_where_every_free_block_is_still_in_use_on_the_device() {
    let device = device();
    let timeline = stream(&device);
    let growth = Growth { percent: 200, ..growing(4, Duration::ZERO) };
    let pool = pool(&device, PoolOptions { growth, ..options(1) });
    hold(&timeline);
    acquire(&pool).release_after(std::slice::from_ref(&timeline)).unwrap();
    assert_eq!(pool.adapt(), Adapted::default(), "nobody has asked for it");
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    assert_eq!(pool.adapt(), Adapted { made: 1, gone: 0 });
    let second = acquire(&pool);
    second.release().unwrap();
    assert_eq!(pool.adapt().made, 0, "there was one that nothing used");
    release(&timeline);
}

#[test]
fn a_pool_that_changed_stays_as_it_is_for_a_while() {
    let device = device();
    let pool = pool(&device, PoolOptions { growth: growing(8, Duration::from_secs(3600)), ..options(2) });
    let held: Vec<Lease> = (0..2).map(|_| acquire(&pool)).collect();
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    assert_eq!(pool.adapt().made, 1);
    held.iter().for_each(|lease| lease.release().unwrap());
    for _ in 0..3 {
        assert_eq!(pool.adapt(), Adapted::default(), "it cools down");
    }
}

#[test]
fn what_grows_goes_to_who_waits() {
    let device = device();
    let pool = pool(&device, PoolOptions { growth: growing(2, Duration::ZERO), ..options(1) });
    let held = acquire(&pool);
    let mut queue = Queue::new(&pool);
    queue.join("waiter", 0);
    device.keep_up();
    assert_eq!(queue.served(), ["waiter"], "while the first block is held");
    held.release().unwrap();
}

#[test]
fn growth_that_fails_is_told_and_leaves_the_pool_whole() {
    let device = device();
    let pool = pool(&device, PoolOptions { growth: growing(4, Duration::ZERO), ..options(2) });
    let held: Vec<Lease> = (0..2).map(|_| acquire(&pool)).collect();
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    kit_of(&device).limit_memory(Placement::Uva, 0).expect("a limit");
    assert_eq!(pool.adapt(), Adapted::default());
    assert_eq!((pool.counters().growth_failures.get(), pool.levels().blocks), (1, 2));
    kit_of(&device).limit_memory(Placement::Uva, u64::MAX).expect("no limit");
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    assert_eq!(pool.adapt().made, 1);
    held.iter().for_each(|lease| lease.release().unwrap());
    assert_eq!(pool.levels().free, 3);
}

#[test]
fn a_function_on_a_stream_waits_for_no_block() {
    let device = device();
    let pool = pool(&device, options(1));
    let held = acquire(&pool);
    let wait = Timeout::Within(Duration::from_millis(50));
    let answer = common::called_on(&stream(&device), || status(pool.acquire(0, wait)));
    assert_eq!(answer, Status::WouldDeadlock);
    held.release().unwrap();
}

#[test]
fn both_sides_of_a_block_are_quarantined() {
    let device = device();
    let pool = pool(&device, PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 1) });
    let options =
        AloneOptions { placement: Placement::Pinned, bytes: BYTES, twin: Twin::Eager, timed: false, label: "".into() };
    let alone = Lease::create(&device, options).unwrap();
    for (blocks, lost) in (1..).zip([acquire(&pool), alone]) {
        kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).expect("a fault");
        assert_eq!(status(lost.release_after(&[stream(&device)])), Status::Quarantined);
        assert_eq!(device.counters.quarantined_bytes.get(), blocks * 2 * BYTES);
    }
}

#[test]
fn quarantined_blocks_are_replaced() {
    let device = device();
    let pool = pool(&device, options(2));
    let kept = acquire(&pool);
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).expect("a fault");
    let lost = acquire(&pool);
    assert_eq!(status(lost.release_after(&[stream(&device)])), Status::Quarantined);
    assert_eq!((pool.levels().blocks, pool.levels().quarantined), (1, 1));
    assert_eq!(pool.adapt(), Adapted { made: 1, gone: 0 });
    let levels = pool.levels();
    assert_eq!((levels.blocks, levels.free, levels.quarantined), (2, 1, 1));
    kept.release().unwrap();
}

#[test]
fn a_pool_whose_quarantined_blocks_were_replaced_can_be_cleared() {
    let device = device();
    let pool = pool(&device, options(1));
    let lost = acquire(&pool);
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).expect("a fault");
    assert_eq!(status(lost.release_after(&[stream(&device)])), Status::Quarantined);
    assert_eq!(pool.trim(0), 0);
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Exhausted, "maintain replaces it, nobody else");
    assert_eq!(pool.adapt().made, 1);
    for _ in 0..2 {
        assert_eq!(pool.clear().unwrap(), 1);
        acquire(&pool).release().expect("made again by whoever wants it");
    }
}

#[test]
fn trimmed_and_cleared_blocks_come_back_when_they_are_wanted() {
    let device = device();
    let timeline = stream(&device);
    let pool = pool(&device, options(3));
    let pinned = || device.counters.pinned_bytes.get();
    assert_eq!(pinned(), 3 * BYTES);
    hold(&timeline);
    let held = acquire(&pool);
    assert_eq!(status(pool.clear()), Status::Busy);
    assert_eq!(pool.levels().free, 2, "refused, nothing has gone");
    held.release_after(std::slice::from_ref(&timeline)).unwrap();
    assert_eq!(pool.trim(2), 1);
    assert_eq!(pool.clear().unwrap(), 2);
    device.maintain();
    assert_eq!(pinned(), BYTES, "one of them is still read");
    release(&timeline);
    device.maintain();
    device.backend().await_frees(None);
    assert_eq!(pinned(), 0);
    assert_eq!(pool.levels().blocks, 0);
    let again: Vec<Lease> = (0..3).map(|_| acquire(&pool)).collect();
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy, "as many as there were at first");
    assert_eq!(pool.levels().blocks, 3);
    again.iter().for_each(|lease| lease.release().unwrap());
    kit_of(&device).limit_memory(Placement::Uva, 0).expect("a limit");
    assert_eq!(pool.clear().unwrap(), 3);
    let refused = status(pool.acquire(0, Timeout::Try));
    assert_eq!(refused, Status::OutOfHostMemory);
    kit_of(&device).limit_memory(Placement::Uva, u64::MAX).expect("no limit");
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Ok, "the refusal has cost no block");
}

#[test]
fn a_second_release_is_told() {
    let device = device();
    let pool = pool(&device, options(1));
    let lease = acquire(&pool);
    lease.release().unwrap();
    assert_eq!(status(lease.release()), Status::NotHeld);
    assert_eq!(status(lease.release_after(&[stream(&device)])), Status::NotHeld);
    let again = acquire(&pool);
    assert_eq!(status(lease.release()), Status::NotHeld, "somebody else has it now");
    assert_eq!((pool.levels().held, pool.levels().free), (1, 0));
    again.release().unwrap();
}

#[test]
fn what_is_known_of_each_block() {
    let device = device();
    let timeline = stream(&device);
    let pool = pool(&device, options(2));
    let state = |number| pool.block_facts(number).expect("a block").state;
    assert_eq!((state(0), state(1), pool.block_facts(2)), (BlockState::Free, BlockState::Free, None));
    assert_eq!(pool.block_facts(0).unwrap().last_use_ns, None);
    let lease = pool.acquire(4, Timeout::Try).unwrap();
    let facts = pool.block_facts(0).unwrap();
    assert_eq!((facts.state, facts.is_held, facts.uses, facts.priority), (BlockState::Acquired, true, 1, 4));
    assert!(facts.last_use_ns.is_some());
    hold(&timeline);
    lease.fence(std::slice::from_ref(&timeline)).unwrap();
    assert_eq!(state(0), BlockState::Copying);
    lease.release().unwrap();
    assert_eq!((state(0), pool.block_facts(0).unwrap().is_held), (BlockState::Copying, false), "free, and in flight");
    release(&timeline);
    timeline.poll();
    assert_eq!(state(0), BlockState::Free);
    let record = pool.record();
    assert_eq!(record.get("acquires"), Some(&Value::Count(1)));
    assert_eq!(record.get("contention_rate"), Some(&Value::Ratio(0.0)));
}

#[test]
fn a_twin_comes_with_the_first_need() {
    let device = device();
    let timeline = stream(&device);
    let refused = Pool::create(&device, PoolOptions { twin: Twin::Lazy, ..options(1) });
    assert_eq!(status(refused.map(drop)), Status::InvalidArgument, "a uva block needs none");
    let options = PoolOptions { twin: Twin::Lazy, ..PoolOptions::new(Placement::Pinned, BYTES, 2) };
    let pool = pool(&device, options);
    let on_device = || device.counters.device_bytes.get();
    let lease = acquire(&pool);
    fill(&lease, 5);
    assert_eq!((on_device(), lease.has_device_side().unwrap()), (0, false));
    assert_eq!(pool.memory_bytes(), 2 * BYTES, "of two blocks");
    lease.copy(true, 0, ALL, &timeline, None).unwrap();
    assert_eq!((on_device(), lease.has_device_side().unwrap()), (BYTES, true));
    assert_eq!(pool.memory_bytes(), 3 * BYTES);
    let address = lease.device_address().unwrap();
    assert!(device_is(&timeline, address, 5));
    lease.release_after(&[timeline]).unwrap();
    assert_eq!(on_device(), BYTES, "it stays with the block");
    kit_of(&device).limit_memory(Placement::Device, 0).expect("a limit");
    let other = acquire(&pool);
    assert_eq!(status(other.device_address()), Status::OutOfDeviceMemory);
    kit_of(&device).limit_memory(Placement::Device, u64::MAX).expect("no limit");
    other.release().expect("a refusal seals nothing");
}

#[test]
fn a_release_is_refused_where_its_use_could_not_be_told_apart() {
    let device = device();
    let streams: Vec<_> = (0..9).map(|_| stream(&device)).collect();
    let lease = acquire(&pool(&device, options(1)));
    for stream in &streams[..8] {
        hold(stream);
        lease.fence(std::slice::from_ref(stream)).unwrap();
    }
    assert_eq!(status(lease.release_after(&streams[8..])), Status::Busy);
    streams[..8].iter().for_each(|stream| release(stream));
    lease.release_after(&streams[8..]).unwrap();
}

#[test]
fn a_block_with_a_guard_open_is_neither_moved_nor_fenced() {
    let device = device();
    let timeline = stream(&device);
    let lease = acquire(&pool(&device, options(1)));
    let (_, token) = lease.begin(Access::Read, 0, 1, Timeout::Try).unwrap();
    assert_eq!(status(lease.promote(&timeline)), Status::Busy);
    assert_eq!(status(lease.fence(std::slice::from_ref(&timeline))), Status::Busy);
    lease.end(Access::Read, token).unwrap();
    let graph = GraphHold::create(&device, "").unwrap();
    graph.add(Arc::new(lease.clone()), Some(Timeout::Try)).unwrap();
    assert_eq!(status(lease.promote(&timeline)), Status::GraphHeld);
    drop(graph);
    lease.promote(&timeline).unwrap();
}

#[test]
fn a_block_moves_to_the_device_and_back() {
    let device = device();
    let timeline = stream(&device);
    let pool = pool(&device, options(1));
    let lease = acquire(&pool);
    fill(&lease, 1);
    let in_place = lease.device_address().unwrap();
    assert_eq!(status(lease.promote(&timeline)), Status::Unfenced, "somebody has the address");
    lease.declare_unread().unwrap();
    assert_eq!(status(lease.demote(&timeline)), Status::Unsupported);
    lease.promote(&timeline).unwrap();
    assert_eq!(status(lease.promote(&timeline)), Status::Unsupported, "once");
    let moved = lease.device_address().unwrap();
    assert_ne!(moved, in_place);
    assert!(device_is(&timeline, moved, 1));
    assert_eq!(status(lease.demote(&timeline)), Status::Unfenced);
    lease.fence(std::slice::from_ref(&timeline)).unwrap();

    // What the CPU writes meanwhile is the host side's alone; the way back brings the device's bytes.
    fill_after(&lease, &timeline, 9);
    assert!(device_is(&timeline, moved, 1));
    hold(&timeline);
    lease.demote(&timeline).unwrap();
    assert_eq!(status(lease.begin(Access::Read, 0, ALL, Timeout::Try)), Status::Busy, "its copy is on the way");
    release(&timeline);
    assert_eq!((byte(&lease), lease.device_address().unwrap()), (1, in_place));
    lease.declare_unread().unwrap();
    device.maintain();
    assert_eq!(device.counters.device_bytes.get(), 0, "the device memory goes when its copy is over");

    lease.promote(&timeline).unwrap();
    lease.release().unwrap();
    ran(&timeline);
    let next = acquire(&pool);
    assert!(!next.is_promoted_now().unwrap(), "a promotion ends with its lease");
    kit_of(&device).limit_memory(Placement::Device, 0).expect("a limit");
    assert_eq!(status(next.promote(&timeline)), Status::OutOfDeviceMemory);
    kit_of(&device).limit_memory(Placement::Device, u64::MAX).expect("no limit");
    assert_eq!(next.device_address().unwrap(), in_place, "refused, and as before");
    next.declare_unread().unwrap();
}

#[test]
fn a_block_is_promoted_behind_the_kernels_that_use_it_in_place() {
    let device = device();
    let (kernels, copies) = (stream(&device), stream(&device));
    let lease = acquire(&pool(&device, options(1)));
    hold(&kernels);
    lease.fence(std::slice::from_ref(&kernels)).unwrap();
    let waits = device.counters.device_waits.get();
    lease.promote(&copies).unwrap();
    assert_eq!(device.counters.device_waits.get(), waits + 1, "its copy reads what they still write");
    release(&kernels);
}

fn fill_after(lease: &Lease, timeline: &Arc<Timeline>, value: u8) {
    timeline.synchronize(Timeout::Infinite).expect("an open stream");
    fill(lease, value);
}

#[test]
fn a_block_of_its_own() {
    let device = device();
    let timeline = stream(&device);
    let options =
        |bytes, placement| AloneOptions { placement, bytes, twin: Twin::Eager, timed: false, label: "alone".into() };
    assert_eq!(status(Lease::create(&device, options(0, Placement::Pinned)).map(drop)), Status::InvalidArgument);
    assert_eq!(status(Lease::create(&device, options(8, Placement::Device)).map(drop)), Status::InvalidArgument);
    let lease = Lease::create(&device, options(BYTES, Placement::Pinned)).unwrap();
    assert_eq!((lease.home().name().to_string().as_str(), lease.bytes()), ("block \"alone\"", BYTES));
    fill(&lease, 3);
    hold(&timeline);
    lease.copy(true, 0, ALL, &timeline, None).unwrap();
    assert_eq!(status(lease.begin(Access::Write, 0, ALL, Timeout::Try)), Status::Busy);
    lease.release().unwrap();
    assert_eq!(status(lease.release()), Status::NotHeld);
    device.maintain();
    assert_eq!(device.counters.pinned_bytes.get(), BYTES, "its copy still reads it");
    release(&timeline);
    device.maintain();
    device.backend().await_frees(None);
    assert_eq!((device.counters.pinned_bytes.get(), device.counters.device_bytes.get()), (0, 0));
}

#[test]
fn a_lost_device_ends_all_of_it() {
    let device = device();
    let pool = pool(&device, PoolOptions { growth: growing(4, Duration::ZERO), ..options(1) });
    let lease = acquire(&pool);
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    lose(&device);
    assert_eq!(pool.adapt(), Adapted::default(), "nothing is made on a lost device");
    assert_eq!(status(pool.acquire(0, Timeout::Infinite)), Status::DeviceLost);
    lease.release().unwrap();
    pool.destroy();
}

#[test]
fn all_who_wait_for_a_block_to_be_made_again_hear_that_the_device_is_lost() {
    let device = device();
    let pool = pool(&device, options(1));
    let lease = acquire(&pool);
    lease.device_address().expect("an address");
    let told = thread::scope(|scope| {
        let waiters = [0; 3].map(|priority| {
            scope.spawn({
                let pool = &pool;
                move || status(pool.acquire(priority, Timeout::Within(Duration::from_secs(20))))
            })
        });
        while pool.levels().waiters < 3 {
            thread::yield_now();
        }
        lose(&device);
        lease.abandon().expect("given up: whoever wants a block makes one");
        waiters.map(|waiter| waiter.join().expect("a waiter"))
    });
    assert_eq!(told, [Status::DeviceLost; 3]);
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// A block in the model: what it holds, and what a copy that is queued will have read.
struct Held {
    lease: Lease,
    value: u8,
}

/// Random operations against a plain model: no block is held twice, the sums are equal, nobody gets a block that is still
/// used, whatever fails when.
#[test]
fn whatever_happens_the_sums_are_equal_and_no_block_is_held_twice() {
    for seed in 1..=12 {
        let device = device();
        let mut random = Random(seed);
        let timelines = [stream(&device), stream(&device)];
        let mut shut = [false; 2];
        let growth = growing(6, Duration::ZERO);
        let pool = pool(
            &device,
            PoolOptions {
                growth,
                strategy: [Strategy::LeastRecent, Strategy::RoundRobin][seed as usize % 2],
                ..options(3)
            },
        );
        let (mut held, mut quarantined): (Vec<Held>, u32) = (Vec::new(), 0);
        for step in 0..400u32 {
            let pick = random.below(2);
            match random.below(12) {
                0..=3 => match pool.acquire(random.below(3) as i32, Timeout::Try) {
                    Ok(lease) => {
                        assert!(held.iter().all(|other| other.lease.number() != lease.number()), "held twice");
                        let value = step as u8;
                        // It is as good as new: nothing is in the way of a write.
                        fill(&lease, value);
                        held.push(Held { lease, value });
                    }
                    Err(error) => assert!(
                        matches!(error.status(), Status::Busy | Status::Exhausted | Status::OutOfHostMemory),
                        "{error}"
                    ),
                },
                4..=6 if !held.is_empty() => {
                    let Held { lease, value } = held.swap_remove(random.below(held.len()));
                    if random.below(3) > 0 && !shut.contains(&true) {
                        assert_eq!(byte(&lease), value, "its bytes are its own");
                    }
                    if random.below(2) == 0 {
                        lease.release().expect("a release");
                    } else {
                        let fault = random.below(12) == 0;
                        if fault {
                            kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).unwrap();
                        }
                        let status = status(lease.release_after(std::slice::from_ref(&timelines[pick])));
                        assert_eq!(status, if fault { Status::Quarantined } else { Status::Ok });
                        quarantined += fault as u32;
                    }
                    assert!(!lease.is_held());
                }
                7 if !shut[pick] => {
                    hold(&timelines[pick]);
                    shut[pick] = true;
                }
                8 if shut[pick] => {
                    release(&timelines[pick]);
                    shut[pick] = false;
                }
                9 => {
                    let limit = if random.below(3) == 0 { 0 } else { u64::MAX };
                    kit_of(&device).limit_memory(Placement::Uva, limit).unwrap();
                    device.keep_up();
                    kit_of(&device).limit_memory(Placement::Uva, u64::MAX).unwrap();
                }
                10 => {
                    pool.trim(random.below(5) as u32);
                }
                11 => {
                    let cleared = status(pool.clear());
                    assert_eq!(cleared, if held.is_empty() { Status::Ok } else { Status::Busy });
                }
                _ => {}
            }
            let levels = pool.levels();
            assert_eq!(levels.held as usize, held.len(), "seed {seed}, step {step}");
            assert_eq!(levels.free + levels.held, levels.blocks, "seed {seed}, step {step}");
            assert_eq!(levels.quarantined, quarantined, "seed {seed}, step {step}");
            assert!(levels.blocks <= 6);
            let counters = pool.counters();
            assert_eq!(counters.acquires.get() - counters.releases.get(), levels.held as u64);
        }
        (0..2).filter(|pick| shut[*pick]).for_each(|pick| release(&timelines[pick]));
        for Held { lease, value } in held {
            assert_eq!(byte(&lease), value);
            lease.release().expect("a release");
        }
        pool.destroy();
        device.drain(Timeout::Infinite).expect("a drain");
        let counters = &device.counters;
        assert_eq!(counters.pinned_bytes.get(), quarantined as u64 * BYTES, "all else was freed");
        assert_eq!(counters.quarantined_bytes.get(), quarantined as u64 * BYTES);
    }
}
