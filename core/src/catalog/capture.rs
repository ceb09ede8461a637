//! Which tables need their rows captured, and which have it.
//!
//! RETURNING shows the rows of one table that one statement has changed. What triggers, rules and functions change besides
//! is seen by a trigger of our own on every table that they may reach. Invariant: a set of tables that is given here is
//! closed: what changes with one of them, by foreign keys, partitions, heirs, views and rules, is in it.

use std::collections::BTreeSet;

use super::Catalog;
use super::body::{Body, Language};
use super::builtin;
use super::model::{ForeignKeyAction, Oid, Relation, RelationKind};
use crate::quote::quote_qualified;

/// What the body of a DO block may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoBlock {
    Nothing,
    /// Rows of tables of these names, and what functions change; text that it runs may change others.
    Rows {
        names: Vec<String>,
        text: bool,
    },
    /// Why it may change more than rows of known tables.
    Beyond(String),
}

impl Catalog {
    /// All tables whose rows may change when rows of these change.
    pub fn reach(&self, start: impl IntoIterator<Item = Oid>) -> BTreeSet<Oid> {
        let mut found = BTreeSet::new();
        let mut next: Vec<Oid> = start.into_iter().collect();
        while let Some(oid) = next.pop() {
            let Some(relation) = self.relation(oid) else { continue };
            if !found.insert(oid) {
                continue;
            }
            next.extend(relation.children.iter().chain(&relation.rule_targets));
            if relation.partition {
                next.extend(&relation.parents);
            }
            if relation.kind == RelationKind::View {
                next.extend(&relation.reads);
            }
            let acts = |action| action != ForeignKeyAction::None;
            let keys = self.references_to(oid).filter(|key| acts(key.on_delete) || acts(key.on_update));
            next.extend(keys.map(|key| key.referring));
            if relation.triggers.iter().any(|t| t.is_about_rows() && self.effect_of(&t.function).writes) {
                // What its functions write to is among these.
                next.extend(self.touched.iter().filter(|oid| !found.contains(*oid)));
            }
        }
        found
    }

    /// Whether rows of this relation go by capture: its own trigger says so, or triggers and rules of users demand it, here or
    /// on what changes with it; or not everybody who writes to it may do what a follower does with whole rows, and captured
    /// ones are applied as nobody in particular.
    pub fn is_captured(&self, relation: &Relation) -> bool {
        let demands = |r: &&Relation| {
            r.captured || r.row_security || !r.rules.is_empty() || r.triggers.iter().any(|t| t.is_about_rows())
        };
        relation.in_part || self.reach([relation.oid]).iter().filter_map(|oid| self.relation(*oid)).any(|r| demands(&r))
    }

    /// Those of them that do not have our trigger yet; of a partitioned table only the topmost, which hands it down.
    pub fn uncaptured(&self, tables: &BTreeSet<Oid>) -> Vec<String> {
        let lacking = tables.iter().filter_map(|oid| self.relation(*oid)).filter(|r| r.can_carry() && !r.captured);
        let names: BTreeSet<String> =
            lacking.map(|r| self.top(r)).map(|r| quote_qualified(&r.schema, &r.name)).collect();
        names.into_iter().collect()
    }

    /// Whether triggers of these run text that they make.
    pub fn sets_off_text(&self, tables: &BTreeSet<Oid>) -> bool {
        let triggers = tables.iter().filter_map(|oid| self.relation(*oid)).flat_map(|relation| &relation.triggers);
        triggers.filter(|trigger| trigger.is_about_rows()).any(|trigger| self.effect_of(&trigger.function).text)
    }

    /// Why it cannot be found out what text does that functions run; `None`: it can.
    pub fn unseen(&self) -> Option<&str> {
        self.unseen.as_deref()
    }

    /// The schemas in which a table has our trigger.
    pub fn capturing_schemas(&self) -> BTreeSet<&str> {
        self.relations.values().filter(|r| r.captured && !r.temporary).map(|r| r.schema.as_str()).collect()
    }

    fn top<'a>(&'a self, relation: &'a Relation) -> &'a Relation {
        let mut top = relation;
        while let Some(parent) = top.parents.first().filter(|_| top.partition).and_then(|oid| self.relation(*oid)) {
            top = parent;
        }
        top
    }

    /// Tables to which functions write, or that set off such a function.
    pub(super) fn find_touched(&self) -> BTreeSet<Oid> {
        let writing = self.functions.values().filter(|f| f.effect.writes && !f.effect.beyond);
        let named = writing.flat_map(|f| &f.targets).flat_map(|name| self.relations_named(name));
        let start: Vec<Oid> = named.filter(|r| !r.temporary).map(|r| r.oid).collect();
        self.reach(start)
    }

    /// What a DO block in PL/pgSQL may do.
    pub fn do_block(&self, text: &str) -> DoBlock {
        let Some(body) = Body::read(text, Language::PlPgSql) else {
            return DoBlock::Beyond("it is not understood".into());
        };
        if let Some(word) = &body.statement {
            return DoBlock::Beyond(format!("it has the word {word}"));
        }
        let mut writes = body.runs_text || !body.targets.is_empty();
        let mut text = body.runs_text;
        for word in &body.called {
            if builtin::effect_of(word).writes {
                return DoBlock::Beyond(format!("it calls {word}"));
            }
        }
        for function in body.words.iter().flat_map(|word| self.functions_named(word)) {
            if function.effect.beyond {
                return DoBlock::Beyond(format!("it uses {}, which {}", function.name, function.why));
            }
            writes |= function.effect.writes;
            text |= function.effect.text;
        }
        let unseen = self.operators.values().flatten().any(|(_, effect)| effect.writes)
            || self.converted.values().any(|effect| effect.writes)
            || self.implicit_writer.is_some()
            || body.words.iter().flat_map(|word| self.relations_named(word)).any(|r| r.reading.writes);
        match (unseen, writes) {
            (true, _) => DoBlock::Beyond("an operator, a cast or a view of the database may write".into()),
            (false, true) => DoBlock::Rows { names: body.targets, text },
            (false, false) => DoBlock::Nothing,
        }
    }
}

impl Relation {
    /// A table of which rows are stored, on these servers.
    pub fn can_carry(&self) -> bool {
        matches!(self.kind, RelationKind::Table | RelationKind::Partitioned) && !self.temporary
    }
}
