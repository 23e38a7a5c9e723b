//! Where the library meets threads, callbacks and memory of the application's, with the stand-in driver below: each in a process
//! of its own.

mod common;

use common::standin::{Cuda, moved};
use common::{buffer, busy, hold, kit, pair_of, ran, release, status, stream};
use gpubuf::backend::{BackendKind, DeviceOptions, DeviceSettings, PinnedMethod};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Timeline};
use gpubuf::sync::{Arc, AtomicU32, Mutex, Ordering};
use gpubuf::tiers::{Tier, Tiers, TiersOptions};
use std::ffi::c_void;
use std::slice::from_ref;
use std::time::Duration;

const SHORT: Timeout = Timeout::Within(Duration::from_millis(5));
const LONG: Timeout = Timeout::Within(Duration::from_secs(60));
const PER_THREAD: usize = 2;
const PAGE: usize = 4096;

fn open(settings: DeviceSettings) -> Arc<Device> {
    let options = DeviceOptions { kind: Some(BackendKind::Cuda), settings, ..Default::default() };
    Device::open(&options, 0, "").expect("a device")
}

/// A device whose context is current.
fn device(cuda: &Cuda) -> Arc<Device> {
    let device = open(DeviceSettings::default());
    assert_eq!(cuda.cuCtxSetCurrent(device.backend().facts().native_context), 0);
    device
}

fn wrap(device: &Arc<Device>, native: usize) -> Arc<Timeline> {
    // SAFETY: streams of these tests last until their objects are ended.
    unsafe { Timeline::wrap(device, native, "") }.expect("a stream")
}

/// Host memory of whole pages, and its first page.
fn pages(count: usize) -> (Vec<u8>, *mut u8) {
    let mut memory = vec![0u8; (count + 1) * PAGE];
    let first = memory.as_mut_ptr().wrapping_add(memory.as_ptr().align_offset(PAGE));
    (memory, first)
}

fn lent(host: *mut u8, bytes: usize) -> BufferOptions {
    BufferOptions { host_memory: host, ..pair_of(bytes as u64) }
}

fn uva(device: &Arc<Device>) -> Arc<Buffer> {
    buffer(device, BufferOptions { host: Placement::Uva, device: Placement::None, ..pair_of(4096) })
}

#[test]
fn a_per_thread_stream_is_never_taken_for_that_of_another_thread() {
    if moved("a_per_thread_stream_is_never_taken_for_that_of_another_thread", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    let mine = wrap(&device, PER_THREAD);
    let (written, idle) = (uva(&device), uva(&device));
    let address = written.device_address(from_ref(&mine)).expect("an address");
    idle.device_address(from_ref(&mine)).expect("an address");
    assert_eq!(cuda.gpubuf_standin_stream_hold(PER_THREAD), 0);
    // A kernel of the application's that writes in place.
    assert_eq!(cuda.cuMemsetD8Async(address, 9, 4096, PER_THREAD), 0);
    std::thread::scope(|scope| {
        let elsewhere = scope.spawn(|| {
            assert_eq!(status(mine.expect_idle()), Status::WrongDevice, "the own stream of this thread is another");
            assert_eq!(status(mine.synchronize(LONG)), Status::WrongDevice);
            assert_eq!(status(written.begin(Access::Write, 0, ALL, SHORT)), Status::WrongDevice);
        });
        elsewhere.join().expect("the thread");
    });
    assert_eq!(status(written.begin(Access::Write, 0, ALL, SHORT)), Status::Timeout);
    assert_eq!(cuda.gpubuf_standin_stream_release(PER_THREAD), 0);
    // Objects and the stream's own may be destroyed anywhere: a drain proves what a fence cannot.
    std::thread::spawn(move || {
        drop((idle, written));
        mine.end_wrapped();
    })
    .join()
    .expect("the thread");
    device.drain(LONG).expect("a drain");
    assert_eq!((device.counters.quarantined_bytes.get(), device.counters.pinned_bytes.get()), (0, 0));
}

#[test]
fn the_end_of_a_wrapped_stream_covers_all_that_was_queued() {
    if moved("the_end_of_a_wrapped_stream_covers_all_that_was_queued", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    for round in 0..400 {
        let native = cuda.stream(1);
        let (theirs, buffer) = (wrap(&device, native), buffer(&device, pair_of(64)));
        assert_eq!(cuda.gpubuf_standin_stream_hold(native), 0);
        let ready = AtomicU32::new(0);
        let copied = std::thread::scope(|scope| {
            let copy = scope.spawn(|| {
                ready.fetch_add(1, Ordering::SeqCst);
                while ready.load(Ordering::SeqCst) < 2 {}
                (0..round / 8 % 16 * 10).for_each(|_| std::hint::spin_loop());
                buffer.copy(true, 0, ALL, &theirs, None)
            });
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < 2 {}
            (0..round % 64 * 10).for_each(|_| std::hint::spin_loop());
            theirs.end_wrapped();
            copy.join().expect("the thread")
        });
        // Whichever came first: a copy that was accepted is still queued, and known to be.
        match copied {
            Ok(()) => assert_eq!(status(buffer.begin(Access::Write, 0, ALL, Timeout::Try)), Status::Busy, "{round}"),
            Err(error) => assert_eq!(error.status(), Status::StaleHandle, "{error}"),
        }
        assert_eq!(cuda.gpubuf_standin_stream_release(native), 0);
        assert_eq!(cuda.cuStreamSynchronize(native), 0);
        assert_eq!(cuda.cuStreamDestroy_v2(native), 0);
        assert_eq!(status(buffer.begin(Access::Read, 0, ALL, LONG)), Status::Ok);
    }
}

#[test]
fn a_stream_that_ended_is_not_asked_by_those_who_wait_for_the_device() {
    if moved("a_stream_that_ended_is_not_asked_by_those_who_wait_for_the_device", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    let over = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while over.load(Ordering::SeqCst) == 0 {
                // The driver would refuse the handle of a stream that is gone.
                device.synchronize(LONG).expect("every stream that is there is idle");
            }
        });
        for _ in 0..400 {
            let native = cuda.stream(1);
            let theirs = wrap(&device, native);
            theirs.end_wrapped();
            assert_eq!(cuda.cuStreamDestroy_v2(native), 0);
        }
        over.store(1, Ordering::SeqCst);
    });
}

/// Once, whichever question it is. `busy` is for who does not wait.
#[test]
fn who_waits_for_a_tiered_block_is_not_told_busy_because_an_event_could_not_be_asked() {
    if moved("who_waits_for_a_tiered_block_is_not_told_busy_because_an_event_could_not_be_asked", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    for nth in 1..=12 {
        let options = TiersOptions { budgets: [4096, 0, 4096, 0], moves_per_step: 0, label: String::new() };
        let tiers = Tiers::create(&device, options).expect("tiers");
        let block = tiers.create_block(4096, Some(Tier::Device), "").expect("a block");
        let stream = stream(&device);
        hold(&stream);
        let (_, token) = block.acquire(Some(Tier::Device), Access::Write, from_ref(&stream), LONG).expect("an access");
        block.release(token).expect("its end");
        let before = cuda.calls("cuEventQuery");
        cuda.fail_nth("cuEventQuery", nth, 999);
        let over = AtomicU32::new(0);
        let got = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Whoever waits goes on asking.
                while cuda.calls("cuEventQuery") < before + nth + 3 && over.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                kit(&stream).release().expect("a release");
            });
            let got = status(block.begin(Some(Tier::Pinned), Access::Read, LONG));
            over.store(1, Ordering::SeqCst);
            got
        });
        // What could not be asked about may be in use for ever.
        assert!(matches!(got, Status::Ok | Status::DeviceLost | Status::Quarantined), "question {nth}: {got:?}");
        cuda.gpubuf_standin_reset();
    }
}

#[test]
fn a_release_callback_may_drain_the_device() {
    if moved("a_release_callback_may_drain_the_device", &[]) {
        return;
    }
    let device = open(DeviceSettings::default());
    let (_memory, first) = pages(1);
    let told = Arc::new(Mutex::new(None));
    let release = Box::new({
        let (device, told) = (device.clone(), told.clone());
        move || *told.lock() = Some(status(device.drain(Timeout::Infinite)))
    });
    let buffer = buffer(&device, BufferOptions { release: Some(release), ..lent(first, PAGE) });
    drop(buffer);
    device.drain(LONG).expect("a drain");
    assert_eq!(*told.lock(), Some(Status::Ok));
}

#[test]
fn a_detach_that_came_too_early_is_made_good_by_the_next() {
    if moved("a_detach_that_came_too_early_is_made_good_by_the_next", &[]) {
        return;
    }
    let device = open(DeviceSettings::default());
    let other = stream(&device);
    let (_memory, first) = pages(3);
    let (pinned, pageable) = (
        buffer(&device, lent(first, PAGE)),
        BufferOptions { host: Placement::Pageable, ..lent(first.wrapping_add(PAGE), PAGE) },
    );
    let pageable = buffer(&device, BufferOptions { device: Placement::None, ..pageable });
    hold(&other);
    busy(&other);
    // The driver lets page-locked memory go when the whole device is idle.
    assert_eq!(status(pinned.detach(SHORT)), Status::Timeout);
    assert_eq!(status(pinned.detach(Timeout::Try)), Status::Busy);
    assert_eq!(status(pinned.begin(Access::Read, 0, 1, Timeout::Try)), Status::NotHeld);
    assert_eq!(status(pageable.detach(Timeout::Try)), Status::Ok, "what is not page-locked waits for nobody");
    release(&other);
    assert_eq!(status(pinned.detach(LONG)), Status::Ok);
    assert_eq!(status(pinned.detach(LONG)), Status::NotHeld, "it is the caller's again");

    // Where the next never comes, the owner is told.
    let told = Arc::new(AtomicU32::new(0));
    let tell = |told: &Arc<AtomicU32>| -> Option<gpubuf::fence::ReleaseCallback> {
        let told = told.clone();
        Some(Box::new(move || {
            told.fetch_add(1, Ordering::SeqCst);
        }))
    };
    let again = common::buffer(&device, BufferOptions { release: tell(&told), ..lent(first, PAGE) });
    hold(&other);
    busy(&other);
    assert_eq!(status(again.detach(SHORT)), Status::Timeout);
    drop(again);
    assert_eq!(told.load(Ordering::SeqCst), 0, "the driver still has it");
    release(&other);
    device.drain(LONG).expect("a drain");
    assert_eq!(told.load(Ordering::SeqCst), 1);
    // And not, where it came in time.
    let again = common::buffer(&device, BufferOptions { release: tell(&told), ..lent(first, PAGE) });
    again.detach(LONG).expect("a detach");
    drop(again);
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[test]
fn memory_can_be_lent_again_at_once() {
    if moved("memory_can_be_lent_again_at_once", &[]) {
        return;
    }
    let device = open(DeviceSettings::default());
    let (_memory, first) = pages(1);
    for _ in 0..100 {
        drop(buffer(&device, lent(first, PAGE)));
    }
}

#[test]
fn memory_locked_in_part_is_refused() {
    if moved("memory_locked_in_part_is_refused", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    let (_memory, first) = pages(8);
    for (start, bytes) in [(0, 4 * PAGE), (4 * PAGE, 4 * PAGE), (2 * PAGE, PAGE)] {
        let part = first.wrapping_add(start).cast();
        assert_eq!(cuda.cuMemHostRegister_v2(part, bytes, 3), 0);
        for host in [Placement::Pinned, Placement::Uva] {
            let refused = Buffer::create(&device, BufferOptions { host, ..lent(first, 8 * PAGE) });
            assert_eq!(status(refused), Status::Unsupported, "{start} {bytes}");
        }
        assert_eq!(cuda.cuMemHostUnregister(part), 0);
    }
    // All of it by the application: taken as it is, and left as it is.
    assert_eq!(cuda.cuMemHostRegister_v2(first.cast(), 8 * PAGE, 3), 0);
    let (buffer, stream) = (buffer(&device, lent(first, 8 * PAGE)), stream(&device));
    buffer.copy(true, 0, ALL, &stream, Some(LONG)).expect("a copy");
    buffer.detach(LONG).expect("a detach");
    assert_eq!(cuda.cuMemHostUnregister(first.cast()), 0, "still registered");
}

type Question = (Arc<Device>, Arc<Buffer>, Status);
static IN_FUNCTION: Mutex<Option<Question>> = Mutex::new(None);

unsafe extern "C" fn asks(_: *mut c_void) {
    let mut place = IN_FUNCTION.lock();
    let (device, buffer, answer) = place.as_mut().expect("what to ask");
    *answer = status(buffer.begin(Access::Write, 0, ALL, Timeout::Try));
    device.maintain();
}

#[test]
fn a_call_in_a_host_function_gives_nothing_up() {
    if moved("a_call_in_a_host_function_gives_nothing_up", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    let (functions, held) = (stream(&device), stream(&device));
    let (kept, gone) = (buffer(&device, pair_of(4096)), buffer(&device, pair_of(4096)));
    hold(&held);
    kept.copy(true, 0, ALL, &held, None).expect("a copy");
    gone.copy(true, 0, ALL, &held, None).expect("a copy");
    drop(gone);
    *IN_FUNCTION.lock() = Some((device.clone(), kept.clone(), Status::Ok));
    // The driver may not be called there; the stand-in says so to whoever tries.
    assert_eq!(cuda.cuLaunchHostFunc(functions.stream().native(), asks, std::ptr::null_mut()), 0);
    ran(&functions);
    let (_, _, answer) = IN_FUNCTION.lock().take().expect("the answer");
    assert!(matches!(answer, Status::Busy | Status::WouldDeadlock), "{answer:?}");
    release(&held);
    assert_eq!(status(kept.begin(Access::Write, 0, ALL, LONG)), Status::Ok);
    device.drain(LONG).expect("a drain");
    assert_eq!((device.counters.quarantined_bytes.get(), device.deferred()), (0, (0, 0)));
}

#[test]
fn a_copy_that_is_refused_half_way_is_fenced_and_waits_for_nobody() {
    if moved("a_copy_that_is_refused_half_way_is_fenced_and_waits_for_nobody", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let settings = DeviceSettings { pinned: PinnedMethod::Register, register_bytes: 65_536, ..Default::default() };
    let device = open(settings);
    let (stream, buffer) = (stream(&device), buffer(&device, pair_of(200_000)));
    hold(&stream);
    // The second of its four pieces.
    assert_eq!(cuda.gpubuf_standin_fail_call(c"cuMemcpyAsync".as_ptr(), 2, 1), 0);
    let error = buffer.copy(true, 0, ALL, &stream, None).expect_err("a refusal, while the stream is held");
    assert!(error.message().contains("torn"), "{error}");
    assert_eq!(status(buffer.begin(Access::Write, 0, ALL, Timeout::Try)), Status::Busy, "the first piece is queued");
    release(&stream);
    assert_eq!(status(buffer.begin(Access::Write, 0, ALL, LONG)), Status::Ok);
}

#[test]
fn any_size_of_registration_can_be_asked_for() {
    if moved("any_size_of_registration_can_be_asked_for", &[]) {
        return;
    }
    for register_bytes in [0, 1, 5000, usize::MAX] {
        let device = open(DeviceSettings { pinned: PinnedMethod::Register, register_bytes, ..Default::default() });
        let (stream, buffer) = (stream(&device), buffer(&device, pair_of(20_000)));
        buffer.copy(true, 0, ALL, &stream, Some(LONG)).expect("a copy");
    }
}

#[test]
fn a_capturing_stream_is_not_wrapped() {
    if moved("a_capturing_stream_is_not_wrapped", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    let native = cuda.stream(1);
    assert_eq!(cuda.cuStreamBeginCapture_v2(native, 0), 0);
    // SAFETY: refused.
    let error = unsafe { Timeline::wrap(&device, native, "") }.err().expect("a refusal");
    assert_eq!(error.status(), Status::Capturing);
    let mut graph = 0;
    assert_eq!(cuda.cuStreamEndCapture(native, &mut graph), 0, "and the capture is whole");
}

#[test]
fn a_wait_in_a_context_that_is_gone_ends() {
    if moved("a_wait_in_a_context_that_is_gone_ends", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let native_context = common::standin::fresh_context();
    let options = DeviceOptions { kind: Some(BackendKind::Cuda), native_context, ..Default::default() };
    let device = Device::open(&options, 0, "").expect("a device");
    let (held, buffer) = (stream(&device), buffer(&device, pair_of(4096)));
    hold(&held);
    buffer.copy(true, 0, ALL, &held, None).expect("a copy");
    assert_eq!(cuda.cuCtxDestroy_v2(native_context), 0);
    let error = buffer.begin(Access::Write, 0, ALL, Timeout::Infinite).expect_err("nobody knows any more");
    assert_eq!(error.status(), Status::DeviceLost);
    let error = device.expect_usable().expect_err("lost");
    assert!(error.message().contains("lost"), "{error}");
    // The hold's word is the library's own: letting go of it touches nothing of the context's.
    drop((held, buffer));
}

#[test]
fn a_stream_that_ended_without_a_fence_has_to_be_declared_for() {
    if moved("a_stream_that_ended_without_a_fence_has_to_be_declared_for", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = device(&cuda);
    let (native, ours) = (cuda.stream(1), stream(&device));
    let theirs = wrap(&device, native);
    let buffer = buffer(&device, pair_of(4096));
    buffer.device_address(from_ref(&theirs)).expect("an address");
    // It captures when its object goes: no fence can be recorded.
    assert_eq!(cuda.cuStreamBeginCapture_v2(native, 0), 0);
    theirs.end_wrapped();
    let mut graph = 0;
    assert_eq!(cuda.cuStreamEndCapture(native, &mut graph), 0);
    assert_eq!(cuda.cuStreamDestroy_v2(native), 0);
    assert_eq!(status(buffer.copy(true, 0, ALL, &ours, None)), Status::Unfenced);
    buffer.used_on(&ours, Access::Write).expect("declared elsewhere");
    buffer.copy(true, 0, ALL, &ours, Some(LONG)).expect("and all is well");
    device.drain(LONG).expect("nobody asks the stream that is gone");
}

#[test]
fn a_detach_in_a_release_callback_never_says_too_early_that_it_is_done() {
    if moved("a_detach_in_a_release_callback_never_says_too_early_that_it_is_done", &[]) {
        return;
    }
    let device = open(DeviceSettings::default());
    let (_memory, first) = pages(2);
    let second = buffer(&device, lent(first.wrapping_add(PAGE), PAGE));
    let told = Arc::new(Mutex::new(None));
    let release = Box::new({
        let (second, told) = (second.clone(), told.clone());
        // The thread that is to give it back is in here.
        move || *told.lock() = Some(status(second.detach(LONG)))
    });
    drop(buffer(&device, BufferOptions { release: Some(release), ..lent(first, PAGE) }));
    device.drain(LONG).expect("a drain");
    assert_eq!(*told.lock(), Some(Status::Timeout));
    assert_eq!(status(second.detach(LONG)), Status::Ok);
}
