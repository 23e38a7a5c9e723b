//! Buffers that stay where they are, under the same budgets: blocks make room for them.

use super::room::Room;
use super::{Tier, Tiers};
use crate::buffer::Buffer;
use crate::config::Timeout;
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, HostWait, Name};
use crate::sync::Arc;
use crate::workspace::{Held, Source, Spec};
use arrayvec::ArrayVec;

/// Bytes of a tier that are somebody's.
pub(super) struct Charge {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.uncharge(self.bytes);
    }
}

/// A buffer that is out.
pub(super) struct Loan {
    number: u64,
    holders: u64,
    /// For each side.
    _charges: ArrayVec<Charge, 2>,
}

/// The buffers that are out.
#[derive(Default)]
pub(super) struct Loans {
    next: u64,
    list: Vec<Loan>,
}

impl Loans {
    fn find(&mut self, number: u64) -> Option<&mut Loan> {
        self.list.iter_mut().find(|loan| loan.number == number)
    }
}

impl Tiers {
    fn charge(&self, tier: Tier, bytes: u64, wait: &HostWait<'_>) -> Result<Charge> {
        let room = self.room(tier)?;
        let budget = room.levels().budget;
        if bytes > budget {
            let place = tier.placement().name();
            return fail!(
                Budget,
                "{bytes} bytes in the {place} tier of {}, which has {budget}: raise its budget",
                self.name
            );
        }
        while !room.charge(bytes) {
            self.make_room(tier, bytes, wait)?;
        }
        Ok(Charge { room: room.clone(), bytes })
    }
}

impl Source for Tiers {
    fn name(&self) -> &Name {
        &self.name
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn take(self: Arc<Self>, spec: &Spec, timeout: Timeout) -> Result<Held> {
        let wait = HostWait::new(timeout, &self.counters.waits);
        let (host, device) = spec.placements();
        let mut charges = ArrayVec::new();
        for (placement, bytes) in [(host, spec.host_bytes()), (device, spec.device_bytes())] {
            if let Some(tier) = Tier::of(placement) {
                charges.push(self.charge(tier, bytes, &wait)?);
            }
        }
        let buffer = Buffer::create(&self.device, spec.options(""))?;
        let mut loans = self.loans.lock();
        if loans.list.try_reserve(1).is_err() {
            return fail!(OutOfHostMemory, "no host memory for the list of buffers of {}", self.name);
        }
        let number = loans.next;
        loans.next += 1;
        loans.list.push(Loan { number, holders: 1, _charges: charges });
        drop(loans);
        Ok(Held::new(buffer, self, number))
    }

    fn share(&self, number: u64) {
        if let Some(loan) = self.loans.lock().find(number) {
            loan.holders += 1;
        }
    }

    fn is_last(&self, number: u64) -> bool {
        self.loans.lock().find(number).is_none_or(|loan| loan.holders <= 1)
    }

    fn take_back(&self, number: u64) {
        let mut loans = self.loans.lock();
        let Some(loan) = loans.find(number) else { return };
        loan.holders = loan.holders.saturating_sub(1);
        if loan.holders == 0 {
            loans.list.retain(|loan| loan.number != number);
        }
    }

    fn lose(&self, number: u64) {
        // The loan stays, and with it what it takes of the budgets.
        if let Some(loan) = self.loans.lock().find(number) {
            loan.holders = u64::MAX;
        }
    }
}
