//! The driver's result codes that mean something to the library. Any other number is legal: drivers grow new ones.

use crate::error::Status;
use cudarc::driver::sys::CUresult;
use std::ffi::c_int;

/// A `CUresult`, as a number.
pub type Code = c_int;

/// No memory.
pub const OUT_OF_MEMORY: Code = CUresult::CUDA_ERROR_OUT_OF_MEMORY as Code;
/// The driver is shutting down: the process exits.
pub const DEINITIALIZED: Code = CUresult::CUDA_ERROR_DEINITIALIZED as Code;
/// The toolkit's stub was loaded.
pub const STUB_LIBRARY: Code = CUresult::CUDA_ERROR_STUB_LIBRARY as Code;
/// No GPU.
pub const NO_DEVICE: Code = CUresult::CUDA_ERROR_NO_DEVICE as Code;
/// No such GPU.
pub const INVALID_DEVICE: Code = CUresult::CUDA_ERROR_INVALID_DEVICE as Code;
/// No such context, or not any more.
pub const INVALID_CONTEXT: Code = CUresult::CUDA_ERROR_INVALID_CONTEXT as Code;
/// Work is not done.
pub const NOT_READY: Code = CUresult::CUDA_ERROR_NOT_READY as Code;
/// The memory is registered by somebody else.
pub const HOST_MEMORY_ALREADY_REGISTERED: Code = CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED as Code;
/// Not on this system.
pub const NOT_SUPPORTED: Code = CUresult::CUDA_ERROR_NOT_SUPPORTED as Code;
/// A launch that failed: what a simulated loss is called.
pub const LAUNCH_FAILED: Code = CUresult::CUDA_ERROR_LAUNCH_FAILED as Code;
/// Not from a function that runs on a stream.
pub const NOT_PERMITTED: Code = CUresult::CUDA_ERROR_NOT_PERMITTED as Code;
/// A code that says nothing.
pub const UNKNOWN: Code = CUresult::CUDA_ERROR_UNKNOWN as Code;
/// First and last of those about stream capture.
pub const CAPTURE: std::ops::RangeInclusive<Code> =
    CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED as Code..=CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD as Code;

/// Codes after which the driver reference says that "the process must be terminated and relaunched", or that the context is
/// of no use: whatever was in flight is lost. Those without a name here are newer than the bindings.
const STICKY: &[Code] = &[
    CUresult::CUDA_ERROR_ECC_UNCORRECTABLE as Code,
    CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE as Code,
    226, // CUDA_ERROR_CONTAINED
    CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as Code,
    CUresult::CUDA_ERROR_LAUNCH_TIMEOUT as Code,
    CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED as Code,
    CUresult::CUDA_ERROR_ASSERT as Code,
    CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR as Code,
    CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION as Code,
    CUresult::CUDA_ERROR_MISALIGNED_ADDRESS as Code,
    CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE as Code,
    CUresult::CUDA_ERROR_INVALID_PC as Code,
    LAUNCH_FAILED,
    721, // CUDA_ERROR_TENSOR_MEMORY_LEAK
    CUresult::CUDA_ERROR_MPS_CLIENT_TERMINATED as Code,
    CUresult::CUDA_ERROR_EXTERNAL_DEVICE as Code,
];

/// Whether the context is lost with this code.
pub fn is_sticky(code: Code) -> bool {
    STICKY.contains(&code)
}

/// What a refused call is, where its caller knows no better.
pub fn status(code: Code) -> Status {
    match code {
        code if is_sticky(code) => Status::DeviceLost,
        code if CAPTURE.contains(&code) => Status::Capturing,
        OUT_OF_MEMORY => Status::OutOfDeviceMemory,
        DEINITIALIZED => Status::ShutDown,
        NOT_SUPPORTED => Status::Unsupported,
        NOT_PERMITTED => Status::WouldDeadlock,
        NOT_READY => Status::Busy,
        _ => Status::DriverError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_status_and_unknown_ones_too() {
        assert_eq!(status(700), Status::DeviceLost);
        assert_eq!(status(900), Status::Capturing);
        assert_eq!(status(908), Status::Capturing);
        assert_eq!(status(1), Status::DriverError);
        assert_eq!(status(987_654), Status::DriverError);
        assert!(STICKY.is_sorted());
    }
}
