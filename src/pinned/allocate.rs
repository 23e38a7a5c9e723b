//! From a request to a block: its turn, a place in a slab, a new slab, or pageable memory.

use super::Pinned;
use super::budget::{Shortage, Told};
use super::ledger::Ledger;
use super::request::{Need, Over, Owner, Request};
use super::slabs::Fresh;
use super::state::{Placed, Start};
use crate::config::Placement;
use crate::error::{Error, Result, Status};
use crate::fence::{Block, HostWait, Name, Side, Storage, Which};
use crate::lease::{Cell, Lease, Twin};
use crate::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Instant;

/// Whether the driver had no memory that it could lock, which others may give back.
fn is_shortage(error: &Error) -> bool {
    matches!(error.status(), Status::OutOfHostMemory | Status::OutOfDeviceMemory | Status::DriverError)
}

/// Whether that is a question of time.
fn is_out_of_memory(error: &Error) -> bool {
    matches!(error.status(), Status::OutOfHostMemory | Status::OutOfDeviceMemory)
}

/// A thread that is inside a callback of a manager's, until this is dropped.
pub(super) struct Inside<'a>(&'a Mutex<Vec<ThreadId>>);

impl<'a> Inside<'a> {
    /// `None` where it is inside already.
    pub(super) fn enter(inside: &'a Mutex<Vec<ThreadId>>) -> Option<Inside<'a>> {
        let thread = std::thread::current().id();
        let mut threads = inside.lock();
        if threads.contains(&thread) || threads.try_reserve(1).is_err() {
            return None;
        }
        threads.push(thread);
        Some(Inside(inside))
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let thread = std::thread::current().id();
        self.0.lock().retain(|other| *other != thread);
    }
}

impl Pinned {
    /// A block of memory that holds the bytes of its last use, or zeroes.
    pub fn allocate(self: &Arc<Pinned>, request: &Request) -> Result<Lease> {
        let need = self.need(request)?;
        // How often the hook was asked, and the wait, once there is one.
        let (mut asked, mut wait) = (0, None);
        let placed = match self.take_turn(&need, request, false, &mut asked, &mut wait)? {
            None => self.pageable(&need, request.owner)?,
            Some(Start::Placed(placed)) => placed,
            Some(Start::Granted) => self.build_or_wait(&need, request, &mut asked, &mut wait)?,
        };
        // In vain where the device was lost meanwhile.
        let storage = self.storage(placed);
        self.device.expect_usable()?;
        let twin = self.twin(request, &need)?;
        Ok(self.lease(placed, storage, twin, request.twin))
    }

    /// A place for a block whose bytes are reserved, as the request's policy has it; else the bytes are given back.
    fn build_or_wait<'a>(
        &'a self,
        need: &Need,
        request: &Request,
        asked: &mut u32,
        wait: &mut Option<HostWait<'a>>,
    ) -> Result<Placed> {
        let mut shortage = None;
        let error = loop {
            // Before it is tried: what comes back meanwhile is not missed.
            let returns = self.state.lock().returns;
            let error = match self.build(need, request.owner, asked) {
                Ok(placed) => {
                    self.shortage_ends(shortage);
                    return Ok(placed);
                }
                Err(error) if request.over == Over::Wait && is_out_of_memory(&error) => error,
                Err(error) => break error,
            };
            let wait = wait.get_or_insert_with(|| HostWait::new(request.timeout, &self.counters.waits));
            if let Err(error) = self.wait_for_memory(need, request.owner, returns, &mut shortage, wait, error) {
                break error;
            }
        };
        self.shortage_ends(shortage);
        self.state.lock().unreserve(need.bytes);
        self.instead(need, request.owner, request.over, error)
    }

    /// A request, checked.
    pub(super) fn need(&self, request: &Request) -> Result<Need> {
        request.twin.expect_fits(self.placement)?;
        // Watched, each block has pages of its own.
        let large = if self.device.debug().is_on() { 0 } else { self.large_bytes };
        let need = Need::new(request, self.slab_bytes, large)?;
        self.device.expect_usable()?;
        // Of slabs that were there before the probe, too.
        self.device.expect_in_place(self.placement)?;
        Ok(need)
    }

    /// The budget for a request: at once, or when it is its turn. `None`: it is not to be had, and pageable memory will do.
    pub(super) fn take_turn<'a>(
        &'a self,
        need: &Need,
        request: &Request,
        reserves: bool,
        asked: &mut u32,
        wait: &mut Option<HostWait<'a>>,
    ) -> Result<Option<Start>> {
        let mut looked = false;
        loop {
            {
                let mut state = self.state.lock();
                self.expect_open(&state)?;
                if state.admits(need.bytes, request.priority) {
                    state.queue.pass(request.priority);
                    return state.start(need, request.owner, reserves).map(Some);
                }
                looked |= state.ledger.pending == 0;
            }
            // A last use may be over without anybody having noticed.
            if !looked {
                self.device.maintain();
                looked = true;
                continue;
            }
            if self.asks(Shortage::Budget, need, asked) {
                looked = false;
                continue;
            }
            return match request.over {
                Over::Pageable => Ok(None),
                Over::Wait => {
                    let wait = wait.get_or_insert_with(|| HostWait::new(request.timeout, &self.counters.waits));
                    self.wait_for_turn(need, request, reserves, wait).map(Some)
                }
                Over::Fail => {
                    let error = self.over_budget(&self.state.lock(), need);
                    Err(self.refused(need, request.owner, error))
                }
            };
        }
    }

    /// Whether the hook, if there is one, wants it to be tried again. Not asked for what it needs itself.
    fn asks(&self, shortage: Shortage, need: &Need, asked: &mut u32) -> bool {
        let Some(hook) = self.hook.as_ref().filter(|_| *asked < self.retries) else { return false };
        let Some(inside) = Inside::enter(&self.asking) else { return false };
        *asked += 1;
        let again = hook(shortage, need.bytes, *asked);
        drop(inside);
        if again {
            self.counters.retries.add(1);
        }
        again
    }

    /// A place for a block whose bytes are reserved: in a slab that has room by now, or in a new one. After a failure the
    /// bytes are reserved still.
    pub(super) fn build(&self, need: &Need, owner: Owner, asked: &mut u32) -> Result<Placed> {
        loop {
            // Room that came back is better than a new slab.
            if self.state.lock().ledger.pending > 0 {
                self.device.maintain();
            }
            let (bytes, evicted) = {
                let mut state = self.state.lock();
                if let Some(placed) = state.place(need, owner, true)? {
                    return Ok(placed);
                }
                let bytes = self.new_slab_bytes(&state.ledger, need);
                // What is idle goes before more is page-locked than the budget is.
                let most = state.ledger.budget.next_multiple_of(self.page);
                let evicted = state.evict(|slabs| slabs.locked + bytes <= most);
                state.slabs.locked += bytes;
                state.note_peaks();
                (bytes, evicted)
            };
            self.free_slabs(evicted);
            let (error, locked) = match self.make_slab(bytes) {
                Ok(fresh) => {
                    let added = {
                        let mut state = self.state.lock();
                        let added = state.add_slab(fresh, need, owner);
                        if added.is_err() {
                            state.slabs.locked -= bytes;
                        }
                        added
                    };
                    // What could not be added is freed here, under no lock.
                    return added.map_err(|(_, error)| error);
                }
                Err(error) => {
                    let mut state = self.state.lock();
                    state.slabs.locked -= bytes;
                    (error, state.slabs.locked)
                }
            };
            if !is_shortage(&error) {
                return Err(error.context(&self.name));
            }
            let idle = self.state.lock().evict(|_| false);
            if !idle.is_empty() {
                self.free_slabs(idle);
                // Frees may run on a thread of their own. A busy device is not waited for.
                self.device.backend().await_frees(Some(Instant::now()));
                continue;
            }
            if !self.asks(Shortage::Memory, need, asked) {
                return Err(self.not_locked(error, locked));
            }
        }
    }

    /// How large a new slab is: never larger than what the budget leaves could need.
    fn new_slab_bytes(&self, ledger: &Ledger, need: &Need) -> u64 {
        let least = need.padded(self.page);
        let bytes = if need.own { least } else { self.slab_bytes.min(ledger.room() + need.bytes).max(least) };
        bytes.next_multiple_of(self.page)
    }

    fn make_slab(&self, bytes: u64) -> Result<Fresh> {
        let (storage, huge) = Storage::allocate_locked(&self.device, self.placement, bytes as usize, self.huge_pages)?;
        self.counters.slabs_made.add(1);
        Ok(Fresh { storage, pageable: false, huge })
    }

    /// What there is instead of memory that could not be page-locked.
    pub(super) fn instead(&self, need: &Need, owner: Owner, over: Over, error: Error) -> Result<Placed> {
        match over {
            Over::Pageable if is_shortage(&error) => self.pageable(need, owner),
            _ if is_shortage(&error) || matches!(error.status(), Status::Busy | Status::Timeout) => {
                Err(self.refused(need, owner, error))
            }
            _ => Err(error),
        }
    }

    /// A block of pageable memory, outside the budget.
    fn pageable(&self, need: &Need, owner: Owner) -> Result<Placed> {
        let bytes = need.padded(self.page).next_multiple_of(self.page);
        let storage = Storage::allocate_only(&self.device, Placement::Pageable, bytes as usize)
            .map_err(|error| self.refused(need, owner, error.context(&self.name)))?;
        let added = self.state.lock().add_slab(Fresh { storage, pageable: true, huge: 0 }, need, owner);
        let placed = added.map_err(|(_, error)| error)?;
        self.counters.fallbacks.add(1);
        self.tell(Told::Pageable, need, owner);
        Ok(placed)
    }

    /// A placed block's memory: it goes back to its slab when this is dropped.
    pub(super) fn storage(self: &Arc<Pinned>, placed: Placed) -> Storage {
        let part = Storage::part(&self.device, placed.memory, self.clone(), placed.part);
        match placed.alone {
            Some(bytes) => part.with_room(bytes),
            None => part,
        }
    }

    /// The twin that a block is to have from the start.
    pub(super) fn twin(&self, request: &Request, need: &Need) -> Result<Option<Storage>> {
        if request.twin != Twin::Eager {
            return Ok(None);
        }
        let storage = Storage::allocate_only(&self.device, Placement::Device, need.bytes as usize);
        storage.map(Some).map_err(|error| error.context(format_args!("the twin of a block of {}", self.name)))
    }

    pub(super) fn lease(
        self: &Arc<Pinned>,
        placed: Placed,
        storage: Storage,
        device: Option<Storage>,
        twin: Twin,
    ) -> Lease {
        let name = Arc::new(Name::part("block", placed.part as u32 as u64, &self.name));
        let host = Side::new(Which::Host, &name, storage);
        let device = device.map(|storage| Side::new(Which::Device, &name, storage));
        let block = Block::new(&name, placed.memory.bytes, Some(host), device);
        self.counters.allocations.add(1);
        Cell::new(placed.part, placed.memory.placement, twin, block).lease(self.clone())
    }
}
