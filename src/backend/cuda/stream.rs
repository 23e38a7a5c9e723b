//! Streams: our own, and those of the caller.

use super::codes;
use super::context::Context;
use super::event::CudaEvent;
use super::kernels::Kernels;
use super::kit::StreamHolds;
use super::memory::Pieces;
use crate::backend::kit::StreamKit;
use crate::backend::{EventBackend, EventState, RowCopy, Scatter, StreamBackend};
use crate::error::Result;
use crate::fail;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock, RwLockReadGuard};
use cudarc::driver::sys::{CUDA_MEMCPY2D, CUevent, CUgraphExec, CUmemorytype, CUstream, CUstreamCaptureStatus};
use std::ffi::c_int;
use std::ptr::null_mut;
use std::thread::ThreadId;
use std::time::Instant;

/// The handle that means "this thread's default stream", whichever thread uses it.
const PER_THREAD: usize = 2;
const NOT_CAPTURING: c_int = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as c_int;
/// The legacy stream, asked while a stream that it waits for captures, says this instead.
const IMPLICIT: codes::Code = 906;
/// The largest distance of two rows that every driver copies (`CU_DEVICE_ATTRIBUTE_MAX_PITCH`).
const MOST_PITCH: usize = i32::MAX as usize;
/// Rows of one two-dimensional fill; longer ones are split. The driver states no limit, grids have one.
const FILL_ROWS: usize = 1 << 16;

/// A stream of a context.
pub struct CudaStream {
    pub(super) context: Arc<Context>,
    pub(super) handle: CUstream,
    id: u64,
    owned: bool,
    /// A per-thread default stream is another one in every thread.
    thread: Option<ThreadId>,
    /// Taken to use the handle; true once the caller may have destroyed it, and it must not be touched.
    ended: RwLock<bool>,
    pieces: Arc<Pieces>,
    kernels: Arc<Kernels>,
    /// An event for waits, while nobody uses it.
    spare: Mutex<Option<CudaEvent>>,
    pub(super) holds: Option<StreamHolds>,
}

// SAFETY: the driver takes the handle from any thread; it lives as long as this value, or as the caller promised.
unsafe impl Send for CudaStream {}
// SAFETY: as above; what changes is behind locks and atomics.
unsafe impl Sync for CudaStream {}

impl CudaStream {
    /// A new stream, in no order with the legacy one.
    pub(super) fn create(
        context: &Arc<Context>,
        pieces: &Arc<Pieces>,
        kernels: &Arc<Kernels>,
        holds: Option<StreamHolds>,
    ) -> Result<CudaStream> {
        let handle = context.create_stream()?;
        CudaStream::over(context, pieces, kernels, holds, handle, true)
    }

    /// The caller's stream, or a default stream, by its handle: 0 and 1 are the legacy one, 2 is this thread's.
    pub(super) fn wrap(
        context: &Arc<Context>,
        pieces: &Arc<Pieces>,
        kernels: &Arc<Kernels>,
        holds: Option<StreamHolds>,
        native: usize,
    ) -> Result<CudaStream> {
        CudaStream::over(context, pieces, kernels, holds, native as CUstream, false)
    }

    fn over(
        context: &Arc<Context>,
        pieces: &Arc<Pieces>,
        kernels: &Arc<Kernels>,
        holds: Option<StreamHolds>,
        handle: CUstream,
        owned: bool,
    ) -> Result<CudaStream> {
        let mut stream = CudaStream {
            context: context.clone(),
            handle,
            id: 0,
            owned,
            thread: (handle as usize == PER_THREAD).then(|| std::thread::current().id()),
            ended: RwLock::new(false),
            pieces: pieces.clone(),
            kernels: kernels.clone(),
            spare: Mutex::new(None),
            holds,
        };
        let driver = context.driver();
        let _entered = context.enter()?;
        let mut theirs = null_mut();
        // SAFETY: the context is current; the pointer is that of a local; the handle is alive, by the caller's promise if it is
        // the caller's.
        let code = unsafe { (driver.cuStreamGetCtx)(handle, &mut theirs) };
        context.check(code, format_args!("asking stream {handle:p} for its context"))?;
        if theirs != context.handle() {
            return fail!(
                WrongDevice,
                "stream {handle:p} belongs to context {theirs:p}, the device was opened on {:p}: open the device on the stream's context",
                context.handle()
            );
        }
        // Some drivers do not tell a capturing stream's number, and may take the question amiss.
        if stream.is_capturing()? {
            return fail!(Capturing, "stream {handle:p} is being captured: wrap it before or afterwards");
        }
        if stream.thread.is_some() {
            // Whether the driver's number differs from thread to thread is not documented.
            static NEXT: AtomicU64 = AtomicU64::new(1 << 63);
            stream.id = NEXT.fetch_add(1, Ordering::Relaxed);
            return Ok(stream);
        }
        // SAFETY: as above.
        let code = unsafe { (driver.cuStreamGetId)(handle, &mut stream.id) };
        context.check(code, format_args!("asking stream {handle:p} for its number"))?;
        Ok(stream)
    }

    /// The driver's handle, of a stream of ours.
    pub(super) fn handle(&self) -> CUstream {
        self.handle
    }

    /// Leave to use the handle, here and now.
    fn alive(&self) -> Result<RwLockReadGuard<'_, bool>> {
        let ended = self.ended.read_recursive();
        if *ended {
            return fail!(StaleHandle, "the object over native stream {:p} was destroyed", self.handle);
        }
        match self.thread {
            Some(thread) if thread != std::thread::current().id() => fail!(
                WrongDevice,
                "this is the per-thread default stream of {thread:?}: wrap that of this thread, which is another stream"
            ),
            _ => Ok(ended),
        }
    }

    /// Queues with the context current. `submit` returns the driver's code.
    fn queue(&self, submit: impl FnOnce() -> codes::Code, doing: impl std::fmt::Display) -> Result<()> {
        let _alive = self.alive()?;
        self.queue_unasked(submit, doing)
    }

    fn queue_unasked(&self, submit: impl FnOnce() -> codes::Code, doing: impl std::fmt::Display) -> Result<()> {
        let _entered = self.context.enter()?;
        match submit() {
            0 => Ok(()),
            code => Err(self.context.error(code, doing)),
        }
    }
}

impl StreamBackend for CudaStream {
    fn id(&self) -> u64 {
        self.id
    }

    fn native(&self) -> usize {
        self.handle as usize
    }

    unsafe fn copy(&self, target: u64, source: u64, bytes: usize, _tag: u64, queued: &mut bool) -> Result<()> {
        let driver = self.context.driver();
        self.pieces.split(target, source, bytes, |target, source, bytes| {
            // SAFETY: the stream is alive; the caller keeps both ranges allocated until the copy has run.
            let submit = || unsafe { (driver.cuMemcpyAsync)(target, source, bytes, self.handle) };
            self.queue(submit, format_args!("queueing a copy of {bytes} bytes"))?;
            *queued = true;
            Ok(())
        })
    }

    unsafe fn copy_rows(&self, copy: &RowCopy, tag: u64, queued: &mut bool) -> Result<()> {
        let RowCopy { target, source, pitch: [to, from], width, rows } = *copy;
        let reach = |pitch: usize| (rows - 1) * pitch + width;
        // Rows that are farther apart than the driver can count, or that lie in several registrations, go one by one.
        if to.max(from) > MOST_PITCH
            || !self.pieces.is_one(target, reach(to))
            || !self.pieces.is_one(source, reach(from))
        {
            return (0..rows as u64).try_for_each(|row| {
                // SAFETY: the caller's promise, for one row.
                unsafe { self.copy(target + row * to as u64, source + row * from as u64, width, tag, queued) }
            });
        }
        let driver = self.context.driver();
        let copy = CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: CUmemorytype::CU_MEMORYTYPE_UNIFIED,
            srcHost: std::ptr::null(),
            srcDevice: source,
            srcArray: null_mut(),
            srcPitch: from,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: CUmemorytype::CU_MEMORYTYPE_UNIFIED,
            dstHost: null_mut(),
            dstDevice: target,
            dstArray: null_mut(),
            dstPitch: to,
            WidthInBytes: width,
            Height: rows,
        };
        // SAFETY: the stream is alive, the pointer is that of a local; the caller keeps every row allocated until the copy has
        // run.
        let submit = || unsafe { (driver.cuMemcpy2DAsync_v2)(&copy, self.handle) };
        self.queue(submit, format_args!("queueing a copy of {rows} rows of {width} bytes"))?;
        *queued = true;
        Ok(())
    }

    unsafe fn fill(
        &self,
        target: u64,
        width: usize,
        value: u64,
        count: usize,
        _tag: u64,
        queued: &mut bool,
    ) -> Result<()> {
        let driver = self.context.driver();
        let stream = self.handle;
        let mut fill = |submit: &dyn Fn() -> codes::Code| {
            self.queue(submit, format_args!("queueing a fill of {count} elements of {width} bytes"))?;
            *queued = true;
            Ok(())
        };
        match width {
            // SAFETY: the stream is alive; the caller keeps the range allocated until the fill has run.
            1 => fill(&|| unsafe { (driver.cuMemsetD8Async)(target, value as u8, count, stream) }),
            // SAFETY: as above.
            2 => fill(&|| unsafe { (driver.cuMemsetD16Async)(target, value as u16, count, stream) }),
            // SAFETY: as above.
            4 => fill(&|| unsafe { (driver.cuMemsetD32Async)(target, value as u32, count, stream) }),
            _ if value >> 32 == value & 0xffff_ffff => {
                // SAFETY: as above.
                fill(&|| unsafe { (driver.cuMemsetD32Async)(target, value as u32, 2 * count, stream) })
            }
            // The driver has no fill of 8 bytes: every other word, twice.
            _ => (0..count).step_by(FILL_ROWS).try_for_each(|first| {
                let rows = FILL_ROWS.min(count - first);
                let at = target + 8 * first as u64;
                for (at, word) in [(at, value as u32), (at + 4, (value >> 32) as u32)] {
                    // SAFETY: as above.
                    fill(&|| unsafe { (driver.cuMemsetD2D32Async)(at, 8, word, 1, rows, stream) })?;
                }
                Ok(())
            }),
        }
    }

    unsafe fn scatter(&self, scatter: &Scatter, _tag: u64, queued: &mut bool) -> Result<()> {
        // SAFETY: the caller's promise; the stream is alive.
        let submit = || unsafe { self.kernels.launch_scatter(scatter, self.handle) };
        self.queue(submit, format_args!("launching the scatter of {} pieces", scatter.pieces))?;
        *queued = true;
        Ok(())
    }

    fn record(&self, event: &dyn EventBackend, _tag: u64) -> Result<()> {
        self.record_native(CudaEvent::own(event)?.handle() as usize)
    }

    fn wait(&self, event: &dyn EventBackend) -> Result<()> {
        self.wait_native(CudaEvent::own(event)?.handle() as usize)
    }

    fn is_idle(&self) -> Result<bool> {
        if *self.ended.read_recursive() {
            return Ok(false);
        }
        let _alive = self.alive()?;
        // Asked of a capturing stream, the driver would end its capture.
        if self.is_capturing()? {
            return Ok(false);
        }
        let _entered = self.context.enter_relaxed()?;
        // SAFETY: the stream is alive.
        match unsafe { (self.context.driver().cuStreamQuery)(self.handle) } {
            0 => Ok(true),
            codes::NOT_READY => Ok(false),
            code => Err(self.context.error(code, "asking a stream whether it is done")),
        }
    }

    fn synchronize(&self, deadline: Option<Instant>) -> Result<()> {
        if self.is_capturing()? {
            return fail!(Capturing, "the stream is being captured: end the capture first");
        }
        let event = match self.spare.lock().take() {
            Some(event) => event,
            None => CudaEvent::create(&self.context)?,
        };
        // From here on the stream itself is not needed: it may end meanwhile.
        self.record(&event, 0)?;
        match event.wait(deadline) {
            EventState::Pending => fail!(Timeout, "the stream's work was not done by the deadline"),
            EventState::Lost => fail!(DeviceLost, "the device was lost before the stream's work was done"),
            EventState::Complete | EventState::Failed => {
                *self.spare.lock() = Some(event);
                Ok(())
            }
        }
    }

    fn is_capturing(&self) -> Result<bool> {
        if *self.ended.read_recursive() {
            return Ok(false);
        }
        let _alive = self.alive()?;
        let mut status = NOT_CAPTURING;
        let _entered = self.context.enter()?;
        // SAFETY: the stream is alive; the pointer is that of a local. It changes no capture.
        match unsafe { (self.context.driver().cuStreamIsCapturing)(self.handle, &mut status) } {
            0 => Ok(status != NOT_CAPTURING),
            IMPLICIT => Ok(true),
            code => Err(self.context.error(code, "asking a stream whether it is captured")),
        }
    }

    unsafe fn launch_graph(&self, graph: u64, _tag: u64) -> Result<()> {
        let driver = self.context.driver();
        // SAFETY: the stream is alive, the graph by the caller's promise.
        self.queue(|| unsafe { (driver.cuGraphLaunch)(graph as CUgraphExec, self.handle) }, "launching a graph")
    }

    fn wait_native(&self, event: usize) -> Result<()> {
        let driver = self.context.driver();
        // SAFETY: the stream is alive, the event by the caller's promise.
        let submit = || unsafe { (driver.cuStreamWaitEvent)(self.handle, event as CUevent, 0) };
        self.queue(submit, "queueing a wait for an event")
    }

    fn record_native(&self, event: usize) -> Result<()> {
        let driver = self.context.driver();
        // SAFETY: as in `wait_native`.
        self.queue(|| unsafe { (driver.cuEventRecord)(event as CUevent, self.handle) }, "recording an event")
    }

    fn end(&self, last: Option<&dyn EventBackend>) -> Result<()> {
        let driver = self.context.driver();
        let here = self.alive().map(drop);
        let mut ended = self.ended.write();
        *ended = true;
        here?;
        let Some(event) = last else { return Ok(()) };
        let event = CudaEvent::own(event)?;
        // SAFETY: the caller keeps the stream until this returns, and the lock keeps all others from it.
        self.queue_unasked(|| unsafe { (driver.cuEventRecord)(event.handle(), self.handle) }, "recording a last event")
    }

    fn is_here(&self) -> bool {
        self.alive().is_ok()
    }

    fn held_by_this_thread(&self) -> bool {
        self.holds.as_ref().is_some_and(StreamHolds::held_by_this_thread)
    }

    fn kit(&self) -> Option<&dyn StreamKit> {
        self.holds.is_some().then_some(self)
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        if let Some(holds) = &self.holds {
            holds.release_all();
        }
        if !self.owned {
            return;
        }
        if let Ok(_entered) = self.context.enter_relaxed() {
            // SAFETY: created by this value. What is queued still runs.
            unsafe { (self.context.driver().cuStreamDestroy_v2)(self.handle) };
        }
    }
}
