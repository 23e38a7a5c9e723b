//! What graphs do to a side: bake its address in, and use it with each replay.

use super::{Access, EVERYTHING, Guard, Side};
use crate::config::Placement;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fence::area::Area;
use crate::fence::timeline::{Fence, HostWait, Submission};
use crate::fence::uses::{Range, Role};

impl Side {
    /// Waits until nobody uses the side. What is captured from then on finds no work outside the capture to wait for.
    pub(in crate::fence) fn wait_for_hold(&mut self, wait: &HostWait<'_>) -> Result<()> {
        let doing = "holding for a graph";
        self.storage()?;
        self.expect_unguarded(Check::HoldGuard, doing)?;
        if self.is_sealed() && on(Check::HoldSealed) {
            return Err(self.unfenced(doing));
        }
        self.wait_all_fenced(wait, Check::HoldIdle, doing)?;
        self.settle()
    }

    /// Refuses what a captured copy from this side, or to it, may not do, before anything is captured.
    pub(in crate::fence) fn expect_capture(&mut self, area: Area) -> Result<()> {
        self.settle()?;
        if self.storage()?.memory().placement == Placement::Pageable && on(Check::PageableCapture) {
            return Err(self.refuse(
                Status::Unsupported,
                format!(
                    "the {} is pageable: whether a replay reads it when it runs is the driver's choice; use a pinned or uva side",
                    self.place()
                ),
            ));
        }
        let writers = |guard: &Guard| guard.access == Access::Write && on(Check::CaptureGuard);
        self.refuse_guards(area, writers, "capturing a copy of")
    }

    /// Refuses what a replay that writes `range`, or reads it, may not do, before anything is queued.
    pub(in crate::fence) fn expect_replay(&mut self, write: bool, range: Range, in_place: bool) -> Result<()> {
        self.settle()?;
        self.storage()?;
        // Any write guard: its holder may go on to write what the graph reads. Readers share with kernels, which may be
        // readers as well, but not with a copy that is known to write.
        let blocking = |guard: &Guard| {
            let landed_on = write && !in_place && guard.area.overlaps(range.into());
            (guard.access == Access::Write || landed_on) && on(Check::LaunchGuard)
        };
        self.refuse_guards(EVERYTHING.into(), blocking, "launching a graph on")?;
        if let Some(watch) = self.watch().filter(|_| write) {
            watch.expect_write(range.into());
        }
        Ok(())
    }

    /// Orders a replay behind what conflicts with it on other streams.
    pub(in crate::fence) fn order_replay(
        &mut self,
        submission: &mut Submission<'_>,
        write: bool,
        range: Range,
    ) -> Result<()> {
        self.order_before(submission, write, range.into(), Role::Replay)
    }

    /// Notes a replay that is queued and fenced. [`Side::order_replay`] or [`Side::expect_declaration`] made room.
    pub(in crate::fence) fn add_replay(&mut self, fence: &Fence, write: bool, range: Range) {
        if on(Check::LaunchDeclares) {
            self.add_use(fence.clone(), write, range, Role::Replay);
        }
    }
}
