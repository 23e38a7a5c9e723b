//! Which side is newer where, and making both the same.

use super::Buffer;
use crate::config::{Placement, Timeout};
use crate::error::Result;
use crate::fail;
use crate::fence::{Policy, Timeline, Which};
use crate::sync::Arc;

/// Elements of a buffer that are newer on one side: `count` from `first` on, `rows` times, `stride` elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newer {
    /// The first element.
    pub first: u64,
    /// Elements of a row.
    pub count: u64,
    /// Rows.
    pub rows: u64,
    /// Elements from one row to the next; 0 where there is one.
    pub stride: u64,
}

impl Buffer {
    /// Moves what is newer on one side to the other, in this buffer's elements, all of it up to one fence; nothing where
    /// there is one side only. Where both are newer, `policy` decides, or the buffer's own. With a timeout, waits until the
    /// bytes have landed.
    pub fn sync(&self, policy: Option<Policy>, stream: &Arc<Timeline>, blocking: Option<Timeout>) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        let wait = blocking.map(|timeout| self.wait(timeout));
        block.sync(layout.all(), policy.unwrap_or(self.whole.policy), stream, wait.as_ref())
    }

    /// The caller wrote these elements of a side, in a way that the library does not see.
    pub fn mark_newer(&self, which: Which, first: u64, count: u64) -> Result<()> {
        self.expect_side(which)?;
        let (mut block, layout) = self.enter()?;
        block.settle()?;
        let area = layout.area(first, count, &self.name)?;
        block.written(which, area);
        Ok(())
    }

    /// The caller vouches that a side has nothing in these elements that the other lacks.
    pub fn mark_clean(&self, which: Which, first: u64, count: u64) -> Result<()> {
        self.expect_side(which)?;
        let (mut block, layout) = self.enter()?;
        block.settle()?;
        let area = layout.area(first, count, &self.name)?;
        block.cleaned(which, area);
        Ok(())
    }

    fn expect_side(&self, which: Which) -> Result<()> {
        let (host, device) = self.placements();
        let (side, name) = if which == Which::Host { (host, "host") } else { (device, "device") };
        if side == Placement::None {
            return fail!(Unsupported, "{} has no {name} side", self.name);
        }
        Ok(())
    }

    /// Calls `each` with the elements that are newer on a side; none where there is one side only.
    pub fn newer(&self, which: Which, mut each: impl FnMut(Newer)) -> Result<()> {
        self.expect_side(which)?;
        let (mut block, layout) = self.enter()?;
        let size = layout.dtype().size();
        let columns = (layout.row_bytes() / size) as u64;
        let gaps = layout.all().is_window();
        block.newer(which, layout.all(), |area| {
            let stride = match (area.is_window(), gaps) {
                (false, _) => 0,
                (true, true) => columns,
                (true, false) => (area.pitch() / size) as u64,
            };
            let (first, count) = (layout.element_at(area.start()), (area.width() / size) as u64);
            each(Newer { first, count, rows: area.rows() as u64, stride });
        });
        Ok(())
    }
}
