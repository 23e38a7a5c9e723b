//! The manager of page-locked memory: blocks of any size under one budget, from slabs that are page-locked once.
//!
//! The budget is over *requested* bytes: those of blocks that live, of what is cached, quarantined and reserved. What is
//! page-locked for them, with the padding of blocks and the unused rest of slabs, is reported beside it. One lock guards
//! accounts, slabs and waiters ([`state`]); page-locking and freeing, which take the driver milliseconds, callbacks, and
//! looks at fences run outside it: bytes are reserved first, and the reservation is made good or taken back afterwards.

mod allocate;
mod budget;
mod give_back;
mod ledger;
mod limits;
mod queue;
mod request;
mod reservation;
mod slabs;
mod state;
mod wait;

pub use budget::{PinnedFigures, Shortage, Told};
pub use ledger::Share;
pub use request::{MOST_ALIGNMENT, OWNER_BYTES, Over, Owner, Request, size};
pub use reservation::Reservation;

use crate::backend::{page_bytes, system_memory};
use crate::config::Placement;
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, Member, Name};
use crate::stats::{Counter, Record, WaitCounters};
use crate::sync::{Arc, Condvar, Mutex, Weak};
use request::UNIT;
use state::State;
use std::thread::ThreadId;

/// `budget`: a part of what the machine has.
pub const BUDGET_AUTO: u64 = u64::MAX;
/// Bytes of a slab, if not chosen.
pub const SLAB_BYTES: u64 = 4 << 20;
/// The largest slab: its units can be numbered.
pub const MOST_SLAB_BYTES: u64 = 256 << 30;
/// The part of a slab from which on a block gets one for itself, if not chosen.
const LARGE: u64 = 4;
/// Retries that the out-of-memory hook may ask for, if not chosen.
pub const RETRIES: u32 = 4;

/// Told what became of a request that the budget or the driver had no memory for: how many bytes, and whose. Called under
/// no lock.
pub type Notify = Box<dyn Fn(Told, u64, Owner) + Send + Sync>;
/// Asked whether to try again: what is short, of how many bytes, and how often it was asked for this request. Called under
/// no lock; not for what the same thread asks of the manager meanwhile.
pub type Hook = Box<dyn Fn(Shortage, u64, u32) -> bool + Send + Sync>;

/// What a manager is to be.
pub struct PinnedOptions {
    /// Pinned or uva.
    pub placement: Placement,
    /// Requested bytes at most, or [`BUDGET_AUTO`].
    pub budget: u64,
    /// Bytes of a slab; 0: [`SLAB_BYTES`].
    pub slab_bytes: u64,
    /// A block of so many bytes or more gets a slab for itself; 0: a quarter of a slab.
    pub large_bytes: u64,
    /// Bytes of idle slabs that upkeep leaves.
    pub keep_bytes: u64,
    /// Asks for huge pages.
    pub huge_pages: bool,
    /// Retries that the hook may ask for, for each request.
    pub retries: u32,
    /// Told of shortages.
    pub notify: Option<Notify>,
    /// Asked for a cure.
    pub hook: Option<Hook>,
    /// The label, or empty.
    pub label: String,
}

impl PinnedOptions {
    /// A manager of so many bytes, everything else as it usually is.
    pub fn new(placement: Placement, budget: u64) -> PinnedOptions {
        PinnedOptions {
            placement,
            budget,
            slab_bytes: 0,
            large_bytes: 0,
            keep_bytes: u64::MAX,
            huge_pages: false,
            retries: RETRIES,
            notify: None,
            hook: None,
            label: String::new(),
        }
    }
}

/// A manager. Any thread.
pub struct Pinned {
    name: Arc<Name>,
    device: Arc<Device>,
    placement: Placement,
    slab_bytes: u64,
    large_bytes: u64,
    keep_bytes: u64,
    huge_pages: bool,
    page: u64,
    retries: u32,
    notify: Option<Notify>,
    hook: Option<Hook>,
    /// The threads that are inside the hook, and those that are told of something.
    asking: Mutex<Vec<ThreadId>>,
    telling: Mutex<Vec<ThreadId>>,
    /// Memory came back.
    returned: Condvar,
    state: Mutex<State>,
    counters: Counters,
}

/// What a manager counts.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub allocations: Counter,
    pub frees: Counter,
    /// Requests that pageable memory was given for.
    pub fallbacks: Counter,
    /// Requests that were refused for want of memory.
    pub refusals: Counter,
    /// Times that the hook had something tried again.
    pub retries: Counter,
    /// Waits for memory.
    pub waits: WaitCounters,
    /// Waits for a block's fence.
    pub fence_waits: WaitCounters,
    pub slabs_made: Counter,
    pub slabs_freed: Counter,
}

impl Pinned {
    /// A manager without memory yet.
    pub fn create(device: &Arc<Device>, options: PinnedOptions) -> Result<Arc<Pinned>> {
        let PinnedOptions { placement, budget, slab_bytes, large_bytes, keep_bytes, huge_pages, retries, .. } = options;
        if !matches!(placement, Placement::Pinned | Placement::Uva) {
            return fail!(InvalidArgument, "a manager's placement is pinned or uva, not {}", placement.name());
        }
        let page = page_bytes() as u64;
        let slab_bytes = if slab_bytes == 0 { SLAB_BYTES } else { slab_bytes };
        if slab_bytes > MOST_SLAB_BYTES {
            return fail!(InvalidArgument, "slab_bytes is {slab_bytes}: at most {MOST_SLAB_BYTES}");
        }
        if budget != BUDGET_AUTO && budget > isize::MAX as u64 {
            return fail!(InvalidArgument, "budget_bytes is {budget}: within the address space, or GPUBUF_BUDGET_AUTO");
        }
        device.expect_usable()?;
        let slab_bytes = slab_bytes.next_multiple_of(page);
        let pinned = Arc::new(Pinned {
            name: Arc::new(Name::new("pinned manager", &options.label)),
            device: device.clone(),
            placement,
            slab_bytes,
            large_bytes: if large_bytes == 0 { (slab_bytes / LARGE).max(UNIT) } else { large_bytes },
            keep_bytes,
            huge_pages,
            page,
            retries,
            notify: options.notify,
            hook: options.hook,
            asking: Mutex::default(),
            telling: Mutex::default(),
            returned: Condvar::new(),
            state: Mutex::default(),
            counters: Counters::default(),
        });
        pinned.state.lock().ledger.budget =
            if budget == BUDGET_AUTO { limits::automatic_budget(&system_memory()) } else { budget };
        let member: Weak<Pinned> = Arc::downgrade(&pinned);
        device.enroll(member);
        Ok(pinned)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn expect_open(&self, state: &State) -> Result<()> {
        if state.shut_down {
            return fail!(ShutDown, "{} was destroyed", self.name);
        }
        Ok(())
    }

    /// Gives idle slabs back to the driver until at most `keep` page-locked bytes of them are left. Returns the bytes given
    /// back.
    pub fn trim(&self, keep: u64) -> u64 {
        let evicted = {
            let mut state = self.state.lock();
            let over = state.slabs.idle_bytes().saturating_sub(keep);
            let most = state.slabs.locked.saturating_sub(over);
            state.evict(|slabs| slabs.locked <= most)
        };
        self.free_slabs(evicted)
    }

    /// Frees what was taken out of the slabs, under no lock. Returns its bytes.
    fn free_slabs(&self, slabs: impl IntoIterator<Item = slabs::Slab>) -> u64 {
        let mut bytes = 0;
        for slab in slabs {
            bytes += slab.bytes();
            self.counters.slabs_freed.add(1);
            slab.end();
        }
        if bytes > 0 {
            self.state.lock().returns += 1;
            self.returned.notify_all();
        }
        bytes
    }

    /// Gives all memory back; refuses while a block lives, a last use is not proven, or bytes are reserved.
    pub fn clear(&self) -> Result<u64> {
        // What is over but not noticed yet is no reason to refuse.
        self.device.maintain();
        let evicted = {
            let mut state = self.state.lock();
            self.expect_open(&state)?;
            let (levels, ledger) = (&state.levels, &state.ledger);
            if levels.blocks > 0 || ledger.reserved > 0 {
                let pending = levels.pending_blocks;
                return fail!(
                    Busy,
                    "{} has {} live blocks ({} held, {pending} given back whose last use is not over), and {} reserved: free the blocks, drain the device, destroy the reservations",
                    self.name,
                    levels.blocks,
                    levels.blocks - pending,
                    budget::Bytes(ledger.reserved)
                );
            }
            state.evict(|_| false)
        };
        Ok(self.free_slabs(evicted))
    }

    /// Changes the budget. One that is less than what is live, quarantined and reserved is refused.
    pub fn set_budget(&self, budget: u64) -> Result<()> {
        let budget = if budget == BUDGET_AUTO { limits::automatic_budget(&system_memory()) } else { budget };
        if budget > isize::MAX as u64 {
            return fail!(InvalidArgument, "the budget {budget} is over the address space");
        }
        let evicted = {
            let mut state = self.state.lock();
            self.expect_open(&state)?;
            let committed = state.ledger.committed();
            if budget < committed {
                return fail!(
                    Budget,
                    "the budget of {} cannot be {}: {} are live, quarantined or reserved; free some first",
                    self.name,
                    budget::Bytes(budget),
                    budget::Bytes(committed)
                );
            }
            state.set_budget(budget);
            let most = budget.next_multiple_of(self.page);
            state.evict(|slabs| slabs.locked <= most)
        };
        self.free_slabs(evicted);
        Ok(())
    }

    /// Ends the manager: idle slabs go now, the others with their last block. Who waits is told. Never waits.
    pub fn destroy(&self) {
        let evicted = {
            let mut state = self.state.lock();
            if std::mem::replace(&mut state.shut_down, true) {
                return;
            }
            state.queue.refuse(crate::error::Status::ShutDown, |_| true);
            state.evict(|_| false)
        };
        self.returned.notify_all();
        self.free_slabs(evicted);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Blocks keep the manager: what is left is idle, or lost.
        let left = self.state.get_mut().slabs.take_all();
        self.free_slabs(left);
    }
}

impl Member for Pinned {
    fn record(&self) -> Record {
        let figures = self.figures();
        let record = Record::new("pinned manager", &self.name).with("placement", self.placement.name());
        let record = figures.list().into_iter().fold(record, |record, (name, value)| record.with(name, value));
        self.shares().into_iter().fold(record, |record, share| {
            let part = Record::new("owner", share.owner).with("bytes", share.bytes).with("blocks", share.blocks);
            record.with_part(part)
        })
    }

    fn maintain(&self) {
        self.trim(self.keep_bytes);
    }

    fn send_away(&self) {
        self.destroy();
    }
}
