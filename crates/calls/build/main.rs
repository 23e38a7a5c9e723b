//! Reads the header and writes the tables and the C shim that calls by number.

mod header;
mod roles;
mod write;

use std::path::Path;
use std::{env, fs};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in crates/calls");
    let path = root.join("include/gpubuf/gpubuf.h");
    println!("cargo:rerun-if-changed={}", path.display());
    println!("cargo:rerun-if-changed=build");
    let header = header::read(&fs::read_to_string(&path).expect("the header"));
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let out = Path::new(&out);
    fs::write(out.join("tables.rs"), write::tables(&header)).expect("the tables");
    let shim = out.join("shim.c");
    fs::write(&shim, write::shim(&header)).expect("the shim");
    cc::Build::new()
        .file(&shim)
        .include(root.join("include"))
        .flag("-std=c11")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .compile("gpubuf_calls_shim");
}
