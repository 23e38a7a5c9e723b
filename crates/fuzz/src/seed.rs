//! The bytes of a recording's calls: where a fuzzer begins.

use crate::bytes::{code, put_number};
use crate::machine::{ended, is_called};
use crate::options::{changeable, get, usual};
use gpubuf_calls::{Role, function, structure};
use gpubuf_replay::recording::{Call, Options, Recording, Value};
use std::collections::HashMap;

/// Live handles by kind, as the machine will have them.
#[derive(Default)]
struct Live(HashMap<&'static str, Vec<u64>>);

impl Live {
    fn put(&self, out: &mut Vec<u8>, kind: &str, handle: u64) {
        let list = self.0.get(kind).map_or(&[][..], Vec::as_slice);
        match list.iter().rev().position(|live| *live == handle) {
            Some(place) if place < 240 => out.push(place as u8),
            _ if handle == 0 => out.push(240),
            _ => out.push(244),
        }
    }
}

/// The calls of a recording as bytes for `calls`.
pub fn of(recording: &Recording) -> Vec<u8> {
    let mut live = Live::default();
    let mut out = Vec::new();
    for call in recording.calls.iter().filter(|call| !call.elsewhere).take(300) {
        put_call(&mut out, &mut live, call);
    }
    out
}

fn put_call(out: &mut Vec<u8>, live: &mut Live, call: &Call) {
    let Some(function) = function(&call.function).filter(|function| is_called(function)) else { return };
    out.extend(code(function.name).to_le_bytes());
    let mut at = 0;
    for value in &call.arguments {
        let Some(param) = function.params.get(at) else { return };
        at += 1 + usize::from(matches!(value, Value::Handles(_) | Value::Rows(_)));
        match (param.role, value) {
            (Role::Handle { kind }, Value::Handle(handle)) => live.put(out, kind, *handle),
            (Role::Handles { kind, .. }, Value::Handles(list)) => {
                out.push(list.items.len().min(4) as u8);
                list.items.iter().take(4).for_each(|handle| live.put(out, kind, *handle));
            }
            (Role::Options { of }, Value::Options(options)) => put_options(out, live, of, options.as_ref()),
            (Role::Figures { .. } | Role::Text, _) => out.push(0),
            (Role::Items { .. }, Value::Rows(list)) => {
                out.push(list.items.len().min(8) as u8);
                for [slot, _, first, count, _] in list.items.iter().take(8) {
                    [slot, first, count].into_iter().for_each(|number| put_number(out, *number));
                }
            }
            (Role::Input(gpubuf_calls::Extent::Extents { .. }), Value::Words(list)) => {
                list.items.iter().for_each(|item| put_number(out, *item));
            }
            (Role::Callback { .. } | Role::Address, _) => out.push(0),
            (Role::Native, _) => out.extend([0, 0]),
            (Role::Enum { prefix }, Value::Number(number)) => {
                let place = gpubuf_calls::values(prefix).position(|value| value == *number);
                put_number(out, place.map_or(*number, |place| place as u64));
            }
            (Role::Token | Role::Ticket | Role::ReadBack | Role::Graph, _) => out.extend([0, 0]),
            (Role::Count { of }, Value::Number(number))
                if !matches!(function.params[of].role, Role::Handles { .. } | Role::Items { .. }) =>
            {
                put_number(out, *number);
            }
            (Role::Count { .. }, _) => {}
            (Role::Timeout, Value::Number(number)) => out.push(if *number == 0 { 0 } else { 3 }),
            (Role::AnyHandle, Value::Handle(_)) => out.extend([0, 0]),
            (Role::OutHandle { kind }, Value::OutHandle { value: Some(made), .. }) => {
                live.0.entry(kind).or_default().push(*made);
            }
            (Role::OutHandle { .. } | Role::Out { .. } | Role::Input(_) | Role::Output(_) | Role::InOut(_), _)
            | (Role::OutText { .. } | Role::OutItems { .. } | Role::UserData { .. }, _) => {}
            (_, Value::Number(number)) => put_number(out, *number),
            (_, Value::Signed(number)) => put_number(out, *number as u64),
            _ => {}
        }
    }
    let handles: Vec<u64> = call
        .arguments
        .iter()
        .take(2)
        .map(|value| if let Value::Handle(handle) = value { *handle } else { 0 })
        .collect();
    if call.status == 0
        && let Some(handle) = ended(function, &handles)
    {
        live.0.values_mut().for_each(|handles| handles.retain(|live| *live != handle));
    }
}

fn put_options(out: &mut Vec<u8>, live: &Live, of: &str, options: Option<&Options>) {
    let (Some(of), Some(options)) = (structure(of), options) else { return out.push(255) };
    let fields = changeable(of);
    let usual = usual(of);
    let mut words = vec![0u64; usual.len()];
    words[0] = options.size.unwrap_or(0).into();
    for (at, word) in options.words.iter().enumerate() {
        if let Some(place) = words.get_mut(at.div_ceil(2)) {
            *place |= u64::from(*word) << (32 * ((at + 1) % 2));
        }
    }
    let mut changes = Vec::new();
    let mut count = 0;
    for (index, field) in fields.iter().enumerate().skip(1) {
        let value = get(&words, field);
        if value == get(&usual, field) || count == 31 || index > 255 {
            continue;
        }
        changes.push(index as u8);
        count += 1;
        match field.role {
            Role::Text | Role::Input(gpubuf_calls::Extent::Foreign) => changes.push(0),
            Role::Handle { kind } => {
                let handle = options.parts.iter().find(|(offset, _)| *offset == field.offset);
                match handle {
                    Some((_, Value::Handle(handle))) => live.put(&mut changes, kind, *handle),
                    _ => changes.push(240),
                }
            }
            Role::Callback { .. } | Role::Input(_) | Role::Items { .. } | Role::Address => {}
            _ if field.name == "padded_size_count" => changes.push(6),
            Role::Enum { .. } if field.name == "backend" => {}
            _ => put_number(&mut changes, value),
        }
    }
    out.push(count);
    out.extend(changes);
}
