//! Functions and views that a text names, found by its tokens: a name before a bracket is taken for a call, and a view's
//! name for a use of it. That finds too much rather than too little.

use std::borrow::Cow;
use std::ops::Range;

use super::{Action, Marks, refuse};
use crate::catalog::Catalog;
use crate::sql::{Kind, Tokens};

/// Built-in functions that write what is replicated, or run SQL that is handed to them on other servers.
const WRITERS: [&str; 18] = [
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "lo_import",
    "lo_open",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "lowrite",
    "loread",
    "pg_import_system_collations",
    "binary_upgrade_set_record_init_privs",
    "pg_create_logical_replication_slot",
    "pg_create_physical_replication_slot",
    "pg_promote",
    "pg_logical_slot_get_changes",
    "pg_replication_origin_create",
];

/// Built-in functions that move a sequence.
const SEQUENCES: [&str; 2] = ["nextval", "setval"];

/// Settings that only SET may change, where it is seen how.
const FIXED: [&str; 6] = [
    "role",
    "session_authorization",
    "session_replication_role",
    "standard_conforming_strings",
    "transaction_isolation",
    "default_transaction_isolation",
];

/// What the tokens of a statement tell.
#[derive(Debug, Default)]
pub struct Calls {
    /// A function or a relation is named: the catalog must be asked about them.
    pub names_anything: bool,
    pub marks: Marks,
    pub refusal: Option<Action>,
}

pub fn look(sql: &str, tokens: &Tokens, span: &Range<usize>, catalog: Option<&Catalog>) -> Calls {
    let mut calls = Calls::default();
    let within: Vec<_> = tokens.list.iter().filter(|t| span.contains(&(t.start as usize))).collect();
    for (at, token) in within.iter().enumerate() {
        let Some(name) = name_of(token.kind, token.text(sql)) else { continue };
        let next = within.get(at + 1).map_or("", |t| t.text(sql));
        let called = next == "(";
        calls.names_anything |= called || matches!(&*name, "from" | "table" | "into" | "update");
        if name == "lockstep" && next == "." {
            calls.refusal.get_or_insert_with(refuse::own_schema);
        }
        if called && SEQUENCES.contains(&&*name) {
            calls.marks.sequences = true;
        }
        if called && name == "set_config" {
            calls.marks.settings = true;
            let setting = within.get(at + 2).filter(|t| t.kind == Kind::Text).map(|t| t.text(sql).to_ascii_lowercase());
            if setting.is_none_or(|s| FIXED.contains(&s.trim_matches('\''))) {
                calls.refusal.get_or_insert_with(|| {
                    refuse::because(
                        "set_config changes a setting that replication rests on",
                        "Use SET where it is allowed.",
                    )
                });
            }
        }
        if called && WRITERS.contains(&&*name) {
            calls.refusal.get_or_insert_with(|| refuse::writing_function(&name));
        }
        if catalog.is_some_and(|c| called && c.may_write(&name) || c.view_may_write(&name)) {
            calls.refusal.get_or_insert_with(|| refuse::writing_function(&name));
        }
    }
    calls
}

/// The name that a token means: folded to lower case, or what stands in its quotes.
fn name_of(kind: Kind, text: &str) -> Option<Cow<'_, str>> {
    match kind {
        Kind::Word => Some(if text.bytes().any(|b| b.is_ascii_uppercase()) {
            text.to_ascii_lowercase().into()
        } else {
            text.into()
        }),
        Kind::Quoted => Some(text.trim_matches('"').replace("\"\"", "\"").into()),
        _ => None,
    }
}
