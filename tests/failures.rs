//! Copies that fail when they run, and records that fail: told to whom they concern, as often as they happened.

mod common;
#[path = "common/makers.rs"]
mod makers;

use common::{Gate, copies_fail_alone, device, kit_of, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation, View};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Block, Device, Keep, Name, Policy, Side, Storage, Timeline, Which};
use gpubuf::lease::Twin;
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::{Arc, AtomicBool, Mutex, Ordering};
use makers::Makers;
use std::time::Duration;

const BYTES: u64 = 64;

fn fail_next(device: &Device, kind: Operation, when: FailWhen) {
    kit_of(device).fail_operation(Some(kind), 1, when).expect("a fault");
}

fn pair(device: &Arc<Device>) -> Arc<Buffer> {
    common::buffer(device, common::pair_of(BYTES))
}

#[test]
fn each_failed_range_is_told() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    for first in [0, 32] {
        fail_next(&device, Operation::Copy, FailWhen::Execution);
        buffer.copy(false, first, 16, &stream, None).expect("a copy");
    }
    stream.synchronize(Timeout::Infinite).expect_err("two failures");
    let read = || status(buffer.begin(Access::Read, 0, 1, Timeout::Try));
    assert_eq!([read(), read(), read()], [Status::CopyFailed, Status::CopyFailed, Status::Ok]);
}

#[test]
fn a_blocking_copy_that_fails_tells_its_own_failure_only() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    buffer.copy(true, 0, 8, &stream, None).expect("a copy");
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    let blocking = buffer.copy(true, 8, 8, &stream, Some(Timeout::Infinite));
    assert_eq!(status(blocking), Status::CopyFailed);
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)), Status::CopyFailed, "the first one's");
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)), Status::Ok);
}

/// As above, where the copies of its stream are kept as one, since others have all other room.
#[test]
fn a_blocking_copy_that_fails_leaves_what_is_kept_with_it_to_be_told() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (own, others) = (stream(&device), [(); 7].map(|()| stream(&device)));
    let buffer = pair(&device);
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    buffer.copy(true, 0, 4, &own, None).expect("a copy");
    for (place, other) in (1..).zip(&others) {
        common::hold(other);
        buffer.copy(true, 4 * place, 4, other, None).expect("a copy of another stream");
    }
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    let blocking = buffer.copy(true, 32, 4, &own, Some(Timeout::Infinite));
    assert_eq!(status(blocking), Status::CopyFailed);
    let read = || status(buffer.begin(Access::Read, 0, 1, Timeout::Try));
    assert_eq!([read(), read()], [Status::CopyFailed, Status::Ok], "the first one's");
    others.iter().for_each(|other| common::release(other));
}

/// Whichever call tells of it first: the buffer counts it, and the same call goes well after that.
#[test]
fn each_failure_is_counted_by_its_buffer() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    let calls: [(&str, &dyn Fn() -> Status); 6] = [
        ("a copy", &|| status(buffer.copy(true, 0, ALL, &stream, None))),
        ("a sync", &|| status(buffer.sync(Some(Policy::Host), &stream, None))),
        ("a publish", &|| status(buffer.publish(&stream))),
        ("an address", &|| status(buffer.device_address(std::slice::from_ref(&stream)))),
        ("a fill", &|| status(buffer.fill(false, true, &[1], Some(&stream), Timeout::Try))),
        ("a read", &|| status(buffer.begin(Access::Read, 0, 1, Timeout::Try))),
    ];
    for (told, (what, call)) in (1..).zip(calls) {
        fail_next(&device, Operation::Copy, FailWhen::Execution);
        buffer.copy(true, 0, ALL, &stream, None).expect("a copy");
        stream.synchronize(Timeout::Infinite).expect_err("a failure");
        assert_eq!(call(), Status::CopyFailed, "{what}");
        assert_eq!(buffer.stats().expect("figures").flows.failures, told, "{what}");
        assert_eq!(call(), Status::Ok, "{what}");
    }
}

#[test]
fn a_failure_does_not_keep_work_from_being_declared() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let buffer = pair(&device);
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    buffer.copy(true, 0, ALL, &copies, None).expect("a copy");
    copies.synchronize(Timeout::Infinite).expect_err("a failure");
    assert_eq!(status(buffer.used_on(&kernels, Access::Write)), Status::Ok);
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)), Status::CopyFailed);
}

/// What is declared behind a copy, on its stream and of the same bytes, does not take its place.
#[test]
fn work_that_was_declared_does_not_hide_a_failure_before_it() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (stream, other) = (stream(&device), stream(&device));
    let buffer = pair(&device);
    let read = || {
        let begun = buffer.begin(Access::Read, 0, 1, Timeout::Infinite);
        status(begun.and_then(|(_, token)| buffer.end(Access::Read, token)))
    };
    for back in [false, true] {
        common::hold(&stream);
        fail_next(&device, Operation::Copy, FailWhen::Execution);
        buffer.copy(true, 0, ALL, &stream, None).expect("a copy");
        buffer.used_on(&stream, Access::Write).expect("a kernel behind it");
        if back {
            buffer.copy(false, 0, ALL, &other, None).expect("a copy back, behind both");
        }
        common::release(&stream);
        if !back {
            stream.poll();
        }
        assert_eq!([read(), read()], [Status::CopyFailed, Status::Ok], "copied back: {back}");
    }
}

/// More copies in flight than are kept apart: whichever of them fails is told.
#[test]
fn a_failure_among_many_copies_is_told() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    for failing in 0..10 {
        common::hold(&stream);
        for copy in 0..10 {
            if copy == failing {
                fail_next(&device, Operation::Copy, FailWhen::Execution);
            }
            buffer.copy(true, 6 * copy, 6, &stream, None).expect("a copy");
            // Nobody else is told of it.
            pair(&device).copy(true, 0, ALL, &stream, None).expect("a copy of another");
        }
        common::release(&stream);
        stream.poll();
        let read = || {
            status(
                buffer.begin(Access::Read, 0, 1, Timeout::Try).and_then(|(_, token)| buffer.end(Access::Read, token)),
            )
        };
        assert_eq!([read(), read()], [Status::CopyFailed, Status::Ok], "the copy {failing}");
    }
}

/// A refusal for want of room finds failures, and keeps all of them for their owner.
#[test]
fn a_refusal_keeps_the_failures_that_it_finds() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let streams: Vec<_> = (0..10).map(|_| stream(&device)).collect();
    let pool = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 1) };
    let lease = Pool::create(&device, pool).expect("a pool").acquire(0, Timeout::Try).expect("a block");
    for (place, stream) in streams[..8].iter().enumerate() {
        common::hold(stream);
        if place < 2 {
            fail_next(&device, Operation::Copy, FailWhen::Execution);
        }
        lease.copy(true, 8 * place as u64, 8, stream, None).expect("a copy");
    }
    streams[..2].iter().for_each(|stream| common::release(stream));
    while streams[..2].iter().any(|stream| !stream.stream().is_idle().expect("an answer")) {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        assert_eq!(status(lease.fence(&streams[8..])), Status::Busy);
    }
    let read =
        || status(lease.begin(Access::Read, 0, 1, Timeout::Try).and_then(|(_, token)| lease.end(Access::Read, token)));
    assert_eq!([read(), read(), read()], [Status::CopyFailed, Status::CopyFailed, Status::Ok]);
    streams[2..8].iter().for_each(|stream| common::release(stream));
}

/// Numbers below a failed one may still be on their way to their record: the failure is told all the same.
#[test]
fn a_failed_download_is_never_read_while_others_record_on_its_stream() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    stream.record().expect("a fence");
                }
            });
        }
        for _ in 0..100 {
            fail_next(&device, Operation::Copy, FailWhen::Execution);
            buffer.copy(false, 0, ALL, &stream, None).expect("a copy");
            let read = buffer.begin(Access::Read, 0, 1, Timeout::Infinite);
            let answer = read.as_ref().err().map_or(Status::Ok, |error| error.status());
            if answer != Status::CopyFailed {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(answer, Status::CopyFailed);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A copy back runs well, whatever it copies: who reads it is told that there was nothing to copy.
#[test]
fn what_comes_back_from_where_nothing_arrived_is_told_to_its_reader() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (first, second) = (stream(&device), stream(&device));
    let buffer = pair(&device);
    for kind in [Operation::Copy, Operation::Fill] {
        common::hold(&first);
        fail_next(&device, kind, FailWhen::Execution);
        match kind {
            Operation::Copy => buffer.copy(true, 0, ALL, &first, None).expect("a copy"),
            _ => buffer.fill(false, true, &[1], Some(&first), Timeout::Try).expect("a fill"),
        }
        buffer.copy(false, 0, ALL, &second, None).expect("a copy back, behind it");
        common::release(&first);
        let read = || {
            let begun = buffer.begin(Access::Read, 0, 1, Timeout::Infinite);
            status(begun.and_then(|(_, token)| buffer.end(Access::Read, token)))
        };
        assert_eq!([read(), read()], [Status::CopyFailed, Status::Ok], "{kind:?}: told once");
        assert_eq!(status(buffer.copy(true, 0, ALL, &first, Some(Timeout::Infinite))), Status::Ok, "and not again");
    }
    assert_eq!(buffer.stats().expect("figures").flows.failures, 2);
}

/// As above, behind more writes in flight than are kept apart.
#[test]
fn what_was_never_there_is_told_however_many_others_were_on_their_way() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (first, second) = (stream(&device), stream(&device));
    let buffer = pair(&device);
    let send = |place: u64, stream: &Arc<Timeline>| buffer.copy(true, 4 * place, 4, stream, None).expect("a copy");
    let bring =
        |place: u64, stream: &Arc<Timeline>| buffer.copy(false, 4 * place, 4, stream, None).expect("a copy back");
    // The numbers of the second stream are the smaller ones.
    for _ in 0..10 {
        first.record().expect("a fence");
    }
    [&first, &second].into_iter().for_each(common::hold);
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    send(0, &first);
    send(1, &first);
    (2..8).for_each(|place| send(place, &second));
    bring(15, &second);
    send(8, &second);
    bring(0, &second);
    common::release(&first);
    common::release(&second);
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Infinite)), Status::CopyFailed);
}

/// A failure that is found while a block moves moves with it.
#[test]
fn a_block_that_moves_takes_along_what_failed() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let name = Arc::new(Name::new("block", ""));
    let allocate = |placement| Storage::allocate_only(&device, placement, BYTES as usize);
    let side = |which, placement| Side::new(which, &name, allocate(placement).expect("memory"));
    let sides = [side(Which::Host, Placement::Pinned), side(Which::Device, Placement::Device)];
    let [host, on_device] = sides.map(Some);
    let mut block = Block::new(&name, BYTES as usize, host, on_device);
    let mut copy = |place: u64, stream: &Arc<Timeline>| {
        let range = block.range(4 * place, 4).expect("a range");
        block.copy(true, range, stream, None).expect("a copy");
    };
    let (first, last, others) = (stream(&device), stream(&device), [(); 7].map(|()| stream(&device)));
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    copy(0, &first);
    common::ran(&first);
    for (place, other) in (1..).zip(&others) {
        common::hold(other);
        copy(place, other);
    }
    // There is no room for another stream, so that all are asked.
    let keep = Keep { host: None, device: Some(&last) };
    let like = |side: &Side| allocate(side.storage()?.memory().placement);
    drop(block.move_to(BYTES as usize, keep, like).expect("moved"));
    others.iter().for_each(|other| common::release(other));
    common::ran(&last);
    assert_eq!([status(block.settle()), status(block.settle())], [Status::CopyFailed, Status::Ok]);
}

#[test]
fn a_block_that_was_promoted_by_a_copy_that_failed_is_not_read() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let pool = Pool::create(&device, PoolOptions::new(Placement::Uva, BYTES, 1)).expect("a pool");
    let lease = pool.acquire(0, Timeout::Try).expect("a block");
    common::hold(&stream);
    fail_next(&device, Operation::Copy, FailWhen::Execution);
    lease.promote(&stream).expect("promoted");
    lease.demote(&stream).expect("demoted");
    common::release(&stream);
    assert_eq!(status(lease.begin(Access::Read, 0, 1, Timeout::Infinite)), Status::CopyFailed);
    assert_eq!(status(lease.begin(Access::Read, 0, 1, Timeout::Infinite)), Status::Ok);
}

#[test]
fn an_event_whose_record_failed_has_no_time() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let [first, second] = [(); 2].map(|()| gpubuf::fence::Event::create(&device, true, "").expect("an event"));
    fail_next(&device, Operation::Record, FailWhen::Execution);
    first.record(&stream).expect("a record");
    second.record(&stream).expect("a record");
    second.wait(Timeout::Infinite).expect("reached");
    assert_eq!(status(second.elapsed_since(&first)), Status::CopyFailed);
    first.record(&stream).expect("a record");
    first.wait(Timeout::Infinite).expect("reached");
    assert_eq!(status(first.elapsed_since(&second)), Status::Ok);
}

#[test]
fn a_probe_that_cannot_prove_its_copies_leaves_its_pages_and_counts_them() {
    let device = device();
    // The probe's own wait: on the host backend nothing can keep it from being answered.
    let Some(cuda) = (common::backend() == gpubuf::backend::BackendKind::Cuda).then(common::standin::Cuda::open) else {
        return;
    };
    cuda.fail_next("cuEventRecord", 999);
    device.probe(Timeout::Infinite).expect("a probe");
    device.drain(Timeout::Infinite).expect("a drain");
    let counters = &device.counters;
    let (pinned, on_device) = (counters.pinned_bytes.get(), counters.device_bytes.get());
    assert!(pinned > 0 && on_device > 0, "{pinned} {on_device}");
    assert_eq!(counters.quarantined_bytes.get(), pinned + on_device);
}

#[test]
fn a_block_whose_fence_failed_can_be_given_back() {
    let device = device();
    let stream = stream(&device);
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 1) };
    let pool = Pool::create(&device, options).expect("a pool");
    let lease = pool.acquire(0, Timeout::Try).expect("a block");
    lease.device_address().expect("an address");
    fail_next(&device, Operation::Record, FailWhen::Submission);
    assert_eq!(status(lease.fence(std::slice::from_ref(&stream))), Status::Quarantined);
    assert_eq!(status(lease.release()), Status::Ok);
    assert_eq!(pool.levels().quarantined, 1);
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Exhausted);
}

#[test]
fn a_wait_for_the_device_counts_and_answers_by_its_form() {
    let device = device();
    assert_eq!(status(device.synchronize(Timeout::Infinite)), Status::Ok);
    assert_eq!(device.counters.host.waits.get(), 0, "an idle device is not waited for");
    let stream = stream(&device);
    let gate = Gate::default();
    gate.shut(&stream);
    let counted = || (device.counters.host.waits.get(), device.counters.host.timeouts.get());
    assert_eq!((status(device.synchronize(Timeout::Try)), counted()), (Status::Busy, (0, 1)));
    drop(stream);
    assert_eq!(status(device.drain(Timeout::Try)), Status::Busy, "a stream without a handle counts, too");
    assert_eq!(counted(), (0, 2));
    gate.open();
    assert_eq!(status(device.drain(Timeout::Infinite)), Status::Ok);
}

#[test]
fn a_wait_for_the_device_that_cannot_end_is_refused() {
    const WAIT: Timeout = Timeout::Within(Duration::from_millis(50));
    struct Shared {
        device: Arc<Device>,
        answer: Mutex<Option<Status>>,
    }
    fn ask(_: &dyn View, [shared, _]: [usize; 2]) {
        // SAFETY: the test waits for the answer with `shared` alive.
        let shared = unsafe { &*(shared as *const Shared) };
        *shared.answer.lock() = Some(status(shared.device.synchronize(WAIT)));
    }
    let device = device();
    let held = stream(&device);
    common::kit(&held).hold().expect("a hold");
    common::busy(&held);
    assert_eq!(status(held.synchronize(WAIT)), Status::WouldDeadlock, "this thread holds it shut");
    assert_eq!(status(device.synchronize(WAIT)), Status::WouldDeadlock, "this thread holds a stream shut");
    common::release(&held);
    // In a function on a stream that nobody has a handle to any more.
    let shared = Shared { device: device.clone(), answer: Mutex::new(None) };
    let (gate, gone) = (Gate::default(), stream(&device));
    gate.shut(&gone);
    common::kit(&gone).call(ask, [&raw const shared as usize, 0]).expect("a call");
    drop(gone);
    gate.open();
    while shared.answer.lock().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(*shared.answer.lock(), Some(Status::WouldDeadlock));
}

#[test]
fn a_stream_of_a_lost_device_is_neither_idle_nor_done() {
    let device = device();
    let stream = stream(&device);
    common::lose(&device);
    assert_eq!(status(stream.synchronize(Timeout::Infinite)), Status::DeviceLost);
    assert_eq!(status(stream.expect_idle()), Status::DeviceLost);
    // Nor are numbers of the driver's looked at.
    assert_eq!(status(stream.wait_native(1)), Status::DeviceLost);
    // SAFETY: nothing is a stream here, and nothing is done with it.
    assert_eq!(status(unsafe { Timeline::wrap(&device, 1, "") }), Status::DeviceLost);
}

/// What needs no memory of the device's either.
#[test]
fn nothing_is_made_on_a_lost_device() {
    let device = device();
    let makers = Makers::new(&device);
    common::lose(&device);
    for (what, answer) in makers.answers() {
        assert_eq!(answer, Status::DeviceLost, "{what}");
    }
}

/// Memory that needs nothing of the driver's is refused as well.
#[test]
fn a_lost_device_has_no_pageable_buffers_either() {
    let device = device();
    common::lose(&device);
    let mut memory = [0u8; BYTES as usize];
    for host_memory in [std::ptr::null_mut(), memory.as_mut_ptr()] {
        let (host, on_device) = (Placement::Pageable, Placement::None);
        let options = BufferOptions { host, device: on_device, host_memory, ..common::pair_of(BYTES) };
        assert_eq!(status(Buffer::create(&device, options)), Status::DeviceLost);
    }
}

#[test]
fn a_blocking_copy_that_is_lost_with_its_device_quarantines() {
    /// Loses the device as soon as a fence more is recorded.
    fn lose(_: &dyn View, [device, fences]: [usize; 2]) {
        // SAFETY: the test waits for this function with the device alive.
        let device = unsafe { &*(device as *const Device) };
        while device.counters.fences_recorded.get() <= fences as u64 {
            std::thread::yield_now();
        }
        kit_of(device).lose().expect("a loss");
    }
    let device = device();
    let stream = stream(&device);
    let buffer = pair(&device);
    let fences = device.counters.fences_recorded.get() as usize;
    common::kit(&stream).call(lose, [Arc::as_ptr(&device) as usize, fences]).expect("a call");
    assert_eq!(status(buffer.copy(true, 0, ALL, &stream, Some(Timeout::Infinite))), Status::DeviceLost);
    assert_eq!(device.counters.quarantined_bytes.get(), 2 * BYTES);
}

#[test]
fn a_function_on_a_stream_probes_nothing() {
    let device = device();
    let stream = stream(&device);
    let probe = || status(device.probe(Timeout::Within(Duration::from_millis(50))));
    assert_eq!(common::called_on(&stream, probe), Status::WouldDeadlock);
}
