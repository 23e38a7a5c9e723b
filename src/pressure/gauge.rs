//! One measure of memory, and whether it is high.

use std::cmp::Ordering;

/// What a gauge read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes in use.
    pub used: u64,
    /// Bytes there may be; 0: not known.
    pub limit: u64,
}

impl Reading {
    /// The fuller is the greater.
    pub(super) fn compare(&self, other: &Reading) -> Ordering {
        (self.used as u128 * other.limit as u128).cmp(&(other.used as u128 * self.limit as u128))
    }

    fn at(self, percent: u32) -> u64 {
        (self.limit as u128 * percent as u128 / 100) as u64
    }

    /// Bytes beyond a share of the limit.
    pub(super) fn over(self, percent: u32) -> u64 {
        self.used.saturating_sub(self.at(percent))
    }
}

/// A measure with two marks.
#[derive(Default)]
pub(super) struct Gauge {
    pub is_high: bool,
    pub reading: Reading,
}

impl Gauge {
    /// Takes a reading. Returns whether the level changed: high from the high mark on, low again from the low mark down.
    pub fn look(&mut self, reading: Reading, high: u32, low: u32) -> bool {
        let was = self.is_high;
        self.is_high = match (reading.limit, was) {
            (0, _) => false,
            (_, false) => reading.used >= reading.at(high).max(1),
            (_, true) => reading.used > reading.at(low),
        };
        self.reading = reading;
        was != self.is_high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_changes_at_its_marks_and_not_between_them() {
        let mut gauge = Gauge::default();
        let seen: Vec<bool> = [0, 89, 90, 85, 81, 80, 89, 100, 120, 0]
            .map(|used| {
                gauge.look(Reading { used, limit: 100 }, 90, 80);
                gauge.is_high
            })
            .to_vec();
        assert_eq!(seen, [false, false, true, true, true, false, false, true, true, false]);
        assert!(!gauge.look(Reading { used: 5, limit: 0 }, 90, 80), "nothing is known");
    }

    #[test]
    fn what_is_over_a_mark_is_to_go() {
        assert_eq!(Reading { used: 95, limit: 100 }.over(80), 15);
        assert_eq!(Reading { used: 5, limit: 100 }.over(80), 0);
        assert_eq!(Reading { used: u64::MAX, limit: u64::MAX }.over(100), 0);
    }
}
