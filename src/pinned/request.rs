//! What callers ask of a manager, checked.

use crate::arena::tlsf::MOST_UNITS;
use crate::config::{ALIGNMENT, Timeout};
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use crate::fail;
use crate::lease::Twin;
use std::fmt;

/// The largest alignment of a block: 2 MiB.
pub const MOST_ALIGNMENT: u64 = 2 << 20;
/// Bytes of an owner's name, at most.
pub const OWNER_BYTES: usize = 31;
/// Places inside a slab are multiples of this.
pub(super) const UNIT: u64 = ALIGNMENT as u64;

/// What is to be done where the budget, or the driver, does not give the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Over {
    /// Refuse.
    Fail = 0,
    /// Wait for memory to be given back, up to the deadline.
    Wait = 1,
    /// Give pageable memory, outside the budget.
    Pageable = 2,
}

impl Over {
    /// The policy with this number.
    pub fn from_code(code: u32) -> Result<Over> {
        match code {
            0 => Ok(Over::Fail),
            1 => Ok(Over::Wait),
            2 => Ok(Over::Pageable),
            _ => fail!(InvalidArgument, "over_budget {code} is not known: use a GPUBUF_OVER_BUDGET_ number (0 to 2)"),
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Bytes.
    pub bytes: u64,
    /// The host address is a multiple of this: a power of two up to [`MOST_ALIGNMENT`]; 0: [`ALIGNMENT`].
    pub alignment: u64,
    /// Whose it is.
    pub owner: Owner,
    /// What if there is none.
    pub over: Over,
    /// Of those who wait the higher goes first.
    pub priority: i32,
    /// For how long to wait.
    pub timeout: Timeout,
    /// When the block gets a twin of the same size in device memory.
    pub twin: Twin,
}

impl Request {
    /// So many bytes, or a refusal; everything else as it usually is.
    pub fn new(bytes: u64) -> Request {
        Request {
            bytes,
            alignment: 0,
            owner: Owner::NOBODY,
            over: Over::Fail,
            priority: 0,
            timeout: Timeout::Try,
            twin: Twin::Never,
        }
    }
}

/// An owner's name, in place; empty: nobody's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    bytes: [u8; OWNER_BYTES],
    length: u8,
}

impl Owner {
    /// Nobody.
    pub const NOBODY: Owner = Owner { bytes: [0; OWNER_BYTES], length: 0 };

    /// An owner of this name.
    pub fn new(name: &str) -> Result<Owner> {
        if name.len() > OWNER_BYTES {
            return fail!(InvalidArgument, "owner \"{name}\" has {} bytes: at most {OWNER_BYTES}", name.len());
        }
        let mut bytes = [0; OWNER_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Owner { bytes, length: name.len() as u8 })
    }

    /// The name.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length as usize]).unwrap_or("")
    }

    /// Whether it is nobody.
    pub fn is_nobody(&self) -> bool {
        self.length == 0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_nobody() { "(no owner)" } else { self.name() })
    }
}

/// The bytes that are asked for: by number, or by shape and type.
pub fn size(bytes: u64, dims: &[u64], dtype: u32) -> Result<u64> {
    match (bytes, dims.is_empty()) {
        (_, false) if bytes != 0 => {
            fail!(
                InvalidArgument,
                "bytes is {bytes} and a shape is given, too: one of them says how much; leave the other 0"
            )
        }
        (_, false) => Ok(Shape::new(dims)?.bytes(Dtype::from_code(dtype)?)? as u64),
        (_, true) if dtype != 0 => {
            fail!(InvalidArgument, "dtype is {dtype} and no shape is given: give dims and rank, or leave dtype 0")
        }
        (0, true) => fail!(InvalidArgument, "bytes is 0 and no shape is given: ask for at least 1 byte"),
        (bytes, true) => Ok(bytes),
    }
}

/// A request as the slabs see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Bytes that were asked for.
    pub bytes: u64,
    /// At least a unit.
    pub align: u64,
    /// Whether it gets a slab for itself.
    pub own: bool,
}

impl Need {
    /// Checks a request. `slab` is the size of a slab, `large` that of what gets one for itself.
    pub fn new(request: &Request, slab: u64, large: u64) -> Result<Need> {
        let Request { bytes, alignment, .. } = *request;
        if bytes == 0 {
            return fail!(InvalidArgument, "bytes is 0: ask for at least 1 byte");
        }
        // Far above any memory, and no sum of two overflows.
        if bytes > isize::MAX as u64 / 2 {
            return fail!(Overflow, "{bytes} bytes are over the address space");
        }
        let align = if alignment == 0 { UNIT } else { alignment };
        if !align.is_power_of_two() || align > MOST_ALIGNMENT {
            return fail!(
                InvalidArgument,
                "alignment is {alignment}: a power of two up to {MOST_ALIGNMENT}, or 0 for {UNIT}"
            );
        }
        let align = align.max(UNIT);
        let most = bytes + (align - UNIT);
        let own = bytes >= large || most > slab || most / UNIT >= MOST_UNITS as u64;
        Ok(Need { bytes, align, own })
    }

    /// Units of a place in a shared slab.
    pub fn units(&self) -> u32 {
        self.bytes.div_ceil(UNIT) as u32
    }

    /// Bytes in which there is room, if they begin at a multiple of `base`.
    pub fn padded(&self, base: u64) -> u64 {
        self.bytes.next_multiple_of(UNIT) + self.align.saturating_sub(base)
    }
}
