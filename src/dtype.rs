//! Element types.

use crate::error::Result;
use crate::fail;

/// The type of an element. The library moves bytes; a type only gives their size, and the fill pattern's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u32)]
pub enum Dtype {
    Bool = 1,
    I8 = 2,
    I16 = 3,
    I32 = 4,
    I64 = 5,
    U8 = 6,
    U16 = 7,
    U32 = 8,
    U64 = 9,
    F16 = 10,
    Bf16 = 11,
    F32 = 12,
    F64 = 13,
    F8E4M3 = 14,
    F8E5M2 = 15,
}

impl Dtype {
    /// Every type, in the order of its numbers.
    pub const ALL: [Dtype; 15] = [
        Dtype::Bool,
        Dtype::I8,
        Dtype::I16,
        Dtype::I32,
        Dtype::I64,
        Dtype::U8,
        Dtype::U16,
        Dtype::U32,
        Dtype::U64,
        Dtype::F16,
        Dtype::Bf16,
        Dtype::F32,
        Dtype::F64,
        Dtype::F8E4M3,
        Dtype::F8E5M2,
    ];

    /// Bytes of one element: 1, 2, 4 or 8.
    pub const fn size(self) -> usize {
        match self {
            Dtype::Bool | Dtype::I8 | Dtype::U8 | Dtype::F8E4M3 | Dtype::F8E5M2 => 1,
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::I32 | Dtype::U32 | Dtype::F32 => 4,
            Dtype::I64 | Dtype::U64 | Dtype::F64 => 8,
        }
    }

    /// The type's short name.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::Bool => "bool",
            Dtype::I8 => "i8",
            Dtype::I16 => "i16",
            Dtype::I32 => "i32",
            Dtype::I64 => "i64",
            Dtype::U8 => "u8",
            Dtype::U16 => "u16",
            Dtype::U32 => "u32",
            Dtype::U64 => "u64",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
            Dtype::F8E4M3 => "f8_e4m3",
            Dtype::F8E5M2 => "f8_e5m2",
        }
    }

    /// The type with this number.
    pub fn from_code(code: u32) -> Result<Dtype> {
        match Dtype::ALL.iter().find(|d| **d as u32 == code) {
            Some(dtype) => Ok(*dtype),
            None => fail!(InvalidArgument, "dtype {code} is not known: use a GPUBUF_DTYPE_ number (1 to 15)"),
        }
    }
}

/// The most dimensions of a shape.
pub const MAX_RANK: usize = 8;

/// Elements per dimension, outermost first; row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u64; MAX_RANK],
    rank: u32,
}

impl Shape {
    /// A shape of 1 to 8 dimensions, none of them 0, whose elements can be counted in a `u64`.
    pub fn new(dims: &[u64]) -> Result<Shape> {
        if dims.is_empty() || dims.len() > MAX_RANK {
            return fail!(InvalidArgument, "a shape has 1 to {MAX_RANK} dimensions, not {}", dims.len());
        }
        let mut count: u64 = 1;
        for (axis, dim) in dims.iter().enumerate() {
            if *dim == 0 {
                return fail!(InvalidArgument, "dimension {axis} of {dims:?} is 0: every dimension is at least 1");
            }
            count = match count.checked_mul(*dim) {
                Some(count) => count,
                None => return fail!(Overflow, "the elements of shape {dims:?} do not fit in 64 bits"),
            };
        }
        let mut out = [0; MAX_RANK];
        out[..dims.len()].copy_from_slice(dims);
        Ok(Shape { dims: out, rank: dims.len() as u32 })
    }

    /// The dimensions.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.rank as usize]
    }

    /// Elements in all.
    pub fn count(&self) -> u64 {
        self.dims().iter().product()
    }

    /// Bytes in all, refused where they do not fit in the address space.
    pub fn bytes(&self, dtype: Dtype) -> Result<usize> {
        match self.count().checked_mul(dtype.size() as u64) {
            Some(bytes) if bytes <= isize::MAX as u64 => Ok(bytes as usize),
            _ => fail!(Overflow, "shape {:?} of {} is over the address space", self.dims(), dtype.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn codes_round_trip() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::from_code(dtype as u32).unwrap(), dtype);
        }
        assert!(Dtype::from_code(0).is_err());
        assert!(Dtype::from_code(16).is_err());
    }

    #[test]
    fn shapes_are_checked() {
        assert_eq!(Shape::new(&[3, 4]).unwrap().bytes(Dtype::I32).unwrap(), 48);
        for (dims, status) in [
            (&[][..], Status::InvalidArgument),
            (&[1; 9][..], Status::InvalidArgument),
            (&[4, 0][..], Status::InvalidArgument),
            (&[u64::MAX, 2][..], Status::Overflow),
        ] {
            assert_eq!(Shape::new(dims).unwrap_err().status(), status, "{dims:?}");
        }
        assert_eq!(Shape::new(&[u64::MAX]).unwrap().bytes(Dtype::U8).unwrap_err().status(), Status::Overflow);
    }
}
