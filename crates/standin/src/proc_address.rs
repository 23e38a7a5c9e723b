//! Which function a name and a version mean (driver API, "Driver Entry Point Access"), and all names there are.

use std::ffi::c_char;
use std::sync::atomic::Ordering;

use crate::code;
use crate::driver::driver;
use crate::entry::{In, Out};
use crate::{
    batch, capture, context_calls, copy, copy2d, device_calls, driver, event, fill, graph, memory_calls, module,
    pointer, pools, stream_calls, value,
};

/// A function as it is from some version of the interface on.
struct Row {
    base: &'static str,
    since: i32,
    /// The exported name and the function; none if this form is not simulated, so that no caller gets a function of
    /// another signature than the one it asked for.
    form: Option<(&'static str, *const ())>,
}

// SAFETY: the pointers are functions' addresses.
unsafe impl Sync for Row {}

const fn absent(base: &'static str, since: i32) -> Row {
    Row { base, since, form: None }
}

macro_rules! row {
    ($base:literal, $since:literal, $module:ident::$name:ident) => {
        Row { base: $base, since: $since, form: Some((stringify!($name), $module::$name as *const ())) }
    };
}

/// For each name from the oldest form to the newest.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    row!("cuInit", 2000, driver::cuInit),
    row!("cuDriverGetVersion", 2020, driver::cuDriverGetVersion),
    row!("cuGetErrorName", 6000, code::cuGetErrorName),
    row!("cuGetErrorString", 6000, code::cuGetErrorString),
    absent("cuGetProcAddress", 11030),
    row!("cuGetProcAddress", 12000, self::cuGetProcAddress_v2),
    row!("cuDeviceGetCount", 2000, device_calls::cuDeviceGetCount),
    row!("cuDeviceGet", 2000, device_calls::cuDeviceGet),
    row!("cuDeviceGetName", 2000, device_calls::cuDeviceGetName),
    row!("cuDeviceGetAttribute", 2000, device_calls::cuDeviceGetAttribute),
    row!("cuDeviceGetPCIBusId", 4010, device_calls::cuDeviceGetPCIBusId),
    absent("cuDeviceTotalMem", 2000),
    row!("cuDeviceTotalMem", 3020, device_calls::cuDeviceTotalMem_v2),
    absent("cuDeviceGetUuid", 9020),
    row!("cuDeviceGetUuid", 11040, device_calls::cuDeviceGetUuid_v2),
    row!("cuDevicePrimaryCtxRetain", 7000, context_calls::cuDevicePrimaryCtxRetain),
    absent("cuDevicePrimaryCtxRelease", 7000),
    row!("cuDevicePrimaryCtxRelease", 11000, context_calls::cuDevicePrimaryCtxRelease_v2),
    row!("cuDevicePrimaryCtxGetState", 7000, context_calls::cuDevicePrimaryCtxGetState),
    row!("cuCtxGetCurrent", 4000, context_calls::cuCtxGetCurrent),
    row!("cuCtxSetCurrent", 4000, context_calls::cuCtxSetCurrent),
    absent("cuCtxPushCurrent", 2000),
    row!("cuCtxPushCurrent", 4000, context_calls::cuCtxPushCurrent_v2),
    absent("cuCtxPopCurrent", 2000),
    row!("cuCtxPopCurrent", 4000, context_calls::cuCtxPopCurrent_v2),
    row!("cuCtxGetDevice", 2000, context_calls::cuCtxGetDevice),
    row!("cuCtxGetApiVersion", 3020, context_calls::cuCtxGetApiVersion),
    row!("cuCtxSynchronize", 2000, context_calls::cuCtxSynchronize),
    absent("cuCtxCreate", 2000),
    row!("cuCtxCreate", 3020, context_calls::cuCtxCreate_v2),
    absent("cuCtxCreate", 11040),
    absent("cuCtxDestroy", 2000),
    row!("cuCtxDestroy", 4000, context_calls::cuCtxDestroy_v2),
    absent("cuMemGetInfo", 2000),
    row!("cuMemGetInfo", 3020, memory_calls::cuMemGetInfo_v2),
    absent("cuMemAlloc", 2000),
    row!("cuMemAlloc", 3020, memory_calls::cuMemAlloc_v2),
    absent("cuMemFree", 2000),
    row!("cuMemFree", 3020, memory_calls::cuMemFree_v2),
    row!("cuMemAllocAsync", 11020, memory_calls::cuMemAllocAsync),
    row!("cuMemFreeAsync", 11020, memory_calls::cuMemFreeAsync),
    row!("cuMemPoolCreate", 11020, pools::cuMemPoolCreate),
    row!("cuMemPoolDestroy", 11020, pools::cuMemPoolDestroy),
    row!("cuMemPoolSetAccess", 11020, pools::cuMemPoolSetAccess),
    row!("cuMemAllocFromPoolAsync", 11020, pools::cuMemAllocFromPoolAsync),
    row!("cuMemAllocManaged", 6000, memory_calls::cuMemAllocManaged),
    row!("cuMemHostAlloc", 2020, memory_calls::cuMemHostAlloc),
    absent("cuMemAllocHost", 2000),
    row!("cuMemAllocHost", 3020, memory_calls::cuMemAllocHost_v2),
    row!("cuMemFreeHost", 2000, memory_calls::cuMemFreeHost),
    absent("cuMemHostRegister", 4000),
    row!("cuMemHostRegister", 6050, memory_calls::cuMemHostRegister_v2),
    row!("cuMemHostUnregister", 4000, memory_calls::cuMemHostUnregister),
    absent("cuMemHostGetDevicePointer", 2020),
    row!("cuMemHostGetDevicePointer", 3020, memory_calls::cuMemHostGetDevicePointer_v2),
    row!("cuMemHostGetFlags", 2030, memory_calls::cuMemHostGetFlags),
    row!("cuPointerGetAttribute", 4000, pointer::cuPointerGetAttribute),
    row!("cuPointerGetAttributes", 7000, pointer::cuPointerGetAttributes),
    row!("cuMemcpy", 4000, copy::cuMemcpy),
    row!("cuMemcpyAsync", 4000, copy::cuMemcpyAsync),
    absent("cuMemcpyHtoD", 2000),
    row!("cuMemcpyHtoD", 3020, copy::cuMemcpyHtoD_v2),
    absent("cuMemcpyDtoH", 2000),
    row!("cuMemcpyDtoH", 3020, copy::cuMemcpyDtoH_v2),
    absent("cuMemcpyDtoD", 2000),
    row!("cuMemcpyDtoD", 3020, copy::cuMemcpyDtoD_v2),
    absent("cuMemcpyHtoDAsync", 2000),
    row!("cuMemcpyHtoDAsync", 3020, copy::cuMemcpyHtoDAsync_v2),
    absent("cuMemcpyDtoHAsync", 2000),
    row!("cuMemcpyDtoHAsync", 3020, copy::cuMemcpyDtoHAsync_v2),
    absent("cuMemcpyDtoDAsync", 3000),
    row!("cuMemcpyDtoDAsync", 3020, copy::cuMemcpyDtoDAsync_v2),
    absent("cuMemcpy2DAsync", 2000),
    row!("cuMemcpy2DAsync", 3020, copy2d::cuMemcpy2DAsync_v2),
    row!("cuMemcpyBatchAsync", 12080, batch::cuMemcpyBatchAsync),
    row!("cuMemcpyBatchAsync", 13000, batch::cuMemcpyBatchAsync_v2),
    row!("cuMemsetD8Async", 3020, fill::cuMemsetD8Async),
    row!("cuMemsetD16Async", 3020, fill::cuMemsetD16Async),
    row!("cuMemsetD32Async", 3020, fill::cuMemsetD32Async),
    row!("cuMemsetD2D32Async", 3020, fill::cuMemsetD2D32Async),
    absent("cuMemsetD8", 2000),
    row!("cuMemsetD8", 3020, fill::cuMemsetD8_v2),
    absent("cuMemsetD16", 2000),
    row!("cuMemsetD16", 3020, fill::cuMemsetD16_v2),
    absent("cuMemsetD32", 2000),
    row!("cuMemsetD32", 3020, fill::cuMemsetD32_v2),
    row!("cuStreamCreate", 2000, stream_calls::cuStreamCreate),
    row!("cuStreamCreateWithPriority", 5050, stream_calls::cuStreamCreateWithPriority),
    absent("cuStreamDestroy", 2000),
    row!("cuStreamDestroy", 4000, stream_calls::cuStreamDestroy_v2),
    row!("cuStreamQuery", 2000, stream_calls::cuStreamQuery),
    row!("cuStreamSynchronize", 2000, stream_calls::cuStreamSynchronize),
    row!("cuStreamWaitEvent", 3020, event::cuStreamWaitEvent),
    row!("cuStreamGetCtx", 9020, stream_calls::cuStreamGetCtx),
    absent("cuStreamGetCtx", 12050),
    row!("cuStreamGetId", 12000, stream_calls::cuStreamGetId),
    row!("cuStreamGetFlags", 5050, stream_calls::cuStreamGetFlags),
    row!("cuStreamGetPriority", 5050, stream_calls::cuStreamGetPriority),
    row!("cuStreamIsCapturing", 10000, capture::cuStreamIsCapturing),
    absent("cuStreamGetCaptureInfo", 10010),
    row!("cuStreamGetCaptureInfo", 11030, capture::cuStreamGetCaptureInfo_v2),
    row!("cuStreamGetCaptureInfo", 12030, capture::cuStreamGetCaptureInfo_v3),
    absent("cuStreamBeginCapture", 10000),
    row!("cuStreamBeginCapture", 10010, capture::cuStreamBeginCapture_v2),
    row!("cuStreamEndCapture", 10000, capture::cuStreamEndCapture),
    row!("cuThreadExchangeStreamCaptureMode", 10010, capture::cuThreadExchangeStreamCaptureMode),
    absent("cuStreamWaitValue32", 8000),
    row!("cuStreamWaitValue32", 11070, value::cuStreamWaitValue32_v2),
    absent("cuStreamWriteValue32", 8000),
    row!("cuStreamWriteValue32", 11070, value::cuStreamWriteValue32_v2),
    row!("cuLaunchHostFunc", 10000, stream_calls::cuLaunchHostFunc),
    row!("cuEventCreate", 2000, event::cuEventCreate),
    absent("cuEventDestroy", 2000),
    row!("cuEventDestroy", 4000, event::cuEventDestroy_v2),
    row!("cuEventRecord", 2000, event::cuEventRecord),
    row!("cuEventRecordWithFlags", 11010, event::cuEventRecordWithFlags),
    row!("cuEventQuery", 2000, event::cuEventQuery),
    row!("cuEventSynchronize", 2000, event::cuEventSynchronize),
    row!("cuEventElapsedTime", 2000, event::cuEventElapsedTime),
    row!("cuEventElapsedTime", 12080, event::cuEventElapsedTime_v2),
    absent("cuGraphInstantiate", 10000),
    row!("cuGraphInstantiate", 12000, graph::cuGraphInstantiateWithFlags),
    row!("cuGraphInstantiateWithFlags", 11040, graph::cuGraphInstantiateWithFlags),
    row!("cuGraphLaunch", 10000, graph::cuGraphLaunch),
    row!("cuGraphGetNodes", 10000, graph::cuGraphGetNodes),
    row!("cuGraphExecDestroy", 10000, graph::cuGraphExecDestroy),
    row!("cuGraphDestroy", 10000, graph::cuGraphDestroy),
    row!("cuModuleLoadData", 2000, module::cuModuleLoadData),
    row!("cuModuleLoadDataEx", 2010, module::cuModuleLoadDataEx),
    row!("cuModuleUnload", 2000, module::cuModuleUnload),
    row!("cuModuleGetFunction", 2000, module::cuModuleGetFunction),
    row!("cuLaunchKernel", 4000, module::cuLaunchKernel),
];

/// The exported function of that name, as a name that lasts.
pub(crate) fn exported(name: &str) -> Option<&'static str> {
    ROWS.iter().filter_map(|row| row.form).map(|(exported, _)| exported).find(|exported| *exported == name)
}

const SUCCESS: i32 = 0;
const NOT_FOUND: i32 = 1;
const VERSION_NOT_SUFFICIENT: i32 = 2;

/// The function for a version, and `CUdriverProcAddressQueryResult`: the newest form that neither the version asked
/// for nor the driver's own is too old for.
fn look_up(base: &str, asked: i32) -> (*const (), i32) {
    let has = driver().version.load(Ordering::Relaxed);
    let mut status = NOT_FOUND;
    let mut found = std::ptr::null();
    for row in ROWS.iter().filter(|row| row.base == base && row.since <= has) {
        if row.since > asked {
            if status == NOT_FOUND {
                status = VERSION_NOT_SUFFICIENT;
            }
            continue;
        }
        (found, status) = row.form.map_or((std::ptr::null(), NOT_FOUND), |(_, function)| (function, SUCCESS));
    }
    (found, status)
}

entry! {
    always fn cuGetProcAddress_v2(
        symbol: In<c_char>, function: Out<*const ()>, version: i32, flags: u64, status: Out<i32>,
    ) |_caller| {
        function.required()?;
        // `CU_GET_PROC_ADDRESS_LEGACY_STREAM` is the default; per-thread forms are not simulated.
        if symbol.is_null() || flags > 2 {
            return Err(code::INVALID_VALUE);
        }
        if flags == 2 {
            return Err(code::NOT_SUPPORTED);
        }
        let name = symbol.text()?;
        let (found, result) = look_up(name, version);
        // Not found is no error: the pointer is null and the status says why (driver API).
        status.offer(result);
        function.set(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_gets_the_form_it_knows() {
        let symbol = |base, version| {
            let (function, status) = look_up(base, version);
            let row = ROWS.iter().filter_map(|row| row.form).find(|(_, known)| *known == function);
            (row.map(|(name, _)| name), status)
        };
        assert_eq!(symbol("cuMemAlloc", 12040), (Some("cuMemAlloc_v2"), SUCCESS));
        assert_eq!(symbol("cuMemAlloc", 2000), (None, VERSION_NOT_SUFFICIENT));
        assert_eq!(symbol("cuStreamGetId", 11000), (None, VERSION_NOT_SUFFICIENT));
        assert_eq!(symbol("cuMemAlloc_v2", 12040), (None, NOT_FOUND));
        assert_eq!(symbol("cuStreamGetCaptureInfo", 12000), (Some("cuStreamGetCaptureInfo_v2"), SUCCESS));
        assert_eq!(symbol("cuStreamGetCaptureInfo", 12040), (Some("cuStreamGetCaptureInfo_v3"), SUCCESS));
        // Newer than the driver, which is a 12.4.
        assert_eq!(symbol("cuMemcpyBatchAsync", 13000), (None, NOT_FOUND));
    }

    #[test]
    fn forms_are_listed_by_age() {
        for pair in ROWS.windows(2).filter(|pair| pair[0].base == pair[1].base) {
            assert!(pair[0].since < pair[1].since, "{}", pair[0].base);
        }
    }
}
