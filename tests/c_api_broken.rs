//! A fault of the library inside a call: it is answered, not passed on, and what it left half-done is not used again.
#![cfg(feature = "mutants")]

use gpubuf::ffi::block::*;
use gpubuf::ffi::buffer::*;
use gpubuf::ffi::device::*;
use gpubuf::ffi::library::*;
use gpubuf::ffi::mutants::*;
use gpubuf::ffi::pool::*;
use gpubuf::ffi::stream::*;
use gpubuf::ffi::types::*;
use std::ptr::{null, null_mut};

fn message() -> String {
    let mut bytes = [0u8; 1200];
    // SAFETY: the buffer has as many bytes as are said.
    let length = unsafe { gpubuf_last_error_message(bytes.as_mut_ptr().cast(), bytes.len()) };
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn device_stats(device: *mut gpubuf_device) -> gpubuf_device_stats {
    // SAFETY: a struct of numbers, whose size is set.
    unsafe {
        let mut stats: gpubuf_device_stats = std::mem::zeroed();
        stats.struct_size = size_of::<gpubuf_device_stats>() as u32;
        assert_eq!(gpubuf_device_stats_get(device, &mut stats), GPUBUF_OK);
        stats
    }
}

/// One test, as the next call that has its fault is the process's, whoever makes it.
#[test]
fn a_fault_breaks_what_the_call_held_and_nothing_else() {
    std::panic::set_hook(Box::new(|_| ()));
    // SAFETY: every pointer is to a local of the right type, and every handle one that the library gave out.
    unsafe {
        let (mut device, mut stream, mut other) = (null_mut(), null_mut(), null_mut());
        assert_eq!(gpubuf_device_open(null(), &mut device), GPUBUF_OK);
        assert_eq!(gpubuf_stream_create(device, &mut stream), GPUBUF_OK);
        let mut options: gpubuf_buffer_options = std::mem::zeroed();
        gpubuf_buffer_options_init(&mut options, size_of::<gpubuf_buffer_options>() as u32);
        options.dtype = GPUBUF_DTYPE_I32;
        options.rank = 1;
        options.shape[0] = 1024;
        let (mut buffer, mut healthy) = (null_mut(), null_mut());
        assert_eq!(gpubuf_buffer_create(device, &options, &mut buffer), GPUBUF_OK);
        assert_eq!(gpubuf_buffer_create(device, &options, &mut healthy), GPUBUF_OK);

        // Before a handle is given out.
        assert_eq!(gpubuf_mutant_panic(1), GPUBUF_OK);
        let mut none = null_mut();
        assert_eq!(gpubuf_buffer_create(device, &options, &mut none), GPUBUF_INTERNAL);
        assert!(none.is_null());
        assert!(message().starts_with("gpubuf_buffer_create: a fault of the library"), "{}", message());
        // The device was part of that call; here a new one takes its place.
        assert_eq!(gpubuf_stream_create(device, &mut other), GPUBUF_BROKEN);
        assert_eq!(gpubuf_device_destroy(device), GPUBUF_OK);
        assert_eq!(gpubuf_device_destroy(device), GPUBUF_STALE_HANDLE);
        assert_eq!(gpubuf_buffer_to_device(healthy, 0, GPUBUF_ALL, stream), GPUBUF_OK, "not part of that call");

        // The second call from now.
        assert_eq!(gpubuf_mutant_panic(2), GPUBUF_OK);
        assert!([GPUBUF_OK, GPUBUF_BUSY].contains(&gpubuf_stream_query(stream)));
        assert_eq!(gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream), GPUBUF_INTERNAL);
        assert_eq!(gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream), GPUBUF_BROKEN);
        assert!(message().contains("buffer"), "{}", message());
        assert_eq!(gpubuf_stream_query(stream), GPUBUF_BROKEN);
        let mut length = 0;
        assert_eq!(gpubuf_describe(buffer.cast(), null_mut(), 0, &mut length), GPUBUF_OK, "for whoever looks for it");
        assert_eq!(gpubuf_buffer_destroy(buffer), GPUBUF_OK);
        assert_eq!(gpubuf_buffer_destroy(buffer), GPUBUF_STALE_HANDLE);
        assert_eq!(gpubuf_stream_destroy(stream), GPUBUF_OK);
        assert_eq!(gpubuf_buffer_destroy(healthy), GPUBUF_OK);

        // Broken memory is counted and never freed; a fault while blocks are held leaves them to the pool.
        assert_eq!(gpubuf_device_open(null(), &mut device), GPUBUF_OK);
        assert_eq!(gpubuf_stream_create(device, &mut stream), GPUBUF_OK);
        assert_eq!(gpubuf_buffer_create(device, &options, &mut buffer), GPUBUF_OK);
        assert_eq!(gpubuf_mutant_panic(1), GPUBUF_OK);
        assert_eq!(gpubuf_buffer_zero(buffer, GPUBUF_SIDE_HOST, null_mut(), 0), GPUBUF_INTERNAL);
        assert_eq!(gpubuf_buffer_destroy(buffer), GPUBUF_OK);
        assert_eq!(gpubuf_device_drain(device, GPUBUF_TIMEOUT_DEFAULT), GPUBUF_OK);
        let stats = device_stats(device);
        assert_eq!(stats.leaked_bytes, 8192);
        assert_eq!(stats.pinned_bytes, 4096);

        let mut pool_options: gpubuf_pool_options = std::mem::zeroed();
        gpubuf_pool_options_init(&mut pool_options, size_of::<gpubuf_pool_options>() as u32);
        pool_options.block_bytes = 64;
        pool_options.block_count = 2;
        let (mut pool, mut blocks) = (null_mut(), [null_mut(); 2]);
        assert_eq!(gpubuf_pool_create(device, &pool_options, &mut pool), GPUBUF_OK);
        for block in &mut blocks {
            assert_eq!(gpubuf_pool_acquire(pool, 0, 0, block), GPUBUF_OK);
        }
        assert_eq!(gpubuf_mutant_panic(1), GPUBUF_OK);
        assert_eq!(gpubuf_block_release_after_many(blocks.as_ptr(), 2, &stream, 1), GPUBUF_INTERNAL);
        for block in blocks {
            assert_ne!(gpubuf_block_release(block), GPUBUF_OK);
        }
        assert_eq!(gpubuf_pool_destroy(pool), GPUBUF_OK);
        assert_eq!(gpubuf_device_destroy(device), GPUBUF_OK);
        assert_eq!(gpubuf_mutant_disable(1000), GPUBUF_INVALID_ARGUMENT);
        assert_eq!(gpubuf_mutant_disable(3), GPUBUF_OK);
        assert_eq!(gpubuf_mutant_disable(u32::MAX), GPUBUF_OK);
    }
    let _ = std::panic::take_hook();
}
