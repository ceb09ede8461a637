//! Commands that come to something else when others have made or dropped something meanwhile: they reach all there is of a
//! kind, or do nothing if there is such a thing, or none; and settings that go into what is made later. The leader has run
//! them in the middle of others' transactions, followers run them later.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;

/// What was open is to be run again; then the servers have the same.
#[track_caller]
fn is_to_be_run_again(database: &str, open: &str, meanwhile: &str) {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    let (mut one, mut other) = (cluster.connect(database), cluster.connect(database));
    one.query("CREATE TABLE first (id int PRIMARY KEY)");
    one.query(&format!("BEGIN; {open}"));
    other.query(meanwhile);
    let failure = one.try_query("COMMIT").expect_err("other servers would come to something else");
    assert_eq!(failure.state(), "40001", "{failure:?}");
    one.query(open);
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, database);
}

const GRANT: &str = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC";
const DEFAULT: &str = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC";
const TABLE: &str = "CREATE TABLE second (id int PRIMARY KEY)";

#[test]
fn a_grant_on_all_tables_is_one_on_those_that_the_leader_has_seen() {
    is_to_be_run_again("grant_on_all", GRANT, TABLE);
    is_to_be_run_again("grant_in_a_block", &format!("DO $$ BEGIN {GRANT}; END $$"), TABLE);
}

#[test]
fn privileges_of_a_table_are_those_by_which_the_leader_has_made_it() {
    is_to_be_run_again("default_privileges", TABLE, DEFAULT);
}

#[test]
fn what_all_belongs_to_a_role_is_what_the_leader_has_seen() {
    is_to_be_run_again("reassigned", "REASSIGN OWNED BY CURRENT_USER TO CURRENT_USER", TABLE);
}

#[test]
fn what_the_leader_has_passed_over_for_there_is_none_is_not_dropped_elsewhere() {
    is_to_be_run_again("drop_if_exists", "DROP TABLE IF EXISTS second", TABLE);
}

#[test]
fn what_the_leader_has_passed_over_for_there_is_one_is_not_made_elsewhere() {
    let drop = "DROP TABLE first; CREATE TABLE second (id int PRIMARY KEY)";
    is_to_be_run_again("if_not_exists", "CREATE TABLE IF NOT EXISTS first (id int PRIMARY KEY)", drop);
}
