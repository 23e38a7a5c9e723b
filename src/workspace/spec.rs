//! What a buffer is to be, as a value: compared, hashed, and counted in bytes.

use crate::buffer::{Buffer, BufferOptions};
use crate::config::{Placement, expect_sides};
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use std::fmt;

/// Element type, shape and the place of each side. Two buffers of equal specs can stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    dtype: Dtype,
    shape: Shape,
    host: Placement,
    device: Placement,
    bytes: u64,
}

impl Spec {
    /// A spec that a buffer can have.
    pub fn new(dtype: Dtype, shape: Shape, host: Placement, device: Placement) -> Result<Spec> {
        expect_sides(host, device)?;
        let bytes = shape.bytes(dtype)? as u64;
        Ok(Spec { dtype, shape, host, device, bytes })
    }

    /// What a buffer is.
    pub fn of(buffer: &Buffer) -> Result<Spec> {
        let (host, device) = buffer.placements();
        Spec::new(buffer.dtype(), buffer.shape(), host, device)
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Elements per dimension.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Where the host and the device side live.
    pub fn placements(&self) -> (Placement, Placement) {
        (self.host, self.device)
    }

    /// Bytes of the host side; 0 if there is none.
    pub fn host_bytes(&self) -> u64 {
        if self.host == Placement::None { 0 } else { self.bytes }
    }

    /// Bytes of the device side; 0 if there is none.
    pub fn device_bytes(&self) -> u64 {
        if self.device == Placement::None { 0 } else { self.bytes }
    }

    /// Bytes of both sides.
    pub fn bytes(&self) -> u64 {
        self.host_bytes() + self.device_bytes()
    }

    /// The same for equal specs, in every run of this version.
    pub fn hash_code(&self) -> u64 {
        let dims = self.shape.dims();
        let head = [self.dtype as u64, self.host as u64, self.device as u64, dims.len() as u64];
        // SplitMix64's mixing, over one word after the other.
        head.iter().chain(dims).fold(0x9E37_79B9_7F4A_7C15, |hash: u64, word| {
            let mut z = hash ^ word.wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        })
    }

    /// The first thing in which the other differs, in words.
    pub fn difference(&self, other: &Spec) -> Option<String> {
        if self.dtype != other.dtype {
            return Some(format!("its dtype is {}, not {}", self.dtype.name(), other.dtype.name()));
        }
        if self.shape != other.shape {
            return Some(format!("its shape is {:?}, not {:?}", self.shape.dims(), other.shape.dims()));
        }
        let sides = [("host", self.host, other.host), ("device", self.device, other.device)];
        let (side, own, others) = sides.into_iter().find(|(_, own, others)| own != others)?;
        Some(format!("its {side} placement is {}, not {}", own.name(), others.name()))
    }

    /// Options of a buffer of the library's own memory.
    pub fn options(&self, label: &str) -> BufferOptions {
        BufferOptions {
            dtype: self.dtype,
            shape: self.shape,
            host: self.host,
            device: self.device,
            host_memory: std::ptr::null_mut(),
            device_memory: 0,
            release: None,
            label: label.to_string(),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, device) = (self.host.name(), self.device.name());
        write!(f, "{} {:?}, host {host}, device {device}", self.dtype.name(), self.shape.dims())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    fn spec(dtype: Dtype, dims: &[u64], host: Placement, device: Placement) -> Result<Spec> {
        Spec::new(dtype, Shape::new(dims)?, host, device)
    }

    #[test]
    fn specs_are_values() -> Result<()> {
        let all = [
            spec(Dtype::F32, &[4, 2], Placement::Pinned, Placement::Device)?,
            spec(Dtype::I32, &[4, 2], Placement::Pinned, Placement::Device)?,
            spec(Dtype::F32, &[2, 4], Placement::Pinned, Placement::Device)?,
            spec(Dtype::F32, &[8], Placement::Pinned, Placement::Device)?,
            spec(Dtype::F32, &[4, 2], Placement::Uva, Placement::None)?,
            spec(Dtype::F32, &[4, 2], Placement::None, Placement::Device)?,
        ];
        for (a, one) in all.iter().enumerate() {
            for (b, other) in all.iter().enumerate() {
                assert_eq!(one == other, a == b);
                assert_eq!(one.hash_code() == other.hash_code(), a == b, "{one} and {other}");
                assert_eq!(one.difference(other).is_none(), a == b);
            }
        }
        assert_eq!((all[0].host_bytes(), all[0].device_bytes(), all[0].bytes()), (32, 32, 64));
        assert_eq!((all[4].host_bytes(), all[4].device_bytes(), all[4].bytes()), (32, 0, 32));
        assert_eq!((all[5].host_bytes(), all[5].device_bytes(), all[5].bytes()), (0, 32, 32));
        let why = |one: usize| all[0].difference(&all[one]).unwrap_or_default();
        assert_eq!(why(1), "its dtype is f32, not i32");
        assert_eq!(why(2), "its shape is [4, 2], not [2, 4]");
        assert_eq!(why(4), "its host placement is pinned, not uva");
        Ok(())
    }

    #[test]
    fn what_no_buffer_can_be_is_refused() {
        let status = |host, device| spec(Dtype::U8, &[1], host, device).map(drop).map_err(|e| e.status());
        assert_eq!(status(Placement::Device, Placement::None), Err(Status::InvalidArgument));
        assert_eq!(status(Placement::Pinned, Placement::Uva), Err(Status::InvalidArgument));
        assert_eq!(status(Placement::None, Placement::None), Err(Status::InvalidArgument));
        let large = spec(Dtype::U16, &[1 << 62], Placement::Pinned, Placement::None);
        assert_eq!(large.map(drop).map_err(|e| e.status()), Err(Status::Overflow));
    }
}
