//! Devices.

use super::arguments::{flag, growing, init, label, options_or, reserved, text};
use super::boundary::{STALE, call, plain};
use super::entries::Entry;
use super::report;
use super::types::*;
use crate::backend::{self, BackendKind, DeviceOptions, DeviceSettings, PinnedMethod, REGISTER_BYTES};
use crate::config::DEFAULT_TIMEOUT_NS;
use crate::config::debug::Debug;
use crate::error::Result;
use crate::fail;
use crate::fence::{Care, Device};
use crate::report::write_at_end;
use std::ffi::{c_char, c_void};

/// How a device is opened. Set up by gpubuf_device_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_device_options {
    /// sizeof(gpubuf_device_options)
    pub struct_size: u32,
    /// GPUBUF_BACKEND_
    pub backend: u32,
    /// Which device of the backend, from 0; or GPUBUF_ORDINAL_AUTO, which opens the one with the most free memory: to ask for
    /// that, each device's primary context is retained for a moment.
    pub ordinal: u32,
    /// 0
    pub reserved: u32,
    /// What GPUBUF_TIMEOUT_DEFAULT means for the device and its objects, in nanoseconds. Default: 10 s.
    pub default_timeout_ns: u64,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
    /// GPUBUF_BACKEND_CUDA: a CUcontext that the caller made, to be used instead of the primary context of `ordinal` (which is
    /// then not looked at). It must outlive the device and all its objects. NULL: the primary context, which is retained.
    pub native_context: *mut c_void,
    /// Most bytes of page-locked memory that one registration with the driver locks. 0: 1 GiB.
    pub register_bytes: u64,
    /// GPUBUF_PINNED_: how page-locked memory is made.
    pub pinned_method: u32,
    /// GPUBUF_DEVICE_MEMORY_: how device memory is made.
    pub device_memory: u32,
    /// How often a thread of the library's does what gpubuf_device_maintain does, and delivers the log, in nanoseconds: 1 ms or
    /// more; release and log callbacks are then called on that thread as well. It ends when the device's handle is destroyed,
    /// after the round that it is in, and is waited for by gpubuf_shutdown. 0: there is no such thread. Default: 0.
    pub upkeep_interval_ns: u64,
    /// Which device, by name, with `backend`, `ordinal` and `native_context` 0: "auto" (of GPUBUF_BACKEND_AUTO, the most free memory),
    /// "cuda" or "host", "cuda:1", "cuda:auto", a UUID as nvidia-smi has it or the unique beginning of one ("GPU-8932f937"), or
    /// a place on the bus ("0000:3b:00.0"). NULL: by those fields.
    pub name: *const c_char,
    /// 1: the device is probed as by gpubuf_device_probe before this returns, and what it then cannot do is refused. 0: not.
    pub probe: u32,
    /// GPUBUF_DEBUG_: whether the memory of the device's objects is watched. GPUBUF_DEBUG_DEFAULT: as GPUBUF_DEBUG in the
    /// environment says, 1, "report", or not.
    pub debug: u32,
}

/// What is known of a device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_device_info {
    /// sizeof(gpubuf_device_info), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_BACKEND_CUDA or GPUBUF_BACKEND_HOST
    pub backend: u32,
    /// The version that the driver is for: 12040 is CUDA 12.4. 0: there is no driver.
    pub driver_version: u32,
    /// 1: no hardware is behind it (the host backend, and the stand-in driver).
    pub simulation: u32,
    /// The memory node near the device; -1: not known.
    pub numa_node: i32,
    /// 1: it shares its memory with the CPU.
    pub integrated: u32,
    /// 1: the caller's host memory can be page-locked.
    pub can_register: u32,
    /// 1: it has managed memory that the CPU may use while kernels run.
    pub can_manage: u32,
    /// 1: it has stream-ordered memory.
    pub has_memory_pools: u32,
    /// 0
    pub reserved: u32,
    /// The driver's handle of its context, a CUcontext; NULL on the host backend.
    pub native_context: *mut c_void,
}

/// A device's figures. Bytes are what the library owns at this moment; the rest only grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_device_stats {
    /// sizeof(gpubuf_device_stats), set by the caller.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// Pageable host memory.
    pub host_bytes: u64,
    /// Page-locked host memory.
    pub pinned_bytes: u64,
    /// Device memory.
    pub device_bytes: u64,
    /// Managed memory.
    pub managed_bytes: u64,
    /// Memory of destroyed objects that waits for its last use.
    pub deferred_bytes: u64,
    /// The pieces it is in.
    pub deferred_objects: u64,
    /// Memory whose completion could not be proven: never touched again.
    pub quarantined_bytes: u64,
    /// Memory left to the process exit, at a shutdown or after a fault of the library.
    pub leaked_bytes: u64,
    /// Copies queued.
    pub copies: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Fences recorded.
    pub fences_recorded: u64,
    /// Waits queued on one stream for another.
    pub device_waits: u64,
    /// Waits of host threads that did not find their work done.
    pub host_waits: u64,
    /// Time spent in them.
    pub host_wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
    /// Driver events made.
    pub events_created: u64,
    /// Those of them that were not made ahead, with their stream.
    pub events_on_demand: u64,
    /// Calls refused by the reuse contract.
    pub refusals: u64,
    /// Copies that failed when they ran.
    pub copy_failures: u64,
    /// Objects destroyed while their device address was with work the library cannot see.
    pub sealed_at_destroy: u64,
    /// Pointers given out by gpubuf_buffer_host_ptr_unfenced.
    pub unfenced_pointers: u64,
    /// Times that memory was made in another way than would have been best, each with a message in the log.
    pub fallbacks: u64,
    /// Calls with a handle that had ended, or never was one: of the whole process.
    pub stale_handles: u64,
    /// The most pageable host memory there was at a time.
    pub host_peak_bytes: u64,
    /// The most page-locked host memory there was at a time.
    pub pinned_peak_bytes: u64,
    /// The most device memory there was at a time.
    pub device_peak_bytes: u64,
    /// The most managed memory there was at a time.
    pub managed_peak_bytes: u64,
    /// All pageable host memory that was ever allocated.
    pub host_total_bytes: u64,
    /// All page-locked host memory that was ever allocated.
    pub pinned_total_bytes: u64,
    /// All device memory that was ever allocated.
    pub device_total_bytes: u64,
    /// All managed memory that was ever allocated.
    pub managed_total_bytes: u64,
    /// Allocations and registrations by the driver, those of the library for itself included.
    pub allocations: u64,
    /// Those that the driver refused.
    pub allocation_failures: u64,
    /// Time spent inside the driver for them, and for clearing the memory, in nanoseconds.
    pub allocation_ns: u64,
    /// Frees and ends of registrations by the driver.
    pub frees: u64,
    /// Time spent inside the driver for them, in nanoseconds; on a thread of the library's where they would wait.
    pub free_ns: u64,
    /// Of `fallbacks`: large page-locked memory that could not be registered, and came from the driver's own allocation.
    pub fallbacks_registration: u64,
    /// Of `fallbacks`: page-locked memory that the system would not place near the device. The message comes once.
    pub fallbacks_node: u64,
    /// Of `fallbacks`: buffers and blocks of uva memory that are a pinned and a device side, since the device does not see later host
    /// writes.
    pub fallbacks_uva: u64,
    /// Frees and ends of registrations that the driver refused: that memory stays with it, and no byte of it is counted any more.
    pub free_failures: u64,
}

growing!(
    gpubuf_device_options { label: text, native_context: pointer, name: text },
    gpubuf_device_info,
    gpubuf_device_stats
);

fn defaults(options: &mut gpubuf_device_options) {
    options.default_timeout_ns = DEFAULT_TIMEOUT_NS;
}

pub(super) fn backend_kind(code: u32) -> Result<Option<BackendKind>> {
    match code {
        GPUBUF_BACKEND_AUTO => Ok(None),
        GPUBUF_BACKEND_CUDA => Ok(Some(BackendKind::Cuda)),
        GPUBUF_BACKEND_HOST => Ok(Some(BackendKind::Host)),
        _ => fail!(InvalidArgument, "backend {code} is not known: use a GPUBUF_BACKEND_ number (0 to 2)"),
    }
}

fn pinned_method(code: u32) -> Result<PinnedMethod> {
    match code {
        GPUBUF_PINNED_AUTO => Ok(PinnedMethod::Auto),
        GPUBUF_PINNED_DRIVER => Ok(PinnedMethod::Driver),
        GPUBUF_PINNED_REGISTER => Ok(PinnedMethod::Register),
        _ => fail!(InvalidArgument, "pinned_method {code} is not known: use a GPUBUF_PINNED_ number (0 to 2)"),
    }
}

fn stream_ordered(code: u32) -> Result<bool> {
    match code {
        GPUBUF_DEVICE_MEMORY_PLAIN => Ok(false),
        GPUBUF_DEVICE_MEMORY_STREAM_ORDERED => Ok(true),
        _ => fail!(InvalidArgument, "device_memory {code} is not known: use a GPUBUF_DEVICE_MEMORY_ number (0 or 1)"),
    }
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_options_init(options: *mut gpubuf_device_options, struct_size: u32) {
    plain(Entry::gpubuf_device_options_init, (), || init(options, struct_size, defaults))
}

/// How many devices a backend has: 0 where its driver is missing.
///
/// Errors: GPUBUF_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_count(backend: u32, out_count: *mut u32) -> gpubuf_status {
    call(Entry::gpubuf_device_count, (backend, out_count), |c| {
        let out = c.out(out_count, "out_count")?;
        out.set(backend::device_count(backend_kind(backend)?)?);
        Ok(())
    })
}

/// Opens a device. `options` may be NULL: device 0 of GPUBUF_BACKEND_AUTO.
///
/// With GPUBUF_BACKEND_CUDA the driver is loaded now: GPUBUF_CUDA_DRIVER (a path, in the environment) alone if it is set, else
/// libcuda.so.1, else libcuda.so. The context current on the calling thread stays current, here and in every other function.
/// Ownership: the caller's, until gpubuf_device_destroy. Opening an ordinal twice makes two devices whose objects do not mix.
/// Threads: any.
/// Errors: GPUBUF_NOT_FOUND (no such ordinal), GPUBUF_DRIVER_MISSING (no driver, no device, or a symbol that it lacks: the
/// message says which), GPUBUF_VERSION_MISMATCH (older than CUDA 12.0), GPUBUF_UNSUPPORTED, GPUBUF_DRIVER_ERROR,
/// GPUBUF_INVALID_ARGUMENT (also a name that is none, or that more than one device has).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_open(
    options: *const gpubuf_device_options,
    out_device: *mut *mut gpubuf_device,
) -> gpubuf_status {
    call(Entry::gpubuf_device_open, (options, out_device), |c| {
        let chosen = options_or(options, "options", defaults)?;
        let out = c.out(out_device, "out_device")?;
        reserved(chosen.reserved, "options.reserved")?;
        let mut settings = DeviceSettings {
            pinned: pinned_method(chosen.pinned_method)?,
            stream_ordered: stream_ordered(chosen.device_memory)?,
            ..Default::default()
        };
        if chosen.register_bytes != 0 {
            settings.register_bytes = usize::try_from(chosen.register_bytes).unwrap_or(REGISTER_BYTES);
        }
        let mut options = DeviceOptions {
            kind: backend_kind(chosen.backend)?,
            ordinal: chosen.ordinal,
            native_context: chosen.native_context as usize,
            settings,
            debug: Debug::from_code(chosen.debug)?,
        };
        if !chosen.name.is_null() {
            options.select(text(chosen.name, "options.name")?)?;
        }
        let care = Care {
            default_timeout_ns: chosen.default_timeout_ns,
            upkeep_interval_ns: chosen.upkeep_interval_ns,
            probe: flag(chosen.probe, "options.probe")?,
        };
        let device = Device::open_with(&options, care, label(chosen.label, "options.label")?)?;
        c.give(out, device)
    })
}

/// Ends the handle. Objects made from the device go on working; the device itself is closed with the last of them.
///
/// From then on nobody can call gpubuf_device_maintain: what destroyed objects left is freed when another object of the
/// device is destroyed, when a device is opened, or by gpubuf_shutdown. NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_destroy(device: *mut gpubuf_device) -> gpubuf_status {
    call(Entry::gpubuf_device_destroy, (device,), |c| {
        if let Some(device) = c.end(device, "device")? {
            write_at_end(report::now);
            device.orphan();
        }
        Ok(())
    })
}

/// Which backend it is: GPUBUF_BACKEND_CUDA or GPUBUF_BACKEND_HOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_backend(device: *const gpubuf_device, out_backend: *mut u32) -> gpubuf_status {
    call(Entry::gpubuf_device_backend, (device, out_backend), |c| {
        let device = c.get(device, "device")?;
        c.out(out_backend, "out_backend")?.set(device.backend().kind() as u32);
        Ok(())
    })
}

/// What is known of the device. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_info_get(
    device: *const gpubuf_device,
    inout_info: *mut gpubuf_device_info,
) -> gpubuf_status {
    call(Entry::gpubuf_device_info_get, (device, inout_info), |c| {
        let backend = c.get(device, "device")?.backend();
        let facts = backend.facts();
        c.figures(inout_info, "inout_info")?.set(gpubuf_device_info {
            struct_size: 0,
            backend: backend.kind() as u32,
            driver_version: facts.driver_version,
            simulation: facts.simulation.into(),
            numa_node: facts.numa_node.map_or(-1, |node| node as i32),
            integrated: facts.integrated.into(),
            can_register: facts.can_register.into(),
            can_manage: facts.can_manage.into(),
            has_memory_pools: facts.has_memory_pools.into(),
            reserved: 0,
            native_context: facts.native_context as *mut c_void,
        });
        Ok(())
    })
}

/// The device's name, for people. `buffer`, `capacity` and `out_length` as in gpubuf_describe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_name(
    device: *const gpubuf_device,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_device_name, (device, buffer, capacity, out_length), |c| {
        let device = c.get(device, "device")?;
        c.text(&device.backend().name(), buffer, capacity, out_length)
    })
}

/// Why this backend was chosen, in words. `buffer`, `capacity` and `out_length` as in gpubuf_describe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_backend_reason(
    device: *const gpubuf_device,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_device_backend_reason, (device, buffer, capacity, out_length), |c| {
        let device = c.get(device, "device")?;
        c.text(device.reason(), buffer, capacity, out_length)
    })
}

/// Frees what destroyed objects left and is out of use by now, and calls its release callbacks. Never waits.
///
/// `out_freed_bytes` may be NULL. Creating objects does the same; an application that does so rarely calls this now and then.
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_maintain(
    device: *mut gpubuf_device,
    out_freed_bytes: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_device_maintain, (device, out_freed_bytes), |c| {
        let freed = c.get(device, "device")?.keep_up();
        c.set_if_any(out_freed_bytes, freed);
        Ok(())
    })
}

/// Waits for all work on the device, then frees all that destroyed objects left, also what unseen work used.
///
/// Call it at rest, when nobody queues work: it is what proves that work the library cannot see is over.
/// With CUDA it is a wait for the whole context, whoever queued the work; the try form looks at the library's streams first, and
/// then takes up to 0.2 s to learn of work that it has not seen.
/// Threads: any; not in a function that runs on a stream.
/// Errors: GPUBUF_COPY_FAILED (copies that failed since the last drain; all is freed nonetheless), GPUBUF_TIMEOUT and
/// GPUBUF_BUSY (nothing is lost: call it again), GPUBUF_CAPTURING (a stream of the device captures), GPUBUF_WOULD_DEADLOCK,
/// GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_drain(device: *mut gpubuf_device, timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_device_drain, (device, timeout_ns), |c| {
        let device = c.get(device, "device")?;
        device.drain(device.timeout(timeout_ns))
    })
}

/// Waits for the work queued so far on every stream of the device; with CUDA as gpubuf_device_drain does.
///
/// Threads: any; not in a function that runs on a stream.
/// Errors: GPUBUF_COPY_FAILED (copies that failed on a stream since it was last synchronized), GPUBUF_TIMEOUT, GPUBUF_BUSY,
/// GPUBUF_CAPTURING, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_synchronize(device: *mut gpubuf_device, timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_device_synchronize, (device, timeout_ns), |c| {
        let device = c.get(device, "device")?;
        device.synchronize(device.timeout(timeout_ns))
    })
}

/// The device's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_stats_get(
    device: *const gpubuf_device,
    inout_stats: *mut gpubuf_device_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_device_stats_get, (device, inout_stats), |c| {
        let device = c.get(device, "device")?;
        let counters = &device.counters;
        let (allocator, fallbacks) = (device.backend().allocator(), device.backend().fallbacks());
        let out = c.figures(inout_stats, "inout_stats")?;
        out.set(gpubuf_device_stats {
            struct_size: 0,
            reserved: 0,
            host_bytes: counters.host_bytes.get(),
            pinned_bytes: counters.pinned_bytes.get(),
            device_bytes: counters.device_bytes.get(),
            managed_bytes: counters.managed_bytes.get(),
            deferred_bytes: counters.deferred_bytes.get(),
            deferred_objects: counters.deferred_objects.get(),
            quarantined_bytes: counters.quarantined_bytes.get(),
            leaked_bytes: counters.leaked_bytes.get(),
            copies: counters.copies.get(),
            copied_bytes: counters.copied_bytes.get(),
            fences_recorded: counters.fences_recorded.get(),
            device_waits: counters.device_waits.get(),
            host_waits: counters.host.waits.get(),
            host_wait_ns: counters.host.wait_ns.get(),
            timeouts: counters.host.timeouts.get(),
            events_created: counters.events_created.get(),
            events_on_demand: counters.events_on_demand.get(),
            refusals: counters.refusals.get(),
            copy_failures: counters.copy_failures.get(),
            sealed_at_destroy: counters.sealed_at_destroy.get(),
            unfenced_pointers: counters.unfenced_pointers.get(),
            fallbacks: fallbacks.all() + counters.stand_ins.get(),
            stale_handles: STALE.get(),
            host_peak_bytes: counters.host_bytes.peak(),
            pinned_peak_bytes: counters.pinned_bytes.peak(),
            device_peak_bytes: counters.device_bytes.peak(),
            managed_peak_bytes: counters.managed_bytes.peak(),
            host_total_bytes: counters.host_bytes.total(),
            pinned_total_bytes: counters.pinned_bytes.total(),
            device_total_bytes: counters.device_bytes.total(),
            managed_total_bytes: counters.managed_bytes.total(),
            allocations: allocator.allocations.get(),
            allocation_failures: allocator.allocation_failures.get(),
            allocation_ns: allocator.allocation_ns.get(),
            frees: allocator.frees.get(),
            free_ns: allocator.free_ns.get(),
            fallbacks_registration: fallbacks.registration,
            fallbacks_node: fallbacks.node,
            fallbacks_uva: counters.stand_ins.get(),
            free_failures: allocator.free_failures.get(),
        });
        Ok(())
    })
}
