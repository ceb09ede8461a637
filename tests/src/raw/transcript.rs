//! A server's messages as lines that a person can read and two servers can be compared by.
//!
//! Left out is what may differ between two servers that behave the same: process ids, cancel keys, OIDs of what users
//! create, the place in PostgreSQL's source where an error was raised. ParameterStatus and NotificationResponse belong to
//! no statement and may come at any moment: they stand before the ReadyForQuery that follows them.

use bytes::Bytes;
use lockstep_core::wire::backend::{self as b, Column, Status};
use lockstep_core::wire::notice::Fields;
use lockstep_core::wire::{Cursor, Frame};

/// OIDs from here on belong to users (PostgreSQL: `FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16_384;

/// The fields of an error in the order in which they are printed.
const FIELDS: &[u8] = b"VCMDHPpqWsctdn";

pub fn lines(frames: &[Frame]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut aside = Vec::new();
    for frame in frames {
        match frame.tag {
            b::PARAMETER_STATUS | b::NOTIFICATION_RESPONSE => aside.push(line(frame)),
            b::READY_FOR_QUERY => {
                settle(&mut lines, &mut aside);
                lines.push(line(frame));
            }
            _ => lines.push(line(frame)),
        }
    }
    settle(&mut lines, &mut aside);
    lines
}

/// The order of settings is free, that of notifications is not.
fn settle(lines: &mut Vec<String>, aside: &mut Vec<String>) {
    aside.sort_by_key(|line| if line.starts_with("ParameterStatus") { line.clone() } else { String::new() });
    lines.append(aside);
}

pub fn line(frame: &Frame) -> String {
    let body = frame.body();
    match frame.tag {
        b::AUTHENTICATION => format!("Authentication {:?}", b::Authentication::read(body)),
        b::BACKEND_KEY_DATA => "BackendKeyData".into(),
        b::BIND_COMPLETE => "BindComplete".into(),
        b::CLOSE_COMPLETE => "CloseComplete".into(),
        b::COMMAND_COMPLETE => format!("CommandComplete {}", show(b::read_command_complete(body).as_deref())),
        b::COPY_DATA => format!("CopyData {}", text(&body)),
        b::COPY_DONE => "CopyDone".into(),
        b::COPY_IN_RESPONSE => format!("CopyInResponse {body:?}"),
        b::COPY_OUT_RESPONSE => format!("CopyOutResponse {body:?}"),
        b::DATA_ROW => format!("DataRow {}", row(body)),
        b::EMPTY_QUERY_RESPONSE => "EmptyQueryResponse".into(),
        b::ERROR_RESPONSE => format!("ErrorResponse {}", fields(body)),
        b::FUNCTION_CALL_RESPONSE => format!("FunctionCallResponse {body:?}"),
        b::NEGOTIATE_PROTOCOL_VERSION => format!("NegotiateProtocolVersion {body:?}"),
        b::NO_DATA => "NoData".into(),
        b::NOTICE_RESPONSE => format!("NoticeResponse {}", fields(body)),
        b::NOTIFICATION_RESPONSE => notification(body),
        b::PARAMETER_DESCRIPTION => parameters(body),
        b::PARAMETER_STATUS => parameter_status(body),
        b::PARSE_COMPLETE => "ParseComplete".into(),
        b::PORTAL_SUSPENDED => "PortalSuspended".into(),
        b::READY_FOR_QUERY => format!("ReadyForQuery {}", status(body)),
        b::ROW_DESCRIPTION => columns(body),
        tag => format!("message {:?} {body:?}", char::from(tag)),
    }
}

fn status(body: Bytes) -> &'static str {
    match Status::read(body) {
        Ok(Status::Idle) => "idle",
        Ok(Status::InTransaction) => "in transaction",
        Ok(Status::Failed) => "failed",
        Err(_) => "MALFORMED",
    }
}

fn row(body: Bytes) -> String {
    let Ok(values) = b::read_data_row(body) else { return "MALFORMED".into() };
    let shown: Vec<_> =
        values.iter().map(|v| v.as_ref().map_or("NULL".into(), |bytes| format!("'{}'", text(bytes)))).collect();
    shown.join(" | ")
}

fn columns(body: Bytes) -> String {
    let Ok(columns) = b::read_row_description(body) else { return "RowDescription MALFORMED".into() };
    let shown: Vec<_> = columns.iter().map(column).collect();
    format!("RowDescription {}", shown.join(", "))
}

fn column(c: &Column) -> String {
    let from = if c.table == 0 { String::new() } else { format!(" of {} column {}", oid(c.table), c.attribute) };
    let format = if c.format == 0 { "text" } else { "binary" };
    format!("{} type {}({},{}) {format}{from}", text(&c.name), oid(c.type_oid), c.type_len, c.type_modifier)
}

fn parameters(body: Bytes) -> String {
    let mut cursor = Cursor::new(body);
    let mut types = Vec::new();
    for _ in 0..cursor.count().unwrap_or(0) {
        types.push(cursor.u32().map_or("MALFORMED".into(), oid));
    }
    format!("ParameterDescription {}", types.join(", "))
}

fn parameter_status(body: Bytes) -> String {
    match b::read_parameter_status(body) {
        Ok((name, value)) => format!("ParameterStatus {}={}", text(&name), text(&value)),
        Err(fault) => format!("ParameterStatus MALFORMED {fault}"),
    }
}

fn notification(body: Bytes) -> String {
    let mut cursor = Cursor::new(body);
    let parts = cursor.u32().and_then(|_| Ok((cursor.cstr()?, cursor.cstr()?)));
    match parts {
        Ok((channel, payload)) => format!("NotificationResponse {} {}", text(&channel), text(&payload)),
        Err(fault) => format!("NotificationResponse MALFORMED {fault}"),
    }
}

fn fields(body: Bytes) -> String {
    let Ok(fields) = Fields::read(body) else { return "MALFORMED".into() };
    let shown: Vec<_> =
        FIELDS.iter().filter_map(|code| Some(format!("{}={}", char::from(*code), text(fields.get(*code)?)))).collect();
    shown.join(" ")
}

fn oid(oid: u32) -> String {
    if oid < FIRST_USER_OID { oid.to_string() } else { "user's".into() }
}

fn show<E: std::fmt::Display>(bytes: Result<&[u8], &E>) -> String {
    bytes.map_or_else(|fault| format!("MALFORMED {fault}"), text)
}

/// Text as it is, anything else escaped.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.into(),
        _ => format!("b\"{}\"", bytes.escape_ascii()),
    }
}
