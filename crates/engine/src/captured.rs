//! What calls do while there are captures: go into one, or be refused for one.

use std::sync::Arc;

use crate::capture::CaptureMode;
use crate::captures::{self, CAPTURES, Capture, Member, Point, by_id, by_stream};
use crate::event::Mark;
use crate::graph::{self, Node};
use crate::operation::{Op, OpKind};
use crate::policy::{self, Fault};
use crate::queue::{Queue, Role};
use crate::stream::thread_number;

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

/// Makes the captures that `which` chooses invalid, and refuses with `fault` if there is any.
fn refuse_for(fault: Fault, which: impl Fn(&Capture) -> bool) -> Result<(), Fault> {
    if captures::are_none() {
        return Ok(());
    }
    let mut refused = false;
    for capture in CAPTURES.lock().iter_mut().filter(|capture| which(capture)) {
        capture.invalid = true;
        refused = true;
    }
    if refused { Err(fault) } else { Ok(()) }
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
