//! Makes the calls of a recording again, and compares what they answer.

use crate::memory::{Memory, nothing};
use crate::recording::{Call, List, Options, Recording, Value};
use gpubuf_calls::{Answer, Extent, Function, Param, Role, Struct, call, constant, function, status_name, structure};
use std::collections::{BTreeMap, HashMap};

/// How to replay.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Fields of options that are other than recorded: struct, field, value.
    pub set: Vec<(String, String, u64)>,
    /// The backend that devices are opened on; `None`: as recorded.
    pub backend: Option<u64>,
    /// Delays of the emulated device: fixed, seed, most.
    pub delay: Option<[u64; 3]>,
    /// How long a call waits at most that did not wait in vain when it was recorded.
    pub patience_ns: u64,
    /// Goes on after a difference.
    pub keep_going: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            set: Vec::new(),
            backend: constant("GPUBUF_BACKEND_HOST"),
            delay: None,
            patience_ns: 5_000_000_000,
            keep_going: false,
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Calls made.
    pub calls: u64,
    /// Those of them that were refused, as recorded.
    pub refusals: u64,
    /// Refused for another reason than recorded: the number of the last, and both statuses.
    pub other_reasons: u64,
    /// Calls that were too early when they were recorded and are not now; failures of copies that another call tells of.
    pub earlier: u64,
    /// Calls that ran at the same time as others, and turned out otherwise.
    pub concurrent: u64,
    /// Calls not made, by why.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Figures of the devices, summed up.
    pub figures: BTreeMap<&'static str, u64>,
    /// What differs.
    pub differences: Vec<String>,
}

/// Figures of devices that the summary has.
const FIGURES: [&str; 8] = [
    "copies",
    "copied_bytes",
    "host_waits",
    "host_wait_ns",
    "timeouts",
    "refusals",
    "pinned_peak_bytes",
    "device_peak_bytes",
];

/// What a call could not be made for.
type Skip = &'static str;

/// Where things are that the recording knows by other numbers.
struct Player<'r> {
    settings: &'r Settings,
    memory: Memory,
    handles: HashMap<u64, u64>,
    /// Tokens by their object, tickets, read-backs and graphs: by the kind of number.
    numbers: HashMap<(&'static str, u64, u64), u64>,
    addresses: BTreeMap<u64, u64>,
    devices: Vec<u64>,
    /// Failed copies that were told when it was recorded, and are not yet.
    owed: u64,
    summary: Summary,
}

/// What is known before a call is made.
struct Prepared {
    function: &'static Function,
    arguments: Vec<u64>,
    /// Places of results: which value, and where.
    results: Vec<(usize, u64)>,
}

/// The class of numbers that a result or an argument belongs to.
fn class(role: Role, name: &str) -> Option<&'static str> {
    match role {
        Role::Token => Some("token"),
        Role::Ticket => Some("ticket"),
        Role::ReadBack => Some("read_back"),
        Role::Graph => Some("graph"),
        Role::Out { .. } => ["token", "ticket", "read_back", "graph"]
            .into_iter()
            .find(|class| name.strip_prefix("out_").is_some_and(|rest| rest == *class)),
        _ => None,
    }
}

/// Statuses that may be over a moment later.
fn is_for_now(status: i32) -> bool {
    ["GPUBUF_BUSY", "GPUBUF_TIMEOUT"].iter().any(|name| constant(name) == Some(status as u64))
}

const CONTENTS: Skip = "read or wrote data that is not recorded";

const PARAMETERS: Skip = "has other parameters in this version";

const CUT: Skip = "needed a list, or options, of which not all is recorded";

const DRIVERS: Skip = "needed an object of the driver's";

/// Why calls of a function are not made again.
fn not_made(function: &str) -> Option<Skip> {
    match function {
        _ if function.starts_with("gpubuf_ops_") => Some(CONTENTS),
        "gpubuf_log_set_callback" => Some("would only change the log"),
        "gpubuf_stream_wait_native_event"
        | "gpubuf_stream_record_native_event"
        | "gpubuf_stream_native"
        | "gpubuf_mutant_disable" => Some("of the driver, or a test's"),
        _ => None,
    }
}

fn is_number(role: Role) -> bool {
    matches!(
        role,
        Role::StructSize
            | Role::Count { .. }
            | Role::Enum { .. }
            | Role::Flag
            | Role::Timeout
            | Role::Token
            | Role::Ticket
            | Role::ReadBack
            | Role::Graph
            | Role::Address
            | Role::Ordinal
            | Role::Reserved
            | Role::First
            | Role::Amount
            | Role::Index
            | Role::Rank
            | Role::Number
    )
}

/// Whether an argument may be made of what was recorded: a recording says itself what its arguments are, and what it takes for a
/// number may be a pointer here. `before` are the arguments before it.
fn fits(value: &Value, param: &Param, before: &[u64]) -> bool {
    let next = before.len() + 1;
    match (value, param.role) {
        (Value::Number(_) | Value::Signed(_), role) => is_number(role) && !param.c_type.ends_with('*'),
        (Value::There(_), role) => !is_number(role),
        (Value::Handle(_), Role::Handle { .. } | Role::AnyHandle | Role::View) => true,
        (Value::Handles(_), Role::Handles { count, .. }) => count == next,
        (Value::Rows(_), Role::Items { of: "gpubuf_slot_rows", count }) => count == next,
        (Value::Words(list), Role::Input(Extent::Extents { rank })) => before.get(rank) == Some(&list.count),
        (Value::Text(_), Role::Text) => true,
        (Value::Options(_), Role::Options { .. }) => true,
        (Value::Figures(_), Role::Figures { .. }) => true,
        (Value::Foreign(_), Role::Native) => true,
        (Value::OutNumber { .. }, Role::Out { .. }) => true,
        (Value::OutHandle { .. }, Role::OutHandle { .. }) => true,
        _ => false,
    }
}

/// Bytes of the memory that options of a buffer lend, at most.
fn lent_bytes(of: &Struct, words: &[u64]) -> u64 {
    let get = |name: &str, at: usize| {
        of.field(name).map_or(0, |field| {
            let place = field.offset + at * field.bytes;
            words
                .get(place / 8)
                .map_or(0, |word| word >> (8 * (place % 8)) & (u64::MAX >> (64 - 8 * field.bytes.min(8))))
        })
    };
    let size = function("gpubuf_dtype_size").map_or(0, |size| {
        // SAFETY: a number.
        if let Answer::Number(size) = unsafe { call(size.index, &[get("dtype", 0)]) } { size } else { 0 }
    });
    let rank = get("rank", 0).min(8) as usize;
    let count = (0..rank).fold(1, |count: u64, axis| count.saturating_mul(get("shape", axis)));
    count.max(get("capacity", 0)).saturating_mul(size)
}

/// Replays a recording. The calls go to the library of this process: one recording a process, where it shuts the library down.
pub fn replay(recording: &Recording, settings: &Settings) -> Result<Summary, String> {
    let mut player = Player {
        settings,
        memory: Memory::new()?,
        handles: HashMap::new(),
        numbers: HashMap::new(),
        addresses: BTreeMap::new(),
        devices: Vec::new(),
        owed: 0,
        summary: Summary::default(),
    };
    player.run(recording);
    for device in std::mem::take(&mut player.devices) {
        player.add_figures(device);
    }
    Ok(player.summary)
}

/// Of each call, the last that ran at the same time on another thread; the call itself where there is none.
fn overlaps(calls: &[Call]) -> Vec<usize> {
    let mut last: Vec<usize> = (0..calls.len()).collect();
    // Calls before, without a break, of the same thread.
    let mut own = 0;
    for (at, call) in calls.iter().enumerate() {
        if at > 0 {
            own = if calls[at - 1].thread == call.thread {
                own + 1
            } else {
                calls[..at].iter().rev().take_while(|before| before.thread == call.thread).count() as u64
            };
        }
        // A bound on the work: who waited longer than that did so for what is in the last of it.
        let meanwhile = call.meanwhile.min(at as u64).min(1 << 12);
        if meanwhile > own {
            for before in &mut last[at - meanwhile as usize..at] {
                *before = at;
            }
        }
    }
    last
}

impl Player<'_> {
    fn run(&mut self, recording: &Recording) {
        let last = overlaps(&recording.calls);
        let begins = |at: usize| last[at] > at || recording.calls[at].meanwhile > 0 && !recording.calls[at].inside;
        // Calls that need another's that was recorded after them, with what their threads did then, in their order.
        let mut behind: Vec<usize> = Vec::new();
        let lost = recording.lost.iter().map(|(_, count)| *count).sum();
        if lost > 0 {
            self.summary.skipped.insert("lost when it was recorded", lost);
        }
        for at in 0..recording.calls.len() {
            behind.push(at);
            // What was behind is tried again before this one and after it: it may be needed by it, or need it.
            for again in [true, false] {
                let mut blocked = Vec::new();
                for other in std::mem::take(&mut behind) {
                    let thread = recording.calls[other].thread;
                    let may_wait = last[other] > at || again && other < at && last[other] == at;
                    let waits = !again && last[other] > at;
                    if waits || blocked.contains(&thread) || !self.step(recording, other, may_wait, begins(other)) {
                        blocked.push(thread);
                        behind.push(other);
                    }
                }
            }
            if !self.summary.differences.is_empty() && !self.settings.keep_going {
                return;
            }
        }
    }

    /// Makes a call. False if it has to be made later: only where `may_wait`.
    fn step(&mut self, recording: &Recording, at: usize, may_wait: bool, concurrent: bool) -> bool {
        let recorded = &recording.calls[at];
        let skip = if recorded.elsewhere {
            Some("made by functions on streams")
        } else if recorded.status == status("GPUBUF_FORKED") {
            Some("made in a child after fork")
        } else {
            not_made(&recorded.function)
        };
        let prepared = match skip {
            Some(skip) => Err(skip),
            None => self.prepare(recorded, may_wait),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(_) if may_wait && skip.is_none() => return false,
            Err(skip) => {
                *self.summary.skipped.entry(skip).or_default() += 1;
                self.memory.clear();
                return true;
            }
        };
        if ["gpubuf_device_destroy", "gpubuf_shutdown"].contains(&prepared.function.name) {
            let of = prepared.arguments[0];
            let ending: Vec<u64> = match prepared.function.name {
                "gpubuf_shutdown" => std::mem::take(&mut self.devices),
                _ => self.devices.extract_if(.., |device| *device == of).collect(),
            };
            ending.into_iter().for_each(|device| self.add_figures(device));
        }
        if recorded.status == 0 && prepared.function.name.ends_with("_query") {
            self.finish_before_query(&prepared);
        }
        // SAFETY: the arguments are as the table wants them, which `fits` has seen: handles by number, lists and structs in memory
        // that lives until `clear`, data in a region that is larger than what any accepted call reads or writes.
        let answer = unsafe { call(prepared.function.index, &prepared.arguments) };
        let Answer::Status(now) = answer else {
            self.memory.clear();
            return true;
        };
        if recorded.status == 0 && now != 0 && may_wait {
            self.memory.clear();
            return false;
        }
        self.summary.calls += 1;
        self.compare(at, recorded, now, concurrent);
        if now == 0 {
            self.take_results(recorded, &prepared);
        }
        self.memory.clear();
        true
    }

    fn compare(&mut self, at: usize, recorded: &Call, now: i32, concurrent: bool) {
        match (recorded.status, now) {
            (0, 0) => {}
            (then, now) if then != 0 && now != 0 => {
                self.summary.refusals += 1;
                self.owed += u64::from(then == status("GPUBUF_COPY_FAILED") && now != then);
                self.summary.other_reasons += u64::from(then != now);
            }
            (then, 0) if is_for_now(then) => self.summary.earlier += 1,
            // The object's next operation tells of it, which may be before or after the copy ran.
            (then, 0) if then == status("GPUBUF_COPY_FAILED") => {
                self.owed += 1;
                self.summary.earlier += 1;
            }
            (0, now) if now == status("GPUBUF_COPY_FAILED") && self.owed > 0 => {
                self.owed -= 1;
                self.summary.earlier += 1;
            }
            (_, 0) if concurrent => self.summary.concurrent += 1,
            (then, now) => {
                let reason = if now == 0 { String::new() } else { format!("\n    {}", last_message()) };
                self.summary.differences.push(format!(
                    "call {}: thread {}: {}\n    recorded {}, now {}{reason}",
                    at + 1,
                    recorded.thread,
                    crate::print::call(recorded),
                    status_name(then),
                    status_name(now),
                ));
            }
        }
    }

    /// What a query was done with when it was recorded is given the time to be done now.
    fn finish_before_query(&self, prepared: &Prepared) {
        let wait = if prepared.function.name.starts_with("gpubuf_stream") {
            "gpubuf_stream_synchronize"
        } else {
            "gpubuf_event_wait"
        };
        if let Some(wait) = function(wait) {
            // SAFETY: a handle and a number.
            unsafe { call(wait.index, &[prepared.arguments[0], self.settings.patience_ns]) };
        }
    }

    fn add_figures(&mut self, device: u64) {
        let (Some(of), Some(get)) = (structure("gpubuf_device_stats"), function("gpubuf_device_stats_get")) else {
            return;
        };
        let mut figures = vec![0u64; of.size.div_ceil(8)];
        figures[0] = of.size as u64;
        // SAFETY: a handle, and memory of the struct's size.
        let answer = unsafe { call(get.index, &[device, figures.as_mut_ptr() as u64]) };
        if answer != Answer::Status(0) {
            return;
        }
        for name in FIGURES {
            if let Some(field) = of.field(name) {
                *self.summary.figures.entry(name).or_default() += figures[field.offset / 8];
            }
        }
    }

    fn handle(&self, recorded: u64, status_then: i32) -> Result<u64, Skip> {
        match self.handles.get(&recorded) {
            Some(now) => Ok(*now),
            None if recorded == 0 => Ok(0),
            // It was none then either.
            None if status_then != 0 => Ok(recorded),
            None => Err("needed an object that is missing here"),
        }
    }

    fn prepare(&mut self, recorded: &Call, may_wait: bool) -> Result<Prepared, Skip> {
        let mut name = &*recorded.function;
        let wrapped = name == "gpubuf_stream_wrap_native" && self.is_emulated();
        if wrapped {
            name = "gpubuf_stream_create";
        }
        let Some(function) = function(name) else { return Err("is not known to this version") };
        let mut values: Vec<&Value> = recorded.arguments.iter().collect();
        if wrapped && values.len() == 3 {
            values.remove(1);
        }
        let mut prepared = Prepared { function, arguments: Vec::new(), results: Vec::new() };
        let object = match values.first() {
            Some(Value::Handle(handle)) => *handle,
            _ => 0,
        };
        for value in values {
            let Some(param) = function.params.get(prepared.arguments.len()) else {
                return Err(PARAMETERS);
            };
            self.argument(recorded, param, value, object, &mut prepared)?;
        }
        if prepared.arguments.len() != function.params.len() {
            return Err(PARAMETERS);
        }
        for (argument, param) in prepared.arguments.iter_mut().zip(function.params) {
            if param.role == Role::Timeout {
                *argument = self.timeout(*argument, recorded.status, may_wait);
            }
        }
        Ok(prepared)
    }

    /// A call that was done gets the time to be so again; one that waited in vain does not wait long.
    fn timeout(&self, recorded: u64, status: i32, may_wait: bool) -> u64 {
        match status {
            0 if may_wait => recorded.min(self.settings.patience_ns).min(20_000_000),
            0 => self.settings.patience_ns,
            _ => recorded.min(20_000_000),
        }
    }

    fn argument(
        &mut self,
        recorded: &Call,
        param: &Param,
        value: &Value,
        object: u64,
        prepared: &mut Prepared,
    ) -> Result<(), Skip> {
        if !fits(value, param, &prepared.arguments) {
            return Err(PARAMETERS);
        }
        let argument = match value {
            Value::Handle(handle) => self.handle(*handle, recorded.status)?,
            Value::Number(number) => self.number(param, *number, object),
            Value::Signed(number) => *number as u64,
            Value::Text(None) => 0,
            Value::Text(Some(text)) => self.memory.text(text),
            Value::Options(options) => {
                let Role::Options { of } = param.role else { return Err(PARAMETERS) };
                self.options(recorded, of, options.as_ref())?
            }
            Value::Figures(None) => 0,
            Value::Figures(Some(size)) => {
                let space = self.memory.space((*size as usize).clamp(8, 1 << 16));
                space[0] = u64::from(*size);
                space.as_ptr() as u64
            }
            Value::Handles(list) => {
                let items: Result<Vec<u64>, Skip> =
                    list.items.iter().map(|item| self.handle(*item, recorded.status)).collect();
                let pointer = self.list_pointer(list, items?)?;
                prepared.arguments.push(pointer);
                list.count
            }
            Value::Words(list) => self.list_pointer(list, list.items.clone())?,
            Value::Rows(list) => {
                let data = self.memory.data();
                let items = list.items.iter().flat_map(|[slot, reserved, first, count, there]| {
                    [slot & 0xffff_ffff | reserved << 32, *first, *count, there * data]
                });
                let items: Vec<u64> = items.collect();
                prepared.arguments.push(self.list_pointer(list, items)?);
                list.count
            }
            Value::There(false) => 0,
            Value::There(true) => match param.role {
                Role::Callback { .. } => nothing as *const () as u64,
                Role::UserData { .. } => 0,
                Role::Native => return Err(DRIVERS),
                Role::Out { .. } => self.result(prepared, usize::MAX),
                _ => self.memory.data(),
            },
            Value::Foreign(number) => match self.numbers.get(&("graph", 0, *number)) {
                Some(now) => *now,
                // An emulated device looks such numbers up, a driver trusts them.
                None if *number == 0 || self.is_emulated() => *number,
                None => return Err(DRIVERS),
            },
            Value::OutNumber { there: false, .. } | Value::OutHandle { there: false, .. } => 0,
            Value::OutNumber { .. } | Value::OutHandle { .. } => {
                let which = prepared.arguments.len();
                self.result(prepared, which)
            }
        };
        prepared.arguments.push(argument);
        Ok(())
    }

    /// Space for a result of 8 bytes.
    fn result(&mut self, prepared: &mut Prepared, which: usize) -> u64 {
        let space = self.memory.space(16).as_ptr() as u64;
        prepared.results.push((which, space));
        space
    }

    fn list_pointer<T>(&mut self, list: &List<T>, items: Vec<u64>) -> Result<u64, Skip> {
        match list.items.len() as u64 {
            // It was NULL, or nobody looked at it.
            0 => Ok(0),
            there if there < list.count => Err(CUT),
            _ => Ok(self.memory.list(&items)),
        }
    }

    fn number(&self, param: &Param, number: u64, object: u64) -> u64 {
        if param.role == Role::Address {
            return self.address(number).unwrap_or(number);
        }
        let known = |object| {
            class(param.role, param.name).and_then(|class| self.numbers.get(&(class, object, number)).copied())
        };
        let number = known(object).or_else(|| known(0)).unwrap_or(number);
        // Room for results: there is no more of it than a region.
        if param.name == "capacity" { number.min(1 << 24) } else { number }
    }

    /// An address by the nearest that was given out below it.
    fn address(&self, recorded: u64) -> Option<u64> {
        let (then, now) = self.addresses.range(..=recorded).next_back()?;
        (recorded - then < 1 << 32).then_some(now + (recorded - then))
    }

    fn is_emulated(&self) -> bool {
        self.settings.backend == constant("GPUBUF_BACKEND_HOST")
    }

    fn options(&mut self, recorded: &Call, of: &str, options: Option<&Options>) -> Result<u64, Skip> {
        let Some(structure) = structure(of) else { return Err(PARAMETERS) };
        let none = Options::default();
        let given = match options {
            Some(options) => options,
            // Defaults, unless some are to be other ones.
            None if !self.settings.set.iter().any(|(set, ..)| set == of) && of != "gpubuf_device_options" => {
                return Ok(0);
            }
            None => &none,
        };
        let size = given.size.unwrap_or(structure.size as u32);
        let mut words = vec![0u64; (size as usize).clamp(8, 1 << 16).max(structure.size).div_ceil(8)];
        if options.is_none()
            && let Some(init) = function(&of.replace("_options", "_options_init"))
        {
            // SAFETY: memory of the struct's size.
            unsafe { call(init.index, &[words.as_mut_ptr() as u64, structure.size as u64]) };
        }
        words[0] = words[0] >> 32 << 32 | u64::from(size);
        for (at, word) in given.words.iter().enumerate().take(words.len() * 2 - 1) {
            let (word, at) = (u64::from(*word), at + 1);
            words[at / 2] |= word << (32 * (at % 2));
        }
        let lent = if of == "gpubuf_buffer_options" { lent_bytes(structure, &words) } else { 0 };
        for (offset, value) in &given.parts {
            let was_there = words.get(offset / 8).is_some_and(|word| *word != 0);
            let Some(field) = structure.fields.iter().find(|field| field.offset == *offset && field.bytes == 8) else {
                // Of a newer version.
                if was_there { return Err(PARAMETERS) } else { continue }
            };
            let counted = |count: usize, list: &List<u64>| {
                structure.fields.get(count).and_then(|field| words.get(field.offset / 8)) == Some(&list.count)
            };
            let now = match (value, field.role) {
                (Value::Text(None), Role::Text) => 0,
                (Value::Text(Some(text)), Role::Text) => self.memory.text(text),
                (Value::Words(list), Role::Items { of: "uint64_t", count }) if counted(count, list) => {
                    self.list_pointer(list, list.items.clone())?
                }
                // NULL is none of them here, and no defaults.
                (Value::Options(None), Role::Options { .. }) => 0,
                (Value::Options(Some(options)), Role::Options { of }) => self.options(recorded, of, Some(options))?,
                (Value::Handle(handle), Role::Handle { .. }) => self.handle(*handle, recorded.status)?,
                (Value::Foreign(address), Role::Input(Extent::Foreign)) if was_there => {
                    self.memory.foreign(*address, lent).ok_or("needed more address space than there is")?
                }
                (Value::Foreign(_), Role::Input(Extent::Foreign)) => 0,
                _ => return Err(PARAMETERS),
            };
            words[offset / 8] = now;
        }
        let is_led = |offset: usize| given.parts.iter().any(|(part, _)| *part == offset);
        for field in structure.fields.iter().filter(|field| field.offset < size as usize && field.bytes == 8) {
            let word = &mut words[field.offset / 8];
            match field.role {
                Role::Callback { .. } if *word != 0 => *word = nothing as *const () as u64,
                Role::Native if *word != 0 && recorded.status != 0 => return Err(DRIVERS),
                Role::UserData { .. } | Role::Native => *word = 0,
                Role::Input(Extent::Element) if *word != 0 => *word = self.memory.data(),
                // Device memory that is not the library's.
                Role::Address if *word != 0 => *word = self.address(*word).ok_or(DRIVERS)?,
                // Only that they were there.
                Role::Text | Role::Items { .. } | Role::Options { .. } | Role::Input(_)
                    if *word != 0 && !is_led(field.offset) =>
                {
                    return Err(CUT);
                }
                _ => {}
            }
        }
        let mut set = |name: &str, value: u64| {
            if let Some(field) = structure.field(name)
                && field.offset + field.bytes <= size as usize
            {
                let (at, shift) = (field.offset / 8, 8 * (field.offset % 8));
                let mask = if field.bytes >= 8 { u64::MAX } else { (1 << (8 * field.bytes)) - 1 };
                words[at] = words[at] & !(mask << shift) | (value & mask) << shift;
            }
        };
        if of == "gpubuf_device_options"
            && let Some(backend) = self.settings.backend
            && recorded.status == 0
        {
            set("backend", backend);
            set("name", 0);
            set("ordinal", 0);
        }
        for (of_set, field, value) in &self.settings.set {
            if of_set == of {
                set(field, *value);
            }
        }
        Ok(self.memory.list(&words))
    }

    fn take_results(&mut self, recorded: &Call, prepared: &Prepared) {
        let object = match recorded.arguments.first() {
            Some(Value::Handle(handle)) => *handle,
            _ => 0,
        };
        // As many values as arguments, lists being two.
        let mut values = vec![None; prepared.arguments.len()];
        let mut at = 0;
        let skipped = usize::from(&*recorded.function == "gpubuf_stream_wrap_native");
        for (index, value) in recorded.arguments.iter().enumerate() {
            if index == 1 && skipped == 1 && prepared.function.name == "gpubuf_stream_create" {
                continue;
            }
            at += usize::from(matches!(value, Value::Handles(_) | Value::Rows(_)));
            if let Some(place) = values.get_mut(at) {
                *place = Some(value);
            }
            at += 1;
        }
        for (which, space) in &prepared.results {
            // SAFETY: space of this call's, not cleared yet.
            let now = unsafe { *(*space as *const u64) };
            let Some(Some(value)) = values.get(*which) else { continue };
            let param = &prepared.function.params[*which];
            match value {
                Value::OutHandle { value: Some(then), .. } => {
                    if matches!(param.role, Role::OutHandle { kind: "device" }) {
                        self.opened(now);
                    }
                    self.handles.insert(*then, now);
                }
                // Not made then: nobody will end it.
                Value::OutHandle { value: None, .. } => self.give_back(param, now),
                Value::OutNumber { value: Some(then), .. } if param.name == "out_address" => {
                    self.addresses.insert(*then, now);
                }
                Value::OutNumber { value: Some(then), .. } => {
                    if let Some(class) = class(param.role, param.name) {
                        self.numbers.insert((class, object, *then), now);
                        self.numbers.insert((class, 0, *then), now);
                    }
                }
                Value::OutNumber { value: None, .. } if param.name == "out_token" => {
                    let end = ["begin_write", "begin_read", "begin_span", "begin", "acquire"].iter().zip([
                        "end_write",
                        "end_read",
                        "end_span",
                        "release",
                        "release",
                    ]);
                    for (begin, end) in end {
                        if let Some(noun) = prepared.function.name.strip_suffix(begin)
                            && let Some(end) = function(&format!("{noun}{end}"))
                        {
                            // SAFETY: a handle and a number.
                            unsafe { call(end.index, &[prepared.arguments[0], now]) };
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn opened(&mut self, device: u64) {
        self.devices.push(device);
        if let (Some([fixed, seed, most]), Some(set)) = (self.settings.delay, function("gpubuf_host_set_delay")) {
            // SAFETY: a handle and numbers.
            unsafe { call(set.index, &[device, fixed, seed, most]) };
        }
    }

    /// Ends an object that the recording does not have.
    fn give_back(&self, param: &Param, now: u64) {
        let Role::OutHandle { kind } = param.role else { return };
        let end = if kind == "block" { "gpubuf_block_release".to_owned() } else { format!("gpubuf_{kind}_destroy") };
        if let Some(end) = function(&end) {
            // SAFETY: a handle.
            unsafe { call(end.index, &[now]) };
        }
    }
}

fn status(name: &str) -> i32 {
    constant(name).map_or(i32::MIN, |value| value as i32)
}

fn last_message() -> String {
    let mut text = [0u8; 1025];
    let Some(message) = function("gpubuf_last_error_message") else { return String::new() };
    // SAFETY: a buffer and its size.
    let answer = unsafe { call(message.index, &[text.as_mut_ptr() as u64, text.len() as u64]) };
    let length = if let Answer::Number(length) = answer { (length as usize).min(text.len() - 1) } else { 0 };
    String::from_utf8_lossy(&text[..length]).into_owned()
}
