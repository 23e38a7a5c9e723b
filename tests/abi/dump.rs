//! What a compiled program knows of the library: names, numbers, layouts and signatures, as a text that people can compare.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A field of a struct.
#[derive(Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub offset: usize,
    pub size: usize,
    pub kind: String,
}

/// A struct with its fields in order.
#[derive(Clone, PartialEq)]
pub struct Layout {
    pub size: usize,
    pub align: usize,
    pub fields: Vec<Field>,
}

impl Layout {
    /// Whether it tells its size, and so may grow at its end.
    pub fn grows(&self) -> bool {
        self.fields.first().is_some_and(|first| first.name == "struct_size")
    }
}

/// An interface.
#[derive(Clone, Default, PartialEq)]
pub struct Abi {
    /// `function`, `callback`, `handle`, `type` or `number` and a name; what it is.
    pub names: BTreeMap<(String, String), String>,
    pub structs: BTreeMap<String, Layout>,
}

impl Abi {
    /// The text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for ((kind, name), what) in &self.names {
            let _ = writeln!(out, "{kind} {name}: {what}");
        }
        for (name, layout) in &self.structs {
            let _ = writeln!(out, "struct {name}: {} bytes, aligned to {}", layout.size, layout.align);
            for field in &layout.fields {
                let _ = writeln!(out, "  {}: {} bytes at {}, {}", field.name, field.size, field.offset, field.kind);
            }
        }
        out
    }

    /// Reads the text.
    pub fn read(text: &str) -> Self {
        let mut abi = Self::default();
        let mut latest = String::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (head, what) = line.split_once(": ").unwrap_or_else(|| panic!("no line of a dump: {line}"));
            let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number, {text}: {line}"));
            if let Some(field) = head.strip_prefix("  ") {
                let (place, kind) = what.split_once(", ").expect("a type");
                let (size, offset) = place.split_once(" bytes at ").expect("a place");
                let field = Field { name: field.into(), offset: number(offset), size: number(size), kind: kind.into() };
                abi.structs.get_mut(&latest).expect("a struct before its fields").fields.push(field);
                continue;
            }
            let (kind, name) = head.split_once(' ').expect("a kind and a name");
            if kind == "struct" {
                let (size, align) = what.split_once(" bytes, aligned to ").expect("a size");
                latest = name.to_owned();
                let layout = Layout { size: number(size), align: number(align), fields: Vec::new() };
                abi.structs.insert(latest.clone(), layout);
            } else {
                abi.names.insert((kind.into(), name.into()), what.into());
            }
        }
        abi
    }
}

/// A C program that prints the text of the header's interface: the compiler knows sizes and numbers.
pub fn probe(header: &str) -> String {
    let mut lines = String::new();
    let mut structs = String::new();
    for name in macros(header) {
        let _ = writeln!(
            lines,
            "  if (({name}) < 1 && ({name}) != 0) printf(\"number {name}: %lld\\n\", (long long)({name}));\n  \
             else printf(\"number {name}: %llu\\n\", (unsigned long long)({name}));"
        );
    }
    for declaration in declarations(header) {
        if let Some((name, fields)) = layout(&declaration) {
            let _ = writeln!(
                structs,
                "  printf(\"struct {name}: %zu bytes, aligned to %zu\\n\", sizeof({name}), _Alignof({name}));"
            );
            for (field, kind) in fields {
                let _ = writeln!(
                    structs,
                    "  printf(\"  {field}: %zu bytes at %zu, {kind}\\n\", sizeof((({name} *)0)->{field}), offsetof({name}, {field}));"
                );
            }
        } else {
            let (kind, name, what) = named(&declaration);
            let _ = writeln!(lines, "  printf(\"{kind} {name}: %s\\n\", \"{what}\");");
        }
    }
    format!("#include <gpubuf/gpubuf.h>\n#include <stdio.h>\nint main(void) {{\n{lines}{structs}  return 0;\n}}\n")
}

/// The macros that stand for numbers. Those of the version change with every version, and are no part of the interface.
fn macros(header: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in header.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("#define")
            && let Some(name) = words.next()
            && words.next().is_some_and(|value| value.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
            && !name.starts_with("GPUBUF_VERSION_")
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The declarations, each without comments and in one line.
fn declarations(header: &str) -> Vec<String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some(start) = rest.find("/*") {
        code.push_str(&rest[..start]);
        rest = rest[start..].split_once("*/").expect("an end of the comment").1;
    }
    code.push_str(rest);
    let other =
        |line: &str| line.starts_with('#') || line.starts_with("extern \"C\" {") || line.starts_with("}  // extern");
    let plain = code.lines().filter(|line| !other(line));
    let (mut all, mut one, mut depth) = (Vec::new(), String::new(), 0);
    for c in plain.flat_map(|line| line.chars().chain([' '])) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ';' && depth == 0 {
            all.push(words(&one));
            one.clear();
        } else {
            one.push(c);
        }
    }
    assert_eq!(one.trim(), "", "the header does not end with a declaration");
    all
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A struct's name, and its fields with their types.
fn layout(declaration: &str) -> Option<(String, Vec<(String, String)>)> {
    let (head, rest) = declaration.strip_prefix("typedef struct ")?.split_once(" {")?;
    let (body, _) = rest.rsplit_once('}').expect("the end of a struct");
    let fields = body.split(';').map(str::trim).filter(|field| !field.is_empty()).map(|field| {
        let (field, extent) = field.split_at(field.find('[').unwrap_or(field.len()));
        let at = field.rfind([' ', '*']).expect("a type and a name") + 1;
        (field[at..].to_owned(), words(&format!("{} {extent}", &field[..at])))
    });
    Some((head.to_owned(), fields.collect()))
}

/// The kind of any other declaration, its name, and what it is.
fn named(declaration: &str) -> (&'static str, String, String) {
    let last = |text: &str| text[text.rfind([' ', '*']).expect("a type and a name") + 1..].to_owned();
    if let Some(what) = declaration.strip_prefix("typedef struct ") {
        return ("handle", last(what), "known to the library only".into());
    }
    if let Some(what) = declaration.strip_prefix("typedef ") {
        if let Some((returns, rest)) = what.split_once("(*") {
            let (name, parameters) = rest.split_once(')').expect("the name of a type");
            return ("callback", name.to_owned(), words(&format!("{returns} {parameters}")));
        }
        let name = last(what);
        return ("type", name.clone(), what[..what.len() - name.len()].trim().to_owned());
    }
    let what = declaration.strip_prefix("GPUBUF_API ").unwrap_or_else(|| panic!("what is this? {declaration}"));
    let what = what.strip_prefix("GPUBUF_MUST_USE ").unwrap_or(what);
    let (head, parameters) = what.split_once('(').expect("parameters");
    let name = last(head);
    let returns = head[..head.len() - name.len()].trim();
    ("function", name, format!("{returns} ({parameters}"))
}
