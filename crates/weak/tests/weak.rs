//! The parts of the library that work without a lock, as they are in its sources, under loom: every interleaving, and every value
//! that a load may see by the C++ memory model (loom takes sequentially consistent accesses for acquire and release).
//!
//! Then each place that orders memory is made relaxed in turn, and some model must notice.

// Loom's threads are one thread of the system's.
#![allow(clippy::arc_with_non_send_sync)]

use gpubuf_weak::handles::Table;
use gpubuf_weak::known::Known;
use gpubuf_weak::sync::{self, AtomicBool, Ended, OneThread, Ordering, Site};
use loom::cell::UnsafeCell;
use loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Runs one model; says how many executions there were.
fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    builder.check({
        let count = count.clone();
        move || {
            count.fetch_add(1, Relaxed);
            model();
        }
    });
    count.load(Relaxed)
}

/// An object whose end must come behind every look at it.
struct Object {
    value: UnsafeCell<u32>,
    deaths: Arc<AtomicUsize>,
}

impl Object {
    fn new(value: u32, deaths: &Arc<AtomicUsize>) -> Object {
        Object { value: UnsafeCell::new(value), deaths: deaths.clone() }
    }

    fn value(&self) -> u32 {
        // SAFETY: loom looks whether anybody changes it at once.
        self.value.with(|value| unsafe { *value })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: as above.
        self.value.with_mut(|value| unsafe { *value = 0 });
        self.deaths.fetch_add(1, Relaxed);
    }
}

/// A table whose first places loom knows already.
fn table() -> Arc<Table<Object>> {
    let table = Arc::new(Table::new());
    for index in [0, 2, 4] {
        assert!(table.pin(index, 1).is_none());
    }
    table
}

/// One looks while another ends the handle.
fn a_pin_against_an_end() {
    let (table, deaths) = (table(), Arc::default());
    let (index, generation) = table.insert(Object::new(7, &deaths)).unwrap();
    let ender = thread::spawn({
        let table = table.clone();
        move || drop(table.remove(index, generation))
    });
    if let Some(pin) = table.pin(index, generation) {
        assert_eq!(pin.value(), 7);
    }
    ender.join().unwrap();
    assert!(table.pin(index, generation).is_none());
    assert_eq!(deaths.load(Relaxed), 1);
}

/// Two end one handle: it ends once.
fn two_ends() {
    let (table, deaths) = (table(), Arc::default());
    let (index, generation) = table.insert(Object::new(7, &deaths)).unwrap();
    let end =
        move |table: &Table<Object>| table.remove(index, generation).map(|pin| assert_eq!(pin.value(), 7)).is_some();
    let other = thread::spawn({
        let table = table.clone();
        move || end(&table)
    });
    let (mine, theirs) = (end(&table), other.join().unwrap());
    assert!(mine != theirs, "ended once");
    assert_eq!(deaths.load(Relaxed), 1);
}

/// A slot is given out again while somebody looks with the old handle, and somebody guesses the new one.
fn an_old_handle_and_a_guess() {
    let (table, deaths) = (table(), Arc::default());
    let (index, generation) = table.insert(Object::new(7, &deaths)).unwrap();
    let renewer = thread::spawn({
        let (table, deaths) = (table.clone(), deaths.clone());
        move || {
            drop(table.remove(index, generation));
            table.insert(Object::new(8, &deaths)).unwrap()
        }
    });
    if let Some(pin) = table.pin(index, generation) {
        assert_eq!(pin.value(), 7);
    }
    if let Some(pin) = table.pin(index, generation + 1) {
        assert_eq!(pin.value(), 8);
    }
    renewer.join().unwrap();
}

/// The table grows while somebody guesses a handle in the part that is new.
fn a_guess_while_the_table_grows() {
    let (table, deaths) = (table(), Arc::default());
    for value in 0..2 {
        table.insert(Object::new(value, &deaths)).unwrap();
    }
    let guesser = thread::spawn({
        let table = table.clone();
        move || {
            if let Some(pin) = table.pin(2, 1) {
                assert_eq!(pin.value(), 2);
            }
        }
    });
    assert_eq!(table.insert(Object::new(2, &deaths)).unwrap(), (2, 1));
    guesser.join().unwrap();
}

/// One walks over all objects while another ends one and makes one.
fn a_walk() {
    let (table, deaths) = (table(), Arc::default());
    let (index, generation) = table.insert(Object::new(7, &deaths)).unwrap();
    let other = thread::spawn({
        let (table, deaths) = (table.clone(), deaths.clone());
        move || {
            table.insert(Object::new(8, &deaths)).unwrap();
            drop(table.remove(index, generation));
        }
    });
    table.each(|object| assert!([7, 8].contains(&object.value())));
    other.join().unwrap();
    assert_eq!(deaths.load(Relaxed), 1);
}

/// A broken object is forgotten, whoever is last.
fn a_broken_object() {
    let (table, deaths) = (table(), Arc::default());
    let (index, generation) = table.insert(Object::new(7, &deaths)).unwrap();
    let pin = table.pin(index, generation).unwrap();
    let ender = thread::spawn({
        let table = table.clone();
        move || drop(table.remove(index, generation))
    });
    pin.mark_broken();
    drop(pin);
    ender.join().unwrap();
    assert_eq!(deaths.load(Relaxed), 0, "forgotten");
    let (again, next) = table.insert(Object::new(8, &deaths)).unwrap();
    assert_eq!((again, next), (index, generation + 1));
    assert!(!table.pin(again, next).unwrap().is_broken());
}

/// Whoever reads that a number is passed sees what the work wrote.
fn what_is_passed_is_seen() {
    let known = Arc::new(Known::default());
    let (event, data) = (Arc::new(AtomicBool::new(false)), Arc::new(UnsafeCell::new(0)));
    let device = thread::spawn({
        let (event, data) = (event.clone(), data.clone());
        move || {
            // SAFETY: loom looks whether anybody else is there.
            data.with_mut(|data| unsafe { *data = 7 });
            event.store(true, Ordering::Release);
        }
    });
    let prover = thread::spawn({
        let (known, event) = (known.clone(), event.clone());
        move || {
            if event.load(Ordering::Acquire) {
                known.pass(2);
            }
            // One that is behind, and knows no more than that.
            known.pass(1);
        }
    });
    if known.has_passed(2) {
        // SAFETY: as above.
        assert_eq!(data.with(|data| unsafe { *data }), 7);
    }
    device.join().unwrap();
    prover.join().unwrap();
}

/// Whoever reads that a number is passed knows whether it failed.
fn a_failure_is_never_missed() {
    let known = Arc::new(Known::default());
    let list = Arc::new(UnsafeCell::new(0));
    let prover = thread::spawn({
        let (known, list) = (known.clone(), list.clone());
        move || {
            // SAFETY: loom looks whether anybody else is there.
            list.with_mut(|list| unsafe { *list = 3 });
            known.note_failure();
            known.pass(3);
        }
    });
    if known.has_passed(3) {
        assert!(known.any_failed(), "passed, and its failure not seen");
    }
    if known.any_failed() {
        // SAFETY: as above.
        assert_eq!(list.with(|list| unsafe { *list }), 3);
    }
    prover.join().unwrap();
}

/// A value whose lock loom knows already.
fn one_thread(value: u32) -> Arc<OneThread<UnsafeCell<u32>>> {
    let one = Arc::new(OneThread::new(UnsafeCell::new(value)));
    assert!(one.enter().is_some());
    one
}

/// A user and two who look: nobody who only looks makes the user be told that there is another.
fn a_look_disturbs_nobody() {
    let one = one_thread(7);
    let lookers = [0, 1].map(|_| {
        let one = one.clone();
        // SAFETY: loom looks whether anybody changes it at once.
        thread::spawn(move || one.look(|value| assert!(value.with(|value| unsafe { *value }) >= 7)))
    });
    {
        let value = one.enter().expect("told to wait for somebody who only looks");
        // SAFETY: as above.
        value.with_mut(|value| unsafe { *value += 1 });
    }
    for looker in lookers {
        looker.join().unwrap();
    }
}

/// Two users: both are served, or one is told; never both inside.
fn two_users() {
    let one = one_thread(0);
    let inside = |one: &OneThread<UnsafeCell<u32>>| {
        // SAFETY: loom looks whether anybody else is there.
        one.enter().map(|value| value.with_mut(|value| unsafe { *value += 1 })).is_some()
    };
    let other = thread::spawn({
        let one = one.clone();
        move || inside(&one)
    });
    let (mine, theirs) = (inside(&one), other.join().unwrap());
    assert!(mine || theirs, "one of them was alone");
    let value = one.enter().expect("nobody is inside");
    // SAFETY: as above.
    assert_eq!(value.with(|value| unsafe { *value }), mine as u32 + theirs as u32);
}

/// One who looks behind others, one who looks, one who uses.
fn a_patient_look() {
    let one = one_thread(7);
    let looker = thread::spawn({
        let one = one.clone();
        // SAFETY: loom looks whether anybody changes it at once.
        move || one.look(|value| value.with(|value| unsafe { *value })).is_some()
    });
    // SAFETY: as above.
    let seen = one.look_behind_others(|value| value.with(|value| unsafe { *value }));
    assert_eq!(seen, Some(7), "nobody uses it: a look that waits for others sees it");
    looker.join().unwrap();
}

/// An object that can end, and a part of it that is there until somebody tidies up; loom knows the lock already.
fn ending() -> Arc<(Ended, sync::Mutex<bool>)> {
    let object = Arc::new((Ended::default(), sync::Mutex::new(true)));
    assert!(*object.1.lock());
    object
}

/// One ends an object while another works on its part: one of them tidies up.
fn the_last_one_out() {
    let object = ending();
    let tidy_up = |part: &sync::Mutex<bool>| {
        if let Some(mut is_there) = part.try_lock() {
            *is_there = false;
        }
    };
    let user = thread::spawn({
        let object = object.clone();
        move || {
            let (ended, part) = &*object;
            {
                let is_there = part.lock();
                assert!(*is_there || ended.has_ended(), "tidied up, and nobody knows why");
            }
            if ended.has_ended_by_now() {
                tidy_up(part);
            }
        }
    });
    object.0.end();
    tidy_up(&object.1);
    user.join().unwrap();
    assert!(!*object.1.lock(), "nobody tidied up");
}

/// Whoever finds the part locked by who ends the object knows that it has ended.
fn in_the_way_of_an_end() {
    let object = ending();
    let ender = thread::spawn({
        let object = object.clone();
        move || {
            object.0.end();
            drop(object.1.lock());
        }
    });
    if object.1.try_lock().is_none() {
        assert!(object.0.has_ended_by_now(), "who ends it was taken for a user");
    }
    ender.join().unwrap();
}

type Model = (&'static str, Option<usize>, fn());

const MODELS: &[Model] = &[
    ("handles: a pin against an end", None, a_pin_against_an_end),
    ("handles: two ends", None, two_ends),
    ("handles: an old handle and a guess", Some(2), an_old_handle_and_a_guess),
    ("handles: a guess while the table grows", None, a_guess_while_the_table_grows),
    ("handles: a walk", Some(2), a_walk),
    ("handles: a broken object", Some(3), a_broken_object),
    ("known: what is passed is seen", None, what_is_passed_is_seen),
    ("known: a failure is never missed", None, a_failure_is_never_missed),
    ("one thread: a look disturbs nobody", Some(2), a_look_disturbs_nobody),
    ("one thread: two users", Some(3), two_users),
    ("one thread: a patient look", Some(3), a_patient_look),
    ("ended: the last one out", None, the_last_one_out),
    ("ended: in the way of an end", None, in_the_way_of_an_end),
];

/// Sites that may be relaxed as far as these models see, and why that is so.
const NOT_SEEN: &[(&str, &str)] = &[
    ("compare_exchange(word, next, Ordering::AcqRel", "the pins that were taken back before it have ordered it"),
    ("fetch_update(Ordering::AcqRel, Ordering::Relaxed, dying)", "the pin that it is called with orders it"),
    ("let word = slot.word.load(Ordering::Acquire);", "only the number counts: the pin behind it looks again"),
    // Loom has a failed try of the lock read its newest state; a processor may have it read an older one.
    ("self.looks.load(Ordering::Acquire)", "an end of a look that is seen is behind its letting go"),
    ("self.looks.fetch_sub(1, Ordering::Release)", "as before"),
];

#[test]
fn weak_orders() {
    let mut sites: Vec<(Site, Vec<Model>)> = Vec::new();
    for model in MODELS {
        let (name, preemptions, body) = *model;
        let start = std::time::Instant::now();
        let executions = explore(preemptions, body);
        let bound = preemptions.map_or("no bound".into(), |bound| format!("up to {bound} preemptions"));
        println!("{name}: {executions} executions, {bound} ({:.1?})", start.elapsed());
        for site in sync::take_sites() {
            match sites.iter_mut().find(|(known, _)| *known == site) {
                Some((_, models)) => models.push(*model),
                None => sites.push((site, vec![*model])),
            }
        }
    }
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for (site, models) in &sites {
        sync::weaken(Some(*site));
        let noticed = models.iter().any(|model| catch_unwind(AssertUnwindSafe(|| explore(model.1, model.2))).is_err());
        sync::weaken(None);
        if !noticed {
            let (file, line, _) = *site;
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
            let text = std::fs::read_to_string(path).unwrap_or_default();
            unnoticed.push(text.lines().nth(line as usize - 1).unwrap_or("?").trim().to_string());
        }
    }
    std::panic::set_hook(silent);
    println!(
        "{} places that order memory, {} of which may be relaxed unnoticed: {unnoticed:#?}",
        sites.len(),
        unnoticed.len()
    );
    let strange: Vec<_> =
        unnoticed.iter().filter(|line| !NOT_SEEN.iter().any(|(known, _)| line.contains(known))).collect();
    assert!(strange.is_empty(), "no model needs the order in {strange:#?}: weaken it, or add a model");
}

#[test]
fn the_lock_here_orders() {
    let count = explore(None, || {
        let shared = Arc::new((sync::Mutex::new(0), sync::Guarded::new(0)));
        shared.0.lock();
        let add = |shared: &(sync::Mutex<u32>, sync::Guarded<u32>)| {
            let mut count = shared.0.lock();
            // SAFETY: loom looks whether anybody else is there.
            unsafe { *shared.1.write() += 1 };
            *count += 1;
        };
        let other = thread::spawn({
            let shared = shared.clone();
            move || add(&shared)
        });
        add(&shared);
        other.join().unwrap();
        assert_eq!(*shared.0.lock(), 2);
    });
    println!("the lock: {count} executions");
}
