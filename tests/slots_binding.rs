//! Dynamic slots: bound for one step to memory that is on the device already, and what becomes of a block meanwhile.

mod common;

use common::{busy, copies_fail_alone, device, hold, kit, kit_of, lose, ran, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::{ALL, Placement, TIMEOUT_INFINITE, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device};
use gpubuf::lease::{AloneOptions, Lease, Twin};
use gpubuf::slots::{MAX_DYNAMIC, SlotKind, SlotOptions, Slots, SlotsOptions, Step};
use gpubuf::sync::Arc;
use std::slice::from_ref;

const NEED: u32 = 0;
const STATE: u32 = 1;
const ROW: u64 = 64;
const ROWS: u64 = 8;

fn slots(device: &Arc<Device>, device_depth: u32) -> Arc<Slots> {
    let options = SlotsOptions { device_depth, depth: 4, ..SlotsOptions::default() };
    let slots = Slots::create(device, options, "binding").unwrap();
    slots.add(&slot("need", &[4], SlotKind::Required)).unwrap();
    slots.add(&slot("state", &[ROWS, ROW], SlotKind::Dynamic)).unwrap();
    slots.freeze().unwrap();
    slots
}

fn slot<'a>(name: &'a str, dims: &[u64], kind: SlotKind) -> SlotOptions<'a> {
    let shape = Shape::new(dims).unwrap();
    SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy: false, follows_tokens: false, pad: None }
}

fn block(device: &Arc<Device>, placement: Placement, twin: Twin) -> Lease {
    let options = AloneOptions { placement, bytes: ROWS * ROW, twin, timed: false, label: String::new() };
    Lease::create(device, options).unwrap()
}

fn write(step: &Step, slot: u32) -> Result<()> {
    // SAFETY: four bytes.
    unsafe { step.write(slot, 0, 4, [1u8; 4].as_ptr()) }
}

fn filled(slots: &Arc<Slots>) -> Step {
    let step = slots.begin(Timeout::Try).unwrap();
    write(&step, NEED).unwrap();
    step
}

#[test]
fn a_dynamic_slot_has_no_place_of_its_own() {
    let device = device();
    let slots = slots(&device, 1);
    let info = slots.slot_info(STATE).unwrap();
    assert_eq!((info.kind, info.rows, info.row_bytes, info.device_address), (SlotKind::Dynamic, ROWS, ROW, 0));
    assert_eq!(status(slots.device_address(STATE, 0)), Status::Unsupported);
    assert_eq!(slots.stats().arena_bytes, 256, "the other slot's");
    let step = filled(&slots);
    for result in [write(&step, STATE), step.pad(STATE, 1), step.begin_span(STATE, 0, 1).map(drop)] {
        assert_eq!(status(result), Status::Unsupported);
    }
    let draft = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    let own_copy = SlotOptions { own_copy: true, ..slot("a", &[1], SlotKind::Dynamic) };
    let follows = SlotOptions { follows_tokens: true, ..slot("a", &[1], SlotKind::Dynamic) };
    let padded = SlotOptions { pad: Some(&[1]), ..slot("a", &[1], SlotKind::Dynamic) };
    for wrong in [own_copy, follows, padded] {
        assert_eq!(status(draft.add(&wrong)), Status::InvalidArgument);
    }
    for number in 0..MAX_DYNAMIC {
        draft.add(&slot(&number.to_string(), &[1], SlotKind::Dynamic)).unwrap();
    }
    assert_eq!(status(draft.add(&slot("more", &[1], SlotKind::Dynamic))), Status::InvalidArgument);
    draft.freeze().expect("of dynamic slots alone");
}

#[test]
fn memory_of_the_callers_is_bound_for_one_step() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    let memory = lease.device_address().unwrap();
    let step = filled(&slots);
    let error = step.commit(&stream, &[]).unwrap_err();
    assert!(error.status() == Status::SlotUnwritten && error.message().contains("\"state\" was not bound"), "{error}");
    assert_eq!(status(step.address(STATE)), Status::SlotUnwritten);
    for (slot, address, bytes, wanted) in [
        (NEED, memory, 4, Status::Unsupported),
        (9, memory, ROW, Status::NotFound),
        (STATE, 0, ROW, Status::InvalidArgument),
        (STATE, u64::MAX, ROW, Status::InvalidArgument),
        (STATE, memory, 0, Status::InvalidArgument),
        (STATE, memory, ROW + 1, Status::InvalidArgument),
        (STATE, memory, (ROWS + 1) * ROW, Status::InvalidArgument),
    ] {
        assert_eq!(status(step.bind(slot, address, bytes, &[])), wanted, "{slot} {address:#x} {bytes}");
    }
    step.bind(STATE, memory + ROW, ROW, from_ref(&stream)).unwrap();
    step.bind(STATE, memory, 2 * ROW, from_ref(&stream)).unwrap();
    assert_eq!(step.address(STATE).unwrap(), memory, "the last one counts");
    assert_eq!(status(step.address(NEED)), Status::NotBegun, "which copy it has is known with the commit");
    step.commit(&stream, &[]).unwrap();
    assert_eq!(step.address(STATE).unwrap(), memory);
    assert_eq!(step.address(NEED).unwrap(), slots.device_address(NEED, 0).unwrap());
    assert_eq!(status(step.bind(STATE, memory, ROW, &[])), Status::NotBegun);
    step.retire(&[]).unwrap();
    assert_eq!(status(step.address(STATE)), Status::NotBegun);
    assert_eq!(status(filled(&slots).commit(&stream, &[])), Status::SlotUnwritten, "for one step only");
    assert_eq!(slots.stats().bindings, 2);
}

#[test]
fn a_block_is_bound_with_a_twin_or_in_place() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, 1);
    let step = filled(&slots);
    let pinned = block(&device, Placement::Pinned, Twin::Never);
    assert_eq!(status(step.bind_block(STATE, &pinned, 0, ALL)), Status::Unsupported);
    pinned.release().expect("a refusal holds nothing");
    assert_eq!(status(step.bind_block(STATE, &pinned, 0, ALL)), Status::NotHeld);
    let uva = block(&device, Placement::Uva, Twin::Never);
    step.bind_block(STATE, &uva, ROW, ALL).unwrap();
    assert_eq!(status(step.bind_block(STATE, &uva, ROW, ROWS * ROW)), Status::InvalidArgument, "past its end");
    let twin = block(&device, Placement::Pinned, Twin::Eager);
    step.bind_block(STATE, &twin, 2 * ROW, ROW).unwrap();
    uva.release().expect("another one is bound instead");
    let ticket = step.commit(&stream, &[]).unwrap();
    let address = step.address(STATE).unwrap();
    slots.retire(ticket, &[]).unwrap();
    assert_eq!(address, twin.device_address().unwrap() + 2 * ROW);
    twin.declare_unread().unwrap();
    twin.release().expect("the consumers are known");
    let other = common::device();
    assert_eq!(
        status(filled(&slots).bind_block(STATE, &block(&other, Placement::Uva, Twin::Never), 0, ROW)),
        Status::WrongDevice
    );
}

#[test]
fn one_block_is_bound_to_several_slots() {
    let device = device();
    let stream = stream(&device);
    let slots = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    for name in ["a", "b", "c"] {
        slots.add(&slot(name, &[ROWS, ROW], SlotKind::Dynamic)).unwrap();
    }
    slots.freeze().unwrap();
    let (one, two) = (block(&device, Placement::Uva, Twin::Never), block(&device, Placement::Pinned, Twin::Eager));
    for _ in 0..3 {
        let step = slots.begin(Timeout::Infinite).unwrap();
        step.bind_block(0, &one, 0, ROW).unwrap();
        step.bind_block(1, &two, 0, ROW).unwrap();
        step.bind_block(2, &one, ROW, ROW).unwrap();
        step.commit(&stream, &[]).unwrap();
        assert_eq!(step.address(2).unwrap(), step.address(0).unwrap() + ROW);
        step.retire(&[]).unwrap();
    }
    one.release().unwrap();
    two.release().unwrap();
}

#[test]
fn a_step_for_a_replay_binds_nothing_and_needs_nothing_bound() {
    let device = device();
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    let step = slots.begin_replay(Timeout::Try).unwrap();
    write(&step, NEED).unwrap();
    assert_eq!(status(step.bind_block(STATE, &lease, 0, ALL)), Status::Unsupported);
    assert_eq!(status(step.bind(STATE, 0x1000, ROW, &[])), Status::Unsupported);
    step.commit(&stream(&device), &[]).unwrap();
    assert_eq!(status(step.address(STATE)), Status::SlotUnwritten);
    step.retire(&[]).unwrap();
    filled(&slots).bind_block(STATE, &lease, 0, ALL).expect("a plain step in the same entry");
}

#[test]
fn a_commit_that_comes_to_nothing_leaves_the_block_free() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    let step = filled(&slots);
    step.bind_block(STATE, &lease, 0, ALL).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Submission).unwrap();
    assert_eq!(status(step.commit(&copies, &[])), Status::DriverError);
    let writable = |lease: &Lease| {
        let (_, token) = lease.begin(Access::Write, 0, 1, Timeout::Infinite)?;
        lease.end(Access::Write, token)
    };
    writable(&lease).expect("the step is being filled still");
    assert_eq!(status(lease.release()), Status::GraphHeld, "and has the block");
    // Torn: the copy is queued, a consumer could not be ordered behind it. The step is over.
    hold(&copies);
    kit_of(&device).fail_operation(Some(Operation::Wait), 1, FailWhen::Submission).unwrap();
    assert_ne!(status(step.commit(&copies, from_ref(&kernels))), Status::Ok);
    writable(&lease).unwrap();
    lease.release().expect("the step is over");
    release(&copies);
}

#[test]
fn a_block_in_a_step_that_is_not_retired_is_not_bound_again() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, 2);
    let lease = block(&device, Placement::Uva, Twin::Never);
    let first = filled(&slots);
    first.bind_block(STATE, &lease, 0, ALL).unwrap();
    first.commit(&stream, &[]).unwrap();
    let second = filled(&slots);
    second.bind_block(STATE, &lease, 0, ALL).unwrap();
    let error = second.commit(&stream, &[]).unwrap_err();
    assert!(error.status() == Status::Unfenced && error.message().contains("not retired"), "{error}");
    first.retire(&[]).unwrap();
    assert_eq!(status(lease.release()), Status::GraphHeld, "the second has it");
    second.commit(&stream, &[]).unwrap();
    second.close().unwrap();
    lease.release().unwrap();
}

#[test]
fn a_copy_that_failed_is_told_to_who_binds_its_block_and_to_who_commits() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (copies, held, stream) = (stream(&device), stream(&device), stream(&device));
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Pinned, Twin::Eager);
    let fail = || {
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
        lease.copy(true, 0, ROW, &copies, None).unwrap();
        copies.synchronize(Timeout::Infinite).expect_err("a failure");
    };
    let step = filled(&slots);
    fail();
    assert_eq!(status(step.bind_block(STATE, &lease, 0, ALL)), Status::CopyFailed);
    step.bind_block(STATE, &lease, 0, ALL).expect("told once");
    hold(&held);
    lease.copy(true, ROW, ROW, &held, None).unwrap();
    fail();
    let waits = device.counters.device_waits.get();
    assert_eq!(status(step.commit(&stream, &[])), Status::CopyFailed);
    assert_eq!(device.counters.device_waits.get(), waits, "a step that is refused waits for nothing");
    step.commit(&stream, &[]).expect("told once");
    release(&held);
}

#[test]
fn blocks_are_let_go_at_every_end_of_a_step() {
    let device = device();
    let stream = stream(&device);
    let leases: Vec<_> = (0..3).map(|_| block(&device, Placement::Uva, Twin::Never)).collect();
    let bound = |slots: &Arc<Slots>, lease| {
        let step = filled(slots);
        step.bind_block(STATE, lease, 0, ALL).unwrap();
        step
    };
    let set = slots(&device, 1);
    bound(&set, &leases[0]).abort().unwrap();
    leases[0].release().unwrap();
    bound(&set, &leases[1]);
    assert_eq!(set.abort_all(drop).unwrap(), 1);
    leases[1].release().unwrap();
    // Nobody will retire it: what its consumers do is for the block's holder to declare.
    bound(&set, &leases[2]).commit(&stream, &[]).unwrap();
    set.destroy();
    assert_eq!(status(leases[2].release()), Status::Unfenced);
    leases[2].release_after(from_ref(&stream)).unwrap();
    let (set, lease) = (slots(&device, 1), block(&device, Placement::Uva, Twin::Never));
    let step = bound(&set, &lease);
    set.destroy();
    assert_eq!(status(step.commit(&stream, &[])), Status::ShutDown);
    lease.release().unwrap();
}

#[test]
fn a_pools_block_goes_round_while_steps_are_in_flight() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    let step = filled(&slots);
    step.bind_block(STATE, &lease, 0, ALL).unwrap();
    step.commit(&copies, from_ref(&kernels)).unwrap();
    hold(&kernels);
    busy(&kernels);
    step.retire(&[]).unwrap();
    lease.release().expect("behind its consumers");
    let freed = device.counters.pinned_bytes.get();
    ran(&copies);
    device.maintain();
    assert_eq!(device.counters.pinned_bytes.get(), freed, "they may still read it");
    release(&kernels);
    device.maintain();
    assert!(device.counters.pinned_bytes.get() < freed);
}

#[test]
fn a_retire_that_cannot_be_fenced_quarantines_the_block() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    let step = filled(&slots);
    step.bind_block(STATE, &lease, 0, ALL).unwrap();
    step.commit(&stream, &[]).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).unwrap();
    step.retire(&[]).expect("the step is over");
    assert_eq!(status(lease.begin(Access::Write, 0, 1, Timeout::Try)), Status::Quarantined);
    assert_eq!(slots.stats().unretired_steps, 0);
}

#[test]
fn memory_is_bound_behind_streams_of_its_device_that_do_not_capture() {
    let (device, other) = (device(), device());
    let slots = slots(&device, 1);
    let step = filled(&slots);
    let (stranger, captures) = (stream(&other), stream(&device));
    kit(&captures).begin_capture().unwrap();
    let fences = (device.counters.fences_recorded.get(), other.counters.fences_recorded.get());
    for (stream, answer) in [(&stranger, Status::WrongDevice), (&captures, Status::Capturing)] {
        assert_eq!(status(step.bind(STATE, 64, ROW, from_ref(stream))), answer);
    }
    assert_eq!((device.counters.fences_recorded.get(), other.counters.fences_recorded.get()), fences);
    kit(&captures).end_capture().unwrap();
}

#[test]
fn a_retire_is_refused_where_the_use_of_a_block_could_not_be_told_apart() {
    let device = device();
    let streams: Vec<_> = (0..9).map(|_| stream(&device)).collect();
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    for stream in &streams[..8] {
        hold(stream);
        lease.fence(from_ref(stream)).unwrap();
    }
    let step = filled(&slots);
    step.bind_block(STATE, &lease, 0, ALL).unwrap();
    step.commit(&streams[0], &[]).unwrap();
    assert_eq!(status(step.retire(&streams[8..])), Status::Busy);
    // The first waits for the others.
    streams[1..8].iter().chain(&streams[..1]).for_each(|stream| release(stream));
    step.retire(&streams[8..]).unwrap();
}

#[test]
fn a_lost_device_lets_blocks_go() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    let step = filled(&slots);
    step.bind_block(STATE, &lease, 0, ALL).unwrap();
    let ticket = step.commit(&stream, &[]).unwrap();
    lose(&device);
    assert_eq!(status(slots.retire(ticket, &[])), Status::DeviceLost);
    assert_eq!(status(lease.release()), Status::Unfenced, "its consumers were not declared");
}

#[test]
fn a_side_that_stands_in_has_what_the_host_wrote() {
    let device = device();
    kit_of(&device).set_uva_stale(true).unwrap();
    device.probe(device.timeout(TIMEOUT_INFINITE)).unwrap();
    let stream = stream(&device);
    let slots = slots(&device, 1);
    let lease = block(&device, Placement::Uva, Twin::Never);
    assert!(lease.is_standing_in());
    for value in [1u8, 2] {
        let step = filled(&slots);
        step.bind_block(STATE, &lease, 0, ROW).unwrap();
        // SAFETY: so many bytes are there. Written after the binding, before the commit.
        unsafe { lease.copy_in(0, ROW, [value; ROW as usize].as_ptr(), Timeout::Infinite) }.unwrap();
        step.commit(&stream, &[]).unwrap();
        ran(&stream);
        let address = step.address(STATE).unwrap();
        step.retire(&[]).unwrap();
        assert_eq!(read_device(&device, address, ROW), [value; ROW as usize]);
    }
    lease.release().unwrap();
    kit_of(&device).set_uva_stale(false).unwrap();
}
