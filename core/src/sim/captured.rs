//! What the functions in a database do that capture rows: `runtime/src/cluster/capture/functions.sql`, for the model's tables.
//!
//! The leader says of each row that a statement has touched what it is now, or that it is gone; followers are given that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use super::evaluate::{Error, error};
use super::schema::{TABLES, table};
use super::select::{Context, Stop};
use super::sql::{Strength, Value};
use super::store::{Place, Store, Tx};
use super::write::duplicate;
use crate::effect::capture::CaptureKey;
use crate::wire::{Cursor, backend, frontend};

/// All nodes have it.
pub(super) static KEY: LazyLock<CaptureKey> = LazyLock::new(|| CaptureKey::from_random([7; 32]));

/// How rows are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Telling {
    #[default]
    AsTheyAre,
    /// A fault of ours: what each change has made of them, in the order in which triggers fired, be it undone or not.
    AsTheyWere,
    /// A fault of ours: nothing is said of those that are gone.
    NotOfGone,
}

/// A row that a trigger of ours has fired for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Touched {
    pub table: usize,
    pub row: Vec<Value>,
    pub gone: bool,
}

/// The end of a statement: what is to be said of the rows that it has touched.
pub(super) fn flush(store: &Store, tx: &mut Tx, telling: Telling) -> Vec<String> {
    let touched = tx.take_touched();
    if telling == Telling::AsTheyWere {
        return touched.iter().map(|touched| said(touched.table, &touched.row, touched.gone)).collect();
    }
    let keys: BTreeMap<_, _> = touched.into_iter().map(|t| ((t.table, t.row[0]), t.row)).collect();
    let tell = |((table, key), image): ((usize, Value), Vec<Value>)| {
        let rows = store.places(table).into_iter().filter_map(|place| store.chain(place).latest(tx.id));
        let now = rows.into_iter().find(|row| row[0] == key);
        let gone = now.is_none();
        (!gone || telling != Telling::NotOfGone).then(|| said(table, now.unwrap_or(&image), gone))
    };
    keys.into_iter().filter_map(tell).collect()
}

/// As RAISE INFO.
pub(super) fn info(out: &mut BytesMut, message: &str) {
    frontend::message(out, backend::NOTICE_RESPONSE, |body| {
        for (code, text) in [(b'S', "INFO"), (b'V', "INFO"), (b'C', "00000"), (b'M', message)] {
            body.put_u8(code);
            body.put_slice(text.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
    });
}

/// `lockstep =`, and in base64, in lines: `{=,public.t,"(1,2)"}`, or `x` in place of the sign.
fn said(table: usize, row: &[Value], gone: bool) -> String {
    let sign = if gone { 'x' } else { '=' };
    let values: Vec<String> = row.iter().map(|value| value.map(|n| n.to_string()).unwrap_or_default()).collect();
    let image = format!("{{{sign},public.{},\"({})\"}}", TABLES[table].name, values.join(","));
    let text = STANDARD.encode(image);
    let lines: Vec<&str> = text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap_or("")).collect();
    format!("lockstep = {}", lines.join("\n"))
}

/// Rows as they came: what the journal and followers are given.
pub(super) fn read(payload: &[u8]) -> Option<Vec<Touched>> {
    payload.split(|byte| *byte == b',').map(read_one).collect()
}

fn read_one(text: &[u8]) -> Option<Touched> {
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (sign, rest) = text.strip_prefix('{')?.strip_suffix(")\"}")?.split_once(",public.")?;
    let (name, values) = rest.split_once(",\"(")?;
    let value = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    let gone = match sign {
        "=" => false,
        "x" => true,
        _ => return None,
    };
    Some(Touched { table: table(name)?, row: values.split(',').map(value).collect::<Option<_>>()?, gone })
}

/// `lockstep.apply` under way.
#[derive(Debug, Default)]
pub(super) struct Applying {
    rows: Option<VecDeque<Touched>>,
}

impl Applying {
    /// `parameters`: of the Bind, the rows and their signature.
    pub(super) fn go(&mut self, parameters: &Bytes, context: &mut Context<'_>) -> Result<(), Stop> {
        if self.rows.is_none() {
            self.rows = Some(believed(parameters)?);
        }
        while let Some(row) = self.rows.as_ref().and_then(|rows| rows.front()).cloned() {
            apply(&row, context)?;
            self.rows.iter_mut().for_each(|rows| drop(rows.pop_front()));
        }
        Ok(())
    }
}

fn believed(parameters: &Bytes) -> Result<VecDeque<Touched>, Error> {
    let malformed = || error("08P01", "these are not captured rows");
    let mut cursor = Cursor::new(parameters.clone());
    for _ in 0..cursor.count().map_err(|_| malformed())? {
        cursor.i16().map_err(|_| malformed())?;
    }
    let count = cursor.count().map_err(|_| malformed())?;
    let mut value = || cursor.value().ok().flatten();
    let (2, Some(rows), Some(signature)) = (count, value(), value()) else { return Err(malformed()) };
    if KEY.sign(&rows).as_bytes() != signature {
        return Err(error("42501", "only the proxy may call this"));
    }
    let mut rows = read(&rows).ok_or_else(malformed)?;
    rows.sort_by_key(|row| !row.gone);
    Ok(rows.into())
}

fn apply(touched: &Touched, context: &mut Context<'_>) -> Result<(), Stop> {
    let has_key =
        |place: &Place| context.store.chain(*place).latest(context.tx.id).is_some_and(|row| row[0] == touched.row[0]);
    let there = context.store.places(touched.table).into_iter().find(has_key);
    let Some(place) = there else {
        if !touched.gone {
            duplicate(touched.table, &touched.row, None, context).map_err(Stop::Wait)?;
            context.store.insert(context.tx, touched.table, touched.row.clone());
        }
        return Ok(());
    };
    context.store.lock(context.tx, place, Strength::Update).map_err(Stop::Wait)?;
    context.store.write(context.tx, place, Some(touched.row.clone()).filter(|_| !touched.gone));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::capture::{CapturedRows, all_have_keys};

    #[test]
    fn what_is_said_of_a_row_is_read_back_after_the_core_has_had_it() {
        let touched = [(0, vec![Some(1), Some(-2), None], false), (1, vec![Some(123_456), Some(0), Some(7)], true)];
        let touched = touched.map(|(table, row, gone)| Touched { table, row, gone });
        let mut rows = CapturedRows::default();
        for Touched { table, row, gone } in &touched {
            assert!(rows.take(said(*table, row, *gone).as_bytes()));
        }
        let (_, rows) = rows.take_last().expect("two rows");
        assert!(all_have_keys(&rows));
        assert_eq!(read(&rows).as_deref(), Some(&touched[..]));
    }
}
