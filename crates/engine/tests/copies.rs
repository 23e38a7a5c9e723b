//! Who reads what when, and where bytes go.

mod common;
use common::*;
use gpubuf_engine::{Fault, MemoryKind, Op, Pageable};

#[test]
fn a_pinned_source_is_read_when_the_copy_runs() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 4096, 1);
    let target = device.allocate(MemoryKind::Device, 4096).unwrap();
    for from in [source.host as u64, source.device] {
        set(&source, 1);
        stream.hold();
        submit(&stream, copy(target.device, from, 4096));
        set(&source, 2);
        stream.release();
        assert_eq!(fetch(&device, target.device, 4096), [2; 4096]);
    }
}

#[test]
fn a_staged_pageable_source_is_read_at_submission() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let target = device.allocate(MemoryKind::Device, 64).unwrap();
    let mut source = vec![1u8; 64];
    stream.hold();
    submit(&stream, copy(target.device, source.as_ptr() as u64, 64));
    source.fill(2);
    drop(source);
    stream.release();
    assert_eq!(fetch(&device, target.device, 64), [1; 64]);
}

#[test]
fn a_late_pageable_source_is_read_when_the_copy_runs() {
    let device = device();
    device.set_pageable(Pageable::Late);
    let stream = device.create_stream().unwrap();
    let target = device.allocate(MemoryKind::Device, 64).unwrap();
    let mut source = vec![1u8; 64];
    let address = source.as_mut_ptr();
    stream.hold();
    submit(&stream, copy(target.device, address as u64, 64));
    // SAFETY: the vector is alive, and the stream is held.
    unsafe { std::ptr::write_bytes(address, 2, 64) };
    stream.release();
    assert_eq!(fetch(&device, target.device, 64), [2; 64]);
    drop(source);
}

#[test]
fn every_direction_arrives_and_is_counted() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let a = pinned(&device, 5000, 7);
    let b = pinned(&device, 5000, 0);
    let x = device.allocate(MemoryKind::Device, 5000).unwrap();
    let y = device.allocate(MemoryKind::Device, 5000).unwrap();
    submit(&stream, copy(x.device + 1, a.host as u64 + 1, 4999));
    submit(&stream, copy(y.device, x.device, 5000));
    submit(&stream, copy(b.device, y.device, 4000));
    submit(&stream, copy(b.host as u64 + 4000, a.device, 1000));
    stream.synchronize(patience()).unwrap();
    let mut expected = vec![7; 5000];
    expected[0] = 0;
    assert_eq!(seen(&b), expected);
    let counters = device.counters();
    assert_eq!(counters.bytes_to_device, 4999);
    assert_eq!(counters.bytes_within_device, 5000);
    assert_eq!(counters.bytes_from_device, 4000);
    assert_eq!(counters.bytes_on_host, 1000);
    assert_eq!(counters.executed.copy, 4);
}

#[test]
fn a_slow_copy_takes_its_source_in_pieces() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let bytes = 4096;
    let source = pinned(&device, bytes, 1);
    let target = device.allocate(MemoryKind::Pinned, bytes).unwrap();
    let middle = device.allocate(MemoryKind::Device, bytes).unwrap();
    // Four pieces, 150 ms apart. The first is looked for from outside; the last is 450 ms later.
    device.set_link(0, bytes as u64 * 1000 / 600);
    let peek = device.create_stream().unwrap();
    submit(&stream, copy(middle.device, source.device, bytes));
    until(|| {
        submit(&peek, Op::Call { function: peek_first, arguments: [middle.device as usize, target.device as usize] });
        peek.synchronize(patience()).unwrap();
        seen(&target)[0] == 1
    });
    set(&source, 2);
    stream.synchronize(patience()).unwrap();
    device.set_link(0, 0);
    let landed = fetch(&device, middle.device, bytes);
    assert_eq!((landed[0], landed[bytes / 4 - 1], landed[bytes - 1]), (1, 1, 2));
}

fn peek_first(view: &gpubuf_engine::View<'_>, [from, to]: [usize; 2]) {
    let mut byte = [0];
    view.read(from as u64, &mut byte).unwrap();
    view.write(to as u64, &byte).unwrap();
}

#[test]
fn fills_write_whole_elements() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let memory = pinned(&device, 10000, 0xEE);
    let base = memory.device;
    submit(&stream, Op::Fill { dst: base, width: 1, value: 0xAB, count: 8 });
    submit(&stream, Op::Fill { dst: base + 8, width: 2, value: 0x1234, count: 4 });
    submit(&stream, Op::Fill { dst: base + 16, width: 4, value: 0x1234_5678, count: 2 });
    submit(&stream, Op::Fill { dst: base + 24, width: 8, value: 0x0102_0304_0506_0708, count: 1200 });
    submit(&stream, Op::Fill { dst: base, width: 1, value: 0, count: 0 });
    stream.synchronize(patience()).unwrap();
    let bytes = seen(&memory);
    assert_eq!(bytes[..8], [0xAB; 8]);
    assert_eq!(bytes[8..16], 0x1234u16.to_ne_bytes().repeat(4));
    assert_eq!(bytes[16..24], 0x1234_5678u32.to_ne_bytes().repeat(2));
    assert_eq!(bytes[24..9624], 0x0102_0304_0506_0708u64.to_ne_bytes().repeat(1200));
    assert_eq!(bytes[9624..], [0xEE; 376]);
}

#[test]
fn bad_arguments_are_refused_and_queue_nothing() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let x = device.allocate(MemoryKind::Device, 100).unwrap();
    let p = pinned(&device, 100, 0);
    let host = [0u8; 200];
    let pageable = host.as_ptr() as u64;
    let refused = |op, fault| assert_eq!(try_submit(&stream, op, 0), Err(fault));
    refused(copy(x.device, p.device, 101), Fault::InvalidAddress);
    refused(copy(x.device + 1, p.device, 100), Fault::InvalidAddress);
    refused(copy(x.device, p.host as u64 + 50, 51), Fault::InvalidAddress);
    refused(copy(x.device, pageable, usize::MAX), Fault::InvalidAddress);
    // Starts outside and runs into an allocation.
    refused(copy(x.device - 1, pageable, 2), Fault::InvalidAddress);
    refused(copy(0, p.device, 1), Fault::InvalidValue);
    refused(copy(x.device, 0, 1), Fault::InvalidValue);
    refused(Op::Fill { dst: x.device, width: 3, value: 0, count: 1 }, Fault::InvalidValue);
    refused(Op::Fill { dst: x.device + 1, width: 2, value: 0, count: 1 }, Fault::InvalidValue);
    refused(Op::Fill { dst: x.device, width: 8, value: 0, count: 13 }, Fault::InvalidAddress);
    refused(Op::Fill { dst: x.device, width: 8, value: 0, count: usize::MAX }, Fault::InvalidAddress);
    refused(Op::Fill { dst: pageable, width: 1, value: 0, count: 1 }, Fault::InvalidAddress);
    submit(&stream, copy(0, 0, 0));
    stream.synchronize(patience()).unwrap();
    assert_eq!(device.counters().submitted.total(), 1);
}

#[test]
fn memory_of_another_device() {
    let (one, two) = (device(), device());
    let stream = two.create_stream().unwrap();
    let foreign = one.allocate(MemoryKind::Device, 64).unwrap();
    let shared = pinned(&one, 64, 1);
    let own = two.allocate(MemoryKind::Device, 64).unwrap();
    assert_eq!(try_submit(&stream, copy(own.device, foreign.device, 64), 0), Err(Fault::InvalidAddress));
    stream.hold();
    submit(&stream, copy(own.device, shared.host as u64, 64));
    set(&shared, 2);
    stream.release();
    assert_eq!(fetch(&two, own.device, 64), [2; 64]);
    assert_eq!(two.kind_of(shared.device, 1), None);
    assert_eq!(two.free(shared.device), Err(Fault::InvalidAddress));
}

#[test]
fn rows_are_copied_as_one_operation_and_nothing_between_them() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let source = pinned(&device, 64, 0);
    // SAFETY: live memory of as many bytes, which nobody else uses.
    unsafe { std::slice::from_raw_parts_mut(source.host, 64) }.iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
    let target = device.allocate(MemoryKind::Device, 64).unwrap();
    let rows = |dst, dst_pitch, src, src_pitch| Op::CopyRows { dst, dst_pitch, src, src_pitch, width: 3, rows: 4 };
    submit(&stream, rows(target.device + 1, 10, source.device + 2, 16));
    stream.synchronize(patience()).unwrap();
    let counters = device.counters();
    assert_eq!((counters.bytes_to_device, counters.executed.copy), (12, 1));
    let mut expected = vec![0; 64];
    for row in 0..4 {
        for column in 0..3 {
            expected[1 + 10 * row + column] = (2 + 16 * row + column) as u8;
        }
    }
    assert_eq!(fetch(&device, target.device, 64), expected);
    // The last row ends where the memory ends, and not one byte later.
    submit(&stream, rows(target.device + 1, 20, source.host as u64, 3));
    for wrong in [rows(target.device + 2, 20, source.device, 3), rows(target.device, 3, source.device + 14, 16)] {
        assert_eq!(try_submit(&stream, wrong, 0), Err(Fault::InvalidAddress));
    }
    assert_eq!(try_submit(&stream, rows(target.device, 2, source.device, 16), 0), Err(Fault::InvalidValue));
    assert_eq!(try_submit(&stream, rows(target.device, usize::MAX, source.device, 16), 0), Err(Fault::InvalidValue));
    submit(&stream, Op::CopyRows { dst: 0, dst_pitch: 0, src: 0, src_pitch: 0, width: 0, rows: 4 });
    stream.synchronize(patience()).unwrap();
}

#[test]
fn staged_rows_are_read_at_submission_and_failing_ones_are_one_failure() {
    let device = device();
    let stream = device.create_stream().unwrap();
    let target = device.allocate(MemoryKind::Device, 16).unwrap();
    let mut source = vec![1u8; 13];
    let rows = |src| Op::CopyRows { dst: target.device, dst_pitch: 2, src, src_pitch: 4, width: 1, rows: 4 };
    stream.hold();
    submit(&stream, rows(source.as_ptr() as u64));
    source.fill(2);
    drop(source);
    stream.release();
    let mut expected = [0u8; 16];
    expected.iter_mut().step_by(2).take(4).for_each(|b| *b = 1);
    assert_eq!(fetch(&device, target.device, 16), expected);
    device.fail_operation(Some(gpubuf_engine::OpKind::Copy), 2, gpubuf_engine::FailWhen::Execution);
    let other = pinned(&device, 13, 3);
    submit(&stream, rows(other.device));
    submit(&stream, rows(other.device));
    stream.synchronize(patience()).unwrap();
    assert_eq!(device.counters().failed.copy, 1);
}
