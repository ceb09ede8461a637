//! The users file: one entry a line, `user:secret`. Blank lines and lines that begin with `#` are passed over.
//!
//! The secret is `md5` with 32 hexadecimal digits, `SCRAM-SHA-256$…`, or the password itself, each as it is up to the end
//! of the line: there is no quoting. What looks like a verifier must be one: a verifier that lost a digit on its way would
//! otherwise be a password that nobody knows.

use std::collections::HashMap;
use std::fmt;

use super::md5::Md5Digest;
use super::scram::{Verifier, VerifierFault};

/// What is known of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// `md5` and 32 hexadecimal digits.
    Md5(Md5Digest),
    /// `SCRAM-SHA-256$…`, as in `pg_authid`.
    Scram(Verifier),
    /// The password itself.
    Plain(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5(_) => "Md5(..)",
            Self::Scram(_) => "Scram(..)",
            Self::Plain(_) => "Plain(..)",
        })
    }
}

impl Secret {
    /// What kind of entry it is, for a person.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Md5(_) => "an md5 verifier",
            Self::Scram(_) => "a SCRAM-SHA-256 verifier",
            Self::Plain(_) => "a password",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(HashMap<String, Secret>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct UsersFault {
    /// From 1.
    pub line: usize,
    pub kind: UsersFaultKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsersFaultKind {
    #[error("there is no ':'; write user:secret, where the secret is md5…, SCRAM-SHA-256$… or the password")]
    NoColon,
    #[error("there is no user before the ':'")]
    NoUser,
    #[error("user \"{0}\" has no password; write one behind the ':' or remove the line")]
    NoSecret(String),
    #[error("user \"{0}\" is there already; remove one of the lines")]
    Twice(String),
    #[error("the SCRAM verifier of user \"{0}\" {1}")]
    Scram(String, VerifierFault),
    #[error(
        "the md5 verifier of user \"{0}\" has not 32 hexadecimal digits; copy rolpassword from pg_authid whole (and if it \
         is a password that looks like a verifier, write its verifier)"
    )]
    Md5(String),
    #[error("there is a NUL byte, which neither a user's name nor a password can have; remove it")]
    Nul,
}

impl Users {
    pub fn parse(text: &str) -> Result<Self, UsersFault> {
        let mut users = HashMap::new();
        // Some editors put a byte order mark before the first user's name.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = |kind| UsersFault { line: index + 1, kind };
            let (user, secret) = entry(line).map_err(fault)?;
            if users.insert(user.to_owned(), secret).is_some() {
                return Err(fault(UsersFaultKind::Twice(user.to_owned())));
            }
        }
        Ok(Self(users))
    }

    pub fn get(&self, user: &str) -> Option<&Secret> {
        self.0.get(user)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(user, secret)| (user.as_str(), secret))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn entry(line: &str) -> Result<(&str, Secret), UsersFaultKind> {
    if line.contains('\0') {
        return Err(UsersFaultKind::Nul);
    }
    let (user, secret) = line.split_once(':').ok_or(UsersFaultKind::NoColon)?;
    if user.is_empty() {
        return Err(UsersFaultKind::NoUser);
    }
    let secret = if secret.is_empty() {
        return Err(UsersFaultKind::NoSecret(user.to_owned()));
    } else if let Some(digits) = secret.strip_prefix("md5").filter(|digits| looks_like_a_digest(digits)) {
        Secret::Md5(Md5Digest::parse(digits).ok_or_else(|| UsersFaultKind::Md5(user.to_owned()))?)
    } else if secret.starts_with("SCRAM-SHA-256$") {
        Secret::Scram(Verifier::parse(secret).map_err(|fault| UsersFaultKind::Scram(user.to_owned(), fault))?)
    } else {
        Secret::Plain(secret.to_owned())
    };
    Ok((user, secret))
}

/// All digits, or as long as a digest. Other passwords may begin with `md5`.
fn looks_like_a_digest(text: &str) -> bool {
    text.len() == 32 || !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::{self, Keys};

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        let users = Users::parse("\u{feff}app:secret\r\nweb:other\r\n").unwrap();
        assert_eq!(users.get("app"), Some(&Secret::Plain("secret".into())));
        assert_eq!(users.get("web"), Some(&Secret::Plain("other".into())));
    }

    #[test]
    fn each_kind_of_entry_is_told_by_its_form() {
        let verifier = Keys::derive("p", b"salt", 1).verifier(b"salt", 1);
        let text = format!("# us\n\nann:md5{}\nbob:{}\ncid:a:b c\r\neve:md5rocks", "0".repeat(32), verifier.to_text());
        let users = Users::parse(&text).unwrap();
        assert!(matches!(users.get("ann"), Some(Secret::Md5(_))));
        assert_eq!(users.get("bob"), Some(&Secret::Scram(verifier)));
        assert_eq!(users.get("cid"), Some(&Secret::Plain("a:b c".into())));
        assert_eq!(users.get("dan"), None);
        assert_eq!(users.get("eve"), Some(&Secret::Plain("md5rocks".into())));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_what_to_do() {
        let verifier = scram::verifier("p", b"salt", 1);
        let too_many = format!("ann:{}", verifier.replace("$1:", "$100001:"));
        for (text, line, words) in [
            ("ann:x\nbob", 2, "write user:secret"),
            (":x", 1, "no user"),
            ("ann:", 1, "has no password"),
            ("ann:x\n\nann:y", 3, "is there already"),
            ("ann:SCRAM-SHA-256$4096:!!$a:b", 1, "copy rolpassword"),
            ("# c\nann:md5abc", 2, "32 hexadecimal digits"),
            ("ann:md5O123456789abcdef0123456789abcdef", 1, "32 hexadecimal digits"),
            ("ann:a\0b", 1, "NUL"),
            (&too_many, 1, "scram_iterations"),
        ] {
            let fault = Users::parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{text}");
            assert!(fault.to_string().contains(words), "{fault}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let digits = "0123456789abcdef".repeat(2);
        let users = Users::parse(&format!("ann:hunter2\nbob:md5{digits}")).unwrap();
        let shown = format!("{users:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(&digits), "{shown}");
    }
}
