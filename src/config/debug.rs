//! The debug mode: what a stray access costs, and the seed of a perturbed schedule.

use crate::error::Result;
use crate::fail;
use crate::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether memory is watched, and what follows from damage that is found by looking. A stray access that is caught in the act
/// ends the process in either mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Debug {
    /// Nothing is watched.
    #[default]
    Off,
    /// Damage is reported, and the process ends.
    On,
    /// Damage is reported, and the process goes on.
    Report,
}

impl Debug {
    /// The mode with this number; 0 is that of `GPUBUF_DEBUG`.
    pub fn from_code(code: u32) -> Result<Debug> {
        match code {
            0 => Debug::from_environment(),
            1 => Ok(Debug::Off),
            2 => Ok(Debug::On),
            3 => Ok(Debug::Report),
            _ => fail!(InvalidArgument, "debug {code} is not known: use a GPUBUF_DEBUG_ number (0 to 3)"),
        }
    }

    /// The mode of `GPUBUF_DEBUG`.
    pub fn from_environment() -> Result<Debug> {
        match std::env::var("GPUBUF_DEBUG").as_deref() {
            Err(_) | Ok("" | "0") => Ok(Debug::Off),
            Ok("1") => Ok(Debug::On),
            Ok("report") => Ok(Debug::Report),
            Ok(other) => fail!(InvalidArgument, "GPUBUF_DEBUG={other} is not known: use 0, 1 or report"),
        }
    }

    /// Whether memory is watched.
    pub const fn is_on(self) -> bool {
        !matches!(self, Debug::Off)
    }
}

/// What is said of objects that nobody destroyed, beyond the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaks {
    /// Nothing.
    Silent,
    /// They are named on the standard error.
    Report,
    /// And the shutdown, or the process, fails.
    Error,
}

/// What `GPUBUF_LEAKS` says; what it does not know is a report, since nobody would see a refusal at the end.
pub fn leaks() -> Leaks {
    match std::env::var("GPUBUF_LEAKS").as_deref() {
        Err(_) | Ok("" | "0") => Leaks::Silent,
        Ok("error") => Leaks::Error,
        Ok(_) => Leaks::Report,
    }
}

/// The seed of `GPUBUF_DEBUG_SEED`; `random` is one of the process's own.
pub fn seed() -> Result<Option<u64>> {
    static RANDOM: OnceLock<u64> = OnceLock::new();
    match std::env::var("GPUBUF_DEBUG_SEED").as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("random") => Ok(Some(*RANDOM.get_or_init(|| {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
            // Short enough to be typed again.
            (time ^ u64::from(std::process::id())).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
        }))),
        Ok(text) => match text.parse() {
            Ok(seed) => Ok(Some(seed)),
            Err(_) => fail!(InvalidArgument, "GPUBUF_DEBUG_SEED={text} is neither a number nor random"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_numbers() {
        assert_eq!([1, 2, 3].map(|code| Debug::from_code(code).unwrap()), [Debug::Off, Debug::On, Debug::Report]);
        assert!(Debug::from_code(4).is_err());
        assert!(Debug::On.is_on() && Debug::Report.is_on() && !Debug::Off.is_on());
    }
}
