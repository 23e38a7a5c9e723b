//! A capture of the caller's, with the driver's own calls, on a stream of the caller's: nothing that the library does ends it,
//! and nothing slips into it. On the stand-in driver, each in a process of its own.

mod common;

use common::standin::{Cuda, moved};
use common::{buffer, hold, pair_of, read_device, release, status, stream};
use gpubuf::backend::{BackendKind, DeviceOptions};
use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Event, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{DecodeOptions, decode_defaults};
use gpubuf::sync::Arc;
use std::time::Duration;

const SHORT: Timeout = Timeout::Within(Duration::from_millis(5));
const LONG: Timeout = Timeout::Within(Duration::from_secs(60));
const GLOBAL: i32 = 0;

struct Rig {
    cuda: Cuda,
    device: Arc<Device>,
    /// The caller's stream, and its object.
    native: usize,
    theirs: Arc<Timeline>,
}

fn rig() -> Rig {
    let options = DeviceOptions { kind: Some(BackendKind::Cuda), ..Default::default() };
    let device = Device::open(&options, 0, "").expect("a device");
    let cuda = Cuda::open();
    assert_eq!(cuda.cuCtxSetCurrent(device.backend().facts().native_context), 0);
    // A blocking stream, as programs make them who do not think of it.
    let native = cuda.stream(0);
    // SAFETY: the stream lasts as long as the process.
    let theirs = unsafe { Timeline::wrap(&device, native, "theirs") }.expect("an object over it");
    Rig { cuda, device, native, theirs }
}

fn end_well(rig: &Rig) -> usize {
    let (mut graph, mut executable) = (0, 0);
    assert_eq!(rig.cuda.cuStreamEndCapture(rig.native, &mut graph), 0, "the capture is whole");
    assert_eq!(rig.cuda.cuGraphInstantiateWithFlags(&mut executable, graph, 0), 0);
    executable
}

fn set(buffer: &Buffer, value: u8) {
    buffer.fill(true, false, &[value], None, LONG).expect("a fill");
}

fn device_is(device: &Arc<Device>, buffer: &Buffer, value: u8) -> bool {
    let address = buffer.lock().expect("nobody else").memory(gpubuf::fence::Which::Device).expect("a side").device;
    read_device(device, address, 4096).iter().all(|byte| *byte == value)
}

#[test]
fn trap_3_a_global_capture_survives_everything_that_the_library_does() {
    if moved("trap_3_a_global_capture_survives_everything_that_the_library_does", &[]) {
        return;
    }
    let rig = rig();
    let Rig { cuda, device, native, theirs } = &rig;
    let (ours, one) = (stream(device), buffer(device, pair_of(4096)));
    let event = Event::create(device, false, "").expect("an event");
    let slots = decode_defaults(device, DecodeOptions::default(), "").expect("slots");
    let options = PoolOptions::new(Placement::Uva, 4096, 2);
    let pool = Pool::create(device, options).expect("a pool");
    one.copy(true, 0, ALL, &ours, None).expect("a copy");
    event.record(&ours).expect("a record");
    assert_eq!(cuda.cuStreamBeginCapture_v2(*native, GLOBAL), 0);

    // What names the capturing stream is refused, each time anew, and leaves it whole.
    let capturing = |what: &str, answer: Status| assert_eq!(answer, Status::Capturing, "{what}");
    for _ in 0..2 {
        capturing("copy up", status(one.copy(true, 0, ALL, theirs, None)));
        capturing("copy down", status(one.copy(false, 0, ALL, theirs, None)));
        capturing("blocking copy", status(one.copy(true, 0, ALL, theirs, Some(LONG))));
        capturing("fill", status(one.fill(false, true, &[1], Some(theirs), LONG)));
        capturing("used_on", status(one.used_on(theirs, Access::Write)));
        capturing("record", status(event.record(theirs)));
        capturing("wait for an event", status(event.order(theirs)));
        capturing("query", status(theirs.expect_idle()));
        capturing("synchronize", status(theirs.synchronize(LONG)));
        capturing("synchronize the device", status(device.synchronize(LONG)));
        capturing("drain", status(device.drain(LONG)));
        capturing("native wait", status(theirs.wait_native(cuda.event())));
        let lease = pool.acquire(0, LONG).expect("acquiring names no stream");
        lease.device_address().expect("an address");
        capturing("fence", status(lease.fence(std::slice::from_ref(theirs))));
        lease.declare_unread().expect("vouched for");
        lease.release().expect("a release");
    }

    // What does not is done as ever: other streams, new objects, frees, waits, from this thread and from others.
    let work = || {
        let (other, two) = (stream(device), buffer(device, pair_of(4096)));
        set(&two, 6);
        two.copy(true, 0, ALL, &other, Some(LONG)).expect("a blocking copy");
        two.copy(true, 0, ALL, &other, None).expect("a copy");
        set(&two, 7);
        other.synchronize(LONG).expect("a wait for a stream");
        drop((two, other));
        device.maintain();
        assert!(device.backend().await_frees(Some(std::time::Instant::now() + Duration::from_secs(60))));
    };
    work();
    std::thread::scope(|scope| scope.spawn(work).join().expect("the thread"));
    event.wait(LONG).expect("an event recorded before");
    set(&one, 1);
    drop(slots);
    device.maintain();

    let executable = end_well(&rig);
    assert_ne!(executable, 0);
    one.copy(true, 0, ALL, theirs, Some(LONG)).expect("afterwards all is well");
    device.drain(LONG).expect("a drain");
}

#[test]
fn a_graph_of_the_callers_re_reads_its_held_block_and_is_fenced() {
    if moved("a_graph_of_the_callers_re_reads_its_held_block_and_is_fenced", &[]) {
        return;
    }
    let rig = rig();
    let Rig { cuda, device, native, theirs } = &rig;
    let buffer = buffer(device, pair_of(4096));
    let graph_hold = GraphHold::create(device, "step").expect("a hold");
    graph_hold.add(buffer.clone(), Some(LONG)).expect("held");
    set(&buffer, 1);
    assert_eq!(cuda.cuStreamBeginCapture_v2(*native, GLOBAL), 0);
    graph_hold.capture(&*buffer, true, 0, ALL, theirs).expect("captured");
    let graph = end_well(&rig);
    assert_eq!(status(buffer.begin(Access::Write, 0, ALL, SHORT)), Status::Unfenced, "anybody might launch it");
    graph_hold.set_graph(graph as u64).expect("tied");
    for value in 2..5 {
        set(&buffer, value);
        graph_hold.launch(theirs).expect("a replay");
        theirs.synchronize(LONG).expect("it ran");
        assert!(device_is(device, &buffer, value), "each replay reads the block anew");
    }
    // The next fill waits for the replay that still reads.
    hold(theirs);
    graph_hold.launch(theirs).expect("a replay");
    assert_eq!(status(buffer.begin(Access::Write, 0, ALL, SHORT)), Status::Timeout);
    assert_eq!(status(buffer.detach(Timeout::Try)), Status::Unsupported, "it borrows nothing");
    release(theirs);
    set(&buffer, 9);
    assert_eq!(cuda.cuGraphExecDestroy(graph), 0);
    drop((graph_hold, buffer));
    device.drain(LONG).expect("a drain");
    assert_eq!(device.counters.pinned_bytes.get(), 0);
}

#[test]
fn a_copy_that_the_driver_does_not_capture_never_slips_through() {
    if moved("a_copy_that_the_driver_does_not_capture_never_slips_through", &[]) {
        return;
    }
    let rig = rig();
    let Rig { cuda, device, native, theirs } = &rig;
    let buffer = buffer(device, pair_of(4096));
    let graph_hold = GraphHold::create(device, "step").expect("a hold");
    graph_hold.add(buffer.clone(), Some(LONG)).expect("held");
    assert_eq!(cuda.cuStreamBeginCapture_v2(*native, GLOBAL), 0);
    // The driver refuses a call in a capture, and leaves the capture valid: without the copy in it.
    cuda.fail_next("cuMemcpyAsync", 900);
    let error = graph_hold.capture(&*buffer, true, 0, ALL, theirs).expect_err("told, not swallowed");
    assert_eq!(error.status(), Status::Capturing);
    set(&buffer, 1);
    graph_hold.capture(&*buffer, true, 0, ALL, theirs).expect("captured the second time");
    let graph = end_well(&rig);
    graph_hold.set_graph(graph as u64).expect("tied");
    graph_hold.launch(theirs).expect("a replay");
    theirs.synchronize(LONG).expect("it ran");
    assert!(device_is(device, &buffer, 1));
}
