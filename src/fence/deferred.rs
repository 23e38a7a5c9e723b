//! Memory of destroyed objects: kept until its last use is proven.

use super::storage::Storage;
use super::timeline::{Fence, Proof};
use crate::config::checks::{Check, on};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// What destroyed objects left behind. Everything in it is seen by everybody until it is freed: nothing is ever taken out
/// to be looked at.
#[derive(Default)]
pub(super) struct DeferredList {
    list: Mutex<List>,
    drains_begun: AtomicU64,
    /// Every drain numbered below has been begun and seen through.
    drains_done: AtomicU64,
}

#[derive(Default)]
struct List {
    items: Vec<Arc<Item>>,
    closed: bool,
}

struct Item {
    /// Taken out once, by whoever takes the item out of the list.
    storage: Mutex<Option<Storage>>,
    uses: Vec<Fence>,
    /// Somebody the library cannot see may still use it: only a drain of the whole device that begins later proves that
    /// it is over. The number of drains begun so far.
    sealed: Option<u64>,
}

impl DeferredList {
    /// Keeps storage with its uses. A closed list gives it back.
    pub fn add(&self, storage: Storage, uses: Vec<Fence>, sealed: bool) -> Result<(), Storage> {
        let mut list = self.list.lock();
        if list.closed {
            return Err(storage);
        }
        let sealed = sealed.then(|| self.drains_begun.load(Ordering::Acquire));
        list.items.push(Arc::new(Item { storage: Mutex::new(Some(storage)), uses, sealed }));
        Ok(())
    }

    /// Hands over what is out of use, and what never can be proven to be; `lost` is whether the device is. Driver calls and
    /// `each` run under no lock.
    pub fn sweep(&self, lost: bool, mut each: impl FnMut(Storage, Proof)) {
        let seen = self.list.lock().items.clone();
        let drains_done = self.drains_done.load(Ordering::Acquire);
        for item in seen {
            let proof = item.proof(drains_done, lost);
            if proof == Proof::Pending {
                continue;
            }
            {
                let mut list = self.list.lock();
                let Some(place) = list.items.iter().position(|other| Arc::ptr_eq(other, &item)) else { continue };
                list.items.swap_remove(place);
            }
            let storage = item.storage.lock().take();
            if let Some(storage) = storage {
                each(storage, proof);
            }
        }
    }

    /// A wait for the whole device begins: what is sealed by now is proven at its end.
    pub fn drain_begins(&self) -> u64 {
        self.drains_begun.fetch_add(1, Ordering::AcqRel)
    }

    /// That wait has ended well.
    pub fn drain_ended(&self, drain: u64) {
        self.drains_done.fetch_max(drain + 1, Ordering::AcqRel);
    }

    /// Takes everything out; nothing is kept from now on.
    pub fn close(&self) -> Vec<Storage> {
        let items = {
            let mut list = self.list.lock();
            list.closed = true;
            std::mem::take(&mut list.items)
        };
        items.iter().filter_map(|item| item.storage.lock().take()).collect()
    }
}

impl Item {
    fn proof(&self, drains_done: u64, lost: bool) -> Proof {
        if on(Check::FreeWaits) {
            let mut pending = false;
            for fence in &self.uses {
                match fence.query() {
                    Proof::Lost => return Proof::Lost,
                    Proof::Pending => pending = true,
                    Proof::Complete | Proof::Failed => {}
                }
            }
            if pending {
                return Proof::Pending;
            }
        }
        match self.sealed.filter(|begun| *begun >= drains_done && on(Check::FreeSealed)) {
            None => Proof::Complete,
            Some(_) if lost => Proof::Lost,
            Some(_) => Proof::Pending,
        }
    }
}
