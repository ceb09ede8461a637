//! Names that the server chooses, while others make and give up objects of just these names. A leader sees what others have
//! not committed yet, and takes the next free name; followers see nothing of it.

use std::thread;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

fn stage(nodes: usize, database: &str) -> Cluster {
    let cluster = Cluster::start(nodes);
    cluster.create_database(database);
    cluster
}

#[track_caller]
fn equal(cluster: &Cluster, database: &str) {
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, database);
}

#[track_caller]
fn is_to_be_repeated(client: &mut Client, sql: &str) {
    let failure = client.try_query(sql).expect_err("another name on another server");
    assert_eq!(failure.state(), "40001", "{failure:?}");
}

fn sequence_of(client: &mut Client, table: &str) -> String {
    client.value(&format!("SELECT pg_get_serial_sequence('{table}', 'id')"))
}

#[test]
fn of_two_who_make_one_table_the_second_is_to_be_repeated_when_the_first_is_rolled_back() {
    let cluster = stage(3, "twice");
    let mut first = cluster.connect("twice");
    first.query("BEGIN; CREATE TABLE t (id serial PRIMARY KEY)");
    let mut second = cluster.connect("twice");
    let second = thread::spawn(move || {
        let outcome = second.try_query("CREATE TABLE t (id serial PRIMARY KEY, v int)");
        (second, outcome.err().map(|failure| failure.state().to_owned()))
    });
    let mut observer = cluster.nodes[0].connect("postgres");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'twice' AND wait_event_type = 'Lock'";
    wait::until(SOON, "the second waits for the first", || (observer.value(waits) == "1").then_some(()));
    first.query("ROLLBACK");
    let (mut second, state) = second.join().expect("the second");
    assert_eq!(state.as_deref(), Some("40001"));
    second.query("CREATE TABLE t (id serial PRIMARY KEY, v int); INSERT INTO t (v) VALUES (7)");
    assert_eq!(sequence_of(&mut second, "t"), "public.t_id_seq");
    equal(&cluster, "twice");
}

#[test]
fn a_name_that_is_taken_by_what_is_not_committed_yet_is_given_to_nobody_else() {
    let cluster = stage(2, "taken");
    let mut holder = cluster.connect("taken");
    holder.query("BEGIN; CREATE SEQUENCE a_id_seq; CREATE TABLE b_v_idx ()");
    let mut client = cluster.connect("taken");
    client.query("CREATE TABLE b (v int)");
    for sql in [
        "CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY)",
        "CREATE INDEX ON b (v)",
        "BEGIN; SAVEPOINT s; CREATE TABLE a (id serial); RELEASE s; INSERT INTO b VALUES (1); COMMIT",
        "DO $$ BEGIN CREATE TABLE a (id serial); END $$",
    ] {
        is_to_be_repeated(&mut client, sql);
    }
    assert_eq!(client.try_execute("CREATE INDEX ON b (v)", &[]).expect_err("the name is taken").state(), "40001");
    client.query("CREATE TABLE c (id serial); CREATE INDEX mine ON b (v); ALTER INDEX mine RENAME TO still_mine");
    holder.query("COMMIT");
    client.query("CREATE TABLE a (id serial); CREATE INDEX ON b (v)");
    assert_eq!(sequence_of(&mut client, "a"), "public.a_id_seq1");
    equal(&cluster, "taken");
}

/// A constraint's name is chosen by what is committed. So the leader does not see it taken, and a follower does.
#[test]
fn a_constraint_whose_name_another_has_committed_meanwhile_is_to_be_made_again() {
    let cluster = stage(2, "constraints");
    let [mut first, mut second] = [(); 2].map(|()| cluster.connect("constraints"));
    first.query("BEGIN; CREATE TABLE a_b (c int CHECK (c > 0))");
    second.query("BEGIN; CREATE TABLE a (b_c int CHECK (b_c > 0))");
    first.query("COMMIT");
    is_to_be_repeated(&mut second, "COMMIT");
    second.query("CREATE TABLE a (b_c int CHECK (b_c > 0))");
    equal(&cluster, "constraints");
}

/// What else a definition touches, chooses or leaves on the leader alone.
#[test]
fn nobody_is_disturbed_when_nobody_else_makes_anything() {
    let cluster = stage(2, "quiet");
    let mut client = cluster.connect("quiet");
    client.query(
        "CREATE SCHEMA \"Ä, {x}\"; SET search_path = \"Ä, {x}\", public;
         CREATE TABLE \"T \"\"NULL\" (id serial PRIMARY KEY, \"a\\b\" int UNIQUE CHECK (\"a\\b\" > 0), n text)",
    );
    client.query("CREATE INDEX ON \"T \"\"NULL\" (lower(n)); CREATE INDEX ON \"T \"\"NULL\" (lower(n), id)");
    client.query("CREATE TEMPORARY TABLE here (id serial PRIMARY KEY CHECK (id > 0)); INSERT INTO \"T \"\"NULL\" (n) VALUES ('x')");
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.query(&format!(
            "BEGIN ISOLATION LEVEL {isolation}; SELECT 1; CREATE TABLE \"{isolation}\" (id serial); COMMIT"
        ));
    }
    client.query("CREATE DOMAIN positive AS int CHECK (VALUE > 0) CHECK (VALUE < 100)");
    client.query(
        "CREATE TABLE parted (id serial, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10); CREATE INDEX ON parted (at)",
    );
    client.query("ALTER TABLE \"T \"\"NULL\" ADD COLUMN extra serial; TRUNCATE \"T \"\"NULL\" RESTART IDENTITY; REINDEX TABLE part");
    client.query("ALTER TABLE \"T \"\"NULL\" ALTER COLUMN \"a\\b\" TYPE bigint USING \"a\\b\" + 1");
    client.query("CREATE TABLE referring (t int REFERENCES \"T \"\"NULL\" DEFERRABLE INITIALLY DEFERRED, UNIQUE (t))");
    client.query("ALTER TABLE referring RENAME TO refers; DROP TABLE \"T \"\"NULL\" CASCADE");
    equal(&cluster, "quiet");
}
