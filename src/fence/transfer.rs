//! Copies and fills on a stream, ordered behind what conflicts with them, fenced, and remembered by both sides.

use super::side::Side;
use super::timeline::{Fence, Submission, Timeline};
use super::uses::{Range, Role};
use crate::backend::RawMemory;
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
    let reads = hull(pieces, |p| p.source);
    let writes = hull(pieces, |p| p.target);
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
    conclude(submission, queued, |fence| {
        source.add_use(fence.clone(), false, reads, role);
        target.add_use(fence.clone(), true, writes, role);
    })
    .quarantine_unfenced([source, target])
}

/// Fills `range` of a device side with `count` elements. Never waits on the host.
pub fn fill(side: &mut Side, range: Range, width: usize, value: u64, timeline: &Arc<Timeline>) -> Outcome {
    let mut submission = timeline.submission();
    let queued = (|| {
        side.expect_copy(timeline, true, range)?;
        timeline.expect_not_capturing(Check::CaptureCopies)?;
        side.order_before(&mut submission, true, range, Role::Copy)?;
        let to = copy_address(side.storage()?.memory()) + range.start as u64;
        // SAFETY: the range lies inside the side, whose memory is freed only after the fence, or never without one.
        unsafe { submission.fill(to, width, value, (range.end - range.start) / width) }
    })();
    conclude(submission, queued, |fence| side.add_use(fence.clone(), true, range, Role::Copy))
        .quarantine_unfenced([side])
}

/// Puts a fence behind what was queued, if anything was.
fn conclude(submission: Submission<'_>, queued: Result<()>, note: impl FnOnce(&Fence)) -> Outcome {
    if let Err(error) = queued {
        if !submission.queued() {
            return Outcome::Refused(error);
        }
        return match submission.finish() {
            Ok(fence) => {
                note(&fence);
                Outcome::Torn(error.context("only a part was queued, the target is torn"), fence)
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
    fn quarantine_unfenced<const N: usize>(self, sides: [&mut Side; N]) -> Outcome {
        match self {
            Outcome::Unfenced(error) => {
                Outcome::Unfenced(sides.into_iter().fold(error, |error, side| side.record_failed(error)))
            }
            other => other,
        }
    }
}
