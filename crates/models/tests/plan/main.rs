//! Small models of what threads do to the library at once, each run under every plan of a bounded number of preemptions.

mod common;
mod event;
mod log;
mod pool;
mod ring;
mod timeline;
mod workspace;
