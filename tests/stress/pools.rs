//! Pools shared by two threads, with fewer blocks than are wanted: blocks change hands with their readers still queued.

use crate::kit::{Random, Rig};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::fence::Access;
use gpubuf::lease::{Lease, Twin};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::Arc;

const BYTES: u64 = 2048;

pub fn run(rig: &Rig, random: &mut Random, steps: u64) {
    let pools: Vec<Arc<Pool>> = [(Placement::Uva, Twin::Never), (Placement::Pinned, Twin::Eager)]
        .map(|(placement, twin)| {
            let options = PoolOptions { twin, ..PoolOptions::new(placement, BYTES, 3) };
            Pool::create(&rig.device, options).expect("a pool")
        })
        .into();
    let seeds = [random.next(), random.next()];
    std::thread::scope(|scope| {
        for seed in seeds {
            let pools = &pools;
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..steps / 2 {
                    one_step(rig, &pools[random.below(2) as usize], &mut random);
                }
            });
        }
    });
    for pool in &pools {
        let levels = pool.levels();
        assert_eq!((levels.free, levels.held, levels.quarantined), (3, 0, 0), "no block is lost");
        pool.destroy();
    }
}

fn one_step(rig: &Rig, pool: &Arc<Pool>, random: &mut Random) {
    let priority = random.below(3) as i32;
    let lease = pool.acquire(priority, Timeout::Infinite).expect("a block");
    let stream = rig.any_stream(random).clone();
    // A block is kept for one to three fills.
    for last in (0..1 + random.below(3)).rev() {
        let value = fill(&lease, random);
        if lease.has_device_side().expect("a lease") {
            lease.copy(true, 0, ALL, &stream).expect("a copy");
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
