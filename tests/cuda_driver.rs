//! Loading a driver: none, a stub, too old, too new, lacking a symbol, answering what nobody knows. Each in a process of its
//! own, since a process loads its driver once.

mod common;

use common::standin::{Cuda, alone, library, moved, run_alone};
use common::{buffer, kit_of, pair_of, ran, read_device, status, stream};
use gpubuf::backend::{self, BackendKind, Capability, DeviceOptions, DeviceSettings, Finding};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::{Error, Status};
use gpubuf::fence::{Access, Device};
use gpubuf::sync::Arc;
use std::path::{Path, PathBuf};

fn cuda() -> DeviceOptions {
    DeviceOptions { kind: Some(BackendKind::Cuda), ..Default::default() }
}

fn open(options: &DeviceOptions) -> Arc<Device> {
    Device::open(options, 0, "").expect("a device")
}

fn refusal(options: &DeviceOptions) -> Error {
    match Device::open(options, 0, "") {
        Ok(_) => panic!("the device opens"),
        Err(error) => error,
    }
}

/// The host backend works, and the choice says why it was made.
fn host_works(because: &str) {
    assert_eq!(backend::device_count(Some(BackendKind::Cuda)).expect("a count"), 0);
    let device = open(&DeviceOptions::default());
    assert_eq!(device.backend().kind(), BackendKind::Host);
    assert!(device.reason().contains(because), "{}", device.reason());
    let (stream, buffer) = (stream(&device), buffer(&device, pair_of(64)));
    buffer.copy(true, 0, ALL, &stream, Some(Timeout::Infinite)).expect("a copy");
}

/// Runs the rest of the calling test with another file, or environment, for a driver.
fn with_driver(test: &str, driver: &Path, environment: &[(&str, &str)]) -> bool {
    if alone() {
        return false;
    }
    let output = run_alone(test, driver, environment);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{test}: {}\n{text}", output.status);
    true
}

#[test]
fn without_a_driver_everything_but_cuda_works() {
    if with_driver("without_a_driver_everything_but_cuda_works", Path::new("/nowhere/libcuda.so.1"), &[]) {
        return;
    }
    let error = refusal(&cuda());
    assert_eq!(error.status(), Status::DriverMissing);
    assert!(error.message().contains("/nowhere/libcuda.so.1"), "{error}");
    host_works("/nowhere/libcuda.so.1");
}

fn without(name: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("gpubuf-without-{name}-{}.so", std::process::id()));
    gpubuf_standin_cuda::without_symbols(&library(), &[name], &file).expect("a copy without the symbol");
    file
}

#[test]
fn a_missing_symbol_is_named() {
    if !alone() {
        let file = without("cuStreamGetId");
        with_driver("a_missing_symbol_is_named", &file, &[]);
        std::fs::remove_file(file).expect("the copy is removed");
        return;
    }
    let error = refusal(&cuda());
    assert_eq!(error.status(), Status::DriverMissing);
    assert!(error.message().contains("lacks cuStreamGetId"), "{error}");
    host_works("cuStreamGetId");
}

#[test]
fn what_is_optional_may_be_missing() {
    if !alone() {
        let file = without("cuMemAllocAsync");
        with_driver("what_is_optional_may_be_missing", &file, &[]);
        std::fs::remove_file(file).expect("the copy is removed");
        return;
    }
    let device = open(&cuda());
    buffer(&device, pair_of(64));
    let settings = DeviceSettings { stream_ordered: true, ..Default::default() };
    assert_eq!(refusal(&DeviceOptions { settings, ..cuda() }).status(), Status::Unsupported);
}

#[test]
fn an_old_driver_is_refused_by_its_version() {
    let test = "an_old_driver_is_refused_by_its_version";
    if with_driver(test, &library(), &[("GPUBUF_STANDIN_DRIVER_VERSION", "11080")]) {
        return;
    }
    let error = refusal(&cuda());
    assert_eq!(error.status(), Status::VersionMismatch);
    assert!(error.message().contains("11.8") && error.message().contains("12.0"), "{error}");
    host_works("11.8");
}

#[test]
fn newer_drivers_work() {
    if with_driver("newer_drivers_work", &library(), &[("GPUBUF_STANDIN_DRIVER_VERSION", "13020")]) {
        return;
    }
    let device = open(&DeviceOptions::default());
    assert_eq!((device.backend().kind(), device.backend().facts().driver_version), (BackendKind::Cuda, 13_020));
    assert!(device.reason().contains("13.2"), "{}", device.reason());
}

#[test]
fn a_driver_without_a_device_and_a_stub_are_told_apart() {
    let test = "a_driver_without_a_device_and_a_stub_are_told_apart";
    if !alone() {
        for (code, words) in [("100", "no GPU"), ("34", "the stub"), ("987654", "987654")] {
            with_driver(test, &library(), &[("GPUBUF_STANDIN_INIT_CODE", code), ("GPUBUF_TEST_WORDS", words)]);
        }
        return;
    }
    let words = std::env::var("GPUBUF_TEST_WORDS").expect("the words");
    let error = refusal(&cuda());
    assert_eq!(error.status(), Status::DriverMissing);
    assert!(error.message().contains(&words), "{error}");
    host_works(&words);
}

#[test]
fn a_driver_with_no_devices_leaves_the_host() {
    let test = "a_driver_with_no_devices_leaves_the_host";
    if with_driver(test, &library(), &[("GPUBUF_STANDIN_DEVICES", "0")]) {
        return;
    }
    assert!(matches!(refusal(&cuda()).status(), Status::NotFound | Status::DriverMissing));
    host_works("host");
}

#[test]
fn a_simulation_says_so_wherever_it_shows() {
    if moved("a_simulation_says_so_wherever_it_shows", &[]) {
        return;
    }
    let device = open(&cuda());
    assert!(device.backend().facts().simulation);
    assert!(device.backend().name().contains("simulated"), "{}", device.backend().name());
    assert!(device.reason().contains("simulation"), "{}", device.reason());
}

#[test]
fn codes_that_nobody_knows_are_refusals_and_no_more() {
    if moved("codes_that_nobody_knows_are_refusals_and_no_more", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = open(&self::cuda());
    let (stream, buffer) = (stream(&device), buffer(&device, pair_of(64)));
    cuda.fail_next("cuMemcpyAsync", 987_654);
    let error = buffer.copy(true, 0, ALL, &stream, None).expect_err("a refusal");
    assert_eq!(error.status(), Status::DriverError);
    assert!(error.message().contains("987654"), "{error}");
    buffer.copy(true, 0, ALL, &stream, Some(Timeout::Infinite)).expect("nothing happened to the device");
    cuda.fail_next("cuMemAlloc_v2", -5);
    assert_eq!(status(gpubuf::buffer::Buffer::create(&device, pair_of(64))), Status::DriverError);
    // Whether the work is done can never be known now: the block is given up, the device is not.
    buffer.copy(true, 0, ALL, &stream, None).expect("a copy");
    ran(&stream);
    cuda.fail_next("cuEventQuery", 987_654);
    assert_eq!(status(buffer.begin(Access::Write, 0, 1, Timeout::Infinite)), Status::DeviceLost);
    assert!(device.expect_usable().is_ok());
    buffer_works(&device);
}

#[test]
fn a_device_that_is_lost_while_it_is_waited_for_is_lost_whoever_asks() {
    if moved("a_device_that_is_lost_while_it_is_waited_for_is_lost_whoever_asks", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = open(&self::cuda());
    assert_eq!(cuda.gpubuf_standin_lose_device(0, 719), 0);
    // Its first call, which only enters the context, and every one after it.
    for _ in 0..2 {
        let error = device.drain(Timeout::Infinite).expect_err("a loss");
        assert_eq!(error.status(), Status::DeviceLost, "{error}");
        let within = Timeout::Within(std::time::Duration::from_secs(10));
        assert_eq!(status(device.synchronize(within)), Status::DeviceLost);
    }
}

#[test]
fn a_context_that_is_refused_is_no_device_and_the_next_open_asks_again() {
    if moved("a_context_that_is_refused_is_no_device_and_the_next_open_asks_again", &[]) {
        return;
    }
    let cuda = Cuda::open();
    for (function, code, wanted) in [
        ("cuDevicePrimaryCtxRetain", 2, Status::OutOfDeviceMemory),
        ("cuDevicePrimaryCtxRetain", 999, Status::DriverError),
        ("cuDeviceGet", 999, Status::DriverError),
        ("cuStreamCreate", 999, Status::DriverError),
    ] {
        cuda.fail_next(function, code);
        let error = refusal(&self::cuda());
        assert_eq!(error.status(), wanted, "{function}: {error}");
        assert!(error.message().contains(&code.to_string()), "{error}");
        let mut active = 1;
        assert_eq!(cuda.cuDevicePrimaryCtxGetState(0, &mut 0, &mut active), 0);
        assert_eq!(active, 0, "{function}: the context is not kept");
    }
    buffer_works(&open(&self::cuda()));
}

#[test]
fn what_the_driver_does_not_take_back_is_counted() {
    if moved("what_the_driver_does_not_take_back_is_counted", &[]) {
        return;
    }
    let cuda = Cuda::open();
    let device = open(&self::cuda());
    let mut lent = vec![0u8; 3 * 4096];
    let released = Arc::new(gpubuf::sync::AtomicBool::new(false));
    for function in ["cuMemFree_v2", "cuMemFreeHost", "cuMemHostUnregister"] {
        let mut options = pair_of(4096);
        if function == "cuMemHostUnregister" {
            let skip = lent.as_ptr().align_offset(4096);
            options.host_memory = lent[skip..].as_mut_ptr();
            let told = released.clone();
            options.release = Some(Box::new(move || told.store(true, gpubuf::sync::Ordering::Release)));
        }
        let before = device.backend().allocator().free_failures.get();
        let it = buffer(&device, options);
        cuda.fail_next(function, 999);
        drop(it);
        device.drain(Timeout::Infinite).expect("nobody is refused for it");
        assert_eq!(device.backend().allocator().free_failures.get() - before, 1, "{function}");
        assert_eq!((device.counters.pinned_bytes.get(), device.counters.device_bytes.get()), (0, 0));
    }
    assert!(released.load(gpubuf::sync::Ordering::Acquire), "it is its owner's again, if still page-locked");
    std::mem::forget(lent);
    buffer_works(&device);
}

fn buffer_works(device: &Arc<Device>) {
    let (stream, buffer) = (stream(device), buffer(device, pair_of(64)));
    buffer.copy(true, 0, ALL, &stream, Some(Timeout::Infinite)).expect("a copy");
}

#[test]
fn out_of_memory_says_whose_memory() {
    if moved("out_of_memory_says_whose_memory", &[]) {
        return;
    }
    let device = open(&cuda());
    kit_of(&device).limit_memory(Placement::Pinned, 0).expect("a limit");
    let error = gpubuf::buffer::Buffer::create(&device, pair_of(64)).err().expect("a refusal");
    assert_eq!(error.status(), Status::OutOfHostMemory);
    assert!(error.message().contains("64 bytes") && error.message().contains("host memory"), "{error}");
    kit_of(&device).limit_memory(Placement::Pinned, 1 << 20).expect("a limit");
    kit_of(&device).limit_memory(Placement::Device, 0).expect("a limit");
    let error = gpubuf::buffer::Buffer::create(&device, pair_of(64)).err().expect("a refusal");
    assert_eq!(error.status(), Status::OutOfDeviceMemory);
    device.maintain();
    assert_eq!(device.counters.pinned_bytes.get(), 0, "the half that was had is given back");
}

#[test]
fn fills_of_every_width_arrive() {
    if moved("fills_of_every_width_arrive", &[]) {
        return;
    }
    let device = open(&cuda());
    let stream = stream(&device);
    let mut options = pair_of(8 * 100_000);
    options.host = Placement::None;
    let buffer = buffer(&device, options);
    for element in [0x0123_4567_89ab_cdefu64, 0x7777_7777_7777_7777] {
        let address = buffer.device_address(std::slice::from_ref(&stream)).expect("an address");
        // SAFETY: the buffer has 100,000 elements of 8 bytes, and outlives the wait.
        unsafe { stream.stream().fill(address, 8, element, 100_000, 0, &mut false) }.expect("a fill");
        ran(&stream);
        let bytes = read_device(&device, address, 8 * 100_000);
        assert!(bytes.chunks(8).all(|word| word == element.to_ne_bytes()));
    }
}

/// What a probe says of pools of host memory.
fn host_pools() -> (Finding, String) {
    let device = open(&cuda());
    let answer = device.probe(Timeout::Infinite).expect("a probe").answer(Capability::HostPools).clone();
    (answer.finding, answer.reason)
}

#[test]
fn pools_of_host_memory_are_tried_where_the_driver_has_them() {
    let environment = [("GPUBUF_STANDIN_DRIVER_VERSION", "12060")];
    if moved("pools_of_host_memory_are_tried_where_the_driver_has_them", &environment) {
        return;
    }
    let cuda = Cuda::open();
    assert_eq!(host_pools().0, Finding::Yes);
    assert_eq!((cuda.calls("cuMemPoolCreate"), cuda.calls("cuMemPoolDestroy")), (1, 1));
    // One refusal each: the device's node is the other place.
    for function in ["cuMemPoolCreate", "cuMemPoolSetAccess", "cuMemAllocFromPoolAsync"] {
        cuda.fail_next(function, 801);
        let (finding, reason) = host_pools();
        assert_eq!(finding, Finding::Yes, "{function}: {reason}");
    }
    assert_eq!((cuda.calls("cuMemPoolCreate"), cuda.calls("cuMemPoolDestroy")), (7, 6), "the one refused is none");
}

#[test]
fn drivers_had_pools_of_host_memory_at_a_node_first() {
    if moved("drivers_had_pools_of_host_memory_at_a_node_first", &[("GPUBUF_STANDIN_DRIVER_VERSION", "12040")]) {
        return;
    }
    assert_eq!(host_pools().0, Finding::Yes);
    assert_eq!(Cuda::open().calls("cuMemPoolCreate"), 2);
}

#[test]
fn an_older_driver_has_no_pools_of_host_memory() {
    let environment = [("GPUBUF_STANDIN_DRIVER_VERSION", "12010")];
    if moved("an_older_driver_has_no_pools_of_host_memory", &environment) {
        return;
    }
    let (finding, reason) = host_pools();
    assert_eq!(finding, Finding::No);
    assert!(reason.contains("making a pool of host memory"), "{reason}");
}

#[test]
fn a_driver_without_what_only_probes_need_works() {
    if !alone() {
        let file = without("cuMemPoolCreate");
        with_driver("a_driver_without_what_only_probes_need_works", &file, &[]);
        std::fs::remove_file(file).expect("the copy is removed");
        return;
    }
    let (finding, reason) = host_pools();
    assert_eq!(finding, Finding::No);
    assert!(reason.contains("cuMemPoolCreate"), "{reason}");
}
