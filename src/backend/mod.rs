//! What a device must be able to do: memory, streams, events. Nothing here knows who may touch what when.

pub mod cuda;
pub mod exit;
pub mod host;
pub mod kit;
pub mod probe;
pub mod scatter;
pub mod select;
pub mod system;
pub mod trap;

pub use probe::{Answer, Capabilities, Capability, Finding};
pub use scatter::Scatter;
pub use select::{DeviceSummary, MOST_FREE};
pub use system::{SystemMemory, page_bytes, system_memory};

use crate::config::Placement;
use crate::config::debug::Debug;
use crate::config::log::{self, Level};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::stats::AllocatorCounters;
use crate::sync::Arc;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::time::Instant;

/// Which backend a device belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BackendKind {
    /// The NVIDIA driver, loaded at run time.
    Cuda = 1,
    /// The emulated device.
    Host = 2,
}

impl BackendKind {
    /// The backend's name, as `GPUBUF_BACKEND` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            BackendKind::Cuda => "cuda",
            BackendKind::Host => "host",
        }
    }
}

/// An allocation as plain data. Whoever holds it must see that it is freed once, after its last use.
#[derive(Clone, Copy, Debug)]
pub struct RawMemory {
    /// Where it lives.
    pub placement: Placement,
    /// The CPU's address; null for device memory.
    pub host: *mut u8,
    /// The device's address; 0 for pageable memory, and for pinned memory that is not asked for it.
    pub device: u64,
    /// Its size.
    pub bytes: usize,
    /// How it came, and so how it goes.
    pub backing: Backing,
    /// The memory node that was asked for it; part of what memory must have in common to be used again.
    pub node: Option<u32>,
}

/// How memory came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// From the language's allocator.
    Heap,
    /// Allocated by the driver, or the emulated device.
    Driver,
    /// Allocated by the driver in the order of a stream.
    StreamOrdered,
    /// Pages of our own, registered with the driver piece by piece.
    Mapped,
    /// The caller's, registered by us.
    Registered,
    /// The caller's, and nothing was done to it.
    Foreign,
}

/// How page-locked memory is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum PinnedMethod {
    /// Small pieces by the driver, large ones mapped and registered.
    #[default]
    Auto = 0,
    /// By the driver's own allocation.
    Driver = 1,
    /// Pages of ours, touched in parallel and registered.
    Register = 2,
}

/// How a device makes memory.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSettings {
    /// How page-locked memory is made.
    pub pinned: PinnedMethod,
    /// Bytes of one registration.
    pub register_bytes: usize,
    /// Whether device memory comes from the driver's pool, so that giving it back waits for nothing.
    pub stream_ordered: bool,
}

impl Default for DeviceSettings {
    fn default() -> DeviceSettings {
        DeviceSettings { pinned: PinnedMethod::Auto, register_bytes: REGISTER_BYTES, stream_ordered: false }
    }
}

/// Bytes that one registration of host memory locks, if not chosen: the driver holds a lock for as long as it takes.
pub const REGISTER_BYTES: usize = 1 << 30;

/// Which device, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceOptions {
    /// Which backend; `None` chooses.
    pub kind: Option<BackendKind>,
    /// Which device of it, or [`MOST_FREE`].
    pub ordinal: u32,
    /// A context of the driver's that the caller made, instead of the ordinal's primary one; 0: none.
    pub native_context: usize,
    /// How it makes memory.
    pub settings: DeviceSettings,
    /// Whether memory is to be watched: then host memory has pages of its own, as far as the backend can.
    pub debug: Debug,
}

/// Times that memory was made in another way than was asked for, by what was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// The registration of pages of our own: the memory came from the driver's allocation.
    pub registration: u64,
    /// The memory node near the device: the memory came from any.
    pub node: u64,
}

impl Fallbacks {
    /// All of them.
    pub fn all(self) -> u64 {
        self.registration + self.node
    }
}

/// What is known of a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceFacts {
    /// 12040 is CUDA 12.4; 0: there is no driver.
    pub driver_version: u32,
    /// No hardware is behind it.
    pub simulation: bool,
    /// The memory node that is near it.
    pub numa_node: Option<u32>,
    /// It shares its memory with the CPU.
    pub integrated: bool,
    /// The caller's host memory can be page-locked.
    pub can_register: bool,
    /// It has managed memory that the CPU may use while kernels run.
    pub can_manage: bool,
    /// It has stream-ordered memory.
    pub has_memory_pools: bool,
    /// The driver's handle of its context; 0 where there is none.
    pub native_context: usize,
}

// SAFETY: plain numbers; the library's fences, not the type, decide who may go through the pointer.
unsafe impl Send for RawMemory {}
// SAFETY: as above.
unsafe impl Sync for RawMemory {}

/// A copy of rows: two-dimensional, the same rows on both sides. Addresses as for [`StreamBackend::copy`].
#[derive(Clone, Copy, Debug)]
pub struct RowCopy {
    /// Where the first row goes.
    pub target: u64,
    /// Where it is.
    pub source: u64,
    /// Bytes from one row to the next, in the target and in the source; at least `width`.
    pub pitch: [usize; 2],
    /// Bytes of a row; at least 1.
    pub width: usize,
    /// Rows; at least 1.
    pub rows: usize,
}

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventState {
    /// The work before the record is not done.
    Pending,
    /// It is done.
    Complete,
    /// It is done, and the copy it belongs to failed: the target holds no promised bytes.
    Failed,
    /// The device was lost before it was proven.
    Lost,
}

/// What the CPU may do with host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuAccess {
    /// Nothing: every access faults.
    None,
    /// Reads; writes fault.
    Read,
    /// Everything.
    ReadWrite,
}

/// One device.
pub trait DeviceBackend: Send + Sync {
    /// Which backend.
    fn kind(&self) -> BackendKind;
    /// The device's name, for people.
    fn name(&self) -> String;
    /// What is known of it.
    fn facts(&self) -> DeviceFacts {
        DeviceFacts::default()
    }
    /// Times that memory was made in another way than was asked for.
    fn fallbacks(&self) -> Fallbacks {
        Fallbacks::default()
    }
    /// What it did with its driver's allocator.
    fn allocator(&self) -> &AllocatorCounters;
    /// Free and total bytes of device memory, where they can be asked for.
    fn memory_info(&self) -> Option<(u64, u64)> {
        None
    }
    /// Whether device memory can be had in the order of a stream, by trying it.
    fn try_memory_pools(&self) -> Answer {
        Answer::no(format!("{} has no stream-ordered memory", self.name()))
    }
    /// Whether host memory can be had in the order of a stream, by trying it.
    fn try_host_pools(&self, _deadline: Option<Instant>) -> Answer {
        Answer::no(format!("{} has no pools of host memory", self.name()))
    }
    /// Zeroed memory of that placement, page-locked where the placement says so.
    fn allocate(&self, placement: Placement, bytes: usize) -> Result<RawMemory>;
    /// As `allocate`, for page-locked memory, on huge pages where the system has them. Returns how many bytes are on those.
    fn allocate_huge(&self, placement: Placement, bytes: usize) -> Result<(RawMemory, u64)> {
        Ok((self.allocate(placement, bytes)?, 0))
    }
    /// Makes the caller's host memory of a page-locked placement, for as long as it is borrowed.
    ///
    /// # Safety
    /// The memory stays mapped until it is given back with `free`.
    unsafe fn adopt(&self, placement: Placement, host: *mut u8, bytes: usize) -> Result<RawMemory>;
    /// Gives memory back. Never waits for the device: it may be done later, on another thread.
    ///
    /// # Safety
    /// `memory` came from `allocate` or `adopt` of this device, was not freed before, and neither the CPU nor the device uses it.
    unsafe fn free(&self, memory: RawMemory);
    /// As `free`, for memory of `adopt`; calls `then` when it is the caller's again.
    ///
    /// # Safety
    /// As `free`.
    unsafe fn disown(&self, memory: RawMemory, then: Box<dyn FnOnce() + Send>) {
        // SAFETY: the caller's promise.
        unsafe { self.free(memory) };
        then();
    }
    /// Waits until all memory was given back; false if the deadline came first. A deadline that is over leaves an idle device
    /// the time for it all the same.
    fn await_frees(&self, _deadline: Option<Instant>) -> bool {
        true
    }
    /// Says what the CPU may do with whole pages of host memory, while the device goes on to use them; false if that cannot be
    /// had, and nothing has changed.
    fn protect(&self, _memory: &RawMemory, _offset: usize, _bytes: usize, _access: CpuAccess) -> bool {
        false
    }
    /// Hands `look` a pointer to `bytes` bytes of host memory that can be read whatever [`DeviceBackend::protect`] says.
    fn look(&self, memory: &RawMemory, offset: usize, _bytes: usize, look: &mut dyn FnMut(*const u8)) {
        look(memory.host.wrapping_add(offset));
    }
    /// Sets every byte of a side's memory at once, out of any order; false if it cannot be done.
    fn set_bytes(&self, memory: &RawMemory, value: u8) -> bool {
        if memory.placement == Placement::Device || memory.placement == Placement::Managed {
            return false;
        }
        // SAFETY: host memory that nobody uses, by the caller's word.
        unsafe { memory.host.write_bytes(value, memory.bytes) };
        true
    }
    /// Whether every byte of memory that [`DeviceBackend::set_bytes`] has set is so still: if not, the offset of the first that
    /// is not.
    fn find_other_byte(&self, memory: &RawMemory, value: u8) -> Option<usize> {
        // SAFETY: host memory that was set before; any bytes will do.
        (0..memory.bytes).find(|at| unsafe { memory.host.add(*at).read_volatile() } != value)
    }
    /// Makes ready what [`StreamBackend::scatter`] needs. It may take a while, and is done once.
    fn prepare_scatter(&self) -> Result<()>;
    /// A new stream.
    fn create_stream(&self) -> Result<Box<dyn StreamBackend>>;
    /// A stream of the driver's that the caller goes on owning.
    ///
    /// # Safety
    /// It is alive until [`StreamBackend::end`], or the stream object is dropped.
    unsafe fn wrap_stream(&self, native: usize) -> Result<Box<dyn StreamBackend>> {
        fail!(
            Unsupported,
            "{} has no native streams to wrap: {native:#x} cannot be one of its own; use gpubuf_stream_create",
            self.name()
        )
    }
    /// A new event that carries no timing.
    fn create_event(&self) -> Result<Arc<dyn EventBackend>>;
    /// A new event that notes when it was reached.
    fn create_timed_event(&self) -> Result<Arc<dyn EventBackend>>;
    /// Whether the device is lost.
    fn is_lost(&self) -> bool;
    /// Waits for all work of all streams; `None` has no deadline.
    fn synchronize(&self, deadline: Option<Instant>) -> Result<()>;
    /// Ends the device: no more work. Returns how many workers had not ended by the deadline.
    fn close(&self, deadline: Option<Instant>) -> usize;
    /// True in a function that runs on a stream or a worker, where a wait could never end.
    fn on_worker_thread(&self) -> bool;
    /// The test kit, where the device has one.
    fn kit(&self) -> Option<&dyn kit::DeviceKit> {
        None
    }
}

/// One stream: work runs in order of submission.
pub trait StreamBackend: Send + Sync {
    /// A number that no other stream of the process has, had, or will have.
    fn id(&self) -> u64;
    /// The driver's handle; 0 where there is none.
    fn native(&self) -> usize {
        0
    }
    /// Queues a copy between any two addresses the device can reach, or host memory of any kind.
    /// A failure when it runs is told by the next record with the same `tag`. `queued` is set once a part of it is queued, which
    /// may be so after a refusal as well.
    ///
    /// # Safety
    /// Both ranges stay allocated until the copy has run.
    unsafe fn copy(&self, target: u64, source: u64, bytes: usize, tag: u64, queued: &mut bool) -> Result<()>;
    /// Queues a copy of rows. `tag` and `queued` as for `copy`.
    ///
    /// # Safety
    /// Every row stays allocated, on both sides, until the copy has run.
    unsafe fn copy_rows(&self, copy: &RowCopy, tag: u64, queued: &mut bool) -> Result<()>;
    /// Queues `count` elements of `width` (1, 2, 4, 8) bytes. `tag` and `queued` as for `copy`.
    ///
    /// # Safety
    /// The range stays allocated until the fill has run.
    unsafe fn fill(
        &self,
        target: u64,
        width: usize,
        value: u64,
        count: usize,
        tag: u64,
        queued: &mut bool,
    ) -> Result<()>;
    /// Queues the kernel that writes the pieces of a packed entry to their places. `tag` and `queued` as for `copy`.
    ///
    /// # Safety
    /// [`DeviceBackend::prepare_scatter`] has succeeded. Entry and table stay allocated until the kernel has run; what the
    /// entry holds by then is an entry as [`scatter`] describes it, with the pieces inside both, or begins with another ticket.
    unsafe fn scatter(&self, scatter: &Scatter, tag: u64, queued: &mut bool) -> Result<()>;
    /// Records the event after all work queued so far.
    fn record(&self, event: &dyn EventBackend, tag: u64) -> Result<()>;
    /// Makes work queued from now on wait for the event's latest record.
    fn wait(&self, event: &dyn EventBackend) -> Result<()>;
    /// Whether all work is done.
    fn is_idle(&self) -> Result<bool>;
    /// Waits for the work queued so far.
    fn synchronize(&self, deadline: Option<Instant>) -> Result<()>;
    /// Whether the stream is being captured into a graph: asked of the driver each time.
    fn is_capturing(&self) -> Result<bool>;
    /// Queues a replay of an executable graph: the driver's handle, or one of the test kit.
    ///
    /// # Safety
    /// The graph is alive, and so is all memory that it names until the replay has run.
    unsafe fn launch_graph(&self, graph: u64, tag: u64) -> Result<()>;
    /// Makes work queued from now on wait for the latest record of an event of the driver's.
    fn wait_native(&self, _event: usize) -> Result<()> {
        fail!(Unsupported, "this backend has no native events")
    }
    /// Records an event of the driver's after all work queued so far.
    fn record_native(&self, _event: usize) -> Result<()> {
        fail!(Unsupported, "this backend has no native events")
    }
    /// Records a last event, if any; nothing is queued after it, and the driver is not asked about the stream again: the caller
    /// may destroy it from now on. An error is that of the record, and ends the stream, too.
    fn end(&self, last: Option<&dyn EventBackend>) -> Result<()> {
        last.map_or(Ok(()), |event| self.record(event, 0))
    }
    /// Whether it can be asked and used here: not ended, nor the default stream of another thread.
    fn is_here(&self) -> bool {
        true
    }
    /// Whether the test kit holds the stream shut from this very thread.
    fn held_by_this_thread(&self) -> bool;
    /// The test kit, where the stream has one.
    fn kit(&self) -> Option<&dyn kit::StreamKit> {
        None
    }
}

/// One event, recorded at most once between two stays in its pool.
pub trait EventBackend: Send + Sync {
    /// What it says now.
    fn query(&self) -> EventState;
    /// Whether it completed as failed; `None`: it may yet. A plain load, never a driver call.
    fn failed(&self) -> Option<bool>;
    /// Waits until it is not pending, or the deadline: then `Pending`.
    fn wait(&self, deadline: Option<Instant>) -> EventState;
    /// Nanoseconds between the newest records of two timed events of one device, both reached.
    fn elapsed_since(&self, earlier: &dyn EventBackend) -> Result<u64>;
    /// For the backend's own use.
    fn as_any(&self) -> &dyn Any;
}

/// A device opened, and why this one.
pub struct Opened {
    /// The device.
    pub backend: Arc<dyn DeviceBackend>,
    /// The reason for the choice, for people.
    pub reason: String,
}

/// How many devices a backend has; `None` is what `auto` would take. 0 where there is no driver.
pub fn device_count(kind: Option<BackendKind>) -> Result<u32> {
    match choose(kind)?.0 {
        BackendKind::Host => host::device_count(),
        BackendKind::Cuda => match cuda::device_count() {
            Err(error) if matches!(error.status(), Status::DriverMissing | Status::VersionMismatch) => Ok(0),
            count => count,
        },
    }
}

/// Opens a device.
pub fn open(options: &DeviceOptions) -> Result<Opened> {
    let (kind, mut reason) = choose(options.kind)?;
    let mut options = *options;
    if options.ordinal == MOST_FREE && options.native_context == 0 {
        let (ordinal, why) = select::most_free(kind)?;
        options.ordinal = ordinal;
        reason = format!("{reason}; {why}");
    }
    match kind {
        BackendKind::Host if options.native_context != 0 => fail!(
            InvalidArgument,
            "native_context is set, and the backend is host ({reason}): a context is the cuda backend's"
        ),
        BackendKind::Host => {
            Ok(Opened { backend: Arc::new(host::HostDevice::open(options.ordinal, options.debug)?), reason })
        }
        BackendKind::Cuda => {
            let device = cuda::CudaDevice::open(&options)?;
            let reason = format!("{reason}; driver: {}", cuda::describe_driver()?);
            Ok(Opened { backend: Arc::new(device), reason })
        }
    }
}

fn choose(kind: Option<BackendKind>) -> Result<(BackendKind, String)> {
    if let Some(kind) = kind {
        return Ok((kind, format!("{}: asked for by the caller", kind.name())));
    }
    match std::env::var("GPUBUF_BACKEND").as_deref() {
        Err(_) | Ok("") | Ok("auto") => Ok(match cuda::device_count() {
            Ok(0) => (BackendKind::Host, "host: the CUDA driver sees no device".into()),
            Ok(count) => (BackendKind::Cuda, format!("cuda: the driver has {count} devices")),
            Err(error) => {
                // A machine without a driver is as it is; one with a driver that cannot be used was meant otherwise.
                let named = std::env::var_os("GPUBUF_CUDA_DRIVER").is_some_and(|path| !path.is_empty());
                if named || error.status() == Status::VersionMismatch {
                    log::write(Level::Warn, format_args!("devices are emulated: {}", error.message()));
                }
                (BackendKind::Host, format!("host: {}", error.message()))
            }
        }),
        Ok("host") => Ok((BackendKind::Host, "host: GPUBUF_BACKEND=host".into())),
        Ok("cuda") => Ok((BackendKind::Cuda, "cuda: GPUBUF_BACKEND=cuda".into())),
        Ok(other) => {
            fail!(InvalidArgument, "GPUBUF_BACKEND={other} is not known: use auto, cuda or host")
        }
    }
}

/// Nanoseconds that this thread has spent so far inside an emulation of a device: this crate's, and the stand-in driver's.
pub fn emulation_ns() -> u64 {
    host::time_inside_ns() + cuda::time_inside_ns()
}

const PAGE: usize = 4096;

/// Ordinary host memory, zeroed and page-aligned.
pub(crate) fn allocate_pageable(bytes: usize) -> Result<RawMemory> {
    let none =
        || Error::new(Status::OutOfHostMemory, format!("{bytes} bytes of pageable memory cannot be had: ask for less"));
    let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| none())?;
    // SAFETY: the layout is valid and callers never ask for 0 bytes (checked below).
    let host = if bytes == 0 { std::ptr::null_mut() } else { unsafe { alloc_zeroed(layout) } };
    if host.is_null() {
        return Err(none());
    }
    Ok(RawMemory { placement: Placement::Pageable, host, device: 0, bytes, backing: Backing::Heap, node: None })
}

/// Gives back memory of [`allocate_pageable`].
///
/// # Safety
/// It came from there, was not freed before, and nothing uses it.
pub(crate) unsafe fn free_pageable(memory: RawMemory) {
    if let Ok(layout) = Layout::from_size_align(memory.bytes, PAGE) {
        // SAFETY: the caller's promise; size and alignment are those of the allocation.
        unsafe { dealloc(memory.host, layout) };
    }
}
