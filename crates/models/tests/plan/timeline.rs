//! Fences: a proof is never early, a failure is never missed, an event that somebody waits for is never recorded again.

use gpubuf_models::config::{Placement, Timeout};
use gpubuf_models::device::Opening;
use gpubuf_models::fence::{Fence, HostWait, Proof, Timeline};
use gpubuf_models::plan::check;
use gpubuf_models::sync::Arc;
use shuttle::thread;

/// Work that sets a byte, and its fence.
fn set(stream: &Arc<Timeline>, address: u64, value: u8) -> Fence {
    let mut submission = stream.submission();
    // SAFETY: the models end after all work is done.
    unsafe { submission.fill(address, 1, value as u64, 1) }.expect("queued");
    submission.finish().expect("a fence")
}

fn wait(fence: &Fence) -> Proof {
    fence.wait(&HostWait::of_device(Timeout::Infinite)).expect("proven")
}

/// Memory that goes at the end.
fn with_memory(body: impl FnOnce(&Opening, u64)) {
    let opening = Opening::new();
    let memory = opening.device.backend().allocate(Placement::Device, 8).expect("memory");
    body(&opening, memory.device);
    opening.drain();
    // SAFETY: everything is done.
    unsafe { opening.device.backend().free(memory) };
    opening.end();
}

/// Two threads put work on one stream and fence it, one event being made ahead: numbers, records and proofs overlap.
fn two_threads_fence_one_stream() {
    with_memory(|opening, memory| {
        let stream = opening.stream();
        let other = thread::spawn({
            let (stream, shared) = (stream.clone(), opening.shared.clone());
            move || {
                let fence = set(&stream, memory, 1);
                assert_eq!(wait(&fence), Proof::Complete);
                assert_eq!(shared.byte_at(memory), 1, "proven before it was done");
            }
        });
        let fence = set(&stream, memory + 1, 2);
        stream.poll();
        if fence.is_known() {
            assert_eq!(opening.shared.byte_at(memory + 1), 2, "known before it was done");
        }
        assert_eq!(wait(&fence), Proof::Complete);
        assert_eq!(opening.shared.byte_at(memory + 1), 2, "proven before it was done");
        other.join().unwrap();
    });
}

/// One copy fails; whoever asks about its fence, in whatever order it was passed, hears that.
fn a_failure_is_heard() {
    with_memory(|opening, memory| {
        let stream = opening.stream();
        opening.shared.faults.copy.set(1);
        let mut submission = stream.submission();
        // SAFETY: the models end after all work is done.
        unsafe { submission.copy(memory, memory + 4, 2) }.expect("queued");
        let failing = submission.finish().expect("a fence");
        let other = thread::spawn({
            let (stream, failing) = (stream.clone(), failing.clone());
            move || {
                let later = stream.record().expect("a fence");
                wait(&later);
                assert_eq!(failing.look_up(), Some(Proof::Failed), "passed with a later one");
            }
        });
        stream.poll();
        let looked = failing.look_up();
        assert!(looked != Some(Proof::Complete), "it failed");
        assert_eq!(wait(&failing), Proof::Failed);
        other.join().unwrap();
        assert!(stream.synchronize(Timeout::Infinite).is_err(), "told by the stream");
    });
}

/// The record of a copy that fails may come behind one with a later number: it is not passed with that. And before one with an
/// earlier number, which keeps it from its turn: whoever waits for it hears of it all the same.
fn a_failure_is_heard_whatever_is_recorded_when(wait_at_once: bool) {
    with_memory(|opening, memory| {
        let stream = opening.stream();
        opening.shared.faults.copy.set(1);
        let other = thread::spawn({
            let stream = stream.clone();
            move || wait(&stream.record().expect("a fence"))
        });
        let mut submission = stream.submission();
        // SAFETY: the models end after all work is done.
        unsafe { submission.copy(memory, memory + 4, 2) }.expect("queued");
        let failing = submission.finish().expect("a fence");
        if wait_at_once {
            assert_eq!(wait(&failing), Proof::Failed);
        }
        other.join().unwrap();
        assert_eq!(wait(&failing), Proof::Failed);
        assert!(stream.synchronize(Timeout::Infinite).is_err(), "told by the stream");
    });
}

/// One stream waits for another, while the event it waits for goes back to its pool and is recorded again.
fn a_wait_while_events_are_used_again() {
    with_memory(|opening, memory| {
        let (first, second) = (opening.stream(), opening.stream());
        let fence = set(&first, memory, 1);
        let other = thread::spawn({
            let first = first.clone();
            move || {
                first.poll();
                set(&first, memory + 1, 2)
            }
        });
        second.wait_for(&fence).expect("ordered");
        let mut submission = second.submission();
        // SAFETY: as above.
        unsafe { submission.copy(memory + 4, memory, 1) }.expect("queued");
        wait(&submission.finish().expect("a fence"));
        assert_eq!(opening.shared.byte_at(memory + 4), 1, "copied before it was written");
        other.join().unwrap();
    });
}

/// Once a fence is proven, whoever asks again hears so, though the event of a later one is all that is left to ask.
fn what_is_proven_stays_so() {
    with_memory(|opening, memory| {
        let stream = opening.stream();
        let other = thread::spawn({
            let stream = stream.clone();
            move || {
                wait(&stream.record().expect("a fence"));
                let later = set(&stream, memory + 1, 2);
                stream.poll();
                later
            }
        });
        let fence = set(&stream, memory, 1);
        if fence.query() == Proof::Complete {
            assert_eq!(fence.query(), Proof::Complete, "pending again");
        }
        wait(&other.join().unwrap());
        assert_eq!(wait(&fence), Proof::Complete);
    });
}

#[test]
fn every_plan() {
    check("two threads fence one stream", 1, 500, two_threads_fence_one_stream);
    check("a failure is heard", 1, 500, a_failure_is_heard);
    check("a failure is heard behind a later record", 2, 20_000, || {
        a_failure_is_heard_whatever_is_recorded_when(false);
    });
    check("a failure is heard before an earlier record", 2, 500, || {
        a_failure_is_heard_whatever_is_recorded_when(true);
    });
    check("a wait while events are used again", 1, 500, a_wait_while_events_are_used_again);
    check("what is proven stays so", 2, 100_000, what_is_proven_stays_so);
}
