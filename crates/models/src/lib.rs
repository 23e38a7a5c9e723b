//! The library's own sources, with locks, condition variables and atomics of [`sync`] below, each of which may switch threads. A
//! scheduler ([`plan`]) tries every plan of switches with up to a number of preemptions. The device is a small one of its
//! own ([`device`]), whose streams are threads under the same scheduler. Memory is sequentially consistent here: weak memory
//! orders are `crates/weak`'s.

#![allow(dead_code, missing_docs, clippy::undocumented_unsafe_blocks, clippy::new_without_default)]

pub mod arena;
pub mod backend;
pub mod buffer;
pub mod config;
pub mod dtype;
pub mod error;
pub mod fence;
pub mod graph;
pub mod lease;
pub mod ops;
pub mod pool;
pub mod predictor;
pub mod record;
pub mod slots;
pub mod stats;
pub mod tiers;
pub mod workspace;

pub mod device;
pub mod plan;
pub mod sync;
