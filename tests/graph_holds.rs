//! Graph holds: what replays read and write, and what happens where something fails. The refusals and waits of the contract
//! have their tests in tests/contract.

mod common;

use common::{Gate, buffer, device, hold, kit, kit_of, lose, pair_of, ran, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation, View};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Timeline, Which};
use gpubuf::graph::GraphHold;
use gpubuf::lease::Twin;
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions};
use gpubuf::sync::Arc;

const BYTES: u64 = 4096;

fn new_hold(device: &Arc<Device>) -> Arc<GraphHold> {
    GraphHold::create(device, "").unwrap()
}

fn set(buffer: &Buffer, value: u8) {
    buffer.fill(true, false, &[value], None, Timeout::Infinite).unwrap();
}

fn address(buffer: &Buffer) -> u64 {
    buffer.lock().unwrap().memory(Which::Device).unwrap().device
}

fn device_is(buffer: &Buffer, value: u8) -> bool {
    read_device(buffer.device(), address(buffer), BYTES).iter().all(|byte| *byte == value)
}

/// Graphs known by a number, and faults of a launch, are the emulation's.
fn emulated() -> bool {
    common::backend() == gpubuf::backend::BackendKind::Host
}

/// A hold of the buffer, and a stream that captures.
fn begun(buffer: &Arc<Buffer>) -> (Arc<GraphHold>, Arc<Timeline>) {
    let (hold, timeline) = (new_hold(buffer.device()), stream(buffer.device()));
    hold.add(buffer.clone(), Some(Timeout::Try)).unwrap();
    kit(&timeline).begin_capture().unwrap();
    (hold, timeline)
}

/// Ends the capture and ties its graph to the hold.
fn end(hold: &GraphHold, timeline: &Timeline) -> u64 {
    let graph = kit(timeline).end_capture().unwrap();
    hold.set_graph(graph).unwrap();
    graph
}

#[test]
fn each_replay_reads_its_source_anew() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    hold.capture(&*buffer, true, 0, ALL, &timeline).unwrap();
    end(&hold, &timeline);
    for value in 1..5 {
        // It waits for the replay before.
        set(&buffer, value);
        hold.launch(&timeline).unwrap();
    }
    timeline.synchronize(Timeout::Infinite).unwrap();
    assert!(device_is(&buffer, 4));
    assert_eq!(device.counters.copies.get(), 0, "a captured copy is not a copy queued");
}

#[test]
fn a_replay_that_writes_the_host_side_is_waited_for_by_readers() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (graph, timeline) = begun(&buffer);
    graph.capture(&*buffer, false, 0, 100, &timeline).unwrap();
    end(&graph, &timeline);
    buffer.fill(false, true, &[7], Some(&timeline), Timeout::Try).unwrap();
    timeline.synchronize(Timeout::Infinite).unwrap();
    hold(&timeline);
    graph.launch(&timeline).unwrap();
    assert_eq!(status(buffer.begin(Access::Read, 99, 1, Timeout::Try)), Status::Busy);
    assert_eq!(status(buffer.begin(Access::Read, 100, 1, Timeout::Try)), Status::Ok, "it writes a hundred bytes");
    release(&timeline);
    let (first, _) = buffer.begin(Access::Read, 0, 100, Timeout::Try).unwrap();
    // SAFETY: the guard covers it.
    assert_eq!(unsafe { *first }, 7);
}

#[test]
fn a_launch_is_a_write_of_memory_that_kernels_use_in_place() {
    fn add_one(view: &dyn View, [address, _]: [usize; 2]) {
        let mut byte = 0;
        // SAFETY: one byte each.
        unsafe { view.read(address as u64, &mut byte, 1) }.unwrap();
        byte += 1;
        // SAFETY: as above.
        unsafe { view.write(address as u64, &byte, 1) }.unwrap();
    }
    let device = device();
    let options = PoolOptions::new(Placement::Uva, BYTES, 1);
    let lease = Pool::create(&device, options).unwrap().acquire(0, Timeout::Try).unwrap();
    let (graph, timeline) = (new_hold(&device), stream(&device));
    graph.add(Arc::new(lease.clone()), Some(Timeout::Try)).unwrap();
    let address = lease.device_address().unwrap();
    kit(&timeline).begin_capture().unwrap();
    kit(&timeline).capture_call(add_one, [address as usize, 0]).unwrap();
    assert_eq!(status(lease.begin(Access::Write, 0, 1, Timeout::Try)), Status::Unfenced);
    end(&graph, &timeline);
    hold(&timeline);
    for _ in 0..3 {
        graph.launch(&timeline).unwrap();
    }
    assert_eq!(status(lease.begin(Access::Read, 0, 1, Timeout::Try)), Status::Busy);
    release(&timeline);
    let (first, token) = lease.begin(Access::Read, 0, 1, Timeout::Try).unwrap();
    // SAFETY: the guard covers it.
    assert_eq!(unsafe { *first }, 3);
    assert_eq!(status(graph.launch(&timeline)), Status::Ok, "what kernels do with it is theirs to share with a reader");
    lease.end(Access::Read, token).unwrap();
}

/// A buffer that was made smaller in place is as large as ever for the graph, which was captured with all of it.
#[test]
fn a_launch_uses_what_the_buffer_had_when_it_was_captured() {
    fn nothing(_: &dyn View, _: [usize; 2]) {}
    let device = device();
    let shape = |bytes| Shape::new(&[bytes]).unwrap();
    let in_place = BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(BYTES) };
    for options in [in_place, pair_of(BYTES)] {
        let buffer = buffer(&device, options);
        let (graph, timeline) = begun(&buffer);
        kit(&timeline).capture_call(nothing, [0; 2]).unwrap();
        end(&graph, &timeline);
        buffer.resize(shape(64), (false, false), None, Timeout::Try).unwrap();
        hold(&timeline);
        graph.launch(&timeline).unwrap();
        buffer.resize(shape(BYTES), (false, false), None, Timeout::Try).unwrap();
        if buffer.placements().1 == Placement::None {
            assert_eq!(status(buffer.begin(Access::Write, 64, 1, Timeout::Try)), Status::Busy);
        } else {
            let before = device.counters.device_waits.get();
            buffer.copy(true, 64, 1, &stream(&device), None).unwrap();
            assert_eq!(device.counters.device_waits.get() - before, 1, "behind the launch");
        }
        release(&timeline);
    }
}

#[test]
fn commits_and_launches_of_a_graph_that_reads_slots_are_ordered() {
    fn copy(view: &dyn View, [from, to]: [usize; 2]) {
        let mut byte = 0;
        // SAFETY: one byte each.
        unsafe { view.read(from as u64, &mut byte, 1) }.unwrap();
        // SAFETY: as above.
        unsafe { view.write(to as u64, &byte, 1) }.unwrap();
    }
    let device = device();
    let slots = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    let shape = Shape::new(&[64]).unwrap();
    let slot = SlotOptions {
        name: "ids",
        dtype: Dtype::U8,
        shape,
        kind: SlotKind::Required,
        own_copy: false,
        follows_tokens: false,
        pad: None,
    };
    slots.add(&slot).unwrap();
    let graph = new_hold(&device);
    assert_eq!(status(graph.add_all(slots.held_copies(), None)), Status::Frozen);
    slots.freeze().unwrap();
    graph.add_all(slots.held_copies(), None).unwrap();
    let out = buffer(&device, pair_of(BYTES));
    graph.add(out.clone(), Some(Timeout::Try)).unwrap();
    let (copies, kernels) = (stream(&device), stream(&device));
    let from = slots.slot_info(0).unwrap().device_address;
    let to = out.device_address(&[]).unwrap();
    kit(&kernels).begin_capture().unwrap();
    kit(&kernels).capture_call(copy, [from as usize, to as usize]).unwrap();
    end(&graph, &kernels);
    let send = |value: u8| {
        let step = slots.begin(Timeout::Infinite).unwrap();
        // SAFETY: the array has that many rows.
        unsafe { step.write(0, 0, 64, [value; 64].as_ptr()) }.unwrap();
        step.commit(&copies, &[]).unwrap()
    };
    hold(&kernels);
    let ticket = send(1);
    graph.launch(&kernels).unwrap();
    slots.retire(ticket, &[]).unwrap();
    // No consumer was named: the launch alone keeps the next commit from overtaking it.
    let ticket = send(2);
    assert_eq!(status(copies.expect_idle()), Status::Busy);
    release(&kernels);
    slots.retire(ticket, &[]).unwrap();
    ran(&copies);
    assert_eq!(read_device(&device, to, 1), [1]);
    graph.launch(&kernels).unwrap();
    ran(&kernels);
    assert_eq!(read_device(&device, to, 1), [2]);
}

#[test]
fn what_a_stream_named_with_the_address_does_is_over_before_a_hold() {
    let device = device();
    let (buffer, timeline, hold) = (buffer(&device, pair_of(BYTES)), stream(&device), new_hold(&device));
    buffer.device_address(std::slice::from_ref(&timeline)).unwrap();
    common::hold(&timeline);
    common::busy(&timeline);
    assert_eq!(status(hold.add(buffer.clone(), Some(Timeout::Try))), Status::Busy);
    release(&timeline);
    assert_eq!(status(hold.add(buffer, Some(Timeout::Try))), Status::Ok);
}

#[test]
fn no_graph_is_launched_while_the_host_fills_a_block_that_it_holds() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    end(&hold, &timeline);
    let (_, token) = buffer.begin(Access::Write, 0, 1, Timeout::Try).unwrap();
    assert_eq!(status(hold.launch(&timeline)), Status::Busy, "also where the graph does not read it");
    buffer.end(Access::Write, token).unwrap();
    buffer.mark_newer(Which::Device, 0, ALL).unwrap();
    assert_eq!(status(hold.launch(&timeline)), Status::Ok);
}

#[test]
fn a_copy_that_failed_is_told_before_another_is_captured() {
    if !common::copies_fail_alone() {
        return;
    }
    for up in [true, false] {
        let device = device();
        let buffer = buffer(&device, pair_of(BYTES));
        let (hold, timeline) = begun(&buffer);
        let other = stream(&device);
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
        buffer.copy(up, 0, ALL, &other, None).unwrap();
        ran(&other);
        other.poll();
        assert_eq!(status(hold.capture(&*buffer, true, 0, ALL, &timeline)), Status::CopyFailed);
        assert_eq!(status(hold.capture(&*buffer, true, 0, ALL, &timeline)), Status::Ok);
    }
}

#[test]
fn a_copy_that_the_driver_refuses_is_not_noted() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Submission).unwrap();
    assert_ne!(status(hold.capture(&*buffer, true, 0, ALL, &timeline)), Status::Ok);
    set(&buffer, 1);
    hold.capture(&*buffer, true, 0, 100, &timeline).unwrap();
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Try)), Status::Unfenced);
    end(&hold, &timeline);
    common::hold(&timeline);
    hold.launch(&timeline).unwrap();
    assert_eq!(status(buffer.begin(Access::Write, 100, 1, Timeout::Try)), Status::Ok, "the refused copy is none");
    assert_eq!(status(buffer.begin(Access::Write, 99, 1, Timeout::Try)), Status::Busy);
    release(&timeline);
}

#[test]
fn a_launch_that_is_refused_changes_nothing() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    hold.capture(&*buffer, true, 0, ALL, &timeline).unwrap();
    let graph = kit(&timeline).end_capture().unwrap();
    assert_eq!(status(hold.launch(&timeline)), Status::NotBegun, "no graph is set");
    assert_eq!(status(hold.set_graph(0)), Status::InvalidArgument);
    hold.set_graph(graph).unwrap();
    let recorded = device.counters.fences_recorded.get();
    if emulated() {
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Submission).unwrap();
        assert_ne!(status(hold.launch(&timeline)), Status::Ok);
    }
    assert_eq!(device.counters.fences_recorded.get(), recorded);
    assert!(buffer.lock().unwrap().is_unused());
    hold.launch(&timeline).unwrap();
    assert_eq!(device.counters.fences_recorded.get(), recorded + 1, "one fence for all that it holds");
}

#[test]
fn a_launch_without_a_fence_quarantines() {
    let device = device();
    let (one, two) = (buffer(&device, pair_of(BYTES)), buffer(&device, pair_of(BYTES)));
    let (hold, timeline) = begun(&one);
    hold.capture(&*one, true, 0, ALL, &timeline).unwrap();
    end(&hold, &timeline);
    hold.add(two.clone(), Some(Timeout::Try)).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).unwrap();
    assert_eq!(status(hold.launch(&timeline)), Status::Quarantined);
    assert_eq!(device.counters.quarantined_bytes.get(), 3 * BYTES, "but for the host side that it does not touch");
    assert_eq!(status(one.begin(Access::Write, 0, 1, Timeout::Infinite)), Status::Quarantined);
    assert_eq!(status(hold.launch(&timeline)), Status::Quarantined);
}

#[test]
fn a_replay_that_failed_is_told_once() {
    if !common::copies_fail_alone() {
        return;
    }
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    hold.capture(&*buffer, true, 0, ALL, &timeline).unwrap();
    end(&hold, &timeline);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    hold.launch(&timeline).unwrap();
    ran(&timeline);
    timeline.poll();
    assert_eq!(status(hold.launch(&timeline)), Status::CopyFailed);
    assert_eq!(status(hold.launch(&timeline)), Status::Ok);
}

#[test]
fn who_launches_by_himself_may_declare_it_as_a_use_of_the_block() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    hold.capture(&*buffer, true, 0, ALL, &timeline).unwrap();
    let graph = kit(&timeline).end_capture().unwrap();
    common::hold(&timeline);
    // SAFETY: the graph is alive, and the buffer outlives its replay.
    unsafe { timeline.stream().launch_graph(graph, 0) }.unwrap();
    drop(hold);
    assert_eq!(
        status(buffer.begin(Access::Write, 0, 1, Timeout::Try)),
        Status::Unfenced,
        "the hold's end says nothing"
    );
    buffer.used_on(&timeline, Access::Write).unwrap();
    assert_eq!(
        status(buffer.begin(Access::Write, 0, 1, Timeout::Try)),
        Status::Busy,
        "the host side counts as used, too"
    );
    release(&timeline);
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Try)), Status::Ok);
}

#[test]
fn a_capture_on_a_lost_device_is_over() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    lose(&device);
    assert_eq!(status(hold.capture(&*buffer, true, 0, ALL, &timeline)), Status::DeviceLost);
}

#[test]
fn a_graph_runs_on_streams_of_its_device_that_do_not_capture() {
    let (device, other) = (device(), device());
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    let stranger = stream(&other);
    assert_eq!(status(hold.capture(&*buffer, true, 0, ALL, &stranger)), Status::WrongDevice, "it does not capture");
    kit(&stranger).begin_capture().unwrap();
    assert_eq!(status(hold.capture(&*buffer, true, 0, ALL, &stranger)), Status::WrongDevice, "nor if it does");
    kit(&stranger).end_capture().unwrap();
    end(&hold, &timeline);
    assert_eq!(status(hold.launch(&stranger)), Status::WrongDevice);
    assert_eq!(status(hold.replayed(&stranger)), Status::WrongDevice);
    let empty = new_hold(&device);
    assert_eq!(status(empty.replayed(&stranger)), Status::WrongDevice, "also where it holds nothing");
    kit(&timeline).begin_capture().unwrap();
    assert_eq!(status(empty.replayed(&timeline)), Status::Capturing);
    kit(&timeline).end_capture().unwrap();
}

#[test]
fn a_replay_is_declared_where_there_is_room_for_its_use() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    hold.capture(&*buffer, true, 0, ALL, &timeline).unwrap();
    end(&hold, &timeline);
    let streams: Vec<_> = (0..8).map(|_| stream(&device)).collect();
    for stream in &streams {
        common::hold(stream);
        buffer.used_on(stream, Access::Read).unwrap();
    }
    assert_eq!(status(hold.replayed(&timeline)), Status::Busy);
    release(&streams[0]);
    assert_eq!(status(hold.replayed(&timeline)), Status::Ok);
    streams[1..].iter().for_each(|stream| release(stream));
}

#[test]
fn the_memory_of_a_destroyed_buffer_stays_for_its_graph() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    hold.capture(&*buffer, true, 0, ALL, &timeline).unwrap();
    end(&hold, &timeline);
    set(&buffer, 3);
    let at = address(&buffer);
    drop(buffer);
    device.maintain();
    hold.launch(&timeline).unwrap();
    ran(&timeline);
    assert!(read_device(&device, at, BYTES).iter().all(|byte| *byte == 3));
    let gate = Gate::default();
    gate.shut(&timeline);
    hold.launch(&timeline).unwrap();
    drop(hold);
    assert_eq!(device.maintain(), 0, "a replay that is queued still uses it");
    gate.open();
    ran(&timeline);
    assert_eq!(device.maintain(), 2 * BYTES);
}

#[test]
fn an_address_for_a_graph_needs_no_drain_to_free_it() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let (hold, timeline) = begun(&buffer);
    buffer.device_address(&[]).unwrap();
    end(&hold, &timeline);
    drop((hold, buffer));
    assert_eq!(device.maintain(), 2 * BYTES, "its users were the graph's kernels, all of whose launches are known");
}

#[test]
fn a_block_is_in_a_hold_once_and_of_one_device() {
    let device = device();
    let (hold, one) = (new_hold(&device), buffer(&device, pair_of(BYTES)));
    hold.add(one.clone(), Some(Timeout::Try)).unwrap();
    assert_eq!(status(hold.add(one, Some(Timeout::Try))), Status::Exists);
    let stranger = buffer(&common::device(), pair_of(BYTES));
    assert_eq!(status(hold.add(stranger, Some(Timeout::Try))), Status::WrongDevice);
    for _ in 1..gpubuf::config::HELD_BLOCKS {
        hold.add(buffer(&device, pair_of(1)), Some(Timeout::Try)).unwrap();
    }
    assert_eq!(status(hold.add(buffer(&device, pair_of(1)), Some(Timeout::Try))), Status::Exhausted);
    let timeline = stream(&device);
    kit(&timeline).begin_capture().unwrap();
    end(&hold, &timeline);
    hold.launch(&timeline).unwrap();
}

#[test]
fn numbers_of_graphs_are_checked() {
    if !emulated() {
        return;
    }
    let (one, two) = (device(), device());
    let timeline = stream(&one);
    assert_eq!(status(kit(&timeline).end_capture()), Status::NotBegun);
    kit(&timeline).begin_capture().unwrap();
    assert_eq!(status(kit(&timeline).begin_capture()), Status::Capturing);
    let graph = kit(&timeline).end_capture().unwrap();
    let launch = |timeline: &Timeline, graph| {
        // SAFETY: the emulated device checks the number.
        status(unsafe { timeline.stream().launch_graph(graph, 0) })
    };
    assert_eq!(launch(&stream(&two), graph), Status::NotFound);
    assert_eq!(launch(&timeline, 0), Status::NotFound);
    // SAFETY: the emulated device checks the number.
    let destroy = |device, graph| status(unsafe { kit_of(device).destroy_graph(graph) });
    assert_eq!(destroy(&two, graph), Status::NotFound);
    assert_eq!(destroy(&one, graph), Status::Ok);
    assert_eq!(destroy(&one, graph), Status::NotFound);
    assert_eq!(launch(&timeline, graph), Status::NotFound);
}

#[test]
fn a_broken_capture_is_told_and_over() {
    if !emulated() {
        return;
    }
    let device = device();
    let timeline = stream(&device);
    kit(&timeline).begin_capture().unwrap();
    // What code beside the library may do.
    assert!(timeline.stream().synchronize(None).is_err());
    assert_eq!(status(timeline.expect_not_capturing(gpubuf::config::checks::Check::CaptureCopies)), Status::Capturing);
    assert_eq!(status(kit(&timeline).end_capture()), Status::Capturing);
    assert_eq!(status(timeline.synchronize(Timeout::Infinite)), Status::Ok);
}

#[test]
fn a_borrowed_side_of_a_destroyed_buffer_is_told_of_after_the_hold() {
    use gpubuf::sync::{AtomicBool, Ordering};
    let device = device();
    let told = Arc::new(AtomicBool::new(false));
    let mut memory = vec![0u8; BYTES as usize];
    let theirs = told.clone();
    let options = BufferOptions {
        host: Placement::Pageable,
        host_memory: memory.as_mut_ptr(),
        release: Some(Box::new(move || theirs.store(true, Ordering::SeqCst))),
        ..pair_of(BYTES)
    };
    let (hold, borrowed) = (new_hold(&device), buffer(&device, options));
    hold.add(borrowed.clone(), Some(Timeout::Try)).unwrap();
    drop(borrowed);
    device.maintain();
    assert!(!told.load(Ordering::SeqCst));
    drop(hold);
    device.maintain();
    assert!(told.load(Ordering::SeqCst));
}

#[test]
fn work_queued_before_a_capture_is_waited_for_as_ever() {
    let device = device();
    let (buffer, timeline) = (buffer(&device, pair_of(BYTES)), stream(&device));
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 1) };
    let pool = Pool::create(&device, options).unwrap();
    hold(&timeline);
    buffer.copy(true, 0, ALL, &timeline, None).unwrap();
    pool.acquire(0, Timeout::Try).unwrap().release_after(std::slice::from_ref(&timeline)).unwrap();
    kit(&timeline).begin_capture().unwrap();
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Try)), Status::Busy);
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    kit(&timeline).release().unwrap();
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Infinite)), Status::Ok);
    assert_eq!(status(pool.acquire(0, Timeout::Infinite)), Status::Ok);
    device.maintain();
    assert_eq!(status(kit(&timeline).end_capture()), Status::Ok, "and the capture is whole");
}

#[test]
fn a_block_of_two_graphs_is_sealed_until_the_launches_of_both_are_known() {
    let device = device();
    let buffer = buffer(&device, pair_of(BYTES));
    let ((one, first), (two, second)) = (begun(&buffer), begun(&buffer));
    one.capture(&*buffer, true, 0, ALL, &first).unwrap();
    two.capture(&*buffer, true, 0, ALL, &second).unwrap();
    end(&one, &first);
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Try)), Status::Unfenced);
    one.launch(&first).unwrap();
    kit(&second).end_capture().unwrap();
    two.replayed(&second).unwrap();
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Infinite)), Status::Ok);
}

#[test]
fn a_launch_on_a_block_that_stands_in_is_refused_while_the_device_side_lacks_bytes() {
    if !emulated() {
        return;
    }
    let device = device();
    kit_of(&device).set_uva_stale(true).unwrap();
    device.probe(device.timeout(gpubuf::config::TIMEOUT_INFINITE)).unwrap();
    for captured in [false, true] {
        let timeline = stream(&device);
        let options = BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(BYTES) };
        let standing = buffer(&device, options);
        let graph = new_hold(&device);
        standing.publish(&timeline).unwrap();
        graph.add(standing.clone(), Some(Timeout::Infinite)).unwrap();
        kit(&timeline).begin_capture().unwrap();
        if captured {
            graph.capture(&*standing, true, 0, ALL, &timeline).unwrap();
        }
        graph.set_graph(kit(&timeline).end_capture().unwrap()).unwrap();
        set(&standing, 5);
        let told = status(graph.launch(&timeline));
        assert_eq!(told, if captured { Status::Ok } else { Status::Conflict });
        if !captured {
            standing.publish(&timeline).unwrap();
            graph.launch(&timeline).unwrap();
        }
        ran(&timeline);
        assert!(device_is(&standing, 5));
    }
    kit_of(&device).set_uva_stale(false).unwrap();
}

#[test]
fn what_a_replay_sends_is_not_newer_on_the_host() {
    if !emulated() {
        return;
    }
    let device = device();
    let timeline = stream(&device);
    let pair = buffer(&device, pair_of(BYTES));
    let graph = new_hold(&device);
    graph.add(pair.clone(), Some(Timeout::Infinite)).unwrap();
    kit(&timeline).begin_capture().unwrap();
    graph.capture(&*pair, true, 0, BYTES / 2, &timeline).unwrap();
    graph.set_graph(kit(&timeline).end_capture().unwrap()).unwrap();
    pair.fill(true, false, &[5], None, Timeout::Infinite).unwrap();
    graph.launch(&timeline).unwrap();
    assert_eq!(pair.lock().unwrap().newer_bytes(Which::Host), BYTES / 2, "the half that it does not send");
    let half = pair.slice(0, BYTES / 2).unwrap();
    half.sync(None, &timeline, Some(Timeout::Infinite)).unwrap();
}
