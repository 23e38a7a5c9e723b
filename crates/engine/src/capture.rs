//! Capture: what streams are given becomes a graph instead of running.

use std::cell::Cell;

use crate::captured;
use crate::captures;
use crate::clock::Inside;
use crate::device::Device;
use crate::graph::{Graph, GraphExec};
use crate::policy::Fault;
use crate::stream::Stream;

/// How far a capture forbids potentially unsafe calls; and, of a thread, how far it heeds that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureMode {
    /// A capture forbids them to all threads. A thread heeds its own captures, and others' that are `Global`.
    Global,
    /// A capture forbids them to the thread that began it. A thread heeds its own captures.
    ThreadLocal,
    /// A capture forbids them to none, and any thread may end it. A thread heeds no capture.
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
    /// It did until a call that captures do not allow. The capture must still be ended.
    Invalidated {
        /// As for `Active`.
        id: u64,
    },
}

thread_local! {
    static MODE: Cell<CaptureMode> = const { Cell::new(CaptureMode::Global) };
}

/// Sets the calling thread's capture mode, `Global` at first, and returns the one before. It decides what
/// [`Device::expect_no_unsafe_capture`] tells this thread.
pub fn exchange_capture_mode(mode: CaptureMode) -> CaptureMode {
    MODE.with(|own| own.replace(mode))
}

impl Stream {
    /// Begins a capture: until it is ended, what this stream is given, and streams that wait for events that it records,
    /// becomes a graph and does not run. Work that is queued already runs as usual.
    ///
    /// # Errors
    /// [`Fault::CaptureUnsupported`] on the legacy stream; [`Fault::InvalidValue`] if it captures already, and
    /// [`Fault::CaptureInvalidated`] if that capture is invalid; [`Fault::DeviceLost`], [`Fault::Closed`].
    pub fn begin_capture(&self, mode: CaptureMode) -> Result<(), Fault> {
        captures::begin(self.shared_queue(), mode)
    }

    /// Whether the stream captures. Disturbs nothing.
    pub fn capture_status(&self) -> CaptureStatus {
        captures::status(self.queue())
    }

    /// Ends the capture and gives its graph. Whatever it returns but `CaptureUnmatched` and `CaptureWrongThread`, which
    /// change nothing, no stream is in the capture afterwards.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] if the stream does not capture (once lost or closed, [`Fault::DeviceLost`] or
    /// [`Fault::Closed`]); [`Fault::CaptureUnmatched`] if the capture began on another stream;
    /// [`Fault::CaptureWrongThread`] if another thread began it, other than as `Relaxed`;
    /// [`Fault::CaptureInvalidated`] after a call that captures do not allow; [`Fault::CaptureUnjoined`] if it has work
    /// that this stream did not wait for.
    pub fn end_capture(&self) -> Result<Graph, Fault> {
        captures::end(self.queue()).map(Graph::new)
    }

    /// Queues one replay: the graph's operations run on this stream, in an order that respects their edges. Addresses are
    /// looked up when each runs; one that names freed memory fails then. All take this `tag` (see
    /// [`submit`](Stream::submit)). Each operation counts as a submission, and an armed fault that strikes one at
    /// submission refuses the launch. On a stream that captures, the operations become a part of that capture.
    ///
    /// # Errors
    /// As for [`record`](Stream::record).
    pub fn launch(&self, exec: &GraphExec, tag: u64) -> Result<(), Fault> {
        let _inside = Inside::enter();
        captured::heed_implicit(self.queue())?;
        if captured::launch(self.queue(), &exec.nodes)? {
            return Ok(());
        }
        self.queue().push_replay(&exec.nodes, tag)
    }
}

impl Device {
    /// What a driver asks before a call that is potentially unsafe during a capture (an allocation, a synchronous copy,
    /// an event query). Which captures forbid it depends on the calling thread's
    /// [capture mode](exchange_capture_mode) and may be any device's.
    ///
    /// # Errors
    /// [`Fault::CaptureUnsupported`]; the captures that forbid it are invalid from then on.
    pub fn expect_no_unsafe_capture(&self) -> Result<(), Fault> {
        captured::heed_unsafe(MODE.with(Cell::get))
    }

    /// Whether any stream of the device is in a capture, valid or not.
    pub fn is_capturing(&self) -> bool {
        captures::is_capturing(self.core().id)
    }
}
