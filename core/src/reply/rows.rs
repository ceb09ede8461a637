//! Rows that the leader returned for a write: the client's columns go on, ours go into the log.
//!
//! A DataRow writes a value as Bind does (length, bytes), so our columns of a row are its parameters as they stand.

use bytes::{BufMut, Bytes, BytesMut};

use crate::effect::{RowEffect, RowKind};
use crate::limits;
use crate::unit::{Log, Touched};
use crate::wire::backend::DATA_ROW;
use crate::wire::frontend::{Format, message};
use crate::wire::{Cursor, Malformed};

/// Rows of one statement that are not in the log yet.
#[derive(Debug, Default)]
pub struct Rows {
    values: BytesMut,
    /// Where each row ends in `values`.
    ends: Vec<usize>,
}

/// A statement that must be applied as one did too much for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a statement on a table with a foreign key to itself changed too many rows to be replicated as one statement")]
pub struct TooManyRows;

impl Rows {
    /// Takes a DataRow whose last `ours` columns are ours; writes the rest for the client where it expects rows.
    pub fn take(&mut self, body: &Bytes, ours: usize, client: Option<&mut BytesMut>) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(body.clone());
        let columns = cursor.count()?;
        let theirs = columns.checked_sub(ours).ok_or(Malformed::Field("number of columns"))?;
        let before = cursor.rest().len();
        for _ in 0..theirs {
            cursor.value()?;
        }
        let own = cursor.rest().clone();
        if let Some(out) = client {
            let head = body.len() - before;
            message(out, DATA_ROW, |b| {
                b.put_u16(theirs as u16);
                b.put_slice(&body[head..body.len() - own.len()]);
            });
        }
        self.values.extend_from_slice(&own);
        self.ends.push(self.values.len());
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Moves full chunks into the log; all rows with `end`.
    pub fn flush(&mut self, effect: &RowEffect, log: &mut Log, end: bool) -> Result<(), TooManyRows> {
        let formats: Vec<Format> = effect.columns.iter().map(|c| c.format).collect();
        if effect.whole {
            return if end { self.flush_whole(effect, &formats, log) } else { self.bound_whole(effect) };
        }
        let chunk = limits::ROWS_PER_STATEMENT;
        while effect.chunkable && self.ends.len() >= chunk {
            self.execute(effect, &formats, log, chunk);
        }
        if end || !effect.chunkable {
            while !self.ends.is_empty() {
                self.execute(effect, &formats, log, 1);
            }
        }
        Ok(())
    }

    fn bound_whole(&self, effect: &RowEffect) -> Result<(), TooManyRows> {
        let parameters = self.ends.len() * effect.columns.len();
        if parameters > usize::from(u16::MAX) || self.values.len() > limits::WHOLE_STATEMENT {
            Err(TooManyRows)
        } else {
            Ok(())
        }
    }

    fn flush_whole(&mut self, effect: &RowEffect, formats: &[Format], log: &mut Log) -> Result<(), TooManyRows> {
        self.bound_whole(effect)?;
        let rows = self.ends.len();
        if rows > 0 {
            self.execute(effect, formats, log, rows);
        }
        Ok(())
    }

    fn execute(&mut self, effect: &RowEffect, formats: &[Format], log: &mut Log, rows: usize) {
        let end = self.ends[rows - 1];
        let values = self.values.split_to(end);
        let count = formats.len() * rows;
        log.touch(|touched| note(touched, effect, rows, &values));
        if rows == 1 {
            log.execute(&effect.single, formats, count, &values);
        } else {
            log.execute(&effect.multi(rows), formats, count, &values);
        }
        self.ends.drain(..rows);
        self.ends.iter_mut().for_each(|e| *e -= end);
    }
}

/// Notes which rows they are. A value as text may differ for one row, by the session's settings.
fn note(touched: &mut Touched, effect: &RowEffect, rows: usize, values: &[u8]) {
    if effect.kind == RowKind::Insert {
        return;
    }
    let key = || effect.columns.iter().filter(|column| column.is_key());
    if key().next().is_none() || key().any(|column| column.format == Format::Text) {
        return touched.note_all();
    }
    let mut rest = values;
    for _ in 0..rows {
        let mut whole = true;
        let found = effect.columns.iter().filter_map(|column| {
            let value = take_value(&mut rest);
            whole &= value.is_some();
            value.filter(|_| column.is_key())
        });
        touched.note(&effect.table, key().map(|column| &*column.name), found);
        if !whole {
            return touched.note_all();
        }
    }
}

/// A value behind its length; NULL is as good as empty, for a key has none.
fn take_value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    let (value, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(value)
}
