//! A few ranges of bytes, for what has changed: never fewer bytes than were added, and more only where there are too many
//! ranges.

use crate::fence::Range;
use arrayvec::ArrayVec;

/// The most ranges of one set; above, the two with the smallest gap between them become one.
pub const RANGES: usize = 8;

/// Disjoint ranges in their order, with a gap between any two.
#[derive(Clone, Debug, Default)]
pub struct Ranges(ArrayVec<Range, { RANGES + 1 }>);

impl Ranges {
    /// One range.
    pub fn of(range: Range) -> Ranges {
        let mut ranges = Ranges::default();
        ranges.add(range);
        ranges
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Range> {
        self.0.iter().copied()
    }

    /// Bytes in all.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// From the first byte to the last.
    pub fn hull(&self) -> Option<Range> {
        Some(Range { start: self.0.first()?.start, end: self.0.last()?.end })
    }

    /// Adds the bytes of a range.
    pub fn add(&mut self, mut range: Range) {
        if range.start >= range.end {
            return;
        }
        let touches = |known: &Range| known.start <= range.end && range.start <= known.end;
        range = self.0.iter().filter(|known| touches(known)).fold(range, |sum, known| sum.hull(*known));
        self.0.retain(|known| !(known.start <= range.end && range.start <= known.end));
        let place = self.0.iter().position(|known| known.start > range.start).unwrap_or(self.0.len());
        self.0.insert(place, range);
        self.keep_few();
    }

    fn keep_few(&mut self) {
        if self.0.len() <= RANGES {
            return;
        }
        let gap = |place: &usize| self.0[place + 1].start - self.0[*place].end;
        let Some(place) = (0..self.0.len() - 1).min_by_key(gap) else { return };
        let next = self.0.remove(place + 1);
        self.0[place] = self.0[place].hull(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 64;

    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    #[test]
    fn a_set_has_what_was_added_and_more_only_when_it_overflows() {
        let mut state = 7;
        for _ in 0..300 {
            let (mut ranges, mut model, mut overflowed) = (Ranges::default(), [false; BYTES], false);
            for _ in 0..40 {
                let start = next(&mut state) % BYTES;
                let range = Range { start, end: (start + next(&mut state) % 9).min(BYTES) };
                ranges.add(range);
                model[range.start..range.end].fill(true);
                let runs = model.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
                overflowed |= runs > RANGES;
                let mut seen = [false; BYTES];
                ranges.iter().for_each(|range| seen[range.start..range.end].fill(true));
                assert!(ranges.0.len() <= RANGES);
                assert!(ranges.0.windows(2).all(|two| two[0].end < two[1].start), "{ranges:?}");
                assert_eq!(ranges.bytes(), seen.iter().filter(|byte| **byte).count());
                assert!(model.iter().zip(seen).all(|(wanted, seen)| seen || !wanted), "a byte is lost");
                assert!(overflowed || model == seen, "{ranges:?} has more than was added");
            }
        }
    }
}
