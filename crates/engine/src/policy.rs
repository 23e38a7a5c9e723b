//! The engine's rules in one place: what orders what, who reads memory when, and the fault codes. A face that imitates
//! a particular driver adds its own rules and codes here and leaves the machinery alone.
//!
//! # Order
//! | rule | |
//! |---|---|
//! | operations of one stream | one at a time, in the order they were submitted |
//! | operations of two streams | no order, unless one waits for an event that the other records |
//! | a wait | for the event's newest record when the wait was submitted; a later record does not move it |
//! | a wait for a never recorded event | passes at once |
//! | a wait for a record that failed | passes: failure is reported by the event, it does not stop other streams |
//! | a wait for a record of a device that was lost | passes, and counts as failed |
//! | a free | not ordered: it returns at once, and the memory goes when the last queued operation on it has run |
//! | work on the legacy stream | after all that was submitted to blocking streams before (CUDA API reference, "Stream synchronization behavior", "Legacy default stream") |
//! | work on a blocking stream | after all that was submitted to the legacy stream before (same) |
//! | work on any other stream | no order with the legacy stream (same) |
//! | a look at the legacy stream (query, synchronize) | is one at all blocking streams, too (programming guide, "Creating a graph using stream capture", "Prohibited and unhandled operations": its handle encompasses them) |
//! | a wait for a value | looks until the value is there; the engine knows no order between it and the write (driver API, `cuStreamWaitValue32`) |
//! | a write of a value | after all that its stream wrote before is visible (driver API, `cuStreamWriteValue32`) |
//! | a replay | its operations one at a time on the stream of the launch, in the order they were captured |
//!
//! # Who reads and writes when
//! | memory | as a source | as a target |
//! |---|---|---|
//! | device, pinned | when the copy runs, in up to four pieces over its modelled time | when the copy runs |
//! | registered | as pinned: when the copy runs (driver API, `cuMemHostRegister`) | when the copy runs |
//! | any, in a replay | when the replay's copy runs, pageable memory too (driver API, graph memory copy nodes hold addresses) | when the copy runs |
//! | pageable, `Staged` | during the submission | when the copy runs |
//! | pageable, `Late` | when the copy runs | when the copy runs |
//! | device memory of another device | refused: `InvalidAddress` | refused: `InvalidAddress` |
//! | pinned, `Snapshot`, by its device address | a copy from when the memory was made | that copy |
//! | pinned memory of another device | as this device's | as this device's |
//!
//! Only copies between host and device memory take the link's time.
//!
//! # Capture
//! Rules of the programming guide's "Creating a graph using stream capture" (PG below, with its sections "Cross-stream
//! dependencies and events", "Prohibited and unhandled operations" and "Invalidation"), and of the driver API's reference.
//!
//! | while a capture lasts | what happens | whence |
//! |---|---|---|
//! | an operation or a launch on one of its streams | becomes nodes, after that stream's newest ones; a launched graph is copied in | PG |
//! | a record on one of its streams | the event stands for that moment, and stays captured until it is recorded outside | PG, cross-stream |
//! | a wait for such an event in the same capture | becomes edges | PG, cross-stream |
//! | the same by a stream in no capture | that stream joins; the legacy stream may not: `CaptureUnsupported` * | PG, cross-stream |
//! | the same by a stream in another capture | `CaptureMerge` * (both) | PG, prohibited |
//! | a wait in a capture for an event recorded outside, or in a capture that has ended | `CaptureIsolation` * | PG, cross-stream |
//! | a wait for a never recorded event | passes | `cuStreamWaitEvent` |
//! | a wait outside for an event of a capture that has ended | `CapturedEvent` | `CUDA_ERROR_CAPTURED_EVENT` |
//! | query or wait for one of its streams, or for a device that has one | `CaptureUnsupported` * | PG, prohibited |
//! | query or wait for one of its events | `Captured`, `CapturedEvent` * | PG, prohibited |
//! | any use of the legacy stream, if a blocking stream of its device is in the capture and that is not `Relaxed` | `CaptureImplicit` * | PG, prohibited |
//! | a potentially unsafe call | as the modes of capture and thread say: `CaptureUnsupported` * | `cuThreadExchangeStreamCaptureMode` |
//! | a beginning on the legacy stream | `CaptureUnsupported` | `cuStreamBeginCapture` |
//! | a beginning on one of its streams | `InvalidValue` | `cuStreamBeginCapture` |
//! | an end on a stream that it did not begin on | `CaptureUnmatched`, it goes on | `cuStreamEndCapture` |
//! | an end by a thread that did not begin it, if it is not `Relaxed` | `CaptureWrongThread`, it goes on | `cuStreamEndCapture` |
//! | an end with nodes that do not lead to the newest ones of the stream it began on | `CaptureUnjoined`, it is over | `cuStreamEndCapture` |
//! | bad arguments, or a fault armed for submission | the call is refused and the capture stays whole, as with calls that cannot be captured | |
//! | holds, delays, link times | concern execution only | |
//! | the last handle of the stream it began on is dropped, or that stream's device lost or closed | it is over | |
//! | the same of a stream that joined | it is invalid | |
//!
//! What is marked * makes the capture invalid. Then every use of its streams, and waits by streams for its events, are
//! `CaptureInvalidated` until it is ended, which is `CaptureInvalidated` too (PG, invalidation). Until then it also goes
//! on to forbid what it forbade.
//!
//! # Failure
//! | what failed | effect |
//! |---|---|
//! | a bad address or value | the submission is refused, nothing is queued, nothing is counted |
//! | an armed fault at submission | the submission is refused with `OperationFailed`, nothing is queued |
//! | an armed fault at execution, or a call that panics | the stream goes on; the tag is remembered for the next record with that tag, whose event then reports `Failed`. An armed operation has no effect at all (a wait does not wait) |
//! | an operation of a replay, as the memory that it names is no more | as an armed fault at execution |
//! | a launch of which any operation is refused | nothing of it is queued |
//! | a lost device | running operations stop where they are, queued ones are dropped, their events report `Lost` |

use std::fmt;

use crate::capture::CaptureMode;
use crate::config::{MemoryKind, Pageable};
use crate::event::EventState;

/// Why a request was refused or did not finish.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// An argument that can never be right (zero bytes to allocate, a null pointer, a fill of three-byte elements).
    InvalidValue,
    /// An address range that is not wholly inside one allocation, was freed, or belongs to another device.
    InvalidAddress,
    /// The device's memory limit or the system's memory is used up.
    OutOfDeviceMemory,
    /// The pinned memory limit or the system's memory is used up.
    OutOfHostMemory,
    /// A fault armed by [`Device::fail_operation`](crate::Device::fail_operation).
    OperationFailed,
    /// The device was lost; nothing runs on it again.
    DeviceLost,
    /// The deadline passed first.
    Timeout,
    /// The device was closed.
    Closed,
    /// The system gave no thread.
    NoResources,
    /// Not allowed while a stream captures, and the capture is invalid now (CUDA 900).
    CaptureUnsupported,
    /// The capture was made invalid by an earlier call (CUDA 901).
    CaptureInvalidated,
    /// It would have joined two captures (CUDA 902).
    CaptureMerge,
    /// The capture did not begin on this stream (CUDA 903).
    CaptureUnmatched,
    /// Work of a joined stream was not joined back into the stream that ends the capture (CUDA 904).
    CaptureUnjoined,
    /// It would have made captured work depend on work outside of the capture (CUDA 905).
    CaptureIsolation,
    /// The legacy stream would have been ordered with a stream that captures (CUDA 906).
    CaptureImplicit,
    /// The event was last recorded in a capture (CUDA 907).
    CapturedEvent,
    /// Another thread began the capture (CUDA 908).
    CaptureWrongThread,
    /// The range overlaps page-locked memory (CUDA 712).
    AlreadyRegistered,
    /// No registered range begins there (CUDA 713).
    NotRegistered,
}

impl Fault {
    /// A stable number for each fault; 0 is left for success.
    pub fn code(self) -> i32 {
        match self {
            Fault::InvalidValue => 1,
            Fault::InvalidAddress => 2,
            Fault::OutOfDeviceMemory => 3,
            Fault::OutOfHostMemory => 4,
            Fault::OperationFailed => 5,
            Fault::DeviceLost => 6,
            Fault::Timeout => 7,
            Fault::Closed => 8,
            Fault::NoResources => 9,
            Fault::CaptureUnsupported => 10,
            Fault::CaptureInvalidated => 11,
            Fault::CaptureMerge => 12,
            Fault::CaptureUnmatched => 13,
            Fault::CaptureUnjoined => 14,
            Fault::CaptureIsolation => 15,
            Fault::CaptureImplicit => 16,
            Fault::CapturedEvent => 17,
            Fault::CaptureWrongThread => 18,
            Fault::AlreadyRegistered => 19,
            Fault::NotRegistered => 20,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::InvalidValue => "invalid value",
            Fault::InvalidAddress => "address range is not inside one live allocation",
            Fault::OutOfDeviceMemory => "out of device memory",
            Fault::OutOfHostMemory => "out of host memory",
            Fault::OperationFailed => "operation failed",
            Fault::DeviceLost => "device lost",
            Fault::Timeout => "timed out",
            Fault::Closed => "device closed",
            Fault::NoResources => "no thread to be had",
            Fault::CaptureUnsupported => "not allowed while a stream captures",
            Fault::CaptureInvalidated => "the capture was made invalid before",
            Fault::CaptureMerge => "would join two captures",
            Fault::CaptureUnmatched => "the capture began on another stream",
            Fault::CaptureUnjoined => "the capture has work that was not joined back",
            Fault::CaptureIsolation => "would depend on work outside of the capture",
            Fault::CaptureImplicit => "would order the legacy stream with a capture",
            Fault::CapturedEvent => "the event was last recorded in a capture",
            Fault::CaptureWrongThread => "the capture began on another thread",
            Fault::AlreadyRegistered => "the range overlaps page-locked memory",
            Fault::NotRegistered => "no registered range begins there",
        })
    }
}

impl std::error::Error for Fault {}

/// Which way a copy goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    ToDevice,
    FromDevice,
    WithinDevice,
    OnHost,
}

impl Direction {
    /// `None` is pageable memory, which is the host's, as pinned memory is.
    pub(crate) fn of(target: Option<MemoryKind>, source: Option<MemoryKind>) -> Direction {
        let on_device = |kind| kind == Some(MemoryKind::Device);
        match (on_device(target), on_device(source)) {
            (true, false) => Direction::ToDevice,
            (false, true) => Direction::FromDevice,
            (true, true) => Direction::WithinDevice,
            (false, false) => Direction::OnHost,
        }
    }

    /// Whether the copy takes the link's latency and bandwidth.
    pub(crate) fn crosses_link(self) -> bool {
        matches!(self, Direction::ToDevice | Direction::FromDevice)
    }
}

/// Whether a stream takes more work. Loss is reported before closing: it is the news the caller needs.
pub(crate) fn admit(lost: bool, closed: bool) -> Result<(), Fault> {
    match (lost, closed) {
        (true, _) => Err(Fault::DeviceLost),
        (false, true) => Err(Fault::Closed),
        (false, false) => Ok(()),
    }
}

/// Whether an operation of device `user` may name memory of `kind` that device `owner` allocated.
pub(crate) fn may_use(user: u64, owner: u64, kind: MemoryKind) -> bool {
    user == owner || kind == MemoryKind::Pinned
}

/// Whether a pageable source is read during the submission.
pub(crate) fn stages(pageable: Pageable) -> bool {
    pageable == Pageable::Staged
}

/// Whether a device-side wait that ended in `state` counts as failed.
pub(crate) fn wait_failed(state: EventState) -> bool {
    state == EventState::Lost
}

/// Whether a graph's operation reads a pageable source when it is captured. The engine keeps addresses only; a driver may
/// do otherwise for small copies, but promises nothing (CUDA, "API synchronization behavior").
pub(crate) const STAGES_IN_GRAPH: bool = false;

/// Whether a capture forbids a thread of mode `heeds` the calls that are potentially unsafe during capture; `own` if that
/// thread began it (CUDA, `cuThreadExchangeStreamCaptureMode`).
pub(crate) fn forbids_unsafe_calls(capture: CaptureMode, own: bool, heeds: CaptureMode) -> bool {
    let own = own && capture != CaptureMode::Relaxed;
    match heeds {
        CaptureMode::Global => own || capture == CaptureMode::Global,
        CaptureMode::ThreadLocal => own,
        CaptureMode::Relaxed => false,
    }
}

/// Whether the legacy stream must not be used while blocking streams are in such a capture.
pub(crate) fn forbids_implicit_order(capture: CaptureMode) -> bool {
    capture != CaptureMode::Relaxed
}

/// What running out of memory of `kind` is called.
pub(crate) fn out_of_memory(kind: MemoryKind) -> Fault {
    match kind {
        MemoryKind::Device => Fault::OutOfDeviceMemory,
        MemoryKind::Pinned => Fault::OutOfHostMemory,
    }
}
