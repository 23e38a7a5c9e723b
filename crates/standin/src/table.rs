//! Handles: numbers that stand for objects, so that one that is stale, foreign or made up is found out.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::code;

/// Bits of a handle for the place in the table; the generation is above it and the kind of object on top.
const INDEX_BITS: u32 = 20;
const GENERATION_BITS: u32 = 24;

/// The live objects of one kind.
pub(crate) struct Table<T> {
    /// Different for each table, so that a handle of one kind is none of another.
    kind: u64,
    places: RwLock<Places<T>>,
}

struct Places<T> {
    /// Each with the generation of its next or present object.
    places: Vec<(u64, Option<Arc<T>>)>,
    /// Oldest first, so that a stale handle's number does not come back soon.
    free: VecDeque<usize>,
}

impl<T> Table<T> {
    /// `kind` is 1 to 15.
    pub(crate) const fn new(kind: u64) -> Table<T> {
        Table { kind, places: RwLock::new(Places { places: Vec::new(), free: VecDeque::new() }) }
    }

    fn handle(&self, index: usize, generation: u64) -> u64 {
        self.kind << (INDEX_BITS + GENERATION_BITS) | generation << INDEX_BITS | index as u64
    }

    fn index(&self, handle: u64) -> Option<(usize, u64)> {
        let index = (handle & ((1 << INDEX_BITS) - 1)) as usize;
        let generation = (handle >> INDEX_BITS) & ((1 << GENERATION_BITS) - 1);
        (handle >> (INDEX_BITS + GENERATION_BITS) == self.kind).then_some((index, generation))
    }

    /// Puts in what `make` makes of its handle. `OUT_OF_MEMORY` when the table is full.
    pub(crate) fn insert(&self, make: impl FnOnce(u64) -> T) -> Result<Arc<T>, i32> {
        let mut places = self.places.write();
        let index = match places.free.pop_front() {
            Some(index) => index,
            None if places.places.len() < 1 << INDEX_BITS => {
                places.places.push((0, None));
                places.places.len() - 1
            }
            None => return Err(code::OUT_OF_MEMORY),
        };
        let object = Arc::new(make(self.handle(index, places.places[index].0)));
        places.places[index].1 = Some(object.clone());
        Ok(object)
    }

    /// The live object of a handle, else `INVALID_HANDLE`.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<T>, i32> {
        let (index, generation) = self.index(handle).ok_or(code::INVALID_HANDLE)?;
        match self.places.read().places.get(index) {
            Some((current, Some(object))) if *current == generation => Ok(object.clone()),
            _ => Err(code::INVALID_HANDLE),
        }
    }

    /// Takes an object out; its handle is stale from now on. The object lives on while somebody uses it.
    pub(crate) fn remove(&self, handle: u64) -> Result<Arc<T>, i32> {
        let (index, generation) = self.index(handle).ok_or(code::INVALID_HANDLE)?;
        let mut places = self.places.write();
        match places.places.get(index) {
            Some((current, Some(_))) if *current == generation => places.take(index).ok_or(code::INVALID_HANDLE),
            _ => Err(code::INVALID_HANDLE),
        }
    }

    /// Takes out all objects that are `wanted`.
    pub(crate) fn remove_all(&self, wanted: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut places = self.places.write();
        let matching = |(_, (_, object)): &(usize, &(u64, Option<Arc<T>>))| object.as_deref().is_some_and(&wanted);
        let found: Vec<usize> = places.places.iter().enumerate().filter(matching).map(|(index, _)| index).collect();
        found.into_iter().filter_map(|index| places.take(index)).collect()
    }

    /// The live objects that are `wanted`.
    pub(crate) fn all(&self, wanted: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let places = self.places.read();
        let objects = places.places.iter().filter_map(|(_, object)| object.as_ref());
        objects.filter(|object| wanted(object)).cloned().collect()
    }
}

impl<T> Places<T> {
    fn take(&mut self, index: usize) -> Option<Arc<T>> {
        let (generation, object) = &mut self.places[index];
        *generation = (*generation + 1) & ((1 << GENERATION_BITS) - 1);
        let object = object.take();
        self.free.push_back(index);
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_good_for_one_object_of_one_table() {
        let table = Table::new(1);
        let other = Table::<u64>::new(2);
        let handle = *table.insert(|handle| handle).unwrap();
        assert_eq!(table.get(handle).as_deref(), Ok(&handle));
        assert_eq!(other.get(handle), Err(code::INVALID_HANDLE));
        assert!(table.remove(handle).is_ok());
        for _ in 0..200 {
            let next = *table.insert(|handle| handle).unwrap();
            assert_ne!(next, handle);
            assert_eq!(table.get(handle), Err(code::INVALID_HANDLE));
            assert!(table.remove(next).is_ok());
        }
        for made_up in [0, 1, 2, u64::MAX, handle + 1, 0xdead_beef] {
            assert_eq!(table.get(made_up), Err(code::INVALID_HANDLE));
            assert_eq!(table.remove(made_up), Err(code::INVALID_HANDLE));
        }
    }
}
