//! A block that belongs to no pool: given back, it is gone.

use super::{BlockKind, Cell, Home, Lease, Returned, Twin, expect_placement};
use crate::config::Placement;
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Device, Name};
use crate::stats::WaitCounters;
use crate::sync::Arc;

/// What a block of its own is to be.
pub struct AloneOptions {
    /// Pinned, uva or managed.
    pub placement: Placement,
    /// Its size.
    pub bytes: u64,
    /// When it gets a device twin.
    pub twin: Twin,
    /// Whether copies between its sides are timed.
    pub timed: bool,
    /// The label, or empty.
    pub label: String,
}

/// The home of one block.
struct Alone {
    name: Arc<Name>,
    device: Arc<Device>,
    fence_waits: WaitCounters,
}

impl Lease {
    /// A block of its own, zeroed: its memory is freed once it is released and its last use is over.
    pub fn create(device: &Arc<Device>, options: AloneOptions) -> Result<Lease> {
        let AloneOptions { placement, bytes, twin, timed, label } = options;
        expect_placement(placement, "a block's")?;
        twin.expect_fits(placement)?;
        if bytes == 0 || bytes > isize::MAX as u64 {
            return fail!(InvalidArgument, "bytes is {bytes}: at least 1, and within the address space");
        }
        let name = Arc::new(Name::new("block", &label));
        device.maintain();
        let cell = Cell::allocate(device, &name, 0, BlockKind { placement, bytes: bytes as usize, twin, timed })?;
        let home = Arc::new(Alone { name, device: device.clone(), fence_waits: WaitCounters::default() });
        Ok(cell.lease(home))
    }
}

impl Home for Alone {
    fn name(&self) -> &Name {
        &self.name
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn title(&self, _: &Cell) -> String {
        self.name.to_string()
    }

    fn fence_waits(&self) -> &WaitCounters {
        &self.fence_waits
    }

    fn take_back(&self, cell: &Arc<Cell>, state: Returned) {
        if state == Returned::Quarantined {
            cell.own().quarantine(Status::Quarantined);
        }
        cell.retire();
    }
}
