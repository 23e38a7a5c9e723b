//! A tensor whose truth lies in ordinary memory, always writable, and whose copies for the device are blocks of a pool.
//!
//! No copy engine ever reads the truth: a publish brings a block up to date with it by the CPU, where nothing uses the block
//! any more, and work on the device uses that block. So the truth needs no fences, and what a kernel sees is what was
//! published for it, whatever is written meanwhile. Each block knows which bytes of the truth changed since it was last in
//! step; only those are copied.

mod ranges;
mod replica;
mod report;

pub use ranges::{RANGES, Ranges};
pub use report::TensorStats;

use crate::config::checks::Check;
use crate::config::{ALL, Placement, Timeout};
use crate::dtype::{Dtype, Shape};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Access, Device, HostWait, Name, Range, Storage, Timeline};
use crate::lease::Twin;
use crate::ops;
use crate::pool::Pool;
use crate::stats::{Counter, WaitCounters};
use crate::sync::{Arc, MutexGuard, OneThread, Weak};
use arrayvec::ArrayVec;
use replica::Replica;

/// The most blocks that one tensor may hold.
pub const MAX_BLOCKS: usize = 8;

/// What a tensor is to be.
pub struct TensorOptions {
    /// Element type.
    pub dtype: Dtype,
    /// Elements per dimension.
    pub shape: Shape,
    /// The most blocks of the pool that it holds at a time: 1 to [`MAX_BLOCKS`].
    pub max_blocks: u32,
    /// The label, or empty.
    pub label: String,
}

/// A tensor. One thread at a time: a second one is answered `busy`.
pub struct Tensor {
    name: Name,
    pool: Arc<Pool>,
    dtype: Dtype,
    shape: Shape,
    bytes: usize,
    max_blocks: usize,
    truth: Storage,
    inner: OneThread<Inner>,
    counters: Counters,
}

/// The blocks that it holds.
#[derive(Default)]
struct Inner {
    replicas: ArrayVec<Replica, MAX_BLOCKS>,
    /// The one that was published last.
    current: Option<usize>,
    /// Work on the device may write it.
    written: bool,
    /// Blocks brought up to date so far.
    published: u64,
}

#[derive(Default)]
struct Counters {
    publishes: Counter,
    unchanged: Counter,
    copied_bytes: Counter,
    skipped_bytes: Counter,
    read_bytes: Counter,
    waits: WaitCounters,
}

impl Tensor {
    /// A tensor of zeroes. It takes blocks of the pool when it needs them.
    pub fn create(pool: &Arc<Pool>, options: TensorOptions) -> Result<Arc<Tensor>> {
        let TensorOptions { dtype, shape, max_blocks, label } = options;
        if !pool.placement().is_in_place() && pool.twin() == Twin::Never {
            return fail!(
                Unsupported,
                "kernels cannot address the blocks of {}: a tensor needs a pool of uva blocks, or one with device twins",
                pool.name()
            );
        }
        let bytes = shape.bytes(dtype)?;
        if bytes as u64 > pool.block_bytes() {
            return fail!(
                InvalidArgument,
                "the tensor has {bytes} bytes, and a block of {} has {}: use a pool of larger blocks",
                pool.name(),
                pool.block_bytes()
            );
        }
        if max_blocks == 0 || max_blocks as usize > MAX_BLOCKS {
            return fail!(InvalidArgument, "max_blocks is {max_blocks}: 1 to {MAX_BLOCKS}");
        }
        let name = Name::new("tensor", &label);
        let truth = Storage::allocate(pool.device(), Placement::Pageable, bytes).map_err(|e| e.context(&name))?;
        let tensor = Arc::new(Tensor {
            name,
            pool: pool.clone(),
            dtype,
            shape,
            bytes,
            max_blocks: max_blocks as usize,
            truth,
            inner: OneThread::new(Inner::default()),
            counters: Counters::default(),
        });
        let member: Weak<Tensor> = Arc::downgrade(&tensor);
        pool.device().enroll(member);
        Ok(tensor)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        self.pool.device()
    }

    /// Its element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of the truth.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The most blocks that it holds at a time.
    pub fn max_blocks(&self) -> u32 {
        self.max_blocks as u32
    }

    fn enter(&self) -> Result<MutexGuard<'_, Inner>> {
        match self.inner.enter() {
            Some(inner) => Ok(inner),
            None => fail!(Busy, "{} is in use by another thread: one at a time", self.name),
        }
    }

    fn elements(&self, first: u64, count: u64) -> Result<Range> {
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

    /// The truth, the same for the tensor's life. Whoever writes through it says so with [`Tensor::mark`].
    pub fn data(&self) -> *mut u8 {
        self.truth.memory().host
    }

    /// The caller wrote these elements of the truth: the next publish sends them.
    pub fn mark(&self, first: u64, count: u64) -> Result<()> {
        let range = self.elements(first, count)?;
        self.enter()?.changed(range);
        Ok(())
    }

    /// Writes elements of the truth. Never waits for the device.
    ///
    /// # Safety
    /// `source` can be read for `count` elements.
    pub unsafe fn write(&self, first: u64, count: u64, source: *const u8) -> Result<()> {
        let range = self.elements(first, count)?;
        let mut inner = self.enter()?;
        let (target, bytes) = (self.data().wrapping_add(range.start), range.end - range.start);
        ops::expect_apart(target, bytes, "source", source, bytes)?;
        // SAFETY: the range lies inside the truth; the caller's promise for the source, which is apart.
        unsafe { ops::copy(target, source, bytes) };
        inner.changed(range);
        Ok(())
    }

    /// Every element of the truth becomes this one.
    pub fn fill(&self, element: &[u8]) -> Result<()> {
        if element.len() != self.dtype.size() {
            return fail!(
                InvalidArgument,
                "a fill element of {} has {} bytes, not {}",
                self.name,
                self.dtype.size(),
                element.len()
            );
        }
        let mut inner = self.enter()?;
        // SAFETY: the truth's memory, which this thread alone writes while it is inside.
        ops::fill(unsafe { std::slice::from_raw_parts_mut(self.data(), self.bytes) }, element);
        inner.changed(self.all());
        Ok(())
    }

    fn all(&self) -> Range {
        Range { start: 0, end: self.bytes }
    }

    /// The address of a block that is in step with the truth, for work that is queued on these streams before the next
    /// publish. Where nothing changed since the last one, and nobody is to write, it is the same; else a block that nothing
    /// uses any more gets what changed since it was last in step. The streams are fenced by the library, no later than the
    /// next publish. A block for work that writes is that work's alone, and out of step altogether from then on: the next
    /// publish sends the truth anew, with what [`Tensor::to_host`] took over from it.
    pub fn publish(&self, streams: &[Arc<Timeline>], access: Access, timeout: Timeout) -> Result<u64> {
        let Some(first) = streams.first() else {
            return fail!(InvalidArgument, "no stream is named: name every stream that will use {}", self.name);
        };
        for stream in streams {
            stream.expect_device(self.device())?;
            stream.expect_not_capturing(Check::CaptureFences)?;
        }
        let wait = HostWait::new(timeout, &self.counters.waits);
        let mut inner = self.enter()?;
        let inner = &mut *inner;
        inner.drop_quarantined();
        let in_step = inner.current.filter(|place| inner.replicas[*place].changed.is_empty());
        if let Some(current) = in_step.filter(|_| access == Access::Read) {
            let address = inner.replicas[current].address(streams, false)?;
            self.counters.publishes.add(1);
            self.counters.unchanged.add(1);
            self.counters.skipped_bytes.add(self.bytes as u64);
            inner.given(current, access, self.all());
            return Ok(address);
        }
        let place = self.choose(inner, access, &wait)?;
        let copied = self.bring_up(inner, place, access, first, &wait)?;
        let last = inner.current.filter(|last| *last != place);
        if let Some(last) = last {
            inner.replicas[last].fence_streams()?;
        }
        let address = inner.replicas[place].address(streams, true)?;
        // The last address is for no work from now on.
        if let Some(last) = last {
            inner.replicas[last].forget_streams()?;
        }
        inner.published += 1;
        inner.replicas[place].published = inner.published;
        inner.given(place, access, self.all());
        self.counters.publishes.add(1);
        self.counters.copied_bytes.add(copied as u64);
        self.counters.skipped_bytes.add((self.bytes - copied) as u64);
        Ok(address)
    }

    fn bring_up(
        &self,
        inner: &mut Inner,
        place: usize,
        access: Access,
        stream: &Arc<Timeline>,
        wait: &HostWait<'_>,
    ) -> Result<usize> {
        let held = inner.replicas.len();
        let replica = &mut inner.replicas[place];
        // Who was given the block before sees nothing of what is written to it from now on.
        let unused = if access == Access::Write { replica.wait(wait) } else { Ok(()) };
        unused.and_then(|()| replica.bring_up(self.data(), stream, wait)).map_err(|error| match error.status() {
            Status::Busy | Status::Timeout => error.context(format_args!(
                "{} has {held} of at most {} blocks (max_blocks) of {}, each of them in use",
                self.name,
                self.max_blocks,
                self.pool.name()
            )),
            _ => error,
        })
    }

    /// The block to bring up to date: the current one if nothing uses it, else another of its own that nothing uses, else one
    /// more of the pool's; else the one that was published first, which is then waited for.
    fn choose(&self, inner: &mut Inner, access: Access, wait: &HostWait<'_>) -> Result<usize> {
        // Whoever tries again and again is not to record a fence each time: what is known to be in the way is looked at first.
        if let Some(current) = inner.current
            && inner.replicas[current].is_done(access)?
        {
            inner.replicas[current].fence_streams()?;
            if inner.replicas[current].is_done(access)? {
                return Ok(current);
            }
        }
        for (place, replica) in inner.replicas.iter().enumerate() {
            if Some(place) != inner.current && replica.is_done(access)? {
                return Ok(place);
            }
        }
        if inner.replicas.len() < self.max_blocks {
            // Where it has blocks already, these are what it waits for.
            let timeout = if inner.replicas.is_empty() { wait.timeout() } else { Timeout::Try };
            match self.pool.acquire(0, timeout) {
                Ok(lease) => {
                    inner.replicas.push({
                        let twin = self.pool.twin() != Twin::Never || lease.is_standing_in();
                        Replica::new(lease, twin, self.all())
                    });
                    return Ok(inner.replicas.len() - 1);
                }
                Err(error) if !inner.replicas.is_empty() && has_no_more(error.status()) => {}
                Err(error) => {
                    return Err(error.context(format_args!(
                        "{} has {} of at most {} blocks (max_blocks) of {}, and needs one more",
                        self.name,
                        inner.replicas.len(),
                        self.max_blocks,
                        self.pool.name()
                    )));
                }
            }
        }
        let oldest = inner.replicas.iter().enumerate().min_by_key(|(_, replica)| replica.published);
        Ok(oldest.map_or(0, |(place, _)| place))
    }

    /// Copies elements of the published block back to the truth: what kernels wrote there, once they are done. Where blocks
    /// have device twins, the copy from there is queued on `stream` first.
    pub fn to_host(&self, first: u64, count: u64, stream: Option<&Arc<Timeline>>, timeout: Timeout) -> Result<()> {
        let range = self.elements(first, count)?;
        let wait = HostWait::new(timeout, &self.counters.waits);
        let mut inner = self.enter()?;
        let Some(current) = inner.current else {
            return fail!(NotBegun, "nothing of {} was published: there is no block to read", self.name);
        };
        if !inner.written {
            return fail!(
                NotBegun,
                "{} was published for work that only reads: publish it with access write to take back what that writes",
                self.name
            );
        }
        inner.replicas[current].read_back(range, self.data(), stream, &wait)?;
        // The block itself stays out of step: who may write it may do so up to the next publish.
        inner.changed(range);
        self.counters.read_bytes.add((range.end - range.start) as u64);
        Ok(())
    }

    /// Waits until nothing uses its blocks any more.
    pub fn synchronize(&self, timeout: Timeout) -> Result<()> {
        let wait = HostWait::new(timeout, &self.counters.waits);
        self.enter()?.replicas.iter_mut().try_for_each(|replica| replica.wait(&wait))
    }
}

/// Whether a pool has no block to give, so that those of the tensor's own have to do.
fn has_no_more(status: Status) -> bool {
    use Status::{Budget, Busy, Exhausted, OutOfDeviceMemory, OutOfHostMemory, ShutDown};
    matches!(status, Budget | Busy | Exhausted | OutOfDeviceMemory | OutOfHostMemory | ShutDown)
}

impl Inner {
    /// The truth changed here: no block is in step any more.
    fn changed(&mut self, range: Range) {
        self.replicas.iter_mut().for_each(|replica| replica.changed.add(range));
    }

    /// A block was given to the device.
    fn given(&mut self, place: usize, access: Access, all: Range) {
        self.written = access == Access::Write;
        self.current = Some(place);
        if access == Access::Write {
            self.replicas[place].changed.add(all);
        }
    }

    /// Blocks that nobody may touch again stand for nothing.
    fn drop_quarantined(&mut self) {
        for place in (0..self.replicas.len()).rev() {
            if self.replicas[place].is_quarantined() {
                drop(self.replicas.swap_remove(place));
                self.current = match self.current {
                    Some(current) if current == place => None,
                    Some(current) if current == self.replicas.len() => Some(place),
                    other => other,
                };
            }
        }
    }
}
