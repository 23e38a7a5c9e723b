//! The memory of one tier: never more than its budget, and given out again when its last use is over.

use crate::config::Placement;
use crate::error::{Error, Result, Status};
use crate::fence::{Arena, Device, Storage};
use crate::sync::{Arc, Mutex};
use std::collections::VecDeque;

/// The memory of one tier. Bytes count from their allocation until the driver has them back.
pub struct Room {
    device: Arc<Device>,
    placement: Placement,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    budget: u64,
    /// All there is: in use, on its way out of use, kept, or lost.
    bytes: u64,
    kept_bytes: u64,
    /// Pieces that are given out.
    out: Vec<Option<Storage>>,
    /// Free places in that list.
    places: Vec<usize>,
    /// Pieces that nobody uses, the latest last.
    kept: VecDeque<Storage>,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomLevels {
    /// At most so many bytes.
    pub budget: u64,
    /// Bytes there are.
    pub bytes: u64,
    /// Those of them that nobody uses.
    pub kept: u64,
}

impl Inner {
    /// Takes out pieces that nobody uses, those for longest first, until so many bytes are free.
    fn let_go(&mut self, room_for: u64) -> Vec<Storage> {
        let mut gone = Vec::new();
        while self.bytes + room_for > self.budget
            && let Some(piece) = self.kept.pop_front()
        {
            self.bytes -= piece.bytes() as u64;
            self.kept_bytes -= piece.bytes() as u64;
            gone.push(piece);
        }
        gone
    }
}

impl Room {
    /// No memory yet.
    pub fn new(device: &Arc<Device>, placement: Placement, budget: u64) -> Arc<Room> {
        let inner = Mutex::new(Inner { budget, ..Inner::default() });
        Arc::new(Room { device: device.clone(), placement, inner })
    }

    /// Whether kernels use its memory where it is.
    pub fn is_for_kernels(&self) -> bool {
        self.placement == Placement::Device || self.placement.is_in_place()
    }

    /// What there is.
    pub fn levels(&self) -> RoomLevels {
        let inner = self.inner.lock();
        RoomLevels { budget: inner.budget, bytes: inner.bytes, kept: inner.kept_bytes }
    }

    /// Bytes that can be had now.
    pub fn free(&self) -> u64 {
        let inner = self.inner.lock();
        inner.budget.saturating_sub(inner.bytes - inner.kept_bytes)
    }

    /// Memory of the bytes of a last use, or zeroes. `None`: the budget has none.
    pub fn allocate(self: &Arc<Room>, bytes: u64) -> Result<Option<Storage>> {
        let none = || Error::new(Status::OutOfHostMemory, "no host memory for the list of a tier's memory");
        let (piece, gone) = {
            let mut inner = self.inner.lock();
            let used = inner.bytes - inner.kept_bytes;
            if used + bytes > inner.budget {
                return Ok(None);
            }
            // What gives a piece back must not allocate.
            let pieces = inner.out.len() + 1;
            let Inner { out, places, kept, .. } = &mut *inner;
            let more = pieces.saturating_sub(places.len()).max(1);
            let reserved = (out.try_reserve(1), places.try_reserve(more), kept.try_reserve(pieces));
            if reserved.0.is_err() || reserved.1.is_err() || reserved.2.is_err() {
                return Err(none());
            }
            match inner.kept.iter().rposition(|piece| piece.bytes() as u64 == bytes) {
                Some(place) => {
                    inner.kept_bytes -= bytes;
                    (inner.kept.remove(place), Vec::new())
                }
                None => {
                    let gone = inner.let_go(bytes);
                    inner.bytes += bytes;
                    (None, gone)
                }
            }
        };
        drop(gone);
        let piece = match piece {
            Some(piece) => piece,
            None => Storage::allocate_only(&self.device, self.placement, bytes as usize)
                .inspect_err(|_| self.inner.lock().bytes -= bytes)?,
        };
        let memory = piece.memory();
        let mut inner = self.inner.lock();
        let place = inner.places.pop().unwrap_or_else(|| {
            inner.out.push(None);
            inner.out.len() - 1
        });
        inner.out[place] = Some(piece);
        drop(inner);
        Ok(Some(Storage::part(&self.device, memory, self.clone(), place as u64)))
    }

    /// Takes so many bytes of the budget for memory that is made elsewhere. False: the budget does not have them.
    pub fn charge(&self, bytes: u64) -> bool {
        let gone = {
            let mut inner = self.inner.lock();
            if inner.bytes - inner.kept_bytes + bytes > inner.budget {
                return false;
            }
            let gone = inner.let_go(bytes);
            inner.bytes += bytes;
            gone
        };
        drop(gone);
        true
    }

    /// Gives them back.
    pub fn uncharge(&self, bytes: u64) {
        self.inner.lock().bytes -= bytes;
    }

    /// Gives what nobody uses back to the driver. Returns its bytes.
    pub fn trim(&self) -> u64 {
        let gone = {
            let mut inner = self.inner.lock();
            let bytes = std::mem::take(&mut inner.kept_bytes);
            inner.bytes -= bytes;
            // The list keeps its room.
            inner.kept.drain(..).collect::<Vec<Storage>>()
        };
        gone.iter().map(|piece| piece.bytes() as u64).sum()
    }

    /// At most so many bytes from now on. What is over it goes when nobody uses it.
    pub fn set_budget(&self, budget: u64) {
        let gone = {
            let mut inner = self.inner.lock();
            inner.budget = budget;
            inner.let_go(0)
        };
        drop(gone);
    }
}

impl Arena for Room {
    fn part_back(&self, part: u64) {
        let gone = {
            let mut inner = self.inner.lock();
            let Some(piece) = inner.out.get_mut(part as usize).and_then(Option::take) else { return };
            inner.places.push(part as usize);
            inner.kept_bytes += piece.bytes() as u64;
            inner.kept.push_back(piece);
            inner.let_go(0)
        };
        drop(gone);
    }

    fn part_lost(&self, part: u64) {
        let mut inner = self.inner.lock();
        // It counts for good.
        if let Some(piece) = inner.out.get_mut(part as usize).and_then(Option::take) {
            inner.places.push(part as usize);
            piece.forget();
        }
    }
}
