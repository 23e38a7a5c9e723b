//! Allocations, and the map from the addresses that callers know to the memory that operations use.
//!
//! The map is the process's, not a device's: an operation must recognise the memory of another device, since touching
//! its reserved addresses would kill the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::config::{InPlace, MemoryKind};
use crate::mapping::{HostAccess, Mapping, page_bytes};
use crate::policy::{self, Fault};

/// What [`Device::allocate`](crate::Device::allocate) gives: plain data, freed only by
/// [`Device::free`](crate::Device::free) or with the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allocation {
    /// Where the memory lives.
    pub kind: MemoryKind,
    /// The CPU's pointer to pinned memory; null for device memory.
    pub host: *mut u8,
    /// The address that operations take; the CPU faults when it touches it.
    pub device: u64,
    /// The size asked for, in bytes.
    pub bytes: usize,
}

// SAFETY: the pointer is only a number here; whoever writes through it answers for it, on any thread.
unsafe impl Send for Allocation {}
// SAFETY: as for Send; there is no interior state.
unsafe impl Sync for Allocation {}

/// Freed address ranges of a device that stay reserved, so that a use after free is refused or faults, and so that an
/// address does not soon mean something else. Bounded, as each costs the system a mapping.
const RETIRED_RANGES: usize = 256;

/// One allocation. Lives as long as the map or a queued operation refers to it.
pub(crate) struct Region {
    pub(crate) kind: MemoryKind,
    /// The device that allocated it.
    pub(crate) owner: u64,
    pub(crate) bytes: usize,
    pub(crate) alias: Alias,
    pub(crate) device_view: Arc<Mapping>,
    /// Where in the device view the memory begins.
    pub(crate) lead: usize,
    pub(crate) host_view: Option<Arc<Mapping>>,
    /// What the host sees, where the device sees a copy of it: that copy is this region.
    pub(crate) original: Option<Arc<Region>>,
    /// To operations it is the caller's ordinary memory: it is the engine's only so that it can be protected.
    pub(crate) pageable: bool,
}

/// The engine's own way to a region's bytes.
pub(crate) enum Alias {
    Mapped {
        mapping: Mapping,
        usage: Arc<Usage>,
    },
    /// Memory that the caller registered, at this address; valid by the contract of `register`.
    Caller(usize),
}

impl Region {
    /// The engine's own pointer to a byte of the region; in bounds for the offsets that lookups return.
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        let base = match &self.alias {
            Alias::Mapped { mapping, .. } => mapping.address(),
            Alias::Caller(address) => *address,
        };
        (base + offset) as *mut u8
    }

    /// Where the host sees it, if it does.
    fn host(&self) -> Option<usize> {
        match &self.alias {
            Alias::Mapped { .. } => self.host_view.as_ref().map(|view| view.address()),
            Alias::Caller(address) => Some(*address),
        }
    }

    /// The copy of this region that the device sees in its place, at its address; None without memory.
    pub(crate) fn snapshot(region: &Arc<Region>) -> Option<Arc<Region>> {
        let mapping = Mapping::private(region.device_view.bytes())?;
        // SAFETY: as many bytes on either side, mapped by the regions, and nobody knows of the copy yet.
        unsafe { crate::operation::copy_racing(mapping.address() as *mut u8, region.at(0), region.bytes) };
        let usage = Usage::new(u64::MAX);
        usage.take(mapping.bytes() as u64);
        Some(Arc::new(Region {
            kind: region.kind,
            owner: region.owner,
            bytes: region.bytes,
            alias: Alias::Mapped { mapping, usage },
            device_view: region.device_view.clone(),
            lead: region.lead,
            host_view: region.host_view.clone(),
            original: Some(region.clone()),
            pageable: false,
        }))
    }

    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.original.as_deref().unwrap_or(self).alias, Alias::Caller(_))
    }

    /// The allocation as its user knows it.
    pub(crate) fn describe(&self) -> Allocation {
        Allocation {
            kind: self.kind,
            host: self.host().unwrap_or(0) as *mut u8,
            device: (self.device_view.address() + self.lead) as u64,
            bytes: self.bytes,
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Alias::Mapped { mapping, usage } = &self.alias {
            usage.used.fetch_sub(mapping.bytes() as u64, Ordering::Relaxed);
        }
    }
}

/// How much of one kind of memory a device may use and does use, in bytes of whole pages.
pub(crate) struct Usage {
    pub(crate) limit: AtomicU64,
    pub(crate) used: AtomicU64,
}

impl Usage {
    pub(crate) fn new(limit: u64) -> Arc<Usage> {
        Arc::new(Usage { limit: AtomicU64::new(limit), used: AtomicU64::new(0) })
    }

    fn take(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let take = |used: u64| used.checked_add(bytes).filter(|total| *total <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// One range of addresses that callers know.
pub(crate) enum Entry {
    Live {
        region: Arc<Region>,
        host: bool,
    },
    /// Freed and still reserved.
    Retired(Arc<Mapping>),
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            // What is beside registered memory in its pages is none of the engine's.
            Entry::Live { region, host: true } if region.is_registered() => region.bytes,
            Entry::Live { region, .. } => region.device_view.bytes(),
            Entry::Retired(range) => range.bytes(),
        }
    }
}

pub(crate) struct Space {
    pub(crate) entries: BTreeMap<usize, Entry>,
    /// Starts of each device's retired ranges, oldest first. Each device has its own, so that one that frees much does
    /// not weaken what another can tell about its freed memory.
    retired: BTreeMap<u64, VecDeque<usize>>,
}

pub(crate) static SPACE: RwLock<Space> = RwLock::new(Space { entries: BTreeMap::new(), retired: BTreeMap::new() });

/// What the map knows about an address range.
pub(crate) enum Found {
    /// Wholly inside one region, at this offset.
    Inside { region: Arc<Region>, offset: usize, host: bool },
    /// Touches an allocation, or one that was freed, without being inside.
    Astray,
    /// Not the engine's.
    Foreign,
}

impl Space {
    /// Keeps the range of a freed allocation reserved, and gives the oldest such range of the device back when there
    /// are too many. Ranges that queued operations still use stay: given back, they would look like pageable memory.
    pub(crate) fn retire(&mut self, owner: u64, view: &Arc<Mapping>) {
        self.entries.insert(view.address(), Entry::Retired(view.clone()));
        let retired = self.retired.entry(owner).or_default();
        for _ in 0..retired.len() {
            if retired.len() < RETIRED_RANGES {
                break;
            }
            let Some(start) = retired.pop_front() else { break };
            match self.entries.get(&start) {
                Some(Entry::Retired(range)) if Arc::strong_count(range) > 1 => retired.push_back(start),
                _ => drop(self.entries.remove(&start)),
            }
        }
        retired.push_back(view.address());
    }

    /// An entry that the addresses from `start` to before `end` touch.
    pub(crate) fn touched(&self, start: usize, end: usize) -> Option<&Entry> {
        let before = self.entries.range(..=start).next_back();
        let reaching = before.filter(|(at, entry)| start - **at < entry.bytes());
        reaching.or_else(|| self.entries.range(start..end).next()).map(|(_, entry)| entry)
    }

    fn find(&self, address: usize, bytes: usize) -> Found {
        let Some(end) = address.checked_add(bytes) else {
            return Found::Astray;
        };
        if let Some((start, entry)) = self.entries.range(..=address).next_back() {
            let offset = address - start;
            if offset < entry.bytes() {
                let Entry::Live { region, host } = entry else { return Found::Astray };
                let lead = if *host { 0 } else { region.lead };
                return match offset.checked_sub(lead) {
                    Some(offset) if bytes <= region.bytes.saturating_sub(offset) => {
                        Found::Inside { region: region.clone(), offset, host: *host }
                    }
                    _ => Found::Astray,
                };
            }
        }
        match self.entries.range(address..end).next() {
            Some(_) => Found::Astray,
            None => Found::Foreign,
        }
    }
}

/// Looks an address range up, host or device side.
pub(crate) fn find(address: u64, bytes: usize) -> Found {
    SPACE.read().find(address as usize, bytes)
}

/// Allocates zeroed memory for device `owner` within its limit.
pub(crate) fn allocate(
    owner: u64,
    kind: MemoryKind,
    bytes: usize,
    usage: &Arc<Usage>,
    in_place: InPlace,
    margins: bool,
) -> Result<Allocation, Fault> {
    if bytes == 0 {
        return Err(Fault::InvalidValue);
    }
    let exhausted = policy::out_of_memory(kind);
    // Beyond isize::MAX no object may be, whatever the limit says.
    let mapped = bytes.checked_next_multiple_of(page_bytes()).ok_or(exhausted)?;
    if isize::try_from(mapped).is_err() || !usage.take(mapped as u64) {
        return Err(exhausted);
    }
    let Some((alias, device_view, host_view)) = map(kind, mapped, margins) else {
        usage.used.fetch_sub(mapped as u64, Ordering::Relaxed);
        return Err(exhausted);
    };
    let region = Arc::new(Region {
        kind,
        owner,
        bytes,
        alias: Alias::Mapped { mapping: alias, usage: usage.clone() },
        device_view: Arc::new(device_view),
        lead: 0,
        host_view: host_view.map(Arc::new),
        original: None,
        pageable: false,
    });
    let allocation = region.describe();
    let seen = seen_by_device(&region, in_place).ok_or(exhausted)?;
    let mut space = SPACE.write();
    if let Some(view) = &region.host_view {
        space.entries.insert(view.address(), Entry::Live { region: region.clone(), host: true });
    }
    let start = region.device_view.address();
    space.entries.insert(start, Entry::Live { region: seen, host: false });
    Ok(allocation)
}

/// Zeroed memory of device `owner` that operations take for the caller's, and whose host view can be protected. Counts
/// against no limit. Freed as the other kinds are.
pub(crate) fn allocate_pageable(owner: u64, bytes: usize, margins: bool) -> Result<Allocation, Fault> {
    if bytes == 0 {
        return Err(Fault::InvalidValue);
    }
    let mapped = bytes.checked_next_multiple_of(page_bytes()).filter(|mapped| isize::try_from(*mapped).is_ok());
    let mapped = mapped.ok_or(Fault::OutOfHostMemory)?;
    let (mapping, device_view, host_view) = map(MemoryKind::Pinned, mapped, margins).ok_or(Fault::OutOfHostMemory)?;
    let usage = Usage::new(u64::MAX);
    usage.take(mapped as u64);
    let region = Arc::new(Region {
        kind: MemoryKind::Pinned,
        owner,
        bytes,
        alias: Alias::Mapped { mapping, usage },
        device_view: Arc::new(device_view),
        lead: 0,
        host_view: host_view.map(Arc::new),
        original: None,
        pageable: true,
    });
    let allocation = Allocation { device: 0, ..region.describe() };
    SPACE.write().entries.insert(allocation.host as usize, Entry::Live { region, host: true });
    Ok(allocation)
}

/// What is at the device address of a region: the region itself, or a copy of page-locked memory; None without memory.
pub(crate) fn seen_by_device(region: &Arc<Region>, in_place: InPlace) -> Option<Arc<Region>> {
    match (in_place, region.kind) {
        (InPlace::Snapshot, MemoryKind::Pinned) => Region::snapshot(region),
        _ => Some(region.clone()),
    }
}

/// The engine's alias, the device's addresses and, for pinned memory, the user's view.
fn map(kind: MemoryKind, bytes: usize, margins: bool) -> Option<(Mapping, Mapping, Option<Mapping>)> {
    let device_view = Mapping::reserve(bytes)?;
    match kind {
        MemoryKind::Device => Some((Mapping::private(bytes)?, device_view, None)),
        MemoryKind::Pinned => {
            let (alias, host_view) = Mapping::twice(bytes, if margins { page_bytes() } else { 0 })?;
            Some((alias, device_view, Some(host_view)))
        }
    }
}

/// Frees the allocation of device `owner` that begins at `address` (device address or host pointer). Its addresses
/// fault from now on; its memory goes with the last queued operation that uses it. True if there was one.
pub(crate) fn free(owner: u64, address: u64) -> Result<bool, Fault> {
    let mut space = SPACE.write();
    let region = match space.entries.get(&(address as usize)) {
        Some(Entry::Live { region, .. }) if region.owner == owner && !region.is_registered() => region.clone(),
        _ => return Err(Fault::InvalidAddress),
    };
    if let Some(view) = &region.host_view {
        view.retire();
    }
    for view in region.host_view.iter().chain([&region.device_view]) {
        space.retire(owner, view);
    }
    // The map's references are gone and no lookup can make another while the lock is held: the rest are operations'.
    let in_use = Arc::strong_count(&region) > 1;
    drop(space);
    Ok(in_use)
}

/// Frees whatever device `owner` still has, and its freed addresses; called when nothing of the device is left to use
/// them.
pub(crate) fn free_all(owner: u64) {
    let mut space = SPACE.write();
    for start in space.retired.remove(&owner).unwrap_or_default() {
        space.entries.remove(&start);
    }
    space.entries.retain(|_, entry| !matches!(entry, Entry::Live { region, .. } if region.owner == owner));
}

/// Ranges that device `owner` has registered.
pub(crate) fn registrations(owner: u64) -> usize {
    let registered = |entry: &&Entry| matches!(entry, Entry::Live { region, host: true } if region.owner == owner && region.is_registered());
    SPACE.read().entries.values().filter(registered).count()
}

/// The kind of memory of device `owner` that holds the whole range.
pub(crate) fn kind_of(owner: u64, address: u64, bytes: usize) -> Option<MemoryKind> {
    // Kept locked: a free at the same time would take the reference for an operation's.
    let space = SPACE.read();
    match space.find(address as usize, bytes) {
        Found::Inside { region, .. } if region.owner == owner => Some(region.kind),
        _ => None,
    }
}

/// Says what the CPU may do with the user's view of pinned memory.
pub(crate) fn set_host_access(owner: u64, address: u64, bytes: usize, access: HostAccess) -> Result<(), Fault> {
    // Kept locked, so that the memory cannot be freed and its pages retired between the lookup and the protection.
    let space = SPACE.read();
    match space.find(address as usize, bytes) {
        Found::Inside { region, offset, host: true } if region.owner == owner && !region.is_registered() => {
            match &region.host_view {
                Some(view) if view.set_access(offset, bytes, access) => Ok(()),
                // The system ran out of mappings: each change of protection may split one.
                _ => Err(Fault::OutOfHostMemory),
            }
        }
        _ => Err(Fault::InvalidAddress),
    }
}

/// Runs `look` on the engine's own way to bytes of device `owner`'s.
pub(crate) fn with_bytes<R>(
    owner: u64,
    address: u64,
    bytes: usize,
    look: impl FnOnce(*mut u8) -> R,
) -> Result<R, Fault> {
    match find(address, bytes) {
        Found::Inside { region, offset, .. } if region.owner == owner => Ok(look(region.at(offset))),
        _ => Err(Fault::InvalidAddress),
    }
}

/// Looks up memory that an operation of device `user` names; `None` is memory that the engine does not own.
pub(crate) fn resolve(user: u64, address: u64, bytes: usize) -> Result<Option<(Arc<Region>, usize)>, Fault> {
    match find(address, bytes) {
        Found::Inside { region, offset, .. } => {
            if policy::may_use(user, region.owner, region.kind) {
                Ok(Some((region, offset)))
            } else {
                Err(Fault::InvalidAddress)
            }
        }
        Found::Astray => Err(Fault::InvalidAddress),
        Found::Foreign => Ok(None),
    }
}
