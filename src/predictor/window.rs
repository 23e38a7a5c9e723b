//! How often each size came among the last so many, always in order.

use crate::error::{Result, try_vec};

/// Counts of the places of a table over the last records. Each change is a few swaps, whatever the length.
pub(super) struct Window {
    /// The places recorded last; a ring.
    last: Vec<u32>,
    next: usize,
    filled: usize,
    counts: Vec<u32>,
    /// Every place, by falling count.
    order: Vec<u32>,
    /// Where each is in the order.
    ranks: Vec<u32>,
    /// By count: how many places have a higher one.
    above: Vec<u32>,
}

impl Window {
    /// Over the last `length` records of `places`.
    pub fn new(length: usize, places: usize) -> Result<Window> {
        let mut order = try_vec(places, 0, "a window")?;
        order.iter_mut().enumerate().for_each(|(at, place)| *place = at as u32);
        let ranks = order.clone();
        Ok(Window {
            last: try_vec(length, 0, "a window")?,
            next: 0,
            filled: 0,
            counts: try_vec(places, 0, "a window")?,
            order,
            ranks,
            above: try_vec(length + 1, 0, "a window")?,
        })
    }

    /// A record; with a full window, the oldest one leaves it.
    pub fn record(&mut self, place: usize) {
        if self.filled == self.last.len() {
            let oldest = self.last[self.next] as usize;
            let count = self.counts[oldest] as usize;
            self.above[count - 1] -= 1;
            self.swap(oldest, self.above[count - 1] as usize);
            self.counts[oldest] -= 1;
        } else {
            self.filled += 1;
        }
        self.last[self.next] = place as u32;
        self.next = (self.next + 1) % self.last.len();
        let count = self.counts[place] as usize;
        self.swap(place, self.above[count] as usize);
        self.above[count] += 1;
        self.counts[place] += 1;
    }

    fn swap(&mut self, place: usize, rank: usize) {
        let from = self.ranks[place] as usize;
        let other = self.order[rank] as usize;
        self.order.swap(from, rank);
        self.ranks[place] = rank as u32;
        self.ranks[other] = from as u32;
    }

    /// Places that are in the window, the most frequent first.
    pub fn most_common(&self) -> impl Iterator<Item = usize> + '_ {
        self.order[..self.above[0] as usize].iter().map(|place| *place as usize)
    }

    /// How often this place came among the last `count` records.
    pub fn among_last(&self, count: usize, place: usize) -> u32 {
        let length = self.last.len();
        let back = |steps: usize| self.last[(self.next + length - steps) % length] as usize;
        (1..=count.min(self.filled)).filter(|steps| back(*steps) == place).count() as u32
    }
}
