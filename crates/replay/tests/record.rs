//! What a process records: this program runs itself with GPUBUF_RECORD and reads what came out.

use gpubuf::ffi::block::{
    gpubuf_block_begin_write, gpubuf_block_end_write, gpubuf_block_release, gpubuf_block_to_device,
};
use gpubuf::ffi::decode::{
    gpubuf_decode_options, gpubuf_decode_options_init, gpubuf_slots_create_decode, gpubuf_slots_tiers,
};
use gpubuf::ffi::device::{
    gpubuf_device_destroy, gpubuf_device_open, gpubuf_device_options, gpubuf_device_options_init,
};
use gpubuf::ffi::host::{gpubuf_host_stream_call, gpubuf_host_view};
use gpubuf::ffi::library::{gpubuf_describe, gpubuf_shutdown};
use gpubuf::ffi::pool::{
    gpubuf_pool_acquire, gpubuf_pool_create, gpubuf_pool_destroy, gpubuf_pool_options, gpubuf_pool_options_init,
};
use gpubuf::ffi::predictor::{gpubuf_predictor_options, gpubuf_predictor_options_init};
use gpubuf::ffi::report::gpubuf_report;
use gpubuf::ffi::slots::{gpubuf_slots_destroy, gpubuf_slots_freeze};
use gpubuf::ffi::spec::{gpubuf_spec, gpubuf_spec_init};
use gpubuf::ffi::stream::{
    gpubuf_stream_create, gpubuf_stream_destroy, gpubuf_stream_synchronize, gpubuf_stream_wrap_native,
};
use gpubuf::ffi::tiers::{gpubuf_tiers_destroy, gpubuf_tiers_options, gpubuf_tiers_options_init};
use gpubuf::ffi::types::{
    GPUBUF_BACKEND_CUDA, GPUBUF_BACKEND_HOST, GPUBUF_TWIN_AT_ONCE, gpubuf_block, gpubuf_device, gpubuf_pool,
    gpubuf_stream,
};
use gpubuf::ffi::workspace::{
    gpubuf_workspace_create, gpubuf_workspace_entry, gpubuf_workspace_get, gpubuf_workspace_list,
};
use gpubuf_replay::recording::{End, Recording, Value};
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr::{null, null_mut};

const WAIT: u64 = 10_000_000_000;

/// Of the emulated device, but for the scenario that is about the driver's.
fn device() -> *mut gpubuf_device {
    device_of(GPUBUF_BACKEND_HOST)
}

fn device_of(backend: u32) -> *mut gpubuf_device {
    let mut device = null_mut();
    // SAFETY: options on this stack, and a result.
    unsafe {
        let mut options: gpubuf_device_options = std::mem::zeroed();
        gpubuf_device_options_init(&raw mut options, size_of::<gpubuf_device_options>() as u32);
        options.backend = backend;
        options.label = c"recorded".as_ptr();
        assert_eq!(gpubuf_device_open(&raw const options, &raw mut device), 0);
    }
    device
}

fn pool(device: *mut gpubuf_device, blocks: u32) -> *mut gpubuf_pool {
    let mut pool = null_mut();
    // SAFETY: as above.
    unsafe {
        let mut options: gpubuf_pool_options = std::mem::zeroed();
        gpubuf_pool_options_init(&raw mut options, size_of::<gpubuf_pool_options>() as u32);
        (options.block_bytes, options.block_count, options.device_side) = (4096, blocks, GPUBUF_TWIN_AT_ONCE);
        assert_eq!(gpubuf_pool_create(device, &raw const options, &raw mut pool), 0);
    }
    pool
}

fn acquire(pool: *mut gpubuf_pool, timeout: u64) -> Result<*mut gpubuf_block, i32> {
    let mut block = null_mut();
    // SAFETY: a result.
    match unsafe { gpubuf_pool_acquire(pool, 0, timeout, &raw mut block) } {
        0 => Ok(block),
        status => Err(status),
    }
}

/// Says the report's line about the recording, if there is one.
fn say_report() {
    let mut text = vec![0u8; 1 << 16];
    let mut length = 0;
    // SAFETY: a buffer and its size.
    assert_eq!(unsafe { gpubuf_report(0, text.as_mut_ptr().cast(), text.len(), &raw mut length) }, 0);
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    println!("{}", text.lines().find(|line| line.starts_with("recording")).unwrap_or("no recording"));
}

unsafe extern "C" fn on_stream(_: *mut gpubuf_host_view, _: *mut c_void) {
    // SAFETY: nothing is described.
    unsafe { gpubuf_describe(null(), null_mut(), 0, null_mut()) };
}

unsafe extern "C" fn entry(_: *const gpubuf_workspace_entry, _: *mut c_void) {
    // SAFETY: as above.
    unsafe { gpubuf_describe(null(), null_mut(), 0, null_mut()) };
}

fn two_blocks() {
    let device = device();
    let pool = pool(device, 2);
    let block = acquire(pool, WAIT).expect("a block");
    let _other = acquire(pool, WAIT).expect("a block");
    assert!(acquire(pool, 0).is_err(), "there are two");
    let (mut data, mut token) = (null_mut(), 0);
    // SAFETY: handles, and results.
    unsafe {
        assert_eq!(gpubuf_block_begin_write(block, 0, 64, WAIT, &raw mut data, &raw mut token), 0);
        assert_eq!(gpubuf_block_end_write(block, token), 0);
        assert_eq!(gpubuf_block_release(block), 0);
        assert_ne!(gpubuf_block_release(block), 0, "stale");
        gpubuf_pool_destroy(pool);
        gpubuf_device_destroy(device);
    }
}

fn many() {
    let device = device();
    let pool = pool(device, 1);
    for _ in 0..20_000 {
        let block = acquire(pool, WAIT).expect("whatever becomes of the recording");
        // SAFETY: a handle.
        assert_eq!(unsafe { gpubuf_block_release(block) }, 0);
    }
}

/// Slots whose options lead to others; and more sizes than a recording has of a list.
fn decode() {
    let device = device();
    let (mut slots, mut tiers) = (null_mut(), null_mut());
    let sizes: Vec<u64> = (1..=1000).collect();
    // SAFETY: options on this stack, lists, and results.
    unsafe {
        let mut tiered: gpubuf_tiers_options = std::mem::zeroed();
        gpubuf_tiers_options_init(&raw mut tiered, size_of::<gpubuf_tiers_options>() as u32);
        (tiered.device_bytes, tiered.pinned_bytes, tiered.label) = (1 << 24, 1 << 24, c"below".as_ptr());
        let mut predictive: gpubuf_predictor_options = std::mem::zeroed();
        gpubuf_predictor_options_init(&raw mut predictive, size_of::<gpubuf_predictor_options>() as u32);
        let mut options: gpubuf_decode_options = std::mem::zeroed();
        gpubuf_decode_options_init(&raw mut options, size_of::<gpubuf_decode_options>() as u32);
        (options.max_batch, options.max_tokens, options.max_seq_len) = (4, 16, 64);
        (options.tiered, options.predictive) = (&raw const tiered, &raw const predictive);
        assert_eq!(gpubuf_slots_create_decode(device, &raw const options, &raw mut slots), 0);
        assert_eq!(gpubuf_slots_freeze(slots), 0);
        assert_eq!(gpubuf_slots_tiers(slots, &raw mut tiers), 0);
        gpubuf_tiers_destroy(tiers);
        gpubuf_slots_destroy(slots);
        (options.tiered, options.predictive) = (null(), null());
        (options.padded_sizes, options.padded_size_count) = (sizes.as_ptr(), sizes.len() as u64);
        assert_eq!(gpubuf_slots_create_decode(device, &raw const options, &raw mut slots), 0);
        gpubuf_slots_destroy(slots);
        gpubuf_device_destroy(device);
    }
}

/// Copies on a stream of the library's and on one of the driver's.
fn with_a_driver() {
    let device = device_of(GPUBUF_BACKEND_CUDA);
    let (mut stream, mut drivers) = (null_mut(), null_mut());
    let block = acquire(pool(device, 1), WAIT).expect("a block");
    // SAFETY: handles, results, and the driver's default stream.
    unsafe {
        assert_eq!(gpubuf_stream_create(device, &raw mut stream), 0);
        assert_eq!(gpubuf_stream_wrap_native(device, null_mut(), &raw mut drivers), 0);
        for stream in [stream, drivers] {
            assert_eq!(gpubuf_block_to_device(block, 0, 64, stream), 0);
            assert_eq!(gpubuf_stream_synchronize(stream, WAIT), 0);
        }
        assert_eq!(gpubuf_block_release(block), 0);
        gpubuf_device_destroy(device);
    }
}

/// Runs in a process of its own.
#[test]
fn scenario() {
    match std::env::var("RECORDED_SCENARIO").as_deref() {
        Err(_) => {}
        Ok("two blocks") => two_blocks(),
        Ok("many") => {
            many();
            assert_eq!(gpubuf_shutdown(WAIT), 0);
            say_report();
        }
        Ok("no more room") => {
            // SAFETY: a limit on the files of this process, whose signal nobody wants.
            unsafe {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                let limit = libc::rlimit { rlim_cur: 10_000, rlim_max: 10_000 };
                assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
            }
            many();
            assert_eq!(gpubuf_shutdown(WAIT), 0);
            say_report();
        }
        Ok("fork") => {
            let device = device();
            // SAFETY: the child uses the library, which refuses, and exits.
            unsafe {
                let child = libc::fork();
                if child == 0 {
                    let mut stream = null_mut();
                    let status = gpubuf_stream_create(device, &raw mut stream);
                    libc::exit(if status == 901 { 7 } else { 8 });
                }
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                assert_eq!(libc::WEXITSTATUS(status), 7);
                gpubuf_device_destroy(device);
            }
        }
        Ok("callbacks") => {
            let device = device();
            let (mut stream, mut workspace, mut buffer): (*mut gpubuf_stream, _, _) =
                (null_mut(), null_mut(), null_mut());
            // SAFETY: handles, results, and functions that use nothing.
            unsafe {
                assert_eq!(gpubuf_stream_create(device, &raw mut stream), 0);
                assert_eq!(gpubuf_host_stream_call(stream, Some(on_stream), null_mut()), 0);
                assert_eq!(gpubuf_stream_synchronize(stream, WAIT), 0);
                assert_eq!(gpubuf_workspace_create(device, null(), &raw mut workspace), 0);
                let mut spec: gpubuf_spec = std::mem::zeroed();
                gpubuf_spec_init(&raw mut spec, size_of::<gpubuf_spec>() as u32);
                (spec.dtype, spec.rank, spec.shape[0]) = (6, 1, 64);
                assert_eq!(gpubuf_workspace_get(workspace, c"a".as_ptr(), &raw const spec, WAIT, &raw mut buffer), 0);
                assert_eq!(gpubuf_workspace_list(workspace, Some(entry), null_mut()), 0);
                gpubuf_stream_destroy(stream);
            }
        }
        Ok("hand over") => {
            let device = device();
            let pool = pool(device, 1);
            let held = acquire(pool, WAIT).expect("a block").expose_provenance();
            let pool = pool.expose_provenance();
            let waiter = std::thread::spawn(move || {
                let block = acquire(std::ptr::with_exposed_provenance_mut(pool), WAIT).expect("handed over");
                // SAFETY: a handle.
                assert_eq!(unsafe { gpubuf_block_release(block) }, 0);
            });
            let releaser = std::thread::spawn(move || {
                // SAFETY: a handle.
                assert_eq!(unsafe { gpubuf_block_release(std::ptr::with_exposed_provenance_mut(held)) }, 0);
            });
            waiter.join().expect("no panic");
            releaser.join().expect("no panic");
        }
        Ok("decode") => decode(),
        Ok("with a driver") => with_a_driver(),
        Ok(other) => panic!("no scenario {other}"),
    }
}

/// The stand-in driver, which was built with the tests.
fn driver() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let mut folders = test.ancestors().skip(1).take(2).map(|folder| folder.join("libgpubuf_standin_cuda.so"));
    folders.find(|file| file.exists()).expect("libgpubuf_standin_cuda.so is built with the tests, beside them")
}

fn place(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recordings");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(format!("{}-{}.rec", name.replace(' ', "-"), std::process::id()))
}

fn run_at(scenario: &str, file: &Path, limit: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "scenario", "--nocapture", "--test-threads=1"])
        .env("RECORDED_SCENARIO", scenario)
        .env("GPUBUF_RECORD", file)
        .env("GPUBUF_CUDA_DRIVER", driver())
        .env("GPUBUF_RECORD_LIMIT", limit)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

fn record(scenario: &str) -> (PathBuf, Recording) {
    let file = place(scenario);
    run_at(scenario, &file, "");
    let bytes = std::fs::read(&file).expect("a recording");
    (file, Recording::read(&bytes).expect("whole"))
}

fn replay(file: &Path, options: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_gpubuf-replay"))
        .env("GPUBUF_CUDA_DRIVER", driver())
        .args(options)
        .arg(file)
        .output()
        .expect("it runs");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn every_call_is_there_with_its_arguments_and_outcome() {
    let (_, recording) = record("two blocks");
    assert_eq!((recording.end, recording.lost.len()), (End::Exit, 0));
    let names: Vec<&str> = recording.calls.iter().map(|call| &call.function["gpubuf_".len()..]).collect();
    assert_eq!(
        names,
        [
            "device_open",
            "pool_create",
            "pool_acquire",
            "pool_acquire",
            "pool_acquire",
            "block_begin_write",
            "block_end_write",
            "block_release",
            "block_release",
            "pool_destroy",
            "device_destroy"
        ]
    );
    assert!(recording.settings.iter().any(|(name, _)| name == "GPUBUF_RECORD"));
    let [_, pool, first, _, refused, begin, end, _, stale, ..] = &recording.calls[..] else { panic!() };
    let Value::OutHandle { value: Some(made), .. } = pool.arguments[2] else { panic!("{pool:?}") };
    assert_eq!(first.arguments[..3], [Value::Handle(made), Value::Signed(0), Value::Number(WAIT)]);
    assert_eq!(refused.arguments[3], Value::OutHandle { there: true, value: None });
    assert!(refused.status == 300 && stale.status == 102, "{} {}", refused.status, stale.status);
    let Value::OutNumber { value: Some(token), .. } = begin.arguments[5] else { panic!("{begin:?}") };
    assert_eq!(end.arguments[1], Value::Number(token));
    let Value::Options(Some(options)) = &recording.calls[0].arguments[0] else { panic!() };
    assert!(options.parts.iter().any(|(_, part)| *part == Value::Text(Some(b"recorded".to_vec()))));
}

#[test]
fn a_replay_says_the_same_and_other_settings_show_where_they_differ() {
    let (file, _) = record("two blocks");
    let (code, text) = replay(&file, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("replayed: 11 calls, 2 refused as recorded (0 for another reason)"), "{text}");
    let (code, text) = replay(&file, &["--set", "pool.block_count=1", "--patience", "10"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("DIFFERS: call 4: thread 1: gpubuf_pool_acquire(pool #"), "{text}");
    assert!(text.contains("recorded GPUBUF_OK, now GPUBUF_TIMEOUT"), "{text}");
    let (code, text) = replay(&file, &["--set", "pool.block_count=3"]);
    assert_eq!(code, Some(0), "one that could not be had is a matter of time: {text}");
    assert!(text.contains("may differ: 1 came earlier or later than work on the device"), "{text}");
    let (code, text) = replay(&file, &["--set", "pool.blocks=3"]);
    assert!(code == Some(2) && text.contains("gpubuf_pool_options has no blocks: struct_size, "), "{text}");
}

#[test]
fn threads_that_wait_for_each_other_are_replayed_from_one() {
    for _ in 0..3 {
        let (file, recording) = record("hand over");
        assert!(recording.calls.iter().any(|call| call.thread != recording.calls[0].thread));
        let (code, text) = replay(&file, &[]);
        assert_eq!(code, Some(0), "{text}");
    }
}

#[test]
fn calls_from_callbacks_are_marked() {
    let (file, recording) = record("callbacks");
    let describes: Vec<_> = recording.calls.iter().filter(|call| &*call.function == "gpubuf_describe").collect();
    assert_eq!(describes.len(), 2);
    assert!(describes.iter().any(|call| call.elsewhere && !call.inside), "the stream's");
    assert!(describes.iter().any(|call| call.inside && !call.elsewhere), "the list's");
    assert!(recording.calls.iter().filter(|call| call.inside || call.elsewhere).count() == 2);
    let (code, text) = replay(&file, &[]);
    assert!(code == Some(0) && text.contains("not made: 1: made by functions on streams"), "{text}");
}

#[test]
fn options_that_lead_to_options_are_replayed_and_cut_lists_are_not() {
    let (file, recording) = record("decode");
    let Value::Options(Some(options)) = &recording.calls[1].arguments[1] else { panic!() };
    let nested = options.parts.iter().find_map(|(_, part)| match part {
        Value::Options(Some(tiered)) => tiered.parts.iter().find(|(_, part)| matches!(part, Value::Text(Some(_)))),
        _ => None,
    });
    assert_eq!(nested.map(|(_, part)| part), Some(&Value::Text(Some(b"below".to_vec()))));
    let (code, text) = replay(&file, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("not made: 1: needed a list, or options, of which not all is recorded"), "{text}");
    let (code, text) = replay(&file, &["--set", "tiers.device_bytes=1"]);
    assert!(code == Some(1) && text.contains("DIFFERS: call 3: thread 1: gpubuf_slots_freeze("), "{text}");
}

#[test]
fn what_was_recorded_with_a_driver_is_replayed_without() {
    let (file, recording) = record("with a driver");
    assert!(recording.calls.iter().all(|call| call.status == 0), "{:?}", recording.calls);
    let (code, text) = replay(&file, &[]);
    assert_eq!(code, Some(0), "{text}");
    // The driver's stream became one of the library's: nothing was left out.
    assert!(text.contains(&format!("replayed: {} calls, 0 refused", recording.calls.len())), "{text}");
    assert!(text.contains("copies 2"), "{text}");
    let (code, text) = replay(&file, &["--backend", "recorded"]);
    assert!(code == Some(0) && text.contains("copies 2"), "on the driver again: {text}");
}

#[test]
fn it_stops_at_its_limit() {
    let file = place("limit");
    let said = run_at("many", &file, "65536");
    assert!(said.contains("state full"), "{said}");
    let bytes = std::fs::read(&file).expect("a recording");
    let recording = Recording::read(&bytes).expect("whole");
    assert!(bytes.len() <= 65536 && bytes.len() > 60_000, "{}", bytes.len());
    assert!(recording.end == End::Limit && recording.calls.len() < 40_000 && recording.lost.is_empty());
    let bytes_each = bytes.len() / recording.calls.len();
    assert!(bytes_each <= 20, "{bytes_each} bytes a call");
    let (code, text) = replay(&file, &[]);
    assert!(code == Some(0) && text.contains("up to its limit"), "{text}");
    assert!(run_at("many", &file, "100").contains("GPUBUF_RECORD_LIMIT is \"100\""));
}

#[test]
fn a_disk_that_fails_is_told_and_harms_no_call() {
    let said = run_at("many", Path::new("/dev/full"), "");
    assert!(said.contains("state failed"), "{said}");
    let said = run_at("many", Path::new("/nowhere/to/be/found.rec"), "");
    assert!(said.contains("state failed") && said.contains("cannot be opened"), "{said}");
    let file = place("no more room");
    let said = run_at("no more room", &file, "");
    assert!(said.contains("state failed") && said.contains("File too large"), "{said}");
    let recording = Recording::read(&std::fs::read(&file).expect("a part")).expect("what is there is whole");
    assert!(recording.end == End::Cut && !recording.calls.is_empty());
}

#[test]
fn a_child_after_fork_writes_nothing() {
    let (_, recording) = record("fork");
    let names: Vec<&str> = recording.calls.iter().map(|call| &*call.function).collect();
    assert_eq!(names, ["gpubuf_device_open", "gpubuf_device_destroy"]);
    assert_eq!(recording.end, End::Exit);
}

#[test]
fn a_broken_recording_is_an_error_and_a_cut_one_is_read_up_to_there() {
    let (file, recording) = record("two blocks");
    let bytes = std::fs::read(&file).expect("a recording");
    let first = recording.calls.len();
    let mut most = 0;
    for end in 0..bytes.len() {
        if let Ok(cut) = Recording::read(&bytes[..end]) {
            assert!(cut.end == End::Cut && cut.calls.len() >= most);
            most = cut.calls.len();
        }
    }
    assert_eq!(most, first, "all but the end");
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)] {
            let mut broken = bytes.clone();
            broken[at] = value;
            let _ = Recording::read(&broken);
        }
    }
    let file = place("broken");
    std::fs::write(&file, &bytes[1..]).expect("written");
    let (code, text) = replay(&file, &[]);
    assert!(code == Some(2) && text.contains("broken at byte 0: not a recording"), "{text}");
}

/// A recording of one call of a function, whose arguments are said to be of these kinds. Numbers are below 128.
fn one_call(function: &str, kinds: &[u8], count: u8, arguments: &[u8]) -> Vec<u8> {
    let record = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let text = |text: &str| [&[text.len() as u8 + 1], text.as_bytes()].concat();
    let header = [b"GPUBUFRC\x01".to_vec(), text("0.1.0"), vec![0, 0]].concat();
    let definition = [&[1, 0][..], &text(function), &[count], kinds].concat();
    [header, record(&definition), record(&[&[0x80, 0], arguments].concat()), record(&[0, 0])].concat()
}

#[test]
fn what_a_recording_takes_for_a_number_is_no_pointer_of_a_replay() {
    let other = "has other parameters in this version";
    let cut = "of which not all is recorded";
    // The size of the options, how many words, and these: that of the label, the last, is an address.
    let options = [82, 6, 0, 0, 0, 0, 0, 8];
    // The function, its arguments' kinds, how many, and what they are; what is said of it.
    type Case<'c> = (&'c str, &'c [u8], u8, Vec<u8>, &'c str);
    let cases: [Case<'_>; 8] = [
        ("gpubuf_device_count", b"nn", 2, vec![2, 8], other),
        ("gpubuf_device_count", b"nv", 2, vec![2, 8], other),
        ("gpubuf_device_count", b"nh", 2, vec![2, 0x80, 8], other),
        ("gpubuf_device_count", b"ni", 2, vec![2, 8], other),
        ("gpubuf_device_stats_get", b"hn", 2, vec![0, 8], other),
        ("gpubuf_device_open", b"s\0H", 2, [&options[..], &[1, 1, 1, 1]].concat(), cut),
        ("gpubuf_device_open", b"s\x01\x18hH", 2, [&options[..], &[0x80, 8, 1, 1, 1, 1]].concat(), other),
        ("gpubuf_device_count", b"nN", 2, vec![2, 2, 1], "replayed: 1 calls"),
    ];
    for (place, (function, kinds, count, arguments, why)) in cases.into_iter().enumerate() {
        let file = self::place(&format!("hostile-{place}"));
        std::fs::write(&file, one_call(function, kinds, count, &arguments)).expect("written");
        let (code, text) = replay(&file, &[]);
        assert!(code == Some(0) && text.contains(why), "{place}: {code:?}: {text}");
    }
}

#[test]
fn two_processes_do_not_record_to_one_file() {
    let file = place("shared");
    let lock = std::fs::File::create(&file).expect("a file");
    lock.lock().expect("the lock");
    let said = run_at("many", &file, "");
    assert!(said.contains("another process may record to it"), "{said}");
    drop(lock);
    let many = file.with_file_name("by-number-%p.rec");
    run_at("two blocks", &many, "");
    let made = std::fs::read_dir(file.parent().expect("a folder")).expect("a folder").filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name().to_string_lossy().into_owned();
        name.starts_with("by-number-") && !name.contains("%p")
    });
    assert!(made.count() > 0);
}

/// Recordings of the examples and the C++ tests: what they were answered is answered still.
#[test]
fn the_recordings_of_the_corpus_replay_without_a_difference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let file = entry.expect("an entry").path();
        let recording = Recording::read(&std::fs::read(&file).expect("a file")).expect("whole");
        for options in [&[][..], &["--delay", "20000,7,50000"]] {
            let (code, text) = replay(&file, options);
            assert_eq!(code, Some(0), "{} {options:?}: {text}", file.display());
            let made = text.split("replayed: ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            let made: usize = made.expect("how many");
            assert!(made * 10 >= recording.calls.len() * 9, "{}: {text}", file.display());
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}
