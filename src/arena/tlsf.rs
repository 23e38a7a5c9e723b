//! Places of any size inside regions: two-level segregated fit, with everything it knows kept outside the memory.
//!
//! Plain data, in units that the owner chooses. Free places hang in lists by size class: 32 classes for each power of two, found
//! by two bitmaps. So an allocation and a free take a handful of steps, however many places there are; neighbours that are
//! both free are always one place. Nothing is ever written to the memory itself: it may be page-locked, and whoever writes
//! past his end damages no list.

use crate::error::{Error, Result, Status};
use crate::fail;

/// Size classes for each power of two, as a power of two.
const SECOND_BITS: u32 = 5;
const SECOND: usize = 1 << SECOND_BITS;
/// Powers of two, the sizes below [`SECOND`] being one.
const FIRST: usize = (u32::BITS - SECOND_BITS + 1) as usize;
const NONE: u32 = u32::MAX;

/// The most units of a region, its first number included: no sum of two overflows.
pub const MOST_UNITS: u32 = 1 << 31;

/// Regions, and the places in them.
pub struct Tlsf {
    nodes: Vec<Node>,
    /// Nodes that stand for nothing, chained by `next_free`.
    spare: u32,
    spares: usize,
    first_map: u32,
    second_maps: [u32; FIRST],
    heads: [[u32; SECOND]; FIRST],
    free_units: u64,
}

#[derive(Clone, Copy)]
struct Node {
    start: u32,
    units: u32,
    /// Neighbours in the region.
    before: u32,
    after: u32,
    /// Neighbours in the list of a class.
    previous_free: u32,
    next_free: u32,
    region: u32,
    /// Grows whenever the place is given out or comes back, so that an old [`Span`] is known.
    generation: u32,
    used: bool,
}

/// A region, as [`Tlsf::add`] named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionKey(u32);

/// A place that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first unit, counted as its region's are.
    pub start: u32,
    /// Its units.
    pub units: u32,
    /// Its region, as the owner numbered it.
    pub region: u32,
    node: u32,
    generation: u32,
}

/// The class that a place of this size is kept in.
fn class(units: u32) -> (usize, usize) {
    if units < SECOND as u32 {
        return (0, units as usize);
    }
    let top = units.ilog2();
    ((top - SECOND_BITS + 1) as usize, (units >> (top - SECOND_BITS)) as usize & (SECOND - 1))
}

/// The smallest size of which every place in its class is as large as `units`.
fn round_up(units: u32) -> u32 {
    if units < SECOND as u32 { units } else { units + ((1 << (units.ilog2() - SECOND_BITS)) - 1) }
}

impl Default for Tlsf {
    fn default() -> Tlsf {
        Tlsf::new()
    }
}

impl Tlsf {
    /// No regions yet.
    pub fn new() -> Tlsf {
        Tlsf {
            nodes: Vec::new(),
            spare: NONE,
            spares: 0,
            first_map: 0,
            second_maps: [0; FIRST],
            heads: [[NONE; SECOND]; FIRST],
            free_units: 0,
        }
    }

    /// Units that are free.
    pub fn free_units(&self) -> u64 {
        self.free_units
    }

    /// Adds a region, all of it free, that its owner knows by `region`. Its units are counted from `first`: a place is aligned
    /// by that count, so that a region whose memory starts at any address gives out aligned addresses.
    pub fn add(&mut self, region: u32, first: u32, units: u32) -> Result<RegionKey> {
        if units == 0 || units >= MOST_UNITS || first >= MOST_UNITS - units {
            return fail!(
                Overflow,
                "a region of {units} units from {first} on: 1 unit or more, and fewer than {MOST_UNITS}"
            );
        }
        self.reserve(1)?;
        let node = self.new_node(Node {
            start: first,
            units,
            before: NONE,
            after: NONE,
            previous_free: NONE,
            next_free: NONE,
            region,
            generation: 0,
            used: false,
        });
        self.link(node);
        Ok(RegionKey(node))
    }

    /// Takes a region out, all of which must be free; false if it is not.
    pub fn remove(&mut self, region: RegionKey) -> bool {
        if !self.is_empty(region) {
            return false;
        }
        self.unlink(region.0);
        self.put_spare(region.0);
        true
    }

    /// Whether nothing of a region is given out.
    pub fn is_empty(&self, region: RegionKey) -> bool {
        let node = &self.nodes[region.0 as usize];
        !node.used && node.before == NONE && node.after == NONE
    }

    /// A place of `units` units that starts at a multiple of `align`; `None` if no free place can hold it.
    pub fn allocate(&mut self, units: u32, align: u32) -> Result<Option<Span>> {
        debug_assert!(align.is_power_of_two());
        let units = units.max(1);
        if units >= MOST_UNITS || align >= MOST_UNITS {
            return Ok(None);
        }
        // What the alignment skips, and what is left behind, become places of their own.
        self.reserve(2)?;
        let Some(node) = self.find(units, align) else { return Ok(None) };
        self.unlink(node);
        let gap = self.gap(node, align);
        let node = if gap > 0 {
            let rest = self.split(node, gap);
            self.link(node);
            rest
        } else {
            node
        };
        if self.nodes[node as usize].units > units {
            let rest = self.split(node, units);
            self.link(rest);
        }
        let taken = &mut self.nodes[node as usize];
        taken.used = true;
        taken.generation = taken.generation.wrapping_add(1);
        let Node { start, region, generation, .. } = *taken;
        Ok(Some(Span { start, units, region, node, generation }))
    }

    /// Takes a place back. One that was given back before, or is none of these, changes nothing.
    pub fn free(&mut self, span: Span) -> Result<()> {
        let known = self.nodes.get_mut(span.node as usize);
        let Some(node) = known.filter(|node| node.used && node.generation == span.generation) else {
            return fail!(NotHeld, "the place at unit {} was given back before", span.start);
        };
        node.used = false;
        node.generation = node.generation.wrapping_add(1);
        let (before, after) = (node.before, node.after);
        let mut place = span.node;
        if after != NONE && !self.nodes[after as usize].used {
            self.unlink(after);
            self.join(place, after);
        }
        if before != NONE && !self.nodes[before as usize].used {
            self.unlink(before);
            self.join(before, place);
            place = before;
        }
        self.link(place);
        Ok(())
    }

    /// Units of the largest free place.
    pub fn largest_free(&self) -> u32 {
        let Some(first) = self.first_map.checked_ilog2() else { return 0 };
        let second = self.second_maps[first as usize].ilog2();
        // The places of one class differ in size.
        self.list(first as usize, second as usize).map(|node| self.nodes[node as usize].units).max().unwrap_or(0)
    }

    // ---- finding ---------------------------------------------------------------------------------------------------

    /// The first place of the smallest class whose every place fits; where there is none, any place that fits.
    fn find(&self, units: u32, align: u32) -> Option<u32> {
        // Whatever a place of this size starts at, it has room behind the next multiple.
        let most = units.checked_add(align - 1).filter(|most| *most < MOST_UNITS)?;
        let rounded = round_up(most);
        let (mut first, second) = class(rounded);
        let mut seconds = self.second_maps[first] & (u32::MAX << second);
        if seconds == 0 {
            // `first` is at most 27: the shift is defined.
            let firsts = self.first_map & (u32::MAX << (first + 1));
            if firsts != 0 {
                first = firsts.trailing_zeros() as usize;
                seconds = self.second_maps[first];
            }
        }
        if seconds != 0 {
            return Some(self.heads[first][seconds.trailing_zeros() as usize]);
        }
        self.find_exactly(units, align, class(rounded))
    }

    /// Looks at every place of the classes that may hold one that fits, below `end`.
    #[cold]
    fn find_exactly(&self, units: u32, align: u32, end: (usize, usize)) -> Option<u32> {
        let mut at = class(units);
        while at <= end {
            let fits = |node: &u32| {
                let place = &self.nodes[*node as usize];
                place.units >= units && self.gap(*node, align) <= place.units - units
            };
            let found = self.list(at.0, at.1).find(fits);
            if found.is_some() {
                return found;
            }
            at = if at.1 + 1 < SECOND { (at.0, at.1 + 1) } else { (at.0 + 1, 0) };
        }
        None
    }

    /// Units before the first multiple of `align` in a place.
    fn gap(&self, node: u32, align: u32) -> u32 {
        let start = self.nodes[node as usize].start;
        start.next_multiple_of(align) - start
    }

    /// The places of a class.
    fn list(&self, first: usize, second: usize) -> impl Iterator<Item = u32> {
        let mut at = self.heads[first][second];
        std::iter::from_fn(move || {
            let node = (at != NONE).then_some(at)?;
            at = self.nodes[node as usize].next_free;
            Some(node)
        })
    }

    // ---- lists and neighbours --------------------------------------------------------------------------------------

    fn link(&mut self, node: u32) {
        let units = self.nodes[node as usize].units;
        let (first, second) = class(units);
        let head = std::mem::replace(&mut self.heads[first][second], node);
        if head != NONE {
            self.nodes[head as usize].previous_free = node;
        }
        let place = &mut self.nodes[node as usize];
        place.previous_free = NONE;
        place.next_free = head;
        self.second_maps[first] |= 1 << second;
        self.first_map |= 1 << first;
        self.free_units += units as u64;
    }

    fn unlink(&mut self, node: u32) {
        let Node { units, previous_free, next_free, .. } = self.nodes[node as usize];
        let (first, second) = class(units);
        if next_free != NONE {
            self.nodes[next_free as usize].previous_free = previous_free;
        }
        if previous_free != NONE {
            self.nodes[previous_free as usize].next_free = next_free;
        } else {
            self.heads[first][second] = next_free;
            if next_free == NONE {
                self.second_maps[first] &= !(1 << second);
                if self.second_maps[first] == 0 {
                    self.first_map &= !(1 << first);
                }
            }
        }
        self.free_units -= units as u64;
    }

    /// Cuts a place that is in no list behind its first `units`; returns the rest. There is a spare node.
    fn split(&mut self, node: u32, units: u32) -> u32 {
        let whole = self.nodes[node as usize];
        let rest = self.new_node(Node {
            start: whole.start + units,
            units: whole.units - units,
            before: node,
            after: whole.after,
            ..whole
        });
        if whole.after != NONE {
            self.nodes[whole.after as usize].before = rest;
        }
        let place = &mut self.nodes[node as usize];
        place.units = units;
        place.after = rest;
        rest
    }

    /// Makes a place and the one after it one, both in no list.
    fn join(&mut self, node: u32, after: u32) {
        let gone = self.nodes[after as usize];
        let place = &mut self.nodes[node as usize];
        place.units += gone.units;
        place.after = gone.after;
        if gone.after != NONE {
            self.nodes[gone.after as usize].before = node;
        }
        self.put_spare(after);
    }

    // ---- nodes -----------------------------------------------------------------------------------------------------

    /// Makes sure of that many nodes, so that what follows cannot fail half-way.
    fn reserve(&mut self, nodes: usize) -> Result<()> {
        if self.spares >= nodes {
            return Ok(());
        }
        if self.nodes.len() + nodes >= NONE as usize || self.nodes.try_reserve(nodes).is_err() {
            return Err(Error::new(
                Status::OutOfHostMemory,
                format!("no host memory to keep {} places apart: free some", self.nodes.len()),
            ));
        }
        Ok(())
    }

    /// A node, where [`Tlsf::reserve`] has seen to it that there is one.
    fn new_node(&mut self, node: Node) -> u32 {
        if self.spare == NONE {
            self.nodes.push(node);
            return self.nodes.len() as u32 - 1;
        }
        let place = self.spare;
        let old = std::mem::replace(&mut self.nodes[place as usize], node);
        self.spare = old.next_free;
        self.spares -= 1;
        // Goes on from where it was: a span of its last use is an old one.
        self.nodes[place as usize].generation = old.generation.wrapping_add(1);
        place
    }

    fn put_spare(&mut self, node: u32) {
        let place = &mut self.nodes[node as usize];
        place.used = false;
        place.generation = place.generation.wrapping_add(1);
        place.next_free = std::mem::replace(&mut self.spare, node);
        self.spares += 1;
    }
}

#[cfg(test)]
mod tests;
