//! Workspaces against a model, and shared by threads: no entry has two holders, the sums are right, no limit is passed.

mod common;
#[path = "common/workspaces.rs"]
mod workspaces;

use common::random::Random;
use common::{device, kit_of, status};
use gpubuf::config::{Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::sync::{Arc, AtomicBool, Mutex, Ordering};
use gpubuf::workspace::{Content, Held, Workspace};
use std::collections::BTreeMap;
use std::sync::Barrier;
use workspaces::{TRY, is, number, set, spec, workspace};

/// What the model knows of an entry.
struct Known {
    bytes: u64,
    name: Option<String>,
    free_since: u64,
    marker: u8,
}

struct Model {
    max_entries: u64,
    max_bytes: u64,
    known: BTreeMap<u64, Known>,
    held: Vec<Held>,
    clock: u64,
}

impl Model {
    fn holders(&self, entry: u64) -> usize {
        self.held.iter().filter(|held| number(held) == entry).count()
    }

    fn bytes(&self) -> u64 {
        self.known.values().map(|known| known.bytes).sum()
    }

    fn oldest_free(&self) -> Option<u64> {
        let free = self.known.iter().filter(|(entry, _)| self.holders(**entry) == 0);
        free.min_by_key(|(_, known)| known.free_since).map(|(entry, _)| *entry)
    }

    /// Makes room for so many bytes as the workspace must, or says that there is none.
    fn make_room(&mut self, bytes: u64) -> bool {
        let held = |(entry, _): &(&u64, &Known)| self.holders(**entry) > 0;
        let stays: Vec<u64> = self.known.iter().filter(held).map(|(_, known)| known.bytes).collect();
        if stays.len() as u64 + 1 > self.max_entries || stays.iter().sum::<u64>() + bytes > self.max_bytes {
            return false;
        }
        while self.known.len() as u64 + 1 > self.max_entries || self.bytes() + bytes > self.max_bytes {
            let oldest = self.oldest_free().expect("something is free");
            self.known.remove(&oldest);
        }
        true
    }

    fn made(&mut self, held: Held, bytes: u64, name: Option<String>, marker: u8) {
        let entry = Known { bytes, name, free_since: 0, marker };
        assert!(self.known.insert(number(&held), entry).is_none(), "made, and known already");
        self.held.push(held);
    }

    fn give_back(&mut self, place: usize) {
        let held = self.held.swap_remove(place);
        let entry = number(&held);
        drop(held);
        if self.holders(entry) == 0 {
            self.clock += 1;
            self.known.get_mut(&entry).expect("known").free_since = self.clock;
        }
    }

    fn release_name(&mut self, name: &str) -> bool {
        let named = self.known.iter().find(|(_, known)| known.name.as_deref() == Some(name));
        let Some(entry) = named.map(|(entry, _)| *entry) else { return false };
        // Given up now, where nobody holds it.
        self.clock += (self.holders(entry) == 0) as u64;
        let free_since = self.clock;
        let known = self.known.get_mut(&entry).expect("known");
        known.name = None;
        known.free_since = free_since;
        true
    }

    fn check(&self, workspace: &Workspace) {
        let stats = workspace.stats();
        assert_eq!((stats.entries, stats.bytes), (self.known.len() as u64, self.bytes()));
        assert!(stats.entries <= self.max_entries && stats.peak_bytes <= self.max_bytes, "over a limit");
        let held = self.known.keys().filter(|entry| self.holders(**entry) > 0).count() as u64;
        assert_eq!((stats.held_entries, stats.free_entries), (held, stats.entries - held));
        assert_eq!(stats.named_entries, self.known.values().filter(|known| known.name.is_some()).count() as u64);
        assert_eq!(
            workspace.device().counters.pinned_bytes.get() * 2,
            stats.bytes,
            "all of it, and nothing else, is there"
        );
        for held in &self.held {
            assert!(is(held, self.known[&number(held)].marker), "held content stays");
        }
    }
}

#[test]
fn a_workspace_is_what_the_model_says() {
    let device = device();
    let sizes = [8, 24, 40];
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let (max_entries, max_bytes) = (2 + random.below(6), 100 + random.below(300));
        let workspace = workspace(&device, max_entries as u32, max_bytes);
        let mut model = Model { max_entries, max_bytes, known: BTreeMap::new(), held: Vec::new(), clock: 0 };
        for step in 0..400u64 {
            let marker = (step % 251) as u8;
            let size = sizes[random.below(3) as usize];
            let name = format!("n{}", random.below(5));
            let fails = random.below(12) == 0;
            if fails {
                kit_of(&device).limit_memory(Placement::Device, 0).expect("a limit");
            }
            match random.below(10) {
                0..=2 => named(&workspace, &mut model, &name, size, fails, marker),
                3..=5 => nameless(&workspace, &mut model, size, fails, marker),
                6 | 7 if !model.held.is_empty() => {
                    let place = random.below(model.held.len() as u64) as usize;
                    model.give_back(place);
                }
                8 => {
                    let wanted = if model.release_name(&name) { Status::Ok } else { Status::NotFound };
                    assert_eq!(status(workspace.release_name(&name)), wanted);
                }
                9 => {
                    let (entries, bytes) = (random.below(5), random.below(300));
                    let mut gone = 0;
                    while model.known.len() as u64 > entries || model.bytes() > bytes {
                        let Some(oldest) = model.oldest_free() else { break };
                        model.known.remove(&oldest);
                        gone += 1;
                    }
                    assert_eq!(workspace.evict(entries, bytes).expect("evicted"), gone);
                }
                _ => {}
            }
            if fails {
                kit_of(&device).limit_memory(Placement::Device, 1 << 30).expect("a limit");
            }
            device.maintain();
            model.check(&workspace);
        }
        model.held.clear();
        workspace.clear().expect("cleared");
        device.maintain();
        assert_eq!(device.counters.pinned_bytes.get(), 0);
    }
}

fn named(workspace: &Arc<Workspace>, model: &mut Model, name: &str, size: u64, fails: bool, marker: u8) {
    let known = model.known.iter().find(|(_, known)| known.name.as_deref() == Some(name));
    let (wanted, entry) = match known.map(|(entry, known)| (*entry, known.bytes)) {
        Some((_, bytes)) if bytes != 2 * size => (Status::Exists, None),
        Some((entry, _)) => (Status::Ok, Some(entry)),
        None if !model.make_room(2 * size) => (Status::Budget, None),
        None if fails => (Status::OutOfDeviceMemory, None),
        None => (Status::Ok, None),
    };
    let got = workspace.get(name, &spec(size), TRY);
    assert_eq!(got.as_ref().map_or_else(|error| error.status(), |_| Status::Ok), wanted);
    let Ok(held) = got else { return };
    match entry {
        Some(entry) => {
            assert_eq!(number(&held), entry);
            assert!(is(&held, model.known[&entry].marker), "a name keeps its content");
            model.held.push(held);
        }
        None => {
            assert!(is(&held, 0));
            set(&held, marker);
            model.made(held, 2 * size, Some(name.into()), marker);
        }
    }
}

fn nameless(workspace: &Arc<Workspace>, model: &mut Model, size: u64, fails: bool, marker: u8) {
    let fits = |(entry, known): &(&u64, &Known)| {
        known.name.is_none() && known.bytes == 2 * size && model.holders(**entry) == 0
    };
    let free = model.known.iter().filter(fits).min_by_key(|(_, known)| known.free_since).map(|(entry, _)| *entry);
    let wanted = match free {
        Some(_) => Status::Ok,
        None if !model.make_room(2 * size) => Status::Budget,
        None if fails => Status::OutOfDeviceMemory,
        None => Status::Ok,
    };
    let got = workspace.allocate(&spec(size), Content::Any, TRY);
    assert_eq!(got.as_ref().map_or_else(|error| error.status(), |_| Status::Ok), wanted);
    let Ok(held) = got else { return };
    assert_eq!(model.holders(number(&held)), 0, "nobody else has it");
    set(&held, marker);
    match free {
        Some(entry) => {
            assert_eq!(number(&held), entry, "the longest free one");
            model.known.get_mut(&entry).expect("known").marker = marker;
            model.held.push(held);
        }
        None => model.made(held, 2 * size, None, marker),
    }
}

#[test]
fn threads_that_ask_for_one_name_get_one_buffer() {
    let device = device();
    let workspace = workspace(&device, 0, 0);
    let start = Barrier::new(4);
    let ask = || {
        start.wait();
        workspace.get("shared", &spec(4096), Timeout::Infinite).expect("a buffer")
    };
    let got = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect::<Vec<_>>()
    });
    assert!(got.iter().all(|held| number(held) == number(&got[0])));
    let stats = workspace.stats();
    assert_eq!((stats.made, stats.found, stats.entries), (1, 3, 1));
}

#[test]
fn threads_share_what_there_is() {
    let device = device();
    let workspace = workspace(&device, 5, 600);
    // Whether the buffer of this number has a holder of its own.
    let taken: Mutex<BTreeMap<u64, Arc<AtomicBool>>> = Mutex::default();
    let run = |seed: u64| {
        let mut random = Random::new(seed);
        let mut held: Vec<(Held, Option<Arc<AtomicBool>>)> = Vec::new();
        for _ in 0..300 {
            let size = [16, 40][random.below(2) as usize];
            let got = match random.below(8) {
                0 => workspace
                    .get(["a", "b"][random.below(2) as usize], &spec(size), Timeout::Infinite)
                    .map(|it| (it, None)),
                1..=3 => workspace.allocate(&spec(size), Content::Any, Timeout::Infinite).map(|buffer| {
                    let own = taken.lock().entry(number(&buffer)).or_default().clone();
                    assert!(!own.swap(true, Ordering::SeqCst), "two holders at once");
                    (buffer, Some(own))
                }),
                4 => {
                    let released = status(workspace.release_name(["a", "b"][random.below(2) as usize]));
                    assert!(matches!(released, Status::Ok | Status::NotFound));
                    continue;
                }
                5 => {
                    workspace.evict(random.below(5), 600).expect("evicted");
                    continue;
                }
                _ if !held.is_empty() => {
                    let (buffer, own) = held.swap_remove(random.below(held.len() as u64) as usize);
                    own.into_iter().for_each(|own| own.store(false, Ordering::SeqCst));
                    drop(buffer);
                    continue;
                }
                _ => continue,
            };
            match got {
                Ok(got) => held.push(got),
                Err(error) => assert!(matches!(error.status(), Status::Budget | Status::Exists), "{error:?}"),
            }
        }
        for (buffer, own) in held {
            own.into_iter().for_each(|own| own.store(false, Ordering::SeqCst));
            drop(buffer);
        }
    };
    std::thread::scope(|scope| {
        for seed in 1..4 {
            let run = &run;
            scope.spawn(move || run(seed));
        }
    });
    let stats = workspace.stats();
    assert!(stats.peak_bytes <= 600 && stats.entries <= 5, "{stats:?}");
    assert_eq!((stats.held_entries, stats.held_bytes), (0, 0));
    workspace.clear().expect("cleared");
    device.maintain();
    assert_eq!(device.counters.pinned_bytes.get(), 0, "nothing is lost");
}
