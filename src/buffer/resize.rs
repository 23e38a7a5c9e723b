//! Another shape: in place, or in other memory.

use super::{Buffer, Layout};
use crate::config::Timeout;
use crate::config::checks::{Check, on};
use crate::dtype::Shape;
use crate::error::Result;
use crate::fail;
use crate::fence::{Keep, Side, Storage, Timeline};
use crate::sync::{Arc, Ordering};

impl Buffer {
    /// Gives the buffer another shape. As long as it fits in the capacity, addresses and contents stay, also in a graph.
    /// Beyond, the memory is another one, of exactly that size: zero, but for the leading bytes that are kept of the sides
    /// named; the device's are copied in the order of `stream`, and for the host's this waits for work that still writes
    /// them. The old memory is freed when its last use is proven. What is refused leaves everything as it was.
    pub fn resize(
        &self,
        shape: Shape,
        keep: (bool, bool),
        stream: Option<&Arc<Timeline>>,
        timeout: Timeout,
    ) -> Result<()> {
        self.expect_whole("resizing")?;
        let bytes = shape.bytes(self.dtype())?;
        let new = Layout::new(self.dtype(), shape);
        if bytes > self.capacity() {
            // Under no lock, since it may call back.
            self.device().maintain();
        }
        let (mut block, old) = self.enter()?;
        // Not before: another thread may have resized it.
        let beyond = bytes > self.capacity();
        block.settle()?;
        block.sides().try_for_each(|side| side.storage().map(drop))?;
        block.expect_unguarded(Check::ResizeGuard, "resizing")?;
        self.expect_views_stay(&old, &new, beyond)?;
        let mut before = None;
        if !beyond {
            block.set_bytes(bytes, new.row_bytes() == old.row_bytes());
        } else {
            if self.whole.borrowed {
                return fail!(
                    Unsupported,
                    "resizing {} to {bytes} bytes: its memory is the caller's, who lent {}; detach it, or lend more with the option capacity",
                    self.name,
                    self.capacity()
                );
            }
            let (keep_host, keep_device) = (keep.0 && block.host.is_some(), keep.1 && block.device.is_some());
            let stream = match (keep_device, stream) {
                (true, None) => {
                    return fail!(
                        InvalidArgument,
                        "keeping the device contents of {} needs a stream to copy them on",
                        self.name
                    );
                }
                (true, Some(stream)) => {
                    stream.expect_device(self.device())?;
                    Some(stream)
                }
                (false, _) => None,
            };
            let wait = keep_host.then(|| self.wait(timeout));
            let allocate = |side: &Side| {
                let placement = side.storage()?.memory().placement;
                Storage::allocate_only(self.device(), placement, bytes).map_err(|e| e.context(&self.name))
            };
            before = Some(block.move_to(bytes, Keep { host: wait.as_ref(), device: stream }, allocate)?);
            self.whole.capacity.store(bytes, Ordering::Release);
        }
        self.whole.resizes.add(1);
        *self.layout.lock() = new;
        // Under no lock: that may call release callbacks.
        drop(block);
        drop(before);
        Ok(())
    }

    /// Views keep the memory, and the rows, that they show.
    fn expect_views_stay(&self, old: &Layout, new: &Layout, beyond: bool) -> Result<()> {
        let views = self.whole.views.load(Ordering::Acquire);
        let stay = !beyond && new.row_bytes() == old.row_bytes() && new.rows() >= old.rows();
        if views > 0 && !stay && on(Check::ResizeViews) {
            self.device().counters.refusals.add(1);
            return fail!(
                Busy,
                "resizing {} from {:?} to {:?} with {views} views of it alive: only more rows, within the capacity of {} bytes, leave them what they show; destroy them first",
                self.name,
                old.shape().dims(),
                new.shape().dims(),
                self.capacity()
            );
        }
        Ok(())
    }
}
