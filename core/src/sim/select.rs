//! Running a SELECT, with its locks.

use std::collections::VecDeque;

use super::evaluate::{Error, Names, error};
use super::schema::{TABLES, Table, table};
use super::sql::{Expression, Level, Select, Strength, Value, Waiting};
use super::store::{By, Place, Store, Tx, TxId};

/// Why a statement does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// Until this transaction lets go.
    Wait(TxId),
    Fail(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// What a lock was taken for may have changed meanwhile.
pub(super) enum Recheck {
    Same,
    /// The row was changed by somebody else since the snapshot, and is there.
    Changed,
    Gone,
    /// By this very statement.
    Done,
}

/// To be asked when the row is locked.
pub(super) fn recheck(store: &Store, tx: &Tx, place: Place, snapshot: u64) -> Result<Recheck, Error> {
    let Some(newest) = store.chain(place).newest() else { return Ok(Recheck::Gone) };
    match newest.by {
        By::Committed(commit) if commit > snapshot => {
            if tx.level != Level::ReadCommitted {
                return Err(error("40001", "could not serialize access due to concurrent update"));
            }
            Ok(if newest.values.is_some() { Recheck::Changed } else { Recheck::Gone })
        }
        By::Open(_, command) if command == tx.command => Ok(Recheck::Done),
        _ if newest.values.is_none() => Ok(Recheck::Gone),
        _ => Ok(Recheck::Same),
    }
}

/// A SELECT under way.
#[derive(Debug, Default)]
pub(super) struct Selecting {
    begun: bool,
    candidates: VecDeque<Place>,
    pub rows: Vec<Vec<Value>>,
}

/// What surrounds a statement that runs.
pub(super) struct Context<'a> {
    pub store: &'a mut Store,
    pub tx: &'a mut Tx,
    pub snapshot: u64,
    pub parameters: &'a [Value],
}

impl Selecting {
    pub(super) fn go(&mut self, select: &Select, context: &mut Context<'_>) -> Result<(), Stop> {
        let Some(name) = &select.table else {
            let names = names(None, context.parameters);
            let row =
                select.columns.iter().map(|column| names.value(column, context.store)).collect::<Result<_, _>>()?;
            self.rows = vec![row];
            return Ok(());
        };
        let number = table(name).ok_or_else(|| error("42P01", format!("relation {name} does not exist")))?;
        let table = &TABLES[number];
        if !std::mem::replace(&mut self.begun, true) {
            self.candidates = find(select, number, context)?.into();
        }
        while let Some(place) = self.candidates.front().copied() {
            if select.limit.is_some_and(|limit| self.rows.len() >= limit) {
                break;
            }
            self.take(select, table, place, context)?;
            self.candidates.pop_front();
        }
        if matches!(select.columns[..], [Expression::Count]) {
            self.rows = vec![vec![Some(self.rows.len() as i64)]];
        }
        Ok(())
    }

    fn take(&mut self, select: &Select, table: &Table, place: Place, context: &mut Context<'_>) -> Result<(), Stop> {
        let mut values = context.store.chain(place).seen(context.tx, context.snapshot).map(<[Value]>::to_vec);
        if let Some((strength, waiting)) = select.lock {
            match lock(context, place, strength, waiting)? {
                Recheck::Same | Recheck::Done => {}
                Recheck::Gone => return Ok(()),
                Recheck::Changed => values = context.store.chain(place).latest(context.tx.id).map(<[Value]>::to_vec),
            }
        }
        let Some(values) = values else { return Ok(()) };
        let names = names(Some((table, table.name, &values)), context.parameters);
        if !names.holds(select.filter.as_ref(), context.store)? {
            return Ok(());
        }
        let columns = select.columns.iter().filter(|column| !matches!(column, Expression::Count));
        let row = columns.map(|column| names.value(column, context.store)).collect::<Result<_, _>>()?;
        self.rows.push(row);
        Ok(())
    }
}

fn lock(context: &mut Context<'_>, place: Place, strength: Strength, waiting: Waiting) -> Result<Recheck, Stop> {
    match context.store.lock(context.tx, place, strength) {
        Err(_) if waiting == Waiting::SkipsLocked => return Ok(Recheck::Gone),
        Err(holder) => return Err(Stop::Wait(holder)),
        Ok(()) => {}
    }
    Ok(recheck(context.store, context.tx, place, context.snapshot)?)
}

pub(super) fn names<'a>(row: Option<(&'a Table, &'a str, &'a [Value])>, parameters: &'a [Value]) -> Names<'a> {
    Names { row, source: None, excluded: None, parameters, subqueries: &[] }
}

fn find(select: &Select, number: usize, context: &mut Context<'_>) -> Result<Vec<Place>, Error> {
    context.tx.footprint.reads(number, select.filter.as_ref(), context.parameters);
    let mut found = Vec::new();
    for place in context.store.places(number) {
        let Some(values) = context.store.chain(place).seen(context.tx, context.snapshot).map(<[Value]>::to_vec) else {
            continue;
        };
        let table = &TABLES[number];
        if names(Some((table, table.name, &values)), context.parameters).holds(select.filter.as_ref(), context.store)? {
            found.push((values, place));
        }
    }
    if select.ordered {
        found.sort_by_key(|(values, _)| values[0]);
    }
    Ok(found.into_iter().map(|(_, place)| place).collect())
}
