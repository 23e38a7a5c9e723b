//! The end of a set, whoever is inside at that moment.

use super::{Frozen, Slots};
use crate::config::checks::{Check, on};

impl Slots {
    /// Makes steps, tickets and read-backs void (`shut down`); their memory is freed when its last use is proven: by a drain,
    /// where a committed step was not retired. Never waits.
    pub fn destroy(&self) {
        let book = self.frozen.get().map(|frozen| frozen.book.lock());
        self.ended.end();
        drop(book);
        // A freeze may have come between: it looks as well.
        if let Some(frozen) = self.frozen.get() {
            self.bury(frozen);
        }
    }

    /// Gives up the memory that nobody works on at this moment, nor a graph holds; whoever does calls this afterwards.
    fn bury(&self, frozen: &Frozen) {
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
            // Who ends a read, or only looks at a copy, does so under the book's lock, and is not met here.
            let body = {
                let _book = frozen.book.lock();
                read_back.body.try_lock()
            };
            if let Some(mut body) = body {
                let is_read = body.is_read;
                if let Some(side) = body.side.as_mut().filter(|_| is_read) {
                    // As above.
                    side.note_unknown_users();
                }
                body.side = None;
            }
        }
        for (copy, of_block) in frozen.copies.iter().enumerate() {
            let mut book = frozen.book.lock();
            if let Some(mut device) = of_block.device.try_lock()
                && (device.block.holds() == 0 || !on(Check::HoldDestroy))
            {
                let unretired = book.copies[copy].unretired.take();
                drop(book);
                device.give_up(unretired.is_some());
            }
        }
    }

    /// To be called after letting go of an entry or of a copy of the device block.
    pub(super) fn bury_if_ended(&self, frozen: &Frozen) {
        if self.ended.has_ended_by_now() {
            self.bury(frozen);
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.destroy();
    }
}
