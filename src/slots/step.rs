//! A step being filled: writes, spans and padding.

use super::definition::SlotKind;
use super::ring::{Body, State};
use super::{Frozen, Slots};
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::Timeline;
use crate::ops;
use crate::sync::plain::AtomicU64;
use crate::sync::{Arc, Ordering};
use std::fmt;
use std::ops::Range;

/// Spans that may be open in one step at a time.
pub const SPANS_PER_STEP: usize = 32;

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

/// A span that the caller fills.
pub(super) struct Span {
    token: u64,
    slot: u32,
    rows: Range<usize>,
}

/// A step, from begin to abort or retire. Cloning gives another handle to it. One thread at a time calls it, any thread;
/// a second one gets `busy`. After commit or abort its calls answer `not begun`.
#[derive(Clone)]
pub struct Step {
    slots: Arc<Slots>,
    entry: u32,
    serial: u64,
}

impl Step {
    pub(super) fn new(slots: &Arc<Slots>, entry: usize, serial: u64) -> Step {
        Step { slots: slots.clone(), entry: entry as u32, serial }
    }

    /// The slots it is a step of.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Its number among all steps begun, aborted ones too.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn entry(&self) -> usize {
        self.entry as usize
    }

    /// Has [`Slots::retire`] give this number back with the step's ticket. Only while the step is filled.
    pub fn set_attachment(&self, attachment: u64) -> Result<()> {
        let frozen = self.slots.frozen()?;
        // Not in the entry: whoever gives up every step may be inside it for a moment, and leave it as it was.
        let mut book = frozen.book.lock();
        if self.is_over(frozen) {
            return Err(self.over());
        }
        book.seats[self.entry()].attachment = attachment;
        Ok(())
    }

    fn is_over(&self, frozen: &Frozen) -> bool {
        frozen.entries[self.entry()].filling.load(Ordering::Acquire) != self.serial && on(Check::StepOrder)
    }

    /// Copies rows into a slot; a count of [`ALL`](crate::config::ALL) is everything from `first` on. In a required slot
    /// `first` may be at most the length written so far. Writing no rows counts as writing.
    ///
    /// # Safety
    /// `rows` can be read for the rows' bytes.
    pub unsafe fn write(&self, slot: u32, first: u64, count: u64, rows: *const u8) -> Result<()> {
        self.fill(|frozen, body| {
            let (range, target, bytes) = self.target(frozen, body, slot, first, count, "writing")?;
            ops::expect_apart(target, bytes, "rows", rows, bytes)?;
            if bytes > 0 {
                // SAFETY: the caller's promise for the source, which is apart. The target's rows are inside the entry, whose memory no
                // copy reads since begin, whose lock this thread holds, and no open span covers them.
                unsafe { ops::copy(target, rows, bytes) };
            }
            body.written[slot as usize].add(range);
            Ok(())
        })
    }

    /// Gives out rows of a slot to be filled in place, and a token for [`Step::end_span`]. Until then no other write may
    /// touch them and the step cannot be committed. The rows count as written from now on.
    pub fn begin_span(&self, slot: u32, first: u64, count: u64) -> Result<(*mut u8, u64)> {
        self.fill(|frozen, body| {
            let (rows, target, _) = self.target(frozen, body, slot, first, count, "a span")?;
            if body.spans.is_full() {
                return Err(self.slots.refuse(
                    Status::Busy,
                    format!("{SPANS_PER_STEP} spans are open in {self}, which is the limit: end one"),
                ));
            }
            let token = NEXT_TOKEN.fetch_add(1, Ordering::Relaxed);
            body.written[slot as usize].add(rows.clone());
            body.spans.push(Span { token, slot, rows });
            Ok((target, token))
        })
    }

    /// Ends a span: its pointer must not be used any more.
    pub fn end_span(&self, token: u64) -> Result<()> {
        self.fill(|_, body| match body.spans.iter().position(|span| span.token == token) {
            Some(place) => {
                body.spans.swap_remove(place);
                Ok(())
            }
            None => Err(self.slots.refuse(
                Status::NotBegun,
                format!("no span with token {token} is open in {self}: it was ended, or never begun"),
            )),
        })
    }

    /// Fills the rows from the written length up to `rows` with the slot's pad value. Of a kept slot, the written length is
    /// one past the last row written in this step.
    pub fn pad(&self, slot: u32, rows: u64) -> Result<()> {
        self.fill(|frozen, body| {
            let end = self.slots.rows(frozen, slot, 0, rows)?.end;
            self.pad_to(frozen, body, slot, end)
        })
    }

    /// As [`Step::pad`], up to a row inside the slot.
    pub(super) fn pad_to(&self, frozen: &Frozen, body: &mut Body, slot: u32, end: usize) -> Result<()> {
        let start = body.written[slot as usize].length().min(end);
        let (definition, place) = self.slots.slot(frozen, slot)?;
        let target = base(body, &self.slots)?.wrapping_add(place.span(start..end).start);
        // SAFETY: the rows are inside the entry, whose memory no copy reads since begin and whose lock this thread
        // holds; spans begin and end inside the written length, so none covers them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(target, (end - start) * place.row_bytes) };
        ops::fill(bytes, definition.pad());
        body.written[slot as usize].add(start..end);
        self.slots.counters.padded_rows.add((end - start) as u64);
        Ok(())
    }

    /// Gives the step up: nothing was queued, nothing is kept. Open spans become void.
    pub fn abort(&self) -> Result<()> {
        self.fill(|frozen, body| {
            frozen.entries[self.entry()].filling.store(0, Ordering::Release);
            body.unbind();
            frozen.book.lock().seats[self.entry()].state = State::Idle;
            self.slots.count_abort();
            Ok(())
        })
    }

    /// As [`Step::write`], of the slot of that name.
    ///
    /// # Safety
    /// As [`Step::write`].
    pub unsafe fn write_named(&self, name: &str, first: u64, count: u64, rows: *const u8) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.write(self.slots.find(name)?, first, count, rows) }
    }

    /// Ends the step whatever its state: aborts it while it is filled; retires it on its declared consumers when it is
    /// committed and not retired; nothing when it is over, or its slots were destroyed. Never waits.
    pub fn close(&self) -> Result<()> {
        let Ok(frozen) = self.slots.frozen() else { return Ok(()) };
        if frozen.entries[self.entry()].filling.load(Ordering::Acquire) == self.serial {
            return self.abort();
        }
        match self.ticket(frozen) {
            Some(ticket) => self.slots.retire(ticket, &[]).map(drop),
            None => Ok(()),
        }
    }

    /// Retires the step: [`Slots::retire`] with its ticket.
    pub fn retire(&self, streams: &[Arc<Timeline>]) -> Result<()> {
        match self.ticket(self.slots.frozen()?) {
            Some(ticket) => self.slots.retire(ticket, streams).map(drop),
            None => Err(self.slots.refuse(
                Status::NotBegun,
                format!(
                    "retiring {self}: it is not committed, or retired already; commit it first, and retire it once"
                ),
            )),
        }
    }

    /// While it is committed and not retired.
    fn ticket(&self, frozen: &Frozen) -> Option<u64> {
        let book = frozen.book.lock();
        book.unretired().find(|step| step.serial == self.serial).map(|step| step.ticket)
    }

    /// Runs `f` on the step's entry, which is this thread's meanwhile.
    pub(super) fn fill<T>(&self, f: impl FnOnce(&Frozen, &mut Body) -> Result<T>) -> Result<T> {
        let slots = &*self.slots;
        let frozen = slots.frozen()?;
        let entry = &frozen.entries[self.entry()];
        if self.is_over(frozen) {
            return Err(self.over());
        }
        let result = match entry.body.try_lock() {
            // Not by whoever destroys the set at this moment: that is no user of the step.
            None if slots.ended.has_ended_by_now() => Err(slots.destroyed()),
            None => {
                Err(slots.refuse(Status::Busy, format!("another thread is inside {self}: use it from one at a time")))
            }
            // Looked at again: it may have ended before the lock was had.
            Some(_) if self.is_over(frozen) => Err(self.over()),
            Some(body) if body.side.is_none() => Err(slots.destroyed()),
            Some(mut body) => f(frozen, &mut body),
        };
        slots.bury_if_ended(frozen);
        result
    }

    #[cold]
    fn over(&self) -> crate::error::Error {
        self.slots.refuse(Status::NotBegun, format!("{self} was committed or aborted: begin another"))
    }

    /// Where rows that may be written now lie.
    fn target(
        &self,
        frozen: &Frozen,
        body: &Body,
        slot: u32,
        first: u64,
        count: u64,
        doing: &str,
    ) -> Result<(Range<usize>, *mut u8, usize)> {
        let rows = self.slots.rows(frozen, slot, first, count)?;
        let length = body.written[slot as usize].length();
        self.target_behind(frozen, body, slot, rows, length, doing)
    }

    /// As [`Step::target`], with `length` rows taken for written.
    pub(super) fn target_behind(
        &self,
        frozen: &Frozen,
        body: &Body,
        slot: u32,
        rows: Range<usize>,
        length: usize,
        doing: &str,
    ) -> Result<(Range<usize>, *mut u8, usize)> {
        let (definition, place) = self.slots.slot(frozen, slot)?;
        if definition.kind == SlotKind::Required && rows.start > length {
            return fail!(
                InvalidArgument,
                "{doing} rows {}..{} of slot \"{}\" in {self} would leave rows {length}..{} unwritten: a required slot is written from row 0 on without holes; write or pad them first",
                rows.start,
                rows.end,
                definition.name,
                rows.start
            );
        }
        let covers = |span: &&Span| span.slot == slot && span.rows.start < rows.end && rows.start < span.rows.end;
        if let Some(span) = body.spans.iter().find(covers) {
            return Err(self.slots.refuse(
                Status::Busy,
                format!(
                    "{doing} rows {}..{} of slot \"{}\" in {self}: a span (token {}) is open on rows {}..{}; end it first",
                    rows.start, rows.end, definition.name, span.token, span.rows.start, span.rows.end
                ),
            ));
        }
        let bytes = place.span(rows.clone());
        Ok((rows, base(body, &self.slots)?.wrapping_add(bytes.start), bytes.len()))
    }
}

impl Span {
    pub fn token(&self) -> u64 {
        self.token
    }

    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// The CPU's address of an entry.
fn base(body: &Body, slots: &Slots) -> Result<*mut u8> {
    match &body.side {
        Some(side) => Ok(side.storage()?.memory().host),
        None => Err(slots.destroyed()),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step (begin {}, entry {}) of {}", self.serial, self.entry, self.slots.name())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::{BackendKind, DeviceOptions};
    use crate::config::Timeout;
    use crate::dtype::{Dtype, Shape};
    use crate::error::Status;
    use crate::fence::Device;
    use crate::slots::{SlotKind, SlotOptions, Slots, SlotsOptions};

    /// Else a step that begins at this moment would be filled for ever, by nobody.
    #[test]
    fn an_attachment_is_set_while_another_thread_looks_whether_it_can_give_up_every_step() {
        let options = DeviceOptions { kind: Some(BackendKind::Host), ..DeviceOptions::default() };
        let device = Device::open(&options, 0, "").expect("a device");
        let slots = Slots::create(&device, SlotsOptions::default(), "").expect("slots");
        let shape = Shape::new(&[1]).expect("a shape");
        let (dtype, kind) = (Dtype::U8, SlotKind::Kept);
        let slot = SlotOptions { name: "x", dtype, shape, kind, own_copy: false, follows_tokens: false, pad: None };
        slots.add(&slot).expect("a slot");
        slots.freeze().expect("frozen");
        let step = slots.begin(Timeout::Try).expect("a step");
        let inside = slots.frozen().expect("frozen").entries[step.entry()].body.lock();
        let other = slots.begin(Timeout::Try).expect("another");
        assert_eq!(slots.abort_all(|_| ()).map_err(|error| error.status()), Err(Status::Busy));
        step.set_attachment(42).expect("it goes on");
        drop(inside);
        other.abort().expect("its end");
        let mut ended = Vec::new();
        assert_eq!(slots.abort_all(|attachment| ended.push(attachment)).expect("all"), 1);
        assert_eq!(ended, [42]);
        assert_eq!(step.set_attachment(43).map_err(|error| error.status()), Err(Status::NotBegun));
    }
}
