//! Drivers of other languages: each runs a script of `tests/clients` that asserts what it gets; then the nodes are compared.

use std::path::Path;
use std::process::Command;

use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::{process, programs};

use super::{aimed_at, script, stage};

/// Debian's own interpreter, which is the one that finds Debian's modules.
const PYTHON: &str = "/usr/bin/python3";

/// Where Debian puts JavaScript modules, for a Node.js that is not Debian's.
const NODE_MODULES: &str = "/usr/share/nodejs:/usr/lib/nodejs";

const JDBC: &str = "/usr/share/java/postgresql.jar";

#[test]
fn psycopg_3() {
    needs(python("import psycopg"), "python3-psycopg");
    leaves_equal_nodes("psycopg", python_script("psycopg3.py"));
}

#[test]
fn psycopg_2_and_its_large_objects() {
    needs(python("import psycopg2"), "python3-psycopg2");
    leaves_equal_nodes("psycopg2", python_script("psycopg2_objects.py"));
}

#[test]
fn asyncpg() {
    needs(python("import asyncpg"), "python3-asyncpg");
    leaves_equal_nodes("asyncpg", python_script("asyncpg_client.py"));
}

#[test]
fn django_and_its_migrations() {
    needs(python("import django, psycopg2"), "python3-django python3-psycopg2");
    leaves_equal_nodes("django", python_script("django_shop.py"));
}

#[test]
fn rails_and_its_migrations() {
    let mut try_library = ruby();
    try_library.args(["-e", "require 'active_record'; require 'pg'"]);
    needs(try_library, "ruby-activerecord ruby-pg");
    let mut run = ruby();
    run.arg(script("rails_shop.rb"));
    leaves_equal_nodes("rails", run);
}

#[test]
fn node_postgres() {
    let mut try_module = node();
    try_module.args(["-e", "require('pg')"]);
    needs(try_module, "nodejs node-pg");
    let mut run = node();
    run.arg(script("node_postgres.js"));
    leaves_equal_nodes("node_postgres", run);
}

#[test]
fn pgjdbc() {
    assert!(Path::new(JDBC).is_file(), "pgjdbc is not installed: apt-get install libpostgresql-jdbc-java");
    let mut run = Command::new(programs::in_path("java", "default-jdk-headless"));
    run.args(["-cp", JDBC]).arg(script("Jdbc.java"));
    leaves_equal_nodes("pgjdbc", run);
}

#[track_caller]
fn leaves_equal_nodes(database: &str, client: Command) {
    let cluster = stage(database);
    process::run(&mut aimed_at(client, cluster.proxy.port(), database));
    assert_identical_database(&cluster.nodes, database);
}

fn python(statement: &str) -> Command {
    let mut command = Command::new(PYTHON);
    command.args(["-c", statement]);
    command
}

fn python_script(name: &str) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(script(name));
    command
}

fn node() -> Command {
    let mut command = Command::new(programs::in_path("node", "nodejs"));
    command.env("NODE_PATH", NODE_MODULES);
    command
}

/// Debian's own, which is the one that finds Debian's libraries.
fn ruby() -> Command {
    Command::new("/usr/bin/ruby")
}

#[track_caller]
fn needs(mut probe: Command, packages: &str) {
    let found = probe.output().is_ok_and(|output| output.status.success());
    assert!(found, "a driver is not installed: apt-get install {packages} (or run tests/install-clients)");
}
