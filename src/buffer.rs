//! The paired buffer: a host side and a device side of one shape, with fenced access to both.
//!
//! A view is a buffer over a part of another one's block: the same functions, the same fences.

mod layout;
mod member;
mod newer;
mod resize;
mod view;

pub use layout::Layout;
pub use member::BufferStats;

use crate::config::checks::Check;
use crate::config::{Placement, Timeout};
use crate::dtype::{Dtype, Shape};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{
    Access, Area, Block, BlockGuard, Borrow, Device, Holdable, HostWait, Name, Policy, Range, ReleaseCallback, Side,
    Storage, Timeline, Which,
};
use crate::stats::{Counter, WaitCounters};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, OneThread, Ordering, Weak};

/// What a buffer is to be.
pub struct BufferOptions {
    /// Element type.
    pub dtype: Dtype,
    /// Elements per dimension.
    pub shape: Shape,
    /// Where the host side lives: anywhere but on the device.
    pub host: Placement,
    /// Where the device side lives: none or device.
    pub device: Placement,
    /// The caller's memory for the host side; null: the library's own.
    pub host_memory: *mut u8,
    /// The caller's memory for the device side; 0: the library's own.
    pub device_memory: u64,
    /// Told once when nothing uses borrowed memory any more. Not told where the creation fails.
    pub release: Option<ReleaseCallback>,
    /// The label, or empty.
    pub label: String,
}

impl BufferOptions {
    fn check(&self) -> Result<()> {
        if self.host == Placement::Device {
            return fail!(
                InvalidArgument,
                "host_placement device: a host side is none, pageable, pinned, uva or managed"
            );
        }
        if !matches!(self.device, Placement::None | Placement::Device) {
            return fail!(InvalidArgument, "device_placement {}: a device side is none or device", self.device.name());
        }
        if self.host == Placement::None && self.device == Placement::None {
            return fail!(InvalidArgument, "a buffer needs at least one side: both placements are none");
        }
        let lent = !self.host_memory.is_null();
        if (lent && self.host == Placement::None) || (self.device_memory != 0 && self.device == Placement::None) {
            return fail!(InvalidArgument, "memory is lent for a side whose placement is none");
        }
        if lent && self.host == Placement::Managed {
            return fail!(Unsupported, "borrowed host memory cannot be managed: use uva, pinned or pageable");
        }
        Ok(())
    }
}

/// What else a buffer may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct BufferSettings {
    /// Elements that there is memory for, so that the buffer grows in place; less than the shape has: as many as that.
    pub capacity: u64,
    /// Who wins where a sync finds both sides newer.
    pub policy: Policy,
    /// Whether copies between the sides are timed.
    pub timed: bool,
}

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
    /// A new buffer; its own memory is zeroed.
    pub fn create(device: &Arc<Device>, options: BufferOptions) -> Result<Arc<Buffer>> {
        Buffer::create_with(device, options, BufferSettings::default())
    }

    /// As [`Buffer::create`], with more to choose.
    pub fn create_with(device: &Arc<Device>, options: BufferOptions, settings: BufferSettings) -> Result<Arc<Buffer>> {
        options.check()?;
        let BufferOptions { dtype, shape, host, device: on_device, host_memory, device_memory, release, label } =
            options;
        let bytes = shape.bytes(dtype)?;
        let capacity = match settings.capacity.checked_mul(dtype.size() as u64) {
            Some(capacity) if capacity <= isize::MAX as u64 => bytes.max(capacity as usize),
            _ => {
                return fail!(
                    Overflow,
                    "a capacity of {} elements of {} is over the address space",
                    settings.capacity,
                    dtype.name()
                );
            }
        };
        let name = Arc::new(Name::new("buffer", &label));
        let owner = Borrow::new();
        let side = |which, placement, borrowed: bool| -> Result<Option<Side>> {
            if placement == Placement::None {
                return Ok(None);
            }
            let storage = if borrowed {
                let host = if which == Which::Host { host_memory } else { std::ptr::null_mut() };
                let address = if which == Which::Device { device_memory } else { 0 };
                // SAFETY: whoever fills the options lends the memory until it is told, or detaches it.
                unsafe { Storage::borrow(device, placement, host, address, capacity, owner.clone()) }
            } else {
                Storage::allocate(device, placement, capacity)
            };
            Ok(Some(Side::new(which, &name, storage.map_err(|e| e.context(&name))?)))
        };
        let host_side = side(Which::Host, host, !host_memory.is_null())?;
        let device_side = side(Which::Device, on_device, device_memory != 0)?;
        let mut block = Block::new(&name, bytes, host_side, device_side);
        // What the caller's memory holds, memory of the library's own does not have yet.
        match (host_memory.is_null(), device_memory == 0) {
            (false, true) => block.written(Which::Host, block.all()),
            (true, false) => block.written(Which::Device, block.all()),
            _ => {}
        }
        if settings.timed {
            block.take_times(device).map_err(|e| e.context(&name))?;
        }
        let borrowed = !host_memory.is_null() || device_memory != 0;
        if borrowed {
            owner.tell(release);
        }
        let whole = Arc::new(Whole {
            block: OneThread::new(block),
            name: name.clone(),
            device: device.clone(),
            placements: (host, on_device),
            borrowed,
            policy: settings.policy,
            capacity: AtomicUsize::new(capacity),
            views: AtomicU64::new(0),
            views_made: AtomicU64::new(0),
            resizes: Counter::default(),
            owner: Arc::downgrade(&owner),
            returning: AtomicBool::new(false),
            untold: Mutex::new(None),
            unchecked: AtomicBool::new(false),
            waits: WaitCounters::default(),
        });
        let member = Arc::downgrade(&whole);
        device.enroll(member);
        Ok(Arc::new(Buffer { name, whole, layout: Mutex::new(Layout::new(dtype, shape)), is_view: false }))
    }

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
        Ok(host)
    }

    /// The device address, constant until the buffer is resized beyond its capacity. The streams named will use it, others not; with none named the
    /// library cannot know who uses it, and frees it after a drain only.
    pub fn device_address(&self, streams: &[Arc<Timeline>]) -> Result<u64> {
        let (mut block, layout) = self.enter()?;
        block.address_of(layout.all(), streams, false)
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
    /// `source` can be read for `count` elements and does not overlap the buffer.
    pub unsafe fn copy_in(&self, first: u64, count: u64, source: *const u8, timeout: Timeout) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        let area = layout.area(first, count, &self.name)?;
        // SAFETY: the caller's promise.
        unsafe { block.copy_in(area, source, &self.wait(timeout)) }
    }

    /// Copies elements out to the caller, as one read access.
    ///
    /// # Safety
    /// `target` can be written for `count` elements and does not overlap the buffer.
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

    /// Fills sides with one element. The device side needs a stream and is filled in its order; the host side is a write
    /// access. What is refused leaves both as they were.
    pub fn fill(
        &self,
        host: bool,
        device: bool,
        element: &[u8],
        stream: Option<&Arc<Timeline>>,
        timeout: Timeout,
    ) -> Result<()> {
        let (mut block, layout) = self.enter()?;
        let size = layout.dtype().size();
        if element.len() != size {
            return fail!(InvalidArgument, "a fill element of {} has {size} bytes, not {}", self.name, element.len());
        }
        let stream = self.expect_sides(&block, host, device, stream)?;
        let wait = host.then(|| self.wait(timeout));
        block.fill(layout.all(), element, wait.as_ref(), stream)
    }

    /// Sees that the sides that are to be written are there, and a stream for the device's.
    fn expect_sides<'s>(
        &self,
        block: &Block,
        host: bool,
        device: bool,
        stream: Option<&'s Arc<Timeline>>,
    ) -> Result<Option<&'s Arc<Timeline>>> {
        if !host && !device {
            return fail!(InvalidArgument, "no side of {} is named: use GPUBUF_SIDE_HOST, _DEVICE or _BOTH", self.name);
        }
        for (wanted, there, side) in [(host, block.host.is_some(), "host"), (device, block.device.is_some(), "device")]
        {
            if wanted && !there {
                return fail!(Unsupported, "{} has no {side} side to fill", self.name);
            }
        }
        match (device, stream) {
            (true, None) => fail!(InvalidArgument, "writing the device side of {} needs a stream", self.name),
            (true, Some(stream)) => {
                stream.expect_device(self.device())?;
                stream.expect_not_capturing(Check::CaptureCopies)?;
                Ok(Some(stream))
            }
            (false, _) => Ok(None),
        }
    }

    /// Both sides zero, as they were made, on those sides that there are; nothing is newer anywhere, and the figures begin
    /// anew. As [`Buffer::fill`] otherwise. Not of a view: its figures are its buffer's.
    pub fn reset(&self, stream: Option<&Arc<Timeline>>, timeout: Timeout) -> Result<()> {
        self.expect_whole("resetting")?;
        let (mut block, layout) = self.enter()?;
        let (host, device) = (block.host.is_some(), block.device.is_some());
        let stream = self.expect_sides(&block, host, device, stream)?;
        let wait = host.then(|| self.wait(timeout));
        block.fill(layout.all(), &[0; 8][..layout.dtype().size()], wait.as_ref(), stream)?;
        block.forget_figures();
        self.whole.resizes.take();
        for counter in [&self.whole.waits.waits, &self.whole.waits.wait_ns, &self.whole.waits.timeouts] {
            counter.take();
        }
        Ok(())
    }

    fn expect_whole(&self, doing: &str) -> Result<()> {
        if self.is_view {
            return fail!(Unsupported, "{doing} {}: a view is a part of a buffer; use that buffer", self.name);
        }
        Ok(())
    }

    /// Takes borrowed memory back once its uses are proven. The buffer is empty from then on, and nobody is told.
    pub fn detach(&self, timeout: Timeout) -> Result<()> {
        self.expect_whole("detaching")?;
        if !self.whole.borrowed {
            return fail!(Unsupported, "{} borrows no memory: destroy it", self.name);
        }
        let mut block = self.lock()?;
        // Detached before, by a call that could not wait long enough.
        if self.whole.returning.load(Ordering::Relaxed) {
            return self.await_return(timeout);
        }
        block.settle()?;
        block.expect_not_held(Check::HoldDetach, "detaching")?;
        let wait = self.wait(timeout);
        for side in block.sides_mut() {
            side.expect_unguarded(Check::ReleaseGuard, "detaching")?;
            side.fence_all_declared()?;
            side.wait_all(&wait, Check::DetachWaits, "detaching")?;
        }
        // Whoever got an address with no stream named is only proven done when everything is.
        if block.sides().any(Side::has_unseen_users) {
            self.whole.device.wait_idle(&wait)?;
        }
        let storages: Vec<Storage> = block.sides_mut().filter_map(Side::take_storage).collect();
        self.whole.returning.store(true, Ordering::Relaxed);
        drop(block);
        let untold = storages.into_iter().filter_map(Storage::hand_back).last();
        *self.whole.untold.lock() = untold;
        self.await_return(timeout)
    }

    /// Waits until the driver has let borrowed memory go.
    fn await_return(&self, timeout: Timeout) -> Result<()> {
        if !Borrow::is_back(&self.whole.owner) {
            self.whole.device.backend().await_frees(timeout.deadline());
        }
        // Whatever the wait says: somebody else's memory may be what takes so long, and it may not have been a wait at all.
        if !Borrow::is_back(&self.whole.owner) {
            let status = if timeout == Timeout::Try { Status::Busy } else { Status::Timeout };
            let text = format!(
                "{}: the driver still has the memory page-locked, other work on the device keeps it; detach again",
                self.name
            );
            return Err(Error::new(status, text));
        }
        self.whole.returning.store(false, Ordering::Relaxed);
        drop(self.whole.untold.lock().take());
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
