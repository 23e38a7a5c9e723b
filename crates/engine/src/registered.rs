//! Memory of the caller's that is made known as page-locked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::InPlace;
use crate::config::MemoryKind;
use crate::device::Device;
use crate::mapping::{Mapping, page_bytes};
use crate::memory::{Alias, Allocation, Entry, Region, SPACE, seen_by_device};
use crate::operation::OpKind;
use crate::policy::Fault;

impl Device {
    /// Makes the caller's memory known as page-locked: from now on operations read it when they run, by host pointer or
    /// by the device address returned. It counts against no limit.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] for a null pointer, zero bytes or a range that cannot be the caller's;
    /// [`Fault::AlreadyRegistered`] if it overlaps page-locked memory; [`Fault::OutOfHostMemory`],
    /// [`Fault::DeviceLost`], [`Fault::Closed`].
    ///
    /// # Safety
    /// The range must be readable and writable, and stay so until it is unregistered and its queued operations are done.
    pub unsafe fn register(&self, host: *mut u8, bytes: usize) -> Result<Allocation, Fault> {
        self.core().admit()?;
        self.core().makes(OpKind::Registration, Fault::OutOfHostMemory)?;
        // SAFETY: this function's contract.
        unsafe { register(self.core().id, host as usize, bytes, self.core().settings.read().in_place) }
    }

    /// Takes back what [`register`](Device::register) did for the range that begins at `host`. It does not wait: queued
    /// operations go on using the memory, and count as [`frees_in_use`](crate::Counters::frees_in_use) does.
    ///
    /// # Errors
    /// [`Fault::NotRegistered`] if no range registered with this device begins there.
    pub fn unregister(&self, host: *mut u8) -> Result<(), Fault> {
        if unregister(self.core().id, host as usize)? {
            self.core().tallies.frees_in_use.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Makes the caller's memory known as page-locked memory of device `owner`.
///
/// # Safety
/// As for [`Device::register`].
unsafe fn register(owner: u64, host: usize, bytes: usize, in_place: InPlace) -> Result<Allocation, Fault> {
    if host == 0 || bytes == 0 || isize::try_from(bytes).is_err() || host.checked_add(bytes).is_none() {
        return Err(Fault::InvalidValue);
    }
    // The device address has the alignment that the caller's has.
    let lead = host % page_bytes();
    let mapped = (lead + bytes).checked_next_multiple_of(page_bytes()).ok_or(Fault::InvalidValue)?;
    let device_view = Arc::new(Mapping::reserve(mapped).ok_or(Fault::OutOfHostMemory)?);
    let kind = MemoryKind::Pinned;
    let region = Arc::new(Region {
        kind,
        owner,
        bytes,
        alias: Alias::Caller(host),
        device_view,
        lead,
        host_view: None,
        original: None,
        pageable: false,
    });
    let allocation = region.describe();
    let seen = seen_by_device(&region, in_place).ok_or(Fault::OutOfHostMemory)?;
    let mut space = SPACE.write();
    if let Some(entry) = space.touched(host, host + bytes) {
        return Err(match entry {
            Entry::Live { host: true, .. } => Fault::AlreadyRegistered,
            // Addresses that the engine reserves are not memory of the caller's.
            _ => Fault::InvalidValue,
        });
    }
    space.entries.insert(host, Entry::Live { region: region.clone(), host: true });
    space.entries.insert(region.device_view.address(), Entry::Live { region: seen, host: false });
    Ok(allocation)
}

/// Forgets memory of the caller's: its host pointer is pageable memory again, its device address faults. True if queued
/// operations still use it.
fn unregister(owner: u64, host: usize) -> Result<bool, Fault> {
    let mut space = SPACE.write();
    let region = match space.entries.get(&host) {
        Some(Entry::Live { region, host: true }) if region.owner == owner && region.is_registered() => region.clone(),
        _ => return Err(Fault::NotRegistered),
    };
    space.entries.remove(&host);
    space.retire(owner, &region.device_view);
    let in_use = Arc::strong_count(&region) > 1;
    drop(space);
    Ok(in_use)
}
