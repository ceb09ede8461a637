//! Messages of a server: reading those that are looked into, writing those that a client is sent.

use bytes::{BufMut, Bytes, BytesMut};

use super::frontend::{message, put_cstr};
use super::startup::Version;
use super::{Cursor, Malformed};

pub const AUTHENTICATION: u8 = b'R';
pub const BACKEND_KEY_DATA: u8 = b'K';
pub const BIND_COMPLETE: u8 = b'2';
pub const CLOSE_COMPLETE: u8 = b'3';
pub const COMMAND_COMPLETE: u8 = b'C';
pub const COPY_BOTH_RESPONSE: u8 = b'W';
pub const COPY_DATA: u8 = b'd';
pub const COPY_DONE: u8 = b'c';
pub const COPY_IN_RESPONSE: u8 = b'G';
pub const COPY_OUT_RESPONSE: u8 = b'H';
pub const DATA_ROW: u8 = b'D';
pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
pub const ERROR_RESPONSE: u8 = b'E';
pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
pub const NO_DATA: u8 = b'n';
pub const NOTICE_RESPONSE: u8 = b'N';
pub const NOTIFICATION_RESPONSE: u8 = b'A';
pub const PARAMETER_DESCRIPTION: u8 = b't';
pub const PARAMETER_STATUS: u8 = b'S';
pub const PARSE_COMPLETE: u8 = b'1';
pub const PORTAL_SUSPENDED: u8 = b's';
pub const READY_FOR_QUERY: u8 = b'Z';
pub const ROW_DESCRIPTION: u8 = b'T';

/// Messages that a server may send at any moment, in no relation to what was asked.
pub fn is_asynchronous(tag: u8) -> bool {
    matches!(tag, NOTICE_RESPONSE | NOTIFICATION_RESPONSE | PARAMETER_STATUS)
}

/// The transaction status in ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Idle,
    InTransaction,
    Failed,
}

impl Status {
    pub fn read(body: Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let status = match cursor.u8()? {
            b'I' => Self::Idle,
            b'T' => Self::InTransaction,
            b'E' => Self::Failed,
            _ => return Err(Malformed::Field("transaction status")),
        };
        cursor.finish()?;
        Ok(status)
    }

    pub fn code(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// What an Authentication message asks for or tells (documentation: AuthenticationOk and those after it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    Ok,
    Cleartext,
    Md5 { salt: [u8; 4] },
    Sasl { mechanisms: Vec<Bytes> },
    SaslContinue(Bytes),
    SaslFinal(Bytes),
    Other(i32),
}

impl Authentication {
    pub fn read(body: Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let asked = match cursor.i32()? {
            0 => Self::Ok,
            3 => Self::Cleartext,
            5 => Self::Md5 { salt: cursor.u32()?.to_be_bytes() },
            10 => Self::Sasl { mechanisms: read_mechanisms(&mut cursor)? },
            11 => return Ok(Self::SaslContinue(cursor.rest().clone())),
            12 => return Ok(Self::SaslFinal(cursor.rest().clone())),
            other => return Ok(Self::Other(other)),
        };
        cursor.finish()?;
        Ok(asked)
    }

    pub fn write(&self, out: &mut BytesMut) {
        message(out, AUTHENTICATION, |b| match self {
            Self::Ok => b.put_i32(0),
            Self::Cleartext => b.put_i32(3),
            Self::Md5 { salt } => {
                b.put_i32(5);
                b.put_slice(salt);
            }
            Self::Sasl { mechanisms } => {
                b.put_i32(10);
                mechanisms.iter().for_each(|m| put_cstr(b, m));
                b.put_u8(0);
            }
            Self::SaslContinue(data) => {
                b.put_i32(11);
                b.put_slice(data);
            }
            Self::SaslFinal(data) => {
                b.put_i32(12);
                b.put_slice(data);
            }
            Self::Other(code) => b.put_i32(*code),
        });
    }
}

/// Names up to an empty one.
fn read_mechanisms(cursor: &mut Cursor) -> Result<Vec<Bytes>, Malformed> {
    let mut mechanisms = Vec::new();
    loop {
        match cursor.cstr()? {
            name if name.is_empty() => return Ok(mechanisms),
            name => mechanisms.push(name),
        }
    }
}

/// Name and value of a ParameterStatus.
pub fn read_parameter_status(body: Bytes) -> Result<(Bytes, Bytes), Malformed> {
    let mut cursor = Cursor::new(body);
    let pair = (cursor.cstr()?, cursor.cstr()?);
    cursor.finish()?;
    Ok(pair)
}

/// Process id and cancel key (four bytes in protocol 3.0, up to 256 in 3.2).
pub fn read_key_data(body: Bytes) -> Result<(u32, Bytes), Malformed> {
    let mut cursor = Cursor::new(body);
    let pid = cursor.u32()?;
    let key = cursor.rest().clone();
    if key.len() < 4 || key.len() > 256 {
        return Err(Malformed::Field("cancel key"));
    }
    Ok((pid, key))
}

/// The tag of a CommandComplete, such as `INSERT 0 1`.
pub fn read_command_complete(body: Bytes) -> Result<Bytes, Malformed> {
    let mut cursor = Cursor::new(body);
    let tag = cursor.cstr()?;
    cursor.finish()?;
    Ok(tag)
}

/// One column of a RowDescription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: Bytes,
    pub table: u32,
    pub attribute: i16,
    pub type_oid: u32,
    pub type_len: i16,
    pub type_modifier: i32,
    pub format: i16,
}

pub fn read_row_description(body: Bytes) -> Result<Vec<Column>, Malformed> {
    let mut cursor = Cursor::new(body);
    let mut columns = Vec::new();
    for _ in 0..cursor.count()? {
        columns.push(Column {
            name: cursor.cstr()?,
            table: cursor.u32()?,
            attribute: cursor.i16()?,
            type_oid: cursor.u32()?,
            type_len: cursor.i16()?,
            type_modifier: cursor.i32()?,
            format: cursor.i16()?,
        });
    }
    cursor.finish()?;
    Ok(columns)
}

pub fn row_description(out: &mut BytesMut, columns: &[Column]) {
    message(out, ROW_DESCRIPTION, |b| {
        b.put_u16(columns.len() as u16);
        for column in columns {
            put_cstr(b, &column.name);
            b.put_u32(column.table);
            b.put_i16(column.attribute);
            b.put_u32(column.type_oid);
            b.put_i16(column.type_len);
            b.put_i32(column.type_modifier);
            b.put_i16(column.format);
        }
    });
}

/// The values of a DataRow.
pub fn read_data_row(body: Bytes) -> Result<Vec<Option<Bytes>>, Malformed> {
    let mut cursor = Cursor::new(body);
    let mut values = Vec::new();
    for _ in 0..cursor.count()? {
        values.push(cursor.value()?);
    }
    cursor.finish()?;
    Ok(values)
}

pub fn data_row<'a>(out: &mut BytesMut, values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
    message(out, DATA_ROW, |b| {
        b.put_u16(values.len() as u16);
        values.for_each(|v| put_value(b, v));
    });
}

/// A value with its length before it, NULL as -1.
pub fn put_value(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(bytes) => {
            out.put_i32(bytes.len() as i32);
            out.put_slice(bytes);
        }
        None => out.put_i32(-1),
    }
}

pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, COMMAND_COMPLETE, |b| put_cstr(b, tag.as_bytes()));
}

pub fn ready_for_query(out: &mut BytesMut, status: Status) {
    out.put_slice(&[READY_FOR_QUERY, 0, 0, 0, 5, status.code()]);
}

pub fn parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    message(out, PARAMETER_STATUS, |b| {
        put_cstr(b, name);
        put_cstr(b, value);
    });
}

pub fn key_data(out: &mut BytesMut, pid: u32, key: &[u8]) {
    message(out, BACKEND_KEY_DATA, |b| {
        b.put_u32(pid);
        b.put_slice(key);
    });
}

/// Tells a client the newest minor version that is spoken here and which of its `_pq_.` options are not known.
pub fn negotiate_protocol_version(out: &mut BytesMut, minor: u16, unknown: &[Bytes]) {
    message(out, NEGOTIATE_PROTOCOL_VERSION, |b| {
        b.put_u32((3 << 16) | u32::from(minor));
        b.put_u32(unknown.len() as u32);
        unknown.iter().for_each(|name| put_cstr(b, name));
    });
}

/// The newest version that a server speaks, and the `_pq_.` options that it does not know.
pub fn read_negotiate_protocol_version(body: Bytes) -> Result<(Version, Vec<Bytes>), Malformed> {
    let mut cursor = Cursor::new(body);
    let version = Version::from_code(cursor.u32()?);
    let mut unknown = Vec::new();
    for _ in 0..cursor.u32()? {
        unknown.push(cursor.cstr()?);
    }
    cursor.finish()?;
    Ok((version, unknown))
}

/// A message that consists of its tag alone: ParseComplete, BindComplete, CloseComplete, NoData, EmptyQueryResponse …
pub fn bare(out: &mut BytesMut, tag: u8) {
    out.put_slice(&[tag, 0, 0, 0, 4]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::take_frame;

    #[test]
    fn a_row_survives_a_round_trip_with_null_and_empty_told_apart() {
        let mut out = BytesMut::new();
        data_row(&mut out, [Some(&b"a"[..]), None, Some(b"")].into_iter());
        let body = take_frame(&mut out, 1 << 20).unwrap().unwrap().body();
        assert_eq!(read_data_row(body), Ok(vec![Some("a".into()), None, Some(Bytes::new())]));
    }

    #[test]
    fn a_row_description_survives_a_round_trip() {
        let column = Column {
            name: "id".into(),
            table: 16384,
            attribute: 1,
            type_oid: 23,
            type_len: 4,
            type_modifier: -1,
            format: 0,
        };
        let mut out = BytesMut::new();
        row_description(&mut out, &[column.clone(), column.clone()]);
        let body = take_frame(&mut out, 1 << 20).unwrap().unwrap().body();
        assert_eq!(read_row_description(body), Ok(vec![column.clone(), column]));
    }
}
