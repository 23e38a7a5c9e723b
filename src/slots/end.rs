//! The end of a set, whoever is inside at that moment.

use super::{Frozen, Slots};
use crate::config::checks::{Check, on};
use crate::sync::{Ordering, fence};

impl Slots {
    /// Makes steps, tickets and read-backs void (`shut down`); their memory is freed when its last use is proven. The
    /// consumers declared with a committed step are fenced first. Never waits.
    pub fn destroy(&self) {
        let Some(frozen) = self.frozen.get() else {
            self.void.store(true, Ordering::SeqCst);
            return;
        };
        {
            let _book = frozen.book.lock();
            self.void.store(true, Ordering::SeqCst);
        }
        self.bury(frozen);
    }

    /// Gives up the memory that nobody works on at this moment, nor a graph holds; whoever does calls this afterwards.
    fn bury(&self, frozen: &Frozen) {
        // Either the destroyer sees that a lock is free, or whoever lets it go sees that the set is void.
        fence(Ordering::SeqCst);
        for entry in &frozen.entries {
            if let Some(mut body) = entry.body.try_lock() {
                let in_use = !body.spans.is_empty();
                if let Some(side) = body.side.as_mut().filter(|_| in_use) {
                    // Its holder may not know yet that the span is void.
                    side.note_unknown_users();
                }
                body.side = None;
                body.unbind();
            }
        }
        for read_back in &frozen.read_backs {
            if let Some(mut body) = read_back.body.try_lock() {
                let is_read = body.is_read;
                if let Some(side) = body.side.as_mut().filter(|_| is_read) {
                    // As above.
                    side.note_unknown_users();
                }
                body.side = None;
            }
        }
        for (copy, of_block) in frozen.copies.iter().enumerate() {
            if let Some(mut device) = of_block.device.try_lock()
                && (device.block.holds() == 0 || !on(Check::HoldDestroy))
            {
                let unretired = frozen.book.lock().copies[copy].unretired.take();
                device.give_up(unretired);
            }
        }
    }

    /// To be called after letting go of an entry or of a copy of the device block.
    pub(super) fn bury_if_void(&self, frozen: &Frozen) {
        fence(Ordering::SeqCst);
        if self.void.load(Ordering::SeqCst) {
            self.bury(frozen);
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.destroy();
    }
}
