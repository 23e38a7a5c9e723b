//! The device side of a leased block: there from the start, made on first need, or for one lease only.

use super::Lease;
use crate::config::Placement;
use crate::config::checks::Check;
use crate::error::Result;
use crate::fail;
use crate::fence::{Block, Device, Name, Side, Storage, Timeline, Which};
use crate::sync::Arc;

/// When a block gets a twin in device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Twin {
    /// Never, but for a promotion.
    #[default]
    Never = 0,
    /// With the block.
    Eager = 1,
    /// With the first copy to the device, or the first device address.
    Lazy = 2,
}

impl Twin {
    /// Refuses what makes no sense together.
    pub fn expect_fits(self, placement: Placement) -> Result<()> {
        if self == Twin::Lazy && placement.is_in_place() {
            return fail!(
                InvalidArgument,
                "a twin on first need, and placement {}: kernels use such blocks in place; promote the block instead",
                placement.name()
            );
        }
        Ok(())
    }
}

/// Device memory for a block.
pub(super) fn side(device: &Arc<Device>, name: &Arc<Name>, bytes: usize) -> Result<Side> {
    let storage = Storage::allocate_only(device, Placement::Device, bytes).map_err(|e| e.context(name))?;
    Ok(Side::new(Which::Device, name, storage))
}

impl Lease {
    /// Whether it is to have a twin on first need, and has none yet.
    pub(super) fn lacks_twin(&self, block: &Block) -> bool {
        block.device.is_none() && self.cell.twin == Twin::Lazy
    }

    /// Makes the twin that is made on first need, unless what needs it is refused.
    pub(super) fn need_twin(&self, block: &mut Block, expect: impl FnOnce(&mut Block) -> Result<()>) -> Result<()> {
        if self.lacks_twin(block) {
            expect(block)?;
            block.device = Some(side(self.home.device(), &block.shared_name(), block.bytes())?);
        }
        Ok(())
    }

    /// Gives a block that kernels use in place a copy in device memory: a copy of its bytes is queued on the stream, and its
    /// device address is the copy's until it is demoted or released.
    pub fn promote(&self, stream: &Arc<Timeline>) -> Result<()> {
        let mut block = self.lock()?;
        if !self.cell.placement.is_in_place() || block.device.is_some() {
            return fail!(Unsupported, "{} has device memory, or kernels cannot use it in place", self.title());
        }
        self.expect_movable(&block, "promoting")?;
        block.device = Some(side(self.home.device(), &block.shared_name(), block.bytes())?);
        let all = block.range(0, block.bytes() as u64)?;
        let copied = block.copy(true, all, stream, None);
        let unused = if copied.is_err() && !block.is_quarantined() { block.take_device() } else { None };
        drop(block);
        drop(unused);
        copied
    }

    /// Takes that back: a copy of the device's bytes is queued on the stream, and kernels use the block in place again.
    pub fn demote(&self, stream: &Arc<Timeline>) -> Result<()> {
        let mut block = self.lock()?;
        if !self.is_promoted(&block) {
            return fail!(Unsupported, "{} is not promoted", self.title());
        }
        self.expect_movable(&block, "demoting")?;
        let all = block.range(0, block.bytes() as u64)?;
        block.copy(false, all, stream, None)?;
        let over = block.take_device();
        drop(block);
        drop(over);
        Ok(())
    }

    /// Nobody may know the address that is about to change.
    fn expect_movable(&self, block: &Block, doing: &str) -> Result<()> {
        block.expect_not_held(Check::HoldRelease, doing)?;
        block.expect_unguarded(Check::ReleaseGuard, doing)?;
        if block.is_sealed() {
            self.home.device().counters.refusals.add(1);
            return fail!(
                Unfenced,
                "{doing} {}: its device address was given out and nobody declared a fence since",
                self.title()
            );
        }
        Ok(())
    }

    fn is_promoted(&self, block: &Block) -> bool {
        self.cell.twin == Twin::Never && block.device.is_some()
    }

    /// A promotion ends with its lease. The memory, which is to be dropped under no lock, goes when its last use is over.
    pub(super) fn end_promotion(&self, block: &mut Block) -> Option<Side> {
        if self.is_promoted(block) { block.take_device() } else { None }
    }

    /// Whether the block has device memory for this lease only.
    pub fn is_promoted_now(&self) -> Result<bool> {
        Ok(self.is_promoted(&*self.lock()?))
    }
}
