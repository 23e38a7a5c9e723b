//! What the models share.

#![allow(dead_code)]

use gpubuf_models::config::{Placement, Timeout};
use gpubuf_models::device::Opening;
use gpubuf_models::lease::{Lease, Twin};
use gpubuf_models::pool::{Pool, PoolOptions};
use gpubuf_models::sync::Arc;
use std::time::Duration;

/// It passes when the model says so.
pub const DEADLINE: Timeout = Timeout::Within(Duration::from_secs(3600));

/// A pool of blocks of four bytes with a device twin.
pub fn pool(opening: &Opening, blocks: u32) -> Arc<Pool> {
    let options = PoolOptions { twin: Twin::Eager, ..PoolOptions::new(Placement::Pinned, 4, blocks) };
    Pool::create(&opening.device, options).expect("a pool")
}

/// A block that is free.
pub fn block(pool: &Arc<Pool>) -> Lease {
    pool.acquire(0, Timeout::Try).expect("a free block")
}

/// The pool and its device end, and nothing is left.
pub fn end(pool: Arc<Pool>, opening: Opening) {
    pool.destroy();
    drop(pool);
    opening.end();
}
