//! Slabs: what was page-locked at once. Small blocks share one, large ones have one for themselves.

use super::request::{MOST_ALIGNMENT, Need, UNIT};
use crate::arena::tlsf::{RegionKey, Span, Tlsf};
use crate::backend::RawMemory;
use crate::error::{Error, Result, Status};
use crate::fence::Storage;

/// A slab for one block alone is used again for a block that leaves no more than this part of it unused.
const WASTE: u64 = 8;

/// One slab.
pub(super) struct Slab {
    storage: Storage,
    pub kind: Kind,
    /// Blocks in it, quarantined ones included.
    pub blocks: u32,
    /// Blocks of it that are never used again: nor is it freed.
    pub lost: u32,
    /// Requested bytes of blocks that were given back to it: what of the budget it keeps.
    pub cached: u64,
    /// When its last block went.
    idle_since: u64,
    /// Bytes of it on huge pages.
    huge: u64,
}

/// What a slab is for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Many blocks.
    Shared(RegionKey),
    /// One block.
    Own,
    /// One block, for which there was no budget, or nothing that can be page-locked. Never cached.
    Pageable,
}

/// Memory for a slab, not yet among them.
pub(super) struct Fresh {
    pub storage: Storage,
    pub pageable: bool,
    pub huge: u64,
}

/// Where a block is to lie.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub slab: u32,
    pub span: Option<Span>,
    pub memory: RawMemory,
    /// Bytes that nobody else gets: those asked for, and what they are rounded up to.
    pub actual: u64,
}

/// Every slab.
#[derive(Default)]
pub(super) struct Slabs {
    list: Vec<Option<Slab>>,
    free: Vec<u32>,
    shared: Tlsf,
    /// Page-locked bytes, those included that are about to be.
    pub locked: u64,
    /// Bytes on huge pages.
    pub huge: u64,
    /// Counts what became idle.
    clock: u64,
}

impl Slab {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.storage.bytes() as u64
    }

    /// The address behind its last byte.
    pub fn end_address(&self) -> u64 {
        self.storage.memory().host.addr() as u64 + self.bytes()
    }

    fn is_idle(&self) -> bool {
        self.blocks == 0
    }

    fn is_locked(&self) -> bool {
        !matches!(self.kind, Kind::Pageable)
    }

    /// A part of its memory.
    fn part(&self, offset: u64, bytes: u64) -> RawMemory {
        let memory = self.storage.memory();
        RawMemory {
            // SAFETY: callers keep to the slab.
            host: unsafe { memory.host.add(offset as usize) },
            device: if memory.device == 0 { 0 } else { memory.device + offset },
            bytes: bytes as usize,
            ..memory
        }
    }

    /// Where in it an own block begins, if it fits.
    fn own_offset(&self, need: &Need) -> Option<u64> {
        let base = self.storage.memory().host.addr() as u64;
        let offset = base.next_multiple_of(need.align) - base;
        (offset + need.bytes <= self.bytes()).then_some(offset)
    }
}

/// The unit at which a slab's memory begins, modulo the largest alignment.
fn first_unit(storage: &Storage) -> u32 {
    (storage.memory().host.addr() as u64 % MOST_ALIGNMENT / UNIT) as u32
}

impl Slabs {
    pub fn slab(&mut self, slab: u32) -> Option<&mut Slab> {
        self.list.get_mut(slab as usize)?.as_mut()
    }

    pub fn live(&self) -> impl Iterator<Item = &Slab> {
        self.list.iter().flatten()
    }

    /// A place for a block in the slabs there are.
    pub fn find(&mut self, need: &Need) -> Result<Option<Spot>> {
        if need.own {
            return Ok(self.find_own(need));
        }
        let Some(span) = self.shared.allocate(need.units(), (need.align / UNIT) as u32)? else { return Ok(None) };
        let Some(slab) = self.list[span.region as usize].as_mut() else { return Ok(None) };
        slab.blocks += 1;
        let offset = (span.start - first_unit(&slab.storage)) as u64 * UNIT;
        let memory = slab.part(offset, need.bytes);
        Ok(Some(Spot { slab: span.region, span: Some(span), memory, actual: span.units as u64 * UNIT }))
    }

    /// The smallest idle slab for one block alone that is not much too large.
    fn find_own(&mut self, need: &Need) -> Option<Spot> {
        let fits = |slab: &Slab| {
            let close = slab.bytes() - slab.bytes() / WASTE <= need.padded(1);
            matches!(slab.kind, Kind::Own) && slab.is_idle() && close && slab.own_offset(need).is_some()
        };
        let idle = self.list.iter().enumerate().filter_map(|(place, slab)| Some((place, slab.as_ref()?)));
        let place = idle.filter(|(_, slab)| fits(slab)).min_by_key(|(_, slab)| slab.bytes())?.0 as u32;
        self.take_whole(place, need)
    }

    fn take_whole(&mut self, place: u32, need: &Need) -> Option<Spot> {
        let slab = self.slab(place)?;
        let offset = slab.own_offset(need)?;
        slab.blocks += 1;
        Some(Spot { slab: place, span: None, memory: slab.part(offset, need.bytes), actual: slab.bytes() })
    }

    /// Adds a slab with the block that it was made for. What cannot be added is given back, to be freed under no lock.
    pub fn add(&mut self, fresh: Fresh, need: &Need) -> std::result::Result<Spot, (Fresh, Error)> {
        let no_room = || Error::new(Status::OutOfHostMemory, "no host memory for the list of slabs");
        if self.free.is_empty() && self.list.try_reserve(1).is_err()
            || self.free.try_reserve(self.list.len() + 1).is_err()
        {
            return Err((fresh, no_room()));
        }
        let place = self.free.last().copied().unwrap_or(self.list.len() as u32);
        let units = (fresh.storage.bytes() as u64 / UNIT) as u32;
        let kind = match (fresh.pageable, need.own) {
            (true, _) => Kind::Pageable,
            (false, true) => Kind::Own,
            (false, false) => match self.shared.add(place, first_unit(&fresh.storage), units) {
                Ok(key) => Kind::Shared(key),
                Err(error) => return Err((fresh, error)),
            },
        };
        let Fresh { storage, huge, .. } = fresh;
        self.huge += huge;
        let slab = Slab { storage, kind, blocks: 0, lost: 0, cached: 0, idle_since: self.clock, huge };
        if self.free.pop().is_some() {
            self.list[place as usize] = Some(slab);
        } else {
            self.list.push(Some(slab));
        }
        let spot = match kind {
            Kind::Shared(_) => self.find(need),
            _ => Ok(self.take_whole(place, need)),
        };
        match spot {
            Ok(Some(spot)) => Ok(spot),
            Ok(None) => {
                Err(self.take_back(place, Error::new(Status::Internal, "a new slab has no room for its block")))
            }
            Err(error) => Err(self.take_back(place, error)),
        }
    }

    fn take_back(&mut self, place: u32, error: Error) -> (Fresh, Error) {
        // Just added, and idle.
        let slab = self.list[place as usize].take();
        self.free.push(place);
        let slab = slab.expect("it was added");
        if let Kind::Shared(key) = slab.kind {
            self.shared.remove(key);
        }
        self.huge -= slab.huge;
        (Fresh { storage: slab.storage, pageable: matches!(slab.kind, Kind::Pageable), huge: slab.huge }, error)
    }

    /// A block is gone from its slab.
    pub fn release(&mut self, slab: u32, span: Option<Span>) {
        if let Some(span) = span {
            let freed = self.shared.free(span);
            debug_assert!(freed.is_ok(), "a block is given back once");
        }
        self.clock += 1;
        let clock = self.clock;
        if let Some(slab) = self.slab(slab) {
            slab.blocks -= 1;
            slab.idle_since = clock;
        }
    }

    /// Takes an idle slab out; its memory is to be freed under no lock.
    pub fn remove(&mut self, place: u32) -> Option<Slab> {
        let slab = self.list.get_mut(place as usize)?.take_if(|slab| slab.is_idle())?;
        self.free.push(place);
        if let Kind::Shared(key) = slab.kind {
            let removed = self.shared.remove(key);
            debug_assert!(removed, "an idle slab is one free place");
        }
        if slab.is_locked() {
            self.locked -= slab.bytes();
        }
        self.huge -= slab.huge;
        Some(slab)
    }

    /// The idle slabs, those idle for longest first.
    pub fn idle(&self) -> Vec<u32> {
        let slabs = self.list.iter().enumerate().filter_map(|(place, slab)| Some((place as u32, slab.as_ref()?)));
        let idle = slabs.filter(|(_, slab)| slab.is_idle()).map(|(place, slab)| (slab.idle_since, place));
        let mut idle: Vec<(u64, u32)> = idle.collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, place)| place).collect()
    }

    /// Page-locked bytes of idle slabs.
    pub fn idle_bytes(&self) -> u64 {
        self.live().filter(|slab| slab.is_idle()).map(Slab::bytes).sum()
    }

    /// Takes up to `bytes` of what slabs keep of the budget away from them, the longest idle first, then those in use: what
    /// they keep is then merely unused. Returns what was taken.
    pub fn uncache(&mut self, bytes: u64) -> u64 {
        let mut left = bytes;
        while left > 0 {
            let keeping = self.list.iter_mut().flatten().filter(|slab| slab.cached > 0);
            let Some(slab) = keeping.min_by_key(|slab| (!slab.is_idle(), slab.idle_since)) else { break };
            let taken = left.min(slab.cached);
            slab.cached -= taken;
            left -= taken;
        }
        bytes - left
    }

    /// The largest block that a slab has room for.
    pub fn largest_free(&self) -> u64 {
        let own = self.live().filter(|slab| matches!(slab.kind, Kind::Own) && slab.is_idle()).map(Slab::bytes).max();
        own.unwrap_or(0).max(self.shared.largest_free() as u64 * UNIT)
    }

    /// Takes everything out, for the end of the manager.
    pub fn take_all(&mut self) -> Vec<Slab> {
        self.shared = Tlsf::new();
        std::mem::take(&mut self.list).into_iter().flatten().collect()
    }
}

impl Slab {
    /// Frees its memory, unless it may still be in use.
    pub fn end(self) {
        if self.lost > 0 {
            self.storage.forget();
        } else if self.storage.device().is_closed() {
            self.storage.leak();
        }
    }
}
