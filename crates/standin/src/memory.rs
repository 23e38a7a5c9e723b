//! The memory that the driver knows, by address.

use std::collections::BTreeMap;
use std::sync::Arc;

use gpubuf_engine::{Allocation, MemoryKind, Op, View};
use parking_lot::RwLock;

use crate::code;
use crate::context::{self, Context};
use crate::driver;
use crate::stream::Stream;

/// How memory came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    Device,
    /// Page-locked, of the driver.
    Pinned,
    /// One address for both sides.
    Managed,
    /// As managed memory, of a pool of host memory.
    HostPool,
    /// Page-locked, of the caller.
    Registered,
}

/// One allocation or registered range.
pub(crate) struct Memory {
    /// Never used again, as addresses are.
    pub(crate) id: u64,
    pub(crate) sort: Sort,
    pub(crate) flags: u32,
    pub(crate) context: Arc<Context>,
    /// Null for device memory.
    pub(crate) host: u64,
    pub(crate) device: u64,
    pub(crate) bytes: usize,
    /// What the engine frees it by.
    base: u64,
}

/// Memory that holds an address, and where in it.
pub(crate) struct Located {
    pub(crate) memory: Arc<Memory>,
    pub(crate) offset: u64,
}

/// All live memory, by the start of each of its address ranges.
static MAP: RwLock<BTreeMap<u64, Arc<Memory>>> = RwLock::new(BTreeMap::new());

/// The memory that holds an address.
pub(crate) fn find(address: u64) -> Option<Located> {
    let map = MAP.read();
    let (start, memory) = map.range(..=address).next_back()?;
    let offset = address - start;
    (offset < memory.bytes as u64).then(|| Located { memory: memory.clone(), offset })
}

/// Whether an operation of a context's stream may name a range: `INVALID_VALUE` for null, for a range that leaves its
/// memory and for another context's device memory. `None` is memory that the driver does not know.
pub(crate) fn usable(address: u64, bytes: usize, context: &Arc<Context>) -> Result<Option<Located>, i32> {
    if address == 0 {
        return Err(code::INVALID_VALUE);
    }
    let Some(found) = find(address) else { return Ok(None) };
    let foreign = found.memory.sort == Sort::Device && !Arc::ptr_eq(&found.memory.context, context);
    if foreign || bytes as u64 > found.memory.bytes as u64 - found.offset {
        return Err(code::INVALID_VALUE);
    }
    Ok(Some(found))
}

/// As [`usable`], for addresses that must be the driver's.
pub(crate) fn expect_known(address: u64, bytes: usize, context: &Arc<Context>) -> Result<Located, i32> {
    usable(address, bytes, context)?.ok_or(code::INVALID_VALUE)
}

/// Allocates within the limits that the contexts of a device share. No memory is `OUT_OF_MEMORY`, of either kind.
pub(crate) fn allocate(context: &Arc<Context>, sort: Sort, bytes: usize, flags: u32) -> Result<Arc<Memory>, i32> {
    if bytes == 0 {
        return Err(code::INVALID_VALUE);
    }
    let kind = if sort == Sort::Device { MemoryKind::Device } else { MemoryKind::Pinned };
    let _allocating = context.ordinal.allocating.lock();
    let (limit, used) = context.ordinal.usage(kind);
    if used.checked_add(bytes as u64).is_none_or(|total| total > limit) {
        return Err(code::OUT_OF_MEMORY);
    }
    let allocation = context.engine.allocate(kind, bytes).map_err(|fault| context.code(fault))?;
    Ok(enter(context, sort, flags, allocation))
}

/// Makes memory of the engine known.
pub(crate) fn enter(context: &Arc<Context>, sort: Sort, flags: u32, allocation: Allocation) -> Arc<Memory> {
    let host = allocation.host as u64;
    let memory = Arc::new(Memory {
        id: driver::unique(),
        sort,
        flags,
        context: context.clone(),
        host,
        device: if matches!(sort, Sort::Managed | Sort::HostPool) { host } else { allocation.device },
        bytes: allocation.bytes,
        base: if sort == Sort::Registered { host } else { allocation.device },
    });
    memory.remember();
    memory
}

/// The memory that begins at an address by which the caller may free it: the host pointer of page-locked memory, the
/// device address of other memory.
pub(crate) fn freeable(address: u64, sorts: &[Sort]) -> Option<Arc<Memory>> {
    let memory = MAP.read().get(&address)?.clone();
    let own = if matches!(memory.sort, Sort::Pinned | Sort::Registered) { memory.host } else { memory.device };
    (own == address && sorts.contains(&memory.sort)).then_some(memory)
}

impl Memory {
    /// Takes it out of the map; false if somebody else did.
    fn forget(&self) -> bool {
        let mut map = MAP.write();
        if map.get(&self.device).is_none_or(|memory| memory.id != self.id) {
            return false;
        }
        map.remove(&self.device);
        if self.host != 0 {
            map.remove(&self.host);
        }
        true
    }

    /// Frees it at once. `INVALID_VALUE` if it was freed meanwhile.
    pub(crate) fn free(&self) -> Result<(), i32> {
        if !self.forget() {
            return Err(code::INVALID_VALUE);
        }
        let result = match self.sort {
            Sort::Registered => self.context.engine.unregister(self.base as *mut u8),
            _ => self.context.engine.free(self.base),
        };
        result.map_err(|fault| self.context.code(fault))
    }

    /// Frees it when the stream comes to it; the address is unknown from now on.
    pub(crate) fn free_in(self: &Arc<Memory>, stream: &Stream) -> Result<(), i32> {
        if !self.forget() {
            return Err(code::INVALID_VALUE);
        }
        let op = Op::Call { function: free_now, arguments: [self.context.handle as usize, self.base as usize] };
        // SAFETY: the operation names no memory of the caller's, and its function takes any numbers.
        unsafe { stream.engine.submit(op, 0) }.map_err(|fault| {
            self.remember();
            stream.context.code(fault)
        })
    }

    fn remember(self: &Arc<Memory>) {
        let mut map = MAP.write();
        if self.host != 0 {
            map.insert(self.host, self.clone());
        }
        map.insert(self.device, self.clone());
    }
}

/// Runs in a stream. If the context is gone, its memory went with it.
fn free_now(_view: &View<'_>, [context, base]: [usize; 2]) {
    if let Ok(context) = context::find(context as u64) {
        let _ = context.engine.free(base as u64);
    }
}

/// Frees what a context still has.
pub(crate) fn free_all_of(context: &Context) {
    let of_context = |memory: &&Arc<Memory>| std::ptr::eq(&*memory.context, context);
    let all: Vec<_> = MAP.read().values().filter(of_context).cloned().collect();
    for memory in all {
        // Refused for the second address range of the same memory.
        let _ = memory.free();
    }
}
