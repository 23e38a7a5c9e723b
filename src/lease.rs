//! A lease: the right to use one block, and everything done with it, whoever the block comes from.

mod alone;
mod twin;

pub use alone::AloneOptions;
pub use twin::Twin;

use crate::backend::RawMemory;
use crate::config::checks::{Check, on};
use crate::config::log::{self, Level};
use crate::config::{ALL, Placement, Timeout};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{
    Access, Block, BlockGuard, Device, Flows, Holdable, HostWait, Name, Policy, Range, Side, Storage, Timeline, Which,
    record_all,
};
use crate::stats::WaitCounters;
use crate::sync::{Arc, AtomicU64, MutexGuard, OneThread, Ordering};

/// The most blocks that one call may release.
pub const BLOCKS_PER_CALL: usize = 64;

/// Who hands blocks out and takes them back. Called under no lock of the block.
pub trait Home: Send + Sync {
    /// Its name.
    fn name(&self) -> &Name;
    /// Its device.
    fn device(&self) -> &Arc<Device>;
    /// What one of its blocks is called.
    fn title(&self, cell: &Cell) -> String {
        format!("block {} of {}", cell.number, self.name())
    }
    /// What else tells one from the others, in words.
    fn about(&self, _: &Cell) -> Option<String> {
        None
    }
    /// Where waits for a block's uses are counted.
    fn fence_waits(&self) -> &WaitCounters;
    /// Takes a block back: no lease of it is valid any more. Never waits.
    fn take_back(&self, cell: &Arc<Cell>, state: Returned);
}

/// Refuses what no leased block's host side is made of.
pub fn expect_placement(placement: Placement, whose: &str) -> Result<()> {
    match placement {
        Placement::Pinned | Placement::Uva | Placement::Managed => Ok(()),
        other => fail!(InvalidArgument, "{whose} placement is pinned, uva or managed, not {}", other.name()),
    }
}

/// How a block comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Without uses: nothing is to be proven.
    Clean,
    /// With uses that may not be over.
    Used,
    /// With users that nobody declares: its sides are sealed, and go to the device's deferred list until a drain.
    Unseen,
    /// Its completion cannot be proven: nobody may touch it again.
    Quarantined,
}

/// What blocks are made alike.
#[derive(Clone, Copy, Debug)]
pub struct BlockKind {
    /// Where the host side lives.
    pub placement: Placement,
    /// Bytes of each side.
    pub bytes: usize,
    /// When it gets a device twin.
    pub twin: Twin,
    /// Whether copies between the sides are timed.
    pub timed: bool,
}

/// One block of a home.
pub struct Cell {
    number: u64,
    placement: Placement,
    bytes: usize,
    twin: Twin,
    stands_in: bool,
    block: OneThread<Block>,
    /// Odd while leased; each lease and each return adds one. An old lease is known by its serial.
    serial: AtomicU64,
}

impl Cell {
    /// A block that is not leased yet; `number` is its number in its home.
    pub fn new(number: u64, placement: Placement, twin: Twin, block: Block) -> Arc<Cell> {
        let (bytes, stands_in) = (block.bytes(), block.is_standing_in());
        Arc::new(Cell {
            number,
            placement,
            bytes,
            twin,
            stands_in,
            block: OneThread::new(block),
            serial: AtomicU64::new(0),
        })
    }

    /// As [`Cell::new`], with zeroed memory of its own. Calls nobody back.
    pub fn allocate(device: &Arc<Device>, name: &Arc<Name>, number: u64, kind: BlockKind) -> Result<Arc<Cell>> {
        let BlockKind { placement, bytes, twin, timed } = kind;
        let stands_in = device.needs_stand_in(placement);
        let (real, twin) = if stands_in { (Placement::Pinned, Twin::Eager) } else { (placement, twin) };
        let storage = Storage::allocate_only(device, real, bytes).map_err(|e| e.context(name))?;
        let host = Side::new(Which::Host, name, storage);
        let on_device = if twin == Twin::Eager { Some(twin::side(device, name, bytes)?) } else { None };
        let mut block = Block::new(name, bytes, Some(host), on_device);
        if timed {
            block.take_times(device).map_err(|e| e.context(name))?;
        }
        if stands_in {
            device.count_stand_in();
            block = block.standing_in();
        }
        Ok(Cell::new(number, placement, twin, block))
    }

    /// Its number in its home.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The block, for its home, while nobody has a lease of it.
    pub fn own(&self) -> MutexGuard<'_, Block> {
        self.block.enter_own()
    }

    /// The block is over: its memory goes to the device's deferred list, with its uses.
    pub fn retire(&self) {
        // Release callbacks run under no lock, of this block neither.
        let sides = self.own().take_sides();
        drop(sides);
    }

    /// Bytes of memory that it has on both sides.
    pub fn memory_bytes(&self) -> u64 {
        let there = self.look(|block| block.sides().map(Side::bytes).sum::<usize>());
        // In use by a thread: it has at least what it was made with.
        let sides = 1 + (self.twin == Twin::Eager || self.stands_in) as usize;
        there.unwrap_or(self.bytes * sides) as u64
    }

    /// A short look at the block, unless a thread uses it.
    pub fn look<R>(&self, look: impl FnOnce(&Block) -> R) -> Option<R> {
        self.block.look(look)
    }

    /// Leases the block, which nobody has a lease of.
    pub fn lease(self: Arc<Cell>, home: Arc<dyn Home>) -> Lease {
        // Nobody else changes the serial of a block that its home has taken out of its lists.
        let serial = self.serial.load(Ordering::Relaxed) + 1;
        self.serial.store(serial, Ordering::Release);
        if home.device().debug().is_on() {
            self.own().sides().for_each(Side::taken);
        }
        Lease { home, cell: self, serial }
    }
}

/// The right to use one block, until it is released. One thread at a time.
#[derive(Clone)]
pub struct Lease {
    home: Arc<dyn Home>,
    cell: Arc<Cell>,
    serial: u64,
}

impl Lease {
    /// Where the block comes from.
    pub fn home(&self) -> &dyn Home {
        &*self.home
    }

    /// Whether the block comes from there.
    pub fn is_of(&self, home: &dyn Home) -> bool {
        self.home.name().number() == home.name().number()
    }

    /// The block's number in its home.
    pub fn number(&self) -> u64 {
        self.cell.number
    }

    /// Where its host side lives.
    pub fn placement(&self) -> Placement {
        self.cell.placement
    }

    /// Bytes of the block.
    pub fn bytes(&self) -> u64 {
        self.cell.bytes as u64
    }

    /// Whether it has a device twin.
    pub fn has_device_side(&self) -> Result<bool> {
        Ok(self.lock()?.device.is_some())
    }

    /// Whether the block was not given back yet.
    pub fn is_held(&self) -> bool {
        self.cell.serial.load(Ordering::Acquire) == self.serial
    }

    /// The block, for this thread alone, while the lease is the current one.
    fn lock(&self) -> Result<MutexGuard<'_, Block>> {
        let Some(block) = self.cell.block.enter() else {
            return fail!(Busy, "{} is in use by another thread: one at a time", self.title());
        };
        if !self.is_held() && on(Check::NotHeld) {
            return fail!(NotHeld, "{} was released: acquire one again", self.title());
        }
        Ok(block)
    }

    /// What it is called.
    pub fn title(&self) -> String {
        self.home.title(&self.cell)
    }

    /// What it is called, and what else tells it from the others.
    pub fn full_title(&self) -> String {
        match self.home.about(&self.cell).filter(|_| self.is_held()) {
            Some(about) => format!("{} ({about})", self.title()),
            None => self.title(),
        }
    }

    fn wait(&self, timeout: Timeout) -> HostWait<'_> {
        HostWait::new(timeout, self.home.fence_waits())
    }

    /// The host address, to be used between begin and end only.
    pub fn host_ptr(&self) -> Result<*const u8> {
        Ok(self.lock()?.memory(Which::Host)?.host)
    }

    /// The address for kernels: the twin's, else the block's own. Seals: a fence must be declared before the block is
    /// written, copied to or released.
    pub fn device_address(&self) -> Result<u64> {
        let mut block = self.lock()?;
        self.need_twin(&mut block, Block::settle)?;
        block.seal_address()
    }

    /// Has work queued on the stream from now on see what the host wrote, and gives the address for it: the same program is right
    /// where kernels use the block in place, and where it has a twin. Seals as [`Lease::device_address`] does.
    pub fn publish(&self, stream: &Arc<Timeline>) -> Result<u64> {
        let mut block = self.lock()?;
        let all = block.all();
        self.need_twin(&mut block, |block| block.expect_upload(all, stream))?;
        block.publish(all, stream, false, true)
    }

    /// Makes both sides the same, as [`Block::sync`] does; nothing where there is one side only.
    pub fn sync(&self, policy: Policy, stream: &Arc<Timeline>, blocking: Option<Timeout>) -> Result<()> {
        let mut block = self.lock()?;
        let wait = blocking.map(|timeout| self.wait(timeout));
        let all = block.all();
        block.sync(all, policy, stream, wait.as_ref())
    }

    /// Both sides zero, nothing newer anywhere, and the figures begin anew. The device side is zeroed in the stream's order; where
    /// there is none, no stream is needed.
    pub fn reset(&self, stream: Option<&Arc<Timeline>>, timeout: Timeout) -> Result<()> {
        let mut block = self.lock()?;
        if block.device.is_some() && stream.is_none() {
            return fail!(InvalidArgument, "zeroing the device side of {} needs a stream", self.title());
        }
        let (all, wait) = (block.all(), self.wait(timeout));
        let on_device = stream.filter(|_| block.device.is_some());
        block.fill(all, &[0], Some(&wait), on_device)?;
        block.forget_figures();
        Ok(())
    }

    /// What moved between the sides so far, in all leases of the block; bytes that are newer on the host side, and on the
    /// device side.
    pub fn flows(&self) -> Result<(Flows, [u64; 2])> {
        let mut block = self.lock()?;
        Ok((block.flows(), [Which::Host, Which::Device].map(|which| block.newer_bytes(which))))
    }

    /// Whether the block stands in for one that kernels would use in place.
    pub fn is_standing_in(&self) -> bool {
        self.cell.stands_in
    }

    /// Opens a CPU access.
    pub fn begin(&self, access: Access, offset: u64, bytes: u64, timeout: Timeout) -> Result<(*mut u8, u64)> {
        let mut block = self.lock()?;
        let range = self.range(&block, offset, bytes)?;
        block.begin(access, range, &self.wait(timeout))
    }

    /// Ends a CPU access.
    pub fn end(&self, access: Access, token: u64) -> Result<()> {
        self.lock()?.end(access, token)
    }

    fn range(&self, block: &Block, offset: u64, bytes: u64) -> Result<Range> {
        let bytes = if bytes == ALL { (block.bytes() as u64).saturating_sub(offset) } else { bytes };
        block.range(offset, bytes)
    }

    /// Copies the caller's bytes in, as one write access.
    ///
    /// # Safety
    /// `source` can be read for `bytes`.
    pub unsafe fn copy_in(&self, offset: u64, bytes: u64, source: *const u8, timeout: Timeout) -> Result<()> {
        let mut block = self.lock()?;
        let range = self.range(&block, offset, bytes)?;
        // SAFETY: the caller's promise.
        unsafe { block.copy_in(range, source, &self.wait(timeout)) }
    }

    /// Copies bytes out to the caller, as one read access.
    ///
    /// # Safety
    /// `target` can be written for `bytes`.
    pub unsafe fn copy_out(&self, offset: u64, bytes: u64, target: *mut u8, timeout: Timeout) -> Result<()> {
        let mut block = self.lock()?;
        let range = self.range(&block, offset, bytes)?;
        // SAFETY: the caller's promise.
        unsafe { block.copy_out(range, target, &self.wait(timeout)) }
    }

    /// Queues a copy to the device twin (`up`) or back. A twin that is made on first need has nothing to bring back before that.
    /// With a timeout, waits until the bytes have landed.
    pub fn copy(
        &self,
        up: bool,
        offset: u64,
        bytes: u64,
        stream: &Arc<Timeline>,
        blocking: Option<Timeout>,
    ) -> Result<()> {
        let mut block = self.lock()?;
        let range = self.range(&block, offset, bytes)?;
        if up && range.start < range.end {
            self.need_twin(&mut block, |block| block.expect_upload(range, stream))?;
        } else if self.lacks_twin(&block) {
            stream.expect_device(self.home.device())?;
            return match up {
                true => Ok(()),
                false => fail!(
                    Unsupported,
                    "{} has no device side yet, so nothing is there to bring back: a copy to the device, or its device address, makes it",
                    self.title()
                ),
            };
        }
        let wait = blocking.map(|timeout| self.wait(timeout));
        block.copy(up, range, stream, wait.as_ref())
    }

    /// Work on these streams up to now used the block, which is kept.
    pub fn fence(&self, streams: &[Arc<Timeline>]) -> Result<()> {
        let mut block = self.lock()?;
        self.expect_streams(streams)?;
        block.expect_unguarded(Check::ReleaseGuard, "fencing")?;
        block.used_on(streams, true)
    }

    /// The caller vouches that nothing reads or writes the block by its address.
    pub fn declare_unread(&self) -> Result<()> {
        let mut block = self.lock()?;
        block.unseal();
        self.home.device().counters.declared_unread.add(1);
        Ok(())
    }

    fn expect_streams(&self, streams: &[Arc<Timeline>]) -> Result<()> {
        if streams.is_empty() {
            return fail!(InvalidArgument, "no stream is named: name every stream that uses the block, at least one");
        }
        Ok(())
    }

    /// Gives the block back with the uses it has.
    pub fn release(&self) -> Result<()> {
        let block = self.lock()?;
        self.expect_releasable(&block)?;
        if block.is_sealed() && on(Check::ReleaseSealed) {
            self.home.device().counters.refusals.add(1);
            return fail!(
                Unfenced,
                "releasing {}: its device address was given out and nobody declared a fence since; use release_after with the streams that use it",
                self.title()
            );
        }
        self.give_back(block);
        Ok(())
    }

    /// Gives up a block whose users nobody will declare: its memory waits for a drain of the device that begins later, and its
    /// home makes do without it until then. One without such users is released.
    pub fn abandon(&self) -> Result<()> {
        let block = self.lock()?;
        self.expect_releasable(&block)?;
        if !block.is_sealed() {
            self.give_back(block);
            return Ok(());
        }
        self.cell.serial.store(self.serial + 1, Ordering::Release);
        drop(block);
        log::write(
            Level::Warn,
            format_args!(
                "{} was given up, and nobody declared who uses it: its memory waits for a drain",
                self.title()
            ),
        );
        self.home.take_back(&self.cell, Returned::Unseen);
        Ok(())
    }

    /// Fences the block on these streams and gives it back. A fence that cannot be recorded quarantines it: it is given
    /// back all the same.
    pub fn release_after(&self, streams: &[Arc<Timeline>]) -> Result<()> {
        Lease::release_after_many(std::slice::from_ref(self), streams)
    }

    /// As [`Lease::release_after`] for up to [`BLOCKS_PER_CALL`] blocks of one device, with one fence per stream for all
    /// of them. Refusals release none.
    pub fn release_after_many(leases: &[Lease], streams: &[Arc<Timeline>]) -> Result<()> {
        let Some(first) = leases.first() else { return Ok(()) };
        if leases.len() > BLOCKS_PER_CALL {
            return fail!(InvalidArgument, "{} blocks in one release: at most {BLOCKS_PER_CALL}", leases.len());
        }
        first.expect_streams(streams)?;
        for (place, lease) in leases.iter().enumerate() {
            let same = |other: &Lease| Arc::ptr_eq(&other.cell, &lease.cell);
            if let Some(before) = leases[..place].iter().position(same) {
                return fail!(InvalidArgument, "blocks[{place}] is blocks[{before}] again: name each block once");
            }
        }
        // All are locked before the first is changed.
        let mut blocks = [const { None }; BLOCKS_PER_CALL];
        for (place, lease) in blocks.iter_mut().zip(leases) {
            let mut block = lease.lock()?;
            lease.expect_releasable(&block)?;
            // One that is quarantined already goes as it would without streams.
            if !block.is_quarantined() {
                block.expect_room(streams)?;
            }
            *place = Some(block);
        }
        // Asked once for all of them: the driver is asked.
        let asked = streams.iter().try_for_each(|stream| stream.expect_not_capturing(Check::CaptureFences));
        let recorded = match asked {
            Err(error) if error.status() != Status::DeviceLost => return Err(error),
            asked => asked.and_then(|()| record_all(streams)),
        };
        let blocks = blocks.into_iter().flatten().zip(leases);
        match recorded {
            Ok(fences) => {
                for (mut block, lease) in blocks {
                    block.declare(&fences, true);
                    lease.give_back(block);
                }
                Ok(())
            }
            Err(mut error) => {
                for (mut block, lease) in blocks {
                    error = block.record_failed(error);
                    lease.give_back(block);
                }
                Err(error)
            }
        }
    }

    fn expect_releasable(&self, block: &Block) -> Result<()> {
        block.expect_not_held(Check::HoldRelease, "releasing")?;
        block.expect_unguarded(Check::ReleaseGuard, "releasing")
    }

    /// Ends the lease. Whoever waits gets the block with its uses.
    fn give_back(&self, mut block: MutexGuard<'_, Block>) {
        self.cell.serial.store(self.serial + 1, Ordering::Release);
        block.unseal();
        let promoted = self.end_promotion(&mut block);
        // What is newer where concerns nobody else.
        block.forget_marks();
        let state = match (block.is_quarantined(), block.is_unused()) {
            (true, _) => Returned::Quarantined,
            (false, true) => Returned::Clean,
            (false, false) => Returned::Used,
        };
        if self.home.device().debug().is_on() {
            block.sides().for_each(Side::released);
        }
        drop(block);
        drop(promoted);
        self.home.take_back(&self.cell, state);
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let state = match self.cell.look(Block::describe) {
            _ if !self.is_held() => "released".into(),
            Some(state) => state,
            None => "in use by another thread".into(),
        };
        format!("{}: {state}", self.full_title())
    }

    /// The addresses of a side.
    pub fn memory(&self, which: Which) -> Result<RawMemory> {
        self.lock()?.memory(which)
    }
}

impl Holdable for Lease {
    fn key(&self) -> (u64, u64) {
        (self.home.name().number(), self.cell.number)
    }

    fn device(&self) -> &Arc<Device> {
        self.home.device()
    }

    fn enter(&self) -> Result<BlockGuard<'_>> {
        Ok(MutexGuard::map(self.lock()?, |block| block))
    }
}
