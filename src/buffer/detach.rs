//! Taking borrowed memory back.

use super::Buffer;
use crate::config::Timeout;
use crate::config::checks::Check;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{Borrow, Side, Storage};
use crate::sync::Ordering;
use std::time::Instant;

impl Buffer {
    /// Takes borrowed memory back once its uses are proven. The buffer is empty from then on, and nobody is told.
    pub fn detach(&self, timeout: Timeout) -> Result<()> {
        self.expect_whole("detaching")?;
        if !self.whole.borrowed {
            return fail!(Unsupported, "{} borrows no memory: destroy it", self.name);
        }
        let deadline = timeout.deadline();
        let mut block = self.lock()?;
        // Detached before, by a call that could not wait long enough.
        if self.whole.returning.load(Ordering::Relaxed) {
            return self.await_return(timeout, deadline);
        }
        block.expect_not_held(Check::HoldDetach, "detaching")?;
        let wait = self.wait(timeout);
        for side in block.sides_mut() {
            side.expect_unguarded(Check::ReleaseGuard, "detaching")?;
            side.wait_all_fenced(&wait, Check::DetachWaits, "detaching")?;
        }
        // Whoever got an address with no stream named is only proven done when everything is.
        if block.sides().any(Side::has_unseen_users) {
            self.whole.device.wait_idle(&wait)?;
        }
        // A download that the wait found failed is told while the memory is still here: it holds no promised bytes.
        block.settle()?;
        let storages: Vec<Storage> = block.sides_mut().filter_map(Side::take_storage).collect();
        self.whole.returning.store(true, Ordering::Relaxed);
        drop(block);
        let untold = storages.into_iter().filter_map(Storage::hand_back).last();
        *self.whole.untold.lock() = untold;
        self.await_return(timeout, deadline)
    }

    /// Waits until the driver has let borrowed memory go.
    fn await_return(&self, timeout: Timeout, deadline: Option<Instant>) -> Result<()> {
        if !Borrow::is_back(&self.whole.owner) {
            self.whole.device.backend().await_frees(deadline);
        }
        // Whatever the wait says: somebody else's memory may be what takes so long, and it may not have been a wait at all.
        if !Borrow::is_back(&self.whole.owner) {
            let status = if timeout == Timeout::Try { Status::Busy } else { Status::Timeout };
            let text = format!(
                "{}: the driver still has the memory page-locked, other work on the device keeps it; detach again",
                self.name
            );
            return Err(Error::new(status, text));
        }
        self.whole.returning.store(false, Ordering::Relaxed);
        drop(self.whole.untold.lock().take());
        Ok(())
    }
}
