//! Copies between the sides of a block, between it and the caller, and fills.

use super::Block;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::area::Area;
use crate::fence::dirty::Policy;
use crate::fence::side::{Access, Which};
use crate::fence::timeline::{Fence, HostWait, Proof, Timeline};
use crate::fence::transfer::{self, Moves, Outcome};
use crate::ops;
use crate::sync::Arc;

impl Block {
    /// Copies the caller's bytes, one right behind the other, to `area`, as one write access.
    ///
    /// # Safety
    /// `source` can be read for the area's bytes.
    pub unsafe fn copy_in(&mut self, area: impl Into<Area>, source: *const u8, wait: &HostWait<'_>) -> Result<()> {
        let area = area.into();
        self.expect_apart(area, "source", source)?;
        let (target, token) = self.begin(Access::Write, area, wait)?;
        for row in 0..area.rows() {
            // SAFETY: the caller's promise for the source, which is apart; the guard for the target.
            unsafe { ops::copy(target.add(row * area.pitch()), source.add(row * area.width()), area.width()) };
        }
        self.end(Access::Write, token)
    }

    /// Copies `area` to the caller's memory, one row right behind the other, as one read access.
    ///
    /// # Safety
    /// `target` can be written for the area's bytes.
    pub unsafe fn copy_out(&mut self, area: impl Into<Area>, target: *mut u8, wait: &HostWait<'_>) -> Result<()> {
        let area = area.into();
        self.expect_apart(area, "destination", target)?;
        let (source, token) = self.begin(Access::Read, area, wait)?;
        for row in 0..area.rows() {
            // SAFETY: the caller's promise for the target, which is apart; the guard for the source.
            unsafe { ops::copy(target.add(row * area.width()), source.add(row * area.pitch()), area.width()) };
        }
        self.end(Access::Read, token)
    }

    /// Where there is no host side the access is refused anyway.
    fn expect_apart(&self, area: Area, name: &'static str, of_caller: *const u8) -> Result<()> {
        let Ok(memory) = self.memory(Which::Host) else { return Ok(()) };
        let hull = area.hull();
        ops::expect_apart(memory.host.wrapping_add(hull.start), hull.end - hull.start, name, of_caller, area.bytes())
    }

    /// Queues a copy of `area` from the host side to the device side (`up`), or back. What is copied is the same on both
    /// sides from now on, unless the copy fails. With `wait`, returns when the bytes have landed; a wait that ends early
    /// leaves the copy queued, with its uses.
    pub fn copy(
        &mut self,
        up: bool,
        area: impl Into<Area>,
        timeline: &Arc<Timeline>,
        wait: Option<&HostWait<'_>>,
    ) -> Result<()> {
        self.settle()?;
        let area = area.into();
        let (Some(host), Some(_)) = (&self.host, &self.device) else {
            return fail!(Unsupported, "{} has one side only: there is nothing to copy to", self.name);
        };
        if area.is_empty() {
            return timeline.expect_device(host.storage()?.device());
        }
        let areas = [area];
        let moves = if up { Moves { up: &areas, down: &[] } } else { Moves { up: &[], down: &areas } };
        let fence = self.exchange(moves, timeline)?;
        wait.map_or(Ok(()), |wait| self.await_copy(&fence, wait))
    }

    /// Refuses a copy of `area` to a device side that is not there yet, where its host side forbids it.
    pub fn expect_upload(&mut self, area: impl Into<Area>, timeline: &Arc<Timeline>) -> Result<()> {
        self.host_mut()?.expect_copy(timeline, false, area.into())?;
        timeline.expect_not_capturing(Check::CaptureCopies)
    }

    /// Makes both sides the same in `area`: moves what is newer on one side to the other, all of it up to one fence. Where
    /// both are newer the policy decides, or it is a conflict, and nothing is done.
    pub fn sync(
        &mut self,
        area: Area,
        policy: Policy,
        timeline: &Arc<Timeline>,
        wait: Option<&HostWait<'_>>,
    ) -> Result<()> {
        self.settle()?;
        for side in self.sides() {
            timeline.expect_device(side.storage()?.device())?;
        }
        timeline.expect_not_capturing(Check::CaptureCopies)?;
        if let (Some(host), Some(_)) = (&self.host, &self.device) {
            host.expect_unwritten(area, Check::SyncGuard, "syncing")?;
        }
        let Some(dirty) = self.marks() else { return Ok(()) };
        // A copy that has failed by now is to be sent again.
        dirty.settle(true);
        let plan = match dirty.plan(area, policy) {
            Ok(plan) => plan,
            Err(both) => {
                self.flows.conflicts += 1;
                let hull = both.hull();
                return fail!(
                    Conflict,
                    "syncing {}: bytes {}..{} were written on both sides since they were the same; copy one way with to_device or to_host, or name who wins",
                    self.name,
                    hull.start,
                    hull.end
                );
            }
        };
        if plan.up.is_empty() && plan.down.is_empty() {
            return Ok(());
        }
        let fence = self.exchange(Moves { up: &plan.up, down: &plan.down }, timeline)?;
        self.flows.syncs += 1;
        wait.map_or(Ok(()), |wait| self.await_copy(&fence, wait))
    }

    /// Queues moves, and notes them: uses, marks, figures.
    pub(super) fn exchange(&mut self, moves: Moves<'_>, timeline: &Arc<Timeline>) -> Result<Fence> {
        if let Some(timer) = &mut self.timer {
            timer.collect(&mut self.flows);
        }
        if !moves.down.is_empty() {
            self.copied_back();
        }
        let (Some(host), Some(device)) = (&mut self.host, &mut self.device) else {
            return fail!(Unsupported, "{} has one side only: there is nothing to copy to", self.name);
        };
        let outcome = transfer::exchange(host, device, moves, timeline, self.timer.as_deref_mut());
        if let Outcome::Queued(_) = outcome {
            // A copy back is behind all that was queued on the streams that may write there.
            moves.down.iter().for_each(|area| device.note_seen(None, *area));
        }
        for (areas, source) in [(moves.up, Which::Host), (moves.down, Which::Device)] {
            for area in areas {
                match (&outcome, self.marks()) {
                    (Outcome::Queued(fence), Some(dirty)) => dirty.copied(source, *area, fence),
                    (Outcome::Torn(..), Some(dirty)) => dirty.torn(source, *area),
                    _ => {}
                }
                if let Outcome::Queued(_) = outcome {
                    let flow = self.flows.way(source == Which::Host);
                    flow.copies += 1;
                    flow.bytes += area.bytes() as u64;
                }
            }
        }
        outcome.into_result()
    }

    /// Waits for a copy, or a sync, of this block.
    fn await_copy(&mut self, fence: &Fence, wait: &HostWait<'_>) -> Result<()> {
        if !on(Check::BlockingCopy) {
            return Ok(());
        }
        let proof =
            fence.wait(wait).map_err(|e| e.context(format_args!("the copy stays queued, with {}", self.name)))?;
        match proof {
            Proof::Failed => {
                self.sides_mut().for_each(|side| side.failure_told(fence));
                if let Some(dirty) = self.marks() {
                    dirty.settle(false);
                }
                let failed = fail!(CopyFailed, "the copy of {} failed when it ran ({fence}): send it again", self.name);
                self.count_failure(failed)
            }
            Proof::Lost => {
                self.quarantine(Status::DeviceLost);
                fail!(DeviceLost, "the device was lost before the copy of {} was proven done", self.name)
            }
            _ => Ok(()),
        }
    }

    /// Fills an area with elements: of the host side as one write access, of the device side in the stream's order. What is refused
    /// leaves both as they were. Filled on both sides, it is the same on both.
    pub fn fill(
        &mut self,
        area: Area,
        element: &[u8],
        host: Option<&HostWait<'_>>,
        device: Option<&Arc<Timeline>>,
    ) -> Result<()> {
        // The host's guard first, since it may wait; its bytes last, since nothing else can be refused then.
        let guard = host.map(|wait| self.begin(Access::Write, area, wait)).transpose()?;
        let queued = match device {
            Some(timeline) => self.fill_device(area, element, timeline, guard.is_some()),
            None => Ok(()),
        };
        let Some((target, token)) = guard else { return queued };
        if queued.is_ok() {
            for row in 0..area.rows() {
                // SAFETY: the guard makes every row ours to write until it ends.
                let bytes = unsafe { std::slice::from_raw_parts_mut(target.add(row * area.pitch()), area.width()) };
                ops::fill(bytes, element);
            }
        }
        self.host_mut()?.end(Access::Write, token)?;
        if queued.is_ok() && device.is_none() {
            self.written(Which::Host, area);
        }
        queued
    }

    /// The device's part; `both` if the host side gets the same.
    fn fill_device(&mut self, area: Area, element: &[u8], timeline: &Arc<Timeline>, both: bool) -> Result<()> {
        self.settle()?;
        let side = self.device_mut()?;
        let outcome = transfer::fill(side, area, element.len(), ops::element_bits(element), timeline);
        match (&outcome, self.marks()) {
            (Outcome::Queued(fence), Some(dirty)) if both => dirty.copied(Which::Host, area, fence),
            (Outcome::Torn(..), Some(dirty)) if both => dirty.torn(Which::Host, area),
            (Outcome::Queued(_) | Outcome::Torn(..), Some(dirty)) => dirty.written(Which::Device, area),
            _ => {}
        }
        outcome.into_result()?;
        self.flows.fills += 1;
        Ok(())
    }
}
