//! Filling whole sides.

use super::Buffer;
use crate::config::Timeout;
use crate::error::Result;
use crate::fail;
use crate::fence::{Block, Timeline};
use crate::sync::Arc;

impl Buffer {
    /// Fills sides with one element. The device side needs a stream and is filled in its order; the host side is a write
    /// access. What is refused leaves both as they were.
    pub fn fill(
        &self,
        host: bool,
        device: bool,
        element: &[u8],
        stream: Option<&Arc<Timeline>>,
        timeout: Timeout,
    ) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        let size = layout.dtype().size();
        if element.len() != size {
            return fail!(InvalidArgument, "a fill element of {} has {size} bytes, not {}", self.name, element.len());
        }
        let stream = self.expect_sides(&block, host, device, stream)?;
        let wait = host.then(|| self.wait(timeout));
        block.fill(layout.all(), element, wait.as_ref(), stream)
    }

    /// Sees that the sides that are to be written are there, and a stream for the device's.
    fn expect_sides<'s>(
        &self,
        block: &Block,
        host: bool,
        device: bool,
        stream: Option<&'s Arc<Timeline>>,
    ) -> Result<Option<&'s Arc<Timeline>>> {
        if !host && !device {
            return fail!(InvalidArgument, "no side of {} is named: use GPUBUF_SIDE_HOST, _DEVICE or _BOTH", self.name);
        }
        for (wanted, there, side) in [(host, block.host.is_some(), "host"), (device, block.device.is_some(), "device")]
        {
            if wanted && !there {
                return fail!(Unsupported, "{} has no {side} side to fill", self.name);
            }
        }
        match (device, stream) {
            (true, None) => fail!(InvalidArgument, "writing the device side of {} needs a stream", self.name),
            (true, stream) => Ok(stream),
            (false, _) => Ok(None),
        }
    }

    /// Both sides zero, as they were made, on those sides that there are; nothing is newer anywhere, and the figures begin
    /// anew. As [`Buffer::fill`] otherwise. Not of a view: its figures are its buffer's.
    pub fn reset(&self, stream: Option<&Arc<Timeline>>, timeout: Timeout) -> Result<()> {
        self.expect_whole("resetting")?;
        let (mut block, layout) = self.enter()?;
        let (host, device) = (block.host.is_some(), block.device.is_some());
        let stream = self.expect_sides(&block, host, device, stream)?;
        let wait = host.then(|| self.wait(timeout));
        block.fill(layout.all(), &[0; 8][..layout.dtype().size()], wait.as_ref(), stream)?;
        block.forget_figures();
        self.whole.resizes.take();
        for counter in [&self.whole.waits.waits, &self.whole.waits.wait_ns, &self.whole.waits.timeouts] {
            counter.take();
        }
        Ok(())
    }
}
