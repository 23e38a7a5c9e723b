//! Input slots.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::lease::{AloneOptions, Lease, Twin};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions, Step};
use gpubuf::sync::Arc;

const ROWS: u64 = 256;
const NEED: u32 = 0;
const KEEP: u32 = 1;

/// Two slots of [`ROWS`] bytes: one required, one kept.
fn slots(device: &Arc<Device>) -> Arc<Slots> {
    slots_of(device, SlotsOptions::default())
}

fn slots_of(device: &Arc<Device>, options: SlotsOptions) -> Arc<Slots> {
    let slots = Slots::create(device, options, "").expect("slots");
    for (name, kind) in [("need", SlotKind::Required), ("keep", SlotKind::Kept)] {
        slots.add(&slot(name, kind)).expect("a slot");
    }
    slots.freeze().expect("a freeze");
    slots
}

/// As [`slots`], with two copies of the device block.
fn of_two_copies(device: &Arc<Device>) -> Arc<Slots> {
    slots_of(device, SlotsOptions { device_depth: 2, depth: 4, ..SlotsOptions::default() })
}

/// One dynamic slot of [`ROWS`] bytes.
fn dynamic(device: &Arc<Device>) -> Arc<Slots> {
    let slots = Slots::create(device, SlotsOptions::default(), "").expect("slots");
    slots.add(&slot("bound", SlotKind::Dynamic)).expect("a slot");
    slots.freeze().expect("a freeze");
    slots
}

/// A block with a twin on the device.
fn bindable(device: &Arc<Device>) -> Lease {
    block(device, Placement::Pinned, Twin::Eager)
}

/// A block that kernels use in place.
fn in_place(device: &Arc<Device>) -> Lease {
    block(device, Placement::Uva, Twin::Never)
}

fn block(device: &Arc<Device>, placement: Placement, twin: Twin) -> Lease {
    let options = AloneOptions { placement, bytes: ROWS, twin, timed: false, label: String::new() };
    Lease::create(device, options).expect("a block")
}

fn slot(name: &str, kind: SlotKind) -> SlotOptions<'_> {
    let shape = Shape::new(&[ROWS]).expect("a shape");
    SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy: false, follows_tokens: false, pad: None }
}

fn write(step: &Step, slot: u32, first: u64, rows: &[u8]) -> Result<()> {
    // SAFETY: the slice is as long as is said.
    unsafe { step.write(slot, first, rows.len() as u64, rows.as_ptr()) }
}

/// A step whose required slot is filled with `value`.
fn filled(slots: &Arc<Slots>, value: u8) -> Result<Step> {
    let step = slots.begin(Timeout::Try)?;
    write(&step, NEED, 0, &[value; ROWS as usize])?;
    Ok(step)
}

/// A step filled, committed and retired on one stream.
fn send(slots: &Arc<Slots>, value: u8, stream: &Arc<Timeline>) -> Result<()> {
    let ticket = filled(slots, value)?.commit(stream, &[])?;
    slots.retire(ticket, &[]).map(drop)
}

fn is(device: &Arc<Device>, slots: &Slots, slot: u32, value: u8) -> bool {
    device_is(device, slots.slot_info(slot).expect("a slot").device_address, ROWS, value)
}

fn in_copy(device: &Arc<Device>, slots: &Slots, copy: u32, slot: u32, value: u8) -> bool {
    device_is(device, slots.device_address(slot, copy).expect("a copy"), ROWS, value)
}

fn delay(timeline: &Timeline) {
    busy(timeline);
}

pub const CASES: &[Case] = &[
    case!(BeginWaits, "an entry that a queued copy reads is not filled again", |it| {
        let device = device();
        let slots = slots(&device);
        let mut held = Held::new(&device);
        send(&slots, 1, &held.timeline).works()?;
        send(&slots, 2, &held.timeline).works()?;
        ensure!(status(slots.begin(Timeout::Try)) == Status::Busy, it);
        ensure!(status(slots.begin(SHORT)) == Status::Timeout, "a finite wait ends");
        held.open();
        ensure!(status(filled(&slots, 3)) == Status::Ok, "an entry is free when its copy is done");
        ensure!(is(&device, &slots, NEED, 2), "the device has the last committed step");
    }),
    case!(BeginBusy, "entries being filled are not handed out twice", |it| {
        let device = device();
        let slots = slots(&device);
        let first = slots.begin(Timeout::Try).works()?;
        slots.begin(Timeout::Try).works()?;
        ensure!(status(slots.begin(Timeout::Infinite)) == Status::Busy, it);
        first.abort().works()?;
        ensure!(status(slots.begin(Timeout::Try)) == Status::Ok, "an abort gives the entry back");
    }),
    case!(StepOrder, "a committed step is not written again", |it| {
        let device = device();
        let slots = slots(&device);
        let stream = stream(&device);
        let step = filled(&slots, 1).works()?;
        let ticket = step.commit(&stream, &[]).works()?;
        ensure!(status(write(&step, NEED, 0, &[2])) == Status::NotBegun, it);
        ensure!(status(step.abort()) == Status::NotBegun, it);
        ensure!(status(step.commit(&stream, &[])) == Status::NotBegun, it);
        slots.retire(ticket, &[]).works()?;
    }),
    case!(CommitSpan, "a step is not sent while a part of it is being written", |it| {
        let device = device();
        let slots = slots(&device);
        let step = filled(&slots, 1).works()?;
        let (_, token) = step.begin_span(KEEP, 0, 1).works()?;
        ensure!(status(step.commit(&stream(&device), &[])) == Status::Busy, it);
        step.end_span(token).works()?;
        ensure!(status(step.commit(&stream(&device), &[])) == Status::Ok, "ended spans are gone");
    }),
    case!(CommitUnwritten, "a step without a required slot is not sent", |it| {
        let device = device();
        let slots = slots(&device);
        let step = slots.begin(Timeout::Try).works()?;
        write(&step, KEEP, 0, &[1]).works()?;
        ensure!(status(step.commit(&stream(&device), &[])) == Status::SlotUnwritten, it);
        write(&step, NEED, 0, &[1]).works()?;
        ensure!(status(step.commit(&stream(&device), &[])) == Status::Ok, "the step stays open");
    }),
    case!(CommitUnretired, "a step is not sent before the previous one is retired", |it| {
        let device = device();
        let slots = slots(&device);
        let stream = stream(&device);
        let ticket = filled(&slots, 1).works()?.commit(&stream, &[]).works()?;
        let next = filled(&slots, 2).works()?;
        ensure!(status(next.commit(&stream, &[])) == Status::NotRetired, it);
        slots.retire(ticket, &[]).works()?;
        ensure!(status(next.commit(&stream, &[])) == Status::Ok, "the step stays open");
    }),
    case!(CommitWaitsRetire, "a step is not sent over what the last one's consumers still read", |it| {
        let device = device();
        let slots = slots(&device);
        let copies = stream(&device);
        let mut kernels = Held::new(&device);
        let ticket = filled(&slots, 1).works()?.commit(&copies, std::slice::from_ref(&kernels.timeline)).works()?;
        delay(&kernels.timeline);
        slots.retire(ticket, &[]).works()?;
        let ticket = filled(&slots, 2).works()?.commit(&copies, &[]).works()?;
        ensure!(!kernels.is_overtaken_by(&copies), it);
        kernels.open();
        slots.retire(ticket, &[]).works()?;
        ensure!(status(copies.synchronize(Timeout::Infinite)) == Status::Ok, "it goes on afterwards");
    }),
    case!(CommitWaitsReadBack, "a step is not sent over what a read-back still reads", |it| {
        let device = device();
        let slots = slots(&device);
        let copies = stream(&device);
        let mut back = Held::new(&device);
        let ticket = filled(&slots, 1).works()?.commit(&copies, &[]).works()?;
        let read_back = slots.read_back(ticket, NEED, 0, ROWS, &back.timeline).works()?;
        slots.retire(ticket, &[]).works()?;
        filled(&slots, 2).works()?.commit(&copies, &[]).works()?;
        ensure!(!back.is_overtaken_by(&copies), it);
        back.open();
        let (data, bytes) = slots.begin_read(read_back, Timeout::Infinite).works()?;
        // SAFETY: the read-back's bytes are there until it is ended.
        let found = unsafe { std::slice::from_raw_parts(data, bytes as usize) };
        ensure!(found == [1; ROWS as usize], "it has its own step's bytes");
    }),
    case!(CommitWaitsMarked, "a step on another stream waits for the last one's kernels", |it| {
        let device = device();
        let slots = slots(&device);
        let mut first = Held::new(&device);
        let second = stream(&device);
        let ticket = filled(&slots, 1).works()?.commit(&first.timeline, &[]).works()?;
        // The copy itself is seen to be done: only the kernel behind it is not.
        first.open();
        first.shut_again();
        delay(&first.timeline);
        slots.retire(ticket, &[]).works()?;
        filled(&slots, 2).works()?.commit(&second, &[]).works()?;
        ensure!(!first.is_overtaken_by(&second), it);
        first.open();
    }),
    case!(ConsumerWaits, "a consumer does not run before the step's copy", |it| {
        let device = device();
        let slots = slots(&device);
        let mut copies = Held::new(&device);
        let kernels = stream(&device);
        filled(&slots, 1).works()?.commit(&copies.timeline, std::slice::from_ref(&kernels)).works()?;
        delay(&kernels);
        ensure!(!copies.is_overtaken_by(&kernels), it);
        copies.open();
    }),
    case!(RetireOnce, "a ticket is good once", |it| {
        let device = device();
        let slots = slots(&device);
        let stream = stream(&device);
        let ticket = filled(&slots, 1).works()?.commit(&stream, &[]).works()?;
        slots.retire(ticket, &[]).works()?;
        let next = filled(&slots, 2).works()?.commit(&stream, &[]).works()?;
        ensure!(status(slots.retire(ticket, &[])) == Status::NotBegun, it);
        ensure!(status(slots.retire(next, &[])) == Status::Ok, "the present ticket is not disturbed");
    }),
    case!(RetireAllConsumers, "retire covers the declared consumers, whoever is named", |it| {
        let device = device();
        let slots = slots(&device);
        let copies = stream(&device);
        let mut kernels = Held::new(&device);
        let other = stream(&device);
        let ticket = filled(&slots, 1).works()?.commit(&copies, std::slice::from_ref(&kernels.timeline)).works()?;
        delay(&kernels.timeline);
        slots.retire(ticket, &[other]).works()?;
        filled(&slots, 2).works()?.commit(&copies, &[]).works()?;
        ensure!(!kernels.is_overtaken_by(&copies), it);
        kernels.open();
    }),
    case!(ReadBackOrder, "no read-back is begun of a retired step", |it| {
        let device = device();
        let slots = slots(&device);
        let stream = stream(&device);
        let ticket = filled(&slots, 1).works()?.commit(&stream, &[]).works()?;
        slots.retire(ticket, &[]).works()?;
        ensure!(status(slots.read_back(ticket, NEED, 0, 1, &stream)) == Status::NotBegun, it);
    }),
    case!(ReadBackBusy, "a read-back nobody has ended yet keeps its memory", |it| {
        let device = device();
        let slots = slots(&device);
        let stream = stream(&device);
        let ticket = filled(&slots, 1).works()?.commit(&stream, &[]).works()?;
        let first = slots.read_back(ticket, NEED, 0, 1, &stream).works()?;
        slots.read_back(ticket, NEED, 0, 1, &stream).works()?;
        ensure!(status(slots.read_back(ticket, NEED, 0, 1, &stream)) == Status::Busy, it);
        slots.begin_read(first, Timeout::Infinite).works()?;
        slots.end_read(first).works()?;
        ensure!(status(slots.read_back(ticket, NEED, 0, 1, &stream)) == Status::Ok, "an ended one makes room");
    }),
    case!(ReadBackWaits, "results are not read before they have landed", |it| {
        let device = device();
        let slots = slots(&device);
        let mut held = Held::new(&device);
        let ticket = filled(&slots, 1).works()?.commit(&held.timeline, &[]).works()?;
        let read_back = slots.read_back(ticket, NEED, 0, 1, &held.timeline).works()?;
        ensure!(status(slots.begin_read(read_back, Timeout::Try)) == Status::Busy, it);
        held.open();
        ensure!(status(slots.begin_read(read_back, Timeout::Try)) == Status::Ok, "they are there afterwards");
    }),
    case!(ReadBackWaitsWriter, "a read-back on another stream waits for the step's copy", |it| {
        let device = device();
        let slots = slots(&device);
        let mut copies = Held::new(&device);
        let back = stream(&device);
        let ticket = filled(&slots, 1).works()?.commit(&copies.timeline, &[]).works()?;
        slots.read_back(ticket, NEED, 0, 1, &back).works()?;
        ensure!(!copies.is_overtaken_by(&back), it);
        copies.open();
    }),
    case!(LiveGaps, "rows that a step did not write stay as they were", |it| {
        let device = device();
        let slots = slots(&device);
        let stream = stream(&device);
        for value in 1..=2 {
            let step = filled(&slots, value).works()?;
            if value == 1 {
                write(&step, KEEP, 0, &[9; ROWS as usize]).works()?;
            } else {
                // The first and the last row: the copy spans what lies between.
                write(&step, KEEP, 0, &[9]).works()?;
                write(&step, KEEP, ROWS - 1, &[9]).works()?;
            }
            let ticket = step.commit(&stream, &[]).works()?;
            slots.retire(ticket, &[]).works()?;
            stream.synchronize(Timeout::Infinite).works()?;
        }
        ensure!(is(&device, &slots, KEEP, 9), it);
        ensure!(slots.stats().copies == 2, "one copy a step");
    }),
    case!(TornResends, "after a failed copy the next step sends everything", |it| {
        if !copies_fail_alone() {
            return Ok(());
        }
        let device = device();
        let slots = slots(&device);
        let stream = stream(&device);
        let step = filled(&slots, 1).works()?;
        write(&step, KEEP, 0, &[9; ROWS as usize]).works()?;
        let ticket = step.commit(&stream, &[]).works()?;
        slots.retire(ticket, &[]).works()?;
        stream.synchronize(Timeout::Infinite).works()?;
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
        let step = filled(&slots, 2).works()?;
        write(&step, KEEP, 0, &[8; ROWS as usize]).works()?;
        let ticket = step.commit(&stream, &[]).works()?;
        slots.retire(ticket, &[]).works()?;
        ensure!(status(stream.synchronize(Timeout::Infinite)) == Status::CopyFailed, "the copy failed");
        let step = filled(&slots, 3).works()?;
        ensure!(status(step.commit(&stream, &[])) == Status::CopyFailed, "the next commit tells it");
        let ticket = step.commit(&stream, &[]).works()?;
        slots.retire(ticket, &[]).works()?;
        stream.synchronize(Timeout::Infinite).works()?;
        ensure!(is(&device, &slots, KEEP, 8), it);
        ensure!(is(&device, &slots, NEED, 3), "the step itself arrived");
    }),
    case!(CopyCatchesUp, "a kept row reaches every copy of the device block", |it| {
        let device = device();
        let slots = of_two_copies(&device);
        let stream = stream(&device);
        for (value, kept) in [(1, 9), (2, 9), (3, 8)] {
            let step = filled(&slots, value).works()?;
            write(&step, KEEP, 0, &[kept; ROWS as usize]).works()?;
            let ticket = step.commit(&stream, &[]).works()?;
            slots.retire(ticket, &[]).works()?;
        }
        // The second copy has not seen the third step; the fourth writes nothing that is kept.
        send(&slots, 4, &stream).works()?;
        stream.synchronize(Timeout::Infinite).works()?;
        ensure!(in_copy(&device, &slots, 1, KEEP, 8), it);
        ensure!(in_copy(&device, &slots, 1, NEED, 4) && in_copy(&device, &slots, 0, NEED, 3), "each has its own step");
    }),
    case!(BindingHolds, "a block that is bound to a step is not released", |it| {
        let device = device();
        let (slots, lease) = (dynamic(&device), bindable(&device));
        let step = slots.begin(Timeout::Try).works()?;
        step.bind_block(NEED, &lease, 0, ROWS).works()?;
        ensure!(status(lease.release()) == Status::GraphHeld, it);
        step.abort().works()?;
        ensure!(status(lease.release()) == Status::Ok, "a step that was given up has let it go");
    }),
    case!(BindingOrders, "a step's consumers do not run before the work that writes the block bound to it", |it| {
        let device = device();
        let (slots, lease) = (dynamic(&device), bindable(&device));
        let mut writer = Held::new(&device);
        let kernels = stream(&device);
        lease.copy(true, 0, ROWS, &writer.timeline, None).works()?;
        let step = slots.begin(Timeout::Try).works()?;
        step.bind_block(NEED, &lease, 0, ROWS).works()?;
        step.commit(&kernels, &[]).works()?;
        delay(&kernels);
        ensure!(!writer.is_overtaken_by(&kernels), it);
        writer.open();
    }),
    case!(BindingFollows, "a step's consumers do not run before the streams named with memory bound to it", |it| {
        let device = device();
        let (slots, lease) = (dynamic(&device), bindable(&device));
        let mut writer = Held::new(&device);
        let (copies, kernels) = (stream(&device), stream(&device));
        delay(&writer.timeline);
        let step = slots.begin(Timeout::Try).works()?;
        let address = lease.device_address().works()?;
        step.bind(NEED, address, ROWS, std::slice::from_ref(&writer.timeline)).works()?;
        step.commit(&copies, std::slice::from_ref(&kernels)).works()?;
        delay(&kernels);
        ensure!(!writer.is_overtaken_by(&kernels), it);
        writer.open();
    }),
    case!(BindingSeals, "a block bound to a committed step is not written before the step is retired", |it| {
        let device = device();
        let (slots, lease) = (dynamic(&device), in_place(&device));
        let stream = stream(&device);
        let step = slots.begin(Timeout::Try).works()?;
        step.bind_block(NEED, &lease, 0, ROWS).works()?;
        let (_, token) = lease.begin(Access::Write, 0, ROWS, Timeout::Try).works()?;
        ensure!(status(step.commit(&stream, &[])) == Status::Busy, "nor is it committed while it is being written");
        lease.end(Access::Write, token).works()?;
        step.commit(&stream, &[]).works()?;
        stream.synchronize(Timeout::Infinite).works()?;
        ensure!(status(lease.begin(Access::Write, 0, ROWS, Timeout::Try)) == Status::Unfenced, it);
        step.retire(&[]).works()?;
        stream.synchronize(Timeout::Infinite).works()?;
        ensure!(status(lease.begin(Access::Write, 0, ROWS, Timeout::Infinite)) == Status::Ok, "it may be afterwards");
    }),
    case!(BindingDeclares, "a block that was bound is not written before the step's consumers are done", |it| {
        let device = device();
        let (slots, lease) = (dynamic(&device), in_place(&device));
        let copies = stream(&device);
        let mut kernels = Held::new(&device);
        let step = slots.begin(Timeout::Try).works()?;
        step.bind_block(NEED, &lease, 0, ROWS).works()?;
        step.commit(&copies, std::slice::from_ref(&kernels.timeline)).works()?;
        delay(&kernels.timeline);
        step.retire(&[]).works()?;
        ensure!(status(lease.begin(Access::Write, 0, ROWS, Timeout::Try)) == Status::Busy, it);
        kernels.open();
        ensure!(status(lease.begin(Access::Write, 0, ROWS, Timeout::Infinite)) == Status::Ok, "it may be afterwards");
    }),
    case!(FrozenLayout, "a frozen layout does not change", |it| {
        let device = device();
        let slots = slots(&device);
        ensure!(status(slots.add(&slot("late", SlotKind::Kept))) == Status::Frozen, it);
        let draft = Slots::create(&device, SlotsOptions::default(), "").works()?;
        draft.add(&slot("early", SlotKind::Kept)).works()?;
        ensure!(status(draft.begin(Timeout::Try)) == Status::Frozen, it);
    }),
];
