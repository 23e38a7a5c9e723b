//! Many slots in one call: rows staged together, and those that follow a step's tokens padded to a size that a graph has.

mod common;

use common::{device, read_device, status, stream};
use gpubuf::config::{ALL, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Device, Member};
use gpubuf::slots::{DecodeOptions, SLOTS_PER_CALL, SlotKind, SlotOptions, SlotRows, Slots, SlotsOptions, Step};
use gpubuf::stats::Value;
use gpubuf::sync::Arc;

const IDS: u32 = 0;
const MAPPING: u32 = 1;
const LENGTHS: u32 = 2;
const KEPT: u32 = 3;
const TOKENS: u64 = 20;

/// Two slots that follow the tokens, one that does not, and a kept one: all of bytes.
fn slots(device: &Arc<Device>, padded_sizes: &[u64]) -> Arc<Slots> {
    let slots = Slots::create(device, SlotsOptions { padded_sizes, ..SlotsOptions::default() }, "tokens").unwrap();
    let shape = Shape::new(&[TOKENS]).unwrap();
    for (name, kind, follows_tokens) in [
        ("ids", SlotKind::Required, true),
        ("mapping", SlotKind::Required, true),
        ("lengths", SlotKind::Required, false),
        ("kept", SlotKind::Kept, false),
    ] {
        let pad = (name == "mapping").then_some(&[0xff][..]);
        slots.add(&SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy: false, follows_tokens, pad }).unwrap();
    }
    slots.freeze().unwrap();
    slots
}

const DATA: [u8; 32] = [7; 32];

fn entry(slot: u32, first: u64, count: u64) -> SlotRows {
    SlotRows { slot, first, count, data: DATA.as_ptr() }
}

fn write_many(step: &Step, list: &[SlotRows], tokens: Option<u64>) -> Result<()> {
    // SAFETY: no slot has more bytes than the data.
    unsafe { step.write_many(list, tokens) }
}

fn sent(slots: &Slots, step: &Step, slot: u32) -> Vec<u8> {
    let stream = stream(slots.device());
    let ticket = step.commit(&stream, &[]).unwrap();
    slots.retire(ticket, &[]).unwrap();
    stream.synchronize(Timeout::Infinite).unwrap();
    read_device(slots.device(), slots.slot_info(slot).unwrap().device_address, TOKENS)
}

#[test]
fn many_slots_are_staged_in_one_call() {
    let device = device();
    let slots = slots(&device, &[]);
    let step = slots.begin(Timeout::Try).unwrap();
    let list =
        [entry(IDS, 0, ALL), entry(MAPPING, 0, 3), entry(MAPPING, 3, ALL), entry(LENGTHS, 0, 2), entry(KEPT, 9, 1)];
    write_many(&step, &list, Some(5)).unwrap();
    write_many(&step, &[], Some(5)).unwrap();
    assert_eq!(step.pad_tokens().unwrap(), 8);
    assert_eq!(slots.stats().padded_rows, 6);
    let mapping = sent(&slots, &step, MAPPING);
    assert_eq!(mapping[..8], [7, 7, 7, 7, 7, 0xff, 0xff, 0xff]);
    assert_eq!(slots.stats().used_bytes, 8 + 8 + 2 + 1);
}

#[test]
fn all_is_checked_before_anything_is_written() {
    let device = device();
    let slots = slots(&device, &[]);
    let step = slots.begin(Timeout::Try).unwrap();
    let good = entry(IDS, 0, 5);
    let wrong = [
        (entry(9, 0, 1), None, Status::NotFound, "slot 9"),
        (entry(LENGTHS, 1, 1), None, Status::InvalidArgument, "unwritten"),
        (entry(LENGTHS, 0, TOKENS + 1), None, Status::InvalidArgument, "not inside"),
        (SlotRows { data: std::ptr::null(), ..entry(KEPT, 0, 1) }, None, Status::InvalidArgument, "NULL"),
        (entry(MAPPING, 0, 4), Some(5), Status::InvalidArgument, "\"mapping\", which follows them, would have 4 rows"),
        (entry(MAPPING, 0, ALL), Some(TOKENS + 1), Status::InvalidArgument, "not inside"),
    ];
    for (entry, tokens, wanted, text) in wrong {
        let error = write_many(&step, &[good, entry], tokens).unwrap_err();
        assert!(error.status() == wanted && error.message().contains(text), "{error}");
    }
    assert_eq!(status(write_many(&step, &[entry(KEPT, 0, 1); SLOTS_PER_CALL + 1], None)), Status::InvalidArgument);
    let (_, token) = step.begin_span(KEPT, 3, 2).unwrap();
    assert_eq!(status(write_many(&step, &[good, entry(KEPT, 0, 4)], None)), Status::Busy);
    step.end_span(token).unwrap();
    assert_eq!(step.pad_tokens().unwrap(), 0, "nothing was written by any of them");
    // What was written before counts, too: a row for each token, or none at all.
    write_many(&step, &[good], None).unwrap();
    assert_eq!(status(write_many(&step, &[entry(MAPPING, 0, 6)], Some(6))), Status::InvalidArgument);
    write_many(&step, &[entry(IDS, 5, 1), entry(MAPPING, 0, 6)], Some(6)).unwrap();
}

#[test]
fn sizes_of_ones_own_that_do_not_fit_are_refused() {
    let device = device();
    let own = slots(&device, &[6, 24]);
    assert_eq!([1, 6, 7, 24, 25].map(|count| own.padded_size(count)), [6, 6, 24, 24, 25]);
    let step = own.begin(Timeout::Try).unwrap();
    write_many(&step, &[entry(IDS, 0, 4), entry(MAPPING, 0, 2)], None).unwrap();
    assert_eq!(step.pad_tokens().unwrap(), 6, "of the longest");
    write_many(&step, &[entry(IDS, 6, 1)], None).unwrap();
    let error = step.pad_tokens().unwrap_err();
    assert!(error.status() == Status::InvalidArgument && error.message().contains("7 tokens to 24"), "{error}");
    assert_eq!(own.stats().padded_rows, 6, "nothing of it was padded");
    let options = SlotsOptions { padded_sizes: &[4, 4], ..SlotsOptions::default() };
    let error = Slots::create(&device, options, "").err().unwrap();
    assert!(error.status() == Status::InvalidArgument && error.message().contains("padded_sizes[1]"), "{error}");
}

#[test]
fn slots_are_known_by_name_and_by_number() {
    let device = device();
    let slots = slots(&device, &[]);
    assert_eq!(slots.slot_count().unwrap(), 4);
    for slot in 0..4 {
        let name = slots.slot_name(slot).unwrap();
        assert_eq!(slots.find(name).unwrap(), slot);
    }
    let info = slots.slot_info(MAPPING).unwrap();
    assert!(info.follows_tokens && !slots.slot_info(LENGTHS).unwrap().follows_tokens);
    assert_eq!(info.shape.dims(), [TOKENS]);
    let step = slots.begin(Timeout::Try).unwrap();
    // SAFETY: the data is long enough.
    unsafe {
        assert_eq!(status(step.write_named("nobody", 0, 1, DATA.as_ptr())), Status::NotFound);
        step.write_named("ids", 0, 3, DATA.as_ptr()).unwrap();
        step.write_named("mapping", 0, 3, DATA.as_ptr()).unwrap();
        step.write_named("lengths", 0, 1, DATA.as_ptr()).unwrap();
    }
    assert_eq!(sent(&slots, &step, IDS)[..3], [7; 3]);
    assert_eq!(status(slots.slot_name(4)), Status::NotFound);
    assert_eq!(status(slots.find("nobody")), Status::NotFound);
    let draft = Slots::create(&device, SlotsOptions::default(), "").unwrap();
    assert_eq!((draft.slot_count().unwrap(), status(draft.slot_name(0).map(drop))), (0, Status::Frozen));
    let decode = gpubuf::slots::decode_defaults(&device, DecodeOptions::default(), "").unwrap();
    assert_eq!(status(decode.begin(Timeout::Try)), Status::Frozen);
    decode.freeze().unwrap();
    let follow = (0..decode.slot_count().unwrap()).filter(|slot| decode.slot_info(*slot).unwrap().follows_tokens);
    let follow: Vec<&str> = follow.map(|slot| decode.slot_name(slot).unwrap()).collect();
    assert_eq!(follow, ["input_ids", "positions", "slot_mapping"]);
}

#[test]
fn every_step_that_is_being_filled_is_given_up_at_once() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, &[]);
    let all = [entry(IDS, 0, 1), entry(MAPPING, 0, 1), entry(LENGTHS, 0, 1)];
    let committed = slots.begin(Timeout::Try).unwrap();
    write_many(&committed, &all, None).unwrap();
    let ticket = committed.commit(&stream, &[]).unwrap();
    stream.synchronize(Timeout::Infinite).unwrap();
    let filling = [slots.begin(Timeout::Try).unwrap(), slots.begin(Timeout::Try).unwrap()];
    filling[1].set_attachment(42).unwrap();
    let mut ended = Vec::new();
    assert_eq!(slots.abort_all(|attachment| ended.push(attachment)).unwrap(), 2);
    ended.sort_unstable();
    assert_eq!(ended, [0, 42]);
    assert_eq!(status(filling[0].abort()), Status::NotBegun);
    assert_eq!(slots.abort_all(drop).unwrap(), 0);
    assert_eq!(slots.stats().steps_aborted, 2);
    slots.retire(ticket, &[]).expect("what was committed stays to be retired");
    slots.begin(Timeout::Try).expect("the entries are free");
}

#[test]
fn a_report_shows_slots() {
    let device = device();
    let slots = slots(&device, &[]);
    let of_device = device.members().into_iter().map(|member| member.record()).find(|record| record.kind == "slots");
    let record = of_device.expect("slots are members of their device");
    assert_eq!(record, slots.record());
    assert!(record.name.contains("tokens"), "{}", record.name);
    assert_eq!(record.get("depth"), Some(&Value::Count(2)));
    assert_eq!(record.get("arena_bytes"), Some(&Value::Count(slots.stats().arena_bytes)));
    drop(slots);
    assert!(device.members().iter().all(|member| member.record().kind != "slots"));
}
