//! gpubuf: the CPU-GPU buffer layer for C++ inference runtimes.
//!
//! Layers, each importing only those before it: `error`, `sync`, `dtype`, `config` < `stats`, `ops`, `arena`, `record` < `backend` <
//! `fence` < `lease`, `buffer`, `pinned`, `pool`, `graph` < `slots`, `staged`, `workspace`, `tensor`, `tiers`, `pressure`, `predictor` <
//! `report` < `ffi`.

pub mod arena;
pub mod backend;
pub mod buffer;
pub mod config;
pub mod dtype;
pub mod error;
pub mod fence;
pub mod ffi;
pub mod graph;
pub mod lease;
pub mod ops;
pub mod pinned;
pub mod pool;
pub mod predictor;
pub mod pressure;
pub mod record;
pub mod report;
pub mod slots;
pub mod staged;
pub mod stats;
pub mod sync;
pub mod tensor;
pub mod tiers;
pub mod workspace;
