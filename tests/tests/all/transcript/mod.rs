//! The same script of protocol messages, sent to PostgreSQL directly and through the proxy, gets the same answers.
//!
//! A case is a name and a script. Each runs in a schema of its own, which every server has, and leaves the same contents
//! behind on the server that stands alone and on each node.

mod copy;
mod copy_columns;
mod extended;
mod formats;
mod names;
mod pipeline;
mod refusable;
mod script;
mod session;
mod simple;
mod transactions;

use std::sync::{Arc, Mutex, Weak};

use lockstep_tests::cluster::{self, Cluster};
use lockstep_tests::compare::{self, differences_in};
use lockstep_tests::postgres::Server;
use lockstep_tests::users::APP;

use script::{Door, Silence, Step, play};

/// What every case finds in its schema.
const SCHEMA: &str = "
CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2) DEFAULT 1.50, note text UNIQUE);
INSERT INTO item SELECT n, 'item ' || n, n * 10, 'note ' || n FROM generate_series(1, 5) n;
CREATE TABLE counted (id serial PRIMARY KEY, v int, made date DEFAULT '2020-02-02');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (1, 1), (2, 1), (3, 2);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE person (name text PRIMARY KEY, mood mood, tags text[], born timestamptz, raw bytea, flag bool);
CREATE FUNCTION shout(what text) RETURNS text STABLE LANGUAGE plpgsql AS
    $$ BEGIN RAISE NOTICE 'heard %', what; RETURN upper(what); END $$;
";

/// A server on its own and a cluster.
struct Stage {
    alone: Server,
    cluster: Cluster,
}

impl Stage {
    /// One for all cases that run at the same time.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().filter(|stage| stage.cluster.proxy.degradations().is_empty()).unwrap_or_else(|| {
            let stage = Arc::new(Self { alone: Server::start_new(), cluster: Cluster::start(2) });
            *shared = Arc::downgrade(&stage);
            stage
        })
    }

    fn servers(&self) -> Vec<&Server> {
        std::iter::once(&self.alone).chain(&self.cluster.nodes).collect()
    }

    /// How the answers differ when a script is played at both doors.
    fn differences(&self, database: &str, schema: &str, script: &[Step]) -> Vec<String> {
        let alone = Door { address: self.alone.address(), leader: &self.alone, database, schema };
        let proxy = Door { address: self.cluster.proxy.address(), leader: &self.cluster.nodes[0], database, schema };
        let direct = play(&alone, script).expect("a script waits only for what PostgreSQL says");
        let proxied = play(&proxy, script).unwrap_or_else(|Silence(lines)| lines);
        first_difference(&direct, &proxied)
    }
}

/// Everything up to where the answers part, and what each door said there.
fn first_difference(direct: &[String], proxied: &[String]) -> Vec<String> {
    if direct == proxied {
        return Vec::new();
    }
    let same = direct.iter().zip(proxied).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<String> = direct[..same].iter().map(|line| format!("    {line}")).collect();
    lines.extend(direct[same..].iter().take(4).map(|line| format!("  - {line}")));
    lines.extend(proxied[same..].iter().take(4).map(|line| format!("  + {line}")));
    lines
}

fn schema(number: usize) -> String {
    format!("case{number}")
}

fn schemas(count: usize) -> String {
    let schema = |number| format!("CREATE SCHEMA {0}; SET search_path = {0}; {SCHEMA}", schema(number));
    (0..count).map(schema).collect()
}

/// What the proxy is held to where it does not agree with PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Same,
    /// It may refuse with 0A000 what it cannot replicate yet.
    SameOrRefused,
}

/// Every case gets the same answers from the proxy as from PostgreSQL and leaves the same contents.
#[track_caller]
fn agree(theme: &str, cases: &[(&str, &[Step])]) {
    play_all(theme, cases, Measure::Same);
}

/// The same, up to where the proxy refuses a statement with 0A000.
#[track_caller]
fn agree_or_refuse(theme: &str, cases: &[(&str, &[Step])]) {
    play_all(theme, cases, Measure::SameOrRefused);
}

/// Plays every case and panics with all that differ: `-` is what PostgreSQL says, `+` what the proxy says.
#[track_caller]
fn play_all(theme: &str, cases: &[(&str, &[Step])], measure: Measure) {
    let stage = Stage::shared();
    for server in stage.servers() {
        cluster::create_database(server, theme);
        server.connect_as(&APP, theme).query(&schemas(cases.len()));
    }
    let mut report = Vec::new();
    for (number, (name, script)) in cases.iter().enumerate() {
        let found = stage.differences(theme, &schema(number), script);
        let refused = found.iter().find(|line| line.starts_with("  + ")).is_some_and(|line| line.contains("C=0A000"));
        let excused = refused && measure == Measure::SameOrRefused;
        if !found.is_empty() && !excused {
            report.push(format!("{}, {name}:\n{}", schema(number), found.join("\n")));
        }
        if let Some(why) = stage.cluster.proxy.degradations().first() {
            report.push(format!("{}, {name}, cost a follower: {why}", schema(number)));
            break;
        }
    }
    assert!(report.is_empty(), "{} complaints\n\n{}", report.len(), report.join("\n\n"));
    let alike = if measure == Measure::Same { stage.servers() } else { stage.cluster.nodes.iter().collect() };
    let contents = compare::until_quiet(|| differences_in(&alike, theme));
    assert!(contents.is_empty(), "the answers agree, the contents do not\n{}", contents.join("\n"));
}
