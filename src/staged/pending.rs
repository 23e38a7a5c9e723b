//! What is staged: writes in the order in which they came, and their values.

use crate::error::{Result, try_vec};

/// One write, inside one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub row: u64,
    /// The first byte in the row.
    pub start: usize,
    pub bytes: usize,
    /// Where its values begin.
    pub values: usize,
}

impl Write {
    /// Its place in a table of rows of so many bytes without gaps.
    pub fn at(&self, row_bytes: usize) -> u64 {
        self.row * row_bytes as u64 + self.start as u64
    }
}

/// Staged writes. Allocates when it is made only.
pub(super) struct Pending {
    writes: Vec<Write>,
    values: Vec<u8>,
    most: (usize, usize),
}

impl Pending {
    pub fn new(writes: u32, bytes: u64) -> Result<Pending> {
        let none = Write { row: 0, start: 0, bytes: 0, values: 0 };
        let mut made = Pending {
            writes: try_vec(writes as usize, none, "the list of staged writes")?,
            values: try_vec(bytes as usize, 0, "the values of staged writes")?,
            most: (writes as usize, bytes as usize),
        };
        made.clear();
        Ok(made)
    }

    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    pub fn values(&self) -> &[u8] {
        &self.values
    }

    pub fn bytes(&self) -> usize {
        self.values.len()
    }

    pub fn clear(&mut self) {
        self.writes.clear();
        self.values.clear();
    }

    pub fn has_room(&self, bytes: usize) -> bool {
        self.writes.len() < self.most.0 && bytes <= self.most.1 - self.values.len()
    }

    /// Adds a write that there is room for. One that goes on where the last one ended is the same write: whoever appends to a
    /// row element by element pays for one.
    pub fn push(&mut self, row: u64, start: usize, values: &[u8]) {
        let at = self.values.len();
        self.values.extend_from_slice(values);
        match self.writes.last_mut() {
            Some(last) if last.row == row && last.start + last.bytes == start => last.bytes += values.len(),
            _ => self.writes.push(Write { row, start, bytes: values.len(), values: at }),
        }
    }
}
