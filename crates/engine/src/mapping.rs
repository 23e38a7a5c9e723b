//! Pages from the system, given back when dropped.

use std::ptr;

/// What the CPU may do with pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostAccess {
    /// Nothing: every touch faults.
    None,
    /// Writes fault.
    Read,
    /// Everything.
    ReadWrite,
}

/// A range of whole pages of this process.
pub(crate) struct Mapping {
    address: usize,
    bytes: usize,
    /// Bytes before and behind that nobody may touch, for this mapping alone.
    margin: usize,
}

impl Mapping {
    /// Addresses with nothing behind them: touching them faults.
    pub(crate) fn reserve(bytes: usize) -> Option<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Mapping::map(bytes, libc::PROT_NONE, flags, -1)
    }

    /// Zeroed memory of this process alone. The system may refuse what it can never back.
    pub(crate) fn private(bytes: usize) -> Option<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        Mapping::map(bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1)
    }

    /// The same zeroed memory at two addresses, so that one of them, the second, can be protected while the other is used;
    /// with `margin` bytes around the second that fault.
    pub(crate) fn twice(bytes: usize, margin: usize) -> Option<(Mapping, Mapping)> {
        let length = libc::off_t::try_from(bytes).ok()?;
        // SAFETY: the name is a valid C string; the call makes a new descriptor and touches no memory of ours.
        let file = unsafe { libc::memfd_create(c"gpubuf-pinned".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return None;
        }
        // SAFETY: the descriptor was just made and is ours.
        let sized = unsafe { libc::ftruncate(file, length) } == 0;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let map = || Mapping::map(bytes, access, libc::MAP_SHARED, file);
        let apart = || {
            let around = Mapping::reserve(bytes.checked_add(2 * margin)?)?;
            let at = (around.address + margin) as *mut libc::c_void;
            // SAFETY: MAP_FIXED replaces pages inside of `around`, which was just reserved and is used by nobody else.
            let address = unsafe { libc::mmap(at, bytes, access, libc::MAP_SHARED | libc::MAP_FIXED, file, 0) };
            if address == libc::MAP_FAILED {
                return None;
            }
            std::mem::forget(around);
            Some(Mapping { address: address as usize, bytes, margin })
        };
        let views = if sized { map().zip(if margin == 0 { map() } else { apart() }) } else { None };
        // SAFETY: the descriptor is ours and not used again; the mappings keep the memory.
        unsafe { libc::close(file) };
        views
    }

    fn map(bytes: usize, access: i32, flags: i32, file: i32) -> Option<Mapping> {
        // SAFETY: without MAP_FIXED the system chooses unused addresses, so no existing memory is affected.
        let address = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, file, 0) };
        (address != libc::MAP_FAILED).then_some(Mapping { address: address as usize, bytes, margin: 0 })
    }

    pub(crate) fn address(&self) -> usize {
        self.address
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says what the CPU may do with the pages that cover a range; false if the system refuses.
    pub(crate) fn set_access(&self, offset: usize, bytes: usize, access: HostAccess) -> bool {
        let page = page_bytes();
        let start = offset / page * page;
        let end = offset.saturating_add(bytes).min(self.bytes);
        if bytes == 0 || start >= end {
            return true;
        }
        let access = match access {
            HostAccess::None => libc::PROT_NONE,
            HostAccess::Read => libc::PROT_READ,
            HostAccess::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: the range lies inside this mapping (the kernel rounds its end up to a page, and mappings are whole
        // pages). Taking access away makes later CPU accesses fault, which is what the caller asks for.
        unsafe { libc::mprotect((self.address + start) as *mut _, end - start, access) == 0 }
    }

    /// Takes the memory away but keeps the addresses, so that they fault and are given to nobody else.
    pub(crate) fn retire(&self) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: MAP_FIXED replaces exactly this mapping, which the engine never reads through: it works on the
        // alias. Should the system refuse, the old pages stay until the mapping is dropped.
        unsafe { libc::mmap(self.address as *mut _, self.bytes, libc::PROT_NONE, flags, -1, 0) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by this value, which is the only one to unmap it, and whoever reads through it
        // keeps this value alive.
        unsafe { libc::munmap((self.address - self.margin) as *mut _, self.bytes + 2 * self.margin) };
    }
}

/// The system's page size.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: a query without side effects.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(4096)
}
