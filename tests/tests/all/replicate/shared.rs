//! What all databases of a server share, and extensions: databases, roles, passwords, grants.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::{assert_identical, assert_identical_database};
use lockstep_tests::users::SUPERUSER;

#[test]
fn databases_roles_grants_and_extensions_come_and_go_on_every_server() {
    let cluster = Cluster::start(2);
    for node in &cluster.nodes {
        node.connect("postgres").query("ALTER ROLE app CREATEDB CREATEROLE");
    }
    cluster.create_database("home");
    let mut client = cluster.connect("home");
    for sql in [
        "CREATE DATABASE shop",
        "CREATE DATABASE gone TEMPLATE template0",
        "DROP DATABASE gone",
        "ALTER DATABASE shop SET work_mem = '8MB'",
        "COMMENT ON DATABASE shop IS 'wares'",
        "CREATE ROLE clerk LOGIN PASSWORD 'secret' CONNECTION LIMIT 5",
        "CREATE ROLE gone",
        "DROP ROLE gone",
        "CREATE ROLE staff",
        "GRANT staff TO clerk",
        "ALTER ROLE clerk SET search_path = shop, public",
        "CREATE TABLE t (id int PRIMARY KEY, v int)",
        "GRANT SELECT, INSERT (id) ON t TO staff",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO clerk",
        "CREATE TABLE later AS SELECT random() AS r",
        "REVOKE INSERT (id) ON t FROM staff",
        "REVOKE CONNECT ON DATABASE shop FROM PUBLIC",
        "CREATE EXTENSION citext",
        "CREATE EXTENSION pg_trgm",
        "DROP EXTENSION pg_trgm",
        "CREATE TABLE words (w citext PRIMARY KEY)",
        "INSERT INTO words VALUES ('Word')",
    ] {
        client.query(sql);
    }
    let mut shop = cluster.connect("shop");
    shop.query("CREATE TABLE wares (id serial PRIMARY KEY)");
    shop.query("INSERT INTO wares DEFAULT VALUES");
    drop(shop);
    assert!(cluster.proxy.degradations().is_empty());
    assert_identical(&cluster.nodes);
    client.query("DROP DATABASE shop");
    assert_identical(&cluster.nodes);
}

/// The setting is a superuser's own, and without it no server takes the command.
#[test]
fn a_tablespace_inside_the_data_directory_comes_and_goes_on_every_server() {
    let cluster = Cluster::start(2);
    let mut client = cluster.proxy.connect_as(&SUPERUSER, "postgres");
    client.query("SET allow_in_place_tablespaces = on");
    client.query("CREATE TABLESPACE inside LOCATION ''");
    client
        .query("CREATE ROLE clerk; GRANT CREATE ON TABLESPACE inside TO clerk; GRANT CREATE ON SCHEMA public TO clerk");
    client.query("SET ROLE clerk");
    client.query("CREATE TABLE t (id int) TABLESPACE inside");
    client.query("RESET ROLE");
    assert!(cluster.proxy.degradations().is_empty());
    // The directory is named after the OID, which is each server's own.
    let placed = "SELECT spcname FROM pg_tablespace s JOIN pg_class c ON c.reltablespace = s.oid WHERE relname = 't'";
    assert_eq!(cluster.nodes[1].connect("postgres").value(placed), "inside");
    assert_identical_database(&cluster.nodes, "postgres");
    client.query("DROP TABLE t; DROP OWNED BY clerk");
    client.query("DROP TABLESPACE inside");
    assert_identical(&cluster.nodes);
}
