//! Buffers that stay where they are, under the same budgets: blocks make room for them.

use super::room::Room;
use super::{Tier, Tiers};
use crate::buffer::Buffer;
use crate::config::Timeout;
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, HostWait, Name};
use crate::sync::Arc;
use crate::workspace::{Held, Source, Spec};

/// Bytes of a tier's budget, given back with this.
struct Part {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.room.uncharge(self.bytes);
    }
}

impl Tiers {
    fn charge(&self, tier: Tier, bytes: u64, wait: &HostWait<'_>) -> Result<Part> {
        let room = self.room(tier)?;
        let budget = room.levels().budget;
        if bytes > budget {
            let place = tier.placement().name();
            return fail!(
                Budget,
                "{bytes} bytes in the {place} tier of {}, which has {budget}: raise its budget",
                self.name
            );
        }
        while !room.charge(bytes) {
            self.make_room(tier, bytes, wait)?;
        }
        Ok(Part { room: room.clone(), bytes })
    }
}

impl Source for Tiers {
    fn name(&self) -> &Name {
        &self.name
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn take(self: Arc<Self>, spec: &Spec, timeout: Timeout) -> Result<Held> {
        let wait = HostWait::new(timeout, &self.counters.waits);
        let (host, device) = spec.placements();
        let charge = |placement, bytes| Tier::of(placement).map(|tier| self.charge(tier, bytes, &wait)).transpose();
        let on_host = charge(host, spec.host_bytes())?;
        let on_device = charge(device, spec.device_bytes())?;
        let buffer = Buffer::create(&self.device, spec.options(""))?;
        let mut block = buffer.lock()?;
        if let (Some(side), Some(part)) = (&mut block.host, on_host) {
            side.set_charge(Box::new(part));
        }
        if let (Some(side), Some(part)) = (&mut block.device, on_device) {
            side.set_charge(Box::new(part));
        }
        drop(block);
        Ok(Held::new(buffer, self, 0))
    }

    // A buffer is its holder's alone, and its memory has the budgets' bytes: nothing is left to be done with its holders.

    fn share(&self, _: u64) {}

    fn is_last(&self, _: u64) -> bool {
        true
    }

    fn take_back(&self, _: u64) {}
}
