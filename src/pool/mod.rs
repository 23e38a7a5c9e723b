//! Pools of equal blocks: acquired, filled, given to the device, and handed out again only when their last use is over.
//!
//! The pool's lock guards its lists alone; fences are waited for, and recorded, outside it. A block that is taken out of the
//! lists belongs to whoever took it. A waiter's slot has one state, changed under the lock, so a hand-over and a time-out
//! can never both win.

mod lease;

pub use lease::{BLOCKS_PER_CALL, Lease};

use crate::config::checks::{Check, on};
use crate::config::{Placement, STREAMS_PER_CALL, Timeout};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{Block, Device, HostWait, Member, Name, Side, Storage, Timeline, Which};
use crate::stats::{Counter, Record, WaitCounters};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, MutexGuard, OneThread, Ordering, Weak};
use std::collections::VecDeque;
use std::time::Instant;

/// What a pool is to be.
pub struct PoolOptions {
    /// Pinned or uva.
    pub placement: Placement,
    /// Size of each block.
    pub block_bytes: u64,
    /// How many.
    pub block_count: u32,
    /// Whether each block has a device twin.
    pub device_side: bool,
    /// The label, or empty.
    pub label: String,
}

/// The most blocks of one pool.
pub const MAX_BLOCKS: u32 = 1 << 20;

/// A pool. Any thread.
pub struct Pool {
    name: Arc<Name>,
    device: Arc<Device>,
    placement: Placement,
    block_bytes: usize,
    device_side: bool,
    blocks: Vec<Cell>,
    lists: Mutex<Lists>,
    counters: Counters,
}

/// One block of the pool.
struct Cell {
    block: OneThread<Block>,
    /// Odd while held; each acquire and each release adds one. An old lease is known by its serial.
    serial: AtomicU64,
}

struct Lists {
    /// Free blocks, the longest free first.
    free: VecDeque<Free>,
    /// Waiters by number; a place is used again.
    waiters: Vec<Waiter>,
    /// Places of waiters that are waiting, the next to be served first.
    queue: VecDeque<u32>,
    idle_places: Vec<u32>,
    usable: u32,
    held: u32,
    shut_down: bool,
    /// Why blocks were quarantined last.
    lost: bool,
}

#[derive(Clone, Copy)]
struct Free {
    index: u32,
    /// It came back without uses: nothing is to be proven.
    clean: bool,
}

struct Waiter {
    state: Waiting,
    priority: i32,
    wake: Arc<Condvar>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Idle,
    Waits,
    Given(u32),
    Refused(Status),
}

/// What a pool counts.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub acquires: Counter,
    pub releases: Counter,
    pub hand_overs: Counter,
    /// Waits for a block.
    pub waits: WaitCounters,
    /// Waits for a block's fence.
    pub fence_waits: WaitCounters,
}

/// A pool's levels at one moment.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLevels {
    pub free: u32,
    pub held: u32,
    pub quarantined: u32,
    pub waiters: u32,
}

impl Pool {
    /// A pool with all its blocks allocated.
    pub fn create(device: &Arc<Device>, options: PoolOptions) -> Result<Arc<Pool>> {
        let PoolOptions { placement, block_bytes, block_count, device_side, label } = options;
        match placement {
            Placement::Pinned | Placement::Uva | Placement::Managed => {}
            other => {
                return fail!(InvalidArgument, "a pool's placement is pinned, uva or managed, not {}", other.name());
            }
        }
        if block_bytes == 0 || block_bytes > isize::MAX as u64 {
            return fail!(InvalidArgument, "block_bytes is {block_bytes}: at least 1, and within the address space");
        }
        if block_count == 0 || block_count > MAX_BLOCKS {
            return fail!(InvalidArgument, "block_count is {block_count}: 1 to {MAX_BLOCKS}");
        }
        let bytes = block_bytes as usize;
        let name = Arc::new(Name::new("pool", &label));
        let mut blocks = Vec::new();
        let mut free = VecDeque::new();
        let count = block_count as usize;
        if blocks.try_reserve_exact(count).is_err() || free.try_reserve_exact(count).is_err() {
            return fail!(OutOfHostMemory, "no host memory for the lists of {block_count} blocks: ask for fewer");
        }
        device.maintain();
        for index in 0..block_count {
            let name = Arc::new(Name::part("block", index as u64, &name));
            let side = |which, placement| -> Result<Side> {
                let storage = Storage::allocate_only(device, placement, bytes).map_err(|e| e.context(&name))?;
                Ok(Side::new(which, &name, storage))
            };
            let host = side(Which::Host, placement)?;
            let twin = if device_side { Some(side(Which::Device, Placement::Device)?) } else { None };
            blocks.push(Cell {
                block: OneThread::new(Block::new(&name, bytes, Some(host), twin)),
                serial: AtomicU64::new(0),
            });
            free.push_back(Free { index, clean: true });
        }
        let pool = Arc::new(Pool {
            name,
            device: device.clone(),
            placement,
            block_bytes: bytes,
            device_side,
            lists: Mutex::new(Lists {
                free,
                waiters: Vec::new(),
                queue: VecDeque::new(),
                idle_places: Vec::new(),
                usable: block_count,
                held: 0,
                shut_down: false,
                lost: false,
            }),
            blocks,
            counters: Counters::default(),
        });
        let member: Weak<Pool> = Arc::downgrade(&pool);
        device.enroll(member);
        Ok(pool)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Bytes of each block.
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes as u64
    }

    /// Blocks in all.
    pub fn block_count(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// Whether each block has a device twin.
    pub fn has_device_side(&self) -> bool {
        self.device_side
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Its levels.
    pub fn levels(&self) -> PoolLevels {
        let lists = self.lists.lock();
        PoolLevels {
            free: lists.free.len() as u32,
            held: lists.held,
            quarantined: self.block_count() - lists.usable,
            waiters: lists.queue.len() as u32,
        }
    }

    /// A block whose every earlier use is over. Among proven blocks the longest free one; where none is proven, the one
    /// with the oldest fence, which is waited for. Where none is free, waits for a release: by priority, then arrival.
    pub fn acquire(self: &Arc<Pool>, priority: i32, timeout: Timeout) -> Result<Lease> {
        let wait = HostWait::new(timeout, &self.counters.fence_waits);
        loop {
            self.device.expect_usable()?;
            let Free { index, clean } = match self.take_free()? {
                Some(free) => free,
                None => Free { index: self.wait_for_block(priority, &wait)?, clean: false },
            };
            let cell = &self.blocks[index as usize];
            if clean {
                return Ok(self.lease(index));
            }
            // Taken out of the lists, the block is this thread's: the lock is free but for a describe passing by.
            let mut block = cell.block.enter_own();
            let proven = block.recycle(&wait, Check::AcquireWaits);
            drop(block);
            match proven {
                Ok(()) => return Ok(self.lease(index)),
                Err(error) => match error.status() {
                    Status::DeviceLost | Status::Quarantined => self.quarantined(index, true),
                    _ => {
                        if !on(Check::TimeoutKeepsUses) {
                            cell.block.enter_own().sides_mut().for_each(Side::forget_uses);
                        }
                        self.put_back(index, true, false);
                        return Err(error.context(format_args!("acquiring from {}", self.name)));
                    }
                },
            }
        }
    }

    fn lease(self: &Arc<Pool>, index: u32) -> Lease {
        // Nobody else changes the serial of a block that was taken out of the lists.
        let serial = self.blocks[index as usize].serial.load(Ordering::Relaxed) + 1;
        self.blocks[index as usize].serial.store(serial, Ordering::Release);
        Lease::new(self, index, serial)
    }

    /// Takes a free block out of the lists, preferring a proven one.
    fn take_free(&self) -> Result<Option<Free>> {
        let mut lists = self.expect_usable(self.lists.lock())?;
        if lists.free.is_empty() {
            return Ok(None);
        }
        let mut place = self.proven_place(&lists);
        if place.is_none() && on(Check::AcquirePrefersProven) {
            // Ask the streams outside the lock, then look again.
            let streams = self.streams_in_use(&lists);
            drop(lists);
            streams.into_iter().flatten().for_each(|timeline| timeline.poll());
            lists = self.expect_usable(self.lists.lock())?;
            place = self.proven_place(&lists);
        }
        // The first of the list was released first: its fence is the oldest.
        Ok(self.take(&mut lists, place.unwrap_or(0)))
    }

    fn take(&self, lists: &mut Lists, place: usize) -> Option<Free> {
        let free = lists.free.remove(place)?;
        lists.held += 1;
        self.counters.acquires.add_locked(1);
        Some(free)
    }

    fn proven_place(&self, lists: &Lists) -> Option<usize> {
        if !on(Check::AcquirePrefersProven) {
            return None;
        }
        let known = |index: u32| self.blocks[index as usize].block.look(Block::is_known_idle).unwrap_or(false);
        lists.free.iter().position(|free| free.clean || known(free.index))
    }

    /// Some of the streams that free blocks still wait for.
    fn streams_in_use(&self, lists: &Lists) -> [Option<Arc<Timeline>>; STREAMS_PER_CALL] {
        let mut streams = [const { None }; STREAMS_PER_CALL];
        let mut count = 0;
        for free in &lists.free {
            self.blocks[free.index as usize].block.look(|block| {
                for fence in block.sides().flat_map(Side::fences).filter(|fence| !fence.is_known()) {
                    let seen = streams.iter().flatten().any(|known| Arc::ptr_eq(known, fence.timeline()));
                    if !seen && count < streams.len() {
                        streams[count] = Some(fence.timeline().clone());
                        count += 1;
                    }
                }
            });
        }
        streams
    }

    fn expect_usable<'a>(&self, lists: MutexGuard<'a, Lists>) -> Result<MutexGuard<'a, Lists>> {
        if lists.shut_down {
            return fail!(ShutDown, "{} was destroyed", self.name);
        }
        if lists.usable == 0 && on(Check::Exhausted) {
            return Err(self.refusal(if lists.lost { Status::DeviceLost } else { Status::Exhausted }));
        }
        Ok(lists)
    }

    #[cold]
    fn refusal(&self, status: Status) -> Error {
        Error::new(
            status,
            match status {
                Status::ShutDown => format!("{} was destroyed while this thread waited for a block", self.name),
                Status::DeviceLost => format!("the device of {} is lost: every block is quarantined", self.name),
                _ => format!(
                    "every one of the {} blocks of {} is quarantined: make a new pool",
                    self.block_count(),
                    self.name
                ),
            },
        )
    }

    fn wait_for_block(&self, priority: i32, wait: &HostWait<'_>) -> Result<u32> {
        if wait.timeout() == Timeout::Try {
            self.counters.waits.timeouts.add(1);
            return fail!(Busy, "no block of {} is free: {}", self.name, self.who_holds());
        }
        self.device.refuse_deadlock_in_callback()?;
        let start = Instant::now();
        let mut lists = self.expect_usable(self.lists.lock())?;
        if let Some(free) = self.take(&mut lists, 0) {
            return Ok(free.index);
        }
        let place = lists.enqueue(priority);
        let wake = lists.waiters[place as usize].wake.clone();
        loop {
            match lists.waiters[place as usize].state {
                Waiting::Given(index) => {
                    lists.retire_waiter(place);
                    drop(lists);
                    self.counters.waits.waited(start.elapsed());
                    return Ok(index);
                }
                Waiting::Refused(status) => {
                    lists.retire_waiter(place);
                    drop(lists);
                    self.counters.waits.waited(start.elapsed());
                    return Err(self.refusal(status));
                }
                Waiting::Waits | Waiting::Idle => {}
            }
            let late = match wait.deadline() {
                Some(deadline) => wake.wait_until(&mut lists, deadline).timed_out(),
                None => {
                    wake.wait(&mut lists);
                    false
                }
            };
            // Given in the last moment is given: who lost the race yields.
            if late && lists.waiters[place as usize].state == Waiting::Waits {
                lists.queue.retain(|waiting| *waiting != place);
                lists.retire_waiter(place);
                drop(lists);
                self.counters.waits.waited(start.elapsed());
                self.counters.waits.timeouts.add(1);
                return fail!(
                    Timeout,
                    "no block of {} came free within {:?}, which is the limit of this call: {}",
                    self.name,
                    start.elapsed(),
                    self.who_holds()
                );
            }
        }
    }

    /// A block, with its uses, goes to the first waiter, or to the free list: to the `front` where it came from there.
    fn put_back(&self, index: u32, front: bool, clean: bool) {
        let mut lists = self.lists.lock();
        lists.held -= 1;
        self.count_return(front);
        if lists.shut_down {
            drop(lists);
            self.blocks[index as usize].block.enter_own().retire_storage();
            return;
        }
        let Some(place) = lists.queue.pop_front() else {
            let free = Free { index, clean };
            if front {
                lists.free.push_front(free);
            } else {
                lists.free.push_back(free);
            }
            return;
        };
        lists.held += 1;
        self.counters.acquires.add_locked(1);
        if !on(Check::HandOver) {
            // What a hand-over without its uses would be.
            self.blocks[index as usize].block.enter_own().sides_mut().for_each(Side::forget_uses);
        }
        let wake = lists.tell(place, Waiting::Given(index));
        drop(lists);
        self.counters.hand_overs.add(1);
        wake.notify_one();
    }

    /// A block is out of use for good. With the last one every waiter is told.
    fn quarantined(&self, index: u32, unproven: bool) {
        let mut block = self.blocks[index as usize].block.enter_own();
        block.quarantine(Status::Quarantined);
        drop(block);
        let mut lists = self.lists.lock();
        lists.held -= 1;
        self.count_return(unproven);
        lists.usable -= 1;
        lists.lost |= self.device.backend().is_lost();
        if lists.usable > 0 || !on(Check::Exhausted) {
            return;
        }
        let status = if lists.lost { Status::DeviceLost } else { Status::Exhausted };
        self.refuse_waiters(lists, status);
    }

    /// Under the lists' lock: a block came back from its holder, or from an acquire that did not get it proven.
    fn count_return(&self, unproven: bool) {
        if unproven {
            self.counters.acquires.sub_locked(1);
        } else {
            self.counters.releases.add_locked(1);
        }
    }

    fn refuse_waiters(&self, mut lists: MutexGuard<'_, Lists>, status: Status) {
        while let Some(place) = lists.queue.pop_front() {
            lists.tell(place, Waiting::Refused(status)).notify_one();
        }
    }

    /// Ends the pool: free blocks go to the deferred list, held ones when they are given back, waiters are told.
    /// Never waits.
    pub fn destroy(&self) {
        let mut lists = self.lists.lock();
        if std::mem::replace(&mut lists.shut_down, true) {
            return;
        }
        let free = std::mem::take(&mut lists.free);
        if on(Check::DestroyWakes) {
            self.refuse_waiters(lists, Status::ShutDown);
        } else {
            drop(lists);
        }
        for Free { index, .. } in free {
            self.blocks[index as usize].block.enter_own().retire_storage();
        }
    }

    /// Who keeps the blocks, in words.
    #[cold]
    fn who_holds(&self) -> String {
        let PoolLevels { held, quarantined, .. } = self.levels();
        let count = |test: &dyn Fn(&Block) -> bool| {
            self.blocks.iter().filter(|cell| cell.block.look(|block| test(block)) == Some(true)).count()
        };
        let (sealed, guarded) = (count(&Block::is_sealed), count(&Block::has_guard));
        format!(
            "of {} blocks {held} are held ({sealed} sealed: an address is out and no fence declared; {guarded} with a guard open), {quarantined} quarantined",
            self.block_count()
        )
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let PoolLevels { free, waiters, .. } = self.levels();
        let twin = if self.device_side { " with a device twin" } else { "" };
        format!(
            "{}: {} blocks of {} bytes {}{twin}; {free} free, {waiters} waiting; {}",
            self.name,
            self.block_count(),
            self.block_bytes,
            self.placement.name(),
            self.who_holds(),
        )
    }
}

impl Member for Pool {
    fn record(&self) -> Record {
        let PoolLevels { free, held, quarantined, waiters } = self.levels();
        Record::new("pool", &self.name)
            .with("placement", self.placement.name())
            .with("block_bytes", self.block_bytes)
            .with("block_count", self.block_count())
            .with("free_blocks", free)
            .with("held_blocks", held)
            .with("quarantined_blocks", quarantined)
            .with("waiters", waiters)
            .with("acquires", self.counters.acquires.get())
            .with("waits", self.counters.waits.waits.get())
            .with("wait_ns", self.counters.waits.wait_ns.get())
    }

    fn send_away(&self) {
        self.destroy();
    }
}

impl Lists {
    fn enqueue(&mut self, priority: i32) -> u32 {
        let place = self.idle_places.pop().unwrap_or_else(|| {
            self.waiters.push(Waiter { state: Waiting::Idle, priority: 0, wake: Arc::new(Condvar::new()) });
            self.waiters.len() as u32 - 1
        });
        let waiter = &mut self.waiters[place as usize];
        waiter.state = Waiting::Waits;
        waiter.priority = priority;
        let before = |other: &u32| self.waiters[*other as usize].priority >= priority;
        let position = self.queue.iter().take_while(|other| before(other)).count();
        self.queue.insert(position, place);
        place
    }

    fn tell(&mut self, place: u32, state: Waiting) -> Arc<Condvar> {
        let waiter = &mut self.waiters[place as usize];
        waiter.state = state;
        waiter.wake.clone()
    }

    fn retire_waiter(&mut self, place: u32) {
        self.waiters[place as usize].state = Waiting::Idle;
        self.idle_places.push(place);
    }
}
