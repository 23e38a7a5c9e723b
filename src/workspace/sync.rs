//! Making both sides of every entry the same.

use super::Workspace;
use crate::buffer::Buffer;
use crate::error::Result;
use crate::fail;
use crate::fence::{Timeline, Which};
use crate::sync::Arc;

impl Workspace {
    /// Queues, for every entry that is held or has a name, what is newer on one side to the other. What cannot be synced is
    /// told when all others are: the first of the refusals. Returns how many had something to move.
    pub fn sync_all(&self, stream: &Arc<Timeline>) -> Result<u64> {
        stream.expect_device(&self.device)?;
        let entries = self.entries.lock();
        self.expect_open(&entries)?;
        let mut buffers: Vec<Arc<Buffer>> = Vec::new();
        if buffers.try_reserve_exact(entries.count() as usize).is_err() {
            return fail!(OutOfHostMemory, "no host memory for a list of {} entries", entries.count());
        }
        let wanted = entries.iter().filter(|entry| !entry.claimed && (entry.holders > 0 || entry.name.is_some()));
        buffers.extend(wanted.filter_map(|entry| entry.buffer.clone()));
        drop(entries);
        let (mut synced, mut refused) = (0, None);
        for buffer in buffers {
            let newer = |which| buffer.look(|block| block.newer_bytes(which)).unwrap_or(1);
            if newer(Which::Host) == 0 && newer(Which::Device) == 0 {
                continue;
            }
            match buffer.sync(None, stream, None) {
                Ok(()) => synced += 1,
                Err(error) => refused = refused.or(Some(error.context(format_args!("syncing {}", self.name)))),
            }
        }
        refused.map_or(Ok(synced), Err)
    }
}
