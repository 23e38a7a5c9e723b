//! The guide holds together: every page is listed, every link and path leads somewhere, and every piece of code compiles.
#![cfg(not(feature = "mutants"))]

#[path = "docs/markdown.rs"]
mod markdown;
#[path = "c_api/program.rs"]
mod program;
#[path = "docs/snippets.rs"]
mod snippets;

use markdown::{Block, Page, pages, root};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Fails with every complaint.
fn none(complaints: Vec<String>, what: &str) {
    assert!(complaints.is_empty(), "{what}:\n  {}", complaints.join("\n  "));
}

/// The path of a link in the repository.
fn resolve(page: &str, target: &str) -> PathBuf {
    let mut path = Path::new(page).parent().expect("a folder").to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

#[test]
fn every_page_of_the_guide_is_in_the_summary() {
    let all = pages("docs");
    let summary = all.iter().find(|page| page.path == "docs/SUMMARY.md").expect("docs/SUMMARY.md");
    let listed: Vec<_> = summary.links().into_iter().map(|(_, target)| resolve(&summary.path, &target)).collect();
    let mut complaints = Vec::new();
    for page in all.iter().filter(|page| page.path != summary.path) {
        let times = listed.iter().filter(|path| **path == Path::new(&page.path)).count();
        let name = page.path.trim_start_matches("docs/");
        match times {
            1 => {}
            0 => complaints.push(format!("{name} is not listed; add where it belongs: - [{}]({name})", page.title())),
            _ => complaints.push(format!("{name} is listed {times} times")),
        }
    }
    none(complaints, "docs/SUMMARY.md");
}

#[test]
fn every_example_is_on_the_page_of_examples() {
    let page = std::fs::read_to_string(root().join("docs/examples.md")).expect("docs/examples.md");
    let folder = std::fs::read_dir(root().join("examples")).expect("a folder");
    let names = folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let missing = names.filter(|name| name.ends_with(".cpp") && !page.contains(&format!("`examples/{name}`")));
    none(missing.map(|name| format!("examples/{name} is not listed: say what it shows")).collect(), "docs/examples.md");
}

#[test]
fn every_link_leads_somewhere() {
    let all: BTreeMap<_, _> = pages("").into_iter().map(|page| (PathBuf::from(&page.path), page)).collect();
    let mut complaints = Vec::new();
    for page in all.values() {
        for (line, target) in page.links() {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let place = if path.is_empty() { PathBuf::from(&page.path) } else { resolve(&page.path, path) };
            if page.path.starts_with("docs/") && !place.starts_with("docs") {
                complaints.push(format!("{}:{line}: {} is outside of the book", page.path, place.display()));
            } else if !root().join(&place).exists() {
                complaints.push(format!("{}:{line}: there is no {}", page.path, place.display()));
            } else if !anchor.is_empty() && !all.get(&place).is_some_and(|page| page.anchors().contains(anchor)) {
                complaints.push(format!("{}:{line}: {} has no heading #{anchor}", page.path, place.display()));
            }
        }
    }
    none(complaints, "links");
}

#[test]
fn every_path_that_is_named_exists() {
    let folders = ["benches", "cmake", "cpp_tests", "crates", "docs", "examples", "include", "scripts", "src", "tests"];
    let mut complaints = Vec::new();
    for page in pages("") {
        for (line, text) in page.quoted() {
            let path = text.split([' ', ':']).next().unwrap_or_default();
            let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
            if !plain || !folders.iter().any(|folder| path.starts_with(&format!("{folder}/"))) {
                continue;
            }
            // Sources may go by the names of their modules and tests.
            let exists = ["", ".rs", ".cpp", ".c"].iter().any(|end| root().join(format!("{path}{end}")).exists());
            if !exists {
                complaints.push(format!("{}:{line}: there is no {path}", page.path));
            }
        }
    }
    none(complaints, "paths");
}

fn blocks() -> Vec<Block> {
    pages("").iter().flat_map(Page::blocks).collect()
}

fn mark(block: &Block) -> (&str, &str) {
    block.mark.as_ref().map(|(word, text)| (word.as_str(), text.as_str())).unwrap_or_default()
}

/// Code has a language; where no test of this file runs it, it says who does, or why nobody can.
#[test]
fn every_piece_of_code_is_compiled_or_says_why_not() {
    let mut complaints = Vec::new();
    for block in blocks() {
        let complaint = match (block.language.as_str(), mark(&block)) {
            ("text" | "json", _) => continue,
            ("c" | "cpp", ("not compiled", reason)) if reason.len() >= 10 => continue,
            ("c" | "cpp", ("needs" | "runs", _)) => continue,
            ("c" | "cpp", _) if snippets::is_program(&block) => continue,
            ("c" | "cpp", _) => {
                "needs <!-- needs: DECLARATIONS -->, <!-- runs: DECLARATIONS --> or <!-- not compiled: REASON --> in the line before".into()
            }
            ("sh" | "cmake", ("checked by", path)) if root().join(path).exists() => continue,
            ("sh" | "cmake", ("not checked", reason)) if reason.len() >= 10 => continue,
            ("sh" | "cmake", _) => {
                "needs <!-- checked by: PATH --> or <!-- not checked: REASON --> in the line before".into()
            }
            ("", _) => "needs a language: cpp, c, sh, cmake, json or text".into(),
            (language, _) => format!("{language} is not one of cpp, c, sh, cmake, json, text"),
        };
        complaints.push(format!("{}:{}: {complaint}", block.page, block.line - 1));
    }
    none(complaints, "code");
}

/// The blocks of a language that are to be compiled.
fn compiled(language: &str, programs: bool) -> Vec<Block> {
    let wanted = |block: &Block| {
        block.language == language && mark(block).0 != "not compiled" && snippets::is_program(block) == programs
    };
    blocks().into_iter().filter(wanted).collect()
}

fn fragments(language: &str) {
    let all = compiled(language, false);
    assert!(!all.is_empty(), "no fragment in {language} was found");
    let source = snippets::source(&all, language == "cpp");
    let source = source.unwrap_or_else(|wrong| panic!("name types and names in <!-- needs: ... -->: {wrong}"));
    program::run_generated(&format!("snippets.{language}"), &source, &[("GPUBUF_BACKEND", "host".into())]);
}

#[test]
fn fragments_in_cpp_compile_and_run() {
    fragments("cpp");
}

#[test]
fn fragments_in_c_compile() {
    fragments("c");
}

#[test]
fn programs_compile_and_run() {
    let all: Vec<_> = ["c", "cpp"].into_iter().flat_map(|language| compiled(language, true)).collect();
    assert!(!all.is_empty(), "no program was found");
    for block in all {
        let name = format!("{}_{}.{}", block.page.replace(['/', '.'], "_"), block.line, block.language);
        let text = format!("#line {} \"{}\"\n{}", block.line, block.page, block.text);
        program::run_generated(&name, &text, &[("GPUBUF_BACKEND", "host".into())]);
    }
}
