//! `gpubuf-fuzz`: sequences without a fuzzer. `run FILE...` makes the calls of files; `seeds FOLDER RECORDING...` writes the calls of
//! recordings as such files.

use gpubuf_replay::recording::Recording;
use std::path::Path;
use std::process::ExitCode;

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
        _ => {
            eprintln!("usage: gpubuf-fuzz run FILE... | seeds FOLDER RECORDING...");
            ExitCode::from(2)
        }
    }
}
