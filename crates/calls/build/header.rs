//! The declarations of the header. It is generated: whatever is not as expected is a panic, and so a failed build.

/// A parameter or a field.
pub struct Item {
    pub name: String,
    pub c_type: String,
    /// Of an array: how many; else 1.
    pub count: usize,
}

/// A function, or the type of a callback.
pub struct Function {
    pub name: String,
    pub returns: String,
    pub params: Vec<Item>,
    /// What is said of it.
    pub comment: String,
}

/// A struct with fields.
pub struct Struct {
    pub name: String,
    pub fields: Vec<Item>,
}

/// What the header declares.
#[derive(Default)]
pub struct Header {
    pub constants: Vec<(String, u64)>,
    /// Types of handles, without `gpubuf_`.
    pub kinds: Vec<String>,
    pub structs: Vec<Struct>,
    pub callbacks: Vec<Function>,
    pub functions: Vec<Function>,
}

impl Header {
    pub fn structure(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|known| known.name == name)
    }
}

pub fn read(text: &str) -> Header {
    let mut header = declarations(text);
    // A function's comment ends right before it.
    let mut chunks = text.split("\nGPUBUF_API");
    let mut before = chunks.next().expect("what comes first");
    for (function, chunk) in header.functions.iter_mut().zip(chunks) {
        function.comment = before.rsplit("/**").next().expect("a comment").to_owned();
        before = chunk;
    }
    header
}

fn declarations(text: &str) -> Header {
    let text = without_comments(text);
    let mut header = Header::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["#define", name, value] = words[..]
            && let Ok(value) = value.trim_end_matches("ull").parse()
        {
            header.constants.push((name.into(), value));
        }
    }
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut rest = code.as_str();
    while let Some(end) = end_of_declaration(rest) {
        let declaration = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
        rest = &rest[end + 1..];
        let declaration = declaration.trim_start_matches("extern \"C\" { ").trim_start_matches("} ");
        if let Some(function) = declaration.strip_prefix("GPUBUF_API ") {
            header.functions.push(self::function(function.trim_start_matches("GPUBUF_MUST_USE ")));
        } else if let Some(defined) = declaration.strip_prefix("typedef ") {
            typedef(&mut header, defined);
        } else {
            panic!("not understood: {declaration}");
        }
    }
    header
}

fn typedef(header: &mut Header, text: &str) {
    if let Some((head, fields)) = text.split_once('{') {
        let fields = fields.rsplit_once('}').expect("a closing brace").0;
        let name = head.trim().strip_prefix("struct ").expect("a struct").to_owned();
        let fields = fields.split(';').map(str::trim).filter(|field| !field.is_empty()).map(item).collect();
        header.structs.push(Struct { name, fields });
    } else if text.contains("(*") {
        header.callbacks.push(function(&text.replacen("(*", "", 1).replacen(')', "", 1)));
    } else if let Some(opaque) = text.strip_prefix("struct gpubuf_") {
        header.kinds.push(opaque.split(' ').next().expect("a name").to_owned());
    } else {
        assert_eq!(text, "int32_t gpubuf_status");
    }
}

fn function(text: &str) -> Function {
    let (head, list) = text.split_once('(').expect("parameters");
    let Item { name, c_type: returns, .. } = item(head);
    let list = list.trim_end().trim_end_matches(')').trim();
    let params = if list == "void" { Vec::new() } else { list.split(',').map(item).collect() };
    Function { name, returns, params, comment: String::new() }
}

fn item(text: &str) -> Item {
    let text = text.trim();
    let (text, count) = match text.split_once('[') {
        Some((text, count)) => (text, count.trim_end_matches(']').parse().expect("the length of an array")),
        None => (text, 1),
    };
    let at = text.rfind([' ', '*']).expect("a type and a name") + 1;
    Item { name: text[at..].to_owned(), c_type: text[..at].trim().to_owned(), count }
}

fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        rest = &rest[start..][rest[start..].find("*/").expect("the end of a comment") + 2..];
    }
    out.push_str(rest);
    out.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect()
}

/// The place of the semicolon that ends the first declaration.
fn end_of_declaration(text: &str) -> Option<usize> {
    // extern "C" opens a brace that closes after everything.
    let skip = text.find(|c: char| !c.is_whitespace()).unwrap_or(0);
    let offset = if text[skip..].starts_with("extern \"C\" {") { skip + "extern \"C\" {".len() } else { 0 };
    let mut depth = 0;
    for (at, c) in text[offset..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return Some(offset + at),
            _ => {}
        }
    }
    None
}
