//! What steps bring up where somebody watches memory: no more than a watch would only send down again.

use super::{Tier, Tiers};
use crate::error::Result;
use crate::fail;
use crate::sync::{Arc, AtomicU32, Ordering};

/// How far one watch lets steps go, as long as it has this.
pub struct Brake {
    /// Up to so many percent of each tier's budget.
    percent: u32,
    /// Tiers that nothing is brought up to, a bit each.
    quiet: AtomicU32,
}

impl Brake {
    /// Whether steps bring nothing up to a tier.
    pub fn set_quiet(&self, tier: Tier, is_quiet: bool) {
        let bit = 1 << tier as u32;
        if is_quiet {
            self.quiet.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.quiet.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn is_quiet(&self, tier: Tier) -> bool {
        self.quiet.load(Ordering::Relaxed) & (1 << tier as u32) != 0
    }
}

impl Tiers {
    /// Has steps bring up to each tier only as far as so many percent of its budget.
    pub fn brake(&self, percent: u32) -> Result<Arc<Brake>> {
        let mut brakes = self.brakes.lock();
        if brakes.try_reserve(1).is_err() {
            return fail!(OutOfHostMemory, "no host memory for the list of who watches {}", self.name);
        }
        let brake = Arc::new(Brake { percent, quiet: AtomicU32::new(0) });
        brakes.push(Arc::downgrade(&brake));
        Ok(brake)
    }

    /// As far as steps may fill a tier; `None`: they bring nothing there.
    pub(super) fn most_by_steps(&self, tier: Tier) -> Option<u64> {
        let budget = self.rooms[tier as usize].as_ref()?.levels().budget;
        let (mut percent, mut is_quiet) = (100, false);
        self.brakes.lock().retain(|brake| {
            let Some(brake) = brake.upgrade() else { return false };
            percent = percent.min(brake.percent);
            is_quiet |= brake.is_quiet(tier);
            true
        });
        (!is_quiet).then(|| (u128::from(budget) * u128::from(percent) / 100) as u64)
    }
}
