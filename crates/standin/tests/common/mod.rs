//! What the tests share: the shared library, opened as its users open it, and a session with a fresh context.
#![allow(dead_code, non_snake_case, reason = "each test file uses a part; the names are the driver's")]

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub type HostFunction = extern "C" fn(*mut c_void);

/// A function of the library, as `dlsym` gives it.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        pub struct Cuda {
            $($name: usize,)*
        }

        impl Cuda {
            /// Opens the library at `path` and looks all functions up; those that it lacks are 0.
            pub fn open(path: &Path) -> Cuda {
                let library = Library::open(path);
                Cuda { $($name: library.find(stringify!($name)).unwrap_or(0),)* }
            }

            $(
                #[allow(clippy::too_many_arguments, clippy::not_unsafe_ptr_arg_deref, reason = "C's signature")]
                pub fn $name(&self, $($argument: $type),*) -> functions!(@result $($result)?) {
                    type Function = unsafe extern "C" fn($($type),*) -> functions!(@result $($result)?);
                    assert_ne!(self.$name, 0, "no {}", stringify!($name));
                    // SAFETY: the address is the function's of that name, whose signature this is.
                    let function = unsafe { std::mem::transmute::<usize, Function>(self.$name) };
                    // SAFETY: the tests hand in what the function asks for.
                    unsafe { function($($argument),*) }
                }
            )*
        }
    };
    (@result) => { i32 };
    (@result $result:ty) => { $result };
}

functions! {
    cuInit(flags: u32);
    cuDriverGetVersion(version: *mut i32);
    cuGetErrorName(code: i32, name: *mut *const i8);
    cuGetErrorString(code: i32, text: *mut *const i8);
    cuGetProcAddress_v2(name: *const i8, function: *mut usize, version: i32, flags: u64, status: *mut i32);
    cuDeviceGetCount(count: *mut i32);
    cuDeviceGet(device: *mut i32, ordinal: i32);
    cuDeviceGetName(name: *mut i8, room: i32, device: i32);
    cuDeviceGetAttribute(value: *mut i32, attribute: i32, device: i32);
    cuDeviceGetPCIBusId(id: *mut i8, room: i32, device: i32);
    cuDeviceTotalMem_v2(bytes: *mut usize, device: i32);
    cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: i32);
    cuDevicePrimaryCtxRetain(context: *mut u64, device: i32);
    cuDevicePrimaryCtxRelease_v2(device: i32);
    cuDevicePrimaryCtxGetState(device: i32, flags: *mut u32, active: *mut i32);
    cuCtxGetCurrent(context: *mut u64);
    cuCtxSetCurrent(context: u64);
    cuCtxPushCurrent_v2(context: u64);
    cuCtxPopCurrent_v2(context: *mut u64);
    cuCtxGetDevice(device: *mut i32);
    cuCtxSynchronize();
    cuCtxGetApiVersion(context: u64, version: *mut u32);
    cuCtxCreate_v2(context: *mut u64, flags: u32, device: i32);
    cuCtxDestroy_v2(context: u64);
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    cuMemAlloc_v2(address: *mut u64, bytes: usize);
    cuMemFree_v2(address: u64);
    cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64);
    cuMemFreeAsync(address: u64, stream: u64);
    cuMemAllocManaged(address: *mut u64, bytes: usize, flags: u32);
    cuMemHostAlloc(pointer: *mut u64, bytes: usize, flags: u32);
    cuMemAllocHost_v2(pointer: *mut u64, bytes: usize);
    cuMemFreeHost(pointer: u64);
    cuMemHostRegister_v2(pointer: u64, bytes: usize, flags: u32);
    cuMemHostUnregister(pointer: u64);
    cuMemHostGetDevicePointer_v2(address: *mut u64, pointer: u64, flags: u32);
    cuMemHostGetFlags(flags: *mut u32, pointer: u64);
    cuPointerGetAttribute(data: *mut c_void, attribute: i32, address: u64);
    cuPointerGetAttributes(count: u32, attributes: *const i32, data: *const *mut c_void, address: u64);
    cuMemcpy(dst: u64, src: u64, bytes: usize);
    cuMemcpyAsync(dst: u64, src: u64, bytes: usize, stream: u64);
    cuMemcpyHtoD_v2(dst: u64, src: u64, bytes: usize);
    cuMemcpyDtoH_v2(dst: u64, src: u64, bytes: usize);
    cuMemcpyDtoD_v2(dst: u64, src: u64, bytes: usize);
    cuMemcpyHtoDAsync_v2(dst: u64, src: u64, bytes: usize, stream: u64);
    cuMemcpyDtoHAsync_v2(dst: u64, src: u64, bytes: usize, stream: u64);
    cuMemcpyDtoDAsync_v2(dst: u64, src: u64, bytes: usize, stream: u64);
    cuMemcpy2DAsync_v2(copy: *const Copy2D, stream: u64);
    cuMemcpyBatchAsync(
        dsts: *const u64, srcs: *const u64, sizes: *const usize, count: usize, attributes: *const CopyAttributes,
        starts: *const usize, attribute_count: usize, failed: *mut usize, stream: u64
    );
    cuMemsetD8Async(dst: u64, value: u8, count: usize, stream: u64);
    cuMemsetD16Async(dst: u64, value: u16, count: usize, stream: u64);
    cuMemsetD32Async(dst: u64, value: u32, count: usize, stream: u64);
    cuMemsetD2D32Async(dst: u64, pitch: usize, value: u32, width: usize, height: usize, stream: u64);
    cuMemsetD8_v2(dst: u64, value: u8, count: usize);
    cuMemsetD16_v2(dst: u64, value: u16, count: usize);
    cuMemsetD32_v2(dst: u64, value: u32, count: usize);
    cuStreamCreate(stream: *mut u64, flags: u32);
    cuStreamCreateWithPriority(stream: *mut u64, flags: u32, priority: i32);
    cuStreamDestroy_v2(stream: u64);
    cuStreamQuery(stream: u64);
    cuStreamSynchronize(stream: u64);
    cuStreamWaitEvent(stream: u64, event: u64, flags: u32);
    cuStreamGetCtx(stream: u64, context: *mut u64);
    cuStreamGetId(stream: u64, id: *mut u64);
    cuStreamGetFlags(stream: u64, flags: *mut u32);
    cuStreamIsCapturing(stream: u64, status: *mut i32);
    cuStreamGetCaptureInfo_v2(
        stream: u64, status: *mut i32, id: *mut u64, graph: *mut u64, nodes: *mut u64, count: *mut usize
    );
    cuStreamBeginCapture_v2(stream: u64, mode: i32);
    cuStreamEndCapture(stream: u64, graph: *mut u64);
    cuThreadExchangeStreamCaptureMode(mode: *mut i32);
    cuStreamWaitValue32_v2(stream: u64, address: u64, value: u32, flags: u32);
    cuStreamWriteValue32_v2(stream: u64, address: u64, value: u32, flags: u32);
    cuLaunchHostFunc(stream: u64, function: Option<HostFunction>, data: *mut c_void);
    cuEventCreate(event: *mut u64, flags: u32);
    cuEventDestroy_v2(event: u64);
    cuEventRecord(event: u64, stream: u64);
    cuEventRecordWithFlags(event: u64, stream: u64, flags: u32);
    cuEventQuery(event: u64);
    cuEventSynchronize(event: u64);
    cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64);
    cuGraphInstantiateWithFlags(executable: *mut u64, graph: u64, flags: u64);
    cuGraphLaunch(executable: u64, stream: u64);
    cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize);
    cuGraphExecDestroy(executable: u64);
    cuGraphDestroy(graph: u64);
    cuModuleLoadData(module: *mut u64, image: *const c_void);
    cuModuleGetFunction(function: *mut u64, module: u64, name: *const i8);
    cuModuleUnload(module: u64);
    cuLaunchKernel(
        function: u64, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared_bytes: u32, stream: u64, parameters: *mut *mut c_void, extra: *mut *mut c_void
    );
    gpubuf_standin_version();
    gpubuf_standin_reset() -> ();
    gpubuf_standin_calls(function: *const i8) -> u64;
    gpubuf_standin_fail_call(function: *const i8, nth: u64, code: i32);
    gpubuf_standin_lose_at_call(function: *const i8, nth: u64, ordinal: i32, code: i32);
    gpubuf_standin_struck() -> u64;
    gpubuf_standin_count_thread(counts: i32);
    gpubuf_standin_live(ordinal: i32, kind: u32) -> u64;
    gpubuf_standin_fail_operation(ordinal: i32, kind: u32, nth: u64, when: u32, code: i32);
    gpubuf_standin_lose_device(ordinal: i32, code: i32);
    gpubuf_standin_limit_memory(ordinal: i32, kind: u32, bytes: u64);
    gpubuf_standin_set_link(ordinal: i32, latency_ns: u64, bytes_per_second: u64);
    gpubuf_standin_set_delay(ordinal: i32, fixed_ns: u64, seed: u64, max_ns: u64);
    gpubuf_standin_set_pageable_late(ordinal: i32, late: i32);
    gpubuf_standin_set_attribute(ordinal: i32, attribute: i32, value: i32);
    gpubuf_standin_set_driver_version(version: i32);
    gpubuf_standin_stream_hold(stream: u64);
    gpubuf_standin_stream_release(stream: u64);
    gpubuf_standin_stream_is_held(stream: u64);
    gpubuf_standin_time_inside_ns() -> u64;
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CopyAttributes {
    pub source_order: u32,
    pub hints: [[i32; 2]; 2],
    pub flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Side {
    pub x_bytes: usize,
    pub y: usize,
    pub memory: u32,
    pub host: u64,
    pub device: u64,
    pub array: u64,
    pub pitch: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy2D {
    pub src: Side,
    pub dst: Side,
    pub width_bytes: usize,
    pub height: usize,
}

pub struct Library(usize);

impl Library {
    pub fn open(path: &Path) -> Library {
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string; the library's start code touches nothing of ours.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "cannot open {}: {}", path.display(), Library::error());
        Library(handle as usize)
    }

    fn error() -> String {
        // SAFETY: the loader's text is valid until its next call on this thread.
        unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy().into_owned()
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        let name = CString::new(name).unwrap();
        // SAFETY: the handle is open for good, the name a C string.
        let found = unsafe { libc::dlsym(self.0 as *mut c_void, name.as_ptr()) } as usize;
        (found != 0).then_some(found)
    }
}

/// Where cargo has put the shared library: beside the tests.
pub fn library() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libgpubuf_standin_cuda.so")
}

pub fn cuda() -> &'static Cuda {
    static CUDA: OnceLock<Cuda> = OnceLock::new();
    CUDA.get_or_init(|| Cuda::open(&library()))
}

/// Expects success.
#[track_caller]
pub fn ok(code: i32) {
    assert_eq!(code, 0);
}

/// What a function writes to its first argument.
#[track_caller]
pub fn made<T: Default>(make: impl FnOnce(*mut T) -> i32) -> T {
    let mut value = T::default();
    ok(make(&mut value));
    value
}

/// One test at a time, with counters and faults reset and a fresh primary context of device 0 current.
pub struct Session {
    pub context: u64,
    _turn: MutexGuard<'static, ()>,
    /// The current context is the thread's.
    _thread: PhantomData<*const ()>,
}

pub fn session() -> Session {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cuda = cuda();
    ok(cuda.cuInit(0));
    cuda.gpubuf_standin_reset();
    let context = made(|context| cuda.cuDevicePrimaryCtxRetain(context, 0));
    ok(cuda.cuCtxPushCurrent_v2(context));
    Session { context, _turn: turn, _thread: PhantomData }
}

impl Drop for Session {
    fn drop(&mut self) {
        let cuda = cuda();
        while cuda.cuCtxPopCurrent_v2(std::ptr::null_mut()) == 0 {}
        let _ = cuda.cuDevicePrimaryCtxRelease_v2(0);
    }
}

pub fn stream(flags: u32) -> u64 {
    made(|stream| cuda().cuStreamCreate(stream, flags))
}

/// A non-blocking stream.
pub fn side_stream() -> u64 {
    stream(1)
}

pub fn event() -> u64 {
    made(|event| cuda().cuEventCreate(event, 2))
}

pub fn device_memory(bytes: usize) -> u64 {
    made(|address| cuda().cuMemAlloc_v2(address, bytes))
}

/// Page-locked memory with each byte set.
pub fn pinned(bytes: usize, value: u8) -> u64 {
    let pointer = made(|pointer| cuda().cuMemHostAlloc(pointer, bytes, 0));
    set(pointer, bytes, value);
    pointer
}

/// Writes host memory of the driver.
pub fn set(pointer: u64, bytes: usize, value: u8) {
    // SAFETY: the tests hand in live host memory of that size.
    unsafe { std::ptr::write_bytes(pointer as *mut u8, value, bytes) };
}

pub fn seen(pointer: u64, bytes: usize) -> Vec<u8> {
    // SAFETY: the tests hand in live host memory of that size, which nothing writes now.
    unsafe { std::slice::from_raw_parts(pointer as *const u8, bytes) }.to_vec()
}

pub fn hold(stream: u64) {
    ok(cuda().gpubuf_standin_stream_hold(stream));
}

pub fn release(stream: u64) {
    ok(cuda().gpubuf_standin_stream_release(stream));
}

/// What device memory holds, read by a stream of its own: no other work is waited for.
pub fn fetch(address: u64, bytes: usize) -> Vec<u8> {
    let cuda = cuda();
    let stream = side_stream();
    let mut out = vec![0u8; bytes];
    ok(cuda.cuMemcpyDtoHAsync_v2(out.as_mut_ptr() as u64, address, bytes, stream));
    ok(cuda.cuStreamSynchronize(stream));
    ok(cuda.cuStreamDestroy_v2(stream));
    out
}

/// The text that a function writes.
pub fn text(write: impl FnOnce(*mut i8, i32) -> i32) -> String {
    let mut room = [0i8; 64];
    ok(write(room.as_mut_ptr(), 64));
    // SAFETY: the function ended the text inside the room.
    unsafe { CStr::from_ptr(room.as_ptr().cast()) }.to_str().unwrap().to_string()
}

/// Runs one test of this file's ignored ones in a process of its own, with an environment.
pub fn child(test: &str, environment: &[(&str, &str)]) -> std::process::Output {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.envs(environment.iter().copied());
    command.output().unwrap()
}

/// Waits for a condition that is bound to come.
pub fn until(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "the condition never came");
        std::thread::yield_now();
    }
}
