//! Stored passwords, as far as two of them must fit: a key that a client proves with SCRAM serves at every server whose
//! verifier has the same salt and iterations.

/// A stored password, by kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verifier<'a> {
    Scram {
        iterations: &'a str,
        salt: &'a str,
        keys: &'a str,
    },
    Md5(&'a str),
    /// Only in our users file: PostgreSQL stores none.
    Plain,
}

impl<'a> Verifier<'a> {
    pub fn read(stored: &'a str) -> Self {
        if let Some(scram) = stored.strip_prefix("SCRAM-SHA-256$") {
            let parts = scram.split_once('$').and_then(|(head, keys)| Some((head.split_once(':')?, keys)));
            if let Some(((iterations, salt), keys)) = parts {
                return Self::Scram { iterations, salt, keys };
            }
        }
        match stored.strip_prefix("md5") {
            Some(hash) if hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => Self::Md5(stored),
            _ => Self::Plain,
        }
    }

    pub fn kind(self) -> &'static str {
        match self {
            Self::Scram { .. } => "SCRAM",
            Self::Md5(_) => "md5",
            Self::Plain => "plain",
        }
    }

    /// Whether who logs in against `self` (ours) can be logged in where `other` (a node's) is stored.
    pub fn opens(self, other: Self) -> bool {
        match (self, other) {
            (Self::Plain, _) => true,
            (Self::Md5(ours), Self::Md5(theirs)) => ours == theirs,
            (Self::Scram { iterations: i, salt: s, .. }, Self::Scram { iterations, salt, .. }) => {
                i == iterations && s == salt
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy";

    #[test]
    fn each_kind_is_known_by_its_form() {
        assert_eq!(Verifier::read(ONE).kind(), "SCRAM");
        assert_eq!(Verifier::read("md5c9419ffe9d0cb2a49e0ea1a32fa65c4d").kind(), "md5");
        for plain in ["secret", "md5", "md5 is not a hash", "SCRAM-SHA-256$broken"] {
            assert_eq!(Verifier::read(plain).kind(), "plain", "{plain}");
        }
    }

    #[test]
    fn a_scram_entry_opens_a_node_with_the_same_salt_and_iterations_only() {
        let ours = Verifier::read(ONE);
        assert!(ours.opens(Verifier::read(ONE)));
        assert!(!ours.opens(Verifier::read("SCRAM-SHA-256$4096:b3RoZXI=$c3RvcmVk:c2VydmVy")));
        assert!(!ours.opens(Verifier::read("SCRAM-SHA-256$8192:c2FsdA==$c3RvcmVk:c2VydmVy")));
        assert!(!ours.opens(Verifier::read("md5c9419ffe9d0cb2a49e0ea1a32fa65c4d")));
    }

    #[test]
    fn a_plain_entry_opens_every_node() {
        assert!(Verifier::read("secret").opens(Verifier::read(ONE)));
    }
}
