//! The shared library exports exactly the functions that the header declares, under the SONAME of this minor version.

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
