//! What the cases are made of: an emulated device, streams that can be held, and named assertions.

pub use crate::common::{busy, copies_fail_alone, device, hold, kit, kit_of, lose, ran, read_device, status, stream};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::checks::Check;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Result;
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::sync::Arc;
use std::time::Duration;

/// One check, the test that shows it, and the assertion that fails without it.
#[derive(Clone)]
pub struct Case {
    pub check: Check,
    #[cfg_attr(not(feature = "mutants"), allow(dead_code))]
    pub assertion: &'static str,
    pub run: fn() -> Verdict,
}

/// `Err` names the assertion that failed.
pub type Verdict = std::result::Result<(), String>;

/// `ensure!(condition, "what is true")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $what:expr) => {
        if !$condition {
            return Err(String::from($what));
        }
    };
}

/// A case: `case!(Check, "the assertion it loses", |it| { … })`, where `it` is that assertion.
#[macro_export]
macro_rules! case {
    ($check:ident, $assertion:literal, |$it:ident| $body:block) => {{
        fn run() -> $crate::kit::Verdict {
            let $it = $assertion;
            $body
            #[allow(unreachable_code)]
            Ok(())
        }
        $crate::kit::Case { check: gpubuf::config::checks::Check::$check, assertion: $assertion, run }
    }};
}

/// Long enough for a stream that may run to run; one that waits for a held stream never does.
pub const A_WHILE: Timeout = Timeout::Within(Duration::from_millis(150));
/// Ends soon; what it waits for never comes.
pub const SHORT: Timeout = Timeout::Within(Duration::from_millis(5));

/// A stream held shut by another thread, so that waits for it are waits, not deadlocks. Released at the end.
pub struct Held {
    pub timeline: Arc<Timeline>,
    shut: bool,
}

impl Held {
    pub fn new(device: &Arc<Device>) -> Held {
        let mut held = Held { timeline: stream(device), shut: false };
        held.shut_again();
        held
    }

    /// Shuts it again.
    pub fn shut_again(&mut self) {
        hold(&self.timeline);
        self.shut = true;
    }

    /// Lets it run, and waits until it has.
    pub fn open(&mut self) {
        if std::mem::take(&mut self.shut) {
            kit(&self.timeline).release().expect("a release");
        }
        ran(&self.timeline);
    }

    /// Whether another stream runs dry while this one is shut.
    pub fn is_overtaken_by(&self, other: &Arc<Timeline>) -> bool {
        other.synchronize(A_WHILE).is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.shut {
            let _ = kit(&self.timeline).release();
        }
    }
}

pub const BYTES: u64 = 4096;

pub fn options(host: Placement, on_device: Placement) -> BufferOptions {
    BufferOptions { host, device: on_device, ..crate::common::pair_of(BYTES) }
}

pub fn pair(device: &Arc<Device>) -> Arc<Buffer> {
    Buffer::create(device, options(Placement::Pinned, Placement::Device)).expect("a buffer")
}

/// Sets every byte of the host side, as a write access that may not wait.
pub fn set(buffer: &Buffer, value: u8) -> Result<()> {
    let (data, token) = buffer.begin(Access::Write, 0, ALL, Timeout::Try)?;
    // SAFETY: the guard covers the whole side.
    unsafe { data.write_bytes(value, BYTES as usize) };
    buffer.end(Access::Write, token)
}

/// Whether every byte of memory, as the device sees it now, is `value`.
pub fn device_is(device: &Arc<Device>, address: u64, bytes: u64, value: u8) -> bool {
    read_device(device, address, bytes).iter().all(|byte| *byte == value)
}

/// Setting up must work; what a case shows is something else.
pub trait Works<T> {
    fn works(self) -> std::result::Result<T, String>;
}

impl<T> Works<T> for Result<T> {
    fn works(self) -> std::result::Result<T, String> {
        self.map_err(|error| format!("the setup works ({error})"))
    }
}
