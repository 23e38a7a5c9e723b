//! What an object is called in messages.

use crate::sync::{AtomicU64, Mutex, Ordering};
use std::fmt;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// An object's kind, number and optional label: `pool "inputs"`, or `pool #7`.
pub struct Name {
    kind: &'static str,
    number: u64,
    label: Mutex<String>,
}

impl Name {
    /// A new name; numbers are never reused.
    pub fn new(kind: &'static str, label: &str) -> Name {
        Name { kind, number: NEXT.fetch_add(1, Ordering::Relaxed), label: Mutex::new(label.to_string()) }
    }

    /// The object's number, unique in the process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Changes the label; empty takes it away.
    pub fn set_label(&self, label: &str) {
        *self.label.lock() = label.to_string();
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label.lock();
        if label.is_empty() {
            write!(f, "{} #{}", self.kind, self.number)
        } else {
            write!(f, "{} \"{label}\"", self.kind)
        }
    }
}
