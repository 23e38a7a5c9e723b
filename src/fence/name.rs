//! What an object is called in messages.

use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use std::fmt;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// An object's kind, number and optional label: `pool "inputs"`, or `pool #7`.
pub struct Name {
    kind: &'static str,
    number: u64,
    label: Mutex<String>,
    /// Whose part it is: `block 3 of pool "inputs"`.
    whole: Option<Arc<Name>>,
}

impl Name {
    /// A new name; numbers are never reused.
    pub fn new(kind: &'static str, label: &str) -> Name {
        Name { kind, number: NEXT.fetch_add(1, Ordering::Relaxed), label: Mutex::new(label.to_string()), whole: None }
    }

    /// The name of part `number` of a whole.
    pub fn part(kind: &'static str, number: u64, whole: &Arc<Name>) -> Name {
        Name { kind, number, label: Mutex::new(String::new()), whole: Some(whole.clone()) }
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
        if let Some(whole) = &self.whole {
            write!(f, "{} {} of {whole}", self.kind, self.number)
        } else if label.is_empty() {
            write!(f, "{} #{}", self.kind, self.number)
        } else {
            write!(f, "{} \"{label}\"", self.kind)
        }
    }
}
