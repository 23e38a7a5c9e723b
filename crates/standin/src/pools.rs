//! The entries for pools of host memory (driver API, "Stream Ordered Memory Allocator"). Pools of device memory other than the
//! device's own are not simulated.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::attributes::MEMORY_POOLS_SUPPORTED;
use crate::code;
use crate::driver::{self, driver};
use crate::entry::{In, Out};
use crate::memory::{self, Sort};
use crate::stream;

/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
const PINNED: i32 = 1;
/// `CU_MEM_LOCATION_TYPE_DEVICE`, `_HOST` and `_HOST_NUMA`.
const ON_DEVICE: i32 = 1;
const ON_HOST: i32 = 2;
const ON_HOST_NODE: i32 = 3;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const READ_WRITE: i32 = 3;

/// Whether the device may use the memory of each pool.
static POOLS: Mutex<BTreeMap<u64, bool>> = Mutex::new(BTreeMap::new());

entry! {
    contextual fn cuMemPoolCreate(pool: Out<u64>, properties: In<i32>) |current| {
        pool.required()?;
        current.ordinal.expect(MEMORY_POOLS_SUPPORTED)?;
        // `CUmemPoolProps` begins with the type of the allocations, that of their handles, and the location.
        let [allocation, handles, location] = [properties.get(0)?, properties.get(1)?, properties.get(2)?];
        let has = driver().version.load(Ordering::Relaxed);
        match location {
            ON_DEVICE => return Err(code::NOT_SUPPORTED),
            ON_HOST if has >= 12060 => {}
            ON_HOST_NODE if has >= 12020 => {}
            _ => return Err(code::INVALID_VALUE),
        }
        if allocation != PINNED || handles != 0 {
            return Err(code::INVALID_VALUE);
        }
        let handle = driver::unique();
        POOLS.lock().insert(handle, false);
        pool.set(handle)
    }
}

entry! {
    contextual fn cuMemPoolDestroy(pool: u64) |_current| {
        POOLS.lock().remove(&pool).map(drop).ok_or(code::INVALID_VALUE)
    }
}

entry! {
    contextual fn cuMemPoolSetAccess(pool: u64, access: In<i32>, count: usize) |current| {
        let [location, device, flags] = [access.get(0)?, access.get(1)?, access.get(2)?];
        if count != 1 || location != ON_DEVICE || device != current.ordinal.index || flags != READ_WRITE {
            return Err(code::INVALID_VALUE);
        }
        POOLS.lock().get_mut(&pool).map(|open| *open = true).ok_or(code::INVALID_VALUE)
    }
}

entry! {
    contextual fn cuMemAllocFromPoolAsync(address: Out<u64>, bytes: usize, pool: u64, stream: u64) |current| {
        address.required()?;
        let stream = stream::find(stream, current)?;
        if stream.is_capturing() {
            return Err(code::NOT_SUPPORTED);
        }
        // The memory of a pool that the device was not let into could not be used, which is not simulated: refused at once.
        match POOLS.lock().get(&pool) {
            Some(true) => {}
            _ => return Err(code::INVALID_VALUE),
        }
        address.set(memory::allocate(&stream.context, Sort::HostPool, bytes, 0)?.device)
    }
}
