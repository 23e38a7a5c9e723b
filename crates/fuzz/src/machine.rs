//! Makes calls from bytes.

use crate::bytes::{Bytes, code};
use crate::options::{changeable, fold, get, set, usual};
use crate::oracle;
use gpubuf_calls::{Answer, FUNCTIONS, Function, KINDS, Param, Role, call, constant, function, status_name, structure};
use gpubuf_replay::memory::{Memory, nothing};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Calls of one sequence, at most.
const CALLS: usize = 300;
/// Longer than any call takes: none waits for more than a millisecond.
const LONG: Duration = Duration::from_secs(60);
/// What is in a result's place before the call.
const UNTOUCHED: u64 = 0x5a5a_5a5a_5a5a_5a5a;

/// Texts for names.
const TEXTS: [&[u8]; 8] = [b"a", b"b", b"", b"kv", b"\xff\xfe", b"a name that is longer than others", b"d", b"e"];

/// A sequence of calls in progress.
pub struct Machine<'b> {
    bytes: Bytes<'b>,
    pub memory: Memory,
    /// Live handles by kind, the oldest first.
    pub live: HashMap<&'static str, Vec<u64>>,
    ended: Vec<u64>,
    pub numbers: HashMap<&'static str, Vec<u64>>,
    addresses: Vec<u64>,
    calls: usize,
    /// Set where a fault was asked for: bytes may then be lost.
    pub void: &'static AtomicBool,
}

/// The functions that are called, by their codes.
fn callable() -> &'static [(u16, &'static Function)] {
    static LIST: OnceLock<Vec<(u16, &'static Function)>> = OnceLock::new();
    LIST.get_or_init(|| {
        let mut list: Vec<_> = FUNCTIONS.iter().filter(|function| is_called(function)).collect();
        list.sort_by_key(|function| code(function.name));
        list.into_iter().map(|function| (code(function.name), function)).collect()
    })
}

/// Not: what ends the library for the whole process, what only functions on streams may do, and what sets structs up.
pub fn is_called(function: &Function) -> bool {
    let name = function.name;
    name != "gpubuf_shutdown"
        && name != "gpubuf_log_set_callback"
        && !name.starts_with("gpubuf_host_view_")
        && !name.ends_with("_init")
        && !name.starts_with("gpubuf_ops_")
        && !name.starts_with("gpubuf_mutant_")
        && function.returns == gpubuf_calls::Returns::Status
}

/// The handle that a call has ended, if it was done.
pub fn ended(function: &Function, arguments: &[u64]) -> Option<u64> {
    match function.name {
        "gpubuf_pinned_free" | "gpubuf_workspace_release" => arguments.get(1).copied(),
        "gpubuf_block_release"
        | "gpubuf_block_abandon"
        | "gpubuf_block_release_after"
        | "gpubuf_step_abort"
        | "gpubuf_step_retire" => arguments.first().copied(),
        name if name.ends_with("_destroy") && name != "gpubuf_host_graph_destroy" => arguments.first().copied(),
        _ => None,
    }
}

/// The kind of numbers that a parameter takes or gives.
fn class(param: &Param) -> Option<&'static str> {
    Some(match (param.role, param.name) {
        (Role::Token, _) | (Role::Out { .. }, "out_token") => "token",
        (Role::Ticket, _) | (Role::Out { .. }, "out_ticket") => "ticket",
        (Role::ReadBack, _) | (Role::Out { .. }, "out_read_back") => "read_back",
        (Role::Graph, _) | (Role::Out { .. }, "out_graph") => "graph",
        _ => return None,
    })
}

impl<'b> Machine<'b> {
    /// Before the first call.
    pub fn new(bytes: &'b [u8]) -> Machine<'b> {
        Machine {
            bytes: Bytes(bytes),
            memory: Memory::shared(),
            live: HashMap::new(),
            ended: Vec::new(),
            numbers: HashMap::new(),
            addresses: Vec::new(),
            calls: 0,
            void: Box::leak(Box::new(AtomicBool::new(false))),
        }
    }

    /// Makes the next call. False where there is none.
    pub fn step(&mut self) -> bool {
        if self.bytes.is_over() || self.calls >= CALLS {
            return false;
        }
        let which = self.bytes.fixed(2) as u16;
        // Next to the last code there is the device side to be looked at.
        if which >= 0xff80 {
            let (buffer, stream) = (self.handle("buffer"), self.handle("stream"));
            oracle::send_and_look(buffer, stream, which as u8, self.void);
            self.calls += 1;
        } else {
            let list = callable();
            let at = list.partition_point(|(code, _)| *code < which) % list.len();
            self.make(list[at].1);
        }
        // Not after each call: what makes an object for one is called while that one's arguments are put together.
        self.memory.clear();
        oracle::check();
        true
    }

    fn make(&mut self, function: &'static Function) {
        let mut arguments = Vec::new();
        let mut outs = Vec::new();
        for (at, param) in function.params.iter().enumerate() {
            let argument = match param.role {
                Role::OutHandle { .. } | Role::Out { .. } if param.name.starts_with("out_") => {
                    let space = self.memory.space(16);
                    space[0] = UNTOUCHED;
                    let space = space.as_ptr() as u64;
                    outs.push((at, space));
                    space
                }
                _ => self.argument(function, param, &arguments),
            };
            arguments.push(argument);
        }
        self.go(function, &arguments, &outs);
    }

    /// Makes a call, and takes what came out.
    fn go(&mut self, function: &'static Function, arguments: &[u64], outs: &[(usize, u64)]) -> i32 {
        self.calls += 1;
        let begun = Instant::now();
        // SAFETY: handles by number, lists and structs in memory that lives until `clear`, data in a region that is larger than
        // what a call may accept here.
        let Answer::Status(status) = (unsafe { call(function.index, arguments) }) else { return 0 };
        assert!(begun.elapsed() < LONG, "{} took {:?}", function.name, begun.elapsed());
        let name = status_name(status);
        let never = ["GPUBUF_UNKNOWN_STATUS", "GPUBUF_INTERNAL", "GPUBUF_BROKEN", "GPUBUF_FORKED"];
        assert!(!never.contains(&name), "{} answers {name}: {}", function.name, message());
        for (at, space) in outs {
            // SAFETY: space of this call's.
            let value = unsafe { *(*space as *const u64) };
            let param = &function.params[*at];
            if status != 0 {
                assert!(value == UNTOUCHED, "{} wrote {} and answered {name}", function.name, param.name);
                continue;
            }
            match param.role {
                Role::OutHandle { kind } => {
                    assert!(value != 0 && value != UNTOUCHED, "{} gave no handle", function.name);
                    let known = self.live.values().any(|handles| handles.contains(&value));
                    assert!(!known, "{} gave a handle that is alive", function.name);
                    self.live.entry(kind).or_default().push(value);
                    if kind == "device" {
                        self.limit(value);
                    }
                }
                _ => match class(param) {
                    Some(class) => self.numbers.entry(class).or_default().push(value),
                    None if param.name == "out_address" => self.addresses.push(value),
                    None => {}
                },
            }
        }
        if status == 0 {
            self.note(function, arguments);
        }
        status
    }

    /// What a call that was done means for later ones.
    fn note(&mut self, function: &Function, arguments: &[u64]) {
        let faults = ["fail_operation", "lose_device", "set_uva_stale", "graph_launch", "graph_hold_launch"];
        if faults.iter().any(|fault| function.name.contains(fault)) {
            self.void.store(true, Ordering::SeqCst);
        }
        if let Some(handle) = ended(function, arguments) {
            for handles in self.live.values_mut() {
                handles.retain(|live| *live != handle);
            }
            self.ended.push(handle);
        }
    }

    /// Memory of the emulated device is not the machine's.
    fn limit(&self, device: u64) {
        for placement in ["GPUBUF_PLACEMENT_PINNED", "GPUBUF_PLACEMENT_DEVICE"] {
            let placement = constant(placement).unwrap_or(0);
            // SAFETY: a handle and numbers.
            unsafe { oracle::by_name("gpubuf_host_limit_memory", &[device, placement, 1 << 22]) };
        }
    }

    /// A live handle of a kind, made where there is none; sometimes another number.
    fn handle(&mut self, kind: &'static str) -> u64 {
        match self.bytes.byte() {
            which @ 0..240 => {
                if self.live.get(kind).is_none_or(Vec::is_empty) {
                    self.make_one(kind);
                }
                // The youngest first.
                match self.live.get(kind).map(|handles| (handles, handles.len())) {
                    Some((handles, count)) if count > 0 => handles[count - 1 - usize::from(which) % count],
                    _ => 0,
                }
            }
            240..244 => 0,
            244..250 => self.ended.last().copied().unwrap_or(1),
            250..254 => {
                let which = usize::from(self.bytes.byte());
                let all: Vec<u64> = KINDS.iter().filter_map(|kind| self.live.get(kind)).flatten().copied().collect();
                if all.is_empty() { 2 } else { all[which % all.len()] }
            }
            _ => self.bytes.fixed(8),
        }
    }

    /// Makes an object of a kind with the usual options, and what it needs.
    fn make_one(&mut self, kind: &'static str) {
        let maker = match kind {
            "device" => "gpubuf_device_open",
            "block" => "gpubuf_pool_acquire",
            "step" => "gpubuf_slots_begin",
            "reservation" => "gpubuf_pinned_reserve",
            _ => "",
        };
        let maker = function(maker).or_else(|| function(&format!("gpubuf_{kind}_create")));
        let Some(maker) = maker else { return };
        // Of parents the youngest, by a 0, whatever the bytes are.
        let bytes = std::mem::take(&mut self.bytes.0);
        if kind == "step" {
            self.slots_with_one();
        }
        let (mut arguments, mut outs) = (Vec::new(), Vec::new());
        for param in maker.params {
            arguments.push(match param.role {
                Role::OutHandle { .. } => {
                    let space = self.memory.space(16);
                    space[0] = UNTOUCHED;
                    outs.push((arguments.len(), space.as_ptr() as u64));
                    space.as_ptr() as u64
                }
                Role::Options { of } => {
                    let usual = structure(of).map(usual).unwrap_or_default();
                    self.memory.list(&usual)
                }
                Role::Enum { .. } => constant("GPUBUF_PLACEMENT_PAGEABLE").unwrap_or(1),
                Role::Amount => 64,
                Role::Handle { kind } => self.handle(kind),
                _ => 0,
            });
        }
        self.go(maker, &arguments, &outs);
        self.bytes.0 = bytes;
    }

    /// Slots that a step can be begun of.
    fn slots_with_one(&mut self) {
        if self.live.get("slots").is_some_and(|slots| !slots.is_empty()) {
            return;
        }
        let slots = self.handle("slots");
        let (Some(add), Some(freeze)) = (function("gpubuf_slots_add"), function("gpubuf_slots_freeze")) else { return };
        let mut options = structure("gpubuf_slot_options").map(usual).unwrap_or_default();
        if let Some(name) = structure("gpubuf_slot_options").and_then(|of| of.field("name")) {
            set(&mut options, name, c"a".as_ptr() as u64);
        }
        let options = self.memory.list(&options);
        let out = self.memory.space(16).as_ptr() as u64;
        self.go(add, &[slots, options, out], &[]);
        self.go(freeze, &[slots], &[]);
    }

    fn argument(&mut self, function: &Function, param: &Param, before: &[u64]) -> u64 {
        match param.role {
            Role::Handle { kind } => self.handle(kind),
            Role::AnyHandle => {
                let kind = KINDS[usize::from(self.bytes.byte()) % KINDS.len()];
                if kind == "host_view" { 0 } else { self.handle(kind) }
            }
            Role::Handles { kind, .. } => {
                let count = usize::from(self.bytes.byte());
                let count = if count < 240 { count % 5 } else { count - 230 };
                let items: Vec<u64> = (0..count).map(|_| self.handle(kind)).collect();
                // Its length is the next parameter: see `Role::Count`.
                self.numbers.insert("length", vec![count as u64]);
                if count == 0 { 0 } else { self.memory.list(&items) }
            }
            Role::Options { of } => self.options(of),
            Role::Figures { of } => {
                let size = structure(of).map_or(8, |of| of.size);
                let said = match self.bytes.byte() {
                    0..240 => size as u64,
                    short => u64::from(short) - 240,
                };
                let space = self.memory.space(size + 64);
                space[0] = said;
                space.as_ptr() as u64
            }
            Role::Items { of: "gpubuf_slot_rows", .. } => {
                let count = usize::from(self.bytes.byte()) % 9;
                let data = self.memory.data();
                let mut items = Vec::new();
                for _ in 0..count {
                    let (slot, first, rows) = (self.bytes.number(), self.bytes.number(), self.bytes.number());
                    items.extend([slot & 0xffff_ffff, first, fold(Role::Amount, "", rows), data]);
                }
                self.numbers.insert("length", vec![count as u64]);
                if count == 0 { 0 } else { self.memory.list(&items) }
            }
            Role::Items { .. } => 0,
            Role::Count { of } if function.params[of].name != "buffer" => match function.params[of].role {
                Role::Handles { .. } | Role::Items { .. } => {
                    self.numbers.get("length").and_then(|length| length.last()).copied().unwrap_or(0)
                }
                _ => self.bytes.number() % 64,
            },
            Role::Text => match self.bytes.byte() {
                255 => 0,
                which => self.memory.text(TEXTS[usize::from(which) % TEXTS.len()]),
            },
            Role::OutText { .. } | Role::OutItems { .. } | Role::Output(_) | Role::InOut(_) => {
                self.memory.data() + (1 << 30)
            }
            Role::Input(gpubuf_calls::Extent::Extents { rank }) => {
                let count = before.get(rank).copied().unwrap_or(0).min(64);
                let items: Vec<u64> = (0..count).map(|_| fold(Role::Shape, "shape", self.bytes.number())).collect();
                self.memory.list(&items)
            }
            Role::Input(_) => self.memory.data(),
            Role::Out { .. } => self.memory.space(64).as_ptr() as u64,
            Role::Callback { .. } => match self.bytes.byte() {
                255 => 0,
                _ => nothing as *const () as u64,
            },
            Role::UserData { .. } => 0,
            Role::Native => match self.bytes.byte() {
                0..128 => self.known("graph").unwrap_or(0),
                128..250 => 0,
                _ => self.bytes.fixed(8),
            },
            Role::Address => match self.bytes.byte() as usize {
                which if !self.addresses.is_empty() => self.addresses[which % self.addresses.len()],
                _ => 0,
            },
            Role::Enum { prefix } => self.one_of(prefix),
            role => match class(param) {
                Some(class) => match self.bytes.byte() {
                    0..240 => self.known(class).unwrap_or(0),
                    _ => self.bytes.fixed(8),
                },
                None => fold(role, param.name, self.bytes.number()),
            },
        }
    }

    /// One of the last numbers of a class.
    fn known(&mut self, class: &'static str) -> Option<u64> {
        let which = usize::from(self.bytes.byte());
        let list = self.numbers.get(class).filter(|list| !list.is_empty())?;
        Some(list[list.len() - 1 - which % list.len()])
    }

    fn one_of(&mut self, prefix: &'static str) -> u64 {
        let number = self.bytes.number();
        let values: Vec<u64> = gpubuf_calls::values(prefix).collect();
        // As it is where it is one of them, which it mostly is.
        if prefix == "GPUBUF_BACKEND_" {
            2
        } else if number >= 128 {
            number
        } else {
            values.get(number as usize % (values.len() + 2)).copied().unwrap_or(number)
        }
    }

    fn options(&mut self, of: &str) -> u64 {
        let Some(of) = structure(of) else { return 0 };
        let mut words = usual(of);
        let fields = changeable(of);
        let changes = match self.bytes.byte() {
            255 => return 0,
            changes => changes % 32,
        };
        for _ in 0..changes {
            let field = &fields[usize::from(self.bytes.byte()) % fields.len()];
            let value = match field.role {
                Role::Text => self.memory.text(TEXTS[usize::from(self.bytes.byte()) % TEXTS.len()]),
                Role::Handle { kind } => self.handle(kind),
                Role::Callback { .. } => nothing as *const () as u64,
                Role::Input(gpubuf_calls::Extent::Foreign) => {
                    self.memory.data() + (1 << 31) + 4096 * u64::from(self.bytes.byte())
                }
                Role::Input(_) => self.memory.data(),
                Role::Items { .. } => {
                    let sizes = [1u64, 2, 4, 8, 16, 64, 32, 32];
                    self.memory.list(&sizes)
                }
                Role::Address => 0,
                Role::StructSize => match self.bytes.byte() {
                    0..64 => of.size as u64 + 8,
                    // No more than there is.
                    size => (u64::from(size) - 64).min(8 * words.len() as u64),
                },
                _ if field.name == "padded_size_count" => u64::from(self.bytes.byte()) % 9,
                Role::Enum { prefix } if field.name == "backend" => {
                    let _ = prefix;
                    2
                }
                role => fold(role, field.name, self.bytes.number()),
            };
            set(&mut words, field, value);
        }
        // What the memory of a device's names is not for here.
        if of.name == "gpubuf_device_options" {
            for name in ["name", "native_context"] {
                if let Some(field) = of.field(name) {
                    set(&mut words, field, 0);
                }
            }
        }
        debug_assert!(of.fields.is_empty() || get(&words, &of.fields[0]) < 1 << 32);
        self.memory.list(&words)
    }
}

/// The message of the last refusal.
pub fn message() -> String {
    let mut text = [0u8; 1025];
    // SAFETY: a buffer and its size.
    let answer = function("gpubuf_last_error_message")
        .map(|message| unsafe { call(message.index, &[text.as_mut_ptr() as u64, text.len() as u64]) });
    let length = if let Some(Answer::Number(length)) = answer { (length as usize).min(1024) } else { 0 };
    String::from_utf8_lossy(&text[..length]).into_owned()
}
