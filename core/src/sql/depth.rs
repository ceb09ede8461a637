//! How deep the tree of a text can be, from its tokens alone.
//!
//! The parser, the reader of its tree and the tree's own destructor are recursive; a session's thread has 2 MiB of stack.
//! So a text is measured before it is parsed, and a deep one gets a stack of its own. The measure is an upper bound: brackets nest, `CASE` nests, and operators,
//! joins and set operations form chains that are as deep as they are long.

use super::lexer::{Kind, Token};
use crate::limits;

/// The text may be deeper than [`limits::SQL_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the statement is nested too deep")]
pub struct TooDeep;

/// A subquery in brackets takes as much stack as so many operators.
const BRACKET: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Opened {
    #[default]
    Statement,
    Bracket,
    Case,
}

/// What is between two brackets, or CASE and END.
#[derive(Clone, Copy, Default)]
struct Level {
    opened: Opened,
    /// Set operations and joins: they end with the bracket.
    clauses: usize,
    /// Operators: they end with the expression.
    operators: usize,
}

impl Level {
    fn depth(self) -> usize {
        BRACKET + self.clauses + self.operators
    }
}

/// The depth of the deepest place, as [`limits::SQL_DEPTH`] counts it.
pub fn measure(sql: &str, tokens: &[Token]) -> Result<usize, TooDeep> {
    let mut deepest = 0;
    let mut nest = Nest::default();
    let mut attribute = false;
    for token in tokens {
        // Behind a dot every keyword is a name.
        let effect = if attribute && token.kind == Kind::Word { Effect::None } else { effect(sql, token) };
        attribute = token.is(sql, b'.');
        nest.apply(effect);
        deepest = deepest.max(nest.outer + nest.inner.depth());
        if deepest > limits::SQL_DEPTH {
            return Err(TooDeep);
        }
    }
    Ok(deepest)
}

#[derive(Default)]
struct Nest {
    open: Vec<Level>,
    /// The depth of all levels that are open around the innermost.
    outer: usize,
    inner: Level,
}

impl Nest {
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Open(opened) => {
                self.outer += self.inner.depth();
                self.open.push(self.inner);
                self.inner = Level { opened, ..Level::default() };
            }
            Effect::CloseBracket => {
                while self.inner.opened == Opened::Case {
                    self.close();
                }
                self.close();
            }
            // As a label END closes nothing.
            Effect::CloseCase if self.inner.opened == Opened::Case => self.close(),
            Effect::CloseCase | Effect::None => {}
            Effect::Operators(count) => self.inner.operators += count,
            Effect::Clause => self.inner.clauses += 1,
            Effect::NextExpression => self.inner.operators = 0,
            Effect::NextStatement if self.inner.opened == Opened::Statement => self.inner = Level::default(),
            Effect::NextStatement => {}
        }
    }

    fn close(&mut self) {
        if let Some(level) = self.open.pop() {
            self.inner = level;
            self.outer -= level.depth();
            // What follows may be applied to what was closed: `(a)[1].b`.
            self.inner.operators += 1;
        }
    }
}

enum Effect {
    None,
    Open(Opened),
    CloseBracket,
    CloseCase,
    /// So many at most.
    Operators(usize),
    Clause,
    NextExpression,
    NextStatement,
}

fn effect(sql: &str, token: &Token) -> Effect {
    match token.kind {
        Kind::Operator => Effect::Operators(token.end - token.start),
        Kind::Punctuation => match token.text(sql) {
            b"(" | b"[" => Effect::Open(Opened::Bracket),
            b")" | b"]" => Effect::CloseBracket,
            b":" => Effect::Operators(1),
            b"," => Effect::NextExpression,
            b";" => Effect::NextStatement,
            _ => Effect::None,
        },
        Kind::Word if token.end - token.start <= LONGEST => word(token.text(sql)),
        _ => Effect::None,
    }
}

/// `intersect`, the longest keyword below.
const LONGEST: usize = 9;

fn word(text: &[u8]) -> Effect {
    let mut lower = [0; LONGEST];
    let lower = &mut lower[..text.len()];
    lower.copy_from_slice(text);
    lower.make_ascii_lowercase();
    match &*lower {
        b"case" => Effect::Open(Opened::Case),
        b"end" => Effect::CloseCase,
        b"union" | b"intersect" | b"except" | b"join" => Effect::Clause,
        b"not" | b"is" | b"isnull" | b"notnull" | b"in" | b"like" | b"ilike" | b"similar" | b"between" | b"collate"
        | b"at" | b"operator" | b"overlaps" => Effect::Operators(1),
        // Reserved words only: others may be names in the midst of a chain. AND and OR make flat lists.
        b"and" | b"or" | b"when" | b"then" | b"else" | b"select" | b"from" | b"where" | b"group" | b"order"
        | b"having" | b"returning" | b"on" | b"using" | b"limit" => Effect::NextExpression,
        _ => Effect::None,
    }
}

/// Runs what walks a tree of this depth, on a stack that is large enough for it.
pub fn with_stack<T>(depth: usize, walk: impl FnOnce() -> T) -> T {
    let needed = SLACK + depth * PER_LEVEL;
    stacker::maybe_grow(needed, needed, walk)
}

/// Measured for an operator: up to 50 KiB, by how the code was optimised. Pages that are not touched cost nothing.
const PER_LEVEL: usize = 64 << 10;

/// For what does not grow with the depth, and what PostgreSQL's own guard wants to be left (`STACK_DEPTH_SLOP`).
const SLACK: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    fn deep(sql: &str) -> bool {
        measure(sql, &lex(sql).unwrap()).is_err()
    }

    #[test]
    fn brackets_operators_joins_and_unions_are_counted() {
        let n = 100_000;
        assert!(deep(&format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n))));
        assert!(deep(&format!("SELECT 1{}", "+1".repeat(n))));
        assert!(deep(&format!("SELECT {}true", "NOT ".repeat(n))));
        assert!(deep(&format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(n), " END".repeat(n))));
        assert!(deep(&format!("SELECT 1{}", " UNION SELECT 1".repeat(n))));
        assert!(deep(&format!("SELECT 1 FROM a{}", " JOIN b ON true".repeat(n))));
        assert!(deep(&format!("SELECT 1{}", "::int".repeat(n))));
        assert!(deep(&format!("SELECT a{}", "[1]".repeat(n))));
    }

    #[test]
    fn names_that_look_like_keywords_hide_nothing() {
        let n = 10_000;
        assert!(deep(&format!("SELECT 1{}", " + a.or".repeat(n))));
        assert!(deep(&format!("SELECT {}1", "(SELECT 1 AS end, ".repeat(n))));
        assert!(deep(&format!("SELECT 1{}", " + values + set".repeat(n))));
    }

    #[test]
    fn long_lists_are_not_deep() {
        let n = 100_000;
        assert!(!deep(&format!("INSERT INTO t VALUES (1, 'a'){}", ", (-1 + 2, now())".repeat(n))));
        assert!(!deep(&format!("SELECT 1 WHERE a = 1{}", " OR a = 1 AND b <> 2".repeat(n))));
        assert!(!deep(&"SELECT 1+1; ".repeat(n)));
        assert!(!deep(&format!("SELECT f(1){}", ", f(1)".repeat(n))));
    }
}
