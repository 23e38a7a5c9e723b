//! The driver's entry points: found by us, called through this table alone.
//!
//! Types, constants and signatures are those of `cudarc::driver::sys`, and a test compares each entry with them. **No function
//! of cudarc is ever called**: there a missing library or symbol is a panic, and its result is a closed enum, so that a code
//! which a newer driver adds would be undefined behaviour. Here results are plain `i32`, and a missing symbol is a refusal that
//! names it. What is required exists in every driver since CUDA 12.0; what is newer, or a thing to do without, is optional.

use super::codes::{self, Code};
use crate::backend::exit;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::OnceLock;
use cudarc::driver::sys::{
    CUDA_MEMCPY2D, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUhostFn,
    CUmemAccessDesc, CUmemPoolProps, CUmemoryPool, CUmodule, CUstream, CUuuid, cuuint32_t,
};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};

/// The oldest driver that has everything: CUDA 12.0.
pub const OLDEST: c_int = 12_000;

macro_rules! table {
    (
        required { $($r:ident($($ra:ident: $rt:ty),*);)+ }
        optional { $($o:ident($($oa:ident: $ot:ty),*);)+ }
        simulation { $($s:ident($($sa:ident: $st:ty),*) -> $sr:ty;)+ }
    ) => {
        /// The driver's functions, under their own names.
        #[allow(non_snake_case)]
        pub struct Table {
            $(pub $r: unsafe extern "C" fn($($rt),*) -> Code,)+
            $(pub $o: Option<unsafe extern "C" fn($($ot),*) -> Code>,)+
            /// The controls of the stand-in, if this is it.
            pub simulation: Option<Simulation>,
        }

        /// The controls of the stand-in driver.
        pub struct Simulation {
            $(pub $s: unsafe extern "C" fn($($st),*) -> $sr,)+
        }

        impl Table {
            /// Finds every entry. `Err`: the required ones that are missing.
            #[allow(non_snake_case)]
            fn find(library: &Library) -> std::result::Result<Table, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    let $r = library.symbol(stringify!($r));
                    if $r.is_null() { missing.push(stringify!($r)); }
                )+
                if !missing.is_empty() {
                    return Err(missing);
                }
                Ok(Table {
                    // SAFETY: the symbol is the driver's function of that name, whose signature a name keeps for ever; a test
                    // compares ours with the bindings.
                    $($r: unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($rt),*) -> Code>($r) },)+
                    $($o: match library.symbol(stringify!($o)) {
                        at if at.is_null() => None,
                        // SAFETY: as above.
                        at => Some(unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($ot),*) -> Code>(at)
                        }),
                    },)+
                    simulation: Simulation::find(library),
                })
            }
        }

        impl Simulation {
            fn find(library: &Library) -> Option<Simulation> {
                $(
                    let $s = library.symbol(stringify!($s));
                    if $s.is_null() { return None; }
                )+
                Some(Simulation {
                    // SAFETY: as for the driver's own; the stand-in declares the same.
                    $($s: unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($st),*) -> $sr>($s) },)+
                })
            }
        }

        #[cfg(test)]
        mod signatures {
            use super::*;
            use crate::backend::cuda::driver::tests::{Shape, shapes_are_equal};
            use cudarc::driver::sys;

            #[test]
            fn every_entry_has_the_shape_of_the_bindings() {
                $(shapes_are_equal(
                    stringify!($r),
                    <unsafe extern "C" fn($($rt),*) -> Code as Shape>::shape(),
                    Shape::of(sys::$r as unsafe fn($(table!(@any $ra)),*) -> sys::CUresult),
                );)+
                $(shapes_are_equal(
                    stringify!($o),
                    <unsafe extern "C" fn($($ot),*) -> Code as Shape>::shape(),
                    Shape::of(sys::$o as unsafe fn($(table!(@any $oa)),*) -> sys::CUresult),
                );)+
            }
        }
    };
    (@any $name:ident) => { _ };
}

table! {
    required {
        cuInit(flags: c_uint);
        cuDriverGetVersion(version: *mut c_int);
        cuGetErrorName(code: c_int, text: *mut *const c_char);
        cuGetErrorString(code: c_int, text: *mut *const c_char);
        cuDeviceGetCount(count: *mut c_int);
        cuDeviceGet(device: *mut CUdevice, ordinal: c_int);
        cuDeviceGetName(name: *mut c_char, length: c_int, device: CUdevice);
        cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: CUdevice);
        cuDeviceGetPCIBusId(id: *mut c_char, length: c_int, device: CUdevice);
        cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice);
        cuDevicePrimaryCtxRelease_v2(device: CUdevice);
        cuCtxGetCurrent(context: *mut CUcontext);
        cuCtxPushCurrent_v2(context: CUcontext);
        cuCtxPopCurrent_v2(context: *mut CUcontext);
        cuCtxGetDevice(device: *mut CUdevice);
        cuCtxSynchronize();
        cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize);
        cuMemFree_v2(address: CUdeviceptr);
        cuMemHostAlloc(host: *mut *mut c_void, bytes: usize, flags: c_uint);
        cuMemFreeHost(host: *mut c_void);
        cuMemHostRegister_v2(host: *mut c_void, bytes: usize, flags: c_uint);
        cuMemHostUnregister(host: *mut c_void);
        cuMemHostGetDevicePointer_v2(address: *mut CUdeviceptr, host: *mut c_void, flags: c_uint);
        cuMemHostGetFlags(flags: *mut c_uint, host: *mut c_void);
        cuMemcpyAsync(target: CUdeviceptr, source: CUdeviceptr, bytes: usize, stream: CUstream);
        cuMemcpy2DAsync_v2(copy: *const CUDA_MEMCPY2D, stream: CUstream);
        cuMemsetD8Async(target: CUdeviceptr, value: u8, count: usize, stream: CUstream);
        cuMemsetD16Async(target: CUdeviceptr, value: u16, count: usize, stream: CUstream);
        cuMemsetD32Async(target: CUdeviceptr, value: c_uint, count: usize, stream: CUstream);
        cuMemsetD2D32Async(target: CUdeviceptr, pitch: usize, value: c_uint, width: usize, height: usize, stream: CUstream);
        cuStreamCreate(stream: *mut CUstream, flags: c_uint);
        cuStreamDestroy_v2(stream: CUstream);
        cuStreamQuery(stream: CUstream);
        cuStreamSynchronize(stream: CUstream);
        cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint);
        cuStreamGetCtx(stream: CUstream, context: *mut CUcontext);
        cuStreamGetId(stream: CUstream, id: *mut c_ulonglong);
        cuStreamIsCapturing(stream: CUstream, status: *mut c_int);
        cuThreadExchangeStreamCaptureMode(mode: *mut c_int);
        cuEventCreate(event: *mut CUevent, flags: c_uint);
        cuEventDestroy_v2(event: CUevent);
        cuEventRecord(event: CUevent, stream: CUstream);
        cuEventQuery(event: CUevent);
        cuEventSynchronize(event: CUevent);
        cuGraphLaunch(graph: CUgraphExec, stream: CUstream);
    }
    optional {
        cuDeviceGetUuid_v2(uuid: *mut CUuuid, device: CUdevice);
        cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice);
        cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
        cuMemPoolCreate(pool: *mut CUmemoryPool, properties: *const CUmemPoolProps);
        cuMemPoolDestroy(pool: CUmemoryPool);
        cuMemPoolSetAccess(pool: CUmemoryPool, access: *const CUmemAccessDesc, count: usize);
        cuMemAllocFromPoolAsync(address: *mut CUdeviceptr, bytes: usize, pool: CUmemoryPool, stream: CUstream);
        cuMemAllocAsync(address: *mut CUdeviceptr, bytes: usize, stream: CUstream);
        cuMemFreeAsync(address: CUdeviceptr, stream: CUstream);
        cuMemAllocManaged(address: *mut CUdeviceptr, bytes: usize, flags: c_uint);
        cuMemcpyDtoHAsync_v2(target: *mut c_void, source: CUdeviceptr, bytes: usize, stream: CUstream);
        cuMemcpyHtoDAsync_v2(target: CUdeviceptr, source: *const c_void, bytes: usize, stream: CUstream);
        cuEventElapsedTime(milliseconds: *mut f32, from: CUevent, to: CUevent);
        cuStreamWaitValue32_v2(stream: CUstream, address: CUdeviceptr, value: cuuint32_t, flags: c_uint);
        cuLaunchHostFunc(stream: CUstream, function: CUhostFn, data: *mut c_void);
        cuStreamBeginCapture_v2(stream: CUstream, mode: c_int);
        cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph);
        cuGraphInstantiateWithFlags(executable: *mut CUgraphExec, graph: CUgraph, flags: c_ulonglong);
        cuGraphExecDestroy(executable: CUgraphExec);
        cuGraphDestroy(graph: CUgraph);
        cuModuleLoadDataEx(module: *mut CUmodule, image: *const c_void, count: c_uint, options: *mut c_uint, values: *mut *mut c_void);
        cuModuleUnload(module: CUmodule);
        cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char);
        cuLaunchKernel(
            function: CUfunction, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint,
            block_z: c_uint, shared_bytes: c_uint, stream: CUstream, parameters: *mut *mut c_void, extra: *mut *mut c_void
        );
    }
    simulation {
        gpubuf_standin_time_inside_ns() -> u64;
        gpubuf_standin_fail_operation(ordinal: c_int, kind: u32, nth: u64, when: u32, code: Code) -> c_int;
        gpubuf_standin_lose_device(ordinal: c_int, code: Code) -> c_int;
        gpubuf_standin_live(ordinal: c_int, kind: u32) -> u64;
        gpubuf_standin_limit_memory(ordinal: c_int, kind: u32, bytes: u64) -> c_int;
        gpubuf_standin_set_link(ordinal: c_int, latency_ns: u64, bytes_per_second: u64) -> c_int;
        gpubuf_standin_set_delay(ordinal: c_int, fixed_ns: u64, seed: u64, max_ns: u64) -> c_int;
        gpubuf_standin_set_pageable_late(ordinal: c_int, late: c_int) -> c_int;
        gpubuf_standin_set_uva_stale(ordinal: c_int, stale: c_int) -> c_int;
    }
}

/// A library that stays loaded for the life of the process: the driver cannot be unloaded while its threads run.
struct Library {
    handle: *mut c_void,
}

impl Library {
    fn open(path: &CStr) -> std::result::Result<Library, String> {
        // SAFETY: loading the driver runs its initialisers, which every program that uses it accepts.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: the message is a C string that is valid until this thread's next call.
            let text = unsafe { libc::dlerror() };
            // SAFETY: not null, by the check.
            let text = if text.is_null() { c"no reason given" } else { unsafe { CStr::from_ptr(text) } };
            return Err(text.to_string_lossy().into_owned());
        }
        Ok(Library { handle })
    }

    fn symbol(&self, name: &str) -> *mut c_void {
        let Ok(name) = CString::new(name) else { return std::ptr::null_mut() };
        // SAFETY: the handle is that of a loaded library, and the name a C string.
        unsafe { libc::dlsym(self.handle, name.as_ptr()) }
    }
}

/// The driver, loaded and initialised.
pub struct Driver {
    table: Table,
    /// Its file, as it was asked for.
    path: String,
    /// As `cuDriverGetVersion` says: 12040 is CUDA 12.4.
    version: c_int,
}

impl std::ops::Deref for Driver {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

static DRIVER: OnceLock<std::result::Result<Driver, (Status, String)>> = OnceLock::new();

/// The process's driver, if it was loaded before.
pub fn loaded() -> Option<&'static Driver> {
    DRIVER.get().and_then(|loaded| loaded.as_ref().ok())
}

/// The process's driver. It is looked for once; a refusal stays.
pub fn driver() -> Result<&'static Driver> {
    match DRIVER.get_or_init(|| Driver::load().map_err(|error| (error.status(), error.message().to_string()))) {
        Ok(driver) => Ok(driver),
        Err((status, message)) => Err(Error::new(*status, message.as_str())),
    }
}

impl Driver {
    fn load() -> Result<Driver> {
        let chosen = std::env::var("GPUBUF_CUDA_DRIVER").ok().filter(|path| !path.is_empty());
        // The versioned name first: the bare one may be the stub that the toolkit is linked with.
        let paths = match &chosen {
            Some(path) => vec![path.as_str()],
            None => vec!["libcuda.so.1", "libcuda.so"],
        };
        let mut reasons = Vec::new();
        for path in paths {
            let Ok(name) = CString::new(path) else { continue };
            match Library::open(&name) {
                Ok(library) => return Driver::start(&library, path),
                Err(reason) => reasons.push(reason),
            }
        }
        let asked = if chosen.is_some() { " (GPUBUF_CUDA_DRIVER)" } else { "" };
        fail!(
            DriverMissing,
            "no CUDA driver{asked}: {}; install the NVIDIA driver, or set GPUBUF_CUDA_DRIVER to its libcuda.so.1",
            reasons.join("; ")
        )
    }

    fn start(library: &Library, path: &str) -> Result<Driver> {
        let table = Table::find(library).map_err(|missing| {
            let text = match missing.contains(&"cuInit") {
                true => format!("{path} is not a CUDA driver: it has no cuInit"),
                false => format!(
                    "{path} lacks {}, which every driver since CUDA 12.0 has: update the driver",
                    missing.join(", ")
                ),
            };
            Error::new(Status::DriverMissing, text)
        })?;
        let mut version = 0;
        // SAFETY: may be called before cuInit; the pointer is that of a local.
        let code = unsafe { (table.cuDriverGetVersion)(&mut version) };
        if code == 0 && version < OLDEST {
            return fail!(
                VersionMismatch,
                "{path} is a driver for CUDA {}: 12.0 is the oldest that works; update the driver",
                version_text(version)
            );
        }
        let driver = Driver { table, path: path.to_string(), version };
        // SAFETY: no flags are defined; it may be called any number of times.
        let code = unsafe { (driver.table.cuInit)(0) };
        match code {
            0 => {
                exit::watch();
                Ok(driver)
            }
            codes::NO_DEVICE => fail!(DriverMissing, "{path}: the driver sees no GPU ({})", driver.explain(code)),
            codes::STUB_LIBRARY => fail!(
                DriverMissing,
                "{path} is the stub that the CUDA toolkit links with, not a driver: set GPUBUF_CUDA_DRIVER to the driver's libcuda.so.1"
            ),
            code => fail!(DriverMissing, "{path}: cuInit failed with {}", driver.explain(code)),
        }
    }

    /// Its version: 12040 is CUDA 12.4.
    pub fn version(&self) -> c_int {
        self.version
    }

    /// Whether it is the stand-in, which simulates a device.
    pub fn is_simulation(&self) -> bool {
        self.table.simulation.is_some()
    }

    /// One line on what was loaded.
    pub fn describe(&self) -> String {
        let what = if self.is_simulation() { "a simulation, no hardware" } else { "the NVIDIA driver" };
        format!("{} for CUDA {} ({what})", self.path, version_text(self.version))
    }

    /// A result code in words.
    pub fn explain(&self, code: Code) -> String {
        let text = |function: unsafe extern "C" fn(c_int, *mut *const c_char) -> Code| {
            let mut text = std::ptr::null();
            // SAFETY: the pointer is that of a local; for a code it does not know the driver leaves or sets it null.
            let known = unsafe { function(code, &mut text) } == 0 && !text.is_null();
            // SAFETY: a static string of the driver's.
            known.then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        match (text(self.table.cuGetErrorName), text(self.table.cuGetErrorString)) {
            (Some(name), Some(words)) => format!("{name} ({code}): {words}"),
            (Some(name), None) => format!("{name} ({code})"),
            _ => format!("CUDA error {code}, which this driver has no name for"),
        }
    }

    /// An error for a code other than 0, where there is no context that it could end.
    #[cold]
    pub fn error(&self, code: Code, doing: impl std::fmt::Display) -> Error {
        Error::new(codes::status(code), format!("{doing}: {}", self.explain(code)))
    }

    /// How many devices it has.
    pub fn device_count(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: initialised; the pointer is that of a local.
        match unsafe { (self.table.cuDeviceGetCount)(&mut count) } {
            0 => Ok(count.max(0) as u32),
            code => fail!(DriverError, "counting devices: {}", self.explain(code)),
        }
    }
}

/// 12040 as 12.4.
pub fn version_text(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::Code;

    /// Size and alignment of the result and of each parameter.
    pub trait Shape: Copy {
        fn shape() -> Vec<(usize, usize)>;
        fn of(_: Self) -> Vec<(usize, usize)> {
            Self::shape()
        }
    }

    macro_rules! shapes {
        ($($name:ident)*) => {
            impl<$($name),*> Shape for unsafe extern "C" fn($($name),*) -> Code {
                fn shape() -> Vec<(usize, usize)> {
                    vec![(size_of::<Code>(), align_of::<Code>()), $((size_of::<$name>(), align_of::<$name>())),*]
                }
            }
            impl<$($name),*> Shape for unsafe fn($($name),*) -> cudarc::driver::sys::CUresult {
                fn shape() -> Vec<(usize, usize)> {
                    use cudarc::driver::sys::CUresult;
                    vec![(size_of::<CUresult>(), align_of::<CUresult>()), $((size_of::<$name>(), align_of::<$name>())),*]
                }
            }
        };
    }
    shapes!();
    shapes!(A);
    shapes!(A B);
    shapes!(A B C);
    shapes!(A B C D);
    shapes!(A B C D E);
    shapes!(A B C D E F);
    shapes!(A B C D E F G H I J K);

    pub fn shapes_are_equal(name: &str, ours: Vec<(usize, usize)>, theirs: Vec<(usize, usize)>) {
        assert_eq!(ours, theirs, "{name} differs from the bindings");
    }

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!(super::version_text(12_040), "12.4");
        assert_eq!(super::version_text(13_010), "13.1");
    }
}
