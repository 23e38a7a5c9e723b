//! Who would be in memory of so many bytes if the least recently used made room.

use super::order::Order;

/// A directory: it holds numbers, no memory.
pub struct Lru {
    order: Order,
    sizes: Vec<u64>,
    bytes: u64,
    capacity: u64,
}

impl Lru {
    /// An empty one.
    pub fn new(capacity: u64) -> Lru {
        Lru { order: Order::new(), sizes: Vec::new(), bytes: 0, capacity }
    }

    /// Makes room for numbers below `count`. False where there is no memory.
    pub fn grow(&mut self, count: usize) -> bool {
        let more = count.saturating_sub(self.sizes.len());
        if self.sizes.try_reserve(more).is_err() || !self.order.grow(count) {
            return false;
        }
        self.sizes.resize(self.sizes.len() + more, 0);
        true
    }

    /// Whether it is in.
    pub fn contains(&self, id: u32) -> bool {
        self.order.contains(id)
    }

    /// Uses a block. Returns whether it was in.
    pub fn access(&mut self, id: u32, bytes: u64) -> bool {
        let hit = self.contains(id);
        if hit {
            self.order.push(id);
        } else if bytes <= self.capacity {
            self.evict(bytes);
            self.order.push(id);
            self.sizes[id as usize] = bytes;
            self.bytes += bytes;
        }
        hit
    }

    fn evict(&mut self, room_for: u64) {
        while self.bytes + room_for > self.capacity
            && let Some(victim) = self.order.first()
        {
            self.forget(victim);
        }
    }

    /// The block is no more.
    pub fn forget(&mut self, id: u32) {
        if self.contains(id) {
            self.order.remove(id);
            self.bytes -= self.sizes[id as usize];
        }
    }

    /// There are so many bytes from now on.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.evict(0);
    }
}
