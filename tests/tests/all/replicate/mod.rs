//! What is written through the proxy is on every node afterwards, row by row; what cannot be is refused and changes none.
//!
//! A case is a table, statements, and a question that the follower must answer. Each case runs three times, by the simple
//! protocol, by the extended one and with prepared statements, each time in a schema of its own.

mod copy;
mod ddl;
mod keyed;
mod refused;
mod rows;
mod sequences;
mod transactions;
mod types;
mod values;

use lockstep_core::wire::backend::COPY_IN_RESPONSE;
use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::{Answer, Client, Failure};
use lockstep_tests::users::{APP, SUPERUSER};

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

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Simple,
    Extended,
    Prepared,
}

const WAYS: [Way; 3] = [Way::Simple, Way::Extended, Way::Prepared];

/// Runs every case and panics with all that go wrong.
#[track_caller]
fn replicated(database: &str, cases: &[Case]) {
    let stage = Stage::new(database, cases);
    let mut report = Vec::new();
    stage.each(cases, |case, way, schema| {
        let found = stage.run(case, way, schema).and_then(|()| stage.follower_says(case, schema));
        report.extend(found.err().map(|why| format!("{schema}, {}, {way:?}: {why}", case.name)));
    });
    assert!(report.is_empty(), "{} failures\n\n{}", report.len(), report.join("\n"));
    assert_identical_database(&stage.cluster.nodes, database);
}

/// Every case must end in 0A000 at its last statement and leave all nodes as they were before it.
#[track_caller]
fn refused(database: &str, cases: &[Case]) {
    let stage = Stage::new(database, cases);
    let mut report = Vec::new();
    stage.each(cases, |case, way, schema| {
        let why = match stage.run(case, way, schema) {
            Ok(()) => "was let through".to_owned(),
            Err(why) if why.contains("0A000: ") => {
                let told = stage.follower_says(case, schema).and_then(|()| stage.leader_says(case, schema));
                let Err(changed) = told else { return };
                format!("was refused, and yet {changed}")
            }
            Err(why) => why,
        };
        report.push(format!("{schema}, {}, {way:?}: {why}", case.name));
    });
    assert!(report.is_empty(), "{} failures\n\n{}", report.len(), report.join("\n"));
    assert_identical_database(&stage.cluster.nodes, database);
}

/// Every case is either replicated or refused with 0A000; either way the nodes are equal.
#[track_caller]
fn replicated_or_refused(database: &str, cases: &[Case]) {
    let stage = Stage::new(database, cases);
    let mut report = Vec::new();
    stage.each(cases, |case, way, schema| {
        if let Err(why) = stage.run(case, way, schema)
            && !why.contains("0A000: ")
        {
            report.push(format!("{schema}, {}, {way:?}: {why}", case.name));
        }
    });
    assert!(report.is_empty(), "{} failures\n\n{}", report.len(), report.join("\n"));
    assert_identical_database(&stage.cluster.nodes, database);
}

struct Stage {
    cluster: std::sync::Arc<Cluster>,
    database: String,
}

impl Stage {
    /// A database in which every case finds its tables, once for each way, before the proxy first looks at it.
    fn new(database: &str, cases: &[Case]) -> Self {
        let cluster = Cluster::shared();
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

    fn run(&self, case: &Case, way: Way, schema: &str) -> Result<(), String> {
        let path = [("search_path", schema)];
        let address = self.cluster.proxy.address();
        let mut client =
            Client::try_connect(&address, &APP, &self.database, &path).map_err(|failure| failure.to_string())?;
        case.when.iter().enumerate().try_for_each(|(number, what)| {
            let answer = act(&mut client, way, number, *what);
            match (what, answer) {
                (Do::Fails(_, state), Err(failure)) if failure.state() == *state => Ok(()),
                (Do::Fails(sql, state), answer) => Err(format!("{sql}: {answer:?} and not {state}")),
                (_, Err(failure)) => Err(format!("{what:?}: {failure}")),
                (_, Ok(_)) => Ok(()),
            }
        })
    }

    fn follower_says(&self, case: &Case, schema: &str) -> Result<(), String> {
        self.node_says(1, case, schema)
    }

    fn leader_says(&self, case: &Case, schema: &str) -> Result<(), String> {
        self.node_says(0, case, schema)
    }

    fn node_says(&self, node: usize, case: &Case, schema: &str) -> Result<(), String> {
        let (question, expected) = case.then;
        let address = self.cluster.nodes[node].address();
        let path = [("search_path", schema)];
        let mut client = Client::try_connect(&address, &SUPERUSER, &self.database, &path).expect("ask a node");
        let answer = client.try_query(question).map(|answer| answer.rows);
        match answer.as_deref() {
            Ok([row]) if row[0].as_deref() == Some(expected) => Ok(()),
            other => Err(format!("node {node} answers {question} with {other:?} and not {expected}")),
        }
    }
}

fn act(client: &mut Client, way: Way, number: usize, what: Do) -> Result<Answer, Failure> {
    match what {
        Do::Sql(sql) | Do::Fails(sql, _) => send(client, way, number, sql, &[]),
        Do::With(sql, values) => send(client, way, number, sql, values),
        Do::Copy(sql, data) => copy(client, sql, data),
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
