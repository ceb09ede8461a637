//! The users file: whether each user can be logged in at each node with what the file holds.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lockstep_core::auth::md5::Md5Digest;
use lockstep_core::auth::scram::{Keys, MAX_ITERATIONS, Verifier};
use lockstep_core::auth::{Secret, Users};
use lockstep_runtime::config::Node;

use super::facts::Facts;
use super::finding::{Mark, Report};

pub fn read(report: &mut Report, file: &Path) -> Users {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let users = match text.and_then(|text| Users::parse(&text).map_err(|fault| fault.to_string())) {
        Ok(users) => users,
        Err(error) => {
            report.problem("auth", format!("{}: {error}", file.display()), "put the users file right");
            return Users::default();
        }
    };
    let mode = std::fs::metadata(file).map(|metadata| metadata.permissions().mode()).unwrap_or(0);
    if mode & 0o007 != 0 {
        let found = format!("{} holds passwords and everybody may read it", file.display());
        report.advice("auth", found, format!("chmod 0600 {}", file.display()));
    }
    match users.len() {
        0 => report.problem("auth", "the users file holds no user: nobody can log in", "add a line `user:password`"),
        1 => report.good("auth", "1 user"),
        users => report.good("auth", format!("{users} users")),
    }
    users
}

pub fn at_node(report: &mut Report, users: &Users, node: &Node, facts: &Facts) {
    if !facts.superuser {
        return; // Stored passwords are for superusers only, and the missing right is a finding already.
    }
    let before = report.count(Mark::Problem);
    let mut entries: Vec<_> = users.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    for (name, secret) in entries {
        if let Err((found, remedy)) = judge(name, secret, node, facts) {
            report.problem(&node.name, found, remedy);
        }
    }
    if !users.is_empty() && report.count(Mark::Problem) == before {
        report.good(&node.name, "every user of the users file can be logged in");
    }
}

fn judge(name: &str, ours: &Secret, node: &Node, facts: &Facts) -> Result<(), (String, String)> {
    let node = &node.name;
    let Some(role) = facts.roles.get(name) else {
        return Err((
            format!("user {name} has no role"),
            format!("CREATE ROLE {name} LOGIN on every node, or take out its line"),
        ));
    };
    if !role.login {
        return Err((format!("role {name} may not log in"), format!("ALTER ROLE {name} LOGIN on every node")));
    }
    // Without a stored password only pg_hba.conf decides: trust and peer need none.
    let Some(theirs) = role.verifier.as_deref().and_then(stored) else { return Ok(()) };
    let Some(why) = unfit(name, ours, &theirs) else { return Ok(()) };
    let found = format!("user {name} cannot be logged in: {why}");
    let remedy =
        format!("on {node}: ALTER ROLE {name} PASSWORD '…' with what the users file holds for it, letter by letter");
    Err((found, remedy))
}

/// What a node holds in `pg_authid`.
fn stored(text: &str) -> Option<Secret> {
    let md5 = || text.strip_prefix("md5").and_then(Md5Digest::parse).map(Secret::Md5);
    Verifier::parse(text).ok().map(Secret::Scram).or_else(md5)
}

/// Why who logs in against `ours` cannot be logged in where `theirs` is stored: the key that a client proves with SCRAM
/// serves where salt, iterations and password are the same, an md5 digest where it is the same, and a password where it
/// is the password.
fn unfit(name: &str, ours: &Secret, theirs: &Secret) -> Option<String> {
    let same_password = match (ours, theirs) {
        (Secret::Plain(password), Secret::Scram(theirs)) => {
            theirs.iterations > MAX_ITERATIONS
                || Keys::derive(password, &theirs.salt, theirs.iterations)
                    .verifier(&theirs.salt, theirs.iterations)
                    .stored_key
                    == theirs.stored_key
        }
        (Secret::Plain(password), Secret::Md5(theirs)) => Md5Digest::of(name, password) == *theirs,
        (Secret::Plain(_), Secret::Plain(_)) => true,
        (Secret::Scram(ours), Secret::Scram(theirs)) => {
            if ours.salt != theirs.salt || ours.iterations != theirs.iterations {
                return Some("its verifier there has another salt or other iterations".into());
            }
            ours.stored_key == theirs.stored_key
        }
        (Secret::Md5(ours), Secret::Md5(theirs)) => ours == theirs,
        _ => return Some(format!("the users file holds {} and the node {}", ours.kind(), theirs.kind())),
    };
    (!same_password).then(|| "its password there is another".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::Role;
    use crate::check::tests::{facts, node};

    const MD5: &str = "md5c9419ffe9d0cb2a49e0ea1a32fa65c4d";

    fn scram(salt: &[u8], iterations: u32) -> String {
        scram_of("secret", salt, iterations)
    }

    fn scram_of(password: &str, salt: &[u8], iterations: u32) -> String {
        Keys::derive(password, salt, iterations).verifier(salt, iterations).to_text()
    }

    fn found(secret: &str, role: Option<Role>) -> Option<String> {
        let users = Users::parse(&format!("app:{secret}")).unwrap();
        let mut facts = facts();
        facts.roles = role.into_iter().map(|role| ("app".into(), role)).collect();
        judge("app", users.get("app").unwrap(), &node("alp", 5502), &facts).err().map(|(found, _)| found)
    }

    fn role(verifier: &str) -> Option<Role> {
        Some(Role { login: true, superuser: false, verifier: Some(verifier.into()) })
    }

    #[test]
    fn an_entry_that_fits_is_good() {
        assert_eq!(found(&scram(b"salt", 2), role(&scram(b"salt", 2))), None);
        assert_eq!(found(MD5, role(MD5)), None);
        assert_eq!(found("secret", role(&scram(b"other", 2))), None);
        assert_eq!(found(MD5, Some(Role { login: true, ..Role::default() })), None);
    }

    #[test]
    fn an_entry_that_does_not_fit_says_why() {
        let ours = scram(b"salt", 2);
        for theirs in [scram(b"other", 2), scram(b"salt", 3)] {
            assert!(found(&ours, role(&theirs)).unwrap().contains("another salt or other iterations"));
        }
        let mixed = found(&ours, role(MD5)).unwrap();
        assert!(mixed.contains("holds a SCRAM-SHA-256 verifier and the node an md5 verifier"), "{mixed}");
        let md5_of_secret = Md5Digest::of("app", "secret").verifier();
        assert_eq!(found("secret", role(&md5_of_secret)), None);
        for (ours, theirs) in
            [("wrong", scram(b"salt", 2)), ("wrong", md5_of_secret), (&ours, scram_of("wrong", b"salt", 2))]
        {
            assert!(found(ours, role(&theirs)).unwrap().contains("its password there is another"), "{theirs}");
        }
        assert!(found("secret", None).unwrap().contains("has no role"));
        assert!(found("secret", Some(Role::default())).unwrap().contains("may not log in"));
    }

    #[test]
    fn no_message_shows_a_secret() {
        let message = found(MD5, role("md50123456789abcdef0123456789abcdef")).unwrap();
        assert!(!message.contains("c9419") && !message.contains("01234"), "{message}");
    }
}
