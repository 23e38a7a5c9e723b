//! How the shared library is linked.

fn main() {
    // A program that links or opens "libcuda.so.1" after this library was loaded gets this one.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    // Streams' threads run this code: a dlclose must not take it from under them.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Its own references stay inside, whatever else in the process has functions of these names.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    println!("cargo:rerun-if-changed=build.rs");
}
