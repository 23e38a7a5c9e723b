//! Input slots: what a step of an inference loop sends to the device, staged in a ring and brought over in one copy.
//!
//! A *slot* is a named tensor at a fixed device address. A *step* fills one entry of a ring of staging memory and is
//! *committed*: its written rows are copied to the block of device memory behind all slots, of which there may be several
//! *copies*, taken in turn. Its *consumers* are whoever reads that copy; *retire* says that all of them are queued, and only
//! then may a step be committed to the same copy. Ring entries are reused when their transfer is proven done, a copy of the
//! device block when the consumers are.
//!
//! A *dynamic* slot has no rows there: it is *bound* to memory that is on the device already, for one step.
//!
//! Bookkeeping is under one lock that no driver call is made under. What a driver call needs (a ring entry, a read-back
//! entry, a copy of the device block) each has a lock of its own that is tried, never waited for.

mod binding;
mod commit;
mod copies;
mod decode;
mod definition;
mod end;
mod hold;
mod info;
mod memory;
mod read_back;
mod retire;
mod ring;
mod stats;
mod step;
mod tokens;

pub use decode::{DecodeMemory, DecodeOptions, decode_defaults};
pub use definition::{SlotKind, SlotOptions};
pub use info::SlotInfo;
pub use memory::SlotsParts;
pub use stats::SlotsStats;
pub use step::Step;
pub use tokens::{MOST_SIZES, SLOTS_PER_CALL, SlotRows};

use crate::arena::{Layout, Place, Rows};
use crate::config::checks::{Check, on};
use crate::config::{ALIGNMENT, ALL};
use crate::error::{Error, Result, Status, try_vec};
use crate::fail;
use crate::fence::{Block, Device, Member, Name, OrderCount, Side, Which};
use crate::ops;
use crate::sync::{Arc, Ended, Mutex, OnceLock, Weak};
use binding::unbound;
use copies::{Committer, CopyOfBlock, DeviceCopy};
use definition::Slot;
use memory::Memory;
use read_back::ReadBack;
use ring::{Book, Entry};
use std::ops::Range;
use tokens::PaddedSizes;

/// Ring entries at most.
pub const MAX_DEPTH: u32 = 16;
/// Copies of the device block at most.
pub const MAX_DEVICE_DEPTH: u32 = 4;
/// Dynamic slots at most.
pub const MAX_DYNAMIC: usize = 16;
/// Read-back entries at most.
pub const MAX_READ_BACK_DEPTH: u32 = 64;

/// How a set of slots is made.
#[derive(Clone, Copy, Debug)]
pub struct SlotsOptions<'a> {
    /// Staging entries: 1 to [`MAX_DEPTH`]. With two, the host fills one while the other is copied.
    pub depth: u32,
    /// Read-back entries: 0 to [`MAX_READ_BACK_DEPTH`].
    pub read_back_depth: u32,
    /// Bytes of each.
    pub read_back_bytes: u64,
    /// Written rows at most this many bytes apart are brought over in one copy.
    pub gap_bytes: u64,
    /// Copies of the device block: 1 to [`MAX_DEVICE_DEPTH`]. With two, a step is sent while the device works on the last.
    pub device_depth: u32,
    /// The numbers of tokens that graphs were captured for, rising; none: those of [`padded_size`](Slots::padded_size).
    pub padded_sizes: &'a [u64],
}

impl Default for SlotsOptions<'_> {
    fn default() -> Self {
        SlotsOptions {
            depth: 2,
            read_back_depth: 2,
            read_back_bytes: 64 * 1024,
            gap_bytes: 64 * 1024,
            device_depth: 1,
            padded_sizes: &[],
        }
    }
}

/// A set of slots. Any thread may call it.
pub struct Slots {
    name: Arc<Name>,
    device: Arc<Device>,
    options: SlotsOptions<'static>,
    parts: SlotsParts,
    padded: PaddedSizes,
    draft: Mutex<Vec<Slot>>,
    frozen: OnceLock<Frozen>,
    /// Destroyed. Set under the book's lock.
    ended: Ended,
    counters: stats::Counters,
}

/// What freeze makes. Nothing in it is allocated, grown or moved later.
struct Frozen {
    slots: Vec<Slot>,
    layout: Layout,
    entries: Vec<Entry>,
    read_backs: Vec<ReadBack>,
    copies: Vec<CopyOfBlock>,
    committer: Mutex<Committer>,
    book: Mutex<Book>,
}

impl Slots {
    /// A set without slots, to be added and frozen.
    pub fn create(device: &Arc<Device>, options: SlotsOptions<'_>, label: &str) -> Result<Arc<Slots>> {
        Slots::create_with(device, options, SlotsParts::default(), label)
    }

    /// As [`Slots::create`], with memory of a source, or with a predictor.
    pub fn create_with(
        device: &Arc<Device>,
        options: SlotsOptions<'_>,
        parts: SlotsParts,
        label: &str,
    ) -> Result<Arc<Slots>> {
        if options.depth == 0 || options.depth > MAX_DEPTH {
            return fail!(InvalidArgument, "depth {} is not one of 1 to {MAX_DEPTH}", options.depth);
        }
        if options.device_depth == 0 || options.device_depth > MAX_DEVICE_DEPTH {
            return fail!(
                InvalidArgument,
                "device_depth {} is not one of 1 to {MAX_DEVICE_DEPTH}",
                options.device_depth
            );
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
        if let Some(source) = parts.source.as_ref().filter(|source| !Arc::ptr_eq(source.device(), device)) {
            return fail!(
                WrongDevice,
                "{} belongs to {}, the slots to {}",
                source.name(),
                source.device().name(),
                device.name()
            );
        }
        let padded = PaddedSizes::new(options.padded_sizes)?;
        device.expect_usable()?;
        let slots = Arc::new(Slots {
            name: Arc::new(Name::new("slots", label)),
            device: device.clone(),
            options: SlotsOptions { padded_sizes: &[], ..options },
            parts,
            padded,
            draft: Mutex::new(Vec::new()),
            frozen: OnceLock::new(),
            ended: Ended::default(),
            counters: stats::Counters::default(),
        });
        device.enroll(Arc::downgrade(&slots) as Weak<dyn Member>);
        Ok(slots)
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
        let slot = Slot::new(options, &draft).map_err(|e| e.context(&self.name))?;
        if draft.iter().any(|other| other.name == slot.name) {
            return fail!(Exists, "{} has a slot \"{}\" already: names are unique", self.name, slot.name);
        }
        if slot.dynamic.is_some_and(|number| number >= MAX_DYNAMIC) {
            return fail!(InvalidArgument, "{} has {MAX_DYNAMIC} dynamic slots, which is the limit", self.name);
        }
        draft.push(slot);
        Ok(draft.len() as u32 - 1)
    }

    /// Fixes the layout and allocates everything. From here on addresses never change and steps allocate nothing.
    /// After an error nothing is frozen, and it may be called again. Memory of a source may have to be waited for.
    pub fn freeze(&self) -> Result<()> {
        self.expect_alive()?;
        // Release callbacks run before the lock is taken: they may call anything.
        self.device.maintain();
        let frozen = self.freeze_draft().map_err(|e| e.context(format_args!("freezing {}", self.name)))?;
        if !frozen {
            return Err(self.refuse(Status::Frozen, format!("{} is frozen already", self.name)));
        }
        Ok(())
    }

    /// Whether it was not frozen before.
    fn freeze_draft(&self) -> Result<bool> {
        loop {
            let Some(bytes) = self.block_bytes(&self.draft.lock())? else { return Ok(false) };
            // Under no lock, too: a source may wait, and call others back.
            let memory = self.take_memory(bytes)?;
            let mut draft = self.draft.lock();
            match self.block_bytes(&draft)? {
                None => return Ok(false),
                // A slot was added meanwhile.
                Some(now) if now != bytes => continue,
                Some(_) => {}
            }
            let frozen = self.build(&draft, memory)?;
            let slots = std::mem::take(&mut *draft);
            // The draft's lock is held, so nobody else sets it.
            let _ = self.frozen.set(Frozen { slots, ..frozen });
            drop(draft);
            if let Some(frozen) = self.frozen.get() {
                self.bury_if_ended(frozen);
            }
            return Ok(true);
        }
    }

    /// Bytes of the block behind the slots so far; `None` once they are frozen.
    fn block_bytes(&self, draft: &[Slot]) -> Result<Option<usize>> {
        if self.frozen.get().is_some() {
            return Ok(None);
        }
        if draft.is_empty() {
            return fail!(InvalidArgument, "{} has no slots: add some before freeze", self.name);
        }
        Ok(Some(block_bytes(&layout_of(draft)?)))
    }

    fn build(&self, draft: &[Slot], memory: Memory) -> Result<Frozen> {
        let layout = layout_of(draft)?;
        let dynamic = draft.iter().filter(|slot| slot.dynamic.is_some()).count();
        let bytes = block_bytes(&layout);
        let side = |which, storage| Side::new(which, &self.name, storage);
        let Memory { device, staging, read_back } = memory;
        let copies: Vec<_> = device
            .into_iter()
            .map(|storage| {
                let address = storage.memory().device;
                let block = Block::new(&self.name, bytes, None, Some(side(Which::Device, storage)));
                CopyOfBlock { address, device: Mutex::new(DeviceCopy { block, bound: unbound(dynamic) }) }
            })
            .collect();
        let entries = staging
            .into_iter()
            .map(|storage| {
                let written = layout.places().iter().map(Rows::new).collect::<Result<_>>()?;
                Ok(Entry::new(side(Which::Host, storage), written, unbound(dynamic)))
            })
            .collect::<Result<Vec<_>>>()?;
        let read_backs: Vec<_> =
            read_back.into_iter().map(|storage| ReadBack::new(side(Which::Host, storage))).collect();
        let mirrored = layout.mirrored();
        let mut mirror = try_vec(mirrored.len(), 0u8, "the mirror of the kept slots")?;
        for (slot, place) in draft.iter().zip(layout.places()).filter(|(_, place)| place.kept) {
            let start = place.offset - mirrored.start;
            ops::fill(&mut mirror[start..start + place.bytes()], slot.pad());
        }
        let book = Book::new(entries.len(), read_backs.len(), copies.len());
        let committer = Committer::new(&layout, mirror, copies.len())?;
        Ok(Frozen {
            slots: Vec::new(),
            layout,
            entries,
            read_backs,
            copies,
            committer: Mutex::new(committer),
            book: Mutex::new(book),
        })
    }

    // ---- for the operations ------------------------------------------------------------------------------------------

    fn expect_alive(&self) -> Result<()> {
        if self.ended.has_ended() {
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
        if definition.dynamic.is_some() {
            return fail!(
                Unsupported,
                "slot \"{}\" of {} is dynamic: it has no rows of its own; bind it in each step",
                definition.name,
                self.name
            );
        }
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

fn layout_of(draft: &[Slot]) -> Result<Layout> {
    let extents: Vec<_> = draft.iter().map(|slot| slot.extent).collect();
    Layout::new(&extents)
}

/// There is always a block, if of dynamic slots alone.
fn block_bytes(layout: &Layout) -> usize {
    layout.bytes().max(ALIGNMENT)
}
