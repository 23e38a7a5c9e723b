//! A tiered block: one handle, whichever tier its bytes are in, and the accesses that hold it there.

use super::moves::{Arrival, Moved};
use super::state::Entry;
use super::{Tier, Tiers};
use crate::config::checks::{Check, on};
use crate::config::{STREAMS_PER_CALL, Timeout};
use crate::error::Result;
use crate::fail;
use crate::fence::{Access, Block, Device, Fence, HostWait, Name, Proof, Side, Timeline, Which};
use crate::sync::plain::AtomicU64;
use crate::sync::{Arc, MutexGuard, OneThread, Ordering};
use arrayvec::ArrayVec;

/// Accesses that may be open on one block at a time.
pub const HOLDS: usize = 8;

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

/// A block of tiers. Any thread, one call at a time.
pub struct TieredBlock {
    pub(super) tiers: Arc<Tiers>,
    pub(super) id: u32,
    name: Arc<Name>,
    bytes: u64,
    pub(super) inner: OneThread<Inner>,
}

pub(super) struct Inner {
    /// One side: that of its tier.
    pub block: Block,
    pub tier: Tier,
    pub moved: Option<Moved>,
    pub holds: ArrayVec<Hold, HOLDS>,
    /// A move failed after kernels were given the address: the next access tells.
    pub untold: bool,
}

/// An open access.
pub(super) struct Hold {
    token: u64,
    access: Access,
    kind: Kind,
}

enum Kind {
    /// The CPU's, with the token of the guard.
    Host(u64),
    /// That of work on these streams.
    Kernels(ArrayVec<Arc<Timeline>, STREAMS_PER_CALL>),
}

/// What is to be accessed.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Host,
    Kernels,
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TieredInfo {
    /// Its tier.
    pub tier: Tier,
    /// Its size.
    pub bytes: u64,
    /// Whether its last move is not proven yet.
    pub is_moving: bool,
    /// Open accesses.
    pub holds: u32,
}

impl Inner {
    pub fn side(&mut self) -> Option<&mut Side> {
        self.block.sides_mut().next()
    }

    /// Puts a side into the place of the one there is, which is returned.
    pub fn put(&mut self, side: Side, tier: Tier) -> Option<Side> {
        let old = self.block.host.take().or(self.block.device.take());
        self.tier = tier;
        match tier {
            Tier::Device => self.block.device = Some(side),
            _ => self.block.host = Some(side),
        }
        old
    }
}

impl Tiers {
    /// A block of memory that holds the bytes of its last use, or zeroes, in this tier; without one, in the lowest that has room.
    /// Never waits: nobody makes room for it.
    pub fn create_block(self: &Arc<Tiers>, bytes: u64, tier: Option<Tier>, label: &str) -> Result<Arc<TieredBlock>> {
        if bytes == 0 || bytes > isize::MAX as u64 {
            return fail!(InvalidArgument, "bytes is {bytes}: at least 1, and within the address space");
        }
        if let Some(tier) = tier {
            self.room(tier)?;
        }
        self.device.expect_usable()?;
        let mut maintained = false;
        let (tier, storage) = 'found: loop {
            for tier in self.present().rev().filter(|present| tier.is_none_or(|tier| tier == *present)) {
                if let Some(storage) = self.room(tier)?.allocate(bytes).map_err(|error| error.context(&self.name))? {
                    break 'found (tier, storage);
                }
            }
            if std::mem::replace(&mut maintained, true) {
                return fail!(Budget, "{} bytes more: {}; end blocks, or raise a budget", bytes, self.describe());
            }
            // What is over may not be noticed yet.
            self.settle_all();
            self.device.maintain();
        };
        let name = Arc::new(Name::new("tiered block", label));
        let which = if tier == Tier::Device { Which::Device } else { Which::Host };
        let side = Some(Side::new(which, &name, storage));
        let (host, device) = if tier == Tier::Device { (None, side) } else { (side, None) };
        let block = Block::new(&name, bytes as usize, host, device);
        let inner = Inner { block, tier, moved: None, holds: ArrayVec::new(), untold: false };
        let id = self.state.lock().take_number()?;
        let made = Arc::new(TieredBlock { tiers: self.clone(), id, name, bytes, inner: OneThread::new(inner) });
        let entry = Entry { block: Arc::downgrade(&made), bytes, tier, holds: 0, leaves: None };
        self.state.lock().add(id, entry);
        Ok(made)
    }
}

impl TieredBlock {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.tiers.device
    }

    pub(super) fn shared_name(&self) -> &Arc<Name> {
        &self.name
    }

    /// Bytes of it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn enter(&self) -> Result<MutexGuard<'_, Inner>> {
        match self.inner.enter() {
            Some(inner) => Ok(inner),
            None => fail!(Busy, "{} is in use by another thread: one at a time", self.name),
        }
    }

    /// Where it is. A move that is over by now is noticed.
    pub fn info(&self) -> Result<TieredInfo> {
        let mut inner = self.enter()?;
        self.settle(&mut inner);
        let (tier, is_moving, holds) = (inner.tier, inner.moved.is_some(), inner.holds.len() as u32);
        Ok(TieredInfo { tier, bytes: self.bytes, is_moving, holds })
    }

    /// Moves it to a tier: the copy is queued, and what the block was used for before comes first. Waits only for room there, and
    /// for a move of before. A copy that fails leaves it where it was.
    pub fn move_to(&self, tier: Tier, timeout: Timeout) -> Result<()> {
        self.expect_fits(tier)?;
        let wait = HostWait::new(timeout, &self.tiers.counters.waits);
        loop {
            let arrival = {
                let mut inner = self.enter()?;
                self.settle(&mut inner);
                self.tiers.move_block(self, &mut inner, tier)?
            };
            if self.await_arrival(arrival, tier, &wait)? {
                return Ok(());
            }
        }
    }

    /// Whether it is there.
    fn await_arrival(&self, arrival: Arrival, tier: Tier, wait: &HostWait<'_>) -> Result<bool> {
        match arrival {
            Arrival::There => return Ok(true),
            Arrival::After(fence) => drop(fence.wait(wait).map_err(|error| error.context(&self.name))?),
            Arrival::NoRoom => self.tiers.make_room(tier, self.bytes, wait)?,
        }
        Ok(false)
    }

    fn expect_fits(&self, tier: Tier) -> Result<()> {
        let budget = self.tiers.room(tier)?.levels().budget;
        if self.bytes > budget {
            return fail!(
                Budget,
                "{} has {} bytes, and the {} tier of {} {budget}: raise its budget",
                self.name,
                self.bytes,
                tier.placement().name(),
                self.tiers.name
            );
        }
        Ok(())
    }

    /// Whether it can be used there by whom.
    fn suits(&self, tier: Tier, who: Who) -> bool {
        if who == Who::Host { tier != Tier::Device } else { self.tiers.is_for_kernels(tier) }
    }

    /// The tier for an access: as asked; else where it is; else the best that suits.
    fn target(&self, asked: Option<Tier>, now: Tier, who: Who) -> Result<Tier> {
        let whose = if who == Who::Host { "the CPU" } else { "kernels" };
        if let Some(tier) = asked {
            self.expect_fits(tier)?;
            if !self.suits(tier, who) {
                return fail!(
                    InvalidArgument,
                    "{whose} cannot use {} memory: name another tier",
                    tier.placement().name()
                );
            }
            return Ok(tier);
        }
        if self.suits(now, who) {
            return Ok(now);
        }
        let order =
            if who == Who::Host { [Tier::Pinned, Tier::Managed, Tier::Pageable, Tier::Device] } else { Tier::ALL };
        let found = order.into_iter().find(|tier| self.suits(*tier, who) && self.expect_fits(*tier).is_ok());
        match found {
            Some(tier) => Ok(tier),
            None => fail!(Unsupported, "{} has no tier that {whose} can use {} in", self.tiers.name, self.name),
        }
    }

    /// Gives the CPU all of it, and holds it in the tier until [`TieredBlock::release`]. Without a tier: where it is, if the CPU
    /// can use that. Returns the address and a token.
    pub fn begin(&self, tier: Option<Tier>, access: Access, timeout: Timeout) -> Result<(*mut u8, u64)> {
        let wait = HostWait::new(timeout, &self.tiers.counters.waits);
        self.access(tier, access, Who::Host, &wait, |inner| {
            let all = inner.block.all();
            // Nothing is waited for here, but where a driver did not say so before.
            let (data, guard) = inner.block.begin(access, all, &wait)?;
            Ok((data, Kind::Host(guard)))
        })
    }

    /// Gives its address to work that is queued on these streams from now on, and holds it in the tier until
    /// [`TieredBlock::release`]. The streams wait on the device for what comes before. Without a tier: where it is, if kernels can
    /// use that. Returns the address and a token.
    pub fn acquire(
        &self,
        tier: Option<Tier>,
        access: Access,
        streams: &[Arc<Timeline>],
        timeout: Timeout,
    ) -> Result<(u64, u64)> {
        let mut list = ArrayVec::new();
        if streams.is_empty() || streams.len() > STREAMS_PER_CALL {
            return fail!(InvalidArgument, "{} streams are named: 1 to {STREAMS_PER_CALL}", streams.len());
        }
        for stream in streams {
            stream.expect_device(&self.tiers.device)?;
            stream.expect_not_capturing(Check::CaptureFences)?;
            list.push(stream.clone());
        }
        let wait = HostWait::new(timeout, &self.tiers.counters.waits);
        self.access(tier, access, Who::Kernels, &wait, move |inner| {
            let moving = inner.moved.is_some();
            if let Some(side) = inner.side() {
                side.expect_declaration(&list)?;
                if on(Check::TierOrders) {
                    for fence in side.fences_before(access == Access::Write) {
                        list.iter().try_for_each(|stream| stream.wait_for(fence).map(drop))?;
                    }
                }
            }
            let address = inner.block.seal_address()?;
            if let Some(moved) = inner.moved.as_mut().filter(|_| moving) {
                moved.handed_out = true;
            }
            Ok((address, Kind::Kernels(std::mem::take(&mut list))))
        })
    }

    /// Brings it to its tier, and opens an access there.
    fn access<T>(
        &self,
        asked: Option<Tier>,
        access: Access,
        who: Who,
        wait: &HostWait<'_>,
        mut open: impl FnMut(&mut Inner) -> Result<(T, Kind)>,
    ) -> Result<(T, u64)> {
        let mut counted = false;
        loop {
            let mut inner = self.enter()?;
            self.expect_no_conflict(&inner, access, who)?;
            let failed = self.settle(&mut inner);
            if std::mem::take(&mut inner.untold) || (failed && counted) {
                return fail!(
                    CopyFailed,
                    "the copy of {} to another tier failed when it ran: it is in {} memory with the bytes of before, and work that used the new memory is lost",
                    self.name,
                    inner.tier.placement().name()
                );
            }
            let tier = self.target(asked, inner.tier, who)?;
            if !std::mem::replace(&mut counted, true) {
                self.tiers.counters.accesses.add(1);
                self.tiers.counters.hits.add((tier == inner.tier) as u64);
                self.tiers.state.lock().access(self.id);
            }
            let arrival = self.tiers.move_block(self, &mut inner, tier)?;
            // The CPU waits for what forbids its access, the move included, outside.
            let before = match (&arrival, who) {
                (Arrival::There, Who::Host) => pending(&mut inner, access),
                _ => None,
            };
            let arrival = before.map_or(arrival, Arrival::After);
            if !matches!(arrival, Arrival::There) {
                drop(inner);
                self.await_arrival(arrival, tier, wait)?;
                continue;
            }
            if self.settle(&mut inner) {
                continue;
            }
            let (value, kind) = open(&mut inner)?;
            let token = NEXT_TOKEN.fetch_add(1, Ordering::Relaxed);
            inner.holds.push(Hold { token, access, kind });
            self.count_holds(&inner);
            return Ok((value, token));
        }
    }

    fn count_holds(&self, inner: &Inner) {
        if let Some(entry) = self.tiers.state.lock().entry(self.id) {
            entry.holds = inner.holds.len() as u32;
        }
    }

    fn expect_no_conflict(&self, inner: &Inner, access: Access, who: Who) -> Result<()> {
        if inner.holds.is_full() {
            return fail!(Busy, "{HOLDS} accesses of {} are open, which is the limit: release one", self.name);
        }
        let conflicts = |hold: &&Hold| {
            let same = matches!(hold.kind, Kind::Host(_)) == (who == Who::Host);
            !same || access == Access::Write || hold.access == Access::Write
        };
        match inner.holds.iter().find(conflicts) {
            Some(hold) if on(Check::TierHolds) => {
                self.tiers.device.counters.refusals.add(1);
                let whose = if matches!(hold.kind, Kind::Host(_)) { "the CPU" } else { "kernels" };
                fail!(
                    Busy,
                    "{} is held for {whose} to {} (token {}): release that first",
                    self.name,
                    hold.access.name(),
                    hold.token
                )
            }
            _ => Ok(()),
        }
    }

    /// Ends an access. That of kernels is fenced on the streams that were named: it is over when what is queued there is done. A
    /// stream that captures refuses, and the access stays.
    pub fn release(&self, token: u64) -> Result<()> {
        let mut inner = self.enter()?;
        let Some(place) = inner.holds.iter().position(|hold| hold.token == token) else {
            return fail!(
                NotBegun,
                "no access of {} with token {token} is open: it was released, or never begun",
                self.name
            );
        };
        let Inner { block, holds, .. } = &mut *inner;
        let hold = &holds[place];
        let ended = match &hold.kind {
            Kind::Host(guard) => block.end(hold.access, *guard),
            Kind::Kernels(streams) => block.used_on(streams, hold.access == Access::Write),
        };
        if ended.is_ok() || block.is_quarantined() {
            holds.remove(place);
            // The fence was that of one of them.
            if holds.iter().any(|hold| matches!(hold.kind, Kind::Kernels(_))) && !block.is_quarantined() {
                let all = block.all();
                block.sides_mut().for_each(|side| side.seal(all));
            }
            // A move that failed meanwhile was kept as it was for this access.
            self.settle(&mut inner);
            self.count_holds(&inner);
        }
        ended
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let state = self.inner.look(|inner| {
            let moving = if inner.moved.is_some() { ", moving" } else { "" };
            format!(
                "{}{moving}, {} accesses; {}",
                inner.tier.placement().name(),
                inner.holds.len(),
                inner.block.describe()
            )
        });
        format!("{}: {}", self.name, state.unwrap_or_else(|| "in use by another thread".into()))
    }
}

/// Work that the CPU's access has to wait for.
fn pending(inner: &mut Inner, access: Access) -> Option<Fence> {
    let side = inner.side()?;
    let mut fences = side.fences_before(access == Access::Write);
    fences.find(|fence| fence.query() == Proof::Pending).cloned()
}

impl Drop for TieredBlock {
    fn drop(&mut self) {
        let mut inner = self.inner.enter_own();
        let Inner { block, holds, .. } = &mut *inner;
        for hold in holds.drain(..) {
            if let Kind::Kernels(streams) = &hold.kind
                && block.used_on(streams, hold.access == Access::Write).is_err()
            {
                // Only a drain proves that nobody uses it.
                block.sides_mut().for_each(Side::note_unknown_users);
            }
        }
        drop(inner);
        self.tiers.state.lock().remove(self.id);
    }
}
