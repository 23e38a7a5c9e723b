//! Making buffers.

use super::{Buffer, Layout, Whole};
use crate::config::{Placement, expect_sides};
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use crate::fail;
use crate::fence::{Area, Block, Borrow, Device, Name, Policy, Range, ReleaseCallback, Side, Storage, Which};
use crate::stats::{Counter, WaitCounters};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, OneThread};

/// What a buffer is to be.
pub struct BufferOptions {
    /// Element type.
    pub dtype: Dtype,
    /// Elements per dimension.
    pub shape: Shape,
    /// Where the host side lives: anywhere but on the device.
    pub host: Placement,
    /// Where the device side lives: none or device.
    pub device: Placement,
    /// The caller's memory for the host side; null: the library's own.
    pub host_memory: *mut u8,
    /// The caller's memory for the device side; 0: the library's own.
    pub device_memory: u64,
    /// Told once when nothing uses borrowed memory any more. Not told where the creation fails.
    pub release: Option<ReleaseCallback>,
    /// The label, or empty.
    pub label: String,
}

impl BufferOptions {
    fn check(&self) -> Result<()> {
        expect_sides(self.host, self.device)?;
        let lent = !self.host_memory.is_null();
        if (lent && self.host == Placement::None) || (self.device_memory != 0 && self.device == Placement::None) {
            return fail!(InvalidArgument, "memory is lent for a side whose placement is none");
        }
        if lent && self.host == Placement::Managed {
            return fail!(Unsupported, "borrowed host memory cannot be managed: use uva, pinned or pageable");
        }
        Ok(())
    }
}

/// What else a buffer may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct BufferSettings {
    /// Elements that there is memory for, so that the buffer grows in place; less than the shape has: as many as that.
    pub capacity: u64,
    /// Who wins where a sync finds both sides newer.
    pub policy: Policy,
    /// Whether copies between the sides are timed.
    pub timed: bool,
}

impl Buffer {
    /// A new buffer; its own memory is zeroed.
    pub fn create(device: &Arc<Device>, options: BufferOptions) -> Result<Arc<Buffer>> {
        Buffer::create_with(device, options, BufferSettings::default())
    }

    /// As [`Buffer::create`], with more to choose.
    pub fn create_with(device: &Arc<Device>, options: BufferOptions, settings: BufferSettings) -> Result<Arc<Buffer>> {
        options.check()?;
        let BufferOptions { dtype, shape, host, device: on_device, host_memory, device_memory, release, label } =
            options;
        let bytes = shape.bytes(dtype)?;
        let capacity = match settings.capacity.checked_mul(dtype.size() as u64) {
            Some(capacity) if capacity <= isize::MAX as u64 => bytes.max(capacity as usize),
            _ => {
                return fail!(
                    Overflow,
                    "a capacity of {} elements of {} is over the address space",
                    settings.capacity,
                    dtype.name()
                );
            }
        };
        let name = Arc::new(Name::new("buffer", &label));
        let owner = Borrow::new();
        let stands_in = host_memory.is_null() && on_device == Placement::None && device.needs_stand_in(host);
        let (real_host, real_device) =
            if stands_in { (Placement::Pinned, Placement::Device) } else { (host, on_device) };
        let side = |which, placement, borrowed: bool| -> Result<Option<Side>> {
            if placement == Placement::None {
                return Ok(None);
            }
            let storage = if borrowed {
                let host = if which == Which::Host { host_memory } else { std::ptr::null_mut() };
                let address = if which == Which::Device { device_memory } else { 0 };
                // SAFETY: whoever fills the options lends the memory until it is told, or detaches it.
                unsafe { Storage::borrow(device, placement, host, address, capacity, owner.clone()) }
            } else {
                Storage::allocate(device, placement, capacity)
            };
            Ok(Some(Side::new(which, &name, storage.map_err(|e| e.context(&name))?)))
        };
        let host_side = side(Which::Host, real_host, !host_memory.is_null())?;
        let device_side = side(Which::Device, real_device, device_memory != 0)?;
        let mut block = Block::new(&name, bytes, host_side, device_side);
        if stands_in {
            block = block.standing_in();
        }
        // What the caller's memory holds, memory of the library's own does not have yet; also what the buffer may grow into.
        let everything = Area::from(Range { start: 0, end: capacity });
        match (host_memory.is_null(), device_memory == 0) {
            (false, true) => block.written(Which::Host, everything),
            (true, false) => block.written(Which::Device, everything),
            _ => {}
        }
        if settings.timed {
            block.take_times(device).map_err(|e| e.context(&name))?;
        }
        let borrowed = !host_memory.is_null() || device_memory != 0;
        if borrowed {
            owner.tell(release);
        }
        let whole = Arc::new(Whole {
            block: OneThread::new(block),
            name: name.clone(),
            device: device.clone(),
            placements: (host, on_device),
            borrowed,
            stands_in,
            policy: settings.policy,
            capacity: AtomicUsize::new(capacity),
            views: AtomicU64::new(0),
            views_made: AtomicU64::new(0),
            resizes: Counter::default(),
            owner: Arc::downgrade(&owner),
            returning: AtomicBool::new(false),
            untold: Mutex::new(None),
            unchecked: AtomicBool::new(false),
            waits: WaitCounters::default(),
        });
        if stands_in {
            device.count_stand_in();
        }
        let member = Arc::downgrade(&whole);
        device.enroll(member);
        Ok(Arc::new(Buffer { name, whole, layout: Mutex::new(Layout::new(dtype, shape)), is_view: false }))
    }
}
