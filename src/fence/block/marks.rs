//! Marks and figures of a block: where a side is newer, and what moved.

use super::Block;
use crate::error::Result;
use crate::fence::area::Area;
use crate::fence::device::Device;
use crate::fence::dirty::Dirty;
use crate::fence::flow::{Flow, Flows, Timer};
use crate::fence::side::Which;

impl Block {
    /// The marks, while there are two sides. A device side that came later has nothing of what the host side holds.
    pub(super) fn marks(&mut self) -> Option<&mut Dirty> {
        if self.host.is_none() || self.device.is_none() {
            self.dirty = None;
            return None;
        }
        let all = self.all();
        Some(self.dirty.get_or_insert_with(|| {
            let mut dirty = Box::<Dirty>::default();
            dirty.written(Which::Host, all);
            dirty
        }))
    }

    /// A side was written, by something else than a copy from the other side.
    pub fn written(&mut self, which: Which, area: Area) {
        if let Some(dirty) = self.marks() {
            dirty.written(which, area);
        }
    }

    /// Somebody vouches that the area is the same on both sides, as far as this side is concerned.
    pub fn cleaned(&mut self, which: Which, area: Area) {
        if let Some(dirty) = self.marks() {
            dirty.settle(true);
            dirty.cleaned(which, area);
        }
    }

    /// Nothing counts as newer anywhere from now on.
    pub fn forget_marks(&mut self) {
        if let Some(dirty) = self.marks() {
            dirty.clear();
        }
    }

    /// Calls `each` with what of `area` is newer on a side. Copies that have failed by now are asked for first.
    pub fn newer(&mut self, which: Which, area: Area, mut each: impl FnMut(Area)) {
        let Some(dirty) = self.marks() else { return };
        dirty.settle(true);
        for mark in dirty.marks(which) {
            mark.area.common(area).into_iter().for_each(&mut each);
        }
    }

    /// Bytes that are newer on a side.
    pub fn newer_bytes(&self, which: Which) -> u64 {
        self.dirty.as_ref().map_or(0, |dirty| dirty.bytes(which, self.all()))
    }

    /// From now on copies between the sides are timed.
    pub fn take_times(&mut self, device: &Device) -> Result<()> {
        if self.marks().is_some() {
            self.timer = Some(Box::new(Timer::new(device)?));
            for flow in [&mut self.flows.up, &mut self.flows.down] {
                flow.ns = Some(0);
            }
        }
        Ok(())
    }

    /// What moved so far.
    pub fn flows(&mut self) -> Flows {
        if let Some(timer) = &mut self.timer {
            timer.collect(&mut self.flows);
        }
        self.flows
    }

    /// What moved so far, as far as it is known without asking the driver.
    pub fn known_flows(&self) -> Flows {
        self.flows
    }

    /// Forgets marks and figures: both sides hold the same, or will.
    pub fn forget_figures(&mut self) {
        let ns = self.timer.as_ref().map(|_| 0);
        let flow = Flow { ns, ..Flow::default() };
        self.flows = Flows { up: flow, down: flow, ..Flows::default() };
    }
}
