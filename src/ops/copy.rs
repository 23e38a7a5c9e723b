//! The copy loop that staging uses.

/// Copies `bytes` bytes.
///
/// # Safety
/// Both ranges are valid for their access and do not overlap.
pub unsafe fn copy(target: *mut u8, source: *const u8, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(source, target, bytes) };
}
