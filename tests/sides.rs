//! Sides without a block around them, as slots and tiers use them: what a transfer between two of them refuses.

mod common;

use common::{copies_fail_alone, device, kit, kit_of, status, stream};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::{Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{
    Access, Device, HostWait, Name, Outcome, Piece, Range, Role, Side, Storage, Timeline, Which, transfer,
};
use gpubuf::sync::Arc;

const BYTES: usize = 64;

fn side(device: &Arc<Device>, which: Which) -> Side {
    let placement = if which == Which::Host { Placement::Pinned } else { Placement::Device };
    let storage = Storage::allocate(device, placement, BYTES).expect("memory");
    Side::new(which, &Arc::new(Name::new("side", "")), storage)
}

/// One of each.
fn sides(device: &Arc<Device>) -> [Side; 2] {
    [side(device, Which::Host), side(device, Which::Device)]
}

fn send(source: &mut Side, target: &mut Side, timeline: &Arc<Timeline>) -> Status {
    let all = [Piece { source: 0, target: 0, bytes: BYTES }];
    let outcome = transfer(source, target, &all, timeline, Role::Copy);
    assert!(matches!(outcome, Outcome::Queued(_) | Outcome::Refused(_)));
    status(outcome.into_result())
}

fn open(side: &mut Side, access: Access) -> u64 {
    let all = Range { start: 0, end: BYTES };
    side.begin(access, all, &HostWait::of_device(Timeout::Infinite)).expect("an access").1
}

#[test]
fn a_transfer_looks_for_guards_on_both_sides() {
    let device = device();
    let stream = stream(&device);
    let [mut host, mut on_device] = sides(&device);
    let token = open(&mut host, Access::Write);
    assert_eq!(send(&mut host, &mut on_device, &stream), Status::Busy, "the source is being written");
    host.end(Access::Write, token).unwrap();
    let token = open(&mut host, Access::Read);
    assert_eq!(send(&mut host, &mut on_device, &stream), Status::Ok);
    assert_eq!(send(&mut on_device, &mut host, &stream), Status::Busy, "the target is being read");
    host.end(Access::Read, token).unwrap();
    assert_eq!(send(&mut on_device, &mut host, &stream), Status::Ok);
}

#[test]
fn a_stream_that_captures_transfers_nothing() {
    let device = device();
    let stream = stream(&device);
    let [mut host, mut on_device] = sides(&device);
    kit(&stream).begin_capture().unwrap();
    assert_eq!(send(&mut host, &mut on_device, &stream), Status::Capturing);
    kit(&stream).end_capture().unwrap();
}

#[test]
fn what_did_not_arrive_is_not_sent_on() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let ([mut host, mut on_device], mut next) = (sides(&device), side(&device, Which::Host));
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).unwrap();
    assert_eq!(send(&mut host, &mut on_device, &stream), Status::Ok);
    stream.synchronize(Timeout::Infinite).expect_err("a failure");
    assert_eq!(send(&mut on_device, &mut next, &stream), Status::CopyFailed);
    assert_eq!(send(&mut on_device, &mut next, &stream), Status::Ok, "told once");
}
