//! COPY that goes to followers as the client's own data: no value may be the server's to choose.

use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, DefElem, Node};

use super::string;
use crate::catalog::{Catalog, Column, Relation};
use crate::plan::CopyIn;
use crate::plan::scope::{Outcome, Stop};
use crate::quote::{quote_identifier, quote_literal, quote_qualified};
use crate::wire::frontend::Format;

/// The COPY for followers; `None` where a server has a say in what the rows become.
pub fn plan(
    catalog: &Catalog,
    relation: &Relation,
    statement: &CopyStmt,
    columns: &[&Column],
) -> Outcome<Option<CopyIn>> {
    let Some(options) = Options::read(&statement.options)? else { return Ok(None) };
    let named = options.binary && columns.iter().any(|c| c.format == Format::Text);
    let inexact = columns.iter().any(|c| !c.exact);
    if statement.where_clause.is_some() || named || inexact || chosen(catalog, relation, columns) {
        return Ok(None);
    }
    let names: Vec<String> = columns.iter().map(|c| quote_identifier(&c.name)).collect();
    let table = quote_qualified(&relation.schema, &relation.name);
    let follower_sql = format!("COPY {table} ({}) FROM STDIN{}", names.join(", "), options.sql());
    let temporal = columns.iter().any(|c| c.temporal);
    Ok(Some(CopyIn { follower_sql, deferrable: catalog.deferrable, temporal }))
}

/// Whether a server chooses a value that the data leaves out.
fn chosen(catalog: &Catalog, relation: &Relation, given: &[&Column]) -> bool {
    let left_out = |c: &&Column| !c.generated && !given.iter().any(|g| g.name == c.name);
    relation.columns.iter().filter(left_out).any(|c| server_chooses(c) || catalog.has_domain_default(c))
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
}

impl Options {
    /// `None`: one of them makes more of the data than its values.
    fn read(options: &[Node]) -> Outcome<Option<Self>> {
        let mut read = Self::default();
        for node in options {
            let Some(NodeEnum::DefElem(option)) = &node.node else { return Err(Stop::Unknown) };
            if !read.option(option)? {
                return Ok(None);
            }
        }
        Ok(Some(read))
    }

    fn option(&mut self, option: &DefElem) -> Outcome<bool> {
        let argument = option.arg.as_deref();
        match option.defname.as_str() {
            "freeze" => return Ok(true),
            "format" => self.binary = argument.and_then(string) == Some("binary"),
            "delimiter" | "null" | "header" | "quote" | "escape" | "encoding" | "force_quote" | "force_not_null"
            | "force_null" | "log_verbosity" => {}
            _ => return Ok(false),
        }
        let value = argument.map(value).transpose()?;
        let value = value.map(|v| format!(" {v}")).unwrap_or_default();
        self.list.push(format!("{}{value}", quote_identifier(&option.defname)));
        Ok(true)
    }

    fn sql(&self) -> String {
        if self.list.is_empty() { String::new() } else { format!(" WITH ({})", self.list.join(", ")) }
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
