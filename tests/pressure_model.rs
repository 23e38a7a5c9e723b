//! Memory pressure against a model: random readings, budgets and holders, streams that are held shut, copies that fail, and callbacks
//! that step again or unwind. Levels change at their two marks, each change is told once and in order, what is idle goes where
//! something is high and nowhere else, and what is held stays as it is.

mod common;
#[allow(dead_code)]
#[path = "stress/kit.rs"]
mod kit;

use common::{copies_fail_alone, hold, kit_of};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::Access;
use gpubuf::lease::{Lease, Twin};
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::pressure::{Change, Pressure, PressureOptions, Reading, What};
use gpubuf::sync::{Arc, AtomicU32, Mutex, OnceLock, Ordering, Weak};
use gpubuf::tiers::{Tier, TieredBlock, Tiers, TiersOptions};
use gpubuf::workspace::{Content, Held, Spec, Workspace, WorkspaceOptions};
use kit::{Random, Rig, STREAMS};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

const BYTES: u64 = 4096;
const TIERS: [Tier; 3] = [Tier::Device, Tier::Pinned, Tier::Pageable];

/// A gauge: what it measures, and of which object.
type Gauge = (u32, String);

/// What happened, in order.
enum Event {
    /// A look, with what each gauge reads then.
    Look(Vec<(Gauge, Reading)>),
    Told(Gauge, bool, Reading),
}

/// What the watch reads, and what its callbacks do and see.
struct World {
    readings: Mutex<[Reading; 2]>,
    events: Mutex<Vec<Event>>,
    /// What the next callbacks do.
    script: Mutex<VecDeque<Action>>,
    watched: OnceLock<Watched>,
    unwound: AtomicU32,
}

#[derive(Clone, Copy)]
enum Action {
    Nothing,
    /// Other readings, and another step.
    StepsAgain([u64; 2]),
    Unwinds,
}

struct Watched {
    pressure: Weak<Pressure>,
    device: String,
    pinned: Weak<Pinned>,
    tiers: Weak<Tiers>,
}

fn percent(percents: [u64; 2]) -> [Reading; 2] {
    percents.map(|percent| Reading { used: percent * BYTES, limit: 100 * BYTES })
}

impl World {
    /// What every gauge reads now, in the order in which they are looked at.
    fn look(&self) -> Vec<(Gauge, Reading)> {
        let watched = self.watched.get().expect("made");
        let [device, host] = *self.readings.lock();
        let mut out = vec![
            ((What::Device as u32, watched.device.clone()), device),
            ((What::Host as u32, watched.device.clone()), host),
        ];
        if let Some(pinned) = watched.pinned.upgrade() {
            let figures = pinned.figures();
            let used = figures.requested_bytes + figures.quarantined_bytes + figures.reserved_bytes;
            let reading = Reading { used, limit: figures.budget_bytes };
            out.push(((What::Pinned as u32, pinned.name().to_string()), reading));
        }
        if let Some(tiers) = watched.tiers.upgrade() {
            let stats = tiers.stats();
            for tier in Tier::ALL {
                let stats = stats.tiers[tier as usize];
                let name = format!("the {} tier of {}", tier.placement().name(), tiers.name());
                let reading = Reading { used: stats.used_bytes, limit: stats.budget_bytes };
                out.push(((What::Tier as u32, name), reading));
            }
        }
        out
    }

    fn step(&self) -> u32 {
        let look = self.look();
        self.events.lock().push(Event::Look(look));
        let pressure = self.watched.get().and_then(|watched| watched.pressure.upgrade());
        pressure.map_or(0, |pressure| pressure.step())
    }

    fn told(&self, change: &Change) {
        let gauge = (change.what as u32, change.of.clone());
        self.events.lock().push(Event::Told(gauge, change.is_high, change.reading));
        let action = self.script.lock().pop_front().unwrap_or(Action::Nothing);
        match action {
            Action::Nothing => {}
            Action::StepsAgain(percents) => {
                *self.readings.lock() = percent(percents);
                self.step();
            }
            Action::Unwinds => {
                self.unwound.fetch_add(1, Ordering::Relaxed);
                std::panic::resume_unwind(Box::new("a callback that throws"));
            }
        }
    }
}

/// The levels as they are to be, and the changes that are to be told.
struct Levels {
    marks: [u64; 2],
    high: BTreeMap<Gauge, bool>,
    untold: VecDeque<(Gauge, bool, Reading)>,
    rises: u64,
    falls: u64,
}

impl Levels {
    fn play(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Look(readings) => self.look(readings),
                Event::Told(gauge, is_high, reading) => {
                    let told = (gauge, is_high, reading);
                    assert_eq!(Some(&told), self.untold.front(), "told in order, and once");
                    self.untold.pop_front();
                }
            }
        }
    }

    fn look(&mut self, readings: Vec<(Gauge, Reading)>) {
        for (gauge, reading) in readings {
            let share = |mark: u64| (u128::from(reading.limit) * u128::from(mark) / 100) as u64;
            let level = self.high.entry(gauge.clone()).or_default();
            let now = match (reading.limit, *level) {
                (0, _) => false,
                (_, false) => reading.used >= share(self.marks[0]).max(1),
                (_, true) => reading.used > share(self.marks[1]),
            };
            if now != *level {
                *level = now;
                self.rises += u64::from(now);
                self.falls += u64::from(!now);
                self.untold.push_back((gauge, now, reading));
            }
        }
    }

    fn is_high(&self, what: What) -> bool {
        self.high.iter().any(|((kind, _), high)| *kind == what as u32 && *high)
    }

    fn is_tier_high(&self, tier: Tier) -> bool {
        let prefix = format!("the {} tier", tier.placement().name());
        self.high.iter().any(|((_, name), high)| *high && name.starts_with(&prefix))
    }
}

#[test]
fn a_watch_is_what_the_model_says() {
    for seed in 0..6 {
        run(seed);
    }
}

struct Objects {
    rig: Rig,
    pools: [Arc<Pool>; 2],
    workspace: Arc<Workspace>,
    pinned: Arc<Pinned>,
    tiers: Arc<Tiers>,
    blocks: Vec<(Arc<TieredBlock>, u8)>,
    leases: Vec<Lease>,
    pieces: Vec<Lease>,
    buffers: Vec<Held>,
}

/// What idle and held memory there is.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Idle {
    /// By pool: all blocks, and held ones.
    pools: [(u32, u32); 2],
    free_entries: u64,
    held_entries: u64,
    idle_slabs: u64,
    kept: [u64; 3],
    demotions: u64,
    /// Bytes of device memory that moves under way leave.
    leaving: u64,
}

impl Objects {
    fn idle(&self) -> Idle {
        let of = |pool: &Arc<Pool>| (pool.levels().blocks, pool.levels().held);
        let (stats, tiers) = (self.workspace.stats(), self.tiers.stats());
        Idle {
            pools: [of(&self.pools[0]), of(&self.pools[1])],
            free_entries: stats.free_entries,
            held_entries: stats.held_entries,
            idle_slabs: self.pinned.figures().idle_bytes,
            kept: TIERS.map(|tier| tiers.tiers[tier as usize].kept_bytes),
            demotions: tiers.demotions,
            leaving: self.tiers.leaving_bytes(Tier::Device),
        }
    }

    /// What there is after a look, or several, of which the last found these levels.
    fn check(&self, before: Idle, levels: &Levels, one_look: bool) {
        let after = self.idle();
        let (device, host) = (levels.is_high(What::Device), levels.is_high(What::Host));
        assert_eq!(after.held_entries, before.held_entries, "what is held stays");
        for (at, (now, was)) in after.pools.iter().zip(&before.pools).enumerate() {
            assert_eq!(now.1, was.1, "what is held stays");
            // The second one has no device side.
            let gives = host || (device && at == 0);
            assert!(!gives || now.0 == now.1, "free blocks are left: {now:?}");
            assert!(gives || !one_look || now.0 == was.0, "blocks went for nothing");
        }
        assert!(!(device || host) || after.free_entries == 0, "free entries are left");
        assert!(device || host || !one_look || after.free_entries == before.free_entries);
        let pinned = levels.is_high(What::Pinned) || host;
        assert!(!pinned || after.idle_slabs == 0, "idle slabs are left");
        assert!(pinned || !one_look || after.idle_slabs == before.idle_slabs);
        let tiers = [device, host, host];
        let mut quiet = true;
        for (at, tier) in TIERS.into_iter().enumerate() {
            let gives = tiers[at] || levels.is_tier_high(tier);
            quiet &= !gives;
            assert!(!tiers[at] || after.kept[at] == 0, "idle memory of a tier is left");
        }
        // What goes down takes what a lower tier has kept.
        let stays = (after.demotions, after.kept) == (before.demotions, before.kept);
        assert!(!quiet || !one_look || stays, "blocks went down, or idle memory, for nothing");
        // Those below may have to make room for what comes down; device memory has nothing above it.
        if levels.is_tier_high(Tier::Device) && !device && one_look {
            let stats = self.tiers.stats().tiers[Tier::Device as usize];
            let over = stats.used_bytes.saturating_sub(stats.budget_bytes * levels.marks[1] / 100);
            assert!(after.leaving <= before.leaving.max(over + BYTES - 1), "more goes than has to: {after:?}, {over}");
        }
    }
}

fn run(seed: u64) {
    let (mut random, rig) = (Random::new(seed), Rig::new(seed));
    let faults = seed % 3 == 2 && copies_fail_alone();
    let marks = [60 + random.below(40), 20 + random.below(40)];
    let device = rig.device.clone();
    let world = Arc::new(World {
        readings: Mutex::new(percent([0, 0])),
        events: Mutex::default(),
        script: Mutex::default(),
        watched: OnceLock::new(),
        unwound: AtomicU32::new(0),
    });
    let (reads, tells) = (Arc::downgrade(&world), Arc::downgrade(&world));
    let pressure = Pressure::create(
        &device,
        PressureOptions {
            high_percent: marks[0] as u32,
            low_percent: marks[1] as u32,
            read: Some(Box::new(move |what, own| {
                reads.upgrade().map_or(own, |world| world.readings.lock()[(what == What::Host) as usize])
            })),
            notify: Some(Box::new(move |change| {
                if let Some(world) = tells.upgrade() {
                    world.told(change);
                }
            })),
            label: String::new(),
        },
    )
    .expect("a watch");
    let pool = |twin| {
        let options = PoolOptions { twin, ..PoolOptions::new(Placement::Pinned, BYTES, 4) };
        Pool::create(&device, options).expect("a pool")
    };
    let budgets = [6, 0, 8, 24].map(|count| count * BYTES);
    let slabs = PinnedOptions { large_bytes: 1, ..PinnedOptions::new(Placement::Pinned, 10 * BYTES) };
    let mut objects = Objects {
        pools: [pool(Twin::Eager), pool(Twin::Never)],
        workspace: Workspace::create(&device, WorkspaceOptions::default()).expect("a workspace"),
        pinned: Pinned::create(&device, slabs).expect("a manager"),
        tiers: Tiers::create(&device, TiersOptions { budgets, moves_per_step: 0, label: String::new() })
            .expect("tiers"),
        blocks: Vec::new(),
        leases: Vec::new(),
        pieces: Vec::new(),
        buffers: Vec::new(),
        rig,
    };
    objects.pools.iter().for_each(|pool| pressure.add_pool(pool).expect("added"));
    pressure.add_workspace(&objects.workspace).expect("added");
    pressure.add_pinned(&objects.pinned).expect("added");
    pressure.add_tiers(&objects.tiers).expect("added");
    let watched = Watched {
        pressure: Arc::downgrade(&pressure),
        device: device.name().to_string(),
        pinned: Arc::downgrade(&objects.pinned),
        tiers: Arc::downgrade(&objects.tiers),
    };
    assert!(world.watched.set(watched).is_ok());
    let (high, untold) = (BTreeMap::new(), VecDeque::new());
    let mut levels = Levels { marks, high, untold, rises: 0, falls: 0 };
    let mut shut = [false; STREAMS as usize];
    let (mut nested, mut looks) = (0, 0);
    for step in 0..500u64 {
        disturb(&mut objects, &mut random, &mut shut, step, faults);
        // Readings wander, so that levels rise, stay and fall.
        if random.below(3) == 0 {
            *world.readings.lock() = percent([random.below(101), random.below(101)]);
        }
        if random.below(2) == 0 {
            continue;
        }
        let action = match random.below(4) {
            0 => Action::StepsAgain([random.below(101), random.below(101)]),
            1 => Action::Unwinds,
            _ => Action::Nothing,
        };
        *world.script.lock() = [action, Action::Nothing, action].into();
        let (before, unwound) = (objects.idle(), world.unwound.load(Ordering::Relaxed));
        let stepped = catch_unwind(AssertUnwindSafe(|| world.step()));
        let threw = world.unwound.load(Ordering::Relaxed) > unwound;
        assert_eq!(stepped.is_err(), threw, "{seed}, {step}: only a callback unwinds");
        let events = std::mem::take(&mut *world.events.lock());
        let count = events.iter().filter(|event| matches!(event, Event::Look(_))).count();
        nested += count - 1;
        looks += count as u64;
        levels.play(events);
        assert!(threw || levels.untold.is_empty(), "{seed}, {step}: {:?} was not told", levels.untold);
        objects.check(before, &levels, count == 1);
        let stats = pressure.stats();
        assert_eq!((stats.looks, stats.rises, stats.falls), (looks, levels.rises, levels.falls), "{seed}, {step}");
        assert_eq!(stats.high_gauges, levels.high.values().filter(|high| **high).count() as u64);
    }
    for (stream, shut) in objects.rig.streams.iter().zip(shut) {
        if shut {
            common::kit(stream).release().expect("a release");
        }
    }
    world.script.lock().clear();
    let _ = device.drain(Timeout::Infinite);
    world.step();
    levels.play(std::mem::take(&mut *world.events.lock()));
    assert!(levels.untold.is_empty(), "what a callback left untold is told later");
    assert!(levels.rises > 20 && levels.falls > 20 && nested > 3, "{} rises, {nested} nested", levels.rises);
    assert!(world.unwound.load(Ordering::Relaxed) > 3);
    let stats = pressure.stats();
    assert!(stats.trimmed_blocks > 0 && stats.evicted_entries > 0 && stats.freed_bytes > 0 && stats.demoted_bytes > 0);
    for (block, value) in &objects.blocks {
        let Ok((data, token)) = block.begin(None, Access::Read, Timeout::Infinite) else { continue };
        // SAFETY: the access covers the whole block.
        let seen = unsafe { std::slice::from_raw_parts(data, BYTES as usize) };
        assert!(seen.iter().all(|byte| byte == value), "{seed}: a block lost its bytes");
        block.release(token).expect("a release");
    }
    // Whoever was watched may end first.
    let Objects { pools, workspace, pinned, tiers, blocks, leases, pieces, buffers, rig } = objects;
    drop((blocks, buffers, leases, pieces, pools, workspace, pinned, tiers));
    let _ = device.drain(Timeout::Infinite);
    *world.readings.lock() = percent([0, 0]);
    world.step();
    assert_eq!(pressure.stats().high_gauges, 0);
    drop(rig);
}

/// Takes memory and gives it back, moves budgets, shuts streams and has copies fail.
fn disturb(objects: &mut Objects, random: &mut Random, shut: &mut [bool], step: u64, faults: bool) {
    let which = random.below(STREAMS) as usize;
    let any = |random: &mut Random, count: usize| random.below(count as u64) as usize;
    match random.below(14) {
        0 | 1 if objects.leases.len() < 6 => {
            if let Ok(lease) = objects.pools[random.below(2) as usize].acquire(0, Timeout::Try) {
                objects.leases.push(lease);
            }
        }
        2 if !objects.leases.is_empty() => {
            let at = any(random, objects.leases.len());
            objects.leases.swap_remove(at).release().expect("a release");
        }
        3 if objects.buffers.len() < 4 => {
            let shape = Shape::new(&[BYTES << random.below(3)]).expect("a shape");
            let spec = Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec");
            objects.buffers.extend(objects.workspace.allocate(&spec, Content::Any, Timeout::Try));
        }
        4 if !objects.buffers.is_empty() => {
            let at = any(random, objects.buffers.len());
            drop(objects.buffers.swap_remove(at));
        }
        5 | 6 => match objects.pinned.allocate(&Request::new(BYTES << random.below(2))) {
            Ok(piece) => objects.pieces.push(piece),
            Err(error) => assert_eq!(error.status(), Status::Budget),
        },
        7 if !objects.pieces.is_empty() => {
            let at = any(random, objects.pieces.len());
            objects.pieces.swap_remove(at).release().expect("a release");
        }
        8 if objects.blocks.len() < 14 => {
            let tier = [None, Some(Tier::Device), Some(Tier::Pinned)][random.below(3) as usize];
            let Ok(block) = objects.tiers.create_block(BYTES, tier, "") else { return };
            let value = step as u8;
            if let Ok((data, token)) = block.begin(None, Access::Write, Timeout::Try) {
                // SAFETY: the access covers the whole block.
                unsafe { data.write_bytes(value, BYTES as usize) };
                block.release(token).expect("a release");
                objects.blocks.push((block, value));
            }
        }
        9 if objects.blocks.len() > 4 => {
            let at = any(random, objects.blocks.len());
            drop(objects.blocks.swap_remove(at));
        }
        10 => {
            let tier = TIERS[random.below(2) as usize];
            objects.tiers.set_budget(tier, (3 + random.below(8)) * BYTES).expect("a budget");
        }
        11 => {
            let _ = objects.pinned.set_budget((4 + random.below(12)) * BYTES);
        }
        12 => {
            let stream = &objects.rig.streams[which];
            if std::mem::replace(&mut shut[which], false) {
                common::kit(stream).release().expect("a release");
            } else if let Some((block, _)) = objects.blocks.last() {
                hold(stream);
                shut[which] = true;
                // Work that keeps a block where it is.
                if let Ok((_, token)) = block.acquire(None, Access::Read, std::slice::from_ref(stream), Timeout::Try) {
                    block.release(token).expect("a release");
                }
            }
        }
        13 if faults => {
            let when = if random.below(2) == 0 { FailWhen::Submission } else { FailWhen::Execution };
            kit_of(&objects.rig.device).fail_operation(Some(Operation::Copy), 1, when).expect("a fault");
        }
        _ if !shut.iter().any(|shut| *shut) => {
            let _ = objects.rig.device.synchronize(Timeout::Infinite);
            objects.rig.device.maintain();
        }
        _ => {}
    }
}
