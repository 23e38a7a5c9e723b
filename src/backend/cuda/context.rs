//! The context that a device's calls run in: entered for each call, and the caller's put back.

use super::card::Card;
use super::codes::{self, Code};
use super::driver::{Driver, driver};
use crate::backend::exit;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::{AtomicBool, Ordering};
use cudarc::driver::sys::{CUcontext, CUdevice, CUstream, CUstream_flags, CUstreamCaptureMode};
use std::ffi::{c_int, c_uint};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::null_mut;

/// The driver's mode for calls that may be made while any stream captures.
const RELAXED: c_int = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED as c_int;

/// A context of one device: its primary one, which the runtime API and frameworks use as well, or one that the caller made.
/// The library never creates another, and never resets one.
pub struct Context {
    driver: &'static Driver,
    handle: CUcontext,
    device: CUdevice,
    /// Retained by us, so released by us.
    retained: bool,
    /// A code was seen that the context does not recover from.
    lost: AtomicBool,
}

// SAFETY: the handle is a name that the driver accepts from any thread; it is only valid while this value lives, or as long as
// the caller promised.
unsafe impl Send for Context {}
// SAFETY: as above; the rest are plain values and an atomic.
unsafe impl Sync for Context {}

impl Context {
    /// The primary context of device `ordinal`, retained: created only if nobody has yet.
    pub fn primary(ordinal: u32) -> Result<Context> {
        let driver = driver()?;
        let device = Card::find(ordinal)?.device();
        let mut context = Context { driver, handle: null_mut(), device, retained: false, lost: AtomicBool::new(false) };
        let mut mode = RELAXED;
        // SAFETY: the pointers are those of locals, the device is one of this driver; another thread's capture is left alone.
        let code = unsafe {
            (driver.cuThreadExchangeStreamCaptureMode)(&mut mode);
            let code = (driver.cuDevicePrimaryCtxRetain)(&mut context.handle, device);
            (driver.cuThreadExchangeStreamCaptureMode)(&mut mode);
            code
        };
        context.check(code, format_args!("retaining the primary context of CUDA device {ordinal}"))?;
        context.retained = true;
        Ok(context)
    }

    /// A context of the caller's, which must outlive the device that is opened on it.
    pub fn of_caller(handle: CUcontext) -> Result<Context> {
        let driver = driver()?;
        let mut context = Context { driver, handle, device: 0, retained: false, lost: AtomicBool::new(false) };
        let mut device = 0;
        {
            let entered = context.enter()?;
            // SAFETY: the context is current; the pointer is that of a local.
            let code = unsafe { (driver.cuCtxGetDevice)(&mut device) };
            entered.context.check(code, "asking the caller's context for its device")?;
        }
        context.device = device;
        Ok(context)
    }

    /// The driver.
    pub fn driver(&self) -> &'static Driver {
        self.driver
    }

    /// The driver's handle.
    pub fn handle(&self) -> CUcontext {
        self.handle
    }

    /// The driver's number of the device.
    pub fn device(&self) -> CUdevice {
        self.device
    }

    /// Whether a code was seen that it does not recover from.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Makes the context current until the guard is dropped; what was current before is again then.
    pub fn enter(&self) -> Result<Entered<'_>> {
        let Some(inside) = exit::Inside::begin() else {
            return fail!(ShutDown, "the process is exiting, and so is the driver");
        };
        let mut current = null_mut();
        // SAFETY: the pointer is that of a local; needs no context.
        let code = unsafe { (self.driver.cuCtxGetCurrent)(&mut current) };
        self.check(code, "asking for the current context")?;
        let pushed = current != self.handle;
        if pushed {
            // SAFETY: retained by us, or alive by the caller's promise.
            let code = unsafe { (self.driver.cuCtxPushCurrent_v2)(self.handle) };
            if code == codes::INVALID_CONTEXT {
                self.lost.store(true, Ordering::Release);
                return fail!(
                    DeviceLost,
                    "the device's context is gone: it was destroyed, or reset, before what gpubuf made in it ({})",
                    self.driver.explain(code)
                );
            }
            self.check(code, "entering the device's context")?;
        }
        Ok(Entered { context: self, pushed, mode: None, _inside: inside, of_this_thread: PhantomData })
    }

    /// As [`Context::enter`], for calls that another thread's global capture would forbid, or be broken by: allocations, frees,
    /// queries, waits. They have nothing to do with any capture.
    pub fn enter_relaxed(&self) -> Result<Entered<'_>> {
        let mut entered = self.enter()?;
        let mut mode = RELAXED;
        // SAFETY: the pointer is that of a local; it comes back with the thread's mode.
        let code = unsafe { (self.driver.cuThreadExchangeStreamCaptureMode)(&mut mode) };
        self.check(code, "leaving captures alone")?;
        entered.mode = Some(mode);
        Ok(entered)
    }

    /// A new stream, in no order with the legacy one.
    pub fn create_stream(&self) -> Result<CUstream> {
        let mut stream = null_mut();
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        let _entered = self.enter_relaxed()?;
        // SAFETY: the context is current; the pointer is that of a local.
        let code = unsafe { (self.driver.cuStreamCreate)(&mut stream, flags) };
        self.check(code, "creating a stream")?;
        Ok(stream)
    }

    /// Turns a result code into a status.
    pub fn check(&self, code: Code, doing: impl fmt::Display) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(self.error(code, doing)) }
    }

    /// An error for a code other than 0; a code that the context does not recover from is noted.
    #[cold]
    pub fn error(&self, code: Code, doing: impl fmt::Display) -> Error {
        self.note(code);
        let status = codes::status(code);
        let hint = match status {
            Status::DeviceLost => {
                "; the device is lost to this process: an earlier kernel or copy on it failed, which need not have been the library's"
            }
            _ => "",
        };
        Error::new(status, format!("{doing}: {}{hint}", self.driver.explain(code)))
    }

    /// Notes a code that the context does not recover from. Says whether it is one.
    pub fn note(&self, code: Code) -> bool {
        let sticky = codes::is_sticky(code);
        if sticky {
            self.lost.store(true, Ordering::Release);
        }
        sticky
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.retained && !exit::is_near() {
            // SAFETY: retained once by this value. A refusal (the driver is shutting down) leaves nothing to be done.
            unsafe { (self.driver.cuDevicePrimaryCtxRelease_v2)(self.device) };
        }
    }
}

/// The context is current, on this thread.
pub struct Entered<'a> {
    context: &'a Context,
    pushed: bool,
    /// The thread's capture mode, where it was changed.
    mode: Option<c_int>,
    /// Ends after the context was put back.
    _inside: exit::Inside,
    /// What it puts back is the thread's.
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let driver = self.context.driver;
        if let Some(mut mode) = self.mode {
            // SAFETY: gives the thread the mode back that it had; the pointer is that of a local.
            unsafe { (driver.cuThreadExchangeStreamCaptureMode)(&mut mode) };
        }
        if self.pushed {
            let mut popped = null_mut();
            // SAFETY: pushed by this guard, on this thread, which nothing in between leaves unbalanced.
            unsafe { (driver.cuCtxPopCurrent_v2)(&mut popped) };
        }
    }
}
