//! Blocks of shared tiers, moved and accessed while others step, change budgets and send them down; and buffers under the same
//! budgets.

use crate::kit::Random;
use crate::site::{BLOCK, Site, Work};
use gpubuf::config::{ALL, Placement};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::Access;
use gpubuf::sync::Arc;
use gpubuf::tiers::{Tier, TieredBlock};
use gpubuf::workspace::{Source, Spec};
use std::slice::from_ref;

/// There is no room, or those who could make some are in use.
const FULL: &[Status] = &[Status::Budget];

pub fn run(site: &Site, random: &mut Random) {
    let mut blocks: Vec<(Arc<TieredBlock>, u8)> = Vec::new();
    for _ in 0..site.rounds {
        if !site.round() {
            return;
        }
        if blocks.is_empty() || (blocks.len() < 4 && random.below(8) == 0) {
            let tier = [None, Some(Tier::Pageable)][random.below(2) as usize];
            // Its bytes are those of another's last use.
            if let Ok(Some(block)) = site.get("a tiered block", FULL, site.tiers.create_block(BLOCK, tier, "")) {
                let mut block = (block, 0);
                if write(site, &mut block, random) == Ok(true) {
                    blocks.push(block);
                }
            }
            continue;
        }
        let at = random.below(blocks.len() as u64) as usize;
        match random.below(16) {
            0 => drop(blocks.swap_remove(at)),
            1 => drop(loan(site, random)),
            _ if one_round(site, &mut blocks[at], random).is_err() => drop(blocks.swap_remove(at)),
            _ => {}
        }
    }
}

/// Whether it was written.
fn write(site: &Site, (block, value): &mut (Arc<TieredBlock>, u8), random: &mut Random) -> Work<bool> {
    let tier = [None, Some(Tier::Pinned), Some(Tier::Pageable)][random.below(3) as usize];
    let got = site.get("a write of a tiered block", FULL, block.begin(tier, Access::Write, site.patience()))?;
    let Some((data, token)) = got else { return Ok(false) };
    *value = random.next() as u8;
    // SAFETY: the access covers the whole block.
    unsafe { data.write_bytes(*value, BLOCK as usize) };
    site.must("the end of a write", block.release(token))?;
    Ok(true)
}

fn one_round(site: &Site, block: &mut (Arc<TieredBlock>, u8), random: &mut Random) -> Work<()> {
    let stream = site.stream(random);
    match random.below(5) {
        0 => drop(write(site, block, random)?),
        1 => {
            let tier = [None, Some(Tier::Pageable)][random.below(2) as usize];
            let got = block.0.begin(tier, Access::Read, site.patience());
            if let Some((data, token)) = site.get("a read of a tiered block", FULL, got)? {
                // SAFETY: the access covers the whole block.
                let seen = unsafe { std::slice::from_raw_parts(data, BLOCK as usize) };
                site.expect("a tiered block", seen, &[block.1; BLOCK as usize]);
                site.must("the end of a read", block.0.release(token))?;
            }
        }
        2 | 3 => {
            let tier = [None, Some(Tier::Device), Some(Tier::Pinned)][random.below(3) as usize];
            let got = block.0.acquire(tier, Access::Read, from_ref(&stream), site.patience());
            if let Some((address, token)) = site.get("kernels of a tiered block", FULL, got)? {
                let looked = site.look(&stream, address, &[block.1; BLOCK as usize]);
                site.must("the end of kernels", block.0.release(token))?;
                looked?;
            }
        }
        _ => {
            let tier = [Tier::Device, Tier::Pinned, Tier::Pageable][random.below(3) as usize];
            site.get("a move", FULL, block.0.move_to(tier, site.patience()))?;
        }
    }
    let info = site.must("where a block is", block.0.info())?;
    assert_eq!(info.holds, 0);
    Ok(())
}

/// A buffer under the tiers' budgets, used and given back with its use under way.
fn loan(site: &Site, random: &mut Random) -> Work<()> {
    let shape = Shape::new(&[BLOCK]).expect("a shape");
    let spec = Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec");
    let taken = site.tiers.clone().take(&spec, site.patience());
    let Some(held) = site.get("a buffer of tiers", FULL, taken)? else { return Ok(()) };
    let (stream, value) = (site.stream(random), random.next() as u8);
    site.must("a fill", held.fill(true, false, &[value], None, site.patience()))?;
    site.must("a copy", held.copy(true, 0, ALL, &stream, None))?;
    let address = site.must("an address", held.device_address(from_ref(&stream)))?;
    site.look(&stream, address, &[value; BLOCK as usize])
}
