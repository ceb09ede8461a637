//! Running an INSERT, UPDATE or DELETE: row by row, so that it can wait in the middle and go on.
//!
//! What PostgreSQL does by triggers at the end of the statement, the checks and cascades of foreign keys, stands at the end
//! of the list of what is to be done.

use std::collections::VecDeque;

use super::captured::Touched;
use super::evaluate::{Names, error};
use super::schema::{CAPTURED, TABLES, Table, table};
use super::select::{Context, Recheck, Selecting, Stop, recheck};
use super::sql::{Conflict, Expression, Kind, Strength, Value, Write};
use super::store::{By, Place, TxId};
use super::trigger::Firing;

#[derive(Debug, Clone)]
enum Work {
    Insert(Vec<Value>),
    /// A row that was found, with the row of FROM or USING that goes with it.
    Change(Place, Option<Vec<Value>>),
    /// A row of this table must be there for the one that refers to it.
    Reference(usize, i64),
    /// Rows of this table that refer to what is gone go too.
    Cascade(usize, i64),
    Orphan(Place, i64),
    /// Triggers of a row: those of users, then ours.
    Fire(Touched),
}

#[derive(Debug, Default)]
pub(super) struct Writing {
    subqueries: Vec<Value>,
    subquery: Selecting,
    begun: bool,
    work: VecDeque<Work>,
    /// Triggers of users fire only for what clients ask for.
    of_a_trigger: bool,
    firing: Option<Firing>,
    pub count: usize,
    pub rows: Vec<Vec<Value>>,
}

impl Writing {
    pub(super) fn of_a_trigger() -> Self {
        Self { of_a_trigger: true, ..Self::default() }
    }

    pub(super) fn go(&mut self, write: &Write, context: &mut Context<'_>) -> Result<(), Stop> {
        while let Some(select) = write.subqueries.get(self.subqueries.len()) {
            self.subquery.go(select, context)?;
            let rows = std::mem::take(&mut self.subquery).rows;
            self.subqueries.push(rows.first().and_then(|row| row.first().copied()).flatten());
        }
        let number = table(&write.table).ok_or_else(|| error("42P01", format!("no relation {}", write.table)))?;
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(write, number, context)?;
        }
        while let Some(work) = self.work.front().cloned() {
            match work {
                Work::Insert(values) => self.insert(write, number, &values, context)?,
                Work::Change(place, source) => self.change(write, place, source.as_deref(), context)?,
                Work::Reference(parent, key) => refer(parent, key, context)?,
                Work::Cascade(child, key) => self.cascade(child, key, context),
                Work::Orphan(place, key) => orphan(place, key, context)?,
                Work::Fire(touched) => self.fire(touched, context)?,
            }
            self.work.pop_front();
        }
        match write.counted {
            Some(wanted) if wanted != self.count => Err(error("22012", "division by zero").into()),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, write: &Write, number: usize, context: &mut Context<'_>) -> Result<(), Stop> {
        match &write.kind {
            Kind::Insert { columns, rows, .. } => {
                for row in rows {
                    let values = self.inserted(&TABLES[number], columns, row, context)?;
                    self.work.push_back(Work::Insert(values));
                }
            }
            Kind::Update { filter, .. } | Kind::Delete { filter, .. } => {
                context.tx.footprint.reads(number, filter.as_ref(), context.parameters);
                for place in context.store.places(number) {
                    let seen = context.store.chain(place).seen(context.tx, context.snapshot);
                    let Some(values) = seen.map(<[Value]>::to_vec) else { continue };
                    if let Some(source) = self.matches(write, &values, None, context)? {
                        self.work.push_back(Work::Change(place, source));
                    }
                }
            }
        }
        Ok(())
    }

    fn inserted(
        &self,
        table: &Table,
        columns: &[String],
        row: &[Expression],
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, Stop> {
        let mut values = vec![None; table.columns.len()];
        for (n, column) in table.columns.iter().enumerate() {
            let given = columns.iter().position(|name| name == column.name).and_then(|at| row.get(at));
            values[n] = match (given, column.serial) {
                (None | Some(Expression::Default), Some(sequence)) => context.store.nextval(sequence),
                (None | Some(Expression::Default), None) => None,
                (Some(expression), _) => {
                    self.names(None, None, None, context.parameters).value(expression, context.store)?
                }
            };
        }
        Ok(values)
    }

    fn names<'a>(
        &'a self,
        row: Option<(&'a Table, &'a str, &'a [Value])>,
        source: Option<(&'a super::sql::Source, &'a [Value])>,
        excluded: Option<(&'a Table, &'a [Value])>,
        parameters: &'a [Value],
    ) -> Names<'a> {
        Names { row, source, excluded, parameters, subqueries: &self.subqueries }
    }

    /// Whether a row is meant, and by which row of FROM; `known`: only that one comes into question.
    fn matches(
        &self,
        write: &Write,
        values: &[Value],
        known: Option<&[Value]>,
        context: &mut Context<'_>,
    ) -> Result<Option<Option<Vec<Value>>>, Stop> {
        let (Kind::Update { from, filter, .. } | Kind::Delete { from, filter }) = &write.kind else { return Ok(None) };
        let table = &TABLES[table(&write.table).unwrap_or_default()];
        let row = Some((table, write.alias.as_str(), values));
        let Some(source) = from else {
            let holds = self.names(row, None, None, context.parameters).holds(filter.as_ref(), context.store)?;
            return Ok(holds.then_some(None));
        };
        let mut rows = Vec::new();
        match known {
            Some(known) => rows.push(known.to_vec()),
            None => {
                for given in &source.rows {
                    let names = self.names(None, None, None, context.parameters);
                    rows.push(given.iter().map(|e| names.value(e, context.store)).collect::<Result<Vec<_>, _>>()?);
                }
            }
        }
        for given in rows {
            let names = self.names(row, Some((source, &given)), None, context.parameters);
            if names.holds(filter.as_ref(), context.store)? {
                return Ok(Some(Some(given)));
            }
        }
        Ok(None)
    }

    fn insert(
        &mut self,
        write: &Write,
        number: usize,
        values: &[Value],
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        let Kind::Insert { conflict, .. } = &write.kind else { return Ok(()) };
        let table = &TABLES[number];
        if let Some((column, place)) = duplicate(number, values, None, context).map_err(Stop::Wait)? {
            let name = table.columns[column].name;
            let Some(conflict) = conflict.as_ref().filter(|conflict| conflict.key == [name]) else {
                return Err(error("23505", format!("duplicate key in {}.{name}", table.name)).into());
            };
            return self.update_conflicting(write, conflict, place, values, context);
        }
        context.store.insert(context.tx, number, values.to_vec());
        self.fire_later(number, values, false);
        self.refer_later(table, values);
        self.counted(write, table, values, context)
    }

    fn update_conflicting(
        &mut self,
        write: &Write,
        conflict: &Conflict,
        place: Place,
        excluded: &[Value],
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        if conflict.set.is_empty() {
            return Ok(());
        }
        context.store.lock(context.tx, place, Strength::NoKeyUpdate).map_err(Stop::Wait)?;
        if let Recheck::Done = recheck(context.store, context.tx, place, context.snapshot)? {
            return Err(error("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time").into());
        }
        let table = &TABLES[place.table];
        let Some(old) = context.store.chain(place).latest(context.tx.id).map(<[Value]>::to_vec) else { return Ok(()) };
        let names = self.names(Some((table, &write.alias, &old)), None, Some((table, excluded)), context.parameters);
        let mut new = old.clone();
        for (column, expression) in &conflict.set {
            new[position(table, column)?] = names.value(expression, context.store)?;
        }
        self.put(write, place, &old, new, context)
    }

    fn change(
        &mut self,
        write: &Write,
        place: Place,
        source: Option<&[Value]>,
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        let strength = if matches!(write.kind, Kind::Delete { .. }) { Strength::Update } else { Strength::NoKeyUpdate };
        context.store.lock(context.tx, place, strength).map_err(Stop::Wait)?;
        let changed = match recheck(context.store, context.tx, place, context.snapshot)? {
            Recheck::Gone | Recheck::Done => return Ok(()),
            Recheck::Same => false,
            Recheck::Changed => true,
        };
        let table = &TABLES[place.table];
        let Some(old) = context.store.chain(place).latest(context.tx.id).map(<[Value]>::to_vec) else { return Ok(()) };
        if changed && self.matches(write, &old, source, context)?.is_none() {
            return Ok(());
        }
        let Kind::Update { set, from, .. } = &write.kind else {
            context.store.write(context.tx, place, None);
            self.fire_later(place.table, &old, true);
            let children = TABLES.iter().enumerate().filter(|(_, t)| t.refers.is_some_and(|(_, to)| to == table.name));
            let key = old[0].unwrap_or_default();
            self.work.extend(children.map(|(child, _)| Work::Cascade(child, key)));
            return self.counted(write, table, &old, context);
        };
        let mut new = old.clone();
        let names = self.names(Some((table, &write.alias, &old)), from.as_ref().zip(source), None, context.parameters);
        for (column, expression) in set {
            new[position(table, column)?] = names.value(expression, context.store)?;
        }
        self.put(write, place, &old, new, context)
    }

    /// The row's next version, when nothing stands against it.
    fn put(
        &mut self,
        write: &Write,
        place: Place,
        old: &[Value],
        new: Vec<Value>,
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        let table = &TABLES[place.table];
        if table.unique.iter().any(|column| old[*column] != new[*column]) {
            context.store.lock(context.tx, place, Strength::Update).map_err(Stop::Wait)?;
            if duplicate(place.table, &new, Some(place), context).map_err(Stop::Wait)?.is_some() {
                return Err(error("23505", format!("duplicate key in {}", table.name)).into());
            }
        }
        context.store.write(context.tx, place, Some(new.clone()));
        self.fire_later(place.table, &new, false);
        if table.refers.is_some_and(|(column, _)| old[column] != new[column]) {
            self.refer_later(table, &new);
        }
        self.counted(write, table, &new, context)
    }

    fn fire_later(&mut self, table: usize, row: &[Value], gone: bool) {
        if CAPTURED.contains(&TABLES[table].name) {
            self.work.push_back(Work::Fire(Touched { table, row: row.to_vec(), gone }));
        }
    }

    fn fire(&mut self, touched: Touched, context: &mut Context<'_>) -> Result<(), Stop> {
        if !self.of_a_trigger {
            let of = || Firing::of(TABLES[touched.table].name, &touched.row, touched.gone);
            self.firing = self.firing.take().or_else(of);
            self.firing.as_mut().map_or(Ok(()), |firing| firing.go(context))?;
            self.firing = None;
        }
        context.store.touch(context.tx, touched);
        Ok(())
    }

    fn refer_later(&mut self, child: &Table, values: &[Value]) {
        if let Some((column, parent)) = child.refers
            && let (Some(key), Some(parent)) = (values[column], table(parent))
        {
            self.work.push_back(Work::Reference(parent, key));
        }
    }

    fn counted(
        &mut self,
        write: &Write,
        table: &Table,
        values: &[Value],
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        self.count += 1;
        let names = self.names(Some((table, &write.alias, values)), None, None, context.parameters);
        let row = write.returning.iter().map(|e| names.value(e, context.store)).collect::<Result<Vec<_>, _>>()?;
        if !row.is_empty() {
            self.rows.push(row);
        }
        Ok(())
    }

    fn cascade(&mut self, child: usize, key: i64, context: &mut Context<'_>) {
        let Some((column, _)) = TABLES[child].refers else { return };
        let places = context.store.places(child).into_iter();
        let refers = |place: &Place| {
            context.store.chain(*place).latest(context.tx.id).is_some_and(|values| values[column] == Some(key))
        };
        self.work.extend(places.filter(refers).map(|place| Work::Orphan(place, key)));
    }
}

fn position(table: &Table, column: &str) -> Result<usize, Stop> {
    table.column(column).ok_or_else(|| error("42703", format!("no column {column} in {}", table.name)).into())
}

/// A row that has one of these values in the same unique column. Whoever is about to make or to remove one is waited for.
pub(super) fn duplicate(
    table: usize,
    values: &[Value],
    but: Option<Place>,
    context: &Context<'_>,
) -> Result<Option<(usize, Place)>, TxId> {
    for column in TABLES[table].unique {
        for place in context.store.places(table).into_iter().filter(|place| Some(*place) != but) {
            let chain = context.store.chain(place);
            let same = |row: &[Value]| row[*column].is_some() && row[*column] == values[*column];
            if let Some(other) = chain.changing(context.tx.id) {
                // A row that the other has made and deleted again, too: its index entry is there.
                if chain.open_versions().any(same) || chain.latest(context.tx.id).is_some_and(same) {
                    return Err(other);
                }
            } else if chain.latest(context.tx.id).is_some_and(same) {
                return Ok(Some((*column, place)));
            }
        }
    }
    Ok(None)
}

fn refer(parent: usize, key: i64, context: &mut Context<'_>) -> Result<(), Stop> {
    let there = |place: &Place, context: &Context<'_>| {
        context.store.chain(*place).latest(context.tx.id).is_some_and(|values| values[0] == Some(key))
    };
    let place = context.store.places(parent).into_iter().find(|place| there(place, context));
    if let Some(place) = place {
        context.store.lock(context.tx, place, Strength::KeyShare).map_err(Stop::Wait)?;
        return Ok(());
    }
    Err(error("23503", format!("key {key} is not present in table {}", TABLES[parent].name)).into())
}

fn orphan(place: Place, key: i64, context: &mut Context<'_>) -> Result<(), Stop> {
    context.store.lock(context.tx, place, Strength::Update).map_err(Stop::Wait)?;
    let column = TABLES[place.table].refers.map_or(0, |(column, _)| column);
    let chain = context.store.chain(place);
    let own = matches!(chain.newest().map(|v| v.by), Some(By::Open(..)));
    debug_assert!(!own || chain.changing(context.tx.id).is_none(), "the row is locked");
    if chain.latest(context.tx.id).is_some_and(|values| values[column] == Some(key)) {
        context.store.write(context.tx, place, None);
    }
    Ok(())
}
