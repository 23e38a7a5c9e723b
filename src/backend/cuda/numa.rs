//! Which memory node is near the device, and how to get memory there. All of it is a wish: a system that refuses loses time,
//! never correctness.

use super::card::Card;
pub use crate::backend::system::page_bytes;
use std::ffi::{c_int, c_long, c_ulong, c_void};

/// CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, drivers of CUDA 12.2 on.
const HOST_NUMA_ID: c_int = 134;
const MPOL_PREFERRED: c_int = 1;
/// Bits of a node mask.
const NODES: usize = 1024;
const WORD: usize = c_ulong::BITS as usize;

type Mask = [c_ulong; NODES / WORD];

/// The node of the device: by the driver's word, else by where it is plugged in. `None`: unknown, or there is only one.
pub fn node_of(card: Card) -> Option<u32> {
    let by_driver = card.attribute(HOST_NUMA_ID).and_then(|node| u32::try_from(node).ok());
    by_driver.or_else(|| {
        let text = std::fs::read_to_string(format!("/sys/bus/pci/devices/{}/numa_node", card.bus()?)).ok()?;
        text.trim().parse().ok()
    })
}

fn mask_of(node: u32) -> Option<Mask> {
    let mut mask = [0; NODES / WORD];
    *mask.get_mut(node as usize / WORD)? |= 1 << (node as usize % WORD);
    Some(mask)
}

/// Asks for fresh pages of a mapping on a node. Says whether the system agreed.
pub fn bind(start: *mut c_void, bytes: usize, node: u32) -> bool {
    let Some(mask) = mask_of(node) else { return false };
    // SAFETY: the range is a mapping of the caller's; a preference changes no contents.
    unsafe { libc::syscall(libc::SYS_mbind, start, bytes, MPOL_PREFERRED, mask.as_ptr(), NODES as c_ulong, 0) == 0 }
}

/// The thread's policy as it was; put back when dropped.
pub struct Preferred {
    mode: c_int,
    mask: Mask,
}

/// Has what this thread allocates come from a node, until the guard is dropped.
pub fn prefer(node: u32) -> Option<Preferred> {
    let wanted = mask_of(node)?;
    let mut old = Preferred { mode: 0, mask: [0; NODES / WORD] };
    let nothing = std::ptr::null::<c_void>();
    // SAFETY: both pointers are those of a local of the size named.
    let known: c_long = unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &mut old.mode, old.mask.as_mut_ptr(), NODES as c_ulong, nothing, 0)
    };
    if known != 0 {
        return None;
    }
    // SAFETY: the mask is a local of the size named; the policy is this thread's own.
    let set = unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_PREFERRED, wanted.as_ptr(), NODES as c_ulong) };
    (set == 0).then_some(old)
}

impl Drop for Preferred {
    fn drop(&mut self) {
        // SAFETY: as in `prefer`; mode and mask are what the system gave.
        unsafe { libc::syscall(libc::SYS_set_mempolicy, self.mode, self.mask.as_ptr(), NODES as c_ulong) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_put_back() {
        let policy = || {
            let mut mode: c_int = -1;
            let nothing = std::ptr::null::<c_void>();
            // SAFETY: the pointer is that of a local; a mask is not asked for.
            let known = unsafe { libc::syscall(libc::SYS_get_mempolicy, &mut mode, nothing, 0, nothing, 0) };
            (known == 0).then_some(mode)
        };
        let before = policy();
        let preferred = prefer(0);
        if preferred.is_some() {
            assert_eq!(policy(), Some(MPOL_PREFERRED));
        }
        drop(preferred);
        assert_eq!(policy(), before);
    }
}
