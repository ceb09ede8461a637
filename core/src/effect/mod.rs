//! What a write did, in a form that gives the same rows on every node that holds the rows it touched.
//!
//! An effect is *rows by key*: the leader's own new rows (or the keys of those that are gone), read from RETURNING. No
//! expression of a client is ever evaluated on a follower. The statements that followers are sent are made here, from
//! catalog names alone; values travel as parameters, in binary wherever a type's binary form means the same everywhere.

pub mod rows;

pub use rows::{EffectColumn, RowEffect, RowKind, Template, TemplateId};

/// An identifier in double quotes.
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant that means the same whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_inside_do_not_end_a_name_or_literal() {
        assert_eq!(quote_name("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), "E'a\\\\''b'");
    }
}
