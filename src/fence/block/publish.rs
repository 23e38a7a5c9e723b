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
use arrayvec::ArrayVec;

/// Pieces of what is newer that one copy takes each.
const PIECES: usize = 16;

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
    /// is copied where kernels use the host side in place, or the device side lacks nothing. With `named` the stream is
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
            let mut newer = ArrayVec::<Area, PIECES>::new();
            let mut all = true;
            self.newer(Which::Host, area, |piece| all &= newer.try_push(piece).is_ok());
            let up = if all { &newer[..] } else { &[area] };
            if !up.is_empty() {
                self.exchange(Moves { up, down: &[] }, timeline)?;
            }
        }
        let streams = std::slice::from_ref(timeline);
        self.address_of(area, if named { streams } else { &[] }, leased)
    }

    /// Refuses what would be right if kernels used the host side in place, and is not where another one stands in.
    pub(super) fn expect_same(&mut self, area: Area, newer: Which, doing: &str, cure: &str) -> Result<()> {
        if !self.stands_in {
            return Ok(());
        }
        let mut differs = false;
        self.newer(newer, area, |_| differs = true);
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

    pub(super) fn expect_same_for(&mut self, access: Access, area: Area) -> Result<()> {
        match access {
            Access::Read => self.expect_same(area, Which::Device, "reading", "sync first"),
            Access::Write => Ok(()),
        }
    }
}
