//! The users file: one entry a line, `user:secret`. Blank lines and lines that begin with `#` are passed over.

use std::collections::HashMap;

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

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    #[error("the SCRAM verifier of user \"{user}\" cannot be used: {fault}")]
    Scram { user: String, fault: VerifierFault },
    #[error("the md5 verifier of user \"{0}\" has not 32 digits; copy rolpassword from pg_authid whole")]
    Md5(String),
}

impl Users {
    pub fn parse(text: &str) -> Result<Self, UsersFault> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, secret) = entry(line).map_err(|kind| UsersFault { line: index + 1, kind })?;
            if users.insert(user.clone(), secret).is_some() {
                return Err(UsersFault { line: index + 1, kind: UsersFaultKind::Twice(user) });
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

fn entry(line: &str) -> Result<(String, Secret), UsersFaultKind> {
    let (user, secret) = line.split_once(':').ok_or(UsersFaultKind::NoColon)?;
    if user.is_empty() {
        return Err(UsersFaultKind::NoUser);
    }
    let user = user.to_owned();
    if secret.is_empty() {
        return Err(UsersFaultKind::NoSecret(user));
    }
    match read_secret(secret) {
        Ok(secret) => Ok((user, secret)),
        Err(SecretFault::Scram(fault)) => Err(UsersFaultKind::Scram { user, fault }),
        Err(SecretFault::Md5) => Err(UsersFaultKind::Md5(user)),
    }
}

enum SecretFault {
    Scram(VerifierFault),
    Md5,
}

/// A verifier that was damaged on its way must not become a password that nobody has: what looks like one has to be one.
fn read_secret(text: &str) -> Result<Secret, SecretFault> {
    if text.starts_with("SCRAM-SHA-256$") {
        return Verifier::parse(text).map(Secret::Scram).map_err(SecretFault::Scram);
    }
    match text.strip_prefix("md5") {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Md5Digest::parse(digits).map(Secret::Md5).ok_or(SecretFault::Md5)
        }
        _ => Ok(Secret::Plain(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::Keys;

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
        for (text, line, words) in [
            ("ann:x\nbob", 2, "write user:secret"),
            (":x", 1, "no user"),
            ("ann:", 1, "has no password"),
            ("ann:x\n\nann:y", 3, "is there already"),
            ("ann:SCRAM-SHA-256$4096:!!$a:b", 1, "copy rolpassword"),
            ("ann:md50123456789abcdef0123456789abcde", 1, "copy rolpassword"),
            (
                &crate::auth::scram::verifier("p", b"s", 1).replace("SCRAM-SHA-256$1:", "ann:SCRAM-SHA-256$0:"),
                1,
                "from 1 to",
            ),
        ] {
            let fault = Users::parse(text).unwrap_err();
            assert_eq!(fault.line, line);
            assert!(fault.to_string().contains(words), "{fault}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let users = Users::parse("ann:hunter2").unwrap();
        assert!(!format!("{users:?}").contains("hunter2"));
    }
}
