//! A copy of a shared library that lacks some functions, as an older driver does.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::path::Path;

/// The section type of the symbols that `dlsym` finds.
const DYNAMIC_SYMBOLS: u32 = 11;
const SECTION_HEADER_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;

/// Copies the 64-bit ELF library to `out` with the dynamic symbols of these names renamed, so that `dlsym` does not
/// find them in the copy. A symbol cannot be hidden at run time, hence the copy.
///
/// # Errors
/// What reading and writing give; `InvalidData` for a file that is no such library; `NotFound` for a name that it does
/// not have.
pub fn without_symbols(library: &Path, names: &[&str], out: &Path) -> Result<()> {
    let mut file = fs::read(library)?;
    let strings = dynamic_names(&file).ok_or_else(|| Error::new(ErrorKind::InvalidData, "not a 64-bit ELF library"))?;
    for name in names {
        let found = strings.iter().find(|range| file.get((*range).clone()) == Some(name.as_bytes()));
        let range = found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no dynamic symbol {name}")))?.clone();
        // The hash table still leads the old name here, where it no longer matches.
        file[range].fill(b'!');
    }
    fs::write(out, file)
}

/// Where in the file the dynamic symbols' names are.
fn dynamic_names(file: &[u8]) -> Option<Vec<Range<usize>>> {
    // 64-bit, little-endian.
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let headers = number(file, 40, 8)?;
    let header = |index: usize| {
        let start = headers.checked_add(index.checked_mul(SECTION_HEADER_BYTES)?)?;
        file.get(start..start.checked_add(SECTION_HEADER_BYTES)?)
    };
    let count = number(file, 60, 2)?;
    let symbols = (0..count).filter_map(header).find(|it| number(it, 4, 4) == Some(DYNAMIC_SYMBOLS as usize))?;
    let strings = header(number(symbols, 40, 4)?)?;
    let (start, bytes) = (number(symbols, 24, 8)?, number(symbols, 32, 8)?);
    let (first, length) = (number(strings, 24, 8)?, number(strings, 32, 8)?);
    let strings_end = first.checked_add(length)?;
    let mut names = Vec::new();
    for symbol in file.get(start..start.checked_add(bytes)?)?.chunks_exact(SYMBOL_BYTES) {
        let name = first.checked_add(number(symbol, 0, 4)?)?;
        let length = file.get(name..strings_end)?.iter().position(|byte| *byte == 0)?;
        names.push(name..name + length);
    }
    Some(names)
}

/// A little-endian number of the file.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}
