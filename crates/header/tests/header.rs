//! The headers in git are those the sources give.

use gpubuf_header::{REFRESH, generate, generate_standin, header_path, standin_path};
use std::fs;
use std::path::Path;

#[test]
fn the_header_in_git_is_the_generated_one() {
    compare(generate(), &header_path());
}

#[test]
fn the_header_of_the_stand_in_driver_in_git_is_the_generated_one() {
    compare(generate_standin(), &standin_path());
}

fn compare(wanted: Result<String, String>, path: &Path) {
    let wanted = wanted.unwrap_or_else(|error| panic!("no header: {error}"));
    if std::env::var_os("GPUBUF_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("a directory")).expect("include/gpubuf can be made");
        fs::write(path, &wanted).expect("the header can be written");
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let different = wanted.lines().zip(found.lines()).position(|(wanted, found)| wanted != found);
    let line = different.unwrap_or_else(|| wanted.lines().count().min(found.lines().count()));
    assert!(
        wanted == found,
        "{} does not match its sources, first at line {}:\n  in git:    {}\n  generated: {}\nrefresh it with\n  {REFRESH}\n",
        path.display(),
        line + 1,
        found.lines().nth(line).unwrap_or("(end)"),
        wanted.lines().nth(line).unwrap_or("(end)"),
    );
}

#[test]
fn nothing_of_a_test_build_is_in_the_header() {
    let text = generate().unwrap_or_else(|error| panic!("no header: {error}"));
    assert!(
        !text.contains("mutant") && !text.contains("ONLY_IN_TESTS"),
        "a function of the feature `mutants` is in the header"
    );
}

#[test]
fn every_name_has_the_prefix() {
    let text = generate().unwrap_or_else(|error| panic!("no header: {error}"));
    for line in text.lines() {
        let name = |prefix: &str| line.strip_prefix(prefix).map(|rest| rest.trim_start_matches("struct "));
        if let Some(name) = name("#define ") {
            assert!(name.starts_with("GPUBUF_"), "a macro without the prefix: {line}");
        }
        if let Some(name) = name("typedef ").filter(|_| line.contains("struct ")) {
            assert!(name.starts_with("gpubuf_"), "a type without the prefix: {line}");
        }
    }
}
