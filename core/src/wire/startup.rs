//! The first packet of a connection, which has no tag: a 32-bit length that counts itself, a 32-bit code, the body.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Cursor, Malformed};
use crate::limits;

const CANCEL: u32 = (1234 << 16) | 5678;
const SSL: u32 = (1234 << 16) | 5679;
const GSSENC: u32 = (1234 << 16) | 5680;

/// A protocol version as in the startup packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

impl Version {
    pub const V3_0: Self = Self { major: 3, minor: 0 };
    pub const V3_2: Self = Self { major: 3, minor: 2 };

    pub fn code(self) -> u32 {
        (u32::from(self.major) << 16) | u32::from(self.minor)
    }

    pub fn from_code(code: u32) -> Self {
        Self { major: (code >> 16) as u16, minor: code as u16 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a client asks for with its first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    Session { version: Version, parameters: Vec<(Bytes, Bytes)> },
    Cancel { pid: u32, key: Bytes },
    Ssl,
    GssEnc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartupFault {
    #[error("invalid length of startup packet: {0}")]
    Length(u32),
    #[error("unsupported frontend protocol {0}: server supports 3.0 to 3.2")]
    Version(Version),
    #[error("invalid startup packet layout: {0}")]
    Layout(#[from] Malformed),
}

/// Takes the first packet off `buffer`; `None` when it is not all there yet.
pub fn take_startup(buffer: &mut BytesMut) -> Result<Option<Startup>, StartupFault> {
    let Some(header) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*header);
    if length < 8 || length as usize > limits::STARTUP_PACKET {
        return Err(StartupFault::Length(length));
    }
    if buffer.len() < length as usize {
        return Ok(None);
    }
    let mut packet = buffer.split_to(length as usize).freeze();
    packet.advance(4);
    let code = packet.get_u32();
    match code {
        CANCEL => {
            if packet.len() < 8 || packet.len() > 4 + 256 {
                return Err(Malformed::Field("cancel key").into());
            }
            Ok(Some(Startup::Cancel { pid: packet.get_u32(), key: packet }))
        }
        SSL => Ok(Some(Startup::Ssl)),
        GSSENC => Ok(Some(Startup::GssEnc)),
        _ => {
            let version = Version::from_code(code);
            if version.major != 3 {
                return Err(StartupFault::Version(version));
            }
            Ok(Some(Startup::Session { version, parameters: parameters(packet)? }))
        }
    }
}

fn parameters(body: Bytes) -> Result<Vec<(Bytes, Bytes)>, Malformed> {
    let mut cursor = Cursor::new(body);
    let mut found = Vec::new();
    loop {
        let name = cursor.cstr()?;
        if name.is_empty() {
            cursor.finish()?;
            return Ok(found);
        }
        found.push((name, cursor.cstr()?));
    }
}

/// Writes a startup packet.
pub fn write_session<'a>(
    out: &mut BytesMut,
    version: Version,
    parameters: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) {
    let start = out.len();
    out.put_u32(0);
    out.put_u32(version.code());
    for (name, value) in parameters {
        out.put_slice(name);
        out.put_u8(0);
        out.put_slice(value);
        out.put_u8(0);
    }
    out.put_u8(0);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes a CancelRequest.
pub fn write_cancel(out: &mut BytesMut, pid: u32, key: &[u8]) {
    out.put_u32(12 + key.len() as u32);
    out.put_u32(CANCEL);
    out.put_u32(pid);
    out.put_slice(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_packet_survives_a_round_trip() {
        let mut out = BytesMut::new();
        write_session(&mut out, Version::V3_2, [(&b"user"[..], &b"ann"[..]), (b"database", b"shop")]);
        let startup = take_startup(&mut out).unwrap().unwrap();
        let parameters = vec![("user".into(), "ann".into()), ("database".into(), "shop".into())];
        assert_eq!(startup, Startup::Session { version: Version::V3_2, parameters });
        assert!(out.is_empty());
    }

    #[test]
    fn a_cancel_packet_survives_a_round_trip_with_short_and_long_keys() {
        for key in [&b"1234"[..], &[7; 256]] {
            let mut out = BytesMut::new();
            write_cancel(&mut out, 4711, key);
            assert_eq!(
                take_startup(&mut out),
                Ok(Some(Startup::Cancel { pid: 4711, key: Bytes::copy_from_slice(key) }))
            );
        }
    }

    #[test]
    fn a_length_that_no_startup_packet_has_is_refused_at_its_first_four_bytes() {
        assert_eq!(take_startup(&mut BytesMut::from(&b"GET "[..])), Err(StartupFault::Length(0x4745_5420)));
        assert_eq!(take_startup(&mut BytesMut::from(&b"\0\0\0\x07"[..])), Err(StartupFault::Length(7)));
    }

    #[test]
    fn a_packet_without_its_last_terminator_is_refused() {
        let mut out = BytesMut::from(&b"\0\0\0\x0d\0\x03\0\0user\0"[..]);
        assert!(matches!(take_startup(&mut out), Err(StartupFault::Layout(_))));
    }
}
