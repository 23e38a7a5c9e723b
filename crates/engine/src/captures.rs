//! The captures of the process, and what may be done while they last.
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
use crate::event::Mark;
use crate::graph::{self, Node};
use crate::operation::{Op, OpKind};
use crate::policy::{self, Fault};
use crate::queue::{Queue, Role};
use crate::stream::thread_number;

/// A moment in a capture: what an event stands for that was recorded in it.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) capture: u64,
    /// The newest nodes of the stream.
    pub(crate) nodes: Vec<usize>,
}

struct Capture {
    id: u64,
    mode: CaptureMode,
    /// The thread and the stream that began it.
    thread: u64,
    origin: u64,
    members: Vec<Member>,
    nodes: Vec<Node>,
    invalid: bool,
}

/// A stream in a capture.
struct Member {
    queue: Weak<Queue>,
    stream: u64,
    device: u64,
    role: Role,
    /// The nodes that its next one comes after.
    newest: Vec<usize>,
}

impl Capture {
    fn member(&mut self, queue: &Queue) -> Result<&mut Member, Fault> {
        // A stream that names a capture is a member of it; both change under the captures' lock.
        self.members.iter_mut().find(|member| member.stream == queue.id).ok_or(Fault::InvalidValue)
    }

    fn enter(&mut self, queue: &Arc<Queue>, newest: Vec<usize>) {
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
    fn follow(&mut self, nodes: &[usize]) {
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

static CAPTURES: Mutex<Vec<Capture>> = Mutex::new(Vec::new());

/// How many captures there are, to spare the lock in the usual case.
static COUNT: AtomicUsize = AtomicUsize::new(0);

type Captures = MutexGuard<'static, Vec<Capture>>;

fn by_id(captures: &mut [Capture], id: u64) -> Option<&mut Capture> {
    captures.iter_mut().find(|capture| capture.id == id)
}

fn by_stream<'a>(captures: &'a mut [Capture], queue: &Queue) -> Option<&'a mut Capture> {
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

/// Runs `f` with the capture that the stream is in; `None` if it is in none, which costs one look.
fn with_capture<R>(queue: &Queue, f: impl FnOnce(&mut Capture) -> Result<R, Fault>) -> Result<Option<R>, Fault> {
    if !queue.is_capturing() {
        return Ok(None);
    }
    let mut captures = CAPTURES.lock();
    match by_stream(&mut captures, queue) {
        Some(capture) if capture.invalid => Err(Fault::CaptureInvalidated),
        Some(capture) => f(capture).map(Some),
        None => Ok(None),
    }
}

/// Makes the captures that `which` chooses invalid, and refuses with `fault` if there is any.
fn refuse_for(fault: Fault, which: impl Fn(&Capture) -> bool) -> Result<(), Fault> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    let mut refused = false;
    for capture in CAPTURES.lock().iter_mut().filter(|capture| which(capture)) {
        capture.invalid = true;
        refused = true;
    }
    if refused { Err(fault) } else { Ok(()) }
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

/// Adds an operation to the stream's capture; false if it is in none.
///
/// # Safety
/// As for [`Stream::submit`](crate::Stream::submit).
pub(crate) unsafe fn append(queue: &Queue, op: &Op) -> Result<bool, Fault> {
    let added = with_capture(queue, |capture| {
        let index = capture.nodes.len();
        capture.nodes.try_reserve(1).map_err(|_| Fault::OutOfHostMemory)?;
        let member = capture.member(queue)?;
        // SAFETY: this function's contract.
        let node = unsafe { Node::capture(queue.device.id, op, member.newest.clone())? };
        queue.device.refusal(node.kind())?;
        member.newest = vec![index];
        capture.nodes.push(node);
        Ok(())
    });
    Ok(added?.is_some())
}

/// Adds a graph's nodes to the stream's capture; false if it is in none.
pub(crate) fn launch(queue: &Queue, nodes: &[Node]) -> Result<bool, Fault> {
    let added = with_capture(queue, |capture| {
        let base = capture.nodes.len();
        capture.nodes.try_reserve(nodes.len()).map_err(|_| Fault::OutOfHostMemory)?;
        nodes.iter().try_for_each(|node| queue.device.refusal(node.kind()))?;
        if nodes.is_empty() {
            return Ok(());
        }
        let leaves = graph::leaves(nodes).into_iter().map(|leaf| base + leaf).collect();
        let before = std::mem::replace(&mut capture.member(queue)?.newest, leaves);
        for node in nodes {
            let mut node = node.clone();
            if node.after.is_empty() {
                node.after.clone_from(&before);
            } else {
                node.after.iter_mut().for_each(|index| *index += base);
            }
            capture.nodes.push(node);
        }
        Ok(())
    });
    Ok(added?.is_some())
}

/// Has an event stand for this moment of the stream's capture; false if it is in none.
pub(crate) fn record(queue: &Queue, mark: &Mark) -> Result<bool, Fault> {
    let recorded = with_capture(queue, |capture| {
        queue.device.refusal(OpKind::Record)?;
        let point = Point { capture: capture.id, nodes: capture.member(queue)?.newest.clone() };
        mark.capture(point);
        Ok(())
    });
    Ok(recorded?.is_some())
}

/// A wait for an event where the stream or the event is in a capture; false if neither is.
pub(crate) fn wait(queue: &Arc<Queue>, mark: &Mark) -> Result<bool, Fault> {
    if !queue.is_capturing() && !mark.is_captured() {
        return Ok(false);
    }
    let mut captures = CAPTURES.lock();
    let point = mark.point();
    let own = match by_stream(&mut captures, queue) {
        Some(capture) if capture.invalid => return Err(Fault::CaptureInvalidated),
        Some(capture) => Some(capture.id),
        None => None,
    };
    let Some(point) = point else {
        let Some(capture) = by_stream(&mut captures, queue) else { return Ok(false) };
        if mark.generation() > 0 {
            capture.invalid = true;
            return Err(Fault::CaptureIsolation);
        }
        return queue.device.refusal(OpKind::Wait).map(|()| true);
    };
    let running = by_id(&mut captures, point.capture);
    match (own, running) {
        (Some(own), Some(capture)) if own == capture.id => {
            queue.device.refusal(OpKind::Wait)?;
            capture.member(queue)?.follow(&point.nodes);
            Ok(true)
        }
        (_, Some(capture)) if capture.invalid => Err(Fault::CaptureInvalidated),
        (Some(own), running) => {
            let fault = if running.is_some() { Fault::CaptureMerge } else { Fault::CaptureIsolation };
            for id in [own, point.capture] {
                if let Some(capture) = by_id(&mut captures, id) {
                    capture.invalid = true;
                }
            }
            Err(fault)
        }
        (None, Some(capture)) => {
            queue.admit()?;
            if queue.role == Role::Legacy {
                capture.invalid = true;
                return Err(Fault::CaptureUnsupported);
            }
            queue.device.refusal(OpKind::Wait)?;
            capture.enter(queue, point.nodes);
            Ok(true)
        }
        (None, None) => Err(Fault::CapturedEvent),
    }
}

/// Refuses to ask a stream that captures how far it is, or to wait for it.
pub(crate) fn refuse_looking(queue: &Queue) -> Result<(), Fault> {
    let refused = with_capture(queue, |capture| {
        capture.invalid = true;
        Err::<(), Fault>(Fault::CaptureUnsupported)
    });
    refused.map(drop)
}

/// Refuses to wait for a device of which a stream captures.
pub(crate) fn refuse_device_wait(device: u64) -> Result<(), Fault> {
    refuse_for(Fault::CaptureUnsupported, |capture| capture.members.iter().any(|member| member.device == device))
}

/// Refuses any use of a legacy stream that a capture is in the way of; other streams pass at once.
pub(crate) fn heed_implicit(queue: &Queue) -> Result<(), Fault> {
    if queue.role != Role::Legacy {
        return Ok(());
    }
    let ordered = |member: &Member| member.device == queue.device.id && member.role == Role::Blocking;
    refuse_for(Fault::CaptureImplicit, |capture| {
        policy::forbids_implicit_order(capture.mode) && capture.members.iter().any(ordered)
    })
}

/// Refuses a potentially unsafe call of this thread, which has the capture mode `mode`.
pub(crate) fn heed_unsafe(mode: CaptureMode) -> Result<(), Fault> {
    let own = thread_number();
    refuse_for(Fault::CaptureUnsupported, |capture| {
        policy::forbids_unsafe_calls(capture.mode, capture.thread == own, mode)
    })
}

/// A look at a captured event, which its capture does not survive.
pub(crate) fn looked_at(mark: &Mark) {
    let mut captures = CAPTURES.lock();
    if let Some(point) = mark.point()
        && let Some(capture) = by_id(&mut captures, point.capture)
    {
        capture.invalid = true;
    }
}

pub(crate) fn is_capturing(device: u64) -> bool {
    COUNT.load(Ordering::Acquire) > 0
        && CAPTURES.lock().iter().any(|capture| capture.members.iter().any(|member| member.device == device))
}

/// Takes a stream that nobody has a handle to out of its capture.
pub(crate) fn stream_gone(queue: &Queue) {
    if queue.is_capturing() {
        take_out(|member| member.stream == queue.id);
    }
}

/// Takes the streams of a device that was lost or closed out of their captures.
pub(crate) fn device_gone(device: u64) {
    if COUNT.load(Ordering::Acquire) > 0 {
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
