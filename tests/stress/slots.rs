//! Steps of an inference loop: what a step's consumers see, at the beginning and at the end of their work, is what the step
//! staged.

use crate::kit::{Random, Rig};
use gpubuf::config::Timeout;
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::fence::Timeline;
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions, Step};
use gpubuf::sync::Arc;

const TOKENS: u64 = 512;
const ROWS: u64 = 64;
const ROW_BYTES: u64 = 512;

struct Model {
    slots: Arc<Slots>,
    /// Device addresses of the three slots.
    addresses: [u64; 3],
    small: Vec<u8>,
    table: Vec<u8>,
}

pub fn run(rig: &Rig, random: &mut Random, steps: u64) {
    let mut model = make(rig, random);
    for number in 0..steps {
        if random.below(500) == 0 {
            model.slots.destroy();
            model = make(rig, random);
        }
        one_step(rig, &mut model, random, number);
        if number % 64 == 0 {
            rig.device.maintain();
        }
    }
    let stats = model.slots.stats();
    assert_eq!(stats.quarantined_entries, 0);
    model.slots.destroy();
}

fn one_step(rig: &Rig, model: &mut Model, random: &mut Random, number: u64) {
    let step = model.slots.begin(Timeout::Infinite).expect("an entry");
    let tokens: Vec<u8> = (0..1 + random.below(TOKENS)).map(|_| random.next() as u8).collect();
    let (mut small, mut table) = (model.small.clone(), model.table.clone());
    write(&step, 0, 0, &tokens);
    for _ in 0..random.below(3) {
        let (first, value) = (random.below(ROWS), random.next() as u8);
        write(&step, 1, first, &[value]);
        small[first as usize] = value;
    }
    for _ in 0..random.below(4) {
        let (first, value) = (random.below(ROWS), random.next() as u8);
        write(&step, 2, first, &[value; ROW_BYTES as usize]);
        table[(first * ROW_BYTES) as usize..][..ROW_BYTES as usize].fill(value);
    }
    if random.below(20) == 0 {
        step.abort().expect("an abort");
        return;
    }
    let stream = rig.any_stream(random);
    let consumers: Vec<Arc<Timeline>> = rig.streams.iter().filter(|_| random.below(2) == 0).cloned().collect();
    let ticket = step.commit(stream, &consumers).unwrap_or_else(|error| panic!("step {number}: {error}"));
    (model.small, model.table) = (small, table);
    for reader in consumers.iter().chain([stream]) {
        for _ in 0..2 {
            rig.look(reader, model.addresses[0], &tokens);
            rig.look(reader, model.addresses[1], &model.small);
            rig.look(reader, model.addresses[2], &model.table);
            crate::common::kit(reader).delay(random.below(10_000)).expect("a delay");
        }
    }
    let read_back = (random.below(4) == 0).then(|| {
        let back = rig.any_stream(random);
        model.slots.read_back(ticket, 0, 0, tokens.len() as u64, back).expect("a read-back")
    });
    model.slots.retire(ticket, &[]).expect("a retire");
    if let Some(read_back) = read_back {
        let (data, bytes) = model.slots.begin_read(read_back, Timeout::Infinite).expect("results");
        // SAFETY: the bytes are there until the read-back is ended.
        let found = unsafe { std::slice::from_raw_parts(data, bytes as usize) };
        rig.note_wrong(found.iter().zip(&tokens).filter(|(a, b)| a != b).count());
        model.slots.end_read(read_back).expect("the end");
    }
}

fn write(step: &Step, slot: u32, first: u64, bytes: &[u8]) {
    let rows = if slot == 2 { bytes.len() as u64 / ROW_BYTES } else { bytes.len() as u64 };
    // SAFETY: the slice holds that many rows.
    unsafe { step.write(slot, first, rows, bytes.as_ptr()) }.expect("a write");
}

fn make(rig: &Rig, random: &mut Random) -> Model {
    let options = SlotsOptions { depth: 1 + random.below(3) as u32, ..SlotsOptions::default() };
    let slots = Slots::create(&rig.device, options, "stress").expect("slots");
    for (name, dims, kind, own_copy) in [
        ("tokens", &[TOKENS][..], SlotKind::Required, false),
        ("small", &[ROWS][..], SlotKind::Kept, false),
        ("table", &[ROWS, ROW_BYTES][..], SlotKind::Kept, true),
    ] {
        let shape = Shape::new(dims).expect("a shape");
        slots
            .add(&SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy, follows_tokens: false, pad: None })
            .expect("a slot");
    }
    slots.freeze().expect("a freeze");
    let addresses = [0, 1, 2].map(|slot| slots.slot_info(slot).expect("a slot").device_address);
    Model { slots, addresses, small: vec![0; ROWS as usize], table: vec![0; (ROWS * ROW_BYTES) as usize] }
}
