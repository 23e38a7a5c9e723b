//! Allocation, limits, frees and what the CPU may touch.

mod common;
use common::*;
use gpubuf_engine::{Compare, Config, Device, Fault, HostAccess, InPlace, MemoryKind, Op};

/// The signal that ends a child process which writes (or reads) the byte at `address`; 0 if it lives.
fn touch(address: u64, write: bool) -> i32 {
    // SAFETY: the child only sets limits, touches memory and ends, all of which is allowed after a fork in a process
    // with threads. A touch that faults is what is asked about.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            let byte = address as *mut u8;
            if write {
                byte.write_volatile(9);
            } else {
                byte.read_volatile();
            }
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 }
    }
}

#[test]
fn the_cpu_cannot_touch_device_addresses() {
    let device = device();
    let memory = device.allocate(MemoryKind::Device, 100).unwrap();
    assert!(memory.host.is_null());
    assert_eq!(touch(memory.device, false), libc::SIGSEGV);
    let memory = pinned(&device, 100, 1);
    assert_ne!(memory.host as u64, memory.device);
    assert_eq!(touch(memory.device, false), libc::SIGSEGV);
    assert_eq!(touch(memory.host as u64, true), 0);
}

#[test]
fn a_read_only_host_view_faults_on_writes_while_the_device_still_writes() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 3 * 4096, 1);
    let host = memory.host as u64;
    device.set_host_writable((host + 4100) as *const u8, 10, false).unwrap();
    assert_eq!(touch(host + 4096, true), libc::SIGSEGV);
    assert_eq!(touch(host + 4096, false), 0);
    assert_eq!(touch(host + 4095, true), 0);
    assert_eq!(touch(host + 8192, true), 0);
    let source = [5u8; 4];
    submit(&stream, copy(host + 4096, source.as_ptr() as u64, 4));
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&memory)[4096..4100], [5; 4]);
    device.set_host_writable((host + 4096) as *const u8, 4096, true).unwrap();
    assert_eq!(touch(host + 4096, true), 0);
}

#[test]
fn only_host_views_of_pinned_memory_can_be_protected() {
    let device = device();
    let x = device.allocate(MemoryKind::Device, 100).unwrap();
    let p = pinned(&device, 100, 0);
    let local = 0u8;
    let refused = |address: u64, bytes| {
        let result = device.set_host_writable(address as *const u8, bytes, false);
        assert_eq!(result, Err(Fault::InvalidAddress));
    };
    refused(x.device, 1);
    refused(p.device, 1);
    refused(p.host as u64, 101);
    refused(&raw const local as u64, 1);
}

#[test]
fn allocations_are_zeroed_and_aligned() {
    let device = device();
    for kind in [MemoryKind::Device, MemoryKind::Pinned] {
        let memory = device.allocate(kind, 5000).unwrap();
        assert_eq!(memory.kind, kind);
        assert_eq!(memory.bytes, 5000);
        assert_eq!(memory.device % 4096, 0);
        assert_eq!(memory.host as u64 % 4096, 0);
        assert_eq!(fetch(&device, memory.device, 5000), [0; 5000]);
        assert_eq!(device.memory_used(kind), 8192);
    }
}

#[test]
fn kinds_are_known_by_range() {
    let device = device();
    let x = device.allocate(MemoryKind::Device, 100).unwrap();
    let p = device.allocate(MemoryKind::Pinned, 100).unwrap();
    assert_eq!(device.kind_of(x.device, 100), Some(MemoryKind::Device));
    assert_eq!(device.kind_of(x.device + 99, 1), Some(MemoryKind::Device));
    assert_eq!(device.kind_of(x.device + 99, 2), None);
    assert_eq!(device.kind_of(p.device, 100), Some(MemoryKind::Pinned));
    assert_eq!(device.kind_of(p.host as u64 + 1, 99), Some(MemoryKind::Pinned));
    assert_eq!(device.kind_of(&raw const x as u64, 1), None);
    assert_eq!(device.kind_of(u64::MAX, usize::MAX), None);
}

#[test]
fn limits_hold_and_can_change() {
    let device = device();
    for (kind, fault) in [(MemoryKind::Device, Fault::OutOfDeviceMemory), (MemoryKind::Pinned, Fault::OutOfHostMemory)]
    {
        device.set_memory_limit(kind, 8192);
        let first = device.allocate(kind, 4096).unwrap();
        device.allocate(kind, 1).unwrap();
        assert_eq!(device.allocate(kind, 1), Err(fault));
        device.free(first.device).unwrap();
        assert_eq!(device.memory_used(kind), 4096);
        device.allocate(kind, 4096).unwrap();
        device.set_memory_limit(kind, 0);
        assert_eq!(device.allocate(kind, 1), Err(fault));
        device.set_memory_limit(kind, u64::MAX);
        // Neither overflows nor aborts; the system has no such range.
        for bytes in [usize::MAX, usize::MAX / 2, usize::MAX / 2 - 4095, 1 << 62] {
            assert_eq!(device.allocate(kind, bytes), Err(fault));
        }
        assert_eq!(device.allocate(kind, 0), Err(Fault::InvalidValue));
        assert_eq!(device.memory_used(kind), 8192);
    }
}

#[test]
fn memory_freed_in_use_stays_until_its_operations_are_done() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 4096, 3);
    let target = pinned(&device, 4096, 0);
    stream.hold();
    submit(&stream, copy(target.device, source.device, 4096));
    device.free(source.device).unwrap();
    assert_eq!(device.counters().frees_in_use, 1);
    assert_eq!(device.memory_used(MemoryKind::Pinned), 8192);
    // Gone for the CPU and for new operations at once.
    assert_eq!(touch(source.host as u64, false), libc::SIGSEGV);
    assert_eq!(device.kind_of(source.device, 1), None);
    for address in [source.device, source.host as u64] {
        assert_eq!(try_submit(&stream, copy(target.device, address, 1), 0), Err(Fault::InvalidAddress));
    }
    // Nobody gets the addresses while the operation waits.
    for _ in 0..64 {
        let other = device.allocate(MemoryKind::Pinned, 4096).unwrap();
        assert!(![source.device, source.host as u64].contains(&other.device));
        assert_ne!(source.host, other.host);
    }
    // However much is freed meanwhile, its addresses are not forgotten.
    for _ in 0..600 {
        device.free(device.allocate(MemoryKind::Device, 1).unwrap().device).unwrap();
    }
    assert_eq!(try_submit(&stream, copy(target.device, source.device, 1), 0), Err(Fault::InvalidAddress));
    stream.release();
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [3; 4096]);
    assert_eq!(device.memory_used(MemoryKind::Pinned), 65 * 4096);
    device.free(target.device).unwrap();
    assert_eq!(device.counters().frees_in_use, 1);
}

#[test]
fn frees_need_a_live_base_address() {
    let device = device();
    let memory = device.allocate(MemoryKind::Device, 8192).unwrap();
    assert_eq!(device.free(memory.device + 4096), Err(Fault::InvalidAddress));
    assert_eq!(device.free(0), Err(Fault::InvalidAddress));
    device.free(memory.device).unwrap();
    assert_eq!(device.free(memory.device), Err(Fault::InvalidAddress));
    let memory = device.allocate(MemoryKind::Pinned, 1).unwrap();
    device.free(memory.host as u64).unwrap();
    assert_eq!(device.free(memory.device), Err(Fault::InvalidAddress));
}

#[test]
fn many_allocations_come_and_go() {
    let device = device();
    for _ in 0..2000 {
        let memory = device.allocate(MemoryKind::Pinned, 1).unwrap();
        device.free(memory.device).unwrap();
    }
    assert_eq!(device.memory_used(MemoryKind::Pinned), 0);
}

#[test]
fn a_snapshot_is_what_the_device_sees_by_its_address_alone() {
    let device = device();
    device.set_in_place(InPlace::Snapshot);
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 100, 7);
    let target = device.allocate(MemoryKind::Device, 100).unwrap();
    submit(&stream, copy(target.device, memory.device, 100));
    assert_eq!(fetch(&device, target.device, 100), [0; 100], "as it was made");
    submit(&stream, copy(target.device, memory.host as u64, 100));
    assert_eq!(fetch(&device, target.device, 100), [7; 100], "by the host's pointer");
    submit(&stream, Op::Fill { dst: memory.device, width: 1, value: 9, count: 100 });
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&memory), [7; 100], "the host does not see what the device writes");
    submit(&stream, copy(target.device, memory.device + 50, 50));
    assert_eq!(fetch(&device, target.device, 50), [9; 50]);
    // Words that streams wait for are live.
    submit(&stream, Op::WaitValue { address: memory.device, value: 0x0707_0707, compare: Compare::Equal });
    stream.synchronize(patience()).unwrap();
    // Memory made before and afterwards is as ever, and none of it stays.
    device.set_in_place(InPlace::Live);
    let live = pinned(&device, 100, 3);
    submit(&stream, copy(target.device, live.device, 100));
    assert_eq!(fetch(&device, target.device, 100), [3; 100]);
    for memory in [memory, target, live] {
        device.free(memory.device).unwrap();
        assert_eq!(device.free(memory.device), Err(Fault::InvalidAddress));
    }
    assert_eq!(device.memory_used(MemoryKind::Pinned), 0);
    assert_eq!(touch(memory.host as u64, false), libc::SIGSEGV);
}

#[test]
fn a_snapshot_of_registered_memory_is_what_it_held_then() {
    let device = device();
    device.set_in_place(InPlace::Snapshot);
    let stream = device.create_stream().unwrap();
    let mut own = vec![5u8; 3000];
    let at = own[10..].as_mut_ptr();
    // SAFETY: the vector outlives the registration.
    let memory = unsafe { device.register(at, 2000) }.unwrap();
    let target = device.allocate(MemoryKind::Device, 2000).unwrap();
    own.fill(6);
    submit(&stream, copy(target.device, memory.device, 2000));
    assert_eq!(fetch(&device, target.device, 2000), [5; 2000]);
    assert_eq!(device.free(memory.device), Err(Fault::InvalidAddress), "registered memory is not freed");
    device.unregister(at).unwrap();
    // SAFETY: refused, since the address is not one any more.
    assert_eq!(unsafe { stream.submit(copy(target.device, memory.device, 1), 0) }, Err(Fault::InvalidAddress));
}

#[test]
fn the_cpu_can_be_shut_out_of_a_host_view_while_the_device_works_on_it() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 2 * 4096, 1);
    let host = memory.host as u64;
    device.set_host_access(host as *const u8, 4096, HostAccess::None).unwrap();
    assert_eq!(touch(host, false), libc::SIGSEGV);
    assert_eq!(touch(host + 4096, true), 0);
    let source = [5u8; 4];
    submit(&stream, copy(host, source.as_ptr() as u64, 4));
    stream.synchronize(patience()).unwrap();
    device.set_bytes(host + 4, 4, 6).unwrap();
    assert_eq!(device.find_other_byte(host, 4, 5), Ok(None));
    assert_eq!(device.find_other_byte(host, 8, 5), Ok(Some(4)));
    assert_eq!(device.set_bytes(host, 2 * 4096 + 1, 0), Err(Fault::InvalidAddress));
    device.set_host_access(host as *const u8, 4096, HostAccess::ReadWrite).unwrap();
    assert_eq!(seen(&memory)[..8], [5, 5, 5, 5, 6, 6, 6, 6]);
}

#[test]
fn host_memory_with_margins_faults_before_and_behind() {
    let device = Device::new(Config { margins: true, ..Config::default() }).unwrap();
    let memories = [
        device.allocate(MemoryKind::Pinned, 4096).unwrap(),
        device.allocate(MemoryKind::Pinned, 4096).unwrap(),
        device.allocate_pageable(4096).unwrap(),
    ];
    for memory in memories {
        let host = memory.host as u64;
        let touched = [host - 1, host, host + 4095, host + 4096].map(|address| touch(address, true));
        assert_eq!(touched, [libc::SIGSEGV, 0, 0, libc::SIGSEGV]);
        device.free(host).unwrap();
        assert_eq!(touch(host, false), libc::SIGSEGV);
    }
}

#[test]
fn pageable_memory_of_the_engine_is_as_the_callers() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = device.allocate_pageable(100).unwrap();
    let (host, target) = (memory.host as u64, pinned(&device, 100, 0));
    // SAFETY: memory of the engine's, which nothing uses.
    unsafe { memory.host.write_bytes(7, 100) };
    stream.hold();
    submit(&stream, copy(target.host as u64, host, 100));
    // SAFETY: staged at the submission.
    unsafe { memory.host.write_bytes(8, 100) };
    stream.release();
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [7; 100]);
    // SAFETY: refused.
    let refused = unsafe { stream.submit(Op::Fill { dst: host, width: 1, value: 0, count: 1 }, 0) };
    assert_eq!(refused, Err(Fault::InvalidAddress));
    submit(&stream, copy(host, target.host as u64, 50));
    stream.synchronize(patience()).unwrap();
    device.set_host_access(memory.host, 100, HostAccess::Read).unwrap();
    assert_eq!(touch(host, true), libc::SIGSEGV);
    assert_eq!(device.find_other_byte(host, 51, 7), Ok(Some(50)));
    assert_eq!(device.memory_used(MemoryKind::Pinned), 4096);
}
