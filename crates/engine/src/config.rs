//! What a caller chooses about a device.

/// Where memory lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryKind {
    /// Memory of the accelerator; the CPU faults when it touches it.
    Device,
    /// Page-locked host memory that both sides reach.
    Pinned,
}

/// When a copy *from* memory that the engine does not own reads its source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pageable {
    /// During the submission, into a staging buffer; the caller may overwrite the source at once.
    Staged,
    /// When the copy runs; the source must stay valid and unchanged until then.
    Late,
}

/// What the device sees of page-locked memory by its device address. By the host's pointer it always sees what is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InPlace {
    /// The memory itself.
    Live,
    /// A copy from the moment the memory was allocated or registered, which nothing brings up to date: as where memory
    /// is mapped for the device once and for all. Words that streams wait for are live all the same.
    Snapshot,
}

/// A wait before each operation starts, to move the device's timing against the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Delay {
    /// Start as soon as the stream reaches the operation.
    None,
    /// The same wait before each operation.
    Fixed {
        /// Nanoseconds.
        ns: u64,
    },
    /// A wait that varies by operation, the same in each run: it follows from the seed, the order in which the
    /// device's streams were made and the operation's position in its stream.
    Seeded {
        /// Any number; another seed gives another sequence.
        seed: u64,
        /// The longest wait, in nanoseconds; waits are spread evenly over `0..=max_ns`.
        max_ns: u64,
    },
    /// To find races: half of the operations wait not at all, a quarter up to a sixteenth of `max_ns`, a quarter up to all
    /// of it, so that streams overtake each other wherever no event orders them. Who submits is made to pause as well, now
    /// and then, so that the device also overtakes the program. All of it follows from the same numbers as for `Seeded`.
    Perturbed {
        /// Any number; another seed gives another schedule.
        seed: u64,
        /// The longest wait, in nanoseconds.
        max_ns: u64,
    },
}

impl Delay {
    /// Nanoseconds to wait before operation number `position` of the stream made as number `stream`.
    pub(crate) fn before(self, stream: u64, position: u64) -> u64 {
        match self {
            Delay::None => 0,
            Delay::Fixed { ns } => ns,
            Delay::Seeded { seed, max_ns } => spread(draw(seed, stream, position), max_ns),
            Delay::Perturbed { seed, max_ns } => {
                let drawn = draw(seed, stream, position);
                match drawn % 4 {
                    0 | 1 => 0,
                    2 => spread(drawn >> 2, max_ns / 16),
                    _ => spread(drawn >> 2, max_ns),
                }
            }
        }
    }

    /// Nanoseconds that whoever submitted operation number `position` of that stream pauses behind it.
    pub(crate) fn behind_submission(self, stream: u64, position: u64) -> u64 {
        match self {
            Delay::Perturbed { seed, max_ns } => {
                let drawn = draw(!seed, stream, position);
                if drawn.is_multiple_of(8) { spread(drawn >> 3, max_ns) } else { 0 }
            }
            _ => 0,
        }
    }
}

/// A number that follows from these three.
fn draw(seed: u64, stream: u64, position: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(stream)).wrapping_add(position))
}

/// Spread evenly over `0..=most`.
fn spread(drawn: u64, most: u64) -> u64 {
    match most.checked_add(1) {
        Some(choices) => drawn % choices,
        None => drawn,
    }
}

/// One step of the splitmix64 generator: neighbouring inputs give unrelated outputs.
fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What a device is made with. Everything but the name can be changed later by [`Device`](crate::Device)'s setters.
#[derive(Clone, Debug)]
pub struct Config {
    /// What [`Device::name`](crate::Device::name) answers.
    pub name: String,
    /// Most device memory, in bytes, that may be allocated at a time.
    pub device_memory_bytes: u64,
    /// Most pinned memory, in bytes, that may be allocated at a time.
    pub pinned_memory_bytes: u64,
    /// Nanoseconds before the first byte of a copy crosses the link.
    pub link_latency_ns: u64,
    /// Bytes per second over the link; 0 means that bytes take no time.
    pub link_bandwidth: u64,
    /// The wait before each operation.
    pub delay: Delay,
    /// When copies from pageable memory read it.
    pub pageable: Pageable,
    /// What the device sees of page-locked memory that is made from now on.
    pub in_place: InPlace,
    /// Whether host memory has a page before and a page behind that fault: what runs over an end is noticed there.
    pub margins: bool,
}

impl Default for Config {
    /// 16 GiB of each kind of memory, no latency, infinite bandwidth, no delay, staged pageable copies.
    fn default() -> Config {
        Config {
            name: "emulated device".to_string(),
            device_memory_bytes: 16 << 30,
            pinned_memory_bytes: 16 << 30,
            link_latency_ns: 0,
            link_bandwidth: 0,
            delay: Delay::None,
            pageable: Pageable::Staged,
            in_place: InPlace::Live,
            margins: false,
        }
    }
}

/// The settings that may change while operations are queued; read when an operation is submitted (`pageable`), memory
/// is made (`in_place`), or an operation starts (the others).
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) latency_ns: u64,
    pub(crate) bandwidth: u64,
    pub(crate) delay: Delay,
    pub(crate) pageable: Pageable,
    pub(crate) in_place: InPlace,
}

impl Settings {
    pub(crate) fn of(config: &Config) -> Settings {
        Settings {
            latency_ns: config.link_latency_ns,
            bandwidth: config.link_bandwidth,
            delay: config.delay,
            pageable: config.pageable,
            in_place: config.in_place,
        }
    }

    /// Nanoseconds that `bytes` take over the link, without the latency.
    pub(crate) fn transfer_ns(&self, bytes: usize) -> u64 {
        if self.bandwidth == 0 {
            return 0;
        }
        let ns = bytes as u128 * 1_000_000_000 / u128::from(self.bandwidth);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_delays_repeat_and_stay_in_range() {
        let delay = Delay::Seeded { seed: 7, max_ns: 1000 };
        let first: Vec<u64> = (0..100).map(|n| delay.before(1, n)).collect();
        assert_eq!(first, (0..100).map(|n| delay.before(1, n)).collect::<Vec<_>>());
        assert!(first.iter().all(|ns| *ns <= 1000));
        assert!(first.iter().any(|ns| *ns != first[0]));
        assert_ne!(first, (0..100).map(|n| delay.before(2, n)).collect::<Vec<_>>());
        Delay::Seeded { seed: 7, max_ns: u64::MAX }.before(0, 0);
    }

    #[test]
    fn perturbed_schedules_repeat_and_mix_no_wait_with_long_ones() {
        let of = |seed| {
            let delay = Delay::Perturbed { seed, max_ns: 1600 };
            (0..400).map(|n| (delay.before(0, n), delay.behind_submission(0, n))).collect::<Vec<_>>()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        assert!(of(3).iter().all(|(before, behind)| *before <= 1600 && *behind <= 1600));
        let count = |wanted: &dyn Fn(&(u64, u64)) -> bool| of(3).iter().filter(|pair| wanted(pair)).count();
        assert!((120..280).contains(&count(&|(before, _)| *before == 0)));
        assert!((40..160).contains(&count(&|(before, _)| *before > 100)));
        assert!((20..100).contains(&count(&|(_, behind)| *behind > 0)));
        assert_eq!(Delay::Seeded { seed: 3, max_ns: 9 }.behind_submission(0, 0), 0);
    }

    #[test]
    fn transfer_time_neither_overflows_nor_divides_by_zero() {
        let mut settings = Settings::of(&Config::default());
        assert_eq!(settings.transfer_ns(usize::MAX), 0);
        settings.bandwidth = 1;
        assert_eq!(settings.transfer_ns(usize::MAX), u64::MAX);
        settings.bandwidth = 1_000_000_000;
        assert_eq!(settings.transfer_ns(4096), 4096);
    }
}
