//! Read-backs: results of a committed step, copied to staging memory of their own.

use super::copies::DeviceCopy;
use super::ring::Book;
use super::{Frozen, Slots};
use crate::config::Timeout;
use crate::config::checks::{Check, on};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Block, HostWait, Lineage, Outcome, Piece, Range, Role, Side, Timeline, transfer};
use crate::sync::{Arc, Mutex, MutexGuard};

/// One read-back entry.
pub(super) struct ReadBack {
    pub body: Mutex<Body>,
}

pub(super) struct Body {
    /// `None` once the set was destroyed.
    pub side: Option<Side>,
    /// The copy failed when it ran: there is nothing to read.
    failed: bool,
    /// Somebody has its address, and has not ended it.
    pub is_read: bool,
    /// What was read: copies to the device block that may have failed before.
    lineage: Lineage,
    /// The copy of the device block that was read, if that was the source.
    copy: Option<usize>,
}

impl ReadBack {
    pub fn new(side: Side) -> ReadBack {
        ReadBack {
            body: Mutex::new(Body {
                side: Some(side),
                failed: false,
                is_read: false,
                lineage: Lineage::default(),
                copy: None,
            }),
        }
    }
}

/// Read-back numbers carry their entry in the low bits.
const ENTRY_BITS: u32 = 8;
const _: () = assert!(super::MAX_READ_BACK_DEPTH <= 1 << ENTRY_BITS);

fn entry_of(read_back: u64) -> usize {
    (read_back & ((1 << ENTRY_BITS) - 1)) as usize
}

/// What to read.
enum Source<'a> {
    /// Bytes of the device block.
    Slots(Range),
    /// Bytes of somebody else's memory.
    Block(&'a mut Side, Range),
}

impl Source<'_> {
    fn range(&self) -> Range {
        match self {
            Source::Slots(range) | Source::Block(_, range) => *range,
        }
    }
}

impl Slots {
    /// Queues a copy of a slot's rows, as they are on `timeline` now, to a read-back entry; a count of
    /// [`ALL`](crate::config::ALL) is everything from `first` on. On the device it waits for the step's copy. Only between
    /// commit and retire of the ticket (`not begun`); `busy` while every read-back entry is in use. Returns the read-back's
    /// number. Never waits on the host.
    pub fn read_back(&self, ticket: u64, slot: u32, first: u64, count: u64, timeline: &Arc<Timeline>) -> Result<u64> {
        let frozen = self.frozen()?;
        let rows = self.rows(frozen, slot, first, count)?;
        let bytes = frozen.layout.places()[slot as usize].span(rows);
        let source = Source::Slots(Range { start: bytes.start, end: bytes.end });
        let result = self.queue_read_back(frozen, ticket, source, timeline);
        self.bury_if_ended(frozen);
        result
    }

    /// As [`Slots::read_back`], of bytes of a buffer's device side (or of its host side where kernels use it in place). On
    /// the device it waits for what is known to write them: the library's copies and declared work on other streams.
    pub fn read_back_block(
        &self,
        ticket: u64,
        block: &mut Block,
        range: Range,
        timeline: &Arc<Timeline>,
    ) -> Result<u64> {
        let frozen = self.frozen()?;
        let in_place = |side: &&mut Side| side.storage().is_ok_and(|s| s.memory().placement.is_in_place());
        let Some(side) = block.device.as_mut().or(block.host.as_mut().filter(in_place)) else {
            return fail!(Unsupported, "reading back to {}: the buffer has no side that the device writes", self.name);
        };
        if side.is_sealed() {
            return Err(self.refuse(
                Status::Unfenced,
                format!(
                    "reading back from {}: unseen work may still write it; declare its stream with used_on",
                    side.place()
                ),
            ));
        }
        let result = self.queue_read_back(frozen, ticket, Source::Block(side, range), timeline);
        self.bury_if_ended(frozen);
        result
    }

    fn queue_read_back(
        &self,
        frozen: &Frozen,
        ticket: u64,
        source: Source<'_>,
        timeline: &Arc<Timeline>,
    ) -> Result<u64> {
        let range = source.range();
        let bytes = range.end - range.start;
        let limit = self.options.read_back_bytes;
        if frozen.read_backs.is_empty() {
            return fail!(Unsupported, "{} was made with read_back_depth 0: it has no read-back entries", self.name);
        }
        if bytes as u64 > limit {
            return fail!(
                InvalidArgument,
                "reading back {bytes} bytes: a read-back entry of {} has {limit} (option read_back_bytes); read less or make them larger",
                self.name
            );
        }
        self.device.expect_usable().map_err(|e| self.refused(e))?;
        let of_slots = matches!(source, Source::Slots(_));
        let (id, mut body, mut device) = self.take_desk(frozen, ticket, bytes, of_slots)?;
        let give_back = |quarantined| {
            let mut book = frozen.book.lock();
            book.desks[entry_of(id)].id = 0;
            book.desks[entry_of(id)].quarantined = quarantined;
        };
        if let Some(Err(error)) = device.as_mut().map(|(copy, device)| self.settle_device(frozen, *copy, device)) {
            give_back(false);
            return Err(error);
        }
        body.failed = false;
        body.lineage.forget();
        body.copy = device.as_ref().map(|(copy, _)| *copy);
        let from = match (source, device.as_mut()) {
            (Source::Slots(_), Some((_, device))) => device.block.device.as_mut(),
            (Source::Slots(_), None) => None,
            (Source::Block(side, _), _) => Some(side),
        };
        let Body { side, lineage, .. } = &mut *body;
        let (Some(from), Some(to)) = (from, side) else {
            give_back(false);
            return Err(self.destroyed());
        };
        // What the entry's last holder did not care to see is nobody's concern any more.
        to.forget_known();
        let piece = [Piece { source: range.start, target: 0, bytes }];
        let pieces = if bytes == 0 { &[] } else { &piece[..] };
        lineage.copied_from(from);
        let before = (from.order_count(), to.order_count());
        let outcome = transfer(from, to, pieces, timeline, Role::ReadBack);
        self.count_order(before.0, from.order_count());
        self.count_order(before.1, to.order_count());
        match outcome {
            Outcome::Queued(_) => {
                self.counters.fences_recorded.add(1);
                self.counters.read_backs.add(1);
                Ok(id)
            }
            Outcome::Refused(error) | Outcome::Torn(error, _) => {
                give_back(false);
                Err(self.refused(error.context("reading back")))
            }
            Outcome::Unfenced(error) => {
                give_back(true);
                if of_slots {
                    frozen.book.lock().broken = Some(Status::Quarantined);
                }
                Err(error.context(format_args!("reading back from {}", self.name)))
            }
        }
    }

    /// A free read-back entry under a new number, and the step's copy of the device block if that is the source.
    #[allow(clippy::type_complexity)]
    fn take_desk<'a>(
        &self,
        frozen: &'a Frozen,
        ticket: u64,
        bytes: usize,
        of_slots: bool,
    ) -> Result<(u64, MutexGuard<'a, Body>, Option<(usize, MutexGuard<'a, DeviceCopy>)>)> {
        let mut book = frozen.book.lock();
        self.expect_sound(book.broken)?;
        let copy = book.unretired().find(|step| step.ticket == ticket).map(|step| step.copy);
        if copy.is_none() && on(Check::ReadBackOrder) {
            return Err(self.refuse(
                Status::NotBegun,
                format!(
                    "reading back from step {ticket} of {}: it is no committed step, or is retired already; read back between commit and retire",
                    self.name
                ),
            ));
        }
        let index = self.free_desk(&book)?;
        let copy = copy.unwrap_or(0);
        let device = match of_slots.then(|| frozen.copies[copy].device.try_lock()) {
            None => None,
            Some(Some(device)) => Some((copy, device)),
            Some(None) => {
                return Err(self.refuse(
                    Status::Busy,
                    format!("reading back from step {ticket} of {}: another thread is at it; try again", self.name),
                ));
            }
        };
        let Some(body) = frozen.read_backs[index].body.try_lock() else {
            return Err(self.refuse(
                Status::Busy,
                format!("reading back from step {ticket} of {}: entry {index} is being given up; try again", self.name),
            ));
        };
        let id = book.next_serial() << ENTRY_BITS | index as u64;
        book.desks[index].id = id;
        book.desks[index].bytes = bytes;
        Ok((id, body, device))
    }

    fn free_desk(&self, book: &Book) -> Result<usize> {
        if let Some(index) = book.desks.iter().position(|desk| desk.id == 0 && !desk.quarantined) {
            return Ok(index);
        }
        match book.desks.iter().position(|desk| !desk.quarantined) {
            None => Err(self.refuse(
                Status::Exhausted,
                format!("all {} read-back entries of {} are quarantined", book.desks.len(), self.name),
            )),
            Some(_) if on(Check::ReadBackBusy) => Err(self.refuse(
                Status::Busy,
                format!(
                    "all {} read-back entries of {} are in use (option read_back_depth): end one with end_read first",
                    book.desks.len(),
                    self.name
                ),
            )),
            Some(index) => Ok(index),
        }
    }

    /// The bytes of a read-back once they have landed, valid until [`Slots::end_read`]. `busy` or `timeout` leave it as it
    /// was; `copy failed` when the copy did not run as it should: end it then.
    pub fn begin_read(&self, read_back: u64, timeout: Timeout) -> Result<(*const u8, u64)> {
        let frozen = self.frozen()?;
        let result = self.read_entry(frozen, read_back, timeout);
        self.bury_if_ended(frozen);
        result
    }

    fn read_entry(&self, frozen: &Frozen, read_back: u64, timeout: Timeout) -> Result<(*const u8, u64)> {
        let (index, bytes) = self.desk(&frozen.book.lock(), read_back)?;
        let Some(mut body) = frozen.read_backs[index].body.try_lock() else {
            self.expect_alive()?;
            return Err(self.in_use(read_back));
        };
        // It may have ended before the lock was had.
        self.desk(&frozen.book.lock(), read_back)?;
        let Body { side: Some(side), failed, lineage, copy, .. } = &mut *body else { return Err(self.destroyed()) };
        let wait = HostWait::new(timeout, &self.counters.host);
        let waited = side.wait_all(&wait, Check::ReadBackWaits, "reading").and_then(|()| side.settle());
        if let Err(error) = waited {
            *failed |= error.status() == Status::CopyFailed;
            frozen.book.lock().desks[index].quarantined = side.is_quarantined();
            return Err(error.context(format_args!("read-back {read_back}")));
        }
        if let Some(fence) = lineage.take_failed().filter(|_| on(Check::CopyFailed)) {
            *failed = true;
            // The next commit to that copy sends every slot, and need not tell of it again.
            let device = copy.and_then(|copy| frozen.copies[copy].device.try_lock().map(|device| (copy, device)));
            let told = device.map(|(copy, mut device)| self.settle_device(frozen, copy, &mut device));
            return match told {
                Some(Err(error)) => Err(error.context(format_args!("read-back {read_back}"))),
                _ => fail!(
                    CopyFailed,
                    "read-back {read_back} of {}: what it read was never there, since a copy before had failed when it ran ({fence})",
                    self.name
                ),
            };
        }
        if *failed {
            return fail!(CopyFailed, "read-back {read_back} of {}: its copy failed when it ran", self.name);
        }
        let data = side.storage()?.memory().host;
        body.is_read = true;
        Ok((data, bytes as u64))
    }

    /// Ends a read-back, read or not: its entry is free again and its bytes must not be used any more.
    pub fn end_read(&self, read_back: u64) -> Result<()> {
        let frozen = self.frozen()?;
        let mut book = frozen.book.lock();
        let (index, _) = self.desk(&book, read_back)?;
        let Some(mut body) = frozen.read_backs[index].body.try_lock() else {
            self.expect_alive()?;
            return Err(self.in_use(read_back));
        };
        body.is_read = false;
        book.desks[index].id = 0;
        Ok(())
    }

    fn desk(&self, book: &Book, read_back: u64) -> Result<(usize, usize)> {
        let index = entry_of(read_back);
        match book.desks.get(index) {
            Some(desk) if desk.id == read_back && read_back != 0 => Ok((index, desk.bytes)),
            _ => Err(self.refuse(
                Status::NotBegun,
                format!("{} has no read-back {read_back}: it was ended, or never begun", self.name),
            )),
        }
    }

    #[cold]
    fn in_use(&self, read_back: u64) -> crate::error::Error {
        self.refuse(Status::Busy, format!("another thread reads or ends read-back {read_back} of {}", self.name))
    }
}
