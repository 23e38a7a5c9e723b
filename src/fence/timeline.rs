//! Timelines and fences: the order of a stream's work, and proof that it is done.
//!
//! A timeline numbers the fences of one stream. A fence is a number on it: complete when `known` has reached the number,
//! else when the event recorded for it says so. A number is taken **after** its work was submitted and **before** its event
//! is recorded, so any event with the same or a higher number, once complete, proves the work; no lock is held over a
//! driver call to get that. An event goes back to the pool only when its number is passed and nobody else refers to it,
//! so a record somebody waits for is never overwritten.

use super::area::Area;
use super::device::Device;
use super::known::Known;
use super::name::Name;
use super::transfer::row_copy;
use crate::backend::{EventBackend, EventState, Scatter, StreamBackend};
use crate::config::checks::{Check, on};
use crate::config::log::{self, Level};
use crate::config::{EVENTS_PER_STREAM, STREAMS_PER_CALL, Timeout};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::stats::{Counter, WaitCounters};
use crate::sync::sizes::SPIN_NS;
use crate::sync::{Arc, AtomicBool, Mutex, OnceLock, Ordering};
use arrayvec::ArrayVec;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// A host wait looks this long before it sleeps.
const SPIN: Duration = Duration::from_nanos(SPIN_NS);
/// Failed fences remembered per timeline; far above what a run that goes on can have outstanding.
const FAILURES: usize = 65_536;
/// Other timelines whose latest awaited sequence is remembered, to leave out needless waits.
const AWAITED: usize = 8;

/// What is known of a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its work is not known to be done.
    Pending,
    /// Done.
    Complete,
    /// Done, and a copy of it failed: its target holds no promised bytes.
    Failed,
    /// The device was lost before it was proven.
    Lost,
}

/// A point on a timeline.
#[derive(Clone)]
pub struct Fence {
    timeline: Arc<Timeline>,
    sequence: u64,
}

/// One stream, and the numbered fences on it.
pub struct Timeline {
    name: Name,
    device: Arc<Device>,
    stream: Box<dyn StreamBackend>,
    /// The highest number known complete, and whether anything failed.
    known: Known,
    pending: Mutex<Pending>,
    /// The stream is the caller's.
    wrapped: bool,
    /// No handle leads to it any more.
    gone: AtomicBool,
    /// The caller may have destroyed the stream: this fence, if it could be recorded, is the last there is.
    ended: OnceLock<Option<u64>>,
    /// Held while it is being ended.
    ending: Mutex<()>,
    /// (timeline, sequence) this stream already waits for.
    awaited: Mutex<[(u64, u64); AWAITED]>,
    unreported: Counter,
}

struct Pending {
    last: u64,
    entries: VecDeque<Entry>,
    free: Vec<Arc<dyn EventBackend>>,
    /// Passed, but somebody still refers to them.
    referred: Vec<Arc<dyn EventBackend>>,
    failed: VecDeque<u64>,
}

struct Entry {
    sequence: u64,
    event: Arc<dyn EventBackend>,
    recorded: bool,
    /// It was proven before its turn came: numbers below it are still on the way to their record.
    proven: bool,
}

impl Timeline {
    /// A new stream of the device, with its events made ahead.
    pub fn create(device: &Arc<Device>, label: &str) -> Result<Arc<Timeline>> {
        device.expect_usable()?;
        device.maintain();
        let stream = device.backend().create_stream()?;
        Timeline::over(device, stream, false, label)
    }

    /// A stream of the driver's that the caller goes on owning.
    ///
    /// # Safety
    /// It is alive until [`Timeline::end_wrapped`].
    pub unsafe fn wrap(device: &Arc<Device>, native: usize, label: &str) -> Result<Arc<Timeline>> {
        device.expect_usable()?;
        device.maintain();
        // SAFETY: the caller's promise.
        let stream = unsafe { device.backend().wrap_stream(native) }?;
        Timeline::over(device, stream, true, label)
    }

    fn over(device: &Arc<Device>, stream: Box<dyn StreamBackend>, wrapped: bool, label: &str) -> Result<Arc<Timeline>> {
        let mut free = Vec::with_capacity(2 * EVENTS_PER_STREAM);
        for _ in 0..EVENTS_PER_STREAM {
            free.push(device.backend().create_event()?);
        }
        device.counters.events_created.add(EVENTS_PER_STREAM as u64);
        let timeline = Arc::new(Timeline {
            name: Name::new("stream", label),
            device: device.clone(),
            stream,
            known: Known::default(),
            pending: Mutex::new(Pending {
                last: 0,
                entries: VecDeque::with_capacity(2 * EVENTS_PER_STREAM),
                free,
                referred: Vec::with_capacity(EVENTS_PER_STREAM),
                failed: VecDeque::new(),
            }),
            wrapped,
            gone: AtomicBool::new(false),
            ended: OnceLock::new(),
            ending: Mutex::new(()),
            awaited: Mutex::new([(0, 0); AWAITED]),
            unreported: Counter::default(),
        });
        device.adopt(&timeline);
        Ok(timeline)
    }

    /// The stream's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The stream's device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The stream itself.
    pub fn stream(&self) -> &dyn StreamBackend {
        &*self.stream
    }

    /// The highest fence number given out, and the highest known complete.
    pub fn progress(&self) -> (u64, u64) {
        (self.pending.lock().last, self.known.passed())
    }

    /// Refuses a stream of another device.
    pub fn expect_device(&self, device: &Arc<Device>) -> Result<()> {
        if on(Check::WrongDevice) && !Arc::ptr_eq(&self.device, device) {
            device.counters.refusals.add(1);
            return fail!(
                WrongDevice,
                "{} belongs to {}, not to {}: use a stream of the same device",
                self.name,
                self.device.name(),
                device.name()
            );
        }
        Ok(())
    }

    /// Refuses while the stream captures: what is asked for would become a part of the graph, or break the capture. The
    /// backend is asked each time, since others may have begun it.
    pub fn expect_not_capturing(&self, check: Check) -> Result<()> {
        if on(check) && self.stream.is_capturing().map_err(|e| e.context(&self.name))? {
            self.device.counters.refusals.add(1);
            return fail!(Capturing, "{} is being captured: end the capture first", self.name);
        }
        Ok(())
    }

    /// Refuses unless the stream captures.
    pub fn expect_capturing(&self) -> Result<()> {
        if on(Check::CaptureBegun) && !self.stream.is_capturing()? {
            // The loss of the device ends captures, too.
            self.device.expect_usable()?;
            self.device.counters.refusals.add(1);
            return fail!(NotBegun, "{} is not being captured: begin the capture first", self.name);
        }
        Ok(())
    }

    /// Refuses while the stream has work that is not done.
    pub fn expect_idle(&self) -> Result<()> {
        self.device.expect_usable()?;
        self.expect_not_capturing(Check::CaptureWaits)?;
        if !self.stream.is_idle()? {
            return fail!(Busy, "{} has work that is not done", self.name);
        }
        self.poll();
        Ok(())
    }

    /// Ends a wrapped stream: a last fence covers all that was queued, and the driver is not asked about the stream again.
    /// Where no fence can be recorded, what still depends on the stream is quarantined.
    pub fn end_wrapped(self: &Arc<Timeline>) {
        if !self.wrapped {
            return;
        }
        let _ending = self.ending.lock();
        if self.ended.get().is_some() {
            return;
        }
        // The record and the end are one step: what another thread queues is either before both, or refused.
        let last = match self.expect_not_capturing(Check::CaptureFences) {
            Ok(()) => self.record_by(|stream, event| stream.end(Some(event))),
            Err(error) => self.stream.end(None).and(Err(error)),
        };
        if let Err(error) = &last {
            log::write(Level::Warn, format_args!("{} ends without a last fence: {}", self.name, error.message()));
        }
        let _ = self.ended.set(last.ok().map(|fence| fence.sequence));
    }

    /// Its handle has ended: nobody queues work on it any more, though what it was used for before may refer to it.
    pub fn let_go(self: &Arc<Timeline>) {
        self.gone.store(true, Ordering::Release);
        self.end_wrapped();
    }

    /// Whether nobody queues work on it any more: its handle has ended, or there is no reference but these.
    pub(super) fn is_gone(self: &Arc<Timeline>, references: usize) -> bool {
        self.gone.load(Ordering::Acquire) || self.ended.get().is_some() || Arc::strong_count(self) <= references
    }

    /// Whether the stream can be asked on this thread.
    pub(super) fn is_here(&self) -> bool {
        self.stream.is_here()
    }

    /// Makes work queued from now on wait for the latest record of an event of the driver's.
    pub fn wait_native(&self, event: usize) -> Result<()> {
        self.expect_native(event, Check::CaptureWaits)?;
        self.stream.wait_native(event).map_err(|e| e.context(&self.name))
    }

    /// Records an event of the driver's behind everything queued so far.
    pub fn record_native(&self, event: usize) -> Result<()> {
        self.expect_native(event, Check::CaptureFences)?;
        self.stream.record_native(event).map_err(|e| e.context(&self.name))
    }

    fn expect_native(&self, event: usize, check: Check) -> Result<()> {
        if event == 0 {
            return fail!(InvalidArgument, "native_event is NULL");
        }
        self.device.expect_usable()?;
        self.expect_not_capturing(check)
    }

    /// Begins work on this stream.
    pub fn submission(self: &Arc<Timeline>) -> Submission<'_> {
        Submission { timeline: self, tag: self.device.next_tag(), queued: false }
    }

    /// A fence behind everything queued so far.
    pub fn record(self: &Arc<Timeline>) -> Result<Fence> {
        self.submission().finish()
    }

    /// Makes work queued on this stream from now on wait for the fence, on the device. Says whether a wait was queued:
    /// not for this stream's own fences, nor for one that is known complete or already waited for.
    pub fn wait_for(&self, fence: &Fence) -> Result<bool> {
        let other = &fence.timeline;
        if other.stream.id() == self.stream.id() || fence.is_known() {
            return Ok(false);
        }
        let key = other.name.number();
        if self.awaited.lock().iter().any(|(id, sequence)| *id == key && *sequence >= fence.sequence) {
            return Ok(false);
        }
        let Some((event, _)) = other.event_at(fence.sequence) else { return Ok(false) };
        self.stream.wait(&*event)?;
        self.device.counters.device_waits.add(1);
        let mut awaited = self.awaited.lock();
        let place = awaited.iter().position(|(id, _)| *id == key).unwrap_or_else(|| {
            // The least recent one makes room: forgetting costs a needless wait, never a missing one.
            awaited.rotate_right(1);
            0
        });
        let kept = if awaited[place].0 == key { awaited[place].1 } else { 0 };
        awaited[place] = (key, kept.max(fence.sequence));
        Ok(true)
    }

    /// Looks at the oldest fences not known yet, without waiting.
    pub fn poll(&self) {
        loop {
            let (event, sequence) = match self.pending.lock().entries.front() {
                Some(entry) if entry.recorded => (entry.event.clone(), entry.sequence),
                _ => return,
            };
            let state = event.query();
            drop(event);
            match state {
                EventState::Complete | EventState::Failed => self.advance(sequence, state),
                EventState::Pending | EventState::Lost => return,
            }
        }
    }

    /// Waits for all work queued so far, the library's and others'. Copies that failed since the last call are reported.
    pub fn synchronize(&self, timeout: Timeout) -> Result<()> {
        if self.device.backend().is_lost() {
            return self.device.expect_usable().map_err(|error| error.context(&self.name));
        }
        self.expect_not_capturing(Check::CaptureWaits)?;
        if !self.stream.is_idle()? {
            let wait = HostWait::of_device(timeout);
            if timeout == Timeout::Try {
                wait.count_try(&self.device.counters.host);
                return fail!(Busy, "{} has work that is not done", self.name);
            }
            self.refuse_deadlock()?;
            let start = Instant::now();
            let waited = self.stream.synchronize(wait.deadline());
            let late = matches!(&waited, Err(error) if error.status() == Status::Timeout);
            let time = start.elapsed();
            wait.count(&self.device.counters.host, time, late);
            waited.map_err(|error| match late {
                true => late_by(&self.name, timeout, time),
                false => self.device.unless_shut_down(error).context(&self.name),
            })?;
        }
        report_failures(&self.name, self.take_failures())
    }

    /// A wait for this stream that only this thread could end is refused, not begun.
    pub fn refuse_deadlock(&self) -> Result<()> {
        self.device.refuse_deadlock_in_callback()?;
        if on(Check::DeadlockHeld) && self.stream.held_by_this_thread() {
            self.device.counters.refusals.add(1);
            return fail!(
                WouldDeadlock,
                "{} is held shut by this very thread: release it, or use the try form",
                self.name
            );
        }
        Ok(())
    }

    fn query(&self, sequence: u64) -> Proof {
        if let Some(proof) = self.look_up(sequence) {
            return proof;
        }
        let Some((event, number)) = self.event_at(sequence) else {
            return self.look_up(sequence).unwrap_or(Proof::Complete);
        };
        let state = event.query();
        // Let go first: an event that nobody refers to goes straight back to the pool.
        drop(event);
        match state {
            EventState::Pending => Proof::Pending,
            EventState::Lost => Proof::Lost,
            state => self.proven(state, number, sequence),
        }
    }

    /// An event for `number >= sequence` is done: note it.
    fn proven(&self, state: EventState, number: u64, sequence: u64) -> Proof {
        self.advance(number, state);
        // Passed or not, the event itself is the proof.
        self.look_up(sequence).unwrap_or(Proof::Complete)
    }

    fn note_failure(&self, failed: &mut VecDeque<u64>, number: u64) {
        if failed.len() == FAILURES {
            failed.pop_front();
        }
        // In order, though one may be noted before another that is behind it.
        let place = failed.partition_point(|other| *other < number);
        failed.insert(place, number);
        self.known.note_failure();
        self.unreported.add(1);
        self.device.copy_failed();
    }

    /// Copies that failed and were not reported for the stream yet.
    pub(super) fn take_failures(&self) -> u64 {
        self.poll();
        self.unreported.take()
    }

    /// What is known without asking the driver.
    fn look_up(&self, sequence: u64) -> Option<Proof> {
        let known = self.known.has_passed(sequence);
        if self.known.any_failed() && self.pending.lock().failed.binary_search(&sequence).is_ok() {
            return Some(Proof::Failed);
        }
        known.then_some(Proof::Complete)
    }

    /// The event that proves `sequence`, and its own number. `None`: it is proven by now, which is asked under the lock that it
    /// is noted in. Else the event of a later one, which may depend on whoever asks, would stand for one just passed.
    fn event_at(&self, sequence: u64) -> Option<(Arc<dyn EventBackend>, u64)> {
        let pending = self.pending.lock();
        if self.known.has_passed(sequence) {
            return None;
        }
        let place = pending.entries.partition_point(|entry| entry.sequence < sequence);
        let entry = pending.entries.range(place..).find(|entry| entry.recorded);
        entry.filter(|entry| !entry.proven).map(|entry| (entry.event.clone(), entry.sequence))
    }

    fn is_proven(&self, sequence: u64) -> bool {
        let pending = self.pending.lock();
        let place = pending.entries.binary_search_by_key(&sequence, |entry| entry.sequence);
        // It leaves the list when it is passed.
        place.map_or_else(|_| self.known.has_passed(sequence), |place| pending.entries[place].proven)
    }

    /// The event of this number is done: everything recorded before it is, too.
    fn advance(&self, sequence: u64, state: EventState) {
        let mut pending = self.pending.lock();
        let pending = &mut *pending;
        let mut passed = 0;
        while let Some(entry) = pending.entries.front() {
            if entry.sequence > sequence || !entry.recorded {
                break;
            }
            if !entry.proven {
                let failed =
                    if entry.sequence == sequence { Some(state == EventState::Failed) } else { entry.event.failed() };
                match failed {
                    // Its record may be behind that of this number, and only it says what became of the work before.
                    None => break,
                    Some(true) => self.note_failure(&mut pending.failed, entry.sequence),
                    Some(false) => {}
                }
            }
            let Some(mut entry) = pending.entries.pop_front() else { break };
            passed = entry.sequence;
            // Only the pool and a waiter that is on its way out can hold another reference.
            if Arc::get_mut(&mut entry.event).is_some() {
                pending.free.push(entry.event);
            } else {
                pending.referred.push(entry.event);
            }
        }
        if passed > 0 {
            self.known.pass(passed);
        }
        // Numbers below it keep it from its turn, maybe for a while: what is known of it is kept, a failure told at once.
        if passed < sequence
            && let Ok(place) = pending.entries.binary_search_by_key(&sequence, |entry| entry.sequence)
            && !std::mem::replace(&mut pending.entries[place].proven, true)
            && state == EventState::Failed
        {
            self.note_failure(&mut pending.failed, sequence);
        }
    }

    fn take_event(&self) -> Result<Arc<dyn EventBackend>> {
        {
            let mut pending = self.pending.lock();
            let pending = &mut *pending;
            if pending.free.is_empty() {
                let mut index = 0;
                while index < pending.referred.len() {
                    if Arc::get_mut(&mut pending.referred[index]).is_some() {
                        pending.free.push(pending.referred.swap_remove(index));
                    } else {
                        index += 1;
                    }
                }
            }
            if let Some(event) = pending.free.pop() {
                return Ok(event);
            }
        }
        self.poll();
        if let Some(event) = self.pending.lock().free.pop() {
            return Ok(event);
        }
        self.device.counters.events_created.add(1);
        self.device.counters.events_on_demand.add(1);
        self.device.backend().create_event()
    }

    fn record_tagged(self: &Arc<Timeline>, tag: u64) -> Result<Fence> {
        if let Some(last) = self.last_fence() {
            return last;
        }
        match self.record_by(|stream, event| stream.record(event, tag)) {
            // It ended meanwhile: then so did what this would have fenced.
            Err(error) if self.wrapped && error.status() == Status::StaleHandle => {
                drop(self.ending.lock());
                self.last_fence().unwrap_or(Err(error))
            }
            recorded => recorded,
        }
    }

    /// The last fence of a stream that ended. Nothing was queued after it: it proves as much as a new one would.
    fn last_fence(self: &Arc<Timeline>) -> Option<Result<Fence>> {
        Some(match self.ended.get()? {
            Some(last) => Ok(Fence { timeline: self.clone(), sequence: *last }),
            None => fail!(StaleHandle, "{} was destroyed, and no last fence could be recorded", self.name),
        })
    }

    fn record_by(
        self: &Arc<Timeline>,
        record: impl FnOnce(&dyn StreamBackend, &dyn EventBackend) -> Result<()>,
    ) -> Result<Fence> {
        let event = self.take_event()?;
        let sequence = {
            let mut pending = self.pending.lock();
            pending.last += 1;
            let sequence = pending.last;
            pending.entries.push_back(Entry { sequence, event: event.clone(), recorded: false, proven: false });
            sequence
        };
        let recorded = record(&*self.stream, &*event);
        drop(event);
        let mut pending = self.pending.lock();
        let place = pending.entries.partition_point(|entry| entry.sequence < sequence);
        match recorded {
            Ok(()) => {
                pending.entries[place].recorded = true;
                drop(pending);
                self.device.counters.fences_recorded.add(1);
                Ok(Fence { timeline: self.clone(), sequence })
            }
            Err(error) => {
                // The number stays unused: nothing was recorded for it, so nobody ever waits for it.
                if let Some(entry) = pending.entries.remove(place) {
                    pending.free.push(entry.event);
                }
                Err(error.context(&self.name))
            }
        }
    }
}

/// Tells of copies that failed when they ran on a stream, or on any stream of a device.
pub(super) fn report_failures(place: &Name, count: u64) -> Result<()> {
    match count {
        0 => Ok(()),
        n => fail!(CopyFailed, "{n} copies failed when they ran on {place}: their targets hold no promised bytes"),
    }
}

/// A wait for all work of a stream, or of a device, that ended by its deadline.
#[cold]
pub(super) fn late_by(place: &Name, timeout: Timeout, time: Duration) -> Error {
    Error::new(
        Status::Timeout,
        format!("{place} has work that was not done {}: wait again, or longer", timeout.passed(time)),
    )
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sequence {}", self.timeline.name, self.sequence)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Fence {
    /// The stream it is on.
    pub fn timeline(&self) -> &Arc<Timeline> {
        &self.timeline
    }

    /// Its number there.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether it is known to be done: a load, never a driver call.
    pub fn is_known(&self) -> bool {
        self.timeline.known.has_passed(self.sequence)
    }

    /// Whether it is known to be done, also while numbers below it keep it from its turn: a look under a lock.
    pub fn is_proven(&self) -> bool {
        self.is_known() || self.timeline.is_proven(self.sequence)
    }

    /// What is known without a driver call.
    pub fn look_up(&self) -> Option<Proof> {
        self.timeline.look_up(self.sequence)
    }

    /// What is known, without a driver call, of this fence and all of its stream from `first` on: failed if one failed.
    pub(super) fn look_up_since(&self, first: u64) -> Option<Proof> {
        if !self.is_known() {
            return None;
        }
        Some(if self.failed_in(first, self.sequence).is_some() { Proof::Failed } else { Proof::Complete })
    }

    /// The first fence of this stream with one of these numbers that is known to have failed.
    pub(super) fn failed_in(&self, first: u64, last: u64) -> Option<Fence> {
        let timeline = &self.timeline;
        if !timeline.known.any_failed() {
            return None;
        }
        let pending = timeline.pending.lock();
        let place = pending.failed.partition_point(|failed| *failed < first);
        pending.failed.get(place).filter(|failed| **failed <= last).map(|failed| self.at(*failed))
    }

    /// Another fence of its stream.
    pub(super) fn at(&self, sequence: u64) -> Fence {
        Fence { timeline: self.timeline.clone(), sequence }
    }

    /// What is known after at most one event query.
    pub fn query(&self) -> Proof {
        self.timeline.query(self.sequence)
    }

    /// Whether it is the same point.
    pub fn is_same(&self, other: &Fence) -> bool {
        Arc::ptr_eq(&self.timeline, &other.timeline) && self.sequence == other.sequence
    }

    /// Whether proving this fence proves the other.
    pub fn covers(&self, other: &Fence) -> bool {
        Arc::ptr_eq(&self.timeline, &other.timeline) && self.sequence >= other.sequence
    }

    /// Waits on the host. `Err`: `busy` (try form), `timeout`, `would deadlock`, `shut down`; the fence is then as pending as before.
    pub fn wait(&self, wait: &HostWait<'_>) -> Result<Proof> {
        let proof = self.query();
        if proof != Proof::Pending {
            return self.unless_shut_down(proof);
        }
        let timeline = &self.timeline;
        if wait.timeout == Timeout::Try {
            wait.count_try(&timeline.device.counters.host);
            return Err(self.not_yet(Status::Busy, "is not done"));
        }
        timeline.refuse_deadlock()?;
        let start = Instant::now();
        let proof = self.wait_pending(start, wait.deadline);
        let time = start.elapsed();
        wait.count(&timeline.device.counters.host, time, proof == Proof::Pending);
        match proof {
            Proof::Pending => {
                Err(self.not_yet(Status::Timeout, &format!("was not done {}", wait.timeout.passed(time))))
            }
            proof => self.unless_shut_down(proof),
        }
    }

    /// What the end of the library took away is not the device's fault, whatever its event says.
    fn unless_shut_down(&self, proof: Proof) -> Result<Proof> {
        if proof == Proof::Lost && self.timeline.device.is_closed() {
            return Err(self.not_yet(Status::ShutDown, "was not done when the library was shut down"));
        }
        Ok(proof)
    }

    fn wait_pending(&self, start: Instant, deadline: Option<Instant>) -> Proof {
        while start.elapsed() < SPIN {
            let proof = self.query();
            if proof != Proof::Pending {
                return proof;
            }
            std::hint::spin_loop();
        }
        let Some((event, number)) = self.timeline.event_at(self.sequence) else { return self.query() };
        match event.wait(deadline) {
            EventState::Pending => Proof::Pending,
            EventState::Lost => Proof::Lost,
            state => {
                drop(event);
                self.timeline.proven(state, number, self.sequence)
            }
        }
    }

    #[cold]
    fn not_yet(&self, status: Status, what: &str) -> Error {
        Error::new(status, format!("work queued up to {self} {what}"))
    }
}

/// Fences of one call: at most one for each stream it named.
pub type Fences = ArrayVec<Fence, STREAMS_PER_CALL>;

/// Records one fence on each stream. After an error some streams may have theirs, others not.
pub fn record_all(streams: &[Arc<Timeline>]) -> Result<Fences> {
    if streams.len() > STREAMS_PER_CALL {
        return fail!(InvalidArgument, "{} streams in one call: at most {STREAMS_PER_CALL}", streams.len());
    }
    streams.iter().map(Timeline::record).collect()
}

/// How long a call may wait on the host, and where that is counted.
pub struct HostWait<'a> {
    timeout: Timeout,
    /// The deadline counts from the call, not from each fence it waits for.
    deadline: Option<Instant>,
    /// The object's; the device's are always counted.
    counters: Option<&'a WaitCounters>,
}

impl<'a> HostWait<'a> {
    /// Begins to count the time.
    pub fn new(timeout: Timeout, counters: &'a WaitCounters) -> HostWait<'a> {
        HostWait { counters: Some(counters), ..HostWait::of_device(timeout) }
    }

    /// A wait that no object counts, only the device.
    pub fn of_device(timeout: Timeout) -> HostWait<'a> {
        let deadline = if timeout == Timeout::Try { None } else { timeout.deadline() };
        HostWait { timeout, deadline, counters: None }
    }

    /// Counts a wait that took place, for its object and for the device.
    pub fn count(&self, device: &WaitCounters, time: Duration, late: bool) {
        for counters in self.counters.into_iter().chain([device]) {
            counters.waited(time);
            counters.timeouts.add(late as u64);
        }
    }

    /// Counts a try that would have had to wait.
    pub fn count_try(&self, device: &WaitCounters) {
        self.counters.into_iter().chain([device]).for_each(|counters| counters.timeouts.add(1));
    }

    /// The form of the wait.
    pub fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// When it ends; `None` is never (and not used in the try form).
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Work being put on a stream, and then fenced.
pub struct Submission<'t> {
    timeline: &'t Arc<Timeline>,
    tag: u64,
    queued: bool,
}

impl Submission<'_> {
    /// The stream's timeline.
    pub fn timeline(&self) -> &Arc<Timeline> {
        self.timeline
    }

    /// Whether work that touches memory is queued already.
    pub fn queued(&self) -> bool {
        self.queued
    }

    /// Orders what follows behind the fence, on the device.
    pub fn wait_for(&mut self, fence: &Fence) -> Result<bool> {
        self.timeline.wait_for(fence)
    }

    /// Queues a copy.
    ///
    /// # Safety
    /// Both ranges stay allocated until the fence of [`Submission::finish`] is proven, or for ever if that fails.
    pub unsafe fn copy(&mut self, target: u64, source: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's promise, which is longer than the stream needs.
        unsafe { self.timeline.stream.copy(target, source, bytes, self.tag, &mut self.queued) }
            .map_err(|e| e.context(&self.timeline.name))?;
        self.timeline.device.counters.copies.add(1);
        self.timeline.device.counters.copied_bytes.add(bytes as u64);
        Ok(())
    }

    /// Queues one copy of an area between two sides that begin at these addresses.
    ///
    /// # Safety
    /// As [`Submission::copy`].
    pub unsafe fn copy_area(&mut self, area: Area, to: u64, from: u64) -> Result<()> {
        let copy = row_copy(area, to, from);
        if !area.is_window() {
            // SAFETY: the caller's promise.
            return unsafe { self.copy(copy.target, copy.source, copy.width) };
        }
        // SAFETY: the caller's promise, which is longer than the stream needs.
        unsafe { self.timeline.stream.copy_rows(&copy, self.tag, &mut self.queued) }
            .map_err(|e| e.context(&self.timeline.name))?;
        self.timeline.device.counters.copies.add(1);
        self.timeline.device.counters.copied_bytes.add(area.bytes() as u64);
        Ok(())
    }

    /// Queues a fill of `count` elements of `width` bytes.
    ///
    /// # Safety
    /// As [`Submission::copy`].
    pub unsafe fn fill(&mut self, target: u64, width: usize, value: u64, count: usize) -> Result<()> {
        // SAFETY: the caller's promise, which is longer than the stream needs.
        unsafe { self.timeline.stream.fill(target, width, value, count, self.tag, &mut self.queued) }
            .map_err(|e| e.context(&self.timeline.name))
    }

    /// Queues the kernel that writes the pieces of a packed entry to their places in a table.
    ///
    /// # Safety
    /// As [`StreamBackend::scatter`], with both allocated until the fence of [`Submission::finish`] is proven, or for ever if
    /// that fails.
    pub unsafe fn scatter(&mut self, scatter: &Scatter) -> Result<()> {
        // SAFETY: the caller's promise, which is longer than the stream needs.
        unsafe { self.timeline.stream.scatter(scatter, self.tag, &mut self.queued) }
            .map_err(|e| e.context(&self.timeline.name))
    }

    /// Appends a copy of an area between two sides that begin at these addresses to the graph that the stream captures.
    ///
    /// # Safety
    /// Both sides stay allocated while the graph may be launched, and until its last replay has run.
    pub unsafe fn capture_copy(&self, area: Area, to: u64, from: u64, captured: &mut bool) -> Result<()> {
        let copy = row_copy(area, to, from);
        let stream = &self.timeline.stream;
        let result = if area.is_window() {
            // SAFETY: the caller's promise.
            unsafe { stream.copy_rows(&copy, self.tag, captured) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { stream.copy(copy.target, copy.source, copy.width, self.tag, captured) }
        };
        result.map_err(|e| e.context(&self.timeline.name))
    }

    /// Queues a replay of an executable graph.
    ///
    /// # Safety
    /// The graph is alive. What it names stays allocated until the fence of [`Submission::finish`] is proven, or for ever
    /// if that fails.
    pub unsafe fn launch(&mut self, graph: u64) -> Result<()> {
        // SAFETY: the caller's promise, which is longer than the stream needs.
        unsafe { self.timeline.stream.launch_graph(graph, self.tag) }.map_err(|e| e.context(&self.timeline.name))?;
        self.queued = true;
        Ok(())
    }

    /// Records the fence behind the work.
    pub fn finish(self) -> Result<Fence> {
        self.timeline.record_tagged(self.tag)
    }
}
