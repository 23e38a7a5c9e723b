//! Who would be in memory of so many bytes if those made room that were used again after the longest: LIRS (Jiang and Zhang,
//! SIGMETRICS 2002).
//!
//! Most of the memory is for blocks whose last two uses were close to each other (*close*); a small part is for all others, first
//! in first out. The stack has blocks by their last use, down to the close one that was used longest ago, with blocks that are
//! out of memory by now: used again while it is in the stack, a block has been used again sooner than that one, and takes its
//! place. A cycle that does not fit keeps a part of itself in memory, where the least recently used would always be the next.

use super::order::Order;

/// The part for blocks that are not close: one in so many bytes.
const FAR_PART: u64 = 50;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not in memory.
    Out,
    /// In memory, and in the queue.
    Far,
    /// In memory, and in the stack.
    Close,
}

/// A directory: it holds numbers, no memory.
pub struct Lirs {
    /// The most recent last.
    stack: Order,
    queue: Order,
    blocks: Vec<(State, u64)>,
    bytes: u64,
    close_bytes: u64,
    capacity: u64,
}

impl Lirs {
    /// An empty one.
    pub fn new(capacity: u64) -> Lirs {
        Lirs { stack: Order::new(), queue: Order::new(), blocks: Vec::new(), bytes: 0, close_bytes: 0, capacity }
    }

    /// Makes room for numbers below `count`. False where there is no memory.
    pub fn grow(&mut self, count: usize) -> bool {
        let more = count.saturating_sub(self.blocks.len());
        if self.blocks.try_reserve(more).is_err() || !self.stack.grow(count) || !self.queue.grow(count) {
            return false;
        }
        self.blocks.resize(self.blocks.len() + more, (State::Out, 0));
        true
    }

    /// Whether it is in.
    pub fn contains(&self, id: u32) -> bool {
        self.blocks.get(id as usize).is_some_and(|block| block.0 != State::Out)
    }

    fn set(&mut self, id: u32, state: State) {
        let (before, bytes) = std::mem::replace(&mut self.blocks[id as usize].0, state).of(self.blocks[id as usize].1);
        let (after, _) = state.of(bytes);
        self.bytes = self.bytes - before.0 + after.0;
        self.close_bytes = self.close_bytes - before.1 + after.1;
        if state == State::Far {
            self.queue.push(id);
        } else {
            self.queue.remove(id);
        }
    }

    /// What close blocks may have, if the next is of so many bytes.
    fn close_capacity(&self, bytes: u64) -> u64 {
        self.capacity.saturating_sub((self.capacity / FAR_PART).max(bytes))
    }

    /// Uses a block. Returns whether it was in.
    pub fn access(&mut self, id: u32, bytes: u64) -> bool {
        let (state, known) = (self.blocks[id as usize].0, self.stack.contains(id));
        let hit = state != State::Out;
        if !hit && bytes > self.capacity {
            return false;
        }
        if !hit {
            self.evict(bytes);
            self.blocks[id as usize].1 = bytes;
        }
        self.stack.push(id);
        let room = self.close_bytes + bytes <= self.close_capacity(bytes);
        match state {
            State::Close => {}
            _ if known || (!hit && room) => self.set(id, State::Close),
            _ => self.set(id, State::Far),
        }
        while self.close_bytes > self.close_capacity(bytes) && self.lower() {}
        self.prune();
        hit
    }

    /// The close block that was used longest ago is not close any more. False if there is none.
    fn lower(&mut self) -> bool {
        self.prune();
        let Some(id) = self.stack.first() else { return false };
        self.stack.remove(id);
        self.set(id, State::Far);
        self.prune();
        true
    }

    /// The first in the stack is a close one.
    fn prune(&mut self) {
        while let Some(id) = self.stack.first().filter(|id| self.blocks[*id as usize].0 != State::Close) {
            self.stack.remove(id);
        }
    }

    fn evict(&mut self, room_for: u64) {
        while self.bytes + room_for > self.capacity {
            match self.queue.first() {
                Some(id) => self.set(id, State::Out),
                None if self.lower() => {}
                None => return,
            }
        }
    }

    /// The block is no more.
    pub fn forget(&mut self, id: u32) {
        if (id as usize) < self.blocks.len() {
            self.set(id, State::Out);
            self.stack.remove(id);
            self.prune();
        }
    }

    /// There are so many bytes from now on.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.evict(0);
        while self.close_bytes > self.close_capacity(0) && self.lower() {}
    }
}

impl State {
    /// What a block of so many bytes counts for in memory, and of it as close; and its bytes.
    fn of(self, bytes: u64) -> ((u64, u64), u64) {
        let counts = match self {
            State::Out => (0, 0),
            State::Far => (bytes, 0),
            State::Close => (bytes, bytes),
        };
        (counts, bytes)
    }
}
