//! What bytes that came back from the device were made of. A copy back runs well although what it copies was never there: a
//! copy or a fill of the device side before it has failed. Who reads the host side is told so.

use super::Block;
use crate::config::USES_PER_SIDE;
use crate::config::checks::{Check, on};
use crate::error::Result;
use crate::fail;
use crate::fence::side::{Access, Side};
use crate::fence::timeline::{Fence, Proof};
use arrayvec::ArrayVec;

/// Writes of a device side that were not known to be done when it was copied back: of each stream the number of the first, and
/// the fence of the last.
#[derive(Default)]
pub(crate) struct Lineage(ArrayVec<(u64, Fence), USES_PER_SIDE>);

impl Lineage {
    /// The side is copied from: what is queued there so far comes before.
    pub fn copied_from(&mut self, source: &Side) {
        self.prune();
        for (first, last) in source.copies_to() {
            if last.look_up_since(first) == Some(Proof::Complete) {
                continue;
            }
            let same = self.0.iter().filter(|known| known.1.is_same(&last));
            let first = same.fold(first, |first, known| first.min(known.0));
            // What it stands for is known by it from now on: then there is room for as many as a side has.
            self.0.retain(|known| !last.covers(&known.1) || known.0 < first);
            if self.0.is_full() {
                self.0.remove(0);
            }
            self.0.push((first, last));
        }
    }

    /// One of them that failed; told once. To be asked when the copy back is done: then those are, too.
    pub fn take_failed(&mut self) -> Option<Fence> {
        let mut failed = None;
        for (first, last) in &mut self.0 {
            last.query();
            failed = last.failed_in(*first, last.sequence());
            if let Some(failed) = &failed {
                *first = failed.sequence() + 1;
                break;
            }
        }
        self.prune();
        failed
    }

    /// Lets go what is known to be done, and so the streams that it was on.
    pub fn prune(&mut self) {
        self.0.retain(|(first, last)| last.look_up_since(*first) != Some(Proof::Complete));
    }

    pub fn forget(&mut self) {
        self.0.clear();
    }
}

impl Block {
    /// The device side is copied to the host side.
    pub(super) fn copied_back(&mut self) {
        if let Some(device) = &self.device {
            self.lineage.copied_from(device);
        }
    }

    /// Refuses a read that was begun where the bytes that came back from the device were never there.
    pub(super) fn expect_lineage(&mut self, token: u64) -> Result<()> {
        let Some(fence) = self.lineage.take_failed().filter(|_| on(Check::CopyFailed)) else { return Ok(()) };
        self.lineage.forget();
        self.sides_mut().for_each(|side| side.failure_told(&fence));
        let host = self.host_mut()?;
        host.end(Access::Read, token)?;
        let device = host.storage()?.device().clone();
        device.counters.refusals.add(1);
        let refused = fail!(
            CopyFailed,
            "the {} was copied back from the device, where a copy or a fill before had failed when it ran ({fence}): its bytes are not what was sent; send them again",
            host.place()
        );
        self.count_failure(refused)
    }
}
