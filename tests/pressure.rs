//! Memory pressure: levels with two marks, who answers, and what is told. Readings are the test's.

mod common;

use common::{device, hold, release, status, stream};
use gpubuf::config::{Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Member};
use gpubuf::lease::Twin;
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::pressure::{Change, Pressure, PressureOptions, Reading, What};
use gpubuf::sync::{Arc, AtomicU64, Mutex, Ordering};
use gpubuf::tiers::{Tier, TieredBlock, Tiers, TiersOptions};
use gpubuf::workspace::{Content, Spec, Workspace, WorkspaceOptions};
use std::slice::from_ref;

const BYTES: u64 = 4096;

/// A watch whose readings of the device and the host are what the test says, in percent, and what it told.
struct Watch {
    pressure: Arc<Pressure>,
    percent: [Arc<AtomicU64>; 2],
    told: Arc<Mutex<Vec<Change>>>,
}

impl Watch {
    fn new(device: &Arc<Device>) -> Watch {
        let percent: [Arc<AtomicU64>; 2] = Default::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let (readings, changes) = (percent.clone(), told.clone());
        let options = PressureOptions {
            read: Some(Box::new(move |what, _| {
                let used = readings[(what == What::Host) as usize].load(Ordering::Relaxed) * BYTES;
                Reading { used, limit: 100 * BYTES }
            })),
            notify: Some(Box::new(move |change| changes.lock().push(change.clone()))),
            ..PressureOptions::default()
        };
        Watch { pressure: Pressure::create(device, options).expect("a watch"), percent, told }
    }

    /// Looks, with these readings; returns what was told.
    fn look(&self, device: u64, host: u64) -> Vec<(What, bool)> {
        self.percent[0].store(device, Ordering::Relaxed);
        self.percent[1].store(host, Ordering::Relaxed);
        let changes = self.pressure.step();
        let told: Vec<_> = self.told.lock().drain(..).map(|change| (change.what, change.is_high)).collect();
        assert_eq!(told.len(), changes as usize);
        told
    }
}

#[test]
fn levels_change_at_two_marks_and_each_change_is_told_once() {
    let device = device();
    let watch = Watch::new(&device);
    assert_eq!(watch.look(89, 0), []);
    assert_eq!(watch.look(90, 95), [(What::Device, true), (What::Host, true)]);
    assert_eq!(watch.look(85, 81), [], "between the marks nothing changes");
    assert_eq!(watch.look(80, 99), [(What::Device, false)]);
    assert_eq!(watch.look(89, 0), [(What::Host, false)]);
    let stats = watch.pressure.stats();
    assert_eq!((stats.looks, stats.rises, stats.falls, stats.high_gauges), (5, 2, 2, 0));
}

#[test]
fn what_is_idle_goes_first() {
    let device = device();
    let watch = Watch::new(&device);
    let pool =
        Pool::create(&device, PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 4) });
    let pool = pool.expect("a pool");
    let held = pool.acquire(0, Timeout::Try).expect("a block");
    let workspace = Workspace::create(&device, WorkspaceOptions::default()).expect("a workspace");
    let shape = gpubuf::dtype::Shape::new(&[BYTES]).expect("a shape");
    let spec = Spec::new(gpubuf::dtype::Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec");
    drop(workspace.allocate(&spec, Content::Any, Timeout::Try).expect("a buffer"));
    watch.pressure.add_pool(&pool).expect("watched");
    watch.pressure.add_workspace(&workspace).expect("watched");
    watch.look(50, 50);
    assert_eq!((pool.levels().blocks, workspace.stats().entries), (4, 1), "nothing is high");
    watch.look(95, 50);
    assert_eq!((pool.levels().blocks, workspace.stats().entries), (1, 0));
    held.release().expect("a release");
    let stats = watch.pressure.stats();
    assert_eq!((stats.trimmed_blocks, stats.evicted_entries), (3, 1));
}

#[test]
fn a_manager_of_page_locked_memory_is_watched_by_its_budget() {
    let device = device();
    let watch = Watch::new(&device);
    let pinned = Pinned::create(&device, PinnedOptions::new(Placement::Pinned, 10 * BYTES)).expect("a manager");
    watch.pressure.add_pinned(&pinned).expect("watched");
    let block = pinned.allocate(&Request::new(9 * BYTES)).expect("a block");
    assert_eq!(watch.look(0, 0), [(What::Pinned, true)]);
    pinned.free(&block).expect("a free");
    device.maintain();
    assert_eq!(watch.look(0, 0), [(What::Pinned, false)]);
    drop(pinned);
    assert_eq!(watch.look(0, 0), [], "it is gone");
}

fn tiers(device: &Arc<Device>) -> Arc<Tiers> {
    let options = TiersOptions { budgets: [10 * BYTES, 0, 20 * BYTES, 0], moves_per_step: 0, label: String::new() };
    Tiers::create(device, options).expect("tiers")
}

#[test]
fn tiers_send_blocks_down_to_the_low_mark() {
    let device = device();
    let (watch, tiers) = (Watch::new(&device), tiers(&device));
    let blocks: Vec<_> = (0..10).map(|_| tiers.create_block(BYTES, Some(Tier::Device), "").expect("a block")).collect();
    watch.pressure.add_tiers(&tiers).expect("watched");
    assert_eq!(watch.look(0, 0), [(What::Tier, true)]);
    watch.look(0, 0);
    assert_eq!(tiers.stats().demotions, 2, "what is on its way is not sent again");
    device.synchronize(Timeout::Infinite).expect("everything runs");
    tiers.maintain();
    assert_eq!(watch.look(0, 0), [(What::Tier, false)]);
    assert_eq!(tiers.stats().tiers[Tier::Device as usize].blocks, 8);
    assert_eq!(watch.pressure.stats().demoted_bytes, 2 * BYTES);
    drop(blocks);
}

#[test]
fn steps_bring_up_to_the_low_mark_and_no_further() {
    let device = device();
    let (watch, tiers, user) = (Watch::new(&device), tiers(&device), stream(&device));
    let blocks: Vec<_> = (0..14).map(|_| tiers.create_block(BYTES, Some(Tier::Pinned), "").expect("a block")).collect();
    watch.pressure.add_tiers(&tiers).expect("watched");
    // More blocks are worth device memory than the low mark allows.
    let use_all = |which: &[Arc<TieredBlock>]| {
        for block in which.iter().chain(which) {
            let (_, token) = block.begin(None, Access::Read, Timeout::Infinite).expect("an access");
            block.release(token).expect("a release");
        }
    };
    let run = |rounds| {
        for _ in 0..rounds {
            tiers.step();
            device.synchronize(Timeout::Infinite).expect("everything runs");
            tiers.step();
            watch.look(0, 0);
        }
        tiers.stats().tiers[Tier::Device as usize].blocks
    };
    use_all(&blocks[..10]);
    assert_eq!(run(4), 8);
    let stats = tiers.stats();
    assert_eq!((stats.promotions, stats.demotions, watch.pressure.stats().rises), (8, 0, 0), "nothing goes to and fro");
    // An access may fill the tier; what is over the mark is sent down once.
    let (_, token) =
        blocks[13].acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite).expect("an access");
    blocks[13].release(token).expect("a release");
    assert_eq!((run(3), tiers.stats().demotions), (8, 1));
    // While the device's memory is high nothing comes up, until the watch ends.
    // Idle memory goes first, then blocks.
    for _ in 0..2 {
        watch.look(100, 0);
        device.synchronize(Timeout::Infinite).expect("everything runs");
        tiers.step();
    }
    use_all(&blocks[..10]);
    tiers.step();
    assert_eq!(tiers.stats().tiers[Tier::Device as usize].blocks, 0);
    drop(watch);
    tiers.step();
    assert_eq!(tiers.stats().tiers[Tier::Device as usize].blocks, 10, "all of the budget");
}

#[test]
fn device_memory_is_made_free_behind_work_that_uses_it() {
    let device = device();
    let (watch, tiers, user) = (Watch::new(&device), tiers(&device), stream(&device));
    let blocks: Vec<_> = (0..4).map(|_| tiers.create_block(BYTES, Some(Tier::Device), "").expect("a block")).collect();
    watch.pressure.add_tiers(&tiers).expect("watched");
    hold(&user);
    let (_, token) = blocks[0].acquire(None, Access::Read, from_ref(&user), Timeout::Try).expect("an access");
    watch.look(90, 0);
    let there = || tiers.stats().tiers[Tier::Device as usize].blocks;
    assert_eq!(there(), 1, "ten percent are to go, and one block is held");
    blocks[0].release(token).expect("a release");
    watch.look(90, 0);
    release(&user);
    device.synchronize(Timeout::Infinite).expect("everything runs");
    tiers.step();
    watch.look(90, 0);
    assert_eq!(there(), 0);
}

#[test]
fn marks_that_make_no_sense_are_refused() {
    let device = device();
    let with = |high_percent, low_percent| PressureOptions { high_percent, low_percent, ..PressureOptions::default() };
    for (high, low) in [(101, 50), (50, 50), (50, 60), (70, 0)] {
        assert_eq!(status(Pressure::create(&device, with(high, low))), Status::InvalidArgument, "{high}, {low}");
    }
    let other = common::device();
    let pressure = Pressure::create(&other, with(90, 50)).expect("a watch");
    assert_eq!(status(pressure.add_tiers(&tiers(&device))), Status::WrongDevice);
    pressure.maintain();
    assert!(pressure.stats().device.limit > 0 && pressure.stats().host.limit > 0, "it reads for itself");
}
