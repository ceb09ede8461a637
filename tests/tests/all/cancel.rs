//! Cancel requests where they have the least to cancel with, or nothing that may be cancelled.

use std::time::{Duration, Instant};

use lockstep_core::wire::frontend;
use lockstep_core::wire::startup::Version;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_key_of_a_session_of_protocol_3_2_cancels_its_statement_and_half_the_key_does_not() {
    let cluster = Cluster::start(1);
    let mut client = Client::dial(&cluster.proxy.address()).expect("connect");
    client.start(Version::V3_2, APP.name, "postgres", &[]);
    client.log_in(&APP).expect("log in");
    client.put(|out| frontend::query(out, b"SELECT pg_sleep(60)")).flush();
    let mut observer = cluster.nodes[0].connect("postgres");
    wait::until(SOON, "the statement runs", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        (observer.value(sql) == "1").then_some(())
    });
    let key = client.key.clone();
    client.key = key.slice(..key.len() / 2);
    client.cancel();
    assert!(client.is_silent_for(Duration::from_millis(300)));
    client.key = key;
    client.cancel();
    assert_eq!(client.answer().expect_err("it is cancelled").state(), "57014");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_cancel_while_a_followers_batch_hangs_is_answered_at_once_and_changes_nothing() {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("cancel");
    let mut client = cluster.connect("cancel");
    client.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
    cluster.relays[1].hang();
    client.put(|out| frontend::query(out, b"INSERT INTO t VALUES (1)")).flush();
    let mut observer = cluster.nodes[0].connect("cancel");
    wait::until(SOON, "the leader waits for the follower", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t VALUES (1)%' AND wait_event = 'ClientRead'";
        (observer.value(sql) == "1").then_some(())
    });
    let asked = Instant::now();
    client.cancel();
    assert!(asked.elapsed() < Duration::from_secs(1), "the request took {:?}", asked.elapsed());
    client.answer().expect("the commit goes on until the follower has answered or is out");
    assert_eq!(client.value("SELECT count(*) FROM t"), "2");
    cluster.relays[1].mend();
}

/// Serializable: the leader commits it first, and the commit lock is held while followers run it.
const DEFINITION: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; ALTER TABLE busy ADD COLUMN v int; COMMIT";

fn asks(client: &mut Client, sql: &str) {
    client.put(|out| frontend::query(out, sql.as_bytes())).flush();
}

/// It waits, is cancelled, and is told so.
fn waits_and_is_cancelled(client: &mut Client) {
    assert!(client.is_silent_for(Duration::from_millis(300)));
    client.cancel();
    assert_eq!(client.answer().expect_err("it is cancelled").state(), "57014");
}

fn with_a_table(cluster: &Cluster) -> Client {
    cluster.create_database("cancel");
    let mut client = cluster.connect("cancel");
    client.query("CREATE TABLE t (id int PRIMARY KEY)");
    client
}

#[test]
fn a_statement_that_is_held_in_a_pause_is_cancelled_and_its_session_goes_on() {
    let cluster = Cluster::start(2);
    let mut client = with_a_table(&cluster);
    assert!(cluster.proxy.run(&["pause"]).status.success());
    asks(&mut client, "INSERT INTO t VALUES (1)");
    waits_and_is_cancelled(&mut client);
    asks(&mut client, "SELECT count(*) FROM t");
    assert!(client.is_silent_for(Duration::from_millis(300)), "clients are held still");
    assert!(cluster.proxy.run(&["resume"]).status.success());
    assert_eq!(client.answer().expect("it goes on").rows[0][0].as_deref(), Some("0"));
}

#[test]
fn a_statement_that_waits_for_the_last_server_is_cancelled_and_its_session_goes_on() {
    let mut cluster = Cluster::start(1);
    let mut client = with_a_table(&cluster);
    cluster.nodes[0].kill9();
    cluster.proxy.wait_for_states(&["unreachable"], SOON);
    asks(&mut client, "INSERT INTO t VALUES (1)");
    waits_and_is_cancelled(&mut client);
    cluster.nodes[0].start();
    assert_eq!(client.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_commit_that_waits_for_anothers_command_is_cancelled_and_is_nowhere() {
    let cluster = Cluster::start(2);
    let mut client = with_a_table(&cluster);
    let mut other = cluster.connect("cancel");
    other.query("CREATE TABLE busy (id int PRIMARY KEY)");
    client.query("BEGIN; INSERT INTO t VALUES (1)");
    let mut stranger = cluster.nodes[1].connect("cancel");
    stranger.query("BEGIN; LOCK TABLE busy");
    asks(&mut other, DEFINITION);
    wait::until(SOON, "the follower waits for the table", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (stranger.value(sql) == "1").then_some(())
    });
    asks(&mut client, "COMMIT");
    waits_and_is_cancelled(&mut client);
    stranger.query("COMMIT");
    other.answer().expect("it goes on");
    assert_eq!(client.value("SELECT count(*) FROM t"), "0");
    client.query("INSERT INTO t VALUES (1)");
    assert_eq!(cluster.nodes[1].connect("cancel").value("SELECT count(*) FROM t"), "1");
}

/// A definition whose commit waits for a stranger's lock on the follower.
fn waits_with_a_definition(cluster: &Cluster) -> (Client, Client) {
    let (mut other, mut stranger) = (cluster.connect("cancel"), cluster.nodes[1].connect("cancel"));
    stranger.query("BEGIN; LOCK TABLE busy");
    asks(&mut other, DEFINITION);
    wait::until(SOON, "the follower waits for the table", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (stranger.value(sql) == "1").then_some(())
    });
    (other, stranger)
}

#[test]
fn a_write_that_waits_for_anothers_command_is_cancelled_and_is_nowhere() {
    let cluster = Cluster::builder(2).proxy_setting("health", "lock_timeout = \"60s\"").start();
    let mut client = with_a_table(&cluster);
    client.query(
        "CREATE TABLE busy (id int PRIMARY KEY);
         CREATE TABLE noted (id int PRIMARY KEY, changed timestamptz);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed := clock_timestamp(); RETURN NEW; END';
         CREATE TRIGGER note BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let mut fresh = cluster.connect("cancel");
    let (mut other, mut stranger) = waits_with_a_definition(&cluster);
    for table in ["t", "busy", "noted"] {
        let sql = format!("INSERT INTO {table} VALUES (1)");
        asks(&mut client, &sql);
        waits_and_is_cancelled(&mut client);
        fresh.put(|out| {
            frontend::parse(out, b"", sql.as_bytes(), &[]);
            frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]);
            frontend::execute(out, b"", 0);
            frontend::sync(out);
        });
        fresh.flush();
        waits_and_is_cancelled(&mut fresh);
    }
    stranger.query("COMMIT");
    other.answer().expect("it goes on");
    for table in ["t", "busy", "noted"] {
        assert_eq!(client.value(&format!("SELECT count(*) FROM {table}")), "0");
        client.query(&format!("INSERT INTO {table} VALUES (1)"));
        fresh.query(&format!("INSERT INTO {table} VALUES (2)"));
        assert_eq!(cluster.nodes[1].connect("cancel").value(&format!("SELECT count(*) FROM {table}")), "2");
    }
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
}

#[test]
fn a_write_that_waits_for_anothers_open_transaction_is_cancelled_and_is_nowhere() {
    let cluster = Cluster::start(2);
    let mut client = with_a_table(&cluster);
    let mut other = cluster.connect("cancel");
    other.query("BEGIN; ALTER TABLE t ADD COLUMN v int");
    for _ in 0..2 {
        asks(&mut client, "INSERT INTO t VALUES (1)");
        waits_and_is_cancelled(&mut client);
    }
    other.query("COMMIT");
    assert_eq!(client.value("SELECT count(*) FROM t"), "0");
    client.query("INSERT INTO t VALUES (1)");
    assert_eq!(cluster.nodes[1].connect("cancel").value("SELECT count(*) FROM t"), "1");
}
