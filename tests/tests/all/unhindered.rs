//! What works on one server works through the proxy, as concurrently and with the same errors: queues, optimistic locking,
//! advisory locks, deadlocks, time-outs; and nobody is held up by another's long statement, idle transaction or silence.

use std::thread;
use std::time::{Duration, Instant};

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

const SCHEMA: &str = "CREATE TABLE job (id int PRIMARY KEY, state text NOT NULL DEFAULT 'queued', worker int); \
                      INSERT INTO job SELECT n FROM generate_series(1, 40) n; \
                      CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL); \
                      INSERT INTO account VALUES (1, 100), (2, 100), (3, 100)";

/// So long may a wait take to be seen.
const SOON: Duration = Duration::from_secs(20);

fn stage(database: &str) -> std::sync::Arc<Cluster> {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    cluster.connect(database).query(SCHEMA);
    cluster
}

/// Sends a query whose answer is read later.
fn ask(client: &mut Client, sql: &str) {
    client.put(|out| frontend::query(out, sql.as_bytes())).flush();
}

#[test]
fn workers_of_a_queue_hold_different_jobs_at_the_same_time() {
    let cluster = stage("skip_locked");
    let claim = "UPDATE job SET state = 'running', worker = $1 WHERE id = (SELECT id FROM job WHERE state = 'queued' \
                 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id";
    let mut workers: Vec<Client> = (0..6).map(|_| cluster.connect("skip_locked")).collect();
    let mut claimed = Vec::new();
    for (n, worker) in workers.iter_mut().enumerate() {
        worker.query("BEGIN");
        let answer = worker.execute(claim, &[Some(&n.to_string())]);
        claimed.push(answer.rows[0][0].clone().expect("a job's number"));
    }
    assert_eq!(claimed, ["1", "2", "3", "4", "5", "6"]);
    workers.iter_mut().for_each(|worker| drop(worker.query("COMMIT")));
    assert_identical_database(&cluster.nodes, "skip_locked");
}

#[test]
fn who_comes_too_late_for_a_job_holds_no_lock_on_it() {
    let cluster = stage("claim");
    let claim = "UPDATE job SET state = 'running', worker = 1 WHERE id = 5 AND state = 'queued'";
    let (mut first, mut second, mut third) =
        (cluster.connect("claim"), cluster.connect("claim"), cluster.connect("claim"));
    assert_eq!(first.query(claim).tags, ["UPDATE 1"]);
    second.query("BEGIN");
    assert_eq!(second.query(claim).tags, ["UPDATE 0"]);
    // The second is still in its transaction, and holds nobody up.
    assert_eq!(third.query("UPDATE job SET state = 'done' WHERE id = 5").tags, ["UPDATE 1"]);
    second.query("COMMIT");
    assert_identical_database(&cluster.nodes, "claim");
}

#[test]
fn a_row_version_is_held_against_the_leaders() {
    let cluster = stage("optimistic");
    let mut client = cluster.connect("optimistic");
    let version = client.value("SELECT xmin FROM account WHERE id = 1");
    let update = format!("UPDATE account SET amount = amount - 1 WHERE id = 1 AND xmin = '{version}' RETURNING xmin");
    let next = client.rows(&update)[0][0].clone().expect("a version");
    assert_ne!(next, version);
    assert_eq!(client.query(&update).tags, ["UPDATE 0"]);
    assert_eq!(client.value("SELECT xmin FROM account WHERE id = 1"), next);
    assert_identical_database(&cluster.nodes, "optimistic");
}

#[test]
fn advisory_locks_exclude_and_are_let_go_as_on_one_server() {
    let cluster = stage("advisory");
    let (mut one, mut other) = (cluster.connect("advisory"), cluster.connect("advisory"));
    assert_eq!(one.value("SELECT pg_try_advisory_lock(7)"), "t");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(7)"), "f");
    one.query("BEGIN; SELECT pg_advisory_xact_lock(8); UPDATE account SET amount = 1 WHERE id = 1");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(8)"), "f");
    one.query("COMMIT");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(8)"), "t");
    assert_eq!(one.value("SELECT pg_advisory_unlock(7)"), "t");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(7)"), "t");
}

/// At READ COMMITTED a statement sees what was committed before it began: the lock, then the count.
#[test]
fn a_lock_and_then_a_count_never_sell_a_place_twice() {
    let cluster = stage("oversold");
    cluster.connect("oversold").query("CREATE TABLE seat (who int PRIMARY KEY)");
    let sold: usize = thread::scope(|scope| {
        let buyer = |who: u32| {
            let mut client = cluster.connect("oversold");
            scope.spawn(move || {
                client.query("BEGIN; SELECT pg_advisory_xact_lock(1)");
                let free = client.value("SELECT count(*) FROM seat").parse::<u32>().expect("a number") < 3;
                if free {
                    client.query(&format!("INSERT INTO seat VALUES ({who})"));
                }
                client.query("COMMIT");
                usize::from(free)
            })
        };
        let buyers: Vec<_> = (0..8).map(buyer).collect();
        buyers.into_iter().map(|buyer| buyer.join().expect("a buyer")).sum()
    });
    assert_eq!(sold, 3);
    assert_eq!(cluster.connect("oversold").value("SELECT count(*) FROM seat"), "3");
    assert_identical_database(&cluster.nodes, "oversold");
}

/// What is known of all tables is read anew after each change of the schema, also in transactions that have changed it.
#[test]
fn who_has_locked_a_table_holds_up_nobody_who_does_not_touch_it() {
    let cluster = stage("locked_elsewhere");
    let (mut first, mut second) = (cluster.connect("locked_elsewhere"), cluster.connect("locked_elsewhere"));
    for client in [&mut first, &mut second] {
        client.set_deadline(Duration::from_secs(10));
    }
    first.query("ALTER TABLE account ALTER amount SET DEFAULT 7");
    first.query("BEGIN");
    first.query("LOCK TABLE job IN ACCESS EXCLUSIVE MODE");
    second.query("CREATE TABLE other (id int PRIMARY KEY)");
    assert_eq!(second.query("INSERT INTO account VALUES (4)").tags, ["INSERT 0 1"]);
    first.query("COMMIT");

    // As the workers of pg_restore -j do.
    first.query("BEGIN");
    second.query("BEGIN");
    first.query("TRUNCATE job");
    second.query("TRUNCATE account");
    assert_eq!(first.query("INSERT INTO job VALUES (1)").tags, ["INSERT 0 1"]);
    assert_eq!(second.query("INSERT INTO account VALUES (1)").tags, ["INSERT 0 1"]);
    first.query("COMMIT");
    second.query("COMMIT");
    assert_identical_database(&cluster.nodes, "locked_elsewhere");
}

#[test]
fn a_deadlock_costs_one_of_the_two_40p01() {
    let cluster = stage("deadlock");
    let (mut one, mut other) = (cluster.connect("deadlock"), cluster.connect("deadlock"));
    one.query("BEGIN; UPDATE account SET amount = amount - 1 WHERE id = 1");
    other.query("BEGIN; UPDATE account SET amount = amount - 1 WHERE id = 2");
    ask(&mut one, "UPDATE account SET amount = amount + 1 WHERE id = 2");
    ask(&mut other, "UPDATE account SET amount = amount + 1 WHERE id = 1");
    let ends = [one.answer(), other.answer()];
    let states: Vec<&str> = ends.iter().filter_map(|end| end.as_ref().err().map(|e| e.state())).collect();
    assert_eq!(states, ["40P01"]);
    one.query("COMMIT");
    other.query("COMMIT");
    assert_eq!(cluster.connect("deadlock").value("SELECT sum(amount) FROM account"), "300");
    assert_identical_database(&cluster.nodes, "deadlock");
}

#[test]
fn time_outs_of_locks_and_statements_are_the_servers_own() {
    let cluster = stage("timeouts");
    let (mut one, mut other) = (cluster.connect("timeouts"), cluster.connect("timeouts"));
    one.query("BEGIN; UPDATE account SET amount = 1 WHERE id = 1");
    other.query("SET lock_timeout = '50ms'");
    let refused = other.try_query("UPDATE account SET amount = 2 WHERE id = 1").expect_err("the row is locked");
    assert_eq!(refused.state(), "55P03");
    other.query("SET lock_timeout = 0; SET statement_timeout = '50ms'");
    let refused = other.try_query("UPDATE account SET amount = 2 WHERE id = 1").expect_err("the row is locked");
    assert_eq!(refused.state(), "57014");
    let nowait = "BEGIN; SELECT 1 FROM account WHERE id = 1 FOR UPDATE NOWAIT";
    assert_eq!(other.try_query(nowait).expect_err("the row is locked").state(), "55P03");
    other.query("ROLLBACK");
    one.query("COMMIT");
    other.query("UPDATE account SET amount = 3 WHERE id = 1");
    assert_identical_database(&cluster.nodes, "timeouts");
}

/// An UPDATE that takes long, a transaction that idles, a client that does not read what it asked for.
#[test]
fn nobody_notices_what_another_session_takes_its_time_with() {
    let cluster = stage("patience");
    let mut slow = cluster.connect("patience");
    ask(&mut slow, "UPDATE job SET worker = 1 WHERE id = 1 AND pg_sleep(2) IS NOT NULL");
    let mut idle = cluster.connect("patience");
    idle.query("BEGIN; UPDATE job SET worker = 2 WHERE id = 2");
    let mut deaf = cluster.connect("patience");
    ask(&mut deaf, "UPDATE job SET worker = 3 WHERE id > 30 RETURNING repeat('x', 5000000)");
    let mut busy = cluster.connect("patience");
    let start = Instant::now();
    for n in 0..40 {
        busy.query(&format!("UPDATE account SET amount = {n} WHERE id = 3"));
        busy.query(&format!("BEGIN; UPDATE job SET worker = {n} WHERE id = 20; COMMIT"));
    }
    busy.query("CREATE TABLE made_meanwhile (id int)");
    assert!(start.elapsed() < Duration::from_secs(2), "80 writes took {:?}", start.elapsed());
    slow.answer().expect("the long statement ends well");
    idle.query("COMMIT");
    deaf.answer().expect("all rows come, late");
    assert_identical_database(&cluster.nodes, "patience");
}

/// Longer than a connection is kept of which nothing is heard, for it is the other side that has to be heard.
const LONG: Duration = Duration::from_secs(14);

#[test]
fn a_client_that_takes_its_time_with_a_large_result_gets_all_of_it() {
    let cluster = stage("late_reader");
    let mut slow = cluster.connect("late_reader");
    ask(&mut slow, "SELECT repeat('x', 1000) FROM generate_series(1, 100000)");
    assert!(cluster.connect("late_reader").is_silent_for(LONG));
    assert_eq!(slow.answer().expect("all of it").rows.len(), 100_000);
}

/// Though others have to know the schema for their statements, and it waits for one of them.
#[test]
fn a_command_that_waits_for_transactions_holds_nobody_up() {
    let cluster = stage("indexed");
    let (mut old, mut builder) = (cluster.connect("indexed"), cluster.connect("indexed"));
    old.query("BEGIN");
    old.query("INSERT INTO job SELECT 100");
    ask(&mut builder, "CREATE INDEX CONCURRENTLY by_amount ON account (amount)");
    let mut observer = cluster.nodes[0].connect("indexed");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'";
    wait::until(SOON, "the command waits", || (observer.value(waits) == "1").then_some(()));
    let mut other = cluster.connect("indexed");
    assert_eq!(other.query("UPDATE account SET amount = amount + 1 WHERE id IN (SELECT 1 + 1)").tags, ["UPDATE 1"]);
    assert_eq!(old.query("INSERT INTO account SELECT 4, count(*) FROM job").tags, ["INSERT 0 1"]);
    old.query("COMMIT");
    assert_eq!(builder.answer().expect("the end of the command").tags, ["CREATE INDEX"]);
    assert_identical_database(&cluster.nodes, "indexed");
}
