//! Staged rows.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::Dtype;
use gpubuf::error::Status;
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};

pub const CASES: &[Case] = &[case!(ApplyWaits, "an entry is not packed while its copy has not run", |it| {
    let device = device();
    let (dtype, placement, release) = (Dtype::U8, Placement::Device, None);
    let table = Over::Own { dtype, rows: 2, row_elements: 4, capacity_rows: 0, placement, device_memory: 0, release };
    let options = StagedRowsOptions { depth: 1, max_writes: 2, staging_bytes: 8 };
    let rows = StagedRows::create(&device, options, table, "").works()?;
    let mut held = Held::new(&device);
    // SAFETY: one value.
    let stage = |row: u64, value: u8| unsafe { rows.stage(row, 0, &value, 1) };
    stage(0, 1).works()?;
    rows.apply(&held.timeline, &[], Timeout::Try).works()?;
    stage(1, 2).works()?;
    ensure!(status(rows.apply(&held.timeline, &[], Timeout::Try)) == Status::Busy, it);
    held.open();
    rows.apply(&held.timeline, &[], Timeout::Infinite).works()?;
    held.open();
    let address = rows.device_address(std::slice::from_ref(&held.timeline)).works()?;
    ensure!(read_device(&device, address, 8) == [1, 0, 0, 0, 2, 0, 0, 0], "both are there");
})];
