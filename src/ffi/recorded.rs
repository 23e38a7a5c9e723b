//! How the arguments of a call are written to a recording: each kind of parameter by its type.
//!
//! Only what the header lets a call read is read, and only after the call; results only where it was OK.

use super::arguments::Growing;
use super::handles::Number;
use super::objects::Handle;
use super::step::gpubuf_slot_rows;
use crate::error::Status;
use crate::record::Encoder;
use std::ffi::{c_char, c_void};

/// Lists are cut after so many entries.
const ENTRIES: usize = 256;
/// What a text is looked through for its end, at most.
const TEXT: usize = 4096;

/// What is known of a call when its arguments are written.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Results were written.
    pub results: bool,
    /// What pointers lead to was there to be read.
    pub contents: bool,
}

impl Outcome {
    /// Of a call with this status. One that was refused for a handle may not have looked at anything else.
    pub fn of(status: i32) -> Outcome {
        let blind = [Status::StaleHandle, Status::WrongKind, Status::Broken, Status::ShutDown, Status::Forked];
        Outcome { results: status == Status::Ok as i32, contents: blind.iter().all(|blind| status != *blind as i32) }
    }
}

/// An argument that can be recorded.
pub trait Recorded: Copy {
    /// Says what it is.
    fn describe(out: &mut Encoder);
    /// Writes it.
    fn encode(self, outcome: Outcome, out: &mut Encoder);
}

/// The arguments of one call.
pub trait Arguments: Copy {
    /// Says what they are: their number, then each.
    fn describe(out: &mut Encoder);
    /// Writes them.
    fn encode(self, outcome: Outcome, out: &mut Encoder);
}

macro_rules! arguments {
    ($($name:ident)*) => {
        impl<$($name: Recorded),*> Arguments for ($($name,)*) {
            fn describe(out: &mut Encoder) {
                out.number(0 $(+ { let _ = stringify!($name); 1 })*);
                $($name::describe(out);)*
            }

            #[allow(non_snake_case, unused_variables)]
            fn encode(self, outcome: Outcome, out: &mut Encoder) {
                let ($($name,)*) = self;
                $($name.encode(outcome, out);)*
            }
        }
    };
}

arguments!();
arguments!(A);
arguments!(A B);
arguments!(A B C);
arguments!(A B C D);
arguments!(A B C D E);
arguments!(A B C D E F);
arguments!(A B C D E F G);
arguments!(A B C D E F G H);
arguments!(A B C D E F G H I);
arguments!(A B C D E F G H I J);

macro_rules! recorded {
    ($($(in $generic:ident $bound:ident,)? $type:ty as $letter:literal: |$value:ident, $outcome:pat_param, $out:ident| $body:expr;)+) => { $(
        impl$(<$generic: $bound>)? Recorded for $type {
            fn describe(out: &mut Encoder) {
                out.byte($letter);
            }

            fn encode(self, $outcome: Outcome, $out: &mut Encoder) {
                let $value = self;
                $body
            }
        }
    )+ };
}

/// A list and its length: of handles, numbers, or rows of slots.
#[derive(Clone, Copy)]
pub struct List<T>(pub *const T, pub usize);

impl<T: Copy> List<T> {
    fn encode(self, outcome: Outcome, out: &mut Encoder, mut item: impl FnMut(T, &mut Encoder)) {
        let List(items, count) = self;
        // A count that no call accepts says nothing of what is there.
        let told = outcome.contents && (outcome.results || count <= ENTRIES);
        let there = if items.is_null() || !told { 0 } else { count.min(ENTRIES) };
        out.number(count as u64);
        out.number(there as u64);
        for index in 0..there {
            // SAFETY: the caller's promise: `count` items, unchanged until the call has returned. Their alignment is not.
            item(unsafe { items.add(index).read_unaligned() }, out);
        }
    }
}

/// A handle of any kind.
#[derive(Clone, Copy)]
pub struct Any(pub *const c_void);

/// Something of the caller's or the driver's that is known by its number.
#[derive(Clone, Copy)]
pub struct Value(pub *mut c_void);

/// Memory for a list of results.
#[derive(Clone, Copy)]
pub struct Memory<T>(pub *mut T);

fn handle(bits: usize, out: &mut Encoder) {
    match Number::from_bits(bits as u64) {
        _ if bits == 0 => out.byte(0),
        Some(number) if number.kind != 0 => {
            out.byte(number.kind);
            out.number(number.generation as u64);
            out.number(number.index as u64);
        }
        _ => {
            out.byte(0x80);
            out.number(bits as u64);
        }
    }
}

/// A result that was written, where it was asked for.
fn result<T: Copy>(pointer: *mut T, outcome: Outcome) -> Option<T> {
    // SAFETY: the caller's promise for a parameter that is not NULL. The call was OK: it has written it.
    (outcome.results && !pointer.is_null()).then(|| unsafe { pointer.read_unaligned() })
}

/// Whether a pointer is there; of a result that is a number, also which.
fn result_number(value: Option<u64>, there: bool, out: &mut Encoder) {
    out.number(there as u64 + value.is_some() as u64);
    if let Some(value) = value {
        out.number(value);
    }
}

fn text(pointer: *const c_char, outcome: Outcome, out: &mut Encoder) {
    if pointer.is_null() {
        return out.text_or_none(None);
    }
    if !outcome.contents {
        return out.text(b"");
    }
    // SAFETY: the caller's promise: it ends with a NUL. No more is looked at than up to there.
    let length = unsafe { libc::strnlen(pointer, TEXT) };
    // SAFETY: as above.
    out.text(unsafe { std::slice::from_raw_parts(pointer.cast(), length) });
}

recorded! {
    u32 as b'n': |value, _, out| out.number(value as u64);
    u64 as b'n': |value, _, out| out.number(value);
    usize as b'n': |value, _, out| out.number(value as u64);
    i32 as b'i': |value, _, out| out.signed(value as i64);
    in T Handle, *mut T as b'h': |pointer, _, out| handle(pointer.addr(), out);
    in T Handle, *const T as b'h': |pointer, _, out| handle(pointer.addr(), out);
    *mut super::host::gpubuf_host_view as b'h': |pointer, _, out| handle(pointer.addr(), out);
    Any as b'h': |any, _, out| handle(any.0.addr(), out);
    Value as b'v': |value, _, out| out.number(value.0.addr() as u64);
    *const c_char as b't': |pointer, outcome, out| text(pointer, outcome, out);
    *const c_void as b'p': |pointer, _, out| out.byte(!pointer.is_null() as u8);
    *mut c_void as b'p': |pointer, _, out| out.byte(!pointer.is_null() as u8);
    *mut c_char as b'p': |pointer, _, out| out.byte(!pointer.is_null() as u8);
    *const super::ops::gpubuf_piece as b'p': |pointer, _, out| out.byte(!pointer.is_null() as u8);
    *mut super::ops::gpubuf_piece as b'p': |pointer, _, out| out.byte(!pointer.is_null() as u8);
    *mut *const c_void as b'p': |pointer, _, out| out.byte(!pointer.is_null() as u8);
    *mut *mut c_void as b'p': |pointer, _, out| out.byte(!pointer.is_null() as u8);
    super::types::gpubuf_log_fn as b'p': |callback, _, out| out.byte(callback.is_some() as u8);
    super::types::gpubuf_warm_fn as b'p': |callback, _, out| out.byte(callback.is_some() as u8);
    super::host::gpubuf_host_fn as b'p': |callback, _, out| out.byte(callback.is_some() as u8);
    super::workspace::gpubuf_workspace_entry_fn as b'p': |callback, _, out| out.byte(callback.is_some() as u8);
    *mut u32 as b'N': |pointer, outcome, out| {
        result_number(result(pointer, outcome).map(u64::from), !pointer.is_null(), out)
    };
    *mut u64 as b'N': |pointer, outcome, out| result_number(result(pointer, outcome), !pointer.is_null(), out);
    *mut usize as b'N': |pointer, outcome, out| {
        result_number(result(pointer, outcome).map(|value| value as u64), !pointer.is_null(), out)
    };
    in T Handle, *mut *mut T as b'H': |pointer, outcome, out| {
        out.byte(!pointer.is_null() as u8);
        if outcome.results {
            handle(result(pointer, outcome).map_or(0, |made| made.addr()), out);
        }
    };
    in T Handle, List<*mut T> as b'l': |list, outcome, out| {
        list.encode(outcome, out, |item, out| handle(item.addr(), out))
    };
    List<u64> as b'w': |list, outcome, out| list.encode(outcome, out, |item, out| out.number(item));
    List<gpubuf_slot_rows> as b'e': |list, outcome, out| {
        list.encode(outcome, out, |item, out| {
            out.number(item.slot as u64);
            out.number(item.reserved as u64);
            out.number(item.first_row);
            out.number(item.row_count);
            out.byte(!item.rows.is_null() as u8);
        })
    };
}

impl<T: Copy> Recorded for Memory<T> {
    fn describe(out: &mut Encoder) {
        out.byte(b'p');
    }

    fn encode(self, _: Outcome, out: &mut Encoder) {
        out.byte(!self.0.is_null() as u8);
    }
}

/// What a field of a struct leads to.
#[derive(Clone, Copy)]
pub struct Part {
    /// Where the field is.
    pub offset: usize,
    /// What it is.
    pub kind: PartKind,
}

/// What a field of a struct leads to.
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub enum PartKind {
    /// A text.
    text,
    /// Numbers, as many as the 64-bit field at this place says.
    words(usize),
    /// A handle.
    handle,
    /// Memory of the caller's, which is the same where its address is.
    address,
    /// Options: what they are, and how they are written.
    options(fn(&mut Encoder), fn(u64, Outcome, &mut Encoder)),
    /// Anything else: whether it is there.
    pointer,
}

impl PartKind {
    /// Options of this type, which lead to no other options.
    pub const fn options_of<T: Growing>() -> PartKind {
        PartKind::options(describe_options::<T>, |address, outcome, out| {
            encode_options(address as usize as *const T, outcome, out);
        })
    }
}

/// Structs with options, and what their fields lead to.
pub fn describe_options<T: Growing>(out: &mut Encoder) {
    out.byte(b's');
    out.number(T::PARTS.len() as u64);
    for part in T::PARTS {
        out.number(part.offset as u64);
        match part.kind {
            PartKind::text => out.byte(b't'),
            PartKind::handle => out.byte(b'h'),
            PartKind::address => out.byte(b'v'),
            PartKind::pointer => out.byte(b'p'),
            PartKind::options(describe, _) => describe(out),
            PartKind::words(count) => {
                out.byte(b'w');
                out.number(count as u64);
            }
        }
    }
}

/// The size that a struct says it has, if that can be.
fn struct_size<T: Growing>(pointer: *const T) -> u32 {
    // SAFETY: the caller's promise: the struct is there, and begins with its size.
    unsafe { pointer.cast::<u32>().read_unaligned() }
}

/// A struct with options: 0 for NULL, 1 where it was not looked at, else its size and 2. Then its words without the last that
/// are 0, its pointers being 0 or 1; then what these lead to.
pub fn encode_options<T: Growing>(pointer: *const T, outcome: Outcome, out: &mut Encoder) {
    if pointer.is_null() || !outcome.contents {
        return out.number(!pointer.is_null() as u64);
    }
    let size = struct_size(pointer);
    out.number(size as u64 + 2);
    let sane = (8..=1 << 16).contains(&size);
    let known = if sane { (size as usize).min(size_of::<T>()) } else { 0 };
    let mut own = T::zeroed();
    let bytes: *mut u8 = (&raw mut own).cast();
    // SAFETY: the caller's promise: `size` bytes, of which the target has room for these.
    unsafe { pointer.cast::<u8>().copy_to_nonoverlapping(bytes, known) };
    let read = |offset: usize| {
        // SAFETY: within the struct, where the field is.
        unsafe { bytes.add(offset).cast::<u64>().read_unaligned() }
    };
    let mut led = arrayvec::ArrayVec::<(PartKind, u64, u64), 8>::new();
    for part in T::PARTS.iter().filter(|part| part.offset + 8 <= known) {
        let count = if let PartKind::words(count) = part.kind { read(count) } else { 0 };
        let value = read(part.offset);
        led.push((part.kind, value, count));
        // SAFETY: as above.
        unsafe { bytes.add(part.offset).cast::<u64>().write_unaligned((value != 0) as u64) };
    }
    // What is beyond is looked at by the call, too: a newer program's options.
    let word = |index: usize| {
        let from = if 4 * index < known { bytes.cast_const() } else { pointer.cast() };
        // SAFETY: within the struct that this library knows, or within the caller's.
        unsafe { from.add(4 * index).cast::<u32>().read_unaligned() }
    };
    // The first is the size.
    let words = (1..if sane { size as usize / 4 } else { 0 }).rev().find(|index| word(*index) != 0).unwrap_or(0);
    out.number(words as u64);
    for index in 1..=words {
        out.number(word(index) as u64);
    }
    for (kind, value, count) in led {
        match kind {
            PartKind::text => text(value as usize as *const c_char, outcome, out),
            PartKind::words(_) => {
                List(value as usize as *const u64, count as usize).encode(outcome, out, |item, out| out.number(item));
            }
            PartKind::handle => handle(value as usize, out),
            PartKind::address => out.number(value),
            PartKind::options(_, encode) => encode(value, outcome, out),
            PartKind::pointer => {}
        }
    }
}

/// A struct for figures: 0 for NULL, else its size and 1.
pub fn encode_figures<T: Growing>(pointer: *mut T, outcome: Outcome, out: &mut Encoder) {
    let size = if pointer.is_null() || !outcome.contents { None } else { Some(struct_size(pointer)) };
    out.number(size.map_or(0, |size| size as u64 + 1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn file(path: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("it is there")
    }

    /// The sources here, on one line.
    fn sources() -> String {
        let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi")).expect("a folder");
        let read = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.expect("an entry").path());
        let all: String = files.map(|entry| read(entry).expect("a file")).collect();
        all.split_whitespace().collect::<Vec<_>>().join(" ").replace("( Entry", "(Entry")
    }

    fn words(text: &str) -> Vec<&str> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
    }

    /// Names and parameter lists of the header's functions.
    fn functions(header: &str) -> Vec<(String, Vec<String>)> {
        let last = |text: &str| words(text).last().map(|word| word.to_string());
        let of = |text: &str| {
            let (head, rest) = text.split_once('(')?;
            let parameters = rest.split(')').next()?.split(',').filter(|one| one.trim() != "void");
            Some((last(head)?, parameters.filter_map(last).collect()))
        };
        header.split("\nGPUBUF_API").skip(1).filter_map(of).collect()
    }

    #[test]
    fn every_call_records_each_of_its_parameters_in_their_order() {
        let sources = sources();
        let mut recorded = 0;
        for (name, parameters) in functions(&file("include/gpubuf/gpubuf.h")) {
            let Some((_, rest)) = sources.split_once(&format!(" call(Entry::{name},")) else {
                assert!(sources.contains(&format!(" plain(Entry::{name},")), "{name} is no entry");
                continue;
            };
            let list = rest.split('|').next().expect("its arguments");
            let mut given = words(list).into_iter();
            for parameter in &parameters {
                assert!(given.any(|word| word == parameter), "{name}: {parameter} is missing in {list}");
            }
            recorded += 1;
        }
        assert!(recorded > 200, "{recorded}");
    }

    #[test]
    fn every_pointer_of_options_is_told() {
        let sources = sources();
        let lists: Vec<&str> = sources.split("growing!(").skip(1).filter_map(|text| text.split(");").next()).collect();
        let told = lists.join(", ");
        let mut seen = 0;
        for text in file("include/gpubuf/gpubuf.h").split("\ntypedef struct ").skip(1) {
            let Some((name, body)) = text.split_once(" {\n") else { continue };
            if !(name.ends_with("_options") || name.ends_with("_request")) {
                continue;
            }
            let list = |behind: &str| told.split_once(&format!("{name} {behind} ")).map(|(_, rest)| rest);
            let told = list("{").or_else(|| list("from")).unwrap_or("");
            let told = words(told.split('}').next().expect("a part"));
            let fields = body
                .split("\n}")
                .next()
                .expect("its fields")
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with(['/', '*']));
            for line in fields.filter(|line| line.ends_with(';') && (line.contains('*') || line.contains("_fn "))) {
                let field = words(line).pop().expect("a name");
                assert!(told.contains(&field), "{name}.{field}: say in growing! what it leads to");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }

    fn bytes<T: Recorded>(value: T, status: Status) -> Vec<u8> {
        let mut out = Encoder::new(Vec::new());
        value.encode(Outcome::of(status as i32), &mut out);
        out.into_bytes()
    }

    #[test]
    fn what_a_refused_call_may_not_have_looked_at_is_not_looked_at() {
        let nowhere: *const c_char = std::ptr::without_provenance(8);
        assert_eq!(bytes(nowhere, Status::StaleHandle), [1]);
        assert_eq!(bytes(List(nowhere.cast::<u64>(), 3), Status::WrongKind), [3, 0]);
        assert_eq!(bytes(nowhere.cast::<super::super::pool::gpubuf_pool_options>(), Status::Broken), [1]);
        assert_eq!(
            bytes(List(nowhere.cast::<u64>(), 300), Status::InvalidArgument),
            [0xac, 2, 0],
            "more than there can be"
        );
        assert_eq!(bytes(nowhere.cast_mut().cast::<u64>(), Status::Busy), [1], "nor is a result read");
        assert_eq!(bytes(nowhere.cast_mut().cast::<super::super::pool::gpubuf_pool_stats>(), Status::ShutDown), [0]);
    }

    #[test]
    fn options_take_their_words_and_what_these_lead_to() {
        let mut options = super::super::slots::gpubuf_slots_options::zeroed();
        let sizes = [1_u64, 300];
        options.struct_size = size_of_val(&options) as u32;
        (options.depth, options.label) = (3, c"ab".as_ptr());
        (options.padded_sizes, options.padded_size_count) = (sizes.as_ptr(), 2);
        let mut expected = vec![options.struct_size as u8 + 2, 12, 3, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2];
        expected.extend([3, b'a', b'b', 2, 2, 1, 0xac, 2]);
        assert_eq!(bytes(&raw const options, Status::Ok), expected);
        options.struct_size = 3;
        assert_eq!(bytes(&raw const options, Status::InvalidArgument), [5, 0], "no more than the size is read");
    }
}
