//! SCRAM-SHA-256: keys and verifiers here, the messages of the two roles in [`client`] and [`server`].
//!
//! Sources: RFC 5802 and RFC 7677; PostgreSQL's deviations (the user name in the messages is ignored, passwords that
//! SASLprep refuses are taken as they are) from its documentation, "SCRAM-SHA-256 Authentication".
//!
//! Channel binding belongs to TLS and is not offered: only the gs2 flags `n` and `y` are taken. A role is a chain of
//! values, each of which is consumed by the next message, so that no step can be left out or done twice. Whoever holds
//! a [`Key`] can log in: none of the types here shows one through `Debug`.

pub mod client;
pub mod server;

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Iterations of a verifier that we make. PostgreSQL's default (`scram_iterations`).
pub const ITERATIONS: u32 = 4096;

/// More than this, and a hostile node, or a slip in the users file, could keep a thread busy. pgjdbc has the same bound.
pub const MAX_ITERATIONS: u32 = 100_000;

pub type Key = [u8; 32];

/// Random bytes that one side adds to the exchange; as many as PostgreSQL takes.
pub type Nonce = [u8; 18];

/// What is wrong with the other side's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramFault {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("its attribute \"{0}\" is missing or not in its place")]
    Missing(char),
    #[error("its attribute \"{0}\" has an invalid value")]
    Invalid(char),
    #[error("its header has no valid channel binding flag")]
    Header,
    #[error("it uses channel binding, which was not offered")]
    ChannelBinding,
    #[error("it uses an authorization identity, which is not supported")]
    AuthorizationIdentity,
    #[error("it requires an extension, and none is supported")]
    Extension,
    #[error("its nonce is not the one of this exchange")]
    Nonce,
    #[error("it wants {0} iterations, and the bound is {MAX_ITERATIONS}")]
    Iterations(u32),
    #[error("it has the error \"{0}\"")]
    Refusal(String),
    #[error("its signature is wrong: it does not know the password")]
    Signature,
}

/// Both keys of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub client_key: Key,
    pub server_key: Key,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Derives the keys (PBKDF2): `iterations` HMACs, about a millisecond at PostgreSQL's default. For what must be
    /// quick there is the [`KeyCache`](super::KeyCache).
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let password = normalize(password);
        let keyed = mac(password.as_bytes());
        let mut block = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()]);
        let mut salted = block;
        for _ in 1..iterations {
            let mut round = keyed.clone();
            round.update(&block);
            block = round.finalize().into_bytes().into();
            salted = xor(salted, block);
        }
        Self { client_key: hmac(&salted, &[b"Client Key"]), server_key: hmac(&salted, &[b"Server Key"]) }
    }

    pub fn verifier(&self, salt: &[u8], iterations: u32) -> Verifier {
        Verifier { iterations, salt: salt.to_vec(), stored_key: sha256(&self.client_key), server_key: self.server_key }
    }
}

/// What PostgreSQL keeps in `pg_authid.rolpassword`: enough to check a client, not enough to be one.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: Key,
    pub server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierFault {
    #[error("is malformed; copy rolpassword from pg_authid whole")]
    Malformed,
    #[error(
        "has {0} iterations, and the bound is {MAX_ITERATIONS}; set the password again with a lower scram_iterations"
    )]
    Iterations(u32),
}

impl Verifier {
    /// From `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    pub fn parse(text: &str) -> Result<Self, VerifierFault> {
        let verifier = Self::split(text).ok_or(VerifierFault::Malformed)?;
        match verifier.iterations {
            0 => Err(VerifierFault::Malformed),
            1..=MAX_ITERATIONS => Ok(verifier),
            more => Err(VerifierFault::Iterations(more)),
        }
    }

    fn split(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix(MECHANISM)?.strip_prefix('$')?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| decode(text)?.try_into().ok();
        let salt = decode(salt).filter(|salt| !salt.is_empty())?;
        Some(Self { iterations: number(iterations)?, salt, stored_key: key(stored)?, server_key: key(server)? })
    }

    /// As PostgreSQL stores it.
    pub fn to_text(&self) -> String {
        let salt = encode(&self.salt);
        let (stored, server) = (encode(&self.stored_key), encode(&self.server_key));
        format!("{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// One that no password opens: the hash that it asks for is nobody's.
    pub fn of_nobody(salt: &[u8], iterations: u32) -> Self {
        Self { iterations, salt: salt.to_vec(), stored_key: [0; 32], server_key: [0; 32] }
    }
}

/// What `pg_authid.rolpassword` holds for a password: hashed here once, it can be given to every node.
pub fn verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    Keys::derive(password, salt, iterations).verifier(salt, iterations).to_text()
}

/// A salt for a user who has none: always the same for the same user, and not to be told from a stored one without
/// `secret`. PostgreSQL does the same, so that asking twice does not show which users there are.
pub fn mock_salt(secret: &Key, user: &str) -> [u8; 16] {
    let digest = hmac(secret, &[user.as_bytes()]);
    std::array::from_fn(|i| digest[i])
}

pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

pub(super) fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = mac(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn xor(mut a: Key, b: Key) -> Key {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    a
}

/// SASLprep where it succeeds, else the password as it is, as PostgreSQL does (`pg_saslprep`). One of which nothing is
/// left counts as refused.
fn normalize(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        _ => Cow::Borrowed(password),
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Digits alone: what Rust would take besides, a sign, is in no message.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn text(message: &[u8]) -> Result<&str, ScramFault> {
    std::str::from_utf8(message).map_err(|_| ScramFault::NotUtf8)
}

/// The attributes of a message, `a=…,b=…`, which have a fixed order.
struct Attributes<'a>(&'a str);

impl<'a> Attributes<'a> {
    /// The value of the attribute `name`, which must be the next one.
    fn take(&mut self, name: char) -> Result<&'a str, ScramFault> {
        let value = self.0.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        let value = value.ok_or(ScramFault::Missing(name))?;
        let (value, rest) = value.split_once(',').unwrap_or((value, ""));
        self.0 = rest;
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
