//! Copies of the library that lack functions.

mod common;
use common::*;
use gpubuf_standin_cuda::without_symbols;

#[test]
fn a_copy_lacks_the_named_functions_and_has_the_others() {
    let directory = std::env::temp_dir().join(format!("gpubuf-standin-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("libcuda.so.1");
    without_symbols(&library(), &["cuMemAllocAsync", "cuMemcpyBatchAsync"], &path).unwrap();
    let copy = Library::open(&path);
    assert_eq!(copy.find("cuMemAllocAsync"), None);
    assert_eq!(copy.find("cuMemcpyBatchAsync"), None);
    for there in ["cuMemcpyBatchAsync_v2", "cuMemAlloc_v2", "cuMemFreeAsync", "gpubuf_standin_version"] {
        assert!(copy.find(there).is_some(), "{there}");
    }
    let copy = Cuda::open(&path);
    ok(copy.cuInit(0));
    assert_eq!(made(|count| copy.cuDeviceGetCount(count)), 2);
    // The library itself has them all.
    assert!(Library::open(&library()).find("cuMemAllocAsync").is_some());

    let error = without_symbols(&library(), &["cuNothing"], &path).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let text = directory.join("text");
    for content in [&b"text"[..], &[], &b"\x7fELF\x02\x01 and nothing else"[..]] {
        std::fs::write(&text, content).unwrap();
        let error = without_symbols(&text, &[], &path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_library_is_found_by_the_drivers_name_once_it_is_loaded() {
    let ours = Library::open(&library());
    let by_name = Library::open(std::path::Path::new("libcuda.so.1"));
    assert_eq!(ours.find("cuInit"), by_name.find("cuInit"));
}
