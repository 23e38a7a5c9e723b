//! A report as JSON: objects of records, keys in a fixed order, text escaped.

use super::{SHAPE, State};
use crate::stats::{Record, Value};
use std::fmt::Write as _;

/// The whole report.
pub fn write(state: &State) -> String {
    let mut out = String::new();
    let _ = write!(out, "{{\"report\":{SHAPE},\"library\":");
    record(&mut out, &state.library);
    out.push_str(",\"system\":");
    record(&mut out, &state.system);
    if let Some(recording) = &state.recording {
        out.push_str(",\"recording\":");
        record(&mut out, recording);
    }
    out.push_str(",\"devices\":");
    records(&mut out, &state.devices);
    out.push_str(",\"live_objects\":");
    records(&mut out, &state.live_objects);
    out.push_str("}\n");
    out
}

fn records(out: &mut String, list: &[Record]) {
    out.push('[');
    for (index, one) in list.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        record(out, one);
    }
    out.push(']');
}

/// `kind` and `name`, the figures by their keys, and `parts`, which are left out where there are none.
fn record(out: &mut String, record: &Record) {
    out.push_str("{\"kind\":");
    string(out, record.kind);
    out.push_str(",\"name\":");
    string(out, &record.name);
    for (key, figure) in &record.figures {
        out.push(',');
        string(out, key);
        out.push(':');
        value(out, figure);
    }
    if !record.parts.is_empty() {
        out.push_str(",\"parts\":");
        records(out, &record.parts);
    }
    out.push('}');
}

fn value(out: &mut String, value: &Value) {
    match value {
        Value::Count(count) => {
            let _ = write!(out, "{count}");
        }
        // JSON has no number for what is none.
        Value::Ratio(ratio) if ratio.is_finite() => {
            let _ = write!(out, "{ratio}");
        }
        Value::Ratio(_) | Value::Absent => out.push_str("null"),
        Value::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Text(text) => string(out, text),
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_written() {
        let inner = Record::new("stream", "stream #2").with("fences", 7u64);
        let sample = Record::new("device", "device \"a\\b\"\n\u{1}\u{e9}\u{1f600}")
            .with("count", u64::MAX)
            .with("ratio", 0.25)
            .with("whole", 2.0)
            .with("none", f64::NAN)
            .with("endless", f64::INFINITY)
            .with("yes", true)
            .with("absent", None::<u64>)
            .with("text", "\t\r\u{7f}")
            .with_part(inner);
        let mut out = String::new();
        record(&mut out, &sample);
        assert_eq!(
            out,
            "{\"kind\":\"device\",\"name\":\"device \\\"a\\\\b\\\"\\n\\u0001\u{e9}\u{1f600}\",\"count\":18446744073709551615,\"ratio\":0.25,\"whole\":2,\"none\":null,\"endless\":null,\"yes\":true,\"absent\":null,\"text\":\"\\t\\r\\u007f\",\"parts\":[{\"kind\":\"stream\",\"name\":\"stream #2\",\"fences\":7}]}"
        );
    }
}
