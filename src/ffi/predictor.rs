//! Size predictors.

use super::arguments::{growing, init, label, options_or};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::recorded::Memory;
use super::types::*;
use crate::error::Result;
use crate::fail;
use crate::predictor::{Method, Predictor, PredictorOptions};
use std::ffi::{c_char, c_void};

/// What a predictor is to be. Set up by gpubuf_predictor_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_predictor_options {
    /// sizeof(gpubuf_predictor_options)
    pub struct_size: u32,
    /// GPUBUF_METHOD_: how it predicts. Default: the blend.
    pub method: u32,
    /// How many sizes it predicts, 1 to GPUBUF_MAX_PREDICTED: a hit is a next size among so many. Default: 3.
    pub count: u32,
    /// Over how many records the most common sizes are counted, 1 to 4096. Default: 100.
    pub window: u32,
    /// The most sizes known at a time, window to 4096: a new one takes the place of the least recently used. Default: 256.
    pub most_sizes: u32,
    /// How many steps are under way at a time, 1 to window; for gpubuf_predictor_suggest alone. Default: 2.
    pub steps_in_flight: u32,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// A predictor's figures. Sums of bytes stop at UINT64_MAX.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_predictor_stats {
    /// sizeof(gpubuf_predictor_stats), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_METHOD_: the method that it goes by at this moment, which is the blend's choice.
    pub believed: u32,
    /// Sizes recorded.
    pub records: u64,
    /// Records before which there was a prediction: all but the first.
    pub predictions: u64,
    /// Of those: the size was among the predicted ones.
    pub hits: u64,
    /// Of those: it was among the most common ones of the window, for comparison.
    pub most_common_hits: u64,
    /// Bytes of all predicted sizes.
    pub predicted_bytes: u64,
    /// Bytes of predicted sizes that did not come next: what is wasted where every prediction is made anew for each step.
    pub waste_bytes: u64,
    /// Bytes that were made ahead. What is free already is not made again.
    pub warmed_bytes: u64,
    /// Of that: what was made for a size that has come since.
    pub warmed_used_bytes: u64,
    /// Sizes known at this moment.
    pub sizes: u64,
    /// Sizes that made room for others.
    pub evictions: u64,
}

growing!(gpubuf_predictor_options { label: text }, gpubuf_predictor_stats);

fn defaults(options: &mut gpubuf_predictor_options) {
    let PredictorOptions { method, count, window, most_sizes, steps_in_flight, .. } = PredictorOptions::default();
    options.method = method as u32;
    options.count = count;
    options.window = window;
    options.most_sizes = most_sizes;
    options.steps_in_flight = steps_in_flight;
}

fn method(code: u32) -> Result<Method> {
    match code {
        GPUBUF_METHOD_MOST_COMMON => Ok(Method::MostCommon),
        GPUBUF_METHOD_MARKOV => Ok(Method::Markov),
        GPUBUF_METHOD_MARKOV2 => Ok(Method::Markov2),
        GPUBUF_METHOD_BLEND => Ok(Method::Blend),
        _ => fail!(InvalidArgument, "options.method is {code}: use one of GPUBUF_METHOD_"),
    }
}

/// Options of a predictor, as the layers below take them.
pub(super) fn predictor_options(options: &gpubuf_predictor_options, name: &str) -> Result<PredictorOptions> {
    Ok(PredictorOptions {
        method: method(options.method)?,
        count: options.count,
        window: options.window,
        most_sizes: options.most_sizes,
        steps_in_flight: options.steps_in_flight,
        label: label(options.label, name)?.to_owned(),
    })
}

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_options_init(options: *mut gpubuf_predictor_options, struct_size: u32) {
    plain(Entry::gpubuf_predictor_options_init, (), || init(options, struct_size, defaults));
}

/// A predictor that has recorded nothing yet. `device`, in whose reports it is, may be NULL; so may `options`, for the defaults.
///
/// All its memory, some hundred bytes for each of most_sizes and of the contexts of its method, is made here.
/// Ownership: the caller's, until gpubuf_predictor_destroy.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_VERSION_MISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_predictor_options,
    out_predictor: *mut *mut gpubuf_predictor,
) -> gpubuf_status {
    call(Entry::gpubuf_predictor_create, (device, options, out_predictor), |c| {
        let device = c.get_if_any(device, "device")?;
        let options = options_or(options, "options", defaults)?;
        let out = c.out(out_predictor, "out_predictor")?;
        c.give(out, Predictor::create(device, predictor_options(&options, "options.label")?)?)
    })
}

/// Ends the handle. What was warmed stays where it is. NULL is GPUBUF_OK.
///
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_destroy(predictor: *mut gpubuf_predictor) -> gpubuf_status {
    call(Entry::gpubuf_predictor_destroy, (predictor,), |c| c.end(predictor, "predictor").map(drop))
}

/// The next step has come, and this is its size in bytes, at least 1. `out_hit` is 1 where it was among the predicted ones, else 0;
/// it may be NULL.
///
/// Threads: any. Allocates nothing, and takes a time that does not depend on what was recorded.
/// Errors: GPUBUF_INVALID_ARGUMENT (0, or above INT64_MAX: not recorded).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_record(
    predictor: *mut gpubuf_predictor,
    size: u64,
    out_hit: *mut u32,
) -> gpubuf_status {
    call(Entry::gpubuf_predictor_record, (predictor, size, out_hit), |c| {
        let hit = c.get(predictor, "predictor")?.record(size)?;
        c.set_if_any(out_hit, hit as u32);
        Ok(())
    })
}

/// The sizes that the next step may have, the likeliest first, each once: up to `capacity`, and not more than the options' count.
///
/// There are fewer while fewer are known, none before the first record. `out_count` is how many were written.
/// Threads: any. Allocates nothing.
/// Errors: GPUBUF_INVALID_ARGUMENT (NULL with a capacity above 0).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_predict(
    predictor: *const gpubuf_predictor,
    out_sizes: *mut u64,
    capacity: usize,
    out_count: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_predictor_predict, (predictor, Memory(out_sizes), capacity, out_count), |c| {
        let predictor = c.get(predictor, "predictor")?;
        if out_sizes.is_null() && capacity > 0 {
            return fail!(InvalidArgument, "out_sizes is NULL and capacity is {capacity}");
        }
        let out = c.out(out_count, "out_count")?;
        let sizes = predictor.predict();
        let count = sizes.len().min(capacity);
        c.fault_point();
        for (at, size) in sizes[..count].iter().enumerate() {
            // SAFETY: the caller's promise: room for `capacity` sizes, of which this is one.
            unsafe { out_sizes.add(at).write_unaligned(*size) };
        }
        out.set(count);
        Ok(())
    })
}

/// The predictor's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_stats_get(
    predictor: *const gpubuf_predictor,
    inout_stats: *mut gpubuf_predictor_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_predictor_stats_get, (predictor, inout_stats), |c| {
        let predictor = c.get(predictor, "predictor")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let stats = predictor.stats();
        out.set(gpubuf_predictor_stats {
            struct_size: 0,
            believed: predictor.believed() as u32,
            records: stats.records,
            predictions: stats.predictions,
            hits: stats.hits,
            most_common_hits: stats.most_common_hits,
            predicted_bytes: stats.predicted_bytes,
            waste_bytes: stats.waste_bytes,
            warmed_bytes: stats.warmed_bytes,
            warmed_used_bytes: stats.warmed_used_bytes,
            sizes: stats.sizes,
            evictions: stats.evictions,
        });
        Ok(())
    })
}

/// Calls `warm` for each predicted size, the likeliest first: it has memory for that size ready, and free, when it comes. Whatever
/// gives memory and takes it back is warmed by taking some and giving it back.
///
/// Not for a step's path: what is made ahead is made where nobody waits for it. `out_warmed_bytes`, the sum of what `warm`
/// returned, may be NULL.
/// Threads: any; `warm` is called on this one, under no lock of the library.
/// Errors: GPUBUF_INVALID_ARGUMENT (`warm` is NULL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_prewarm(
    predictor: *mut gpubuf_predictor,
    warm: gpubuf_warm_fn,
    user_data: *mut c_void,
    out_warmed_bytes: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_predictor_prewarm, (predictor, warm, user_data, out_warmed_bytes), |c| {
        let predictor = c.get(predictor, "predictor")?;
        let Some(warm) = warm else {
            return fail!(InvalidArgument, "warm is NULL");
        };
        // SAFETY: the caller's promise for the callback of this call.
        let bytes = predictor.prewarm(|size| unsafe { warm(size, user_data) });
        c.set_if_any(out_warmed_bytes, bytes);
        Ok(())
    })
}

/// Sees to it that the pool has `blocks_each` free blocks for each predicted size that is above `above_bytes` (what is not is a
/// smaller pool's; 0: none is) and fits a block. Blocks that lack are made, as far as the pool's max_blocks goes, and are free.
///
/// The pool's waiters and reserve come before. `out_made`, the blocks that were made, and `out_missing`, the free blocks that
/// lack still, may be NULL: a pool that is at its max_blocks, or memory that cannot be had, is no error. The pool does not
/// shrink for the cool-down that its options name.
/// Allocates, and may call the driver: not for a step's path. Threads: any.
/// Errors: GPUBUF_INVALID_ARGUMENT (above_bytes is not below the pool's block size, or blocks_each is not 1 to 1048576),
/// GPUBUF_DEVICE_LOST, GPUBUF_SHUT_DOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_prewarm_pool(
    predictor: *mut gpubuf_predictor,
    pool: *mut gpubuf_pool,
    above_bytes: u64,
    blocks_each: u32,
    out_made: *mut u32,
    out_missing: *mut u32,
) -> gpubuf_status {
    call(
        Entry::gpubuf_predictor_prewarm_pool,
        (predictor, pool, above_bytes, blocks_each, out_made, out_missing),
        |c| {
            let predictor = c.get(predictor, "predictor")?;
            let warmed = predictor.prewarm_pool(c.get(pool, "pool")?, above_bytes, blocks_each)?;
            c.set_if_any(out_made, warmed.made);
            c.set_if_any(out_missing, warmed.missing);
            Ok(())
        },
    )
}

/// Pools for what was recorded, as lines of C++ to paste: the fewest with which at most a tenth of the bytes is padding, at most
/// four; each with as many blocks as steps of its sizes were under way at a time (steps_in_flight).
///
/// Sizes that made room for others are not in it: the first line says how many records are. Allocates; not for a step's path.
/// Cut to fit and ended; `out_length`, the whole length, may be NULL. The text may change at any time.
/// Errors: GPUBUF_INVALID_ARGUMENT (`buffer` is NULL with a capacity above 0), GPUBUF_OUT_OF_HOST_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_predictor_suggest(
    predictor: *const gpubuf_predictor,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_predictor_suggest, (predictor, buffer, capacity, out_length), |c| {
        let predictor = c.get(predictor, "predictor")?;
        c.text(&predictor.suggest()?, buffer, capacity, out_length)
    })
}
