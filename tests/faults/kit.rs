//! One run of the scenario: which faults are armed, what may be answered, and what must be left at the end.

use crate::common::standin::Cuda;
use crate::common::{backend, kit, kit_of};
use gpubuf::backend::BackendKind;
use gpubuf::backend::kit::{Census, FailWhen, Operation, View};
use gpubuf::config::Timeout;
use gpubuf::error::{Error, Result, Status};
use gpubuf::fence::{Device, Timeline};
use gpubuf::sync::{Arc, Mutex};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_void};
use std::time::{Duration, Instant};

/// Only a hang reaches it: a wait that ends by it fails the run.
pub const LONG: Timeout = Timeout::Within(Duration::from_secs(20));
/// A run that is not over by then hangs, and the process with it is ended.
const MOST: Duration = Duration::from_secs(120);
/// What a driver says that says nothing.
pub const UNKNOWN: c_int = 999;
/// No memory.
pub const OUT_OF_MEMORY: c_int = 2;
/// The context is lost.
pub const LOST: c_int = 719;

/// What can fail on the host backend, but for delays and functions, which only a test kit queues.
pub const KINDS: [Operation; 9] = [
    Operation::Copy,
    Operation::Fill,
    Operation::Kernel,
    Operation::Record,
    Operation::Wait,
    Operation::Allocation,
    Operation::Registration,
    Operation::Stream,
    Operation::Event,
];

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The nth operation of a kind.
    Operation { kind: Operation, nth: u64, when: FailWhen },
    /// The nth call of a function of the driver's returns a code.
    Call { function: String, nth: u64, code: c_int },
    /// The device is lost before the nth call of any function of the driver's.
    LossAtCall { nth: u64 },
    /// The device is lost before the nth step of the scenario.
    LossAtStep { nth: u64 },
}

impl Fault {
    pub fn loses(&self) -> bool {
        match self {
            Fault::Operation { when, .. } => {
                *when == FailWhen::Loss || (*when == FailWhen::Execution && backend() == BackendKind::Cuda)
            }
            Fault::Call { code, .. } => *code == LOST,
            Fault::LossAtCall { .. } | Fault::LossAtStep { .. } => true,
        }
    }

    /// Whether the driver refuses to take something back, which then stays with it.
    fn keeps(&self) -> bool {
        let ends = |function: &str| {
            ["Free", "Destroy", "Unregister", "Unload", "cuCtx", "cuThread"].iter().any(|word| function.contains(word))
        };
        matches!(self, Fault::Call { function, .. } if ends(function))
    }

    /// Whether an answer is one that the documents give for this fault. What is refused because of an answer before, of the
    /// same part of the scenario, never shows: that part is over by then.
    fn explains(&self, status: Status) -> bool {
        use Status::*;
        if self.loses() {
            return matches!(status, DeviceLost | Quarantined);
        }
        match self {
            Fault::Operation { when: FailWhen::Execution, .. } => status == CopyFailed,
            Fault::Operation { kind: Operation::Record, .. } => matches!(status, DriverError | Quarantined),
            Fault::Operation { kind: Operation::Allocation, .. } => {
                matches!(status, OutOfHostMemory | OutOfDeviceMemory)
            }
            Fault::Operation { kind, .. } if kind.makes() => status == OutOfHostMemory,
            Fault::Operation { .. } => status == DriverError,
            Fault::Call { function, code: OUT_OF_MEMORY, .. } => {
                matches!(status, OutOfHostMemory | OutOfDeviceMemory)
                    || (quarantines(function) && status == Quarantined)
            }
            Fault::Call { function, .. } => {
                status == DriverError
                    || (quarantines(function) && matches!(status, Quarantined | DeviceLost))
                    // Who only tries to ask is told that nothing is known yet.
                    || (enters(function) && status == Busy)
            }
            _ => false,
        }
    }
}

/// Functions without which it cannot be proven that work is done: those that record and ask, those that are asked before a fence
/// is recorded, and those by which any call gets to its context.
fn quarantines(function: &str) -> bool {
    enters(function) || function.starts_with("cuEvent") || function.starts_with("cuStream")
}

/// Functions by which any call gets to its context, and questions to events as well.
fn enters(function: &str) -> bool {
    ["cuCtx", "cuThread"].iter().any(|word| function.starts_with(word))
}

/// The stand-in's controls, where it is the driver.
pub fn driver() -> Option<&'static Cuda> {
    static DRIVER: gpubuf::sync::OnceLock<Option<Cuda>> = gpubuf::sync::OnceLock::new();
    DRIVER.get_or_init(|| (backend() == BackendKind::Cuda).then(Cuda::open)).as_ref()
}

/// Does what no fault may meet, nor counter count.
pub fn unseen<R>(work: impl FnOnce() -> R) -> R {
    let count = |counts| driver().map(|driver| driver.gpubuf_standin_count_thread(counts));
    count(0);
    let result = work();
    count(1);
    result
}

/// One run.
pub struct Run {
    device: RefCell<Option<Arc<Device>>>,
    context: usize,
    base: Census,
    /// What was asked of the device before the scenario.
    operations: [u64; 9],
    faults: Vec<Fault>,
    streams: OnceCell<[Arc<Timeline>; 2]>,
    part: Cell<&'static str>,
    steps: Cell<u64>,
    lost: Cell<bool>,
    /// Statuses that were answered.
    answers: RefCell<BTreeMap<&'static str, u64>>,
    /// Answers that only one of the armed faults can explain, by the part of the scenario that got them.
    failed_parts: RefCell<Vec<&'static str>>,
    trace: bool,
}

/// What came of a run.
pub struct Done {
    pub steps: u64,
    /// What was asked of the host backend.
    pub operations: Vec<(Operation, u64)>,
    /// How often each function of the driver's was called.
    pub calls: Vec<(String, u64)>,
    /// Statuses that were answered instead of success.
    pub answers: BTreeMap<&'static str, u64>,
    pub quarantined: bool,
    /// Faults that struck, where that is known.
    pub struck: Option<u64>,
}

impl Run {
    /// Opens a device of its own, and arms the faults.
    pub fn new(faults: &[Fault]) -> Run {
        watch(format!("{faults:?}"));
        let (device, context) = unseen(|| {
            let options = crate::common::options();
            (Device::open(&options, 0, "matrix").expect("a device"), options.native_context)
        });
        let base = kit_of(&device).census().expect("a census");
        let run = Run {
            operations: asked(&device),
            device: RefCell::new(Some(device)),
            context,
            base,
            faults: faults.to_vec(),
            streams: OnceCell::new(),
            part: Cell::new("streams"),
            steps: Cell::new(0),
            lost: Cell::new(false),
            answers: RefCell::default(),
            failed_parts: RefCell::default(),
            trace: std::env::var_os("GPUBUF_FAULTS_TRACE").is_some(),
        };
        for fault in faults {
            run.arm(fault);
        }
        run
    }

    fn arm(&self, fault: &Fault) {
        let code = |code: c_int| assert_eq!(code, 0, "{fault:?} can be armed");
        match fault {
            Fault::Operation { kind, nth, when } => {
                kit_of(&self.device()).fail_operation(Some(*kind), *nth, *when).expect("a fault");
            }
            Fault::Call { function, nth, code: with } => {
                let function = CString::new(function.as_str()).expect("a name");
                code(driver().expect("the stand-in").gpubuf_standin_fail_call(function.as_ptr(), *nth, *with));
            }
            Fault::LossAtCall { nth } => {
                let driver = driver().expect("the stand-in");
                code(driver.gpubuf_standin_lose_at_call(std::ptr::null(), *nth, 0, LOST));
            }
            Fault::LossAtStep { .. } => {}
        }
    }

    pub fn device(&self) -> Arc<Device> {
        self.device.borrow().clone().expect("the device is open")
    }

    /// The first stream, made by the first part of the scenario.
    pub fn s(&self) -> &Arc<Timeline> {
        &self.streams.get().expect("streams")[0]
    }

    /// The second one.
    pub fn t(&self) -> &Arc<Timeline> {
        &self.streams.get().expect("streams")[1]
    }

    pub fn has_streams(&self) -> bool {
        self.streams.get().is_some()
    }

    pub fn set_streams(&self, streams: [Arc<Timeline>; 2]) {
        assert!(self.streams.set(streams).is_ok(), "made once");
    }

    /// Whether the device is known to be lost.
    pub fn is_lost(&self) -> bool {
        self.lost.get() || self.device().backend().is_lost()
    }

    fn expects_loss(&self) -> bool {
        self.faults.iter().any(Fault::loses)
    }

    /// A step of the scenario. What is refused without a trace is tried again at once, and must succeed then. None: the object
    /// is of no use any more, as one of the faults explains.
    #[track_caller]
    pub fn step<T>(&self, what: &str, work: impl FnMut() -> Result<T>) -> Option<T> {
        self.try_step(what, &[], work).map(|got| got.expect("no other answer is taken"))
    }

    /// The same, where another answer is as good: those statuses, which say that it has to wait.
    #[track_caller]
    pub fn try_step<T>(
        &self,
        what: &str,
        also: &[Status],
        mut work: impl FnMut() -> Result<T>,
    ) -> Option<std::result::Result<T, Status>> {
        self.steps.set(self.steps.get() + 1);
        if self.faults.contains(&(Fault::LossAtStep { nth: self.steps.get() })) {
            unseen(|| kit_of(&self.device()).lose().expect("a loss"));
            self.lost.set(true);
        }
        for _ in 0..=self.faults.len() {
            let began = Instant::now();
            let error = match work() {
                Ok(value) => {
                    self.say(what, "ok");
                    return Some(Ok(value));
                }
                Err(error) => error,
            };
            let status = error.status();
            self.say(what, error.message());
            assert!(began.elapsed() < Duration::from_secs(15), "{}: {what} takes long: {error}", self.where_it_is());
            if also.contains(&status) {
                return Some(Err(status));
            }
            self.judge(what, &error);
            if !again(status) || self.is_lost() {
                return None;
            }
        }
        panic!("{}: {what} is refused as often as it is tried", self.where_it_is());
    }

    /// Sees that a fault explains the answer.
    #[track_caller]
    fn judge(&self, what: &str, error: &Error) {
        let (status, place) = (error.status(), self.where_it_is());
        assert!(!error.message().is_empty(), "{place}: {what}: {status:?} without a message");
        let explained = self.faults.iter().any(|fault| fault.explains(status));
        assert!(explained, "{place}: {what} is answered {status:?}: {}", error.message());
        let mut failed = self.failed_parts.borrow_mut();
        if failed.last() != Some(&self.part.get()) {
            failed.push(self.part.get());
        }
        *self.answers.borrow_mut().entry(name(status)).or_default() += 1;
    }

    fn say(&self, what: &str, answer: &str) {
        if self.trace {
            eprintln!("{:4} {}: {what}: {answer}", self.steps.get(), self.part.get());
        }
    }

    pub fn where_it_is(&self) -> String {
        format!("{:?}, step {}, {}", self.faults, self.steps.get(), self.part.get())
    }

    /// Runs a part of the scenario, and the same once more if a fault ended it: what failed has cost its objects alone.
    pub fn part(&self, name: &'static str, work: impl Fn(&Run) -> Option<()>) {
        self.part.set(name);
        let most = self.faults.len() + 1;
        for attempt in 0..=most {
            if !self.has_streams() && name != "streams" {
                return;
            }
            let done = work(self);
            if self.has_streams() {
                self.settle();
            }
            if done.is_some() || self.is_lost() || self.expects_loss() {
                return;
            }
            assert!(attempt < most, "{}: it fails as often as it is tried", self.where_it_is());
        }
    }

    /// Nothing runs any more, and what failed was told: by the streams and a drain, each once.
    fn settle(&self) {
        for stream in [self.s(), self.t()] {
            open(stream);
        }
        let told = |error: &Error| {
            let status = error.status();
            let lost = self.expects_loss() && status == Status::DeviceLost;
            let refused = self.faults.iter().any(|fault| fault.explains(status));
            assert!(lost || refused, "{}: settling: {error}", self.where_it_is());
        };
        for _ in 0..=self.faults.len() {
            let streams = [self.s(), self.t()].map(|stream| stream.synchronize(LONG));
            let drained = self.device().drain(LONG);
            let all: Vec<Error> = streams.into_iter().chain([drained]).filter_map(Result::err).collect();
            all.iter().for_each(told);
            if all.is_empty() || self.is_lost() {
                return;
            }
        }
        let late = self.device().drain(LONG);
        assert!(late.is_ok() || self.is_lost(), "{}: a drain fails for ever", self.where_it_is());
    }

    /// Bytes as the device has them. The stream is idle, and nothing it ran has failed. None where the device is lost.
    pub fn look(&self, address: u64, bytes: u64) -> Option<Vec<u8>> {
        if self.is_lost() {
            return None;
        }
        let mut out = vec![0u8; bytes as usize];
        match driver() {
            Some(driver) => unseen(|| {
                let before = driver.current();
                assert_eq!(driver.cuCtxSetCurrent(self.context), 0);
                let code = driver.cuMemcpyDtoH_v2(out.as_mut_ptr().cast::<c_void>(), address, out.len());
                assert_eq!(driver.cuCtxSetCurrent(before), 0);
                (code == 0).then_some(())
            })?,
            None => {
                let mut seen = (address, out, false);
                kit(self.s()).call(read, [&raw mut seen as usize, 0]).ok()?;
                self.s().stream().synchronize(None).ok()?;
                out = seen.1;
                assert!(seen.2, "{}: {bytes} bytes at {address:#x} are memory", self.where_it_is());
            }
        }
        Some(out)
    }

    /// What was answered with success holds the bytes that were promised.
    #[track_caller]
    pub fn expect_bytes(&self, what: &str, got: &[u8], wanted: &[u8]) {
        if let Some(at) = (0..wanted.len()).find(|at| got[*at] != wanted[*at]) {
            panic!("{}: {what}: byte {at} is {}, not {}", self.where_it_is(), got[at], wanted[at]);
        }
    }

    /// The same of device memory, unless the device is lost.
    #[track_caller]
    pub fn expect_device(&self, what: &str, address: u64, wanted: &[u8]) {
        if let Some(got) = self.look(address, wanted.len() as u64) {
            self.expect_bytes(what, &got, wanted);
        }
    }

    /// The end: everything was destroyed, and what there is yet is what is quarantined.
    pub fn end(mut self) -> Done {
        self.part.set("the end");
        let place = self.where_it_is();
        let lost = self.is_lost();
        drop(self.streams.take());
        let device = self.device.take().expect("the device");
        let operations = asked(&device).into_iter().zip(self.operations).zip(KINDS);
        let operations = operations.map(|((now, before), kind)| (kind, now - before)).collect();
        for _ in 0..=self.faults.len() + 1 {
            match device.drain(LONG) {
                Ok(()) => break,
                Err(error) => assert!(
                    self.faults.iter().any(|fault| fault.explains(error.status())),
                    "{place}: the last drain: {error}"
                ),
            }
        }
        let is_lost = device.backend().is_lost();
        assert!(is_lost || !lost, "{place}: a lost device is lost for good");
        if is_lost {
            let created = Timeline::create(&device, "").err().map(|error| error.status());
            assert_eq!(created, Some(Status::DeviceLost), "{place}: a new stream on a lost device");
        }
        let c = &device.counters;
        let owned = [&c.host_bytes, &c.pinned_bytes, &c.device_bytes, &c.managed_bytes].map(|level| level.get());
        let quarantined = c.quarantined_bytes.get();
        if quarantined == 0 {
            assert_eq!(owned, [0; 4], "{place}: memory is lost (pageable, pinned, device, managed)");
        } else {
            assert!(
                self.faults.iter().any(|fault| fault.loses() || fault.explains(Status::Quarantined)),
                "{place}: {quarantined} bytes are quarantined"
            );
        }
        assert_eq!(device.deferred(), (0, 0), "{place}: nothing waits for its last use");
        assert_eq!(c.leaked_bytes.get(), 0, "{place}");
        assert!(device.members().is_empty(), "{place}: an object is left");
        let keeps = self.faults.iter().any(Fault::keeps) || is_lost;
        let wanted = self.base;
        let there = || kit_of(&device).census().expect("a census");
        // Threads that end, and memory on its way to the driver, take their time.
        let deadline = Instant::now() + Duration::from_secs(20);
        let settled = |now: Census| {
            keeps
                || (now.streams == wanted.streams && now.events == wanted.events && (quarantined > 0 || now == wanted))
        };
        while !settled(there()) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let now = there();
        assert!(
            settled(now),
            "{place}: the device has {now:?}, at first it had {wanted:?}; {quarantined} bytes are quarantined"
        );
        assert!(
            keeps || now.pinned_bytes >= owned[1] && now.device_bytes >= owned[2],
            "{place}: {owned:?} is counted, and there is {now:?}"
        );
        device.orphan();
        // Whoever opens a device at this moment tidies up behind this one.
        while Arc::strong_count(&device) > 1 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&device), 1, "{place}: somebody keeps the device");
        drop(device);
        let calls = driver().map_or(Vec::new(), |driver| {
            functions().into_iter().map(|name| (driver.calls(&name), name)).map(|(count, name)| (name, count)).collect()
        });
        let struck = driver().map(|driver| driver.gpubuf_standin_struck());
        if let Some(driver) = driver() {
            unseen(|| {
                driver.gpubuf_standin_reset();
                assert_eq!(driver.cuCtxDestroy_v2(self.context), 0, "{place}: the context is the caller's still");
            });
        }
        watch(String::new());
        let failed = self.failed_parts.take();
        let parts = failed.len();
        assert!(
            is_lost || parts <= self.faults.len() || failed.iter().all(|part| part == &failed[0]),
            "{place}: one failure was told in several parts of the scenario: {failed:?}"
        );
        Done {
            steps: self.steps.get(),
            operations,
            calls,
            answers: self.answers.take(),
            quarantined: quarantined > 0,
            struck,
        }
    }
}

/// What the device was asked for so far, of each kind; nothing where the kinds are not counted.
fn asked(device: &Device) -> [u64; 9] {
    KINDS.map(|kind| kit_of(device).count_operations(Some(kind)).unwrap_or(0))
}

/// The functions of the driver's that the library may call.
fn functions() -> Vec<String> {
    let text = std::fs::read_to_string("src/backend/cuda/driver.rs").expect("the list of the driver's functions");
    let named = |line: &str| {
        let name = line.trim().strip_prefix("cu")?.split_once('(')?.0;
        (name.chars().next()?.is_uppercase() && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
            .then(|| format!("cu{name}"))
    };
    text.lines().filter_map(named).collect()
}

/// Refused, with nothing done: the same call again does it.
fn again(status: Status) -> bool {
    matches!(status, Status::DriverError | Status::OutOfHostMemory | Status::OutOfDeviceMemory | Status::Busy)
}

fn name(status: Status) -> &'static str {
    status.name().to_str().expect("ASCII")
}

fn read(view: &dyn View, [out, _]: [usize; 2]) {
    // SAFETY: the caller waits for this function with the tuple alive.
    let out = unsafe { &mut *(out as *mut (u64, Vec<u8>, bool)) };
    // SAFETY: the vector has room for its length.
    out.2 = unsafe { view.read(out.0, out.1.as_mut_ptr(), out.1.len()) }.is_ok();
}

/// Shuts a stream, by means that no fault meets. It is opened by `open`.
pub fn shut(stream: &Arc<Timeline>) {
    match driver() {
        Some(driver) => assert_eq!(driver.gpubuf_standin_stream_hold(stream.stream().native()), 0),
        None => {
            // In the name of another thread: waits for it are waits then, not deadlocks.
            let stream = stream.clone();
            std::thread::spawn(move || kit(&stream).hold()).join().expect("the thread").expect("a hold");
        }
    }
}

/// Takes every hold back.
pub fn open(stream: &Arc<Timeline>) {
    match driver() {
        Some(driver) => {
            let native = stream.stream().native();
            while driver.gpubuf_standin_stream_is_held(native) == 1 {
                driver.gpubuf_standin_stream_release(native);
            }
        }
        None => (0..4).for_each(|_| kit(stream).release().expect("a release")),
    }
}

/// Has the process ended if this run is not over in time; an empty text is no run.
fn watch(run: String) {
    static WATCHED: Mutex<Option<(String, Instant)>> = Mutex::new(None);
    static STARTED: gpubuf::sync::OnceLock<()> = gpubuf::sync::OnceLock::new();
    *WATCHED.lock() = (!run.is_empty()).then(|| (run, Instant::now()));
    STARTED.get_or_init(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                if let Some((run, since)) = &*WATCHED.lock()
                    && since.elapsed() > MOST
                {
                    eprintln!("{run} hangs");
                    std::process::abort();
                }
            }
        });
    });
}
