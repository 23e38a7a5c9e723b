//! Streams: handles, order with the legacy stream, host functions.

mod common;
use common::*;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

#[test]
fn handles_are_looked_up() {
    let session = session();
    let cuda = cuda();
    let made_stream = stream(0);
    assert_eq!(made(|flags| cuda.cuStreamGetFlags(made_stream, flags)), 0);
    assert_eq!(made(|flags| cuda.cuStreamGetFlags(side_stream(), flags)), 1);
    assert_eq!(made(|context| cuda.cuStreamGetCtx(made_stream, context)), session.context);
    let prior = made(|stream| cuda.cuStreamCreateWithPriority(stream, 1, -5));
    ok(cuda.cuStreamQuery(prior));
    assert_eq!(cuda.cuStreamCreate(&mut 0, 2), 1);
    assert_eq!(cuda.cuStreamCreate(std::ptr::null_mut(), 0), 1);
    ok(cuda.cuStreamDestroy_v2(made_stream));
    let event = event();
    for bad in [made_stream, 3, 0xdead_beef, u64::MAX, session.context, event] {
        assert_eq!(cuda.cuStreamDestroy_v2(bad), 400);
        assert_eq!(cuda.cuStreamQuery(bad), 400);
        assert_eq!(cuda.cuStreamSynchronize(bad), 400);
        assert_eq!(cuda.cuStreamGetId(bad, &mut 0), 400);
        assert_eq!(cuda.cuEventRecord(event, bad), 400);
        assert_eq!(cuda.cuStreamBeginCapture_v2(bad, 0), 400);
        assert_eq!(cuda.cuLaunchHostFunc(bad, None, std::ptr::null_mut()), 400);
        assert_eq!(cuda.gpubuf_standin_stream_hold(bad), 400);
    }
    for special in [0, 1, 2] {
        assert_eq!(cuda.cuStreamDestroy_v2(special), 400);
    }
}

#[test]
fn identities_tell_streams_apart() {
    let _session = session();
    let cuda = cuda();
    let id = |stream| made(|id| cuda.cuStreamGetId(stream, id));
    assert_eq!(id(0), id(1));
    assert_ne!(id(0), id(2));
    assert_eq!(id(2), id(2));
    let first = side_stream();
    let before = id(first);
    ok(cuda.cuStreamDestroy_v2(first));
    assert_ne!(id(side_stream()), before);
    let context = made(|context| cuda.cuCtxGetCurrent(context));
    let own = id(2);
    std::thread::spawn(move || {
        ok(cuda.cuCtxSetCurrent(context));
        assert_ne!(made(|id| cuda.cuStreamGetId(2, id)), own);
        assert_eq!(made(|id| cuda.cuStreamGetId(0, id)), id_of_legacy());
    })
    .join()
    .unwrap();
    let other = made(|context| cuda.cuCtxCreate_v2(context, 0, 0));
    assert_ne!(id(2), own);
    ok(cuda.cuCtxDestroy_v2(other));
}

fn id_of_legacy() -> u64 {
    made(|id| cuda().cuStreamGetId(1, id))
}

#[test]
fn blocking_streams_are_ordered_with_the_legacy_stream_and_others_are_not() {
    let _session = session();
    let cuda = cuda();
    let (blocking, side, target) = (stream(0), side_stream(), device_memory(64));
    for ordered in [blocking, 2] {
        ok(cuda.cuMemsetD8_v2(target, 0, 64));
        ok(cuda.cuCtxSynchronize());
        // Legacy work waits for what the blocking stream was given before...
        hold(ordered);
        ok(cuda.cuMemsetD8Async(target, 1, 32, ordered));
        ok(cuda.cuMemsetD8Async(target + 32, 1, 32, 0));
        ok(cuda.cuMemsetD8Async(target, 7, 1, side));
        ok(cuda.cuStreamSynchronize(side));
        assert_eq!(cuda.cuStreamQuery(0), 600);
        assert_eq!(fetch(target, 64)[32..], [0; 32]);
        release(ordered);
        ok(cuda.cuStreamSynchronize(0));
        assert_eq!(fetch(target, 64), [1; 64]);
        // ...and the blocking stream for legacy work.
        hold(1);
        ok(cuda.cuMemsetD8Async(target, 2, 32, 0));
        ok(cuda.cuMemsetD8Async(target + 32, 2, 32, ordered));
        assert_eq!(cuda.cuStreamQuery(ordered), 600);
        assert_eq!(fetch(target, 64), [1; 64]);
        release(1);
        ok(cuda.cuStreamSynchronize(ordered));
        assert_eq!(fetch(target, 64), [2; 64]);
    }
}

#[test]
fn a_destroyed_stream_finishes_its_work() {
    let _session = session();
    let cuda = cuda();
    let (stream, other, event, target) = (side_stream(), side_stream(), event(), device_memory(64));
    hold(other);
    let gate = made(|event| cuda.cuEventCreate(event, 2));
    ok(cuda.cuEventRecord(gate, other));
    ok(cuda.cuStreamWaitEvent(stream, gate, 0));
    ok(cuda.cuMemsetD8Async(target, 5, 64, stream));
    ok(cuda.cuEventRecord(event, stream));
    ok(cuda.cuStreamDestroy_v2(stream));
    // So may the event be that it waits for.
    ok(cuda.cuEventDestroy_v2(gate));
    assert_eq!(cuda.cuStreamQuery(stream), 400);
    assert_eq!(cuda.cuEventQuery(event), 600);
    release(other);
    ok(cuda.cuEventSynchronize(event));
    assert_eq!(fetch(target, 64), [5; 64]);
}

#[test]
fn a_threads_stream_goes_with_the_thread_and_its_work_does_not() {
    let session = session();
    let cuda = cuda();
    let (target, context) = (device_memory(64), session.context);
    let event = event();
    std::thread::spawn(move || {
        ok(cuda.cuCtxSetCurrent(context));
        ok(cuda.cuMemsetD8Async(target, 5, 64, 2));
        ok(cuda.cuEventRecord(event, 2));
    })
    .join()
    .unwrap();
    ok(cuda.cuEventSynchronize(event));
    assert_eq!(fetch(target, 64), [5; 64]);
}

static CODES: [AtomicI32; 4] = [const { AtomicI32::new(-1) }; 4];

extern "C" fn call_the_driver(count: *mut c_void) {
    let cuda = cuda();
    CODES[0].store(cuda.cuStreamQuery(0), Ordering::SeqCst);
    CODES[1].store(cuda.cuInit(0), Ordering::SeqCst);
    CODES[2].store(cuda.cuDeviceGetCount(&mut 0), Ordering::SeqCst);
    CODES[3].store(cuda.cuMemAlloc_v2(&mut 0, 1), Ordering::SeqCst);
    // SAFETY: the test hands in a counter that outlives the call.
    unsafe { &*count.cast::<AtomicU64>() }.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn host_functions_run_in_order_and_may_not_call_the_driver() {
    let _session = session();
    let cuda = cuda();
    let (stream, target) = (side_stream(), device_memory(64));
    let count = AtomicU64::new(0);
    hold(stream);
    ok(cuda.cuMemsetD8Async(target, 1, 64, stream));
    ok(cuda.cuLaunchHostFunc(stream, Some(call_the_driver), (&raw const count).cast_mut().cast()));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    release(stream);
    ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(CODES.each_ref().map(|code| code.load(Ordering::SeqCst)), [800; 4]);
    assert_eq!(cuda.cuLaunchHostFunc(stream, None, std::ptr::null_mut()), 1);
}

#[test]
fn holds_are_counted_and_seen() {
    let _session = session();
    let cuda = cuda();
    let stream = side_stream();
    assert_eq!(cuda.gpubuf_standin_stream_is_held(stream), 0);
    hold(stream);
    hold(stream);
    release(stream);
    assert_eq!(cuda.gpubuf_standin_stream_is_held(stream), 1);
    release(stream);
    assert_eq!(cuda.gpubuf_standin_stream_is_held(stream), 0);
    assert_eq!(cuda.gpubuf_standin_stream_is_held(77), 0);
    // From a thread without a context, too.
    std::thread::spawn(move || hold(stream)).join().unwrap();
    assert_eq!(cuda.gpubuf_standin_stream_is_held(stream), 1);
    release(stream);
    assert_eq!(cuda.gpubuf_standin_stream_is_held(stream), 0);
}
