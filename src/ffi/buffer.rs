//! Paired buffers. Ranges are in elements.

use super::arguments::{element, flag, growing, init, label, memory, options, reserved};
use super::boundary::{call, plain};
use super::buffer_sync::policy;
use super::entries::Entry;
use super::recorded::List;
use super::types::*;
use crate::buffer::{Buffer, BufferOptions, BufferSettings};
use crate::config::Placement;
use crate::dtype::{Dtype, MAX_RANK, Shape};
use crate::error::Result;
use crate::fail;
use crate::fence::{Access, ReleaseCallback};
use std::ffi::{c_char, c_void};

/// What a buffer is to be. Set up by gpubuf_buffer_options_init; dtype, rank and shape have no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_buffer_options {
    /// sizeof(gpubuf_buffer_options)
    pub struct_size: u32,
    /// GPUBUF_DTYPE_
    pub dtype: u32,
    /// Dimensions: 1 to GPUBUF_MAX_RANK.
    pub rank: u32,
    /// Where the host side lives: none, pageable, pinned (the default), uva or managed.
    pub host_placement: u32,
    /// Where the device side lives: none or device (the default).
    pub device_placement: u32,
    /// 0
    pub reserved: u32,
    /// Elements per dimension, outermost first; row-major.
    pub shape: [u64; 8],
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
    /// The caller's memory for the host side, page-locked while it is borrowed if host_placement says pinned or uva; NULL: the
    /// library's own, zeroed.
    pub host_memory: *mut c_void,
    /// The caller's memory for the device side; 0: the library's own, zeroed.
    pub device_memory: u64,
    /// Called once when nothing uses the caller's memory any more; not if creating fails. Perhaps on a thread of the library.
    /// NULL: nobody is told.
    pub release: gpubuf_release_fn,
    /// Handed to release.
    pub release_user_data: *mut c_void,
    /// Elements that there is memory for, so that gpubuf_buffer_resize leaves the addresses as they are. 0, or less than the shape
    /// has: as many as that. Borrowed memory must have as many.
    pub capacity: u64,
    /// GPUBUF_SYNC_: who wins where gpubuf_buffer_sync finds both sides newer.
    pub sync_policy: u32,
    /// 1: copies between the sides are timed. That takes events of the driver's, made with the buffer.
    pub timed: u32,
}

/// What a buffer is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_buffer_info {
    /// sizeof(gpubuf_buffer_info), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_DTYPE_
    pub dtype: u32,
    /// Dimensions.
    pub rank: u32,
    /// GPUBUF_PLACEMENT_ of the host side.
    pub host_placement: u32,
    /// GPUBUF_PLACEMENT_ of the device side.
    pub device_placement: u32,
    /// 1 if a part of its memory is the caller's.
    pub borrowed: u32,
    /// Elements per dimension; 0 from rank on.
    pub shape: [u64; 8],
    /// Elements in all.
    pub count: u64,
    /// Bytes of its elements on the host side; 0 if there is none.
    pub host_bytes: u64,
    /// Bytes of its elements on the device side; 0 if there is none.
    pub device_bytes: u64,
    /// Elements from one to the next along each dimension, on both sides; 0 from rank on.
    pub strides: [u64; 8],
    /// Elements that its buffer has memory for, on each side.
    pub capacity: u64,
    /// Elements before the first one, in the buffer that this is a view of.
    pub offset: u64,
    /// 1: a view of another buffer.
    pub is_view: u32,
    /// 1: no gaps between its rows.
    pub contiguous: u32,
    /// 1: the device does not see later host writes to uva memory, so there is a pinned and a device side: gpubuf_buffer_publish copies.
    pub stands_in: u32,
    /// 0
    pub reserved: u32,
}

growing!(
    gpubuf_buffer_options { label: text, host_memory: address, release: pointer, release_user_data: pointer },
    gpubuf_buffer_info
);

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_options_init(options: *mut gpubuf_buffer_options, struct_size: u32) {
    plain(Entry::gpubuf_buffer_options_init, (), || {
        init(options, struct_size, |options| {
            options.host_placement = GPUBUF_PLACEMENT_PINNED;
            options.device_placement = GPUBUF_PLACEMENT_DEVICE;
        });
    });
}

pub(super) fn shape(rank: u32, dims: &[u64; MAX_RANK]) -> Result<Shape> {
    match dims.get(..rank as usize) {
        Some(dims) => Shape::new(dims),
        None => fail!(InvalidArgument, "rank is {rank}: 1 to {MAX_RANK}"),
    }
}

/// How work used memory.
pub(super) fn access(code: u32) -> Result<Access> {
    match code {
        GPUBUF_ACCESS_READ => Ok(Access::Read),
        GPUBUF_ACCESS_WRITE => Ok(Access::Write),
        _ => fail!(InvalidArgument, "access is {code}: GPUBUF_ACCESS_READ or GPUBUF_ACCESS_WRITE"),
    }
}

fn release(options: &gpubuf_buffer_options) -> Option<ReleaseCallback> {
    let release = options.release?;
    let user_data = options.release_user_data as usize;
    // SAFETY: the caller's promise for a release callback.
    Some(Box::new(move || unsafe { release(user_data as *mut c_void) }))
}

/// A new buffer.
///
/// Ownership: the caller's, until gpubuf_buffer_destroy. Borrowed memory stays the caller's, who neither frees it nor touches
/// it outside begin and end, until release was called or gpubuf_buffer_detach succeeded.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_EXISTS (the memory is borrowed already), GPUBUF_UNSUPPORTED,
/// GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_buffer_options,
    out_buffer: *mut *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_create, (device, options, out_buffer), |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_buffer, "out_buffer")?;
        reserved(options.reserved, "options.reserved")?;
        let buffer = BufferOptions {
            dtype: Dtype::from_code(options.dtype)?,
            shape: shape(options.rank, &options.shape)?,
            host: Placement::from_code(options.host_placement, "host_placement")?,
            device: Placement::from_code(options.device_placement, "device_placement")?,
            host_memory: options.host_memory.cast(),
            device_memory: options.device_memory,
            release: release(&options),
            label: label(options.label, "options.label")?.to_owned(),
        };
        let settings = BufferSettings {
            capacity: options.capacity,
            policy: policy(options.sync_policy, "options.sync_policy")?.unwrap_or_default(),
            timed: flag(options.timed, "options.timed")?,
        };
        c.give(out, Buffer::create_with(device, buffer, settings)?.into())
    })
}

/// Ends the handle. Its memory is freed, or the borrowed memory's release called, when its last use is proven, by
/// gpubuf_device_maintain or a later create; by gpubuf_device_drain only where a guard was open (it is void, but its pointer
/// may still be in use) or an address was given out with no stream named. Borrowed memory that a CUDA driver has page-locked
/// comes back later still: release is called on a thread of the library, once the driver has let it go.
///
/// NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_destroy(buffer: *mut gpubuf_buffer) -> gpubuf_status {
    call(Entry::gpubuf_buffer_destroy, (buffer,), |c| c.end(buffer, "buffer").map(drop))
}

/// What the buffer is. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_info_get(
    buffer: *const gpubuf_buffer,
    inout_info: *mut gpubuf_buffer_info,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_info_get, (buffer, inout_info), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let out = c.figures(inout_info, "inout_info")?;
        let layout = buffer.layout();
        let dims = layout.shape();
        let dims = dims.dims();
        let mut shape = [0; MAX_RANK];
        shape[..dims.len()].copy_from_slice(dims);
        let (host, device) = buffer.placements();
        let (bytes, size) = (layout.bytes() as u64, layout.dtype().size());
        out.set(gpubuf_buffer_info {
            struct_size: 0,
            dtype: layout.dtype() as u32,
            rank: dims.len() as u32,
            host_placement: host as u32,
            device_placement: device as u32,
            borrowed: buffer.is_borrowed() as u32,
            shape,
            count: layout.shape().count(),
            host_bytes: if host == Placement::None { 0 } else { bytes },
            device_bytes: if device == Placement::None && !buffer.is_standing_in() { 0 } else { bytes },
            strides: layout.strides(),
            capacity: (buffer.capacity() / size) as u64,
            offset: (layout.start() / size) as u64,
            is_view: buffer.is_view() as u32,
            contiguous: !layout.all().is_window() as u32,
            stands_in: buffer.is_standing_in() as u32,
            reserved: 0,
        });
        Ok(())
    })
}

/// The host side's address, the same until the buffer is resized beyond its capacity. It gives no access: read and write between begin and end only.
///
/// Errors: GPUBUF_UNSUPPORTED (no host side), GPUBUF_NOT_HELD (detached), GPUBUF_BUSY (another thread is inside).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_host_ptr(
    buffer: *const gpubuf_buffer,
    out_pointer: *mut *const c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_host_ptr, (buffer, out_pointer), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let out = c.out(out_pointer, "out_pointer")?;
        out.set(buffer.host_ptr()?.cast());
        Ok(())
    })
}

/// The host side's address for code that brings its own fences: nothing protects it from queued work. Counted, and the
/// buffer is called unchecked from then on.
///
/// Errors: as gpubuf_buffer_host_ptr.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_host_ptr_unfenced(
    buffer: *mut gpubuf_buffer,
    out_pointer: *mut *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_host_ptr_unfenced, (buffer, out_pointer), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let out = c.out(out_pointer, "out_pointer")?;
        out.set(buffer.host_ptr_unfenced()?.cast());
        Ok(())
    })
}

/// The address for kernels, the same until the buffer is resized beyond its capacity: the device side's, or a uva host side's.
///
/// Stream order: the streams named, up to 8, may use it at any time from now on; the library fences them when other work
/// needs it. With none named nobody but the caller knows who uses it: the side is sealed, so that copies (and CPU access, where
/// kernels use the host side in place) answer GPUBUF_UNFENCED until gpubuf_buffer_used_on says where it was used; and its
/// memory is freed by gpubuf_device_drain only. Streams that are named, and do not capture, wait on the device for writes of these
/// bytes that are in flight.
/// Errors: GPUBUF_UNSUPPORTED (no side that kernels can address), GPUBUF_BUSY (a write guard is open), GPUBUF_WRONG_DEVICE,
/// GPUBUF_NOT_HELD (detached), GPUBUF_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_device_address(
    buffer: *mut gpubuf_buffer,
    streams: *const *mut gpubuf_stream,
    stream_count: usize,
    out_address: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_device_address, (buffer, List(streams, stream_count), out_address), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let streams = c.streams(streams, stream_count, ["streams", "stream_count"])?;
        let out = c.out(out_address, "out_address")?;
        out.set(buffer.device_address(&streams)?);
        Ok(())
    })
}

/// Has work that is queued on the stream from now on see what the host wrote, and gives the address for it. The library fences the
/// stream when other work needs it, as if it were named with gpubuf_buffer_device_address.
///
/// Where kernels use the host side in place, nothing is copied; where there is a device side, what is newer on the host side is.
/// So the same program is right in both cases, also on a device that does not see later host writes to uva memory
/// (gpubuf_device_probe): there a uva buffer is a pinned and a device side (gpubuf_buffer_info, stands_in), its device address is
/// refused with GPUBUF_CONFLICT while the device side lacks something, and so is reading it while a stream that the address was given
/// for has no use declared since (gpubuf_buffer_used_on), and until gpubuf_buffer_sync has brought back what kernels wrote.
/// Stream order: as gpubuf_buffer_to_device; and the stream waits, on the device, for writes of these bytes that are in flight.
/// Errors: as gpubuf_buffer_to_device and gpubuf_buffer_device_address; GPUBUF_CONFLICT (bytes that are newer on both sides, and the
/// device's are not known to be the older ones: nothing is copied).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_publish(
    buffer: *mut gpubuf_buffer,
    stream: *mut gpubuf_stream,
    out_address: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_publish, (buffer, stream, out_address), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let stream = c.get(stream, "stream")?;
        let out = c.out(out_address, "out_address")?;
        out.set(buffer.publish(stream)?);
        Ok(())
    })
}

/// Says that work queued on the stream so far used the buffer: GPUBUF_ACCESS_READ or GPUBUF_ACCESS_WRITE. What was written is
/// newer on the device side from now on. Of a view: the work used the view's elements alone; an address that was given out for
/// more than those stays undeclared.
///
/// Stream order: one fence is recorded. CPU accesses and copies that conflict wait for it from now on. A side that was sealed
/// by an address with no stream named is open again.
/// Errors: GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_BUSY, GPUBUF_EXHAUSTED, GPUBUF_DEVICE_LOST; GPUBUF_QUARANTINED if
/// the fence could not be recorded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_used_on(
    buffer: *mut gpubuf_buffer,
    stream: *mut gpubuf_stream,
    access: u32,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_used_on, (buffer, stream, access), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let stream = c.get(stream, "stream")?;
        let access = self::access(access)?;
        buffer.used_on(stream, access)
    })
}

/// Opens a range of the host side for the CPU to write, once queued work neither reads nor writes it.
///
/// `out_data` gets the first element's address, valid until gpubuf_buffer_end_write with the token. `count` may be GPUBUF_ALL. Of
/// a view with gaps between its rows: whole rows, as far apart as strides[0] of its info says.
/// Threads: the guard belongs to its token, not to a thread. Work queued meanwhile on the range is refused.
/// Errors: GPUBUF_BUSY (a guard is open on the range, or the try form would have to wait), GPUBUF_TIMEOUT (the copy is still
/// in flight), GPUBUF_UNFENCED (uva: unseen work may use it), GPUBUF_WOULD_DEADLOCK, GPUBUF_COPY_FAILED (an earlier copy,
/// told once), GPUBUF_NOT_HELD, GPUBUF_DEVICE_LOST, GPUBUF_QUARANTINED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_begin_write(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    timeout_ns: u64,
    out_data: *mut *mut c_void,
    out_token: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_begin_write, (buffer, first, count, timeout_ns, out_data, out_token), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let (data, token) = (c.out(out_data, "out_data")?, c.out(out_token, "out_token")?);
        let got = buffer.begin(Access::Write, first, count, buffer.device().timeout(timeout_ns))?;
        data.set(got.0.cast());
        token.set(got.1);
        Ok(())
    })
}

/// Ends a write access. Its range is newer on the host side from now on.
///
/// Errors: GPUBUF_NOT_BEGUN (not the token of an open write access).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_end_write(buffer: *mut gpubuf_buffer, token: u64) -> gpubuf_status {
    call(Entry::gpubuf_buffer_end_write, (buffer, token), |c| c.get(buffer, "buffer")?.end(Access::Write, token))
}

/// Opens a range of the host side for the CPU to read, once queued work no longer writes it. Reads may overlap.
///
/// As gpubuf_buffer_begin_write otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_begin_read(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    timeout_ns: u64,
    out_data: *mut *const c_void,
    out_token: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_begin_read, (buffer, first, count, timeout_ns, out_data, out_token), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let (data, token) = (c.out(out_data, "out_data")?, c.out(out_token, "out_token")?);
        let got = buffer.begin(Access::Read, first, count, buffer.device().timeout(timeout_ns))?;
        data.set(got.0.cast_const().cast());
        token.set(got.1);
        Ok(())
    })
}

/// Ends a read access.
///
/// Errors: GPUBUF_NOT_BEGUN (not the token of an open read access).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_end_read(buffer: *mut gpubuf_buffer, token: u64) -> gpubuf_status {
    call(Entry::gpubuf_buffer_end_read, (buffer, token), |c| c.get(buffer, "buffer")?.end(Access::Read, token))
}

/// Copies elements from `source` to the host side, as one write access. In `source` there are no gaps between rows, whatever the
/// buffer has.
///
/// Errors: as gpubuf_buffer_begin_write; GPUBUF_INVALID_ARGUMENT also where `source` overlaps those elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_copy_in(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    source: *const c_void,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_copy_in, (buffer, first, count, source, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let source = memory(source, count == 0, "source")?;
        // SAFETY: the caller's promise: `count` elements can be read.
        unsafe { buffer.copy_in(first, count, source, buffer.device().timeout(timeout_ns)) }
    })
}

/// Copies elements of the host side to `destination`, as one read access. There they have no gaps between rows.
///
/// Errors: as gpubuf_buffer_begin_write; GPUBUF_INVALID_ARGUMENT also where `destination` overlaps those elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_copy_out(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    destination: *mut c_void,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_copy_out, (buffer, first, count, destination, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let destination = memory(destination.cast_const(), count == 0, "destination")?;
        c.fault_point();
        // SAFETY: the caller's promise: `count` elements can be written.
        unsafe { buffer.copy_out(first, count, destination, buffer.device().timeout(timeout_ns)) }
    })
}

/// Queues a copy of elements from the host side to the device side: one copy, also of a window. The host side wins: whatever was
/// newer there on either side counts as the same, until the copy is known to have failed.
///
/// Stream order: behind everything queued on the stream, and, on the device, behind what other streams do to the two ranges
/// as far as the library knows it. The host does not wait. Writing the range again waits for the copy.
/// Errors: GPUBUF_BUSY (a write guard is open on the range), GPUBUF_UNFENCED, GPUBUF_UNSUPPORTED (one side only),
/// GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED (an earlier copy, told once), GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_to_device(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_to_device, (buffer, first, count, stream), |c| {
        let buffer = c.get(buffer, "buffer")?;
        buffer.copy(true, first, count, c.get(stream, "stream")?, None)
    })
}

/// As gpubuf_buffer_to_device, and returns when the bytes have landed.
///
/// Errors: also GPUBUF_TIMEOUT and GPUBUF_BUSY (the copy stays queued, with its uses), GPUBUF_WOULD_DEADLOCK,
/// GPUBUF_COPY_FAILED (this copy).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_to_device_blocking(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_to_device_blocking, (buffer, first, count, stream, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let timeout = buffer.device().timeout(timeout_ns);
        buffer.copy(true, first, count, c.get(stream, "stream")?, Some(timeout))
    })
}

/// Queues a copy of elements from the device side to the host side. The device side wins, as above.
///
/// Stream order: as gpubuf_buffer_to_device. Reading the range waits for the copy.
/// Errors: as gpubuf_buffer_to_device; GPUBUF_BUSY also where a read guard is open on the range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_to_host(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_to_host, (buffer, first, count, stream), |c| {
        let buffer = c.get(buffer, "buffer")?;
        buffer.copy(false, first, count, c.get(stream, "stream")?, None)
    })
}

/// As gpubuf_buffer_to_host, and returns when the bytes have landed.
///
/// Errors: as gpubuf_buffer_to_device_blocking.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_to_host_blocking(
    buffer: *mut gpubuf_buffer,
    first: u64,
    count: u64,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_to_host_blocking, (buffer, first, count, stream, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let timeout = buffer.device().timeout(timeout_ns);
        buffer.copy(false, first, count, c.get(stream, "stream")?, Some(timeout))
    })
}

/// Fills whole sides (GPUBUF_SIDE_) with one element; of a view with gaps, row by row. One side that was filled is newer than
/// the other; both are the same.
///
/// `stream` is needed for the device side, which is filled in its order, and may be NULL for the host side; `timeout_ns` is
/// for the host side, a write access. What is refused leaves both as they were.
/// Errors: those of gpubuf_buffer_begin_write and gpubuf_buffer_to_device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_fill(
    buffer: *mut gpubuf_buffer,
    sides: u32,
    element: *const c_void,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_fill, (buffer, sides, element, stream, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let (host, device) = self::sides(sides)?;
        // SAFETY: the caller's promise: one element.
        let element = unsafe { self::element(element, buffer.dtype()) }?;
        let stream = c.get_if_any(stream, "stream")?;
        buffer.fill(host, device, &element, stream, buffer.device().timeout(timeout_ns))
    })
}

/// Fills whole sides (GPUBUF_SIDE_) with zeroes; otherwise as gpubuf_buffer_fill.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_zero(
    buffer: *mut gpubuf_buffer,
    sides: u32,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
) -> gpubuf_status {
    call(Entry::gpubuf_buffer_zero, (buffer, sides, stream, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        let (host, device) = self::sides(sides)?;
        let stream = c.get_if_any(stream, "stream")?;
        let zero = &[0; 8][..buffer.dtype().size()];
        buffer.fill(host, device, zero, stream, buffer.device().timeout(timeout_ns))
    })
}

fn sides(sides: u32) -> Result<(bool, bool)> {
    if sides == 0 {
        return fail!(InvalidArgument, "sides is 0: GPUBUF_SIDE_HOST, GPUBUF_SIDE_DEVICE or GPUBUF_SIDE_BOTH");
    }
    sides_or_none(sides, "sides")
}

pub(super) fn sides_or_none(sides: u32, name: &str) -> Result<(bool, bool)> {
    if sides & !GPUBUF_SIDE_BOTH != 0 {
        return fail!(InvalidArgument, "{name} is {sides}: GPUBUF_SIDE_HOST, GPUBUF_SIDE_DEVICE or GPUBUF_SIDE_BOTH");
    }
    Ok((sides & GPUBUF_SIDE_HOST != 0, sides & GPUBUF_SIDE_DEVICE != 0))
}

/// Gives borrowed memory back to the caller once its uses are proven. release is not called.
///
/// With CUDA the driver lets page-locked memory go when the whole device is idle. A call that cannot wait for that long leaves the
/// buffer empty: call it again, until it is GPUBUF_OK; or destroy the buffer, and release is called after all.
///
/// The buffer then answers GPUBUF_NOT_HELD, and only waits to be destroyed.
/// Errors: GPUBUF_UNSUPPORTED (nothing is borrowed), GPUBUF_BUSY (a guard is open, or the try form would have to wait),
/// GPUBUF_GRAPH_HELD (a graph hold has it), GPUBUF_CAPTURING (a stream that would have to be waited for captures),
/// GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST, GPUBUF_QUARANTINED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_buffer_detach(buffer: *mut gpubuf_buffer, timeout_ns: u64) -> gpubuf_status {
    call(Entry::gpubuf_buffer_detach, (buffer, timeout_ns), |c| {
        let buffer = c.get(buffer, "buffer")?;
        buffer.detach(buffer.device().timeout(timeout_ns))
    })
}
