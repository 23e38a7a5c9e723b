use super::*;
use std::collections::BTreeMap;

/// Deterministic numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// What must hold: regions are covered without gaps or overlaps, free neighbours are joined, lists and maps agree.
fn check(tlsf: &Tlsf, regions: &BTreeMap<u32, (RegionKey, u32, u32)>) {
    let mut free = 0;
    let mut in_regions = 0;
    for (number, (key, first, units)) in regions {
        let (mut at, mut start, mut last_free, mut before) = (key.0, *first, false, NONE);
        while at != NONE {
            let node = &tlsf.nodes[at as usize];
            assert_eq!((node.start, node.region, node.before), (start, *number, before));
            assert!(node.units > 0 && (node.used || !last_free), "free neighbours are one place");
            free += if node.used { 0 } else { node.units as u64 };
            last_free = !node.used;
            start += node.units;
            before = at;
            at = node.after;
            in_regions += 1;
        }
        assert_eq!(start, first + units, "the region is covered");
    }
    assert_eq!(tlsf.free_units, free);
    assert_eq!(tlsf.nodes.len(), in_regions + tlsf.spares, "no node is lost");
    let mut listed = 0;
    for first in 0..FIRST {
        assert_eq!(tlsf.first_map >> first & 1 == 1, tlsf.second_maps[first] != 0);
        for second in 0..SECOND {
            assert_eq!(tlsf.second_maps[first] >> second & 1 == 1, tlsf.heads[first][second] != NONE);
            for node in tlsf.list(first, second) {
                let node = &tlsf.nodes[node as usize];
                assert_eq!(class(node.units), (first, second));
                assert!(!node.used);
                listed += node.units as u64;
            }
        }
    }
    assert_eq!(listed, free);
}

#[test]
fn classes_are_in_order_and_rounding_reaches_the_next() {
    let mut last = (0, 0);
    for units in 1..200_000u32 {
        let now = class(units);
        assert!(now >= last, "{units}");
        last = now;
        assert!(round_up(units) >= units);
        // Every place in the class of the rounded size is large enough: so is the smallest.
        let rounded = class(round_up(units));
        let smallest =
            if rounded.0 == 0 { rounded.1 as u32 } else { (SECOND as u32 | rounded.1 as u32) << (rounded.0 - 1) };
        assert!(smallest >= units, "{units}: {smallest}");
    }
    assert!(class(MOST_UNITS - 1).0 < FIRST && class(round_up(MOST_UNITS - 1)).0 < FIRST);
}

#[test]
fn sizes_are_exact_and_a_region_can_be_filled() {
    let mut tlsf = Tlsf::new();
    let key = tlsf.add(7, 0, 1000).unwrap();
    // A class above the rounded size has nothing: the exact class is searched.
    let all = tlsf.allocate(1000, 1).unwrap().unwrap();
    assert_eq!((all.start, all.units, all.region), (0, 1000, 7));
    assert!(tlsf.allocate(1, 1).unwrap().is_none());
    assert!(!tlsf.remove(key));
    tlsf.free(all).unwrap();
    let parts: Vec<Span> = (0..10).map(|_| tlsf.allocate(100, 1).unwrap().unwrap()).collect();
    assert_eq!((tlsf.free_units(), tlsf.largest_free()), (0, 0));
    for (place, part) in parts.iter().enumerate() {
        assert_eq!(parts.iter().filter(|other| other.start == part.start).count(), 1, "{place}");
        tlsf.free(*part).unwrap();
    }
    assert_eq!(tlsf.largest_free(), 1000);
    assert!(tlsf.remove(key) && tlsf.allocate(1, 1).unwrap().is_none());
}

#[test]
fn a_place_is_given_back_once() {
    let mut tlsf = Tlsf::new();
    let regions = BTreeMap::from([(0, (tlsf.add(0, 0, 64).unwrap(), 0, 64))]);
    let first = tlsf.allocate(8, 1).unwrap().unwrap();
    tlsf.free(first).unwrap();
    assert_eq!(tlsf.free(first).unwrap_err().status(), Status::NotHeld);
    let again = tlsf.allocate(8, 1).unwrap().unwrap();
    assert_eq!(again.start, first.start);
    assert_eq!(tlsf.free(first).unwrap_err().status(), Status::NotHeld, "another's by now");
    check(&tlsf, &regions);
    tlsf.free(again).unwrap();
}

#[test]
fn alignment_counts_from_the_region_s_first_unit() {
    let mut tlsf = Tlsf::new();
    tlsf.add(0, 5, 100).unwrap();
    let one = tlsf.allocate(10, 16).unwrap().unwrap();
    assert_eq!(one.start, 16);
    // Exactly what is left behind the next multiple: only the search of every class finds it.
    let two = tlsf.allocate(105 - 32, 32).unwrap().unwrap();
    assert_eq!(two.start, 32);
    assert!(tlsf.allocate(12, 1).unwrap().is_none());
    assert_eq!(tlsf.allocate(11, 1).unwrap().unwrap().start, 5);
}

#[test]
fn random_places_in_random_regions_match_a_model() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut tlsf = Tlsf::new();
        let mut regions: BTreeMap<u32, (RegionKey, u32, u32)> = BTreeMap::new();
        let mut live: Vec<Span> = Vec::new();
        for round in 0..3000u32 {
            match random.below(20) {
                0 if regions.len() < 6 => {
                    let (first, units) = (random.below(100) as u32, 1 + random.below(4000) as u32);
                    regions.insert(round, (tlsf.add(round, first, units).unwrap(), first, units));
                }
                1 => {
                    let place = random.below(6) as usize;
                    let Some((number, (key, ..))) = regions.iter().nth(place).map(|(n, r)| (*n, *r)) else {
                        continue;
                    };
                    let empty = !live.iter().any(|span| span.region == number);
                    assert_eq!(tlsf.is_empty(key), empty);
                    assert_eq!(tlsf.remove(key), empty);
                    if empty {
                        regions.remove(&number);
                    }
                }
                2..=11 => {
                    let units = 1 + {
                        let most = 1 << random.below(12);
                        random.below(most)
                    } as u32;
                    let align = 1 << random.below(7) as u32;
                    let fits = |start: u32, end: u32| {
                        let start = start.next_multiple_of(align);
                        start <= end && end - start >= units
                    };
                    let mut room = false;
                    for (number, (_, first, size)) in &regions {
                        let mut at = *first;
                        let mut here: Vec<&Span> = live.iter().filter(|span| span.region == *number).collect();
                        here.sort_by_key(|span| span.start);
                        for span in here {
                            room |= fits(at, span.start);
                            at = span.start + span.units;
                        }
                        room |= fits(at, first + size);
                    }
                    let span = tlsf.allocate(units, align).unwrap();
                    assert_eq!(span.is_some(), room, "{units} units aligned to {align}");
                    let Some(span) = span else { continue };
                    let (_, first, size) = regions[&span.region];
                    assert!(span.units == units && span.start.is_multiple_of(align));
                    assert!(span.start >= first && span.start + units <= first + size);
                    for other in live.iter().filter(|other| other.region == span.region) {
                        assert!(other.start + other.units <= span.start || span.start + units <= other.start);
                    }
                    live.push(span);
                }
                _ if !live.is_empty() => {
                    let span = live.swap_remove(random.below(live.len() as u64) as usize);
                    tlsf.free(span).unwrap();
                    assert!(tlsf.free(span).is_err());
                }
                _ => {}
            }
            if round % 16 == 0 {
                check(&tlsf, &regions);
            }
        }
    }
}
