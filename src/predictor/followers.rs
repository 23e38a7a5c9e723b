//! What came after one context, the most frequent first.

use super::{MOST_PREDICTED, Sizes};

/// A count at which the counts of a context are halved: what came lately weighs more.
const FULL: u32 = 256;

/// Sizes that came next, by how often they did; among equals the one that came last is first.
#[derive(Clone, Copy, Default)]
pub(super) struct Followers {
    sizes: [u64; MOST_PREDICTED],
    counts: [u32; MOST_PREDICTED],
    len: u32,
}

impl Followers {
    /// This size came next. One that was not known takes the place of the rarest.
    pub fn saw(&mut self, size: u64) {
        let len = self.len as usize;
        let mut at = self.sizes[..len].iter().position(|known| *known == size).unwrap_or_else(|| {
            let at = len.min(MOST_PREDICTED - 1);
            self.len = at as u32 + 1;
            self.sizes[at] = size;
            self.counts[at] = 0;
            at
        });
        self.counts[at] += 1;
        while at > 0 && self.counts[at - 1] <= self.counts[at] {
            self.sizes.swap(at - 1, at);
            self.counts.swap(at - 1, at);
            at -= 1;
        }
        if self.counts[at] == FULL {
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }

    /// How often something came next, as the counts say that are left.
    pub fn seen(&self) -> u32 {
        self.counts[..self.len as usize].iter().sum()
    }

    /// Adds them to a list that holds up to `most`.
    pub fn add_to(&self, list: &mut Sizes, most: usize) {
        self.sizes[..self.len as usize].iter().for_each(|size| list.add(*size, most));
    }
}
