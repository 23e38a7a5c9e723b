//! The slots of a decode loop, in one call.

use super::arguments::{growing, init, label, options};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::slots::sizes;
use super::types::*;
use crate::slots::{DecodeOptions, SlotsOptions, decode_defaults};
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
}

growing!(gpubuf_decode_options { label: text, padded_sizes: words padded_size_count });

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
/// Ownership, errors: as gpubuf_slots_create; GPUBUF_OVERFLOW (a slot of so many elements).
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
        };
        c.give(out, decode_defaults(device, &decode, label(options.label, "options.label")?)?)
    })
}
