//! A node that was changed behind the proxy's back: what comes to light is never passed over, and costs no client an error.

use std::thread;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::process;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

fn stage() -> Cluster {
    let cluster = Cluster::start(2);
    cluster.create_database("shop");
    let schema = "CREATE TABLE t (id int PRIMARY KEY, v int, email text UNIQUE); \
                  INSERT INTO t SELECT n, 0, 'm' || n FROM generate_series(1, 9) n; \
                  CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE)";
    cluster.connect("shop").query(schema);
    cluster
}

/// Spoils the follower, writes through the proxy, and returns what was logged about the follower's end.
fn degraded_by(spoil: &str, write: &str) -> String {
    let cluster = stage();
    cluster.nodes[1].connect("shop").query(spoil);
    let mut client = cluster.connect("shop");
    client.query(write);
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"], "{spoil}; {write}");
    client.query("UPDATE t SET v = 100 WHERE id = 9");
    assert_eq!(client.value("SELECT v FROM t WHERE id = 9"), "100", "service goes on");
    let told = cluster.proxy.degradations();
    let [line] = &told[..] else { panic!("one degradation, not {told:?}") };
    line.clone()
}

#[test]
fn an_update_of_a_row_that_a_follower_lacks_degrades_it() {
    let told = degraded_by("DELETE FROM t WHERE id = 3", "UPDATE t SET v = 1 WHERE id = 3");
    assert!(told.contains("node1") && told.contains("cannot apply"), "{told}");
}

#[test]
fn a_delete_of_a_row_that_a_follower_lacks_degrades_it() {
    degraded_by("DELETE FROM t WHERE id = 3", "DELETE FROM t WHERE id IN (2, 3)");
}

#[test]
fn a_change_of_a_row_that_a_follower_has_twice_degrades_it() {
    let twice = "ALTER TABLE t DROP CONSTRAINT t_pkey CASCADE; INSERT INTO t VALUES (3, 0, 'twin')";
    degraded_by(twice, "UPDATE t SET v = 1 WHERE id = 3");
    degraded_by(twice, "DELETE FROM t WHERE id = 3");
}

/// A captured row says what it is now, which a follower that lacks it could take for a new one.
#[test]
fn an_update_by_capture_of_a_row_that_a_follower_lacks_degrades_it() {
    let cluster = stage();
    let mut client = cluster.connect("shop");
    client.query(
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.v := new.v + 1; RETURN new; END'; \
         CREATE TRIGGER stamp BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp()",
    );
    for sql in [
        "UPDATE t SET v = 1 WHERE id < 3",
        "INSERT INTO t VALUES (20, 0, 'new') ON CONFLICT (id) DO UPDATE SET v = 2",
        "INSERT INTO t VALUES (20, 0, 'new') ON CONFLICT (id) DO UPDATE SET v = 2",
        "WITH gone AS (DELETE FROM t WHERE id = 20 RETURNING email) INSERT INTO t SELECT 21, 0, email || '2' FROM gone",
        "UPDATE t SET id = id + 100",
        "UPDATE t SET id = id - 100",
        "BEGIN; DELETE FROM t WHERE id = 21; INSERT INTO t VALUES (21, 0, 'again'); UPDATE t SET v = 5 WHERE id = 21; COMMIT",
        "INSERT INTO t SELECT n, 0, 'w' || n FROM generate_series(1000, 1999) n",
        "UPDATE t SET v = v + 1 WHERE id >= 1000",
    ] {
        client.query(sql);
        assert_eq!(cluster.proxy.degradations(), Vec::<String>::new(), "{sql}");
    }
    assert_identical_database(&cluster.nodes, "shop");
    cluster.nodes[1].connect("shop").query("SET session_replication_role = replica; DELETE FROM t WHERE id = 3");
    client.query("UPDATE t SET v = 1 WHERE id IN (2, 3)");
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"]);
    assert!(cluster.proxy.degradations()[0].contains("1 of 2 rows"), "{:?}", cluster.proxy.degradations());
}

#[test]
fn an_insert_of_a_row_that_a_follower_has_degrades_it_and_the_reason_is_the_followers_own() {
    let told = degraded_by("INSERT INTO t VALUES (10, 0, 'other')", "INSERT INTO t VALUES (10, 1, 'm10')");
    assert!(told.contains("23505"), "{told}");
}

#[test]
fn a_column_that_a_follower_lacks_degrades_it() {
    let told = degraded_by("ALTER TABLE t DROP COLUMN email", "INSERT INTO t VALUES (10, 1, 'm10')");
    assert!(told.contains("42703") && told.contains("email"), "{told}");
}

#[test]
fn ddl_that_a_follower_cannot_run_degrades_it() {
    let told = degraded_by("CREATE TABLE fresh ()", "CREATE TABLE fresh (id int)");
    assert!(told.contains("42P07"), "{told}");
}

#[test]
fn a_value_that_is_another_is_found_by_a_comparison() {
    let cluster = stage();
    cluster.nodes[1].connect("shop").query("UPDATE t SET v = 7 WHERE id = 3");
    cluster.connect("shop").query("UPDATE t SET email = 'x' WHERE id = 3");
    let verify = cluster.proxy.run(&["verify"]);
    let said = process::said(&verify);
    assert!(verify.status.code() == Some(1) && said.contains("public.t"), "{said}");
}

/// Its server ends the connection while it applies a unit: the unit is applied on a fresh one, and nobody is blamed.
#[test]
fn a_follower_whose_connection_is_ended_in_mid_batch_gets_the_unit_on_another() {
    let cluster = stage();
    let mut stranger = cluster.nodes[1].connect("shop");
    stranger.query("BEGIN; SELECT 1 FROM t WHERE id = 3 FOR UPDATE");
    let mut client = cluster.connect("shop");
    let writer = thread::spawn(move || drop(client.query("UPDATE t SET v = 1 WHERE id = 3")));
    let mut observer = cluster.nodes[1].connect("shop");
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = 'shop' AND wait_event_type = 'Lock'";
    wait::until(SOON, "the batch waits for the stranger", || (observer.value(ended) == "1").then_some(()));
    stranger.query("COMMIT");
    writer.join().expect("the client is told that all is well");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
    assert_identical_database(&cluster.nodes, "shop");
}
