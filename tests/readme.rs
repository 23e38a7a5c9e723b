//! The program in the README is the one that is built and run as an example.

use std::fs;
use std::path::Path;

/// The lines of `text` after the one that contains `start` and before the next that contains `end`, less their indent.
fn between(text: &str, start: &str, end: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.contains(start)).skip(1).collect();
    let lines: Vec<&str> = lines.into_iter().take_while(|line| !line.contains(end)).collect();
    let indent = lines.iter().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len());
    let indent = indent.min().unwrap_or(0);
    lines.iter().map(|line| line.get(indent..).unwrap_or("").trim_end().to_owned()).collect()
}

#[test]
fn the_readme_shows_the_quickstart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let example = fs::read_to_string(root.join("examples/quickstart.cpp")).expect("examples/quickstart.cpp");
    let shown = between(&readme, "```cpp", "```");
    let built = between(&example, "[readme]", "[/readme]");
    assert!(!built.is_empty(), "examples/quickstart.cpp has no lines between [readme] and [/readme]");
    if std::env::var_os("GPUBUF_BLESS").is_some_and(|value| value == "1") {
        let (before, rest) = readme.split_once("```cpp\n").expect("README.md has a C++ program");
        let (_, after) = rest.split_once("```\n").expect("README.md has the end of its C++ program");
        let text = format!("{before}```cpp\n{}\n```\n{after}", built.join("\n"));
        fs::write(root.join("README.md"), text).expect("README.md can be written");
        return;
    }
    assert_eq!(
        shown, built,
        "README.md and examples/quickstart.cpp show different programs; take over the example with\n  \
         GPUBUF_BLESS=1 cargo test -p gpubuf --test readme\n"
    );
}
