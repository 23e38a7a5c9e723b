//! The host's heap has no memory at each allocation in turn. What the library answers with OUT_OF_HOST_MEMORY is done by a call as
//! if it had never been made; where Rust itself gives up, the process ends, and docs/faults.md says so.
//!
//! Each try is a process of its own, forked off: an allocation that nobody handles ends it.

mod common;

use common::{backend, device, pair_of};
use gpubuf::backend::BackendKind;
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::Device;
use gpubuf::pinned::{Owner, Pinned, PinnedOptions, Request};
use gpubuf::pool::{Growth, Pool, PoolOptions};
use gpubuf::predictor::{Predictor, PredictorOptions};
use gpubuf::pressure::{Pressure, PressureOptions};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions};
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::Arc;
use gpubuf::tiers::{Tier, Tiers, TiersOptions};
use gpubuf::workspace::{Content, Spec, Workspace, WorkspaceOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Failing;

thread_local! {
    /// Allocations of this thread until one fails; 0: none does.
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Whether this one fails.
fn strikes() -> bool {
    let left = LEFT.try_with(Cell::get).unwrap_or(0);
    if left > 0 {
        LEFT.set(left - 1);
    }
    left == 1
}

// SAFETY: all work is the system allocator's, or nothing is done and null returned; the counter allocates nothing.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is passed on, here and below.
        if strikes() { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if strikes() { std::ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        if strikes() { std::ptr::null_mut() } else { unsafe { System.realloc(pointer, layout, size) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// What became of a process in which the nth allocation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There were fewer.
    Done,
    /// It was answered, and the same call again succeeded.
    Answered,
    /// Nobody was told: it was done without.
    Unnoticed,
    /// Rust ended the process.
    Ended,
}

const DONE: i32 = 40;
const ANSWERED: i32 = 41;
const UNNOTICED: i32 = 42;

/// Runs the call in a process of its own, with its nth allocation failing.
fn attempt(what: &str, call: &dyn Fn() -> Result<()>, nth: u64) -> End {
    // SAFETY: the child uses this thread alone, and what it starts itself; it ends without cleaning up.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "a process");
    if child == 0 {
        // SAFETY: plain numbers; a process that hangs ends, and one that aborts leaves no file.
        unsafe {
            libc::alarm(30);
            libc::close(2);
        }
        LEFT.set(nth);
        let first = call().map_err(|error| error.status());
        let left = LEFT.replace(0);
        let code = match first {
            Ok(()) if left > 0 => DONE,
            Ok(()) => UNNOTICED,
            Err(Status::OutOfHostMemory) => match call() {
                Ok(()) => ANSWERED,
                Err(_) => 50,
            },
            Err(_) => 51,
        };
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, DONE) => End::Done,
        (true, ANSWERED) => End::Answered,
        (true, UNNOTICED) => End::Unnoticed,
        (true, 50) => panic!("{what}: allocation {nth}: refused, and refused again"),
        (true, 51) => panic!("{what}: allocation {nth}: another status than OUT_OF_HOST_MEMORY"),
        (false, _) if libc::WTERMSIG(status) == libc::SIGABRT => End::Ended,
        _ => panic!("{what}: allocation {nth}: the process ended with {status:#x}"),
    }
}

/// Every allocation of the call fails once. Lists grow now and then: it is called until one does.
fn each(what: &str, call: &dyn Fn() -> Result<()>) {
    for _ in 0..20 {
        call().expect("it works");
        let mut ends = Vec::new();
        for nth in 1.. {
            match attempt(what, call, nth) {
                End::Done => break,
                end => ends.push(end),
            }
            assert!(nth < 2000, "{what}: it allocates without end");
        }
        let count = |wanted| ends.iter().filter(|end| **end == wanted).count();
        let [answered, unnoticed, ended] = [End::Answered, End::Unnoticed, End::Ended].map(count);
        if answered > 0 {
            let all = ends.len();
            eprintln!(
                "{what}: {all} allocations; {answered} answered, {unnoticed} done without, {ended} end the process"
            );
            return;
        }
    }
    panic!("{what}: the library promises OUT_OF_HOST_MEMORY somewhere");
}

fn spec(bytes: u64) -> Spec {
    Spec::new(Dtype::U8, Shape::new(&[bytes]).expect("a shape"), Placement::Pageable, Placement::None).expect("a spec")
}

fn kept<T>(object: T) {
    // What a drop allocates, or waits for, is not the call's.
    std::mem::forget(object);
}

fn tiers(device: &Arc<Device>) -> Result<Arc<Tiers>> {
    Tiers::create(device, TiersOptions { budgets: [0, 0, 0, 1 << 20], moves_per_step: 0, label: String::new() })
}

#[test]
fn an_allocation_that_fails_is_answered_or_ends_the_process() {
    if backend() != BackendKind::Host {
        return;
    }
    let device = device();
    let pageable = || BufferOptions { host: Placement::Pageable, device: Placement::None, ..pair_of(4096) };
    each("a pageable buffer", &|| Buffer::create(&device, pageable()).map(kept));
    let growth = Growth { max_blocks: 64, ..Growth::default() };
    let pool = || PoolOptions { growth, ..PoolOptions::new(Placement::Uva, 4096, 2) };
    each("a pool", &|| Pool::create(&device, pool()).map(kept));
    let pinned = Pinned::create(&device, PinnedOptions::new(Placement::Pinned, 1 << 20)).expect("a manager");
    each("a page-locked block", &|| pinned.allocate(&Request::new(1000)).map(kept));
    let owner = Owner::new("somebody").expect("an owner");
    each("a page-locked block of an owner's", &|| pinned.allocate(&Request { owner, ..Request::new(1000) }).map(kept));
    let workspace = Workspace::create(&device, WorkspaceOptions::default()).expect("a workspace");
    each("a buffer of a workspace's", &|| workspace.allocate(&spec(4096), Content::Any, Timeout::Try).map(kept));
    let names = Cell::new(0);
    each("a named buffer of a workspace's", &|| {
        // The name stays with what was made in a try before.
        names.set(names.get() + 1);
        workspace.get(&format!("name {}", names.get()), &spec(4096), Timeout::Try).map(kept)
    });
    let all = tiers(&device).expect("tiers");
    each("a tiered block", &|| all.create_block(4096, Some(Tier::Pageable), "").map(kept));
    each("a predictor", &|| Predictor::create(Some(&device), PredictorOptions::default()).map(kept));
    let predictor = Predictor::create(None, PredictorOptions::default()).expect("a predictor");
    for size in 1..50 {
        predictor.record(size * 100).expect("a size");
    }
    each("suggested pools", &|| predictor.suggested_pools().map(kept));
    let pressure = Pressure::create(&device, PressureOptions::default()).expect("a watch");
    each("a watch over one more", &|| pressure.add_workspace(&workspace));
    let rows = || Over::Own {
        dtype: Dtype::U8,
        rows: 16,
        row_elements: 64,
        capacity_rows: 0,
        placement: Placement::Uva,
        device_memory: 0,
        release: None,
    };
    let options = StagedRowsOptions { depth: 2, max_writes: 64, staging_bytes: 4096 };
    each("staged rows", &|| StagedRows::create(&device, options, rows(), "").map(kept));
    each("slots", &|| {
        let slots = Slots::create(&device, SlotsOptions::default(), "")?;
        let shape = Shape::new(&[8, 64])?;
        let (dtype, kind) = (Dtype::U8, SlotKind::Kept);
        slots.add(&SlotOptions { name: "a", dtype, shape, kind, own_copy: false, follows_tokens: false, pad: None })?;
        slots.freeze().map(|()| kept(slots))
    });
}
