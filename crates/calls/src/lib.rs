//! Every function of `include/gpubuf/gpubuf.h` as a table, and a way to call each by its number: for checks that go over all of them, and so
//! cannot forget a new one.
//!
//! The tables are made from the header when this crate is built. [`call`] goes through C code that is made with them and compiled
//! against the header, so arguments are passed as the header says; the library is linked into the program that uses this crate.
//!
//! ```
//! use gpubuf_calls::{Answer, call, constant, function};
//!
//! let count = function("gpubuf_device_count").unwrap();
//! let mut devices = 0u32;
//! // SAFETY: the output is a u32 that lives.
//! let answer = unsafe { call(count.index, &[constant("GPUBUF_BACKEND_HOST").unwrap(), &raw mut devices as u64]) };
//! assert_eq!((answer, devices), (Answer::Status(0), 1));
//! ```

use std::ffi::CStr;

// The shim's calls go to the library.
use gpubuf as _;

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// An exported function.
#[derive(Debug)]
pub struct Function {
    /// Its number, for [`call`].
    pub index: usize,
    /// Its name.
    pub name: &'static str,
    /// What it returns.
    pub returns: Returns,
    /// The statuses that its description names, or that of a function which it refers to. [`ANYWHERE`] has those of all.
    pub documented: &'static [&'static str],
    /// Its parameters, in order.
    pub params: &'static [Param],
}

/// The statuses that docs/c-api.md allows any function, whether its description says so or not.
pub const ANYWHERE: [&str; 11] = [
    "GPUBUF_OK",
    "GPUBUF_INVALID_ARGUMENT",
    "GPUBUF_STALE_HANDLE",
    "GPUBUF_WRONG_KIND",
    "GPUBUF_WRONG_DEVICE",
    "GPUBUF_VERSION_MISMATCH",
    "GPUBUF_CAPTURING",
    "GPUBUF_DEVICE_LOST",
    "GPUBUF_DRIVER_ERROR",
    "GPUBUF_SHUT_DOWN",
    "GPUBUF_BROKEN",
];

/// What a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// A `gpubuf_status`.
    Status,
    /// A number.
    Number,
    /// A static C string.
    Text,
    /// void.
    Nothing,
}

/// A parameter.
#[derive(Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Its type in C, with single spaces.
    pub c_type: &'static str,
    /// Of a pointer: NULL is allowed where the other arguments are as usual. (Memory of no bytes may always be NULL.)
    pub may_be_null: bool,
    /// What it is.
    pub role: Role,
}

/// A struct of the header.
#[derive(Debug)]
pub struct Struct {
    /// Its name.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its fields, in order. Those that grow begin with `struct_size`.
    pub fields: &'static [Field],
}

/// A field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type in C; of an array, its items' type.
    pub c_type: &'static str,
    /// Bytes before it.
    pub offset: usize,
    /// Bytes of an item.
    pub bytes: usize,
    /// Items of an array, else 1.
    pub count: usize,
    /// What it is; the numbers of other items are those of other fields here.
    pub role: Role,
}

/// A type of callbacks.
#[derive(Debug)]
pub struct Callback {
    /// The type's name.
    pub name: &'static str,
    /// Its result's type in C.
    pub returns: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
}

/// What a parameter or a field is. Numbers such as `count` are the places of other parameters of the same function, or of other
/// fields of the same struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A handle of this kind.
    Handle {
        /// One of [`KINDS`].
        kind: &'static str,
    },
    /// A handle of any kind.
    AnyHandle,
    /// Where a new handle goes.
    OutHandle {
        /// One of [`KINDS`].
        kind: &'static str,
    },
    /// A list of handles.
    Handles {
        /// One of [`KINDS`].
        kind: &'static str,
        /// Its length.
        count: usize,
    },
    /// What a function on a stream got to reach device memory.
    View,
    /// A struct that is read, and begins with its size.
    Options {
        /// One of [`STRUCTS`].
        of: &'static str,
    },
    /// A struct that is written up to the size that it begins with.
    Figures {
        /// One of [`STRUCTS`].
        of: &'static str,
    },
    /// A struct that is set up; its size follows.
    Init {
        /// One of [`STRUCTS`].
        of: &'static str,
    },
    /// A struct's size.
    StructSize,
    /// A list that is read, of structs or integers.
    Items {
        /// One of [`STRUCTS`], or a type of C.
        of: &'static str,
        /// Its length.
        count: usize,
    },
    /// A list that is written, of structs or integers.
    OutItems {
        /// One of [`STRUCTS`], or a type of C.
        of: &'static str,
        /// The room in it.
        capacity: usize,
    },
    /// The length of a list or text, or the room for it.
    Count {
        /// The list.
        of: usize,
    },
    /// A C string.
    Text,
    /// Where a text goes.
    OutText {
        /// The room there, in bytes.
        capacity: usize,
    },
    /// Memory that is read.
    Input(Extent),
    /// Memory that is written.
    Output(Extent),
    /// Memory that is read and written.
    InOut(Extent),
    /// Where a number or a pointer goes.
    Out {
        /// Its size.
        bytes: usize,
    },
    /// A function that the library calls.
    Callback {
        /// One of [`CALLBACKS`].
        of: &'static str,
        /// What it gets.
        user_data: usize,
    },
    /// What a callback gets; the library does not look at it.
    UserData {
        /// The callback.
        of: usize,
    },
    /// An object of the driver's.
    Native,
    /// One of the numbers whose names begin so.
    Enum {
        /// The common beginning of the names in [`CONSTANTS`].
        prefix: &'static str,
    },
    /// 0 or 1.
    Flag,
    /// How long to wait, in nanoseconds.
    Timeout,
    /// What a begin gave, for its end.
    Token,
    /// What a commit gave.
    Ticket,
    /// What a read-back gave.
    ReadBack,
    /// A captured graph of the host backend.
    Graph,
    /// An address of the device's.
    Address,
    /// A device's number.
    Ordinal,
    /// A number that must be 0.
    Reserved,
    /// The start of a range.
    First,
    /// The length of a range, or a size.
    Amount,
    /// The number of a slot, a copy, a block or an axis.
    Index,
    /// How many extents count.
    Rank,
    /// Extents, outermost first.
    Shape,
    /// Any other number.
    Number,
    /// Neither type nor name nor the table in `build/roles.rs` tells: a test refuses it.
    Unknown,
}

/// How much memory a pointer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes.
    Bytes {
        /// How many.
        bytes: usize,
    },
    /// Elements of the object that is the first parameter; in a `gpubuf_piece` those of the call.
    Elements {
        /// How many.
        count: usize,
    },
    /// One element of the object that is the first parameter, or of the slot that is described.
    Element,
    /// Rows of a slot.
    Rows {
        /// How many.
        count: usize,
    },
    /// The product of two numbers, in bytes.
    Product {
        /// Which.
        factors: [usize; 2],
    },
    /// Integers of a dtype.
    Integers {
        /// How many.
        count: usize,
        /// And so many more.
        more: usize,
        /// Of which dtype.
        dtype: usize,
    },
    /// The extents of an array, each a `uint64_t`.
    Extents {
        /// How many.
        rank: usize,
    },
    /// An array.
    Array {
        /// Its extents.
        shape: usize,
        /// How many there are.
        rank: usize,
        /// Bytes of an element.
        element_bytes: usize,
    },
    /// The caller's memory, as much as shape and dtype say.
    Foreign,
}

/// What a call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status.
    Status(i32),
    /// A number, or the address of a static text.
    Number(u64),
    /// Nothing.
    Nothing,
}

unsafe extern "C" {
    fn gpubuf_calls_call(index: usize, arguments: *const u64) -> u64;
}

/// Calls a function by its number, with its arguments in order: numbers as they are, smaller ones in the low bits, pointers and functions as
/// their addresses.
///
/// # Panics
/// If there is no such function, or the number of arguments is not its number of parameters.
///
/// # Safety
/// What the header asks of the function's caller.
pub unsafe fn call(index: usize, arguments: &[u64]) -> Answer {
    let function = &FUNCTIONS[index];
    assert_eq!(arguments.len(), function.params.len(), "the arguments of {}", function.name);
    // SAFETY: there is such a function, it has as many parameters, and the rest is the caller's promise.
    let value = unsafe { gpubuf_calls_call(index, arguments.as_ptr()) };
    match function.returns {
        Returns::Status => Answer::Status(value as i32),
        Returns::Number | Returns::Text => Answer::Number(value),
        Returns::Nothing => Answer::Nothing,
    }
}

/// The function of a name.
#[must_use]
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// The struct of a name.
#[must_use]
pub fn structure(name: &str) -> Option<&'static Struct> {
    STRUCTS.iter().find(|structure| structure.name == name)
}

/// A constant's value.
#[must_use]
pub fn constant(name: &str) -> Option<u64> {
    CONSTANTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The values of an enumeration: see [`Role::Enum`].
pub fn values(prefix: &str) -> impl Iterator<Item = u64> {
    // Enumerations whose names begin like another's.
    let nested = move |name: &str| {
        ["GPUBUF_PINNED_NOTICE_", "GPUBUF_HOST_AT_"].iter().any(|longer| name.starts_with(longer) && *longer != prefix)
    };
    CONSTANTS.iter().filter(move |(name, _)| name.starts_with(prefix) && !nested(name)).map(|(_, value)| *value)
}

/// A status's name.
#[must_use]
pub fn status_name(status: i32) -> &'static str {
    let name = gpubuf::ffi::library::gpubuf_status_name(status);
    // SAFETY: a static C string.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("not UTF-8")
}

impl Struct {
    /// The field of a name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
