//! The nodes against the ledger, at rest.

use std::collections::BTreeMap;

use super::DATABASE;
use super::ledger::{Counter, Entries, Ledger, Mark};
use super::load::{ACCOUNTS, TOTAL, id_table};
use crate::compare::{differences, until_quiet};
use crate::postgres::Server;
use crate::raw::Client;

/// Ids that are named; the rest is counted.
const NAMED: usize = 10;

/// Everything that is wrong, a line each. Only ids from `first` on are looked at; afterwards nothing is in doubt any more.
pub fn audit(nodes: &[&Server], ledger: &Ledger, first: u64) -> Vec<String> {
    let mut found = Vec::new();
    let entries = ledger.entries();
    for node in nodes {
        let mut client = node.connect(DATABASE);
        let mut about = Vec::new();
        about.extend(ids(&mut client, &entries, first));
        about.extend(bank(&mut client));
        about.extend(counters(&mut client, &entries.counters));
        about.extend(marks(&mut client, &entries.marks));
        found.extend(about.into_iter().map(|what| format!("{}: {what}", node.address())));
    }
    drop(entries);
    found.extend(until_quiet(|| differences(nodes)));
    found.extend(until_quiet(|| nodes.iter().flat_map(|node| open_sessions(node)).collect()));
    settle(nodes[0], &mut ledger.entries());
    found
}

fn ids(client: &mut Client, entries: &Entries, first: u64) -> Vec<String> {
    let mut there: BTreeMap<u64, u64> = BTreeMap::new();
    for table in ["keyed", "bag"] {
        for row in client.rows(&format!("SELECT id, count(*) FROM {table} WHERE id >= {first} GROUP BY id")) {
            let number = |column: usize| row[column].as_deref().and_then(|n| n.parse().ok()).expect("a number");
            *there.entry(number(0)).or_default() += number(1);
        }
    }
    let is_there = |id: &&u64| there.contains_key(id);
    let lost: Vec<_> = entries.told.range(first..).filter(|id| !is_there(id)).collect();
    let refused: Vec<_> = entries.refused.range(first..).filter(is_there).collect();
    let twice: Vec<_> = there.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id).collect();
    [("acknowledged and lost", lost), ("refused and there", refused), ("there more than once", twice)]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(what, ids)| format!("{what}: {}", named(&ids)))
        .collect()
}

fn named(ids: &[&u64]) -> String {
    let names: Vec<_> = ids.iter().take(NAMED).map(|id| format!("{id} ({})", id_table(**id))).collect();
    format!("{} ids, {}", ids.len(), names.join(", "))
}

fn bank(client: &mut Client) -> Option<String> {
    let row = client.rows("SELECT sum(balance), count(*) FROM account").remove(0);
    let (sum, count) = (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default());
    let right = sum == TOTAL.to_string() && count == ACCOUNTS.to_string();
    (!right).then(|| format!("{count} accounts hold {sum}, and not {ACCOUNTS} of them {TOTAL}"))
}

fn counters(client: &mut Client, counters: &[Counter]) -> Vec<String> {
    let wrong = |(number, counter): (usize, &Counter)| {
        let n = counter_value(client, number);
        let range = counter.acknowledged..=counter.acknowledged + counter.in_doubt;
        (!range.contains(&n)).then(|| {
            format!("counter {number} is {n}: {} acknowledged, {} in doubt", counter.acknowledged, counter.in_doubt)
        })
    };
    counters.iter().enumerate().filter_map(wrong).collect()
}

fn counter_value(client: &mut Client, number: usize) -> u64 {
    client.value(&format!("SELECT n FROM counter WHERE id = {number}")).parse().expect("a number")
}

fn marks(client: &mut Client, marks: &BTreeMap<i32, Mark>) -> Vec<String> {
    let wrong = |(number, mark): (&i32, &Mark)| {
        let value = mark_value(client, *number);
        (!mark.may_be(value))
            .then(|| format!("the row of client {number} holds {value}, and the client knows of {mark:?}"))
    };
    marks.iter().filter_map(wrong).collect()
}

fn mark_value(client: &mut Client, number: i32) -> i64 {
    let rows = client.rows(&format!("SELECT value FROM mark WHERE client = {number}"));
    rows.first().and_then(|row| row[0].as_deref()?.parse().ok()).unwrap_or(0)
}

fn open_sessions(node: &Server) -> Vec<String> {
    let sql = "SELECT pid || ' ' || state || ' ' || query FROM pg_stat_activity
               WHERE datname = 'chaos' AND state LIKE 'idle in transaction%'";
    let rows = node.connect("postgres").rows(sql);
    let name = |row: Vec<Option<String>>| format!("{}: left open: {}", node.address(), row[0].as_deref().unwrap_or(""));
    rows.into_iter().map(name).collect()
}

/// What the nodes hold at rest is how everything in doubt came out.
fn settle(node: &Server, entries: &mut Entries) {
    let mut client = node.connect(DATABASE);
    for (number, counter) in entries.counters.iter_mut().enumerate() {
        *counter = Counter { acknowledged: counter_value(&mut client, number), in_doubt: 0 };
    }
    for (number, mark) in &mut entries.marks {
        *mark = Mark { acknowledged: mark_value(&mut client, *number), ..Mark::default() };
    }
}
