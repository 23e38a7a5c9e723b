//! The rows of a slot that were written.

use super::Place;
use crate::error::{Result, try_vec};
use std::ops::Range;

/// The rows of one slot that a step wrote. Made once; a step allocates nothing.
pub struct Rows {
    written: bool,
    /// Required slots: rows `0..length` are written. Kept slots: nothing is written from here on.
    length: usize,
    /// One bit for each row of a kept slot.
    words: Vec<u64>,
}

impl Rows {
    /// None yet, of a slot at `place`.
    pub fn new(place: &Place) -> Result<Rows> {
        let words = if place.kept { place.rows.div_ceil(64) } else { 0 };
        Ok(Rows { written: false, length: 0, words: try_vec(words, 0, "the rows of a kept slot")? })
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if self.written {
            let used = self.length.div_ceil(64).min(self.words.len());
            self.words[..used].fill(0);
            self.length = 0;
            self.written = false;
        }
    }

    /// Notes a write. Of a required slot, `rows` begins inside what is written or right behind it.
    pub fn add(&mut self, rows: Range<usize>) {
        self.written = true;
        if rows.is_empty() {
            return;
        }
        self.length = self.length.max(rows.end);
        if self.words.is_empty() {
            return;
        }
        let (first, last) = (rows.start / 64, (rows.end - 1) / 64);
        for word in first..=last {
            let low = if word == first { rows.start % 64 } else { 0 };
            let high = if word == last { (rows.end - 1) % 64 } else { 63 };
            self.words[word] |= (u64::MAX >> (63 - high)) & (u64::MAX << low);
        }
    }

    /// Whether the step wrote to the slot at all, if only no rows.
    pub fn is_written(&self) -> bool {
        self.written
    }

    /// One past the last row written.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Rows written.
    pub fn count(&self) -> usize {
        if self.words.is_empty() { self.length } else { self.words.iter().map(|w| w.count_ones() as usize).sum() }
    }

    /// The written rows as runs, in rising order.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if self.words.is_empty() {
                let run = at..self.length;
                at = self.length;
                return (!run.is_empty()).then_some(run);
            }
            let start = self.find(at, true)?;
            at = self.find(start, false).unwrap_or(self.length);
            Some(start..at)
        })
    }

    /// The first row from `from` on that is written, or is not.
    fn find(&self, from: usize, written: bool) -> Option<usize> {
        let mut row = from;
        while row < self.length {
            let word = if written { self.words[row / 64] } else { !self.words[row / 64] };
            let rest = word >> (row % 64);
            if rest != 0 {
                let found = row + rest.trailing_zeros() as usize;
                return (found < self.length).then_some(found);
            }
            row = (row / 64 + 1) * 64;
        }
        None
    }

    /// Takes over what another has, of the same slot.
    pub fn assign(&mut self, other: &Rows) {
        self.clear();
        self.merge(other);
    }

    /// Adds what another has, of the same slot.
    pub fn merge(&mut self, other: &Rows) {
        self.written |= other.written;
        self.length = self.length.max(other.length);
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// The rows that `other` has not, as runs in rising order.
    pub fn runs_not_in<'a>(&'a self, other: &'a Rows) -> impl Iterator<Item = Range<usize>> + 'a {
        self.runs().flat_map(move |run| {
            let mut at = run.start;
            std::iter::from_fn(move || {
                let start = other.find(at, false).unwrap_or(at.max(other.length));
                if start >= run.end {
                    return None;
                }
                at = other.find(start, true).unwrap_or(run.end).min(run.end);
                Some(start..at)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is compared")]
    fn rows_that_another_lacks() {
        let place = Place { offset: 0, rows: 300, row_bytes: 1, kept: true };
        let mut have = Rows::new(&place).unwrap();
        let mut lack = Rows::new(&place).unwrap();
        have.add(3..10);
        have.add(100..200);
        let missing = |lack: &Rows, have: &Rows| lack.runs_not_in(have).collect::<Vec<_>>();
        assert_eq!(missing(&lack, &have), []);
        lack.add(0..5);
        lack.add(9..12);
        lack.add(120..130);
        lack.add(190..300);
        assert_eq!(missing(&lack, &have), [0..3, 10..12, 200..300]);
        have.merge(&lack);
        assert_eq!(missing(&lack, &have), []);
        assert_eq!(have.runs().collect::<Vec<_>>(), [0..12, 100..300]);
        let mut again = Rows::new(&place).unwrap();
        again.add(299..300);
        again.assign(&lack);
        assert_eq!(again.runs().collect::<Vec<_>>(), lack.runs().collect::<Vec<_>>());
        again.clear();
        assert_eq!(missing(&again, &have), []);
    }
}
