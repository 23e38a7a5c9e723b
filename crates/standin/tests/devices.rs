//! Initialisation, devices, and what the environment sets.

mod common;
use common::*;

#[test]
fn it_says_that_it_is_a_simulation() {
    let _session = session();
    let cuda = cuda();
    assert_ne!(cuda.gpubuf_standin_version(), 0);
    for device in 0..2 {
        let name = text(|name, room| cuda.cuDeviceGetName(name, room, device));
        assert_eq!(name, format!("gpubuf simulated GPU {device} (no hardware)"));
        // No such domain is a real machine's.
        let bus = text(|id, room| cuda.cuDeviceGetPCIBusId(id, room, device));
        assert_eq!(bus, format!("FFFF:0{}:00.0", device + 1));
        assert!(made(|uuid| cuda.cuDeviceGetUuid_v2(uuid, device)).starts_with(b"gpubuf-simul"));
    }
    let mut short = [1i8; 8];
    ok(cuda.cuDeviceGetName(short.as_mut_ptr(), 8, 0));
    assert_eq!(short.map(|byte| byte as u8), *b"gpubuf \0");
    assert_eq!(cuda.cuDeviceGetPCIBusId(short.as_mut_ptr(), 8, 0), 1);
}

#[test]
fn devices_are_numbered_and_others_refused() {
    let _session = session();
    let cuda = cuda();
    assert_eq!(made(|count| cuda.cuDeviceGetCount(count)), 2);
    assert_eq!(made(|device| cuda.cuDeviceGet(device, 1)), 1);
    let mut device = 0;
    for ordinal in [-1, 2, i32::MAX] {
        assert_eq!(cuda.cuDeviceGet(&mut device, ordinal), 101);
        assert_eq!(cuda.cuDevicePrimaryCtxRetain(&mut 0, ordinal), 101);
    }
    assert_eq!(cuda.cuDeviceGet(std::ptr::null_mut(), 0), 1);
    assert_eq!(made(|version| cuda.cuDriverGetVersion(version)), 12040);
    assert_eq!(made(|bytes| cuda.cuDeviceTotalMem_v2(bytes, 0)), 16 << 30);
}

#[test]
fn attributes_have_values_and_unknown_numbers_are_refused() {
    let _session = session();
    let cuda = cuda();
    let attribute = |number| made(|value| cuda.cuDeviceGetAttribute(value, number, 0));
    assert_eq!(attribute(41), 1);
    assert_eq!(attribute(91), 0);
    assert_eq!(attribute(115), 1);
    assert_eq!(attribute(50), 0xffff);
    assert_eq!(cuda.cuDeviceGetAttribute(&mut 0, 0, 0), 1);
    assert_eq!(cuda.cuDeviceGetAttribute(&mut 0, 100_000, 0), 1);
}

#[test]
fn codes_have_names() {
    let cuda = cuda();
    let name = |code| {
        let name = {
            let mut name = std::ptr::null();
            ok(cuda.cuGetErrorName(code, &mut name));
            name
        };
        // SAFETY: the driver's texts last.
        unsafe { std::ffi::CStr::from_ptr(name.cast()) }.to_str().unwrap()
    };
    assert_eq!(name(0), "CUDA_SUCCESS");
    assert_eq!(name(600), "CUDA_ERROR_NOT_READY");
    assert_eq!(name(906), "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT");
    let mut unknown: *const i8 = c"x".as_ptr().cast();
    assert_eq!(cuda.cuGetErrorName(123_456, &mut unknown), 1);
    assert!(unknown.is_null());
    assert_eq!(cuda.cuGetErrorString(123_456, &mut unknown), 1);
}

#[test]
fn names_and_versions_give_functions() {
    let cuda = cuda();
    let library = Library::open(&library());
    let look = |name: &std::ffi::CStr, version| {
        let (mut function, mut status) = (1, 9);
        ok(cuda.cuGetProcAddress_v2(name.as_ptr().cast(), &mut function, version, 0, &mut status));
        (function, status)
    };
    assert_eq!(look(c"cuMemAlloc", 12040), (library.find("cuMemAlloc_v2").unwrap(), 0));
    assert_eq!(look(c"cuStreamGetId", 11000), (0, 2));
    assert_eq!(look(c"cuNothing", 12040), (0, 1));
    // A driver of 12.4 has no batches; one of 12.8 has the first form, one of 13.0 both.
    assert_eq!(look(c"cuMemcpyBatchAsync", 12080), (0, 1));
    ok(cuda.gpubuf_standin_set_driver_version(13000));
    assert_eq!(look(c"cuMemcpyBatchAsync", 12080), (library.find("cuMemcpyBatchAsync").unwrap(), 0));
    assert_eq!(look(c"cuMemcpyBatchAsync", 13000), (library.find("cuMemcpyBatchAsync_v2").unwrap(), 0));
    ok(cuda.gpubuf_standin_set_driver_version(12040));
    assert_eq!(cuda.cuGetProcAddress_v2(std::ptr::null(), &mut 0, 12040, 0, &mut 0), 1);
}

#[test]
fn nothing_works_before_initialisation() {
    let output = child("before_initialisation", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn before_initialisation() {
    let cuda = cuda();
    assert_eq!(made(|version| cuda.cuDriverGetVersion(version)), 12040);
    assert_eq!(cuda.cuDeviceGetCount(&mut 0), 3);
    assert_eq!(cuda.cuDevicePrimaryCtxRetain(&mut 0, 0), 3);
    assert_eq!(cuda.cuCtxGetCurrent(&mut 0), 3);
    assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 1), 3);
    assert_eq!(cuda.cuInit(1), 1);
    assert_eq!(cuda.cuDeviceGetCount(&mut 0), 3);
    ok(cuda.cuInit(0));
    assert_eq!(made(|count| cuda.cuDeviceGetCount(count)), 2);
}

#[test]
fn the_environment_sets_devices_version_memory_and_delay() {
    let environment = [
        ("GPUBUF_STANDIN_DEVICES", "3"),
        ("GPUBUF_STANDIN_DRIVER_VERSION", "13010"),
        ("GPUBUF_STANDIN_MEMORY_BYTES", "1048576"),
        ("GPUBUF_STANDIN_DELAY_NS", "1000000"),
    ];
    let output = child("with_an_environment", &environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn with_an_environment() {
    let cuda = cuda();
    assert_eq!(made(|version| cuda.cuDriverGetVersion(version)), 13010);
    let _session = session();
    assert_eq!(made(|count| cuda.cuDeviceGetCount(count)), 3);
    assert_eq!(made(|bytes| cuda.cuDeviceTotalMem_v2(bytes, 2)), 1 << 20);
    device_memory(1 << 20);
    assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 1), 2);
    // One wait before the second record.
    let [start, end] = [(); 2].map(|()| made(|event| cuda.cuEventCreate(event, 0)));
    ok(cuda.cuEventRecord(start, 0));
    ok(cuda.cuEventRecord(end, 0));
    ok(cuda.cuEventSynchronize(end));
    assert!(made(|ms| cuda.cuEventElapsedTime(ms, start, end)) >= 0.99);
}

#[test]
fn the_environment_makes_initialisation_fail() {
    for (environment, test) in [
        (("GPUBUF_STANDIN_INIT_CODE", "803"), "initialisation_fails_with_803"),
        (("GPUBUF_STANDIN_DEVICES", "0"), "initialisation_finds_no_device"),
    ] {
        let output = child(test, &[environment]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn initialisation_fails_with_803() {
    assert_eq!(cuda().cuInit(0), 803);
    assert_eq!(cuda().cuDeviceGetCount(&mut 0), 3);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn initialisation_finds_no_device() {
    assert_eq!(cuda().cuInit(0), 100);
}
