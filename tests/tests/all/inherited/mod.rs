//! The leader is killed while transactions are open: they go on under the next one, or say why not.

mod captured;
mod leaders;
mod load;
mod rows;
mod session;
mod told_again;

use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);
const CLIENTS: usize = 4;

/// Three nodes, of which one may die, and accounts.
fn bank(database: &str) -> Cluster {
    let cluster = Cluster::start(3);
    cluster.create_database(database);
    cluster.connect(database).query(
        "CREATE TABLE account (id int PRIMARY KEY, v int NOT NULL); \
         CREATE TABLE entry (id serial PRIMARY KEY, account int NOT NULL REFERENCES account, at timestamptz DEFAULT now()); \
         INSERT INTO account SELECT n, 0 FROM generate_series(0, 9) AS n",
    );
    cluster
}

fn add(account: usize) -> String {
    format!("UPDATE account SET v = v + 1 WHERE id = {account}")
}

/// The survivors hold the same, and the accounts these sums.
fn assert_accounts(cluster: &Cluster, database: &str, expected: &str) {
    assert_accounts_on(&cluster.nodes[1..], database, expected);
}

fn assert_accounts_on(survivors: &[Server], database: &str, expected: &str) {
    let sql = "SELECT string_agg(v::text, ' ' ORDER BY id) FROM account";
    assert_eq!(survivors[0].connect(database).value(sql), expected);
    assert_identical(survivors);
}

/// A client's backend on a node waits for a lock.
fn wait_until_one_waits(node: &Server, database: &str) {
    let mut observer = node.connect(database);
    wait::until(SOON, "one waits for a lock", || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (observer.value(waiting) == "1").then_some(())
    });
}

/// Somebody past the proxy holds an account's row on a node.
fn stranger(node: &Server, database: &str, account: usize) -> Client {
    let mut stranger = node.connect(database);
    stranger.query("BEGIN");
    stranger.query(&format!("SELECT v FROM account WHERE id = {account} FOR UPDATE"));
    stranger
}

/// A transaction that has done this, and has added to an account of its own.
fn open_with(cluster: &Cluster, account: usize, statements: &[&str]) -> Client {
    let mut client = cluster.connect("more");
    client.query("BEGIN");
    statements.iter().for_each(|statement| drop(client.query(statement)));
    client.query(&add(account));
    client
}
