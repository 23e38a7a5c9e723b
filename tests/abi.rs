//! What compiled programs know of the library stays as it is: the exports, the SONAME, and what tests/abi keeps of the version.
//! docs/abi.md says what is promised.

#[path = "abi/difference.rs"]
mod difference;
#[path = "abi/dump.rs"]
mod dump;
#[path = "c_api/program.rs"]
mod program;

use difference::{Difference, differences};
use dump::Abi;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The shared library that cargo built together with this test.
fn library() -> PathBuf {
    let test = env::current_exe().expect("this test has a path");
    let beside = test.with_file_name("libgpubuf.so");
    if beside.exists() {
        return beside;
    }
    let above = test.parent().and_then(Path::parent).expect("a target directory").join("libgpubuf.so");
    assert!(above.exists(), "no libgpubuf.so at {} nor at {}", beside.display(), above.display());
    above
}

fn output(tool: &str, arguments: &[&str]) -> String {
    let path = library();
    let out = Command::new(tool)
        .args(arguments)
        .arg(&path)
        .output()
        .unwrap_or_else(|error| panic!("{tool} (binutils) is needed here: {error}"));
    assert!(out.status.success(), "{tool} {}: {}", path.display(), String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// The names before a parenthesis in the declarations marked `GPUBUF_API`.
fn declared() -> BTreeSet<String> {
    let header =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/gpubuf/gpubuf.h")).expect("the header");
    let declarations = header.split("\nGPUBUF_API").skip(1);
    declarations
        .map(|text| {
            let before = text.split('(').next().expect("a declaration");
            before.rsplit(|c: char| c.is_whitespace() || c == '*').next().expect("a name").to_owned()
        })
        .collect()
}

fn exported() -> BTreeSet<String> {
    output("nm", &["-D", "--defined-only"])
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(str::to_owned)
        // The header never has the functions of a test build.
        .filter(|name| !(cfg!(feature = "mutants") && name.starts_with("gpubuf_mutant_")))
        .collect()
}

#[test]
fn the_exports_are_the_functions_of_the_header() {
    let (declared, exported) = (declared(), exported());
    assert!(!declared.is_empty(), "the header declares nothing");
    let missing: Vec<_> = declared.difference(&exported).collect();
    let surplus: Vec<_> = exported.difference(&declared).collect();
    assert!(missing.is_empty(), "declared and not exported: {missing:?}");
    assert!(surplus.is_empty(), "exported and not declared: {surplus:?}");
}

#[test]
fn every_name_has_the_prefix() {
    let stray: Vec<_> = declared().into_iter().filter(|name| !name.starts_with("gpubuf_")).collect();
    assert!(stray.is_empty(), "without the prefix gpubuf_: {stray:?}");
}

#[test]
fn the_soname_changes_with_the_minor_version() {
    let wanted = match (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")) {
        ("0", minor) => format!("[libgpubuf.so.0.{minor}]"),
        (major, _) => format!("[libgpubuf.so.{major}]"),
    };
    let dynamic = output("readelf", &["-d"]);
    let soname = dynamic.lines().find(|line| line.contains("(SONAME)")).unwrap_or("none");
    assert!(soname.contains(&wanted), "the SONAME is {soname}, not {wanted}");
}

#[test]
fn the_header_has_the_version_of_the_library() {
    let header =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/gpubuf/gpubuf.h")).expect("the header");
    let parts = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    for (name, value) in ["MAJOR", "MINOR", "PATCH"].into_iter().zip(parts) {
        let wanted = format!("#define GPUBUF_VERSION_{name} {value}\n");
        assert!(header.contains(&wanted), "the header lacks: {wanted}");
    }
}

/// What the interface of this version is kept in.
const KEPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/abi/",
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR")
);

const BLESS: &str = "GPUBUF_BLESS=1 cargo test -p gpubuf --test abi";

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The interface that the compiler finds in `gpubuf/gpubuf.h` of a folder.
fn abi_of(folder: &str, name: &str) -> Abi {
    let probe = dump::probe(&read(&format!("{folder}/gpubuf/gpubuf.h")));
    Abi::read(&program::output_of_generated(name, &probe, folder.as_ref()))
}

fn current() -> Abi {
    abi_of(concat!(env!("CARGO_MANIFEST_DIR"), "/include"), "abi_probe")
}

/// The part of the changelog on this version: its heading, and its text.
fn changelog() -> (String, String) {
    let text = read(concat!(env!("CARGO_MANIFEST_DIR"), "/CHANGELOG.md"));
    let wanted = concat!("## ", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"), ".");
    let part = text.split_inclusive('\n').skip_while(|line| !line.starts_with(wanted));
    let mut part = part.take_while(|line| !line.starts_with("## ") || line.starts_with(wanted));
    let heading = part.next().unwrap_or_else(|| panic!("CHANGELOG.md has no part on {wanted}")).to_owned();
    (heading, part.collect())
}

/// Whether a text has the name, or the beginning of it with a `*` behind.
fn names(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '*';
    text.split(|c| !part(c)).any(|word| match word.strip_suffix('*') {
        Some(beginning) => beginning.len() > "gpubuf_".len() && name.starts_with(beginning),
        None => word == name,
    })
}

fn unnamed(changes: &[Difference]) -> Vec<&str> {
    let (_, text) = changelog();
    let names: BTreeSet<_> =
        changes.iter().map(|change| change.name.as_str()).filter(|name| !names(&text, name)).collect();
    names.into_iter().collect()
}

fn list<T: ToString>(entries: &[T]) -> String {
    entries.iter().map(|entry| format!("\n  {}", entry.to_string())).collect()
}

/// Compares, and writes anew what may change. While a minor version is not released everything may.
#[test]
fn the_interface_is_the_kept_one() {
    let now = current();
    let (dump, header) = (format!("{KEPT}/abi.txt"), format!("{KEPT}/gpubuf/gpubuf.h"));
    let known = fs::read_to_string(&dump).map(|text| Abi::read(&text)).unwrap_or_else(|_| now.clone());
    let changes = differences(&known, &now);
    let unreleased = changelog().0.contains("(unreleased)");
    let breaks = changes.iter().any(|change| change.breaks);
    assert!(
        unreleased || !breaks,
        "the interface of a released version broke; what breaks needs a new minor version:{}",
        list(&changes)
    );
    let unnamed = unnamed(&changes);
    assert!(
        unnamed.is_empty(),
        "CHANGELOG.md does not name, in the part on this version (gpubuf_x_* stands for all that begin so):{}\nof the changes:{}\nThen: {BLESS}",
        list(&unnamed),
        list(&changes)
    );
    if env::var_os("GPUBUF_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(format!("{KEPT}/gpubuf")).expect("a folder");
        fs::write(&dump, format!("# What compiled programs know. Written by {BLESS}\n{}", now.text()))
            .expect("the dump");
        // Programs were compiled with the first header of this version: the one kept is renewed where it broke only.
        let broke = || differences(&abi_of(KEPT, "abi_probe_kept"), &now).iter().any(|change| change.breaks);
        if !fs::exists(&header).unwrap_or(false) || broke() {
            fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/include/gpubuf/gpubuf.h"), &header).expect("the header");
        }
        return;
    }
    assert!(fs::exists(&dump).unwrap_or(false), "{dump} is missing: {BLESS}");
    assert!(changes.is_empty(), "the interface is not the kept one. If that is meant: {BLESS}{}", list(&changes));
}

/// All that came after the kept header is an addition, and the changelog tells of it.
#[test]
fn programs_of_the_kept_header_still_work() {
    let added = differences(&abi_of(KEPT, "abi_probe_old"), &current());
    let breaks: Vec<_> = added.iter().filter(|change| change.breaks).collect();
    assert!(breaks.is_empty(), "the kept header broke: {BLESS}{}", list(&breaks));
    let unnamed = unnamed(&added);
    assert!(unnamed.is_empty(), "CHANGELOG.md does not name:{}", list(&unnamed));
    let source = Path::new(KEPT).join("program.c");
    program::run_against(KEPT.as_ref(), "abi_program", &source, &[("GPUBUF_BACKEND", "host".into())]);
}

/// Every byte of a struct has a meaning: what is behind the fields of an older caller can then be told from what it set.
#[test]
fn no_struct_has_padding() {
    let mut complaints = Vec::new();
    for (name, layout) in &abi_of(concat!(env!("CARGO_MANIFEST_DIR"), "/include"), "abi_probe_padding").structs {
        let mut end = 0;
        for field in &layout.fields {
            if field.offset != end {
                complaints.push(format!("{name}: {} bytes before {}", field.offset - end, field.name));
            }
            end = field.offset + field.size;
        }
        if end != layout.size {
            complaints.push(format!("{name}: {} bytes at its end", layout.size - end));
        }
    }
    assert!(
        complaints.is_empty(),
        "padding: name it reserved, and have it refused unless it is 0:{}",
        list(&complaints)
    );
}

#[test]
fn a_change_is_told_apart_from_an_addition() {
    let before = Abi::read(
        "function gpubuf_a: void (int x)\nfunction gpubuf_b: void (int x)\nnumber GPUBUF_ONE: 1\n\
         struct gpubuf_s: 16 bytes, aligned to 8\n  struct_size: 4 bytes at 0, uint32_t\n  reserved: 4 bytes at 4, uint32_t\n  last: 8 bytes at 8, uint64_t\n\
         struct gpubuf_entry: 8 bytes, aligned to 8\n  first: 8 bytes at 0, uint64_t\n",
    );
    assert_eq!(Abi::read(&before.text()).text(), before.text());
    let told = |from: &str, to: &str| {
        let text = before.text();
        assert!(text.contains(from), "{from} is not in it");
        let changes = differences(&before, &Abi::read(&text.replacen(from, to, 1)));
        changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told("number", "number GPUBUF_TWO: 2\nnumber"), "addition: GPUBUF_TWO: a new number");
    assert_eq!(told("ONE: 1", "ONE: 2"), "BREAK: GPUBUF_ONE: the number was 1, and is 2");
    assert_eq!(told("function gpubuf_b: void (int x)\n", ""), "BREAK: gpubuf_b: the function is gone");
    assert_eq!(
        told("b: void (int x)", "b: void (long x)"),
        "BREAK: gpubuf_b: the function was void (int x), and is void (long x)"
    );
    assert_eq!(told("reserved: 4", "fresh: 4"), "addition: gpubuf_s: fresh is new, 4 bytes at 4, uint32_t");
    assert_eq!(
        told("last: 8 bytes at 8, uint64_t", "last: 8 bytes at 8, uint64_t\n  more: 8 bytes at 16, uint64_t"),
        "addition: gpubuf_s: more is new, 8 bytes at 16, uint64_t"
    );
    assert_eq!(
        told("last: 8 bytes at 8, uint64_t", "last: 8 bytes at 8, int64_t"),
        "BREAK: gpubuf_s: last was 8 bytes at 8, uint64_t, and is 8 bytes at 8, int64_t"
    );
    assert_eq!(
        told("last: 8 bytes at 8", "other: 8 bytes at 8"),
        "BREAK: gpubuf_s: last is gone; BREAK: gpubuf_s: other is new, 8 bytes at 8, uint64_t"
    );
    assert_eq!(
        told("gpubuf_s: 16", "gpubuf_s: 24"),
        "addition: gpubuf_s: had 16 bytes, and has 24 (growing!: from 16)"
    );
    assert_eq!(
        told("gpubuf_entry: 8", "gpubuf_entry: 16"),
        "BREAK: gpubuf_entry: had 8 bytes, and has 16 (growing!: from 8)"
    );
    assert_eq!(told("aligned to 8", "aligned to 4"), "BREAK: gpubuf_entry: was aligned to 8, and is to 4");
}

#[test]
fn a_name_is_found_in_the_changelog() {
    for text in ["with `gpubuf_pool_trim`.", "gpubuf_pool_*", "gpubuf_pool_trim, gpubuf_x", "x gpubuf_po*"] {
        assert!(names(text, "gpubuf_pool_trim"), "{text}");
    }
    for text in ["gpubuf_pool_trim_all", "gpubuf_pool", "pools", "gpubuf_*", "*", "gpubuf_block_*"] {
        assert!(!names(text, "gpubuf_pool_trim"), "{text}");
    }
}
