//! The inputs of a decode step, ready-made.

use super::{SlotKind, SlotOptions, Slots, SlotsOptions, SlotsParts};
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use crate::fail;
use crate::fence::Device;
use crate::predictor::{Predictor, PredictorOptions};
use crate::sync::Arc;
use crate::tiers::{Tiers, TiersOptions};
use crate::workspace::Workspace;

/// Where the memory of a decode loop's inputs comes from.
#[derive(Default)]
pub enum DecodeMemory {
    /// The device itself.
    #[default]
    Own,
    /// A workspace.
    Workspace(Arc<Workspace>),
    /// Tiers that others use, too.
    Tiers(Arc<Tiers>),
    /// Tiers that are made with the slots.
    Tiered(TiersOptions),
}

/// Sizes of a decode loop's inputs.
pub struct DecodeOptions<'a> {
    /// The ring.
    pub slots: SlotsOptions<'a>,
    /// Requests in one step, at most.
    pub max_batch: u64,
    /// Tokens in one step, at most.
    pub max_tokens: u64,
    /// Tokens of one request, at most.
    pub max_seq_len: u64,
    /// Tokens of one block of the key-value cache.
    pub block_size: u64,
    /// Where the memory comes from.
    pub memory: DecodeMemory,
    /// A predictor of the steps' padded numbers of tokens.
    pub predictive: Option<PredictorOptions>,
}

impl Default for DecodeOptions<'_> {
    fn default() -> Self {
        DecodeOptions {
            slots: SlotsOptions::default(),
            max_batch: 256,
            max_tokens: 8192,
            max_seq_len: 32768,
            block_size: 16,
            memory: DecodeMemory::default(),
            predictive: None,
        }
    }
}

/// Slots for a decode loop, not frozen yet: more may be added.
///
/// Required: `input_ids` i32, `positions` i64 and `slot_mapping` i64 (padded with -1), which follow the tokens; `query_start_loc`
/// i32, one more than requests; `seq_lens` i32, one for each request. Kept, one for each request: `temperature` f32, `top_k`
/// i32, `top_p` f32, `seeds` i64, and with a copy of its own `block_table` i32 with a row of blocks for each request.
pub fn decode_defaults(device: &Arc<Device>, options: DecodeOptions<'_>, label: &str) -> Result<Arc<Slots>> {
    for (name, value) in [
        ("max_batch", options.max_batch),
        ("max_tokens", options.max_tokens),
        ("max_seq_len", options.max_seq_len),
        ("block_size", options.block_size),
    ] {
        if value == 0 {
            return fail!(InvalidArgument, "{name} is 0: it must be at least 1");
        }
    }
    let mut parts = SlotsParts::default();
    match options.memory {
        DecodeMemory::Own => {}
        DecodeMemory::Workspace(workspace) => parts.source = Some(workspace),
        DecodeMemory::Tiers(tiers) => parts.tiers = Some(tiers),
        DecodeMemory::Tiered(tiers) => parts.tiers = Some(Tiers::create(device, tiers)?),
    }
    if let Some(tiers) = &parts.tiers {
        parts.source = Some(tiers.clone());
    }
    parts.predictor = options.predictive.map(|predictor| Predictor::create(Some(device), predictor)).transpose()?;
    let slots = Slots::create_with(device, options.slots, parts, label)?;
    let (batch, tokens) = (&[options.max_batch], &[options.max_tokens]);
    let starts = &[options.max_batch.saturating_add(1)];
    let table = &[options.max_batch, options.max_seq_len.div_ceil(options.block_size)];
    let no_slot = (-1i64).to_ne_bytes();
    let definitions: [(&str, Dtype, &[u64], SlotKind); 10] = [
        ("input_ids", Dtype::I32, tokens, SlotKind::Required),
        ("positions", Dtype::I64, tokens, SlotKind::Required),
        ("query_start_loc", Dtype::I32, starts, SlotKind::Required),
        ("seq_lens", Dtype::I32, batch, SlotKind::Required),
        ("slot_mapping", Dtype::I64, tokens, SlotKind::Required),
        ("temperature", Dtype::F32, batch, SlotKind::Kept),
        ("top_k", Dtype::I32, batch, SlotKind::Kept),
        ("top_p", Dtype::F32, batch, SlotKind::Kept),
        ("seeds", Dtype::I64, batch, SlotKind::Kept),
        ("block_table", Dtype::I32, table, SlotKind::Kept),
    ];
    for (name, dtype, shape, kind) in definitions {
        slots.add(&SlotOptions {
            name,
            dtype,
            shape: Shape::new(shape).map_err(|e| e.context(format_args!("slot \"{name}\"")))?,
            kind,
            own_copy: name == "block_table",
            follows_tokens: matches!(name, "input_ids" | "positions" | "slot_mapping"),
            pad: (name == "slot_mapping").then_some(&no_slot[..]),
        })?;
    }
    Ok(slots)
}
