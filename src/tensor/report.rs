//! What a tensor tells of itself.

use super::Tensor;
use crate::fence::Member;
use crate::stats::Record;

/// A tensor's figures.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorStats {
    pub held_blocks: u64,
    pub publishes: u64,
    pub unchanged: u64,
    pub copied_bytes: u64,
    pub skipped_bytes: u64,
    pub read_bytes: u64,
    pub waits: u64,
    pub wait_ns: u64,
    pub timeouts: u64,
}

impl Tensor {
    /// Its figures. While another thread is inside, no blocks are counted.
    pub fn stats(&self) -> TensorStats {
        let counters = &self.counters;
        TensorStats {
            held_blocks: self.inner.look(|inner| inner.replicas.len() as u64).unwrap_or(0),
            publishes: counters.publishes.get(),
            unchanged: counters.unchanged.get(),
            copied_bytes: counters.copied_bytes.get(),
            skipped_bytes: counters.skipped_bytes.get(),
            read_bytes: counters.read_bytes.get(),
            waits: counters.waits.waits.get(),
            wait_ns: counters.waits.wait_ns.get(),
            timeouts: counters.waits.timeouts.get(),
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let TensorStats { held_blocks, publishes, unchanged, .. } = self.stats();
        format!(
            "{}: {} {:?} over {}; {held_blocks} of at most {} blocks held; {publishes} publishes, {unchanged} of them of nothing new",
            self.name,
            self.dtype.name(),
            self.shape.dims(),
            self.pool.name(),
            self.max_blocks
        )
    }
}

impl Member for Tensor {
    fn record(&self) -> Record {
        let stats = self.stats();
        Record::new("tensor", &self.name)
            .with("bytes", self.bytes)
            .with("max_blocks", self.max_blocks)
            .with("held_blocks", stats.held_blocks)
            .with("publishes", stats.publishes)
            .with("unchanged", stats.unchanged)
            .with("copied_bytes", stats.copied_bytes)
            .with("skipped_bytes", stats.skipped_bytes)
            .with("read_bytes", stats.read_bytes)
            .with("waits", stats.waits)
            .with("wait_ns", stats.wait_ns)
            .with("timeouts", stats.timeouts)
    }
}
