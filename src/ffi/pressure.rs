//! Memory pressure.

use super::arguments::{growing, init, label, options_or};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::types::*;
use crate::pressure::{HIGH_PERCENT, LOW_PERCENT, Notify, Pressure, PressureOptions, Read, Reading};
use std::ffi::{CString, c_char, c_void};

/// Told that memory is high, or low again: GPUBUF_PRESSURE_, 1 or 0, the reading, and whose memory it is (never NULL, valid during
/// the call). Called inside gpubuf_pressure_step, gpubuf_device_maintain or on the upkeep thread, under no lock of the library. It
/// may call the library, and must not throw.
pub type gpubuf_pressure_notify_fn = Option<
    unsafe extern "C" fn(
        what: u32,
        high: u32,
        used_bytes: u64,
        limit_bytes: u64,
        of: *const c_char,
        user_data: *mut c_void,
    ),
>;

/// Reads memory: GPUBUF_PRESSURE_DEVICE or _HOST, and the library's own reading, which it may change. A limit of 0 is not known and
/// never high. Called as gpubuf_pressure_notify_fn is.
pub type gpubuf_pressure_read_fn = Option<
    unsafe extern "C" fn(what: u32, inout_used_bytes: *mut u64, inout_limit_bytes: *mut u64, user_data: *mut c_void),
>;

/// What a watch over memory is to be. Set up by gpubuf_pressure_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pressure_options {
    /// sizeof(gpubuf_pressure_options)
    pub struct_size: u32,
    /// From so many percent of its limit on memory is high, at most 100. Default: 90.
    pub high_percent: u32,
    /// Once high, it is low again at so many percent or less, and that is what is aimed at. Default: 80.
    pub low_percent: u32,
    /// 0
    pub reserved: u32,
    /// Told of changes. NULL: nobody is told.
    pub notify: gpubuf_pressure_notify_fn,
    /// Handed to notify.
    pub notify_user_data: *mut c_void,
    /// Reads memory. NULL: the driver's free and total device memory, and the fuller of control group and machine.
    pub read: gpubuf_pressure_read_fn,
    /// Handed to read.
    pub read_user_data: *mut c_void,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// A watch's figures: as of its last look, then what only grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_pressure_stats {
    /// sizeof(gpubuf_pressure_stats), set by the caller.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// What is high: device, host, and each budget count one.
    pub high_gauges: u64,
    /// Device memory in use, of all processes.
    pub device_used_bytes: u64,
    /// Device memory there is; 0: not known.
    pub device_limit_bytes: u64,
    /// Host memory in use.
    pub host_used_bytes: u64,
    /// Host memory there may be; 0: not known.
    pub host_limit_bytes: u64,
    /// Looks so far.
    pub looks: u64,
    /// Times that something turned high.
    pub rises: u64,
    /// Times that something was low again.
    pub falls: u64,
    /// Free blocks that pools let go.
    pub trimmed_blocks: u64,
    /// Free entries that workspaces let go.
    pub evicted_entries: u64,
    /// Idle bytes that managers of page-locked memory and tiers gave back.
    pub freed_bytes: u64,
    /// Bytes of blocks that tiers sent down.
    pub demoted_bytes: u64,
}

growing!(
    gpubuf_pressure_options {
        notify: pointer,
        notify_user_data: pointer,
        read: pointer,
        read_user_data: pointer,
        label: text
    },
    gpubuf_pressure_stats
);

fn defaults(options: &mut gpubuf_pressure_options) {
    options.high_percent = HIGH_PERCENT;
    options.low_percent = LOW_PERCENT;
}

fn notify(options: &gpubuf_pressure_options) -> Option<Notify> {
    let tell = options.notify?;
    let user_data = options.notify_user_data as usize;
    Some(Box::new(move |change| {
        let of = CString::new(change.of.as_str()).unwrap_or_default();
        let Reading { used, limit } = change.reading;
        // SAFETY: the caller's promise for the callback of a watch.
        unsafe { tell(change.what as u32, change.is_high as u32, used, limit, of.as_ptr(), user_data as *mut c_void) }
    }))
}

fn read(options: &gpubuf_pressure_options) -> Option<Read> {
    let read = options.read?;
    let user_data = options.read_user_data as usize;
    Some(Box::new(move |what, mut own| {
        // SAFETY: as above.
        unsafe { read(what as u32, &raw mut own.used, &raw mut own.limit, user_data as *mut c_void) };
        own
    }))
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_options_init(options: *mut gpubuf_pressure_options, struct_size: u32) {
    plain(Entry::gpubuf_pressure_options_init, (), || init(options, struct_size, defaults));
}

/// A watch over the memory of the device and of the host. `options` may be NULL, for the defaults.
///
/// It looks when it is stepped: by gpubuf_pressure_step, gpubuf_device_maintain or the upkeep thread.
/// Ownership: the caller's, until gpubuf_pressure_destroy.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_pressure_options,
    out_pressure: *mut *mut gpubuf_pressure,
) -> gpubuf_status {
    call(Entry::gpubuf_pressure_create, (device, options, out_pressure), |c| {
        let device = c.get(device, "device")?;
        let options = options_or(options, "options", defaults)?;
        let out = c.out(out_pressure, "out_pressure")?;
        super::arguments::reserved(options.reserved, "options.reserved")?;
        let pressure = PressureOptions {
            high_percent: options.high_percent,
            low_percent: options.low_percent,
            notify: notify(&options),
            read: read(&options),
            label: label(options.label, "options.label")?.to_owned(),
        };
        c.give(out, Pressure::create(device, pressure)?)
    })
}

/// Ends the watch. A step under way on another thread may still call back. NULL is GPUBUF_OK. Never waits.
///
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_destroy(pressure: *mut gpubuf_pressure) -> gpubuf_status {
    call(Entry::gpubuf_pressure_destroy, (pressure,), |c| c.end(pressure, "pressure").map(drop))
}

/// Has a pool's free blocks go when the host's memory is high, or, where they have twins, the device's. The pool may end first.
///
/// Errors: GPUBUF_WRONG_DEVICE, GPUBUF_OUT_OF_HOST_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_add_pool(
    pressure: *mut gpubuf_pressure,
    pool: *mut gpubuf_pool,
) -> gpubuf_status {
    call(Entry::gpubuf_pressure_add_pool, (pressure, pool), |c| {
        c.get(pressure, "pressure")?.add_pool(c.get(pool, "pool")?)
    })
}

/// Has a workspace's free entries go when the device's memory or the host's is high. The workspace may end first.
///
/// Errors: as gpubuf_pressure_add_pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_add_workspace(
    pressure: *mut gpubuf_pressure,
    workspace: *mut gpubuf_workspace,
) -> gpubuf_status {
    call(Entry::gpubuf_pressure_add_workspace, (pressure, workspace), |c| {
        c.get(pressure, "pressure")?.add_workspace(c.get(workspace, "workspace")?)
    })
}

/// Watches a manager's budget, and has its idle slabs go when that, or the host's memory, is high. The manager may end first.
///
/// Errors: as gpubuf_pressure_add_pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_add_pinned(
    pressure: *mut gpubuf_pressure,
    pinned: *mut gpubuf_pinned,
) -> gpubuf_status {
    call(Entry::gpubuf_pressure_add_pinned, (pressure, pinned), |c| {
        c.get(pressure, "pressure")?.add_pinned(c.get(pinned, "pinned")?)
    })
}

/// Watches the budget of each tier, and has blocks go down where it, or for device memory the device's, is high; until it is low
/// again, steps bring nothing up there. At other times, and until the pressure object is destroyed, they fill each tier only as far as
/// its low mark. The tiers may end first.
///
/// Errors: as gpubuf_pressure_add_pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_add_tiers(
    pressure: *mut gpubuf_pressure,
    tiers: *mut gpubuf_tiers,
) -> gpubuf_status {
    call(Entry::gpubuf_pressure_add_tiers, (pressure, tiers), |c| {
        c.get(pressure, "pressure")?.add_tiers(c.get(tiers, "tiers")?)
    })
}

/// Reads what is watched; where something is high, has those who were added answer: what is idle goes at once, and blocks of tiers
/// go down where nothing was idle. Then tells notify of changes. `out_changes`, how many, may be NULL. Waits for nobody.
///
/// Threads: any; while one steps a second one does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_step(pressure: *mut gpubuf_pressure, out_changes: *mut u32) -> gpubuf_status {
    call(Entry::gpubuf_pressure_step, (pressure, out_changes), |c| {
        let changes = c.get(pressure, "pressure")?.step();
        c.set_if_any(out_changes, changes);
        Ok(())
    })
}

/// A watch's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_pressure_stats_get(
    pressure: *const gpubuf_pressure,
    inout_stats: *mut gpubuf_pressure_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_pressure_stats_get, (pressure, inout_stats), |c| {
        let pressure = c.get(pressure, "pressure")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let stats = pressure.stats();
        out.set(gpubuf_pressure_stats {
            struct_size: 0,
            reserved: 0,
            high_gauges: stats.high_gauges,
            device_used_bytes: stats.device.used,
            device_limit_bytes: stats.device.limit,
            host_used_bytes: stats.host.used,
            host_limit_bytes: stats.host.limit,
            looks: stats.looks,
            rises: stats.rises,
            falls: stats.falls,
            trimmed_blocks: stats.trimmed_blocks,
            evicted_entries: stats.evicted_entries,
            freed_bytes: stats.freed_bytes,
            demoted_bytes: stats.demoted_bytes,
        });
        Ok(())
    })
}
