//! One call of each kind that makes something on a device.

use crate::common::{pair_of, status};
use gpubuf::buffer::Buffer;
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::Dtype;
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Device, Event, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::pinned::{Pinned, PinnedOptions, Request};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::pressure::{Pressure, PressureOptions};
use gpubuf::slots::{Slots, SlotsOptions};
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::Arc;
use gpubuf::tiers::{Tier, Tiers, TiersOptions};
use gpubuf::workspace::{Workspace, WorkspaceOptions};

const BYTES: u64 = 64;

/// A device, and what others are made from.
pub struct Makers {
    device: Arc<Device>,
    tiers: Arc<Tiers>,
    pinned: Arc<Pinned>,
    pool: Arc<Pool>,
}

fn tiers(device: &Arc<Device>) -> Result<Arc<Tiers>> {
    Tiers::create(device, TiersOptions { budgets: [0, 0, 0, 1 << 20], moves_per_step: 0, label: String::new() })
}

fn manager(device: &Arc<Device>) -> Result<Arc<Pinned>> {
    Pinned::create(device, PinnedOptions::new(Placement::Pinned, 1 << 20))
}

/// Staged rows of four bytes each.
pub fn rows(device: &Arc<Device>) -> Result<Arc<StagedRows>> {
    let (dtype, placement) = (Dtype::U8, Placement::Uva);
    let over =
        Over::Own { dtype, rows: 4, row_elements: 4, capacity_rows: 0, placement, device_memory: 0, release: None };
    StagedRows::create(device, StagedRowsOptions { depth: 2, max_writes: 4, staging_bytes: 64 }, over, "")
}

impl Makers {
    pub fn new(device: &Arc<Device>) -> Makers {
        let makers = Makers {
            device: device.clone(),
            tiers: tiers(device).expect("tiers"),
            pinned: manager(device).expect("a manager"),
            pool: Pool::create(device, PoolOptions::new(Placement::Pinned, BYTES, 2)).expect("a pool"),
        };
        // Its memory is kept for the next one.
        makers.tiered_block().expect("a block");
        makers
    }

    fn tiered_block(&self) -> Result<()> {
        self.tiers.create_block(BYTES, Some(Tier::Pageable), "").map(drop)
    }

    /// What each call answers.
    pub fn answers(&self) -> Vec<(&'static str, Status)> {
        let Makers { device, pinned, pool, .. } = self;
        vec![
            ("a stream", status(Timeline::create(device, ""))),
            ("an event", status(Event::create(device, false, ""))),
            ("a buffer", status(Buffer::create(device, pair_of(BYTES)))),
            ("a graph hold", status(GraphHold::create(device, ""))),
            ("slots", status(Slots::create(device, SlotsOptions::default(), ""))),
            ("staged rows", status(rows(device))),
            ("tiers", status(tiers(device))),
            ("a tiered block", status(self.tiered_block())),
            ("a workspace", status(Workspace::create(device, WorkspaceOptions::default()))),
            ("a manager", status(manager(device))),
            ("a block of a manager's", status(pinned.allocate(&Request::new(BYTES)))),
            ("a watch", status(Pressure::create(device, PressureOptions::default()))),
            ("a block of a pool's", status(pool.acquire(0, Timeout::Try))),
            ("warm blocks", status(pool.warm(1))),
            ("a probe", status(device.probe(device.timeout(0)))),
        ]
    }
}
