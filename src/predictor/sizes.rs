//! A short list of sizes, without memory of its own.

use super::MOST_PREDICTED;

/// Up to [`MOST_PREDICTED`] different sizes, the likeliest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    list: [u64; MOST_PREDICTED],
    len: usize,
}

impl Sizes {
    /// Adds a size that is not in it, while it has fewer than `most`.
    pub(super) fn add(&mut self, size: u64, most: usize) {
        if self.len < most.min(MOST_PREDICTED) && !self.contains(&size) {
            self.list[self.len] = size;
            self.len += 1;
        }
    }
}

impl std::ops::Deref for Sizes {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.list[..self.len]
    }
}
