//! Tensors whose truth is the host's, and whose copies for the device are blocks of a pool.

use super::arguments::{element, growing, init, label, memory, options};
use super::boundary::{call, plain};
use super::buffer::shape;
use super::entries::Entry;
use super::recorded::List;
use super::types::*;
use crate::dtype::{Dtype, MAX_RANK};
use crate::fail;
use crate::fence::Access;
use crate::tensor::{Tensor, TensorOptions};
use std::ffi::{c_char, c_void};

/// What a tensor is to be. Set up by gpubuf_tensor_options_init; dtype, rank and shape have no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_tensor_options {
    /// sizeof(gpubuf_tensor_options)
    pub struct_size: u32,
    /// GPUBUF_DTYPE_
    pub dtype: u32,
    /// Dimensions: 1 to GPUBUF_MAX_RANK.
    pub rank: u32,
    /// The most blocks of the pool that it holds at a time: 1 to 8. Default: 2.
    pub max_blocks: u32,
    /// Elements per dimension, outermost first; row-major.
    pub shape: [u64; 8],
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// What a tensor is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_tensor_info {
    /// sizeof(gpubuf_tensor_info), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_DTYPE_
    pub dtype: u32,
    /// Dimensions.
    pub rank: u32,
    /// The most blocks that it holds at a time.
    pub max_blocks: u32,
    /// Elements per dimension; 0 from rank on.
    pub shape: [u64; 8],
    /// Elements in all.
    pub count: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// A tensor's figures.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_tensor_stats {
    /// sizeof(gpubuf_tensor_stats), set by the caller.
    pub struct_size: u32,
    /// Blocks that it holds now; 0 while another thread is inside.
    pub held_blocks: u32,
    /// Publishes.
    pub publishes: u64,
    /// Those of them where nothing was new.
    pub unchanged: u64,
    /// Bytes that publishes copied from the truth to blocks.
    pub copied_bytes: u64,
    /// Bytes that they did not need to copy, since the block had them.
    pub skipped_bytes: u64,
    /// Bytes taken back from blocks.
    pub read_bytes: u64,
    /// Waits for work on a block.
    pub waits: u64,
    /// Time spent in that.
    pub wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
}

growing!(gpubuf_tensor_options { label: text }, gpubuf_tensor_info, gpubuf_tensor_stats);

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_options_init(options: *mut gpubuf_tensor_options, struct_size: u32) {
    plain(Entry::gpubuf_tensor_options_init, (), || init(options, struct_size, |options| options.max_blocks = 2));
}

/// A new tensor of zeroes, in ordinary host memory. It takes blocks of the pool when it publishes, and keeps them.
///
/// The pool has blocks that kernels use in place (uva, managed), or device twins; a block is at least as large as the tensor.
/// Ownership: the caller's, until gpubuf_tensor_destroy. The pool may be destroyed before.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_UNSUPPORTED (kernels cannot address the pool's blocks),
/// GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_create(
    pool: *mut gpubuf_pool,
    options: *const gpubuf_tensor_options,
    out_tensor: *mut *mut gpubuf_tensor,
) -> gpubuf_status {
    call(Entry::gpubuf_tensor_create, (pool, options, out_tensor), |c| {
        let pool = c.get(pool, "pool")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_tensor, "out_tensor")?;
        let tensor = TensorOptions {
            dtype: Dtype::from_code(options.dtype)?,
            shape: shape(options.rank, &options.shape)?,
            max_blocks: options.max_blocks,
            label: label(options.label, "options.label")?.to_owned(),
        };
        c.give(out, Tensor::create(pool, tensor)?)
    })
}

/// Ends the handle, and the truth with it. The blocks go back to the pool with the uses they have.
///
/// NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_destroy(tensor: *mut gpubuf_tensor) -> gpubuf_status {
    call(Entry::gpubuf_tensor_destroy, (tensor,), |c| c.end(tensor, "tensor").map(drop))
}

/// What the tensor is. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_info_get(
    tensor: *const gpubuf_tensor,
    inout_info: *mut gpubuf_tensor_info,
) -> gpubuf_status {
    call(Entry::gpubuf_tensor_info_get, (tensor, inout_info), |c| {
        let tensor = c.get(tensor, "tensor")?;
        let out = c.figures(inout_info, "inout_info")?;
        let of_tensor = tensor.shape();
        let dims = of_tensor.dims();
        let mut shape = [0; MAX_RANK];
        shape[..dims.len()].copy_from_slice(dims);
        out.set(gpubuf_tensor_info {
            struct_size: 0,
            dtype: tensor.dtype() as u32,
            rank: dims.len() as u32,
            max_blocks: tensor.max_blocks(),
            shape,
            count: of_tensor.count(),
            bytes: tensor.bytes(),
        });
        Ok(())
    })
}

/// The truth: ordinary host memory, the same for the tensor's life, to be read and written at any time. Whoever writes through
/// the pointer says so with gpubuf_tensor_mark before the next publish.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_data(tensor: *mut gpubuf_tensor, out_data: *mut *mut c_void) -> gpubuf_status {
    call(Entry::gpubuf_tensor_data, (tensor, out_data), |c| {
        let tensor = c.get(tensor, "tensor")?;
        c.out(out_data, "out_data")?.set(tensor.data().cast());
        Ok(())
    })
}

/// Says that elements of the truth were written through its pointer. `count` may be GPUBUF_ALL.
///
/// Errors: GPUBUF_INVALID_ARGUMENT (outside the tensor), GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_mark(tensor: *mut gpubuf_tensor, first: u64, count: u64) -> gpubuf_status {
    call(Entry::gpubuf_tensor_mark, (tensor, first, count), |c| c.get(tensor, "tensor")?.mark(first, count))
}

/// Copies elements from `source` to the truth, and marks them. Never waits for the device: what was published stays as it was.
///
/// Errors: as gpubuf_tensor_mark; GPUBUF_INVALID_ARGUMENT also where `source` overlaps those elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_write(
    tensor: *mut gpubuf_tensor,
    first: u64,
    count: u64,
    source: *const c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_tensor_write, (tensor, first, count, source), |c| {
        let tensor = c.get(tensor, "tensor")?;
        let source = memory(source, count == 0, "source")?;
        // SAFETY: the caller's promise: `count` elements can be read.
        unsafe { tensor.write(first, count, source) }
    })
}

/// Every element of the truth becomes `element`. Never waits for the device.
///
/// Errors: GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_fill(tensor: *mut gpubuf_tensor, element: *const c_void) -> gpubuf_status {
    call(Entry::gpubuf_tensor_fill, (tensor, element), |c| {
        let tensor = c.get(tensor, "tensor")?;
        // SAFETY: the caller's promise: one element.
        tensor.fill(&unsafe { self::element(element, tensor.dtype()) }?)
    })
}

/// Gives the address of a block with what the truth holds now, for work that is queued on these streams, 1 to 8, before the
/// next publish.
///
/// Where nothing changed since the last publish, and the work only reads, the block and its address are the same and nothing is
/// copied. Else the block
/// is the current one if nothing uses it, one that nothing uses any more, or one more of the pool's; only what changed since
/// that block was last in step is copied, by the CPU. Where the tensor may hold no more blocks, and the pool has none, it waits
/// for the block that was published first, up to the deadline.
/// `access`: GPUBUF_ACCESS_READ, or GPUBUF_ACCESS_WRITE where the work writes the block: then it is a block whose uses are over,
/// so that work of earlier publishes never sees what is written, and the next publish sends the truth anew, with what
/// gpubuf_tensor_to_host has taken over by then.
/// Stream order: the streams are fenced by the library, no later than the next publish: the work that is queued there by then
/// keeps its block. Where blocks have device twins, a copy to the twin is queued on the first stream, and the others wait for it
/// on the device.
/// Errors: GPUBUF_INVALID_ARGUMENT (no stream), GPUBUF_BUSY (the try form would have to wait; another thread is inside),
/// GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED (the copy of an earlier publish,
/// told once), GPUBUF_EXHAUSTED, GPUBUF_SHUT_DOWN (the pool was destroyed before the first publish), GPUBUF_DEVICE_LOST,
/// GPUBUF_QUARANTINED. After an error the last address is for no more work.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_publish(
    tensor: *mut gpubuf_tensor,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
    access: u32,
    timeout_ns: u64,
    out_address: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_tensor_publish, (tensor, List(streams, stream_count), access, timeout_ns, out_address), |c| {
        let tensor = c.get(tensor, "tensor")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let access = match access {
            GPUBUF_ACCESS_READ => Access::Read,
            GPUBUF_ACCESS_WRITE => Access::Write,
            _ => return fail!(InvalidArgument, "access is {access}: GPUBUF_ACCESS_READ or GPUBUF_ACCESS_WRITE"),
        };
        let out = c.out(out_address, "out_address")?;
        out.set(tensor.publish(&streams, access, tensor.device().timeout(timeout_ns))?);
        Ok(())
    })
}

/// Copies elements of the published block back to the truth, once the work on the streams named with it is done. `count` may be
/// GPUBUF_ALL. What was written to these elements of the truth since the publish is lost.
///
/// Stream order: where blocks have device twins, a copy from the twin is queued on `stream`, behind that work, and waited for;
/// otherwise `stream` may be NULL. The try form that is refused leaves the copy queued, and the next try for the same elements takes what
/// that brings: work queued in between is not in it, but in the one after, and in any that waits.
/// Errors: GPUBUF_NOT_BEGUN (nothing was published with GPUBUF_ACCESS_WRITE), GPUBUF_BUSY, GPUBUF_TIMEOUT (the truth is as it was),
/// GPUBUF_INVALID_ARGUMENT, GPUBUF_WOULD_DEADLOCK, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED, GPUBUF_DEVICE_LOST, GPUBUF_QUARANTINED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_to_host(
    tensor: *mut gpubuf_tensor,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_tensor_to_host, (tensor, first, count, stream, timeout_ns), |c| {
        let tensor = c.get(tensor, "tensor")?;
        let stream = c.get_if_any(stream, "stream")?;
        tensor.to_host(first, count, stream, tensor.device().timeout(timeout_ns))
    })
}

/// Waits until nothing uses the tensor's blocks any more.
///
/// Errors: GPUBUF_BUSY, GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED, GPUBUF_DEVICE_LOST,
/// GPUBUF_QUARANTINED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_synchronize(tensor: *mut gpubuf_tensor, timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_tensor_synchronize, (tensor, timeout_ns), |c| {
        let tensor = c.get(tensor, "tensor")?;
        tensor.synchronize(tensor.device().timeout(timeout_ns))
    })
}

/// The tensor's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_tensor_stats_get(
    tensor: *const gpubuf_tensor,
    inout_stats: *mut gpubuf_tensor_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_tensor_stats_get, (tensor, inout_stats), |c| {
        let tensor = c.get(tensor, "tensor")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let stats = tensor.stats();
        out.set(gpubuf_tensor_stats {
            struct_size: 0,
            held_blocks: stats.held_blocks as u32,
            publishes: stats.publishes,
            unchanged: stats.unchanged,
            copied_bytes: stats.copied_bytes,
            skipped_bytes: stats.skipped_bytes,
            read_bytes: stats.read_bytes,
            waits: stats.waits,
            wait_ns: stats.wait_ns,
            timeouts: stats.timeouts,
        });
        Ok(())
    })
}
