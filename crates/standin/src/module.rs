//! Modules and kernels (driver API, "Module Management", "Execution Control"). Nothing here runs PTX: of kernels that are
//! known by name the engine has a twin, and an image without any of them is `NOT_SUPPORTED`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use gpubuf_engine::{Op, OpKind};

use crate::code;
use crate::context::Context;
use crate::entry::{In, Out};
use crate::memory;
use crate::stream::{self, Stream};
use crate::table::Table;

/// The kernel that the simulation has a twin of: see `Op::Scatter`.
const SCATTER: &str = "gpubuf_scatter_rows";

/// An image that was loaded into a context.
struct Module {
    handle: u64,
    context: Arc<Context>,
}

/// A kernel of a module.
struct Function {
    handle: u64,
    module: u64,
}

static MODULES: Table<Module> = Table::new(6);
static FUNCTIONS: Table<Function> = Table::new(7);

fn load(module: Out<u64>, image: In<c_char>, current: &Arc<Context>) -> Result<(), i32> {
    module.required()?;
    // The reference does not say that loading is safe during another thread's global capture, so it is not.
    current.expect_no_unsafe_capture()?;
    if !image.text()?.contains(&format!(".visible .entry {SCATTER}(")) {
        return Err(code::NOT_SUPPORTED);
    }
    module.set(MODULES.insert(|handle| Module { handle, context: current.clone() })?.handle)
}

/// Ends the modules of a context, and their functions.
pub(crate) fn forget_all_of(context: &Context) {
    for module in MODULES.remove_all(|module| std::ptr::eq(&*module.context, context)) {
        FUNCTIONS.remove_all(|function| function.module == module.handle);
    }
}

entry! {
    contextual fn cuModuleLoadData(module: Out<u64>, image: In<c_char>) |current| { load(module, image, current) }
}

entry! {
    contextual fn cuModuleLoadDataEx(
        module: Out<u64>, image: In<c_char>, _count: u32, _options: Out<i32>, _values: Out<u64>,
    ) |current| { load(module, image, current) }
}

entry! {
    contextual fn cuModuleUnload(module: u64) |_current| {
        let module = MODULES.remove(module)?;
        FUNCTIONS.remove_all(|function| function.module == module.handle);
        Ok(())
    }
}

entry! {
    contextual fn cuModuleGetFunction(function: Out<u64>, module: u64, name: In<c_char>) |_current| {
        function.required()?;
        let module = MODULES.get(module)?;
        if name.text()? != SCATTER {
            return Err(code::NOT_FOUND);
        }
        function.set(FUNCTIONS.insert(|handle| Function { handle, module: module.handle })?.handle)
    }
}

/// The value of a kernel's parameter: the driver reads it during the launch.
fn parameter(parameters: In<*const c_void>, index: usize) -> Result<u64, i32> {
    // SAFETY: the caller of the launch gives a pointer to each parameter, and those of this kernel have 8 bytes each.
    unsafe { In::argument(parameters.get(index)?.cast::<u64>()) }.get(0)
}

fn scatter(stream: &Stream, grid: [u32; 3], parameters: In<*const c_void>) -> Result<(), i32> {
    if grid.contains(&0) {
        return Err(code::INVALID_VALUE);
    }
    let [entry, table, ticket] = [parameter(parameters, 0)?, parameter(parameters, 1)?, parameter(parameters, 2)?];
    let fate = stream.admit(OpKind::Scatter)?;
    // A kernel knows no sizes: it may touch what lies behind its addresses.
    let room = |address: u64| memory::find(address).map(|found| found.memory.bytes - found.offset as usize);
    let op = match (room(entry), room(table)) {
        (Some(entry_bytes), Some(table_bytes)) => {
            Op::Scatter { entry, entry_bytes, table, table_bytes, pieces: grid[0] as usize, ticket }
        }
        _ => stream.failing(code::ILLEGAL_ADDRESS),
    };
    // SAFETY: a scatter names no memory but the driver's own.
    unsafe { stream.queue(fate, op) }
}

entry! {
    contextual fn cuLaunchKernel(
        function: u64, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        _shared_bytes: u32, stream: u64, parameters: In<*const c_void>, extra: Out<u64>,
    ) |current| {
        let threads = [block_x, block_y, block_z].map(u64::from).iter().product::<u64>();
        let module = MODULES.get(FUNCTIONS.get(function)?.module)?;
        module.context.check()?;
        // Of parameters in one piece (`extra`) the simulation knows nothing.
        if !(1..=1024).contains(&threads) || parameters.is_null() || !extra.is_null() {
            return Err(code::INVALID_VALUE);
        }
        scatter(&*stream::find(stream, current)?, [grid_x, grid_y, grid_z], parameters)
    }
}
