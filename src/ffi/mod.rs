//! The C API: every function checks its parameters, calls the layers below, and writes its outputs. It decides nothing.
//!
//! An exported function is one use of [`boundary::call`]; `entries` lists them all. The header is generated from the files
//! here, in the order of the lines below.

// The header's conventions say what callers must keep to; what one function adds is in its own text.
#![allow(clippy::missing_safety_doc)]
#![allow(non_camel_case_types)]

pub mod types;

pub mod library;

pub mod device;

pub mod probe;

pub mod stream;

pub mod event;

pub mod buffer;

pub mod buffer_shape;

pub mod buffer_sync;

pub mod pool;

pub mod block;

pub mod pinned;

pub mod reservation;

pub mod slots;

pub mod read_back;

pub mod step;

pub mod graph_hold;

pub mod staged_rows;

pub mod spec;

pub mod workspace;

pub mod tensor;

pub mod tiers;

pub mod pressure;

pub mod predictor;

pub mod decode;

pub mod report;

pub mod ops;

pub mod host;

pub mod mutants;

mod arguments;
mod boundary;
mod entries;
mod handles;
mod last_error;
mod objects;
mod process;
mod recorded;
