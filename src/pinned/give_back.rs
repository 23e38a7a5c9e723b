//! Blocks come back: to the slab at once where nothing uses them, else when the device's deferred list lets them go.

use super::Pinned;
use super::budget::Bytes;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Arena, Device, Name, Side};
use crate::lease::{Cell, Home, Lease, Returned};
use crate::stats::WaitCounters;
use crate::sync::Arc;

impl Pinned {
    /// Gives a block of this manager back, with the uses that it has.
    pub fn free(&self, block: &Lease) -> Result<()> {
        if !block.is_of(self) {
            return fail!(
                InvalidArgument,
                "{} is not a block of {}: give it back where it comes from",
                block.title(),
                self.name
            );
        }
        block.release()
    }
}

/// Whether nobody can be using it any more, as far as is known without asking.
fn is_over(side: &mut Side) -> bool {
    side.forget_known();
    side.is_unused() && !side.has_guard() && !side.has_unseen_users()
}

impl Home for Pinned {
    fn name(&self) -> &Name {
        &self.name
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn title(&self, cell: &Cell) -> String {
        format!("block {} of {}", cell.number() as u32, self.name)
    }

    fn about(&self, cell: &Cell) -> Option<String> {
        let (owner, bytes) = self.state.lock().part_of(cell.number())?;
        Some(format!("{owner}, {}", Bytes(bytes)))
    }

    fn fence_waits(&self) -> &WaitCounters {
        &self.counters.fence_waits
    }

    fn take_back(&self, cell: &Arc<Cell>, state: Returned) {
        self.counters.frees.add(1);
        let mut block = cell.own();
        if state == Returned::Quarantined {
            block.quarantine(Status::Quarantined);
        }
        let host = block.host.as_mut().filter(|side| !side.is_quarantined());
        let over =
            host.and_then(|side| if is_over(side) || !on(Check::PartWaits) { side.take_storage() } else { None });
        if over.is_none() {
            self.state.lock().part_pends(cell.number());
        }
        let sides = block.take_sides();
        // What waited for its last use may be freed by these, and its callbacks called: under no lock.
        drop(block);
        drop(sides);
        drop(over);
    }
}

impl Arena for Pinned {
    fn part_back(&self, part: u64) {
        let (ended, somebody_waits) = {
            let mut state = self.state.lock();
            let ended = state.part_back(part);
            state.returns += 1;
            (ended, state.short > 0)
        };
        self.free_slabs(ended);
        if somebody_waits {
            self.returned.notify_all();
        }
    }

    fn part_lost(&self, part: u64) {
        self.state.lock().part_lost(part);
    }
}
