//! What graphs do to a block: hold it where it is, capture copies of it, and use it with each replay.

use super::Block;
use crate::config::MARKS_PER_SIDE;
use crate::config::checks::{Check, on};
use crate::error::{Error, Result};
use crate::fail;
use crate::fence::area::Area;
use crate::fence::side::{Side, Which};
use crate::fence::timeline::{Fence, HostWait, Submission, Timeline};
use crate::fence::transfer;
use crate::fence::uses::Range;
use crate::sync::{Arc, AtomicU32, Ordering};
use arrayvec::ArrayVec;

/// The graph holds that a block is in. Counted outside the block's lock: a hold ends whoever is inside.
#[derive(Default)]
pub(super) struct Holds(Option<Arc<Counts>>);

#[derive(Default)]
struct Counts {
    holds: AtomicU32,
    /// Those of them whose graph anybody may launch.
    loose: AtomicU32,
}

impl Holds {
    fn count(&self) -> u32 {
        self.0.as_ref().map_or(0, |counts| counts.holds.load(Ordering::SeqCst))
    }

    fn is_any_loose(&self) -> bool {
        self.0.as_ref().is_some_and(|counts| counts.loose.load(Ordering::SeqCst) > 0)
    }

    fn add(&mut self) -> HoldMark {
        let counts = self.0.get_or_insert_default().clone();
        counts.holds.fetch_add(1, Ordering::SeqCst);
        HoldMark { counts, read: None, uploads: ArrayVec::new(), written: None, loose: false }
    }
}

/// One hold on a block, until it is dropped, and what its graph does with the block.
pub struct HoldMark {
    counts: Arc<Counts>,
    /// The bytes of the host side that the graph's own copies read, and those between them.
    read: Option<Range>,
    /// The bytes that each replay sends to the device side: some of them, where there are too many pieces.
    uploads: ArrayVec<Area, MARKS_PER_SIDE>,
    /// The bytes of the host side that they write, and those between them.
    written: Option<Range>,
    /// Copies were captured, and nobody has said who launches them.
    loose: bool,
}

impl HoldMark {
    fn note(&mut self, up: bool, area: Area) {
        let noted = if up { &mut self.read } else { &mut self.written };
        let range = area.hull();
        *noted = Some(noted.map_or(range, |before| before.hull(range)));
        if up {
            let neighbour = |old: &mut Area| old.joined(area).map(|joined| *old = joined).is_some();
            if !self.uploads.iter_mut().any(neighbour) {
                // One that finds no room is as if the graph did not send it.
                let _ = self.uploads.try_push(area);
            }
        }
    }

    fn set_loose(&mut self, loose: bool) {
        match (self.loose, loose) {
            (false, true) => self.counts.loose.fetch_add(1, Ordering::SeqCst),
            (true, false) => self.counts.loose.fetch_sub(1, Ordering::SeqCst),
            _ => return,
        };
        self.loose = loose;
    }
}

impl Drop for HoldMark {
    fn drop(&mut self) {
        self.set_loose(false);
        self.counts.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Block {
    /// How many graph holds it is in.
    pub fn holds(&self) -> u32 {
        self.holds.count()
    }

    /// Has a graph hold the block where it is. With `wait`, waits on the host until nobody uses it.
    pub fn hold(&mut self, wait: Option<&HostWait<'_>>) -> Result<HoldMark> {
        if let Some(wait) = wait {
            self.sides_mut().try_for_each(|side| side.wait_for_hold(wait))?;
        }
        Ok(self.holds.add())
    }

    /// Refuses while a graph holds the block.
    pub fn expect_not_held(&self, check: Check, doing: &str) -> Result<()> {
        let count = self.holds();
        if count == 0 || !on(check) {
            return Ok(());
        }
        if let Some(storage) = self.sides().find_map(|side| side.storage().ok()) {
            storage.device().counters.refusals.add(1);
        }
        fail!(
            GraphHeld,
            "{doing} {}: its address is in a graph, or bound to a step (holds: {count}); destroy the graph, then its hold, or retire the step, first",
            self.name
        )
    }

    /// Appends a copy of `area` to the graph that the stream captures: from the host side to the device side (`up`), or
    /// back. Each replay reads its source anew. Nothing is recorded, and both sides are sealed: who launches the graph
    /// is not known yet.
    pub fn capture(
        &mut self,
        up: bool,
        area: impl Into<Area>,
        timeline: &Arc<Timeline>,
        mark: Option<&mut HoldMark>,
    ) -> Result<()> {
        let (area, all) = (area.into(), self.all());
        let (Some(host), Some(device)) = (&mut self.host, &mut self.device) else {
            return fail!(Unsupported, "{} has one side only: there is nothing to copy to", self.name);
        };
        timeline.expect_capturing()?;
        host.expect_capture(area)?;
        device.expect_capture(area)?;
        if area.is_empty() {
            return Ok(());
        }
        let (source, target) = if up { (&*host, &*device) } else { (&*device, &*host) };
        let from = transfer::copy_address(source.storage()?.memory());
        let to = transfer::copy_address(target.storage()?.memory());
        let mut is_captured = false;
        // SAFETY: the area lies inside both sides, whose memory stays while the hold does: its owner has promised not to
        // launch the graph after that.
        let captured = unsafe { timeline.submission().capture_copy(area, to, from, &mut is_captured) };
        if captured.is_err() && !is_captured {
            return captured;
        }
        // Also where only some of its rows, or pieces, are in the graph.
        if let Some(mark) = mark {
            mark.note(up, area);
            mark.set_loose(true);
        }
        if on(Check::CapturedSeals) {
            host.seal(all);
            device.seal(all);
        }
        captured
    }

    /// Every launch of the hold's graph is known. Lifts the seals, but for those of other graphs that anybody may launch.
    pub fn launches_are_known(&mut self, mark: &mut HoldMark) {
        mark.set_loose(false);
        if !self.holds.is_any_loose() {
            self.unseal();
        }
    }

    /// Every use that one replay makes of the sides: of what kernels can reach all of it, also where the block is smaller now
    /// than when its address was captured; of another host side what the graph's copies touch. `each` gets the side, whether it
    /// is written, where, and whether kernels use it in place.
    fn replay_uses(
        &mut self,
        mark: &HoldMark,
        mut each: impl FnMut(&mut Side, bool, Range, bool) -> Result<()>,
    ) -> Result<()> {
        let in_place = self.is_in_place() || self.device.is_none();
        if let Some(host) = &mut self.host {
            if in_place {
                each(host, true, host.all().hull(), true)?;
            }
            if let Some(range) = mark.read.filter(|_| !in_place) {
                each(host, false, range, false)?;
            }
            if let Some(range) = mark.written {
                each(host, true, range, false)?;
            }
        }
        match &mut self.device {
            Some(device) => each(device, true, device.all().hull(), true),
            None => Ok(()),
        }
    }

    /// Refuses a replay that may not be, before anything is queued.
    pub fn expect_replay(&mut self, mark: &HoldMark) -> Result<()> {
        // Also a host side that the graph does not touch: who fills it means to send it first.
        if let Some(host) = &mut self.host {
            host.expect_replay(false, Range { start: 0, end: 0 }, false)?;
        }
        let all = self.all();
        self.expect_same(all, Which::Host, &mark.uploads, "launching a graph on", "publish it first")?;
        self.replay_uses(mark, |side, write, range, in_place| side.expect_replay(write, range, in_place))
    }

    /// Orders a replay behind what conflicts with it on other streams.
    pub fn order_replay(&mut self, submission: &mut Submission<'_>, mark: &HoldMark) -> Result<()> {
        self.replay_uses(mark, |side, write, range, _| side.order_replay(submission, write, range))
    }

    /// Makes room to note a replay that is out there already.
    pub fn expect_replay_noted(&mut self, timeline: &Arc<Timeline>, mark: &HoldMark) -> Result<()> {
        self.replay_uses(mark, |side, _, _, _| side.expect_declaration(std::slice::from_ref(timeline)))
    }

    /// A replay is queued up to this fence.
    pub fn add_replay(&mut self, fence: &Fence, mark: &HoldMark) {
        if mark.written.is_some() {
            self.copied_back();
        }
        // It fails only where `each` does.
        let _ = self.replay_uses(mark, |side, write, range, _| {
            side.add_replay(fence, write, range);
            Ok(())
        });
        // What it has sent the device has. What it wrote there, only its kernels know.
        let all = self.all();
        if let Some(dirty) = self.marks() {
            mark.uploads.iter().for_each(|area| dirty.cleaned(Which::Host, *area));
        }
        self.written(Which::Device, all);
    }

    /// A replay is queued and could not be fenced.
    pub fn replay_unfenced(&mut self, error: Error, mark: &HoldMark) -> Error {
        let mut error = Some(error);
        let _ = self.replay_uses(mark, |side, _, _, _| {
            error = error.take().map(|error| side.record_failed(error));
            Ok(())
        });
        error.unwrap_or_else(|| Error::new(crate::error::Status::Internal, "a replay without a fence"))
    }
}
