//! A report that nobody has to ask for: where `GPUBUF_REPORT` is in the environment, it is written when a device's handle is
//! destroyed, at a shutdown, and at the exit if objects are alive then.

use super::{Format, Process, report};
use crate::config::log::{self, Level};
use crate::sync::Mutex;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Whether this process has begun its file: what comes later goes behind.
static BEGUN: Mutex<bool> = Mutex::new(false);

/// Writes the report where the environment wants it.
pub fn write_at_end(process: impl FnOnce() -> Process) {
    let Some(value) = std::env::var_os("GPUBUF_REPORT").filter(|value| !value.is_empty() && value != "0") else {
        return;
    };
    if value == "1" {
        // Nobody is left to tell of a failure.
        let _ = io::stderr().write_all(report(Format::Text, &process()).as_bytes());
        return;
    }
    let path = match value.into_string() {
        Ok(text) => PathBuf::from(text.replace("%p", &std::process::id().to_string())),
        Err(bytes) => PathBuf::from(bytes),
    };
    let format = if path.extension().is_some_and(|end| end == "json") { Format::Json } else { Format::Text };
    let mut text = report(format, &process());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if let Err(error) = append(&path, &text) {
        log::write(Level::Warn, format_args!("GPUBUF_REPORT: cannot write {}: {error}", path.display()));
    }
}

/// As [`write_at_end`], at the exit: only where something is left that no earlier report has shown as the last thing.
pub fn write_at_exit(process: impl FnOnce() -> Process) {
    if std::env::var_os("GPUBUF_REPORT").is_none() {
        return;
    }
    let process = process();
    if !process.shut_down && !process.live_objects.is_empty() {
        write_at_end(|| process);
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut begun = BEGUN.lock();
    let mut file = OpenOptions::new().create(true).write(true).append(*begun).truncate(!*begun).open(path)?;
    file.write_all(text.as_bytes())?;
    *begun = true;
    Ok(())
}
