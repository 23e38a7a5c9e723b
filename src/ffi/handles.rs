//! The handle table: objects are known to callers by a number that is checked, never by an address that is trusted.
//!
//! A handle is a pointer-sized number: bits 63..56 are `0x80 | kind`, 55..24 the generation of a slot, 23..0 its index. No
//! pointer of a program has such upper bits, and the number is never 0. Slots come in chunks that are never freed, so looking
//! any number up is safe at any time.
//!
//! # A slot's word
//! One atomic word per slot: generation (32 bits), state (2), broken (1), pins (29).
//!
//! | state | object | may become | by |
//! |---|---|---|---|
//! | free | none | live | [`Table::insert`], which took the slot from the free list and put the object in first |
//! | live | there | dying | [`Pin::remove`], once: the second one finds it dying |
//! | dying | there | free, generation + 1 | whoever brings the pins to 0: takes the object out, drops it under no lock, then gives the slot to the free list |
//! | retired | none | | the generation is used up: the slot is never used again |
//!
//! [`Table::pin`] adds a pin *first* and looks at the generation and state it added it to: if they are not what the handle
//! says, it takes the pin back. A pin on a live slot keeps the object until it is taken back. So pins also appear for a
//! moment on slots that are not meant; they never touch the object, and the last of them on a dying slot ends it like any
//! other. Ending is one compare-and-swap of the whole word from (generation, dying, no pins): of all who brought the pins to
//! 0 exactly one wins. A broken object is forgotten instead of dropped: nobody knows what state it is in.

use crate::config::{HANDLE_CHUNKS as CHUNKS, HANDLES_PER_CHUNK as CHUNK};
use crate::error::{Error, Result, Status};
use crate::sync::{AtomicPtr, AtomicU64, Guarded, Mutex, Ordering};
use std::ops::Deref;

const INDEX_BITS: u32 = 24;

const STATE: u64 = 3 << 30;
const FREE: u64 = 0;
const LIVE: u64 = 1 << 30;
const DYING: u64 = 2 << 30;
const RETIRED: u64 = 3 << 30;
const BROKEN: u64 = 1 << 29;
const PINS: u64 = BROKEN - 1;

/// The parts of a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// What kind of object the caller was given: 1 to 127.
    pub kind: u8,
    /// Which use of the slot.
    pub generation: u32,
    /// Which slot.
    pub index: u32,
}

impl Number {
    /// As one number.
    pub fn to_bits(self) -> u64 {
        (0x80 | self.kind as u64) << 56 | (self.generation as u64) << INDEX_BITS | self.index as u64
    }

    /// The parts of a number, if it looks like a handle.
    pub fn from_bits(bits: u64) -> Option<Number> {
        if bits >> 63 == 0 {
            return None;
        }
        let index = bits as u32 & ((1 << INDEX_BITS) - 1);
        Some(Number { kind: (bits >> 56) as u8 & 0x7f, generation: (bits >> INDEX_BITS) as u32, index })
    }
}

struct Slot<T> {
    word: AtomicU64,
    object: Guarded<Option<T>>,
}

/// Objects by number.
pub struct Table<T> {
    chunks: [AtomicPtr<Slot<T>>; CHUNKS],
    free: Mutex<Vec<u32>>,
    most_chunks: usize,
}

// SAFETY: an object is put in and taken out by one thread at a time, and shared in between, as the word says.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

/// Keeps an object in its slot.
pub struct Pin<'t, T> {
    table: &'t Table<T>,
    index: u32,
    broken: bool,
}

impl<T> Table<T> {
    /// An empty table of up to 16 million slots.
    pub const fn new() -> Table<T> {
        Table::with_chunks(CHUNKS)
    }

    const fn with_chunks(most_chunks: usize) -> Table<T> {
        Table {
            chunks: [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS],
            free: Mutex::new(Vec::new()),
            most_chunks,
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.load(Ordering::Acquire);
        if chunk.is_null() {
            return None;
        }
        // SAFETY: a chunk has CHUNK slots, is never freed, and was whole before its address was stored.
        Some(unsafe { &*chunk.add(index as usize % CHUNK) })
    }

    /// Puts an object in; returns its slot and generation. Allocates only when every slot made so far is in use.
    pub fn insert(&self, object: T) -> Result<(u32, u32)> {
        let index = {
            let mut free = self.free.lock();
            if free.is_empty() {
                self.grow(&mut free)?;
            }
            free.pop().ok_or_else(full)?
        };
        let slot = self.slot(index).ok_or_else(full)?;
        // SAFETY: the slot is free and came from the free list: nobody else looks at the object.
        unsafe { *slot.object.write() = Some(object) };
        // Added, not stored: a pin of somebody with an old handle may be on it for a moment.
        let before = slot.word.fetch_add(LIVE, Ordering::Release);
        Ok((index, (before >> 32) as u32))
    }

    fn grow(&self, free: &mut Vec<u32>) -> Result<()> {
        let made = self.chunks.iter().take_while(|chunk| !chunk.load(Ordering::Relaxed).is_null()).count();
        if made >= self.most_chunks {
            return Err(full());
        }
        let no_memory =
            |_| Error::new(Status::OutOfHostMemory, "no memory for more handles: destroy what is not needed");
        let mut slots: Vec<Slot<T>> = Vec::new();
        slots.try_reserve_exact(CHUNK).map_err(no_memory)?;
        // Room for all slots at once, so that giving one back never allocates.
        free.try_reserve((made + 1) * CHUNK).map_err(no_memory)?;
        slots.extend((0..CHUNK).map(|_| Slot { word: AtomicU64::new(1 << 32 | FREE), object: Guarded::new(None) }));
        let chunk = Box::leak(slots.into_boxed_slice()).as_mut_ptr();
        self.chunks[made].store(chunk, Ordering::Release);
        let first = made * CHUNK;
        free.extend((first..first + CHUNK).rev().map(|index| index as u32));
        Ok(())
    }

    /// Keeps the object of this slot and generation, if it is live.
    pub fn pin(&self, index: u32, generation: u32) -> Option<Pin<'_, T>> {
        let slot = self.slot(index)?;
        let word = slot.word.fetch_add(1, Ordering::Acquire);
        let pin = Pin { table: self, index, broken: word & BROKEN != 0 };
        (word & STATE == LIVE && (word >> 32) as u32 == generation).then_some(pin)
    }

    /// Looks at every object that is there, one after the other, and keeps each only meanwhile. What comes or goes in between may
    /// be seen or not.
    pub fn each(&self, mut look: impl FnMut(&T)) {
        for index in 0.. {
            let Some(slot) = self.slot(index) else { return };
            let word = slot.word.load(Ordering::Acquire);
            if word & STATE == LIVE
                && let Some(pin) = self.pin(index, (word >> 32) as u32)
            {
                look(&pin);
            }
        }
    }

    /// Whether a handle of this slot and generation was given out and has ended since.
    pub fn has_ended(&self, index: u32, generation: u32) -> bool {
        self.slot(index).is_some_and(|slot| {
            let word = slot.word.load(Ordering::Acquire);
            let now = (word >> 32) as u32;
            generation > 0 && (now > generation || now == generation && word & STATE == DYING)
        })
    }

    /// Ends a handle. Its object goes with the last pin, which may be the one returned.
    pub fn remove(&self, index: u32, generation: u32) -> Option<Pin<'_, T>> {
        self.pin(index, generation).filter(Pin::remove)
    }

    fn unpin(&self, index: u32) {
        let Some(slot) = self.slot(index) else { return };
        let left = slot.word.fetch_sub(1, Ordering::AcqRel) - 1;
        if left & PINS == 0 && left & STATE == DYING {
            self.end(slot, index, left);
        }
    }

    #[cold]
    fn end(&self, slot: &Slot<T>, index: u32, word: u64) {
        let next = match ((word >> 32) as u32).checked_add(1) {
            Some(generation) => (generation as u64) << 32 | FREE,
            None => (u32::MAX as u64) << 32 | RETIRED,
        };
        // Lost where somebody pinned in between, who then ends it, or has.
        if slot.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        // SAFETY: the slot is free and not on the free list yet: it is this thread's.
        let object = unsafe { (*slot.object.write()).take() };
        if word & BROKEN != 0 {
            std::mem::forget(object);
        } else {
            drop(object);
        }
        if next & STATE == FREE {
            self.free.lock().push(index);
        }
    }
}

#[cold]
fn full() -> Error {
    Error::new(Status::Exhausted, "16 million objects are alive: destroy what is not needed")
}

impl<T> Pin<'_, T> {
    /// Ends the handle: no new pins. False if it had ended.
    pub fn remove(&self) -> bool {
        let dying = |word: u64| (word & STATE == LIVE).then_some(word - LIVE + DYING);
        let slot = self.table.slot(self.index);
        slot.is_some_and(|slot| slot.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, dying).is_ok())
    }

    /// Whether it is on this slot.
    pub fn is_on(&self, index: u32) -> bool {
        self.index == index
    }

    /// Whether the object was marked broken before this pin.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Marks the object broken: it is forgotten when its handle ends.
    pub fn mark_broken(&self) {
        if let Some(slot) = self.table.slot(self.index) {
            slot.word.fetch_or(BROKEN, Ordering::Relaxed);
        }
    }
}

impl<T> Deref for Pin<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        let slot = self.table.slot(self.index).expect("a pinned slot is there");
        // SAFETY: pinned when live, so the object is in and stays; nobody has it mutably meanwhile.
        unsafe { (*slot.object.read()).as_ref() }.expect("a pinned slot has its object")
    }
}

impl<T> Drop for Pin<'_, T> {
    fn drop(&mut self) {
        self.table.unpin(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicBool, AtomicUsize};
    use std::thread;

    fn table<T>() -> &'static Table<T> {
        Box::leak(Box::new(Table::with_chunks(1)))
    }

    #[test]
    fn numbers_round_trip_and_are_no_pointers() {
        for number in [
            Number { kind: 1, generation: 1, index: 0 },
            Number { kind: 126, generation: u32::MAX, index: (1 << 24) - 1 },
            Number { kind: 8, generation: 0, index: 77 },
        ] {
            let bits = number.to_bits();
            assert_eq!(Number::from_bits(bits), Some(number));
            let canonical = ((bits << 16) as i64 >> 16) as u64 == bits;
            assert!(bits >> 63 == 1 && !canonical, "{bits:#x} could be an address");
        }
        assert_eq!(Number::from_bits(0x7fff_1234_5678), None);
        assert_eq!(Number::from_bits(0), None);
    }

    #[test]
    fn a_handle_ends_once_and_never_comes_back() {
        let table = table::<u32>();
        let (index, generation) = table.insert(7).unwrap();
        assert_eq!(*table.pin(index, generation).unwrap(), 7);
        assert!(table.pin(index, generation + 1).is_none());
        assert!(table.pin(CHUNK as u32, 1).is_none(), "no such chunk");
        let held = table.pin(index, generation).unwrap();
        let late = table.pin(index, generation).unwrap();
        drop(table.remove(index, generation).unwrap());
        assert!(!late.remove(), "ended by another");
        drop(late);
        assert!(table.remove(index, generation).is_none());
        assert!(table.pin(index, generation).is_none());
        assert_eq!(*held, 7, "kept by its pin");
        drop(held);
        let (again, next) = table.insert(8).unwrap();
        assert_eq!((again, next), (index, generation + 1), "the slot is used again under a new generation");
        assert!(table.pin(index, generation).is_none());
        assert!(table.has_ended(index, generation) && !table.has_ended(index, next));
        assert!(!table.has_ended(index, next + 1) && !table.has_ended(index + 1, 1), "never given out");
    }

    #[test]
    fn a_full_table_refuses_and_a_used_up_slot_retires() {
        let table = table::<usize>();
        let handles: Vec<_> = (0..CHUNK).map(|n| table.insert(n).unwrap()).collect();
        assert_eq!(table.insert(0).unwrap_err().status(), Status::Exhausted);
        let (index, _) = handles[5];
        let word = &table.slot(index).unwrap().word;
        word.store((u32::MAX as u64) << 32 | LIVE, Ordering::SeqCst);
        drop(table.remove(index, u32::MAX).unwrap());
        assert!(table.pin(index, u32::MAX).is_none());
        assert!(table.pin(index, 0).is_none());
        assert_eq!(table.insert(0).unwrap_err().status(), Status::Exhausted, "retired, not free");
        drop(table.remove(handles[6].0, handles[6].1).unwrap());
        assert!(table.insert(0).is_ok());
    }

    #[test]
    fn a_broken_object_is_forgotten() {
        let table = table::<Arc<()>>();
        let object = Arc::new(());
        let (index, generation) = table.insert(object.clone()).unwrap();
        table.pin(index, generation).unwrap().mark_broken();
        assert!(table.pin(index, generation).unwrap().is_broken());
        drop(table.remove(index, generation).unwrap());
        assert_eq!(Arc::strong_count(&object), 2, "leaked, not dropped");
        let (index, generation) = table.insert(object.clone()).unwrap();
        assert!(!table.pin(index, generation).unwrap().is_broken(), "the mark goes with the object");
    }

    /// Tells its death, and whether it was seen after it.
    struct Mortal {
        dead: AtomicBool,
        deaths: Arc<AtomicUsize>,
    }

    impl Drop for Mortal {
        fn drop(&mut self) {
            assert!(!self.dead.swap(true, Ordering::SeqCst), "dropped twice");
            self.deaths.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn threads_that_pin_remove_and_insert_at_once() {
        const SHARED: usize = 8;
        const THREADS: u64 = 6;
        let rounds: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
        let table = table::<Mortal>();
        let deaths = Arc::new(AtomicUsize::new(0));
        let births = Arc::new(AtomicUsize::new(0));
        let new = || Mortal { dead: AtomicBool::new(false), deaths: deaths.clone() };
        // Places hold (generation, index) in one word.
        let shared: Arc<[AtomicU64; SHARED]> = Arc::new([const { AtomicU64::new(0) }; SHARED]);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (shared, births, new) = (shared.clone(), births.clone(), &new);
                scope.spawn(move || {
                    let mut random = thread * 7919 + 1;
                    for _ in 0..rounds {
                        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        let place = &shared[(random >> 40) as usize % SHARED];
                        let seen = place.load(Ordering::SeqCst);
                        let (index, generation) = (seen as u32, (seen >> 32) as u32);
                        match (random >> 33) % 4 {
                            0 => {
                                let (index, generation) = table.insert(new()).unwrap();
                                births.fetch_add(1, Ordering::SeqCst);
                                let old = place.swap((generation as u64) << 32 | index as u64, Ordering::SeqCst);
                                if old != 0 {
                                    // Somebody may have removed it already; never both.
                                    drop(table.remove(old as u32, (old >> 32) as u32));
                                }
                            }
                            1 if seen != 0 => {
                                if let Some(pin) = table.remove(index, generation) {
                                    assert!(!pin.dead.load(Ordering::SeqCst));
                                    assert!(table.remove(index, generation).is_none());
                                }
                            }
                            _ if seen != 0 => {
                                if let Some(pin) = table.pin(index, generation) {
                                    std::hint::spin_loop();
                                    assert!(!pin.dead.load(Ordering::SeqCst));
                                }
                                // An old generation of a slot in use.
                                assert!(table.pin(index, generation.wrapping_sub(1)).is_none());
                            }
                            _ => {}
                        }
                    }
                });
            }
        });
        for place in shared.iter() {
            let seen = place.load(Ordering::SeqCst);
            drop(table.remove(seen as u32, (seen >> 32) as u32));
        }
        assert_eq!(deaths.load(Ordering::SeqCst), births.load(Ordering::SeqCst), "each object died once");
        assert_eq!(table.free.lock().len(), CHUNK, "every slot is back");
        for index in 0..CHUNK as u32 {
            assert_eq!(table.slot(index).unwrap().word.load(Ordering::SeqCst) & (STATE | BROKEN | PINS), FREE);
        }
    }
}
