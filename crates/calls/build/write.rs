//! The tables as Rust, and the shim as C.

use crate::header::{Function, Header, Item, Struct};
use crate::roles;
use std::fmt::Write as _;

/// The size of a type, on the targets of this library.
pub fn size(header: &Header, c_type: &str) -> Option<usize> {
    Some(match c_type {
        _ if c_type.ends_with('*') => 8,
        _ if header.callbacks.iter().any(|callback| callback.name == c_type) => 8,
        "char" | "uint8_t" => 1,
        "uint32_t" | "int32_t" | "gpubuf_status" => 4,
        "uint64_t" | "size_t" => 8,
        _ => return None,
    })
}

fn must(header: &Header, c_type: &str) -> usize {
    size(header, c_type).unwrap_or_else(|| panic!("the size of {c_type} is not known"))
}

/// Offsets of the fields, and the size of it all. The shim has the C compiler compare them.
fn layout(header: &Header, structure: &Struct) -> (Vec<usize>, usize) {
    let mut end = 0;
    let offsets = structure.fields.iter().map(|field| {
        let size = must(header, &field.c_type);
        let start = end_of(end, size);
        end = start + size * field.count;
        start
    });
    let offsets = offsets.collect();
    let most = structure.fields.iter().map(|field| must(header, &field.c_type)).max().unwrap_or(1);
    (offsets, end_of(end, most))
}

fn end_of(end: usize, alignment: usize) -> usize {
    end.div_ceil(alignment) * alignment
}

pub fn tables(header: &Header) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "/// The kinds of handles, as in `gpubuf_KIND *`.\npub static KINDS: &[&str] = &[");
    for kind in header.kinds.iter().filter(|kind| *kind != "host_view") {
        let _ = writeln!(out, "    {kind:?},");
    }
    let _ = writeln!(out, "];\n\n/// The constants that are numbers.\npub static CONSTANTS: &[(&str, u64)] = &[");
    for (name, value) in &header.constants {
        let _ = writeln!(out, "    ({name:?}, {value}),");
    }
    let _ = writeln!(out, "];\n\n/// The structs with fields.\npub static STRUCTS: &[Struct] = &[");
    for structure in &header.structs {
        let (offsets, size) = layout(header, structure);
        let _ = writeln!(out, "    Struct {{ name: {:?}, size: {size}, fields: &[", structure.name);
        for (at, (field, offset)) in structure.fields.iter().zip(offsets).enumerate() {
            let role = roles::role(header, &structure.name, &structure.fields, at);
            let role = role.replace("FOLLOWING", &(at + 1).to_string());
            let (name, c_type, count) = (&field.name, &field.c_type, field.count);
            let bytes = must(header, c_type);
            let _ = writeln!(
                out,
                "        Field {{ name: {name:?}, c_type: {c_type:?}, offset: {offset}, bytes: {bytes}, count: {count}, role: {role} }},"
            );
        }
        let _ = writeln!(out, "    ] }},");
    }
    let _ = writeln!(out, "];\n\n/// The types of callbacks.\npub static CALLBACKS: &[Callback] = &[");
    for callback in &header.callbacks {
        let _ = writeln!(out, "    Callback {{ name: {:?}, returns: {:?}, params: &[", callback.name, callback.returns);
        params(&mut out, header, callback, |item| item.name == "user_data");
        let _ = writeln!(out, "    ] }},");
    }
    let _ =
        writeln!(out, "];\n\n/// Every function of the header, in its order.\npub static FUNCTIONS: &[Function] = &[");
    for (index, function) in header.functions.iter().enumerate() {
        let returns = match function.returns.as_str() {
            "gpubuf_status" => "Returns::Status",
            "void" => "Returns::Nothing",
            "const char *" => "Returns::Text",
            _ => "Returns::Number",
        };
        let documented = documented(header, function);
        let _ = writeln!(
            out,
            "    Function {{ index: {index}, name: {:?}, returns: {returns}, documented: &{documented:?}, params: &[",
            function.name
        );
        params(&mut out, header, function, |item| roles::may_be_null(&function.name, &item.name));
        let _ = writeln!(out, "    ] }},");
    }
    let _ = writeln!(out, "];");
    out
}

/// The names of the statuses that a function's comment has, and those of the functions that it refers to: "as gpubuf_x", "those of gpubuf_x".
fn documented(header: &Header, function: &Function) -> Vec<String> {
    let is_status = |word: &str| {
        let mut constants = header.constants.iter().take_while(|(name, _)| name != "GPUBUF_TIMEOUT_TRY");
        constants.any(|(name, _)| name == word)
    };
    let (mut read, mut at) = (vec![function], 0);
    let mut found = Vec::new();
    while let Some(now) = read.get(at) {
        at += 1;
        let mut before = ["", ""];
        for word in now.comment.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()) {
            let other = header.functions.iter().find(|other| other.name == word);
            if is_status(word) {
                found.push(word.to_owned());
            } else if let Some(other) = other.filter(|other| read.iter().all(|known| known.name != other.name))
                && (before[1].eq_ignore_ascii_case("as") || matches!(before, ["those" | "and", "of"]))
            {
                read.push(other);
            }
            before = [before[1], word];
        }
    }
    found.sort();
    found.dedup();
    found
}

fn params(out: &mut String, header: &Header, function: &Function, may_be_null: impl Fn(&Item) -> bool) {
    for (at, item) in function.params.iter().enumerate() {
        let role = roles::role(header, &function.name, &function.params, at);
        let may_be_null = item_is_pointer(header, item) && may_be_null(item);
        let _ = writeln!(
            out,
            "        Param {{ name: {:?}, c_type: {:?}, may_be_null: {may_be_null}, role: {role} }},",
            item.name, item.c_type
        );
    }
}

fn item_is_pointer(header: &Header, item: &Item) -> bool {
    item.c_type.ends_with('*') || header.callbacks.iter().any(|callback| callback.name == item.c_type)
}

pub fn shim(header: &Header) -> String {
    let mut out =
        String::from("/* Generated: calls by number, with the types of the header. */\n#include <gpubuf/gpubuf.h>\n\n");
    for structure in &header.structs {
        let (offsets, size) = layout(header, structure);
        let name = &structure.name;
        let _ = writeln!(out, "_Static_assert(sizeof({name}) == {size}, \"{name}\");");
        for (field, offset) in structure.fields.iter().zip(offsets) {
            let field = &field.name;
            let _ = writeln!(out, "_Static_assert(offsetof({name}, {field}) == {offset}, \"{name}.{field}\");");
        }
    }
    let mut list = String::new();
    for (index, function) in header.functions.iter().enumerate() {
        let arguments = function.params.iter().enumerate().map(|(at, item)| {
            let through = if item_is_pointer(header, item) { "(uintptr_t)" } else { "" };
            format!("({}){through}arguments[{at}]", item.c_type)
        });
        let call = format!("{}({})", function.name, arguments.collect::<Vec<_>>().join(", "));
        let body = match function.returns.as_str() {
            "void" => format!("{call};\n  return 0;"),
            "gpubuf_status" => format!("return (uint64_t)(int64_t){call};"),
            _ => format!("return (uint64_t)(uintptr_t){call};"),
        };
        let _ = writeln!(
            out,
            "\nstatic uint64_t call_{index}(const uint64_t *arguments) {{\n  (void)arguments;\n  {body}\n}}"
        );
        let _ = writeln!(list, "  call_{index},");
    }
    let _ = write!(
        out,
        "\nuint64_t gpubuf_calls_call(size_t index, const uint64_t *arguments);\n\n\
         static uint64_t (*const calls[])(const uint64_t *) = {{\n{list}}};\n\n\
         uint64_t gpubuf_calls_call(size_t index, const uint64_t *arguments) {{\n  return calls[index](arguments);\n}}\n"
    );
    out
}
