//! Fresh pages of our own: mapped, on huge pages if wanted, and backed before the driver locks them.

use super::numa;
use crate::error::Result;
use crate::fail;
use std::ffi::c_void;
use std::fs;
use std::ptr::null_mut;

/// Threads that touch fresh pages, at most.
const TOUCHERS: usize = 8;
/// A huge page, for alignment: that of x86-64, and of arm64 with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Maps `bytes`, a multiple of the page, of which nothing is backed yet; `huge` asks for huge pages.
pub(super) fn map(bytes: usize, huge: bool) -> Result<*mut c_void> {
    let lead = if huge { HUGE_PAGE } else { 0 };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED no existing memory is affected.
    let start = unsafe { libc::mmap(null_mut(), bytes.saturating_add(lead), access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return fail!(OutOfHostMemory, "{bytes} bytes of host memory cannot be mapped: ask for less");
    }
    if !huge {
        return Ok(start);
    }
    let before = start.addr().next_multiple_of(HUGE_PAGE) - start.addr();
    // SAFETY: inside the mapping just made, of which `bytes` are kept; the advice is no more than that.
    unsafe {
        let host = start.byte_add(before);
        for (gone, length) in [(start, before), (host.byte_add(bytes), lead - before)] {
            if length > 0 {
                libc::munmap(gone, length);
            }
        }
        libc::madvise(host, bytes, libc::MADV_HUGEPAGE);
        Ok(host)
    }
}

/// Bytes on huge pages in the system's area that an address lies in; 0 where it does not say.
pub(super) fn huge_bytes(address: *mut u8) -> u64 {
    let Ok(text) = fs::read_to_string("/proc/self/smaps") else { return 0 };
    let mut inside = false;
    for line in text.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let range = range.map(|(start, end)| [start, end].map(|number| usize::from_str_radix(number, 16)));
        match range {
            Some([Ok(start), Ok(end)]) => inside = (start..end).contains(&address.addr()),
            _ if inside => {
                if let Some(size) = line.strip_prefix("AnonHugePages:") {
                    let kilobytes = size.split_whitespace().next().and_then(|size| size.parse::<u64>().ok());
                    return kilobytes.unwrap_or(0) << 10;
                }
            }
            _ => {}
        }
    }
    0
}

/// Has the system back fresh pages now, from several threads: one alone is the slow part of a large allocation.
pub(super) fn touch(start: *mut u8, bytes: usize) {
    let page = numa::page_bytes();
    let pages = bytes / page;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let share = pages.div_ceil(cores.min(TOUCHERS)).max(1);
    let start = start as usize;
    let touch = move |first: usize| {
        for number in first..(first + share).min(pages) {
            // SAFETY: a page of the fresh mapping, which nobody else uses; each page is touched by one thread.
            unsafe { ((start + number * page) as *mut u8).write_volatile(0) };
        }
    };
    std::thread::scope(|scope| {
        for first in (0..pages).step_by(share) {
            // A thread that cannot be had leaves its pages to the registration.
            let _ = std::thread::Builder::new().spawn_scoped(scope, move || touch(first));
        }
    });
}
