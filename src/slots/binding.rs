//! Dynamic slots: bound for one step to memory that is on the device already, the caller's or a block's. Nothing is copied.
//!
//! A block that is bound is held where it is: it is neither released nor moved until the step is over. The commit orders the
//! step behind what still writes the block and seals it, since the consumers' launches are not seen; the retire declares
//! them, and the block may be written and released again behind them.

use super::ring::Body;
use super::{Frozen, Step};
use crate::config::checks::{Check, on};
use crate::config::{ALL, STREAMS_PER_CALL};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{HoldMark, Holdable, Timeline, record_all};
use crate::lease::Lease;
use crate::sync::{Arc, Ordering};

/// What a dynamic slot is bound to.
pub(super) struct Binding {
    address: u64,
    block: Option<BoundBlock>,
}

/// A block that stays while it is bound.
pub(super) struct BoundBlock {
    pub lease: Lease,
    _held: Option<HoldMark>,
    /// The commit has sealed it.
    sealed: bool,
}

/// No binding yet of so many dynamic slots.
pub(super) fn unbound(count: usize) -> Vec<Option<Binding>> {
    (0..count).map(|_| None).collect()
}

/// The blocks that are bound, each once.
pub(super) fn blocks(bound: &[Option<Binding>]) -> impl Iterator<Item = &BoundBlock> {
    let block = |place: usize| bound[place].as_ref().and_then(|binding| binding.block.as_ref());
    (0..bound.len()).filter_map(move |place| {
        let own = block(place)?;
        let repeats = (0..place).filter_map(block).any(|other| other.lease.key() == own.lease.key());
        (!repeats).then_some(own)
    })
}

impl Step {
    /// Binds a dynamic slot to `bytes` of the caller's device memory at `address`, whole rows of at most the slot's shape.
    /// Work queued so far on `streams` is what makes it ready: the step comes behind it on the device. The memory is the
    /// caller's, who keeps it until the step's consumers are done. Binding a slot again replaces what it was bound to.
    pub fn bind(&self, slot: u32, address: u64, bytes: u64, streams: &[Arc<Timeline>]) -> Result<()> {
        self.fill(|frozen, body| {
            let number = self.expect_bindable(frozen, body, slot, bytes)?;
            if address == 0 || address.checked_add(bytes).is_none() {
                return fail!(InvalidArgument, "binding {bytes} bytes at {address:#x}: that is no memory");
            }
            let slots = &**self.slots();
            let mut count = body.after.len();
            for stream in streams {
                stream.expect_device(&slots.device).map_err(|e| slots.refused(e))?;
                stream.expect_not_capturing(Check::CaptureFences).map_err(|e| slots.refused(e))?;
                count += !body.after.iter().any(|fence| Arc::ptr_eq(fence.timeline(), stream)) as usize;
            }
            if count > STREAMS_PER_CALL {
                return fail!(
                    InvalidArgument,
                    "the memory bound in {self} would be written by {count} streams: at most {STREAMS_PER_CALL}"
                );
            }
            for fence in record_all(streams).map_err(|e| slots.refused(e))? {
                slots.counters.fences_recorded.add(1);
                match body.after.iter_mut().find(|known| Arc::ptr_eq(known.timeline(), fence.timeline())) {
                    Some(known) => *known = fence,
                    None => body.after.push(fence),
                }
            }
            body.bound[number] = Some(Binding { address, block: None });
            slots.counters.bound.add(1);
            Ok(())
        })
    }

    /// Binds a dynamic slot to bytes of a block that kernels can use: one with a device twin, or in place. Whole rows; a
    /// count of [`ALL`] is everything from `offset` on. Until the step is retired or given up the block is not released, and
    /// from its commit on not written; its consumers only read it.
    pub fn bind_block(&self, slot: u32, lease: &Lease, offset: u64, bytes: u64) -> Result<()> {
        self.fill(|frozen, body| {
            let slots = &**self.slots();
            let mut block = lease.enter()?;
            if !Arc::ptr_eq(lease.device(), &slots.device) {
                return fail!(
                    WrongDevice,
                    "{} belongs to {}, {} to {}",
                    block.name(),
                    lease.device().name(),
                    slots.name,
                    slots.device.name()
                );
            }
            let bytes = if bytes == ALL { (block.bytes() as u64).saturating_sub(offset) } else { bytes };
            let number = self.expect_bindable(frozen, body, slot, bytes)?;
            let range = block.range(offset, bytes)?;
            let address = block.bound_address(range)?;
            let held = if on(Check::BindingHolds) { Some(block.hold(None)?) } else { None };
            let bound = BoundBlock { lease: lease.clone(), _held: held, sealed: false };
            drop(block);
            body.bound[number] = Some(Binding { address, block: Some(bound) });
            slots.counters.bound.add(1);
            Ok(())
        })
    }

    /// The slot's number among the dynamic ones.
    fn expect_bindable(&self, frozen: &Frozen, body: &Body, slot: u32, bytes: u64) -> Result<usize> {
        let slots = &**self.slots();
        let (definition, _) = slots.slot(frozen, slot)?;
        let Some(number) = definition.dynamic else {
            return fail!(
                Unsupported,
                "slot \"{}\" of {} is {}: write it; only dynamic slots are bound",
                definition.name,
                slots.name,
                definition.kind.name()
            );
        };
        if body.for_replay {
            return Err(slots.refuse(
                Status::Unsupported,
                format!(
                    "binding slot \"{}\" in {self}, which a graph reads: its addresses are baked in; begin a plain step, or copy into a static slot",
                    definition.name
                ),
            ));
        }
        let most = definition.rows * definition.row_bytes;
        if bytes == 0 || bytes > most || !bytes.is_multiple_of(definition.row_bytes) {
            return fail!(
                InvalidArgument,
                "binding {bytes} bytes to slot \"{}\" of {}: give whole rows of {} bytes, {most} bytes at most",
                definition.name,
                slots.name,
                definition.row_bytes
            );
        }
        Ok(number)
    }

    /// A slot's address for this step's kernels: of a static slot from commit to retire, in the step's copy of the device
    /// block; of a dynamic one from its binding to retire.
    pub fn address(&self, slot: u32) -> Result<u64> {
        let slots = &**self.slots();
        let frozen = slots.frozen()?;
        let (definition, place) = slots.slot(frozen, slot)?;
        let unbound =
            || slots.refuse(Status::SlotUnwritten, format!("slot \"{}\" is not bound in {self}", definition.name));
        let is_filling = frozen.entries[self.entry()].filling.load(Ordering::Acquire) == self.serial();
        if let Some(number) = definition.dynamic.filter(|_| is_filling) {
            return self.fill(|_, body| body.bound[number].as_ref().map(|bound| bound.address).ok_or_else(unbound));
        }
        let book = frozen.book.lock();
        let Some(copy) = book.unretired().find(|step| step.serial == self.serial()).map(|step| step.copy) else {
            return Err(slots.refuse(
                Status::NotBegun,
                format!("the address of slot \"{}\" in {self}: it is known between commit and retire", definition.name),
            ));
        };
        let Some(number) = definition.dynamic else { return Ok(frozen.copies[copy].address + place.offset as u64) };
        match frozen.copies[copy].device.try_lock() {
            Some(device) => device.bound[number].as_ref().map(|bound| bound.address).ok_or_else(unbound),
            None => Err(slots.refuse(Status::Busy, format!("another thread reads back or retires {self}; try again"))),
        }
    }

    /// Orders what is queued on the commit stream from now on behind whatever still writes what is bound, and seals the blocks.
    /// After an error nothing is sealed.
    pub(super) fn seal_bound(&self, body: &mut Body, timeline: &Arc<Timeline>) -> Result<()> {
        let result = self.try_seal(body, timeline);
        if result.is_err() {
            unseal(&mut body.bound);
        }
        result
    }

    fn try_seal(&self, body: &mut Body, timeline: &Arc<Timeline>) -> Result<()> {
        let slots = &**self.slots();
        for fence in &body.after {
            if on(Check::BindingFollows) && timeline.wait_for(fence).map_err(|e| slots.refused(e))? {
                slots.counters.device_waits.add(1);
            }
        }
        for place in 0..body.bound.len() {
            let (before, rest) = body.bound.split_at_mut(place);
            let Some(own) = rest[0].as_mut().and_then(|binding| binding.block.as_mut()) else { continue };
            if !blocks(before).any(|other| other.lease.key() == own.lease.key()) {
                let sealed = own.lease.enter().and_then(|mut block| {
                    // Of a commit that came to nothing while somebody was inside.
                    if std::mem::take(&mut own.sealed) {
                        block.unseal();
                    }
                    block.bind(timeline)
                });
                sealed.map_err(|e| slots.refused(e.context(format_args!("{self} stays as it is"))))?;
                own.sealed = true;
            }
        }
        Ok(())
    }
}

/// The commit came to nothing: no consumer will read what it had sealed.
pub(super) fn unseal(bound: &mut [Option<Binding>]) {
    for own in bound.iter_mut().flatten().filter_map(|binding| binding.block.as_mut()) {
        if own.sealed
            && let Ok(mut block) = own.lease.enter()
        {
            block.unseal();
            own.sealed = false;
        }
    }
}
