//! INSERT, UPDATE and DELETE: the columns that RETURNING is asked for, and what followers do with them.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{DeleteStmt, InsertStmt, Node, OnConflictAction, RangeVar, UpdateStmt};

use super::refuse::refuse;
use super::safety::{self, Change};
use super::scope::{Outcome, Scope, Stop};
use super::{Action, Leaves, Marks, Plan, Write, calls, heritable, returning};
use crate::catalog::model::Identity;
use crate::catalog::{Catalog, Column, Event, Key, Relation, RelationKind};
use crate::effect::{EffectColumn, KeyPart, RowEffect, RowKind, Rows, Text};
use crate::fault::Fault;
use crate::quote::quote_qualified;
use crate::sql::Facts;
use crate::wire::frontend::Format;

/// A write's target, and what is known of it.
struct Target<'a> {
    catalog: &'a Catalog,
    relation: &'a Relation,
    range: &'a RangeVar,
    marks: Marks,
    /// What it reads and computes leaves nothing on the leader.
    leaves: Leaves,
    /// Letters are converted on their way to the client.
    converts: bool,
}

enum Found<'a> {
    /// A temporary table: only the leader has it.
    Temporary(Marks),
    Table(Target<'a>),
}

fn target<'a>(scope: &Scope<'a>, range: Option<&'a RangeVar>, event: Event, facts: &Facts) -> Outcome<Found<'a>> {
    let range = range.ok_or(Stop::Unknown)?;
    if facts.statements.iter().skip(1).any(|s| *s != "SelectStmt") {
        return Err(
            refuse("a write stands within another statement", "Run the two as statements of one transaction.").into()
        );
    }
    let catalog = scope.catalog()?;
    let relation = scope.relation_of(range)?.ok_or(Stop::Unknown)?;
    let mut marks = calls::check_write(scope, facts)?;
    marks.locks |= calls::locks(catalog, relation);
    if event == Event::Insert || facts.defaults {
        calls::note_effect(safety::defaults(catalog, relation), &mut marks);
    }
    if !relation.temporary {
        let converts = scope.converts()?;
        let leaves = match heritable::reads(scope, facts)? {
            Leaves::Nothing => heritable::writes(catalog, relation, None),
            _ => Leaves::More,
        };
        return Ok(Found::Table(Target { catalog, relation, range, marks, leaves, converts }));
    }
    safety::temporary(catalog, relation)?;
    Ok(Found::Temporary(marks))
}

pub fn insert(scope: &Scope<'_>, statement: &InsertStmt, facts: &Facts) -> Outcome {
    let mut target = match target(scope, statement.relation.as_ref(), Event::Insert, facts)? {
        Found::Temporary(marks) => return Ok(Plan { marks, ..Action::Leader.into() }),
        Found::Table(target) => target,
    };
    target.check(Event::Insert, &[], true)?;
    let conflict = statement.on_conflict_clause.as_deref();
    target.leaves = target.leaves.max(heritable::writes(target.catalog, target.relation, conflict));
    let update = conflict.filter(|c| c.action == OnConflictAction::OnconflictUpdate as i32);
    let (kind, key) = match update {
        None => (RowKind::Insert, None),
        Some(clause) => {
            let assigned = assigned(&clause.target_list)?;
            target.check(Event::Update, &assigned, facts.defaults)?;
            target.assignable(&assigned)?;
            (RowKind::Upsert, Some(target.key(&assigned)?))
        }
    };
    let effect = target.inserted(kind, key)?;
    target.plan(scope, statement.returning_clause.as_ref(), &[], statement.with_clause.is_some(), effect)
}

/// Rows that COPY puts into a table, all of whose columns the leader returns.
pub fn of_copy(scope: &Scope<'_>, range: &RangeVar, relation: &Relation) -> Outcome<Write> {
    let (catalog, converts) = (scope.catalog()?, scope.converts()?);
    let target = Target { catalog, relation, range, marks: Marks::default(), leaves: Leaves::More, converts };
    let effect = target.inserted(RowKind::Insert, None)?;
    target.write(scope, None, &[], false, effect)
}

/// All rows of a table, with all their columns.
pub fn of_table(catalog: &Catalog, relation: &Relation, converts: bool) -> Result<Write, Fault> {
    let range = RangeVar::default();
    let target = Target { catalog, relation, range: &range, marks: Marks::default(), leaves: Leaves::More, converts };
    let effect = Arc::new(target.inserted(RowKind::Insert, None)?);
    Ok(Write { append: String::new(), effect, client_columns: super::ClientColumns::None, deferrable: false })
}

/// Some columns of all rows of a table, by a key that is not among them and with no value that another row may not have.
pub fn of_columns(catalog: &Catalog, relation: &Relation, converts: bool, changed: &[String]) -> Outcome<Write> {
    let range = RangeVar::default();
    let target = Target { catalog, relation, range: &range, marks: Marks::default(), leaves: Leaves::More, converts };
    target.check(Event::Update, changed, false)?;
    target.assignable(changed)?;
    let unique = safety::unique_columns(catalog, relation);
    if unique.is_none_or(|unique| changed.iter().any(|c| unique.contains(&c))) {
        let reason = format!("a unique index of {} may be about its new values", relation.name);
        return Err(refuse(reason, "Make the index afterwards, by a statement of its own.").into());
    }
    let mut columns = target.key_columns(target.key(changed)?)?;
    for name in changed {
        columns.push(target.effect_column(target.column(name)?, None));
    }
    let only = relation.kind == RelationKind::Table;
    let effect = Arc::new(target.effect(RowKind::Update, columns, false, true, only)?);
    Ok(Write { append: String::new(), effect, client_columns: super::ClientColumns::None, deferrable: false })
}

pub fn update(scope: &Scope<'_>, statement: &UpdateStmt, facts: &Facts) -> Outcome {
    let target = match target(scope, statement.relation.as_ref(), Event::Update, facts)? {
        Found::Temporary(marks) => return Ok(Plan { marks, ..Action::Leader.into() }),
        Found::Table(target) => target,
    };
    let assigned = assigned(&statement.target_list)?;
    target.check(Event::Update, &assigned, facts.defaults)?;
    target.assignable(&assigned)?;
    let changed = target.changed(scope, &assigned, statement);
    let key = target.key(&changed)?;
    let referred: Vec<&String> = safety::referred_by_itself(target.catalog, target.relation).collect();
    if changed.iter().any(|c| referred.contains(&c)) {
        let reason = format!("it changes a column of {} to which rows of the same table refer", target.relation.name);
        return Err(refuse(reason, "Insert the row anew, let the others refer to it, and delete the old one.").into());
    }
    let mut columns = target.key_columns(key)?;
    for name in changed.iter().filter(|name| !columns.iter().any(|c| c.name == **name)).cloned().collect::<Vec<_>>() {
        columns.push(target.effect_column(target.column(&name)?, None));
    }
    if columns.iter().all(EffectColumn::is_key) {
        // Only its key, to itself: nothing changes, but followers must find the row all the same.
        let name = columns[0].name.clone();
        columns.push(target.effect_column(target.column(&name)?, None));
    }
    let unique = safety::unique_columns(target.catalog, target.relation);
    let free = unique.is_some_and(|unique| !changed.iter().any(|c| unique.contains(&c)));
    let effect =
        target.effect(RowKind::Update, columns, false, free, !statement.relation.as_ref().is_none_or(|r| r.inh))?;
    target.plan(
        scope,
        statement.returning_clause.as_ref(),
        &statement.from_clause,
        statement.with_clause.is_some(),
        effect,
    )
}

pub fn delete(scope: &Scope<'_>, statement: &DeleteStmt, facts: &Facts) -> Outcome {
    let target = match target(scope, statement.relation.as_ref(), Event::Delete, facts)? {
        Found::Temporary(marks) => return Ok(Plan { marks, ..Action::Leader.into() }),
        Found::Table(target) => target,
    };
    target.check(Event::Delete, &[], false)?;
    let columns = target.key_columns(target.key(&[])?)?;
    let whole = safety::refers_to_itself(target.catalog, target.relation);
    let effect = target.effect(RowKind::Delete, columns, whole, !whole, !target.range.inh)?;
    target.plan(
        scope,
        statement.returning_clause.as_ref(),
        &statement.using_clause,
        statement.with_clause.is_some(),
        effect,
    )
}

/// What becomes of a plain write to the table: of an UPDATE, to all columns but those of its first key and those to which
/// its own rows refer.
pub fn judge(catalog: &Catalog, relation: &Relation, event: Event) -> Result<RowEffect, Fault> {
    let range = RangeVar { inh: true, ..RangeVar::default() };
    let target =
        Target { catalog, relation, range: &range, marks: Marks::default(), leaves: Leaves::More, converts: false };
    let key = relation.keys.first();
    let in_key = |c: &Column| key.is_some_and(|key| key.columns.iter().any(|part| part.name == c.name));
    let referred: Vec<_> = safety::referred_by_itself(catalog, relation).collect();
    let kept = |c: &Column| in_key(c) || referred.contains(&&c.name);
    let free = |c: &&Column| !c.generated && c.identity != Identity::Always && !kept(c);
    let assigned: Vec<_> = relation.columns.iter().filter(free).map(|c| c.name.clone()).collect();
    target.check(event, &assigned, true)?;
    if event == Event::Insert {
        return target.inserted(RowKind::Insert, None);
    }
    let key = target.key(&[])?;
    let changes = |c: &&Column| event == Event::Update && assigned.contains(&c.name);
    let part = |c: &&Column| key.columns.iter().any(|part| part.name == c.name);
    let columns = relation.columns.iter().filter(|c| part(c) || changes(c));
    let columns = columns.map(|c| target.effect_column(c, Some(key))).collect();
    let kind = if event == Event::Update { RowKind::Update } else { RowKind::Delete };
    target.effect(kind, columns, false, true, false)
}

/// Names of the columns that a list of assignments assigns.
fn assigned(targets: &[Node]) -> Outcome<Vec<String>> {
    let name = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(target)) => Some(target.name.clone()),
        _ => None,
    };
    let mut names = targets.iter().map(name).collect::<Option<Vec<_>>>().ok_or(Stop::Unknown)?;
    names.sort();
    names.dedup();
    Ok(names)
}

impl<'a> Target<'a> {
    fn check(&self, event: Event, assigned: &[String], defaults: bool) -> Result<(), Fault> {
        safety::check(self.catalog, self.relation, Change { event, assigned, defaults }, !self.range.inh)
    }

    fn column(&self, name: &str) -> Outcome<&'a Column> {
        self.relation.column(name).ok_or(Stop::Unknown)
    }

    fn effect_column(&self, column: &Column, key: Option<&Key>) -> EffectColumn {
        let part = key.and_then(|key| key.columns.iter().find(|part| part.name == column.name));
        let text = if column.padded { Text::Padded } else { Text::ByCast };
        let as_bytes = (column.letters && self.converts).then_some(text);
        EffectColumn {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            format: if as_bytes.is_some() { Format::Binary } else { column.format },
            equality: part.map(|part| part.equality.clone()),
            as_bytes,
            fixed: column.identity == Identity::Always,
        }
    }

    /// An unknown column gets the leader's own error.
    fn assignable(&self, assigned: &[String]) -> Outcome<()> {
        for name in assigned {
            let column = self.column(name)?;
            if column.generated || column.identity == Identity::Always {
                let reason = format!("it assigns {name}, whose value each server would make by itself");
                return Err(refuse(reason, "Leave the column out.").into());
            }
        }
        Ok(())
    }

    /// A key none of whose columns changes.
    fn key(&self, changed: &[String]) -> Result<&'a Key, Fault> {
        let keeps = |key: &&Key| !key.columns.iter().any(|part| changed.contains(&part.name));
        let name = &self.relation.name;
        self.relation.keys.iter().find(keeps).ok_or_else(|| {
            if self.relation.keys.is_empty() {
                let hint = format!("ALTER TABLE {name} ADD PRIMARY KEY (…), or a unique index over NOT NULL columns.");
                return refuse(
                    format_args!("{name} has no key by which its rows could be found on other servers"),
                    hint,
                );
            }
            let hint =
                "Insert the row under its new key and delete the old one, or give the table a second unique key.";
            refuse(format_args!("it changes the key by which rows of {name} are found on other servers"), hint)
        })
    }

    fn key_columns(&self, key: &Key) -> Outcome<Vec<EffectColumn>> {
        key.columns.iter().map(|part| Ok(self.effect_column(self.column(&part.name)?, Some(key)))).collect()
    }

    /// The columns that get another value: those that are set to what the row is found by do not.
    fn changed(&self, scope: &Scope<'_>, assigned: &[String], statement: &UpdateStmt) -> Vec<String> {
        let in_key = |name: &String| self.relation.keys.iter().any(|k| k.columns.iter().any(|part| part.name == *name));
        let kept = |name: &String| {
            if !in_key(name) {
                return false;
            }
            scope.reads_literals();
            returning::keeps(statement, self.relation, self.range, name)
        };
        assigned.iter().filter(|name| !kept(name)).cloned().collect()
    }

    /// Inserted rows: with all their columns but those that every server computes from them.
    fn inserted(&self, kind: RowKind, key: Option<&Key>) -> Result<RowEffect, Fault> {
        let columns = self.relation.columns.iter().filter(|c| !c.generated);
        let columns = columns.map(|c| self.effect_column(c, key)).collect();
        let whole = safety::refers_to_itself(self.catalog, self.relation);
        self.effect(kind, columns, whole, !whole, false)
    }

    fn effect(
        &self,
        kind: RowKind,
        columns: Vec<EffectColumn>,
        whole: bool,
        chunkable: bool,
        only: bool,
    ) -> Result<RowEffect, Fault> {
        let exact =
            |c: &EffectColumn, known: &Column| if c.as_bytes.is_some() { known.text_exact } else { known.exact };
        let inexact = |c: &&EffectColumn| self.relation.column(&c.name).is_none_or(|known| !exact(c, known));
        if let Some(column) = columns.iter().find(inexact) {
            let reason =
                format!("the text of {}.{} depends on settings of the session", self.relation.name, column.name);
            let hint =
                "Use a type without names of objects; in a row type of your own, one without times and fractions.";
            return Err(refuse(reason, hint));
        }
        let Relation { schema, name, .. } = self.relation;
        let prefix = if only { "ONLY " } else { "" };
        let table = format!("{prefix}{}", quote_qualified(schema, name));
        let overriding = self.relation.has_identity();
        let key = self.found_by(kind, &columns);
        Ok(RowEffect::new(Rows { table, kind, columns, whole, chunkable, overriding, key }))
    }

    /// The key by which rows are found when they have been written: that by which they were found before, or, of new ones,
    /// any.
    fn found_by(&self, kind: RowKind, columns: &[EffectColumn]) -> Vec<KeyPart> {
        if kind != RowKind::Insert {
            return columns.iter().filter_map(|c| Some((c.name.clone(), c.equality.clone()?))).collect();
        }
        let known = |key: &&Key| key.columns.iter().all(|part| columns.iter().any(|c| c.name == part.name));
        let key = self.relation.keys.iter().find(known);
        let parts = key.map_or(&[][..], |key| &key.columns);
        parts.iter().map(|part| (part.name.clone(), part.equality.clone())).collect()
    }

    fn plan(
        self,
        scope: &Scope<'_>,
        clause: Option<&pg_query::protobuf::ReturningClause>,
        from: &[Node],
        with: bool,
        effect: RowEffect,
    ) -> Outcome {
        let write = self.write(scope, clause, from, with, effect)?;
        Ok(Plan { marks: self.marks, leaves: self.leaves, ..Action::Write(Arc::new(write)).into() })
    }

    fn write(
        &self,
        scope: &Scope<'_>,
        clause: Option<&pg_query::protobuf::ReturningClause>,
        from: &[Node],
        with: bool,
        effect: RowEffect,
    ) -> Outcome<Write> {
        let sources = returning::Sources { scope, target: self.relation, range: self.range, from, with };
        let client_columns = sources.client_columns(clause)?;
        let append = sources.append(client_columns, &effect.columns)?;
        let deferrable = self.catalog.defers(self.relation);
        Ok(Write { append, effect: Arc::new(effect), client_columns, deferrable })
    }
}
