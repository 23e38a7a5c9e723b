//! When a buffer may go from one holder to the next, or go altogether.

use super::Spec;
use crate::buffer::Buffer;
use crate::config::checks::{Check, on};
use crate::error::Result;
use crate::fence::{Block, HostWait, Side};
use crate::sync::Arc;

/// Whether nothing uses the memory, as far as is known without asking the driver. Under the workspace's lock: a report that
/// looks at the same moment is no user.
pub(super) fn is_idle(buffer: &Arc<Buffer>) -> bool {
    buffer.look_behind_others(|block| block.is_known_idle() && !may_be_used(block)) == Some(true)
}

/// Whether work that nobody declared, an open guard or a graph may use it: no wait for its uses would end that.
fn may_be_used(block: &Block) -> bool {
    let unseen = block.sides().any(Side::has_unseen_users) && on(Check::ReuseSealed);
    unseen || block.has_guard() || block.holds() > 0 || block.is_quarantined()
}

/// Whether it is idle, or a wait for its uses makes it so. Under the workspace's lock, too.
pub(super) fn can_be_reused(buffer: &Arc<Buffer>) -> bool {
    buffer.look_behind_others(|block| !may_be_used(block)) == Some(true)
}

/// Asks the streams whether its uses are done.
pub(super) fn poll(buffer: &Arc<Buffer>) {
    buffer.look(|block| {
        for fence in block.sides().flat_map(Side::fences) {
            fence.query();
        }
    });
}

/// Its last holder has ended, and with that the right of the streams it named: they are fenced. False where the buffer cannot
/// be used again: it is better left to its own end.
pub(super) fn end_of_holder(buffer: &Arc<Buffer>, spec: &Spec, bytes: u64) -> bool {
    let as_made = Spec::of(buffer).is_ok_and(|now| now == *spec) && buffer.owned_bytes() == bytes;
    let seen_in_parts = buffer.stats().is_ok_and(|stats| stats.views > 0);
    let Ok(mut block) = buffer.lock() else { return false };
    as_made && !seen_in_parts && !may_be_used(&block) && block.sides_mut().all(|side| side.end_declared().is_ok())
}

/// Waits for every use; the buffer keeps them, and what is newer on which side, for whoever gets it by its name.
pub(super) fn wait(buffer: &Arc<Buffer>, wait: &HostWait<'_>) -> Result<()> {
    let mut block = buffer.lock()?;
    block.sides_mut().try_for_each(|side| {
        side.end_declared()?;
        side.wait_all(wait, Check::ReuseWaits, "making room of")
    })
}

/// Waits for every use; the buffer is as new, but for its bytes.
pub(super) fn recycle(buffer: &Arc<Buffer>, wait: &HostWait<'_>) -> Result<()> {
    let mut block = buffer.lock()?;
    block.sides_mut().try_for_each(Side::end_declared)?;
    block.recycle(wait, Check::ReuseWaits)
}
