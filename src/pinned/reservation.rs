//! Bytes of the budget that are held for blocks to come.

use super::request::{Over, Owner, Request};
use super::{Pinned, budget::Bytes};
use crate::error::Result;
use crate::fail;
use crate::fence::Name;
use crate::lease::{Lease, Twin};
use crate::sync::{Arc, Mutex};

/// Bytes of the budget. Blocks are made of them, one or many; what is left goes back with the end of it. Any thread.
pub struct Reservation {
    name: Name,
    pinned: Arc<Pinned>,
    owner: Owner,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    ended: bool,
}

impl Pinned {
    /// Holds bytes of the budget; as for a block, but for a fallback: there is none for a budget.
    pub fn reserve(self: &Arc<Pinned>, request: &Request) -> Result<Arc<Reservation>> {
        let need = self.need(request)?;
        if request.over == Over::Pageable {
            return fail!(
                InvalidArgument,
                "a reservation is of the budget, and pageable memory is outside of it: fail or wait where there is none"
            );
        }
        if request.twin != Twin::Never {
            return fail!(
                InvalidArgument,
                "a reservation has no device side: ask for it in the commit that makes a block of it"
            );
        }
        // Nothing is placed: all of it is granted.
        self.take_turn(&need, request, true, &mut 0, &mut None)?;
        Ok(Arc::new(Reservation {
            name: Name::new("reservation", ""),
            pinned: self.clone(),
            owner: request.owner,
            held: Mutex::new(Held { bytes: need.bytes, ended: false }),
        }))
    }
}

impl Reservation {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its manager.
    pub fn pinned(&self) -> &Arc<Pinned> {
        &self.pinned
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.held.lock().bytes
    }

    /// A block of what is left. The request's owner is the reservation's where it names none; its budget is here. Where no memory
    /// can be page-locked, and pageable will do, the bytes stay reserved.
    pub fn commit(&self, request: &Request) -> Result<Lease> {
        let pinned = &self.pinned;
        let need = pinned.need(request)?;
        let owner = if request.owner.is_nobody() { self.owner } else { request.owner };
        pinned.expect_open(&pinned.state.lock())?;
        self.take(need.bytes)?;
        let twin = pinned.twin(request, &need).inspect_err(|_| self.put_back(need.bytes))?;
        let placed = match pinned.build(&need, owner, &mut 0) {
            Ok(placed) => placed,
            Err(error) => {
                self.put_back(need.bytes);
                pinned.instead(&need, owner, request.over, error)?
            }
        };
        let storage = pinned.storage(placed);
        Ok(pinned.lease(placed, storage, twin, request.twin))
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let mut held = self.held.lock();
        if bytes > held.bytes {
            return fail!(
                InvalidArgument,
                "{} has {} left, asked {}: commit less, or reserve more",
                self.name,
                Bytes(held.bytes),
                Bytes(bytes)
            );
        }
        held.bytes -= bytes;
        Ok(())
    }

    fn put_back(&self, bytes: u64) {
        let mut held = self.held.lock();
        if held.ended {
            drop(held);
            self.pinned.state.lock().unreserve(bytes);
        } else {
            held.bytes += bytes;
        }
    }

    /// Gives back what is left. Never waits.
    pub fn roll_back(&self) {
        let left = {
            let mut held = self.held.lock();
            held.ended = true;
            std::mem::take(&mut held.bytes)
        };
        if left > 0 {
            self.pinned.state.lock().unreserve(left);
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        format!("{}: {} of {} are left", self.name, Bytes(self.left()), self.pinned.name())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.roll_back();
    }
}
