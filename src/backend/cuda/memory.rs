//! Memory: the device's, page-locked host memory by two ways, managed memory, and the caller's host memory registered.
//!
//! Nothing here runs on the path of a step: allocations and frees take locks of the driver's and may wait for the whole device
//! (CUDA programming guide, "implicit synchronization"). Flags are explicit; write-combined memory is never asked for, since
//! the CPU reads it at a crawl.

use super::codes;
use super::context::Context;
use super::{numa, pages};
use crate::backend::{Backing, DeviceFacts, DeviceSettings, Fallbacks, PinnedMethod, RawMemory};
use crate::config::Placement;
use crate::config::log::{self, Level};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::stats::{AllocatorCounters, Counter};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, RwLock};
use cudarc::driver::sys::{CUmemAttach_flags, CUstream};
use std::ffi::{c_uint, c_void};
use std::ptr::null_mut;

/// Usable from every context, and addressable by the device.
const PINNED_FLAGS: c_uint =
    cudarc::driver::sys::CU_MEMHOSTALLOC_PORTABLE | cudarc::driver::sys::CU_MEMHOSTALLOC_DEVICEMAP;
const REGISTER_FLAGS: c_uint =
    cudarc::driver::sys::CU_MEMHOSTREGISTER_PORTABLE | cudarc::driver::sys::CU_MEMHOSTREGISTER_DEVICEMAP;
/// From this size on, touching pages with many threads and registering them beats the driver's own allocation.
const MAPPED_FROM: usize = 64 << 20;
/// Bytes of one registration, at most: far above any memory, and no sum of it overflows.
const MOST_REGISTERED: usize = 1 << 46;

/// The pages of the caller's memory that the library registered, of all devices: first byte and end.
static REGISTERED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

fn pages_of(host: *mut u8, bytes: usize) -> (usize, usize) {
    let page = numa::page_bytes();
    let start = host.addr() / page * page;
    (start, host.addr().saturating_add(bytes).saturating_add(page - 1) / page * page)
}

fn forget_pages(pages: (usize, usize)) {
    let mut registered = REGISTERED.lock();
    if let Some(place) = registered.iter().position(|other| *other == pages) {
        registered.swap_remove(place);
    }
}

/// Ranges of host memory that were registered piece by piece. A copy must not span two registrations.
#[derive(Default)]
pub struct Pieces {
    any: AtomicBool,
    ranges: RwLock<Vec<PieceRange>>,
}

#[derive(Clone, Copy)]
struct PieceRange {
    start: u64,
    end: u64,
    piece: u64,
}

impl Pieces {
    fn add(&self, range: PieceRange) {
        self.ranges.write().push(range);
        self.any.store(true, Ordering::Release);
    }

    fn remove(&self, start: u64) {
        let mut ranges = self.ranges.write();
        ranges.retain(|range| range.start != start);
        self.any.store(!ranges.is_empty(), Ordering::Release);
    }

    /// Whether a range lies inside one registration, or in memory that is not registered in pieces.
    pub fn is_one(&self, address: u64, bytes: usize) -> bool {
        !self.any.load(Ordering::Acquire) || bytes as u64 <= self.room(address)
    }

    /// Bytes from an address on to the end of its registration.
    fn room(&self, address: u64) -> u64 {
        let ranges = self.ranges.read();
        let range = ranges.iter().find(|range| range.start <= address && address < range.end);
        range.map_or(u64::MAX, |range| range.piece - (address - range.start) % range.piece)
    }

    /// Calls `each` with parts of a copy that stay inside one registration on either end.
    pub fn split(
        &self,
        target: u64,
        source: u64,
        bytes: usize,
        mut each: impl FnMut(u64, u64, usize) -> Result<()>,
    ) -> Result<()> {
        if !self.any.load(Ordering::Acquire) {
            return each(target, source, bytes);
        }
        let mut at = 0;
        while at < bytes as u64 {
            let part = (bytes as u64 - at).min(self.room(target + at)).min(self.room(source + at));
            each(target + at, source + at, part as usize)?;
            at += part;
        }
        Ok(())
    }
}

/// Allocates and frees for one device.
pub struct Memory {
    context: Arc<Context>,
    settings: DeviceSettings,
    /// For fills of fresh memory and stream-ordered allocation; in no order with anybody.
    stream: CUstream,
    facts: DeviceFacts,
    pub pieces: Arc<Pieces>,
    /// Registrations, and memory nodes, that were refused and done without.
    unregistered: Counter,
    misplaced: Counter,
    pub counters: AllocatorCounters,
}

// SAFETY: the stream's handle may be used from any thread; the rest is shared safely.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn new(context: &Arc<Context>, mut settings: DeviceSettings, facts: DeviceFacts) -> Result<Memory> {
        let page = numa::page_bytes();
        settings.register_bytes = settings.register_bytes.clamp(page, MOST_REGISTERED) / page * page;
        let stream = context.create_stream()?;
        Ok(Memory {
            context: context.clone(),
            settings,
            stream,
            facts,
            pieces: Arc::default(),
            unregistered: Counter::new(),
            misplaced: Counter::new(),
            counters: AllocatorCounters::default(),
        })
    }

    /// Times that something else was done than was asked for.
    pub fn fallbacks(&self) -> Fallbacks {
        Fallbacks { registration: self.unregistered.get(), node: self.misplaced.get() }
    }

    /// Zeroed memory of a placement other than pageable.
    pub fn allocate(&self, placement: Placement, bytes: usize) -> Result<RawMemory> {
        self.counters.allocate(|| self.allocate_uncounted(placement, bytes))
    }

    fn allocate_uncounted(&self, placement: Placement, bytes: usize) -> Result<RawMemory> {
        match placement {
            Placement::Device => self.device_memory(bytes),
            Placement::Pinned | Placement::Uva => self.pinned(placement, bytes, &mut None),
            Placement::Managed => self.managed(bytes),
            Placement::None | Placement::Pageable => {
                fail!(Internal, "{} memory is not the driver's", placement.name())
            }
        }
    }

    /// As [`Memory::allocate`], for page-locked memory, mapped and advised to be on huge pages where it can be registered. Returns
    /// how many bytes are on those.
    pub fn allocate_huge(&self, placement: Placement, bytes: usize) -> Result<(RawMemory, u64)> {
        let mut huge = Some(0);
        let memory = self.counters.allocate(|| self.pinned(placement, bytes, &mut huge))?;
        Ok((memory, huge.unwrap_or(0)))
    }

    #[cold]
    fn refused(&self, code: codes::Code, placement: Placement, bytes: usize) -> Error {
        let doing = format!("allocating {bytes} bytes of {} memory", placement.name());
        match placement {
            Placement::Pinned | Placement::Uva => self.host_error(code, doing),
            _ => self.context.error(code, doing),
        }
    }

    /// An error where host memory is asked for.
    #[cold]
    fn host_error(&self, code: codes::Code, doing: String) -> Error {
        let error = self.context.error(code, doing);
        match error.status() {
            Status::OutOfDeviceMemory => Error::new(
                Status::OutOfHostMemory,
                format!("{}; this is host memory that can be page-locked, not the GPU's", error.message()),
            ),
            _ => error,
        }
    }

    fn device_memory(&self, bytes: usize) -> Result<RawMemory> {
        let driver = self.context.driver();
        let _entered = self.context.enter_relaxed()?;
        let mut address = 0;
        let ordered =
            if self.settings.stream_ordered { driver.cuMemAllocAsync.zip(driver.cuMemFreeAsync) } else { None };
        let code = match ordered {
            // SAFETY: the context is current; the pointer is that of a local.
            Some((allocate, _)) => unsafe { allocate(&mut address, bytes, self.stream) },
            // SAFETY: as above.
            None => unsafe { (driver.cuMemAlloc_v2)(&mut address, bytes) },
        };
        if code != 0 {
            return Err(self.refused(code, Placement::Device, bytes));
        }
        let backing = if ordered.is_some() { Backing::StreamOrdered } else { Backing::Driver };
        let memory =
            RawMemory { placement: Placement::Device, host: null_mut(), device: address, bytes, backing, node: None };
        // SAFETY: the memory is ours alone, and stays until the stream has been waited for.
        let mut code = unsafe { (driver.cuMemsetD8Async)(address, 0, bytes, self.stream) };
        if code == 0 {
            // SAFETY: our own stream.
            code = unsafe { (driver.cuStreamSynchronize)(self.stream) };
        }
        if code != 0 {
            let error = self.context.error(code, format_args!("clearing {bytes} bytes of device memory"));
            // SAFETY: just allocated, and given to nobody.
            let _ = unsafe { self.free_or_tell(memory) };
            return Err(error);
        }
        Ok(memory)
    }

    /// Allocates and frees device memory in the order of a stream, whatever the settings are.
    pub fn try_stream_ordered(&self, bytes: usize) -> Result<()> {
        let driver = self.context.driver();
        let (true, Some(allocate), Some(free)) =
            (self.facts.has_memory_pools, driver.cuMemAllocAsync, driver.cuMemFreeAsync)
        else {
            return fail!(Unsupported, "the device says that it has no stream-ordered memory");
        };
        let _entered = self.context.enter_relaxed()?;
        let mut address = 0;
        // SAFETY: the context is current; the pointer is that of a local.
        let code = unsafe { allocate(&mut address, bytes, self.stream) };
        self.context.check(code, format_args!("allocating {bytes} bytes in the order of a stream"))?;
        // SAFETY: allocated on the same stream, and used by nobody.
        let code = unsafe { free(address, self.stream) };
        self.context.check(code, format_args!("freeing {bytes} bytes in the order of a stream"))
    }

    /// `huge`, where huge pages are asked for, gets the bytes that are on some.
    fn pinned(&self, placement: Placement, bytes: usize, huge: &mut Option<u64>) -> Result<RawMemory> {
        let map = match self.settings.pinned {
            PinnedMethod::Auto => (bytes >= MAPPED_FROM || huge.is_some()) && self.facts.can_register,
            PinnedMethod::Driver => false,
            PinnedMethod::Register => true,
        };
        if !map {
            return self.pinned_by_driver(placement, bytes);
        }
        let refused = match self.pinned_by_mapping(placement, bytes, huge) {
            Err(error) if self.settings.pinned == PinnedMethod::Auto && error.status() != Status::DeviceLost => error,
            done => return done,
        };
        match self.pinned_by_driver(placement, bytes) {
            Ok(memory) => {
                self.unregistered.add(1);
                *huge = huge.map(|_| 0);
                log::write(
                    Level::Warn,
                    format_args!("{bytes} bytes come from the driver's own allocation instead: {}", refused.message()),
                );
                Ok(memory)
            }
            // No way worked: nothing was done instead, and the caller is told of both.
            Err(error) => Err(error.context(refused.message())),
        }
    }

    /// Memory is where the system put it, not near the device. Told once.
    #[cold]
    fn note_misplaced(&self, bytes: usize) {
        self.misplaced.add(1);
        if self.misplaced.get() == 1 {
            log::write(
                Level::Warn,
                format_args!(
                    "{bytes} bytes of page-locked memory, and perhaps more to come, are not bound to the device's memory node {:?}: the system refuses to place memory (a container without CAP_SYS_NICE?)",
                    self.facts.numa_node
                ),
            );
        }
    }

    fn pinned_by_driver(&self, placement: Placement, bytes: usize) -> Result<RawMemory> {
        let driver = self.context.driver();
        let _entered = self.context.enter_relaxed()?;
        let mut host = null_mut();
        let code = {
            // The driver follows the calling thread's policy.
            let preferred = self.facts.numa_node.and_then(numa::prefer);
            if self.facts.numa_node.is_some() && preferred.is_none() {
                self.note_misplaced(bytes);
            }
            // SAFETY: the context is current; the pointer is that of a local.
            unsafe { (driver.cuMemHostAlloc)(&mut host, bytes, PINNED_FLAGS) }
        };
        if code != 0 {
            return Err(self.refused(code, placement, bytes));
        }
        // SAFETY: `bytes` bytes, just allocated and given to nobody. The driver does not promise zeroes.
        unsafe { host.cast::<u8>().write_bytes(0, bytes) };
        let memory = RawMemory {
            placement,
            host: host.cast(),
            device: 0,
            bytes,
            backing: Backing::Driver,
            node: self.facts.numa_node,
        };
        self.with_device_address(memory)
    }

    /// Pages of our own, touched by many threads, then registered piece by piece.
    fn pinned_by_mapping(&self, placement: Placement, bytes: usize, huge: &mut Option<u64>) -> Result<RawMemory> {
        let mapped = bytes.next_multiple_of(numa::page_bytes());
        let entered = self.context.enter_relaxed()?;
        let host = pages::map(mapped, huge.is_some())?;
        // After a fork the child's copy of a page, not the parent's, would be a new one: the device must keep the parent's.
        // SAFETY: the mapping just made; the advice changes nothing for this process.
        unsafe { libc::madvise(host, mapped, libc::MADV_DONTFORK) };
        let node = self.facts.numa_node.filter(|node| numa::bind(host, mapped, *node));
        if node != self.facts.numa_node {
            self.note_misplaced(bytes);
        }
        let before = huge.map(|_| pages::huge_bytes(host.cast()));
        pages::touch(host.cast(), mapped);
        if let Some(before) = before {
            // Neighbours may be shown as one with it: only what came with the touch is its own.
            *huge = Some(pages::huge_bytes(host.cast()).saturating_sub(before).min(mapped as u64));
        }
        let memory = RawMemory { placement, host: host.cast(), device: 0, bytes, backing: Backing::Mapped, node };
        let driver = self.context.driver();
        let piece = self.settings.register_bytes;
        for start in (0..mapped).step_by(piece) {
            let length = piece.min(mapped - start);
            // SAFETY: the range lies inside the mapping, which stays until it is unregistered.
            let code = unsafe { (driver.cuMemHostRegister_v2)(host.byte_add(start), length, REGISTER_FLAGS) };
            if code != 0 {
                let doing = format!("registering bytes {start}.. of {bytes}");
                let error = self.host_error(code, doing);
                for start in (0..start).step_by(piece) {
                    // SAFETY: registered by this loop.
                    unsafe { (driver.cuMemHostUnregister)(host.byte_add(start)) };
                }
                // SAFETY: mapped above, not registered any more, and given to nobody.
                unsafe { libc::munmap(host, mapped) };
                return Err(error);
            }
        }
        drop(entered);
        if mapped > piece {
            let start = host as u64;
            self.pieces.add(PieceRange { start, end: start + mapped as u64, piece: piece as u64 });
        }
        self.with_device_address(memory)
    }

    /// The device's address for host memory, by the driver's word. Without one, memory that kernels are to use is given back.
    fn with_device_address(&self, mut memory: RawMemory) -> Result<RawMemory> {
        // Nobody knows in how many pieces others registered theirs: each page may be in another.
        let whole = match memory.backing {
            Backing::Mapped => self.settings.register_bytes,
            Backing::Foreign => numa::page_bytes(),
            _ => usize::MAX,
        };
        let address = |offset: usize| {
            let _entered = self.context.enter_relaxed()?;
            let mut address = 0;
            // SAFETY: inside the memory, which is registered; the pointer is that of a local.
            let at = unsafe { memory.host.add(offset) };
            // SAFETY: as above.
            let code =
                unsafe { (self.context.driver().cuMemHostGetDevicePointer_v2)(&mut address, at.cast::<c_void>(), 0) };
            self.context.check(code, "asking for the device address of host memory")?;
            Ok(address)
        };
        let found = address(0).and_then(|first| {
            for offset in (0..memory.bytes).step_by(whole.min(memory.bytes)).skip(1) {
                if address(offset)? != first + offset as u64 {
                    return fail!(Unsupported, "the device addresses of {} bytes are not contiguous", memory.bytes);
                }
            }
            Ok(first)
        });
        match found {
            Ok(address) => memory.device = address,
            Err(error) if memory.placement != Placement::Pinned => {
                // SAFETY: just allocated, and given to nobody.
                let _ = unsafe { self.free_or_tell(memory) };
                return Err(error);
            }
            // Copies use the host address.
            Err(_) => {}
        }
        Ok(memory)
    }

    fn managed(&self, bytes: usize) -> Result<RawMemory> {
        let driver = self.context.driver();
        let Some(allocate) = driver.cuMemAllocManaged.filter(|_| self.facts.can_manage) else {
            return fail!(
                Unsupported,
                "managed memory needs a device that the CPU can share it with while kernels run (concurrentManagedAccess): use uva"
            );
        };
        let _entered = self.context.enter_relaxed()?;
        let mut address = 0;
        // SAFETY: the context is current; the pointer is that of a local.
        let code = unsafe { allocate(&mut address, bytes, CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL as c_uint) };
        if code != 0 {
            return Err(self.refused(code, Placement::Managed, bytes));
        }
        let host = address as usize as *mut u8;
        // SAFETY: `bytes` bytes, just allocated and given to nobody; the CPU may touch them at any time, which was asked.
        unsafe { host.write_bytes(0, bytes) };
        let backing = Backing::Driver;
        Ok(RawMemory { placement: Placement::Managed, host, device: address, bytes, backing, node: None })
    }

    /// Makes the caller's host memory page-locked, unless it is already.
    ///
    /// # Safety
    /// The memory stays mapped until it is given back.
    pub unsafe fn adopt(&self, placement: Placement, host: *mut u8, bytes: usize) -> Result<RawMemory> {
        // SAFETY: the caller's promise.
        self.counters.allocate(|| unsafe { self.adopt_uncounted(placement, host, bytes) })
    }

    /// # Safety
    /// As for [`Memory::adopt`].
    unsafe fn adopt_uncounted(&self, placement: Placement, host: *mut u8, bytes: usize) -> Result<RawMemory> {
        let driver = self.context.driver();
        let mut memory = RawMemory { placement, host, device: 0, bytes, backing: Backing::Registered, node: None };
        {
            let _entered = self.context.enter_relaxed()?;
            let is_locked = |at: *mut u8| {
                let mut flags = 0;
                // SAFETY: the pointer is only looked up; the other is that of a local.
                unsafe { (driver.cuMemHostGetFlags)(&mut flags, at.cast()) == 0 }
            };
            let page = numa::page_bytes();
            let pages = pages_of(host, bytes);
            // Noted before the driver is asked, which takes its time, so that no lock is held meanwhile.
            let neighbour = {
                let mut registered = REGISTERED.lock();
                let neighbour = registered.iter().any(|other| other.0 < pages.1 && pages.0 < other.1);
                registered.push(pages);
                neighbour
            };
            // Every page, since the driver refuses what is registered in part by the same code as what is so in whole.
            let whole = || (pages.0..pages.1).step_by(page).all(|at| is_locked(host.with_addr(at.max(host.addr()))));
            let code = match !neighbour && is_locked(host) && whole() {
                true => codes::HOST_MEMORY_ALREADY_REGISTERED,
                // SAFETY: the caller's promise.
                false => unsafe { (driver.cuMemHostRegister_v2)(host.cast(), bytes, REGISTER_FLAGS) },
            };
            if code != 0 {
                forget_pages(pages);
            }
            match code {
                0 => {}
                codes::HOST_MEMORY_ALREADY_REGISTERED if neighbour => {
                    return fail!(
                        Exists,
                        "{bytes} bytes at {host:p} share a page with memory that another buffer borrows, and this driver locks a page once: align what is lent to pages, or lend it as pageable"
                    );
                }
                codes::HOST_MEMORY_ALREADY_REGISTERED if whole() => memory.backing = Backing::Foreign,
                codes::HOST_MEMORY_ALREADY_REGISTERED => {
                    return fail!(
                        Unsupported,
                        "of {bytes} bytes at {host:p} a part is page-locked already, and the rest is not: register all of it, or none"
                    );
                }
                code => {
                    let doing = format!("page-locking {bytes} bytes of the caller's at {host:p}");
                    return Err(self.host_error(code, doing).context(
                        "memory that cannot be registered can be borrowed as pageable, or copied into a buffer of the library's own",
                    ));
                }
            }
        }
        self.with_device_address(memory)
    }

    /// Whether [`Memory::free`] waits for nothing.
    pub fn frees_at_once(memory: RawMemory) -> bool {
        matches!(memory.backing, Backing::StreamOrdered | Backing::Foreign)
    }

    /// Gives memory back. May wait for the whole device.
    ///
    /// # Safety
    /// It came from this value, was not freed before, and neither the CPU nor the device uses it.
    pub unsafe fn free(&self, memory: RawMemory) {
        // SAFETY: the caller's promise.
        let _ = self.counters.free(|| unsafe { self.free_or_tell(memory) });
    }

    /// # Safety
    /// As for [`Memory::free`].
    unsafe fn free_or_tell(&self, memory: RawMemory) -> std::result::Result<(), ()> {
        // SAFETY: the caller's promise.
        unsafe { self.free_uncounted(memory) }.map_err(|error| {
            // It stays where it is; nobody above could do better.
            let bytes = memory.bytes;
            log::write(Level::Error, format_args!("{bytes} bytes stay with the driver: {}", error.message()));
        })
    }

    /// # Safety
    /// As for [`Memory::free`].
    unsafe fn free_uncounted(&self, memory: RawMemory) -> Result<()> {
        let driver = self.context.driver();
        let _entered = self.context.enter_relaxed()?;
        let host: *mut c_void = memory.host.cast();
        let code = match (memory.backing, memory.placement) {
            (Backing::Foreign | Backing::Heap, _) => 0,
            // SAFETY: the caller's promise, here and below.
            (Backing::Driver, Placement::Pinned | Placement::Uva) => unsafe { (driver.cuMemFreeHost)(host) },
            // SAFETY: as above.
            (Backing::Driver, _) => unsafe { (driver.cuMemFree_v2)(memory.device) },
            (Backing::StreamOrdered, _) => match driver.cuMemFreeAsync {
                // SAFETY: as above.
                Some(free) => unsafe { free(memory.device, self.stream) },
                None => codes::NOT_SUPPORTED,
            },
            (Backing::Registered, _) => {
                // SAFETY: as above.
                let code = unsafe { (driver.cuMemHostUnregister)(host) };
                forget_pages(pages_of(memory.host, memory.bytes));
                code
            }
            (Backing::Mapped, _) => {
                let mapped = memory.bytes.next_multiple_of(numa::page_bytes());
                let piece = self.settings.register_bytes;
                self.pieces.remove(host as u64);
                let mut worst = 0;
                for start in (0..mapped).step_by(piece) {
                    // SAFETY: registered when it was made, in the same pieces.
                    let code = unsafe { (driver.cuMemHostUnregister)(host.byte_add(start)) };
                    worst = if code == 0 { worst } else { code };
                }
                if worst == 0 {
                    // SAFETY: mapped when it was made, and not registered any more.
                    unsafe { libc::munmap(host, mapped) };
                }
                worst
            }
        };
        self.context.check(code, "giving memory back")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Ok(_entered) = self.context.enter_relaxed() {
            // SAFETY: created by this value.
            unsafe { (self.context.driver().cuStreamDestroy_v2)(self.stream) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_split_where_a_registration_ends() {
        let pieces = Pieces::default();
        let split = |target, source, bytes| {
            let mut out = Vec::new();
            pieces
                .split(target, source, bytes, |target, source, bytes| {
                    out.push((target, source, bytes));
                    Ok(())
                })
                .unwrap();
            out
        };
        assert_eq!(split(5, 1000, 300), [(5, 1000, 300)]);
        pieces.add(PieceRange { start: 1000, end: 1250, piece: 100 });
        assert_eq!(split(5, 1050, 180), [(5, 1050, 50), (55, 1100, 100), (155, 1200, 30)]);
        assert_eq!(split(1090, 5, 20), [(1090, 5, 10), (1100, 15, 10)]);
        assert_eq!(split(5, 1300, 300), [(5, 1300, 300)]);
        pieces.remove(1000);
        assert_eq!(split(5, 1050, 180), [(5, 1050, 180)]);
    }
}
