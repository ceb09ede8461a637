//! COPY. The data goes to followers as the client sent it, so no value may be the server's to choose.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, DefElem, Node};

use super::refuse::refuse;
use super::safety::{self, Change};
use super::scope::{Outcome, Scope, Stop};
use super::{Action, CopyIn, Marks, Plan, calls};
use crate::catalog::{Column, Event, Relation};
use crate::fault::Fault;
use crate::quote::{quote_identifier, quote_literal, quote_qualified};
use crate::sql::Facts;
use crate::wire::frontend::Format;

pub fn plan(scope: &Scope<'_>, statement: &CopyStmt, facts: &Facts) -> Outcome {
    if statement.is_program || !statement.filename.is_empty() {
        let hint = "COPY … FROM STDIN or TO STDOUT, psql's \\copy.";
        return Err(refuse("COPY would use a file or program of one server", hint).into());
    }
    if statement.is_from { from_stdin(scope, statement, facts) } else { to_stdout(scope, facts) }
}

fn to_stdout(scope: &Scope<'_>, facts: &Facts) -> Outcome {
    if facts.statements.iter().skip(1).any(|s| *s != "SelectStmt") {
        return Err(refuse("COPY holds a statement that writes", "Run the write as a statement of its own.").into());
    }
    let marks = calls::check(scope, facts)?;
    Ok(Plan { marks, ..Action::Leader.into() })
}

fn from_stdin(scope: &Scope<'_>, statement: &CopyStmt, facts: &Facts) -> Outcome {
    let range = statement.relation.as_ref().ok_or(Stop::Unknown)?;
    let catalog = scope.catalog()?;
    let relation = scope.relation_of(range)?.ok_or(Stop::Unknown)?;
    calls::check(scope, facts)?;
    if relation.temporary {
        safety::temporary(catalog, relation)?;
        let mut marks = Marks::default();
        calls::note_effect(safety::defaults(catalog, relation), &mut marks);
        return Ok(Plan { marks, ..Action::Leader.into() });
    }
    safety::check(catalog, relation, Change { event: Event::Insert, assigned: &[], defaults: true }, true)?;
    // The data goes on in the encoding in which it comes: that must be known.
    scope.converts()?;
    if statement.where_clause.is_some() {
        return Err(refuse("COPY has a WHERE, which each server would evaluate by itself", "Filter the data.").into());
    }
    let columns = columns(relation, &statement.attlist)?;
    let options = Options::read(&statement.options)?;
    if options.defaults && relation.columns.iter().any(server_chooses) {
        return Err(
            refuse("COPY has the option DEFAULT, and a default differs between servers", "Give the values.").into()
        );
    }
    if options.binary && columns.iter().any(|c| c.format == Format::Text) {
        let reason = "binary COPY data has numbers of types, which differ between servers";
        return Err(refuse(reason, "Use the text or csv format.").into());
    }
    if let Some(column) = columns.iter().find(|c| !c.exact) {
        let reason = format!("the text of {} depends on settings of the session", column.name);
        return Err(refuse(reason, "Use INSERT, or a type without names of objects.").into());
    }
    omitted(relation, &columns)?;
    let names: Vec<String> = columns.iter().map(|c| quote_identifier(&c.name)).collect();
    let table = quote_qualified(&relation.schema, &relation.name);
    let follower_sql = format!("COPY {table} ({}) FROM STDIN{}", names.join(", "), options.sql());
    let temporal = columns.iter().any(|c| c.temporal);
    Ok(Action::CopyIn(Arc::new(CopyIn { follower_sql, deferrable: catalog.defers(relation), temporal })).into())
}

/// The columns that the data has: all but generated ones, unless they are named.
fn columns<'a>(relation: &'a Relation, named: &[Node]) -> Outcome<Vec<&'a Column>> {
    if named.is_empty() {
        return Ok(relation.columns.iter().filter(|c| !c.generated).collect());
    }
    named.iter().map(|node| string(node).and_then(|name| relation.column(name)).ok_or(Stop::Unknown)).collect()
}

/// Each server fills in what the data leaves out: that must be the same everywhere.
fn omitted(relation: &Relation, given: &[&Column]) -> Result<(), Fault> {
    let left_out = |c: &&Column| !c.generated && !given.iter().any(|g| g.name == c.name);
    match relation.columns.iter().filter(left_out).find(|c| server_chooses(c)) {
        None => Ok(()),
        Some(column) => {
            let reason = format!("COPY leaves out {}, whose value each server would choose by itself", column.name);
            Err(refuse(reason, "Give the column in the data, or use INSERT."))
        }
    }
}

fn server_chooses(column: &Column) -> bool {
    column.moves_sequence() || column.default.as_deref().is_some_and(|d| !is_constant(d))
}

/// Whether an expression, as the server prints it, is a plain constant: `'a'::text`, `-1`, `NULL::integer`, `true`.
fn is_constant(expression: &str) -> bool {
    let rest = match expression.strip_prefix('\'') {
        Some(body) => match literal_end(body) {
            Some(end) => &body[end..],
            None => return false,
        },
        None => {
            let end = expression.find("::").unwrap_or(expression.len());
            let (value, rest) = expression.split_at(end);
            let value = value.strip_prefix('(').and_then(|v| v.strip_suffix(')')).unwrap_or(value);
            let number = value.strip_prefix('-').unwrap_or(value);
            let numeric = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            if !numeric && !matches!(value, "true" | "false" | "NULL" | "ARRAY[]") {
                return false;
            }
            rest
        }
    };
    rest.is_empty() || rest.strip_prefix("::").is_some_and(is_type)
}

/// One behind the quote that ends a literal.
fn literal_end(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn is_type(name: &str) -> bool {
    !name.contains("::")
        && !name.starts_with("reg")
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ' ' | '.' | '"' | '(' | ')' | '[' | ']' | ','))
}

/// COPY's options, to be written again.
#[derive(Default)]
struct Options {
    list: Vec<String>,
    binary: bool,
    defaults: bool,
}

impl Options {
    fn read(options: &[Node]) -> Outcome<Self> {
        let mut read = Self::default();
        for node in options {
            let Some(NodeEnum::DefElem(option)) = &node.node else { return Err(Stop::Unknown) };
            read.option(option)?;
        }
        Ok(read)
    }

    fn option(&mut self, option: &DefElem) -> Outcome<()> {
        let argument = option.arg.as_deref();
        match option.defname.as_str() {
            "freeze" => return Ok(()),
            "format" => self.binary = argument.and_then(string) == Some("binary"),
            "default" => self.defaults = true,
            "delimiter" | "null" | "header" | "quote" | "escape" | "encoding" | "force_quote" | "force_not_null"
            | "force_null" | "log_verbosity" => {}
            name => {
                let reason = format!("COPY has the option {name}, which may leave rows out");
                return Err(refuse(reason, "Correct the data, and leave the option out.").into());
            }
        }
        let value = argument.map(value).transpose()?;
        let value = value.map(|v| format!(" {v}")).unwrap_or_default();
        self.list.push(format!("{}{value}", quote_identifier(&option.defname)));
        Ok(())
    }

    fn sql(&self) -> String {
        if self.list.is_empty() { String::new() } else { format!(" WITH ({})", self.list.join(", ")) }
    }
}

fn string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(s)) => Some(&s.sval),
        _ => None,
    }
}

fn value(node: &Node) -> Outcome<String> {
    match &node.node {
        Some(NodeEnum::String(s)) => Ok(quote_literal(&s.sval)),
        Some(NodeEnum::Integer(i)) => Ok(i.ival.to_string()),
        Some(NodeEnum::Boolean(b)) => Ok(b.boolval.to_string()),
        Some(NodeEnum::AStar(_)) => Ok("*".to_owned()),
        Some(NodeEnum::List(list)) => {
            let names: Option<Vec<String>> = list.items.iter().map(|n| string(n).map(quote_identifier)).collect();
            Ok(format!("({})", names.ok_or(Stop::Unknown)?.join(", ")))
        }
        _ => Err(Stop::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_told_from_what_a_server_chooses() {
        for constant in [
            "1",
            "(-1)",
            "'-1'::integer",
            "'it''s'::text",
            "true",
            "NULL::character varying",
            "ARRAY[]::text[]",
            "'{}'::jsonb",
            "'2020-01-01'::date",
            "0.5",
            "'a'::\"My Type\"",
        ] {
            assert!(is_constant(constant), "{constant}");
        }
        for chosen in [
            "now()",
            "CURRENT_TIMESTAMP",
            "nextval('s'::regclass)",
            "('now'::text)::date",
            "gen_random_uuid()",
            "'a'::text || 'b'::text",
            "CURRENT_USER",
            "'pg_class'::regclass",
            "(1 + 1)",
            "",
        ] {
            assert!(!is_constant(chosen), "{chosen}");
        }
    }
}
