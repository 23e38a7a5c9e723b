//! The entries that allocate, free and register memory (driver API, "Memory Management" and "Stream Ordered Memory
//! Allocator").

use std::sync::Arc;

use gpubuf_engine::MemoryKind;

use crate::attributes::{
    CAN_MAP_HOST_MEMORY, HOST_REGISTER_SUPPORTED, MANAGED_MEMORY, MEMORY_POOLS_SUPPORTED,
    READ_ONLY_HOST_REGISTER_SUPPORTED,
};
use crate::code;
use crate::context::Context;
use crate::entry::Out;
use crate::memory::{self, Memory, Sort};
use crate::stream;

/// `CU_MEMHOSTALLOC_PORTABLE`, `_DEVICEMAP` and `_WRITECOMBINED`.
const HOST_ALLOC_FLAGS: u32 = 7;
/// `CU_MEMHOSTREGISTER_IOMEMORY` and `_READ_ONLY`; the flags below them are portable and device-map.
const REGISTER_IO_MEMORY: u32 = 4;
const REGISTER_READ_ONLY: u32 = 8;
/// `CU_MEM_ATTACH_GLOBAL` and `_HOST`.
const ATTACH_FLAGS: [u32; 2] = [1, 2];

entry! {
    contextual fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) |current| {
        let (limit, used) = current.ordinal.usage(MemoryKind::Device);
        let all = current.ordinal.memory_bytes;
        free.required()?;
        total.set(all as usize)?;
        free.set(limit.min(all).saturating_sub(used) as usize)
    }
}

entry! {
    contextual fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) |current| {
        address.required()?;
        current.expect_no_unsafe_capture()?;
        address.set(memory::allocate(current, Sort::Device, bytes, 0)?.device)
    }
}

/// Frees memory after all work of its context: the reference allows any call to synchronise, and freeing is known to
/// ("API synchronization behavior"; PyTorch keeps a caching allocator to avoid it).
fn free(memory: &Arc<Memory>, current: &Arc<Context>) -> Result<(), i32> {
    current.expect_no_unsafe_capture()?;
    memory.context.quiesce()?;
    memory.free()
}

entry! {
    contextual fn cuMemFree_v2(address: u64) |current| {
        let memory = memory::freeable(address, &[Sort::Device, Sort::Managed]).ok_or(code::INVALID_VALUE)?;
        free(&memory, current)
    }
}

entry! {
    contextual fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: u64) |current| {
        address.required()?;
        current.ordinal.expect(MEMORY_POOLS_SUPPORTED)?;
        let stream = stream::find(stream, current)?;
        // A graph would get a node of its own, which is not simulated.
        if stream.is_capturing() {
            return Err(code::NOT_SUPPORTED);
        }
        // There at once; a use before the stream comes to it is the caller's mistake and is not found.
        address.set(memory::allocate(&stream.context, Sort::Device, bytes, 0)?.device)
    }
}

entry! {
    contextual fn cuMemFreeAsync(address: u64, stream: u64) |current| {
        current.ordinal.expect(MEMORY_POOLS_SUPPORTED)?;
        let stream = stream::find(stream, current)?;
        if stream.is_capturing() {
            return Err(code::NOT_SUPPORTED);
        }
        memory::freeable(address, &[Sort::Device, Sort::HostPool]).ok_or(code::INVALID_VALUE)?.free_in(&stream)
    }
}

entry! {
    contextual fn cuMemAllocManaged(address: Out<u64>, bytes: usize, flags: u32) |current| {
        address.required()?;
        current.ordinal.expect(MANAGED_MEMORY)?;
        if !ATTACH_FLAGS.contains(&flags) {
            return Err(code::INVALID_VALUE);
        }
        current.expect_no_unsafe_capture()?;
        address.set(memory::allocate(current, Sort::Managed, bytes, flags)?.device)
    }
}

fn allocate_host(pointer: Out<u64>, bytes: usize, flags: u32, current: &Arc<Context>) -> Result<(), i32> {
    pointer.required()?;
    if flags & !HOST_ALLOC_FLAGS != 0 {
        return Err(code::INVALID_VALUE);
    }
    current.expect_no_unsafe_capture()?;
    pointer.set(memory::allocate(current, Sort::Pinned, bytes, flags)?.host)
}

entry! {
    contextual fn cuMemHostAlloc(pointer: Out<u64>, bytes: usize, flags: u32) |current| {
        allocate_host(pointer, bytes, flags, current)
    }
}

entry! {
    contextual fn cuMemAllocHost_v2(pointer: Out<u64>, bytes: usize) |current| {
        allocate_host(pointer, bytes, 0, current)
    }
}

entry! {
    contextual fn cuMemFreeHost(pointer: u64) |current| {
        let memory = memory::freeable(pointer, &[Sort::Pinned]).ok_or(code::INVALID_VALUE)?;
        free(&memory, current)
    }
}

entry! {
    contextual fn cuMemHostRegister_v2(pointer: Out<u8>, bytes: usize, flags: u32) |current| {
        current.ordinal.expect(HOST_REGISTER_SUPPORTED)?;
        pointer.required()?;
        if flags & !15 != 0 || bytes == 0 {
            return Err(code::INVALID_VALUE);
        }
        if flags & REGISTER_IO_MEMORY != 0 {
            return Err(code::NOT_SUPPORTED);
        }
        if flags & REGISTER_READ_ONLY != 0 {
            current.ordinal.expect(READ_ONLY_HOST_REGISTER_SUPPORTED)?;
        }
        current.expect_no_unsafe_capture()?;
        // SAFETY: the caller of this entry promises that the range stays until it is unregistered and its work is done
        // (driver API, `cuMemHostRegister`).
        let allocation = unsafe { current.engine.register(pointer.address() as *mut u8, bytes) };
        let allocation = allocation.map_err(|fault| current.code(fault))?;
        memory::enter(current, Sort::Registered, flags, allocation);
        Ok(())
    }
}

entry! {
    contextual fn cuMemHostUnregister(pointer: u64) |current| {
        current.ordinal.expect(HOST_REGISTER_SUPPORTED)?;
        if pointer == 0 {
            return Err(code::INVALID_VALUE);
        }
        let memory = memory::freeable(pointer, &[Sort::Registered]).ok_or(code::HOST_MEMORY_NOT_REGISTERED)?;
        free(&memory, current)
    }
}

/// Page-locked memory that holds a host pointer.
fn locked(pointer: u64) -> Result<memory::Located, i32> {
    let found = memory::find(pointer).ok_or(code::INVALID_VALUE)?;
    let locked = matches!(found.memory.sort, Sort::Pinned | Sort::Registered);
    let by_host = pointer - found.offset == found.memory.host;
    if locked && by_host { Ok(found) } else { Err(code::INVALID_VALUE) }
}

entry! {
    contextual fn cuMemHostGetDevicePointer_v2(address: Out<u64>, pointer: u64, flags: u32) |current| {
        current.ordinal.expect(CAN_MAP_HOST_MEMORY)?;
        if flags != 0 {
            return Err(code::INVALID_VALUE);
        }
        let found = locked(pointer)?;
        address.set(found.memory.device + found.offset)
    }
}

entry! {
    contextual fn cuMemHostGetFlags(flags: Out<u32>, pointer: u64) |_current| { flags.set(locked(pointer)?.memory.flags) }
}
