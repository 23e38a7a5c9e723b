//! Slots with several copies of their device block, each with a graph of its own that reads it, and results that are read back.

use crate::common::kit;
use crate::kit::Random;
use crate::site::{Ended, Site, Work};
use gpubuf::backend::kit::View;
use gpubuf::buffer::Buffer;
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Timeline, Which};
use gpubuf::graph::GraphHold;
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions};
use gpubuf::sync::Arc;

const TOKENS: usize = 64;

struct Loop {
    slots: Arc<Slots>,
    /// For each copy: its graph, where that writes to, and the address of it.
    graphs: Vec<(Arc<GraphHold>, Arc<Buffer>, u64)>,
    kernels: Arc<Timeline>,
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.slots.destroy();
    }
}

pub fn run(site: &Site, random: &mut Random) {
    let mut steps = None;
    for _ in 0..site.rounds {
        if !site.round() {
            return;
        }
        let kept = match steps.take() {
            Some(steps) => Ok(steps),
            None => make(site, random),
        };
        let kept = kept.and_then(|steps| one_round(site, &steps, random).map(|()| steps));
        steps = kept.ok().filter(|_| random.below(40) > 0);
    }
}

/// What the graphs run: the slot's bytes go to the buffer.
fn copy(view: &dyn View, [from, to]: [usize; 2]) {
    let mut bytes = [0; TOKENS];
    // SAFETY: the array has room for them. On a device that is lost there is nothing to be copied.
    if unsafe { view.read(from as u64, bytes.as_mut_ptr(), TOKENS) }.is_ok() {
        // SAFETY: as many bytes.
        let _ = unsafe { view.write(to as u64, bytes.as_ptr(), TOKENS) };
    }
}

fn make(site: &Site, random: &mut Random) -> Work<Loop> {
    let device = site.device();
    let options = SlotsOptions {
        depth: 1 + random.below(3) as u32,
        device_depth: 1 + random.below(3) as u32,
        ..SlotsOptions::default()
    };
    let slots = site.must("slots", Slots::create(device, options, ""))?;
    let kernels = site.must("a stream", Timeline::create(device, ""))?;
    let mut made = Loop { slots: slots.clone(), graphs: Vec::new(), kernels: kernels.clone() };
    let slot = SlotOptions {
        name: "tokens",
        dtype: Dtype::U8,
        shape: Shape::new(&[TOKENS as u64]).expect("a shape"),
        kind: SlotKind::Required,
        own_copy: false,
        follows_tokens: false,
        pad: None,
    };
    site.must("a slot", slots.add(&slot))?;
    site.must("a freeze", slots.freeze())?;
    for number in 0..options.device_depth {
        let out = site.must("a buffer", Buffer::create(device, crate::common::pair_of(TOKENS as u64)))?;
        let hold = site.must("a hold", GraphHold::create(device, ""))?;
        site.must("a held copy", hold.add(site.must("a copy", slots.held_copy(number))?, Some(site.patience())))?;
        site.must("a held buffer", hold.add(out.clone(), Some(site.patience())))?;
        let from = site.must("an address", slots.device_address(0, number))?;
        let to = site.must("a block", out.lock())?.memory(Which::Device).expect("a side").device;
        site.must("a capture", kit(&kernels).begin_capture())?;
        let captured = kit(&kernels).capture_call(copy, [from as usize, to as usize]);
        let graph = kit(&kernels).end_capture();
        // Whoever began to wait for the whole device before the capture did has broken it.
        const BROKEN: &[Status] = &[Status::Capturing];
        let captured = site.get("a captured function", BROKEN, captured)?;
        let graph = site.get("the end of a capture", BROKEN, graph)?;
        let (Some(()), Some(graph)) = (captured, graph) else { return Err(Ended) };
        site.must("a graph", hold.set_graph(graph))?;
        made.graphs.push((hold, out, to));
    }
    Ok(made)
}

fn one_round(site: &Site, steps: &Loop, random: &mut Random) -> Work<()> {
    let Loop { slots, graphs, kernels } = steps;
    let (stream, tokens) = (site.stream(random), [random.next() as u8; TOKENS]);
    let step = site.must("a step", slots.begin(site.patience()))?;
    // SAFETY: the array has so many rows.
    site.must("a write", unsafe { step.write(0, 0, TOKENS as u64, tokens.as_ptr()) })?;
    if random.below(10) == 0 {
        return site.must("an abort", step.abort());
    }
    let ticket = site.must("a commit", step.commit(&stream, &[]))?;
    let (hold, out, to) = &graphs[((ticket - 1) % graphs.len() as u64) as usize];
    site.must("a launch", hold.launch(kernels))?;
    site.look(kernels, *to, &tokens)?;
    site.must("a use", out.used_on(kernels, Access::Read))?;
    let read_back = match random.below(4) {
        0 => Some(site.must("a read-back", slots.read_back(ticket, 0, 0, TOKENS as u64, &stream))?),
        _ => None,
    };
    site.must("a retire", slots.retire(ticket, &[]))?;
    if let Some(read_back) = read_back {
        let (data, bytes) = site.must("results", slots.begin_read(read_back, site.patience()))?;
        // SAFETY: the bytes are there until the read-back is ended.
        let found = unsafe { std::slice::from_raw_parts(data, bytes as usize) };
        site.expect("a read-back", found, &tokens);
        site.must("the end of a read-back", slots.end_read(read_back))?;
    }
    Ok(())
}
