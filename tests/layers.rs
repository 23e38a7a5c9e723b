//! The layers: each module imports only those before it. Locks, the CUDA bindings and the engine each have one door.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first; modules of one line may use each other.
const LAYERS: &[&[&str]] = &[
    &["error", "sync", "dtype", "config"],
    &["stats", "ops", "arena", "record"],
    &["backend"],
    &["fence"],
    &["lease", "buffer", "pinned", "pool", "graph"],
    &["slots", "staged", "workspace", "tensor", "tiers", "pressure", "predictor"],
    &["report"],
    &["ffi"],
];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("src/{module} is in no layer: add it to the list, in its place"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            out.push(path);
        }
    }
    out
}

/// The module a file of src/ belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").expect("a file of src");
    let first = inside.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_string()
}

/// Modules named after `crate::`, in code: `use crate::{a, b}` lists included.
fn imports(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with('$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                out.push(name);
            }
        }
    }
    out
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_module_imports_only_those_before_it() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        for import in imports(&code(&path)) {
            // `fail!` is the error module's.
            let import = if import == "fail" { "error".to_string() } else { import };
            if layer(&import) > layer(&module) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn locks_bindings_and_engine_have_one_door_each() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let text = code(&path);
        let name = path.to_string_lossy().replace('\\', "/");
        for (word, door) in [
            ("std::sync", "src/sync.rs"),
            ("parking_lot", "src/sync.rs"),
            ("cudarc", "src/backend/cuda"),
            ("catch_unwind", "src/ffi/boundary.rs"),
        ] {
            if text.contains(word) && !name.starts_with(door) {
                wrong.push(format!("{name} names {word}: only {door} may"));
            }
        }
    }
    for path in sources(Path::new("crates/engine")) {
        if code(&path).contains("gpubuf::") {
            wrong.push(format!("{} names gpubuf: the engine stands alone", path.display()));
        }
    }
    let manifest = fs::read_to_string("crates/engine/Cargo.toml").expect("the engine's Cargo.toml");
    let dependencies = manifest.split("dependencies]").skip(1).collect::<String>();
    assert!(!dependencies.contains("gpubuf"), "the engine depends on gpubuf: it stands alone");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_profile_aborts_on_panic() {
    let manifest = fs::read_to_string("Cargo.toml").expect("Cargo.toml");
    let set = manifest.lines().any(|line| line.trim_start().starts_with("panic"));
    assert!(!set, "a profile sets panic: caught panics become a status, so it must stay unwind");
}
