//! docs/features.md names functions that the headers have and tests that the sources have, and leaves no function out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

struct Row {
    feature: String,
    functions: Vec<String>,
    tests: Vec<String>,
}

/// The rows of every table of features.
fn rows() -> Vec<Row> {
    let text = fs::read_to_string("docs/features.md").expect("docs/features.md");
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    text.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| feature |"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            assert_eq!(cells.len(), 3, "a row has a feature, functions and tests: {line}");
            Row { feature: cells[0].trim().into(), functions: own(quoted(cells[1])), tests: own(quoted(cells[2])) }
        })
        .collect()
}

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            out.extend(files(&path, end));
        } else if path.extension().is_some_and(|found| found == end) {
            out.push(path);
        }
    }
    out
}

fn texts(folders: &[&str], end: &str) -> Vec<String> {
    let paths = folders.iter().flat_map(|folder| files(Path::new(folder), end));
    paths.map(|path| fs::read_to_string(path).expect("a source file")).collect()
}

/// The functions that gpubuf.h declares, and the templates of gpubuf::ops.
fn functions() -> BTreeSet<String> {
    let header = fs::read_to_string("include/gpubuf/gpubuf.h").expect("the header");
    let name = |text: &str| text.rsplit(|c: char| c.is_whitespace() || c == '*').next().unwrap_or("").to_owned();
    let mut out: BTreeSet<String> =
        header.split("\nGPUBUF_API").skip(1).filter_map(|text| text.split('(').next()).map(name).collect();
    let wrapper = fs::read_to_string("include/gpubuf/hpp/ops.hpp").expect("the C++ header");
    for part in wrapper.split("\nnamespace ops {").skip(1) {
        let part = part.split("}  // namespace ops").next().unwrap_or("");
        let lines = part.lines().filter(|line| line.starts_with("outcome<Form"));
        out.extend(lines.filter_map(|line| line.split('(').next()).map(|head| format!("ops::{}", name(head))));
    }
    out
}

/// The tests of the sources: Rust's by their function, GoogleTest's as Suite.Name.
fn tests() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for text in texts(&["src", "tests"], "rs") {
        for part in text.split("#[test]").skip(1) {
            let head = part.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
            out.extend(head.map(str::to_owned));
        }
    }
    for text in texts(&["cpp_tests"], "cpp") {
        for line in text.lines() {
            let list = line.strip_prefix("TEST(").or_else(|| line.strip_prefix("TEST_F("));
            if let Some((suite, name)) = list.and_then(|list| list.split(')').next()?.split_once(", ")) {
                out.insert(format!("{suite}.{name}"));
            }
        }
    }
    out
}

#[test]
fn what_the_table_names_exists() {
    let (functions, tests) = (functions(), tests());
    assert!(functions.contains("ops::gather") && tests.contains("what_the_table_names_exists"), "names are not found");
    let mut wrong = Vec::new();
    for row in rows() {
        for (what, named, known) in [("function", &row.functions, &functions), ("test", &row.tests, &tests)] {
            if named.is_empty() {
                wrong.push(format!("{}: no {what}", row.feature));
            }
            let missing = named.iter().filter(|name| !known.contains(*name));
            wrong.extend(missing.map(|name| format!("{}: there is no {what} {name}", row.feature)));
        }
    }
    assert!(wrong.is_empty(), "docs/features.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_function_is_in_the_table() {
    let named: BTreeSet<String> = rows().into_iter().flat_map(|row| row.functions).collect();
    let known = functions();
    assert!(known.len() > 200, "functions are not found: {}", known.len());
    let missing: Vec<_> = known.iter().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/features.md lacks {missing:?}");
}
