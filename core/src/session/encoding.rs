//! The client's encoding: how its texts are read, and whether its letters are converted.
//!
//! A server reports the encoding only with ReadyForQuery; in the middle of a segment it is asked with the search path.

use std::sync::Arc;

use bytes::Bytes;

use super::Session;
use super::role::Role;
use crate::catalog::SEARCH_PATH_QUERY;
use crate::fault::{Fault, SqlState};
use crate::reply::Own;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encoding {
    /// What ParameterStatus said.
    Reported,
    Read(Bytes),
    /// A statement may have changed it since.
    Unknown,
}

impl Session {
    fn encoding(&self) -> Option<&Bytes> {
        match &self.encoding {
            Encoding::Reported => Some(self.parameters.client_encoding()),
            Encoding::Read(name) => Some(name),
            Encoding::Unknown => None,
        }
    }

    /// Whether letters are converted between the database's encoding and the client's. SQL_ASCII is none. `None`: not known,
    /// or the role is not, which is asked together.
    pub(super) fn converts(&self) -> Option<bool> {
        if self.role == Role::Unknown {
            return None;
        }
        let (theirs, ours) = (self.encoding()?, self.parameters.server_encoding());
        Some(theirs != ours && theirs != "SQL_ASCII" && ours != "SQL_ASCII")
    }

    /// The encoding in which followers must read what the unit has taken down as the client sent it.
    pub fn client_encoding(&self) -> Bytes {
        self.unit.encoding.as_ref().unwrap_or_else(|| self.parameters.client_encoding()).clone()
    }

    /// Something goes into the log. All of a unit is read in one encoding.
    pub(super) fn note_encoding(&mut self) {
        if self.unit.encoding.is_some() && !self.unit.renames {
            return;
        }
        match (self.encoding(), &self.unit.encoding) {
            (Some(now), None) => self.unit.encoding = Some(now.clone()),
            (Some(now), Some(before)) if now == before => {}
            _ => self.doom(two_encodings()),
        }
    }

    /// Whether it is known how the bytes of a text are to be read; if not, it is asked.
    pub(super) fn knows_encoding(&mut self, text: &Bytes) -> bool {
        let known = text.is_ascii() || self.encoding != Encoding::Unknown;
        if !known {
            self.ask(SEARCH_PATH_QUERY, Own::SearchPath);
        }
        known
    }

    /// The text as the planner reads it, with every byte in its place. In a client encoding other than UTF-8 each byte of
    /// a letter beyond ASCII becomes one that no keyword has: names with such letters are then unknown, and refused.
    pub(super) fn readable(&self, text: &Bytes) -> Arc<str> {
        let trail = self.encoding().and_then(|encoding| trail(encoding));
        match std::str::from_utf8(text) {
            Ok(text) if trail.is_none() || text.is_ascii() => text.into(),
            _ => masked(text, trail.unwrap_or(|_| 0)).into(),
        }
    }
}

fn two_encodings() -> Fault {
    let why = "this transaction is refused: client_encoding was changed between its writes";
    Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("Set client_encoding before the transaction.")
}

/// How many bytes belong to the letter that begins with these, besides the first.
type Trail = fn(&[u8]) -> usize;

/// In some encodings, which only clients have, a letter's further bytes may look like ASCII, even like a quote or a
/// backslash (documentation, "Character Set Support"). The server takes no text that is not valid in its encoding.
fn trail(encoding: &[u8]) -> Option<Trail> {
    match encoding {
        b"SJIS" | b"SHIFT_JIS_2004" => Some(|letter| usize::from(!(0xa1..=0xdf).contains(&letter[0]))),
        b"GB18030" => Some(|letter| if letter.get(1).is_some_and(u8::is_ascii_digit) { 3 } else { 1 }),
        b"BIG5" | b"GBK" | b"UHC" | b"JOHAB" => Some(|_| 1),
        _ => None,
    }
}

fn masked(text: &[u8], trail: Trail) -> String {
    let mut out = String::with_capacity(text.len());
    while let Some(first) = text.get(out.len()) {
        if first.is_ascii() {
            out.push(char::from(*first));
            continue;
        }
        let letter = &text[out.len()..];
        let length = (1 + trail(letter)).min(letter.len());
        out.extend(std::iter::repeat_n('?', length));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_letter_are_never_taken_for_quotes() {
        let read = |encoding: &[u8], text: &[u8]| masked(text, trail(encoding).unwrap_or(|_| 0));
        // A Japanese letter that ends with a backslash; one of one byte before a quote.
        assert_eq!(read(b"SJIS", b"SELECT E'\x95\x5c', '\xb1'"), "SELECT E'??', '?'");
        assert_eq!(read(b"BIG5", b"'\xa5\x5c'"), "'??'");
        assert_eq!(read(b"GBK", b"'\x81\x7c'"), "'??'");
        assert_eq!(read(b"GB18030", b"'\x81\x30\x81\x30\x81\x5c'"), "'??????'");
        assert_eq!(read(b"LATIN1", b"'\xe9'"), "'?'");
        assert_eq!(read(b"SJIS", b"'\x95"), "'?");
    }
}
