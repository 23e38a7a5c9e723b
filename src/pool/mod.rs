//! Pools of equal blocks: acquired, filled, given to the device, and handed out again only when their last use is over.
//!
//! The pool's lock guards its lists alone; fences are waited for, and memory made, outside it. A block that is taken out of
//! the free list belongs to whoever took it. A waiter's place has one state, changed under the lock, so a hand-over and a
//! time-out can never both win.

mod acquire;
mod adapt;
mod lists;

pub use adapt::{Adapted, Growth};

use crate::config::Placement;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Block, Device, Member, Name, Side};
use crate::lease::{BlockKind, Cell, Home, Returned, Twin, expect_placement};
use crate::stats::{Counter, Record, WaitCounters, coarse_ns};
use crate::sync::{Arc, Mutex, Weak};
use lists::Lists;

/// What a pool is to be.
pub struct PoolOptions {
    /// Pinned, uva or managed.
    pub placement: Placement,
    /// Size of each block.
    pub block_bytes: u64,
    /// How many there are at first, and always at least.
    pub block_count: u32,
    /// When a block gets a twin in device memory.
    pub twin: Twin,
    /// Whether copies between the sides of its blocks are timed.
    pub timed: bool,
    /// Which free block is taken.
    pub strategy: Strategy,
    /// Free blocks that only an acquire with a priority above 0 may take.
    pub reserved_blocks: u32,
    /// How often a waiter of lower priority is passed over before it comes first; 0: as often as it takes.
    pub patience: u32,
    /// How it grows and shrinks.
    pub growth: Growth,
    /// Asked where somebody of a higher priority has to wait.
    pub give_back: Option<GiveBack>,
    /// The label, or empty.
    pub label: String,
}

impl PoolOptions {
    /// A pool of so many blocks that stays as it is.
    pub fn new(placement: Placement, block_bytes: u64, block_count: u32) -> PoolOptions {
        PoolOptions {
            placement,
            block_bytes,
            block_count,
            twin: Twin::Never,
            timed: false,
            strategy: Strategy::default(),
            reserved_blocks: 0,
            patience: PATIENCE,
            growth: Growth::default(),
            give_back: None,
            label: String::new(),
        }
    }
}

/// Which of the free blocks is taken, among those whose last use is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Strategy {
    /// The one that has been free for longest.
    #[default]
    LeastRecent = 0,
    /// By their numbers, one after the other.
    RoundRobin = 1,
    /// The longest free one, and the last of them are kept for those with a priority above 0.
    Priority = 2,
}

/// A waiter asks the holder of a block to give it back, if it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveBackRequest {
    /// The number of the block.
    pub block: u32,
    /// The priority it was acquired with.
    pub holder_priority: i32,
    /// The priority of whoever waits.
    pub waiter_priority: i32,
}

/// Told of such a request, on the thread that waits, under no lock.
pub type GiveBack = Box<dyn Fn(GiveBackRequest) + Send + Sync>;

/// The most blocks of one pool.
pub const MAX_BLOCKS: u32 = 1 << 20;

/// How often a waiter is passed over, if not chosen.
pub const PATIENCE: u32 = 64;

/// A pool. Any thread.
pub struct Pool {
    name: Arc<Name>,
    device: Arc<Device>,
    kind: BlockKind,
    strategy: Strategy,
    reserved_blocks: u32,
    patience: u32,
    first_count: u32,
    growth: Growth,
    give_back: Option<GiveBack>,
    lists: Mutex<Lists>,
    counters: Counters,
}

/// What a pool counts.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub acquires: Counter,
    pub releases: Counter,
    pub hand_overs: Counter,
    /// Acquires that found no block to be had.
    pub contended: Counter,
    /// Waits for a block.
    pub waits: WaitCounters,
    /// Waits for a block's fence.
    pub fence_waits: WaitCounters,
    /// Holders that were asked to give a block back.
    pub requests: Counter,
    pub growths: Counter,
    pub shrinks: Counter,
    /// Blocks that could not be made when the pool was to grow.
    pub growth_failures: Counter,
}

/// A pool's levels at one moment, and their high-water marks.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolLevels {
    /// Blocks that are not quarantined.
    pub blocks: u32,
    pub free: u32,
    pub held: u32,
    pub quarantined: u32,
    pub waiters: u32,
    pub peak_blocks: u32,
    pub peak_held: u32,
    pub peak_waiters: u32,
}

/// What a block is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BlockState {
    /// To be had.
    Free = 0,
    /// Somebody has it, and nothing on the device uses it.
    Acquired = 1,
    /// Copies, fills or kernels that the library knows of use it, held or free.
    Copying = 2,
    /// A graph holds it.
    Held = 3,
}

/// What a pool knows of one of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFacts {
    /// What it is doing.
    pub state: BlockState,
    /// Whether somebody has it.
    pub is_held: bool,
    /// Times it was acquired.
    pub uses: u64,
    /// When it was acquired last, in nanoseconds before now; `None` if never.
    pub last_use_ns: Option<u64>,
    /// The priority it was acquired with last.
    pub priority: i32,
}

impl Pool {
    /// A pool with its first blocks allocated.
    pub fn create(device: &Arc<Device>, options: PoolOptions) -> Result<Arc<Pool>> {
        let PoolOptions { placement, block_bytes, block_count, twin, strategy, reserved_blocks, .. } = options;
        expect_placement(placement, "a pool's")?;
        twin.expect_fits(placement)?;
        if block_bytes == 0 || block_bytes > isize::MAX as u64 {
            return fail!(InvalidArgument, "block_bytes is {block_bytes}: at least 1, and within the address space");
        }
        if block_count == 0 || block_count > MAX_BLOCKS {
            return fail!(InvalidArgument, "block_count is {block_count}: 1 to {MAX_BLOCKS}");
        }
        match (strategy, reserved_blocks) {
            (Strategy::Priority, kept) if kept >= block_count => {
                return fail!(
                    InvalidArgument,
                    "reserved_blocks is {kept}: less than block_count, which is {block_count}, or nobody else gets one"
                );
            }
            (Strategy::LeastRecent | Strategy::RoundRobin, kept) if kept > 0 => {
                return fail!(
                    InvalidArgument,
                    "reserved_blocks is {kept}: only the priority strategy keeps blocks back"
                );
            }
            _ => {}
        }
        let growth = options.growth.checked(block_count)?;
        let name = Arc::new(Name::new("pool", &options.label));
        let lists = Lists::with_room(growth.max_blocks)?;
        device.maintain();
        let pool = Arc::new(Pool {
            name,
            device: device.clone(),
            kind: BlockKind { placement, bytes: block_bytes as usize, twin, timed: options.timed },
            strategy,
            reserved_blocks,
            patience: options.patience,
            first_count: block_count,
            growth,
            give_back: options.give_back,
            lists: Mutex::new(lists),
            counters: Counters::default(),
        });
        for number in 0..block_count {
            let cell = pool.make(number)?;
            pool.lists.lock().add(cell);
        }
        let member: Weak<Pool> = Arc::downgrade(&pool);
        device.enroll(member);
        Ok(pool)
    }

    /// A block of this pool, in none of its lists yet.
    fn make(&self, number: u32) -> Result<Arc<Cell>> {
        let name = Arc::new(Name::part("block", number as u64, &self.name));
        let cell = Cell::allocate(&self.device, &name, number as u64, self.kind)?;
        if self.device.debug().is_on() {
            // Nobody's, as one that was given back: that new memory is zero is no promise of a pool.
            cell.own().sides().for_each(Side::released);
        }
        Ok(cell)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Where its blocks live.
    pub fn placement(&self) -> Placement {
        self.kind.placement
    }

    /// Bytes of each block.
    pub fn block_bytes(&self) -> u64 {
        self.kind.bytes as u64
    }

    /// Bytes of memory of its blocks, on both sides.
    pub fn memory_bytes(&self) -> u64 {
        let cells = self.lists.lock().cells();
        cells.iter().map(|cell| cell.memory_bytes()).sum()
    }

    /// When a block gets a device twin.
    pub fn twin(&self) -> Twin {
        self.kind.twin
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Its levels.
    pub fn levels(&self) -> PoolLevels {
        self.lists.lock().levels()
    }

    /// What is known of block `number`; `None` if there is none.
    pub fn block_facts(&self, number: u32) -> Option<BlockFacts> {
        let lists = self.lists.lock();
        let entry = lists.entry(number)?;
        let (held_by_graph, busy) =
            entry.cell.look(|block| (block.holds() > 0, !block.is_known_idle())).unwrap_or((false, false));
        let state = match (held_by_graph, busy, entry.is_held) {
            (true, ..) => BlockState::Held,
            (_, true, _) => BlockState::Copying,
            (_, _, true) => BlockState::Acquired,
            (_, _, false) => BlockState::Free,
        };
        let last_use_ns = (entry.uses > 0).then(|| coarse_ns().saturating_sub(entry.last_use));
        Some(BlockFacts { state, is_held: entry.is_held, uses: entry.uses, last_use_ns, priority: entry.priority })
    }

    /// Ends the pool: free blocks go to the deferred list, held ones when they are given back, waiters are told.
    /// Never waits.
    pub fn destroy(&self) {
        let mut lists = self.lists.lock();
        if std::mem::replace(&mut lists.shut_down, true) {
            return;
        }
        let free = lists.take_all_free();
        if on(Check::DestroyWakes) {
            self.refuse_waiters(lists, Status::ShutDown);
        } else {
            drop(lists);
        }
        free.iter().for_each(|cell| cell.retire());
    }

    /// Who keeps the blocks, in words.
    #[cold]
    fn who_holds(&self) -> String {
        let cells = self.lists.lock().cells();
        let PoolLevels { held, quarantined, .. } = self.levels();
        let count = |test: &dyn Fn(&Block) -> bool| {
            cells.iter().filter(|cell| cell.look(|block| test(block)) == Some(true)).count()
        };
        let (sealed, guarded) = (count(&Block::is_sealed), count(&Block::has_guard));
        format!(
            "of {} blocks {held} are held ({sealed} sealed: an address is out and no fence declared; {guarded} with a guard open), {quarantined} quarantined",
            cells.len() + quarantined as usize
        )
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let PoolLevels { blocks, free, waiters, quarantined, .. } = self.levels();
        let twin = if self.kind.twin == Twin::Eager { " with a device twin" } else { "" };
        format!(
            "{}: {} blocks of {} bytes {}{twin}; {free} free, {waiters} waiting; {}",
            self.name,
            blocks + quarantined,
            self.kind.bytes,
            self.kind.placement.name(),
            self.who_holds(),
        )
    }
}

impl Home for Pool {
    fn name(&self) -> &Name {
        &self.name
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn fence_waits(&self) -> &WaitCounters {
        &self.counters.fence_waits
    }

    fn take_back(&self, cell: &Arc<Cell>, state: Returned) {
        match state {
            Returned::Quarantined => self.quarantined(cell, false),
            Returned::Unseen => self.gave_up(cell),
            Returned::Clean | Returned::Used => self.put_back(cell, false, state == Returned::Clean),
        }
    }
}

impl Member for Pool {
    fn record(&self) -> Record {
        let levels = self.levels();
        let counters = &self.counters;
        let acquires = counters.acquires.get();
        let rate = (acquires > 0).then(|| counters.contended.get() as f64 / acquires as f64);
        Record::new("pool", &self.name)
            .with("placement", self.kind.placement.name())
            .with("block_bytes", self.kind.bytes)
            .with("block_count", levels.blocks + levels.quarantined)
            .with("free_blocks", levels.free)
            .with("held_blocks", levels.held)
            .with("quarantined_blocks", levels.quarantined)
            .with("waiters", levels.waiters)
            .with("peak_blocks", levels.peak_blocks)
            .with("peak_held", levels.peak_held)
            .with("peak_waiters", levels.peak_waiters)
            .with("acquires", acquires)
            .with("releases", counters.releases.get())
            .with("contended_acquires", counters.contended.get())
            .with("contention_rate", rate)
            .with("waits", counters.waits.waits.get())
            .with("wait_ns", counters.waits.wait_ns.get())
            .with("timeouts", counters.waits.timeouts.get())
            .with("hand_overs", counters.hand_overs.get())
            .with("fence_waits", counters.fence_waits.waits.get())
            .with("fence_wait_ns", counters.fence_waits.wait_ns.get())
            .with("give_back_requests", counters.requests.get())
            .with("growths", counters.growths.get())
            .with("shrinks", counters.shrinks.get())
            .with("growth_failures", counters.growth_failures.get())
    }

    fn maintain(&self) {
        self.adapt();
    }

    fn send_away(&self) {
        self.destroy();
    }
}
