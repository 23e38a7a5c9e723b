//! What the tests of the manager share.

use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::fence::{Access, Device};
use gpubuf::lease::Lease;
use gpubuf::pinned::{Pinned, PinnedFigures, PinnedOptions, Request, Told};
use gpubuf::sync::{Arc, Mutex};

pub fn manager(device: &Arc<Device>, budget: u64) -> Arc<Pinned> {
    Pinned::create(device, PinnedOptions::new(Placement::Pinned, budget)).expect("a manager")
}

pub fn give(pinned: &Arc<Pinned>, bytes: u64) -> Lease {
    pinned.allocate(&Request::new(bytes)).expect("a block")
}

/// The figures, whose sum is the budget.
pub fn checked(pinned: &Pinned) -> PinnedFigures {
    let f = pinned.figures();
    let sum = f.requested_bytes + f.cached_bytes + f.quarantined_bytes + f.reserved_bytes + f.available_bytes;
    assert_eq!(sum, f.budget_bytes, "{f:?}");
    assert!(f.idle_bytes <= f.locked_bytes && f.locked_bytes <= f.peak_locked_bytes, "{f:?}");
    assert!(f.pending_bytes <= f.requested_bytes && f.requested_bytes <= f.peak_requested_bytes, "{f:?}");
    f
}

/// Fills a block with one value.
pub fn write(block: &Lease, value: u8) {
    let (data, token) = block.begin(Access::Write, 0, ALL, Timeout::Infinite).expect("a write");
    // SAFETY: the guard covers the block.
    unsafe { data.write_bytes(value, block.bytes() as usize) };
    block.end(Access::Write, token).expect("the end");
}

/// What a manager tells of.
pub type Heard = Arc<Mutex<Vec<(Told, u64, String)>>>;

/// Options of a manager that is listened to.
pub fn listening(budget: u64) -> (Heard, PinnedOptions) {
    let heard = Heard::default();
    let options = PinnedOptions {
        notify: Some(Box::new({
            let heard = heard.clone();
            move |told, bytes, owner| heard.lock().push((told, bytes, owner.to_string()))
        })),
        ..PinnedOptions::new(Placement::Pinned, budget)
    };
    (heard, options)
}
