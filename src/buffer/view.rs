//! Views: buffers over a part of another one's block.

use super::{Buffer, Layout};
use crate::error::Result;
use crate::fence::Name;
use crate::sync::{Arc, Mutex, Ordering};

impl Buffer {
    /// Rows `first..first + count` as a buffer of their own. They have no gaps between them, unless this one's have.
    pub fn slice(&self, first: u64, count: u64) -> Result<Arc<Buffer>> {
        self.view(|layout| layout.slice(first, count, &self.name))
    }

    /// A window as a buffer of two dimensions: `rows` and `columns` are (first, count) of this one seen as a matrix, in which
    /// a row is one of the outermost dimension.
    pub fn window(&self, rows: (u64, u64), columns: (u64, u64)) -> Result<Arc<Buffer>> {
        self.view(|layout| layout.window(rows, columns, &self.name))
    }

    fn view(&self, part: impl FnOnce(Layout) -> Result<Layout>) -> Result<Arc<Buffer>> {
        // Inside the block: a resize either comes before, or sees the view.
        let (block, layout) = self.enter()?;
        // A block that was detached or quarantined has nothing to show.
        block.sides().try_for_each(|side| side.storage().map(drop))?;
        let layout = part(layout)?;
        let number = self.whole.views_made.fetch_add(1, Ordering::Relaxed) + 1;
        self.whole.views.fetch_add(1, Ordering::AcqRel);
        Ok(Arc::new(Buffer {
            name: Arc::new(Name::part("view", number, &self.whole.name)),
            whole: self.whole.clone(),
            layout: Mutex::new(layout),
            is_view: true,
        }))
    }
}
