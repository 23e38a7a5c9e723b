//! The driver's codes (CUDA driver API reference, "Data types used by CUDA driver", `CUresult`).

use std::ffi::{CStr, c_char};

use gpubuf_engine::Fault;

use crate::entry::Out;

pub(crate) const INVALID_VALUE: i32 = 1;
pub(crate) const OUT_OF_MEMORY: i32 = 2;
pub(crate) const NOT_INITIALIZED: i32 = 3;
pub(crate) const DEINITIALIZED: i32 = 4;
pub(crate) const NO_DEVICE: i32 = 100;
pub(crate) const INVALID_DEVICE: i32 = 101;
pub(crate) const INVALID_CONTEXT: i32 = 201;
const OPERATING_SYSTEM: i32 = 304;
pub(crate) const INVALID_HANDLE: i32 = 400;
pub(crate) const NOT_FOUND: i32 = 500;
pub(crate) const NOT_READY: i32 = 600;
pub(crate) const ILLEGAL_ADDRESS: i32 = 700;
pub(crate) const CONTEXT_IS_DESTROYED: i32 = 709;
pub(crate) const HOST_MEMORY_ALREADY_REGISTERED: i32 = 712;
pub(crate) const HOST_MEMORY_NOT_REGISTERED: i32 = 713;
pub(crate) const NOT_PERMITTED: i32 = 800;
pub(crate) const NOT_SUPPORTED: i32 = 801;
pub(crate) const STREAM_CAPTURE_UNSUPPORTED: i32 = 900;
pub(crate) const STREAM_CAPTURE_IMPLICIT: i32 = 906;
pub(crate) const CAPTURED_EVENT: i32 = 907;
const TIMEOUT: i32 = 909;
pub(crate) const UNKNOWN: i32 = 999;

/// The code for a fault of the engine. `lost` is the code for a device that was lost.
pub(crate) fn of(fault: Fault, lost: i32) -> i32 {
    match fault {
        Fault::InvalidValue | Fault::InvalidAddress => INVALID_VALUE,
        Fault::OutOfDeviceMemory | Fault::OutOfHostMemory => OUT_OF_MEMORY,
        Fault::OperationFailed => UNKNOWN,
        Fault::DeviceLost => lost,
        Fault::Timeout => TIMEOUT,
        Fault::Closed => CONTEXT_IS_DESTROYED,
        Fault::NoResources => OPERATING_SYSTEM,
        Fault::CaptureUnsupported => STREAM_CAPTURE_UNSUPPORTED,
        Fault::CaptureInvalidated => 901,
        Fault::CaptureMerge => 902,
        Fault::CaptureUnmatched => 903,
        Fault::CaptureUnjoined => 904,
        Fault::CaptureIsolation => 905,
        Fault::CaptureImplicit => STREAM_CAPTURE_IMPLICIT,
        Fault::CapturedEvent => CAPTURED_EVENT,
        Fault::CaptureWrongThread => 908,
        Fault::AlreadyRegistered => HOST_MEMORY_ALREADY_REGISTERED,
        Fault::NotRegistered => HOST_MEMORY_NOT_REGISTERED,
    }
}

/// Code, name, and a description in our own words.
const NAMES: &[(i32, &CStr, &CStr)] = &[
    (0, c"CUDA_SUCCESS", c"no error"),
    (1, c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
    (2, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
    (3, c"CUDA_ERROR_NOT_INITIALIZED", c"driver not initialized"),
    (4, c"CUDA_ERROR_DEINITIALIZED", c"driver is shutting down"),
    (34, c"CUDA_ERROR_STUB_LIBRARY", c"the library is a stub"),
    (46, c"CUDA_ERROR_DEVICE_UNAVAILABLE", c"device is in use or unavailable"),
    (100, c"CUDA_ERROR_NO_DEVICE", c"no device found"),
    (101, c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
    (200, c"CUDA_ERROR_INVALID_IMAGE", c"invalid kernel image"),
    (201, c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
    (214, c"CUDA_ERROR_ECC_UNCORRECTABLE", c"uncorrectable memory error"),
    (222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", c"the PTX is newer than the driver"),
    (304, c"CUDA_ERROR_OPERATING_SYSTEM", c"a call of the operating system failed"),
    (400, c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
    (401, c"CUDA_ERROR_ILLEGAL_STATE", c"resource not in the right state"),
    (500, c"CUDA_ERROR_NOT_FOUND", c"name not found"),
    (600, c"CUDA_ERROR_NOT_READY", c"not ready"),
    (700, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"illegal memory access"),
    (702, c"CUDA_ERROR_LAUNCH_TIMEOUT", c"execution took too long"),
    (708, c"CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", c"the primary context is active"),
    (709, c"CUDA_ERROR_CONTEXT_IS_DESTROYED", c"the context is destroyed"),
    (710, c"CUDA_ERROR_ASSERT", c"assertion on the device"),
    (712, c"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", c"memory is page-locked already"),
    (713, c"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", c"memory is not registered"),
    (716, c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"),
    (717, c"CUDA_ERROR_INVALID_ADDRESS_SPACE", c"address of the wrong kind"),
    (718, c"CUDA_ERROR_INVALID_PC", c"invalid program counter"),
    (719, c"CUDA_ERROR_LAUNCH_FAILED", c"execution failed"),
    (800, c"CUDA_ERROR_NOT_PERMITTED", c"not permitted"),
    (801, c"CUDA_ERROR_NOT_SUPPORTED", c"not supported"),
    (802, c"CUDA_ERROR_SYSTEM_NOT_READY", c"system not ready"),
    (803, c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", c"driver parts do not match"),
    (900, c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", c"not permitted while a stream captures"),
    (901, c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", c"the capture was invalidated before"),
    (902, c"CUDA_ERROR_STREAM_CAPTURE_MERGE", c"would merge two captures"),
    (903, c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", c"the capture began on another stream"),
    (904, c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", c"captured work was not joined"),
    (905, c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION", c"would depend on uncaptured work"),
    (906, c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", c"would depend on the legacy stream"),
    (907, c"CUDA_ERROR_CAPTURED_EVENT", c"the event is part of a capture"),
    (908, c"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", c"the capture began on another thread"),
    (909, c"CUDA_ERROR_TIMEOUT", c"timed out"),
    (999, c"CUDA_ERROR_UNKNOWN", c"unknown error"),
];

/// Writes the name or description of a code; a code that is not known gives null and `INVALID_VALUE` (driver API,
/// "Error Handling").
fn text(
    code: i32,
    out: Out<*const c_char>,
    pick: impl Fn(&(i32, &'static CStr, &'static CStr)) -> &'static CStr,
) -> Result<(), i32> {
    match NAMES.iter().find(|(known, ..)| *known == code) {
        Some(row) => out.set(pick(row).as_ptr()),
        None => {
            out.set(std::ptr::null())?;
            Err(INVALID_VALUE)
        }
    }
}

entry! {
    always fn cuGetErrorName(error: i32, name: Out<*const c_char>) |_caller| { text(error, name, |row| row.1) }
}

entry! {
    always fn cuGetErrorString(error: i32, description: Out<*const c_char>) |_caller| {
        text(error, description, |row| row.2)
    }
}
