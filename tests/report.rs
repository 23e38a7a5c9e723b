//! What a device tells of itself in a report, and objects that tell of themselves.

mod common;

use gpubuf::config::{Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Device, Member, device_records};
use gpubuf::report::{Format, LiveObject, Process, report};
use gpubuf::stats::{Record, Value};
use gpubuf::sync::{Arc, AtomicU64, Ordering, Weak};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The record of a device among those of the process.
fn record_of(device: &Device) -> Record {
    let number = Value::Count(device.name().number());
    let mut records = device_records();
    records.retain(|record| record.get("number") == Some(&number));
    records.pop().expect("the device's record")
}

#[test]
fn every_figure_of_the_c_struct_is_in_the_report_by_its_name() {
    let header = std::fs::read_to_string("include/gpubuf/gpubuf.h").expect("the header");
    let end = header.find("} gpubuf_device_stats;").expect("the struct");
    let start = header[..end].rfind("typedef struct").expect("its beginning");
    let fields: BTreeSet<&str> = header[start..end]
        .lines()
        .filter_map(|line| line.trim().strip_prefix("uint64_t ")?.strip_suffix(';'))
        .filter(|field| *field != "stale_handles")
        .collect();
    assert!(fields.len() > 30, "{fields:?}");
    let record = record_of(&common::device());
    let missing: Vec<_> = fields.iter().filter(|field| record.get(field).is_none()).collect();
    assert!(missing.is_empty(), "the report lacks {missing:?}");
}

#[test]
fn a_lost_device_is_told_of_and_not_probed() {
    let device = common::device();
    assert_eq!(record_of(&device).get("lost"), Some(&Value::Flag(false)));
    let buffer = common::buffer(&device, common::pair_of(4096));
    common::lose(&device);
    let record = record_of(&device);
    assert_eq!(record.get("lost"), Some(&Value::Flag(true)));
    assert_eq!(record.get("pinned_bytes"), Some(&Value::Count(4096)));
    assert_eq!(common::status(device.probe(Timeout::Infinite)), Status::DeviceLost);
    drop(buffer);
}

#[test]
fn devices_that_are_gone_are_not_in_it() {
    let device = common::device();
    let number = Value::Count(device.name().number());
    let there = || device_records().iter().any(|record| record.get("number") == Some(&number));
    assert!(there());
    let buffer = common::buffer(&device, common::pair_of(64));
    device.orphan();
    drop(device);
    assert!(there(), "its objects live");
    drop(buffer);
    // Another test's look at all devices may keep it for a moment.
    let deadline = Instant::now() + Duration::from_secs(60);
    while there() {
        assert!(Instant::now() < deadline, "the device is still there");
        std::thread::yield_now();
    }
}

/// An object that counts how often it was kept up.
struct Counted(AtomicU64);

impl Member for Counted {
    fn record(&self) -> Record {
        Record::new("counted", "counted \"one\"").with("kept_up", self.0.load(Ordering::SeqCst)).with("ratio", 0.5)
    }

    fn maintain(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn objects_tell_of_themselves_and_are_kept_up() {
    let device = common::device();
    let counted = Arc::new(Counted(AtomicU64::new(0)));
    let member: Weak<Counted> = Arc::downgrade(&counted);
    device.enroll(member);
    device.keep_up();
    let part = record_of(&device).parts.into_iter().find(|part| part.kind == "counted").expect("its record");
    assert_eq!(part.get("kept_up"), Some(&Value::Count(1)));
    let json = report(Format::Json, &Process::default());
    assert!(json.contains(r#"{"kind":"counted","name":"counted \"one\"","kept_up":1,"ratio":0.5}"#), "{json}");
    // By the thread, with nobody calling: this test ends by that alone.
    device.keep_up_every(Duration::from_millis(1)).expect("a thread");
    let deadline = Instant::now() + Duration::from_secs(60);
    while counted.0.load(Ordering::SeqCst) < 4 {
        assert!(Instant::now() < deadline, "nobody keeps it up");
        std::thread::yield_now();
    }
    assert_eq!(common::status(device.keep_up_every(Duration::from_millis(1))), Status::Exists);
    drop(counted);
    assert!(record_of(&device).parts.iter().all(|part| part.kind != "counted"));
}

#[test]
fn an_interval_that_is_too_short_starts_nothing() {
    let device = common::device();
    assert_eq!(common::status(device.keep_up_every(Duration::from_micros(999))), Status::InvalidArgument);
    assert!(device.keep_up_every(Duration::from_millis(1)).is_ok());
}

#[test]
fn live_objects_are_told_with_where_they_were_made() {
    let live = LiveObject {
        kind: "buffer",
        name: "buffer \"w\"".into(),
        number: 3,
        bytes: 512,
        site: "load at model.cpp:7".into(),
    };
    assert_eq!(live.to_string(), "buffer \"w\", 512 bytes, made by load at model.cpp:7");
    let process = Process { version: "1.2.3", live_objects: vec![live], ..Default::default() };
    let json = report(Format::Json, &process);
    assert!(
        json.starts_with(r#"{"report":1,"library":{"kind":"library","name":"gpubuf","version":"1.2.3","#),
        "{json}"
    );
    assert!(json.contains(r#""number":3,"bytes":512,"site":"load at model.cpp:7"}"#), "{json}");
    let text = report(Format::Text, &process);
    assert!(text.contains("live objects: 1\n  buffer \"w\": bytes 512, site load at model.cpp:7"), "{text}");
}

#[test]
fn where_uva_memory_is_stale_none_is_lent() {
    let device = common::device();
    common::kit_of(&device).set_uva_stale(true).expect("a switch");
    device.probe(Timeout::Infinite).expect("a probe");
    let mut own = [0u64; 512];
    let lent = gpubuf::buffer::BufferOptions {
        host: Placement::Uva,
        device: Placement::None,
        host_memory: own.as_mut_ptr().cast(),
        ..common::pair_of(4096)
    };
    assert_eq!(common::status(gpubuf::buffer::Buffer::create(&device, lent)), Status::Unsupported);
    let before = record_of(&device);
    assert_eq!(before.get("pinned_bytes"), Some(&Value::Count(0)), "nothing half done");
    common::kit_of(&device).set_uva_stale(false).expect("a switch");
}
