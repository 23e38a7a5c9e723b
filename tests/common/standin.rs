//! The stand-in driver, seen by its other users: the calls that an application makes itself, and the simulation's controls.
#![allow(dead_code, non_snake_case)]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The library file that was built with the tests.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test's path");
    let folders = test.ancestors().skip(1).take(2);
    let file = folders.map(|folder| folder.join("libgpubuf_standin_cuda.so")).find(|file| file.exists());
    file.expect("libgpubuf_standin_cuda.so is built with the tests, beside them")
}

/// Runs one test of this program in a process of its own, with the stand-in (or another file) as the driver.
pub fn run_alone(test: &str, driver: &Path, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().expect("the test's path"))
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"])
        .env_remove("GPUBUF_BACKEND")
        .env("GPUBUF_CUDA_DRIVER", driver)
        .env("GPUBUF_ALONE", "1")
        .envs(environment.iter().copied())
        .output()
        .expect("a process")
}

/// Whether this process was started by [`run_alone`].
pub fn alone() -> bool {
    std::env::var_os("GPUBUF_ALONE").is_some()
}

/// Runs the calling test in a process of its own and says whether that was done: the caller is then finished.
pub fn moved(test: &str, environment: &[(&str, &str)]) -> bool {
    if alone() {
        return false;
    }
    let output = run_alone(test, &library(), environment);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{test}: {}\n{text}", output.status);
    true
}

/// The file opened a second time: one image, whoever opened it first.
pub struct Cuda(*mut c_void);

// SAFETY: the handle of a library that stays open is good on every thread.
unsafe impl Sync for Cuda {}
// SAFETY: as above.
unsafe impl Send for Cuda {}

macro_rules! calls {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Cuda {
            $(pub fn $name(&self, $($argument: $type),*) -> $result {
                let function = self.symbol(stringify!($name));
                // SAFETY: the function of that name, with its signature; arguments are the test's to answer for.
                unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) -> $result>(function)($($argument),*) }
            })+
        }
    };
}

calls! {
    cuInit(flags: c_uint) -> c_int;
    cuCtxCreate_v2(context: *mut usize, flags: c_uint, device: c_int) -> c_int;
    cuCtxDestroy_v2(context: usize) -> c_int;
    cuCtxGetCurrent(context: *mut usize) -> c_int;
    cuCtxSetCurrent(context: usize) -> c_int;
    cuDevicePrimaryCtxGetState(device: c_int, flags: *mut c_uint, active: *mut c_int) -> c_int;
    cuDevicePrimaryCtxRetain(context: *mut usize, device: c_int) -> c_int;
    cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_int;
    cuStreamCreate(stream: *mut usize, flags: c_uint) -> c_int;
    cuStreamDestroy_v2(stream: usize) -> c_int;
    cuStreamQuery(stream: usize) -> c_int;
    cuStreamSynchronize(stream: usize) -> c_int;
    cuStreamWaitEvent(stream: usize, event: usize, flags: c_uint) -> c_int;
    cuStreamBeginCapture_v2(stream: usize, mode: c_int) -> c_int;
    cuStreamEndCapture(stream: usize, graph: *mut usize) -> c_int;
    cuStreamIsCapturing(stream: usize, status: *mut c_int) -> c_int;
    cuGraphInstantiateWithFlags(executable: *mut usize, graph: usize, flags: u64) -> c_int;
    cuGraphExecDestroy(executable: usize) -> c_int;
    cuGraphDestroy(graph: usize) -> c_int;
    cuEventCreate(event: *mut usize, flags: c_uint) -> c_int;
    cuEventDestroy_v2(event: usize) -> c_int;
    cuEventRecord(event: usize, stream: usize) -> c_int;
    cuEventQuery(event: usize) -> c_int;
    cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int;
    cuMemFree_v2(address: u64) -> c_int;
    cuMemHostAlloc(host: *mut *mut c_void, bytes: usize, flags: c_uint) -> c_int;
    cuMemFreeHost(host: *mut c_void) -> c_int;
    cuMemHostRegister_v2(host: *mut c_void, bytes: usize, flags: c_uint) -> c_int;
    cuMemHostUnregister(host: *mut c_void) -> c_int;
    cuLaunchHostFunc(stream: usize, function: unsafe extern "C" fn(*mut c_void), data: *mut c_void) -> c_int;
    cuMemHostGetFlags(flags: *mut c_uint, host: *mut c_void) -> c_int;
    cuMemcpyDtoH_v2(target: *mut c_void, source: u64, bytes: usize) -> c_int;
    cuMemcpyHtoDAsync_v2(target: u64, source: *const c_void, bytes: usize, stream: usize) -> c_int;
    cuMemsetD8Async(target: u64, value: u8, bytes: usize, stream: usize) -> c_int;
    cuCtxSynchronize() -> c_int;
    gpubuf_standin_version() -> c_int;
    gpubuf_standin_reset() -> ();
    gpubuf_standin_limit_memory(ordinal: c_int, kind: c_uint, bytes: u64) -> c_int;
    gpubuf_standin_set_uva_stale(ordinal: c_int, stale: c_int) -> c_int;
    gpubuf_standin_calls(function: *const c_char) -> u64;
    gpubuf_standin_fail_call(function: *const c_char, nth: u64, code: c_int) -> c_int;
    gpubuf_standin_lose_device(ordinal: c_int, code: c_int) -> c_int;
    gpubuf_standin_set_attribute(ordinal: c_int, attribute: c_int, value: c_int) -> c_int;
    gpubuf_standin_lose_at_call(function: *const c_char, nth: u64, ordinal: c_int, code: c_int) -> c_int;
    gpubuf_standin_count_thread(counts: c_int) -> c_int;
    gpubuf_standin_struck() -> u64;
    gpubuf_standin_live(ordinal: c_int, kind: c_uint) -> u64;
    gpubuf_standin_stream_hold(stream: usize) -> c_int;
    gpubuf_standin_stream_release(stream: usize) -> c_int;
    gpubuf_standin_stream_is_held(stream: usize) -> c_int;
}

/// A context that nobody used before, current nowhere, of a stand-in without faults; 0 with a real driver, whose primary
/// context has to do.
pub fn fresh_context() -> usize {
    let cuda = Cuda::open();
    if !cuda.is_simulation() {
        return 0;
    }
    cuda.gpubuf_standin_reset();
    assert_eq!(cuda.cuInit(0), 0);
    // What a test has left of limits and switches, which are the device's.
    (0..2).for_each(|kind| assert_eq!(cuda.gpubuf_standin_limit_memory(0, kind, 16 << 30), 0));
    assert_eq!(cuda.gpubuf_standin_set_uva_stale(0, 0), 0);
    let (mut before, mut context) = (0, 0);
    assert_eq!(cuda.cuCtxGetCurrent(&mut before), 0);
    assert_eq!(cuda.cuCtxCreate_v2(&mut context, 0, 0), 0);
    assert_eq!(cuda.cuCtxSetCurrent(before), 0);
    context
}

impl Cuda {
    /// The driver of this process.
    pub fn open() -> Cuda {
        let path = std::env::var("GPUBUF_CUDA_DRIVER").unwrap_or_else(|_| "libcuda.so.1".into());
        let path = CString::new(path).expect("a path");
        // SAFETY: the stand-in is made to be opened.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "the driver opens");
        Cuda(handle)
    }

    pub fn is_simulation(&self) -> bool {
        // SAFETY: an open library and a C string.
        !unsafe { libc::dlsym(self.0, c"gpubuf_standin_version".as_ptr()) }.is_null()
    }

    fn symbol(&self, name: &str) -> *mut c_void {
        let name = CString::new(name).expect("a name");
        // SAFETY: an open library and a C string.
        let symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!symbol.is_null(), "the stand-in has {name:?}");
        symbol
    }

    /// Calls of a function so far.
    pub fn calls(&self, function: &str) -> u64 {
        let function = CString::new(function).expect("a name");
        self.gpubuf_standin_calls(function.as_ptr())
    }

    /// Calls of all functions so far.
    pub fn all_calls(&self) -> u64 {
        self.gpubuf_standin_calls(std::ptr::null())
    }

    /// Has the next call of a function return a code, and do nothing.
    pub fn fail_next(&self, function: &str, code: c_int) {
        self.fail_nth(function, 1, code);
    }

    /// The same of a later one.
    pub fn fail_nth(&self, function: &str, nth: u64, code: c_int) {
        let function = CString::new(function).expect("a name");
        assert_eq!(self.gpubuf_standin_fail_call(function.as_ptr(), nth, code), 0);
    }

    /// The context that is current on this thread.
    pub fn current(&self) -> usize {
        let mut context = 0;
        assert_eq!(self.cuCtxGetCurrent(&mut context), 0);
        context
    }

    pub fn event(&self) -> usize {
        let mut event = 0;
        assert_eq!(self.cuEventCreate(&mut event, 2), 0);
        event
    }

    pub fn stream(&self, flags: c_uint) -> usize {
        let mut stream = 0;
        assert_eq!(self.cuStreamCreate(&mut stream, flags), 0);
        stream
    }
}
