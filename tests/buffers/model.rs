//! Random operations on a buffer and views of it, against a plain model of what each byte is and which side has it.
//!
//! The model knows the order of the calls and nothing else. What it cannot know (the bytes behind a copy that failed, or beyond
//! the old end) is `None`. Streams are held shut at random, so that what is refused and what is queued is as random.

use crate::common::*;
use crate::{SIDES, newer, shape};
use gpubuf::backend::kit::{FailWhen, Operation, View};
use gpubuf::buffer::{Buffer, BufferSettings};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Policy, Timeline, Which};
use gpubuf::sync::Arc;

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

/// Numbers in runs, for people.
fn runs(places: &[usize]) -> String {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for place in places {
        match out.last_mut() {
            Some((_, end)) if *end == *place => *end += 1,
            _ => out.push((*place, place + 1)),
        }
    }
    out.iter().map(|(start, end)| format!("{start}..{end} ")).collect()
}

/// One byte on one side.
#[derive(Clone, Copy, Default)]
struct Byte {
    value: Option<u8>,
    newer: bool,
    /// Newer only for want of a copy that failed, which nobody may have noticed yet.
    by_failure: bool,
    /// Perhaps newer: that failure may have been noticed before something made up for it.
    perhaps: bool,
}

const CAPACITY: usize = 240;

struct Rig {
    device: Arc<Device>,
    streams: Vec<Arc<Timeline>>,
    held: Vec<bool>,
    whole: Arc<Buffer>,
    views: Vec<Arc<Buffer>>,
    host: Vec<Byte>,
    on_device: Vec<Byte>,
    random: Random,
    log: Vec<String>,
}

/// The bytes of the block that elements of a buffer of bytes are.
fn places(buffer: &Buffer, first: u64, count: u64) -> Vec<usize> {
    let layout = buffer.layout();
    let (columns, pitch) = (layout.row_bytes(), layout.strides()[0] as usize);
    (first as usize..(first + count) as usize).map(|at| layout.start() + at / columns * pitch + at % columns).collect()
}

struct Kernel {
    address: u64,
    places: Vec<u64>,
    value: u8,
}

fn kernel(view: &dyn View, [kernel, _]: [usize; 2]) {
    // SAFETY: the box was leaked for this one call.
    let kernel = unsafe { Box::from_raw(kernel as *mut Kernel) };
    for place in kernel.places {
        // SAFETY: one byte.
        unsafe { view.write(kernel.address + place, &kernel.value, 1) }.expect("device memory");
    }
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let device = device();
        let streams: Vec<_> = (0..3).map(|_| stream(&device)).collect();
        let options = gpubuf::buffer::BufferOptions { shape: shape(&[10, 12]), ..pair_of(1) };
        let settings =
            BufferSettings { capacity: CAPACITY as u64, timed: seed.is_multiple_of(2), ..Default::default() };
        let whole = Buffer::create_with(&device, options, settings).expect("a buffer");
        let zero = vec![Byte { value: Some(0), ..Byte::default() }; CAPACITY];
        let (host, on_device) = (zero.clone(), zero);
        let (held, views, log) = (vec![false; 3], Vec::new(), Vec::new());
        Rig { device, streams, held, whole, views, host, on_device, random: Random(seed), log }
    }

    fn side(&mut self, which: Which) -> &mut Vec<Byte> {
        if which == Which::Host { &mut self.host } else { &mut self.on_device }
    }

    /// Something else than a copy wrote a side.
    fn written(&mut self, which: Which, places: &[usize], value: Option<u8>) {
        let other = if which == Which::Host { Which::Device } else { Which::Host };
        for place in places {
            let byte = &mut self.side(which)[*place];
            *byte = Byte { value: value.or(byte.value), newer: true, by_failure: false, perhaps: false };
            // The copy here that failed has nothing to tell any more, unless it was told before.
            let source = &mut self.side(other)[*place];
            if source.by_failure {
                *source = Byte { newer: false, by_failure: false, perhaps: true, ..*source };
            }
        }
    }

    fn copied(&mut self, up: bool, places: &[usize], failed: bool) {
        for place in places {
            let (source, target) = match up {
                true => (&mut self.host[*place], &mut self.on_device[*place]),
                false => (&mut self.on_device[*place], &mut self.host[*place]),
            };
            let value = if failed { None } else { source.value };
            *target = Byte { value, ..Byte::default() };
            *source = Byte { value: source.value, newer: failed, by_failure: failed, perhaps: false };
        }
    }

    /// Everything runs; then what is there is held against the model.
    fn check(&mut self) {
        for (stream, held) in self.streams.iter().zip(&mut self.held) {
            if std::mem::take(held) {
                kit(stream).release().expect("a release");
            }
        }
        self.streams.iter().for_each(|stream| ran(stream));
        let (host, on_device) = self.contents();
        let marks = SIDES.map(|side| {
            let mut out = vec![false; CAPACITY.max(host.len())];
            for (first, count) in newer(&self.whole, side) {
                out[first as usize..(first + count) as usize].fill(true);
            }
            out
        });
        for place in 0..self.whole.layout().bytes() {
            let (below, above) = (self.host[place], self.on_device[place]);
            let tell = || format!("byte {place}\n{}", self.log.join("\n"));
            assert!(
                below.value.is_none_or(|value| value == host[place]),
                "host: {below:?}, {} at {}",
                host[place],
                tell()
            );
            assert!(
                above.value.is_none_or(|value| value == on_device[place]),
                "device: {above:?}, {} at {}",
                on_device[place],
                tell()
            );
            assert!(!below.newer || marks[0][place], "newer on the host, and not marked: {}", tell());
            assert!(!above.newer || marks[1][place], "newer on the device, and not marked: {}", tell());
            let known = below.value.is_some() && above.value.is_some();
            assert!(
                !known || marks[0][place] || marks[1][place] || host[place] == on_device[place],
                "not the same, and not marked: {}",
                tell()
            );
        }
    }

    /// What both sides hold. Nothing is under way.
    fn contents(&self) -> (Vec<u8>, Vec<u8>) {
        let bytes = self.whole.layout().bytes();
        let pointer = self.whole.host_ptr().expect("the host side");
        // SAFETY: as many bytes, and nobody writes them.
        let host = unsafe { std::slice::from_raw_parts(pointer, bytes) }.to_vec();
        // Copies that failed are told one after the other.
        let address = loop {
            match self.whole.device_address(&self.streams) {
                Err(error) if error.status() == Status::CopyFailed => {}
                address => break address.expect("an address"),
            }
        };
        (host, read_device(&self.device, address, bytes as u64))
    }

    /// A handle, and a range of it that is whole rows where it has gaps.
    fn target(&mut self) -> (Arc<Buffer>, u64, u64, Vec<usize>) {
        let chosen = self.random.below(self.views.len() as u64 + 1) as usize;
        let buffer = self.views.get(chosen).unwrap_or(&self.whole).clone();
        let layout = buffer.layout();
        let unit = if layout.all().is_window() { layout.row_bytes() as u64 } else { 1 };
        let units = layout.shape().count() / unit;
        let first = self.random.below(units);
        let count = 1 + self.random.below(units - first);
        let places = places(&buffer, first * unit, count * unit);
        (buffer, first * unit, count * unit, places)
    }

    fn stream(&mut self) -> Arc<Timeline> {
        let at = self.random.below(3) as usize;
        self.streams[at].clone()
    }

    /// Whether the call was done. It may be refused because something is under way, or to tell of a copy that failed.
    fn done(&mut self, what: &str, result: Result<()>) -> bool {
        let status = status(result);
        self.log.push(format!("{what}: {status:?}"));
        let refusals = [Status::Ok, Status::Busy, Status::CopyFailed, Status::DriverError];
        assert!(refusals.contains(&status), "{}", self.log.join("\n"));
        status == Status::Ok
    }

    fn step(&mut self) {
        let value = self.random.below(256) as u8;
        match self.random.below(14) {
            0 | 1 => {
                let (buffer, first, count, places) = self.target();
                let bytes = vec![value; count as usize];
                // SAFETY: as many bytes.
                let written = unsafe { buffer.copy_in(first, count, bytes.as_ptr(), Timeout::Try) };
                if self.done(&format!("write {}", runs(&places)), written) {
                    self.written(Which::Host, &places, Some(value));
                }
            }
            2 | 3 => {
                let (buffer, first, count, places) = self.target();
                let (stream, up) = (self.stream(), self.random.below(2) == 0);
                let fails = copies_fail_alone() && self.random.below(4) == 0;
                let when = if self.random.below(3) == 0 { FailWhen::Submission } else { FailWhen::Execution };
                if fails {
                    kit_of(&self.device).fail_operation(Some(Operation::Copy), 1, when).expect("a fault");
                }
                let copied = buffer.copy(up, first, count, &stream, None);
                if fails {
                    kit_of(&self.device).fail_operation(Some(Operation::Copy), 0, when).expect("no fault");
                }
                if self.done(&format!("copy up {up} {}, fails {fails} at {when:?}", runs(&places)), copied) {
                    self.copied(up, &places, fails && when == FailWhen::Execution);
                }
            }
            4 => {
                let chosen = self.random.below(self.views.len() as u64 + 1) as usize;
                let buffer = self.views.get(chosen).unwrap_or(&self.whole).clone();
                let places = places(&buffer, 0, buffer.shape().count());
                let (stream, sides) = (self.stream(), 1 + self.random.below(3));
                let (host, on_device) = (sides & 1 != 0, sides & 2 != 0);
                let filled = buffer.fill(host, on_device, &[value], Some(&stream), Timeout::Try);
                if self.done(&format!("fill {sides} {}", runs(&places)), filled) {
                    if host {
                        self.written(Which::Host, &places, Some(value));
                    }
                    match (host, on_device) {
                        (true, true) => self.copied(true, &places, false),
                        (false, true) => self.written(Which::Device, &places, Some(value)),
                        _ => {}
                    }
                }
            }
            5 | 6 => self.launch(value),
            7 => {
                let (buffer, first, count, places) = self.target();
                let which = SIDES[self.random.below(2) as usize];
                let marked = buffer.mark_newer(which, first, count);
                if self.done(&format!("mark {which:?} {}", runs(&places)), marked) {
                    self.written(which, &places, None);
                }
            }
            8 | 9 => self.sync(),
            10 => self.resize(),
            11 => {
                let at = self.random.below(3) as usize;
                match std::mem::replace(&mut self.held[at], true) {
                    false => hold(&self.streams[at]),
                    true => {
                        kit(&self.streams[at]).release().expect("a release");
                        self.held[at] = false;
                    }
                }
            }
            12 if self.views.len() < 4 => {
                let (buffer, ..) = self.target();
                let layout = buffer.layout();
                let row = self.random.below(layout.rows());
                let columns = layout.row_bytes() as u64;
                let column = self.random.below(columns);
                let (rows, wide) =
                    (1 + self.random.below(layout.rows() - row), 1 + self.random.below(columns - column));
                let view = match self.random.below(2) {
                    0 => buffer.slice(row, rows),
                    _ => buffer.window((row, rows), (column, wide)),
                };
                self.log.push(format!("view {row}+{rows} {column}+{wide}"));
                self.views.push(view.expect("a view"));
            }
            _ => {
                let keep = self.random.below(self.views.len() as u64 + 1) as usize;
                self.views.truncate(keep);
            }
        }
    }

    /// A kernel writes the device side, behind all that is queued, and is declared.
    fn launch(&mut self, value: u8) {
        let chosen = self.random.below(self.views.len() as u64 + 1) as usize;
        let buffer = self.views.get(chosen).unwrap_or(&self.whole).clone();
        let places = places(&buffer, 0, buffer.shape().count());
        let stream = self.stream();
        let address = match buffer.device_address(std::slice::from_ref(&stream)) {
            Ok(address) => address,
            Err(error) => {
                self.done("address", Err(error));
                return;
            }
        };
        for other in &self.streams {
            stream.wait_for(&other.record().expect("a fence")).expect("a wait");
        }
        let start = buffer.layout().start();
        let work = Kernel { address, places: places.iter().map(|place| (place - start) as u64).collect(), value };
        kit(&stream).call(kernel, [Box::into_raw(Box::new(work)) as usize, 0]).expect("a call");
        buffer.used_on(&stream, Access::Write).expect("declared");
        self.log.push(format!("kernel {}", runs(&places)));
        self.written(Which::Device, &places, Some(value));
    }

    fn sync(&mut self) {
        let chosen = self.random.below(self.views.len() as u64 + 1) as usize;
        let buffer = self.views.get(chosen).unwrap_or(&self.whole).clone();
        let stream = self.stream();
        let policy = [Policy::Refuse, Policy::Host, Policy::Device, Policy::Newest][self.random.below(4) as usize];
        let fails = copies_fail_alone() && self.random.below(4) == 0;
        let when = if self.random.below(3) == 0 { FailWhen::Submission } else { FailWhen::Execution };
        let nth = 1 + self.random.below(3);
        if fails {
            kit_of(&self.device).fail_operation(Some(Operation::Copy), nth, when).expect("a fault");
        }
        let synced = status(buffer.sync(Some(policy), &stream, None));
        if fails {
            kit_of(&self.device).fail_operation(Some(Operation::Copy), 0, when).expect("no fault");
        }
        let places = places(&buffer, 0, buffer.shape().count());
        self.log.push(format!("sync {policy:?} {}, fails {fails} {nth} at {when:?}: {synced:?}", runs(&places)));
        match synced {
            Status::Busy | Status::CopyFailed => {}
            Status::Conflict => {
                let marks = SIDES.map(|side| newer(&buffer, side));
                let overlap = |a: &(u64, u64)| marks[1].iter().any(|b| a.0 < b.0 + b.1 && b.0 < a.0 + a.1);
                assert!(marks[0].iter().any(overlap), "{}", self.log.join("\n"));
            }
            Status::Ok if !fails => {
                for place in places {
                    let (below, above) = (self.host[place], self.on_device[place]);
                    let by_failure = below.by_failure || above.by_failure;
                    let in_turns = below.newer && above.newer && policy == Policy::Newest;
                    let unclear = below.perhaps || above.perhaps || by_failure || in_turns;
                    let up = match (below.newer, above.newer) {
                        (true, false) => true,
                        (false, true) => false,
                        _ => policy == Policy::Host,
                    };
                    if unclear {
                        // Which of the two was taken, if any, only the library knows.
                        let value = if below.value == above.value { below.value } else { None };
                        let perhaps = below.perhaps || above.perhaps || by_failure;
                        self.host[place] = Byte { value, perhaps, ..Byte::default() };
                        self.on_device[place] = self.host[place];
                    } else if below.newer || above.newer {
                        self.copied(up, &[place], false);
                    }
                    // Neither is newer: the same on both sides, or known of neither.
                }
            }
            _ => self.adopt(&places),
        }
    }

    /// A sync of which a part may have failed: from here on the model is what is there. What is not the same is still marked.
    fn adopt(&mut self, places: &[usize]) {
        for place in places {
            let (below, above) = (&mut self.host[*place], &mut self.on_device[*place]);
            if below.newer || above.newer || below.perhaps || above.perhaps {
                *below = Byte { value: None, perhaps: true, ..Byte::default() };
                *above = Byte { value: None, perhaps: true, ..Byte::default() };
            }
        }
        for (stream, held) in self.streams.iter().zip(&mut self.held) {
            if std::mem::take(held) {
                kit(stream).release().expect("a release");
            }
        }
        self.streams.iter().for_each(|stream| ran(stream));
        let (host, on_device) = self.contents();
        for place in places {
            if self.host[*place].perhaps {
                self.host[*place].value = Some(host[*place]);
                self.on_device[*place].value = Some(on_device[*place]);
            }
        }
    }

    fn resize(&mut self) {
        let old = self.whole.layout();
        let columns = if self.random.below(2) == 0 { old.row_bytes() as u64 } else { 6 + self.random.below(10) };
        let rows = 1 + self.random.below(CAPACITY as u64 / columns + 2);
        let bytes = (rows * columns) as usize;
        let keep = (self.random.below(2) == 0, self.random.below(2) == 0);
        let stream = self.stream();
        let beyond = bytes > self.whole.capacity();
        let resized = self.whole.resize(shape(&[rows, columns]), keep, Some(&stream), Timeout::Try);
        if !self.done(&format!("resize to {rows} x {columns}, keep {keep:?}, beyond {beyond}"), resized) {
            assert_eq!(self.whole.layout(), old, "refused, and as before");
            return;
        }
        if !beyond {
            // Also what is behind its end now is as it was when it grows again.
            return;
        }
        let end = old.bytes().min(bytes);
        for side in SIDES {
            self.side(side).truncate(end);
            self.side(side).resize(bytes, Byte { value: Some(0), ..Byte::default() });
        }
        for place in 0..end {
            let gone = Byte { value: Some(0), ..Byte::default() };
            if !keep.0 {
                self.host[place] = gone;
            }
            if !keep.1 {
                self.on_device[place] = gone;
            }
            let only = |byte: Byte| Byte { newer: true, by_failure: false, perhaps: false, ..byte };
            match keep {
                (true, false) => self.host[place] = only(self.host[place]),
                (false, true) => self.on_device[place] = only(self.on_device[place]),
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for Byte {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}{}", self.value, if self.newer { " newer" } else { "" })
    }
}

#[test]
fn random_operations_on_a_buffer_are_what_the_model_says() {
    for seed in 0..12 {
        let mut rig = Rig::new(seed);
        for step in 0..500 {
            rig.step();
            if step % 16 == 15 {
                rig.check();
                rig.log.push("checked".into());
            }
        }
        rig.check();
        let Rig { device, whole, views, .. } = rig;
        drop((whole, views));
        assert!([Status::Ok, Status::CopyFailed].contains(&status(device.drain(Timeout::Infinite))));
        assert_eq!(device.counters.pinned_bytes.get() + device.counters.device_bytes.get(), 0);
    }
}

#[test]
fn the_model_has_what_it_needs() {
    let device = device();
    let whole = buffer(&device, gpubuf::buffer::BufferOptions { shape: shape(&[4, 5]), ..pair_of(1) });
    let window = whole.window((1, 2), (2, ALL)).unwrap();
    assert_eq!(places(&window, 0, 6), [7, 8, 9, 12, 13, 14]);
    assert_eq!(whole.placements().0, Placement::Pinned);
}
