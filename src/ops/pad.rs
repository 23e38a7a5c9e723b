//! Padding one axis of a row-major array to a multiple.

use super::region::Region;
use super::{copy, fill};
use crate::dtype::MAX_RANK;
use crate::error::Result;
use crate::fail;

/// What is padded, and how far: checked, with every size known to fit.
#[derive(Clone, Copy, Debug)]
pub struct Padding {
    /// Elements before and after.
    count: usize,
    padded_count: usize,
    element_bytes: usize,
    extent: u64,
    /// Runs along the axis; between two of them new elements go.
    runs: usize,
    run_bytes: usize,
    padded_run_bytes: usize,
}

impl Padding {
    /// Pads `axis` of an array of this shape to a multiple of `multiple`. An extent of 0 is a multiple.
    pub fn new(shape: &[u64], element_bytes: usize, axis: usize, multiple: u64) -> Result<Padding> {
        if shape.is_empty() || shape.len() > MAX_RANK {
            return fail!(InvalidArgument, "rank is {}: 1 to {MAX_RANK}", shape.len());
        }
        let Some(extent) = shape.get(axis).copied() else {
            return fail!(InvalidArgument, "axis is {axis}: the shape {shape:?} has {} dimensions", shape.len());
        };
        if element_bytes == 0 || multiple == 0 {
            return fail!(
                InvalidArgument,
                "element_bytes is {element_bytes} and multiple is {multiple}: both are at least 1"
            );
        }
        let Some(padded) = extent.checked_next_multiple_of(multiple) else {
            return fail!(Overflow, "no multiple of {multiple} from {extent} on fits in 64 bits");
        };
        if shape.contains(&0) {
            return Ok(Padding {
                count: 0,
                padded_count: 0,
                element_bytes,
                extent: padded,
                runs: 0,
                run_bytes: 0,
                padded_run_bytes: 0,
            });
        }
        // The padded array is the largest of all these: where it fits, so do the others.
        let padded_bytes =
            size(shape[..axis].iter().chain(&[padded]).chain(&shape[axis + 1..]).copied(), element_bytes);
        let parts = (|| {
            let padded_bytes = padded_bytes.filter(|bytes| isize::try_from(*bytes).is_ok())?;
            let inner = size(shape[axis + 1..].iter().copied(), element_bytes)?;
            let runs = size(shape[..axis].iter().copied(), 1)?;
            let (extent, padded) = (usize::try_from(extent).ok()?, usize::try_from(padded).ok()?);
            Some((padded_bytes, runs, inner * extent, inner * padded))
        })();
        let Some((padded_bytes, runs, run_bytes, padded_run_bytes)) = parts else {
            return fail!(
                Overflow,
                "the shape {shape:?} of {element_bytes} bytes each, padded to {padded} along axis {axis}, is more than memory can have"
            );
        };
        Ok(Padding {
            count: runs * run_bytes / element_bytes,
            padded_count: padded_bytes / element_bytes,
            element_bytes,
            extent: padded,
            runs,
            run_bytes,
            padded_run_bytes,
        })
    }

    /// The axis's extent once padded.
    pub fn extent(&self) -> u64 {
        self.extent
    }

    /// Elements of the array.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Elements of the padded array.
    pub fn padded_count(&self) -> usize {
        self.padded_count
    }

    fn fits(&self, capacity: usize, what: &str) -> Result<()> {
        if self.padded_count > capacity {
            return fail!(
                Overflow,
                "the padded array has {} elements, and {what} has room for {capacity}",
                self.padded_count
            );
        }
        Ok(())
    }

    /// Writes the padded array to `target`, which has room for `capacity` elements.
    ///
    /// # Safety
    /// `source` is valid for reads of the array, `value` of one element, `target` for writes of `capacity` elements, and
    /// nobody else writes them meanwhile.
    pub unsafe fn copy(&self, source: *const u8, value: *const u8, target: *mut u8, capacity: usize) -> Result<()> {
        self.fits(capacity, "target")?;
        let written = Region::new("target", target, self.padded_count, self.element_bytes)?;
        written.apart_from(Region::new("source", source, self.count, self.element_bytes)?)?;
        written.apart_from(Region::new("value", value, 1, self.element_bytes)?)?;
        if self.run_bytes == self.padded_run_bytes {
            // SAFETY: without new elements both arrays are the same bytes, which the target has room for.
            unsafe { copy(target, source, self.runs * self.run_bytes) };
            return Ok(());
        }
        for run in 0..self.runs {
            // SAFETY: run by run inside both arrays, which fit, are valid, and do not overlap.
            unsafe {
                copy(target.add(run * self.padded_run_bytes), source.add(run * self.run_bytes), self.run_bytes);
                self.fill_end_of(run, target, value);
            }
        }
        Ok(())
    }

    /// Pads the array at the start of `data`, which has room for `capacity` elements, where it is.
    ///
    /// # Safety
    /// `data` is valid for reads of the array and for writes of `capacity` elements, `value` for reads of one element, and
    /// nobody else uses them meanwhile.
    pub unsafe fn in_place(&self, data: *mut u8, capacity: usize, value: *const u8) -> Result<()> {
        self.fits(capacity, "data")?;
        let written = Region::new("data", data, self.padded_count, self.element_bytes)?;
        written.apart_from(Region::new("value", value, 1, self.element_bytes)?)?;
        if self.run_bytes == self.padded_run_bytes {
            return Ok(());
        }
        // From the back: a run moves to where only runs were that have moved already, and its old place.
        for run in (0..self.runs).rev() {
            // SAFETY: both places are inside the padded array, which fits; they may overlap. The end of the run lies behind
            // every run that has not moved.
            unsafe {
                std::ptr::copy(data.add(run * self.run_bytes), data.add(run * self.padded_run_bytes), self.run_bytes);
                self.fill_end_of(run, data, value);
            }
        }
        Ok(())
    }

    /// # Safety
    /// `array` is valid for writes of the padded array, `value` for reads of one element that lies outside of it.
    unsafe fn fill_end_of(&self, run: usize, array: *mut u8, value: *const u8) {
        // SAFETY: the caller's promise; nobody else has a reference to either.
        unsafe {
            let start = array.add(run * self.padded_run_bytes + self.run_bytes);
            let end = std::slice::from_raw_parts_mut(start, self.padded_run_bytes - self.run_bytes);
            fill(end, std::slice::from_raw_parts(value, self.element_bytes));
        }
    }
}

/// Bytes of an array without empty dimensions.
fn size(mut dims: impl Iterator<Item = u64>, element_bytes: usize) -> Option<usize> {
    dims.try_fold(element_bytes, |bytes, dim| bytes.checked_mul(usize::try_from(dim).ok()?))
}
