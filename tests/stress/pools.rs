//! Pools shared by threads, with fewer blocks than are wanted: blocks change hands with their readers still queued, move to
//! device memory and back, and come and go meanwhile.

use crate::kit::{Random, Rig};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::fence::Access;
use gpubuf::lease::{Lease, Twin};
use gpubuf::pool::{Growth, Pool, PoolOptions};
use gpubuf::sync::{Arc, AtomicU64, Ordering};
use std::time::Duration;

const BYTES: u64 = 2048;

pub fn run(rig: &Rig, random: &mut Random, steps: u64) {
    let pools: Vec<Arc<Pool>> = [(Placement::Uva, Twin::Never), (Placement::Pinned, Twin::Eager)]
        .map(|(placement, twin)| {
            let growth = Growth { max_blocks: 4, cool_down: Duration::ZERO, ..Growth::default() };
            let options = PoolOptions { twin, growth, patience: 3, ..PoolOptions::new(placement, BYTES, 2) };
            Pool::create(&rig.device, options).expect("a pool")
        })
        .into();
    let seeds = [random.next(), random.next(), random.next()];
    let at_work = AtomicU64::new(seeds.len() as u64);
    std::thread::scope(|scope| {
        for seed in seeds {
            let (pools, at_work) = (&pools, &at_work);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..steps / 3 {
                    one_step(rig, &pools[random.below(2) as usize], &mut random);
                }
                at_work.fetch_sub(1, Ordering::Release);
            });
        }
        while at_work.load(Ordering::Acquire) > 0 {
            rig.device.keep_up();
            pools[random.below(2) as usize].trim(random.below(3) as u32);
            std::thread::yield_now();
        }
    });
    for pool in &pools {
        let levels = pool.levels();
        assert_eq!((levels.held, levels.quarantined, levels.waiters), (0, 0, 0), "no block is lost");
        assert_eq!(levels.free, levels.blocks, "all of them are there");
        assert!(levels.peak_blocks <= 4);
        pool.destroy();
    }
}

fn one_step(rig: &Rig, pool: &Arc<Pool>, random: &mut Random) {
    let priority = random.below(3) as i32;
    let lease = pool.acquire(priority, Timeout::Infinite).expect("a block");
    let stream = rig.any_stream(random).clone();
    // A block is kept for one to three fills.
    for last in (0..1 + random.below(3)).rev() {
        let promoted = lease.is_promoted_now().expect("a lease");
        if promoted {
            lease.demote(&stream).expect("the way back");
        }
        let value = fill(&lease, random);
        if lease.placement() == Placement::Uva && random.below(4) == 0 {
            lease.promote(&stream).expect("the way there");
        } else if lease.has_device_side().expect("a lease") {
            lease.copy(true, 0, ALL, &stream, None).expect("a copy");
        }
        let address = lease.device_address().expect("an address");
        rig.look(&stream, address, &[value; BYTES as usize]);
        let streams = std::slice::from_ref(&stream);
        if last > 0 {
            lease.fence(streams).expect("a fence");
        } else {
            lease.release_after(streams).expect("a release");
        }
    }
}

fn fill(lease: &Lease, random: &mut Random) -> u8 {
    let value = random.next() as u8;
    let (data, token) = lease.begin(Access::Write, 0, ALL, Timeout::Infinite).expect("a write");
    // SAFETY: the guard covers the block.
    unsafe { data.write_bytes(value, BYTES as usize) };
    lease.end(Access::Write, token).expect("the end");
    value
}
