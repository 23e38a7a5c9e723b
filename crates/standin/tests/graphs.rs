//! Graphs and their launches.

mod common;
use common::*;

/// Captures what `work` gives to a stream.
fn capture(stream: u64, work: impl FnOnce()) -> u64 {
    let cuda = cuda();
    ok(cuda.cuStreamBeginCapture_v2(stream, 2));
    work();
    made(|graph| cuda.cuStreamEndCapture(stream, graph))
}

fn instantiate(graph: u64) -> u64 {
    made(|executable| cuda().cuGraphInstantiateWithFlags(executable, graph, 0))
}

#[test]
fn each_replay_reads_the_host_memory_again() {
    let _session = session();
    let cuda = cuda();
    let (stream, source, target) = (side_stream(), pinned(64, 1), device_memory(64));
    let mut own = vec![1u8; 64];
    let pageable = own.as_mut_ptr() as u64;
    let graph = capture(stream, || {
        ok(cuda.cuMemcpyHtoDAsync_v2(target, source, 32, stream));
        ok(cuda.cuMemcpyHtoDAsync_v2(target + 32, pageable, 32, stream));
    });
    let executable = instantiate(graph);
    ok(cuda.cuGraphDestroy(graph));
    for value in [2, 3] {
        hold(stream);
        ok(cuda.cuGraphLaunch(executable, stream));
        set(source, 64, value);
        set(pageable, 64, value);
        release(stream);
        ok(cuda.cuStreamSynchronize(stream));
        assert_eq!(fetch(target, 64), [value; 64]);
    }
    drop(own);
}

#[test]
fn launches_of_one_graph_follow_each_other_on_any_streams() {
    let _session = session();
    let cuda = cuda();
    let (first, second, target) = (side_stream(), side_stream(), device_memory(64));
    let executable = instantiate(capture(first, || ok(cuda.cuMemsetD8Async(target, 1, 64, first))));
    hold(first);
    ok(cuda.cuGraphLaunch(executable, first));
    ok(cuda.cuGraphLaunch(executable, second));
    assert_eq!(cuda.cuStreamQuery(second), 600);
    assert_eq!(fetch(target, 64), [0; 64]);
    // Destroyed while queued.
    ok(cuda.cuGraphExecDestroy(executable));
    release(first);
    ok(cuda.cuStreamSynchronize(second));
    assert_eq!(fetch(target, 64), [1; 64]);
    assert_eq!(cuda.cuGraphLaunch(executable, first), 400);
}

#[test]
fn a_launch_in_a_capture_becomes_part_of_it() {
    let _session = session();
    let cuda = cuda();
    let (stream, target) = (side_stream(), device_memory(64));
    let inner = instantiate(capture(stream, || ok(cuda.cuMemsetD8Async(target, 1, 64, stream))));
    let outer = capture(stream, || ok(cuda.cuGraphLaunch(inner, stream)));
    ok(cuda.cuCtxSynchronize());
    assert_eq!(fetch(target, 64), [0; 64]);
    assert_eq!(made(|count| cuda.cuGraphGetNodes(outer, std::ptr::null_mut(), count)), 1);
    ok(cuda.cuGraphLaunch(instantiate(outer), stream));
    ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(fetch(target, 64), [1; 64]);
}

#[test]
fn a_replay_of_freed_memory_ends_the_context() {
    let _session = session();
    let cuda = cuda();
    let (stream, event, target) = (side_stream(), event(), device_memory(64));
    let executable = instantiate(capture(stream, || ok(cuda.cuMemsetD8Async(target, 1, 64, stream))));
    ok(cuda.cuMemFree_v2(target));
    hold(stream);
    ok(cuda.cuGraphLaunch(executable, stream));
    ok(cuda.cuEventRecord(event, stream));
    release(stream);
    assert_eq!(cuda.cuStreamSynchronize(stream), 700);
    assert_eq!(cuda.cuEventQuery(event), 700);
}

#[test]
fn an_ordered_free_after_a_launch_does_not_disturb_it() {
    let _session = session();
    let cuda = cuda();
    let stream = side_stream();
    let target = made(|address| cuda.cuMemAllocAsync(address, 64, stream));
    let executable = instantiate(capture(stream, || ok(cuda.cuMemsetD8Async(target, 1, 64, stream))));
    hold(stream);
    ok(cuda.cuGraphLaunch(executable, stream));
    ok(cuda.cuMemFreeAsync(target, stream));
    release(stream);
    ok(cuda.cuStreamSynchronize(stream));
}

#[test]
fn bad_graphs_and_other_contexts_streams_are_refused() {
    let session = session();
    let cuda = cuda();
    let stream = side_stream();
    let graph = capture(stream, || {});
    let executable = instantiate(graph);
    for bad in [0, stream, session.context, executable, u64::MAX] {
        assert_eq!(cuda.cuGraphInstantiateWithFlags(&mut 0, bad, 0), 400);
        assert_eq!(cuda.cuGraphGetNodes(bad, std::ptr::null_mut(), &mut 0), 400);
        assert_eq!(cuda.cuGraphDestroy(bad), 400);
    }
    assert_eq!(cuda.cuGraphInstantiateWithFlags(&mut 0, graph, 64), 1);
    assert_eq!(cuda.cuGraphGetNodes(graph, &mut 0, &mut 0), 801);
    assert_eq!(cuda.cuGraphLaunch(graph, stream), 400);
    assert_eq!(cuda.cuGraphLaunch(executable, 77), 400);
    let other = made(|context| cuda.cuCtxCreate_v2(context, 0, 1));
    assert_eq!(cuda.cuGraphLaunch(executable, side_stream()), 400);
    ok(cuda.cuCtxDestroy_v2(other));
    ok(cuda.cuGraphLaunch(executable, stream));
    ok(cuda.cuStreamSynchronize(stream));
}
