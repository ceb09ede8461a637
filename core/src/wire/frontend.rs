//! Messages of a client: reading those that are looked into, writing those that a node is sent.

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::Body;
use super::{Cursor, Malformed};

pub const BIND: u8 = b'B';
pub const CLOSE: u8 = b'C';
pub const COPY_DATA: u8 = b'd';
pub const COPY_DONE: u8 = b'c';
pub const COPY_FAIL: u8 = b'f';
pub const DESCRIBE: u8 = b'D';
pub const EXECUTE: u8 = b'E';
pub const FLUSH: u8 = b'H';
pub const FUNCTION_CALL: u8 = b'F';
pub const PARSE: u8 = b'P';
/// PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse share a tag; the state of the login tells which.
pub const PASSWORD: u8 = b'p';
pub const QUERY: u8 = b'Q';
pub const SYNC: u8 = b'S';
pub const TERMINATE: u8 = b'X';

/// A Describe or Close names one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Statement,
    Portal,
}

impl Target {
    fn read(cursor: &mut Cursor<impl Body>) -> Result<Self, Malformed> {
        match cursor.u8()? {
            b'S' => Ok(Self::Statement),
            b'P' => Ok(Self::Portal),
            _ => Err(Malformed::Field("statement or portal")),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }
}

/// Text (0) or binary (1) representation of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Text,
    Binary,
}

impl Format {
    fn read(cursor: &mut Cursor) -> Result<Self, Malformed> {
        match cursor.i16()? {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            _ => Err(Malformed::Field("format")),
        }
    }

    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    pub name: Bytes,
    pub sql: Bytes,
    /// OIDs of the parameters' types as the client gave them; 0 leaves one to the server.
    pub types: Vec<u32>,
}

impl Parse {
    pub fn read(body: Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let name = cursor.cstr()?;
        let sql = cursor.cstr()?;
        let count = cursor.count()?;
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(cursor.u32()?);
        }
        cursor.finish()?;
        Ok(Self { name, sql, types })
    }
}

/// A function by its OID, with all of its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCall {
    pub oid: u32,
    pub arguments: Vec<(Format, Option<Bytes>)>,
    pub result: Format,
}

impl FunctionCall {
    pub fn read(body: Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let oid = cursor.u32()?;
        let mut formats = Vec::new();
        for _ in 0..cursor.count()? {
            formats.push(Format::read(&mut cursor)?);
        }
        let mut arguments = Vec::new();
        for at in 0..cursor.count()? {
            // None given: all in text; one given: all in that.
            let format = formats.get(at).or(formats.first()).copied().unwrap_or(Format::Text);
            arguments.push((format, cursor.value()?));
        }
        let result = Format::read(&mut cursor)?;
        cursor.finish()?;
        Ok(Self { oid, arguments, result })
    }
}

/// A Bind, read only as far as a proxy needs it: whose, and where its result formats stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind<B = Bytes> {
    pub portal: B,
    pub statement: B,
    /// Parameter formats and values as they came, with their counts: everything between the names and `result_formats`.
    pub parameters: B,
    pub result_formats: Vec<i16>,
}

impl<B: Body> Bind<B> {
    pub fn read(body: B) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let portal = cursor.cstr()?;
        let statement = cursor.cstr()?;
        let mut from = cursor.rest().clone();
        let formats = cursor.count()?;
        cursor.bytes(formats * 2)?;
        for _ in 0..cursor.count()? {
            cursor.value()?;
        }
        let parameters = from.take_first(from.len() - cursor.rest().len());
        let mut result_formats = Vec::new();
        for _ in 0..cursor.count()? {
            result_formats.push(cursor.i16()?);
        }
        cursor.finish()?;
        Ok(Self { portal, statement, parameters, result_formats })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<B = Bytes> {
    pub target: Target,
    pub name: B,
}

impl<B: Body> Named<B> {
    /// The body of a Describe or a Close.
    pub fn read(body: B) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let target = Target::read(&mut cursor)?;
        let name = cursor.cstr()?;
        cursor.finish()?;
        Ok(Self { target, name })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute<B = Bytes> {
    pub portal: B,
    /// Rows to return at most; 0 is all.
    pub max_rows: i32,
}

impl<B: Body> Execute<B> {
    pub fn read(body: B) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let portal = cursor.cstr()?;
        let max_rows = cursor.i32()?;
        cursor.finish()?;
        Ok(Self { portal, max_rows })
    }
}

/// The text of a Query, without its NUL.
pub fn read_query(body: Bytes) -> Result<Bytes, Malformed> {
    let mut cursor = Cursor::new(body);
    let sql = cursor.cstr()?;
    cursor.finish()?;
    Ok(sql)
}

/// Writes tag and length, then whatever `body` puts, and sets the length right.
pub fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes bytes and a terminating NUL. The caller guarantees that there is none inside.
pub fn put_cstr(out: &mut BytesMut, text: &[u8]) {
    debug_assert!(!text.contains(&0), "a NUL inside a protocol string");
    out.put_slice(text);
    out.put_u8(0);
}

pub fn query(out: &mut BytesMut, sql: &[u8]) {
    message(out, QUERY, |b| put_cstr(b, sql));
}

pub fn parse(out: &mut BytesMut, name: &[u8], sql: &[u8], types: &[u32]) {
    message(out, PARSE, |b| {
        put_cstr(b, name);
        put_cstr(b, sql);
        b.put_u16(types.len() as u16);
        types.iter().for_each(|t| b.put_u32(*t));
    });
}

/// `parameters` is the part that [`Bind::parameters`] holds: formats and values with their counts.
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], parameters: &[u8], result_formats: &[i16]) {
    message(out, BIND, |b| {
        put_cstr(b, portal);
        put_cstr(b, statement);
        b.put_slice(parameters);
        b.put_u16(result_formats.len() as u16);
        result_formats.iter().for_each(|f| b.put_i16(*f));
    });
}

/// Formats and values of a Bind without parameters.
pub const NO_PARAMETERS: &[u8] = &[0, 0, 0, 0];

pub fn describe(out: &mut BytesMut, target: Target, name: &[u8]) {
    message(out, DESCRIBE, |b| {
        b.put_u8(target.code());
        put_cstr(b, name);
    });
}

pub fn close(out: &mut BytesMut, target: Target, name: &[u8]) {
    message(out, CLOSE, |b| {
        b.put_u8(target.code());
        put_cstr(b, name);
    });
}

pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) {
    message(out, EXECUTE, |b| {
        put_cstr(b, portal);
        b.put_i32(max_rows);
    });
}

pub fn sync(out: &mut BytesMut) {
    out.put_slice(&[SYNC, 0, 0, 0, 4]);
}

pub fn flush(out: &mut BytesMut) {
    out.put_slice(&[FLUSH, 0, 0, 0, 4]);
}

pub fn terminate(out: &mut BytesMut) {
    out.put_slice(&[TERMINATE, 0, 0, 0, 4]);
}

pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    message(out, COPY_DATA, |b| b.put_slice(data));
}

pub fn copy_done(out: &mut BytesMut) {
    out.put_slice(&[COPY_DONE, 0, 0, 0, 4]);
}

pub fn copy_fail(out: &mut BytesMut, reason: &str) {
    message(out, COPY_FAIL, |b| put_cstr(b, reason.as_bytes()));
}

/// PasswordMessage, SASLResponse: `data` as it is.
pub fn password(out: &mut BytesMut, data: &[u8]) {
    message(out, PASSWORD, |b| b.put_slice(data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::take_frame;

    fn body(out: &mut BytesMut) -> Bytes {
        take_frame(out, 1 << 20).unwrap().unwrap().body()
    }

    #[test]
    fn a_bind_survives_a_round_trip_with_its_parameters_untouched() {
        let mut parameters = BytesMut::new();
        parameters.put_u16(1);
        parameters.put_i16(1);
        parameters.put_u16(2);
        parameters.put_i32(-1);
        parameters.put_i32(3);
        parameters.put_slice(b"abc");
        let mut out = BytesMut::new();
        bind(&mut out, b"p", b"s", &parameters, &[0, 1]);
        let read = Bind::read(body(&mut out)).unwrap();
        assert_eq!(read.portal, "p");
        assert_eq!(read.statement, "s");
        assert_eq!(read.parameters, parameters.freeze());
        assert_eq!(read.result_formats, [0, 1]);
    }

    #[test]
    fn a_parse_survives_a_round_trip() {
        let mut out = BytesMut::new();
        parse(&mut out, b"s1", b"SELECT $1", &[23, 0]);
        assert_eq!(
            Parse::read(body(&mut out)),
            Ok(Parse { name: "s1".into(), sql: "SELECT $1".into(), types: vec![23, 0] })
        );
    }

    #[test]
    fn a_parameter_that_claims_more_bytes_than_there_are_is_short() {
        let broken = Bytes::from_static(b"\0\0\0\0\0\x01\0\0\0\x09abc");
        assert_eq!(Bind::read(broken), Err(Malformed::Short));
    }

    #[test]
    fn a_query_with_a_nul_inside_its_text_has_trailing_bytes() {
        assert_eq!(read_query(Bytes::from_static(b"SELECT 1\0;DROP TABLE t\0")), Err(Malformed::Trailing));
        assert_eq!(read_query(Bytes::from_static(b"SELECT 1")), Err(Malformed::Unterminated));
    }
}
