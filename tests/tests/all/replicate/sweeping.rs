//! Commands that name no object but all there are of a kind, and settings that go into what is made after them: what they
//! come to depends on what others have committed when they run, and followers run them later.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;

/// Either the servers have the same, or the transaction is to be run again, and then they have it.
#[track_caller]
fn come_to_the_same(database: &str, open: &str, meanwhile: &str) {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    let (mut one, mut other) = (cluster.connect(database), cluster.connect(database));
    one.query("CREATE TABLE first (id int PRIMARY KEY)");
    one.query(&format!("BEGIN; {open}"));
    other.query(meanwhile);
    let failure = one.try_query("COMMIT").expect_err("other servers would come to something else");
    assert_eq!(failure.state(), "40001", "{failure:?}");
    // Perhaps for the server's own reason now.
    let _ = one.try_query(open);
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, database);
}

const GRANT: &str = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC";
const DEFAULT: &str = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC";
const TABLE: &str = "CREATE TABLE second (id int PRIMARY KEY)";

#[test]
fn a_grant_on_all_tables_is_one_on_those_that_the_leader_has_seen() {
    come_to_the_same("grant_open", GRANT, TABLE);
    come_to_the_same("grant_meanwhile", TABLE, GRANT);
    come_to_the_same("grant_in_a_block", &format!("DO $$ BEGIN {GRANT}; END $$"), TABLE);
}

#[test]
fn default_privileges_are_those_under_which_the_leader_has_made_a_table() {
    come_to_the_same("default_open", DEFAULT, TABLE);
    come_to_the_same("default_meanwhile", TABLE, DEFAULT);
}

#[test]
fn what_all_belongs_to_a_role_is_what_the_leader_has_seen() {
    come_to_the_same("owned", "REASSIGN OWNED BY CURRENT_USER TO CURRENT_USER", TABLE);
}
