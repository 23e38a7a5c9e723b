//! Which side of a block is newer, and where.
//!
//! A mark says that a side's bytes were written and the other side does not have them. Bytes without a mark are the same on
//! both sides, as soon as every copy that was accepted has run. A side keeps few marks: above, neighbours become one, which
//! then also covers bytes that nobody wrote. That copies more, never less; and where such bytes are newer on the other side,
//! nobody knows who wins, and a sync is refused.

use super::area::Area;
use super::side::Which;
use super::timeline::{Fence, Proof};
use super::uses::Range;
use crate::config::MARKS_PER_SIDE;
use crate::sync::Arc;
use arrayvec::ArrayVec;

/// Copies under way whose failure would make their source newer again. Of one that finds no room the source stays marked.
const PENDING: usize = 16;
/// Parts that one sync may move each way.
const PARTS: usize = 32;

/// Who wins where both sides are newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nobody: it is a conflict.
    #[default]
    Refuse,
    /// The host side.
    Host,
    /// The device side.
    Device,
    /// Whichever was marked last.
    Newest,
}

/// Bytes of one side that the other does not have.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Which bytes.
    pub area: Area,
    /// The moments of the first and of the last of the writes in it.
    oldest: u64,
    newest: u64,
    /// Whether each of its bytes was written.
    exact: bool,
}

/// What a publish is to move: room for all that the marks of a side can have in common with an area.
pub type Uploads = ArrayVec<Area, { MARKS_PER_SIDE * 16 }>;

/// What a sync is to move.
#[derive(Default)]
pub struct Plan {
    /// From the host side to the device side.
    pub up: ArrayVec<Area, PARTS>,
    /// And back.
    pub down: ArrayVec<Area, PARTS>,
}

/// A copy that was accepted and is not known to have run.
struct Pending {
    fence: Fence,
    /// Of several copies of one stream that are kept as one: the number of the first.
    first: u64,
    source: Which,
    mark: Mark,
}

/// The marks of both sides of a block.
#[derive(Default)]
pub struct Dirty {
    host: Marks,
    device: Marks,
    pending: ArrayVec<Pending, PENDING>,
    moment: u64,
}

#[derive(Default)]
struct Marks(ArrayVec<Mark, MARKS_PER_SIDE>);

/// Marks while they are being changed.
type Scratch = ArrayVec<Mark, { MARKS_PER_SIDE * 9 }>;

impl Dirty {
    fn side(&mut self, which: Which) -> (&mut Marks, &Marks) {
        match which {
            Which::Host => (&mut self.host, &self.device),
            Which::Device => (&mut self.device, &self.host),
        }
    }

    /// The marks of a side.
    pub fn marks(&self, which: Which) -> &[Mark] {
        if which == Which::Host { &self.host.0 } else { &self.device.0 }
    }

    /// Bytes of an area that are marked on a side.
    pub fn bytes(&self, which: Which, area: Area) -> u64 {
        self.marks(which).iter().flat_map(|mark| mark.area.common(area)).map(|part| part.bytes() as u64).sum()
    }

    fn new_mark(&mut self, area: Area, exact: bool) -> Mark {
        self.moment += 1;
        Mark { area, oldest: self.moment, newest: self.moment, exact }
    }

    fn add(&mut self, which: Which, mark: Mark) {
        let (marks, other) = self.side(which);
        marks.add(mark, other);
    }

    /// The side was written by something else than a copy from the other side.
    pub fn written(&mut self, which: Which, area: Area) {
        if area.is_empty() {
            return;
        }
        // Whatever becomes of earlier copies to these bytes is of no interest any more.
        self.trim(area, |copy| copy.source != which);
        let mark = self.new_mark(area, true);
        self.add(which, mark);
    }

    /// Somebody vouches that these bytes are the same on both sides.
    pub fn cleaned(&mut self, which: Which, area: Area) {
        let (marks, other) = self.side(which);
        marks.remove(area, other);
    }

    fn remove(&mut self, area: Area) {
        self.cleaned(Which::Host, area);
        self.cleaned(Which::Device, area);
    }

    /// A copy from this side was queued, up to the fence: it counts as done, until it is known to have failed.
    pub fn copied(&mut self, source: Which, area: Area, fence: &Fence) {
        self.trim(area, |_| true);
        if self.pending.is_full() {
            self.settle(true);
        }
        self.remove(area);
        let mark = self.new_mark(area, true);
        self.pend(source, mark, fence);
    }

    fn pend(&mut self, source: Which, mark: Mark, fence: &Fence) {
        if self.pending.is_full() {
            self.merge_pending();
        }
        let copy = Pending { fence: fence.clone(), first: fence.sequence(), source, mark };
        if self.pending.try_push(copy).is_err() {
            self.add(source, Mark { exact: false, ..mark });
        }
    }

    /// Keeps two copies of one stream as one, which is done when both are, and failed when one did.
    fn merge_pending(&mut self) {
        let mut pairs = (1..self.pending.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        let alike = |&(first, second): &(usize, usize)| {
            let (a, b) = (&self.pending[first], &self.pending[second]);
            a.source == b.source && Arc::ptr_eq(a.fence.timeline(), b.fence.timeline())
        };
        let Some((first, second)) = pairs.find(alike) else { return };
        let other = self.pending.swap_remove(second);
        let kept = &mut self.pending[first];
        kept.mark = kept.mark.merge(other.mark);
        if other.fence.covers(&kept.fence) {
            kept.fence = other.fence;
        }
        kept.first = kept.first.min(other.first);
    }

    /// A copy from this side was queued in part, and what it was to overwrite is torn: the source is newer.
    pub fn torn(&mut self, source: Which, area: Area) {
        self.trim(area, |_| true);
        self.remove(area);
        self.written(source, area);
    }

    /// The device side was moved by a copy that was queued up to the fence: if it fails, the host side is newer.
    pub fn moved(&mut self, area: Area, fence: &Fence) {
        let mark = self.new_mark(area, true);
        self.pend(Which::Host, mark, fence);
    }

    fn trim(&mut self, area: Area, of: impl Fn(&Pending) -> bool) {
        let mut place = 0;
        while place < self.pending.len() {
            let copy = &mut self.pending[place];
            if !of(copy) || !copy.mark.area.overlaps(area) {
                place += 1;
                continue;
            }
            let left = copy.mark.area.without(area);
            if left.len() > 1 + PENDING - self.pending.len() || left.iter().any(|part| part.overlaps(area)) {
                // No room to tell the parts apart: if it fails, nobody knows which of its bytes are newer.
                self.pending[place].mark.exact = false;
                place += 1;
                continue;
            }
            let copy = self.pending.swap_remove(place);
            for area in left {
                self.pending.push(Pending {
                    fence: copy.fence.clone(),
                    first: copy.first,
                    source: copy.source,
                    mark: Mark { area, ..copy.mark },
                });
            }
            // What came into this place, and the parts, are looked at again: the parts do not overlap any more.
        }
    }

    /// Looks what became of copies; with `ask`, asks the driver. The source of one that failed is newer again.
    pub fn settle(&mut self, ask: bool) {
        for place in (0..self.pending.len()).rev() {
            let Pending { fence, first, .. } = &self.pending[place];
            let proof = if ask { Some(fence.query()) } else { fence.look_up() };
            let proof =
                if *first == fence.sequence() { proof } else { proof.and_then(|_| fence.look_up_since(*first)) };
            if matches!(proof, None | Some(Proof::Pending)) {
                continue;
            }
            let copy = self.pending.swap_remove(place);
            if proof == Some(Proof::Failed) {
                self.add(copy.source, copy.mark);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.host.0.clear();
        self.device.0.clear();
        self.pending.clear();
    }

    /// What lies behind the first `bytes` bytes is the same on both sides.
    pub fn cut(&mut self, bytes: usize) {
        let tail = Area::from(Range { start: bytes, end: isize::MAX as usize });
        self.trim(tail, |_| true);
        self.remove(tail);
    }

    /// The block has another shape. Where its rows lie elsewhere, windows of marks are no windows any more.
    pub fn reshape(&mut self, rows_stay: bool) {
        if rows_stay {
            return;
        }
        let marks = self.host.0.iter_mut().chain(&mut self.device.0);
        for mark in marks.chain(self.pending.iter_mut().map(|copy| &mut copy.mark)) {
            mark.exact &= !mark.area.is_window();
            mark.area = mark.area.hull().into();
        }
    }

    /// What of `area` is newer on the host side and is to be shown to the device. `Err`: bytes of which nobody knows that the
    /// host wrote them last: those that the device wrote later, and those between writes that are kept as one.
    pub fn uploads(&self, area: Area) -> Result<Uploads, Area> {
        let mut parts = Uploads::new();
        for host in &self.host.0 {
            for device in self.device.0.iter().filter(|device| !host.exact || host.oldest <= device.newest) {
                let mut both = host.area.common(device.area).into_iter().flat_map(|both| both.common(area));
                if let Some(both) = both.next() {
                    return Err(both);
                }
            }
            for part in host.area.common(area) {
                parts.try_push(part).map_err(|_| host.area)?;
            }
        }
        Ok(parts)
    }

    /// What of `area` has to move to make both sides the same. `Err`: bytes that are newer on both sides, of which the policy
    /// does not say who wins.
    pub fn plan(&self, area: Area, policy: Policy) -> Result<Plan, Area> {
        let mut plan = Plan::default();
        for (marks, parts) in [(&self.host, &mut plan.up), (&self.device, &mut plan.down)] {
            for mark in &marks.0 {
                for part in mark.area.common(area) {
                    parts.try_push(part).map_err(|_| mark.area)?;
                }
            }
        }
        for host in &self.host.0 {
            for device in self.device.0.iter().filter(|device| device.area.overlaps(host.area)) {
                for both in host.area.common(device.area).into_iter().flat_map(|both| both.common(area)) {
                    let host_wins = match policy {
                        _ if !host.exact || !device.exact => return Err(both),
                        Policy::Refuse => return Err(both),
                        Policy::Host => true,
                        Policy::Device => false,
                        Policy::Newest if host.oldest > device.newest => true,
                        Policy::Newest if device.oldest > host.newest => false,
                        Policy::Newest => return Err(both),
                    };
                    let loser = if host_wins { &mut plan.down } else { &mut plan.up };
                    *loser = without(loser, both)?;
                }
            }
        }
        Ok(plan)
    }
}

fn without(parts: &[Area], hole: Area) -> Result<ArrayVec<Area, PARTS>, Area> {
    let mut out = ArrayVec::new();
    for part in parts.iter().flat_map(|part| part.without(hole)) {
        out.try_push(part).map_err(|_| hole)?;
    }
    Ok(out)
}

impl Marks {
    fn add(&mut self, mark: Mark, other: &Marks) {
        // Written again: what is as it was stays in its place.
        if let Some(same) = self.0.iter_mut().find(|old| old.area == mark.area) {
            *same = mark;
            return;
        }
        if !self.0.iter().any(|old| old.area.overlaps(mark.area)) {
            if self.0.try_push(mark).is_err() {
                let mut all: ArrayVec<Mark, { MARKS_PER_SIDE + 1 }> = self.0.iter().copied().chain([mark]).collect();
                merge_two(&mut all, other);
                self.0 = all.into_iter().collect();
            }
            return;
        }
        let mut all: Scratch = self.without(mark.area);
        // The scratch has room for one more than can be left of all marks.
        let _ = all.try_push(mark);
        self.set(all, other);
    }

    fn remove(&mut self, area: Area, other: &Marks) {
        if !self.0.iter().any(|mark| mark.area.overlaps(area)) {
            return;
        }
        let all = self.without(area);
        self.set(all, other);
    }

    fn set(&mut self, mut all: Scratch, other: &Marks) {
        while all.len() > MARKS_PER_SIDE {
            merge_two(&mut all, other);
        }
        self.0.clear();
        self.0.extend(all);
    }

    fn without(&self, area: Area) -> Scratch {
        let left = |mark: &Mark| {
            let mark = *mark;
            mark.area.without(area).into_iter().map(move |area| Mark { area, ..mark })
        };
        self.0.iter().flat_map(left).take(MARKS_PER_SIDE * 9 - 1).collect()
    }
}

/// Makes one of the two marks that have the fewest bytes between them; if it can be, none that are newer on the other side.
fn merge_two<const N: usize>(all: &mut ArrayVec<Mark, N>, other: &Marks) {
    let mut best = ((true, usize::MAX), 0, 1);
    'search: for second in 1..all.len() {
        for first in 0..second {
            let (a, b) = (all[first].area, all[second].area);
            let around = a.around(b);
            let added = around.bytes().saturating_sub(a.bytes() + b.bytes());
            if (false, added) >= best.0 {
                continue;
            }
            let clashes = added > 0 && other.0.iter().any(|mark| mark.area.overlaps(around));
            if (clashes, added) < best.0 {
                best = ((clashes, added), first, second);
            }
            if best.0 == (false, 0) {
                break 'search;
            }
        }
    }
    let (_, first, second) = best;
    let mut merged = all[first].merge(all.swap_remove(second));
    all.swap_remove(first);
    // What the new one has swallowed is a part of it.
    while let Some(place) = all.iter().position(|mark| mark.area.overlaps(merged.area)) {
        merged = merged.merge(all.swap_remove(place));
        merged.exact = false;
    }
    all.push(merged);
}

impl Mark {
    fn merge(self, other: Mark) -> Mark {
        let area = self.area.around(other.area);
        Mark {
            area,
            oldest: self.oldest.min(other.oldest),
            newest: self.newest.max(other.newest),
            exact: self.exact && other.exact && area.bytes() == self.area.bytes() + other.area.bytes(),
        }
    }
}
