//! What a function that runs on a stream sees of memory.

use std::marker::PhantomData;

use crate::memory;
use crate::operation::copy_racing;
use crate::policy::Fault;

/// What a running [`Op::Call`](crate::Op::Call) sees: device and pinned memory as it is at that moment. Addresses are looked up when
/// they are used; memory that was freed, pageable memory and other devices' memory are not there.
pub struct View<'a> {
    device: u64,
    stream: u64,
    /// Keeps the view inside the call.
    call: PhantomData<&'a ()>,
}

impl View<'_> {
    pub(crate) fn new(device: u64, stream: u64) -> View<'static> {
        View { device, stream, call: PhantomData }
    }

    /// Reads `out.len()` bytes at `address` into `out`, which must not be pinned memory.
    ///
    /// # Errors
    /// [`Fault::InvalidAddress`] if the range is not inside one allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), Fault> {
        self.with_bytes(address, out.len(), |bytes| {
            // SAFETY: with_bytes gives as many mapped bytes as `out` has room for.
            unsafe { copy_racing(out.as_mut_ptr(), bytes, out.len()) }
        })
    }

    /// Writes `data` at `address`.
    ///
    /// # Errors
    /// [`Fault::InvalidAddress`] if the range is not inside one allocation.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), Fault> {
        self.with_bytes(address, data.len(), |bytes| {
            // SAFETY: with_bytes gives as many mapped bytes as `data` has, of the engine's alias, which is writable.
            unsafe { copy_racing(bytes.cast_mut(), data.as_ptr(), data.len()) }
        })
    }

    /// Hands `f` a pointer to `bytes` bytes at `address`, valid during `f` only. The memory stays mapped meanwhile even
    /// if it is freed, and may change at any time.
    ///
    /// # Errors
    /// [`Fault::InvalidAddress`] if the range is not inside one allocation.
    pub fn with_bytes<R>(&self, address: u64, bytes: usize, f: impl FnOnce(*const u8) -> R) -> Result<R, Fault> {
        match memory::resolve(self.device, address, bytes)? {
            Some((region, offset)) if !region.pageable => Ok(f(region.at(offset))),
            _ => Err(Fault::InvalidAddress),
        }
    }

    /// The stream that runs the call.
    pub fn stream_id(&self) -> u64 {
        self.stream
    }
}
