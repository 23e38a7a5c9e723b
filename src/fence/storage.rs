//! The memory of one side: owned, or borrowed from the caller.

use super::device::Device;
use super::name::Name;
use super::side::Which;
use super::watch::Watch;
use crate::backend::{Backing, RawMemory};
use crate::config::checks::{Check, on};
use crate::config::log::{self, Level};
use crate::config::{ALIGNMENT, Placement};
use crate::error::Result;
use crate::fail;
use crate::stats::ByteLevel;
use crate::sync::{Arc, Mutex, Weak};
use std::time::Instant;

/// What owned memory is made of where it is watched.
const PAGE: usize = 4096;

/// Borrowed ranges in use, of all devices: (first address, bytes).
static FOREIGN: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// Takes a range of foreign memory, unless a part of it is taken.
fn take_foreign(address: u64, bytes: u64) -> Result<()> {
    let mut foreign = FOREIGN.lock();
    let end = address.saturating_add(bytes);
    if on(Check::BorrowOverlap)
        && let Some((at, size)) = foreign.iter().find(|(at, size)| *at < end && address < *at + *size)
    {
        return fail!(
            Exists,
            "{bytes} bytes at {address:#x} overlap {size} bytes at {at:#x} that another buffer borrows: one wrapper for each piece of memory, or their fences cannot know of each other"
        );
    }
    foreign.push((address, bytes));
    Ok(())
}

fn give_back_foreign(address: u64, bytes: u64) {
    let mut foreign = FOREIGN.lock();
    if let Some(place) = foreign.iter().position(|range| *range == (address, bytes)) {
        foreign.swap_remove(place);
    }
}

/// Told once, when nothing uses borrowed memory any more.
pub type ReleaseCallback = Box<dyn FnOnce() + Send>;

/// What memory costs somebody: dropped when the driver has it back, and never where it is left to the process exit.
pub type Charge = Box<dyn Send + Sync>;

/// Somebody whose memory was divided: parts of it come back one by one. Called under no lock of the device.
pub trait Arena: Send + Sync {
    /// Nothing uses the part any more.
    fn part_back(&self, part: u64);
    /// The part may be in use for ever: it is never touched nor freed again.
    fn part_lost(&self, part: u64);
    /// Whether its own memory is a block's, which is watched, too.
    fn is_watched(&self) -> bool {
        false
    }
}

/// Memory of one side. Dropping it frees it at once: whoever may still have uses defers it instead.
pub struct Storage {
    device: Arc<Device>,
    memory: RawMemory,
    origin: Origin,
    /// Bytes from its first on that are nobody else's, where they are whole pages with others around them that fault; 0 elsewhere.
    room: usize,
    /// In the debug mode, while it is a block's.
    watch: Option<Watch>,
}

enum Origin {
    Owned(Option<Charge>),
    /// Shared by the sides of one buffer: the last one to go tells the owner.
    Borrowed(Option<Arc<Borrow>>),
    /// A part of an arena's memory, by the arena's number.
    Part(Arc<dyn Arena>, u64),
    /// Nobody may touch it again.
    Abandoned,
}

/// The owner of borrowed memory: told when the last side drops this.
pub struct Borrow(Mutex<Option<ReleaseCallback>>);

impl Borrow {
    /// Nobody to tell yet: memory whose wrapper could not be made stays the caller's.
    pub fn new() -> Arc<Borrow> {
        Arc::new(Borrow(Mutex::new(None)))
    }

    /// Whether the memory is the caller's again, by a reference that outlives it.
    pub fn is_back(borrow: &Weak<Borrow>) -> bool {
        borrow.strong_count() == 0
    }

    /// Whom to tell; `None` tells nobody. Returns who was to be told so far.
    pub fn tell(&self, release: Option<ReleaseCallback>) -> Option<ReleaseCallback> {
        std::mem::replace(&mut *self.0.lock(), release)
    }
}

impl Drop for Borrow {
    fn drop(&mut self) {
        // Out of the lock first: the callback may do anything.
        let release = self.0.lock().take();
        if let Some(release) = release {
            release();
        }
    }
}

impl Storage {
    /// Zeroed memory of its own. What earlier objects left is freed first, and release callbacks called.
    pub fn allocate(device: &Arc<Device>, placement: Placement, bytes: usize) -> Result<Storage> {
        device.maintain();
        Storage::allocate_only(device, placement, bytes)
    }

    /// As [`Storage::allocate`], without the callbacks: for one of many, or under a lock.
    pub fn allocate_only(device: &Arc<Device>, placement: Placement, bytes: usize) -> Result<Storage> {
        Ok(Storage::allocate_locked(device, placement, bytes, false)?.0)
    }

    /// As [`Storage::allocate_only`]; page-locked memory on huge pages, if asked for, where the system has them. Returns how many
    /// bytes are on those.
    pub fn allocate_locked(
        device: &Arc<Device>,
        placement: Placement,
        bytes: usize,
        huge_pages: bool,
    ) -> Result<(Storage, u64)> {
        device.expect_usable()?;
        device.expect_in_place(placement)?;
        let (memory, huge) = match huge_pages {
            true => device.backend().allocate_huge(placement, bytes)?,
            false => (device.backend().allocate(placement, bytes)?, 0),
        };
        level(device, placement).add(bytes as u64);
        let (origin, room) = (Origin::Owned(None), bytes.next_multiple_of(PAGE));
        Ok((Storage { device: device.clone(), memory, origin, room, watch: None }, huge))
    }

    /// The caller's memory: `host` for host placements, `device` for device memory.
    ///
    /// # Safety
    /// The memory is there until it is handed back.
    pub unsafe fn borrow(
        device: &Arc<Device>,
        placement: Placement,
        host: *mut u8,
        address: u64,
        bytes: usize,
        owner: Arc<Borrow>,
    ) -> Result<Storage> {
        device.expect_usable()?;
        device.expect_in_place(placement)?;
        let at = if placement == Placement::Device { address } else { host as u64 };
        if at == 0 || at.checked_add(bytes as u64).is_none() {
            return fail!(
                InvalidArgument,
                "borrowed {} memory at {at:#x} of {bytes} bytes is no memory",
                placement.name()
            );
        }
        if placement == Placement::Device && !at.is_multiple_of(ALIGNMENT as u64) {
            return fail!(InvalidArgument, "borrowed device memory at {at:#x} is not aligned to {ALIGNMENT} bytes");
        }
        // A wrapper that is gone may still have the range, if only for want of a maintain.
        device.maintain();
        if take_foreign(at, bytes as u64).is_err() {
            // It may be on its way back from a wrapper that is gone.
            device.backend().await_frees(Some(Instant::now()));
            take_foreign(at, bytes as u64)?;
        }
        let memory = match placement {
            Placement::Pinned | Placement::Uva => {
                // SAFETY: the caller's promise: it is handed back after it was given back here.
                let adopted = unsafe { device.backend().adopt(placement, host, bytes) };
                adopted.inspect_err(|_| give_back_foreign(at, bytes as u64))?
            }
            _ => RawMemory { placement, host, device: address, bytes, backing: Backing::Foreign, node: None },
        };
        Ok(Storage { device: device.clone(), memory, origin: Origin::Borrowed(Some(owner)), room: 0, watch: None })
    }

    /// A part of an arena's memory, which has it back when this is dropped.
    pub fn part(device: &Arc<Device>, memory: RawMemory, arena: Arc<dyn Arena>, part: u64) -> Storage {
        Storage { device: device.clone(), memory, origin: Origin::Part(arena, part), room: 0, watch: None }
    }

    /// So many bytes from its first on are nobody else's, and pages of their own.
    pub fn with_room(mut self, bytes: u64) -> Storage {
        self.room = bytes as usize;
        self
    }

    /// As long as there is this memory, which is owned, there is the charge.
    pub fn set_charge(&mut self, charge: Charge) {
        if let Origin::Owned(own) = &mut self.origin {
            *own = Some(charge);
        }
    }

    /// From now on it is a side of a block's.
    pub(super) fn attach(&mut self, name: &Arc<Name>, which: Which) {
        if self.device.debug().is_on() {
            self.watch = Some(Watch::new(name, which, &self.device, self.memory, (self.room > 0).then_some(self.room)));
        }
    }

    /// Who watches it.
    #[inline]
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// Its addresses and size.
    pub fn memory(&self) -> RawMemory {
        self.memory
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.memory.bytes
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Whether it is the caller's.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.origin, Origin::Borrowed(_))
    }

    /// Whether it is a part of an arena's.
    pub(super) fn is_part(&self) -> bool {
        matches!(self.origin, Origin::Part(..))
    }

    /// Gives borrowed memory back without telling its owner, who asked for it. Returns who was to be told.
    pub fn hand_back(mut self) -> Option<ReleaseCallback> {
        if let Some(watch) = self.watch.take() {
            watch.handed_back();
        }
        match &self.origin {
            Origin::Borrowed(Some(owner)) => owner.tell(None),
            _ => None,
        }
    }

    /// Completion cannot be proven: the bytes stay counted and are never touched, freed or handed back.
    pub fn quarantine(mut self) {
        self.device.counters.quarantined_bytes.add(self.bytes() as u64);
        self.abandon("are quarantined: work on them could not be proven done");
    }

    /// Left to the process exit.
    pub fn leak(mut self) {
        self.device.counters.leaked_bytes.add(self.bytes() as u64);
        self.abandon("are left to the process exit");
    }

    /// Left to the process exit, where what of it may be in use was counted part by part.
    pub fn forget(mut self) {
        self.end_origin();
        if let Some(watch) = self.watch.take() {
            watch.abandoned();
        }
    }

    fn abandon(&mut self, what: &str) {
        let (bytes, placement) = (self.bytes(), self.memory.placement.name());
        log::write(Level::Warn, format_args!("{bytes} {placement} bytes of {} {what}", self.device.name()));
        if let Origin::Borrowed(owner) = &mut self.origin {
            // The owner is not told: the memory may still be read or written.
            std::mem::forget(owner.take());
        }
        if let Origin::Part(arena, part) = self.end_origin() {
            arena.part_lost(part);
        }
        if let Some(watch) = self.watch.take() {
            watch.abandoned();
        }
    }

    /// Nobody touches it again, and whoever paid for it goes on doing so.
    fn end_origin(&mut self) -> Origin {
        let mut origin = std::mem::replace(&mut self.origin, Origin::Abandoned);
        if let Origin::Owned(charge) = &mut origin {
            std::mem::forget(charge.take());
        }
        origin
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        match (&self.origin, self.watch.take()) {
            (Origin::Borrowed(_), Some(watch)) => watch.handed_back(),
            (Origin::Part(arena, _), Some(watch)) if arena.is_watched() => watch.handed_back(),
            (_, watch) => drop(watch),
        }
        match self.origin {
            Origin::Owned(_) => {
                level(&self.device, self.memory.placement).sub(self.bytes() as u64);
                // SAFETY: owned and dropped once; a side with uses defers its storage until they are proven, or abandons it.
                unsafe { self.device.backend().free(self.memory) };
            }
            Origin::Borrowed(ref mut owner) => {
                let at = if self.memory.host.is_null() { self.memory.device } else { self.memory.host as u64 };
                let bytes = self.memory.bytes as u64;
                let owner = owner.take();
                let back = move || {
                    give_back_foreign(at, bytes);
                    drop(owner);
                };
                if self.memory.backing == Backing::Registered {
                    // SAFETY: registered by `borrow`, dropped once, and out of use as above.
                    unsafe { self.device.backend().disown(self.memory, Box::new(back)) };
                } else {
                    back();
                }
            }
            Origin::Part(ref arena, part) => arena.part_back(part),
            Origin::Abandoned => {}
        }
    }
}

fn level(device: &Device, placement: Placement) -> &ByteLevel {
    match placement {
        Placement::Pageable => &device.counters.host_bytes,
        Placement::Device => &device.counters.device_bytes,
        Placement::Managed => &device.counters.managed_bytes,
        _ => &device.counters.pinned_bytes,
    }
}
