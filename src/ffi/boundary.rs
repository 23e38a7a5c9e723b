//! The one way in: every exported function is a use of [`call`], or of [`plain`] where it can neither fail nor needs an object.

use super::arguments::{Figures, Growing};
use super::entries::{Entry, When};
use super::handles::{Number, Pin};
use super::objects::{self, Handle, Object, TABLE};
use super::recorded::{Arguments, Outcome};
use super::types::{gpubuf_block, gpubuf_status, gpubuf_stream};
use super::{arguments, last_error, mutants, process};
use crate::config::STREAMS_PER_CALL;
use crate::config::log::{self, Level};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::Timeline;
use crate::lease::{BLOCKS_PER_CALL, Lease};
use crate::record::{self, Begun, Function};
use crate::stats::Counter;
use crate::sync::Arc;
use arrayvec::ArrayVec;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most handles of one call: a full list of blocks, a full list of streams, and a few parameters.
const HANDLES: usize = BLOCKS_PER_CALL + STREAMS_PER_CALL + 8;

/// Calls with a handle that had ended, or never was one.
pub static STALE: Counter = Counter::new();

/// One call from outside: which one, and the objects it keeps.
pub struct Call {
    entry: Entry,
    pins: RefCell<ArrayVec<Pin<'static, Object>, HANDLES>>,
    fault: Cell<bool>,
}

/// What the state of the process makes of a call.
enum Admission {
    Runs,
    /// Whatever comes out, the answer is OK.
    RunsQuietly,
    /// It is answered without running.
    Over(gpubuf_status),
}

/// In any state but the usual one.
#[cold]
fn admission(entry: Entry, state: u32) -> Admission {
    let refusal = |status: Status, why: &str| {
        last_error::set(entry.name(), why);
        Admission::Over(status as i32)
    };
    let exiting = state & process::EXITING != 0;
    match entry.when() {
        When::AnyTime => Admission::Runs,
        _ if state == process::RECORDED => Admission::Runs,
        When::Ends if state & process::FORKED != 0 => Admission::Over(Status::Ok as i32),
        _ if state & process::FORKED != 0 => refusal(
            Status::Forked,
            "this process is a child after fork: the library cannot be used in it, nor any inherited object",
        ),
        When::InCallback => Admission::Runs,
        When::Ends | When::ShutsDown if exiting => Admission::Over(Status::Ok as i32),
        When::Ends => Admission::RunsQuietly,
        When::ShutsDown => Admission::Runs,
        When::AlsoAfterwards if !exiting => Admission::Runs,
        When::Normally | When::AlsoAfterwards if exiting => refusal(Status::ShutDown, "the process is exiting"),
        When::Normally | When::AlsoAfterwards => refusal(Status::ShutDown, "the library was shut down"),
    }
}

/// Runs an entry: admits it, keeps its objects meanwhile, catches panics, and tells the outcome. The arguments are for a
/// recording: all of them, in their order.
pub fn call<A: Arguments>(entry: Entry, arguments: A, body: impl FnOnce(&Call) -> Result<()>) -> gpubuf_status {
    let mut quietly = false;
    let mut recording = None;
    let state = process::state();
    if state != 0 {
        recording = process::begin_recorded(state);
        match admission(entry, state) {
            Admission::Runs => {}
            Admission::RunsQuietly => quietly = true,
            Admission::Over(status) => return recorded(recording, entry, status, arguments),
        }
    }
    let call = Call { entry, pins: RefCell::new(ArrayVec::new()), fault: Cell::new(mutants::fault_is_due()) };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let result = body(&call);
        call.fault_point();
        call.unpin();
        result
    }));
    let status = call.conclude(outcome, quietly);
    if recording.is_some() { recorded(recording, entry, status, arguments) } else { status }
}

/// Puts a call into the recording.
#[cold]
#[inline(never)]
fn recorded<A: Arguments>(begun: Option<Begun>, entry: Entry, status: gpubuf_status, arguments: A) -> gpubuf_status {
    // A callback of this call may have forked: in the child the recording is locked for good by a thread that is not there.
    if let Some(begun) = begun.filter(|_| process::state() & process::FORKED == 0) {
        let function = Function { number: entry as u16, name: entry.name(), signature: A::describe };
        // Nothing in there is expected to panic. If it did, the call would be missing, and nothing else.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            record::finish(&begun, &function, status, |out| arguments.encode(Outcome::of(status), out));
        }));
    }
    status
}

/// Runs an entry that has no status to tell: it works at any time.
pub fn plain<T>(entry: Entry, fallback: T, body: impl FnOnce() -> T) -> T {
    debug_assert!(entry.when() == When::AnyTime);
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

/// Work at the process's exit, of which nobody hears.
pub fn unheard(body: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(body));
}

impl Call {
    /// The object of a handle, kept until the call ends.
    pub fn get<T: Handle>(&self, handle: *const T, name: &str) -> Result<&T::Object> {
        let pin = find(handle.addr(), name, T::KIND)?;
        if pin.is_broken() {
            return fail!(
                Broken,
                "{name} {handle:p}: a fault of the library left the {} half-done, destroy it",
                T::KIND
            );
        }
        expect_kind::<T>(self.keep(pin)?, handle, name)
    }

    /// As [`Call::get`]; NULL is `None`.
    pub fn get_if_any<T: Handle>(&self, handle: *const T, name: &str) -> Result<Option<&T::Object>> {
        if handle.is_null() { Ok(None) } else { self.get(handle, name).map(Some) }
    }

    /// The object of a handle of any kind.
    pub fn get_any(&self, handle: *const c_void, name: &str) -> Result<&Object> {
        self.keep(find(handle.addr(), name, "object")?)
    }

    /// Ends a handle: it is stale for every later call. NULL, and what a panic left half-done, are `None`: nothing more is to
    /// be done for them.
    pub fn end<T: Handle>(&self, handle: *const T, name: &str) -> Result<Option<&T::Object>> {
        if handle.is_null() {
            return Ok(None);
        }
        let Some(own) = self.get_to_end(handle, name)? else {
            self.end_kept(handle.addr());
            return Ok(None);
        };
        if !self.end_kept(handle.addr()) {
            return Err(self.ended_before(stale(handle.addr(), name, T::KIND)));
        }
        Ok(Some(own))
    }

    /// Ends an object, then its handle. An object that is busy keeps it; what else keeps the object from ending, the loss of
    /// its device or the end of its parent, has ended it. Such objects may end in other ways, on other threads: a handle that
    /// has ended is no mistake.
    pub fn end_after<T: Handle>(
        &self,
        handle: *const T,
        name: &str,
        close: impl FnOnce(&T::Object) -> Result<()>,
    ) -> Result<()> {
        let number = Number::from_bits(handle.addr() as u64).filter(|number| number.kind == T::NUMBER);
        if handle.is_null() || number.is_some_and(|number| TABLE.has_ended(number.index, number.generation)) {
            return Ok(());
        }
        if let Some(own) = self.get_to_end(handle, name)? {
            match close(own) {
                Err(error) if error.status() == Status::Busy => return Err(error),
                _ => {}
            }
        }
        self.end_kept(handle.addr());
        Ok(())
    }

    /// The object of a handle that is to end; `None` if it is broken: its memory is left to the process exit.
    fn get_to_end<T: Handle>(&self, handle: *const T, name: &str) -> Result<Option<&T::Object>> {
        let pin = find(handle.addr(), name, T::KIND).map_err(|error| self.ended_before(error))?;
        let broken = pin.is_broken();
        let object = self.keep(pin)?;
        let own = expect_kind::<T>(object, handle, name)?;
        if broken {
            object.count_as_leaked();
            return Ok(None);
        }
        Ok(Some(own))
    }

    #[cold]
    fn ended_before(&self, error: Error) -> Error {
        log::write(Level::Warn, format_args!("{}: {}", self.entry.name(), error.message()));
        error
    }

    /// Ends a handle that this call keeps. False if another thread was faster.
    fn end_kept(&self, bits: usize) -> bool {
        let index = Number::from_bits(bits as u64).map(|number| number.index);
        self.pins.borrow().iter().find(|pin| index.is_some_and(|index| pin.is_on(index))).is_some_and(Pin::remove)
    }

    /// Ends the handle of an object of this call, once the object has ended.
    pub fn forget<T: Handle>(&self, handle: *const T, ended: bool) {
        if ended {
            self.end_kept(handle.addr());
        }
    }

    /// Ends the handle with these bits, if there is such a one.
    pub fn forget_bits(&self, bits: u64) {
        drop(Number::from_bits(bits).and_then(|number| TABLE.remove(number.index, number.generation)));
    }

    /// The streams of a list, each once.
    pub fn streams(
        &self,
        streams: *const *mut gpubuf_stream,
        count: usize,
        names: [&str; 2],
    ) -> Result<ArrayVec<Arc<Timeline>, STREAMS_PER_CALL>> {
        let mut list: ArrayVec<Arc<Timeline>, STREAMS_PER_CALL> = ArrayVec::new();
        for handle in arguments::list(streams, count, STREAMS_PER_CALL, names)? {
            let stream = self.get(*handle, names[0])?;
            if !list.iter().any(|known| Arc::ptr_eq(known, stream)) && list.try_push(stream.clone()).is_err() {
                return Err(too_many());
            }
        }
        Ok(list)
    }

    /// The blocks of a list, and their handles.
    pub fn blocks(&self, blocks: *const *mut gpubuf_block, count: usize, names: [&str; 2]) -> Result<Blocks> {
        let mut list = Blocks { leases: ArrayVec::new(), handles: ArrayVec::new() };
        for handle in arguments::list(blocks, count, BLOCKS_PER_CALL, names)? {
            let handle = *handle;
            list.leases.try_push(self.get(handle, names[0])?.clone()).map_err(|_| too_many())?;
            list.handles.try_push(handle).map_err(|_| too_many())?;
        }
        Ok(list)
    }

    /// Ends the handles of the blocks that were given back in this call.
    pub fn forget_released(&self, blocks: &Blocks) {
        for (handle, lease) in blocks.handles.iter().zip(&blocks.leases) {
            self.forget(*handle, !lease.is_held());
        }
    }

    /// Where a result goes.
    pub fn out<T>(&self, pointer: *mut T, name: &str) -> Result<Out<'_, T>> {
        if pointer.is_null() {
            return fail!(InvalidArgument, "{name} is NULL");
        }
        Ok(Out { call: self, pointer })
    }

    /// Writes a result that the caller may not want.
    pub fn set_if_any<T>(&self, pointer: *mut T, value: T) {
        if !pointer.is_null() {
            Out { call: self, pointer }.set(value);
        }
    }

    /// Where figures go.
    pub fn figures<T: Growing>(&self, pointer: *mut T, name: &str) -> Result<OutFigures<'_, T>> {
        Ok(OutFigures { call: self, figures: arguments::figures(pointer, name)? })
    }

    /// Writes a text, as much as fits, and its full length.
    pub fn text(&self, text: &str, buffer: *mut c_char, capacity: usize, out_length: *mut usize) -> Result<()> {
        if buffer.is_null() && capacity > 0 {
            return fail!(InvalidArgument, "buffer is NULL and capacity is {capacity}");
        }
        self.fault_point();
        self.set_if_any(out_length, arguments::write_text(text.as_bytes(), buffer, capacity));
        Ok(())
    }

    /// A handle for a new object.
    pub fn insert<T: Handle>(&self, object: T::Object) -> Result<*mut T> {
        self.fault_point();
        let (index, generation) = TABLE.insert(T::wrap(object))?;
        let bits = Number { kind: T::NUMBER, generation, index }.to_bits();
        Ok(std::ptr::without_provenance_mut(bits as usize))
    }

    /// A handle for a new object, as the result.
    pub fn give<T: Handle>(&self, out: Out<'_, *mut T>, object: T::Object) -> Result<()> {
        out.set(self.insert(object)?);
        Ok(())
    }

    fn keep(&self, pin: Pin<'static, Object>) -> Result<&Object> {
        let object: *const Object = &*pin;
        self.pins.borrow_mut().try_push(pin).map_err(|_| too_many())?;
        // SAFETY: the pin keeps the object in its slot until `unpin` or `broke`, which run when no reference is left: the
        // body they were made for has returned or unwound, and it cannot let one out.
        Ok(unsafe { &*object })
    }

    /// Says what happened.
    #[inline(never)]
    fn conclude(&self, outcome: std::thread::Result<Result<()>>, quietly: bool) -> gpubuf_status {
        let result = outcome.unwrap_or_else(|panic| Err(self.broke(&*panic)));
        if let Err(error) = &result {
            // A block that a destructor could not give back stays held: nobody may see the status.
            let level = match (error.status(), self.entry) {
                (Status::Timeout, _) => Some(Level::Info),
                (Status::Unfenced | Status::Busy | Status::GraphHeld, Entry::gpubuf_block_release) => Some(Level::Warn),
                _ => None,
            };
            if let Some(level) = level {
                log::write(level, format_args!("{}: {}", self.entry.name(), error.message()));
            }
        }
        // Before the message is set: what the sink calls may leave messages of its own.
        log::deliver();
        match result {
            Err(error) if !quietly => {
                last_error::set(self.entry.name(), error.message());
                error.status() as i32
            }
            _ => Status::Ok as i32,
        }
    }

    #[inline(never)]
    fn unpin(&self) {
        loop {
            let pin = self.pins.borrow_mut().pop();
            match pin {
                // The last pin of an ended handle drops the object here: under no lock.
                Some(pin) => drop(pin),
                None => return,
            }
        }
    }

    #[cold]
    fn broke(&self, panic: &(dyn Any + Send)) -> Error {
        loop {
            let pin = self.pins.borrow_mut().pop();
            match pin {
                Some(pin) => pin.mark_broken(),
                None => break,
            }
        }
        let what = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "no message",
        };
        log::write(Level::Error, format_args!("{}: a fault of the library: {what}", self.entry.name()));
        Error::new(
            Status::Internal,
            format!("a fault of the library ({what}): the objects of this call are broken, destroy them"),
        )
    }

    /// Where a test has this call panic: its handles are kept, nothing is handed out yet. An output that is written in another
    /// way than those of [`Out`], [`OutFigures`] and [`Call::text`] comes after this.
    pub fn fault_point(&self) {
        if self.fault.take() {
            panic!("asked for by gpubuf_mutant_panic");
        }
    }
}

/// A list of blocks.
pub struct Blocks {
    /// The blocks.
    pub leases: ArrayVec<Lease, BLOCKS_PER_CALL>,
    handles: ArrayVec<*mut gpubuf_block, BLOCKS_PER_CALL>,
}

/// A checked output parameter.
pub struct Out<'c, T> {
    call: &'c Call,
    pointer: *mut T,
}

impl<T> Out<'_, T> {
    /// Writes the result: the last thing a call does.
    pub fn set(self, value: T) {
        self.call.fault_point();
        // SAFETY: the caller's promise for a parameter that is not NULL: it can be written. Whether it is aligned is not
        // relied on.
        unsafe { self.pointer.write_unaligned(value) };
    }
}

/// A checked output parameter for figures.
pub struct OutFigures<'c, T> {
    call: &'c Call,
    figures: Figures<T>,
}

impl<T: Growing> OutFigures<'_, T> {
    /// Writes them: the last thing a call does.
    pub fn set(self, value: T) {
        self.call.fault_point();
        self.figures.set(value);
    }
}

fn find(bits: usize, name: &str, kind: &str) -> Result<Pin<'static, Object>> {
    if bits == 0 {
        return fail!(InvalidArgument, "{name} is NULL");
    }
    let pin = Number::from_bits(bits as u64).and_then(|number| {
        let pin = TABLE.pin(number.index, number.generation)?;
        (pin.number() == number.kind).then_some(pin)
    });
    pin.ok_or_else(|| stale(bits, name, kind))
}

#[cold]
fn stale(bits: usize, name: &str, kind: &str) -> Error {
    STALE.add(1);
    let found = Number::from_bits(bits as u64).and_then(|number| objects::kind(number.kind));
    let message = match found {
        Some(found) if found == kind => format!("{name} {bits:#x} was destroyed or released"),
        Some(found) => format!("{name} {bits:#x} was of kind {found}, not {kind}, and was destroyed or released"),
        None => format!("{name} {bits:#x} is not a handle of this library"),
    };
    Error::new(Status::StaleHandle, message)
}

fn expect_kind<'c, T: Handle>(object: &'c Object, handle: *const T, name: &str) -> Result<&'c T::Object> {
    match T::of(object) {
        Some(own) => Ok(own),
        None => fail!(WrongKind, "{name} {handle:p} is of kind {}, not {}", object.kind(), T::KIND),
    }
}

#[cold]
fn too_many() -> Error {
    Error::new(Status::Internal, "more handles in one call than any call has")
}
