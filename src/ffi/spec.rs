//! Specs of buffers: values in the caller's memory.

use super::arguments::{growing, init, options, reserved};
use super::boundary::{call, plain};
use super::buffer::shape;
use super::entries::Entry;
use super::types::*;
use crate::config::Placement;
use crate::dtype::{Dtype, MAX_RANK};
use crate::error::Result;
use crate::workspace::Spec;

/// What a buffer is to be, or is: a value. Set up by gpubuf_spec_init; dtype, rank and shape have no default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_spec {
    /// sizeof(gpubuf_spec)
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
    /// Elements per dimension, outermost first; row-major. What is past rank is not looked at.
    pub shape: [u64; 8],
}

growing!(gpubuf_spec);

/// Reads a spec.
pub(super) fn spec(pointer: *const gpubuf_spec, name: &str) -> Result<Spec> {
    let spec = options(pointer, name)?;
    reserved(spec.reserved, "spec.reserved")?;
    Spec::new(
        Dtype::from_code(spec.dtype)?,
        shape(spec.rank, &spec.shape)?,
        Placement::from_code(spec.host_placement, "host_placement")?,
        Placement::from_code(spec.device_placement, "device_placement")?,
    )
}

impl From<&Spec> for gpubuf_spec {
    fn from(spec: &Spec) -> gpubuf_spec {
        let of_spec = spec.shape();
        let dims = of_spec.dims();
        let mut shape = [0; MAX_RANK];
        shape[..dims.len()].copy_from_slice(dims);
        let (host, device) = spec.placements();
        gpubuf_spec {
            struct_size: size_of::<gpubuf_spec>() as u32,
            dtype: spec.dtype() as u32,
            rank: dims.len() as u32,
            host_placement: host as u32,
            device_placement: device as u32,
            reserved: 0,
            shape,
        }
    }
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_spec_init(spec: *mut gpubuf_spec, struct_size: u32) {
    plain(Entry::gpubuf_spec_init, (), || {
        init(spec, struct_size, |spec| {
            spec.host_placement = GPUBUF_PLACEMENT_PINNED;
            spec.device_placement = GPUBUF_PLACEMENT_DEVICE;
        });
    });
}

/// The bytes of each side of a buffer of this spec; 0 for a side that it does not have.
///
/// Errors: GPUBUF_INVALID_ARGUMENT (an unknown dtype, a shape or placements that no buffer has), GPUBUF_OVERFLOW,
/// GPUBUF_VERSION_MISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_spec_bytes(
    spec: *const gpubuf_spec,
    out_host_bytes: *mut u64,
    out_device_bytes: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_spec_bytes, (spec, out_host_bytes, out_device_bytes), |c| {
        let spec = self::spec(spec, "spec")?;
        let (host, device) = (c.out(out_host_bytes, "out_host_bytes")?, c.out(out_device_bytes, "out_device_bytes")?);
        host.set(spec.host_bytes());
        device.set(spec.device_bytes());
        Ok(())
    })
}

/// Writes 1 where both are the same dtype, shape and placements, else 0.
///
/// Errors: as gpubuf_spec_bytes, for either.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_spec_equal(
    spec: *const gpubuf_spec,
    other: *const gpubuf_spec,
    out_equal: *mut u32,
) -> gpubuf_status {
    call(Entry::gpubuf_spec_equal, (spec, other, out_equal), |c| {
        let (spec, other) = (self::spec(spec, "spec")?, self::spec(other, "other")?);
        c.out(out_equal, "out_equal")?.set((spec == other) as u32);
        Ok(())
    })
}

/// A number that is the same for equal specs, in every run of this version of the library.
///
/// Errors: as gpubuf_spec_bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_spec_hash(spec: *const gpubuf_spec, out_hash: *mut u64) -> gpubuf_status {
    call(Entry::gpubuf_spec_hash, (spec, out_hash), |c| {
        let spec = self::spec(spec, "spec")?;
        c.out(out_hash, "out_hash")?.set(spec.hash_code());
        Ok(())
    })
}
