//! A predictor and what it warms: pools, sources of any kind, and the report of its device.

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use allocations::allocations;
use common::{device, lose, status};
use gpubuf::config::{Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::Device;
use gpubuf::lease::Lease;
use gpubuf::pool::{Growth, Pool, PoolOptions, Strategy};
use gpubuf::predictor::{Method, Predictor, PredictorOptions, Warmed};
use gpubuf::stats::Value;
use gpubuf::sync::Arc;

fn predictor(device: Option<&Arc<Device>>) -> Arc<Predictor> {
    Predictor::create(device, PredictorOptions::default()).expect("a predictor")
}

/// One that expects these sizes, the last of them first.
fn expecting(sizes: &[u64]) -> Arc<Predictor> {
    let predictor = predictor(None);
    for (at, size) in sizes.iter().enumerate() {
        for _ in 0..=at {
            predictor.record(*size).expect("a size");
        }
    }
    assert!(predictor.predict().iter().eq(sizes.iter().rev()));
    predictor
}

/// A pool of 100-byte blocks.
fn pool(device: &Arc<Device>, first: u32, most: u32) -> Arc<Pool> {
    let growth = Growth { max_blocks: most, ..Growth::default() };
    let options = PoolOptions { growth, ..PoolOptions::new(Placement::Uva, 100, first) };
    Pool::create(device, options).expect("a pool")
}

fn acquire(pool: &Arc<Pool>) -> Lease {
    pool.acquire(0, Timeout::Try).expect("a block")
}

#[test]
fn a_warmed_pool_has_a_free_block_for_each_predicted_size_of_its_own() {
    let device = device();
    let predictor = expecting(&[40, 200, 80]);
    let pool = pool(&device, 1, 8);
    let held = acquire(&pool);
    assert_eq!(predictor.prewarm_pool(&pool, 0, 1).expect("memory"), Warmed { made: 2, missing: 0 });
    let levels = pool.levels();
    assert_eq!((levels.free, levels.held, levels.blocks), (2, 1, 3), "what was warmed is free");
    assert_eq!(predictor.prewarm_pool(&pool, 0, 1).expect("memory"), Warmed::default(), "they are there");
    assert_eq!(predictor.prewarm_pool(&pool, 40, 1).expect("memory"), Warmed::default(), "40 is a smaller pool's");
    assert_eq!(predictor.prewarm_pool(&pool, 79, 4).expect("memory"), Warmed { made: 2, missing: 0 }, "80 alone");
    let all: Vec<Lease> = (0..4).map(|_| acquire(&pool)).collect();
    assert_eq!(pool.counters().contended.get(), 0);
    drop((all, held));
}

#[test]
fn a_pool_is_warmed_as_far_as_it_may_grow() {
    let device = device();
    let predictor = expecting(&[1, 2, 3]);
    let small = pool(&device, 2, 4);
    assert_eq!(predictor.prewarm_pool(&small, 0, 2).expect("memory"), Warmed { made: 2, missing: 2 });
    assert_eq!(predictor.prewarm_pool(&small, 0, u32::MAX >> 12).expect("memory").made, 0);
    let fixed = Pool::create(&device, PoolOptions::new(Placement::Uva, 100, 1)).expect("a pool");
    assert_eq!(predictor.prewarm_pool(&fixed, 0, 1).expect("memory"), Warmed { made: 0, missing: 2 });
    // What was trimmed away is made again.
    assert_eq!(small.trim(0), 4);
    assert_eq!(predictor.prewarm_pool(&small, 0, 1).expect("memory"), Warmed { made: 3, missing: 0 });
    let blocks: Vec<Lease> = (0..3).map(|_| acquire(&small)).collect();
    assert_eq!(status(small.acquire(0, Timeout::Try)), Status::Busy, "not more than there are");
    drop(blocks);
}

#[test]
fn the_reserve_of_a_pool_is_not_for_predicted_steps() {
    let device = device();
    let growth = Growth { max_blocks: 8, ..Growth::default() };
    let own = PoolOptions::new(Placement::Uva, 100, 3);
    let options = PoolOptions { strategy: Strategy::Priority, reserved_blocks: 2, growth, ..own };
    let pool = Pool::create(&device, options).expect("a pool");
    assert_eq!(expecting(&[1, 2]).prewarm_pool(&pool, 0, 1).expect("memory").made, 1);
    let blocks = [acquire(&pool), acquire(&pool)];
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    drop(blocks);
}

#[test]
fn what_cannot_be_made_is_told_and_leaves_the_pool_whole() {
    let device = device();
    let predictor = expecting(&[1, 2, 3]);
    let pool = pool(&device, 1, 8);
    common::kit_of(&device).limit_memory(Placement::Uva, 0).expect("a limit");
    assert_eq!(predictor.prewarm_pool(&pool, 0, 1).expect("a look"), Warmed { made: 0, missing: 2 });
    assert_eq!(pool.counters().growth_failures.get(), 2);
    assert_eq!(pool.trim(0), 1);
    assert_eq!(predictor.prewarm_pool(&pool, 0, 1).expect("a look"), Warmed { made: 0, missing: 3 });
    common::kit_of(&device).limit_memory(Placement::Uva, u64::MAX).expect("no limit");
    acquire(&pool).release().expect("a release"); // made again, as after any trim
    assert_eq!(predictor.prewarm_pool(&pool, 0, 1).expect("memory"), Warmed { made: 2, missing: 0 });
    pool.destroy();
    assert_eq!(status(predictor.prewarm_pool(&pool, 0, 1)), Status::ShutDown);
}

#[test]
fn whatever_happens_a_warmed_pool_keeps_its_sums_and_its_limit() {
    const MOST: u32 = 12;
    for seed in 1..=20u64 {
        let device = device();
        let pool = pool(&device, 3, MOST);
        let mut held: Vec<Lease> = Vec::new();
        let mut random = seed;
        for step in 0..300 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let number = (random >> 33) as u32;
            match number % 6 {
                0 | 1 => held.extend(pool.acquire(0, Timeout::Try)),
                2 if !held.is_empty() => held.swap_remove(number as usize % held.len()).release().expect("a release"),
                3 => drop(pool.trim(number / 6 % MOST)),
                4 => drop(pool.adapt()),
                _ => {
                    let (wanted, fails) = (number / 6 % (MOST + 3), number.is_multiple_of(5));
                    let limit = if fails { 0 } else { u64::MAX };
                    common::kit_of(&device).limit_memory(Placement::Uva, limit).expect("a limit");
                    let before = pool.levels();
                    let (made, missing) = pool.warm(wanted).expect("a look");
                    common::kit_of(&device).limit_memory(Placement::Uva, u64::MAX).expect("no limit");
                    let after = pool.levels();
                    assert_eq!(after.free, before.free + made, "seed {seed}, step {step}: what was made is free");
                    assert_eq!(missing, wanted.saturating_sub(after.free), "seed {seed}, step {step}");
                    assert!(made == 0 || after.free <= wanted, "seed {seed}, step {step}: not more than is wanted");
                    assert!(
                        missing == 0 || fails || after.blocks == MOST,
                        "seed {seed}, step {step}: as far as it may grow"
                    );
                }
            }
            let levels = pool.levels();
            assert_eq!(levels.free + levels.held, levels.blocks, "seed {seed}, step {step}");
            assert_eq!(levels.held as usize, held.len(), "seed {seed}, step {step}");
            assert!(levels.blocks <= MOST, "seed {seed}, step {step}");
        }
    }
}

#[test]
fn threads_that_record_warm_and_acquire_leave_the_sums_right() {
    const STEPS: u64 = 300;
    let device = device();
    let (pool, predictor) = (pool(&device, 1, 6), predictor(Some(&device)));
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let (pool, predictor) = (&pool, &predictor);
            scope.spawn(move || {
                for step in 0..STEPS {
                    predictor.record(1 + (step * (thread + 1)) % 7).expect("a size");
                    assert!(predictor.prewarm_pool(pool, 0, 1).expect("a look").made <= 6);
                    pool.acquire(0, Timeout::Infinite).expect("a block").release().expect("a release");
                }
            });
        }
    });
    let (levels, stats) = (pool.levels(), predictor.stats());
    assert_eq!((levels.held, levels.free), (0, levels.blocks));
    assert!(levels.blocks <= 6);
    assert_eq!((stats.records, stats.predictions), (3 * STEPS, 3 * STEPS - 1));
    assert_eq!(pool.counters().acquires.get(), 3 * STEPS);
}

#[test]
fn a_lost_device_warms_nothing() {
    let device = device();
    let pool = pool(&device, 1, 8);
    lose(&device);
    assert_eq!(status(expecting(&[1, 2]).prewarm_pool(&pool, 0, 1)), Status::DeviceLost);
}

#[test]
fn wrong_ranges_are_refused_before_anything_is_made() {
    let device = device();
    let pool = pool(&device, 1, 8);
    let predictor = expecting(&[1, 2]);
    for (above, each) in [(100, 1), (u64::MAX, 1), (0, 0), (0, u32::MAX)] {
        assert_eq!(status(predictor.prewarm_pool(&pool, above, each)), Status::InvalidArgument);
    }
    assert_eq!(pool.levels().blocks, 1);
}

#[test]
fn whatever_makes_memory_can_be_warmed() {
    let predictor = expecting(&[30, 20, 10]);
    let mut asked = Vec::new();
    let made = predictor.prewarm(|size| {
        asked.push(size);
        // Under no lock: it may use the predictor.
        assert_eq!(predictor.predict().len(), 3);
        if size == 20 { 0 } else { size }
    });
    assert_eq!((asked, made), (vec![10, 20, 30], 40));
    assert_eq!(predictor.stats().warmed_bytes, 40);
    assert_eq!(predictor.stats().warmed_used_bytes, 0);
    predictor.record(20).expect("a size");
    assert_eq!(predictor.stats().warmed_used_bytes, 0, "it was there before");
    predictor.record(30).expect("a size");
    predictor.record(30).expect("a size");
    assert_eq!(predictor.stats().warmed_used_bytes, 30, "once");
}

#[test]
fn it_is_in_the_report_of_its_device() {
    let device = device();
    let predictor = predictor(Some(&device));
    for step in 0..1000u64 {
        predictor.record([64, 128, 256, 512, 1024][step as usize % 5]).expect("a size");
    }
    let members = device.members();
    let record = members.last().expect("a member").record();
    assert_eq!(record.kind, "predictor");
    let stats = predictor.stats();
    for (key, figure) in
        [("records", 1000), ("predictions", 999), ("hits", stats.hits), ("waste_bytes", stats.waste_bytes)]
    {
        assert_eq!(record.get(key), Some(&Value::Count(figure)));
    }
    assert_eq!(record.get("hit_rate"), Some(&Value::Ratio(stats.hits as f64 / 999.0)));
    assert_eq!(record.get("method"), Some(&Value::Text("blend".into())));
    assert_eq!(record.get("believed"), Some(&Value::Text("markov".into())));
    let largest = record.parts.last().expect("a suggested pool");
    assert_eq!((largest.kind, largest.get("block_bytes")), ("suggested pool", Some(&Value::Count(1024))));
    assert_eq!(largest.get("block_count"), Some(&Value::Count(1)));
    assert!(predictor.describe().contains("of 999 predictions hit, 5 sizes"), "{}", predictor.describe());
    let options = PredictorOptions { window: 300, most_sizes: 300, ..PredictorOptions::default() };
    let full = Predictor::create(Some(&device), options).expect("a predictor");
    (1..=300).for_each(|size| drop(full.record(size)));
    let record = device.members().last().expect("a member").record();
    assert_eq!((record.get("sizes"), record.parts.len()), (Some(&Value::Count(300)), 0), "reports stay cheap");
    assert!(!full.suggested_pools().expect("a suggestion").pools.is_empty());
}

#[test]
fn recording_and_predicting_allocate_nothing() {
    for method in [Method::MostCommon, Method::Markov, Method::Markov2, Method::Blend] {
        let options = PredictorOptions { method, window: 16, most_sizes: 16, ..PredictorOptions::default() };
        let predictor = Predictor::create(None, options).expect("a predictor");
        let before = allocations();
        let mut size = 1u64;
        for step in 0..5000 {
            size = if step % 3 == 0 { size.wrapping_mul(6364136223846793005).wrapping_add(1) >> 2 } else { size % 9 };
            predictor.record(size.max(1)).expect("a size");
            std::hint::black_box(predictor.predict());
        }
        predictor.prewarm(|size| size);
        assert_eq!(allocations(), before, "{method:?}");
    }
}
