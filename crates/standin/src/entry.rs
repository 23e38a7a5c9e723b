//! What every entry goes through: counting, armed faults, the rules on who may call, and no panic past the C boundary.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use crate::code;
use crate::context::{self, Context};
use crate::driver::{self, Driver, Ordinal};

/// Makes an exported function. The word before `fn` says who may call it and what the body gets:
/// `always` anyone; `initialised` after `cuInit`, the driver; `contextual` with a healthy current context, that context.
/// The body gives `Result<(), i32>`.
macro_rules! entry {
    ($rule:ident fn $name:ident($($argument:ident: $type:ty),* $(,)?) |$given:ident| $body:block) => {
        /// See the driver API reference. The caller answers for pointers: null or valid, as the reference asks.
        #[unsafe(no_mangle)]
        #[allow(clippy::too_many_arguments, reason = "the driver's signature")]
        pub(crate) unsafe extern "C" fn $name($($argument: $type),*) -> i32 {
            static CALL: $crate::entry::Call = $crate::entry::Call::new(stringify!($name));
            $crate::entry::$rule(&CALL, |$given| $body)
        }
    };
}

/// A place of the caller's to write to. Only an argument of an exported function can be one, so it is null or valid
/// for the call, as that function's caller promises.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Out<T> {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// `INVALID_VALUE` for null.
    pub(crate) fn required(self) -> Result<(), i32> {
        if self.0.is_null() { Err(code::INVALID_VALUE) } else { Ok(()) }
    }

    pub(crate) fn set(self, value: T) -> Result<(), i32> {
        self.set_at(0, value)
    }

    /// Writes element `index`, which the caller of the exported function promised to have room for.
    pub(crate) fn set_at(self, index: usize, value: T) -> Result<(), i32> {
        self.required()?;
        // SAFETY: not null, so valid by the type's meaning. Unaligned, as nobody promised alignment.
        unsafe { self.0.add(index).write_unaligned(value) };
        Ok(())
    }

    /// Writes if there is a place: for optional results.
    pub(crate) fn offer(self, value: T) {
        if !self.0.is_null() {
            let _ = self.set(value);
        }
    }

    /// The value there now, for arguments that go both ways.
    pub(crate) fn get(self) -> Result<T, i32>
    where
        T: Copy,
    {
        In(self.0.cast_const()).get(0)
    }

    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }
}

/// An array of the caller's to read; the counterpart of [`Out`].
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// An argument that was taken as a plain pointer.
    ///
    /// # Safety
    /// It is null, or valid as the exported function's caller promises.
    pub(crate) unsafe fn argument(pointer: *const T) -> In<T> {
        In(pointer)
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Element `index`, which the caller of the exported function promised to be there.
    pub(crate) fn get(self, index: usize) -> Result<T, i32> {
        if self.0.is_null() {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: not null, so valid by the type's meaning. Unaligned, as nobody promised alignment.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }
}

impl In<c_char> {
    /// The C string there; `INVALID_VALUE` for null and for what is not text.
    pub(crate) fn text(&self) -> Result<&str, i32> {
        if self.0.is_null() {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: not null, so a C string that is valid for the call, by the meaning of the type.
        unsafe { CStr::from_ptr(self.0) }.to_str().map_err(|_| code::INVALID_VALUE)
    }
}

/// One exported function's name and, from its first call, its counter.
pub(crate) struct Call {
    name: &'static str,
    counter: OnceLock<&'static Counter>,
}

/// How often a function was called, and the fault armed for it. Never freed: there is one for each function.
#[derive(Default)]
pub(crate) struct Counter {
    calls: AtomicU64,
    /// Spares the lock in the usual case.
    armed: AtomicBool,
    fault: Mutex<Option<Armed>>,
}

struct Armed {
    /// Calls until it strikes; 1 is the next.
    left: u64,
    strike: Strike,
}

/// What a fault does to a call.
#[derive(Clone, Copy)]
pub(crate) enum Strike {
    /// It returns a code, and does nothing else.
    Refuse(i32),
    /// A device is lost with a code before the call does anything.
    Lose(&'static Ordinal, i32),
}

static COUNTERS: Mutex<BTreeMap<&'static str, &'static Counter>> = Mutex::new(BTreeMap::new());
/// Of the calls of every function.
static ALL: Counter = Counter { calls: AtomicU64::new(0), armed: AtomicBool::new(false), fault: Mutex::new(None) };
static STRUCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(true) };
}

/// The counter of the function of that name.
pub(crate) fn counter(name: &'static str) -> &'static Counter {
    COUNTERS.lock().entry(name).or_insert_with(|| Box::leak(Box::default()))
}

/// The counter of the calls of all functions.
pub(crate) fn of_all() -> &'static Counter {
    &ALL
}

/// Faults that have struck since the last reset.
pub(crate) fn struck() -> u64 {
    STRUCK.load(Ordering::Relaxed)
}

/// Whether calls of this thread are counted, and can fail.
pub(crate) fn count_this_thread(counts: bool) {
    COUNTS.set(counts);
}

/// Counts from zero again and disarms all faults.
pub(crate) fn reset() {
    for counter in COUNTERS.lock().values().copied().chain([&ALL]) {
        counter.calls.store(0, Ordering::Relaxed);
        counter.arm(0, Strike::Refuse(0));
    }
    STRUCK.store(0, Ordering::Relaxed);
}

impl Counter {
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Has the `nth` call from now meet a fault; 0 disarms.
    pub(crate) fn arm(&self, nth: u64, strike: Strike) {
        let mut fault = self.fault.lock();
        *fault = (nth > 0).then_some(Armed { left: nth, strike });
        self.armed.store(nth > 0, Ordering::Release);
    }

    /// Counts a call; what the armed fault does to it if it strikes.
    fn count(&self) -> Option<Strike> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let mut fault = self.fault.lock();
        let armed = fault.as_mut()?;
        armed.left -= 1;
        if armed.left > 0 {
            return None;
        }
        self.armed.store(false, Ordering::Release);
        STRUCK.fetch_add(1, Ordering::Relaxed);
        fault.take().map(|armed| armed.strike)
    }
}

impl Call {
    pub(crate) const fn new(name: &'static str) -> Call {
        Call { name, counter: OnceLock::new() }
    }

    fn run(&self, body: impl FnOnce() -> Result<(), i32>) -> i32 {
        let _inside = Inside::enter();
        if COUNTS.try_with(Cell::get).unwrap_or(true) {
            let own = self.counter.get_or_init(|| counter(self.name)).count();
            for strike in [own, ALL.count()].into_iter().flatten() {
                match strike {
                    Strike::Refuse(code) => return code,
                    Strike::Lose(ordinal, code) => ordinal.lose(code),
                }
            }
        }
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => 0,
            Ok(Err(code)) => code,
            Err(payload) => {
                // Dropping a payload may panic in turn.
                std::mem::forget(payload);
                code::UNKNOWN
            }
        }
    }
}

/// For what anyone may ask at any time.
pub(crate) fn always(call: &'static Call, body: impl FnOnce(()) -> Result<(), i32>) -> i32 {
    call.run(|| body(()))
}

/// For calls that need the driver but no context.
pub(crate) fn initialised(call: &'static Call, body: impl FnOnce(&'static Driver) -> Result<(), i32>) -> i32 {
    call.run(|| body(driver::expect_ready()?))
}

/// For calls that touch the current context's device. Without one, `INVALID_CONTEXT`; once a failure has stuck to it,
/// that failure's code (driver API, `CUresult`: such errors leave the context unusable, "any further CUDA work will
/// return the same error").
pub(crate) fn contextual(call: &'static Call, body: impl FnOnce(&Arc<Context>) -> Result<(), i32>) -> i32 {
    call.run(|| {
        driver::expect_ready()?;
        let current = context::current().ok_or(code::INVALID_CONTEXT)?;
        current.check()?;
        body(&current)
    })
}

thread_local! {
    static INSIDE_NS: Cell<u64> = const { Cell::new(0) };
}

/// Nanoseconds that the calling thread has spent so far inside entries, waits included.
pub(crate) fn time_inside_ns() -> u64 {
    INSIDE_NS.with(Cell::get)
}

/// Counts the time until it is dropped. Entries do not call each other.
struct Inside(Instant);

impl Inside {
    fn enter() -> Inside {
        Inside(Instant::now())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let ns = u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        INSIDE_NS.with(|total| total.set(total.get().saturating_add(ns)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_code() {
        static CALL: Call = Call::new("cuInit");
        assert_eq!(always(&CALL, |()| panic!("on purpose")), code::UNKNOWN);
        assert_eq!(always(&CALL, |()| Ok(())), 0);
    }
}
