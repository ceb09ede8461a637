//! Histories of several sessions that other ways to replicate get wrong. Followers are at the end of a slow wire, so that
//! what is committed on the leader would not be there yet, if the leader were not the last to commit.

use std::thread;
use std::time::Duration;

use lockstep_core::wire::backend::NOTIFICATION_RESPONSE;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);
const FAR: Duration = Duration::from_millis(60);

fn stage(database: &str, given: &str) -> Cluster {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database(database);
    cluster.connect(database).query(given);
    cluster.relays[1].set_delays(FAR..=FAR, FAR..=FAR);
    cluster
}

#[track_caller]
fn equal(cluster: &Cluster, database: &str) {
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, database);
}

#[test]
fn who_is_notified_of_a_row_changes_it_at_once() {
    let cluster =
        stage("notified", "CREATE TABLE job (id serial PRIMARY KEY, state text, at timestamptz DEFAULT now())");
    let mut worker = cluster.connect("notified");
    worker.query("LISTEN jobs");
    let mut giver = cluster.connect("notified");
    for n in 1..=5 {
        giver.query("INSERT INTO job (state) VALUES ('queued'); NOTIFY jobs");
        worker.until(NOTIFICATION_RESPONSE);
        let taken = worker.query(&format!("UPDATE job SET state = 'taken' WHERE id = {n} AND state = 'queued'"));
        assert_eq!(taken.tags, ["UPDATE 1"]);
    }
    equal(&cluster, "notified");
}

/// The child's row goes over by capture, without the lock on its parent that the leader's foreign key takes.
#[test]
fn a_captured_child_goes_with_the_parent_that_is_deleted_at_its_commit() {
    let cluster = stage(
        "orphan",
        "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 5);
         CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, note text);
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN new.note := clock_timestamp(); RETURN new; END $$;
         CREATE TRIGGER touch BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION touch()",
    );
    let mut deleting = cluster.connect("orphan");
    for parent in 1..=5 {
        let mut adding = cluster.connect("orphan");
        adding.query(&format!("BEGIN; INSERT INTO child (parent) VALUES ({parent}), ({parent})"));
        let commit = thread::spawn(move || drop(adding.query("COMMIT")));
        assert_eq!(deleting.query(&format!("DELETE FROM parent WHERE id = {parent}")).tags, ["DELETE 1"]);
        commit.join().expect("the commit");
    }
    assert_eq!(cluster.nodes[1].connect("orphan").value("SELECT count(*) FROM child"), "0");
    equal(&cluster, "orphan");
}

#[test]
fn what_a_query_has_counted_stays_what_it_was_when_others_commit_before_it() {
    let cluster = stage(
        "counted",
        "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 10);
         CREATE TABLE report (id serial PRIMARY KEY, n int)",
    );
    let mut counting = cluster.connect("counted");
    counting.query("BEGIN; INSERT INTO report (n) SELECT count(*) FROM item");
    cluster.connect("counted").query("INSERT INTO item VALUES (11); DELETE FROM item WHERE id < 5");
    counting.query("INSERT INTO report (n) SELECT count(*) FROM item; COMMIT");
    let counts = "SELECT string_agg(n::text, ' ' ORDER BY id) FROM report";
    assert_eq!(cluster.nodes[1].connect("counted").value(counts), "10 7");
    equal(&cluster, "counted");
}

#[test]
fn a_transaction_may_have_more_savepoints_than_a_server_keeps_at_hand() {
    let cluster = stage("deep", "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (0, 0)");
    let mut client = cluster.connect("deep");
    client.query("BEGIN");
    for n in 1..=150 {
        client.query(&format!("SAVEPOINT s{n}; INSERT INTO t VALUES ({n}, 0); UPDATE t SET v = v + 1 WHERE id < {n}"));
    }
    client.query("ROLLBACK TO s101; COMMIT");
    assert_eq!(cluster.nodes[1].connect("deep").value("SELECT count(*) || ' ' || sum(v) FROM t"), "101 5050");
    equal(&cluster, "deep");
}

#[test]
fn of_two_serializable_transactions_that_exclude_each_other_one_is_to_be_repeated_and_no_node_goes() {
    let cluster = stage(
        "skew",
        "CREATE TABLE duty (id int PRIMARY KEY, here bool); INSERT INTO duty VALUES (1, true), (2, true)",
    );
    let mut clients = [1, 2].map(|n| (n, cluster.connect("skew")));
    for (n, client) in &mut clients {
        client.query("BEGIN ISOLATION LEVEL SERIALIZABLE");
        assert_eq!(client.value("SELECT count(*) FROM duty WHERE here"), "2", "client {n}");
    }
    let leaves = |(n, client): &mut (i32, Client)| {
        client.try_query(&format!("UPDATE duty SET here = false WHERE id = {n}"))?;
        client.try_query("COMMIT")
    };
    let outcomes = clients.iter_mut().map(leaves).map(|o| o.err().map(|f| f.state().to_owned())).collect::<Vec<_>>();
    assert_eq!(outcomes, [None, Some("40001".to_owned())]);
    assert_eq!(cluster.nodes[1].connect("skew").value("SELECT count(*) FROM duty WHERE here"), "1");
    equal(&cluster, "skew");
}

#[test]
fn a_held_cursor_that_fails_at_commit_takes_its_transaction_back_everywhere() {
    let cluster = stage("held", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)");
    let mut client = cluster.connect("held");
    client.query("BEGIN; INSERT INTO t VALUES (6); DECLARE h CURSOR WITH HOLD FOR SELECT 1 / (id - 3) FROM t");
    assert_eq!(client.try_query("COMMIT").expect_err("a division by zero").state(), "22012");
    assert_eq!(cluster.nodes[1].connect("held").value("SELECT count(*) FROM t"), "5");
    client
        .query("BEGIN; INSERT INTO t VALUES (7); DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id; COMMIT");
    assert_eq!(client.rows("FETCH ALL FROM h").len(), 6);
    equal(&cluster, "held");
}

/// The time-outs are the role's, and come back with RESET ALL and DISCARD ALL.
#[test]
fn time_outs_of_a_role_do_not_count_on_followers() {
    let cluster = stage("timed", "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
    for node in &cluster.nodes {
        let set = |what: &str| format!("ALTER ROLE {} SET {what}", APP.name);
        node.connect("postgres").query(&[set("lock_timeout = '150ms'"), set("statement_timeout = '200ms'")].join(";"));
    }
    let mut client = cluster.connect("timed");
    client.query("DISCARD ALL");
    let mut stranger = cluster.nodes[1].connect("timed");
    stranger.query("BEGIN; LOCK TABLE t");
    let update = thread::spawn(move || client.query("UPDATE t SET v = 1 WHERE id = 1"));
    let mut observer = cluster.nodes[1].connect("postgres");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'timed' AND wait_event_type = 'Lock'
        AND clock_timestamp() - query_start > '500ms'";
    wait::until(SOON, "the follower waits for longer than that", || (observer.value(waits) == "1").then_some(()));
    stranger.query("COMMIT");
    update.join().expect("the update");
    equal(&cluster, "timed");
}

#[test]
fn a_row_that_waits_for_a_new_trigger_sets_it_off_and_what_that_does_is_on_every_node() {
    let cluster = stage(
        "triggered",
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (id serial PRIMARY KEY, t int);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO log (t) VALUES (new.id); RETURN new; END $$",
    );
    let mut client = cluster.connect("triggered");
    client.query("INSERT INTO t VALUES (1)");
    let mut ddl = cluster.connect("triggered");
    ddl.query("BEGIN; CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()");
    let insert = thread::spawn(move || client.query("INSERT INTO t VALUES (2)"));
    let mut observer = cluster.nodes[0].connect("postgres");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'triggered' AND wait_event_type = 'Lock'";
    wait::until(SOON, "the insert waits", || (observer.value(waits) == "1").then_some(()));
    ddl.query("COMMIT");
    insert.join().expect("the insert");
    assert_eq!(cluster.nodes[1].connect("triggered").value("SELECT string_agg(t::text, ' ') FROM log"), "2");
    equal(&cluster, "triggered");
}
