//! The paired buffer: a host side and a device side of one shape, with fenced access to both.

use crate::config::checks::Check;
use crate::config::{ALL, Placement, Timeout, expect_sides};
use crate::dtype::{Dtype, Shape};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{
    Access, Block, BlockGuard, Borrow, Device, Holdable, HostWait, Name, Range, ReleaseCallback, Side, Storage,
    Timeline, Which,
};
use crate::stats::WaitCounters;
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OneThread, Ordering, Weak};

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

/// A paired buffer. One thread at a time: a second one is answered `busy`.
pub struct Buffer {
    name: Arc<Name>,
    device: Arc<Device>,
    dtype: Dtype,
    shape: Shape,
    placements: (Placement, Placement),
    borrowed: bool,
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
        let BufferOptions { dtype, shape, host, device: on_device, host_memory, device_memory, release, label } =
            options;
        expect_sides(host, on_device)?;
        if (!host_memory.is_null() && host == Placement::None) || (device_memory != 0 && on_device == Placement::None) {
            return fail!(InvalidArgument, "memory is lent for a side whose placement is none");
        }
        if !host_memory.is_null() && host == Placement::Managed {
            return fail!(Unsupported, "borrowed host memory cannot be managed: use uva, pinned or pageable");
        }
        let bytes = shape.bytes(dtype)?;
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
                unsafe { Storage::borrow(device, placement, host, address, bytes, owner.clone()) }
            } else {
                Storage::allocate(device, placement, bytes)
            };
            Ok(Some(Side::new(which, &name, storage.map_err(|e| e.context(&name))?)))
        };
        let host_side = side(Which::Host, host, !host_memory.is_null())?;
        let device_side = side(Which::Device, on_device, device_memory != 0)?;
        let borrowed = !host_memory.is_null() || device_memory != 0;
        if borrowed {
            owner.tell(release);
        }
        Ok(Arc::new(Buffer {
            block: OneThread::new(Block::new(&name, bytes, host_side, device_side)),
            name,
            device: device.clone(),
            dtype,
            shape,
            placements: (host, on_device),
            borrowed,
            owner: Arc::downgrade(&owner),
            returning: AtomicBool::new(false),
            untold: Mutex::new(None),
            unchecked: AtomicBool::new(false),
            waits: WaitCounters::default(),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Its element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Where its host and device sides live.
    pub fn placements(&self) -> (Placement, Placement) {
        self.placements
    }

    /// Whether a part of its memory is the caller's.
    pub fn is_borrowed(&self) -> bool {
        self.borrowed
    }

    /// Its waits on the host.
    pub fn waits(&self) -> &WaitCounters {
        &self.waits
    }

    /// The block, for this thread alone; another thread inside is `busy`.
    pub fn lock(&self) -> Result<MutexGuard<'_, Block>> {
        match self.block.enter() {
            Some(block) => Ok(block),
            None => fail!(Busy, "{} is in use by another thread: one at a time", self.name),
        }
    }

    /// A short look at the block, unless a thread uses it; such a thread is never told `busy` for that.
    pub fn look<R>(&self, look: impl FnOnce(&Block) -> R) -> Option<R> {
        self.block.look(look)
    }

    /// Elements `first..first + count` as bytes; `count` may be [`ALL`].
    pub fn elements(&self, first: u64, count: u64) -> Result<Range> {
        let all = self.shape.count();
        let count = if count == ALL { all.saturating_sub(first) } else { count };
        if first > all || count > all - first {
            return fail!(
                InvalidArgument,
                "elements {first}..{} are not inside {}, which has {all}",
                first.saturating_add(count),
                self.name
            );
        }
        let size = self.dtype.size();
        Ok(Range { start: first as usize * size, end: (first + count) as usize * size })
    }

    fn wait(&self, timeout: Timeout) -> HostWait<'_> {
        HostWait::new(timeout, &self.waits)
    }

    /// The host side's address, to be read or written between begin and end of a covering range only. No access, no wait.
    pub fn host_ptr(&self) -> Result<*const u8> {
        Ok(self.lock()?.memory(Which::Host)?.host)
    }

    /// The host side's address for code that brings its own fences. Counted; the buffer is called unchecked from then on.
    pub fn host_ptr_unfenced(&self) -> Result<*mut u8> {
        let host = self.lock()?.memory(Which::Host)?.host;
        self.device.counters.unfenced_pointers.add(1);
        self.unchecked.store(true, Ordering::Relaxed);
        Ok(host)
    }

    /// The device address, constant for the buffer's life. The streams named will use it, others not; with none named the
    /// library cannot know who uses it, and frees it after a drain only.
    pub fn device_address(&self, streams: &[Arc<Timeline>]) -> Result<u64> {
        self.lock()?.device_address(streams, false)
    }

    /// Work queued on the stream up to now read or wrote the buffer.
    pub fn used_on(&self, stream: &Arc<Timeline>, access: Access) -> Result<()> {
        self.lock()?.used_on(std::slice::from_ref(stream), access == Access::Write)
    }

    /// Opens a CPU access to a range; returns the first element's address and the token that ends it.
    pub fn begin(&self, access: Access, first: u64, count: u64, timeout: Timeout) -> Result<(*mut u8, u64)> {
        let range = self.elements(first, count)?;
        self.lock()?.begin(access, range, &self.wait(timeout))
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
        let range = self.elements(first, count)?;
        // SAFETY: the caller's promise.
        unsafe { self.lock()?.copy_in(range, source, &self.wait(timeout)) }
    }

    /// Copies elements out to the caller, as one read access.
    ///
    /// # Safety
    /// `target` can be written for `count` elements and does not overlap the buffer.
    pub unsafe fn copy_out(&self, first: u64, count: u64, target: *mut u8, timeout: Timeout) -> Result<()> {
        let range = self.elements(first, count)?;
        // SAFETY: the caller's promise.
        unsafe { self.lock()?.copy_out(range, target, &self.wait(timeout)) }
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
        let range = self.elements(first, count)?;
        let wait = blocking.map(|timeout| self.wait(timeout));
        self.lock()?.copy(up, range, stream, wait.as_ref())
    }

    /// Fills sides with one element. The device side needs a stream and is filled in its order; the host side is a write
    /// access. The host side is done first: where it is refused, nothing is queued.
    pub fn fill(
        &self,
        host: bool,
        device: bool,
        element: &[u8],
        stream: Option<&Arc<Timeline>>,
        timeout: Timeout,
    ) -> Result<()> {
        if element.len() != self.dtype.size() {
            return fail!(
                InvalidArgument,
                "a fill element of {} has {} bytes, not {}",
                self.name,
                self.dtype.size(),
                element.len()
            );
        }
        if !host && !device {
            return fail!(InvalidArgument, "no side of {} is named: use GPUBUF_SIDE_HOST, _DEVICE or _BOTH", self.name);
        }
        let mut block = self.lock()?;
        for (wanted, there, side) in [(host, block.host.is_some(), "host"), (device, block.device.is_some(), "device")]
        {
            if wanted && !there {
                return fail!(Unsupported, "{} has no {side} side to fill", self.name);
            }
        }
        let stream = match (device, stream) {
            (true, None) => return fail!(InvalidArgument, "filling the device side of {} needs a stream", self.name),
            (true, Some(stream)) => {
                stream.expect_device(&self.device)?;
                stream.expect_not_capturing(Check::CaptureCopies)?;
                Some(stream)
            }
            (false, _) => None,
        };
        if host {
            block.fill_host(element, &self.wait(timeout))?;
        }
        match stream {
            Some(stream) => block.fill_device(element, stream),
            None => Ok(()),
        }
    }

    /// Takes borrowed memory back once its uses are proven. The buffer is empty from then on, and nobody is told.
    pub fn detach(&self, timeout: Timeout) -> Result<()> {
        if !self.borrowed {
            return fail!(Unsupported, "{} borrows no memory: destroy it", self.name);
        }
        let mut block = self.lock()?;
        // Detached before, by a call that could not wait long enough.
        if self.returning.load(Ordering::Relaxed) {
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
            self.device.wait_idle(&wait)?;
        }
        let storages: Vec<Storage> = block.sides_mut().filter_map(Side::take_storage).collect();
        self.returning.store(true, Ordering::Relaxed);
        drop(block);
        let untold = storages.into_iter().filter_map(Storage::hand_back).last();
        *self.untold.lock() = untold;
        self.await_return(timeout)
    }

    /// Waits until the driver has let borrowed memory go.
    fn await_return(&self, timeout: Timeout) -> Result<()> {
        if !Borrow::is_back(&self.owner) {
            self.device.backend().await_frees(timeout.deadline());
        }
        // Whatever the wait says: somebody else's memory may be what takes so long, and it may not have been a wait at all.
        if !Borrow::is_back(&self.owner) {
            let status = if timeout == Timeout::Try { Status::Busy } else { Status::Timeout };
            let text = format!(
                "{}: the driver still has the memory page-locked, other work on the device keeps it; detach again",
                self.name
            );
            return Err(Error::new(status, text));
        }
        self.returning.store(false, Ordering::Relaxed);
        drop(self.untold.lock().take());
        Ok(())
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let dims = self.shape.dims();
        let state = self.block.look(Block::describe).unwrap_or_else(|| "in use by another thread".into());
        let unchecked = if self.unchecked.load(Ordering::Relaxed) { ", unchecked" } else { "" };
        format!(
            "{}: {} {dims:?}{unchecked}; {state}; waits: {} ({} ns)",
            self.name,
            self.dtype.name(),
            self.waits.waits.get(),
            self.waits.wait_ns.get()
        )
    }
}

impl Holdable for Buffer {
    fn key(&self) -> (u64, u64) {
        (self.name.number(), 0)
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn enter(&self) -> Result<BlockGuard<'_>> {
        Ok(MutexGuard::map(self.lock()?, |block| block))
    }

    fn part(&self, _: &Block, first: u64, count: u64) -> Result<Range> {
        self.elements(first, count)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Detached by a call that could not wait long enough, and by none after it: then the owner is told after all.
        let Some(release) = self.untold.get_mut().take() else { return };
        match self.owner.upgrade() {
            Some(owner) => drop(owner.tell(Some(release))),
            None => release(),
        }
    }
}
