//! Windows of buffers on the CUDA driver: one two-dimensional copy, unless the driver cannot take it as one.

mod common;

use common::standin::{Cuda, moved};
use common::{buffer, hold, kit, pair_of, read_device, release, status, stream};
use gpubuf::backend::{BackendKind, DeviceOptions, DeviceSettings, PinnedMethod};
use gpubuf::buffer::BufferOptions;
use gpubuf::config::{ALL, Timeout};
use gpubuf::dtype::Shape;
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device};
use gpubuf::graph::GraphHold;
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

/// Rows of a window that are in the graph are read by its replays, also where the driver refused a later row.
#[test]
fn a_window_of_which_some_rows_were_captured_is_read_by_replays() {
    if moved("a_window_of_which_some_rows_were_captured_is_read_by_replays", &[]) {
        return;
    }
    let settings = DeviceSettings { pinned: PinnedMethod::Register, register_bytes: 65_536, ..Default::default() };
    let (device, cuda) = (open(settings), Cuda::open());
    let [stream, launches] = [(); 2].map(|()| stream(&device));
    let matrix = buffer(&device, BufferOptions { shape: Shape::new(&[12, 30_000]).expect("a shape"), ..pair_of(1) });
    let window = matrix.window((1, 10), (3, 29_995)).expect("a window");
    let graph = GraphHold::create(&device, "").expect("a hold");
    graph.add(matrix.clone(), Some(Timeout::Try)).expect("held");
    let write = || {
        let begun = matrix.begin(Access::Write, 0, ALL, Timeout::Try);
        begun.and_then(|(_, token)| matrix.end(Access::Write, token)).map_err(|error| error.status())
    };

    // Nothing was captured: nothing has changed.
    kit(&stream).begin_capture().expect("a capture");
    cuda.fail_next("cuMemcpyAsync", 1);
    graph.capture(&*window, true, 0, ALL, &stream).expect_err("the first row is refused");
    kit(&stream).end_capture().expect("a graph");
    assert_eq!(write(), Ok(()));

    kit(&stream).begin_capture().expect("a capture");
    let name = std::ffi::CString::new("cuMemcpyAsync").expect("a name");
    assert_eq!(cuda.gpubuf_standin_fail_call(name.as_ptr(), 4, 1), 0);
    graph.capture(&*window, true, 0, ALL, &stream).expect_err("a later row is refused");
    let executable = kit(&stream).end_capture().expect("a graph");
    assert_eq!(write(), Err(Status::Unfenced), "anybody may launch it");
    graph.set_graph(executable).expect("a graph");
    assert_eq!(write(), Ok(()));
    hold(&launches);
    graph.launch(&launches).expect("a launch");
    assert_eq!(write(), Err(Status::Busy), "it reads the rows that it has");
    release(&launches);
    assert_eq!(write(), Ok(()));
    assert_eq!(status(device.drain(Timeout::Infinite)), Status::Ok);
}
