//! Large objects: statements that make them, write to them or drop them, and definitions about them.
//!
//! No trigger can be on a large object, and what a statement did to which of them is not seen in its rows. So the leader is
//! sent the client's text with functions of ours in place of those that give a client the number of an object that it may
//! change: they do the same and note the number. What is locked by PostgreSQL itself (to drop one, to give it another
//! owner) needs no note. At the end of the unit the leader tells what has become of all of these: a state and no deeds, so
//! that it makes no difference how they came about.
//!
//! Invariant: wherever a client's statement calls one of these functions, its text is respelled; where that could not be
//! (in functions, views, cursors, PREPARE, COPY), it is refused.

use std::ops::Range;
use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ObjectType};

use super::refuse::refuse;
use super::scope::{Outcome, Scope, Stop};
use super::{Action, Marks, Plan, ddl};
use crate::fault::Fault;
use crate::sql::{Facts, Kind, Name, Statement, Token, lex};

/// Functions in whose place the leader is sent ours of the same name.
const NOTED: [&str; 5] = ["lo_creat", "lo_create", "lo_from_bytea", "lo_open", "lo_put"];
const UNLINK: &str = "lo_unlink";
/// They work with what `lo_open` has given in the same transaction.
const THROUGH_DESCRIPTORS: [&str; 3] = ["lo_truncate", "lo_truncate64", "lowrite"];

/// Whether a built-in function is about large objects, and what its call means.
pub fn note(function: &str, marks: &mut Marks) -> bool {
    let (noted, unlinks) = (NOTED.contains(&function), function == UNLINK);
    marks.objects |= noted || unlinks;
    marks.locks_objects |= unlinks;
    noted || unlinks || THROUGH_DESCRIPTORS.contains(&function)
}

/// Why a statement may not be about large objects.
pub fn elsewhere() -> Fault {
    let reason = "what it does with large objects could not be seen where it does it";
    refuse(reason, "Call their functions in SELECT, INSERT, UPDATE or DELETE, sent by itself.")
}

/// The plan of a statement that calls such functions: on the leader alone it would not do.
pub fn plan(scope: &Scope<'_>, statement: &Statement, plan: Plan) -> Outcome {
    let marks = match &plan.action {
        Action::Prepare { inner, .. } => inner.marks,
        _ => plan.marks,
    };
    if !marks.objects || matches!(plan.action, Action::Objects(_)) {
        return Ok(plan);
    }
    spells_them_plainly(scope, statement)?;
    use NodeEnum::{DeleteStmt, InsertStmt, MergeStmt, SelectStmt, UpdateStmt};
    let runs = matches!(statement.node, SelectStmt(_) | InsertStmt(_) | UpdateStmt(_) | DeleteStmt(_) | MergeStmt(_));
    match plan.action {
        Action::Leader if runs => Ok(Plan { action: Action::Objects(Arc::new([])), ..plan }),
        Action::Write(_) | Action::Captured(_) | Action::Capture(_) => Ok(plan),
        _ => Err(elsewhere().into()),
    }
}

/// All calls of such functions are found in the text, and mean those of the server.
fn spells_them_plainly(scope: &Scope<'_>, statement: &Statement) -> Outcome<()> {
    let facts = Facts::of(&statement.node);
    let built_in = |name: &&Name| name.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
    let called: Vec<&Name> = facts.functions.iter().filter(built_in).collect();
    let known = |name: &&&Name| NOTED.contains(&name.name.as_str()) || name.name == UNLINK;
    let catalog = scope.catalog()?;
    for name in called.iter().filter(known).filter(|name| name.schema.is_none()) {
        if catalog.functions_named(&name.name).next().is_some() {
            let reason = format!("a function of the database has the name {name} too, and which is meant is not known");
            return Err(refuse(reason, format!("Write pg_catalog.{name}.")).into());
        }
    }
    let tokens = &scope.parsed.tokens[statement.tokens.clone()];
    let mut spelled: Vec<&str> = places(scope.sql, tokens).map(|place| place.name).collect();
    let mut meant: Vec<&str> = called.iter().map(|name| name.name.as_str()).filter(|n| NOTED.contains(n)).collect();
    spelled.sort_unstable();
    meant.sort_unstable();
    if spelled == meant { Ok(()) } else { Err(elsewhere().into()) }
}

/// GRANT, REVOKE, COMMENT and ALTER … OWNER about large objects.
pub fn definition(scope: &Scope<'_>, node: &NodeEnum) -> Outcome<Option<Plan>> {
    let numbers = match node {
        NodeEnum::GrantStmt(s) if s.objtype() == ObjectType::ObjectLargeobject => {
            s.objects.iter().map(number).collect::<Option<Arc<[u32]>>>().ok_or(Stop::Unknown)?
        }
        NodeEnum::CommentStmt(s) if s.objtype() == ObjectType::ObjectLargeobject => Arc::new([]),
        NodeEnum::AlterOwnerStmt(s) if s.object_type() == ObjectType::ObjectLargeobject => Arc::new([]),
        _ => return Ok(None),
    };
    scope.reads_literals();
    scope.path()?;
    ddl::fires_nothing(scope)?;
    let marks = Marks { objects: true, locks_objects: true, ..Marks::default() };
    Ok(Some(Plan { marks, ..Action::Objects(numbers).into() }))
}

fn number(node: &Node) -> Option<u32> {
    match node.node.as_ref()? {
        NodeEnum::Integer(number) => u32::try_from(number.ival).ok(),
        // What is more than an integer of 32 bits with a sign.
        NodeEnum::Float(number) => number.fval.parse().ok(),
        _ => None,
    }
}

/// A client's statement as the leader is sent it.
pub fn respelled(text: &[u8], readable: &str) -> Vec<u8> {
    let tokens = lex(readable).unwrap_or_default();
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut done = 0;
    for Place { bytes, words, .. } in places(readable, &tokens) {
        out.extend_from_slice(&text[done..bytes.start]);
        out.extend_from_slice(words.as_bytes());
        done = bytes.end;
    }
    out.extend_from_slice(&text[done..]);
    out
}

/// What a character's place in the text that was sent is in the client's, both counted from 1.
pub fn place_before(readable: &str, sent: u32) -> u32 {
    let tokens = lex(readable).unwrap_or_default();
    let mut shift = 0i64;
    for Place { bytes, words, .. } in places(readable, &tokens) {
        let before = readable[..bytes.start].chars().count() as i64;
        let behind = i64::from(sent) - before - shift;
        if behind <= 0 {
            break;
        }
        // Within what was put in, it is the name's own place.
        if behind <= words.len() as i64 {
            return u32::try_from(before + 1).unwrap_or(sent);
        }
        shift += words.len() as i64 - bytes.len() as i64;
    }
    u32::try_from(i64::from(sent) - shift).unwrap_or(sent)
}

/// Where in a text something else is put.
struct Place {
    bytes: Range<usize>,
    words: &'static str,
    /// The function that is called there.
    name: &'static str,
}

fn places<'a>(sql: &'a str, tokens: &'a [Token]) -> impl Iterator<Item = Place> + 'a {
    let sign = |at: Option<usize>, sign: u8| at.and_then(|at| tokens.get(at)).is_some_and(|t| t.is(sql, sign));
    tokens.iter().enumerate().filter_map(move |(at, token)| {
        let name = NOTED.into_iter().find(|name| is_name(sql, token, name)).filter(|_| sign(Some(at + 1), b'('))?;
        if !sign(at.checked_sub(1), b'.') {
            return Some(Place { bytes: token.start..token.start, words: "lockstep.", name });
        }
        let schema = &tokens[at.checked_sub(2)?];
        let qualified = is_name(sql, schema, "pg_catalog") && !sign(at.checked_sub(3), b'.');
        qualified.then_some(Place { bytes: schema.start..schema.end, words: "lockstep", name })
    })
}

fn is_name(sql: &str, token: &Token, name: &str) -> bool {
    let quoted = |text: &[u8]| text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")) == Some(name.as_bytes());
    token.is_word(sql, name) || token.kind == Kind::Quoted && quoted(token.text(sql))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> String {
        String::from_utf8(respelled(text.as_bytes(), text)).unwrap()
    }

    #[test]
    fn calls_are_respelled_wherever_they_stand_and_nothing_else_is() {
        for (text, expected) in [
            (
                "SELECT lo_create(0), LO_PUT (1, 0, 'lo_put(1)')",
                "SELECT lockstep.lo_create(0), lockstep.LO_PUT (1, 0, 'lo_put(1)')",
            ),
            ("SELECT pg_catalog.lo_open($1, $2)", "SELECT lockstep.lo_open($1, $2)"),
            (
                "INSERT INTO é VALUES (\"lo_from_bytea\"(0, $1))",
                "INSERT INTO é VALUES (lockstep.\"lo_from_bytea\"(0, $1))",
            ),
            (
                "SELECT lo_unlink(lo_create), b.lo_open(1), lo_get(2)",
                "SELECT lo_unlink(lo_create), b.lo_open(1), lo_get(2)",
            ),
        ] {
            assert_eq!(sent(text), expected);
        }
    }

    #[test]
    fn a_place_in_the_text_that_was_sent_is_found_in_the_clients() {
        let text = "SELECT é, lo_create(x), pg_catalog.lo_open(y, 1), z";
        let of = |part: &str, text: &str| text[..text.find(part).unwrap()].chars().count() as u32 + 1;
        for part in ["é", "x)", "y,", "z"] {
            assert_eq!(place_before(text, of(part, &sent(text))), of(part, text), "{part}");
        }
        assert_eq!(place_before(text, of("lockstep.lo_create", &sent(text))), of("lo_create", text));
        assert_eq!(place_before(text, of("lockstep.lo_open", &sent(text))), of("pg_catalog", text));
    }
}
