//! Captured rows: what the leader's triggers say, and what followers are sent for it.
//!
//! They say rows in INFO messages: `lockstep`, a sign, and one row or some in ASCII (`runtime/src/cluster/capture`).
//! Followers apply many at once by a function that believes only what is signed with the cluster's key.

use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::Template;
use crate::quote::quote_literal;

/// One call of the function that applies rows; its parameters are the rows and their signature.
pub static APPLY: LazyLock<Template> =
    LazyLock::new(|| Template::new("SELECT lockstep.apply($1::pg_catalog.text,$2::pg_catalog.text)".into()));

/// The same for rows of a statement that others follow, and for the last ones of such a statement, which may be none.
static APPLY_PART: LazyLock<Template> =
    LazyLock::new(|| Template::new("SELECT lockstep.apply_part($1::pg_catalog.text,$2::pg_catalog.text)".into()));
static APPLY_LAST: LazyLock<Template> =
    LazyLock::new(|| Template::new("SELECT lockstep.apply_last($1::pg_catalog.text,$2::pg_catalog.text)".into()));

/// The same for a leader on which the unit is to go on.
pub const INHERIT: &str = "SELECT lockstep.inherit($1::pg_catalog.text,$2::pg_catalog.text)";

const BLOCK: usize = 64;
const WORD: &str = "lockstep";

/// What followers know the proxy's rows by.
#[derive(Clone, PartialEq, Eq)]
pub struct CaptureKey {
    inner: [u8; BLOCK],
    outer: [u8; BLOCK],
}

impl fmt::Debug for CaptureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CaptureKey(..)")
    }
}

impl CaptureKey {
    pub fn from_random(random: [u8; 32]) -> Self {
        let padded = |with: u8| std::array::from_fn(|n| random.get(n).copied().unwrap_or(0) ^ with);
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// As the nodes keep it.
    pub fn to_text(&self) -> String {
        format!("{WORD} {} {}", hex(&self.inner), hex(&self.outer))
    }

    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (WORD, Some(inner), Some(outer), None) = (words.next()?, words.next(), words.next(), words.next()) else {
            return None;
        };
        Some(Self { inner: from_hex(inner)?, outer: from_hex(outer)? })
    }

    /// HMAC with SHA-256, in hexadecimal.
    pub fn sign(&self, message: &[u8]) -> String {
        let inner = Sha256::new().chain_update(self.inner).chain_update(message).finalize();
        hex(&Sha256::new().chain_update(self.outer).chain_update(inner).finalize())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; BLOCK]> {
    let text = Some(text).filter(|text| text.len() == 2 * BLOCK && text.is_ascii())?;
    let mut bytes = [0; BLOCK];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Who gives tables our trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triggers {
    /// They have it now, on every node.
    Made,
    /// The transaction that wants it has made or locked them itself: nobody else can.
    LeftToSession,
}

/// So long may others be in the way of a trigger that a transaction makes on the leader; on followers nobody is.
pub const PATIENCE: &str = "1s";
pub const NO_LIMIT: &str = "0";

/// Gives tables our trigger within a transaction. `tables`: qualified and quoted.
pub fn make_triggers(key: &CaptureKey, tables: &[String], patience: &str) -> String {
    let call = |table: &String| {
        let signature = key.sign(format!("capture {table}").as_bytes());
        format!("lockstep.capture_here({},'{signature}','{patience}')", quote_literal(table))
    };
    format!("SELECT {}", tables.iter().map(call).collect::<Vec<_>>().join(","))
}

/// Rows that were said and are not in the log yet.
#[derive(Debug, Default)]
pub struct CapturedRows {
    rows: BytesMut,
    /// Of the same statement some are in the log.
    parted: bool,
    /// Among them are rows without a key that are gone. Those may have come in the same statement, and then followers must
    /// have both at once.
    gone: bool,
}

impl CapturedRows {
    /// Takes what a message says. False: it is none of ours.
    pub fn take(&mut self, message: &[u8]) -> bool {
        let Some([sign @ (b'=' | b'+' | b'-'), b' ', row @ ..]) = message.strip_prefix(b"lockstep ") else {
            return false;
        };
        self.gone |= *sign == b'-';
        if !self.rows.is_empty() {
            self.rows.put_u8(b',');
        }
        self.rows.extend(row.iter().filter(|byte| **byte != b'\n'));
        true
    }

    pub fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// Whether followers may have these before the others of the statement.
    pub fn can_be_parted(&self) -> bool {
        !self.gone
    }

    /// Those that are here, and what applies them; others of the statement may come.
    pub fn take_part(&mut self) -> (&'static Template, Bytes) {
        self.parted = true;
        (&APPLY_PART, self.rows.split().freeze())
    }

    /// The statement is over. Whoever was sent a part of it is told so, though there be no rows any more.
    pub fn take_last(&mut self) -> Option<(&'static Template, Bytes)> {
        let Self { rows, parted, gone: _ } = std::mem::take(self);
        let template: &Template = if parted { &APPLY_LAST } else { &APPLY };
        (parted || !rows.is_empty()).then(|| (template, rows.freeze()))
    }
}

/// Whether each of these rows is named by a key: `{=,…}` or `{x,…}`, in base64.
pub fn all_have_keys(rows: &[u8]) -> bool {
    rows.split(|byte| *byte == b',').all(|row| row.starts_with(b"ez0s") || row.starts_with(b"e3gs"))
}

/// The parameters of [`APPLY`].
pub fn parameters(key: &Arc<CaptureKey>, rows: &[u8]) -> BytesMut {
    let signature = key.sign(rows);
    let mut out = BytesMut::with_capacity(rows.len() + signature.len() + 8);
    for value in [rows, signature.as_bytes()] {
        out.put_u32(value.len() as u32);
        out.put_slice(value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_keyed_hash_of_the_standard() {
        // RFC 4231, test case 2.
        let mut random = [0; 32];
        random[..4].copy_from_slice(b"Jefe");
        let key = CaptureKey::from_random(random);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(key.sign(b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn a_key_is_read_back_from_its_text_and_from_nothing_else() {
        let key = CaptureKey::from_random([7; 32]);
        assert_eq!(CaptureKey::from_text(&key.to_text()), Some(key.clone()));
        for other in ["", "lockstep", "lockstep 00 00", &format!("{} ", key.to_text()), "SCRAM-SHA-256$4096:x$y:z"] {
            assert_eq!(CaptureKey::from_text(other), None, "{other}");
        }
    }

    #[test]
    fn rows_without_a_key_that_are_gone_keep_a_statement_together() {
        let mut rows = CapturedRows::default();
        assert!(rows.take(b"lockstep + YQ\n==") && rows.take(b"lockstep = Yg=="));
        assert!(rows.can_be_parted());
        assert!(rows.take(b"lockstep - Zg==") && !rows.can_be_parted());
        for message in ["lockstep", "lockstep * Yg==", "another"] {
            assert!(!rows.take(message.as_bytes()), "{message}");
        }
        assert_eq!(rows.take_last(), Some((&*APPLY, "YQ==,Yg==,Zg==".into())));
        assert_eq!((rows.take_last(), rows.bytes()), (None, 0));
    }

    #[test]
    fn a_statement_of_which_a_part_was_taken_has_a_last_one() {
        let mut rows = CapturedRows::default();
        for last in ["", "Yw=="] {
            assert!(rows.take(b"lockstep = YQ=="));
            assert_eq!(rows.take_part(), (&*APPLY_PART, "YQ==".into()));
            assert!(rows.take(b"lockstep = Yg=="));
            assert_eq!(rows.take_part(), (&*APPLY_PART, "Yg==".into()));
            assert!(last.is_empty() || rows.take(format!("lockstep = {last}").as_bytes()));
            assert_eq!(rows.take_last(), Some((&*APPLY_LAST, last.into())));
            assert_eq!(rows.take_last(), None);
        }
    }
}
