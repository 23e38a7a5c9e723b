//! Memory that the caller registers.

mod common;
use common::*;
use gpubuf_engine::{Allocation, Device, Fault, MemoryKind, Op};

/// Registers memory that outlives the device's work.
fn register(device: &Device, memory: &mut [u8]) -> Result<Allocation, Fault> {
    // SAFETY: the tests keep their memory until the device is idle, and touch it by the slice only when it is.
    unsafe { device.register(memory.as_mut_ptr(), memory.len()) }
}

fn write(memory: &Allocation, value: u8) {
    set(memory, value);
}

#[test]
fn registered_memory_is_read_when_the_copy_runs() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let mut source = vec![1u8; 100];
    let target = pinned(&device, 100, 0);
    let registered = register(&device, &mut source).unwrap();
    assert_eq!((registered.kind, registered.bytes), (MemoryKind::Pinned, 100));
    for (value, address) in [(5, registered.host as u64), (6, registered.device)] {
        stream.hold();
        submit(&stream, copy(target.device, address, 100));
        write(&registered, value);
        stream.release();
        stream.synchronize(patience()).unwrap();
        assert_eq!(seen(&target), [value; 100]);
    }
    device.unregister(registered.host).unwrap();
    // Pageable again: read when it was submitted.
    stream.hold();
    submit(&stream, copy(target.device, registered.host as u64, 100));
    write(&registered, 7);
    stream.release();
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [6; 100]);
}

#[test]
fn the_device_writes_it_by_either_address() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let mut memory = vec![0u8; 64];
    let registered = register(&device, &mut memory).unwrap();
    assert_eq!(registered.device % 4096, registered.host as u64 % 4096);
    assert_ne!(registered.device, registered.host as u64);
    let fill = |dst, value| Op::Fill { dst, width: 1, value, count: 32 };
    submit(&stream, fill(registered.device, 1));
    submit(&stream, fill(registered.host as u64 + 32, 2));
    stream.synchronize(patience()).unwrap();
    device.unregister(registered.host).unwrap();
    assert_eq!(memory[..32], [1; 32]);
    assert_eq!(memory[32..], [2; 32]);
}

#[test]
fn what_is_beside_it_is_pageable_memory() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let mut memory = [3u8; 96];
    let target = pinned(&device, 96, 0);
    let (left, rest) = memory.split_at_mut(32);
    let (middle, right) = rest.split_at_mut(32);
    let registered = register(&device, middle).unwrap();
    for (index, side) in [left, right].iter().enumerate() {
        submit(&stream, copy(target.device + 32 * index as u64, side.as_ptr() as u64, 32));
        assert_eq!(device.kind_of(side.as_ptr() as u64, 32), None);
    }
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target)[..64], [3; 64]);
    assert_eq!(device.kind_of(registered.host as u64, 32), Some(MemoryKind::Pinned));
    assert_eq!(device.kind_of(registered.device, 32), Some(MemoryKind::Pinned));
    // Half in, half out; and beyond its ends on the device's side.
    for address in
        [registered.host as u64 - 1, registered.host as u64 + 1, registered.device - 1, registered.device + 1]
    {
        assert_eq!(try_submit(&stream, copy(target.device, address, 32), 0), Err(Fault::InvalidAddress));
    }
}

#[test]
fn a_range_is_registered_once() {
    let device = device();
    let mut memory = vec![0u8; 64];
    let start = memory.as_mut_ptr();
    // SAFETY: as in `register`; the ranges are of one block.
    let register_part = |from: usize, bytes| unsafe { device.register(start.add(from), bytes) };
    let registered = register_part(16, 32).unwrap();
    for (from, bytes) in [(16, 32), (0, 64), (0, 17), (47, 1), (20, 4)] {
        assert_eq!(register_part(from, bytes), Err(Fault::AlreadyRegistered), "{bytes} bytes from {from}");
    }
    register_part(0, 16).unwrap();
    register_part(48, 16).unwrap();
    let own = pinned(&device, 64, 0);
    let reserved = device.allocate(MemoryKind::Device, 64).unwrap();
    // SAFETY: refused.
    unsafe {
        assert_eq!(device.register(own.host, 64), Err(Fault::AlreadyRegistered));
        assert_eq!(device.register(reserved.device as *mut u8, 64), Err(Fault::InvalidValue));
        assert_eq!(device.register(registered.device as *mut u8, 32), Err(Fault::InvalidValue));
        assert_eq!(device.register(std::ptr::null_mut(), 64), Err(Fault::InvalidValue));
        assert_eq!(device.register(start, 0), Err(Fault::InvalidValue));
        assert_eq!(device.register(start, usize::MAX), Err(Fault::InvalidValue));
    }
    let other = common::device();
    assert_eq!(other.unregister(registered.host), Err(Fault::NotRegistered));
    assert_eq!(device.unregister(registered.host.wrapping_add(1)), Err(Fault::NotRegistered));
    assert_eq!(device.unregister(own.host), Err(Fault::NotRegistered));
    device.unregister(registered.host).unwrap();
    assert_eq!(device.unregister(registered.host), Err(Fault::NotRegistered));
    device.unregister(register_part(16, 32).unwrap().host).unwrap();
}

#[test]
fn it_is_no_allocation_and_counts_against_no_limit() {
    let device = device();
    device.set_memory_limit(MemoryKind::Pinned, 0);
    let mut memory = vec![0u8; 64];
    let registered = register(&device, &mut memory).unwrap();
    assert_eq!(device.memory_used(MemoryKind::Pinned), 0);
    assert_eq!(device.free(registered.device), Err(Fault::InvalidAddress));
    assert_eq!(device.free(registered.host as u64), Err(Fault::InvalidAddress));
    assert_eq!(device.set_host_writable(registered.host, 64, false), Err(Fault::InvalidAddress));
    device.unregister(registered.host).unwrap();
    assert_eq!(device.memory_used(MemoryKind::Pinned), 0);
}

#[test]
fn unregistering_does_not_wait_for_queued_work() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let mut memory = vec![1u8; 16];
    let target = pinned(&device, 16, 0);
    let registered = register(&device, &mut memory).unwrap();
    stream.hold();
    submit(&stream, copy(target.device, registered.device, 16));
    device.unregister(registered.host).unwrap();
    assert_eq!(device.counters().frees_in_use, 1);
    // The device address means nothing from now on.
    assert_eq!(try_submit(&stream, copy(target.device, registered.device, 16), 0), Err(Fault::InvalidAddress));
    write(&registered, 2);
    stream.release();
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [2; 16]);
}

#[test]
fn it_goes_with_the_device_and_is_refused_by_one_that_is_gone() {
    let mut memory = vec![0u8; 16];
    let first = device();
    let registered = register(&first, &mut memory).unwrap();
    drop(first);
    let second = device();
    assert_eq!(second.kind_of(registered.host as u64, 16), None);
    register(&second, &mut memory).unwrap();
    second.lose();
    second.unregister(registered.host).unwrap();
    assert_eq!(register(&second, &mut memory), Err(Fault::DeviceLost));
    let third = device();
    assert_eq!(third.close(patience()), 0);
    assert_eq!(register(&third, &mut memory), Err(Fault::Closed));
}

#[test]
fn a_captured_copy_reads_registered_memory_at_each_replay() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let mut memory = vec![1u8; 16];
    let target = pinned(&device, 16, 0);
    let registered = register(&device, &mut memory).unwrap();
    begin(&stream);
    submit(&stream, copy(target.device, registered.device, 16));
    let exec = stream.end_capture().unwrap().instantiate();
    write(&registered, 8);
    stream.launch(&exec, 0).unwrap();
    stream.synchronize(patience()).unwrap();
    assert_eq!(seen(&target), [8; 16]);
    device.unregister(registered.host).unwrap();
    stream.launch(&exec, 0).unwrap();
    stream.synchronize(patience()).unwrap();
    assert_eq!(device.counters().failed.copy, 1);
}
