//! Events (driver API, "Event Management").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gpubuf_engine::{EventState, OpKind};

use crate::code;
use crate::context::Context;
use crate::entry::Out;
use crate::fault::Fate;
use crate::stream;
use crate::table::Table;

/// `CU_EVENT_BLOCKING_SYNC`, `_DISABLE_TIMING` and `_INTERPROCESS`.
const FLAGS: u32 = 7;
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;
/// `CU_EVENT_RECORD_EXTERNAL` and `CU_EVENT_WAIT_EXTERNAL`: a node in a graph instead of an edge.
const EXTERNAL: u32 = 1;

struct Event {
    handle: u64,
    context: Arc<Context>,
    engine: gpubuf_engine::Event,
    flags: u32,
    recorded: AtomicBool,
}

static EVENTS: Table<Event> = Table::new(3);

pub(crate) fn forget_all_of(context: &Context) {
    drop(EVENTS.remove_all(|event| std::ptr::eq(&*event.context, context)));
}

pub(crate) fn count_of(context: &Context) -> u64 {
    EVENTS.all(|event| std::ptr::eq(&*event.context, context)).len() as u64
}

/// An event by its handle, if its context is healthy; it may be another than the current one (programming guide,
/// "Stream and Event Behavior").
fn find(handle: u64) -> Result<Arc<Event>, i32> {
    let event = EVENTS.get(handle)?;
    event.context.check()?;
    Ok(event)
}

entry! {
    contextual fn cuEventCreate(event: Out<u64>, flags: u32) |current| {
        event.required()?;
        // Interprocess events must not have timing (driver API).
        if flags & !FLAGS != 0 || flags & (INTERPROCESS | DISABLE_TIMING) == INTERPROCESS {
            return Err(code::INVALID_VALUE);
        }
        let made = EVENTS.insert(|handle| Event {
            handle,
            context: current.clone(),
            engine: current.engine.create_event(),
            flags,
            recorded: AtomicBool::new(false),
        })?;
        event.set(made.handle)
    }
}

entry! {
    contextual fn cuEventDestroy_v2(event: u64) |_current| {
        // It may be recorded and not complete: what is queued keeps it (driver API: the call "will return
        // immediately").
        find(event)?;
        EVENTS.remove(event).map(drop)
    }
}

fn record(event: u64, stream: u64, current: &Arc<Context>, external: bool) -> Result<(), i32> {
    let event = find(event)?;
    let stream = stream::find(stream, current)?;
    // Both must be of one context (driver API, `cuEventRecord`; RAPIDS rmm #1306).
    if !Arc::ptr_eq(&event.context, &stream.context) {
        return Err(code::INVALID_HANDLE);
    }
    if external {
        // "Invalid when used outside of capture"; inside, such nodes are not simulated.
        return Err(if stream.is_capturing() { code::NOT_SUPPORTED } else { code::INVALID_VALUE });
    }
    if let Fate::Fail(code) = stream.admit(OpKind::Record)? {
        // Before the record, which then never completes.
        // SAFETY: the operation names no memory.
        unsafe { stream.queue(Fate::Run, stream.failing(code))? };
    }
    stream.engine.record(&event.engine, 0).map_err(|fault| stream.context.code(fault))?;
    event.recorded.store(true, Ordering::Release);
    Ok(())
}

entry! {
    contextual fn cuEventRecord(event: u64, stream: u64) |current| { record(event, stream, current, false) }
}

entry! {
    contextual fn cuEventRecordWithFlags(event: u64, stream: u64, flags: u32) |current| {
        if flags & !EXTERNAL != 0 {
            return Err(code::INVALID_VALUE);
        }
        record(event, stream, current, flags == EXTERNAL)
    }
}

/// What a state means to the caller.
fn answer(event: &Event, state: EventState) -> Result<(), i32> {
    event.context.check()?;
    match state {
        EventState::Complete => Ok(()),
        EventState::Pending => Err(code::NOT_READY),
        EventState::Captured => Err(code::CAPTURED_EVENT),
        // The context's failure was told above.
        EventState::Failed | EventState::Lost => Err(code::UNKNOWN),
    }
}

entry! {
    contextual fn cuEventQuery(event: u64) |current| {
        let event = find(event)?;
        current.expect_no_unsafe_capture()?;
        answer(&event, event.engine.query())
    }
}

entry! {
    contextual fn cuEventSynchronize(event: u64) |current| {
        let event = find(event)?;
        current.expect_no_unsafe_capture()?;
        let state = event.engine.wait(None).map_err(|fault| event.context.code(fault))?;
        answer(&event, state)
    }
}

entry! {
    contextual fn cuStreamWaitEvent(stream: u64, event: u64, flags: u32) |current| {
        let stream = stream::find(stream, current)?;
        let event = EVENTS.get(event)?;
        match flags {
            0 => {}
            EXTERNAL if stream.is_capturing() => return Err(code::NOT_SUPPORTED),
            _ => return Err(code::INVALID_VALUE),
        }
        match stream.admit(OpKind::Wait)? {
            Fate::Run => stream.engine.wait_event(&event.engine).map_err(|fault| stream.context.code(fault)),
            // SAFETY: the operation names no memory.
            fate => unsafe { stream.queue(fate, gpubuf_engine::Op::Delay { ns: 0 }) },
        }
    }
}

fn elapsed(milliseconds: Out<f32>, start: u64, end: u64) -> Result<(), i32> {
    milliseconds.required()?;
    let (start, end) = (find(start)?, find(end)?);
    // Timing must not be off, both recorded, and in one context: all `INVALID_HANDLE`; then complete (driver API).
    let usable = |event: &Event| event.flags & DISABLE_TIMING == 0 && event.recorded.load(Ordering::Acquire);
    if !usable(&start) || !usable(&end) || !Arc::ptr_eq(&start.context, &end.context) {
        return Err(code::INVALID_HANDLE);
    }
    answer(&start, start.engine.query())?;
    answer(&end, end.engine.query())?;
    // An end before the start is a negative time.
    let (sign, time) = match end.engine.elapsed_since(&start.engine) {
        Ok(time) => (1.0, Ok(time)),
        Err(_) => (-1.0, start.engine.elapsed_since(&end.engine)),
    };
    let time = time.map_err(|fault| start.context.code(fault))?;
    milliseconds.set(sign * (time.as_secs_f64() * 1e3) as f32)
}

entry! {
    contextual fn cuEventElapsedTime(milliseconds: Out<f32>, start: u64, end: u64) |_current| {
        elapsed(milliseconds, start, end)
    }
}

entry! {
    contextual fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: u64, end: u64) |_current| {
        elapsed(milliseconds, start, end)
    }
}
