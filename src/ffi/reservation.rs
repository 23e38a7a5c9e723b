//! Bytes of a manager's budget that are held for blocks to come.

use super::boundary::call;
use super::entries::Entry;
use super::pinned::{gpubuf_pinned_request, request};
use super::types::*;

/// A block of what is reserved; what is left of the reservation holds budget for others, or until it is destroyed.
///
/// The request's bytes come out of the reservation; timeout_ns and priority do not matter, nor does its owner where it is NULL.
/// There is no wait in it: where the driver can page-lock nothing, GPUBUF_OVER_BUDGET_WAIT is refused like GPUBUF_OVER_BUDGET_FAIL.
/// Ownership: the block is the caller's, and outlives the reservation.
/// Errors: GPUBUF_INVALID_ARGUMENT (more than is left), GPUBUF_OVERFLOW, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_DRIVER_ERROR, GPUBUF_OUT_OF_DEVICE_MEMORY,
/// GPUBUF_UNSUPPORTED, GPUBUF_SHUT_DOWN (the manager was destroyed), GPUBUF_DEVICE_LOST: what is reserved stays so, as it does where pageable
/// memory is given because nothing can be page-locked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_reservation_commit(
    reservation: *mut gpubuf_reservation,
    request: *const gpubuf_pinned_request,
    out_block: *mut *mut gpubuf_block,
) -> gpubuf_status {
    call(Entry::gpubuf_reservation_commit, (reservation, request, out_block), |c| {
        let reservation = c.get(reservation, "reservation")?;
        let out = c.out(out_block, "out_block")?;
        let block = reservation.commit(&self::request(request, reservation.pinned().device())?)?;
        c.give(out, block.clone()).inspect_err(|_| drop(block.release()))
    })
}

/// Bytes that are reserved still.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_reservation_left(
    reservation: *const gpubuf_reservation,
    out_bytes: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_reservation_left, (reservation, out_bytes), |c| {
        let reservation = c.get(reservation, "reservation")?;
        let out = c.out(out_bytes, "out_bytes")?;
        out.set(reservation.left());
        Ok(())
    })
}

/// Rolls back: what is left of the reservation goes back to the budget. NULL is GPUBUF_OK. Never waits.
///
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_reservation_destroy(reservation: *mut gpubuf_reservation) -> gpubuf_status {
    call(Entry::gpubuf_reservation_destroy, (reservation,), |c| {
        if let Some(reservation) = c.end(reservation, "reservation")? {
            reservation.roll_back();
        }
        Ok(())
    })
}
