//! What callers choose: placements, deadlines, and the limits that are part of the contract.

pub mod checks;
pub mod debug;
pub mod log;

pub use crate::sync::sizes::{EVENTS_PER_STREAM, HANDLE_CHUNKS, HANDLES_PER_CHUNK};

use crate::error::Result;
use crate::fail;
use std::time::{Duration, Instant};

/// Where a side of a buffer, or a pool's blocks, live. One list for the whole library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Placement {
    /// This side does not exist.
    None = 0,
    /// Ordinary host memory.
    Pageable = 1,
    /// Page-locked host memory: copies are asynchronous, and read it when they run.
    Pinned = 2,
    /// Page-locked host memory that kernels read and write in place, by a device-visible address.
    Uva = 3,
    /// Device memory.
    Device = 4,
    /// Memory that CPU and device use at one address, and that migrates by itself.
    Managed = 5,
}

impl Placement {
    /// The placement with this number; `name` is what the caller calls it.
    pub fn from_code(code: u32, name: &str) -> Result<Placement> {
        Ok(match code {
            0 => Placement::None,
            1 => Placement::Pageable,
            2 => Placement::Pinned,
            3 => Placement::Uva,
            4 => Placement::Device,
            5 => Placement::Managed,
            _ => {
                return fail!(InvalidArgument, "{name} {code} is not known: use a GPUBUF_PLACEMENT_ number (0 to 5)");
            }
        })
    }

    /// Host memory that kernels use where it is.
    pub const fn is_in_place(self) -> bool {
        matches!(self, Placement::Uva | Placement::Managed)
    }

    /// The placement's name.
    pub const fn name(self) -> &'static str {
        match self {
            Placement::None => "none",
            Placement::Pageable => "pageable",
            Placement::Pinned => "pinned",
            Placement::Uva => "uva",
            Placement::Device => "device",
            Placement::Managed => "managed",
        }
    }
}

/// Refuses placements that no buffer has.
pub fn expect_sides(host: Placement, device: Placement) -> Result<()> {
    match (host, device) {
        (Placement::Device, _) => {
            fail!(InvalidArgument, "host_placement device: a host side is none, pageable, pinned, uva or managed")
        }
        (Placement::None, Placement::None) => {
            fail!(InvalidArgument, "a buffer needs at least one side: both placements are none")
        }
        (_, Placement::None | Placement::Device) => Ok(()),
        (_, other) => fail!(InvalidArgument, "device_placement {}: a device side is none or device", other.name()),
    }
}

/// `timeout_ns`: do not wait.
pub const TIMEOUT_TRY: u64 = 0;
/// `timeout_ns`: the device's default.
pub const TIMEOUT_DEFAULT: u64 = i64::MAX as u64 - 1;
/// `timeout_ns`: no deadline. Every larger value means the same.
pub const TIMEOUT_INFINITE: u64 = i64::MAX as u64;
/// `count`: everything from `first` on.
pub const ALL: u64 = i64::MAX as u64;
/// The default deadline of a device: 10 s.
pub const DEFAULT_TIMEOUT_NS: u64 = 10_000_000_000;

/// How long a call may wait for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Not at all: what is not done yet is `busy`.
    Try,
    /// Until this much time has passed.
    Within(Duration),
    /// For ever.
    Infinite,
}

impl Timeout {
    /// Reads a `timeout_ns` argument; `default_ns` is the device's.
    pub fn from_ns(timeout_ns: u64, default_ns: u64) -> Timeout {
        match timeout_ns {
            TIMEOUT_TRY => Timeout::Try,
            TIMEOUT_DEFAULT => Timeout::from_ns(default_ns.max(1), DEFAULT_TIMEOUT_NS),
            TIMEOUT_INFINITE.. => Timeout::Infinite,
            ns => Timeout::Within(Duration::from_nanos(ns)),
        }
    }

    /// How long a wait took that came to nothing, and how long it was to be, in words.
    pub fn passed(self, time: Duration) -> String {
        match self {
            Timeout::Within(span) => format!("after {time:.1?}; the limit of this call is {span:?}"),
            Timeout::Try | Timeout::Infinite => format!("after {time:.1?}"),
        }
    }

    /// The deadline when the wait begins now; `None` is never.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Timeout::Try => Some(Instant::now()),
            Timeout::Within(span) => Instant::now().checked_add(span),
            Timeout::Infinite => None,
        }
    }
}

/// Every slot, and every owned allocation, starts on a multiple of this many bytes.
pub const ALIGNMENT: usize = 256;
/// Uses that one side of a block remembers; above, neighbours merge, and what cannot merge is refused.
pub const USES_PER_SIDE: usize = 8;
/// Places where one side of a block is newer than the other that are told apart; above, neighbours become one.
pub const MARKS_PER_SIDE: usize = 8;
/// Guards that may be open on one block at a time.
pub const GUARDS_PER_BLOCK: usize = 8;
/// Blocks of one graph hold.
pub const HELD_BLOCKS: usize = 128;
/// Streams that one call may name.
pub const STREAMS_PER_CALL: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_three_forms() {
        assert_eq!(Timeout::from_ns(0, 5), Timeout::Try);
        assert_eq!(Timeout::from_ns(TIMEOUT_DEFAULT, 5), Timeout::Within(Duration::from_nanos(5)));
        assert_eq!(Timeout::from_ns(TIMEOUT_INFINITE, 5), Timeout::Infinite);
        assert_eq!(Timeout::from_ns(u64::MAX, 5), Timeout::Infinite);
        assert_eq!(Timeout::from_ns(7, 5), Timeout::Within(Duration::from_nanos(7)));
        assert_eq!(Timeout::from_ns(TIMEOUT_DEFAULT, TIMEOUT_INFINITE), Timeout::Infinite);
    }

    #[test]
    fn placements_round_trip() {
        for code in 0..6 {
            assert_eq!(Placement::from_code(code, "placement").unwrap() as u32, code);
        }
        assert!(Placement::from_code(6, "tier").unwrap_err().message().starts_with("tier 6"));
    }
}
