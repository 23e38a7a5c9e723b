//! Contexts: primary ones are counted, each thread has a stack, and what belongs to one is not another's.

mod common;
use common::*;

fn current() -> u64 {
    made(|context| cuda().cuCtxGetCurrent(context))
}

fn is_active(device: i32) -> bool {
    let mut active = -1;
    ok(cuda().cuDevicePrimaryCtxGetState(device, &mut 0, &mut active));
    active == 1
}

#[test]
fn primary_contexts_are_counted() {
    let session = session();
    let cuda = cuda();
    assert!(is_active(0));
    assert!(!is_active(1));
    assert_eq!(made(|context| cuda.cuDevicePrimaryCtxRetain(context, 0)), session.context);
    let address = device_memory(64);
    ok(cuda.cuDevicePrimaryCtxRelease_v2(0));
    assert!(is_active(0));
    assert_eq!(fetch(address, 64), [0; 64]);
    assert_eq!(cuda.cuDevicePrimaryCtxRelease_v2(1), 201);
}

#[test]
fn the_last_release_takes_everything() {
    let _session = session();
    let cuda = cuda();
    let context = made(|context| cuda.cuDevicePrimaryCtxRetain(context, 1));
    ok(cuda.cuCtxPushCurrent_v2(context));
    let (address, stream, event) = (device_memory(64), side_stream(), event());
    ok(cuda.cuDevicePrimaryCtxRelease_v2(1));
    assert!(!is_active(1));
    // Still current, and of no use.
    assert_eq!(current(), context);
    assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 1), 709);
    assert_eq!(cuda.cuCtxPushCurrent_v2(context), 201);
    let fresh = made(|context| cuda.cuDevicePrimaryCtxRetain(context, 1));
    ok(cuda.cuCtxSetCurrent(fresh));
    assert_eq!(cuda.cuStreamQuery(stream), 400);
    assert_eq!(cuda.cuEventQuery(event), 400);
    assert_eq!(cuda.cuMemFree_v2(address), 1);
    ok(cuda.cuDevicePrimaryCtxRelease_v2(1));
}

#[test]
fn each_thread_has_its_own_stack() {
    let session = session();
    let cuda = cuda();
    let other = made(|context| cuda.cuDevicePrimaryCtxRetain(context, 1));
    ok(cuda.cuCtxPushCurrent_v2(other));
    assert_eq!((current(), made(|device| cuda.cuCtxGetDevice(device))), (other, 1));
    std::thread::spawn(move || {
        assert_eq!(current(), 0);
        assert_eq!(cuda.cuCtxGetDevice(&mut 0), 201);
        assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 1), 201);
        assert_eq!(cuda.cuStreamQuery(0), 201);
        assert_eq!(cuda.cuCtxPopCurrent_v2(&mut 0), 201);
        ok(cuda.cuCtxSetCurrent(other));
        assert_eq!(current(), other);
        ok(cuda.cuCtxSetCurrent(0));
        assert_eq!(current(), 0);
    })
    .join()
    .unwrap();
    assert_eq!(made(|context| cuda.cuCtxPopCurrent_v2(context)), other);
    assert_eq!((current(), made(|device| cuda.cuCtxGetDevice(device))), (session.context, 0));
    ok(cuda.cuDevicePrimaryCtxRelease_v2(1));
}

#[test]
fn contexts_that_are_none_are_refused() {
    let session = session();
    let cuda = cuda();
    for made_up in [7, u64::MAX, session.context + 1, side_stream()] {
        assert_eq!(cuda.cuCtxSetCurrent(made_up), 201);
        assert_eq!(cuda.cuCtxPushCurrent_v2(made_up), 201);
        assert_eq!(cuda.cuCtxDestroy_v2(made_up), 201);
        assert_eq!(cuda.cuCtxGetApiVersion(made_up, &mut 0), 201);
    }
    assert_eq!(current(), session.context);
    assert_eq!(cuda.cuCtxDestroy_v2(session.context), 201);
    assert_eq!(made(|version| cuda.cuCtxGetApiVersion(session.context, version)), 3020);
}

#[test]
fn a_created_context_is_separate_from_the_primary_one() {
    let session = session();
    let cuda = cuda();
    let own = made(|context| cuda.cuCtxCreate_v2(context, 0, 0));
    assert_eq!(current(), own);
    assert_ne!(own, session.context);
    let (memory, stream, event) = (device_memory(64), side_stream(), event());
    assert_eq!(made(|context| cuda.cuStreamGetCtx(stream, context)), own);
    assert_eq!(made(|context| cuda.cuStreamGetCtx(0, context)), own);
    ok(cuda.cuCtxPushCurrent_v2(session.context));
    let primary = side_stream();
    // A stream of another context may be used, but an event's record must be in its own.
    ok(cuda.cuMemsetD8Async(memory, 7, 64, stream));
    ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(cuda.cuEventRecord(event, primary), 400);
    ok(cuda.cuEventRecord(event, stream));
    ok(cuda.cuStreamWaitEvent(primary, event, 0));
    // Device memory is known in its own context only.
    ok(cuda.gpubuf_standin_fail_operation(0, 2, 1, 0, 999));
    assert_eq!(cuda.cuMemsetD8Async(memory, 7, 64, primary), 1);
    assert_eq!(cuda.cuMemsetD8Async(memory, 7, 64, stream), 999);
    ok(cuda.cuCtxPopCurrent_v2(&mut 0));
    ok(cuda.cuCtxDestroy_v2(own));
    assert_eq!(current(), session.context);
    assert_eq!(cuda.cuStreamQuery(stream), 400);
}

#[test]
fn destroying_drops_what_is_queued_and_leaves_others_with_an_ended_context() {
    let _session = session();
    let cuda = cuda();
    let own = made(|context| cuda.cuCtxCreate_v2(context, 0, 0));
    let stream = side_stream();
    let source = device_memory(4);
    let mut target = [1u8; 4];
    hold(stream);
    ok(cuda.cuMemcpyDtoHAsync_v2(target.as_mut_ptr() as u64, source, 4, stream));
    let (ready, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ok(cuda.cuCtxSetCurrent(own));
            ready.wait();
            wait.wait();
            assert_eq!(current(), own);
            assert_eq!(cuda.cuCtxSynchronize(), 709);
            assert_eq!(cuda.cuStreamCreate(&mut 0, 0), 709);
            ok(cuda.cuCtxSetCurrent(0));
        });
        ready.wait();
        ok(cuda.cuCtxDestroy_v2(own));
        wait.wait();
    });
    assert_eq!(target, [1; 4]);
}
