//! The parts of the library that work without a lock, as they are in its sources, on the atomics of loom.

// Shipped files are private modules there, and public ones here.
#![allow(dead_code, missing_docs, clippy::new_without_default)]

pub mod error;
pub mod handles;
pub mod known;
pub mod sync;

/// What the sources take from `config`: small here.
mod config {
    pub const HANDLES_PER_CHUNK: usize = 2;
    pub const HANDLE_CHUNKS: usize = 3;
}
