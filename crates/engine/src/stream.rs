//! Streams as callers see them.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::captured;
use crate::captures;
use crate::clock::Inside;
use crate::device::Device;
use crate::event::Event;
use crate::operation::{Op, OpKind, Task};
use crate::policy::{self, Fault};
use crate::queue::{Queue, Role};
use crate::worker;

/// A queue of operations with a worker thread of its own. Cloning gives another handle to the same stream. When the
/// last handle is dropped, holds are released, queued work still runs, and then the worker ends.
#[derive(Clone)]
pub struct Stream {
    handle: Arc<Handle>,
}

/// What all handles share; the worker has the queue but not this.
struct Handle {
    queue: Arc<Queue>,
    device: Device,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The legacy stream is the device's own, and stops with it.
        if self.queue.role != Role::Legacy {
            captures::stream_gone(&self.queue);
            // Nobody is left who could release it.
            self.queue.stop(true);
        }
    }
}

impl Stream {
    pub(crate) fn new(queue: Arc<Queue>, device: Device) -> Stream {
        Stream { handle: Arc::new(Handle { queue, device }) }
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.handle.queue
    }

    pub(crate) fn shared_queue(&self) -> &Arc<Queue> {
        &self.handle.queue
    }

    /// A number that no other stream of this process has or had; never 0.
    pub fn id(&self) -> u64 {
        self.queue().id
    }

    /// The stream's device.
    pub fn device(&self) -> Device {
        self.handle.device.clone()
    }

    /// Queues an operation and returns without waiting for it. A failure at execution shows in the next record with the
    /// same `tag` on this stream; tag 0 is for work whose failure nobody asks about. Addresses are looked up now, and
    /// allocations stay mapped until the operation is done, even if they are freed meanwhile.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] or [`Fault::InvalidAddress`] for bad arguments, [`Fault::OutOfHostMemory`] when there is
    /// no memory to stage a pageable source, [`Fault::OperationFailed`] for an armed fault, [`Fault::DeviceLost`],
    /// [`Fault::Closed`]; where captures are in the way, [`Fault::CaptureInvalidated`] on a stream that captures, and
    /// [`Fault::CaptureImplicit`] on the legacy stream. Nothing is queued then.
    ///
    /// # Safety
    /// The engine cannot check host memory that it does not own. If an [`Op::Copy`] names such memory, it must be
    /// readable (as a source) or writable (as a target) for `bytes` bytes: a source under [`Pageable::Staged`] until
    /// this call returns, any other until the operation is done. On a stream that captures it must be so, source or
    /// target, during each replay. The contents may change at any time. An [`Op::Call`]'s function must be sound to run
    /// with its arguments on another thread at any later time.
    ///
    /// [`Pageable::Staged`]: crate::Pageable::Staged
    pub unsafe fn submit(&self, op: Op, tag: u64) -> Result<(), Fault> {
        let _inside = Inside::enter();
        let queue = self.queue();
        captured::heed_implicit(queue)?;
        // SAFETY: this function's contract covers replays.
        if unsafe { captured::append(queue, &op)? } {
            return Ok(());
        }
        let stage = policy::stages(queue.device.settings().pageable);
        // SAFETY: this function's contract is the one that prepare asks for.
        let task = unsafe { Task::prepare(queue.device.id, op, stage)? };
        queue.push(task.kind(), tag, || task)
    }

    /// Queues a record of `event`: the event is pending from now until the stream has done all that was queued before.
    /// It then reports `Failed` if an operation with the same `tag`, other than 0, failed on this stream since the last
    /// record with that tag, or if this record failed.
    ///
    /// # Errors
    /// [`Fault::OperationFailed`], [`Fault::DeviceLost`], [`Fault::Closed`], [`Fault::OutOfHostMemory`],
    /// [`Fault::CaptureInvalidated`] or [`Fault::CaptureImplicit`]; the event is then as it was.
    pub fn record(&self, event: &Event, tag: u64) -> Result<(), Fault> {
        let _inside = Inside::enter();
        captured::heed_implicit(self.queue())?;
        if captured::record(self.queue(), &event.mark)? {
            return Ok(());
        }
        self.queue()
            .push(OpKind::Record, tag, || Task::Record { mark: event.mark.clone(), generation: event.mark.begin() })
    }

    /// Queues a wait for the newest record of `event` at this moment; later records do not move it. The event may be of
    /// any device. If it was never recorded, the wait passes at once. If the record is part of a capture, the stream joins
    /// that capture.
    ///
    /// # Errors
    /// As for [`record`](Stream::record). On a stream that captures, [`Fault::CaptureIsolation`] for an event that was not
    /// recorded in that capture, or [`Fault::CaptureMerge`] if it was in another. Else, [`Fault::CapturedEvent`] for one of
    /// a capture that has ended, and [`Fault::CaptureUnsupported`] for the legacy stream to join one. All of them but
    /// `CapturedEvent` invalidate the captures involved.
    pub fn wait_event(&self, event: &Event) -> Result<(), Fault> {
        let _inside = Inside::enter();
        captured::heed_implicit(self.queue())?;
        if captured::wait(self.shared_queue(), &event.mark)? {
            return Ok(());
        }
        self.queue()
            .push(OpKind::Wait, 0, || Task::Wait { mark: event.mark.clone(), generation: event.mark.generation() })
    }

    /// Has the stream start no further operation until each hold is released. An operation that is running goes on.
    pub fn hold(&self) {
        self.queue().state.lock().holders.push(thread_number());
    }

    /// Takes one hold back: this thread's latest, or the latest of all if this thread has none. Without holds it does
    /// nothing.
    pub fn release(&self) {
        let own = thread_number();
        let mut state = self.queue().state.lock();
        let latest = state.holders.iter().rposition(|holder| *holder == own);
        if let Some(index) = latest.or(state.holders.len().checked_sub(1)) {
            state.holders.remove(index);
        }
        if state.holders.is_empty() {
            self.queue().poke(state);
        }
    }

    /// Whether any thread holds the stream.
    pub fn is_held(&self) -> bool {
        !self.queue().state.lock().holders.is_empty()
    }

    /// Whether the calling thread holds the stream, so that waiting for it would be waiting for oneself.
    pub fn held_by_this_thread(&self) -> bool {
        self.queue().state.lock().holders.contains(&thread_number())
    }

    /// Whether nothing is queued or running.
    pub fn is_idle(&self) -> bool {
        self.queue().is_idle()
    }

    /// Whether all that was submitted has run; on the legacy stream, on blocking streams too. [`is_idle`](Stream::is_idle)
    /// looks without disturbing a capture.
    ///
    /// # Errors
    /// [`Fault::CaptureUnsupported`], which invalidates the capture, or [`Fault::CaptureInvalidated`] on a stream that
    /// captures; [`Fault::CaptureImplicit`] on the legacy stream; [`Fault::DeviceLost`].
    pub fn query(&self) -> Result<bool, Fault> {
        let _inside = Inside::enter();
        self.refuse_looking()?;
        if self.queue().device.is_lost() {
            return Err(Fault::DeviceLost);
        }
        Ok(self.queue().is_done() && self.ordered_with().iter().all(|queue| queue.is_done()))
    }

    /// Whether the stream is ordered with the device's legacy stream.
    pub fn is_blocking(&self) -> bool {
        self.queue().role == Role::Blocking
    }

    /// Whether this is the device's legacy stream.
    pub fn is_legacy(&self) -> bool {
        self.queue().role == Role::Legacy
    }

    /// Waits until all that was submitted before this call has run; on the legacy stream, on blocking streams too.
    /// Operations that failed do not make it fail.
    ///
    /// # Errors
    /// [`Fault::Timeout`]; [`Fault::DeviceLost`], always once the device is lost; [`Fault::InvalidValue`] inside a call
    /// of the same stream, which would wait for itself; where captures are in the way, as for [`query`](Stream::query).
    pub fn synchronize(&self, deadline: Option<Instant>) -> Result<(), Fault> {
        let _inside = Inside::enter();
        self.refuse_looking()?;
        let ordered = self.ordered_with();
        let own = worker::current_stream();
        if self.id() == own || ordered.iter().any(|queue| queue.id == own) {
            return Err(Fault::InvalidValue);
        }
        let target = self.queue().submitted();
        let targets: Vec<u64> = ordered.iter().map(|queue| queue.submitted()).collect();
        self.queue().wait_for(target, deadline)?;
        ordered.iter().zip(targets).try_for_each(|(queue, target)| queue.wait_for(target, deadline))
    }

    fn refuse_looking(&self) -> Result<(), Fault> {
        captured::heed_implicit(self.queue())?;
        captured::refuse_looking(self.queue())
    }

    /// The streams whose work a look at this one is a look at, too.
    fn ordered_with(&self) -> Vec<Arc<Queue>> {
        if self.is_legacy() { self.queue().device.order.blocking() } else { Vec::new() }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id()).finish()
    }
}

/// A number that no other thread of this process has or had.
pub(crate) fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static OWN: Cell<u64> = const { Cell::new(0) };
    }
    OWN.with(|own| {
        if own.get() == 0 {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    })
}
