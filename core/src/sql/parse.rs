//! The one place that calls PostgreSQL's grammar.

use std::ops::Range;

use pg_query::NodeEnum;

use super::depth;
use super::lexer::{Token, lex};
use crate::limits;

/// A text's tokens, known to be no deeper than what can be parsed.
#[derive(Debug)]
pub struct Scanned<'a> {
    pub sql: &'a str,
    pub tokens: Vec<Token>,
    depth: usize,
}

/// A text's statements, and its tokens.
#[derive(Debug)]
pub struct Parsed<'a> {
    pub sql: &'a str,
    pub tokens: Vec<Token>,
    pub statements: Vec<Statement>,
}

#[derive(Debug)]
pub struct Statement {
    /// The statement's first and one behind its last token, without semicolon.
    pub tokens: Range<usize>,
    pub node: NodeEnum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unparsed {
    #[error("not understood")]
    Syntax,
    #[error("the text is too long")]
    TooLong,
    #[error("the statement is nested too deep")]
    TooDeep,
}

pub fn scan(sql: &str) -> Result<Scanned<'_>, Unparsed> {
    if sql.len() > limits::SQL_TEXT {
        return Err(Unparsed::TooLong);
    }
    let tokens = lex(sql).map_err(|_| Unparsed::Syntax)?;
    let depth = depth::measure(sql, &tokens).map_err(|_| Unparsed::TooDeep)?;
    Ok(Scanned { sql, tokens, depth })
}

impl<'a> Scanned<'a> {
    /// Parses the text and has its tree looked at. The tree lives no longer, for it takes a deep stack to drop it, too.
    pub fn parse<T>(self, look: impl FnOnce(&Parsed<'a>) -> T) -> Result<T, Unparsed> {
        depth::with_stack(self.depth, || Ok(look(&self.tree()?)))
    }

    fn tree(self) -> Result<Parsed<'a>, Unparsed> {
        let Self { sql, tokens, .. } = self;
        if tokens.iter().all(|t| t.is(sql, b';')) {
            return Ok(Parsed { sql, tokens, statements: Vec::new() });
        }
        let tree = pg_query::parse(sql, pg_query::ParserOptions::DEFAULT).map_err(|error| match error {
            pg_query::Error::Parse(message)
                if message.contains("stack depth") || message.contains("nested too deep") =>
            {
                Unparsed::TooDeep
            }
            _ => Unparsed::Syntax,
        })?;
        let mut statements = Vec::with_capacity(tree.protobuf.stmts.len());
        for raw in tree.protobuf.stmts {
            let bytes = extent(raw.stmt_location, raw.stmt_len, sql.len()).ok_or(Unparsed::Syntax)?;
            let node = raw.stmt.and_then(|stmt| stmt.node).ok_or(Unparsed::Syntax)?;
            let tokens = within(sql, &tokens, &bytes).ok_or(Unparsed::Syntax)?;
            statements.push(Statement { tokens, node });
        }
        Ok(Parsed { sql, tokens, statements })
    }
}

/// Where tokens stand in the text.
pub fn span(tokens: &[Token], range: &Range<usize>) -> Range<usize> {
    match tokens.get(range.clone()) {
        Some([first, .., last]) => first.start..last.end,
        Some([only]) => only.start..only.end,
        _ => 0..0,
    }
}

/// A length of 0 means: to the end of the text.
fn extent(location: i32, length: i32, whole: usize) -> Option<Range<usize>> {
    let start = usize::try_from(location).ok()?;
    let end = match usize::try_from(length).ok()? {
        0 => whole,
        length => start.checked_add(length)?,
    };
    (start <= end && end <= whole).then_some(start..end)
}

/// The tokens that stand within these bytes, without semicolons at either end.
fn within(sql: &str, tokens: &[Token], bytes: &Range<usize>) -> Option<Range<usize>> {
    let mut start = tokens.partition_point(|t| t.start < bytes.start);
    let mut end = tokens.partition_point(|t| t.end <= bytes.end);
    while start < end && tokens[start].is(sql, b';') {
        start += 1;
    }
    while start < end && tokens[end - 1].is(sql, b';') {
        end -= 1;
    }
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(sql: &str) -> Vec<&str> {
        let spans = |parsed: &Parsed<'_>| parsed.statements.iter().map(|s| span(&parsed.tokens, &s.tokens)).collect();
        let spans: Vec<Range<usize>> = scan(sql).unwrap().parse(spans).unwrap();
        spans.into_iter().map(|s| &sql[s]).collect()
    }

    #[test]
    fn statements_end_with_their_last_token() {
        assert_eq!(
            spans(" ;; SELECT 1 /* ; */ ; -- x\n UPDATE t SET a = ';' -- end\n"),
            ["SELECT 1", "UPDATE t SET a = ';'"]
        );
        assert_eq!(
            spans("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3"),
            ["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", "SELECT 3"]
        );
        assert!(spans("/* nothing */ ;").is_empty());
        assert_eq!(spans("SELECT 'é'; SELECT 2;"), ["SELECT 'é'", "SELECT 2"]);
    }

    fn count(sql: &str) -> Result<usize, Unparsed> {
        scan(sql)?.parse(|parsed| parsed.statements.len())
    }

    #[test]
    fn deep_and_long_texts_are_refused() {
        let n = 100_000;
        for deep in [
            format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
            format!("SELECT 1{}", "+1".repeat(n)),
            format!("SELECT {}1", "+".repeat(n)),
            format!("SELECT {}1", "- ".repeat(n)),
            "(".repeat(n),
        ] {
            assert_eq!(count(&deep), Err(Unparsed::TooDeep));
        }
        assert_eq!(count(&" ".repeat(limits::SQL_TEXT + 1)), Err(Unparsed::TooLong));
    }

    #[test]
    fn what_is_not_refused_is_parsed_on_the_stack_of_any_thread() {
        let forms = [
            ("(SELECT ", ")"),
            ("(", ")"),
            ("CASE WHEN true THEN ", " END"),
            ("f(", ")"),
            ("NOT ", ""),
            ("* FROM (SELECT ", ") a"),
        ];
        for (open, close) in forms {
            for n in [50, limits::SQL_DEPTH / 4 - 4, limits::SQL_DEPTH - 8] {
                let sql = format!("SELECT {}a{}", open.repeat(n), close.repeat(n));
                assert!(matches!(count(&sql), Ok(1) | Err(Unparsed::TooDeep)), "{open} {n}");
            }
        }
    }

    #[test]
    fn ordinary_depth_is_no_obstacle() {
        for sql in [
            format!("SELECT 1{}", "+1".repeat(300)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(300)),
            format!("SELECT 1 FROM a{}", " JOIN b USING (c)".repeat(200)),
            format!("SELECT {}1{}", "(SELECT ".repeat(75), ")".repeat(75)),
        ] {
            assert_eq!(count(&sql), Ok(1), "{sql}");
        }
    }
}
