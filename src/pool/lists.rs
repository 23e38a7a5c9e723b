//! What a pool's lock guards: its blocks, the free ones among them, and who waits.

use super::PoolLevels;
use super::adapt::Look;
use crate::error::{Result, Status};
use crate::fail;
use crate::lease::Cell;
use crate::stats::coarse_ns;
use crate::sync::{Arc, Condvar};
use std::collections::VecDeque;

/// The lists. Nothing here waits, or calls anybody.
#[derive(Default)]
pub(super) struct Lists {
    /// Every block that is not quarantined, by its number.
    entries: Vec<Option<Entry>>,
    /// Numbers below the end of `entries` that no block has.
    unused: Vec<u32>,
    /// Free blocks, the longest free first.
    pub free: VecDeque<Free>,
    /// Waiters by place; a place is used again.
    waiters: Vec<Waiter>,
    /// Places of waiters that are waiting: by priority, then by arrival.
    queue: VecDeque<u32>,
    idle_places: Vec<u32>,
    arrivals: u64,
    blocks: u32,
    pub held: u32,
    pub quarantined: u32,
    /// Blocks that were cleared or trimmed away below the first size, and are made again when they are wanted.
    pub cleared: u32,
    /// Blocks that are being made.
    pub coming: u32,
    /// The number that was handed out last; at first, one that is behind them all.
    pub last: u32,
    pub shut_down: bool,
    /// Blocks were quarantined because the device was lost.
    pub lost: bool,
    peak_blocks: u32,
    peak_held: u32,
    peak_waiters: u32,
    /// The most blocks held since it was asked last.
    pub recent_peak: u32,
    pub look: Look,
}

/// A block of the pool.
pub(super) struct Entry {
    pub cell: Arc<Cell>,
    pub is_held: bool,
    pub priority: i32,
    /// Its holder was asked to give it back.
    asked: bool,
    pub uses: u64,
    /// By [`coarse_ns`].
    pub last_use: u64,
}

/// A block that is to be had.
#[derive(Clone, Copy)]
pub(super) struct Free {
    pub number: u32,
    /// It came back without uses: nothing is to be proven.
    pub clean: bool,
}

struct Waiter {
    state: Waiting,
    priority: i32,
    arrival: u64,
    /// Blocks that went to others who came later.
    passed: u32,
    wake: Arc<Condvar>,
}

/// What became of a waiter.
#[derive(Clone)]
pub(super) enum Waiting {
    Idle,
    Waits,
    Given(Arc<Cell>),
    /// A block is to be made again, by whoever comes first.
    Again,
    Refused(Status),
}

impl Lists {
    /// Room for so many blocks, so that giving one back never allocates.
    pub fn with_room(blocks: u32) -> Result<Lists> {
        let mut lists = Lists { last: u32::MAX, ..Lists::default() };
        let count = blocks as usize;
        let room = lists.entries.try_reserve_exact(count).and(lists.unused.try_reserve_exact(count));
        if room.is_err() || lists.free.try_reserve_exact(count).is_err() {
            return fail!(OutOfHostMemory, "no host memory for the lists of {blocks} blocks: ask for fewer");
        }
        Ok(lists)
    }

    pub fn levels(&self) -> PoolLevels {
        PoolLevels {
            blocks: self.blocks,
            free: self.free.len() as u32,
            held: self.held,
            quarantined: self.quarantined,
            waiters: self.queue.len() as u32,
            peak_blocks: self.peak_blocks,
            peak_held: self.peak_held,
            peak_waiters: self.peak_waiters,
        }
    }

    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize)?.as_ref()
    }

    fn entry_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(number as usize)?.as_mut()
    }

    pub fn cells(&self) -> Vec<Arc<Cell>> {
        self.entries.iter().flatten().map(|entry| entry.cell.clone()).collect()
    }

    /// Blocks that are there, or will be without anybody's doing.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Blocks that are free, and those that whoever wants one makes again.
    pub fn to_be_had(&self) -> u32 {
        self.free.len() as u32 + self.cleared
    }

    /// A number for a block that is to be made, which is `coming` from now on.
    pub fn take_number(&mut self) -> u32 {
        self.coming += 1;
        self.unused.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        })
    }

    /// The block of that number could not be made.
    pub fn give_number_back(&mut self, number: u32) {
        self.coming -= 1;
        self.unused.push(number);
    }

    /// A new block, free and clean.
    pub fn add(&mut self, cell: Arc<Cell>) {
        let number = cell.number() as u32;
        self.enter(cell);
        self.free.push_back(Free { number, clean: true });
    }

    /// A new block, in no list.
    pub fn enter(&mut self, cell: Arc<Cell>) {
        let place = cell.number() as usize;
        if place >= self.entries.len() {
            self.entries.resize_with(place + 1, || None);
        }
        self.entries[place] = Some(Entry { cell, is_held: false, priority: 0, asked: false, uses: 0, last_use: 0 });
        self.blocks += 1;
        self.peak_blocks = self.peak_blocks.max(self.blocks);
    }

    /// A block is no part of the pool any more.
    pub fn remove(&mut self, number: u32) -> Option<Arc<Cell>> {
        let entry = self.entries.get_mut(number as usize)?.take()?;
        self.unused.push(number);
        self.blocks -= 1;
        Some(entry.cell)
    }

    /// Takes the longest free block out of the pool.
    pub fn drop_free(&mut self) -> Option<Arc<Cell>> {
        let free = self.free.pop_front()?;
        self.remove(free.number)
    }

    /// Takes every free block out of the pool.
    pub fn take_all_free(&mut self) -> Vec<Arc<Cell>> {
        std::iter::from_fn(|| self.drop_free()).collect()
    }

    /// Takes a free block out of the free list.
    pub fn take(&mut self, place: usize, priority: i32) -> Option<(Arc<Cell>, bool)> {
        let free = self.free.remove(place)?;
        Some((self.hold(free.number, priority)?, free.clean))
    }

    /// A block is somebody's from now on.
    pub fn hold(&mut self, number: u32, priority: i32) -> Option<Arc<Cell>> {
        let entry = self.entry_mut(number)?;
        entry.is_held = true;
        entry.asked = false;
        entry.priority = priority;
        entry.uses += 1;
        entry.last_use = coarse_ns();
        let cell = entry.cell.clone();
        self.held += 1;
        self.last = number;
        self.peak_held = self.peak_held.max(self.held);
        self.recent_peak = self.recent_peak.max(self.held);
        Some(cell)
    }

    /// A block is nobody's any more; `used`: it was not handed out in vain.
    pub fn unhold(&mut self, number: u32, used: bool) {
        self.held -= 1;
        if let Some(entry) = self.entry_mut(number) {
            entry.is_held = false;
            entry.uses -= !used as u64;
        }
    }

    /// The holder that whoever waits with this priority may ask: the one with the lowest, and there the one that has had its
    /// block for longest. It is asked once.
    pub fn holder_to_ask(&mut self, priority: i32) -> Option<(u32, i32)> {
        let held = self.entries.iter_mut().flatten().filter(|e| e.is_held && !e.asked && e.priority < priority);
        let entry = held.min_by_key(|entry| (entry.priority, entry.last_use))?;
        entry.asked = true;
        Some((entry.cell.number() as u32, entry.priority))
    }

    // ---- waiters ---------------------------------------------------------------------------------------------------

    pub fn enqueue(&mut self, priority: i32) -> u32 {
        let place = self.idle_places.pop().unwrap_or_else(|| {
            let wake = Arc::new(Condvar::new());
            self.waiters.push(Waiter { state: Waiting::Idle, priority: 0, arrival: 0, passed: 0, wake });
            self.waiters.len() as u32 - 1
        });
        self.arrivals += 1;
        let waiter = &mut self.waiters[place as usize];
        waiter.state = Waiting::Waits;
        waiter.priority = priority;
        waiter.arrival = self.arrivals;
        waiter.passed = 0;
        let before = |other: &u32| self.waiters[*other as usize].priority >= priority;
        let position = self.queue.iter().take_while(|other| before(other)).count();
        self.queue.insert(position, place);
        self.peak_waiters = self.peak_waiters.max(self.queue.len() as u32);
        place
    }

    /// Takes the waiter out of the queue who is next: by priority, then by arrival; but first who was passed over `patience`
    /// times. With `above`, only one of a higher priority.
    pub fn next_waiter(&mut self, patience: u32, above: Option<i32>) -> Option<u32> {
        let waiter = |place: &u32| &self.waiters[*place as usize];
        let may = |place: &u32| above.is_none_or(|above| waiter(place).priority > above);
        let late = |place: &u32| patience > 0 && waiter(place).passed >= patience;
        let out_of_patience = self.queue.iter().filter(|p| may(p) && late(p)).min_by_key(|p| waiter(p).arrival);
        let place = *out_of_patience.or_else(|| self.queue.iter().find(|p| may(p)))?;
        self.queue.retain(|other| *other != place);
        let arrival = self.waiters[place as usize].arrival;
        for other in &self.queue {
            let other = &mut self.waiters[*other as usize];
            other.passed += (other.arrival < arrival) as u32;
        }
        Some(place)
    }

    /// The priority that a waiter has.
    pub fn priority(&self, place: u32) -> i32 {
        self.waiters[place as usize].priority
    }

    /// Takes any waiter out of the queue.
    pub fn pop_waiter(&mut self) -> Option<u32> {
        self.queue.pop_front()
    }

    /// A waiter gives up.
    pub fn leave(&mut self, place: u32) {
        self.queue.retain(|waiting| *waiting != place);
        self.retire(place);
    }

    /// Tells a waiter, who is to be woken outside the lock.
    pub fn tell(&mut self, place: u32, state: Waiting) -> Arc<Condvar> {
        let waiter = &mut self.waiters[place as usize];
        waiter.state = state;
        waiter.wake.clone()
    }

    pub fn wake_of(&self, place: u32) -> Arc<Condvar> {
        self.waiters[place as usize].wake.clone()
    }

    pub fn state(&self, place: u32) -> &Waiting {
        &self.waiters[place as usize].state
    }

    /// The waiter has seen what became of it.
    pub fn retire(&mut self, place: u32) {
        self.waiters[place as usize].state = Waiting::Idle;
        self.idle_places.push(place);
    }
}
