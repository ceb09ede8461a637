//! What a statement's expressions may do besides computing a value.
//!
//! The leader evaluates every expression, so a function may be as volatile as it likes as long as it only computes. What
//! writes is another matter: its rows would be changed on the leader alone.

use std::fmt::Display;

use super::refuse::{refuse, refuse_always};
use super::scope::{Outcome, Scope};
use super::{Marks, objects};
use crate::catalog::builtin::{self, NAMING_SETTINGS, WATCHED_SETTINGS};
use crate::catalog::model::{Callee, Effect, Place};
use crate::catalog::{Catalog, Function, Oid, Relation};
use crate::fault::Fault;
use crate::sql::{Facts, Name};

/// Refuses what may write behind our back; else what the statement may change besides rows.
pub fn check(scope: &Scope<'_>, facts: &Facts) -> Outcome<Marks> {
    let calls = look(scope, facts)?;
    match calls.writer {
        Some(fault) => Err(fault.into()),
        None if calls.marks.objects => Err(objects::elsewhere().into()),
        None => Ok(calls.marks),
    }
}

/// The same for a write, which may call what changes large objects.
pub fn check_write(scope: &Scope<'_>, facts: &Facts) -> Outcome<Marks> {
    let calls = look(scope, facts)?;
    calls.writer.map_or(Ok(calls.marks), |fault| Err(fault.into()))
}

/// What the calls of a statement come to.
pub struct Calls {
    pub marks: Marks,
    /// A function changes rows, and nothing that capture would not see: so it is refused where there is no capture.
    pub writer: Option<Fault>,
    /// A function runs text that it makes.
    pub text: bool,
}

/// Refuses what may write more than capture sees.
pub fn look(scope: &Scope<'_>, facts: &Facts) -> Outcome<Calls> {
    let (mut marks, mut writer, mut text) = (Marks::default(), None, false);
    if facts.computes_with_constants() {
        return Ok(Calls { marks, writer, text });
    }
    for call in &facts.functions {
        built_in(scope, call, facts, &mut marks)?;
        for function in called(scope, call)? {
            if function.effect.writes && !function.effect.beyond {
                writer.get_or_insert_with(|| writing(function));
                text |= function.effect.text;
                note_effect(function.effect, &mut marks);
            } else {
                note(function, &mut marks)?;
            }
        }
    }
    let catalog = scope.catalog()?;
    scope.spares_own_schema(facts)?;
    if let Some(what) = &catalog.implicit_writer {
        return Err(refuse(
            format_args!("{what} calls a function that may write, wherever it is needed"),
            WRITING_HINT,
        )
        .into());
    }
    note_effect(catalog.unnamed, &mut marks);
    for attribute in &facts.attributes {
        for function in catalog.functions_named(attribute).filter(|f| f.by_attribute) {
            note(function, &mut marks)?;
        }
    }
    for operator in &facts.operators {
        let named = catalog.operators.get(&operator.name).into_iter().flatten();
        for (_, effect) in named.filter(|(schema, _)| operator.schema.as_ref().is_none_or(|s| s == schema)) {
            note_unless_writing(*effect, format_args!("the operator {operator}"), &mut marks)?;
        }
    }
    for name in &facts.types {
        if let Some(effect) = catalog.converted.get(&name.name) {
            note_unless_writing(*effect, format_args!("a cast to {name}"), &mut marks)?;
        }
    }
    for relation in &facts.relations {
        readable(scope, catalog, relation, &mut marks)?;
    }
    Ok(Calls { marks, writer, text })
}

/// What pg_dump asks to be safe from hostile views, word by word; the setting is its own session's alone.
const DUMP_PROBE: &str = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings \
    WHERE name = 'restrict_nonsystem_relation_kind'";

const WRITING_HINT: &str =
    "Functions are let through here that only read and compute, in SQL or PL/pgSQL without EXECUTE, or built in.";

fn built_in(scope: &Scope<'_>, call: &Name, facts: &Facts, marks: &mut Marks) -> Outcome<()> {
    if call.schema.as_deref().is_some_and(|schema| schema != "pg_catalog") {
        return Ok(());
    }
    match call.name.as_str() {
        "nextval" => marks.sequences = true,
        "setval" => (marks.sequences, marks.setval) = (true, true),
        "set_config" => {
            changes_known_settings(scope, facts)?;
            let naming = |name: &Option<String>| name.as_ref().is_none_or(|n| is_naming(n));
            marks.settings |= facts.settings.iter().any(naming);
        }
        name if objects::note(name, marks) => {}
        name if builtin::effect_of(name).writes => {
            let reason = format!("{name} changes what is not replicated, or runs text that is not known");
            let hint = "Files and slots of a server are not replicated; use tables, and queries by themselves.";
            return Err(refuse(reason, hint).into());
        }
        name => marks.locks |= builtin::effect_of(name).locks,
    }
    Ok(())
}

/// set_config must not change what the proxy has to know.
pub fn changes_known_settings(scope: &Scope<'_>, facts: &Facts) -> Outcome<()> {
    if !facts.functions.iter().any(|call| call.name == "set_config") {
        return Ok(());
    }
    scope.reads_literals();
    let harmless = |name: &String| !WATCHED_SETTINGS.contains(&name.to_ascii_lowercase().as_str());
    let probes = scope.sql.trim_end_matches(';') == DUMP_PROBE;
    if !probes && !facts.settings.iter().all(|name| name.as_ref().is_some_and(harmless)) {
        let reason = "set_config may change a setting that the proxy must know";
        return Err(refuse_always(reason, "Give the setting's name as a plain literal, or use SET.").into());
    }
    Ok(())
}

pub fn is_naming(setting: &str) -> bool {
    NAMING_SETTINGS.iter().any(|known| known.eq_ignore_ascii_case(setting))
}

/// The functions of users that a call may mean, as far as they do more than compute.
fn called<'a>(scope: &Scope<'a>, call: &Name) -> Outcome<Vec<&'a Function>> {
    let named: Vec<&Function> = scope.catalog()?.functions_named(&call.name).filter(|f| !f.effect.is_none()).collect();
    if named.is_empty() {
        return Ok(named);
    }
    let found: Box<dyn Fn(&&Function) -> bool> = match call.schema.as_deref() {
        Some("pg_temp") => Box::new(|f| f.schema.starts_with("pg_temp_")),
        Some(schema) => Box::new(move |f| f.schema == schema),
        None => {
            let path = scope.path()?;
            Box::new(move |f| path.schemas().any(|schema| schema == f.schema))
        }
    };
    Ok(named.into_iter().filter(|f| found(f)).collect())
}

/// What a call of the function does, besides computing a value.
fn note(function: &Function, marks: &mut Marks) -> Result<(), Fault> {
    if function.effect.writes {
        return Err(writing(function));
    }
    note_effect(function.effect, marks);
    Ok(())
}

fn note_unless_writing(effect: Effect, what: impl Display, marks: &mut Marks) -> Result<(), Fault> {
    if effect.writes {
        return Err(refuse(format_args!("{what} calls a function that may write"), WRITING_HINT));
    }
    note_effect(effect, marks);
    Ok(())
}

pub fn note_effect(effect: Effect, marks: &mut Marks) {
    marks.sequences |= effect.sequences;
    marks.settings |= effect.settings;
    marks.locks |= effect.locks;
}

/// Whether a trigger of the table may take a lock for the session.
pub fn locks(catalog: &Catalog, relation: &Relation) -> bool {
    relation.triggers.iter().any(|trigger| catalog.effect_of(&trigger.function).locks)
}

fn writing(function: &Function) -> Fault {
    let Function { schema, name, why, .. } = function;
    let reason = format!("the function {schema}.{name} may write, which would reach one server only: it {why}");
    refuse(reason, WRITING_HINT)
}

/// What is the matter with a function, for people.
pub fn why(catalog: &Catalog, callee: &Callee) -> String {
    match callee {
        Callee::User(oid) => catalog
            .function(*oid)
            .map_or_else(|| "is not known".into(), |f| format!("{}.{} {}", f.schema, f.name, f.why)),
        Callee::BuiltIn(name) => format!("is {name}"),
    }
}

/// Why what a definition calls must not be called.
pub fn writing_callee(catalog: &Catalog, callee: &Callee) -> Fault {
    match callee {
        Callee::User(oid) => catalog
            .function(*oid)
            .map_or_else(|| refuse("it calls a function that is not known", "Run it again."), writing),
        Callee::BuiltIn(name) => {
            refuse(format_args!("its definition calls {name}, which would reach one server only"), WRITING_HINT)
        }
    }
}

/// A name that is read: a view, or a table with row security, must not call what may write.
fn readable(scope: &Scope<'_>, catalog: &Catalog, name: &Name, marks: &mut Marks) -> Outcome<()> {
    if catalog.relations_named(&name.name).all(|relation| relation.reading.is_none()) {
        return Ok(());
    }
    let Some(relation) = scope.named(name)? else { return Ok(()) };
    if relation.reading.writes {
        let culprit = culprit(catalog, relation).unwrap_or_default();
        return Err(refuse(format_args!("reading {name} calls {culprit} that may write"), WRITING_HINT).into());
    }
    note_effect(relation.reading, marks);
    Ok(())
}

/// What may write when this relation is read, in it or in what it reads.
fn culprit(catalog: &Catalog, relation: &Relation) -> Option<String> {
    let mut seen: Vec<Oid> = Vec::new();
    let mut next = vec![relation];
    while let Some(relation) = next.pop() {
        if seen.contains(&relation.oid) {
            continue;
        }
        seen.push(relation.oid);
        let calls = relation.calls.iter().filter(|c| matches!(c.place, Place::View | Place::Policy));
        if let Some(call) = calls.into_iter().find(|c| catalog.effect_of(&c.callee).writes) {
            return Some(format!("the function {}", catalog.name_of(&call.callee)));
        }
        next.extend(relation.reads.iter().filter_map(|oid| catalog.relation(*oid)));
    }
    None
}
