//! What clients ask for: the histories that a replicating proxy is easily broken by, in small tables.

use super::rng::Rng;
use super::sql::Advisory;

/// What a statement's success means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Begin,
    Commit,
    /// COMMIT AND CHAIN.
    Chain,
    Rollback,
    Savepoint,
    RollbackTo,
    /// To the account's `n`, which nothing else changes.
    Add {
        account: i64,
        amount: i64,
    },
    /// Reads what is to be written back.
    Look,
    /// Into the ledger.
    Enter,
    Ticket,
    Lock(Advisory),
    Other,
}

impl Meaning {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Begin | Self::Savepoint | Self::Lock(_)) || self.lets_locks_go()
    }

    /// Those of the transaction, or some of them.
    pub(super) fn lets_locks_go(self) -> bool {
        matches!(self, Self::Commit | Self::Chain | Self::Rollback | Self::RollbackTo)
    }
}

/// A Query, or messages up to a Sync.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub statements: Vec<(String, Meaning)>,
    pub simple: bool,
}

impl Request {
    pub(super) fn one(text: &str, meaning: Meaning) -> Self {
        Self { statements: vec![(text.to_owned(), meaning)], simple: true }
    }

    pub(super) fn is(&self, meaning: Meaning) -> bool {
        self.statements.iter().any(|(_, known)| *known == meaning)
    }
}

pub(super) const ACCOUNTS: usize = 3;
pub(super) const JOBS: usize = 4;
pub(super) const PARENTS: usize = 3;
pub(super) const DUTIES: usize = 2;
const ITEMS: usize = 3;
/// Of items.
pub(super) const KINDS: usize = 2;
const NAMES: usize = 3;

pub(super) fn unit(rng: &mut Rng, id: i64, client: usize) -> Vec<Request> {
    let mut requests = match rng.below(8) {
        0 | 1 => vec![Request { statements: vec![statement(rng, client)], simple: true }],
        2 => string(rng, id, client),
        _ => block(rng, id, client),
    };
    for request in &mut requests {
        request.simple = rng.one_in(2);
    }
    requests
}

/// Several statements in one Query or pipeline: one transaction.
fn string(rng: &mut Rng, id: i64, client: usize) -> Vec<Request> {
    let mut statements = vec![enter(id, client)];
    for _ in 0..1 + rng.below(2) {
        statements.push(statement(rng, client));
    }
    vec![Request { statements, simple: true }]
}

fn block(rng: &mut Rng, id: i64, client: usize) -> Vec<Request> {
    let (begin, serializable) = match rng.below(10) {
        0 => ("BEGIN ISOLATION LEVEL REPEATABLE READ", false),
        1..=3 => ("BEGIN ISOLATION LEVEL SERIALIZABLE", true),
        _ => ("BEGIN", false),
    };
    let mut requests = vec![Request::one(begin, Meaning::Begin)];
    requests.extend(inner(rng, id, client, serializable));
    if rng.one_in(8) {
        requests.push(Request::one("COMMIT AND CHAIN", Meaning::Chain));
        requests.extend(inner(rng, id + 1, client, serializable));
    }
    let end = if rng.one_in(8) { ("ROLLBACK", Meaning::Rollback) } else { ("COMMIT", Meaning::Commit) };
    requests.push(Request::one(end.0, end.1));
    requests
}

/// What is between the beginning of a transaction and its end.
fn inner(rng: &mut Rng, id: i64, client: usize, serializable: bool) -> Vec<Request> {
    let mut requests = Vec::new();
    let alone = |(text, meaning): (String, Meaning)| Request { statements: vec![(text, meaning)], simple: true };
    let statements = 1 + rng.below(4);
    let entered = rng.below(statements + 1);
    let savepoint = rng.one_in(4).then(|| rng.below(statements));
    for n in 0..statements {
        if n == entered {
            requests.push(alone(enter(id, client)));
        }
        if savepoint == Some(n) {
            requests.push(Request::one("SAVEPOINT s", Meaning::Savepoint));
        }
        if rng.one_in(5) {
            requests.extend(read_and_write(rng).map(alone));
        }
        if serializable && rng.one_in(2) {
            requests.extend(leaves_duty(rng).into_iter().map(alone));
        } else {
            requests.push(alone(statement(rng, client)));
        }
    }
    if savepoint.is_some() && rng.one_in(2) {
        requests.push(Request::one("ROLLBACK TO SAVEPOINT s", Meaning::RollbackTo));
    }
    requests
}

/// By way of the client: only a lock keeps others away between the two.
fn read_and_write(rng: &mut Rng) -> [(String, Meaning); 2] {
    let (account, amount) = (rng.below(ACCOUNTS), 1 + rng.below(5) as i64);
    let read = format!("SELECT n FROM account WHERE id = {account} FOR UPDATE");
    let write = format!("UPDATE account SET n = {READ} + {amount} WHERE id = {account}");
    [(read, Meaning::Look), (write, Meaning::Add { account: account as i64, amount })]
}

/// What sets off triggers of users, or changes what they change.
fn captured(rng: &mut Rng) -> String {
    let (item, kind) = (rng.below(ITEMS), rng.below(KINDS));
    match rng.below(8) {
        0 | 1 => format!("INSERT INTO item (id, v, changes) VALUES ({item}, {kind}, 0)"),
        2 => format!(
            "INSERT INTO item (id, v, changes) VALUES ({item}, {kind}, 0) ON CONFLICT (id) DO UPDATE SET v = {kind}"
        ),
        3 => format!("UPDATE item SET v = {kind} WHERE id = {item}"),
        4 => format!("UPDATE item SET v = {kind} WHERE changes < 4"),
        5 => format!("DELETE FROM item WHERE id = {item}"),
        6 => format!("DELETE FROM met WHERE id = {kind}"),
        _ => format!("UPDATE tally SET n = n + 10 WHERE id = {kind}"),
    }
}

/// If another one stays on call, which only SERIALIZABLE makes sure of.
fn leaves_duty(rng: &mut Rng) -> Vec<(String, Meaning)> {
    const COUNT: &str = "SELECT count(*) FROM duty WHERE on_call = 1";
    let duty = rng.below(DUTIES);
    let leaves =
        |count: &str| (format!("UPDATE duty SET on_call = 0 WHERE id = {duty} AND {count} > 1"), Meaning::Other);
    if rng.one_in(2) {
        return vec![leaves(&format!("({COUNT})"))];
    }
    vec![(COUNT.into(), Meaning::Look), leaves(READ)]
}

/// Stands for what was read last.
pub(super) const READ: &str = "@";

fn enter(id: i64, client: usize) -> (String, Meaning) {
    (format!("INSERT INTO ledger (id, who) VALUES ({id}, {client})"), Meaning::Enter)
}

fn statement(rng: &mut Rng, client: usize) -> (String, Meaning) {
    let (account, job, parent, name) = (rng.below(ACCOUNTS), rng.below(JOBS), rng.below(PARENTS), rng.below(NAMES));
    let small = rng.below(5);
    let text = match rng.below(23) {
        0..=3 => {
            let amount = 1 + small as i64;
            let text = format!("UPDATE account SET n = n + {amount} WHERE id = {account}");
            return (text, Meaning::Add { account: account as i64, amount });
        }
        4 => format!("UPDATE account SET v = {client} WHERE n > {small}"),
        5 => format!("UPDATE account SET v = n * 2 + {small} WHERE id = {account}"),
        6 => format!("UPDATE job SET state = 1, worker = {client} WHERE id = {job} AND state = 0"),
        7 | 8 => format!(
            "UPDATE job SET state = 1, worker = {client} WHERE id = (SELECT id FROM job WHERE state = 0 ORDER BY id \
             LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
        ),
        9 => "UPDATE job SET state = 0, worker = NULL WHERE state = 1".into(),
        10 => format!("SELECT v FROM account WHERE id = {account} FOR UPDATE"),
        11 => format!("SELECT count(*) FROM child WHERE parent = {parent}"),
        12 | 13 => format!("INSERT INTO child (parent, v) VALUES ({parent}, {small}) RETURNING id"),
        14 => format!("DELETE FROM parent WHERE id = {parent}"),
        15 => format!(
            "INSERT INTO parent (id, v) VALUES ({parent}, {small}) ON CONFLICT (id) DO UPDATE SET v = parent.v + 1"
        ),
        16 => format!("INSERT INTO named (id, code, v) VALUES ({name}, {small}, {client})"),
        17 => format!("UPDATE named SET code = {small} WHERE id = {name}"),
        18 => format!("DELETE FROM named WHERE id = {name}"),
        19 => format!("UPDATE duty SET on_call = 1 WHERE id = {}", small % DUTIES),
        20 => captured(rng),
        21 => "INSERT INTO draw (chance) VALUES ((random() * 1000)::int)".into(),
        _ => return ("SELECT nextval('ticket')".into(), Meaning::Ticket),
    };
    (text, Meaning::Other)
}
