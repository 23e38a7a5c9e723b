//! What a test kit can do to a device: hold time, put functions in the place of kernels, and provoke faults.

use crate::config::Placement;
use crate::error::Result;
use crate::fail;

/// A kind of operation, as a fault is armed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A copy.
    Copy,
    /// A fill.
    Fill,
    /// A delay.
    Delay,
    /// A function.
    Call,
    /// A record of an event.
    Record,
    /// A wait for an event.
    Wait,
    /// A kernel of the library's: the scatter of staged rows.
    Kernel,
    /// The allocation of page-locked or device memory. From here on nothing is queued: the device is asked for something.
    Allocation,
    /// The page-locking of the caller's memory.
    Registration,
    /// The making of a stream.
    Stream,
    /// The making of an event.
    Event,
}

impl Operation {
    /// Whether it makes something, instead of being queued.
    pub fn makes(self) -> bool {
        matches!(self, Operation::Allocation | Operation::Registration | Operation::Stream | Operation::Event)
    }
}

/// Where an armed fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailWhen {
    /// The operation is refused, nothing is queued.
    Submission,
    /// The operation is queued, and fails when it runs.
    Execution,
    /// The operation is refused, since the device is lost in that moment.
    Loss,
}

/// What a device has at this moment, by its own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Bytes of page-locked memory that it allocated, in whole pages.
    pub pinned_bytes: u64,
    /// Bytes of device memory, in whole pages.
    pub device_bytes: u64,
    /// Ranges of the caller's memory that are page-locked.
    pub registrations: u64,
    /// Streams that are not over.
    pub streams: u64,
    /// Events.
    pub events: u64,
}

/// How late each operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// At once.
    None,
    /// By the same time each.
    Fixed {
        /// Nanoseconds.
        ns: u64,
    },
    /// By 0 to `max_ns`, the same in each run.
    Seeded {
        /// Any number.
        seed: u64,
        /// Nanoseconds.
        max_ns: u64,
    },
}

/// Memory as it is at the moment that a function runs on a stream: device and page-locked, by device addresses.
pub trait View {
    /// Reads `bytes` bytes at `address` to `target`.
    ///
    /// # Safety
    /// `target` can be written for `bytes` bytes.
    unsafe fn read(&self, address: u64, target: *mut u8, bytes: usize) -> Result<()>;
    /// Writes `bytes` bytes from `source` to `address`.
    ///
    /// # Safety
    /// `source` can be read for `bytes` bytes.
    unsafe fn write(&self, address: u64, source: *const u8, bytes: usize) -> Result<()>;
}

/// A function in the place of a kernel.
pub type Call = fn(&dyn View, [usize; 2]);

/// The kit of a device. Faults are `unsupported` where the hardware is real.
pub trait DeviceKit: Send + Sync {
    /// Has the `nth` operation of a kind from now fail, once; `nth` 0 takes that back. No kind: any that streams are given.
    fn fail_operation(&self, kind: Option<Operation>, nth: u64, when: FailWhen) -> Result<()>;
    /// How many operations of a kind were asked for so far, those that were refused by a fault included. No kind: all that
    /// streams are given.
    fn count_operations(&self, kind: Option<Operation>) -> Result<u64>;
    /// What there is.
    fn census(&self) -> Result<Census>;
    /// Limits pinned or device memory, in bytes.
    fn limit_memory(&self, placement: Placement, bytes: u64) -> Result<()>;
    /// Loses the device for good.
    fn lose(&self) -> Result<()>;
    /// Sets the link's latency and its bandwidth in bytes per second (0: no limit).
    fn set_link(&self, latency_ns: u64, bandwidth: u64) -> Result<()>;
    /// Sets how late operations begin.
    fn set_delay(&self, delay: Delay) -> Result<()>;
    /// Whether copies read pageable memory when they run, instead of at the call.
    fn set_pageable_late(&self, late: bool) -> Result<()>;
    /// Whether the device sees a copy, from the moment it was made, of the page-locked memory made from now on.
    fn set_uva_stale(&self, stale: bool) -> Result<()>;
    /// Destroys a graph of [`StreamKit::end_capture`].
    ///
    /// # Safety
    /// It came from there, and was not destroyed before.
    unsafe fn destroy_graph(&self, graph: u64) -> Result<()>;
}

/// The kit of a stream.
pub trait StreamKit: Send + Sync {
    /// Has nothing that is queued from now on start until it is released as often.
    fn hold(&self) -> Result<()>;
    /// Takes one hold back: this thread's latest, or the latest of all. Does nothing where there is none.
    fn release(&self) -> Result<()>;
    /// Queues a delay, as a kernel would take.
    fn delay(&self, ns: u64) -> Result<()>;
    /// Queues a function that runs in stream order and sees memory as it is then.
    fn call(&self, function: Call, arguments: [usize; 2]) -> Result<()>;
    /// As [`StreamKit::call`], on a stream that captures: the function runs at each replay. On another one, whose calls run
    /// once, it is not for use.
    fn capture_call(&self, function: Call, arguments: [usize; 2]) -> Result<()> {
        let _ = (function, arguments);
        fail!(Unsupported, "this device captures no functions")
    }
    /// What is queued from now on becomes a graph instead.
    fn begin_capture(&self) -> Result<()>;
    /// Ends the capture and returns the executable graph, as [`super::StreamBackend::launch_graph`] takes it.
    fn end_capture(&self) -> Result<u64>;
}
