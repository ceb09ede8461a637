//! The only file that calls pg_query (libpg_query, PostgreSQL's own grammar in C).

use std::ops::Range;

use pg_query::NodeEnum;

use super::Tokens;
use crate::limits;

/// One statement of a text.
#[derive(Debug)]
pub struct Parsed {
    pub node: NodeEnum,
    /// From its first token to the end of its last, in bytes.
    pub span: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseFault {
    /// Not SQL that this grammar knows. PostgreSQL has the last word, and its error is better than ours.
    #[error("the text is not understood")]
    NotUnderstood,
    #[error("the text has {0} bytes; {max} are the most that is read", max = limits::SQL_TEXT)]
    TooLong(usize),
    #[error("the text is nested {0} deep; {max} is the most that is read", max = limits::SQL_NESTING)]
    TooDeep(usize),
}

pub fn parse(sql: &str, tokens: &Tokens) -> Result<Vec<Parsed>, ParseFault> {
    if sql.len() > limits::SQL_TEXT {
        return Err(ParseFault::TooLong(sql.len()));
    }
    let nesting = tokens.nesting(sql);
    if nesting > limits::SQL_NESTING {
        return Err(ParseFault::TooDeep(nesting));
    }
    let result = pg_query::parse(sql, 0).map_err(|_| ParseFault::NotUnderstood)?;
    let statements = result.protobuf.stmts.into_iter().map(|raw| {
        let start = usize::try_from(raw.stmt_location).ok()?;
        let end = match usize::try_from(raw.stmt_len).ok()? {
            0 => sql.len(),
            length => start + length,
        };
        let span = tokens.span(sql, start..end)?;
        Some(Parsed { node: raw.stmt?.node?, span })
    });
    statements.collect::<Option<Vec<_>>>().ok_or(ParseFault::NotUnderstood)
}
