//! Are the nodes equal? All of them, in everything that the promise names: rows of every table, sequences, large objects,
//! schema with its grants, roles.
//!
//! It shares nothing with the proxy's own comparison and asks the servers behind the proxy's back.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::postgres::Server;
use crate::raw::{Client, Row};
use crate::users::SUPERUSER;
use crate::{process, programs, wait};

/// Sequences are level at rest; so long may it take until there is rest.
const QUIET: Duration = Duration::from_secs(5);

/// Rows named in a difference; the rest is counted.
const ROWS_SHOWN: usize = 5;

/// The proxy's own records, which say on each node who that node is.
const OWN_SCHEMA: &str = "lockstep";

/// Panics with every difference between the nodes, in all their databases, that outlasts the time to come to rest.
#[track_caller]
pub fn assert_identical(nodes: &[Server]) {
    let nodes: Vec<&Server> = nodes.iter().collect();
    fail_on(&nodes, until_quiet(|| differences(&nodes)));
}

/// The same for one database, without what all databases of a server share.
#[track_caller]
pub fn assert_identical_database(nodes: &[Server], database: &str) {
    let nodes: Vec<&Server> = nodes.iter().collect();
    fail_on(&nodes, until_quiet(|| differences_in(&nodes, database)));
}

#[track_caller]
fn fail_on(nodes: &[&Server], found: Vec<String>) {
    let addresses: Vec<_> = nodes.iter().map(|node| node.address()).collect();
    assert!(found.is_empty(), "{} differ:\n{}", addresses.join(" and "), found.join("\n"));
}

/// The differences that outlast the time to come to rest.
pub fn until_quiet(look: impl Fn() -> Vec<String>) -> Vec<String> {
    let start = Instant::now();
    let equal = wait::within(QUIET, || look().is_empty().then_some(()));
    match equal {
        Some(()) => Vec::new(),
        // Looked at once more, so that what is told is a state at rest.
        None => {
            let found = look();
            eprintln!("nodes compared for {:?}", start.elapsed());
            found
        }
    }
}

/// What differs just now between the first node and each other one, a line each; empty when all are equal.
pub fn differences(nodes: &[&Server]) -> Vec<String> {
    let mut found = between(nodes, |node| {
        let databases = node.connect("postgres").rows(DATABASES);
        BTreeMap::from([("the list of databases".into(), lines_of(databases)), ("roles".into(), roles(node))])
    });
    for database in nodes[0].connect("postgres").rows(DATABASES) {
        let name = database[0].clone().expect("a database's name");
        if found.is_empty() {
            found.extend(differences_in(nodes, &name));
        }
    }
    found
}

/// What differs just now in one database.
pub fn differences_in(nodes: &[&Server], database: &str) -> Vec<String> {
    let mut found = between(nodes, |node| contents(node, database));
    found.extend(between(nodes, |node| BTreeMap::from([(format!("schema of {database}"), schema(node, database))])));
    let unequal: Vec<_> = found.iter().filter_map(|line| line.strip_prefix("rows of ")).map(table_in).collect();
    let rows: Vec<_> = unequal.iter().flat_map(|table| row_differences(nodes, database, table)).collect();
    found.extend(rows);
    found
}

/// Things of a node by name, each as lines.
type Things = BTreeMap<String, Vec<String>>;

fn between(nodes: &[&Server], look: impl Fn(&Server) -> Things + Sync) -> Vec<String> {
    let things: Vec<Things> = std::thread::scope(|scope| {
        let lookers: Vec<_> = nodes.iter().map(|node| scope.spawn(|| look(node))).collect();
        lookers.into_iter().map(|looker| looker.join().expect("look at a node")).collect()
    });
    let mut found = Vec::new();
    for (node, other) in nodes.iter().zip(&things).skip(1) {
        let names: std::collections::BTreeSet<_> = things[0].keys().chain(other.keys()).collect();
        for name in names {
            let nothing = Vec::new();
            let (a, b) = (things[0].get(name).unwrap_or(&nothing), other.get(name).unwrap_or(&nothing));
            if a != b {
                found.push(format!("{name}: {}", first_difference(a, b, &nodes[0].address(), &node.address())));
            }
        }
    }
    found
}

fn first_difference(a: &[String], b: &[String], at_a: &str, at_b: &str) -> String {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let line = |lines: &[String]| lines.get(same).cloned().unwrap_or_else(|| "(nothing)".into());
    format!("{at_a} has {}, {at_b} has {}", line(a), line(b))
}

const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1";

/// Every relation of users with rows of its own. Temporary tables belong to one session on one node.
const TABLES: &str = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname <> $own$ AND n.nspname NOT LIKE 'pg\\_toast%' ORDER BY 1";

/// log_cnt says how many values are written ahead in the node's own log, and is nobody else's business.
const SEQUENCES: &str = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname <> $own$ ORDER BY 1";

/// Pages of one that is not there, too.
const LARGE_OBJECTS: &str = "SELECT coalesce(m.oid, l.loid), m.lomowner::regrole, m.lomacl, l.pageno, md5(l.data),
    obj_description(m.oid, 'pg_largeobject')
    FROM pg_largeobject_metadata m FULL JOIN pg_largeobject l ON l.loid = m.oid ORDER BY 1, 4";

fn own(sql: &str) -> String {
    sql.replace("$own$", &format!("'{OWN_SCHEMA}'"))
}

fn contents(node: &Server, database: &str) -> Things {
    let mut client = compare_client(node, database);
    let mut things = Things::new();
    for table in names(client.rows(&own(TABLES))) {
        things.insert(format!("rows of {table}"), vec![digest(&mut client, &table)]);
    }
    for sequence in names(client.rows(&own(SEQUENCES))) {
        let state = client.rows(&format!("SELECT last_value, is_called FROM {sequence}"));
        things.insert(format!("sequence {sequence}"), lines_of(state));
    }
    things.insert("large objects".into(), lines_of(client.rows(LARGE_OBJECTS)));
    things
}

/// Number of rows and a sum of their hashes: the physical order of rows is free.
fn digest(client: &mut Client, table: &str) -> String {
    let hash = "('x' || left(md5(t::text), 16))::bit(64)::bigint::numeric";
    let row = &client.rows(&format!("SELECT count(*), coalesce(sum({hash}), 0) FROM ONLY {table} t"))[0];
    format!("{} rows with digest {}", row[0].as_deref().unwrap_or(""), row[1].as_deref().unwrap_or(""))
}

fn table_in(difference: &str) -> String {
    difference.split_once(": ").map_or(difference, |(table, _)| table).into()
}

/// Rows that one node has and the other has not.
fn row_differences(nodes: &[&Server], database: &str, table: &str) -> Vec<String> {
    let all: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| {
            let sql = format!("SELECT t::text FROM ONLY {table} t ORDER BY 1");
            lines_of(compare_client(node, database).try_query(&sql).unwrap_or_default().rows)
        })
        .collect();
    let mut found = Vec::new();
    for (node, rows) in nodes.iter().zip(&all).skip(1) {
        found.extend(only_in(&all[0], rows, table, &nodes[0].address()));
        found.extend(only_in(rows, &all[0], table, &node.address()));
    }
    found
}

fn only_in(these: &[String], those: &[String], table: &str, at: &str) -> Vec<String> {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    those.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    let mut alone = Vec::new();
    for row in these {
        match counts.get_mut(row) {
            Some(count) if *count > 0 => *count -= 1,
            _ => alone.push(row),
        }
    }
    let mut lines: Vec<_> =
        alone.iter().take(ROWS_SHOWN).map(|row| format!("  {table}: only {at} has {row}")).collect();
    if alone.len() > ROWS_SHOWN {
        lines.push(format!("  {table}: … and {} more", alone.len() - ROWS_SHOWN));
    }
    lines
}

/// Rows are compared as text, so text must not depend on the setting of a database or role.
fn compare_client(node: &Server, database: &str) -> Client {
    let mut client = node.connect(database);
    client.query(
        "SET extra_float_digits = 3; SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'postgres';
         SET bytea_output = 'hex'; SET search_path = pg_catalog; SET client_encoding = 'UTF8'",
    );
    client
}

fn schema(node: &Server, database: &str) -> Vec<String> {
    let exclude = format!("--exclude-schema={OWN_SCHEMA}");
    dump(node, "pg_dump", &["--schema-only", "--create", &exclude, "--dbname", database])
}

fn roles(node: &Server) -> Vec<String> {
    dump(node, "pg_dumpall", &["--globals-only"])
}

fn dump(node: &Server, program: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(programs::postgres(program));
    command.args(["--host=127.0.0.1", "--username", SUPERUSER.name, "--port", &node.port().to_string()]);
    command.env("PGPASSWORD", SUPERUSER.password).args(arguments);
    let output = process::run(&mut command);
    let text = String::from_utf8_lossy(&output.stdout);
    // Comments hold dates and versions; \restrict holds a random word.
    let matters = |line: &&str| !line.is_empty() && !line.starts_with("--") && !line.contains("restrict ");
    text.lines().filter(matters).map(str::to_owned).collect()
}

fn names(rows: Vec<Row>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next()?).collect()
}

fn lines_of(rows: Vec<Row>) -> Vec<String> {
    let value = |v: Option<String>| v.unwrap_or_else(|| "NULL".into());
    rows.into_iter().map(|row| row.into_iter().map(value).collect::<Vec<_>>().join(" | ")).collect()
}
