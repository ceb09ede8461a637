//! Triggers and rules that fire also where captured rows are applied (`ENABLE ALWAYS`, `ENABLE REPLICA`): on a follower they
//! would do a second time what is among the rows already, and with a superuser's rights.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP, SUPERUSER};

use super::make;

const GIVEN: &str = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (id serial PRIMARY KEY, t int, who text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log (t, who) VALUES (new.id, current_user); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
    CREATE FUNCTION emptied() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER emptied AFTER TRUNCATE ON t EXECUTE FUNCTION emptied();
    CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE double (id int PRIMARY KEY);
    CREATE RULE double AS ON INSERT TO u DO ALSO INSERT INTO double VALUES (new.id);
    CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1, 1);
    CREATE TRIGGER note AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION emptied();";

#[track_caller]
fn refused(client: &mut Client, sql: &str, culprit: &str) {
    let failure = client.try_query(sql).expect_err(sql);
    assert_eq!(failure.state(), "0A000", "{sql}: {failure}");
    assert!(failure.to_string().contains(culprit), "{sql}: {failure}");
}

#[test]
fn are_refused_until_they_fire_for_clients_alone() {
    let cluster = Cluster::start(2);
    make(&cluster, "always", GIVEN);
    let mut client = cluster.connect("always");
    client.query("INSERT INTO t VALUES (1)");
    client.query("INSERT INTO u VALUES (1)");
    for mode in ["ALWAYS", "REPLICA"] {
        client
            .query(&format!("ALTER TABLE t ENABLE {mode} TRIGGER note; ALTER TABLE child ENABLE {mode} TRIGGER note"));
        client.query(&format!("ALTER TABLE u ENABLE {mode} RULE double"));
        refused(&mut client, "INSERT INTO t VALUES (2)", "trigger note");
        refused(&mut client, "INSERT INTO u VALUES (2)", "rule double");
    }
    client.query("ALTER TABLE child ENABLE ALWAYS TRIGGER note");
    refused(&mut client, "DELETE FROM parent", "trigger note");
    client.query("ALTER TABLE t ENABLE TRIGGER note; ALTER TABLE t ENABLE ALWAYS TRIGGER emptied");
    client.query("ALTER TABLE u ENABLE RULE double; ALTER TABLE child ENABLE TRIGGER note");
    client.query("INSERT INTO t VALUES (3)");
    client.query("INSERT INTO u VALUES (3)");
    client.query("DELETE FROM parent");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "always");
}

#[test]
fn do_not_run_on_a_follower_where_they_were_made_past_the_proxy() {
    let cluster = Cluster::start(2);
    make(&cluster, "hidden", GIVEN);
    let mut client = cluster.connect("hidden");
    client.query("INSERT INTO t VALUES (1)");
    cluster.nodes[1].connect_as(&APP, "hidden").query("ALTER TABLE t ENABLE ALWAYS TRIGGER note");
    client.query("INSERT INTO t VALUES (2)");
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"]);
    let told = cluster.proxy.degradations();
    assert!(told[0].contains("ENABLE ALWAYS"), "{told:?}");
    let mut follower = cluster.nodes[1].connect_as(&SUPERUSER, "hidden");
    assert_eq!(follower.value("SELECT count(*) || ' ' || min(who) FROM log"), "1 app");
}
