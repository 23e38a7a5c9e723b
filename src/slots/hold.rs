//! Slots in a graph hold: a graph has the addresses of one copy of the device block baked in, or of several.

use super::Slots;
use crate::error::Result;
use crate::fail;
use crate::fence::{BlockGuard, Device, Holdable};
use crate::sync::{Arc, MutexGuard};

/// One copy of the device block behind a set, whose addresses never change.
struct SlotsCopy {
    slots: Arc<Slots>,
    copy: usize,
}

impl Slots {
    /// Every copy of the device block, for a graph hold.
    pub fn held_copies(self: &Arc<Slots>) -> Vec<Arc<dyn Holdable>> {
        (0..self.options.device_depth as usize)
            .map(|copy| Arc::new(SlotsCopy { slots: self.clone(), copy }) as Arc<dyn Holdable>)
            .collect()
    }

    /// One of them: of a graph for each copy, each is in a hold with its own.
    pub fn held_copy(self: &Arc<Slots>, copy: u32) -> Result<Arc<dyn Holdable>> {
        self.expect_copy(copy)?;
        Ok(Arc::new(SlotsCopy { slots: self.clone(), copy: copy as usize }))
    }

    pub(super) fn expect_copy(&self, copy: u32) -> Result<()> {
        let depth = self.options.device_depth;
        if copy >= depth {
            return fail!(NotFound, "copy {copy} does not exist: {} has {depth} (option device_depth)", self.name);
        }
        Ok(())
    }
}

impl Holdable for SlotsCopy {
    fn key(&self) -> (u64, u64) {
        (self.slots.name.number(), self.copy as u64)
    }

    fn device(&self) -> &Arc<Device> {
        &self.slots.device
    }

    fn enter(&self) -> Result<BlockGuard<'_>> {
        let slots = &*self.slots;
        // A set that was destroyed while a graph holds it has its memory still.
        let Some(frozen) = slots.frozen.get() else {
            return fail!(Frozen, "{} is not frozen yet: call freeze first", slots.name);
        };
        match frozen.copies[self.copy].device.try_lock() {
            Some(device) => Ok(MutexGuard::map(device, |device| &mut device.block)),
            None => fail!(Busy, "another thread commits, reads back or retires a step of {}; try again", slots.name),
        }
    }

    fn hold_ended(&self) {
        if let Some(frozen) = self.slots.frozen.get() {
            self.slots.bury_if_ended(frozen);
        }
    }
}
