//! What a model node answers a statement with, and how values travel.

use bytes::{Buf, Bytes, BytesMut};

use super::schema::{TABLES, table};
use super::sql::{Expression, Kind, Select, Statement, Value, Write};
use crate::wire::backend::{self, Column};
use crate::wire::{Cursor, Malformed};

#[derive(Debug)]
pub(super) struct Answer {
    tag: String,
    rows: Vec<Vec<Option<Bytes>>>,
    values: Vec<Vec<Value>>,
    /// Which columns take eight bytes in binary.
    wide: Vec<bool>,
    width: usize,
}

impl Answer {
    pub(super) fn tag(tag: &str) -> Self {
        Self { tag: tag.to_owned(), rows: Vec::new(), values: Vec::new(), wide: Vec::new(), width: 0 }
    }

    pub(super) fn selected(select: &Select, values: Vec<Vec<Value>>) -> Self {
        let wide = select.columns.iter().map(|column| is_wide(select.table.as_deref(), column)).collect();
        let tag = format!("SELECT {}", values.len());
        Self { values, wide, width: select.columns.len(), ..Self::tag(&tag) }
    }

    pub(super) fn written(write: &Write, count: usize, values: Vec<Vec<Value>>) -> Self {
        let wide = write.returning.iter().map(|column| is_wide(Some(&write.table), column)).collect();
        let tag = match (write.counted, &write.kind) {
            (Some(_), _) => "SELECT 1".to_owned(),
            (None, Kind::Insert { .. }) => format!("INSERT 0 {count}"),
            (None, Kind::Update { .. }) => format!("UPDATE {count}"),
            (None, Kind::Delete { .. }) => format!("DELETE {count}"),
        };
        Self { values, wide, width: write.returning.len(), ..Self::tag(&tag) }
    }

    /// Of a function that returns nothing.
    pub(super) fn void() -> Self {
        Self::one(Bytes::new())
    }

    /// Of one that returns this.
    pub(super) fn one(value: Bytes) -> Self {
        Self { rows: vec![vec![Some(value)]], width: 1, ..Self::tag("SELECT 1") }
    }

    /// In the notation of the query: `pg_catalog`, `public`; the client's encoding; the role.
    pub(super) fn search_path() -> Self {
        let row = [&b"70675f636174616c6f67 7075626c6963"[..], b"UTF8", b"none", b"read committed"];
        let row = row.into_iter().map(|value| Some(Bytes::from_static(value))).collect();
        Self { rows: vec![row], width: 3, ..Self::tag("SELECT 1") }
    }

    pub(super) fn summary(&self) -> String {
        let values: Vec<_> = self.values.iter().take(4).map(|row| format!("{:?}", Row(row))).collect();
        format!("{} {}", self.tag, values.join(" "))
    }

    /// `described`: a Query's rows are described unasked.
    pub(super) fn write(&self, out: &mut BytesMut, formats: &[i16], described: bool) {
        if described && self.width > 0 {
            describe(out, self.width);
        }
        for row in &self.rows {
            backend::data_row(out, row.iter().map(|value| value.as_deref()));
        }
        for row in &self.values {
            let row: Vec<_> = row.iter().enumerate().map(|(n, value)| self.encoded(n, *value, formats)).collect();
            backend::data_row(out, row.iter().map(|value| value.as_deref()));
        }
        backend::command_complete(out, &self.tag);
    }

    fn encoded(&self, n: usize, value: Value, formats: &[i16]) -> Option<Vec<u8>> {
        let format = match formats {
            [] => 0,
            [one] => *one,
            each => each.get(n).copied().unwrap_or(0),
        };
        value.map(|value| match (format, self.wide.get(n)) {
            (0, _) => value.to_string().into_bytes(),
            (_, Some(true)) => value.to_be_bytes().to_vec(),
            _ => (value as i32).to_be_bytes().to_vec(),
        })
    }
}

/// A row as short as it can be read.
struct Row<'a>(&'a [Value]);

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values: Vec<_> = self.0.iter().map(|v| v.map_or("-".to_owned(), |v| v.to_string())).collect();
        write!(f, "({})", values.join(","))
    }
}

fn is_wide(of: Option<&str>, column: &Expression) -> bool {
    match column {
        Expression::Column(_, name) => {
            let table = of.and_then(table).map(|number| &TABLES[number]);
            table.and_then(|t| t.column(name).map(|n| t.columns[n].wide)).unwrap_or(false)
        }
        Expression::Nextval(_) | Expression::Count => true,
        _ => false,
    }
}

/// Columns of a statement's rows.
pub(super) fn width(statement: &Statement) -> usize {
    match statement {
        Statement::Select(select) => select.columns.len(),
        Statement::Write(Write { counted: Some(_), .. }) => 1,
        Statement::Write(write) => write.returning.len(),
        Statement::SearchPath => 4,
        Statement::Flush | Statement::Apply | Statement::Advisory(_) | Statement::TakeAgain(_) => 1,
        _ => 0,
    }
}

pub(super) fn describe(out: &mut BytesMut, width: usize) {
    let column = Column {
        name: Bytes::from_static(b"c"),
        table: 0,
        attribute: 0,
        type_oid: 23,
        type_len: 4,
        type_modifier: -1,
        format: 0,
    };
    backend::row_description(out, &vec![column; width]);
}

/// Formats and values of a Bind.
pub(super) fn parameters(raw: &Bytes) -> Result<Vec<Value>, Malformed> {
    let mut cursor = Cursor::new(raw.clone());
    let mut formats = Vec::new();
    for _ in 0..cursor.count()? {
        formats.push(cursor.i16()?);
    }
    let mut values = Vec::new();
    for n in 0..cursor.count()? {
        let format = if formats.len() == 1 { formats[0] } else { formats.get(n).copied().unwrap_or(0) };
        let value = cursor.value()?;
        values.push(value.map(|value| decoded(value, format)).transpose()?);
    }
    Ok(values)
}

pub(super) fn decoded(mut value: Bytes, format: i16) -> Result<i64, Malformed> {
    match (format, value.len()) {
        (0, _) => std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::Field("number")),
        (_, 4) => Ok(value.get_i32().into()),
        (_, 8) => Ok(value.get_i64()),
        _ => Err(Malformed::Field("length of a number")),
    }
}
