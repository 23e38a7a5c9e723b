//! `gpubuf-fuzz`: sequences without a fuzzer. `run FILE...` makes the calls of files; `seeds FOLDER RECORDING...` writes the calls of
//! recordings as such files; `random FOLDER SECONDS SEED` makes those of changed files, and leaves the last in `failed` if it fails.

use gpubuf_fuzz::change::Random;
use gpubuf_replay::recording::Recording;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", ref files @ ..] => {
            for file in files {
                println!("{file}");
                match std::fs::read(file) {
                    Ok(bytes) => gpubuf_fuzz::calls(&bytes),
                    Err(error) => println!("  {error}"),
                }
            }
            ExitCode::SUCCESS
        }
        ["seeds", folder, ref recordings @ ..] => {
            for file in recordings {
                let seed = std::fs::read(file)
                    .map_err(|error| error.to_string())
                    .and_then(|bytes| Recording::read(&bytes).map_err(|broken| broken.to_string()))
                    .map(|recording| gpubuf_fuzz::seed::of(&recording));
                let name = Path::new(file).file_stem().unwrap_or_default();
                if let Err(error) =
                    seed.and_then(|seed| std::fs::write(Path::new(folder).join(name), seed).map_err(|e| e.to_string()))
                {
                    eprintln!("{file}: {error}");
                    return ExitCode::FAILURE;
                }
            }
            ExitCode::SUCCESS
        }
        ["random", folder, seconds, seed] => match random(folder, seconds.parse(), seed.parse()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: gpubuf-fuzz run FILE... | seeds FOLDER RECORDING... | random FOLDER SECONDS SEED");
            ExitCode::from(2)
        }
    }
}

fn random(
    folder: &str,
    seconds: Result<u64, std::num::ParseIntError>,
    seed: Result<u64, std::num::ParseIntError>,
) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| format!("{folder}: {error}");
    let (seconds, seed) = (seconds.map_err(|error| words(&error))?, seed.map_err(|error| words(&error))?);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).map_err(|error| words(&error))?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let inputs: Vec<Vec<u8>> = files.iter().filter_map(|file| std::fs::read(file).ok()).collect();
    if inputs.is_empty() {
        return Err(words(&"no inputs"));
    }
    let (mut random, begun, mut executions) = (Random(seed), Instant::now(), 0u64);
    while begun.elapsed().as_secs() < seconds {
        let input = random.changed(&inputs);
        std::fs::write("failed", &input).map_err(|error| words(&error))?;
        gpubuf_fuzz::calls(&input);
        executions += 1;
    }
    std::fs::remove_file("failed").map_err(|error| words(&error))?;
    println!("{executions} executions in {seconds} s with seed {seed}");
    Ok(())
}
