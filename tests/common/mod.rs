//! What the Rust tests are made of: a device of the backend under test, streams that can be held shut, and a look at memory.
#![allow(dead_code)]

use gpubuf::backend::kit::{DeviceKit, StreamKit, View};
pub mod random;
pub mod standin;

use gpubuf::backend::{BackendKind, DeviceOptions};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::Placement;
use gpubuf::config::debug::Debug;
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Device, Timeline};
use gpubuf::sync::{Arc, AtomicBool, Ordering};

/// The backend under test: that of `GPUBUF_BACKEND`, else the host's, whatever the machine has.
pub fn backend() -> BackendKind {
    match std::env::var("GPUBUF_BACKEND").as_deref() {
        Ok("cuda") => BackendKind::Cuda,
        _ => BackendKind::Host,
    }
}

/// Whether a copy can fail when it runs and leave the device whole: never with the CUDA driver.
pub fn copies_fail_alone() -> bool {
    backend() == BackendKind::Host
}

pub fn device() -> Arc<Device> {
    Device::open(&options(), 0, "").expect("a device")
}

/// The first device of the backend under test. With the stand-in driver it is as new: a context of its own, and no faults.
pub fn options() -> DeviceOptions {
    let native_context = if backend() == BackendKind::Cuda { standin::fresh_context() } else { 0 };
    let debug = Debug::from_environment().expect("a mode");
    DeviceOptions { kind: Some(backend()), native_context, debug, ..Default::default() }
}

pub fn stream(device: &Arc<Device>) -> Arc<Timeline> {
    Timeline::create(device, "").expect("a stream")
}

/// The test kit of a stream.
pub fn kit(timeline: &Timeline) -> &dyn StreamKit {
    timeline.stream().kit().expect("a stream with a test kit")
}

/// The test kit of a device.
pub fn kit_of(device: &Device) -> &dyn DeviceKit {
    device.backend().kit().expect("a device with a test kit")
}

/// Loses a device, and has the library notice: that takes a call of the driver's.
pub fn lose(device: &Device) {
    kit_of(device).lose().expect("a loss");
    device.backend().synchronize(None).expect_err("the loss is noticed");
}

/// Shuts a stream, in another thread's name: waits for it are waits then, not deadlocks.
pub fn hold(timeline: &Arc<Timeline>) {
    let timeline = timeline.clone();
    std::thread::spawn(move || kit(&timeline).hold()).join().expect("the thread").expect("a hold");
}

/// Waits until the stream has run, and reports nothing.
pub fn ran(timeline: &Timeline) {
    timeline.stream().synchronize(None).expect("an opened stream ends");
}

/// What a call answers to a function that runs on the stream.
pub fn called_on<T>(timeline: &Timeline, mut call: impl FnMut() -> T) -> T {
    type Shared<'a, T> = (&'a mut dyn FnMut() -> T, Option<T>);
    fn answer<T>(_: &dyn View, [shared, _]: [usize; 2]) {
        // SAFETY: the caller waits for this function with what it shares alive, and does not touch it.
        let (call, answer) = unsafe { &mut *(shared as *mut Shared<'_, T>) };
        *answer = Some(call());
    }
    let mut shared: Shared<'_, T> = (&mut call, None);
    kit(timeline).call(answer::<T>, [&raw mut shared as usize, 0]).expect("a call");
    ran(timeline);
    shared.1.expect("an answer")
}

/// Lets a stream run, and waits until it has.
pub fn release(timeline: &Timeline) {
    kit(timeline).release().expect("a release");
    ran(timeline);
}

/// Queues a short delay, so that the stream has work.
pub fn busy(timeline: &Timeline) {
    kit(timeline).delay(1).expect("a delay");
}

/// Keeps a stream busy until it is opened, also one that nobody has a handle to any more.
#[derive(Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn shut(&self, timeline: &Timeline) {
        fn wait(_: &dyn View, [open, _]: [usize; 2]) {
            // SAFETY: the pointer stands for a reference that was leaked for this one call.
            let open = unsafe { Arc::from_raw(open as *const AtomicBool) };
            while !open.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        let open = Arc::into_raw(self.0.clone()) as usize;
        kit(timeline).call(wait, [open, 0]).expect("a call");
    }

    pub fn open(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Memory as the device sees it now, by its device address.
pub fn read_device(device: &Arc<Device>, address: u64, bytes: u64) -> Vec<u8> {
    fn read(view: &dyn View, [out, _]: [usize; 2]) {
        // SAFETY: the caller waits for this function with the vector alive.
        let out = unsafe { &mut *(out as *mut (u64, Vec<u8>)) };
        // SAFETY: the vector has room for its length.
        unsafe { view.read(out.0, out.1.as_mut_ptr(), out.1.len()) }.expect("device memory");
    }
    let mut out = (address, vec![0u8; bytes as usize]);
    let timeline = stream(device);
    kit(&timeline).call(read, [&raw mut out as usize, 0]).expect("a call");
    ran(&timeline);
    out.1
}

/// Options of a pinned host side and a device side of so many bytes.
pub fn pair_of(bytes: u64) -> BufferOptions {
    BufferOptions {
        dtype: Dtype::U8,
        shape: Shape::new(&[bytes]).expect("a shape"),
        host: Placement::Pinned,
        device: Placement::Device,
        host_memory: std::ptr::null_mut(),
        device_memory: 0,
        release: None,
        label: String::new(),
    }
}

pub fn buffer(device: &Arc<Device>, options: BufferOptions) -> Arc<Buffer> {
    Buffer::create(device, options).expect("a buffer")
}

pub fn status<T>(result: Result<T>) -> Status {
    match result {
        Ok(_) => Status::Ok,
        Err(error) => error.status(),
    }
}
