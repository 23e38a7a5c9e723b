//! The file of a recording.

use super::encode::Encoder;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// The limit where none is given.
const LIMIT: u64 = 256 << 20;
/// The least limit: a header and some calls.
const LEAST: u64 = 64 << 10;
/// The format's version: a reader refuses others.
const FORMAT: u64 = 1;

/// An open file that no other process records to.
pub struct Target {
    file: File,
    path: String,
}

impl Target {
    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Writes all.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.file.write_all(bytes).map_err(|error| error.to_string())
    }
}

/// Opens the file: `%p` in its name is this process's number.
pub fn open(path: &OsStr, limit: Option<&str>) -> Result<(Target, u64), String> {
    let limit = match limit.filter(|text| !text.is_empty()) {
        None => LIMIT,
        Some(text) => match text.parse() {
            Ok(limit) if limit >= LEAST => limit,
            _ => return Err(format!("GPUBUF_RECORD_LIMIT is \"{text}\": a number of bytes, at least {LEAST}")),
        },
    };
    let path = String::from_utf8_lossy(path.as_bytes()).replace("%p", &std::process::id().to_string());
    // Not truncated yet: it may be another process's.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| format!("cannot be opened: {error}"))?;
    file.try_lock().map_err(|error| {
        format!("another process may record to it ({error}): %p in the name stands for the process's number")
    })?;
    file.set_len(0).map_err(|error| format!("cannot be emptied: {error}"))?;
    Ok((Target { file, path }, limit))
}

/// What comes first: the format, the library's version, and the settings from the environment.
pub fn header(version: &str) -> Vec<u8> {
    let mut out = Encoder::new(b"GPUBUFRC".to_vec());
    out.number(FORMAT);
    out.text(version.as_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    out.number(now.as_secs());
    let settings: Vec<_> =
        std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"GPUBUF_")).take(64).collect();
    out.number(settings.len() as u64);
    for (name, value) in settings {
        out.text(name.as_bytes());
        out.text(value.as_bytes());
    }
    out.into_bytes()
}

/// Runs with every signal blocked: what a thread is made in, it keeps.
pub fn without_signals<R>(run: impl FnOnce() -> R) -> R {
    // SAFETY: both sets are ours, and the old one is put back on this thread.
    unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        let result = run();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
        result
    }
}
