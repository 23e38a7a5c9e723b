//! Random operations against models that are too plain to be wrong. The seeds are fixed: what fails fails again.

use super::*;
use crate::error::{Result, Status};
use std::ptr::null;

const ROUNDS: u64 = 400;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn width(&mut self) -> Width {
        [Width::I32, Width::I64][self.below(2)]
    }

    fn row_bytes(&mut self) -> usize {
        [0, 1, 2, 3, 4, 8, 12, 16, 17, 64, 2100][self.below(11)]
    }
}

/// Integers as a caller has them, one byte off every alignment.
struct Packed {
    bytes: Vec<u8>,
    count: usize,
    width: Width,
}

impl Packed {
    fn new(values: &[i64], width: Width) -> Packed {
        let mut bytes = vec![0xEE];
        for value in values {
            bytes.extend_from_slice(&value.to_le_bytes()[..width.bytes()]);
        }
        Packed { bytes, count: values.len(), width }
    }

    fn list(&self) -> Integers {
        // SAFETY: so many integers lie behind the first byte.
        unsafe { Integers::new(self.bytes.as_ptr().wrapping_add(1), self.count, self.width) }
    }

    fn list_mut(&mut self) -> IntegersMut {
        // SAFETY: as above.
        unsafe { IntegersMut::new(self.bytes.as_mut_ptr().wrapping_add(1), self.width) }
    }

    fn values(&self) -> Vec<i64> {
        // SAFETY: below the count.
        (0..self.count).map(|at| unsafe { self.list().get(at) }).collect()
    }
}

fn refused<T>(result: Result<T>, status: Status, words: &[&str]) {
    let Err(error) = result else { panic!("not refused: {words:?}") };
    assert_eq!(error.status(), status, "{error}");
    assert!(words.iter().all(|word| error.message().contains(word)), "{error} lacks one of {words:?}");
}

/// Rows are moved as the model moves them, or refused as a whole for the first index that is none.
fn rows(scatters: bool) {
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let (row, width, count) = (random.row_bytes(), random.width(), random.below(40));
        let limit = random.below(30) + usize::from(count > 0);
        let mut picks: Vec<i64> = (0..count).map(|_| random.below(limit) as i64).collect();
        let wrong = (count > 0 && random.below(4) == 0).then(|| random.below(count));
        if let Some(at) = wrong {
            picks[at] = [-1, limit as i64, i32::MIN.into(), i32::MAX.into()][random.below(4)];
        }
        let indices = Packed::new(&picks, width);
        let (source_rows, target_rows) = if scatters { (count, limit) } else { (limit, count) };
        let source = random.bytes(source_rows * row);
        let mut target = random.bytes(target_rows * row);
        let mut model = target.clone();
        if wrong.is_none() {
            for (at, pick) in picks.iter().enumerate() {
                let (from, to) = if scatters { (at, *pick as usize) } else { (*pick as usize, at) };
                for byte in 0..row {
                    model[to * row + byte] = source[from * row + byte];
                }
            }
        }
        // SAFETY: memory of these sizes.
        let result = unsafe {
            if scatters {
                scatter(source.as_ptr(), row, indices.list(), target.as_mut_ptr(), target_rows)
            } else {
                gather(source.as_ptr(), source_rows, row, indices.list(), target.as_mut_ptr())
            }
        };
        match wrong {
            None => result.unwrap_or_else(|error| panic!("seed {seed}: {error}")),
            Some(at) => {
                let [position, value] = [format!("indices[{at}]"), format!("is {}:", picks[at])];
                refused(result, Status::InvalidArgument, &[&position, &value, &format!("{limit} rows")]);
            }
        }
        assert!(target == model, "seed {seed}: {count} rows of {row} bytes");
    }
}

#[test]
fn gather_is_what_the_model_says() {
    rows(false);
}

#[test]
fn scatter_is_what_the_model_says() {
    rows(true);
}

#[test]
fn rows_on_top_of_rows_are_refused() {
    let mut memory = *b"abcdefgh";
    let indices = Packed::new(&[1, 0], Width::I32);
    let start = memory.as_mut_ptr();
    // SAFETY: every range is inside the memory.
    unsafe {
        refused(gather(start, 4, 1, indices.list(), start.add(3)), Status::InvalidArgument, &["overlap"]);
        refused(scatter(start.add(3), 1, indices.list(), start, 4), Status::InvalidArgument, &["overlap"]);
        let list = indices.list();
        refused(gather(start, 4, 1, list, list.data.cast_mut()), Status::InvalidArgument, &["indices"]);
        let on_indices = scatter(start, 1, list, list.data.cast_mut(), 4);
        refused(on_indices, Status::InvalidArgument, &["indices"]);
        gather(start, 4, 1, list, start.add(4)).unwrap();
    }
    assert_eq!(&memory, b"abcdbagh");
}

/// The padded array, element by element, from the coordinates of each.
fn padded(source: &[u8], shape: &[u64], size: usize, axis: usize, extent: u64, value: &[u8]) -> Vec<u8> {
    let mut wide = shape.to_vec();
    wide[axis] = extent;
    let mut out = Vec::new();
    for number in 0..wide.iter().product::<u64>() {
        let mut rest = number;
        let mut at = vec![0; wide.len()];
        for dim in (0..wide.len()).rev() {
            at[dim] = rest % wide[dim];
            rest /= wide[dim];
        }
        if at[axis] < shape[axis] {
            let from = at.iter().zip(shape).fold(0, |from, (at, dim)| from * dim + at) as usize;
            out.extend_from_slice(&source[from * size..(from + 1) * size]);
        } else {
            out.extend_from_slice(value);
        }
    }
    out
}

#[test]
fn pad_is_what_the_model_says_in_place_and_elsewhere() {
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let rank = 1 + random.below(if seed % 10 == 0 { 8 } else { 4 });
        let most = if rank > 4 { 3 } else { 6 };
        let shape: Vec<u64> = (0..rank).map(|_| random.below(most) as u64 + u64::from(random.below(8) > 0)).collect();
        let (axis, size) = (random.below(rank), [1, 2, 3, 4, 8, 16][random.below(6)]);
        let multiple = 1 + random.below(9) as u64;
        let padding = Padding::new(&shape, size, axis, multiple).unwrap();
        let value = random.bytes(size);
        let source = random.bytes(padding.count() * size);
        let wanted = padded(&source, &shape, size, axis, padding.extent(), &value);
        let note = format!("seed {seed}: {shape:?} of {size} bytes, axis {axis} to a multiple of {multiple}");
        assert_eq!(padding.extent(), shape[axis].div_ceil(multiple) * multiple, "{note}");
        assert_eq!(wanted.len(), padding.padded_count() * size, "{note}");

        // Room for one more element, which stays as it is.
        let room = padding.padded_count() + 1;
        let mut target = vec![0xEE; room * size];
        let mut data = vec![0xEE; room * size];
        data[..source.len()].copy_from_slice(&source);
        // SAFETY: memory of these sizes.
        unsafe {
            padding.copy(source.as_ptr(), value.as_ptr(), target.as_mut_ptr(), room).unwrap();
            padding.in_place(data.as_mut_ptr(), room, value.as_ptr()).unwrap();
        }
        for (what, array) in [("elsewhere", &target), ("in place", &data)] {
            assert!(array[..wanted.len()] == wanted, "{what}, {note}");
            assert!(array[wanted.len()..].iter().all(|byte| *byte == 0xEE), "{what}, beyond the end, {note}");
        }
    }
}

#[test]
fn pad_refuses_what_does_not_fit() {
    let padding = Padding::new(&[2, 3], 1, 1, 4).unwrap();
    let mut data = *b"abcdef__";
    let start = data.as_mut_ptr();
    // SAFETY: every range is inside the memory.
    unsafe {
        refused(padding.in_place(start, 7, b"x".as_ptr()), Status::Overflow, &["8 elements", "room for 7"]);
        refused(padding.in_place(start, 8, start), Status::InvalidArgument, &["value", "overlap"]);
        let mut other = *b"________";
        refused(padding.copy(start, b"x".as_ptr(), other.as_mut_ptr(), 7), Status::Overflow, &["room for 7"]);
        refused(padding.copy(start, b"x".as_ptr(), start.add(2), 8), Status::InvalidArgument, &["source", "overlap"]);
        let value = other.as_mut_ptr();
        refused(padding.copy(start, value.add(7), value, 8), Status::InvalidArgument, &["value", "overlap"]);
        assert_eq!((&data, &other), (b"abcdef__", b"________"), "a refused call writes nothing");
    }
    refused(Padding::new(&[], 1, 0, 1), Status::InvalidArgument, &["rank is 0"]);
    refused(Padding::new(&[1; 9], 1, 0, 1), Status::InvalidArgument, &["rank is 9"]);
    refused(Padding::new(&[2, 3], 1, 2, 1), Status::InvalidArgument, &["axis is 2"]);
    refused(Padding::new(&[2, 3], 0, 0, 1), Status::InvalidArgument, &["element_bytes is 0"]);
    refused(Padding::new(&[2, 3], 1, 0, 0), Status::InvalidArgument, &["multiple is 0"]);
    refused(Padding::new(&[u64::MAX, 1], 1, 0, 2), Status::Overflow, &["64 bits"]);
    refused(Padding::new(&[1 << 40, 1 << 40], 1, 0, 1), Status::Overflow, &["memory"]);
    refused(Padding::new(&[1, 3], 8, 1, 1 << 62), Status::Overflow, &["memory"]);
    refused(Padding::new(&[1 << 62, 2], 1, 0, 1), Status::Overflow, &["memory"]);
    assert_eq!(Padding::new(&[1 << 40, 1 << 40, 0], 8, 1, 3).unwrap().padded_count(), 0, "nothing always fits");
}

#[test]
fn offsets_are_what_the_model_says() {
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let (from, to, count) = (random.width(), random.width(), random.below(20));
        let large = random.below(3) == 0;
        let lengths: Vec<i64> = (0..count)
            .map(|_| match random.below(if large { 12 } else { 60 }) {
                0 => -1 - random.below(5) as i64,
                1 => from.max() - random.below(3) as i64,
                _ => random.below(100) as i64,
            })
            .collect();
        let packed = Packed::new(&lengths, from);
        let mut out = Packed::new(&vec![77; count + 1], to);
        let mut model: std::result::Result<Vec<i64>, (usize, Status)> = Ok(vec![0]);
        let mut sum = 0i128;
        for (at, length) in lengths.iter().enumerate() {
            sum += i128::from(*length);
            let Ok(sums) = &mut model else { break };
            if *length < 0 {
                model = Err((at, Status::InvalidArgument));
            } else if sum > to.max().into() {
                model = Err((at, Status::Overflow));
            } else {
                sums.push(sum as i64);
            }
        }
        // SAFETY: one entry more than lengths.
        let result = unsafe { offsets(packed.list(), out.list_mut()) };
        match model {
            Ok(sums) => {
                result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                assert_eq!(out.values(), sums, "seed {seed}");
            }
            Err((at, status)) => {
                refused(result, status, &[&format!("lengths[{at}]")]);
                assert!(out.values().iter().all(|value| *value == 77), "seed {seed}: a refused call writes nothing");
            }
        }
    }
}

#[test]
fn what_is_flattened_splits_into_the_same_pieces() {
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let (size, width, count) = (random.row_bytes().max(1), random.width(), random.below(12));
        let parts: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let length = random.below(9);
                random.bytes(length * size)
            })
            .collect();
        // Empty pieces without an address are as good as others.
        let pieces: Vec<Piece> = parts
            .iter()
            .map(|part| Piece { data: if part.is_empty() { null() } else { part.as_ptr() }, count: part.len() / size })
            .collect();
        let flat = parts.concat();
        let total = flat.len() / size;
        let mut target = vec![0xEE; flat.len() + size];
        let mut marks = Packed::new(&vec![77; count + 1], width);
        // SAFETY: memory of these sizes.
        let got = unsafe {
            if total > 0 {
                let short = flatten(pieces.as_ptr(), count, size, target.as_mut_ptr(), total - 1, marks.list_mut());
                refused(short, Status::Overflow, &[&format!("{total} elements"), &format!("room for {}", total - 1)]);
                assert!(target.iter().all(|byte| *byte == 0xEE) && marks.values().iter().all(|value| *value == 77));
            }
            flatten(pieces.as_ptr(), count, size, target.as_mut_ptr(), total, marks.list_mut())
        };
        assert_eq!(got.unwrap(), total, "seed {seed}");
        assert!(target[..flat.len()] == flat && target[flat.len()..].iter().all(|byte| *byte == 0xEE), "seed {seed}");

        let mut views = vec![Piece { data: null(), count: 99 }; count];
        // SAFETY: as many pieces as there are between the offsets.
        unsafe { split(target.as_ptr(), total, size, marks.list(), views.as_mut_ptr()) }.unwrap();
        let mut at = 0;
        for (number, (view, part)) in views.iter().zip(&parts).enumerate() {
            assert_eq!(view.count * size, part.len(), "seed {seed}, piece {number}");
            assert_eq!(view.data, target[at..].as_ptr(), "seed {seed}, piece {number}: a view");
            at += part.len();
        }
    }
}

#[test]
fn flatten_refuses_pieces_that_are_none() {
    let mut memory = [1u8; 8];
    let start = memory.as_mut_ptr();
    let mut marks = Packed::new(&[77, 77], Width::I32);
    let mut one = |piece: Piece, size: usize, target: *mut u8| {
        // SAFETY: the pieces are in `memory`, or refused.
        unsafe { flatten(&piece, 1, size, target, 8, marks.list_mut()) }
    };
    let target = &mut [0u8; 8];
    let target = target.as_mut_ptr();
    refused(one(Piece { data: null(), count: 2 }, 1, target), Status::InvalidArgument, &["pieces[0].data is NULL"]);
    refused(one(Piece { data: start, count: 1 << 40 }, 1, target), Status::Overflow, &["pieces[0]", "i32"]);
    refused(one(Piece { data: start, count: 9 }, 1, target), Status::Overflow, &["9 elements"]);
    refused(one(Piece { data: start, count: 4 }, usize::MAX / 2, target), Status::Overflow, &["memory"]);
    refused(one(Piece { data: start, count: 4 }, 1, start.wrapping_add(3)), Status::InvalidArgument, &["overlap"]);
    assert_eq!(marks.values(), [77, 77]);
}

#[test]
fn split_refuses_offsets_that_are_none() {
    let source = [0u8; 10];
    for width in [Width::I32, Width::I64] {
        for (offsets, words) in [
            ([1, 2, 3, 4], ["offsets[0]", "is 1"]),
            ([-1, 2, 3, 4], ["offsets[0]", "is -1"]),
            ([0, 3, 2, 4], ["offsets[2]", "is 2"]),
            ([0, -3, 2, 4], ["offsets[1]", "is -3"]),
            ([0, 3, 4, 11], ["offsets[3]", "10 elements"]),
        ] {
            let mut views = [Piece { data: null(), count: 99 }; 3];
            let packed = Packed::new(&offsets, width);
            // SAFETY: as many pieces as there are between the offsets.
            let result = unsafe { split(source.as_ptr(), 10, 1, packed.list(), views.as_mut_ptr()) };
            refused(result, Status::InvalidArgument, &words);
            assert!(views.iter().all(|view| view.count == 99), "a refused call writes nothing");
        }
    }
}

#[test]
fn outputs_on_top_of_inputs_or_of_each_other_are_refused() {
    // Numbers, at the start of which one piece lists the last two words.
    let mut words = [0i64; 8];
    let start = words.as_mut_ptr();
    let [list, data] = [start, start.wrapping_add(6)].map(|at| at.cast::<u8>());
    // SAFETY: every range is inside the words; the first two are a piece.
    unsafe {
        let integers = |at: usize, count| Integers::new(start.wrapping_add(at).cast(), count, Width::I64);
        let integers_mut = |at: usize| IntegersMut::new(start.wrapping_add(at).cast(), Width::I64);
        let clash = Status::InvalidArgument;
        refused(offsets(integers(2, 2), integers_mut(3)), clash, &["offsets", "lengths", "overlap"]);
        refused(offsets(integers(4, 2), integers_mut(2)), clash, &["offsets", "lengths", "overlap"]);

        let pieces = list.cast::<Piece>();
        pieces.write(Piece { data, count: 16 });
        let flat = |target: usize, marks: usize| {
            flatten(pieces, 1, 1, start.wrapping_add(target).cast(), 16, integers_mut(marks))
        };
        refused(flat(1, 4), clash, &["target", "pieces", "overlap"]);
        refused(flat(4, 1), clash, &["offsets", "pieces", "overlap"]);
        refused(flat(2, 3), clash, &["target", "offsets", "overlap"]);
        refused(flat(5, 2), clash, &["pieces[0]", "target", "overlap"]);
        refused(flat(2, 5), clash, &["pieces[0]", "offsets", "overlap"]);
        assert_eq!(flat(2, 4).unwrap(), 16, "neighbours are fine");

        words[2..4].fill(0);
        let start = words.as_mut_ptr();
        let zeros = Integers::new(start.wrapping_add(2).cast(), 2, Width::I64);
        let on = |at: usize| split(start.cast(), 8, 8, zeros, start.wrapping_add(at).cast());
        refused(on(1), clash, &["pieces", "offsets", "overlap"]);
        refused(on(3), clash, &["pieces", "offsets", "overlap"]);
        on(0).unwrap();
        on(4).unwrap();
    }
}
