//! What is written through the proxy is on every node afterwards, row by row; what cannot be is refused and changes none.
//!
//! A case is a table, statements, and a question that the follower must answer. Each case runs three times, by the simple
//! protocol, by the extended one and with prepared statements, each time in a schema of its own.

mod calls;
mod copy;
mod ddl;
mod histories;
mod images;
mod keyed;
mod names;
mod objects;
mod overtaken;
mod prepared;
mod refreshed;
mod refused;
mod roles;
mod rows;
mod sequences;
mod shared;
mod sweeping;
mod transactions;
mod types;
mod values;
mod wider;

use std::fmt;
use std::time::Duration;

use lockstep_core::wire::backend::COPY_IN_RESPONSE;
use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::{Answer, Client, Failure};
use lockstep_tests::users::{APP, SUPERUSER};
use lockstep_tests::wait;

/// One thing that a client does.
#[derive(Debug, Clone, Copy)]
enum Do {
    Sql(&'static str),
    /// With values for `$1`, `$2`, …
    With(&'static str, &'static [&'static str]),
    /// Ends with this SQLSTATE.
    Fails(&'static str, &'static str),
    /// COPY FROM STDIN with all its data.
    Copy(&'static str, &'static str),
    /// The same, which ends with this SQLSTATE.
    FailingCopy(&'static str, &'static str, &'static str),
}

#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    /// Made on every node behind the proxy's back.
    given: &'static str,
    when: &'static [Do],
    /// A question with one value, and the follower's answer.
    then: (&'static str, &'static str),
}

/// So long may it take until nodes are level.
const REST: Duration = Duration::from_secs(5);

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Simple,
    Extended,
    Prepared,
}

const WAYS: [Way; 3] = [Way::Simple, Way::Extended, Way::Prepared];

/// Every case runs to its end and the follower holds what it did.
#[track_caller]
fn replicated(database: &str, cases: &[Case]) {
    run_all(database, cases, |stage, case, way, schema| {
        stage.run(case, way, schema).map_err(|stopped| stopped.to_string())?;
        stage.node_says(1, case, schema)
    });
}

/// Every case ends in 0A000 at its last statement and leaves all nodes as they were before it.
#[track_caller]
fn refused(database: &str, cases: &[Case]) {
    run_all(database, cases, |stage, case, way, schema| match stage.run(case, way, schema) {
        Ok(()) => Err("was let through".into()),
        Err(Stopped { state, .. }) if state == "0A000" => {
            stage.node_says(0, case, schema)?;
            stage.node_says(1, case, schema)
        }
        Err(stopped) => Err(stopped.to_string()),
    });
}

/// Every case is either replicated or refused with 0A000; either way the nodes are equal.
#[track_caller]
fn replicated_or_refused(database: &str, cases: &[Case]) {
    run_all(database, cases, |stage, case, way, schema| match stage.run(case, way, schema) {
        Ok(()) => stage.node_says(1, case, schema),
        Err(Stopped { state, .. }) if state == "0A000" => Ok(()),
        Err(stopped) => Err(stopped.to_string()),
    });
}

/// Runs every case in every way, panics with all complaints, and compares the nodes in the end.
#[track_caller]
fn run_all(database: &str, cases: &[Case], judge: impl Fn(&Stage, &Case, Way, &str) -> Result<(), String>) {
    let stage = Stage::new(database, cases);
    let mut report = Vec::new();
    stage.each(cases, |case, way, schema| {
        // Once a follower is lost, nothing more can be learned.
        if !stage.cluster.proxy.degradations().is_empty() {
            return;
        }
        let complaint = judge(&stage, case, way, schema).err();
        report.extend(complaint.map(|why| format!("{schema}, {}, {way:?}: {why}", case.name)));
        let lost = stage.cluster.proxy.degradations();
        report.extend(lost.iter().map(|why| format!("{schema}, {}, {way:?} cost a follower: {why}", case.name)));
    });
    assert!(report.is_empty(), "{} complaints\n\n{}", report.len(), report.join("\n"));
    assert_identical_database(&stage.cluster.nodes, database);
}

/// A statement of a case did not end as it should.
struct Stopped {
    state: String,
    message: String,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

struct Stage {
    cluster: Cluster,
    database: String,
}

impl Stage {
    /// A database in which every case finds its tables, once for each way, before the proxy first looks at it.
    fn new(database: &str, cases: &[Case]) -> Self {
        // Its own, so that what one theme does to a follower is not laid at another's door.
        let cluster = Cluster::start(2);
        cluster.create_database(database);
        let stage = Self { cluster, database: database.into() };
        for node in &stage.cluster.nodes {
            let mut client = node.connect_as(&APP, database);
            stage.each(cases, |case, _, schema| {
                client.query(&format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {}", case.given));
            });
        }
        stage
    }

    fn each(&self, cases: &[Case], mut act: impl FnMut(&Case, Way, &str)) {
        for (number, case) in cases.iter().enumerate() {
            for way in WAYS {
                act(case, way, &format!("case{number}_{}", format!("{way:?}").to_lowercase()));
            }
        }
    }

    fn run(&self, case: &Case, way: Way, schema: &str) -> Result<(), Stopped> {
        let mut client = self.connect(schema);
        case.when.iter().enumerate().try_for_each(|(number, what)| {
            let answer = act(&mut client, way, number, *what);
            let state = answer.as_ref().err().map_or("00000", |failure| failure.state()).to_owned();
            match (what, answer) {
                (Do::Fails(_, expected) | Do::FailingCopy(_, _, expected), Err(_)) if state == *expected => Ok(()),
                (Do::Fails(..) | Do::FailingCopy(..), answer) => {
                    Err(Stopped { state, message: format!("{what:?}: {answer:?}") })
                }
                (_, Err(failure)) => Err(Stopped { state, message: format!("{what:?}: {failure}") }),
                (_, Ok(_)) => Ok(()),
            }
        })
    }

    fn connect(&self, schema: &str) -> Client {
        let path = [("search_path", schema)];
        let address = self.cluster.proxy.address();
        let connected = Client::try_connect(&address, &APP, &self.database, &path);
        connected.unwrap_or_else(|failure| panic!("connect to the proxy: {failure}"))
    }

    fn node_says(&self, node: usize, case: &Case, schema: &str) -> Result<(), String> {
        let (question, expected) = case.then;
        let address = self.cluster.nodes[node].address();
        let path = [("search_path", schema)];
        let mut client = Client::try_connect(&address, &SUPERUSER, &self.database, &path).expect("ask a node");
        let mut last = None;
        // Sequences that only the leader has moved follow when there is rest.
        let agreed = wait::within(REST, || {
            let rows = client.try_query(question).map(|answer| answer.rows);
            let holds = matches!(rows.as_deref(), Ok([row]) if row[0].as_deref() == Some(expected));
            last = Some(rows);
            holds.then_some(())
        });
        agreed.ok_or_else(|| format!("node {node} answers {question} with {last:?} and not {expected}"))
    }
}

fn act(client: &mut Client, way: Way, number: usize, what: Do) -> Result<Answer, Failure> {
    match what {
        Do::Sql(sql) | Do::Fails(sql, _) => send(client, way, number, sql, &[]),
        Do::With(sql, values) => send(client, way, number, sql, values),
        Do::Copy(sql, data) | Do::FailingCopy(sql, data, _) => copy(client, sql, data),
    }
}

fn send(client: &mut Client, way: Way, number: usize, sql: &str, values: &[&str]) -> Result<Answer, Failure> {
    let parameters: Vec<_> = values.iter().map(|value| Some(*value)).collect();
    match way {
        Way::Simple => client.try_query(&with_literals(sql, values)),
        Way::Extended => client.try_execute(sql, &parameters),
        Way::Prepared => {
            let name = format!("statement{number}");
            client.try_prepare(&name, sql)?;
            client.try_execute_prepared(&name, &parameters)
        }
    }
}

fn with_literals(sql: &str, values: &[&str]) -> String {
    let numbered = values.iter().enumerate().rev();
    numbered.fold(sql.into(), |text: String, (n, value)| text.replace(&format!("${}", n + 1), &format!("'{value}'")))
}

fn copy(client: &mut Client, sql: &str, data: &str) -> Result<Answer, Failure> {
    client.put(|out| frontend::query(out, sql.as_bytes())).try_flush()?;
    let started = client.until_any(&[COPY_IN_RESPONSE, b'E'])?;
    if started.tag == COPY_IN_RESPONSE {
        // In small pieces, so that none ends where a line does.
        for piece in data.as_bytes().chunks(7) {
            client.put(|out| frontend::copy_data(out, piece));
        }
        client.put(frontend::copy_done).try_flush()?;
        client.answer()
    } else {
        client.answer()?;
        Err(Failure::of_frame(&started))
    }
}
