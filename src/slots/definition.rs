//! What a slot is, and the list of slots before it is frozen.

use crate::arena::Extent;
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use crate::fail;

/// Whether a slot is written anew in each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotKind {
    /// Written in each step, from row 0 without holes; past the written length its bytes mean nothing.
    Required = 0,
    /// Rows that a step does not write keep their last committed content.
    Kept = 1,
    /// Bound in each step to memory that is on the device already: nothing is staged, and its address is the step's own.
    Dynamic = 2,
}

impl SlotKind {
    /// The kind with this number.
    pub fn from_code(code: u32) -> Result<SlotKind> {
        match code {
            0 => Ok(SlotKind::Required),
            1 => Ok(SlotKind::Kept),
            2 => Ok(SlotKind::Dynamic),
            _ => fail!(
                InvalidArgument,
                "slot kind {code} is not known: use GPUBUF_SLOT_REQUIRED, GPUBUF_SLOT_KEPT or GPUBUF_SLOT_DYNAMIC"
            ),
        }
    }

    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            SlotKind::Required => "required",
            SlotKind::Kept => "kept",
            SlotKind::Dynamic => "dynamic",
        }
    }
}

/// A slot to add.
#[derive(Clone, Copy, Debug)]
pub struct SlotOptions<'a> {
    /// Unique among the slots.
    pub name: &'a str,
    /// Of one element.
    pub dtype: Dtype,
    /// At most; the first dimension counts the rows.
    pub shape: Shape,
    /// Required, kept or dynamic.
    pub kind: SlotKind,
    /// A table so large, or changed so seldom, that it is copied on its own.
    pub own_copy: bool,
    /// It has a row for each token of a step: its rows are checked and padded together with those of its like.
    pub follows_tokens: bool,
    /// One element that padding repeats, and that kept rows hold until they are written; `None` is zero.
    pub pad: Option<&'a [u8]>,
}

/// A slot of the list.
pub(super) struct Slot {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Shape,
    pub kind: SlotKind,
    pub own_copy: bool,
    pub follows_tokens: bool,
    /// Its number among the dynamic ones, if it is one.
    pub dynamic: Option<usize>,
    /// Rows at most, and bytes of one.
    pub rows: u64,
    pub row_bytes: u64,
    pub extent: Extent,
    pad: [u8; 8],
}

impl Slot {
    /// A slot behind `before`.
    pub fn new(options: &SlotOptions<'_>, before: &[Slot]) -> Result<Slot> {
        let name = options.name;
        if name.is_empty() {
            return fail!(InvalidArgument, "a slot needs a name");
        }
        let size = options.dtype.size();
        let mut pad = [0; 8];
        if let Some(element) = options.pad {
            if element.len() != size {
                return fail!(
                    InvalidArgument,
                    "slot \"{name}\": its pad value has {} bytes, an element of {} has {size}",
                    element.len(),
                    options.dtype.name()
                );
            }
            pad[..size].copy_from_slice(element);
        }
        let bytes = options.shape.bytes(options.dtype).map_err(|e| e.context(format_args!("slot \"{name}\"")))? as u64;
        let rows = options.shape.dims()[0];
        let kept = options.kind == SlotKind::Kept;
        let is_dynamic = options.kind == SlotKind::Dynamic;
        if is_dynamic && (options.own_copy || options.follows_tokens || options.pad.is_some()) {
            return fail!(
                InvalidArgument,
                "slot \"{name}\": a dynamic slot is bound, neither copied nor padded; leave own_copy, follows_tokens and pad_value out"
            );
        }
        let row_bytes = bytes / rows;
        // What is bound takes no room.
        let staged = if is_dynamic { 0 } else { rows };
        let extent = Extent { rows: staged, row_bytes, kept, own_copy: options.own_copy };
        Ok(Slot {
            name: name.to_string(),
            dtype: options.dtype,
            shape: options.shape,
            kind: options.kind,
            own_copy: options.own_copy,
            follows_tokens: options.follows_tokens,
            dynamic: is_dynamic.then_some(before.iter().filter(|slot| slot.dynamic.is_some()).count()),
            rows,
            row_bytes,
            extent,
            pad,
        })
    }

    /// The pad value: one element.
    pub fn pad(&self) -> &[u8] {
        &self.pad[..self.dtype.size()]
    }
}
