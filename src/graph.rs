//! Graph holds: every block whose addresses one executable graph has baked in.
//!
//! A graph reads and writes its blocks at each replay, and the library sees no launch that it does not make itself. A hold
//! keeps the blocks where they are, and makes each launch through it, or declared to it, a use of all of them: from then on
//! the fences do the rest, as for a pool's block that is kept.

use crate::config::checks::{Check, on};
use crate::config::{HELD_BLOCKS, Timeout};
use crate::error::{Error, Result};
use crate::fail;
use crate::fence::{Block, BlockGuard, Device, HoldMark, Holdable, HostWait, Name, Timeline};
use crate::stats::WaitCounters;
use crate::sync::{Arc, MutexGuard, OneThread};
use arrayvec::ArrayVec;

/// A graph hold. One thread at a time: a second one is answered `busy`.
pub struct GraphHold {
    name: Name,
    device: Arc<Device>,
    waits: WaitCounters,
    held: OneThread<Held>,
}

#[derive(Default)]
struct Held {
    /// One for each object, in their order. They end first.
    marks: Vec<HoldMark>,
    objects: Vec<Object>,
    /// The executable graph, once it is launched through the hold only; 0 before.
    graph: u64,
}

struct Object(Arc<dyn Holdable>);

impl Drop for Object {
    fn drop(&mut self) {
        self.0.hold_ended();
    }
}

impl GraphHold {
    /// A hold of no blocks yet.
    pub fn create(device: &Arc<Device>, label: &str) -> Result<Arc<GraphHold>> {
        device.expect_usable()?;
        Ok(Arc::new(GraphHold {
            name: Name::new("graph hold", label),
            device: device.clone(),
            waits: WaitCounters::default(),
            held: OneThread::new(Held::default()),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn enter(&self) -> Result<MutexGuard<'_, Held>> {
        match self.held.enter() {
            Some(held) => Ok(held),
            None => fail!(Busy, "{} is in use by another thread: one at a time", self.name),
        }
    }

    /// Adds a block, before its addresses are captured. With a timeout it waits on the host until nobody uses the block;
    /// without, launches alone are ordered behind its uses. From here on its memory stays where it is, even if its object
    /// is destroyed, until the hold ends.
    pub fn add(&self, object: Arc<dyn Holdable>, timeout: Option<Timeout>) -> Result<()> {
        self.add_all(vec![object], timeout)
    }

    /// As [`GraphHold::add`], of several: all of them, or none.
    pub fn add_all(&self, objects: Vec<Arc<dyn Holdable>>, timeout: Option<Timeout>) -> Result<()> {
        let mut held = self.enter()?;
        let objects: Vec<Object> = objects.into_iter().map(Object).collect();
        let wait = timeout.map(|timeout| HostWait::new(timeout, &self.waits));
        let mut marks = Vec::with_capacity(objects.len());
        for (place, object) in objects.iter().enumerate() {
            let mut block = object.0.enter()?;
            self.expect_addable(&held, object, &block, place)?;
            marks.push(block.hold(wait.as_ref())?);
        }
        held.marks.extend(marks);
        held.objects.extend(objects);
        Ok(())
    }

    /// Refuses an object that cannot be added behind `more` others.
    fn expect_addable(&self, held: &Held, object: &Object, block: &Block, more: usize) -> Result<()> {
        if !Arc::ptr_eq(object.0.device(), &self.device) {
            return fail!(
                WrongDevice,
                "{} belongs to {}, {} to {}",
                block.name(),
                object.0.device().name(),
                self.name,
                self.device.name()
            );
        }
        if held.objects.iter().any(|known| known.0.key() == object.0.key()) {
            return fail!(Exists, "{} is in {} already", block.name(), self.name);
        }
        if held.objects.len() + more >= HELD_BLOCKS {
            return fail!(Exhausted, "{} has {HELD_BLOCKS} blocks, which is the limit: use another hold", self.name);
        }
        Ok(())
    }

    /// Appends a copy of a part of a held block to the graph that the stream captures.
    pub fn capture(
        &self,
        object: &dyn Holdable,
        up: bool,
        first: u64,
        count: u64,
        timeline: &Arc<Timeline>,
    ) -> Result<()> {
        let mut held = self.enter()?;
        let mut block = object.enter()?;
        let area = object.part(&block, first, count)?;
        timeline.expect_device(&self.device)?;
        let place = held.objects.iter().position(|known| known.0.key() == object.key());
        if place.is_none() && on(Check::CaptureHeld) {
            self.device.counters.refusals.add(1);
            return fail!(
                NotHeld,
                "capturing a copy of {}: it is not in {}; add it before the capture begins",
                block.name(),
                self.name
            );
        }
        block.capture(up, area, timeline, place.map(|place| &mut held.marks[place]))
    }

    /// The graph is this executable one, launched through the hold only: nothing unseen uses the blocks any more.
    pub fn set_graph(&self, graph: u64) -> Result<()> {
        if graph == 0 {
            return fail!(InvalidArgument, "the executable graph is NULL");
        }
        let mut held = self.enter()?;
        let held = &mut *held;
        for (block, mark) in enter_all(&held.objects)?.iter_mut().zip(&mut held.marks) {
            block.launches_are_known(mark);
        }
        held.graph = graph;
        Ok(())
    }

    /// Launches the graph on the stream, behind what conflicts with it on other streams, and records one fence: a read of
    /// the host sides that it copies from, a write of those that it copies to and of all that kernels can reach. Refused,
    /// nothing is launched; launched and not fenced, the blocks are quarantined. Never waits on the host.
    pub fn launch(&self, timeline: &Arc<Timeline>) -> Result<()> {
        let held = self.enter()?;
        if held.graph == 0 {
            return fail!(NotBegun, "{} has no graph to launch: set_graph comes first", self.name);
        }
        timeline.expect_device(&self.device)?;
        timeline.expect_not_capturing(Check::CaptureCopies)?;
        let mut blocks = enter_all(&held.objects)?;
        for (block, mark) in blocks.iter_mut().zip(&held.marks) {
            block.expect_replay(mark)?;
        }
        let mut submission = timeline.submission();
        for (block, mark) in blocks.iter_mut().zip(&held.marks) {
            block.order_replay(&mut submission, mark)?;
        }
        // SAFETY: the graph is alive, as whoever set it promised; its blocks stay while this hold does, and after it until
        // the fence below is proven, or for ever without one.
        unsafe { submission.launch(held.graph) }?;
        match submission.finish() {
            Ok(fence) => {
                for (block, mark) in blocks.iter_mut().zip(&held.marks) {
                    block.add_replay(&fence, mark);
                }
                Ok(())
            }
            Err(error) => Err(unfenced(&mut blocks, &held.marks, error)),
        }
    }

    /// The caller has launched the graph itself, and its launches are on the stream by now. Declares them as
    /// [`GraphHold::launch`] does, and lifts the seals.
    pub fn replayed(&self, timeline: &Arc<Timeline>) -> Result<()> {
        let mut held = self.enter()?;
        let held = &mut *held;
        timeline.expect_device(&self.device)?;
        timeline.expect_not_capturing(Check::CaptureFences)?;
        let mut blocks = enter_all(&held.objects)?;
        for (block, mark) in blocks.iter_mut().zip(&held.marks) {
            block.expect_replay_noted(timeline, mark)?;
        }
        match timeline.record() {
            Ok(fence) => {
                for (block, mark) in blocks.iter_mut().zip(&mut held.marks) {
                    block.add_replay(&fence, mark);
                    block.launches_are_known(mark);
                }
                Ok(())
            }
            Err(error) => Err(unfenced(&mut blocks, &held.marks, error)),
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let state = self.held.look(|held| {
            let graph = if held.graph == 0 { "no graph set".into() } else { format!("graph {:#x}", held.graph) };
            format!("{} blocks, {graph}", held.objects.len())
        });
        let state = state.unwrap_or_else(|| "in use by another thread".into());
        format!("{}: {state}; waits: {} ({} ns)", self.name, self.waits.waits.get(), self.waits.wait_ns.get())
    }
}

/// Every block, for this thread alone. No two objects are one block, so none is tried twice.
fn enter_all(objects: &[Object]) -> Result<ArrayVec<BlockGuard<'_>, HELD_BLOCKS>> {
    objects.iter().map(|object| object.0.enter()).collect()
}

/// A replay is out there and no fence could be recorded behind it.
#[cold]
fn unfenced(blocks: &mut [BlockGuard<'_>], marks: &[HoldMark], error: Error) -> Error {
    let mut told = None;
    for (block, mark) in blocks.iter_mut().zip(marks) {
        let why = Error::new(error.status(), error.message());
        told = Some(block.replay_unfenced(why, mark));
    }
    told.unwrap_or(error)
}
