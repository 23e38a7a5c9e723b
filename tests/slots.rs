//! Input slots, call by call: layout, the cost of a step, what is sent when, and what becomes of steps that fail. What each
//! check of the contract prevents is shown in `contract.rs`.

mod common;

use common::{busy, copies_fail_alone, device, hold, kit, kit_of, lose, ran, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::slots::{DecodeOptions, SlotInfo, SlotKind, SlotOptions, Slots, SlotsOptions, Step, decode_defaults};
use gpubuf::sync::Arc;
use std::slice::from_ref;
use std::time::Duration;

const SHORT: Timeout = Timeout::Within(Duration::from_millis(5));
/// Only a hang reaches it.
const LONG: Timeout = Timeout::Within(Duration::from_secs(60));

/// What the device holds when all work is done.
fn look(device: &Arc<Device>, address: u64, bytes: u64) -> Vec<u8> {
    device.backend().synchronize(None).unwrap();
    read_device(device, address, bytes)
}

fn add(slots: &Slots, name: &str, dims: &[u64], kind: SlotKind, own_copy: bool) -> u32 {
    let shape = Shape::new(dims).unwrap();
    slots.add(&SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy, follows_tokens: false, pad: None }).unwrap()
}

const NEED: u32 = 0;
const KEEP: u32 = 1;
const TABLE: u32 = 2;
const ROWS: u64 = 100;
const TABLE_ROW: u64 = 8192;

/// A required and a kept slot of 100 bytes, and a table of 100 rows of 8 KiB.
fn three(device: &Arc<Device>, options: SlotsOptions) -> Arc<Slots> {
    let slots = Slots::create(device, options, "three").unwrap();
    add(&slots, "need", &[ROWS], SlotKind::Required, false);
    add(&slots, "keep", &[ROWS], SlotKind::Kept, false);
    add(&slots, "table", &[ROWS, TABLE_ROW], SlotKind::Kept, true);
    slots.freeze().unwrap();
    slots
}

fn write(step: &Step, slot: u32, first: u64, count: u64, value: u8) -> Result<()> {
    let row = if slot == TABLE { TABLE_ROW } else { 1 };
    let bytes = vec![value; (count * row) as usize];
    // SAFETY: as many rows as said.
    unsafe { step.write(slot, first, count, bytes.as_ptr()) }
}

fn filled(slots: &Arc<Slots>, value: u8) -> Step {
    let step = slots.begin(Timeout::Try).unwrap();
    write(&step, NEED, 0, ROWS, value).unwrap();
    step
}

fn send(slots: &Arc<Slots>, value: u8, stream: &Arc<Timeline>) -> u64 {
    let ticket = filled(slots, value).commit(stream, &[]).unwrap();
    slots.retire(ticket, &[]).unwrap();
    ticket
}

fn rows(slots: &Slots, slot: u32, first: u64, count: u64) -> Vec<u8> {
    let SlotInfo { device_address, row_bytes, .. } = slots.slot_info(slot).unwrap();
    look(slots.device(), device_address + first * row_bytes, count * row_bytes)
}

fn are(bytes: &[u8], value: u8) -> bool {
    bytes.iter().all(|byte| *byte == value)
}

// ---- layout --------------------------------------------------------------------------------------------------------------

#[test]
fn addresses_are_aligned_and_never_change() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    let infos: Vec<_> = (0..3).map(|slot| slots.slot_info(slot).unwrap()).collect();
    for info in &infos {
        assert!(info.offset % 256 == 0 && info.device_address % 256 == 0, "{info:?}");
        assert_eq!(info.bytes, info.rows * info.row_bytes);
        assert_eq!(info.device_address - info.offset, infos[0].device_address - infos[0].offset);
    }
    for value in 0..5 {
        send(&slots, value, &stream);
        assert!(are(&rows(&slots, NEED, 0, ROWS), value));
    }
    assert_eq!(infos, (0..3).map(|slot| slots.slot_info(slot).unwrap()).collect::<Vec<_>>());
    assert_eq!(slots.find("table").unwrap(), TABLE);
    assert_eq!(status(slots.find("chair")), Status::NotFound);
    assert_eq!(status(slots.slot_info(3)), Status::NotFound);
}

#[test]
fn what_cannot_be_laid_out_is_refused() {
    let device = device();
    let make = |options| status(Slots::create(&device, options, ""));
    let defaults = SlotsOptions::default();
    assert_eq!(make(SlotsOptions { depth: 0, ..defaults }), Status::InvalidArgument);
    assert_eq!(make(SlotsOptions { depth: 17, ..defaults }), Status::InvalidArgument);
    assert_eq!(make(SlotsOptions { read_back_depth: 65, ..defaults }), Status::InvalidArgument);
    assert_eq!(make(SlotsOptions { read_back_bytes: 0, ..defaults }), Status::InvalidArgument);
    assert_eq!(make(SlotsOptions { read_back_bytes: 0, read_back_depth: 0, ..defaults }), Status::Ok);

    let slots = Slots::create(&device, defaults, "").unwrap();
    assert_eq!(status(slots.freeze()), Status::InvalidArgument, "no slots");
    assert_eq!(status(slots.slot_info(0)), Status::Frozen);
    let shape = Shape::new(&[4, 2]).unwrap();
    let slot = SlotOptions {
        name: "a",
        dtype: Dtype::I32,
        shape,
        kind: SlotKind::Kept,
        own_copy: false,
        follows_tokens: false,
        pad: Some(&[1, 2, 3]),
    };
    assert_eq!(status(slots.add(&slot)), Status::InvalidArgument, "a pad value of 3 bytes");
    assert_eq!(status(slots.add(&SlotOptions { name: "", pad: None, ..slot })), Status::InvalidArgument);
    let huge = Shape::new(&[u64::MAX]).unwrap();
    assert_eq!(status(slots.add(&SlotOptions { shape: huge, pad: None, ..slot })), Status::Overflow);
    assert_eq!(slots.add(&SlotOptions { pad: None, ..slot }).unwrap(), 0);
    assert_eq!(status(slots.add(&SlotOptions { pad: None, ..slot })), Status::Exists);
    let long = Shape::new(&[isize::MAX as u64]).unwrap();
    let other = SlotOptions { name: "b", dtype: Dtype::U8, shape: long, pad: None, ..slot };
    slots.add(&other).unwrap();
    assert_eq!(status(slots.freeze()), Status::Overflow, "each fits, but not both");
    assert_eq!(status(slots.begin(Timeout::Try)), Status::Frozen, "nothing is frozen");

    let slots = three(&device, defaults);
    assert_eq!(status(slots.freeze()), Status::Frozen);
}

#[test]
fn a_freeze_without_memory_can_be_repeated() {
    let device = device();
    let slots = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    add(&slots, "need", &[1 << 20], SlotKind::Required, false);
    kit_of(&device).limit_memory(Placement::Pinned, 1 << 20).unwrap();
    assert_eq!(status(slots.freeze()), Status::OutOfHostMemory);
    device.maintain();
    assert_eq!(device.counters.device_bytes.get(), 0);
    kit_of(&device).limit_memory(Placement::Pinned, 1 << 30).unwrap();
    slots.freeze().unwrap();
    assert_eq!(slots.find("need").unwrap(), 0);
}

// ---- the cost of a step --------------------------------------------------------------------------------------------------

fn decode_step(slots: &Arc<Slots>, number: u8, sampling: bool) -> Step {
    let step = slots.begin(Timeout::Try).unwrap();
    let data = [number; 8 * 256];
    for (name, rows) in
        [("input_ids", 200), ("positions", 200), ("query_start_loc", 201), ("seq_lens", 200), ("slot_mapping", 200)]
    {
        // SAFETY: no row is over 8 bytes, and there are fewer than 256.
        unsafe { step.write(slots.find(name).unwrap(), 0, rows, data.as_ptr()) }.unwrap();
    }
    step.pad(slots.find("slot_mapping").unwrap(), 256).unwrap();
    if sampling {
        for name in ["temperature", "seeds"] {
            // SAFETY: as above.
            unsafe { step.write(slots.find(name).unwrap(), 7, 3, data.as_ptr()) }.unwrap();
        }
    }
    step
}

#[test]
fn a_decode_step_on_one_stream_is_one_copy_one_record_no_wait() {
    let device = device();
    let stream = stream(&device);
    let slots = decode_defaults(&device, DecodeOptions::default(), "").unwrap();
    slots.freeze().unwrap();
    for number in 0..20 {
        let (before, at_device) = (slots.stats(), device.counters.fences_recorded.get());
        let step = decode_step(&slots, number, number % 3 == 0);
        let ticket = step.commit(&stream, from_ref(&stream)).unwrap();
        slots.retire(ticket, &[]).unwrap();
        let after = slots.stats();
        assert_eq!(ticket, u64::from(number) + 1);
        assert_eq!(after.copies - before.copies, if number == 0 { 2 } else { 1 }, "the first sends the table as well");
        assert_eq!(after.fences_recorded - before.fences_recorded, 1);
        assert_eq!(device.counters.fences_recorded.get() - at_device, 1);
        assert_eq!((after.device_waits, after.host_waits, after.torn_commits), (0, 0, 0));
        let sampled = if number % 3 == 0 { 3 * (4 + 8) } else { 0 };
        assert_eq!(after.used_bytes - before.used_bytes, 200 * (4 + 8 + 4) + 201 * 4 + 256 * 8 + sampled);
        stream.synchronize(LONG).unwrap();
        let mapping = rows(&slots, slots.find("slot_mapping").unwrap(), 0, 256);
        assert!(are(&mapping[..1600], number) && are(&mapping[1600..], 0xff));
    }
    assert_eq!((device.counters.device_waits.get(), device.counters.copies.get()), (0, 21));
}

#[test]
fn a_step_on_two_streams_is_two_records_and_two_waits() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions { depth: 16, ..SlotsOptions::default() });
    // Held, so that no wait can be left out because its fence is known.
    kit(&copies).hold().unwrap();
    kit(&kernels).hold().unwrap();
    for number in 0..10 {
        let before = slots.stats();
        let ticket = filled(&slots, number).commit(&copies, from_ref(&kernels)).unwrap();
        slots.retire(ticket, from_ref(&kernels)).unwrap();
        let after = slots.stats();
        assert_eq!(after.fences_recorded - before.fences_recorded, 2);
        assert_eq!(after.device_waits - before.device_waits, if number == 0 { 1 } else { 2 });
    }
    let stats = slots.stats();
    assert_eq!(stats.fences_recorded, device.counters.fences_recorded.get());
    assert_eq!(stats.device_waits, device.counters.device_waits.get());
    assert_eq!((stats.host_waits, stats.free_entries), (0, 6));
    kit(&copies).release().unwrap();
    kit(&kernels).release().unwrap();
    assert!(are(&rows(&slots, NEED, 0, ROWS), 9));
}

#[test]
fn a_ring_of_two_waits_for_its_oldest_copy() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    hold(&stream);
    send(&slots, 1, &stream);
    send(&slots, 2, &stream);
    assert_eq!(status(slots.begin(Timeout::Try)), Status::Busy);
    assert_eq!(status(slots.begin(SHORT)), Status::Timeout);
    let stats = slots.stats();
    assert_eq!((stats.timeouts, stats.host_waits, stats.free_entries, stats.steps_begun), (2, 1, 0, 2));
    // The deadline counts from the call, the wait from a little later.
    assert!(stats.host_wait_ns >= 4_000_000);
    let opener = std::thread::spawn({
        let stream = stream.clone();
        move || {
            std::thread::sleep(Duration::from_millis(10));
            kit(&stream).release().unwrap();
        }
    });
    let step = slots.begin(LONG).unwrap();
    opener.join().unwrap();
    step.abort().unwrap();
    stream.synchronize(LONG).unwrap();
    assert!(are(&rows(&slots, NEED, 0, ROWS), 2));
    assert_eq!(slots.stats().free_entries, 2);
}

#[test]
fn a_begin_on_a_stream_shut_by_this_thread_is_refused() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions { depth: 1, ..SlotsOptions::default() });
    kit(&stream).hold().unwrap();
    send(&slots, 1, &stream);
    assert_eq!(status(slots.begin(LONG)), Status::WouldDeadlock);
    kit(&stream).release().unwrap();
    assert_eq!(status(slots.begin(LONG)), Status::Ok);
}

// ---- filling -------------------------------------------------------------------------------------------------------------

#[test]
fn required_rows_leave_no_holes() {
    let device = device();
    let slots = three(&device, SlotsOptions::default());
    let step = slots.begin(Timeout::Try).unwrap();
    assert_eq!(status(write(&step, NEED, 1, 1, 1)), Status::InvalidArgument);
    write(&step, NEED, 0, 10, 1).unwrap();
    write(&step, NEED, 10, 10, 2).unwrap();
    write(&step, NEED, 5, 10, 3).unwrap();
    let error = write(&step, NEED, 21, 1, 1).unwrap_err();
    assert!(error.message().contains("\"need\"") && error.message().contains("rows 20..21"), "{error}");
    assert_eq!(status(write(&step, NEED, 20, 81, 1)), Status::InvalidArgument, "past the end");
    assert_eq!(status(write(&step, 3, 0, 1, 1)), Status::NotFound);
    step.pad(NEED, 30).unwrap();
    step.pad(NEED, 5).unwrap();
    write(&step, NEED, 30, 1, 4).unwrap();
    assert_eq!(status(step.pad(NEED, ROWS + 1)), Status::InvalidArgument);
    let stream = stream(&device);
    step.commit(&stream, &[]).unwrap();
    let found = rows(&slots, NEED, 0, 31);
    assert!(are(&found[..5], 1) && are(&found[5..15], 3) && are(&found[15..20], 2) && are(&found[20..30], 0));
    assert_eq!(found[30], 4);
    assert_eq!(slots.stats().used_bytes, 31);
}

#[test]
fn all_means_every_row_from_the_first_on() {
    let device = device();
    let slots = three(&device, SlotsOptions::default());
    let step = filled(&slots, 1);
    let bytes = [2u8; ROWS as usize];
    // SAFETY: as many rows as the slot has.
    unsafe { step.write(NEED, 40, ALL, bytes.as_ptr()) }.unwrap();
    // SAFETY: as above.
    assert_eq!(status(unsafe { step.write(NEED, 101, ALL, bytes.as_ptr()) }), Status::InvalidArgument);
    step.pad(KEEP, ALL).unwrap();
    step.commit(&stream(&device), &[]).unwrap();
    let found = rows(&slots, NEED, 0, ROWS);
    assert!(are(&found[..40], 1) && are(&found[40..], 2));
}

#[test]
fn spans_are_filled_in_place() {
    let device = device();
    let slots = three(&device, SlotsOptions::default());
    let step = slots.begin(Timeout::Try).unwrap();
    assert_eq!(status(step.begin_span(NEED, 1, 1)), Status::InvalidArgument, "a hole");
    let (data, token) = step.begin_span(NEED, 0, 50).unwrap();
    let (more, other) = step.begin_span(NEED, 50, 50).unwrap();
    assert_eq!(status(step.begin_span(NEED, 49, 1)), Status::Busy);
    assert_eq!(status(write(&step, NEED, 99, 1, 1)), Status::Busy);
    // SAFETY: both spans are open.
    unsafe {
        data.write_bytes(5, 50);
        more.write_bytes(6, 50);
    }
    step.end_span(token).unwrap();
    assert_eq!(status(step.end_span(token)), Status::NotBegun);
    let error = step.commit(&stream(&device), &[]).unwrap_err();
    assert!(error.status() == Status::Busy && error.message().contains("\"need\""), "{error}");
    step.end_span(other).unwrap();
    step.commit(&stream(&device), &[]).unwrap();
    assert_eq!(status(step.end_span(other)), Status::NotBegun);
    let found = rows(&slots, NEED, 0, ROWS);
    assert!(are(&found[..50], 5) && are(&found[50..], 6));
}

#[test]
fn an_aborted_step_leaves_nothing() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions { depth: 1, ..SlotsOptions::default() });
    let ticket = filled(&slots, 1).commit(&stream, &[]).unwrap();
    slots.retire(ticket, &[]).unwrap();
    ran(&stream);
    let step = filled(&slots, 2);
    write(&step, KEEP, 0, 10, 2).unwrap();
    let (_, token) = step.begin_span(TABLE, 0, 1).unwrap();
    step.abort().unwrap();
    assert_eq!(status(step.abort()), Status::NotBegun);
    assert_eq!(status(step.end_span(token)), Status::NotBegun);
    let next = slots.begin(Timeout::Try).unwrap();
    assert_eq!(status(next.commit(&stream, &[])), Status::SlotUnwritten, "what the aborted step wrote is gone");
    assert_eq!(status(write(&step, NEED, 0, 1, 9)), Status::NotBegun, "an old step cannot reach into a new one");
    write(&next, NEED, 0, 1, 3).unwrap();
    assert_eq!(next.commit(&stream, &[]).unwrap(), 2, "an abort leaves no gap in the numbers");
    assert!(are(&rows(&slots, KEEP, 0, ROWS), 0));
    let stats = slots.stats();
    assert_eq!((stats.steps_begun, stats.steps_aborted, stats.steps_committed, stats.steps_retired), (3, 1, 2, 1));
}

#[test]
fn a_step_wanders_between_threads() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    for value in 0..50 {
        let step = slots.begin(LONG).unwrap();
        let written = std::thread::spawn(move || write(&step, NEED, 0, ROWS, value).map(|()| step));
        let step = written.join().unwrap().unwrap();
        let (to, by) = (copies.clone(), kernels.clone());
        let ticket = std::thread::spawn(move || step.commit(&to, from_ref(&by))).join().unwrap().unwrap();
        slots.retire(ticket, &[]).unwrap();
    }
    assert!(are(&rows(&slots, NEED, 0, ROWS), 49));
}

// ---- what is sent --------------------------------------------------------------------------------------------------------

#[test]
fn kept_rows_outlive_the_ring() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions { depth: 3, ..SlotsOptions::default() });
    let mut expected = vec![0u8; ROWS as usize];
    for number in 1..30u8 {
        let step = filled(&slots, number);
        for row in [u64::from(number) * 7 % ROWS, u64::from(number) * 31 % ROWS] {
            write(&step, KEEP, row, 1, number).unwrap();
            expected[row as usize] = number;
        }
        let ticket = step.commit(&stream, &[]).unwrap();
        slots.retire(ticket, &[]).unwrap();
        assert_eq!(rows(&slots, KEEP, 0, ROWS), expected, "after step {number}");
    }
    assert_eq!(slots.stats().copies, 30, "one a step, and the table at first");
}

#[test]
fn distant_rows_of_a_table_are_islands() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    let send_rows = |value, rows: &[u64]| {
        let before = slots.stats();
        let step = filled(&slots, value);
        rows.iter().for_each(|row| write(&step, TABLE, *row, 1, value).unwrap());
        let ticket = step.commit(&stream, &[]).unwrap();
        slots.retire(ticket, &[]).unwrap();
        ran(&stream);
        let after = slots.stats();
        let of_table = after.copied_bytes - before.copied_bytes - ROWS;
        (after.copies - before.copies - 1, of_table / TABLE_ROW, after.island_copies - before.island_copies)
    };
    send_rows(1, &(0..ROWS).collect::<Vec<_>>());
    assert_eq!(send_rows(2, &[]), (0, 0, 0));
    assert_eq!(send_rows(3, &[10, 13]), (1, 4, 0), "one copy of the stretch");
    assert_eq!(send_rows(4, &[0, 50, 99]), (3, 3, 3), "one copy for each island");
    for (row, value) in [(0, 4), (9, 1), (10, 3), (11, 1), (13, 3), (50, 4), (51, 1), (99, 4)] {
        assert!(are(&rows(&slots, TABLE, row, 1), value), "row {row}");
    }
}

#[test]
fn kept_slots_begin_with_their_pad_value() {
    let device = device();
    let slots = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    let shape = Shape::new(&[10]).unwrap();
    let pad = 7i64.to_ne_bytes();
    let options = SlotOptions {
        name: "a",
        dtype: Dtype::I64,
        shape,
        kind: SlotKind::Kept,
        own_copy: false,
        follows_tokens: false,
        pad: Some(&pad),
    };
    slots.add(&options).unwrap();
    slots.freeze().unwrap();
    let stream = stream(&device);
    // Nothing is required, and nothing written: the step is sent all the same.
    for _ in 0..3 {
        let ticket = slots.begin(Timeout::Try).unwrap().commit(&stream, &[]).unwrap();
        slots.retire(ticket, &[]).unwrap();
        ran(&stream);
        assert_eq!(rows(&slots, 0, 0, 10), pad.repeat(10));
    }
}

#[test]
fn a_required_slot_may_be_empty() {
    let device = device();
    let slots = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    add(&slots, "need", &[10], SlotKind::Required, false);
    slots.freeze().unwrap();
    let step = slots.begin(Timeout::Try).unwrap();
    // SAFETY: no row is read.
    unsafe { step.write(0, 0, 0, std::ptr::null()) }.unwrap();
    step.commit(&stream(&device), &[]).unwrap();
    let stats = slots.stats();
    assert_eq!((stats.copies, stats.copied_bytes, stats.fences_recorded), (0, 0, 1));
}

// ---- failures ------------------------------------------------------------------------------------------------------------

#[test]
fn a_refused_commit_leaves_the_step() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    send(&slots, 1, &stream);
    let step = filled(&slots, 2);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Submission).unwrap();
    assert_eq!(status(step.commit(&stream, &[])), Status::DriverError);
    write(&step, NEED, 0, 1, 3).unwrap();
    let ticket = step.commit(&stream, &[]).unwrap();
    assert_eq!((ticket, slots.stats().torn_commits), (2, 0));
    let found = rows(&slots, NEED, 0, ROWS);
    assert!(found[0] == 3 && are(&found[1..], 2));
}

#[test]
fn a_torn_commit_is_over_and_the_next_sends_everything() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    let step = filled(&slots, 1);
    write(&step, KEEP, 0, ROWS, 1).unwrap();
    write(&step, TABLE, 0, ROWS, 1).unwrap();
    let ticket = step.commit(&stream, &[]).unwrap();
    slots.retire(ticket, &[]).unwrap();
    ran(&stream);

    let step = filled(&slots, 2);
    write(&step, KEEP, 5, 1, 2).unwrap();
    write(&step, TABLE, 5, 1, 2).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Copy), 2, FailWhen::Submission).unwrap();
    let error = step.commit(&stream, &[]).unwrap_err();
    assert!(error.message().contains("a part was queued"), "{error}");
    assert_eq!(status(step.abort()), Status::NotBegun, "the step is over");
    assert_eq!(status(slots.retire(2, &[])), Status::NotBegun, "it got no ticket");
    ran(&stream);
    assert_eq!(rows(&slots, KEEP, 5, 1), [2], "the part that was queued arrived");
    assert!(slots.describe().contains("torn"), "{}", slots.describe());

    let before = slots.stats();
    assert_eq!(before.torn_commits, 1);
    let step = filled(&slots, 3);
    write(&step, KEEP, 6, 1, 3).unwrap();
    assert_eq!(step.commit(&stream, &[]).unwrap(), 2);
    let found = rows(&slots, KEEP, 0, ROWS);
    assert!(are(&found[..6], 1) && found[6] == 3 && are(&found[7..], 1), "kept content is what was committed");
    assert!(are(&rows(&slots, TABLE, 0, ROWS), 1));
    assert_eq!(slots.stats().copied_bytes - before.copied_bytes, 256 + ROWS + ROWS * TABLE_ROW);
}

#[test]
fn a_consumer_that_cannot_be_ordered_tears_the_commit() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    hold(&copies);
    kit_of(&device).fail_operation(Some(Operation::Wait), 1, FailWhen::Submission).unwrap();
    assert_ne!(status(filled(&slots, 1).commit(&copies, from_ref(&kernels))), Status::Ok);
    let stats = slots.stats();
    assert_eq!((stats.torn_commits, stats.steps_committed), (1, 0));
    assert_eq!(filled(&slots, 2).commit(&copies, from_ref(&kernels)).unwrap(), 1);
    release(&copies);
    assert!(are(&rows(&slots, NEED, 0, ROWS), 2));
}

#[test]
fn a_copy_that_failed_is_told_once_wherever_it_is_found() {
    if !copies_fail_alone() {
        return;
    }
    for depth in [1, 2] {
        let device = device();
        let stream = stream(&device);
        let slots = three(&device, SlotsOptions { depth, ..SlotsOptions::default() });
        let step = filled(&slots, 1);
        write(&step, KEEP, 0, ROWS, 1).unwrap();
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
        let ticket = step.commit(&stream, &[]).unwrap();
        slots.retire(ticket, &[]).unwrap();
        ran(&stream);
        // With one entry, begin finds it.
        let step = filled(&slots, 2);
        stream.poll();
        let error = step.commit(&stream, &[]).unwrap_err();
        assert_eq!(error.status(), Status::CopyFailed);
        assert!(error.message().contains("step 1"), "{error}");
        let ticket = step.commit(&stream, &[]).unwrap();
        slots.retire(ticket, &[]).unwrap();
        ran(&stream);
        send(&slots, 3, &stream);
        assert!(are(&rows(&slots, KEEP, 0, ROWS), 1), "depth {depth}");
        assert_eq!(slots.stats().torn_commits, 1);
    }
}

#[test]
fn a_failed_copy_is_not_hidden_by_a_later_one() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions { depth: 4, ..SlotsOptions::default() });
    send(&slots, 1, &stream);
    ran(&stream);
    hold(&stream);
    // Two steps that write the same stretch of the device block, but not the same rows in it: the second is no cure.
    kit_of(&device).fail_operation(Some(Operation::Copy), 3, FailWhen::Execution).unwrap();
    for (value, middle) in [(2, 50), (3, 20)] {
        let step = filled(&slots, value);
        for row in [0, middle, 99] {
            write(&step, TABLE, row, 1, value).unwrap();
        }
        let ticket = step.commit(&stream, &[]).unwrap();
        slots.retire(ticket, &[]).unwrap();
    }
    release(&stream);
    stream.poll();
    assert!(are(&rows(&slots, TABLE, 50, 1), 0), "it failed");
    let step = filled(&slots, 4);
    assert_eq!(status(step.commit(&stream, &[])), Status::CopyFailed);
    step.commit(&stream, &[]).unwrap();
    for (row, value) in [(0, 3), (20, 3), (50, 2), (99, 3)] {
        assert!(are(&rows(&slots, TABLE, row, 1), value), "row {row}");
    }
}

#[test]
fn a_copy_without_a_fence_ends_the_slots() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    send(&slots, 1, &stream);
    let step = filled(&slots, 2);
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).unwrap();
    assert_ne!(status(step.commit(&stream, &[])), Status::Ok);
    assert_eq!(status(step.commit(&stream, &[])), Status::NotBegun);
    assert_eq!(status(slots.begin(Timeout::Try)), Status::Quarantined);
    assert_eq!(status(slots.read_back(1, NEED, 0, 1, &stream)), Status::Quarantined);
    assert_eq!(slots.stats().quarantined_entries, 1);
    assert!(device.counters.quarantined_bytes.get() > 0);
    slots.destroy();
    ran(&stream);
    device.maintain();
    assert!(device.counters.device_bytes.get() > 0, "memory of unproven work is kept");
}

#[test]
fn a_commit_whose_consumer_captures_changes_nothing() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    let step = filled(&slots, 1);
    kit(&kernels).begin_capture().unwrap();
    assert_eq!(status(step.commit(&copies, from_ref(&kernels))), Status::Capturing);
    kit(&kernels).end_capture().unwrap();
    step.commit(&copies, from_ref(&kernels)).unwrap();
}

#[test]
fn a_retire_without_a_fence_is_made_good_by_the_next_commit() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    let ticket = filled(&slots, 1).commit(&copies, from_ref(&kernels)).unwrap();
    hold(&kernels);
    busy(&kernels);
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).unwrap();
    slots.retire(ticket, &[]).unwrap();
    // The host does not wait: the commit fences the consumer's stream now, and its copy waits for that.
    let ticket = filled(&slots, 2).commit(&copies, &[]).unwrap();
    let early = copies.synchronize(Timeout::Within(Duration::from_millis(100)));
    assert_eq!(status(early), Status::Timeout, "the copy waits for the consumer");
    release(&kernels);
    slots.retire(ticket, &[]).unwrap();
    copies.synchronize(LONG).unwrap();
    assert!(are(&rows(&slots, NEED, 0, ROWS), 2));
}

#[test]
fn a_retire_without_a_fence_keeps_the_memory_of_destroyed_slots() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    let ticket = filled(&slots, 1).commit(&copies, from_ref(&kernels)).unwrap();
    hold(&kernels);
    busy(&kernels);
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).unwrap();
    slots.retire(ticket, &[]).unwrap();
    slots.destroy();
    ran(&copies);
    device.maintain();
    assert!(device.counters.device_bytes.get() > 0);
    release(&kernels);
    device.maintain();
    assert_eq!((device.counters.device_bytes.get(), device.counters.quarantined_bytes.get()), (0, 0));
}

#[test]
fn a_lost_device_quarantines_what_is_in_flight() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions { depth: 3, ..SlotsOptions::default() });
    send(&slots, 1, &stream);
    ran(&stream);
    stream.poll();
    hold(&stream);
    send(&slots, 2, &stream);
    let step = filled(&slots, 3);
    let ticket = step.commit(&stream, &[]).unwrap();
    let read_back = slots.read_back(ticket, NEED, 0, 1, &stream).unwrap();
    let filling = slots.begin(Timeout::Try).unwrap();
    lose(&device);
    let stats = slots.stats();
    assert_eq!((stats.quarantined_entries, stats.free_entries), (2, 0));
    assert!(device.counters.quarantined_bytes.get() > 0, "with their memory");
    assert_eq!(status(slots.begin(LONG)), Status::DeviceLost);
    assert_eq!(status(slots.begin_read(read_back, LONG)), Status::DeviceLost);
    slots.end_read(read_back).unwrap();
    write(&filling, NEED, 0, 1, 1).unwrap();
    assert_eq!(status(filling.commit(&stream, &[])), Status::DeviceLost);
    filling.abort().unwrap();
    assert_eq!(slots.stats().free_entries, 1, "nothing was queued from it");
    assert_eq!(status(slots.retire(ticket, &[])), Status::DeviceLost);
    assert_eq!(status(slots.begin(LONG)), Status::DeviceLost);
    slots.destroy();
    device.maintain();
    assert!(device.counters.quarantined_bytes.get() > 0);
    assert!(device.counters.device_bytes.get() > 0, "the device block may still be in use");
}

/// A kernel that was launched behind the copy, on the stream that nobody names.
#[test]
fn a_retire_on_a_lost_device_keeps_what_the_commit_stream_may_use() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    let ticket = filled(&slots, 1).commit(&stream, &[]).unwrap();
    ran(&stream);
    stream.poll();
    lose(&device);
    assert_eq!(status(slots.retire(ticket, &[])), Status::DeviceLost);
    slots.destroy();
    device.maintain();
    assert!(device.counters.device_bytes.get() > 0, "the device block may still be in use");
}

// ---- retire, read-back, the end ------------------------------------------------------------------------------------------

#[test]
fn retire_takes_the_present_ticket_and_streams_of_its_device() {
    let (device, other) = (device(), device());
    let streams: Vec<_> = (0..9).map(|_| stream(&device)).collect();
    let slots = three(&device, SlotsOptions::default());
    assert_eq!(status(slots.retire(0, &[])), Status::NotBegun);
    assert_eq!(status(slots.retire(1, &[])), Status::NotBegun);
    let step = filled(&slots, 1);
    assert_eq!(status(step.commit(&stream(&other), &[])), Status::WrongDevice);
    assert_eq!(status(step.commit(&streams[0], &[stream(&other)])), Status::WrongDevice);
    assert_eq!(status(step.commit(&streams[0], &streams[1..])), Status::InvalidArgument, "nine streams");
    step.set_attachment(42).unwrap();
    let ticket = step.commit(&streams[0], &streams[..8]).unwrap();
    assert_eq!(status(slots.retire(ticket, &[stream(&other)])), Status::WrongDevice);
    assert_eq!(status(slots.retire(ticket, &streams[8..])), Status::InvalidArgument, "nine streams");
    assert_eq!(slots.retire(ticket, &streams[3..5]).unwrap(), 42);
    assert_eq!(status(slots.retire(ticket, &[])), Status::NotBegun);
    assert_eq!(slots.stats().fences_recorded, 8);
    assert!(slots.stats().refusals >= 7);
}

#[test]
fn a_closed_step_is_aborted_or_retired() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    let step = filled(&slots, 1);
    step.close().unwrap();
    step.close().unwrap();
    let step = filled(&slots, 2);
    let ticket = step.commit(&copies, from_ref(&kernels)).unwrap();
    step.close().unwrap();
    assert_eq!(status(slots.retire(ticket, &[])), Status::NotBegun);
    let next = filled(&slots, 3);
    let ticket = next.commit(&copies, &[]).unwrap();
    step.close().unwrap();
    slots.retire(ticket, &[]).unwrap();
    let stats = slots.stats();
    assert_eq!((stats.steps_aborted, stats.steps_retired), (1, 2));
}

#[test]
fn read_backs_have_a_ring_of_their_own() {
    let device = device();
    let (copies, back) = (stream(&device), stream(&device));
    let options = SlotsOptions { read_back_bytes: 64, ..SlotsOptions::default() };
    let slots = three(&device, options);
    let step = filled(&slots, 1);
    let ticket = step.commit(&copies, &[]).unwrap();
    assert_eq!(status(slots.read_back(ticket + 1, NEED, 0, 1, &back)), Status::NotBegun);
    let error = slots.read_back(ticket, NEED, 0, 65, &back).unwrap_err();
    assert!(error.status() == Status::InvalidArgument && error.message().contains("read_back_bytes"), "{error}");
    assert_eq!(status(slots.read_back(ticket, NEED, 99, 2, &back)), Status::InvalidArgument);
    assert_eq!(status(slots.begin_read(0, Timeout::Try)), Status::NotBegun);
    let first = slots.read_back(ticket, NEED, 36, ALL, &back).unwrap();
    slots.retire(ticket, &[]).unwrap();
    let ticket = filled(&slots, 2).commit(&copies, &[]).unwrap();
    let second = slots.read_back(ticket, NEED, 0, 10, &back).unwrap();
    assert_eq!(status(slots.read_back(ticket, NEED, 0, 10, &back)), Status::Busy);
    slots.retire(ticket, &[]).unwrap();
    for (id, value, length) in [(second, 2, 10), (first, 1, 64)] {
        let (data, bytes) = slots.begin_read(id, LONG).unwrap();
        // SAFETY: valid until its end.
        let found = unsafe { std::slice::from_raw_parts(data, bytes as usize) };
        assert!(found.len() == length && are(found, value), "step {value}");
        slots.end_read(id).unwrap();
        assert_eq!(status(slots.end_read(id)), Status::NotBegun);
        assert_eq!(status(slots.begin_read(id, LONG)), Status::NotBegun);
    }
    // One that nobody looks at can be ended as well; its entry is ordered behind it.
    hold(&back);
    let ticket = filled(&slots, 3).commit(&copies, &[]).unwrap();
    let unread = slots.read_back(ticket, NEED, 0, 1, &back).unwrap();
    assert_eq!(status(slots.begin_read(unread, SHORT)), Status::Timeout);
    slots.end_read(unread).unwrap();
    let other = slots.read_back(ticket, NEED, 0, 1, &copies).unwrap();
    assert_eq!(status(slots.begin_read(other, SHORT)), Status::Timeout);
    release(&back);
    slots.begin_read(other, LONG).unwrap();
    assert_eq!(slots.stats().read_backs, 4);
}

#[test]
fn a_failed_read_back_never_gives_bytes() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    let ticket = filled(&slots, 1).commit(&stream, &[]).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    let failed = slots.read_back(ticket, NEED, 0, 1, &stream).unwrap();
    assert_eq!(status(slots.begin_read(failed, LONG)), Status::CopyFailed);
    assert_eq!(status(slots.begin_read(failed, LONG)), Status::CopyFailed);
    slots.end_read(failed).unwrap();
    let good = slots.read_back(ticket, NEED, 0, 1, &stream).unwrap();
    let (data, _) = slots.begin_read(good, LONG).unwrap();
    // SAFETY: one byte, valid until its end.
    assert_eq!(unsafe { *data }, 1);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Submission).unwrap();
    assert_eq!(status(slots.read_back(ticket, NEED, 0, 1, &stream)), Status::DriverError);
    slots.read_back(ticket, NEED, 0, 1, &stream).unwrap();
    assert_eq!(slots.stats().torn_commits, 0);
}

#[test]
fn results_in_a_buffer_are_read_back_too() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions { read_back_bytes: 128, ..SlotsOptions::default() });
    let options = |host, device| BufferOptions {
        dtype: Dtype::U8,
        shape: Shape::new(&[256]).unwrap(),
        host,
        device,
        host_memory: std::ptr::null_mut(),
        device_memory: 0,
        release: None,
        label: String::new(),
    };
    let buffer = Buffer::create(&device, options(Placement::Pinned, Placement::Device)).unwrap();
    let (data, token) = buffer.begin(Access::Write, 0, ALL, LONG).unwrap();
    // SAFETY: the guard covers all of it.
    unsafe { data.write_bytes(7, 256) };
    buffer.end(Access::Write, token).unwrap();
    buffer.copy(true, 0, ALL, &stream, None).unwrap();
    let ticket = filled(&slots, 1).commit(&stream, &[]).unwrap();
    let range = buffer.elements(100, 128).unwrap();
    let id = slots.read_back_block(ticket, &mut buffer.lock().unwrap(), range, &stream).unwrap();
    slots.retire(ticket, &[]).unwrap();
    let (data, bytes) = slots.begin_read(id, LONG).unwrap();
    // SAFETY: valid until its end.
    assert!(bytes == 128 && are(unsafe { std::slice::from_raw_parts(data, 128) }, 7));
    let host_only = Buffer::create(&device, options(Placement::Pinned, Placement::None)).unwrap();
    let result = slots.read_back_block(ticket, &mut host_only.lock().unwrap(), range, &stream);
    assert_eq!(status(result), Status::Unsupported);
}

#[test]
fn destroyed_slots_wait_for_their_consumers() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    let step = filled(&slots, 1);
    let ticket = step.commit(&copies, from_ref(&kernels)).unwrap();
    let read_back = slots.read_back(ticket, NEED, 0, 1, &copies).unwrap();
    let filling = slots.begin(LONG).unwrap();
    // A kernel that was launched, but whose step nobody retires.
    hold(&kernels);
    busy(&kernels);
    slots.destroy();
    slots.destroy();
    ran(&copies);
    device.maintain();
    assert!(device.counters.device_bytes.get() > 0, "the kernel may still read it");
    assert_eq!(device.counters.pinned_bytes.get(), 0, "the copies are done");
    assert_eq!(status(slots.begin(LONG)), Status::ShutDown);
    assert_eq!(status(write(&filling, NEED, 0, 1, 1)), Status::ShutDown);
    assert_eq!(status(filling.commit(&copies, &[])), Status::ShutDown);
    assert_eq!(status(slots.retire(ticket, &[])), Status::ShutDown);
    assert_eq!(status(slots.begin_read(read_back, LONG)), Status::ShutDown);
    assert_eq!(status(slots.slot_info(0)), Status::ShutDown);
    assert_eq!(status(slots.slot_count()), Status::ShutDown);
    filling.close().unwrap();
    assert!(slots.describe().contains("destroyed"));
    release(&kernels);
    device.maintain();
    assert!(device.counters.device_bytes.get() > 0, "retire could have named more streams");
    device.drain(LONG).unwrap();
    assert_eq!(device.counters.device_bytes.get(), 0);
    assert_eq!(device.counters.deferred_objects.get(), 0);
}

#[test]
fn slots_that_were_destroyed_before_they_were_frozen_stay_so() {
    let device = device();
    let slots = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    let shape = Shape::new(&[1]).unwrap();
    let (dtype, kind) = (Dtype::U8, SlotKind::Kept);
    let one = SlotOptions { name: "one", dtype, shape, kind, own_copy: false, follows_tokens: false, pad: None };
    slots.add(&one).unwrap();
    slots.destroy();
    assert_eq!(status(slots.add(&SlotOptions { name: "two", ..one })), Status::ShutDown);
    assert_eq!(status(slots.freeze()), Status::ShutDown);
    assert_eq!(status(slots.find("one")), Status::ShutDown);
    assert_eq!(device.counters.device_bytes.get(), 0);
}

#[test]
fn memory_that_somebody_fills_or_reads_is_freed_by_a_drain_alone() {
    let device = device();
    for reads in [false, true] {
        let stream = stream(&device);
        let slots = three(&device, SlotsOptions::default());
        let ticket = filled(&slots, 1).commit(&stream, &[]).unwrap();
        let filling = slots.begin(LONG).unwrap();
        if reads {
            let read_back = slots.read_back(ticket, NEED, 0, 1, &stream).unwrap();
            slots.begin_read(read_back, LONG).unwrap();
        } else {
            filling.begin_span(NEED, 0, 1).unwrap();
        }
        slots.retire(ticket, &[]).unwrap();
        ran(&stream);
        slots.destroy();
        device.maintain();
        assert!(device.counters.pinned_bytes.get() > 0, "its holder may not know yet");
        device.drain(LONG).unwrap();
        assert_eq!(device.counters.pinned_bytes.get(), 0);
    }
}

#[test]
fn dropped_slots_are_destroyed_ones() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = three(&device, SlotsOptions::default());
    let step = filled(&slots, 1);
    step.commit(&copies, from_ref(&kernels)).unwrap();
    hold(&kernels);
    busy(&kernels);
    drop(slots);
    drop(step);
    ran(&copies);
    device.maintain();
    assert!(device.counters.device_bytes.get() > 0);
    release(&kernels);
    device.drain(LONG).unwrap();
    assert_eq!(device.counters.device_bytes.get(), 0);
}

#[test]
fn destroying_beside_every_other_call_frees_everything() {
    let device = device();
    for round in 0..200 {
        let slots = three(&device, SlotsOptions::default());
        let (copies, kernels) = (stream(&device), stream(&device));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let run = || -> Result<()> {
                    for value in 0.. {
                        let step = slots.begin(LONG)?;
                        write(&step, NEED, 0, ROWS, value as u8)?;
                        let ticket = step.commit(&copies, from_ref(&kernels))?;
                        let read_back = slots.read_back(ticket, NEED, 0, 1, &kernels)?;
                        slots.retire(ticket, &[])?;
                        slots.begin_read(read_back, LONG)?;
                        slots.end_read(read_back)?;
                    }
                    Ok(())
                };
                // Who destroys may be inside the step for a moment.
                let mut ends = std::iter::repeat_with(|| run().expect_err("an end"));
                let end = ends.find(|end| end.status() != Status::Busy).expect("an end");
                assert_eq!(end.status(), Status::ShutDown, "{end}");
            });
            scope.spawn(|| (0..round).for_each(|_| drop(slots.describe())));
            std::thread::sleep(Duration::from_micros(round * 3));
            slots.destroy();
        });
        assert_eq!(slots.stats().torn_commits, 0);
        // All of it is on the deferred list, although the set itself is still there.
        device.drain(LONG).unwrap();
        assert_eq!((device.counters.device_bytes.get(), device.counters.pinned_bytes.get()), (0, 0), "round {round}");
    }
}

#[test]
fn a_second_thread_inside_a_step_is_told_off() {
    let device = device();
    let stream = stream(&device);
    let slots = three(&device, SlotsOptions::default());
    let steps = 3000;
    let mut busy = 0;
    for value in 0..steps {
        let step = slots.begin(LONG).unwrap();
        let write = |value| match write(&step, NEED, 0, ROWS, value).map_err(|error| error.status()) {
            Ok(()) => 0,
            Err(Status::Busy) => 1,
            Err(other) => panic!("{other:?}"),
        };
        busy += std::thread::scope(|scope| {
            let other = scope.spawn(|| write(1));
            write(2) + other.join().unwrap()
        });
        if value % 100 == 0 {
            let ticket = step.commit(&stream, &[]).unwrap();
            slots.retire(ticket, &[]).unwrap();
            let found = rows(&slots, NEED, 0, ROWS);
            assert!(are(&found, 1) || are(&found, 2));
        } else {
            step.abort().unwrap();
        }
    }
    assert!(busy <= steps);
}
