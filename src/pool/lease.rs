//! A lease: the right to use one block of a pool, and everything done with it.

use super::{Cell, Pool};
use crate::backend::RawMemory;
use crate::config::checks::{Check, on};
use crate::config::{Placement, Timeout};
use crate::error::Result;
use crate::fail;
use crate::fence::{Access, Block, BlockGuard, Device, Holdable, HostWait, Range, Timeline, Which, record_all};
use crate::sync::{Arc, MutexGuard, Ordering};

/// The most blocks that one call may release.
pub const BLOCKS_PER_CALL: usize = 64;

/// The right to use one block, until it is released. One thread at a time.
#[derive(Clone)]
pub struct Lease {
    pool: Arc<Pool>,
    index: u32,
    serial: u64,
}

impl Lease {
    pub(super) fn new(pool: &Arc<Pool>, index: u32, serial: u64) -> Lease {
        Lease { pool: pool.clone(), index, serial }
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The block's number in its pool.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Bytes of the block.
    pub fn bytes(&self) -> u64 {
        self.pool.block_bytes()
    }

    /// Where its host side lives.
    pub fn placement(&self) -> Placement {
        self.pool.placement
    }

    /// Whether it has a device twin.
    pub fn has_device_side(&self) -> bool {
        self.pool.device_side
    }

    /// Whether the block was not given back yet.
    pub fn is_held(&self) -> bool {
        self.cell().serial.load(Ordering::Acquire) == self.serial
    }

    fn cell(&self) -> &Cell {
        &self.pool.blocks[self.index as usize]
    }

    /// The block, for this thread alone, while the lease is the current one.
    fn lock(&self) -> Result<MutexGuard<'_, Block>> {
        let Some(block) = self.cell().block.enter() else {
            return fail!(
                Busy,
                "block {} of {} is in use by another thread: one at a time",
                self.index,
                self.pool.name
            );
        };
        if self.cell().serial.load(Ordering::Acquire) != self.serial && on(Check::NotHeld) {
            return fail!(NotHeld, "block {} of {} was released: acquire one again", self.index, self.pool.name);
        }
        Ok(block)
    }

    fn wait(&self, timeout: Timeout) -> HostWait<'_> {
        HostWait::new(timeout, &self.pool.counters.fence_waits)
    }

    /// The host address, to be used between begin and end only.
    pub fn host_ptr(&self) -> Result<*const u8> {
        Ok(self.lock()?.memory(Which::Host)?.host)
    }

    /// The address for kernels: the twin's, else the block's own. Seals: a fence must be declared before the block is
    /// written, copied to or released.
    pub fn device_address(&self) -> Result<u64> {
        self.lock()?.seal_address()
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
        let bytes = if bytes == crate::config::ALL { self.bytes().saturating_sub(offset) } else { bytes };
        block.range(offset, bytes)
    }

    /// Copies the caller's bytes in, as one write access.
    ///
    /// # Safety
    /// `source` can be read for `bytes` and does not overlap the block.
    pub unsafe fn copy_in(&self, offset: u64, bytes: u64, source: *const u8, timeout: Timeout) -> Result<()> {
        let mut block = self.lock()?;
        let range = self.range(&block, offset, bytes)?;
        // SAFETY: the caller's promise.
        unsafe { block.copy_in(range, source, &self.wait(timeout)) }
    }

    /// Copies bytes out to the caller, as one read access.
    ///
    /// # Safety
    /// `target` can be written for `bytes` and does not overlap the block.
    pub unsafe fn copy_out(&self, offset: u64, bytes: u64, target: *mut u8, timeout: Timeout) -> Result<()> {
        let mut block = self.lock()?;
        let range = self.range(&block, offset, bytes)?;
        // SAFETY: the caller's promise.
        unsafe { block.copy_out(range, target, &self.wait(timeout)) }
    }

    /// Queues a copy to the device twin (`up`) or back.
    pub fn copy(&self, up: bool, offset: u64, bytes: u64, stream: &Arc<Timeline>) -> Result<()> {
        let mut block = self.lock()?;
        let range = self.range(&block, offset, bytes)?;
        block.copy(up, range, stream, None)
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
        self.pool.device.counters.declared_unread.add(1);
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
            self.pool.device.counters.refusals.add(1);
            return fail!(
                Unfenced,
                "releasing block {} of {}: its device address was given out and nobody declared a fence since; use release_after with the streams that use it",
                self.index,
                self.pool.name
            );
        }
        self.give_back(block);
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
            let same = |other: &Lease| other.index == lease.index && Arc::ptr_eq(&other.pool, &lease.pool);
            if let Some(before) = leases[..place].iter().position(same) {
                return fail!(InvalidArgument, "blocks[{place}] is blocks[{before}] again: name each block once");
            }
        }
        // All are locked before the first is changed.
        let mut blocks = [const { None }; BLOCKS_PER_CALL];
        for (place, lease) in blocks.iter_mut().zip(leases) {
            let mut block = lease.lock()?;
            lease.expect_releasable(&block)?;
            block.expect_declaration(streams)?;
            *place = Some(block);
        }
        let blocks = blocks.into_iter().flatten().zip(leases);
        match record_all(streams) {
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
        self.cell().serial.store(self.serial + 1, Ordering::Release);
        block.unseal();
        let quarantined = block.is_quarantined();
        let clean = block.is_unused();
        drop(block);
        if quarantined {
            self.pool.quarantined(self.index, false);
        } else {
            self.pool.put_back(self.index, false, clean);
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let current = self.cell().serial.load(Ordering::Acquire) == self.serial;
        let state = match self.cell().block.look(Block::describe) {
            _ if !current => "released".into(),
            Some(state) => state,
            None => "in use by another thread".into(),
        };
        format!("block {} of {}: {state}", self.index, self.pool.name)
    }

    /// The addresses of a side.
    pub fn memory(&self, which: Which) -> Result<RawMemory> {
        self.lock()?.memory(which)
    }
}

impl Holdable for Lease {
    fn key(&self) -> (u64, u64) {
        (self.pool.name.number(), self.index as u64)
    }

    fn device(&self) -> &Arc<Device> {
        &self.pool.device
    }

    fn enter(&self) -> Result<BlockGuard<'_>> {
        Ok(MutexGuard::map(self.lock()?, |block| block))
    }
}
