//! Staged rows on the CUDA driver: the kernel is loaded once for each device and launched for each apply; where the driver does
//! not take it, copies go in its place, and it is said.

mod common;

use common::standin::{Cuda, library, moved, run_alone};
use common::{read_device, stream};
use gpubuf::backend::{BackendKind, DeviceOptions};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::Dtype;
use gpubuf::fence::{Device, Member};
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::Arc;

fn open() -> Arc<Device> {
    Device::open(&DeviceOptions { kind: Some(BackendKind::Cuda), ..Default::default() }, 0, "").expect("a device")
}

fn rows(device: &Arc<Device>) -> Arc<StagedRows> {
    let (dtype, placement, release) = (Dtype::U8, Placement::Device, None);
    let table = Over::Own { dtype, rows: 4, row_elements: 8, capacity_rows: 0, placement, device_memory: 0, release };
    StagedRows::create(device, StagedRowsOptions::default(), table, "").expect("staged rows")
}

fn stage(rows: &StagedRows, row: u64, first: u64, values: &[u8]) {
    // SAFETY: as many values.
    unsafe { rows.stage(row, first, values.as_ptr(), values.len() as u64) }.expect("room");
}

/// Applies three writes, of which one covers a part of another; gives the calls that took: copies and launches.
fn apply(device: &Arc<Device>, rows: &StagedRows) -> [u64; 2] {
    let cuda = Cuda::open();
    let stream = stream(device);
    stage(rows, 0, 1, b"abcd");
    stage(rows, 0, 2, b"XY");
    stage(rows, 3, 0, b"efghijkl");
    let calls = || ["cuMemcpyAsync", "cuLaunchKernel"].map(|name| cuda.calls(name));
    let before = calls();
    rows.apply(&stream, &[], Timeout::Infinite).expect("an apply");
    let after = calls();
    stream.synchronize(Timeout::Infinite).expect("it runs");
    let address = rows.device_address(std::slice::from_ref(&stream)).expect("an address");
    assert_eq!(read_device(device, address, 32), b"\0aXYd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0efghijkl");
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn an_apply_is_one_copy_and_one_launch_of_a_kernel_that_is_loaded_once() {
    if moved("an_apply_is_one_copy_and_one_launch_of_a_kernel_that_is_loaded_once", &[]) {
        return;
    }
    let (cuda, device) = (Cuda::open(), open());
    let (first, second) = (rows(&device), rows(&device));
    assert_eq!(apply(&device, &first), [1, 1]);
    assert_eq!(apply(&device, &second), [1, 1]);
    assert_eq!(cuda.calls("cuModuleLoadDataEx"), 1);
    drop((first, second));
    device.drain(Timeout::Infinite).expect("an idle device");
    drop(device);
    assert_eq!(cuda.calls("cuModuleUnload"), 1, "it goes with the device");
}

#[test]
fn a_kernel_that_is_refused_is_replaced_by_copies_and_that_is_told() {
    if moved("a_kernel_that_is_refused_is_replaced_by_copies_and_that_is_told", &[]) {
        return;
    }
    let device = open();
    // CUDA_ERROR_UNSUPPORTED_PTX_VERSION.
    Cuda::open().fail_next("cuModuleLoadDataEx", 222);
    let it = rows(&device);
    assert!(!it.by_kernel() && it.describe().contains("the PTX is newer than the driver"), "{}", it.describe());
    // Four pieces: the write that another one cuts in two, and the other two.
    assert_eq!(apply(&device, &it), [4, 0]);
    let stats = it.stats().expect("figures");
    assert_eq!((stats.copies, stats.scatters, stats.copied_bytes), (4, 0, 12));
    assert_eq!(it.record().get("by_kernel"), Some(&false.into()));
    // A refusal is not remembered.
    assert!(rows(&device).by_kernel());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn without_kernels() {
    let device = open();
    let it = rows(&device);
    assert!(!it.by_kernel() && it.describe().contains("no functions for modules"), "{}", it.describe());
    assert_eq!(apply(&device, &it), [4, 0]);
}

#[test]
fn a_driver_without_launches_will_do() {
    let path = std::env::temp_dir().join(format!("gpubuf-no-kernels-{}.so", std::process::id()));
    gpubuf_standin_cuda::without_symbols(&library(), &["cuModuleGetFunction"], &path).expect("a copy of the stand-in");
    let output = run_alone("without_kernels", &path, &[]);
    let _ = std::fs::remove_file(&path);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
}
