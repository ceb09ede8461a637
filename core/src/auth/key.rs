//! What a client's login gives us for logging in at the nodes as that client.

use std::collections::HashMap;

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

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// Derived keys, so that a password's thousands of HMACs are done once. By a digest, so that no password is kept.
#[derive(Default)]
pub struct KeyCache(HashMap<Key, Keys>);

/// Passwords times nodes whose keys are kept.
const KEPT: usize = 1024;

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyCache({} keys)", self.0.len())
    }
}

impl KeyCache {
    pub fn derive(&mut self, password: &str, salt: &[u8], iterations: u32) -> Keys {
        let length = (salt.len() as u64).to_be_bytes();
        let name = sha256(&[&length, salt, &iterations.to_be_bytes()[..], password.as_bytes()].concat());
        if let Some(keys) = self.0.get(&name) {
            return keys.clone();
        }
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        let keys = Keys::derive(password, salt, iterations);
        self.0.insert(name, keys.clone());
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_key_is_the_derived_one_and_another_salt_gives_another() {
        let mut cache = KeyCache::default();
        let first = cache.derive("secret", b"salt", 5);
        assert_eq!(cache.derive("secret", b"salt", 5), first);
        assert_eq!(first, Keys::derive("secret", b"salt", 5));
        assert!(cache.derive("secret", b"tlas", 5) != first);
        assert_eq!(cache.0.len(), 2);
    }
}
