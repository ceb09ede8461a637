//! What triggers, functions and rules change is on every node afterwards, whoever sets them off and however.
//!
//! A case has a database of its own, for each way in which its statements are sent: what the functions of one may write to
//! is looked for by name.

mod attacks;
mod copies;
mod cursors;
mod failing;
mod functions;
mod hidden;
mod own;
mod parts;
mod text;
mod triggers;
mod versions;
mod writes;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::{Answer, Client, Failure};
use lockstep_tests::users::{APP, SUPERUSER};

struct Case {
    /// Of the database, too.
    name: &'static str,
    /// Made on every node behind the proxy's back.
    given: &'static str,
    when: &'static [&'static str],
    /// A question with one value, and every node's answer.
    then: (&'static str, &'static str),
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Simple,
    Extended,
}

#[track_caller]
fn captured(cases: &[Case]) {
    let cluster = Cluster::start(2);
    let mut report = Vec::new();
    for case in cases {
        for way in [Way::Simple, Way::Extended] {
            let database = format!("{}_{way:?}", case.name.replace(' ', "_")).to_lowercase();
            make(&cluster, &database, case.given);
            let ran = run(&cluster, &database, way, case.when);
            report.extend(ran.err().map(|why| format!("{database}: {why}")));
            report.extend(wrong_answers(&cluster, &database, case.then));
            report.extend(cluster.proxy.degradations().iter().map(|why| format!("{database} cost a follower: {why}")));
            assert!(cluster.proxy.degradations().is_empty(), "{}", report.join("\n"));
            assert_identical_database(&cluster.nodes, &database);
        }
    }
    assert!(report.is_empty(), "{} complaints\n\n{}", report.len(), report.join("\n"));
}

fn make(cluster: &Cluster, database: &str, given: &str) {
    cluster.create_database(database);
    for node in &cluster.nodes {
        node.connect_as(&APP, database).query(given);
    }
}

fn run(cluster: &Cluster, database: &str, way: Way, statements: &[&str]) -> Result<(), String> {
    let mut client = cluster.connect(database);
    statements.iter().try_for_each(|sql| send(&mut client, way, sql).map(drop).map_err(|why| format!("{sql}: {why}")))
}

fn send(client: &mut Client, way: Way, sql: &str) -> Result<Answer, Failure> {
    match way {
        Way::Simple => client.try_query(sql),
        Way::Extended => client.try_execute(sql, &[]),
    }
}

fn wrong_answers(cluster: &Cluster, database: &str, (question, expected): (&str, &str)) -> Vec<String> {
    let answers = cluster.nodes.iter().map(|node| {
        let row = node.connect_as(&SUPERUSER, database).rows(question).swap_remove(0);
        row[0].clone().unwrap_or_else(|| "NULL".into())
    });
    let wrong = answers.enumerate().filter(|(_, answer)| answer != expected);
    wrong
        .map(|(node, answer)| format!("{database}: node {node} answers {question} with {answer}, not {expected}"))
        .collect()
}
