//! The arena of a set of input slots: where each slot lies, and which copies bring one step to the device. Places of any
//! size that come and go are [`tlsf`]'s.
//!
//! Plain data: no pointers, no device. Offsets are bytes from the arena's start, the same in every staging entry and on the
//! device.
//!
//! A byte is *live* when the device must hold the last committed value there: the rows of kept slots, and what this step
//! wrote. Everything else is *dead*: gaps between slots, and required slots past what was written. A staging entry holds
//! the bytes of an older step where this one wrote nothing, so a copy may run over live bytes that this step did not write
//! only after they were refilled.

mod rows;
pub mod tlsf;

pub use rows::Rows;

use crate::config::ALIGNMENT;
use crate::error::Result;
use crate::fail;
use std::ops::Range;

/// Copies that one region is brought over with, at most: above, neighbours merge whatever lies between them.
const COPIES_PER_REGION: usize = 64;
/// A table of its own is copied in one piece up to this many bytes, however little of it changed.
const ONE_PIECE_BYTES: usize = 64 * 1024;
/// Above that, it is copied in one piece up to this many times the bytes that changed.
const ONE_PIECE_FACTOR: usize = 4;

/// What a slot asks of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows at most.
    pub rows: u64,
    /// Bytes of one row.
    pub row_bytes: u64,
    /// Rows that a step does not write keep their committed content.
    pub kept: bool,
    /// Copied on its own.
    pub own_copy: bool,
}

/// Where a slot lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte; a multiple of [`ALIGNMENT`].
    pub offset: usize,
    /// Rows at most.
    pub rows: usize,
    /// Bytes of one row.
    pub row_bytes: usize,
    /// Rows that a step does not write keep their committed content.
    pub kept: bool,
}

impl Place {
    /// Its bytes.
    pub fn bytes(&self) -> usize {
        self.rows * self.row_bytes
    }

    /// The bytes of rows `rows`.
    pub fn span(&self, rows: Range<usize>) -> Range<usize> {
        self.offset + rows.start * self.row_bytes..self.offset + rows.end * self.row_bytes
    }

    fn all(&self) -> Range<usize> {
        self.span(0..self.rows)
    }
}

/// Where all slots lie.
pub struct Layout {
    places: Vec<Place>,
    /// Slots, by their offset.
    order: Vec<usize>,
    /// Parts of `order` whose slots may share a copy.
    regions: Vec<Region>,
    bytes: usize,
    mirrored: Range<usize>,
}

struct Region {
    slots: Range<usize>,
    own_copy: bool,
}

impl Layout {
    /// Lays the slots out: required ones first, then kept ones, so that a step's usual copy is one piece; then each table
    /// with a copy of its own.
    pub fn new(extents: &[Extent]) -> Result<Layout> {
        let mut order: Vec<usize> = (0..extents.len()).collect();
        order.sort_by_key(|slot| match (extents[*slot].own_copy, extents[*slot].kept) {
            (false, false) => 0,
            (false, true) => 1,
            // Kept slots in one stretch: the mirror covers it and nothing else.
            (true, true) => 2,
            (true, false) => 3,
        });
        let mut places = vec![Place { offset: 0, rows: 0, row_bytes: 0, kept: false }; extents.len()];
        let mut regions: Vec<Region> = Vec::new();
        let mut end = 0;
        let mut mirrored: Option<Range<usize>> = None;
        for (at, slot) in order.iter().enumerate() {
            let extent = extents[*slot];
            let offset = align(end)?;
            end = match extent.rows.checked_mul(extent.row_bytes).and_then(|bytes| bytes.checked_add(offset as u64)) {
                Some(end) if end <= isize::MAX as u64 => end as usize,
                _ => return fail!(Overflow, "the slots together do not fit in the address space"),
            };
            let (rows, row_bytes) = (extent.rows as usize, extent.row_bytes as usize);
            places[*slot] = Place { offset, rows, row_bytes, kept: extent.kept };
            if extent.kept {
                mirrored = Some(mirrored.map_or(offset, |range| range.start)..end);
            }
            match regions.last_mut() {
                Some(region) if !extent.own_copy => region.slots.end = at + 1,
                _ => regions.push(Region { slots: at..at + 1, own_copy: extent.own_copy }),
            }
        }
        Ok(Layout { places, order, regions, bytes: align(end)?, mirrored: mirrored.unwrap_or(0..0) })
    }

    /// The slots' places, by slot.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Bytes of the whole arena.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The stretch that holds every kept slot.
    pub fn mirrored(&self) -> Range<usize> {
        self.mirrored.clone()
    }

    /// Copies that a plan has at most.
    pub fn most_copies(&self) -> usize {
        self.regions.len() * COPIES_PER_REGION
    }

    /// Live bytes of a region inside `gap`, which no write of this step touches.
    fn live_in(&self, region: &Region, gap: Range<usize>, mut found: impl FnMut(Range<usize>)) {
        for slot in &self.order[region.slots.clone()] {
            let place = &self.places[*slot];
            let range = place.all();
            let part = range.start.max(gap.start)..range.end.min(gap.end);
            if place.kept && part.start < part.end {
                found(part);
            }
        }
    }
}

fn align(offset: usize) -> Result<usize> {
    match offset.checked_next_multiple_of(ALIGNMENT) {
        Some(offset) if offset <= isize::MAX as usize => Ok(offset),
        _ => fail!(Overflow, "the slots together do not fit in the address space"),
    }
}

/// The copies of one step. Made once; planning a step allocates nothing.
#[derive(Default)]
pub struct Plan {
    copies: Vec<Range<usize>>,
    used_bytes: usize,
    island_copies: usize,
}

impl Plan {
    /// An empty plan with room for every plan of this layout.
    pub fn new(layout: &Layout) -> Plan {
        Plan { copies: Vec::with_capacity(layout.most_copies() + 1), ..Plan::default() }
    }

    /// The copies, none of them empty.
    pub fn copies(&self) -> &[Range<usize>] {
        &self.copies
    }

    /// Bytes that the step wrote.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes that are copied.
    pub fn copied_bytes(&self) -> usize {
        self.copies.iter().map(Range::len).sum()
    }

    /// Copies of tables whose changed rows lie too far apart for one piece.
    pub fn island_copies(&self) -> usize {
        self.island_copies
    }

    /// Plans the copies of a step that wrote `written` (by slot). Neighbours at most `gap` bytes apart share a copy.
    /// `everything` sends kept slots whole. `refill` is told of the live bytes that are copied although this step did not
    /// write them: their entry must get the committed bytes first.
    pub fn make(
        &mut self,
        layout: &Layout,
        written: &[Rows],
        everything: bool,
        gap: usize,
        mut refill: impl FnMut(Range<usize>),
    ) {
        *self = Plan { copies: std::mem::take(&mut self.copies), ..Plan::default() };
        self.copies.clear();
        for region in &layout.regions {
            let gap = if region.own_copy { self.own_gap(layout, region, written, everything) } else { gap };
            let first = self.copies.len();
            for slot in &layout.order[region.slots.clone()] {
                let (place, rows) = (&layout.places[*slot], &written[*slot]);
                self.used_bytes += rows.count() * place.row_bytes;
                if everything && place.kept {
                    let mut end = 0;
                    for run in rows.runs().chain(std::iter::once(place.rows..place.rows)) {
                        if end < run.start {
                            refill(place.span(end..run.start));
                        }
                        end = run.end;
                    }
                    self.append(layout, region, first, gap, place.all(), &mut refill);
                } else {
                    for run in rows.runs() {
                        self.append(layout, region, first, gap, place.span(run), &mut refill);
                    }
                }
            }
            if region.own_copy && self.copies.len() > first + 1 {
                self.island_copies += self.copies.len() - first;
            }
        }
        // A step's fence must stand behind all that its consumers may read, and only a copy is ordered behind it: where
        // anything is live, something is sent.
        if self.copies.is_empty()
            && let Some(place) = layout.places.iter().find(|place| place.kept)
        {
            let row = place.span(0..1);
            refill(row.clone());
            self.copies.push(row);
        }
    }

    /// How far apart the runs of a table may be to share its copy: any distance, or none at all.
    fn own_gap(&self, layout: &Layout, region: &Region, written: &[Rows], everything: bool) -> usize {
        let slot = layout.order[region.slots.start];
        let (place, rows) = (&layout.places[slot], &written[slot]);
        let Some(first) = rows.runs().next() else { return usize::MAX };
        let hull = (rows.length() - first.start) * place.row_bytes;
        let islands = !everything && hull > ONE_PIECE_BYTES && hull / ONE_PIECE_FACTOR > rows.count() * place.row_bytes;
        if islands { 0 } else { usize::MAX }
    }

    /// Adds a stretch behind all others of its region, whose copies begin at `first`.
    fn append(
        &mut self,
        layout: &Layout,
        region: &Region,
        first: usize,
        gap: usize,
        stretch: Range<usize>,
        refill: &mut impl FnMut(Range<usize>),
    ) {
        let full = self.copies.len() - first == COPIES_PER_REGION;
        match self.copies[first..].last_mut() {
            Some(last) if full || stretch.start - last.end <= gap => {
                layout.live_in(region, last.end..stretch.start, refill);
                last.end = stretch.end;
            }
            _ => self.copies.push(stretch),
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is compared")]
mod tests {
    use super::*;
    use crate::error::Status;

    fn extent(rows: u64, row_bytes: u64, kept: bool, own_copy: bool) -> Extent {
        Extent { rows, row_bytes, kept, own_copy }
    }

    fn rows_of(layout: &Layout) -> Vec<Rows> {
        layout.places().iter().map(|place| Rows::new(place).unwrap()).collect()
    }

    #[test]
    fn required_slots_come_first_and_tables_last() {
        let layout = Layout::new(&[
            extent(3, 100, true, true),
            extent(10, 4, true, false),
            extent(1, 4, false, true),
            extent(100, 4, false, false),
            extent(1, 1, false, false),
        ])
        .unwrap();
        let offsets: Vec<usize> = layout.places().iter().map(|place| place.offset).collect();
        assert_eq!(offsets, [1024, 768, 1536, 0, 512]);
        assert_eq!(layout.bytes(), 1792);
        assert_eq!(layout.mirrored(), 768..1324);
        assert!(offsets.iter().all(|offset| offset % ALIGNMENT == 0));
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        for extents in [
            &[extent(u64::MAX, 2, false, false)][..],
            &[extent(isize::MAX as u64, 1, false, false), extent(1, 1, false, false)][..],
            &[extent(1 << 62, 1, false, false), extent(1 << 62, 1, true, true)][..],
        ] {
            assert_eq!(Layout::new(extents).err().unwrap().status(), Status::Overflow);
        }
    }

    #[test]
    fn rows_are_kept_as_runs() {
        let place = Place { offset: 0, rows: 300, row_bytes: 1, kept: true };
        let mut rows = Rows::new(&place).unwrap();
        assert!(!rows.is_written());
        for range in [5..6, 60..70, 64..200, 299..300, 7..7] {
            rows.add(range);
        }
        assert_eq!(rows.runs().collect::<Vec<_>>(), [5..6, 60..200, 299..300]);
        assert_eq!((rows.count(), rows.length()), (142, 300));
        rows.clear();
        assert_eq!((rows.runs().count(), rows.count(), rows.is_written()), (0, 0, false));
        rows.add(0..300);
        assert_eq!(rows.runs().collect::<Vec<_>>(), [0..300]);
    }

    #[test]
    fn a_step_of_small_slots_is_one_copy() {
        let layout =
            Layout::new(&[extent(100, 4, false, false), extent(100, 8, false, false), extent(64, 4, true, false)])
                .unwrap();
        let mut written = rows_of(&layout);
        written[0].add(0..10);
        written[1].add(0..10);
        written[2].add(3..4);
        let mut plan = Plan::new(&layout);
        let mut refilled = Vec::new();
        plan.make(&layout, &written, false, 65536, |range| refilled.push(range));
        let kept = layout.places()[2].offset;
        assert_eq!(plan.copies(), [0..kept + 16]);
        assert_eq!(refilled, [kept..kept + 12]);
        assert_eq!((plan.used_bytes(), plan.copied_bytes()), (124, kept + 16));
    }

    #[test]
    fn a_table_is_one_copy_unless_its_changes_lie_far_apart() {
        let layout = Layout::new(&[extent(256, 8192, true, true)]).unwrap();
        let mut written = rows_of(&layout);
        let mut plan = Plan::new(&layout);
        written[0].add(10..11);
        written[0].add(13..14);
        let mut refilled = 0;
        plan.make(&layout, &written, false, 0, |range| refilled += range.len());
        assert_eq!(plan.copies(), [10 * 8192..14 * 8192]);
        assert_eq!((refilled, plan.island_copies()), (2 * 8192, 0));
        written[0].add(255..256);
        plan.make(&layout, &written, false, 0, |_| panic!("islands lie beside what is live"));
        assert_eq!(plan.copies().len(), 3);
        assert_eq!(plan.island_copies(), 3);
    }

    #[test]
    fn a_step_without_bytes_sends_a_row_that_is_live() {
        let layout = Layout::new(&[extent(4, 4, false, false), extent(4, 8, true, false)]).unwrap();
        let mut written = rows_of(&layout);
        written[0].add(0..0);
        let mut plan = Plan::new(&layout);
        let mut refilled = Vec::new();
        plan.make(&layout, &written, false, 0, |range| refilled.push(range));
        assert_eq!(plan.copies(), [256..264]);
        assert_eq!(refilled, [256..264]);
    }

    /// A small generator: the same numbers on every machine.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 33) as usize) % limit
        }
    }

    /// Plans random steps over random layouts and carries them out on byte arrays: after each step every live byte of the
    /// device is what it should be, whatever older bytes the staging entries hold.
    #[test]
    fn every_live_byte_arrives() {
        for seed in 0..300 {
            let mut random = Random(seed);
            let count = 1 + random.below(6);
            let extents: Vec<Extent> = (0..count)
                .map(|_| {
                    let (rows, row_bytes) = (1 + random.below(200) as u64, 1 + random.below(700) as u64);
                    extent(rows, row_bytes, random.below(2) == 0, random.below(4) == 0)
                })
                .collect();
            let layout = Layout::new(&extents).unwrap();
            let gap = [0, 300, 4096, 65536][random.below(4)];
            let mut plan = Plan::new(&layout);
            let room = plan.copies.capacity();
            let mut entries: Vec<Vec<u8>> =
                (0..2).map(|_| (0..layout.bytes()).map(|_| random.below(256) as u8).collect()).collect();
            let mut device: Vec<u8> = (0..layout.bytes()).map(|_| random.below(256) as u8).collect();
            let mut committed = vec![7u8; layout.bytes()];
            let mut written = rows_of(&layout);
            for step in 0..30 {
                let everything = step == 0 || random.below(10) == 0;
                let entry = &mut entries[step % 2];
                written.iter_mut().for_each(Rows::clear);
                let mut expected = committed.clone();
                let mut write = |rows: &mut Rows, place: &Place, range: Range<usize>, value: u8| {
                    rows.add(range.clone());
                    entry[place.span(range.clone())].fill(value);
                    expected[place.span(range)].fill(value);
                };
                for (rows, place) in written.iter_mut().zip(layout.places()) {
                    if !place.kept {
                        write(rows, place, 0..random.below(place.rows + 1), random.below(256) as u8);
                        continue;
                    }
                    for _ in 0..[0, 1, 3, 90][random.below(4)] {
                        let start = random.below(place.rows);
                        let end = (start + 1 + random.below(3)).min(place.rows);
                        write(rows, place, start..end, random.below(256) as u8);
                    }
                }
                let entry = &mut entries[step % 2];
                plan.make(&layout, &written, everything, gap, |range| {
                    assert!(range.start >= layout.mirrored().start && range.end <= layout.mirrored().end);
                    entry[range.clone()].copy_from_slice(&committed[range]);
                });
                assert!(plan.copies().len() <= layout.most_copies() && plan.copies.capacity() == room);
                assert!(plan.copies().windows(2).all(|pair| pair[0].end <= pair[1].start));
                for copy in plan.copies() {
                    assert!(!copy.is_empty() && copy.end <= layout.bytes());
                    device[copy.clone()].copy_from_slice(&entry[copy.clone()]);
                }
                for (slot, place) in layout.places().iter().enumerate() {
                    let live = if place.kept { place.all() } else { place.span(0..written[slot].length()) };
                    assert_eq!(device[live.clone()], expected[live], "seed {seed}, step {step}, slot {slot}");
                    if place.kept {
                        committed[place.all()].copy_from_slice(&expected[place.all()]);
                    }
                }
            }
        }
    }
}
