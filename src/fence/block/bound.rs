//! A block bound to a step: the step's consumers read it by its address, between the commit of the step and its retire.

use super::Block;
use crate::config::checks::{Check, on};
use crate::error::Result;
use crate::fail;
use crate::fence::side::Side;
use crate::fence::timeline::{Fences, Timeline};
use crate::fence::uses::{Range, Role};
use crate::sync::Arc;

impl Block {
    /// The side that kernels read: the device's, else the host's where they use it in place.
    fn bound_side(&mut self) -> Result<&mut Side> {
        let in_place = self.is_in_place();
        match (&mut self.device, &mut self.host) {
            (Some(side), _) => Ok(side),
            (None, Some(side)) if in_place => Ok(side),
            _ => fail!(
                Unsupported,
                "{} has no address for kernels yet: bind a uva block, or one with a device twin",
                self.name
            ),
        }
    }

    /// The address of a range for kernels. Changes nothing.
    pub fn bound_address(&mut self, range: Range) -> Result<u64> {
        self.settle()?;
        Ok(self.bound_side()?.storage()?.memory().device + range.start as u64)
    }

    /// Orders work queued on the stream from now on behind what writes the block elsewhere, and seals it: until
    /// [`Block::retire_bound`] or [`Block::unseal`] consumers that the library does not see may read it.
    pub fn bind(&mut self, timeline: &Arc<Timeline>) -> Result<()> {
        self.settle()?;
        if self.is_sealed() {
            if let Some(storage) = self.sides().find_map(|side| side.storage().ok()) {
                storage.device().counters.refusals.add(1);
            }
            return fail!(
                Unfenced,
                "committing a step that {} is bound to: its address is with work that nobody declared, or with a step that is not retired; declare or retire that first",
                self.name
            );
        }
        let all = self.all();
        let side = self.bound_side()?;
        let mut submission = timeline.submission();
        side.order_before(&mut submission, false, all, Role::Bound)?;
        // Refuses while a write guard is open; seals. A side that stands in for the host's gets what the host wrote.
        if self.stands_in {
            self.publish(all, timeline, false, true)?;
        } else {
            self.seal_address()?;
        }
        if !on(Check::BindingSeals) {
            self.unseal();
        }
        Ok(())
    }

    /// Makes room for [`Block::retire_bound`] on these streams. A block that is quarantined by now keeps no step from its end.
    pub fn expect_bound_retire(&mut self, streams: &[Arc<Timeline>]) -> Result<()> {
        if self.is_quarantined() {
            return Ok(());
        }
        self.bound_side()?.expect_declaration(streams)
    }

    /// The step's consumers are queued up to these fences: they read the block. Lifts the seal.
    pub fn retire_bound(&mut self, fences: &Fences) {
        let all = self.all();
        if self.is_quarantined() {
            return;
        }
        if let Ok(side) = self.bound_side() {
            if on(Check::BindingDeclares) {
                side.declare(fences, false, all);
            } else {
                side.unseal();
            }
        }
    }
}
