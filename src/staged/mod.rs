//! Staged rows: writes of parts of rows of a table in device memory, collected on the host and applied together.
//!
//! A large table that changes in a few places a step, such as that of a key-value cache's blocks, is neither worth a copy as a
//! whole nor a copy for each place. Here writes are *staged*, and *applied* on a stream: packed into one entry of a ring of
//! page-locked memory, copied once, and put in their places by one kernel. Where writes overlap, the last one wins.
//!
//! The table is a buffer's side that kernels address: a buffer of its own, or the caller's. So all that a buffer's fences say
//! holds for the table as well.

mod apply;
mod create;
mod pack;
mod pending;
mod plan;
mod report;
mod ring;

pub use create::{Over, StagedRowsOptions};
pub use report::StagedRowsStats;

use crate::buffer::Layout;
use crate::config::Timeout;
use crate::dtype::{Dtype, Shape};
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{Access, Device, HostWait, Name, Timeline};
use crate::sync::{Arc, MutexGuard, OneThread};
use crate::workspace::Held;
use pack::Packer;
use pending::Pending;
use plan::Plan;
use report::Counters;
use ring::Ring;

/// Staged writes of rows, and the table that they are for. One thread at a time: a second one is answered `busy`.
pub struct StagedRows {
    name: Arc<Name>,
    device: Arc<Device>,
    /// Whoever handed the buffer out does not hand it to others meanwhile.
    table: Held,
    /// The table's memory came with this object, and grows with it.
    own: bool,
    dtype: Dtype,
    row_bytes: usize,
    depth: u32,
    max_writes: u32,
    staging_bytes: u64,
    /// Why one copy for each piece is made, where the kernel cannot be had.
    no_kernel: Option<String>,
    counters: Counters,
    inside: OneThread<Inside>,
}

/// What one thread at a time has.
struct Inside {
    pending: Pending,
    plan: Plan,
    packer: Packer,
    ring: Ring,
}

impl StagedRows {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The table: what graphs hold, and whose uses are declared.
    pub fn table(&self) -> &Held {
        &self.table
    }

    /// Of one element.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Elements of a row.
    pub fn row_elements(&self) -> u64 {
        (self.row_bytes / self.dtype.size()) as u64
    }

    /// Rows that the table has now.
    pub fn rows(&self) -> u64 {
        self.table.layout().rows()
    }

    /// Staging entries.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Writes that can be staged at a time, and their bytes.
    pub fn room(&self) -> (u32, u64) {
        (self.max_writes, self.staging_bytes)
    }

    /// Whether a kernel scatters the rows.
    pub fn by_kernel(&self) -> bool {
        self.no_kernel.is_none()
    }

    /// Bytes of memory of the library's that go with it.
    pub fn owned_bytes(&self) -> u64 {
        let table = if self.own { self.table.owned_bytes() } else { 0 };
        table + 2 * self.depth as u64 * ring::entry_bytes(self.max_writes, self.staging_bytes) as u64
    }

    fn enter(&self) -> Result<MutexGuard<'_, Inside>> {
        match self.inside.enter() {
            Some(inside) => Ok(inside),
            None => fail!(Busy, "{} is in use by another thread: one at a time", self.name),
        }
    }

    fn counted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|_| self.counters.refusals.add(1))
    }

    fn wait(&self, timeout: Timeout) -> HostWait<'_> {
        HostWait::new(timeout, &self.counters.host)
    }

    /// Where the rows lie now. A buffer of the caller's may have got another shape.
    fn layout(&self) -> Result<Layout> {
        let layout = self.table.layout();
        if layout.row_bytes() != self.row_bytes {
            return fail!(
                InvalidArgument,
                "{}: a row of {} has {} bytes now, and had {} when these rows were created: create them anew",
                self.name,
                self.table.name(),
                layout.row_bytes(),
                self.row_bytes
            );
        }
        Ok(layout)
    }

    /// Stages `count` elements of a row from element `first` on; they are copied at once. Nothing reaches the table before
    /// apply. Refused with `overflow` where there is no room for them.
    ///
    /// # Safety
    /// `values` can be read for `count` elements.
    pub unsafe fn stage(&self, row: u64, first: u64, values: *const u8, count: u64) -> Result<()> {
        self.counted((|| {
            let mut inside = self.enter()?;
            let rows = self.layout()?.rows();
            let columns = self.row_elements();
            if row >= rows {
                return fail!(InvalidArgument, "row {row} is not in {}, which has {rows}", self.name);
            }
            if first > columns || count > columns - first {
                return fail!(
                    InvalidArgument,
                    "elements {first}..{} are not inside a row of {}, which has {columns}",
                    first.saturating_add(count),
                    self.name
                );
            }
            if count == 0 {
                return Ok(());
            }
            let size = self.dtype.size();
            let bytes = count as usize * size;
            if !inside.pending.has_room(bytes) {
                return Err(self.no_room(&inside.pending, bytes));
            }
            // SAFETY: the caller's promise.
            let values = unsafe { std::slice::from_raw_parts(values, bytes) };
            inside.pending.push(row, first as usize * size, values);
            self.counters.writes.add(1);
            self.counters.staged_bytes.add(bytes as u64);
            Ok(())
        })())
    }

    #[cold]
    fn no_room(&self, pending: &Pending, bytes: usize) -> Error {
        Error::new(
            Status::Overflow,
            format!(
                "{bytes} bytes more do not fit in {}: {} of {} writes and {} of {} bytes are staged; apply or clear them first, or create it with more max_writes or staging_bytes",
                self.name,
                pending.writes().len(),
                self.max_writes,
                pending.bytes(),
                self.staging_bytes
            ),
        )
    }

    /// Drops what is staged.
    pub fn clear(&self) -> Result<()> {
        self.counted(self.enter().map(|mut inside| inside.pending.clear()))
    }

    /// Writes and bytes that are staged; neighbours that were staged one after the other are one write.
    pub fn staged(&self) -> Result<(u64, u64)> {
        let inside = self.enter()?;
        Ok((inside.pending.writes().len() as u64, inside.pending.bytes() as u64))
    }

    /// Gives the table more rows, which are zero. As long as there is memory for them the address stays; beyond, the table
    /// moves: what it holds is copied in the order of `stream`, and the old memory is freed when its last use is proven.
    /// Returns whether it moved. What is staged stays staged. Refused while a graph holds a table that would move.
    pub fn grow(&self, rows: u64, stream: &Arc<Timeline>, timeout: Timeout) -> Result<bool> {
        self.counted((|| {
            let _inside = self.enter()?;
            if !self.own {
                return fail!(
                    Unsupported,
                    "growing {}: its table is {}, which is the caller's; resize that",
                    self.name,
                    self.table.name()
                );
            }
            let before = self.rows();
            if rows < before {
                return fail!(InvalidArgument, "growing {} to {rows} rows: it has {before} already", self.name);
            }
            if rows == before {
                return Ok(false);
            }
            let shape = Shape::new(&[rows, self.row_elements()])?;
            let capacity = self.table.capacity();
            self.table
                .resize(shape, (true, true), Some(stream), timeout)
                .map_err(|e| e.context(format_args!("growing {} to {rows} rows", self.name)))?;
            let moved = self.table.capacity() != capacity;
            self.counters.grows.add(1);
            self.counters.moves.add(moved as u64);
            Ok(moved)
        })())
    }

    /// The table's address, as [`Buffer::device_address`](crate::buffer::Buffer::device_address) gives it. Growing beyond the memory that there is changes it.
    pub fn device_address(&self, streams: &[Arc<Timeline>]) -> Result<u64> {
        self.table.device_address(streams)
    }

    /// Work queued on the stream up to now read or wrote the table.
    pub fn used_on(&self, stream: &Arc<Timeline>, access: Access) -> Result<()> {
        self.table.used_on(stream, access)
    }
}
