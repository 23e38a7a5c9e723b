//! Tiers: blocks that move from memory to memory.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::config::Timeout;
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device};
use gpubuf::sync::Arc;
use gpubuf::tiers::{Tier, TieredBlock, Tiers, TiersOptions};
use std::slice::from_ref;

fn block(device: &Arc<Device>) -> Arc<TieredBlock> {
    let budgets = [2 * BYTES, 0, 2 * BYTES, 2 * BYTES];
    let options = TiersOptions { budgets, moves_per_step: 0, label: String::new() };
    let tiers = Tiers::create(device, options).expect("tiers");
    tiers.create_block(BYTES, Some(Tier::Pinned), "").expect("a block")
}

pub const CASES: &[Case] = &[
    case!(TierMoves, "a block that kernels were given the address of is not moved", |it| {
        let device = device();
        let (block, user) = (block(&device), stream(&device));
        let (_, token) = block.acquire(None, Access::Write, from_ref(&user), Timeout::Try).works()?;
        ensure!(status(block.move_to(Tier::Pageable, Timeout::Try)) == Status::Busy, it);
        block.release(token).works()?;
        ensure!(status(block.move_to(Tier::Pageable, Timeout::Try)) == Status::Ok, "it is moved when it is released");
    }),
    case!(TierHolds, "kernels on another stream do not read what kernels write", |it| {
        let device = device();
        let (block, users) = (block(&device), [stream(&device), stream(&device)]);
        let (_, token) = block.acquire(None, Access::Write, &users[..1], Timeout::Try).works()?;
        ensure!(status(block.acquire(None, Access::Read, &users[1..], Timeout::Try)) == Status::Busy, it);
        block.release(token).works()?;
        ensure!(
            status(block.acquire(None, Access::Read, &users[1..], Timeout::Try)) == Status::Ok,
            "they do when that is released"
        );
    }),
    case!(TierOrders, "a stream that gets the address waits for the work of another one that wrote the block", |it| {
        let device = device();
        let (block, mut held, other) = (block(&device), Held::new(&device), stream(&device));
        let (_, token) = block.acquire(None, Access::Write, from_ref(&held.timeline), Timeout::Try).works()?;
        busy(&held.timeline);
        block.release(token).works()?;
        block.acquire(None, Access::Read, from_ref(&other), Timeout::Try).works()?;
        busy(&other);
        ensure!(!held.is_overtaken_by(&other), it);
        held.open();
        ran(&other);
    }),
];
