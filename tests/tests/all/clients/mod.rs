//! Programs and drivers as people use them, unchanged, through the proxy.

mod drivers;
mod dump;
mod migrations;
mod pgbench;
mod psql;
mod tokio_postgres;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::users::APP;
use lockstep_tests::{process, programs};

/// The shared cluster with a database for one client.
fn stage(database: &str) -> Arc<Cluster> {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    cluster
}

/// A program that finds its server in libpq's variables, as nearly all drivers do.
fn aimed_at(mut command: Command, port: u16, database: &str) -> Command {
    command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGDATABASE", database);
    command.env("PGUSER", APP.name).env("PGPASSWORD", APP.password);
    command.env_remove("PGOPTIONS").env("LC_ALL", "C.UTF-8").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// One of PostgreSQL's own programs.
fn tool(program: &str, port: u16, database: &str) -> Command {
    aimed_at(Command::new(programs::postgres(program)), port, database)
}

/// What a program prints when all went well.
fn output(command: &mut Command) -> String {
    String::from_utf8(process::run(command).stdout).expect("text")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}
