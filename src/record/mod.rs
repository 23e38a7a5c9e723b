//! A recording of the calls that come through the C API, for `gpubuf-replay`: on where `GPUBUF_RECORD` names a file.
//!
//! Callers put whole records into memory, under one short lock; a thread of the library's writes them to the file. So a slow,
//! full or failing disk never makes a call wait or fail: what does not fit into memory is lost and counted, a failed write ends
//! the recording. Each of that is told in the log and by `gpubuf_report`. The format: docs/record-replay.md.

mod encode;
mod file;

pub use encode::Encoder;

use crate::config::log::{self, Level};
use crate::stats::{Counter, Record, coarse_ns};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use encode::{Kind, flags};
use file::Target;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Bytes that wait for the writing thread, at most.
const WAITING_BYTES: usize = 1 << 20;
/// How long what was recorded stays in memory, at most.
const ROUND: Duration = Duration::from_millis(50);
/// How long an exit waits for the writing thread.
const PATIENCE: Duration = Duration::from_secs(2);

/// A function of the C API.
pub struct Function {
    /// Its number in this build, below [`FUNCTIONS`].
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// What its arguments are.
    pub signature: fn(&mut Encoder),
}

/// More than there are functions.
pub const FUNCTIONS: usize = 1024;

/// Whether anything is recorded.
static ON: AtomicBool = AtomicBool::new(false);
/// Calls recorded so far.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// Calls that found no room.
static LOST: Counter = Counter::new();
/// Bytes written to the file.
static WRITTEN: Counter = Counter::new();
static QUEUE: Mutex<Queue> = Mutex::new(Queue::new());
static MORE: Condvar = Condvar::new();
static TARGET: Mutex<Option<Target>> = Mutex::new(None);
static TOLD: Mutex<Told> = Mutex::new(Told { file: String::new(), state: "", why: String::new() });

/// What is waiting to be written.
struct Queue {
    bytes: Vec<u8>,
    /// Bytes of all records, written or waiting.
    total: u64,
    limit: u64,
    thread: u32,
    ms: u64,
    lost: u64,
    ended: bool,
    defined: [bool; FUNCTIONS],
}

/// What people are told.
struct Told {
    file: String,
    state: &'static str,
    why: String,
}

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
    /// Recorded calls in progress on this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Inside a function that runs on a stream, or on a thread of the library's.
    static ELSEWHERE: Cell<bool> = const { Cell::new(false) };
    static SPACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Queue {
    const fn new() -> Queue {
        Queue {
            bytes: Vec::new(),
            total: 0,
            limit: 0,
            thread: 0,
            ms: 0,
            lost: 0,
            ended: false,
            defined: [false; FUNCTIONS],
        }
    }

    fn append(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let before = self.bytes.len();
        encode::number(&mut self.bytes, length as u64);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.total += (self.bytes.len() - before) as u64;
    }

    fn end(&mut self, why: u8) {
        if !self.ended {
            self.ended = true;
            ON.store(false, Ordering::Release);
            self.mark_lost();
            self.append(&[&[Kind::END, why]]);
        }
    }

    /// Says how many calls found no room here, if any did.
    fn mark_lost(&mut self) {
        if self.lost > 0 {
            let mut mark = Encoder::new(vec![Kind::LOST]);
            mark.number(std::mem::take(&mut self.lost));
            self.append(&[&mark.into_bytes()]);
        }
    }
}

/// Begins where the environment asks for it. `version` is the library's. Called once.
pub fn start(version: &str) -> bool {
    let Some(path) = std::env::var_os("GPUBUF_RECORD").filter(|path| !path.is_empty()) else { return false };
    let limit = std::env::var("GPUBUF_RECORD_LIMIT").ok();
    match file::open(&path, limit.as_deref()).and_then(|(target, limit)| begin_file(target, limit, version)) {
        Ok(()) => true,
        Err(why) => {
            let mut told = TOLD.lock();
            *told = Told { file: path.to_string_lossy().into_owned(), state: "failed", why };
            false
        }
    }
}

fn begin_file(mut target: Target, limit: u64, version: &str) -> Result<(), String> {
    let header = file::header(version);
    target.write(&header)?;
    WRITTEN.add(header.len() as u64);
    *TOLD.lock() = Told { file: target.path().to_owned(), state: "recording", why: String::new() };
    {
        let mut queue = QUEUE.lock();
        queue.bytes = Vec::with_capacity(WAITING_BYTES);
        queue.total = header.len() as u64;
        queue.limit = limit;
        queue.ms = coarse_ns() / 1_000_000;
    }
    *TARGET.lock() = Some(target);
    // Signals are the application's threads': this one takes none.
    let spawned = file::without_signals(|| {
        std::thread::Builder::new().name("gpubuf-record".into()).spawn(|| {
            let mut space = Vec::with_capacity(WAITING_BYTES);
            while write_round(&mut space) {}
        })
    });
    match spawned {
        Ok(_) => {
            ON.store(true, Ordering::Release);
            Ok(())
        }
        Err(error) => Err(format!("no thread to write it: {error}")),
    }
}

/// Waits for something to write, and writes it. False when all is over.
fn write_round(space: &mut Vec<u8>) -> bool {
    {
        let mut queue = QUEUE.lock();
        if queue.bytes.len() < WAITING_BYTES / 2 && !queue.ended {
            MORE.wait_for(&mut queue, ROUND);
        }
    }
    write_out(&mut TARGET.lock(), space)
}

/// Writes what is waiting. False when nothing more will come.
fn write_out(target: &mut Option<Target>, space: &mut Vec<u8>) -> bool {
    let (ended, full) = {
        let mut queue = QUEUE.lock();
        space.clear();
        std::mem::swap(&mut queue.bytes, space);
        (queue.ended, queue.total >= queue.limit)
    };
    let Some(file) = target else { return false };
    match file.write(space) {
        Ok(()) => WRITTEN.add(space.len() as u64),
        Err(why) => {
            ON.store(false, Ordering::Release);
            QUEUE.lock().ended = true;
            log::write(Level::Warn, format_args!("recording to {} failed: {why}: it ends here", file.path()));
            let mut told = TOLD.lock();
            (told.state, told.why) = ("failed", why);
            *target = None;
            return false;
        }
    }
    if ended {
        let mut told = TOLD.lock();
        if full && told.state == "recording" {
            told.state = "full";
            log::write(
                Level::Warn,
                format_args!("recording to {} reached its limit: it ends here, see GPUBUF_RECORD_LIMIT", told.file),
            );
        } else if told.state == "recording" {
            told.state = "ended";
        }
        *target = None;
    }
    !ended
}

/// A call that is being recorded.
pub struct Begun {
    calls: u64,
    ms: u64,
    inside: bool,
}

/// A call begins; `None` where nothing is recorded any more.
pub fn begin() -> Option<Begun> {
    if !ON.load(Ordering::Acquire) {
        return None;
    }
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    Some(Begun { calls: CALLS.load(Ordering::Relaxed), ms: coarse_ns() / 1_000_000, inside: depth > 0 })
}

/// It has its outcome. `arguments` writes them, and what came out of the call if it was OK.
pub fn finish(begun: &Begun, function: &Function, status: i32, arguments: impl FnOnce(&mut Encoder)) {
    DEPTH.set(DEPTH.get().saturating_sub(1));
    let mut space = SPACE.try_with(RefCell::take).unwrap_or_default();
    space.clear();
    let mut encoder = Encoder::new(space);
    arguments(&mut encoder);
    let space = encoder.into_bytes();
    put(begun, function, status, &space);
    let _ = SPACE.try_with(|place| place.replace(space));
}

fn put(begun: &Begun, function: &Function, status: i32, arguments: &[u8]) {
    let thread = thread_number();
    let ms = coarse_ns() / 1_000_000;
    let took = ms.saturating_sub(begun.ms);
    let mut queue = QUEUE.lock();
    if queue.ended {
        return;
    }
    // The head of a record, a definition and a mark of what was lost are less than 256 bytes each.
    if queue.bytes.len() + arguments.len() + 1024 > WAITING_BYTES {
        queue.lost += 1;
        LOST.add(1);
        if queue.lost == 1 {
            log::write(Level::Warn, format_args!("recording: the disk is too slow, calls are lost"));
        }
        return;
    }
    if queue.total + arguments.len() as u64 + 1024 > queue.limit {
        queue.total = queue.limit;
        queue.end(Kind::END_LIMIT);
        MORE.notify_one();
        return;
    }
    queue.mark_lost();
    let number = function.number as usize;
    if let Some(defined) = queue.defined.get_mut(number)
        && !std::mem::replace(defined, true)
    {
        let mut definition = Encoder::new(vec![Kind::FUNCTION]);
        definition.number(number as u64);
        definition.text(function.name.as_bytes());
        (function.signature)(&mut definition);
        queue.append(&[&definition.into_bytes()]);
    }
    let meanwhile = CALLS.load(Ordering::Relaxed) - begun.calls;
    let mut head = arrayvec::ArrayVec::<u8, 64>::new();
    let mut what = flags::CALL;
    what |= flags::THREAD * (thread != queue.thread) as u8;
    what |= flags::LATER * (ms != queue.ms) as u8;
    what |= flags::MEANWHILE * (meanwhile != 0) as u8;
    what |= flags::INSIDE * begun.inside as u8;
    what |= flags::ELSEWHERE * ELSEWHERE.get() as u8;
    what |= flags::REFUSED * (status != 0) as u8;
    what |= flags::TOOK * (took != 0) as u8;
    head.push(what);
    encode::number(&mut head, number as u64);
    let fields = [
        (thread != queue.thread, thread as u64),
        (ms != queue.ms, ms.saturating_sub(queue.ms)),
        (meanwhile != 0, meanwhile),
        (status != 0, encode::zigzag(status as i64)),
        (took != 0, took),
    ];
    for (_, value) in fields.iter().filter(|(there, _)| *there) {
        encode::number(&mut head, *value);
    }
    (queue.thread, queue.ms) = (thread, ms.max(queue.ms));
    queue.append(&[&head, arguments]);
    CALLS.fetch_add(1, Ordering::Relaxed);
    if queue.bytes.len() >= WAITING_BYTES / 2 {
        MORE.notify_one();
    }
}

/// This thread's number, from 1 in the order of their first calls.
fn thread_number() -> u32 {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    if THREAD.get() == 0 {
        THREAD.set(THREADS.fetch_add(1, Ordering::Relaxed) as u32 + 1);
    }
    THREAD.get()
}

/// Runs a function of the caller's that was given to the library to be run on a stream: its calls are marked.
pub fn elsewhere<R>(run: impl FnOnce() -> R) -> R {
    let before = ELSEWHERE.replace(true);
    let result = run();
    ELSEWHERE.set(before);
    result
}

/// From here on calls on this thread are such from within the library's own work.
pub fn mark_thread() {
    ELSEWHERE.set(true);
}

/// Has everything written that was recorded so far, as far as that takes no more than two seconds.
pub fn flush() {
    if let Some(mut target) = TARGET.try_lock_for(PATIENCE) {
        write_out(&mut target, &mut Vec::with_capacity(WAITING_BYTES));
    }
}

/// The process exits.
pub fn close() {
    if ON.load(Ordering::Acquire)
        && let Some(mut queue) = QUEUE.try_lock_for(PATIENCE)
    {
        queue.end(Kind::END_EXIT);
    }
    // Also where it had ended before: at its limit.
    flush();
}

/// Says in the log what became of the recording: to be called when somebody begins to listen.
pub fn tell() {
    let told = TOLD.lock();
    match told.state {
        "" => {}
        "failed" => log::write(Level::Warn, format_args!("recording to {} failed: {}", told.file, told.why)),
        state => log::write(Level::Info, format_args!("recording to {}: {state}", told.file)),
    }
}

/// What a report says of it; `None` where nobody asked for one.
pub fn figures() -> Option<Record> {
    let told = TOLD.lock();
    if told.state.is_empty() {
        return None;
    }
    Some(
        Record::new("recording", "recording")
            .with("file", told.file.clone())
            .with("state", told.state)
            .with("reason", told.why.clone())
            .with("calls", CALLS.load(Ordering::Relaxed))
            .with("lost_calls", LOST.get())
            .with("written_bytes", WRITTEN.get()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_marked_before_the_end() {
        let mut queue = Queue::new();
        queue.lost = 3;
        queue.end(Kind::END_EXIT);
        assert_eq!(queue.bytes, [2, Kind::LOST, 3, 2, Kind::END, Kind::END_EXIT]);
        let mut queue = Queue::new();
        queue.end(Kind::END_EXIT);
        assert_eq!(queue.bytes, [2, Kind::END, Kind::END_EXIT], "nothing was");
    }

    /// The thread that writes may be late.
    #[test]
    fn an_exit_writes_what_was_recorded_up_to_the_limit() {
        let path = std::env::temp_dir().join(format!("gpubuf-limit-{}.rec", std::process::id()));
        let (target, _) = file::open(path.as_os_str(), None).expect("a file");
        *TARGET.lock() = Some(target);
        QUEUE.lock().end(Kind::END_LIMIT);
        close();
        assert_eq!(std::fs::read(&path).expect("a recording"), [2, Kind::END, Kind::END_LIMIT]);
        std::fs::remove_file(&path).expect("its end");
    }
}
