//! Every function with everything that can be wrong with each of its arguments.

use crate::alone::{calling, is_alone};
use crate::damage::{Damage, Others, Wanted, of_parameter};
use crate::driver;
use crate::valid;
use crate::world::{self, Region, World, message};
use gpubuf_calls::{ANYWHERE, Answer, FUNCTIONS, Function, Role, call, status_name};
use std::collections::BTreeMap;

/// Whether it ends the process's use of the library: states.rs has those.
pub fn is_last(function: &str) -> bool {
    // The stand-in driver loses its device for the whole process.
    function == "gpubuf_shutdown" || function == "gpubuf_host_lose_device" && driver::is_used()
}

/// What a function answers to arguments that are as they should be.
pub fn usual(function: &Function) -> &'static str {
    match function.name {
        // Only inside the function that was given the view.
        "gpubuf_host_view_read" | "gpubuf_host_view_write" => "GPUBUF_STALE_HANDLE",
        // The host backend has no objects of a driver's.
        "gpubuf_stream_wait_native_event" | "gpubuf_stream_record_native_event" | "gpubuf_stream_wrap_native"
            if !driver::is_used() =>
        {
            "GPUBUF_UNSUPPORTED"
        }
        // The stand-in driver counts its functions itself.
        "gpubuf_host_count_operations" if driver::is_used() => "GPUBUF_UNSUPPORTED",
        _ => "GPUBUF_OK",
    }
}

/// What is known of the statuses of a function.
pub fn is_documented(function: &Function, status: &str) -> bool {
    ANYWHERE.contains(&status) || function.documented.contains(&status)
}

pub struct Report {
    pub cells: usize,
    rows: BTreeMap<String, BTreeMap<&'static str, usize>>,
    pub failures: Vec<String>,
}

impl Report {
    pub fn new() -> Report {
        Report { cells: 0, rows: BTreeMap::new(), failures: Vec::new() }
    }

    /// Counts an answer of a row.
    pub fn count(&mut self, row: &str, status: &'static str) {
        *self.rows.entry(row.to_owned()).or_default().entry(status).or_default() += 1;
    }

    pub fn fail(&mut self, function: &Function, what: &str, why: String) {
        self.failures.push(format!("{} with {what}: {why}", function.name));
    }

    /// Compares the answers with the tables of docs/misuse.md.
    fn compare(&mut self) {
        let text = include_str!("../../../../docs/misuse.md");
        let rows: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")).collect();
        for (row, answers) in &self.rows {
            let Some(told) = rows.get(row.as_str()) else {
                self.failures.push(format!("docs/misuse.md has no row \"{row}\""));
                continue;
            };
            for status in answers.keys() {
                if !told.contains("as described") && !told.contains(&format!("`{status}`")) {
                    self.failures.push(format!("docs/misuse.md does not say that \"{row}\" is answered {status}"));
                }
            }
        }
    }

    pub fn finish(mut self, name: &str) {
        self.compare();
        println!("# {name}: {} functions, {} cells, {} failures", FUNCTIONS.len(), self.cells, self.failures.len());
        for (row, answers) in &self.rows {
            let answers: Vec<_> =
                answers.iter().map(|(status, times)| format!("{} {times}", status.replace("GPUBUF_", ""))).collect();
            println!("# {row}: {}", answers.join(", "));
        }
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}

fn contents(world: &World) -> Vec<Region> {
    world.regions.iter().map(|region| Region(region.0)).collect()
}

/// The first region that is not as it was.
fn changed(world: &World, before: &[Region]) -> Option<usize> {
    world.regions.iter().zip(before).position(|(now, before)| now.0 != before.0)
}

/// Runs one cell; true where the call did something.
fn cell(
    report: &mut Report,
    world: &mut World,
    function: &'static Function,
    arguments: &[u64],
    damage: &Damage,
) -> bool {
    report.cells += 1;
    calling(function.name, &damage.what);
    let intact = contents(world);
    let mut arguments = arguments.to_vec();
    damage.arguments.iter().for_each(|(at, value)| arguments[*at] = *value);
    for (at, offset, bytes) in &damage.bytes {
        world.regions[*at].0[*offset..*offset + bytes.len()].copy_from_slice(bytes);
    }
    let before = contents(world);
    // SAFETY: what the header asks for, but for the damage, which the library has to see.
    let answer = unsafe { call(function.index, &arguments) };
    let place =
        function.params.get(damage.arguments.first().map_or_else(|| damage.bytes.first().map_or(0, |b| b.0), |a| a.0));
    let what = format!("{} {}", place.map_or("", |param| param.name), damage.what);
    let did = match answer {
        Answer::Status(status) => {
            let name = status_name(status);
            report.count(damage.row, name);
            let text = message();
            let wanted = match damage.wanted {
                Wanted::OneOf(statuses) => statuses.contains(&name),
                Wanted::Refused => status != 0 && is_documented(function, name),
                Wanted::Told => is_documented(function, name) || name == usual(function),
                Wanted::Harmless => name == usual(function),
            };
            if !wanted {
                report.fail(function, &what, format!("{name}, not {:?}: {text}", damage.wanted));
            } else if status != 0 {
                if !text.starts_with(function.name) {
                    report.fail(function, &what, format!("{name} with the message of another call: {text}"));
                } else if !text[function.name.len()..].contains(damage.names) {
                    report.fail(function, &what, format!("the message does not name {}: {text}", damage.names));
                }
            }
            if status != 0
                && let Some(region) = changed(world, &before)
            {
                let name = function.params.get(region).map_or("?", |param| param.name);
                report.fail(function, &what, format!("refused with {}, and {name} was written", status_name(status)));
            }
            if status == 0 {
                end_made(function, &arguments);
            }
            status == 0
        }
        _ => false,
    };
    world.regions.iter_mut().zip(intact).for_each(|(now, intact)| now.0 = intact.0);
    did
}

/// The valid call, which has to work.
fn valid_call(report: &mut Report, function: &'static Function, arguments: &[u64], when: &str) {
    calling(function.name, when);
    report.cells += 1;
    // SAFETY: arguments as the header asks for them.
    if let Answer::Status(status) = unsafe { call(function.index, arguments) } {
        if status_name(status) != usual(function) {
            report.fail(function, when, format!("{}, not {}: {}", status_name(status), usual(function), message()));
        } else if status == 0 {
            end_made(function, arguments);
        }
    }
}

/// Ends what a call has made.
pub fn end_made(function: &Function, arguments: &[u64]) {
    for (param, pointer) in function.params.iter().zip(arguments) {
        if let Role::OutHandle { kind } = param.role {
            // SAFETY: the call has put a handle there, wherever that is.
            let handle = unsafe { (*pointer as *const u64).read_unaligned() };
            world::end(kind, handle);
        }
    }
}

/// Functions that change nothing: the world is as good as new afterwards.
fn only_looks(function: &str) -> bool {
    ["_get", "_init", "_query", "gpubuf_describe", "gpubuf_report"].iter().any(|end| function.ends_with(end))
        || ["gpubuf_ops_", "gpubuf_spec_"].iter().any(|start| function.starts_with(start))
}

#[test]
fn every_function_with_every_damage() {
    if !is_alone("matrix::every_function_with_every_damage") {
        return;
    }
    let mut ended = World::new();
    let handles = ended.snapshot();
    ended.end();
    let mut foreign = World::new();
    let mut others = Others { ended: handles, foreign: foreign.snapshot() };
    let mut sentinel = World::new();
    let shared = World::new();
    let mut report = Report::new();
    let only = std::env::var("MISUSE_ONLY").unwrap_or_default();
    for function in FUNCTIONS.iter().filter(|function| !is_last(function.name) && function.name.contains(&only)) {
        calling(function.name, "its preparation");
        let mut world = World::of_function(&shared, function);
        let mut arguments = valid::arguments(&mut world, function);
        valid_call(&mut report, function, &arguments, "valid arguments");
        if function.name.starts_with("gpubuf_host_") {
            world.restore_device();
        }
        world = World::of_function(&shared, function);
        arguments = valid::arguments(&mut world, function);
        for at in 0..function.params.len() {
            let count = of_parameter(&world, &others, function, &arguments, at).len();
            for number in 0..count {
                // Made anew each time: they name objects of the world as it is now.
                let damage = of_parameter(&world, &others, function, &arguments, at).swap_remove(number);
                if cell(&mut report, &mut world, function, &arguments, &damage) && !only_looks(function.name) {
                    if function.name.starts_with("gpubuf_host_") {
                        world.restore_device();
                    }
                    calling(function.name, "its preparation");
                    world = World::of_function(&shared, function);
                    arguments = valid::arguments(&mut world, function);
                    if damage.row == "object of another device" {
                        foreign = World::new();
                        others.foreign = foreign.snapshot();
                    }
                }
            }
        }
        valid_call(&mut report, function, &arguments, "valid arguments after all that was refused");
        if function.name.starts_with("gpubuf_host_") {
            world.restore_device();
        }
        calling(function.name, "the check of another world");
        sentinel.check();
    }
    report.finish("damages");
}

/// On the stand-in driver it comes last in a process, so here alone.
#[test]
fn the_loss_of_a_device_with_every_damage() {
    if !is_alone("matrix::the_loss_of_a_device_with_every_damage") {
        return;
    }
    let mut ended = World::new();
    let handles = ended.snapshot();
    ended.end();
    let foreign = World::new();
    let others = Others { ended: handles, foreign: foreign.snapshot() };
    let mut report = Report::new();
    let mut world = World::new();
    let function = world::named("gpubuf_host_lose_device");
    let arguments = valid::arguments(&mut world, function);
    for damage in of_parameter(&world, &others, function, &arguments, 0) {
        assert!(!cell(&mut report, &mut world, function, &arguments, &damage), "{} is refused", damage.what);
    }
    valid_call(&mut report, function, &arguments, "valid arguments after all that was refused");
    report.finish("the loss of a device");
}
