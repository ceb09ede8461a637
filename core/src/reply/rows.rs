//! Rows that the leader returned for a write: the client's columns go on, ours go into the log.
//!
//! A DataRow writes a value as Bind does (length, bytes), so our columns of a row are its parameters as they stand.

use bytes::{BufMut, Bytes, BytesMut};

use crate::effect::{RowEffect, Template};
use crate::limits;
use crate::unit::Log;
use crate::wire::backend::DATA_ROW;
use crate::wire::frontend::{Format, message};
use crate::wire::{Cursor, Malformed};

/// Rows of one statement that are not in the log yet.
#[derive(Debug, Default)]
pub struct Rows {
    values: BytesMut,
    /// Where each row ends in `values`.
    ends: Vec<usize>,
    /// Applies a full chunk: its text is long, and made once.
    chunk: Option<Template>,
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

    /// Whether more rows may come before [`Self::flush`] has something to do.
    pub fn may_wait(&self, effect: &RowEffect) -> bool {
        effect.chunkable && !effect.whole && self.ends.len() < limits::ROWS_PER_STATEMENT
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
        match rows {
            1 => log.execute(&effect.single, formats, count, &values),
            limits::ROWS_PER_STATEMENT => {
                let chunk = self.chunk.get_or_insert_with(|| effect.multi(rows));
                log.execute(chunk, formats, count, &values);
            }
            _ => log.execute(&effect.multi(rows), formats, count, &values),
        }
        self.ends.drain(..rows);
        self.ends.iter_mut().for_each(|e| *e -= end);
    }
}
