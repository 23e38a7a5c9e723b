//! A report for people: a line for each object, without what is 0, no, or not known.

use super::State;
use crate::stats::{Record, Value};
use std::fmt::Write as _;

/// The whole report.
pub fn write(state: &State) -> String {
    let mut out = String::new();
    record(&mut out, &state.library, 0);
    record(&mut out, &state.system, 0);
    if let Some(recording) = &state.recording {
        record(&mut out, recording, 0);
    }
    for device in &state.devices {
        record(&mut out, device, 0);
    }
    let _ = writeln!(out, "live objects: {}", state.live_objects.len());
    for object in &state.live_objects {
        record(&mut out, object, 1);
    }
    out
}

fn record(out: &mut String, record: &Record, depth: usize) {
    let _ = write!(out, "{:1$}{2}:", "", 2 * depth, record.name);
    let mut separator = " ";
    for (key, value) in &record.figures {
        let Some(text) = figure(key, value) else { continue };
        let _ = write!(out, "{separator}{text}");
        separator = ", ";
    }
    out.push('\n');
    for part in &record.parts {
        self::record(out, part, depth + 1);
    }
}

/// A figure in words; `None` where it says nothing.
fn figure(key: &str, value: &Value) -> Option<String> {
    let words = key.replace('_', " ");
    match value {
        // It is in the name, where there is no better one.
        _ if key == "number" => None,
        Value::Count(0) | Value::Flag(false) | Value::Absent => None,
        Value::Count(ns) if key.ends_with("_ns") => Some(format!("{} {}", words.trim_end_matches(" ns"), time(*ns))),
        Value::Count(count) => Some(format!("{words} {count}")),
        Value::Ratio(ratio) => Some(format!("{words} {ratio:.3}")),
        Value::Flag(true) => Some(words),
        Value::Text(text) if text.is_empty() => None,
        Value::Text(text) => Some(format!("{words} {text}")),
    }
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let part = Record::new("stream", "stream #2").with("fences", 0u64);
        let sample = Record::new("device", "device \"a\"")
            .with("copied_bytes", 4096u64)
            .with("copies", 0u64)
            .with("lost", false)
            .with("simulation", true)
            .with("wait_ns", 1_500u64)
            .with("hit_ratio", 0.5)
            .with("numa_node", None::<u32>)
            .with("reason", "host: asked for")
            .with_part(part);
        let mut out = String::new();
        record(&mut out, &sample, 0);
        assert_eq!(
            out,
            "device \"a\": copied bytes 4096, simulation, wait 1.5 us, hit ratio 0.500, reason host: asked for\n  stream #2:\n"
        );
    }

    #[test]
    fn times_have_a_fitting_unit() {
        let texts = [999, 1_000, 2_500_000, 3_000_000_000].map(time);
        assert_eq!(texts, ["999 ns", "1.0 us", "2.5 ms", "3.0 s"]);
    }
}
