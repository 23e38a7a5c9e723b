//! Buffers against a plain model: bytes and marks of both sides, whatever fails when, with streams held shut at random.

mod common;

use common::*;
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::buffer::{Buffer, BufferOptions, BufferSettings};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::Shape;
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Policy, Which};
use gpubuf::sync::Arc;

#[path = "buffers/model.rs"]
mod model;

const SIDES: [Which; 2] = [Which::Host, Which::Device];

fn shape(dims: &[u64]) -> Shape {
    Shape::new(dims).expect("a shape")
}

fn matrix(device: &Arc<Device>, rows: u64, columns: u64, settings: BufferSettings) -> Arc<Buffer> {
    let options = gpubuf::buffer::BufferOptions { shape: shape(&[rows, columns]), ..pair_of(1) };
    Buffer::create_with(device, options, settings).expect("a buffer")
}

fn write(buffer: &Buffer, first: u64, bytes: &[u8]) -> Result<()> {
    // SAFETY: as many bytes as are named.
    unsafe { buffer.copy_in(first, bytes.len() as u64, bytes.as_ptr(), Timeout::Try) }
}

fn read(buffer: &Buffer) -> Vec<u8> {
    let mut out = vec![0; buffer.shape().count() as usize];
    // SAFETY: the vector has room for every element.
    unsafe { buffer.copy_out(0, ALL, out.as_mut_ptr(), Timeout::Infinite) }.expect("the host side");
    out
}

/// What is newer on a side, as (first, count) of each row.
fn newer(buffer: &Buffer, which: Which) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    buffer
        .newer(which, |newer| out.extend((0..newer.rows).map(|row| (newer.first + row * newer.stride, newer.count))))
        .expect("the marks");
    out.sort();
    out
}

#[test]
fn a_sync_moves_what_is_newer_and_nothing_else() {
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(100));
    write(&buffer, 10, &[1; 5]).unwrap();
    write(&buffer, 40, &[2; 5]).unwrap();
    buffer.mark_newer(Which::Device, 60, 10).unwrap();
    assert_eq!((newer(&buffer, Which::Host), newer(&buffer, Which::Device)), (vec![(10, 5), (40, 5)], vec![(60, 10)]));
    let fences = device.counters.fences_recorded.get();
    buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
    assert_eq!(device.counters.fences_recorded.get() - fences, 1, "one fence for both ways");
    let flows = buffer.stats().unwrap().flows;
    assert_eq!((flows.up.copies, flows.up.bytes, flows.down.copies, flows.down.bytes), (2, 10, 1, 10));
    assert!(SIDES.iter().all(|side| newer(&buffer, *side).is_empty()));
    buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
    assert_eq!(buffer.stats().unwrap().flows, flows, "nothing is newer, nothing is done");
}

#[test]
fn a_copy_waits_for_the_fill_before_it() {
    let device = device();
    let (fills, copies) = (stream(&device), stream(&device));
    let buffer = buffer(&device, pair_of(64));
    hold(&fills);
    buffer.fill(false, true, &[7], Some(&fills), Timeout::Try).unwrap();
    buffer.copy(false, 0, ALL, &copies, None).unwrap();
    let early = copies.synchronize(Timeout::Within(std::time::Duration::from_millis(100)));
    assert_eq!(status(early), Status::Timeout);
    release(&fills);
    copies.synchronize(Timeout::Infinite).unwrap();
    assert_eq!(read(&buffer), [7; 64]);
}

#[test]
fn what_a_sync_still_reads_is_not_filled() {
    let device = device();
    let (reads, fills) = (stream(&device), stream(&device));
    let buffer = buffer(&device, pair_of(64));
    buffer.mark_newer(Which::Device, 0, ALL).unwrap();
    hold(&reads);
    buffer.sync(None, &reads, None).unwrap();
    buffer.fill(false, true, &[7], Some(&fills), Timeout::Try).unwrap();
    let early = fills.synchronize(Timeout::Within(std::time::Duration::from_millis(100)));
    assert_eq!(status(early), Status::Timeout, "the fill waits for the copy that reads");
    release(&reads);
    fills.synchronize(Timeout::Infinite).unwrap();
}

#[test]
fn both_sides_newer_is_a_conflict_unless_a_policy_decides() {
    let device = device();
    let stream = stream(&device);
    let both = |policy, host_last: bool| {
        let buffer = matrix(&device, 1, 64, BufferSettings { policy, ..Default::default() });
        let address = buffer.device_address(std::slice::from_ref(&stream)).unwrap();
        buffer.fill(false, true, &[2], Some(&stream), Timeout::Try).unwrap();
        buffer.copy(false, 0, ALL, &stream, Some(Timeout::Infinite)).unwrap();
        let order = if host_last { [Which::Device, Which::Host] } else { [Which::Host, Which::Device] };
        for side in order {
            match side {
                Which::Host => write(&buffer, 0, &[1; 16]).unwrap(),
                Which::Device => buffer.mark_newer(Which::Device, 8, 16).unwrap(),
            }
        }
        (buffer, address)
    };
    let (buffer, _) = both(Policy::Refuse, true);
    assert_eq!(status(buffer.sync(None, &stream, None)), Status::Conflict);
    assert_eq!(
        (newer(&buffer, Which::Host), newer(&buffer, Which::Device)),
        (vec![(0, 16)], vec![(8, 16)]),
        "as before"
    );
    assert_eq!(buffer.stats().unwrap().flows.conflicts, 1);
    // Elsewhere there is none.
    buffer.slice(0, 1).unwrap().sync(Some(Policy::Device), &stream, Some(Timeout::Infinite)).unwrap();
    assert_eq!(read(&buffer)[..24], [[1; 8].as_slice(), &[2; 16]].concat());

    for (policy, host_last, host_wins) in [
        (Policy::Host, false, true),
        (Policy::Device, true, false),
        (Policy::Newest, true, true),
        (Policy::Newest, false, false),
    ] {
        let (buffer, address) = both(policy, host_last);
        buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
        let wanted =
            [if host_wins { [1; 16] } else { [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2] }, [2; 16]].concat();
        assert_eq!(read(&buffer)[..32], wanted, "{policy:?}, host last: {host_last}");
        assert_eq!(read_device(&device, address, 32), wanted, "{policy:?}, host last: {host_last}");
        assert!(SIDES.iter().all(|side| newer(&buffer, *side).is_empty()));
    }
}

#[test]
fn a_copy_that_failed_is_sent_again_by_the_next_sync() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(64));
    let address = buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    write(&buffer, 0, &[5; 64]).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    buffer.copy(true, 8, 16, &stream, None).unwrap();
    ran(&stream);
    // Newer again: just what had been taken as sent. One call tells of it.
    assert_eq!(newer(&buffer, Which::Host), [(0, 8), (8, 16), (24, 40)]);
    assert_eq!(status(buffer.sync(None, &stream, None)), Status::CopyFailed);
    buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
    assert_eq!(read_device(&device, address, 64), [5; 64]);
    assert_eq!(buffer.stats().unwrap().flows.failures, 1);

    // A sync that fails puts back both ways.
    write(&buffer, 0, &[6; 8]).unwrap();
    buffer.mark_newer(Which::Device, 32, 8).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    assert_eq!(status(buffer.sync(None, &stream, Some(Timeout::Infinite))), Status::CopyFailed);
    assert_eq!((newer(&buffer, Which::Host), newer(&buffer, Which::Device)), (vec![(0, 8)], vec![(32, 8)]));
}

#[test]
fn a_failure_that_was_overwritten_makes_nothing_newer() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(64));
    write(&buffer, 0, &[5; 64]).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    buffer.copy(true, 0, ALL, &stream, None).unwrap();
    // Behind it: half is sent again, a quarter written by a kernel.
    buffer.copy(true, 0, 32, &stream, None).unwrap();
    buffer.slice(32, 16).unwrap().used_on(&stream, Access::Write).unwrap();
    ran(&stream);
    assert_eq!((newer(&buffer, Which::Host), newer(&buffer, Which::Device)), (vec![(48, 16)], vec![(32, 16)]));
}

#[test]
fn more_marks_than_there_is_room_for_copy_more_and_lose_nothing() {
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(1000));
    let address = buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    for place in 0..20 {
        write(&buffer, 50 * place, &[place as u8 + 1; 10]).unwrap();
    }
    assert!(newer(&buffer, Which::Host).len() <= 8);
    let host = read(&buffer);
    buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
    assert_eq!(read_device(&device, address, 1000), host);

    // What was merely taken along is nobody's to win, whatever the policy: here the host has no say over 60..70.
    for place in 0..20 {
        write(&buffer, 50 * place, &[77; 10]).unwrap();
    }
    buffer.mark_newer(Which::Device, 60, 10).unwrap();
    let marked = newer(&buffer, Which::Host).iter().any(|(first, count)| (*first..first + count).contains(&60));
    let expected = if marked { Status::Conflict } else { Status::Ok };
    assert_eq!(status(buffer.sync(Some(Policy::Host), &stream, None)), expected);
}

#[test]
fn windows_beside_each_other_do_not_disturb_each_other() {
    let device = device();
    let (stream, other) = (stream(&device), stream(&device));
    let whole = matrix(&device, 20, 16, BufferSettings::default());
    let left = whole.window((0, ALL), (0, 8)).unwrap();
    let right = whole.window((0, ALL), (8, ALL)).unwrap();
    hold(&stream);
    write(&left, 0, &[1; 160]).unwrap();
    left.copy(true, 0, ALL, &stream, None).unwrap();
    // The left half is on its way; the right one is free, on the CPU and on other streams.
    assert_eq!(status(write(&left, 0, &[9; 160])), Status::Busy);
    write(&right, 0, &[2; 160]).unwrap();
    right.copy(true, 0, ALL, &other, Some(Timeout::Infinite)).unwrap();
    assert_eq!(status(whole.begin(Access::Write, 0, 1, Timeout::Try)), Status::Busy);
    release(&stream);
    // Twenty rows each, and two marks: one that the host wrote, one that a kernel did.
    write(&left, 0, &[3; 160]).unwrap();
    right.used_on(&stream, Access::Write).unwrap();
    assert_eq!(newer(&whole, Which::Host).len(), 20);
    assert_eq!(
        newer(&left, Which::Host),
        [(0, 160)].map(|_| (0, 8)).iter().copied().chain((1..20).map(|row| (8 * row, 8))).collect::<Vec<_>>()
    );
    assert!(newer(&right, Which::Host).is_empty());
    whole.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
    let flows = whole.stats().unwrap().flows;
    assert_eq!((flows.up.copies, flows.down.copies), (3, 1), "a window is one copy");
    assert_eq!(read(&whole), [[3; 8], [2; 8]].concat().repeat(20));
}

#[test]
fn views_outlive_their_buffer_and_name_their_elements() {
    let device = device();
    let stream = stream(&device);
    let options = gpubuf::buffer::BufferOptions { shape: shape(&[4, 3, 2]), ..pair_of(1) };
    let whole = Buffer::create(&device, options).unwrap();
    write(&whole, 0, &(0..24).collect::<Vec<u8>>()).unwrap();
    let rows = whole.slice(1, 2).unwrap();
    let window = whole.window((1, 3), (2, 3)).unwrap();
    let inner = window.slice(1, 2).unwrap().window((0, ALL), (1, 2)).unwrap();
    assert_eq!((rows.shape().dims(), rows.layout().strides()[..3].to_vec()), (&[2, 3, 2][..], vec![6, 2, 1]));
    assert_eq!((window.shape().dims(), window.layout().strides()[..2].to_vec()), (&[3, 3][..], vec![6, 1]));
    assert_eq!(read(&rows), (6..18).collect::<Vec<u8>>());
    assert_eq!(read(&window), [8, 9, 10, 14, 15, 16, 20, 21, 22]);
    assert_eq!(read(&inner), [15, 16, 21, 22]);
    for (first, count) in [(1, 3), (0, 4)] {
        assert_eq!(
            status(window.begin(Access::Read, first, count, Timeout::Try)),
            Status::InvalidArgument,
            "half a row"
        );
    }
    assert_eq!(status(whole.slice(4, ALL)), Status::InvalidArgument);
    assert_eq!(status(whole.window((0, 1), (5, 2))), Status::InvalidArgument);
    assert_eq!(status(rows.resize(shape(&[1]), (false, false), None, Timeout::Try)), Status::Unsupported);
    assert_eq!(status(rows.reset(Some(&stream), Timeout::Try)), Status::Unsupported);
    drop(whole);
    write(&inner, 0, &[1, 2, 3, 4]).unwrap();
    inner.copy(true, 0, ALL, &stream, Some(Timeout::Infinite)).unwrap();
    assert_eq!(read(&window), [8, 9, 10, 14, 1, 2, 20, 3, 4]);
    drop((rows, window));
    assert_eq!(read(&inner), [1, 2, 3, 4]);
    drop(inner);
    device.drain(Timeout::Infinite).unwrap();
    assert_eq!(device.counters.pinned_bytes.get() + device.counters.device_bytes.get(), 0);
}

#[test]
fn a_resize_keeps_addresses_within_the_capacity_and_contents_beyond() {
    let device = device();
    let stream = stream(&device);
    let buffer = matrix(&device, 2, 8, BufferSettings { capacity: 32, ..Default::default() });
    let address = buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    write(&buffer, 0, &[1; 16]).unwrap();
    buffer.resize(shape(&[4, 8]), (false, false), None, Timeout::Try).unwrap();
    assert_eq!((buffer.device_address(std::slice::from_ref(&stream)).unwrap(), buffer.capacity()), (address, 32));
    assert_eq!(read(&buffer)[..16], [1; 16]);
    assert_eq!(newer(&buffer, Which::Host), [(0, 16)]);
    buffer.resize(shape(&[8]), (false, false), None, Timeout::Try).unwrap();
    assert_eq!(newer(&buffer, Which::Host), [(0, 8)], "clipped");
    buffer.resize(shape(&[32]), (false, false), None, Timeout::Try).unwrap();
    buffer.copy(true, 0, ALL, &stream, None).unwrap();
    buffer.fill(false, true, &[7], Some(&stream), Timeout::Try).unwrap();
    ran(&stream);

    // The old device memory is read by the copy: it goes when that is over, and not before.
    hold(&stream);
    buffer.resize(shape(&[100]), (true, true), Some(&stream), Timeout::Try).unwrap();
    assert_eq!((buffer.shape().dims(), buffer.capacity()), (&[100][..], 100));
    device.maintain();
    assert_eq!(device.deferred(), (1, 32));
    release(&stream);
    device.maintain();
    assert_eq!(device.deferred(), (0, 0));
    let moved = buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    assert_eq!(read_device(&device, moved, 100), [vec![7; 32], vec![0; 68]].concat());
    assert_eq!(read(&buffer), [vec![1; 16], vec![0; 84]].concat());
    assert_eq!(newer(&buffer, Which::Device), [(0, 32)]);
    assert_eq!(buffer.stats().unwrap().resizes, 4);
}

#[test]
fn a_resize_without_memory_changes_nothing() {
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(64));
    write(&buffer, 0, &[4; 64]).unwrap();
    for (placement, status_of) in
        [(Placement::Pinned, Status::OutOfHostMemory), (Placement::Device, Status::OutOfDeviceMemory)]
    {
        kit_of(&device).limit_memory(placement, 1000).unwrap();
        let error = buffer.resize(shape(&[1 << 20]), (true, true), Some(&stream), Timeout::Infinite).unwrap_err();
        assert_eq!(error.status(), status_of, "{error}");
        kit_of(&device).limit_memory(placement, 1 << 30).unwrap();
        assert_eq!((buffer.capacity(), read(&buffer)), (64, vec![4; 64]));
    }
    device.maintain();
    assert_eq!(device.deferred(), (0, 0));
    assert_eq!(newer(&buffer, Which::Host), [(0, 64)]);
}

#[test]
fn times_are_taken_where_they_were_asked_for() {
    let device = device();
    let stream = stream(&device);
    let quiet = buffer(&device, pair_of(64));
    quiet.copy(true, 0, ALL, &stream, Some(Timeout::Infinite)).unwrap();
    assert_eq!(quiet.stats().unwrap().flows.up.ns, None, "absent, not guessed");
    let events = device.counters.events_created.get();
    let timed = matrix(&device, 1, 64, BufferSettings { timed: true, ..Default::default() });
    hold(&stream);
    timed.copy(true, 0, ALL, &stream, None).unwrap();
    assert_eq!(
        (timed.stats().unwrap().flows.up.timed, timed.stats().unwrap().flows.up.ns),
        (0, Some(0)),
        "it has not run"
    );
    release(&stream);
    timed.copy(false, 0, ALL, &stream, Some(Timeout::Infinite)).unwrap();
    let flows = timed.stats().unwrap().flows;
    assert_eq!((flows.up.timed, flows.down.timed), (1, 1));
    assert_eq!(device.counters.events_created.get(), events, "made with the buffer");
    timed.reset(Some(&stream), Timeout::Infinite).unwrap();
    assert_eq!(timed.stats().unwrap().flows.up.ns, Some(0));
}

#[test]
fn one_sided_buffers_do_what_makes_sense() {
    let device = device();
    let stream = stream(&device);
    for (host, on_device) in [(Placement::Pinned, Placement::None), (Placement::None, Placement::Device)] {
        let options = gpubuf::buffer::BufferOptions { host, device: on_device, ..pair_of(64) };
        let buffer = Buffer::create(&device, options).unwrap();
        let which = if host == Placement::None { Which::Device } else { Which::Host };
        let stream_of = (which == Which::Device).then_some(&stream);
        buffer.fill(which == Which::Host, which == Which::Device, &[3], stream_of, Timeout::Try).unwrap();
        buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
        buffer.mark_newer(which, 0, ALL).unwrap();
        assert!(newer(&buffer, which).is_empty(), "than what?");
        assert_eq!(status(buffer.copy(true, 0, ALL, &stream, None)), Status::Unsupported);
        buffer.resize(shape(&[128]), (true, true), Some(&stream), Timeout::Infinite).unwrap();
        ran(&stream);
        let found = match which {
            Which::Host => read(&buffer),
            Which::Device => read_device(&device, buffer.device_address(std::slice::from_ref(&stream)).unwrap(), 128),
        };
        assert_eq!(found, [[3; 64], [0; 64]].concat());
        buffer.reset(Some(&stream), Timeout::Infinite).unwrap();
        assert_eq!(buffer.stats().unwrap().resizes, 0);
    }
}

#[test]
fn a_loop_of_copies_and_syncs_makes_no_events() {
    let device = device();
    let stream = stream(&device);
    let buffer = matrix(&device, 8, 64, BufferSettings { timed: true, ..Default::default() });
    let window = buffer.window((1, 4), (3, 7)).unwrap();
    let events = device.counters.events_created.get();
    for _ in 0..200 {
        // SAFETY: 28 bytes.
        unsafe { window.copy_in(0, ALL, [1u8; 28].as_ptr(), Timeout::Infinite) }.unwrap();
        buffer.sync(None, &stream, None).unwrap();
        window.used_on(&stream, Access::Write).unwrap();
        buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
    }
    assert_eq!(device.counters.events_created.get(), events);
    assert_eq!(buffer.stats().unwrap().flows.syncs, 400);
}

#[test]
fn borrowed_memory_is_newer_than_what_the_library_makes() {
    let device = device();
    let stream = stream(&device);
    let mut memory = [8u8; 64];
    let options =
        gpubuf::buffer::BufferOptions { host: Placement::Pageable, host_memory: memory.as_mut_ptr(), ..pair_of(64) };
    let buffer = Buffer::create(&device, options).unwrap();
    buffer.sync(None, &stream, Some(Timeout::Infinite)).unwrap();
    let address = buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    assert_eq!(read_device(&device, address, 64), [8; 64]);
    assert_eq!(status(buffer.resize(shape(&[65]), (true, true), Some(&stream), Timeout::Try)), Status::Unsupported);
    buffer.resize(shape(&[8, 8]), (false, false), None, Timeout::Try).unwrap();
    buffer.detach(Timeout::Infinite).unwrap();
    assert_eq!(status(buffer.slice(0, 1)), Status::NotHeld);
}

fn resize(buffer: &Buffer, elements: u64) {
    buffer.resize(shape(&[elements]), (false, false), None, Timeout::Try).expect("a shape within the capacity");
}

fn expect_same(buffer: &Buffer, bytes: u64) {
    let mut host = vec![0; bytes as usize];
    // SAFETY: the vector has as many bytes.
    unsafe { buffer.copy_out(0, ALL, host.as_mut_ptr(), Timeout::Infinite) }.expect("a read");
    let at = buffer.lock().expect("a block").memory(Which::Device).expect("a side").device;
    assert_eq!(read_device(buffer.device(), at, bytes), host, "no side is newer, and they differ");
}

#[test]
fn marks_stay_while_a_buffer_is_smaller() {
    let device = device();
    let timeline = stream(&device);
    let one = buffer(&device, pair_of(64));
    write(&one, 0, &[5; 64]).expect("a write");
    resize(&one, 32);
    assert_eq!(one.lock().expect("a block").newer_bytes(Which::Host), 32, "of what there is");
    resize(&one, 64);
    one.sync(None, &timeline, Some(Timeout::Infinite)).expect("a sync");
    expect_same(&one, 64);
}

#[test]
fn borrowed_memory_that_a_buffer_grows_into_is_newer() {
    let device = device();
    let timeline = stream(&device);
    let mut memory = vec![9u8; 64];
    let options =
        gpubuf::buffer::BufferOptions { host: Placement::Pageable, host_memory: memory.as_mut_ptr(), ..pair_of(32) };
    let settings = BufferSettings { capacity: 64, ..Default::default() };
    let one = Buffer::create_with(&device, options, settings).expect("a buffer");
    resize(&one, 64);
    one.sync(None, &timeline, Some(Timeout::Infinite)).expect("a sync");
    expect_same(&one, 64);
    one.detach(Timeout::Infinite).expect("the end");
}

#[test]
fn a_use_of_a_whole_buffer_lifts_the_seal_of_what_it_was_before_a_shrink() {
    let device = device();
    let timeline = stream(&device);
    let one = buffer(&device, pair_of(64));
    one.device_address(&[]).expect("an address");
    resize(&one, 32);
    one.used_on(&timeline, Access::Read).expect("a declaration");
    one.copy(true, 0, ALL, &timeline, None).expect("nothing is sealed");
}

#[test]
fn a_stream_that_captures_syncs_nothing_and_publishes_nothing() {
    let device = device();
    let (buffer, stream) = (buffer(&device, pair_of(64)), stream(&device));
    kit(&stream).begin_capture().unwrap();
    assert_eq!(status(buffer.sync(None, &stream, None)), Status::Capturing, "also where nothing is newer");
    assert_eq!(status(buffer.publish(&stream)), Status::Capturing);
    kit(&stream).end_capture().unwrap();
}

#[test]
fn a_stream_of_another_device_is_named_nowhere() {
    let (device, other) = (device(), device());
    let (buffer, stranger) = (buffer(&device, pair_of(64)), stream(&other));
    for (what, answer) in [
        ("an address", status(buffer.device_address(std::slice::from_ref(&stranger)))),
        ("a copy of nothing", status(buffer.copy(true, 0, 0, &stranger, None))),
        ("a copy", status(buffer.copy(true, 0, ALL, &stranger, None))),
        ("a sync of nothing", status(buffer.sync(None, &stranger, None))),
        ("a publish of nothing new", status(buffer.publish(&stranger))),
        ("a declaration", status(buffer.used_on(&stranger, Access::Read))),
    ] {
        assert_eq!(answer, Status::WrongDevice, "{what}");
    }
}

#[test]
fn a_fill_that_is_refused_leaves_both_sides_as_they_were() {
    let (device, other) = (device(), device());
    let buffer = buffer(&device, pair_of(64));
    let (stranger, captures) = (stream(&other), stream(&device));
    kit(&captures).begin_capture().unwrap();
    for (stream, answer) in [(&stranger, Status::WrongDevice), (&captures, Status::Capturing)] {
        assert_eq!(status(buffer.fill(true, true, &[9], Some(stream), Timeout::Try)), answer);
        assert_eq!(read(&buffer), [0; 64]);
    }
    kit(&captures).end_capture().unwrap();
}

#[test]
fn a_resize_within_the_capacity_has_the_checks_of_one_beyond() {
    let device = device();
    let buffer = buffer(&device, pair_of(64));
    let (_, token) = buffer.begin(Access::Read, 0, 1, Timeout::Try).unwrap();
    let within = || buffer.resize(shape(&[32]), (false, false), None, Timeout::Try);
    assert_eq!(status(within()), Status::Busy, "a guard is open");
    buffer.end(Access::Read, token).unwrap();
    if copies_fail_alone() {
        fail_one_copy(&buffer);
        assert_eq!(status(within()), Status::CopyFailed);
    }
    within().unwrap();
}

/// An upload that fails when it runs, which nobody was told.
fn fail_one_copy(buffer: &Buffer) {
    let stream = stream(buffer.device());
    kit_of(buffer.device()).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
    buffer.copy(true, 0, ALL, &stream, None).expect("a copy");
    ran(&stream);
    stream.poll();
}

#[test]
fn who_marks_is_told_of_a_copy_that_failed() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let buffer = buffer(&device, pair_of(64));
    for mark in [Buffer::mark_newer, Buffer::mark_clean] {
        fail_one_copy(&buffer);
        assert_eq!(status(mark(&buffer, Which::Host, 0, ALL)), Status::CopyFailed);
        mark(&buffer, Which::Host, 0, ALL).expect("told once");
    }
}

/// Its source is newer again as soon as somebody was told, or has waited for it.
#[test]
fn a_failure_makes_its_source_newer_for_all_to_see() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let fail = || kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    let [told, waited, blocking] = [(); 3].map(|()| buffer(&device, pair_of(64)));
    fail_one_copy(&told);
    assert_eq!(status(told.begin(Access::Read, 0, 1, Timeout::Try)), Status::CopyFailed);
    hold(&stream);
    fail();
    waited.copy(true, 0, ALL, &stream, None).unwrap();
    release(&stream);
    waited.begin(Access::Write, 0, 1, Timeout::Infinite).expect("the copy only read it");
    fail();
    assert_eq!(status(blocking.copy(true, 0, ALL, &stream, Some(Timeout::Infinite))), Status::CopyFailed);
    for (what, buffer) in [("told", told), ("waited for", waited), ("a blocking copy", blocking)] {
        assert_eq!(buffer.stats().unwrap().newer, [64, 0], "{what}");
    }
}

/// A copy that has failed by now, though nobody knows it yet, has left something to send.
#[test]
fn nothing_is_taken_as_sent_that_failed_unnoticed() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(64));
    let fail = || {
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
        buffer.copy(true, 0, ALL, &stream, None).unwrap();
        ran(&stream);
    };
    fail();
    assert_eq!(status(buffer.sync(None, &stream, None)), Status::CopyFailed);
    buffer.sync(None, &stream, None).expect("told once");
    fail();
    assert_eq!(status(buffer.publish(&stream)), Status::CopyFailed);
    buffer.publish(&stream).expect("told once");
    // Who vouches for the bytes vouches for those, too.
    fail();
    buffer.mark_clean(Which::Host, 0, ALL).unwrap();
    assert_eq!(newer(&buffer, Which::Host), []);
}

#[test]
fn of_many_copies_that_are_done_the_failed_one_alone_is_sent_again() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(17 * 8));
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    (0..16).for_each(|place| buffer.copy(true, 8 * place, 4, &stream, None).unwrap());
    ran(&stream);
    buffer.copy(true, 8 * 16, 4, &stream, None).expect("one more than are remembered");
    assert_eq!(newer(&buffer, Which::Host), [(0, 4)]);
}

#[test]
fn a_resize_that_is_refused_asks_for_no_memory() {
    let (device, other) = (device(), device());
    let buffer = buffer(&device, pair_of(64));
    let (stranger, captures) = (stream(&other), stream(&device));
    kit(&captures).begin_capture().unwrap();
    kit_of(&device).limit_memory(Placement::Device, 1000).unwrap();
    for (stream, answer) in [(&stranger, Status::WrongDevice), (&captures, Status::Capturing)] {
        assert_eq!(status(buffer.resize(shape(&[1 << 20]), (false, true), Some(stream), Timeout::Try)), answer);
    }
    kit(&captures).end_capture().unwrap();
}

#[test]
fn what_unseen_work_may_still_write_is_not_copied_back() {
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, pair_of(64));
    buffer.device_address(&[]).unwrap();
    let back = || status(buffer.copy(false, 0, ALL, &stream, None));
    assert_eq!(back(), Status::Unfenced);
    buffer.used_on(&stream, Access::Write).unwrap();
    assert_eq!(back(), Status::Ok);
}

#[test]
fn a_resize_keeps_what_kernels_on_a_named_stream_still_write() {
    let device = device();
    let stream = stream(&device);
    let options = gpubuf::buffer::BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(64) };
    let buffer = buffer(&device, options);
    buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    hold(&stream);
    busy(&stream);
    let grow = || buffer.resize(shape(&[100]), (true, false), None, Timeout::Try);
    assert_eq!(status(grow()), Status::Busy);
    release(&stream);
    grow().unwrap();
}

/// Whoever asks again and again asks for the same: what keeps him out is fenced once.
#[test]
fn a_try_that_is_refused_again_records_no_more_fences() {
    let device = device();
    let stream = stream(&device);
    let buffer = buffer(&device, BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(64) });
    buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    hold(&stream);
    busy(&stream);
    let before = device.counters.fences_recorded.get();
    for _ in 0..50 {
        for access in [Access::Read, Access::Write] {
            assert_eq!(status(buffer.begin(access, 0, ALL, Timeout::Try)), Status::Busy);
        }
        assert_eq!(status(buffer.resize(shape(&[128]), (true, true), None, Timeout::Try)), Status::Busy);
    }
    assert_eq!(device.counters.fences_recorded.get() - before, 1);
    busy(&stream);
    release(&stream);
    assert_eq!(status(buffer.begin(Access::Write, 0, ALL, Timeout::Try)), Status::Ok);
}

#[test]
fn borrowed_memory_is_not_taken_back_from_those_who_have_it() {
    let device = device();
    let stream = stream(&device);
    let mut memory = vec![0u8; 64];
    let options =
        gpubuf::buffer::BufferOptions { host: Placement::Pageable, host_memory: memory.as_mut_ptr(), ..pair_of(64) };
    let buffer = buffer(&device, options);
    let (_, token) = buffer.begin(Access::Read, 0, 1, Timeout::Try).unwrap();
    assert_eq!(status(buffer.detach(Timeout::Try)), Status::Busy, "a guard is open");
    buffer.end(Access::Read, token).unwrap();
    buffer.device_address(std::slice::from_ref(&stream)).unwrap();
    hold(&stream);
    busy(&stream);
    let before = device.counters.fences_recorded.get();
    for _ in 0..50 {
        assert_eq!(status(buffer.detach(Timeout::Try)), Status::Busy, "a kernel may use it");
    }
    assert_eq!(device.counters.fences_recorded.get() - before, 1, "whoever asks again asks for the same");
    assert_eq!(status(buffer.detach(Timeout::Try)), Status::Busy, "kernels may use it");
    release(&stream);
    buffer.detach(Timeout::Infinite).unwrap();
}

#[test]
fn detaching_tells_of_a_copy_that_failed_and_hands_nothing_back() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let timeline = stream(&device);
    let mut memory = vec![0u8; 64];
    let options =
        gpubuf::buffer::BufferOptions { host: Placement::Pageable, host_memory: memory.as_mut_ptr(), ..pair_of(64) };
    let one = buffer(&device, options);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
    one.copy(false, 0, ALL, &timeline, None).expect("a copy");
    assert_eq!(status(one.detach(Timeout::Infinite)), Status::CopyFailed);
    assert!(one.host_ptr().is_ok(), "it is still the buffer's");
    one.detach(Timeout::Infinite).expect("told once");
}
