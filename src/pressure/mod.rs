//! Memory pressure: what memory is nearly used up, told to whoever asked, and answered by those who have some to spare.
//!
//! A gauge turns high at one share of its limit and low again at a lesser one, so that it does not flutter. While it is high, each
//! look has those who were added give back what is idle; where nothing is idle any more, tiers send blocks down. Readings and
//! levels are under one lock; answers and callbacks run under none.

mod answer;
mod gauge;

use crate::backend::system_memory;
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, Member, Name};
use crate::pinned::Pinned;
use crate::pool::Pool;
use crate::stats::{Counter, Record};
use crate::sync::{Arc, Mutex, Weak};
use crate::tiers::{Brake, Tier, Tiers};
use crate::workspace::Workspace;
use answer::Answers;
use gauge::Gauge;
pub use gauge::Reading;
use std::collections::VecDeque;

/// `high_percent`, if not chosen.
pub const HIGH_PERCENT: u32 = 90;
/// `low_percent`, if not chosen.
pub const LOW_PERCENT: u32 = 80;

/// What may be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum What {
    /// The device's memory, of all processes.
    Device = 1,
    /// What the system, or the control group, lets this process have.
    Host = 2,
    /// The budget of a manager of page-locked memory.
    Pinned = 3,
    /// The budget of a tier.
    Tier = 4,
}

/// A gauge that turned high or low.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it measures.
    pub what: What,
    /// Whether it is high now.
    pub is_high: bool,
    /// What it read.
    pub reading: Reading,
    /// Whose memory it is: the device's, the manager's or the tiers' name.
    pub of: String,
}

/// Told of each change, once and in order. Called under no lock; a step in it tells when it has returned.
pub type Notify = Box<dyn Fn(&Change) + Send + Sync>;
/// May put another reading of the device or the host into the place of the library's own. Called under no lock.
pub type Read = Box<dyn Fn(What, Reading) -> Reading + Send + Sync>;

/// What a watch is to be.
#[derive(Default)]
pub struct PressureOptions {
    /// From so many percent of its limit on memory is high; 0: [`HIGH_PERCENT`].
    pub high_percent: u32,
    /// Down to so many percent it stays so; 0: [`LOW_PERCENT`].
    pub low_percent: u32,
    /// Told of changes.
    pub notify: Option<Notify>,
    /// Reads.
    pub read: Option<Read>,
    /// The label, or empty.
    pub label: String,
}

/// A watch over memory. Any thread.
pub struct Pressure {
    name: Name,
    device: Arc<Device>,
    high_percent: u32,
    low_percent: u32,
    notify: Option<Notify>,
    read: Option<Read>,
    state: Mutex<State>,
    /// One look at a time, and one who tells.
    looking: Mutex<()>,
    telling: Mutex<()>,
    counters: Counters,
}

#[derive(Default)]
struct State {
    device: Gauge,
    host: Gauge,
    pinned: Vec<(Weak<Pinned>, Gauge)>,
    tiers: Vec<(Weak<Tiers>, Arc<Brake>, [Gauge; crate::tiers::TIERS])>,
    pools: Vec<Weak<Pool>>,
    workspaces: Vec<Weak<Workspace>>,
    /// Changes that nobody was told of yet, in order.
    untold: VecDeque<Change>,
}

/// What a watch counts.
#[derive(Default)]
struct Counters {
    looks: Counter,
    rises: Counter,
    falls: Counter,
    trimmed_blocks: Counter,
    evicted_entries: Counter,
    freed_bytes: Counter,
    demoted_bytes: Counter,
}

/// A watch's figures: what is the case at this moment, then what only grows.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureStats {
    pub high_gauges: u64,
    pub device: Reading,
    pub host: Reading,
    pub looks: u64,
    pub rises: u64,
    pub falls: u64,
    pub trimmed_blocks: u64,
    pub evicted_entries: u64,
    pub freed_bytes: u64,
    pub demoted_bytes: u64,
}

macro_rules! adders {
    ($($(#[$doc:meta])* $add:ident, $of:ty, $list:ident, |$object:ident, $low:pat_param| $entry:expr;)+) => {
        impl Pressure {
            $($(#[$doc])*
            pub fn $add(&self, $object: &Arc<$of>) -> Result<()> {
                if !Arc::ptr_eq($object.device(), &self.device) {
                    return fail!(WrongDevice, "{} is not of the device of {}", $object.name(), self.name);
                }
                let mut state = self.state.lock();
                if state.$list.try_reserve(1).is_err() {
                    return fail!(OutOfHostMemory, "no host memory to watch {}", $object.name());
                }
                let $low = self.low_percent;
                state.$list.push($entry);
                Ok(())
            })+
        }
    };
}

adders! {
    /// Has its free blocks go when memory is high.
    add_pool, Pool, pools, |pool, _| Arc::downgrade(pool);
    /// Has its free entries go when memory is high.
    add_workspace, Workspace, workspaces, |workspace, _| Arc::downgrade(workspace);
    /// Watches its budget, and has its idle slabs go when memory is high.
    add_pinned, Pinned, pinned, |pinned, _| (Arc::downgrade(pinned), Gauge::default());
    /// Watches the budget of each of its tiers, and has blocks go down. Its steps bring up no further than the low mark.
    add_tiers, Tiers, tiers, |tiers, low| (Arc::downgrade(tiers), tiers.brake(low)?, Default::default());
}

impl Pressure {
    /// A watch over the memory of the device and of the host.
    pub fn create(device: &Arc<Device>, options: PressureOptions) -> Result<Arc<Pressure>> {
        let PressureOptions { high_percent, low_percent, notify, read, label } = options;
        let or = |value, default| if value == 0 { default } else { value };
        let (high, low) = (or(high_percent, HIGH_PERCENT), or(low_percent, LOW_PERCENT));
        if high > 100 || low >= high {
            return fail!(
                InvalidArgument,
                "high_percent is {high} and low_percent {low}: at most 100, and the low one below the high one"
            );
        }
        device.expect_usable()?;
        let pressure = Arc::new(Pressure {
            name: Name::new("pressure", &label),
            device: device.clone(),
            high_percent: high,
            low_percent: low,
            notify,
            read,
            state: Mutex::default(),
            looking: Mutex::default(),
            telling: Mutex::default(),
            counters: Counters::default(),
        });
        let member: Weak<Pressure> = Arc::downgrade(&pressure);
        device.enroll(member);
        Ok(pressure)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    fn read(&self, what: What, own: Reading) -> Reading {
        self.read.as_ref().map_or(own, |read| read(what, own))
    }

    fn device_reading(&self) -> Reading {
        let (free, total) = self.device.backend().memory_info().unwrap_or_default();
        self.read(What::Device, Reading { used: total.saturating_sub(free), limit: total })
    }

    /// By the tightest of what is known: the control group's limit, or the machine's memory.
    fn host_reading(&self) -> Reading {
        let memory = system_memory();
        let of = |limit: Option<u64>, room: Option<u64>| {
            limit.zip(room).map(|(limit, room)| Reading { used: limit.saturating_sub(room), limit })
        };
        let readings = [of(memory.cgroup_limit, memory.cgroup_room), of(memory.total, memory.available)];
        let fullest = readings.into_iter().flatten().max_by(|a, b| a.compare(b));
        self.read(What::Host, fullest.unwrap_or_default())
    }

    /// Reads every gauge, has those answer who can where one is high, and tells of changes. Returns how many changed. Waits for
    /// nobody.
    pub fn step(&self) -> u32 {
        let Some(looking) = self.looking.try_lock() else { return 0 };
        self.counters.looks.add(1);
        let (device, host) = (self.device_reading(), self.host_reading());
        let mut changes = Vec::new();
        let answers = {
            let mut state = self.state.lock();
            let mut answers = Answers::default();
            let mut look = |gauge: &mut Gauge, what, reading: Reading, of: &dyn Fn() -> String| {
                if gauge.look(reading, self.high_percent, self.low_percent) {
                    changes.push(Change { what, is_high: gauge.is_high, reading, of: of() });
                }
                if gauge.is_high { reading.over(self.low_percent) } else { 0 }
            };
            let State { device: on_device, host: on_host, pinned, tiers, pools, workspaces, .. } = &mut *state;
            answers.device = look(on_device, What::Device, device, &|| self.device.name().to_string());
            answers.host = look(on_host, What::Host, host, &|| self.device.name().to_string());
            pinned.retain_mut(|(pinned, gauge)| {
                let Some(pinned) = pinned.upgrade() else { return false };
                let figures = pinned.figures();
                let used = figures.requested_bytes + figures.quarantined_bytes + figures.reserved_bytes;
                let reading = Reading { used, limit: figures.budget_bytes };
                let over = look(gauge, What::Pinned, reading, &|| pinned.name().to_string());
                answers.pinned.push((pinned, over));
                true
            });
            tiers.retain_mut(|(tiers, brake, gauges)| {
                let Some(tiers) = tiers.upgrade() else { return false };
                let stats = tiers.stats();
                let over = Tier::ALL.map(|tier| {
                    let stats = stats.tiers[tier as usize];
                    let reading = Reading { used: stats.used_bytes, limit: stats.budget_bytes };
                    look(&mut gauges[tier as usize], What::Tier, reading, &|| {
                        format!("the {} tier of {}", tier.placement().name(), tiers.name())
                    })
                });
                answers.tiers.push((tiers, brake.clone(), over));
                true
            });
            pools.retain(|pool| pool.upgrade().map(|pool| answers.pools.push(pool)).is_some());
            workspaces.retain(|workspace| workspace.upgrade().map(|it| answers.workspaces.push(it)).is_some());
            answers
        };
        answers.give(&self.counters);
        for change in &changes {
            if change.is_high { &self.counters.rises } else { &self.counters.falls }.add(1);
        }
        let count = changes.len() as u32;
        if self.notify.is_some() {
            self.state.lock().untold.extend(changes);
        }
        drop(looking);
        self.tell();
        count
    }

    /// Tells of changes, each once and in order: who steps while another thread tells, or from within a callback, leaves his to that
    /// one. What a callback that unwinds has left is told at the next step.
    fn tell(&self) {
        let Some(notify) = &self.notify else { return };
        while !self.state.lock().untold.is_empty() {
            let Some(_telling) = self.telling.try_lock() else { return };
            loop {
                let change = self.state.lock().untold.pop_front();
                match change {
                    Some(change) => notify(&change),
                    None => break,
                }
            }
        }
    }

    /// Its figures, as of the last look.
    pub fn stats(&self) -> PressureStats {
        let (state, counters) = (self.state.lock(), &self.counters);
        let tiers = state.tiers.iter().flat_map(|(.., gauges)| gauges);
        let all =
            [&state.device, &state.host].into_iter().chain(state.pinned.iter().map(|(_, gauge)| gauge)).chain(tiers);
        PressureStats {
            high_gauges: all.filter(|gauge| gauge.is_high).count() as u64,
            device: state.device.reading,
            host: state.host.reading,
            looks: counters.looks.get(),
            rises: counters.rises.get(),
            falls: counters.falls.get(),
            trimmed_blocks: counters.trimmed_blocks.get(),
            evicted_entries: counters.evicted_entries.get(),
            freed_bytes: counters.freed_bytes.get(),
            demoted_bytes: counters.demoted_bytes.get(),
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let PressureStats { high_gauges, device, host, .. } = self.stats();
        format!(
            "{}: {high_gauges} gauges are high; device {} of {} bytes, host {} of {}",
            self.name, device.used, device.limit, host.used, host.limit
        )
    }
}

impl Member for Pressure {
    fn record(&self) -> Record {
        let stats = self.stats();
        Record::new("pressure", &self.name)
            .with("high_gauges", stats.high_gauges)
            .with("device_used_bytes", stats.device.used)
            .with("device_limit_bytes", stats.device.limit)
            .with("host_used_bytes", stats.host.used)
            .with("host_limit_bytes", stats.host.limit)
            .with("looks", stats.looks)
            .with("rises", stats.rises)
            .with("falls", stats.falls)
            .with("trimmed_blocks", stats.trimmed_blocks)
            .with("evicted_entries", stats.evicted_entries)
            .with("freed_bytes", stats.freed_bytes)
            .with("demoted_bytes", stats.demoted_bytes)
    }

    fn maintain(&self) {
        self.step();
    }
}
