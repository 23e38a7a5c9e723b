//! Who looks after the others: upkeep, budgets, trims, reports; a stranger in objects for one thread at a time; and the weather.

use crate::WORKERS;
use crate::common::kit_of;
use crate::kit::Random;
use crate::site::{BLOCK, Site, Weather, Work};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::error::Status;
use gpubuf::report::{Format, Process, report};
use gpubuf::tiers::Tier;

pub fn run(site: &Site, seed: u64) {
    let mut random = Random::new(seed);
    while site.is_at_work() {
        let _ = one_round(site, &mut random);
        std::thread::yield_now();
    }
}

fn one_round(site: &Site, random: &mut Random) -> Work<()> {
    let device = site.device();
    match random.below(20) {
        0 | 1 => drop(device.maintain()),
        2 | 3 => drop(device.keep_up()),
        4 => drop(site.pool.trim(random.below(6) as u32)),
        5 => drop(site.pinned.trim(random.below(1 << 16))),
        6 => {
            let budget = 40_000 + random.below(25_000);
            // Less than is in use.
            site.get("a budget", &[Status::Budget], site.pinned.set_budget(budget))?;
        }
        7 => drop(site.get("a clear", &[Status::Busy], site.pinned.clear())?),
        8 => {
            site.must("a budget", site.tiers.set_budget(Tier::Device, (2 + random.below(3)) * BLOCK))?;
            site.must("a budget", site.tiers.set_budget(Tier::Pinned, (4 + random.below(4)) * BLOCK))?;
        }
        9 => drop(site.tiers.step()),
        10 => drop(site.tiers.demote(Tier::Device, BLOCK)),
        11 => drop(site.tiers.trim([Tier::Device, Tier::Pinned, Tier::Pageable][random.below(3) as usize])),
        12 => drop(site.must("an eviction", site.workspace.evict(random.below(5), 14 * BLOCK))?),
        13 => drop(site.must("a clear", site.workspace.clear())?),
        14 => drop(site.pressure.step()),
        15 => {
            let format = [Format::Text, Format::Json][random.below(2) as usize];
            assert!(report(format, &Process::default()).len() > 100);
        }
        16 => {
            let told =
                [site.pool.describe(), site.tiers.describe(), site.workspace.describe(), site.pressure.describe()];
            assert!(told.iter().all(|told| !told.is_empty()));
            let (levels, entries) = (site.pool.levels(), site.workspace.stats());
            assert!(levels.peak_blocks <= 24 && entries.peak_bytes <= 14 * BLOCK && entries.entries <= 7);
            site.must("a list", site.workspace.list())?;
        }
        17 => {
            let suggested = site.must("a suggestion", site.predictor.suggested_pools())?;
            assert!(suggested.pools.len() <= 4);
            let warmed = site.predictor.prewarm(|size| size);
            assert!(warmed == site.predictor.stats().warmed_bytes || warmed < 100 * BLOCK);
        }
        // While a stream captures, nobody may wait for all of them.
        18 => drop(site.get("a drain", &[Status::Capturing], device.drain(site.patience()))?),
        _ => drop(site.get("a wait for all", &[Status::Capturing], device.synchronize(site.patience()))?),
    }
    Ok(())
}

/// Asks objects that are another thread's: whoever comes second is told so.
pub fn stranger(site: &Site, seed: u64) {
    let mut random = Random::new(seed);
    while site.is_at_work() {
        let rows = {
            let all = site.rows.lock();
            let at = random.below(all.len().max(1) as u64) as usize;
            all.get(at).cloned()
        };
        if let Some(rows) = rows {
            let _ = match random.below(3) {
                0 => site.get("a stranger's question", &[Status::Busy], rows.staged()).map(drop),
                1 => site.get("a stranger's question", &[Status::Busy], rows.stats()).map(drop),
                _ => site.get("a stranger's question", &[Status::Busy], rows.table().stats()).map(drop),
            };
        }
        std::thread::yield_now();
    }
}

/// What may be refused. With the stand-in driver the first four: to make something it has many functions, and what looks at
/// memory makes copies, too.
const REFUSED: [Operation; 8] = [
    Operation::Kernel,
    Operation::Fill,
    Operation::Wait,
    Operation::Record,
    Operation::Copy,
    Operation::Allocation,
    Operation::Stream,
    Operation::Event,
];
/// What may fail when it runs.
const FAILING: [Operation; 3] = [Operation::Copy, Operation::Fill, Operation::Kernel];

/// Has the device do what it does in this weather.
pub fn weather(site: &Site, seed: u64) {
    let (mut random, kit, mut next) = (Random::new(seed), kit_of(site.device()), 0);
    let (kinds, when) = match site.weather {
        Weather::Refusals if !crate::common::copies_fail_alone() => (&REFUSED[..4], FailWhen::Submission),
        Weather::Refusals => (&REFUSED[..], FailWhen::Submission),
        _ => (&FAILING[..], FailWhen::Execution),
    };
    while site.is_at_work() && site.weather != Weather::Fair {
        std::thread::yield_now();
        let progress = site.progress(WORKERS.len());
        if progress < next {
            continue;
        }
        next = match site.weather {
            Weather::Loss if progress < 50 => 50,
            Weather::Loss => {
                kit.lose().expect("a loss");
                u64::MAX
            }
            _ => {
                let kind = kinds[random.below(kinds.len() as u64) as usize];
                kit.fail_operation(Some(kind), 1 + random.below(4), when).expect("a fault");
                progress + 1
            }
        };
    }
    if matches!(site.weather, Weather::Refusals | Weather::Failures) {
        kinds.iter().for_each(|kind| kit.fail_operation(Some(*kind), 0, when).expect("taken back"));
    }
}
