//! What else a write sets off on its table, its partitions, and by foreign keys on others.
//!
//! On a follower the same foreign keys act on the same rows, so their actions need no effect of their own, as long as they
//! touch nothing that a trigger watches or that takes a default.

use std::collections::HashSet;

use super::{Action, refuse};
use crate::catalog::{Catalog, Events, Reaction, Relation, RelationKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    Insert,
    Update,
    Delete,
}

impl Event {
    fn is_in(self, events: Events) -> bool {
        match self {
            Self::Insert => events.insert,
            Self::Update => events.update,
            Self::Delete => events.delete,
        }
    }
}

/// Why a write of these events to `relation` cannot be replicated by its rows. `keys_change`: columns that others may
/// refer to are assigned.
pub fn refusal(
    catalog: &Catalog,
    relation: &Relation,
    events: &[Event],
    inherits: bool,
    keys_change: bool,
) -> Option<Action> {
    let name = &relation.name;
    match relation.kind {
        RelationKind::Table | RelationKind::Partitioned => {}
        RelationKind::View => return Some(refuse::later(format_args!("{name} is a view"))),
        RelationKind::Materialized => return Some(refuse::later(format_args!("{name} is a materialized view"))),
        RelationKind::Foreign => {
            return Some(refuse::because(
                format_args!("{name} is a foreign table"),
                "Write to the foreign server directly.",
            ));
        }
    }
    if relation.rules {
        return Some(refuse::later(format_args!("table {name} has rules")));
    }
    if relation.row_security {
        return Some(refuse::later(format_args!("table {name} has row-level security")));
    }
    if relation.has_children && inherits && events.iter().any(|e| *e != Event::Insert) {
        return Some(refuse::because(
            format_args!("table {name} has inheritance children"),
            "Say ONLY, or name the children.",
        ));
    }
    if relation.calls_writers {
        return Some(refuse::later(format_args!("a default or check of table {name} calls a function that may write")));
    }
    let mut seen = HashSet::new();
    events.iter().find_map(|event| watched(catalog, relation, *event, keys_change, &mut seen))
}

fn watched(
    catalog: &Catalog,
    relation: &Relation,
    event: Event,
    keys_change: bool,
    seen: &mut HashSet<(u32, Event)>,
) -> Option<Action> {
    if !seen.insert((relation.oid, event)) {
        return None;
    }
    if event.is_in(relation.triggers) {
        return Some(refuse::later(format_args!("table {} has triggers of its own", relation.name)));
    }
    let partitions = relation.partitions.iter().filter_map(|oid| catalog.by_oid(*oid));
    partitions
        .into_iter()
        .find_map(|partition| watched(catalog, partition, event, keys_change, seen))
        .or_else(|| by_foreign_keys(catalog, relation, event, keys_change, seen))
}

fn by_foreign_keys(
    catalog: &Catalog,
    relation: &Relation,
    event: Event,
    keys_change: bool,
    seen: &mut HashSet<(u32, Event)>,
) -> Option<Action> {
    for referrer in &relation.referrers {
        let reaction = match event {
            Event::Insert => continue,
            Event::Update if !keys_change => continue,
            Event::Update => referrer.on_update,
            Event::Delete => referrer.on_delete,
        };
        let Some(child) = catalog.by_oid(referrer.table) else { continue };
        let set_off = match reaction {
            Reaction::Refuse => continue,
            Reaction::Cascade if event == Event::Delete => Event::Delete,
            Reaction::Cascade | Reaction::SetNull => Event::Update,
            Reaction::SetDefault => {
                return Some(refuse::later(format_args!("a foreign key of table {} is ON … SET DEFAULT", child.name)));
            }
        };
        if child.rules || child.row_security {
            return Some(refuse::later(format_args!(
                "it cascades to table {}, which has rules or row-level security",
                child.name
            )));
        }
        if let Some(action) = watched(catalog, child, set_off, true, seen) {
            return Some(action);
        }
    }
    None
}
