//! What `lockstep explain` and `lockstep check --schema` say is what the planner does.

use lockstep_core::catalog::model::Identity;
use lockstep_core::catalog::{Catalog, Column, Relation, RelationKind};
use lockstep_core::plan::Action;
use lockstep_core::plan::explain::{Explained, explain};
use lockstep_core::plan::tables::{Fate, fate};

use crate::{catalog, plan};

fn explained(sql: &str) -> Explained {
    explain(&plan(sql), sql)
}

fn fate_of(catalog: &Catalog, name: &str) -> Fate {
    fate(catalog, catalog.relation_in("public", name).expect(name)).expect(name)
}

#[test]
fn each_kind_of_effect_has_its_words() {
    let kinds = [
        ("SELECT * FROM users", "leader only"),
        ("UPDATE users SET name = 'x' WHERE id = 1", "rows by key"),
        ("INSERT INTO heap VALUES (1, 'a')", "rows"),
        ("COPY heap FROM STDIN", "COPY as data"),
        ("COPY users (name) FROM STDIN", "rows, from COPY"),
        ("ALTER TABLE heap ADD COLUMN c int", "text"),
        ("SELECT lo_unlink(5)", "large objects"),
        ("VACUUM heap", "utility"),
        ("BEGIN", "transaction"),
        ("UPDATE heap SET a = 1", "rows by capture"),
        ("UPDATE nothing SET a = 1", "unknown"),
        ("UPDATE users SETT a = 1", "unknown"),
    ];
    for (sql, kind) in kinds {
        assert_eq!(explained(sql).kind, kind, "{sql}");
    }
}

#[test]
fn a_write_names_its_key_and_shows_what_followers_get() {
    let update = explained("UPDATE users SET name = 'x' WHERE mood = 'happy'");
    assert!(update.why.contains("found by its key (id)"), "{}", update.why);
    assert!(update.followers[0].contains("UPDATE \"public\".\"users\" SET \"name\""), "{:?}", update.followers);
    let drawn = explained("INSERT INTO users (name) VALUES ('x')");
    assert!(drawn.why.contains("Sequences"), "{}", drawn.why);
}

#[test]
fn a_refusal_has_its_reason_and_its_remedy() {
    let refused = explained("INSERT INTO calls_check VALUES (1)");
    assert!(refused.is_bad() && refused.why.contains("CHECK") && refused.remedy.is_some(), "{}", refused.why);
}

#[test]
fn a_table_is_replicated_by_key_in_part_or_not_at_all() {
    let catalog = catalog();
    let users = fate_of(&catalog, "lines");
    assert_eq!((users.key, users.refused.len()), (Some(vec!["order_id".into(), "n".into()]), 0));
    let statements = |name| -> Vec<&str> {
        fate_of(&catalog, name).refused.into_iter().flat_map(|refused| refused.statements).collect()
    };
    assert_eq!(statements("calls_check"), ["INSERT", "UPDATE"]);
    assert_eq!(fate_of(&catalog, "heap").captured, ["UPDATE", "DELETE"]);
    assert_eq!(fate_of(&catalog, "triggered").captured, ["INSERT", "UPDATE", "DELETE"]);
    assert!(fate(&catalog, catalog.relation_in("public", "v").unwrap()).is_none());
}

/// A statement of each kind to every table of the schema.
#[test]
fn the_judgement_of_a_table_is_that_of_statements() {
    let catalog = catalog();
    let tables = catalog.relations().filter(|r| matches!(r.kind, RelationKind::Table | RelationKind::Partitioned));
    for table in tables.filter(|table| !table.temporary) {
        let Some(fate) = fate(&catalog, table) else { continue };
        for (statement, sql) in statements(&catalog, table) {
            let refused = matches!(plan(&sql).action, Action::Refuse(_));
            let judged = fate.refused.iter().any(|refused| refused.statements.contains(&statement));
            assert_eq!(judged, refused, "{sql}: {:?} {:?}", fate, plan(&sql).action);
        }
    }
}

fn statements(catalog: &Catalog, table: &Relation) -> Vec<(&'static str, String)> {
    let name = format!("\"{}\".\"{}\"", table.schema, table.name);
    let in_key = |c: &str| table.keys.first().is_some_and(|key| key.columns.iter().any(|part| part.name == c));
    let itself = catalog.references_to(table.oid).filter(|key| key.referring == table.oid);
    let referred: Vec<_> = itself.flat_map(|key| &key.referred_columns).collect();
    let given = |c: &&Column| !c.generated && c.identity != Identity::Always;
    let free = table.columns.iter().filter(given).filter(|c| !in_key(&c.name) && !referred.contains(&&c.name));
    let set: Vec<_> = free.map(|c| format!("\"{}\" = DEFAULT", c.name)).collect();
    let mut statements =
        vec![("INSERT", format!("INSERT INTO {name} DEFAULT VALUES")), ("DELETE", format!("DELETE FROM {name}"))];
    if !set.is_empty() {
        statements.push(("UPDATE", format!("UPDATE {name} SET {}", set.join(", "))));
    }
    statements
}
