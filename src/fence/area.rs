//! Which bytes of a side: a range, or equal rows that lie equally far apart.

use super::uses::Range;
use arrayvec::ArrayVec;

/// Rows of bytes. With one row it is a range; with more it is a window of a matrix whose rows begin at multiples of the pitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    start: usize,
    width: usize,
    rows: usize,
    /// From one row to the next; 0 where there is one row.
    pitch: usize,
}

/// What is left of an area, or what two have in common.
pub type Areas = ArrayVec<Area, 16>;

/// A window in rows and columns of a matrix.
#[derive(Clone, Copy)]
struct Rect {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
}

impl From<Range> for Area {
    fn from(range: Range) -> Area {
        Area { start: range.start, width: range.end.saturating_sub(range.start), rows: 1, pitch: 0 }
    }
}

impl Area {
    /// `rows` rows of `width` bytes from `start` on, `pitch` bytes apart, which is at least `width`.
    pub fn new(start: usize, width: usize, rows: usize, pitch: usize) -> Area {
        match rows {
            0 => Area { start, width: 0, rows: 1, pitch: 0 },
            1 => Area { start, width, rows: 1, pitch: 0 },
            _ if width == pitch || width == 0 => Area { start, width: width * rows, rows: 1, pitch: 0 },
            _ => Area { start, width, rows, pitch },
        }
    }

    /// The first byte.
    pub fn start(self) -> usize {
        self.start
    }

    /// Bytes of a row.
    pub fn width(self) -> usize {
        self.width
    }

    /// How many rows.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Bytes from one row to the next; 0 where there is one.
    pub fn pitch(self) -> usize {
        self.pitch
    }

    /// Bytes in all.
    pub fn bytes(self) -> usize {
        self.width * self.rows
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.width == 0
    }

    /// Whether the rows have gaps between them.
    pub fn is_window(self) -> bool {
        self.rows > 1
    }

    /// The range from its first byte to its last.
    pub fn hull(self) -> Range {
        Range { start: self.start, end: self.start + (self.rows - 1) * self.pitch + self.width }
    }

    /// The pitch by which both can be told apart: none where both are windows of different matrices.
    fn shared_pitch(self, other: Area) -> Option<usize> {
        match (self.pitch, other.pitch) {
            (a, b) if a == b || b == 0 => Some(a),
            (0, b) => Some(b),
            _ => None,
        }
    }

    /// Whether a byte is in both: exactly for ranges and for windows of one matrix, by their hulls for others.
    pub fn overlaps(self, other: Area) -> bool {
        if self.is_empty() || other.is_empty() || !self.hull().overlaps(other.hull()) {
            return false;
        }
        let Some(pitch) = self.shared_pitch(other).filter(|pitch| *pitch > 0) else { return true };
        // Row i here and row i + k there overlap where their starts are less than a width apart.
        let (pitch, apart) = (pitch as i128, other.start as i128 - self.start as i128);
        let lowest = (-(other.width as i128) - apart + 1 + (pitch - 1)).div_euclid(pitch);
        let highest = (self.width as i128 - apart - 1).div_euclid(pitch);
        lowest.max(1 - self.rows as i128) <= highest.min(other.rows as i128 - 1)
    }

    fn rects(self, pitch: usize) -> ArrayVec<Rect, 3> {
        let mut out = ArrayVec::new();
        if self.is_window() {
            let (top, left) = (self.start / pitch, self.start % pitch);
            out.push(Rect { top, bottom: top + self.rows, left, right: left + self.width });
            return out;
        }
        let Range { mut start, end } = self.hull();
        while start < end {
            let (top, left) = (start / pitch, start % pitch);
            let whole = (end - start) / pitch;
            let rect = if left == 0 && whole > 0 {
                Rect { top, bottom: top + whole, left, right: pitch }
            } else {
                Rect { top, bottom: top + 1, left, right: pitch.min(left + end - start) }
            };
            out.push(rect);
            start = (rect.bottom - 1) * pitch + rect.right;
        }
        out
    }

    /// What both have in common; all of this one where they are windows of different matrices.
    pub fn common(self, other: Area) -> Areas {
        let mut out = Areas::new();
        if !self.overlaps(other) {
            return out;
        }
        match self.shared_pitch(other) {
            None => out.push(self),
            Some(0) => {
                let (a, b) = (self.hull(), other.hull());
                out.push(Area::from(Range { start: a.start.max(b.start), end: a.end.min(b.end) }));
            }
            Some(pitch) => {
                for a in self.rects(pitch) {
                    out.extend(other.rects(pitch).iter().filter_map(|b| a.common(*b)).map(|rect| rect.area(pitch)));
                }
            }
        }
        join(&mut out);
        out
    }

    /// What is in this one and not in the other; all of it where they are windows of different matrices.
    pub fn without(self, other: Area) -> Areas {
        let mut out = Areas::new();
        match self.shared_pitch(other) {
            _ if !self.overlaps(other) => out.extend((!self.is_empty()).then_some(self)),
            None => out.push(self),
            Some(0) => {
                let (a, b) = (self.hull(), other.hull());
                let parts = [Range { start: a.start, end: b.start }, Range { start: b.end, end: a.end }];
                out.extend(parts.into_iter().filter(|part| part.start < part.end).map(Area::from));
            }
            Some(pitch) => {
                // At most eight rectangles: three of a range, one of them with a hole.
                let mut left: ArrayVec<Rect, 16> = self.rects(pitch).into_iter().collect();
                for hole in other.rects(pitch) {
                    left = left.iter().flat_map(|rect| rect.without(hole)).collect();
                }
                out.extend(left.iter().map(|rect| rect.area(pitch)));
            }
        }
        join(&mut out);
        out
    }

    /// Whether every byte of the other is in this one.
    pub fn covers(self, other: Area) -> bool {
        other.without(self).is_empty()
    }

    /// The smallest area around both.
    pub fn around(self, other: Area) -> Area {
        let Some(pitch) = self.shared_pitch(other).filter(|pitch| *pitch > 0) else {
            return Area::from(self.hull().hull(other.hull()));
        };
        let all = self.rects(pitch).into_iter().chain(other.rects(pitch)).reduce(|a, b| Rect {
            top: a.top.min(b.top),
            bottom: a.bottom.max(b.bottom),
            left: a.left.min(b.left),
            right: a.right.max(b.right),
        });
        all.map_or(self, |rect| rect.area(pitch))
    }

    /// The area that both are together, if that is one.
    pub fn joined(self, other: Area) -> Option<Area> {
        let around = self.around(other);
        (around.bytes() == self.bytes() + other.bytes() && !self.overlaps(other)).then_some(around)
    }
}

/// Makes one of neighbours.
fn join(areas: &mut Areas) {
    let mut first = 0;
    while first < areas.len() {
        let found = (first + 1..areas.len()).find_map(|second| Some((second, areas[first].joined(areas[second])?)));
        match found {
            Some((second, joined)) => {
                areas[first] = joined;
                areas.swap_remove(second);
                first = 0;
            }
            None => first += 1,
        }
    }
}

impl Rect {
    fn area(self, pitch: usize) -> Area {
        Area::new(self.top * pitch + self.left, self.right - self.left, self.bottom - self.top, pitch)
    }

    fn common(self, other: Rect) -> Option<Rect> {
        let rect = Rect {
            top: self.top.max(other.top),
            bottom: self.bottom.min(other.bottom),
            left: self.left.max(other.left),
            right: self.right.min(other.right),
        };
        (rect.top < rect.bottom && rect.left < rect.right).then_some(rect)
    }

    fn without(self, other: Rect) -> ArrayVec<Rect, 4> {
        let mut out = ArrayVec::new();
        let Some(hole) = self.common(other) else {
            out.push(self);
            return out;
        };
        let beside = Rect { top: hole.top, bottom: hole.bottom, ..self };
        let parts = [
            Rect { bottom: hole.top, ..self },
            Rect { right: hole.left, ..beside },
            Rect { left: hole.right, ..beside },
            Rect { top: hole.bottom, ..self },
        ];
        out.extend(parts.into_iter().filter(|part| part.top < part.bottom && part.left < part.right));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PITCH: usize = 7;
    const BYTES: usize = 6 * PITCH;

    fn bytes(area: Area) -> u64 {
        let mut out = 0;
        for row in 0..area.rows() {
            for column in 0..area.width() {
                let bit = 1 << (area.start() + row * area.pitch() + column);
                assert_eq!(out & bit, 0);
                out |= bit;
            }
        }
        out
    }

    /// Every range, and every window of a matrix of 6 rows of 7 bytes: some by stepping through them.
    fn some() -> Vec<Area> {
        let mut out = Vec::new();
        for start in 0..BYTES {
            for end in (start..=BYTES).step_by(3) {
                out.push(Area::from(Range { start, end }));
            }
        }
        for top in 0..6 {
            for rows in 1..=6 - top {
                for left in 0..PITCH {
                    for width in (1..=PITCH - left).step_by(2) {
                        out.push(Area::new(top * PITCH + left, width, rows, PITCH));
                    }
                }
            }
        }
        out
    }

    #[test]
    fn areas_are_what_sets_of_bytes_say() {
        let all = some();
        for (number, a) in all.iter().enumerate() {
            for b in all.iter().skip(number % 5).step_by(5) {
                let (x, y) = (bytes(*a), bytes(*b));
                assert_eq!(a.overlaps(*b), x & y != 0, "{a:?} {b:?}");
                let sum = |parts: Areas| {
                    parts.iter().fold(0, |sum, part| {
                        assert_eq!(sum & bytes(*part), 0, "{a:?} {b:?}: parts overlap");
                        sum | bytes(*part)
                    })
                };
                assert_eq!(sum(a.common(*b)), x & y, "{a:?} {b:?}");
                assert_eq!(sum(a.without(*b)), x & !y, "{a:?} {b:?}");
                assert_eq!(a.covers(*b), y & !x == 0, "{a:?} {b:?}");
                assert_eq!(bytes(a.around(*b)) & (x | y), x | y, "{a:?} {b:?}");
                if let Some(joined) = a.joined(*b) {
                    assert_eq!(bytes(joined), x | y, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn windows_of_different_matrices_are_told_apart_by_their_hulls() {
        let a = Area::new(0, 2, 4, 8);
        let b = Area::new(4, 2, 4, 10);
        assert!(a.overlaps(b) && !a.overlaps(Area::new(26, 2, 4, 10)));
        assert_eq!(a.without(b).as_slice(), [a]);
        assert_eq!(a.common(b).as_slice(), [a]);
        assert_eq!(a.around(b), Area::from(Range { start: 0, end: 36 }));
    }
}
