//! Capture: what streams are given becomes a graph instead of running.

use crate::graph::{Graph, GraphExec};
use crate::policy::Fault;
use crate::stream::Stream;

/// How far a capture forbids potentially unsafe calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureMode {
    /// On every thread.
    Global,
    /// On the thread that began it.
    ThreadLocal,
    /// Nowhere.
    Relaxed,
}

/// Whether a stream captures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureStatus {
    /// It does not.
    None,
    /// It does.
    Active {
        /// A number that no other capture of this process has or had; never 0.
        id: u64,
    },
    /// It did until a call that captures do not allow; the capture must still be ended.
    Invalidated {
        /// As for `Active`.
        id: u64,
    },
}

/// Sets the calling thread's capture mode, `Global` at first, and returns the one before.
pub fn exchange_capture_mode(mode: CaptureMode) -> CaptureMode {
    let _ = mode;
    todo!()
}

impl Stream {
    /// Begins a capture.
    pub fn begin_capture(&self, mode: CaptureMode) -> Result<(), Fault> {
        let _ = mode;
        todo!()
    }

    /// Whether the stream captures. Disturbs nothing.
    pub fn capture_status(&self) -> CaptureStatus {
        todo!()
    }

    /// Ends the capture.
    pub fn end_capture(&self) -> Result<Graph, Fault> {
        todo!()
    }

    /// Queues one replay of a graph.
    pub fn launch(&self, exec: &GraphExec, tag: u64) -> Result<(), Fault> {
        let _ = (exec, tag);
        todo!()
    }
}
