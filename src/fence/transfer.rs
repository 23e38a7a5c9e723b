//! Copies and fills on a stream, ordered behind what conflicts with them, fenced, and remembered by both sides.

use super::area::Area;
use super::flow::Timer;
use super::side::Side;
use super::timeline::{Fence, Submission, Timeline};
use super::uses::{Range, Role};
use crate::backend::{RawMemory, RowCopy};
use crate::config::Placement;
use crate::config::checks::Check;
use crate::error::{Error, Result};
use crate::sync::Arc;

/// One contiguous part of a copy, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the source.
    pub source: usize,
    /// Offset in the target.
    pub target: usize,
    /// Length.
    pub bytes: usize,
}

/// What became of work that was to be queued.
pub enum Outcome {
    /// All of it is queued, up to this fence.
    Queued(Fence),
    /// Nothing is queued, and nothing changed.
    Refused(Error),
    /// A part is queued, up to this fence: the target is torn.
    Torn(Error, Fence),
    /// A part is queued with no fence behind it: both sides are quarantined.
    Unfenced(Error),
}

impl Outcome {
    /// The fence, if all is queued.
    pub fn into_result(self) -> Result<Fence> {
        match self {
            Outcome::Queued(fence) => Ok(fence),
            Outcome::Refused(error) | Outcome::Torn(error, _) | Outcome::Unfenced(error) => Err(error),
        }
    }
}

fn hull(pieces: &[Piece], start: impl Fn(&Piece) -> usize) -> Range {
    pieces
        .iter()
        .map(|p| Range { start: start(p), end: start(p) + p.bytes })
        .reduce(Range::hull)
        .unwrap_or(Range { start: 0, end: 0 })
}

/// The address a copy uses: the CPU's for host memory of any kind.
pub(super) fn copy_address(memory: RawMemory) -> u64 {
    if memory.placement == Placement::Device { memory.device } else { memory.host as u64 }
}

/// Copies pieces of `source` to `target` on the stream, with one fence behind them. Pieces lie inside their sides.
/// Waits on the host only for a download that still writes a pageable source.
pub fn transfer(
    source: &mut Side,
    target: &mut Side,
    pieces: &[Piece],
    timeline: &Arc<Timeline>,
    role: Role,
) -> Outcome {
    let reads = Area::from(hull(pieces, |p| p.source));
    let writes = Area::from(hull(pieces, |p| p.target));
    let mut submission = timeline.submission();
    let queued = (|| {
        source.expect_copy(timeline, false, reads)?;
        target.expect_copy(timeline, true, writes)?;
        timeline.expect_not_capturing(Check::CaptureCopies)?;
        source.wait_before_staging(reads)?;
        source.order_before(&mut submission, false, reads, role)?;
        target.order_before(&mut submission, true, writes, role)?;
        let from = copy_address(source.storage()?.memory());
        let to = copy_address(target.storage()?.memory());
        for piece in pieces {
            // SAFETY: the pieces lie inside both sides, whose memory is freed only after the fence, or never without one.
            unsafe { submission.copy(to + piece.target as u64, from + piece.source as u64, piece.bytes) }?;
        }
        Ok(())
    })();
    conclude(submission, queued, TORN, |fence| {
        source.add_use(fence.clone(), false, reads, role);
        target.add_use(fence.clone(), true, writes, role);
    })
    .quarantine_unfenced([source, target])
}

/// What moves from the host side to the device side, and what back. The two have no byte in common.
#[derive(Clone, Copy)]
pub(super) struct Moves<'a> {
    pub up: &'a [Area],
    pub down: &'a [Area],
}

/// The one area, or a range around them all.
fn around(areas: &[Area]) -> Option<Area> {
    match areas {
        [] => None,
        [one] => Some(*one),
        [first, rest @ ..] => Some(rest.iter().fold(first.hull(), |hull, area| hull.hull(area.hull())).into()),
    }
}

/// Moves areas between the two sides of a block on the stream, one copy for each, with one fence behind them all. Waits on
/// the host only for a download that still writes a pageable source.
pub(super) fn exchange(
    host: &mut Side,
    device: &mut Side,
    moves: Moves<'_>,
    timeline: &Arc<Timeline>,
    timer: Option<&mut Timer>,
) -> Outcome {
    let (up, down) = (around(moves.up), around(moves.down));
    let mut submission = timeline.submission();
    let mut timing = None;
    let queue = || {
        for area in moves.up {
            host.expect_copy(timeline, false, *area)?;
            device.expect_copy(timeline, true, *area)?;
        }
        for area in moves.down {
            device.expect_copy(timeline, false, *area)?;
            host.expect_copy(timeline, true, *area)?;
        }
        timeline.expect_not_capturing(Check::CaptureCopies)?;
        if let Some(up) = up {
            host.wait_before_staging(up)?;
            host.order_before(&mut submission, false, up, Role::Copy)?;
            device.order_before(&mut submission, true, up, Role::Copy)?;
        }
        if let Some(down) = down {
            device.order_before(&mut submission, false, down, Role::Copy)?;
            host.order_before(&mut submission, true, down, Role::Copy)?;
        }
        let above = copy_address(device.storage()?.memory());
        let below = copy_address(host.storage()?.memory());
        // What goes both ways at once has no time that belongs to one of them.
        if up.is_none() != down.is_none() {
            timing = timer.and_then(|timer| timer.begin(timeline));
        }
        for (areas, to, from) in [(moves.up, above, below), (moves.down, below, above)] {
            for area in areas {
                // SAFETY: the areas lie inside both sides, whose memory is freed only after the fence, or never without one.
                unsafe { submission.copy_area(*area, to, from) }?;
            }
        }
        if let Some(timing) = &mut timing {
            timing.end(timeline);
        }
        Ok(())
    };
    let queued = queue();
    let outcome = conclude(submission, queued, TORN, |fence| {
        if let Some(up) = up {
            host.add_use(fence.clone(), false, up, Role::Copy);
            device.add_use(fence.clone(), true, up, Role::Copy);
        }
        if let Some(down) = down {
            device.add_use(fence.clone(), false, down, Role::Copy);
            host.add_use(fence.clone(), true, down, Role::Copy);
        }
    });
    if let (Outcome::Queued(fence), Some(timing)) = (&outcome, timing) {
        timing.run(fence, up.is_some());
    }
    outcome.quarantine_unfenced([host, device])
}

/// Copies the first `bytes` bytes of one side to another of the same kind.
pub(super) fn move_contents(old: &mut Side, new: &mut Side, bytes: usize, timeline: &Arc<Timeline>) -> Outcome {
    transfer(old, new, &[Piece { source: 0, target: 0, bytes }], timeline, Role::Copy)
}

/// Fills an area of a device side with elements, row by row. Never waits on the host.
pub(super) fn fill(side: &mut Side, area: Area, width: usize, value: u64, timeline: &Arc<Timeline>) -> Outcome {
    let mut submission = timeline.submission();
    let queued = (|| {
        side.expect_copy(timeline, true, area)?;
        timeline.expect_not_capturing(Check::CaptureCopies)?;
        side.order_before(&mut submission, true, area, Role::Copy)?;
        let to = copy_address(side.storage()?.memory()) + area.start() as u64;
        (0..area.rows() as u64).try_for_each(|row| {
            let to = to + row * area.pitch() as u64;
            // SAFETY: the area lies inside the side, whose memory is freed only after the fence, or never without one.
            unsafe { submission.fill(to, width, value, area.width() / width) }
        })
    })();
    conclude(submission, queued, TORN, |fence| side.add_use(fence.clone(), true, area, Role::Copy))
        .quarantine_unfenced([side])
}

/// A copy of the same area between two sides.
pub(super) fn row_copy(area: Area, to: u64, from: u64) -> RowCopy {
    let start = area.start() as u64;
    RowCopy {
        target: to + start,
        source: from + start,
        pitch: [area.pitch(); 2],
        width: area.width(),
        rows: area.rows(),
    }
}

/// What is said of work of which only a part is queued.
const TORN: &str = "only a part was queued, the target is torn";

/// Puts a fence behind what was queued, if anything was. `torn` says what became of it where that was not all.
pub(super) fn conclude(
    submission: Submission<'_>,
    queued: Result<()>,
    torn: &str,
    note: impl FnOnce(&Fence),
) -> Outcome {
    if let Err(error) = queued {
        if !submission.queued() {
            return Outcome::Refused(error);
        }
        return match submission.finish() {
            Ok(fence) => {
                note(&fence);
                Outcome::Torn(error.context(torn), fence)
            }
            Err(_) => Outcome::Unfenced(error),
        };
    }
    match submission.finish() {
        Ok(fence) => {
            note(&fence);
            Outcome::Queued(fence)
        }
        Err(error) => Outcome::Unfenced(error),
    }
}

impl Outcome {
    pub(super) fn quarantine_unfenced<const N: usize>(self, sides: [&mut Side; N]) -> Outcome {
        match self {
            Outcome::Unfenced(error) => {
                Outcome::Unfenced(sides.into_iter().fold(error, |error, side| side.record_failed(error)))
            }
            other => other,
        }
    }
}
