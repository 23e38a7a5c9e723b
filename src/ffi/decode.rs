//! The slots of a decode loop, in one call.

use super::arguments::{growing, init, label, options};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::predictor::{gpubuf_predictor_options, predictor_options};
use super::slots::sizes;
use super::tiers::{gpubuf_tiers_options, tiers_options};
use super::types::*;
use crate::fail;
use crate::slots::{DecodeMemory, DecodeOptions, SlotsOptions, decode_defaults};
use std::ffi::c_char;

/// The inputs of a decode loop. Set up by gpubuf_decode_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_decode_options {
    /// sizeof(gpubuf_decode_options)
    pub struct_size: u32,
    /// As in gpubuf_slots_options.
    pub depth: u32,
    /// As in gpubuf_slots_options.
    pub read_back_depth: u32,
    /// As in gpubuf_slots_options.
    pub device_depth: u32,
    /// Requests in one step, at most. Default: 256.
    pub max_batch: u64,
    /// Tokens in one step, at most. Default: 8192.
    pub max_tokens: u64,
    /// Tokens of one request, at most. Default: 32768.
    pub max_seq_len: u64,
    /// Tokens of one block of the key-value cache. Default: 16.
    pub block_size: u64,
    /// As in gpubuf_slots_options.
    pub read_back_bytes: u64,
    /// As in gpubuf_slots_options.
    pub gap_bytes: u64,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
    /// As in gpubuf_slots_options.
    pub padded_sizes: *const u64,
    /// As in gpubuf_slots_options.
    pub padded_size_count: u64,
    /// What the memory of the slots is taken from, and goes back to when its last use is over: this workspace. At most one of
    /// source_workspace, source_tiers and tiered is given; none: the device itself.
    pub source_workspace: *mut gpubuf_workspace,
    /// These tiers, which need a budget of device memory and one of page-locked memory.
    pub source_tiers: *mut gpubuf_tiers,
    /// Tiers that are made with the slots, for blocks of the caller's under the same budgets: see gpubuf_slots_tiers. Read in the
    /// call only.
    pub tiered: *const gpubuf_tiers_options,
    /// A predictor is made with the slots, and told of the padded number of tokens of each step that is committed: see
    /// gpubuf_slots_predictor. NULL: none. Read in the call only.
    pub predictive: *const gpubuf_predictor_options,
}

growing!(gpubuf_decode_options from 88 {
    label: text,
    padded_sizes: words padded_size_count,
    source_workspace: handle,
    source_tiers: handle,
    tiered: options_of<gpubuf_tiers_options>,
    predictive: options_of<gpubuf_predictor_options>
});

/// Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_decode_options_init(options: *mut gpubuf_decode_options, struct_size: u32) {
    plain(Entry::gpubuf_decode_options_init, (), || {
        init(options, struct_size, |options| {
            let defaults = DecodeOptions::default();
            options.depth = defaults.slots.depth;
            options.read_back_depth = defaults.slots.read_back_depth;
            options.read_back_bytes = defaults.slots.read_back_bytes;
            options.gap_bytes = defaults.slots.gap_bytes;
            options.device_depth = defaults.slots.device_depth;
            options.max_batch = defaults.max_batch;
            options.max_tokens = defaults.max_tokens;
            options.max_seq_len = defaults.max_seq_len;
            options.block_size = defaults.block_size;
        });
    });
}

/// The slots of a decode loop, not frozen yet: more may be added.
///
/// Required: input_ids i32, positions i64 and slot_mapping i64 (padded with -1), which follow the tokens; query_start_loc i32, one
/// more than requests; seq_lens i32, one for each request. Kept, one for each request: temperature f32, top_k i32, top_p f32,
/// seeds i64 and, with a copy of its own, block_table i32 with a row of ceil(max_seq_len / block_size) each.
///
/// With a source, gpubuf_slots_freeze takes the memory of the slots from there: a buffer of device memory for each copy of the
/// block, and one of page-locked memory for each staging and each read-back entry. It waits as taking a buffer there does, up to the
/// device's default deadline, and adds GPUBUF_BUDGET, GPUBUF_BUSY and GPUBUF_TIMEOUT to its errors. What is taken stays until the
/// slots have ended and their last use is proven, whoever destroys the source first; rows that no step wrote hold what its last
/// holder left.
/// Ownership: as gpubuf_slots_create; the source is held by the slots.
/// Errors: as gpubuf_slots_create, gpubuf_tiers_create and gpubuf_predictor_create; GPUBUF_INVALID_ARGUMENT (more than one source),
/// GPUBUF_WRONG_DEVICE, GPUBUF_OVERFLOW (a slot of so many elements).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_create_decode(
    device: *mut gpubuf_device,
    options: *const gpubuf_decode_options,
    out_slots: *mut *mut gpubuf_slots,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_create_decode, (device, options, out_slots), |c| {
        let device = c.get(device, "device")?;
        let options = self::options(options, "options")?;
        let out = c.out(out_slots, "out_slots")?;
        let workspace = c.get_if_any(options.source_workspace, "options.source_workspace")?;
        let tiers = c.get_if_any(options.source_tiers, "options.source_tiers")?;
        let memory = match (workspace, tiers, options.tiered.is_null()) {
            (None, None, true) => DecodeMemory::Own,
            (Some(workspace), None, true) => DecodeMemory::Workspace(workspace.clone()),
            (None, Some(tiers), true) => DecodeMemory::Tiers(tiers.clone()),
            (None, None, false) => {
                let tiered = self::options(options.tiered, "options.tiered")?;
                DecodeMemory::Tiered(tiers_options(&tiered, "options.tiered.label")?)
            }
            _ => {
                return fail!(
                    InvalidArgument,
                    "more than one of options.source_workspace, source_tiers and tiered is given: memory comes from one place"
                );
            }
        };
        let predictive = if options.predictive.is_null() {
            None
        } else {
            let predictive = self::options(options.predictive, "options.predictive")?;
            Some(predictor_options(&predictive, "options.predictive.label")?)
        };
        let decode = DecodeOptions {
            slots: SlotsOptions {
                depth: options.depth,
                read_back_depth: options.read_back_depth,
                read_back_bytes: options.read_back_bytes,
                gap_bytes: options.gap_bytes,
                device_depth: options.device_depth,
                padded_sizes: sizes(options.padded_sizes, options.padded_size_count)?,
            },
            max_batch: options.max_batch,
            max_tokens: options.max_tokens,
            max_seq_len: options.max_seq_len,
            block_size: options.block_size,
            memory,
            predictive,
        };
        c.give(out, decode_defaults(device, decode, label(options.label, "options.label")?)?)
    })
}

/// The tiers that the slots take their memory from: those of source_tiers, or those that were made for tiered. They can be used as
/// any others, and their blocks share the budgets with the slots.
///
/// Ownership: a handle of the caller's, until gpubuf_tiers_destroy; the tiers live as long as anybody uses them.
/// Errors: GPUBUF_UNSUPPORTED (made without either).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_tiers(
    slots: *mut gpubuf_slots,
    out_tiers: *mut *mut gpubuf_tiers,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_tiers, (slots, out_tiers), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.out(out_tiers, "out_tiers")?;
        match &slots.parts().tiers {
            Some(tiers) => c.give(out, tiers.clone()),
            None => fail!(Unsupported, "{} takes no memory from tiers (options source_tiers, tiered)", slots.name()),
        }
    })
}

/// The predictor that the slots were made with. Its sizes are padded numbers of tokens, not bytes: each step that is committed
/// records that of the longest slot that follows the tokens, as gpubuf_slots_padded_size gives it. A step without tokens is not
/// recorded.
///
/// Ownership: a handle of the caller's, until gpubuf_predictor_destroy; the predictor lives as long as anybody uses it.
/// Errors: GPUBUF_UNSUPPORTED (made without predictive).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_slots_predictor(
    slots: *mut gpubuf_slots,
    out_predictor: *mut *mut gpubuf_predictor,
) -> gpubuf_status {
    call(Entry::gpubuf_slots_predictor, (slots, out_predictor), |c| {
        let slots = c.get(slots, "slots")?;
        let out = c.out(out_predictor, "out_predictor")?;
        match &slots.parts().predictor {
            Some(predictor) => c.give(out, predictor.clone()),
            None => fail!(Unsupported, "{} has no predictor (option predictive)", slots.name()),
        }
    })
}
