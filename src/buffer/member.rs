//! What a buffer tells of itself.

use super::{Buffer, Whole};
use crate::error::Result;
use crate::fence::{Flow, Flows, Member, Which};
use crate::stats::Record;
use crate::sync::Ordering;

/// The figures of a buffer and its views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// What moved between the sides.
    pub flows: Flows,
    /// Bytes that are newer on the host side, and on the device side.
    pub newer: [u64; 2],
    /// Times that it got another shape.
    pub resizes: u64,
    /// Views that live.
    pub views: u64,
    /// Waits on the host, their time, and those that ended too early.
    pub waits: [u64; 3],
}

impl Buffer {
    /// Its figures. Takes the times of copies that have ended; waits for none.
    pub fn stats(&self) -> Result<BufferStats> {
        let mut block = self.lock()?;
        Ok(self.whole.stats(block.flows(), [Which::Host, Which::Device].map(|which| block.newer_bytes(which))))
    }
}

impl Whole {
    fn stats(&self, flows: Flows, newer: [u64; 2]) -> BufferStats {
        BufferStats {
            flows,
            newer,
            resizes: self.resizes.get(),
            views: self.views.load(Ordering::Relaxed),
            waits: [self.waits.waits.get(), self.waits.wait_ns.get(), self.waits.timeouts.get()],
        }
    }
}

impl Member for Whole {
    fn record(&self) -> Record {
        let (host, device) = self.placements;
        let record = Record::new("buffer", &*self.name)
            .with("host_placement", host.name())
            .with("device_placement", device.name())
            .with("capacity_bytes", self.capacity.load(Ordering::Relaxed))
            .with("borrowed", self.borrowed)
            .with("views", self.views.load(Ordering::Relaxed))
            .with("resizes", self.resizes.get())
            .with("host_waits", self.waits.waits.get())
            .with("host_wait_ns", self.waits.wait_ns.get())
            .with("timeouts", self.waits.timeouts.get());
        let inside = self.block.look(|block| {
            let newer = [Which::Host, Which::Device].map(|which| block.newer_bytes(which));
            (block.bytes(), block.known_flows(), newer)
        });
        // In use by a thread: its figures are for another time.
        let Some((bytes, flows, [host_newer, device_newer])) = inside else { return record.with("in_use", true) };
        let way = |record: Record, keys: [&'static str; 4], flow: Flow| {
            let timed = flow.ns.map(|_| flow.timed);
            record.with(keys[0], flow.copies).with(keys[1], flow.bytes).with(keys[2], timed).with(keys[3], flow.ns)
        };
        let up = ["to_device_copies", "to_device_bytes", "to_device_timed", "to_device_ns"];
        let down = ["to_host_copies", "to_host_bytes", "to_host_timed", "to_host_ns"];
        let record = way(way(record.with("in_use", false).with("bytes", bytes), up, flows.up), down, flows.down);
        record
            .with("device_fills", flows.fills)
            .with("syncs", flows.syncs)
            .with("conflicts", flows.conflicts)
            .with("failures", flows.failures)
            .with("host_dirty_bytes", host_newer)
            .with("device_dirty_bytes", device_newer)
    }
}
