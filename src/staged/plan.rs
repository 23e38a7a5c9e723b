//! What of the staged writes reaches the table: where they overlap the last one wins, so that no two pieces write one byte and
//! the order in which a kernel writes them does not matter.

use super::pending::Write;
use crate::error::{Error, Result, Status, try_vec};
use std::collections::BinaryHeap;

/// A part of a write that no later one covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Which write.
    pub write: u32,
    /// From its first byte.
    pub skip: usize,
    pub bytes: usize,
}

/// The parts of so many writes at most. Allocates when it is made only.
pub(super) struct Plan {
    /// The writes by their place in the table.
    order: Vec<u32>,
    /// Those that cover the place that is looked at, the last one on top.
    active: BinaryHeap<u32>,
    parts: Vec<Part>,
}

/// Parts of so many writes at most: each begins and ends a part.
pub(super) fn most_parts(writes: u32) -> usize {
    2 * writes as usize
}

impl Plan {
    pub fn new(writes: u32) -> Result<Plan> {
        let mut active = BinaryHeap::new();
        if active.try_reserve(writes as usize).is_err() {
            return Err(Error::new(Status::OutOfHostMemory, format!("no memory to order {writes} staged writes")));
        }
        let none = Part { write: 0, skip: 0, bytes: 0 };
        Ok(Plan {
            order: try_vec(writes as usize, 0, "the order of staged writes")?,
            active,
            parts: try_vec(most_parts(writes), none, "the parts of staged writes")?,
        })
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Finds the parts, in the order of their places in a table of rows of so many bytes.
    pub fn make(&mut self, writes: &[Write], row_bytes: usize) {
        let at = |write: u32| writes[write as usize].at(row_bytes);
        let end = |write: u32| at(write) + writes[write as usize].bytes as u64;
        self.parts.clear();
        self.active.clear();
        self.order.clear();
        self.order.extend(0..writes.len() as u32);
        self.order.sort_unstable_by_key(|write| (at(*write), *write));
        let mut waiting = self.order.iter().copied().peekable();
        let mut place = 0;
        loop {
            if self.active.is_empty() {
                let Some(next) = waiting.peek() else { return };
                place = at(*next);
            }
            while let Some(write) = waiting.next_if(|write| at(*write) <= place) {
                self.active.push(write);
            }
            let Some(top) = self.active.peek().copied() else { continue };
            if end(top) <= place {
                self.active.pop();
                continue;
            }
            // Up to where another one may be the last.
            let stop = waiting.peek().map_or(end(top), |next| end(top).min(at(*next)));
            let part = Part { write: top, skip: (place - at(top)) as usize, bytes: (stop - place) as usize };
            match self.parts.last_mut() {
                Some(last) if last.write == top && last.skip + last.bytes == part.skip => last.bytes += part.bytes,
                _ => self.parts.push(part),
            }
            place = stop;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 4;
    const ROW_BYTES: usize = 10;

    /// A generator that needs no dependency.
    fn next(state: &mut u64, below: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % below
    }

    #[test]
    fn parts_are_what_writing_one_after_the_other_leaves() {
        let mut state = 7;
        for round in 0..2000 {
            let count = 1 + next(&mut state, 12);
            let mut plan = Plan::new(count as u32).unwrap();
            let writes: Vec<Write> = (0..count)
                .map(|_| {
                    let start = next(&mut state, ROW_BYTES);
                    let bytes = 1 + next(&mut state, ROW_BYTES - start);
                    Write { row: next(&mut state, ROWS) as u64, start, bytes, values: 0 }
                })
                .collect();
            let mut wanted = [None; ROWS * ROW_BYTES];
            for (number, write) in writes.iter().enumerate() {
                let at = write.at(ROW_BYTES) as usize;
                for (skip, byte) in wanted[at..at + write.bytes].iter_mut().enumerate() {
                    *byte = Some((number as u32, skip));
                }
            }
            plan.make(&writes, ROW_BYTES);
            assert!(plan.parts().len() < most_parts(count as u32), "round {round}");
            let mut found = [None; ROWS * ROW_BYTES];
            for part in plan.parts() {
                let at = writes[part.write as usize].at(ROW_BYTES) as usize + part.skip;
                for (offset, byte) in found[at..at + part.bytes].iter_mut().enumerate() {
                    assert_eq!(*byte, None, "round {round}: two parts write one byte");
                    *byte = Some((part.write, part.skip + offset));
                }
            }
            assert_eq!(found, wanted, "round {round}: {writes:?}");
        }
    }

    #[test]
    fn a_write_in_the_midst_of_another_splits_it() {
        let write = |start, bytes| Write { row: 1, start, bytes, values: 0 };
        let mut plan = Plan::new(2).unwrap();
        plan.make(&[write(0, 9), write(3, 2)], ROW_BYTES);
        let part = |write, skip, bytes| Part { write, skip, bytes };
        assert_eq!(plan.parts(), [part(0, 0, 3), part(1, 0, 2), part(0, 5, 4)]);
        plan.make(&[write(3, 2), write(0, 9)], ROW_BYTES);
        assert_eq!(plan.parts(), [part(1, 0, 9)], "an older one that is covered is no part, and splits nothing");
    }
}
