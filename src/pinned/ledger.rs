//! The accounts of a manager: who has how much of the budget.

use super::request::Owner;
use crate::error::{Error, Result, Status};
use std::collections::BTreeMap;

/// Requested bytes, by what is the case with them. They and what is available make up the budget, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub(super) budget: u64,
    /// Of blocks that are held, or wait for their last use.
    pub(super) live: u64,
    /// Of live ones, those that were given back.
    pub(super) pending: u64,
    /// Given back, and in slabs still.
    pub(super) cached: u64,
    pub(super) quarantined: u64,
    pub(super) reserved: u64,
}

impl Ledger {
    /// What neither blocks, caches nor reservations have.
    pub(super) fn available(&self) -> u64 {
        self.budget - self.committed() - self.cached
    }

    /// What cannot be had without somebody giving it back.
    pub(super) fn committed(&self) -> u64 {
        self.live + self.quarantined + self.reserved
    }

    /// What could be had if nothing was cached.
    pub(super) fn room(&self) -> u64 {
        self.budget - self.committed()
    }
}

/// An owner's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub owner: Owner,
    /// Requested bytes of the blocks that he holds, or that wait for their last use.
    pub bytes: u64,
    /// How many there are.
    pub blocks: u64,
}

/// Owners that have blocks.
#[derive(Default)]
pub(super) struct Owners {
    shares: Vec<Share>,
    places: BTreeMap<Owner, u32>,
    free: Vec<u32>,
}

impl Owners {
    /// The place of an owner, who has no block yet, or some. Fails before anything has changed.
    pub fn place(&mut self, owner: Owner) -> Result<u32> {
        if let Some(place) = self.places.get(&owner) {
            return Ok(*place);
        }
        if self.shares.try_reserve(1).is_err() || self.free.try_reserve(self.shares.len() + 1).is_err() {
            return Err(Error::new(Status::OutOfHostMemory, "no host memory for the list of owners"));
        }
        let share = Share { owner, bytes: 0, blocks: 0 };
        let place = match self.free.pop() {
            Some(place) => {
                self.shares[place as usize] = share;
                place
            }
            None => {
                self.shares.push(share);
                self.shares.len() as u32 - 1
            }
        };
        self.places.insert(owner, place);
        Ok(place)
    }

    /// Who has this place.
    pub fn owner(&self, place: u32) -> Option<Owner> {
        self.shares.get(place as usize).map(|share| share.owner)
    }

    pub fn add(&mut self, place: u32, bytes: u64) {
        let share = &mut self.shares[place as usize];
        share.bytes += bytes;
        share.blocks += 1;
    }

    /// An owner whose last block this was is forgotten.
    pub fn sub(&mut self, place: u32, bytes: u64) {
        let share = &mut self.shares[place as usize];
        share.bytes -= bytes;
        share.blocks -= 1;
        self.forget_idle(place);
    }

    /// Forgets an owner who has no block.
    pub fn forget_idle(&mut self, place: u32) {
        let share = &self.shares[place as usize];
        if share.blocks == 0 && self.places.remove(&share.owner).is_some() {
            self.free.push(place);
        }
    }

    /// Everybody who has blocks, by name.
    pub fn shares(&self) -> impl Iterator<Item = Share> {
        self.places.values().map(|place| self.shares[*place as usize])
    }
}
