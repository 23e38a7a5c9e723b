//! Calls in words.

use crate::recording::{Call, Value};
use std::fmt::Write as _;

/// A call with its arguments.
pub fn call(call: &Call) -> String {
    let mut out = format!("{}(", call.function);
    let params = gpubuf_calls::function(&call.function).map_or(&[][..], |function| function.params);
    let mut at = 0;
    for (index, argument) in call.arguments.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        if let Some(param) = params.get(at) {
            let _ = write!(out, "{} ", param.name);
        }
        at += 1 + usize::from(matches!(argument, Value::Handles(_) | Value::Rows(_)));
        value(&mut out, argument);
    }
    out.push(')');
    out
}

fn handle(out: &mut String, bits: u64) {
    let _ = match bits {
        0 => write!(out, "NULL"),
        // By its place in the table, and how often that was used before.
        bits if bits >> 63 == 1 => write!(out, "#{}.{}", bits & 0xff_ffff, bits >> 24 & 0xffff_ffff),
        bits => write!(out, "{bits:#x}"),
    };
}

fn text(out: &mut String, text: Option<&Vec<u8>>) {
    let _ = match text {
        None => write!(out, "NULL"),
        Some(text) => write!(out, "{:?}", String::from_utf8_lossy(text)),
    };
}

fn number(out: &mut String, number: u64) {
    // GPUBUF_ALL and the timeouts by what they are.
    let _ = match number {
        0x7fff_ffff_ffff_fffe => write!(out, "DEFAULT"),
        0x7fff_ffff_ffff_ffff => write!(out, "ALL"),
        number => write!(out, "{number}"),
    };
}

fn list<T>(out: &mut String, items: &[T], count: u64, mut one: impl FnMut(&mut String, &T)) {
    let _ = write!(out, "[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        one(out, item);
    }
    let _ = if items.len() as u64 == count { write!(out, "]") } else { write!(out, " of {count}]") };
}

fn value(out: &mut String, value: &Value) {
    match value {
        Value::Handle(bits) => handle(out, *bits),
        Value::Number(value) => number(out, *value),
        Value::Signed(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Text(content) => text(out, content.as_ref()),
        Value::Options(None) | Value::Figures(None) => out.push_str("NULL"),
        Value::Options(Some(options)) => {
            let _ = write!(out, "{{{:?}", options.words);
            for (offset, part) in &options.parts {
                let _ = write!(out, " @{offset} ");
                self::value(out, part);
            }
            out.push('}');
        }
        Value::Figures(Some(size)) => {
            let _ = write!(out, "{size} bytes");
        }
        Value::Handles(items) => list(out, &items.items, items.count, |out, item| handle(out, *item)),
        Value::Words(items) => list(out, &items.items, items.count, |out, item| number(out, *item)),
        Value::Rows(items) => list(out, &items.items, items.count, |out, [slot, _, first, count, _]| {
            let _ = write!(out, "{slot}:{first}+");
            number(out, *count);
        }),
        Value::There(there) => out.push_str(if *there { "there" } else { "NULL" }),
        Value::Foreign(value) => {
            let _ = write!(out, "{value:#x}");
        }
        Value::OutNumber { there: false, .. } | Value::OutHandle { there: false, .. } => out.push_str("NULL"),
        Value::OutNumber { value: None, .. } | Value::OutHandle { value: None, .. } => out.push('-'),
        Value::OutNumber { value: Some(value), .. } => number(out, *value),
        Value::OutHandle { value: Some(value), .. } => handle(out, *value),
    }
}
