//! Faults on memory of the library's: caught, told apart from others, reported, and passed on.
//!
//! A signal handler may do next to nothing, so this one asks. It looks the address up in a table of atomics, writes to a pipe
//! (both may be done in a handler), and a thread of ours, which may do anything, says what the fault is: an access that is
//! allowed by now, which is then tried again, or one that ends the process. In the second case the report is out by the time
//! that the thread answers; only then the handler walks its own stack, which allocates. Neither it nor the thread can wait for
//! a lock that the faulting thread has, unless that took it around an access to memory that is none of its business: the
//! fault is synchronous, its instruction touches memory of the library's, and the library touches that under no lock of the
//! allocator's, the unwinder's or the registry's. Should the assumption fail all the same, each step has a deadline, behind
//! which the signal goes on its way without a report.
//!
//! The process ends by its own signal: the handler puts the one before it back and returns, and the access faults again.

use crate::error::{Error, Result, Status};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Mutex, OnceLock, Ordering};
use std::backtrace::Backtrace;
use std::ptr;
use std::time::{Duration, Instant};

/// A fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What was touched.
    pub address: usize,
    /// Where the instruction is that did it; 0 if the processor is not known.
    pub instruction: usize,
    /// Whether it was a store; `None` if the processor is not known.
    pub store: Option<bool>,
    /// The system's number of the thread.
    pub thread: u32,
}

/// What a fault is.
pub enum Verdict {
    /// None of the library's.
    Foreign,
    /// Allowed by now: to be tried again.
    Again,
    /// The end, for this reason.
    Stray(String),
}

/// Who knows the memory. Called on a thread of its own.
pub trait Judge: Sync {
    /// What a fault is.
    fn judge(&self, fault: &Fault) -> Verdict;
    /// What to add to the report, once the stack is known where it happened. `text` is the report so far.
    fn conclude(&self, text: &str, trace: Option<&Backtrace>) -> String;
}

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(5);

// ---- the ranges ----------------------------------------------------------------------------------------------------

const RANGES: usize = 512;

/// Ranges in a list that only grows, so that a handler may read it at any time.
struct Chunk {
    /// The first byte and the one behind the last; 0, 0 if unused.
    ranges: [[AtomicUsize; 2]; RANGES],
    /// Whether the CPU may be let in when nobody watches any more.
    opens: [AtomicBool; RANGES],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Chunk {
        Chunk {
            ranges: [const { [const { AtomicUsize::new(0) }; 2] }; RANGES],
            opens: [const { AtomicBool::new(false) }; RANGES],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

static FIRST: Chunk = Chunk::new();
static UNUSED: Mutex<Unused> = Mutex::new(Unused { places: Vec::new(), made: 0 });

struct Unused {
    places: Vec<usize>,
    made: usize,
}

fn chunks() -> impl Iterator<Item = &'static Chunk> {
    std::iter::successors(Some(&FIRST), |chunk| {
        // SAFETY: chunks are leaked when they are made, and never change their place.
        unsafe { chunk.next.load(Ordering::Acquire).as_ref() }
    })
}

/// A range of addresses whose faults are the library's, until this is dropped.
pub struct Range(usize);

impl Range {
    /// Adds a range. `opens`: the CPU is let in, to read and to write, when the process forks or exits.
    pub fn add(start: usize, end: usize, opens: bool) -> Range {
        let mut unused = UNUSED.lock();
        let place = unused.places.pop().unwrap_or(unused.made);
        if place == unused.made {
            unused.made += 1;
            if place > 0 && place.is_multiple_of(RANGES) {
                let last = chunks().last().unwrap_or(&FIRST);
                last.next.store(Box::leak(Box::new(Chunk::new())), Ordering::Release);
            }
        }
        drop(unused);
        let range = Range(place);
        range.set(start, end, opens);
        range
    }

    fn set(&self, start: usize, end: usize, opens: bool) {
        let Some(chunk) = chunks().nth(self.0 / RANGES) else { return };
        let [first, last] = &chunk.ranges[self.0 % RANGES];
        // Empty in between, whichever of the two a handler reads first.
        last.store(0, Ordering::SeqCst);
        first.store(start, Ordering::SeqCst);
        last.store(end, Ordering::SeqCst);
        chunk.opens[self.0 % RANGES].store(opens, Ordering::SeqCst);
    }

    /// From now on nothing is opened there when the process forks or exits.
    pub fn stay_shut(&self) {
        if let Some(chunk) = chunks().nth(self.0 / RANGES) {
            chunk.opens[self.0 % RANGES].store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        self.set(0, 0, false);
        UNUSED.lock().places.push(self.0);
    }
}

fn is_ours(address: usize) -> bool {
    chunks().any(|chunk| {
        chunk
            .ranges
            .iter()
            .any(|[start, end]| (start.load(Ordering::SeqCst)..end.load(Ordering::SeqCst)).contains(&address))
    })
}

/// Lets the CPU in everywhere: for a process in which nobody watches any more.
fn open_all() {
    for chunk in chunks() {
        for ([start, end], opens) in chunk.ranges.iter().zip(&chunk.opens) {
            let (start, end) = (start.load(Ordering::SeqCst), end.load(Ordering::SeqCst));
            if opens.load(Ordering::SeqCst) && start < end {
                // SAFETY: host memory of the library's, in whole pages, which is readable and writable but for the watch.
                unsafe { libc::mprotect(start as *mut _, end - start, libc::PROT_READ | libc::PROT_WRITE) };
            }
        }
    }
}

// ---- the handler ---------------------------------------------------------------------------------------------------

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const AGAIN: u32 = 2;
const FOREIGN: u32 = 3;
const STRAY: u32 = 4;
const TRACED: u32 = 5;
const CONCLUDED: u32 = 6;

static STATE: AtomicU32 = AtomicU32::new(IDLE);
/// A thread has the desk: others that fault wait for it.
static TAKEN: AtomicBool = AtomicBool::new(false);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static INSTRUCTION: AtomicUsize = AtomicUsize::new(0);
/// 0: a load, 1: a store, 2: not known.
static ACCESS: AtomicU32 = AtomicU32::new(0);
static THREAD: AtomicU32 = AtomicU32::new(0);
static TRACE: AtomicPtr<Backtrace> = AtomicPtr::new(ptr::null_mut());
/// The thread that answers, and its process: a child after fork has no such thread.
static ANSWERER: AtomicU32 = AtomicU32::new(0);
static PROCESS: AtomicU32 = AtomicU32::new(0);
static PIPE: AtomicU32 = AtomicU32::new(u32::MAX);
/// What was there before. Leaked when it is replaced: a handler may be reading it.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

fn thread_number() -> u32 {
    // SAFETY: a plain query.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the C library's own thread-local number, saved since the calls below may change it.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the system hands a valid record to a handler that asked for one.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let thread = thread_number();
    let here = PROCESS.load(Ordering::SeqCst) == std::process::id() && ANSWERER.load(Ordering::SeqCst) != thread;
    // Codes up to 0 are signals that somebody sent.
    let (instruction, access) = of_context(context);
    // A jump to memory that holds no code is nothing that a page's state could allow.
    let ours = code > 0 && here && instruction != address && is_ours(address);
    let answer = if ours { ask(address, instruction, access, thread) } else { FOREIGN };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    match answer {
        AGAIN => {}
        // Behind a handler that came later and passes faults on there is nothing to put back.
        STRAY if restore() => {}
        // SAFETY: the arguments of this very call.
        _ => unsafe { pass_on(signal, info, context, code) },
    }
}

/// The answer of the thread that may do anything; that the fault is none of ours, where there is no answer.
fn ask(address: usize, instruction: usize, access: u32, thread: u32) -> u32 {
    let late = Instant::now() + PATIENCE;
    while TAKEN.swap(true, Ordering::SeqCst) {
        if Instant::now() > late {
            return FOREIGN;
        }
        nap();
    }
    ADDRESS.store(address, Ordering::SeqCst);
    INSTRUCTION.store(instruction, Ordering::SeqCst);
    ACCESS.store(access, Ordering::SeqCst);
    THREAD.store(thread, Ordering::SeqCst);
    STATE.store(ASKED, Ordering::SeqCst);
    ring();
    let mut answer = await_change(ASKED);
    if answer == STRAY {
        let trace = Box::into_raw(Box::new(Backtrace::force_capture()));
        TRACE.store(trace, Ordering::SeqCst);
        STATE.store(TRACED, Ordering::SeqCst);
        ring();
        await_change(TRACED);
    } else if answer == ASKED {
        tell("gpubuf: a fault on memory of the library's, of which no report could be made in time\n");
        answer = FOREIGN;
    }
    STATE.store(IDLE, Ordering::SeqCst);
    TAKEN.store(false, Ordering::SeqCst);
    answer
}

#[cfg(target_arch = "x86_64")]
fn of_context(context: *mut libc::c_void) -> (usize, u32) {
    // SAFETY: the system hands the context of the fault to the handler.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // Bit 1 of the page fault's error code: a write.
    let store = registers[libc::REG_ERR as usize] >> 1 & 1;
    (registers[libc::REG_RIP as usize] as usize, store as u32)
}

#[cfg(not(target_arch = "x86_64"))]
fn of_context(_: *mut libc::c_void) -> (usize, u32) {
    (0, 2)
}

/// Waits until the state is another; returns what it is then.
fn await_change(from: u32) -> u32 {
    let late = Instant::now() + PATIENCE;
    loop {
        let state = STATE.load(Ordering::SeqCst);
        if state != from || Instant::now() > late {
            return state;
        }
        nap();
    }
}

fn nap() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
    // SAFETY: reads one valid record, and may be called in a handler.
    unsafe { libc::nanosleep(&time, ptr::null_mut()) };
}

fn ring() {
    let end = PIPE.load(Ordering::SeqCst);
    // SAFETY: one readable byte; the descriptor is the pipe's, which is never closed. May be called in a handler.
    unsafe { libc::write(end as i32, [1u8].as_ptr().cast(), 1) };
}

/// Writes to the standard error. May be called in a handler.
pub fn tell(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: as many readable bytes as are named.
        let written = unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
        let Some(left) = usize::try_from(written).ok().filter(|n| *n > 0).and_then(|n| rest.get(n..)) else { return };
        rest = left;
    }
}

/// Puts what was there before back, where ours is in force still; false if it is not.
fn restore() -> bool {
    let before = BEFORE.load(Ordering::SeqCst);
    if before.is_null() {
        return false;
    }
    // SAFETY: a zeroed record is a valid one; the calls read and write the records named, and may be made in a handler.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGSEGV, ptr::null(), &mut now) == 0
            && now.sa_sigaction == handler()
            && libc::sigaction(libc::SIGSEGV, before, ptr::null_mut()) == 0
    }
}

fn handler() -> usize {
    on_fault as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize
}

/// A fault that is none of ours goes to whoever was there before.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void, code: i32) {
    // SAFETY: set before the handler was installed, and never freed.
    let before = unsafe { BEFORE.load(Ordering::SeqCst).as_ref() };
    match before {
        Some(before) if ![libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction) => {
            if before.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: with this flag it is a function of this type, which the system would call with these arguments.
                unsafe {
                    let call: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(before.sa_sigaction);
                    call(signal, info, context);
                }
            } else {
                // SAFETY: without the flag it is a function of this type.
                let call: extern "C" fn(i32) = unsafe { std::mem::transmute(before.sa_sigaction) };
                call(signal);
            }
        }
        // Nothing is tried again after it.
        Some(before) if before.sa_sigaction == libc::SIG_IGN && code <= 0 => {}
        _ => {
            // SAFETY: puts the default back: the access faults again, and ends the process. A signal that was sent does not
            // come again by itself.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                if code <= 0 {
                    libc::raise(signal);
                }
            }
        }
    }
}

// ---- the thread that answers ---------------------------------------------------------------------------------------

fn answer(judge: &'static dyn Judge, pipe: i32) {
    ANSWERER.store(thread_number(), Ordering::SeqCst);
    let mut report: Option<String> = None;
    loop {
        let mut ready = libc::pollfd { fd: pipe, events: libc::POLLIN, revents: 0 };
        let limit = if report.is_some() { PATIENCE.as_millis() as i32 } else { -1 };
        // SAFETY: one valid record.
        let polled = unsafe { libc::poll(&mut ready, 1, limit) };
        if polled < 0 {
            continue;
        }
        if polled == 0 {
            // The stack of the faulting thread could not be walked.
            let text = report.take().unwrap_or_default();
            tell(&judge.conclude(&text, None));
            restore();
            // SAFETY: ends the process: the thread that faulted does not.
            unsafe { libc::abort() };
        }
        let mut byte = 0u8;
        // SAFETY: room for one byte.
        unsafe { libc::read(pipe, (&raw mut byte).cast(), 1) };
        match STATE.load(Ordering::SeqCst) {
            ASKED => {
                let fault = Fault {
                    address: ADDRESS.load(Ordering::SeqCst),
                    instruction: INSTRUCTION.load(Ordering::SeqCst),
                    store: match ACCESS.load(Ordering::SeqCst) {
                        0 => Some(false),
                        1 => Some(true),
                        _ => None,
                    },
                    thread: THREAD.load(Ordering::SeqCst),
                };
                let state = match judge.judge(&fault) {
                    Verdict::Again => AGAIN,
                    Verdict::Foreign => FOREIGN,
                    Verdict::Stray(text) => {
                        tell(&text);
                        report = Some(text);
                        STRAY
                    }
                };
                STATE.store(state, Ordering::SeqCst);
            }
            TRACED => {
                let trace = TRACE.swap(ptr::null_mut(), Ordering::SeqCst);
                // SAFETY: made by `ask` from a box, and taken once.
                let trace = (!trace.is_null()).then(|| unsafe { Box::from_raw(trace) });
                let text = report.take().unwrap_or_default();
                tell(&judge.conclude(&text, trace.as_deref()));
                STATE.store(CONCLUDED, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

// ---- installing ----------------------------------------------------------------------------------------------------

static INSTALLED: Mutex<u32> = Mutex::new(0);
/// Ours could not be taken out: another came in front of it, and may know it.
static LEFT_BEHIND: AtomicBool = AtomicBool::new(false);

/// The handler, while somebody has one of these.
pub struct Trap(());

impl Trap {
    /// Installs the handler, in front of the one that is there.
    pub fn set(judge: &'static dyn Judge) -> Result<Trap> {
        let mut installed = INSTALLED.lock();
        if *installed == 0 {
            start(judge)?;
            // SAFETY: zeroed records are valid ones; the handler keeps to what a handler may do.
            unsafe {
                let mut before: libc::sigaction = std::mem::zeroed();
                let mut ours: libc::sigaction = std::mem::zeroed();
                ours.sa_sigaction = handler();
                ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&mut ours.sa_mask);
                libc::sigaction(libc::SIGSEGV, ptr::null(), &mut before);
                let is_default = [libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction);
                // In front of a handler that passes faults on to ours, each would call the other for ever.
                let behind = LEFT_BEHIND.load(Ordering::SeqCst) && !is_default;
                if before.sa_sigaction != handler() && !behind {
                    BEFORE.store(Box::leak(Box::new(before)), Ordering::SeqCst);
                    libc::sigaction(libc::SIGSEGV, &ours, ptr::null_mut());
                }
            }
        }
        *installed += 1;
        Ok(Trap(()))
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        let mut installed = INSTALLED.lock();
        *installed -= 1;
        if *installed == 0 && !restore() {
            LEFT_BEHIND.store(true, Ordering::SeqCst);
        }
    }
}

/// The thread, once for the process.
fn start(judge: &'static dyn Judge) -> Result<()> {
    static STARTED: OnceLock<bool> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let mut ends = [0i32; 2];
        // SAFETY: room for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return false;
        }
        PIPE.store(ends[1] as u32, Ordering::SeqCst);
        PROCESS.store(std::process::id(), Ordering::SeqCst);
        let from = ends[0];
        if std::thread::Builder::new().name("gpubuf-debug".into()).spawn(move || answer(judge, from)).is_err() {
            return false;
        }
        // SAFETY: the handlers touch atomics, protections and the handler for faults, all allowed there.
        unsafe {
            libc::pthread_atfork(None, None, Some(forked));
            libc::atexit(exiting);
        }
        true
    });
    match started {
        true => Ok(()),
        false => Err(Error::new(Status::OutOfHostMemory, "the system gives no thread for the debug mode")),
    }
}

/// Nobody answers in a child.
unsafe extern "C" fn forked() {
    restore();
    open_all();
}

/// What the program's own exit handlers do with the memory is not looked at.
extern "C" fn exiting() {
    restore();
    open_all();
}
