//! Workspaces: one buffer for one name, free ones from holder to holder, and limits that are never passed.

mod common;
#[path = "common/workspaces.rs"]
mod workspaces;

use common::{busy, called_on, device, hold, kit, kit_of, ran, read_device, release, status, stream};
use gpubuf::backend::{Capability, Finding};
use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement, TIMEOUT_INFINITE, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Name, Timeline, Which};
use gpubuf::graph::GraphHold;
use gpubuf::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use gpubuf::workspace::{Content, EntryState, Held, Source, Spec, Workspace};
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;
use workspaces::{TRY, is, number, set, spec, workspace};

/// Longer than anything here takes: who is to be told at once fails with it, and does not hang.
const LONG: Timeout = Timeout::Within(Duration::from_secs(20));

#[test]
fn a_name_stands_for_one_buffer_of_one_spec() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let ids = workspace.get("ids", &spec(64), TRY).expect("a buffer");
    assert!(is(&ids, 0), "made zeroed");
    set(&ids, 7);
    let again = workspace.get("ids", &spec(64), TRY).expect("the same");
    assert!(Arc::ptr_eq(&ids, &again));
    assert!(Arc::ptr_eq(&ids, &workspace.find("ids", TRY).expect("the same")));
    for prefix in ["id", "ids2", "i"] {
        assert_eq!(status(workspace.find(prefix, TRY)), Status::NotFound, "{prefix} is another name");
    }
    let refused = workspace.get("ids", &spec(65), TRY).map(drop).expect_err("another shape");
    assert_eq!(refused.status(), Status::Exists);
    assert!(refused.message().contains("its shape is [64], not [65]"), "{}", refused.message());
    drop((ids, again));
    assert!(is(&workspace.find("ids", TRY).expect("it stays"), 7), "and so does its content");
    assert_eq!(status(workspace.get("", &spec(64), TRY)), Status::InvalidArgument);
    assert_eq!(status(workspace.get(&"n".repeat(256), &spec(64), TRY)), Status::InvalidArgument);
}

#[test]
fn a_stream_that_cannot_zero_it_gets_no_buffer() {
    let (device, other) = (device(), device());
    let workspace = workspace(&device, 0, 0);
    let (stranger, captures) = (stream(&other), stream(&device));
    kit(&captures).begin_capture().expect("a capture");
    for (stream, answer) in [(&stranger, Status::WrongDevice), (&captures, Status::Capturing)] {
        let refused = workspace.allocate(&spec(64), Content::Zeroes(Some(stream)), TRY);
        assert_eq!(status(refused), answer, "also where what is made is zero");
    }
    assert_eq!(status(workspace.sync_all(&stranger)), Status::WrongDevice, "also where there is nothing to sync");
    kit(&captures).end_capture().expect("its end");
}

#[test]
fn what_a_graph_holds_is_not_given_back() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let held = workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer");
    let graph = GraphHold::create(&device, "").expect("a hold");
    graph.add((*held).clone(), Some(TRY)).expect("held");
    assert_eq!(status(held.expect_releasable_to(&*workspace)), Status::GraphHeld);
    drop(graph);
    assert_eq!(status(held.expect_releasable_to(&*workspace)), Status::Ok);
}

#[test]
fn a_name_that_was_released_is_free_at_once_and_its_memory_after_its_last_holder() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let old = workspace.get("table", &spec(64), TRY).expect("a buffer");
    workspace.release_name("table").expect("released");
    assert_eq!(status(workspace.release_name("table")), Status::NotFound);
    let new = workspace.get("table", &spec(128), TRY).expect("of another spec");
    let other = workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer");
    assert_ne!(number(&other), number(&old), "held");
    let was = number(&old);
    drop(old);
    assert_eq!(number(&workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer")), was);
    drop(new);
    workspace.release_name("table").expect("nobody holds it");
    let free = workspace.stats();
    assert_eq!((free.named_entries, free.held_entries, free.free_entries), (0, 1, 2));
}

#[test]
fn what_is_free_longest_and_idle_is_reused() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let three: Vec<Held> =
        (0..3).map(|_| workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer")).collect();
    let [a, b, c] = [0, 1, 2].map(|i| number(&three[i]));
    let shut = stream(&device);
    hold(&shut);
    three[1].copy(true, 0, ALL, &shut, None).expect("a copy");
    let mut three = three.into_iter();
    let (one, two, three) = (three.next(), three.next(), three.next());
    drop(two);
    drop(three);
    drop(one);
    let first = workspace.allocate(&spec(64), Content::Any, TRY).expect("idle");
    let second = workspace.allocate(&spec(64), Content::Any, TRY).expect("idle");
    assert_eq!((number(&first), number(&second)), (c, a), "the one in flight is left out, the rest in their order");
    let third = workspace.allocate(&spec(64), Content::Any, TRY).expect("a new one");
    assert!(![a, b, c].contains(&number(&third)), "one in flight is not waited for where there is room");
    release(&shut);
    assert_eq!(number(&workspace.allocate(&spec(64), Content::Any, TRY).expect("done")), b);
    assert_eq!(workspace.stats().reused, 3);
}

#[test]
fn reuse_waits_for_kernels_on_streams_that_the_last_holder_named() {
    let device = device();
    let workspace = workspace(&device, 1, 0);
    let shut = stream(&device);
    let first = workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer");
    first.device_address(std::slice::from_ref(&shut)).expect("an address");
    hold(&shut);
    busy(&shut);
    let was = number(&first);
    drop(first);
    assert_eq!(status(workspace.allocate(&spec(64), Content::Any, TRY)), Status::Busy);
    release(&shut);
    let second = workspace.allocate(&spec(64), Content::Any, TRY).expect("idle");
    assert_eq!(number(&second), was);
    // The streams of the last holder have no part in it any more.
    hold(&shut);
    busy(&shut);
    set(&second, 1);
    release(&shut);
}

#[test]
fn zeroing_is_fenced() {
    let device = device();
    let workspace = workspace(&device, 1, 0);
    let user = stream(&device);
    let first = workspace.allocate(&spec(64), Content::Zeroes(Some(&user)), TRY).expect("a buffer");
    assert!(is(&first, 0));
    set(&first, 9);
    first.copy(true, 0, ALL, &user, None).expect("a copy");
    hold(&user);
    busy(&user);
    first.used_on(&user, Access::Read).expect("declared");
    drop(first);
    assert_eq!(status(workspace.allocate(&spec(64), Content::Zeroes(None), TRY)), Status::InvalidArgument, "no stream");
    let zeroes = || Content::Zeroes(Some(&user));
    assert_eq!(status(workspace.allocate(&spec(64), zeroes(), TRY)), Status::Busy, "the bytes are still read");
    release(&user);
    let second = workspace.allocate(&spec(64), zeroes(), TRY).expect("a buffer");
    let address = second.device_address(std::slice::from_ref(&user)).expect("an address");
    common::ran(&user);
    assert!(is(&second, 0) && read_device(&device, address, 64) == [0; 64]);
}

#[test]
fn limits_evict_what_is_free_longest_and_refuse_what_is_held() {
    let device = device();
    let limited = workspace(&device, 3, 1000);
    let a = limited.get("a", &spec(100), TRY).expect("200 bytes");
    drop(limited.get("b", &spec(100), TRY).expect("200 bytes"));
    drop(limited.get("c", &spec(100), TRY).expect("200 bytes"));
    drop(limited.find("b", TRY).expect("b is younger than c now"));
    drop(limited.get("d", &spec(100), TRY).expect("200 bytes"));
    assert_eq!(status(limited.find("c", TRY)), Status::NotFound, "three entries are the most");
    let wide = limited.get("wide", &spec(400), TRY).expect("800 bytes");
    assert_eq!(status(limited.find("b", TRY)), Status::NotFound, "1000 bytes are the most");
    assert_eq!(status(limited.find("d", TRY)), Status::NotFound);
    let refused = limited.get("e", &spec(1), TRY).map(drop).expect_err("everything is held");
    assert_eq!(refused.status(), Status::Budget);
    drop(wide);
    assert_eq!(status(limited.get("e", &spec(501), TRY)), Status::Budget, "never fits");
    assert!(limited.find("wide", TRY).is_ok(), "what would not have been enough stays");
    let stats = limited.stats();
    assert_eq!((stats.entries, stats.bytes, stats.peak_bytes), (2, 1000, 1000));
    assert_eq!((stats.evicted, stats.refused), (3, 2));
    drop(a);
}

#[test]
fn what_is_in_flight_is_waited_for_before_it_makes_room() {
    let device = device();
    let limited = workspace(&device, 1, 0);
    let shut = stream(&device);
    let buffer = limited.get("a", &spec(64), TRY).expect("a buffer");
    hold(&shut);
    buffer.copy(true, 0, ALL, &shut, None).expect("a copy");
    drop(buffer);
    assert_eq!(status(limited.get("b", &spec(32), TRY)), Status::Busy);
    assert!(limited.find("a", TRY).is_ok(), "a wait that failed changed nothing");
    release(&shut);
    assert!(limited.get("b", &spec(32), TRY).is_ok());
    assert_eq!(status(limited.find("a", TRY)), Status::NotFound);
}

/// A stream that captures when the holder ends has no fence then: it has one when the entry is to make room.
#[test]
fn a_stream_that_captured_when_its_holder_ended_is_waited_for() {
    let device = device();
    let limited = workspace(&device, 1, 0);
    let shut = stream(&device);
    let buffer = limited.get("a", &spec(64), TRY).expect("a buffer");
    buffer.device_address(std::slice::from_ref(&shut)).expect("an address");
    kit(&shut).begin_capture().expect("a capture");
    drop(buffer);
    kit(&shut).end_capture().expect("its end");
    hold(&shut);
    busy(&shut);
    assert_eq!(status(limited.get("b", &spec(32), TRY)), Status::Busy);
    release(&shut);
    assert!(limited.get("b", &spec(32), TRY).is_ok());
}

#[test]
fn what_cannot_be_reused_leaves_when_its_holder_ends() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let sealed = workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer");
    sealed.device_address(&[]).expect("an address");
    assert_eq!(status(sealed.expect_releasable_to(&*workspace)), Status::Unfenced);
    let guarded = workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer");
    guarded.begin(Access::Read, 0, 1, TRY).expect("a guard");
    assert_eq!(status(guarded.expect_releasable_to(&*workspace)), Status::Busy);
    let named = workspace.get("named", &spec(64), TRY).expect("a buffer");
    named.device_address(&[]).expect("an address");
    drop((sealed, guarded, named));
    let stats = workspace.stats();
    assert_eq!((stats.entries, stats.retired), (1, 2), "a name keeps its buffer");
    let named = workspace.find("named", TRY).expect("the named one");
    named.used_on(&stream(&device), Access::Read).expect("declared after all");
    drop(named);
    assert_eq!(workspace.clear().expect("cleared"), (1, 0));
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(device.counters.pinned_bytes.get(), 0, "nothing is lost");
}

/// A release that is let through because another holds the entry, too, counts for the other at once.
#[test]
fn the_last_of_two_releases_is_refused_whichever_ends_first() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let one = workspace.get("sealed", &spec(64), TRY).expect("a buffer");
    let two = workspace.find("sealed", TRY).expect("the same");
    one.device_address(&[]).expect("an address");
    for _ in 0..2 {
        assert_eq!(status(one.expect_releasable_to(&*workspace)), Status::Ok, "the other holds it");
        assert_eq!(status(two.expect_releasable_to(&*workspace)), Status::Unfenced, "the other is about to end");
    }
    drop(one);
    assert_eq!(status(two.expect_releasable_to(&*workspace)), Status::Unfenced);
    let three = workspace.find("sealed", TRY).expect("the same");
    assert_eq!(status(two.expect_releasable_to(&*workspace)), Status::Ok, "another has come");
    drop(two);
    assert_eq!(status(three.expect_releasable_to(&*workspace)), Status::Unfenced);
    three.used_on(&stream(&device), Access::Read).expect("declared");
    assert_eq!(status(three.expect_releasable_to(&*workspace)), Status::Ok);
}

#[test]
fn clear_leaves_what_is_held_and_destroy_lets_it_end() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let kept = workspace.get("kept", &spec(64), TRY).expect("a buffer");
    drop(workspace.get("free", &spec(64), TRY));
    drop(workspace.allocate(&spec(32), Content::Any, TRY));
    assert_eq!(workspace.clear().expect("cleared"), (2, 1));
    set(&kept, 3);
    workspace.destroy();
    assert_eq!(status(workspace.find("kept", TRY)), Status::ShutDown);
    assert!(is(&kept, 3), "still its holder's");
    drop(kept);
    assert_eq!(workspace.stats().entries, 0);
    device.maintain();
    assert_eq!(device.counters.pinned_bytes.get(), 0);
}

#[test]
fn a_buffer_that_could_not_be_made_leaves_no_trace() {
    let device = device();
    let workspace = workspace(&device, 2, 0);
    kit_of(&device).limit_memory(Placement::Device, 0).expect("a limit");
    assert_eq!(status(workspace.get("a", &spec(64), TRY)), Status::OutOfDeviceMemory);
    assert_eq!(status(workspace.allocate(&spec(64), Content::Any, TRY)), Status::OutOfDeviceMemory);
    let stats = workspace.stats();
    assert_eq!((stats.entries, stats.bytes, stats.named_entries), (0, 0, 0));
    kit_of(&device).limit_memory(Placement::Device, 1 << 30).expect("a limit");
    assert!(workspace.get("a", &spec(64), TRY).is_ok());
}

#[test]
fn a_workspace_may_end_while_it_makes_an_entry() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    // Called back where memory is made: what was borrowed goes back first.
    let ends = workspace.clone();
    let mut memory = vec![0u8; 64];
    let mut lent = common::pair_of(64);
    lent.host = Placement::Pageable;
    lent.host_memory = memory.as_mut_ptr();
    lent.release = Some(Box::new(move || ends.destroy()));
    let user = stream(&device);
    let borrowed = common::buffer(&device, lent);
    borrowed.copy(true, 0, ALL, &user, None).expect("a copy");
    drop(borrowed);
    common::ran(&user);
    assert_eq!(status(workspace.get("late", &spec(64), TRY)), Status::ShutDown);
    assert_eq!(workspace.stats().entries, 0, "its place was given up");
}

#[test]
fn the_list_says_what_is_the_case() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let shut = stream(&device);
    let a = workspace.get("a", &spec(64), TRY).expect("a buffer");
    let _again = workspace.get("a", &spec(64), TRY).expect("a buffer");
    let b = workspace.allocate(&spec(32), Content::Any, TRY).expect("a buffer");
    drop(workspace.get("c", &spec(16), TRY));
    hold(&shut);
    b.copy(true, 0, ALL, &shut, None).expect("a copy");
    let list = workspace.list().expect("a list");
    let seen: Vec<_> = list.iter().map(|e| (e.name.as_str(), e.spec.bytes(), e.state, e.holders, e.uses)).collect();
    use EntryState::{Allocated, Free, InUse};
    assert_eq!(seen, [("a", 128, Allocated, 2, 2), ("", 64, InUse, 1, 1), ("c", 32, Free, 0, 1)]);
    assert!(list[0].last_use < list[1].last_use && list[1].last_use < list[2].last_use);
    release(&shut);
    assert_eq!(workspace.list().expect("a list")[1].state, Allocated, "the copy is done");
    drop(a);
}

#[test]
fn what_is_newer_anywhere_is_synced() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let user = stream(&device);
    let a = workspace.get("a", &spec(64), TRY).expect("a buffer");
    let b = workspace.allocate(&spec(32), Content::Any, TRY).expect("a buffer");
    let _untouched = workspace.get("c", &spec(16), TRY).expect("a buffer");
    set(&a, 1);
    set(&b, 2);
    let state = |entry: usize| workspace.list().expect("a list")[entry].state;
    assert_eq!((state(0), state(1), state(2)), (EntryState::Staged, EntryState::Staged, EntryState::Allocated));
    let (_, token) = a.begin(Access::Write, 0, 1, TRY).expect("a guard");
    assert_eq!(status(workspace.sync_all(&user)), Status::Busy, "one is being written");
    common::ran(&user);
    assert_eq!((state(0), state(1)), (EntryState::InUse, EntryState::Allocated), "the other one is done");
    a.end(Access::Write, token).expect("an end");
    assert_eq!(workspace.sync_all(&user).expect("synced"), 1);
    common::ran(&user);
    assert_eq!(state(0), EntryState::Allocated);
    let address = a.device_address(std::slice::from_ref(&user)).expect("an address");
    assert_eq!(read_device(&device, address, 64), [1; 64]);
    assert_eq!(workspace.sync_all(&user).expect("nothing to do"), 0);
}

#[test]
fn a_next_holder_has_nothing_newer_of_the_last() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    set(&workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer"), 1);
    let _next = workspace.allocate(&spec(64), Content::Any, TRY).expect("the same");
    assert_eq!(workspace.stats().reused, 1);
    assert_eq!(workspace.sync_all(&stream(&device)).expect("nothing to do"), 0);
}

#[test]
fn views_hold_what_they_are_of_and_shapes_stay() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let whole = workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer");
    assert_eq!(status(whole.resizable().map(drop)), Status::Unsupported);
    let view = whole.with(whole.slice(8, 8).expect("a view"));
    let was = number(&whole);
    drop(whole);
    assert_ne!(number(&workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer")), was, "the view holds it");
    drop(view);
    let two = [0, 1].map(|_| workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer"));
    assert!(two.iter().any(|held| number(held) == was));
    assert_eq!(workspace.stats().made, 2);
}

/// A source over another one, as tiers of memory will be: it counts what is out.
struct Counting {
    inner: Arc<dyn Source>,
    out: Arc<AtomicU64>,
    lent: gpubuf::sync::Mutex<BTreeMap<u64, Held>>,
}

impl Source for Counting {
    fn take(self: Arc<Self>, spec: &Spec, timeout: Timeout) -> Result<Held> {
        let held = self.inner.clone().take(spec, timeout)?;
        let (buffer, number) = (Arc::clone(&held), held.name().number());
        self.out.fetch_add(1, Ordering::SeqCst);
        self.lent.lock().insert(number, held);
        Ok(Held::new(buffer, self, number))
    }

    fn name(&self) -> &Name {
        self.inner.name()
    }

    fn device(&self) -> &Arc<Device> {
        self.inner.device()
    }

    fn share(&self, _: u64) {}

    fn is_last(&self, _: u64) -> bool {
        true
    }

    fn take_back(&self, number: u64) {
        self.out.fetch_sub(1, Ordering::SeqCst);
        let held = self.lent.lock().remove(&number);
        drop(held);
    }
}

#[test]
fn who_needs_memory_need_not_know_its_source() {
    fn two_of(source: &Arc<dyn Source>) -> Result<[Held; 2]> {
        Ok([source.clone().take(&spec(64), TRY)?, source.clone().take(&spec(64), TRY)?])
    }
    let device = device();
    let plain = workspace(&device, 0, 0);
    let out = Arc::new(AtomicU64::new(0));
    let counting = Counting { inner: plain.clone(), out: out.clone(), lent: Default::default() };
    let sources: [Arc<dyn Source>; 2] = [plain.clone(), Arc::new(counting)];
    for source in &sources {
        let [one, two] = two_of(source).expect("two buffers");
        assert_ne!(number(&one), number(&two));
        drop((one, two));
    }
    assert_eq!(out.load(Ordering::SeqCst), 0);
    let stats = plain.stats();
    assert_eq!((stats.made, stats.reused, stats.held_entries), (2, 2, 0), "both took from the same two");
}

/// Somebody else's request looks for room: it may wait for the work on a named entry, but what is newer there stays newer.
#[test]
fn a_named_entry_that_stays_keeps_what_is_newer_where() {
    let device = device();
    let (one, other) = (stream(&device), stream(&device));
    let workspace = workspace(&device, 0, 256);
    let x = workspace.get("x", &spec(64), TRY).expect("a buffer");
    set(&x, 7);
    hold(&one);
    x.copy(true, 0, 32, &one, None).expect("half of it goes up");
    let newer = |buffer: &Buffer| buffer.look(|block| block.newer_bytes(Which::Host)).expect("nobody is inside");
    assert_eq!(newer(&x), 32);
    drop(x);
    let y = workspace.get("y", &spec(64), TRY).expect("a buffer");
    hold(&other);
    y.copy(true, 0, ALL, &other, None).expect("a copy");
    drop(y);
    release(&one);
    // Both would have to go: x is waited for, which is over at once, and y is in use.
    assert_eq!(status(workspace.allocate(&spec(128), Content::Any, TRY)), Status::Busy);
    let x = workspace.find("x", TRY).expect("it stays");
    let kept = newer(&x);
    x.sync(None, &one, None).expect("a sync");
    ran(&one);
    let address = x.device_address(std::slice::from_ref(&one)).expect("an address");
    let seen = read_device(&device, address, 64);
    release(&other);
    assert_eq!((kept, &seen[32..]), (32, &[7u8; 32][..]), "the device has what the host wrote");
}

/// The same, by a report that is written all the time. No call may be refused, nor be left waiting with nobody to wake it.
#[test]
fn reports_disturb_nobody_who_needs_room() {
    let device = device();
    let workspace = workspace(&device, 1, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let reporters: Vec<_> = (0..2)
        .map(|_| {
            let (stop, device) = (stop.clone(), device.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    device.members().iter().for_each(|member| drop(member.record()));
                }
            })
        })
        .collect();
    let (mut refused, mut late) = (Vec::new(), 0);
    for round in 0..4_000u64 {
        let asked = spec(64 << (round % 2));
        match workspace.allocate(&asked, Content::Any, Timeout::Within(Duration::from_secs(20))) {
            Ok(held) => drop(held),
            Err(error) if error.status() == Status::Timeout => late += 1,
            Err(error) => refused.push(error.status()),
        }
        if !refused.is_empty() || late > 0 {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    reporters.into_iter().for_each(|reporter| reporter.join().expect("a reporter"));
    assert!(refused.is_empty() && late == 0, "refused {refused:?}, left waiting {late} times");
}

/// A workspace of one entry, which a thread has claimed, and waits for the stream to have it.
fn claimed(shut: &Arc<Timeline>) -> (Arc<Workspace>, JoinHandle<Held>) {
    let workspace = workspace(shut.device(), 1, 0);
    let held = workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer");
    hold(shut);
    held.copy(true, 0, ALL, shut, None).expect("a copy");
    drop(held);
    let claims = std::thread::spawn({
        let workspace = workspace.clone();
        move || workspace.allocate(&spec(64), Content::Any, Timeout::Infinite).expect("the same buffer")
    });
    while workspace.list().expect("a list").iter().any(|entry| entry.state != EntryState::InUse) {
        std::thread::yield_now();
    }
    (workspace, claims)
}

/// Whoever waits for a thread to be done with an entry hears of it when that thread keeps the entry.
#[test]
fn who_waits_for_a_claimed_entry_is_told_when_it_is_held() {
    for timeout in [LONG, Timeout::Infinite] {
        let device = device();
        let timeline = stream(&device);
        let (workspace, first) = claimed(&timeline);
        let asks = Arc::new(AtomicBool::new(false));
        let second = std::thread::spawn({
            let (workspace, asks) = (workspace.clone(), asks.clone());
            move || {
                asks.store(true, Ordering::SeqCst);
                status(workspace.allocate(&spec(128), Content::Any, timeout))
            }
        });
        while !asks.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // Time to wait, which it need not use: it is told the same afterwards.
        (0..10_000).for_each(|_| std::thread::yield_now());
        release(&timeline);
        let kept = first.join().expect("the first");
        let told = second.join().expect("the second");
        drop(kept);
        assert_eq!(told, Status::Budget, "what would have to go is held");
    }
}

#[test]
fn a_function_on_a_stream_does_not_wait_for_a_claimed_entry() {
    let device = device();
    let (shut, timeline) = (stream(&device), stream(&device));
    let (workspace, first) = claimed(&shut);
    let told = called_on(&timeline, || status(workspace.allocate(&spec(128), Content::Any, LONG)));
    assert_eq!(told, Status::WouldDeadlock, "the other thread may wait for this stream");
    release(&shut);
    drop(first.join().expect("the first"));
}

/// A uva buffer that stands in is as good for the next holder as any other, and counts with both its sides.
#[test]
fn a_buffer_that_stands_in_is_reused_and_counts_with_both_sides() {
    let device = device();
    kit_of(&device).set_uva_stale(true).expect("a switch");
    let found = device.probe(device.timeout(TIMEOUT_INFINITE)).expect("a probe");
    let limited = workspace(&device, 0, 128);
    let uva =
        Spec::new(Dtype::U8, Shape::new(&[64]).expect("a shape"), Placement::Uva, Placement::None).expect("a spec");
    for _ in 0..3 {
        drop(limited.allocate(&uva, Content::Any, TRY).expect("a buffer"));
    }
    let (stats, bytes) = (limited.stats(), limited.list().expect("a list")[0].bytes);
    let narrow = status(workspace(&device, 0, 127).allocate(&uva, Content::Any, TRY));
    kit_of(&device).set_uva_stale(false).expect("a switch");
    assert_eq!(found.answer(Capability::SeesHostWrites).finding, Finding::No);
    assert_eq!((stats.made, stats.reused, stats.retired), (1, 2, 0), "{stats:?}");
    assert_eq!((stats.bytes, bytes, narrow), (128, 128, Status::Budget));
}

/// However many free buffers work still uses, one that nothing uses is found.
#[test]
fn an_idle_buffer_is_found_behind_many_that_are_in_use() {
    let device = device();
    let (shut, open) = (stream(&device), stream(&device));
    let workspace = workspace(&device, 9, 0);
    let all: Vec<_> = (0..9).map(|_| workspace.allocate(&spec(64), Content::Any, TRY).expect("a buffer")).collect();
    hold(&shut);
    for (place, held) in all.iter().enumerate() {
        held.copy(true, 0, ALL, if place < 8 { &shut } else { &open }, None).expect("a copy");
    }
    ran(&open);
    drop(all);
    let got = status(workspace.allocate(&spec(64), Content::Any, TRY));
    release(&shut);
    assert_eq!(got, Status::Ok, "the ninth is idle");
}
