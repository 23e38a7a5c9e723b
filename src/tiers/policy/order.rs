//! A list of blocks in an order, by their numbers. Numbers are dense: links are in one table, and nothing is allocated after that
//! has grown.

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
    inside: bool,
}

/// An order of numbers, each at most once in it.
pub struct Order {
    links: Vec<Link>,
    first: u32,
    last: u32,
}

impl Order {
    /// An empty one.
    pub const fn new() -> Order {
        Order { links: Vec::new(), first: NONE, last: NONE }
    }

    /// Makes room for numbers below `count`. False where there is no memory.
    pub fn grow(&mut self, count: usize) -> bool {
        let more = count.saturating_sub(self.links.len());
        if self.links.try_reserve(more).is_err() {
            return false;
        }
        self.links.resize(self.links.len() + more, Link { before: NONE, after: NONE, inside: false });
        true
    }

    fn link(&mut self, id: u32) -> Option<&mut Link> {
        self.links.get_mut(id as usize)
    }

    /// Whether it is in.
    pub fn contains(&self, id: u32) -> bool {
        self.links.get(id as usize).is_some_and(|link| link.inside)
    }

    /// The first.
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Puts it behind all others, wherever it was.
    pub fn push(&mut self, id: u32) {
        self.remove(id);
        let last = self.last;
        let Some(link) = self.link(id) else { return };
        *link = Link { before: last, after: NONE, inside: true };
        match self.link(last) {
            Some(link) => link.after = id,
            None => self.first = id,
        }
        self.last = id;
    }

    /// Takes it out, if it is in.
    pub fn remove(&mut self, id: u32) {
        let Some(link) = self.link(id).filter(|link| link.inside) else { return };
        link.inside = false;
        let (before, after) = (link.before, link.after);
        match self.link(before) {
            Some(link) => link.after = after,
            None => self.first = after,
        }
        match self.link(after) {
            Some(link) => link.before = before,
            None => self.last = before,
        }
    }

    /// All of them, the first first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let next = |id: u32| self.links.get(id as usize).map(|link| link.after).filter(|after| *after != NONE);
        std::iter::successors(self.first(), move |id| next(*id))
    }

    /// All of them, the last first.
    pub fn iter_back(&self) -> impl Iterator<Item = u32> {
        let next = |id: u32| self.links.get(id as usize).map(|link| link.before).filter(|before| *before != NONE);
        std::iter::successors((self.last != NONE).then_some(self.last), move |id| next(*id))
    }
}
