//! Many slots at once: rows staged in one call, and those that follow a step's tokens padded to a size that a graph has.

use super::ring::{Body, State};
use super::{Frozen, MAX_DEPTH, Slots, Step};
use crate::config::ALL;
use crate::error::{Result, Status, try_vec};
use crate::fail;
use crate::ops;
use crate::sync::Ordering;
use arrayvec::ArrayVec;
use std::ops::Range;

/// Slots that one call writes at most.
pub const SLOTS_PER_CALL: usize = 64;
/// Sizes of a table at most.
pub const MOST_SIZES: usize = 4096;

/// Rows of one slot, of many that are staged in one call.
#[derive(Clone, Copy, Debug)]
pub struct SlotRows {
    /// The slot's number.
    pub slot: u32,
    /// The first row.
    pub first: u64,
    /// How many; [`ALL`] is everything from `first` on.
    pub count: u64,
    /// Their bytes.
    pub data: *const u8,
}

/// The sizes that steps are padded to.
pub(super) enum PaddedSizes {
    /// What vLLM captures by default: 1, 2, 4, multiples of 8 below 256, and of 16 up to 512.
    Default,
    /// The caller's.
    Table(Vec<u64>),
}

impl PaddedSizes {
    pub fn new(sizes: &[u64]) -> Result<PaddedSizes> {
        if sizes.is_empty() {
            return Ok(PaddedSizes::Default);
        }
        if sizes.len() > MOST_SIZES {
            return fail!(InvalidArgument, "padded_sizes has {} sizes: at most {MOST_SIZES}", sizes.len());
        }
        let mut before = 0;
        for (place, size) in sizes.iter().enumerate() {
            if *size <= before {
                return fail!(
                    InvalidArgument,
                    "padded_sizes[{place}] is {size}, and {before} comes before: give rising sizes from 1 on"
                );
            }
            before = *size;
        }
        let mut table = try_vec(sizes.len(), 0, "padded_sizes")?;
        table.copy_from_slice(sizes);
        Ok(PaddedSizes::Table(table))
    }

    fn next(&self, count: u64) -> u64 {
        match self {
            PaddedSizes::Default => match count {
                0..=2 => count,
                3..=4 => 4,
                5..=256 => count.next_multiple_of(8),
                257..=512 => count.next_multiple_of(16),
                _ => count,
            },
            PaddedSizes::Table(_) if count == 0 => 0,
            PaddedSizes::Table(sizes) => {
                sizes.get(sizes.partition_point(|size| *size < count)).copied().unwrap_or(count)
            }
        }
    }
}

impl Slots {
    /// The size that a step of `count` tokens is padded to: the next one of the table. Above the largest it is `count`
    /// itself: no graph has such a step, and it is launched as it is.
    pub fn padded_size(&self, count: u64) -> u64 {
        self.padded.next(count)
    }

    /// Tells the predictor of a step that was committed.
    pub(super) fn note_tokens(&self, frozen: &Frozen, body: &Body) {
        let Some(predictor) = &self.parts.predictor else { return };
        let follows = frozen.slots.iter().zip(&body.written).filter(|(definition, _)| definition.follows_tokens);
        let tokens = follows.map(|(_, rows)| rows.length() as u64).max().unwrap_or(0);
        if tokens > 0 {
            // It refuses nothing but 0, and what is over the address space.
            let _ = predictor.record(self.padded_size(tokens));
        }
    }

    /// Gives up every step that is being filled, as [`Step::abort`] does; what is committed stays to be retired. Calls
    /// `ended` with each one's attachment and returns how many there were. `busy`, and none was given up, while another
    /// thread is inside one of them.
    pub fn abort_all(&self, ended: impl FnMut(u64)) -> Result<u32> {
        let frozen = self.frozen()?;
        let result = self.abort_filling(frozen);
        self.bury_if_ended(frozen);
        let attachments = result?;
        let count = attachments.len() as u32;
        attachments.into_iter().for_each(ended);
        Ok(count)
    }

    fn abort_filling(&self, frozen: &Frozen) -> Result<ArrayVec<u64, { MAX_DEPTH as usize }>> {
        let mut filling: ArrayVec<_, { MAX_DEPTH as usize }> = ArrayVec::new();
        for (index, entry) in frozen.entries.iter().enumerate() {
            if entry.filling.load(Ordering::Acquire) == 0 {
                continue;
            }
            match entry.body.try_lock() {
                Some(body) => filling.push((index, body)),
                None => {
                    self.expect_alive()?;
                    return Err(self.refuse(
                        Status::Busy,
                        format!(
                            "giving up the steps of {}: another thread is inside one of them; try again",
                            self.name
                        ),
                    ));
                }
            }
        }
        let mut book = frozen.book.lock();
        let mut attachments = ArrayVec::new();
        for (index, body) in &mut filling {
            // It may have ended before the lock was had.
            if frozen.entries[*index].filling.swap(0, Ordering::AcqRel) != 0 {
                body.unbind();
                book.seats[*index].state = State::Idle;
                attachments.push(std::mem::take(&mut book.seats[*index].attachment));
                self.count_abort();
            }
        }
        Ok(attachments)
    }
}

/// Rows that were checked, and where they go.
struct Target {
    slot: usize,
    rows: Range<usize>,
    at: *mut u8,
    bytes: usize,
    from: *const u8,
}

impl Step {
    /// Copies rows into up to [`SLOTS_PER_CALL`] slots, as [`Step::write`] does one after the other. Everything is checked
    /// before anything is written.
    ///
    /// With `tokens`, the slots that follow the tokens have so many rows: a count of [`ALL`] means up to there, and the call
    /// is refused if one of them, written by it or before, would be of another length.
    ///
    /// # Safety
    /// Each entry's data can be read for its rows' bytes.
    pub unsafe fn write_many(&self, list: &[SlotRows], tokens: Option<u64>) -> Result<()> {
        if list.len() > SLOTS_PER_CALL {
            return fail!(InvalidArgument, "{} entries in one write of {self}: at most {SLOTS_PER_CALL}", list.len());
        }
        self.fill(|frozen, body| {
            let mut targets: ArrayVec<Target, SLOTS_PER_CALL> = ArrayVec::new();
            for entry in list {
                let target = self.expect_entry(frozen, body, &targets, entry, tokens);
                targets.push(target.map_err(|e| e.context(format_args!("entry {}", targets.len())))?);
            }
            if let Some(tokens) = tokens {
                self.expect_lengths(frozen, body, &targets, tokens)?;
            }
            for target in &targets {
                if target.bytes > 0 {
                    // SAFETY: the caller's promise for the source, which is apart. The target's rows are inside the entry, whose memory no
                    // copy reads since begin, whose lock this thread holds, and no open span covers them.
                    unsafe { ops::copy(target.at, target.from, target.bytes) };
                }
                body.written[target.slot].add(target.rows.clone());
            }
            Ok(())
        })
    }

    fn expect_entry(
        &self,
        frozen: &Frozen,
        body: &Body,
        before: &[Target],
        entry: &SlotRows,
        tokens: Option<u64>,
    ) -> Result<Target> {
        let slots = &**self.slots();
        let SlotRows { slot, first, count, data } = *entry;
        let (definition, _) = slots.slot(frozen, slot)?;
        let count = match tokens {
            Some(tokens) if definition.follows_tokens && count == ALL => tokens.saturating_sub(first),
            _ => count,
        };
        let rows = slots.rows(frozen, slot, first, count)?;
        let slot = slot as usize;
        let length = length_behind(body, before, slot);
        let (rows, at, bytes) = self.target_behind(frozen, body, slot as u32, rows, length, "writing")?;
        if data.is_null() && bytes > 0 {
            return fail!(InvalidArgument, "the data of slot \"{}\" is NULL", definition.name);
        }
        ops::expect_apart(at, bytes, "rows", data, bytes)?;
        Ok(Target { slot, rows, at, bytes, from: data })
    }

    /// Every slot that follows the tokens and is written has a row for each.
    fn expect_lengths(&self, frozen: &Frozen, body: &Body, targets: &[Target], tokens: u64) -> Result<()> {
        for (slot, definition) in frozen.slots.iter().enumerate().filter(|(_, d)| d.follows_tokens) {
            let is_written = body.written[slot].is_written() || targets.iter().any(|target| target.slot == slot);
            let length = length_behind(body, targets, slot);
            if is_written && length as u64 != tokens {
                return fail!(
                    InvalidArgument,
                    "{tokens} tokens in {self}, and slot \"{}\", which follows them, would have {length} rows: write a row for each token",
                    definition.name
                );
            }
        }
        Ok(())
    }

    /// Pads every slot that follows the tokens from its written length up to the [padded size](Slots::padded_size) of the
    /// longest of them. Returns that size. Everything is checked before anything is written.
    pub fn pad_tokens(&self) -> Result<u64> {
        self.fill(|frozen, body| {
            let follows = || frozen.slots.iter().enumerate().filter(|(_, definition)| definition.follows_tokens);
            let longest = follows().map(|(slot, _)| body.written[slot].length()).max();
            let Some(longest) = longest else {
                return fail!(
                    Unsupported,
                    "{} has no slot that follows the tokens (option follows_tokens): pad each by its own",
                    self.slots().name()
                );
            };
            let padded = self.slots().padded_size(longest as u64);
            for (slot, _) in follows() {
                self.slots().rows(frozen, slot as u32, 0, padded).map_err(|e| {
                    e.context(format_args!("padding {longest} tokens to {padded} (option padded_sizes)"))
                })?;
            }
            for (slot, _) in follows() {
                self.pad_to(frozen, body, slot as u32, padded as usize)?;
            }
            Ok(padded)
        })
    }
}

/// The written length of a slot once these entries are written.
fn length_behind(body: &Body, entries: &[Target], slot: usize) -> usize {
    let ends = entries.iter().filter(|entry| entry.slot == slot && !entry.rows.is_empty()).map(|entry| entry.rows.end);
    ends.fold(body.written[slot].length(), usize::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_table_and_of_the_default() {
        let default = PaddedSizes::new(&[]).unwrap();
        let mut sizes = Vec::new();
        let mut count = 1;
        while count <= 512 {
            sizes.push(default.next(count));
            count = default.next(count) + 1;
        }
        let vllm: Vec<u64> = [1, 2, 4].into_iter().chain((8..256).step_by(8)).chain((256..=512).step_by(16)).collect();
        assert_eq!(sizes, vllm, "51 sizes");
        assert_eq!((default.next(0), default.next(513), default.next(u64::MAX)), (0, 513, u64::MAX));
        let own = PaddedSizes::new(&[3, 10]).unwrap();
        assert_eq!([0, 1, 3, 4, 10, 11].map(|count| own.next(count)), [0, 3, 3, 10, 10, 11]);
        for wrong in [&[0][..], &[1, 1], &[4, 2], &[1; MOST_SIZES + 1]] {
            assert_eq!(PaddedSizes::new(wrong).err().unwrap().status(), Status::InvalidArgument);
        }
    }
}
