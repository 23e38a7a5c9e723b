//! Failures: what sticks to a context, what does not, and how far it reaches.

mod common;
use common::*;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls that touch the device, each on what it needs.
fn touch(stream: u64, event: u64, address: u64, host: u64) -> Vec<i32> {
    let cuda = cuda();
    vec![
        cuda.cuCtxSynchronize(),
        cuda.cuStreamSynchronize(stream),
        cuda.cuStreamQuery(stream),
        cuda.cuStreamQuery(0),
        cuda.cuStreamCreate(&mut 0, 0),
        cuda.cuStreamDestroy_v2(stream),
        cuda.cuEventCreate(&mut 0, 0),
        cuda.cuEventQuery(event),
        cuda.cuEventSynchronize(event),
        cuda.cuEventRecord(event, stream),
        cuda.cuEventDestroy_v2(event),
        cuda.cuMemAlloc_v2(&mut 0, 64),
        cuda.cuMemHostAlloc(&mut 0, 64, 0),
        cuda.cuMemFree_v2(address),
        cuda.cuMemFreeHost(host),
        cuda.cuMemcpyHtoDAsync_v2(address, host, 8, stream),
        cuda.cuMemcpyDtoH_v2(host, address, 8),
        cuda.cuStreamBeginCapture_v2(stream, 0),
        cuda.cuMemGetInfo_v2(&mut 0, &mut 0),
    ]
}

#[test]
fn an_operation_that_fails_when_it_runs_ends_the_context() {
    let _session = session();
    let cuda = cuda();
    let (stream, healthy, address, host) = (side_stream(), event(), device_memory(64), pinned(64, 1));
    // Codes that no driver knows, too.
    for (kind, code) in [(1u32, 700), (2, 719), (4, 4242), (5, 710), (6, 716)] {
        let context = made(|context| cuda.cuCtxCreate_v2(context, 0, 0));
        let (failing, other, mark, memory) = (side_stream(), side_stream(), event(), device_memory(64));
        let mine = pinned(64, 1);
        hold(failing);
        ok(cuda.gpubuf_standin_fail_operation(0, kind, 1, 1, code));
        match kind {
            1 => ok(cuda.cuMemcpyHtoDAsync_v2(memory, mine, 64, failing)),
            2 => ok(cuda.cuMemsetD8Async(memory, 1, 64, failing)),
            4 => ok(cuda.cuLaunchHostFunc(failing, Some(never), std::ptr::null_mut())),
            5 => ok(cuda.cuEventRecord(mark, failing)),
            _ => ok(cuda.cuStreamWaitEvent(failing, mark, 0)),
        }
        // Queued, and nothing has failed yet.
        assert_eq!(cuda.cuStreamQuery(failing), 600);
        ok(cuda.cuMemsetD8Async(memory, 2, 64, other));
        ok(cuda.cuStreamSynchronize(other));
        release(failing);
        until(|| cuda.cuStreamQuery(failing) != 600);
        assert!(touch(failing, mark, memory, mine).into_iter().all(|got| got == code), "kind {kind}");
        // Elsewhere all is well.
        ok(cuda.cuCtxPopCurrent_v2(&mut 0));
        assert_eq!(cuda.cuStreamQuery(failing), code);
        assert_eq!(cuda.cuEventQuery(mark), code);
        ok(cuda.cuStreamQuery(stream));
        ok(cuda.cuMemcpyHtoDAsync_v2(address, host, 64, stream));
        ok(cuda.cuEventRecord(healthy, stream));
        ok(cuda.cuEventSynchronize(healthy));
        ok(cuda.cuCtxDestroy_v2(context));
        assert_eq!(cuda.cuStreamQuery(failing), 400);
    }
}

extern "C" fn never(_data: *mut c_void) {
    std::process::abort();
}

#[test]
fn what_waits_for_the_device_wakes_with_the_failure() {
    let session = session();
    let cuda = cuda();
    let (stream, other, event, memory) = (side_stream(), side_stream(), event(), device_memory(64));
    hold(stream);
    hold(other);
    ok(cuda.gpubuf_standin_fail_operation(0, 2, 1, 1, 700));
    ok(cuda.cuMemsetD8Async(memory, 1, 64, stream));
    // Queued on a stream that stays held.
    ok(cuda.cuEventRecord(event, other));
    let context = session.context;
    std::thread::scope(|scope| {
        let wait = |wait: fn(&Cuda, u64, u64) -> i32| {
            scope.spawn(move || {
                ok(cuda.cuCtxSetCurrent(context));
                wait(cuda, other, event)
            })
        };
        let waits = [
            wait(|cuda, stream, _| cuda.cuStreamSynchronize(stream)),
            wait(|cuda, _, event| cuda.cuEventSynchronize(event)),
            wait(|cuda, _, _| cuda.cuCtxSynchronize()),
        ];
        // All have begun to wait, as far as can be seen from here.
        let names = [c"cuStreamSynchronize", c"cuEventSynchronize", c"cuCtxSynchronize"];
        until(|| names.iter().all(|name| cuda.gpubuf_standin_calls(name.as_ptr().cast()) == 1));
        (0..1000).for_each(|_| std::thread::yield_now());
        release(stream);
        for wait in waits {
            assert_eq!(wait.join().unwrap(), 700);
        }
    });
}

#[test]
fn a_refused_operation_sticks_to_nothing() {
    let _session = session();
    let cuda = cuda();
    let (stream, memory) = (side_stream(), device_memory(64));
    ok(cuda.gpubuf_standin_fail_operation(0, 0, 2, 0, 999));
    ok(cuda.cuMemsetD8Async(memory, 1, 64, stream));
    // One with bad arguments does not count.
    assert_eq!(cuda.cuMemsetD8Async(memory, 9, 65, stream), 1);
    assert_eq!(cuda.cuMemsetD8Async(memory, 9, 64, stream), 999);
    ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(fetch(memory, 64), [1; 64]);
}

#[test]
fn a_graph_fails_when_it_is_replayed() {
    let _session = session();
    let cuda = cuda();
    let (stream, memory) = (side_stream(), device_memory(64));
    // Captured operations do not count, those of each launch do.
    ok(cuda.gpubuf_standin_fail_operation(0, 2, 3, 1, 719));
    ok(cuda.cuStreamBeginCapture_v2(stream, 0));
    ok(cuda.cuMemsetD8Async(memory, 1, 32, stream));
    ok(cuda.cuMemsetD8Async(memory, 1, 32, stream));
    let graph = made(|graph| cuda.cuStreamEndCapture(stream, graph));
    let executable = made(|executable| cuda.cuGraphInstantiateWithFlags(executable, graph, 0));
    ok(cuda.cuGraphLaunch(executable, stream));
    ok(cuda.cuStreamSynchronize(stream));
    hold(stream);
    ok(cuda.cuGraphLaunch(executable, stream));
    release(stream);
    assert_eq!(cuda.cuStreamSynchronize(stream), 719);
}

#[test]
fn a_lost_device_takes_all_its_contexts_and_no_others() {
    let session = session();
    let cuda = cuda();
    let stream = side_stream();
    let own = made(|context| cuda.cuCtxCreate_v2(context, 0, 0));
    let elsewhere = made(|context| cuda.cuCtxCreate_v2(context, 0, 1));
    assert_eq!(cuda.gpubuf_standin_lose_device(0, 0), 1);
    assert_eq!(cuda.gpubuf_standin_lose_device(5, 214), 101);
    ok(cuda.gpubuf_standin_lose_device(0, 214));
    ok(cuda.cuCtxSynchronize());
    for context in [own, session.context] {
        ok(cuda.cuCtxSetCurrent(context));
        assert_eq!(cuda.cuCtxSynchronize(), 214);
        assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 64), 214);
    }
    assert_eq!(cuda.cuStreamQuery(stream), 214);
    assert_eq!(cuda.cuCtxCreate_v2(&mut 0, 0, 0), 214);
    // What does not touch the device goes on.
    assert_eq!(made(|device| cuda.cuCtxGetDevice(device)), 0);
    assert_eq!(made(|count| cuda.cuDeviceGetCount(count)), 2);
    // A reset lets it have healthy contexts again, and heals none.
    cuda.gpubuf_standin_reset();
    assert_eq!(cuda.cuCtxSynchronize(), 214);
    let fresh = made(|context| cuda.cuCtxCreate_v2(context, 0, 0));
    ok(cuda.cuCtxSynchronize());
    for context in [fresh, own, elsewhere] {
        ok(cuda.cuCtxDestroy_v2(context));
    }
}

#[test]
fn in_a_forked_child_nothing_works() {
    let _session = session();
    let cuda = cuda();
    let stream = side_stream();
    // SAFETY: the child only calls functions that allocate nothing, and ends without cleaning up.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let codes = [cuda.cuStreamQuery(stream), cuda.cuInit(0), cuda.cuDeviceGetCount(&mut 0)];
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(codes != [3; 3])) };
    }
    let mut status = -1;
    // SAFETY: waits for the child that was just made.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    ok(cuda.cuStreamQuery(stream));
}

static IN_TIME: AtomicBool = AtomicBool::new(false);

extern "C" fn at_exit() {
    // Registered before the driver's own, so it runs after it.
    if IN_TIME.load(Ordering::SeqCst) {
        let code = cuda().cuCtxSynchronize();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(if code == 4 { 44 } else { 1 }) };
    }
}

#[test]
fn at_exit_the_driver_is_gone() {
    assert_eq!(child("call_at_exit", &[]).status.code(), Some(44));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn call_at_exit() {
    // SAFETY: the function is a plain one of this program.
    unsafe { libc::atexit(at_exit) };
    let _session = session();
    IN_TIME.store(true, Ordering::SeqCst);
}
