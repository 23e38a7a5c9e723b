//! The ring of staging entries: page-locked memory that writes are packed into, and device memory that they are copied to.

use super::plan::most_parts;
use crate::backend::scatter::{DESCRIPTOR_BYTES, HEADER_BYTES, PIECE_ALIGNMENT};
use crate::config::Placement;
use crate::config::checks::Check;
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Block, Device, HostWait, Name, Side, Storage, Which};
use crate::sync::Arc;

/// Bytes of an entry for so many writes with so many bytes.
pub(super) fn entry_bytes(max_writes: u32, staging_bytes: u64) -> usize {
    // A part may have to be moved on to where its place in the table is in its word.
    HEADER_BYTES + most_parts(max_writes) * (DESCRIPTOR_BYTES + PIECE_ALIGNMENT) + staging_bytes as usize
}

pub(super) struct Ring {
    entries: Vec<Block>,
    /// The one that was used longest ago.
    next: usize,
}

impl Ring {
    pub fn new(device: &Arc<Device>, name: &Arc<Name>, depth: u32, bytes: usize) -> Result<Ring> {
        let side =
            |which, placement| Ok(Some(Side::new(which, name, Storage::allocate_only(device, placement, bytes)?)));
        let entries = (0..depth)
            .map(|_| {
                let (host, device) = (side(Which::Host, Placement::Pinned)?, side(Which::Device, Placement::Device)?);
                Ok(Block::new(name, bytes, host, device))
            })
            .collect::<Result<_>>()?;
        Ok(Ring { entries, next: 0 })
    }

    /// Entries that can be packed at once, and those that are lost for good.
    pub fn levels(&self) -> (u32, u32) {
        let count = |wanted: fn(&Block) -> bool| self.entries.iter().filter(|entry| wanted(entry)).count() as u32;
        (count(|entry| !entry.is_quarantined() && entry.is_known_idle()), count(Block::is_quarantined))
    }

    /// An entry that nothing uses: one whose work is known to be done, or turns out to be when the driver is asked; else the
    /// one that was used longest ago, which is waited for. Refused, every entry is as it was.
    pub fn claim(&mut self, wait: &HostWait<'_>) -> Result<usize> {
        let depth = self.entries.len();
        let usable =
            || (0..depth).map(|step| (self.next + step) % depth).filter(|at| !self.entries[*at].is_quarantined());
        let idle = || usable().find(|at| self.entries[*at].is_known_idle());
        let found = idle().or_else(|| {
            usable().for_each(|at| {
                self.entries[at].sides().flat_map(Side::fences).for_each(|fence| {
                    fence.query();
                })
            });
            idle()
        });
        let Some(at) = found.or_else(|| usable().next()) else {
            return fail!(
                Exhausted,
                "all {depth} staging entries are quarantined: work on them could not be proven done; destroy these rows and create others"
            );
        };
        self.entries[at].recycle(wait, Check::ApplyWaits).map_err(|e| e.context("waiting for a staging entry"))?;
        Ok(at)
    }

    pub fn entry(&mut self, at: usize) -> &mut Block {
        &mut self.entries[at]
    }

    /// The entry is in use from now on.
    pub fn used(&mut self, at: usize) {
        self.next = (at + 1) % self.entries.len();
    }

    /// The device was lost: what was not proven before is never touched again.
    pub fn quarantine_lost(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_quarantined() && !entry.is_known_idle()) {
            entry.quarantine(Status::DeviceLost);
        }
    }
}
