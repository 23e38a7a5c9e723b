//! Where a set's memory comes from: the device itself, or a source, which has it back when its last use is over.

use super::Slots;
use crate::config::{Placement, TIMEOUT_DEFAULT};
use crate::dtype::{Dtype, Shape};
use crate::error::Result;
use crate::fence::{Arena, Storage};
use crate::predictor::Predictor;
use crate::sync::{Arc, Mutex};
use crate::tiers::Tiers;
use crate::workspace::{Held, Source, Spec};

/// What a set works with besides its device. Nothing of it is needed.
#[derive(Clone, Default)]
pub struct SlotsParts {
    /// Where its memory is taken from, and goes back to when its last use is over.
    pub source: Option<Arc<dyn Source>>,
    /// The source, where that is tiers.
    pub tiers: Option<Arc<Tiers>>,
    /// Told of the padded number of tokens of each step that was committed.
    pub predictor: Option<Arc<Predictor>>,
}

/// Memory of a set that is about to be frozen.
pub(super) struct Memory {
    /// One for each copy of the device block.
    pub device: Vec<Storage>,
    /// One for each staging entry.
    pub staging: Vec<Storage>,
    /// One for each read-back entry.
    pub read_back: Vec<Storage>,
}

/// A buffer of a source whose memory a set has.
struct Piece(Mutex<Option<Held>>);

impl Arena for Piece {
    fn part_back(&self, _: u64) {
        // Out of the lock first: the source may wake others.
        let held = self.0.lock().take();
        drop(held);
    }

    fn part_lost(&self, _: u64) {
        let held = self.0.lock().take();
        if let Some(held) = held {
            held.lose();
        }
    }

    fn is_watched(&self) -> bool {
        true
    }
}

impl Slots {
    /// Everything that a block of so many bytes takes, or nothing. A source is waited for, up to the device's default deadline.
    pub(super) fn take_memory(&self, bytes: usize) -> Result<Memory> {
        let options = &self.options;
        let several = |count: u32, placement, bytes| {
            (0..count).map(|_| self.take_piece(placement, bytes)).collect::<Result<Vec<_>>>()
        };
        Ok(Memory {
            device: several(options.device_depth, Placement::Device, bytes)?,
            staging: several(options.depth, Placement::Pinned, bytes)?,
            read_back: several(options.read_back_depth, Placement::Pinned, options.read_back_bytes as usize)?,
        })
    }

    fn take_piece(&self, placement: Placement, bytes: usize) -> Result<Storage> {
        let Some(source) = &self.parts.source else {
            return Storage::allocate_only(&self.device, placement, bytes);
        };
        let on_device = placement == Placement::Device;
        let (host, device) = if on_device { (Placement::None, placement) } else { (placement, Placement::None) };
        let spec = Spec::new(Dtype::U8, Shape::new(&[bytes as u64])?, host, device)?;
        let held = source.clone().take(&spec, self.device.timeout(TIMEOUT_DEFAULT))?;
        let memory = {
            let block = held.lock()?;
            let side = if on_device { &block.device } else { &block.host };
            match side {
                Some(side) => side.storage()?.memory(),
                None => return crate::fail!(Internal, "{} has no memory of its spec", held.name()),
            }
        };
        Ok(Storage::part(&self.device, memory, Arc::new(Piece(Mutex::new(Some(held)))), 0))
    }

    /// What it works with besides its device.
    pub fn parts(&self) -> &SlotsParts {
        &self.parts
    }
}
