//! DO blocks of DDL, as migration tools write them: `BEGIN CREATE TYPE … EXCEPTION WHEN duplicate_object THEN NULL; END`.
//!
//! Which of its statements take effect only the leader can say: what a condition finds, or whether a name is taken, may be
//! another matter by the time of the commit. So behind each of them the leader is given a mark, a setting that goes back
//! with the subtransaction that an EXCEPTION ends. Followers get the texts of those whose marks are there at the end.
//!
//! Only blocks are let through that are made of BEGIN, IF, EXCEPTION, NULL, RAISE and DDL that goes as text.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::DoStmt;

use super::image::Image;
use super::refuse::refuse;
use super::scope::{Outcome, Scope, Stop};
use super::statement as statements;
use super::{Action, Marks, Plan, calls};
use crate::sql::{Facts, Kind, Statement, Token, lex, scan};

/// What a block may do, and where its marks go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    /// Bytes of the client's statement behind which the list of marks begins.
    start: usize,
    /// Each statement of DDL, and the byte behind its semicolon.
    statements: Vec<(String, usize)>,
    depends: bool,
    defaults: bool,
}

const HINT: &str = "Send its statements one by one.";

pub fn plan(scope: &Scope<'_>, statement: &Statement, block: &DoStmt) -> Outcome {
    scope.reads_literals();
    scope.catalog()?;
    scope.path()?;
    if block.args.iter().any(|arg| !is_option(&arg.node, "as") && !is_plpgsql(&arg.node)) {
        return Err(refuse("a DO block of this language cannot be seen through", HINT).into());
    }
    let tokens = &scope.parsed.tokens[statement.tokens.clone()];
    let quoted = |t: &&Token| t.kind == Kind::String && t.text(scope.sql).first() == Some(&b'$');
    let Some(literal) = tokens.iter().find(quoted) else {
        return Err(refuse("what a DO block writes cannot be seen", "Put its body between dollar quotes.").into());
    };
    let text = &scope.sql[literal.start..literal.end];
    let tag = text[1..].find('$').map_or(0, |end| end + 2);
    let body = text.get(tag..text.len().saturating_sub(tag)).ok_or(Stop::Unknown)?;
    let tokens = lex(body).map_err(|_| hidden())?;
    let mut reader = Reader { scope, body, tokens: &tokens, at: 0, found: Block::default() };
    reader.read()?;
    let mut found = reader.found;
    let before = literal.start + tag - tokens_start(scope, statement);
    found.start += before;
    found.statements.iter_mut().for_each(|(_, end)| *end += before);
    let marks =
        Marks { sequences: true, locks: true, depends: found.depends, defaults: found.defaults, ..Marks::default() };
    Ok(Plan { marks, ..Action::Image(std::sync::Arc::new(Image::of_block(found))).into() })
}

fn tokens_start(scope: &Scope<'_>, statement: &Statement) -> usize {
    scope.parsed.tokens[statement.tokens.start].start
}

fn is_option(node: &Option<NodeEnum>, name: &str) -> bool {
    matches!(node, Some(NodeEnum::DefElem(option)) if option.defname == name)
}

fn is_plpgsql(node: &Option<NodeEnum>) -> bool {
    let Some(NodeEnum::DefElem(option)) = node else { return false };
    let language = option.arg.as_ref().and_then(|arg| arg.node.as_ref());
    option.defname == "language" && matches!(language, Some(NodeEnum::String(s)) if s.sval == "plpgsql")
}

fn hidden() -> Stop {
    refuse("what a DO block writes cannot be seen, but for one of BEGIN, IF, EXCEPTION and DDL alone", HINT).into()
}

struct Reader<'a> {
    scope: &'a Scope<'a>,
    body: &'a str,
    tokens: &'a [Token],
    at: usize,
    found: Block,
}

impl Reader<'_> {
    fn read(&mut self) -> Outcome<()> {
        if !self.takes("begin") {
            return Err(hidden());
        }
        self.found.start = self.tokens[0].end;
        while self.at < self.tokens.len() {
            self.statement()?;
        }
        Ok(())
    }

    fn statement(&mut self) -> Outcome<()> {
        if self.takes("begin") || self.takes("else") || self.takes("exception") {
            return Ok(());
        }
        if self.takes("when") {
            let names = self.until("then")?;
            let plain = |t: &Token| matches!(t.kind, Kind::Word | Kind::String);
            return if self.tokens[names].iter().all(plain) { Ok(()) } else { Err(hidden()) };
        }
        if self.takes("if") || self.takes("elsif") || self.takes("elseif") {
            let condition = self.until("then")?;
            return self.condition(condition);
        }
        let first = self.at;
        let words = self.until_semicolon();
        let starts = |word: &str| self.tokens[first].is_word(self.body, word);
        if words.is_empty() || starts("end") || starts("null") && words.len() == 1 {
            return Ok(());
        }
        if starts("raise") {
            let calls = self.tokens[words].iter().any(|t| t.is(self.body, b'('));
            return if calls { Err(hidden()) } else { Ok(()) };
        }
        self.ddl(words)
    }

    fn takes(&mut self, word: &str) -> bool {
        let there = self.tokens.get(self.at).is_some_and(|t| t.is_word(self.body, word));
        self.at += usize::from(there);
        there
    }

    /// The tokens up to a word, which is passed.
    fn until(&mut self, word: &str) -> Outcome<Range<usize>> {
        let start = self.at;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            if token.is_word(self.body, word) {
                return Ok(start..self.at - 1);
            }
            if token.is(self.body, b';') || token.is_word(self.body, "case") {
                break;
            }
        }
        Err(hidden())
    }

    fn until_semicolon(&mut self) -> Range<usize> {
        let start = self.at;
        while self.tokens.get(self.at).is_some_and(|t| !t.is(self.body, b';')) {
            self.at += 1;
        }
        self.at += 1;
        start..self.at - 1
    }

    fn text(&self, tokens: &Range<usize>) -> &str {
        match self.tokens.get(tokens.clone()) {
            Some([first, .., last]) => &self.body[first.start..last.end],
            Some([only]) => &self.body[only.start..only.end],
            _ => "",
        }
    }

    /// The leader decides; it must not write by that.
    fn condition(&self, tokens: Range<usize>) -> Outcome<()> {
        let query = format!("SELECT {}", self.text(&tokens));
        let judged = scan(&query).and_then(|scanned| {
            scanned.parse(|parsed| match &parsed.statements[..] {
                [one] => {
                    let facts = Facts::of(&one.node);
                    if facts.into || facts.statements.iter().any(|s| *s != "SelectStmt") {
                        return Err(hidden());
                    }
                    calls::check(self.scope, &facts).map(|_| ())
                }
                _ => Err(hidden()),
            })
        });
        judged.unwrap_or_else(|_| Err(hidden()))
    }

    fn ddl(&mut self, tokens: Range<usize>) -> Outcome<()> {
        let text = self.text(&tokens).to_owned();
        // Without its semicolon it is not ended before what comes next.
        let Some(end) = self.tokens.get(tokens.end).map(|semicolon| semicolon.end) else { return Err(hidden()) };
        let planned = scan(&text).and_then(|scanned| {
            scanned.parse(|parsed| match &parsed.statements[..] {
                [one] => statements::plan(&Scope::new(parsed, self.scope.context()), one),
                _ => Err(hidden()),
            })
        });
        match planned {
            Ok(Ok(Plan { action: Action::Ddl(ddl), marks, .. })) if ddl.password.is_none() => {
                self.found.depends |= marks.depends;
                self.found.defaults |= marks.defaults;
                self.found.statements.push((text, end));
                Ok(())
            }
            Ok(Ok(Plan { action: Action::Refuse(fault), .. })) => Err(fault.into()),
            Ok(Err(stop)) => Err(stop),
            _ => Err(hidden()),
        }
    }
}

impl Block {
    /// The client's statement with its marks.
    pub fn marked(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 200 * self.statements.len());
        out.extend_from_slice(&text[..self.start]);
        out.extend_from_slice(b" PERFORM pg_catalog.set_config('lockstep.done', '', true);");
        let mut from = self.start;
        for (number, (_, end)) in self.statements.iter().enumerate() {
            out.extend_from_slice(&text[from..*end]);
            let mark = format!(
                " PERFORM pg_catalog.set_config('lockstep.done', \
                 pg_catalog.concat(pg_catalog.current_setting('lockstep.done'), '{number},'), true);"
            );
            out.extend_from_slice(mark.as_bytes());
            from = *end;
        }
        out.extend_from_slice(&text[from..]);
        out
    }

    /// The texts of what has taken effect, in their order.
    pub fn done(&self, marks: &str) -> Option<Vec<String>> {
        let numbers = marks.split(',').filter(|number| !number.is_empty());
        numbers.map(|number| Some(self.statements.get(number.parse::<usize>().ok()?)?.0.clone())).collect()
    }
}
