//! One block of a tensor: a copy of its truth, and what of that has changed since.

use super::Ranges;
use crate::config::Timeout;
use crate::config::checks::{Check, on};
use crate::config::log::{self, Level};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Access, Block, Fence, Holdable, HostWait, Proof, Range, Side, Timeline};
use crate::lease::Lease;
use crate::ops;
use crate::sync::Arc;

/// A block that the tensor holds.
pub(super) struct Replica {
    lease: Lease,
    /// Kernels use a twin in device memory, not the block itself.
    twin: bool,
    bytes: Range,
    /// What differs from the truth.
    pub changed: Ranges,
    /// The number of the publish that it was last used for.
    pub published: u64,
    /// The last copy to the twin.
    sent: Option<Fence>,
    /// Bytes whose copy back is queued for somebody who tried, and was refused since it is in flight.
    coming: Option<Range>,
}

impl Replica {
    /// A block that has nothing of the truth.
    pub fn new(lease: Lease, twin: bool, bytes: Range) -> Replica {
        Replica { lease, twin, bytes, changed: Ranges::of(bytes), published: 0, sent: None, coming: None }
    }

    /// A copy to the block that failed when it ran leaves it with nothing of the truth.
    fn settled<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| error.status() == Status::CopyFailed) {
            self.changed = Ranges::of(self.bytes);
        }
        result
    }

    /// What the streams that were named with the address did so far is fenced now.
    pub fn fence_streams(&mut self) -> Result<()> {
        let fenced = self.lease.enter().and_then(|mut block| {
            block.settle()?;
            block.sides_mut().try_for_each(Side::fence_all_declared)
        });
        self.settled(fenced)
    }

    /// They have no right to the address any more.
    pub fn forget_streams(&self) -> Result<()> {
        self.lease.enter()?.sides_mut().for_each(Side::forget_declared);
        Ok(())
    }

    /// Whether it may be had without a wait: by the CPU to write it, which queues the copy to a twin behind the twin's
    /// users; or, for work that writes it, by nobody else. Each stream is fenced, and asked.
    pub fn is_done(&self, access: Access) -> Result<bool> {
        let block = self.lease.enter()?;
        let device = block.device.iter().filter(|_| access == Access::Write);
        let mut fences = block.host.iter().chain(device).flat_map(Side::fences);
        Ok(fences.all(|fence| fence.query() != Proof::Pending))
    }

    pub fn is_quarantined(&self) -> bool {
        self.lease.enter().is_ok_and(|block| block.is_quarantined())
    }

    /// Copies what changed from the truth, once nothing uses these bytes of the block; and on to the twin, on the stream.
    /// Returns how many bytes.
    pub fn bring_up(&mut self, truth: *const u8, stream: &Arc<Timeline>, wait: &HostWait<'_>) -> Result<usize> {
        let Some(hull) = self.changed.hull() else { return Ok(0) };
        let brought =
            self.copy_from(truth, hull, wait).and_then(|()| if self.twin { self.send(stream) } else { Ok(()) });
        self.settled(brought)?;
        let bytes = self.changed.bytes();
        self.changed = Ranges::default();
        Ok(bytes)
    }

    fn copy_from(&self, truth: *const u8, hull: Range, wait: &HostWait<'_>) -> Result<()> {
        let mut block = self.lease.enter()?;
        let (target, token) = block.begin(Access::Write, hull, wait)?;
        for range in self.changed.iter() {
            // SAFETY: the guard covers the hull of the ranges, which lie inside the truth as well.
            unsafe { ops::copy(target.add(range.start - hull.start), truth.add(range.start), range.end - range.start) };
        }
        block.end(Access::Write, token)
    }

    fn send(&mut self, stream: &Arc<Timeline>) -> Result<()> {
        for range in self.changed.iter() {
            self.lease.copy(true, range.start as u64, (range.end - range.start) as u64, stream, None)?;
        }
        let block = self.lease.enter()?;
        let here = block.device.iter().flat_map(Side::fences).filter(|fence| Arc::ptr_eq(fence.timeline(), stream));
        self.sent = here.max_by_key(|fence| fence.sequence()).cloned();
        Ok(())
    }

    /// The address for work on these streams, which the device runs behind the last copy to the twin. With `anew`, for work on
    /// these alone.
    pub fn address(&mut self, streams: &[Arc<Timeline>], anew: bool) -> Result<u64> {
        if let Some(sent) = &self.sent {
            // Asked, so that a copy that failed is told by this publish, not by a later one.
            if sent.query() == Proof::Pending {
                streams.iter().try_for_each(|stream| stream.wait_for(sent).map(drop))?;
            } else {
                self.sent = None;
            }
        }
        self.coming = None;
        let address = self.lease.enter().and_then(|mut block| {
            if anew {
                block.sides_mut().for_each(Side::forget_declared);
            }
            block.settle()?;
            // Not the block's own way to it: that asks for marks of what is newer, which are coarser than what was sent.
            let side = if block.device.is_some() { &mut block.device } else { &mut block.host };
            match side {
                Some(side) => side.device_address(streams),
                None => fail!(Unsupported, "the block has no side that the device can address"),
            }
        });
        self.settled(address)
    }

    /// Copies bytes back to the truth, once work on the device has written them.
    pub fn read_back(
        &mut self,
        range: Range,
        truth: *mut u8,
        stream: Option<&Arc<Timeline>>,
        wait: &HostWait<'_>,
    ) -> Result<()> {
        if self.twin {
            let Some(stream) = stream else {
                return fail!(InvalidArgument, "reading back from device memory needs a stream to copy on");
            };
            // Whoever tries again and again waits for one copy, and is not kept out by the one that he has just queued.
            let tries = wait.timeout() == Timeout::Try;
            if self.coming.take().filter(|coming| tries && *coming == range).is_none() {
                let copied = self.lease.copy(false, range.start as u64, (range.end - range.start) as u64, stream, None);
                self.settled(copied)?;
            }
        }
        let read = self.lease.enter().and_then(|mut block| {
            let (source, token) = block.begin(Access::Read, range, wait)?;
            // SAFETY: the guard covers the range, which lies inside the truth as well.
            unsafe { ops::copy(truth.add(range.start), source, range.end - range.start) };
            block.end(Access::Read, token)
        });
        if self.twin && read.as_ref().is_err_and(|error| error.status() == Status::Busy) {
            self.coming = Some(range);
        }
        self.settled(read)
    }

    /// Waits until nothing uses it.
    pub fn wait(&mut self, wait: &HostWait<'_>) -> Result<()> {
        let waited = self.lease.enter().and_then(|mut block| {
            let doing = "synchronizing";
            block.sides_mut().try_for_each(|side| side.wait_all_fenced(wait, Check::WriteWaitsReads, doing))?;
            block.settle()
        });
        self.settled(waited)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let mut unseen = false;
        if let Ok(mut block) = self.lease.enter() {
            let fences = |side: &mut Side| if on(Check::TensorEnds) { side.fence_all_declared() } else { Ok(()) };
            let fenced = block.sides_mut().try_for_each(fences).map_err(|error| error.status());
            match fenced {
                // A stream captures, or is gone: no fence can go there, and a drain proves as well that its work is over.
                Err(Status::Capturing | Status::Unfenced) => {
                    let all = block.all();
                    block.sides_mut().for_each(|side| side.seal(all));
                    unseen = true;
                }
                fenced => {
                    block.sides_mut().for_each(Side::forget_declared);
                    if fenced.is_err() {
                        // Work on it may be out there that cannot be fenced: nobody may have the block after it.
                        Block::quarantine(&mut block, Status::Quarantined);
                    }
                }
            }
        }
        let given_back = if unseen { self.lease.abandon() } else { self.lease.release() };
        if let Err(error) = given_back {
            log::write(Level::Warn, format_args!("a tensor's block is not given back: {}", error.message()));
        }
    }
}
