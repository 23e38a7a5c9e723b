//! The entries that copy one range (driver API, "Memory Management").

use std::sync::Arc;

use gpubuf_engine::{Op, OpKind};

use crate::context::Context;
use crate::memory::{self, Sort};
use crate::stream::{self, Stream};

/// Queues a copy between any two addresses. The engine reads page-locked and device memory when the copy runs, and
/// stages other memory during the call (driver API, "API synchronization behavior": pageable memory "may be staged").
fn queue(dst: u64, src: u64, bytes: usize, stream: &Stream) -> Result<(), i32> {
    if bytes == 0 {
        return Ok(());
    }
    memory::usable(dst, bytes, &stream.context)?;
    memory::usable(src, bytes, &stream.context)?;
    // SAFETY: memory that the driver does not know is the caller's, who answers for it as for a real copy: valid for
    // the call as a pageable source, else until the work is done.
    unsafe { stream.submit(OpKind::Copy, Op::Copy { dst, src, bytes }) }
}

/// A synchronous copy on the legacy stream, as synchronous as the driver API's "API synchronization behavior" says:
/// from pageable memory the stream is waited for first, and the call returns when the source is staged, with the
/// transfer to come; from page-locked memory and to the host it is complete on return; within the device nobody waits.
fn copy(dst: u64, src: u64, bytes: usize, current: &Arc<Context>) -> Result<(), i32> {
    current.expect_no_unsafe_capture()?;
    if bytes == 0 {
        return Ok(());
    }
    let stream = current.legacy()?;
    let target = memory::usable(dst, bytes, current)?.map(|found| found.memory.sort);
    let source = memory::usable(src, bytes, current)?.map(|found| found.memory.sort);
    let op = Op::Copy { dst, src, bytes };
    let staged = source.is_none() && target.is_some() && !current.ordinal.is_pageable_late();
    if source.is_none() {
        stream.synchronize()?;
    }
    // SAFETY: as in `queue`; where the engine would read the source later, this call waits for it.
    unsafe { stream.submit(OpKind::Copy, op)? };
    if staged || (source, target) == (Some(Sort::Device), Some(Sort::Device)) {
        return Ok(());
    }
    stream.synchronize()
}

entry! {
    contextual fn cuMemcpy(dst: u64, src: u64, bytes: usize) |current| { copy(dst, src, bytes, current) }
}

entry! {
    contextual fn cuMemcpyAsync(dst: u64, src: u64, bytes: usize, stream: u64) |current| {
        queue(dst, src, bytes, &*stream::find(stream, current)?)
    }
}

/// Addresses that the function's name says are the device's must be known to the driver.
fn expect_device(address: u64, bytes: usize, context: &Arc<Context>) -> Result<(), i32> {
    if bytes == 0 { Ok(()) } else { memory::expect_known(address, bytes, context).map(drop) }
}

entry! {
    contextual fn cuMemcpyHtoD_v2(dst: u64, src: u64, bytes: usize) |current| {
        expect_device(dst, bytes, current)?;
        copy(dst, src, bytes, current)
    }
}

entry! {
    contextual fn cuMemcpyDtoH_v2(dst: u64, src: u64, bytes: usize) |current| {
        expect_device(src, bytes, current)?;
        copy(dst, src, bytes, current)
    }
}

entry! {
    contextual fn cuMemcpyDtoD_v2(dst: u64, src: u64, bytes: usize) |current| {
        expect_device(dst, bytes, current)?;
        expect_device(src, bytes, current)?;
        copy(dst, src, bytes, current)
    }
}

entry! {
    contextual fn cuMemcpyHtoDAsync_v2(dst: u64, src: u64, bytes: usize, stream: u64) |current| {
        let stream = stream::find(stream, current)?;
        expect_device(dst, bytes, &stream.context)?;
        queue(dst, src, bytes, &stream)
    }
}

entry! {
    contextual fn cuMemcpyDtoHAsync_v2(dst: u64, src: u64, bytes: usize, stream: u64) |current| {
        let stream = stream::find(stream, current)?;
        expect_device(src, bytes, &stream.context)?;
        queue(dst, src, bytes, &stream)
    }
}

entry! {
    contextual fn cuMemcpyDtoDAsync_v2(dst: u64, src: u64, bytes: usize, stream: u64) |current| {
        let stream = stream::find(stream, current)?;
        expect_device(dst, bytes, &stream.context)?;
        expect_device(src, bytes, &stream.context)?;
        queue(dst, src, bytes, &stream)
    }
}
