//! Several copies of the device block: pipelined steps, what each copy holds, and a model of it that random steps are held
//! against.

mod common;

use common::{busy, copies_fail_alone, device, hold, kit, kit_of, ran, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation, View};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::lease::{AloneOptions, Lease, Twin};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions, Step};
use gpubuf::sync::{Arc, Mutex};
use std::slice::from_ref;

const NEED: u32 = 0;
const KEEP: u32 = 1;
const TABLE: u32 = 2;
/// Dynamic; in the model only.
const STATE: u32 = 3;
/// Bytes of what is bound to it.
const BLOCK: usize = 64;
const ROWS: usize = 24;
/// Bytes of a row of the table, so that distant rows are islands.
const WIDE: usize = 8192;
const LONG: Timeout = Timeout::Within(std::time::Duration::from_secs(60));

fn draft(device: &Arc<Device>, device_depth: u32, depth: u32) -> Arc<Slots> {
    let options = SlotsOptions { device_depth, depth, ..SlotsOptions::default() };
    let slots = Slots::create(device, options, "copies").unwrap();
    for (name, kind, dims) in [
        ("need", SlotKind::Required, &[ROWS as u64][..]),
        ("keep", SlotKind::Kept, &[ROWS as u64]),
        ("table", SlotKind::Kept, &[ROWS as u64, WIDE as u64]),
    ] {
        let (shape, own_copy) = (Shape::new(dims).unwrap(), name == "table");
        let options = SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy, follows_tokens: false, pad: None };
        slots.add(&options).unwrap();
    }
    slots
}

fn slots(device: &Arc<Device>, device_depth: u32, depth: u32) -> Arc<Slots> {
    let slots = draft(device, device_depth, depth);
    slots.freeze().unwrap();
    slots
}

fn write(step: &Step, slot: u32, first: usize, rows: &[u8]) -> Result<()> {
    let width = if slot == TABLE { WIDE } else { 1 };
    // SAFETY: so many rows are there.
    unsafe { step.write(slot, first as u64, (rows.len() / width) as u64, rows.as_ptr()) }
}

fn filled(slots: &Arc<Slots>, value: u8) -> Step {
    let step = slots.begin(Timeout::Try).unwrap();
    write(&step, NEED, 0, &[value; ROWS]).unwrap();
    step
}

fn rows(slots: &Slots, slot: u32, copy: u32) -> Vec<u8> {
    slots.device().backend().synchronize(None).unwrap();
    read_device(slots.device(), slots.device_address(slot, copy).unwrap(), ROWS as u64)
}

#[test]
fn the_next_step_is_sent_while_the_device_works_on_the_last() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = slots(&device, 2, 4);
    hold(&kernels);
    let mut tickets = Vec::new();
    for value in 1..=2 {
        let ticket = filled(&slots, value).commit(&copies, from_ref(&kernels)).unwrap();
        busy(&kernels);
        tickets.push(ticket);
    }
    copies.synchronize(LONG).expect("neither waits for the kernels");
    let third = filled(&slots, 3);
    let error = third.commit(&copies, from_ref(&kernels)).unwrap_err();
    assert!(error.status() == Status::NotRetired && error.message().contains("step 1 "), "{error}");
    assert_eq!(slots.stats().unretired_steps, 2);
    slots.retire(tickets[1], &[]).unwrap();
    assert_eq!(status(third.commit(&copies, &[])), Status::NotRetired, "the first step has the copy");
    slots.retire(tickets[0], &[]).unwrap();
    assert_eq!(third.commit(&copies, from_ref(&kernels)).unwrap(), 3);
    let early = copies.synchronize(Timeout::Within(std::time::Duration::from_millis(50)));
    assert_eq!(status(early), Status::Timeout, "the third goes to the first one's copy, which is being read");
    release(&kernels);
    assert_eq!((rows(&slots, NEED, 0), rows(&slots, NEED, 1)), (vec![3; ROWS], vec![2; ROWS]));
}

#[test]
fn each_copy_has_addresses_of_its_own() {
    let device = device();
    let slots = slots(&device, 3, 2);
    let mut bases = Vec::new();
    for copy in 0..3 {
        let base = slots.device_address(NEED, copy).unwrap();
        for slot in [NEED, KEEP, TABLE] {
            assert_eq!(slots.device_address(slot, copy).unwrap() - base, slots.slot_info(slot).unwrap().offset);
        }
        bases.push(base);
    }
    assert_eq!(bases[0], slots.slot_info(NEED).unwrap().device_address);
    bases.dedup();
    assert_eq!(bases.len(), 3);
    assert_eq!(status(slots.device_address(NEED, 3)), Status::NotFound);
    assert_eq!(status(slots.device_address(9, 0)), Status::NotFound);
    let stats = slots.stats();
    assert_eq!((stats.device_depth, stats.device_bytes), (3, 3 * stats.arena_bytes));
    for wrong in [0, 5] {
        let options = SlotsOptions { device_depth: wrong, ..SlotsOptions::default() };
        assert_eq!(status(Slots::create(&device, options, "")), Status::InvalidArgument);
    }
}

#[test]
fn a_group_that_did_not_change_is_not_sent() {
    let device = device();
    let stream = stream(&device);
    for device_depth in 1..=3 {
        let slots = slots(&device, device_depth, 2);
        let send = |rows: &[usize]| {
            let before = slots.stats();
            let step = filled(&slots, 1);
            rows.iter().for_each(|row| write(&step, TABLE, *row, &[7; WIDE]).unwrap());
            let ticket = step.commit(&stream, &[]).unwrap();
            slots.retire(ticket, &[]).unwrap();
            ran(&stream);
            let after = slots.stats();
            (after.copies - before.copies, (after.copied_bytes - before.copied_bytes) as usize - ROWS)
        };
        for _ in 0..device_depth {
            send(&[]); // Each copy gets everything once.
        }
        assert_eq!(send(&[]), (1, 0), "the table is a group of its own: nothing changed, nothing is sent");
        assert_eq!(send(&[5]), (2, WIDE), "one row");
        for _ in 1..device_depth {
            assert_eq!(send(&[]), (2, WIDE), "every other copy gets it once");
        }
        assert_eq!(send(&[]), (1, 0));
        assert_eq!(slots.stats().caught_up_bytes, u64::from(device_depth - 1) * WIDE as u64);
    }
}

#[test]
fn a_torn_commit_leaves_the_other_copy_alone() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, 2, 4);
    let send = |value: u8, keep: Option<u8>| {
        let step = filled(&slots, value);
        keep.map(|keep| write(&step, KEEP, 0, &[keep; ROWS])).transpose().unwrap();
        let ticket = step.commit(&stream, &[]).unwrap();
        slots.retire(ticket, &[]).unwrap();
        ran(&stream);
    };
    send(1, Some(1));
    send(2, Some(2));
    let step = filled(&slots, 3);
    write(&step, TABLE, 0, &[3; WIDE]).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Copy), 2, FailWhen::Submission).unwrap();
    assert_ne!(status(step.commit(&stream, &[])), Status::Ok);
    assert_eq!(status(step.abort()), Status::NotBegun, "the step is over");
    let before = slots.stats();
    assert_eq!(before.torn_commits, 1);
    send(4, None);
    let after = slots.stats();
    assert_eq!(after.steps_committed, 3, "the torn step got no ticket: the next goes to the same copy");
    assert!(after.copied_bytes - before.copied_bytes >= (ROWS * WIDE) as u64, "and sends every slot");
    assert_eq!((rows(&slots, KEEP, 0), rows(&slots, KEEP, 1)), (vec![2; ROWS], vec![2; ROWS]));
    let before = slots.stats();
    send(5, None);
    assert_eq!(slots.stats().copies - before.copies, 1, "the other copy was whole");
    assert_eq!(rows(&slots, NEED, 1), [5; ROWS]);
}

#[test]
fn a_read_back_reads_its_steps_copy() {
    let device = device();
    let stream = stream(&device);
    let slots = slots(&device, 2, 4);
    let tickets = [1, 2].map(|value| filled(&slots, value).commit(&stream, &[]).unwrap());
    for (value, ticket) in [(2, tickets[1]), (1, tickets[0])] {
        let back = slots.read_back(ticket, NEED, 0, ALL, &stream).unwrap();
        let (data, bytes) = slots.begin_read(back, LONG).unwrap();
        // SAFETY: valid until its end.
        assert_eq!(unsafe { std::slice::from_raw_parts(data, bytes as usize) }, [value; ROWS]);
        slots.end_read(back).unwrap();
        slots.retire(ticket, &[]).unwrap();
        assert_eq!(status(slots.read_back(ticket, NEED, 0, ALL, &stream)), Status::NotBegun);
    }
}

#[test]
fn a_hold_has_every_copy_or_one() {
    let device = device();
    let slots = slots(&device, 2, 2);
    let all = GraphHold::create(&device, "").unwrap();
    all.add_all(slots.held_copies(), None).unwrap();
    assert!(all.describe().contains("2 blocks"), "{}", all.describe());
    let one = GraphHold::create(&device, "").unwrap();
    one.add(slots.held_copy(1).unwrap(), None).unwrap();
    assert_eq!(status(slots.held_copy(2).map(drop)), Status::NotFound);
    assert_eq!(status(one.add_all(slots.held_copies(), None)), Status::Exists);
    assert!(one.describe().contains("1 blocks"), "all of them, or none: {}", one.describe());
    drop(all);
    slots.destroy();
    device.maintain();
    let left = device.counters.device_bytes.get();
    assert_eq!(left, slots.stats().arena_bytes, "the copy in the hold stays, the other goes");
    drop(one);
    device.maintain();
    assert_eq!(device.counters.device_bytes.get(), 0);
}

#[test]
fn destroyed_slots_give_every_copy_up() {
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let slots = slots(&device, 3, 4);
    for value in 1..=3 {
        filled(&slots, value).commit(&copies, from_ref(&kernels)).unwrap();
    }
    hold(&kernels);
    busy(&kernels);
    slots.destroy();
    ran(&copies);
    device.maintain();
    assert!(device.counters.device_bytes.get() > 0, "the kernels may still read them");
    release(&kernels);
    device.drain(LONG).unwrap();
    assert_eq!(device.counters.device_bytes.get(), 0);
}

// ---- the model -----------------------------------------------------------------------------------------------------------

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// What a kernel has to find, and where.
struct Look {
    step: u64,
    from: [u64; 4],
    need: Vec<u8>,
    keep: Vec<u8>,
    /// The first byte of each row.
    table: Vec<u8>,
    state: Vec<u8>,
    wrong: Arc<Mutex<Vec<String>>>,
}

fn look(view: &dyn View, [expected, _]: [usize; 2]) {
    // SAFETY: the pointer stands for a box that was leaked for this one call.
    let expected = unsafe { Box::from_raw(expected as *mut Look) };
    let read = |address: u64, bytes: usize| {
        let mut found = vec![0u8; bytes];
        // SAFETY: the vector has room.
        unsafe { view.read(address, found.as_mut_ptr(), bytes) }.expect("device memory");
        found
    };
    let table: Vec<u8> = read(expected.from[2], ROWS * WIDE).chunks(WIDE).map(|row| row[WIDE - 1]).collect();
    let found = [
        read(expected.from[0], expected.need.len()),
        read(expected.from[1], ROWS),
        table,
        read(expected.from[3], BLOCK),
    ];
    for (what, found, wanted) in [
        ("need", &found[0], &expected.need),
        ("keep", &found[1], &expected.keep),
        ("table", &found[2], &expected.table),
        ("state", &found[3], &expected.state),
    ] {
        if found != wanted {
            expected.wrong.lock().push(format!("step {}: {what} is {found:?}, not {wanted:?}", expected.step));
        }
    }
}

/// A step being filled, and what it wrote.
struct Filling {
    step: Step,
    need: Vec<u8>,
    keep: Vec<(usize, u8)>,
    table: Vec<(usize, u8)>,
    /// Which block is bound.
    block: usize,
}

#[derive(Default)]
struct Model {
    keep: Vec<u8>,
    table: Vec<u8>,
    committed: u64,
    /// By copy: the step that is not retired.
    unretired: Vec<Option<u64>>,
    /// By copy: its content is not known, and how many failures it has still to tell.
    bad: Vec<bool>,
    failures: Vec<u32>,
    /// What the CPU wrote to each block last.
    blocks: Vec<u8>,
    /// By copy: the block that its step has, until it is retired.
    bound: Vec<usize>,
}

fn random_steps(seed: u64, device_depth: u32) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let device = device();
    let depth = 2 + random.below(3) as u32;
    let slots = draft(&device, device_depth, depth);
    let (name, shape) = ("state", Shape::new(&[BLOCK as u64]).unwrap());
    let (kind, own_copy, follows_tokens) = (SlotKind::Dynamic, false, false);
    slots.add(&SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy, follows_tokens, pad: None }).unwrap();
    slots.freeze().unwrap();
    let leases: Vec<Lease> = (0..3).map(|_| block(&device)).collect();
    let streams = [(); 3].map(|()| stream(&device));
    let mut shut = [false; 3];
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let copies = device_depth as usize;
    let mut model = Model {
        keep: vec![0; ROWS],
        table: vec![0; ROWS],
        unretired: vec![None; copies],
        bad: vec![false; copies],
        failures: vec![0; copies],
        blocks: vec![0; leases.len()],
        bound: vec![0; copies],
        ..Model::default()
    };
    let mut filling: Vec<Filling> = Vec::new();
    let mut value = 0u8;
    for _ in 0..160 {
        value = value.wrapping_add(1);
        match random.below(12) {
            0 | 1 => match slots.begin(Timeout::Try) {
                Ok(step) => {
                    let need = vec![value; 1 + random.below(ROWS)];
                    write(&step, NEED, 0, &need).unwrap();
                    let block = random.below(leases.len());
                    step.bind_block(STATE, &leases[block], 0, ALL).unwrap();
                    filling.push(Filling { step, need, keep: Vec::new(), table: Vec::new(), block });
                }
                Err(error) => assert_eq!(error.status(), Status::Busy, "seed {seed}: {error}"),
            },
            2 | 3 if !filling.is_empty() => {
                let place = random.below(filling.len());
                let (row, of_table) = (random.below(ROWS), random.below(2) == 0);
                let Filling { step, keep, table, .. } = &mut filling[place];
                if of_table {
                    write(step, TABLE, row, &[value; WIDE]).unwrap();
                    table.push((row, value));
                } else {
                    write(step, KEEP, row, &[value]).unwrap();
                    keep.push((row, value));
                }
            }
            4..=6 if !filling.is_empty() => {
                let place = random.below(filling.len());
                let (on, by) = (random.below(3), random.below(3));
                commit(&slots, &mut model, &mut filling, place, &streams[on], &streams[by], &mut random, &wrong);
            }
            7 if !filling.is_empty() && random.below(3) == 0 => {
                let place = random.below(filling.len());
                filling.swap_remove(place).step.abort().unwrap();
            }
            8 => {
                let copy = random.below(copies);
                if let Some(ticket) = model.unretired[copy].take() {
                    slots.retire(ticket, &[]).unwrap();
                }
            }
            9 => {
                let which = random.below(leases.len());
                let is_out = (0..copies).any(|copy| model.unretired[copy].is_some() && model.bound[copy] == which);
                match leases[which].begin(Access::Write, 0, ALL, Timeout::Try) {
                    Ok((data, token)) => {
                        assert!(!is_out, "seed {seed}: consumers that were not declared may read it");
                        // SAFETY: the guard covers the block.
                        unsafe { data.write_bytes(value, BLOCK) };
                        leases[which].end(Access::Write, token).unwrap();
                        model.blocks[which] = value;
                    }
                    Err(error) if is_out => assert_eq!(error.status(), Status::Unfenced, "seed {seed}: {error}"),
                    Err(error) => assert_eq!(error.status(), Status::Busy, "seed {seed}: {error}"),
                }
            }
            10 if !filling.is_empty() => {
                let place = random.below(filling.len());
                let block = random.below(leases.len());
                filling[place].step.bind_block(STATE, &leases[block], 0, ALL).unwrap();
                filling[place].block = block;
            }
            _ => {
                let which = random.below(3);
                shut[which] = !shut[which];
                if !shut[which] {
                    kit(&streams[which]).release().unwrap();
                } else {
                    hold(&streams[which]);
                }
            }
        }
    }
    kit_of(&device).fail_operation(Some(Operation::Copy), 0, FailWhen::Submission).unwrap();
    for (stream, shut) in streams.iter().zip(shut) {
        if shut {
            kit(stream).release().unwrap();
        }
    }
    device.backend().synchronize(None).unwrap();
    assert_eq!(*wrong.lock(), Vec::<String>::new(), "seed {seed}, {device_depth} copies");
    assert_eq!(slots.stats().steps_committed, model.committed);
    slots.abort_all(drop).unwrap();
    for ticket in model.unretired.iter().flatten() {
        slots.retire(*ticket, &[]).unwrap();
    }
    leases.iter().for_each(|lease| lease.release().expect("every step has let it go"));
}

fn block(device: &Arc<Device>) -> Lease {
    let (placement, twin, timed) = (Placement::Uva, Twin::Never, false);
    Lease::create(device, AloneOptions { placement, bytes: BLOCK as u64, twin, timed, label: String::new() }).unwrap()
}

/// Commits a step, perhaps with a fault, and queues a kernel that looks at what it finds.
#[allow(clippy::too_many_arguments)]
fn commit(
    slots: &Arc<Slots>,
    model: &mut Model,
    filling: &mut Vec<Filling>,
    place: usize,
    on: &Arc<Timeline>,
    by: &Arc<Timeline>,
    random: &mut Random,
    wrong: &Arc<Mutex<Vec<String>>>,
) {
    let copy = (model.committed % model.unretired.len() as u64) as usize;
    let faults = kit_of(slots.device());
    let fault = match random.below(8) {
        0 => Some((1 + random.below(3) as u64, FailWhen::Submission)),
        1 if copies_fail_alone() => Some((1, FailWhen::Execution)),
        _ => None,
    };
    if let Some((nth, when)) = fault {
        faults.fail_operation(Some(Operation::Copy), nth, when).unwrap();
    }
    let result = filling[place].step.commit(on, from_ref(by));
    faults.fail_operation(Some(Operation::Copy), 0, FailWhen::Submission).unwrap();
    faults.fail_operation(Some(Operation::Copy), 0, FailWhen::Execution).unwrap();
    match result {
        Ok(ticket) => {
            assert_eq!(model.unretired[copy], None, "a copy has one step that is not retired");
            model.committed += 1;
            assert_eq!(ticket, model.committed);
            let step = filling.swap_remove(place);
            step.keep.iter().for_each(|(row, value)| model.keep[*row] = *value);
            step.table.iter().for_each(|(row, value)| model.table[*row] = *value);
            model.unretired[copy] = Some(ticket);
            model.bound[copy] = step.block;
            let failed = fault.is_some_and(|(_, when)| when == FailWhen::Execution);
            if failed {
                model.bad[copy] = true;
                model.failures[copy] += 1;
            }
            if !model.bad[copy] {
                let expected = Look {
                    step: ticket,
                    from: [NEED, KEEP, TABLE, STATE].map(|slot| step.step.address(slot).unwrap()),
                    state: vec![model.blocks[step.block]; BLOCK],
                    need: step.need,
                    keep: model.keep.clone(),
                    table: model.table.clone(),
                    wrong: wrong.clone(),
                };
                kit(by).call(look, [Box::into_raw(Box::new(expected)) as usize, 0]).unwrap();
            }
        }
        Err(error) => match error.status() {
            Status::Unfenced => {
                let block = filling[place].block;
                let out = |(ticket, bound): (&Option<u64>, &usize)| ticket.is_some() && *bound == block;
                assert!(model.unretired.iter().zip(&model.bound).any(out), "{error}");
            }
            Status::NotRetired => assert!(model.unretired[copy].is_some(), "{error}"),
            Status::CopyFailed => {
                assert!(model.failures[copy] > 0, "told once, and of its own copy: {error}");
                model.failures[copy] -= 1;
                // From the next commit to it on it is whole again.
                model.bad[copy] = false;
            }
            Status::DriverError => {
                let over = filling[place].step.abort().is_err();
                if over {
                    assert!(error.message().contains("a part was queued"), "{error}");
                }
                // Refused and given up, or torn: either way the step has left nothing, and the copy gets everything.
                filling.swap_remove(place);
            }
            other => panic!("{other:?}: {error}"),
        },
    }
}

#[test]
fn each_kernel_finds_what_its_step_promised() {
    for seed in 1..=40 {
        for device_depth in 1..=3 {
            random_steps(seed, device_depth);
        }
    }
}
