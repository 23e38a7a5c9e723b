//! Copies of rows (driver API, `cuMemcpy2DAsync`).

use gpubuf_engine::{Op, OpKind};

use crate::code;
use crate::entry::In;
use crate::memory;
use crate::stream;

/// One side of a `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Side {
    x_bytes: usize,
    y: usize,
    memory: u32,
    host: u64,
    device: u64,
    array: u64,
    pitch: usize,
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Copy2D {
    src: Side,
    dst: Side,
    width_bytes: usize,
    height: usize,
}

const _: () = assert!(size_of::<Copy2D>() == 128, "the driver's size");

impl Side {
    /// The address of a row's first byte, in a side whose rows have at least `width` bytes.
    fn row(&self, width: usize, row: usize) -> Result<u64, i32> {
        let base = match self.memory {
            1 => self.host,
            2 | 4 => self.device,
            3 => return Err(code::NOT_SUPPORTED),
            _ => return Err(code::INVALID_VALUE),
        };
        // No pitch means rows without gaps.
        let pitch = if self.pitch == 0 { width } else { self.pitch };
        let end = self.x_bytes.checked_add(width).ok_or(code::INVALID_VALUE)?;
        if base == 0 || pitch < end {
            return Err(code::INVALID_VALUE);
        }
        let rows = self.y.checked_add(row).and_then(|rows| rows.checked_mul(pitch));
        let offset = rows.and_then(|rows| rows.checked_add(self.x_bytes)).ok_or(code::INVALID_VALUE)?;
        base.checked_add(offset as u64).ok_or(code::INVALID_VALUE)
    }
}

entry! {
    contextual fn cuMemcpy2DAsync_v2(copy: In<Copy2D>, stream: u64) |current| {
        let copy = copy.get(0)?;
        let stream = stream::find(stream, current)?;
        let width = copy.width_bytes;
        if width == 0 || copy.height == 0 {
            return Ok(());
        }
        for (side, row) in [(&copy.dst, 0), (&copy.src, 0), (&copy.dst, copy.height - 1), (&copy.src, copy.height - 1)] {
            memory::usable(side.row(width, row)?, width, &stream.context)?;
        }
        let pitch = |side: &Side| if side.pitch == 0 { width } else { side.pitch };
        let op = Op::CopyRows {
            dst: copy.dst.row(width, 0)?,
            dst_pitch: pitch(&copy.dst),
            src: copy.src.row(width, 0)?,
            src_pitch: pitch(&copy.src),
            width,
            rows: copy.height,
        };
        // SAFETY: the caller answers for memory that the driver does not know, as for one copy.
        unsafe { stream.submit(OpKind::Copy, op) }
    }
}
