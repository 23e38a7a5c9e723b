//! The captures of the process: how they begin and end, and which streams are in them.
//!
//! They are the process's, not a device's: streams of several devices may be in one, and a `Global` one concerns every
//! thread. Those that are invalid stay until they are ended.
//!
//! # Locks
//! Where several are held at a time they are taken in this order: a device's legacy stream, its list of streams, the
//! captures, the list of blocking streams, one stream's queue, and last an event's records, the armed faults or the map
//! of addresses. Nobody holds two queues or two events.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::capture::{CaptureMode, CaptureStatus};
use crate::graph::{self, Node};
use crate::policy::Fault;
use crate::queue::{Queue, Role};
use crate::stream::thread_number;

/// A moment in a capture: what an event stands for that was recorded in it.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) capture: u64,
    /// The newest nodes of the stream.
    pub(crate) nodes: Vec<usize>,
}

pub(crate) struct Capture {
    pub(crate) id: u64,
    pub(crate) mode: CaptureMode,
    /// The thread and the stream that began it.
    pub(crate) thread: u64,
    origin: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) nodes: Vec<Node>,
    /// By a call that captures do not allow; it stays so until it is ended.
    pub(crate) invalid: bool,
}

/// A stream in a capture.
pub(crate) struct Member {
    queue: Weak<Queue>,
    stream: u64,
    pub(crate) device: u64,
    pub(crate) role: Role,
    /// The nodes that its next one comes after.
    pub(crate) newest: Vec<usize>,
}

impl Capture {
    pub(crate) fn member(&mut self, queue: &Queue) -> Result<&mut Member, Fault> {
        // A stream that names a capture is a member of it; both change under the captures' lock.
        self.members.iter_mut().find(|member| member.stream == queue.id).ok_or(Fault::InvalidValue)
    }

    /// Takes a stream in, whose next node comes after `newest`.
    pub(crate) fn enter(&mut self, queue: &Arc<Queue>, newest: Vec<usize>) {
        self.members.push(Member {
            queue: Arc::downgrade(queue),
            stream: queue.id,
            device: queue.device.id,
            role: queue.role,
            newest,
        });
        queue.capture.store(self.id, Ordering::Release);
    }
}

impl Member {
    /// Its next node comes after these, too.
    pub(crate) fn follow(&mut self, nodes: &[usize]) {
        for node in nodes {
            if !self.newest.contains(node) {
                self.newest.push(*node);
            }
        }
    }

    fn leave(&self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.capture.store(0, Ordering::Release);
        }
    }
}

pub(crate) static CAPTURES: Mutex<Vec<Capture>> = Mutex::new(Vec::new());

/// How many captures there are, to spare the lock in the usual case.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether there is no capture in the process; costs one look.
pub(crate) fn are_none() -> bool {
    COUNT.load(Ordering::Acquire) == 0
}

type Captures = MutexGuard<'static, Vec<Capture>>;

pub(crate) fn by_id(captures: &mut [Capture], id: u64) -> Option<&mut Capture> {
    captures.iter_mut().find(|capture| capture.id == id)
}

pub(crate) fn by_stream<'a>(captures: &'a mut [Capture], queue: &Queue) -> Option<&'a mut Capture> {
    // Again, under the lock: the capture may have ended.
    by_id(captures, queue.capture.load(Ordering::Relaxed))
}

/// Takes a capture out of the list, and its streams out of the capture.
fn remove(captures: &mut Captures, id: u64) -> Option<Capture> {
    let index = captures.iter().position(|capture| capture.id == id)?;
    let capture = captures.swap_remove(index);
    COUNT.store(captures.len(), Ordering::Release);
    capture.members.iter().for_each(Member::leave);
    Some(capture)
}

pub(crate) fn begin(queue: &Arc<Queue>, mode: CaptureMode) -> Result<(), Fault> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut captures = CAPTURES.lock();
    // Under the lock, as a loss or a close that comes after this looks for captures to end.
    queue.admit()?;
    if queue.role == Role::Legacy {
        return Err(Fault::CaptureUnsupported);
    }
    if let Some(capture) = by_stream(&mut captures, queue) {
        return Err(if capture.invalid { Fault::CaptureInvalidated } else { Fault::InvalidValue });
    }
    let mut capture = Capture {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        mode,
        thread: thread_number(),
        origin: queue.id,
        members: Vec::new(),
        nodes: Vec::new(),
        invalid: false,
    };
    capture.enter(queue, Vec::new());
    captures.push(capture);
    COUNT.store(captures.len(), Ordering::Release);
    Ok(())
}

pub(crate) fn end(queue: &Queue) -> Result<Vec<Node>, Fault> {
    let mut captures = CAPTURES.lock();
    let Some(capture) = by_stream(&mut captures, queue) else {
        queue.admit()?;
        return Err(Fault::InvalidValue);
    };
    if capture.origin != queue.id {
        return Err(Fault::CaptureUnmatched);
    }
    if capture.mode != CaptureMode::Relaxed && capture.thread != thread_number() {
        return Err(Fault::CaptureWrongThread);
    }
    let id = capture.id;
    let mut capture = remove(&mut captures, id).ok_or(Fault::InvalidValue)?;
    if capture.invalid {
        return Err(Fault::CaptureInvalidated);
    }
    let ends = std::mem::take(&mut capture.member(queue)?.newest);
    if graph::all_lead_to(&capture.nodes, &ends) { Ok(capture.nodes) } else { Err(Fault::CaptureUnjoined) }
}

pub(crate) fn status(queue: &Queue) -> CaptureStatus {
    if !queue.is_capturing() {
        return CaptureStatus::None;
    }
    match by_stream(&mut CAPTURES.lock(), queue) {
        Some(Capture { id, invalid: false, .. }) => CaptureStatus::Active { id: *id },
        Some(Capture { id, .. }) => CaptureStatus::Invalidated { id: *id },
        None => CaptureStatus::None,
    }
}

pub(crate) fn is_capturing(device: u64) -> bool {
    !are_none() && CAPTURES.lock().iter().any(|capture| capture.members.iter().any(|member| member.device == device))
}

/// Takes a stream that nobody has a handle to out of its capture.
pub(crate) fn stream_gone(queue: &Queue) {
    if queue.is_capturing() {
        take_out(|member| member.stream == queue.id);
    }
}

/// Takes the streams of a device that was lost or closed out of their captures.
pub(crate) fn device_gone(device: u64) {
    if !are_none() {
        take_out(|member| member.device == device);
    }
}

/// A capture ends with the stream that began it, and is invalid without another.
fn take_out(gone: impl Fn(&Member) -> bool) {
    let mut captures = CAPTURES.lock();
    let mut over = Vec::new();
    for capture in captures.iter_mut() {
        if capture.members.iter().any(|member| member.stream == capture.origin && gone(member)) {
            over.push(capture.id);
        } else {
            let before = capture.members.len();
            capture.members.retain(|member| {
                let gone = gone(member);
                if gone {
                    member.leave();
                }
                !gone
            });
            capture.invalid |= capture.members.len() < before;
        }
    }
    for id in over {
        drop(remove(&mut captures, id));
    }
}
