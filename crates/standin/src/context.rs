//! Contexts, and each thread's stack of them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use gpubuf_engine::{CaptureStatus, Device, Fault};
use parking_lot::{Mutex, RwLock};

use crate::code;
use crate::driver::Ordinal;
use crate::event;
use crate::graph;
use crate::memory;
use crate::module;
use crate::stream::{self, Stream};
use crate::table::Table;

/// A context: an emulated device of its own, so that memory, streams and failures are its own, too.
pub(crate) struct Context {
    pub(crate) handle: u64,
    pub(crate) ordinal: &'static Ordinal,
    pub(crate) engine: Device,
    pub(crate) primary: bool,
    /// The code of the failure that ended it; 0 while it is healthy.
    failure: AtomicI32,
    destroyed: AtomicBool,
    legacy: RwLock<Option<Arc<Stream>>>,
    making_legacy: Mutex<()>,
}

static CONTEXTS: Table<Context> = Table::new(1);

/// How long a context's end waits for host functions that are running.
const LAST_CALLS: Duration = Duration::from_secs(5);

thread_local! {
    static STACK: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
}

/// Works on the calling thread's stack; `INVALID_CONTEXT` when the thread is past its end and has none.
pub(crate) fn with_stack<R>(work: impl FnOnce(&mut Vec<Arc<Context>>) -> Result<R, i32>) -> Result<R, i32> {
    STACK.try_with(|stack| work(&mut stack.borrow_mut())).unwrap_or(Err(code::INVALID_CONTEXT))
}

/// The calling thread's current context.
pub(crate) fn current() -> Option<Arc<Context>> {
    STACK.try_with(|stack| stack.borrow().last().cloned()).ok().flatten()
}

/// A context by its handle; `INVALID_CONTEXT` if there is none.
pub(crate) fn find(handle: u64) -> Result<Arc<Context>, i32> {
    CONTEXTS.get(handle).map_err(|_| code::INVALID_CONTEXT)
}

pub(crate) fn all(wanted: impl Fn(&Context) -> bool) -> Vec<Arc<Context>> {
    CONTEXTS.all(wanted)
}

/// Makes a context on a device; a lost device answers with its code.
pub(crate) fn create(ordinal: &'static Ordinal, primary: bool) -> Result<Arc<Context>, i32> {
    // Locked to the end, so that settings that change meanwhile reach this context, too.
    let config = ordinal.config.lock();
    let engine = Device::new(config.clone()).map_err(|fault| code::of(fault, code::UNKNOWN))?;
    let context = CONTEXTS.insert(|handle| Context {
        handle,
        ordinal,
        engine,
        primary,
        failure: AtomicI32::new(0),
        destroyed: AtomicBool::new(false),
        legacy: RwLock::new(None),
        making_legacy: Mutex::new(()),
    })?;
    drop(config);
    // After the insertion: a loss at the same time is either seen here or finds the context.
    match ordinal.lost.load(Ordering::Acquire) {
        0 => Ok(context),
        code => {
            context.destroy();
            Err(code)
        }
    }
}

impl Context {
    /// Whether its device may be touched: the code of the failure that ended it, or `CONTEXT_IS_DESTROYED` (driver
    /// API, `cuCtxDestroy`: what threads get for which it is still current).
    pub(crate) fn check(&self) -> Result<(), i32> {
        match self.failure.load(Ordering::Acquire) {
            _ if self.destroyed.load(Ordering::Acquire) => Err(code::CONTEXT_IS_DESTROYED),
            0 => Ok(()),
            failure => Err(failure),
        }
    }

    /// Ends it with a failure: the first one counts. What is queued is dropped, and what waits wakes. The driver API
    /// says of such errors that they leave the process in an inconsistent state and that "any further CUDA work will
    /// return the same error".
    pub(crate) fn fail(&self, code: i32) {
        let _ = self.failure.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.engine.lose();
    }

    /// The code for a fault of this context's device.
    pub(crate) fn code(&self, fault: Fault) -> i32 {
        code::of(fault, self.check().err().unwrap_or(code::UNKNOWN))
    }

    /// Refused, with the captures concerned made invalid, while a capture forbids unsafe calls of this thread (driver
    /// API, `cuThreadExchangeStreamCaptureMode`).
    pub(crate) fn expect_no_unsafe_capture(&self) -> Result<(), i32> {
        self.engine.expect_no_unsafe_capture().map_err(|fault| self.code(fault))
    }

    /// The legacy default stream.
    pub(crate) fn legacy(self: &Arc<Context>) -> Result<Arc<Stream>, i32> {
        if let Some(stream) = &*self.legacy.read() {
            return Ok(stream.clone());
        }
        let _making = self.making_legacy.lock();
        if let Some(stream) = &*self.legacy.read() {
            return Ok(stream.clone());
        }
        let engine = self.engine.legacy_stream().map_err(|fault| self.code(fault))?;
        let stream = stream::keep(self, engine, 0, 0)?;
        *self.legacy.write() = Some(stream.clone());
        Ok(stream)
    }

    /// Waits for all work, as freeing does. While streams capture, which must not be disturbed by a thread that said it
    /// may free (relaxed mode), only for the others.
    pub(crate) fn quiesce(&self) -> Result<(), i32> {
        if self.engine.is_capturing() {
            for stream in stream::all_of(self) {
                if !stream.engine.is_legacy() && stream.engine.capture_status() == CaptureStatus::None {
                    stream.engine.synchronize(None).map_err(|fault| self.code(fault))?;
                }
            }
            return self.check();
        }
        self.engine.synchronize(None).map_err(|fault| self.code(fault))?;
        self.check()
    }

    /// Destroys it with all it has. Queued work is dropped: the reference leaves open whether it still runs, so that
    /// nobody may count on it.
    pub(crate) fn destroy(&self) {
        if self.destroyed.swap(true, Ordering::AcqRel) {
            return;
        }
        let _ = CONTEXTS.remove(self.handle);
        self.engine.lose();
        drop(stream::forget_all_of(self));
        event::forget_all_of(self);
        graph::forget_all_of(self);
        module::forget_all_of(self);
        *self.legacy.write() = None;
        memory::free_all_of(self);
        // Not to return while a copy still writes to the caller's memory.
        self.engine.close(Some(Instant::now() + LAST_CALLS));
    }
}
