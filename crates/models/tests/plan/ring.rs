//! The ring of input slots: what a step wrote is what its consumers read, whoever begins, commits, retires, gives up or destroys
//! meanwhile.

use gpubuf_models::config::checks::Check;
use gpubuf_models::config::{ALL, Placement, Timeout};
use gpubuf_models::device::Opening;
use gpubuf_models::dtype::{Dtype, Shape};
use gpubuf_models::error::Status;
use gpubuf_models::fence::{Holdable, HostWait, Range, Timeline};
use gpubuf_models::plan::{check, finds};
use gpubuf_models::pool::{Pool, PoolOptions};
use gpubuf_models::slots::{SlotKind, SlotOptions, Slots, SlotsOptions, Step};
use gpubuf_models::sync::{Arc, switch};
use shuttle::thread;
use std::slice::from_ref;

/// One slot of four bytes.
fn slots(opening: &Opening, depth: u32, read_back_depth: u32) -> Arc<Slots> {
    let slots = unfrozen(opening, depth, read_back_depth);
    slots.freeze().expect("frozen");
    slots
}

fn unfrozen(opening: &Opening, depth: u32, read_back_depth: u32) -> Arc<Slots> {
    let options = SlotsOptions { depth, read_back_depth, read_back_bytes: 4, ..SlotsOptions::default() };
    let slots = Slots::create(&opening.device, options, "").expect("slots");
    let slot = SlotOptions {
        name: "ids",
        dtype: Dtype::U8,
        shape: Shape::new(&[4]).expect("a shape"),
        kind: SlotKind::Required,
        own_copy: false,
        follows_tokens: false,
        pad: None,
    };
    slots.add(&slot).expect("a slot");
    slots
}

/// Writes all four bytes, with switches between.
fn write(step: &Step, value: u8) -> Result<(), Status> {
    for row in 0..4 {
        // SAFETY: one byte.
        unsafe { step.write(0, row, 1, &value) }.map_err(|error| error.status())?;
        switch();
    }
    Ok(())
}

/// Device memory of a consumer's that goes at the end.
fn with_results(body: impl FnOnce(&Opening, u64)) {
    let opening = Opening::new();
    let memory = opening.device.backend().allocate(Placement::Device, 8).expect("memory");
    body(&opening, memory.device);
    opening.drain();
    // SAFETY: everything is done.
    unsafe { opening.device.backend().free(memory) };
    opening.end();
}

/// What a kernel would be that reads the slot: a copy of it.
fn consume(slots: &Slots, stream: &Arc<Timeline>, target: u64) {
    let source = slots.device_address(0, 0).expect("an address");
    // SAFETY: the models end after all work is done.
    unsafe { stream.submission().copy(target, source, 4) }.expect("queued");
}

fn bytes(opening: &Opening, at: u64) -> [u8; 4] {
    [0, 1, 2, 3].map(|place| opening.shared.byte_at(at + place))
}

/// One entry, two steps: the second must not be written while the first is copied.
fn the_entry_is_used_again() {
    with_results(|opening, results| {
        let (slots, stream) = (slots(opening, 1, 0), opening.stream());
        for value in [1, 2] {
            let step = slots.begin(Timeout::Infinite).expect("a step");
            write(&step, value).expect("written");
            let ticket = step.commit(&stream, &[]).expect("committed");
            consume(&slots, &stream, results + 4 * (value as u64 - 1));
            slots.retire(ticket, &[]).expect("retired");
        }
        opening.drain();
        assert_eq!(
            (bytes(opening, results), bytes(opening, results + 4)),
            ([1; 4], [2; 4]),
            "each consumer saw its step"
        );
        drop(slots);
    });
}

/// Copies on one stream, consumers on another: neither may overtake the other.
fn two_streams() {
    with_results(|opening, results| {
        let (slots, copies, kernels) = (slots(opening, 2, 0), opening.stream(), opening.stream());
        for value in [1, 2] {
            let step = slots.begin(Timeout::Infinite).expect("a step");
            write(&step, value).expect("written");
            let ticket = step.commit(&copies, from_ref(&kernels)).expect("committed");
            consume(&slots, &kernels, results + 4 * (value as u64 - 1));
            slots.retire(ticket, from_ref(&kernels)).expect("retired");
        }
        opening.drain();
        assert_eq!(
            (bytes(opening, results), bytes(opening, results + 4)),
            ([1; 4], [2; 4]),
            "each consumer saw its step"
        );
        drop(slots);
    });
}

/// Two threads run steps on one ring; who meets the other is told, and gives his step up.
fn two_threads_run_steps() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 2, 0), opening.stream());
    let run = |value: u8, slots: &Arc<Slots>, stream: &Arc<Timeline>| {
        let step = slots.begin(Timeout::Infinite).expect("one entry each");
        write(&step, value).expect("a step is its thread's alone");
        match step.commit(stream, &[]) {
            Ok(ticket) => {
                while let Err(error) = slots.retire(ticket, &[]) {
                    assert_eq!(error.status(), Status::Busy);
                    gpubuf_models::sync::yield_now();
                }
                true
            }
            Err(error) => {
                assert!([Status::Busy, Status::NotRetired].contains(&error.status()), "{error:?}");
                step.abort().expect("given up");
                false
            }
        }
    };
    let other = thread::spawn({
        let (slots, stream) = (slots.clone(), stream.clone());
        move || run(1, &slots, &stream)
    });
    let mine = run(2, &slots, &stream);
    let theirs = other.join().unwrap();
    assert!(mine || theirs, "one of them comes through");
    let steps = [0, 1].map(|_| slots.begin(Timeout::Infinite).expect("every entry is there again"));
    drop(steps);
    drop(slots);
    opening.end();
}

/// Somebody destroys the set while a step is written, committed and retired: nothing is copied that was freed, all is freed.
fn a_destroy_at_any_moment() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 1, 0), opening.stream());
    let destroyer = thread::spawn({
        let slots = slots.clone();
        move || slots.destroy()
    });
    let run = || -> Result<(), Status> {
        let step = slots.begin(Timeout::Infinite).map_err(|error| error.status())?;
        // SAFETY: four bytes.
        unsafe { step.write(0, 0, 4, [7u8; 4].as_ptr()) }.map_err(|error| error.status())?;
        let ticket = step.commit(&stream, &[]).map_err(|error| error.status())?;
        slots.retire(ticket, &[]).map_err(|error| error.status())?;
        Ok(())
    };
    if let Err(status) = run() {
        assert_eq!(status, Status::ShutDown);
    }
    destroyer.join().unwrap();
    nothing_is_left(&opening);
    drop(slots);
    opening.end();
}

/// Whoever was inside a set gave up what its destroyer could not, and does so before the set goes.
fn nothing_is_left(opening: &Opening) {
    opening.drain();
    assert_eq!(opening.shared.alive(), 0, "memory of a set that was destroyed");
}

/// Somebody gives up every step while one is committed: it is either committed or given up, never both.
fn all_steps_are_given_up() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 1, 0), opening.stream());
    let step = slots.begin(Timeout::Infinite).expect("a step");
    write(&step, 7).expect("written");
    let other = thread::spawn({
        let slots = slots.clone();
        move || slots.abort_all(|_| {})
    });
    let committed = step.commit(&stream, &[]);
    match (&committed, other.join().unwrap()) {
        (Ok(ticket), ended) => {
            assert!(ended.map_or(true, |count| count == 0), "given up, and committed as well");
            slots.retire(*ticket, &[]).expect("retired");
        }
        (Err(error), Ok(1)) => assert!([Status::NotBegun, Status::Busy].contains(&error.status()), "{error:?}"),
        (Err(error), _) => {
            // They met, and one of them was told.
            assert_eq!(error.status(), Status::Busy);
            step.abort().expect("still there");
        }
    }
    slots.begin(Timeout::Infinite).expect("the entry is there again").abort().expect("given up");
    drop((step, slots));
    opening.end();
}

/// A read-back brings what its step had, whoever commits next.
fn a_read_back() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 2, 1), opening.stream());
    let step = slots.begin(Timeout::Infinite).expect("a step");
    write(&step, 5).expect("written");
    let ticket = step.commit(&stream, &[]).expect("committed");
    let read_back = slots.read_back(ticket, 0, 0, ALL, &stream).expect("queued");
    slots.retire(ticket, &[]).expect("retired");
    let other = thread::spawn({
        let (slots, stream) = (slots.clone(), stream.clone());
        move || {
            let step = slots.begin(Timeout::Infinite).expect("a step");
            write(&step, 6).expect("written");
            let ticket = step.commit(&stream, &[]).expect("committed");
            slots.retire(ticket, &[]).expect("retired");
        }
    });
    let (at, count) = slots.begin_read(read_back, Timeout::Infinite).expect("there");
    // SAFETY: the read-back is open.
    let seen = unsafe { std::slice::from_raw_parts(at, count as usize) };
    assert_eq!(seen, [5; 4]);
    slots.end_read(read_back).expect("ended");
    other.join().unwrap();
    let last = stream.record().expect("a fence");
    last.wait(&HostWait::of_device(Timeout::Infinite)).expect("done");
    drop((step, slots));
    opening.end();
}

/// Somebody destroys the set while its results are read and its steps given up: nobody else is in the way, as the calls say.
fn a_destroy_while_results_are_read() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 2, 1), opening.stream());
    let step = slots.begin(Timeout::Infinite).expect("a step");
    // SAFETY: four bytes.
    unsafe { step.write(0, 0, 4, [5u8; 4].as_ptr()) }.expect("written");
    let ticket = step.commit(&stream, &[]).expect("committed");
    let read_back = slots.read_back(ticket, 0, 0, ALL, &stream).expect("queued");
    let filling = slots.begin(Timeout::Infinite).expect("a step");
    opening.drain();
    let destroyer = thread::spawn({
        let slots = slots.clone();
        move || slots.destroy()
    });
    let told = [
        slots.begin_read(read_back, Timeout::Try).map(drop),
        slots.end_read(read_back),
        slots.abort_all(|_| {}).map(drop),
    ];
    for error in told.into_iter().filter_map(Result::err) {
        assert_eq!(error.status(), Status::ShutDown);
    }
    destroyer.join().unwrap();
    nothing_is_left(&opening);
    drop((step, filling, slots));
    opening.end();
}

/// Results are queued for reading while somebody destroys the set.
fn a_destroy_while_results_are_queued() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 1, 2), opening.stream());
    let block = Pool::create(&opening.device, PoolOptions::new(Placement::Uva, 4, 1)).expect("a pool");
    let lease = block.acquire(0, Timeout::Try).expect("a block");
    let step = slots.begin(Timeout::Infinite).expect("a step");
    write(&step, 5).expect("written");
    let ticket = step.commit(&stream, &[]).expect("committed");
    opening.drain();
    let destroyer = thread::spawn({
        let slots = slots.clone();
        move || slots.destroy()
    });
    let told = [
        slots.read_back(ticket, 0, 0, ALL, &stream),
        slots.read_back_block(ticket, &mut lease.enter().expect("a block"), Range { start: 0, end: 4 }, &stream),
    ];
    for error in told.into_iter().filter_map(Result::err) {
        assert_eq!(error.status(), Status::ShutDown);
    }
    destroyer.join().unwrap();
    lease.release().expect("released");
    block.destroy();
    drop((lease, block));
    nothing_is_left(&opening);
    drop((step, slots));
    opening.end();
}

/// A commit that is overtaken by a destroy does not have its consumers launched.
fn a_commit_that_a_destroy_overtakes() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 1, 0), opening.stream());
    let step = slots.begin(Timeout::Infinite).expect("a step");
    write(&step, 5).expect("written");
    let destroyer = thread::spawn({
        let slots = slots.clone();
        move || {
            slots.destroy();
            slots.stats().copies
        }
    });
    let committed = step.commit(&stream, &[]);
    let copies = destroyer.join().unwrap();
    assert!(copies > 0 || committed.is_err(), "the set had ended before anything was sent");
    nothing_is_left(&opening);
    drop((step, slots));
    opening.end();
}

/// A freeze that a destroy overtakes keeps no memory.
fn a_destroy_against_a_freeze() {
    let opening = Opening::new();
    let slots = unfrozen(&opening, 1, 0);
    let freezes = thread::spawn({
        let slots = slots.clone();
        move || slots.freeze().map_err(|error| error.status())
    });
    slots.destroy();
    if let Err(status) = freezes.join().unwrap() {
        assert_eq!(status, Status::ShutDown);
    }
    nothing_is_left(&opening);
    drop(slots);
    opening.end();
}

/// Somebody looks at a set that is destroyed.
fn a_destroy_against_a_look() {
    let opening = Opening::new();
    let (slots, stream) = (slots(&opening, 1, 0), opening.stream());
    let step = slots.begin(Timeout::Infinite).expect("a step");
    write(&step, 5).expect("written");
    step.commit(&stream, &[]).expect("committed");
    opening.drain();
    let looks = thread::spawn({
        let slots = slots.clone();
        move || drop(slots.describe())
    });
    slots.destroy();
    looks.join().unwrap();
    nothing_is_left(&opening);
    drop((step, slots));
    opening.end();
}

#[test]
fn every_plan() {
    check("the entry is used again", 1, 500, the_entry_is_used_again);
    check("copies and consumers on two streams", 0, 500, two_streams);
    check("two threads run steps", 1, 500, two_threads_run_steps);
    check("destroy at any moment", 1, 500, a_destroy_at_any_moment);
    check("all steps are given up", 1, 500, all_steps_are_given_up);
    check("a read-back", 0, 500, a_read_back);
    check("destroy while results are read", 2, 500, a_destroy_while_results_are_read);
    check("destroy while results are queued", 1, 500, a_destroy_while_results_are_queued);
    check("a commit that a destroy overtakes", 1, 500, a_commit_that_a_destroy_overtakes);
    check("destroy against a freeze", 2, 500, a_destroy_against_a_freeze);
    check("destroy against a look", 2, 500, a_destroy_against_a_look);
}

#[test]
fn without_a_check_some_plan_does_damage() {
    println!("{}", finds(Check::BeginWaits, 1, the_entry_is_used_again));
    println!("{}", finds(Check::CommitWaitsRetire, 1, two_streams));
    println!("{}", finds(Check::ConsumerWaits, 1, two_streams));
    println!("{}", finds(Check::StepOrder, 2, all_steps_are_given_up));
    println!("{}", finds(Check::ReadBackWaits, 1, a_read_back));
}
