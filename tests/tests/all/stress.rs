//! Many clients on few rows: foreign keys, cascades, upserts, conditional updates, one key deleted and inserted again and
//! again, with followers at the end of a slow and uneven wire.
//!
//! Every transaction takes its locks in the same order, so that a plain server would never see a deadlock: whatever the
//! clients are told beyond [`EXPECTED`] is the proxy's doing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_tests::chance::Chance;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::{Client, Failure};

const CLIENTS: u64 = 8;
const UNITS: u64 = 120;
const CUSTOMERS: u64 = 6;

/// What a plain server says too: the parent of a row has just been deleted; a key has just been inserted by another.
const EXPECTED: [&str; 2] = ["23503", "23505"];

const SCHEMA: &str = "CREATE TABLE customer (id int PRIMARY KEY, balance numeric NOT NULL DEFAULT 0);
    CREATE TABLE bill (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customer ON DELETE CASCADE,
        total numeric DEFAULT 0, made timestamptz DEFAULT clock_timestamp());
    CREATE TABLE line (bill int REFERENCES bill ON DELETE CASCADE, n int, amount numeric, PRIMARY KEY (bill, n));
    CREATE TABLE job (id int PRIMARY KEY, state text NOT NULL, taken int, tries int DEFAULT 0);
    CREATE TABLE hits (page text PRIMARY KEY, count bigint DEFAULT 1, seen timestamptz DEFAULT now());
    CREATE TABLE slot (id int PRIMARY KEY, value float8);
    INSERT INTO customer SELECT generate_series(1, 6); INSERT INTO slot VALUES (1, 0);
    INSERT INTO job SELECT n, 'queued' FROM generate_series(1, 5) n;";

#[test]
fn eight_clients_get_what_a_plain_server_would_give_and_all_nodes_are_equal() {
    let cluster = Cluster::builder(3).relayed().start();
    cluster.create_database("stress");
    cluster.connect("stress").query(SCHEMA);
    for relay in &cluster.relays[1..] {
        relay.set_delays(Duration::ZERO..=Duration::from_millis(3), Duration::ZERO..=Duration::from_millis(3));
    }

    let done = AtomicBool::new(false);
    let (refusals, waits) = std::thread::scope(|scope| {
        let watchers: Vec<_> = cluster.nodes[1..].iter().map(|node| scope.spawn(|| watch(node, &done))).collect();
        let start = |number| {
            let client = cluster.connect("stress");
            scope.spawn(move || work(client, number))
        };
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        let refusals: Vec<Refusals> = clients.into_iter().map(|client| client.join().expect("a client")).collect();
        done.store(true, Ordering::Release);
        let waits: Vec<String> = watchers.into_iter().flat_map(|watcher| watcher.join().expect("a watcher")).collect();
        (refusals, waits)
    });

    assert_eq!(refusals.into_iter().flatten().collect::<Vec<_>>(), [], "refusals that no plain server gives");
    assert_eq!(waits, Vec::<String>::new(), "waits on followers");
    assert_eq!(cluster.proxy.node_states(), ["active"; 3]);
    assert_identical(&cluster.nodes);
    let worked = cluster.nodes[2].connect("stress").value("SELECT sum(count) > 50 FROM hits");
    assert_eq!(worked, "t");
}

/// Unexpected answers, with how often each came.
type Refusals = BTreeMap<String, u32>;

fn work(mut client: Client, number: u64) -> Refusals {
    let mut chance = Chance::new(number);
    let mut refusals = Refusals::new();
    for _ in 0..UNITS {
        let Err(failure) = unit(&mut client, number, &mut chance) else { continue };
        if !EXPECTED.contains(&failure.state()) {
            *refusals.entry(failure.to_string()).or_default() += 1;
        }
        if let Err(failure) = client.try_query("ROLLBACK") {
            *refusals.entry(format!("ROLLBACK: {failure}")).or_default() += 1;
            return refusals;
        }
    }
    refusals
}

fn unit(client: &mut Client, number: u64, chance: &mut Chance) -> Result<(), Failure> {
    let customer = (chance.below(CUSTOMERS) + 1).to_string();
    match chance.below(9) {
        0 => new_bill(client, &customer, chance),
        1 => replace_customer(client, &customer),
        2 => replace_slot(client, number),
        3 => take_job(client, number, chance),
        4 => upsert(client, chance),
        5 => count_up(client, &customer),
        6 => total_bills(client, &customer),
        7 => failed_savepoint(client, &customer),
        _ => client.try_query("UPDATE slot SET value = value + random() WHERE id = 1").map(drop),
    }
}

fn new_bill(client: &mut Client, customer: &str, chance: &mut Chance) -> Result<(), Failure> {
    client.try_query("BEGIN")?;
    let made = client.try_execute("INSERT INTO bill (customer) VALUES ($1) RETURNING id", &[Some(customer)])?;
    let bill = made.rows[0][0].as_deref();
    for n in 0..=chance.below(3) {
        client.try_execute("INSERT INTO line VALUES ($1, $2, random() * 100)", &[bill, Some(&n.to_string())])?;
    }
    client.try_query("COMMIT").map(drop)
}

/// As an ORM replaces a row: the cascade takes its bills with it.
fn replace_customer(client: &mut Client, customer: &str) -> Result<(), Failure> {
    client.try_query("BEGIN")?;
    client.try_execute("DELETE FROM customer WHERE id = $1", &[Some(customer)])?;
    client.try_execute("INSERT INTO customer (id) VALUES ($1)", &[Some(customer)])?;
    client.try_query("COMMIT").map(drop)
}

fn replace_slot(client: &mut Client, number: u64) -> Result<(), Failure> {
    client.try_query("BEGIN")?;
    client.try_query("DELETE FROM slot WHERE id = 1")?;
    client.try_query(&format!("INSERT INTO slot VALUES (1, {number})"))?;
    client.try_query("COMMIT").map(drop)
}

/// The commonest queue: claim if still queued, and give back.
fn take_job(client: &mut Client, number: u64, chance: &mut Chance) -> Result<(), Failure> {
    let (job, number) = ((chance.below(5) + 1).to_string(), number.to_string());
    let take = "UPDATE job SET state = 'running', taken = $2, tries = tries + 1 WHERE id = $1 AND state = 'queued'";
    client.try_query("BEGIN")?;
    let taken = client.try_execute(take, &[Some(&job), Some(&number)])?;
    if taken.tags == ["UPDATE 1"] {
        let give = "UPDATE job SET state = 'queued', taken = NULL WHERE id = $1 AND state = 'running'";
        client.try_execute(give, &[Some(&job)])?;
    }
    client.try_query("COMMIT").map(drop)
}

fn upsert(client: &mut Client, chance: &mut Chance) -> Result<(), Failure> {
    let sql =
        "INSERT INTO hits (page) VALUES ($1) ON CONFLICT (page) DO UPDATE SET count = hits.count + 1, seen = now()";
    client.try_execute(sql, &[Some(&format!("/{}", chance.below(4)))]).map(drop)
}

fn count_up(client: &mut Client, customer: &str) -> Result<(), Failure> {
    client.try_execute("UPDATE customer SET balance = balance + 1 WHERE id = $1", &[Some(customer)]).map(drop)
}

/// The parent is locked first, as its delete does, so that two of these cannot meet crosswise.
fn total_bills(client: &mut Client, customer: &str) -> Result<(), Failure> {
    client.try_query("BEGIN")?;
    client.try_execute("SELECT 1 FROM customer WHERE id = $1 FOR UPDATE", &[Some(customer)])?;
    let total =
        "UPDATE bill SET total = (SELECT coalesce(sum(amount), 0) FROM line WHERE bill = bill.id) WHERE customer = $1";
    client.try_execute(total, &[Some(customer)])?;
    client.try_query("COMMIT").map(drop)
}

fn failed_savepoint(client: &mut Client, customer: &str) -> Result<(), Failure> {
    client.try_query("BEGIN")?;
    client.try_execute("UPDATE customer SET balance = balance - 1 WHERE id = $1", &[Some(customer)])?;
    client.try_query("SAVEPOINT s")?;
    let failed = client.try_query("UPDATE customer SET balance = balance / 0");
    debug_assert!(failed.is_err());
    client.try_query("ROLLBACK TO s")?;
    client.try_execute("UPDATE customer SET balance = balance + 1 WHERE id = $1", &[Some(customer)])?;
    client.try_query("COMMIT").map(drop)
}

/// Looks again and again for a session on a follower that waits for another one's lock.
fn watch(node: &Server, done: &AtomicBool) -> Vec<String> {
    let mut observer = node.connect("stress");
    let mut waits = Vec::new();
    while !done.load(Ordering::Acquire) {
        for row in observer.rows(
            "SELECT l.locktype || ' ' || a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid)
             WHERE NOT l.granted AND l.locktype IN ('transactionid', 'tuple', 'relation') AND a.datname = 'stress'",
        ) {
            waits.extend(row.into_iter().flatten());
        }
    }
    waits.truncate(5);
    waits
}
