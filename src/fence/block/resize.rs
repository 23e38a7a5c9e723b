//! Moving a block to other memory.

use super::Block;
use crate::config::checks::Check;
use crate::error::Result;
use crate::fence::dirty::Dirty;
use crate::fence::side::{Side, Which};
use crate::fence::storage::Storage;
use crate::fence::timeline::{HostWait, Timeline};
use crate::fence::transfer::{self, Outcome};
use crate::fence::uses::Range;
use crate::sync::Arc;

/// What of the old contents a move keeps.
#[derive(Clone, Copy)]
pub struct Keep<'a> {
    /// Those of the host side: waits for work that still writes them.
    pub host: Option<&'a HostWait<'a>>,
    /// Those of the device side: in the order of this stream.
    pub device: Option<&'a Arc<Timeline>>,
}

impl Block {
    /// The block has so many bytes from now on, in the memory that it has. The caller has seen that they fit.
    /// With `rows_stay`, rows are where they were. Marks beyond its end
    /// stay: those bytes are what they were when it grows again.
    pub fn set_bytes(&mut self, bytes: usize, rows_stay: bool) {
        self.bytes = bytes;
        if let Some(dirty) = self.marks() {
            dirty.reshape(rows_stay);
        }
    }

    /// Moves the block to new memory for its sides, with `bytes` bytes from now on; `allocate` makes memory like a side's.
    /// The old memory is freed when its last use is proven. Refused, or failed, nothing has changed. Returns the sides of before:
    /// dropped, under no lock, each goes to the device's deferred list with its uses, which may call release callbacks.
    pub fn move_to(
        &mut self,
        bytes: usize,
        keep: Keep<'_>,
        allocate: impl Fn(&Side) -> Result<Storage>,
    ) -> Result<[Option<Side>; 2]> {
        self.expect_not_held(Check::ResizeHeld, "resizing")?;
        let kept = Range { start: 0, end: self.bytes.min(bytes) };
        if let Some(timeline) = keep.device {
            timeline.expect_not_capturing(Check::CaptureCopies)?;
        }
        if let (Some(side), Some(wait)) = (&mut self.host, keep.host) {
            side.wait_to_move(kept.into(), wait)?;
        }
        let name = self.name.clone();
        let make = |which, side: &Option<Side>| -> Result<Option<Side>> {
            side.as_ref().map(|side| Ok(Side::new(which, &name, allocate(side)?))).transpose()
        };
        let mut host = make(Which::Host, &self.host)?;
        let mut device = make(Which::Device, &self.device)?;
        let mut moved = None;
        if let (Some(old), Some(new), Some(timeline)) = (&mut self.device, &mut device, keep.device)
            && kept.start < kept.end
        {
            // Torn, the new memory is given up with the uses it has.
            match transfer::move_contents(old, new, kept.end, timeline) {
                Outcome::Queued(fence) => {
                    new.take_over_writes(old);
                    moved = Some(fence);
                }
                other => return other.into_result().map(|_| [None, None]),
            }
        }
        if let (Some(old), Some(new), Some(_)) = (&self.host, &mut host, keep.host) {
            let (from, to) = (old.storage()?.memory().host, new.storage()?.memory().host);
            // SAFETY: both have as many bytes; the old ones are written by nobody, which was waited for, and the new ones are
            // nobody else's.
            unsafe { crate::ops::copy(to, from, kept.end) };
        }
        let old = [std::mem::replace(&mut self.host, host), std::mem::replace(&mut self.device, device)];
        self.bytes = bytes;
        let Some(dirty) = self.marks() else { return Ok(old) };
        match (keep.host.is_some(), keep.device.is_some()) {
            (true, true) => {
                dirty.cut(kept.end);
                dirty.reshape(false);
                if let Some(fence) = &moved {
                    dirty.moved(kept.into(), fence);
                }
            }
            (host, device) => {
                *dirty = Dirty::default();
                if host != device {
                    dirty.written(if host { Which::Host } else { Which::Device }, kept.into());
                }
            }
        }
        Ok(old)
    }
}
