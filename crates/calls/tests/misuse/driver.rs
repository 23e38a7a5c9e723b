//! The stand-in driver, as far as calls need objects of the driver's own.

use std::ffi::{CString, c_int, c_uint, c_void};
use std::path::PathBuf;

/// The file that was built with the tests.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test's path");
    let mut folders = test.ancestors().skip(1).take(2).map(|folder| folder.join("libgpubuf_standin_cuda.so"));
    folders.find(|file| file.exists()).expect("libgpubuf_standin_cuda.so is built with the tests, beside them")
}

/// Whether the devices of this process are those of the stand-in driver.
pub fn is_used() -> bool {
    std::env::var("GPUBUF_BACKEND").is_ok_and(|backend| backend == "cuda")
}

/// An event of the driver's, in this context; on the host backend, which has none, something else.
pub fn event(context: u64) -> u64 {
    if !is_used() {
        return 64;
    }
    let path = CString::new(std::env::var("GPUBUF_CUDA_DRIVER").expect("the driver's file")).expect("a path");
    let mut event: *mut c_void = std::ptr::null_mut();
    // SAFETY: the stand-in is made to be opened, and the function has this signature.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        let create = libc::dlsym(library, c"cuEventCreate".as_ptr());
        let set = libc::dlsym(library, c"cuCtxSetCurrent".as_ptr());
        assert!(!create.is_null() && !set.is_null(), "the stand-in has both");
        let create: unsafe extern "C" fn(*mut *mut c_void, c_uint) -> c_int = std::mem::transmute(create);
        let set: unsafe extern "C" fn(u64) -> c_int = std::mem::transmute(set);
        assert_eq!(set(context), 0);
        assert_eq!(create(&raw mut event, 2), 0);
        assert_eq!(set(0), 0);
    }
    event as u64
}
