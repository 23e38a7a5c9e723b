//! Statuses and errors: the only place where status numbers live.
//!
//! Numbers are stable and grouped: 1xx the caller's arguments and handles, 2xx the order of calls (the reuse contract),
//! 3xx waiting, 4xx memory, 5xx the device, 9xx the library itself. A number is never reused.

use std::fmt;

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// What went wrong, as a stable number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Status { $($(#[doc = $doc])+ $variant = $number,)+ }

        impl Status {
            /// Every status, in the order of its numbers.
            pub const ALL: &'static [Status] = &[$(Status::$variant),+];

            /// The constant's name in the C header.
            pub const fn name(self) -> &'static std::ffi::CStr {
                match self { $(Status::$variant => $name,)+ }
            }

            /// The status with this number, if there is one.
            pub const fn from_code(code: i32) -> Option<Status> {
                match code { $($number => Some(Status::$variant),)+ _ => None }
            }
        }
    };
}

statuses! {
    /// Success. Never inside an [`Error`].
    Ok = 0, c"GPUBUF_OK";
    /// An argument is NULL, out of range, or not one of the known numbers.
    InvalidArgument = 100, c"GPUBUF_INVALID_ARGUMENT";
    /// A size or count does not fit.
    Overflow = 101, c"GPUBUF_OVERFLOW";
    /// The handle was destroyed or released, or never was one.
    StaleHandle = 102, c"GPUBUF_STALE_HANDLE";
    /// The handle is of another type.
    WrongKind = 103, c"GPUBUF_WRONG_KIND";
    /// Objects of two devices were mixed.
    WrongDevice = 104, c"GPUBUF_WRONG_DEVICE";
    /// Header and library, or a struct's size and the library, do not agree.
    VersionMismatch = 105, c"GPUBUF_VERSION_MISMATCH";
    /// No object of that name or number.
    NotFound = 106, c"GPUBUF_NOT_FOUND";
    /// The name, or the foreign memory, is taken.
    Exists = 107, c"GPUBUF_EXISTS";
    /// Not after freeze; or, where the message says so, not before it.
    Frozen = 108, c"GPUBUF_FROZEN";
    /// An address was given to work the library cannot see, and no fence was declared since.
    Unfenced = 200, c"GPUBUF_UNFENCED";
    /// The committed step that this one would overwrite was not retired.
    NotRetired = 201, c"GPUBUF_NOT_RETIRED";
    /// An end without a begin, twice, or with an old token or ticket.
    NotBegun = 202, c"GPUBUF_NOT_BEGUN";
    /// The block is not held by this caller.
    NotHeld = 203, c"GPUBUF_NOT_HELD";
    /// A required slot, or a part of it, was not written in this step.
    SlotUnwritten = 204, c"GPUBUF_SLOT_UNWRITTEN";
    /// A graph, or a step that is not over, has the address.
    GraphHeld = 205, c"GPUBUF_GRAPH_HELD";
    /// Every usable block or entry is quarantined.
    Exhausted = 206, c"GPUBUF_EXHAUSTED";
    /// Not now: a guard is open, another thread is inside, or the try form would have had to wait.
    Busy = 300, c"GPUBUF_BUSY";
    /// The deadline passed; nothing changed but the caller's wait.
    Timeout = 301, c"GPUBUF_TIMEOUT";
    /// The wait could only end by an action of this same thread.
    WouldDeadlock = 302, c"GPUBUF_WOULD_DEADLOCK";
    /// Both sides of a range are newer than the other.
    Conflict = 303, c"GPUBUF_CONFLICT";
    /// Over the byte budget.
    Budget = 400, c"GPUBUF_BUDGET";
    /// No host memory.
    OutOfHostMemory = 401, c"GPUBUF_OUT_OF_HOST_MEMORY";
    /// No device memory.
    OutOfDeviceMemory = 402, c"GPUBUF_OUT_OF_DEVICE_MEMORY";
    /// This backend, device or object cannot do it.
    Unsupported = 500, c"GPUBUF_UNSUPPORTED";
    /// Not while the stream captures.
    Capturing = 501, c"GPUBUF_CAPTURING";
    /// No usable driver.
    DriverMissing = 502, c"GPUBUF_DRIVER_MISSING";
    /// The device is lost.
    DeviceLost = 503, c"GPUBUF_DEVICE_LOST";
    /// A copy failed when it ran: its target holds no promised bytes.
    CopyFailed = 504, c"GPUBUF_COPY_FAILED";
    /// Completion could not be proven: the memory is never touched again.
    Quarantined = 505, c"GPUBUF_QUARANTINED";
    /// The driver refused a call with a code that has no status of its own: the message names it.
    DriverError = 506, c"GPUBUF_DRIVER_ERROR";
    /// The library was shut down.
    ShutDown = 900, c"GPUBUF_SHUT_DOWN";
    /// A child after fork: inherited objects are void.
    Forked = 901, c"GPUBUF_FORKED";
    /// The object was left half-done by a caught panic.
    Broken = 902, c"GPUBUF_BROKEN";
    /// A fault of the library.
    Internal = 903, c"GPUBUF_INTERNAL";
}

/// A refusal: its status, and a message that says what, the limit, the actual value and what to do.
pub struct Error(Box<(Status, String)>);

/// What fallible calls return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a message. [`fail!`](crate::fail) is the usual way to make one.
    #[cold]
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        debug_assert!(status != Status::Ok);
        Error(Box::new((status, message.into())))
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.0.0
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.0.1
    }

    /// The same error with `context` and a colon put before its message.
    #[cold]
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.0.1 = format!("{context}: {}", self.0.1);
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status().name().to_string_lossy(), self.message())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// `fail!(Busy, "…", …)`: an `Err` with that status and formatted message.
#[macro_export]
macro_rules! fail {
    ($status:ident, $($text:tt)+) => {
        Err($crate::error::Error::new($crate::error::Status::$status, format!($($text)+)))
    };
}

/// A zeroed vector of a size that a caller chose: refused, never aborted on.
pub fn try_vec<T: Clone>(length: usize, value: T, what: &str) -> Result<Vec<T>> {
    let mut out = Vec::new();
    if out.try_reserve_exact(length).is_err() {
        return fail!(
            OutOfHostMemory,
            "{what}: {length} entries of {} bytes cannot be had; ask for less",
            size_of::<T>()
        );
    }
    out.resize(length, value);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_one_to_one() {
        for pair in Status::ALL.windows(2) {
            assert!((pair[0] as i32) < (pair[1] as i32), "{pair:?} not in rising order");
        }
        for status in Status::ALL {
            assert_eq!(Status::from_code(*status as i32), Some(*status));
            assert!(status.name().to_str().unwrap().starts_with("GPUBUF_"));
        }
        assert_eq!(Status::from_code(1), None);
    }

    #[test]
    fn an_absurd_length_is_refused() {
        let error = try_vec(usize::MAX / 2, 0u64, "table").unwrap_err();
        assert_eq!(error.status(), Status::OutOfHostMemory);
    }
}
