//! Buffers and views of them, on streams that come and go with work on them.

use crate::common::pair_of;
use crate::kit::Random;
use crate::site::{Site, Work};
use gpubuf::buffer::Buffer;
use gpubuf::config::ALL;
use gpubuf::fence::{Access, Timeline};
use gpubuf::sync::Arc;
use std::slice::from_ref;

const BYTES: usize = 1024;

/// A side has room for the uses of so many streams, less one.
const MOST_STREAMS: usize = 7;

struct Model {
    buffer: Arc<Buffer>,
    bytes: Vec<u8>,
    /// The last of so many streams.
    stream: Arc<Timeline>,
    streams: usize,
}

pub fn run(site: &Site, random: &mut Random) {
    let mut model = None;
    for _ in 0..site.rounds {
        if !site.round() {
            return;
        }
        let kept = match model.take() {
            Some(model) => Ok(model),
            None => make(site),
        };
        let kept = kept.and_then(|mut model| one_round(site, &mut model, random).map(|()| model));
        model = kept.ok().filter(|model| model.streams < MOST_STREAMS && random.below(10) > 0);
    }
}

fn make(site: &Site) -> Work<Model> {
    let buffer = site.must("a buffer", Buffer::create(site.device(), pair_of(BYTES as u64)))?;
    site.must("a first fill", buffer.fill(true, false, &[1], None, site.patience()))?;
    let stream = site.must("a stream", Timeline::create(site.device(), ""))?;
    Ok(Model { buffer, bytes: vec![1; BYTES], stream, streams: 1 })
}

fn one_round(site: &Site, model: &mut Model, random: &mut Random) -> Work<()> {
    if random.below(3) == 0 {
        // The other one ends with its work.
        model.stream = site.must("a stream", Timeline::create(site.device(), ""))?;
        model.streams += 1;
    }
    let Model { buffer, bytes, stream, .. } = model;
    let first = random.below(BYTES as u64);
    let count = 1 + random.below(BYTES as u64 - first);
    let view = site.must("a view", buffer.slice(first, count))?;
    let value = random.next() as u8;
    let (data, token) = site.must("a write", view.begin(Access::Write, 0, ALL, site.patience()))?;
    // SAFETY: the guard covers the view.
    unsafe { data.write_bytes(value, count as usize) };
    site.must("the end of a write", view.end(Access::Write, token))?;
    bytes[first as usize..][..count as usize].fill(value);
    let address = site.must("an address", buffer.publish(stream))?;
    site.must("a use", buffer.device_address(from_ref(stream)))?;
    site.look(stream, address, bytes)?;
    if random.below(2) == 0 {
        site.must("a copy back", view.copy(false, 0, ALL, stream, None))?;
        let mut found = vec![0; BYTES];
        // SAFETY: the vector has room for every element.
        site.must("a read", unsafe { buffer.copy_out(0, ALL, found.as_mut_ptr(), site.patience()) })?;
        site.expect("a buffer", &found, bytes);
    }
    Ok(())
}
