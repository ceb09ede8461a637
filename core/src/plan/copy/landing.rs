//! COPY whose rows the leader makes whole, for a value is left to it, or a row is left out by it.
//!
//! On the leader the client's data goes into a private temporary table that has just the columns of the data, the *landing
//! table*; an INSERT moves its rows on into the client's table, and its RETURNING tells what followers get. The landing
//! table lives within one statement of the client, so nobody sees it, and a second COPY finds its name free.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, Node};

use crate::catalog::{Column, Relation};
use crate::plan::refuse::refuse;
use crate::plan::scope::{Outcome, Scope, Stop};
use crate::plan::{Write, write};
use crate::quote::{quote_identifier, quote_qualified};
use crate::sql::{Facts, Statement, Token, lex};

/// The landing table's name, which stands in the leader's errors.
pub const NAME: &str = "lockstep_landing";

pub const DROP: &str = "DROP TABLE pg_temp.lockstep_landing";

/// COPY … FROM through a landing table.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRows {
    /// The leader reads the data from a file, the client sends none.
    pub of_file: bool,
    /// The client's table, without its schema, as errors name it.
    pub table: String,
    /// Makes the landing table.
    pub create: String,
    /// The landing table with its columns, as it stands in COPY.
    target: String,
    /// Moves the rows; the client's WHERE and [`Write::append`] come behind it.
    insert: String,
    pub write: Arc<Write>,
    /// Tokens of the client's statement for which `target` stands.
    replaced: Range<usize>,
    /// The token at which its WHERE begins.
    condition: Option<usize>,
}

/// What the leader is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    pub copy: Bytes,
    pub insert: Bytes,
    /// How many characters further on, in the client's statement, something stands that is in `copy`.
    pub copy_shift: i64,
    /// The same for its WHERE in `insert`.
    pub insert_shift: Option<i64>,
}

pub fn plan(
    scope: &Scope<'_>,
    statement: &Statement,
    relation: &Relation,
    copy: &CopyStmt,
    columns: &[&Column],
) -> Outcome<CopyRows> {
    if let Some(trigger) = scope.catalog()?.event_triggers.first() {
        let reason = format!("the event trigger {trigger} would fire for the table through which COPY goes");
        return Err(refuse(reason, "Give all columns in the data, or use INSERT.").into());
    }
    if copy.options.iter().any(is_default) {
        let reason = "COPY has the option DEFAULT, and a default differs between servers";
        return Err(refuse(reason, "Give the values.").into());
    }
    if let Some(condition) = &copy.where_clause {
        given_only(&Facts::of(condition), relation, columns)?;
    }
    let (replaced, condition) =
        places(&scope.parsed.tokens[statement.tokens.clone()], scope.sql).ok_or(Stop::Unknown)?;
    let names: Vec<String> = columns.iter().map(|c| quote_identifier(&c.name)).collect();
    let names = names.join(", ");
    let table = quote_qualified(&relation.schema, &relation.name);
    Ok(CopyRows {
        of_file: !copy.filename.is_empty(),
        table: relation.name.clone(),
        create: format!("CREATE TEMPORARY TABLE {NAME} AS SELECT {names} FROM {table} WITH NO DATA"),
        target: format!("pg_temp.{NAME} ({names}) "),
        insert: format!("INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM pg_temp.{NAME} "),
        write: Arc::new(write::of_copy(scope, copy.relation.as_ref().ok_or(Stop::Unknown)?, relation)?),
        replaced,
        condition: condition.filter(|_| copy.where_clause.is_some()),
    })
}

fn is_default(option: &Node) -> bool {
    matches!(&option.node, Some(NodeEnum::DefElem(option)) if option.defname == "default")
}

/// The landing table has no other columns, and another row type.
fn given_only(condition: &Facts, relation: &Relation, columns: &[&Column]) -> Outcome<()> {
    if !condition.statements.is_empty() {
        // A subquery: COPY has none.
        return Err(Stop::Unknown);
    }
    let given = |name: &&String| **name != relation.name && columns.iter().any(|c| c.name == **name);
    match condition.attributes.iter().find(|name| !given(name)) {
        None => Ok(()),
        Some(name) if *name != relation.name && relation.column(name).is_none() => Err(Stop::Unknown),
        Some(name) => {
            let reason = format!("COPY has a WHERE with {name}, which is no plain name of a column in the data");
            Err(refuse(reason, "Name only columns that the data has, without the table's name.").into())
        }
    }
}

/// Where the table with its columns stands, and where WHERE does. FROM and WHERE are reserved words.
fn places(tokens: &[Token], sql: &str) -> Option<(Range<usize>, Option<usize>)> {
    let from = tokens.iter().position(|t| t.is_word(sql, "from"))?;
    let old_binary =
        from > 2 && tokens[1].is_word(sql, "binary") && !tokens[2].is(sql, b'(') && !tokens[2].is(sql, b'.');
    let mut depth = 0usize;
    let mut condition = None;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        if token.is(sql, b'(') {
            depth += 1;
        } else if token.is(sql, b')') {
            depth = depth.checked_sub(1)?;
        } else if depth == 0 && token.is_word(sql, "where") {
            condition.get_or_insert(at);
        }
    }
    Some((1 + usize::from(old_binary)..from, condition))
}

impl CopyRows {
    /// The client's statement, put together anew; `readable` is the same text where `text` is no UTF-8. `None`: it is not
    /// the statement that was planned.
    pub fn texts(&self, text: &[u8], readable: &str) -> Option<Texts> {
        let tokens = lex(readable).ok()?;
        let (start, end) = (tokens.get(self.replaced.start)?.start, tokens.get(self.replaced.end)?.start);
        let condition = match self.condition {
            Some(at) => Some(tokens.get(at)?.start),
            None => None,
        };
        let rest = condition.unwrap_or(text.len());
        let copy = [&text[..start], self.target.as_bytes(), &text[end..rest]].concat();
        let insert = [self.insert.as_bytes(), &text[rest..], self.write.append.as_bytes()].concat();
        let characters = |text: &str| text.chars().count() as i64;
        Some(Texts {
            copy: copy.into(),
            insert: insert.into(),
            copy_shift: characters(&readable[start..end]) - characters(&self.target),
            insert_shift: condition.map(|at| characters(&readable[..at]) - characters(&self.insert)),
        })
    }

    /// Bytes that it takes, roughly.
    pub(in crate::plan) fn weight(&self) -> usize {
        size_of::<Self>() + self.create.len() + self.target.len() + self.insert.len() + self.write.weight()
    }
}
