//! The users file: whether each user can be logged in at each node with what the file holds.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lockstep_runtime::config::Node;

use super::facts::Facts;
use super::finding::{Mark, Report};
use super::verifier::Verifier;

/// A user and what is stored for it. Never printed.
pub struct Entry {
    pub name: String,
    pub secret: String,
}

/// The entries of the file; a line that is none was already refused by whoever loaded it.
pub fn read(report: &mut Report, file: &Path) -> Vec<Entry> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            report.problem(
                "auth",
                format!("{} cannot be read: {error}", file.display()),
                "make it readable for this user",
            );
            return Vec::new();
        }
    };
    let mode = std::fs::metadata(file).map(|metadata| metadata.permissions().mode()).unwrap_or(0);
    if mode & 0o007 != 0 {
        let found = format!("{} holds passwords and everybody may read it", file.display());
        report.advice("auth", found, format!("chmod 0600 {}", file.display()));
    }
    let entries: Vec<_> = text.lines().filter_map(entry).collect();
    match entries.len() {
        0 => report.problem("auth", "the users file holds no user: nobody can log in", "add a line `user:password`"),
        1 => report.good("auth", "1 user"),
        users => report.good("auth", format!("{users} users")),
    }
    entries
}

fn entry(line: &str) -> Option<Entry> {
    let line = line.trim_end();
    let (name, secret) = line.split_once(':').filter(|_| !line.starts_with('#'))?;
    Some(Entry { name: name.into(), secret: secret.into() })
}

pub fn at_node(report: &mut Report, users: &[Entry], node: &Node, facts: &Facts) {
    if !facts.superuser {
        return; // Stored passwords are for superusers only, and the missing right is a finding already.
    }
    let before = report.count(Mark::Problem);
    for user in users {
        if let Err((found, remedy)) = judge(user, node, facts) {
            report.problem(&node.name, found, remedy);
        }
    }
    if !users.is_empty() && report.count(Mark::Problem) == before {
        report.good(&node.name, "every user of the users file can be logged in");
    }
}

fn judge(user: &Entry, node: &Node, facts: &Facts) -> Result<(), (String, String)> {
    let (name, node) = (&user.name, &node.name);
    let Some(role) = facts.roles.get(name) else {
        return Err((
            format!("user {name} has no role"),
            format!("CREATE ROLE {name} LOGIN on every node, or take out its line"),
        ));
    };
    if !role.login {
        return Err((format!("role {name} may not log in"), format!("ALTER ROLE {name} LOGIN on every node")));
    }
    let ours = Verifier::read(&user.secret);
    // Without a stored password only pg_hba.conf decides: trust and peer need none.
    let Some(theirs) = role.verifier.as_deref().map(Verifier::read) else { return Ok(()) };
    if ours.opens(theirs) {
        return Ok(());
    }
    let found = match (ours, theirs) {
        (Verifier::Scram { .. }, Verifier::Scram { .. }) => {
            format!("user {name} cannot be logged in: its verifier on {node} has another salt or other iterations")
        }
        (Verifier::Md5(_), Verifier::Md5(_)) => {
            format!("user {name} cannot be logged in: its password on {node} is another")
        }
        _ => format!(
            "user {name} cannot be logged in: it is stored as {} here and as {} on {node}",
            ours.kind(),
            theirs.kind()
        ),
    };
    let remedy =
        format!("on {node}: ALTER ROLE {name} PASSWORD '…' with what the users file holds for it, letter by letter");
    Err((found, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::Role;
    use crate::check::tests::{facts, node};

    const SCRAM: &str = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy";
    const OTHER: &str = "SCRAM-SHA-256$4096:b3RoZXI=$c3RvcmVk:c2VydmVy";

    fn found(secret: &str, role: Option<Role>) -> Option<String> {
        let user = Entry { name: "app".into(), secret: secret.into() };
        let mut facts = facts();
        facts.roles = role.into_iter().map(|role| ("app".into(), role)).collect();
        judge(&user, &node("alp", 5502), &facts).err().map(|(found, _)| found)
    }

    fn role(verifier: &str) -> Option<Role> {
        Some(Role { login: true, superuser: false, verifier: Some(verifier.into()) })
    }

    #[test]
    fn an_entry_that_fits_is_good() {
        assert_eq!(found(SCRAM, role(SCRAM)), None);
        assert_eq!(found("secret", role(OTHER)), None);
        assert_eq!(found(SCRAM, Some(Role { login: true, ..Role::default() })), None);
    }

    #[test]
    fn an_entry_that_does_not_fit_says_why() {
        assert!(found(SCRAM, role(OTHER)).unwrap().contains("another salt or other iterations"));
        assert!(
            found(SCRAM, role("md5c9419ffe9d0cb2a49e0ea1a32fa65c4d")).unwrap().contains("SCRAM here and as md5 on alp")
        );
        assert!(found("secret", None).unwrap().contains("has no role"));
        assert!(found("secret", Some(Role::default())).unwrap().contains("may not log in"));
    }

    #[test]
    fn no_message_shows_a_secret() {
        let message =
            found("md5c9419ffe9d0cb2a49e0ea1a32fa65c4d", role("md50123456789abcdef0123456789abcdef")).unwrap();
        assert!(!message.contains("c9419") && !message.contains("01234"), "{message}");
    }

    #[test]
    fn comments_are_no_users() {
        assert!(entry("# app:secret").is_none() && entry("").is_none());
        let entry = entry("app:sec:ret").unwrap();
        assert_eq!((entry.name.as_str(), entry.secret.as_str()), ("app", "sec:ret"));
    }
}
