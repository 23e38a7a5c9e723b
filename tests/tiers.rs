//! Tiers: where blocks are, who moves when, and what a failed move leaves. Step by step, with streams that are held shut.

mod common;

use common::{busy, copies_fail_alone, device, hold, kit, kit_of, lose, ran, read_device, release, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device};
use gpubuf::sync::{Arc, AtomicBool, Ordering};
use gpubuf::tiers::{Tier, TieredBlock, Tiers, TiersOptions};
use gpubuf::workspace::{Source, Spec};
use std::slice::from_ref;

const BYTES: u64 = 4096;

/// So many blocks fit in device, page-locked and pageable memory.
fn tiers(device: &Arc<Device>, blocks: [u64; 3]) -> Arc<Tiers> {
    let [a, b, c] = blocks.map(|count| count * BYTES);
    let options = TiersOptions { budgets: [a, 0, b, c], moves_per_step: 0, label: "kv".into() };
    Tiers::create(device, options).expect("tiers")
}

fn set(block: &TieredBlock, value: u8) {
    let (data, token) = block.begin(None, Access::Write, Timeout::Infinite).expect("a write access");
    // SAFETY: the access covers the whole block.
    unsafe { data.write_bytes(value, BYTES as usize) };
    block.release(token).expect("a release");
}

fn is(block: &TieredBlock, value: u8) -> bool {
    let (data, token) = block.begin(None, Access::Read, Timeout::Infinite).expect("a read access");
    // SAFETY: as above.
    let same = unsafe { std::slice::from_raw_parts(data, BYTES as usize) }.iter().all(|byte| *byte == value);
    block.release(token).expect("a release");
    same
}

fn tier(block: &TieredBlock) -> Tier {
    block.info().expect("no other thread").tier
}

#[test]
fn one_handle_survives_every_move() {
    let device = device();
    let tiers = tiers(&device, [2, 2, 2]);
    let block = tiers.create_block(BYTES, None, "").expect("a block");
    assert_eq!(tier(&block), Tier::Pageable, "the lowest first");
    set(&block, 7);
    for to in [Tier::Device, Tier::Pinned, Tier::Device, Tier::Pageable, Tier::Pinned] {
        block.move_to(to, Timeout::Infinite).expect("a move");
        assert_eq!(tier(&block), to);
    }
    assert!(is(&block, 7));
    device.drain(Timeout::Infinite).expect("a drain");
    assert!(!block.info().expect("info").is_moving);
    let stats = tiers.stats();
    assert_eq!(stats.tiers.map(|tier| tier.used_bytes), [0, 0, BYTES, 0], "only where it is");
    assert_eq!((stats.promotions, stats.demotions, stats.moved_bytes), (3, 2, 5 * BYTES));
}

#[test]
fn a_move_is_queued_and_nobody_waits_for_it() {
    let device = device();
    let tiers = tiers(&device, [1, 1, 1]);
    let block = tiers.create_block(BYTES, Some(Tier::Pinned), "").expect("a block");
    set(&block, 3);
    let user = stream(&device);
    hold(&user);
    let (_, token) = block.acquire(None, Access::Write, from_ref(&user), Timeout::Try).expect("an access");
    busy(&user);
    block.release(token).expect("a release");
    block.move_to(Tier::Device, Timeout::Try).expect("what used it comes before, on the device");
    assert!(block.info().expect("info").is_moving);
    assert_eq!(tiers.stats().tiers[Tier::Pinned as usize].used_bytes, BYTES, "its memory is in use still");
    assert_eq!(status(block.begin(Some(Tier::Pinned), Access::Read, Timeout::Try)), Status::Busy);
    release(&user);
    device.synchronize(Timeout::Infinite).expect("everything runs");
    assert!(!block.info().expect("info").is_moving);
    assert!(is(&block, 3));
}

#[test]
fn an_access_brings_a_block_and_makes_room() {
    let device = device();
    let (tiers, user) = (tiers(&device, [2, 4, 4]), stream(&device));
    let blocks: Vec<_> = (0..4).map(|_| tiers.create_block(BYTES, None, "").expect("a block")).collect();
    let touch = |block: &TieredBlock| {
        let got = block.acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite);
        block.release(got.expect("an access").1).expect("a release");
    };
    blocks.iter().for_each(|block| touch(block));
    let there = |wanted: Tier| blocks.iter().filter(|block| tier(block) == wanted).count();
    assert_eq!((there(Tier::Device), there(Tier::Pinned)), (2, 2));
    assert_eq!(tier(&blocks[3]), Tier::Device, "what was used last is there");
    let stats = tiers.stats();
    assert_eq!((stats.accesses, stats.hits), (4, 0));
    touch(&blocks[3]);
    assert_eq!(tiers.stats().hits, 1);
}

#[test]
fn what_is_held_stays_and_the_budget_holds() {
    let device = device();
    let (tiers, user) = (tiers(&device, [1, 2, 2]), stream(&device));
    let [a, b] = [0, 1].map(|_| tiers.create_block(BYTES, None, "").expect("a block"));
    let held = a.acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite).expect("an access").1;
    let refused = b.acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite);
    assert_eq!(status(refused), Status::Budget, "nobody can go");
    assert_eq!(tier(&b), Tier::Pageable);
    a.release(held).expect("a release");
    b.acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite).expect("an access");
    assert_eq!(tier(&a), Tier::Pinned);
    assert_eq!(status(tiers.create_block(3 * BYTES, None, "")), Status::Budget);
}

#[test]
fn steps_bring_up_what_is_used_and_are_the_same_each_time() {
    let run = || {
        let device = device();
        let tiers = tiers(&device, [2, 8, 8]);
        let blocks: Vec<_> = (0..6).map(|_| tiers.create_block(BYTES, None, "").expect("a block")).collect();
        let mut seen = Vec::new();
        for round in 0..12u64 {
            set(&blocks[(round % 6) as usize], round as u8);
            set(&blocks[1], 100);
            device.synchronize(Timeout::Infinite).expect("everything runs");
            let moved = tiers.step();
            seen.push((moved, blocks.iter().map(|block| tier(block)).collect::<Vec<_>>()));
        }
        seen
    };
    let first = run();
    assert!(first.iter().any(|((up, _), _)| *up > 0) && first.iter().any(|((_, down), _)| *down > 0), "{first:?}");
    assert!(first.last().is_some_and(|(_, where_)| where_[1] <= Tier::Pinned), "the one that is used most is up");
    assert_eq!(run(), first);
}

#[test]
fn a_move_that_fails_leaves_the_block_where_it_was() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (tiers, user) = (tiers(&device, [2, 2, 2]), stream(&device));
    let block = tiers.create_block(BYTES, Some(Tier::Pinned), "").expect("a block");
    set(&block, 9);
    let fail = |when| kit_of(&device).fail_operation(Some(Operation::Copy), 1, when).expect("a fault");
    fail(FailWhen::Submission);
    block.move_to(Tier::Device, Timeout::Try).expect_err("it is refused");
    assert_eq!(tier(&block), Tier::Pinned);
    fail(FailWhen::Execution);
    block.move_to(Tier::Device, Timeout::Try).expect("it is queued");
    let _ = device.synchronize(Timeout::Infinite);
    assert_eq!(tier(&block), Tier::Pinned);
    assert!(is(&block, 9), "nobody had used the new memory");
    // Kernels got the new address before the copy failed, which comes behind their work of before.
    hold(&user);
    let before = block.acquire(Some(Tier::Pinned), Access::Write, from_ref(&user), Timeout::Infinite);
    block.release(before.expect("it is there").1).expect("a release");
    fail(FailWhen::Execution);
    let got = block.acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite);
    block.release(got.expect("it is not waited for").1).expect("a release");
    release(&user);
    let _ = device.synchronize(Timeout::Infinite);
    assert_eq!(status(block.begin(None, Access::Read, Timeout::Infinite)), Status::CopyFailed, "told once");
    assert!(is(&block, 9));
    assert_eq!((tier(&block), tiers.stats().failed_moves, tiers.stats().refused_moves), (Tier::Pinned, 2, 1));
    device.maintain();
    assert_eq!(tiers.stats().tiers[0].used_bytes, 0);
}

/// What only a release of the caller's could free is refused, as with every block that is held, not waited for.
#[test]
fn a_block_whose_move_failed_under_its_holder_makes_no_room() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (tiers, user) = (tiers(&device, [1, 1, 2]), stream(&device));
    let held = tiers.create_block(BYTES, Some(Tier::Pinned), "").expect("a block");
    let other = tiers.create_block(BYTES, Some(Tier::Pageable), "").expect("a block");
    set(&held, 9);
    set(&other, 7);
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
    let got = held.acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite);
    let token = got.expect("it is not waited for").1;
    let _ = device.synchronize(Timeout::Infinite);
    for _ in 0..2 {
        assert_eq!(status(other.move_to(Tier::Pinned, Timeout::Try)), Status::Budget, "{}", tiers.describe());
    }
    held.release(token).expect("a release");
    assert!(!held.describe().contains("moving"), "it is back at once: {}", held.describe());
    assert_eq!(tier(&held), Tier::Pinned, "with the bytes of before");
    other.move_to(Tier::Pinned, Timeout::Infinite).expect("the one that is not held any more goes down");
    assert_eq!(status(held.begin(None, Access::Read, Timeout::Infinite)), Status::CopyFailed, "told once");
    assert!(is(&held, 9) && is(&other, 7));
}

#[test]
fn what_one_access_ends_with_is_no_end_of_the_others() {
    let device = device();
    let (tiers, users) = (tiers(&device, [1, 1, 1]), [stream(&device), stream(&device)]);
    let block = tiers.create_block(BYTES, Some(Tier::Pinned), "").expect("a block");
    // The move comes behind work that is held back: it fails when both have the address.
    let before = stream(&device);
    hold(&before);
    let writer = block.acquire(Some(Tier::Pinned), Access::Write, from_ref(&before), Timeout::Infinite);
    block.release(writer.expect("it is there").1).expect("a release");
    if copies_fail_alone() {
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
    }
    let [first, second] = users.each_ref().map(|user| {
        let got = block.acquire(Some(Tier::Device), Access::Read, from_ref(user), Timeout::Infinite);
        got.expect("it is not waited for").1
    });
    release(&before);
    let _ = device.synchronize(Timeout::Infinite);
    block.release(first).expect("that the bytes never came is for the next access to hear");
    assert!(block.describe().contains("sealed"), "the other has the address: {}", block.describe());
    block.release(second).expect("a release");
    assert!(!block.describe().contains("sealed"), "{}", block.describe());
    let next = block.begin(None, Access::Read, Timeout::Infinite);
    assert_eq!(status(next), if copies_fail_alone() { Status::CopyFailed } else { Status::Ok });
}

#[test]
fn memory_that_cannot_be_had_leaves_the_block_where_it_was() {
    let device = device();
    let tiers = tiers(&device, [4, 4, 4]);
    let block = tiers.create_block(BYTES, None, "").expect("a block");
    set(&block, 5);
    kit_of(&device).limit_memory(Placement::Device, 1).expect("a limit");
    assert_eq!(status(block.move_to(Tier::Device, Timeout::Infinite)), Status::OutOfDeviceMemory);
    assert!(is(&block, 5) && tier(&block) == Tier::Pageable);
    assert_eq!(tiers.stats().tiers[0].used_bytes, 0);
}

#[test]
fn a_smaller_budget_and_pressure_send_blocks_down() {
    let device = device();
    let tiers = tiers(&device, [4, 4, 4]);
    let blocks: Vec<_> = (0..4).map(|_| tiers.create_block(BYTES, Some(Tier::Device), "").expect("a block")).collect();
    tiers.set_budget(Tier::Device, 3 * BYTES).expect("a budget");
    assert_eq!(tiers.step().1, 1);
    assert_eq!(tiers.demote(Tier::Device, 2 * BYTES), 2 * BYTES);
    device.synchronize(Timeout::Infinite).expect("everything runs");
    tiers.step();
    assert_eq!(blocks.iter().filter(|block| tier(block) == Tier::Device).count(), 1);
    assert_eq!(status(tiers.set_budget(Tier::Managed, 1)), Status::InvalidArgument);
}

#[test]
fn kernels_get_the_address_of_the_bytes() {
    let device = device();
    let tiers = tiers(&device, [1, 1, 1]);
    let block = tiers.create_block(BYTES, None, "").expect("a block");
    set(&block, 5);
    let stream = stream(&device);
    for tier in [Tier::Device, Tier::Pinned] {
        let acquired = block.acquire(Some(tier), Access::Read, from_ref(&stream), Timeout::Infinite);
        let (address, token) = acquired.expect("an access");
        ran(&stream);
        assert_eq!(read_device(&device, address, BYTES), [5; BYTES as usize]);
        block.release(token).expect("a release");
    }
}

#[test]
fn a_stream_that_cannot_have_the_address_brings_no_block() {
    let (device, other) = (device(), device());
    let tiers = tiers(&device, [1, 1, 1]);
    let block = tiers.create_block(BYTES, Some(Tier::Pageable), "").expect("a block");
    let (stranger, captures) = (stream(&other), stream(&device));
    kit(&captures).begin_capture().expect("a capture");
    for (stream, answer) in [(&stranger, Status::WrongDevice), (&captures, Status::Capturing)] {
        let acquired = block.acquire(Some(Tier::Device), Access::Read, from_ref(stream), Timeout::Infinite);
        assert_eq!(status(acquired), answer);
        assert_eq!(tier(&block), Tier::Pageable);
    }
    kit(&captures).end_capture().expect("its end");
}

#[test]
fn streams_whose_uses_cannot_be_told_apart_get_no_address() {
    let device = device();
    let tiers = tiers(&device, [1, 1, 1]);
    let block = tiers.create_block(BYTES, Some(Tier::Device), "").expect("a block");
    let streams: Vec<_> = (0..9).map(|_| stream(&device)).collect();
    let acquire = |stream| {
        hold(stream);
        block.acquire(None, Access::Read, from_ref(stream), Timeout::Try)
    };
    for stream in &streams[..8] {
        let (_, token) = acquire(stream).expect("an access");
        block.release(token).expect("a release");
    }
    assert_eq!(status(acquire(&streams[8])), Status::Busy);
    streams.iter().for_each(|stream| release(stream));
}

#[test]
fn room_on_a_lost_device_is_not_waited_for() {
    let device = device();
    let tiers = tiers(&device, [1, 1, 1]);
    let (one, two) = (tiers.create_block(BYTES, Some(Tier::Device), ""), tiers.create_block(BYTES, None, ""));
    let (one, two) = (one.expect("a block"), two.expect("a block"));
    one.acquire(None, Access::Read, from_ref(&stream(&device)), Timeout::Try).expect("an access");
    lose(&device);
    assert_eq!(status(two.move_to(Tier::Device, Timeout::Infinite)), Status::DeviceLost);
}

#[test]
fn blocks_end_with_their_uses() {
    let device = device();
    let (tiers, user) = (tiers(&device, [1, 0, 1]), stream(&device));
    let block = tiers.create_block(BYTES, Some(Tier::Device), "").expect("a block");
    hold(&user);
    block.acquire(None, Access::Write, from_ref(&user), Timeout::Try).expect("an access");
    busy(&user);
    drop(block);
    assert_eq!(status(tiers.create_block(BYTES, Some(Tier::Device), "")), Status::Budget, "kernels use its memory");
    release(&user);
    ran(&user);
    assert_eq!(status(tiers.create_block(BYTES, Some(Tier::Device), "")), Status::Ok);
}

#[test]
fn buffers_take_their_part_of_the_budgets() {
    let device = device();
    let tiers = tiers(&device, [2, 2, 2]);
    let block = tiers.create_block(BYTES, Some(Tier::Device), "").expect("a block");
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let spec = Spec::new(Dtype::U8, shape, Placement::Pageable, Placement::Device).expect("a spec");
    let take = |timeout| tiers.clone().take(&spec, timeout);
    let one = take(Timeout::Infinite).expect("there is room");
    assert_eq!(tier(&block), Tier::Device);
    let two = take(Timeout::Infinite).expect("the block makes room");
    assert_eq!(tier(&block), Tier::Pinned);
    assert_eq!(status(take(Timeout::Infinite)), Status::Budget, "buffers make none");
    let used = || {
        device.maintain();
        tiers.stats().tiers.map(|tier| tier.used_bytes / BYTES)
    };
    assert_eq!(used(), [2, 0, 1, 2]);
    drop(one);
    assert_eq!(used(), [1, 0, 1, 1]);
    let view = two.with(two.shared());
    drop(two);
    assert_eq!(used(), [1, 0, 1, 1], "a view holds it");
    drop(view);
    assert_eq!(used(), [0, 0, 1, 0]);
    kit_of(&device).limit_memory(Placement::Device, 1).expect("a limit");
    assert_eq!(status(take(Timeout::Infinite)), Status::OutOfDeviceMemory);
    assert_eq!(used(), [0, 0, 1, 0], "nothing half done");
}

#[test]
fn a_budget_has_a_buffers_bytes_back_when_its_memory_goes() {
    let device = device();
    let tiers = tiers(&device, [1, 1, 1]);
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let spec = Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec");
    let take = || tiers.clone().take(&spec, Timeout::Try);
    let used = || {
        device.maintain();
        tiers.stats().tiers.map(|tier| tier.used_bytes / BYTES)
    };
    let user = stream(&device);
    let held = take().expect("there is room");
    hold(&user);
    held.copy(true, 0, ALL, &user, None).expect("a copy");
    drop(held);
    assert_eq!(used(), [1, 0, 1, 0], "a copy uses its memory");
    assert_eq!(status(take()), Status::Budget);
    assert_eq!(status(tiers.create_block(BYTES, Some(Tier::Device), "")), Status::Budget);
    release(&user);
    assert_eq!(used(), [0; 4]);
    // What is quarantined is there, and nobody's, for good.
    let lost = take().expect("there is room");
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).expect("a fault");
    assert_eq!(status(lost.copy(true, 0, ALL, &user, None)), Status::Quarantined);
    drop(lost);
    assert_eq!(used(), [1, 0, 1, 0]);
    assert_eq!(status(take()), Status::Budget);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let device = device();
    let (tiers, user) = (tiers(&device, [1, 1, 1]), stream(&device));
    let block = tiers.create_block(BYTES, None, "").expect("a block");
    assert_eq!(status(tiers.create_block(0, None, "")), Status::InvalidArgument);
    assert_eq!(status(tiers.create_block(1, Some(Tier::Managed), "")), Status::InvalidArgument);
    assert_eq!(status(block.begin(Some(Tier::Device), Access::Read, Timeout::Try)), Status::InvalidArgument);
    let kernels = block.acquire(Some(Tier::Pageable), Access::Read, from_ref(&user), Timeout::Try);
    assert_eq!(status(kernels), Status::InvalidArgument);
    assert_eq!(status(block.acquire(None, Access::Read, &[], Timeout::Try)), Status::InvalidArgument);
    assert_eq!(status(block.release(1)), Status::NotBegun);
    let options = TiersOptions { budgets: [0; 4], moves_per_step: 0, label: String::new() };
    assert_eq!(status(Tiers::create(&device, options)), Status::InvalidArgument);
}

#[test]
fn threads_with_blocks_of_their_own_do_not_disturb_each_other() {
    let device = device();
    let tiers = tiers(&device, [4, 8, 12]);
    let stop = Arc::new(AtomicBool::new(false));
    let stepper = std::thread::spawn({
        let (tiers, stop) = (tiers.clone(), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                tiers.step();
            }
        }
    });
    let workers: Vec<_> = (0..3u8)
        .map(|worker| {
            let (device, tiers) = (device.clone(), tiers.clone());
            std::thread::spawn(move || {
                let user = stream(&device);
                let blocks: Vec<_> = (0..4).map(|_| tiers.create_block(BYTES, None, "").expect("a block")).collect();
                for round in 0..60u8 {
                    for (number, block) in blocks.iter().enumerate() {
                        let value = worker * 64 + number as u8 * 8 + round % 8;
                        set(block, value);
                        match block.acquire(Some(Tier::Device), Access::Read, from_ref(&user), Timeout::Infinite) {
                            Ok((_, token)) => block.release(token).expect("a release"),
                            // The others hold all of it.
                            Err(error) => assert_eq!(error.status(), Status::Budget, "{error:?}"),
                        }
                        assert!(is(block, value));
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().expect("a worker"));
    stop.store(true, Ordering::Relaxed);
    stepper.join().expect("the stepper");
    device.drain(Timeout::Infinite).expect("a drain");
    assert_eq!(tiers.stats().tiers.map(|tier| tier.used_bytes), [0; 4]);
}
