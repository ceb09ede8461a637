//! Who may not make followers believe something, and what silences capture.

use std::process::Command;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP, SUPERUSER};
use lockstep_tests::{process, programs};

use super::make;

const AUDITED: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE log (id serial PRIMARY KEY, t int);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log (t) VALUES (new.id); RETURN new; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();";

/// A cluster with a database in which rows are captured already.
fn capturing(database: &str) -> Cluster {
    let cluster = Cluster::start(2);
    make(&cluster, database, AUDITED);
    cluster.connect(database).query("INSERT INTO t VALUES (1, 1)");
    cluster
}

#[track_caller]
fn unharmed(cluster: &Cluster, database: &str) {
    let mut client = cluster.connect(database);
    client.query("UPDATE t SET v = v + 1");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, database);
}

#[test]
fn only_the_proxy_may_apply_rows() {
    let cluster = capturing("applied");
    let mut client = cluster.connect("applied");
    for (sql, state) in [
        ("SELECT lockstep.apply('', '')", "0A000"),
        ("DO $$ BEGIN PERFORM lockstep.apply('', ''); END $$", "0A000"),
        ("DO $$ BEGIN EXECUTE 'SELECT lock' || 'step.apply('''', '''')'; END $$", "42501"),
        ("SELECT lockstep.inherit('', '')", "0A000"),
        ("DO $$ BEGIN EXECUTE 'SELECT lock' || 'step.inherit('''', '''')'; END $$", "42501"),
        ("SELECT query_to_xml('SELECT lock' || 'step.apply('''', '''')', true, true, '')", "0A000"),
    ] {
        assert_eq!(client.try_query(sql).unwrap_err().state(), state, "{sql}");
    }
    // Past the proxy, where nobody looks at what is said.
    let mut direct = cluster.nodes[0].connect_as(&APP, "applied");
    for sql in [
        "SELECT lockstep.apply('ez0scHVibGljLnQsIigxLDkpIn0=', repeat('0', 64))",
        "SELECT lockstep.apply('', NULL)",
        "SELECT lockstep.apply_part('ez0scHVibGljLnQsIigxLDkpIn0=', repeat('0', 64))",
        "SELECT lockstep.apply_last('', repeat('0', 64))",
        "SELECT lockstep.change('ez0scHVibGljLnQsIigxLDkpIn0=', false)",
        "SELECT lockstep.put_aside('public.t', '{\"(1,9)\"}')",
        "SELECT lockstep.inherit('ez0scHVibGljLnQsIigxLDkpIn0=', repeat('0', 64))",
        "SELECT lockstep.inherit('', NULL)",
        "SELECT lockstep.sign('lockstep 00 00', '')",
        "SELECT rolpassword FROM pg_authid",
        "ALTER ROLE lockstep_capture LOGIN PASSWORD 'x'",
    ] {
        assert_eq!(direct.try_query(sql).unwrap_err().state(), "42501", "{sql}");
    }
    unharmed(&cluster, "applied");
}

#[test]
fn a_forged_message_is_no_row() {
    let cluster = capturing("forged");
    let mut client = cluster.connect("forged");
    let forged =
        "DO $$ BEGIN RAISE INFO 'lock%', 'step = ez0scHVibGljLnQsIigxLDkpIn0='; INSERT INTO t VALUES (2, 2); END $$";
    assert_eq!(client.try_query(forged).unwrap_err().state(), "0A000");
    let alone = "DO $$ BEGIN RAISE INFO 'lock%', 'step + eysscHVibGljLnQsIig5LDkpIn0='; END $$";
    assert_eq!(client.try_query(alone).unwrap_err().state(), "0A000");
    let count = "SELECT count(*)::text FROM t WHERE id = 9 OR v = 9";
    assert_eq!(cluster.nodes[1].connect_as(&SUPERUSER, "forged").value(count), "0");
    unharmed(&cluster, "forged");
}

/// Between the statements of a client, the setting in which our triggers keep rows could hold anything.
#[test]
fn what_a_client_puts_into_our_setting_is_no_row_and_hides_none() {
    let cluster = capturing("noted");
    let noted = [("lockstep.noted", "ez0scHVibGljLnQsIigxLDkpIn0=,")];
    let mut client = Client::try_connect(&cluster.proxy.address(), &APP, "noted", &noted).expect("connect");
    for sql in [
        "BEGIN",
        "INSERT INTO t VALUES (2, 2)",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "UPDATE t SET id = id + 10",
        "RESET ALL",
        "DELETE FROM t WHERE id = 11",
        "COMMIT",
    ] {
        client.query(sql);
    }
    for sql in ["SET lockstep.noted = 'x'", "SELECT set_config('lockstep.noted', 'x', false)"] {
        assert_eq!(client.try_query(sql).unwrap_err().state(), "0A000", "{sql}");
    }
    let follower = || cluster.nodes[1].connect_as(&SUPERUSER, "noted");
    assert_eq!(follower().value("SELECT string_agg(id || ' ' || v, ',') FROM t"), "12 2");
    unharmed(&cluster, "noted");
}

/// Our functions run as a superuser: nothing of a user's may run within them.
#[test]
fn no_check_of_a_users_domain_runs_with_our_rights() {
    let cluster = capturing("domain");
    let mut direct = cluster.nodes[0].connect_as(&APP, "domain");
    for sql in [
        "CREATE FUNCTION mine(int) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN IF current_user <> 'app' THEN RAISE 'as %', current_user; END IF; RETURN true; END $$",
        "CREATE DOMAIN trap AS int CHECK (mine(VALUE))",
        "CREATE TABLE baited (id int PRIMARY KEY, v trap, w trap[])",
        "CREATE CONSTRAINT TRIGGER lockstep_capture AFTER INSERT OR UPDATE OR DELETE ON baited DEFERRABLE
            INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lockstep.capture()",
        "BEGIN; INSERT INTO baited VALUES (1, 1, '{1}'); UPDATE baited SET id = 2; SELECT lockstep.flush('{public}'); COMMIT",
        "DROP TABLE baited; DROP DOMAIN trap; DROP FUNCTION mine",
    ] {
        direct.query(sql);
    }
    unharmed(&cluster, "domain");
}

#[test]
fn a_constraint_that_is_called_like_our_trigger_is_refused() {
    let cluster = capturing("named");
    let mut client = cluster.connect("named");
    client.query("CREATE TABLE u (id int PRIMARY KEY, v int, CONSTRAINT lockstep_capture UNIQUE (v) DEFERRABLE)");
    assert_eq!(client.try_query("INSERT INTO t VALUES (3, 3)").unwrap_err().state(), "0A000");
    client.query("DROP TABLE u");
    unharmed(&cluster, "named");
}

#[test]
fn silenced_triggers_change_nothing_unseen() {
    let cluster = capturing("silent");
    let mut owner = cluster.connect("silent");
    owner.query("ALTER TABLE t DISABLE TRIGGER USER");
    owner.query("INSERT INTO t VALUES (2, 2)");
    owner.query("ALTER TABLE log DISABLE TRIGGER USER");
    owner.query("BEGIN; ALTER TABLE t ENABLE TRIGGER note; COMMIT");
    owner.query("INSERT INTO t VALUES (3, 3)");
    owner.query("UPDATE log SET t = 7 WHERE t = 3");
    assert_eq!(owner.try_query("SET session_replication_role = replica").unwrap_err().state(), "0A000");
    unharmed(&cluster, "silent");
}

#[test]
fn set_constraints_does_not_take_capture_away() {
    let cluster = capturing("constraints");
    let mut client = cluster.connect("constraints");
    for sql in [
        "BEGIN",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "INSERT INTO t VALUES (2, 2)",
        "SAVEPOINT a",
        "INSERT INTO t VALUES (3, 3)",
        "ROLLBACK TO a",
        "UPDATE t SET v = 5",
        "COMMIT",
    ] {
        client.query(sql);
    }
    unharmed(&cluster, "constraints");
}

#[test]
fn a_transaction_is_to_run_again_when_another_one_keeps_the_trigger_from_its_table() {
    let cluster = Cluster::start(2);
    make(&cluster, "locked", "CREATE TABLE t (v int); INSERT INTO t VALUES (1)");
    let (mut client, mut other) = (cluster.connect("locked"), cluster.connect("locked"));
    for client in [&mut client, &mut other] {
        client.query("BEGIN");
        client.query("INSERT INTO t VALUES (2)");
    }
    let refused = client.try_query("DELETE FROM t WHERE v = 1").unwrap_err();
    assert_eq!(refused.state(), "40001");
    assert!(refused.to_string().contains("another transaction has it locked"), "{refused}");
    client.query("ROLLBACK");
    // Neither does who has not touched the table wait for others without an end.
    let refused = client.try_query("DELETE FROM t WHERE v = 1").unwrap_err();
    assert_eq!(refused.state(), "40001");
    assert!(refused.to_string().contains("a transaction has it locked"), "{refused}");
    other.query("COMMIT");
    client.query("DELETE FROM t WHERE v = 2");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "locked");
}

#[test]
fn the_owner_can_dump_what_is_captured_through_the_proxy() {
    let cluster = capturing("dumped");
    let mut dump = Command::new(programs::postgres("pg_dump"));
    dump.args(["--dbname", &cluster.proxy.conninfo(&APP, "dumped")]).env("PGPASSWORD", APP.password);
    let text = String::from_utf8(process::run(&mut dump).stdout).expect("a dump is text");
    assert!(text.contains("CREATE CONSTRAINT TRIGGER lockstep_capture") && text.contains("COPY public.t"), "{text}");
}

/// The trigger and the key are on the node that takes over.
#[test]
fn rows_are_captured_after_the_leader_has_died() {
    let mut cluster = Cluster::start(3);
    make(&cluster, "after", AUDITED);
    cluster.connect("after").query("INSERT INTO t VALUES (1, 1)");
    let dead = cluster.nodes.remove(0);
    drop(dead);
    let mut client = cluster.connect("after");
    client.query("INSERT INTO t VALUES (2, 2)");
    client.query("UPDATE t SET v = 3 WHERE id = 1");
    assert_identical_database(&cluster.nodes, "after");
    assert_eq!(cluster.nodes[1].connect_as(&SUPERUSER, "after").value("SELECT count(*)::text FROM log"), "3");
}
