//! A plan in words, for `lockstep explain`: what a statement is for replication, what followers get, and why.

use super::{Action, Plan, Transaction, Utility};
use crate::effect::{RowEffect, RowKind, capture, objects};
use crate::fault::Fault;
use crate::sql;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The kind of effect, such as `rows by key`.
    pub kind: &'static str,
    /// Statements that followers get; empty: none.
    pub followers: Vec<String>,
    pub why: String,
    /// What its author can do instead, where it is refused.
    pub remedy: Option<String>,
}

impl Explained {
    fn new(kind: &'static str, followers: Vec<String>, why: impl Into<String>) -> Self {
        Self { kind, followers, why: why.into(), remedy: None }
    }

    /// Whether it would not be carried out.
    pub fn is_bad(&self) -> bool {
        self.kind == REFUSED || self.kind == UNKNOWN
    }
}

/// Not exact, and allowed.
pub const INEXACT: &str = "unsafe";
pub const REFUSED: &str = "refused";
/// The leader is asked, for its own error.
pub const UNKNOWN: &str = "unknown";

/// `sql` is the statement alone, without semicolon.
pub fn explain(plan: &Plan, sql: &str) -> Explained {
    let mut explained = of_action(&plan.action, sql);
    if let Some(waived) = &plan.waived {
        explained = Explained { kind: INEXACT, why: waived.text(), ..explained };
    }
    if plan.marks.sequences && !explained.is_bad() {
        explained.why.push_str(". Sequences that it moves are brought along, and levelled when it is quiet");
    }
    if plan.marks.objects && !matches!(plan.action, Action::Objects(_)) && !explained.is_bad() {
        explained.why.push_str(". At the end of the transaction followers get the large objects that it has changed");
    }
    explained
}

fn of_action(action: &Action, sql: &str) -> Explained {
    match action {
        Action::Leader => Explained::new("leader only", Vec::new(), "it changes nothing that other servers hold"),
        Action::Unparsed => unparsed(sql),
        Action::Transaction(kind) => Explained::new("transaction", Vec::new(), of_transaction(kind)),
        Action::Write(write) => rows(&write.effect, "through RETURNING"),
        Action::Captured(run) if run.watch.is_some() => captured(WATCHED),
        Action::Captured(_) => captured(""),
        Action::Capture(tables) => {
            captured(&format!(". First {} get that trigger, on every server", tables.join(", ")))
        }
        Action::Objects(_) => Explained::new(
            "large objects",
            vec![objects::APPLY.sql.to_string()],
            "the leader runs it, and tells at the end of the transaction what has become of each large object that was changed",
        ),
        Action::CopyRows(_) => Explained::new(
            "rows, from COPY",
            Vec::new(),
            "values of columns that the data lacks are the leader's to choose: followers get the rows that it made, with \
             all their columns",
        ),
        Action::CopyIn(copy) => Explained::new(
            "COPY as data",
            vec![copy.follower_sql.clone()],
            "the data holds every value: followers get the same data",
        ),
        Action::Unknown(fault) | Action::CopyUnknown(fault) | Action::Refuse(fault) => refused(fault),
        Action::Ddl(ddl) => {
            let password = if ddl.password.is_some() { ", the password hashed once" } else { "" };
            let why =
                format!("it changes definitions: followers get the same text{password}, while no other commit runs");
            Explained::new("text", vec![sql.to_owned()], why)
        }
        Action::Image(_) => Explained::new(
            "text and rows",
            vec![sql.to_owned()],
            "it computes values for rows: followers get the definition as text and the rows that the leader made, while no \
             other commit runs",
        ),
        Action::Utility(utility) => {
            let besides = match utility {
                Utility::Plain => String::new(),
                Utility::Vacates(database) => format!("; idle connections to {database} are closed before"),
                Utility::Detaches(partition) => {
                    format!("; if it fails halfway at the leader, {} is attached as it was", partition.name)
                }
                Utility::Upkeep => "; one that fails to is not blamed".into(),
            };
            let why = format!("it cannot run in a transaction: the leader runs it, then every follower{besides}");
            Explained::new("utility", vec![sql.to_owned()], why)
        }
        Action::Prepare { inner, .. } => {
            let inner = of_action(&inner.action, sql);
            Explained { why: format!("PREPARE itself runs on the leader; EXECUTE of it: {}", inner.why), ..inner }
        }
        Action::Execute { name } => {
            let why = format!("what the session has prepared as {name} decides; explain that statement");
            Explained::new("as prepared", Vec::new(), why)
        }
        Action::Deallocate { .. } | Action::Discard { .. } => {
            Explained::new("leader only", Vec::new(), "it is about the session alone, which only the leader serves")
        }
        Action::ShowPoolNodes => Explained::new("the proxy", Vec::new(), "the proxy answers it"),
    }
}

/// What is said of text that functions make.
const WATCHED: &str = ". It runs text by EXECUTE: if that changes a table without this trigger, the table gets it and the \
    transaction is run again (40001); if it changes more than rows, or is run by a superuser or a member of one, it is refused";

fn unparsed(sql: &str) -> Explained {
    if !is_understood(sql) {
        let why = "its text is not understood: the leader answers with its own error, and what it accepts all the same is refused";
        return Explained::new(UNKNOWN, Vec::new(), why);
    }
    let why = "it names something that is not in this database, or not in the search path: the leader would say what";
    let remedy = "Look at it in the database, and as the user or with the search path, of the application.";
    Explained { remedy: Some(remedy.into()), ..Explained::new(UNKNOWN, Vec::new(), why) }
}

fn captured(first: &str) -> Explained {
    let why = format!(
        "the leader runs it as it is, and a trigger of the proxy's own on every table that it may change tells what rows \
         have become of it{first}"
    );
    Explained::new("rows by capture", vec![capture::APPLY.sql.to_string()], why)
}

fn is_understood(sql: &str) -> bool {
    sql::scan(sql).and_then(|scanned| scanned.parse(|_| ())).is_ok()
}

fn rows(effect: &RowEffect, how: &str) -> Explained {
    let columns: Vec<_> = effect.columns.iter().map(|column| column.name.as_str()).collect();
    let key: Vec<_> = effect.columns.iter().filter(|c| c.is_key()).map(|c| c.name.as_str()).collect();
    let (columns, key) = (columns.join(", "), key.join(", "));
    let why = match effect.kind {
        RowKind::Insert => format!("the leader tells each row that it inserted ({columns}), {how}"),
        RowKind::Upsert => {
            format!("the leader tells each row as it then is ({columns}), {how}; found by its key ({key})")
        }
        RowKind::Update => {
            format!("the leader tells each row that it changed ({columns}), {how}; found by its key ({key})")
        }
        RowKind::Delete => format!("the leader tells the key ({key}) of each row that it deleted, {how}"),
    };
    let kind = if effect.kind == RowKind::Insert { "rows" } else { "rows by key" };
    Explained::new(kind, vec![effect.single.sql.to_string()], why)
}

fn refused(fault: &Fault) -> Explained {
    let message = fault.message.to_string();
    let why = message.strip_prefix("this statement is refused: ").unwrap_or(&message).to_owned();
    let remedy = fault.hint.as_ref().map(ToString::to_string);
    Explained { remedy, ..Explained::new(REFUSED, Vec::new(), why) }
}

fn of_transaction(kind: &Transaction) -> &'static str {
    match kind {
        Transaction::Commit { .. } => {
            "followers commit what the transaction did first, then the leader, then the client is told"
        }
        Transaction::Rollback { .. } | Transaction::RollbackTo { .. } => "followers were told nothing of it",
        _ => "it runs on the leader; followers hear of the transaction at its COMMIT",
    }
}
