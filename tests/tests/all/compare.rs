//! The comparison that other tests rely on sees the smallest difference of each kind.

use lockstep_tests::compare::{assert_identical, differences};
use lockstep_tests::postgres::Server;

const SCHEMA: &str = "CREATE TABLE account (id serial PRIMARY KEY, name text, balance float8);
    CREATE TABLE note (text text);
    CREATE VIEW rich AS SELECT * FROM account WHERE balance > 1000;
    INSERT INTO account (name, balance) VALUES ('ann', 0.1), ('bob', 2000), (NULL, NULL);
    INSERT INTO note VALUES ('same'), ('same'), ('other');
    SELECT lo_from_bytea(4711, 'large')";

/// Two servers with the same contents and other OIDs.
fn twins() -> [Server; 2] {
    let nodes = [Server::start_new(), Server::builder().next_oid(50_000).start()];
    for node in &nodes {
        node.connect("postgres").query(SCHEMA);
    }
    nodes
}

fn told(nodes: &[Server; 2]) -> String {
    differences(&[&nodes[0], &nodes[1]]).join("\n")
}

#[test]
fn nodes_with_the_same_contents_in_another_order_and_with_other_oids_are_identical() {
    let nodes = twins();
    // The row moves to the end of the table.
    nodes[1].connect("postgres").query("UPDATE account SET balance = balance WHERE id = 1");
    assert_identical(&nodes);
}

#[test]
fn each_kind_of_difference_is_seen_and_named() {
    let nodes = twins();
    let cases = [
        ("a changed value", "UPDATE account SET balance = 0.1 + 1e-16 WHERE id = 1", "rows of public.account"),
        ("a missing row", "DELETE FROM account WHERE id = 2", "rows of public.account"),
        ("a second copy of a row", "INSERT INTO note VALUES ('other')", "rows of public.note"),
        ("a step of a sequence", "SELECT nextval('account_id_seq')", "sequence public.account_id_seq"),
        ("a missing index", "ALTER TABLE account DROP CONSTRAINT account_pkey", "schema of postgres"),
        ("a grant", "GRANT SELECT ON account TO app", "schema of postgres"),
        ("a comment", "COMMENT ON TABLE account IS 'money'", "schema of postgres"),
        ("a setting of the database", "ALTER DATABASE postgres SET work_mem = '5MB'", "schema of postgres"),
        ("another definition of a view", "CREATE OR REPLACE VIEW rich AS SELECT * FROM account", "schema of postgres"),
        ("a large object", "SELECT lo_put(4711, 0, 'LARGE')", "large objects"),
        ("a role", "CREATE ROLE carol", "roles"),
        ("a password", "ALTER ROLE app PASSWORD 'other'", "roles"),
        ("a database", "CREATE DATABASE shop", "the list of databases"),
    ];
    assert_eq!(told(&nodes), "");
    for (what, sql, named) in cases {
        // On one node it is a difference, on both it is none.
        nodes[1].connect("postgres").query(sql);
        let found = told(&nodes);
        assert!(found.contains(named), "{what} was not seen: {found:?}");
        nodes[0].connect("postgres").query(sql);
        if what != "a password" {
            assert_eq!(told(&nodes), "", "after {what} on both nodes");
        } else {
            copy_verifier(&nodes);
        }
    }
}

/// Each server salts a password with its own random bytes.
fn copy_verifier(nodes: &[Server; 2]) {
    let verifier = nodes[0].connect("postgres").value("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    nodes[1].connect("postgres").query(&format!("ALTER ROLE app PASSWORD '{verifier}'"));
}

#[test]
fn rows_that_only_one_node_has_are_shown() {
    let nodes = twins();
    nodes[0].connect("postgres").query("INSERT INTO account VALUES (9, 'carol', 7)");
    let found = told(&nodes);
    assert!(found.contains(&format!("only {} has (9,carol,7)", nodes[0].address())), "{found}");
}
