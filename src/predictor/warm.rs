//! Memory for the predicted sizes is made before it is wanted, and left free.

use super::Predictor;
use crate::error::Result;
use crate::fail;
use crate::pool::{MAX_BLOCKS, Pool};
use crate::sync::Arc;

/// What warming a pool came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Blocks that were made.
    pub made: u32,
    /// Free blocks that are wanted and cannot be had.
    pub missing: u32,
}

impl Predictor {
    /// Hands each predicted size, the likeliest first, to whoever can have memory for it ready, and free, when it comes: a
    /// source of buffers is warmed by taking one and giving it back. `warm` tells how many bytes it made, 0 where they were
    /// there. Returns their sum. Called under no lock.
    pub fn prewarm(&self, mut warm: impl FnMut(u64) -> u64) -> u64 {
        let made = |size: &u64| {
            let bytes = warm(*size);
            self.state.lock().warmed(*size, bytes);
            bytes
        };
        self.predict().iter().map(made).fold(0, u64::saturating_add)
    }

    /// Sees to it that a pool has `blocks_each` free blocks for each predicted size that is its own: above `above_bytes`, which
    /// are a smaller pool's, and not above its blocks' size. May allocate, up to the most blocks that the pool may have.
    pub fn prewarm_pool(&self, pool: &Arc<Pool>, above_bytes: u64, blocks_each: u32) -> Result<Warmed> {
        if above_bytes >= pool.block_bytes() {
            return fail!(
                InvalidArgument,
                "above_bytes is {above_bytes}: less than the {} bytes of the blocks of {}",
                pool.block_bytes(),
                pool.name()
            );
        }
        if blocks_each == 0 || blocks_each > MAX_BLOCKS {
            return fail!(InvalidArgument, "blocks_each is {blocks_each}: 1 to {MAX_BLOCKS}");
        }
        let predicted = self.predict();
        let own = |size: &&u64| **size > above_bytes && **size <= pool.block_bytes();
        let sizes = predicted.iter().filter(own).count() as u32;
        let wanted = sizes.saturating_mul(blocks_each);
        let (made, missing) = pool.warm(wanted)?;
        // What was there already is for the likeliest ones.
        let mut left = made;
        for size in predicted.iter().filter(own).rev() {
            let for_this = left.min(blocks_each);
            self.state.lock().warmed(*size, for_this as u64 * pool.block_bytes());
            left -= for_this;
        }
        Ok(Warmed { made, missing })
    }
}

impl super::State {
    /// So many bytes were made for this size.
    fn warmed(&mut self, size: u64, bytes: u64) {
        self.stats.warmed_bytes = self.stats.warmed_bytes.saturating_add(bytes);
        // A size that was forgotten meanwhile counts as one that did not come.
        if let Some(at) = self.model.sizes().find(&size) {
            self.figures[at].warmed = self.figures[at].warmed.saturating_add(bytes);
        }
    }
}
