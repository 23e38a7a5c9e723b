//! Random operations against a simple model: a list of what is out, and sums. Deterministic: whatever is queued is queued
//! on streams that are held shut until the model says otherwise.

use crate::common::*;
use crate::kit::*;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::lease::{Lease, Twin};
use gpubuf::pinned::{Over, Owner, Pinned, PinnedOptions, Request, Reservation};
use gpubuf::sync::Arc;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// A block that is out.
struct Out {
    lease: Lease,
    bytes: u64,
    address: u64,
    value: u8,
    pageable: bool,
    owner: usize,
    /// Streams with work that uses it.
    used: [bool; 2],
}

/// A block that was given back while work used it.
struct Pending {
    bytes: u64,
    address: u64,
    pageable: bool,
}

struct World {
    device: Arc<Device>,
    pinned: Arc<Pinned>,
    streams: [Arc<Timeline>; 2],
    shut: [bool; 2],
    out: Vec<Out>,
    pending: Vec<Pending>,
    reservations: Vec<(Arc<Reservation>, u64)>,
    budget: u64,
    /// The driver's memory is short.
    short: bool,
    lost: bool,
    quarantined: u64,
}

const OWNERS: [&str; 3] = ["", "model-a", "model-b"];

impl World {
    fn new(random: &mut Random) -> World {
        let device = device();
        let budget = 1 << (10 + random.below(12));
        let options = PinnedOptions {
            slab_bytes: 1 << (12 + random.below(10)),
            large_bytes: [0, 0, 5000, 1][random.below(4) as usize],
            ..PinnedOptions::new([Placement::Pinned, Placement::Uva][random.below(2) as usize], budget)
        };
        let pinned = Pinned::create(&device, options).unwrap();
        // Some drivers have one limit for all their contexts.
        kit_of(&device).limit_memory(Placement::Pinned, 16 << 30).unwrap();
        let streams = [stream(&device), stream(&device)];
        World {
            device,
            pinned,
            streams,
            shut: [false; 2],
            out: Vec::new(),
            pending: Vec::new(),
            reservations: Vec::new(),
            budget,
            short: false,
            lost: false,
            quarantined: 0,
        }
    }

    /// What of the budget nobody can have, once what is over is noticed.
    fn committed(&self) -> u64 {
        let out: u64 = self.out.iter().filter(|out| !out.pageable).map(|out| out.bytes).sum();
        let pending: u64 = self.pending.iter().filter(|block| !block.pageable).map(|block| block.bytes).sum();
        let reserved: u64 = self.reservations.iter().map(|reserved| reserved.1).sum();
        out + pending + reserved + self.quarantined
    }

    fn request(&self, random: &mut Random) -> (Request, usize) {
        let owner = random.below(3) as usize;
        let most = 1 + (self.budget >> random.below(7));
        let request = Request {
            alignment: if random.below(3) == 0 { 1 << random.below(14) } else { 0 },
            owner: Owner::new(OWNERS[owner]).unwrap(),
            over: if random.below(5) == 0 { Over::Pageable } else { Over::Fail },
            twin: if random.below(3) == 0 { Twin::Eager } else { Twin::Never },
            ..Request::new(1 + random.below(most))
        };
        (request, owner)
    }

    fn took(&mut self, lease: Lease, request: &Request, owner: usize, random: &mut Random) {
        let address = lease.host_ptr().unwrap() as u64;
        assert_eq!(address % request.alignment.max(256), 0);
        let value = random.below(256) as u8;
        write(&lease, value);
        let pageable = lease.placement() == Placement::Pageable;
        let bytes = request.bytes;
        assert_eq!(lease.bytes(), bytes);
        self.out.push(Out { lease, bytes, address, value, pageable, owner, used: [false; 2] });
    }

    fn allocate(&mut self, random: &mut Random) {
        let (request, owner) = self.request(random);
        let fits = self.committed() + request.bytes <= self.budget;
        let got = self.pinned.allocate(&request);
        if self.lost {
            assert_eq!(status(got), Status::DeviceLost);
            return;
        }
        match got {
            Ok(lease) => {
                let pageable = lease.placement() == Placement::Pageable;
                assert!(fits || pageable, "{request:?} is over the budget");
                assert!(!pageable || request.over == Over::Pageable && (!fits || self.short));
                self.took(lease, &request, owner, random);
            }
            Err(error) if fits => {
                assert!(self.short && error.status() == Status::OutOfHostMemory, "{request:?} has room: {error}");
            }
            Err(error) => assert!(error.status() == Status::Budget && request.over == Over::Fail, "{error}"),
        }
    }

    /// Queues a copy, on a stream that is held shut.
    fn queue(&mut self, random: &mut Random) {
        let stream = random.below(2) as usize;
        let place = random.below(self.out.len().max(1) as u64) as usize;
        let Some(out) = self.out.get_mut(place) else { return };
        if self.lost || !out.lease.has_device_side().unwrap() {
            return;
        }
        if !self.shut[stream] {
            hold(&self.streams[stream]);
            self.shut[stream] = true;
        }
        out.lease.copy(true, 0, ALL, &self.streams[stream], None).unwrap();
        out.used[stream] = true;
    }

    fn free(&mut self, random: &mut Random) {
        if self.out.is_empty() {
            return;
        }
        let mut out = self.out.swap_remove(random.below(self.out.len() as u64) as usize);
        self.look(&out);
        let after = random.below(3) as usize;
        if after < 2 && !self.lost {
            if !self.shut[after] {
                hold(&self.streams[after]);
                self.shut[after] = true;
            }
            busy(&self.streams[after]);
            // Kernels use the twin where there is one, unless the block itself is theirs to use.
            let twin_alone = out.lease.has_device_side().unwrap() && out.lease.placement() != Placement::Uva;
            out.lease.release_after(&[self.streams[after].clone()]).unwrap();
            out.used[after] |= !twin_alone;
        } else {
            self.pinned.free(&out.lease).unwrap();
        }
        assert_eq!(status(self.pinned.free(&out.lease)), Status::NotHeld);
        let Out { bytes, address, pageable, used, .. } = out;
        if used.contains(&true) {
            if self.lost {
                self.quarantined += if pageable { 0 } else { bytes };
            } else {
                self.pending.push(Pending { bytes, address, pageable });
            }
        }
    }

    /// Lets the streams run, both: what one queues may wait for the other.
    fn open(&mut self) {
        if self.lost {
            return;
        }
        for (stream, shut) in self.streams.iter().zip(&self.shut) {
            if *shut {
                kit(stream).release().unwrap();
            }
        }
        self.streams.iter().for_each(|stream| ran(stream));
        self.shut = [false; 2];
        self.out.iter_mut().for_each(|out| out.used = [false; 2]);
        self.pending.clear();
    }

    fn reserve(&mut self, random: &mut Random) {
        let (request, _) = self.request(random);
        let fits = self.committed() + request.bytes <= self.budget;
        let reserved = self.pinned.reserve(&request);
        let expected = match () {
            _ if self.lost => Status::DeviceLost,
            _ if request.over == Over::Pageable || request.twin != Twin::Never => Status::InvalidArgument,
            _ if fits => Status::Ok,
            _ => Status::Budget,
        };
        match reserved {
            Ok(reservation) if expected == Status::Ok => self.reservations.push((reservation, request.bytes)),
            other => assert_eq!(status(other), expected),
        }
    }

    fn commit(&mut self, random: &mut Random) {
        let Some(place) =
            (!self.reservations.is_empty()).then(|| random.below(self.reservations.len() as u64) as usize)
        else {
            return;
        };
        let (reservation, left) = &mut self.reservations[place];
        let bytes = 1 + random.below(*left + *left / 4 + 1);
        let request = Request { bytes, owner: Owner::new(OWNERS[1]).unwrap(), ..Request::new(1) };
        match reservation.commit(&request) {
            Ok(lease) => {
                assert!(bytes <= *left && !self.lost);
                *left -= bytes;
                assert_eq!(reservation.left(), *left);
                self.took(lease, &request, 1, random);
            }
            Err(error) => {
                let expected = match () {
                    _ if self.lost => Status::DeviceLost,
                    _ if bytes > *left => Status::InvalidArgument,
                    _ => Status::OutOfHostMemory,
                };
                assert_eq!(error.status(), expected, "{error}");
                assert!(expected != Status::OutOfHostMemory || self.short);
                assert_eq!(reservation.left(), *left, "a commit that failed took nothing");
            }
        }
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(24) {
            0..=7 => self.allocate(random),
            8..=12 => self.free(random),
            13..=15 => self.queue(random),
            16 => self.open(),
            17 => self.reserve(random),
            18 => self.commit(random),
            19 if !self.reservations.is_empty() => {
                let (reservation, _) =
                    self.reservations.swap_remove(random.below(self.reservations.len() as u64) as usize);
                if random.below(2) == 0 {
                    reservation.roll_back();
                }
            }
            20 => {
                let keep = random.below(self.budget);
                self.pinned.trim(keep);
                assert!(checked(&self.pinned).idle_bytes <= keep);
            }
            21 => {
                self.device.maintain();
                let idle = self.out.is_empty() && self.pending.is_empty();
                let clears = idle && self.reservations.iter().all(|reserved| reserved.1 == 0);
                assert_eq!(status(self.pinned.clear()), if clears { Status::Ok } else { Status::Busy });
            }
            22 if !self.lost => {
                let limit = if self.short { 16 << 30 } else { random.below(self.budget) };
                self.short = !self.short;
                kit_of(&self.device).limit_memory(Placement::Pinned, limit).unwrap();
            }
            23 => {
                self.device.maintain();
                let budget = self.budget / 2 + random.below(self.budget);
                let fits = self.committed() <= budget;
                assert_eq!(status(self.pinned.set_budget(budget)), if fits { Status::Ok } else { Status::Budget });
                if fits {
                    self.budget = budget;
                }
            }
            _ => {
                self.device.maintain();
            }
        }
    }

    /// A block's bytes are what was written.
    fn look(&self, out: &Out) {
        if self.lost {
            return;
        }
        let (data, token) = out.lease.begin(Access::Read, 0, ALL, Timeout::Infinite).unwrap();
        // SAFETY: the guard covers the block.
        let bytes = unsafe { std::slice::from_raw_parts(data, out.bytes as usize) };
        assert!(bytes.iter().all(|byte| *byte == out.value), "somebody else wrote to a block");
        out.lease.end(Access::Read, token).unwrap();
    }

    /// What is known of blocks that were given back may be late; all else is exact.
    fn check(&self, seed: u64, step: u64) {
        let at = format!("seed {seed}, step {step}");
        let figures = checked(&self.pinned);
        assert_eq!(figures.budget_bytes, self.budget, "{at}");
        assert_eq!(figures.reserved_bytes, self.reservations.iter().map(|reserved| reserved.1).sum(), "{at}");
        let held: u64 = self.out.iter().filter(|out| !out.pageable).map(|out| out.bytes).sum();
        assert_eq!(figures.requested_bytes - figures.pending_bytes, held, "{at}");
        let pending: u64 = self.pending.iter().filter(|block| !block.pageable).map(|block| block.bytes).sum();
        assert!(figures.pending_bytes + figures.quarantined_bytes >= pending + self.quarantined, "{at}");
        assert_eq!(figures.blocks - figures.pending_blocks, self.out.len() as u64, "{at}");
        let mut ranges: Vec<(u64, u64)> = self.out.iter().map(|out| (out.address, out.bytes)).collect();
        ranges.extend(self.pending.iter().map(|block| (block.address, block.bytes)));
        ranges.sort();
        for pair in ranges.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{at}: two blocks overlap");
        }
        for (owner, name) in OWNERS.iter().enumerate() {
            let blocks = self.out.iter().filter(|out| out.owner == owner).count() as u64;
            let shares = self.pinned.shares();
            let share = shares.iter().find(|share| share.owner.name() == *name).map_or(0, |share| share.blocks);
            assert!(share >= blocks && share <= blocks + figures.pending_blocks, "{at}: {name} has {share}");
        }
    }

    /// Everything comes back, and nothing is left.
    fn end(mut self, random: &mut Random) {
        self.reservations.clear();
        while !self.out.is_empty() {
            self.free(random);
        }
        self.open();
        self.device.maintain();
        let figures = checked(&self.pinned);
        assert_eq!((figures.blocks, figures.requested_bytes, figures.reserved_bytes), (0, 0, 0));
        assert_eq!((figures.actual_bytes, figures.pageable_bytes, figures.pending_bytes), (0, 0, 0));
        assert_eq!(figures.allocations, figures.frees);
        assert_eq!(figures.quarantined_bytes, self.quarantined);
        self.pinned.trim(0);
        let figures = checked(&self.pinned);
        assert_eq!((figures.idle_bytes, figures.cached_bytes == 0 || self.quarantined > 0), (0, true));
        if self.quarantined == 0 && !self.lost {
            assert_eq!((figures.locked_bytes, self.device.counters.pinned_bytes.get()), (0, 0));
        }
    }
}

#[test]
fn random_operations_keep_the_accounts_and_the_bytes() {
    // A driver's free waits for the device, whose streams are held shut here.
    let seeds = if backend() == gpubuf::backend::BackendKind::Host { 60 } else { 9 };
    for seed in 0..seeds {
        let mut random = Random(seed);
        let mut world = World::new(&mut random);
        let lost_at = if seed % 3 == 0 { 200 + random.below(200) } else { u64::MAX };
        for step in 0..400 {
            if step == lost_at {
                // What is over by now is proven: a driver says nothing any more once its device is lost.
                world.device.maintain();
                lose(&world.device);
                world.lost = true;
                world.device.maintain();
                let given_back = world.pending.drain(..).filter(|block| !block.pageable);
                world.quarantined = given_back.map(|block| block.bytes).sum();
            }
            world.step(&mut random);
            world.check(seed, step);
        }
        world.end(&mut random);
    }
}
