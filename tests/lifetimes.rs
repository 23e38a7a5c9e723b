//! When memory goes, and when its device does.

mod common;

use common::standin::moved;
use common::{Gate, device, hold, kit_of, lose, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions};
use gpubuf::sync::{Arc, AtomicU32, Mutex, Ordering};
use std::time::{Duration, Instant};

const BYTES: u64 = 4096;

/// A stream shut by another thread.
fn held(device: &Arc<Device>) -> Arc<Timeline> {
    let timeline = Timeline::create(device, "").expect("a stream");
    hold(&timeline);
    timeline
}

fn open(timeline: &Timeline) {
    release(timeline);
}

fn options() -> BufferOptions {
    common::pair_of(BYTES)
}

#[test]
fn an_address_that_went_to_nobody_knows_whom_is_freed_by_a_drain_alone() {
    let device = device();
    let buffer = Buffer::create(&device, options()).expect("a buffer");
    let stream = Timeline::create(&device, "").expect("a stream");
    buffer.device_address(&[]).expect("an address");
    buffer.used_on(&stream, Access::Write).expect("a declaration of what one stream did");
    stream.synchronize(Timeout::Infinite).expect("a wait");
    drop(buffer);
    device.maintain();
    assert_eq!(device.counters.device_bytes.get(), BYTES);
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(device.counters.device_bytes.get(), 0);
}

#[test]
fn a_device_goes_with_its_last_object_in_any_order() {
    let device = device();
    let stream = held(&device);
    let idle = Buffer::create(&device, options()).expect("a buffer");
    let busy = Buffer::create(&device, options()).expect("a buffer");
    busy.copy(true, 0, ALL, &stream, None).expect("a copy");
    drop(idle);
    let gone = Arc::downgrade(&device);
    device.orphan();
    assert_eq!(device.counters.deferred_objects.get(), 0, "an owner that leaves cleans up");
    drop(device);
    drop(busy);
    open(&stream);
    stream.device().tidy_if_orphaned();
    drop(stream);
    // Other tests open devices too, and may hold this one for a moment.
    let late = Instant::now() + Duration::from_secs(60);
    while gone.upgrade().is_some() {
        assert!(Instant::now() < late, "something keeps the device");
        std::thread::yield_now();
    }
}

#[test]
fn work_that_outlives_every_handle_is_cleaned_up_by_the_next_device() {
    let device = device();
    let stream = stream(&device);
    let gate = Gate::default();
    gate.shut(&stream);
    let buffer = Buffer::create(&device, options()).expect("a buffer");
    buffer.copy(true, 0, ALL, &stream, None).expect("a copy");
    let gone = Arc::downgrade(&device);
    device.orphan();
    drop((device, buffer, stream));
    assert!(gone.upgrade().is_some(), "its memory is still in use");
    gate.open();
    // Until the stream has run; and other tests open devices too, and may hold this one for a moment.
    let late = Instant::now() + Duration::from_secs(60);
    while gone.upgrade().is_some() {
        assert!(Instant::now() < late, "something keeps the device");
        self::device();
    }
}

#[test]
fn memory_with_an_open_guard_is_not_unmapped_under_its_holder() {
    let device = device();
    let buffer = Buffer::create(&device, options()).expect("a buffer");
    let (data, _) = buffer.begin(Access::Write, 0, ALL, Timeout::Try).expect("a guard");
    drop(buffer);
    device.maintain();
    // SAFETY: what is shown: the memory is there until a drain.
    unsafe { data.write_bytes(1, BYTES as usize) };
    assert_eq!(device.counters.pinned_bytes.get(), BYTES);
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(device.counters.pinned_bytes.get(), 0);
}

#[test]
fn slots_destroyed_before_retire_keep_their_block_until_a_drain() {
    let device = device();
    let copies = Timeline::create(&device, "").expect("a stream");
    let slots = Slots::create(&device, SlotsOptions::default(), "").expect("slots");
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let slot = SlotOptions {
        name: "x",
        dtype: Dtype::U8,
        shape,
        kind: SlotKind::Kept,
        own_copy: false,
        follows_tokens: false,
        pad: None,
    };
    slots.add(&slot).expect("a slot");
    slots.freeze().expect("a freeze");
    let step = slots.begin(Timeout::Try).expect("a step");
    step.commit(&copies, &[]).expect("a commit");
    // Somebody launches on a stream that only retire would have named.
    slots.destroy();
    copies.synchronize(Timeout::Infinite).expect("idle");
    device.maintain();
    assert_eq!(device.counters.device_bytes.get(), BYTES);
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(device.counters.device_bytes.get(), 0);
}

#[test]
fn a_release_callback_may_call_anything() {
    let device = device();
    let slots = Slots::create(&device, SlotsOptions::default(), "").expect("slots");
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let slot = SlotOptions {
        name: "x",
        dtype: Dtype::U8,
        shape,
        kind: SlotKind::Kept,
        own_copy: false,
        follows_tokens: false,
        pad: None,
    };
    slots.add(&slot).expect("a slot");
    let told = Arc::new(AtomicU32::new(0));
    let mut memory = vec![0u8; BYTES as usize];
    let release = {
        let (slots, told, device) = (slots.clone(), told.clone(), device.clone());
        Box::new(move || {
            slots.describe();
            device.maintain();
            device.drain(Timeout::Infinite).expect("a drain inside");
            told.fetch_add(1, Ordering::SeqCst);
        })
    };
    let borrowed = BufferOptions {
        host: Placement::Pageable,
        host_memory: memory.as_mut_ptr(),
        release: Some(release),
        ..options()
    };
    drop(Buffer::create(&device, borrowed).expect("a buffer"));
    let (done, freezes) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(slots.freeze().is_ok()));
    assert_eq!(freezes.recv_timeout(std::time::Duration::from_secs(20)), Ok(true), "freeze hangs");
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

/// Also where memory goes since a buffer has moved to other memory.
#[test]
fn a_release_callback_may_use_a_buffer_that_is_resized() {
    // Alone: whoever opens a device looks after those that nobody has any more, and would run the callback in the middle of the resize.
    let backend = std::env::var("GPUBUF_BACKEND").unwrap_or("host".into());
    if moved("a_release_callback_may_use_a_buffer_that_is_resized", &[("GPUBUF_BACKEND", &backend)]) {
        return;
    }
    let device = device();
    let stream = held(&device);
    let moving = Buffer::create(&device, options()).expect("a buffer");
    let found = Arc::new(Mutex::new(None));
    let release = {
        let (moving, found) = (moving.clone(), found.clone());
        Box::new(move || *found.lock() = Some(status(moving.begin(Access::Read, 0, 1, Timeout::Try))))
    };
    let mut memory = vec![0u8; BYTES as usize];
    let borrowed = BufferOptions {
        host: Placement::Pageable,
        host_memory: memory.as_mut_ptr(),
        release: Some(release),
        ..options()
    };
    let borrowed = Buffer::create(&device, borrowed).expect("a buffer");
    borrowed.copy(true, 0, ALL, &stream, None).expect("work that ends meanwhile");
    drop(borrowed);
    moving.copy(false, 0, ALL, &stream, None).expect("what the resize waits for");
    device.orphan();
    let twice = Shape::new(&[2 * BYTES]).expect("a shape");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while moving.look(|_| ()).is_some() {
                std::thread::yield_now();
            }
            open(&stream);
        });
        moving.resize(twice, (true, false), None, Timeout::Infinite).expect("a resize");
    });
    assert_eq!(*found.lock(), Some(Status::Ok));
}

#[test]
fn foreign_memory_can_be_borrowed_again_at_once() {
    let device = device();
    let mut memory = vec![0u8; BYTES as usize];
    let address = memory.as_mut_ptr();
    let borrowed =
        |device_memory| BufferOptions { host: Placement::Pageable, host_memory: address, device_memory, ..options() };
    assert_ne!(status(Buffer::create(&device, borrowed(3))), Status::Ok, "no such device memory");
    drop(Buffer::create(&device, borrowed(0)).expect("after a creation that failed"));
    let first = Buffer::create(&device, borrowed(0)).expect("after an idle wrapper is gone");
    let other = self::device();
    assert_eq!(status(Buffer::create(&other, borrowed(0))), Status::Exists, "nor on another device");
    drop(first);
}

#[test]
fn a_pinned_block_without_a_twin_waits_for_declared_work() {
    let device = device();
    let stream = held(&device);
    let options = PoolOptions::new(Placement::Pinned, BYTES, 1);
    let pool = Pool::create(&device, options).expect("a pool");
    let lease = pool.acquire(0, Timeout::Try).expect("a block");
    lease.fence(std::slice::from_ref(&stream)).expect("a fence");
    assert_eq!(status(lease.begin(Access::Write, 0, 1, Timeout::Try)), Status::Busy);
    lease.release_after(std::slice::from_ref(&stream)).expect("a release");
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Busy);
    open(&stream);
    assert_eq!(status(pool.acquire(0, Timeout::Try)), Status::Ok);
}

#[test]
fn sealed_memory_of_a_lost_device_is_given_up() {
    let device = device();
    let buffer = Buffer::create(&device, options()).expect("a buffer");
    buffer.device_address(&[]).expect("an address");
    drop(buffer);
    lose(&device);
    device.maintain();
    assert_eq!(device.deferred(), (0, 0));
    assert_eq!(device.counters.quarantined_bytes.get(), BYTES);
}

#[test]
fn memory_whose_last_users_cannot_be_fenced_is_quarantined() {
    let device = device();
    let buffer = Buffer::create(&device, options()).expect("a buffer");
    buffer.device_address(std::slice::from_ref(&Timeline::create(&device, "").expect("a stream"))).expect("an address");
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).expect("a fault");
    drop(buffer);
    device.drain(Timeout::Infinite).expect("a drain");
    let counters = &device.counters;
    assert_eq!((counters.quarantined_bytes.get(), counters.device_bytes.get()), (BYTES, BYTES));
}
