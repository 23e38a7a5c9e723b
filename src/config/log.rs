//! Messages for the application's log: few, and never needed to understand a status.
//!
//! [`write`] only queues, so it may be called under any lock; [`deliver`] calls the sink, under none. The C boundary delivers
//! at the end of each call. Nobody listening costs one load.

use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fmt;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug = 0,
    /// Good to know.
    Info = 1,
    /// Something was lost, late, or done twice.
    Warn = 2,
    /// The library or the device failed.
    Error = 3,
}

/// Whoever listens. It may call the library, also [`set_sink`].
pub type Sink = Arc<dyn Fn(Level, &CStr) + Send + Sync>;

/// The most messages that wait for delivery; the oldest make room.
const QUEUED: usize = 256;

static SINK: Mutex<Option<Sink>> = Mutex::new(None);
static LISTENING: AtomicBool = AtomicBool::new(false);
static QUEUE: Mutex<VecDeque<(Level, CString)>> = Mutex::new(VecDeque::new());
static WAITING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Inside the sink: what it makes the library say waits for the sink's return.
    static DELIVERING: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the sink; `None` is silence. The old one may still be running on other threads when this returns.
pub fn set_sink(sink: Option<Sink>) {
    let listening = sink.is_some();
    let old = {
        let mut place = SINK.lock();
        LISTENING.store(listening, Ordering::Release);
        std::mem::replace(&mut *place, sink)
    };
    if !listening {
        let mut queue = QUEUE.lock();
        queue.clear();
        WAITING.store(0, Ordering::Release);
    }
    // Dropped under no lock: it may own anything.
    drop(old);
}

/// Whether anybody listens: a message that costs work to make is made only then.
pub fn is_listened_to() -> bool {
    LISTENING.load(Ordering::Acquire)
}

/// Queues a message, if anybody listens.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if !is_listened_to() {
        return;
    }
    let mut text = message.to_string();
    text.retain(|c| c != '\0');
    let Ok(text) = CString::new(text) else { return };
    let mut queue = QUEUE.lock();
    if queue.len() == QUEUED {
        queue.pop_front();
    }
    queue.push_back((level, text));
    WAITING.store(queue.len(), Ordering::Release);
}

/// Hands what is queued to the sink. To be called under no lock.
pub fn deliver() {
    let waiting = WAITING.load(Ordering::Acquire);
    if waiting == 0 || DELIVERING.replace(true) {
        return;
    }
    // Not more than there is now: a sink that makes messages must not keep this thread for ever.
    for _ in 0..waiting {
        if WAITING.load(Ordering::Acquire) == 0 {
            // Also in a child that the sink forked.
            break;
        }
        let message = {
            let mut queue = QUEUE.lock();
            let message = queue.pop_front();
            WAITING.store(queue.len(), Ordering::Release);
            message
        };
        let sink = SINK.lock().clone();
        match (sink, message) {
            (Some(sink), Some((level, text))) => sink(level, &text),
            _ => break,
        }
    }
    DELIVERING.set(false);
}

/// This process is a child: what waits is its parent's to deliver, and the locks may be those of threads that are not here. May be
/// called in a handler after fork.
pub fn forked() {
    LISTENING.store(false, Ordering::Release);
    WAITING.store(0, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_may_speak_and_replace_itself() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink: Sink = {
            let heard = heard.clone();
            Arc::new(move |level, text| {
                heard.lock().push((level, text.to_str().unwrap().to_owned()));
                if heard.lock().len() == 1 {
                    write(Level::Debug, format_args!("from the sink"));
                    deliver();
                } else {
                    set_sink(None);
                }
            })
        };
        write(Level::Info, format_args!("nobody listens"));
        set_sink(Some(sink));
        write(Level::Warn, format_args!("a \0 zero"));
        deliver();
        assert_eq!(*heard.lock(), [(Level::Warn, "a  zero".to_owned())]);
        deliver();
        assert_eq!(heard.lock().len(), 2);
        write(Level::Error, format_args!("silence"));
        deliver();
        assert_eq!(heard.lock().len(), 2);
    }
}
