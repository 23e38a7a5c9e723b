//! Streams: handles, and how operations get into them.

use std::cell::RefCell;
use std::sync::Arc;

use gpubuf_engine::{CaptureStatus, Op, OpKind, View};

use crate::code;
use crate::context::{self, Context};
use crate::fault::Fate;
use crate::table::Table;

/// `CU_STREAM_LEGACY`; null means it, too.
pub(crate) const LEGACY: u64 = 1;
/// `CU_STREAM_PER_THREAD`.
pub(crate) const PER_THREAD: u64 = 2;
/// `CU_STREAM_NON_BLOCKING`.
pub(crate) const NON_BLOCKING: u32 = 1;

/// A stream of a context.
pub(crate) struct Stream {
    pub(crate) handle: u64,
    pub(crate) context: Arc<Context>,
    pub(crate) engine: gpubuf_engine::Stream,
    pub(crate) flags: u32,
    pub(crate) priority: i32,
}

static STREAMS: Table<Stream> = Table::new(2);

/// A thread's own stream in one context; the work that is queued when the thread ends still runs.
struct PerThread(Arc<Stream>);

impl Drop for PerThread {
    fn drop(&mut self) {
        let _ = STREAMS.remove(self.0.handle);
    }
}

thread_local! {
    static PER_THREAD_STREAMS: RefCell<Vec<PerThread>> = const { RefCell::new(Vec::new()) };
}

/// Makes the handle of a stream.
pub(crate) fn keep(
    context: &Arc<Context>,
    engine: gpubuf_engine::Stream,
    flags: u32,
    priority: i32,
) -> Result<Arc<Stream>, i32> {
    STREAMS.insert(|handle| Stream { handle, context: context.clone(), engine, flags, priority })
}

/// The stream that a handle means to a caller whose current context is `current`, if its context is healthy. A stream
/// of another context will do (programming guide, "Stream and Event Behavior").
pub(crate) fn find(handle: u64, current: &Arc<Context>) -> Result<Arc<Stream>, i32> {
    match handle {
        0 | LEGACY => current.legacy(),
        PER_THREAD => per_thread(current),
        _ => {
            let stream = STREAMS.get(handle)?;
            if !Arc::ptr_eq(&stream.context, current) {
                stream.context.check()?;
            }
            Ok(stream)
        }
    }
}

/// A stream that a caller made, healthy or not.
pub(crate) fn made(handle: u64) -> Result<Arc<Stream>, i32> {
    STREAMS.get(handle)
}

fn per_thread(current: &Arc<Context>) -> Result<Arc<Stream>, i32> {
    let with = |streams: &RefCell<Vec<PerThread>>| {
        let mut streams = streams.borrow_mut();
        if let Some(own) = streams.iter().find(|own| Arc::ptr_eq(&own.0.context, current)) {
            return Ok(own.0.clone());
        }
        streams.retain(|own| own.0.context.check() != Err(code::CONTEXT_IS_DESTROYED));
        // Ordered with the legacy stream as blocking streams are (programming guide, "Per-thread default stream").
        let engine = current.engine.create_blocking_stream().map_err(|fault| current.code(fault))?;
        let stream = keep(current, engine, 0, 0)?;
        streams.push(PerThread(stream.clone()));
        Ok(stream)
    };
    PER_THREAD_STREAMS.try_with(with).unwrap_or(Err(code::INVALID_HANDLE))
}

/// Takes a stream that the caller made out of the table. The special streams have handles there, too, but nobody was
/// told them.
pub(crate) fn remove(handle: u64) -> Result<Arc<Stream>, i32> {
    STREAMS.remove(handle)
}

pub(crate) fn all_of(context: &Context) -> Vec<Arc<Stream>> {
    STREAMS.all(|stream| std::ptr::eq(&*stream.context, context))
}

pub(crate) fn forget_all_of(context: &Context) -> Vec<Arc<Stream>> {
    STREAMS.remove_all(|stream| std::ptr::eq(&*stream.context, context))
}

impl Stream {
    pub(crate) fn is_capturing(&self) -> bool {
        self.engine.capture_status() != CaptureStatus::None
    }

    /// Counts an operation whose arguments are good against the faults armed for its device. `Err` is a refusal: it
    /// leaves the context healthy and a capture whole.
    pub(crate) fn admit(&self, kind: OpKind) -> Result<Fate, i32> {
        let faults = &self.context.ordinal.faults;
        if !faults.any() {
            return Ok(Fate::Run);
        }
        match faults.submit(kind, self.is_capturing())? {
            Fate::Lose(code) => {
                self.context.ordinal.lose(code);
                Err(code)
            }
            fate => Ok(fate),
        }
    }

    /// Queues an operation that was admitted.
    ///
    /// # Safety
    /// As for the engine's `submit`: memory that the driver does not own is valid as the driver API asks.
    pub(crate) unsafe fn queue(&self, fate: Fate, op: Op) -> Result<(), i32> {
        let op = match fate {
            Fate::Run => op,
            Fate::Fail(code) | Fate::Lose(code) => self.failing(code),
        };
        // SAFETY: this function's contract.
        unsafe { self.engine.submit(op, 0) }.map_err(|fault| self.context.code(fault))
    }

    /// Counts and queues an operation.
    ///
    /// # Safety
    /// As for [`queue`](Stream::queue).
    pub(crate) unsafe fn submit(&self, kind: OpKind, op: Op) -> Result<(), i32> {
        let fate = self.admit(kind)?;
        // SAFETY: this function's contract.
        unsafe { self.queue(fate, op) }
    }

    /// An operation that ends the context with a code when it runs.
    pub(crate) fn failing(&self, code: i32) -> Op {
        Op::Call { function: fail, arguments: [self.context.handle as usize, code as usize] }
    }

    /// Waits for all that was submitted; a failure that came meanwhile is told.
    pub(crate) fn synchronize(&self) -> Result<(), i32> {
        self.engine.synchronize(None).map_err(|fault| self.context.code(fault))?;
        self.context.check()
    }
}

/// Runs in a stream in the place of an operation that fails.
fn fail(_view: &View<'_>, [context, code]: [usize; 2]) {
    if let Ok(context) = context::find(context as u64) {
        context.fail(code as i32);
    }
}
