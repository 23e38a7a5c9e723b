//! Tensors over blocks of a shared pool, which grows and shrinks by a predictor's and the upkeep's doing, and leases of the same pool.

use crate::kit::Random;
use crate::site::{BLOCK, Site, Work};
use gpubuf::config::ALL;
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::Access;
use gpubuf::sync::Arc;
use gpubuf::tensor::{Tensor, TensorOptions};
use std::slice::from_ref;

struct Truth {
    tensor: Arc<Tensor>,
    bytes: Vec<u8>,
}

pub fn run(site: &Site, random: &mut Random) {
    let mut truth = None;
    for _ in 0..site.rounds {
        if !site.round() {
            return;
        }
        if random.below(4) == 0 {
            let _ = predict(site, random);
            continue;
        }
        let kept = match truth.take() {
            Some(truth) => Ok(truth),
            None => make(site),
        };
        let kept = kept.and_then(|mut truth| one_round(site, &mut truth, random).map(|()| truth));
        truth = kept.ok().filter(|_| random.below(30) > 0);
    }
}

fn make(site: &Site) -> Work<Truth> {
    let shape = Shape::new(&[BLOCK]).expect("a shape");
    let options = TensorOptions { dtype: Dtype::U8, shape, max_blocks: 3, label: String::new() };
    let tensor = site.must("a tensor", Tensor::create(&site.pool, options))?;
    Ok(Truth { tensor, bytes: vec![0; BLOCK as usize] })
}

fn one_round(site: &Site, Truth { tensor, bytes }: &mut Truth, random: &mut Random) -> Work<()> {
    let stream = site.stream(random);
    for _ in 0..random.below(4) {
        let first = random.below(BLOCK);
        let values: Vec<u8> = (0..1 + random.below(BLOCK - first)).map(|_| random.next() as u8).collect();
        // SAFETY: as many elements.
        site.must("a write", unsafe { tensor.write(first, values.len() as u64, values.as_ptr()) })?;
        bytes[first as usize..][..values.len()].copy_from_slice(&values);
    }
    let access = if random.below(4) == 0 { Access::Write } else { Access::Read };
    let address = site.must("a publish", tensor.publish(from_ref(&stream), access, site.patience()))?;
    site.look(&stream, address, bytes)?;
    if access == Access::Write {
        site.must("to the host", tensor.to_host(0, ALL, Some(&stream), site.patience()))?;
        // SAFETY: the tensor's memory, which this thread alone uses.
        let found = unsafe { std::slice::from_raw_parts(tensor.data(), bytes.len()) };
        site.expect("a tensor", found, bytes);
    }
    Ok(())
}

/// Sizes are recorded, blocks made for those to come, and one is used.
fn predict(site: &Site, random: &mut Random) -> Work<()> {
    site.must("a record", site.predictor.record(BLOCK / (1 + random.below(3))))?;
    // Where the pool may have no more, it says so.
    site.must("a prewarm", site.predictor.prewarm_pool(&site.pool, 0, 1))?;
    let lease = site.must("a lease", site.pool.acquire(random.below(3) as i32, site.patience()))?;
    let (stream, value) = (site.stream(random), random.next() as u8);
    let used = (|| {
        let (data, token) = site.must("a write", lease.begin(Access::Write, 0, ALL, site.patience()))?;
        // SAFETY: the guard covers the block.
        unsafe { data.write_bytes(value, BLOCK as usize) };
        site.must("the end of a write", lease.end(Access::Write, token))?;
        let address = site.must("an address", lease.device_address())?;
        site.look(&stream, address, &[value; BLOCK as usize])
    })();
    site.get("a release", &[Status::NotHeld], lease.release_after(from_ref(&stream)))?;
    used
}
