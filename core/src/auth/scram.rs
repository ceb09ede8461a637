//! SCRAM-SHA-256: keys, verifiers, and the messages of both roles (RFC 5802, RFC 7677).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Iterations of a verifier that we make. PostgreSQL's default (`scram_iterations`).
pub const ITERATIONS: u32 = 4096;

/// More than this, and a hostile server could keep us busy.
pub const MAX_ITERATIONS: u32 = 100_000;

pub type Key = [u8; 32];

/// What stands in `pg_authid.rolpassword` behind `SCRAM-SHA-256$`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: Key,
    pub server_key: Key,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierFault {
    #[error("it is malformed; copy rolpassword from pg_authid whole")]
    Malformed,
    #[error(
        "its number of iterations is not from 1 to {MAX_ITERATIONS}; set the password again with a smaller \
         scram_iterations"
    )]
    Iterations,
}

/// Both keys of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub client_key: Key,
    pub server_key: Key,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Derives the keys (PBKDF2): `iterations` HMACs, some milliseconds of work at PostgreSQL's default.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let password = normalize(password);
        let mut block = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]]);
        let mut salted = block;
        let keyed = mac(password.as_bytes());
        for _ in 1..iterations {
            let mut round = keyed.clone();
            round.update(&block);
            block = round.finalize().into_bytes().into();
            salted.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
        }
        Self { client_key: hmac(&salted, &[b"Client Key"]), server_key: hmac(&salted, &[b"Server Key"]) }
    }

    pub fn verifier(&self, salt: &[u8], iterations: u32) -> Verifier {
        Verifier { iterations, salt: salt.to_vec(), stored_key: sha256(&self.client_key), server_key: self.server_key }
    }
}

impl Verifier {
    /// From `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    pub fn parse(text: &str) -> Result<Self, VerifierFault> {
        let verifier = Self::read(text).ok_or(VerifierFault::Malformed)?;
        let bounded = (1..=MAX_ITERATIONS).contains(&verifier.iterations);
        bounded.then_some(verifier).ok_or(VerifierFault::Iterations)
    }

    fn read(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text| decode(text)?.try_into().ok();
        Some(Self {
            iterations: iterations.parse().ok()?,
            salt: decode(salt)?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// As PostgreSQL stores it.
    pub fn to_text(&self) -> String {
        let salt = BASE64.encode(&self.salt);
        let (stored, server) = (BASE64.encode(self.stored_key), BASE64.encode(self.server_key));
        format!("{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// The client key, if `proof` shows that the client has it for this exchange.
    pub fn check_proof(&self, auth_message: &str, proof: &[u8]) -> Option<Key> {
        let proof: Key = proof.try_into().ok()?;
        let signature = hmac(&self.stored_key, &[auth_message.as_bytes()]);
        let client_key = xor(proof, signature);
        bool::from(sha256(&client_key).ct_eq(&self.stored_key)).then_some(client_key)
    }
}

/// What `pg_authid.rolpassword` holds for a password: hashed here once, it can be given to every node.
pub fn verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    Keys::derive(password, salt, iterations).verifier(salt, iterations).to_text()
}

/// A salt for a user of whom no verifier is stored: always the same, and not to be foretold without `secret`.
pub fn salt_for(user: &str, secret: [u8; 16]) -> [u8; 16] {
    let mut salt = [0; 16];
    salt.copy_from_slice(&hmac(&secret, &[user.as_bytes()])[..16]);
    salt
}

/// A client's proof that it has the key.
pub fn proof(client_key: &Key, auth_message: &str) -> Key {
    xor(*client_key, hmac(&sha256(client_key), &[auth_message.as_bytes()]))
}

/// A server's proof that it has the verifier.
pub fn server_signature(server_key: &Key, auth_message: &str) -> Key {
    hmac(server_key, &[auth_message.as_bytes()])
}

pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

pub fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// The value of an attribute such as `r=…` at the start of a message; the rest behind its comma.
pub fn attribute(message: &str, name: char) -> Option<(&str, &str)> {
    let value = message.strip_prefix(name)?.strip_prefix('=')?;
    Some(value.split_once(',').unwrap_or((value, "")))
}

/// SASLprep where it succeeds and leaves something, else the bytes as they are, as PostgreSQL does (`pg_saslprep` in
/// src/common/saslprep.c).
fn normalize(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        _ => Cow::Borrowed(password),
    }
}

pub fn sha256(bytes: &[u8]) -> Key {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_rfc_7677() {
        let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::derive("pencil", &salt, 4096);
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(encode(&proof(&keys.client_key, message)), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(
            encode(&server_signature(&keys.server_key, message)),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn a_verifier_survives_a_round_trip_and_gives_the_client_key_for_a_right_proof_only() {
        let keys = Keys::derive("secret", b"salt", 10);
        let verifier = keys.verifier(b"salt", 10);
        assert_eq!(Verifier::parse(&verifier.to_text()), Ok(verifier.clone()));
        assert_eq!(verifier.check_proof("message", &proof(&keys.client_key, "message")), Some(keys.client_key));
        assert_eq!(verifier.check_proof("message", &proof(&keys.client_key, "other")), None);
        assert_eq!(verifier.check_proof("message", b"short"), None);
    }

    #[test]
    fn a_verifier_with_no_iterations_or_too_many_is_not_taken() {
        let text = verifier("p", b"s", 1);
        assert_eq!(Verifier::parse(&text.replace("$1:", "$0:")), Err(VerifierFault::Iterations));
        assert_eq!(Verifier::parse(&text.replace("$1:", "$100001:")), Err(VerifierFault::Iterations));
        assert_eq!(Verifier::parse(&text.replace("$1:", "$99999999999:")), Err(VerifierFault::Malformed));
    }

    #[test]
    fn a_password_that_saslprep_would_leave_nothing_of_is_taken_as_it_is() {
        assert_eq!(normalize("\u{ad}"), "\u{ad}");
        assert_eq!(normalize("I\u{ad}X"), "IX");
        assert_eq!(normalize("\u{7}"), "\u{7}");
    }
}
