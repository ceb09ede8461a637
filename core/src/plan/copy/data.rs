//! COPY that goes to followers as the client's own data: no value may be the server's to choose.

use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, DefElem, Node};

use super::string;
use crate::catalog::{Catalog, Column, Relation};
use crate::plan::scope::{Outcome, Stop};
use crate::plan::{CopyIn, Quoting, Times};
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
    let same = |column: &&Column| match options.format.as_str() {
        "binary" => column.format == Format::Binary,
        _ => column.reads_alike,
    };
    if statement.where_clause.is_some() || !columns.iter().all(same) || chosen(catalog, relation, columns) {
        return Ok(None);
    }
    let names: Vec<String> = columns.iter().map(|c| quote_identifier(&c.name)).collect();
    let table = quote_qualified(&relation.schema, &relation.name);
    let follower_sql = format!("COPY {table} ({}) FROM STDIN{}", names.join(", "), options.sql());
    Ok(Some(CopyIn { follower_sql, deferrable: catalog.defers(relation), times: options.times(columns) }))
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

/// COPY's options, to be written again, and what is known of the data by them.
#[derive(Default)]
struct Options {
    list: Vec<String>,
    /// `text`, if it is not said.
    format: String,
    delimiter: Option<u8>,
    quote: Option<u8>,
    escape: Option<u8>,
    header: bool,
    /// The data is in an encoding of its own.
    encoded: bool,
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
        let byte = || argument.and_then(string).and_then(|text| text.bytes().next());
        match option.defname.as_str() {
            "freeze" => return Ok(true),
            "format" => self.format = argument.and_then(string).unwrap_or_default().to_owned(),
            "delimiter" => self.delimiter = byte(),
            "quote" => self.quote = byte(),
            "escape" => self.escape = byte(),
            "header" => self.header = is_header(argument),
            "encoding" => self.encoded = true,
            "null" | "force_quote" | "force_not_null" | "force_null" | "log_verbosity" => {}
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

    fn times(&self, columns: &[&Column]) -> Option<Times> {
        if self.format == "binary" || !columns.iter().any(|c| c.temporal) {
            return None;
        }
        let csv = self.format == "csv";
        let quote = self.quote.unwrap_or(b'"');
        Some(Times {
            // In another encoding a byte may look like a delimiter.
            columns: columns.iter().map(|c| c.temporal || self.encoded).collect(),
            delimiter: self.delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
            quoting: csv.then_some(Quoting { quote, escape: self.escape.unwrap_or(quote) }),
            header: self.header,
        })
    }
}

/// Whether the first line is one of names; where that is not sure, its words count.
fn is_header(argument: Option<&Node>) -> bool {
    match argument.map(|a| &a.node) {
        None => true,
        Some(Some(NodeEnum::Boolean(b))) => b.boolval,
        Some(Some(NodeEnum::Integer(i))) => i.ival == 1,
        Some(Some(NodeEnum::String(s))) => ["true", "on", "match"].iter().any(|on| s.sval.eq_ignore_ascii_case(on)),
        _ => false,
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
