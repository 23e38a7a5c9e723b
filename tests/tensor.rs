//! Tensors: the truth is the host's, and each publish shows it as it is then.

mod common;

use common::{busy, copies_fail_alone, device, hold, kit, kit_of, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation, View};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::lease::Twin;
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::Arc;
use gpubuf::tensor::{Tensor, TensorOptions};
use std::time::Duration;

const TRY: Timeout = Timeout::Try;
/// Long enough for a stream that may run to run; one that waits for a held stream never does.
const A_WHILE: Timeout = Timeout::Within(Duration::from_millis(150));
const BYTES: u64 = 256;

fn pool(device: &Arc<Device>, twin: bool, blocks: u32) -> Arc<Pool> {
    let (placement, twin) = if twin { (Placement::Pinned, Twin::Eager) } else { (Placement::Uva, Twin::Never) };
    Pool::create(device, PoolOptions { twin, ..PoolOptions::new(placement, BYTES, blocks) }).expect("a pool")
}

fn tensor(pool: &Arc<Pool>, max_blocks: u32) -> Arc<Tensor> {
    Tensor::create(pool, options(BYTES, max_blocks)).expect("a tensor")
}

fn options(bytes: u64, max_blocks: u32) -> TensorOptions {
    TensorOptions { dtype: Dtype::U8, shape: Shape::new(&[bytes]).expect("a shape"), max_blocks, label: String::new() }
}

fn write(tensor: &Tensor, first: u64, bytes: &[u8]) {
    // SAFETY: the slice has so many elements.
    unsafe { tensor.write(first, bytes.len() as u64, bytes.as_ptr()) }.expect("a write");
}

fn publish(tensor: &Tensor, stream: &Arc<Timeline>) -> Result<u64> {
    tensor.publish(std::slice::from_ref(stream), Access::Read, TRY)
}

/// The truth.
fn truth(tensor: &Tensor) -> Vec<u8> {
    // SAFETY: the tensor's memory, which nobody writes meanwhile.
    unsafe { std::slice::from_raw_parts(tensor.data(), tensor.bytes() as usize) }.to_vec()
}

/// Queues what a kernel would be that sets the first byte at the address.
fn poke(stream: &Timeline, address: u64, value: u8) {
    fn store(view: &dyn View, [address, value]: [usize; 2]) {
        // SAFETY: one byte.
        unsafe { view.write(address as u64, &(value as u8), 1) }.expect("memory");
    }
    kit(stream).call(store, [address as usize, value as usize]).expect("a call");
}

#[test]
fn a_stream_that_cannot_have_the_address_has_nothing_copied() {
    let (device, other) = (device(), device());
    let tensor = tensor(&pool(&device, true, 2), 2);
    write(&tensor, 0, &[1; 8]);
    let (own, stranger, captures) = (stream(&device), stream(&other), stream(&device));
    kit(&captures).begin_capture().expect("a capture");
    for (second, answer) in [(&stranger, Status::WrongDevice), (&captures, Status::Capturing)] {
        let refused = tensor.publish(&[own.clone(), second.clone()], Access::Read, TRY);
        assert_eq!(status(refused), answer);
    }
    assert_eq!(device.counters.copies.get(), 0);
    kit(&captures).end_capture().expect("its end");
}

#[test]
fn only_what_changed_is_copied_and_nothing_when_nothing_did() {
    for twin in [false, true] {
        let device = device();
        let stream = stream(&device);
        let tensor = tensor(&pool(&device, twin, 2), 2);
        write(&tensor, 0, &[1; 256]);
        let first = publish(&tensor, &stream).expect("published");
        common::ran(&stream);
        assert_eq!(read_device(&device, first, BYTES), [1; 256]);
        assert_eq!(publish(&tensor, &stream).expect("the same"), first);
        write(&tensor, 16, &[2; 4]);
        write(&tensor, 200, &[3; 4]);
        assert_eq!(publish(&tensor, &stream).expect("idle, so the same"), first);
        common::ran(&stream);
        assert_eq!(read_device(&device, first, BYTES), truth(&tensor)[..]);
        let stats = tensor.stats();
        assert_eq!((stats.publishes, stats.unchanged, stats.held_blocks), (3, 1, 1));
        assert_eq!((stats.copied_bytes, stats.skipped_bytes), (256 + 8, 256 + 248));
    }
}

#[test]
fn what_is_in_use_keeps_its_bytes_and_its_block() {
    for twin in [false, true] {
        let device = device();
        let shut = stream(&device);
        let pool = pool(&device, twin, 3);
        let tensor = tensor(&pool, 2);
        hold(&shut);
        busy(&shut);
        let mut seen = Vec::new();
        for value in 1..3 {
            write(&tensor, 0, &[value; 256]);
            seen.push((publish(&tensor, &shut).expect("a block"), value));
            busy(&shut);
        }
        assert_ne!(seen[0].0, seen[1].0, "the first is in use");
        write(&tensor, 0, &[9]);
        assert_eq!(status(publish(&tensor, &shut)), Status::Busy, "both are, and two is the most");
        assert_eq!(pool.levels().held, 2);
        release(&shut);
        for (address, value) in &seen {
            assert_eq!(read_device(&device, *address, BYTES), [*value; 256]);
        }
        publish(&tensor, &shut).expect("nothing is in use");
        drop(tensor);
        assert_eq!(pool.levels().held, 0, "given back");
        device.drain(Timeout::Infinite).expect("a drain");
        assert_eq!(pool.acquire(0, TRY).map(|lease| lease.release()).map(drop).map_err(|e| e.status()), Ok(()));
    }
}

#[test]
fn a_block_that_is_given_back_keeps_the_uses_of_its_streams() {
    let device = device();
    let shut = stream(&device);
    let pool = pool(&device, false, 1);
    let tensor = tensor(&pool, 1);
    hold(&shut);
    publish(&tensor, &shut).expect("a block");
    busy(&shut);
    drop(tensor);
    assert_eq!(status(pool.acquire(0, TRY)), Status::Busy, "a kernel may use it");
    release(&shut);
    assert_eq!(status(pool.acquire(0, TRY)), Status::Ok);
}

#[test]
fn what_kernels_write_comes_back_or_is_sent_again() {
    for twin in [false, true] {
        let device = device();
        let stream = stream(&device);
        let tensor = tensor(&pool(&device, twin, 2), 2);
        write(&tensor, 0, &[1; 256]);
        let streams = std::slice::from_ref(&stream);
        assert_eq!(status(tensor.to_host(0, ALL, Some(&stream), TRY)), Status::NotBegun);
        publish(&tensor, &stream).expect("published");
        assert_eq!(status(tensor.to_host(0, ALL, Some(&stream), TRY)), Status::NotBegun, "for reading only");
        common::ran(&stream);
        let address = tensor.publish(streams, Access::Write, TRY).expect("published");
        poke(&stream, address, 7);
        tensor.to_host(0, 4, Some(&stream), Timeout::Infinite).expect("taken over");
        assert_eq!(truth(&tensor)[..5], [7, 1, 1, 1, 1]);
        tensor.to_host(4, ALL, Some(&stream), Timeout::Infinite).expect("taken over");
        common::ran(&stream);
        assert_eq!(publish(&tensor, &stream).expect("published"), address);
        assert_eq!(tensor.stats().copied_bytes, 512, "its work might have gone on writing");
        assert_eq!(status(tensor.to_host(0, ALL, Some(&stream), TRY)), Status::NotBegun, "it is the truth's again");
        // Without that the truth stays the truth.
        let address = tensor.publish(streams, Access::Write, Timeout::Infinite).expect("published");
        poke(&stream, address, 8);
        common::ran(&stream);
        let address = tensor.publish(streams, Access::Read, Timeout::Infinite).expect("published");
        common::ran(&stream);
        assert_eq!(read_device(&device, address, 2), [7, 1]);
    }
}

#[test]
fn reading_back_waits_for_the_kernel() {
    let device = device();
    let shut = stream(&device);
    let tensor = tensor(&pool(&device, false, 1), 1);
    let address = tensor.publish(std::slice::from_ref(&shut), Access::Write, TRY).expect("published");
    hold(&shut);
    poke(&shut, address, 7);
    assert_eq!(status(tensor.to_host(0, ALL, None, TRY)), Status::Busy);
    assert_eq!(truth(&tensor)[0], 0, "nothing was taken over");
    assert_eq!(status(tensor.synchronize(TRY)), Status::Busy);
    release(&shut);
    tensor.to_host(0, ALL, None, TRY).expect("done");
    assert_eq!(truth(&tensor)[0], 7);
    tensor.synchronize(TRY).expect("nothing uses it");
}

/// Whoever asks again and again asks for the same: what keeps him out is fenced once for each block.
#[test]
fn a_publish_that_is_refused_again_records_no_more_fences() {
    for (twin, access, blocks) in
        [(false, Access::Read, 1), (false, Access::Read, 2), (false, Access::Write, 2), (true, Access::Write, 2)]
    {
        let device = device();
        let shut = stream(&device);
        let tensor = tensor(&pool(&device, twin, blocks), blocks);
        hold(&shut);
        let ask = || tensor.publish(std::slice::from_ref(&shut), access, TRY).map_err(|error| error.status());
        for value in 0..blocks {
            write(&tensor, 0, &[value as u8 + 1; 256]);
            ask().expect("a block");
            busy(&shut);
        }
        write(&tensor, 0, &[9]);
        let before = device.counters.fences_recorded.get();
        for _ in 0..50 {
            assert_eq!(ask(), Err(Status::Busy));
            assert_eq!(status(tensor.synchronize(TRY)), Status::Busy);
            busy(&shut);
        }
        let recorded = device.counters.fences_recorded.get() - before;
        assert!(recorded <= 2, "{recorded} for {twin} {access:?} {blocks}");
        // What was queued meanwhile with the last address is waited for all the same.
        release(&shut);
        common::ran(&shut);
        ask().expect("nothing uses it");
    }
}

/// Else each try would be kept out by the copy that it has just queued.
#[test]
fn who_tries_to_read_back_again_takes_the_copy_that_is_queued_for_him() {
    let device = device();
    let shut = stream(&device);
    let tensor = tensor(&pool(&device, true, 1), 1);
    let address = tensor.publish(std::slice::from_ref(&shut), Access::Write, TRY).expect("published");
    common::ran(&shut);
    hold(&shut);
    poke(&shut, address, 7);
    let before = device.counters.copies.get();
    for _ in 0..50 {
        assert_eq!(status(tensor.to_host(0, 8, Some(&shut), TRY)), Status::Busy);
    }
    assert_eq!(device.counters.copies.get() - before, 1);
    release(&shut);
    common::ran(&shut);
    tensor.to_host(0, 8, Some(&shut), TRY).expect("the copy has landed");
    assert_eq!(truth(&tensor)[0], 7);
    // Each that succeeds, or that waits, brings what is there then.
    poke(&shut, address, 8);
    tensor.to_host(0, 8, Some(&shut), Timeout::Infinite).expect("a read");
    assert_eq!(truth(&tensor)[0], 8);
    hold(&shut);
    assert_eq!(status(tensor.to_host(0, 8, Some(&shut), TRY)), Status::Busy);
    poke(&shut, address, 9);
    release(&shut);
    tensor.to_host(0, 8, Some(&shut), Timeout::Infinite).expect("a read");
    assert_eq!(truth(&tensor)[0], 9, "who waits gets all that was queued before");
}

/// Work that is queued between two tries uses the last address, too.
#[test]
fn work_that_is_queued_behind_a_refused_publish_is_waited_for() {
    let device = device();
    let (shut, later) = (stream(&device), stream(&device));
    let tensor = tensor(&pool(&device, false, 1), 1);
    hold(&shut);
    hold(&later);
    let both = [shut.clone(), later.clone()];
    tensor.publish(&both, Access::Read, TRY).expect("a block");
    busy(&shut);
    write(&tensor, 0, &[9]);
    assert_eq!(status(publish(&tensor, &shut)), Status::Busy);
    busy(&later);
    release(&shut);
    common::ran(&shut);
    assert_eq!(status(publish(&tensor, &shut)), Status::Busy, "the other stream has work with the address");
    release(&later);
    common::ran(&later);
    publish(&tensor, &shut).expect("nothing uses it");
}

#[test]
fn a_synchronize_waits_for_what_nobody_has_fenced() {
    let device = device();
    let shut = stream(&device);
    let tensor = tensor(&pool(&device, false, 1), 1);
    publish(&tensor, &shut).expect("published");
    hold(&shut);
    busy(&shut);
    assert_eq!(status(tensor.synchronize(TRY)), Status::Busy, "a kernel uses the block");
    release(&shut);
    tensor.synchronize(TRY).expect("nothing uses it");
}

#[test]
fn other_streams_wait_for_the_copy_to_the_twin() {
    let device = device();
    let (copies, compute) = (stream(&device), stream(&device));
    let tensor = tensor(&pool(&device, true, 1), 1);
    write(&tensor, 0, &[5; 256]);
    hold(&copies);
    tensor.publish(&[copies.clone(), compute.clone()], Access::Read, TRY).expect("published");
    busy(&compute);
    // Only one that does not wait for the copy would run dry.
    assert_eq!(status(compute.synchronize(A_WHILE)), Status::Timeout, "behind the copy");
    release(&copies);
    common::ran(&compute);
}

#[test]
fn a_copy_that_failed_is_told_once_and_everything_is_sent_again() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (stream, pool) = (stream(&device), pool(&device, true, 1));
    let tensor = tensor(&pool, 1);
    write(&tensor, 0, &[5; 256]);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
    // A copy that fails at once is told at once.
    hold(&stream);
    publish(&tensor, &stream).expect("queued");
    release(&stream);
    assert_eq!(status(publish(&tensor, &stream)), Status::CopyFailed);
    let address = publish(&tensor, &stream).expect("published");
    common::ran(&stream);
    assert_eq!(read_device(&device, address, BYTES), [5; 256]);
    drop(tensor);
    let lease = pool.acquire(0, Timeout::Infinite).expect("its block");
    assert_eq!(lease.flows().expect("figures").0.failures, 1, "the block counts it");
}

/// Once that is known the next publish tells, whichever block it takes.
#[test]
fn a_copy_that_failed_is_told_while_kernels_use_its_block() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (copies, kernels) = (stream(&device), stream(&device));
    let tensor = tensor(&pool(&device, true, 2), 2);
    write(&tensor, 0, &[5; 256]);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
    hold(&copies);
    hold(&kernels);
    tensor.publish(&[copies.clone(), kernels.clone()], Access::Read, TRY).expect("queued");
    busy(&kernels);
    release(&copies);
    copies.poll();
    let again = || tensor.publish(std::slice::from_ref(&copies), Access::Write, TRY);
    assert_eq!(status(again()), Status::CopyFailed);
    again().expect("the other block");
    release(&kernels);
}

#[test]
fn a_tensor_that_ends_where_no_fence_can_be_had_loses_its_block() {
    let device = device();
    let shut = stream(&device);
    let pool = pool(&device, false, 1);
    let tensor = tensor(&pool, 1);
    publish(&tensor, &shut).expect("published");
    hold(&shut);
    busy(&shut);
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).expect("a fault");
    drop(tensor);
    assert_eq!(pool.levels().quarantined, 1, "a kernel uses it that nobody knows of");
    release(&shut);
}

#[test]
fn what_no_tensor_can_be_is_refused() {
    let device = device();
    let uva = pool(&device, false, 1);
    let plain = Pool::create(&device, PoolOptions::new(Placement::Pinned, BYTES, 1)).expect("a pool");
    assert_eq!(status(Tensor::create(&plain, options(BYTES, 1))), Status::Unsupported, "no address for kernels");
    for (bytes, max_blocks) in [(BYTES + 1, 1), (BYTES, 0), (BYTES, 9)] {
        assert_eq!(status(Tensor::create(&uva, options(bytes, max_blocks))), Status::InvalidArgument);
    }
    let tensor = tensor(&uva, 1);
    assert_eq!(status(tensor.publish(&[], Access::Read, TRY)), Status::InvalidArgument);
    assert_eq!(status(tensor.mark(255, 2)), Status::InvalidArgument);
    assert_eq!(status(tensor.fill(&[0; 2])), Status::InvalidArgument);
}

/// Who was given the block for reading never sees what another publish lets be written.
#[test]
fn work_that_writes_has_a_block_of_its_own() {
    for twin in [false, true] {
        let device = device();
        let (reads, writes) = (stream(&device), stream(&device));
        let tensor = tensor(&pool(&device, twin, 2), 2);
        write(&tensor, 0, &[1; 256]);
        let shown = publish(&tensor, &reads).expect("published");
        common::ran(&reads);
        hold(&reads);
        busy(&reads);
        let streams = std::slice::from_ref(&writes);
        let given = tensor.publish(streams, Access::Write, TRY).expect("the other block");
        assert_ne!(given, shown);
        poke(&writes, given, 9);
        common::ran(&writes);
        assert_eq!(read_device(&device, shown, 1), [1]);
        hold(&writes);
        busy(&writes);
        let refused = tensor.publish(streams, Access::Write, TRY).expect_err("each block has its users");
        assert_eq!(refused.status(), Status::Busy);
        let message = refused.message();
        assert!(message.contains("2 of at most 2 blocks (max_blocks) of pool"), "{message}");
        release(&writes);
        release(&reads);
        tensor.publish(streams, Access::Write, Timeout::Infinite).expect("they are through");
    }
}

/// Work may be queued up to the next publish, also behind a to_host: what it writes is not the truth.
#[test]
fn what_work_writes_behind_a_to_host_is_not_published() {
    for twin in [false, true] {
        let device = device();
        let stream = stream(&device);
        let tensor = tensor(&pool(&device, twin, 2), 2);
        let address = tensor.publish(std::slice::from_ref(&stream), Access::Write, TRY).expect("published");
        poke(&stream, address, 5);
        tensor.to_host(0, ALL, Some(&stream), Timeout::Infinite).expect("taken over");
        poke(&stream, address, 6);
        let address = publish(&tensor, &stream).expect("published");
        common::ran(&stream);
        assert_eq!((truth(&tensor)[0], read_device(&device, address, 1)), (5, vec![5]), "the device sees the truth");
    }
}

/// A tensor that has a block goes on with that where its pool has no other.
#[test]
fn a_tensor_with_a_block_outlives_its_pool() {
    let device = device();
    let stream = stream(&device);
    let pool = pool(&device, false, 1);
    let tensor = tensor(&pool, 2);
    publish(&tensor, &stream).expect("published");
    pool.destroy();
    hold(&stream);
    busy(&stream);
    tensor.fill(&[3]).expect("a fill");
    assert_eq!(status(tensor.publish(std::slice::from_ref(&stream), Access::Read, TRY)), Status::Busy, "its own block");
    release(&stream);
    publish(&tensor, &stream).expect("that one is free");
}

#[test]
fn a_pool_without_a_block_for_it_is_named() {
    let device = device();
    let pool = pool(&device, false, 1);
    let _all = pool.acquire(0, TRY).expect("the only block");
    let tensor = tensor(&pool, 2);
    let stream = stream(&device);
    let refused = tensor.publish(std::slice::from_ref(&stream), Access::Read, TRY).expect_err("there is none");
    assert_eq!(refused.status(), Status::Busy);
    let message = refused.message();
    assert!(message.contains(&tensor.name().to_string()) && message.contains(&pool.name().to_string()), "{message}");
    assert!(message.contains("0 of at most 2 blocks (max_blocks)"), "{message}");
}

/// Ending a tensor while a stream captures loses no memory: a drain proves that nothing uses its block.
#[test]
fn a_tensor_that_ends_while_its_stream_captures_loses_no_block() {
    for twin in [false, true] {
        let device = device();
        let stream = stream(&device);
        let pool = pool(&device, twin, 1);
        let tensor = tensor(&pool, 1);
        publish(&tensor, &stream).expect("published");
        kit(&stream).begin_capture().expect("a capture");
        drop(tensor);
        assert!(device.deferred().0 > 0, "nobody has the memory before a drain");
        kit(&stream).end_capture().expect("a graph");
        device.drain(Timeout::Infinite).expect("a drain");
        assert_eq!((device.deferred().0, device.counters.quarantined_bytes.get()), (0, 0));
        pool.acquire(0, TRY).expect("another block").release().expect("a release");
    }
}
