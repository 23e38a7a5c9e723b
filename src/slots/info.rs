//! What a set tells of itself.

use super::definition::{Slot, SlotKind};
use super::ring::{Seat, State};
use super::{Slots, SlotsParts, SlotsStats};
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use crate::fail;
use crate::fence::{Member, Name};
use crate::stats::{Record, Value};

/// About one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Of one element.
    pub dtype: Dtype,
    /// At most.
    pub shape: Shape,
    /// Required, kept or dynamic.
    pub kind: SlotKind,
    /// Copied on its own.
    pub own_copy: bool,
    /// It has a row for each token of a step.
    pub follows_tokens: bool,
    /// Rows at most.
    pub rows: u64,
    /// Bytes of one row.
    pub row_bytes: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// From the start of the device block.
    pub offset: u64,
    /// The address for kernels in the first copy of the device block; never changes. 0 for a dynamic slot: it is the step's.
    pub device_address: u64,
}

impl Slots {
    fn look<R>(&self, look: impl FnOnce(&[Slot]) -> R) -> R {
        if let Some(frozen) = self.frozen.get() {
            return look(&frozen.slots);
        }
        let draft = self.draft.lock();
        // It may have been frozen before the lock was had.
        match self.frozen.get() {
            Some(frozen) => look(&frozen.slots),
            None => look(&draft),
        }
    }

    /// The number of the slot of that name.
    pub fn find(&self, name: &str) -> Result<u32> {
        self.expect_alive()?;
        match self.look(|slots| slots.iter().position(|slot| slot.name == name)) {
            Some(slot) => Ok(slot as u32),
            None => fail!(NotFound, "{} has no slot \"{name}\"", self.name),
        }
    }

    /// How many slots there are; their numbers count from 0.
    pub fn slot_count(&self) -> Result<u32> {
        self.expect_alive()?;
        Ok(self.look(<[Slot]>::len) as u32)
    }

    /// A slot's name, after freeze.
    pub fn slot_name(&self, slot: u32) -> Result<&str> {
        let frozen = self.frozen()?;
        Ok(&self.slot(frozen, slot)?.0.name)
    }

    /// About a slot; its place is known after freeze only.
    pub fn slot_info(&self, slot: u32) -> Result<SlotInfo> {
        let frozen = self.frozen()?;
        let (definition, place) = self.slot(frozen, slot)?;
        Ok(SlotInfo {
            dtype: definition.dtype,
            shape: definition.shape,
            kind: definition.kind,
            own_copy: definition.own_copy,
            follows_tokens: definition.follows_tokens,
            rows: definition.rows,
            row_bytes: definition.row_bytes,
            bytes: definition.rows * definition.row_bytes,
            offset: place.offset as u64,
            device_address: if definition.dynamic.is_some() { 0 } else { self.device_address(slot, 0)? },
        })
    }

    /// A slot's address for kernels in one copy of the device block: never changes after freeze.
    pub fn device_address(&self, slot: u32, copy: u32) -> Result<u64> {
        let frozen = self.frozen()?;
        let (definition, place) = self.slot(frozen, slot)?;
        self.expect_copy(copy)?;
        if definition.dynamic.is_some() {
            return fail!(
                Unsupported,
                "slot \"{}\" of {} is dynamic: ask each step for its address",
                definition.name,
                self.name
            );
        }
        Ok(frozen.copies[copy as usize].address + place.offset as u64)
    }

    /// Numbers so far.
    pub fn stats(&self) -> SlotsStats {
        let (depth, device_depth) = (self.options.depth, self.options.device_depth);
        let mut stats = SlotsStats { depth, device_depth, ..SlotsStats::default() };
        self.counters.fill(&mut stats);
        if let Some(frozen) = self.frozen.get() {
            if self.device.backend().is_lost() {
                self.quarantine_lost(frozen);
            }
            stats.arena_bytes = frozen.layout.bytes() as u64;
            stats.device_bytes = frozen.layout.bytes() as u64 * u64::from(device_depth);
            let book = frozen.book.lock();
            let count = |wanted: fn(&Seat) -> bool| book.seats.iter().filter(|seat| wanted(seat)).count() as u32;
            stats.free_entries = count(Seat::is_free);
            stats.quarantined_entries = count(|seat| seat.state == State::Quarantined);
            stats.unretired_steps = book.unretired().count() as u32;
        }
        stats
    }

    /// Its state, for people.
    pub fn describe(&self) -> String {
        let destroyed = if self.ended.has_ended() { ", destroyed" } else { "" };
        let Some(frozen) = self.frozen.get() else {
            return format!("{}: {} slots, not frozen{destroyed}", self.name, self.look(<[Slot]>::len));
        };
        let mut text = format!(
            "{}: {} slots in {} bytes, depth {}, device depth {}{destroyed}",
            self.name,
            frozen.slots.len(),
            frozen.layout.bytes(),
            frozen.entries.len(),
            frozen.copies.len()
        );
        if let Some(source) = &self.parts.source {
            text += &format!("; memory of {}", source.name());
        }
        {
            let book = frozen.book.lock();
            text += &format!("; {} steps committed", book.committed);
            match book.unretired().next() {
                Some(_) => book.unretired().for_each(|step| text += &format!("; step {} is not retired", step.ticket)),
                None => text += ", none to be retired",
            }
            if let Some(status) = book.broken {
                text += &format!("; unusable ({status:?})");
            }
            for (index, seat) in book.seats.iter().enumerate() {
                text += &format!("; entry {index}: {}", seat.describe());
            }
            let taken = book.desks.iter().filter(|desk| desk.id != 0).count();
            text += &format!("; {taken} of {} read-back entries in use", book.desks.len());
            for (state, copy) in book.copies.iter().zip(&frozen.copies) {
                // Under the book's lock, where nobody else looks for it: a description must not make a commit busy.
                match copy.device.try_lock() {
                    Some(device) => text += &format!("; {}", device.describe()),
                    None => text += "; device: in use",
                }
                if state.torn {
                    text += ", torn: its next commit sends every slot";
                }
            }
        }
        text
    }
}

impl Member for Slots {
    fn record(&self) -> Record {
        let of = |name: &Name| Value::from(name.to_string());
        let SlotsParts { source, predictor, .. } = &self.parts;
        self.stats()
            .record(Record::new("slots", &self.name))
            .with("memory_of", source.as_ref().map_or(Value::Absent, |source| of(source.name())))
            .with("predictor", predictor.as_ref().map_or(Value::Absent, |predictor| of(predictor.name())))
    }
}
