//! The control face: counting, armed calls, times, and values that streams wait for.

mod common;
use common::*;

fn calls(function: &std::ffi::CStr) -> u64 {
    cuda().gpubuf_standin_calls(function.as_ptr().cast())
}

#[test]
fn calls_are_counted_by_name_and_together() {
    let _session = session();
    let cuda = cuda();
    cuda.gpubuf_standin_reset();
    assert_eq!(cuda.gpubuf_standin_calls(std::ptr::null()), 0);
    let stream = side_stream();
    ok(cuda.cuStreamQuery(stream));
    assert_eq!(cuda.cuStreamQuery(77), 400);
    assert_eq!(calls(c"cuStreamQuery"), 2);
    assert_eq!(calls(c"cuStreamCreate"), 1);
    assert_eq!(calls(c"cuEventQuery"), 0);
    assert_eq!(calls(c"cuNothing"), 0);
    assert_eq!(cuda.gpubuf_standin_calls(std::ptr::null()), 3);
    cuda.gpubuf_standin_reset();
    assert_eq!(calls(c"cuStreamQuery"), 0);
}

#[test]
fn an_armed_call_returns_its_code_once_and_does_nothing() {
    let _session = session();
    let cuda = cuda();
    let arm = |nth, code| cuda.gpubuf_standin_fail_call(c"cuMemAlloc_v2".as_ptr().cast(), nth, code);
    ok(arm(2, -7));
    device_memory(64);
    let mut address = 5;
    assert_eq!(cuda.cuMemAlloc_v2(&mut address, 64), -7);
    assert_eq!(address, 5);
    device_memory(64);
    ok(arm(1, 2));
    ok(arm(0, 0));
    device_memory(64);
    ok(arm(1, 2));
    cuda.gpubuf_standin_reset();
    device_memory(64);
    // Before initialisation, too.
    ok(cuda.gpubuf_standin_fail_call(c"cuInit".as_ptr().cast(), 1, 802));
    assert_eq!(cuda.cuInit(0), 802);
    assert_eq!(cuda.gpubuf_standin_fail_call(c"cuNothing".as_ptr().cast(), 1, 2), 1);
}

#[test]
fn a_call_of_any_function_fails_or_loses_the_device() {
    let _session = session();
    let cuda = cuda();
    let stream = side_stream();
    let any = std::ptr::null();
    ok(cuda.gpubuf_standin_fail_call(any, 3, 999));
    ok(cuda.cuStreamQuery(stream));
    // What a test does itself is left out.
    ok(cuda.gpubuf_standin_count_thread(0));
    ok(cuda.cuStreamQuery(stream));
    ok(cuda.gpubuf_standin_count_thread(1));
    ok(cuda.cuCtxSynchronize());
    assert_eq!((cuda.cuStreamQuery(stream), cuda.gpubuf_standin_struck()), (999, 1));
    ok(cuda.cuStreamQuery(stream));
    assert_eq!(cuda.gpubuf_standin_lose_at_call(any, 1, 0, 0), 1);
    assert_eq!(cuda.gpubuf_standin_lose_at_call(c"cuNothing".as_ptr().cast(), 1, 0, 719), 1);
    assert_eq!(cuda.gpubuf_standin_lose_at_call(any, 1, 9, 719), 101);
    ok(cuda.gpubuf_standin_lose_at_call(c"cuStreamQuery".as_ptr().cast(), 2, 0, 719));
    ok(cuda.cuStreamQuery(stream));
    ok(cuda.cuCtxSynchronize());
    assert_eq!(cuda.cuStreamQuery(stream), 719);
    assert_eq!((cuda.cuCtxSynchronize(), cuda.gpubuf_standin_struck()), (719, 2));
    cuda.gpubuf_standin_reset();
    assert_eq!(cuda.gpubuf_standin_struck(), 0);
}

#[test]
fn what_there_is_is_counted() {
    let _session = session();
    let cuda = cuda();
    let live = || [0, 1, 2, 3, 4, 5].map(|kind| cuda.gpubuf_standin_live(0, kind));
    let before = live();
    let stream = side_stream();
    let memory = device_memory(64);
    let event = made(|event| cuda.cuEventCreate(event, 2));
    assert_eq!(live(), [before[0], before[1] + 4096, before[2], before[3] + 1, before[4] + 1, before[5]]);
    ok(cuda.cuEventDestroy_v2(event));
    ok(cuda.cuMemFree_v2(memory));
    ok(cuda.cuStreamDestroy_v2(stream));
    assert_eq!(live(), before);
    assert_eq!([cuda.gpubuf_standin_live(9, 0), cuda.gpubuf_standin_live(0, 6)], [u64::MAX; 2]);
}

#[test]
fn bad_settings_are_refused() {
    let _session = session();
    let cuda = cuda();
    assert_eq!(cuda.gpubuf_standin_fail_operation(0, 10, 1, 0, 1), 1);
    assert_eq!(cuda.gpubuf_standin_fail_operation(0, 1, 1, 3, 1), 1);
    assert_eq!(cuda.gpubuf_standin_fail_operation(0, 1, 1, 2, 0), 1);
    assert_eq!(cuda.gpubuf_standin_fail_operation(0, 1, 1, 1, 0), 1);
    assert_eq!(cuda.gpubuf_standin_fail_operation(7, 1, 1, 1, 1), 101);
    assert_eq!(cuda.gpubuf_standin_limit_memory(0, 2, 1), 1);
    assert_eq!(cuda.gpubuf_standin_limit_memory(-1, 0, 1), 101);
    assert_eq!(cuda.gpubuf_standin_set_attribute(0, 0, 1), 1);
    assert_eq!(cuda.gpubuf_standin_set_link(9, 1, 1), 101);
}

#[test]
fn a_disarmed_operation_runs() {
    let _session = session();
    let cuda = cuda();
    let memory = device_memory(64);
    ok(cuda.gpubuf_standin_fail_operation(0, 2, 1, 0, 1));
    ok(cuda.gpubuf_standin_fail_operation(0, 2, 0, 0, 1));
    ok(cuda.cuMemsetD8Async(memory, 1, 64, 0));
    ok(cuda.gpubuf_standin_fail_operation(0, 0, 1, 1, 700));
    cuda.gpubuf_standin_reset();
    ok(cuda.cuMemsetD8Async(memory, 1, 64, 0));
    ok(cuda.cuCtxSynchronize());
}

#[test]
fn links_and_delays_take_at_least_their_time() {
    let _session = session();
    let cuda = cuda();
    let (stream, memory, host) = (side_stream(), device_memory(1000), pinned(1000, 1));
    let timed = || made(|event| cuda.cuEventCreate(event, 0));
    let copy_ms = || {
        let (start, end) = (timed(), timed());
        ok(cuda.cuEventRecord(start, stream));
        ok(cuda.cuMemcpyHtoDAsync_v2(memory, host, 1000, stream));
        ok(cuda.cuEventRecord(end, stream));
        ok(cuda.cuEventSynchronize(end));
        made(|ms| cuda.cuEventElapsedTime(ms, start, end))
    };
    ok(cuda.gpubuf_standin_set_link(0, 1_000_000, 1_000_000));
    assert!(copy_ms() >= 1.99);
    ok(cuda.gpubuf_standin_set_link(0, 0, 0));
    // Before the copy and before the end's record.
    ok(cuda.gpubuf_standin_set_delay(0, 1_000_000, 0, 0));
    assert!(copy_ms() >= 1.99);
    ok(cuda.gpubuf_standin_set_delay(0, 0, 7, 1000));
    copy_ms();
    ok(cuda.gpubuf_standin_set_delay(0, 0, 0, 0));
}

#[test]
fn time_inside_is_counted_for_the_calling_thread() {
    let _session = session();
    let cuda = cuda();
    let before = cuda.gpubuf_standin_time_inside_ns();
    ok(cuda.cuStreamQuery(0));
    let after = cuda.gpubuf_standin_time_inside_ns();
    assert!(after > before);
    assert_eq!(cuda.gpubuf_standin_time_inside_ns(), after);
    let elsewhere = std::thread::spawn(|| common::cuda().gpubuf_standin_time_inside_ns()).join().unwrap();
    assert_eq!(elsewhere, 0);
}

#[test]
fn streams_wait_for_words_and_write_them() {
    let _session = session();
    let cuda = cuda();
    let (waiting, writing, word) = (side_stream(), side_stream(), pinned(8, 0));
    let memory = device_memory(64);
    for (flags, low, high) in [(0, 4, 5), (1, 4, 5), (2, 2, 4), (3, u32::MAX, 0)] {
        ok(cuda.cuStreamWriteValue32_v2(writing, word, low, 0));
        ok(cuda.cuStreamSynchronize(writing));
        ok(cuda.cuStreamWaitValue32_v2(waiting, word, 5, flags));
        assert_eq!(cuda.cuStreamQuery(waiting), 600);
        ok(cuda.cuStreamWriteValue32_v2(writing, word, high, 1));
        ok(cuda.cuStreamSynchronize(waiting));
    }
    // The CPU may write it, and a word may be the device's.
    ok(cuda.cuStreamWaitValue32_v2(waiting, word, 9, 1));
    // SAFETY: the word is live and aligned.
    unsafe { std::sync::atomic::AtomicU32::from_ptr(word as *mut u32) }.store(9, std::sync::atomic::Ordering::SeqCst);
    ok(cuda.cuStreamSynchronize(waiting));
    ok(cuda.cuStreamWriteValue32_v2(writing, memory + 4, 0x0403_0201, 0));
    ok(cuda.cuStreamSynchronize(writing));
    assert_eq!(fetch(memory + 4, 4), [1, 2, 3, 4]);

    let managed = made(|address| cuda.cuMemAllocManaged(address, 64, 1));
    let own = 0u32;
    for address in [word + 2, managed, &raw const own as u64, 0] {
        assert_eq!(cuda.cuStreamWaitValue32_v2(waiting, address, 0, 0), 1);
        assert_eq!(cuda.cuStreamWriteValue32_v2(waiting, address, 0, 0), 1);
    }
    assert_eq!(cuda.cuStreamWaitValue32_v2(waiting, word, 0, 4), 1);
    assert_eq!(cuda.cuStreamWaitValue32_v2(waiting, word, 0, 1 << 30), 801);
    assert_eq!(cuda.cuStreamWriteValue32_v2(waiting, word, 0, 2), 1);
    ok(cuda.gpubuf_standin_set_attribute(0, 123, 0));
    assert_eq!(cuda.cuStreamWaitValue32_v2(waiting, word, 0, 3), 801);
    ok(cuda.gpubuf_standin_set_attribute(0, 123, 1));
    ok(cuda.gpubuf_standin_set_attribute(0, 92, 0));
    assert_eq!(cuda.cuStreamWriteValue32_v2(waiting, word, 0, 0), 801);
    ok(cuda.gpubuf_standin_set_attribute(0, 92, 1));
}

#[test]
fn every_exported_function_of_the_driver_is_known_by_name() {
    let _session = session();
    let cuda = cuda();
    let library = std::fs::read(library()).unwrap();
    // Names in the library's string table; `cu` and a capital letter begin the driver's.
    let names: std::collections::BTreeSet<&str> = library
        .split(|byte| *byte == 0)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| name.starts_with("cu") && name[2..].starts_with(|first: char| first.is_ascii_uppercase()))
        .filter(|name| Library::open(&common::library()).find(name).is_some())
        .collect();
    assert!(names.len() > 80, "{names:?}");
    for name in names {
        let name = std::ffi::CString::new(name).unwrap();
        ok(cuda.gpubuf_standin_fail_call(name.as_ptr().cast(), 0, 0));
    }
}
