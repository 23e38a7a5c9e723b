//! Fills (driver API, `cuMemset*`).

use gpubuf_engine::{Op, OpKind};

use crate::code;
use crate::memory::{self, Sort};
use crate::stream::{self, Stream};

/// Queues a fill of memory that the driver knows, aligned to its elements; tells what sort of memory it was.
fn fill(dst: u64, width: u8, value: u32, count: usize, stream: &Stream) -> Result<Option<Sort>, i32> {
    if !dst.is_multiple_of(u64::from(width)) {
        return Err(code::INVALID_VALUE);
    }
    let bytes = count.checked_mul(usize::from(width)).ok_or(code::INVALID_VALUE)?;
    if bytes == 0 {
        return Ok(None);
    }
    let sort = memory::expect_known(dst, bytes, &stream.context)?.memory.sort;
    // SAFETY: a fill names no memory but the driver's own.
    unsafe { stream.submit(OpKind::Fill, Op::Fill { dst, width, value: u64::from(value), count })? };
    Ok(Some(sort))
}

/// Asynchronous, except for page-locked host memory (driver API, "API synchronization behavior", "Memset").
fn fill_now(dst: u64, width: u8, value: u32, count: usize, stream: &Stream) -> Result<(), i32> {
    match fill(dst, width, value, count, stream)? {
        Some(Sort::Pinned | Sort::Registered) => stream.synchronize(),
        _ => Ok(()),
    }
}

entry! {
    contextual fn cuMemsetD8Async(dst: u64, value: u8, count: usize, stream: u64) |current| {
        fill(dst, 1, value.into(), count, &*stream::find(stream, current)?).map(drop)
    }
}

entry! {
    contextual fn cuMemsetD16Async(dst: u64, value: u16, count: usize, stream: u64) |current| {
        fill(dst, 2, value.into(), count, &*stream::find(stream, current)?).map(drop)
    }
}

entry! {
    contextual fn cuMemsetD32Async(dst: u64, value: u32, count: usize, stream: u64) |current| {
        fill(dst, 4, value, count, &*stream::find(stream, current)?).map(drop)
    }
}

entry! {
    contextual fn cuMemsetD8_v2(dst: u64, value: u8, count: usize) |current| {
        fill_now(dst, 1, value.into(), count, &*current.legacy()?)
    }
}

entry! {
    contextual fn cuMemsetD16_v2(dst: u64, value: u16, count: usize) |current| {
        fill_now(dst, 2, value.into(), count, &*current.legacy()?)
    }
}

entry! {
    contextual fn cuMemsetD32_v2(dst: u64, value: u32, count: usize) |current| {
        fill_now(dst, 4, value, count, &*current.legacy()?)
    }
}

entry! {
    contextual fn cuMemsetD2D32Async(
        dst: u64, pitch: usize, value: u32, width: usize, height: usize, stream: u64,
    ) |current| {
        let stream = stream::find(stream, current)?;
        let row = width.checked_mul(4).ok_or(code::INVALID_VALUE)?;
        if row == 0 || height == 0 {
            return Ok(());
        }
        let span = pitch.checked_mul(height - 1).and_then(|rows| rows.checked_add(row));
        if !dst.is_multiple_of(4) || !pitch.is_multiple_of(4) || (height > 1 && pitch < row) {
            return Err(code::INVALID_VALUE);
        }
        memory::expect_known(dst, span.ok_or(code::INVALID_VALUE)?, &stream.context)?;
        let fate = stream.admit(OpKind::Fill)?;
        for index in 0..height as u64 {
            let start = dst + index * pitch as u64;
            let op = Op::Fill { dst: start, width: 4, value: u64::from(value), count: width };
            // SAFETY: a fill names no memory but the driver's own.
            unsafe { stream.queue(fate, op)? };
        }
        Ok(())
    }
}
