//! A device with random delays, streams, and work that looks at memory when it runs.

pub use crate::common::random::Random;
use crate::common::{device, kit, kit_of};
use gpubuf::backend::kit::{Delay, View};
use gpubuf::config::Timeout;
use gpubuf::error::Result;
use gpubuf::fence::{Device, Timeline};
use gpubuf::sync::{Arc, AtomicU64, Ordering};

pub fn seed() -> u64 {
    std::env::var("GPUBUF_STRESS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_231_116)
}

pub fn steps() -> u64 {
    std::env::var("GPUBUF_STRESS_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

pub const STREAMS: u64 = 3;

pub struct Rig {
    pub device: Arc<Device>,
    pub streams: Vec<Arc<Timeline>>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    wrong_bytes: AtomicU64,
    looks: AtomicU64,
    blind: AtomicU64,
}

/// What one piece of work is to find when it runs.
struct Look {
    seen: Arc<Seen>,
    address: u64,
    expected: Vec<u8>,
}

impl Rig {
    pub fn new(seed: u64) -> Rig {
        let device = device();
        // Real hardware has times of its own.
        if device.backend().facts().simulation {
            kit_of(&device).set_delay(Delay::Seeded { seed, max_ns: 20_000 }).expect("a delay");
            kit_of(&device).set_link(2_000, 10_000_000_000).expect("a link");
        }
        let streams = (0..STREAMS).map(|_| Timeline::create(&device, "").expect("a stream")).collect();
        Rig { device, streams, seen: Arc::default() }
    }

    pub fn any_stream(&self, random: &mut Random) -> &Arc<Timeline> {
        &self.streams[random.below(STREAMS) as usize]
    }

    /// Queues work that compares memory with `expected` when it runs.
    pub fn look(&self, stream: &Timeline, address: u64, expected: &[u8]) {
        self.try_look(stream, address, expected).expect("queued");
    }

    /// The same, on a device that may refuse it.
    pub fn try_look(&self, stream: &Timeline, address: u64, expected: &[u8]) -> Result<()> {
        fn compare(view: &dyn View, [look, _]: [usize; 2]) {
            // SAFETY: the box was leaked for this one call.
            let look = unsafe { Box::from_raw(look as *mut Look) };
            let mut found = vec![0; look.expected.len()];
            // SAFETY: the vector has room for its length.
            if unsafe { view.read(look.address, found.as_mut_ptr(), found.len()) }.is_err() {
                look.seen.blind.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let differs = found != look.expected;
            let wrong = if differs { found.iter().zip(&look.expected).filter(|(a, b)| a != b).count() } else { 0 };
            look.seen.wrong_bytes.fetch_add(wrong as u64, Ordering::Relaxed);
            look.seen.looks.fetch_add(1, Ordering::Relaxed);
        }
        let look = Look { seen: self.seen.clone(), address, expected: expected.to_vec() };
        let look = Box::into_raw(Box::new(look));
        kit(stream).call(compare, [look as usize, 0]).inspect_err(|_| {
            // SAFETY: refused, so the box is still this function's.
            drop(unsafe { Box::from_raw(look) });
        })
    }

    pub fn finish(&self) {
        self.device.drain(Timeout::Infinite).expect("a drain");
    }

    pub fn wrong_bytes(&self) -> u64 {
        self.seen.wrong_bytes.load(Ordering::Relaxed)
    }

    pub fn note_wrong(&self, bytes: usize) {
        self.seen.wrong_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn looks(&self) -> u64 {
        self.seen.looks.load(Ordering::Relaxed)
    }

    /// Looks that found no memory.
    pub fn blind(&self) -> u64 {
        self.seen.blind.load(Ordering::Relaxed)
    }
}
