//! Kernels: the one that the simulation has a twin of is known by its name; nothing else can be loaded.

mod common;
use common::*;
use std::ffi::c_void;

const IMAGE: &str = concat!(include_str!("../../../src/backend/cuda/kernels/scatter_rows.ptx"), "\0");

fn scatter(module: u64) -> u64 {
    made(|function| cuda().cuModuleGetFunction(function, module, c"gpubuf_scatter_rows".as_ptr()))
}

fn launch(function: u64, pieces: u32, stream: u64, mut values: [u64; 3]) -> i32 {
    let mut parameters = values.each_mut().map(|value| (&raw mut *value).cast::<c_void>());
    cuda().cuLaunchKernel(function, pieces, 1, 1, 256, 1, 1, 0, stream, parameters.as_mut_ptr(), std::ptr::null_mut())
}

/// An entry of one piece, "abc", for byte 5 of a table.
fn entry(ticket: u64) -> u64 {
    let entry = pinned(64, 0);
    let words = [ticket, 0, 5, 3 << 32 | 37];
    // SAFETY: as many bytes, that nothing uses yet.
    unsafe {
        std::ptr::copy_nonoverlapping(words.as_ptr().cast::<u8>(), entry as *mut u8, 32);
        std::ptr::copy_nonoverlapping(b"abc".as_ptr(), (entry as *mut u8).add(37), 3);
    }
    entry
}

#[test]
fn the_scatter_runs_in_the_order_of_its_stream() {
    let _session = session();
    let (cuda, stream, table) = (cuda(), side_stream(), device_memory(16));
    let module = made(|module| cuda.cuModuleLoadData(module, IMAGE.as_ptr().cast()));
    let function = scatter(module);
    hold(stream);
    // Parameters are read during the launch, memory when the kernel runs.
    ok(launch(function, 1, stream, [entry(9), table, 9]));
    assert_eq!(fetch(table, 16), [0; 16]);
    release(stream);
    ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(&fetch(table, 16)[..], b"\0\0\0\0\0abc\0\0\0\0\0\0\0\0");
    ok(cuda.cuModuleUnload(module));
    assert_eq!(launch(function, 1, stream, [entry(9), table, 9]), 400);
}

#[test]
fn what_is_not_known_is_refused() {
    let _session = session();
    let cuda = cuda();
    assert_eq!(cuda.cuModuleLoadData(&mut 0, c".visible .entry other()".as_ptr().cast()), 801);
    assert_eq!(cuda.cuModuleLoadData(&mut 0, std::ptr::null()), 1);
    let module = made(|module| cuda.cuModuleLoadData(module, IMAGE.as_ptr().cast()));
    assert_eq!(cuda.cuModuleGetFunction(&mut 0, module, c"other".as_ptr()), 500);
    assert_eq!(cuda.cuModuleGetFunction(&mut 0, 0, c"gpubuf_scatter_rows".as_ptr()), 400);
    let (table, function) = (device_memory(16), scatter(module));
    assert_eq!(launch(0, 1, 0, [entry(1), table, 1]), 400);
    assert_eq!(launch(function, 0, 0, [entry(1), table, 1]), 1, "an empty grid");
}

#[test]
fn an_address_of_nothing_ends_the_context() {
    let _session = session();
    let module = made(|module| cuda().cuModuleLoadData(module, IMAGE.as_ptr().cast()));
    ok(launch(scatter(module), 1, 0, [entry(1), 4096, 1]));
    assert_eq!(cuda().cuCtxSynchronize(), 700);
}
