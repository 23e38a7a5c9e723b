//! Streams that capture, and graphs that hold blocks.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Event, Timeline, Which};
use gpubuf::graph::GraphHold;
use gpubuf::lease::Lease;
use gpubuf::lease::Twin;
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions};
use gpubuf::sync::Arc;

/// A stream that captures; the capture ends with it.
fn capturing(device: &Arc<Device>) -> Arc<Timeline> {
    let timeline = stream(device);
    kit(&timeline).begin_capture().expect("a capture");
    timeline
}

/// Whether a capture is whole and was not added to since it began.
fn is_whole(timeline: &Timeline) -> bool {
    kit(timeline).delay(1).is_ok() && kit(timeline).end_capture().is_ok()
}

fn hold_of(device: &Arc<Device>) -> Arc<GraphHold> {
    GraphHold::create(device, "").expect("a graph hold")
}

/// A graph whose one node copies the buffer's host side to the device (`up`), or back; launched through its hold only.
fn graph_of(buffer: &Arc<Buffer>, up: bool) -> Result<(Arc<GraphHold>, u64)> {
    let device = buffer.device();
    let hold = hold_of(device);
    hold.add(buffer.clone(), Some(Timeout::Try))?;
    let timeline = capturing(device);
    hold.capture(&**buffer, up, 0, ALL, &timeline)?;
    let graph = kit(&timeline).end_capture()?;
    hold.set_graph(graph)?;
    Ok((hold, graph))
}

fn lease(device: &Arc<Device>) -> Lease {
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BYTES, 1) };
    Pool::create(device, options).expect("a pool").acquire(0, Timeout::Try).expect("a block")
}

fn slots(device: &Arc<Device>) -> Arc<Slots> {
    let slots = Slots::create(device, SlotsOptions::default(), "").expect("slots");
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let slot = SlotOptions {
        name: "ids",
        dtype: Dtype::U8,
        shape,
        kind: SlotKind::Kept,
        own_copy: false,
        follows_tokens: false,
        pad: None,
    };
    slots.add(&slot).expect("a slot");
    slots.freeze().expect("frozen slots");
    slots
}

/// Whether every byte of the buffer's device side is `value`, once its device runs dry.
fn landed(buffer: &Buffer, value: u8) -> bool {
    let address = buffer.lock().and_then(|block| block.memory(Which::Device)).expect("a device side").device;
    device_is(buffer.device(), address, BYTES, value)
}

pub const CASES: &[Case] = &[
    case!(CaptureCopies, "what moves bytes is refused on a stream that captures", |it| {
        let device = device();
        let (buffer, slots) = (pair(&device), slots(&device));
        let (hold, _) = graph_of(&pair(&device), true).works()?;
        let sent = slots.begin(Timeout::Try).works()?.commit(&stream(&device), &[]).works()?;
        let step = slots.begin(Timeout::Try).works()?;
        let captured = capturing(&device);
        ensure!(status(buffer.copy(true, 0, ALL, &captured, None)) == Status::Capturing, it);
        ensure!(status(buffer.copy(false, 0, ALL, &captured, None)) == Status::Capturing, it);
        ensure!(status(buffer.fill(false, true, &[1], Some(&captured), Timeout::Try)) == Status::Capturing, it);
        ensure!(status(slots.read_back(sent, 0, 0, ALL, &captured)) == Status::Capturing, it);
        slots.retire(sent, &[]).works()?;
        ensure!(status(step.commit(&captured, &[])) == Status::Capturing, it);
        ensure!(status(hold.launch(&captured)) == Status::Capturing, it);
        ensure!(is_whole(&captured), "the capture goes on");
        ensure!(status(set(&buffer, 1)) == Status::Ok, "the buffer is as it was");
        ensure!(status(step.commit(&captured, &[])) == Status::Ok, "the step may be committed afterwards");
    }),
    case!(CaptureFences, "no fence is recorded on a stream that captures", |it| {
        let device = device();
        let (buffer, lease) = (pair(&device), lease(&device));
        let (hold, _) = graph_of(&pair(&device), true).works()?;
        lease.device_address().works()?;
        let event = Event::create(&device, false, "").works()?;
        let slots = slots(&device);
        let sent = slots.begin(Timeout::Try).works()?.commit(&stream(&device), &[]).works()?;
        let captured = capturing(&device);
        let streams = std::slice::from_ref(&captured);
        ensure!(status(event.record(&captured)) == Status::Capturing, it);
        ensure!(status(buffer.used_on(&captured, Access::Read)) == Status::Capturing, it);
        ensure!(status(lease.fence(streams)) == Status::Capturing, it);
        ensure!(status(lease.release_after(streams)) == Status::Capturing, it);
        ensure!(status(hold.replayed(&captured)) == Status::Capturing, it);
        ensure!(status(slots.retire(sent, streams)) == Status::Capturing, it);
        ensure!(is_whole(&captured), "the capture goes on");
        ensure!(status(slots.retire(sent, streams)) == Status::Ok, "the step is still to be retired");
        ensure!(status(lease.release_after(streams)) == Status::Ok, "the block is as it was");
    }),
    case!(CaptureWaits, "nothing waits for a stream that captures, nor has it wait for work outside", |it| {
        let device = device();
        let event = Event::create(&device, false, "").works()?;
        event.record(&stream(&device)).works()?;
        let captured = capturing(&device);
        ensure!(status(captured.expect_idle()) == Status::Capturing, it);
        ensure!(status(captured.synchronize(Timeout::Infinite)) == Status::Capturing, it);
        ensure!(status(device.synchronize(Timeout::Infinite)) == Status::Capturing, it);
        ensure!(status(device.drain(Timeout::Infinite)) == Status::Capturing, it);
        ensure!(status(event.order(&captured)) == Status::Capturing, it);
        device.maintain();
        ensure!(is_whole(&captured), "the capture goes on");
        ensure!(status(device.drain(Timeout::Infinite)) == Status::Ok, "all of it may be done afterwards");
    }),
    case!(CaptureBegun, "a captured copy needs a capture", |it| {
        let device = device();
        let (buffer, hold) = (pair(&device), hold_of(&device));
        hold.add(buffer.clone(), Some(Timeout::Try)).works()?;
        ensure!(status(hold.capture(&*buffer, true, 0, ALL, &stream(&device))) == Status::NotBegun, it);
        ensure!(status(set(&buffer, 1)) == Status::Ok, "the buffer is as it was");
    }),
    case!(CaptureHeld, "a captured copy needs a block in the hold", |it| {
        let device = device();
        let (buffer, other, hold) = (pair(&device), pair(&device), hold_of(&device));
        hold.add(buffer.clone(), Some(Timeout::Try)).works()?;
        let captured = capturing(&device);
        ensure!(status(hold.capture(&*other, true, 0, ALL, &captured)) == Status::NotHeld, it);
        ensure!(status(hold.capture(&*buffer, true, 0, ALL, &captured)) == Status::Ok, "the other one is in it");
        ensure!(is_whole(&captured), "the capture goes on");
    }),
    case!(CaptureGuard, "a copy of half-written bytes is not captured", |it| {
        let device = device();
        let (buffer, hold) = (pair(&device), hold_of(&device));
        hold.add(buffer.clone(), Some(Timeout::Try)).works()?;
        let captured = capturing(&device);
        let (_, token) = buffer.begin(Access::Write, 0, 100, Timeout::Try).works()?;
        ensure!(status(hold.capture(&*buffer, true, 99, 1, &captured)) == Status::Busy, it);
        ensure!(status(hold.capture(&*buffer, true, 100, 1, &captured)) == Status::Ok, "other bytes may be");
        buffer.end(Access::Write, token).works()?;
        ensure!(status(hold.capture(&*buffer, true, 0, 100, &captured)) == Status::Ok, "ended guards are gone");
    }),
    case!(PageableCapture, "a copy of pageable memory is not captured", |it| {
        let device = device();
        let hold = hold_of(&device);
        let buffer = Buffer::create(&device, options(Placement::Pageable, Placement::Device)).works()?;
        hold.add(buffer.clone(), Some(Timeout::Try)).works()?;
        let captured = capturing(&device);
        ensure!(status(hold.capture(&*buffer, true, 0, ALL, &captured)) == Status::Unsupported, it);
        ensure!(is_whole(&captured), "the capture goes on");
    }),
    case!(CapturedSeals, "a captured block is not touched before it is known who launches the graph", |it| {
        let device = device();
        let (buffer, hold) = (pair(&device), hold_of(&device));
        hold.add(buffer.clone(), Some(Timeout::Try)).works()?;
        let captured = capturing(&device);
        hold.capture(&*buffer, true, 0, ALL, &captured).works()?;
        let graph = kit(&captured).end_capture().works()?;
        ensure!(status(set(&buffer, 1)) == Status::Unfenced, it);
        ensure!(status(buffer.copy(true, 0, ALL, &captured, None)) == Status::Unfenced, it);
        hold.set_graph(graph).works()?;
        ensure!(status(set(&buffer, 1)) == Status::Ok, "through the hold only is known enough");
    }),
    case!(HoldIdle, "a block in use enters no graph hold", |it| {
        let device = device();
        let (buffer, hold) = (pair(&device), hold_of(&device));
        let mut held = Held::new(&device);
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        ensure!(status(hold.add(buffer.clone(), Some(Timeout::Try))) == Status::Busy, it);
        ensure!(status(hold.add(buffer.clone(), Some(SHORT))) == Status::Timeout, it);
        held.open();
        ensure!(status(hold.add(buffer, Some(Timeout::Try))) == Status::Ok, "a copy that is done forbids nothing");
    }),
    case!(HoldGuard, "a block being filled enters no graph hold", |it| {
        let device = device();
        let (buffer, hold) = (pair(&device), hold_of(&device));
        let (_, token) = buffer.begin(Access::Write, 0, 1, Timeout::Try).works()?;
        ensure!(status(hold.add(buffer.clone(), Some(Timeout::Infinite))) == Status::Busy, it);
        buffer.end(Access::Write, token).works()?;
        ensure!(status(hold.add(buffer, Some(Timeout::Try))) == Status::Ok, "ended guards are gone");
    }),
    case!(HoldSealed, "a block with an unseen user enters no graph hold", |it| {
        let device = device();
        let (buffer, hold) = (pair(&device), hold_of(&device));
        buffer.device_address(&[]).works()?;
        ensure!(status(hold.add(buffer.clone(), Some(Timeout::Infinite))) == Status::Unfenced, it);
        buffer.used_on(&stream(&device), Access::Write).works()?;
        ensure!(status(hold.add(buffer, Some(Timeout::Infinite))) == Status::Ok, "a declared fence unseals");
    }),
    case!(HoldRelease, "a block that a graph holds is not released", |it| {
        let device = device();
        let (one, two) = (hold_of(&device), hold_of(&device));
        let lease = lease(&device);
        one.add(Arc::new(lease.clone()), Some(Timeout::Try)).works()?;
        two.add(Arc::new(lease.clone()), Some(Timeout::Try)).works()?;
        ensure!(status(lease.release()) == Status::GraphHeld, it);
        ensure!(status(lease.release_after(&[stream(&device)])) == Status::GraphHeld, it);
        drop(one);
        ensure!(status(lease.release()) == Status::GraphHeld, it);
        drop(two);
        ensure!(status(lease.release()) == Status::Ok, "the last hold's end frees it");
    }),
    case!(HoldDetach, "memory that a graph holds is not handed back", |it| {
        let device = device();
        let hold = hold_of(&device);
        let mut memory = vec![1u8; BYTES as usize];
        let options =
            BufferOptions { host_memory: memory.as_mut_ptr(), ..options(Placement::Pageable, Placement::Device) };
        let buffer = Buffer::create(&device, options).works()?;
        hold.add(buffer.clone(), Some(Timeout::Try)).works()?;
        ensure!(status(buffer.detach(Timeout::Infinite)) == Status::GraphHeld, it);
        drop(hold);
        ensure!(status(buffer.detach(Timeout::Infinite)) == Status::Ok, "the hold's end frees it");
    }),
    case!(HoldDestroy, "the memory of destroyed slots stays while a graph holds it", |it| {
        let device = device();
        let (slots, hold) = (slots(&device), hold_of(&device));
        hold.add_all(slots.held_copies(), None).works()?;
        slots.destroy();
        device.maintain();
        ensure!(device.counters.device_bytes.get() == BYTES, it);
        ensure!(device.counters.pinned_bytes.get() == 0, "staging memory is not held");
        drop(hold);
        device.maintain();
        ensure!(device.counters.device_bytes.get() == 0, "it goes with the hold");
    }),
    case!(LaunchGuard, "a graph is not launched on bytes that are being written, nor on a reader's", |it| {
        let device = device();
        let (sent, got) = (pair(&device), pair(&device));
        let ((up, _), (down, _)) = (graph_of(&sent, true).works()?, graph_of(&got, false).works()?);
        let other = stream(&device);
        let (_, writing) = sent.begin(Access::Write, 0, 1, Timeout::Try).works()?;
        ensure!(status(up.launch(&other)) == Status::Busy, it);
        sent.end(Access::Write, writing).works()?;
        sent.begin(Access::Read, 0, 1, Timeout::Try).works()?;
        ensure!(status(up.launch(&other)) == Status::Ok, "a graph that reads shares with readers");
        let (_, reading) = got.begin(Access::Read, 0, 1, Timeout::Try).works()?;
        ensure!(status(down.launch(&other)) == Status::Busy, it);
        got.end(Access::Read, reading).works()?;
        ensure!(status(down.launch(&other)) == Status::Ok, "ended guards are gone");
    }),
    case!(LaunchDeclares, "bytes that a replay has yet to read are not rewritten", |it| {
        let device = device();
        let buffer = pair(&device);
        let (hold, graph) = graph_of(&buffer, true).works()?;
        let mut held = Held::new(&device);
        for through_hold in [true, false] {
            set(&buffer, 1).works()?;
            if through_hold {
                hold.launch(&held.timeline).works()?;
            } else {
                // SAFETY: the graph is alive, and what it names outlives its replay.
                unsafe { held.timeline.stream().launch_graph(graph, 0) }.works()?;
                hold.replayed(&held.timeline).works()?;
            }
            let reader = buffer.begin(Access::Read, 0, 1, Timeout::Try);
            ensure!(reader.is_ok(), "the CPU may read meanwhile");
            buffer.end(Access::Read, reader.works()?.1).works()?;
            let refused = status(set(&buffer, 2)) == Status::Busy;
            held.open();
            ensure!(landed(&buffer, 1), it);
            ensure!(refused, it);
            ensure!(status(set(&buffer, 2)) == Status::Ok, "a replay that is done forbids nothing");
            held.shut_again();
        }
    }),
    case!(LaunchOrders, "a launch waits for the work of other streams on its blocks", |it| {
        let device = device();
        let buffer = pair(&device);
        let (hold, _) = graph_of(&buffer, true).works()?;
        let mut held = Held::new(&device);
        let other = stream(&device);
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        hold.launch(&other).works()?;
        ensure!(!held.is_overtaken_by(&other), it);
        held.open();
        ensure!(status(other.synchronize(Timeout::Infinite)) == Status::Ok, "it goes on afterwards");
    }),
];
