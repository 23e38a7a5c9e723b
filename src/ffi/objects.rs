//! What handles stand for.

use super::handles::{Pin, Table};
use super::types::*;
use crate::fence::{Device, Event, Name, Timeline};
use crate::graph::GraphHold;
use crate::lease::Lease;
use crate::pinned::{Pinned, Reservation};
use crate::pool::Pool;
use crate::predictor::Predictor;
use crate::pressure::Pressure;
use crate::report::LiveObject;
use crate::slots::{Slots, Step};
use crate::staged::StagedRows;
use crate::sync::Arc;
use crate::tensor::Tensor;
use crate::tiers::{TieredBlock, Tiers};
use crate::workspace::{Held, Workspace};

/// Every object that callers have a handle of.
pub static TABLE: Table<Object> = Table::new();

/// The type of a handle in C, and what it stands for.
pub trait Handle {
    /// The object.
    type Object: 'static;
    /// The kind, in words.
    const KIND: &'static str;
    /// The kind, in handles.
    const NUMBER: u8;
    /// As an entry of the table.
    fn wrap(object: Self::Object) -> Object;
    /// The object, if it is of this kind.
    fn of(object: &Object) -> Option<&Self::Object>;
}

macro_rules! objects {
    ($($variant:ident($object:ty), $handle:ident = $number:literal, $kind:literal;)+) => {
        /// An object that callers have a handle of.
        #[allow(missing_docs)]
        pub enum Object { $($variant($object)),+ }

        $(impl Handle for $handle {
            type Object = $object;
            const KIND: &'static str = $kind;
            const NUMBER: u8 = $number;

            fn wrap(object: $object) -> Object {
                Object::$variant(object)
            }

            fn of(object: &Object) -> Option<&$object> {
                #[allow(irrefutable_let_patterns)]
                if let Object::$variant(object) = object { Some(object) } else { None }
            }
        })+

        impl Object {
            /// Its kind, in words.
            pub fn kind(&self) -> &'static str {
                match self { $(Object::$variant(_) => $kind),+ }
            }
        }

        impl Pin<'_, Object> {
            /// The object's kind, in handles.
            pub fn number(&self) -> u8 {
                match **self { $(Object::$variant(_) => $number),+ }
            }
        }

        /// A kind in words, by its number in handles.
        pub fn kind(number: u8) -> Option<&'static str> {
            match number { $($number => Some($kind),)+ _ => None }
        }
    };
}

objects! {
    Device(Arc<Device>), gpubuf_device = 1, "device";
    Stream(Arc<Timeline>), gpubuf_stream = 2, "stream";
    Event(Arc<Event>), gpubuf_event = 3, "event";
    Buffer(Held), gpubuf_buffer = 4, "buffer";
    Pool(Arc<Pool>), gpubuf_pool = 5, "pool";
    Block(Lease), gpubuf_block = 6, "block";
    Slots(Arc<Slots>), gpubuf_slots = 7, "slots";
    Step(Step), gpubuf_step = 8, "step";
    GraphHold(Arc<GraphHold>), gpubuf_graph_hold = 9, "graph hold";
    Pinned(Arc<Pinned>), gpubuf_pinned = 10, "pinned manager";
    Reservation(Arc<Reservation>), gpubuf_reservation = 11, "reservation";
    Tensor(Arc<Tensor>), gpubuf_tensor = 12, "tensor";
    Workspace(Arc<Workspace>), gpubuf_workspace = 13, "workspace";
    Predictor(Arc<Predictor>), gpubuf_predictor = 14, "predictor";
    StagedRows(Arc<StagedRows>), gpubuf_staged_rows = 15, "staged rows";
    Tiers(Arc<Tiers>), gpubuf_tiers = 16, "tiers";
    TieredBlock(Arc<TieredBlock>), gpubuf_tiered_block = 17, "tiered block";
    Pressure(Arc<Pressure>), gpubuf_pressure = 18, "pressure";
}

impl Object {
    /// Its name; a block goes by its pool's, a step by its slots'.
    pub fn name(&self) -> &Name {
        match self {
            Object::Device(device) => device.name(),
            Object::Stream(stream) => stream.name(),
            Object::Event(event) => event.name(),
            Object::Buffer(buffer) => buffer.name(),
            Object::Pool(pool) => pool.name(),
            Object::Block(block) => block.home().name(),
            Object::Slots(slots) => slots.name(),
            Object::Step(step) => step.slots().name(),
            Object::GraphHold(hold) => hold.name(),
            Object::Pinned(pinned) => pinned.name(),
            Object::Reservation(reservation) => reservation.name(),
            Object::Tensor(tensor) => tensor.name(),
            Object::Workspace(workspace) => workspace.name(),
            Object::Predictor(predictor) => predictor.name(),
            Object::StagedRows(rows) => rows.name(),
            Object::Tiers(tiers) => tiers.name(),
            Object::TieredBlock(block) => block.name(),
            Object::Pressure(pressure) => pressure.name(),
        }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        match self {
            Object::Device(device) => {
                let (objects, bytes) = device.deferred();
                let lost = if device.backend().is_lost() { "lost; " } else { "" };
                format!(
                    "{}: {lost}{}; {bytes} bytes in {objects} pieces wait for their last use",
                    device.name(),
                    device.reason()
                )
            }
            Object::Stream(stream) => {
                let (given, known) = stream.progress();
                format!("{}: {given} fences, known done up to {known}", stream.name())
            }
            Object::Event(event) => event.describe(),
            Object::Buffer(buffer) => buffer.describe(),
            Object::Pool(pool) => pool.describe(),
            Object::Block(block) => block.describe(),
            Object::Slots(slots) => slots.describe(),
            Object::Step(step) => step.to_string(),
            Object::GraphHold(hold) => hold.describe(),
            Object::Pinned(pinned) => pinned.describe(),
            Object::Reservation(reservation) => reservation.describe(),
            Object::Tensor(tensor) => tensor.describe(),
            Object::Workspace(workspace) => workspace.describe(),
            Object::Predictor(predictor) => predictor.describe(),
            Object::StagedRows(rows) => rows.describe(),
            Object::Tiers(tiers) => tiers.describe(),
            Object::TieredBlock(block) => block.describe(),
            Object::Pressure(pressure) => pressure.describe(),
        }
    }

    /// Memory that it owns, and its device; `None` for what owns none. What others own is not counted.
    fn memory(&self) -> Option<(&Arc<Device>, u64)> {
        Some(match self {
            Object::Buffer(buffer) => (buffer.device(), buffer.owned_bytes()),
            Object::Pool(pool) => (pool.device(), pool.memory_bytes()),
            Object::Pinned(pinned) => (pinned.device(), pinned.figures().locked_bytes),
            Object::Slots(slots) => {
                let stats = slots.stats();
                (slots.device(), stats.arena_bytes * stats.depth as u64 + stats.device_bytes)
            }
            Object::Tensor(tensor) => (tensor.device(), tensor.bytes()),
            Object::StagedRows(rows) => (rows.device(), rows.owned_bytes()),
            Object::TieredBlock(block) => (block.device(), block.bytes()),
            // What is held has handles of its own.
            Object::Workspace(workspace) => {
                let stats = workspace.stats();
                (workspace.device(), stats.bytes - stats.held_bytes)
            }
            _ => return None,
        })
    }

    /// Its memory is left to the process exit.
    pub fn count_as_leaked(&self) {
        if let Some((device, bytes)) = self.memory() {
            device.counters.leaked_bytes.add(bytes);
        }
    }
}

/// Every object that a caller has a handle of, in the order of creation.
pub fn live() -> Vec<LiveObject> {
    let mut all = Vec::new();
    TABLE.each(|object| {
        let name = object.name();
        let whole = name.to_string();
        all.push(LiveObject {
            kind: object.kind(),
            // A block goes by its number and its pool's name, a step by its slots'.
            name: match object {
                Object::Block(block) => block.full_title(),
                _ if name.kind() == object.kind() => whole,
                _ => format!("{} of {whole}", object.kind()),
            },
            number: name.number(),
            bytes: object.memory().map_or(0, |(_, bytes)| bytes),
            site: name.site(),
        });
    });
    all.sort_by_key(|object| object.number);
    all
}
