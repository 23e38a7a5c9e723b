//! Slots in a graph hold: the one block of device memory behind them, whose address never changes.

use super::Slots;
use crate::error::Result;
use crate::fail;
use crate::fence::{BlockGuard, Device, Holdable};
use crate::sync::{Arc, MutexGuard};

impl Holdable for Slots {
    fn key(&self) -> (u64, u64) {
        (self.name.number(), 0)
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn enter(&self) -> Result<BlockGuard<'_>> {
        // A set that was destroyed while a graph holds it has its memory still.
        let Some(frozen) = self.frozen.get() else {
            return fail!(Frozen, "{} is not frozen yet: call freeze first", self.name);
        };
        match frozen.device.try_lock() {
            Some(device) => Ok(MutexGuard::map(device, |device| &mut device.block)),
            None => fail!(Busy, "another thread commits, reads back or retires a step of {}; try again", self.name),
        }
    }

    fn hold_ended(&self) {
        if let Some(frozen) = self.frozen.get() {
            self.bury_if_void(frozen);
        }
    }
}
