//! Paired buffers, and the sides under them.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::backend::kit::{FailWhen, Operation, View};
use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device, Name, Outcome, Piece, Role, Side, Storage, Timeline, Which, transfer};
use gpubuf::sync::{Arc, AtomicU32, Ordering};

fn side(device: &Arc<Device>, which: Which) -> Side {
    let placement = if which == Which::Host { Placement::Pinned } else { Placement::Device };
    let storage = Storage::allocate(device, placement, BYTES as usize).expect("memory");
    Side::new(which, &Arc::new(Name::new("side", "")), storage)
}

fn send(source: &mut Side, target: &mut Side, timeline: &Arc<Timeline>) -> bool {
    let all = [Piece { source: 0, target: 0, bytes: BYTES as usize }];
    matches!(transfer(source, target, &all, timeline, Role::Copy), Outcome::Queued(_))
}

fn uva(device: &Arc<Device>) -> Arc<Buffer> {
    Buffer::create(device, options(Placement::Uva, Placement::None)).expect("a buffer")
}

fn borrowed(device: &Arc<Device>, memory: &mut [u8], told: &Arc<AtomicU32>) -> gpubuf::error::Result<Arc<Buffer>> {
    let told = told.clone();
    let mut options = options(Placement::Pageable, Placement::Device);
    options.host_memory = memory.as_mut_ptr();
    options.release = Some(Box::new(move || {
        told.fetch_add(1, Ordering::SeqCst);
    }));
    Buffer::create(device, options)
}

pub const CASES: &[Case] = &[
    case!(WriteGuard, "a second writer of the same bytes is busy", |it| {
        let device = device();
        let buffer = pair(&device);
        let (_, token) = buffer.begin(Access::Write, 0, 100, Timeout::Try).works()?;
        ensure!(status(buffer.begin(Access::Write, 100, 1, Timeout::Try)) == Status::Ok, "other bytes are free");
        ensure!(status(buffer.begin(Access::Write, 99, 1, Timeout::Try)) == Status::Busy, it);
        buffer.end(Access::Write, token).works()?;
        ensure!(status(buffer.begin(Access::Write, 99, 1, Timeout::Try)) == Status::Ok, "ended guards are gone");
    }),
    case!(WriteSealed, "a sealed block is not written", |it| {
        let device = device();
        let buffer = uva(&device);
        buffer.device_address(&[]).works()?;
        ensure!(status(set(&buffer, 1)) == Status::Unfenced, it);
        buffer.used_on(&stream(&device), Access::Read).works()?;
        ensure!(status(buffer.begin(Access::Write, 0, 1, Timeout::Infinite)) == Status::Ok, "a declared fence unseals");
    }),
    case!(WriteWaitsReads, "bytes that a queued copy reads are not rewritten", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut held = Held::new(&device);
        set(&buffer, 1).works()?;
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        let refused = status(set(&buffer, 2)) == Status::Busy;
        held.open();
        ensure!(device_is(&device, buffer.device_address(&[]).works()?, BYTES, 1), it);
        ensure!(refused, it);
        ensure!(status(set(&buffer, 2)) == Status::Ok, "a copy that is done forbids nothing");
    }),
    case!(WriteWaitsWrites, "bytes that a queued copy writes are not written", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut held = Held::new(&device);
        buffer.copy(false, 0, ALL, &held.timeline, None).works()?;
        ensure!(status(set(&buffer, 2)) == Status::Busy, it);
        held.open();
        ensure!(status(set(&buffer, 2)) == Status::Ok, "a copy that is done forbids nothing");
    }),
    case!(EndToken, "an end without its begin is told", |it| {
        let device = device();
        let buffer = pair(&device);
        let (_, token) = buffer.begin(Access::Write, 0, 1, Timeout::Try).works()?;
        ensure!(status(buffer.end(Access::Read, token)) == Status::NotBegun, it);
        buffer.end(Access::Write, token).works()?;
        ensure!(status(buffer.end(Access::Write, token)) == Status::NotBegun, it);
    }),
    case!(ReadGuard, "bytes being written are not read", |it| {
        let device = device();
        let buffer = pair(&device);
        let (_, token) = buffer.begin(Access::Write, 0, 100, Timeout::Try).works()?;
        ensure!(status(buffer.begin(Access::Read, 50, 1, Timeout::Try)) == Status::Busy, it);
        buffer.end(Access::Write, token).works()?;
        buffer.begin(Access::Read, 50, 1, Timeout::Try).works()?;
        ensure!(status(buffer.begin(Access::Read, 50, 1, Timeout::Try)) == Status::Ok, "readers share");
    }),
    case!(ReadSealed, "a sealed block is not read", |it| {
        let device = device();
        let buffer = uva(&device);
        buffer.device_address(&[]).works()?;
        ensure!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)) == Status::Unfenced, it);
    }),
    case!(ReadWaitsWrites, "bytes are not read before their copy has landed", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut held = Held::new(&device);
        buffer.copy(false, 0, 100, &held.timeline, None).works()?;
        ensure!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)) == Status::Busy, it);
        ensure!(status(buffer.begin(Access::Read, 100, 1, Timeout::Try)) == Status::Ok, "other bytes are free");
        held.open();
        ensure!(
            status(buffer.begin(Access::Read, 0, 1, Timeout::Try)) == Status::Ok,
            "a copy that is done forbids nothing"
        );
    }),
    case!(UploadGuard, "half-written bytes are not sent", |it| {
        let device = device();
        let buffer = pair(&device);
        buffer.begin(Access::Write, 0, 1, Timeout::Try).works()?;
        ensure!(status(buffer.copy(true, 0, 1, &stream(&device), None)) == Status::Busy, it);
        ensure!(status(buffer.copy(true, 1, 1, &stream(&device), None)) == Status::Ok, "other bytes may go");
    }),
    case!(UploadWaitsHostWrites, "an upload waits for the download that fills its source", |it| {
        let device = device();
        let mut held = Held::new(&device);
        let (mut first, mut middle) = (side(&device, Which::Device), side(&device, Which::Host));
        let mut last = side(&device, Which::Device);
        ensure!(send(&mut first, &mut middle, &held.timeline), "the download is queued");
        let other = stream(&device);
        ensure!(send(&mut middle, &mut last, &other), "the upload is queued");
        ensure!(!held.is_overtaken_by(&other), it);
        held.open();
        ensure!(status(other.synchronize(Timeout::Infinite)) == Status::Ok, "it goes on afterwards");
    }),
    case!(UploadWaitsDeviceUses, "a second upload waits for the first one's writes", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut held = Held::new(&device);
        let other = stream(&device);
        set(&buffer, 1).works()?;
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        buffer.copy(true, 0, ALL, &other, None).works()?;
        ensure!(!held.is_overtaken_by(&other), it);
        held.open();
        ensure!(status(other.synchronize(Timeout::Infinite)) == Status::Ok, "it goes on afterwards");
    }),
    case!(DownloadGuard, "bytes are not overwritten under a reader", |it| {
        let device = device();
        let buffer = pair(&device);
        let (_, token) = buffer.begin(Access::Read, 0, 1, Timeout::Try).works()?;
        ensure!(status(buffer.copy(false, 0, 1, &stream(&device), None)) == Status::Busy, it);
        buffer.end(Access::Read, token).works()?;
        ensure!(status(buffer.copy(false, 0, 1, &stream(&device), None)) == Status::Ok, "ended guards are gone");
    }),
    case!(DownloadWaitsDeviceWrites, "a download waits for the upload that fills its source", |it| {
        let device = device();
        let mut held = Held::new(&device);
        let (mut first, mut middle) = (side(&device, Which::Host), side(&device, Which::Device));
        let mut last = side(&device, Which::Host);
        ensure!(send(&mut first, &mut middle, &held.timeline), "the upload is queued");
        let other = stream(&device);
        ensure!(send(&mut middle, &mut last, &other), "the download is queued");
        ensure!(!held.is_overtaken_by(&other), it);
        held.open();
    }),
    case!(DownloadWaitsHostUses, "a second download waits for the first one's writes", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut held = Held::new(&device);
        let other = stream(&device);
        buffer.copy(false, 0, ALL, &held.timeline, None).works()?;
        buffer.copy(false, 0, ALL, &other, None).works()?;
        ensure!(!held.is_overtaken_by(&other), it);
        held.open();
    }),
    case!(DeclaredStreams, "a copy elsewhere waits for the streams named with the address", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut kernels = Held::new(&device);
        buffer.device_address(std::slice::from_ref(&kernels.timeline)).works()?;
        // A kernel of the caller's: the library does not see it.
        busy(&kernels.timeline);
        let other = stream(&device);
        buffer.copy(true, 0, ALL, &other, None).works()?;
        ensure!(!kernels.is_overtaken_by(&other), it);
        kernels.open();
        ensure!(status(other.synchronize(Timeout::Infinite)) == Status::Ok, "it goes on afterwards");
    }),
    case!(WrongDevice, "a stream of another device is refused", |it| {
        let (one, two) = (device(), device());
        let buffer = pair(&one);
        ensure!(status(buffer.used_on(&stream(&two), Access::Read)) == Status::WrongDevice, it);
    }),
    case!(BlockingCopy, "a blocking copy waits for its bytes", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut held = Held::new(&device);
        ensure!(status(buffer.copy(true, 0, ALL, &held.timeline, Some(SHORT))) == Status::Timeout, it);
        ensure!(status(set(&buffer, 1)) == Status::Busy, "it stays queued, with its uses");
        held.open();
        ensure!(status(buffer.copy(true, 0, ALL, &held.timeline, Some(Timeout::Infinite))) == Status::Ok, "it returns");
    }),
    case!(DeadlockCallback, "a wait in a function on a stream would deadlock", |it| {
        struct Shared {
            buffer: Arc<Buffer>,
            answer: Status,
        }
        fn wait(_: &dyn View, [shared, _]: [usize; 2]) {
            // SAFETY: the case waits for this function with `shared` alive.
            let shared = unsafe { &mut *(shared as *mut Shared) };
            shared.answer = status(shared.buffer.begin(Access::Write, 0, 1, SHORT));
        }
        let device = device();
        let mut held = Held::new(&device);
        let mut shared = Shared { buffer: pair(&device), answer: Status::Ok };
        shared.buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        let other = stream(&device);
        kit(&other).call(wait, [&raw mut shared as usize, 0]).works()?;
        ran(&other);
        held.open();
        ensure!(shared.answer == Status::WouldDeadlock, it);
    }),
    case!(DeadlockHeld, "a wait for a stream that this thread holds shut would deadlock", |it| {
        let device = device();
        let buffer = pair(&device);
        let held = stream(&device);
        kit(&held).hold().works()?;
        buffer.copy(true, 0, ALL, &held, None).works()?;
        let answer = status(buffer.begin(Access::Write, 0, 1, SHORT));
        kit(&held).release().works()?;
        ensure!(answer == Status::WouldDeadlock, it);
    }),
    case!(CopyFailed, "a copy that failed is told by the next operation", |it| {
        if !copies_fail_alone() {
            return Ok(());
        }
        let device = device();
        let buffer = pair(&device);
        let stream = stream(&device);
        kit_of(&device).fail_operation(Some(Operation::Copy), 1, FailWhen::Execution).expect("a fault");
        buffer.copy(true, 0, ALL, &stream, None).works()?;
        ensure!(status(stream.synchronize(Timeout::Infinite)) == Status::CopyFailed, "the stream tells it");
        ensure!(status(stream.synchronize(Timeout::Infinite)) == Status::Ok, "the stream tells it once");
        ensure!(status(pair(&device).copy(true, 0, ALL, &stream, None)) == Status::Ok, "no other object tells it");
        ensure!(status(set(&buffer, 1)) == Status::CopyFailed, it);
        ensure!(status(set(&buffer, 1)) == Status::Ok, "the object tells it once");
        ensure!(status(device.drain(Timeout::Infinite)) == Status::CopyFailed, "a drain tells it");
        ensure!(status(device.drain(Timeout::Infinite)) == Status::Ok, "a drain tells it once");
    }),
    case!(LostQuarantines, "memory in use when the device was lost is not used again", |it| {
        let device = device();
        let buffer = pair(&device);
        let proven = pair(&device);
        let held = Held::new(&device);
        let other = stream(&device);
        proven.copy(true, 0, ALL, &other, Some(Timeout::Infinite)).works()?;
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        lose(&device);
        ensure!(status(proven.begin(Access::Read, 0, 1, Timeout::Try)) == Status::Ok, "what was proven stays proven");
        ensure!(status(buffer.begin(Access::Write, 0, 1, Timeout::Infinite)) == Status::DeviceLost, it);
        ensure!(device.counters.quarantined_bytes.get() == BYTES, "the bytes stay counted");
    }),
    case!(FreeWaits, "memory is freed, and its owner told, after the last use only", |it| {
        let device = device();
        let mut held = Held::new(&device);
        let mut memory = vec![1u8; BYTES as usize];
        let told = Arc::new(AtomicU32::new(0));
        let buffer = borrowed(&device, &mut memory, &told).works()?;
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        drop(buffer);
        ensure!(device.maintain() == 0 && told.load(Ordering::SeqCst) == 0, it);
        held.open();
        ensure!(device.maintain() == 2 * BYTES, "both sides go when the stream is done");
        ensure!(told.load(Ordering::SeqCst) == 1, "the owner is told once");
    }),
    case!(FreeSealed, "memory with an undeclared reader is freed by a drain only", |it| {
        let device = device();
        let buffer = pair(&device);
        buffer.device_address(&[]).works()?;
        drop(buffer);
        ensure!(device.maintain() == BYTES, it);
        ensure!(device.counters.sealed_at_destroy.get() == 1, "it is counted");
        device.drain(Timeout::Infinite).works()?;
        ensure!(device.counters.device_bytes.get() == 0, "a drain frees it");
    }),
    case!(BorrowOverlap, "two wrappers of the same memory are refused", |it| {
        let device = device();
        let mut memory = vec![1u8; 2 * BYTES as usize];
        let told = Arc::new(AtomicU32::new(0));
        let first = borrowed(&device, &mut memory[..BYTES as usize], &told).works()?;
        let second = borrowed(&device, &mut memory[BYTES as usize - 1..], &told);
        ensure!(status(second) == Status::Exists, it);
        ensure!(told.load(Ordering::SeqCst) == 0, "nobody is told of a wrapper that was not made");
        drop(first);
        device.maintain();
        ensure!(status(borrowed(&device, &mut memory, &told)) == Status::Ok, "it is free again afterwards");
    }),
    case!(DetachWaits, "memory in use is not handed back", |it| {
        let device = device();
        let mut held = Held::new(&device);
        let mut memory = vec![1u8; BYTES as usize];
        let told = Arc::new(AtomicU32::new(0));
        let buffer = borrowed(&device, &mut memory, &told).works()?;
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        ensure!(status(buffer.detach(Timeout::Try)) == Status::Busy, it);
        held.open();
        buffer.detach(Timeout::Try).works()?;
        ensure!(told.load(Ordering::SeqCst) == 0, "who asks for it is not told");
        ensure!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)) == Status::NotHeld, "the buffer is empty");
    }),
    case!(NamedStreams, "memory that a named stream's kernels use in place is not written under them", |it| {
        let device = device();
        let buffer = uva(&device);
        let mut kernels = Held::new(&device);
        buffer.device_address(std::slice::from_ref(&kernels.timeline)).works()?;
        busy(&kernels.timeline);
        ensure!(status(set(&buffer, 1)) == Status::Busy, it);
        ensure!(status(buffer.begin(Access::Read, 0, 1, Timeout::Try)) == Status::Busy, "nor read");
        kernels.open();
        ensure!(status(set(&buffer, 1)) == Status::Ok, "kernels that are done forbid nothing");
    }),
    case!(StagingWaits, "pageable bytes are not sent before their download has landed", |it| {
        let device = Device::open(&crate::common::options(), 1_000_000, "").works()?;
        let buffer = Buffer::create(&device, options(Placement::Pageable, Placement::Device)).works()?;
        let mut held = Held::new(&device);
        buffer.copy(false, 0, ALL, &held.timeline, None).works()?;
        ensure!(status(buffer.copy(true, 0, ALL, &held.timeline, None)) == Status::Timeout, it);
        held.open();
        ensure!(status(buffer.copy(true, 0, ALL, &held.timeline, None)) == Status::Ok, "it goes on afterwards");
    }),
    case!(UsesFull, "uses that cannot be told apart are refused, not forgotten", |it| {
        let device = device();
        let buffer = pair(&device);
        let mut held: Vec<Held> = (0..9).map(|_| Held::new(&device)).collect();
        for one in &held[..8] {
            buffer.used_on(&one.timeline, Access::Read).works()?;
        }
        ensure!(status(buffer.used_on(&held[0].timeline, Access::Read)) == Status::Ok, "a known stream merges");
        ensure!(status(buffer.used_on(&held[8].timeline, Access::Read)) == Status::Busy, it);
        held[0].open();
        ensure!(status(buffer.used_on(&held[8].timeline, Access::Read)) == Status::Ok, "what is done makes room");
    }),
    case!(AddressOrders, "a stream that is shown what the host wrote waits for the stream that sends it", |it| {
        let device = device();
        let (buffer, mut held, other) = (pair(&device), Held::new(&device), stream(&device));
        set(&buffer, 1).works()?;
        buffer.copy(true, 0, ALL, &held.timeline, None).works()?;
        // Nothing is newer any more, so nothing is sent again.
        buffer.publish(&other).works()?;
        busy(&other);
        ensure!(!held.is_overtaken_by(&other), it);
        held.open();
        ran(&other);
        ensure!(device.counters.copies.get() == 1, "it is sent once");
    }),
];
