//! The rows of a unit, out of its batch.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::effect::capture::APPLY;
use crate::effect::role::SET_ROLE;
use crate::effect::{Change, Finder, FoundBy, objects};
use crate::limits;
use crate::unit::Batch;
use crate::wire::cursor::Cursor;
use crate::wire::frontend::Format;
use crate::wire::{Malformed, frame, frontend};

/// What a unit has touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    Rows(Vec<Touch>),
    Unknown(Unknown),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touch {
    /// `keys`: the finder's parameters for one row after the other, each with its length before it; -1 is NULL.
    ByKey { finder: Arc<Finder>, keys: BytesMut },
    /// As triggers of ours have told them.
    Captured(Bytes),
}

/// Why the rows that a unit has touched are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Unknown {
    /// DDL, COPY, a command that each node runs by itself, or what is not known and allowed.
    Statement = 1,
    TooMany = 2,
    NoKey = 3,
    Encoding = 4,
    /// Triggers of ours were being made.
    Capture = 5,
    Objects = 6,
}

impl Unknown {
    pub fn why(self) -> &'static str {
        match self {
            Self::Statement => "had changed more than rows that it names",
            Self::TooMany => "had changed too many rows",
            Self::NoKey => "had changed rows by which they cannot be found",
            Self::Encoding => "came from a client with another encoding than UTF8",
            Self::Capture => "was to have rows captured",
            Self::Objects => "had changed large objects",
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::Statement, Self::TooMany, Self::NoKey, Self::Encoding, Self::Capture, Self::Objects]
            .into_iter()
            .find(|unknown| *unknown as u8 == code)
    }
}

impl Touched {
    pub fn of(batch: &Batch) -> Self {
        if !batch.has_rows_only() {
            return Self::Unknown(Unknown::Statement);
        }
        if batch.spilled() > 0 {
            return Self::Unknown(Unknown::TooMany);
        }
        let mut touches = Touches::default();
        match touches.gather(batch) {
            Ok(Ok(())) => Self::Rows(touches.all),
            Ok(Err(unknown)) => Self::Unknown(unknown),
            // Of what we have written ourselves.
            Err(_) => Self::Unknown(Unknown::Statement),
        }
    }

    /// Whether both may have changed or deleted one row that was there before them.
    pub fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rows(ours), Self::Rows(theirs)) => {
                ours.iter().any(|one| theirs.iter().any(|other| one.may_meet(other)))
            }
            (Self::Unknown(_), Self::Rows(rows)) | (Self::Rows(rows), Self::Unknown(_)) => !rows.is_empty(),
            (Self::Unknown(_), Self::Unknown(_)) => true,
        }
    }

    pub fn rows(&self) -> &[Touch] {
        match self {
            Self::Rows(touches) => touches,
            Self::Unknown(_) => &[],
        }
    }
}

impl Touch {
    /// Captured rows do not say of which table they are.
    fn may_meet(&self, other: &Self) -> bool {
        let (Self::ByKey { finder, keys }, Self::ByKey { finder: found, keys: values }) = (self, other) else {
            return true;
        };
        // No effect of those that have to be told apart is on a table that others inherit from.
        let table = |finder: &Finder| finder.table.strip_prefix("ONLY ").unwrap_or(&finder.table).to_owned();
        let inserted = [finder, found].iter().any(|finder| finder.change == Change::Inserted);
        if inserted || table(finder) != table(found) {
            return false;
        }
        // By another key, or as text, which settings may change, a row looks like another one.
        let alike = finder.by == found.by && finder.parameters.iter().all(|(_, format)| *format == Format::Binary);
        let theirs: HashSet<&[u8]> = rows(finder, values).collect();
        !alike || rows(finder, keys).any(|row| theirs.contains(row))
    }
}

/// The keys of one row after the other.
fn rows<'a>(finder: &Finder, mut keys: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let columns = finder.parameters.len();
    std::iter::from_fn(move || {
        let mut end = 0;
        for _ in 0..columns {
            let length = keys.get(end..)?.first_chunk::<4>()?;
            end += 4 + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        }
        let (row, rest) = keys.split_at_checked(end).filter(|(row, _)| !row.is_empty())?;
        keys = rest;
        Some(row)
    })
}

#[derive(Default)]
struct Touches {
    all: Vec<Touch>,
    bytes: usize,
}

impl Touches {
    fn gather(&mut self, batch: &Batch) -> Result<Result<(), Unknown>, Malformed> {
        let mut rest = batch.tail().clone();
        while !rest.is_empty() {
            let peeked = frame::peek(&rest, limits::MESSAGE).map_err(|_| Malformed::Field("length"))?;
            let (tag, size) = peeked.filter(|(_, size)| *size <= rest.len()).ok_or(Malformed::Short)?;
            let message = rest.split_to(size);
            if tag == frontend::BIND
                && let Err(unknown) = self.bind(batch, message.slice(frame::HEADER..))?
            {
                return Ok(Err(unknown));
            }
        }
        Ok(Ok(()))
    }

    fn bind(&mut self, batch: &Batch, body: Bytes) -> Result<Result<(), Unknown>, Malformed> {
        let mut cursor = Cursor::new(body);
        cursor.cstr()?;
        let name = cursor.cstr()?;
        for _ in 0..cursor.count()? {
            cursor.i16()?;
        }
        let count = cursor.count()?;
        let Some(template) = batch.template(&name) else { return Ok(Err(Unknown::Statement)) };
        let added = match &template.finder {
            Some(finder) => self.keys(finder, count, cursor)?,
            None if template.id == APPLY.id => {
                let rows = cursor.value()?.ok_or(Malformed::Field("captured rows"))?;
                let bytes = rows.len();
                self.all.push(Touch::Captured(rows));
                bytes
            }
            None if template.id == SET_ROLE.id => 0,
            None if template.id == objects::APPLY.id => return Ok(Err(Unknown::Objects)),
            None => return Ok(Err(Unknown::NoKey)),
        };
        self.bytes += added;
        Ok(if self.bytes > limits::JOURNALLED { Err(Unknown::TooMany) } else { Ok(()) })
    }

    fn keys(&mut self, finder: &Arc<Finder>, count: usize, mut cursor: Cursor) -> Result<usize, Malformed> {
        let known = self.all.iter().position(|touch| match touch {
            Touch::ByKey { finder: known, .. } => known == finder,
            Touch::Captured(_) => false,
        });
        let at = known.unwrap_or_else(|| {
            self.all.push(Touch::ByKey { finder: finder.clone(), keys: BytesMut::new() });
            self.all.len() - 1
        });
        let Some(Touch::ByKey { keys, .. }) = self.all.get_mut(at) else { return Err(Malformed::Short) };
        let before = keys.len();
        let width = usize::from(finder.width);
        let mut row = Vec::with_capacity(width);
        for _ in 0..count / width.max(1) {
            row.clear();
            for _ in 0..width {
                row.push(cursor.value()?);
            }
            for (position, _) in &finder.parameters {
                match row.get(usize::from(*position)).ok_or(Malformed::Short)? {
                    Some(value) => {
                        keys.put_u32(value.len() as u32);
                        keys.put_slice(value);
                    }
                    None if matches!(finder.by, FoundBy::Image(_)) => keys.put_i32(-1),
                    None => return Err(Malformed::Field("key")),
                }
            }
        }
        Ok(keys.len() - before)
    }
}
