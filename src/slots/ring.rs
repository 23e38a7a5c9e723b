//! The ring of staging entries: whose turn it is, and `begin`.

use super::binding::Binding;
use super::step::{SPANS_PER_STEP, Span};
use super::{Frozen, MAX_DEPTH, MAX_DEVICE_DEPTH, Slots, Step};
use crate::arena::Rows;
use crate::config::checks::{Check, on};
use crate::config::{STREAMS_PER_CALL, Timeout};
use crate::error::{Error, Result, Status};
use crate::fence::{Fence, Fences, HostWait, Proof, Side, Timeline};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use arrayvec::ArrayVec;

/// One staging entry.
pub(super) struct Entry {
    /// The serial of the step that fills it, 0 if none: a stale step is told off without taking the lock.
    pub filling: AtomicU64,
    /// Whoever fills or commits the step has it.
    pub body: Mutex<Body>,
}

pub(super) struct Body {
    /// `None` once the set was destroyed.
    pub side: Option<Side>,
    /// What this step wrote, by slot.
    pub written: Vec<Rows>,
    pub spans: ArrayVec<Span, SPANS_PER_STEP>,
    /// By number of dynamic slot: what it is bound to.
    pub bound: Vec<Option<Binding>>,
    /// What the memory bound by the caller is ready behind.
    pub after: Fences,
    /// A graph will read the step: it cannot know of dynamic slots.
    pub for_replay: bool,
}

impl Body {
    /// Nothing is bound any more. A block that a committed step had is unsealed by its retire, not here.
    pub fn unbind(&mut self) {
        self.bound.iter_mut().for_each(|bound| *bound = None);
        self.after.clear();
    }
}

impl Entry {
    pub fn new(side: Side, written: Vec<Rows>, bound: Vec<Option<Binding>>) -> Entry {
        let (spans, after, for_replay) = (ArrayVec::new(), Fences::new(), false);
        let body = Body { side: Some(side), written, spans, bound, after, for_replay };
        Entry { filling: AtomicU64::new(0), body: Mutex::new(body) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Free, or in flight until its copy is proven.
    Idle,
    /// A step has it, or a begin waits for its copy.
    Filling,
    /// Its copy could not be proven.
    Quarantined,
}

/// An entry in the book.
pub(super) struct Seat {
    pub state: State,
    /// The last copy from it, until it is proven.
    pub copied: Option<Copied>,
    pub attachment: u64,
}

#[derive(Clone)]
pub(super) struct Copied {
    pub fence: Fence,
    /// The copy of the device block that it went to.
    pub copy: usize,
    /// The step, or the last one before a commit that failed.
    pub step: u64,
    /// Its failure was reported, by the commit itself.
    pub told: bool,
}

impl Seat {
    pub fn is_free(&self) -> bool {
        self.state == State::Idle && self.copied.as_ref().is_none_or(|copied| copied.fence.is_known())
    }

    pub fn describe(&self) -> String {
        match (self.state, &self.copied) {
            (State::Filling, _) => "filling".into(),
            (State::Quarantined, _) => "quarantined".into(),
            (State::Idle, Some(copied)) if !copied.fence.is_known() => format!("in flight up to {}", copied.fence),
            (State::Idle, _) => "free".into(),
        }
    }
}

/// A committed step whose consumers are not declared yet.
#[derive(Clone)]
pub(super) struct Unretired {
    pub ticket: u64,
    /// The copy of the device block that it has.
    pub copy: usize,
    pub serial: u64,
    pub attachment: u64,
    pub timeline: Arc<Timeline>,
    pub consumers: [Option<Arc<Timeline>>; STREAMS_PER_CALL],
}

/// A read-back entry in the book.
#[derive(Clone, Default)]
pub(super) struct Desk {
    /// The read-back that has it, 0 if none.
    pub id: u64,
    pub bytes: usize,
    pub quarantined: bool,
}

/// A copy of the device block in the book.
#[derive(Default)]
pub(super) struct CopyState {
    pub unretired: Option<Unretired>,
    /// A commit to it has succeeded: what the next one does not send is there from before.
    pub complete: bool,
    /// A copy to it failed since its last successful commit.
    pub torn: bool,
    /// A copy to it that failed, its entry taken again before a commit could tell.
    failed: Option<Copied>,
}

/// The bookkeeping. No driver call is made, nor any other lock waited for, under its lock.
pub(super) struct Book {
    pub seats: Vec<Seat>,
    pub desks: Vec<Desk>,
    serial: u64,
    /// Steps committed, which is the last ticket.
    pub committed: u64,
    /// The copies of the device block.
    pub copies: ArrayVec<CopyState, { MAX_DEVICE_DEPTH as usize }>,
    /// The device block can never be used again.
    pub broken: Option<Status>,
}

impl Book {
    pub fn new(entries: usize, read_backs: usize, copies: usize) -> Book {
        let seat = || Seat { state: State::Idle, copied: None, attachment: 0 };
        Book {
            seats: (0..entries).map(|_| seat()).collect(),
            desks: vec![Desk::default(); read_backs],
            serial: 0,
            committed: 0,
            copies: (0..copies).map(|_| CopyState::default()).collect(),
            broken: None,
        }
    }

    /// A number for a step or a read-back; never used twice.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The idle entry with the oldest copy, of those that `wanted` takes.
    fn oldest(&self, wanted: impl Fn(&Seat) -> bool) -> Option<usize> {
        let idle = self.seats.iter().enumerate().filter(|(_, seat)| seat.state == State::Idle && wanted(seat));
        idle.min_by_key(|(_, seat)| seat.copied.as_ref().map_or(0, |copied| copied.step)).map(|(index, _)| index)
    }

    fn claim(&mut self, index: usize) -> usize {
        self.seats[index].state = State::Filling;
        index
    }

    /// Where the next commit goes.
    pub fn next_copy(&self) -> usize {
        (self.committed % self.copies.len() as u64) as usize
    }

    /// The committed steps that are not retired.
    pub fn unretired(&self) -> impl Iterator<Item = &Unretired> {
        self.copies.iter().filter_map(|copy| copy.unretired.as_ref())
    }

    /// A fault that was found when its entry was taken again is told by the next commit to its copy.
    fn note_failed(&mut self, copied: Copied) {
        let copy = copied.copy;
        self.copies[copy].failed = Some(copied);
    }

    /// The newest transfer to this copy that is known to have failed and was not reported yet. Each is told once.
    pub fn take_failed(&mut self, copy: usize) -> Option<Copied> {
        let mut failed = self.copies[copy].failed.take();
        for copied in self.seats.iter_mut().filter_map(|seat| seat.copied.as_mut()).filter(|c| c.copy == copy) {
            if !copied.told && copied.fence.look_up() == Some(Proof::Failed) {
                copied.told = true;
                if failed.as_ref().is_none_or(|other: &Copied| other.step < copied.step) {
                    failed = Some(copied.clone());
                }
            }
        }
        failed
    }
}

impl Slots {
    /// Begins a step in an entry whose last copy is proven done; where there is none, waits for the oldest copy. `busy`
    /// while every entry is being filled, and in the try form where it would have to wait; `timeout` leaves the entry as it
    /// was; `exhausted` when no entry is usable.
    pub fn begin(self: &Arc<Slots>, timeout: Timeout) -> Result<Step> {
        self.begin_step(timeout, false)
    }

    /// As [`Slots::begin`], for a step that a graph reads: a graph has its addresses baked in, so that no dynamic slot can be
    /// bound in it, and none needs to be.
    pub fn begin_replay(self: &Arc<Slots>, timeout: Timeout) -> Result<Step> {
        self.begin_step(timeout, true)
    }

    fn begin_step(self: &Arc<Slots>, timeout: Timeout, for_replay: bool) -> Result<Step> {
        let frozen = self.frozen()?;
        self.device.expect_usable().map_err(|e| self.refused(e))?;
        let result = self.take_entry(frozen, timeout, for_replay).map(|(index, serial)| {
            self.counters.steps_begun.add(1);
            Step::new(self, index, serial)
        });
        self.bury_if_ended(frozen);
        result
    }

    fn take_entry(&self, frozen: &Frozen, timeout: Timeout, for_replay: bool) -> Result<(usize, u64)> {
        let (index, proven) = match self.take_proven(frozen)? {
            Some(index) => (index, true),
            None => (self.take_oldest(frozen)?, false),
        };
        // Held by others only while they find their step stale.
        let mut body = frozen.entries[index].body.lock();
        let give_back = |state| frozen.book.lock().seats[index].state = state;
        let Some(side) = &mut body.side else {
            give_back(State::Idle);
            return Err(self.destroyed());
        };
        if !proven {
            let wait = HostWait::new(timeout, &self.counters.host);
            if let Err(error) = side.wait_all(&wait, Check::BeginWaits, "filling") {
                give_back(if side.is_quarantined() { State::Quarantined } else { State::Idle });
                return Err(error.context(format_args!("beginning a step in entry {index} of {}", self.name)));
            }
        }
        side.reopen();
        body.written.iter_mut().for_each(Rows::clear);
        body.spans.clear();
        body.unbind();
        body.for_replay = for_replay;
        let mut book = frozen.book.lock();
        let copied = book.seats[index].copied.take();
        // Its bytes are free again; that they never arrived is for the next commit to say.
        if let Some(copied) = copied.filter(|c| !c.told && c.fence.look_up() == Some(Proof::Failed)) {
            book.note_failed(copied);
        }
        book.seats[index].attachment = 0;
        let serial = book.next_serial();
        frozen.entries[index].filling.store(serial, Ordering::Release);
        Ok((index, serial))
    }

    /// An entry whose copy is known to be done, or turns out to be when the driver is asked.
    fn take_proven(&self, frozen: &Frozen) -> Result<Option<usize>> {
        let mut fences = [const { None }; MAX_DEPTH as usize];
        {
            let mut book = frozen.book.lock();
            self.expect_sound(book.broken)?;
            if let Some(index) = book.oldest(Seat::is_free) {
                return Ok(Some(book.claim(index)));
            }
            for (fence, seat) in fences.iter_mut().zip(&book.seats) {
                *fence = seat.copied.as_ref().filter(|_| seat.state == State::Idle).map(|copied| copied.fence.clone());
            }
        }
        for fence in fences.iter().flatten() {
            fence.query();
        }
        let mut book = frozen.book.lock();
        let index = book.oldest(Seat::is_free);
        Ok(index.map(|index| book.claim(index)))
    }

    fn take_oldest(&self, frozen: &Frozen) -> Result<usize> {
        let mut book = frozen.book.lock();
        if let Some(index) = book.oldest(|_| true) {
            return Ok(book.claim(index));
        }
        let Some(filling) = book.seats.iter().position(|seat| seat.state == State::Filling) else {
            return Err(self.refuse(
                Status::Exhausted,
                format!(
                    "all {} entries of {} are quarantined: destroy it and make another",
                    frozen.entries.len(),
                    self.name
                ),
            ));
        };
        if on(Check::BeginBusy) {
            return Err(self.refuse(
                Status::Busy,
                format!(
                    "every usable entry of {} is being filled (depth {}): commit or abort a step first",
                    self.name,
                    frozen.entries.len()
                ),
            ));
        }
        Ok(filling)
    }

    /// Refuses once destroyed or broken.
    pub(super) fn expect_sound(&self, broken: Option<Status>) -> Result<()> {
        self.expect_alive()?;
        match broken {
            None => Ok(()),
            Some(status) => Err(Error::new(
                status,
                format!(
                    "work on the device block of {} could not be proven done: destroy it and make another",
                    self.name
                ),
            )),
        }
    }

    /// Entries whose copies were not proven before the device was lost are never touched again. A destroy that finds one of them
    /// taken here leaves nothing behind: its memory goes, and nothing is bound in it.
    pub(super) fn quarantine_lost(&self, frozen: &Frozen) {
        for (index, entry) in frozen.entries.iter().enumerate() {
            let fence = match &frozen.book.lock().seats[index] {
                Seat { state: State::Idle, copied: Some(copied), .. } => copied.fence.clone(),
                _ => continue,
            };
            if fence.query() != Proof::Lost || !on(Check::LostQuarantines) {
                continue;
            }
            {
                let mut book = frozen.book.lock();
                if book.seats[index].state != State::Idle {
                    continue;
                }
                book.seats[index].state = State::Quarantined;
            }
            if let Some(side) = &mut entry.body.lock().side {
                side.quarantine(Status::DeviceLost);
            }
        }
    }
}
