//! Recordings of calls of the C API: reads them, and makes their calls again. See docs/record-replay.md.

pub mod memory;
pub mod player;
pub mod print;
pub mod recording;
