//! Places of random sizes in a fixed arena: the library's, against a best fit in ordered maps, in turns in one process.
//!
//! Sizes are log-uniform, like those of tensors; about six tenths of the arena live. Each time is the median over rounds of a
//! loop's time per operation, each ratio the median of the rounds' own. `arena/peak` is the smallest arena that serves the
//! whole trace, next to the most bytes that lived at a time.

use gpubuf::arena::tlsf::{Span, Tlsf};
use gpubuf::backend::{BackendKind, DeviceOptions};
use gpubuf::config::Placement;
use gpubuf::fence::Device;
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

const UNIT: u64 = 256;
const ROUNDS: usize = 15;
const OPERATIONS: usize = 50_000;

/// One operation: a size to be allocated, or which of the live places goes.
#[derive(Clone, Copy)]
enum Operation {
    Allocate(u32),
    Free(usize),
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Units of sizes from `least` to `most` bytes, with `live` units alive once it has begun.
fn trace(seed: u64, least: f64, most: f64, live: u64) -> (Vec<Operation>, u64) {
    let mut random = Random(seed);
    let mut out = Vec::new();
    let mut sizes: Vec<u32> = Vec::new();
    let (mut now, mut peak) = (0u64, 0u64);
    while out.len() < OPERATIONS {
        if now < live || random.next() < 0.5 && now < live + live / 20 {
            let bytes = (least.ln() + random.next() * (most / least).ln()).exp() as u64;
            let units = bytes.div_ceil(UNIT) as u32;
            sizes.push(units);
            now += units as u64;
            peak = peak.max(now);
            out.push(Operation::Allocate(units));
        } else {
            let place = (random.next() * sizes.len() as f64) as usize;
            now -= sizes.swap_remove(place) as u64;
            out.push(Operation::Free(place));
        }
    }
    (out, peak)
}

/// What people write: free places by size and by address, the smallest that fits, neighbours joined.
#[derive(Default)]
struct BestFit {
    by_size: BTreeSet<(u32, u32)>,
    by_start: BTreeMap<u32, u32>,
}

impl BestFit {
    fn new(units: u32) -> BestFit {
        let mut fit = BestFit::default();
        fit.insert(0, units);
        fit
    }

    fn insert(&mut self, start: u32, units: u32) {
        self.by_size.insert((units, start));
        self.by_start.insert(start, units);
    }

    fn remove(&mut self, start: u32, units: u32) {
        self.by_size.remove(&(units, start));
        self.by_start.remove(&start);
    }

    fn allocate(&mut self, units: u32) -> Option<(u32, u32)> {
        let (size, start) = *self.by_size.range((units, 0)..).next()?;
        self.remove(start, size);
        if size > units {
            self.insert(start + units, size - units);
        }
        Some((start, units))
    }

    fn free(&mut self, (start, units): (u32, u32)) {
        let (mut start, mut units) = (start, units);
        if let Some((after, size)) = self.by_start.range(start..).next().map(|(after, size)| (*after, *size))
            && after == start + units
        {
            self.remove(after, size);
            units += size;
        }
        if let Some((before, size)) = self.by_start.range(..start).next_back().map(|(before, size)| (*before, *size))
            && before + size == start
        {
            self.remove(before, size);
            (start, units) = (before, size + units);
        }
        self.insert(start, units);
    }
}

/// An arena under test.
trait Arena {
    type Place: Copy;
    fn of(units: u32) -> Self;
    fn allocate(&mut self, units: u32) -> Option<Self::Place>;
    fn free(&mut self, place: Self::Place);
}

impl Arena for Tlsf {
    type Place = Span;
    fn of(units: u32) -> Tlsf {
        let mut tlsf = Tlsf::new();
        tlsf.add(0, 0, units).expect("a region");
        tlsf
    }
    fn allocate(&mut self, units: u32) -> Option<Span> {
        Tlsf::allocate(self, units, 1).expect("room in the lists")
    }
    fn free(&mut self, place: Span) {
        Tlsf::free(self, place).expect("given back once");
    }
}

impl Arena for BestFit {
    type Place = (u32, u32);
    fn of(units: u32) -> BestFit {
        BestFit::new(units)
    }
    fn allocate(&mut self, units: u32) -> Option<(u32, u32)> {
        BestFit::allocate(self, units)
    }
    fn free(&mut self, place: (u32, u32)) {
        BestFit::free(self, place);
    }
}

/// Runs a trace; false if the arena was too small.
fn run<A: Arena>(trace: &[Operation], units: u32) -> bool {
    let mut arena = A::of(units);
    let mut live = Vec::with_capacity(trace.len());
    for operation in trace {
        match *operation {
            Operation::Allocate(units) => match arena.allocate(units) {
                Some(place) => live.push(place),
                None => return false,
            },
            Operation::Free(place) => arena.free(live.swap_remove(place)),
        }
    }
    std::hint::black_box(live.len());
    true
}

fn timed<A: Arena>(trace: &[Operation], units: u32) -> f64 {
    let start = Instant::now();
    assert!(run::<A>(trace, units), "the arena is too small");
    start.elapsed().as_nanos() as f64 / trace.len() as f64
}

fn smallest<A: Arena>(trace: &[Operation], peak: u64) -> f64 {
    let (mut low, mut high) = (peak, 2 * peak);
    while high - low > peak / 200 {
        let middle = low.midpoint(high);
        if run::<A>(trace, middle as u32) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high as f64 / peak as f64
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// What the manager adds: its lock, its accounts, the block's fences.
fn manager() {
    let device = DeviceOptions { kind: Some(BackendKind::Host), ..DeviceOptions::default() };
    let device = Device::open(&device, 0, "").expect("a device");
    let pinned = Pinned::create(&device, PinnedOptions::new(Placement::Pinned, 64 << 20)).expect("a manager");
    // Something lives beside it.
    let _others: Vec<_> = (1..200).map(|n| pinned.allocate(&Request::new(n * 1000)).expect("a block")).collect();
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for _ in 0..OPERATIONS {
            let block = pinned.allocate(&Request::new(4096)).expect("a block");
            pinned.free(&block).expect("given back once");
        }
        start.elapsed().as_nanos() as f64 / OPERATIONS as f64
    });
    println!("\nthe manager: a block of 4 KiB from a slab, and back (median of {ROUNDS} rounds of {OPERATIONS})");
    println!("  allocate, free: {:.1} ns", median(times.collect()));
}

fn main() {
    for (name, least, most, arena) in [
        ("1 KiB to 64 MiB in 2 GiB", 1024.0, 67_108_864.0, 2u64 << 30),
        ("1 KiB to 1 MiB in 1 GiB", 1024.0, 1_048_576.0, 1 << 30),
    ] {
        let units = (arena / UNIT) as u32;
        let (operations, _) = trace(1, least, most, arena / UNIT * 6 / 10);
        let (mut own, mut peer, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        timed::<Tlsf>(&operations, units);
        timed::<BestFit>(&operations, units);
        for _ in 0..ROUNDS {
            own.push(timed::<Tlsf>(&operations, units));
            peer.push(timed::<BestFit>(&operations, units));
            ratios.push(own[own.len() - 1] / peer[peer.len() - 1]);
        }
        let fit = |smallest: fn(&[Operation], u64) -> f64| {
            let of = |seed| {
                let (operations, peak) = trace(seed, least, most, arena / UNIT * 6 / 10);
                smallest(&operations, peak)
            };
            median(vec![of(1), of(2), of(3)])
        };
        println!("\nplaces of {name} (median of {ROUNDS} rounds of {OPERATIONS}, in turns; arena/peak of 3 traces)");
        let print = |name, times: Vec<f64>, ratio, fit: f64| {
            println!("  {name:<44} {:>8.1} ns {ratio:>8.2} x   arena/peak {fit:.2}", median(times));
        };
        print("by hand: best fit in ordered maps", peer, 1.0, fit(smallest::<BestFit>));
        print("two-level segregated fit", own, median(ratios), fit(smallest::<Tlsf>));
    }
    manager();
}
