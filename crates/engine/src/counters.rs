//! What a device has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::operation::OpKind;
use crate::policy::Direction;

/// A number for each kind of operation.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ByKind {
    /// Copies.
    pub copy: u64,
    /// Fills.
    pub fill: u64,
    /// Delays.
    pub delay: u64,
    /// Calls.
    pub call: u64,
    /// Event records.
    pub record: u64,
    /// Waits for events.
    pub wait: u64,
    /// Waits for values.
    pub wait_value: u64,
    /// Writes of values.
    pub write_value: u64,
    /// Scatters.
    pub scatter: u64,
    /// Allocations.
    pub allocation: u64,
    /// Registrations.
    pub registration: u64,
    /// Streams.
    pub stream: u64,
    /// Events.
    pub event: u64,
}

impl ByKind {
    /// The number for one kind.
    pub fn of(&self, kind: OpKind) -> u64 {
        match kind {
            OpKind::Copy => self.copy,
            OpKind::Fill => self.fill,
            OpKind::Delay => self.delay,
            OpKind::Call => self.call,
            OpKind::Record => self.record,
            OpKind::Wait => self.wait,
            OpKind::WaitValue => self.wait_value,
            OpKind::WriteValue => self.write_value,
            OpKind::Scatter => self.scatter,
            OpKind::Allocation => self.allocation,
            OpKind::Registration => self.registration,
            OpKind::Stream => self.stream,
            OpKind::Event => self.event,
        }
    }

    /// The sum over all kinds that streams are given.
    pub fn total(&self) -> u64 {
        let kernels = self.call + self.scatter;
        let values = self.wait_value + self.write_value;
        self.copy + self.fill + self.delay + kernels + self.record + self.wait + values
    }
}

/// A snapshot of a device's counters. The numbers are each exact but not taken at one instant while work is running.
/// When a device is idle, `submitted == executed + failed + dropped` for each kind.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Operations taken into a stream. What makes memory, streams and events counts as submitted and executed at once.
    pub submitted: ByKind,
    /// Operations that ran to their end without failing.
    pub executed: ByKind,
    /// Operations that failed at execution.
    pub failed: ByKind,
    /// Operations refused by a fault armed for submission.
    pub refused: ByKind,
    /// Operations that the loss of the device stopped or dropped.
    pub dropped: ByKind,
    /// Bytes copied from host to device memory.
    pub bytes_to_device: u64,
    /// Bytes copied from device to host memory.
    pub bytes_from_device: u64,
    /// Bytes copied from device to device memory.
    pub bytes_within_device: u64,
    /// Bytes copied from host to host memory.
    pub bytes_on_host: u64,
    /// Frees, and ends of registration, of memory that a queued or running operation still used.
    pub frees_in_use: u64,
    /// Events made.
    pub events_created: u64,
}

#[derive(Default)]
pub(crate) struct Tally([AtomicU64; 13]);

impl Tally {
    pub(crate) fn add(&self, kind: OpKind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> ByKind {
        let of = |kind: OpKind| self.0[kind as usize].load(Ordering::Relaxed);
        ByKind {
            copy: of(OpKind::Copy),
            fill: of(OpKind::Fill),
            delay: of(OpKind::Delay),
            call: of(OpKind::Call),
            record: of(OpKind::Record),
            wait: of(OpKind::Wait),
            wait_value: of(OpKind::WaitValue),
            write_value: of(OpKind::WriteValue),
            scatter: of(OpKind::Scatter),
            allocation: of(OpKind::Allocation),
            registration: of(OpKind::Registration),
            stream: of(OpKind::Stream),
            event: of(OpKind::Event),
        }
    }
}

/// The counters as they are counted.
#[derive(Default)]
pub(crate) struct Tallies {
    pub(crate) submitted: Tally,
    pub(crate) executed: Tally,
    pub(crate) failed: Tally,
    pub(crate) refused: Tally,
    pub(crate) dropped: Tally,
    bytes: [AtomicU64; 4],
    pub(crate) frees_in_use: AtomicU64,
    pub(crate) events_created: AtomicU64,
}

impl Tallies {
    pub(crate) fn copied(&self, direction: Direction, bytes: usize) {
        self.bytes[direction as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        let bytes = |direction: Direction| self.bytes[direction as usize].load(Ordering::Relaxed);
        Counters {
            submitted: self.submitted.read(),
            executed: self.executed.read(),
            failed: self.failed.read(),
            refused: self.refused.read(),
            dropped: self.dropped.read(),
            bytes_to_device: bytes(Direction::ToDevice),
            bytes_from_device: bytes(Direction::FromDevice),
            bytes_within_device: bytes(Direction::WithinDevice),
            bytes_on_host: bytes(Direction::OnHost),
            frees_in_use: self.frees_in_use.load(Ordering::Relaxed),
            events_created: self.events_created.load(Ordering::Relaxed),
        }
    }
}
