//! Slots whose memory comes from a workspace or from tiers, and goes back there when its last use is over; and the predictor that is
//! told of each step.

mod common;

use common::{copies_fail_alone, device, hold, kit, kit_of, lose, ran, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::buffer::BufferOptions;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Device, Member, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::predictor::{Predictor, PredictorOptions};
use gpubuf::slots::{
    DecodeMemory, DecodeOptions, SlotKind, SlotOptions, Slots, SlotsOptions, SlotsParts, decode_defaults,
};
use gpubuf::stats::Value;
use gpubuf::sync::{Arc, Mutex};
use gpubuf::tiers::{Tier, Tiers, TiersOptions};
use gpubuf::workspace::{Content, EntryState, Source, Spec, Workspace, WorkspaceOptions};
use std::slice::from_ref;

const ROWS: u64 = 1024;
/// Two copies of the device block, two staging entries and two for read-backs, of a kilobyte each.
const PIECES: u64 = 6;
const RING: SlotsOptions<'static> = SlotsOptions {
    depth: 2,
    read_back_depth: 2,
    read_back_bytes: ROWS,
    gap_bytes: 0,
    device_depth: 2,
    padded_sizes: &[],
};

fn workspace(device: &Arc<Device>, max_bytes: u64) -> Arc<Workspace> {
    let options = WorkspaceOptions { max_entries: 0, max_bytes, label: "memory".into() };
    Workspace::create(device, options).expect("a workspace")
}

fn tiers(device: &Arc<Device>, budgets: [u64; 4]) -> Arc<Tiers> {
    Tiers::create(device, TiersOptions { budgets, moves_per_step: 0, label: "memory".into() }).expect("tiers")
}

/// One slot of a kilobyte, not frozen.
fn draft(device: &Arc<Device>, parts: SlotsParts) -> Arc<Slots> {
    let slots = Slots::create_with(device, RING, parts, "inputs").expect("slots");
    add(&slots, "ids", ROWS).expect("a slot");
    slots
}

fn add(slots: &Slots, name: &str, rows: u64) -> gpubuf::error::Result<u32> {
    let (dtype, shape, kind) = (Dtype::U8, Shape::new(&[rows])?, SlotKind::Required);
    slots.add(&SlotOptions { name, dtype, shape, kind, own_copy: false, follows_tokens: true, pad: None })
}

fn of_workspace(workspace: &Arc<Workspace>) -> SlotsParts {
    SlotsParts { source: Some(workspace.clone()), ..SlotsParts::default() }
}

fn of_tiers(tiers: &Arc<Tiers>) -> SlotsParts {
    SlotsParts { source: Some(tiers.clone()), tiers: Some(tiers.clone()), predictor: None }
}

fn frozen(device: &Arc<Device>, parts: SlotsParts) -> Arc<Slots> {
    let slots = draft(device, parts);
    slots.freeze().expect("frozen");
    slots
}

/// Commits a step of these rows; not retired.
fn send(slots: &Arc<Slots>, rows: &[u8], on: &Arc<Timeline>) -> u64 {
    let step = slots.begin(Timeout::Infinite).expect("a step");
    // SAFETY: as many rows as there are bytes.
    unsafe { step.write(0, 0, rows.len() as u64, rows.as_ptr()) }.expect("a write");
    step.commit(on, &[]).expect("a commit")
}

fn addresses(slots: &Slots) -> [u64; 2] {
    [0, 1].map(|copy| slots.device_address(0, copy).expect("an address"))
}

/// Entries that are held, and free.
fn entries(workspace: &Workspace) -> (u64, u64) {
    let stats = workspace.stats();
    (stats.held_entries, stats.free_entries)
}

#[test]
fn memory_is_taken_at_freeze_and_goes_to_the_next_who_asks() {
    let device = device();
    let (workspace, copies) = (workspace(&device, 0), stream(&device));
    let slots = draft(&device, of_workspace(&workspace));
    assert_eq!(workspace.stats().entries, 0, "nothing before freeze");
    slots.freeze().expect("frozen");
    assert_eq!(entries(&workspace), (PIECES, 0));
    assert!(workspace.list().expect("a list").iter().all(|entry| entry.state == EntryState::Allocated));
    let at = addresses(&slots);
    for value in 0..6u8 {
        let ticket = send(&slots, &[value; ROWS as usize], &copies);
        slots.retire(ticket, &[]).expect("a retire");
        ran(&copies);
        let seen = read_device(&device, at[(ticket as usize - 1) % 2], ROWS);
        assert!(seen.iter().all(|byte| *byte == value), "step {ticket}");
        assert_eq!(addresses(&slots), at, "addresses stay");
    }
    let read_back = {
        let ticket = send(&slots, &[7; ROWS as usize], &copies);
        let read_back = slots.read_back(ticket, 0, 0, ALL, &copies).expect("a read-back");
        slots.retire(ticket, &[]).expect("a retire");
        read_back
    };
    let (bytes, count) = slots.begin_read(read_back, Timeout::Infinite).expect("bytes");
    // SAFETY: the read-back is open.
    assert!(unsafe { std::slice::from_raw_parts(bytes, count as usize) }.iter().all(|byte| *byte == 7));
    slots.end_read(read_back).expect("an end");
    assert_eq!(slots.record().get("memory_of"), Some(&Value::Text(workspace.name().to_string())));
    drop(slots);
    // Its end is fenced on the stream.
    ran(&copies);
    device.maintain();
    assert_eq!(entries(&workspace), (0, PIECES));
    let next = frozen(&device, of_workspace(&workspace));
    let stats = workspace.stats();
    assert_eq!((stats.made, stats.reused), (PIECES, PIECES), "the same memory");
    let mut now = addresses(&next);
    now.sort_unstable();
    let mut before = at;
    before.sort_unstable();
    assert_eq!(now, before);
}

#[test]
fn memory_goes_back_when_its_last_use_is_over() {
    let device = device();
    let (workspace, copies) = (workspace(&device, 0), stream(&device));
    let slots = frozen(&device, of_workspace(&workspace));
    hold(&copies);
    let ticket = send(&slots, &[1; ROWS as usize], &copies);
    slots.retire(ticket, &[]).expect("a retire");
    slots.destroy();
    device.maintain();
    assert_eq!(entries(&workspace), (2, PIECES - 2), "one entry and one copy are in use");
    release(&copies);
    device.maintain();
    assert_eq!(entries(&workspace), (0, PIECES));
}

#[test]
fn memory_of_a_step_that_nobody_retired_waits_for_a_drain() {
    let device = device();
    let (workspace, copies) = (workspace(&device, 0), stream(&device));
    let slots = frozen(&device, of_workspace(&workspace));
    send(&slots, &[1; ROWS as usize], &copies);
    ran(&copies);
    slots.destroy();
    device.maintain();
    assert_eq!(entries(&workspace), (1, PIECES - 1), "its consumers may be anywhere");
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(entries(&workspace), (0, PIECES));
}

#[test]
fn a_span_that_is_open_at_the_end_keeps_its_memory_until_a_drain() {
    let device = device();
    let tiers = tiers(&device, [1 << 20, 0, 1 << 20, 0]);
    let slots = frozen(&device, of_tiers(&tiers));
    let step = slots.begin(Timeout::Try).expect("a step");
    let (data, _) = step.begin_span(0, 0, 4).expect("a span");
    slots.destroy();
    device.maintain();
    assert_eq!(used(&tiers), [0, ROWS]);
    // SAFETY: memory of a span stays, also where the span is void.
    unsafe { data.write_bytes(3, 4) };
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(used(&tiers), [0, 0]);
}

#[test]
fn a_read_back_that_is_open_at_the_end_keeps_its_memory_until_a_drain() {
    let device = device();
    let (workspace, copies) = (workspace(&device, 0), stream(&device));
    let slots = frozen(&device, of_workspace(&workspace));
    let ticket = send(&slots, &[5; ROWS as usize], &copies);
    let read_back = slots.read_back(ticket, 0, 0, ALL, &copies).expect("a read-back");
    slots.retire(ticket, &[]).expect("a retire");
    let (data, count) = slots.begin_read(read_back, Timeout::Infinite).expect("bytes");
    slots.destroy();
    ran(&copies);
    device.maintain();
    assert_eq!(entries(&workspace), (1, PIECES - 1), "its reader may not know yet");
    let shape = Shape::new(&[ROWS]).expect("a shape");
    let spec = Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::None).expect("a spec");
    let others: Vec<_> =
        (0..4).map(|_| workspace.allocate(&spec, Content::Zeroes(None), Timeout::Try).expect("memory")).collect();
    // SAFETY: memory of a read-back stays, also where that is void.
    assert!(unsafe { std::slice::from_raw_parts(data, count as usize) }.iter().all(|byte| *byte == 5));
    drop(others);
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(workspace.stats().held_entries, 0);
}

#[test]
fn a_graph_keeps_the_memory() {
    let device = device();
    let workspace = workspace(&device, 0);
    let slots = frozen(&device, of_workspace(&workspace));
    let graph = GraphHold::create(&device, "").expect("a hold");
    graph.add_all(slots.held_copies(), None).expect("held");
    slots.destroy();
    drop(slots);
    device.maintain();
    assert_eq!(entries(&workspace), (2, PIECES - 2), "its addresses are in a graph");
    drop(graph);
    device.maintain();
    assert_eq!(entries(&workspace), (0, PIECES));
}

#[test]
fn slots_outlive_their_source() {
    let device = device();
    let copies = stream(&device);
    let before = (device.counters.device_bytes.get(), device.counters.pinned_bytes.get());
    let workspace = workspace(&device, 0);
    let slots = frozen(&device, of_workspace(&workspace));
    workspace.destroy();
    drop(workspace);
    let ticket = send(&slots, &[9; ROWS as usize], &copies);
    slots.retire(ticket, &[]).expect("a retire");
    ran(&copies);
    assert!(read_device(&device, addresses(&slots)[0], ROWS).iter().all(|byte| *byte == 9));
    drop(slots);
    ran(&copies);
    // What the slots had, and the buffers behind it.
    assert_eq!(device.maintain(), PIECES * ROWS);
    assert_eq!((device.counters.device_bytes.get(), device.counters.pinned_bytes.get()), before);
}

#[test]
fn a_freeze_that_finds_no_memory_gives_back_what_it_had() {
    let device = device();
    let workspace = workspace(&device, 5 * ROWS);
    let slots = draft(&device, of_workspace(&workspace));
    assert_eq!(status(slots.freeze()), Status::Budget, "the sixth is too much");
    device.maintain();
    assert_eq!(entries(&workspace), (0, 5));
    assert_eq!(status(slots.begin(Timeout::Try)), Status::Frozen);
    let tiers = tiers(&device, [ROWS, 0, 8 * ROWS, 0]);
    let slots = draft(&device, of_tiers(&tiers));
    assert_eq!(status(slots.freeze()), Status::Budget);
    device.maintain();
    assert_eq!(used(&tiers), [0, 0]);
    tiers.set_budget(Tier::Device, 2 * ROWS).expect("a budget");
    slots.freeze().expect("it may be called again");
    assert_eq!(used(&tiers), [2 * ROWS, 4 * ROWS]);
    assert_eq!(status(draft(&device, of_tiers(&self::tiers(&device, [ROWS, 0, 0, 0]))).freeze()), Status::Budget);
    let none = draft(&device, of_tiers(&self::tiers(&device, [2 * ROWS, 0, 0, ROWS])));
    assert_eq!(status(none.freeze()), Status::InvalidArgument, "there is no page-locked tier");
}

fn used(tiers: &Tiers) -> [u64; 2] {
    [Tier::Device, Tier::Pinned].map(|tier| tiers.stats().tiers[tier as usize].used_bytes)
}

#[test]
fn blocks_of_tiers_make_room_for_slots() {
    let device = device();
    let tiers = tiers(&device, [4 * ROWS, 0, 8 * ROWS, 8 * ROWS]);
    let blocks: Vec<_> = (0..4).map(|_| tiers.create_block(ROWS, Some(Tier::Device), "").expect("a block")).collect();
    let slots = frozen(&device, of_tiers(&tiers));
    let at = |tier| blocks.iter().filter(|block| block.info().expect("info").tier == tier).count();
    assert_eq!((at(Tier::Device), used(&tiers)[0]), (2, 4 * ROWS), "two went down");
    drop(slots);
    device.maintain();
    assert_eq!(used(&tiers)[0], 2 * ROWS);
}

#[test]
fn memory_that_is_lost_is_given_to_nobody() {
    let device = device();
    let (workspace, tiers, copies) = (workspace(&device, 0), tiers(&device, [1 << 20, 0, 1 << 20, 0]), stream(&device));
    let both = [of_workspace(&workspace), of_tiers(&tiers)].map(|parts| frozen(&device, parts));
    hold(&copies);
    for slots in &both {
        let ticket = send(slots, &[1; ROWS as usize], &copies);
        slots.retire(ticket, &[]).expect("a retire");
    }
    lose(&device);
    drop(both);
    device.maintain();
    device.maintain();
    assert_eq!(workspace.stats().retired, 2, "one entry and one copy");
    assert_eq!(entries(&workspace), (0, PIECES - 2));
    assert_eq!(used(&tiers), [ROWS, ROWS], "it counts for good");
    assert_eq!(device.counters.quarantined_bytes.get(), 4 * ROWS, "once each");
}

#[test]
fn a_callback_of_a_freeze_may_use_the_slots() {
    let device = device();
    let workspace = workspace(&device, 0);
    let slots = draft(&device, of_workspace(&workspace));
    let memory = vec![0u8; 256];
    let weak = Arc::downgrade(&slots);
    let (copies, added) = (stream(&device), Arc::new(Mutex::new(Vec::new())));
    let told = added.clone();
    let lent = BufferOptions {
        dtype: Dtype::U8,
        shape: Shape::new(&[256]).expect("a shape"),
        host: Placement::Pageable,
        device: Placement::Device,
        host_memory: memory.as_ptr().cast_mut(),
        device_memory: 0,
        release: Some(Box::new(move || {
            if let Some(slots) = weak.upgrade() {
                told.lock().push(status(add(&slots, "late", 4 * ROWS)));
            }
        })),
        label: String::new(),
    };
    let buffer = common::buffer(&device, lent);
    buffer.copy(true, 0, ALL, &copies, None).expect("a copy");
    ran(&copies);
    drop(buffer);
    slots.freeze().expect("frozen");
    let (found, told) = (slots.slot_count().expect("a count"), added.lock().clone());
    assert!(told == [Status::Ok] && found == 2, "{told:?}");
}

#[test]
fn a_slot_that_is_added_while_memory_is_taken_gets_some() {
    let device = device();
    /// Adds a slot when it is asked for memory the first time.
    struct Meddler(Arc<Workspace>, Mutex<Option<Arc<Slots>>>);
    impl Source for Meddler {
        fn name(&self) -> &gpubuf::fence::Name {
            self.0.name()
        }
        fn device(&self) -> &Arc<Device> {
            Workspace::device(&self.0)
        }
        fn take(self: Arc<Self>, spec: &Spec, timeout: Timeout) -> gpubuf::error::Result<gpubuf::workspace::Held> {
            let slots = self.1.lock().take();
            if let Some(slots) = slots {
                add(&slots, "more", 4 * ROWS)?;
            }
            self.0.allocate(spec, Content::Any, timeout)
        }
        fn share(&self, _: u64) {}
        fn is_last(&self, _: u64) -> bool {
            true
        }
        fn take_back(&self, _: u64) {}
    }
    let workspace = workspace(&device, 0);
    let meddler = Arc::new(Meddler(workspace.clone(), Mutex::new(None)));
    let slots = draft(&device, SlotsParts { source: Some(meddler.clone()), ..SlotsParts::default() });
    *meddler.1.lock() = Some(slots.clone());
    slots.freeze().expect("frozen");
    assert_eq!(slots.slot_count().expect("a count"), 2);
    device.maintain();
    let held: Vec<_> = workspace.list().expect("a list").into_iter().filter(|entry| entry.holders > 0).collect();
    assert_eq!(held.len() as u64, PIECES, "what was taken before went back");
    assert_eq!(held.iter().filter(|entry| entry.spec.bytes() >= 5 * ROWS).count(), 4);
}

#[test]
fn a_source_of_another_device_is_refused() {
    let (device, other) = (device(), common::device());
    let parts = of_workspace(&workspace(&other, 0));
    assert_eq!(status(Slots::create_with(&device, RING, parts, "")), Status::WrongDevice);
}

// ---- in one call ---------------------------------------------------------------------------------------------------------

fn decode(device: &Arc<Device>, memory: DecodeMemory, predictive: Option<PredictorOptions>) -> Arc<Slots> {
    let options =
        DecodeOptions { max_batch: 8, max_tokens: 64, max_seq_len: 64, memory, predictive, ..DecodeOptions::default() };
    let slots = decode_defaults(device, options, "decode").expect("slots");
    slots.freeze().expect("frozen");
    slots
}

/// One committed and retired step of so many tokens.
fn decode_step(slots: &Arc<Slots>, tokens: u64, pads: bool, on: &Arc<Timeline>) {
    let step = slots.begin(Timeout::Infinite).expect("a step");
    let data = [0u8; 512];
    for name in ["input_ids", "positions", "slot_mapping", "seq_lens", "query_start_loc"] {
        let rows = if name == "seq_lens" || name == "query_start_loc" { 1 } else { tokens };
        // SAFETY: at most 64 rows of 8 bytes.
        unsafe { step.write_named(name, 0, rows, data.as_ptr()) }.expect("a write");
    }
    if pads {
        step.pad_tokens().expect("padded");
    }
    step.commit(on, &[]).expect("a commit");
    step.retire(&[]).expect("a retire");
}

#[test]
fn one_call_makes_tiers_that_others_share() {
    let device = device();
    let options = TiersOptions { budgets: [1 << 20, 0, 1 << 20, 1 << 20], moves_per_step: 0, label: String::new() };
    let slots = decode(&device, DecodeMemory::Tiered(options), None);
    let tiers = slots.parts().tiers.clone().expect("tiers");
    let stats = slots.stats();
    let pinned = stats.arena_bytes * 2 + 2 * SlotsOptions::default().read_back_bytes;
    assert_eq!(used(&tiers), [stats.device_bytes, pinned]);
    let block = tiers.create_block(4096, Some(Tier::Device), "kv").expect("a block");
    assert_eq!(used(&tiers)[0], stats.device_bytes + 4096, "one budget");
    let given = decode(&device, DecodeMemory::Tiers(tiers.clone()), None);
    assert_eq!(used(&tiers)[0], 2 * stats.device_bytes + 4096);
    drop((given, slots));
    device.maintain();
    assert_eq!(used(&tiers), [4096, 0]);
    drop(block);
}

#[test]
fn the_predictor_is_told_of_each_committed_step() {
    let device = device();
    let copies = stream(&device);
    let predictive = PredictorOptions { count: 1, label: "tokens".into(), ..PredictorOptions::default() };
    let slots = decode(&device, DecodeMemory::Own, Some(predictive));
    let predictor = slots.parts().predictor.clone().expect("a predictor");
    assert!(predictor.predict().is_empty());
    // Padded or not, in pieces of any size: what a graph would be launched for.
    for (tokens, pads) in [(3, true), (3, false), (4, true), (17, false), (3, true)] {
        decode_step(&slots, tokens, pads, &copies);
    }
    assert_eq!(&predictor.predict()[..], [4]);
    let stats = predictor.stats();
    assert_eq!((stats.records, stats.sizes, stats.hits), (5, 2, 3), "4, 4, 4, 24, 4");
    // What is given up, or not committed, did not come.
    let step = slots.begin(Timeout::Infinite).expect("a step");
    assert_eq!(status(step.commit(&copies, &[])), Status::SlotUnwritten);
    step.abort().expect("given up");
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Submission).expect("a fault");
    let step = slots.begin(Timeout::Infinite).expect("a step");
    let data = [0u8; 512];
    for name in ["input_ids", "positions", "slot_mapping", "seq_lens", "query_start_loc"] {
        // SAFETY: one row.
        unsafe { step.write_named(name, 0, 1, data.as_ptr()) }.expect("a write");
    }
    step.commit(&copies, &[]).expect_err("the copy is refused");
    assert_eq!(predictor.stats().records, 5);
    if copies_fail_alone() {
        step.commit(&copies, &[]).expect("once more");
        assert_eq!(predictor.stats().records, 6);
    }
    let record = slots.record();
    assert_eq!(record.get("predictor"), Some(&Value::Text(predictor.name().to_string())));
    assert_eq!(record.get("memory_of"), Some(&Value::Absent));
}

#[test]
fn steps_without_tokens_are_no_steps_for_the_predictor() {
    let device = device();
    let copies = stream(&device);
    let predictor = Predictor::create(None, PredictorOptions::default()).expect("a predictor");
    let slots = frozen(&device, SlotsParts { predictor: Some(predictor.clone()), ..SlotsParts::default() });
    let empty = send(&slots, &[], &copies);
    slots.retire(empty, &[]).expect("a retire");
    assert_eq!(predictor.stats().records, 0);
    let step = send(&slots, &[1; 5], &copies);
    slots.retire(step, from_ref(&copies)).expect("a retire");
    assert_eq!(&predictor.predict()[..], [8]);
    kit(&copies).delay(0).expect("the stream is whole");
}
