//! What streams do: operations as callers write them, and as streams keep them once their addresses are known.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::config::MemoryKind;
use crate::event::Mark;
use crate::graph::Node;
use crate::memory::{self, Region};
use crate::policy::{Direction, Fault};
use crate::scatter::Scatter;
use crate::view::View;

/// A kind of operation; also the filter of [`Device::fail_operation`](crate::Device::fail_operation).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpKind {
    /// [`Op::Copy`].
    Copy,
    /// [`Op::Fill`].
    Fill,
    /// [`Op::Delay`].
    Delay,
    /// [`Op::Call`].
    Call,
    /// [`Stream::record`](crate::Stream::record).
    Record,
    /// [`Stream::wait_event`](crate::Stream::wait_event).
    Wait,
    /// [`Op::WaitValue`].
    WaitValue,
    /// [`Op::WriteValue`].
    WriteValue,
    /// [`Op::Scatter`].
    Scatter,
    /// [`Device::allocate`](crate::Device::allocate). From here on it is the device that is asked, not a stream.
    Allocation,
    /// [`Device::register`](crate::Device::register).
    Registration,
    /// [`Device::create_stream`](crate::Device::create_stream) and its like.
    Stream,
    /// An event, where its maker asks [`Device::expect_event`](crate::Device::expect_event) first.
    Event,
}

impl OpKind {
    /// Whether it makes something, instead of being queued.
    pub(crate) fn makes(self) -> bool {
        matches!(self, OpKind::Allocation | OpKind::Registration | OpKind::Stream | OpKind::Event)
    }
}

/// When an [`Op::WaitValue`] passes, for a memory word `a` and its `value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compare {
    /// `a` is at or after `value` in the cyclic order of 32-bit numbers: `a - value`, as a signed number, is not
    /// negative.
    AtLeast,
    /// `a == value`.
    Equal,
    /// `a & value != 0`.
    AnyBit,
    /// `!(a | value) != 0`: some bit is set in neither.
    NoBit,
}

/// An operation to submit; plain data. Addresses are those that the caller knows: device addresses, pinned host
/// pointers or, for copies, any other host pointer.
#[derive(Clone, Debug)]
pub enum Op {
    /// Copies `bytes` from `src` to `dst`; the addresses tell the direction. Source and target must not overlap, or the
    /// target's bytes are unspecified. Zero bytes are allowed and touch nothing.
    Copy {
        /// Where to.
        dst: u64,
        /// Where from.
        src: u64,
        /// How much.
        bytes: usize,
    },
    /// Copies `rows` rows of `width` bytes, `src_pitch` and `dst_pitch` bytes apart, which are at least `width`. Otherwise as
    /// [`Op::Copy`]; what lies between the rows is neither read nor written. No rows or no width touch nothing.
    CopyRows {
        /// Where the first row goes.
        dst: u64,
        /// From one row to the next, where they go.
        dst_pitch: usize,
        /// Where the first row is.
        src: u64,
        /// From one row to the next, where they are.
        src_pitch: usize,
        /// Bytes of a row.
        width: usize,
        /// How many.
        rows: usize,
    },
    /// Writes `count` elements of the low `width` bytes of `value`, in native byte order. The target must be device or
    /// pinned memory, aligned to `width`. No elements are allowed and touch nothing.
    Fill {
        /// The first element.
        dst: u64,
        /// Bytes per element: 1, 2, 4 or 8.
        width: u8,
        /// The element.
        value: u64,
        /// How many elements.
        count: usize,
    },
    /// Writes pieces of a packed entry to their places in a table: a stand-in for a kernel. The entry begins with a ticket
    /// of 8 bytes and 8 bytes that are not looked at; then comes, for each piece, its place in the table (8 bytes), its
    /// place in the entry (4) and its size (4), in native byte order; then come the pieces. An entry with another ticket
    /// does nothing. A piece that leaves its entry or its table fails the operation, and those before it are written.
    /// Entry and table must be device or pinned memory. No pieces touch nothing.
    Scatter {
        /// Where the entry is; aligned to 8 bytes.
        entry: u64,
        /// Its size.
        entry_bytes: usize,
        /// Where the table is.
        table: u64,
        /// Its size.
        table_bytes: usize,
        /// How many pieces.
        pieces: usize,
        /// What the entry must begin with.
        ticket: u64,
    },
    /// Keeps the stream busy.
    Delay {
        /// Nanoseconds.
        ns: u64,
    },
    /// Runs a function on the stream's thread: a stand-in for a kernel. A panic in it is caught and counts as a failed
    /// operation.
    Call {
        /// What to run.
        function: fn(&View<'_>, [usize; 2]),
        /// What to hand to it; the engine does not look at it, so it keeps no memory alive.
        arguments: [usize; 2],
    },
    /// Waits until a word of memory compares with a value; whoever writes it, another stream or the CPU.
    WaitValue {
        /// The word: device or pinned memory, aligned to 4 bytes.
        address: u64,
        /// What it is compared with.
        value: u32,
        /// How it is compared.
        compare: Compare,
    },
    /// Writes a word of memory, after all that the stream wrote before.
    WriteValue {
        /// The word: device or pinned memory, aligned to 4 bytes.
        address: u64,
        /// What to write.
        value: u32,
    },
}

impl Compare {
    /// Whether a wait for `value` passes where memory has `seen`.
    pub(crate) fn passes(self, seen: u32, value: u32) -> bool {
        match self {
            Compare::AtLeast => seen.wrapping_sub(value) as i32 >= 0,
            Compare::Equal => seen == value,
            Compare::AnyBit => seen & value != 0,
            Compare::NoBit => !(seen | value) != 0,
        }
    }
}

impl Op {
    pub(crate) fn kind(&self) -> OpKind {
        match self {
            Op::Copy { .. } | Op::CopyRows { .. } => OpKind::Copy,
            Op::Fill { .. } => OpKind::Fill,
            Op::Scatter { .. } => OpKind::Scatter,
            Op::Delay { .. } => OpKind::Delay,
            Op::Call { .. } => OpKind::Call,
            Op::WaitValue { .. } => OpKind::WaitValue,
            Op::WriteValue { .. } => OpKind::WriteValue,
        }
    }
}

/// An address that an operation uses, with what keeps it valid.
pub(crate) enum Place {
    Owned {
        region: Arc<Region>,
        offset: usize,
    },
    /// The caller's memory; valid until the operation is done, by the contract of `submit`.
    Pageable(usize),
    /// What a pageable source held when it was submitted.
    Staged(Vec<u8>),
}

impl Place {
    pub(crate) fn resolve(user: u64, address: u64, bytes: usize) -> Result<Place, Fault> {
        if bytes == 0 {
            return Ok(Place::Pageable(0));
        }
        if address == 0 {
            return Err(Fault::InvalidValue);
        }
        Ok(match memory::resolve(user, address, bytes)? {
            Some((region, offset)) => Place::Owned { region, offset },
            None => Place::Pageable(address as usize),
        })
    }

    /// A word that streams wait for or write: never the caller's pageable memory.
    fn word(user: u64, address: u64) -> Result<Place, Fault> {
        if !address.is_multiple_of(4) {
            return Err(Fault::InvalidValue);
        }
        match Place::resolve(user, address, 4)? {
            place if place.callers().is_some() => Err(Fault::InvalidAddress),
            Place::Owned { region, offset } => {
                Ok(Place::Owned { region: region.original.clone().unwrap_or(region), offset })
            }
            place => Ok(place),
        }
    }

    /// Where to read it, if it is the caller's ordinary memory, or stands for such.
    pub(crate) fn callers(&self) -> Option<usize> {
        match self {
            Place::Pageable(address) => Some(*address),
            Place::Owned { region, offset } if region.pageable => Some(region.at(*offset) as usize),
            Place::Owned { .. } | Place::Staged(_) => None,
        }
    }

    pub(crate) fn kind(&self) -> Option<MemoryKind> {
        match self {
            Place::Owned { region, .. } => Some(region.kind),
            Place::Pageable(_) | Place::Staged(_) => None,
        }
    }

    /// The word that [`Place::word`] found. Others write it through other mappings of the same memory, hence an atomic.
    pub(crate) fn as_word(&self) -> &AtomicU32 {
        // SAFETY: `word` found four bytes of a region, at an address that is a multiple of four, as regions begin at
        // such a multiple or, where the caller registered them, with the caller's alignment. The place keeps the
        // region, whose memory stays mapped. Whoever uses the word at the same time is another processor's emulation
        // or the C side of the program, as with `copy_racing`.
        unsafe { AtomicU32::from_ptr(self.target(0).cast()) }
    }

    /// Where to read byte `at` of the place; in bounds if `at` is below the size that it was resolved for.
    pub(crate) fn source(&self, at: usize) -> *const u8 {
        match self {
            Place::Owned { region, offset } => region.at(offset + at),
            Place::Pageable(address) => (address + at) as *const u8,
            Place::Staged(bytes) => bytes.as_ptr().wrapping_add(at),
        }
    }

    /// Where to write byte `at` of the place.
    pub(crate) fn target(&self, at: usize) -> *mut u8 {
        self.source(at).cast_mut()
    }
}

/// An operation with everything it needs to run, or the way to it.
pub(crate) enum Task {
    Copy {
        dst: Place,
        src: Place,
        bytes: usize,
    },
    CopyRows {
        dst: Place,
        src: Place,
        /// Of the target, then of the source.
        pitches: [usize; 2],
        width: usize,
        rows: usize,
    },
    Fill {
        dst: Place,
        width: u8,
        value: u64,
        count: usize,
    },
    Scatter(Scatter),
    Delay {
        ns: u64,
    },
    Call {
        function: fn(&View<'_>, [usize; 2]),
        arguments: [usize; 2],
    },
    Record {
        mark: Arc<Mark>,
        generation: u64,
    },
    Wait {
        mark: Arc<Mark>,
        generation: u64,
    },
    WaitValue {
        word: Place,
        value: u32,
        compare: Compare,
    },
    WriteValue {
        word: Place,
        value: u32,
    },
    /// One node of a graph, which finds its memory when it runs.
    Replay {
        nodes: Arc<Vec<Node>>,
        index: usize,
    },
}

impl Task {
    pub(crate) fn kind(&self) -> OpKind {
        match self {
            Task::Copy { .. } | Task::CopyRows { .. } => OpKind::Copy,
            Task::Fill { .. } => OpKind::Fill,
            Task::Scatter(_) => OpKind::Scatter,
            Task::Delay { .. } => OpKind::Delay,
            Task::Call { .. } => OpKind::Call,
            Task::Record { .. } => OpKind::Record,
            Task::Wait { .. } => OpKind::Wait,
            Task::WaitValue { .. } => OpKind::WaitValue,
            Task::WriteValue { .. } => OpKind::WriteValue,
            Task::Replay { nodes, index } => nodes[*index].kind(),
        }
    }

    /// Whether the target and the source are memory of the caller's that the engine does not know.
    pub(crate) fn foreign(&self) -> [bool; 2] {
        match self {
            Task::Copy { dst, src, .. } | Task::CopyRows { dst, src, .. } => {
                [dst, src].map(|place| place.callers().is_some())
            }
            _ => [false; 2],
        }
    }

    /// Checks an operation of device `user` and finds its memory. `stage` tells whether a pageable source is read now.
    ///
    /// # Safety
    /// As for [`Stream::submit`](crate::Stream::submit).
    pub(crate) unsafe fn prepare(user: u64, op: Op, stage: bool) -> Result<Task, Fault> {
        match op {
            Op::Copy { dst, src, bytes } => {
                let dst = Place::resolve(user, dst, bytes)?;
                let mut src = Place::resolve(user, src, bytes)?;
                if let Some(address) = src.callers()
                    && stage
                {
                    // SAFETY: the caller answers for the validity of a pageable source, the region for its own.
                    src = Place::Staged(unsafe { read_now(address, bytes, bytes, 1)? });
                }
                Ok(Task::Copy { dst, src, bytes })
            }
            Op::CopyRows { dst, dst_pitch, src, src_pitch, width, rows } => {
                if width == 0 || rows == 0 {
                    return Ok(Task::Copy { dst: Place::Pageable(0), src: Place::Pageable(0), bytes: 0 });
                }
                let mut pitches = [dst_pitch, src_pitch];
                if pitches.iter().any(|pitch| *pitch < width) {
                    return Err(Fault::InvalidValue);
                }
                let reach = |pitch: usize| {
                    (rows - 1).checked_mul(pitch)?.checked_add(width).filter(|bytes| *bytes <= isize::MAX as usize)
                };
                let [to, from] = pitches.map(|pitch| reach(pitch).ok_or(Fault::InvalidValue));
                let dst = Place::resolve(user, dst, to?)?;
                let mut src = Place::resolve(user, src, from?)?;
                if let Some(address) = src.callers()
                    && stage
                {
                    // SAFETY: the caller answers for the validity of the rows of a pageable source, the region for its own.
                    src = Place::Staged(unsafe { read_now(address, src_pitch, width, rows)? });
                    pitches[1] = width;
                }
                Ok(Task::CopyRows { dst, src, pitches, width, rows })
            }
            Op::Fill { dst, width, value, count } => {
                if !matches!(width, 1 | 2 | 4 | 8) || dst % u64::from(width) != 0 {
                    return Err(Fault::InvalidValue);
                }
                let bytes = count.checked_mul(usize::from(width)).ok_or(Fault::InvalidAddress)?;
                match Place::resolve(user, dst, bytes)? {
                    dst if bytes > 0 && dst.callers().is_some() => Err(Fault::InvalidAddress),
                    dst => Ok(Task::Fill { dst, width, value, count }),
                }
            }
            Op::Scatter { entry, entry_bytes, table, table_bytes, pieces, ticket } => {
                Scatter::prepare(user, [(entry, entry_bytes), (table, table_bytes)], pieces, ticket).map(Task::Scatter)
            }
            Op::Delay { ns } => Ok(Task::Delay { ns }),
            Op::Call { function, arguments } => Ok(Task::Call { function, arguments }),
            Op::WaitValue { address, value, compare } => {
                Ok(Task::WaitValue { word: Place::word(user, address)?, value, compare })
            }
            Op::WriteValue { address, value } => Ok(Task::WriteValue { word: Place::word(user, address)?, value }),
        }
    }
}

/// A copy of rows of the caller's memory as they are now, one right behind the other.
///
/// # Safety
/// `rows` rows of `width` bytes, `pitch` apart, must be readable at `address`, unless they have no bytes.
unsafe fn read_now(address: usize, pitch: usize, width: usize, rows: usize) -> Result<Vec<u8>, Fault> {
    let bytes = width * rows;
    let mut staging: Vec<u8> = Vec::new();
    staging.try_reserve_exact(bytes).map_err(|_| Fault::OutOfHostMemory)?;
    if bytes > 0 {
        for row in 0..rows {
            let source = (address + row * pitch) as *const u8;
            // SAFETY: the source is readable by this function's contract; the target was just reserved with room for all rows.
            unsafe { ptr::copy_nonoverlapping(source, staging.as_mut_ptr().add(row * width), width) };
        }
        // SAFETY: initialised up to here.
        unsafe { staging.set_len(bytes) };
    }
    Ok(staging)
}

/// Copies between memory that the process's other threads may be writing.
///
/// # Safety
/// Both ranges must be mapped, `dst` writably.
pub(crate) unsafe fn copy_racing(dst: *mut u8, src: *const u8, bytes: usize) {
    // SAFETY: both ranges are mapped, by this function's contract. The CPU may write them at the same time through
    // another mapping of the same pages: that race is what the engine is for, as a real device's copies race too, and
    // memory holds only bytes, for which every value is valid, so the worst outcome is a mixture of old and new bytes.
    // `copy` and not `copy_nonoverlapping`, as a caller may name overlapping ranges.
    unsafe { ptr::copy(src, dst, bytes) };
}

/// The direction of a copy between two places.
pub(crate) fn direction(dst: &Place, src: &Place) -> Direction {
    Direction::of(dst.kind(), src.kind())
}
