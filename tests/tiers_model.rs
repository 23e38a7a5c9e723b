//! Blocks hold what was written, wherever they are: random accesses, moves, steps and budgets, with streams that are held shut and
//! copies that fail.

mod common;
#[allow(dead_code)]
#[path = "stress/kit.rs"]
mod kit;

use common::{copies_fail_alone, hold, kit_of};
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::config::Timeout;
use gpubuf::error::Status;
use gpubuf::fence::Access;
use gpubuf::sync::Arc;
use gpubuf::tiers::{Tier, TierStats, TieredBlock, Tiers, TiersOptions};
use kit::{Random, Rig, STREAMS};
use std::slice::from_ref;

const BYTES: u64 = 512;

#[test]
fn blocks_hold_what_was_written_wherever_they_are() {
    for seed in 0..8 {
        run(seed, seed % 2 == 1 && copies_fail_alone());
    }
}

fn expect(status: Status, faults: bool) {
    let known = matches!(status, Status::Busy | Status::Budget | Status::CopyFailed)
        || (faults && matches!(status, Status::DriverError | Status::Internal | Status::OutOfHostMemory));
    assert!(known, "{status:?}");
}

fn run(seed: u64, faults: bool) {
    let (mut random, rig) = (Random::new(seed), Rig::new(seed));
    let budgets = [3, 0, 4, 12].map(|count| count * BYTES);
    let options = TiersOptions { budgets, moves_per_step: 0, label: String::new() };
    let tiers = Tiers::create(&rig.device, options).expect("tiers");
    let mut blocks: Vec<(Arc<TieredBlock>, u8)> = Vec::new();
    let mut shut = [false; STREAMS as usize];
    let (mut moved, mut used) = (0, 0);
    for step in 0..1500u64 {
        let which = random.below(STREAMS) as usize;
        let asked = [None, Some(Tier::Device), Some(Tier::Pinned), Some(Tier::Pageable)][random.below(4) as usize];
        match random.below(14) {
            0 if blocks.len() < 10 => match tiers.create_block(BYTES, None, "") {
                Ok(block) => {
                    blocks.push((block, 0));
                    let last = blocks.len() - 1;
                    write(&mut blocks[last], 0, faults);
                }
                // There is room for ten, but what moves, or has ended, keeps its memory behind streams that are shut.
                Err(error) => {
                    expect(error.status(), faults);
                    let full = |tier: &TierStats| tier.used_bytes + BYTES > tier.budget_bytes;
                    assert!(error.status() != Status::Budget || tiers.stats().tiers.iter().all(full), "{error:?}");
                }
            },
            1 if blocks.len() > 6 => drop(blocks.swap_remove(random.below(blocks.len() as u64) as usize)),
            2 => {
                if shut[which] {
                    common::kit(&rig.streams[which]).release().expect("a release");
                } else {
                    hold(&rig.streams[which]);
                }
                shut[which] = !shut[which];
            }
            3 if faults => {
                let when = if random.below(2) == 0 { FailWhen::Submission } else { FailWhen::Execution };
                kit_of(&rig.device).fail_operation(Some(Operation::Copy), 1 + random.below(3), when).expect("a fault");
            }
            4 => {
                tiers.step();
            }
            5 => {
                let budget = (2 + random.below(3)) * BYTES;
                tiers.set_budget(Tier::Device, budget).expect("a budget");
            }
            _ if blocks.is_empty() => {}
            6 | 7 => {
                let at = random.below(blocks.len() as u64) as usize;
                write(&mut blocks[at], step as u8, faults);
            }
            8 | 9 => {
                let (block, value) = &blocks[random.below(blocks.len() as u64) as usize];
                match block.begin(asked.filter(|tier| *tier != Tier::Device), Access::Read, Timeout::Try) {
                    Ok((data, token)) => {
                        // SAFETY: the access covers the whole block.
                        let seen = unsafe { std::slice::from_raw_parts(data, BYTES as usize) };
                        assert!(seen.iter().all(|byte| byte == value), "{seed}, {step}: {} is not {value}", seen[0]);
                        block.release(token).expect("a release");
                    }
                    Err(error) => expect(error.status(), faults),
                }
            }
            10 | 11 => {
                let (block, value) = &blocks[random.below(blocks.len() as u64) as usize];
                let stream = &rig.streams[which];
                match block.acquire(
                    asked.filter(|tier| *tier != Tier::Pageable),
                    Access::Read,
                    from_ref(stream),
                    Timeout::Try,
                ) {
                    Ok((address, token)) => {
                        // What a failed copy was to bring is not there.
                        if !faults {
                            rig.look(stream, address, &[*value; BYTES as usize]);
                        }
                        used += 1;
                        block.release(token).expect("a release");
                    }
                    Err(error) => expect(error.status(), faults),
                }
            }
            _ => {
                let (block, _) = &blocks[random.below(blocks.len() as u64) as usize];
                match block.move_to(asked.unwrap_or(Tier::Device), Timeout::Try) {
                    Ok(()) => moved += 1,
                    Err(error) => expect(error.status(), faults),
                }
            }
        }
        let stats = tiers.stats();
        for tier in [Tier::Pinned, Tier::Pageable] {
            let tier = stats.tiers[tier as usize];
            assert!(tier.used_bytes + tier.kept_bytes <= tier.budget_bytes, "{tier:?}");
        }
        if step % 50 == 49 {
            for (stream, shut) in rig.streams.iter().zip(&mut shut) {
                if std::mem::take(shut) {
                    common::kit(stream).release().expect("a release");
                }
            }
            let _ = rig.device.synchronize(Timeout::Infinite);
        }
    }
    for (stream, shut) in rig.streams.iter().zip(shut) {
        if shut {
            common::kit(stream).release().expect("a release");
        }
    }
    drop(blocks);
    let _ = rig.device.drain(Timeout::Infinite);
    assert_eq!(rig.wrong_bytes(), 0, "kernels saw other bytes");
    assert!(moved > 100 && used > 50, "{moved} moves, {used} uses");
    assert!(!faults || tiers.stats().failed_moves > 0);
    assert_eq!(tiers.stats().tiers.map(|tier| tier.used_bytes), [0; 4], "everything is back");
}

fn write((block, value): &mut (Arc<TieredBlock>, u8), new: u8, faults: bool) {
    match block.begin(None, Access::Write, Timeout::Try) {
        Ok((data, token)) => {
            // SAFETY: the access covers the whole block.
            unsafe { data.write_bytes(new, BYTES as usize) };
            *value = new;
            block.release(token).expect("a release");
        }
        Err(error) => expect(error.status(), faults),
    }
}
