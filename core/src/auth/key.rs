//! What a client's login gives us for logging in at the nodes as that client.

use std::collections::HashMap;
use std::fmt;

use super::md5::Md5Digest;
use super::scram::{Key, Keys, sha256};

#[derive(Clone, PartialEq, Eq)]
pub enum NodeKey {
    /// The users file has the password: any method of a node can be answered.
    Plain(String),
    Md5(Md5Digest),
    /// The client has proved its key: it serves at nodes whose verifier has the same salt and iterations.
    Scram {
        keys: Keys,
        salt: Vec<u8>,
        iterations: u32,
    },
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Md5(_) => "Md5(..)",
            Self::Scram { .. } => "Scram(..)",
        })
    }
}

impl NodeKey {
    /// What the users file has, for a person.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Plain(_) => "a password",
            Self::Md5(_) => "an md5 verifier",
            Self::Scram { .. } => "a SCRAM-SHA-256 verifier",
        }
    }
}

/// Derived keys, so that the thousands of HMACs of a password are done once. Named by a digest of what they are derived
/// from, so that no password is kept and a new password finds no old key.
#[derive(Default)]
pub struct KeyCache(HashMap<Key, Keys>);

/// Passwords times salts whose keys are kept. A node has one salt for a role, so more is a node that changes its mind.
const KEPT: usize = 1024;

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyCache({} keys)", self.0.len())
    }
}

impl KeyCache {
    pub fn knows(&self, password: &str, salt: &[u8], iterations: u32) -> bool {
        self.0.contains_key(&name(password, salt, iterations))
    }

    pub fn derive(&mut self, password: &str, salt: &[u8], iterations: u32) -> Keys {
        let name = name(password, salt, iterations);
        if let Some(keys) = self.0.get(&name) {
            return keys.clone();
        }
        let keys = Keys::derive(password, salt, iterations);
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(name, keys.clone());
        keys
    }
}

fn name(password: &str, salt: &[u8], iterations: u32) -> Key {
    let length = (salt.len() as u64).to_be_bytes();
    sha256(&[&length, salt, &iterations.to_be_bytes(), password.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_key_is_the_derived_one() {
        let mut cache = KeyCache::default();
        let first = cache.derive("secret", b"salt", 5);
        assert_eq!(first, Keys::derive("secret", b"salt", 5));
        assert_eq!(cache.derive("secret", b"salt", 5), first);
        assert_eq!(cache.0.len(), 1);
    }

    #[test]
    fn another_password_salt_or_number_of_iterations_gives_another_key() {
        let mut cache = KeyCache::default();
        let first = cache.derive("secret", b"salt", 5);
        assert_ne!(cache.derive("geheim", b"salt", 5), first);
        assert_ne!(cache.derive("secret", b"tlas", 5), first);
        assert_ne!(cache.derive("secret", b"salt", 6), first);
    }

    #[test]
    fn a_node_with_ever_new_salts_does_not_fill_the_memory() {
        let mut cache = KeyCache::default();
        for salt in 0..3 * KEPT as u32 {
            cache.derive("secret", &salt.to_be_bytes(), 1);
            assert!(cache.0.len() <= KEPT);
        }
    }
}
