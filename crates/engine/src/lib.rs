//! An emulated accelerator: memory the CPU cannot touch, streams that run behind the caller's back, events, link
//! times and faults on demand, with no GPU and no driver. It exists to let a library and its users' tests provoke
//! the races of a real device, so nothing in it is made safer than the real thing: a queued copy from page-locked
//! memory reads the bytes that are there *when it runs*.
//!
//! # Example
//! ```
//! use gpubuf_engine::{Config, Device, MemoryKind, Op};
//! let device = Device::new(Config::default())?;
//! let pinned = device.allocate(MemoryKind::Pinned, 4096)?;
//! let target = device.allocate(MemoryKind::Device, 4096)?;
//! let stream = device.create_stream()?;
//! let copied = device.create_event();
//! // SAFETY: both addresses are the engine's own, so the copy asks nothing of the caller.
//! unsafe { stream.submit(Op::Copy { dst: target.device, src: pinned.device, bytes: 4096 }, 0)? };
//! stream.record(&copied, 0)?;
//! copied.wait(None)?;
//! # Ok::<(), gpubuf_engine::Fault>(())
//! ```
//!
//! # Glossary
//! - **Device memory**: an address range that faults when the CPU touches it; operations work on a private alias.
//! - **Pinned memory**: page-locked host memory. It has a host pointer (ordinary memory, which can be made read-only)
//!   and a separate device address, and operations take either.
//! - **Pageable memory**: any other memory of the process; the engine does not own it and cannot check it.
//! - **Registered memory**: the caller's own memory, made known as page-locked; it counts as pinned from then on.
//! - **Stream**: a queue with one worker thread; its operations run one at a time, in order.
//! - **Legacy stream**: the device's default stream. It is ordered with all **blocking** streams, both ways; other
//!   streams are ordered with none.
//! - **Event**: a mark in a stream. Each *record* is a new generation; waits are for one generation.
//! - **Hold**: a request that a stream start nothing more until it is released; how tests freeze time.
//! - **Tag**: a number that ties operations to a later record, so that their failure shows in that record's event.
//! - **Capture**: a time in which what a stream is given becomes a graph instead of running. Streams that wait for its
//!   events *join* it, and must be *joined back* before it ends. Calls that it does not allow make it *invalid*.
//! - **Graph**: operations (**nodes**) with the order between them (**edges**). It names addresses and holds no bytes.
//! - **Replay**: one run of a graph, by a *launch*. It finds its memory, and reads it, when it runs.
//! - **Lost**: the state of a device after [`Device::lose`]; nothing runs on it again.
//!
//! The rules on order, on who reads what when, and the fault codes are in [`policy`].
//!
//! Every type here may be used from any thread. Only Linux on 64-bit processors is supported.

mod capture;
mod captured;
mod captures;
mod clock;
mod config;
mod counters;
mod device;
mod event;
mod faults;
mod graph;
mod mapping;
mod memory;
mod operation;
mod order;
pub mod policy;
mod queue;
mod registered;
mod scatter;
mod shared;
mod stream;
mod view;
mod worker;

pub use capture::{CaptureMode, CaptureStatus, exchange_capture_mode};
pub use clock::time_inside_ns;
pub use config::{Config, Delay, InPlace, MemoryKind, Pageable};
pub use counters::{ByKind, Counters};
pub use device::Device;
pub use event::{Event, EventState};
pub use faults::FailWhen;
pub use graph::{Graph, GraphExec};
pub use mapping::HostAccess;
pub use memory::Allocation;
pub use operation::{Compare, Op, OpKind};
pub use policy::Fault;
pub use stream::Stream;
pub use view::View;
pub use worker::on_worker_thread;

// Addresses travel as u64 and are cast to usize all over the engine.
const _: () = assert!(usize::BITS == 64, "the engine needs 64-bit addresses");
