//! One object in the hands of several threads. Whoever comes second is told so; whoever does something writes all of it, so that
//! nothing ever holds two values; and what can be ended once is ended once.

use crate::common::{buffer, kit, pair_of, read_device};
use crate::kit::{Random, Rig};
use crate::site::{BLOCK, Watch};
use gpubuf::backend::kit::View;
use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Timeline, Which};
use gpubuf::graph::GraphHold;
use gpubuf::lease::{Lease, Twin};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions, Step};
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::{Arc, AtomicU64, Mutex, Ordering};
use gpubuf::tensor::{Tensor, TensorOptions};
use gpubuf::tiers::{Tier, TieredBlock, Tiers, TiersOptions};
use std::slice::from_ref;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const THREADS: u64 = 4;
const BYTES: usize = BLOCK as usize;
const ROWS: u64 = 4;
/// Longer than anything takes.
const LONG: Timeout = Timeout::Within(Duration::from_secs(30));
/// Functions on streams that found two values.
static TORN: AtomicU64 = AtomicU64::new(0);

struct Objects {
    rig: Rig,
    buffer: Arc<Buffer>,
    graph: Arc<GraphHold>,
    pool: Arc<Pool>,
    /// As it is now: whoever releases it puts another there.
    lease: Mutex<Lease>,
    slots: Arc<Slots>,
    /// As above.
    step: Mutex<Arc<Step>>,
    tiers: Arc<Tiers>,
    block: Arc<TieredBlock>,
    rows: Arc<StagedRows>,
    tensor: Arc<Tensor>,
}

pub fn run(seed: u64, rounds: u64) {
    let _watch = Watch::new(format!("one object, seed {seed}"));
    println!("one object: seed {seed}, {rounds} rounds of {THREADS} threads");
    let objects = make(seed);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let objects = &objects;
            scope.spawn(move || {
                let mut random = Random::new(seed + number);
                (0..rounds).for_each(|_| objects.one_round(&mut random));
            });
        }
    });
    objects.end(seed);
    each_end_is_one(seed, rounds / 10);
}

/// The value, or nothing where the answer is `busy` or one of `also`.
#[track_caller]
fn get<T>(also: &[Status], result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.status() == Status::Busy || also.contains(&error.status()) => None,
        Err(error) => panic!("{error}"),
    }
}

/// As often as another thread is in there.
#[track_caller]
fn again<T>(mut call: impl FnMut() -> Result<T>) -> T {
    loop {
        if let Some(value) = get(&[], call()) {
            return value;
        }
        thread::yield_now();
    }
}

/// Runs on a stream: all bytes there are the same.
fn is_whole(view: &dyn View, [address, _]: [usize; 2]) {
    let mut bytes = [0; BYTES];
    // SAFETY: the array has room for its length.
    unsafe { view.read(address as u64, bytes.as_mut_ptr(), BYTES) }.expect("memory");
    TORN.fetch_add(bytes.iter().any(|byte| *byte != bytes[0]) as u64, Ordering::Relaxed);
}

/// # Safety
/// The bytes are under a guard of this thread's.
unsafe fn use_guarded(data: *mut u8, access: Access, random: &mut Random) {
    match access {
        // SAFETY: the caller's promise.
        Access::Write => unsafe { data.write_bytes(random.next() as u8, BYTES) },
        Access::Read => {
            // SAFETY: the caller's promise.
            let found = unsafe { std::slice::from_raw_parts(data, BYTES) };
            assert!(found.iter().all(|byte| *byte == found[0]), "two values in one object");
        }
    }
    thread::yield_now();
}

fn make(seed: u64) -> Objects {
    let rig = Rig::new(seed);
    let device = &rig.device;
    let (pair, kernels) = (buffer(device, pair_of(BLOCK)), &rig.streams[0]);
    let graph = GraphHold::create(device, "").expect("a hold");
    graph.add(pair.clone(), Some(LONG)).expect("held");
    let address = pair.lock().expect("a block").memory(Which::Device).expect("a side").device;
    kit(kernels).begin_capture().expect("a capture");
    kit(kernels).capture_call(is_whole, [address as usize, 0]).expect("captured");
    graph.set_graph(kit(kernels).end_capture().expect("a graph")).expect("set");
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, BLOCK, 6) };
    let pool = Pool::create(device, options).expect("a pool");
    let slots = Slots::create(device, SlotsOptions::default(), "").expect("slots");
    let (dtype, shape) = (Dtype::U8, Shape::new(&[BLOCK]).expect("a shape"));
    let kind = SlotKind::Required;
    let slot = SlotOptions { name: "ids", dtype, shape, kind, own_copy: false, follows_tokens: false, pad: None };
    slots.add(&slot).expect("a slot");
    slots.freeze().expect("a freeze");
    let options =
        TiersOptions { budgets: [2 * BLOCK, 0, 2 * BLOCK, 2 * BLOCK], moves_per_step: 0, label: String::new() };
    let tiers = Tiers::create(device, options).expect("tiers");
    let block = tiers.create_block(BLOCK, None, "").expect("a block");
    let over = Over::Own {
        dtype,
        rows: ROWS,
        row_elements: BLOCK,
        capacity_rows: 0,
        placement: Placement::Device,
        device_memory: 0,
        release: None,
    };
    let rows = StagedRows::create(device, StagedRowsOptions::default(), over, "").expect("staged rows");
    let tensor = TensorOptions { dtype, shape, max_blocks: 2, label: String::new() };
    let tensor = Tensor::create(&pool, tensor).expect("a tensor");
    Objects {
        lease: Mutex::new(pool.acquire(0, LONG).expect("a lease")),
        step: Mutex::new(Arc::new(slots.begin(LONG).expect("a step"))),
        buffer: pair,
        graph,
        pool,
        slots,
        tiers,
        block,
        rows,
        tensor,
        rig,
    }
}

impl Objects {
    fn one_round(&self, random: &mut Random) {
        let stream = self.rig.any_stream(random).clone();
        let access = if random.below(2) == 0 { Access::Write } else { Access::Read };
        match random.below(7) {
            0 => self.use_buffer(access, &stream, random),
            1 => self.use_graph(random),
            2 => self.use_lease(access, &stream, random),
            3 => self.use_step(&stream, random),
            4 => self.use_block(access, &stream, random),
            5 => self.use_rows(&stream, random),
            _ => self.use_tensor(access, &stream, random),
        }
    }

    fn use_buffer(&self, access: Access, stream: &Arc<Timeline>, random: &mut Random) {
        let view = again(|| self.buffer.slice(0, BLOCK));
        let buffer = if random.below(2) == 0 { &self.buffer } else { &view };
        match random.below(4) {
            0 => drop(get(&[], buffer.copy(random.below(3) > 0, 0, ALL, stream, None))),
            // A launch counts as a write of the device side.
            1 => drop(get(&[Status::Conflict], buffer.sync(None, stream, None))),
            _ => {
                let Some((data, token)) = get(&[], buffer.begin(access, 0, ALL, LONG)) else { return };
                // SAFETY: the guard covers the whole side.
                unsafe { use_guarded(data, access, random) };
                again(|| buffer.end(access, token));
            }
        }
    }

    fn use_graph(&self, random: &mut Random) {
        match random.below(3) {
            0 => drop(get(&[Status::Exists], self.graph.add(self.buffer.clone(), None))),
            _ => drop(get(&[], self.graph.launch(&self.rig.streams[random.below(3) as usize]))),
        }
        assert!(!self.graph.describe().is_empty());
    }

    fn use_lease(&self, access: Access, stream: &Arc<Timeline>, random: &mut Random) {
        const OVER: &[Status] = &[Status::NotHeld];
        let lease = self.lease.lock().clone();
        match random.below(4) {
            0 => drop(get(OVER, lease.copy(random.below(2) == 0, 0, ALL, stream, None))),
            1 => {
                if get(OVER, lease.release_after(from_ref(stream))).is_some() {
                    *self.lease.lock() = self.pool.acquire(0, LONG).expect("a lease");
                }
            }
            _ => {
                let Some((data, token)) = get(OVER, lease.begin(access, 0, ALL, LONG)) else { return };
                if access == Access::Write {
                    // SAFETY: the guard covers the block. Its bytes are those of another's last use.
                    unsafe { use_guarded(data, access, random) };
                }
                // While a guard is open, nobody releases it.
                again(|| lease.end(access, token));
            }
        }
    }

    fn use_step(&self, stream: &Arc<Timeline>, random: &mut Random) {
        const OVER: &[Status] = &[Status::NotBegun, Status::SlotUnwritten];
        let step = self.step.lock().clone();
        match random.below(4) {
            0 => {
                // SAFETY: the array has so many rows.
                get(OVER, unsafe { step.write(0, 0, BLOCK, [random.next() as u8; BYTES].as_ptr()) });
            }
            1 => {
                let Some((data, token)) = get(OVER, step.begin_span(0, 0, BLOCK)) else { return };
                // SAFETY: the span is this thread's until it is ended.
                unsafe { use_guarded(data, Access::Write, random) };
                // While a span is open, nobody commits.
                again(|| step.end_span(token));
            }
            _ => {
                let Some(ticket) = get(OVER, step.commit(stream, &[])) else { return };
                let address = self.slots.slot_info(0).expect("a slot").device_address;
                kit(stream).call(is_whole, [address as usize, 0]).expect("a call");
                self.slots.retire(ticket, &[]).expect("a retire");
                *self.step.lock() = Arc::new(self.slots.begin(LONG).expect("a step"));
            }
        }
    }

    fn use_block(&self, access: Access, stream: &Arc<Timeline>, random: &mut Random) {
        let block = &self.block;
        match random.below(5) {
            0 => {
                let tier = [Tier::Device, Tier::Pinned, Tier::Pageable][random.below(3) as usize];
                get(&[Status::Budget], block.move_to(tier, LONG));
            }
            1 => {
                let got = block.acquire(Some(Tier::Device), Access::Read, from_ref(stream), LONG);
                let Some((address, token)) = get(&[Status::Budget], got) else { return };
                kit(stream).call(is_whole, [address as usize, 0]).expect("a call");
                again(|| block.release(token));
            }
            2 => {
                self.tiers.step();
                get(&[], block.info());
            }
            _ => {
                let Some((data, token)) = get(&[Status::Budget], block.begin(None, access, LONG)) else { return };
                // SAFETY: the access covers the whole block.
                unsafe { use_guarded(data, access, random) };
                again(|| block.release(token));
            }
        }
    }

    fn use_rows(&self, stream: &Arc<Timeline>, random: &mut Random) {
        match random.below(5) {
            0 => drop(get(&[], self.rows.apply(stream, &[], LONG))),
            1 => drop(get(&[], self.rows.clear())),
            2 => {
                // As many as another thread has given it meanwhile are no more than these.
                let rows = self.rows.rows() + random.below(2);
                get(&[Status::InvalidArgument], self.rows.grow(rows.min(4 * ROWS), stream, LONG));
            }
            _ => {
                let values = [random.next() as u8; BYTES];
                // SAFETY: as many values.
                get(&[Status::Overflow], unsafe { self.rows.stage(random.below(ROWS), 0, values.as_ptr(), BLOCK) });
            }
        }
    }

    fn use_tensor(&self, access: Access, stream: &Arc<Timeline>, random: &mut Random) {
        match random.below(3) {
            0 => drop(get(&[], self.tensor.fill(&[random.next() as u8]))),
            1 => drop(get(&[], self.tensor.publish(from_ref(stream), access, LONG))),
            _ => {
                // Nothing was published for writing, or it is the truth's again.
                get(&[Status::NotBegun], self.tensor.to_host(0, ALL, Some(stream), LONG));
            }
        }
    }

    fn end(self, seed: u64) {
        let device = self.rig.device.clone();
        let stream = &self.rig.streams[0];
        self.rows.apply(stream, &[], LONG).expect("an apply");
        let table = self.rows.device_address(from_ref(stream)).expect("an address");
        self.tensor.fill(&[7]).expect("a fill");
        let published = self.tensor.publish(from_ref(stream), Access::Read, LONG).expect("a publish");
        stream.synchronize(LONG).expect("it runs");
        for row in 0..self.rows.rows() {
            let bytes = read_device(&device, table + row * BLOCK, BLOCK);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "seed {seed}: two values in row {row}");
        }
        assert_eq!(read_device(&device, published, BLOCK), [7; BYTES], "seed {seed}");
        self.lease.lock().release().expect("a release");
        self.step.lock().abort().expect("an abort");
        self.slots.destroy();
        let pool = self.pool.clone();
        drop(self);
        device.drain(LONG).expect("a drain");
        assert_eq!(TORN.load(Ordering::Relaxed), 0, "seed {seed}: work on a stream saw two values");
        let levels = pool.levels();
        assert_eq!((levels.held, levels.waiters, levels.free), (0, 0, levels.blocks), "seed {seed}");
        drop(pool);
        device.maintain();
        let counters = &device.counters;
        let owned = [&counters.host_bytes, &counters.pinned_bytes, &counters.device_bytes].map(|level| level.get());
        assert_eq!((owned, counters.quarantined_bytes.get()), ([0; 3], 0), "seed {seed}: memory is lost");
        assert_eq!((device.deferred(), device.members().len()), ((0, 0), 0), "seed {seed}");
    }
}

/// Two threads end the same thing at the same moment: one has done it, and the other hears that it is over.
fn each_end_is_one(seed: u64, rounds: u64) {
    let objects = make(seed);
    let stream = &objects.rig.streams[0];
    let once = |over: Status, end: &(dyn Fn() -> Result<()> + Sync)| {
        let start = Barrier::new(2);
        let try_it = || {
            start.wait();
            again(|| match end() {
                Err(error) if error.status() == over => Ok(0),
                ended => ended.map(|()| 1),
            })
        };
        let done: i32 = thread::scope(|scope| {
            let threads = [0, 1].map(|_| scope.spawn(try_it));
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        });
        assert_eq!(done, 1, "seed {seed}: it ended {done} times");
    };
    for _ in 0..rounds {
        let token = objects.buffer.begin(Access::Write, 0, ALL, LONG).expect("a guard").1;
        once(Status::NotBegun, &|| objects.buffer.end(Access::Write, token));
        let token = objects.block.begin(None, Access::Write, LONG).expect("an access").1;
        once(Status::NotBegun, &|| objects.block.release(token));
        let lease = objects.pool.acquire(0, LONG).expect("a lease");
        once(Status::NotHeld, &|| lease.release_after(from_ref(stream)));
        let step = objects.step.lock().clone();
        let token = step.begin_span(0, 0, BLOCK).expect("a span").1;
        once(Status::NotBegun, &|| step.end_span(token));
        let ticket = AtomicU64::new(0);
        once(Status::NotBegun, &|| {
            step.commit(stream, &[]).map(|committed| ticket.store(committed, Ordering::Release))
        });
        let ticket = ticket.into_inner();
        once(Status::NotBegun, &|| objects.slots.retire(ticket, &[]).map(drop));
        *objects.step.lock() = Arc::new(objects.slots.begin(LONG).expect("a step"));
    }
    objects.end(seed);
}
