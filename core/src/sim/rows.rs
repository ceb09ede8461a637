//! The rows that units have touched: how they are found on a model node, and brought to one state.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::answer::decoded;
use super::captured;
use super::node::Node;
use super::schema::{TABLES, table};
use super::sql::{Level, Strength, Value};
use crate::effect::{Change, Finder, FoundBy};
use crate::journal::{Follows, Hindrance, Touch};
use crate::wire::Cursor;

/// Values of one column.
#[derive(Debug)]
pub(super) struct Keys {
    pub table: usize,
    column: usize,
    values: BTreeSet<i64>,
    /// `None`: it was captured.
    change: Option<Change>,
}

/// By table.
pub(super) type Rows = BTreeMap<usize, BTreeSet<Vec<Value>>>;

impl Keys {
    /// `None`: it is not of the model.
    pub(super) fn of(touch: &Touch) -> Option<Vec<Self>> {
        match touch {
            Touch::ByKey { finder, keys } => Some(vec![Self::by_finder(finder, keys)?]),
            Touch::Captured(rows) => {
                let by_row = |touched: captured::Touched| {
                    let values = BTreeSet::from([touched.row[0]?]);
                    Some(Self { table: touched.table, column: 0, values, change: None })
                };
                captured::read(rows)?.into_iter().map(by_row).collect()
            }
        }
    }

    fn by_finder(finder: &Finder, keys: &[u8]) -> Option<Self> {
        let Finder { table: name, by: FoundBy::Key(condition), parameters, change, .. } = finder else {
            return None;
        };
        let table = table(name.rsplit('.').next()?.trim_matches('"'))?;
        let column = condition.strip_prefix("x.")?.split(' ').next()?.trim_matches('"');
        let column = TABLES[table].column(column)?;
        let [(_, format)] = parameters[..] else { return None };
        let mut cursor = Cursor::new(Bytes::copy_from_slice(keys));
        let mut values = BTreeSet::new();
        while !cursor.is_empty() {
            values.insert(decoded(cursor.value().ok()??, format.code()).ok()?);
        }
        Some(Self { table, column, values, change: Some(change.clone()) })
    }

    fn has(&self, row: &[Value]) -> bool {
        row[self.column].is_some_and(|value| self.values.contains(&value))
    }

    pub(super) fn hindrance(&self) -> Option<Hindrance> {
        let name = TABLES[self.table].name;
        let deleted = TABLES.iter().any(|other| other.refers.is_some_and(|(_, to)| to == name));
        Follows { deleted, ..Follows::default() }.hinders(self.change.as_slice())
    }
}

impl Node {
    pub(super) fn find(&self, keys: &[Keys]) -> Rows {
        let mut rows = Rows::new();
        for keys in keys {
            let found = self.store.committed(keys.table).into_iter().filter(|row| keys.has(row));
            rows.entry(keys.table).or_default().extend(found);
        }
        rows
    }

    /// What is found goes, and what is right comes; all of it, or nothing. `adds`: a fault of ours, nothing goes.
    pub(super) fn bring_to(&mut self, right: &Rows, keys: &[Keys], adds: bool) -> Result<(), String> {
        let here = self.find(keys);
        let store = &mut self.store;
        let mut tx = store.begin(Level::ReadCommitted);
        for (number, rows) in right.iter().filter(|(number, rows)| here.get(*number) != Some(*rows)) {
            for place in store.places(*number) {
                let found = store.chain(place).latest(tx.id);
                let found = found.is_some_and(|row| keys.iter().any(|keys| keys.table == *number && keys.has(row)));
                if !found || adds {
                    continue;
                }
                if store.lock(&mut tx, place, Strength::Update).is_err() {
                    store.roll_back(tx);
                    return Err(format!("somebody else has locked rows of {}", TABLES[*number].name));
                }
                store.write(&mut tx, place, None);
            }
            rows.iter().for_each(|row| store.insert(&mut tx, *number, row.clone()));
        }
        store.commit(tx).map_err(|error| error.message)
    }
}
