//! Numbers and types of the C API.

use std::ffi::{c_char, c_void};

/// What every call that can fail answers: GPUBUF_OK, or why it did nothing. Callers must expect statuses they do not know.
pub type gpubuf_status = i32;

/// Success.
pub const GPUBUF_OK: i32 = 0;
/// An argument is NULL, out of range, or not one of the known numbers.
pub const GPUBUF_INVALID_ARGUMENT: i32 = 100;
/// A size or count does not fit.
pub const GPUBUF_OVERFLOW: i32 = 101;
/// The handle was destroyed or released, or never was one.
pub const GPUBUF_STALE_HANDLE: i32 = 102;
/// The handle is of another type.
pub const GPUBUF_WRONG_KIND: i32 = 103;
/// Objects of two devices were mixed.
pub const GPUBUF_WRONG_DEVICE: i32 = 104;
/// Header and library, or a struct's size and the library, do not agree.
pub const GPUBUF_VERSION_MISMATCH: i32 = 105;
/// No object of that name or number.
pub const GPUBUF_NOT_FOUND: i32 = 106;
/// The name, or the foreign memory, is taken.
pub const GPUBUF_EXISTS: i32 = 107;
/// Not after freeze; or, where the message says so, not before it.
pub const GPUBUF_FROZEN: i32 = 108;
/// An address was given to work the library cannot see, and no fence was declared since.
pub const GPUBUF_UNFENCED: i32 = 200;
/// The committed step that this one would overwrite was not retired.
pub const GPUBUF_NOT_RETIRED: i32 = 201;
/// An end without a begin, twice, or with an old token or ticket.
pub const GPUBUF_NOT_BEGUN: i32 = 202;
/// The block is not held by this caller, or the memory is the caller's again.
pub const GPUBUF_NOT_HELD: i32 = 203;
/// A required slot, or a part of it, was not written in this step.
pub const GPUBUF_SLOT_UNWRITTEN: i32 = 204;
/// A graph, or a step that is not over, has the address.
pub const GPUBUF_GRAPH_HELD: i32 = 205;
/// Every usable block or entry is quarantined, or the table of handles is full.
pub const GPUBUF_EXHAUSTED: i32 = 206;
/// Not now: a guard is open, another thread is inside, or the try form would have had to wait.
pub const GPUBUF_BUSY: i32 = 300;
/// The deadline passed; nothing changed but the caller's wait.
pub const GPUBUF_TIMEOUT: i32 = 301;
/// The wait could only end by an action of this same thread.
pub const GPUBUF_WOULD_DEADLOCK: i32 = 302;
/// Both sides of a range are newer than the other.
pub const GPUBUF_CONFLICT: i32 = 303;
/// Over a limit of bytes or entries.
pub const GPUBUF_BUDGET: i32 = 400;
/// No host memory.
pub const GPUBUF_OUT_OF_HOST_MEMORY: i32 = 401;
/// No device memory.
pub const GPUBUF_OUT_OF_DEVICE_MEMORY: i32 = 402;
/// This backend, device or object cannot do it.
pub const GPUBUF_UNSUPPORTED: i32 = 500;
/// Not while the stream captures.
pub const GPUBUF_CAPTURING: i32 = 501;
/// No usable driver.
pub const GPUBUF_DRIVER_MISSING: i32 = 502;
/// The device is lost.
pub const GPUBUF_DEVICE_LOST: i32 = 503;
/// A copy failed when it ran: its target holds no promised bytes.
pub const GPUBUF_COPY_FAILED: i32 = 504;
/// Completion could not be proven: the memory is never touched again.
pub const GPUBUF_QUARANTINED: i32 = 505;
/// The driver refused a call with a code that has no status of its own: the message names it.
pub const GPUBUF_DRIVER_ERROR: i32 = 506;
/// The library was shut down, the process exits, or the object was destroyed while the call waited.
pub const GPUBUF_SHUT_DOWN: i32 = 900;
/// A child after fork: inherited objects are void.
pub const GPUBUF_FORKED: i32 = 901;
/// A fault of the library left the object half-done: destroy it.
pub const GPUBUF_BROKEN: i32 = 902;
/// A fault of the library.
pub const GPUBUF_INTERNAL: i32 = 903;

/// `timeout_ns`: do not wait.
pub const GPUBUF_TIMEOUT_TRY: u64 = 0;
/// `timeout_ns`: the device's default, 10 s unless it was opened with another.
pub const GPUBUF_TIMEOUT_DEFAULT: u64 = 9223372036854775806;
/// `timeout_ns`: no deadline. Every larger value means the same.
pub const GPUBUF_TIMEOUT_INFINITE: u64 = 9223372036854775807;
/// `count`: everything from `first` on.
pub const GPUBUF_ALL: u64 = 9223372036854775807;

/// The backend that `GPUBUF_BACKEND` names in the environment (auto, cuda, host), else the best there is.
pub const GPUBUF_BACKEND_AUTO: u32 = 0;
/// The NVIDIA driver, loaded at run time.
pub const GPUBUF_BACKEND_CUDA: u32 = 1;
/// The emulated device: truly asynchronous, on the CPU.
pub const GPUBUF_BACKEND_HOST: u32 = 2;

/// As `ordinal`: the device of the backend with the most free memory.
pub const GPUBUF_ORDINAL_AUTO: u32 = 4294967295;
/// Of a size or limit: none, or not known.
pub const GPUBUF_UNKNOWN: u64 = 9223372036854775807;

/// It could not be tried.
pub const GPUBUF_ANSWER_NOT_TESTED: u32 = 0;
/// It was tried, and does not work; or the device says so of itself.
pub const GPUBUF_ANSWER_NO: u32 = 1;
/// It was tried, and works; or the device says so of itself.
pub const GPUBUF_ANSWER_YES: u32 = 2;

/// The device sees, in UVA memory that it has read, what the host writes there afterwards.
pub const GPUBUF_CAPABILITY_SEES_HOST_WRITES: u32 = 1;
/// Page-locked memory can be had.
pub const GPUBUF_CAPABILITY_PINNED_MEMORY: u32 = 2;
/// The caller's memory can be page-locked, for buffers that borrow it.
pub const GPUBUF_CAPABILITY_REGISTERED_MEMORY: u32 = 3;
/// Device memory in the order of a stream: GPUBUF_DEVICE_MEMORY_STREAM_ORDERED.
pub const GPUBUF_CAPABILITY_MEMORY_POOLS: u32 = 4;
/// Host memory in the order of a stream, from pools of the driver's.
pub const GPUBUF_CAPABILITY_HOST_POOLS: u32 = 5;
/// GPUBUF_PLACEMENT_MANAGED.
pub const GPUBUF_CAPABILITY_MANAGED_MEMORY: u32 = 6;
/// The device shares its memory with the CPU: it says so of itself.
pub const GPUBUF_CAPABILITY_INTEGRATED: u32 = 7;
/// The system has huge pages for ordinary mappings.
pub const GPUBUF_CAPABILITY_HUGE_PAGES: u32 = 8;

/// For people; may change at any time.
pub const GPUBUF_REPORT_TEXT: u32 = 0;
/// For programs: its keys stay (docs/report.md).
pub const GPUBUF_REPORT_JSON: u32 = 1;

/// Small pieces by the driver's own allocation; large ones (64 MiB on) mapped, touched by several threads and registered.
pub const GPUBUF_PINNED_AUTO: u32 = 0;
/// By the driver's own allocation.
pub const GPUBUF_PINNED_DRIVER: u32 = 1;
/// Mapped, touched by several threads and registered; where the driver refuses that, creation fails.
pub const GPUBUF_PINNED_REGISTER: u32 = 2;

/// As GPUBUF_DEBUG in the environment says.
pub const GPUBUF_DEBUG_DEFAULT: u32 = 0;
/// Memory is not watched.
pub const GPUBUF_DEBUG_OFF: u32 = 1;
/// Memory is watched: stray accesses fault and are reported, and so is damage that is found by looking. Either ends the process.
pub const GPUBUF_DEBUG_ON: u32 = 2;
/// As GPUBUF_DEBUG_ON, but the process goes on after damage that is found by looking.
pub const GPUBUF_DEBUG_REPORT: u32 = 3;

/// By cuMemAlloc: memory that can be exported. Giving it back may wait for the device, which maintain, drain and creations do.
pub const GPUBUF_DEVICE_MEMORY_PLAIN: u32 = 0;
/// By the driver's stream-ordered pool: giving it back waits for nothing.
pub const GPUBUF_DEVICE_MEMORY_STREAM_ORDERED: u32 = 1;

/// This side does not exist.
pub const GPUBUF_PLACEMENT_NONE: u32 = 0;
/// Ordinary host memory.
pub const GPUBUF_PLACEMENT_PAGEABLE: u32 = 1;
/// Page-locked host memory: copies are asynchronous, and read it when they run.
pub const GPUBUF_PLACEMENT_PINNED: u32 = 2;
/// Page-locked host memory that kernels use in place, by a device-visible address.
pub const GPUBUF_PLACEMENT_UVA: u32 = 3;
/// Device memory.
pub const GPUBUF_PLACEMENT_DEVICE: u32 = 4;
/// Memory that CPU and device use at one address, and that migrates by itself: a host side, on devices that have it.
pub const GPUBUF_PLACEMENT_MANAGED: u32 = 5;

/// Truth values of 1 byte.
pub const GPUBUF_DTYPE_BOOL: u32 = 1;
/// Signed, 8 bits.
pub const GPUBUF_DTYPE_I8: u32 = 2;
/// Signed, 16 bits.
pub const GPUBUF_DTYPE_I16: u32 = 3;
/// Signed, 32 bits.
pub const GPUBUF_DTYPE_I32: u32 = 4;
/// Signed, 64 bits.
pub const GPUBUF_DTYPE_I64: u32 = 5;
/// Unsigned, 8 bits.
pub const GPUBUF_DTYPE_U8: u32 = 6;
/// Unsigned, 16 bits.
pub const GPUBUF_DTYPE_U16: u32 = 7;
/// Unsigned, 32 bits.
pub const GPUBUF_DTYPE_U32: u32 = 8;
/// Unsigned, 64 bits.
pub const GPUBUF_DTYPE_U64: u32 = 9;
/// IEEE half.
pub const GPUBUF_DTYPE_F16: u32 = 10;
/// bfloat16.
pub const GPUBUF_DTYPE_BF16: u32 = 11;
/// IEEE single.
pub const GPUBUF_DTYPE_F32: u32 = 12;
/// IEEE double.
pub const GPUBUF_DTYPE_F64: u32 = 13;
/// 8-bit float, 4 bits of exponent.
pub const GPUBUF_DTYPE_F8_E4M3: u32 = 14;
/// 8-bit float, 5 bits of exponent.
pub const GPUBUF_DTYPE_F8_E5M2: u32 = 15;

/// The CPU's side.
pub const GPUBUF_SIDE_HOST: u32 = 1;
/// The device's side.
pub const GPUBUF_SIDE_DEVICE: u32 = 2;
/// Both sides.
pub const GPUBUF_SIDE_BOTH: u32 = 3;

/// The buffer's own policy; among its options: to refuse.
pub const GPUBUF_SYNC_DEFAULT: u32 = 0;
/// Bytes that are newer on both sides are a conflict.
pub const GPUBUF_SYNC_REFUSE: u32 = 1;
/// There the host side wins.
pub const GPUBUF_SYNC_HOST_WINS: u32 = 2;
/// There the device side wins.
pub const GPUBUF_SYNC_DEVICE_WINS: u32 = 3;
/// There the side wins that was marked last.
pub const GPUBUF_SYNC_NEWEST_WINS: u32 = 4;

/// The work only read.
pub const GPUBUF_ACCESS_READ: u32 = 1;
/// The work wrote; it may have read, too.
pub const GPUBUF_ACCESS_WRITE: u32 = 2;

/// No twin in device memory, but for a promotion.
pub const GPUBUF_TWIN_NEVER: u32 = 0;
/// A twin from the start.
pub const GPUBUF_TWIN_AT_ONCE: u32 = 1;
/// A twin with the first copy to the device, or the first device address: that call allocates. Not for uva and managed blocks,
/// which kernels use in place.
pub const GPUBUF_TWIN_ON_NEED: u32 = 2;

/// `budget_bytes`: half of the smaller of the host's memory and the control group's limit.
pub const GPUBUF_BUDGET_AUTO: u64 = 18446744073709551615;

/// A request that finds no memory is refused.
pub const GPUBUF_OVER_BUDGET_FAIL: u32 = 0;
/// It waits, up to its deadline, until blocks were given back; also where the budget has room and the driver can page-lock no more:
/// for what others give back it tries again every 10 ms. More bytes than the whole budget are refused at once.
pub const GPUBUF_OVER_BUDGET_WAIT: u32 = 1;
/// It gets pageable memory, outside the budget: the block's info says so.
pub const GPUBUF_OVER_BUDGET_PAGEABLE: u32 = 2;

/// A request was refused for want of memory.
pub const GPUBUF_PINNED_NOTICE_REFUSED: u32 = 1;
/// A request begins to wait.
pub const GPUBUF_PINNED_NOTICE_WAITS: u32 = 2;
/// Pageable memory was given for a request.
pub const GPUBUF_PINNED_NOTICE_PAGEABLE: u32 = 3;

/// The budget has no room.
pub const GPUBUF_SHORTAGE_BUDGET: u32 = 1;
/// The driver locks no more memory.
pub const GPUBUF_SHORTAGE_MEMORY: u32 = 2;

/// The block that has been free for longest.
pub const GPUBUF_STRATEGY_LEAST_RECENT: u32 = 0;
/// The block with the next number.
pub const GPUBUF_STRATEGY_ROUND_ROBIN: u32 = 1;
/// The block that has been free for longest; the last `reserved_blocks` are kept for priorities above 0.
pub const GPUBUF_STRATEGY_PRIORITY: u32 = 2;

/// The sizes that were the most frequent of the window.
pub const GPUBUF_METHOD_MOST_COMMON: u32 = 0;
/// Those that came most often after the last size, then the most common ones.
pub const GPUBUF_METHOD_MARKOV: u32 = 1;
/// Those that came most often after the last two sizes (a rare one by its power of two), then those of GPUBUF_METHOD_MARKOV.
pub const GPUBUF_METHOD_MARKOV2: u32 = 2;
/// The most common ones, until one of the others has hit more often than chance explains, and for as long as it leads.
pub const GPUBUF_METHOD_BLEND: u32 = 3;
/// The most sizes of one prediction.
pub const GPUBUF_MAX_PREDICTED: u32 = 8;

/// To be had.
pub const GPUBUF_BLOCK_FREE: u32 = 0;
/// Somebody has it, and nothing that the library knows of uses it on the device.
pub const GPUBUF_BLOCK_ACQUIRED: u32 = 1;
/// Copies, fills or declared work use it, whether somebody has it or not.
pub const GPUBUF_BLOCK_COPYING: u32 = 2;
/// A graph holds it.
pub const GPUBUF_BLOCK_HELD: u32 = 3;

/// A figure that was not measured.
pub const GPUBUF_ABSENT: u64 = 18446744073709551615;

/// Nobody holds it. Work may still use it.
pub const GPUBUF_ENTRY_FREE: u32 = 0;
/// Held, and nothing that the library knows of uses it.
pub const GPUBUF_ENTRY_ALLOCATED: u32 = 1;
/// Held, its host side is newer than its device side, and nothing that the library knows of uses it.
pub const GPUBUF_ENTRY_STAGED: u32 = 2;
/// Held, and queued or undeclared work, a guard or a graph uses it; or it is being made.
pub const GPUBUF_ENTRY_IN_USE: u32 = 3;

/// What memory is high: the device's, of all processes.
pub const GPUBUF_PRESSURE_DEVICE: u32 = 1;
/// What memory is high: the host's, by the control group or the machine.
pub const GPUBUF_PRESSURE_HOST: u32 = 2;
/// What memory is high: the budget of a manager of page-locked memory.
pub const GPUBUF_PRESSURE_PINNED: u32 = 3;
/// What memory is high: the budget of a tier.
pub const GPUBUF_PRESSURE_TIER: u32 = 4;

/// The most dimensions of a shape.
pub const GPUBUF_MAX_RANK: u32 = 8;

/// For whoever looks for a fault.
pub const GPUBUF_LOG_DEBUG: i32 = 0;
/// Good to know.
pub const GPUBUF_LOG_INFO: i32 = 1;
/// Something was lost, late, or done twice.
pub const GPUBUF_LOG_WARN: i32 = 2;
/// The library or the device failed.
pub const GPUBUF_LOG_ERROR: i32 = 3;

/// A device: memory, streams and events come from it.
pub struct gpubuf_device {
    _private: [u8; 0],
}
/// A stream: work queued on it runs in order, behind the caller's back.
pub struct gpubuf_stream {
    _private: [u8; 0],
}
/// A mark in a stream.
pub struct gpubuf_event {
    _private: [u8; 0],
}
/// A host side and a device side of one shape.
pub struct gpubuf_buffer {
    _private: [u8; 0],
}
/// Equal blocks of page-locked memory.
pub struct gpubuf_pool {
    _private: [u8; 0],
}
/// The right to use one block of a pool, from acquire to release.
pub struct gpubuf_block {
    _private: [u8; 0],
}

/// A manager of page-locked memory: blocks of any size under one budget.
pub struct gpubuf_pinned {
    _private: [u8; 0],
}
/// Bytes of a manager's budget that are held for blocks to come.
pub struct gpubuf_reservation {
    _private: [u8; 0],
}

/// A set of input slots: what a step of an inference loop sends to the device.
pub struct gpubuf_slots {
    _private: [u8; 0],
}
/// One step, from begin to abort, retire or destroy.
pub struct gpubuf_step {
    _private: [u8; 0],
}
/// Every block whose addresses one executable graph has baked in.
pub struct gpubuf_graph_hold {
    _private: [u8; 0],
}
/// Host memory that is always writable, and copies of it for the device.
pub struct gpubuf_tensor {
    _private: [u8; 0],
}
/// Buffers by name, and by spec.
pub struct gpubuf_workspace {
    _private: [u8; 0],
}

/// Writes of rows of a table, collected and applied together.
pub struct gpubuf_staged_rows {
    _private: [u8; 0],
}
/// Memory of several kinds, each with a budget.
pub struct gpubuf_tiers {
    _private: [u8; 0],
}
/// A block that moves between tiers.
pub struct gpubuf_tiered_block {
    _private: [u8; 0],
}

/// Watches how full memory is.
pub struct gpubuf_pressure {
    _private: [u8; 0],
}

/// Predicts the size of the next step.
pub struct gpubuf_predictor {
    _private: [u8; 0],
}

/// Takes the library's messages (GPUBUF_LOG_DEBUG to GPUBUF_LOG_ERROR): called on any thread, on several at a time, under no
/// lock of the library. It may call the library, and must not throw. `message` is valid during the call.
pub type gpubuf_log_fn = Option<unsafe extern "C" fn(level: i32, message: *const c_char, user_data: *mut c_void)>;

/// Told once when nothing uses borrowed memory any more: called on any thread, under no lock of the library. It may call the
/// library, and must not throw.
pub type gpubuf_release_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Asks the holder of a pool's block to give it back, if it can do without: `waiter_priority` is above `holder_priority`. Called
/// inside gpubuf_pool_acquire, on the thread that has to wait, under no lock of the library, once for each wait and each holding
/// of a block. It may release blocks, and must not throw or wait.
pub type gpubuf_give_back_fn =
    Option<unsafe extern "C" fn(block_index: u32, holder_priority: i32, waiter_priority: i32, user_data: *mut c_void)>;

/// Has memory for a step of `size` bytes ready, and free. Called inside gpubuf_predictor_prewarm, under no lock of the library. It
/// may call the library, and must not throw. Returns the bytes that it made; 0: they were there, or cannot be had.
pub type gpubuf_warm_fn = Option<unsafe extern "C" fn(size: u64, user_data: *mut c_void) -> u64>;

/// Told of a request that found no memory: GPUBUF_PINNED_NOTICE_, its bytes and its owner (never NULL, valid during the call).
/// Called on the thread that makes the request, under no lock of the library. It may call the library, and must not throw; requests
/// that it makes of its own manager are counted, and it is not told of them.
pub type gpubuf_pinned_notify_fn =
    Option<unsafe extern "C" fn(notice: u32, bytes: u64, owner: *const c_char, user_data: *mut c_void)>;

/// Asked for a cure where `bytes` cannot be had: GPUBUF_SHORTAGE_, and how often it was asked for this request, from 1. It may
/// give blocks back, trim, raise the budget, and answers 1 to have it tried again, 0 to have the request's policy followed.
/// Called on the thread that makes the request, under no lock of the library. It must not throw.
pub type gpubuf_out_of_memory_fn =
    Option<unsafe extern "C" fn(shortage: u32, bytes: u64, attempt: u32, user_data: *mut c_void) -> u32>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendKind;
    use crate::config::log::Level;
    use crate::config::{self, Placement};
    use crate::dtype::{Dtype, MAX_RANK};
    use crate::error::Status;
    use crate::predictor::{MOST_PREDICTED, Method};

    /// Looks a constant up in this file's text.
    fn constant(name: &str) -> u64 {
        let text = include_str!("types.rs");
        let start = text.find(&format!("pub const {name}: ")).unwrap_or_else(|| panic!("{name} is missing"));
        let value = text[start..].split(['=', ';']).nth(1).unwrap_or_default();
        value.trim().parse().unwrap_or_else(|_| panic!("{name} is {value}"))
    }

    #[test]
    fn the_numbers_are_those_of_the_layers_below() {
        for status in Status::ALL {
            assert_eq!(constant(status.name().to_str().unwrap_or_default()), *status as u64);
        }
        for dtype in Dtype::ALL {
            assert_eq!(constant(&format!("GPUBUF_DTYPE_{}", dtype.name().to_uppercase())), dtype as u64);
        }
        for code in 0..6 {
            let placement = Placement::from_code(code, "placement").unwrap_or(Placement::None);
            assert_eq!(constant(&format!("GPUBUF_PLACEMENT_{}", placement.name().to_uppercase())), code as u64);
        }
        assert_eq!(GPUBUF_TIMEOUT_TRY, config::TIMEOUT_TRY);
        assert_eq!(GPUBUF_TIMEOUT_DEFAULT, config::TIMEOUT_DEFAULT);
        assert_eq!(GPUBUF_TIMEOUT_INFINITE, config::TIMEOUT_INFINITE);
        assert_eq!(GPUBUF_ALL, config::ALL);
        assert_eq!(GPUBUF_MAX_RANK as usize, MAX_RANK);
        assert_eq!(GPUBUF_BUDGET_AUTO, crate::pinned::BUDGET_AUTO);
        let over = [GPUBUF_OVER_BUDGET_FAIL, GPUBUF_OVER_BUDGET_WAIT, GPUBUF_OVER_BUDGET_PAGEABLE];
        assert_eq!(over.map(|code| crate::pinned::Over::from_code(code).map(|over| over as u32).unwrap_or(9)), over);
        use crate::pinned::{Shortage, Told};
        let notices = [GPUBUF_PINNED_NOTICE_REFUSED, GPUBUF_PINNED_NOTICE_WAITS, GPUBUF_PINNED_NOTICE_PAGEABLE];
        assert_eq!([Told::Refused as u32, Told::Waits as u32, Told::Pageable as u32], notices);
        assert_eq!(
            [Shortage::Budget as u32, Shortage::Memory as u32],
            [GPUBUF_SHORTAGE_BUDGET, GPUBUF_SHORTAGE_MEMORY]
        );
        assert_eq!([GPUBUF_TWIN_NEVER, GPUBUF_TWIN_AT_ONCE, GPUBUF_TWIN_ON_NEED], [0, 1, 2]);
        for method in [Method::MostCommon, Method::Markov, Method::Markov2, Method::Blend] {
            assert_eq!(constant(&format!("GPUBUF_METHOD_{}", method.name().to_uppercase())), method as u64);
        }
        assert_eq!(GPUBUF_MAX_PREDICTED as usize, MOST_PREDICTED);
        assert_eq!(GPUBUF_BACKEND_CUDA, BackendKind::Cuda as u32);
        assert_eq!(GPUBUF_BACKEND_HOST, BackendKind::Host as u32);
        let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error].map(|level| level as i32);
        assert_eq!(levels, [GPUBUF_LOG_DEBUG, GPUBUF_LOG_INFO, GPUBUF_LOG_WARN, GPUBUF_LOG_ERROR]);
    }
}
