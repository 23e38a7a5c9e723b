//! Events: without timing, of one context, asked without disturbing any capture.

use super::codes::{self, Code};
use super::context::Context;
use super::wait::poll;
use crate::backend::exit;
use crate::backend::{EventBackend, EventState};
use crate::config::log::{self, Level};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::Arc;
use cudarc::driver::sys::{CUevent, CUevent_flags};
use std::any::Any;
use std::ffi::c_uint;
use std::time::Instant;

/// A wait for it sleeps.
const TIMED: c_uint = CUevent_flags::CU_EVENT_BLOCKING_SYNC as c_uint;
/// As above; its record is cheap for want of a time stamp.
const UNTIMED: c_uint = TIMED | CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint;

/// An event of a context.
pub struct CudaEvent {
    context: Arc<Context>,
    handle: CUevent,
}

// SAFETY: the driver takes the handle from any thread; it lives as long as this value.
unsafe impl Send for CudaEvent {}
// SAFETY: as above; there is no other state.
unsafe impl Sync for CudaEvent {}

impl CudaEvent {
    /// A new event, without timing.
    pub fn create(context: &Arc<Context>) -> Result<CudaEvent> {
        CudaEvent::with_flags(context, UNTIMED)
    }

    /// A new event that notes when it was reached.
    pub fn create_timed(context: &Arc<Context>) -> Result<CudaEvent> {
        CudaEvent::with_flags(context, TIMED)
    }

    fn with_flags(context: &Arc<Context>, flags: c_uint) -> Result<CudaEvent> {
        let mut handle = std::ptr::null_mut();
        let _entered = context.enter_relaxed()?;
        // SAFETY: the context is current; the pointer is that of a local.
        let code = unsafe { (context.driver().cuEventCreate)(&mut handle, flags) };
        context.check(code, "creating an event")?;
        Ok(CudaEvent { context: context.clone(), handle })
    }

    /// An event that reached this backend.
    pub fn own(event: &dyn EventBackend) -> Result<&CudaEvent> {
        match event.as_any().downcast_ref::<CudaEvent>() {
            Some(event) => Ok(event),
            None => fail!(Internal, "an event of another backend reached the cuda backend"),
        }
    }

    /// The driver's handle.
    pub fn handle(&self) -> CUevent {
        self.handle
    }

    /// The context cannot be entered: for ever if it is lost, or the process exits; not here if a function on a stream asks;
    /// else this time, which says nothing about the work.
    fn unknown(&self, error: Error) -> EventState {
        if self.context.is_lost() || exit::is_near() {
            return EventState::Lost;
        }
        if error.status() != Status::WouldDeadlock {
            log::write(
                Level::Warn,
                format_args!("an event could not be asked, which is tried again: {}", error.message()),
            );
        }
        EventState::Pending
    }

    fn state(&self, code: Code) -> EventState {
        match code {
            0 => EventState::Complete,
            codes::NOT_READY => EventState::Pending,
            // Never ours: the library records nothing in a capture. It says nothing about the work before.
            code if codes::CAPTURE.contains(&code) => EventState::Pending,
            // Asked in a function that runs on a stream, where nothing can be known.
            codes::NOT_PERMITTED => EventState::Pending,
            code => {
                // Whatever it is, completion cannot be proven any more.
                if !self.context.note(code) {
                    let text = self.context.driver().explain(code);
                    log::write(Level::Error, format_args!("an event could not be asked: {text}"));
                }
                EventState::Lost
            }
        }
    }
}

impl EventBackend for CudaEvent {
    fn query(&self) -> EventState {
        match self.context.enter_relaxed() {
            // SAFETY: the event lives as long as this value.
            Ok(_entered) => self.state(unsafe { (self.context.driver().cuEventQuery)(self.handle) }),
            Err(error) => self.unknown(error),
        }
    }

    fn failed(&self) -> Option<bool> {
        // With this driver no copy fails alone: a failure takes the context with it.
        Some(false)
    }

    fn wait(&self, deadline: Option<Instant>) -> EventState {
        if deadline.is_none() {
            let state = match self.context.enter_relaxed() {
                // SAFETY: as in `query`.
                Ok(_entered) => self.state(unsafe { (self.context.driver().cuEventSynchronize)(self.handle) }),
                Err(error) => self.unknown(error),
            };
            // Where the driver does not wait, this does.
            if state != EventState::Pending {
                return state;
            }
        }
        let done = || Some(self.query()).filter(|state| *state != EventState::Pending);
        poll(deadline, done).unwrap_or(EventState::Pending)
    }

    fn elapsed_since(&self, earlier: &dyn EventBackend) -> Result<u64> {
        let Some(elapsed) = self.context.driver().cuEventElapsedTime else {
            return fail!(Unsupported, "the driver takes no times");
        };
        let earlier = CudaEvent::own(earlier)?;
        let mut milliseconds = 0.0f32;
        let _entered = self.context.enter_relaxed()?;
        // SAFETY: both events are alive; the pointer is that of a local.
        let code = unsafe { elapsed(&mut milliseconds, earlier.handle, self.handle) };
        self.context.check(code, "taking the time between events")?;
        Ok((f64::from(milliseconds) * 1e6).max(0.0) as u64)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        if let Ok(_entered) = self.context.enter_relaxed() {
            // SAFETY: created by this value. The driver keeps what a stream still needs of it.
            unsafe { (self.context.driver().cuEventDestroy_v2)(self.handle) };
        }
    }
}
