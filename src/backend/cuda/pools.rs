//! Stream-ordered memory, tried: the device's, and the host's where the driver has pools of it.
//!
//! The structs are the driver's, with plain numbers for its enumerations: newer drivers have values that the bindings lack.

use super::codes::Code;
use super::context::Context;
use super::memory::Memory;
use super::stream::CudaStream;
use crate::backend::probe::Answer;
use crate::backend::system::page_bytes;
use crate::backend::{DeviceFacts, StreamBackend};
use crate::error::{Result, Status};
use crate::sync::Arc;
use cudarc::driver::sys::{CUdeviceptr, CUmemAccessDesc, CUmemPoolProps, CUmemoryPool, CUstream};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::time::Instant;

/// `CU_MEM_ALLOCATION_TYPE_PINNED`: memory that does not move.
const PINNED: c_int = 1;
/// `CU_MEM_LOCATION_TYPE_DEVICE`, `_HOST` and `_HOST_NUMA`.
const ON_DEVICE: c_int = 1;
const ON_HOST: c_int = 2;
const ON_HOST_NODE: c_int = 3;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const READ_WRITE: c_int = 3;

/// `CUmemPoolProps`.
#[repr(C)]
pub struct PoolProperties {
    allocation: c_int,
    handles: c_int,
    location: [c_int; 2],
    security: *mut c_void,
    most_bytes: usize,
    reserved: [u8; 56],
}

/// `CUmemAccessDesc`.
#[repr(C)]
pub struct PoolAccess {
    location: [c_int; 2],
    flags: c_int,
}

/// Allocates and frees a page of device memory in the order of the library's stream.
pub fn try_device_pool(memory: &Memory) -> Answer {
    Answer::of(
        memory
            .try_stream_ordered(page_bytes())
            .map(|()| format!("{} bytes were allocated and freed in the order of a stream", page_bytes())),
    )
}

/// Makes a pool of host memory that the device may use, and allocates, writes and frees a page of it.
pub fn try_host_pool(
    context: &Arc<Context>,
    stream: &CudaStream,
    facts: DeviceFacts,
    deadline: Option<Instant>,
) -> Answer {
    let driver = context.driver();
    let (Some(create), Some(destroy), Some(allow), Some(allocate), Some(free)) = (
        driver.cuMemPoolCreate,
        driver.cuMemPoolDestroy,
        driver.cuMemPoolSetAccess,
        driver.cuMemAllocFromPoolAsync,
        driver.cuMemFreeAsync,
    ) else {
        return Answer::no("this driver has no pools of host memory (cuMemPoolCreate)");
    };
    let calls = Calls { create, destroy, allow, allocate, free };
    let node = facts.numa_node.unwrap_or(0) as c_int;
    let tried = match HostPool::try_at(context, calls, stream, [ON_HOST, 0], deadline) {
        // Drivers had those of a node first.
        Err(error) if matches!(error.status(), Status::Unsupported | Status::DriverError) => {
            HostPool::try_at(context, calls, stream, [ON_HOST_NODE, node], deadline)
                .map_err(|second| second.context(format_args!("at the host: {}; at node {node}", error.message())))
        }
        done => done,
    };
    Answer::of(tried)
}

/// The driver's functions for pools.
#[derive(Clone, Copy)]
struct Calls {
    create: unsafe extern "C" fn(*mut CUmemoryPool, *const CUmemPoolProps) -> Code,
    destroy: unsafe extern "C" fn(CUmemoryPool) -> Code,
    allow: unsafe extern "C" fn(CUmemoryPool, *const CUmemAccessDesc, usize) -> Code,
    allocate: unsafe extern "C" fn(*mut CUdeviceptr, usize, CUmemoryPool, CUstream) -> Code,
    free: unsafe extern "C" fn(CUdeviceptr, CUstream) -> Code,
}

struct HostPool<'a> {
    context: &'a Context,
    pool: CUmemoryPool,
    destroy: unsafe extern "C" fn(CUmemoryPool) -> Code,
}

impl Drop for HostPool<'_> {
    fn drop(&mut self) {
        if let Ok(_entered) = self.context.enter_relaxed() {
            // SAFETY: created by this value. What is still allocated from it stays until it is freed.
            unsafe { (self.destroy)(self.pool) };
        }
    }
}

impl HostPool<'_> {
    fn try_at(
        context: &Context,
        calls: Calls,
        stream: &CudaStream,
        location: [c_int; 2],
        deadline: Option<Instant>,
    ) -> Result<String> {
        let bytes = page_bytes();
        let mut pool = HostPool { context, pool: null_mut(), destroy: calls.destroy };
        let mut address: CUdeviceptr = 0;
        {
            let _entered = context.enter_relaxed()?;
            let properties = PoolProperties {
                allocation: PINNED,
                handles: 0,
                location,
                security: null_mut(),
                most_bytes: 0,
                reserved: [0; 56],
            };
            // SAFETY: the context is current; the pointers are those of locals, of the driver's layout.
            let code = unsafe { (calls.create)(&mut pool.pool, (&raw const properties).cast()) };
            if code != 0 {
                let error = context.error(code, "making a pool of host memory");
                std::mem::forget(pool);
                return Err(error);
            }
            let access = PoolAccess { location: [ON_DEVICE, context.device()], flags: READ_WRITE };
            // SAFETY: as above; one entry.
            let code = unsafe { (calls.allow)(pool.pool, (&raw const access).cast(), 1) };
            context.check(code, "letting the device use a pool of host memory")?;
            // SAFETY: as above.
            let code = unsafe { (calls.allocate)(&mut address, bytes, pool.pool, stream.handle()) };
            context.check(code, format_args!("allocating {bytes} bytes from a pool of host memory"))?;
        }
        let there = stream.synchronize(deadline);
        if there.is_ok() {
            // SAFETY: host memory of the pool's, allocated by now and given to nobody.
            unsafe { (address as usize as *mut u8).write_bytes(0x5a, bytes) };
        }
        let _entered = context.enter_relaxed()?;
        // SAFETY: allocated above, and used by nobody.
        let code = unsafe { (calls.free)(address, stream.handle()) };
        there?;
        context.check(code, "freeing memory of a pool of host memory")?;
        Ok(format!("{bytes} bytes were allocated from a pool of host memory, written and freed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cudarc::driver::sys;

    #[test]
    fn the_structs_are_the_drivers() {
        assert_eq!(size_of::<PoolProperties>(), size_of::<sys::CUmemPoolProps>());
        assert_eq!(size_of::<PoolAccess>(), size_of::<sys::CUmemAccessDesc>());
        assert_eq!(std::mem::offset_of!(PoolProperties, location), std::mem::offset_of!(sys::CUmemPoolProps, location));
        assert_eq!(std::mem::offset_of!(PoolAccess, flags), std::mem::offset_of!(sys::CUmemAccessDesc, flags));
    }
}
