//! Where the elements of a buffer, or of a view, lie in its block.

use crate::config::ALL;
use crate::dtype::{Dtype, MAX_RANK, Shape};
use crate::error::Result;
use crate::fail;
use crate::fence::{Area, Name};

/// A shape in a block: rows of the outermost dimension, each without gaps, equally far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    dtype: Dtype,
    shape: Shape,
    start: usize,
    /// Bytes of a row, and from one to the next.
    row: usize,
    pitch: usize,
}

impl Layout {
    /// All of a block, without gaps. The shape's bytes are known to fit in the address space.
    pub fn new(dtype: Dtype, shape: Shape) -> Layout {
        let row = shape.dims()[1..].iter().product::<u64>() as usize * dtype.size();
        Layout { dtype, shape, start: 0, row, pitch: row }
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Elements per dimension.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The first byte.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Rows of the outermost dimension.
    pub fn rows(&self) -> u64 {
        self.shape.dims()[0]
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.row * self.rows() as usize
    }

    /// One past the last byte.
    pub fn end(&self) -> usize {
        self.all().hull().end
    }

    /// Elements from one to the next along each dimension; 0 from the rank on.
    pub fn strides(&self) -> [u64; MAX_RANK] {
        let dims = self.shape.dims();
        let mut out = [0; MAX_RANK];
        let mut stride = 1;
        for axis in (0..dims.len()).rev() {
            out[axis] = if axis == 0 { (self.pitch / self.dtype.size()) as u64 } else { stride };
            stride *= dims[axis];
        }
        out
    }

    /// Every byte.
    pub fn all(&self) -> Area {
        Area::new(self.start, self.row, self.rows() as usize, self.pitch)
    }

    /// Elements `first..first + count`; `count` may be [`ALL`].
    pub fn area(&self, first: u64, count: u64, name: &Name) -> Result<Area> {
        let all = self.shape.count();
        let count = if count == ALL { all.saturating_sub(first) } else { count };
        if first > all || count > all - first {
            return fail!(
                InvalidArgument,
                "elements {first}..{} are not inside {name}, which has {all}",
                first.saturating_add(count)
            );
        }
        let size = self.dtype.size();
        if !self.all().is_window() {
            return Ok(Area::new(self.start + first as usize * size, count as usize * size, 1, 0));
        }
        let columns = (self.row / size) as u64;
        if !first.is_multiple_of(columns) || !count.is_multiple_of(columns) {
            return fail!(
                InvalidArgument,
                "elements {first}..{} of {name} are no whole rows of {columns}, and its rows have gaps between them: take whole rows, or a window of it",
                first + count
            );
        }
        let at = self.start + (first / columns) as usize * self.pitch;
        Ok(Area::new(at, self.row, (count / columns) as usize, self.pitch))
    }

    /// Rows `first..first + count`; `count` may be [`ALL`].
    pub fn slice(&self, first: u64, count: u64, name: &Name) -> Result<Layout> {
        let count = within(first, count, self.rows(), "rows", name)?;
        let mut dims = [0; MAX_RANK];
        let rank = self.shape.dims().len();
        dims[..rank].copy_from_slice(self.shape.dims());
        dims[0] = count;
        let shape = Shape::new(&dims[..rank])?;
        Ok(Layout { shape, start: self.start + first as usize * self.pitch, ..*self })
    }

    /// A window: `rows` and `columns` are (first, count) of this seen as a matrix of rows of the outermost dimension.
    pub fn window(&self, rows: (u64, u64), columns: (u64, u64), name: &Name) -> Result<Layout> {
        let size = self.dtype.size();
        let row_count = within(rows.0, rows.1, self.rows(), "rows", name)?;
        let column_count = within(columns.0, columns.1, (self.row / size) as u64, "columns", name)?;
        let start = self.start + rows.0 as usize * self.pitch + columns.0 as usize * size;
        let shape = Shape::new(&[row_count, column_count])?;
        Ok(Layout { shape, start, row: column_count as usize * size, ..*self })
    }

    /// The element, in this layout, of the first byte of an area of the block that lies in it.
    pub fn element_at(&self, byte: usize) -> u64 {
        let at = byte - self.start;
        let (row, column) = (at / self.pitch, at % self.pitch);
        ((row * self.row + column) / self.dtype.size()) as u64
    }
}

fn within(first: u64, count: u64, all: u64, what: &str, name: &Name) -> Result<u64> {
    let count = if count == ALL { all.saturating_sub(first) } else { count };
    if first > all || count > all - first || count == 0 {
        return fail!(
            InvalidArgument,
            "{what} {first}..{} of {name}: a view has at least one, and there are {all}",
            first.saturating_add(count)
        );
    }
    Ok(count)
}
