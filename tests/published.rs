//! One program, two devices: one sees what the host writes to uva memory, the other does not, and has a copy stand in.

mod common;

use common::{busy, device, hold, kit, kit_of, pair_of, ran, read_device, release, status, stream};
use gpubuf::backend::{Capability, Finding};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, TIMEOUT_INFINITE, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Policy, Timeline};
use gpubuf::lease::{Lease, Twin};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::Arc;
use gpubuf::tensor::{Tensor, TensorOptions};

const BYTES: u64 = 256;

/// A device that does not see what the host writes to uva memory later, and knows it.
fn stale() -> Arc<Device> {
    let device = device();
    kit_of(&device).set_uva_stale(true).expect("a switch");
    let found = device.probe(device.timeout(TIMEOUT_INFINITE)).expect("a probe");
    assert_eq!(found.answer(Capability::SeesHostWrites).finding, Finding::No);
    device
}

fn uva(device: &Arc<Device>) -> Arc<Buffer> {
    let options = BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(BYTES) };
    Buffer::create(device, options).expect("a buffer")
}

fn block(device: &Arc<Device>) -> Lease {
    let pool = Pool::create(device, PoolOptions::new(Placement::Uva, BYTES, 1)).expect("a pool");
    pool.acquire(0, Timeout::Try).expect("a block")
}

fn is(device: &Arc<Device>, timeline: &Timeline, address: u64, values: &[u8]) -> bool {
    ran(timeline);
    read_device(device, address, values.len() as u64) == values
}

/// Writes twice, has the device see both, has it write, and reads that.
fn the_program(device: &Arc<Device>) {
    let timeline = stream(device);
    let buffer = uva(device);
    for value in [1u8, 2] {
        // SAFETY: the array has as many bytes.
        unsafe { buffer.copy_in(0, 8, [value; 8].as_ptr(), Timeout::Infinite) }.expect("a write");
        let address = buffer.publish(&timeline).expect("an address");
        assert!(is(device, &timeline, address, &[value; 8]), "the device sees write {value}");
        buffer.used_on(&timeline, Access::Read).expect("a declaration");
    }
    let address = buffer.publish(&timeline).expect("an address");
    write_on(&timeline, address, 7);
    buffer.used_on(&timeline, Access::Write).expect("a declaration");
    buffer.sync(None, &timeline, None).expect("a sync");
    let mut seen = 0u8;
    // SAFETY: one byte is written.
    unsafe { buffer.copy_out(0, 1, &raw mut seen, Timeout::Infinite) }.expect("a read");
    assert_eq!(seen, 7, "the host sees what the device wrote");

    let block = block(device);
    for value in [3u8, 4] {
        // SAFETY: the array has as many bytes.
        unsafe { block.copy_in(8, 8, [value; 8].as_ptr(), Timeout::Infinite) }.expect("a write");
        let address = block.publish(&timeline).expect("an address");
        assert!(is(device, &timeline, address + 8, &[value; 8]), "the device sees write {value}");
        assert_eq!(status(block.release()), Status::Unfenced, "the address is out");
        block.fence(std::slice::from_ref(&timeline)).expect("a fence");
        block.sync(Policy::Refuse, &timeline, None).expect("a sync");
    }
    block.release().expect("a release");
}

/// Has work on the stream write 8 bytes at a device address.
fn write_on(timeline: &Timeline, address: u64, value: u8) {
    fn write(view: &dyn gpubuf::backend::kit::View, [address, value]: [usize; 2]) {
        let bytes = [value as u8; 8];
        // SAFETY: the array has as many bytes.
        unsafe { view.write(address as u64, bytes.as_ptr(), bytes.len()) }.expect("device memory");
    }
    common::kit(timeline).call(write, [address as usize, value as usize]).expect("a call");
}

#[test]
fn a_program_that_publishes_is_right_in_place() {
    let device = device();
    the_program(&device);
    assert_eq!(device.counters.copies.get(), 0, "nothing was copied");
    assert_eq!(device.counters.stand_ins.get(), 0);
}

#[test]
fn the_same_program_is_right_where_uva_memory_is_stale() {
    let device = stale();
    let copies = device.counters.copies.get();
    the_program(&device);
    assert!(device.counters.copies.get() > copies);
    assert_eq!(device.counters.stand_ins.get(), 2, "told: one buffer, one block");
    kit_of(&device).set_uva_stale(false).expect("a switch");
}

#[test]
fn what_would_be_wrong_there_is_refused() {
    let device = stale();
    let timeline = stream(&device);
    let buffer = uva(&device);
    assert!(buffer.is_standing_in());
    // SAFETY: the array has as many bytes.
    unsafe { buffer.copy_in(0, 8, [1; 8].as_ptr(), Timeout::Infinite) }.expect("a write");
    assert_eq!(status(buffer.device_address(std::slice::from_ref(&timeline))), Status::Conflict, "not published");
    let address = buffer.publish(&timeline).expect("an address");
    assert_eq!(buffer.device_address(std::slice::from_ref(&timeline)).expect("an address"), address);
    ran(&timeline);
    buffer.used_on(&timeline, Access::Write).expect("a declaration");
    ran(&timeline);
    assert_eq!(status(buffer.begin(Access::Read, 0, ALL, Timeout::Try)), Status::Conflict, "not synced");
    buffer.sync(None, &timeline, Some(Timeout::Infinite)).expect("a sync");
    let (_, token) = buffer.begin(Access::Read, 0, ALL, Timeout::Try).expect("a read");
    buffer.end(Access::Read, token).expect("its end");

    let lease = block(&device);
    assert!(lease.is_standing_in() && lease.has_device_side().expect("a block"));
    assert_eq!(status(lease.promote(&timeline)), Status::Unsupported, "it is on the device already");
    // SAFETY: the array has as many bytes.
    unsafe { lease.copy_in(0, 8, [1; 8].as_ptr(), Timeout::Infinite) }.expect("a write");
    assert_eq!(status(lease.device_address()), Status::Conflict);
    lease.release().expect("a refusal seals nothing");
    kit_of(&device).set_uva_stale(false).expect("a switch");
}

#[test]
fn publishing_is_a_copy_like_any_other() {
    let device = device();
    let timeline = stream(&device);
    let buffer = common::buffer(&device, pair_of(BYTES));
    let (_, token) = buffer.begin(Access::Write, 0, 4, Timeout::Try).expect("a write");
    assert_eq!(status(buffer.publish(&timeline)), Status::Busy, "somebody writes");
    buffer.end(Access::Write, token).expect("its end");
    hold(&timeline);
    busy(&timeline);
    let before = device.counters.copied_bytes.get();
    buffer.publish(&timeline).expect("an address");
    assert_eq!(device.counters.copied_bytes.get() - before, 4, "what is newer, not more");
    buffer.publish(&timeline).expect("an address");
    assert_eq!(device.counters.copied_bytes.get() - before, 4, "once");
    assert_eq!(status(buffer.begin(Access::Write, 0, 4, Timeout::Try)), Status::Busy, "it reads what is published");
    release(&timeline);
    let options = PoolOptions { twin: Twin::Lazy, ..PoolOptions::new(Placement::Pinned, BYTES, 1) };
    let lease = Pool::create(&device, options).expect("a pool").acquire(0, Timeout::Try).expect("a block");
    // SAFETY: the array has as many bytes.
    unsafe { lease.copy_in(0, 8, [9; 8].as_ptr(), Timeout::Infinite) }.expect("a write");
    let address = lease.publish(&timeline).expect("an address, of the twin that was needed");
    assert!(is(&device, &timeline, address, &[9; 8]));
    lease.release_after(&[timeline]).expect("a release");
}

#[test]
fn a_tensor_is_right_in_place_and_where_uva_memory_is_stale() {
    for open in [device, stale] {
        let device = open();
        let timeline = stream(&device);
        let pool = Pool::create(&device, PoolOptions::new(Placement::Uva, BYTES, 2)).expect("a pool");
        let shape = Shape::new(&[BYTES]).expect("a shape");
        let options = TensorOptions { dtype: Dtype::U8, shape, max_blocks: 2, label: String::new() };
        let tensor = Tensor::create(&pool, options).expect("a tensor");
        let streams = std::slice::from_ref(&timeline);
        for value in [1u8, 2, 3] {
            // SAFETY: the array has as many bytes.
            unsafe { tensor.write(16, 8, [value; 8].as_ptr()) }.expect("a write");
            let address = tensor.publish(streams, Access::Read, Timeout::Infinite).expect("an address");
            assert!(is(&device, &timeline, address + 16, &[value; 8]), "the device sees write {value}");
        }
        let address = tensor.publish(streams, Access::Write, Timeout::Infinite).expect("an address");
        write_on(&timeline, address, 7);
        tensor.to_host(0, ALL, Some(&timeline), Timeout::Infinite).expect("the way back");
        // SAFETY: the tensor's memory, which nobody writes meanwhile.
        assert_eq!(unsafe { *tensor.data() }, 7);
        kit_of(&device).set_uva_stale(false).expect("a switch");
    }
}

/// What lies between two changes was not sent, and needs not be.
#[test]
fn a_tensor_that_stands_in_sends_changes_that_are_apart() {
    let device = stale();
    let timeline = stream(&device);
    let pool = Pool::create(&device, PoolOptions::new(Placement::Uva, BYTES, 2)).expect("a pool");
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let options = TensorOptions { dtype: Dtype::U8, shape, max_blocks: 2, label: String::new() };
    let tensor = Tensor::create(&pool, options).expect("a tensor");
    for value in 1..8u8 {
        // SAFETY: the array has as many bytes.
        unsafe { tensor.write(10, 4, [value; 4].as_ptr()) }.expect("a write");
        // SAFETY: the tensor's memory, which nobody else writes.
        unsafe { *tensor.data() = value };
        tensor.mark(0, 1).expect("a mark");
        let published = tensor.publish(std::slice::from_ref(&timeline), Access::Read, Timeout::Infinite);
        let address = published.expect("an address");
        let mut seen = [0; 16];
        seen[0] = value;
        seen[10..14].fill(value);
        assert!(is(&device, &timeline, address, &seen), "the device sees step {value}");
    }
    kit_of(&device).set_uva_stale(false).expect("a switch");
}

#[test]
fn a_fresh_block_that_stands_in_lacks_nothing_of_the_last_holders() {
    let device = stale();
    let pool = Pool::create(&device, PoolOptions::new(Placement::Uva, BYTES, 1)).expect("a pool");
    let lease = pool.acquire(0, Timeout::Try).expect("a block");
    // SAFETY: the array has as many bytes.
    unsafe { lease.copy_in(0, BYTES, [1; BYTES as usize].as_ptr(), Timeout::Try) }.expect("a write");
    lease.release().expect("a release: the step was given up");
    let lease = pool.acquire(0, Timeout::Try).expect("the block");
    let got = status(lease.device_address());
    kit_of(&device).set_uva_stale(false).expect("a switch");
    assert_eq!(got, Status::Ok, "refused for what the last holder wrote");
}

#[test]
fn what_could_not_be_made_stands_in_for_nothing() {
    let device = stale();
    let count = || device.counters.stand_ins.get();
    kit_of(&device).limit_memory(Placement::Device, 0).expect("a limit");
    let options = BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(BYTES) };
    assert_eq!(status(Buffer::create(&device, options)), Status::OutOfDeviceMemory);
    let one = || Pool::create(&device, PoolOptions::new(Placement::Uva, BYTES, 1));
    assert_eq!((status(one()), count()), (Status::OutOfDeviceMemory, 0));
    kit_of(&device).limit_memory(Placement::Device, u64::MAX).expect("no limit");
    let pool = one().expect("a pool");
    assert_eq!((pool.memory_bytes(), count()), (2 * BYTES, 1), "both sides of its one block");
    kit_of(&device).set_uva_stale(false).expect("a switch");
}

fn put(buffer: &Buffer, first: u64, bytes: &[u8]) {
    // SAFETY: the slice has as many bytes.
    unsafe { buffer.copy_in(first, bytes.len() as u64, bytes.as_ptr(), Timeout::Infinite) }.expect("a write");
}

/// A pair of sides of which the device has written all.
fn written_on_the_device(timeline: &Arc<Timeline>, shape: &[u64]) -> (Arc<Buffer>, u64) {
    let options = BufferOptions { shape: Shape::new(shape).expect("a shape"), ..pair_of(BYTES) };
    let buffer = common::buffer(timeline.device(), options);
    let at = buffer.device_address(std::slice::from_ref(timeline)).expect("an address");
    (0..BYTES / 8).for_each(|place| write_on(timeline, at + 8 * place, 7));
    ran(timeline);
    (buffer, at)
}

#[test]
fn work_on_a_second_stream_sees_what_was_published_on_the_first() {
    for by_publish in [true, false] {
        let device = device();
        let (first, second) = (stream(&device), stream(&device));
        let buffer = common::buffer(&device, pair_of(BYTES));
        put(&buffer, 0, &[1; 64]);
        hold(&first);
        buffer.publish(&first).expect("an address");
        let waits = device.counters.device_waits.get();
        let told = match by_publish {
            true => buffer.publish(&second),
            false => buffer.device_address(std::slice::from_ref(&second)),
        };
        let waits = device.counters.device_waits.get() - waits;
        release(&first);
        told.expect("an address");
        assert_eq!(waits, 1, "the second stream runs behind the bytes; by publish: {by_publish}");
    }
}

#[test]
fn what_only_the_device_wrote_is_not_overwritten() {
    let device = device();
    let timeline = stream(&device);
    let (buffer, at) = written_on_the_device(&timeline, &[BYTES]);
    buffer.used_on(&timeline, Access::Write).expect("a declaration");
    // More places than there are marks: two are taken together with what lies between them.
    (0..9).for_each(|place| put(&buffer, place * 28, &[1]));
    assert_eq!(status(buffer.publish(&timeline)), Status::Conflict);
    ran(&timeline);
    assert_eq!(read_device(&device, at, BYTES), [7; BYTES as usize], "nothing was sent");
}

#[test]
fn of_what_both_wrote_the_host_is_shown_where_it_was_last() {
    let device = device();
    let timeline = stream(&device);
    let (buffer, at) = written_on_the_device(&timeline, &[BYTES]);
    buffer.used_on(&timeline, Access::Write).expect("a declaration");
    put(&buffer, 8, &[1; 8]);
    buffer.publish(&timeline).expect("an address");
    assert!(is(&device, &timeline, at, &[[7; 8], [1; 8], [7; 8]].concat()));
    put(&buffer, 8, &[2; 8]);
    buffer.used_on(&timeline, Access::Write).expect("a declaration");
    assert_eq!(status(buffer.publish(&timeline)), Status::Conflict, "the device was last");
}

#[test]
fn a_window_is_published_in_as_many_pieces_as_it_takes() {
    let device = device();
    let timeline = stream(&device);
    let (buffer, at) = written_on_the_device(&timeline, &[32, 8]);
    buffer.window((3, 1), (2, 4)).expect("a view").used_on(&timeline, Access::Write).expect("a declaration");
    (0..8).for_each(|k| put(&buffer, 4 * k * 8 + 3, &[1; 18]));
    buffer.window((0, ALL), (2, 4)).expect("a view").publish(&timeline).expect("an address");
    ran(&timeline);
    let seen = read_device(&device, at, BYTES);
    assert_eq!((&seen[3 * 8 + 2..3 * 8 + 6], &seen[8 + 2..8 + 6]), (&[7; 4][..], &[1; 4][..]));
}

#[test]
fn what_a_named_stream_may_have_written_is_declared_before_it_is_read() {
    let device = stale();
    let timeline = stream(&device);
    let buffer = uva(&device);
    let at = buffer.publish(&timeline).expect("an address");
    write_on(&timeline, at, 7);
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Infinite)), Status::Conflict, "not declared");
    buffer.used_on(&timeline, Access::Write).expect("a declaration");
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, Timeout::Infinite)), Status::Conflict, "not synced");
    buffer.sync(None, &timeline, None).expect("a sync");
    let mut seen = 0u8;
    // SAFETY: one byte is written.
    unsafe { buffer.copy_out(0, 1, &raw mut seen, Timeout::Infinite) }.expect("a read");
    assert_eq!(seen, 7);
    let at = buffer.publish(&timeline).expect("an address");
    write_on(&timeline, at, 8);
    buffer.copy(false, 0, ALL, &timeline, None).expect("a copy back says as much");
    // SAFETY: one byte is written.
    unsafe { buffer.copy_out(0, 1, &raw mut seen, Timeout::Infinite) }.expect("a read");
    assert_eq!(seen, 8);
    kit_of(&device).set_uva_stale(false).expect("a switch");
}

#[test]
fn more_is_published_than_the_device_has_caught_up_with() {
    let device = stale();
    let timeline = stream(&device);
    let buffer = uva(&device);
    hold(&timeline);
    let copies = device.counters.copies.get();
    let told: Vec<_> = (0..20)
        .map(|step| {
            put(&buffer, step * 8, &[1]);
            status(buffer.publish(&timeline))
        })
        .collect();
    release(&timeline);
    kit_of(&device).set_uva_stale(false).expect("a switch");
    assert_eq!(device.counters.copies.get() - copies, 20);
    assert!(told.iter().all(|told| *told == Status::Ok), "{told:?}");
}

#[test]
fn a_failed_one_of_many_copies_is_to_be_published_again() {
    if !common::copies_fail_alone() {
        return;
    }
    let device = device();
    let timeline = stream(&device);
    let buffer = common::buffer(&device, pair_of(BYTES));
    hold(&timeline);
    let kit = kit_of(&device);
    kit.fail_operation(Some(gpubuf::backend::kit::Operation::Copy), 1, gpubuf::backend::kit::FailWhen::Execution)
        .expect("a fault");
    for step in 0..20 {
        put(&buffer, step * 8, &[1]);
        buffer.publish(&timeline).expect("an address");
    }
    release(&timeline);
    ran(&timeline);
    let mut newer = false;
    buffer.newer(gpubuf::fence::Which::Host, |part| newer |= part.first == 0).expect("an answer");
    assert!(newer, "the first byte did not arrive");
}

#[test]
fn streams_that_are_gone_make_room_for_others() {
    let device = device();
    let [buffer, other] = [(); 2].map(|()| common::buffer(&device, pair_of(64)));
    for _ in 0..20 {
        let timeline = stream(&device);
        buffer.publish(&timeline).expect("an address");
        ran(&timeline);
    }
    // Their handles ended; what two buffers were used for refers to them.
    for _ in 0..20 {
        let timeline = stream(&device);
        buffer.publish(&timeline).expect("an address");
        other.publish(&timeline).expect("an address of another");
        ran(&timeline);
        timeline.let_go();
    }
    let kept: Vec<_> = (0..9).map(|_| stream(&device)).collect();
    let told: Vec<_> = kept.iter().map(|timeline| status(buffer.publish(timeline))).collect();
    assert_eq!((told[7], told[8]), (Status::Ok, Status::Busy), "those that are there stay");
}

/// A fence behind what it used would become a part of its graph.
#[test]
fn a_stream_that_is_gone_while_it_captures_keeps_its_place() {
    let device = device();
    let buffer = common::buffer(&device, pair_of(64));
    let address = |timeline: &Arc<Timeline>| status(buffer.device_address(std::slice::from_ref(timeline)));
    let (gone, kept) = (stream(&device), [(); 8].map(|()| stream(&device)));
    assert_eq!(address(&gone), Status::Ok);
    kit(&gone).begin_capture().expect("a capture");
    gone.let_go();
    let told: Vec<_> = kept.iter().map(address).collect();
    assert_eq!((told[6], told[7]), (Status::Ok, Status::Busy));
    kit(&gone).end_capture().expect("whole");
    assert_eq!(address(&kept[7]), Status::Ok);
}

#[test]
fn what_a_stream_that_is_gone_still_does_is_waited_for() {
    let device = device();
    let buffer = uva(&device);
    let gate = common::Gate::default();
    let gone = stream(&device);
    buffer.publish(&gone).expect("an address");
    gate.shut(&gone);
    drop(gone);
    // The last of them takes its place.
    let kept: Vec<_> = (0..8).map(|_| stream(&device)).collect();
    for timeline in &kept {
        buffer.publish(timeline).expect("an address");
    }
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Try)), Status::Busy);
    gate.open();
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Infinite)), Status::Ok);
}

/// Also where nothing is to be sent.
#[test]
fn a_block_is_published_to_streams_of_its_device() {
    let (device, other) = (device(), device());
    assert_eq!(status(block(&device).publish(&stream(&other))), Status::WrongDevice);
}

/// As of a block that kernels use in place: work that nobody declared may write it.
#[test]
fn what_stands_in_is_as_sealed_as_what_it_stands_for() {
    for open in [device, stale] {
        let device = open();
        let timeline = stream(&device);
        let lease = block(&device);
        lease.device_address().expect("an address");
        let access = |access| {
            let begun = lease.begin(access, 0, ALL, Timeout::Try);
            begun.and_then(|(_, token)| lease.end(access, token)).map_err(|error| error.status())
        };
        for kind in [Access::Read, Access::Write] {
            assert_eq!(access(kind), Err(Status::Unfenced), "{kind:?}");
        }
        lease.fence(std::slice::from_ref(&timeline)).expect("a fence");
        lease.sync(Policy::Refuse, &timeline, None).expect("a sync");
        ran(&timeline);
        for kind in [Access::Read, Access::Write] {
            assert_eq!(access(kind), Ok(()), "{kind:?}");
        }
        lease.release().expect("a release");
        // The same of a buffer whose address went to nobody knows whom.
        let buffer = uva(&device);
        buffer.device_address(&[]).expect("an address");
        let mut byte = 0u8;
        // SAFETY: one byte.
        let read = |byte: &mut u8| unsafe { buffer.copy_out(0, 1, byte, Timeout::Try) };
        assert_eq!(status(read(&mut byte)), Status::Unfenced);
        buffer.used_on(&timeline, Access::Read).expect("a declaration");
        assert_eq!(status(read(&mut byte)), Status::Ok);
        kit_of(&device).set_uva_stale(false).expect("a switch");
    }
}
