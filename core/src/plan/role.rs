//! CREATE and ALTER ROLE: each server would salt a clear-text password, and read a date such as tomorrow, by itself.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::PasswordLiteral;
use super::refuse::refuse;
use super::scope::{Outcome, Scope};
use crate::sql::{Kind, Statement, has_temporal_word, span};

/// The password in clear among a role's options, and where it stands.
pub fn password(
    scope: &Scope<'_>,
    statement: &Statement,
    role: &str,
    options: &[Node],
) -> Outcome<Option<PasswordLiteral>> {
    let moves = |node: &Node| match &node.node {
        Some(NodeEnum::DefElem(option)) if option.defname == "validUntil" => match option.arg.as_deref() {
            Some(Node { node: Some(NodeEnum::String(until)) }) => has_temporal_word(&until.sval),
            _ => false,
        },
        _ => false,
    };
    if options.iter().any(moves) {
        let reason = "its VALID UNTIL would mean another time on each server";
        return Err(refuse(reason, "Write the time out.").into());
    }
    let mut found = options.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::DefElem(option)) if option.defname == "password" => option.arg.as_deref(),
        _ => None,
    });
    let Some(NodeEnum::String(password)) = found.next().and_then(|arg| arg.node.as_ref()) else { return Ok(None) };
    if is_verifier(&password.sval) {
        return Ok(None);
    }
    let tokens = &scope.parsed.tokens[statement.tokens.clone()];
    let word = tokens.iter().position(|t| t.is_word(scope.sql, "password"));
    let literal = word.and_then(|at| tokens.get(at + 1)).filter(|t| t.kind == Kind::String);
    // A literal with escapes of its own may be followed by UESCAPE.
    let literal = literal.filter(|t| !t.text(scope.sql).starts_with(b"U&") && !t.text(scope.sql).starts_with(b"u&"));
    let Some(literal) = literal else {
        return Err(refuse("its password cannot be told from the rest", "Give the password as a plain literal.").into());
    };
    let start = span(&scope.parsed.tokens, &statement.tokens).start;
    let span = literal.start - start..literal.end - start;
    Ok(Some(PasswordLiteral { span, role: role.to_owned(), password: password.sval.clone() }))
}

/// What PostgreSQL stores as it is given (src/backend/libpq/crypt.c, `get_password_type`).
fn is_verifier(password: &str) -> bool {
    let md5 = password.strip_prefix("md5");
    md5.is_some_and(|digest| digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit()))
        || is_scram(password).is_some()
}

/// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`
fn is_scram(password: &str) -> Option<()> {
    let (head, keys) = password.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = head.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    iterations.parse::<u32>().ok()?;
    (!salt.is_empty() && stored.len() == 44 && server.len() == 44).then_some(())
}
