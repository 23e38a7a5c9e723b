//! Staged rows whose table grows while it is used, held against a model of the table.

use crate::kit::Random;
use crate::site::{Site, Work};
use gpubuf::config::Placement;
use gpubuf::dtype::Dtype;
use gpubuf::error::Status;
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::Arc;

const COLUMNS: u64 = 24;
const MOST_ROWS: u64 = 40;

struct Table<'a> {
    site: &'a Site,
    rows: Arc<StagedRows>,
    bytes: Vec<u8>,
    staged: Vec<(usize, Vec<u8>)>,
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        self.site.rows.lock().retain(|rows| !Arc::ptr_eq(rows, &self.rows));
    }
}

pub fn run(site: &Site, random: &mut Random) {
    let mut table = None;
    for _ in 0..site.rounds {
        if !site.round() {
            return;
        }
        let kept = match table.take() {
            Some(table) => Ok(table),
            None => make(site, random),
        };
        let kept = kept.and_then(|mut table| one_round(site, &mut table, random).map(|()| table));
        table = kept.ok().filter(|table| table.bytes.len() < (MOST_ROWS * COLUMNS) as usize);
    }
}

fn make<'a>(site: &'a Site, random: &mut Random) -> Work<Table<'a>> {
    let rows = 4 + random.below(4);
    let over = Over::Own {
        dtype: Dtype::U8,
        rows,
        row_elements: COLUMNS,
        capacity_rows: random.below(16),
        placement: if random.below(4) == 0 { Placement::Uva } else { Placement::Device },
        device_memory: 0,
        release: None,
    };
    let options = StagedRowsOptions { depth: 1 + random.below(3) as u32, max_writes: 16, staging_bytes: 128 };
    let made = site.must("staged rows", StagedRows::create(site.device(), options, over, ""))?;
    site.rows.lock().push(made.clone());
    Ok(Table { site, rows: made, bytes: vec![0; (rows * COLUMNS) as usize], staged: Vec::new() })
}

fn one_round(site: &Site, table: &mut Table, random: &mut Random) -> Work<()> {
    for _ in 0..random.below(6) {
        stage(site, table, random)?;
    }
    let stream = site.stream(random);
    match random.below(10) {
        0 => {
            site.again("clear", || table.rows.clear())?;
            table.staged.clear();
        }
        1 | 2 => {
            let rows = table.bytes.len() as u64 / COLUMNS + 1 + random.below(5);
            site.again("grow", || table.rows.grow(rows, &stream, site.patience()))?;
            table.bytes.resize((rows * COLUMNS) as usize, 0);
        }
        _ => apply(site, table, random)?,
    }
    Ok(())
}

fn stage(site: &Site, table: &mut Table, random: &mut Random) -> Work<()> {
    let rows = table.bytes.len() as u64 / COLUMNS;
    let (row, first) = (random.below(rows), random.below(COLUMNS));
    let values: Vec<u8> = (0..1 + random.below(COLUMNS - first)).map(|_| random.next() as u8).collect();
    loop {
        // SAFETY: as many values.
        let staged = unsafe { table.rows.stage(row, first, values.as_ptr(), values.len() as u64) };
        match staged.as_ref().map_err(|error| error.status()) {
            Err(Status::Busy) => std::thread::yield_now(),
            Err(Status::Overflow) => return apply(site, table, random),
            _ => {
                site.must("stage", staged)?;
                table.staged.push(((row * COLUMNS + first) as usize, values));
                return Ok(());
            }
        }
    }
}

fn apply(site: &Site, table: &mut Table, random: &mut Random) -> Work<()> {
    let (stream, other) = (site.stream(random), site.stream(random));
    let consumers = if random.below(3) == 0 { std::slice::from_ref(&other) } else { &[] };
    site.again("apply", || table.rows.apply(&stream, consumers, site.patience()))?;
    for (at, values) in table.staged.drain(..) {
        table.bytes[at..at + values.len()].copy_from_slice(&values);
    }
    let address = site.again("the table's address", || table.rows.device_address(std::slice::from_ref(&stream)))?;
    site.look(&stream, address, &table.bytes)
}
