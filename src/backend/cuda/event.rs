//! Events: without timing, of one context, asked without disturbing any capture.

use super::codes::{self, Code};
use super::context::Context;
use super::wait::poll;
use crate::backend::{EventBackend, EventState};
use crate::config::log::{self, Level};
use crate::error::Result;
use crate::sync::Arc;
use cudarc::driver::sys::{CUevent, CUevent_flags};
use std::any::Any;
use std::ffi::c_uint;
use std::time::Instant;

/// A wait for it sleeps; its record is cheap for want of a time stamp.
const FLAGS: c_uint =
    CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint | CUevent_flags::CU_EVENT_BLOCKING_SYNC as c_uint;

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
    /// A new event.
    pub fn create(context: &Arc<Context>) -> Result<CudaEvent> {
        let mut handle = std::ptr::null_mut();
        let _entered = context.enter_relaxed()?;
        // SAFETY: the context is current; the pointer is that of a local.
        let code = unsafe { (context.driver().cuEventCreate)(&mut handle, FLAGS) };
        context.check(code, "creating an event")?;
        Ok(CudaEvent { context: context.clone(), handle })
    }

    /// The driver's handle.
    pub fn handle(&self) -> CUevent {
        self.handle
    }

    fn state(&self, code: Code) -> EventState {
        match code {
            0 => EventState::Complete,
            codes::NOT_READY => EventState::Pending,
            // Never ours: the library records nothing in a capture. It says nothing about the work before.
            code if codes::CAPTURE.contains(&code) => EventState::Pending,
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
            Err(_) => EventState::Lost,
        }
    }

    fn failed(&self) -> bool {
        // With this driver no copy fails alone: a failure takes the context with it.
        false
    }

    fn wait(&self, deadline: Option<Instant>) -> EventState {
        if deadline.is_none() {
            return match self.context.enter_relaxed() {
                // SAFETY: as in `query`.
                Ok(_entered) => self.state(unsafe { (self.context.driver().cuEventSynchronize)(self.handle) }),
                Err(_) => EventState::Lost,
            };
        }
        let done = || Some(self.query()).filter(|state| *state != EventState::Pending);
        poll(deadline, done).unwrap_or(EventState::Pending)
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
