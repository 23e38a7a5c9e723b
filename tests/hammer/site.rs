//! What the threads have in common: the device, the shared objects, and what a call may be answered.

use crate::common::{self, kit_of};
use crate::kit::{Random, Rig, steps};
use gpubuf::backend::kit::Census;
use gpubuf::config::{Placement, Timeout};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Device, Timeline};
use gpubuf::pinned::{Pinned, PinnedOptions};
use gpubuf::pool::{Growth, Pool, PoolOptions};
use gpubuf::predictor::{Predictor, PredictorOptions};
use gpubuf::pressure::{Pressure, PressureOptions, Reading};
use gpubuf::staged::StagedRows;
use gpubuf::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use gpubuf::tiers::{Tiers, TiersOptions};
use gpubuf::workspace::{Workspace, WorkspaceOptions};
use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What the device does to those on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Delays only.
    Fair,
    /// Some operations are refused.
    Refusals,
    /// Some copies fail when they run.
    Failures,
    /// The device is lost half way.
    Loss,
}

impl Weather {
    /// Whether the device explains this answer.
    fn explains(self, status: Status) -> bool {
        use Status::{CopyFailed, DeviceLost, DriverError, OutOfDeviceMemory, OutOfHostMemory, Quarantined};
        match self {
            Weather::Fair => false,
            Weather::Refusals => {
                matches!(status, DriverError | OutOfHostMemory | OutOfDeviceMemory | Quarantined)
            }
            Weather::Failures => status == CopyFailed,
            Weather::Loss => matches!(status, DeviceLost | Quarantined),
        }
    }
}

/// The device's doing: the object at hand is given up, and another one made.
#[derive(Debug, PartialEq)]
pub struct Ended;

pub type Work<T> = std::result::Result<T, Ended>;
/// One round of it is one call; the next makes what there is not.
pub type Worker = fn(&Site, &mut Random);
pub type Caretaker = fn(&Site, u64);

pub const BLOCK: u64 = 512;

pub struct Site {
    pub rig: Rig,
    pub weather: Weather,
    pub seed: u64,
    pub rounds: u64,
    pub pool: Arc<Pool>,
    pub workspace: Arc<Workspace>,
    pub tiers: Arc<Tiers>,
    pub pinned: Arc<Pinned>,
    pub predictor: Arc<Predictor>,
    pub pressure: Arc<Pressure>,
    /// Objects for one thread at a time, which a stranger calls now and then.
    pub rows: Mutex<Vec<Arc<StagedRows>>>,
    /// Workers that are not done, and the rounds of all so far.
    at_work: AtomicU64,
    worked: AtomicU64,
    failed: AtomicBool,
    answers: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    before: Census,
}

impl Site {
    pub fn new(weather: Weather, seed: u64) -> Site {
        let rig = Rig::new(seed);
        // What the kit makes for its holds, and keeps, is there before.
        common::hold(&rig.streams[0]);
        common::release(&rig.streams[0]);
        let before = kit_of(&rig.device).census().expect("a census");
        let device = rig.device.clone();
        let growth = Growth { max_blocks: 24, cool_down: Duration::ZERO, ..Growth::default() };
        let pool = PoolOptions { growth, patience: 3, ..PoolOptions::new(Placement::Uva, BLOCK, 4) };
        let workspace = WorkspaceOptions { max_entries: 7, max_bytes: 14 * BLOCK, label: String::new() };
        let budgets = [3, 0, 6, 20].map(|blocks| blocks * BLOCK);
        let tiers = TiersOptions { budgets, moves_per_step: 0, label: String::new() };
        let pinned = PinnedOptions { slab_bytes: 1 << 14, ..PinnedOptions::new(Placement::Uva, 1 << 16) };
        let (predictor, pressure) = (PredictorOptions::default(), PressureOptions { ..reading(&device, seed) });
        let pool = Pool::create(&device, pool).expect("a pool");
        let workspace = Workspace::create(&device, workspace).expect("a workspace");
        let tiers = Tiers::create(&device, tiers).expect("tiers");
        let pinned = Pinned::create(&device, pinned).expect("a manager");
        let pressure = Pressure::create(&device, pressure).expect("a watch");
        pressure.add_pool(&pool).expect("watched");
        pressure.add_workspace(&workspace).expect("watched");
        pressure.add_pinned(&pinned).expect("watched");
        pressure.add_tiers(&tiers).expect("watched");
        Site {
            predictor: Predictor::create(Some(&device), predictor).expect("a predictor"),
            rig,
            weather,
            seed,
            rounds: (steps() / 12).max(10),
            pool,
            workspace,
            tiers,
            pinned,
            pressure,
            rows: Mutex::default(),
            at_work: AtomicU64::new(0),
            worked: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            answers: Mutex::default(),
            before,
        }
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.rig.device
    }

    pub fn stream(&self, random: &mut Random) -> Arc<Timeline> {
        self.rig.any_stream(random).clone()
    }

    /// Longer than anything takes: a wait that ends by it is one for what never comes.
    pub fn patience(&self) -> Timeout {
        Timeout::Within(Duration::from_secs(100))
    }

    /// What a call is answered: a value, or nothing where the answer is one of `also`, which leave the object as it was.
    #[track_caller]
    pub fn get<T>(&self, what: &'static str, also: &[Status], result: Result<T>) -> Work<Option<T>> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let status = error.status();
        *self.answers.lock().entry((what, status.name().to_str().expect("ASCII"))).or_default() += 1;
        match () {
            () if also.contains(&status) => Ok(None),
            () if self.weather.explains(status) => Err(Ended),
            () => panic!("{:?}, seed {}: {what}: {status:?}: {error}", self.weather, self.seed),
        }
    }

    /// A call that has no other answer than the device's.
    #[track_caller]
    pub fn must<T>(&self, what: &'static str, result: Result<T>) -> Work<T> {
        Ok(self.get(what, &[], result)?.expect("no other answer is taken"))
    }

    /// The same, where the stranger may be in the object at this moment.
    #[track_caller]
    pub fn again<T>(&self, what: &'static str, mut call: impl FnMut() -> Result<T>) -> Work<T> {
        let began = Instant::now();
        loop {
            match self.get(what, &[Status::Busy], call())? {
                Some(value) => return Ok(value),
                None => thread::yield_now(),
            }
            assert!(began.elapsed() < Duration::from_secs(100), "seed {}: {what} is busy for ever", self.seed);
        }
    }

    /// Has the stream see these bytes there, and no other.
    pub fn look(&self, stream: &Timeline, address: u64, expected: &[u8]) -> Work<()> {
        // What a failed copy was to bring is not there.
        if self.weather == Weather::Failures {
            return Ok(());
        }
        self.must("a look", self.rig.try_look(stream, address, expected))
    }

    /// The CPU sees these bytes, and no other.
    #[track_caller]
    pub fn expect(&self, what: &str, found: &[u8], expected: &[u8]) {
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        let Some(at) = at else { return };
        panic!("{:?}, seed {}: {what}: byte {at} is {}, not {}", self.weather, self.seed, found[at], expected[at]);
    }

    /// Whether somebody works still.
    pub fn is_at_work(&self) -> bool {
        self.at_work.load(Ordering::Acquire) > 0 && !self.failed.load(Ordering::Relaxed)
    }

    /// Rounds of all workers so far, in percent of those to come.
    pub fn progress(&self, workers: usize) -> u64 {
        100 * self.worked.load(Ordering::Relaxed) / (workers as u64 * self.rounds)
    }

    /// Counts a round; false where another thread has failed.
    pub fn round(&self) -> bool {
        self.worked.fetch_add(1, Ordering::Relaxed);
        !self.failed.load(Ordering::Relaxed)
    }

    /// Has all of them work, and the others look after them meanwhile.
    pub fn work(&self, workers: &[(&'static str, Worker)], others: &[Caretaker]) {
        let _watch = Watch::new(format!("{:?}, seed {}", self.weather, self.seed));
        println!("{:?}: seed {}, {} rounds of {} threads", self.weather, self.seed, self.rounds, workers.len());
        self.at_work.store(workers.len() as u64, Ordering::Release);
        thread::scope(|scope| {
            for (place, (name, work)) in workers.iter().enumerate() {
                let worker = move || {
                    let _leaves = Leaves(self);
                    work(self, &mut Random::new(self.seed ^ (place as u64 + 1).wrapping_mul(0x9E37_79B9)));
                };
                thread::Builder::new().name((*name).into()).spawn_scoped(scope, worker).expect("a thread");
            }
            for (place, other) in others.iter().enumerate() {
                scope.spawn(move || other(self, self.seed ^ (place as u64 + 1000)));
            }
        });
    }

    /// Everything was given up: what there is yet is what is quarantined.
    pub fn end(self) {
        let _watch = Watch::new(format!("the end of {:?}, seed {}", self.weather, self.seed));
        let place = format!("{:?}, seed {}", self.weather, self.seed);
        let Site { rig, pool, workspace, tiers, pinned, predictor, pressure, rows, .. } = self;
        let device = rig.device.clone();
        let fair = self.weather == Weather::Fair;
        // A copy that failed is told once more, by the drain.
        for _ in 0..3 {
            if device.drain(Timeout::Infinite).is_ok() {
                break;
            }
            assert!(!fair, "{place}: a drain fails");
        }
        assert_eq!(rig.wrong_bytes(), 0, "{place}: work on a stream saw bytes that were not meant for it");
        assert!(rig.looks() > 0 || self.weather == Weather::Failures, "{place}: nothing was looked at");
        assert!(!fair || rig.blind() == 0, "{place}: memory was gone");
        let (levels, figures, entries) = (pool.levels(), pinned.figures(), workspace.stats());
        assert_eq!((levels.held, levels.waiters, figures.waiters), (0, 0, 0), "{place}");
        assert_eq!((entries.held_entries, figures.reserved_bytes), (0, 0), "{place}");
        if fair {
            assert_eq!((levels.quarantined, levels.free), (0, levels.blocks), "{place}");
            assert_eq!((figures.blocks, figures.requested_bytes), (0, 0), "{place}");
            assert_eq!(figures.allocations, figures.frees, "{place}");
            assert_eq!(tiers.stats().tiers.map(|tier| tier.used_bytes), [0; 4], "{place}");
        }
        assert!(rows.lock().is_empty(), "{place}");
        pool.destroy();
        pinned.destroy();
        workspace.destroy();
        drop((pool, workspace, tiers, pinned, predictor, pressure));
        // Who looks after every object of the device at this moment, be it for another test, has them until it is through.
        let began = Instant::now();
        while !device.members().is_empty() && began.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        let drained = device.drain(Timeout::Infinite);
        assert!(drained.is_ok() || self.weather == Weather::Loss, "{place}: {drained:?}");
        let counters = &device.counters;
        let owned = [&counters.host_bytes, &counters.pinned_bytes, &counters.device_bytes].map(|level| level.get());
        let quarantined = counters.quarantined_bytes.get();
        assert!(!fair || quarantined == 0, "{place}: {quarantined} bytes are quarantined");
        assert!(quarantined > 0 || owned == [0; 3], "{place}: {owned:?} is lost (pageable, pinned, device)");
        assert_eq!(device.deferred(), (0, 0), "{place}: something waits for its last use");
        assert_eq!(counters.leaked_bytes.get(), 0, "{place}");
        assert_eq!(device.members().len(), 0, "{place}: an object is left");
        if fair {
            // Streams that end, and memory on its way to the driver, take their time.
            let (began, there) = (Instant::now(), || kit_of(&device).census().expect("a census"));
            let settled = |now: Census| Census { events: 0, ..now } == Census { events: 0, ..self.before };
            while !settled(there()) && began.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
            assert!(settled(there()), "{place}: there is {:?}, at first {:?}", there(), self.before);
        }
        println!("{place}: {} looks, {:?}", rig.looks(), self.answers.lock());
    }
}

/// A watch whose readings of the device and the host go up and down, and whose callback calls the library.
fn reading(device: &Arc<Device>, seed: u64) -> PressureOptions {
    let (random, device) = (Mutex::new(Random::new(seed)), Arc::downgrade(device));
    PressureOptions {
        read: Some(Box::new(move |_, _| Reading { used: random.lock().below(100), limit: 100 })),
        notify: Some(Box::new(move |change| {
            assert!(!change.of.is_empty());
            if let Some(device) = device.upgrade() {
                device.maintain();
            }
        })),
        ..PressureOptions::default()
    }
}

/// A worker that is done, or has failed: then all stop.
struct Leaves<'a>(&'a Site);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.failed.fetch_or(thread::panicking(), Ordering::Relaxed);
        self.0.at_work.fetch_sub(1, Ordering::Release);
    }
}

/// Ends the process where something hangs.
pub struct Watch(Option<Sender<()>>);

impl Watch {
    pub fn new(what: String) -> Watch {
        let (done, is_done) = channel();
        thread::spawn(move || {
            if is_done.recv_timeout(Duration::from_secs(300)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what} hangs");
                std::process::abort();
            }
        });
        Watch(Some(done))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}
