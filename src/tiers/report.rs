//! What tiers tell of themselves.

use super::{TIERS, Tier, Tiers};
use crate::stats::Record;

/// One tier at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Bytes at most; 0: there is no such tier.
    pub budget_bytes: u64,
    /// Bytes that are used, moves under way included.
    pub used_bytes: u64,
    /// Bytes that nobody uses, kept for the next.
    pub kept_bytes: u64,
    /// Blocks that live there.
    pub blocks: u64,
}

/// The figures of tiers: what is the case at this moment, then what only grows.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TiersStats {
    pub tiers: [TierStats; TIERS],
    pub moving_blocks: u64,
    pub accesses: u64,
    pub hits: u64,
    pub promotions: u64,
    pub demotions: u64,
    pub moved_bytes: u64,
    pub failed_moves: u64,
    pub refused_moves: u64,
    pub waits: u64,
    pub wait_ns: u64,
    pub timeouts: u64,
}

impl Tiers {
    /// Its figures.
    pub fn stats(&self) -> TiersStats {
        let (counters, state) = (&self.counters, self.state.lock());
        let tiers = Tier::ALL.map(|tier| {
            let levels = self.rooms[tier as usize].as_ref().map(|room| room.levels()).unwrap_or_default();
            TierStats {
                budget_bytes: levels.budget,
                used_bytes: levels.bytes - levels.kept,
                kept_bytes: levels.kept,
                blocks: state.count(tier),
            }
        });
        TiersStats {
            tiers,
            moving_blocks: state.leaving.iter().count() as u64,
            accesses: counters.accesses.get(),
            hits: counters.hits.get(),
            promotions: counters.promotions.get(),
            demotions: counters.demotions.get(),
            moved_bytes: counters.moved_bytes.get(),
            failed_moves: counters.failed_moves.get(),
            refused_moves: counters.refused_moves.get(),
            waits: counters.waits.waits.get(),
            wait_ns: counters.waits.wait_ns.get(),
            timeouts: counters.waits.timeouts.get(),
        }
    }

    pub(super) fn report(&self) -> Record {
        let stats = self.stats();
        let record = Record::new("tiers", &self.name)
            .with("moving_blocks", stats.moving_blocks)
            .with("accesses", stats.accesses)
            .with("hits", stats.hits)
            .with("promotions", stats.promotions)
            .with("demotions", stats.demotions)
            .with("moved_bytes", stats.moved_bytes)
            .with("failed_moves", stats.failed_moves)
            .with("refused_moves", stats.refused_moves)
            .with("waits", stats.waits)
            .with("wait_ns", stats.wait_ns)
            .with("timeouts", stats.timeouts);
        self.present().fold(record, |record, tier| {
            let TierStats { budget_bytes, used_bytes, kept_bytes, blocks } = stats.tiers[tier as usize];
            let part = Record::new("tier", tier.placement().name())
                .with("budget_bytes", budget_bytes)
                .with("used_bytes", used_bytes)
                .with("kept_bytes", kept_bytes)
                .with("blocks", blocks);
            record.with_part(part)
        })
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let stats = self.stats();
        let tiers: Vec<String> = self
            .present()
            .map(|tier| {
                let TierStats { budget_bytes, used_bytes, blocks, .. } = stats.tiers[tier as usize];
                format!("{} {blocks} blocks, {used_bytes} of {budget_bytes} bytes", tier.placement().name())
            })
            .collect();
        format!("{}: {}; {} blocks on their way", self.name, tiers.join("; "), stats.moving_blocks)
    }
}
