//! The state of the whole process in one text: for people, and as JSON for programs.

mod at_end;
mod json;
mod text;

pub use at_end::{write_at_end, write_at_exit};

use crate::backend::system_memory;
use crate::error::Result;
use crate::fail;
use crate::fence::{device_records, uptime};
use crate::record;
use crate::stats::Record;

/// The version of the JSON's shape: it goes up when a key changes its meaning or goes, not when one is added.
const SHAPE: u64 = 1;

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Format {
    /// For people.
    Text = 0,
    /// For programs.
    Json = 1,
}

impl Format {
    /// The format with this number.
    pub fn from_code(code: u32) -> Result<Format> {
        match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Json),
            _ => fail!(InvalidArgument, "format {code} is not known: use a GPUBUF_REPORT_ number (0 or 1)"),
        }
    }
}

/// What only the layer above knows.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// The library's version.
    pub version: &'static str,
    /// Whether it was shut down.
    pub shut_down: bool,
    /// Calls with a handle that had ended, or never was one.
    pub stale_handles: u64,
    /// What callers have handles of, in the order of its creation.
    pub live_objects: Vec<LiveObject>,
}

/// An object that a caller has a handle of.
#[derive(Clone, Debug, Default)]
pub struct LiveObject {
    /// What it is: `pool`.
    pub kind: &'static str,
    /// What it is called: `pool "inputs"`.
    pub name: String,
    /// Its number, unique in the process; that of its pool or slots for what has none of its own.
    pub number: u64,
    /// Memory that it owns.
    pub bytes: u64,
    /// The caller's frames where it was made, if that was tracked.
    pub site: String,
}

impl LiveObject {
    fn record(&self) -> Record {
        let site = Some(self.site.as_str()).filter(|site| !site.is_empty());
        Record::new(self.kind, &self.name).with("number", self.number).with("bytes", self.bytes).with("site", site)
    }
}

impl std::fmt::Display for LiveObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} bytes", self.name, self.bytes)?;
        match &*self.site {
            "" => Ok(()),
            site => write!(f, ", made by {site}"),
        }
    }
}

/// The whole state, as it is now. Each object is looked at under its own lock, none under that of another.
pub fn report(format: Format, process: &Process) -> String {
    let system = system_memory();
    let library = Record::new("library", "gpubuf")
        .with("version", process.version)
        .with("process", std::process::id())
        .with("uptime_ns", uptime().as_nanos() as u64)
        .with("shut_down", process.shut_down)
        .with("stale_handles", process.stale_handles);
    let system = Record::new("system", "system")
        .with("memory_total", system.total)
        .with("memory_available", system.available)
        .with("cgroup_limit", system.cgroup_limit)
        .with("cgroup_used", system.cgroup_used)
        .with("cgroup_room", system.cgroup_room)
        .with("memlock_limit", system.memlock_limit)
        .with("memlock_used", system.memlock_used)
        .with("huge_page_bytes", system.huge_page)
        .with("huge_pages_free", system.huge_pages_free)
        .with("transparent_huge_pages", system.transparent_huge_pages)
        .with("container", system.container);
    let state = State {
        library,
        system,
        recording: record::figures(),
        devices: device_records(),
        live_objects: process.live_objects.iter().map(LiveObject::record).collect(),
    };
    match format {
        Format::Text => text::write(&state),
        Format::Json => json::write(&state),
    }
}

/// What a report says.
struct State {
    library: Record,
    system: Record,
    recording: Option<Record>,
    devices: Vec<Record>,
    live_objects: Vec<Record>,
}
