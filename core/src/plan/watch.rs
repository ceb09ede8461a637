//! Text that functions, procedures, triggers and DO blocks make and run by EXECUTE.
//!
//! What it will do is not known, but what it has done is found out before anybody believes it: the server counts rows that
//! a transaction changes, in the system's own tables as well. So the counts are asked for before such a statement and
//! behind it (`lockstep.watch`), with what else of a session would outlive it. Rows of tables that are captured are told
//! by our triggers as ever. Rows of another table: the statement fails with 40001, the table gets its trigger, and the
//! statement is run again, by the session if nobody has seen anything of it, else by the client. Anything else: it fails
//! with 0A000. Invariant: a statement is watched, or runs no text; and where something is not counted that text could do
//! ([`Catalog::unseen`], and who runs it, which the server looks at), it is refused.

use std::collections::BTreeSet;

use super::policy::{Inexact, Policy};
use super::refuse::refuse;
use super::{capture, safety};
use crate::catalog::{Catalog, Oid};
use crate::fault::Fault;
use crate::quote::quote_qualified;

const HINT: &str = "Use statements that stand in the function, or plain literals behind EXECUTE.";

/// What is asked before and behind a statement that runs text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub begins: String,
    pub ends: String,
}

pub fn watch(policy: Policy, catalog: &Catalog) -> Result<Watch, Fault> {
    if policy.inexact != Inexact::Reject {
        return Err(refuse("it runs text by EXECUTE", HINT));
    }
    if let Some(why) = catalog.unseen() {
        let reason = format!("it runs text by EXECUTE, and what that did could not be found out: {why}");
        return Err(refuse(reason, HINT));
    }
    // Such as have our trigger, but whose rows would not be the same everywhere.
    let mut unfit = BTreeSet::new();
    unfit.extend(catalog.relations().filter(|r| r.captured && safety::captured(catalog, r).is_err()).map(|r| r.oid));
    let unfit: Vec<String> = unfit.iter().map(Oid::to_string).collect();
    let ask = |ends: bool| format!("SELECT lockstep.watch({ends}, '{{{}}}')", unfit.join(","));
    Ok(Watch { begins: ask(false), ends: ask(true) })
}

/// Of tables that text has changed, by their names as the server writes them: what must get our trigger for it.
pub fn needed(catalog: &Catalog, changed: &BTreeSet<String>) -> Result<Vec<String>, Fault> {
    let is_one = |schema: &str, name: &str| changed.contains(&quote_qualified(schema, name));
    let found: Vec<_> = catalog.relations().filter(|r| !r.temporary && is_one(&r.schema, &r.name)).collect();
    found.iter().try_for_each(|relation| capture::judge(catalog, relation))?;
    Ok(catalog.uncaptured(&catalog.reach(found.iter().map(|relation| relation.oid))))
}
