//! Pools for what was recorded: of which block sizes, and how many blocks each.

use super::{Figures, Predictor};
use crate::error::{Error, Result, Status, try_vec};
use std::fmt::Write as _;

/// The most pools of a suggestion.
const MOST_POOLS: usize = 4;
/// How many percent of the bytes may be padding before there is one pool more.
const PADDING_PERCENT: u128 = 10;

/// A pool that would serve some of the recorded sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuggestedPool {
    /// Size of its blocks: the largest that it serves.
    pub block_bytes: u64,
    /// Its blocks: as many as were under way at a time.
    pub block_count: u32,
    /// Records that it would have served.
    pub uses: u64,
}

/// Pools for a recorded run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestion {
    /// By block size, at most four.
    pub pools: Vec<SuggestedPool>,
    /// Records that it is made for: those of forgotten sizes are not.
    pub uses: u64,
    /// Bytes of those records.
    pub bytes: u128,
    /// Bytes that their blocks would have above that.
    pub padding: u128,
}

impl Predictor {
    /// The fewest pools with which at most a tenth of the bytes is padding, or four. Allocates; not for a step's path.
    pub fn suggested_pools(&self) -> Result<Suggestion> {
        let capacity = self.state.lock().model.sizes().len();
        let mut sizes = Vec::new();
        if sizes.try_reserve_exact(capacity).is_err() {
            return Err(no_memory());
        }
        {
            let state = self.state.lock();
            let known =
                (0..state.model.sizes().len().min(capacity)).map(|at| (state.model.sizes().key(at), state.figures[at]));
            sizes.extend(known);
        }
        sizes.sort_unstable_by_key(|(size, _)| *size);
        best_pools(&sizes, self.steps_in_flight as u32)
    }

    /// The same as lines of C++ to paste, with what was recorded as a comment.
    pub fn suggest(&self) -> Result<String> {
        let (suggestion, records) = (self.suggested_pools()?, self.stats().records);
        let Suggestion { pools, uses, bytes, padding } = suggestion;
        let mut text = String::new();
        let percent = |part: u128, whole: u128| part as f64 * 100.0 / whole.max(1) as f64;
        let _ = writeln!(
            text,
            "// {uses} of {records} records in {} pools, {:.1} % of their bytes padding",
            pools.len(),
            percent(padding, bytes + padding)
        );
        for SuggestedPool { block_bytes, block_count, uses: own } in pools {
            let _ = writeln!(
                text,
                "gpubuf::pool::create(device, {block_bytes}, {block_count});  // {:.1} % of the records",
                percent(own.into(), uses.into())
            );
        }
        Ok(text)
    }
}

#[cold]
fn no_memory() -> Error {
    Error::new(Status::OutOfHostMemory, "no host memory to look for pools in")
}

/// Sizes are sorted. `costs[pools][end]` is the least that the blocks of so many pools for the first `end` sizes can have in all.
pub(super) fn best_pools(sizes: &[(u64, Figures)], steps_in_flight: u32) -> Result<Suggestion> {
    let count = sizes.len();
    let mut out = Suggestion::default();
    if count == 0 {
        return Ok(out);
    }
    // Uses of the first so many sizes.
    let mut uses = try_vec(count + 1, 0u64, "a suggestion")?;
    for (at, (size, figures)) in sizes.iter().enumerate() {
        uses[at + 1] = uses[at] + figures.uses;
        out.bytes += *size as u128 * figures.uses as u128;
    }
    out.uses = uses[count];
    let cost_of = |from: usize, end: usize| sizes[end - 1].0 as u128 * (uses[end] - uses[from]) as u128;
    let mut costs = try_vec(count + 1, u128::MAX, "a suggestion")?;
    costs[0] = 0;
    // Where the last of so many pools begins.
    let mut begins = try_vec(MOST_POOLS * (count + 1), 0u32, "a suggestion")?;
    let mut pools = 0;
    while pools < MOST_POOLS.min(count) {
        let mut with_one_more = try_vec(count + 1, u128::MAX, "a suggestion")?;
        for end in 1..=count {
            let reachable = (0..end).filter(|from| costs[*from] != u128::MAX);
            let best = reachable.map(|from| (costs[from] + cost_of(from, end), from)).min();
            if let Some((cost, from)) = best {
                with_one_more[end] = cost;
                begins[pools * (count + 1) + end] = from as u32;
            }
        }
        costs = with_one_more;
        pools += 1;
        out.padding = costs[count] - out.bytes;
        if out.padding * 100 <= costs[count] * PADDING_PERCENT {
            break;
        }
    }
    if out.pools.try_reserve_exact(pools).is_err() {
        return Err(no_memory());
    }
    let mut end = count;
    for pool in (0..pools).rev() {
        let from = begins[pool * (count + 1) + end] as usize;
        let peaks: u32 = sizes[from..end].iter().map(|(_, figures)| figures.peak).fold(0, u32::saturating_add);
        out.pools.push(SuggestedPool {
            block_bytes: sizes[end - 1].0,
            block_count: peaks.min(steps_in_flight),
            uses: uses[end] - uses[from],
        });
        end = from;
    }
    out.pools.reverse();
    Ok(out)
}
