//! What changed between two interfaces, and whether a program that was compiled before still works.

use super::dump::{Abi, Field, Layout};
use std::fmt;

/// One change.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// The function, type, number or struct.
    pub name: String,
    /// Programs that were compiled before do not work any more.
    pub breaks: bool,
    /// What changed.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", if self.breaks { "BREAK" } else { "addition" }, self.name, self.what)
    }
}

/// Every change from one to the other.
pub fn differences(before: &Abi, after: &Abi) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut note = |name: &str, breaks, what: String| all.push(Difference { name: name.to_owned(), breaks, what });
    for ((kind, name), was) in &before.names {
        match after.names.get(&(kind.clone(), name.clone())) {
            None => note(name, true, format!("the {kind} is gone")),
            Some(is) if is != was => note(name, true, format!("the {kind} was {was}, and is {is}")),
            Some(_) => {}
        }
    }
    for (kind, name) in after.names.keys().filter(|key| !before.names.contains_key(key)) {
        note(name, false, format!("a new {kind}"));
    }
    for (name, was) in &before.structs {
        match after.structs.get(name) {
            None => note(name, true, "the struct is gone".into()),
            Some(is) if is != was => compare(name, was, is, &mut note),
            Some(_) => {}
        }
    }
    for name in after.structs.keys().filter(|name| !before.structs.contains_key(*name)) {
        note(name, false, "a new struct".into());
    }
    all
}

fn compare(name: &str, was: &Layout, is: &Layout, note: &mut impl FnMut(&str, bool, String)) {
    if is.align != was.align {
        note(name, true, format!("was aligned to {}, and is to {}", was.align, is.align));
    }
    if is.size != was.size {
        let breaks = is.size < was.size || !was.grows();
        note(name, breaks, format!("had {0} bytes, and has {1} (growing!: from {0})", was.size, is.size));
    }
    for field in &was.fields {
        match is.fields.iter().find(|other| other.name == field.name) {
            Some(same) if same == field => {}
            // What had to be 0 may get a meaning.
            _ if reserved(field) => {}
            Some(other) => note(name, true, format!("{} was {}, and is {}", field.name, place(field), place(other))),
            None => note(name, true, format!("{} is gone", field.name)),
        }
    }
    for field in is.fields.iter().filter(|field| !was.fields.contains(field)) {
        let end = field.offset + field.size;
        let free = field.offset >= was.size
            || was.fields.iter().any(|old| reserved(old) && old.offset <= field.offset && end <= old.offset + old.size);
        if !was.fields.iter().any(|old| old.name == field.name) || free {
            note(name, !free, format!("{} is new, {}", field.name, place(field)));
        }
    }
}

fn reserved(field: &Field) -> bool {
    field.name.starts_with("reserved")
}

fn place(field: &Field) -> String {
    format!("{} bytes at {}, {}", field.size, field.offset, field.kind)
}
