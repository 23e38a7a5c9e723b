//! What an object is called in messages, and where it was made.

use crate::sync::plain::AtomicU64;
use crate::sync::{Arc, AtomicBool, Mutex, OnceLock, Ordering};
use std::backtrace::Backtrace;
use std::collections::HashMap;
use std::fmt;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Frames of the caller's that a site has, at most.
const FRAMES: usize = 6;

/// An object's kind, number and optional label: `pool "inputs"`, or `pool #7`.
pub struct Name {
    kind: &'static str,
    number: u64,
    label: Mutex<String>,
    /// Whose part it is: `block 3 of pool "inputs"`.
    whole: Option<Arc<Name>>,
    /// Where it was made, if that is tracked. The frames are found now, their names when somebody asks.
    made: Option<Box<Backtrace>>,
}

/// A device is debugged: sites are tracked from then on.
static DEBUGGED: AtomicBool = AtomicBool::new(false);

/// Whether sites are tracked: with `GPUBUF_TRACK=1`, read once, or in the debug mode, since each costs a walk of the stack.
fn is_tracking() -> bool {
    static TRACKING: OnceLock<bool> = OnceLock::new();
    DEBUGGED.load(Ordering::Relaxed)
        || *TRACKING.get_or_init(|| std::env::var_os("GPUBUF_TRACK").is_some_and(|value| value == "1"))
}

/// Sites are tracked from now on.
pub(super) fn track() {
    DEBUGGED.store(true, Ordering::Relaxed);
}

/// The most frames that tell one place from another.
const DEPTH: usize = 24;

/// A place in the caller's program, by the stack that leads there. Each is put in words once.
#[derive(Clone, Copy, Default)]
pub(super) struct Site(Option<&'static str>);

impl Site {
    /// Where this is called.
    #[inline(never)]
    pub(super) fn here() -> Site {
        static SITES: Mutex<Option<HashMap<Vec<usize>, &'static str>>> = Mutex::new(None);
        let mut frames = [std::ptr::null_mut(); DEPTH];
        // SAFETY: room for as many frames as are named.
        let count = unsafe { libc::backtrace(frames.as_mut_ptr(), DEPTH as i32) };
        let key: Vec<usize> = frames.iter().take(count.max(0) as usize).map(|frame| frame.addr()).collect();
        if let Some(known) = SITES.lock().get_or_insert_default().get(&key) {
            return Site(Some(known));
        }
        // Under no lock: this reads files.
        let text: &'static str = callers(&Backtrace::force_capture().to_string()).leak();
        Site(Some(SITES.lock().get_or_insert_default().entry(key).or_insert(text)))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.filter(|site| !site.is_empty()).unwrap_or("code whose stack could not be walked"))
    }
}

impl Name {
    /// A new name; numbers are never reused.
    pub fn new(kind: &'static str, label: &str) -> Name {
        Name {
            kind,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            label: Mutex::new(label.to_string()),
            whole: None,
            made: is_tracking().then(|| Box::new(Backtrace::force_capture())),
        }
    }

    /// The name of part `number` of a whole.
    pub fn part(kind: &'static str, number: u64, whole: &Arc<Name>) -> Name {
        Name { kind, number, label: Mutex::new(String::new()), whole: Some(whole.clone()), made: None }
    }

    /// What it is: `pool`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The object's number, unique in the process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Changes the label; empty takes it away.
    pub fn set_label(&self, label: &str) {
        *self.label.lock() = label.to_string();
    }

    /// The label; empty if it has none.
    pub fn label(&self) -> String {
        self.label.lock().clone()
    }

    /// The caller's frames where it, or the whole that it is a part of, was made, innermost first; empty if that was not
    /// tracked.
    pub fn site(&self) -> String {
        match (&self.made, &self.whole) {
            (Some(made), _) => callers(&made.to_string()),
            (None, Some(whole)) => whole.site(),
            (None, None) => String::new(),
        }
    }
}

/// The frames of a backtrace's text outside of the library, as `function at file:line`, separated by ` < `.
fn callers(trace: &str) -> String {
    let frames = frames(trace);
    // The outermost frame of the library's, C++ wrapper included, was called by the caller.
    in_words(&frames, frames.iter().rposition(|frame| is_ours(frame)))
}

/// As [`callers`], of a stack that a handler of faults is on: the frames that it interrupted, whoever called them.
pub(super) fn callers_of_fault(trace: &str) -> String {
    let frames = frames(trace);
    let handler = |frame: &String| frame.contains("trap::on_fault") || frame.starts_with("__restore_rt");
    let mut last = frames.iter().rposition(handler);
    // The system's way back from a handler has no name everywhere, and what a store is made of is of no interest.
    while let Some(next) = last.and_then(|last| frames.get(last + 1))
        && (next.starts_with("<unknown>") || next.starts_with("core::"))
    {
        last = last.map(|last| last + 1);
    }
    in_words(&frames, last)
}

fn in_words(frames: &[String], last: Option<usize>) -> String {
    let first = last.map_or(0, |last| last + 1);
    let own = frames[first..].iter().take_while(|frame| !is_runtime(frame)).take(FRAMES);
    own.cloned().collect::<Vec<_>>().join(" < ")
}

fn frames(trace: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in trace.lines().map(str::trim) {
        match line.split_once(": ") {
            Some((number, function)) if number.bytes().all(|c| c.is_ascii_digit()) => frames.push(function.into()),
            _ => {
                if let (Some(frame), Some(_)) = (frames.last_mut(), line.strip_prefix("at ")) {
                    *frame = format!("{frame} {line}");
                }
            }
        }
    }
    frames
}

fn is_ours(frame: &str) -> bool {
    ["gpubuf_", "gpubuf::", "<gpubuf::", "_ZN6gpubuf", "_ZNK6gpubuf", "std::backtrace"]
        .iter()
        .any(|own| frame.starts_with(own))
}

fn is_runtime(frame: &str) -> bool {
    ["__libc_start", "_start", "start_thread", "clone"].iter().any(|end| frame.starts_with(end))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label.lock();
        if let Some(whole) = &self.whole {
            write!(f, "{} {} of {whole}", self.kind, self.number)
        } else if label.is_empty() {
            write!(f, "{} #{}", self.kind, self.number)
        } else {
            write!(f, "{} \"{label}\"", self.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_begins_outside_of_the_library_and_ends_where_the_program_does() {
        let trace = "   0: std::backtrace::Backtrace::create\n   1: gpubuf::fence::name::Name::new\n             at ./src/fence/name.rs:40:9\n   2: gpubuf_buffer_create\n   3: _ZN6gpubuf6buffer6createERKNS_6deviceE\n             at /usr/include/gpubuf/hpp/buffer.hpp:12:3\n   4: load_weights(int)\n             at /app/model.cpp:77:5\n   5: main\n             at /app/main.cpp:9\n   6: __libc_start_call_main\n   7: _start\n";
        assert_eq!(callers(trace), "load_weights(int) at /app/model.cpp:77:5 < main at /app/main.cpp:9");
        assert_eq!(callers(""), "");
        assert_eq!(callers("disabled backtrace"), "");
        let deep: String = (0..20).map(|n| format!("  {n}: f{n}\n")).collect();
        assert_eq!(callers(&deep).matches(" < ").count(), FRAMES - 1);
    }

    #[test]
    fn a_trace_taken_now_is_understood() {
        let trace = Backtrace::force_capture().to_string();
        assert!(trace.contains("a_trace_taken_now_is_understood"), "{trace}");
        // All of this test is the library's own; what called it is not.
        assert!(!callers(&trace).contains("a_trace_taken_now"), "{}", callers(&trace));
    }
}
