//! Events.

mod common;
use common::*;

#[test]
fn a_never_recorded_event_is_complete() {
    let _session = session();
    let cuda = cuda();
    let (event, stream) = (event(), side_stream());
    ok(cuda.cuEventQuery(event));
    ok(cuda.cuEventSynchronize(event));
    ok(cuda.cuStreamWaitEvent(stream, event, 0));
    ok(cuda.cuStreamSynchronize(stream));
}

#[test]
fn an_event_is_pending_until_its_stream_comes_to_it() {
    let _session = session();
    let cuda = cuda();
    let (event, stream, target) = (event(), side_stream(), device_memory(64));
    hold(stream);
    ok(cuda.cuMemsetD8Async(target, 3, 64, stream));
    ok(cuda.cuEventRecordWithFlags(event, stream, 0));
    assert_eq!(cuda.cuEventQuery(event), 600);
    release(stream);
    ok(cuda.cuEventSynchronize(event));
    ok(cuda.cuEventQuery(event));
    assert_eq!(fetch(target, 64), [3; 64]);
}

#[test]
fn streams_wait_for_the_record_that_was_the_newest() {
    let _session = session();
    let cuda = cuda();
    let (event, first, second, waiting) = (event(), side_stream(), side_stream(), side_stream());
    hold(first);
    hold(second);
    ok(cuda.cuEventRecord(event, first));
    ok(cuda.cuStreamWaitEvent(waiting, event, 0));
    ok(cuda.cuEventRecord(event, second));
    release(first);
    ok(cuda.cuStreamSynchronize(waiting));
    assert_eq!(cuda.cuEventQuery(event), 600);
    release(second);
    ok(cuda.cuEventSynchronize(event));
}

#[test]
fn events_of_other_contexts_may_be_waited_for_and_not_recorded() {
    let _session = session();
    let cuda = cuda();
    let (event, stream) = (event(), side_stream());
    let other = made(|context| cuda.cuCtxCreate_v2(context, 0, 1));
    let theirs = side_stream();
    assert_eq!(cuda.cuEventRecord(event, theirs), 400);
    assert_eq!(cuda.cuEventRecord(event, 0), 400);
    hold(stream);
    ok(cuda.cuEventRecord(event, stream));
    ok(cuda.cuStreamWaitEvent(theirs, event, 0));
    assert_eq!(cuda.cuStreamQuery(theirs), 600);
    assert_eq!(cuda.cuEventQuery(event), 600);
    release(stream);
    ok(cuda.cuStreamSynchronize(theirs));
    ok(cuda.cuCtxDestroy_v2(other));
}

#[test]
fn bad_events_and_flags_are_refused() {
    let session = session();
    let cuda = cuda();
    let (gone, stream) = (event(), side_stream());
    ok(cuda.cuEventDestroy_v2(gone));
    for bad in [0, gone, stream, session.context, 0xdead_beef, u64::MAX] {
        assert_eq!(cuda.cuEventDestroy_v2(bad), 400);
        assert_eq!(cuda.cuEventQuery(bad), 400);
        assert_eq!(cuda.cuEventSynchronize(bad), 400);
        assert_eq!(cuda.cuEventRecord(bad, stream), 400);
        assert_eq!(cuda.cuStreamWaitEvent(stream, bad, 0), 400);
    }
    let event = event();
    assert_eq!(cuda.cuEventCreate(&mut 0, 8), 1);
    assert_eq!(cuda.cuEventCreate(&mut 0, 4), 1);
    ok(cuda.cuEventCreate(&mut 0, 6));
    assert_eq!(cuda.cuEventRecordWithFlags(event, stream, 1), 1);
    assert_eq!(cuda.cuEventRecordWithFlags(event, stream, 2), 1);
    assert_eq!(cuda.cuStreamWaitEvent(stream, event, 2), 1);
}

#[test]
fn times_are_between_events_that_are_complete_and_timed() {
    let _session = session();
    let cuda = cuda();
    let timed = || made(|event| cuda.cuEventCreate(event, 0));
    let (start, end, untimed, stream) = (timed(), timed(), event(), side_stream());
    let mut ms = -1.0;
    assert_eq!(cuda.cuEventElapsedTime(&mut ms, start, end), 400);
    ok(cuda.cuEventRecord(start, stream));
    ok(cuda.cuEventRecord(untimed, stream));
    ok(cuda.cuStreamSynchronize(stream));
    hold(stream);
    ok(cuda.cuEventRecord(end, stream));
    assert_eq!(cuda.cuEventElapsedTime(&mut ms, start, end), 600);
    assert_eq!(cuda.cuEventElapsedTime(&mut ms, start, untimed), 400);
    release(stream);
    ok(cuda.cuEventSynchronize(end));
    ok(cuda.cuEventElapsedTime(&mut ms, start, end));
    assert!(ms >= 0.0);
    let forward = ms;
    ok(cuda.cuEventElapsedTime(&mut ms, end, start));
    assert_eq!(ms, -forward);
}
