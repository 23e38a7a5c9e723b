//! A stand-in for the CUDA driver: a `libcuda.so.1` whose `cu*` functions run on the emulation engine. It is a
//! simulation, says so in its devices' names, and exports [`gpubuf_standin_version`](control), which no driver has.
//! It lets a library that is written for the driver, and programs with streams and graphs of their own, be tested
//! where there is no GPU. That a test passes here says nothing about speed, and proves nothing about a GPU.
//!
//! Its user opens the shared library (`libgpubuf_standin_cuda.so`) and looks functions up by name; this Rust library
//! only has what its tests need besides: [`without_symbols`].
//!
//! # What it keeps to
//! - Each context is an emulated device of its own, with its memory, streams, events and legacy default stream.
//! - Operations run behind the caller's back. Page-locked memory is read when a copy runs, pageable memory is staged.
//! - Device addresses fault when the CPU touches them. The device address of page-locked memory differs from its host
//!   pointer. Managed memory has one address for both.
//! - Handles are numbers that are looked up and not used again soon: a stale or invented one is refused.
//! - An operation that fails when it runs, or a lost device, ends the context: what is queued is dropped, and every
//!   later call that touches the device returns the same code until the context is destroyed.
//! - In a forked child every call returns `NOT_INITIALIZED`; once the process exits, `DEINITIALIZED`.
//!
//! # What it does not do
//! It runs no kernels but one of gpubuf's, whose twin it has, by its name (`gpubuf_scatter_rows`), has no arrays, no peers (device memory is only known in its own context), no memory pools that
//! a caller can name, and no graph nodes that a caller can see. Such calls return `NOT_SUPPORTED`, or are not there.
//!
//! # Control
//! See [`control`] for the functions by which a test counts calls, makes them fail, holds streams and sets times.
//!
//! # Environment
//! Read once, by the first call that needs it:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `GPUBUF_STANDIN_DEVICES` | how many devices there are | 2 |
//! | `GPUBUF_STANDIN_DRIVER_VERSION` | what `cuDriverGetVersion` says | 12040 |
//! | `GPUBUF_STANDIN_INIT_CODE` | what `cuInit` returns instead of success | 0 |
//! | `GPUBUF_STANDIN_DELAY_NS` | a wait before each operation | 0 |
//! | `GPUBUF_STANDIN_MEMORY_BYTES` | device memory of each device | 16 GiB |
//! | `GPUBUF_STANDIN_UVA` | `stale`: by its device address the device sees a copy of page-locked memory, from when that was made | live |
#![allow(non_snake_case, reason = "the driver's names are what programs look up")]

#[macro_use]
mod entry;

mod attributes;
mod batch;
mod capture;
mod code;
mod context;
mod context_calls;
pub mod control;
mod copy;
mod copy2d;
mod device_calls;
mod driver;
mod event;
mod fault;
mod fill;
mod graph;
mod memory;
mod memory_calls;
mod module;
mod pointer;
mod pools;
mod proc_address;
mod stream;
mod stream_calls;
mod symbols;
mod table;
mod value;

pub use symbols::without_symbols;
