//! The thread behind a stream.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::{EventState, Mark};
use crate::faults::FailedTags;
use crate::operation::{Compare, Place, Task, copy_racing, direction};
use crate::policy;
use crate::queue::{Item, Queue, Role};
use crate::scatter::Ran;
use crate::view::View;

/// How long a worker looks for work before it sleeps: a busy submitter then rarely pays for waking it.
const LINGER: Duration = Duration::from_micros(20);

/// How long a worker sleeps between two looks at a value.
const POLL: Duration = Duration::from_micros(50);

/// Most bytes moved between two looks at whether the device was lost.
const STRIDE: usize = 4 << 20;

/// Parts of a copy that takes modelled time; each is moved when its share of the time is over.
const PIECES: u64 = 4;

thread_local! {
    static STREAM: Cell<u64> = const { Cell::new(0) };
}

/// Whether the calling thread is a worker of the engine, as it is inside a [`Op::Call`](crate::Op::Call).
pub fn on_worker_thread() -> bool {
    current_stream() != 0
}

/// The stream whose worker the calling thread is; 0 for other threads.
pub(crate) fn current_stream() -> u64 {
    STREAM.with(Cell::get)
}

enum Outcome {
    Done,
    Failed,
    /// Stopped by the loss of the device.
    Lost,
}

/// Runs a stream's operations until it is closed or lost.
pub(crate) fn run(queue: Arc<Queue>) {
    STREAM.with(|stream| stream.set(queue.id));
    clock::sharpen_timers();
    let _ = queue.worker.set(thread::current());
    let mut failed = FailedTags::new();
    let mut ran = false;
    while let Some(item) = next(&queue, ran) {
        let kind = item.task.kind();
        let tally = match execute(&queue, &item, &mut failed) {
            Outcome::Done => &queue.device.tallies.executed,
            Outcome::Failed => {
                failed.note(item.tag);
                &queue.device.tallies.failed
            }
            Outcome::Lost => &queue.device.tallies.dropped,
        };
        tally.add(kind);
        // Before the operation counts as finished: its memory must be back by then.
        drop(item);
        ran = true;
    }
    let device = queue.device.clone();
    queue.ended.store(true, Ordering::Release);
    drop(queue);
    device.worker_ended();
}

/// Waits for the next operation to run; `None` when there will be none. `ran` tells that the last one is done.
fn next(queue: &Queue, mut ran: bool) -> Option<Item> {
    let device = &queue.device;
    // The operation whose delay is over; it is not taken out before, so that a hold can still stop it.
    let mut delayed = None;
    // The operation that the order between streams lets start; what it waited for stays finished.
    let mut cleared = None;
    let mut linger = None;
    loop {
        let mut state = queue.state.lock();
        if ran {
            queue.finish(&mut state);
            ran = false;
            if queue.role != Role::Free && device.order.is_in_use() {
                drop(state);
                device.order.progressed(queue.role);
                continue;
            }
        }
        if device.is_lost() || (state.closing && state.items.is_empty()) {
            return None;
        }
        let seen = queue.pokes.load(Ordering::Acquire);
        let mut ready = state.holders.is_empty() && !state.items.is_empty();
        let ticket = state.items.front().map_or(0, |item| item.ticket);
        if ready && ticket > 0 && cleared != Some(state.finished) {
            let position = state.finished;
            drop(state);
            if device.order.is_clear(queue.role, ticket) {
                cleared = Some(position);
                continue;
            }
            state = queue.state.lock();
            // Whoever was in the way may have finished since, and its nudge come too early.
            if queue.pokes.load(Ordering::Acquire) != seen {
                continue;
            }
            ready = false;
        }
        if ready {
            let position = state.finished;
            let ns = device.settings().delay.before(queue.ordinal, position);
            if ns > 0 && delayed != Some(position) {
                drop(state);
                clock::pause_until(Instant::now() + Duration::from_nanos(ns), || device.is_lost());
                delayed = Some(position);
                continue;
            }
            let item = state.items.pop_front()?;
            state.busy = true;
            if let Task::Record { mark, generation } = &item.task {
                state.recording = Some((mark.clone(), *generation));
            }
            return Some(item);
        }
        let until = *linger.get_or_insert_with(|| Instant::now() + LINGER);
        if Instant::now() < until {
            drop(state);
            while queue.pokes.load(Ordering::Acquire) == seen && Instant::now() < until {
                thread::yield_now();
            }
        } else {
            state.asleep = true;
            drop(state);
            // A stale token only makes it look once more.
            thread::park();
            queue.state.lock().asleep = false;
            linger = None;
        }
    }
}

fn execute(queue: &Queue, item: &Item, failed: &mut FailedTags) -> Outcome {
    // A record has something to end even if it fails.
    if let Task::Record { mark, generation } = &item.task {
        let failure = failed.take(item.tag) || item.doomed;
        let state = if failure { EventState::Failed } else { EventState::Complete };
        mark.end(*generation, state);
        return if item.doomed { Outcome::Failed } else { Outcome::Done };
    }
    if item.doomed {
        return Outcome::Failed;
    }
    match &item.task {
        Task::Replay { nodes, index } => match nodes[*index].prepare() {
            Ok(task) => perform(queue, &task, nodes[*index].device()),
            Err(_) => Outcome::Failed,
        },
        task => perform(queue, task, queue.device.id),
    }
}

/// Runs an operation that came from a stream of `device`.
fn perform(queue: &Queue, task: &Task, device: u64) -> Outcome {
    match task {
        Task::Copy { dst, src, bytes } => copy(queue, dst, src, [*bytes; 2], *bytes, 1),
        Task::CopyRows { dst, src, pitches, width, rows } => copy(queue, dst, src, *pitches, *width, *rows),
        Task::Fill { dst, width, value, count } => fill(queue, dst.target(0), usize::from(*width), *value, *count),
        Task::Scatter(scatter) => match scatter.run(|| queue.device.is_lost()) {
            Ran::Done => Outcome::Done,
            Ran::Astray => Outcome::Failed,
            Ran::Lost => Outcome::Lost,
        },
        Task::Delay { ns } => pause(queue, Instant::now(), *ns),
        Task::Call { function, arguments } => {
            let view = View::new(device, queue.id);
            match catch_unwind(AssertUnwindSafe(|| function(&view, *arguments))) {
                Ok(()) => Outcome::Done,
                Err(payload) => {
                    // Dropping a payload may panic in turn, which would end the worker.
                    std::mem::forget(payload);
                    Outcome::Failed
                }
            }
        }
        Task::Wait { mark, generation } => wait(queue, mark, *generation),
        Task::WaitValue { word, value, compare } => wait_value(queue, word, *value, *compare),
        Task::WriteValue { word, value } => {
            // A release, as what the stream wrote before must be there for whoever sees the value.
            word.as_word().store(*value, Ordering::Release);
            Outcome::Done
        }
        // Records are settled above, and no node of a graph is a replay.
        Task::Record { .. } | Task::Replay { .. } => Outcome::Done,
    }
}

fn pause(queue: &Queue, start: Instant, ns: u64) -> Outcome {
    let end = start + Duration::from_nanos(ns);
    match clock::pause_until(end, || queue.device.is_lost()) {
        true => Outcome::Done,
        false => Outcome::Lost,
    }
}

/// Copies rows, `pitches` bytes apart in the target and in the source. One row is a plain copy.
fn copy(queue: &Queue, dst: &Place, src: &Place, pitches: [usize; 2], width: usize, rows: usize) -> Outcome {
    let start = Instant::now();
    let bytes = width * rows;
    let direction = direction(dst, src);
    let settings = queue.device.settings();
    let (latency, transfer) = match direction.crosses_link() {
        true => (settings.latency_ns, settings.transfer_ns(bytes)),
        false => (0, 0),
    };
    let pieces = if transfer == 0 { 1 } else { PIECES };
    let mut at = 0;
    for piece in 1..=pieces {
        let share = u128::from(transfer) * u128::from(piece) / u128::from(pieces);
        let due = latency.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
        if let Outcome::Lost = pause(queue, start, due) {
            return Outcome::Lost;
        }
        let end = (bytes as u128 * u128::from(piece) / u128::from(pieces)) as usize;
        while at < end {
            if queue.device.is_lost() {
                return Outcome::Lost;
            }
            let (row, column) = (at / width, at % width);
            let step = (end - at).min(STRIDE).min(width - column);
            let [to, from] = pitches.map(|pitch| row * pitch + column);
            // SAFETY: the places were resolved for every row. The regions are kept mapped by the places, the
            // staging buffer is owned by its place, and pageable memory is valid by the contract of `submit`.
            unsafe { copy_racing(dst.target(to), src.source(from), step) };
            at += step;
        }
    }
    queue.device.tallies.copied(direction, bytes);
    Outcome::Done
}

fn fill(queue: &Queue, target: *mut u8, width: usize, value: u64, count: usize) -> Outcome {
    // A block of whole elements, so that large fills are not written element by element. Native order puts the low
    // bytes of `value` first or last.
    const BLOCK: usize = 4096;
    let element = value.to_ne_bytes();
    let element = if cfg!(target_endian = "big") { &element[8 - width..] } else { &element[..width] };
    let mut block = [0u8; BLOCK];
    for slot in block.chunks_exact_mut(width) {
        slot.copy_from_slice(element);
    }
    let bytes = count * width;
    let mut at = 0;
    while at < bytes {
        if at % STRIDE == 0 && queue.device.is_lost() {
            return Outcome::Lost;
        }
        let step = (bytes - at).min(BLOCK);
        // SAFETY: `target` is a region's alias with room for `count` elements, checked at submission (where the
        // product was found not to overflow), and the task keeps the region mapped.
        unsafe { copy_racing(target.wrapping_add(at), block.as_ptr(), step) };
        at += step;
    }
    Outcome::Done
}

fn wait(queue: &Queue, mark: &Mark, generation: u64) -> Outcome {
    let linger = Instant::now() + LINGER;
    while mark.state_of(generation) == EventState::Pending {
        if queue.device.is_lost() {
            return Outcome::Lost;
        }
        if Instant::now() < linger {
            thread::yield_now();
            continue;
        }
        if !mark.enlist(generation) {
            break;
        }
        // Whoever ends the record unparks this thread, and so does a loss. Looked at before each sleep: the wake-up
        // for a loss may have come before this thread was in the list.
        while mark.state_of(generation) == EventState::Pending && !queue.device.is_lost() {
            thread::park();
        }
        mark.withdraw(generation);
    }
    match policy::wait_failed(mark.state_of(generation)) {
        true => Outcome::Failed,
        false => Outcome::Done,
    }
}

/// Nobody tells who writes the word, so the worker has to look again and again.
fn wait_value(queue: &Queue, word: &Place, value: u32, compare: Compare) -> Outcome {
    let linger = Instant::now() + LINGER;
    while !compare.passes(word.as_word().load(Ordering::Acquire), value) {
        if queue.device.is_lost() {
            return Outcome::Lost;
        }
        if Instant::now() < linger {
            thread::yield_now();
        } else {
            // A loss unparks it.
            thread::park_timeout(POLL);
        }
    }
    Outcome::Done
}
