//! `gpubuf-replay`: makes the calls of a recording again, with other settings.

use gpubuf_calls::{constant, status_name, structure};
use gpubuf_replay::player::{Settings, Summary, replay};
use gpubuf_replay::print;
use gpubuf_replay::recording::{End, Recording};
use std::process::ExitCode;

const USAGE: &str = "\
usage: gpubuf-replay [options] <recording>
  --set NOUN.FIELD=VALUE  a field of gpubuf_NOUN_options (or _request) is so in every call: --set pool.block_count=4
  --backend host|cuda|recorded  where devices are opened; host is the default
  --delay FIXED[,SEED,MOST]     nanoseconds that the emulated device takes for each operation
  --patience MS           how long a call may wait that was done when it was recorded; 5000
  --keep-going            tells every difference, not only the first
  --print                 prints the calls, and makes none
0: nothing differs. 1: something does. 2: it could not be replayed.";

struct Arguments {
    settings: Settings,
    print: bool,
    file: String,
}

fn arguments() -> Result<Arguments, String> {
    let mut out = Arguments { settings: Settings::default(), print: false, file: String::new() };
    let mut given = std::env::args().skip(1);
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is not a number"));
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--set" => {
                let text = value()?;
                let parts = text.split_once('=').and_then(|(left, right)| Some((left.split_once('.')?, right)));
                let ((noun, field), right) = parts.ok_or(format!("{text}: NOUN.FIELD=VALUE"))?;
                let names = [format!("gpubuf_{noun}_options"), format!("gpubuf_{noun}"), noun.to_owned()];
                let of = names.iter().find_map(|name| structure(name)).ok_or(format!("{noun}: no such options"))?;
                if of.field(field).is_none() {
                    let known: Vec<&str> = of.fields.iter().map(|field| field.name).collect();
                    return Err(format!("{} has no {field}: {}", of.name, known.join(", ")));
                }
                let right = constant(right).map_or_else(|| number(right), Ok)?;
                out.settings.set.push((of.name.to_owned(), field.to_owned(), right));
            }
            "--backend" => {
                out.settings.backend = match value()?.as_str() {
                    "host" => constant("GPUBUF_BACKEND_HOST"),
                    "cuda" => constant("GPUBUF_BACKEND_CUDA"),
                    "recorded" => None,
                    other => return Err(format!("--backend {other}: host, cuda or recorded")),
                }
            }
            "--delay" => {
                let text = value()?;
                let mut parts = text.split(',').map(number);
                let mut next = || parts.next().unwrap_or(Ok(0));
                out.settings.delay = Some([next()?, next()?, next()?]);
            }
            "--patience" => out.settings.patience_ns = number(&value()?)?.clamp(1, 3_600_000) * 1_000_000,
            "--keep-going" => out.settings.keep_going = true,
            "--print" => out.print = true,
            _ if word.starts_with('-') || !out.file.is_empty() => return Err(USAGE.to_owned()),
            _ => out.file = word,
        }
    }
    if out.file.is_empty() { Err(USAGE.to_owned()) } else { Ok(out) }
}

fn main() -> ExitCode {
    // What is recorded is the application, not its replay.
    // SAFETY: no other thread is there yet.
    unsafe { std::env::remove_var("GPUBUF_RECORD") };
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(same) => ExitCode::from(u8::from(!same)),
        Err(why) => {
            eprintln!("gpubuf-replay: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let bytes = std::fs::read(&arguments.file).map_err(|error| format!("{}: {error}", arguments.file))?;
    let recording = Recording::read(&bytes).map_err(|broken| format!("{}: {broken}", arguments.file))?;
    let lost: u64 = recording.lost.iter().map(|(_, count)| count).sum();
    let end = match recording.end {
        End::Exit => "complete",
        End::Limit => "up to its limit",
        End::Cut => "cut off",
    };
    println!(
        "recording of gpubuf {}: {} calls in {} bytes, {end}, {lost} lost",
        recording.version,
        recording.calls.len(),
        bytes.len()
    );
    if arguments.print {
        for (name, value) in &recording.settings {
            println!("  {name}={value}");
        }
        for (index, call) in recording.calls.iter().enumerate() {
            let mark = if call.elsewhere {
                " (on a stream)"
            } else if call.inside {
                " (in a callback)"
            } else {
                ""
            };
            println!(
                "{} {} ms, thread {}{mark}: {} = {}",
                index + 1,
                call.ms,
                call.thread,
                print::call(call),
                status_name(call.status)
            );
        }
        return Ok(true);
    }
    let summary = replay(&recording, &arguments.settings)?;
    tell(&summary);
    Ok(summary.differences.is_empty())
}

fn tell(summary: &Summary) {
    let Summary { calls, refusals, other_reasons, earlier, concurrent, .. } = summary;
    println!("replayed: {calls} calls, {refusals} refused as recorded ({other_reasons} for another reason)");
    println!(
        "may differ: {earlier} came earlier or later than work on the device, {concurrent} ran beside others and went another way"
    );
    for (why, count) in &summary.skipped {
        println!("not made: {count}: {why}");
    }
    let figures: Vec<String> = summary.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
    println!("devices: {}", figures.join(", "));
    for difference in &summary.differences {
        println!("DIFFERS: {difference}");
    }
}
