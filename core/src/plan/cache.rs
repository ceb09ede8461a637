//! Text → plans. A text seen before, with whatever literals, costs one pass of the lexer and a look-up.
//!
//! The key is the text's tokens, literals masked in statements whose meaning for replication does not hang on them (reads
//! and writes of rows). The tokens are compared, not a hash of them. What a plan rests on is part of the key too: nothing,
//! a catalog's version, or version and search path.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::classify::{self, Need, Scope};
use super::{Plan, Planned, refuse};
use crate::catalog::{Catalog, SearchPath};
use crate::sql::parse::{ParseFault, Parsed, parse};
use crate::sql::{Kind, Tokens};

/// What the session knows.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub catalog: Option<&'a Catalog>,
    pub search_path: Option<&'a SearchPath>,
    /// The session has made temporary objects.
    pub temporary: bool,
}

/// The statements of one text.
#[derive(Debug, Clone)]
pub struct Script {
    pub statements: Vec<Planned>,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Ready(Script),
    /// Ask again when it is known.
    NeedCatalog,
    NeedSearchPath,
}

/// A plan, and where its statement's first and last tokens are in the list of tokens.
#[derive(Debug)]
struct Entry {
    statements: Vec<(Range<usize>, Arc<Plan>)>,
}

type Entries = HashMap<String, Arc<Entry>>;

/// One for each arbiter: no locks.
#[derive(Debug)]
pub struct PlanCache {
    max_bytes: usize,
    bytes: usize,
    free: Entries,
    by_catalog: HashMap<u64, Entries>,
    by_path: HashMap<(u64, SearchPath), Entries>,
    key: String,
}

/// What an entry takes besides its key, roughly.
const ENTRY: usize = 512;

impl PlanCache {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            free: HashMap::new(),
            by_catalog: HashMap::new(),
            by_path: HashMap::new(),
            key: String::new(),
        }
    }

    pub fn script(&mut self, text: &str, context: &Context<'_>) -> Answer {
        let tokens = Tokens::of(text);
        let mut key = std::mem::take(&mut self.key);
        write_key(&mut key, text, &tokens, context.temporary);
        let answer = match self.find(&key, context) {
            Some(entry) if !tokens.unterminated => Answer::Ready(entry.script(&tokens)),
            _ => self.plan(text, &tokens, &key, context),
        };
        self.key = key;
        answer
    }

    fn find(&self, key: &str, context: &Context<'_>) -> Option<&Arc<Entry>> {
        if let Some(entry) = self.free.get(key) {
            return Some(entry);
        }
        let version = context.catalog?.version;
        if let Some(entry) = self.by_catalog.get(&version).and_then(|entries| entries.get(key)) {
            return Some(entry);
        }
        // A look-up by reference wants an owned pair; the path is an Arc, so that the clone is cheap.
        self.by_path.get(&(version, context.search_path?.clone()))?.get(key)
    }

    fn plan(&mut self, text: &str, tokens: &Tokens, key: &str, context: &Context<'_>) -> Answer {
        let statements = match parse(text, tokens) {
            Ok(statements) => statements,
            Err(fault) => return Answer::Ready(Script { statements: vec![unparsed(text, tokens, &fault)] }),
        };
        let mut need = Need::Nothing;
        let mut planned = Vec::with_capacity(statements.len());
        for statement in &statements {
            match plan_one(text, tokens, statement, context) {
                Ok((plan, needed)) => {
                    need = need.max(needed);
                    planned.push(Planned { span: statement.span.clone(), plan: Arc::new(plan) });
                }
                Err(answer) => return answer,
            }
        }
        if !tokens.unterminated {
            self.keep(key, tokens, &planned, need, context);
        }
        Answer::Ready(Script { statements: planned })
    }

    fn keep(&mut self, key: &str, tokens: &Tokens, planned: &[Planned], need: Need, context: &Context<'_>) {
        let size = key.len() + ENTRY * planned.len().max(1);
        if size > self.max_bytes / 16 {
            return;
        }
        if self.bytes + size > self.max_bytes {
            (self.free, self.by_catalog, self.by_path, self.bytes) = Default::default();
        }
        let position = |at: usize, end: bool| {
            tokens.list.iter().position(|t| if end { t.end as usize == at } else { t.start as usize == at })
        };
        let statements =
            planned.iter().map(|p| Some((position(p.span.start, false)?..position(p.span.end, true)?, p.plan.clone())));
        let Some(statements) = statements.collect::<Option<Vec<_>>>() else { return };
        let entries = match (need, context.catalog, context.search_path) {
            (Need::Nothing, ..) => &mut self.free,
            (Need::Catalog, Some(catalog), _) => self.by_catalog.entry(catalog.version).or_default(),
            (Need::SearchPath, Some(catalog), Some(path)) => {
                self.by_path.entry((catalog.version, path.clone())).or_default()
            }
            _ => return,
        };
        self.bytes += size;
        entries.insert(key.to_owned(), Arc::new(Entry { statements }));
    }
}

impl Entry {
    fn script(&self, tokens: &Tokens) -> Script {
        let span = |range: &Range<usize>| tokens.list[range.start].start as usize..tokens.list[range.end].end as usize;
        let planned = self.statements.iter().map(|(range, plan)| Planned { span: span(range), plan: plan.clone() });
        Script { statements: planned.collect() }
    }
}

fn unparsed(text: &str, tokens: &Tokens, fault: &ParseFault) -> Planned {
    let action = match fault {
        ParseFault::NotUnderstood => super::Action::Unparsed,
        ParseFault::TooDeep(nesting) => refuse::too_deep(*nesting),
        ParseFault::TooLong(length) => refuse::too_long(*length),
    };
    let span = tokens.span(text, 0..text.len()).unwrap_or(0..text.len());
    // All of the text, so that the leader's error is about all of it.
    Planned { span: 0..span.end, plan: Arc::new(Plan::new(action)) }
}

fn plan_one(text: &str, tokens: &Tokens, statement: &Parsed, context: &Context<'_>) -> Result<(Plan, Need), Answer> {
    let calls = classify::look(text, tokens, statement, context.catalog);
    let need = classify::need(statement, &calls, context);
    let (empty_catalog, empty_path) = (Catalog::default(), SearchPath::new(&[]));
    let catalog = match (context.catalog, need) {
        (Some(catalog), _) => catalog,
        (None, Need::Nothing) => &empty_catalog,
        (None, _) => return Err(Answer::NeedCatalog),
    };
    let path = match (context.search_path, need) {
        (Some(path), _) => path,
        (None, Need::SearchPath) => return Err(Answer::NeedSearchPath),
        (None, _) => &empty_path,
    };
    let scope = Scope { sql: text, tokens, span: statement.span.clone(), catalog, path };
    Ok((classify::plan(&scope, &statement.node, &calls), need))
}

/// The text's tokens, with literals masked where they do not matter.
fn write_key(key: &mut String, text: &str, tokens: &Tokens, temporary: bool) {
    key.clear();
    let masks = masks(text, tokens);
    if temporary {
        key.push('\u{1}');
    }
    for token in &tokens.list {
        match token.kind {
            Kind::Text if masks => key.push_str("''"),
            Kind::Number if masks => key.push('0'),
            _ => key.push_str(token.text(text)),
        }
        key.push(' ');
    }
}

/// Whether every statement reads or writes rows, so that no literal decides what it means for replication.
fn masks(text: &str, tokens: &Tokens) -> bool {
    const WORDS: [&str; 6] = ["select", "insert", "update", "delete", "with", "values"];
    let mut begins = true;
    tokens.list.iter().all(|token| {
        let word = token.text(text);
        let first = std::mem::replace(&mut begins, word == ";");
        // The name of the setting decides.
        let sets = token.kind == Kind::Word && word.eq_ignore_ascii_case("set_config");
        !sets && (!first || word == ";" || WORDS.iter().any(|w| w.eq_ignore_ascii_case(word)))
    })
}
