//! Reading: all of it, or why not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    CLOSE, DIGEST, FINDER, HEADER, MAGIC, NOTE, OPEN, ORIGIN, Origin, Outlives, Touch, Touched, UnitNumber, Unknown,
};
use crate::effect::{Change, Finder, FoundBy};
use crate::id::Epoch;
use crate::wire::cursor::Cursor;
use crate::wire::{Malformed, frontend::Format};

const ZEROS: [u8; 4096] = [0; 4096];

/// What a journal says.
#[derive(Debug, PartialEq, Eq)]
pub struct Contents {
    pub origin: Origin,
    /// The newest note of each node, by its name.
    pub notes: BTreeMap<String, Note>,
    pub open: BTreeMap<UnitNumber, OpenUnit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub epoch: Epoch,
    pub start: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUnit {
    pub database: String,
    pub touched: Touched,
}

/// Why a journal cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it is not a journal of this version")]
    Format,
    #[error("it is {found} bytes long instead of {expected}")]
    Length { found: usize, expected: usize },
    #[error("record {0} is damaged")]
    Record(u64),
    #[error("there is something behind its end")]
    Trailing,
    #[error("record {place} is malformed: {fault}")]
    Malformed { place: u64, fault: Malformed },
}

/// The file was made `size` bytes long, all of them zero, before anything was written to it.
pub fn read(file: &Bytes, size: usize) -> Result<Contents, Damage> {
    if file.len() != size {
        return Err(Damage::Length { found: file.len(), expected: size });
    }
    if !file.starts_with(MAGIC) {
        return Err(Damage::Format);
    }
    let mut reader = Reader::default();
    let mut rest = file.slice(MAGIC.len()..);
    let mut place = 0;
    while let Some(body) = record(&mut rest, place)? {
        reader.take(body).map_err(|fault| Damage::Malformed { place, fault })?;
        place += 1;
    }
    if rest.chunks(ZEROS.len()).any(|piece| piece != &ZEROS[..piece.len()]) {
        return Err(Damage::Trailing);
    }
    let origin = reader.origin.ok_or(Damage::Record(0))?;
    Ok(Contents { origin, notes: reader.notes, open: reader.open })
}

/// The body of the next record; `None` where nothing was written any more.
fn record(rest: &mut Bytes, place: u64) -> Result<Option<Bytes>, Damage> {
    let Some((head, _)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
    let (length, digest): ([u8; 4], [u8; DIGEST]) =
        (std::array::from_fn(|n| head[n]), std::array::from_fn(|n| head[4 + n]));
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 {
        return Ok(None);
    }
    let body = Some(HEADER..HEADER.saturating_add(length)).filter(|range| range.end <= rest.len());
    let body = rest.slice(body.ok_or(Damage::Record(place))?);
    if super::digest(place, &body) != digest {
        return Err(Damage::Record(place));
    }
    *rest = rest.slice(HEADER + length..);
    Ok(Some(body))
}

#[derive(Default)]
struct Reader {
    origin: Option<Origin>,
    notes: BTreeMap<String, Note>,
    finders: Vec<Arc<Finder>>,
    open: BTreeMap<UnitNumber, OpenUnit>,
}

impl Reader {
    fn take(&mut self, body: Bytes) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(body);
        match (cursor.u8()?, self.origin.is_some()) {
            (ORIGIN, false) => {
                let (cluster, boot) = (text(&mut cursor)?, text(&mut cursor)?);
                self.origin = Some(Origin { cluster, boot, outlives: outlives(cursor.u8()?)? });
            }
            (NOTE, true) => {
                let (node, epoch) = (text(&mut cursor)?, Epoch(u64(&mut cursor)?));
                self.notes.insert(node, Note { epoch, start: text(&mut cursor)? });
            }
            (FINDER, true) => self.finders.push(Arc::new(finder(&mut cursor)?)),
            (OPEN, true) => {
                let (unit, database) = (UnitNumber(u64(&mut cursor)?), text(&mut cursor)?);
                let touched = self.touched(&mut cursor)?;
                if self.open.insert(unit, OpenUnit { database, touched }).is_some() {
                    return Err(Malformed::Field("number of a unit"));
                }
            }
            (CLOSE, true) => {
                self.open.remove(&UnitNumber(u64(&mut cursor)?)).ok_or(Malformed::Field("number of a unit"))?;
            }
            _ => return Err(Malformed::Field("kind of record")),
        }
        cursor.finish()
    }

    fn touched(&self, cursor: &mut Cursor) -> Result<Touched, Malformed> {
        let code = cursor.u8()?;
        if code != 0 {
            return Unknown::from_code(code).map(Touched::Unknown).ok_or(Malformed::Field("what was touched"));
        }
        let mut touches = Vec::new();
        while !cursor.is_empty() {
            let number = cursor.u32()? as usize;
            let rows = bytes(cursor)?;
            touches.push(match number.checked_sub(1) {
                None => Touch::Captured(rows),
                Some(n) => {
                    let finder = self.finders.get(n).ok_or(Malformed::Field("number of a finder"))?.clone();
                    Touch::ByKey { finder, keys: BytesMut::from(rows) }
                }
            });
        }
        Ok(Touched::Rows(touches))
    }
}

fn finder(cursor: &mut Cursor) -> Result<Finder, Malformed> {
    let table = text(cursor)?;
    let by = match cursor.u8()? {
        b'k' => FoundBy::Key(text(cursor)?),
        b'i' => FoundBy::Image(text(cursor)?),
        _ => return Err(Malformed::Field("by what rows are found")),
    };
    let width = cursor.count()? as u16;
    let mut parameters = Vec::new();
    for _ in 0..cursor.count()? {
        let position = cursor.count()? as u16;
        parameters.push((position, if cursor.u8()? == 1 { Format::Binary } else { Format::Text }));
    }
    let change = match cursor.u8()? {
        b'i' => Change::Inserted,
        b'd' => Change::Deleted,
        b'u' => {
            let mut columns = Vec::new();
            while !cursor.is_empty() {
                columns.push(text(cursor)?);
            }
            Change::Updated(columns)
        }
        _ => return Err(Malformed::Field("change")),
    };
    Ok(Finder { table, by, parameters, width, change })
}

fn outlives(code: u8) -> Result<Outlives, Malformed> {
    match code {
        0 => Ok(Outlives::Process),
        1 => Ok(Outlives::Machine),
        _ => Err(Malformed::Field("what the file outlives")),
    }
}

fn u64(cursor: &mut Cursor) -> Result<u64, Malformed> {
    Ok(u64::from(cursor.u32()?) << 32 | u64::from(cursor.u32()?))
}

fn bytes(cursor: &mut Cursor) -> Result<Bytes, Malformed> {
    let length = cursor.u32()? as usize;
    cursor.bytes(length)
}

fn text(cursor: &mut Cursor) -> Result<String, Malformed> {
    String::from_utf8(bytes(cursor)?.to_vec()).map_err(|_| Malformed::Field("text"))
}
