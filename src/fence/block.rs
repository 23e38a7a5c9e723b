//! One block: up to two sides of the same size, and the operations that buffers and pool blocks share.

mod bound;
mod copies;
mod graph;
mod lineage;
mod marks;
mod publish;
mod resize;
mod scatter;

pub use graph::HoldMark;
pub(crate) use lineage::Lineage;
pub use resize::Keep;
pub use scatter::{Entry, scatter};

use super::area::Area;
use super::dirty::Dirty;
use super::flow::{Flows, Timer};
use super::name::Name;
use super::side::{Access, Side, Which};
use super::timeline::{Fences, HostWait, Timeline, record_all};
use super::uses::Range;
use crate::backend::RawMemory;
use crate::config::checks::{Check, on};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::Arc;

/// A block. Its owner calls it from one thread at a time.
pub struct Block {
    name: Arc<Name>,
    bytes: usize,
    /// The CPU's side.
    pub host: Option<Side>,
    /// The device's side.
    pub device: Option<Side>,
    /// Graphs that have its addresses baked in: it may not move, be handed on or be freed.
    holds: graph::Holds,
    /// Where one side is newer than the other, while there are two: see [`Block::marks`].
    dirty: Option<Box<Dirty>>,
    flows: Flows,
    timer: Option<Box<Timer>>,
    /// See [`Block::standing_in`].
    stands_in: bool,
    /// What the bytes that came back from the device side were made of.
    lineage: Lineage,
}

impl Block {
    /// A block over its sides.
    pub fn new(name: &Arc<Name>, bytes: usize, host: Option<Side>, device: Option<Side>) -> Block {
        let dirty = (host.is_some() && device.is_some()).then(Box::default);
        let (flows, timer) = (Flows::default(), None);
        let (holds, stands_in) = (graph::Holds::default(), false);
        Block {
            name: name.clone(),
            bytes,
            host,
            device,
            holds,
            dirty,
            flows,
            timer,
            stands_in,
            lineage: Lineage::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its name, for a side of it.
    pub fn shared_name(&self) -> Arc<Name> {
        self.name.clone()
    }

    /// Bytes of each side.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every byte.
    pub fn all(&self) -> Area {
        Area::from(Range { start: 0, end: self.bytes })
    }

    /// A range of bytes, checked against the block's size.
    pub fn range(&self, start: u64, bytes: u64) -> Result<Range> {
        let size = self.bytes as u64;
        if start > size || bytes > size - start {
            return fail!(
                InvalidArgument,
                "bytes {start}..{} are not inside {}, which has {size}",
                start.saturating_add(bytes),
                self.name
            );
        }
        Ok(Range { start: start as usize, end: (start + bytes) as usize })
    }

    fn host_mut(&mut self) -> Result<&mut Side> {
        match &mut self.host {
            Some(side) => Ok(side),
            None => fail!(Unsupported, "{} has no host side", self.name),
        }
    }

    fn device_mut(&mut self) -> Result<&mut Side> {
        match &mut self.device {
            Some(side) => Ok(side),
            None => fail!(Unsupported, "{} has no device side", self.name),
        }
    }

    /// Every side there is.
    pub fn sides_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        self.host.iter_mut().chain(self.device.iter_mut())
    }

    /// Every side there is.
    pub fn sides(&self) -> impl Iterator<Item = &Side> {
        self.host.iter().chain(self.device.iter())
    }

    /// Reports a failed copy (once) or a quarantine of either side.
    pub fn settle(&mut self) -> Result<()> {
        if let Some(dirty) = self.marks() {
            dirty.settle(false);
        }
        let settled = self.sides_mut().try_for_each(Side::settle);
        self.lineage.prune();
        if settled.is_err() {
            // Told once: what comes back from here on is sent anew, or its reader knows.
            self.lineage.forget();
        }
        self.count_failure(settled)
    }

    fn count_failure(&mut self, result: Result<()>) -> Result<()> {
        if matches!(&result, Err(error) if error.status() == Status::CopyFailed) {
            self.flows.failures += 1;
        }
        result
    }

    /// The addresses of a side.
    pub fn memory(&self, which: Which) -> Result<RawMemory> {
        let side = if which == Which::Host { &self.host } else { &self.device };
        match side {
            Some(side) => Ok(side.storage()?.memory()),
            None => fail!(Unsupported, "{} has no such side", self.name),
        }
    }

    /// Opens a CPU access.
    pub fn begin(&mut self, access: Access, area: impl Into<Area>, wait: &HostWait<'_>) -> Result<(*mut u8, u64)> {
        self.settle()?;
        let area = area.into();
        self.expect_same_for(access, area)?;
        let begun = self.host_mut()?.begin(access, area, wait);
        if let Some(dirty) = self.marks() {
            // The wait may have found a copy failed.
            dirty.settle(false);
        }
        match begun {
            Ok((_, token)) if access == Access::Read => self.expect_lineage(token).and(begun),
            begun => begun,
        }
    }

    /// Ends a CPU access. What was written is newer on the host side from now on.
    pub fn end(&mut self, access: Access, token: u64) -> Result<()> {
        let area = self.host_mut()?.end(access, token)?;
        if access == Access::Write {
            self.written(Which::Host, area);
        }
        Ok(())
    }

    /// Whether kernels use the host side in place.
    fn is_in_place(&self) -> bool {
        self.host.as_ref().is_some_and(|h| h.storage().is_ok_and(|s| s.memory().placement.is_in_place()))
    }

    /// The sides that the caller's work on a stream uses: the device's, and the host's where kernels use it in place, where
    /// there is no other, or where a graph that was captured copies from it or to it.
    fn kernel_sides(&mut self) -> impl Iterator<Item = &mut Side> {
        let captured = self.host.as_ref().is_some_and(Side::is_sealed);
        let host_too = self.is_in_place() || self.device.is_none() || captured;
        self.host.iter_mut().filter(move |_| host_too).chain(self.device.iter_mut())
    }

    /// The side that kernels address: the device's, else the host's where they use it in place.
    fn addressed_mut(&mut self) -> Result<&mut Side> {
        let in_place = self.is_in_place();
        match (&mut self.device, &mut self.host) {
            (Some(side), _) => Ok(side),
            (None, Some(side)) if in_place => Ok(side),
            _ => fail!(Unsupported, "{} has no side that the device can address", self.name),
        }
    }

    /// The address for kernels: the device side's, else the host side's where kernels use it in place. The streams named are
    /// fenced by the library when it must. With none named the side is sealed: copies, CPU access in place and release need
    /// a fence declared first; and where the block is neither `leased` nor held by a graph, both of which end with such a
    /// fence, only a drain frees it.
    pub fn device_address(&mut self, streams: &[Arc<Timeline>], leased: bool) -> Result<u64> {
        let all = self.all();
        self.address_of(all, streams, leased)
    }

    /// As [`Block::device_address`], for work that uses this area alone; the address is that of its first byte.
    pub fn address_of(&mut self, area: Area, streams: &[Arc<Timeline>], leased: bool) -> Result<u64> {
        self.settle()?;
        self.expect_same(area, Which::Host, &[], "taking the device address of", "publish it")?;
        self.give_address(area, streams, !streams.is_empty(), leased)
    }

    /// The address, for work on these streams, which the device runs behind writes of the area that are in flight. Without
    /// `named` the work may be elsewhere, too: the area is sealed.
    fn give_address(&mut self, area: Area, streams: &[Arc<Timeline>], named: bool, leased: bool) -> Result<u64> {
        let (held, stands_in) = (self.holds() > 0, self.stands_in);
        let side = self.addressed_mut()?;
        let address = side.device_address(if named { streams } else { &[] })?;
        if stands_in && named && !leased {
            side.note_unseen(streams, area);
        }
        streams.iter().try_for_each(|timeline| side.order_reader(timeline, area))?;
        if !named {
            side.seal(area);
            if !leased && !held {
                side.note_unknown_users();
            }
        }
        Ok(address + area.start() as u64)
    }

    /// Work queued on these streams up to now used the block. One fence is recorded on each; seals are lifted.
    /// A copy that failed is left to the next access to tell: the work that is declared here is out there all the same.
    pub fn used_on(&mut self, streams: &[Arc<Timeline>], write: bool) -> Result<()> {
        let all = self.all();
        self.area_used_on(all, streams, write)
    }

    /// As [`Block::used_on`], for work that used this area alone. Seals of more than that stay.
    pub fn area_used_on(&mut self, area: Area, streams: &[Arc<Timeline>], write: bool) -> Result<()> {
        self.expect_declaration(streams)?;
        match record_all(streams) {
            Ok(fences) => {
                self.declare_area(area, &fences, write);
                Ok(())
            }
            Err(error) => Err(self.record_failed(error)),
        }
    }

    /// Work up to these fences used the block.
    pub fn declare(&mut self, fences: &Fences, write: bool) {
        let all = self.all();
        self.declare_area(all, fences, write);
    }

    fn declare_area(&mut self, area: Area, fences: &Fences, write: bool) {
        // All of a block that is smaller than its memory now: an address that went out before was for more.
        let everything = area == self.all();
        self.kernel_sides().for_each(|side| {
            let area = if everything { side.all() } else { area };
            side.declare(fences, write, area);
        });
        if write {
            self.written(Which::Device, area);
        }
    }

    /// Makes room for a declaration on these streams.
    pub fn expect_declaration(&mut self, streams: &[Arc<Timeline>]) -> Result<()> {
        self.expect_room(streams)?;
        streams.iter().try_for_each(|timeline| timeline.expect_not_capturing(Check::CaptureFences))
    }

    /// As [`Block::expect_declaration`], of streams of which it is known that none captures.
    pub fn expect_room(&mut self, streams: &[Arc<Timeline>]) -> Result<()> {
        self.kernel_sides().try_for_each(|side| side.expect_room(streams))
    }

    /// The work behind a declaration could not be fenced.
    pub fn record_failed(&mut self, error: Error) -> Error {
        self.kernel_sides().fold(error, |error, side| side.record_failed(error))
    }

    /// Whether an address is out with no fence declared since.
    pub fn is_sealed(&self) -> bool {
        self.sides().any(Side::is_sealed)
    }

    /// Whether a CPU access is open.
    pub fn has_guard(&self) -> bool {
        self.sides().any(Side::has_guard)
    }

    /// The caller vouches that nothing unseen uses the block.
    pub fn unseal(&mut self) {
        self.sides_mut().for_each(Side::unseal);
    }

    /// Gives the address of a leased block to work that the library cannot see.
    pub fn seal_address(&mut self) -> Result<u64> {
        self.device_address(&[], true)
    }

    /// Whether there is nothing to be proven, nor told.
    pub fn is_unused(&self) -> bool {
        self.sides().all(Side::is_unused)
    }

    /// Whether every use is known to be done, without asking the driver.
    pub fn is_known_idle(&self) -> bool {
        self.sides().all(Side::is_known_idle)
    }

    /// Waits for every use of either side and forgets them: the block is as new, but for its bytes.
    pub fn recycle(&mut self, wait: &HostWait<'_>, check: Check) -> Result<()> {
        for side in self.sides_mut() {
            side.wait_all(wait, check, "reusing")?;
        }
        if on(check) {
            self.sides_mut().for_each(Side::forget_uses);
        }
        self.forget_marks();
        Ok(())
    }

    /// Refuses while a guard is open.
    pub fn expect_unguarded(&self, check: Check, doing: &str) -> Result<()> {
        self.sides().try_for_each(|side| side.expect_unguarded(check, doing))
    }

    /// Whether a side is quarantined.
    pub fn is_quarantined(&self) -> bool {
        self.sides().any(Side::is_quarantined)
    }

    /// Gives up both sides for good.
    pub fn quarantine(&mut self, status: Status) {
        self.sides_mut().filter(|side| !side.is_quarantined()).for_each(|side| side.quarantine(status));
    }

    /// The memory is with somebody who has lost it, and counted it: it is left alone for good.
    pub fn forget_storage(&mut self) {
        self.sides_mut().for_each(Side::forget_storage);
    }

    /// Takes the sides out of a block that is over. Dropped, under no lock, each goes to the device's deferred list with its
    /// uses: that may call release callbacks.
    #[must_use]
    pub fn take_sides(&mut self) -> [Option<Side>; 2] {
        [self.host.take(), self.take_device()]
    }

    /// Takes the device side out, as [`Block::take_sides`] does.
    #[must_use]
    pub fn take_device(&mut self) -> Option<Side> {
        self.dirty = None;
        self.device.take()
    }

    /// The state of its sides, one after the other.
    pub fn describe(&self) -> String {
        let sides: Vec<String> = self.sides().map(Side::describe).collect();
        let holds = self.holds();
        if holds > 0 { format!("{}; {holds} graph holds", sides.join("; ")) } else { sides.join("; ") }
    }
}
