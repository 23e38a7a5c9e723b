//! Fragments of code in pages, made into functions of one program.
//!
//! What a fragment needs is said in the line before it: `<!-- needs: stream, std::uint64_t rows -->` declares names for it, and
//! it is compiled; `<!-- runs: device, stream, std::uint64_t rows = 4 -->` gives them values, and it is run as well.

use super::markdown::Block;
use std::fmt::Write as _;

/// What the fragments of a language are compiled behind.
const CPP: &str = r#"#include <gpubuf/gpubuf.hpp>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <thread>
#include <vector>

// Not every name is used in a fragment.
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wunused-parameter"

/// A function of the application's, whatever it takes.
struct function {
  template <class... Arguments>
  int operator()(Arguments&&...) const { return 0; }
};

"#;
const C: &str = r#"#include <gpubuf/gpubuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wunused-variable"

"#;

/// What a word alone stands for: where it is needed in C++ and C, and where it is made.
const SHORT: [(&str, &str, &str, &str); 2] = [
    (
        "device",
        "gpubuf::device& device",
        "gpubuf_device *device",
        "auto device = gpubuf::device::open(gpubuf::backend::host)",
    ),
    ("stream", "gpubuf::stream& stream", "gpubuf_stream *stream", "auto stream = gpubuf::stream::create(device)"),
];

/// The parts between commas that are in no brackets.
fn parts(list: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0);
    for c in list.chars().chain([',']) {
        match c {
            '(' | '<' | '{' | '[' => depth += 1,
            ')' | '>' | '}' | ']' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part).trim().to_owned());
        } else {
            part.push(c);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The declarations of a list, or the word in it that is none.
fn declarations(list: &str, made: bool, cpp: bool) -> Result<Vec<String>, String> {
    let expand = |part: String| {
        if part.contains(' ') {
            return Ok(part);
        }
        let (_, in_cpp, in_c, create) =
            SHORT.iter().find(|(word, ..)| *word == part).ok_or_else(|| format!("{part:?} has no type"))?;
        Ok(if made {
            create
        } else if cpp {
            in_cpp
        } else {
            in_c
        }
        .to_string())
    };
    parts(list).into_iter().map(expand).collect()
}

/// Whether it is a program of its own.
pub fn is_program(block: &Block) -> bool {
    block.text.contains("int main(")
}

/// A program with all fragments, or what cannot be told of them. Compilers report the lines of the pages.
pub fn source(blocks: &[Block], cpp: bool) -> Result<String, String> {
    let (mut includes, mut functions, mut calls) = (String::new(), String::new(), String::new());
    for (number, block) in blocks.iter().enumerate() {
        let (word, list) = block.mark.as_ref().map_or(("", ""), |(word, list)| (word, list));
        let runs = word == "runs";
        let list = declarations(list, runs, cpp).map_err(|e| format!("{}:{}: {e}", block.page, block.line - 2))?;
        if runs {
            let _ = writeln!(
                calls,
                "  std::cerr << \"{}:{}\" << std::endl;\n  snippet_{number}();",
                block.page, block.line
            );
            let _ = writeln!(functions, "void snippet_{number}() {{\n{};", list.join(";\n"));
        } else {
            let list = if list.is_empty() && !cpp { "void".into() } else { list.join(", ") };
            let _ = writeln!(functions, "void snippet_{number}({list}) {{");
        }
        let _ = writeln!(functions, "#line {} \"{}\"", block.line, block.page);
        for line in block.text.lines() {
            let include = line.starts_with("#include");
            let _ = writeln!(if include { &mut includes } else { &mut functions }, "{line}");
            if include {
                functions.push('\n');
            }
        }
        functions.push_str("#line 1 \"snippets\"\n}\n\n");
    }
    let main = format!("int main(void) {{\n{calls}  return 0;\n}}\n");
    Ok(format!("{includes}{}{functions}{main}", if cpp { CPP } else { C }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_become_declarations() {
        let given = "device, std::map<int, long> x{{1, 2}}, void (*f)(int, int)";
        let wanted = ["gpubuf::device& device", "std::map<int, long> x{{1, 2}}", "void (*f)(int, int)"];
        assert_eq!(declarations(given, false, true).unwrap(), wanted);
        assert_eq!(declarations("stream", false, false).unwrap(), ["gpubuf_stream *stream"]);
        assert_eq!(declarations("stream", true, true).unwrap(), ["auto stream = gpubuf::stream::create(device)"]);
        assert_eq!(declarations("", false, true).unwrap(), Vec::<String>::new());
        assert!(declarations("device, rows", false, true).unwrap_err().contains("rows"));
    }
}
