//! What a manager says of its memory: figures, shares, and why a request was refused.

use super::Pinned;
use super::allocate::Inside;
use super::ledger::Share;
use super::request::{Need, Owner};
use super::state::State;
use crate::backend::system_memory;
use crate::error::{Error, Status};
use std::fmt;
use std::time::Duration;

/// The most owners that a message names.
const NAMED: usize = 4;

/// What became of a request that there was no memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Told {
    /// It was refused.
    Refused = 1,
    /// It waits.
    Waits = 2,
    /// Pageable memory was given.
    Pageable = 3,
}

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Shortage {
    /// The budget.
    Budget = 1,
    /// Memory that can be page-locked.
    Memory = 2,
}

/// A number of bytes, in words: whole MiB and KiB as such.
pub(super) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bytes(bytes) = *self;
        match bytes {
            0 => write!(f, "0 bytes"),
            1 => write!(f, "1 byte"),
            _ if bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            _ if bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            _ => write!(f, "{bytes} bytes"),
        }
    }
}

macro_rules! figures {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A manager's figures at one moment: levels of bytes and blocks, then what only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PinnedFigures { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl PinnedFigures {
            /// Each by its name.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

figures! {
    /// The budget, in requested bytes: the sum of the five below.
    budget_bytes,
    /// Requested bytes of blocks that are held, or wait for their last use.
    requested_bytes,
    /// Requested bytes that slabs keep, to be given out again.
    cached_bytes,
    /// Requested bytes of blocks whose completion could not be proven.
    quarantined_bytes,
    /// Bytes of reservations, and of requests under way.
    reserved_bytes,
    /// What is left.
    available_bytes,
    /// Of requested_bytes, those of blocks that were given back and wait for their last use.
    pending_bytes,
    /// Bytes that these blocks take up, with what they are rounded up to, pageable ones included.
    actual_bytes,
    /// Page-locked bytes: whole slabs.
    locked_bytes,
    /// Of these, those of slabs in which nothing lives.
    idle_bytes,
    /// Of these, those on huge pages, where that was asked for.
    huge_bytes,
    /// The largest block that there is room for in the slabs there are.
    largest_free_bytes,
    /// Requested bytes of pageable blocks, outside the budget.
    pageable_bytes,
    /// The most requested_bytes there were.
    peak_requested_bytes,
    /// The most locked_bytes there were.
    peak_locked_bytes,
    /// Blocks that are held, or wait for their last use, pageable ones included.
    blocks,
    /// Of these, those that wait for their last use.
    pending_blocks,
    /// Of these, pageable ones.
    pageable_blocks,
    /// Slabs there are.
    slabs,
    /// Threads that wait for memory.
    waiters,
    /// Blocks given out.
    allocations,
    /// Blocks given back.
    frees,
    /// Requests that pageable memory was given for.
    fallbacks,
    /// Requests that were refused for want of memory.
    refusals,
    /// Times that the out-of-memory hook had something tried again.
    retries,
    /// Requests that waited for memory.
    waits,
    /// Time spent in that.
    wait_ns,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    timeouts,
    /// Slabs made.
    slabs_made,
    /// Slabs given back.
    slabs_freed,
}

impl Pinned {
    /// Its figures, all of one moment but what only grows.
    pub fn figures(&self) -> PinnedFigures {
        let counters = &self.counters;
        let state = self.state.lock();
        let State { ledger, levels, slabs, queue, .. } = &*state;
        PinnedFigures {
            budget_bytes: ledger.budget,
            requested_bytes: ledger.live,
            cached_bytes: ledger.cached,
            quarantined_bytes: ledger.quarantined,
            reserved_bytes: ledger.reserved,
            available_bytes: ledger.available(),
            pending_bytes: ledger.pending,
            actual_bytes: levels.actual,
            locked_bytes: slabs.locked,
            idle_bytes: slabs.idle_bytes(),
            huge_bytes: slabs.huge,
            largest_free_bytes: slabs.largest_free(),
            pageable_bytes: levels.pageable,
            peak_requested_bytes: levels.peak_requested,
            peak_locked_bytes: levels.peak_locked,
            blocks: levels.blocks,
            pending_blocks: levels.pending_blocks,
            pageable_blocks: levels.pageable_blocks,
            slabs: slabs.live().count() as u64,
            waiters: queue.len() as u64 + state.short,
            allocations: counters.allocations.get(),
            frees: counters.frees.get(),
            fallbacks: counters.fallbacks.get(),
            refusals: counters.refusals.get(),
            retries: counters.retries.get(),
            waits: counters.waits.waits.get(),
            wait_ns: counters.waits.wait_ns.get(),
            timeouts: counters.waits.timeouts.get(),
            slabs_made: counters.slabs_made.get(),
            slabs_freed: counters.slabs_freed.get(),
        }
    }

    /// Who has how much, by name.
    pub fn shares(&self) -> Vec<Share> {
        self.state.lock().owners.shares().collect()
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let state = self.state.lock();
        let (levels, slabs) = (&state.levels, &state.slabs);
        format!(
            "{}: {} memory; {}; {} blocks, {} page-locked in {} slabs, {} waiting",
            self.name,
            self.placement.name(),
            in_use(&state),
            levels.blocks,
            Bytes(slabs.locked),
            slabs.live().count(),
            state.queue.len() as u64 + state.short
        )
    }

    pub(super) fn tell(&self, what: Told, need: &Need, owner: Owner) {
        // What is asked for in there is not told in there: it would have no end.
        let Some(notify) = &self.notify else { return };
        if let Some(_inside) = Inside::enter(&self.telling) {
            notify(what, need.bytes, owner);
        }
    }

    /// Counts a refusal for want of memory, and tells of it.
    #[cold]
    pub(super) fn refused(&self, need: &Need, owner: Owner, error: Error) -> Error {
        self.counters.refusals.add(1);
        self.device.counters.refusals.add(1);
        self.tell(Told::Refused, need, owner);
        error
    }

    /// Why the budget refuses a request.
    #[cold]
    pub(super) fn over_budget(&self, state: &State, need: &Need) -> Error {
        let last_uses = if state.ledger.pending > 0 { "wait for the last uses, " } else { "" };
        Error::new(
            Status::Budget,
            format!("{}; {last_uses}trim, free, or raise the budget", self.shortage(state, need)),
        )
    }

    /// Why it still does at the end of a wait.
    #[cold]
    pub(super) fn late(&self, state: &State, need: &Need, waited: Duration) -> Error {
        Error::new(
            Status::Timeout,
            format!(
                "{}; waited {waited:?}, which is the limit of this request: wait longer, have the last uses of blocks that were given back end sooner, free blocks, or raise the budget",
                self.shortage(state, need)
            ),
        )
    }

    fn shortage(&self, state: &State, need: &Need) -> String {
        let ahead = state.queue.len();
        let waiting = match ahead {
            _ if need.bytes > state.ledger.room() || ahead == 0 => String::new(),
            _ => format!(", and {ahead} requests that wait come first"),
        };
        format!("{}: {}{waiting}, asked {}", self.name, in_use(state), Bytes(need.bytes))
    }

    /// A failure of the driver's, with the limit that may be its reason.
    #[cold]
    pub(super) fn not_locked(&self, error: Error, locked: u64) -> Error {
        match system_memory().memlock_limit {
            Some(limit) => error.context(format_args!(
                "{} ({} page-locked; the process's limit for locked memory, ulimit -l, is {})",
                self.name,
                Bytes(locked),
                Bytes(limit)
            )),
            None => error.context(&self.name),
        }
    }
}

/// Who has the budget, in words.
fn in_use(state: &State) -> String {
    let ledger = &state.ledger;
    let mut shares: Vec<Share> = state.owners.shares().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    let mut named: Vec<String> =
        shares.iter().take(NAMED).map(|share| format!("{} {}", share.owner, Bytes(share.bytes))).collect();
    if shares.len() > NAMED {
        let rest = shares[NAMED..].iter().map(|share| share.bytes).sum();
        named.push(format!("{} others {}", shares.len() - NAMED, Bytes(rest)));
    }
    let named = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
    let mut parts = format!("budget {}: {} in use{named}", Bytes(ledger.budget), Bytes(ledger.live));
    for (bytes, what) in [
        (ledger.pending, "of it waiting for the last use"),
        (ledger.reserved, "reserved"),
        (ledger.quarantined, "quarantined"),
        (ledger.cached, "cached"),
    ] {
        if bytes > 0 {
            parts.push_str(&format!(", {} {what}", Bytes(bytes)));
        }
    }
    parts
}
