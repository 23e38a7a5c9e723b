//! What the host wrote, shown to kernels: in place where they see it, else by a copy.
//!
//! On a device that does not see what the host writes to mapped memory (a probe tells), a block that kernels were to use in
//! place *stands in* for itself: it is page-locked memory with a twin on the device. Its address is the twin's, and it is given
//! out, and the host side read, only when both hold the same there.

use super::Block;
use crate::config::checks::Check;
use crate::error::Result;
use crate::fail;
use crate::fence::area::Area;
use crate::fence::side::{Access, Which};
use crate::fence::timeline::Timeline;
use crate::fence::transfer::Moves;
use crate::sync::Arc;

impl Block {
    /// A block of two sides in the place of one that kernels use in place.
    #[must_use]
    pub fn standing_in(mut self) -> Block {
        self.stands_in = true;
        self
    }

    /// Whether it is one.
    pub fn is_standing_in(&self) -> bool {
        self.stands_in
    }

    /// Has work that is queued on the stream from now on see what the host wrote in `area`, and gives its device address. Nothing
    /// is copied where kernels use the host side in place, or the device side lacks nothing; what other streams still send
    /// there is waited for on the device. Of bytes written on both sides the host's are sent where they are the newer ones;
    /// otherwise it is a conflict, and nothing is done. With `named` the stream is
    /// fenced by the library when it must; otherwise the block is sealed as by [`Block::address_of`].
    pub fn publish(&mut self, area: Area, timeline: &Arc<Timeline>, named: bool, leased: bool) -> Result<u64> {
        self.settle()?;
        for side in self.sides() {
            timeline.expect_device(side.storage()?.device())?;
        }
        let Some(host) = &self.host else {
            return fail!(Unsupported, "{} has no host side to publish", self.name);
        };
        host.expect_unwritten(area, Check::SyncGuard, "publishing")?;
        if self.device.is_some() {
            timeline.expect_not_capturing(Check::CaptureCopies)?;
        }
        if let Some(dirty) = self.marks() {
            // A copy that has failed by now is to be sent again.
            dirty.settle(true);
            let up = match dirty.uploads(area) {
                Ok(up) => up,
                Err(both) => {
                    self.flows.conflicts += 1;
                    let hull = both.hull();
                    return fail!(
                        Conflict,
                        "publishing {}: bytes {}..{} were written on the device, too, and not before the host wrote them; sync before the next write, or copy one way with to_device or to_host",
                        self.name,
                        hull.start,
                        hull.end
                    );
                }
            };
            if !up.is_empty() {
                self.exchange(Moves { up: &up, down: &[] }, timeline)?;
            }
        }
        self.give_address(area, std::slice::from_ref(timeline), named, leased)
    }

    /// Refuses what would be right if kernels used the host side in place, and is not where another one stands in.
    /// What lies inside one of the areas in `but` does not count.
    pub(super) fn expect_same(
        &mut self,
        area: Area,
        newer: Which,
        but: &[Area],
        doing: &str,
        cure: &str,
    ) -> Result<()> {
        if !self.stands_in {
            return Ok(());
        }
        let mut differs = false;
        self.newer(newer, area, |piece| differs |= !but.iter().any(|but| but.covers(piece)));
        if differs {
            let (has, lacks) = if newer == Which::Host { ("host", "device") } else { ("device", "host") };
            return fail!(
                Conflict,
                "{doing} {}: its uva memory is a pinned and a device side here, since the device does not see later host writes, and the {has} side has bytes that the {lacks} side lacks: {cure}",
                self.name
            );
        }
        Ok(())
    }

    /// Refuses a CPU access that would be refused, or would see other bytes, if kernels used the host side in place.
    pub(super) fn expect_same_for(&mut self, access: Access, area: Area) -> Result<()> {
        if !self.stands_in {
            return Ok(());
        }
        let (check, doing) = match access {
            Access::Read => (Check::ReadSealed, "reading"),
            Access::Write => (Check::WriteSealed, "writing"),
        };
        if let Some(device) = &self.device {
            device.expect_unsealed(area, check, doing)?;
        }
        if access == Access::Write {
            return Ok(());
        }
        if self.device.as_ref().is_some_and(|device| device.is_unseen(area)) {
            return fail!(
                Conflict,
                "reading {}: its uva memory is a pinned and a device side here, since the device does not see later host writes, and a stream that its address was given to may have written the device side: declare that with used_on, then sync",
                self.name
            );
        }
        self.expect_same(area, Which::Device, &[], "reading", "sync first")
    }
}
