//! Who gives back what when memory is high: what is idle first, and at the next look blocks of tiers.

use super::Counters;
use crate::lease::Twin;
use crate::pinned::Pinned;
use crate::pool::Pool;
use crate::sync::Arc;
use crate::tiers::{Brake, TIERS, Tier, Tiers};
use crate::workspace::Workspace;

/// Bytes that are to go, where something is high, and who may answer.
#[derive(Default)]
pub(super) struct Answers {
    pub device: u64,
    pub host: u64,
    pub pinned: Vec<(Arc<Pinned>, u64)>,
    pub tiers: Vec<(Arc<Tiers>, Arc<Brake>, [u64; TIERS])>,
    pub pools: Vec<Arc<Pool>>,
    pub workspaces: Vec<Arc<Workspace>>,
}

impl Answers {
    /// Called under no lock. Waits for nobody.
    pub fn give(self, counters: &Counters) {
        let (device, host) = (self.device > 0, self.host > 0);
        let idle = if device || host { self.give_idle(device, host, counters) } else { 0 };
        for (pinned, over) in &self.pinned {
            if *over > 0 {
                counters.freed_bytes.add(pinned.trim(0));
            }
        }
        // What the device has too much of, once nothing is idle: the first who can take all of it.
        let mut left = if idle == 0 { self.device } else { 0 };
        for (tiers, brake, over) in &self.tiers {
            for tier in Tier::ALL {
                brake.set_quiet(tier, over[tier as usize] > 0 || (tier == Tier::Device && device));
                let wanted = if tier == Tier::Device { over[tier as usize].max(left) } else { over[tier as usize] };
                // What an earlier look has sent down is on its way.
                let wanted = wanted.saturating_sub(tiers.leaving_bytes(tier));
                let gone = if wanted > 0 { tiers.demote(tier, wanted) } else { 0 };
                counters.demoted_bytes.add(gone);
                if tier == Tier::Device {
                    left = left.saturating_sub(gone);
                }
            }
        }
    }

    /// Has idle memory go. Returns how much of it there was, in pieces of any size.
    fn give_idle(&self, device: bool, host: bool, counters: &Counters) -> u64 {
        let (mut blocks, mut entries, mut bytes) = (0, 0, 0);
        for workspace in &self.workspaces {
            // One that was destroyed has nothing.
            entries += workspace.clear().map_or(0, |(gone, _)| gone);
        }
        for pool in self.pools.iter().filter(|pool| host || pool.twin() != Twin::Never) {
            blocks += u64::from(pool.trim(0));
        }
        for (tiers, ..) in &self.tiers {
            let of = |tier: &Tier| if *tier == Tier::Device { device } else { host };
            bytes += Tier::ALL.iter().filter(|tier| of(tier)).map(|tier| tiers.trim(*tier)).sum::<u64>();
        }
        if host {
            bytes += self.pinned.iter().map(|(pinned, _)| pinned.trim(0)).sum::<u64>();
        }
        counters.trimmed_blocks.add(blocks);
        counters.evicted_entries.add(entries);
        counters.freed_bytes.add(bytes);
        blocks + entries + bytes
    }
}
