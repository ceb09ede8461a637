//! House rules that a compiler does not check: arrows inside the core point down, files and functions stay small.
//!
//! The levels are read from the table in `core/src/lib.rs`, so there is one place to change them. Sources are read with a
//! small scanner that blanks comments and literals; what is below an inline `#[cfg(test)] mod …` is test code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a file, its tests not counted.
const FILE_LINES: usize = 500;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// Functions that may be longer: file, name, reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];
/// The folder that tests alone may look up to.
const TEST_ONLY: &str = "sim";
const SOURCES: [&str; 5] = ["core/src", "runtime/src", "cli/src", "tests/src", "fuzz"];

#[test]
fn arrows_between_the_folders_of_the_core_point_down() {
    let table = Levels::read();
    let mut arrows = BTreeSet::new();
    let mut wrong = Vec::new();
    for source in sources(&["core/src"]) {
        let Some(from) = source.folder() else { continue };
        for (part, is_test) in [(&source.code, source.is_test), (&source.tests, true)] {
            for to in references(part, source.depth()) {
                if let Err(why) = table.judge(&from, &to, is_test) {
                    wrong.push(format!("{}: {from} → {to}: {why}", source.name));
                }
                arrows.insert((from.clone(), to));
            }
        }
    }
    wrong.extend(
        arrows
            .iter()
            .filter(|(from, to)| from < to && arrows.contains(&(to.clone(), from.clone())))
            .map(|(from, to)| format!("{from} and {to} point at each other")),
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_of_levels_names_every_module_of_the_core() {
    let table = Levels::read();
    let lib = source("core/src/lib.rs");
    let declared = lib.code.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    let declared: BTreeSet<_> = declared.collect();
    let named: BTreeSet<_> = table.level.keys().map(String::as_str).collect();
    assert_eq!(declared, named);
}

#[test]
fn no_file_is_longer_than_anyone_reads() {
    let long: Vec<_> = sources(&SOURCES)
        .into_iter()
        .filter(|source| !source.is_test && source.code.lines().count() > FILE_LINES)
        .map(|source| format!("{}: {} lines without tests", source.name, source.code.lines().count()))
        .collect();
    assert!(long.is_empty(), "over {FILE_LINES} lines: split by phase or by direction\n{}", long.join("\n"));
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut long = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources(&SOURCES).into_iter().filter(|source| !source.is_test) {
        for (name, lines) in functions(&source.code).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES) {
            match LONG_FUNCTIONS.iter().position(|(file, function, _)| *file == source.name && *function == name) {
                Some(exemption) => drop(used.insert(exemption)),
                None => long.push(format!("{}: fn {name} has {lines} lines", source.name)),
            }
        }
    }
    assert!(long.is_empty(), "over {FUNCTION_LINES} lines\n{}", long.join("\n"));
    assert_eq!(used.len(), LONG_FUNCTIONS.len(), "an exemption is no longer needed");
}

/// The table in the head of `core/src/lib.rs`: `| 3 | [`sql`], [`catalog`] | remark |`.
struct Levels {
    level: BTreeMap<String, u32>,
    /// Levels whose modules must not point at each other either.
    strangers: BTreeSet<u32>,
}

impl Levels {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("core/src/lib.rs")).expect("core has a lib.rs");
        let mut table = Self { level: BTreeMap::new(), strangers: BTreeSet::new() };
        for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let [number, modules, remark, ..] = cells[..] else { continue };
            let Ok(number) = number.parse() else { continue };
            let names = modules.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), number));
            table.level.extend(names);
            if remark.contains("do not know each other") {
                table.strangers.insert(number);
            }
        }
        assert!(!table.level.is_empty(), "core/src/lib.rs has lost its table of levels");
        table
    }

    fn judge(&self, from: &str, to: &str, is_test: bool) -> Result<(), &'static str> {
        if from == to || (is_test && to == TEST_ONLY) {
            return Ok(());
        }
        let (Some(low), Some(high)) = (self.level.get(to), self.level.get(from)) else {
            return Err("not in the table of core/src/lib.rs");
        };
        match low.cmp(high) {
            std::cmp::Ordering::Greater => Err("points up"),
            std::cmp::Ordering::Equal if self.strangers.contains(low) => Err("these do not know each other"),
            _ => Ok(()),
        }
    }
}

/// One file, comments and literals blanked, cut where its inline test module begins.
struct Source {
    name: String,
    code: String,
    tests: String,
    is_test: bool,
}

impl Source {
    fn read(path: &Path, is_test: bool) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = blank(&text);
        let (code, tests) = text.split_at(start_of_tests(&text));
        let name = path.strip_prefix(root()).expect("sources are below the root").display().to_string();
        Self { name, code: code.to_owned(), tests: tests.to_owned(), is_test }
    }

    /// The module path below the crate: `core/src/wire/frame.rs` → `wire`, `frame`.
    fn modules(&self) -> Vec<&str> {
        let inside = self.name.split_once("src/").map_or("", |(_, inside)| inside).trim_end_matches(".rs");
        inside.split('/').filter(|part| !matches!(*part, "mod" | "lib")).collect()
    }

    fn folder(&self) -> Option<String> {
        self.modules().first().map(|first| (*first).to_owned())
    }

    fn depth(&self) -> usize {
        self.modules().len()
    }

    /// Files whose `mod` line stands under a `#[cfg(… test …)]`.
    fn test_files(&self) -> impl Iterator<Item = String> {
        let lines: Vec<_> = self.code.lines().map(str::trim).collect();
        let declared: Vec<_> = lines
            .windows(2)
            .filter(|pair| is_test_attribute(pair[0]))
            .filter_map(|pair| pair[1].strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned))
            .collect();
        declared.into_iter()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

fn source(name: &str) -> Source {
    Source::read(&root().join(name), false)
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found: Vec<Source> = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
        let first = found.len();
        found.extend(
            paths.iter().filter(|path| path.extension() == Some("rs".as_ref())).map(|p| Source::read(p, false)),
        );
        open.extend(paths.into_iter().filter(|path| path.is_dir() && !path.ends_with("target")));
        let tests: BTreeSet<_> = found[first..].iter().flat_map(Source::test_files).collect();
        for source in &mut found[first..] {
            source.is_test = tests.contains(source.modules().last().copied().unwrap_or_default());
        }
    }
    assert!(!found.is_empty(), "no sources below {folders:?}");
    found
}

fn is_test_attribute(line: &str) -> bool {
    line.strip_prefix("#[cfg(").is_some_and(|cfg| {
        cfg.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "test") && !cfg.contains("not(test")
    })
}

fn start_of_tests(text: &str) -> usize {
    let mut offset = 0;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let opens_module = lines.peek().is_some_and(|next| next.starts_with("mod ") && next.trim_end().ends_with('{'));
        if is_test_attribute(line) && opens_module {
            return offset;
        }
        offset += line.len();
    }
    text.len()
}

/// First path segments below the crate that `text` names, by `crate::` or by as many `super::` as the file is deep.
fn references(text: &str, depth: usize) -> BTreeSet<String> {
    let up = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    for prefix in ["crate::", up.as_str()] {
        for (at, _) in text.match_indices(prefix).filter(|_| !prefix.is_empty()) {
            let longer = text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
            let rest = &text[at + prefix.len()..];
            if !longer && !rest.starts_with("super::") {
                found.extend(first_segments(rest));
            }
        }
    }
    found
}

/// `wire::Frame` → wire; `{id, wire::{Frame, Cursor}}` → id, wire. Macros and items of the crate's root are no modules.
fn first_segments(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        return Vec::from_iter(is_module(&name).then_some(name));
    };
    let mut names = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 && !c.is_whitespace() => names.last_mut().expect("never empty").push(c),
            _ => {}
        }
    }
    names.iter().map(|name| name.split("::").next().unwrap_or_default().to_owned()).filter(|n| is_module(n)).collect()
}

fn is_module(name: &str) -> bool {
    name.starts_with(|c: char| c.is_lowercase()) && name != "self"
}

/// Every function with a body, and its number of lines.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let begins_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if begins_word
            && !name.is_empty()
            && let Some(body) = with_body(&code[at..])
        {
            found.push((name, body.lines().count()));
        }
    }
    found
}

/// From `fn` to the brace that closes the body; `None` for a declaration that ends with `;`.
fn with_body(text: &str) -> Option<&str> {
    let mut depth = 0_i32;
    let mut brackets = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => brackets += 1,
            ']' | ')' => brackets -= 1,
            '{' => depth += 1,
            '}' if depth == 1 => return Some(&text[..=at]),
            '}' => depth -= 1,
            ';' if depth == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Replaces what is inside comments, strings and characters by spaces; keeps lines as they are.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = literal_length(rest, out.ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        let (taken, next) = rest.split_at(length.unwrap_or(c.len_utf8()));
        match length {
            Some(_) => out.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => out.push(c),
        }
        rest = next;
    }
    out
}

/// Bytes of the comment or literal at the start of `text`, if there is one.
fn literal_length(text: &str, inside_word: bool) -> Option<usize> {
    let upto = |end: Option<usize>| end.unwrap_or(text.len());
    if text.starts_with("//") {
        return Some(upto(text.find('\n')));
    }
    if text.starts_with("/*") {
        return Some(upto(text.find("*/").map(|at| at + 2)));
    }
    if text.starts_with('"') {
        return Some(upto(quote_end(text, '"')));
    }
    if let Some(raw) = text.strip_prefix('r').filter(|_| !inside_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 1 + hashes + 1;
            return Some(upto(text[body..].find(&end).map(|at| body + at + end.len())));
        }
    }
    // A quote is a character only if it closes at once or is an escape; else it is a lifetime.
    let mut chars = text.strip_prefix('\'')?.chars();
    match (chars.next()?, chars.next()?) {
        ('\\', _) => quote_end(text, '\''),
        (c, '\'') => Some(2 + c.len_utf8()),
        _ => None,
    }
}

fn quote_end(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = "use crate::wire::{self, Frame}; // crate::plan\nlet x = \"crate::sql \\\" {\"; let y = r#\"crate::unit\"#;\n\
                let z = ('{', '\\'', b'}'); fn f<'a>(x: &'a [u8; 2]) { crate::fault::now() }\n";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(references(&code, 1), BTreeSet::from(["wire".to_owned(), "fault".to_owned()]));
    assert_eq!(functions(&code), [("f".to_owned(), 1)]);
}

#[test]
fn arrows_are_seen_however_they_are_written() {
    let seen = |text: &str, depth| references(&blank(text), depth).into_iter().collect::<Vec<_>>();
    assert_eq!(seen("use crate::{\n    id::NodeId,\n    wire::{Cursor, frame::peek},\n};", 2), ["id", "wire"]);
    assert_eq!(seen("use super::super::session::Session; use super::Malformed;", 2), ["session"]);
    assert_eq!(seen("use super::session::Session;", 1), ["session"]);
    assert_eq!(seen("pub(in crate::unit) fn f() { $crate::x::y() }", 1), ["unit", "x"]);
}

#[test]
fn an_arrow_up_and_an_arrow_between_strangers_are_refused() {
    let table = Levels::read();
    assert!(table.judge("unit", "effect", false).is_ok());
    assert!(table.judge("wire", "limits", false).is_ok());
    assert!(table.judge("wire", "plan", false).is_err());
    assert!(table.judge("commitlock", "catalog", false).is_err());
    assert!(table.judge("wire", TEST_ONLY, false).is_err());
    assert!(table.judge("wire", TEST_ONLY, true).is_ok());
}

#[test]
fn a_long_function_is_counted_to_its_last_brace_and_a_test_module_is_cut_off() {
    let body = "    step();\n".repeat(80);
    let text = format!(
        "fn short() {{}}\ntrait T {{\n    fn declared(&self);\n}}\nfn long() {{\n{body}}}\n#[cfg(test)]\nmod tests {{\n}}\n"
    );
    let code = &text[..start_of_tests(&text)];
    assert!(code.ends_with("}\n") && !code.contains("cfg"));
    assert_eq!(functions(code), [("short".to_owned(), 1), ("long".to_owned(), 82)]);
}
