//! The parts of the scenario that are about memory: buffers, borrowed memory, pools, page-locked memory, workspaces, tiers.

use super::kit::{LONG, Run, open, shut};
use crate::common::pair_of;
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Timeline};
use gpubuf::lease::{Lease, Twin};
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use gpubuf::pool::{Growth, Pool, PoolOptions};
use gpubuf::predictor::{Predictor, PredictorOptions};
use gpubuf::pressure::{Pressure, PressureOptions, Reading};
use gpubuf::report::{Format, Process, report};
use gpubuf::sync::{Arc, AtomicU64, Ordering};
use gpubuf::tiers::{Tier, Tiers, TiersOptions};
use gpubuf::workspace::{Content, Source, Spec, Workspace, WorkspaceOptions};
use std::ops::Deref;
use std::slice::from_ref;

pub const BYTES: u64 = 4096;

/// Bytes that differ from their neighbours and from those of another seed.
pub fn pattern(seed: u8, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

pub fn options(bytes: u64) -> BufferOptions {
    pair_of(bytes)
}

/// A block that goes back to where it came from, whatever happens.
pub struct Block(pub Lease);

impl Deref for Block {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Refused where it was released.
        let _ = self.0.abandon();
    }
}

/// An object with an end of its own, which its owner brings about.
pub struct Ended<T>(pub Arc<T>, pub fn(&T));

impl<T> Deref for Ended<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T> Drop for Ended<T> {
    fn drop(&mut self) {
        (self.1)(&self.0);
    }
}

fn copy_in(run: &Run, buffer: &Buffer, bytes: &[u8]) -> Option<()> {
    // SAFETY: as many elements of a byte.
    run.step("copy in", || unsafe { buffer.copy_in(0, bytes.len() as u64, bytes.as_ptr(), LONG) })
}

fn is(run: &Run, buffer: &Buffer, wanted: &[u8]) -> Option<()> {
    let mut got = vec![0; wanted.len()];
    // SAFETY: room for as many elements.
    run.step("copy out", || unsafe { buffer.copy_out(0, wanted.len() as u64, got.as_mut_ptr(), LONG) })?;
    run.expect_bytes("a read", &got, wanted);
    Some(())
}

pub fn streams(run: &Run) -> Option<()> {
    let make = |label: &str| run.step("stream create", || Timeline::create(&run.device(), label));
    run.set_streams([make("s")?, make("t")?]);
    Some(())
}

pub fn buffers(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let one = pattern(1, BYTES);
    let buffer = run.step("buffer create", || Buffer::create(&device, options(BYTES)))?;
    is(run, &buffer, &[0; BYTES as usize])?;
    copy_in(run, &buffer, &one)?;
    shut(s);
    run.step("copy up", || buffer.copy(true, 0, ALL, s, None))?;
    run.try_step("a write meanwhile", &[Status::Busy], || {
        let (_, token) = buffer.begin(Access::Write, 0, ALL, Timeout::Try)?;
        buffer.end(Access::Write, token)
    })?
    .err();
    open(s);
    // Waits for the copy.
    let (data, token) = run.step("begin write", || buffer.begin(Access::Write, 0, 64, LONG))?;
    // SAFETY: the guard covers 64 bytes.
    unsafe { data.write_bytes(9, 64) };
    run.step("end write", || buffer.end(Access::Write, token))?;
    run.step("synchronize", || s.synchronize(LONG))?;
    let address = run.step("device address", || buffer.device_address(from_ref(t)))?;
    run.expect_device("a copy up", address, &one);
    run.step("used on", || buffer.used_on(t, Access::Read))?;
    // The host is newer in 64 bytes; the other stream waits for the one that reads.
    run.step("sync", || buffer.sync(None, s, Some(LONG)))?;
    let mut wanted = one.clone();
    wanted[..64].fill(9);
    run.expect_device("a sync", address, &wanted);
    run.step("fill the device", || buffer.fill(false, true, &[5], Some(t), LONG))?;
    run.step("copy down", || buffer.copy(false, 0, 128, s, None))?;
    wanted[..128].fill(5);
    is(run, &buffer, &wanted)?;
    // A view, in both directions, and rows of a matrix.
    let view = run.step("slice", || buffer.slice(256, 256))?;
    run.step("fill a view", || view.fill(true, false, &[6], None, LONG))?;
    run.step("copy a view up", || view.copy(true, 0, ALL, t, Some(LONG)))?;
    run.expect_device("a view", address + 256, &[6; 256]);
    drop(view);
    let shape = Shape::new(&[16, 128]).expect("a shape");
    let matrix = run.step("matrix create", || Buffer::create(&device, BufferOptions { shape, ..options(BYTES) }))?;
    run.step("fill a matrix", || matrix.fill(true, true, &[3], Some(s), LONG))?;
    let window = run.step("window", || matrix.window((2, 4), (8, 16)))?;
    run.step("fill a window", || window.fill(false, true, &[4], Some(t), LONG))?;
    run.step("copy a window down", || window.copy(false, 0, ALL, s, Some(LONG)))?;
    let mut rows = vec![3u8; 16 * 128];
    for row in 2..6 {
        rows[row * 128 + 8..row * 128 + 24].fill(4);
    }
    is(run, &matrix, &rows)?;
    drop((window, matrix));
    // Other memory, with what is on the sides.
    let more = Shape::new(&[2 * BYTES]).expect("a shape");
    run.step("resize", || buffer.resize(more, (true, true), Some(s), LONG))?;
    wanted[256..512].fill(6);
    wanted.resize(2 * BYTES as usize, 0);
    is(run, &buffer, &wanted)?;
    run.step("synchronize", || s.synchronize(LONG))?;
    let address = run.step("device address", || buffer.device_address(from_ref(s)))?;
    run.expect_device("what was kept", address + 256, &[6; 256]);
    run.step("used on", || buffer.used_on(s, Access::Read))?;
    run.step("reset", || buffer.reset(Some(t), LONG))?;
    is(run, &buffer, &vec![0; 2 * BYTES as usize])?;
    // Destroyed with work under way, also by somebody who said nothing.
    shut(t);
    run.step("copy up", || buffer.copy(true, 0, ALL, t, None))?;
    drop(buffer);
    run.step("maintain", || {
        device.maintain();
        Ok(())
    })?;
    open(t);
    let sealed = run.step("buffer create", || Buffer::create(&device, options(BYTES)))?;
    run.step("timed copy", || sealed.copy(true, 0, ALL, t, Some(LONG)))?;
    run.step("device address for anybody", || sealed.device_address(&[]))?;
    drop(sealed);
    run.step("drain", || device.drain(LONG))?;
    // In place, and pageable.
    let uva = || BufferOptions { host: Placement::Uva, device: Placement::None, ..options(BYTES) };
    let uva = run.step("uva create", || Buffer::create(&device, uva()))?;
    copy_in(run, &uva, &one)?;
    let address = run.step("publish", || uva.publish(s))?;
    run.step("used on", || uva.used_on(s, Access::Read))?;
    run.step("synchronize", || s.synchronize(LONG))?;
    run.expect_device("uva", address, &one);
    is(run, &uva, &one)?;
    let pageable = run.step("pageable create", || {
        Buffer::create(&device, BufferOptions { host: Placement::Pageable, ..options(BYTES) })
    })?;
    copy_in(run, &pageable, &one)?;
    run.step("copy up", || pageable.copy(true, 0, ALL, s, None))?;
    run.step("fill the host", || pageable.fill(true, false, &[0], None, LONG))?;
    run.step("copy down", || pageable.copy(false, 0, ALL, t, None))?;
    is(run, &pageable, &one)
}

pub fn borrowed(run: &Run) -> Option<()> {
    let device = run.device();
    let one = pattern(2, BYTES);
    for detached in [false, true] {
        // Pages of its own, which stay where the library may never be done with them.
        let memory = Box::leak(vec![0u8; 4 * BYTES as usize].into_boxed_slice());
        let skip = memory.as_ptr().align_offset(BYTES as usize);
        let host = memory[skip..].as_mut_ptr();
        let released = Arc::new(AtomicU64::new(0));
        let told = released.clone();
        let release = || -> Option<gpubuf::fence::ReleaseCallback> {
            let told = told.clone();
            Some(Box::new(move || {
                told.fetch_add(1, Ordering::SeqCst);
            }))
        };
        let used = (|| {
            let lend =
                || Buffer::create(&device, BufferOptions { host_memory: host, release: release(), ..options(BYTES) });
            let buffer = run.step("lend", lend)?;
            copy_in(run, &buffer, &one)?;
            shut(run.t());
            run.step("copy up", || buffer.copy(true, 0, ALL, run.t(), None))?;
            assert_eq!(released.load(Ordering::SeqCst), 0);
            if detached {
                open(run.t());
                run.step("detach", || buffer.detach(LONG))?;
                assert_eq!(released.load(Ordering::SeqCst), 0, "{}: it was taken back", run.where_it_is());
                return Some(true);
            }
            drop(buffer);
            device.maintain();
            assert!(released.load(Ordering::SeqCst) == 0 || run.is_lost(), "{}: it is in use", run.where_it_is());
            open(run.t());
            Some(true)
        })();
        open(run.t());
        let quarantined = device.counters.quarantined_bytes.get();
        // Whatever happened: it is told once, or never, where the memory may be in use for ever.
        for _ in 0..4 {
            let _ = device.drain(LONG);
        }
        let times = released.load(Ordering::SeqCst);
        let place = run.where_it_is();
        assert!(times <= 1, "{place}: released {times} times");
        if used.is_some() && !detached && device.counters.quarantined_bytes.get() == quarantined && quarantined == 0 {
            assert_eq!(times, 1, "{place}: its owner is told");
        }
        if detached && used.is_some() {
            assert_eq!(times, 0, "{place}: its owner knows");
        }
        used?;
        if times == 1 || detached {
            // SAFETY: the slice that was leaked above; nothing of the library's uses it, as it was given back.
            drop(unsafe { Box::from_raw(memory) });
        }
    }
    Some(())
}

pub fn pools(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let options = || PoolOptions {
        twin: Twin::Eager,
        growth: Growth { max_blocks: 4, ..Growth::default() },
        ..PoolOptions::new(Placement::Pinned, BYTES, 2)
    };
    let pool = Ended(run.step("pool create", || Pool::create(&device, options()))?, Pool::destroy);
    let one = pattern(3, BYTES);
    let acquire = |timeout| run.step("acquire", || pool.acquire(0, timeout)).map(Block);
    let (first, second) = (acquire(Timeout::Try)?, acquire(Timeout::Try)?);
    // SAFETY: as many bytes.
    run.step("copy in", || unsafe { first.copy_in(0, BYTES, one.as_ptr(), LONG) })?;
    shut(s);
    run.step("copy up", || first.copy(true, 0, ALL, s, None))?;
    let address = run.step("device address", || first.device_address())?;
    run.step("fence", || first.fence(from_ref(s)))?;
    open(s);
    run.step("synchronize", || s.synchronize(LONG))?;
    run.expect_device("a block", address, &one);
    run.step("copy up", || first.copy(true, 0, ALL, t, None))?;
    run.step("release after", || first.release_after(&[s.clone(), t.clone()]))?;
    run.step("release", || second.release())?;
    // Whatever block comes, its uses are over.
    let next = acquire(LONG)?;
    let (data, token) = run.step("begin write", || next.begin(Access::Write, 0, ALL, LONG))?;
    // SAFETY: the guard covers the block.
    unsafe { data.write_bytes(7, BYTES as usize) };
    run.step("end write", || next.end(Access::Write, token))?;
    run.step("copy up and wait", || next.copy(true, 0, ALL, t, Some(LONG)))?;
    let address = run.step("device address", || next.device_address())?;
    run.expect_device("the next holder's", address, &[7; BYTES as usize]);
    run.step("fence", || next.fence(from_ref(t)))?;
    // What cannot be had lacks, and is made by the next call.
    while run.step("warm", || pool.warm(3))?.1 > 0 {}
    let others = [acquire(LONG)?, acquire(LONG)?, acquire(LONG)?];
    let all = pool.levels();
    assert!(all.held == 4 || all.quarantined > 0, "{}: {all:?}", run.where_it_is());
    // Handed over to somebody who waits.
    let waited = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.acquire(1, LONG).map(Block).map_err(|error| error.status()));
        while pool.levels().waiters == 0 && !waiter.is_finished() {
            std::thread::yield_now();
        }
        let before = pool.levels().quarantined;
        let done = run.step("release to a waiter", || next.release_after(from_ref(s)));
        while !waiter.is_finished() {
            if done.is_none() || pool.levels().quarantined > before {
                // The waiter found that its block cannot be proven done, or never got it: it waits for another.
                let _ = others[0].abandon();
                break;
            }
            std::thread::yield_now();
        }
        (done, waiter.join().expect("the waiter"))
    });
    waited.0?;
    run.step("what was handed over", || {
        waited.1.as_ref().map(drop).map_err(|status| gpubuf::error::Error::new(*status, "the waiter was answered so"))
    })?;
    drop(waited);
    drop(others);
    run.step("trim", || Ok(pool.trim(2)))?;
    run.step("adapt", || Ok(pool.adapt()))?;
    run.step("clear", || pool.clear())?;
    // A twin for a while.
    let lazy = || PoolOptions::new(Placement::Uva, BYTES, 1);
    let lazy = Ended(run.step("pool create", || Pool::create(&device, lazy()))?, Pool::destroy);
    let block = Block(run.step("acquire", || lazy.acquire(0, LONG))?);
    // SAFETY: as many bytes.
    run.step("copy in", || unsafe { block.copy_in(0, BYTES, one.as_ptr(), LONG) })?;
    run.step("promote", || block.promote(s))?;
    run.step("demote", || block.demote(t))?;
    let mut got = vec![0; BYTES as usize];
    // SAFETY: room for as many bytes.
    run.step("copy out", || unsafe { block.copy_out(0, BYTES, got.as_mut_ptr(), LONG) })?;
    run.expect_bytes("a block that was promoted", &got, &one);
    run.step("release", || block.release())
}

pub fn pinned(run: &Run) -> Option<()> {
    let (device, s) = (run.device(), run.s());
    let options = || PinnedOptions { slab_bytes: 64 << 10, ..PinnedOptions::new(Placement::Pinned, 1 << 20) };
    let pinned = Ended(run.step("manager create", || Pinned::create(&device, options()))?, Pinned::destroy);
    let request = |bytes, twin| Request { twin, ..Request::new(bytes) };
    let give = |bytes, twin| run.step("allocate", || pinned.allocate(&request(bytes, twin))).map(Block);
    let small = [give(1000, Twin::Never)?, give(3000, Twin::Lazy)?];
    let large = give(256 << 10, Twin::Never)?;
    let one = pattern(4, 3000);
    // SAFETY: as many bytes.
    run.step("copy in", || unsafe { small[1].copy_in(0, 3000, one.as_ptr(), LONG) })?;
    run.step("copy up", || small[1].copy(true, 0, ALL, s, None))?;
    // SAFETY: as many bytes.
    run.step("overwrite", || unsafe { small[1].copy_in(0, 3000, pattern(0, 3000).as_ptr(), LONG) })?;
    run.step("copy down", || small[1].copy(false, 0, ALL, s, None))?;
    let mut got = vec![0; 3000];
    // SAFETY: room for as many bytes.
    run.step("copy out", || unsafe { small[1].copy_out(0, 3000, got.as_mut_ptr(), LONG) })?;
    run.expect_bytes("a part of a slab", &got, &one);
    let reservation = run.step("reserve", || pinned.reserve(&Request::new(128 << 10)))?;
    let committed = Block(run.step("commit", || reservation.commit(&Request::new(100 << 10)))?);
    run.step("roll back", || {
        reservation.roll_back();
        Ok(())
    })?;
    run.step("free", || pinned.free(&large))?;
    run.step("free", || pinned.free(&committed))?;
    let figures = pinned.figures();
    let sum = figures.requested_bytes
        + figures.cached_bytes
        + figures.quarantined_bytes
        + figures.reserved_bytes
        + figures.available_bytes;
    assert_eq!(sum, figures.budget_bytes, "{}: {figures:?}", run.where_it_is());
    shut(s);
    run.step("copy up", || small[1].copy(true, 0, ALL, s, None))?;
    run.step("free what is in use", || pinned.free(&small[1]))?;
    open(s);
    run.step("trim", || Ok(pinned.trim(0)))?;
    run.step("clear", || {
        device.drain(LONG)?;
        pinned.clear().or_else(|error| if error.status() == Status::Busy { Ok(0) } else { Err(error) })
    })?;
    Some(())
}

pub fn workspaces(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let options = || WorkspaceOptions { max_entries: 3, ..WorkspaceOptions::default() };
    let workspace = Ended(run.step("workspace create", || Workspace::create(&device, options()))?, Workspace::destroy);
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let spec = Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec");
    let named = run.step("get", || workspace.get("ids", &spec, LONG))?;
    copy_in(run, &named, &pattern(5, BYTES))?;
    run.step("sync all", || workspace.sync_all(s))?;
    run.step("synchronize", || s.synchronize(LONG))?;
    let address = run.step("device address", || named.device_address(from_ref(t)))?;
    run.expect_device("a named buffer", address, &pattern(5, BYTES));
    run.step("used on", || named.used_on(t, Access::Read))?;
    drop(named);
    let again = run.step("find", || workspace.find("ids", LONG))?;
    is(run, &again, &pattern(5, BYTES))?;
    drop(again);
    for _ in 0..2 {
        let free = run.step("allocate", || workspace.allocate(&spec, Content::Zeroes(Some(s)), LONG))?;
        is(run, &free, &[0; BYTES as usize])?;
        run.step("device address", || free.device_address(from_ref(t)))?;
        run.step("fill", || free.fill(true, true, &[8], Some(t), LONG))?;
        // With a fence on the stream that was named.
        drop(free);
    }
    run.step("release a name", || workspace.release_name("ids"))?;
    run.step("evict", || workspace.evict(1, 0))?;
    run.step("clear", || workspace.clear())?;
    Some(())
}

pub fn tiers(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let options =
        || TiersOptions { budgets: [BYTES, 0, 2 * BYTES, 4 * BYTES], moves_per_step: 0, label: String::new() };
    let tiers = run.step("tiers create", || Tiers::create(&device, options()))?;
    let block = run.step("block create", || tiers.create_block(BYTES, Some(Tier::Pinned), ""))?;
    let other = run.step("block create", || tiers.create_block(BYTES, None, ""))?;
    for (block, seed) in [(&block, 6), (&other, 7)] {
        let (data, token) = run.step("begin", || block.begin(None, Access::Write, LONG))?;
        // SAFETY: the access covers the block.
        unsafe { data.copy_from_nonoverlapping(pattern(seed, BYTES).as_ptr(), BYTES as usize) };
        run.step("release", || block.release(token))?;
    }
    run.step("move", || block.move_to(Tier::Device, LONG))?;
    let (address, token) =
        run.step("acquire", || block.acquire(Some(Tier::Device), Access::Read, from_ref(s), LONG))?;
    run.step("synchronize", || device.synchronize(LONG))?;
    run.expect_device("a block on the device", address, &pattern(6, BYTES));
    run.step("release", || block.release(token))?;
    // There is room for one.
    // What is quarantined there keeps its room.
    let acquire = || other.acquire(Some(Tier::Device), Access::Read, from_ref(t), LONG);
    let Ok((_, token)) = run.try_step("acquire", &[Status::Budget], acquire)? else {
        assert!(!run.is_lost(), "{}: a lost device is told of", run.where_it_is());
        return None;
    };
    run.step("release", || other.release(token))?;
    let percent = Arc::new(AtomicU64::new(50));
    let reading = percent.clone();
    let pressure = run.step("pressure create", || {
        let reading = reading.clone();
        let read = move |_, _| Reading { used: reading.load(Ordering::Relaxed), limit: 100 };
        Pressure::create(&device, PressureOptions { read: Some(Box::new(read)), ..PressureOptions::default() })
    })?;
    run.step("watch", || pressure.add_tiers(&tiers))?;
    for at in [50, 99, 99, 10] {
        percent.store(at, Ordering::Relaxed);
        run.step("look", || Ok(pressure.step()))?;
    }
    run.step("step", || Ok(tiers.step()))?;
    for (block, seed) in [(&block, 6), (&other, 7)] {
        run.step("move", || block.move_to(Tier::Pageable, LONG))?;
        let (data, token) = run.step("begin", || block.begin(None, Access::Read, LONG))?;
        // SAFETY: as above.
        let got = unsafe { std::slice::from_raw_parts(data, BYTES as usize) }.to_vec();
        run.step("release", || block.release(token))?;
        run.expect_bytes("a block that moved", &got, &pattern(seed, BYTES));
    }
    run.step("demote", || Ok(tiers.trim(Tier::Device)))?;
    Some(())
}

pub fn predictors(run: &Run) -> Option<()> {
    let device = run.device();
    let predictor = run.step("predictor create", || Predictor::create(Some(&device), PredictorOptions::default()))?;
    for size in [100, 100, 200, BYTES] {
        run.step("record", || predictor.record(size))?;
    }
    let options = || PoolOptions {
        growth: Growth { max_blocks: 8, ..Growth::default() },
        ..PoolOptions::new(Placement::Uva, BYTES, 1)
    };
    let pool = Ended(run.step("pool create", || Pool::create(&device, options()))?, Pool::destroy);
    run.step("prewarm a pool", || predictor.prewarm_pool(&pool, 0, 2))?;
    let workspace = Workspace::create(&device, WorkspaceOptions::default()).ok()?;
    let workspace = Ended(workspace, Workspace::destroy);
    run.step("prewarm a workspace", || {
        Ok(predictor.prewarm(|size| {
            let shape = Shape::new(&[size]).expect("a shape");
            let spec = Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec");
            workspace.0.clone().take(&spec, LONG).map_or(0, |held| held.owned_bytes())
        }))
    })?;
    let process = Process { version: "", shut_down: false, stale_handles: 0, live_objects: Vec::new() };
    for format in [Format::Text, Format::Json] {
        let text = run.step("report", || Ok(report(format, &process)))?;
        assert!(text.contains("predictor"), "{}: {text}", run.where_it_is());
    }
    run.step("upkeep", || Ok(device.keep_up()))?;
    Some(())
}
