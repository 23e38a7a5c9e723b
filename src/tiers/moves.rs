//! From tier to tier: copies, what they leave behind, and who has to go.

use super::block::{Inner, TieredBlock};
use super::{Tier, Tiers};
use crate::config::Timeout;
use crate::config::checks::{Check, on};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{Fence, HostWait, Outcome, Piece, Proof, Role, Side, Which, transfer};
use crate::sync::Arc;
use std::time::Instant;

/// A move that is queued.
pub(super) struct Moved {
    /// Where the bytes still are, should the copy fail.
    old: Side,
    from: Tier,
    fence: Fence,
    /// Kernels were given the new address before the copy was proven.
    pub handed_out: bool,
}

/// What became of a move.
pub(super) enum Arrival {
    /// The block is there.
    There,
    /// Again, after this.
    After(Fence),
    /// Again, when there is room.
    NoRoom,
}

/// Whether a block was sent down.
enum Sent {
    /// One of so many bytes.
    Bytes(u64),
    /// None; maybe because other threads are inside those that could go.
    Nobody { occupied: bool },
}

impl TieredBlock {
    /// Notices that a move is over: the old memory goes, or, where the copy failed, the block is there again. Returns whether it
    /// failed. Never waits.
    pub(super) fn settle(&self, inner: &mut Inner) -> bool {
        let Some(moved) = &inner.moved else { return false };
        match moved.fence.query() {
            Proof::Pending => false,
            // Kernels have the address: it stays until they are released, and nobody waits for that to make room.
            Proof::Failed if !inner.holds.is_empty() => {
                self.tiers.state.lock().moved(self.id, inner.tier, None);
                false
            }
            Proof::Failed => {
                let Some(Moved { old, from, handed_out, .. }) = inner.moved.take() else { return false };
                drop(inner.put(old, from));
                inner.untold |= handed_out;
                self.tiers.counters.failed_moves.add(1);
                self.tiers.state.lock().moved(self.id, from, None);
                true
            }
            Proof::Complete | Proof::Lost => {
                if moved.old.fences().all(|fence| fence.query() != Proof::Pending) {
                    inner.moved = None;
                    self.tiers.state.lock().moved(self.id, inner.tier, None);
                }
                false
            }
        }
    }
}

impl Tiers {
    /// Queues the move of a block, whose lock the caller has. Never waits.
    pub(super) fn move_block(&self, of: &TieredBlock, inner: &mut Inner, to: Tier) -> Result<Arrival> {
        if inner.tier == to {
            return Ok(Arrival::There);
        }
        if !inner.holds.is_empty() && on(Check::TierMoves) {
            self.device.counters.refusals.add(1);
            return fail!(
                Busy,
                "moving {}: {} accesses hold it where it is; release them",
                of.name(),
                inner.holds.len()
            );
        }
        if let Some(moved) = &inner.moved {
            let pending = moved.old.fences().find(|fence| fence.query() == Proof::Pending);
            return Ok(Arrival::After(pending.unwrap_or(&moved.fence).clone()));
        }
        let Some(storage) = self.room(to)?.allocate(of.bytes())? else { return Ok(Arrival::NoRoom) };
        let from = inner.tier;
        let which = if to == Tier::Device { Which::Device } else { Which::Host };
        let mut new = Side::new(which, of.shared_name(), storage);
        let Some(old) = inner.side() else { return fail!(NotHeld, "{} has no memory any more", of.name()) };
        let pieces = [Piece { source: 0, target: 0, bytes: of.bytes() as usize }];
        let up = to < from;
        let stream = if up { &self.up } else { &self.down };
        let fence = match transfer(old, &mut new, &pieces, stream, Role::Copy) {
            Outcome::Queued(fence) => fence,
            other => {
                self.counters.refused_moves.add(1);
                return other.into_result().map(|_| Arrival::There);
            }
        };
        if let Some(old) = inner.put(new, to) {
            inner.moved = Some(Moved { old, from, fence, handed_out: false });
        }
        self.state.lock().moved(of.id, to, Some(from));
        if up { &self.counters.promotions } else { &self.counters.demotions }.add(1);
        self.counters.moved_bytes.add(of.bytes());
        Ok(Arrival::There)
    }

    /// Notices which moves are over.
    pub(super) fn settle_all(&self) {
        self.up.poll();
        self.down.poll();
        for block in self.leaving_blocks(Tier::Device) {
            block.inner.visit(|inner| block.settle(inner));
        }
    }

    /// Blocks whose memory of before their last move is in this tier, or a lower one, the first to leave first.
    fn leaving_blocks(&self, tier: Tier) -> Vec<Arc<TieredBlock>> {
        let state = self.state.lock();
        let mut blocks = Vec::new();
        // Without memory for the list nothing is noticed yet.
        if blocks.try_reserve(state.leaving.iter().count()).is_ok() {
            blocks.extend(state.leaving_from(tier).filter_map(|id| state.block(id)));
        }
        blocks
    }

    /// Bytes that a tier lacks to take so many more and have no more than `most`, when the moves under way are proven.
    fn lacks(&self, tier: Tier, bytes: u64, most: u64) -> u64 {
        let Some(room) = &self.rooms[tier as usize] else { return 0 };
        let levels = room.levels();
        let used = (levels.bytes - levels.kept).saturating_add(bytes);
        used.saturating_sub(levels.budget.min(most)).saturating_sub(self.leaving_bytes(tier))
    }

    /// Queues moves down from a tier until it will have room for so many bytes more. Returns whether it will, or may when other threads leave blocks that could go. Never waits.
    fn queue_room(&self, tier: Tier, bytes: u64) -> bool {
        self.queue_room_within(tier, bytes, u64::MAX, false)
    }

    /// As [`Tiers::queue_room`], where the tier is to have no more than `most` bytes then.
    fn queue_room_within(&self, tier: Tier, bytes: u64, most: u64, unwanted_only: bool) -> bool {
        while self.lacks(tier, bytes, most) > 0 {
            match self.send_down(tier, unwanted_only) {
                Sent::Bytes(_) => {}
                Sent::Nobody { occupied } => return occupied,
            }
        }
        true
    }

    /// Sends one block from a tier to the next one below that has room.
    fn send_down(&self, tier: Tier, unwanted_only: bool) -> Sent {
        let found = {
            let state = self.state.lock();
            state.victim(tier, unwanted_only).map(|id| (state.bytes_of(id), state.block(id)))
        };
        let Some((bytes, block)) = found else { return Sent::Nobody { occupied: false } };
        // It ends just now.
        let Some(block) = block else { return Sent::Nobody { occupied: true } };
        let fits = |lower: &Tier| {
            *lower > tier && self.rooms[*lower as usize].as_ref().is_some_and(|room| room.levels().budget >= bytes)
        };
        let has_room = |lower: &Tier| self.rooms[*lower as usize].as_ref().is_some_and(|room| room.free() >= bytes);
        let Some(to) = self.present().filter(fits).find(has_room) else {
            // Those below make room first.
            let occupied = self.present().find(fits).is_some_and(|next| self.queue_room(next, bytes));
            return Sent::Nobody { occupied };
        };
        let moved = block.inner.visit(|inner| {
            let free = inner.tier == tier && inner.holds.is_empty() && inner.moved.is_none();
            free.then(|| self.move_block(&block, inner, to))
        });
        match moved {
            Some(Some(Ok(Arrival::There))) => Sent::Bytes(bytes),
            Some(Some(Err(_))) => Sent::Nobody { occupied: false },
            // Somebody was faster, with the block or with the room.
            _ => Sent::Nobody { occupied: true },
        }
    }

    /// Makes room in a tier for a block: sends others down, and waits until they are gone.
    pub(super) fn make_room(&self, tier: Tier, bytes: u64, wait: &HostWait<'_>) -> Result<()> {
        loop {
            self.settle_all();
            self.device.maintain();
            if self.room(tier)?.free() >= bytes {
                return Ok(());
            }
            let may = self.queue_room(tier, bytes);
            let (fence, any) = self.leaving_fence(tier);
            match fence {
                Some(fence) => {
                    let doing = format_args!("making room in the {} tier of {}", tier.placement().name(), self.name);
                    fence.wait(wait).map_err(|error| error.context(doing))?;
                }
                None if any || may => self.pause(wait)?,
                None => {
                    // What a lost device was to give back it never will.
                    self.device.expect_usable()?;
                    return fail!(
                        Budget,
                        "{bytes} bytes more in the {} tier: {}; release accesses, end blocks, or raise a budget",
                        tier.placement().name(),
                        self.describe()
                    );
                }
            }
        }
    }

    /// Others are inside the blocks that would make room, or have just made it.
    fn pause(&self, wait: &HostWait<'_>) -> Result<()> {
        let late = wait.deadline().is_some_and(|deadline| Instant::now() >= deadline);
        if wait.timeout() == Timeout::Try || late {
            let status = if late { Status::Timeout } else { Status::Busy };
            let message = format!("{}: other threads use the blocks that would make room", self.name);
            return Err(Error::new(status, message));
        }
        crate::sync::yield_now();
        Ok(())
    }

    /// What to wait for until memory of a tier, or of a lower one, is free; and whether there is something.
    fn leaving_fence(&self, tier: Tier) -> (Option<Fence>, bool) {
        let blocks = self.leaving_blocks(tier);
        let any = !blocks.is_empty();
        let pending = |inner: &mut Inner| {
            let moved = inner.moved.as_ref()?;
            let fences = std::iter::once(&moved.fence).chain(moved.old.fences());
            fences.into_iter().find(|fence| fence.query() == Proof::Pending).cloned()
        };
        (blocks.iter().find_map(|block| block.inner.visit(pending).flatten()), any)
    }

    /// Decides, by the uses so far, who moves, and queues that: blocks that are worth a higher tier go up, no further than who
    /// watches it lets them; those that are not make room, and what is over a budget goes down. Returns how many went up, and down. Waits for nobody.
    pub fn step(&self) -> (u64, u64) {
        let Some(mut list) = self.stepping.try_lock() else { return (0, 0) };
        let before = (self.counters.promotions.get(), self.counters.demotions.get());
        self.settle_all();
        self.device.maintain();
        for tier in self.present() {
            self.queue_room(tier, 0);
        }
        let mut left = self.moves_per_step as usize;
        for tier in self.present() {
            let (Some(most), Ok(room)) = (self.most_by_steps(tier), self.room(tier)) else { continue };
            self.state.lock().wanted(tier, left, &mut list);
            for id in list.drain(..) {
                let (bytes, block) = {
                    let state = self.state.lock();
                    (state.bytes_of(id), state.block(id))
                };
                // One that is larger than that keeps no other one out.
                let Some(block) = block.filter(|_| bytes <= most) else { continue };
                let levels = room.levels();
                if levels.bytes - levels.kept + bytes > most {
                    self.queue_room_within(tier, bytes, most, true);
                    break;
                }
                let moved = block.inner.visit(|inner| {
                    let free = inner.tier > tier && inner.holds.is_empty() && inner.moved.is_none();
                    free && matches!(self.move_block(&block, inner, tier), Ok(Arrival::There))
                });
                left -= (moved == Some(true)) as usize;
            }
        }
        (self.counters.promotions.get() - before.0, self.counters.demotions.get() - before.1)
    }

    /// Bytes of a tier that moves under way will leave free.
    pub fn leaving_bytes(&self, tier: Tier) -> u64 {
        self.state.lock().leaving_bytes(tier)
    }

    /// Sends blocks down from a tier until so many bytes go, the least worth first, and gives its idle memory back. Returns the
    /// bytes that go. Waits for nobody.
    pub fn demote(&self, tier: Tier, bytes: u64) -> u64 {
        let mut going = self.trim(tier);
        while going < bytes
            && let Sent::Bytes(gone) = self.send_down(tier, false)
        {
            going += gone;
        }
        going
    }
}
