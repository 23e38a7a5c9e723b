//! Input slots: what a step of an inference loop sends to the device, staged in a ring and brought over in one copy.
//!
//! A *slot* is a named tensor at a fixed device address. A *step* fills one entry of a ring of staging memory and is
//! *committed*: its written rows are copied to the one block of device memory behind all slots. Its *consumers* are
//! whoever reads that block; *retire* says that all of them are queued, and only then may the next step be committed. Ring
//! entries are reused when their copy is proven done, the device block when the consumers are.
//!
//! Bookkeeping is under one lock that no driver call is made under. What a driver call needs (a ring entry, a read-back
//! entry, the device block) each has a lock of its own that is tried, never waited for.

mod commit;
mod decode;
mod definition;
mod hold;
mod read_back;
mod retire;
mod ring;
mod stats;
mod step;

pub use decode::{DecodeOptions, decode_defaults};
pub use definition::{SlotKind, SlotOptions};
pub use stats::SlotsStats;
pub use step::Step;

use crate::arena::{Layout, Place, Plan, Rows};
use crate::config::checks::{Check, on};
use crate::config::{ALL, Placement};
use crate::dtype::Dtype;
use crate::error::{Error, Result, Status, try_vec};
use crate::fail;
use crate::fence::{Block, Device, Name, OrderCount, Side, Storage, Which};
use crate::ops;
use crate::sync::{Arc, AtomicBool, Mutex, OnceLock, Ordering, fence};
use commit::DeviceBlock;
use definition::Slot;
use read_back::ReadBack;
use ring::{Book, Entry, State};
use std::ops::Range;

/// Ring entries at most.
pub const MAX_DEPTH: u32 = 16;
/// Read-back entries at most.
pub const MAX_READ_BACK_DEPTH: u32 = 64;

/// How a set of slots is made.
#[derive(Clone, Copy, Debug)]
pub struct SlotsOptions {
    /// Staging entries: 1 to [`MAX_DEPTH`]. With two, the host fills one while the other is copied.
    pub depth: u32,
    /// Read-back entries: 0 to [`MAX_READ_BACK_DEPTH`].
    pub read_back_depth: u32,
    /// Bytes of each.
    pub read_back_bytes: u64,
    /// Written rows at most this many bytes apart are brought over in one copy.
    pub gap_bytes: u64,
}

impl Default for SlotsOptions {
    fn default() -> SlotsOptions {
        SlotsOptions { depth: 2, read_back_depth: 2, read_back_bytes: 64 * 1024, gap_bytes: 64 * 1024 }
    }
}

/// About one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Of one element.
    pub dtype: Dtype,
    /// Required or kept.
    pub kind: SlotKind,
    /// Copied on its own.
    pub own_copy: bool,
    /// Rows at most.
    pub rows: u64,
    /// Bytes of one row.
    pub row_bytes: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// From the start of the device block.
    pub offset: u64,
    /// The address for kernels; never changes.
    pub device_address: u64,
}

/// A set of slots. Any thread may call it.
pub struct Slots {
    name: Arc<Name>,
    device: Arc<Device>,
    options: SlotsOptions,
    draft: Mutex<Vec<Slot>>,
    frozen: OnceLock<Frozen>,
    /// Destroyed. Set under the book's lock.
    void: AtomicBool,
    counters: stats::Counters,
}

/// What freeze makes. Nothing in it is allocated, grown or moved later.
struct Frozen {
    slots: Vec<Slot>,
    layout: Layout,
    device_address: u64,
    entries: Vec<Entry>,
    read_backs: Vec<ReadBack>,
    device: Mutex<DeviceBlock>,
    book: Mutex<Book>,
}

impl Slots {
    /// A set without slots, to be added and frozen.
    pub fn create(device: &Arc<Device>, options: SlotsOptions, label: &str) -> Result<Arc<Slots>> {
        if options.depth == 0 || options.depth > MAX_DEPTH {
            return fail!(InvalidArgument, "depth {} is not one of 1 to {MAX_DEPTH}", options.depth);
        }
        if options.read_back_depth > MAX_READ_BACK_DEPTH {
            return fail!(
                InvalidArgument,
                "read_back_depth {} is over the limit of {MAX_READ_BACK_DEPTH}",
                options.read_back_depth
            );
        }
        let read_back_fits = 1..=isize::MAX as u64;
        if options.read_back_depth > 0 && !read_back_fits.contains(&options.read_back_bytes) {
            return fail!(
                InvalidArgument,
                "read_back_bytes {} is no size: give at least 1, or read_back_depth 0 for none",
                options.read_back_bytes
            );
        }
        device.expect_usable()?;
        Ok(Arc::new(Slots {
            name: Arc::new(Name::new("slots", label)),
            device: device.clone(),
            options,
            draft: Mutex::new(Vec::new()),
            frozen: OnceLock::new(),
            void: AtomicBool::new(false),
            counters: stats::Counters::default(),
        }))
    }

    /// The set's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Adds a slot and returns its number, counted from 0. Refused with `frozen` after freeze, with `exists` for a name
    /// that is taken.
    pub fn add(&self, options: &SlotOptions<'_>) -> Result<u32> {
        self.expect_alive()?;
        let mut draft = self.draft.lock();
        if self.frozen.get().is_some() && on(Check::FrozenLayout) {
            return Err(self.refuse(
                Status::Frozen,
                format!("slot \"{}\": {} is frozen; add every slot before freeze", options.name, self.name),
            ));
        }
        let slot = Slot::new(options).map_err(|e| e.context(&self.name))?;
        if draft.iter().any(|other| other.name == slot.name) {
            return fail!(Exists, "{} has a slot \"{}\" already: names are unique", self.name, slot.name);
        }
        draft.push(slot);
        Ok(draft.len() as u32 - 1)
    }

    /// Fixes the layout and allocates everything. From here on addresses never change and steps allocate nothing.
    /// After an error nothing is frozen, and it may be called again.
    pub fn freeze(&self) -> Result<()> {
        self.expect_alive()?;
        // Release callbacks run before the lock is taken: they may call anything.
        self.device.maintain();
        let mut draft = self.draft.lock();
        if self.frozen.get().is_some() {
            return Err(self.refuse(Status::Frozen, format!("{} is frozen already", self.name)));
        }
        if draft.is_empty() {
            return fail!(InvalidArgument, "{} has no slots: add some before freeze", self.name);
        }
        let frozen = self.build(&draft).map_err(|e| e.context(format_args!("freezing {}", self.name)))?;
        let slots = std::mem::take(&mut *draft);
        // The draft's lock is held, so nobody else sets it.
        let _ = self.frozen.set(Frozen { slots, ..frozen });
        Ok(())
    }

    fn build(&self, draft: &[Slot]) -> Result<Frozen> {
        let options = &self.options;
        let extents: Vec<_> = draft.iter().map(|slot| slot.extent).collect();
        let layout = Layout::new(&extents)?;
        let side = |which, placement, bytes| {
            Ok(Side::new(which, &self.name, Storage::allocate_only(&self.device, placement, bytes)?))
        };
        let device = side(Which::Device, Placement::Device, layout.bytes())?;
        let device_address = device.storage()?.memory().device;
        let entries = (0..options.depth)
            .map(|_| {
                let written = layout.places().iter().map(Rows::new).collect::<Result<_>>()?;
                Ok(Entry::new(side(Which::Host, Placement::Pinned, layout.bytes())?, written))
            })
            .collect::<Result<Vec<_>>>()?;
        let read_backs = (0..options.read_back_depth)
            .map(|_| Ok(ReadBack::new(side(Which::Host, Placement::Pinned, options.read_back_bytes as usize)?)))
            .collect::<Result<Vec<_>>>()?;
        let mirrored = layout.mirrored();
        let mut mirror = try_vec(mirrored.len(), 0u8, "the mirror of the kept slots")?;
        for (slot, place) in draft.iter().zip(layout.places()).filter(|(_, place)| place.kept) {
            let start = place.offset - mirrored.start;
            ops::fill(&mut mirror[start..start + place.bytes()], slot.pad());
        }
        let book = Book::new(entries.len(), read_backs.len());
        let device = Block::new(&self.name, layout.bytes(), None, Some(device));
        let device = DeviceBlock::new(device, mirror, Plan::new(&layout), layout.most_copies() + 1);
        Ok(Frozen {
            slots: Vec::new(),
            layout,
            device_address,
            entries,
            read_backs,
            device: Mutex::new(device),
            book: Mutex::new(book),
        })
    }

    /// The number of the slot of that name.
    pub fn find(&self, name: &str) -> Result<u32> {
        self.expect_alive()?;
        let find = |slots: &[Slot]| slots.iter().position(|slot| slot.name == name);
        let found = match self.frozen.get() {
            Some(frozen) => find(&frozen.slots),
            None => find(&self.draft.lock()),
        };
        match found {
            Some(slot) => Ok(slot as u32),
            None => fail!(NotFound, "{} has no slot \"{name}\"", self.name),
        }
    }

    /// About a slot; its place is known after freeze only.
    pub fn slot_info(&self, slot: u32) -> Result<SlotInfo> {
        let frozen = self.frozen()?;
        let (definition, place) = self.slot(frozen, slot)?;
        Ok(SlotInfo {
            dtype: definition.dtype,
            kind: definition.kind,
            own_copy: definition.own_copy,
            rows: place.rows as u64,
            row_bytes: place.row_bytes as u64,
            bytes: place.bytes() as u64,
            offset: place.offset as u64,
            device_address: frozen.device_address + place.offset as u64,
        })
    }

    /// Numbers so far.
    pub fn stats(&self) -> SlotsStats {
        let mut stats = SlotsStats { depth: self.options.depth, ..SlotsStats::default() };
        self.counters.fill(&mut stats);
        if let Some(frozen) = self.frozen.get() {
            if self.device.backend().is_lost() {
                self.quarantine_lost(frozen);
            }
            stats.arena_bytes = frozen.layout.bytes() as u64;
            stats.device_bytes = frozen.layout.bytes() as u64;
            let book = frozen.book.lock();
            stats.free_entries = book.seats.iter().filter(|seat| seat.is_free()).count() as u32;
            stats.quarantined_entries = book.seats.iter().filter(|s| s.state == State::Quarantined).count() as u32;
        }
        stats
    }

    /// Its state, for people.
    pub fn describe(&self) -> String {
        let destroyed = if self.void.load(Ordering::Acquire) { ", destroyed" } else { "" };
        let Some(frozen) = self.frozen.get() else {
            return format!("{}: {} slots, not frozen{destroyed}", self.name, self.draft.lock().len());
        };
        let mut text = format!(
            "{}: {} slots in {} bytes, depth {}{destroyed}",
            self.name,
            frozen.slots.len(),
            frozen.layout.bytes(),
            frozen.entries.len()
        );
        {
            let book = frozen.book.lock();
            match &book.unretired {
                Some(step) => text += &format!("; step {} is committed, not retired", step.ticket),
                None => text += &format!("; {} steps committed, none to be retired", book.committed),
            }
            if let Some(status) = book.broken {
                text += &format!("; unusable ({status:?})");
            }
            for (index, seat) in book.seats.iter().enumerate() {
                text += &format!("; entry {index}: {}", seat.describe());
            }
            let taken = book.desks.iter().filter(|desk| desk.id != 0).count();
            text += &format!("; {taken} of {} read-back entries in use", book.desks.len());
            // Under the book's lock, where nobody else looks for it: a description must not make a commit busy.
            match frozen.device.try_lock() {
                Some(device) => text += &format!("; {}", device.describe()),
                None => text += "; device: in use",
            }
        }
        self.bury_if_void(frozen);
        text
    }

    /// Makes steps, tickets and read-backs void (`shut down`); their memory is freed when its last use is proven. The
    /// consumers declared with a committed step are fenced first. Never waits.
    pub fn destroy(&self) {
        let Some(frozen) = self.frozen.get() else {
            self.void.store(true, Ordering::SeqCst);
            return;
        };
        {
            let _book = frozen.book.lock();
            self.void.store(true, Ordering::SeqCst);
        }
        self.bury(frozen);
    }

    /// Gives up the memory that nobody works on at this moment, nor a graph holds; whoever does calls this afterwards.
    fn bury(&self, frozen: &Frozen) {
        // Either the destroyer sees that a lock is free, or whoever lets it go sees that the set is void.
        fence(Ordering::SeqCst);
        for entry in &frozen.entries {
            if let Some(mut body) = entry.body.try_lock() {
                let in_use = !body.spans.is_empty();
                if let Some(side) = body.side.as_mut().filter(|_| in_use) {
                    // Its holder may not know yet that the span is void.
                    side.note_unknown_users();
                }
                body.side = None;
            }
        }
        for read_back in &frozen.read_backs {
            if let Some(mut body) = read_back.body.try_lock() {
                body.side = None;
            }
        }
        if let Some(mut device) = frozen.device.try_lock()
            && (device.block.holds() == 0 || !on(Check::HoldDestroy))
        {
            let unretired = frozen.book.lock().unretired.take();
            device.give_up(unretired);
        }
    }

    /// To be called after letting go of an entry or of the device block.
    fn bury_if_void(&self, frozen: &Frozen) {
        fence(Ordering::SeqCst);
        if self.void.load(Ordering::SeqCst) {
            self.bury(frozen);
        }
    }

    // ---- for the operations ------------------------------------------------------------------------------------------

    fn expect_alive(&self) -> Result<()> {
        if self.void.load(Ordering::Acquire) {
            return Err(self.destroyed());
        }
        Ok(())
    }

    fn frozen(&self) -> Result<&Frozen> {
        self.expect_alive()?;
        match self.frozen.get() {
            Some(frozen) => Ok(frozen),
            None if on(Check::FrozenLayout) => {
                Err(self.refuse(Status::Frozen, format!("{} is not frozen yet: call freeze first", self.name)))
            }
            None => fail!(Internal, "{} has no memory yet", self.name),
        }
    }

    fn slot<'a>(&self, frozen: &'a Frozen, slot: u32) -> Result<(&'a Slot, &'a Place)> {
        match frozen.slots.get(slot as usize) {
            Some(definition) => Ok((definition, &frozen.layout.places()[slot as usize])),
            None => fail!(NotFound, "slot {slot} does not exist: {} has {} of them", self.name, frozen.slots.len()),
        }
    }

    /// Checks rows against the slot; a count of [`ALL`] is everything from `first` on.
    fn rows(&self, frozen: &Frozen, slot: u32, first: u64, count: u64) -> Result<Range<usize>> {
        let (definition, place) = self.slot(frozen, slot)?;
        let rows = place.rows as u64;
        let count = if count == ALL { rows.saturating_sub(first) } else { count };
        if first > rows || count > rows - first {
            return fail!(
                InvalidArgument,
                "rows {first}..{} are not inside slot \"{}\" of {}, which has {rows}",
                first.saturating_add(count),
                definition.name,
                self.name
            );
        }
        Ok(first as usize..(first + count) as usize)
    }

    #[cold]
    fn destroyed(&self) -> Error {
        Error::new(Status::ShutDown, format!("{} was destroyed: its steps, tickets and read-backs are void", self.name))
    }

    /// A refusal by this set's own rules.
    #[cold]
    fn refuse(&self, status: Status, message: String) -> Error {
        self.device.counters.refusals.add(1);
        self.counters.refusals.add(1);
        Error::new(status, message)
    }

    /// A refusal that somebody below counted already for the device.
    #[cold]
    fn refused(&self, error: Error) -> Error {
        self.counters.refusals.add(1);
        error.context(&self.name)
    }

    fn count_order(&self, before: OrderCount, after: OrderCount) {
        self.counters.device_waits.add(after.device_waits - before.device_waits);
        self.counters.fences_recorded.add(after.fences - before.fences);
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.destroy();
    }
}
