//! Gives the shared library its SONAME (while the major version is 0, every minor version is its own ABI) and keeps it loaded.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let version = |part: &str| env::var(format!("CARGO_PKG_VERSION_{part}")).expect("cargo sets the version");
    let (major, minor) = (version("MAJOR"), version("MINOR"));
    let abi = if major == "0" { format!("0.{minor}") } else { major };
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libgpubuf.so.{abi}");
        // Threads of the library, and functions that it gave to a driver, may still run when a program lets go of it.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
