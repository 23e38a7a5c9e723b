//! Making both sides of every entry the same.

use super::{Held, Workspace};
use crate::error::Result;
use crate::fail;
use crate::fence::{Timeline, Which};
use crate::sync::Arc;

impl Workspace {
    /// Queues, for every entry that is held or has a name, what is newer on one side to the other. What cannot be synced is
    /// told when all others are: the first of the refusals. Returns how many had something to move.
    pub fn sync_all(self: &Arc<Workspace>, stream: &Arc<Timeline>) -> Result<u64> {
        stream.expect_device(&self.device)?;
        let mut entries = self.entries.lock();
        self.expect_open(&entries)?;
        // Held meanwhile: an entry whose last holder ends now is neither reused nor found in use.
        let mut buffers: Vec<Held> = Vec::new();
        if buffers.try_reserve_exact(entries.count() as usize).is_err() {
            return fail!(OutOfHostMemory, "no host memory for a list of {} entries", entries.count());
        }
        let wanted = entries.iter_mut().filter(|entry| !entry.claimed && (entry.holders > 0 || entry.name.is_some()));
        for entry in wanted {
            if let Some(buffer) = &entry.buffer {
                entry.holders += 1;
                entry.leaving += 1;
                buffers.push(Held::passing(buffer.clone(), self.clone(), entry.number));
            }
        }
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
