//! How many blocks a pool has: it grows where acquires find none, shrinks where most of them lie idle, and never does either
//! on the path of whoever acquires or releases.

use super::lists::Lists;
use super::{MAX_BLOCKS, Pool};
use crate::config::log::{self, Level};
use crate::error::Result;
use crate::fail;
use crate::lease::Cell;
use crate::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// How a pool grows and shrinks.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// The most blocks it grows to; 0: it stays at its first size.
    pub max_blocks: u32,
    /// To how many percent of its size it grows, above 100.
    pub percent: u32,
    /// It shrinks where not more than so many percent of its blocks were held at a time since the last look; below 100.
    pub shrink_below_percent: u32,
    /// For how long after a change it does not shrink.
    pub cool_down: Duration,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth { max_blocks: 0, percent: 150, shrink_below_percent: 25, cool_down: Duration::from_secs(10) }
    }
}

/// What a look at a pool's size came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adapted {
    /// Blocks that were made.
    pub made: u32,
    /// Blocks that went.
    pub gone: u32,
}

/// What was the case at the last look.
#[derive(Default)]
pub(super) struct Look {
    contended: u64,
    /// Whether an acquire found free blocks since, but none that the device was through with.
    pub(super) unproven: bool,
    /// When the size was changed last.
    changed: Option<Instant>,
}

impl Growth {
    pub(super) fn checked(self, first: u32) -> Result<Growth> {
        let Growth { max_blocks, percent, shrink_below_percent, .. } = self;
        if max_blocks != 0 && !(first..=MAX_BLOCKS).contains(&max_blocks) {
            return fail!(InvalidArgument, "max_blocks is {max_blocks}: 0, or block_count ({first}) to {MAX_BLOCKS}");
        }
        if percent <= 100 {
            return fail!(InvalidArgument, "growth_percent is {percent}: above 100; 150 makes 12 blocks of 8");
        }
        if shrink_below_percent >= 100 {
            return fail!(InvalidArgument, "shrink_below_percent is {shrink_below_percent}: below 100");
        }
        Ok(Growth { max_blocks: max_blocks.max(first), ..self })
    }

    fn larger(&self, blocks: u32) -> u32 {
        let wanted = (blocks as u64 * self.percent as u64).div_ceil(100).max(blocks as u64 + 1);
        wanted.min(self.max_blocks as u64) as u32
    }

    fn smaller(&self, blocks: u32) -> u32 {
        ((blocks as u64 * 100).div_ceil(self.percent as u64)) as u32
    }
}

impl Pool {
    /// Looks at what happened since the last look: makes blocks where some acquire found none that was free and done with, or where quarantine left fewer
    /// than there were at first; lets free ones go where few were held. Waits for nobody; may allocate.
    pub fn adapt(&self) -> Adapted {
        let (numbers, gone) = {
            let mut lists = self.lists.lock();
            if lists.shut_down || self.device.is_closed() || self.device.backend().is_lost() {
                return Adapted::default();
            }
            let contended = self.counters.contended.get();
            let found_none = contended > std::mem::replace(&mut lists.look.contended, contended)
                || std::mem::take(&mut lists.look.unproven)
                || lists.levels().waiters > 0;
            let held = lists.held;
            let peak = std::mem::replace(&mut lists.recent_peak, held);
            // Those that are coming are somebody else's look.
            let blocks = lists.blocks() + lists.coming;
            let whole = self.first_count.saturating_sub(lists.cleared);
            let wanted = match found_none {
                true => self.growth.larger(blocks).max(whole),
                false => whole.max(blocks),
            };
            let few = peak as u64 * 100 <= blocks as u64 * self.growth.shrink_below_percent as u64;
            let settled = lists.look.changed.is_none_or(|at| at.elapsed() >= self.growth.cool_down);
            if wanted > blocks {
                lists.look.changed = Some(Instant::now());
                lists.cleared = lists.cleared.min(self.first_count.saturating_sub(wanted));
                ((blocks..wanted).map(|_| lists.take_number()).collect(), Vec::new())
            } else if !found_none && few && settled && blocks > self.first_count {
                let left = self.growth.smaller(blocks).max(self.first_count).max(peak);
                let gone: Vec<Arc<Cell>> = (left..blocks).map_while(|_| lists.drop_free()).collect();
                lists.look.changed = Some(Instant::now());
                (Vec::new(), gone)
            } else {
                (Vec::new(), Vec::new())
            }
        };
        let adapted = Adapted { made: self.make_many(&numbers), gone: gone.len() as u32 };
        gone.iter().for_each(|cell| cell.retire());
        self.counters.growths.add((adapted.made > 0) as u64);
        self.counters.shrinks.add((adapted.gone > 0) as u64);
        adapted
    }

    /// Sees to it that whoever comes next finds `wanted` free blocks, as far as the pool may grow: blocks that lack are made,
    /// and are free. Returns how many were made, and how many lack still. Waits for nobody.
    pub fn warm(&self, wanted: u32) -> Result<(u32, u32)> {
        self.device.expect_usable()?;
        let (numbers, lacking) = {
            let mut lists = self.lists.lock();
            if lists.shut_down {
                return fail!(ShutDown, "{} was destroyed", self.name);
            }
            // Those that wait, and the reserve, are served first.
            let levels = lists.levels();
            let wanted = wanted as u64 + if wanted > 0 { (levels.waiters + self.reserved_blocks) as u64 } else { 0 };
            let lacking = wanted.saturating_sub((levels.free + lists.coming) as u64).min(u32::MAX.into()) as u32;
            let blocks = lists.blocks() + lists.coming;
            let count = lacking.min(self.growth.max_blocks.saturating_sub(blocks));
            if count > 0 {
                // Not to be taken for idle at the next look.
                lists.look.changed = Some(Instant::now());
                lists.cleared = lists.cleared.min(self.first_count.saturating_sub(blocks + count));
            }
            let numbers: Vec<u32> = (0..count).map(|_| lists.take_number()).collect();
            (numbers, lacking)
        };
        let made = self.make_many(&numbers);
        self.counters.growths.add((made > 0) as u64);
        Ok((made, lacking - made))
    }

    /// Makes blocks of these numbers and offers them; returns how many could be had.
    fn make_many(&self, numbers: &[u32]) -> u32 {
        for (made, number) in numbers.iter().enumerate() {
            match self.make(*number) {
                Ok(cell) => {
                    let mut lists = self.lists.lock();
                    lists.coming -= 1;
                    if lists.shut_down {
                        numbers[made + 1..].iter().for_each(|number| lists.give_number_back(*number));
                        return made as u32;
                    }
                    lists.enter(cell.clone());
                    self.offer(lists, &cell, false, true);
                }
                Err(error) => {
                    let left = &numbers[made..];
                    let mut lists = self.lists.lock();
                    left.iter().for_each(|number| lists.give_number_back(*number));
                    let unreplaced = self.unreplaced(&lists);
                    self.leave_to_acquires(&mut lists, unreplaced);
                    self.send_to_remake(&mut lists);
                    // The last block may have gone out of use meanwhile.
                    self.refuse_if_exhausted(lists);
                    self.counters.growth_failures.add(left.len() as u64);
                    log::write(
                        Level::Warn,
                        format_args!("{} lacks {} blocks: {}", self.name, left.len(), error.message()),
                    );
                    return made as u32;
                }
            }
        }
        numbers.len() as u32
    }

    /// Quarantined blocks of the first size that nothing has replaced yet: a maintain does.
    fn unreplaced(&self, lists: &Lists) -> u32 {
        let there = lists.blocks() + lists.coming + lists.cleared;
        lists.quarantined.min(self.first_count.saturating_sub(there))
    }

    /// What lacks to the first size, but for those, is made by the acquires that want it.
    fn leave_to_acquires(&self, lists: &mut Lists, unreplaced: u32) {
        let left = lists.blocks() + lists.coming + unreplaced;
        lists.cleared = lists.cleared.max(self.first_count.saturating_sub(left));
    }

    /// Lets free blocks go until there are `keep` blocks in all, or none is free. Returns how many went. What is below the
    /// first size is made again by the acquires that want it.
    pub fn trim(&self, keep: u32) -> u32 {
        self.let_go(self.lists.lock(), keep)
    }

    fn let_go(&self, mut lists: MutexGuard<'_, Lists>, keep: u32) -> u32 {
        let (blocks, unreplaced) = (lists.blocks(), self.unreplaced(&lists));
        let gone: Vec<Arc<Cell>> = (keep..blocks).map_while(|_| lists.drop_free()).collect();
        self.leave_to_acquires(&mut lists, unreplaced);
        drop(lists);
        gone.iter().for_each(|cell| cell.retire());
        gone.len() as u32
    }

    /// Lets every block go. Refused while one is held. They are made again by the acquires that want them.
    pub fn clear(&self) -> Result<u32> {
        let lists = self.lists.lock();
        if lists.held > 0 {
            drop(lists);
            return fail!(
                Busy,
                "{} cannot be cleared while blocks are held: release them first, or trim it, which lets the free ones go; {}",
                self.name,
                self.who_holds()
            );
        }
        Ok(self.let_go(lists, 0))
    }
}
