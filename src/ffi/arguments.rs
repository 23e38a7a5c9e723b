//! Parameters as they come from C: strings, lists, memory, and structs that grow.
//!
//! Only entries call what is here, with their own parameters. What the header asks of a pointer that is not NULL (that it
//! points to as much as the call reads or writes) is the C caller's promise; everything else is checked.

use super::recorded::Part;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::fail;
use arrayvec::ArrayVec;
use std::ffi::{CStr, c_char, c_void};
use std::mem::{MaybeUninit, size_of};

/// A text; NULL is the empty one.
pub fn label<'c>(text: *const c_char, name: &str) -> Result<&'c str> {
    if text.is_null() { Ok("") } else { self::text(text, name) }
}

/// A text that must be there.
pub fn text<'c>(text: *const c_char, name: &str) -> Result<&'c str> {
    if text.is_null() {
        return fail!(InvalidArgument, "{name} is NULL");
    }
    // SAFETY: the caller's promise: it ends with a NUL and stays unchanged during the call, which is all that 'c is used for.
    match unsafe { CStr::from_ptr(text) }.to_str() {
        Ok(text) => Ok(text),
        Err(error) => fail!(InvalidArgument, "{name} is not UTF-8 from byte {} on", error.valid_up_to()),
    }
}

/// A list of at most `most` handles; NULL only where it is empty. `names` are those of the list and of its length.
pub fn list<'c, T>(items: *const T, count: usize, most: usize, names: [&str; 2]) -> Result<&'c [T]> {
    if count > most {
        return fail!(InvalidArgument, "{} is {count}: at most {most}", names[1]);
    }
    if count == 0 {
        return Ok(&[]);
    }
    if items.is_null() {
        return fail!(InvalidArgument, "{} is NULL and {} is {count}", names[0], names[1]);
    }
    if !items.is_aligned() {
        return fail!(InvalidArgument, "{} {items:p} is not aligned for handles", names[0]);
    }
    // SAFETY: the caller's promise: `count` items, unchanged during the call.
    Ok(unsafe { std::slice::from_raw_parts(items, count) })
}

/// Memory to read from or write to; NULL only where there is nothing to do.
pub fn memory<T>(pointer: *const T, empty: bool, name: &str) -> Result<*mut u8> {
    match (pointer.is_null(), empty) {
        (false, _) => Ok(pointer.cast_mut().cast()),
        (true, true) => Ok(std::ptr::NonNull::dangling().as_ptr()),
        (true, false) => fail!(InvalidArgument, "{name} is NULL"),
    }
}

/// One element of a fill. It is read now, as it may lie in what is filled.
///
/// # Safety
/// If the pointer is not NULL, an element can be read there.
pub unsafe fn element(pointer: *const c_void, dtype: Dtype) -> Result<ArrayVec<u8, 8>> {
    let bytes = memory(pointer, false, "element")?;
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(bytes, dtype.size()) }.iter().copied().collect())
}

/// Writes a text to the caller's memory, cut to fit and always ended; returns its full length.
pub fn write_text(text: &[u8], buffer: *mut c_char, capacity: usize) -> usize {
    if !buffer.is_null() && capacity > 0 {
        let bytes = text.len().min(capacity - 1);
        // SAFETY: the caller's promise: `capacity` bytes.
        unsafe {
            buffer.copy_from_nonoverlapping(text.as_ptr().cast(), bytes);
            buffer.add(bytes).write(0);
        }
    }
    text.len()
}

/// A struct that begins with its size, so that it can grow at its end.
///
/// # Safety
/// `repr(C)`, without padding, valid for any bytes, and the first field is `struct_size: u32`.
pub unsafe trait Growing: Copy {
    /// Its name in C.
    const NAME: &'static str;
    /// Its size in the first version that had it.
    const FIRST: usize = size_of::<Self>();
    /// Its fields that lead elsewhere.
    const PARTS: &'static [Part] = &[];

    /// All bytes 0.
    fn zeroed() -> Self {
        // SAFETY: valid for any bytes.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }
}

/// Says that structs are [`Growing`], and what their pointers lead to: `name { field: text, field: words count_field, field:
/// options_of<its_type> }`. One that
/// grew says from how many bytes, since callers may be as old as that. In what it grew by, 0 must mean what the library did before.
macro_rules! growing {
    ($($name:ident $(from $first:literal)? $({ $($field:ident: $kind:ident $($count:ident)? $(<$to:ident>)?),+ })?),+) => { $(
        // SAFETY: every field is a number, a pointer or a nullable function, ordered without padding (a test adds them up),
        // and the first is struct_size.
        unsafe impl $crate::ffi::arguments::Growing for $name {
            const NAME: &'static str = stringify!($name);
            $(const FIRST: usize = $first;)?
            $(const PARTS: &'static [$crate::ffi::recorded::Part] = &[$($crate::ffi::recorded::Part {
                offset: std::mem::offset_of!($name, $field),
                kind: $crate::ffi::recorded::PartKind::$kind$((std::mem::offset_of!($name, $count)))?$(::<$to>())?,
            }),+];)?
        }

        impl $crate::ffi::recorded::Recorded for *const $name {
            fn describe(out: &mut $crate::record::Encoder) {
                $crate::ffi::recorded::describe_options::<$name>(out);
            }

            fn encode(self, outcome: $crate::ffi::recorded::Outcome, out: &mut $crate::record::Encoder) {
                $crate::ffi::recorded::encode_options(self, outcome, out);
            }
        }

        impl $crate::ffi::recorded::Recorded for *mut $name {
            fn describe(out: &mut $crate::record::Encoder) {
                out.byte(b'f');
            }

            fn encode(self, outcome: $crate::ffi::recorded::Outcome, out: &mut $crate::record::Encoder) {
                $crate::ffi::recorded::encode_figures(self, outcome, out);
            }
        }
    )+ };
}
pub(super) use growing;

/// Structs of a sane caller are not larger: a size above is a missing init.
const MOST_BYTES: usize = 1 << 16;

fn struct_size<T: Growing>(pointer: *const T, name: &str) -> Result<usize> {
    if pointer.is_null() {
        return fail!(InvalidArgument, "{name} is NULL");
    }
    // SAFETY: the caller's promise: the struct is there, and struct_size says how much of it.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    if !(8..=MOST_BYTES).contains(&size) {
        return fail!(InvalidArgument, "struct_size of {name} is {size}: set it to sizeof({})", T::NAME);
    }
    Ok(size)
}

/// Reads options of this or another version of the header.
pub fn options<T: Growing>(pointer: *const T, name: &str) -> Result<T> {
    let size = struct_size(pointer, name)?;
    if size < T::FIRST {
        return fail!(
            VersionMismatch,
            "struct_size of {name} is {size}, and every {} has at least {} bytes",
            T::NAME,
            T::FIRST
        );
    }
    let known = size_of::<T>();
    let bytes = pointer.cast::<u8>();
    for at in known..size {
        // SAFETY: the caller's promise: `size` bytes.
        if unsafe { *bytes.add(at) } != 0 {
            return fail!(
                VersionMismatch,
                "{name} has {size} bytes, of which this library knows {known}, and byte {at} is not 0: it sets an option of a newer version"
            );
        }
    }
    let mut options = T::zeroed();
    // SAFETY: as above; the target has `known` bytes, and any bytes make it valid.
    unsafe { bytes.copy_to_nonoverlapping((&raw mut options).cast(), size.min(known)) };
    Ok(options)
}

/// As [`options`]; NULL is the defaults.
pub fn options_or<T: Growing>(pointer: *const T, name: &str, defaults: impl FnOnce(&mut T)) -> Result<T> {
    if !pointer.is_null() {
        return options(pointer, name);
    }
    let mut chosen = T::zeroed();
    defaults(&mut chosen);
    Ok(chosen)
}

/// Sets a struct of the caller's up: zeroes, its size, and the defaults. Does nothing with NULL, or where it is too small.
pub fn init<T: Growing>(pointer: *mut T, struct_size: u32, defaults: impl FnOnce(&mut T)) {
    let size = struct_size as usize;
    if pointer.is_null() || size < T::FIRST {
        return;
    }
    let mut options = T::zeroed();
    defaults(&mut options);
    // SAFETY: the caller's promise: `struct_size` bytes. Every struct of this kind begins with its size.
    unsafe {
        pointer.cast::<u8>().write_bytes(0, size);
        (&raw const options).cast::<u8>().copy_to_nonoverlapping(pointer.cast(), size.min(size_of::<T>()));
        pointer.cast::<u32>().write_unaligned(struct_size);
    }
}

/// Where a struct with figures goes: as much of it as the caller has room for.
pub struct Figures<T> {
    pointer: *mut T,
    size: usize,
}

/// Checks where figures go.
pub fn figures<T: Growing>(pointer: *mut T, name: &str) -> Result<Figures<T>> {
    let size = struct_size(pointer, name)?.min(size_of::<T>());
    Ok(Figures { pointer, size })
}

impl<T: Growing> Figures<T> {
    /// Writes them; struct_size says how many bytes.
    pub fn set(self, value: T) {
        // SAFETY: the caller's promise: as many bytes as its struct_size said, which are at least these.
        unsafe {
            (&raw const value).cast::<u8>().copy_to_nonoverlapping(self.pointer.cast(), self.size);
            self.pointer.cast::<u32>().write_unaligned(self.size as u32);
        }
    }
}

/// A field that is kept for later.
pub fn reserved(value: u32, name: &str) -> Result<()> {
    if value != 0 {
        return fail!(InvalidArgument, "{name} is {value}: it must be 0");
    }
    Ok(())
}

/// A yes or no.
pub fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => fail!(InvalidArgument, "{name} is {value}: 0 or 1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Sample {
        struct_size: u32,
        a: u32,
        b: u64,
    }
    growing!(Sample);

    #[repr(C)]
    struct Newer {
        sample: Sample,
        c: u64,
    }

    #[test]
    fn options_of_other_versions() {
        let mut newer = Newer { sample: Sample { struct_size: 24, a: 1, b: 2 }, c: 0 };
        assert_eq!(options(&raw const newer.sample, "o").unwrap().b, 2);
        newer.c = 1 << 40;
        assert_eq!(
            options(&raw const newer as *const Sample, "o").map(|_| ()).unwrap_err().status(),
            Status::VersionMismatch
        );
        for (size, status) in [
            (0, Status::InvalidArgument),
            (7, Status::InvalidArgument),
            (u32::MAX, Status::InvalidArgument),
            (12, Status::VersionMismatch),
        ] {
            newer.sample.struct_size = size;
            assert_eq!(
                options(&raw const newer as *const Sample, "o").map(|_| ()).unwrap_err().status(),
                status,
                "{size}"
            );
        }
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Grown {
        struct_size: u32,
        a: u32,
        b: u64,
        c: u64,
    }
    growing!(Grown from 16);

    #[test]
    fn options_from_before_a_struct_grew() {
        let older = Sample { struct_size: 16, a: 1, b: 2 };
        let read = options((&raw const older).cast::<Grown>(), "o").unwrap();
        assert_eq!((read.struct_size, read.a, read.b, read.c), (16, 1, 2, 0));
        let mut target = Newer { sample: Sample { struct_size: 0, a: 0, b: 0 }, c: 9 };
        init((&raw mut target).cast::<Grown>(), 16, |o| (o.b, o.c) = (3, 4));
        assert_eq!((target.sample.struct_size, target.sample.b, target.c), (16, 3, 9));
    }

    #[test]
    fn figures_stop_where_the_caller_does() {
        let mut sample = Sample { struct_size: 8, a: 0, b: 77 };
        figures(&raw mut sample, "s").unwrap().set(Sample { struct_size: 0, a: 5, b: 6 });
        assert_eq!((sample.struct_size, sample.a, sample.b), (8, 5, 77));
        let mut newer = Newer { sample: Sample { struct_size: 24, a: 1, b: 2 }, c: 9 };
        figures((&raw mut newer).cast::<Sample>(), "s").unwrap().set(Sample { struct_size: 0, a: 5, b: 6 });
        assert_eq!((newer.sample.struct_size, newer.sample.b, newer.c), (16, 6, 9));
    }

    #[test]
    fn init_zeroes_what_it_does_not_know() {
        let mut newer = Newer { sample: Sample { struct_size: 0, a: 1, b: 2 }, c: 9 };
        init((&raw mut newer).cast::<Sample>(), 12, |o| o.a = 3);
        assert_eq!((newer.sample.a, newer.c), (1, 9), "too small: nothing");
        init((&raw mut newer).cast::<Sample>(), 24, |o| o.a = 3);
        assert_eq!((newer.sample.struct_size, newer.sample.a, newer.sample.b, newer.c), (24, 3, 0, 0));
        init(std::ptr::null_mut::<Sample>(), 24, |_| ());
    }

    #[test]
    fn texts_are_cut_and_ended() {
        let mut buffer = [7 as c_char; 4];
        assert_eq!(write_text(b"abcdef", buffer.as_mut_ptr(), 4), 6);
        assert_eq!(buffer.map(|c| c as u8), *b"abc\0");
        assert_eq!(write_text(b"abcdef", std::ptr::null_mut(), 4), 6);
        assert_eq!(text(c"ok".as_ptr(), "t").unwrap(), "ok");
        assert_eq!(text(c"\xff".as_ptr(), "t").unwrap_err().status(), Status::InvalidArgument);
    }
}
