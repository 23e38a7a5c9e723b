//! A world: a device with one live object of every kind, and the memory that calls are given.

use gpubuf_calls::{Answer, FUNCTIONS, Function, call, constant, structure};
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::OnceLock;

/// Bytes of a region.
pub const REGION: usize = 4096;

/// Memory that a parameter points to, with room on both sides of the middle.
#[repr(C, align(64))]
pub struct Region(pub [u8; REGION]);

impl Region {
    fn new() -> Box<Region> {
        Box::new(Region([0; REGION]))
    }

    pub fn address(&mut self) -> u64 {
        self.0.as_mut_ptr() as u64
    }

    pub fn set<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&bytes);
    }
}

/// The functions by name.
pub fn named(name: &str) -> &'static Function {
    static NAMES: OnceLock<HashMap<&'static str, &'static Function>> = OnceLock::new();
    let names = NAMES.get_or_init(|| FUNCTIONS.iter().map(|function| (function.name, function)).collect());
    names.get(name).unwrap_or_else(|| panic!("no function {name}"))
}

/// A constant.
pub fn number(name: &str) -> u64 {
    constant(name).unwrap_or_else(|| panic!("no constant {name}"))
}

/// Calls by name, a function that answers a status.
pub fn status(name: &str, arguments: &[u64]) -> i32 {
    // SAFETY: this program's arguments: live memory, or what the function has to refuse.
    match unsafe { call(named(name).index, arguments) } {
        Answer::Status(status) => status,
        other => panic!("{name} answered {other:?}"),
    }
}

/// As [`status`]; it must be OK.
pub fn ok(name: &str, arguments: &[u64]) {
    let answer = status(name, arguments);
    assert!(answer == 0, "{name}: {}: {}", gpubuf_calls::status_name(answer), message());
}

/// The message of this thread's last failure.
pub fn message() -> String {
    let mut bytes = [0u8; 2048];
    let arguments = [bytes.as_mut_ptr() as u64, bytes.len() as u64];
    // SAFETY: as many bytes as are said.
    unsafe { call(named("gpubuf_last_error_message").index, &arguments) };
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Names that objects and options of a world have.
pub const NAME: &CStr = c"ids";
pub const FRESH: &CStr = c"fresh";

/// Calls a function that gives one number.
pub fn made(name: &str, arguments: &[u64]) -> u64 {
    let mut out = 0u64;
    ok(name, &[arguments, &[&raw mut out as u64]].concat());
    out
}

/// Fills a struct: its defaults, then what every call of this program asks for.
pub fn fill(of: &str, memory: u64) {
    let known = structure(of).unwrap_or_else(|| panic!("no struct {of}"));
    // SAFETY: the region is larger than any struct.
    unsafe { call(named(&format!("{of}_init")).index, &[memory, known.size as u64]) };
    let set = |field: &str, at: usize, value: u64| {
        let field = known.field(field).unwrap_or_else(|| panic!("{of} has no {field}"));
        let bytes = value.to_ne_bytes();
        // SAFETY: a field of the struct.
        unsafe {
            let target = (memory as *mut u8).add(field.offset + at * field.bytes);
            target.copy_from_nonoverlapping(bytes.as_ptr(), field.bytes);
        }
    };
    let i32 = number("GPUBUF_DTYPE_I32");
    let shaped = |extents: &[u64]| {
        set("dtype", 0, i32);
        set("rank", 0, extents.len() as u64);
        extents.iter().enumerate().for_each(|(at, extent)| set("shape", at, *extent));
    };
    match of {
        "gpubuf_device_options" => set("default_timeout_ns", 0, 5_000_000_000),
        "gpubuf_buffer_options" => shaped(&[4, 4]),
        "gpubuf_pool_options" => {
            set("block_bytes", 0, 256);
            set("block_count", 0, 3);
            set("device_side", 0, 1);
        }
        "gpubuf_block_options" => set("bytes", 0, 256),
        "gpubuf_pinned_options" => set("budget_bytes", 0, 1 << 20),
        "gpubuf_pinned_request" => set("bytes", 0, 64),
        "gpubuf_slot_options" => {
            shaped(&[8]);
            set("name", 0, FRESH.as_ptr() as u64);
        }
        "gpubuf_decode_options" => {
            set("max_batch", 0, 4);
            set("max_tokens", 0, 16);
        }
        "gpubuf_staged_rows_options" => {
            set("dtype", 0, i32);
            set("rows", 0, 4);
            set("row_elements", 0, 4);
            set("capacity_rows", 0, 8);
        }
        "gpubuf_spec" | "gpubuf_tensor_options" => shaped(&[16]),
        "gpubuf_tiers_options" => {
            set("device_bytes", 0, 4096);
            set("pinned_bytes", 0, 4096);
            set("pageable_bytes", 0, 4096);
        }
        _ => {}
    }
}

/// Ends an object, if it can end now.
pub fn end(kind: &str, handle: u64) {
    if kind == "block" {
        status("gpubuf_block_declare_unread", &[handle]);
        status("gpubuf_block_release", &[handle]);
    } else {
        status(&format!("gpubuf_{kind}_destroy"), &[handle]);
    }
}

/// One live object of each kind, on a device of their own.
pub struct World {
    handles: HashMap<&'static str, u64>,
    /// One for each parameter, then one for the world's own needs.
    pub regions: Vec<Box<Region>>,
    /// A graph of the host kit's, to be destroyed.
    pub graph: u64,
    /// A stream that captures, to be ended.
    pub capturing: bool,
    /// A stream that is held shut.
    pub held: bool,
    /// The kinds that are another world's.
    borrowed: Vec<&'static str>,
}

impl World {
    /// With a device of its own.
    pub fn new() -> World {
        World::made(None, &|_| true)
    }

    /// For a function. What that does not touch and takes long to make is lent by another world.
    pub fn of_function(lender: &World, function: &Function) -> World {
        let touches = |words: &[&str]| words.iter().any(|word| function.name.contains(word));
        World::made(Some(lender), &|kind| match kind {
            "device" => touches(&["gpubuf_device_", "gpubuf_host_"]),
            "stream" => touches(&["stream", "event", "capture", "graph", "device", "host"]),
            "staged_rows" => touches(&["staged_rows", "device", "host"]),
            "tiers" => touches(&["tier", "device", "host"]),
            _ => true,
        })
    }

    fn made(lender: Option<&World>, own: &dyn Fn(&str) -> bool) -> World {
        let mut world = World {
            handles: HashMap::new(),
            regions: (0..12).map(|_| Region::new()).collect(),
            graph: 0,
            capturing: false,
            held: false,
            borrowed: Vec::new(),
        };
        let scratch = world.regions[9].address();
        world.put("scratch", scratch);
        // What only some functions find prepared.
        for name in ["number", "address", "native_event"] {
            world.put(name, 4096);
        }
        let borrow = |world: &mut World, kinds: &[&'static str]| {
            let lender = lender.filter(|_| !own(kinds[0]));
            for (kind, lender) in kinds.iter().zip(std::iter::repeat(lender)) {
                let Some(lender) = lender else { continue };
                world.put(kind, lender.of(kind));
                world.borrowed.push(kind);
            }
            lender.is_some()
        };
        if !borrow(&mut world, &["device"]) {
            let options = world.options("gpubuf_device_options");
            world.make("device", "gpubuf_device_open", &[options]);
        }
        let device = world.of("device");
        if !borrow(&mut world, &["stream"]) {
            world.make("stream", "gpubuf_stream_create", &[device]);
        }
        let event = world.make("event", "gpubuf_event_create_timed", &[device]);
        ok("gpubuf_event_record", &[event, world.of("stream")]);
        let options = world.options("gpubuf_buffer_options");
        world.make("buffer", "gpubuf_buffer_create", &[device, options]);
        let options = world.options("gpubuf_pool_options");
        let pool = world.make("pool", "gpubuf_pool_create", &[device, options]);
        world.make("block", "gpubuf_pool_acquire", &[pool, 0, 0]);
        let slots = world.make("slots", "gpubuf_slots_create", &[device, 0]);
        for (name, kind) in [(NAME, "REQUIRED"), (c"kept", "KEPT"), (c"bound", "DYNAMIC")] {
            world.add_slot(slots, name, number(&format!("GPUBUF_SLOT_{kind}")), 0);
        }
        world.add_slot(slots, c"tokens", number("GPUBUF_SLOT_KEPT"), 1);
        ok("gpubuf_slots_freeze", &[slots]);
        world.make("step", "gpubuf_slots_begin_replay", &[slots, 0]);
        world.make("graph_hold", "gpubuf_graph_hold_create", &[device]);
        if !borrow(&mut world, &["staged_rows"]) {
            let options = world.options("gpubuf_staged_rows_options");
            world.make("staged_rows", "gpubuf_staged_rows_create", &[device, options]);
        }
        let options = world.options("gpubuf_pinned_options");
        let pinned = world.make("pinned", "gpubuf_pinned_create", &[device, options]);
        let options = world.options("gpubuf_pinned_request");
        world.make("reservation", "gpubuf_pinned_reserve", &[pinned, options]);
        let options = world.options("gpubuf_tensor_options");
        world.make("tensor", "gpubuf_tensor_create", &[pool, options]);
        world.make("workspace", "gpubuf_workspace_create", &[device, 0]);
        if !borrow(&mut world, &["tiers", "tiered_block"]) {
            let options = world.options("gpubuf_tiers_options");
            let tiers = world.make("tiers", "gpubuf_tiers_create", &[device, options]);
            world.make("tiered_block", "gpubuf_tiered_block_create", &[tiers, 64, number("GPUBUF_PLACEMENT_NONE")]);
        }
        world.make("pressure", "gpubuf_pressure_create", &[device, 0]);
        world.make("predictor", "gpubuf_predictor_create", &[device, 0]);
        world
    }

    /// The handle of a kind.
    pub fn of(&self, kind: &str) -> u64 {
        self.handles.get(kind).copied().unwrap_or_else(|| panic!("the world has no {kind}: make one in world.rs"))
    }

    /// Whether there is one.
    pub fn has(&self, kind: &str) -> bool {
        self.handles.contains_key(kind)
    }

    /// Takes another object as the world's of that kind, or as its own under another name.
    pub fn put(&mut self, kind: &'static str, handle: u64) {
        self.handles.insert(kind, handle);
    }

    fn make(&mut self, kind: &'static str, name: &str, arguments: &[u64]) -> u64 {
        let handle = made(name, arguments);
        self.put(kind, handle);
        handle
    }

    /// A struct, filled, in the world's own region.
    pub fn options(&mut self, of: &str) -> u64 {
        let memory = self.regions[11].address();
        fill(of, memory);
        memory
    }

    pub fn add_slot(&mut self, slots: u64, name: &CStr, kind: u64, follows: u32) {
        let memory = self.options("gpubuf_slot_options");
        let of = structure("gpubuf_slot_options").expect("the struct");
        let region = &mut self.regions[11];
        region.set(of.field("name").expect("a field").offset, (name.as_ptr() as u64).to_ne_bytes());
        region.set(of.field("kind").expect("a field").offset, (kind as u32).to_ne_bytes());
        region.set(of.field("follows_tokens").expect("a field").offset, follows.to_ne_bytes());
        made("gpubuf_slots_add", &[slots, memory]);
    }

    /// Uses it: a copy out and back, and a step from begin to retire.
    pub fn check(&mut self) {
        let (buffer, stream, step) = (self.of("buffer"), self.of("stream"), self.of("step"));
        let slots = self.of("slots");
        let (wrote, mut read) = ([1u32, 2, 3, 4], [0u32; 4]);
        let wait = number("GPUBUF_TIMEOUT_DEFAULT");
        ok("gpubuf_buffer_copy_in", &[buffer, 4, 4, wrote.as_ptr() as u64, wait]);
        ok("gpubuf_buffer_to_device", &[buffer, 4, 4, stream]);
        ok("gpubuf_buffer_zero", &[buffer, number("GPUBUF_SIDE_HOST"), 0, wait]);
        ok("gpubuf_buffer_to_host", &[buffer, 4, 4, stream]);
        ok("gpubuf_buffer_copy_out", &[buffer, 4, 4, read.as_mut_ptr() as u64, wait]);
        assert_eq!(read, wrote);
        ok("gpubuf_step_write", &[step, 0, 0, 4, wrote.as_ptr() as u64]);
        made("gpubuf_step_commit", &[step, stream, 0, 0]);
        ok("gpubuf_step_retire", &[step, 0, 0]);
        let next = made("gpubuf_slots_begin_replay", &[slots, wait]);
        self.put("step", next);
        let block = made("gpubuf_pool_acquire", &[self.of("pool"), 0, wait]);
        ok("gpubuf_block_to_device", &[block, 0, number("GPUBUF_ALL"), stream]);
        ok("gpubuf_block_release", &[block]);
    }

    /// Ends every handle; what has ended already says so, and what cannot end now ends with its device.
    pub fn end(&mut self) {
        self.let_go();
        let ends = [
            ("pressure", "pressure"),
            ("tiered_block", "tiered_block"),
            ("tiers", "tiers"),
            ("predictor", "predictor"),
            ("staged_rows", "staged_rows"),
            ("reservation", "reservation"),
            ("pinned", "pinned"),
            ("other_pinned", "pinned"),
            ("workspace", "workspace"),
            ("tensor", "tensor"),
            ("graph_hold", "graph_hold"),
            ("step", "step"),
            ("slots", "slots"),
            ("fresh_slots", "slots"),
            ("block", "block"),
            ("other_block", "block"),
            ("pool", "pool"),
            ("other_pool", "pool"),
            ("other_buffer", "buffer"),
            ("buffer", "buffer"),
            ("other_event", "event"),
            ("event", "event"),
            ("stream", "stream"),
        ];
        for (name, kind) in ends {
            let handle = self.handles.remove(name).filter(|_| !self.borrowed.contains(&name));
            let Some(handle) = handle else { continue };
            end(kind, handle);
        }
        if let Some(device) = self.handles.remove("device") {
            if self.graph != 0 {
                status("gpubuf_host_graph_destroy", &[device, self.graph]);
            }
            if !self.borrowed.contains(&"device") {
                status("gpubuf_device_destroy", &[device]);
            }
        }
    }

    /// Ends a capture and a hold that are prepared.
    pub fn let_go(&mut self) {
        if std::mem::take(&mut self.capturing) {
            let mut graph = 0u64;
            status("gpubuf_host_capture_end", &[self.of("stream"), &raw mut graph as u64]);
        }
        if std::mem::take(&mut self.held) {
            status("gpubuf_host_stream_release", &[self.of("stream")]);
        }
    }

    /// A stream of this world's own, where it was lent one.
    pub fn own_stream(&mut self) {
        if self.borrowed.contains(&"stream") {
            self.borrowed.retain(|kind| *kind != "stream");
            self.make("stream", "gpubuf_stream_create", &[self.of("device")]);
        }
    }

    /// Takes back what the test kit has set: the stand-in driver's devices are the same in every world.
    pub fn restore_device(&self) {
        let device = self.of("device");
        for (name, arguments) in [
            ("gpubuf_host_set_delay", &[device, 0, 0, 0][..]),
            ("gpubuf_host_set_link", &[device, 0, 0]),
            ("gpubuf_host_set_pageable_late", &[device, 0]),
            ("gpubuf_host_set_uva_stale", &[device, 0]),
            ("gpubuf_host_limit_memory", &[device, number("GPUBUF_PLACEMENT_PINNED"), 64 << 20]),
            ("gpubuf_host_limit_memory", &[device, number("GPUBUF_PLACEMENT_DEVICE"), 64 << 20]),
        ] {
            status(name, arguments);
        }
        for operation in gpubuf_calls::values("GPUBUF_HOST_") {
            status("gpubuf_host_fail_operation", &[device, operation, 0, number("GPUBUF_HOST_AT_SUBMISSION")]);
        }
    }

    /// The handles as they are, to be used after their end.
    pub fn snapshot(&self) -> HashMap<&'static str, u64> {
        self.handles.clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end();
    }
}
