//! What libraries in this place fall into with the driver, each by its name, on the stand-in. What a process does to its
//! driver stays with it, so each runs in a process of its own.

#[path = "c_api/program.rs"]
mod c_program;
mod common;

use common::standin::{Cuda, fresh_context, library, moved};
use common::{buffer, hold, kit, kit_of, pair_of, ran, read_device, release, status, stream};
use gpubuf::backend::{BackendKind, DeviceOptions, DeviceSettings, PinnedMethod};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Event, Timeline};
use gpubuf::lease::Twin;
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::{Arc, AtomicU32, Mutex, Ordering};
use std::ffi::c_int;
use std::time::Duration;

const SHORT: Timeout = Timeout::Within(Duration::from_millis(5));
const LONG: Timeout = Timeout::Within(Duration::from_secs(60));

fn open(options: DeviceOptions) -> Arc<Device> {
    Device::open(&DeviceOptions { kind: Some(BackendKind::Cuda), ..options }, 0, "").expect("a device")
}

fn device() -> Arc<Device> {
    open(DeviceOptions::default())
}

fn set(buffer: &Buffer, value: u8, timeout: Timeout) -> gpubuf::error::Result<()> {
    let (data, token) = buffer.begin(Access::Write, 0, ALL, timeout)?;
    // SAFETY: the guard covers the whole side of 4096 bytes.
    unsafe { data.write_bytes(value, 4096) };
    buffer.end(Access::Write, token)
}

fn is(device: &Arc<Device>, buffer: &Buffer, stream: &Arc<Timeline>, value: u8) -> bool {
    let address = buffer.device_address(std::slice::from_ref(stream)).expect("an address");
    read_device(device, address, 4096).iter().all(|byte| *byte == value)
}

#[test]
fn trap_1_calls_at_process_exit() {
    let environment = [("GPUBUF_CUDA_DRIVER", library())];
    c_program::run_with("cuda_exit", &environment);
}

#[test]
fn upkeep_makes_no_calls_at_process_exit() {
    let environment = [("GPUBUF_BACKEND", "cuda".into()), ("GPUBUF_CUDA_DRIVER", library())];
    c_program::run_with("upkeep", &environment);
}

#[test]
fn trap_2_freeing_waits_for_the_device_and_nobody_else_does() {
    if moved("trap_2_freeing_waits_for_the_device_and_nobody_else_does", &[]) {
        return;
    }
    let device = device();
    let (busy, other) = (stream(&device), stream(&device));
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, 4096, 2) };
    let pool = Pool::create(&device, options).expect("a pool");
    let gone = buffer(&device, pair_of(4096));
    hold(&busy);
    common::busy(&busy);
    // The driver's frees wait for the held stream; none of these calls does.
    drop(gone);
    assert_eq!(device.maintain(), 8192);
    for _ in 0..10 {
        let lease = pool.acquire(0, Timeout::Try).expect("a block");
        lease.release().expect("a release");
        buffer(&device, pair_of(4096)).copy(true, 0, ALL, &other, Some(LONG)).expect("a copy");
    }
    assert!(!device.backend().await_frees(Some(std::time::Instant::now())), "the free is still waiting");
    release(&busy);
    device.drain(LONG).expect("a drain");
    assert!(device.backend().await_frees(None));
}

#[test]
fn trap_5_events_belong_to_the_context_of_their_stream() {
    if moved("trap_5_events_belong_to_the_context_of_their_stream", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let first = device();
    let second = open(DeviceOptions { ordinal: 1, ..Default::default() });
    let foreign = fresh_context();
    // Whatever is current on the thread, events are made in, and recorded in, the context of the device.
    for current in [0, foreign, first.backend().facts().native_context] {
        assert_eq!(cuda.cuCtxSetCurrent(current), 0);
        for device in [&first, &second] {
            let (stream, buffer) = (stream(device), buffer(device, pair_of(4096)));
            for _ in 0..600 {
                buffer.copy(true, 0, ALL, &stream, None).expect("a copy");
            }
            set(&buffer, 1, LONG).expect("a write");
        }
        assert_eq!(cuda.current(), current);
    }
    // A stream of another context is refused, by name.
    assert_eq!(cuda.cuCtxSetCurrent(foreign), 0);
    let theirs = cuda.stream(1);
    // SAFETY: refused.
    let error = unsafe { Timeline::wrap(&first, theirs, "") }.err().expect("a refusal");
    assert_eq!(error.status(), Status::WrongDevice);
    // Objects of two devices do not mix.
    let (stream, buffer) = (stream(&second), buffer(&first, pair_of(64)));
    assert_eq!(status(buffer.copy(true, 0, ALL, &stream, None)), Status::WrongDevice);
}

#[test]
fn trap_6_default_streams_and_dead_streams() {
    if moved("trap_6_default_streams_and_dead_streams", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device();
    assert_eq!(cuda.cuCtxSetCurrent(device.backend().facts().native_context), 0);
    let wrap = |native: usize| {
        // SAFETY: default streams last as long as the context; the others until their object is ended.
        unsafe { Timeline::wrap(&device, native, "") }.expect("a stream")
    };
    let own = stream(&device);
    let blocking = cuda.stream(0);
    let (legacy, legacy_by_name, mine, theirs) = (wrap(0), wrap(1), wrap(2), wrap(blocking));
    assert_eq!(legacy.stream().id(), legacy_by_name.stream().id(), "0 is the legacy stream");
    assert_ne!(legacy.stream().id(), mine.stream().id());

    // The legacy stream waits for blocking ones, not for the library's own.
    for timeline in [&theirs, &own] {
        let buffer = buffer(&device, pair_of(4096));
        hold(timeline);
        common::busy(timeline);
        buffer.copy(true, 0, ALL, &legacy, None).expect("a copy");
        let waits = Arc::ptr_eq(timeline, &theirs);
        let (wait, answer) = if waits { (SHORT, Status::Timeout) } else { (LONG, Status::Ok) };
        assert_eq!(status(set(&buffer, 1, wait)), answer);
        release(timeline);
    }

    // Another thread's default stream is another one: using this object there is refused.
    let error = std::thread::scope(|scope| {
        let used = scope.spawn(|| buffer(&device, pair_of(64)).copy(true, 0, ALL, &mine, None));
        used.join().expect("the thread").expect_err("a refusal")
    });
    assert!(error.message().contains("per-thread default stream"), "{error}");

    // A stream dies after its object: what used it is still fenced, and a new stream is not taken for it.
    let buffer = buffer(&device, pair_of(4096));
    let address = buffer.device_address(std::slice::from_ref(&theirs)).expect("an address");
    assert_ne!(address, 0);
    let id = theirs.stream().id();
    kit(&theirs).delay(1).expect("work");
    buffer.copy(true, 0, ALL, &theirs, None).expect("a copy");
    theirs.end_wrapped();
    assert_eq!(cuda.cuStreamDestroy_v2(blocking), 0);
    let before = cuda.calls("cuEventRecord");
    buffer.copy(false, 0, ALL, &own, None).expect("ordered behind the last fence");
    assert_eq!(cuda.calls("cuEventRecord"), before + 1, "the dead stream is not recorded on");
    assert_eq!(status(buffer.copy(true, 0, ALL, &theirs, None)), Status::StaleHandle);
    set(&buffer, 2, LONG).expect("a write");
    assert_ne!(wrap(cuda.stream(0)).stream().id(), id);
    drop(buffer);
    device.drain(LONG).expect("a drain");
}

#[test]
fn trap_7_contexts_are_neither_created_nor_disturbed() {
    if moved("trap_7_contexts_are_neither_created_nor_disturbed", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let active = |ordinal: c_int| {
        let (mut flags, mut active) = (0, 0);
        assert_eq!(cuda.cuDevicePrimaryCtxGetState(ordinal, &mut flags, &mut active), 0);
        active == 1
    };
    assert_eq!(cuda.cuInit(0), 0);
    assert_eq!(gpubuf::backend::device_count(Some(BackendKind::Cuda)).expect("a count"), 2);
    assert!(!active(0) && !active(1), "counting makes no context");
    let second = open(DeviceOptions { ordinal: 1, ..Default::default() });
    assert!(!active(0) && active(1), "only the device that was named has one");
    assert_eq!(cuda.current(), 0, "and it is not left current");
    drop(second);
    assert!(!active(1), "what was retained is released");

    // A context of the caller's: used, not released, and whatever is current stays so, on threads without one too.
    let (mine, foreign) = (fresh_context(), fresh_context());
    let device = open(DeviceOptions { native_context: mine, ..Default::default() });
    assert_eq!(device.backend().facts().native_context, mine);
    assert!(!active(0) && !active(1));
    let work = |current: usize| {
        assert_eq!(cuda.cuCtxSetCurrent(current), 0);
        let (stream, buffer) = (stream(&device), buffer(&device, pair_of(4096)));
        set(&buffer, 5, LONG).expect("a write");
        buffer.copy(true, 0, ALL, &stream, Some(LONG)).expect("a copy");
        let event = Event::create(&device, true, "").expect("an event");
        event.record(&stream).expect("a record");
        event.wait(LONG).expect("a wait");
        assert!(is(&device, &buffer, &stream, 5));
        drop((buffer, event, stream));
        device.drain(LONG).expect("a drain");
        assert_eq!(cuda.current(), current);
    };
    work(0);
    work(foreign);
    work(mine);
    std::thread::scope(|scope| {
        scope.spawn(|| work(0)).join().expect("the thread");
    });
    // Refusals put it back, too.
    assert_eq!(cuda.cuCtxSetCurrent(foreign), 0);
    cuda.fail_next("cuMemAlloc_v2", 2);
    cuda.fail_next("cuEventCreate", 1);
    let _ = Buffer::create(&device, pair_of(64));
    let _ = Event::create(&device, false, "");
    assert_eq!(cuda.current(), foreign);
    drop(device);
    assert_eq!(cuda.cuCtxSetCurrent(mine), 0);
    assert_eq!(cuda.cuCtxSynchronize(), 0, "the caller's context is as alive as before");
}

#[test]
fn trap_9_errors_of_ours_stay_ours_and_those_of_others_are_told() {
    if moved("trap_9_errors_of_ours_stay_ours_and_those_of_others_are_told", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device();
    let stream = stream(&device);
    // A registration that the driver refuses is a status, and leaves nothing behind for the next call.
    let mut memory = vec![0u8; 4 * 4096];
    // In the middle of a page, so that it ends in the middle of one.
    let lent = memory.as_mut_ptr().wrapping_add(memory.as_ptr().align_offset(4096) + 16);
    let told = Arc::new(AtomicU32::new(0));
    let borrowed = || BufferOptions {
        host_memory: lent,
        release: Some(Box::new({
            let told = told.clone();
            move || {
                told.fetch_add(1, Ordering::SeqCst);
            }
        })),
        ..pair_of(8192)
    };
    cuda.fail_next("cuMemHostRegister_v2", 801);
    let error = Buffer::create(&device, borrowed()).err().expect("a refusal");
    assert_eq!(error.status(), Status::Unsupported);
    assert!(error.message().contains("8192 bytes"), "{error}");
    let buffer = Buffer::create(&device, borrowed()).expect("the next one works");
    buffer.copy(true, 0, ALL, &stream, Some(LONG)).expect("a copy");
    // A free that fails in a destructor ends nothing.
    cuda.fail_next("cuMemHostUnregister", 1);
    drop(buffer);
    device.drain(LONG).expect("a drain");
    assert!(device.backend().await_frees(None));
    assert_eq!(told.load(Ordering::SeqCst), 1);

    // Somebody's kernel fails: one status everywhere, what was in flight is given up, and nothing aborts.
    let (idle, busy) = (common::buffer(&device, pair_of(4096)), common::buffer(&device, pair_of(4096)));
    hold(&stream);
    busy.copy(true, 0, ALL, &stream, None).expect("a copy");
    assert_eq!(cuda.gpubuf_standin_lose_device(0, 700), 0);
    let error = busy.begin(Access::Write, 0, 1, LONG).expect_err("lost");
    assert_eq!(error.status(), Status::DeviceLost);
    assert_eq!(status(busy.copy(true, 0, ALL, &stream, None)), Status::DeviceLost);
    assert_eq!(status(device.drain(LONG)), Status::DeviceLost);
    assert_eq!(status(device.synchronize(LONG)), Status::DeviceLost);
    assert_eq!(status(Buffer::create(&device, pair_of(64))), Status::DeviceLost);
    assert!(device.counters.quarantined_bytes.get() >= 4096);
    // What was proven before is not lost: the CPU may have it.
    assert_eq!(status(idle.begin(Access::Read, 0, 1, LONG)), Status::Ok);
    drop((idle, busy, stream));
    assert_eq!(status(gpubuf::fence::shut_down_all(SHORT)), Status::DeviceLost);
}

#[test]
fn a_copy_that_fails_when_it_runs_takes_the_device_with_it() {
    if moved("a_copy_that_fails_when_it_runs_takes_the_device_with_it", &[]) {
        return;
    }
    use gpubuf::backend::kit::{FailWhen, Operation};
    let device = device();
    let (stream, buffer) = (stream(&device), buffer(&device, pair_of(4096)));
    kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
    let copied = buffer.copy(true, 0, ALL, &stream, Some(LONG));
    assert_eq!(status(copied), Status::DeviceLost);
    assert_eq!(status(buffer.begin(Access::Read, 0, 1, LONG)), Status::DeviceLost, "never bytes that nobody promised");
    assert_eq!(status(device.expect_usable()), Status::DeviceLost);
}

/// Mappings that are the library's own: a child after fork would not have them.
fn own_mappings() -> usize {
    let areas = std::fs::read_to_string("/proc/self/smaps").expect("the process's areas");
    areas.lines().filter(|line| line.starts_with("VmFlags:") && line.contains(" dc ")).count()
}

#[test]
fn memory_that_could_not_be_registered_goes_back_to_the_system() {
    if moved("memory_that_could_not_be_registered_goes_back_to_the_system", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let settings = DeviceSettings { pinned: PinnedMethod::Register, ..Default::default() };
    let device = open(DeviceOptions { settings, ..Default::default() });
    let options = || BufferOptions { device: Placement::None, ..pair_of(300_000) };
    let before = own_mappings();
    let kept = buffer(&device, options());
    assert_eq!(own_mappings(), before + 1, "this is how they are told");
    let arm = |nth| {
        let function = c"cuThreadExchangeStreamCaptureMode";
        assert_eq!(cuda.gpubuf_standin_fail_call(function.as_ptr(), nth, 1), 0);
    };
    let mut refused = 0;
    for nth in 1..=8 {
        arm(nth);
        let made = Buffer::create(&device, options());
        arm(0);
        refused += u32::from(made.is_err());
        drop(made);
        device.drain(LONG).expect("a drain");
        assert!(device.backend().await_frees(None));
        assert_eq!(own_mappings(), before + 1, "after call {nth}");
    }
    assert!(refused > 0);
    drop(kept);
}

#[test]
fn large_pinned_memory_is_registered_in_pieces_and_copied_across_them() {
    if moved("large_pinned_memory_is_registered_in_pieces_and_copied_across_them", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let settings = DeviceSettings { pinned: PinnedMethod::Register, register_bytes: 65_536, ..Default::default() };
    let device = open(DeviceOptions { settings, ..Default::default() });
    let stream = stream(&device);
    let bytes = 300_000u64;
    let buffer = buffer(&device, pair_of(bytes));
    assert_eq!(cuda.calls("cuMemHostRegister_v2"), 5);
    assert_eq!(cuda.calls("cuMemHostAlloc"), u64::from(cuda.calls("cuMemHostAlloc") > 0), "only the kit's words");
    let pattern: Vec<u8> = (0..bytes).map(|at| (at / 7) as u8).collect();
    // SAFETY: as many bytes as the buffer has.
    unsafe { buffer.copy_in(0, ALL, pattern.as_ptr(), LONG) }.expect("a write");
    let before = cuda.calls("cuMemcpyAsync");
    buffer.copy(true, 100, bytes - 200, &stream, Some(LONG)).expect("a copy");
    assert_eq!(cuda.calls("cuMemcpyAsync") - before, 5, "no copy spans two registrations");
    let address = buffer.device_address(std::slice::from_ref(&stream)).expect("an address");
    assert!(read_device(&device, address + 100, bytes - 200) == pattern[100..bytes as usize - 100]);
    drop(buffer);
    device.drain(LONG).expect("a drain");
    assert_eq!(cuda.calls("cuMemHostUnregister"), 5);
    // Where registration is refused, what was asked for by name fails; what is automatic goes the other way, and is counted.
    cuda.fail_next("cuMemHostRegister_v2", 801);
    assert_eq!(status(Buffer::create(&device, pair_of(bytes))), Status::Unsupported);
    let device = open(DeviceOptions::default());
    cuda.fail_next("cuMemHostRegister_v2", 801);
    let large = BufferOptions { device: Placement::None, ..pair_of(64 << 20) };
    common::buffer(&device, large);
    assert_eq!(device.backend().fallbacks().registration, 1);
}

#[test]
fn page_locked_memory_that_cannot_be_had_in_any_way_is_told_once() {
    if moved("page_locked_memory_that_cannot_be_had_in_any_way_is_told_once", &[]) {
        return;
    }
    use gpubuf::config::log;
    const REGISTER_SUPPORTED: i32 = 99;
    let device = open(DeviceOptions::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = heard.clone();
    log::set_sink(Some(Arc::new(move |level, text| {
        if level >= log::Level::Warn {
            sink.lock().push(text.to_string_lossy().into_owned());
        }
    })));
    // The device was opened as one that can register; now neither way works, nor does the second try after waiting for frees.
    assert_eq!(Cuda::open().gpubuf_standin_set_attribute(0, REGISTER_SUPPORTED, 0), 0);
    kit_of(&device).limit_memory(Placement::Pinned, 0).expect("a limit");
    let Err(error) = Buffer::create(&device, BufferOptions { device: Placement::None, ..pair_of(64 << 20) }) else {
        panic!("there is no such memory")
    };
    log::deliver();
    assert_eq!(error.status(), Status::OutOfHostMemory);
    assert!(error.message().contains("registering") && error.message().contains("allocating"), "{}", error.message());
    assert_eq!(*heard.lock(), Vec::<String>::new(), "nothing was done instead, so nothing is said but the error");
    assert_eq!(device.backend().fallbacks().all(), 0);
    // The same of huge pages, which are mapped whatever their size, and asked for by a manager.
    let options = PinnedOptions { huge_pages: true, ..PinnedOptions::new(Placement::Pinned, 64 << 20) };
    let pinned = Pinned::create(&device, options).expect("a manager");
    assert_eq!(status(pinned.allocate(&Request::new(8 << 20))), Status::OutOfHostMemory);
    log::deliver();
    assert_eq!(*heard.lock(), Vec::<String>::new());
    assert_eq!((device.backend().fallbacks().all(), pinned.figures().refusals), (0, 1));
    // Where the driver's own allocation works instead, that is said once.
    kit_of(&device).limit_memory(Placement::Pinned, 1 << 30).expect("a limit");
    pinned.allocate(&Request::new(8 << 20)).expect("a block");
    log::deliver();
    assert_eq!(heard.lock().len(), 1, "{:?}", heard.lock());
    assert_eq!(device.backend().fallbacks().all(), 1);
}

#[test]
fn every_way_to_make_memory_works() {
    if moved("every_way_to_make_memory_works", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let settings = DeviceSettings { stream_ordered: true, ..Default::default() };
    let device = open(DeviceOptions { settings, ..Default::default() });
    let stream = stream(&device);
    for host in [Placement::Pageable, Placement::Pinned, Placement::Uva, Placement::Managed] {
        let buffer = buffer(&device, BufferOptions { host, ..pair_of(4096) });
        set(&buffer, 9, LONG).expect("a write");
        buffer.copy(true, 0, ALL, &stream, Some(LONG)).expect("a copy");
        assert!(is(&device, &buffer, &stream, 9), "{}", host.name());
    }
    assert_eq!((cuda.calls("cuMemAlloc_v2"), cuda.calls("cuMemAllocAsync")), (0, 4));
    device.drain(LONG).expect("a drain");
    assert_eq!((cuda.calls("cuMemFree_v2"), cuda.calls("cuMemFreeAsync")), (1, 4), "the managed memory, and the rest");
    // In place: the address is the driver's word, not the host pointer.
    for host in [Placement::Uva, Placement::Managed] {
        let buffer = buffer(&device, BufferOptions { host, device: Placement::None, ..pair_of(4096) });
        set(&buffer, 7, LONG).expect("a write");
        let address = buffer.device_address(std::slice::from_ref(&stream)).expect("an address");
        let same = address == buffer.host_ptr().expect("a pointer") as u64;
        assert_eq!(same, host == Placement::Managed);
        assert!(read_device(&device, address, 4096).iter().all(|byte| *byte == 7));
    }
    // Without managed memory that is said, and nothing else is given instead.
    assert_eq!(cuda.gpubuf_standin_set_attribute(0, 89, 0), 0);
    let device = open(DeviceOptions::default());
    let managed = BufferOptions { host: Placement::Managed, ..pair_of(4096) };
    assert_eq!(status(Buffer::create(&device, managed)), Status::Unsupported);
}

#[test]
fn the_callers_events_order_in_both_directions() {
    if moved("the_callers_events_order_in_both_directions", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device();
    assert_eq!(cuda.cuCtxSetCurrent(device.backend().facts().native_context), 0);
    let ours = stream(&device);
    let (theirs, event, back) = (cuda.stream(1), cuda.event(), cuda.event());
    let buffer = buffer(&device, pair_of(4096));
    // In: their work first, then ours. A copy of ours waits, on the device, for what their stream still has to do.
    assert_eq!(cuda.gpubuf_standin_stream_hold(theirs), 0);
    let address = buffer.device_address(std::slice::from_ref(&ours)).expect("an address");
    assert_eq!(cuda.cuMemsetD8Async(address, 3, 4096, theirs), 0);
    assert_eq!(cuda.cuEventRecord(event, theirs), 0);
    ours.wait_native(event).expect("a wait");
    buffer.used_on(&ours, Access::Write).expect("declared");
    buffer.copy(false, 0, ALL, &ours, None).expect("a copy");
    assert_eq!(status(buffer.begin(Access::Read, 0, ALL, SHORT)), Status::Timeout);
    assert_eq!(cuda.gpubuf_standin_stream_release(theirs), 0);
    let (data, token) = buffer.begin(Access::Read, 0, ALL, LONG).expect("it landed");
    // SAFETY: the guard covers 4096 bytes.
    assert!(unsafe { std::slice::from_raw_parts(data, 4096) }.iter().all(|byte| *byte == 3));
    buffer.end(Access::Read, token).expect("an end");
    // Out: ours first, then theirs.
    hold(&ours);
    buffer.copy(true, 0, ALL, &ours, None).expect("a copy");
    ours.record_native(back).expect("a record");
    assert_eq!(cuda.cuStreamWaitEvent(theirs, back, 0), 0);
    assert_eq!(cuda.cuMemsetD8Async(address, 4, 4096, theirs), 0);
    assert_eq!(cuda.cuStreamQuery(theirs), 600);
    release(&ours);
    assert_eq!(cuda.cuStreamSynchronize(theirs), 0);
    ran(&ours);
    assert!(is(&device, &buffer, &ours, 4));
    assert_eq!(status(ours.wait_native(0)), Status::InvalidArgument);
}

#[test]
fn a_step_makes_no_event_no_allocation_and_few_calls() {
    if moved("a_step_makes_no_event_no_allocation_and_few_calls", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device();
    let stream = stream(&device);
    let slots = gpubuf::slots::decode_defaults(&device, Default::default(), "").expect("slots");
    slots.freeze().expect("frozen");
    let data = vec![1u8; 8192];
    let steps = |count: u64| {
        for _ in 0..count {
            let step = slots.begin(LONG).expect("a step");
            for slot in 0..5 {
                // SAFETY: the data is longer than 64 rows of 8 bytes.
                unsafe { step.write(slot, 0, 64, data.as_ptr()) }.expect("a write");
            }
            let ticket = step.commit(&stream, &[]).expect("a commit");
            slots.retire(ticket, &[]).expect("retired");
            ran(&stream);
        }
    };
    // As an application is: its context is current.
    assert_eq!(cuda.cuCtxSetCurrent(device.backend().facts().native_context), 0);
    steps(20);
    let names =
        ["cuMemcpyAsync", "cuEventRecord", "cuStreamWaitEvent", "cuEventQuery", "cuEventCreate", "cuCtxPushCurrent_v2"];
    let (all, before) = (cuda.all_calls(), names.map(|name| cuda.calls(name)));
    steps(100);
    let made = [0, 1, 2, 3, 4, 5].map(|at| cuda.calls(names[at]) - before[at]);
    // Every other record is that of this test's own wait.
    assert_eq!(made, [100, 200, 0, 100, 0, 0], "{names:?}");
    // The rest asks which context is current, and whether the stream captures.
    assert!((cuda.all_calls() - all) / 100 <= 20, "{} calls in 100 steps", cuda.all_calls() - all);
}
