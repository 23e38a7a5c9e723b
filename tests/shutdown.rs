//! The end of the library in a process: a test program of its own, since nothing works afterwards.

mod common;
#[path = "common/makers.rs"]
mod makers;

use common::standin::moved;
use gpubuf::backend::{BackendKind, DeviceOptions};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Event, Member, shut_down_all};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions, SlotsParts};
use gpubuf::stats::Record;
use gpubuf::sync::{Arc, AtomicU64, Mutex, Ordering, Weak};
use gpubuf::workspace::{Workspace, WorkspaceOptions};
use makers::Makers;
use std::time::{Duration, Instant};

fn slots(device: &Arc<Device>, parts: SlotsParts) -> Arc<Slots> {
    let options = SlotsOptions { read_back_depth: 1, read_back_bytes: 64, ..SlotsOptions::default() };
    let slots = Slots::create_with(device, options, parts, "").expect("slots");
    let (shape, kind) = (Shape::new(&[64]).expect("a shape"), SlotKind::Kept);
    let (dtype, pad) = (Dtype::U8, None);
    slots
        .add(&SlotOptions { name: "ids", dtype, shape, kind, own_copy: false, follows_tokens: false, pad })
        .expect("a slot");
    slots.freeze().expect("frozen");
    slots
}

/// A shutdown is one of every device.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_thread_that_waits_for_a_block_is_sent_away() {
    let _alone = ALONE.lock();
    let device = common::device();
    let options = PoolOptions::new(Placement::Uva, 64, 1);
    let pool = Pool::create(&device, options).expect("a pool");
    let held = pool.acquire(0, Timeout::Try).expect("a block");
    let waiting = std::thread::spawn({
        let pool = pool.clone();
        move || pool.acquire(0, Timeout::Infinite).map(drop).map_err(|error| error.status())
    });
    while pool.levels().waiters == 0 {
        std::thread::yield_now();
    }
    shut_down_all(Timeout::Within(Duration::from_secs(10))).expect("a shutdown");
    assert_eq!(waiting.join().expect("the waiter"), Err(Status::ShutDown));
    assert_eq!(pool.acquire(0, Timeout::Try).map(drop).map_err(|error| error.status()), Err(Status::ShutDown));
    shut_down_all(Timeout::Try).expect("a second shutdown changes nothing");
    held.release().expect("what is held may still be given back");
}

/// Nor is anything queued for slots and staged rows.
fn nothing_is_made_behind_a_shutdown_of(device: &Arc<Device>) {
    let (makers, stream) = (Makers::new(device), common::stream(device));
    let (slots, rows) = (slots(device, SlotsParts::default()), makers::rows(device).expect("staged rows"));
    let ticket = slots.begin(Timeout::Try).expect("a step").commit(&stream, &[]).expect("a commit");
    let filling = slots.begin(Timeout::Try).expect("a step");
    // SAFETY: one byte.
    unsafe { rows.stage(0, 0, &7, 1) }.expect("staged");
    shut_down_all(Timeout::Within(Duration::from_secs(60))).expect("nothing is left");
    let copies = device.counters.copies.get();
    let answers = [
        ("a read-back", common::status(slots.read_back(ticket, 0, 0, 1, &stream))),
        ("a begin", common::status(slots.begin(Timeout::Try))),
        ("a commit", common::status(filling.commit(&stream, &[]))),
        ("an apply", common::status(rows.apply(&stream, &[], Timeout::Try))),
    ];
    for (what, answer) in makers.answers().into_iter().chain(answers) {
        assert_eq!(answer, Status::ShutDown, "{what}");
    }
    assert_eq!(device.counters.copies.get(), copies);
}

#[test]
fn nothing_is_made_on_a_device_that_was_shut_down() {
    let _alone = ALONE.lock();
    nothing_is_made_behind_a_shutdown_of(&common::device());
}

/// The driver goes on: it would give what it is asked for.
#[test]
fn nothing_is_made_with_a_driver_behind_a_shutdown() {
    if moved("nothing_is_made_with_a_driver_behind_a_shutdown", &[]) {
        return;
    }
    let options = DeviceOptions { kind: Some(BackendKind::Cuda), ..DeviceOptions::default() };
    nothing_is_made_behind_a_shutdown_of(&Device::open(&options, 0, "").expect("a device"));
}

#[test]
fn who_waits_for_work_that_a_shutdown_left_is_told_of_the_shutdown() {
    let _alone = ALONE.lock();
    let device = common::device();
    let stream = common::stream(&device);
    let buffer = common::buffer(&device, common::pair_of(64));
    common::hold(&stream);
    buffer.copy(true, 0, 64, &stream, None).expect("a copy");
    let waiting = std::thread::spawn({
        let buffer = buffer.clone();
        move || buffer.begin(Access::Write, 0, 64, Timeout::Infinite).map(drop).map_err(|error| error.status())
    });
    // Others wait for the stream, the device and the event itself.
    let others: [Box<dyn FnOnce() -> Result<()> + Send>; 3] = [
        Box::new({
            let stream = stream.clone();
            move || stream.synchronize(Timeout::Infinite)
        }),
        Box::new({
            let device = device.clone();
            move || device.synchronize(Timeout::Infinite)
        }),
        Box::new({
            let event = Event::create(&device, false, "").expect("an event");
            event.record(&stream).expect("a record");
            move || event.wait(Timeout::Infinite)
        }),
    ];
    let others = others.map(|wait| std::thread::spawn(move || wait().map_err(|error| error.status())));
    // It waits once it has looked long enough; if it has not by then, it finds the same.
    std::thread::yield_now();
    let late = shut_down_all(Timeout::Within(Duration::from_millis(1))).map_err(|error| error.status());
    assert_eq!(late, Err(Status::Timeout), "the stream is held");
    assert!(device.is_closed() && !waiting.is_finished());
    // The end of the process takes the work away.
    let _ = common::kit_of(&device).lose();
    let _ = device.backend().synchronize(None);
    assert_eq!(waiting.join().expect("the waiter"), Err(Status::ShutDown));
    for other in others {
        assert_eq!(other.join().expect("a waiter"), Err(Status::ShutDown));
    }
    assert_eq!(common::status(stream.synchronize(Timeout::Try)), Status::ShutDown, "and who comes later");
}

#[test]
fn memory_of_a_source_goes_with_the_slots_that_had_it() {
    let _alone = ALONE.lock();
    let device = common::device();
    let before = device.counters.device_bytes.get();
    let stream = common::stream(&device);
    let workspace = Workspace::create(&device, WorkspaceOptions::default()).expect("a workspace");
    let slots = slots(&device, SlotsParts { source: Some(workspace.clone()), ..SlotsParts::default() });
    slots.begin(Timeout::Try).expect("a step").commit(&stream, &[]).expect("a commit");
    // Not retired: only a drain proves that nobody reads it.
    drop((slots, workspace));
    shut_down_all(Timeout::Within(Duration::from_secs(60))).expect("nothing is left");
    assert_eq!((device.counters.device_bytes.get(), device.counters.leaked_bytes.get()), (before, 0));
}

/// An object that counts how often it was kept up.
#[derive(Default)]
struct Counted(AtomicU64);

impl Member for Counted {
    fn record(&self) -> Record {
        Record::new("counted", "counted")
    }

    fn maintain(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_shutdown_ends_the_upkeep() {
    let _alone = ALONE.lock();
    let device = common::device();
    let counted = Arc::new(Counted::default());
    let member: Weak<Counted> = Arc::downgrade(&counted);
    device.enroll(member);
    device.keep_up_every(Duration::from_millis(1)).expect("a thread");
    let deadline = Instant::now() + Duration::from_secs(60);
    while counted.0.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nobody keeps it up");
        std::thread::yield_now();
    }
    shut_down_all(Timeout::Within(Duration::from_secs(60))).expect("a shutdown");
    let after = counted.0.load(Ordering::SeqCst);
    // The thread was waited for, so there is none that could be late.
    assert_eq!(common::status(device.keep_up_every(Duration::from_millis(1))), Status::Exists, "and none begins");
    for _ in 0..100 {
        std::thread::yield_now();
    }
    assert_eq!(counted.0.load(Ordering::SeqCst), after);
}
