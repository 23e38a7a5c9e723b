//! Where buffers come from for a while, and go back to.

use super::Spec;
use crate::buffer::Buffer;
use crate::config::Timeout;
use crate::config::checks::{Check, on};
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, Name};
use crate::sync::{Arc, Mutex};
use std::ops::Deref;

/// Gives buffers by their spec and takes them back. Who needs memory for a while asks a source, and need not know of which
/// kind it is.
pub trait Source: Send + Sync {
    /// Its name.
    fn name(&self) -> &Name;

    /// The device of what it gives.
    fn device(&self) -> &Arc<Device>;

    /// A buffer of this spec that nobody else has, with every earlier use of it over. Its bytes mean nothing.
    fn take(self: Arc<Self>, spec: &Spec, timeout: Timeout) -> Result<Held>;

    /// One more holder of what has this number, which has one.
    fn share(&self, number: u64);

    /// Whether ending this holder of what has this number leaves it without any. If not, this one is about to end, and counts
    /// no more where another asks the same: [`Source::left`] is called for it.
    fn is_last(&self, number: u64) -> bool;

    /// A holder of what has this number has ended. Never waits. [`Held`] calls it, once for each.
    fn take_back(&self, number: u64);

    /// As [`Source::take_back`], of a holder that was about to end.
    fn left(&self, number: u64) {
        self.take_back(number);
    }

    /// A holder of what has this number has ended, and the memory may be in use for ever. The buffer is quarantined.
    fn lose(&self, number: u64) {
        self.take_back(number);
    }
}

/// A buffer, and the right to use it until this is dropped: then it goes back to where it came from, if it is not simply its
/// holder's own.
pub struct Held {
    // In this order: a view ends before what it is of goes back.
    buffer: Arc<Buffer>,
    hold: Option<Hold>,
}

/// One holder of what has a number at its source.
struct Hold {
    source: Arc<dyn Source>,
    number: u64,
    lost: bool,
    /// It is about to end, as its source knows.
    leaving: Mutex<bool>,
}

impl Hold {
    fn new(source: Arc<dyn Source>, number: u64, leaving: bool) -> Option<Hold> {
        Some(Hold { source, number, lost: false, leaving: Mutex::new(leaving) })
    }

    /// Whether it is the last, or else leaves: once.
    fn is_last(&self) -> bool {
        let mut leaving = self.leaving.lock();
        *leaving = *leaving || !self.source.is_last(self.number);
        !*leaving
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.lost {
            self.source.lose(self.number);
        } else if *self.leaving.get_mut() {
            self.source.left(self.number);
        } else {
            self.source.take_back(self.number);
        }
    }
}

impl Held {
    /// For a source: a holder of what has this number there.
    pub fn new(buffer: Arc<Buffer>, source: Arc<dyn Source>, number: u64) -> Held {
        Held { buffer, hold: Hold::new(source, number, false) }
    }

    /// One that is about to end from its beginning on, as its source knows.
    pub(super) fn passing(buffer: Arc<Buffer>, source: Arc<dyn Source>, number: u64) -> Held {
        Held { buffer, hold: Hold::new(source, number, true) }
    }

    /// Its memory was handed on, and who has it cannot prove that its last use is over: nobody touches it again. The bytes are
    /// counted where that was found.
    pub fn lose(mut self) {
        if let Ok(mut block) = self.buffer.lock() {
            block.forget_storage();
        }
        if let Some(hold) = &mut self.hold {
            hold.lost = true;
        }
    }

    /// The buffer, for whoever keeps it beyond this holder.
    pub fn shared(&self) -> Arc<Buffer> {
        self.buffer.clone()
    }

    /// A view of the buffer, which holds it, too.
    pub fn with(&self, view: Arc<Buffer>) -> Held {
        let hold = self.hold.as_ref().and_then(|Hold { source, number, .. }| {
            source.share(*number);
            Hold::new(source.clone(), *number, false)
        });
        Held { buffer: view, hold }
    }

    /// The buffer, to be given another shape, which one that goes from holder to holder may not have.
    pub fn resizable(&self) -> Result<&Arc<Buffer>> {
        match &self.hold {
            None => Ok(&self.buffer),
            Some(hold) => fail!(
                Unsupported,
                "resizing {}, which is of {}: others rely on its shape; take one of another spec from there",
                self.buffer.name(),
                hold.source.name()
            ),
        }
    }

    /// Refuses where this source could not use the buffer again: queued work that nobody declared, an open guard or a graph
    /// may still use it. Where others hold it, too, that is their concern: this holder is about to end.
    pub fn expect_releasable_to(&self, home: &dyn Source) -> Result<()> {
        let name = self.buffer.name();
        let own = self.hold.as_ref().filter(|hold| hold.source.name().number() == home.name().number());
        let Some(hold) = own else {
            return fail!(InvalidArgument, "{name} did not come from {}: destroy it instead", home.name());
        };
        if !hold.is_last() {
            return Ok(());
        }
        let block = self.buffer.lock()?;
        block.expect_not_held(Check::HoldRelease, "releasing")?;
        block.expect_unguarded(Check::ReleaseGuard, "releasing")?;
        if block.is_sealed() && on(Check::ReleaseSealed) {
            self.buffer.device().counters.refusals.add(1);
            return fail!(
                Unfenced,
                "releasing {name}: its device address was given out with no stream named and no use declared since; declare it with used_on"
            );
        }
        Ok(())
    }
}

impl From<Arc<Buffer>> for Held {
    fn from(buffer: Arc<Buffer>) -> Held {
        Held { buffer, hold: None }
    }
}

impl Deref for Held {
    type Target = Arc<Buffer>;

    fn deref(&self) -> &Arc<Buffer> {
        &self.buffer
    }
}
