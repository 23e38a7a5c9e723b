//! Copies and fills: who reads when, and what is refused.

mod common;
use common::*;

#[test]
fn an_asynchronous_copy_reads_page_locked_memory_when_it_runs() {
    let _session = session();
    let cuda = cuda();
    let (stream, source, target) = (side_stream(), pinned(64, 1), device_memory(64));
    let address = made(|address| cuda.cuMemHostGetDevicePointer_v2(address, source, 0));
    for from in [source, address] {
        set(source, 64, 1);
        hold(stream);
        ok(cuda.cuMemcpyAsync(target, from, 64, stream));
        assert_eq!(cuda.cuStreamQuery(stream), 600);
        set(source, 64, 2);
        release(stream);
        ok(cuda.cuStreamSynchronize(stream));
        assert_eq!(fetch(target, 64), [2; 64]);
    }
}

#[test]
fn an_asynchronous_copy_stages_pageable_memory_unless_told_otherwise() {
    let _session = session();
    let cuda = cuda();
    let (stream, target) = (side_stream(), device_memory(64));
    let mut source = vec![0u8; 64];
    let from = source.as_mut_ptr() as u64;
    for (late, expected) in [(0, 1), (1, 2), (0, 1)] {
        ok(cuda.gpubuf_standin_set_pageable_late(0, late));
        set(from, 64, 1);
        hold(stream);
        ok(cuda.cuMemcpyHtoDAsync_v2(target, from, 64, stream));
        set(from, 64, 2);
        release(stream);
        ok(cuda.cuStreamSynchronize(stream));
        assert_eq!(fetch(target, 64), [expected; 64]);
    }
    drop(source);
}

#[test]
fn a_synchronous_copy_from_pageable_memory_returns_before_it_has_landed() {
    let _session = session();
    let cuda = cuda();
    let target = device_memory(64);
    let mut source = [1u8; 64];
    hold(0);
    ok(cuda.cuMemcpyHtoD_v2(target, source.as_ptr() as u64, 64));
    source.fill(2);
    // Work on a non-blocking stream does not wait for it.
    assert_eq!(fetch(target, 64), [0; 64]);
    assert_eq!(cuda.cuStreamQuery(0), 600);
    release(0);
    ok(cuda.cuStreamSynchronize(0));
    assert_eq!(fetch(target, 64), [1; 64]);
    // Read late, it is complete on return instead.
    ok(cuda.gpubuf_standin_set_pageable_late(0, 1));
    ok(cuda.cuMemcpyHtoD_v2(target, source.as_ptr() as u64, 64));
    source.fill(3);
    assert_eq!(fetch(target, 64), [2; 64]);
    ok(cuda.gpubuf_standin_set_pageable_late(0, 0));
}

/// Runs `copy` on another thread while the legacy stream is held; it checks what it finds on return. With `waits` the
/// stream is released once the copy is queued, else only after the copy has returned.
fn copy_while_held(waits: bool, copy: impl Fn() + Sync) {
    let cuda = cuda();
    let context = made(|context| cuda.cuCtxGetCurrent(context));
    hold(0);
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            ok(cuda.cuCtxSetCurrent(context));
            copy();
        });
        if waits {
            until(|| copying.is_finished() || cuda.cuStreamQuery(0) == 600);
            // Time for a copy that wrongly does not wait to find out.
            (0..1000).for_each(|_| std::thread::yield_now());
        } else {
            until(|| copying.is_finished());
        }
        release(0);
        copying.join().unwrap();
    });
}

#[test]
fn synchronous_copies_wait_as_documented() {
    let _session = session();
    let cuda = cuda();
    let (a, b, host) = (device_memory(64), device_memory(64), pinned(64, 7));
    copy_while_held(true, || {
        ok(cuda.cuMemcpyHtoD_v2(a, host, 64));
        ok(cuda.cuStreamQuery(0));
    });
    assert_eq!(fetch(a, 64), [7; 64]);
    copy_while_held(true, || {
        let mut out = [0u8; 64];
        ok(cuda.cuMemcpyDtoH_v2(out.as_mut_ptr() as u64, a, 64));
        assert_eq!(out, [7; 64]);
    });
    copy_while_held(false, || {
        ok(cuda.cuMemcpyDtoD_v2(b, a, 64));
        assert_eq!(cuda.cuStreamQuery(0), 600);
    });
    ok(cuda.cuStreamSynchronize(0));
    assert_eq!(fetch(b, 64), [7; 64]);
    // From pageable memory, what was queued before is waited for.
    let (own, before) = ([8u8; 64], event());
    copy_while_held(true, || {
        ok(cuda.cuEventRecord(before, 0));
        ok(cuda.cuMemcpyHtoD_v2(b, own.as_ptr() as u64, 64));
        ok(cuda.cuEventQuery(before));
    });
    ok(cuda.cuMemsetD8_v2(b, 7, 64));
    let mut out = [0u8; 64];
    ok(cuda.cuMemcpy(out.as_mut_ptr() as u64, b, 64));
    assert_eq!(out, [7; 64]);
}

#[test]
fn bad_ranges_are_refused_and_stick_to_nothing() {
    let _session = session();
    let cuda = cuda();
    let (stream, target, host) = (side_stream(), device_memory(64), pinned(64, 0));
    let own = [0u8; 256];
    let pageable = own.as_ptr() as u64;
    for code in [
        cuda.cuMemcpyHtoDAsync_v2(target, pageable, 65, stream),
        cuda.cuMemcpyHtoDAsync_v2(target + 1, host, 64, stream),
        cuda.cuMemcpyHtoDAsync_v2(target, host + 1, 64, stream),
        cuda.cuMemcpyHtoDAsync_v2(pageable, host, 64, stream),
        cuda.cuMemcpyHtoDAsync_v2(target, 0, 64, stream),
        cuda.cuMemcpyDtoHAsync_v2(host, pageable, 64, stream),
        cuda.cuMemcpyDtoDAsync_v2(target, pageable, 64, stream),
        cuda.cuMemcpyAsync(0, target, 64, stream),
        cuda.cuMemcpyDtoH_v2(0, target, 64),
        cuda.cuMemcpyHtoD_v2(pageable, host, 64),
        cuda.cuMemsetD8Async(target, 0, 65, stream),
        cuda.cuMemsetD32Async(target + 2, 0, 1, stream),
        cuda.cuMemsetD16Async(target + 1, 0, 1, stream),
        cuda.cuMemsetD8Async(pageable, 0, 1, stream),
        cuda.cuMemsetD32Async(target, 0, usize::MAX, stream),
    ] {
        assert_eq!(code, 1);
    }
    for stream in [3, 77, u64::MAX, target] {
        assert_eq!(cuda.cuMemcpyHtoDAsync_v2(target, host, 64, stream), 400);
    }
    ok(cuda.cuMemcpyHtoDAsync_v2(target, 0, 0, stream));
    ok(cuda.cuMemsetD8Async(target, 0, 0, stream));
    ok(cuda.cuStreamSynchronize(stream));
}

#[test]
fn fills_write_elements() {
    let _session = session();
    let cuda = cuda();
    let (stream, target) = (side_stream(), device_memory(64));
    ok(cuda.cuMemsetD8Async(target, 1, 64, stream));
    ok(cuda.cuMemsetD16Async(target + 8, 0x0302, 2, stream));
    ok(cuda.cuMemsetD32Async(target + 16, 0x0706_0504, 1, stream));
    ok(cuda.cuMemsetD2D32Async(target + 32, 12, 0x0908_0908, 2, 2, stream));
    ok(cuda.cuStreamSynchronize(stream));
    let mut expected = [1u8; 64];
    expected[8..12].copy_from_slice(&[2, 3, 2, 3]);
    expected[16..20].copy_from_slice(&[4, 5, 6, 7]);
    for start in [32, 36, 44, 48] {
        expected[start..start + 4].copy_from_slice(&[8, 9, 8, 9]);
    }
    assert_eq!(fetch(target, 64), expected);
    assert_eq!(cuda.cuMemsetD2D32Async(target, 4, 0, 2, 2, stream), 1);
    assert_eq!(cuda.cuMemsetD2D32Async(target, 32, 0, 9, 2, stream), 1);
    ok(cuda.cuMemsetD8_v2(target, 9, 4));
    ok(cuda.cuMemsetD16_v2(target + 4, 0x0909, 2));
    ok(cuda.cuMemsetD32_v2(target + 8, 0x0909_0909, 1));
    ok(cuda.cuStreamSynchronize(0));
    assert_eq!(fetch(target, 12), [9; 12]);
}

#[test]
fn rows_are_copied_with_their_pitches() {
    let _session = session();
    let cuda = cuda();
    let (stream, target) = (side_stream(), device_memory(64));
    let source: Vec<u8> = (0..64).collect();
    let side = |memory, host, device, pitch| Side { x_bytes: 2, y: 1, memory, host, device, array: 0, pitch };
    let mut copy =
        Copy2D { src: side(1, source.as_ptr() as u64, 0, 8), dst: side(2, 0, target, 16), width_bytes: 4, height: 2 };
    ok(cuda.cuMemcpy2DAsync_v2(&copy, stream));
    ok(cuda.cuStreamSynchronize(stream));
    let mut expected = [0u8; 64];
    expected[18..22].copy_from_slice(&[10, 11, 12, 13]);
    expected[34..38].copy_from_slice(&[18, 19, 20, 21]);
    assert_eq!(fetch(target, 64), expected);
    copy.dst.memory = 3;
    assert_eq!(cuda.cuMemcpy2DAsync_v2(&copy, stream), 801);
    copy.dst.memory = 9;
    assert_eq!(cuda.cuMemcpy2DAsync_v2(&copy, stream), 1);
    copy.dst.memory = 2;
    copy.dst.pitch = 5;
    assert_eq!(cuda.cuMemcpy2DAsync_v2(&copy, stream), 1);
    copy.dst.pitch = 16;
    copy.height = 5;
    assert_eq!(cuda.cuMemcpy2DAsync_v2(&copy, stream), 1);
    assert_eq!(cuda.cuMemcpy2DAsync_v2(std::ptr::null(), stream), 1);
}
