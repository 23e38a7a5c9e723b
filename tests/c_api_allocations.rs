//! The calls of a loop allocate nothing: acquire and release of a block, a step, an event, and the checks of their handles.

#[path = "common/allocations.rs"]
mod allocations;

use allocations::allocations;
use gpubuf::ffi::block::*;
use gpubuf::ffi::buffer::*;
use gpubuf::ffi::device::*;
use gpubuf::ffi::event::*;
use gpubuf::ffi::graph_hold::*;
use gpubuf::ffi::host::*;
use gpubuf::ffi::pool::*;
use gpubuf::ffi::slots::*;
use gpubuf::ffi::spec::*;
use gpubuf::ffi::step::*;
use gpubuf::ffi::stream::*;
use gpubuf::ffi::tensor::*;
use gpubuf::ffi::types::*;
use gpubuf::ffi::workspace::*;
use std::ptr::{null, null_mut};

/// Allocations of this thread in 200 rounds, after 600 that fill what is made ahead.
fn allocations_in(mut round: impl FnMut()) -> u64 {
    (0..600).for_each(|_| round());
    let before = allocations();
    (0..200).for_each(|_| round());
    allocations() - before
}

fn ok(status: gpubuf_status) {
    assert_eq!(status, GPUBUF_OK);
}

#[test]
fn a_loop_allocates_nothing() {
    // SAFETY: every pointer is to a local of the right type, and every handle one that the library gave out.
    unsafe {
        let (mut device, mut stream, mut event) = (null_mut(), null_mut(), null_mut());
        ok(gpubuf_device_open(null(), &mut device));
        ok(gpubuf_stream_create(device, &mut stream));
        ok(gpubuf_event_create(device, &mut event));
        // The first sleep of a thread has the lock library make its table, whenever that comes.
        ok(gpubuf_host_stream_delay(stream, 5_000_000));
        ok(gpubuf_event_record(event, stream));
        ok(gpubuf_event_wait(event, GPUBUF_TIMEOUT_DEFAULT));

        let mut options: gpubuf_pool_options = std::mem::zeroed();
        gpubuf_pool_options_init(&mut options, size_of::<gpubuf_pool_options>() as u32);
        options.block_bytes = 256;
        options.block_count = 4;
        options.device_side = 1;
        let mut pool = null_mut();
        ok(gpubuf_pool_create(device, &options, &mut pool));
        let blocks = allocations_in(|| {
            let mut block = null_mut();
            let bytes = [1u8; 64];
            ok(gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_DEFAULT, &mut block));
            ok(gpubuf_block_copy_in(block, 0, 64, bytes.as_ptr().cast(), GPUBUF_TIMEOUT_DEFAULT));
            ok(gpubuf_block_to_device(block, 0, GPUBUF_ALL, stream));
            ok(gpubuf_block_release_after(block, &stream, 1));
            ok(gpubuf_event_record(event, stream));
            ok(gpubuf_event_wait(event, GPUBUF_TIMEOUT_DEFAULT));
        });
        assert_eq!(blocks, 0, "acquire, copy_in, to_device, release_after, record, wait");

        let mut options: gpubuf_slots_options = std::mem::zeroed();
        gpubuf_slots_options_init(&mut options, size_of::<gpubuf_slots_options>() as u32);
        let (mut slots, mut slot, mut step) = (null_mut(), 0, null_mut());
        ok(gpubuf_slots_create(device, &options, &mut slots));
        let mut of_slot: gpubuf_slot_options = std::mem::zeroed();
        gpubuf_slot_options_init(&mut of_slot, size_of::<gpubuf_slot_options>() as u32);
        of_slot.dtype = GPUBUF_DTYPE_I32;
        of_slot.rank = 1;
        of_slot.shape[0] = 64;
        of_slot.name = c"ids".as_ptr();
        ok(gpubuf_slots_add(slots, &of_slot, &mut slot));
        ok(gpubuf_slots_freeze(slots));
        let steps = allocations_in(|| {
            let mut ticket = 0;
            let rows = [1i32; 64];
            ok(gpubuf_slots_begin(slots, GPUBUF_TIMEOUT_DEFAULT, &mut step));
            ok(gpubuf_step_write(step, slot, 0, 64, rows.as_ptr().cast()));
            ok(gpubuf_step_commit(step, stream, null(), 0, &mut ticket));
            ok(gpubuf_slots_retire(slots, ticket, &stream, 1));
        });
        assert_eq!(steps, 0, "begin, write, commit, retire");

        let mut spec: gpubuf_spec = std::mem::zeroed();
        gpubuf_spec_init(&mut spec, size_of::<gpubuf_spec>() as u32);
        spec.dtype = GPUBUF_DTYPE_I32;
        spec.rank = 1;
        spec.shape[0] = 64;
        let (mut workspace, mut named, mut scratch) = (null_mut(), null_mut(), null_mut());
        let mut address = 0;
        ok(gpubuf_workspace_create(device, null(), &mut workspace));
        let buffers = allocations_in(|| {
            ok(gpubuf_workspace_get(workspace, c"named".as_ptr(), &spec, GPUBUF_TIMEOUT_DEFAULT, &mut named));
            let wait = GPUBUF_TIMEOUT_DEFAULT;
            ok(gpubuf_workspace_allocate(workspace, &spec, 1, stream, wait, &mut scratch));
            ok(gpubuf_buffer_device_address(scratch, &stream, 1, &mut address));
            ok(gpubuf_buffer_to_device(scratch, 0, GPUBUF_ALL, stream));
            ok(gpubuf_workspace_release(workspace, scratch));
            ok(gpubuf_buffer_destroy(named));
            ok(gpubuf_stream_synchronize(stream, GPUBUF_TIMEOUT_DEFAULT));
        });
        assert_eq!(buffers, 0, "get, allocate, device_address, release");

        let mut options: gpubuf_tensor_options = std::mem::zeroed();
        gpubuf_tensor_options_init(&mut options, size_of::<gpubuf_tensor_options>() as u32);
        options.dtype = GPUBUF_DTYPE_I32;
        options.rank = 1;
        options.shape[0] = 64;
        let mut tensor = null_mut();
        ok(gpubuf_tensor_create(pool, &options, &mut tensor));
        let publishes = allocations_in(|| {
            let rows = [1i32; 8];
            ok(gpubuf_tensor_write(tensor, 8, 8, rows.as_ptr().cast()));
            let wait = GPUBUF_TIMEOUT_DEFAULT;
            ok(gpubuf_tensor_publish(tensor, &stream, 1, GPUBUF_ACCESS_READ, wait, &mut address));
            ok(gpubuf_tensor_publish(tensor, &stream, 1, GPUBUF_ACCESS_READ, wait, &mut address));
        });
        assert_eq!(publishes, 0, "write, publish");

        let (mut hold, mut block, mut graph) = (null_mut(), null_mut(), 0);
        ok(gpubuf_graph_hold_create(device, &mut hold));
        ok(gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_DEFAULT, &mut block));
        ok(gpubuf_graph_hold_add_block(hold, block, GPUBUF_TIMEOUT_DEFAULT));
        ok(gpubuf_graph_hold_add_slots(hold, slots));
        ok(gpubuf_host_capture_begin(stream));
        ok(gpubuf_block_capture_to_device(block, hold, 0, GPUBUF_ALL, stream));
        ok(gpubuf_host_capture_end(stream, &mut graph));
        ok(gpubuf_graph_hold_set_graph(hold, std::ptr::without_provenance_mut(graph as usize)));
        let mut stats: gpubuf_device_stats = std::mem::zeroed();
        stats.struct_size = size_of::<gpubuf_device_stats>() as u32;
        ok(gpubuf_device_stats_get(device, &mut stats));
        let events = stats.events_created;
        let replays = allocations_in(|| {
            let bytes = [1u8; 64];
            ok(gpubuf_block_copy_in(block, 0, 64, bytes.as_ptr().cast(), GPUBUF_TIMEOUT_DEFAULT));
            ok(gpubuf_graph_hold_launch(hold, stream));
            ok(gpubuf_graph_hold_replayed(hold, stream));
        });
        assert_eq!(replays, 0, "launch and replayed");
        ok(gpubuf_device_stats_get(device, &mut stats));
        assert_eq!(stats.events_created, events, "and no events are made");
    }
}
