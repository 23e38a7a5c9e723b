//! Streams: our own, and those of the caller.

use super::codes;
use super::context::Context;
use super::event::CudaEvent;
use super::kit::StreamHolds;
use super::memory::Pieces;
use super::wait::poll;
use crate::backend::kit::StreamKit;
use crate::backend::{EventBackend, StreamBackend};
use crate::error::{Error, Result};
use crate::fail;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use cudarc::driver::sys::{CUevent, CUgraphExec, CUstream, CUstream_flags, CUstreamCaptureStatus};
use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;
use std::thread::ThreadId;
use std::time::Instant;

/// The handle that means "this thread's default stream", whichever thread uses it.
const PER_THREAD: usize = 2;
const NOT_CAPTURING: c_int = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as c_int;
/// The legacy stream, asked while a stream that it waits for captures, says this instead.
const IMPLICIT: codes::Code = 906;
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
    /// The caller may have destroyed it: it must not be touched.
    ended: AtomicBool,
    pieces: Arc<Pieces>,
    /// An event for waits with a deadline, while nobody uses it.
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
        holds: Option<StreamHolds>,
    ) -> Result<CudaStream> {
        let mut handle = null_mut();
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        let entered = context.enter_relaxed()?;
        // SAFETY: the context is current; the pointer is that of a local.
        let code = unsafe { (context.driver().cuStreamCreate)(&mut handle, flags) };
        context.check(code, "creating a stream")?;
        drop(entered);
        CudaStream::over(context, pieces, holds, handle, true)
    }

    /// The caller's stream, or a default stream, by its handle: 0 and 1 are the legacy one, 2 is this thread's.
    pub(super) fn wrap(
        context: &Arc<Context>,
        pieces: &Arc<Pieces>,
        holds: Option<StreamHolds>,
        native: usize,
    ) -> Result<CudaStream> {
        CudaStream::over(context, pieces, holds, native as CUstream, false)
    }

    fn over(
        context: &Arc<Context>,
        pieces: &Arc<Pieces>,
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
            ended: AtomicBool::new(false),
            pieces: pieces.clone(),
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
        // SAFETY: as above.
        let code = unsafe { (driver.cuStreamGetId)(handle, &mut stream.id) };
        context.check(code, format_args!("asking stream {handle:p} for its number"))?;
        Ok(stream)
    }

    fn expect_alive(&self) -> Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return fail!(StaleHandle, "the object over native stream {:p} was destroyed", self.handle);
        }
        match self.thread {
            Some(thread) if thread != std::thread::current().id() => fail!(
                WrongDevice,
                "this is the per-thread default stream of {thread:?}: wrap that of this thread, which is another stream"
            ),
            _ => Ok(()),
        }
    }

    /// Queues with the context current. `submit` returns the driver's code.
    fn queue(&self, submit: impl FnOnce() -> codes::Code, doing: impl std::fmt::Display) -> Result<()> {
        self.expect_alive()?;
        let _entered = self.context.enter()?;
        match submit() {
            0 => Ok(()),
            code => Err(self.context.error(code, doing)),
        }
    }

    /// The driver refused a copy or fill, or a later part of one. It counts as not queued, so what is must have run.
    #[cold]
    fn refused(&self, error: Error, queued: bool) -> Error {
        if queued && let Ok(_entered) = self.context.enter_relaxed() {
            // SAFETY: the stream is alive. Nothing but the loss of the device keeps it from ending, and that is noted.
            self.context.note(unsafe { (self.context.driver().cuStreamSynchronize)(self.handle) });
        }
        error
    }

    pub(super) fn wait_native(&self, event: usize) -> Result<()> {
        let driver = self.context.driver();
        // SAFETY: the stream is alive, the event by the caller's promise.
        self.queue(
            || unsafe { (driver.cuStreamWaitEvent)(self.handle, event as CUevent, 0) },
            "queueing a wait for an event",
        )
    }

    pub(super) fn record_native(&self, event: usize) -> Result<()> {
        let driver = self.context.driver();
        // SAFETY: as in `wait_native`.
        self.queue(|| unsafe { (driver.cuEventRecord)(event as CUevent, self.handle) }, "recording an event")
    }
}

impl StreamBackend for CudaStream {
    fn id(&self) -> u64 {
        self.id
    }

    fn native(&self) -> usize {
        self.handle as usize
    }

    unsafe fn copy(&self, target: u64, source: u64, bytes: usize, _tag: u64) -> Result<()> {
        let driver = self.context.driver();
        let mut queued = false;
        let copied = self.pieces.split(target, source, bytes, |target, source, bytes| {
            // SAFETY: the stream is alive; the caller keeps both ranges allocated until the copy has run.
            let submit = || unsafe { (driver.cuMemcpyAsync)(target, source, bytes, self.handle) };
            self.queue(submit, format_args!("queueing a copy of {bytes} bytes"))?;
            queued = true;
            Ok(())
        });
        copied.map_err(|error| self.refused(error, queued))
    }

    unsafe fn fill(&self, target: u64, width: usize, value: u64, count: usize, _tag: u64) -> Result<()> {
        let driver = self.context.driver();
        let stream = self.handle;
        let mut queued = false;
        let mut fill = |submit: &dyn Fn() -> codes::Code| {
            self.queue(submit, format_args!("queueing a fill of {count} elements of {width} bytes"))?;
            queued = true;
            Ok(())
        };
        let filled = match width {
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
        };
        filled.map_err(|error| self.refused(error, queued))
    }

    fn record(&self, event: &dyn EventBackend, _tag: u64) -> Result<()> {
        self.record_native(CudaEvent::own(event)?.handle() as usize)
    }

    fn wait(&self, event: &dyn EventBackend) -> Result<()> {
        self.wait_native(CudaEvent::own(event)?.handle() as usize)
    }

    fn is_idle(&self) -> Result<bool> {
        // Asked of a capturing stream, the driver would end its capture.
        if self.ended.load(Ordering::Acquire) || self.is_capturing()? {
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
        self.expect_alive()?;
        if self.is_capturing()? {
            return fail!(Capturing, "the stream is being captured: end the capture first");
        }
        if deadline.is_none() {
            let _entered = self.context.enter_relaxed()?;
            // SAFETY: the stream is alive.
            let code = unsafe { (self.context.driver().cuStreamSynchronize)(self.handle) };
            return self.context.check(code, "waiting for a stream");
        }
        let event = match self.spare.lock().take() {
            Some(event) => event,
            None => CudaEvent::create(&self.context)?,
        };
        self.record_native(event.handle() as usize)?;
        let done = poll(deadline, || {
            let _entered = match self.context.enter_relaxed() {
                Ok(entered) => entered,
                Err(error) => return Some(Err(error)),
            };
            // SAFETY: the event is alive.
            match unsafe { (self.context.driver().cuEventQuery)(event.handle()) } {
                codes::NOT_READY => None,
                code => Some(self.context.check(code, "waiting for a stream")),
            }
        });
        match done {
            Some(done) => {
                *self.spare.lock() = Some(event);
                done
            }
            None => fail!(Timeout, "the stream's work was not done by the deadline"),
        }
    }

    fn is_capturing(&self) -> Result<bool> {
        if self.ended.load(Ordering::Acquire) {
            return Ok(false);
        }
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
        CudaStream::wait_native(self, event)
    }

    fn record_native(&self, event: usize) -> Result<()> {
        CudaStream::record_native(self, event)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
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
