//! The directories do what simple lists say.

use super::Policy;
use super::lirs::Lirs;
use super::lru::Lru;
use super::order::Order;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

const IDS: u64 = 40;

#[test]
fn an_order_is_what_a_vector_says() {
    let mut random = Random(1);
    let (mut order, mut model) = (Order::new(), Vec::new());
    assert!(order.grow(IDS as usize));
    for _ in 0..4000 {
        let id = random.below(IDS) as u32;
        model.retain(|known| *known != id);
        if random.below(3) > 0 {
            order.push(id);
            model.push(id);
        } else {
            order.remove(id);
        }
        assert_eq!(order.iter().collect::<Vec<_>>(), model);
        assert!(order.iter_back().eq(model.iter().rev().copied()));
        assert!((0..IDS as u32).all(|id| order.contains(id) == model.contains(&id)));
    }
}

/// Least recent first: (number, bytes).
#[test]
fn the_least_recently_used_is_what_a_list_says() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut capacity = 20 + random.below(200);
        let (mut lru, mut model) = (Lru::new(capacity), Vec::<(u32, u64)>::new());
        assert!(lru.grow(IDS as usize));
        let sizes: Vec<u64> = (0..IDS).map(|_| 1 + random.below(30)).collect();
        for _ in 0..2000 {
            let id = random.below(IDS) as u32;
            let place = model.iter().position(|(known, _)| *known == id);
            match random.below(20) {
                0 => {
                    lru.forget(id);
                    model.retain(|(known, _)| *known != id);
                }
                1 => {
                    capacity = random.below(220);
                    lru.set_capacity(capacity);
                }
                _ => {
                    let bytes = sizes[id as usize];
                    assert_eq!(lru.access(id, bytes), place.is_some());
                    if let Some(place) = place {
                        model.remove(place);
                    }
                    if bytes <= capacity {
                        model.push((id, bytes));
                    }
                }
            }
            while model.iter().map(|(_, bytes)| bytes).sum::<u64>() > capacity {
                model.remove(0);
            }
            for id in 0..IDS as u32 {
                assert_eq!(lru.contains(id), model.iter().any(|(known, _)| *known == id), "{id}");
            }
        }
    }
}

/// LIRS over plain vectors, for blocks of one byte each.
struct Plain {
    stack: Vec<u32>,
    queue: Vec<u32>,
    close: Vec<u32>,
    capacity: usize,
}

impl Plain {
    fn is_in(&self, id: u32) -> bool {
        self.queue.contains(&id) || self.close.contains(&id)
    }

    fn prune(&mut self) {
        while self.stack.first().is_some_and(|id| !self.close.contains(id)) {
            self.stack.remove(0);
        }
    }

    fn lower(&mut self) {
        let id = self.stack.remove(0);
        self.close.retain(|known| *known != id);
        self.queue.push(id);
        self.prune();
    }

    fn forget(&mut self, id: u32) {
        for list in [&mut self.stack, &mut self.queue, &mut self.close] {
            list.retain(|known| *known != id);
        }
        self.prune();
    }

    fn access(&mut self, id: u32) -> bool {
        let most_close = self.capacity - (self.capacity / 50).max(1);
        let (hit, known, close) = (self.is_in(id), self.stack.contains(&id), self.close.contains(&id));
        if !hit && self.queue.len() + self.close.len() == self.capacity {
            if self.queue.is_empty() {
                self.lower();
            }
            self.queue.remove(0);
        }
        self.stack.retain(|known| *known != id);
        self.stack.push(id);
        self.queue.retain(|known| *known != id);
        if !close && (known || (!hit && self.close.len() < most_close)) {
            self.close.push(id);
        } else if !close {
            self.queue.push(id);
        }
        if self.close.len() > most_close {
            self.prune();
            self.lower();
        }
        self.prune();
        hit
    }
}

#[test]
fn lirs_is_what_plain_lists_say() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let capacity = 2 + random.below(25) as usize;
        let mut lirs = Lirs::new(capacity as u64);
        assert!(lirs.grow(IDS as usize));
        let mut plain = Plain { stack: Vec::new(), queue: Vec::new(), close: Vec::new(), capacity };
        for step in 0..2000 {
            // Now a cycle, now a few, now any.
            let id = match (step / 100) % 3 {
                0 => step % IDS,
                1 => random.below(IDS / 4),
                _ => random.below(IDS),
            } as u32;
            if random.below(30) == 0 {
                lirs.forget(id);
                plain.forget(id);
            } else {
                assert_eq!(lirs.access(id, 1), plain.access(id), "step {step} of {seed}");
            }
            assert!((0..IDS as u32).all(|id| lirs.contains(id) == plain.is_in(id)), "step {step} of {seed}");
        }
    }
}

#[test]
fn what_is_wanted_fits() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut capacity = 100 + random.below(300);
        let mut policy = Policy::new(capacity);
        assert!(policy.grow(IDS as usize));
        let sizes: Vec<u64> = (0..IDS).map(|_| 1 + random.below(60)).collect();
        for step in 0..3000 {
            let id = if step % 200 < 100 { step % IDS } else { random.below(IDS) } as u32;
            match random.below(40) {
                0 => policy.forget(id),
                1 => {
                    capacity = random.below(400);
                    policy.set_capacity(capacity);
                }
                _ => {
                    policy.access(id, sizes[id as usize]);
                    let fits = sizes[id as usize] <= capacity;
                    assert_eq!(policy.wants(id), fits, "what was used last is wanted wherever it fits");
                }
            }
            let wanted = (0..IDS).filter(|id| policy.wants(*id as u32)).map(|id| sizes[id as usize]).sum::<u64>();
            assert!(wanted <= capacity, "{wanted} of {capacity}");
        }
    }
}
