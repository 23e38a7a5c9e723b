//! Batches of copies (driver API, `cuMemcpyBatchAsync`, since 12.8; without the failing index since 13.0).

use std::sync::Arc;

use gpubuf_engine::{Op, OpKind, View};

use crate::code;
use crate::context::Context;
use crate::entry::{In, Out};
use crate::fault::Fate;
use crate::memory;
use crate::stream::{self, LEGACY, Stream};

/// `CUmemcpyAttributes`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    source_order: u32,
    hints: [[i32; 2]; 2],
    flags: u32,
}

const _: () = assert!(size_of::<Attributes>() == 24, "the driver's size");

/// `CU_MEMCPY_SRC_ACCESS_ORDER_STREAM`, `_DURING_API_CALL` and `_ANY`. Sources that may be read at any time are read
/// in stream order, which is the latest that they may be.
const IN_STREAM_ORDER: u32 = 1;
const DURING_CALL: u32 = 2;
const ANY_ORDER: u32 = 3;

/// The arguments that both signatures have.
#[derive(Clone, Copy)]
struct Batch {
    dsts: In<u64>,
    srcs: In<u64>,
    sizes: In<usize>,
    count: usize,
    attributes: In<Attributes>,
    attribute_starts: In<usize>,
    attribute_count: usize,
}

struct Copy {
    dst: u64,
    src: u64,
    bytes: usize,
    /// The source is read before the call returns.
    now: bool,
}

impl Batch {
    /// Checks all and queues all, or nothing. The second number of a refusal is the copy's that it is about.
    fn queue(&self, stream: u64, current: &Arc<Context>) -> Result<(), (i32, usize)> {
        let general = |code| (code, usize::MAX);
        // The legacy stream is refused, the per-thread one is not (driver API, `hStream`).
        if matches!(stream, 0 | LEGACY) {
            return Err(general(code::INVALID_VALUE));
        }
        let stream = stream::find(stream, current).map_err(general)?;
        // What drivers did for long: refused, and the capture goes on without the copies (RAPIDS rmm #2518).
        if stream.is_capturing() {
            return Err(general(code::STREAM_CAPTURE_UNSUPPORTED));
        }
        let copies = self.check(&stream)?;
        // The faults count each copy; a refusal of one leaves none queued.
        let mut admitted = Vec::with_capacity(copies.len());
        for (index, copy) in copies.iter().enumerate() {
            admitted.push((stream.admit(OpKind::Copy).map_err(|code| (code, index))?, copy));
        }
        for (index, (fate, copy)) in admitted.into_iter().enumerate() {
            copy.queue(fate, &stream).map_err(|code| (code, index))?;
        }
        Ok(())
    }

    fn check(&self, stream: &Stream) -> Result<Vec<Copy>, (i32, usize)> {
        let general = |code| (code, usize::MAX);
        if self.count == 0 || self.attribute_count == 0 || self.attribute_count > self.count {
            return Err(general(code::INVALID_VALUE));
        }
        // Each entry names its first copy: the first is 0, and they rise (driver API, `attrsIdxs`).
        let mut starts = Vec::with_capacity(self.attribute_count);
        for index in 0..self.attribute_count {
            let start = self.attribute_starts.get(index).map_err(general)?;
            let order = self.attributes.get(index).map_err(general)?.source_order;
            let rises = starts.last().map_or(start == 0, |(last, _)| start > *last);
            if !rises || start >= self.count || !(IN_STREAM_ORDER..=ANY_ORDER).contains(&order) {
                return Err(general(code::INVALID_VALUE));
            }
            starts.push((start, order));
        }
        let mut copies = Vec::with_capacity(self.count);
        for index in 0..self.count {
            let at = |code| (code, index);
            let dst = self.dsts.get(index).map_err(general)?;
            let src = self.srcs.get(index).map_err(general)?;
            let bytes = self.sizes.get(index).map_err(general)?;
            if bytes == 0 {
                return Err(at(code::INVALID_VALUE));
            }
            memory::usable(dst, bytes, &stream.context).map_err(at)?;
            let source = memory::usable(src, bytes, &stream.context).map_err(at)?;
            let order = starts.iter().rev().find(|(start, _)| *start <= index).map(|(_, order)| *order);
            let on_host = source.is_none_or(|found| found.memory.host != 0 && src - found.offset == found.memory.host);
            copies.push(Copy { dst, src, bytes, now: on_host && order == Some(DURING_CALL) });
        }
        Ok(copies)
    }
}

impl Copy {
    fn queue(&self, fate: Fate, stream: &Stream) -> Result<(), i32> {
        let Copy { dst, src, bytes, now } = *self;
        if !now {
            // SAFETY: the caller answers for memory that the driver does not know.
            return unsafe { stream.queue(fate, Op::Copy { dst, src, bytes }) };
        }
        let mut aside = Vec::<u8>::new();
        aside.try_reserve_exact(bytes).map_err(|_| code::OUT_OF_MEMORY)?;
        // SAFETY: the source is host memory, readable by the caller's promise or because the driver knows it as such;
        // the target was reserved with room for as much.
        unsafe {
            std::ptr::copy(src as *const u8, aside.as_mut_ptr(), bytes);
            aside.set_len(bytes);
        }
        let aside = Box::into_raw(aside.into_boxed_slice());
        let src = aside.cast::<u8>() as u64;
        // SAFETY: the source lives until the stream is past the copy. A lost device leaks it, as it may yet be read.
        unsafe {
            stream.queue(fate, Op::Copy { dst, src, bytes })?;
            let _ = stream.engine.submit(Op::Call { function: free, arguments: [src as usize, bytes] }, 0);
        }
        Ok(())
    }
}

fn free(_view: &View<'_>, [aside, bytes]: [usize; 2]) {
    // SAFETY: the numbers are those of a boxed slice that was given up, and this runs once.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(aside as *mut u8, bytes)) });
}

entry! {
    contextual fn cuMemcpyBatchAsync(
        dsts: In<u64>, srcs: In<u64>, sizes: In<usize>, count: usize, attributes: In<Attributes>,
        attribute_starts: In<usize>, attribute_count: usize, fail_index: Out<usize>, stream: u64,
    ) |current| {
        let batch = Batch { dsts, srcs, sizes, count, attributes, attribute_starts, attribute_count };
        batch.queue(stream, current).map_err(|(code, index)| {
            fail_index.offer(index);
            code
        })
    }
}

entry! {
    contextual fn cuMemcpyBatchAsync_v2(
        dsts: In<u64>, srcs: In<u64>, sizes: In<usize>, count: usize, attributes: In<Attributes>,
        attribute_starts: In<usize>, attribute_count: usize, stream: u64,
    ) |current| {
        let batch = Batch { dsts, srcs, sizes, count, attributes, attribute_starts, attribute_count };
        batch.queue(stream, current).map_err(|(code, _)| code)
    }
}
