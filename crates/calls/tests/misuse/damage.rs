//! What can be wrong with each argument, by its role, and what the answer then is.

use crate::valid::UNTOUCHED;
use crate::world::{World, made, ok};
use gpubuf_calls::{Extent, Field, Function, KINDS, Param, Role, Struct, structure, values};
use std::collections::HashMap;

/// What the answer has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// One of these statuses.
    OneOf(&'static [&'static str]),
    /// Any status that the function's description has, but OK.
    Refused,
    /// Any status that the function's description has.
    Told,
    /// OK: it is no mistake.
    Harmless,
}

use Wanted::{Harmless, OneOf, Refused, Told};

pub const INVALID: Wanted = OneOf(&["GPUBUF_INVALID_ARGUMENT"]);
const STALE: Wanted = OneOf(&["GPUBUF_STALE_HANDLE"]);
const WRONG_KIND: Wanted = OneOf(&["GPUBUF_WRONG_KIND"]);
const WRONG_DEVICE: Wanted = OneOf(&["GPUBUF_WRONG_DEVICE"]);
const OUT_OF_RANGE: Wanted = OneOf(&["GPUBUF_INVALID_ARGUMENT", "GPUBUF_OVERFLOW"]);

/// One thing that is wrong with a call.
pub struct Damage {
    /// The row of the table in docs/misuse.md.
    pub row: &'static str,
    /// For people.
    pub what: String,
    pub wanted: Wanted,
    /// What the message has to name.
    pub names: &'static str,
    /// Other arguments: which, and what.
    pub arguments: Vec<(usize, u64)>,
    /// Other bytes in the regions: whose, where, and what.
    pub bytes: Vec<(usize, usize, Vec<u8>)>,
}

/// What else a damage may put in: objects that have ended, and live ones of another device.
pub struct Others {
    pub ended: HashMap<&'static str, u64>,
    pub foreign: HashMap<&'static str, u64>,
}

/// What the first version that had it had: structs that grew say so in `growing!`.
fn first_size(known: &Struct) -> u32 {
    match known.name {
        "gpubuf_decode_options" => 88,
        _ => known.size as u32,
    }
}

/// Values that are no handles, other than NULL: junk, a stack address, and numbers that look like handles.
fn no_handles(world: &World) -> [u64; 6] {
    let mut local = 0u64;
    [&raw mut local as u64, 1, u64::MAX, 0x8100_0000_01ff_ffff, 0xff00_0000_0100_0000, world.of("pool") ^ 1 << 31]
}

pub fn of_parameter(world: &World, others: &Others, function: &Function, arguments: &[u64], at: usize) -> Vec<Damage> {
    let param = &function.params[at];
    let mut out = Vec::new();
    let mut add = |row: &'static str, what: String, wanted: Wanted, names: &'static str, arguments, bytes| {
        out.push(Damage { row, what, wanted, names, arguments, bytes });
    };
    let null = |param: &Param| if param.may_be_null { Harmless } else { INVALID };
    let handles =
        function.params.iter().filter(|param| matches!(param.role, Role::Handle { .. } | Role::Handles { .. })).count();
    match param.role {
        Role::Handle { kind } => {
            add("NULL handle", "NULL".into(), null(param), param.name, vec![(at, 0)], vec![]);
            // A step may end by its ticket, on another thread: destroying it then is no mistake.
            let stale = if function.name == "gpubuf_step_destroy" { Harmless } else { STALE };
            add("ended handle", "ended".into(), stale, param.name, vec![(at, others.ended[kind])], vec![]);
            for junk in no_handles(world) {
                add("no handle", format!("{junk:#x}"), STALE, param.name, vec![(at, junk)], vec![]);
            }
            for other in KINDS.iter().filter(|other| **other != kind) {
                add(
                    "handle of another kind",
                    format!("a {other}"),
                    WRONG_KIND,
                    param.name,
                    vec![(at, world.of(other))],
                    vec![],
                );
                let ended = others.ended[other];
                add("ended handle", format!("an ended {other}"), STALE, param.name, vec![(at, ended)], vec![]);
            }
            // Sizes are no device's, and what another manager or workspace owns is told as just that.
            let apart = ["gpubuf_predictor_prewarm_pool", "gpubuf_pinned_free", "gpubuf_workspace_release"]
                .contains(&function.name);
            if handles > 1 && at > 0 && kind != "device" && !apart {
                add(
                    "object of another device",
                    format!("another device's {kind}"),
                    WRONG_DEVICE,
                    "",
                    vec![(at, others.foreign[kind])],
                    vec![],
                );
            }
        }
        Role::AnyHandle => {
            add("NULL handle", "NULL".into(), null(param), param.name, vec![(at, 0)], vec![]);
            add("ended handle", "ended".into(), STALE, param.name, vec![(at, others.ended["pool"])], vec![]);
            for junk in no_handles(world) {
                add("no handle", format!("{junk:#x}"), STALE, param.name, vec![(at, junk)], vec![]);
            }
            for kind in KINDS {
                add("handle of another kind", format!("a {kind}"), Harmless, "", vec![(at, world.of(kind))], vec![]);
            }
        }
        Role::Handles { kind, count } => {
            let entry = |handle: u64| vec![(at, 0, handle.to_ne_bytes().to_vec())];
            add("NULL list", "NULL".into(), INVALID, param.name, vec![(at, 0)], vec![]);
            add("NULL in a list", "of NULL".into(), INVALID, param.name, vec![], entry(0));
            add("ended handle", "of an ended handle".into(), STALE, param.name, vec![], entry(others.ended[kind]));
            for junk in no_handles(world) {
                add("no handle", format!("of {junk:#x}"), STALE, param.name, vec![], entry(junk));
            }
            for other in KINDS.iter().filter(|other| **other != kind) {
                add(
                    "handle of another kind",
                    format!("of a {other}"),
                    WRONG_KIND,
                    param.name,
                    vec![],
                    entry(world.of(other)),
                );
            }
            if at > 0 {
                let foreign = entry(others.foreign[kind]);
                add(
                    "object of another device",
                    format!("of another device's {kind}"),
                    WRONG_DEVICE,
                    "",
                    vec![],
                    foreign,
                );
            }
            add("misaligned list", "misaligned".into(), INVALID, param.name, vec![(at, arguments[at] + 1)], vec![]);
            for most in [65, 1_000_000, 1 << 61, u64::MAX] {
                let names = function.params[count].name;
                add("list too long", format!("of {most}"), INVALID, names, vec![(count, most)], vec![]);
            }
            let twice = [arguments_entry(world, kind), arguments_entry(world, kind)].concat();
            add("the same object twice", "of one twice".into(), Told, "", vec![(count, 2)], vec![(at, 0, twice)]);
            add("empty list", "empty".into(), Told, "", vec![(count, 0), (at, 0)], vec![]);
        }
        Role::View => {
            add("NULL handle", "NULL".into(), INVALID, param.name, vec![(at, 0)], vec![]);
            for junk in no_handles(world) {
                add("no handle", format!("{junk:#x}"), STALE, param.name, vec![(at, junk)], vec![]);
            }
        }
        Role::Options { of } | Role::Figures { of } => {
            let is_read = matches!(param.role, Role::Options { .. });
            let known = structure(of).expect("a struct");
            let size = |bytes: u32| vec![(at, 0, bytes.to_ne_bytes().to_vec())];
            add("NULL struct", "NULL".into(), null(param), param.name, vec![(at, 0)], vec![]);
            for bytes in [0, 1, 7, 1 << 20, u32::MAX] {
                add("impossible struct_size", format!("struct_size {bytes}"), INVALID, param.name, vec![], size(bytes));
            }
            let (small, large) = (first_size(known) - 1, known.size as u32 + 64);
            if is_read {
                let wanted = OneOf(&["GPUBUF_VERSION_MISMATCH"]);
                add("struct_size too small", "one byte short".into(), wanted, param.name, vec![], size(small));
                add("larger struct, zeroes", "larger, zero".into(), Harmless, "", vec![], size(large));
                let mut tail = size(large);
                tail.push((at, known.size + 63, vec![1]));
                add("larger struct, not zero", "larger, not zero".into(), wanted, param.name, vec![], tail);
                fields(world, others, known, at, &mut out);
            } else {
                add("struct_size too small", "one byte short".into(), Harmless, "", vec![], size(small));
                add("larger struct, zeroes", "larger".into(), Harmless, "", vec![], size(large));
                out.push(misaligned(at, arguments[at], Some(known.size as u32)));
            }
        }
        Role::Init { .. } => {
            add("NULL struct", "NULL".into(), Harmless, "", vec![(at, 0)], vec![]);
            for bytes in [0, 1, 7] {
                add(
                    "impossible struct_size",
                    format!("struct_size {bytes}"),
                    Harmless,
                    "",
                    vec![(at + 1, bytes)],
                    vec![],
                );
            }
        }
        Role::OutHandle { .. } | Role::Out { .. } => {
            add("NULL output", "NULL".into(), null(param), param.name, vec![(at, 0)], vec![]);
            out.push(misaligned(at, arguments[at], None));
        }
        Role::Items { of, count } => {
            let field = |name: &str| structure(of).and_then(|of| of.field(name));
            if let (Some(Field { role: Role::Input(extent), offset, .. }), Some(rows)) =
                (field("rows"), field("row_count"))
                && let Some(own) = own_memory(world, function, *extent)
            {
                let one = (at, rows.offset, 1u64.to_ne_bytes().to_vec());
                let own = vec![one, (at, *offset, own.to_ne_bytes().to_vec())];
                add("data of the object itself", "of its own rows".into(), INVALID, "", vec![], own);
            }
            add("NULL list", "NULL".into(), INVALID, param.name, vec![(at, 0)], vec![]);
            add("misaligned list", "misaligned".into(), Told, "", vec![(at, arguments[at] + 1)], vec![]);
            for most in [1 << 61, u64::MAX] {
                add("list too long", format!("of {most}"), OUT_OF_RANGE, "", vec![(count, most)], vec![]);
            }
            add("empty list", "empty".into(), Told, "", vec![(count, 0), (at, 0)], vec![]);
        }
        Role::OutItems { capacity, .. } => {
            add("NULL output", "NULL".into(), INVALID, param.name, vec![(at, 0)], vec![]);
            add("no room", "no room".into(), Told, "", vec![(capacity, 0), (at, 0)], vec![]);
            for most in [1 << 61, u64::MAX] {
                add("room without end", format!("room for {most}"), Told, "", vec![(capacity, most)], vec![]);
            }
            out.push(misaligned(at, arguments[at], None));
        }
        Role::OutText { capacity } => {
            let null = if function.name == "gpubuf_last_error_message" { Harmless } else { INVALID };
            add("NULL output", "NULL".into(), null, param.name, vec![(at, 0)], vec![]);
            add("no room", "NULL and no room".into(), Harmless, "", vec![(at, 0), (capacity, 0)], vec![]);
            add("no room", "room for nothing".into(), Harmless, "", vec![(capacity, 0)], vec![]);
            add("no room", "room for the end".into(), Harmless, "", vec![(capacity, 1)], vec![]);
        }
        Role::Text => {
            add("NULL text", "NULL".into(), null(param), param.name, vec![(at, 0)], vec![]);
            add(
                "text that is not UTF-8",
                "not UTF-8".into(),
                INVALID,
                param.name,
                vec![(at, c"\xff\xfe".as_ptr() as u64)],
                vec![],
            );
            add("empty text", "empty".into(), Told, "", vec![(at, c"".as_ptr() as u64)], vec![]);
        }
        Role::Input(extent) | Role::Output(extent) | Role::InOut(extent) => {
            let wanted = match param.may_be_null {
                true => Harmless,
                // The value is not looked at where nothing is padded.
                false if param.name == "value" => Told,
                false if function.name.starts_with("gpubuf_host_view_") => STALE,
                false => INVALID,
            };
            let row = if matches!(param.role, Role::Input(_)) { "NULL data" } else { "NULL output" };
            add(row, "NULL".into(), wanted, if wanted == INVALID { param.name } else { "" }, vec![(at, 0)], vec![]);
            let misaligned = vec![(at, arguments[at] + 1)];
            let wanted = if function.name.starts_with("gpubuf_host_view_") { STALE } else { Told };
            add("misaligned data", "misaligned".into(), wanted, "", misaligned, vec![]);
            if matches!(param.role, Role::Output(_))
                && matches!(extent, Extent::Product { .. } | Extent::Integers { .. })
            {
                for (input, role) in function.params.iter().enumerate() {
                    if matches!(
                        role.role,
                        Role::Input(Extent::Product { .. } | Extent::Integers { .. } | Extent::Array { .. })
                    ) {
                        let over = vec![(at, arguments[input])];
                        add(
                            "output over input",
                            format!("over {}", role.name),
                            OneOf(&["GPUBUF_INVALID_ARGUMENT"]),
                            "",
                            over,
                            vec![],
                        );
                    }
                }
            }
            if let Some(own) = own_memory(world, function, extent) {
                let (wanted, names) = if extent == Extent::Element { (Harmless, "") } else { (INVALID, param.name) };
                add("data of the object itself", "its own".into(), wanted, names, vec![(at, own)], vec![]);
            }
        }
        Role::Callback { .. } => add("NULL callback", "NULL".into(), null(param), param.name, vec![(at, 0)], vec![]),
        Role::Enum { prefix } => {
            for unknown in unknown_numbers(prefix) {
                // No side is kept.
                if unknown == 0 && param.name == "keep" {
                    continue;
                }
                let wanted = if function.returns == gpubuf_calls::Returns::Status { INVALID } else { Told };
                add("unknown number", format!("{unknown}"), wanted, param.name, vec![(at, unknown)], vec![]);
            }
            for value in values(prefix) {
                add("another of the numbers", format!("{value}"), Told, "", vec![(at, value)], vec![]);
            }
        }
        Role::Flag => {
            for value in [2, u32::MAX as u64] {
                add("no yes or no", format!("{value}"), INVALID, param.name, vec![(at, value)], vec![]);
            }
        }
        Role::Timeout => {
            for value in [0, 1, u64::MAX] {
                add("any timeout", format!("{value}"), Told, "", vec![(at, value)], vec![]);
            }
        }
        Role::Token | Role::ReadBack | Role::Ticket => {
            for value in [0, arguments[at] + 1, u64::MAX] {
                add(
                    "token that is none",
                    format!("{value}"),
                    OneOf(&["GPUBUF_NOT_BEGUN"]),
                    "",
                    vec![(at, value)],
                    vec![],
                );
            }
        }
        Role::Graph => {
            for value in [0, arguments[at] ^ 1 << 40, u64::MAX] {
                // With CUDA it is the driver's, which only its owner can vouch for.
                if !crate::driver::is_used() {
                    add(
                        "token that is none",
                        format!("{value}"),
                        OneOf(&["GPUBUF_NOT_FOUND"]),
                        "",
                        vec![(at, value)],
                        vec![],
                    );
                }
            }
        }
        Role::Native if !crate::driver::is_used() && param.name != "native_stream" => {
            add("NULL of the driver's", "NULL".into(), Refused, "", vec![(at, 0)], vec![]);
            // A graph is looked at when it is launched.
            let wanted = if param.name == "executable_graph" { Told } else { Refused };
            add("junk for the driver's", "junk".into(), wanted, "", vec![(at, 4096)], vec![]);
        }
        Role::Ordinal => {
            for value in [1000, 0x7fff_ffff] {
                add(
                    "number of no device",
                    format!("{value}"),
                    OneOf(&["GPUBUF_NOT_FOUND"]),
                    "",
                    vec![(at, value)],
                    vec![],
                );
            }
        }
        Role::First => {
            for value in [1 << 40, 1 << 63, u64::MAX, i64::MAX as u64] {
                add("range outside", format!("{value}"), OUT_OF_RANGE, "", vec![(at, value)], vec![]);
            }
            if let Some(amount) = function.params.get(at + 1).filter(|next| next.role == Role::Amount) {
                let _ = amount;
                for (first, count) in [(u64::MAX, 2), (1 << 63, 1 << 63), (2, u64::MAX - 1)] {
                    let both = vec![(at, first), (at + 1, count)];
                    add("range that overflows", format!("{first} and {count}"), OUT_OF_RANGE, "", both, vec![]);
                }
            }
        }
        Role::Amount => {
            for value in [0, 1 << 40, 1 << 63, u64::MAX] {
                let wanted = if value == 0 { Told } else { amount_wanted(function) };
                add("amount", format!("{value}"), wanted, "", vec![(at, value)], vec![]);
            }
        }
        Role::Index => {
            for value in [64, u32::MAX as u64] {
                let wanted = OneOf(&["GPUBUF_NOT_FOUND", "GPUBUF_INVALID_ARGUMENT"]);
                add("number of none", format!("{value}"), wanted, "", vec![(at, value)], vec![]);
            }
        }
        Role::Rank => {
            for value in [0, 9, u32::MAX as u64] {
                add("impossible rank", format!("{value}"), INVALID, "", vec![(at, value)], vec![]);
            }
        }
        Role::Count { of } => match function.params[of].role {
            Role::Input(_) | Role::Output(_) | Role::InOut(_) => {
                for value in [1 << 63, u64::MAX] {
                    add("size that overflows", format!("{value}"), Told, "", vec![(at, value)], vec![]);
                }
            }
            _ => {}
        },
        Role::Number | Role::Address => {
            for value in [0, 1 << 63, u64::MAX] {
                add("any number", format!("{value}"), Told, "", vec![(at, value)], vec![]);
            }
        }
        Role::Reserved => add("reserved", "1".into(), INVALID, param.name, vec![(at, 1)], vec![]),
        Role::UserData { .. } | Role::StructSize | Role::Shape | Role::Native | Role::Unknown => {}
    }
    out
}

/// The memory that a function copies to or from, or fills, where the object gives out its address.
fn own_memory(world: &World, function: &Function, extent: Extent) -> Option<u64> {
    use Extent::{Bytes, Element, Elements, Rows};
    if !matches!(extent, Element | Elements { .. } | Rows { .. } | Bytes { .. }) {
        return None;
    }
    let of = |kind: &str, name: &str| Some(made(name, &[world.of(kind)]));
    match function.name {
        "gpubuf_buffer_copy_in" | "gpubuf_buffer_copy_out" | "gpubuf_buffer_fill" => {
            of("buffer", "gpubuf_buffer_host_ptr")
        }
        "gpubuf_block_copy_in" | "gpubuf_block_copy_out" => of("block", "gpubuf_block_host_ptr"),
        "gpubuf_tensor_write" | "gpubuf_tensor_fill" => of("tensor", "gpubuf_tensor_data"),
        "gpubuf_step_write" | "gpubuf_step_write_named" | "gpubuf_step_write_many" => {
            let (mut rows, mut token) = (0u64, 0u64);
            let step = world.of("step");
            ok("gpubuf_step_begin_span", &[step, 0, 0, 1, &raw mut rows as u64, &raw mut token as u64]);
            ok("gpubuf_step_end_span", &[step, token]);
            Some(rows)
        }
        // They give out no address of what they copy to.
        "gpubuf_staged_rows_stage" | "gpubuf_host_view_read" | "gpubuf_host_view_write" => None,
        // All of it is the caller's.
        name if name.starts_with("gpubuf_ops_") => None,
        name => panic!("whose memory does {name} copy? Say it here"),
    }
}

/// What a size that no object has gets.
fn amount_wanted(function: &Function) -> Wanted {
    match function.name {
        // It counts, or asks for as much as there is.
        "gpubuf_slots_padded_size"
        | "gpubuf_tiers_demote"
        | "gpubuf_host_limit_memory"
        | "gpubuf_step_write_many"
        | "gpubuf_ops_split" => Told,
        "gpubuf_host_view_read" | "gpubuf_host_view_write" => STALE,
        _ => OneOf(&[
            "GPUBUF_INVALID_ARGUMENT",
            "GPUBUF_OVERFLOW",
            "GPUBUF_BUDGET",
            "GPUBUF_OUT_OF_HOST_MEMORY",
            "GPUBUF_OUT_OF_DEVICE_MEMORY",
        ]),
    }
}

fn arguments_entry(world: &World, kind: &str) -> Vec<u8> {
    world.of(kind).to_ne_bytes().to_vec()
}

/// A result may go to any address.
fn misaligned(at: usize, pointer: u64, struct_size: Option<u32>) -> Damage {
    let mut bytes = Vec::new();
    if let Some(size) = struct_size {
        let mut moved = vec![UNTOUCHED];
        moved.extend(size.to_ne_bytes());
        bytes.push((at, 0, moved));
    }
    Damage {
        row: "misaligned output",
        what: "misaligned".into(),
        wanted: Harmless,
        names: "",
        arguments: vec![(at, pointer + 1)],
        bytes,
    }
}

/// Numbers that are none of an enumeration's.
fn unknown_numbers(prefix: &str) -> Vec<u64> {
    let known: Vec<u64> = values(prefix).collect();
    [0, 1 + known.iter().copied().filter(|value| *value < 1 << 31).max().unwrap_or(0), 0x7fff_ffff, 0xffff_fffe]
        .into_iter()
        .filter(|value| !known.contains(value))
        .collect()
}

/// Damages of options, field by field. `at` is the struct's parameter.
fn fields(world: &World, others: &Others, known: &'static Struct, at: usize, out: &mut Vec<Damage>) {
    for field in known.fields.iter().skip(1) {
        let set = |value: u64| vec![(at, field.offset, value.to_ne_bytes()[..field.bytes].to_vec())];
        let mut add = |row: &'static str, what: String, wanted: Wanted, names: &'static str, bytes| {
            let what = format!("{} {what}", field.name);
            out.push(Damage { row, what, wanted, names, arguments: vec![], bytes });
        };
        match field.role {
            Role::Enum { prefix } => {
                for unknown in unknown_numbers(prefix) {
                    // 0 may stand for what is usual.
                    let wanted = if unknown == 0 { Told } else { INVALID };
                    add(
                        "unknown number",
                        format!("{unknown}"),
                        wanted,
                        if unknown == 0 { "" } else { field.name },
                        set(unknown),
                    );
                }
                for value in values(prefix) {
                    add("another of the numbers", format!("{value}"), Told, "", set(value));
                }
            }
            Role::Flag => add("no yes or no", "2".into(), INVALID, field.name, set(2)),
            Role::Reserved => add("reserved", "1".into(), INVALID, field.name, set(1)),
            Role::Text => {
                add("NULL text", "NULL".into(), Told, "", set(0));
                add(
                    "text that is not UTF-8",
                    "not UTF-8".into(),
                    INVALID,
                    field.name,
                    set(c"\xff\xfe".as_ptr() as u64),
                );
            }
            Role::Handle { kind } => {
                add("ended handle", "ended".into(), STALE, field.name, set(others.ended[kind]));
                add("handle of another kind", "a pool".into(), WRONG_KIND, field.name, set(world.of("pool")));
                let foreign = set(others.foreign[kind]);
                add("object of another device", format!("another device's {kind}"), Refused, "", foreign);
            }
            Role::Rank => {
                for rank in [9, u32::MAX as u64] {
                    add("impossible rank", format!("{rank}"), INVALID, "", set(rank));
                }
            }
            Role::Shape => {
                add("amount", "0".into(), Told, "", set(0));
                for extent in [1 << 40, 1 << 63, u64::MAX] {
                    let wanted = OneOf(&[
                        "GPUBUF_INVALID_ARGUMENT",
                        "GPUBUF_OVERFLOW",
                        "GPUBUF_BUDGET",
                        "GPUBUF_OUT_OF_HOST_MEMORY",
                        "GPUBUF_OUT_OF_DEVICE_MEMORY",
                    ]);
                    // Without a rank it is not looked at; slots are made later; a spec's errors are those of what it is for.
                    let later = ["gpubuf_pinned_request", "gpubuf_slot_options", "gpubuf_spec"].contains(&known.name);
                    let wanted = if later { Told } else { wanted };
                    add("amount", format!("{extent}"), wanted, "", set(extent));
                }
            }
            Role::Items { count, .. } => {
                let length: &Field = &known.fields[count];
                let count = |value: u64| (at, length.offset, value.to_ne_bytes()[..length.bytes].to_vec());
                for most in [1 << 61, u64::MAX] {
                    add("NULL list", format!("NULL, of {most}"), OUT_OF_RANGE, "", vec![count(most)]);
                    let mut list = set(world.of("scratch"));
                    list.push(count(most));
                    add("list too long", format!("of {most}"), OUT_OF_RANGE, "", list);
                }
            }
            Role::Ordinal => add("number of no device", "1000".into(), OneOf(&["GPUBUF_NOT_FOUND"]), "", set(1000)),
            Role::Address => add("junk for the driver's", "1".into(), Told, "", set(1)),
            Role::Amount | Role::Number | Role::Timeout | Role::Index | Role::First => {
                let most = if field.bytes == 4 { u32::MAX as u64 } else { u64::MAX };
                for value in [0, 1, most / 2 + 1, most] {
                    add("any number", format!("{value}"), Told, "", set(value));
                }
            }
            _ => {}
        }
    }
}
