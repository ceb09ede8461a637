//! Rows of the catalog queries → [`Catalog`].

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Catalog;
use super::calls::callee;
use super::effects::{Behind, Source};
use super::model::{
    Callee, Column, Effect, Event, ForeignKey, ForeignKeyAction, Identity, KeyColumn, Oid, Relation, RelationKind,
    Rule, Trigger,
};
use super::queries;
use super::row::{CatalogFault, Row};
use super::types::{Kind, Type, Types};
use super::watch::Lent;
use crate::quote::{quote_identifier, quote_qualified};
use crate::wire::frontend::Format;

/// To be asked in this order; the rows of each go to [`Loader::row`] with its index.
pub const QUERIES: &[&str] = &[
    queries::ENCODING,
    queries::TYPES,
    queries::FIELDS,
    queries::FUNCTIONS,
    queries::CHANGEABLE,
    queries::RELATIONS,
    queries::COLUMNS,
    queries::KEYS,
    queries::TRIGGERS,
    queries::RULES,
    queries::RULE_TARGETS,
    queries::INHERITANCE,
    queries::FOREIGN_KEYS,
    queries::OPERATORS,
    queries::CASTS,
    queries::CALLS,
    queries::VIEWS,
    queries::DEFERRABLE,
    queries::EVENT_TRIGGERS,
    queries::LENT,
    queries::IN_PART,
];

/// Takes the rows of the catalog queries, in any split, query by query.
#[derive(Debug, Default)]
pub struct Loader {
    pub(super) catalog: Catalog,
    pub(super) types: Types,
    /// The client's encoding is one whose bytes beyond ASCII are not UTF-8.
    foreign_encoding: bool,
    /// Indexes in the order of their first row, per relation.
    pub(super) indexes: Vec<Index>,
    pub(super) foreign_keys: HashMap<Oid, ForeignKey>,
    pub(super) digest: Sha256,
    pub(super) sources: HashMap<Oid, Source>,
    pub(super) operators: Vec<Behind>,
    pub(super) casts: Vec<Behind>,
    pub(super) domain_defaults: HashMap<Oid, Vec<Callee>>,
    /// Functions of the server that are not IMMUTABLE.
    pub(super) changeable: HashSet<String>,
    pub(super) lent: Lent,
}

#[derive(Debug)]
pub(super) struct Index {
    pub oid: Oid,
    pub relation: Oid,
    pub primary: bool,
    pub usable: bool,
    pub columns: Vec<Option<KeyColumn>>,
    pub names: Vec<Option<String>>,
}

impl Loader {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn row(&mut self, query: usize, row: Vec<Option<Bytes>>) -> Result<(), CatalogFault> {
        self.note(query, &row);
        let query = QUERIES.get(query).copied().ok_or(CatalogFault::Malformed("an answer"))?;
        let row = &mut Row::new(&row, self.foreign_encoding);
        let taken = self.take(query, row);
        self.catalog.unreadable |= row.unreadable;
        taken
    }

    fn take(&mut self, query: &str, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        match query {
            queries::ENCODING => self.encoding(row),
            queries::TYPES => self.type_(row),
            queries::FIELDS => self.field(row),
            queries::FUNCTIONS => self.function(row),
            queries::CHANGEABLE => self.changeable(row),
            queries::RELATIONS => self.relation(row),
            queries::COLUMNS => self.column(row),
            queries::KEYS => self.key(row),
            queries::TRIGGERS => self.trigger(row),
            queries::RULES => self.rule(row),
            queries::RULE_TARGETS => self.rule_target(row),
            queries::INHERITANCE => self.inheritance(row),
            queries::FOREIGN_KEYS => self.foreign_key(row),
            queries::OPERATORS => self.operator(row),
            queries::CASTS => self.cast(row),
            queries::CALLS => self.call(row),
            queries::VIEWS => self.view(row),
            queries::DEFERRABLE => {
                row.what = "a deferrable constraint";
                self.catalog.deferrable.insert(row.number()?);
                Ok(())
            }
            queries::LENT => self.lent(row),
            queries::IN_PART => self.in_part(row),
            _ => {
                row.what = "an event trigger";
                self.catalog.event_triggers.push(row.text()?);
                Ok(())
            }
        }
    }

    /// Rows into the fingerprint, each value with its length.
    fn note(&mut self, query: usize, row: &[Option<Bytes>]) {
        self.digest.update(query.to_be_bytes());
        for value in row {
            self.digest.update(value.as_ref().map_or(usize::MAX, Bytes::len).to_be_bytes());
            self.digest.update(value.as_deref().unwrap_or(&[]));
        }
    }

    fn encoding(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "the encoding";
        self.foreign_encoding = !matches!(row.text()?.as_str(), "UTF8" | "SQL_ASCII");
        Ok(())
    }

    fn type_(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a type";
        let (oid, schema, name) = (row.number()?, row.text()?, row.text()?);
        let kind = match row.letter()? {
            b'b' => Kind::Base,
            b'c' => Kind::Composite,
            b'd' => Kind::Domain,
            b'e' => Kind::Enum,
            b'r' | b'm' => Kind::Range,
            _ => Kind::Pseudo,
        };
        let (element, base, has_receive) = (row.number()?, row.number()?, row.bool()?);
        if row.bool()? {
            self.catalog.domains_with_default.insert(name.clone());
        }
        self.types.0.insert(oid, Type { schema, name, kind, element, base, has_receive, fields: Vec::new() });
        Ok(())
    }

    fn field(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a field";
        let (composite, field): (Oid, Oid) = (row.number()?, row.number()?);
        if let Some(composite) = self.types.0.get_mut(&composite) {
            composite.fields.push(field);
        }
        Ok(())
    }

    fn relation(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a relation";
        let (oid, schema, name): (Oid, String, String) = (row.number()?, row.text()?, row.text()?);
        let kind = match row.letter()? {
            b'r' => RelationKind::Table,
            b'p' => RelationKind::Partitioned,
            b'v' => RelationKind::View,
            b'm' => RelationKind::MaterializedView,
            b'S' => RelationKind::Sequence,
            b'i' => RelationKind::Index,
            b'I' => RelationKind::PartitionedIndex,
            _ => RelationKind::Foreign,
        };
        let (temporary, row_security, partition) = (row.bool()?, row.bool()?, row.bool()?);
        self.catalog.temporary |= temporary;
        if kind == RelationKind::Sequence && !temporary {
            self.catalog.sequences.push(quote_qualified(&schema, &name));
        }
        let names = self.catalog.relations_by_name.entry(schema.clone()).or_default();
        names.insert(name.clone(), oid);
        let relation = Relation {
            oid,
            schema,
            name,
            kind,
            temporary,
            row_security,
            partition,
            unreadable: row.unreadable,
            columns: Vec::new(),
            keys: Vec::new(),
            unique_columns: Some(Vec::new()),
            triggers: Vec::new(),
            captured: false,
            in_part: false,
            fires_for_copies: None,
            rules: Vec::new(),
            rule_targets: Vec::new(),
            children: Vec::new(),
            parents: Vec::new(),
            calls: Vec::new(),
            reads: Vec::new(),
            reading: Effect::default(),
        };
        self.catalog.relations.insert(oid, relation);
        Ok(())
    }

    fn column(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a column";
        let relation: Oid = row.number()?;
        let _number: i32 = row.number()?;
        let (name, type_oid): (String, Oid) = (row.text()?, row.number()?);
        let (not_null, generated) = (row.bool()?, row.letter()? != 0);
        let identity = match row.letter()? {
            b'a' => Identity::Always,
            b'd' => Identity::ByDefault,
            _ => Identity::None,
        };
        let default = row.optional()?;
        let found = self.types.get(type_oid);
        let type_name = found.map(|t| quote_qualified(&t.schema, &t.name));
        let temporal = self.types.is_temporal(type_oid);
        let format = self.types.format(type_oid);
        let text_exact = self.types.text_is_exact(type_oid);
        let exact = format == Format::Binary || text_exact;
        let (letters, padded) = (self.types.has_letters(type_oid), self.types.is_padded(type_oid));
        let reads_alike = self.types.reads_alike(type_oid);
        let Some(relation) = self.catalog.relations.get_mut(&relation) else { return Ok(()) };
        relation.unreadable |= row.unreadable || type_name.is_none();
        let type_name = type_name.unwrap_or_default();
        relation.columns.push(Column {
            name,
            type_oid,
            type_name,
            format,
            exact,
            text_exact,
            letters,
            padded,
            reads_alike,
            not_null,
            generated,
            identity,
            default,
            temporal,
        });
        Ok(())
    }

    fn key(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a unique index";
        let (relation, oid): (Oid, Oid) = (row.number()?, row.number()?);
        let primary = row.bool()?;
        let name = row.optional()?;
        let operator = row.optional()?.zip(row.optional()?);
        let usable = row.bool()?;
        let column = name.clone().zip(operator).map(|(name, (schema, operator))| KeyColumn {
            name,
            equality: format!("OPERATOR({}.{operator})", quote_identifier(&schema)),
        });
        match self.indexes.last_mut() {
            Some(index) if index.oid == oid => {
                index.columns.push(column);
                index.names.push(name);
            }
            _ => {
                let (columns, names) = (vec![column], vec![name]);
                self.indexes.push(Index { oid, relation, primary, usable, columns, names });
            }
        }
        Ok(())
    }

    fn trigger(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a trigger";
        let relation: Oid = row.number()?;
        let (name, bits) = (row.text()?, row.number()?);
        let trigger = Trigger::new(name, bits, callee(row)?);
        let (captures, when) = (row.bool()?, row.letter()?);
        let Some(relation) = self.catalog.relations.get_mut(&relation) else { return Ok(()) };
        relation.captured |= captures && fires_here(when);
        if captures {
            return Ok(());
        }
        if fires_for_copies(when) && trigger.is_about_rows() {
            relation.fires_for_copies.get_or_insert_with(|| format!("the trigger {}", trigger.name));
        }
        if fires_here(when) {
            relation.triggers.push(trigger);
        }
        Ok(())
    }

    fn in_part(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a table that is written to in part";
        let relation: Oid = row.number()?;
        if let Some(relation) = self.catalog.relations.get_mut(&relation) {
            relation.in_part = true;
        }
        Ok(())
    }

    fn rule_target(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a rule";
        let (relation, target): (Oid, Oid) = (row.number()?, row.number()?);
        if let Some(relation) = self.catalog.relations.get_mut(&relation) {
            relation.rule_targets.push(target);
        }
        Ok(())
    }

    fn rule(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a rule";
        let (relation, name): (Oid, String) = (row.number()?, row.text()?);
        let event = match row.letter()? {
            b'2' => Event::Update,
            b'3' => Event::Insert,
            b'4' => Event::Delete,
            _ => return Err(row.fault()),
        };
        let when = row.letter()?;
        let Some(relation) = self.catalog.relations.get_mut(&relation) else { return Ok(()) };
        if fires_for_copies(when) {
            relation.fires_for_copies.get_or_insert_with(|| format!("the rule {name}"));
        }
        if fires_here(when) {
            relation.rules.push(Rule { name, event });
        }
        Ok(())
    }

    fn inheritance(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "an inheritance";
        let (child, parent): (Oid, Oid) = (row.number()?, row.number()?);
        if let Some(relation) = self.catalog.relations.get_mut(&parent) {
            relation.children.push(child);
        }
        if let Some(relation) = self.catalog.relations.get_mut(&child) {
            relation.parents.push(parent);
        }
        Ok(())
    }

    fn foreign_key(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a foreign key";
        let (oid, referring, referred): (Oid, Oid, Oid) = (row.number()?, row.number()?, row.number()?);
        let mut action = || {
            Ok(match row.letter()? {
                b'a' | b'r' => ForeignKeyAction::None,
                b'c' => ForeignKeyAction::Cascade,
                b'n' => ForeignKeyAction::SetNull,
                _ => ForeignKeyAction::SetDefault,
            })
        };
        let (on_delete, on_update) = (action()?, action()?);
        let (column, referred_column) = (row.text()?, row.text()?);
        let key = self.foreign_keys.entry(oid).or_insert_with(|| ForeignKey {
            referring,
            referred,
            on_delete,
            on_update,
            referring_columns: Vec::new(),
            referred_columns: Vec::new(),
        });
        key.referring_columns.push(column);
        key.referred_columns.push(referred_column);
        Ok(())
    }

    fn view(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a view";
        let (view, reads): (Oid, Oid) = (row.number()?, row.number()?);
        if let Some(view) = self.catalog.relations.get_mut(&view) {
            view.reads.push(reads);
        }
        Ok(())
    }
}

/// pg_trigger.tgenabled and pg_rewrite.ev_enabled: `R` waits for `session_replication_role = replica`, `A` for nothing.
fn fires_here(when: u8) -> bool {
    when != b'R'
}

fn fires_for_copies(when: u8) -> bool {
    matches!(when, b'A' | b'R')
}
