//! Stream capture: what is refused, with which code, and whether the capture survives it.

mod common;
use common::*;

fn status(stream: u64) -> i32 {
    made(|status| cuda().cuStreamIsCapturing(stream, status))
}

fn begin(stream: u64, mode: i32) {
    ok(cuda().cuStreamBeginCapture_v2(stream, mode));
}

/// Ends a capture that must have been invalidated.
#[track_caller]
fn expect_invalid(stream: u64) {
    assert_eq!(status(stream), 2);
    let mut graph = 7;
    assert_eq!(cuda().cuStreamEndCapture(stream, &mut graph), 901);
    assert_eq!(graph, 0);
    assert_eq!(status(stream), 0);
}

#[track_caller]
fn end(stream: u64) -> u64 {
    made(|graph| cuda().cuStreamEndCapture(stream, graph))
}

#[test]
fn a_capture_runs_nothing_and_has_an_id() {
    let _session = session();
    let cuda = cuda();
    let (stream, target) = (side_stream(), device_memory(64));
    assert_eq!(status(stream), 0);
    begin(stream, 0);
    let (mut state, mut id, mut graph, mut nodes, mut count) = (0, 0, 9, 9, 9);
    let info = cuda.cuStreamGetCaptureInfo_v2(stream, &mut state, &mut id, &mut graph, &mut nodes, &mut count);
    assert_eq!((info, state), (0, 1));
    assert_ne!(id, 0);
    ok(cuda.cuMemsetD8Async(target, 1, 64, stream));
    assert_eq!(cuda.cuStreamBeginCapture_v2(stream, 0), 1);
    let captured = end(stream);
    assert_eq!(made(|count| cuda.cuGraphGetNodes(captured, std::ptr::null_mut(), count)), 1);
    assert_eq!(fetch(target, 64), [0; 64]);
    begin(stream, 2);
    let before = id;
    ok(cuda.cuStreamGetCaptureInfo_v2(stream, &mut state, &mut id, &mut graph, &mut nodes, &mut count));
    assert_ne!(id, before);
    end(stream);
    assert_eq!(cuda.cuStreamEndCapture(stream, &mut graph), 1);
    assert_eq!(cuda.cuStreamBeginCapture_v2(stream, 3), 1);
    assert_eq!(cuda.cuStreamBeginCapture_v2(0, 0), 900);
}

#[test]
fn looking_at_a_capturing_stream_invalidates() {
    let _session = session();
    let cuda = cuda();
    let stream = side_stream();
    let looks: [&dyn Fn() -> i32; 3] =
        [&|| cuda.cuStreamQuery(stream), &|| cuda.cuStreamSynchronize(stream), &|| cuda.cuCtxSynchronize()];
    for look in looks {
        begin(stream, 2);
        assert_eq!(look(), 900);
        assert_eq!(cuda.cuMemsetD8Async(device_in_relaxed(), 1, 1, stream), 901);
        expect_invalid(stream);
    }
}

/// Memory that is allocated while a capture of another mode may run.
fn device_in_relaxed() -> u64 {
    let cuda = cuda();
    let mut mode = 2;
    ok(cuda.cuThreadExchangeStreamCaptureMode(&mut mode));
    let address = device_memory(64);
    ok(cuda.cuThreadExchangeStreamCaptureMode(&mut mode));
    address
}

#[test]
fn unsafe_calls_invalidate_as_the_modes_say() {
    let session = session();
    let cuda = cuda();
    let (stream, event, target) = (side_stream(), event(), device_memory(64));
    let (host, spare) = (pinned(64, 0), device_memory(64));
    let own = [0u8; 64];
    let pageable = own.as_ptr() as u64;
    let calls: [&(dyn Fn() -> i32 + Sync); 10] = [
        &|| cuda.cuMemAlloc_v2(&mut 0, 64),
        &|| cuda.cuMemFree_v2(spare),
        &|| cuda.cuMemHostAlloc(&mut 0, 64, 0),
        &|| cuda.cuMemFreeHost(host),
        &|| cuda.cuMemAllocManaged(&mut 0, 64, 1),
        &|| cuda.cuMemHostRegister_v2(pageable, 64, 0),
        &|| cuda.cuMemcpyHtoD_v2(target, pageable, 64),
        &|| cuda.cuMemcpyDtoD_v2(target, target, 8),
        &|| cuda.cuEventQuery(event),
        &|| cuda.cuEventSynchronize(event),
    ];
    let context = session.context;
    let elsewhere = |call: &(dyn Fn() -> i32 + Sync)| {
        let on_thread = || {
            ok(cuda.cuCtxSetCurrent(context));
            call()
        };
        std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap())
    };
    for call in calls {
        // Global: nobody may.
        begin(stream, 0);
        assert_eq!(call(), 900);
        expect_invalid(stream);
        begin(stream, 0);
        assert_eq!(elsewhere(call), 900);
        expect_invalid(stream);
        // Of a thread: this one may not.
        begin(stream, 1);
        assert_eq!(call(), 900);
        expect_invalid(stream);
    }
    // Others may, and with a relaxed capture or thread, all may.
    begin(stream, 1);
    ok(elsewhere(&|| cuda.cuMemFree_v2(made(|address| cuda.cuMemAlloc_v2(address, 64)))));
    ok(elsewhere(&|| cuda.cuEventQuery(event)));
    end(stream);
    begin(stream, 2);
    ok(cuda.cuMemFree_v2(spare));
    end(stream);
    begin(stream, 0);
    let mut mode = 2;
    ok(cuda.cuThreadExchangeStreamCaptureMode(&mut mode));
    assert_eq!(mode, 0);
    ok(cuda.cuMemFreeHost(host));
    ok(cuda.cuEventQuery(event));
    ok(cuda.cuThreadExchangeStreamCaptureMode(&mut mode));
    assert_eq!(mode, 2);
    end(stream);
    mode = 3;
    assert_eq!(cuda.cuThreadExchangeStreamCaptureMode(&mut mode), 1);
}

#[test]
fn captured_events_join_streams_and_cannot_be_asked() {
    let _session = session();
    let cuda = cuda();
    let (first, second, fork, join, target) = (side_stream(), side_stream(), event(), event(), device_memory(64));
    begin(first, 2);
    ok(cuda.cuEventRecord(fork, first));
    ok(cuda.cuStreamWaitEvent(second, fork, 0));
    assert_eq!(status(second), 1);
    ok(cuda.cuMemsetD8Async(target, 1, 64, second));
    // Not joined back.
    let mut graph = 0;
    assert_eq!(cuda.cuStreamEndCapture(second, &mut graph), 903);
    assert_eq!(status(first), 1);
    ok(cuda.cuEventRecord(join, second));
    ok(cuda.cuStreamWaitEvent(first, join, 0));
    end(first);
    assert_eq!((status(first), status(second)), (0, 0));
    begin(first, 2);
    ok(cuda.cuEventRecord(fork, first));
    ok(cuda.cuStreamWaitEvent(second, fork, 0));
    ok(cuda.cuMemsetD8Async(target, 1, 64, second));
    assert_eq!(cuda.cuStreamEndCapture(first, &mut graph), 904);
    assert_eq!((status(first), status(second)), (0, 0));
    begin(first, 2);
    ok(cuda.cuEventRecord(fork, first));
    assert_eq!(cuda.cuEventQuery(fork), 907);
    expect_invalid(first);
    begin(first, 2);
    ok(cuda.cuEventRecord(fork, first));
    assert_eq!(cuda.cuEventSynchronize(fork), 907);
    expect_invalid(first);
    assert_eq!(cuda.cuEventQuery(fork), 907);
    ok(cuda.cuEventRecord(fork, first));
    ok(cuda.cuEventSynchronize(fork));
}

#[test]
fn captures_neither_merge_nor_depend_on_the_outside() {
    let _session = session();
    let cuda = cuda();
    let (first, second, inside, outside) = (side_stream(), side_stream(), event(), event());
    ok(cuda.cuEventRecord(outside, second));
    begin(first, 2);
    assert_eq!(cuda.cuStreamWaitEvent(first, outside, 0), 905);
    expect_invalid(first);
    begin(first, 2);
    begin(second, 2);
    ok(cuda.cuEventRecord(inside, first));
    assert_eq!(cuda.cuStreamWaitEvent(second, inside, 0), 902);
    expect_invalid(first);
    expect_invalid(second);
}

#[test]
fn the_legacy_stream_stays_out_of_blocking_captures() {
    let _session = session();
    let cuda = cuda();
    let (blocking, side, target) = (stream(0), side_stream(), device_memory(64));
    begin(blocking, 0);
    // Asking is refused, and the capture goes on.
    assert_eq!(cuda.cuStreamIsCapturing(0, &mut 0), 906);
    assert_eq!(status(blocking), 1);
    assert_eq!(cuda.cuMemsetD8Async(target, 1, 64, 0), 906);
    expect_invalid(blocking);
    begin(side, 0);
    assert_eq!(status(0), 0);
    ok(cuda.cuMemsetD8Async(target, 1, 64, 0));
    end(side);
}

#[test]
fn only_the_thread_that_began_may_end_unless_relaxed() {
    let session = session();
    let cuda = cuda();
    let stream = side_stream();
    let context = session.context;
    let end_elsewhere = || {
        std::thread::spawn(move || {
            ok(cuda.cuCtxSetCurrent(context));
            cuda.cuStreamEndCapture(stream, &mut 0)
        })
        .join()
        .unwrap()
    };
    begin(stream, 0);
    assert_eq!(end_elsewhere(), 908);
    assert_eq!(status(stream), 1);
    end(stream);
    begin(stream, 2);
    assert_eq!(end_elsewhere(), 0);
}

#[test]
fn what_a_graph_cannot_hold_is_refused_and_the_capture_stays_whole() {
    let _session = session();
    let cuda = cuda();
    let (stream, event, target) = (side_stream(), event(), device_memory(64));
    begin(stream, 0);
    assert_eq!(cuda.cuMemAllocAsync(&mut 0, 64, stream), 801);
    assert_eq!(cuda.cuMemFreeAsync(target, stream), 801);
    assert_eq!(cuda.cuEventRecordWithFlags(event, stream, 1), 801);
    assert_eq!(cuda.cuStreamWaitEvent(stream, event, 1), 801);
    ok(cuda.gpubuf_standin_fail_operation(0, 2, 1, 0, 900));
    assert_eq!(cuda.cuMemsetD8Async(target, 1, 64, stream), 900);
    ok(cuda.cuMemsetD8Async(target, 1, 64, stream));
    let graph = end(stream);
    assert_eq!(made(|count| cuda.cuGraphGetNodes(graph, std::ptr::null_mut(), count)), 1);
}
