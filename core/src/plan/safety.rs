//! What else happens when rows of a table change: on the leader, and on a follower that applies them.

use super::calls;
use super::refuse::refuse;
use crate::catalog::model::{Call, Effect, ForeignKeyAction, Place};
use crate::catalog::{Catalog, Column, Event, Oid, Relation, RelationKind};
use crate::fault::Fault;

/// A change of a table's rows.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub event: Event,
    /// Columns that an UPDATE assigns.
    pub assigned: &'a [String],
    /// A default may be evaluated.
    pub defaults: bool,
}

/// Refuses a table whose rows cannot be captured, or of which some would be changed on one server only all the same.
pub fn captured(catalog: &Catalog, relation: &Relation) -> Result<(), Fault> {
    let name = &relation.name;
    match relation.kind {
        RelationKind::View => {}
        _ => target(relation, true)?,
    }
    if let Some(what) = &relation.fires_for_copies {
        let reason = format!("{what} of {name} fires also where its rows are applied that were captured");
        return Err(refuse(
            reason,
            format!("ALTER TABLE {name} ENABLE TRIGGER …, or RULE …, without ALWAYS and REPLICA."),
        ));
    }
    for trigger in relation.triggers.iter().filter(|trigger| trigger.is_about_rows()) {
        if catalog.effect_of(&trigger.function).beyond {
            let why = calls::why(catalog, &trigger.function);
            let reason =
                format!("the trigger {} of {name} may change more than rows: its function {why}", trigger.name);
            return Err(refuse(reason, format!("ALTER TABLE {name} DISABLE TRIGGER {}.", trigger.name)));
        }
    }
    for call in &relation.calls {
        let writes = catalog.effect_of(&call.callee).writes;
        match call.place {
            Place::Default | Place::Rule | Place::When | Place::View | Place::Policy if writes => {
                return Err(calls::writing_callee(catalog, &call.callee));
            }
            _ => definition(catalog, relation, call, false)?,
        }
    }
    Ok(())
}

/// Refuses what would change more, or other rows, than RETURNING shows, or not the same on each server.
pub fn check(catalog: &Catalog, relation: &Relation, change: Change<'_>, only: bool) -> Result<(), Fault> {
    target(relation, false)?;
    // RETURNING has nothing to ask for. A row that is captured has a text all the same.
    if relation.columns.is_empty() && change.event != Event::Truncate {
        return Err(refuse(format_args!("{} has no columns", relation.name), "Give it a column."));
    }
    let heirs = relation.kind == RelationKind::Table && !relation.children.is_empty();
    if heirs && !only && change.event != Event::Insert {
        let reason = format!("other tables inherit from {}", relation.name);
        return Err(refuse(
            reason,
            format!("Write ONLY {}, and to each table that inherits by itself.", relation.name),
        ));
    }
    table(catalog, relation, change)?;
    cascade(catalog, relation, change)
}

fn target(relation: &Relation, captured: bool) -> Result<(), Fault> {
    let name = &relation.name;
    match relation.kind {
        RelationKind::Table | RelationKind::Partitioned => {}
        RelationKind::View => {
            return Err(refuse(format_args!("{name} is a view"), "Write to the table that it shows."));
        }
        RelationKind::Foreign => {
            let hint = "Write to it on the server where it is, past the proxy.";
            return Err(refuse(format_args!("{name} is a foreign table, whose rows are not on these servers"), hint));
        }
        RelationKind::MaterializedView
        | RelationKind::Sequence
        | RelationKind::Index
        | RelationKind::PartitionedIndex => {
            return Err(refuse(format_args!("{name} is no table"), "Write to a table."));
        }
    }
    if relation.row_security && !captured {
        let hint = format!("ALTER TABLE {name} DISABLE ROW LEVEL SECURITY.");
        return Err(refuse(format_args!("{name} has row-level security, which hides rows from the copy"), hint));
    }
    if relation.unreadable {
        let hint = "Set client_encoding to UTF8.";
        return Err(refuse(format_args!("the names in {name} are not known in this client's encoding"), hint));
    }
    Ok(())
}

/// A table with its partitions: triggers, rules, and expressions of its definition.
fn table(catalog: &Catalog, relation: &Relation, change: Change<'_>) -> Result<(), Fault> {
    for member in members(catalog, relation) {
        let moves = member.oid != relation.oid && change.event == Event::Update;
        let fires = |event| change.event == event || moves && event != Event::Truncate;
        let events = [Event::Insert, Event::Update, Event::Delete, Event::Truncate];
        let trigger = member.triggers.iter().find(|t| events.iter().any(|e| fires(*e) && t.fires_for(*e)));
        if let Some(trigger) = trigger {
            let reason = format!(
                "{} has the trigger {}, whose own writes would reach one server only",
                member.name, trigger.name
            );
            return Err(refuse(reason, format!("ALTER TABLE {} DISABLE TRIGGER {}.", member.name, trigger.name)));
        }
        if let Some(rule) = member.rules.iter().find(|r| fires(r.event)) {
            let reason = format!("{} has the rule {}, which puts another statement in place", member.name, rule.name);
            return Err(refuse(reason, format!("DROP RULE {} ON {}.", rule.name, member.name)));
        }
        if matches!(change.event, Event::Insert | Event::Update) {
            member.calls.iter().try_for_each(|call| definition(catalog, member, call, change.defaults))?;
        }
    }
    Ok(())
}

/// A partitioned table's rows are in its partitions. Tables that merely inherit are not touched (`ONLY`, or INSERT).
fn members<'a>(catalog: &'a Catalog, relation: &'a Relation) -> Vec<&'a Relation> {
    match relation.kind {
        RelationKind::Partitioned => catalog.family(relation.oid),
        _ => vec![relation],
    }
}

/// A default is evaluated on the leader alone; everything else also where a row is applied.
fn definition(catalog: &Catalog, relation: &Relation, call: &Call, defaults: bool) -> Result<(), Fault> {
    let place = match call.place {
        Place::Default if defaults && catalog.effect_of(&call.callee).writes => {
            return Err(calls::writing_callee(catalog, &call.callee));
        }
        Place::Default | Place::View | Place::Policy | Place::Rule | Place::When => return Ok(()),
        Place::Generated => "a generated column",
        Place::Check => "a CHECK constraint or domain",
        Place::Index => "an index or partition key",
    };
    if catalog.is_same_everywhere(&call.callee) {
        return Ok(());
    }
    let reason = format!(
        "{place} of {} depends on {}, which each server would evaluate by itself",
        relation.name,
        catalog.name_of(&call.callee)
    );
    let hint = "Use functions that give the same everywhere: built in and IMMUTABLE, or IMMUTABLE in SQL or PL/pgSQL over \
        their arguments alone, with qualified names.";
    Err(refuse(reason, hint))
}

/// A temporary table's rows are the leader's alone; what its definition calls must not reach beyond it.
pub fn temporary(catalog: &Catalog, relation: &Relation) -> Result<(), Fault> {
    if !relation.triggers.is_empty() || !relation.rules.is_empty() {
        let reason = format!("the temporary table {} has triggers or rules, which may write elsewhere", relation.name);
        return Err(refuse(reason, "Use a temporary table without them."));
    }
    match relation.calls.iter().find(|call| catalog.effect_of(&call.callee).writes) {
        Some(call) => Err(calls::writing_callee(catalog, &call.callee)),
        None => Ok(()),
    }
}

/// What defaults of the table, or of its domains, do besides giving values.
pub fn defaults(catalog: &Catalog, relation: &Relation) -> Effect {
    let mut effect = Effect::default();
    let called = relation.calls.iter().filter(|call| call.place == Place::Default);
    called.for_each(|call| effect |= catalog.effect_of(&call.callee));
    effect.sequences |= relation.columns.iter().any(Column::moves_sequence);
    effect
}

/// Follows foreign keys to the rows that change with these.
fn cascade(catalog: &Catalog, relation: &Relation, change: Change<'_>) -> Result<(), Fault> {
    let origin: Vec<Oid> = members(catalog, relation).iter().map(|r| r.oid).collect();
    let mut seen: Vec<(Oid, Event)> = Vec::new();
    let mut next: Vec<(Oid, Event, Vec<String>)> =
        origin.iter().map(|oid| (*oid, change.event, change.assigned.to_vec())).collect();
    while let Some((oid, event, assigned)) = next.pop() {
        let keys = catalog.references_to(oid);
        for key in keys {
            let action = match event {
                Event::Delete => key.on_delete,
                Event::Update if key.referred_columns.iter().any(|c| assigned.contains(c)) => key.on_update,
                _ => continue,
            };
            let reached = match action {
                ForeignKeyAction::None => continue,
                ForeignKeyAction::Cascade => event,
                ForeignKeyAction::SetNull | ForeignKeyAction::SetDefault => Event::Update,
            };
            let Some(referring) = catalog.relation(key.referring) else { continue };
            if action == ForeignKeyAction::SetDefault {
                let reason =
                    format!("a foreign key of {} sets a default when rows of {} change", referring.name, relation.name);
                return Err(refuse(reason, "Use SET NULL or CASCADE."));
            }
            let back = origin.contains(&referring.oid) && !origin.contains(&oid);
            if back && (change.event == Event::Update || reached == Event::Delete) {
                let reason =
                    format!("foreign keys lead from {} back to itself through {}", relation.name, referring.name);
                return Err(refuse(reason, "Use NO ACTION for one of them, and change its rows yourself."));
            }
            if seen.contains(&(referring.oid, reached)) {
                continue;
            }
            seen.push((referring.oid, reached));
            let assigned = key.referring_columns.clone();
            if !origin.contains(&referring.oid) || reached != change.event {
                table(catalog, referring, Change { event: reached, assigned: &assigned, defaults: false })?;
            }
            for member in members(catalog, referring) {
                next.push((member.oid, reached, assigned.clone()));
            }
        }
    }
    Ok(())
}

/// Whether rows of the table refer to rows of the table.
pub fn refers_to_itself(catalog: &Catalog, relation: &Relation) -> bool {
    referred_by_itself(catalog, relation).next().is_some()
}

/// Columns of the table to which its own foreign keys refer.
pub fn referred_by_itself<'a>(catalog: &'a Catalog, relation: &'a Relation) -> impl Iterator<Item = &'a String> {
    let family: Vec<Oid> = related(catalog, relation);
    let keys = family.clone().into_iter().flat_map(|oid| catalog.references_to(oid));
    keys.filter(move |k| family.contains(&k.referring)).flat_map(|k| k.referred_columns.iter())
}

/// The table, what it is a partition of, and all their partitions.
fn related(catalog: &Catalog, relation: &Relation) -> Vec<Oid> {
    let mut top = relation;
    while let Some(parent) = top.parents.first().filter(|_| top.partition).and_then(|oid| catalog.relation(*oid)) {
        top = parent;
    }
    catalog.family(top.oid).iter().map(|r| r.oid).collect()
}

/// Columns of unique indexes of the table and its partitions; `None`: not known.
pub fn unique_columns<'a>(catalog: &'a Catalog, relation: &'a Relation) -> Option<Vec<&'a String>> {
    let mut found = Vec::new();
    for member in members(catalog, relation) {
        found.extend(member.unique_columns.as_ref()?);
    }
    Some(found)
}
