//! What a statement's expressions may do besides computing a value.
//!
//! The leader evaluates every expression, so a function may be as volatile as it likes as long as it only computes. What
//! writes is another matter: its rows would be changed on the leader alone.

use super::Marks;
use super::refuse::refuse;
use super::scope::{Outcome, Scope};
use crate::catalog::model::Place;
use crate::catalog::{Catalog, Function, Oid, Relation};
use crate::fault::Fault;
use crate::sql::{Facts, Name};

/// Functions of the server itself that change what all nodes must have alike, or run text that is not known.
const WRITING_BUILT_INS: [&str; 35] = [
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "lo_import",
    "lo_export",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "lowrite",
    "pg_import_system_collations",
    "pg_replication_origin_create",
    "pg_replication_origin_drop",
    "pg_replication_origin_session_setup",
    "pg_nextoid",
    "pg_stop_making_pinned_objects",
    "pg_extension_config_dump",
    "pg_promote",
    "pg_file_write",
    "pg_file_rename",
    "pg_file_unlink",
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "ts_rewrite",
    "ts_stat",
    "pg_restore_relation_stats",
    "pg_restore_attribute_stats",
    "pg_clear_relation_stats",
];

/// Functions of extensions that run text which is not known, whatever they say of themselves.
const TEXT_RUNNERS: [&str; 6] = ["connectby", "crosstab", "crosstab2", "crosstab3", "crosstab4", "xpath_table"];

/// Settings whose change the proxy must see coming.
pub const WATCHED_SETTINGS: [&str; 7] = [
    "transaction_isolation",
    "default_transaction_isolation",
    "session_replication_role",
    "standard_conforming_strings",
    "session_authorization",
    "allow_system_table_mods",
    "row_security",
];

/// Refuses what may write behind our back; else what the statement may change besides rows.
pub fn check(scope: &Scope<'_>, facts: &Facts) -> Outcome<Marks> {
    let mut marks = Marks::default();
    if facts.computes_with_constants() {
        return Ok(marks);
    }
    for call in &facts.functions {
        built_in(scope, call, facts, &mut marks)?;
        user_function(scope, call)?;
    }
    let catalog = scope.catalog()?;
    if let Some(what) = &catalog.implicit_writer {
        return Err(refuse(
            format_args!("{what} calls a function that may write, wherever it is needed"),
            WRITING_HINT,
        )
        .into());
    }
    for attribute in &facts.attributes {
        if let Some(function) = catalog.functions_named(attribute).find(|f| f.by_attribute && f.may_write()) {
            return Err(writing(function).into());
        }
    }
    for operator in &facts.operators {
        if let Some(schemas) = catalog.writing_operators.get(&operator.name)
            && operator.schema.as_ref().is_none_or(|s| schemas.contains(s))
        {
            return Err(
                refuse(format_args!("the operator {operator} calls a function that may write"), WRITING_HINT).into()
            );
        }
    }
    if let Some(name) = facts.types.iter().find(|t| catalog.writing_types.contains(&t.name)) {
        return Err(refuse(format_args!("a cast to {name} calls a function that may write"), WRITING_HINT).into());
    }
    for relation in &facts.relations {
        readable(scope, catalog, relation)?;
    }
    Ok(marks)
}

const WRITING_HINT: &str = "If the function only computes, declare it STABLE or IMMUTABLE.";

fn built_in(scope: &Scope<'_>, call: &Name, facts: &Facts, marks: &mut Marks) -> Outcome<()> {
    if call.schema.as_deref().is_some_and(|schema| schema != "pg_catalog") {
        return Ok(());
    }
    match call.name.as_str() {
        "nextval" | "setval" => marks.sequences = true,
        "set_config" => {
            scope.reads_literals();
            let harmless = |name: &String| !WATCHED_SETTINGS.contains(&name.to_ascii_lowercase().as_str());
            if !facts.settings.iter().all(|name| name.as_ref().is_some_and(harmless)) {
                let reason = "set_config may change a setting that the proxy must know";
                return Err(refuse(reason, "Give the setting's name as a plain literal, or use SET.").into());
            }
            marks.settings = true;
        }
        name if name.starts_with("binary_upgrade_") || WRITING_BUILT_INS.contains(&name) => {
            let reason = format!("{name} changes what is not replicated");
            return Err(refuse(
                reason,
                "Large objects and files on the server are not replicated; use a bytea column.",
            )
            .into());
        }
        _ => {}
    }
    Ok(())
}

fn user_function(scope: &Scope<'_>, call: &Name) -> Outcome<()> {
    let catalog = scope.catalog()?;
    if TEXT_RUNNERS.contains(&call.name.as_str()) && catalog.functions_named(&call.name).any(|f| f.extension.is_some())
    {
        return Err(refuse(format_args!("{call} runs text that is not known"), "Run the query by itself.").into());
    }
    let writing_ones = || catalog.functions_named(&call.name).filter(|f| f.may_write());
    if writing_ones().next().is_none() {
        return Ok(());
    }
    let found = match call.schema.as_deref() {
        Some("pg_temp") => writing_ones().find(|f| f.schema.starts_with("pg_temp_")),
        Some(schema) => writing_ones().find(|f| f.schema == schema),
        None => {
            let path = scope.path()?;
            writing_ones().find(|f| path.schemas().any(|schema| schema == f.schema))
        }
    };
    found.map_or(Ok(()), |function| Err(writing(function).into()))
}

pub fn writing(function: &Function) -> Fault {
    let Function { schema, name, .. } = function;
    refuse(
        format_args!("the function {schema}.{name} is VOLATILE and may write, which would reach one server only"),
        WRITING_HINT,
    )
}

/// A name that is read: a view, or a table with row security, must not call what may write.
fn readable(scope: &Scope<'_>, catalog: &Catalog, name: &Name) -> Outcome<()> {
    if !catalog.relations_named(&name.name).any(|relation| view_writes(catalog, relation).is_some()) {
        return Ok(());
    }
    if let Some(relation) = scope.named(name)?
        && let Some(function) = view_writes(catalog, relation)
    {
        let Function { schema, name: function, .. } = function;
        let reason = format!("reading {name} calls the function {schema}.{function}, which is VOLATILE and may write");
        return Err(refuse(reason, WRITING_HINT).into());
    }
    Ok(())
}

/// The function that may write when this relation is read, in it or in what it reads.
fn view_writes<'a>(catalog: &'a Catalog, relation: &'a Relation) -> Option<&'a Function> {
    let mut seen: Vec<Oid> = Vec::new();
    let mut next = vec![relation];
    while let Some(relation) = next.pop() {
        if seen.contains(&relation.oid) {
            continue;
        }
        seen.push(relation.oid);
        let calls = relation.calls.iter().filter(|c| matches!(c.place, Place::View | Place::Policy));
        let found = calls.filter_map(|c| catalog.function(c.function)).find(|f| f.may_write());
        if found.is_some() {
            return found;
        }
        next.extend(relation.reads.iter().filter_map(|oid| catalog.relation(*oid)));
    }
    None
}
