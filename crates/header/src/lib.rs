//! Makes `include/gpubuf/gpubuf.h` from the sources in `src/ffi`, and `standin.h` beside it from those of the stand-in driver.
//!
//! The generator is a crate of its own so that nobody who only builds the library has to compile it.

use std::path::{Path, PathBuf};

/// What to run when the header no longer matches the sources.
pub const REFRESH: &str = "GPUBUF_BLESS=1 cargo test -p gpubuf-header";

/// The macro `cbindgen.toml` gives to what only exists with the feature `mutants`.
const TEST_ONLY_MACRO: &str = "GPUBUF_ONLY_IN_TESTS";

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in crates/header").to_path_buf()
}

/// The header in git.
#[must_use]
pub fn header_path() -> PathBuf {
    root().join("include/gpubuf/gpubuf.h")
}

/// The text the header must have.
///
/// # Errors
/// A sentence that says which file cannot be read, or what cbindgen did not understand.
pub fn generate() -> Result<String, String> {
    let root = root();
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    config.after_includes.get_or_insert_with(String::new).push_str(&version_macros());
    // cbindgen follows the `mod` lines from here: their order is the order of the functions in the header.
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("src/ffi/mod.rs"));
    let mut text = Vec::new();
    builder.generate().map_err(|error| format!("cbindgen: {error}"))?.write(&mut text);
    let text = String::from_utf8(text).map_err(|error| format!("cbindgen: {error}"))?;
    Ok(statuses_must_be_used(&for_c_readers(&without_test_only(&text))))
}

/// The header of the stand-in driver's controls, in git.
#[must_use]
pub fn standin_path() -> PathBuf {
    root().join("include/gpubuf/standin.h")
}

/// What stands above the controls.
const STANDIN: &str = r#"/**
 * @file standin.h
 * What a test asks of the stand-in CUDA driver: functions that it exports besides the driver's own. docs/standin.md tells how a
 * program comes to run on it. Nothing is linked for them; a test finds them where gpubuf found its driver:
 *
 *     void *driver = dlopen(getenv("GPUBUF_CUDA_DRIVER"), RTLD_NOW);
 *     uint64_t (*calls)(const char *) = (uint64_t (*)(const char *))dlsym(driver, "gpubuf_standin_calls");
 *
 * `ordinal` is the number of a device, `stream` a CUstream as a number, `code` a CUresult. The functions return 0, or the code of
 * the driver that says why not, unless they say otherwise. They are for tests: they may change with any version.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
/* Generated from crates/standin, do not edit. To refresh: GPUBUF_BLESS=1 cargo test -p gpubuf-header */"#;

/// The text of the header of the stand-in driver's controls.
///
/// # Errors
/// As [`generate`].
pub fn generate_standin() -> Result<String, String> {
    let root = root();
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    config.header = Some(STANDIN.to_owned());
    config.include_guard = Some("GPUBUF_STANDIN_H".to_owned());
    config.sys_includes = vec!["stdint.h".to_owned()];
    config.after_includes = None;
    // They are looked up, not linked.
    config.function.prefix = None;
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("crates/standin/src/control.rs"));
    let mut text = Vec::new();
    builder.generate().map_err(|error| format!("cbindgen: {error}"))?.write(&mut text);
    String::from_utf8(text).map_err(|error| format!("cbindgen: {error}")).map(|text| for_c_readers(&text))
}

/// The version of the workspace as macros: a header cannot name another version than the library.
fn version_macros() -> String {
    let parts = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    let [major, minor, patch] = parts.map(|part| part.parse::<u32>().expect("cargo checks the version"));
    format!(
        "\n\n/** The version of this header; gpubuf_version_number() has the version of the loaded library. */\n\
         #define GPUBUF_VERSION_MAJOR {major}\n\
         #define GPUBUF_VERSION_MINOR {minor}\n\
         #define GPUBUF_VERSION_PATCH {patch}\n\
         /** major * 1000000 + minor * 1000 + patch */\n\
         #define GPUBUF_VERSION_NUMBER {}\n",
        major * 1_000_000 + minor * 1_000 + patch
    )
}

/// Drops the blocks `#if defined(GPUBUF_ONLY_IN_TESTS)` .. `#endif`.
fn without_test_only(text: &str) -> String {
    let opening = format!("#if defined({TEST_ONLY_MACRO})");
    let mut kept = String::with_capacity(text.len());
    let mut dropping = false;
    for line in text.lines() {
        dropping |= line == opening;
        if !dropping {
            kept.push_str(line);
            kept.push('\n');
        }
        dropping &= line != "#endif";
    }
    kept
}

/// Turns the rustdoc that cbindgen copies word for word into what a C reader and doxygen expect: headings become `@par`,
/// links become plain names, comments that hold one line take one line, and types go by their typedef.
fn for_c_readers(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let comment = line.trim_start();
        if !(comment.starts_with("* ") || comment.starts_with("*/")) {
            let line = line.trim_end();
            if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
                lines.push(if line.starts_with("typedef struct") {
                    line.to_owned()
                } else {
                    line.replace("struct gpubuf_", "gpubuf_")
                });
            }
            continue;
        }
        let indent = &line[..line.len() - comment.len()];
        if comment == "*/" && lines.len() >= 2 && lines[lines.len() - 2].trim() == "/**" {
            let only = lines.pop().expect("two lines");
            let only = only.trim_start().trim_start_matches('*').trim().to_owned();
            let start = lines.pop().expect("two lines");
            lines.push(format!("{} {only} */", start.trim_end()));
            continue;
        }
        let line = match comment.strip_prefix("* # ") {
            Some(heading) => format!("{indent}* @par {heading}"),
            None => line.replace("[`", "`").replace("`]", "`"),
        };
        lines.push(line.trim_end().to_owned());
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// Marks every function that returns a status, except the ends of objects: code that cleans up may drop theirs.
fn statuses_must_be_used(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for index in 0..lines.len() {
        let declaration = lines[index].strip_prefix("GPUBUF_API ").unwrap_or(&lines[index]);
        let Some(name) = declaration.strip_prefix("gpubuf_status ").and_then(|rest| rest.split('(').next()) else {
            continue;
        };
        if name.ends_with("_destroy") {
            continue;
        }
        if lines[index].starts_with("GPUBUF_API ") {
            lines[index].insert_str("GPUBUF_API".len(), " GPUBUF_MUST_USE");
        } else if index > 0 && lines[index - 1] == "GPUBUF_API" {
            lines[index - 1].push_str(" GPUBUF_MUST_USE");
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_blocks_go_and_the_rest_stays() {
        let text = "a\n\n#if defined(GPUBUF_ONLY_IN_TESTS)\nb\n#endif\n\n#if defined(X)\nc\n#endif\n";
        assert_eq!(without_test_only(text), "a\n\n\n#if defined(X)\nc\n#endif\n");
    }

    #[test]
    fn comments_are_for_c_readers() {
        let text = "/**\n * One line, see [`gpubuf_x`].\n */\n\n\nint a(struct gpubuf_b);\n/**\n * Two\n *\n * # Safety\n * lines\n */\nint b;\n";
        let wanted = "/** One line, see `gpubuf_x`. */\n\nint a(gpubuf_b);\n/**\n * Two\n *\n * @par Safety\n * lines\n */\nint b;\n";
        assert_eq!(for_c_readers(text), wanted);
    }

    #[test]
    fn only_ends_may_drop_their_status() {
        let text = "GPUBUF_API gpubuf_status gpubuf_a(void);\nGPUBUF_API\ngpubuf_status gpubuf_b(int x,\n  int y);\n\
                    GPUBUF_API gpubuf_status gpubuf_c_destroy(int x);\nGPUBUF_API int gpubuf_d(void);\n";
        let wanted = "GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_a(void);\n\
                      GPUBUF_API GPUBUF_MUST_USE\ngpubuf_status gpubuf_b(int x,\n  int y);\n\
                      GPUBUF_API gpubuf_status gpubuf_c_destroy(int x);\nGPUBUF_API int gpubuf_d(void);\n";
        assert_eq!(statuses_must_be_used(text), wanted);
    }
}
