//! Tiers: blocks that live in device, managed, page-locked or pageable memory, each with a budget, and move between them behind
//! one handle.
//!
//! A block has memory in one tier, and while a move is not proven, in the one it comes from: a copy that fails leaves it there. One
//! lock guards who is where and who was used when ([`state`]); copies are queued, memory is made and fences are waited for outside
//! it, under the block alone. What is decided depends on the uses so far, never on a time.

mod block;
mod brake;
mod moves;
pub mod policy;
mod report;
mod room;
mod source;
mod state;

pub use block::{TieredBlock, TieredInfo};
pub use brake::Brake;
pub use report::{TierStats, TiersStats};

use crate::config::Placement;
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, Member, Name, Timeline};
use crate::stats::{Counter, Record, WaitCounters};
use crate::sync::{Arc, Mutex, Weak};
use policy::Policy;
use room::Room;
use state::State;

/// How many tiers there may be.
pub const TIERS: usize = 4;
/// Blocks that one step moves up, if not chosen.
pub const MOVES_PER_STEP: u32 = 16;

/// A tier, the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Tier {
    /// Device memory.
    Device = 0,
    /// Managed memory.
    Managed = 1,
    /// Page-locked memory, which kernels use in place where the device sees it.
    Pinned = 2,
    /// Ordinary host memory.
    Pageable = 3,
}

impl Tier {
    /// Each, the highest first.
    pub const ALL: [Tier; TIERS] = [Tier::Device, Tier::Managed, Tier::Pinned, Tier::Pageable];

    /// The tier of memory of this placement; `None` for no memory: whichever suits.
    pub fn of(placement: Placement) -> Option<Tier> {
        match placement {
            Placement::None => None,
            Placement::Device => Some(Tier::Device),
            Placement::Managed => Some(Tier::Managed),
            Placement::Pinned | Placement::Uva => Some(Tier::Pinned),
            Placement::Pageable => Some(Tier::Pageable),
        }
    }

    /// What callers call it.
    pub const fn placement(self) -> Placement {
        match self {
            Tier::Device => Placement::Device,
            Tier::Managed => Placement::Managed,
            Tier::Pinned => Placement::Pinned,
            Tier::Pageable => Placement::Pageable,
        }
    }
}

/// What tiers are to be.
pub struct TiersOptions {
    /// Bytes of each tier; 0: there is no such tier.
    pub budgets: [u64; TIERS],
    /// Blocks that one step moves up; 0: [`MOVES_PER_STEP`].
    pub moves_per_step: u32,
    /// The label, or empty.
    pub label: String,
}

/// Tiers. Any thread.
pub struct Tiers {
    name: Arc<Name>,
    device: Arc<Device>,
    /// Where copies to a higher tier go, and to a lower one: what waits there does not keep the others.
    up: Arc<Timeline>,
    down: Arc<Timeline>,
    rooms: [Option<Arc<Room>>; TIERS],
    moves_per_step: u32,
    state: Mutex<State>,
    /// Of those who watch.
    brakes: Mutex<Vec<Weak<Brake>>>,
    /// One step at a time.
    stepping: Mutex<Vec<u32>>,
    counters: Counters,
}

/// What tiers count.
#[derive(Default)]
struct Counters {
    accesses: Counter,
    hits: Counter,
    promotions: Counter,
    demotions: Counter,
    moved_bytes: Counter,
    failed_moves: Counter,
    refused_moves: Counter,
    waits: WaitCounters,
}

/// What a policy has for a tier: its memory and that of all above.
fn capacity(budgets: &[u64; TIERS], tier: usize) -> u64 {
    budgets[..=tier].iter().fold(0, |sum, budget| sum.saturating_add(*budget))
}

impl Tiers {
    /// Tiers without blocks.
    pub fn create(device: &Arc<Device>, options: TiersOptions) -> Result<Arc<Tiers>> {
        let TiersOptions { budgets, moves_per_step, label } = options;
        if let Some(over) = budgets.iter().find(|budget| **budget > isize::MAX as u64) {
            return fail!(InvalidArgument, "a budget of {over} bytes is over the address space");
        }
        let Some(last) = budgets.iter().rposition(|budget| *budget > 0) else {
            return fail!(InvalidArgument, "every budget is 0: give at least one tier some bytes");
        };
        if budgets[Tier::Managed as usize] > 0 && !device.backend().facts().can_manage {
            return fail!(Unsupported, "a budget of managed memory, which {} does not have: leave it 0", device.name());
        }
        let room = |tier: Tier| {
            let placement = match tier {
                Tier::Pinned if device.expect_in_place(Placement::Uva).is_ok() => Placement::Uva,
                tier => tier.placement(),
            };
            let budget = budgets[tier as usize];
            (budget > 0).then(|| Room::new(device, placement, budget))
        };
        let policy = |tier: Tier| {
            let tier = tier as usize;
            (tier < last && budgets[tier] > 0).then(|| Policy::new(capacity(&budgets, tier)))
        };
        let tiers = Arc::new(Tiers {
            name: Arc::new(Name::new("tiers", &label)),
            device: device.clone(),
            up: Timeline::create(device, "moves up")?,
            down: Timeline::create(device, "moves down")?,
            rooms: Tier::ALL.map(room),
            moves_per_step: if moves_per_step == 0 { MOVES_PER_STEP } else { moves_per_step },
            state: Mutex::new(State::new(Tier::ALL.map(policy))),
            brakes: Mutex::default(),
            stepping: Mutex::default(),
            counters: Counters::default(),
        });
        let member: Weak<Tiers> = Arc::downgrade(&tiers);
        device.enroll(member);
        Ok(tiers)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn room(&self, tier: Tier) -> Result<&Arc<Room>> {
        match &self.rooms[tier as usize] {
            Some(room) => Ok(room),
            None => fail!(InvalidArgument, "{} has no {} tier: give it a budget", self.name, tier.placement().name()),
        }
    }

    /// Whether kernels can use what is there.
    fn is_for_kernels(&self, tier: Tier) -> bool {
        self.rooms[tier as usize].as_ref().is_some_and(|room| room.is_for_kernels())
    }

    /// The tiers there are, the highest first.
    fn present(&self) -> impl DoubleEndedIterator<Item = Tier> {
        Tier::ALL.into_iter().filter(|tier| self.rooms[*tier as usize].is_some())
    }

    /// A tier has so many bytes from now on; what is over them leaves in the next steps.
    pub fn set_budget(&self, tier: Tier, budget: u64) -> Result<()> {
        let room = self.room(tier)?;
        if budget == 0 || budget > isize::MAX as u64 {
            return fail!(InvalidArgument, "the budget is {budget}: at least 1 byte, and within the address space");
        }
        room.set_budget(budget);
        let mut budgets = [0; TIERS];
        for tier in self.present() {
            budgets[tier as usize] = self.room(tier)?.levels().budget;
        }
        let mut state = self.state.lock();
        for (tier, policy) in state.policies.iter_mut().enumerate() {
            if let Some(policy) = policy {
                policy.set_capacity(capacity(&budgets, tier));
            }
        }
        Ok(())
    }

    /// Gives memory that nobody uses back to the driver. Returns its bytes.
    pub fn trim(&self, tier: Tier) -> u64 {
        self.rooms[tier as usize].as_ref().map_or(0, |room| room.trim())
    }
}

impl Member for Tiers {
    fn record(&self) -> Record {
        self.report()
    }

    fn maintain(&self) {
        self.step();
    }
}
