//! The paired buffer: a host side and a device side of one shape, with fenced access to both.
//!
//! A view is a buffer over a part of another one's block: the same functions, the same fences.

mod create;
mod detach;
mod fill;
mod layout;
mod member;
mod newer;
mod resize;
mod view;

pub use create::{BufferOptions, BufferSettings};
pub use layout::Layout;
pub use member::BufferStats;
pub use newer::Newer;

use crate::config::{Placement, Timeout};
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use crate::fail;
use crate::fence::{
    Access, Area, Block, BlockGuard, Borrow, Device, Holdable, HostWait, Name, Policy, Range, ReleaseCallback, Side,
    Timeline, Which,
};
use crate::stats::{Counter, WaitCounters};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, OneThread, Ordering, Weak};

/// A paired buffer, or a view of one. One thread at a time, in a buffer and all its views: a second one is answered `busy`.
pub struct Buffer {
    name: Arc<Name>,
    whole: Arc<Whole>,
    /// Changed only inside the block.
    layout: Mutex<Layout>,
    is_view: bool,
}

/// What a buffer and its views share.
struct Whole {
    name: Arc<Name>,
    device: Arc<Device>,
    placements: (Placement, Placement),
    borrowed: bool,
    stands_in: bool,
    policy: Policy,
    /// Bytes that each side has memory for. Changed only inside the block.
    capacity: AtomicUsize,
    /// Views that live, and how many there were.
    views: AtomicU64,
    views_made: AtomicU64,
    resizes: Counter,
    /// Who lent the memory, while it is lent.
    owner: Weak<Borrow>,
    /// Detached, and nobody was told yet that it is the caller's again.
    returning: AtomicBool,
    /// Whom to tell if that call never comes.
    untold: Mutex<Option<ReleaseCallback>>,
    /// Somebody has a writable pointer that no fence guards.
    unchecked: AtomicBool,
    waits: WaitCounters,
    block: OneThread<Block>,
}

impl Buffer {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.whole.device
    }

    /// Its element type, shape and place.
    pub fn layout(&self) -> Layout {
        *self.layout.lock()
    }

    /// Its element type.
    pub fn dtype(&self) -> Dtype {
        self.layout().dtype()
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.layout().shape()
    }

    /// Where its host and device sides live.
    pub fn placements(&self) -> (Placement, Placement) {
        self.whole.placements
    }

    /// Whether a part of its memory is the caller's.
    pub fn is_borrowed(&self) -> bool {
        self.whole.borrowed
    }

    /// Whether it is a view of another buffer.
    pub fn is_view(&self) -> bool {
        self.is_view
    }

    /// Bytes that each side has memory for.
    pub fn capacity(&self) -> usize {
        self.whole.capacity.load(Ordering::Acquire)
    }

    /// Bytes of memory of the library's that go with it: those of both sides, and of a view none.
    pub fn owned_bytes(&self) -> u64 {
        let (host, device) = self.whole.placements;
        let sides = [host, device].into_iter().filter(|side| *side != Placement::None).count();
        let sides = sides + self.whole.stands_in as usize;
        if self.is_view || self.whole.borrowed { 0 } else { (self.capacity() * sides) as u64 }
    }

    /// Its waits on the host.
    pub fn waits(&self) -> &WaitCounters {
        &self.whole.waits
    }

    /// The block, for this thread alone; another thread inside is `busy`.
    pub fn lock(&self) -> Result<MutexGuard<'_, Block>> {
        match self.whole.block.enter() {
            Some(block) => Ok(block),
            None => fail!(Busy, "{} is in use by another thread: one at a time", self.name),
        }
    }

    /// A short look at the block, unless a thread uses it; such a thread is never told `busy` for that.
    pub fn look<R>(&self, look: impl FnOnce(&Block) -> R) -> Option<R> {
        self.whole.block.look(look)
    }

    /// As [`Buffer::look`], and others who look are waited for. For its owner alone, one thread at a time.
    pub(crate) fn look_behind_others<R>(&self, look: impl FnOnce(&Block) -> R) -> Option<R> {
        self.whole.block.look_behind_others(look)
    }

    /// The block, and where this buffer lies in it.
    fn enter(&self) -> Result<(MutexGuard<'_, Block>, Layout)> {
        let block = self.lock()?;
        let layout = self.layout();
        Ok((block, layout))
    }

    /// Elements `first..first + count` as bytes of the block; `count` may be [`ALL`](crate::config::ALL). Where rows have gaps between them, whole
    /// rows only.
    pub fn area(&self, first: u64, count: u64) -> Result<Area> {
        self.layout().area(first, count, &self.name)
    }

    /// As [`Buffer::area`], of a buffer without gaps.
    pub fn elements(&self, first: u64, count: u64) -> Result<Range> {
        let area = self.area(first, count)?;
        if area.is_window() {
            return fail!(
                Unsupported,
                "{} has gaps between its rows: one row, or a slice of whole rows of its buffer, is a range",
                self.name
            );
        }
        Ok(area.hull())
    }

    fn wait(&self, timeout: Timeout) -> HostWait<'_> {
        HostWait::new(timeout, &self.whole.waits)
    }

    /// The host side's address, to be read or written between begin and end of a covering range only. No access, no wait.
    pub fn host_ptr(&self) -> Result<*const u8> {
        let (block, layout) = self.enter()?;
        Ok(block.memory(Which::Host)?.host.wrapping_add(layout.start()))
    }

    /// The host side's address for code that brings its own fences. Counted; the buffer is called unchecked from then on.
    pub fn host_ptr_unfenced(&self) -> Result<*mut u8> {
        let (block, layout) = self.enter()?;
        let host = block.memory(Which::Host)?.host.wrapping_add(layout.start());
        self.whole.device.counters.unfenced_pointers.add(1);
        self.whole.unchecked.store(true, Ordering::Relaxed);
        block.sides().for_each(Side::leave_open);
        Ok(host)
    }

    /// The device address, constant until the buffer is resized beyond its capacity. The streams named will use it, others not; with none named the
    /// library cannot know who uses it, and frees it after a drain only.
    pub fn device_address(&self, streams: &[Arc<Timeline>]) -> Result<u64> {
        let (mut block, layout) = self.enter()?;
        block.address_of(layout.all(), streams, false)
    }

    /// Has work queued on the stream from now on see what the host wrote, and gives the address for it: the same program is right
    /// where kernels use the host side in place, and where there is a device side. The library fences the stream when it must.
    pub fn publish(&self, stream: &Arc<Timeline>) -> Result<u64> {
        let (mut block, layout) = self.enter()?;
        block.publish(layout.all(), stream, true, false)
    }

    /// Whether it has a device side in the place of memory that kernels would not see.
    pub fn is_standing_in(&self) -> bool {
        self.whole.stands_in
    }

    /// Work queued on the stream up to now read or wrote the buffer.
    pub fn used_on(&self, stream: &Arc<Timeline>, access: Access) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        block.area_used_on(layout.all(), std::slice::from_ref(stream), access == Access::Write)
    }

    /// Opens a CPU access to a range; returns the first element's address and the token that ends it.
    pub fn begin(&self, access: Access, first: u64, count: u64, timeout: Timeout) -> Result<(*mut u8, u64)> {
        let (mut block, layout) = self.enter()?;
        block.begin(access, layout.area(first, count, &self.name)?, &self.wait(timeout))
    }

    /// Ends a CPU access.
    pub fn end(&self, access: Access, token: u64) -> Result<()> {
        self.lock()?.end(access, token)
    }

    /// Copies the caller's elements in, as one write access.
    ///
    /// # Safety
    /// `source` can be read for `count` elements.
    pub unsafe fn copy_in(&self, first: u64, count: u64, source: *const u8, timeout: Timeout) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        let area = layout.area(first, count, &self.name)?;
        // SAFETY: the caller's promise.
        unsafe { block.copy_in(area, source, &self.wait(timeout)) }
    }

    /// Copies elements out to the caller, as one read access.
    ///
    /// # Safety
    /// `target` can be written for `count` elements.
    pub unsafe fn copy_out(&self, first: u64, count: u64, target: *mut u8, timeout: Timeout) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        let area = layout.area(first, count, &self.name)?;
        // SAFETY: the caller's promise.
        unsafe { block.copy_out(area, target, &self.wait(timeout)) }
    }

    /// Queues a copy of a range to the device (`up`) or back; with a timeout, waits until the bytes have landed.
    pub fn copy(
        &self,
        up: bool,
        first: u64,
        count: u64,
        stream: &Arc<Timeline>,
        blocking: Option<Timeout>,
    ) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        let wait = blocking.map(|timeout| self.wait(timeout));
        block.copy(up, layout.area(first, count, &self.name)?, stream, wait.as_ref())
    }

    fn expect_whole(&self, doing: &str) -> Result<()> {
        if self.is_view {
            return fail!(Unsupported, "{doing} {}: a view is a part of a buffer; use that buffer", self.name);
        }
        Ok(())
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let (dtype, shape) = (self.dtype(), self.shape());
        let dims = shape.dims();
        let state = self.whole.block.look(Block::describe).unwrap_or_else(|| "in use by another thread".into());
        let unchecked = if self.whole.unchecked.load(Ordering::Relaxed) { ", unchecked" } else { "" };
        format!(
            "{}: {} {dims:?}{unchecked}; {state}; waits: {} ({} ns)",
            self.name,
            dtype.name(),
            self.whole.waits.waits.get(),
            self.whole.waits.wait_ns.get()
        )
    }
}

impl Holdable for Buffer {
    fn key(&self) -> (u64, u64) {
        (self.whole.name.number(), 0)
    }

    fn device(&self) -> &Arc<Device> {
        &self.whole.device
    }

    fn enter(&self) -> Result<BlockGuard<'_>> {
        Ok(MutexGuard::map(self.lock()?, |block| block))
    }

    fn part(&self, _: &Block, first: u64, count: u64) -> Result<Area> {
        self.area(first, count)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.is_view {
            self.whole.views.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Detached by a call that could not wait long enough, and by none after it: then the owner is told after all.
        let Some(release) = self.untold.get_mut().take() else { return };
        match self.owner.upgrade() {
            Some(owner) => drop(owner.tell(Some(release))),
            None => release(),
        }
    }
}
