//! Windows of buffers on the CUDA driver: one two-dimensional copy, unless the driver cannot take it as one.

mod common;

use common::standin::{Cuda, moved};
use common::{buffer, pair_of, read_device, stream};
use gpubuf::backend::{BackendKind, DeviceOptions, DeviceSettings, PinnedMethod};
use gpubuf::buffer::BufferOptions;
use gpubuf::config::{ALL, Timeout};
use gpubuf::dtype::Shape;
use gpubuf::fence::Device;
use gpubuf::sync::Arc;

fn open(settings: DeviceSettings) -> Arc<Device> {
    Device::open(&DeviceOptions { kind: Some(BackendKind::Cuda), settings, ..Default::default() }, 0, "")
        .expect("a device")
}

/// A matrix of so many rows and columns of bytes, sent through a window of it; gives the driver's calls of both kinds.
fn send(device: &Arc<Device>, rows: u64, columns: u64) -> [u64; 2] {
    let cuda = Cuda::open();
    let stream = stream(device);
    let shape = Shape::new(&[rows, columns]).expect("a shape");
    let matrix = buffer(device, BufferOptions { shape, ..pair_of(1) });
    let pattern: Vec<u8> = (0..rows * columns).map(|at| (at / 7) as u8 | 1).collect();
    // SAFETY: as many bytes as the buffer has.
    unsafe { matrix.copy_in(0, ALL, pattern.as_ptr(), Timeout::Infinite) }.expect("a write");
    let window = matrix.window((1, rows - 2), (3, columns - 5)).expect("a window");
    let calls = || ["cuMemcpy2DAsync_v2", "cuMemcpyAsync"].map(|name| cuda.calls(name));
    let before = calls();
    window.copy(true, 0, ALL, &stream, Some(Timeout::Infinite)).expect("a copy");
    let after = calls();
    let address = matrix.device_address(std::slice::from_ref(&stream)).expect("an address");
    let found = read_device(device, address, rows * columns);
    for (at, byte) in found.iter().enumerate() {
        let (row, column) = (at as u64 / columns, at as u64 % columns);
        let inside = (1..rows - 1).contains(&row) && (3..columns - 2).contains(&column);
        assert_eq!(*byte, if inside { pattern[at] } else { 0 }, "row {row}, column {column}");
    }
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn a_window_is_one_copy() {
    if moved("a_window_is_one_copy", &[]) {
        return;
    }
    assert_eq!(send(&open(DeviceSettings::default()), 40, 100), [1, 0]);
}

#[test]
fn a_window_over_several_registrations_goes_by_rows() {
    if moved("a_window_over_several_registrations_goes_by_rows", &[]) {
        return;
    }
    let settings = DeviceSettings { pinned: PinnedMethod::Register, register_bytes: 65_536, ..Default::default() };
    // 12 rows of 30,000 bytes: 10 in the window, of which 5 lie over an edge at a multiple of 65,536.
    assert_eq!(send(&open(settings), 12, 30_000), [0, 15]);
}
