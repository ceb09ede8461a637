//! The md5 exchange: `md5(md5(password + user) + salt)`, in hexadecimal with `md5` before it.
//!
//! Both sides compute the same answer, so a server needs the digest only, and who has the digest can log in.

use md5::{Digest, Md5};

/// `md5(password + user)`, as hexadecimal text: what a verifier stores behind its prefix, and as good as the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Digest(String);

impl std::fmt::Debug for Md5Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5Digest(..)")
    }
}

impl Md5Digest {
    pub fn of(user: &str, password: &str) -> Self {
        Self(hex(&[password.as_bytes(), user.as_bytes()]))
    }

    /// From a verifier without its `md5`: 32 hexadecimal digits.
    pub fn parse(digits: &str) -> Option<Self> {
        let well_formed = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        well_formed.then(|| Self(digits.to_ascii_lowercase()))
    }

    /// As PostgreSQL stores it.
    pub fn verifier(&self) -> String {
        format!("md5{}", self.0)
    }

    /// The answer to a salt, without a terminating NUL.
    pub fn answer(&self, salt: [u8; 4]) -> String {
        format!("md5{}", hex(&[self.0.as_bytes(), &salt]))
    }
}

fn hex(parts: &[&[u8]]) -> String {
    let mut digest = Md5::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_one_that_postgres_protocol_gives() {
        let salt = [1, 2, 253, 4];
        let theirs = postgres_protocol::authentication::md5_hash(b"ann", "säcret".as_bytes(), salt);
        assert_eq!(Md5Digest::of("ann", "säcret").answer(salt), theirs);
    }

    #[test]
    fn the_digest_is_the_one_that_postgres_protocol_stores() {
        let stored = postgres_protocol::password::md5(b"secret", "ann");
        assert_eq!(Md5Digest::parse(stored.strip_prefix("md5").unwrap()), Some(Md5Digest::of("ann", "secret")));
    }

    #[test]
    fn a_verifier_that_is_not_32_hexadecimal_digits_is_none() {
        assert!(Md5Digest::parse("0123456789abcdef0123456789ABCDEF").is_some());
        assert!(Md5Digest::parse("0123456789abcdef0123456789abcde").is_none());
        assert!(Md5Digest::parse("0123456789abcdef0123456789abcdeg").is_none());
    }
}
