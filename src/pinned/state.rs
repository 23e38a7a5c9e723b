//! What a manager's lock guards: accounts, slabs, blocks and waiters. Nothing here calls the driver.

use super::ledger::{Ledger, Owners};
use super::queue::{Queue, Turn};
use super::request::{Need, Owner};
use super::slabs::{Fresh, Kind, Slab, Slabs, Spot};
use crate::arena::tlsf::Span;
use crate::backend::RawMemory;
use crate::error::{Error, Result, Status};
use crate::fail;

/// A block's place, as its storage knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub part: u64,
    pub memory: RawMemory,
    /// Bytes from its first on that are nobody else's, if it has a slab for itself.
    pub alone: Option<u64>,
}

/// How a request begins.
pub(super) enum Start {
    /// There was room in a slab.
    Placed(Placed),
    /// Its bytes are reserved, and a slab is missing; or only the bytes were asked for.
    Granted,
}

/// One block.
#[derive(Clone, Copy)]
struct Part {
    state: PartState,
    /// Grows when the block goes: an old number is known.
    generation: u32,
    bytes: u64,
    actual: u64,
    slab: u32,
    span: Option<Span>,
    owner: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PartState {
    Free,
    Held,
    /// Given back; its last use is not proven.
    Pending,
    Quarantined,
}

/// Levels that are no part of the budget.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Levels {
    pub blocks: u64,
    pub pending_blocks: u64,
    pub actual: u64,
    pub pageable: u64,
    pub pageable_blocks: u64,
    pub peak_requested: u64,
    pub peak_locked: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub ledger: Ledger,
    pub levels: Levels,
    pub slabs: Slabs,
    pub owners: Owners,
    pub queue: Queue,
    parts: Vec<Part>,
    free_parts: Vec<u32>,
    pub shut_down: bool,
    /// Times that memory came back: to a slab, or to the driver.
    pub returns: u64,
    /// Requests that wait for memory although the budget has room.
    pub short: u64,
}

impl State {
    /// Whether a request has its turn, and what is committed leaves room for it.
    pub fn admits(&self, bytes: u64, priority: i32) -> bool {
        self.queue.ahead(priority) == 0 && bytes <= self.ledger.room()
    }

    /// Begins a request that has its turn and for which there is room.
    pub fn start(&mut self, need: &Need, owner: Owner, reserves: bool) -> Result<Start> {
        let placed = if reserves { None } else { self.place(need, owner, false)? };
        Ok(match placed {
            Some(placed) => Start::Placed(placed),
            None => {
                self.uncache(need.bytes);
                self.ledger.reserved += need.bytes;
                self.note_peaks();
                Start::Granted
            }
        })
    }

    /// Places a block in the slabs there are; `reserved` if its bytes are.
    pub fn place(&mut self, need: &Need, owner: Owner, reserved: bool) -> Result<Option<Placed>> {
        let owner = self.prepare(owner)?;
        match self.slabs.find(need) {
            Ok(Some(spot)) => Ok(Some(self.fill(spot, need, owner, reserved))),
            none => {
                self.owners.forget_idle(owner);
                none.map(|_| None)
            }
        }
    }

    /// Adds a slab with the block that it was made for, whose bytes are reserved unless the slab is pageable. What could not
    /// be added is to be freed under no lock.
    pub fn add_slab(&mut self, fresh: Fresh, need: &Need, owner: Owner) -> std::result::Result<Placed, (Fresh, Error)> {
        let owner = match self.prepare(owner) {
            Ok(owner) => owner,
            Err(error) => return Err((fresh, error)),
        };
        match self.slabs.add(fresh, need) {
            Ok(spot) => Ok(self.fill(spot, need, owner, true)),
            Err(refused) => {
                self.owners.forget_idle(owner);
                Err(refused)
            }
        }
    }

    /// Makes sure of room in the lists; returns the owner's place.
    fn prepare(&mut self, owner: Owner) -> Result<u32> {
        if self.free_parts.is_empty() {
            let room = self.parts.try_reserve(1).is_ok() && self.free_parts.try_reserve(self.parts.len() + 1).is_ok();
            if !room || self.parts.len() >= u32::MAX as usize {
                return fail!(OutOfHostMemory, "no host memory for the list of {} blocks: free some", self.parts.len());
            }
        }
        self.owners.place(owner)
    }

    /// A block takes its place.
    fn fill(&mut self, spot: Spot, need: &Need, owner: u32, reserved: bool) -> Placed {
        let Spot { slab, span, memory, actual } = spot;
        let bytes = need.bytes;
        if let Some(Slab { kind, cached, .. }) = self.slabs.slab(slab) {
            let credit = match kind {
                Kind::Shared(_) => (*cached).min(bytes),
                Kind::Own | Kind::Pageable => *cached,
            };
            *cached -= credit;
            self.ledger.cached -= credit;
            if matches!(kind, Kind::Pageable) {
                self.levels.pageable += bytes;
                self.levels.pageable_blocks += 1;
            } else {
                if reserved {
                    self.ledger.reserved -= bytes;
                } else {
                    self.uncache(bytes);
                }
                self.ledger.live += bytes;
            }
        }
        self.owners.add(owner, bytes);
        self.levels.blocks += 1;
        self.levels.actual += actual;
        self.note_peaks();
        let part = Part { state: PartState::Held, generation: 1, bytes, actual, slab, span, owner };
        let place = match self.free_parts.pop() {
            Some(place) => {
                let old = &mut self.parts[place as usize];
                *old = Part { generation: old.generation, ..part };
                place
            }
            None => {
                self.parts.push(part);
                self.parts.len() as u32 - 1
            }
        };
        let alone = span.is_none().then(|| {
            let whole = self.slabs.slab(slab).map_or(0, |slab| slab.end_address());
            whole.saturating_sub(memory.host.addr() as u64)
        });
        Placed { part: (self.parts[place as usize].generation as u64) << 32 | place as u64, memory, alone }
    }

    fn part(&mut self, part: u64) -> Option<&mut Part> {
        let known = self.parts.get_mut(part as u32 as usize)?;
        let in_use = matches!(known.state, PartState::Held | PartState::Pending);
        (in_use && known.generation == (part >> 32) as u32).then_some(known)
    }

    /// Whose a block is, and its requested bytes.
    pub fn part_of(&mut self, part: u64) -> Option<(Owner, u64)> {
        let (owner, bytes) = self.part(part).map(|known| (known.owner, known.bytes))?;
        Some((self.owners.owner(owner)?, bytes))
    }

    /// A block was given back, and may have uses left.
    pub fn part_pends(&mut self, part: u64) {
        let Some(known) = self.part(part).filter(|known| known.state == PartState::Held) else { return };
        known.state = PartState::Pending;
        let (bytes, slab) = (known.bytes, known.slab);
        self.levels.pending_blocks += 1;
        if !self.is_pageable(slab) {
            self.ledger.pending += bytes;
            self.nudge();
        }
    }

    /// Nothing uses a block any more. Returns a slab that is to be freed under no lock.
    pub fn part_back(&mut self, part: u64) -> Option<Slab> {
        let Part { bytes, slab, span, .. } = self.take_part(part, PartState::Free)?;
        let pageable = self.is_pageable(slab);
        if pageable {
            self.levels.pageable -= bytes;
            self.levels.pageable_blocks -= 1;
        } else {
            self.ledger.live -= bytes;
        }
        self.slabs.release(slab, span);
        if pageable {
            return self.slabs.remove(slab);
        }
        self.ledger.cached += bytes;
        if let Some(slab) = self.slabs.slab(slab) {
            slab.cached += bytes;
        }
        let ended = if self.shut_down { self.remove_slab(slab) } else { None };
        self.serve();
        ended
    }

    /// A block is lost for good, and its slab with it.
    pub fn part_lost(&mut self, part: u64) {
        let Some(Part { bytes, slab, .. }) = self.take_part(part, PartState::Quarantined) else { return };
        if let Some(slab) = self.slabs.slab(slab) {
            slab.lost += 1;
        }
        if self.is_pageable(slab) {
            self.levels.pageable -= bytes;
            self.levels.pageable_blocks -= 1;
            return;
        }
        self.ledger.live -= bytes;
        self.ledger.quarantined += bytes;
        let most = self.ledger.budget - self.ledger.quarantined;
        self.queue.refuse(Status::Budget, |waiter| waiter.need.bytes > most);
        self.serve();
    }

    /// A block leaves the lists of those in use.
    fn take_part(&mut self, part: u64, state: PartState) -> Option<Part> {
        let known = self.part(part)?;
        let before = *known;
        known.state = state;
        if state == PartState::Free {
            known.generation = known.generation.wrapping_add(1);
            self.free_parts.push(part as u32);
        }
        if before.state == PartState::Pending {
            self.levels.pending_blocks -= 1;
            if !self.is_pageable(before.slab) {
                self.ledger.pending -= before.bytes;
            }
        }
        self.owners.sub(before.owner, before.bytes);
        self.levels.blocks -= 1;
        self.levels.actual -= before.actual;
        Some(before)
    }

    fn is_pageable(&mut self, slab: u32) -> bool {
        self.slabs.slab(slab).is_some_and(|slab| matches!(slab.kind, Kind::Pageable))
    }

    /// Gives reserved bytes back.
    pub fn unreserve(&mut self, bytes: u64) {
        self.ledger.reserved -= bytes;
        self.serve();
    }

    /// Serves those who wait, in their order, as long as there is room for the next.
    pub fn serve(&mut self) {
        while let Some(head) = self.queue.head() {
            let (need, owner, reserves) = (head.need, head.owner, head.reserves);
            if self.shut_down || need.bytes > self.ledger.room() {
                break;
            }
            // Where the lists cannot grow, whoever waits is told when he goes on.
            let start = match self.start(&need, owner, reserves) {
                Ok(start) => start,
                Err(_) => match self.start(&need, owner, true) {
                    Ok(start) => start,
                    Err(_) => break,
                },
            };
            self.queue.tell_head(Turn::Served(start));
        }
        self.nudge();
    }

    /// Has the first who waits look after what waits for its last use.
    pub fn nudge(&self) {
        if self.ledger.pending > 0 {
            self.queue.nudge();
        }
    }

    /// Sees that so much is available, which is known to be possible: slabs keep what they have, but not of the budget.
    fn uncache(&mut self, bytes: u64) {
        let missing = bytes.saturating_sub(self.ledger.available());
        self.ledger.cached -= self.slabs.uncache(missing);
        debug_assert!(self.ledger.available() >= bytes);
    }

    /// Takes an idle slab out, with what it keeps of the budget.
    pub fn remove_slab(&mut self, slab: u32) -> Option<Slab> {
        let removed = self.slabs.remove(slab)?;
        self.ledger.cached -= removed.cached;
        Some(removed)
    }

    /// Takes idle slabs out, the longest idle first, until `enough`. They are to be freed under no lock.
    pub fn evict(&mut self, enough: impl Fn(&Slabs) -> bool) -> Vec<Slab> {
        let mut out = Vec::new();
        if enough(&self.slabs) {
            return out;
        }
        for slab in self.slabs.idle() {
            out.extend(self.remove_slab(slab));
            if enough(&self.slabs) {
                break;
            }
        }
        out
    }

    /// Changes the budget; what is committed must fit.
    pub fn set_budget(&mut self, budget: u64) {
        let over = (self.ledger.committed() + self.ledger.cached).saturating_sub(budget);
        self.ledger.cached -= self.slabs.uncache(over);
        self.ledger.budget = budget;
        let most = budget - self.ledger.quarantined;
        self.queue.refuse(Status::Budget, |waiter| waiter.need.bytes > most);
        self.serve();
    }

    pub fn note_peaks(&mut self) {
        let levels = &mut self.levels;
        levels.peak_requested = levels.peak_requested.max(self.ledger.live);
        levels.peak_locked = levels.peak_locked.max(self.slabs.locked);
    }
}
