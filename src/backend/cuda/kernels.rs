//! The library's kernel, compiled by the driver from PTX when it is first needed. `tests/kernels.rs` holds the PTX to its
//! source.

use super::codes;
use super::context::Context;
use super::driver::Table;
use crate::backend::Scatter;
use crate::error::Result;
use crate::fail;
use crate::sync::{Arc, Mutex, OnceLock};
use cudarc::driver::sys::{CUfunction, CUjit_option, CUmodule, CUstream};
use std::ffi::{CStr, c_char, c_uint, c_void};
use std::ptr::null_mut;

const SCATTER: &CStr = c"gpubuf_scatter_rows";
/// A C string, as the driver wants it.
const SCATTER_PTX: &str = concat!(include_str!("kernels/scatter_rows.ptx"), "\0");

/// Threads of a block: what the kernel was compiled for at most.
const THREADS: c_uint = 256;
/// Bytes of a piece for which another block is launched: four words for each thread.
const PART_BYTES: u32 = 16 * 4 * THREADS;
/// Blocks of one piece at most: a long piece is a loop in each.
const MOST_PARTS: u32 = 64;
/// Room for what the driver's compiler says of a kernel that it refuses.
const LOG_BYTES: usize = 1024;

/// The kernels of one context.
pub struct Kernels {
    context: Arc<Context>,
    /// Held while it is loaded.
    loading: Mutex<()>,
    scatter: OnceLock<Loaded>,
}

struct Loaded {
    module: CUmodule,
    function: CUfunction,
}

// SAFETY: handles that the driver takes from any thread.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Kernels {
    /// Nothing is loaded yet.
    pub fn new(context: &Arc<Context>) -> Arc<Kernels> {
        Arc::new(Kernels { context: context.clone(), loading: Mutex::new(()), scatter: OnceLock::new() })
    }

    /// Loads the scatter, unless it is. A refusal is not remembered: memory may have been short.
    pub fn prepare_scatter(&self) -> Result<()> {
        let _loading = self.loading.lock();
        if self.scatter.get().is_none() {
            let loaded = self.load().map_err(|e| e.context("loading the kernel that scatters rows"))?;
            // Nobody else sets it: the lock is held.
            let _ = self.scatter.set(loaded);
        }
        Ok(())
    }

    fn load(&self) -> Result<Loaded> {
        let driver: &Table = self.context.driver();
        let (Some(load), Some(unload), Some(get), Some(_)) =
            (driver.cuModuleLoadDataEx, driver.cuModuleUnload, driver.cuModuleGetFunction, driver.cuLaunchKernel)
        else {
            return fail!(Unsupported, "the driver has no functions for modules and kernels");
        };
        let mut log = [0u8; LOG_BYTES];
        let mut options = [
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER as c_uint,
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES as c_uint,
        ];
        // An option's value is the pointer itself, where it is a number, too.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG_BYTES as *mut c_void];
        let (mut module, mut function) = (null_mut(), null_mut());
        let _entered = self.context.enter_relaxed()?;
        let image = SCATTER_PTX.as_ptr().cast::<c_void>();
        let count = options.len() as c_uint;
        // SAFETY: the context is current; the image is a C string, the pointers are those of locals, two of each.
        let code = unsafe { load(&mut module, image, count, options.as_mut_ptr(), values.as_mut_ptr()) };
        if code != 0 {
            let said = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default();
            return Err(self.context.error(code, said.trim()));
        }
        // SAFETY: the module was loaded just now; the name is a C string.
        let code = unsafe { get(&mut function, module, SCATTER.as_ptr().cast::<c_char>()) };
        if let Err(error) = self.context.check(code, "looking it up") {
            // SAFETY: loaded above, and nothing of it was launched.
            unsafe { unload(module) };
            return Err(error);
        }
        Ok(Loaded { module, function })
    }

    /// Launches the scatter; gives the driver's code. The context is current.
    ///
    /// # Safety
    /// As [`StreamBackend::scatter`](crate::backend::StreamBackend::scatter); the stream is alive.
    pub unsafe fn launch_scatter(&self, scatter: &Scatter, stream: CUstream) -> codes::Code {
        let (Some(loaded), Some(launch)) = (self.scatter.get(), self.context.driver().cuLaunchKernel) else {
            return codes::NOT_SUPPORTED;
        };
        let Scatter { mut entry, mut table, mut ticket, pieces, longest, .. } = *scatter;
        let parts = longest.div_ceil(PART_BYTES).clamp(1, MOST_PARTS);
        let mut parameters = [&raw mut entry, &raw mut table, &raw mut ticket].map(|value| value.cast::<c_void>());
        let parameters = parameters.as_mut_ptr();
        // SAFETY: three parameters of 8 bytes each, as the kernel declares, which the driver reads during the call.
        unsafe { launch(loaded.function, pieces, parts, 1, THREADS, 1, 1, 0, stream, parameters, null_mut()) }
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        let Some(loaded) = self.scatter.get() else { return };
        // The device and its streams go after all memory that a kernel used, so after its fence was proven; where it could
        // not be, the module stays as that memory does.
        if let (false, Some(unload)) = (self.context.is_lost(), self.context.driver().cuModuleUnload)
            && let Ok(_entered) = self.context.enter_relaxed()
        {
            // SAFETY: loaded by this value, and not in use any more.
            unsafe { unload(loaded.module) };
        }
    }
}
