//! What a graph can hold: an object whose memory is one block.

use super::area::Area;
use super::block::Block;
use super::device::Device;
use crate::config::ALL;
use crate::error::Result;
use crate::sync::{Arc, MappedMutexGuard};

/// A block, for one thread alone.
pub type BlockGuard<'a> = MappedMutexGuard<'a, Block>;

/// An object whose addresses graphs may have baked in. It keeps its memory while it is referred to.
pub trait Holdable: Send + Sync {
    /// Which one it is: no two objects have the same key.
    fn key(&self) -> (u64, u64);
    /// Its device.
    fn device(&self) -> &Arc<Device>;
    /// Its block, for this thread alone; another thread inside is `busy`. Works after the object's end, too.
    fn enter(&self) -> Result<BlockGuard<'_>>;
    /// A part of its block, in the object's own units.
    fn part(&self, block: &Block, first: u64, count: u64) -> Result<Area> {
        let count = if count == ALL { (block.bytes() as u64).saturating_sub(first) } else { count };
        block.range(first, count).map(Area::from)
    }
    /// A hold on it has ended: what was only kept for that may go.
    fn hold_ended(&self) {}
}
