//! One side of a block: its memory, the uses it has, the guards on it, and what may be done when.
//!
//! Whoever owns a side calls it with `&mut`, from one thread at a time: buffers, pool blocks and slot entries each have one
//! lock that is tried, never waited for. So nothing here needs a lock of its own, and none is held over a driver call that
//! another object needs.

mod graph;

use super::area::Area;
use super::device::Device;
use super::name::Name;
use super::storage::{Charge, Storage};
use super::timeline::{Fence, Fences, HostWait, Proof, Submission, Timeline};
use super::uses::{Range, Role, Use, Uses};
use super::watch::Watch;
use crate::config::checks::{Check, on};
use crate::config::{GUARDS_PER_BLOCK, Placement, STREAMS_PER_CALL, TIMEOUT_DEFAULT, Timeout, USES_PER_SIDE};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::sync::plain::AtomicU64;
use crate::sync::{Arc, Ordering};
use arrayvec::ArrayVec;

const EVERYTHING: Range = Range { start: 0, end: usize::MAX };

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

/// Which of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The CPU's.
    Host,
    /// The device's.
    Device,
}

/// Read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
}

impl Access {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
        }
    }
}

/// An open CPU access.
#[derive(Clone, Copy)]
struct Guard {
    token: u64,
    access: Access,
    area: Area,
}

/// A stream that may use this side's address without a fence for each use.
struct Declared {
    timeline: Arc<Timeline>,
    /// Named with the address: it may use it at any time. Otherwise work queued once, not fenced yet.
    stays: bool,
    /// Bytes that it may write in the place of others, with no use declared since the address was given.
    unseen: Option<Area>,
}

/// One side of a block.
pub struct Side {
    which: Which,
    name: Arc<Name>,
    /// `None` once deferred, detached or quarantined.
    storage: Option<Storage>,
    uses: Uses,
    guards: ArrayVec<Guard, GUARDS_PER_BLOCK>,
    declared: ArrayVec<Declared, STREAMS_PER_CALL>,
    /// The bytes whose address was given to work that the library cannot see, and no fence was declared since.
    sealed: Option<Area>,
    /// The address was given out with no stream named: only a drain proves that its users are done.
    unknown_users: bool,
    quarantined: Option<Status>,
    failed: Option<Fence>,
    /// Waits queued and fences recorded to put work on this side in order.
    order: OrderCount,
}

/// What it took so far to put work on a side in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderCount {
    /// Waits queued on streams.
    pub device_waits: u64,
    /// Fences recorded on streams that were to be fenced when needed.
    pub fences: u64,
}

impl Side {
    /// A side over its memory; `name` is its object's.
    pub fn new(which: Which, name: &Arc<Name>, mut storage: Storage) -> Side {
        storage.attach(name, which);
        Side {
            which,
            name: name.clone(),
            storage: Some(storage),
            uses: Uses::default(),
            guards: ArrayVec::new(),
            declared: ArrayVec::new(),
            sealed: None,
            unknown_users: false,
            quarantined: None,
            failed: None,
            order: OrderCount::default(),
        }
    }

    /// The memory, while it is there.
    pub fn storage(&self) -> Result<&Storage> {
        match (&self.storage, self.quarantined) {
            (Some(storage), None) => Ok(storage),
            (_, Some(status)) => Err(self.quarantine_error(status)),
            (None, None) => fail!(NotHeld, "{} was detached: its memory is the caller's again", self.name),
        }
    }

    fn quarantine_error(&self, status: Status) -> Error {
        Error::new(
            status,
            format!("the {} is quarantined: work on it could not be proven done; destroy {}", self.place(), self.name),
        )
    }

    /// Whether it is quarantined.
    pub fn is_quarantined(&self) -> bool {
        self.quarantined.is_some()
    }

    /// Whether its address was given out and no fence declared since.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    fn is_sealed_in(&self, area: Area) -> bool {
        self.sealed.is_some_and(|sealed| sealed.overlaps(area))
    }

    /// Whether a guard is open.
    pub fn has_guard(&self) -> bool {
        !self.guards.is_empty()
    }

    /// What it took so far to put work on this side in order.
    pub fn order_count(&self) -> OrderCount {
        self.order
    }

    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.storage.as_ref().map_or(0, Storage::bytes)
    }

    /// Who watches the memory, in the debug mode.
    #[inline]
    fn watch(&self) -> Option<&Watch> {
        self.storage.as_ref().and_then(Storage::watch)
    }

    /// What is known to be done by now keeps nobody out any more.
    pub fn reopen(&self) {
        if let Some(watch) = self.watch() {
            watch.refresh();
        }
    }

    /// Its user brings fences of its own.
    pub fn leave_open(&self) {
        if let Some(watch) = self.watch() {
            watch.leave_open();
        }
    }

    /// It is nobody's until it is taken again.
    pub fn released(&self) {
        if let Some(watch) = self.watch() {
            watch.released();
        }
    }

    /// It is somebody's again.
    pub fn taken(&self) {
        if let Some(watch) = self.watch() {
            watch.taken();
        }
    }

    /// Tells the watch whether kernels may use the host's side at any time.
    fn note_exposure(&self) {
        let Some(watch) = self.watch().filter(|_| self.which == Which::Host) else { return };
        match (&self.sealed, self.declared.first()) {
            (None, None) => watch.expose(None),
            (Some(_), _) => watch.expose(Some(&|| {
                "its device address was given out, or a graph captured with it, and nobody declared since who uses it".into()
            })),
            (None, Some(declared)) => watch.expose(Some(&|| {
                format!("kernels on {}, which was named with its device address", declared.timeline.name())
            })),
        }
    }

    fn device(&self) -> Result<Arc<Device>> {
        Ok(self.storage()?.device().clone())
    }

    /// The side, in words.
    pub fn place(&self) -> String {
        let which = if self.which == Which::Host { "host" } else { "device" };
        format!("{which} side of {}", self.name)
    }

    #[cold]
    fn refuse(&self, status: Status, message: String) -> Error {
        if let Some(storage) = &self.storage {
            storage.device().counters.refusals.add(1);
        }
        Error::new(status, message)
    }

    // ---- state -----------------------------------------------------------------------------------------------------

    /// Forgets what is done; a copy that failed is reported here, once, and so is a quarantine, always.
    pub fn settle(&mut self) -> Result<()> {
        if let Some(status) = self.quarantined {
            return Err(self.quarantine_error(status));
        }
        self.drop_known();
        match self.failed.take() {
            Some(fence) if on(Check::CopyFailed) => Err(self.refuse(
                Status::CopyFailed,
                format!(
                    "a copy to the {} failed when it ran ({fence}): its bytes are not what was sent; send them again",
                    self.place()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Forgets what is known to be done. A failure is kept until it is told; only then there is room for the next.
    fn drop_known(&mut self) {
        match self.failed {
            None => self.failed = self.uses.drop_known(),
            Some(_) => self.uses.drop_complete(),
        }
    }

    /// Takes the failure of this very fence as told.
    pub fn failure_told(&mut self, fence: &Fence) {
        self.uses.forget(fence);
        self.failed = self.failed.take().filter(|failed| !failed.is_same(fence));
    }

    /// Whether there is nothing to be proven, nor told.
    pub fn is_unused(&self) -> bool {
        self.uses.iter().next().is_none() && self.declared.is_empty() && self.failed.is_none()
    }

    /// Whether every use is known to be done, without asking the driver.
    pub fn is_known_idle(&self) -> bool {
        self.uses.iter().all(|u| u.fence.is_known()) && self.declared.is_empty()
    }

    /// The newest fences on it.
    pub fn fences(&self) -> impl Iterator<Item = &Fence> {
        self.uses.iter().map(|u| &u.fence)
    }

    /// The library's writes that are not known to have run well: of each stream the number of the first, and the fence of the last.
    pub fn copies_to(&self) -> impl Iterator<Item = (u64, Fence)> {
        self.uses.iter().filter_map(Use::copies)
    }

    /// The newest fences of what work that reads, or writes, has to come after.
    pub fn fences_before(&self, write: bool) -> impl Iterator<Item = &Fence> {
        self.uses.iter().filter(move |u| write || u.write).map(|u| &u.fence)
    }

    /// Waits on the host for uses that overlap `range`: all of them, or those that write.
    /// Uses lost with their device quarantine the side.
    fn wait_uses(&mut self, area: Area, wanted: impl Fn(&Use) -> bool, wait: &HostWait<'_>, doing: &str) -> Result<()> {
        let mut lost = false;
        for u in self.uses.iter().filter(|u| u.area.overlaps(area) && wanted(u)) {
            match u.fence.wait(wait) {
                Ok(Proof::Lost) => lost = true,
                Ok(_) => {}
                Err(error) => {
                    let verb = if u.write { "writes" } else { "reads" };
                    let (range, used) = (area.hull(), u.area.hull());
                    return Err(error.context(format_args!(
                        "{doing} bytes {}..{} of the {}: work that {verb} bytes {}..{} is in flight",
                        range.start,
                        range.end,
                        self.place(),
                        used.start,
                        used.end
                    )));
                }
            }
        }
        if lost && on(Check::LostQuarantines) {
            self.quarantine(Status::DeviceLost);
            return Err(self.quarantine_error(Status::DeviceLost));
        }
        self.reopen();
        Ok(())
    }

    /// As [`Side::wait_uses`], with what streams named with the address did so far: kernels in place get their fence when it is
    /// needed, which is now.
    fn wait_fenced(
        &mut self,
        area: Area,
        wanted: impl Fn(&Use) -> bool + Copy,
        wait: &HostWait<'_>,
        doing: &str,
    ) -> Result<()> {
        if wait.timeout() == Timeout::Try {
            // Whoever tries again and again is not to record a fence each time.
            self.wait_uses(area, wanted, wait, doing)?;
        }
        if on(Check::NamedStreams) {
            self.fence_declared(None)?;
        }
        self.wait_uses(area, wanted, wait, doing)
    }

    /// Waits on the host for every use, and for what streams named with the address did so far.
    pub fn wait_all_fenced(&mut self, wait: &HostWait<'_>, check: Check, doing: &str) -> Result<()> {
        self.storage()?;
        self.wait_fenced(self.all(), |_| on(check), wait, doing)
    }

    /// Waits on the host for every use.
    pub fn wait_all(&mut self, wait: &HostWait<'_>, check: Check, doing: &str) -> Result<()> {
        self.storage()?;
        self.wait_uses(self.all(), |_| on(check), wait, doing)
    }

    /// A copy from pageable memory may read it at the call, whatever its stream waits for: what a download still has to
    /// write must have landed before.
    pub(super) fn wait_before_staging(&mut self, area: Area) -> Result<()> {
        let storage = self.storage()?;
        if storage.memory().placement != Placement::Pageable || !on(Check::StagingWaits) {
            return Ok(());
        }
        let wait = HostWait::of_device(storage.device().timeout(TIMEOUT_DEFAULT));
        self.wait_uses(area, |u| u.write, &wait, "copying from")?;
        self.settle()
    }

    /// Forgets every use: their proof was waited for, and what they left is nobody's concern any more.
    pub fn forget_uses(&mut self) {
        self.uses.clear();
        self.failed = None;
        self.reopen();
    }

    /// Forgets what is known to be done, failed or not.
    pub fn forget_known(&mut self) {
        while self.uses.drop_known().is_some() {}
        self.failed = None;
        self.reopen();
    }

    /// Declared streams get their fence now.
    pub fn fence_all_declared(&mut self) -> Result<()> {
        self.fence_declared(None)
    }

    /// The streams named with the address lose the right to use it: what they did so far is fenced now.
    pub fn end_declared(&mut self) -> Result<()> {
        self.fence_declared(None)?;
        self.forget_declared();
        Ok(())
    }

    /// They lose it, and what they did so far is fenced already.
    pub fn forget_declared(&mut self) {
        self.declared.clear();
        self.note_exposure();
    }

    /// Whether only a wait for the whole device proves that nobody uses it.
    pub fn has_unseen_users(&self) -> bool {
        self.is_sealed() || self.unknown_users
    }

    /// Completion cannot be proven: the memory is never touched again.
    pub fn quarantine(&mut self, status: Status) {
        self.quarantined = Some(status);
        // Nothing can be declared any more, nor needs to be.
        self.sealed = None;
        if let Some(storage) = self.storage.take() {
            storage.quarantine();
        }
    }

    /// As [`Side::quarantine`], of memory whose bytes are counted elsewhere.
    pub fn forget_storage(&mut self) {
        self.quarantined = Some(Status::Quarantined);
        self.sealed = None;
        if let Some(storage) = self.storage.take() {
            storage.forget();
        }
    }

    // ---- CPU access ------------------------------------------------------------------------------------------------

    /// Opens a guard: waits for the uses that forbid the access, refuses what is no question of time.
    pub fn begin(&mut self, access: Access, area: impl Into<Area>, wait: &HostWait<'_>) -> Result<(*mut u8, u64)> {
        let area = area.into();
        let verb = if access == Access::Write { "writing" } else { "reading" };
        let base = self.storage()?.memory().host;
        let blocking = |guard: &Guard| match access {
            Access::Write => on(Check::WriteGuard),
            Access::Read => guard.access == Access::Write && on(Check::ReadGuard),
        };
        self.refuse_guards(area, blocking, verb)?;
        let seal_check = if access == Access::Write { Check::WriteSealed } else { Check::ReadSealed };
        self.expect_unsealed(area, seal_check, verb)?;
        if self.guards.is_full() {
            return Err(self.refuse(
                Status::Busy,
                format!("{verb} the {}: {GUARDS_PER_BLOCK} guards are open, which is the limit; end one", self.place()),
            ));
        }
        let wanted = |u: &Use| match (access, u.write) {
            (Access::Write, false) => on(Check::WriteWaitsReads),
            (Access::Write, true) => on(Check::WriteWaitsWrites),
            (Access::Read, false) => false,
            (Access::Read, true) => on(Check::ReadWaitsWrites),
        };
        self.wait_fenced(area, wanted, wait, verb)?;
        // A copy that the wait found failed is told now, before its bytes are taken for good.
        self.settle()?;
        let token = NEXT_TOKEN.fetch_add(1, Ordering::Relaxed);
        self.guards.push(Guard { token, access, area });
        if let Some(watch) = self.watch() {
            watch.opened(token, access, area);
        }
        // SAFETY: callers check that the area lies inside the side.
        Ok((unsafe { base.add(area.start()) }, token))
    }

    /// Ends a guard. Returns the bytes that it covered.
    pub fn end(&mut self, access: Access, token: u64) -> Result<Area> {
        let place = self.guards.iter().position(|g| g.token == token && g.access == access);
        match place {
            Some(place) => {
                if let Some(watch) = self.watch() {
                    watch.closed(token);
                }
                Ok(self.guards.swap_remove(place).area)
            }
            None if on(Check::EndToken) => Err(self.refuse(
                Status::NotBegun,
                format!(
                    "no {} guard with token {token} is open on the {}: it was ended, or never begun",
                    access.name(),
                    self.place()
                ),
            )),
            None => Ok(Area::from(Range { start: 0, end: 0 })),
        }
    }

    fn refuse_guards(&self, area: Area, blocking: impl Fn(&Guard) -> bool, doing: &str) -> Result<()> {
        match self.guards.iter().find(|g| g.area.overlaps(area) && blocking(g)) {
            None => Ok(()),
            Some(guard) => Err(self.refuse(
                Status::Busy,
                format!(
                    "{doing} bytes {}..{} of the {}: a {} guard (token {}) is open on bytes {}..{}; end it first",
                    area.hull().start,
                    area.hull().end.min(self.bytes()),
                    self.place(),
                    guard.access.name(),
                    guard.token,
                    guard.area.hull().start,
                    guard.area.hull().end
                ),
            )),
        }
    }

    #[cold]
    fn unfenced(&self, doing: &str) -> Error {
        self.refuse(
            Status::Unfenced,
            format!(
                "{doing} the {}: its device address was given out, or a copy of it captured, and nobody declared since where it is used; declare it: used_on for a buffer, fence or release_after for a pool's block, set_graph or replayed for a graph hold",
                self.place()
            ),
        )
    }

    /// Refuses what unseen work may be in the way of.
    pub(super) fn expect_unsealed(&self, area: Area, check: Check, doing: &str) -> Result<()> {
        if self.is_sealed_in(area) && on(check) {
            return Err(self.unfenced(doing));
        }
        Ok(())
    }

    /// Refuses while a write guard is open there.
    pub fn expect_unwritten(&self, area: Area, check: Check, doing: &str) -> Result<()> {
        self.refuse_guards(area, |guard| guard.access == Access::Write && on(check), doing)
    }

    /// Waits until nobody writes what a move of the side is to keep.
    pub(super) fn wait_to_move(&mut self, area: Area, wait: &HostWait<'_>) -> Result<()> {
        let doing = "moving";
        self.storage()?;
        self.expect_unsealed(area, Check::ReadSealed, doing)?;
        self.wait_fenced(area, |u| u.write && on(Check::ResizeWaits), wait, doing)?;
        self.settle()
    }

    /// Its contents were copied from the old side: what failed there has failed here.
    pub(super) fn take_over_writes(&mut self, old: &Side) {
        let all = self.all();
        for u in old.uses.iter().filter(|u| u.copies().is_some()) {
            self.uses.add(u.of(all));
        }
        self.failed = old.failed.clone();
    }

    /// Refuses while any guard is open.
    pub fn expect_unguarded(&self, check: Check, doing: &str) -> Result<()> {
        if !on(check) {
            return Ok(());
        }
        self.refuse_guards(EVERYTHING.into(), |_| true, doing)
    }

    // ---- device addresses ------------------------------------------------------------------------------------------

    /// Gives the address to work that the library cannot see. With `streams`, work on those streams alone will use it.
    pub fn device_address(&mut self, streams: &[Arc<Timeline>]) -> Result<u64> {
        let address = self.storage()?.memory().device;
        if address == 0 {
            return fail!(Unsupported, "the {} has no address that the device could use", self.place());
        }
        let writers = |g: &Guard| g.access == Access::Write && on(Check::AddressGuard);
        self.refuse_guards(EVERYTHING.into(), writers, "taking the device address of")?;
        let device = self.device()?;
        for timeline in streams {
            timeline.expect_device(&device)?;
        }
        let known = |t: &Arc<Timeline>| self.declared.iter().any(|d| d.stays && Arc::ptr_eq(&d.timeline, t));
        let new = streams.iter().filter(|t| !known(t)).count();
        if new > self.declared.remaining_capacity() {
            self.forget_gone();
        }
        if new > self.declared.remaining_capacity() {
            return Err(self.refuse(
                Status::Busy,
                format!(
                    "the {} would be used by more than {STREAMS_PER_CALL} streams, which is the limit",
                    self.place()
                ),
            ));
        }
        for timeline in streams {
            self.mark(timeline, true);
        }
        Ok(address)
    }

    /// The address of these bytes went out: touching them needs a declared fence first.
    pub fn seal(&mut self, area: Area) {
        self.sealed = Some(self.sealed.map_or(area, |sealed| if sealed == area { area } else { sealed.around(area) }));
        self.note_exposure();
    }

    /// The address went out with no stream named: only a drain proves that its users are done.
    pub fn note_unknown_users(&mut self) {
        self.unknown_users = true;
    }

    /// Somebody vouches that no unseen work is left.
    pub fn unseal(&mut self) {
        self.sealed = None;
        self.note_exposure();
    }

    /// Streams that nobody can queue work on any more need no place of their own: what is left on them gets its fence.
    #[cold]
    fn forget_gone(&mut self) {
        self.uses.query_all();
        self.drop_known();
        for place in (0..self.declared.len()).rev() {
            let Declared { timeline, unseen, .. } = &self.declared[place];
            let own = 1 + self.uses.iter().filter(|u| Arc::ptr_eq(u.fence.timeline(), timeline)).count();
            if !timeline.is_gone(own) || unseen.is_some() {
                continue;
            }
            let timeline = timeline.clone();
            if timeline.expect_not_capturing(Check::CaptureFences).is_err()
                || self.reserve(std::slice::from_ref(&timeline)).is_err()
            {
                continue;
            }
            let Ok(fence) = timeline.record() else { continue };
            self.order.fences += 1;
            self.declared.remove(place);
            self.add_use(fence, true, self.all(), Role::Kernel);
            // Idle, mostly: then the next one has its place among the uses.
            self.uses.query_all();
        }
    }

    /// Work that uses this side is queued on the stream, with no fence of its own yet.
    pub fn mark(&mut self, timeline: &Arc<Timeline>, stays: bool) {
        for declared in &mut self.declared {
            if Arc::ptr_eq(&declared.timeline, timeline) {
                declared.stays |= stays;
                return;
            }
        }
        if self.declared.try_push(Declared { timeline: timeline.clone(), stays, unseen: None }).is_err() {
            self.unknown_users = true;
        }
        self.note_exposure();
    }

    /// These streams, which were named with the address, may write bytes of which another side has a copy.
    pub(super) fn note_unseen(&mut self, streams: &[Arc<Timeline>], area: Area) {
        let named = |d: &&mut Declared| streams.iter().any(|stream| Arc::ptr_eq(&d.timeline, stream));
        for declared in self.declared.iter_mut().filter(named) {
            declared.unseen = Some(declared.unseen.map_or(area, |unseen| unseen.around(area)));
        }
    }

    /// Whether such a stream may have written there, and nobody has declared what it did.
    pub(super) fn is_unseen(&self, area: Area) -> bool {
        self.declared.iter().any(|d| d.unseen.is_some_and(|unseen| unseen.overlaps(area)))
    }

    /// What was written there so far is known, on the stream, or on all.
    pub(super) fn note_seen(&mut self, stream: Option<&Arc<Timeline>>, area: Area) {
        for declared in &mut self.declared {
            if stream.is_none_or(|stream| Arc::ptr_eq(&declared.timeline, stream)) {
                declared.unseen = declared.unseen.filter(|unseen| !area.covers(*unseen));
            }
        }
    }

    /// Notes a use that is fenced. Room was made by [`Side::reserve`].
    pub fn add_use(&mut self, fence: Fence, write: bool, area: impl Into<Area>, role: Role) {
        self.declared.retain(|d| d.stays || !Arc::ptr_eq(&d.timeline, fence.timeline()));
        let new = Use::new(fence, write, area.into(), role);
        if let Some(watch) = self.watch() {
            watch.used(&new);
        }
        self.uses.add(new);
    }

    /// Sees that there is room for a use of each of these streams, or refuses before anything is queued.
    fn reserve(&mut self, streams: &[Arc<Timeline>]) -> Result<()> {
        if self.uses.has_room(streams) {
            return Ok(());
        }
        self.uses.query_all();
        self.drop_known();
        if self.uses.has_room(streams) || !on(Check::UsesFull) {
            return Ok(());
        }
        Err(self.refuse(
            Status::Busy,
            format!(
                "the {} is in use by {USES_PER_SIDE} streams, which is the limit ({}); wait for one of them",
                self.place(),
                self.uses
            ),
        ))
    }

    /// Makes room for a declared use on each of these streams, or refuses before anything is recorded.
    pub fn expect_declaration(&mut self, streams: &[Arc<Timeline>]) -> Result<()> {
        self.expect_room(streams)?;
        streams.iter().try_for_each(|timeline| timeline.expect_not_capturing(Check::CaptureFences))
    }

    /// As [`Side::expect_declaration`], of streams of which it is known that none captures: that takes a call of the driver's.
    pub fn expect_room(&mut self, streams: &[Arc<Timeline>]) -> Result<()> {
        let device = self.device()?;
        streams.iter().try_for_each(|timeline| timeline.expect_device(&device))?;
        self.reserve(streams)
    }

    /// Work up to these fences used bytes of this side; nothing unseen is left of them.
    pub fn declare(&mut self, fences: &Fences, write: bool, area: Area) {
        for fence in fences.iter() {
            self.add_use(fence.clone(), write, area, Role::Kernel);
            self.note_seen(Some(fence.timeline()), area);
        }
        // An address that went out for more bytes than these is still out.
        if self.sealed.is_some_and(|sealed| area.covers(sealed) || !on(Check::ViewUnseals)) {
            self.sealed = None;
        }
        self.note_exposure();
    }

    /// Every byte that there is memory for.
    pub(super) fn all(&self) -> Area {
        Area::from(Range { start: 0, end: self.bytes() })
    }

    /// Work is out there and no fence could be recorded behind it.
    #[cold]
    pub fn record_failed(&mut self, error: Error) -> Error {
        let status = if error.status() == Status::DeviceLost { Status::DeviceLost } else { Status::Quarantined };
        if on(Check::RecordQuarantines) {
            self.quarantine(status);
        }
        let place = self.place();
        Error::new(
            status,
            format!("the {place} is quarantined: the work on it could not be fenced: {}", error.message()),
        )
    }

    // ---- device-side order -----------------------------------------------------------------------------------------

    /// Orders work of `submission` behind what conflicts with it on other streams.
    pub(super) fn order_before(
        &mut self,
        submission: &mut Submission<'_>,
        write: bool,
        area: Area,
        role: Role,
    ) -> Result<()> {
        self.fence_declared(Some(submission.timeline()))?;
        // Their fences may have taken the room.
        self.reserve(std::slice::from_ref(submission.timeline()))?;
        for u in self.uses.iter().filter(|u| (write || u.write) && u.area.overlaps(area)) {
            let check = match (self.which, write, u.role) {
                _ if role == Role::Replay => Check::LaunchOrders,
                _ if role == Role::Bound => Check::BindingOrders,
                (_, _, Role::Retire) => Check::CommitWaitsRetire,
                (Which::Device, true, Role::ReadBack) => Check::CommitWaitsReadBack,
                (_, false, _) if role == Role::ReadBack => Check::ReadBackWaitsWriter,
                (Which::Host, true, _) => Check::DownloadWaitsHostUses,
                (Which::Host, false, _) => Check::UploadWaitsHostWrites,
                (Which::Device, true, _) => Check::UploadWaitsDeviceUses,
                (Which::Device, false, _) => Check::DownloadWaitsDeviceWrites,
            };
            if on(check) && submission.wait_for(&u.fence)? {
                self.order.device_waits += 1;
            }
        }
        Ok(())
    }

    /// Orders work that is queued on the stream from now on behind writes of these bytes that are in flight, unless it
    /// captures: what a graph waits for is the caller's to say.
    pub(super) fn order_reader(&mut self, timeline: &Arc<Timeline>, area: Area) -> Result<()> {
        let pending = |u: &&Use| u.write && u.area.overlaps(area) && !u.fence.is_known();
        if !on(Check::AddressOrders) || !self.uses.iter().any(|u| pending(&u)) || timeline.stream().is_capturing()? {
            return Ok(());
        }
        for u in self.uses.iter().filter(pending) {
            if timeline.wait_for(&u.fence)? {
                self.order.device_waits += 1;
            }
        }
        Ok(())
    }

    /// Work on declared streams other than `user` gets its fence now: it covers everything queued there.
    fn fence_declared(&mut self, user: Option<&Arc<Timeline>>) -> Result<()> {
        let all = self.all();
        // A fence takes the mark of its stream out of the list: from the end, each is met once.
        for place in (0..self.declared.len()).rev() {
            let declared = &self.declared[place];
            let check = if declared.stays { Check::DeclaredStreams } else { Check::CommitWaitsMarked };
            if user.is_some_and(|user| Arc::ptr_eq(&declared.timeline, user)) || !on(check) {
                continue;
            }
            let timeline = declared.timeline.clone();
            timeline.expect_not_capturing(Check::CaptureFences)?;
            // Nothing is queued there: the host needs no fence to know that.
            if user.is_none() && timeline.stream().is_idle()? {
                continue;
            }
            self.reserve(std::slice::from_ref(&timeline))?;
            let fence = match timeline.record() {
                Ok(fence) => fence,
                // It ended without a last fence: what it used is as good as used by nobody knows whom.
                Err(error) if error.status() == Status::StaleHandle => {
                    self.declared.remove(place);
                    self.sealed = Some(all);
                    self.unknown_users = true;
                    return Err(self.unfenced("after the end of a stream that could not be fenced any more, using"));
                }
                Err(error) => return Err(error),
            };
            self.order.fences += 1;
            self.add_use(fence, true, all, Role::Kernel);
        }
        Ok(())
    }

    /// Refuses what a copy from this side (or, `write`, to it) may not do, before anything is queued.
    pub(super) fn expect_copy(&mut self, timeline: &Arc<Timeline>, write: bool, area: Area) -> Result<()> {
        self.settle()?;
        let device = self.device()?;
        timeline.expect_device(&device)?;
        let blocking = |guard: &Guard| match (self.which, write) {
            (Which::Host, false) => guard.access == Access::Write && on(Check::UploadGuard),
            _ => on(Check::DownloadGuard),
        };
        self.refuse_guards(area, blocking, if write { "copying to" } else { "copying from" })?;
        // A UVA side that readers may still read is a fine source; unseen writers of a device side are not.
        if self.is_sealed_in(area) && (write || self.which == Which::Device) && on(Check::CopySealed) {
            return Err(self.unfenced(if write { "copying to" } else { "copying from" }));
        }
        if let Some(watch) = self.watch().filter(|_| write) {
            watch.expect_write(area);
        }
        self.reserve(std::slice::from_ref(timeline))
    }

    // ---- end -------------------------------------------------------------------------------------------------------

    /// The memory goes to the device's deferred list, with its uses.
    fn retire_storage(&mut self) {
        let Some(storage) = self.storage.take() else { return };
        let device = storage.device().clone();
        if device.is_closed() {
            storage.leak();
            return;
        }
        if let Some(watch) = storage.watch() {
            watch.destroyed();
        }
        let mut uses: Vec<Fence> = self.fences().cloned().collect();
        for declared in std::mem::take(&mut self.declared) {
            if declared.timeline.expect_not_capturing(Check::CaptureFences).is_err() {
                // No fence may go there now: a drain has to do.
                self.unknown_users = true;
                continue;
            }
            match declared.timeline.record() {
                Ok(fence) => uses.push(fence),
                // The stream is gone, and its work may not be: a drain has to do.
                Err(error) if error.status() == Status::StaleHandle => self.unknown_users = true,
                Err(_) => {
                    storage.quarantine();
                    return;
                }
            }
        }
        // An open guard is void now, but its holder may not know yet.
        self.unknown_users |= self.has_guard();
        device.defer(storage, uses, self.has_unseen_users());
    }

    /// As long as there is its memory, there is the charge.
    pub fn set_charge(&mut self, charge: Charge) {
        if let Some(storage) = &mut self.storage {
            storage.set_charge(charge);
        }
    }

    /// Takes the memory out, for a detach: its uses were waited for.
    pub fn take_storage(&mut self) -> Option<Storage> {
        self.storage.take()
    }

    /// One line on its state.
    pub fn describe(&self) -> String {
        let state = if self.quarantined.is_some() {
            "quarantined"
        } else if self.storage.is_none() {
            "detached"
        } else if self.guards.iter().any(|g| g.access == Access::Write) {
            "filling"
        } else if self.has_guard() {
            "reading"
        } else if self.is_sealed() {
            "sealed"
        } else if self.uses.iter().any(|u| !u.fence.is_known()) {
            "in flight"
        } else {
            "idle"
        };
        let which = if self.which == Which::Host { "host" } else { "device" };
        match &self.storage {
            Some(storage) => {
                let memory = storage.memory();
                let owner = if storage.is_borrowed() { ", borrowed" } else { "" };
                let node = memory.node.map(|node| format!(" of node {node}")).unwrap_or_default();
                format!(
                    "{which}: {} bytes {}{node}{owner}, {state}; uses: {}",
                    memory.bytes,
                    memory.placement.name(),
                    self.uses
                )
            }
            None => format!("{which}: {state}"),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.retire_storage();
    }
}
