//! For tests: one check of the contract taken out, or a fault inside a call. Only with the feature `mutants`.

#[cfg(feature = "mutants")]
use super::boundary::{call, plain};
#[cfg(feature = "mutants")]
use super::entries::Entry;
#[cfg(feature = "mutants")]
use super::types::gpubuf_status;
#[cfg(feature = "mutants")]
use crate::config::checks::{Check, disable};
#[cfg(feature = "mutants")]
use crate::error::Status;
#[cfg(feature = "mutants")]
use crate::fail;
#[cfg(feature = "mutants")]
use crate::sync::{AtomicU32, Ordering};

/// The calls that are left until one has its fault; 0: none will.
#[cfg(feature = "mutants")]
static COUNTDOWN: AtomicU32 = AtomicU32::new(0);

/// Whether this call is the one.
#[cfg(feature = "mutants")]
pub fn fault_is_due() -> bool {
    let count = |left: u32| left.checked_sub(1);
    COUNTDOWN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) == Ok(1)
}

/// Whether this call is the one.
#[cfg(not(feature = "mutants"))]
pub const fn fault_is_due() -> bool {
    false
}

/// Takes one check out, by its number, for the whole process; UINT32_MAX puts all back.
#[cfg(feature = "mutants")]
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_mutant_disable(check: u32) -> gpubuf_status {
    call(Entry::gpubuf_mutant_disable, (check,), |_| {
        match Check::ALL.get(check as usize) {
            Some(check) => disable(Some(*check)),
            None if check == u32::MAX => disable(None),
            None => return fail!(InvalidArgument, "check {check} is not known: there are {}", Check::ALL.len()),
        }
        Ok(())
    })
}

/// Has the `nth` call from now panic inside, once it has its handles and before it writes a result; 0: none.
#[cfg(feature = "mutants")]
#[unsafe(no_mangle)]
pub extern "C" fn gpubuf_mutant_panic(nth_call: u32) -> gpubuf_status {
    plain(Entry::gpubuf_mutant_panic, Status::Internal as i32, || {
        COUNTDOWN.store(nth_call, Ordering::Relaxed);
        Status::Ok as i32
    })
}
