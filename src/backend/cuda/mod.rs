//! The NVIDIA backend: the driver API, loaded when a device is opened. Nothing here is needed to build, and a process that
//! never asks for it never loads a driver.
//!
//! Every result is a plain number, every call runs in the device's context with the caller's put back, and whatever has nothing
//! to do with a capture is done so that no capture notices. Facts about the driver cite its API reference and the programming
//! guide by section.

mod card;
mod codes;
mod context;
mod driver;
mod event;
mod kernels;
mod kit;
mod memory;
mod numa;
mod pages;
mod pools;
mod reaper;
mod stream;
mod wait;

use super::kit::DeviceKit;
use super::{
    Answer, BackendKind, Backing, DeviceBackend, DeviceFacts, DeviceOptions, DeviceSummary, EventBackend, Fallbacks,
    RawMemory, StreamBackend, allocate_pageable, free_pageable,
};
use crate::config::Placement;
use crate::error::{Result, Status};
use crate::fail;
use crate::stats::AllocatorCounters;
use crate::sync::Arc;
use card::Card;
pub use card::most_free;
use context::Context;
use cudarc::driver::sys::{CUcontext, CUdevice_attribute as Attribute};
use event::CudaEvent;
use kernels::Kernels;
use kit::{StreamHolds, Words};
use memory::Memory;
use reaper::Reaper;
use std::ffi::c_int;
use std::time::{Duration, Instant};
use stream::CudaStream;
use wait::ContextWait;

/// How many devices the driver has.
pub fn device_count() -> Result<u32> {
    driver::driver()?.device_count()
}

/// What is known of device `ordinal` without opening it.
pub fn summary(ordinal: u32) -> Result<DeviceSummary> {
    let card = Card::find(ordinal)?;
    let driver = driver::driver()?;
    Ok(DeviceSummary {
        kind: BackendKind::Cuda,
        ordinal,
        name: card.name(),
        driver_version: driver.version() as u32,
        simulation: driver.is_simulation(),
        integrated: card.has(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED),
        numa_node: numa::node_of(card),
        memory: card.total_memory(),
        uuid: card.uuid(),
        bus: card.bus(),
    })
}

/// What was loaded, in words; the error says why nothing was.
pub fn describe_driver() -> Result<String> {
    Ok(driver::driver()?.describe())
}

/// Nanoseconds that this thread has spent inside a simulation; 0 with a real driver, or none.
pub fn time_inside_ns() -> u64 {
    match driver::loaded().and_then(|driver| driver.simulation.as_ref()) {
        // SAFETY: takes nothing.
        Some(simulation) => unsafe { (simulation.gpubuf_standin_time_inside_ns)() },
        None => 0,
    }
}

/// How long frees on their way are waited for at least: an idle device needs far less.
const PATIENCE: Duration = Duration::from_millis(100);

/// A device, opened on a context.
pub struct CudaDevice {
    context: Arc<Context>,
    ordinal: c_int,
    name: String,
    facts: DeviceFacts,
    memory: Arc<Memory>,
    kernels: Arc<Kernels>,
    reaper: Arc<Reaper>,
    wait: Arc<ContextWait>,
    words: Option<Arc<Words>>,
}

impl CudaDevice {
    /// Opens device `ordinal`, or that of the caller's context.
    pub fn open(options: &DeviceOptions) -> Result<CudaDevice> {
        let context = Arc::new(match options.native_context {
            0 => Context::primary(options.ordinal)?,
            context => Context::of_caller(context as CUcontext)?,
        });
        let driver = context.driver();
        let card = Card::of(&context);
        let has = |attribute: Attribute| card.has(attribute);
        if !has(Attribute::CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING) {
            return fail!(Unsupported, "this device shares no address space with the host, which every copy relies on");
        }
        let facts = DeviceFacts {
            driver_version: driver.version() as u32,
            simulation: driver.is_simulation(),
            numa_node: numa::node_of(card),
            integrated: has(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED),
            can_register: has(Attribute::CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED),
            can_manage: has(Attribute::CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY)
                && has(Attribute::CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS)
                && driver.cuMemAllocManaged.is_some(),
            has_memory_pools: has(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)
                && driver.cuMemAllocAsync.is_some()
                && driver.cuMemFreeAsync.is_some(),
            native_context: context.handle() as usize,
        };
        if options.settings.stream_ordered && !facts.has_memory_pools {
            return fail!(Unsupported, "this device has no stream-ordered memory: use GPUBUF_DEVICE_MEMORY_PLAIN");
        }
        let memory = Arc::new(Memory::new(&context, options.settings, facts)?);
        Ok(CudaDevice {
            ordinal: context.device(),
            name: card.name(),
            words: Words::new(&context),
            kernels: Kernels::new(&context),
            reaper: Reaper::new(),
            wait: ContextWait::new(),
            context,
            facts,
            memory,
        })
    }

    fn holds(&self) -> Option<StreamHolds> {
        self.words.as_ref().map(StreamHolds::new)
    }
}

impl CudaDevice {
    /// Where there is no memory, what is on its way back may be what is missing.
    fn try_twice<T>(&self, allocate: impl Fn() -> Result<T>) -> Result<T> {
        match allocate() {
            Err(error)
                if matches!(error.status(), Status::OutOfDeviceMemory | Status::OutOfHostMemory)
                    && self.await_frees(Some(Instant::now())) =>
            {
                allocate().map_err(|_| error)
            }
            done => done,
        }
    }
}

impl DeviceBackend for CudaDevice {
    fn kind(&self) -> BackendKind {
        BackendKind::Cuda
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn facts(&self) -> DeviceFacts {
        self.facts
    }

    fn fallbacks(&self) -> Fallbacks {
        self.memory.fallbacks()
    }

    fn allocator(&self) -> &AllocatorCounters {
        &self.memory.counters
    }

    fn memory_info(&self) -> Option<(u64, u64)> {
        card::memory_info(&self.context).ok()
    }

    fn try_memory_pools(&self) -> Answer {
        pools::try_device_pool(&self.memory)
    }

    fn try_host_pools(&self, deadline: Option<Instant>) -> Answer {
        match CudaStream::create(&self.context, &self.memory.pieces, &self.kernels, None) {
            Ok(stream) => pools::try_host_pool(&self.context, &stream, self.facts, deadline),
            Err(error) => Answer::not_tested(error.message()),
        }
    }

    fn allocate(&self, placement: Placement, bytes: usize) -> Result<RawMemory> {
        match placement {
            Placement::Pageable => allocate_pageable(bytes),
            _ => self.try_twice(|| self.memory.allocate(placement, bytes)),
        }
    }

    fn allocate_huge(&self, placement: Placement, bytes: usize) -> Result<(RawMemory, u64)> {
        self.try_twice(|| self.memory.allocate_huge(placement, bytes))
    }

    unsafe fn adopt(&self, placement: Placement, host: *mut u8, bytes: usize) -> Result<RawMemory> {
        // SAFETY: the caller's promise.
        unsafe { self.memory.adopt(placement, host, bytes) }
    }

    unsafe fn free(&self, memory: RawMemory) {
        match memory.backing {
            // SAFETY: the caller's promise.
            Backing::Heap => unsafe { free_pageable(memory) },
            // SAFETY: as above.
            _ if Memory::frees_at_once(memory) => unsafe { self.memory.free(memory) },
            // SAFETY: as above.
            _ => unsafe { self.reaper.free(&self.memory, memory, None) },
        }
    }

    unsafe fn disown(&self, memory: RawMemory, then: Box<dyn FnOnce() + Send>) {
        // SAFETY: the caller's promise.
        unsafe { self.reaper.free(&self.memory, memory, Some(then)) };
    }

    fn await_frees(&self, deadline: Option<Instant>) -> bool {
        self.reaper.wait(deadline.map(|deadline| deadline.max(Instant::now() + PATIENCE)))
    }

    fn prepare_scatter(&self) -> Result<()> {
        self.kernels.prepare_scatter()
    }

    fn create_stream(&self) -> Result<Box<dyn StreamBackend>> {
        Ok(Box::new(CudaStream::create(&self.context, &self.memory.pieces, &self.kernels, self.holds())?))
    }

    unsafe fn wrap_stream(&self, native: usize) -> Result<Box<dyn StreamBackend>> {
        Ok(Box::new(CudaStream::wrap(&self.context, &self.memory.pieces, &self.kernels, self.holds(), native)?))
    }

    fn create_event(&self) -> Result<Arc<dyn EventBackend>> {
        Ok(Arc::new(CudaEvent::create(&self.context)?))
    }

    fn create_timed_event(&self) -> Result<Arc<dyn EventBackend>> {
        Ok(Arc::new(CudaEvent::create_timed(&self.context)?))
    }

    fn is_lost(&self) -> bool {
        self.context.is_lost()
    }

    fn synchronize(&self, deadline: Option<Instant>) -> Result<()> {
        match self.wait.wait(&self.context, deadline) {
            Some(waited) => waited,
            None => fail!(Timeout, "the device's work was not done by the deadline"),
        }
    }

    fn close(&self, deadline: Option<Instant>) -> usize {
        // Streams have no threads of ours: there are only waits and frees that cannot be left.
        let _ = self.synchronize(deadline);
        let freed = self.await_frees(deadline);
        usize::from(self.wait.is_running()) + usize::from(!freed)
    }

    fn on_worker_thread(&self) -> bool {
        kit::on_call_thread()
    }

    fn kit(&self) -> Option<&dyn DeviceKit> {
        self.words.is_some().then_some(self)
    }
}
