//! Streams as callers see them.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::clock::Inside;
use crate::device::Device;
use crate::event::Event;
use crate::operation::{Op, OpKind, Task};
use crate::policy::{self, Fault};
use crate::queue::Queue;
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
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left who could release it.
        self.queue.stop(true);
    }
}

impl Stream {
    pub(crate) fn new(queue: Arc<Queue>) -> Stream {
        Stream { handle: Arc::new(Handle { queue }) }
    }

    fn queue(&self) -> &Queue {
        &self.handle.queue
    }

    /// A number that no other stream of this process has or had; never 0.
    pub fn id(&self) -> u64 {
        self.queue().id
    }

    /// The stream's device.
    pub fn device(&self) -> Device {
        Device::of(self.queue().device.clone())
    }

    /// Queues an operation and returns without waiting for it. A failure at execution shows in the next record with the
    /// same `tag` on this stream; tag 0 is for work whose failure nobody asks about. Addresses are looked up now, and
    /// allocations stay mapped until the operation is done, even if they are freed meanwhile.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] or [`Fault::InvalidAddress`] for bad arguments, [`Fault::OutOfHostMemory`] when there is
    /// no memory to stage a pageable source, [`Fault::OperationFailed`] for an armed fault, [`Fault::DeviceLost`],
    /// [`Fault::Closed`]. Nothing is queued then.
    ///
    /// # Safety
    /// The engine cannot check host memory that it does not own. If an [`Op::Copy`] names such memory, it must be
    /// readable (as a source) or writable (as a target) for `bytes` bytes: a source under [`Pageable::Staged`] until
    /// this call returns, any other until the operation is done. The contents may change at any time. An [`Op::Call`]'s
    /// function must be sound to run with its arguments on another thread at any later time.
    ///
    /// [`Pageable::Staged`]: crate::Pageable::Staged
    pub unsafe fn submit(&self, op: Op, tag: u64) -> Result<(), Fault> {
        let _inside = Inside::enter();
        let queue = self.queue();
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
    /// [`Fault::OperationFailed`], [`Fault::DeviceLost`], [`Fault::Closed`] or [`Fault::OutOfHostMemory`]; the event is
    /// then as it was.
    pub fn record(&self, event: &Event, tag: u64) -> Result<(), Fault> {
        let _inside = Inside::enter();
        self.queue()
            .push(OpKind::Record, tag, || Task::Record { mark: event.mark.clone(), generation: event.mark.begin() })
    }

    /// Queues a wait for the newest record of `event` at this moment; later records do not move it. The event may be of
    /// any device. If it was never recorded, the wait passes at once.
    ///
    /// # Errors
    /// As for [`record`](Stream::record).
    pub fn wait_event(&self, event: &Event) -> Result<(), Fault> {
        let _inside = Inside::enter();
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
        let state = self.queue().state.lock();
        state.items.is_empty() && !state.busy
    }

    /// Whether all that was submitted has run; on the legacy stream, on blocking streams too. [`is_idle`](Stream::is_idle)
    /// looks without disturbing a capture.
    ///
    /// # Errors
    /// [`Fault::CaptureUnsupported`], which invalidates the capture, or [`Fault::CaptureInvalidated`] on a stream that
    /// captures; [`Fault::CaptureImplicit`] on the legacy stream; [`Fault::DeviceLost`].
    pub fn query(&self) -> Result<bool, Fault> {
        todo!()
    }

    /// Whether the stream is ordered with the legacy stream.
    pub fn is_blocking(&self) -> bool {
        todo!()
    }

    /// Whether this is the device's legacy stream.
    pub fn is_legacy(&self) -> bool {
        todo!()
    }

    /// Waits until all that was submitted before this call has run. Operations that failed do not make it fail.
    ///
    /// # Errors
    /// [`Fault::Timeout`]; [`Fault::DeviceLost`], always once the device is lost; [`Fault::InvalidValue`] inside a call
    /// of the same stream, which would wait for itself.
    pub fn synchronize(&self, deadline: Option<Instant>) -> Result<(), Fault> {
        let _inside = Inside::enter();
        if worker::current_stream() == self.id() {
            return Err(Fault::InvalidValue);
        }
        self.queue().wait_for(self.queue().submitted(), deadline)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id()).finish()
    }
}

/// A number that no other thread of this process has or had.
fn thread_number() -> u64 {
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
