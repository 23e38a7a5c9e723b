//! Pages, their headings, links and code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page, by its path in the repository.
pub struct Page {
    pub path: String,
    pub text: String,
}

/// Code between fences.
pub struct Block {
    /// Page and line of its first line.
    pub page: String,
    pub line: usize,
    /// The word behind the fence.
    pub language: String,
    /// What an HTML comment in the line before says of it: a word, and the text behind its colon.
    pub mark: Option<(String, String)>,
    pub text: String,
}

/// Every page below a folder of the repository, in order.
pub fn pages(folder: &str) -> Vec<Page> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found.into_iter().map(|path| read(&path)).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            // What is built, and what git does not have.
            if !name.starts_with('.') && !["target", "build", "shared"].contains(&name.as_str()) {
                walk(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> Page {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    Page { path, text }
}

impl Page {
    /// The lines outside of code, numbered from 1.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut code = false;
        self.text.lines().enumerate().filter_map(move |(index, line)| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            (!code && !fence).then_some((index + 1, line))
        })
    }

    /// What links to its headings end with.
    pub fn anchors(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (_, line) in self.prose() {
            let title = line.trim_start_matches('#');
            if title.len() < line.len() && title.starts_with(' ') {
                let anchor = anchor(title.trim());
                let again = (1..).map(|number| format!("{anchor}-{number}"));
                let free = std::iter::once(anchor.clone()).chain(again).find(|name| !all.contains(name));
                all.extend(free);
            }
        }
        all
    }

    /// Its first heading.
    pub fn title(&self) -> &str {
        self.text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("(no heading)")
    }

    /// The targets of its links, with their lines.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut all = Vec::new();
        for (number, line) in self.prose() {
            // Every other piece between backticks is code.
            let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("x");
            for part in plain.split("](").skip(1) {
                all.push((number, part.split(')').next().unwrap_or_default().to_owned()));
            }
        }
        all
    }

    /// What it says between backticks, with the lines.
    pub fn quoted(&self) -> Vec<(usize, String)> {
        let quoted = |(number, line): (usize, &str)| {
            line.split('`').skip(1).step_by(2).map(move |text| (number, text.to_owned())).collect::<Vec<_>>()
        };
        self.prose().flat_map(quoted).collect()
    }

    /// Its code.
    pub fn blocks(&self) -> Vec<Block> {
        let mut all: Vec<Block> = Vec::new();
        let (mut open, mut before, mut indent) = (false, "", 0);
        for (index, line) in self.text.lines().enumerate() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                open = !open;
                indent = line.len() - line.trim_start().len();
                if open {
                    let (language, mark) = (language.trim().to_owned(), mark(before));
                    let page = self.path.clone();
                    all.push(Block { page, line: index + 2, language, mark, text: String::new() });
                }
            } else if open {
                let text = &mut all.last_mut().expect("an open block").text;
                text.push_str(line.get(indent..).unwrap_or_default());
                text.push('\n');
            }
            before = line;
        }
        all
    }
}

fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn mark(line: &str) -> Option<(String, String)> {
    let text = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    let (word, rest) = text.split_once(':')?;
    Some((word.trim().to_owned(), rest.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let text = "# One: `a_b`, twice\n## Two\n## Two\n[x](a.md#b) `[no](c)` and `src/x`\n\
                    <!-- needs: device, f(int, x) g -->\n```cpp\nint a;\n# no heading\n```\n";
        let page = Page { path: "p.md".into(), text: text.into() };
        assert_eq!(page.anchors().into_iter().collect::<Vec<_>>(), ["one-a_b-twice", "two", "two-1"]);
        assert_eq!(page.links(), [(4, "a.md#b".to_owned())]);
        assert_eq!(page.quoted()[1..], [(4, "[no](c)".to_owned()), (4, "src/x".to_owned())]);
        let blocks = page.blocks();
        assert_eq!((blocks.len(), blocks[0].line, blocks[0].language.as_str()), (1, 7, "cpp"));
        assert_eq!(blocks[0].mark, Some(("needs".into(), "device, f(int, x) g".into())));
        assert_eq!(blocks[0].text, "int a;\n# no heading\n");
    }
}
