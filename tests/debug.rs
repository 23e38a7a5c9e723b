//! The debug mode, from outside: each case runs in a process of its own, which ends as the mode says, with a report.

mod common;

use common::{buffer, hold, kit, pair_of, release};
use gpubuf::backend::kit::View;
use gpubuf::backend::{BackendKind, DeviceOptions};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::debug::Debug;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::lease::{Lease, Twin};
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{SlotKind, SlotOptions, Slots, SlotsOptions, SlotsParts};
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::{Arc, AtomicBool, Ordering};
use gpubuf::workspace::{Held, Source, Spec, Workspace, WorkspaceOptions};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// On the second, a driver's memory has no pages that may be shut.
const BACKENDS: [&str; 2] = ["host", "cuda"];

const CHILD: &str = "GPUBUF_TEST_CASE";

/// How a case ended: the signal, if any, and what it said.
struct End {
    signal: Option<i32>,
    code: Option<i32>,
    said: String,
}

impl End {
    #[track_caller]
    fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.said.contains(part), "{part:?} is missing in:\n{}", self.said);
        }
    }
}

/// Runs the test of this name again, in a process of its own, where `case` runs; `None` in that process, at the end.
fn apart(test: &str, environment: &[(&str, &str)], case: impl FnOnce()) -> Option<End> {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        case();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, test);
    command.env_remove("GPUBUF_DEBUG").env_remove("GPUBUF_DEBUG_SEED").env_remove("GPUBUF_BACKEND");
    command.env("GPUBUF_CUDA_DRIVER", common::standin::library()).envs(environment.iter().copied());
    let output = command.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Some(End { signal: output.status.signal(), code: output.status.code(), said })
}

/// The emulated device, or, where the environment asks for it, that of the stand-in driver.
fn debugged(mode: Debug) -> (Arc<Device>, Arc<Timeline>) {
    let cuda = std::env::var("GPUBUF_BACKEND").as_deref() == Ok("cuda");
    let kind = Some(if cuda { BackendKind::Cuda } else { BackendKind::Host });
    let options = DeviceOptions { kind, debug: mode, ..Default::default() };
    let device = Device::open(&options, 0, "emulated").expect("a device");
    let stream = Timeline::create(&device, "main").expect("a stream");
    (device, stream)
}

fn tokens(device: &Arc<Device>, host: Placement, bytes: u64) -> Arc<Buffer> {
    buffer(device, BufferOptions { host, label: "tokens".into(), ..pair_of(bytes) })
}

/// Fills a buffer under a guard; returns the address, which is then kept.
fn fill(buffer: &Buffer, value: u8) -> *mut u8 {
    let (at, token) = buffer.begin(Access::Write, 0, ALL, Timeout::Infinite).expect("a guard");
    // SAFETY: the guard's.
    unsafe { at.write_bytes(value, buffer.layout().bytes()) };
    buffer.end(Access::Write, token).expect("its end");
    at
}

#[inline(never)]
fn queue_the_copy(buffer: &Buffer, stream: &Arc<Timeline>) {
    buffer.copy(true, 0, ALL, stream, None).expect("a copy");
}

#[inline(never)]
fn refill_too_early(at: *mut u8) {
    // SAFETY: mapped; what happens is what is tested.
    unsafe { at.add(17).write_volatile(9) };
}

#[inline(never)]
fn read_too_early(at: *const u8) -> u8 {
    // SAFETY: as above.
    unsafe { at.read_volatile() }
}

#[test]
fn a_store_through_a_kept_pointer_is_reported_with_both_places() {
    let test = "a_store_through_a_kept_pointer_is_reported_with_both_places";
    for (name, host) in [("pinned", Placement::Pinned), ("pageable", Placement::Pageable)] {
        let end = apart(test, &[("CASE", name)], || {
            let pinned = std::env::var("CASE").as_deref() == Ok("pinned");
            let (device, stream) = debugged(Debug::On);
            let tokens = tokens(&device, if pinned { Placement::Pinned } else { Placement::Pageable }, 100);
            let kept = fill(&tokens, 1);
            hold(&stream);
            queue_the_copy(&tokens, &stream);
            refill_too_early(kept);
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGSEGV), "{}", end.said);
        end.says(&[
            "==gpubuf== a write to host memory that is in flight",
            &format!("byte 17 of the host side of buffer \"tokens\" (100 bytes {}, device \"emulated\")", host.name()),
            "in flight: a copy reads bytes 0..100, up to stream \"main\", sequence 1, which is not known to be done",
            "queued by: debug::queue_the_copy",
            "< debug::tokens at",
            "the access was made by: debug::refill_too_early",
        ]);
    }
}

#[inline(never)]
fn queue_of_a_block(block: &Lease, stream: &Arc<Timeline>) -> *mut u8 {
    let (at, token) = block.begin(Access::Write, 0, ALL, Timeout::Try).expect("a guard");
    block.end(Access::Write, token).expect("its end");
    hold(stream);
    block.copy(true, 0, ALL, stream, None).expect("a copy");
    at
}

/// Slots of one entry of each kind.
fn inputs(device: &Arc<Device>) -> Arc<Slots> {
    let ring = SlotsOptions { depth: 1, read_back_depth: 1, read_back_bytes: 100, ..SlotsOptions::default() };
    let slots = Slots::create(device, ring, "inputs").expect("slots");
    let (dtype, shape, kind) = (Dtype::U8, Shape::new(&[100]).expect("a shape"), SlotKind::Required);
    slots
        .add(&SlotOptions { name: "ids", dtype, shape, kind, own_copy: false, follows_tokens: false, pad: None })
        .expect("a slot");
    slots.freeze().expect("frozen");
    slots
}

/// Fills a step in place and sends it; returns the ticket, and the address, which is then kept.
#[inline(never)]
fn queue_of_a_step(slots: &Arc<Slots>, stream: &Arc<Timeline>) -> (u64, *mut u8) {
    let step = slots.begin(Timeout::Infinite).expect("a step");
    let (at, token) = step.begin_span(0, 0, 100).expect("a span");
    step.end_span(token).expect("its end");
    (step.commit(stream, &[]).expect("a commit"), at)
}

/// Memory of each noun that gives its address to the CPU, in flight: what it is, the access, the work, and who queued it.
const IN_FLIGHT: [(&str, &str, [&str; 3]); 6] = [
    ("pool", "a write to", ["block 0 of pool \"blocks\"", "a copy reads bytes 0..5000", "queue_of_a_block"]),
    ("slab", "a write to", ["block 0 of pinned manager \"slabs\"", "a copy reads bytes 0..100", "queue_of_a_block"]),
    ("step", "a write to", ["side of slots \"inputs\"", "a copy reads bytes 0..100", "queue_of_a_step"]),
    ("read-back", "a read of", ["side of slots \"inputs\"", "a read-back writes bytes 0..100", "in_flight"]),
    ("replay", "a write to", ["buffer \"tokens\"", "a graph's replay reads bytes 0..100", "in_flight"]),
    ("in place", "a write to", ["buffer \"tokens\"", "in use: ", "given by: "]),
];

/// Has memory of that noun in flight, and keeps its objects until the process ends.
#[inline(never)]
fn in_flight(noun: &str, device: &Arc<Device>, stream: &Arc<Timeline>) -> *mut u8 {
    match noun {
        "pool" => {
            let options = PoolOptions {
                twin: Twin::Eager,
                label: "blocks".into(),
                ..PoolOptions::new(Placement::Pinned, 5000, 1)
            };
            let pool = Pool::create(device, options).expect("a pool");
            let block = pool.acquire(0, Timeout::Try).expect("a block");
            let kept = queue_of_a_block(&block, stream);
            std::mem::forget((pool, block));
            kept
        }
        "slab" => {
            let options = PinnedOptions { label: "slabs".into(), ..PinnedOptions::new(Placement::Pinned, 1 << 20) };
            let pinned = Pinned::create(device, options).expect("a manager");
            let block = pinned.allocate(&Request { twin: Twin::Eager, ..Request::new(100) }).expect("a block");
            let kept = queue_of_a_block(&block, stream);
            std::mem::forget((pinned, block));
            kept
        }
        "step" => {
            hold(stream);
            let slots = inputs(device);
            let (_, kept) = queue_of_a_step(&slots, stream);
            std::mem::forget(slots);
            kept
        }
        "read-back" => {
            let slots = inputs(device);
            let (ticket, _) = queue_of_a_step(&slots, stream);
            let first = slots.read_back(ticket, 0, 0, 100, stream).expect("a read-back");
            let (kept, _) = slots.begin_read(first, Timeout::Infinite).expect("its bytes");
            slots.end_read(first).expect("its end");
            hold(stream);
            slots.read_back(ticket, 0, 0, 100, stream).expect("another in the same memory");
            std::mem::forget(slots);
            kept.cast_mut()
        }
        "replay" => {
            let tokens = tokens(device, Placement::Pinned, 100);
            let kept = fill(&tokens, 1);
            let graph = GraphHold::create(device, "").expect("a hold");
            graph.add(tokens.clone(), Some(Timeout::Infinite)).expect("held");
            kit(stream).begin_capture().expect("a capture");
            graph.capture(&*tokens, true, 0, ALL, stream).expect("a captured copy");
            graph.set_graph(kit(stream).end_capture().expect("a graph")).expect("set");
            hold(stream);
            graph.launch(stream).expect("a launch");
            std::mem::forget((tokens, graph));
            kept
        }
        _ => {
            let options = BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(100) };
            let tokens = buffer(device, BufferOptions { label: "tokens".into(), ..options });
            let kept = fill(&tokens, 1);
            hold(stream);
            tokens.device_address(std::slice::from_ref(stream)).expect("an address");
            std::mem::forget(tokens);
            kept
        }
    }
}

#[test]
fn memory_of_every_noun_that_is_in_flight_is_shut_and_named() {
    let test = "memory_of_every_noun_that_is_in_flight_is_shut_and_named";
    for (noun, access, names) in IN_FLIGHT {
        let end = apart(test, &[("CASE", noun)], || {
            let noun = std::env::var("CASE").expect("a noun");
            let (device, stream) = debugged(Debug::On);
            let kept = in_flight(&noun, &device, &stream);
            if noun == "read-back" {
                read_too_early(kept);
            }
            refill_too_early(kept);
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGSEGV), "{noun}: {}", end.said);
        end.says(&[&format!("==gpubuf== {access} host memory that is in flight"), "too_early"]);
        end.says(&names);
    }
}

/// The option of the C API, and the variable where that leaves it open.
#[test]
fn the_option_of_a_device_goes_before_the_environment() {
    use gpubuf::ffi::buffer::{
        gpubuf_buffer_begin_write, gpubuf_buffer_create, gpubuf_buffer_end_write, gpubuf_buffer_options,
        gpubuf_buffer_options_init, gpubuf_buffer_to_device,
    };
    use gpubuf::ffi::device::{gpubuf_device_open, gpubuf_device_options, gpubuf_device_options_init};
    use gpubuf::ffi::host::gpubuf_host_stream_hold;
    use gpubuf::ffi::stream::gpubuf_stream_create;
    use gpubuf::ffi::types::{GPUBUF_DEBUG_DEFAULT, GPUBUF_DEBUG_OFF, GPUBUF_DEBUG_ON, GPUBUF_DTYPE_U8};
    use std::ptr::{null_mut, without_provenance_mut};
    let test = "the_option_of_a_device_goes_before_the_environment";
    for (option, variable, watched) in [
        (GPUBUF_DEBUG_ON, "0", true),
        (GPUBUF_DEBUG_OFF, "1", false),
        (GPUBUF_DEBUG_DEFAULT, "1", true),
        (GPUBUF_DEBUG_DEFAULT, "0", false),
    ] {
        let number = option.to_string();
        let environment = [("CASE", number.as_str()), ("GPUBUF_DEBUG", variable), ("GPUBUF_BACKEND", "host")];
        let end = apart(test, &environment, || {
            let (mut device, mut stream, mut buffer) = (null_mut(), null_mut(), null_mut());
            let (mut data, mut token) = (null_mut(), 0);
            // SAFETY: options on this stack, results, and handles of the library's.
            unsafe {
                let mut options: gpubuf_device_options = std::mem::zeroed();
                gpubuf_device_options_init(&raw mut options, size_of::<gpubuf_device_options>() as u32);
                options.debug = std::env::var("CASE").expect("a case").parse().expect("a number");
                assert_eq!(gpubuf_device_open(&raw const options, &raw mut device), 0);
                assert_eq!(gpubuf_stream_create(device, &raw mut stream), 0);
                let mut of: gpubuf_buffer_options = std::mem::zeroed();
                gpubuf_buffer_options_init(&raw mut of, size_of::<gpubuf_buffer_options>() as u32);
                (of.dtype, of.rank, of.shape[0]) = (GPUBUF_DTYPE_U8, 1, 100);
                assert_eq!(gpubuf_buffer_create(device, &raw const of, &raw mut buffer), 0);
                assert_eq!(gpubuf_buffer_begin_write(buffer, 0, 100, 0, &raw mut data, &raw mut token), 0);
                assert_eq!(gpubuf_buffer_end_write(buffer, token), 0);
                assert_eq!(gpubuf_host_stream_hold(stream), 0);
                assert_eq!(gpubuf_buffer_to_device(buffer, 0, 100, stream), 0);
            }
            refill_too_early(without_provenance_mut(data.addr()));
            // What is queued would never end.
            std::process::exit(0);
        });
        let Some(end) = end else { return };
        let signal = watched.then_some(libc::SIGSEGV);
        assert_eq!(end.signal, signal, "option {option}, GPUBUF_DEBUG={variable}: {}", end.said);
        assert_eq!(end.said.contains("==gpubuf== a write to host memory"), watched, "{}", end.said);
    }
}

/// Numbers are taken before fences are recorded: that of another thread may still be on its way there when a later one is proven.
#[test]
fn who_has_waited_is_let_in_whatever_others_record_on_the_stream() {
    let end = apart("who_has_waited_is_let_in_whatever_others_record_on_the_stream", &[], || {
        let (device, stream) = debugged(Debug::On);
        let (dtype, row_elements, placement) = (Dtype::U8, 64, Placement::Device);
        let over =
            Over::Own { dtype, rows: 4, row_elements, capacity_rows: 0, placement, device_memory: 0, release: None };
        let options = StagedRowsOptions { depth: 1, max_writes: 4, staging_bytes: 256 };
        let rows = StagedRows::create(&device, options, over, "").expect("staged rows");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        stream.record().expect("a fence");
                        stream.poll();
                    }
                });
            }
            for row in 0..100 {
                // SAFETY: as many values.
                unsafe { rows.stage(row % 4, 0, [1; 64].as_ptr(), row_elements) }.expect("staged");
                rows.apply(&stream, &[], Timeout::Infinite).expect("applied, after a wait for the last one");
            }
            over.store(true, Ordering::Relaxed);
        });
    });
    let Some(end) = end else { return };
    assert_eq!((end.signal, end.code), (None, Some(0)), "{}", end.said);
}

#[test]
fn a_read_before_the_download_is_known_to_have_landed_is_reported() {
    let test = "a_read_before_the_download_is_known_to_have_landed_is_reported";
    let end = apart(test, &[], || {
        let (device, stream) = debugged(Debug::On);
        let tokens = tokens(&device, Placement::Pinned, 5000);
        let kept = fill(&tokens, 1);
        queue_the_copy(&tokens, &stream);
        tokens.copy(false, 0, ALL, &stream, None).expect("a copy");
        // Done, or not: nobody has asked.
        common::ran(&stream);
        read_too_early(kept);
    });
    let Some(end) = end else { return };
    assert_eq!(end.signal, Some(libc::SIGSEGV), "{}", end.said);
    end.says(&["a read of host memory that is in flight", "a copy writes bytes 0..5000", "debug::read_too_early"]);
}

#[test]
fn what_the_contract_allows_goes_on_as_without() {
    let test = "what_the_contract_allows_goes_on_as_without";
    for backend in BACKENDS {
        let Some(end) = apart(test, &[("GPUBUF_BACKEND", backend)], use_all_as_allowed) else { return };
        assert_eq!(end.code, Some(0), "{backend}: {}", end.said);
    }
}

fn use_all_as_allowed() {
    let (device, stream) = debugged(Debug::On);
    for host in [Placement::Pinned, Placement::Pageable, Placement::Uva] {
        let tokens = tokens(&device, host, 10_000);
        for value in 0..20u8 {
            let kept = fill(&tokens, value);
            hold(&stream);
            queue_the_copy(&tokens, &stream);
            // Reading is no race.
            assert_eq!(read_too_early(kept), value);
            tokens.copy(false, 0, 100, &stream, None).expect("a copy");
            assert_eq!(common::status(tokens.begin(Access::Read, 0, ALL, Timeout::Try)), gpubuf::error::Status::Busy);
            release(&stream);
            let (at, token) = tokens.begin(Access::Read, 0, ALL, Timeout::Infinite).expect("a guard");
            assert_eq!(read_too_early(at), value);
            tokens.end(Access::Read, token).expect("its end");
        }
        // Proven by a synchronize: a pointer that was kept is as good as any.
        queue_the_copy(&tokens, &stream);
        stream.synchronize(Timeout::Infinite).expect("done");
        // Without pages that open, the sums have to be compared before.
        if device.backend().kind() == BackendKind::Cuda {
            device.maintain();
        }
        refill_too_early(tokens.host_ptr().expect("an address").cast_mut());
    }
    device.drain(Timeout::Infinite).expect("no damage");
}

#[test]
fn the_end_of_a_guard_shuts_the_pages_of_what_is_in_flight_still() {
    let test = "the_end_of_a_guard_shuts_the_pages_of_what_is_in_flight_still";
    let end = apart(test, &[], || {
        let (device, stream) = debugged(Debug::On);
        let tokens = tokens(&device, Placement::Pinned, 3 * 4096);
        let kept = fill(&tokens, 1);
        hold(&stream);
        // The first page alone.
        tokens.copy(true, 0, 10, &stream, None).expect("a copy");
        let (at, token) = tokens.begin(Access::Write, 100, 4096, Timeout::Try).expect("a guard beside it");
        refill_too_early(at);
        refill_too_early(kept.wrapping_add(8192));
        tokens.end(Access::Write, token).expect("its end");
        refill_too_early(kept.wrapping_add(4096));
        eprintln!("so far so good");
        refill_too_early(kept);
    });
    let Some(end) = end else { return };
    assert_eq!(end.signal, Some(libc::SIGSEGV), "{}", end.said);
    end.says(&["so far so good", "a copy reads bytes 0..10", "debug::refill_too_early"]);
}

#[test]
fn an_overrun_is_named_by_the_page_behind_or_at_the_end_of_the_guard() {
    let test = "an_overrun_is_named_by_the_page_behind_or_at_the_end_of_the_guard";
    for (case, signal, said) in [
        ("far", libc::SIGSEGV, "3997 bytes behind the end of the host side of buffer \"tokens\""),
        ("before", libc::SIGSEGV, "1 bytes before the host side of buffer \"tokens\""),
        ("near", libc::SIGABRT, "a write behind the end of a block\n  11 bytes behind the end of the host side"),
    ] {
        let end = apart(test, &[("CASE", case)], || {
            let (device, _) = debugged(Debug::On);
            let tokens = tokens(&device, Placement::Pinned, 100);
            let (at, token) = tokens.begin(Access::Write, 0, ALL, Timeout::Try).expect("a guard");
            let offset = match std::env::var("CASE").as_deref() {
                Ok("far") => 4096 - 17,
                Ok("near") => 110 - 17,
                _ => -18,
            };
            refill_too_early(at.wrapping_offset(offset));
            tokens.end(Access::Write, token).expect("its end");
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(signal), "{}", end.said);
        end.says(&[said]);
    }
}

#[test]
fn a_device_address_that_the_cpu_touches_is_named() {
    let test = "a_device_address_that_the_cpu_touches_is_named";
    for backend in BACKENDS {
        let end = apart(test, &[("GPUBUF_BACKEND", backend)], || {
            let (device, stream) = debugged(Debug::On);
            let tokens = tokens(&device, Placement::Pinned, 100);
            let address = tokens.device_address(std::slice::from_ref(&stream)).expect("an address");
            read_too_early(address as *const u8);
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGSEGV), "{backend}: {}", end.said);
        end.says(&[
            "a read of a device address by the CPU",
            "byte 0 of the device address of the device side of buffer \"tokens\"",
            "the access was made by: debug::read_too_early",
        ]);
    }
}

#[test]
fn memory_that_was_freed_or_released_is_named_with_the_place() {
    let test = "memory_that_was_freed_or_released_is_named_with_the_place";
    for (case, said) in [
        ("freed", "host memory that was freed"),
        ("in flight", "host memory of an object that was destroyed"),
        ("released", "host memory that was released"),
    ] {
        let end = apart(test, &[("CASE", case)], || {
            let (device, stream) = debugged(Debug::On);
            let case = std::env::var("CASE").unwrap_or_default();
            if case == "released" {
                let pool = common_pool(&device, Placement::Pinned);
                let block = pool.acquire(0, Timeout::Try).expect("a block");
                let kept = block.host_ptr().expect("an address");
                give_back(&block);
                read_too_early(kept);
            }
            let tokens = tokens(&device, Placement::Pinned, 100);
            let kept = fill(&tokens, 1);
            if case == "in flight" {
                hold(&stream);
                queue_the_copy(&tokens, &stream);
            }
            drop(tokens);
            device.maintain();
            refill_too_early(kept);
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGSEGV), "{}", end.said);
        end.says(&[said]);
        if case == "released" {
            end.says(&["block 0 of pool \"blocks\"", "released by: debug::give_back"]);
        }
    }
}

fn common_pool(device: &Arc<Device>, placement: Placement) -> Arc<Pool> {
    let options = PoolOptions { label: "blocks".into(), ..PoolOptions::new(placement, 5000, 1) };
    Pool::create(device, options).expect("a pool")
}

#[inline(never)]
fn give_back(block: &Lease) {
    block.release().expect("a release");
}

/// A kernel that writes by device address, queued by nobody that the library knows.
fn stray_kernel(stream: &Arc<Timeline>, address: u64) {
    fn write(view: &dyn View, [address, _]: [usize; 2]) {
        // SAFETY: one byte.
        unsafe { view.write(address as u64 + 40, [7u8].as_ptr(), 1) }.expect("memory");
    }
    kit(stream).call(write, [address as usize, 0]).expect("a kernel");
}

#[test]
fn a_kernel_that_writes_a_released_block_is_found_at_the_next_acquire() {
    let test = "a_kernel_that_writes_a_released_block_is_found_at_the_next_acquire";
    let modes = [("1", Some(libc::SIGABRT)), ("report", None)];
    for (backend, (mode, signal)) in BACKENDS.into_iter().flat_map(|backend| modes.map(|mode| (backend, mode))) {
        let environment = [("GPUBUF_BACKEND", backend), ("GPUBUF_DEBUG", mode), ("GPUBUF_DEBUG_SEED", "17")];
        let end = apart(test, &environment, || {
            let (device, stream) = debugged(Debug::from_environment().expect("a mode"));
            let pool = common_pool(&device, Placement::Uva);
            let block = pool.acquire(0, Timeout::Try).expect("a block");
            // Nor is it zero because it is new.
            assert_eq!(read_too_early(block.host_ptr().expect("an address")), 0xCD);
            let address = block.device_address().expect("an address");
            block.release_after(std::slice::from_ref(&stream)).expect("a release");
            device.drain(Timeout::Infinite).expect("done");
            stray_kernel(&stream, address);
            common::ran(&stream);
            let block = pool.acquire(0, Timeout::Try).expect("a block");
            // What the last holder left is not there.
            assert_eq!(read_too_early(block.host_ptr().expect("an address")), 0xCD);
            eprintln!("it goes on");
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, signal, "{backend}: {}", end.said);
        end.says(&["==gpubuf== a write after release", "byte 40 of the host side of block 0 of pool \"blocks\""]);
        // Only the emulated device has a schedule that a seed perturbs.
        assert_eq!(end.said.contains("GPUBUF_DEBUG_SEED=17"), backend == "host", "{}", end.said);
        assert_eq!(end.said.contains("it goes on"), signal.is_none());
    }
}

/// On the device alone: no page of the CPU's shows it.
#[test]
fn a_kernel_that_writes_the_device_side_of_a_released_block_is_found_as_well() {
    let test = "a_kernel_that_writes_the_device_side_of_a_released_block_is_found_as_well";
    for case in ["stray", "none"] {
        let end = apart(test, &[("CASE", case), ("GPUBUF_BACKEND", "host")], || {
            let (device, stream) = debugged(Debug::On);
            let options = PoolOptions {
                twin: Twin::Eager,
                label: "blocks".into(),
                ..PoolOptions::new(Placement::Pinned, 5000, 1)
            };
            let pool = Pool::create(&device, options).expect("a pool");
            let block = pool.acquire(0, Timeout::Try).expect("a block");
            let address = block.device_address().expect("an address");
            block.release_after(std::slice::from_ref(&stream)).expect("a release");
            device.drain(Timeout::Infinite).expect("done");
            assert_eq!(common::read_device(&device, address, 5000), [0xA5; 5000], "nobody's");
            if std::env::var("CASE").as_deref() == Ok("stray") {
                stray_kernel(&stream, address);
                common::ran(&stream);
            }
            let _block = pool.acquire(0, Timeout::Try).expect("a block");
            assert_eq!(common::read_device(&device, address, 5000), [0xCD; 5000], "somebody's again");
        });
        let Some(end) = end else { return };
        if case == "none" {
            assert_eq!((end.signal, end.code), (None, Some(0)), "{}", end.said);
            continue;
        }
        assert_eq!(end.signal, Some(libc::SIGABRT), "{}", end.said);
        end.says(&["==gpubuf== a write after release", "byte 40 of the device side of block 0 of pool \"blocks\""]);
    }
}

#[test]
fn a_race_on_memory_that_cannot_be_protected_is_found_by_its_bytes() {
    let test = "a_race_on_memory_that_cannot_be_protected_is_found_by_its_bytes";
    // The caller's own; and what a driver has locked itself.
    for (backend, case) in [("host", "borrowed"), ("cuda", "borrowed"), ("cuda", "pinned")] {
        let environment = [("CASE", case), ("GPUBUF_BACKEND", backend), ("GPUBUF_DEBUG_SEED", "random")];
        let end = apart(test, &environment, || {
            let (device, stream) = debugged(Debug::On);
            let mut own = vec![0u8; 1000];
            let mut options = BufferOptions { label: "racing".into(), ..pair_of(1000) };
            if std::env::var("CASE").as_deref() == Ok("borrowed") {
                options.host_memory = own.as_mut_ptr();
            }
            let racing = buffer(&device, options);
            let kept = fill(&racing, 1);
            hold(&stream);
            queue_the_copy(&racing, &stream);
            refill_too_early(kept);
            release(&stream);
            stream.synchronize(Timeout::Infinite).expect("done");
            fill(&racing, 2);
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGABRT), "{case} on {backend}: {}", end.said);
        end.says(&[
            "==gpubuf== a race: the bytes of a copy changed while it was in flight",
            "of: the host side of buffer \"racing\" (1000 bytes pinned",
            "a copy reads bytes 0..1000, up to stream \"main\", sequence 1",
            "queued by: debug::queue_the_copy",
        ]);
        let schedule = end.said.contains("To run this schedule again: GPUBUF_DEBUG_SEED=");
        assert_eq!(schedule, backend == "host", "{}", end.said);
    }
}

#[test]
fn a_handler_that_was_there_before_gets_the_signal() {
    let test = "a_handler_that_was_there_before_gets_the_signal";
    extern "C" fn other(_: i32) {
        gpubuf::backend::trap::tell("the other handler\n");
        // SAFETY: ends the process.
        unsafe { libc::_exit(3) };
    }
    for case in ["ours", "foreign"] {
        let end = apart(test, &[("CASE", case)], || {
            // SAFETY: a handler that only writes and ends.
            unsafe { libc::signal(libc::SIGSEGV, other as extern "C" fn(i32) as usize) };
            let (device, stream) = debugged(Debug::On);
            let tokens = tokens(&device, Placement::Pinned, 100);
            let kept = fill(&tokens, 1);
            hold(&stream);
            queue_the_copy(&tokens, &stream);
            let foreign = std::env::var("CASE").as_deref() == Ok("foreign");
            refill_too_early(if foreign { std::ptr::without_provenance_mut(4096) } else { kept });
        });
        let Some(end) = end else { return };
        assert_eq!((end.signal, end.code), (None, Some(3)), "{}", end.said);
        end.says(&["the other handler"]);
        assert_eq!(end.said.contains("==gpubuf=="), case == "ours", "{}", end.said);
    }
}

#[test]
fn a_signal_that_somebody_sent_is_ignored_where_it_was() {
    let test = "a_signal_that_somebody_sent_is_ignored_where_it_was";
    let end = apart(test, &[], || {
        // SAFETY: no handler, and a signal for this thread.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_IGN) };
        let _debugged = debugged(Debug::On);
        // SAFETY: as above.
        unsafe { libc::raise(libc::SIGSEGV) };
        eprintln!("goes on");
    });
    let Some(end) = end else { return };
    assert_eq!(end.signal, None, "{}", end.said);
    end.says(&["goes on"]);
}

#[test]
fn a_child_and_the_end_of_the_device_find_everything_open() {
    let test = "a_child_and_the_end_of_the_device_find_everything_open";
    let end = apart(test, &[], || {
        let (device, stream) = debugged(Debug::On);
        let tokens = tokens(&device, Placement::Pinned, 100);
        let kept = fill(&tokens, 1);
        hold(&stream);
        queue_the_copy(&tokens, &stream);
        // SAFETY: the child only writes and ends.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                refill_too_early(kept);
                libc::_exit(5);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 5, "{status}");
        }
        let _ = gpubuf::fence::shut_down_all(Timeout::Try);
        refill_too_early(kept);
        eprintln!("all open");
    });
    let Some(end) = end else { return };
    assert_eq!(end.signal, None, "{}", end.said);
    end.says(&["all open"]);
}

/// Slots whose memory is a workspace's.
fn slots_of_a_workspace(device: &Arc<Device>) -> (Arc<Workspace>, Arc<Slots>) {
    let workspace = Workspace::create(device, WorkspaceOptions::default()).expect("a workspace");
    let parts = SlotsParts { source: Some(workspace.clone()), ..SlotsParts::default() };
    let ring = SlotsOptions {
        depth: 2,
        read_back_depth: 0,
        read_back_bytes: 0,
        gap_bytes: 0,
        device_depth: 1,
        padded_sizes: &[],
    };
    let slots = Slots::create_with(device, ring, parts, "inputs").expect("slots");
    let (dtype, shape, kind) = (Dtype::U8, Shape::new(&[8192]).expect("a shape"), SlotKind::Required);
    slots
        .add(&SlotOptions { name: "ids", dtype, shape, kind, own_copy: false, follows_tokens: false, pad: None })
        .expect("a slot");
    slots.freeze().expect("frozen");
    (workspace, slots)
}

/// Memory of a workspace that slots had before.
fn left_by_slots(device: &Arc<Device>, host: Placement, on_device: Placement) -> Held {
    let (workspace, slots) = slots_of_a_workspace(device);
    drop(slots);
    device.drain(Timeout::Infinite).expect("no damage");
    let spec = Spec::new(Dtype::U8, Shape::new(&[8192]).expect("a shape"), host, on_device).expect("a spec");
    let next = workspace.clone().take(&spec, Timeout::Try).expect("a buffer");
    assert_eq!(workspace.stats().entries, 3, "that of the slots");
    next
}

/// Slots that had the memory of a workspace's buffer leave it as they found it.
#[test]
fn memory_that_slots_give_back_to_its_source_is_open_to_its_next_user() {
    let (device, _) = debugged(Debug::On);
    let next = left_by_slots(&device, Placement::Pinned, Placement::None);
    refill_too_early(fill(&next, 1));
}

/// And watched as they found it. Meanwhile its owner knows what lies behind it.
#[test]
fn memory_that_slots_have_of_a_source_is_watched_during_and_after() {
    let test = "memory_that_slots_have_of_a_source_is_watched_during_and_after";
    for (case, said) in [
        ("after", "a read of a device address by the CPU"),
        ("during", "17 bytes behind the end of the host side of buffer"),
    ] {
        let end = apart(test, &[("CASE", case)], || {
            let (device, stream) = debugged(Debug::On);
            if std::env::var("CASE").as_deref() == Ok("after") {
                let next = left_by_slots(&device, Placement::None, Placement::Device);
                let address = next.device_address(std::slice::from_ref(&stream)).expect("an address");
                read_too_early(address as *const u8);
            }
            let (_workspace, slots) = slots_of_a_workspace(&device);
            let step = slots.begin(Timeout::Try).expect("a step");
            let (rows, _) = step.begin_span(0, 0, ALL).expect("rows");
            refill_too_early(rows.wrapping_add(8191));
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGSEGV), "{}", end.said);
        end.says(&[said]);
    }
}

/// Whoever listens to the log may call the library, also about what is damaged.
#[test]
fn a_sink_that_waits_for_the_damaged_memory_does_not_keep_the_process_from_ending() {
    let test = "a_sink_that_waits_for_the_damaged_memory_does_not_keep_the_process_from_ending";
    let end = apart(test, &[], || {
        // SAFETY: a number, and later a signal that ends a process that hangs.
        unsafe { libc::alarm(60) };
        let (device, _) = debugged(Debug::On);
        let own = device.clone();
        gpubuf::config::log::set_sink(Some(Arc::new(move |_, text| {
            eprintln!("heard: {}", text.to_string_lossy());
            let _ = own.drain(Timeout::Infinite);
        })));
        let tokens = tokens(&device, Placement::Pinned, 100);
        let (at, token) = tokens.begin(Access::Write, 0, ALL, Timeout::Try).expect("a guard");
        refill_too_early(at.wrapping_add(100));
        let _ = tokens.end(Access::Write, token);
    });
    let Some(end) = end else { return };
    assert_eq!(end.signal, Some(libc::SIGABRT), "{}", end.said);
    end.says(&["heard: ==gpubuf== a write behind the end of a block"]);
}

/// What is not the watch's business ends the process as it would without: at once.
#[test]
fn faults_on_watched_memory_for_another_reason_are_passed_on() {
    let test = "faults_on_watched_memory_for_another_reason_are_passed_on";
    for case in ["unmapped", "code"] {
        let end = apart(test, &[("CASE", case)], || {
            // SAFETY: a number, and later a signal that ends a process that hangs.
            unsafe { libc::alarm(20) };
            let (device, _) = debugged(Debug::On);
            if std::env::var("CASE").as_deref() == Ok("code") {
                let tokens = tokens(&device, Placement::Pinned, 4096);
                let at = fill(&tokens, 0xC3);
                // SAFETY: none: it is no code, which is what is tested.
                unsafe { std::mem::transmute::<*mut u8, extern "C" fn()>(at)() };
            }
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            // Far from where the system puts what other threads ask for: nothing else comes to be there.
            let place = std::ptr::without_provenance_mut(0x2000_0000_0000);
            // SAFETY: new memory, which is then taken away from the buffer that has it: what is tested.
            unsafe {
                let own: *mut u8 = libc::mmap(place, 8192, access, flags, -1, 0).cast();
                assert_eq!(own.addr(), place.addr(), "nothing is there yet");
                let options = BufferOptions { host: Placement::Pageable, host_memory: own, ..pair_of(8192) };
                let borrowed = buffer(&device, options);
                let kept = fill(&borrowed, 1);
                libc::munmap(own.cast(), 8192);
                read_too_early(kept);
            }
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGSEGV), "{case}: {}", end.said);
        assert!(!end.said.contains("==gpubuf=="), "{}", end.said);
    }
}

/// A handler that passes on what it gets to whoever was there before it.
#[test]
fn a_later_handler_that_passes_faults_on_gets_each_once() {
    use gpubuf::sync::{AtomicPtr, AtomicUsize, Ordering};
    static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn later(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: what was there before, as the system gave it; and the end, where it does not come by itself.
        unsafe {
            if SEEN.fetch_add(1, Ordering::SeqCst) > 0 {
                libc::_exit(9);
            }
            let before = (*BEFORE.load(Ordering::SeqCst)).sa_sigaction;
            std::mem::transmute::<usize, extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)>(before)(
                signal, info, context,
            );
        }
    }
    let test = "a_later_handler_that_passes_faults_on_gets_each_once";
    for (case, reports) in [("stray", 1), ("foreign", 0)] {
        let end = apart(test, &[("CASE", case)], || {
            // SAFETY: the default, so that the library's handler has nothing before it; a handler in front of the library's.
            unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
            let (device, stream) = debugged(Debug::On);
            // SAFETY: as above.
            unsafe {
                let mut own: libc::sigaction = std::mem::zeroed();
                own.sa_sigaction = later as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
                own.sa_flags = libc::SA_SIGINFO;
                let before = Box::leak(Box::new(std::mem::zeroed()));
                libc::sigaction(libc::SIGSEGV, &own, before);
                BEFORE.store(before, Ordering::SeqCst);
            }
            if std::env::var("CASE").as_deref() == Ok("foreign") {
                drop(stream);
                drop(device);
                let (_device, _stream) = debugged(Debug::On);
                read_too_early(std::ptr::without_provenance(64));
                return;
            }
            let tokens = tokens(&device, Placement::Pinned, 100);
            let kept = fill(&tokens, 1);
            hold(&stream);
            queue_the_copy(&tokens, &stream);
            refill_too_early(kept);
        });
        let Some(end) = end else { return };
        assert_eq!(end.signal, Some(libc::SIGSEGV), "{case} {:?}: {}", end.code, end.said);
        assert_eq!(end.said.matches("==gpubuf== a write to").count(), reports, "{}", end.said);
    }
}

#[test]
fn leaks_are_told_and_fail_where_that_was_asked_for() {
    use std::ffi::c_void;
    unsafe extern "C" {
        fn gpubuf_device_open(options: *const c_void, out: *mut *mut c_void) -> i32;
        fn gpubuf_stream_create(device: *mut c_void, out: *mut *mut c_void) -> i32;
        fn gpubuf_shutdown(timeout_ns: u64) -> i32;
    }
    let test = "leaks_are_told_and_fail_where_that_was_asked_for";
    /// A stream that nobody destroys.
    #[inline(never)]
    fn forget_a_stream() {
        let (mut device, mut stream) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: room for a handle each.
        unsafe {
            assert_eq!(gpubuf_device_open(std::ptr::null(), &mut device), 0);
            assert_eq!(gpubuf_stream_create(device, &mut stream), 0);
        }
    }
    /// What is left in a buffer of the C library's at the exit.
    fn print() {
        unsafe extern "C" {
            static stdout: *mut libc::FILE;
        }
        // SAFETY: a text that ends.
        unsafe { libc::fputs(c"printed by the program".as_ptr(), stdout) };
    }
    for (case, leaks, code) in [
        ("exit", "error", 1),
        ("exit", "report", 0),
        ("shutdown", "error", 44),
        ("shutdown", "report", 0),
        ("exit", "", 0),
    ] {
        let environment = [("CASE", case), ("GPUBUF_LEAKS", leaks), ("GPUBUF_TRACK", "1"), ("GPUBUF_BACKEND", "host")];
        let end = apart(test, &environment, || {
            forget_a_stream();
            print();
            if std::env::var("CASE").as_deref() == Ok("shutdown") {
                // SAFETY: takes a number.
                let status = unsafe { gpubuf_shutdown(u64::MAX) };
                assert!(status == 0 || status == gpubuf::error::Status::Busy as i32, "{status}");
                std::process::exit(if status == 0 { 0 } else { 44 });
            }
        });
        let Some(end) = end else { return };
        assert_eq!(end.code, Some(code), "{case} {leaks}: {}", end.said);
        end.says(&["printed by the program"]);
        let told = format!("==gpubuf== {case}: not destroyed: stream #");
        assert_eq!(end.said.contains(&told), !leaks.is_empty(), "{case} {leaks}: {}", end.said);
        let by = "made by debug::leaks_are_told_and_fail_where_that_was_asked_for::forget_a_stream at";
        assert_eq!(end.said.contains(by), !leaks.is_empty(), "{case} {leaks}: {}", end.said);
    }
}
