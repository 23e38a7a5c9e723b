//! Making staged rows.

use super::pack::Packer;
use super::pending::Pending;
use super::plan::Plan;
use super::report::Counters;
use super::ring::{Ring, entry_bytes};
use super::{Inside, StagedRows};
use crate::buffer::{Buffer, BufferOptions, BufferSettings};
use crate::config::Placement;
use crate::config::log::{self, Level};
use crate::dtype::{Dtype, Shape};
use crate::error::{Result, Status};
use crate::fail;
use crate::fence::{Device, Name, ReleaseCallback};
use crate::sync::{Arc, OneThread, Weak};
use crate::workspace::Held;

/// Staging entries at most.
const MAX_DEPTH: u32 = 16;
/// Writes that can be staged at a time, at most.
const MAX_WRITES: u32 = 1 << 20;
/// Bytes that can be staged at a time, at most: places in an entry have 32 bits.
const MAX_STAGING_BYTES: u64 = 1 << 30;

/// What staged rows are to be.
#[derive(Clone, Copy, Debug)]
pub struct StagedRowsOptions {
    /// Staging entries: 1 to 16.
    pub depth: u32,
    /// Writes that can be staged at a time.
    pub max_writes: u32,
    /// Bytes that can be staged at a time.
    pub staging_bytes: u64,
}

impl Default for StagedRowsOptions {
    fn default() -> StagedRowsOptions {
        StagedRowsOptions { depth: 2, max_writes: 1024, staging_bytes: 256 * 1024 }
    }
}

/// Which table.
pub enum Over {
    /// One of its own.
    Own {
        /// Of one element.
        dtype: Dtype,
        /// Rows.
        rows: u64,
        /// Elements of each.
        row_elements: u64,
        /// Rows that there is memory for, so that growing leaves the address; less than `rows`: as many as those.
        capacity_rows: u64,
        /// Device or uva.
        placement: Placement,
        /// The caller's device memory; 0: the library's own, which is zero.
        device_memory: u64,
        /// Told once when nothing uses the caller's memory any more.
        release: Option<ReleaseCallback>,
    },
    /// A buffer with a side that kernels address: its rows are those of its outermost dimension.
    Buffer(Held),
}

impl StagedRowsOptions {
    fn check(&self) -> Result<()> {
        let within = |name: &str, value: u64, most: u64| {
            if value == 0 || value > most {
                return fail!(InvalidArgument, "{name} {value} is not one of 1 to {most}");
            }
            Ok(())
        };
        within("depth", self.depth.into(), MAX_DEPTH.into())?;
        within("max_writes", self.max_writes.into(), MAX_WRITES.into())?;
        within("staging_bytes", self.staging_bytes, MAX_STAGING_BYTES)
    }
}

impl StagedRows {
    /// Everything is allocated, and the kernel is loaded. Where it cannot be, writes are applied by one copy each.
    pub fn create(
        device: &Arc<Device>,
        options: StagedRowsOptions,
        over: Over,
        label: &str,
    ) -> Result<Arc<StagedRows>> {
        options.check()?;
        let name = Arc::new(Name::new("staged rows", label));
        let StagedRowsOptions { depth, max_writes, staging_bytes } = options;
        let pending = Pending::new(max_writes, staging_bytes)?;
        let (plan, packer) = (Plan::new(max_writes)?, Packer::new(max_writes)?);
        // A device that is lost or shut down refuses this, before it is asked for anything else.
        let ring =
            Ring::new(device, &name, depth, entry_bytes(max_writes, staging_bytes)).map_err(|e| e.context(&name))?;
        let no_kernel = match device.backend().prepare_scatter() {
            Ok(()) => None,
            Err(error) if error.status() == Status::DeviceLost => return Err(error.context(&name)),
            Err(error) => {
                log::write(Level::Warn, format_args!("{name} makes a copy for each write: {}", error.message()));
                Some(error.message().to_owned())
            }
        };
        // Last, since it may borrow the caller's memory.
        let (table, own) = match over {
            Over::Buffer(buffer) => (expect_table(buffer, device)?, false),
            own => (Held::from(table(device, own, label)?), true),
        };
        let layout = table.layout();
        let staged = Arc::new(StagedRows {
            name,
            device: device.clone(),
            dtype: layout.dtype(),
            row_bytes: layout.row_bytes(),
            table,
            own,
            depth,
            max_writes,
            staging_bytes,
            no_kernel,
            counters: Counters::default(),
            inside: OneThread::new(Inside { pending, plan, packer, ring }),
        });
        let member: Weak<StagedRows> = Arc::downgrade(&staged);
        device.enroll(member);
        Ok(staged)
    }
}

/// A table of its own.
fn table(device: &Arc<Device>, over: Over, label: &str) -> Result<Arc<Buffer>> {
    let Over::Own { dtype, rows, row_elements, capacity_rows, placement, device_memory, release } = over else {
        return fail!(Internal, "a buffer is no table of its own");
    };
    let sides = match placement {
        Placement::Device => (Placement::None, Placement::Device),
        Placement::Uva => (Placement::Uva, Placement::None),
        other => {
            return fail!(
                InvalidArgument,
                "placement {}: a table of staged rows is device or uva; for another, give a buffer",
                other.name()
            );
        }
    };
    let Some(capacity) = capacity_rows.checked_mul(row_elements) else {
        return fail!(Overflow, "{capacity_rows} rows of {row_elements} elements are over the address space");
    };
    let options = BufferOptions {
        dtype,
        shape: Shape::new(&[rows, row_elements])?,
        host: sides.0,
        device: sides.1,
        host_memory: std::ptr::null_mut(),
        device_memory,
        release,
        label: label.to_owned(),
    };
    Buffer::create_with(device, options, BufferSettings { capacity, ..BufferSettings::default() })
}

/// A buffer of the caller's that can be a table.
fn expect_table(buffer: Held, device: &Arc<Device>) -> Result<Held> {
    if !Arc::ptr_eq(buffer.device(), device) {
        device.counters.refusals.add(1);
        return fail!(
            WrongDevice,
            "{} belongs to {}, not to {}: give a buffer of the same device",
            buffer.name(),
            buffer.device().name(),
            device.name()
        );
    }
    let (host, on_device) = buffer.placements();
    if on_device == Placement::None && !host.is_in_place() {
        return fail!(
            Unsupported,
            "{} has no side that kernels address: a table needs a device side, or a uva or managed host side",
            buffer.name()
        );
    }
    Ok(buffer)
}
